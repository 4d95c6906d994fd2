//! A record's header: 20 bytes in front of each payload.

use super::{Binding, RECORD_HEADER_BYTES, array, u32_at};
use crate::{LogNumber, Sequence};

/// Bit 0 of a record's flags: the batch goes on with the next record.
const FLAG_MORE: u8 = 1;

/// The header of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the payload that follows.
    pub payload_bytes: u32,
    /// CRC32C of the payload alone, so that a caller's thread can compute it before it takes any lock.
    pub payload_crc: u32,
    /// The log that the record belongs to.
    pub log: LogNumber,
    /// The caller's kind.
    pub kind: u8,
    /// Whether the next record belongs to the same batch.
    pub more: bool,
}

/// The check value of a payload.
pub fn payload_checksum(payload: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(payload)
}

impl RecordHeader {
    /// The header without its check value, which needs the record's place: see [`RecordHeader::seal`].
    pub fn encode_open(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0u8; RECORD_HEADER_BYTES];
        bytes[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.log.to_le_bytes());
        bytes[16] = self.kind;
        bytes[17] = if self.more { FLAG_MORE } else { 0 };
        bytes
    }

    /// Writes the check value into an encoded header, once the place is known.
    pub fn seal(bytes: &mut [u8], binding: &Binding, offset: u32, sequence: Sequence) {
        let check = binding.check::<16>(offset, sequence, &array(bytes, 4));
        bytes[..4].copy_from_slice(&check.to_le_bytes());
    }

    /// Reads the fields without the check: for bytes whose commit was verified by its digest, or that never left
    /// memory. `None` if there are too few bytes.
    pub fn decode_trusted(bytes: &[u8]) -> Option<RecordHeader> {
        let bytes = bytes.get(..RECORD_HEADER_BYTES)?;
        Some(RecordHeader {
            payload_bytes: u32_at(bytes, 4),
            payload_crc: u32_at(bytes, 8),
            log: u32_at(bytes, 12),
            kind: bytes[16],
            more: bytes[17] & FLAG_MORE != 0,
        })
    }

    /// Reads and checks a header. `None`: too few bytes, or not the header of this sequence at this place.
    pub fn decode(bytes: &[u8], binding: &Binding, offset: u32, sequence: Sequence) -> Option<RecordHeader> {
        let bytes = bytes.get(..RECORD_HEADER_BYTES)?;
        let good = binding.check::<16>(offset, sequence, &array(bytes, 4)) == u32_at(bytes, 0)
            && bytes[17] & !FLAG_MORE == 0
            && bytes[18] == 0
            && bytes[19] == 0;
        if good { RecordHeader::decode_trusted(bytes) } else { None }
    }

    /// Bytes of header and payload together.
    pub fn total_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.payload_bytes as usize
    }
}
