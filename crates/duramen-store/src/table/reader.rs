//! Reads one table: its index, its filters, a block at a time. Every byte is checked before it is believed; nothing is kept
//! but the index.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use duramen_journal::disk::{Access, Disk, DiskFile, read_full_at};
use zstd::dict::DecoderDictionary;
use zstd::zstd_safe::DCtx;

use crate::error::Error;
use crate::format::samples::times;
use crate::format::samples::values;
use crate::format::table::block::Numbers;
use crate::format::table::samples::{Part, SampleBlock, SampleStream, TimesColumn};
use crate::format::table::{
    Binding, BlockEntry, Fault, HEADER_BYTES, Index, Section, StreamEntry, TRAILER_BYTES, Trailer, VERSION,
    check_header,
};
use crate::postings::{Postings, Selection};
use crate::row::{Fields, Nanoseconds};
use crate::table;

/// Fewer series are looked at one by one.
const INDEXED_SERIES_MIN: usize = 256;

/// An open table.
pub(crate) struct Table {
    pub binding: Binding,
    pub path: PathBuf,
    pub bytes: u64,
    pub index: Index,
    file: Box<dyn DiskFile>,
    /// Which of the series have which labels; made when first asked.
    postings: OnceLock<Postings>,
}

/// A block's rows.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub numbers: Numbers,
    pub text: Vec<u8>,
    pub fields: Vec<u8>,
}

impl Block {
    pub fn text(&self, row: usize) -> &[u8] {
        part(&self.text, &self.numbers.text_ends, row)
    }

    pub fn field_bytes(&self, row: usize) -> &[u8] {
        part(&self.fields, &self.numbers.field_ends, row)
    }

    pub fn fields(&self, row: usize) -> Fields<'_> {
        Fields::from_bytes(self.field_bytes(row))
    }
}

fn part<'a>(bytes: &'a [u8], ends: &[u32], row: usize) -> &'a [u8] {
    let from = if row == 0 { 0 } else { ends[row - 1] };
    &bytes[from as usize..ends[row] as usize]
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("number", &self.binding.number).finish_non_exhaustive()
    }
}

impl Table {
    /// Opens a table and reads its index.
    pub fn open(disk: &dyn Disk, folder: &Path, binding: Binding) -> Result<Table, Error> {
        Table::open_file(disk, folder.join(table::name(binding.number)), binding)
    }

    /// Opens a table whose file has this name, and reads its index.
    pub fn open_file(disk: &dyn Disk, path: PathBuf, binding: Binding) -> Result<Table, Error> {
        let file = disk.open(&path, Access::Read).map_err(|error| Error::io("open", &path, error))?;
        let bytes = file.bytes().map_err(|error| Error::io("measure", &path, error))?;
        let damaged = |offset, reason| Error::DamagedTable { path: path.clone(), offset, reason };
        let told = |fault, offset| match fault {
            Fault::Damaged(reason) => damaged(offset, reason),
            Fault::Newer(found) => Error::NewerFormat { path: path.clone(), found, supported: VERSION },
        };
        if bytes < (HEADER_BYTES + TRAILER_BYTES) as u64 {
            return Err(damaged(0, "shorter than any table"));
        }
        let head = read_exact(&*file, &path, 0, HEADER_BYTES)?;
        check_header(&head, &binding).map_err(|fault| told(fault, 0))?;
        let trailer_offset = bytes - TRAILER_BYTES as u64;
        let tail = read_exact(&*file, &path, trailer_offset, TRAILER_BYTES)?;
        let trailer = Trailer::decode(&tail, &binding, bytes).map_err(|fault| told(fault, trailer_offset))?;
        let place = Place { file: &*file, path: &path, binding: &binding };
        let index = place.section(trailer.index_offset, &trailer.index, None)?;
        let index = Index::decode(&index).ok_or_else(|| damaged(trailer.index_offset, "the index makes no sense"))?;
        let (filters_offset, filters) = index.filters;
        if filters_offset + u64::from(filters.stored) != trailer.index_offset {
            return Err(damaged(trailer.index_offset, "the filters' place does not meet the index"));
        }
        Ok(Table { binding, path, bytes, index, file, postings: OnceLock::new() })
    }

