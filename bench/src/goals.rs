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
use Over::{BestPeer, Nothing, Own, Peer, Raw, RawOf};

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

/// Every goal whose two sides were measured.
pub fn verdicts(results: &Results) -> Vec<Verdict> {
    GOALS.iter().filter_map(|(metric, over, bound)| judge(results, metric, over, bound)).collect()
}

fn judge(results: &Results, metric: &str, over: &Over, bound: &Bound) -> Option<Verdict> {
    let row = results.row(metric)?;
    let own = results.median_of(row, Role::Duramen)?;
    let divisor = divisor(results, row, over)?;
    let found = own / divisor;
    let (wanted, reached) = match *bound {
        AtLeast(least) => (format!(">= {least}"), found >= least),
        AtMost(most) => (format!("<= {most}"), found <= most),
    };
    let against = match over {
        Raw => ", over the raw bound".to_owned(),
        RawOf(other) => format!(", over the raw bound of {other}"),
        BestPeer => ", over the best peer".to_owned(),
        Peer(name) => format!(", over {name}"),
        Own(other) => format!(", over its own {other}"),
        Nothing => String::new(),
    };
    Some(Verdict { goal: format!("{metric}{against}"), wanted, found, reached })
}

fn divisor(results: &Results, row: &Row, over: &Over) -> Option<f64> {
    match over {
        Raw => results.median_of(row, Role::Raw),
        RawOf(other) => results.median_of(results.row(other)?, Role::Raw),
        BestPeer => results.best_peer(row),
        Peer(name) => results.peer(row, name),
        Own(other) => results.median_of(results.row(other)?, Role::Duramen),
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
        for (metric, over, _) in GOALS {
            assert!(exists(metric), "{metric}");
            if let RawOf(other) | Own(other) = over {
                assert!(exists(other), "{other}");
            }
        }
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
