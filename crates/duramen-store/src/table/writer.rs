//! Writes one table: rows in, sections out, then filters, index, trailer; synced, and given its name. Owns the order of
//! these steps: a table has its name only when all of it is durable, and the rename is what makes it count.
//!
//! Memory: one block of rows, the filters so far, the index so far, a buffer of writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use duramen_journal::Sequence;
use duramen_journal::disk::{Access, Disk, DiskFile, write_all_at};

use crate::error::Error;
use crate::format::table::block::Numbers;
use crate::format::table::filter::TokenSet;
use crate::format::table::{
    Binding, BlockEntry, HEADER_BYTES, Index, Partition, Section, StreamEntry, Trailer, header,
};
use crate::labels::Labels;
use crate::row::{Arrival, Nanoseconds, RowId};
use crate::table;

/// Bytes of text and fields at which a block is complete.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;
/// Rows at which it is, however short they are.
const BLOCK_ROWS: usize = 1 << 14;
/// Written bytes that are gathered before the disk sees them.
const BUFFER_BYTES: usize = 256 << 10;
/// A block's filter takes at most this part of the block's own bytes.
pub(crate) const FILTER_SHARE: usize = 11;
/// Sections shorter than this are not worth a frame.
const COMPRESS_BYTES_MIN: usize = 64;

/// How a table is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriterOptions {
    /// zstd's.
    pub compression: i32,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions { compression: 3 }
    }
}

/// One row for a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowToWrite<'a> {
    pub time: Nanoseconds,
    pub id: RowId,
    pub arrival: Arrival,
    pub level: u8,
    pub text: &'a [u8],
    pub fields: &'a [u8],
}

/// A table in the making. Dropped unfinished, it leaves a temporary file, which opening removes.
pub(crate) struct TableWriter {
    draft: Draft,
    /// For text with the stream's dictionary.
    text_compressor: Option<zstd::bulk::Compressor<'static>>,
    level: i32,
    index: Index,
    filters: Vec<u8>,
    tokens: TokenSet,
    numbers: Numbers,
    sequences: Vec<(Sequence, Arrival)>,
    text: Vec<u8>,
    fields: Vec<u8>,
}

/// A table's file in the making: what every kind of table has. Its name comes last.
pub(crate) struct Draft {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    binding: Binding,
    output: Output,
    compressor: zstd::bulk::Compressor<'static>,
}

/// The file, with what was not yet handed to it.
struct Output {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    buffer: Vec<u8>,
    written: u64,
}

impl Output {
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        write_all_at(&*self.file, &self.buffer, self.written).map_err(|error| Error::io("write", &self.path, error))?;
        self.file.start_writeback(self.written, self.buffer.len() as u64);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// What a finished table is: its number of bytes, and what its index says.
#[derive(Debug)]
pub(crate) struct Written {
    pub bytes: u64,
    pub index: Index,
}

/// How finishing a table failed.
#[derive(Debug)]
pub(crate) enum Unfinished {
    /// The table is gone, and never counted.
    Gone(Error),
    /// It has its name, but nobody knows whether durably.
    Renamed(Error),
}

impl Unfinished {
    pub fn into_error(self) -> Error {
        let (Unfinished::Gone(error) | Unfinished::Renamed(error)) = self;
        error
    }
}

pub(crate) fn compressor(level: i32, dictionary: &[u8]) -> Result<zstd::bulk::Compressor<'static>, Error> {
    let made = match dictionary {
        [] => zstd::bulk::Compressor::new(level),
        _ => zstd::bulk::Compressor::with_dictionary(level, dictionary),
    };
    let mut made = made.map_err(|error| Error::io("prepare compression for", Path::new("a table"), error))?;
    // The frame says neither length nor checksum: the index does.
    let lean = made.include_contentsize(false).and_then(|()| made.include_checksum(false));
    let lean = lean.and_then(|()| made.include_dictid(false));
    lean.map_err(|error| Error::io("prepare compression for", Path::new("a table"), error))?;
    Ok(made)
}

impl TableWriter {
    /// Begins a table: its rows are of this partition, and it replaces these tables.
    pub fn create(
        disk: Arc<dyn Disk>,
        folder: &Path,
        binding: Binding,
        index: IndexHead,
        options: WriterOptions,
    ) -> Result<TableWriter, Error> {
        let partition = index.partition;
        let IndexHead { level, covers, replaces, .. } = index;
        Ok(TableWriter {
            draft: Draft::create(disk, folder, binding, partition, options)?,
            text_compressor: None,
            level: options.compression,
            index: Index::new(partition, level, covers, replaces),
            filters: Vec::new(),
            tokens: TokenSet::default(),
            numbers: Numbers::default(),
            sequences: Vec::new(),
            text: Vec::new(),
            fields: Vec::new(),
        })
    }

