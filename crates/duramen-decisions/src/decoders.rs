//! Each decoder of what the log stores, fed with any bytes: for the fuzz targets, and for the noise of the plain tests. Checksums stand
//! before most of these in a log; they are left out here, since noise would never come past them.

use bytes::Bytes;

use crate::backend::compress::unpack;
use crate::backend::file::record::{Change, PUT, REMOVE, Summary, change_of, read_summary};
use crate::backend::kv::{key_bytes, key_of};
use crate::codec::Codec;
use crate::digest::{DIGEST_BYTES, Digest};
use crate::transfer::Manifest;
use crate::values::{DecisionHead, Head, Published, RawManifest};

/// A digest that anything fits, so that noise comes past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Any;

impl Digest for Any {
    const ALGORITHM: u32 = 999;
    const NAME: &'static str = "any";

    fn of(_: &[&[u8]]) -> Any {
        Any
    }

    fn bytes(&self) -> [u8; DIGEST_BYTES] {
        [0; DIGEST_BYTES]
    }

    fn from_bytes(_: [u8; DIGEST_BYTES]) -> Any {
        Any
    }
}

/// Records of the journal, keys of other stores, a segment's summary: what is read of a summary is written again the same.
pub fn records(input: &[u8]) {
    for (log, kind) in (0..10).flat_map(|log| [(log, PUT), (log, REMOVE), (log, 9)]) {
        if let Some(Change::Put(key)) = change_of(log, kind, input) {
            assert_eq!(key_of(&key_bytes(key)), Some(key));
        }
    }
    if let Some(key) = key_of(input) {
        assert_eq!(key_bytes(key), input);
    }
    let mut told = Vec::new();
    if read_summary(input, 5, 5 + (1 << 20), &mut |sequence, change| told.push((sequence, change))).is_some() {
        let mut summary = Summary::new(5);
        told.iter().for_each(|(sequence, change)| summary.add(*sequence, change));
        let mut again = Vec::new();
        let read =
            read_summary(&summary.finish(), 5, 5 + (1 << 20), &mut |sequence, change| again.push((sequence, change)));
        assert!(read.is_some() && again == told);
    }
}

/// What lies under keys, and a manifest of another replica's.
pub fn values(input: &[u8]) {
    if let Some(head) = Head::decode(input).filter(|head| head.version <= crate::values::VERSION) {
        assert_eq!(Head::decode(&head.encode()), Some(head));
    }
    let bytes = Bytes::copy_from_slice(input);
    if let Some((head, own)) = DecisionHead::split(&bytes) {
        let mut again = Vec::new();
        head.put(&mut again);
        assert_eq!([&again, &own[..]].concat(), input);
    }
    if let Some(published) = Published::decode(input) {
        assert_eq!(published.encode(), input);
    }
    if let Some(manifest) = RawManifest::decode(input) {
        assert!(manifest.chunks.len() <= input.len());
        assert_eq!(RawManifest::decode(&manifest.encode()), Some(manifest));
    }
    if let Ok(manifest) = Manifest::decode(input, Any) {
        assert!(manifest.chunks().count() <= input.len());
    }
    // What the types that are ready make of it.
    let _ = (String::decode(&bytes), <()>::decode(&bytes));
}

/// Values and chunks as they are packed.
pub fn packed(input: &[u8]) {
    if let Some(value) = unpack(&Bytes::copy_from_slice(input)) {
        assert!(value.len() <= (1 << 30));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn noise_is_refused_without_a_panic(
            input in proptest::collection::vec(any::<u8>(), 0..300),
            first in prop_oneof![Just(None), (0u8..4).prop_map(Some)],
        ) {
            let mut input = input;
            if let (Some(first), Some(place)) = (first, input.first_mut()) {
                *place = first;
            }
            super::records(&input);
            super::values(&input);
            super::packed(&input);
            super::values(&[b"DMAN\x01\0\0\0", &input[..]].concat());
        }
    }
}
