//! Where the entries of a log lie: from an index to a sequence of the journal and the leader's id. Owns the compact form:
//! entries that follow each other in index and in the journal, under one leader, are one *run*, and runs are stored as
//! tokens of a few bytes. Pure; knows neither journal nor payloads.
//!
//! Memory: a run costs 1 to 5 bytes (the gap in the journal before it, and its length), a change of the leader 32 and the
//! leader's bytes. So an entry costs next to nothing where a log has the journal for itself, and at most 8 bytes where
//! every entry is a run of its own.
//!
//! Invariants:
//! - Chunks are sorted by index and do not overlap; within one, indexes have no hole and sequences grow.
//! - `first` is at or below every index; entries of the first chunk below it are gone.

use std::collections::VecDeque;

use bytes::Bytes;
use duramen_journal::Sequence;

/// Tokens in a chunk: a lookup walks over so many at most.
const CHUNK_TOKENS: u32 = 128;
/// Bytes of them: so many or fewer, as long tokens take less room in more chunks.
const CHUNK_BYTES: usize = 512;
/// The longest token: a gap, and a count.
const TOKEN_BYTES_MAX: usize = 20;

/// Entries that follow each other in every respect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of the first entry.
    pub first_index: u64,
    /// Sequence of the first entry.
    pub first_sequence: Sequence,
    /// How many.
    pub count: u64,
    /// Who led, in the user's own bytes.
    pub leader: Bytes,
}

impl Run {
    /// The index behind the last entry.
    pub fn end(&self) -> u64 {
        self.first_index + self.count
    }

    /// The part of the run in a range of indexes.
    pub(crate) fn clip(&self, from: u64, end: u64) -> Option<Run> {
        let first = self.first_index.max(from);
        let last = self.end().min(end);
        (first < last).then(|| Run {
            first_index: first,
            first_sequence: self.first_sequence + (first - self.first_index),
            count: last - first,
            leader: self.leader.clone(),
        })
    }
}

/// The last run of a chunk, which may still grow.
#[derive(Clone, Copy, Debug)]
struct Open {
    index: u64,
    sequence: Sequence,
    count: u64,
    /// Sequences between it and the run before.
    gap: u64,
    /// Its leader is not that of the run before.
    changed: bool,
}

#[derive(Clone, Debug)]
struct Chunk {
    first_index: u64,
    first_sequence: Sequence,
    leader: Bytes,
    /// The leaders after the first, in order.
    changes: Vec<Bytes>,
    /// The runs before the last, and how many they are.
    tokens: Vec<u8>,
    closed: u32,
    open: Open,
}

impl Chunk {
    fn new(run: &Run) -> Chunk {
        Chunk {
            first_index: run.first_index,
            first_sequence: run.first_sequence,
            leader: run.leader.clone(),
            changes: Vec::new(),
            tokens: Vec::new(),
            closed: 0,
            open: Open {
                index: run.first_index,
                sequence: run.first_sequence,
                count: run.count,
                gap: 0,
                changed: false,
            },
        }
    }

    fn end(&self) -> u64 {
        self.open.index + self.open.count
    }

    fn last_leader(&self) -> &Bytes {
        self.changes.last().unwrap_or(&self.leader)
    }

    /// Takes a run that follows in index, if it can.
    fn push(&mut self, run: &Run) -> bool {
        let next = self.open.sequence + self.open.count;
        let changed = *self.last_leader() != run.leader;
        if run.first_sequence == next && !changed {
            self.open.count += run.count;
            return true;
        }
        let full = self.closed == CHUNK_TOKENS || self.tokens.len() + TOKEN_BYTES_MAX > CHUNK_BYTES;
        if run.first_sequence < next || full {
            return false;
        }
        self.close_open();
        if changed {
            self.changes.push(run.leader.clone());
        }
        self.open = Open {
            index: run.first_index,
            sequence: run.first_sequence,
            count: run.count,
            gap: run.first_sequence - next,
            changed,
        };
        true
    }

