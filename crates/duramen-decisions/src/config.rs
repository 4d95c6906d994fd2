//! What a user can choose. Owns the defaults and the check of their ranges; does nothing with them.

use std::path::PathBuf;
use std::time::Duration;

use duramen_journal::{Options, World};

use crate::error::Error;

pub use duramen_journal::SyncPolicy;

/// How what is stored is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CompressionOptions {
    /// Not at all.
    #[default]
    None,
    /// LZ4: fast.
    Lz4,
    /// Zstandard at a level from 1 to 19: small.
    Zstd(u8),
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Checkpoints that are kept: at least 1.
    pub checkpoints: usize,
    /// Whether the log is compacted by itself when a checkpoint was published: up to the oldest kept checkpoint, less what the
    /// bounds below say.
    pub compact: bool,
    /// Decisions that are kept though a checkpoint has them.
    pub decisions: Option<u64>,
    /// Bytes of decisions that are kept though a checkpoint has them.
    pub bytes: Option<u64>,
    /// Decisions younger than this are kept though a checkpoint has them.
    pub age: Option<Duration>,
}

impl Default for Retention {
    /// Two checkpoints; the log is compacted to the older one.
    fn default() -> Retention {
        Retention { checkpoints: 2, compact: true, decisions: None, bytes: None, age: None }
    }
}

/// When a checkpoint is due: see [`crate::Log::checkpoint_due`]. None of them: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CheckpointPolicy {
    /// After so many decisions.
    pub decisions: Option<u64>,
    /// After so many bytes of decisions.
    pub bytes: Option<u64>,
    /// After so long, if anything was decided.
    pub interval: Option<Duration>,
}

/// What opening does with damage to what was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RecoveryPolicy {
    /// Refuses with [`Error::Damaged`], which says what is lost, and changes nothing.
    #[default]
    Refuse,
    /// Sets the damaged journal aside, untouched, and goes on with what is good; what is lost is in
    /// [`crate::RecoveryInfo::damage`]. The replica then asks its peers for it.
    SetAside,
}

/// All settings of a log. Start from [`PersistentLogConfig::new`] and change fields.
#[derive(Clone, Debug)]
pub struct PersistentLogConfig {
    /// The folder.
    pub log_dir: PathBuf,
    /// Create the log if the folder is missing or empty.
    pub create: bool,
    /// Bytes of a segment: 64 KiB to just under 4 GiB. A batch takes less than half of it, in the smallest less than a third.
    pub max_segment_size: u32,
    /// When what was stored is made durable without being asked.
    pub sync_policy: SyncPolicy,
    /// How decisions and chunks are compressed.
    pub compression: CompressionOptions,
    /// Bytes of the latest decisions kept in memory.
    pub cache_size: usize,
    /// How much is kept.
    pub retention: Retention,
    /// When a checkpoint is due.
    pub checkpoint: CheckpointPolicy,
    /// What to do with damage.
    pub recovery: RecoveryPolicy,
    /// Bytes of a chunk of a checkpoint, on average: 4 KiB to 4 MiB. Chunks are a quarter of that at least, four times that at most.
    pub chunk_size: u32,
    /// The journal's other settings. Those that have a field of their own above are overwritten, and so are kind and observer.
    pub journal: Options,
    /// Disk and environment.
    pub world: World,
}

impl PersistentLogConfig {
    /// Each batch durable at once, 64 MiB segments, two checkpoints, chunks of 256 KiB.
    pub fn new(log_dir: impl Into<PathBuf>) -> PersistentLogConfig {
        PersistentLogConfig {
            log_dir: log_dir.into(),
            create: true,
            max_segment_size: 64 << 20,
            sync_policy: SyncPolicy::Always,
            compression: CompressionOptions::None,
            cache_size: 16 << 20,
            retention: Retention::default(),
            checkpoint: CheckpointPolicy::default(),
            recovery: RecoveryPolicy::Refuse,
            chunk_size: 256 << 10,
            journal: Options { tail_cache_bytes: 1 << 20, ..Options::default() },
            world: World::real(),
        }
    }

    /// Checks what no backend checks.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad = |option, reason| Err(Error::InvalidOption { option, reason });
        if self.retention.checkpoints == 0 {
            return bad("retention.checkpoints", "must be at least 1");
        }
        if !(4 << 10..=4 << 20).contains(&self.chunk_size) {
            return bad("chunk_size", "must be 4 KiB to 4 MiB");
        }
        if matches!(self.compression, CompressionOptions::Zstd(level) if !(1..=19).contains(&level)) {
            return bad("compression", "Zstandard's levels are 1 to 19");
        }
        Ok(())
    }
}
