//! Figures of a store. Owns their shape, and what is made of several of them.

use crate::row::Nanoseconds;

/// One look at a store's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The journal's.
    pub journal: duramen_journal::Stats,
    /// Streams known.
    pub streams: usize,
    /// Bytes of rows in memory.
    pub memory_bytes: usize,
    /// Rows in memory: what the journal has and no table yet.
    pub memory_rows: u64,
    /// Samples in memory.
    pub memory_samples: u64,
    /// Memtables that are being sealed.
    pub sealing: usize,
    /// Live tables.
    pub tables: usize,
    /// Those of them that are kept open.
    pub open_tables: usize,
    /// Bytes of memory that the indexes of these take, about.
    pub open_table_bytes: usize,
    /// Their bytes.
    pub table_bytes: u64,
    /// Their rows.
    pub table_rows: u64,
    /// Their samples.
    pub table_samples: u64,
    /// The bytes of text in them, before compression.
    pub text_bytes: u64,
    /// Bytes of rows and samples taken since opening: texts and fields, and 16 for each sample.
    pub taken_bytes: u64,
    /// Bytes of tables written from memory since opening.
    pub sealed_bytes: u64,
    /// Bytes of tables written by merges since opening: with `sealed_bytes`, what compaction costs the device.
    pub merged_bytes: u64,
    /// What the tables have grown by in a day, by the times of the rows of the last seven days; `None`: there are too few to say.
    pub grown_bytes_per_day: Option<u64>,
    /// Merges since opening.
    pub merges: u64,
    /// Merges that were given up.
    pub merges_given_up: u64,
    /// Rows that were refused because they were older than the retention.
    pub rows_too_old: u64,
    /// Rows that were dropped since opening because the disk was full.
    pub rows_dropped: u64,
    /// There is less free space than is to be kept: rows are refused.
    pub space_short: bool,
    /// The free bytes of the file system; `None`: it does not say.
    pub free_bytes: Option<u64>,
}

impl Stats {
    /// How many bytes the device was given, by the journal, by sealing and by merging, for each byte that was taken, since opening.
    /// `None`: less than 16 MiB were taken, of which the zeros that the first segments are filled with would say more than the rows.
    pub fn write_amplification(&self) -> Option<f64> {
        let written = self.journal.device_bytes + self.sealed_bytes + self.merged_bytes;
        (self.taken_bytes >= AMPLIFICATION_BYTES_MIN).then(|| written as f64 / self.taken_bytes as f64)
    }
}

/// Bytes taken of which it is told what they cost the device.
const AMPLIFICATION_BYTES_MIN: u64 = 16 << 20;

const DAY: Nanoseconds = 86_400_000_000_000;
/// What has grown longer ago says little about tomorrow.
const GROWTH_DAYS: i64 = 7;
/// Rows of a shorter time say nothing about a day.
const GROWTH_MIN: Nanoseconds = DAY / 24;

/// What tables of these times and bytes grow by in a day; of one that is older in part, that part does not count.
pub(crate) fn growth(tables: impl Iterator<Item = ((Nanoseconds, Nanoseconds), u64)>, now: Nanoseconds) -> Option<u64> {
    let since = now.saturating_sub(GROWTH_DAYS * DAY);
    let (mut bytes, mut earliest) = (0.0, now);
    for ((first, last), own) in tables {
        let (from, to) = (first.max(since), last.min(now));
        if from > to {
            continue;
        }
        let whole = last.saturating_sub(first).max(1) as f64;
        bytes += own as f64 * ((to - from).max(1) as f64 / whole);
        earliest = earliest.min(from);
    }
    let time = now.saturating_sub(earliest);
    (time >= GROWTH_MIN).then(|| (bytes / time as f64 * DAY as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_last_days() {
        let now = 1_000 * DAY;
        let of = |tables: &[((i64, i64), u64)]| growth(tables.iter().copied(), now);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[((now - DAY / 100, now), 1 << 30)]), None, "a quarter of an hour says nothing");
        assert_eq!(of(&[((now - 2 * DAY, now - DAY), 600), ((now - DAY, now), 400)]), Some(500));
        // Half of it is older, and what is of the future or long ago does not count at all.
        let odd = [((now - 14 * DAY, now), 14_000), ((now + DAY, now + 2 * DAY), 9_999), ((0, DAY), 9_999)];
        assert_eq!(of(&odd), Some(1_000));
        assert_eq!(of(&[((i64::MIN, i64::MAX), 1_000)]).map(|grown| grown < 10), Some(true));
    }

    #[test]
    fn amplification_is_of_what_was_taken() {
        let taken_bytes = 100 << 20;
        let journal = duramen_journal::Stats { device_bytes: 100 << 20, ..Default::default() };
        let stats = Stats { journal, sealed_bytes: 30 << 20, merged_bytes: 20 << 20, taken_bytes, ..Stats::default() };
        assert_eq!(stats.write_amplification(), Some(1.5));
        assert_eq!(
            Stats { taken_bytes: 1 << 20, ..stats }.write_amplification(),
            None,
            "mostly the zeros of a first segment"
        );
        assert_eq!(Stats::default().write_amplification(), None);
    }
}
