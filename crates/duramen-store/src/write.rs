//! Appending: journal first, then memory, in one order. Owns positions, and what a refused append takes back.
//!
//! Invariants of [`Writing`], under its lock:
//! 1. Rows go into memory in the order of their sequences.
//! 2. A stream's definition stands in the same batch as its first row of each segment.
//! 3. What the journal refused (a full disk) is in neither memory nor positions once [`Core::settle`] has run, and nothing is
//!    appended before it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use duramen_journal::{Append, Class, Error as JournalError, Sequence, Ticket, WhenFull};

use crate::batch::Batch;
use crate::chunk::Group;
use crate::core::Core;
use crate::error::Error;
use crate::format::batch::{KIND_STREAM, LOG, put_stream};
use crate::format::chain::ChainWriter;
use crate::lock;
use crate::memtable::{Columns, Memtable};
use crate::row::{Arrival, Nanoseconds, TimeBase};
use crate::sample::{SampleChunk, SampleGroup};
use crate::session::USER;
use crate::store::Durability;
use crate::view::{Sealed, View};

/// Bytes of a position's key and value at most.
const POSITION_BYTES_MAX: usize = 64 << 10;

/// A source's position, and the record that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub value: Vec<u8>,
    pub at: Sequence,
}

/// What appends change, one after another.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    /// The journal's epoch that all rows in memory belong to.
    pub epoch: u64,
    pub positions: BTreeMap<Vec<u8>, Position>,
    /// What positions were before records that may still be refused, oldest first.
    undo: Vec<(Sequence, Vec<u8>, Option<Position>)>,
    unsynced_bytes: usize,
    /// What the next samples are told by.
    pub chain: ChainWriter,
}

impl Writing {
    pub fn new(epoch: u64) -> Writing {
        Writing { epoch, ..Writing::default() }
    }

    pub fn set_position(&mut self, key: Vec<u8>, value: Vec<u8>, at: Sequence) {
        let before = match value.is_empty() {
            true => self.positions.remove(&key),
            false => self.positions.insert(key.clone(), Position { value, at }),
        };
        self.undo.push((at, key, before));
    }

    /// Forgets how to undo what is written.
    pub fn written(&mut self, upto: Sequence) {
        let settled = self.undo.partition_point(|(at, ..)| *at <= upto);
        self.undo.drain(..settled);
    }

    /// Takes back all positions of records above a sequence.
    fn undo_above(&mut self, sequence: Sequence) {
        while self.undo.last().is_some_and(|(at, ..)| *at > sequence) {
            let Some((_, key, before)) = self.undo.pop() else { break };
            match before {
                Some(position) => _ = self.positions.insert(key, position),
                None => _ = self.positions.remove(&key),
            }
        }
    }
}

/// Refuses a sample that no question would find.
pub(crate) fn check_time(time: Nanoseconds) -> Result<(), Error> {
    if time == Nanoseconds::MAX { Err(Error::TimeOutOfRange { time }) } else { Ok(()) }
}

impl Core {
    /// Checks a batch against the bounds.
    fn check(&self, batch: &Batch) -> Result<(), Error> {
        let row_max = self.options.row_bytes_max;
        for chunk in [&batch.wall, &batch.boot] {
            let longest = |ends: &[u32]| {
                let begins = std::iter::once(0).chain(ends.iter().copied());
                ends.iter().zip(begins).map(|(end, begin)| (end - begin) as usize).max().unwrap_or(0)
            };
            let longest = longest(&chunk.text_ends).max(longest(&chunk.field_ends));
            if longest > row_max {
                return Err(Error::TooLarge { what: "row", bytes: longest as u64, max: row_max as u64 });
            }
        }
        let position = batch.positions.iter().map(|(key, value)| key.len() + value.len()).max().unwrap_or(0);
        if position > POSITION_BYTES_MAX {
            return Err(Error::TooLarge { what: "position", bytes: position as u64, max: POSITION_BYTES_MAX as u64 });
        }
        let samples = [&batch.samples, &batch.samples_of_boot].into_iter().flat_map(|chunk| &chunk.times);
        samples.copied().try_for_each(check_time)?;
        if batch.is_too_long() {
            let max = crate::row::ROWS_PER_RECORD_MAX as u64;
            return Err(Error::TooLarge { what: "batch", bytes: batch.len() as u64, max });
        }
        Ok(())
    }

