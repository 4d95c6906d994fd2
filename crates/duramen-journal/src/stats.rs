//! Figures: what the journal counts while it works. Owns the counters and the latency histogram; decides nothing.

use std::time::Duration;

use crate::Sequence;
use crate::sync::{AtomicU64, Ordering};

/// Buckets of the histogram: bucket `n` holds latencies below `2^n` microseconds.
const BUCKETS: usize = 32;

/// Latencies in powers of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
}

impl Histogram {
    /// Pairs of an upper bound in microseconds (exclusive) and the count of latencies below it and at or above the one
    /// before.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter().enumerate().map(|(index, &count)| (1u64 << index, count))
    }

    /// Latencies counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The upper bound of the bucket in which this share (0 to 1) of the latencies lies. Zero if there are none.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bound, count) in self.buckets() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_micros(bound);
            }
        }
        Duration::ZERO
    }
}

/// One look at a journal's figures. Counts run from opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records written.
    pub records: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Commits written, the journal's own included.
    pub commits: u64,
    /// Syncs of segment data.
    pub syncs: u64,
    /// Bytes handed to the device: whole pages, headers, footers, and zero-fill included.
    pub device_bytes: u64,
    /// Of those, bytes that only prepared segments.
    pub prepare_bytes: u64,
    /// How long syncs took, from the write to the answer.
    pub sync_latency: Histogram,
    /// When the last sync ended, in the environment's time.
    pub last_sync: Duration,
    /// The highest sequence given.
    pub appended: Sequence,
    /// The highest sequence that survives the death of the process.
    pub written: Sequence,
    /// The highest sequence that survives a power cut.
    pub durable: Sequence,
    /// The first stored sequence.
    pub first: Sequence,
    /// Bytes that wait for the disk.
    pub queue_bytes: usize,
    /// Bytes of the tail held for readers.
    pub tail_bytes: usize,
    /// Segments in use.
    pub segments: usize,
    /// Whether all files that are made ahead are made.
    pub stocked: bool,
    /// Whether space ran out and has not come back.
    pub no_space: bool,
    /// Whether the journal is poisoned.
    pub poisoned: bool,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub records: AtomicU64,
    pub payload_bytes: AtomicU64,
    pub commits: AtomicU64,
    pub syncs: AtomicU64,
    pub device_bytes: AtomicU64,
    pub prepare_bytes: AtomicU64,
    pub last_sync_ns: AtomicU64,
    latencies: [AtomicU64; BUCKETS],
}

impl Counters {
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// A sync ended.
    pub fn synced(&self, began: Duration, ended: Duration) {
        Self::add(&self.syncs, 1);
        self.last_sync_ns.store(ended.as_nanos() as u64, Ordering::Relaxed);
        let micros = ended.saturating_sub(began).as_micros() as u64;
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        Self::add(&self.latencies[bucket.min(BUCKETS - 1)], 1);
    }

    /// The figures that are counted here.
    pub fn read(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut sync_latency = Histogram::default();
        for (count, counter) in sync_latency.counts.iter_mut().zip(&self.latencies) {
            *count = get(counter);
        }
        Stats {
            records: get(&self.records),
            payload_bytes: get(&self.payload_bytes),
            commits: get(&self.commits),
            syncs: get(&self.syncs),
            device_bytes: get(&self.device_bytes),
            prepare_bytes: get(&self.prepare_bytes),
            sync_latency,
            last_sync: Duration::from_nanos(get(&self.last_sync_ns)),
            ..Stats::default()
        }
    }
}
