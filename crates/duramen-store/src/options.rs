//! What a caller can choose. Owns the defaults, the presets and the check of their ranges.

use std::time::Duration;

use duramen_journal::{Codec, SyncPolicy};

use crate::downsample::Downsampling;
use crate::error::Error;

/// The kind of a store's data folder.
pub(crate) const KIND: [u8; 8] = *b"store\0\0\0";

/// Samples of a series that are worth a block: with fewer it stays in memory unless age, bytes or the journal's length force it.
pub const SERIES_SAMPLES_MIN: usize = 120;
/// Segments of the journal that [`Options::series`] keeps.
const SEGMENTS_KEPT: u8 = 3;

/// What a store does when its disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DiskFull {
    /// Rows are refused until there is space again; nothing that is stored goes.
    #[default]
    Stop,
    /// The oldest tables go, and a gap is recorded that says which rows.
    DropOldest,
}

/// All settings of a store. Start from [`Options::default`], which suits a device, or [`Options::big`], and change fields.
#[derive(Clone, Debug)]
pub struct Options {
    /// The journal's settings: its policy says how long rows of sources that cannot wait stay unsynced.
    pub journal: duramen_journal::Options,
    /// Unsynced bytes of rows that start a sync before the policy's interval does.
    pub unsynced_bytes_max: usize,
    /// Bytes of rows in memory at which they are sealed to a table. Twice as many at most are held while that goes on.
    pub memtable_bytes: usize,
    /// Bytes of one stream's rows in memory that are worth a table when the machine goes over to its battery.
    pub large_stream_bytes: usize,
    /// Samples in memory at which the series that have many of them ([`SERIES_SAMPLES_MIN`]) are sealed.
    pub buffer_samples: usize,
    /// Bytes of samples in memory at which all of them are sealed, however few a series has. Twice as many at most are held while
    /// that goes on.
    pub buffer_bytes: usize,
    /// How long samples stay in memory at most.
    pub buffer_age: Duration,
    /// Segments of the journal with rows or samples that no table has: when so many are begun all of those are sealed, and appending
    /// waits until they are. No segment goes before.
    pub segments_max: usize,
    /// Streams known at the same time.
    pub streams_max: usize,
    /// Bytes of memory for the indexes of tables that are kept open; two are kept open whatever theirs take. A table that is not is
    /// opened for each question that needs it.
    pub open_tables_bytes: usize,
    /// Bytes of one row's text and fields at most.
    pub row_bytes_max: usize,
    /// zstd's level for tables.
    pub compression: i32,
    /// Tables of one level and partition that are merged into one of the next.
    pub fan_in: usize,
    /// Bytes above which a table is not merged any more.
    pub table_bytes_max: u64,
    /// Days whose last moment is older than this are dropped, and rows that are older are refused; `None`: kept for ever.
    pub retention_age: Option<Duration>,
    /// Rules by which series of longer steps are made in the background.
    pub downsampling: Vec<Downsampling>,
    /// As `retention_age`, for series that were made by downsampling; `None`: kept for ever.
    pub downsampled_age: Option<Duration>,
    /// Bytes of all tables beyond which the oldest are dropped; `None`: as much as there is.
    pub retention_bytes: Option<u64>,
    /// Bytes of the file system that are kept free, for what must go on when the disk is full. With less, `disk_full` says what
    /// is done.
    pub free_bytes_min: u64,
    /// What is done when the disk is full.
    pub disk_full: DiskFull,
}

impl Default for Options {
    /// For a device on unstable power: 16 MB of rows in memory, a journal in segments of 16 MiB, synced each second.
    fn default() -> Options {
        Options {
            journal: duramen_journal::Options {
                kind: KIND,
                policy: SyncPolicy::Interval(Duration::from_secs(1)),
                ..duramen_journal::Options::edge()
            },
            unsynced_bytes_max: 64 << 10,
            memtable_bytes: 16 << 20,
            large_stream_bytes: 256 << 10,
            buffer_samples: 10_000,
            buffer_bytes: 16 << 20,
            buffer_age: Duration::from_secs(2 * 3600),
            segments_max: 8,
            streams_max: 50_000,
            open_tables_bytes: 32 << 20,
            row_bytes_max: 1 << 20,
            compression: 3,
            fan_in: 8,
            table_bytes_max: 1 << 30,
            retention_age: None,
            downsampling: Vec::new(),
            downsampled_age: None,
            retention_bytes: None,
            free_bytes_min: 32 << 20,
            disk_full: DiskFull::Stop,
        }
    }
}

impl Options {
    /// For a machine with memory to spare: 128 MB of rows in memory, a journal in segments of 64 MiB.
    pub fn big() -> Options {
        let small = Options::default();
        Options {
            journal: duramen_journal::Options { segment_bytes: 64 << 20, codec: Codec::Lz4, ..small.journal.clone() },
            memtable_bytes: 128 << 20,
            streams_max: 1_000_000,
            open_tables_bytes: 256 << 20,
            ..small
        }
    }

    /// For a store of samples: a journal in segments of 128 MB, three of which are kept, synced each second; up to 10,000 samples in
    /// memory before series with many of them are sealed.
    pub fn series() -> Options {
        let small = Options::default();
        Options {
            journal: duramen_journal::Options {
                segment_bytes: 128_000_000,
                spares_max: SEGMENTS_KEPT - 1,
                stock: false,
                ..small.journal.clone()
            },
            segments_max: usize::from(SEGMENTS_KEPT),
            streams_max: 200_000,
            ..small
        }
    }

    /// Checks the ranges; opening does so too.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub fn check(&self) -> Result<(), Error> {
        let bad = |option, reason| Err(Error::InvalidOption { option, reason });
        if self.memtable_bytes < 4 << 10 {
            return bad("memtable_bytes", "must be at least 4 KiB");
        }
        if self.buffer_bytes < 4 << 10 {
            return bad("buffer_bytes", "must be at least 4 KiB");
        }
        if self.buffer_samples == 0 {
            return bad("buffer_samples", "must be at least 1");
        }
        for rule in &self.downsampling {
            rule.check()?;
        }
        if self.segments_max < 2 {
            return bad("segments_max", "must be at least 2");
        }
        if !(1..=16 << 20).contains(&self.row_bytes_max) {
            return bad("row_bytes_max", "must be 1 byte to 16 MiB");
        }
        if !(1..=19).contains(&self.compression) {
            return bad("compression", "must be 1 to 19");
        }
        if self.fan_in < 2 {
            return bad("fan_in", "must be at least 2");
        }
        if self.streams_max == 0 {
            return bad("streams_max", "must be at least 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the issue of the series store fixes.
    #[test]
    fn the_preset_of_series_is_as_it_was_agreed() {
        let series = Options::series();
        assert_eq!(series.buffer_samples, 10_000);
        assert_eq!(series.journal.policy, SyncPolicy::Interval(Duration::from_secs(1)));
        assert_eq!(series.journal.segment_bytes, 128_000_000);
        // One is written, the others are kept.
        assert_eq!((series.segments_max, series.journal.spares_max + 1), (3, 3));
        assert_eq!(SERIES_SAMPLES_MIN, 120);
        assert_eq!(series.buffer_age, Duration::from_secs(2 * 3600));
        series.check().expect("good");
    }
}
