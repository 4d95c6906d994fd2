//! What a reader gets, and what a writer gives: one record, one batch.

use bytes::Bytes;

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
}

/// A caller's atomic unit: after a crash all of its records are there, or none.
///
/// Records are encoded, and their payloads checksummed, when they are pushed: on the caller's thread, before any lock.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) body: Vec<u8>,
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
            self.body[last as usize + 17] = 1;
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
        header.encode_open(&mut self.body);
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
        write(&mut self.body);
        assert!(self.body.len() >= from, "a payload is put behind what is there");
        let payload = &self.body[from..];
        let payload_bytes = u32::try_from(payload.len()).expect("a record stays below 4 GiB");
        let header = RecordHeader { payload_bytes, payload_crc: payload_checksum(payload), log, kind, more: false };
        self.largest = self.largest.max(payload.len());
        let mut open = Vec::with_capacity(RECORD_HEADER_BYTES);
        header.encode_open(&mut open);
        self.body[at..from].copy_from_slice(&open);
    }

    /// The records in it, in order: each one's log, kind and payload.
    pub fn records(&self) -> impl Iterator<Item = (LogNumber, u8, &[u8])> {
        self.places.iter().map(|&place| {
            let at = place as usize;
            let header = RecordHeader::decode_trusted(&self.body[at..]).expect("encoded when it was pushed");
            let from = at + RECORD_HEADER_BYTES;
            (header.log, header.kind, &self.body[from..from + header.payload_bytes as usize])
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

    /// Records in it.
    pub fn len(&self) -> usize {
        match self {
            Entries::One { .. } => 1,
            Entries::Many(batch) => batch.len(),
        }
    }

    /// Bytes of its records, headers included.
    pub fn bytes(&self) -> usize {
        match self {
            Entries::One { header, .. } => header.total_bytes(),
            Entries::Many(batch) => batch.bytes(),
        }
    }

    /// The largest payload.
    pub fn largest(&self) -> usize {
        match self {
            Entries::One { payload, .. } => payload.len(),
            Entries::Many(batch) => batch.largest,
        }
    }

    /// An upper bound of the different logs in it.
    pub fn logs(&self) -> usize {
        match self {
            Entries::One { .. } => 1,
            Entries::Many(batch) => batch.logs,
        }
    }

    /// Whether it names the journal's own log.
    pub fn own_log(&self) -> bool {
        match self {
            Entries::One { header, .. } => header.log == 0,
            Entries::Many(batch) => batch.own_log,
        }
    }

    /// Puts the records behind `base` bytes of a commit's body, and their places.
    pub fn write(&self, base: u32, body: &mut Vec<u8>, places: &mut Vec<u32>) {
        match self {
            Entries::One { header, payload } => {
                places.push(base);
                header.encode_open(body);
                body.extend_from_slice(payload);
            }
            Entries::Many(batch) => {
                places.extend(batch.places.iter().map(|place| base + place));
                body.extend_from_slice(&batch.body);
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
            (same.body, same.places, same.largest, same.logs),
            (batch.body, batch.places, batch.largest, batch.logs)
        );
    }
}
