//! What a reader gets, and what a writer gives: one record, one batch.

use std::ops::Range;

use bytes::Bytes;

use crate::body::BodyBuffer;
use crate::format::{RECORD_HEADER_BYTES, RecordHeader, payload_checksum};
use crate::{LogNumber, Sequence};

/// One stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its sequence.
    pub sequence: Sequence,
    /// The log that it belongs to.
    pub log: LogNumber,
    /// The caller's kind.
    pub kind: u8,
    /// Whether the next record belongs to the same batch.
    pub more: bool,
    /// The payload; shares the buffer that it was read into.
    pub payload: Bytes,
}

impl Record {
    pub(crate) fn new(sequence: Sequence, header: &RecordHeader, payload: Bytes) -> Record {
        Record { sequence, log: header.log, kind: header.kind, more: header.more, payload }
    }

    /// The same, borrowed.
    pub fn borrow(&self) -> RecordRef<'_> {
        let Record { sequence, log, kind, more, ref payload } = *self;
        RecordRef { sequence, log, kind, more, payload, buffer: payload }
    }
}

/// One stored record, lent by a reader that walks.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// Its sequence.
    pub sequence: Sequence,
    /// The log that it belongs to.
    pub log: LogNumber,
    /// The caller's kind.
    pub kind: u8,
    /// Whether the next record belongs to the same batch.
    pub more: bool,
    /// The payload.
    pub payload: &'a [u8],
    /// What the payload is a part of.
    buffer: &'a Bytes,
}

impl<'a> RecordRef<'a> {
    #[inline]
    pub(crate) fn new(sequence: Sequence, header: &RecordHeader, payload: Range<usize>, buffer: &'a Bytes) -> Self {
        let payload = &buffer[payload];
        RecordRef { sequence, log: header.log, kind: header.kind, more: header.more, payload, buffer }
    }

    /// A part of the payload, to keep: shares the buffer that it was read into.
    ///
    /// # Panics
    /// If it is no part of the payload.
    #[inline]
    pub fn share(&self, part: &'a [u8]) -> Bytes {
        self.buffer.slice_ref(part)
    }
}

impl PartialEq for RecordRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        let parts = |record: &Self| (record.sequence, record.log, record.kind, record.more);
        parts(self) == parts(other) && self.payload == other.payload
    }
}

impl Eq for RecordRef<'_> {}

/// A caller's atomic unit: after a crash all of its records are there, or none.
///
/// Records are encoded, and their payloads checksummed, when they are pushed: on the caller's thread, before any lock.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) body: BodyBuffer,
    pub(crate) places: Vec<u32>,
    pub(crate) largest: usize,
    /// An upper bound of the different logs in it: how often the log changes.
    pub(crate) logs: usize,
    last_log: LogNumber,
    pub(crate) own_log: bool,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds one record. A batch over the journal's bound fails when it is appended.
    ///
    /// # Panics
    /// If the batch grows over 4 GiB, which no journal takes.
    pub fn push(&mut self, log: LogNumber, kind: u8, payload: &[u8]) {
        let place = u32::try_from(self.body.len()).expect("a batch stays below 4 GiB");
        let payload_bytes = u32::try_from(payload.len()).expect("a record stays below 4 GiB");
        if let Some(&last) = self.places.last() {
            // The batch goes on: say so in the record before.
            self.body.body_mut()[last as usize + 17] = 1;
        }
        if self.places.is_empty() || log != self.last_log {
            self.logs += 1;
            self.last_log = log;
        }
        self.own_log |= log == 0;
        self.places.push(place);
        self.largest = self.largest.max(payload.len());
        let header = RecordHeader { payload_bytes, payload_crc: payload_checksum(payload), log, kind, more: false };
        self.body.reserve(RECORD_HEADER_BYTES + payload.len());
        self.body.extend_from_slice(&header.encode_open());
        self.body.extend_from_slice(payload);
    }

    /// Adds one record whose payload `write` puts behind what is there: for payloads that are made of several parts, so
    /// that they are copied once. A batch over the journal's bound fails when it is appended.
    ///
    /// # Panics
    /// As [`Batch::push`], and if `write` takes bytes away.
    pub fn push_with(&mut self, log: LogNumber, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.body.len();
        self.push(log, kind, &[]);
        let from = self.body.len();
        self.body.append_with(write);
        let payload = &self.body.body()[from..];
        let payload_bytes = u32::try_from(payload.len()).expect("a record stays below 4 GiB");
        let header = RecordHeader { payload_bytes, payload_crc: payload_checksum(payload), log, kind, more: false };
        self.largest = self.largest.max(payload.len());
        self.body.body_mut()[at..from].copy_from_slice(&header.encode_open());
    }

    /// The records in it, in order: each one's log, kind and payload.
    pub fn records(&self) -> impl Iterator<Item = (LogNumber, u8, &[u8])> {
        self.places.iter().map(|&place| {
            let at = place as usize;
            let header = RecordHeader::decode_trusted(&self.body.body()[at..]).expect("encoded when it was pushed");
            let from = at + RECORD_HEADER_BYTES;
            (header.log, header.kind, &self.body.body()[from..from + header.payload_bytes as usize])
        })
    }

    /// Records in it.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of its records, headers included.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.body.clear();
        self.places.clear();
        self.largest = 0;
        self.logs = 0;
        self.own_log = false;
    }
}

