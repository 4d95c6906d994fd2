//! Bugs planted on purpose, each after a published failure: every one must be caught, by name, by a workload that passes
//! without it. Owns the pairs of bug and workload. Without `--cfg duramen_planted` only the workloads run.
//!
//! `DURAMEN_PLANTED_ONLY` names one bug.

#[path = "../campaign/checker.rs"]
mod checker;
#[path = "../campaign/damage.rs"]
mod damage;
#[path = "../campaign/model.rs"]
mod model;
#[path = "../campaign/script.rs"]
mod script;
#[path = "../campaign/workloads.rs"]
mod workloads;

use std::panic::{AssertUnwindSafe, catch_unwind};

use duramen_journal::disk::sim::{Budget, explore, sweep_faults};
use duramen_journal::planted::Bug;

/// What catches each bug: a workload of the campaign, or a kind of damage.
#[rustfmt::skip]
const CATCHERS: &[(Bug, &str)] = &[
    (Bug::NoDirectorySyncAtRotation, "rotation-by-records"),
    (Bug::FailedSyncRetried, "faults"),
    (Bug::AcknowledgedBeforeSync, "one-byte"),
    (Bug::LengthOutsideChecksum, "bad-lengths"),
    (Bug::TornTailResigned, "never-written"),
    (Bug::PreparedSegmentNotSynced, "rotation-by-records"),
    (Bug::WatermarkStuckAtZero, "bytes-in-a-segment"),
    (Bug::RecycledSaltKept, "recycled"),
    (Bug::BadLengthReadAsTornTail, "bytes-in-a-segment"),
    (Bug::CallbacksDroppedAfterError, "faults"),
    (Bug::SealedTailTruncated, "unsealed-inner"),
    (Bug::FooterBeforeSuccessor, "rotation-by-records"),
    (Bug::SuccessorBeforeData, "rotations-unsynced"),
    (Bug::GhostRevived, "never-flushed"),
    (Bug::ZeroReadAsEnd, "bytes-in-a-segment"),
    (Bug::RecoveredTailNotSynced, "never-flushed"),
    (Bug::SyncErrorForgotten, "faults"),
    (Bug::ReleaseNotDurable, "release-0-spares"),
    (Bug::ChecksumNotBoundToOffset, "sealed-records"),
    (Bug::ShortFileAccepted, "truncations"),
    (Bug::MissingSegmentAccepted, "segments"),
    (Bug::ShortWriteIgnored, "faults"),
    (Bug::InterruptedTakenAsDone, "faults"),
    (Bug::IdentityNotSynced, "creation"),
    (Bug::HeaderWrittenOnce, "creation"),
    (Bug::ChainNotChecked, "lost-writes"),
    (Bug::TornBatchKept, "batch-over-sectors"),
    (Bug::NoSpaceSequenceLost, "full-disk"),
    (Bug::CacheTrustedAfterReopen, "faults-unsynced"),
    (Bug::CutNotReported, "never-flushed"),
    (Bug::PagesShared, "fresh-pages"),
    (Bug::MissingOldestAccepted, "segments"),
    (Bug::NewerFormatIgnored, "newer-format"),
    (Bug::SpaceErrorOfSyncForgiven, "faults"),
    (Bug::LaterRecordProvesRot, "never-flushed"),
    (Bug::FooterWithItsIndex, "rotation-by-records"),
    (Bug::CutReportedAgain, "never-large"),
    (Bug::PreparedTrustedAfterCrash, "rotation-ghosts"),
    (Bug::PreparedTrustedAfterClose, "closed-ghosts-paged"),
];

fn plant(bug: Option<Bug>) {
    #[cfg(duramen_planted)]
    duramen_journal::planted::plant(bug);
    #[cfg(not(duramen_planted))]
    assert!(bug.is_none(), "no bug is compiled in");
}

/// Runs a workload with a bug in every thread, or without one.
fn try_workload(name: &str, bug: Option<Bug>, states_max: u64) -> Result<(), String> {
    let setup = || plant(bug);
    if let Some((_, cases)) = damage::ALL.iter().find(|(found, _)| *found == name) {
        setup();
        let result = catch_unwind(AssertUnwindSafe(cases));
        plant(None);
        return match result {
            Ok(result) => result.map(drop),
            Err(panic) => Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned())),
        };
    }
    let all = workloads::all();
    let script = all.iter().find(|script| script.name == name).expect("a workload of the campaign");
    let budget = Budget {
        states_max,
        images_per_moment_max: 65_536,
        operations_max: 20_000,
        images_per_fault_max: 6,
        // Which recoveries are crashed again depends on what was tried before: with one thread, the same in every run.
        threads: 1,
        ..Budget::default()
    };
    let result = if script.sweep { sweep_faults(script, &budget, &setup) } else { explore(script, &budget, &setup) };
    plant(None);
    result.map(drop).map_err(|failure| failure.to_string())
}

/// The workloads pass as long as nothing is planted.
#[test]
fn planted() {
    let small = !cfg!(duramen_planted);
    let states_max = std::env::var("DURAMEN_PLANTED_STATES").ok().and_then(|text| text.parse().ok());
    let clean_states = if small { 60 } else { 4_000 };
    let states_max = states_max.unwrap_or(200_000);
    let only = std::env::var("DURAMEN_PLANTED_ONLY").ok();
    let chosen = |bug: Bug| only.as_ref().is_none_or(|only| *only == format!("{bug:?}"));
    let mut names: Vec<&str> = CATCHERS.iter().filter(|pair| chosen(pair.0)).map(|&(_, name)| name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        try_workload(name, None, clean_states).unwrap_or_else(|message| panic!("{name}, nothing planted: {message}"));
    }
    if small {
        println!("planted: no bug is compiled in; --cfg duramen_planted does that");
        return;
    }
    std::panic::set_hook(Box::new(|_| ()));
    let (mut caught, mut missed) = (0, Vec::new());
    for &bug in Bug::ALL.iter().filter(|bug| chosen(**bug)) {
        let name = CATCHERS.iter().find(|pair| pair.0 == bug).map_or("nothing", |pair| pair.1);
        if name == "nothing" {
            missed.push(format!("{bug:?}: no workload is meant for it"));
            continue;
        }
        match try_workload(name, Some(bug), states_max) {
            Ok(()) => missed.push(format!("{bug:?} by {name}")),
            Err(message) => {
                caught += 1;
                println!("caught: {bug:?} by {name}: {}", message.replace('\n', "; "));
            }
        }
    }
    let _ = std::panic::take_hook();
    println!("planted: {} planted bugs, {caught} caught", caught + missed.len());
    assert!(missed.is_empty(), "not caught: {missed:#?}");
}
