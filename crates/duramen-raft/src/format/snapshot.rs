//! Bytes of a snapshot's file: its head, its chunks' digests, its end. Owns the layout that FORMAT.md draws; pure. The head
//! and the end together are an *offer*: all that another node has to know before it asks for chunks.

use crate::GroupId;
use crate::format::{LEADER_BYTES_MAX, Malformed, RawId, Reader};

const MAGIC: [u8; 8] = *b"DURASNAP";
/// The version that this code writes.
pub const VERSION: u16 = 1;
/// Heads are so long, or a multiple: what follows begins on a page.
pub const PAGE_BYTES: usize = 4096;
/// Bytes of a head up to the leader's id.
const FIXED_BYTES: usize = 49;
/// Bytes of the end, behind the digests.
pub const END_BYTES: usize = 32;
/// What a user may put beside a snapshot.
pub const META_BYTES_MAX: usize = 1 << 20;
/// Bytes of one chunk.
pub const CHUNK_BYTES_MIN: u32 = 4 << 10;
/// Bytes of one chunk.
pub const CHUNK_BYTES_MAX: u32 = 64 << 20;

/// Why a head or an end was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not what was written.
    Damaged(Malformed),
    /// A newer version wrote it.
    Newer(u16),
}

impl From<Malformed> for Fault {
    fn from(what: Malformed) -> Fault {
        Fault::Damaged(what)
    }
}

fn damaged(what: &'static str) -> Fault {
    Fault::Damaged(Malformed::new(what))
}

/// What stands at the beginning of a snapshot's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Chosen at random for each snapshot; a copy keeps it.
    pub id: [u8; 16],
    /// The group.
    pub group: GroupId,
    /// Bytes of each chunk but the last.
    pub chunk_bytes: u32,
    /// The last entry that it covers.
    pub last: RawId<'a>,
    /// The user's own: membership, for instance.
    pub meta: &'a [u8],
}

impl<'a> Head<'a> {
    /// The head, padded to whole pages.
    ///
    /// # Panics
    /// If a part is over its bound: whoever made it has compared.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.last.leader.len() <= LEADER_BYTES_MAX && self.meta.len() <= META_BYTES_MAX, "was compared");
        let whole = FIXED_BYTES + self.last.leader.len() + 4 + self.meta.len() + 4;
        let whole = whole.next_multiple_of(PAGE_BYTES);
        let mut out = Vec::with_capacity(whole);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(whole as u32).to_le_bytes());
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.group.to_le_bytes());
        out.extend_from_slice(&self.chunk_bytes.to_le_bytes());
        self.last.encode(&mut out);
        out.extend_from_slice(&(self.meta.len() as u32).to_le_bytes());
        out.extend_from_slice(self.meta);
        out.resize(whole - 4, 0);
        let check = crc_fast::crc32_iscsi(&out);
        out.extend_from_slice(&check.to_le_bytes());
        out
    }

    /// Bytes of the head that begins with these.
    ///
    /// # Errors
    /// It is none.
    pub fn length(first: &[u8]) -> Result<usize, Fault> {
        let mut reader = Reader { left: first };
        if reader.take(8)? != MAGIC {
            return Err(damaged("a snapshot begins with other bytes"));
        }
        let version = u16::from_le_bytes(array(reader.take(2)?));
        if version > VERSION {
            return Err(Fault::Newer(version));
        }
        reader.take(2)?;
        let length = u32::from_le_bytes(array(reader.take(4)?)) as usize;
        let longest = (FIXED_BYTES + LEADER_BYTES_MAX + 8 + META_BYTES_MAX).next_multiple_of(PAGE_BYTES);
        let good = length.is_multiple_of(PAGE_BYTES) && (PAGE_BYTES..=longest).contains(&length);
        if good { Ok(length) } else { Err(damaged("a snapshot's head has no such length")) }
    }

    /// Reads a whole head.
    ///
    /// # Errors
    /// It is damaged, or newer.
    pub fn decode(bytes: &'a [u8]) -> Result<Head<'a>, Fault> {
        let length = Head::length(bytes)?;
        let bytes = bytes.get(..length).ok_or(damaged("a snapshot's head is cut off"))?;
        let (body, check) = bytes.split_at(length - 4);
        if crc_fast::crc32_iscsi(body).to_le_bytes() != check {
            return Err(damaged("a snapshot's head does not match its check value"));
        }
        let mut reader = Reader { left: &body[16..] };
        let id = array(reader.take(16)?);
        let group = u32::from_le_bytes(array(reader.take(4)?));
        let chunk_bytes = u32::from_le_bytes(array(reader.take(4)?));
        let index = reader.word()?;
        let leader = reader.byte()?;
        let leader = reader.take(usize::from(leader))?;
        let meta = u32::from_le_bytes(array(reader.take(4)?)) as usize;
        let meta = reader.take(meta)?;
        if !(CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_bytes) {
            return Err(damaged("a snapshot's chunks have no such length"));
        }
        Ok(Head { id, group, chunk_bytes, last: RawId { index, leader }, meta })
    }
}

