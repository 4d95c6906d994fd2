//! What of a log is lost, from what is left of it. Owns the reasoning: which entries must have been there, which may have been,
//! and between which leaders they stood. Pure; knows no journal, and leaders as bytes.
//!
//! A segment's summary names the entries that lay in it, so damage to such a segment's records loses entries that can be
//! named. Where there is no summary, holes between the entries that are left can be named; beyond that anything may have stood
//! there, in any group.

use std::ops::Range;

use bytes::Bytes;
use duramen_journal::Sequence;

use crate::index::Index;

/// How sure a loss is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// These entries were there, and cannot be had.
    Certain,
    /// There may have been such entries, or others in the place of those that are left: nothing tells.
    Possible,
}

/// Entries that are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub first: u64,
    /// `None`: nobody knows.
    pub last: Option<u64>,
    /// The leader of the entry before them: theirs is the same or a later one.
    pub leader_from: Option<Bytes>,
    /// The leader of the entry behind them: theirs is the same or an earlier one.
    pub leader_to: Option<Bytes>,
    pub certainty: Certainty,
}

/// What is left of a log: its entries, and ids as index and leader.
#[derive(Clone, Debug)]
pub(crate) struct Left<'a> {
    pub index: &'a Index,
    pub last: Option<(u64, Bytes)>,
    pub committed: Option<(u64, Bytes)>,
    pub purged: Option<(u64, Bytes)>,
}

/// Ranges of indexes, half-open, of entries that are missing between others and behind what was purged.
pub(crate) fn holes(index: &Index, purged: Option<u64>) -> Vec<(u64, u64)> {
    let mut ranges = index.holes();
    if let (Some(purged), Some(first)) = (purged, index.first_index())
        && purged + 1 < first
    {
        ranges.insert(0, (purged + 1, first));
    }
    ranges
}

impl Left<'_> {
    fn leader_at(&self, at: Option<u64>) -> Option<Bytes> {
        let at = at?;
        let purged = self.purged.as_ref().filter(|(index, _)| *index == at).map(|(_, leader)| leader.clone());
        self.index.get(at).map(|(_, leader)| leader.clone()).or(purged)
    }

    /// Entries that the index names, and that lie where nothing can be read.
    pub fn named(&self, sequences: &Range<Sequence>) -> Vec<Lost> {
        let within = self.index.runs(..).filter_map(|run| {
            let from = run.first_sequence.max(sequences.start);
            let until = (run.first_sequence + run.count).min(sequences.end);
            let first = run.first_index + from.checked_sub(run.first_sequence).filter(|_| from < until)?;
            let last = Some(first + (until - from) - 1);
            let leader = Some(run.leader.clone());
            let certainty = Certainty::Certain;
            Some(Lost { first, last, leader_from: leader.clone(), leader_to: leader, certainty })
        });
        within.collect()
    }

    /// Entries that must have been there: between others, behind what was purged, and up to what was committed.
    pub fn missing(&self) -> Vec<Lost> {
        let mut ranges = holes(self.index, self.purged.as_ref().map(|id| id.0));
        if let Some((committed, _)) = &self.committed {
            let next = self.last.as_ref().map_or(*committed, |last| last.0.saturating_add(1));
            ranges.push((next, committed.saturating_add(1)));
        }
        let committed = |behind: u64| self.committed.as_ref().filter(|id| id.0 + 1 == behind);
        let lost = |(first, behind): (u64, u64)| Lost {
            first,
            last: Some(behind - 1),
            leader_from: self.leader_at(first.checked_sub(1)),
            leader_to: self.leader_at(Some(behind)).or_else(|| committed(behind).map(|id| id.1.clone())),
            certainty: Certainty::Certain,
        };
        ranges.into_iter().filter(|(first, behind)| first < behind).map(lost).collect()
    }

    /// Entries that may have been added, or replaced, by records of which nothing is known.
    pub fn possible(&self, sequences: &Range<Sequence>) -> Option<Lost> {
        let settled = self.committed.iter().chain(&self.purged).map(|id| id.0.saturating_add(1)).max();
        let later = self.index.runs(..).find(|run| run.first_sequence + run.count > sequences.end);
        let Some(later) = later else {
            // Nothing of the group is newer: it may have ended anywhere.
            let first = settled.or(self.index.first_index())?.max(self.last.as_ref().map_or(0, |id| id.0 + 1));
            let leader_from = self.last.as_ref().map(|id| id.1.clone());
            return Some(Lost { first, last: None, leader_from, leader_to: None, certainty: Certainty::Possible });
        };
        let behind = later.first_index + sequences.end.saturating_sub(later.first_sequence);
        let first = settled.or(self.index.first_index())?;
        let (before, after) = (self.leader_at(behind.checked_sub(1)), self.leader_at(Some(behind)));
        // One leader never replaces its own entries: where both sides are of one, nothing was replaced between them.
        if first >= behind || (before.is_some() && before == after) || before.is_none() {
            return None;
        }
        let last = Some(behind - 1);
        let leader_from = self.leader_at(first.checked_sub(1));
        Some(Lost { first, last, leader_from, leader_to: after, certainty: Certainty::Possible })
    }

    /// All of it, in order: `told` are places where a summary says what lay there, of `untold` ones nothing is known.
    pub fn lost(&self, told: &[Range<Sequence>], untold: &[Range<Sequence>]) -> Vec<Lost> {
        let mut lost: Vec<Lost> = told.iter().chain(untold).flat_map(|hole| self.named(hole)).collect();
        lost.extend(self.missing());
        lost.extend(untold.iter().filter_map(|hole| self.possible(hole)).reduce(widest));
        lost.sort_by_key(|lost| (lost.first, lost.last));
        lost.dedup();
        lost
    }
}

fn widest(one: Lost, other: Lost) -> Lost {
    let last = one.last.zip(other.last).map(|(one, other)| one.max(other));
    let first = one.first.min(other.first);
    let leader_from = if first == one.first { one.leader_from } else { other.leader_from };
    Lost { first, last, leader_from, leader_to: other.leader_to, certainty: Certainty::Possible }
}