    /// Begins a stream. Streams come sorted by labels. An empty dictionary is none.
    pub fn begin_stream(&mut self, labels: &Labels, covers: u64, dictionary: &[u8]) -> Result<(), Error> {
        self.end_block()?;
        debug_assert!(self.index.streams.last().is_none_or(|last| last.labels < *labels), "streams come in order");
        let place = match dictionary {
            [] => None,
            _ => Some((self.draft.end(), self.section(dictionary, false)?)),
        };
        self.text_compressor = if dictionary.is_empty() { None } else { Some(compressor(self.level, dictionary)?) };
        let entry = StreamEntry { labels: labels.clone(), covers, dictionary: place, blocks: Vec::new() };
        self.index.streams.push(entry);
        Ok(())
    }

    /// Begins a stream whose blocks are taken over as they are stored, with its dictionary likewise.
    pub fn begin_stored_stream(
        &mut self,
        labels: &Labels,
        covers: u64,
        dictionary: Option<(&[u8], Section)>,
    ) -> Result<(), Error> {
        self.begin_stream(labels, covers, &[])?;
        if let Some((stored, section)) = dictionary {
            let place = (self.draft.end(), self.stored_section(stored, section)?);
            self.index.streams.last_mut().expect("it was begun").dictionary = Some(place);
        }
        Ok(())
    }

    /// Takes a block over as it is stored: numbers, fields, text. Its entry says what it is; where it lies is told anew.
    pub fn push_stored(&mut self, entry: &BlockEntry, sections: [&[u8]; 3], filter: &[u8]) -> Result<(), Error> {
        let offset = self.draft.end();
        let [numbers, fields, text] = sections;
        let numbers = self.stored_section(numbers, entry.numbers)?;
        let fields = self.stored_section(fields, entry.fields)?;
        let text = self.stored_section(text, entry.text)?;
        let (filter_offset, filter_bytes) = (self.filters.len() as u32, filter.len() as u32);
        let entry = BlockEntry { offset, numbers, fields, text, filter_offset, filter_bytes, ..*entry };
        self.filters.extend_from_slice(filter);
        self.index.streams.last_mut().expect("a stream was begun").blocks.push(entry);
        Ok(())
    }

    /// Stores a part that is stored elsewhere: only its checksum changes, which belongs to the place.
    fn stored_section(&mut self, stored: &[u8], section: Section) -> Result<Section, Error> {
        Ok(Section { checksum: self.draft.put(stored)?, ..section })
    }

    /// Adds a row of the stream that was begun last. Rows come sorted by time, then by id. True: a block has just been
    /// completed, which is a good moment to stop, or to be slow.
    pub fn push(&mut self, row: RowToWrite<'_>) -> Result<bool, Error> {
        let mut ended = false;
        let bytes = self.text.len() + self.fields.len();
        if !self.numbers.times.is_empty()
            && (bytes + row.text.len() + row.fields.len() > BLOCK_BYTES || self.numbers.len() >= BLOCK_ROWS)
        {
            self.end_block()?;
            ended = true;
        }
        debug_assert!(self.numbers.times.last().is_none_or(|&last| last <= row.time), "rows come in order");
        self.text.extend_from_slice(row.text);
        self.fields.extend_from_slice(row.fields);
        self.numbers.times.push(row.time);
        self.numbers.ids.push(row.id);
        self.numbers.levels.push(row.level);
        self.numbers.text_ends.push(self.text.len() as u32);
        self.numbers.field_ends.push(self.fields.len() as u32);
        let arrived = (row.id.sequence(), row.arrival);
        if self.sequences.last() != Some(&arrived) {
            self.sequences.push(arrived);
        }
        Ok(ended)
    }

    fn end_block(&mut self) -> Result<(), Error> {
        let (Some(&first_time), Some(&last_time)) = (self.numbers.times.first(), self.numbers.times.last()) else {
            return Ok(());
        };
        self.sequences.sort_unstable();
        self.sequences.dedup_by_key(|arrival| arrival.0);
        self.numbers.arrivals = std::mem::take(&mut self.sequences);
        let offset = self.draft.end();
        let numbers = self.section(&self.numbers.encode(), false)?;
        let fields = std::mem::take(&mut self.fields);
        let fields_section = self.section(&fields, false)?;
        let text = std::mem::take(&mut self.text);
        let text_section = self.section(&text, true)?;
        self.tokens.clear();
        let mut from = 0;
        for &end in &self.numbers.text_ends {
            self.tokens.add_text(&text[from..end as usize]);
            from = end as usize;
        }
        let stored = numbers.stored + fields_section.stored + text_section.stored;
        let filter = self.tokens.filter(stored as usize / FILTER_SHARE);
        let entry = BlockEntry {
            offset,
            rows: self.numbers.len() as u32,
            first_time,
            last_time,
            levels: self.numbers.level_mask(),
            numbers,
            fields: fields_section,
            text: text_section,
            filter_offset: self.filters.len() as u32,
            filter_bytes: filter.len() as u32,
        };
        self.filters.extend_from_slice(&filter);
        self.index.streams.last_mut().expect("a stream was begun").blocks.push(entry);
        // Keeps the columns' memory.
        (self.text, self.fields) = (text, fields);
        self.text.clear();
        self.fields.clear();
        let Numbers { times, ids, levels, arrivals, text_ends, field_ends } = &mut self.numbers;
        times.clear();
        ids.clear();
        levels.clear();
        arrivals.clear();
        text_ends.clear();
        field_ends.clear();
        Ok(())
    }

