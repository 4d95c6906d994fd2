//! The bytes of the file backend: a change as a record of the journal, and what a segment's records change as the summary in its
//! footer. Owns both forms, which are stored: FORMAT.md shows them. Pure.

use std::ops::RangeInclusive;

use duramen_journal::{LogNumber, Sequence};

use crate::backend::{Key, Space};

/// The journal's kind of record for a value.
pub(crate) const PUT: u8 = 1;
/// The journal's kind of record for a removal.
pub(crate) const REMOVE: u8 = 2;
/// Bytes before a value.
pub(crate) const HEAD_BYTES: usize = 12;

/// What a record changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Key),
    Remove(Space, RangeInclusive<u64>),
}

/// The journal's log of a space; 0 is the journal's own.
pub(crate) fn log_of(space: Space) -> LogNumber {
    space as LogNumber + 1
}

/// Adds what stands before a value.
pub(crate) fn put_head(key: Key, out: &mut Vec<u8>) {
    out.extend_from_slice(&key.number.to_le_bytes());
    out.extend_from_slice(&key.part.to_le_bytes());
}

/// Adds a removal.
pub(crate) fn put_removal(numbers: &RangeInclusive<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(&numbers.start().to_le_bytes());
    out.extend_from_slice(&numbers.end().to_le_bytes());
}

/// What a record changes. `None`: it is none of this crate's.
pub(crate) fn change_of(log: LogNumber, kind: u8, payload: &[u8]) -> Option<Change> {
    let space = Space::of(u8::try_from(log.checked_sub(1)?).ok()?)?;
    let (first, rest) = payload.split_first_chunk::<8>()?;
    let first = u64::from_le_bytes(*first);
    match kind {
        PUT => {
            let part = u32::from_le_bytes(*rest.first_chunk()?);
            Some(Change::Put(Key { space, number: first, part }))
        }
        REMOVE => Some(Change::Remove(space, first..=u64::from_le_bytes(rest.try_into().ok()?))),
        _ => None,
    }
}

/// Version of the summary.
const SUMMARY: u8 = 1;
/// Flags above the space's number.
const REMOVAL: u8 = 1 << 4;
const PARTED: u8 = 1 << 5;
/// The number is the last one of its space plus one; otherwise it follows.
const NEXT: u8 = 1 << 6;
/// Records of others lie before it: how many follows.
const SKIP: u8 = 1 << 7;

/// Makes a segment's summary, record by record.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    bytes: Vec<u8>,
    next: Sequence,
    last: [u64; Space::ALL.len()],
}

impl Summary {
    /// Of the records from a sequence on.
    pub fn new(first: Sequence) -> Summary {
        Summary { bytes: vec![SUMMARY], next: first, last: Default::default() }
    }

