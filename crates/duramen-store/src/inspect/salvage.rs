//! What is good of a damaged store into a new folder. Owns the order, and the account of what is lost: the journal's good records first,
//! then every table block by block, then those rows and samples of lost blocks that the journal still had, as tables of their own.
//!
//! Memory: one block, the ids of those rows in tables whose records the journal still has, and rows that were found again, up to a
//! memtable's bound; then, for samples, what [`super::owed`] says.

mod samples;

use std::fmt;
use std::path::Path;

use duramen_journal::inspect::{self as journal_inspect, Progress};
use duramen_journal::{ReadOptions, Reader, Sequence, World};

use super::finding::{Fault, Finding, Findings, Loss, Unit};
use super::journal::{Contents, Names, for_each_record};
use super::tables::{file_of, finding_of, loss_of_block};
use super::{Folder, check_block, json_array, loss_of_table};
use crate::chunk::Chunk;
use crate::copy::Copy;
use crate::covers::Covers;
use crate::error::Error;
use crate::format::manifest::TableEntry;
use crate::format::table::filter::TokenSet;
use crate::format::table::{BlockEntry, Partition, StreamEntry};
use crate::labels::Labels;
use crate::memtable::{Columns, Memtable};
use crate::options::{KIND, Options};
use crate::row::{Level, Nanoseconds, TimeBase};
use crate::seal::{Sealing, ranks, seal};
use crate::session::Event;
use crate::store::Store;
use crate::stream::Streams;
use crate::table::writer::{FILTER_SHARE, Unfinished};
use crate::table::{Block, Table, TableWriter, WriterOptions};

/// What [`salvage`] did.
#[derive(Clone, Debug)]
pub struct Salvage {
    /// The copy of the journal's records.
    pub journal: journal_inspect::Salvage,
    /// Rows in tables that were copied.
    pub table_rows: u64,
    /// Samples in tables that were copied.
    pub table_samples: u64,
    /// Rows that tables had lost and the journal still had.
    pub found_again: u64,
    /// Samples that tables had lost and the journal still had.
    pub samples_found_again: u64,
    /// Rows in the new journal that no table has.
    pub journal_rows: u64,
    /// Samples in the new journal that no table has, each time that one was written.
    pub journal_samples: u64,
    /// What is lost of the tables, and why; also what was mended on the way, without a loss.
    pub lost: Vec<Finding>,
    /// How many more places there were.
    pub lost_more: u64,
}

impl Salvage {
    /// The whole as one JSON object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"table_rows\":{},\"table_samples\":{},\"found_again\":{},\"samples_found_again\":{},\"journal_rows\":{},\
             \"journal_samples\":{},\"lost\":{},\"lost_more\":{},\"journal\":{}}}",
            self.table_rows,
            self.table_samples,
            self.found_again,
            self.samples_found_again,
            self.journal_rows,
            self.journal_samples,
            json_array(self.lost.iter().map(Finding::to_json)),
            self.lost_more,
            self.journal.to_json()
        )
    }
}

impl fmt::Display for Salvage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "copied    {} rows of tables, {} of the journal", self.table_rows, self.journal_rows)?;
        if self.table_samples + self.journal_samples > 0 {
            writeln!(f, "copied    {} samples of tables, {} of the journal", self.table_samples, self.journal_samples)?;
        }
        for (unit, found) in [(Unit::Rows, self.found_again), (Unit::Samples, self.samples_found_again)] {
            if found > 0 {
                writeln!(f, "found     {} in the journal that tables had lost", unit.count(found))?;
            }
        }
        self.lost.iter().try_for_each(|lost| writeln!(f, "lost      {lost}"))
    }
}

