//! Rows that are in no table yet: in memory, in the order in which they came, and in the journal. Owns their bound in bytes;
//! writes nothing.
//!
//! Rows lie in chunks. Small ones are gathered until they are worth sharing; from then on nothing changes them, so that a
//! query that takes a look holds no lock while it reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use duramen_journal::Sequence;

use crate::chunk::{Chunk, StreamId};
use crate::row::TimeBase;

/// Columns of rows of one kind, in the order in which they came.
pub(crate) trait Columns: Clone + Default + std::fmt::Debug {
    /// Rows in it.
    fn len(&self) -> usize;
    /// Bytes that its rows take in memory.
    fn bytes(&self) -> usize;
    /// The stream of each row.
    fn streams(&self) -> &[StreamId];
    /// What a row counts for when the streams that have much are looked for.
    fn weight(&self, row: usize) -> usize;
    /// The first and the last record that it has rows of.
    fn sequences(&self) -> Option<(Sequence, Sequence)>;
    /// Gives back memory that no row uses.
    fn shrink(&mut self);
    /// Adds another one's rows.
    fn extend(&mut self, other: &Self);
    /// The rows that `keep` names.
    fn filtered(&self, keep: impl FnMut(usize) -> bool) -> Self;
    /// Gives up the rows of all records above a sequence.
    fn truncate_above(&mut self, sequence: Sequence);

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes at which a chunk is shared as it is.
const CHUNK_BYTES: usize = 128 << 10;

/// The rows of one time base.
#[derive(Clone, Debug)]
struct Part<C> {
    shared: Vec<Arc<C>>,
    open: C,
}

impl<C: Default> Default for Part<C> {
    fn default() -> Self {
        Part { shared: Vec::new(), open: C::default() }
    }
}

impl<C: Columns> Part<C> {
    fn share_open(&mut self) {
        if !self.open.is_empty() {
            let mut chunk = std::mem::take(&mut self.open);
            chunk.shrink();
            self.shared.push(Arc::new(chunk));
        }
    }

    fn insert(&mut self, mut chunk: C) {
        if chunk.bytes() >= CHUNK_BYTES {
            self.share_open();
            chunk.shrink();
            self.shared.push(Arc::new(chunk));
            return;
        }
        self.open.extend(&chunk);
        if self.open.bytes() >= CHUNK_BYTES {
            self.share_open();
        }
    }
}

/// Rows, and how many bytes they take.
#[derive(Clone, Debug)]
pub(crate) struct Memtable<C = Chunk> {
    parts: BTreeMap<TimeBase, Part<C>>,
    rows: usize,
    bytes: usize,
}

impl<C> Default for Memtable<C> {
    fn default() -> Self {
        Memtable { parts: BTreeMap::new(), rows: 0, bytes: 0 }
    }
}

impl<C: Columns> Memtable<C> {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Rows in it.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The first record that it has rows of.
    pub fn first_sequence(&self) -> Option<Sequence> {
        let first = |part: &Part<C>| part.shared.first().map_or(part.open.sequences(), |chunk| chunk.sequences());
        self.parts.values().filter_map(first).map(|(first, _)| first).min()
    }

    pub fn insert(&mut self, base: TimeBase, chunk: C) {
        if !chunk.is_empty() {
            self.rows += chunk.len();
            self.bytes += chunk.bytes();
            self.parts.entry(base).or_default().insert(chunk);
        }
    }

    /// All rows, as they are now.
    pub fn chunks(&self) -> Vec<(TimeBase, Arc<C>)> {
        let mut all = Vec::new();
        for (&base, part) in &self.parts {
            all.extend(part.shared.iter().map(|chunk| (base, chunk.clone())));
            if !part.open.is_empty() {
                all.push((base, Arc::new(part.open.clone())));
            }
        }
        all
    }

