//! The crash campaign of the Raft log: every workload on the simulated disk, every crash within the budget, crashes within
//! recoveries included. Owns the budgets and the line that CI prints.
//!
//! `DURAMEN_CAMPAIGN_STATES` is the goal in states over all workloads; `DURAMEN_CAMPAIGN_ONLY` names one workload;
//! `DURAMEN_CAMPAIGN_REPLAY` with it replays one crash.

mod checker;
mod model;
mod script;
mod snapshots;
mod workloads;

use std::time::Instant;

use duramen_journal::disk::sim::{Budget, Counts, Scenario, explore, replay, sweep_faults};

use script::Script;
use snapshots::Snapshots;

/// States of the plain test run, which a newcomer waits for.
const STATES_SMALL: u64 = 3_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn budget(states_max: u64) -> Budget {
    Budget {
        states_max,
        images_per_moment_max: 65_536,
        nested_share_percent: 25,
        operations_max: 20_000,
        threads: std::thread::available_parallelism().map_or(2, usize::from),
        images_per_fault_max: 6,
        ..Budget::default()
    }
}

/// Tries a script and prints what it came to.
#[allow(clippy::disallowed_methods, reason = "the time that a workload takes is printed")]
fn told(name: &str, sweep: bool, scenario: &impl Scenario, states_max: u64) -> Counts {
    let began = Instant::now();
    let budget = budget(states_max);
    let result = if sweep { sweep_faults(scenario, &budget, &|| ()) } else { explore(scenario, &budget, &|| ()) };
    let tried = result.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    println!(
        "{:20} {:7} states ({:6} nested, {:5} kills), {:6} duplicates, {:4} moments, {:7.0} a second",
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

#[test]
fn campaign() {
    let goal = number("DURAMEN_CAMPAIGN_STATES", STATES_SMALL);
    let only = std::env::var("DURAMEN_CAMPAIGN_ONLY").ok();
    let all = workloads::all().into_iter().filter(|script| only.as_ref().is_none_or(|only| *only == script.name));
    let scripts: Vec<Script> = all.collect();
    let all = snapshots::all().into_iter().filter(|script| only.as_ref().is_none_or(|only| *only == script.name));
    let snapshots: Vec<Snapshots> = all.collect();
    if let Ok(choice) = std::env::var("DURAMEN_CAMPAIGN_REPLAY") {
        let budget = budget(u64::MAX);
        let replayed = match scripts.first() {
            Some(script) => replay(script, &budget, &choice),
            None => replay(&snapshots[0], &budget, &choice),
        };
        replayed.unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let mut workloads = (scripts.len() + snapshots.len()) as u64;
    let mut counts = Counts::default();
    let mut left = workloads;
    let mut share = |counts: &Counts| {
        left -= 1;
        (goal.saturating_sub(counts.states) / (left + 1)).max(50)
    };
    for script in &snapshots {
        counts.add(&told(&script.name, script.sweep, script, share(&counts)));
    }
    for script in &scripts {
        counts.add(&told(&script.name, script.sweep, script, share(&counts)));
    }
    // What the workloads could not use of the budget goes to more of those that chance makes.
    while only.is_none() && counts.states < goal {
        workloads += 1;
        let script = workloads::random(workloads);
        counts.add(&told(&script.name, script.sweep, &script, (goal - counts.states).min(100_000)));
    }
    println!(
        "raft campaign: {} states ({} nested, {} duplicates skipped); {workloads} workloads",
        counts.states, counts.nested, counts.duplicates
    );
    assert!(only.is_some() || counts.states >= goal, "the budget was used");
}
