//! What a caller can choose. Owns the defaults, the presets and the check of their ranges; does nothing with them.

use std::sync::Arc;
use std::time::Duration;

use crate::disk::SyncMethod;
use crate::error::Error;
use crate::format::{self, Codec};
use crate::observer::ObserverFactory;

/// When commits are synced without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Each commit, as soon as the one before it is durable.
    Always,
    /// When so many records are unsynced, or the oldest of them is so old.
    Batch {
        /// Unsynced records that start a sync.
        records: u64,
        /// The oldest unsynced record's age that starts a sync.
        interval: Duration,
    },
    /// When the oldest unsynced record is so old.
    Interval(Duration),
    /// Only at segment ends and closing, and for appends that ask.
    Never,
}

/// How soon one append wants to be durable, whatever the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Class {
    /// As the policy says.
    #[default]
    Policy,
    /// At once.
    Now,
    /// Within this time: the knob for a flash card's life.
    Within(Duration),
    /// With the next sync that anything else causes.
    OnFlush,
}

/// What an append does when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Waits for room: back-pressure.
    #[default]
    Wait,
    /// Fails with [`Error::QueueFull`].
    Fail,
}

/// How one append is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Append {
    /// How soon it is to be durable.
    pub class: Class,
    /// What to do when the queue is full.
    pub full: WhenFull,
    /// May use the space that is held back for when the disk is full: for what must still be written then, such as
    /// votes, truncations and releases. Keep such records small.
    pub reserved: bool,
    /// Only in this epoch ([`crate::Journal::epoch`]): refused with [`Error::StaleEpoch`] when something that was appended
    /// before has been refused since, and this append would follow on what is not there.
    pub epoch: Option<u64>,
}

/// Whether each commit begins in a page of its own, so that a torn page never holds acknowledged records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FreshPages {
    /// Commits share pages.
    #[default]
    Never,
    /// Each commit starts a page.
    Always,
}

/// What opening does with a torn end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TornTail {
    /// Cuts it, and reports the cut.
    #[default]
    Cut,
    /// Refuses with [`Error::TornTail`] and changes nothing.
    Refuse,
}

/// What opening does with damage to durable data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDamage {
    /// Refuses with [`Error::Damaged`] and changes nothing.
    #[default]
    Refuse,
    /// Moves the damaged journal aside untouched, and starts a new one from its good records, with the losses as gaps.
    SetAside,
}

/// All settings of a journal. Start from [`Options::default`] or [`Options::edge`] and change fields.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the folder holds; a folder of another kind is refused.
    pub kind: [u8; 8],
    /// Create the journal if the folder is missing or empty.
    pub create: bool,
    /// Length of each new segment file: 64 KiB to just under 4 GiB, rounded down to whole pages.
    pub segment_bytes: u32,
    /// Records in a segment at most.
    pub segment_records_max: u32,
    /// Size at which a commit takes no further batches. A larger batch makes a commit of its own.
    pub commit_bytes_max: u32,
    /// Bytes that may wait for the disk before appends feel it.
    pub queue_bytes_max: usize,
    /// When commits are synced.
    pub policy: SyncPolicy,
    /// How bodies are stored; commits under one page are never compressed, as that saves no device bytes.
    pub codec: Codec,
    /// Whether commits share pages.
    pub fresh_pages: FreshPages,
    /// How bytes are made durable; `None`: the fastest safe one is measured at opening. With `DataSync` nothing is.
    pub sync_method: Option<SyncMethod>,
    /// Spare segment files kept for recycling, beside the one prepared next: 0 to 16.
    pub spares_max: u8,
    /// Fill spare files with zeros ahead of their need, so that a burst finds them; else they come from recycling only.
    pub stock: bool,
    /// Idle time after which an unwitnessed last commit gets a mark; `None`: never.
    pub idle_mark: Option<Duration>,
    /// Bytes that a scan reads at once: 4 KiB to 16 MiB.
    pub read_buffer_bytes: usize,
    /// Bytes of the latest commits that stay in memory for readers of the tail.
    pub tail_cache_bytes: usize,
    /// Bytes of sealed segments' indexes and decompressed blocks kept in memory.
    pub read_cache_bytes: usize,
    /// The caller's summary in a footer, at most; 0 stands for a sixteenth of the segment.
    pub summary_bytes_max: u32,
    /// What to do with a torn end.
    pub torn_tail: TornTail,
    /// What to do with damage.
    pub on_damage: OnDamage,
    /// Watches what is written, to make summaries and checkpoints.
    pub observer: Option<Arc<dyn ObserverFactory>>,
}

impl Default for Options {
    /// For a server: 64 MiB segments, each commit synced.
    fn default() -> Options {
        Options {
            kind: *b"journal\0",
            create: true,
            segment_bytes: 64 << 20,
            segment_records_max: 1 << 24,
            commit_bytes_max: 1 << 20,
            queue_bytes_max: 8 << 20,
            policy: SyncPolicy::Always,
            codec: Codec::None,
            fresh_pages: FreshPages::Never,
            sync_method: None,
            spares_max: 2,
            stock: true,
            idle_mark: Some(Duration::from_secs(10)),
            read_buffer_bytes: 1 << 20,
            tail_cache_bytes: 8 << 20,
            read_cache_bytes: 8 << 20,
            summary_bytes_max: 0,
            torn_tail: TornTail::Cut,
            on_damage: OnDamage::Refuse,
            observer: None,
        }
    }
}

impl Options {
    /// For a device on unstable power with a flash card: 16 MiB segments, a fresh page for each commit, LZ4.
    pub fn edge() -> Options {
        Options {
            segment_bytes: 16 << 20,
            fresh_pages: FreshPages::Always,
            codec: if cfg!(feature = "lz4") { Codec::Lz4 } else { Codec::None },
            queue_bytes_max: 4 << 20,
            tail_cache_bytes: 2 << 20,
            read_cache_bytes: 2 << 20,
            on_damage: OnDamage::SetAside,
            ..Options::default()
        }
    }

    /// Checks every range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad = |option, reason| Err(Error::InvalidOption { option, reason });
        if !(format::SEGMENT_BYTES_MIN..=format::SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return bad("segment_bytes", "must be 64 KiB to just under 4 GiB");
        }
        if self.segment_records_max == 0 {
            return bad("segment_records_max", "must be at least 1");
        }
        if self.spares_max > 16 {
            return bad("spares_max", "must be 0 to 16");
        }
        if !(4096..=16 << 20).contains(&self.read_buffer_bytes) {
            return bad("read_buffer_bytes", "must be 4 KiB to 16 MiB");
        }
        if self.summary_bytes_max > self.segment_bytes / 8 {
            return bad("summary_bytes_max", "must be at most an eighth of the segment");
        }
        match self.codec {
            Codec::Lz4 if !cfg!(feature = "lz4") => bad("codec", "this build has no LZ4"),
            Codec::Zstd(_) if !cfg!(feature = "zstd") => bad("codec", "this build has no Zstandard"),
            _ => Ok(()),
        }
    }

    /// The segment length in whole pages.
    pub(crate) fn segment_bytes_whole(&self) -> u32 {
        self.segment_bytes & !(format::PAGE_BYTES as u32 - 1)
    }

    /// The space kept in each segment for the caller's summary.
    pub(crate) fn summary_reserve(&self) -> u32 {
        match (&self.observer, self.summary_bytes_max) {
            (None, _) => 0,
            (Some(_), 0) => self.segment_bytes / 16,
            (Some(_), bytes) => bytes,
        }
    }
}