    /// Stores a part, compressed where that helps.
    fn section(&mut self, raw: &[u8], text: bool) -> Result<Section, Error> {
        match &mut self.text_compressor {
            Some(compressor) if text => self.draft.section_with(raw, Some(compressor)),
            _ => self.draft.section(raw),
        }
    }

    /// Completes the file, syncs it and gives it its name: when this returns, the table counts, also after a power cut.
    ///
    /// On an error before the rename nothing is left of it. On one after it ([`Unfinished::Renamed`]) the table may or may not
    /// count after a power cut: only opening again can tell.
    pub fn finish(mut self) -> Result<Written, Unfinished> {
        match self.complete() {
            Ok(()) => self.draft.finish(self.index),
            Err(error) => {
                self.abandon();
                Err(Unfinished::Gone(error))
            }
        }
    }

    fn complete(&mut self) -> Result<(), Error> {
        self.end_block()?;
        let offset = self.draft.end();
        let filters = std::mem::take(&mut self.filters);
        let checksum = self.draft.put(&filters)?;
        let length = filters.len() as u32;
        self.index.filters = (offset, Section { stored: length, raw: length, checksum });
        Ok(())
    }

    /// Gives the table up, and removes its file.
    pub fn abandon(self) {
        self.draft.abandon();
    }
}

impl Draft {
    /// Begins a file.
    pub fn create(
        disk: Arc<dyn Disk>,
        folder: &Path,
        binding: Binding,
        partition: Partition,
        options: WriterOptions,
    ) -> Result<Draft, Error> {
        let path = folder.join(table::temporary_name(binding.number));
        let file = disk.open(&path, Access::Create).map_err(|error| Error::io("create", &path, error))?;
        let buffer = header(&binding, partition).to_vec();
        Ok(Draft {
            disk,
            folder: folder.to_path_buf(),
            binding,
            output: Output { file, path, buffer, written: 0 },
            compressor: compressor(options.compression, &[])?,
        })
    }

    /// Where the next part will stand.
    pub fn end(&self) -> u64 {
        self.output.end()
    }

    /// Adds bytes as they are; returns their checksum.
    pub fn put(&mut self, bytes: &[u8]) -> Result<u32, Error> {
        let checksum = self.binding.checksum(self.output.end(), bytes);
        self.output.put(bytes)?;
        Ok(checksum)
    }

    fn section(&mut self, raw: &[u8]) -> Result<Section, Error> {
        self.section_with(raw, None)
    }

    /// Adds a part, compressed where that helps.
    fn section_with(
        &mut self,
        raw: &[u8],
        compressor: Option<&mut zstd::bulk::Compressor<'static>>,
    ) -> Result<Section, Error> {
        let mut packed = Vec::new();
        if raw.len() >= COMPRESS_BYTES_MIN {
            let compressor = compressor.unwrap_or(&mut self.compressor);
            packed = compressor.compress(raw).map_err(|error| Error::io("compress", &self.output.path, error))?;
        }
        let stored = if packed.is_empty() || packed.len() >= raw.len() { raw } else { &packed };
        let checksum = self.put(stored)?;
        Ok(Section { stored: stored.len() as u32, raw: raw.len() as u32, checksum })
    }

    /// Adds index and trailer, syncs the file and gives it its name.
    pub fn finish(mut self, index: Index) -> Result<Written, Unfinished> {
        if let Err(error) = self.complete(&index) {
            self.abandon();
            return Err(Unfinished::Gone(error));
        }
        let Output { file, path, written, .. } = self.output;
        drop(file);
        let place = self.folder.join(table::name(self.binding.number));
        if let Err(error) = self.disk.rename(&path, &place) {
            let _ = self.disk.remove(&path);
            return Err(Unfinished::Gone(Error::io("rename", &path, error)));
        }
        match self.disk.sync_dir(&self.folder) {
            Ok(()) => Ok(Written { bytes: written, index }),
            Err(error) => Err(Unfinished::Renamed(Error::io("sync", &self.folder, error))),
        }
    }

    fn complete(&mut self, index: &Index) -> Result<(), Error> {
        let index_offset = self.output.end();
        let section = self.section(&index.encode())?;
        let trailer = Trailer { index_offset, index: section };
        self.output.put(&trailer.encode(&self.binding, index.partition))?;
        self.output.flush()?;
        debug_assert!(self.output.written > HEADER_BYTES as u64);
        self.output.file.sync_data().map_err(|error| Error::io("sync", &self.output.path, error))
    }

    /// Gives the file up, and removes it.
    pub fn abandon(self) {
        let Output { file, path, .. } = self.output;
        drop(file);
        // Opening removes what stays.
        let _ = self.disk.remove(&path);
    }
}

/// What is said of a table when it is begun.
#[derive(Clone, Debug)]
pub(crate) struct IndexHead {
    pub partition: Partition,
    pub level: u32,
    pub covers: u64,
    pub replaces: Vec<u64>,
}