    /// Appends a batch, and empties it; `None`: it was empty. A batch that is refused stays as it is, but for what is too old.
    pub fn append(&self, batch: &mut Batch, how: Durability) -> Result<Option<Ticket>, Error> {
        self.check(batch)?;
        // Also the store's own: rows go into memory in the order of the journal.
        if self.replaying.load(std::sync::atomic::Ordering::Acquire) {
            return Err(Error::Opening);
        }
        if !self.takes_rows.load(std::sync::atomic::Ordering::Acquire) && !batch.own {
            return Err(self.refusal());
        }
        if self.space_short.load(std::sync::atomic::Ordering::Acquire) && !batch.own {
            return Err(Error::NoSpace { path: self.catalog.folder.clone() });
        }
        if !batch.own {
            self.refuse_too_old(batch);
        }
        if batch.is_empty() {
            return Ok(None);
        }
        self.make_room(batch)?;
        batch.streams.sort_unstable_by_key(|stream| stream.id());
        batch.streams.dedup_by_key(|stream| stream.id());
        let arrival = self.arrival();
        // Rows are put into bytes before the lock is taken; samples depend on those before them.
        let mut ready = match batch.samples() {
            0 => Some(batch.records(arrival, &mut ChainWriter::default())),
            _ => None,
        };
        let mut write = lock(&self.write);
        let ticket = loop {
            self.settle(&mut write);
            let mut records = match ready.take() {
                Some(records) => records,
                None => batch.records(arrival, &mut write.chain),
            };
            let segment = self.segment_first.load(std::sync::atomic::Ordering::Acquire);
            let rows = records.len() as u64;
            let new: Vec<_> =
                batch.streams.iter().filter(|stream| stream.defined() < segment.max(1)).cloned().collect();
            for stream in &new {
                records.push_with(LOG, KIND_STREAM, |out| put_stream(out, stream.id(), stream.labels()));
            }
            let class = self.class(&mut write, how, records.bytes(), batch.is_urgent());
            let how = Append { class, full: WhenFull::Wait, reserved: batch.own, epoch: Some(write.epoch) };
            match self.journal.append_drain(&mut records, how) {
                Ok(ticket) => {
                    new.iter().zip(ticket.first() + rows..).for_each(|(stream, at)| stream.set_defined(at));
                    batch.streams.iter().for_each(|stream| stream.note_used(ticket.last()));
                    break ticket;
                }
                Err(JournalError::StaleEpoch { .. }) => write.chain.cut(),
                Err(error) => {
                    write.chain.cut();
                    return Err(error.into());
                }
            }
        };
        if !batch.own {
            self.compaction.taken_bytes.fetch_add(batch.taken_bytes(), std::sync::atomic::Ordering::Relaxed);
        }
        let too_old = batch.too_old;
        self.keep(&mut write, std::mem::take(batch), &ticket, arrival);
        batch.too_old = too_old;
        Ok(Some(ticket))
    }

    /// Why nothing is taken.
    pub fn refusal(&self) -> Error {
        if self.replaying.load(std::sync::atomic::Ordering::Acquire) { Error::Opening } else { Error::Going }
    }

    /// Takes out rows and samples that the retention would drop at once, and counts them.
    fn refuse_too_old(&self, batch: &mut Batch) {
        let Some(horizon) = self.horizon() else { return };
        let too_old = |times: &[i64]| times.iter().filter(|&&time| time < horizon).count();
        let (rows, samples) = (too_old(&batch.wall.times), too_old(&batch.samples.times));
        let text_bytes = batch.text_bytes();
        if rows > 0 {
            batch.wall.groups = vec![Group { sequence: 0, from: 0, ordinal: 0, arrival: Arrival::default() }];
            batch.wall = batch.wall.filtered(|row| batch.wall.times[row] >= horizon);
        }
        if samples > 0 {
            batch.samples.groups = vec![SampleGroup { sequence: 0, from: 0 }];
            batch.samples = batch.samples.filtered(|row| batch.samples.times[row] >= horizon);
        }
        batch.too_old.rows += rows;
        batch.too_old.text_bytes += text_bytes - batch.text_bytes();
        batch.too_old.samples += samples;
        self.compaction.too_old.fetch_add((rows + samples) as u64, std::sync::atomic::Ordering::Relaxed);
    }

    /// How soon the journal is to sync. Rows that tell of errors do not wait: they may be the last ones.
    fn class(&self, write: &mut Writing, how: Durability, bytes: usize, urgent: bool) -> Class {
        write.unsynced_bytes += bytes;
        let class = match how {
            Durability::Now => Class::Now,
            Durability::Policy | Durability::Within(_) if urgent => Class::Now,
            Durability::Policy if write.unsynced_bytes >= self.options.unsynced_bytes_max => Class::Now,
            Durability::Policy => Class::Policy,
            Durability::Within(time) => Class::Within(time),
        };
        if class == Class::Now {
            write.unsynced_bytes = 0;
        }
        class
    }

    /// Puts what was appended into memory.
    fn keep(&self, write: &mut Writing, batch: Batch, ticket: &Ticket, arrival: Arrival) {
        let mut sequence = ticket.first();
        let mut view = lock(&self.view);
        for (base, mut chunk) in [(TimeBase::Wall, batch.wall), (TimeBase::Boot(arrival.boot), batch.boot)] {
            if !chunk.is_empty() {
                chunk.groups = vec![Group { sequence, from: 0, ordinal: 0, arrival }];
                view.active.insert(base, chunk);
                sequence += 1;
            }
        }
        let bases = [TimeBase::Wall, TimeBase::Boot(arrival.boot)];
        write.chain.appended(sequence);
        for (base, mut chunk) in bases.into_iter().zip([batch.samples, batch.samples_of_boot]) {
            if !chunk.is_empty() {
                chunk.groups = vec![SampleGroup { sequence, from: 0 }];
                view.insert_samples(base, chunk, self.world.environment.now());
                sequence += 1;
            }
        }
        write.written(self.journal.written());
        for (key, value) in batch.positions {
            write.set_position(key, value, sequence);
            sequence += 1;
        }
        let below = ticket.last() + 1;
        if view.active.bytes() >= self.options.memtable_bytes && !view.seals_rows() {
            self.rotate_rows(&mut view, below);
        }
        if view.samples.bytes() >= self.options.buffer_bytes && !view.seals_samples() {
            self.rotate_samples(&mut view, below);
        } else if view.long > 0 && view.samples.len() >= self.options.buffer_samples {
            self.kick();
        }
    }