    /// The series that a selection means, sorted by labels.
    pub fn series(&self, selection: &Selection<'_>) -> Vec<&SampleStream> {
        let all = &self.index.series;
        let indexed = selection.demands_labels() && all.len() >= INDEXED_SERIES_MIN;
        let postings = indexed.then(|| {
            self.postings.get_or_init(|| {
                let mut postings = Postings::default();
                all.iter().enumerate().for_each(|(at, series)| postings.add(at as u32, &series.labels));
                postings.settle();
                postings
            })
        });
        let meant = |series: &&SampleStream| selection.selects(&series.labels);
        match postings.and_then(|postings| postings.candidates(selection)) {
            Some(candidates) => candidates.into_iter().map(|at| &all[at as usize]).filter(meant).collect(),
            None => all.iter().filter(meant).collect(),
        }
    }

    /// Bytes of memory that it takes, about: its index, and what is made of that when series are asked for by labels.
    pub fn memory_bytes(&self) -> usize {
        let series = &self.index.series;
        let labels = series.iter().map(|series| series.labels.iter().count()).sum::<usize>();
        let postings = if series.len() >= INDEXED_SERIES_MIN { Postings::bytes(labels) } else { 0 };
        size_of::<Table>() + self.index.memory_bytes() + postings
    }

    fn place(&self) -> Place<'_> {
        Place { file: &*self.file, path: &self.path, binding: &self.binding }
    }

    /// A section's bytes as they are stored, checked.
    pub fn stored(&self, offset: u64, section: &Section) -> Result<Vec<u8>, Error> {
        self.place().stored(offset, section)
    }

    /// Forgets what the system keeps of the file in memory, so that what is read next comes from the device.
    pub fn drop_cache(&self) {
        // A hint: where it is not taken, the cache is what is checked.
        let _ = self.file.drop_cache();
    }

    /// The filters of all blocks.
    pub fn filters(&self) -> Result<Vec<u8>, Error> {
        let (offset, section) = &self.index.filters;
        self.place().stored(*offset, section)
    }

    /// What a stream's blocks are read with.
    pub fn stream(&self, stream: &StreamEntry) -> Result<StreamReader, Error> {
        let dictionary = match &stream.dictionary {
            None => None,
            Some((offset, section)) => {
                let bytes = self.place().section(*offset, section, None)?;
                Some(DecoderDictionary::copy(&bytes))
            }
        };
        Ok(StreamReader { dictionary })
    }

    /// A block's numbers.
    pub fn numbers(&self, block: &BlockEntry) -> Result<Numbers, Error> {
        let bytes = self.place().section(block.offset, &block.numbers, None)?;
        Numbers::decode(&bytes, block.rows as usize, block.text.raw, block.fields.raw).ok_or_else(|| {
            let reason = "the numbers of a block make no sense";
            Error::DamagedTable { path: self.path.clone(), offset: block.offset, reason }
        })
    }

    /// A block's text, all rows' behind each other.
    pub fn text(&self, reader: &StreamReader, block: &BlockEntry) -> Result<Vec<u8>, Error> {
        self.place().section(block.text_offset(), &block.text, reader.dictionary.as_ref())
    }

    /// A block's fields, all rows' behind each other.
    pub fn fields(&self, block: &BlockEntry) -> Result<Vec<u8>, Error> {
        self.place().section(block.fields_offset(), &block.fields, None)
    }

    /// A column's times.
    pub fn times(&self, column: &TimesColumn) -> Result<Vec<Nanoseconds>, Error> {
        let bytes = self.part(&column.part)?;
        let read = times(&bytes, column.count as usize);
        let read = read.filter(|times| times.first() == Some(&column.first) && times.last() == Some(&column.last));
        read.filter(|times| times.is_sorted_by(|a, b| a < b))
            .ok_or_else(|| self.place().damaged(column.part.offset, "a column of times makes no sense"))
    }

    /// A block's values.
    pub fn values(&self, block: &SampleBlock) -> Result<Vec<f64>, Error> {
        let count = self.index.columns[block.column as usize].count as usize;
        let bytes = self.part(&block.part)?;
        values(&bytes, count)
            .ok_or_else(|| self.place().damaged(block.part.offset, "the values of a block make no sense"))
    }

    /// A part of a table of samples as it is stored, checked.
    pub fn part(&self, part: &Part) -> Result<Vec<u8>, Error> {
        let section = Section { stored: part.stored, raw: part.stored, checksum: part.checksum };
        self.place().stored(part.offset, &section)
    }

    /// All of a block.
    pub fn block(&self, reader: &StreamReader, block: &BlockEntry) -> Result<Block, Error> {
        let numbers = self.numbers(block)?;
        Ok(Block { numbers, text: self.text(reader, block)?, fields: self.fields(block)? })
    }
}

