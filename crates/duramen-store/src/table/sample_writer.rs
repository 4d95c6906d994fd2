//! Writes one table of samples: series in, columns of times and blocks of values out, then index and trailer. Owns where blocks
//! end, and which of them share their times.
//!
//! Memory: one block, the index so far, and some columns of times.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use duramen_journal::disk::Disk;

use crate::error::Error;
use crate::format::bytes::put_number;
use crate::format::samples::Effort;
use crate::format::samples::Summary;
use crate::format::samples::put_times;
use crate::format::samples::put_values;
use crate::format::table::samples::{BLOCK_SAMPLES_MAX, BlockSummary, Part, SampleBlock, SampleStream, TimesColumn};
use crate::format::table::{Binding, Index};
use crate::labels::Labels;
use crate::row::Nanoseconds;
use crate::table::writer::{Draft, IndexHead, Unfinished, Written};
use crate::table::{Table, WriterOptions};

/// Bytes of columns that later blocks may share.
const KNOWN_BYTES_MAX: usize = 1 << 20;

/// A table of samples in the making. Dropped unfinished, it leaves a temporary file, which opening removes.
pub(crate) struct SampleTableWriter {
    draft: Draft,
    index: Index,
    effort: Effort,
    /// Columns by their packed times and their count.
    known: BTreeMap<Vec<u8>, u32>,
    known_bytes: usize,
    /// Columns that were taken over: by their number in the table that they are from.
    taken: BTreeMap<u32, u32>,
    times: Vec<Nanoseconds>,
    values: Vec<f64>,
    packed: Vec<u8>,
}

impl SampleTableWriter {
    /// Begins a table: its samples are of this partition, and it replaces these tables.
    pub fn create(
        disk: Arc<dyn Disk>,
        folder: &Path,
        binding: Binding,
        head: IndexHead,
        options: WriterOptions,
    ) -> Result<SampleTableWriter, Error> {
        let IndexHead { partition, level, covers, replaces } = head;
        debug_assert!(partition.is_of_samples());
        Ok(SampleTableWriter {
            draft: Draft::create(disk, folder, binding, partition, options)?,
            index: Index::new(partition, level, covers, replaces),
            effort: if level == 0 { Effort::Seal } else { Effort::Merge },
            known: BTreeMap::new(),
            known_bytes: 0,
            taken: BTreeMap::new(),
            times: Vec::new(),
            values: Vec::new(),
            packed: Vec::new(),
        })
    }

    /// Begins a series. They come sorted by labels.
    pub fn begin_series(&mut self, labels: &Labels, covers: u64) -> Result<(), Error> {
        self.end_block()?;
        debug_assert!(self.index.series.last().is_none_or(|last| last.labels < *labels), "series come in order");
        self.index.series.push(SampleStream { labels: labels.clone(), covers, blocks: Vec::new() });
        Ok(())
    }

    /// Adds a sample of the series that was begun last; its time is later than those before. True: a block has just been completed,
    /// which is a good moment to stop, or to be slow.
    pub fn push(&mut self, time: Nanoseconds, value: f64) -> Result<bool, Error> {
        debug_assert!(self.times.last().is_none_or(|&last| last < time), "samples come in order, one a time");
        let full = self.times.len() >= BLOCK_SAMPLES_MAX;
        if full {
            self.end_block()?;
        }
        self.times.push(time);
        self.values.push(value);
        Ok(full)
    }

    /// Takes a block of another table over as it is stored, and its column of times with the first block that uses it. All blocks of
    /// a table are taken from one other.
    pub fn push_stored(&mut self, source: &Table, block: &SampleBlock) -> Result<(), Error> {
        let column = match self.taken.get(&block.column) {
            Some(&column) => column,
            None => {
                let column = source.index.columns[block.column as usize];
                let part = part(&mut self.draft, &source.part(&column.part)?)?;
                let number = self.index.columns.len() as u32;
                self.index.columns.push(TimesColumn { part, ..column });
                self.taken.insert(block.column, number);
                number
            }
        };
        let part = part(&mut self.draft, &source.part(&block.part)?)?;
        let block = SampleBlock { column, part, ..*block };
        self.index.series.last_mut().expect("a series was begun").blocks.push(block);
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), Error> {
        if self.times.is_empty() {
            return Ok(());
        }
        let column = self.column()?;
        self.packed.clear();
        put_values(&mut self.packed, &self.values, self.effort);
        let part = part(&mut self.draft, &self.packed)?;
        let block = SampleBlock { column, part, summary: summary(&self.values) };
        self.index.series.last_mut().expect("a series was begun").blocks.push(block);
        self.times.clear();
        self.values.clear();
        Ok(())
    }

    /// The column of the block's times: one that is there already, or a new one.
    fn column(&mut self) -> Result<u32, Error> {
        self.packed.clear();
        put_times(&mut self.packed, &self.times, self.effort);
        let (first, last) = (self.times[0], self.times[self.times.len() - 1]);
        let count = self.times.len() as u32;
        let part_bytes = self.packed.len();
        put_number(&mut self.packed, u64::from(count));
        if let Some(&known) = self.known.get(&self.packed) {
            return Ok(known);
        }
        let part = part(&mut self.draft, &self.packed[..part_bytes])?;
        let number = self.index.columns.len() as u32;
        self.index.columns.push(TimesColumn { part, count, first, last });
        if self.known_bytes < KNOWN_BYTES_MAX {
            self.known_bytes += self.packed.len();
            self.known.insert(self.packed.clone(), number);
        }
        Ok(number)
    }

    /// Completes the file, as [`crate::table::TableWriter::finish`].
    pub fn finish(mut self) -> Result<Written, Unfinished> {
        match self.end_block() {
            Ok(()) => self.draft.finish(self.index),
            Err(error) => {
                self.abandon();
                Err(Unfinished::Gone(error))
            }
        }
    }

    /// Gives the table up, and removes its file.
    pub fn abandon(self) {
        self.draft.abandon();
    }
}

fn part(draft: &mut Draft, bytes: &[u8]) -> Result<Part, Error> {
    let offset = draft.end();
    Ok(Part { offset, stored: bytes.len() as u32, checksum: draft.put(bytes)? })
}

/// What values come to; `None`: there is NaN among them that says nothing of an end.
pub(crate) fn summary(values: &[f64]) -> Option<BlockSummary> {
    let Summary { count, min, max, sum, usable } = Summary::of(values);
    usable.then_some(BlockSummary { count, min, max, sum })
}
