//! What can be seen at one moment: rows in memory, rows being sealed, live tables. Owns the one lock under which they change
//! together, so that a query finds each row once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use duramen_journal::Sequence;

use crate::catalog::Catalog;
use crate::error::Error;
use crate::format::chain::ByStream;
use crate::format::manifest::TableEntry;
use crate::lock;
use crate::memtable::{Columns, Memtable};
use crate::options::SERIES_SAMPLES_MIN;
use crate::row::TimeBase;
use crate::sample::{Sample, SampleChunk};
use crate::table::Table;

/// Tables that are kept open at the same time at most: each holds a file.
const OPEN_TABLES_MAX: usize = 64;
/// So many are kept open whatever their indexes take, so that the same question does not open them anew each time.
const OPEN_TABLES_MIN: usize = 2;

/// Rows or samples that are on their way into tables: one of both is empty.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    pub rows: Memtable,
    pub samples: Memtable<SampleChunk>,
    /// All rows, or samples, below this sequence are in these, in older ones, or in tables.
    pub below: Sequence,
    /// That holds for the streams that have any here only: others have theirs in memory still.
    pub partial: bool,
    /// The tables that are written already.
    pub done: Mutex<Vec<TableEntry>>,
}

/// A live table, opened when it is first needed.
#[derive(Debug)]
pub(crate) struct Live {
    pub entry: TableEntry,
    open: Mutex<Option<Arc<Table>>>,
}

impl Live {
    pub fn new(entry: TableEntry) -> Live {
        Live { entry, open: Mutex::new(None) }
    }
}

/// What is known of a series without looking at its samples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// The latest sample that was written since opening, if its time is wall time.
    pub last: Option<Sample>,
    /// No table has a later one.
    pub sure: bool,
    /// Samples in memory that are not being sealed.
    pub buffered: u32,
}

/// The state that queries take a look at.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub active: Memtable,
    pub samples: Memtable<SampleChunk>,
    /// When the oldest of the samples came, on the monotonic clock.
    pub samples_since: Option<Duration>,
    pub tallies: ByStream<Tally>,
    /// Series that have so many samples in memory that they are worth sealing.
    pub long: usize,
    /// The oldest first.
    pub sealed: VecDeque<Arc<Sealed>>,
    /// Sorted by number.
    pub tables: Vec<Arc<Live>>,
    /// Tables that are live no more, whose files wait until nobody reads them.
    pub retired: Vec<Arc<Live>>,
}

impl View {
    /// Bytes of rows and samples in memory.
    pub fn bytes(&self) -> usize {
        let sealed = self.sealed.iter().map(|sealed| sealed.rows.bytes() + sealed.samples.bytes());
        self.active.bytes() + self.samples.bytes() + sealed.sum::<usize>()
    }

    /// Whether rows wait to be sealed.
    pub fn seals_rows(&self) -> bool {
        self.sealed.iter().any(|sealed| !sealed.rows.is_empty())
    }

    /// Whether samples wait to be sealed.
    pub fn seals_samples(&self) -> bool {
        self.sealed.iter().any(|sealed| !sealed.samples.is_empty())
    }

    /// The first record of which anything is in no table.
    pub fn first_sequence(&self) -> Option<Sequence> {
        let sealed = self.sealed.iter().flat_map(|own| [own.rows.first_sequence(), own.samples.first_sequence()]);
        sealed.chain([self.active.first_sequence(), self.samples.first_sequence()]).flatten().min()
    }

    /// The first record of which samples are in no table.
    pub fn first_sample_sequence(&self) -> Option<Sequence> {
        let sealed = self.sealed.iter().map(|own| own.samples.first_sequence());
        sealed.chain([self.samples.first_sequence()]).flatten().min()
    }

    /// Puts samples into memory.
    pub fn insert_samples(&mut self, base: TimeBase, chunk: SampleChunk, now: Duration) {
        if chunk.is_empty() {
            return;
        }
        self.samples_since.get_or_insert(now);
        self.tally(base, &chunk);
        self.samples.insert(base, chunk);
    }

    fn tally(&mut self, base: TimeBase, chunk: &SampleChunk) {
        let mut from = 0;
        for run in chunk.streams.chunk_by(|a, b| a == b) {
            let rows = from..from + run.len();
            from = rows.end;
            let tally = self.tallies.entry(run[0]).or_default();
            let was = tally.buffered as usize;
            tally.buffered += run.len() as u32;
            self.long += usize::from(was < SERIES_SAMPLES_MIN && was + run.len() >= SERIES_SAMPLES_MIN);
            if base == TimeBase::Wall {
                // Of several at one time the last one.
                let Some(row) = rows.max_by_key(|&row| chunk.times[row]) else { continue };
                let sample = Sample { time: chunk.times[row], value: chunk.values[row] };
                if tally.last.is_none_or(|last| last.time <= sample.time) {
                    tally.last = Some(sample);
                }
            }
        }
    }