/// The digest of one chunk, bound to its snapshot and its place: a chunk of another place or snapshot never passes.
pub fn digest(id: &[u8; 16], number: u32, chunk: &[u8]) -> u64 {
    let mut place = [0u8; 28];
    place[..16].copy_from_slice(id);
    place[16..20].copy_from_slice(&number.to_le_bytes());
    place[20..].copy_from_slice(&crc_fast::crc64_nvme(chunk).to_le_bytes());
    crc_fast::crc64_nvme(&place)
}

/// What stands behind the chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Bytes of all chunks.
    pub bytes: u64,
    /// The chunks' digests, in order.
    pub digests: Vec<u64>,
}

impl End {
    /// The digests and the end of the snapshot that has this head.
    pub fn encode(&self, head: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.digests.len() * 8 + END_BYTES);
        self.digests.iter().for_each(|digest| out.extend_from_slice(&digest.to_le_bytes()));
        let whole = crc_fast::crc64_nvme(&out);
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&(self.digests.len() as u32).to_le_bytes());
        // The head's own check value: an end belongs to one head.
        out.extend_from_slice(&head[head.len() - 4..]);
        out.extend_from_slice(&whole.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let from = out.len() - (END_BYTES - 4);
        let check = crc_fast::crc32_iscsi(&out[from..]);
        out.extend_from_slice(&check.to_le_bytes());
        out
    }

    /// How many chunks the last [`END_BYTES`] bytes of a file tell of; whether they are true, [`End::decode`] says.
    ///
    /// # Errors
    /// They are damaged.
    pub fn chunks(last: &[u8]) -> Result<u32, Fault> {
        let good = last.len() == END_BYTES && {
            let (body, check) = last.split_at(END_BYTES - 4);
            crc_fast::crc32_iscsi(body).to_le_bytes() == check
        };
        if good { Ok(u32::from_le_bytes(array(&last[8..12]))) } else { Err(damaged("a snapshot has no good end")) }
    }

    /// Reads the digests and the end of the snapshot that has this head.
    ///
    /// # Errors
    /// They are damaged, or another's.
    pub fn decode(head: &[u8], chunk_bytes: u32, bytes: &[u8]) -> Result<End, Fault> {
        let at = bytes.len().checked_sub(END_BYTES).ok_or(damaged("a snapshot's end is cut off"))?;
        let (table, last) = bytes.split_at(at);
        let chunks = End::chunks(last)?;
        let mut reader = Reader { left: last };
        let total = reader.word()?;
        reader.take(4)?;
        let fits =
            total.div_ceil(u64::from(chunk_bytes)) == u64::from(chunks) && table.len() as u64 == u64::from(chunks) * 8;
        if !fits || reader.take(4)? != &head[head.len() - 4..] {
            return Err(damaged("a snapshot's end is another's"));
        }
        if crc_fast::crc64_nvme(table) != reader.word()? {
            return Err(damaged("a snapshot's digests are damaged"));
        }
        let digests = table.chunks_exact(8).map(|word| u64::from_le_bytes(array(word))).collect();
        Ok(End { bytes: total, digests })
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("so many bytes were taken")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(meta: &[u8]) -> Head<'_> {
        let last = RawId { index: 42, leader: &[7, 0, 0, 0, 0, 0, 0, 0] };
        Head { id: [9; 16], group: 3, chunk_bytes: 4096, last, meta }
    }

    #[test]
    fn what_is_written_is_read() {
        for meta in [&b""[..], b"members", &[5; 5000]] {
            let bytes = head(meta).encode();
            assert_eq!(bytes.len() % PAGE_BYTES, 0);
            assert_eq!(Head::length(&bytes[..16]), Ok(bytes.len()));
            assert_eq!(Head::decode(&bytes), Ok(head(meta)));
            let end = End { bytes: 4096 * 2 + 1, digests: vec![1, 2, 3] };
            let encoded = end.encode(&bytes);
            assert_eq!(End::chunks(&encoded[encoded.len() - END_BYTES..]), Ok(3));
            assert_eq!(End::decode(&bytes, 4096, &encoded), Ok(end));
        }
    }

    #[test]
    fn no_changed_bit_passes() {
        let bytes = head(b"members").encode();
        let end = End { bytes: 4097, digests: vec![digest(&[9; 16], 0, &[1; 4096]), digest(&[9; 16], 1, &[2])] };
        let encoded = end.encode(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Head::decode(&bad).is_err(), "bit {bit} of the head");
        }
        for bit in 0..encoded.len() * 8 {
            let mut bad = encoded.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(End::decode(&bytes, 4096, &bad).is_err(), "bit {bit} of the end");
        }
        for cut in 0..encoded.len() {
            assert!(End::decode(&bytes, 4096, &encoded[..cut]).is_err());
        }
        for cut in 0..bytes.len() {
            assert!(Head::decode(&bytes[..cut]).is_err());
        }
        assert!(End::decode(&head(b"").encode(), 4096, &encoded).is_err(), "another's head");
        let mut newer = bytes;
        newer[8] = 2;
        assert_eq!(Head::decode(&newer), Err(Fault::Newer(2)));
    }

    #[test]
    fn a_digest_is_bound_to_its_place() {
        let good = digest(&[9; 16], 1, b"chunk");
        assert_ne!(good, digest(&[9; 16], 2, b"chunk"));
        assert_ne!(good, digest(&[8; 16], 1, b"chunk"));
        assert_ne!(good, digest(&[9; 16], 1, b"chunK"));
    }
}