    fn close_open(&mut self) {
        let Open { gap, count, changed, .. } = self.open;
        let flags = u64::from(changed) | u64::from(count > 1) << 1;
        // A gap of 2^62 sequences is none that a journal can have.
        crate::format::put_varint(gap << 2 | flags, &mut self.tokens);
        if count > 1 {
            crate::format::put_varint(count - 2, &mut self.tokens);
        }
        self.closed += 1;
    }

    /// Its runs, in order.
    fn runs(&self) -> Runs<'_> {
        Runs {
            chunk: self,
            tokens: crate::format::Reader { left: &self.tokens },
            index: self.first_index,
            sequence: self.first_sequence,
            leader: &self.leader,
            changes: 0,
            done: false,
        }
    }

    fn bytes(&self) -> usize {
        let leaders = self.changes.capacity() * size_of::<Bytes>();
        let shared: usize = self.changes.iter().map(Bytes::len).sum();
        size_of::<Chunk>() + self.tokens.capacity() + leaders + shared + self.leader.len()
    }
}

/// A run whose leader is still the chunk's.
struct Lent<'a> {
    first_index: u64,
    first_sequence: Sequence,
    count: u64,
    leader: &'a Bytes,
}

struct Runs<'a> {
    chunk: &'a Chunk,
    tokens: crate::format::Reader<'a>,
    index: u64,
    sequence: Sequence,
    leader: &'a Bytes,
    changes: usize,
    done: bool,
}

impl<'a> Iterator for Runs<'a> {
    type Item = Lent<'a>;

    fn next(&mut self) -> Option<Lent<'a>> {
        if self.done {
            return None;
        }
        let (gap, changed, count) = match self.tokens.varint() {
            Ok(token) => {
                let count = if token & 2 == 0 { 1 } else { self.tokens.varint().ok()? + 2 };
                (token >> 2, token & 1 != 0, count)
            }
            Err(_) => {
                self.done = true;
                let open = self.chunk.open;
                (open.gap, open.changed, open.count)
            }
        };
        if changed {
            self.leader = self.chunk.changes.get(self.changes)?;
            self.changes += 1;
        }
        let sequence = self.sequence + gap;
        let run = Lent { first_index: self.index, first_sequence: sequence, count, leader: self.leader };
        self.index += count;
        self.sequence = sequence + count;
        Some(run)
    }
}

/// The entries of one log.
#[derive(Clone, Debug, Default)]
pub struct Index {
    chunks: VecDeque<Chunk>,
    /// Entries below are gone.
    first: u64,
}

/// What a change took out of an index, so that it can be put back.
#[derive(Debug)]
pub struct Removed {
    what: Part,
}

#[derive(Debug)]
enum Part {
    /// Nothing was taken out; entries from here on were added.
    Added { from: u64 },
    /// The end: chunks, of which the first may have been cut.
    Back { chunks: Vec<Chunk> },
    /// The beginning.
    Front { chunks: Vec<Chunk>, first: u64 },
    /// Everything.
    Whole(Index),
}

impl Index {
    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The first index; `None`: there is no entry.
    pub fn first_index(&self) -> Option<u64> {
        self.chunks.front().map(|chunk| chunk.first_index.max(self.first))
    }

    /// The index behind the last entry; `None`: there is no entry.
    pub fn end(&self) -> Option<u64> {
        self.chunks.back().map(Chunk::end)
    }

    /// The last entry's index, and who led.
    pub fn last(&self) -> Option<(u64, &Bytes)> {
        self.chunks.back().map(|chunk| (chunk.end() - 1, chunk.last_leader()))
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        let whole: u64 = self.chunks.iter().map(|chunk| chunk.end() - chunk.first_index).sum();
        let cut = self.chunks.front().map_or(0, |chunk| self.first.saturating_sub(chunk.first_index));
        whole - cut
    }

