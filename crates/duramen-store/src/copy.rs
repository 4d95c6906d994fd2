//! Copies of a store: its journal's records under their old sequences, its tables part by part, into a folder of its own. Owns what a
//! copy keeps (rows with their ids, samples, positions, names) and what it does not: the journal's id, which tells folders apart, and to which
//! every checksum of a table belongs.
//!
//! Memory: one block at a time.

use std::path::{Path, PathBuf};

use duramen_journal::disk::World;
use duramen_journal::{Append, Batch, Class, Error as JournalError, Journal, ReadOptions, Reader, Sequence};

use crate::catalog::{Catalog, entry_of};
use crate::error::Error;
use crate::format::batch::{KIND_POSITION, LOG, position, put_position};
use crate::format::manifest::{Manifest, TableEntry};
use crate::options::{KIND, Options};
use crate::session;
use crate::table::writer::{IndexHead, Unfinished, Written};
use crate::table::{SampleTableWriter, Table, TableWriter, WriterOptions};

/// A copy in the making: its journal is there, its tables come.
pub(crate) struct Copy {
    pub world: World,
    pub path: PathBuf,
    pub catalog: Catalog,
    pub tables: Vec<TableEntry>,
    /// The last sequence that it holds; 0: none.
    pub last: Sequence,
}

impl Copy {
    /// Begins where a copy of the journal lies already.
    pub fn begin(world: &World, path: &Path) -> Result<Copy, Error> {
        let reader = Reader::open_with(path, &ReadOptions::default(), world.clone())?;
        let catalog = Catalog {
            disk: world.disk.clone(),
            folder: path.to_path_buf(),
            tables: path.join(crate::table::FOLDER),
            journal_id: reader.report().journal_id,
        };
        catalog.prepare()?;
        let (path, last) = (path.to_path_buf(), reader.last());
        Ok(Copy { world: world.clone(), path, catalog, tables: Vec::new(), last })
    }

    /// Begins a table of rows of the same number as another one.
    pub fn writer(&self, source: &Table) -> Result<TableWriter, Error> {
        let binding = self.catalog.binding(source.binding.number);
        let (disk, folder) = (self.catalog.disk.clone(), &self.catalog.tables);
        TableWriter::create(disk, folder, binding, head(source), WriterOptions::default())
    }

    /// Begins a table of samples of the same number as another one.
    pub fn sample_writer(&self, source: &Table) -> Result<SampleTableWriter, Error> {
        let binding = self.catalog.binding(source.binding.number);
        let (disk, folder) = (self.catalog.disk.clone(), &self.catalog.tables);
        SampleTableWriter::create(disk, folder, binding, head(source), WriterOptions::default())
    }

    /// Lists a table that was ended.
    pub fn finish(&mut self, written: Result<Written, Unfinished>, number: u64) -> Result<(), Error> {
        let written = written.map_err(Unfinished::into_error)?;
        self.tables.push(entry_of(number, written.bytes, &written.index));
        Ok(())
    }

    /// Copies a whole table. Each part is held against its checksum before it goes on.
    pub fn table(&mut self, source: &Table, passed: &mut dyn FnMut(u64)) -> Result<(), Error> {
        if source.index.partition.is_of_samples() {
            return self.table_of_samples(source, passed);
        }
        let mut writer = self.writer(source)?;
        match copy_parts(source, &mut writer, passed) {
            Ok(()) => self.finish(writer.finish(), source.binding.number),
            Err(error) => {
                writer.abandon();
                Err(error)
            }
        }
    }

    fn table_of_samples(&mut self, source: &Table, passed: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let mut writer = self.sample_writer(source)?;
        match copy_series(source, &mut writer, passed) {
            Ok(()) => self.finish(writer.finish(), source.binding.number),
            Err(error) => {
                writer.abandon();
                Err(error)
            }
        }
    }

    /// Writes the manifest: from here on the copy is a store.
    pub fn list(&mut self) -> Result<(), Error> {
        self.tables.sort_by_key(|entry| entry.number);
        let next_table = self.tables.last().map_or(1, |last| last.number + 1);
        self.catalog.write(&Manifest { next_table, tables: self.tables.clone() })
    }

    /// Notes that the copy was closed, as it was: whoever opens it must not take the time since for an outage.
    pub fn note_closed(&self) -> Result<(), Error> {
        let options = duramen_journal::Options { kind: KIND, ..Options::default().journal };
        let options = duramen_journal::Options { stock: false, spares_max: 0, ..options };
        let (journal, _) = Journal::open_with(&self.path, &options, self.world.clone())?;
        let key = session::session_key();
        let mut newest = None;
        for record in journal.scan(..) {
            let record = match record {
                // What was lost before the copy is known to be.
                Err(JournalError::InGap { .. }) => continue,
                record => record?,
            };
            if record.kind == KIND_POSITION
                && let Some((found, value)) = position(&record.payload)
                && found == key
            {
                newest = Some(value.to_vec());
            }
        }
        if let Some(closed) = newest.as_deref().and_then(session::closed) {
            let mut batch = Batch::new();
            batch.push_with(LOG, KIND_POSITION, |out| put_position(out, &key, &closed));
            journal.append_batch(&batch, Append { class: Class::Now, ..Append::default() })?.wait()?;
        }
        Ok(journal.close()?)
    }
}

/// What is said of a copy of a table.
fn head(source: &Table) -> IndexHead {
    let index = &source.index;
    let (partition, level, covers) = (index.partition, index.level, index.covers);
    IndexHead { partition, level, covers, replaces: index.replaces.clone() }
}

/// All series and blocks of a table, as they are stored.
fn copy_series(source: &Table, writer: &mut SampleTableWriter, passed: &mut dyn FnMut(u64)) -> Result<(), Error> {
    for series in &source.index.series {
        writer.begin_series(&series.labels, series.covers)?;
        for block in &series.blocks {
            writer.push_stored(source, block)?;
            passed(u64::from(block.part.stored));
        }
    }
    Ok(())
}

/// All streams and blocks of a table, as they are stored.
fn copy_parts(source: &Table, writer: &mut TableWriter, passed: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let filters = source.filters()?;
    for stream in &source.index.streams {
        let dictionary = match &stream.dictionary {
            Some((offset, section)) => Some((source.stored(*offset, section)?, *section)),
            None => None,
        };
        let stored = dictionary.as_ref().map(|(stored, section)| (stored.as_slice(), *section));
        writer.begin_stored_stream(&stream.labels, stream.covers, stored)?;
        for entry in &stream.blocks {
            let numbers = source.stored(entry.offset, &entry.numbers)?;
            let fields = source.stored(entry.fields_offset(), &entry.fields)?;
            let text = source.stored(entry.text_offset(), &entry.text)?;
            let from = entry.filter_offset as usize;
            let filter = filters.get(from..from + entry.filter_bytes as usize).unwrap_or(&[]);
            writer.push_stored(entry, [&numbers, &fields, &text], filter)?;
            passed(entry.end() - entry.offset);
        }
    }
    Ok(())
}
