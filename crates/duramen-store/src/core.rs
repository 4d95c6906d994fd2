//! What the parts of an open store share: the journal, the state of writing, the view, the tables. Owns the order of locks and
//! the one background thread's loop; each kind of work stands in a module of its own.
//!
//! Locks, in the order in which they are taken: `stage`, `merge`, `sealing`, `manifest`, `pins`, `write`, `streams`, `view`, `clock`. None is held
//! while a table is written, but `sealing`, which only other sealing waits for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use duramen_journal::disk::World;
use duramen_journal::sync::AtomicU32;
use duramen_journal::{Journal, Observer, ObserverFactory, Sequence};

use crate::catalog::Catalog;
use crate::compaction::{Compaction, Control};
use crate::damage::Noticed;
use crate::error::Error;
use crate::format::manifest::Manifest;
use crate::labels::Labels;
use crate::lock;
use crate::options::Options;
use crate::row::{Arrival, TimeBase};
use crate::session::Clock;
use crate::stage::Stage;
use crate::stats::{Stats, growth};
use crate::stream::{Stream, Streams};
use crate::table::Table;
use crate::view::{Live, OpenTables, View};
use crate::write::Writing;

/// How long the background thread sleeps when nothing asks for it.
const IDLE: Duration = Duration::from_secs(1);

/// An open store.
#[derive(Debug)]
pub(crate) struct Core {
    pub world: World,
    pub options: Options,
    pub journal: Journal,
    pub catalog: Catalog,
    /// One sealing at a time; holds the failure after which nothing may be sealed.
    pub sealing: Mutex<Option<Arc<Error>>>,
    pub manifest: Mutex<ManifestState>,
    pub write: Mutex<Writing>,
    pub streams: Mutex<Streams>,
    pub view: Mutex<View>,
    pub open_tables: OpenTables,
    /// The journal's segment that is being written begins here.
    pub segment_first: Arc<AtomicU64>,
    /// While it is this one, the journal is not too long.
    pub short_since: AtomicU64,
    /// Samples that came one by one, and are appended together.
    pub stage: Mutex<Stage>,
    /// The number of the next table.
    pub next_table: AtomicU64,
    pub clock: Mutex<Clock>,
    /// The state of the power, as a number.
    pub power: AtomicU8,
    pub takes_rows: AtomicBool,
    /// There is less space than is to be kept free.
    pub space_short: AtomicBool,
    /// Rows dropped since opening because the disk was full.
    pub space_dropped_rows: AtomicU64,
    /// What the background thread is to make tables of, as a number of [`crate::power::Seal`].
    pub wanted_seal: AtomicU8,
    /// The session is ended, and the journal is being closed.
    pub ended: AtomicBool,
    /// One merge at a time.
    pub merge: Mutex<()>,
    pub compaction: Control,
    /// Tables that are damaged somewhere: merging them would lose what can still be read.
    pub unmergeable: Mutex<BTreeSet<u64>>,
    /// Damage that reading met, and that is to be told.
    pub noticed: Arc<Noticed>,
    /// Copies that are being made of the journal: nothing of it is released meanwhile.
    pub pins: Mutex<usize>,
    pub stopped: AtomicBool,
    /// The journal is still being read.
    pub replaying: AtomicBool,
    pub inline: AtomicBool,
    /// Changes when there is work for the background thread.
    pub work: AtomicU32,
    /// Changes when there is work for the thread of compaction.
    pub merging: AtomicU32,
    /// Changes when a sealing has ended, so that whoever waits for room looks again.
    pub sealed: AtomicU32,
}

/// The place of samples among the kinds of what is stored; that of rows is 0.
pub(crate) const SAMPLES: usize = 1;

/// The manifest, and what is to be written of it.
#[derive(Debug, Default)]
pub(crate) struct ManifestState {
    pub manifest: Manifest,
    /// It differs from what is on disk.
    pub changed: bool,
    /// All rows, and all samples, below these sequences are in tables.
    pub sealed_below: [Sequence; 2],
    /// Of the journal is released what is below this sequence.
    pub released_below: Sequence,
}

impl Core {
    pub fn set_inline(&self, inline: bool) {
        self.inline.store(inline, Ordering::Relaxed);
    }

    /// Whether there is no background thread, so that work is done within calls.
    pub fn is_inline(&self) -> bool {
        self.inline.load(Ordering::Relaxed)
    }

    pub fn arrival(&self) -> Arrival {
        let monotonic = u64::try_from(self.world.environment.now().as_nanos()).unwrap_or(u64::MAX);
        Arrival { boot: lock(&self.clock).boot, monotonic }
    }