/// How much one append brings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Records in it.
    pub records: usize,
    /// Bytes of its records, headers included.
    pub bytes: usize,
    /// The largest payload.
    pub largest: usize,
    /// An upper bound of the different logs in it.
    pub logs: usize,
    /// Whether it names the journal's own log.
    pub own_log: bool,
}

/// What one append brings: a batch, or a lone record that needs no batch around it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entries<'a> {
    One { header: RecordHeader, payload: &'a [u8] },
    Many(&'a Batch),
}

impl<'a> Entries<'a> {
    /// A lone record; the payload is checksummed here, before any lock.
    pub fn one(log: LogNumber, kind: u8, payload: &'a [u8]) -> Entries<'a> {
        let payload_bytes = u32::try_from(payload.len()).expect("the caller compared with the bound");
        let header = RecordHeader { payload_bytes, payload_crc: payload_checksum(payload), log, kind, more: false };
        Entries::One { header, payload }
    }

    /// How much it is.
    pub fn extent(&self) -> Extent {
        match self {
            Entries::One { header, payload } => Extent {
                records: 1,
                bytes: header.total_bytes(),
                largest: payload.len(),
                logs: 1,
                own_log: header.log == 0,
            },
            Entries::Many(batch) => Extent {
                records: batch.len(),
                bytes: batch.bytes(),
                largest: batch.largest,
                logs: batch.logs,
                own_log: batch.own_log,
            },
        }
    }

    /// Puts the records behind `base` bytes of a commit's body, and their places.
    pub fn write(&self, base: u32, body: &mut BodyBuffer, places: &mut Vec<u32>) {
        match self {
            Entries::One { header, payload } => {
                places.push(base);
                body.reserve(header.total_bytes());
                body.extend_from_slice(&header.encode_open());
                body.extend_from_slice(payload);
            }
            Entries::Many(batch) => {
                places.extend(batch.places.iter().map(|place| base + place));
                body.extend_from_slice(batch.body.body());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_tells_what_was_put_into_it() {
        let mut batch = Batch::new();
        batch.push(1, 7, b"one");
        batch.push_with(2, 8, |out| {
            out.extend_from_slice(b"in two ");
            out.extend_from_slice(b"parts");
        });
        batch.push_with(3, 9, |_| ());
        let records: Vec<_> = batch.records().collect();
        assert_eq!(records, [(1, 7, &b"one"[..]), (2, 8, &b"in two parts"[..]), (3, 9, &b""[..])]);
        let mut same = Batch::new();
        records.iter().for_each(|&(log, kind, payload)| same.push(log, kind, payload));
        assert_eq!(
            (same.body.body(), same.places, same.largest, same.logs),
            (batch.body.body(), batch.places, batch.largest, batch.logs)
        );
    }
}
