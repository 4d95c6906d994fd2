//! A body that takes more than one batch of the store. Owns where it is divided, and how far a client's body had come when it is sent
//! again: what was stored of it before its answer was lost is not stored anew.
//!
//! A client's position is its sequence, eight bytes, once the whole body is stored; with the number of rows behind it, eight more, while
//! only so many are.

use std::collections::BTreeSet;

use duramen_store::{Batch, Durability, Error, Labels, Receipt, Store, Stream};

use crate::input::parts::Target;
use crate::input::{Counters, Feed};

/// Bytes that a row takes in a record beside text and fields, at most.
const ROW_BYTES: usize = 40;
/// Bytes of a batch that are left for positions.
const POSITION_BYTES: usize = 64 << 10;
/// Rows of one body: memory for more is not worth it.
const ROWS_MAX: usize = 1 << 20;

/// The rows of a body, in batches that the store takes.
pub struct Batches {
    batches: Vec<Batch>,
    bytes: usize,
    bytes_max: usize,
    /// The streams of the last batch: each may have to be defined in it.
    streams: BTreeSet<Labels>,
    /// Rows that are stored already, and how many of them are still to come.
    skipped: usize,
    to_skip: usize,
}

/// A body that was refused after so many of its rows were stored.
pub struct Refused {
    pub error: Error,
    pub rows: usize,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused { error, rows: 0 }
    }
}

/// How far a client has come with the body of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of it is stored.
    Whole,
    /// So many rows of it are.
    Rows(usize),
}

impl Progress {
    /// Reads a client's position.
    pub fn of(position: Option<Vec<u8>>, sequence: u64) -> Progress {
        let Some(position) = position else { return Progress::Rows(0) };
        let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let (Some(before), rows) = (number(&position), position.get(8..).and_then(number)) else {
            return Progress::Rows(0);
        };
        match rows {
            _ if sequence > before => Progress::Rows(0),
            Some(rows) if sequence == before => Progress::Rows(usize::try_from(rows).unwrap_or(usize::MAX)),
            _ => Progress::Whole,
        }
    }
}

impl Target for Batches {
    fn batch(&mut self, stream: &Stream, bytes: usize) -> Option<&mut Batch> {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            self.skipped += 1;
            return None;
        }
        let known = self.streams.contains(stream.labels());
        let of_stream = stream.labels().iter().map(|(name, value)| name.len() + value.len() + ROW_BYTES).sum::<usize>();
        let needed = bytes + ROW_BYTES + if known { 0 } else { of_stream };
        if self.bytes + needed > self.bytes_max {
            self.batches.push(Batch::new());
            self.streams.clear();
            self.bytes = if known { of_stream } else { 0 };
        }
        self.bytes += needed;
        if !self.streams.contains(stream.labels()) {
            self.streams.insert(stream.labels().clone());
        }
        self.batches.last_mut()
    }
}

impl Batches {
    /// For a body of which so many rows are stored.
    pub fn new(store: &Store, stored: usize) -> Batches {
        Batches {
            batches: vec![Batch::new()],
            bytes: 0,
            bytes_max: store.batch_bytes_max().saturating_sub(POSITION_BYTES),
            streams: BTreeSet::new(),
            skipped: 0,
            to_skip: stored,
        }
    }

    /// Rows of the body so far.
    ///
    /// # Errors
    /// There are too many.
    pub fn rows(&self) -> Result<usize, Error> {
        let rows = self.skipped + self.batches.iter().map(Batch::len).sum::<usize>();
        let too_large = Error::TooLarge { what: "body", bytes: rows as u64, max: ROWS_MAX as u64 };
        if rows > ROWS_MAX { Err(too_large) } else { Ok(rows) }
    }

    /// Says with each batch how far the client has come.
    pub fn mark(&mut self, key: &[u8], sequence: u64) {
        let mut rows = self.skipped as u64;
        let last = self.batches.len() - 1;
        for (at, batch) in self.batches.iter_mut().enumerate() {
            rows += batch.len() as u64;
            let sequence = sequence.to_le_bytes();
            match at {
                _ if at == last => batch.set_position(key, &sequence),
                _ => batch.set_position(key, &[sequence, rows.to_le_bytes()].concat()),
            }
        }
    }

    /// Says that this client sends no more.
    pub fn forget(&mut self, key: &[u8]) {
        self.batches.iter_mut().for_each(|batch| batch.set_position(key, &[]));
    }

    /// Appends all of them. Each waits until the one before it is durable: none may be stored behind one that is refused after all.
    /// The receipt is that of the last one; beside it, how many rows the retention left out.
    pub fn append(self, how: Durability, feed: &Feed) -> Result<(Receipt, usize), Refused> {
        let (mut stored, mut before) = (self.skipped, None::<(Receipt, usize)>);
        let mut too_old = 0;
        for mut batch in self.batches {
            let (rows, bytes) = (batch.len(), batch.text_bytes() as u64);
            if let Some((receipt, rows)) = before.take() {
                receipt.wait().map_err(|error| Refused { error, rows: stored })?;
                stored += rows;
            }
            let receipt = feed.store.append_drain(&mut batch, how).map_err(|error| Refused { error, rows: stored })?;
            let left_out = receipt.too_old();
            too_old += left_out.rows;
            Counters::add(&feed.counters.rows, (rows - left_out.rows) as u64);
            Counters::add(&feed.counters.bytes, bytes - left_out.text_bytes as u64);
            before = Some((receipt, rows));
        }
        let last = before.map(|(receipt, _)| receipt);
        Ok((last.expect("there is always one batch, though it may be empty"), too_old))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_position_says_how_far_it_has_come() {
        let position = |sequence: u64, rows: Option<u64>| {
            let rows = rows.map(u64::to_le_bytes);
            Some([&sequence.to_le_bytes()[..], rows.as_ref().map_or(&[], |rows| &rows[..])].concat())
        };
        assert_eq!(Progress::of(None, 7), Progress::Rows(0));
        for before in [position(7, None), position(7, Some(40))] {
            assert_eq!(Progress::of(before.clone(), 8), Progress::Rows(0));
            assert_eq!(Progress::of(before, 6), Progress::Whole);
        }
        assert_eq!(Progress::of(position(7, None), 7), Progress::Whole);
        assert_eq!(Progress::of(position(7, Some(40)), 7), Progress::Rows(40));
        assert_eq!(Progress::of(Some(vec![1]), 7), Progress::Rows(0));
    }
}
