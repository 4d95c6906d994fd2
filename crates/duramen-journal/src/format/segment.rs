//! The frame of a segment: two header pages in front, the footer at the end; and the folder's identity.

use super::{Binding, PAGE_BYTES, VERSION, align_up, u16_at, u32_at, u64_at};
use super::{FEATURES_COMPATIBLE, FEATURES_INCOMPATIBLE, FEATURES_READ_ONLY};
use crate::planted::{self, Bug};
use crate::{LogNumber, Sequence};

const SEGMENT_MAGIC: [u8; 8] = *b"DuraSegm";
const FOOTER_MAGIC: [u8; 8] = *b"DuraFoot";
const IDENTITY_MAGIC: [u8; 8] = *b"DuraIdnt";
/// Bytes of the identity file.
pub const IDENTITY_BYTES: usize = 64;
/// Offsets in one page of a footer's index; the page's last four bytes are its check value.
pub const INDEX_ENTRIES_PER_BLOCK: usize = PAGE_BYTES / 4 - 1;
const LOG_ENTRY_BYTES: usize = 24;

/// Whether a segment has been begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderState {
    /// Named and zero-filled (or recycled) ahead of its use; holds nothing.
    Prepared,
    /// In use.
    Begun,
}

/// A segment's header, written twice, in pages of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Prepared or begun.
    pub state: HeaderState,
    /// The journal that it belongs to.
    pub journal_id: [u8; 16],
    /// Its number; also its file's name.
    pub number: u64,
    /// Fresh for each use of the file.
    pub salt: u64,
    /// The sequence of its first record.
    pub first_sequence: Sequence,
    /// The chain's digest at the end of the segment before it.
    pub predecessor_digest: u64,
    /// Nothing below this sequence was needed when the segment began.
    pub released_below: Sequence,
    /// Not 0: the sequences from here up to `first_sequence` are known to be lost.
    pub gap_first: Sequence,
    /// The file's length.
    pub segment_bytes: u32,
    /// The file held only zeros when the segment was prepared: whatever else stands behind the commits was torn.
    pub zeroed: bool,
    /// The file grows as it is written (copy-on-write file systems): its length says nothing.
    pub growing: bool,
}

/// Why a header page was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// All zero: never written.
    Blank,
    /// Not a header, or its checksum is wrong.
    Damaged,
    /// Intact, but of a newer version or with features unknown to this code.
    Newer(u16),
    /// The device could not read it: nothing is known of its bytes. Decoding never says so, whoever reads does.
    Unreadable,
}

/// Checks magic, checksum and version of a page that ends in its own CRC32C, the rule of all versions.
fn check_page(page: &[u8], magic: &[u8; 8]) -> Result<(), HeaderFault> {
    // Without an early exit the loop becomes wide instructions.
    if page[0] == 0 && page.iter().fold(0, |all, byte| all | byte) == 0 {
        return Err(HeaderFault::Blank);
    }
    let body = page.len() - 4;
    if page[..8] != *magic || crc_fast::crc32_iscsi(&page[..body]) != u32_at(page, body) {
        return Err(HeaderFault::Damaged);
    }
    let version = u16_at(page, 8);
    let unknown = u32_at(page, 12) & !FEATURES_INCOMPATIBLE != 0 || u32_at(page, 16) & !FEATURES_READ_ONLY != 0;
    if (version != VERSION || unknown) && !planted::is(Bug::NewerFormatIgnored) {
        return Err(HeaderFault::Newer(version));
    }
    Ok(())
}

fn begin_page(page: &mut [u8], magic: &[u8; 8]) {
    page.fill(0);
    page[..8].copy_from_slice(magic);
    page[8..10].copy_from_slice(&VERSION.to_le_bytes());
    page[12..16].copy_from_slice(&FEATURES_INCOMPATIBLE.to_le_bytes());
    page[16..20].copy_from_slice(&FEATURES_READ_ONLY.to_le_bytes());
    page[20..24].copy_from_slice(&FEATURES_COMPATIBLE.to_le_bytes());
}

fn finish_page(page: &mut [u8]) {
    let body = page.len() - 4;
    let check = crc_fast::crc32_iscsi(&page[..body]);
    page[body..].copy_from_slice(&check.to_le_bytes());
}