/// What one stream of one table is read with, beside the file.
pub(crate) struct StreamReader {
    dictionary: Option<DecoderDictionary<'static>>,
}

/// Decompresses; `None`: the bytes are not what was compressed. A thread's context is made once: making one costs as much as a block.
pub(crate) fn decompress(bytes: &[u8], raw: usize, dictionary: Option<&DecoderDictionary<'_>>) -> Option<Vec<u8>> {
    thread_local! {
        static CONTEXT: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
    }
    let mut out = Vec::with_capacity(raw);
    let done = CONTEXT.with_borrow_mut(|context| {
        let context = context.get_or_insert_with(DCtx::create);
        match dictionary {
            None => context.decompress(&mut out, bytes),
            Some(dictionary) => context.decompress_using_ddict(&mut out, bytes, dictionary.as_ddict()),
        }
    });
    (done == Ok(raw)).then_some(out)
}

/// A file, and what its checksums are bound to.
struct Place<'a> {
    file: &'a dyn DiskFile,
    path: &'a Path,
    binding: &'a Binding,
}

impl Place<'_> {
    fn damaged(&self, offset: u64, reason: &'static str) -> Error {
        Error::DamagedTable { path: self.path.to_path_buf(), offset, reason }
    }

    /// A section's bytes as they are stored, checked.
    fn stored(&self, offset: u64, section: &Section) -> Result<Vec<u8>, Error> {
        let bytes = read_exact(self.file, self.path, offset, section.stored as usize)?;
        if self.binding.checksum(offset, &bytes) != section.checksum {
            return Err(self.damaged(offset, "a checksum is wrong"));
        }
        Ok(bytes)
    }

    /// A section's contents.
    fn section(
        &self,
        offset: u64,
        section: &Section,
        dictionary: Option<&DecoderDictionary<'_>>,
    ) -> Result<Vec<u8>, Error> {
        let stored = self.stored(offset, section)?;
        if section.stored == section.raw {
            return Ok(stored);
        }
        let raw = decompress(&stored, section.raw as usize, dictionary);
        raw.ok_or_else(|| self.damaged(offset, "a part cannot be decompressed"))
    }
}

fn read_exact(file: &dyn DiskFile, path: &Path, offset: u64, bytes: usize) -> Result<Vec<u8>, Error> {
    let mut buffer = vec![0; bytes];
    let read = read_full_at(file, &mut buffer, offset).map_err(|error| Error::read(path, offset, error))?;
    if read < bytes {
        return Err(Error::DamagedTable { path: path.to_path_buf(), offset, reason: "the file ends too early" });
    }
    Ok(buffer)
}
