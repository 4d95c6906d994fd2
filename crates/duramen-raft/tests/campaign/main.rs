//! The crash campaign of the Raft log: every workload on the simulated disk, every crash within the budget, crashes within
//! recoveries included. Owns the budgets and the line that CI prints.
//!
//! `DURAMEN_CAMPAIGN_STATES` is the goal in states over all workloads; `DURAMEN_CAMPAIGN_ONLY` names one workload;
//! `DURAMEN_CAMPAIGN_REPLAY` with it replays one crash.

mod checker;
mod model;
mod script;
mod workloads;

use std::time::Instant;

use duramen_journal::disk::sim::{Budget, Counts, explore, replay, sweep_faults};

use script::Script;

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
fn told(script: &Script, states_max: u64) -> Counts {
    let began = Instant::now();
    let budget = budget(states_max);
    let result = if script.sweep { sweep_faults(script, &budget, &|| ()) } else { explore(script, &budget, &|| ()) };
    let tried = result.unwrap_or_else(|failure| panic!("{}: {failure}", script.name));
    println!(
        "{:20} {:7} states ({:6} nested, {:5} kills), {:6} duplicates, {:4} moments, {:7.0} a second",
        script.name,
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
    if let Ok(choice) = std::env::var("DURAMEN_CAMPAIGN_REPLAY") {
        replay(&scripts[0], &budget(u64::MAX), &choice).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let mut counts = Counts::default();
    for (place, script) in scripts.iter().enumerate() {
        let share = goal.saturating_sub(counts.states) / (scripts.len() - place) as u64;
        counts.add(&told(script, share.max(50)));
    }
    let mut workloads = scripts.len() as u64;
    // What the workloads could not use of the budget goes to more of those that chance makes.
    while only.is_none() && counts.states < goal {
        workloads += 1;
        counts.add(&told(&workloads::random(workloads), (goal - counts.states).min(100_000)));
    }
    println!(
        "raft campaign: {} states ({} nested, {} duplicates skipped); {workloads} workloads",
        counts.states, counts.nested, counts.duplicates
    );
    assert!(only.is_some() || counts.states >= goal, "the budget was used");
}