    /// Adds one entry behind the last.
    pub fn push(&mut self, index: u64, sequence: Sequence, leader: &Bytes) -> Removed {
        self.push_run(&Run { first_index: index, first_sequence: sequence, count: 1, leader: leader.clone() })
    }

    /// Adds one entry if it only makes the last run longer: the usual case, in a few instructions.
    pub(crate) fn lengthen(&mut self, index: u64, sequence: Sequence, leader: &[u8]) -> bool {
        let Some(chunk) = self.chunks.back_mut() else { return false };
        let follows = chunk.end() == index && chunk.open.sequence + chunk.open.count == sequence;
        let fits = follows && chunk.last_leader() == leader;
        if fits {
            chunk.open.count += 1;
        }
        fits
    }

    /// Adds a run behind the last entry, with or without a hole before it.
    ///
    /// # Panics
    /// If the run does not lie behind the last entry.
    pub fn push_run(&mut self, run: &Run) -> Removed {
        let end = self.end();
        assert!(end.is_none_or(|end| run.first_index >= end), "a run is added behind the last entry");
        let follows = end == Some(run.first_index);
        let taken = follows && self.chunks.back_mut().is_some_and(|chunk| chunk.push(run));
        if !taken && run.count > 0 {
            if self.chunks.is_empty() {
                self.first = 0;
            }
            self.chunks.push_back(Chunk::new(run));
        }
        Removed { what: Part::Added { from: run.first_index } }
    }

    /// Puts runs in the place of what the index says of their entries, wherever those are. All of `newer` counts.
    pub fn overlay(&mut self, newer: &Index) -> Removed {
        let Some(first) = newer.first_index() else { return Removed { what: Part::Added { from: u64::MAX } } };
        if self.end().is_none_or(|end| first >= end) {
            newer.runs(..).for_each(|run| drop(self.push_run(&run)));
            return Removed { what: Part::Added { from: first } };
        }
        let before = std::mem::take(self);
        let mut old = before.runs(..);
        let mut held: Option<Run> = None;
        for run in newer.runs(..) {
            while let Some(other) = held.take().or_else(|| old.next()) {
                if other.first_index >= run.end() {
                    held = Some(other);
                    break;
                }
                other.clip(0, run.first_index).iter().for_each(|piece| drop(self.push_run(piece)));
                held = other.clip(run.end(), u64::MAX);
                if held.is_some() {
                    break;
                }
            }
            self.push_run(&run);
        }
        held.into_iter().chain(old).for_each(|run| drop(self.push_run(&run)));
        Removed { what: Part::Whole(before) }
    }

    /// Takes out all entries from an index on.
    pub fn truncate_from(&mut self, from: u64) -> Removed {
        if self.first_index().is_some_and(|first| from <= first) {
            return self.clear();
        }
        let kept = self.chunks.partition_point(|chunk| chunk.end() <= from);
        let chunks: Vec<Chunk> = self.chunks.drain(kept..).collect();
        if let Some(cut) = chunks.first().filter(|chunk| chunk.first_index < from) {
            let mut shorter: Option<Chunk> = None;
            for run in cut.runs() {
                let run = Run {
                    first_index: run.first_index,
                    first_sequence: run.first_sequence,
                    count: run.count,
                    leader: run.leader.clone(),
                };
                let Some(run) = run.clip(0, from) else { break };
                match &mut shorter {
                    Some(chunk) => assert!(chunk.push(&run), "a part of a chunk fits into one"),
                    None => shorter = Some(Chunk::new(&run)),
                }
            }
            self.chunks.extend(shorter);
        }
        Removed { what: Part::Back { chunks } }
    }

    /// Takes out all entries up to an index.
    pub fn purge_upto(&mut self, upto: u64) -> Removed {
        let gone = self.chunks.partition_point(|chunk| chunk.end() <= upto.saturating_add(1));
        let first = self.first;
        let chunks = self.chunks.drain(..gone).collect();
        self.first = self.first.max(upto.saturating_add(1));
        Removed { what: Part::Front { chunks, first } }
    }