/// Copies every good row of a store, under its old id, and every good sample into a new folder, which must not exist; positions of
/// sources too. Only reads
/// the old one, which may be damaged, or in use. The new folder opens as a store; each loss is an event in it, of the kind `gap`.
///
/// # Errors
/// As [`duramen_journal::inspect::salvage`]; the old folder holds no store. A copy that failed half-way is good for nothing: remove
/// it.
pub fn salvage(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    world: World,
    progress: &mut dyn FnMut(Progress),
) -> Result<Salvage, Error> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let folder = Folder::open(from, &world)?;
    let live = folder.is_live();
    // The tables before the journal: what is sealed between the two is in the journal then.
    let look = folder.catalog.look()?;
    let journal = journal_inspect::salvage_as(from, to, KIND, world.clone(), progress)?;
    let copy = Copy::begin(&world, to)?;
    let reader = Reader::open_with(to, &ReadOptions::default(), world.clone())?;
    let mut work = Work {
        source: folder,
        copy,
        journal_first: reader.first(),
        ids: Vec::new(),
        losses: Vec::new(),
        mended: Findings::default(),
        table_rows: 0,
        table_samples: 0,
        next_table: 1,
    };
    let numbers = look.tables.iter().map(|entry| entry.number).chain(look.lost.iter().map(|lost| lost.number));
    work.next_table = numbers.chain(look.dead.iter().copied()).max().unwrap_or(0) + 1;
    for lost in &look.lost {
        let fault = if lost.unreadable { Fault::Unreadable } else { Fault::Damage };
        let loss = Some(loss_of_table(lost.entry.as_ref()));
        let finding = Finding { fault, file: file_of(lost.number), offset: None, reason: lost.reason.clone(), loss };
        work.losses.push(Lost::of(lost.entry.as_ref(), finding));
    }
    for entry in &look.tables {
        work.table(entry)?;
    }
    let names = Names::read(&reader, &mut Findings::default());
    let (found_again, journal_rows) = work.find_again(&reader, &names)?;
    let samples = work.find_samples_again(&reader, &names)?;
    drop(reader);
    work.copy.list()?;
    if live {
        work.copy.note_closed()?;
    }
    let Work { losses, mut mended, table_rows, table_samples, .. } = work;
    let lost = losses.into_iter().map(|lost| lost.finding);
    lost.filter(|lost| lost.loss.as_ref().is_none_or(|loss| loss.rows != Some(0))).for_each(|lost| mended.add(lost));
    tell(to, &world, &mended)?;
    // Of these opening tells by itself.
    samples.unread.into_iter().for_each(|unread| mended.add(unread.finding()));
    Ok(Salvage {
        journal,
        table_rows,
        table_samples,
        found_again,
        samples_found_again: samples.found,
        journal_rows,
        journal_samples: samples.uncovered,
        lost: mended.kept,
        lost_more: mended.more,
    })
}

/// Something that is lost, less what is found again of it.
struct Lost {
    /// The partition of the table that it was of; `None`: nobody knows.
    partition: Option<Partition>,
    /// What came into the journal below this sequence may be what is lost.
    covers: Sequence,
    finding: Finding,
}

impl Lost {
    fn of(entry: Option<&TableEntry>, finding: Finding) -> Lost {
        let (partition, covers) = (entry.map(|entry| entry.partition), entry.map_or(0, TableEntry::covers_upto));
        Lost { partition, covers, finding }
    }
}

struct Work {
    source: Folder,
    copy: Copy,
    journal_first: u64,
    /// Ids of rows that tables have, as far as the journal still has their records.
    ids: Vec<u64>,
    losses: Vec<Lost>,
    mended: Findings,
    table_rows: u64,
    table_samples: u64,
    next_table: u64,
}

impl Work {
    /// Copies what is good of a table.
    fn table(&mut self, entry: &TableEntry) -> Result<(), Error> {
        let table = match self.source.catalog.open(entry.number) {
            Ok(table) => table,
            Err(error) => {
                let finding = finding_of(entry.number, &error, Some(Loss::of_entry(entry)));
                self.losses.push(Lost::of(Some(entry), finding));
                return Ok(());
            }
        };
        if table.index.partition.is_of_samples() {
            return self.table_of_samples(&table);
        }
        let mut writer = self.copy.writer(&table)?;
        match self.parts(entry, &table, &mut writer) {
            Ok(()) => self.copy.finish(writer.finish(), entry.number),
            Err(error) => {
                writer.abandon();
                Err(error)
            }
        }
    }

    fn parts(&mut self, entry: &TableEntry, table: &Table, writer: &mut TableWriter) -> Result<(), Error> {
        let filters = table.filters().unwrap_or_else(|error| {
            let mut finding = finding_of(entry.number, &error, None);
            finding.reason += " (the filters): made anew";
            self.mended.add(finding);
            Vec::new()
        });
        for stream in &table.index.streams {
            self.stream(entry, table, stream, &filters, writer)?;
        }
        Ok(())
    }

