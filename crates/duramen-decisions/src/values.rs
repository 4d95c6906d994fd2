//! The bytes of what a log stores under its keys, whatever the backend. Owns these forms: FORMAT.md shows them. Pure.

use bytes::Bytes;

use crate::SeqNo;
use crate::digest::DIGEST_BYTES;

/// The version of all of them.
pub(crate) const VERSION: u16 = 1;

/// What the log says of itself, under the first key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub version: u16,
    /// The digest's algorithm.
    pub algorithm: u32,
    /// Nothing is kept up to this one.
    pub base: Option<SeqNo>,
}

impl Head {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.version.to_le_bytes().to_vec();
        out.extend_from_slice(&self.algorithm.to_le_bytes());
        out.push(u8::from(self.base.is_some()));
        out.extend_from_slice(&self.base.unwrap_or(0).to_le_bytes());
        out
    }

    /// `None`: it is none. The version is for the caller to look at.
    pub fn decode(bytes: &[u8]) -> Option<Head> {
        let (version, rest) = bytes.split_first_chunk()?;
        let version = u16::from_le_bytes(*version);
        if version > VERSION {
            return Some(Head { version, algorithm: 0, base: None });
        }
        let (algorithm, rest) = rest.split_first_chunk()?;
        let (&based, rest) = rest.split_first()?;
        let base = u64::from_le_bytes(rest.try_into().ok()?);
        let base = match based {
            0 => None,
            1 => Some(base),
            _ => return None,
        };
        Some(Head { version, algorithm: u32::from_le_bytes(*algorithm), base })
    }
}

/// Bytes before a decision's own.
pub(crate) const DECISION_HEAD_BYTES: usize = DIGEST_BYTES + 16;

/// What stands before a decision's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecisionHead {
    pub digest: [u8; DIGEST_BYTES],
    /// When it was stored, in milliseconds since 1970 as the machine's clock had it; 0: it had none.
    pub millis: u64,
    /// Bytes of all decisions that were stored before it.
    pub total: u64,
}

impl DecisionHead {
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&self.millis.to_le_bytes());
        out.extend_from_slice(&self.total.to_le_bytes());
    }

    /// The head, and the decision's bytes.
    pub fn split(value: &Bytes) -> Option<(DecisionHead, Bytes)> {
        let (digest, rest) = value.split_first_chunk()?;
        let (millis, rest) = rest.split_first_chunk()?;
        let total = rest.first_chunk()?;
        let head =
            DecisionHead { digest: *digest, millis: u64::from_le_bytes(*millis), total: u64::from_le_bytes(*total) };
        Some((head, value.slice(DECISION_HEAD_BYTES..)))
    }
}

/// A published checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// The digest of its manifest.
    pub root: [u8; DIGEST_BYTES],
    /// Bytes of the state.
    pub bytes: u64,
    /// Chunks of the state.
    pub chunks: u64,
    /// When it was published, as with decisions.
    pub millis: u64,
    /// Bytes of all decisions that were stored before it.
    pub total: u64,
}

impl Published {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.root.to_vec();
        [self.bytes, self.chunks, self.millis, self.total]
            .iter()
            .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Published> {
        let (root, rest) = bytes.split_first_chunk()?;
        let mut numbers = rest.chunks_exact(8).map(|own| own.try_into().map(u64::from_le_bytes));
        let mut next = || numbers.next()?.ok();
        let own = Published { root: *root, bytes: next()?, chunks: next()?, millis: next()?, total: next()? };
        (rest.len() == 32).then_some(own)
    }
}

const MANIFEST: [u8; 4] = *b"DMAN";

/// The chunks of a state, in order: digest and length of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawManifest {
    pub seq_no: SeqNo,
    pub chunks: Vec<([u8; DIGEST_BYTES], u32)>,
}

impl RawManifest {
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|(_, bytes)| u64::from(*bytes)).sum()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.chunks.len() * 36);
        out.extend_from_slice(&MANIFEST);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.seq_no.to_le_bytes());
        out.extend_from_slice(&(self.chunks.len() as u64).to_le_bytes());
        for (digest, bytes) in &self.chunks {
            out.extend_from_slice(digest);
            out.extend_from_slice(&bytes.to_le_bytes());
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<RawManifest> {
        let rest = bytes.strip_prefix(&MANIFEST)?;
        let (version, rest) = rest.split_first_chunk()?;
        let (_, rest) = rest.split_first_chunk::<2>()?;
        let (seq_no, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let whole = u64::from_le_bytes(*count).checked_mul(36) == Some(rest.len() as u64);
        if u16::from_le_bytes(*version) != VERSION || !whole {
            return None;
        }
        let chunk = |own: &[u8]| {
            let (digest, bytes) = own.split_first_chunk()?;
            Some((*digest, u32::from_le_bytes(bytes.try_into().ok()?)))
        };
        let chunks = rest.chunks_exact(36).map(chunk).collect::<Option<Vec<_>>>()?;
        Some(RawManifest { seq_no: u64::from_le_bytes(*seq_no), chunks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_cut_ones_do_not() {
        let head = Head { version: VERSION, algorithm: 2, base: Some(7) };
        assert_eq!(Head::decode(&head.encode()), Some(head));
        let decision = DecisionHead { digest: [3; 32], millis: 5, total: 6 };
        let mut bytes = Vec::new();
        decision.put(&mut bytes);
        assert_eq!(bytes.len(), DECISION_HEAD_BYTES);
        bytes.extend_from_slice(b"what");
        assert_eq!(DecisionHead::split(&bytes.into()), Some((decision, Bytes::from_static(b"what"))));
        let published = Published { root: [1; 32], bytes: 2, chunks: 3, millis: 4, total: 5 };
        assert_eq!(Published::decode(&published.encode()), Some(published));
        let manifest = RawManifest { seq_no: 9, chunks: vec![([1; 32], 10), ([2; 32], 20)] };
        assert_eq!(RawManifest::decode(&manifest.encode()), Some(manifest.clone()));
        assert_eq!(manifest.bytes(), 30);
        for (whole, cut_off) in [
            (head.encode(), (|bytes| Head::decode(bytes).is_none()) as fn(&[u8]) -> bool),
            (published.encode(), |bytes| Published::decode(bytes).is_none()),
            (manifest.encode(), |bytes| RawManifest::decode(bytes).is_none()),
        ] {
            (0..whole.len()).for_each(|end| assert!(cut_off(&whole[..end]), "{end}"));
            assert!(cut_off(&[&whole[..], &[0]].concat()));
        }
        let mut hostile = manifest.encode();
        hostile[16..24].fill(0xff);
        assert_eq!(RawManifest::decode(&hostile), None, "a count that no memory holds");
        let newer = Head { version: 2, ..head }.encode();
        assert_eq!(Head::decode(&newer).map(|head| head.version), Some(2), "told, whatever follows");
    }
}
