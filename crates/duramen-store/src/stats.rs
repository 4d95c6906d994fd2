//! Figures of a store. Owns their shape.

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
    /// Their bytes.
    pub table_bytes: u64,
    /// Their rows.
    pub table_rows: u64,
    /// Their samples.
    pub table_samples: u64,
    /// The bytes of text in them, before compression.
    pub text_bytes: u64,
    /// Bytes of tables written from memory since opening.
    pub sealed_bytes: u64,
    /// Bytes of tables written by merges since opening: with `sealed_bytes`, what compaction costs the device.
    pub merged_bytes: u64,
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