    fn stream(
        &mut self,
        entry: &TableEntry,
        table: &Table,
        stream: &StreamEntry,
        filters: &[u8],
        writer: &mut TableWriter,
    ) -> Result<(), Error> {
        let dictionary = match &stream.dictionary {
            Some((offset, section)) => table.stored(*offset, section).map(|stored| Some((stored, *section))),
            None => Ok(None),
        };
        let opened = dictionary.and_then(|dictionary| Ok((dictionary, table.stream(stream)?)));
        let (dictionary, reader) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let blocks = stream.blocks.iter().map(|block| loss_of_block(entry.partition, &stream.labels, block));
                for loss in blocks {
                    let mut finding = finding_of(entry.number, &error, Some(loss));
                    finding.reason += " (the dictionary of a stream's text)";
                    self.losses.push(Lost::of(Some(entry), finding));
                }
                return Ok(());
            }
        };
        let stored = dictionary.as_ref().map(|(stored, section)| (stored.as_slice(), *section));
        writer.begin_stored_stream(&stream.labels, stream.covers, stored)?;
        for part in &stream.blocks {
            let block = match table.block(&reader, part) {
                Ok(block) => block,
                Err(error) => {
                    let loss = loss_of_block(entry.partition, &stream.labels, part);
                    self.losses.push(Lost::of(Some(entry), finding_of(entry.number, &error, Some(loss))));
                    continue;
                }
            };
            let from = part.filter_offset as usize;
            let filter = filters.get(from..from + part.filter_bytes as usize).unwrap_or(&[]);
            self.block(entry, table, part, &block, filter, writer)?;
        }
        Ok(())
    }

    /// Takes one good block over.
    fn block(
        &mut self,
        entry: &TableEntry,
        table: &Table,
        part: &BlockEntry,
        block: &Block,
        filter: &[u8],
        writer: &mut TableWriter,
    ) -> Result<(), Error> {
        let filters_lost = filter.len() != part.filter_bytes as usize;
        let wrong = if filters_lost { Vec::new() } else { check_block(block, part, entry.partition, filter) };
        for reason in &wrong {
            self.mended.rule(file_of(entry.number), Some(part.offset), format!("{reason}; copied as it is"));
        }
        // What the index says of the rows is told from the rows.
        let mut told = part.clone();
        told.levels = block.numbers.level_mask();
        told.first_time = block.numbers.times.iter().copied().min().unwrap_or(part.first_time);
        told.last_time = block.numbers.times.iter().copied().max().unwrap_or(part.last_time);
        let made = (filters_lost || !wrong.is_empty()).then(|| filter_of(block, part));
        let numbers = table.stored(part.offset, &part.numbers)?;
        let fields = table.stored(part.fields_offset(), &part.fields)?;
        let text = table.stored(part.text_offset(), &part.text)?;
        writer.push_stored(&told, [&numbers, &fields, &text], made.as_deref().unwrap_or(filter))?;
        self.table_rows += block.numbers.len() as u64;
        let ids = block.numbers.ids.iter().filter(|id| id.sequence() >= self.journal_first);
        self.ids.extend(ids.map(|id| id.number()));
        Ok(())
    }

    /// Finds rows in the journal that tables should have, and have not: replay would leave them out. Returns how many, and how many rows
    /// of the journal no table is said to have.
    fn find_again(&mut self, reader: &Reader, names: &Names) -> Result<(u64, u64), Error> {
        let mut streams = Streams::default();
        names.streams.iter().for_each(|(id, labels)| streams.define(*id, labels.clone(), 1));
        self.ids.sort_unstable();
        let covers = Covers::of(&self.copy.tables);
        let (mut found, mut uncovered) = (0u64, 0u64);
        let mut memory = Memtable::default();
        let mut failed = None;
        for_each_record(
            reader,
            |_, _| (),
            |base, contents, sequence| {
                let Contents::Rows(chunk) = contents else { return };
                let may = covers.may_hold(sequence);
                let missing = chunk.filtered(|row| {
                    let partition = Partition::of(base, chunk.times[row]);
                    let labels = names.of(chunk.streams[row]);
                    let covered = may && covers.holds(partition, labels.as_bytes(), sequence);
                    self.credit(base, chunk, row, &labels);
                    uncovered += u64::from(!covered);
                    covered && self.ids.binary_search(&chunk.id(row).number()).is_err()
                });
                found += missing.len() as u64;
                memory.insert(base, missing);
                if memory.bytes() >= Options::default().memtable_bytes && failed.is_none() {
                    failed = self.seal(&std::mem::take(&mut memory), &streams).err();
                }
            },
        );
        match failed {
            Some(error) => return Err(error),
            None if !memory.is_empty() => self.seal(&memory, &streams)?,
            None => {}
        }
        Ok((found, uncovered))
    }

    /// Takes a row that the journal still has off the loss that it was counted in.
    fn credit(&mut self, base: TimeBase, chunk: &Chunk, row: usize, labels: &Labels) {
        if self.losses.is_empty() || self.ids.binary_search(&chunk.id(row).number()).is_ok() {
            return;
        }
        let (partition, sequence) = (Partition::of(base, chunk.times[row]), chunk.id(row).sequence());
        self.credit_one(partition, labels, sequence, chunk.times[row]);
    }

    /// Takes something that is there after all off the loss that it was counted in.
    fn credit_one(&mut self, partition: Partition, labels: &Labels, sequence: Sequence, time: Nanoseconds) {
        for lost in &mut self.losses {
            let Some(loss) = &mut lost.finding.loss else { continue };
            let own = lost.partition == Some(partition)
                && sequence < lost.covers
                && loss.stream.as_ref().is_none_or(|stream| stream == labels)
                && loss.times.is_none_or(|(first, last): (Nanoseconds, Nanoseconds)| (first..=last).contains(&time));
            if own && loss.rows.is_some_and(|rows| rows > 0) {
                loss.rows = loss.rows.map(|rows| rows - 1);
                return;
            }
        }
    }

    /// Makes tables of rows that were found again. They cover nothing by themselves: those that lost the rows do.
    fn seal(&mut self, memory: &Memtable, streams: &Streams) -> Result<(), Error> {
        let chunks = memory.chunks();
        let (labels, ranks) = ranks(&chunks, streams);
        let next = std::cell::Cell::new(self.next_table);
        let sealing = Sealing {
            catalog: &self.copy.catalog,
            covers: 0,
            stream_covers: 0,
            options: WriterOptions::default(),
            next_number: &|| next.replace(next.get() + 1),
        };
        let mut done = Vec::new();
        seal(&chunks, &labels, &ranks, &sealing, &mut done).map_err(Unfinished::into_error)?;
        self.next_table = next.get();
        self.copy.tables.extend(done);
        Ok(())
    }
}

