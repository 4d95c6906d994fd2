//! The frame of the raw bound: the least that a checked record needs. Pure; no file is touched here.
//!
//! ```text
//! checksum u32 | length u32 | sequence u64 | payload
//! ```
//! The CRC32C covers everything behind itself. Sequences count from one, so that zeroed bytes are never a frame.

/// The bytes before the payload.
pub const HEADER_BYTES: usize = 16;

/// The bytes of a frame with this payload.
pub fn frame_bytes(payload_bytes: usize) -> usize {
    HEADER_BYTES + payload_bytes
}

/// Writes the frame into `target`, which has exactly the frame's size.
pub fn encode(target: &mut [u8], sequence: u64, payload: &[u8]) {
    target[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    target[8..HEADER_BYTES].copy_from_slice(&sequence.to_le_bytes());
    target[HEADER_BYTES..].copy_from_slice(payload);
    let checksum = crc_fast::crc32_iscsi(&target[4..]);
    target[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'bytes> {
    /// The payload of the frame with the wanted sequence.
    Frame(&'bytes [u8]),
    /// The frame may go on beyond the end of the bytes.
    Short,
    /// No frame with this sequence.
    Nothing,
}

/// Decodes the frame at the start of `bytes` if it is the one with this sequence.
pub fn decode(bytes: &[u8], sequence: u64) -> Found<'_> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Found::Short;
    };
    let [c0, c1, c2, c3, l0, l1, l2, l3, stored_sequence @ ..] = *header;
    if u64::from_le_bytes(stored_sequence) != sequence {
        return Found::Nothing;
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let Some(frame) = bytes.get(4..HEADER_BYTES + length) else {
        return Found::Short;
    };
    if crc_fast::crc32_iscsi(frame) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Found::Nothing;
    }
    Found::Frame(&frame[HEADER_BYTES - 4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_whole_and_only_under_its_sequence() {
        let mut bytes = vec![0; frame_bytes(5) + 3];
        encode(&mut bytes[..frame_bytes(5)], 9, b"abcde");
        assert_eq!(decode(&bytes, 9), Found::Frame(b"abcde"));
        assert_eq!(decode(&bytes, 10), Found::Nothing);
        assert_eq!(decode(&bytes[..frame_bytes(5) - 1], 9), Found::Short);
        assert_eq!(decode(&[0; 64], 1), Found::Nothing);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = vec![0; frame_bytes(5)];
        encode(&mut bytes, 9, b"abcde");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(decode(&bytes, 9), Found::Frame(_)), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
