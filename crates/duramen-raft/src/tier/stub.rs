//! What stays of a segment that was moved to a tier: a small file with its two ends. Owns the bytes, drawn in FORMAT.md.

use std::path::PathBuf;

use super::TierPlace;
use crate::format::Malformed;

/// Behind the segment's name.
pub(crate) const SUFFIX: &str = ".cold";

const MAGIC: &[u8; 8] = b"DuraCold";
const VERSION: u16 = 1;
const FIXED_BYTES: usize = 48;

/// A stub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stub {
    pub place: TierPlace,
    /// The segment's length.
    pub bytes: u64,
    /// CRC-64/NVME of the whole segment.
    pub digest: u64,
    /// Its first bytes.
    pub head: Vec<u8>,
    /// Its last bytes.
    pub tail: Vec<u8>,
}

impl Stub {
    /// Where the last bytes begin.
    pub fn tail_at(&self) -> u64 {
        self.bytes - self.tail.len() as u64
    }

    pub fn encode(&self) -> Vec<u8> {
        let (kind, place) = match &self.place {
            TierPlace::Directory(path) => (1u8, path.as_os_str().as_encoded_bytes().to_vec()),
            TierPlace::Other(words) => (0, words.as_bytes().to_vec()),
        };
        let mut out = Vec::with_capacity(FIXED_BYTES + place.len() + self.head.len() + self.tail.len() + 4);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[kind, 0]);
        out.extend_from_slice(&(place.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.digest.to_le_bytes());
        out.extend_from_slice(&self.tail_at().to_le_bytes());
        out.extend_from_slice(&(self.head.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.tail.len() as u32).to_le_bytes());
        out.extend_from_slice(&place);
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&self.tail);
        out.extend_from_slice(&crc_fast::crc32_iscsi(&out).to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Stub, Malformed> {
        let bad = Malformed::new("a stub of a moved segment is damaged");
        let (body, check) = bytes.split_last_chunk::<4>().ok_or(bad)?;
        if !body.starts_with(MAGIC) || body.len() < FIXED_BYTES || crc_fast::crc32_iscsi(body).to_le_bytes() != *check {
            return Err(bad);
        }
        let word = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("four bytes")) as usize;
        let long = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"));
        if u16::from_le_bytes([body[8], body[9]]) != VERSION {
            return Err(Malformed::new("a stub of a moved segment is of another version"));
        }
        let (place_bytes, head_bytes, tail_bytes) = (word(12), word(40), word(44));
        let ends = [place_bytes, head_bytes, tail_bytes].into_iter().try_fold(FIXED_BYTES, usize::checked_add);
        let (length, tail_at) = (long(16), long(32));
        if ends != Some(body.len())
            || tail_at.checked_add(tail_bytes as u64) != Some(length)
            || head_bytes as u64 > tail_at
        {
            return Err(bad);
        }
        let (place, rest) = body[FIXED_BYTES..].split_at(place_bytes);
        let (head, tail) = rest.split_at(head_bytes);
        let words = String::from_utf8(place.to_vec()).map_err(|_| bad)?;
        let place = if body[10] == 1 { TierPlace::Directory(PathBuf::from(words)) } else { TierPlace::Other(words) };
        Ok(Stub { place, bytes: length, digest: long(24), head: head.to_vec(), tail: tail.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stub() -> Stub {
        let place = TierPlace::Directory("/cold/log".into());
        Stub { place, bytes: 100, digest: 0x0102_0304_0506_0708, head: vec![1; 10], tail: vec![2; 20] }
    }

    #[test]
    fn it_comes_back() {
        for place in [TierPlace::Directory("/cold/log".into()), TierPlace::Other("a bucket".into())] {
            let stub = Stub { place, ..stub() };
            assert_eq!(Stub::decode(&stub.encode()), Ok(stub));
        }
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let whole = stub().encode();
        for at in 0..whole.len() {
            assert!(Stub::decode(&whole[..at]).is_err(), "cut at {at}");
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            assert!(Stub::decode(&bytes).is_err(), "changed at {at}");
        }
    }

    /// FORMAT.md shows these bytes.
    #[test]
    fn the_sample_is_this() {
        let page = include_str!("../../FORMAT.md");
        let bytes = stub().encode();
        let line = |(number, bytes): (usize, &[u8])| {
            let words: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{:04x}: {}\n", number * 16, words.join(" "))
        };
        let drawn: String = bytes.chunks(16).enumerate().map(line).collect();
        let sample = format!("```hex stub {}\n{drawn}```", bytes.len());
        assert!(page.contains(&sample), "FORMAT.md should show:\n{sample}");
    }

    /// Lengths that fit no file, under a good check.
    #[test]
    fn lengths_are_looked_at() {
        for (at, value) in [(12, 0xffu8), (16, 1), (32, 0xff), (40, 0xff), (44, 0xff)] {
            let mut bytes = stub().encode();
            bytes[at] = value;
            let end = bytes.len() - 4;
            let check = crc_fast::crc32_iscsi(&bytes[..end]).to_le_bytes();
            bytes[end..].copy_from_slice(&check);
            assert!(Stub::decode(&bytes).is_err(), "{at}");
        }
    }
}