    /// Hands the rows in memory over to be sealed: all rows below a sequence.
    pub fn rotate_rows(&self, view: &mut View, below: Sequence) {
        let rows: Memtable = std::mem::take(&mut view.active);
        view.sealed.push_back(Arc::new(Sealed { rows, below, ..Sealed::default() }));
        self.kick();
    }

    /// Hands the samples in memory over to be sealed: all samples below a sequence.
    pub fn rotate_samples(&self, view: &mut View, below: Sequence) {
        let samples: Memtable<SampleChunk> = view.take_samples();
        view.sealed.push_back(Arc::new(Sealed { samples, below, ..Sealed::default() }));
        self.kick();
    }

    /// Waits until there is room in memory and in the journal.
    fn make_room(&self, batch: &Batch) -> Result<(), Error> {
        let (rows, samples) = (batch.samples() < batch.len(), batch.samples() > 0);
        self.wait_while(|| self.is_full(rows, samples) || (!batch.own && self.journal_is_long()))
    }

    /// Whether there is no more room in memory for rows, or for samples.
    fn is_full(&self, rows: bool, samples: bool) -> bool {
        let view = lock(&self.view);
        let of_rows = view.active.bytes() >= self.options.memtable_bytes && view.seals_rows();
        let of_samples = view.samples.bytes() >= self.options.buffer_bytes && view.seals_samples();
        (rows && of_rows) || (samples && of_samples)
    }

    /// Hands rows and samples over to be sealed as soon as they fill their memory, and waits while there is no room for more. For
    /// replay, which has read all records below a sequence.
    pub fn make_replay_room(&self, below: Sequence) -> Result<(), Error> {
        self.wait_while(|| self.is_full(true, true))?;
        let mut view = lock(&self.view);
        if view.active.bytes() >= self.options.memtable_bytes {
            self.rotate_rows(&mut view, below);
        }
        if view.samples.bytes() >= self.options.buffer_bytes {
            self.rotate_samples(&mut view, below);
        }
        Ok(())
    }

    /// Waits for sealing as long as something holds.
    fn wait_while(&self, holds: impl Fn() -> bool) -> Result<(), Error> {
        use std::sync::atomic::Ordering;
        loop {
            let seen = self.sealed.load(Ordering::Acquire);
            if !holds() {
                return Ok(());
            }
            if self.stopped.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            if self.is_inline() {
                self.shorten_journal()?;
                self.seal_oldest()?;
                continue;
            }
            self.kick();
            self.world.environment.wait(&self.sealed, seen, Some(std::time::Duration::from_secs(1)));
            let waited = self.sealed.load(Ordering::Acquire) != seen;
            if let Some(error) = self.seal_failure().filter(|_| !waited) {
                return Err(error);
            }
        }
    }

    /// Takes back what the journal refused, if it has refused anything.
    pub fn settle(&self, write: &mut Writing) {
        let epoch = self.journal.epoch();
        if epoch == write.epoch {
            return;
        }
        // Nothing was appended in the new epoch, so that what is not written now never will be.
        let written = self.journal.written();
        write.undo_above(written);
        for stream in lock(&self.streams).iter() {
            if stream.defined() > written {
                stream.set_defined(0);
            }
        }
        let mut view = lock(&self.view);
        view.active.truncate_above(written);
        view.truncate_samples_above(written);
        write.chain.cut_above(written);
        for sealed in &mut view.sealed {
            if sealed.below > written + 1 {
                let (mut rows, mut samples) = (sealed.rows.clone(), sealed.samples.clone());
                rows.truncate_above(written);
                samples.truncate_above(written);
                // Nothing of it was written to a table yet: sealing waits until all of it is durable.
                *sealed = Arc::new(Sealed {
                    rows,
                    samples,
                    below: written + 1,
                    partial: sealed.partial,
                    done: Default::default(),
                });
            }
        }
        write.epoch = epoch;
    }

    pub fn position(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut write = lock(&self.write);
        self.settle(&mut write);
        write.positions.get(&[&[USER], key].concat()).map(|position| position.value.clone())
    }

    pub fn positions(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut write = lock(&self.write);
        self.settle(&mut write);
        let prefix = [&[USER], prefix].concat();
        let from = write.positions.range(prefix.clone()..);
        let own = from.take_while(|(key, _)| key.starts_with(&prefix));
        own.map(|(key, position)| (key[1..].to_vec(), position.value.clone())).collect()
    }
}