    /// Takes out everything.
    pub fn clear(&mut self) -> Removed {
        Removed { what: Part::Whole(std::mem::take(self)) }
    }

    /// Undoes the latest change that was not undone yet.
    pub fn put_back(&mut self, removed: Removed) {
        match removed.what {
            Part::Added { from } => drop(self.truncate_from(from)),
            Part::Back { chunks } => {
                let Some(cut) = chunks.first().map(|chunk| chunk.first_index) else { return };
                let kept = self.chunks.partition_point(|chunk| chunk.first_index < cut);
                self.chunks.truncate(kept);
                self.chunks.extend(chunks);
            }
            Part::Front { chunks, first } => {
                chunks.into_iter().rev().for_each(|chunk| self.chunks.push_front(chunk));
                self.first = first;
            }
            Part::Whole(before) => *self = before,
        }
    }

    /// Where an entry lies, and who led.
    pub fn get(&self, index: u64) -> Option<(Sequence, &Bytes)> {
        if index < self.first {
            return None;
        }
        let behind = self.chunks.partition_point(|chunk| chunk.first_index <= index);
        let chunk = self.chunks.get(behind.checked_sub(1)?)?;
        if index >= chunk.end() {
            return None;
        }
        if index >= chunk.open.index {
            return Some((chunk.open.sequence + (index - chunk.open.index), chunk.last_leader()));
        }
        let run = chunk.runs().find(|run| index < run.first_index + run.count)?;
        Some((run.first_sequence + (index - run.first_index), run.leader))
    }

    /// The runs in a range of indexes, in order.
    pub fn runs(&self, range: impl std::ops::RangeBounds<u64>) -> impl Iterator<Item = Run> + '_ {
        use std::ops::Bound;
        let from = match range.start_bound() {
            Bound::Included(&from) => from,
            Bound::Excluded(&from) => from.saturating_add(1),
            Bound::Unbounded => 0,
        }
        .max(self.first);
        let end = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        let begin = self.chunks.partition_point(|chunk| chunk.end() <= from);
        let chunks = self.chunks.range(begin..).take_while(move |chunk| chunk.first_index < end);
        chunks.flat_map(Chunk::runs).filter_map(move |run| {
            let whole = Run {
                first_index: run.first_index,
                first_sequence: run.first_sequence,
                count: run.count,
                leader: run.leader.clone(),
            };
            whole.clip(from, end)
        })
    }

    /// Indexes between the first and the last that have no entry: half-open ranges.
    pub fn holes(&self) -> Vec<(u64, u64)> {
        let pairs = self.chunks.iter().zip(self.chunks.iter().skip(1));
        pairs.filter(|(a, b)| a.end() < b.first_index).map(|(a, b)| (a.end(), b.first_index)).collect()
    }

    /// The lowest sequence that an entry lies at.
    pub fn lowest_sequence(&self) -> Option<Sequence> {
        let front = self.first_index().and_then(|first| self.get(first)).map(|(sequence, _)| sequence);
        let others = self.chunks.iter().skip(1).map(|chunk| chunk.first_sequence).min();
        front.into_iter().chain(others).min()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let spare = self.chunks.capacity() - self.chunks.len();
        spare * size_of::<Chunk>() + self.chunks.iter().map(Chunk::bytes).sum::<usize>()
    }
}

impl PartialEq for Index {
    /// Whether both say the same of the same entries.
    fn eq(&self, other: &Index) -> bool {
        let entries = |index: &Index| {
            let runs: Vec<Run> = index.runs(..).collect();
            runs.into_iter().fold(Vec::<Run>::new(), |mut joined, run| {
                match joined.last_mut() {
                    Some(last)
                        if last.end() == run.first_index
                            && last.first_sequence + last.count == run.first_sequence
                            && last.leader == run.leader =>
                    {
                        last.count += run.count;
                    }
                    _ => joined.push(run),
                }
                joined
            })
        };
        entries(self) == entries(other)
    }
}

#[cfg(test)]
mod tests;
