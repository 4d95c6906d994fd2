//! A caller's atomic unit: rows and samples of any streams, and positions of their sources. Owns its bounds; stores nothing.

use crate::chunk::Chunk;
use crate::format::batch::{KIND_POSITION, KIND_ROWS, KIND_ROWS_OF_BOOT, KIND_SAMPLES, LOG, put_position, put_rows};
use crate::format::chain::ChainWriter;
use crate::memtable::Columns;
use crate::row::{Arrival, Level, Nanoseconds, ROWS_PER_RECORD_MAX, TimeBase, put_field};
use crate::sample::SampleChunk;
use crate::session::USER;
use crate::stream::Stream;

/// Rows, samples and positions that are stored together or not at all.
///
/// A source's position (a file's offset, a client's sequence) in the batch of its rows is what makes each row come exactly
/// once: after any crash either both are there, or neither.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) wall: Chunk,
    pub(crate) boot: Chunk,
    pub(crate) samples: SampleChunk,
    pub(crate) samples_of_boot: SampleChunk,
    pub(crate) positions: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) streams: Vec<Stream>,
    /// It is the store's own, and is taken also when no others are.
    pub(crate) own: bool,
    /// What was taken out of it so far: an append that fails for another reason is tried again, and must not forget it.
    pub(crate) too_old: TooOld,
    fields: Vec<u8>,
}

/// What of a batch was not stored because it is older than the retention keeps: it would have been dropped at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TooOld {
    /// Rows.
    pub rows: usize,
    /// Bytes of their text.
    pub text_bytes: usize,
    /// Samples.
    pub samples: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// An empty batch of the store's own.
    pub(crate) fn own() -> Batch {
        Batch { own: true, ..Batch::default() }
    }

    /// Adds a row whose time is counted from 1970.
    pub fn push(&mut self, stream: &Stream, time: Nanoseconds, level: Level, text: &[u8], fields: &[(&str, &str)]) {
        self.push_at(TimeBase::Wall, stream, time, level, text, fields);
    }

    /// Adds a row at a time of either base. Any boot stands for the present one: rows of a boot are told by the time since it.
    pub fn push_at(
        &mut self,
        base: TimeBase,
        stream: &Stream,
        time: Nanoseconds,
        level: Level,
        text: &[u8],
        fields: &[(&str, &str)],
    ) {
        self.fields.clear();
        fields.iter().for_each(|(name, value)| put_field(&mut self.fields, name, value));
        self.name(stream);
        let chunk = if base == TimeBase::Wall { &mut self.wall } else { &mut self.boot };
        chunk.push(stream.id(), time, level, text, &self.fields);
    }

    /// Adds a sample whose time is counted from 1970. A series is a stream as any other; of several samples of one series and time
    /// the last one counts.
    pub fn push_sample(&mut self, series: &Stream, time: Nanoseconds, value: f64) {
        self.push_sample_at(TimeBase::Wall, series, time, value);
    }

    /// Adds a sample at a time of either base, as [`Batch::push_at`] does with rows.
    pub fn push_sample_at(&mut self, base: TimeBase, series: &Stream, time: Nanoseconds, value: f64) {
        self.name(series);
        let chunk = if base == TimeBase::Wall { &mut self.samples } else { &mut self.samples_of_boot };
        chunk.push(series.id(), time, value);
    }

    /// Streams that take turns come more than once; appending sees to that.
    fn name(&mut self, stream: &Stream) {
        if self.streams.last().is_none_or(|last| last.id() != stream.id()) {
            self.streams.push(stream.clone());
        }
    }

    /// Bytes of its rows' texts.
    pub fn text_bytes(&self) -> usize {
        self.wall.text.len() + self.boot.text.len()
    }

    /// Bytes of what it brings: texts and fields, and a time and a value for each sample.
    pub(crate) fn taken_bytes(&self) -> u64 {
        let rows = [&self.wall, &self.boot].map(|chunk| chunk.text.len() + chunk.fields.len());
        (rows.iter().sum::<usize>() + 16 * self.samples()) as u64
    }

    /// Says where a source stands after these rows. Of several for one key the last one holds; an empty value forgets the source.
    pub fn set_position(&mut self, key: &[u8], value: &[u8]) {
        self.positions.push(([&[USER], key].concat(), value.to_vec()));
    }

    /// Rows and samples in it.
    pub fn len(&self) -> usize {
        self.wall.len() + self.boot.len() + self.samples()
    }

    /// Samples in it.
    pub fn samples(&self) -> usize {
        self.samples.len() + self.samples_of_boot.len()
    }

    /// Whether it holds neither rows nor samples nor positions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.positions.is_empty()
    }

    /// Bytes that its rows take in memory.
    pub fn bytes(&self) -> usize {
        self.wall.bytes() + self.boot.bytes() + self.samples.bytes() + self.samples_of_boot.bytes()
    }

    /// Whether it has more rows than a record takes.
    pub(crate) fn is_too_long(&self) -> bool {
        let longest = self.wall.len().max(self.boot.len());
        longest.max(self.samples.len()).max(self.samples_of_boot.len()) > ROWS_PER_RECORD_MAX
    }

    /// Whether a row tells of an error, or of worse.
    pub(crate) fn is_urgent(&self) -> bool {
        let graver = |level: &u8| *level <= Level::Error as u8;
        self.wall.levels.iter().any(graver) || self.boot.levels.iter().any(graver)
    }

    /// Its records: rows, samples, positions. The chain's next records must be these ones, or it be cut.
    pub(crate) fn records(&self, arrival: Arrival, chain: &mut ChainWriter) -> duramen_journal::Batch {
        let mut records = duramen_journal::Batch::new();
        for (kind, chunk) in [(KIND_ROWS, &self.wall), (KIND_ROWS_OF_BOOT, &self.boot)] {
            if !chunk.is_empty() {
                records.push_with(LOG, kind, |out| put_rows(out, chunk, arrival));
            }
        }
        for (chunk, of_boot) in [(&self.samples, false), (&self.samples_of_boot, true)] {
            if !chunk.is_empty() {
                records.push_with(LOG, KIND_SAMPLES, |out| chain.put(out, chunk, of_boot, arrival));
            }
        }
        for (key, value) in &self.positions {
            records.push_with(LOG, KIND_POSITION, |out| put_position(out, key, value));
        }
        records
    }
}