/// A block's filter, made anew of its rows.
fn filter_of(block: &Block, entry: &BlockEntry) -> Vec<u8> {
    let mut tokens = TokenSet::default();
    (0..block.numbers.len()).for_each(|row| tokens.add_text(block.text(row)));
    let stored = entry.numbers.stored + entry.fields.stored + entry.text.stored;
    tokens.filter(stored as usize / FILTER_SHARE)
}

/// Opens the new store, which tells of the journal's losses by itself, and stores an event for each loss of tables.
fn tell(to: &Path, world: &World, lost: &Findings) -> Result<(), Error> {
    let (store, _) = Store::open_with(to, &Options::default(), world.clone())?;
    for finding in &lost.kept {
        let Some(loss) = &finding.loss else { continue };
        let cause = if finding.fault == Fault::Unreadable { "unreadable" } else { "damage" };
        let mut fields = vec![("cause", cause.to_string()), ("file", finding.file.clone())];
        fields.extend(loss.rows.map(|rows| (loss.unit.field(), rows.to_string())));
        fields.extend(loss.times.map(|times| ("from", times.0.to_string())));
        fields.extend(loss.times.map(|times| ("to", times.1.to_string())));
        fields.extend(loss.boot.map(|boot| ("boot", boot.to_string())));
        fields.extend(loss.stream.as_ref().map(|stream| ("stream", stream.to_string())));
        let at = loss.times.map(|times| times.0).filter(|_| loss.boot.is_none());
        let event = Event { kind: "gap", level: Level::Error, at, text: finding.to_string(), fields };
        let offset = finding.offset.map_or(String::new(), |offset| offset.to_string());
        let stream = loss.stream.as_ref().map_or(String::new(), ToString::to_string);
        let times = loss.times.map_or(String::new(), |times| times.0.to_string());
        store.tell(&event, Some(&format!("salvage/{}/{offset}/{stream}/{times}", finding.file)))?;
    }
    store.close()
}
