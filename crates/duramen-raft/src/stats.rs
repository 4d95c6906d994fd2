//! Figures: one look at all that a folder of logs counts. Owns their shape; the parts count themselves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::core::Core;
use crate::group::Group;
use crate::types::Types;
use crate::wal::Wal;

/// The cache's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Entries in memory.
    pub items: usize,
    /// Their bytes, with what keeping them costs.
    pub bytes: usize,
    /// Entries that were asked for and found in memory.
    pub hits: u64,
    /// Entries that were asked for and read from the journal.
    pub misses: u64,
    /// Entries that were read ahead.
    pub prefetched: u64,
    /// Entries that left memory for want of room.
    pub evicted: u64,
    /// Misses with `MemFirst`, where all entries should be in memory.
    pub spilled_reads: u64,
}

/// The flush policy's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushStats {
    /// Steps that the policy sent to the disk at once.
    pub prompt: u64,
    /// Steps that it let wait for others.
    pub delayed: u64,
}

/// One look at the figures of a folder of logs. Counts run from opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftStats {
    /// The journal's: queue, syncs and their latencies, bytes, watermarks, segments.
    pub journal: duramen_journal::Stats,
    /// The cache's.
    pub cache: CacheStats,
    /// The flush policy's.
    pub flush: FlushStats,
    /// Groups that were opened.
    pub groups: usize,
    /// Live entries.
    pub entries: u64,
    /// Bytes of memory that the indexes take.
    pub index_bytes: usize,
}

impl RaftStats {
    pub(crate) fn of<T: Types, W: Wal>(core: &Core<W>, groups: &[Arc<Group<T, W>>]) -> RaftStats {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let budget = &core.budget;
        let mut stats = RaftStats {
            journal: core.wal.stats(),
            cache: CacheStats {
                items: budget.items(),
                bytes: budget.bytes(),
                hits: count(&budget.hits),
                misses: count(&budget.misses),
                prefetched: count(&budget.prefetched),
                evicted: count(&budget.evicted),
                spilled_reads: count(&core.spilled_reads),
            },
            flush: FlushStats { prompt: count(&core.flush.prompt), delayed: count(&core.flush.delayed) },
            groups: groups.len(),
            ..RaftStats::default()
        };
        for group in groups {
            let view = crate::read(&group.view);
            stats.entries += view.index.len();
            stats.index_bytes += view.index.bytes();
        }
        stats
    }
}
