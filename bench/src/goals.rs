//! The journal's goals of TARGETS, each a ratio within one run, and how far the measured ratio is from it.
//!
//! Goals are reported, never asserted: a machine that is busy with something else must not fail a build.

use crate::engine::Role;
use crate::results::{Results, Row};

/// What the journal's value is divided by.
enum Over {
    /// The raw bound's value of the same metric.
    Raw,
    /// The raw bound's value of another metric.
    RawOf(&'static str),
    /// The journal's value of the same metric.
    Journal,
    /// The best peer's value.
    BestPeer,
    /// The value of the peer whose name starts so.
    Peer(&'static str),
    /// The journal's own value of another metric.
    Own(&'static str),
    /// Nothing: the value itself is compared.
    Nothing,
}

/// What the quotient has to be.
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};
use Over::{BestPeer, Journal, Nothing, Own, Peer, Raw, RawOf};

/// One goal after the measurement.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// What is compared with what.
    pub goal: String,
    /// What it has to be.
    pub wanted: String,
    /// What it is.
    pub found: f64,
    /// Whether that is enough.
    pub reached: bool,
}

const GOALS: &[(&str, Over, Bound)] = &[
    ("sync1", Raw, AtLeast(0.95)),
    ("sync1", BestPeer, AtLeast(1.0)),
    ("sync1_p99", Raw, AtMost(1.1)),
    ("sync64", Raw, AtLeast(0.9)),
    ("sync64", BestPeer, AtLeast(1.0)),
    ("sync64", Peer("raft-engine"), AtLeast(2.0)),
    ("conc64", Raw, AtLeast(0.9)),
    ("conc64", Peer("raft-engine"), AtLeast(2.5)),
    ("conc16", Own("sync1"), AtLeast(8.0)),
    ("conc64", Own("sync1"), AtLeast(20.0)),
    ("conc256", Own("sync1"), AtLeast(30.0)),
    ("window64", RawOf("conc64"), AtLeast(1.4)),
    ("window1024", RawOf("conc64"), AtLeast(12.0)),
    ("window16384", RawOf("conc64"), AtLeast(40.0)),
    ("buffered", Raw, AtLeast(0.6)),
    ("buffered", Peer("raft-engine"), AtLeast(3.0)),
    ("append128", Nothing, AtMost(30.0)),
    ("append1024", Nothing, AtMost(125.0)),
    ("stream", Raw, AtLeast(0.8)),
    ("switch_p99", Own("quiet_p99"), AtMost(1.5)),
    ("reopen10m", Nothing, AtMost(50.0)),
    ("reopen10m", Peer("raft-engine"), AtMost(0.1)),
    ("recover", Raw, AtLeast(0.7)),
    ("scan", Raw, AtLeast(0.4)),
    ("scan", Peer("raft-engine"), AtLeast(2.5)),
    ("random", Raw, AtLeast(0.6)),
    ("tail", Nothing, AtLeast(3_000_000.0)),
    ("device_bytes", Nothing, AtMost(4_400.0)),
    ("device_requests", Nothing, AtMost(2.1)),
];

/// The Raft log's, whose own figures are those that are acknowledged when they are durable.
const RAFT_GOALS: &[(&str, Over, Bound)] = &[
    ("sync1", Journal, AtLeast(0.9)),
    ("sync64", Journal, AtLeast(0.9)),
    ("conc16", Journal, AtLeast(0.9)),
    ("conc64", Journal, AtLeast(0.9)),
    ("conc256", Journal, AtLeast(0.9)),
    ("window64", Journal, AtLeast(0.9)),
    ("window1024", Journal, AtLeast(0.9)),
    ("window16384", Journal, AtLeast(0.9)),
    ("stream", Journal, AtLeast(0.9)),
    ("recover", Journal, AtLeast(0.9)),
    ("scan", Journal, AtLeast(0.9)),
    ("random", Journal, AtLeast(0.9)),
    ("tail", Journal, AtLeast(0.9)),
    ("groups", Journal, AtLeast(0.9)),
    ("groups", BestPeer, AtLeast(1.0)),
    ("purge", BestPeer, AtLeast(1.0)),
    ("mixed_p99", BestPeer, AtMost(1.0)),
    ("reopen10m", Nothing, AtMost(100.0)),
    ("index_bytes", Nothing, AtMost(8.0)),
];

/// The Raft log's where it is acknowledged from memory.
const RAFT_MEMORY_GOALS: &[(&str, Over, Bound)] = &[("buffered", Journal, AtLeast(0.9))];

/// Every goal whose two sides were measured.
pub fn verdicts(results: &Results) -> Vec<Verdict> {
    let lists = [(Role::Duramen, GOALS), (Role::Raft, RAFT_GOALS), (Role::RaftMemory, RAFT_MEMORY_GOALS)];
    let goals = lists.iter().flat_map(|(role, goals)| goals.iter().map(move |goal| (*role, goal)));
    goals.filter_map(|(role, (metric, over, bound))| judge(results, role, metric, over, bound)).collect()
}

fn judge(results: &Results, role: Role, metric: &str, over: &Over, bound: &Bound) -> Option<Verdict> {
    let row = results.row(metric)?;
    let own = results.median_of(row, role)?;
    let divisor = divisor(results, row, role, over)?;
    let found = own / divisor;
    let (wanted, reached) = match *bound {
        AtLeast(least) => (format!(">= {least}"), found >= least),
        AtMost(most) => (format!("<= {most}"), found <= most),
    };
    let against = match over {
        Raw => ", over the raw bound".to_owned(),
        RawOf(other) => format!(", over the raw bound of {other}"),
        Journal => ", over the journal".to_owned(),
        BestPeer => ", over the best peer".to_owned(),
        Peer(name) => format!(", over {name}"),
        Own(other) => format!(", over its own {other}"),
        Nothing => String::new(),
    };
    let who = match role {
        Role::Raft => "Raft log: ",
        Role::RaftMemory => "Raft log, MemFirst: ",
        _ => "",
    };
    Some(Verdict { goal: format!("{who}{metric}{against}"), wanted, found, reached })
}

fn divisor(results: &Results, row: &Row, role: Role, over: &Over) -> Option<f64> {
    match over {
        Raw => results.median_of(row, Role::Raw),
        RawOf(other) => results.median_of(results.row(other)?, Role::Raw),
        Journal => results.median_of(row, Role::Duramen),
        BestPeer => results.best_peer(row),
        Peer(name) => results.peer(row, name),
        Own(other) => results.median_of(results.row(other)?, role),
        Nothing => Some(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;
    use crate::works;

    #[test]
    fn each_goal_names_a_metric_that_exists() {
        let works = works::all();
        let exists = |id: &str| works.iter().flat_map(|work| work.metrics).any(|metric| metric.id == id);
        for (metric, over, _) in [GOALS, RAFT_GOALS, RAFT_MEMORY_GOALS].into_iter().flatten() {
            assert!(exists(metric), "{metric}");
            if let RawOf(other) | Own(other) = over {
                assert!(exists(other), "{other}");
            }
        }
    }

    #[test]
    fn the_raft_log_is_held_against_the_journal() {
        let mut results = sample::results(&["sync1", "buffered", "reopen10m"]);
        results.participants[2].role = Role::Raft;
        results.participants[3].role = Role::RaftMemory;
        let verdicts = verdicts(&results);
        let found = |goal: &str| verdicts.iter().find(|verdict| verdict.goal == goal).map(|verdict| verdict.found);
        assert_eq!(found("Raft log: sync1, over the journal"), Some(50.0 / 98.0));
        assert_eq!(found("Raft log, MemFirst: buffered, over the journal"), Some(80.0 / 98.0));
        assert_eq!(found("Raft log: reopen10m"), Some(50.0));
        assert_eq!(found("Raft log: buffered, over the journal"), None, "its appends start syncs at once");
    }

    #[test]
    fn ratios_are_taken_over_the_right_side() {
        let verdicts = verdicts(&sample::results(&["sync1", "conc64"]));
        let found = |goal: &str| {
            let verdict = verdicts.iter().find(|verdict| verdict.goal == goal).unwrap();
            (verdict.found, verdict.reached)
        };
        assert_eq!(found("sync1, over the raw bound"), (0.98, true));
        assert_eq!(found("sync1, over the best peer"), (98.0 / 80.0, true));
        assert_eq!(found("conc64, over raft-engine"), (98.0 / 50.0, false));
        assert_eq!(found("conc64, over its own sync1"), (1.0, false));
        assert!(!verdicts.iter().any(|verdict| verdict.goal.starts_with("scan")), "not measured, not judged");
    }
}
