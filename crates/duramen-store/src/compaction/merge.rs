//! Several tables become one: their streams by labels, the rows of each by time and id. Owns the dictionary's choice; decides
//! nothing about which tables.
//!
//! Memory: one block of each input, and the samples of one dictionary.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::catalog::entry_of;
use crate::compaction::Compaction;
use crate::compaction::pick::Merge;
use crate::core::Core;
use crate::error::Error;
use crate::format::manifest::TableEntry;
use crate::format::table::StreamEntry;
use crate::labels::Labels;
use crate::lock;
use crate::row::{Nanoseconds, RowId};
use crate::table::reader::StreamReader;
use crate::table::writer::{BLOCK_BYTES, IndexHead, Unfinished};
use crate::table::{Block, RowToWrite, SampleTableWriter, Table, TableWriter, WriterOptions};
use crate::view::Live;

/// Bytes of a dictionary.
const DICTIONARY_BYTES: usize = 16 << 10;
/// Blocks whose rows teach a dictionary.
const SAMPLE_BLOCKS: usize = 8;
/// Streams with fewer blocks gain less than their dictionary takes.
const DICTIONARY_BLOCKS_MIN: usize = 12;

/// One stream of one input, block by block.
struct Cursor<'a> {
    table: &'a Table,
    stream: &'a StreamEntry,
    reader: StreamReader,
    next_block: usize,
    block: Block,
    row: usize,
}

impl<'a> Cursor<'a> {
    fn new(table: &'a Table, stream: &'a StreamEntry) -> Result<Cursor<'a>, Error> {
        let reader = table.stream(stream)?;
        let mut cursor = Cursor { table, stream, reader, next_block: 0, block: Block::default(), row: 0 };
        cursor.read()?;
        Ok(cursor)
    }

    /// Reads the next block, if there is one.
    fn read(&mut self) -> Result<(), Error> {
        self.row = 0;
        self.block = match self.stream.blocks.get(self.next_block) {
            Some(entry) => self.table.block(&self.reader, entry)?,
            None => Block::default(),
        };
        self.next_block += 1;
        Ok(())
    }

    fn key(&self) -> Option<(Nanoseconds, RowId)> {
        let time = self.block.numbers.times.get(self.row)?;
        Some((*time, self.block.numbers.ids[self.row]))
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.row += 1;
        if self.row < self.block.numbers.len() { Ok(()) } else { self.read() }
    }

    fn row(&self) -> RowToWrite<'_> {
        RowToWrite {
            time: self.block.numbers.times[self.row],
            id: self.block.numbers.ids[self.row],
            arrival: self.block.numbers.arrival(self.row),
            level: self.block.numbers.levels[self.row],
            text: self.block.text(self.row),
            fields: self.block.field_bytes(self.row),
        }
    }
}

/// How a merge ended early.
pub(super) enum Stopped {
    GivenUp,
    Failed(Error),
    /// An input is damaged: it is left as it is from now on.
    Damaged(u64, Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Failed(error)
    }
}

