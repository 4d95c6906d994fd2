//! The public suite on every backend that is shipped, on the example's, and on broken ones, which it must catch.
//!
//! `DURAMEN_SUITE_STATES` is the budget of the search for crashes at every operation. `DURAMEN_SUITE_TABLE=write` writes the table
//! of docs/decision-backends.md anew.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test fails by panicking, and has files and processes"
)]

mod broken;
mod files;
mod folders;
#[path = "../../examples/own_backend.rs"]
mod own_backend;
mod table;

use duramen_decisions::suite::{Outcome, Report, Trial, run, run_case};
use duramen_journal::World;
use duramen_journal::disk::sim::{Budget, Counts, History, Scenario, explore, sweep_faults};

use broken::{Broken, Bug};
use folders::{Memory, Own};

/// Power cuts at each moment, in the cases.
const CUTS: u64 = 20;

fn passes(report: &Report, lacking: &[&str]) {
    println!("{report}");
    assert!(report.failed().is_empty(), "{report}");
    assert_eq!(report.not_applicable(), lacking, "{report}");
}

#[test]
fn files_pass_all() {
    for seed in 1..3 {
        passes(&run(files::files, CUTS, seed * 100), table::SIMULATED);
    }
    // Processes have real disks.
    passes(&run(folders::files, CUTS, 1), table::FOLDER);
}

#[test]
fn memory_passes_what_it_can() {
    passes(&run(Memory::default, CUTS, 1), table::MEMORY);
}

#[cfg(feature = "redb")]
#[test]
fn redb_passes_all() {
    // Each opening reads its whole file.
    passes(&run(files::redb, CUTS / 4, 1), table::REDB_SIMULATED);
    passes(&run(folders::redb, CUTS, 1), table::REDB);
}

#[cfg(feature = "fjall")]
#[test]
fn fjall_passes_all() {
    passes(&run(folders::fjall, CUTS, 1), table::FOLDER);
}

#[test]
fn a_backend_of_ones_own_passes_all() {
    passes(&run(Own::own, CUTS, 1), table::FOLDER);
}

#[test]
fn planted_bugs_are_caught_by_name() {
    for (bug, name) in Bug::ALL {
        let ran = run_case(name, || Broken::new(bug), CUTS, 1).expect("a case");
        assert!(matches!(ran.outcome, Outcome::Failed(_)), "{bug:?} was to fail {name}: {:?}", ran.outcome);
    }
    let report = run(|| Broken::new(Bug::None), CUTS, 1);
    assert!(report.failed().is_empty(), "what is not broken passes\n{report}");
    assert_eq!(report.not_applicable(), ["killed_process"]);
    for ran in report.0 {
        let caught = Bug::ALL.iter().any(|(_, name)| *name == ran.name);
        assert!(caught || ran.name == "killed_process", "{} catches no bug", ran.name);
    }
}

/// The process that is killed: see `folders`.
#[test]
fn child() {
    folders::child();
}

/// A trial with a crash at every operation of the disk.
struct Enumerated {
    trial: Trial,
    /// The disk fails.
    faults: bool,
}

impl Scenario for Enumerated {
    type Event = duramen_decisions::suite::Event;

    fn run(&self, world: &World, history: &History<Self::Event>) {
        let open = || files::open(world).map_err(|error| error.to_string());
        let ended = self.trial.run(&open, &mut |event| history.push(event));
        assert!(self.faults || ended.is_ok(), "{}: {ended:?}", self.trial.name());
    }

    fn recover(&self, world: &World, history: &History<Self::Event>) -> Result<(), String> {
        let backend = files::open(world).map_err(|error| error.to_string())?;
        let mut events = Vec::new();
        history.for_each(|event| events.push(*event));
        history.push(duramen_decisions::suite::Event::Served(self.trial.judge(&backend, events)?));
        Ok(())
    }
}

fn states() -> u64 {
    std::env::var("DURAMEN_SUITE_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_500)
}

#[test]
fn files_with_a_crash_at_every_operation() {
    let trials = Trial::all(7, 3);
    let mut counts = Counts::default();
    let mut left = trials.len() as u64 * 2;
    for trial in trials {
        for faults in [false, true] {
            let budget = Budget {
                states_max: (states().saturating_sub(counts.states) / left).max(20),
                images_per_moment_max: 65_536,
                images_per_fault_max: 4,
                nested_share_percent: 25,
                operations_max: 20_000,
                ..Budget::default()
            };
            left -= 1;
            let scenario = Enumerated { trial: trial.clone(), faults };
            let tried =
                if faults { sweep_faults(&scenario, &budget, &|| ()) } else { explore(&scenario, &budget, &|| ()) };
            counts.add(&tried.unwrap_or_else(|failure| panic!("{}, faults {faults}: {failure}", trial.name())));
        }
    }
    println!("suite: {} states, {} of them in recoveries, {} faults", counts.states, counts.nested, counts.faults);
    assert!(counts.states >= states() / 2 && counts.faults > 0, "the budget was used");
}