    /// Takes the samples out of the memory of series that have many.
    pub fn take_long_series(&mut self) -> Memtable<SampleChunk> {
        let mut taken = Memtable::default();
        if self.long > 0 {
            let tallies = &self.tallies;
            let many = |tally: &Tally| tally.buffered as usize >= SERIES_SAMPLES_MIN;
            taken = self.samples.take(|stream| tallies.get(&stream).is_some_and(many));
            self.tallies.values_mut().filter(|tally| many(tally)).for_each(|tally| tally.buffered = 0);
            self.long = 0;
        }
        taken
    }

    /// Takes all samples out of the memory.
    pub fn take_samples(&mut self) -> Memtable<SampleChunk> {
        self.samples_since = None;
        self.long = 0;
        self.tallies.values_mut().for_each(|tally| tally.buffered = 0);
        std::mem::take(&mut self.samples)
    }

    /// Gives up the samples of records above a sequence, which were refused.
    pub fn truncate_samples_above(&mut self, sequence: Sequence) {
        self.samples.truncate_above(sequence);
        self.tallies.clear();
        self.long = 0;
        for (base, chunk) in self.samples.chunks() {
            self.tally(base, &chunk);
        }
        // What was refused may have been the latest, or have hidden it.
        self.tallies.values_mut().for_each(|tally| tally.sure = false);
    }
}

/// Which tables are kept open: those that were opened last, within a bound of their number and one of the memory of their indexes.
/// Whoever reads a table holds it for so long, kept open or not.
#[derive(Debug, Default)]
pub(crate) struct OpenTables {
    latest: Mutex<VecDeque<Kept>>,
}

/// A table that is kept open.
#[derive(Debug)]
struct Kept {
    live: Weak<Live>,
    /// What its index takes of the memory.
    bytes: usize,
}

impl OpenTables {
    /// The open table. `bytes_max` bounds the memory of all that are kept open.
    pub fn get(&self, live: &Arc<Live>, catalog: &Catalog, bytes_max: usize) -> Result<Arc<Table>, Error> {
        let mut place = lock(&live.open);
        if let Some(table) = &*place {
            return Ok(table.clone());
        }
        let table = Arc::new(catalog.open(live.entry.number)?);
        *place = Some(table.clone());
        drop(place);
        let mut latest = lock(&self.latest);
        // Tables that are live no more have left the memory by themselves.
        latest.retain(|kept| kept.live.strong_count() > 0);
        latest.push_back(Kept { live: Arc::downgrade(live), bytes: table.memory_bytes() });
        let bytes: Vec<usize> = latest.iter().map(|kept| kept.bytes).collect();
        for old in latest.drain(..evicted(&bytes, bytes_max)) {
            if let Some(old) = old.live.upgrade() {
                lock(&old.open).take();
            }
        }
        Ok(table)
    }

    /// How many are kept open, and what their indexes take of the memory.
    pub fn sizes(&self) -> (usize, usize) {
        let latest = lock(&self.latest);
        let live = latest.iter().filter(|kept| kept.live.strong_count() > 0);
        live.fold((0, 0), |(count, bytes), kept| (count + 1, bytes + kept.bytes))
    }
}

/// How many of some open tables are to be closed, the oldest first, given what each takes.
fn evicted(bytes: &[usize], bytes_max: usize) -> usize {
    let mut all: usize = bytes.iter().sum();
    let mut count = 0;
    while bytes.len() - count > OPEN_TABLES_MAX || (bytes.len() - count > OPEN_TABLES_MIN && all > bytes_max) {
        all -= bytes[count];
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only their number was bounded: sixty-four indexes of 100,000 series each took gigabytes.
    #[test]
    fn the_oldest_tables_are_closed_until_the_rest_fits() {
        for (bytes, expected) in [
            (&[][..], 0),
            (&[10], 0),
            (&[1_000], 0),
            (&[1_000, 1_000], 0),
            (&[50, 50], 0),
            (&[40, 30, 30], 0),
            (&[41, 30, 30], 1),
            (&[1, 99, 1, 1], 2),
            (&[1_000, 1, 1, 1], 1),
            (&[1, 1, 1, 1_000], 2),
            (&[1_000, 1_000, 1_000, 1_000], 2),
            (&[0; 64], 0),
            (&[0; 67], 3),
            (&[2; 64], 14),
        ] {
            assert_eq!(evicted(bytes, 100), expected, "{bytes:?}");
        }
    }
}