    pub fn stream(&self, labels: &Labels) -> Result<Stream, Error> {
        lock(&self.streams).name(labels, self.options.streams_max)
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// A live table, opened.
    pub fn open_table(&self, live: &Arc<Live>) -> Result<Arc<Table>, Error> {
        self.open_tables.get(live, &self.catalog, self.options.open_tables_bytes)
    }

    /// Wakes the background thread.
    pub fn kick(&self) {
        self.work.fetch_add(1, Ordering::Release);
        self.world.environment.wake(&self.work, 1);
    }

    /// Wakes the thread of compaction.
    pub fn kick_compaction(&self) {
        self.merging.fetch_add(1, Ordering::Release);
        self.world.environment.wake(&self.merging, 1);
    }

    pub fn set_compaction(&self, state: Compaction) {
        self.compaction.set(state);
        self.kick_compaction();
    }

    /// The background thread. What fails is tried again after a while; appending tells of it when memory is full.
    pub fn work(&self) {
        while !self.stopped.load(Ordering::Acquire) {
            let seen = self.work.load(Ordering::Acquire);
            let result = self.tend();
            if self.stopped.load(Ordering::Acquire) {
                break;
            }
            let timeout = if result.is_ok() { self.rest(IDLE) } else { IDLE * 2 };
            self.world.environment.wait(&self.work, seen, Some(timeout));
        }
    }

    /// Does what is due.
    pub fn tend(&self) -> Result<(), Error> {
        if self.replaying.load(Ordering::Acquire) {
            // Nothing else may come between what the journal has and what is told of it.
            while self.seal_oldest()? {}
            return Ok(());
        }
        let space = self.watch_space();
        self.tell_damage()?;
        self.append_staged()?;
        self.shorten_journal()?;
        while self.seal_oldest()? {}
        self.seal_wanted()?;
        self.seal_due_samples()?;
        self.settle_manifest()?;
        self.remove_retired()?;
        if self.is_inline() {
            self.downsample_due()?;
            while self.compact()? {}
        }
        space
    }

    /// Asks the background thread to end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.kick();
        self.kick_compaction();
    }

    pub fn close(&self) -> Result<(), Error> {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.append_staged()?;
            // Whoever opened only to ask may be gone before the background has told of what was met.
            let _ = self.tell_damage();
            // What cannot be noted is told as an outage by the next opening, which is true then.
            let _ = self.end_session();
        }
        Ok(self.journal.close()?)
    }

    pub fn sync(&self) -> Result<(), Error> {
        self.append_staged()?;
        self.journal.sync()?;
        Ok(())
    }

    pub fn stats(&self) -> Stats {
        let streams = lock(&self.streams).len();
        let (open_tables, open_table_bytes) = self.open_tables.sizes();
        let now = self.wall();
        let view = lock(&self.view);
        let held = |samples| {
            let tables = view.tables.iter().filter(|live| live.entry.partition.is_of_samples() == samples);
            tables.map(|live| live.entry.rows).sum()
        };
        Stats {
            journal: self.journal.stats(),
            streams,
            memory_bytes: view.bytes(),
            sealing: view.sealed.len(),
            tables: view.tables.len(),
            open_tables,
            open_table_bytes,
            table_bytes: view.tables.iter().map(|live| live.entry.bytes).sum(),
            table_rows: held(false),
            table_samples: held(true),
            text_bytes: view.tables.iter().map(|live| live.entry.text_bytes).sum(),
            taken_bytes: self.compaction.taken_bytes.load(Ordering::Relaxed),
            sealed_bytes: self.compaction.sealed_bytes.load(Ordering::Relaxed),
            merged_bytes: self.compaction.merged_bytes.load(Ordering::Relaxed),
            grown_bytes_per_day: now.and_then(|now| {
                let tables = view.tables.iter().map(|live| &live.entry);
                let timed = tables.filter(|entry| entry.partition.base() == TimeBase::Wall);
                growth(timed.map(|entry| (entry.times, entry.bytes)), now)
            }),
            merges: self.compaction.merges.load(Ordering::Relaxed),
            merges_given_up: self.compaction.given_up.load(Ordering::Relaxed),
            rows_dropped: self.space_dropped_rows.load(Ordering::Relaxed),
            space_short: self.space_short.load(Ordering::Relaxed),
            free_bytes: self.free_bytes(),
            rows_too_old: self.compaction.too_old.load(Ordering::Relaxed),
        }
    }
}

/// Watches where the journal's segments begin, so that each one defines the streams that it uses.
#[derive(Debug)]
pub(crate) struct SegmentWatch(pub Arc<AtomicU64>);

impl ObserverFactory for SegmentWatch {
    fn observer(&self) -> Box<dyn Observer> {
        Box::new(Watching(self.0.clone()))
    }
}

struct Watching(Arc<AtomicU64>);

impl Observer for Watching {
    fn begin(&mut self, first: Sequence) {
        self.0.fetch_max(first, Ordering::AcqRel);
    }

    fn record(&mut self, _sequence: Sequence, _log: u32, _kind: u8, _payload: &[u8]) {}

    fn checkpoint_found(&mut self, _log: u32, _kind: u8, _payload: &[u8]) {}

    fn summary(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn checkpoint(&mut self) -> Option<(u32, u8, Vec<u8>)> {
        None
    }
}
