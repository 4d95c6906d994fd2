//! What was measured: values by metric and system, and the ratios that follow. Pure; knows no file and no clock.

use crate::engine::Role;
use crate::works::{Better, Metric};

/// Who took part.
#[derive(Clone, Debug)]
pub struct Participant {
    /// The heading of its column.
    pub name: String,
    /// Who it is in the comparison.
    pub role: Role,
}

/// One line of the tables: all values of one metric.
#[derive(Debug)]
pub struct Row {
    /// What was measured.
    pub metric: &'static Metric,
    /// The values of all runs, by participant.
    pub values: Vec<Vec<f64>>,
}

/// Where and how the figures came about.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// Name and value, in the order of the report.
    pub facts: Vec<(String, String)>,
    /// A word for file names, made from the file system's name.
    pub slug: String,
}

/// A column of ratios: its heading, and the quotient of a row where both sides were measured.
pub type Ratio = (&'static str, fn(&Results, &Row) -> Option<f64>);

/// Everything that a run of the benchmark found.
#[derive(Debug, Default)]
pub struct Results {
    /// Where and how.
    pub circumstances: Circumstances,
    /// The columns.
    pub participants: Vec<Participant>,
    /// The lines.
    pub rows: Vec<Row>,
    /// What went wrong, in words.
    pub failures: Vec<String>,
}

impl Row {
    /// The median of a participant's runs.
    pub fn median(&self, participant: usize) -> Option<f64> {
        median(self.values.get(participant)?)
    }

    /// The smallest and the largest of a participant's runs.
    pub fn range(&self, participant: usize) -> Option<(f64, f64)> {
        let values = self.values.get(participant)?;
        let first = *values.first()?;
        Some(values.iter().fold((first, first), |(low, high), value| (low.min(*value), high.max(*value))))
    }
}

impl Results {
    /// The line of this metric.
    pub fn row(&self, metric: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.metric.id == metric)
    }

    /// The column of the first participant with this role.
    pub fn column(&self, role: Role) -> Option<usize> {
        self.participants.iter().position(|participant| participant.role == role)
    }

    /// The median of the first participant with this role.
    pub fn median_of(&self, row: &Row, role: Role) -> Option<f64> {
        row.median(self.column(role)?)
    }

    /// What the tables put beside the systems.
    pub fn ratios(&self) -> Vec<Ratio> {
        let mut ratios: Vec<Ratio> = Vec::new();
        let own = self.column(Role::Duramen);
        if own.is_some() && self.column(Role::Peer).is_some() {
            ratios.push(("Duramen / best peer", |results, row| {
                Some(results.median_of(row, Role::Duramen)? / results.best_peer(row)?)
            }));
        }
        if own.is_some() && self.column(Role::Raft).is_some() {
            ratios.push(("Raft / journal", |results, row| {
                Some(results.median_of(row, Role::Raft)? / results.median_of(row, Role::Duramen)?)
            }));
        }
        ratios
    }

    /// The best median among the peers.
    pub fn best_peer(&self, row: &Row) -> Option<f64> {
        let peers = self.participants.iter().enumerate().filter(|(_, participant)| participant.role == Role::Peer);
        let medians = peers.filter_map(|(column, _)| row.median(column));
        medians.reduce(|one, other| match row.metric.better {
            Better::Higher => one.max(other),
            Better::Lower => one.min(other),
        })
    }

    /// The median of the peer whose name starts so.
    pub fn peer(&self, row: &Row, name: &str) -> Option<f64> {
        row.median(self.participants.iter().position(|participant| participant.name.starts_with(name))?)
    }
}

/// The middle value, or the mean of the two middle ones.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Results that the tests of the report and of the goals share.
#[cfg(test)]
pub mod sample {
    use super::*;
    use crate::works;

    /// Raw bound 100, Duramen 98, two peers 50 and 80, for each metric of these.
    pub fn results(metrics: &[&str]) -> Results {
        let participant = |name: &str, role| Participant { name: name.to_owned(), role };
        let all = works::all().into_iter().flat_map(|work| work.metrics);
        let rows = all.filter(|metric| metrics.contains(&metric.id)).map(|metric| Row {
            metric,
            values: vec![vec![90.0, 100.0, 110.0], vec![98.0], vec![50.0], vec![80.0, 80.0]],
        });
        Results {
            rows: rows.collect(),
            participants: vec![
                participant("raw bound", Role::Raw),
                participant("Duramen", Role::Duramen),
                participant("raft-engine 1", Role::Peer),
                participant("other <peer>", Role::Peer),
            ],
            circumstances: Circumstances {
                facts: vec![("file system".to_owned(), "ext4".to_owned())],
                slug: "ext4".to_owned(),
            },
            failures: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn the_best_peer_depends_on_what_is_better() {
        let results = sample::results(&["sync1", "sync1_p99"]);
        assert_eq!(results.best_peer(results.row("sync1").unwrap()), Some(80.0));
        assert_eq!(results.best_peer(results.row("sync1_p99").unwrap()), Some(50.0));
        assert_eq!(results.row("sync1").unwrap().range(0), Some((90.0, 110.0)));
        assert_eq!(results.peer(results.row("sync1").unwrap(), "raft-engine"), Some(50.0));
    }
}
