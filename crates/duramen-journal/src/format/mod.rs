//! Bytes to structures and back, for everything that a journal stores: pure. Owns the layout (drawn in `FORMAT.md`
//! beside the crate's manifest) and the checksums; knows no file, no disk, no thread.
//!
//! Invariants:
//! - Decoding never panics and never allocates by an unchecked length: every decoder takes a slice that the caller
//!   already holds, and answers `None` or a reason.
//! - Every check value is bound to the journal, the segment's use of its file, and the place, through [`Binding`].

mod commit;
mod record;
mod segment;

pub use commit::{BLOCK_BODY_MAX, BlockHeader, COMMIT_MAGIC, CommitHeader, CommitKind, CommitTrailer, Mark};
pub use commit::{commit_digest, decode_checkpoint, decode_mark, decode_word, encode_checkpoint, encode_mark};
pub use record::{RecordHeader, payload_checksum};
pub use segment::{
    Footer, HeaderFault, HeaderState, IDENTITY_BYTES, INDEX_ENTRIES_PER_BLOCK, Identity, LogCounts, SegmentHeader,
    decode_index_block, decode_tables, encode_index_block, encode_tables, footer_bytes, tables_checksum,
};

use crate::planted::{self, Bug};

/// The format's version.
pub const VERSION: u16 = 1;
/// Incompatible features that this code knows. Unknown ones: refuse, touch nothing.
pub const FEATURES_INCOMPATIBLE: u32 = 0;
/// Features that a reader may ignore and a writer may not.
pub const FEATURES_READ_ONLY: u32 = 0;
/// Features that everyone may ignore.
pub const FEATURES_COMPATIBLE: u32 = 0;

/// The unit of writing: commits are written as whole aligned pages.
pub const PAGE_BYTES: usize = 4096;
/// Where a segment's commits begin: behind the two copies of its header.
pub const DATA_OFFSET: u32 = 2 * PAGE_BYTES as u32;
/// Commits begin at multiples of this, which bounds the search for the next one behind damage.
pub const COMMIT_ALIGNMENT: usize = 8;
/// Bytes of a commit's header.
pub const COMMIT_HEADER_BYTES: usize = 40;
/// Bytes of a commit's trailer.
pub const COMMIT_TRAILER_BYTES: usize = 24;
/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 20;
/// Bytes of a compressed block's header.
pub const BLOCK_HEADER_BYTES: usize = 24;
/// The smallest segment.
pub const SEGMENT_BYTES_MIN: u32 = 64 * 1024;
/// The largest segment: offsets are u32, and whole pages.
pub const SEGMENT_BYTES_MAX: u32 = u32::MAX - 4095;

/// What ties a check value to one use of one segment file of one journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    seed: u32,
    /// The digest before the first commit, unless the header names the predecessor's.
    pub origin: u64,
}

impl Binding {
    /// The binding of a segment: journal id, segment number and the salt of this use.
    pub fn new(journal_id: &[u8; 16], number: u64, salt: u64) -> Binding {
        let (number, salt) = if planted::is(Bug::RecycledSaltKept) { (0, 0) } else { (number, salt) };
        let mut bytes = [0u8; 32];
        bytes[..16].copy_from_slice(journal_id);
        bytes[16..24].copy_from_slice(&number.to_le_bytes());
        bytes[24..].copy_from_slice(&salt.to_le_bytes());
        Binding { seed: crc_fast::crc32_iscsi(&bytes), origin: crc_fast::crc64_nvme(&bytes) }
    }

    /// The digest that the first commit of a segment chains to: it covers the binding and the predecessor's end.
    pub fn first_digest(&self, header: &SegmentHeader) -> u64 {
        let mut bytes = [0u8; 32];
        bytes[..8].copy_from_slice(&self.origin.to_le_bytes());
        bytes[8..16].copy_from_slice(&header.predecessor_digest.to_le_bytes());
        bytes[16..24].copy_from_slice(&header.first_sequence.to_le_bytes());
        bytes[24..].copy_from_slice(&header.gap_first.to_le_bytes());
        crc_fast::crc64_nvme(&bytes)
    }

    /// CRC32C of a small structure at an offset.
    fn check<const LENGTH: usize>(&self, offset: u32, position: u64, bytes: &[u8; LENGTH]) -> u32 {
        const { assert!(LENGTH <= 32) };
        let unbound = planted::is(Bug::ChecksumNotBoundToOffset);
        let (offset, position) = if unbound { (0, 0) } else { (offset, position) };
        let mut buffer = [0u8; 48];
        buffer[..4].copy_from_slice(&self.seed.to_le_bytes());
        buffer[4..8].copy_from_slice(&offset.to_le_bytes());
        buffer[8..16].copy_from_slice(&position.to_le_bytes());
        buffer[16..16 + LENGTH].copy_from_slice(bytes);
        crc_fast::crc32_iscsi(&buffer[..16 + LENGTH])
    }
}

/// A slice of exactly this length as an array.
fn array<const LENGTH: usize>(bytes: &[u8], at: usize) -> [u8; LENGTH] {
    let mut out = [0u8; LENGTH];
    out.copy_from_slice(&bytes[at..at + LENGTH]);
    out
}

/// How a commit's body is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Codec {
    /// As it is.
    #[default]
    None,
    /// LZ4 in blocks of at most 64 KiB (feature `lz4`).
    Lz4,
    /// Zstandard in blocks of at most 64 KiB, at this level (feature `zstd`).
    Zstd(i8),
}

impl Codec {
    fn number(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Lz4 => 1,
            Codec::Zstd(_) => 2,
        }
    }

    fn from_number(number: u8) -> Option<Codec> {
        match number {
            0 => Some(Codec::None),
            1 => Some(Codec::Lz4),
            2 => Some(Codec::Zstd(0)),
            _ => None,
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Rounds up to a multiple of a power of two.
pub fn align_up(value: usize, alignment: usize) -> usize {
    debug_assert!(alignment.is_power_of_two());
    (value + alignment - 1) & !(alignment - 1)
}

#[cfg(test)]
mod tests;