impl Core {
    /// Merges tables into a new one, which is durable, and counts, when this returns. `None`: it was given up.
    pub(super) fn merge_tables(
        &self,
        job: &Merge,
        inputs: &[Arc<Live>],
        ancestors: &[u64],
    ) -> Result<Option<TableEntry>, Error> {
        let mut tables = Vec::new();
        for live in inputs {
            match self.open_table(live) {
                Ok(table) => tables.push(table),
                Err(error @ Error::DamagedTable { .. }) => {
                    self.noticed.note_table(&live.entry, &error);
                    lock(&self.unmergeable).insert(live.entry.number);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let covers = tables.iter().map(|table| table.index.covers).max().unwrap_or(0);
        let number = self.next_table.fetch_add(1, Ordering::Relaxed);
        let mut replaces = job.inputs.clone();
        replaces.extend(ancestors);

        let head = IndexHead { partition: job.partition, level: job.level, covers, replaces };
        let options = WriterOptions { compression: self.options.compression };
        let binding = self.catalog.binding(number);
        let (disk, folder) = (self.catalog.disk.clone(), &self.catalog.tables);
        let (merged, finished) = if job.partition.is_of_samples() {
            let mut writer = SampleTableWriter::create(disk, folder, binding, head, options)?;
            match self.merge_series(inputs, &tables, &mut writer) {
                Ok(()) => (Ok(()), Some(writer.finish())),
                Err(stopped) => {
                    writer.abandon();
                    (Err(stopped), None)
                }
            }
        } else {
            let mut writer = TableWriter::create(disk, folder, binding, head, options)?;
            match self.merge_streams(&tables, &mut writer) {
                Ok(()) => (Ok(()), Some(writer.finish())),
                Err(stopped) => {
                    writer.abandon();
                    (Err(stopped), None)
                }
            }
        };
        match (merged, finished) {
            (Err(Stopped::Failed(error)), _) | (_, Some(Err(Unfinished::Gone(error)))) => Err(error),
            (Err(Stopped::Damaged(number, error)), _) => {
                lock(&self.unmergeable).insert(number);
                if let Some(table) = tables.iter().find(|table| table.binding.number == number) {
                    self.noticed.note(table, &error);
                }
                Ok(None)
            }
            (_, Some(Err(Unfinished::Renamed(error)))) => {
                *lock(&self.sealing) = Some(Arc::new(error.clone()));
                Err(error)
            }
            (_, Some(Ok(written))) => Ok(Some(entry_of(number, written.bytes, &written.index))),
            (Err(Stopped::GivenUp) | Ok(()), None) => Ok(None),
        }
    }

    fn merge_streams(&self, tables: &[Arc<Table>], writer: &mut TableWriter) -> Result<(), Stopped> {
        let mut labels: Vec<&Labels> = tables.iter().flat_map(|t| t.index.streams.iter().map(|s| &s.labels)).collect();
        labels.sort_unstable();
        labels.dedup();
        for labels in labels {
            let mut cursors = Vec::new();
            for table in tables {
                let Ok(at) = table.index.streams.binary_search_by(|stream| stream.labels.cmp(labels)) else { continue };
                let cursor = Cursor::new(table, &table.index.streams[at]);
                cursors.push(cursor.map_err(|error| stopped(error, table))?);
            }
            let covers = cursors.iter().map(|cursor| cursor.stream.covers).max().unwrap_or(0);
            let dictionary = self.dictionary(&mut cursors)?;
            writer.begin_stream(labels, covers, &dictionary)?;
            self.merge_rows(&mut cursors, writer)?;
        }
        Ok(())
    }

    fn merge_rows(&self, cursors: &mut [Cursor<'_>], writer: &mut TableWriter) -> Result<(), Stopped> {
        let mut heap: BinaryHeap<_> = BinaryHeap::new();
        for (at, cursor) in cursors.iter().enumerate() {
            heap.extend(cursor.key().map(|key| Reverse((key, at))));
        }
        while let Some(Reverse((_, at))) = heap.pop() {
            let cursor = &mut cursors[at];
            let ended = writer.push(cursor.row())?;
            cursor.advance().map_err(|error| stopped(error, cursor.table))?;
            heap.extend(cursor.key().map(|key| Reverse((key, at))));
            if ended {
                self.may_go_on()?;
            }
        }
        Ok(())
    }

    /// Waits while compaction pauses.
    pub(super) fn may_go_on(&self) -> Result<(), Stopped> {
        loop {
            match self.compaction.get() {
                Compaction::Runs => return Ok(()),
                Compaction::Off => return Err(Stopped::GivenUp),
                Compaction::Pauses if self.is_stopped() || self.is_inline() => return Err(Stopped::GivenUp),
                Compaction::Pauses => {
                    let seen = self.merging.load(Ordering::Acquire);
                    self.world.environment.wait(&self.merging, seen, Some(Duration::from_secs(1)));
                }
            }
            if self.is_stopped() {
                return Err(Stopped::GivenUp);
            }
        }
    }

    /// A dictionary for a stream's text, if it saves more than it takes.
    fn dictionary(&self, cursors: &mut [Cursor<'_>]) -> Result<Vec<u8>, Stopped> {
        let blocks: usize = cursors.iter().map(|cursor| cursor.stream.blocks.len()).sum();
        if blocks < DICTIONARY_BLOCKS_MIN {
            return Ok(Vec::new());
        }
        let mut samples = Vec::new();
        let mut sizes = Vec::new();
        let mut texts = Vec::new();
        let share = SAMPLE_BLOCKS.div_ceil(cursors.len());
        for cursor in cursors {
            let every = (cursor.stream.blocks.len() / share).max(1);
            for entry in cursor.stream.blocks.iter().step_by(every).take(share) {
                let numbers = cursor.table.numbers(entry);
                let numbers = numbers.map_err(|error| stopped(error, cursor.table))?;
                let text = cursor.table.text(&cursor.reader, entry);
                let text = text.map_err(|error| stopped(error, cursor.table))?;
                samples.extend_from_slice(&text);
                let begins = std::iter::once(0).chain(numbers.text_ends.iter().copied());
                sizes.extend(numbers.text_ends.iter().zip(begins).map(|(end, begin)| (end - begin) as usize));
                texts.push(text);
            }
        }
        // Too few or too equal samples teach nothing, which is no error.
        let Ok(dictionary) = zstd::dict::from_continuous(&samples, &sizes, DICTIONARY_BYTES) else {
            return Ok(Vec::new());
        };
        let level = self.options.compression;
        let packed = |dictionary: &[u8]| -> Result<usize, Error> {
            let mut compressor = crate::table::writer::compressor(level, dictionary)?;
            let sizes = texts.iter().map(|text| compressor.compress(text).map(|packed| packed.len()));
            let sum: std::io::Result<usize> = sizes.sum();
            sum.map_err(|error| Error::io("compress", &self.catalog.tables, error))
        };
        let (plain, with) = (packed(&[])?, packed(&dictionary)?);
        let saved = plain.saturating_sub(with) * blocks / texts.len().max(1);
        // The dictionary itself shrinks to some two thirds, as it is text.
        Ok(if saved > dictionary.len() && !dictionary.is_empty() { dictionary } else { Vec::new() })
    }
}

pub(super) fn stopped(error: Error, table: &Table) -> Stopped {
    match error {
        error @ Error::DamagedTable { .. } => Stopped::Damaged(table.binding.number, error),
        error => Stopped::Failed(error),
    }
}

const _: () = assert!(BLOCK_BYTES > DICTIONARY_BYTES);