impl SegmentHeader {
    /// The binding of the segment's check values.
    pub fn binding(&self) -> Binding {
        Binding::new(&self.journal_id, self.number, self.salt)
    }

    /// Writes one header page.
    pub fn encode(&self, page: &mut [u8]) {
        let page = &mut page[..PAGE_BYTES];
        begin_page(page, &SEGMENT_MAGIC);
        page[10] = match self.state {
            HeaderState::Prepared => 1,
            HeaderState::Begun => 2,
        };
        page[24..40].copy_from_slice(&self.journal_id);
        page[40..48].copy_from_slice(&self.number.to_le_bytes());
        page[48..56].copy_from_slice(&self.salt.to_le_bytes());
        page[56..64].copy_from_slice(&self.first_sequence.to_le_bytes());
        page[64..72].copy_from_slice(&self.predecessor_digest.to_le_bytes());
        page[72..80].copy_from_slice(&self.released_below.to_le_bytes());
        page[80..88].copy_from_slice(&self.gap_first.to_le_bytes());
        page[88..92].copy_from_slice(&self.segment_bytes.to_le_bytes());
        page[92] = u8::from(self.zeroed);
        page[93] = u8::from(self.growing);
        finish_page(page);
    }

    /// Reads one header page.
    pub fn decode(page: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let page = page.get(..PAGE_BYTES).ok_or(HeaderFault::Damaged)?;
        check_page(page, &SEGMENT_MAGIC)?;
        let state = match page[10] {
            1 => HeaderState::Prepared,
            2 => HeaderState::Begun,
            _ => return Err(HeaderFault::Damaged),
        };
        let mut journal_id = [0u8; 16];
        journal_id.copy_from_slice(&page[24..40]);
        Ok(SegmentHeader {
            state,
            journal_id,
            number: u64_at(page, 40),
            salt: u64_at(page, 48),
            first_sequence: u64_at(page, 56),
            predecessor_digest: u64_at(page, 64),
            released_below: u64_at(page, 72),
            gap_first: u64_at(page, 80),
            segment_bytes: u32_at(page, 88),
            zeroed: page[92] == 1,
            growing: page[93] == 1,
        })
    }
}

/// The last page of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The journal that it belongs to.
    pub journal_id: [u8; 16],
    /// The segment's number.
    pub number: u64,
    /// The salt of the header.
    pub salt: u64,
    /// The sequence of the first record.
    pub first_sequence: Sequence,
    /// Records in the segment.
    pub count: u64,
    /// The chain's digest at its end.
    pub digest: u64,
    /// Where the last commit ends; zeros follow up to the index.
    pub data_end: u32,
    /// Where the index begins: a multiple of 4096.
    pub index_offset: u32,
    /// Where the table of logs and the summary begin.
    pub tables_offset: u32,
    /// Entries in the table of logs.
    pub logs: u32,
    /// Bytes of the caller's summary.
    pub summary_bytes: u32,
    /// The caller had a summary, and it did not fit.
    pub summary_dropped: bool,
    /// CRC-64/NVME of the tables, up to this page.
    pub tables_check: u64,
    /// Release floor as of the segment's end.
    pub released_below: Sequence,
}

impl Footer {
    /// Writes the footer page.
    pub fn encode(&self, page: &mut [u8]) {
        let page = &mut page[..PAGE_BYTES];
        begin_page(page, &FOOTER_MAGIC);
        page[10] = u8::from(self.summary_dropped);
        page[24..40].copy_from_slice(&self.journal_id);
        page[40..48].copy_from_slice(&self.number.to_le_bytes());
        page[48..56].copy_from_slice(&self.salt.to_le_bytes());
        page[56..64].copy_from_slice(&self.first_sequence.to_le_bytes());
        page[64..72].copy_from_slice(&self.count.to_le_bytes());
        page[72..80].copy_from_slice(&self.digest.to_le_bytes());
        page[80..84].copy_from_slice(&self.data_end.to_le_bytes());
        page[84..88].copy_from_slice(&self.index_offset.to_le_bytes());
        page[88..92].copy_from_slice(&self.tables_offset.to_le_bytes());
        page[92..96].copy_from_slice(&self.logs.to_le_bytes());
        page[96..100].copy_from_slice(&self.summary_bytes.to_le_bytes());
        page[104..112].copy_from_slice(&self.tables_check.to_le_bytes());
        page[112..120].copy_from_slice(&self.released_below.to_le_bytes());
        finish_page(page);
    }

