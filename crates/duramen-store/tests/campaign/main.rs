//! The crash campaign of the store: every workload on the simulated disk, every crash within the budget, crashes within
//! recoveries included. Owns the budgets and the line that CI prints.
//!
//! `DURAMEN_STORE_CAMPAIGN_STATES` is the goal in states over all workloads; `DURAMEN_CAMPAIGN_ONLY` names one workload;
//! `DURAMEN_CAMPAIGN_REPLAY` with it replays one crash.

mod aging;
mod retention;
mod script;

use std::time::Instant;

use duramen_journal::disk::sim::{Budget, Counts, Scenario, SimDisk, explore, replay, sweep_faults};
use duramen_store::{DOWNSAMPLE_LABEL, Selector, Store};

/// States of the plain test run, which a newcomer waits for.
const STATES_SMALL: u64 = 3_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn budget(states_max: u64) -> Budget {
    Budget {
        states_max,
        // A small budget sees a little of every moment rather than much of the first ones.
        images_per_moment_max: (states_max / 200).clamp(2, 4_096),
        nested_share_percent: 25,
        operations_max: 50_000,
        threads: std::thread::available_parallelism().map_or(2, usize::from),
        images_per_fault_max: 6,
        ..Budget::default()
    }
}

/// Tries one workload, within a share of the states, and prints what was tried.
#[allow(clippy::disallowed_methods, reason = "the time that a workload takes is printed")]
fn try_one(script: &impl Scenario, name: &str, sweep: bool, share: u64) -> Counts {
    let began = Instant::now();
    let budget = budget(share.max(50));
    let tried = match sweep {
        true => sweep_faults(script, &budget, &|| ()),
        false => explore(script, &budget, &|| ()),
    };
    let tried = tried.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    println!(
        "{name:16} {:7} states ({:6} nested, {:5} kills), {:6} duplicates, {:4} moments, {:7.0} a second",
        tried.states,
        tried.nested,
        tried.kills,
        tried.duplicates,
        tried.moments,
        tried.states as f64 / began.elapsed().as_secs_f64()
    );
    tried
}

#[test]
fn campaign() {
    let goal = number("DURAMEN_STORE_CAMPAIGN_STATES", STATES_SMALL);
    let only = std::env::var("DURAMEN_CAMPAIGN_ONLY").ok();
    let mut scripts = script::all();
    scripts.retain(|script| only.as_ref().is_none_or(|only| *only == script.name));
    let mut retentions = retention::all();
    retentions.retain(|script| only.as_ref().is_none_or(|only| *only == script.name));
    if let Ok(choice) = std::env::var("DURAMEN_CAMPAIGN_REPLAY") {
        let replayed = match (scripts.first(), retentions.first()) {
            (Some(script), _) => replay(script, &budget(u64::MAX), &choice),
            (None, Some(script)) => replay(script, &budget(u64::MAX), &choice),
            (None, None) => panic!("DURAMEN_CAMPAIGN_ONLY names no workload"),
        };
        replayed.unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let mut counts = Counts::default();
    let workloads = (scripts.len() + retentions.len()) as u64;
    let share = |counts: &Counts, at: usize| goal.saturating_sub(counts.states) / (workloads - at as u64);
    for (at, script) in scripts.iter().enumerate() {
        let tried = try_one(script, script.name, script.sweep, share(&counts, at));
        counts.add(&tried);
    }
    for (at, script) in retentions.iter().enumerate() {
        let tried = try_one(script, script.name, script.sweep, share(&counts, scripts.len() + at));
        counts.add(&tried);
    }
    println!(
        "store campaign: {} states ({} nested, {} duplicates skipped); {workloads} workloads",
        counts.states, counts.nested, counts.duplicates
    );
    assert!(counts.states > 0);
}

/// A workload that ends before what it is for has happened proves nothing.
#[test]
fn workloads_reach_what_they_are_for() {
    let after = |name: &str| -> Store {
        let script = script::all().into_iter().find(|script| script.name == name).expect("a workload");
        let disk = SimDisk::new(1);
        script.act(&disk.world(), &|_| (), false).expect("it runs");
        script.open(&disk.world()).expect("it opens")
    };
    let samples = |store: &Store| {
        let all = store.samples(&Selector::default(), i64::MIN, i64::MAX).expect("asked");
        all.map(|own| own.expect("a series")).collect::<Vec<_>>()
    };
    let stats = after("samples-segments").stats();
    assert!(stats.table_samples > 0, "nothing is flushed there but by segments");
    let store = after("downsampled");
    let made = samples(&store).into_iter().filter(|own| own.labels.get(DOWNSAMPLE_LABEL).is_some());
    let windows: Vec<usize> = made.map(|own| own.samples.len()).collect();
    assert!(windows.len() == 15 && windows.iter().all(|count| *count >= 4), "of three series: {windows:?}");
    let store = after("samples-dropped");
    let first = samples(&store).into_iter().map(|own| own.samples[0].time).min().expect("samples");
    assert!(first > 1_699_999_999_000_000_000, "older ones are dropped: {first}");
}