    /// Takes out all rows of streams whose rows weigh so much together.
    pub fn take_large(&mut self, weight_min: usize) -> Memtable<C> {
        let mut weights: BTreeMap<StreamId, usize> = BTreeMap::new();
        for (_, chunk) in self.chunks() {
            let mut run: Option<(StreamId, usize)> = None;
            for (row, &stream) in chunk.streams().iter().enumerate() {
                match &mut run {
                    Some((of, weight)) if *of == stream => *weight += chunk.weight(row),
                    _ => {
                        let ended = run.replace((stream, chunk.weight(row)));
                        ended.into_iter().for_each(|(of, weight)| *weights.entry(of).or_default() += weight);
                    }
                }
            }
            run.into_iter().for_each(|(of, weight)| *weights.entry(of).or_default() += weight);
        }
        weights.retain(|_, weight| *weight >= weight_min);
        if weights.is_empty() {
            return Memtable::default();
        }
        self.take(|stream| weights.contains_key(&stream))
    }

    /// Takes out all rows of some streams.
    pub fn take(&mut self, takes: impl Fn(StreamId) -> bool) -> Memtable<C> {
        let (mut taken, mut left) = (Memtable::default(), Memtable::default());
        for (base, chunk) in self.chunks() {
            let mut all = 0;
            let own = chunk.filtered(|row| {
                let own = takes(chunk.streams()[row]);
                all += usize::from(own);
                own
            });
            if all < chunk.len() {
                left.insert(base, chunk.filtered(|row| !takes(chunk.streams()[row])));
            }
            taken.insert(base, own);
        }
        *self = left;
        taken
    }

    /// Gives up the rows of records above a sequence.
    pub fn truncate_above(&mut self, sequence: Sequence) {
        (self.rows, self.bytes) = (0, 0);
        for part in self.parts.values_mut() {
            part.open.truncate_above(sequence);
            for chunk in &mut part.shared {
                if chunk.sequences().is_some_and(|(_, last)| last > sequence) {
                    Arc::make_mut(chunk).truncate_above(sequence);
                }
            }
            part.shared.retain(|chunk| !chunk.is_empty());
            self.rows += part.open.len() + part.shared.iter().map(|chunk| chunk.len()).sum::<usize>();
            self.bytes += part.open.bytes() + part.shared.iter().map(|chunk| chunk.bytes()).sum::<usize>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Group;
    use crate::row::{Arrival, Level};

    fn chunk(sequence: Sequence, rows: usize) -> Chunk {
        let mut chunk = Chunk::default();
        chunk.groups.push(Group { sequence, from: 0, ordinal: 0, arrival: Arrival::default() });
        for row in 0..rows {
            chunk.push(StreamId(row as u32 % 3), row as i64, Level::None, b"some text", b"");
        }
        chunk
    }

    #[test]
    fn what_was_put_in_is_there_until_it_is_cut() {
        let mut memtable = Memtable::<Chunk>::default();
        for sequence in 1..=40 {
            let rows = if sequence % 10 == 0 { 10_000 } else { 7 };
            let base = if sequence % 4 == 0 { TimeBase::Boot(1) } else { TimeBase::Wall };
            memtable.insert(base, chunk(sequence, rows));
        }
        let count = |memtable: &Memtable<Chunk>| memtable.chunks().iter().map(|(_, chunk)| chunk.len()).sum::<usize>();
        assert_eq!(count(&memtable), 36 * 7 + 4 * 10_000);
        memtable.truncate_above(20);
        assert_eq!(count(&memtable), 18 * 7 + 2 * 10_000);
        let bytes: usize = memtable.chunks().iter().map(|(_, chunk)| chunk.bytes()).sum();
        assert_eq!(memtable.bytes(), bytes);
        let before = count(&memtable);
        assert_eq!(memtable.len(), before);
        assert_eq!(memtable.first_sequence(), Some(1));
        let taken = memtable.take_large(1);
        assert_eq!((count(&taken), count(&memtable)), (before, 0));
        memtable = taken;
        memtable.truncate_above(0);
        assert!(memtable.is_empty());
    }
}
