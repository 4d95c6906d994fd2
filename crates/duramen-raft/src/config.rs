//! What a user can choose. Owns the defaults and the check of their ranges; does nothing with them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use duramen_journal::{Options, SyncPolicy, TornTail};

use crate::error::Error;
use crate::format::snapshot::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
use crate::tier::Tier;
use crate::types::Types;

/// When a step is acknowledged, and where entries live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Acknowledged when it is durable. Memory is a bounded read-through cache, and opening loads no entry.
    #[default]
    DiskFirst,
    /// Acknowledged when it is in memory; the flush policy decides when it is durable. Opening loads all live entries.
    ///
    /// **A power cut takes acknowledged steps with it**, as far as the policy left them in memory, and the death of the
    /// process takes those that were not written. Votes are always durable when they are acknowledged.
    MemFirst,
}

/// When that which nobody has to wait for becomes durable: everything but votes with [`Strategy::MemFirst`]; commits and
/// user data with [`Strategy::DiskFirst`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FlushPolicy {
    /// As soon as the sync before it has ended.
    #[default]
    Immediate,
    /// When so many records wait, or the oldest of them is so old.
    Batch {
        /// Records that start a sync.
        threshold: u64,
        /// The age of the oldest that starts one.
        interval: Duration,
    },
    /// At once while records come more slowly than the disk syncs; when they come faster, so that about as many share a
    /// sync as come within two of them.
    Adaptive,
}

/// What an append does when the entries in memory reach [`Config::memory_max_bytes`]; [`Strategy::MemFirst`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MemoryFull {
    /// Waits until something was purged.
    #[default]
    Wait,
    /// Fails with [`Error::MemoryFull`].
    Fail,
    /// Goes on: the oldest durable entries leave memory, and are read from the disk when they are asked for, which is
    /// counted. Beyond twice the bound it fails all the same. What the adapters do, as a protocol must not be blocked.
    Spill,
}

/// How far the log is purged when a snapshot was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PurgeOnSnapshot {
    /// Not at all: that is left to whoever knows which followers lag.
    Never,
    /// Up to the oldest one that is kept, so that each of them can be loaded and the log goes on from it: the newest may
    /// turn out to be damaged.
    #[default]
    ToOldest,
    /// Up to the newest: least room.
    ToNewest,
}

/// All settings of a Raft log. Start from [`Config::new`] and change fields.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder.
    pub dir: PathBuf,
    /// Entries in the cache at most.
    pub log_cache_max_items: usize,
    /// Bytes of the entries in the cache at most.
    pub log_cache_capacity: usize,
    /// Bytes that reading a range reads at once: 4 KiB to 16 MiB.
    pub read_buffer_size: usize,
    /// Records in a segment of the journal at most.
    pub chunk_max_records: u32,
    /// Bytes of a segment: 64 KiB to just under 4 GiB. An append takes half of it at most.
    pub chunk_max_size: u32,
    /// Whether opening cuts off a torn write at the end, which nobody was told about; else it refuses.
    pub truncate_incomplete_record: bool,
    /// When a step is acknowledged.
    pub strategy: Strategy,
    /// When that which nobody has to wait for becomes durable.
    pub flush: FlushPolicy,
    /// [`Strategy::MemFirst`]: a commit, and all before it, is durable when it returns.
    pub sync_on_commit: bool,
    /// [`Strategy::MemFirst`]: bytes of the entries in memory at most.
    pub memory_max_bytes: usize,
    /// [`Strategy::MemFirst`]: what happens at that bound.
    pub memory_full: MemoryFull,
    /// Bytes read ahead behind a miss, when reads follow each other.
    pub prefetch_bytes: usize,
    /// Whether segments that no group needs are released as soon as a purge is durable.
    pub collect_on_purge: bool,
    /// Snapshots of a group that are kept: at least 1.
    pub snapshots_kept: usize,
    /// Bytes of a chunk of a snapshot: 4 KiB to 64 MiB.
    pub snapshot_chunk_bytes: u32,
    /// What is purged when a snapshot was published.
    pub purge_on_snapshot: PurgeOnSnapshot,
    /// A second place for sealed segments: see [`crate::RaftLogs::move_segments`]. A directory that segments were moved to is
    /// found without it.
    pub tier: Option<Arc<dyn Tier>>,
    /// The journal's other settings. Those that have a field of their own above are overwritten, and so are the kind, the
    /// policy and the observer.
    pub journal: Options,
}

/// What a folder of Raft logs is called in its identity.
pub(crate) const KIND: [u8; 8] = *b"raft\0\0\0\0";

impl Config {
    /// Acknowledged when durable, 64 MiB segments, a cache of 64 MiB.
    pub fn new(dir: impl Into<PathBuf>) -> Config {
        Config {
            dir: dir.into(),
            log_cache_max_items: 1 << 20,
            log_cache_capacity: 64 << 20,
            read_buffer_size: 1 << 20,
            chunk_max_records: 1 << 24,
            chunk_max_size: 64 << 20,
            truncate_incomplete_record: true,
            strategy: Strategy::DiskFirst,
            flush: FlushPolicy::Immediate,
            sync_on_commit: false,
            memory_max_bytes: 1 << 30,
            memory_full: MemoryFull::Wait,
            prefetch_bytes: 1 << 20,
            collect_on_purge: true,
            snapshots_kept: 2,
            snapshot_chunk_bytes: 1 << 20,
            purge_on_snapshot: PurgeOnSnapshot::ToOldest,
            tier: None,
            journal: Options { tail_cache_bytes: 1 << 20, ..Options::default() },
        }
    }

    /// Acknowledged from memory: see [`Strategy::MemFirst`].
    pub fn mem_first(dir: impl Into<PathBuf>, flush: FlushPolicy) -> Config {
        Config { strategy: Strategy::MemFirst, flush, ..Config::new(dir) }
    }

    /// The journal's options.
    pub(crate) fn options(&self) -> Options {
        Options {
            kind: KIND,
            segment_bytes: self.chunk_max_size,
            segment_records_max: self.chunk_max_records,
            read_buffer_bytes: self.read_buffer_size,
            torn_tail: if self.truncate_incomplete_record { TornTail::Cut } else { TornTail::Refuse },
            policy: SyncPolicy::Always,
            ..self.journal.clone()
        }
    }

    /// Checks what the journal does not.
    pub(crate) fn check<T: Types>(&self) -> Result<(), Error<T>> {
        let bad = |option, reason| Err(Error::InvalidOption { option, reason });
        if self.snapshots_kept == 0 {
            return bad("snapshots_kept", "must be at least 1");
        }
        if !(CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&self.snapshot_chunk_bytes) {
            return bad("snapshot_chunk_bytes", "must be 4 KiB to 64 MiB");
        }
        match self.flush {
            FlushPolicy::Batch { threshold: 0, .. } => bad("flush", "a threshold must be at least 1"),
            FlushPolicy::Batch { interval, .. } if interval.is_zero() => bad("flush", "an interval must not be zero"),
            _ if self.memory_max_bytes == 0 => bad("memory_max_bytes", "must be at least 1"),
            _ if self.sync_on_commit && self.strategy == Strategy::DiskFirst => {
                bad("sync_on_commit", "belongs to MemFirst: with DiskFirst what is committed is durable already")
            }
            _ => Ok(()),
        }
    }
}
