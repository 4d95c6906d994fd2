//! Samples in memory: what a series measured, and when. Owns the columns that batches and memory hold; knows neither journal nor
//! table.

use duramen_journal::Sequence;

use crate::chunk::StreamId;
use crate::memtable::Columns;
use crate::row::Nanoseconds;

/// A number that was measured at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub time: Nanoseconds,
    /// What. Every bit comes back as it was given, those of NaN too.
    pub value: f64,
}

/// The value that says "this series has ended here", as Prometheus writes it: a NaN of its own.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value says that its series has ended.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

/// Samples of one record of the journal within a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampleGroup {
    /// The record; 0 as long as it has none.
    pub sequence: Sequence,
    /// The chunk's sample that the group begins with.
    pub from: usize,
}

/// Columns of samples of one time base, one entry a sample in each.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SampleChunk {
    pub streams: Vec<StreamId>,
    pub times: Vec<Nanoseconds>,
    pub values: Vec<f64>,
    pub groups: Vec<SampleGroup>,
}

/// What one sample takes in the columns.
pub(crate) const SAMPLE_BYTES: usize = 4 + 8 + 8;

impl SampleChunk {
    pub fn push(&mut self, stream: StreamId, time: Nanoseconds, value: f64) {
        self.streams.push(stream);
        self.times.push(time);
        self.values.push(value);
    }
}

impl Columns for SampleChunk {
    fn len(&self) -> usize {
        self.streams.len()
    }

    fn bytes(&self) -> usize {
        self.len() * SAMPLE_BYTES + self.groups.len() * size_of::<SampleGroup>()
    }

    fn streams(&self) -> &[StreamId] {
        &self.streams
    }

    /// Each sample counts one.
    fn weight(&self, _row: usize) -> usize {
        1
    }

    fn sequences(&self) -> Option<(Sequence, Sequence)> {
        Some((self.groups.first()?.sequence, self.groups.last()?.sequence))
    }

    fn shrink(&mut self) {
        self.streams.shrink_to_fit();
        self.times.shrink_to_fit();
        self.values.shrink_to_fit();
        self.groups.shrink_to_fit();
    }

    fn extend(&mut self, other: &SampleChunk) {
        let before = self.len();
        self.streams.extend_from_slice(&other.streams);
        self.times.extend_from_slice(&other.times);
        self.values.extend_from_slice(&other.values);
        self.groups.extend(other.groups.iter().map(|group| SampleGroup { from: group.from + before, ..*group }));
    }

    fn filtered(&self, mut keep: impl FnMut(usize) -> bool) -> SampleChunk {
        let mut kept = SampleChunk::default();
        for (at, group) in self.groups.iter().enumerate() {
            let end = self.groups.get(at + 1).map_or(self.len(), |next| next.from);
            let before = kept.len();
            for row in (group.from..end).filter(|&row| keep(row)) {
                kept.push(self.streams[row], self.times[row], self.values[row]);
            }
            if kept.len() > before {
                kept.groups.push(SampleGroup { sequence: group.sequence, from: before });
            }
        }
        kept
    }

    fn truncate_above(&mut self, sequence: Sequence) {
        let keep = self.groups.partition_point(|group| group.sequence <= sequence);
        let rows = self.groups.get(keep).map_or(self.len(), |group| group.from);
        self.groups.truncate(keep);
        self.streams.truncate(rows);
        self.times.truncate(rows);
        self.values.truncate(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(sequence: Sequence, streams: &[u32]) -> SampleChunk {
        let mut chunk = SampleChunk { groups: vec![SampleGroup { sequence, from: 0 }], ..SampleChunk::default() };
        streams.iter().for_each(|&stream| chunk.push(StreamId(stream), sequence as i64, f64::from(stream)));
        chunk
    }

    #[test]
    fn samples_keep_their_records_when_chunks_are_joined_filtered_and_cut() {
        let mut all = chunk(5, &[1, 2, 1]);
        all.extend(&chunk(6, &[2]));
        all.extend(&chunk(9, &[1, 1]));
        let ones = all.filtered(|row| all.streams[row] == StreamId(1));
        assert_eq!(ones.times, [5, 5, 9, 9]);
        assert_eq!(ones.groups, [SampleGroup { sequence: 5, from: 0 }, SampleGroup { sequence: 9, from: 2 }]);
        assert_eq!(ones.sequences(), Some((5, 9)));
        all.truncate_above(6);
        assert_eq!((all.len(), all.groups.len()), (4, 2));
        all.truncate_above(4);
        assert!(all.is_empty() && all.sequences().is_none());
    }
}
