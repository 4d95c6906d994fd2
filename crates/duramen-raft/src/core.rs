//! What all groups of one folder share: the storage, the settings, the bounds of memory, the figures. Owns no log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use duramen_journal::disk::Environment;
use duramen_journal::sync::AtomicU32;
use duramen_journal::{Append, Batch, Class, Sequence, WhenFull};

use crate::cache::Budget;
use crate::config::{Config, MemoryFull, Strategy};
use crate::error::Error;
use crate::flush::{Flush, Load};
use crate::index::Run;
use crate::lock;
use crate::types::Types;
use crate::wal::Wal;

/// The latency of syncs is looked up once in so many arrivals.
const LOOK_EVERY: u64 = 64;
/// How long a writer that waits for memory sleeps at once.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Entries.
    Append,
    /// A vote.
    Vote,
    /// A truncation, a purge, a removal: small, and needed on a full disk.
    Cut,
    /// A commit index or user data.
    Note,
    /// A state or an entry that is carried forward.
    Carry,
}

/// Bytes of a scratch that is kept for the next append, at most, and how many are kept.
const SCRATCH_BYTES: usize = 256 << 10;
const SCRATCHES: usize = 4;

/// The memory in which an append is put together; the next one uses it again.
#[derive(Default)]
pub(crate) struct Scratch {
    pub batch: Batch,
    /// Bytes of each payload.
    pub sizes: Vec<usize>,
    /// The entries' runs, whose sequences count from 0.
    pub runs: Vec<Run>,
}

/// How many sequences that were read alone are remembered.
const READ_ONCE: usize = 1024;

pub(crate) struct Core<W> {
    pub wal: W,
    pub config: Config,
    pub environment: Arc<dyn Environment>,
    pub budget: Arc<Budget>,
    pub flush: Flush,
    /// Changes when memory became free.
    pub room: AtomicU32,
    pub spilled_reads: AtomicU64,
    arrivals: AtomicU64,
    sync_ns: AtomicU64,
    scratches: Mutex<Vec<Scratch>>,
    /// Sequences that were read alone a while ago.
    read_once: Box<[AtomicU64; READ_ONCE]>,
}

impl<W: Wal> Core<W> {
    pub fn new(wal: W, config: Config, environment: Arc<dyn Environment>) -> Core<W> {
        let budget = match config.strategy {
            Strategy::DiskFirst => Budget::new(config.log_cache_max_items, config.log_cache_capacity),
            Strategy::MemFirst => Budget::new(usize::MAX, config.memory_max_bytes),
        };
        Core {
            wal,
            flush: Flush::new(config.flush),
            config,
            environment,
            budget: Arc::new(budget),
            room: AtomicU32::new(0),
            spilled_reads: AtomicU64::new(0),
            arrivals: AtomicU64::new(0),
            sync_ns: AtomicU64::new(0),
            scratches: Mutex::new(Vec::with_capacity(SCRATCHES)),
            read_once: Box::new([const { AtomicU64::new(0) }; READ_ONCE]),
        }
    }

    /// Whether a record that is read alone, and was not in memory, is worth a place there: the second time in a while.
    pub fn is_read_again(&self, sequence: Sequence) -> bool {
        self.read_once[sequence as usize % READ_ONCE].swap(sequence, Ordering::Relaxed) == sequence
    }

    /// An empty scratch.
    pub fn scratch(&self) -> Scratch {
        lock(&self.scratches).pop().unwrap_or_default()
    }

    /// Takes a scratch back.
    pub fn put_back(&self, mut scratch: Scratch) {
        // A batch that was drained may have lost its memory; one that grew large would keep it for ever.
        if scratch.batch.bytes() > SCRATCH_BYTES || scratch.sizes.len() * size_of::<usize>() > SCRATCH_BYTES {
            return;
        }
        scratch.batch.clear();
        scratch.sizes.clear();
        scratch.runs.clear();
        let mut scratches = lock(&self.scratches);
        if scratches.len() < SCRATCHES {
            scratches.push(scratch);
        }
    }

    /// Whether a step is acknowledged from memory.
    pub fn acknowledges_buffered(&self, step: Step) -> bool {
        match (self.config.strategy, step) {
            (Strategy::DiskFirst, Step::Note) => true,
            (Strategy::MemFirst, Step::Note) => !self.config.sync_on_commit,
            (Strategy::MemFirst, Step::Append | Step::Cut) => true,
            (Strategy::MemFirst, Step::Vote | Step::Carry) | (Strategy::DiskFirst, _) => false,
        }
    }

    /// How the journal is to treat a step of so many records.
    pub fn how(&self, step: Step, records: u64, epoch: u64) -> Append {
        let class = if self.acknowledges_buffered(step) { self.policy_class(records) } else { Class::Now };
        Append { class, full: WhenFull::Wait, reserved: !matches!(step, Step::Append | Step::Note), epoch: Some(epoch) }
    }

    fn policy_class(&self, records: u64) -> Class {
        if !self.flush.counts() {
            return self.flush.class(Load { unsynced: records, now: Duration::ZERO, sync: Duration::ZERO });
        }
        let unsynced = (self.wal.appended() + records).saturating_sub(self.wal.durable());
        let (mut now, mut sync) = (Duration::ZERO, Duration::ZERO);
        if self.flush.measures() {
            now = self.environment.now();
            if self.arrivals.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) {
                let median = self.wal.stats().sync_latency.quantile(0.5);
                self.sync_ns.store(u64::try_from(median.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            sync = Duration::from_nanos(self.sync_ns.load(Ordering::Relaxed));
        }
        self.flush.class(Load { unsynced, now, sync })
    }

    /// After something was put into memory: keeps the bounds.
    pub fn shrink(&self) {
        match (self.config.strategy, self.config.memory_full) {
            (Strategy::DiskFirst, _) => self.budget.shrink(u64::MAX),
            (Strategy::MemFirst, MemoryFull::Spill) => self.budget.shrink(self.wal.durable()),
            (Strategy::MemFirst, _) => {}
        }
    }

    /// Sees that entries of so many bytes may come into memory.
    ///
    /// # Errors
    /// [`Error::MemoryFull`].
    pub fn wait_for_memory<T: Types>(&self, bytes: usize) -> Result<(), Error<T>> {
        if self.config.strategy == Strategy::DiskFirst {
            return Ok(());
        }
        let max = match self.config.memory_full {
            MemoryFull::Spill => self.config.memory_max_bytes.saturating_mul(2),
            _ => self.config.memory_max_bytes,
        };
        loop {
            let seen = self.room.load(duramen_journal::sync::Ordering::SeqCst);
            let mut held = self.budget.bytes();
            if held.saturating_add(bytes) > max && self.config.memory_full == MemoryFull::Spill {
                // What could not leave memory when it came may have become durable since.
                self.shrink();
                held = self.budget.bytes();
            }
            // An entry larger than the bound is taken when nothing else is there.
            if held == 0 || held.saturating_add(bytes) <= max {
                return Ok(());
            }
            if self.config.memory_full != MemoryFull::Wait {
                return Err(Error::MemoryFull { bytes: held, max });
            }
            self.environment.wait(&self.room, seen, Some(LOOK_AGAIN));
        }
    }

    /// Memory became free.
    pub fn made_room(&self) {
        if self.config.strategy == Strategy::MemFirst {
            self.room.fetch_add(1, duramen_journal::sync::Ordering::SeqCst);
            self.environment.wake(&self.room, u32::MAX);
        }
    }
}
