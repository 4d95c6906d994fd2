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

/// Bytes at which a chunk is shared as it is.
const CHUNK_BYTES: usize = 128 << 10;

/// The rows of one time base.
#[derive(Clone, Debug, Default)]
struct Part {
    shared: Vec<Arc<Chunk>>,
    open: Chunk,
}

impl Part {
    fn share_open(&mut self) {
        if !self.open.is_empty() {
            let mut chunk = std::mem::take(&mut self.open);
            chunk.shrink();
            self.shared.push(Arc::new(chunk));
        }
    }

    fn insert(&mut self, mut chunk: Chunk) {
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
#[derive(Clone, Debug, Default)]
pub(crate) struct Memtable {
    parts: BTreeMap<TimeBase, Part>,
    bytes: usize,
}

impl Memtable {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub fn insert(&mut self, base: TimeBase, chunk: Chunk) {
        if !chunk.is_empty() {
            self.bytes += chunk.bytes();
            self.parts.entry(base).or_default().insert(chunk);
        }
    }

    /// All rows, as they are now.
    pub fn chunks(&self) -> Vec<(TimeBase, Arc<Chunk>)> {
        let mut all = Vec::new();
        for (&base, part) in &self.parts {
            all.extend(part.shared.iter().map(|chunk| (base, chunk.clone())));
            if !part.open.is_empty() {
                all.push((base, Arc::new(part.open.clone())));
            }
        }
        all
    }

    /// Takes out all rows of streams that have so many bytes of them.
    pub fn take_large(&mut self, bytes_min: usize) -> Memtable {
        let mut sizes: BTreeMap<StreamId, usize> = BTreeMap::new();
        for (_, chunk) in self.chunks() {
            for row in 0..chunk.len() {
                *sizes.entry(chunk.streams[row]).or_default() += chunk.text(row).len() + chunk.field_bytes(row).len();
            }
        }
        let large = |stream: StreamId| sizes.get(&stream).is_some_and(|&bytes| bytes >= bytes_min);
        let (mut taken, mut left) = (Memtable::default(), Memtable::default());
        for (base, chunk) in self.chunks() {
            taken.insert(base, chunk.filtered(|row| large(chunk.streams[row])));
            left.insert(base, chunk.filtered(|row| !large(chunk.streams[row])));
        }
        *self = left;
        taken
    }

    /// Gives up the rows of records above a sequence.
    pub fn truncate_above(&mut self, sequence: Sequence) {
        self.bytes = 0;
        for part in self.parts.values_mut() {
            part.open.truncate_above(sequence);
            for chunk in &mut part.shared {
                if chunk.groups.last().is_some_and(|group| group.sequence > sequence) {
                    Arc::make_mut(chunk).truncate_above(sequence);
                }
            }
            part.shared.retain(|chunk| !chunk.is_empty());
            self.bytes += part.open.bytes() + part.shared.iter().map(|chunk| chunk.bytes()).sum::<usize>();
        }
    }

    /// The streams that have rows.
    pub fn streams(&self) -> Vec<StreamId> {
        let mut all: Vec<StreamId> = Vec::new();
        for part in self.parts.values() {
            for chunk in part.shared.iter().map(|chunk| &**chunk).chain([&part.open]) {
                all.extend_from_slice(&chunk.streams);
                all.sort_unstable();
                all.dedup();
            }
        }
        all
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
        let mut memtable = Memtable::default();
        for sequence in 1..=40 {
            let rows = if sequence % 10 == 0 { 10_000 } else { 7 };
            let base = if sequence % 4 == 0 { TimeBase::Boot(1) } else { TimeBase::Wall };
            memtable.insert(base, chunk(sequence, rows));
        }
        let count = |memtable: &Memtable| memtable.chunks().iter().map(|(_, chunk)| chunk.len()).sum::<usize>();
        assert_eq!(count(&memtable), 36 * 7 + 4 * 10_000);
        assert_eq!(memtable.streams(), [StreamId(0), StreamId(1), StreamId(2)]);
        memtable.truncate_above(20);
        assert_eq!(count(&memtable), 18 * 7 + 2 * 10_000);
        let bytes: usize = memtable.chunks().iter().map(|(_, chunk)| chunk.bytes()).sum();
        assert_eq!(memtable.bytes(), bytes);
        let before = count(&memtable);
        let taken = memtable.take_large(1);
        assert_eq!((count(&taken), count(&memtable)), (before, 0));
        memtable = taken;
        memtable.truncate_above(0);
        assert!(memtable.is_empty() && memtable.streams().is_empty());
    }
}
