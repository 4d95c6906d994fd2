//! A commit: header, body, padding, trailer. Each verifies by itself, because it stores the digest that it chains to.

use super::{
    BLOCK_HEADER_BYTES, Binding, COMMIT_ALIGNMENT, COMMIT_HEADER_BYTES, COMMIT_TRAILER_BYTES, Codec, PAGE_BYTES,
    align_up, array, u16_at, u32_at, u64_at,
};
use crate::planted::{self, Bug};
use crate::{LogNumber, Sequence};

/// The first bytes of each commit, "DCmt".
pub const COMMIT_MAGIC: u32 = u32::from_le_bytes(*b"DCmt");
/// The largest body of one compressed block, so that one record can be read without its whole commit.
pub const BLOCK_BODY_MAX: usize = 64 * 1024;

/// What a commit carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CommitKind {
    /// The users' records.
    Data = 0,
    /// Opening for writing: a fresh salt enters the chain. Body: u64.
    Opening = 1,
    /// Nothing below a sequence is needed any more. Body: u64.
    Release = 2,
    /// Witnesses the commits before it after some idle time. Body: flags.
    IdleMark = 3,
    /// Witnesses the commits before it at closing. Body: flags.
    ClosingMark = 4,
    /// A caller's state at the head of a segment. Body: log, kind, bytes.
    Checkpoint = 5,
}

impl CommitKind {
    fn from_number(number: u8) -> Option<CommitKind> {
        Some(match number {
            0 => CommitKind::Data,
            1 => CommitKind::Opening,
            2 => CommitKind::Release,
            3 => CommitKind::IdleMark,
            4 => CommitKind::ClosingMark,
            5 => CommitKind::Checkpoint,
            _ => return None,
        })
    }
}

/// The header of one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitHeader {
    /// The sequence of its first record, or of the next one to come if it has none.
    pub first_sequence: Sequence,
    /// The digest of the commit before it.
    pub previous_digest: u64,
    /// Records in it.
    pub count: u32,
    /// Bytes of the body as it is stored.
    pub stored_bytes: u32,
    /// Bytes of the body before compression.
    pub body_bytes: u32,
    /// Zero bytes between body and trailer.
    pub padding: u16,
    /// What it carries.
    pub kind: CommitKind,
    /// How the body is stored.
    pub codec: Codec,
}

impl CommitHeader {
    /// Writes the header for its place.
    pub fn encode(&self, out: &mut [u8], binding: &Binding, offset: u32) {
        out[..4].copy_from_slice(&COMMIT_MAGIC.to_le_bytes());
        out[8..16].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.previous_digest.to_le_bytes());
        out[24..28].copy_from_slice(&self.count.to_le_bytes());
        out[28..32].copy_from_slice(&self.stored_bytes.to_le_bytes());
        out[32..36].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[36..38].copy_from_slice(&self.padding.to_le_bytes());
        out[38] = self.kind as u8;
        out[39] = self.codec.number();
        let check = Self::check(out, binding, offset);
        out[4..8].copy_from_slice(&check.to_le_bytes());
    }

    fn check(bytes: &[u8], binding: &Binding, offset: u32) -> u32 {
        let mut covered: [u8; COMMIT_HEADER_BYTES - 8] = array(bytes, 8);
        if planted::is(Bug::LengthOutsideChecksum) {
            covered[20..24].fill(0);
        }
        binding.check(offset, 0, &covered)
    }

    /// Reads and checks a header. `None`: not a commit's header at this place, or too few bytes.
    pub fn decode(bytes: &[u8], binding: &Binding, offset: u32) -> Option<CommitHeader> {
        let bytes = bytes.get(..COMMIT_HEADER_BYTES)?;
        if u32_at(bytes, 0) != COMMIT_MAGIC || u32_at(bytes, 4) != Self::check(bytes, binding, offset) {
            return None;
        }
        Self::decode_unbound(bytes)
    }

    /// Reads a header without its check value: where the segment's salt is lost, only the digest can tell.
    pub fn decode_unbound(bytes: &[u8]) -> Option<CommitHeader> {
        let bytes = bytes.get(..COMMIT_HEADER_BYTES)?;
        if u32_at(bytes, 0) != COMMIT_MAGIC {
            return None;
        }
        Some(CommitHeader {
            first_sequence: u64_at(bytes, 8),
            previous_digest: u64_at(bytes, 16),
            count: u32_at(bytes, 24),
            stored_bytes: u32_at(bytes, 28),
            body_bytes: u32_at(bytes, 32),
            padding: u16_at(bytes, 36),
            kind: CommitKind::from_number(bytes[38])?,
            codec: Codec::from_number(bytes[39])?,
        })
    }

    /// Bytes from the header's first to the trailer's last.
    pub fn total_bytes(&self) -> u64 {
        (COMMIT_HEADER_BYTES + COMMIT_TRAILER_BYTES) as u64 + u64::from(self.stored_bytes) + u64::from(self.padding)
    }

    /// The padding that a commit with such a body needs at this offset: to the next multiple of eight, or to the end
    /// of its last page when the next commit must begin in a fresh one.
    pub fn padding_for(offset: u32, stored_bytes: usize, to_page: bool) -> u16 {
        let end = offset as usize + COMMIT_HEADER_BYTES + stored_bytes + COMMIT_TRAILER_BYTES;
        let alignment = if to_page { PAGE_BYTES } else { COMMIT_ALIGNMENT };
        (align_up(end, alignment) - end) as u16
    }
}

