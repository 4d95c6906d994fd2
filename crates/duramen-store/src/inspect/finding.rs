//! What is wrong with a store, where, and what it costs. Owns the words; finds nothing.

use std::fmt;

use super::{json_number, json_string};
use crate::format::manifest::TableEntry;
use crate::format::table::Partition;
use crate::labels::Labels;
use crate::row::Nanoseconds;

/// Of which sort a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes do not verify.
    Damage,
    /// The device could not read: that says nothing about the bytes.
    Unreadable,
    /// All bytes verify, but they say what cannot be.
    Rule,
}

impl Fault {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Fault::Damage => "damage",
            Fault::Unreadable => "unreadable",
            Fault::Rule => "rule",
        }
    }
}

/// What a loss is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Rows; nobody may know whether there were samples among them.
    #[default]
    Rows,
    /// Samples.
    Samples,
}

impl Unit {
    /// What the tables of a partition hold.
    pub(crate) fn of(partition: Partition) -> Unit {
        if partition.is_of_samples() { Unit::Samples } else { Unit::Rows }
    }

    /// So many of them, in words.
    pub(crate) fn count(self, count: u64) -> String {
        let (one, many) = match self {
            Unit::Rows => ("row", "rows"),
            Unit::Samples => ("sample", "samples"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }

    /// The name of the field in which an event tells how many.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Unit::Rows => "rows",
            Unit::Samples => "samples",
        }
    }
}

/// Rows or samples that cannot be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// How many; `None`: nobody knows.
    pub rows: Option<u64>,
    /// What they are.
    pub unit: Unit,
    /// The first and the last time of them.
    pub times: Option<(Nanoseconds, Nanoseconds)>,
    /// The boot that these times are counted from; `None`: they are wall time.
    pub boot: Option<u32>,
    /// Their stream; `None`: of several, or nobody knows which.
    pub stream: Option<Labels>,
}

impl Loss {
    /// Of a table whose rows cannot be had.
    pub(crate) fn of_entry(entry: &TableEntry) -> Loss {
        let (boot, unit) = (boot_of(entry.partition), Unit::of(entry.partition));
        Loss { rows: Some(entry.rows), unit, times: Some(entry.times), boot, stream: None }
    }

    /// The whole as one JSON object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"rows\":{},\"from\":{},\"to\":{},\"boot\":{},\"stream\":{}}}",
            json_number(self.rows),
            json_number(self.times.map(|times| times.0)),
            json_number(self.times.map(|times| times.1)),
            json_number(self.boot),
            self.stream.as_ref().map_or_else(|| "null".to_string(), |labels| json_string(&labels.to_string()))
        )
    }
}

/// The boot that times of a partition are counted from.
pub(crate) fn boot_of(partition: Partition) -> Option<u32> {
    match partition {
        Partition::Day(_) | Partition::Samples(_) | Partition::Downsampled(_) => None,
        Partition::Boot(boot) | Partition::SamplesOfBoot(boot) => Some(boot),
    }
}

/// Times stand in it as nanoseconds; whoever shows it to people says them better.
impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows {
            Some(rows) => write!(f, "{}", self.unit.count(rows))?,
            None => write!(f, "{}, nobody knows how many", self.unit.field())?,
        }
        self.stream.as_ref().map_or(Ok(()), |stream| write!(f, " of {stream}"))
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of which sort.
    pub fault: Fault,
    /// The file, below the data folder.
    pub file: String,
    /// Where in it, if that is known.
    pub offset: Option<u64>,
    /// What is wrong.
    pub reason: String,
    /// Which rows cannot be had because of it; `None`: none are known to be lost.
    pub loss: Option<Loss>,
}

impl Finding {
    /// The whole as one JSON object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"fault\":\"{}\",\"file\":{},\"offset\":{},\"reason\":{},\"loss\":{}}}",
            self.fault.word(),
            json_string(&self.file),
            json_number(self.offset),
            json_string(&self.reason),
            self.loss.as_ref().map_or_else(|| "null".to_string(), Loss::to_json)
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        self.offset.map_or(Ok(()), |offset| write!(f, " at offset {offset}"))?;
        write!(f, ": {}", self.reason)?;
        self.loss.as_ref().map_or(Ok(()), |loss| write!(f, "; lost: {loss}"))
    }
}

/// Findings: the first of them to be told, the others counted.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub kept: Vec<Finding>,
    pub more: u64,
    pub damage: bool,
    pub unreadable: bool,
}

/// Findings that are kept.
const KEPT: usize = 1_000;

impl Findings {
    pub fn add(&mut self, finding: Finding) {
        match finding.fault {
            Fault::Damage | Fault::Rule => self.damage = true,
            Fault::Unreadable => self.unreadable = true,
        }
        if self.kept.len() < KEPT { self.kept.push(finding) } else { self.more += 1 }
    }

    pub fn rule(&mut self, file: String, offset: Option<u64>, reason: String) {
        self.add(Finding { fault: Fault::Rule, file, offset, reason, loss: None });
    }

    pub fn extend(&mut self, other: Findings) {
        other.kept.into_iter().for_each(|finding| self.add(finding));
        self.more += other.more;
        self.damage |= other.damage;
        self.unreadable |= other.unreadable;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where_what_and_what_it_costs() {
        let stream = Some(Labels::new([("app", "a")]).unwrap());
        let loss = Some(Loss { rows: Some(3), times: Some((1, 2)), stream, ..Loss::default() });
        let file = "tables/1.table".to_string();
        let finding = Finding { fault: Fault::Damage, file, offset: Some(64), reason: "bad \"x\"".into(), loss };
        assert_eq!(finding.to_string(), r#"tables/1.table at offset 64: bad "x"; lost: 3 rows of {app="a"}"#);
        assert_eq!(
            finding.to_json(),
            "{\"fault\":\"damage\",\"file\":\"tables/1.table\",\"offset\":64,\"reason\":\"bad \\\"x\\\"\",\
             \"loss\":{\"rows\":3,\"from\":1,\"to\":2,\"boot\":null,\"stream\":\"{app=\\\"a\\\"}\"}}"
        );
    }
}