    /// Reads the footer page of a segment whose header is known. `Blank` and `Damaged` both mean "no footer here": a
    /// page of zeros, of stale bytes, or of another use of the file.
    pub fn decode(page: &[u8], header: &SegmentHeader) -> Result<Footer, HeaderFault> {
        let page = page.get(..PAGE_BYTES).ok_or(HeaderFault::Damaged)?;
        check_page(page, &FOOTER_MAGIC)?;
        let mut journal_id = [0u8; 16];
        journal_id.copy_from_slice(&page[24..40]);
        let footer = Footer {
            journal_id,
            number: u64_at(page, 40),
            salt: u64_at(page, 48),
            first_sequence: u64_at(page, 56),
            count: u64_at(page, 64),
            digest: u64_at(page, 72),
            data_end: u32_at(page, 80),
            index_offset: u32_at(page, 84),
            tables_offset: u32_at(page, 88),
            logs: u32_at(page, 92),
            summary_bytes: u32_at(page, 96),
            summary_dropped: page[10] & 1 != 0,
            tables_check: u64_at(page, 104),
            released_below: u64_at(page, 112),
        };
        let ours = footer.journal_id == header.journal_id
            && footer.number == header.number
            && footer.salt == header.salt
            && footer.first_sequence == header.first_sequence;
        if ours && footer.plausible(header.segment_bytes) { Ok(footer) } else { Err(HeaderFault::Damaged) }
    }

    /// Whether the places in it lie in order within the file: a checked page may still be a forged one.
    fn plausible(&self, segment_bytes: u32) -> bool {
        // No record without a header: the bound keeps the sums below from overflowing.
        if self.first_sequence.checked_add(self.count).is_none_or(|end| end == 0)
            || self.count > u64::from(segment_bytes)
        {
            return false;
        }
        let blocks = self.count.div_ceil(INDEX_ENTRIES_PER_BLOCK as u64);
        let tables = u64::from(self.logs) * LOG_ENTRY_BYTES as u64 + u64::from(self.summary_bytes);
        self.data_end <= self.index_offset
            && (self.index_offset as usize).is_multiple_of(PAGE_BYTES)
            && u64::from(self.tables_offset) == u64::from(self.index_offset) + blocks * PAGE_BYTES as u64
            && u64::from(self.tables_offset) + tables + PAGE_BYTES as u64 <= u64::from(segment_bytes)
    }

    /// The last sequence, or one below the first if the segment holds no record.
    pub fn last_sequence(&self) -> Sequence {
        self.first_sequence + self.count - 1
    }
}

/// Count and range of one log's records in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCounts {
    /// The log.
    pub log: LogNumber,
    /// Its records in the segment.
    pub count: u32,
    /// The first of them.
    pub first: Sequence,
    /// The last of them.
    pub last: Sequence,
}

/// Bytes that a footer takes at the end of its segment, in whole pages.
pub fn footer_bytes(records: usize, logs: usize, summary_bytes: usize) -> usize {
    records.div_ceil(INDEX_ENTRIES_PER_BLOCK) * PAGE_BYTES
        + align_up(logs * LOG_ENTRY_BYTES + summary_bytes, PAGE_BYTES)
        + PAGE_BYTES
}

/// Writes one page of the index.
pub fn encode_index_block(offsets: &[u32], block: u32, binding: &Binding, page: &mut [u8]) {
    debug_assert!(offsets.len() <= INDEX_ENTRIES_PER_BLOCK);
    page[..PAGE_BYTES].fill(0);
    for (slot, offset) in page.chunks_exact_mut(4).zip(offsets) {
        slot.copy_from_slice(&offset.to_le_bytes());
    }
    let check = index_check(&page[..PAGE_BYTES - 4], block, binding);
    page[PAGE_BYTES - 4..PAGE_BYTES].copy_from_slice(&check.to_le_bytes());
}

