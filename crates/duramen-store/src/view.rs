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
use crate::row::TimeBase;
use crate::sample::{Sample, SampleChunk};
use crate::table::Table;

/// Tables that are open at the same time.
const OPEN_TABLES_MAX: usize = 64;

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

/// The latest sample of a series that was written since opening.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastSample {
    pub sample: Sample,
    /// No table has a later one.
    pub sure: bool,
}

/// The state that queries take a look at.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub active: Memtable,
    pub samples: Memtable<SampleChunk>,
    /// When the oldest of the samples came, on the monotonic clock.
    pub samples_since: Option<Duration>,
    /// Samples that were left when series with many were last looked for.
    pub samples_tried: usize,
    pub last: ByStream<LastSample>,
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
        if base == TimeBase::Wall {
            self.note_last(&chunk);
        }
        self.samples.insert(base, chunk);
    }

    fn note_last(&mut self, chunk: &SampleChunk) {
        for (row, &stream) in chunk.streams.iter().enumerate() {
            let sample = Sample { time: chunk.times[row], value: chunk.values[row] };
            let next = row + 1;
            if chunk.streams.get(next) == Some(&stream) && chunk.times[next] >= sample.time {
                continue;
            }
            let last = self.last.entry(stream).or_insert(LastSample { sample, sure: false });
            if last.sample.time <= sample.time {
                last.sample = sample;
            }
        }
    }

    /// Takes all samples out of the memory.
    pub fn take_samples(&mut self) -> Memtable<SampleChunk> {
        self.samples_since = None;
        self.samples_tried = 0;
        std::mem::take(&mut self.samples)
    }
}

/// Which tables are open: the latest few.
#[derive(Debug, Default)]
pub(crate) struct OpenTables {
    latest: Mutex<VecDeque<Weak<Live>>>,
}

impl OpenTables {
    /// The open table.
    pub fn get(&self, live: &Arc<Live>, catalog: &Catalog) -> Result<Arc<Table>, Error> {
        let mut place = lock(&live.open);
        if let Some(table) = &*place {
            return Ok(table.clone());
        }
        let table = Arc::new(catalog.open(live.entry.number)?);
        *place = Some(table.clone());
        drop(place);
        let mut latest = lock(&self.latest);
        latest.push_back(Arc::downgrade(live));
        while latest.len() > OPEN_TABLES_MAX {
            if let Some(old) = latest.pop_front().and_then(|old| old.upgrade()) {
                lock(&old.open).take();
            }
        }
        Ok(table)
    }
}