/// The end of one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitTrailer {
    /// The highest sequence that was durable when the commit was written.
    pub durable_upto: Sequence,
    /// The offset in this segment below which everything was durable when the commit was written.
    pub durable_end: u32,
    /// CRC-64/NVME over the whole commit before this field, the previous digest included.
    pub digest: u64,
}

impl CommitTrailer {
    /// Bytes of the trailer that the digest covers.
    pub const COVERED: usize = COMMIT_TRAILER_BYTES - 8;

    /// Writes the trailer's covered part; the digest comes after, by [`commit_digest`].
    pub fn encode(&self, out: &mut [u8]) {
        let (upto, end) =
            if planted::is(Bug::WatermarkStuckAtZero) { (0, 0) } else { (self.durable_upto, self.durable_end) };
        out[..8].copy_from_slice(&upto.to_le_bytes());
        out[8..12].copy_from_slice(&end.to_le_bytes());
        out[12..16].fill(0);
        out[16..24].copy_from_slice(&self.digest.to_le_bytes());
    }

    /// Reads a trailer; the digest is the caller's to compare. `None`: too few bytes.
    pub fn decode(bytes: &[u8]) -> Option<CommitTrailer> {
        let bytes = bytes.get(..COMMIT_TRAILER_BYTES)?;
        Some(CommitTrailer { durable_upto: u64_at(bytes, 0), durable_end: u32_at(bytes, 8), digest: u64_at(bytes, 16) })
    }
}

/// The digest of a commit that lies in memory as a whole: over everything before the digest itself.
pub fn commit_digest(covered: &[u8]) -> u64 {
    crc_fast::crc64_nvme(covered)
}

/// The header of one compressed block: whole records, or a part of one that is larger than a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Bytes as stored; equal to `body_bytes` where compression did not pay.
    pub stored_bytes: u32,
    /// Bytes before compression.
    pub body_bytes: u32,
    /// CRC32C of the stored bytes.
    pub stored_crc: u32,
    /// Place of the first record that begins here, counted from the segment's first.
    pub first_index: u32,
    /// Records that begin here; 0 in a block that continues a large record.
    pub records: u16,
    /// How the body is stored.
    pub codec: Codec,
}

impl BlockHeader {
    /// Writes the header for its place.
    pub fn encode(&self, binding: &Binding, offset: u32) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0u8; BLOCK_HEADER_BYTES];
        bytes[4..8].copy_from_slice(&self.stored_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.stored_crc.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.first_index.to_le_bytes());
        bytes[20..22].copy_from_slice(&self.records.to_le_bytes());
        bytes[22] = self.codec.number();
        let check = binding.check::<20>(offset, u64::MAX, &array(&bytes, 4));
        bytes[..4].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads and checks a header. `None`: too few bytes, not a block's header at this place, or a body over the bound.
    pub fn decode(bytes: &[u8], binding: &Binding, offset: u32) -> Option<BlockHeader> {
        let bytes = bytes.get(..BLOCK_HEADER_BYTES)?;
        let header = BlockHeader {
            stored_bytes: u32_at(bytes, 4),
            body_bytes: u32_at(bytes, 8),
            stored_crc: u32_at(bytes, 12),
            first_index: u32_at(bytes, 16),
            records: u16_at(bytes, 20),
            codec: Codec::from_number(bytes[22])?,
        };
        let good = u32_at(bytes, 0) == binding.check::<20>(offset, u64::MAX, &array(bytes, 4))
            && header.body_bytes as usize <= BLOCK_BODY_MAX
            && header.stored_bytes <= header.body_bytes;
        good.then_some(header)
    }
}

/// What a mark says beside its witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// Everything behind the mark in its segment is zero, and a reader may hold it to that.
    pub zero_tail: bool,
}

/// The body of a mark.
pub fn encode_mark(mark: Mark) -> [u8; 8] {
    u64::from(mark.zero_tail).to_le_bytes()
}

/// Reads the body of a mark. `None`: of another length or with unknown flags.
pub fn decode_mark(body: &[u8]) -> Option<Mark> {
    match decode_word(body)? {
        0 => Some(Mark { zero_tail: false }),
        1 => Some(Mark { zero_tail: true }),
        _ => None,
    }
}

/// Reads the body of an opening record (its salt) or a release (its bound).
pub fn decode_word(body: &[u8]) -> Option<u64> {
    (body.len() == 8).then(|| u64_at(body, 0))
}

/// The body of a checkpoint.
pub fn encode_checkpoint(log: LogNumber, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(8 + payload.len());
    body.extend_from_slice(&log.to_le_bytes());
    body.extend_from_slice(&[kind, 0, 0, 0]);
    body.extend_from_slice(payload);
    body
}

/// Reads the body of a checkpoint: log, kind, payload.
pub fn decode_checkpoint(body: &[u8]) -> Option<(LogNumber, u8, &[u8])> {
    let head = body.get(..8)?;
    Some((u32_at(head, 0), head[4], &body[8..]))
}