fn index_check(entries: &[u8], block: u32, binding: &Binding) -> u32 {
    binding.check(block, 0, &crc_fast::crc64_nvme(entries).to_le_bytes())
}

/// Reads one page of the index. `None`: damaged.
pub fn decode_index_block(page: &[u8], block: u32, binding: &Binding) -> Option<Vec<u32>> {
    let page = page.get(..PAGE_BYTES)?;
    if index_check(&page[..PAGE_BYTES - 4], block, binding) != u32_at(page, PAGE_BYTES - 4) {
        return None;
    }
    Some(page[..PAGE_BYTES - 4].chunks_exact(4).map(|entry| u32_at(entry, 0)).collect())
}

/// The table of logs and the summary, padded to whole pages.
pub fn encode_tables(logs: &[LogCounts], summary: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(align_up(logs.len() * LOG_ENTRY_BYTES + summary.len(), PAGE_BYTES));
    for entry in logs {
        out.extend_from_slice(&entry.log.to_le_bytes());
        out.extend_from_slice(&entry.count.to_le_bytes());
        out.extend_from_slice(&entry.first.to_le_bytes());
        out.extend_from_slice(&entry.last.to_le_bytes());
    }
    out.extend_from_slice(summary);
    out.resize(align_up(out.len(), PAGE_BYTES), 0);
    out
}

/// The check value of the tables, bound to their segment.
pub fn tables_checksum(tables: &[u8], binding: &Binding) -> u64 {
    crc_fast::crc64_nvme(tables) ^ binding.origin
}

/// Reads the tables of a footer: the logs, and the summary's bytes. `None`: damaged, or shorter than the footer says.
pub fn decode_tables<'a>(tables: &'a [u8], footer: &Footer, binding: &Binding) -> Option<(Vec<LogCounts>, &'a [u8])> {
    let logs_bytes = (footer.logs as usize).checked_mul(LOG_ENTRY_BYTES)?;
    let end = logs_bytes.checked_add(footer.summary_bytes as usize)?;
    if tables.len() < end || tables_checksum(tables, binding) != footer.tables_check {
        return None;
    }
    let logs = tables[..logs_bytes]
        .chunks_exact(LOG_ENTRY_BYTES)
        .map(|entry| LogCounts {
            log: u32_at(entry, 0),
            count: u32_at(entry, 4),
            first: u64_at(entry, 8),
            last: u64_at(entry, 16),
        })
        .collect();
    Some((logs, &tables[logs_bytes..end]))
}

/// What a data folder is: its kind, its journal, its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The journal's id.
    pub journal_id: [u8; 16],
    /// What lies in the folder: a plain journal, a Raft log, a store, …
    pub kind: [u8; 8],
    /// The sync method that was measured to be fastest where the journal was created; 0: none. Only a hint.
    pub method: u8,
    /// The first segment has been begun, durably: from then on a folder without segments is a folder that lost them.
    pub begun: bool,
}

impl Identity {
    /// Writes the identity file.
    pub fn encode(&self) -> [u8; IDENTITY_BYTES] {
        let mut bytes = [0u8; IDENTITY_BYTES];
        begin_page(&mut bytes, &IDENTITY_MAGIC);
        bytes[24..40].copy_from_slice(&self.journal_id);
        bytes[40..48].copy_from_slice(&self.kind);
        bytes[48] = self.method;
        bytes[49] = u8::from(self.begun);
        finish_page(&mut bytes);
        bytes
    }

    /// Reads the identity file.
    pub fn decode(bytes: &[u8]) -> Result<Identity, HeaderFault> {
        if bytes.len() != IDENTITY_BYTES {
            return Err(HeaderFault::Damaged);
        }
        check_page(bytes, &IDENTITY_MAGIC)?;
        let mut identity = Identity { journal_id: [0; 16], kind: [0; 8], method: bytes[48], begun: bytes[49] == 1 };
        identity.journal_id.copy_from_slice(&bytes[24..40]);
        identity.kind.copy_from_slice(&bytes[40..48]);
        Ok(identity)
    }
}