    pub fn add(&mut self, sequence: Sequence, change: &Change) {
        let skipped = sequence.saturating_sub(self.next);
        self.next = sequence + 1;
        let (space, number) = match change {
            Change::Put(key) => (key.space, key.number),
            Change::Remove(space, numbers) => (*space, *numbers.start()),
        };
        let last = std::mem::replace(&mut self.last[space as usize], number);
        let follows = number == last.wrapping_add(1);
        let mut tag = space as u8 | if follows { NEXT } else { 0 } | if skipped > 0 { SKIP } else { 0 };
        match change {
            Change::Put(key) if key.part > 0 => tag |= PARTED,
            Change::Put(_) => {}
            Change::Remove(..) => tag |= REMOVAL,
        }
        self.bytes.push(tag);
        if skipped > 0 {
            put_number(&mut self.bytes, skipped);
        }
        if !follows {
            put_number(&mut self.bytes, number);
        }
        match change {
            Change::Put(key) if key.part > 0 => put_number(&mut self.bytes, u64::from(key.part)),
            Change::Put(_) => {}
            Change::Remove(_, numbers) => put_number(&mut self.bytes, *numbers.end()),
        }
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Tells every change of a summary, with the sequence of its record. `None`: it is none, and what was told is to be forgotten.
pub(crate) fn read_summary(
    bytes: &[u8],
    first: Sequence,
    next: Sequence,
    visit: &mut dyn FnMut(Sequence, Change),
) -> Option<()> {
    let (&version, mut rest) = bytes.split_first()?;
    if version != SUMMARY {
        return None;
    }
    let mut sequence = first;
    let mut last = [0u64; Space::ALL.len()];
    while let Some((&tag, more)) = rest.split_first() {
        rest = more;
        let space = Space::of(tag & 0x0f)?;
        if tag & SKIP > 0 {
            sequence = sequence.checked_add(take_number(&mut rest)?)?;
        }
        let own = &mut last[space as usize];
        *own = if tag & NEXT > 0 { own.wrapping_add(1) } else { take_number(&mut rest)? };
        let number = *own;
        let change = if tag & REMOVAL > 0 {
            Change::Remove(space, number..=take_number(&mut rest)?)
        } else {
            let part = if tag & PARTED > 0 { u32::try_from(take_number(&mut rest)?).ok()? } else { 0 };
            Change::Put(Key { space, number, part })
        };
        if sequence >= next {
            return None;
        }
        visit(sequence, change);
        sequence += 1;
    }
    Some(())
}

/// Adds a number in groups of seven bits, lowest first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes such a number from the front; `None`: there is none.
pub(crate) fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, more) = rest.split_first()?;
        *rest = more;
        // The tenth byte holds one bit.
        if shift == 63 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_tells_what_was_put_into_it() {
        let put = |space, number, part| Change::Put(Key { space, number, part });
        let all = [
            (10, put(Space::Own, 0, 0)),
            (11, put(Space::Decision, 7, 0)),
            (12, put(Space::Proof, 7, 0)),
            (13, put(Space::Decision, 8, 0)),
            (14, put(Space::Proof, 8, 0)),
            (16, put(Space::Message, 9, 3)),
            (900, Change::Remove(Space::Decision, 0..=u64::MAX)),
            (901, put(Space::Safety, u64::MAX, u32::MAX)),
        ];
        let mut summary = Summary::new(10);
        all.iter().for_each(|(sequence, change)| summary.add(*sequence, change));
        let bytes = summary.finish();
        let mut told = Vec::new();
        read_summary(&bytes, 10, 902, &mut |sequence, change| told.push((sequence, change))).unwrap();
        assert_eq!(told, all);
        assert_eq!(read_summary(&bytes, 10, 901, &mut |_, _| ()), None, "beyond the segment");
        for cut in 0..bytes.len() {
            // A cut may fall between two changes; it must not panic, nor tell more.
            let mut told = Vec::new();
            _ = read_summary(&bytes[..cut], 10, 902, &mut |sequence, change| told.push((sequence, change)));
            assert!(all.starts_with(&told));
        }
        let dense = (0..1000).fold(Summary::new(1), |mut summary, at| {
            summary.add(at + 1, &put(Space::Decision, at + 5, 0));
            summary
        });
        assert!(dense.finish().len() < 1010, "a byte a decision");
    }

    #[test]
    fn a_record_tells_what_it_changes() {
        let key = Key { space: Space::Message, number: 5, part: 2 };
        let mut bytes = Vec::new();
        put_head(key, &mut bytes);
        bytes.extend_from_slice(b"value");
        assert_eq!(change_of(log_of(Space::Message), PUT, &bytes), Some(Change::Put(key)));
        let mut bytes = Vec::new();
        put_removal(&(3..=9), &mut bytes);
        assert_eq!(change_of(log_of(Space::Proof), REMOVE, &bytes), Some(Change::Remove(Space::Proof, 3..=9)));
        for (log, kind, payload) in [(0, PUT, &bytes[..]), (99, PUT, &bytes), (5, 3, &bytes), (5, REMOVE, b"short")] {
            assert_eq!(change_of(log, kind, payload), None);
        }
    }
}
