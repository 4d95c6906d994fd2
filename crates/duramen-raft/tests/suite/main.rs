//! The public suite on our own log over the simulated disk, on broken stores, which it must catch, and with a crash at every
//! operation of the disk.
//!
//! `DURAMEN_SUITE_STATES` is the budget of the search, in states over all trials; one seed printed on failure replays it.

mod broken;
mod ours;

use duramen_journal::World;
use duramen_journal::disk::sim::{Budget, Counts, History, Scenario, SimDisk, explore, sweep_faults};
use duramen_raft::Strategy;
use duramen_raft::suite::{Event, Outcome, Report, Trial, run, run_case};

use broken::{Broken, Bug};
use ours::{Ours, open};

const STRATEGIES: [Strategy; 2] = [Strategy::DiskFirst, Strategy::MemFirst];
/// Power cuts at each moment, in the cases.
const CUTS: u64 = 40;

fn states() -> u64 {
    std::env::var("DURAMEN_SUITE_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(8_000)
}

#[test]
fn ours_passes_all() {
    for (strategy, seed) in STRATEGIES.into_iter().flat_map(|strategy| (1..5).map(move |seed| (strategy, seed))) {
        let report = run(|| Ours::new(strategy), CUTS, seed * 100);
        if seed == 1 {
            println!("{strategy:?}\n{report}");
        }
        let passed = |report: &Report| report.0.iter().all(|ran| ran.outcome == Outcome::Passed);
        assert!(passed(&report), "{strategy:?}, seed {seed}\n{report}");
    }
}

#[test]
fn planted_bugs_are_caught_and_each_case_catches_one() {
    let broken = |bug, strategy| move || Broken(Ours::new(strategy), bug);
    for (bug, name) in Bug::ALL {
        // In memory nothing has to be read again.
        let strategy = if name == "failed_read" { Strategy::DiskFirst } else { Strategy::MemFirst };
        let ran = run_case(name, broken(bug, strategy), 8, 1).expect("a case");
        assert!(matches!(ran.outcome, Outcome::Failed(_)), "{bug:?} was to fail {name}: {:?}", ran.outcome);
    }
    let report = run(broken(Bug::None, Strategy::MemFirst), 8, 1);
    assert!(report.failed().is_empty(), "what is not broken passes\n{report}");
    for ran in report.0 {
        assert!(Bug::ALL.iter().any(|(_, name)| *name == ran.name), "{} catches no bug", ran.name);
    }
}

/// A trial with a crash at every operation of the disk.
struct Enumerated {
    trial: Trial,
    strategy: Strategy,
    /// The disk fails.
    faults: bool,
}

impl Scenario for Enumerated {
    type Event = Event;

    fn run(&self, world: &World, history: &History<Event>) {
        let ended = self.trial.run(&|| open(world, self.strategy), &mut |event| history.push(event));
        assert!(self.faults || ended.is_ok(), "{}: {ended:?}", self.trial.name());
    }

    fn recover(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        let store = open(world, self.strategy)?;
        let mut events = Vec::new();
        history.for_each(|event| events.push(*event));
        history.push(Event::Served(self.trial.judge(&store, events)?));
        Ok(())
    }
}

#[test]
fn a_crash_at_every_operation() {
    let trials: Vec<(Trial, Strategy)> =
        Trial::all(7, 4).into_iter().flat_map(|trial| STRATEGIES.map(|strategy| (trial.clone(), strategy))).collect();
    let mut counts = Counts::default();
    let mut left = trials.len() as u64 * 2;
    for (trial, strategy) in trials {
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
            let scenario = Enumerated { trial: trial.clone(), strategy, faults };
            let tried =
                if faults { sweep_faults(&scenario, &budget, &|| ()) } else { explore(&scenario, &budget, &|| ()) };
            counts.add(&tried.unwrap_or_else(|failure| panic!("{}, {strategy:?}: {failure}", trial.name())));
        }
    }
    println!("suite: {} states, {} of them in recoveries, {} faults", counts.states, counts.nested, counts.faults);
    assert!(counts.states >= states() / 2 && counts.faults > 0, "the budget was used");
}

#[test]
fn without_a_power_supply_to_cut_the_cases_say_so() {
    let report = run(|| Broken(Ours::on(SimDisk::new(1), Strategy::DiskFirst), Bug::CannotFail), 8, 1);
    let lacking = report.0.iter().filter(|ran| matches!(ran.outcome, Outcome::NotApplicable(_)));
    let lacking: Vec<&str> = lacking.map(|ran| ran.name).collect();
    let needing = [
        "one_opener",
        "reopen",
        "killed",
        "acknowledged_survives",
        "prefix_survives",
        "vote_before_append",
        "no_resurrection",
        "purge_survives",
        "random_history",
        "torn_tail",
        "disk_full",
        "failed_write",
        "failed_sync",
        "failed_read",
        "damage",
    ];
    assert_eq!(lacking, needing, "{report}");
    assert!(report.failed().is_empty(), "{report}");
}
