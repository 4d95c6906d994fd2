//! The crash campaign: every workload, every crash within the budget, every bit of a closed journal. Owns the budgets
//! and the line that CI prints.
//!
//! `DURAMEN_CAMPAIGN_STATES` is the goal in states over all workloads; `DURAMEN_CAMPAIGN_ONLY` names one workload;
//! `DURAMEN_CAMPAIGN_REPLAY` with it replays one crash.

mod aside;
mod checker;
mod damage;
mod flips;
mod model;
mod script;
mod workloads;

use std::time::Instant;

use duramen_journal::disk::sim::{Budget, Counts, Scenario, explore, replay, sweep_faults};

use aside::Aside;
use script::Script;

/// States of the plain test run, which a newcomer waits for.
const STATES_SMALL: u64 = 6_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn budget(states_max: u64) -> Budget {
    Budget {
        states_max,
        // A moment that holds more is tried on with other choices, as long as the budget lasts.
        images_per_moment_max: 65_536,
        nested_share_percent: 25,
        operations_max: 20_000,
        threads: threads(),
        images_per_fault_max: 6,
        ..Budget::default()
    }
}

/// Tries a scenario and prints what it came to.
#[allow(clippy::disallowed_methods, reason = "the time that a workload takes is printed")]
fn told<S: Scenario>(name: &str, scenario: &S, sweep: bool, budget: &Budget) -> Counts {
    let began = Instant::now();
    let result = if sweep { sweep_faults(scenario, budget, &|| ()) } else { explore(scenario, budget, &|| ()) };
    let tried = result.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    println!(
        "{:28} {:7} states ({:6} nested, {:5} kills), {:6} duplicates, {:4} moments, {:7.0} a second",
        name,
        tried.states,
        tried.nested,
        tried.kills,
        tried.duplicates,
        tried.moments,
        tried.states as f64 / began.elapsed().as_secs_f64()
    );
    tried
}

fn try_damage() {
    for (name, cases) in damage::ALL {
        let count = cases().unwrap_or_else(|message| panic!("{name}: {message}"));
        println!("{name:28} {count:7} cases");
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the time that a workload takes is printed")]
fn campaign() {
    let goal = number("DURAMEN_CAMPAIGN_STATES", STATES_SMALL);
    let only = std::env::var("DURAMEN_CAMPAIGN_ONLY").ok();
    let scripts: Vec<Script> =
        workloads::all().into_iter().filter(|script| only.as_ref().is_none_or(|only| *only == script.name)).collect();
    let asides: Vec<Aside> =
        aside::all().into_iter().filter(|aside| only.as_ref().is_none_or(|only| *only == aside.name)).collect();
    if let Ok(choice) = std::env::var("DURAMEN_CAMPAIGN_REPLAY") {
        let replayed = match (scripts.first(), asides.first()) {
            (Some(script), _) => replay(script, &budget(u64::MAX), &choice),
            (None, Some(aside)) => replay(aside, &budget(u64::MAX), &choice),
            (None, None) => panic!("no workload has this name"),
        };
        return replayed.unwrap_or_else(|failure| panic!("{failure}"));
    }
    let mut counts = Counts::default();
    let mut bits = 0;
    if only.is_none() {
        try_damage();
    }
    if only.is_none() || only.as_deref() == Some("flips") {
        let began = Instant::now();
        // A step that is prime to eight, so that a sample meets every bit of a byte.
        let every = if std::env::var("DURAMEN_CAMPAIGN_STATES").is_ok() { 1 } else { 499 };
        bits = flips::flip_all(every, threads()).unwrap_or_else(|message| panic!("{message}"));
        println!("{:28} {bits:7} bits, {:7.0} a second", "flips", bits as f64 / began.elapsed().as_secs_f64());
    }
    for aside in &asides {
        let budget = Budget { nested_images_per_recovery_max: aside.nested, ..budget((goal / aside.share).max(50)) };
        counts.add(&told(aside.name, aside, aside.sweep, &budget));
    }
    for (place, script) in scripts.iter().enumerate() {
        let share = goal.saturating_sub(counts.states) / (scripts.len() - place) as u64;
        counts.add(&told(&script.name, script, script.sweep, &budget(share.max(50))));
    }
    let mut workloads = (scripts.len() + asides.len()) as u64;
    let named = workloads;
    // What the workloads could not use of the budget goes to more of those that chance makes.
    while only.is_none() && counts.states < goal {
        workloads += 1;
        let script = workloads::random(workloads::RANDOM + workloads - named);
        counts.add(&told(&script.name, &script, script.sweep, &budget((goal - counts.states).min(100_000))));
    }
    println!(
        "campaign: {} states ({} nested, {} duplicates skipped), {bits} bits flipped, all found; {workloads} workloads",
        counts.states, counts.nested, counts.duplicates
    );
}
