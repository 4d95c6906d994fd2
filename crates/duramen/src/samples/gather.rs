//! For the readers' tests: what they hand out, as text and in vectors, and their speed.

use crate::samples::{Metadata, Outcome, Refused, Sample};

/// A sample as a line, and its value's bits apart: `{__name__="cpu", host="a"} 1.5 @ 10`.
pub fn line(sample: &Sample<'_>) -> Result<String, Refused> {
    let mut labels = sample.series.labels().map_err(Refused::Row)?;
    labels.sort();
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let time = sample.time.map_or(String::new(), |time| format!(" @ {time}"));
    Ok(format!("{{{}}} {}{time}", pairs.join(", "), sample.value))
}

/// What a reader gave.
#[derive(Debug)]
pub struct Gathered {
    pub lines: Vec<String>,
    pub metadata: Vec<String>,
    pub outcome: Outcome,
}

/// Runs a reader.
pub fn gather(
    read: impl FnOnce(&mut dyn FnMut(&Sample<'_>) -> Result<(), Refused>, &mut dyn FnMut(&Metadata<'_>)) -> Outcome,
) -> Gathered {
    let (mut lines, mut metadata) = (Vec::new(), Vec::new());
    let mut each = |sample: &Sample<'_>| {
        lines.push(line(sample)?);
        Ok(())
    };
    let mut told = |said: &Metadata<'_>| {
        let kind = said.kind.map_or("", |kind| kind.name());
        let (help, unit) = (said.help.as_deref().unwrap_or(""), said.unit.as_deref().unwrap_or(""));
        metadata.push(format!("{} {kind} {help:?} {unit}", said.name));
    };
    let outcome = read(&mut each, &mut told);
    assert_eq!(outcome.samples, lines.len() as u64);
    assert_eq!(outcome.bad.len() as u64, outcome.bad_count.min(100));
    Gathered { lines, metadata, outcome }
}

impl Gathered {
    /// The bad rows as `row:column: reason`.
    pub fn bad(&self) -> Vec<String> {
        self.outcome.bad.iter().map(|bad| format!("{}:{}: {}", bad.row, bad.column, bad.reason)).collect()
    }
}

/// Bytes that are nearly a body: a good one with some bytes changed, cut at some place.
pub fn damaged(body: &[u8], changes: &[(usize, u8)], end: usize) -> Vec<u8> {
    let mut damaged = body.to_vec();
    for &(at, byte) in changes {
        let length = damaged.len();
        damaged[at % length] = byte;
    }
    damaged.truncate(end % (body.len() + 1));
    damaged
}
