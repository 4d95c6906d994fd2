//! The crash campaign of the decision log: every workload on the simulated disk, every crash within the budget, crashes within
//! recoveries included. Owns the budgets and the line that CI prints.
//!
//! `DURAMEN_CAMPAIGN_STATES` is the goal in states over all workloads; `DURAMEN_CAMPAIGN_ONLY` names one workload;
//! `DURAMEN_CAMPAIGN_REPLAY` with it replays one crash.

mod checker;
mod content;
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
        // A small budget is spread over the moments, rather than used up by the first ones.
        images_per_moment_max: (states_max / 20).clamp(2, 65_536),
        nested_images_per_recovery_max: (states_max / 40).clamp(2, 24),
        nested_share_percent: 25,
        operations_max: 20_000,
        threads: std::thread::available_parallelism().map_or(2, usize::from),
        images_per_fault_max: 6,
        ..Budget::default()
    }
}

/// Tries a script and prints what it came to. A failure is printed, and the others go on.
#[allow(clippy::disallowed_methods, reason = "the time that a workload takes is printed")]
fn told(script: &Script, states_max: u64, failed: &mut Vec<String>) -> Counts {
    let began = Instant::now();
    let budget = budget(states_max);
    let result = if script.sweep { sweep_faults(script, &budget, &|| ()) } else { explore(script, &budget, &|| ()) };
    let tried = match result {
        Ok(tried) => tried,
        Err(failure) => {
            println!("{}: {failure}", script.name);
            failed.push(script.name.clone());
            return Counts::default();
        }
    };
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
        let script = scripts.first().expect("DURAMEN_CAMPAIGN_ONLY names a workload");
        replay(script, &budget(u64::MAX), &choice).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let mut workloads = scripts.len() as u64;
    let (mut counts, mut failed) = (Counts::default(), Vec::new());
    for (script, done) in scripts.iter().zip(0..) {
        let share = goal.saturating_sub(counts.states) / (workloads - done);
        counts.add(&told(script, share.max(40), &mut failed));
    }
    // What the workloads could not use of the budget goes to more of those that chance makes.
    while only.is_none() && failed.is_empty() && counts.states < goal {
        workloads += 1;
        let share = (goal - counts.states).min(50_000);
        counts.add(&told(&workloads::random(workloads), share, &mut failed));
    }
    println!(
        "decisions campaign: {} states ({} nested, {} kills, {} duplicates skipped); {workloads} workloads",
        counts.states, counts.nested, counts.kills, counts.duplicates
    );
    assert!(failed.is_empty(), "failed: {failed:?}");
    assert!(only.is_some() || counts.states >= goal, "the budget was used");
}
