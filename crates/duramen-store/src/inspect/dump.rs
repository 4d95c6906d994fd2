//! What a store has stored, piece by piece: the journal's records, the manifest, the tables with their streams, blocks, rows and
//! samples. Owns the walk and the choice.
//!
//! Memory: one record, what the next samples of each series build on, one table's index, one block.

mod item;

use std::path::Path;

pub use item::{Item, SampleBlockItem, SampleTableItem, TableItem};

use duramen_journal::{RecordRef, Sequence, World};

use super::Folder;
use super::finding::{Finding, Findings};
use super::journal::{Names, base_of};
use super::series::loss_of_samples;
use super::tables::{file_of, finding_of};
use crate::chunk::{Chunk, StreamId};
use crate::error::Error;
use crate::format::batch::{
    KIND_POSITION, KIND_ROWS, KIND_ROWS_OF_BOOT, KIND_SAMPLES, KIND_STREAM, LOG, position, rows, stream,
};
use crate::format::chain::{ChainReader, SampleRecord};
use crate::format::manifest::TableEntry;
use crate::format::table::StreamEntry;
use crate::format::table::samples::SampleStream;
use crate::labels::Labels;
use crate::row::{Fields, Level, Nanoseconds, RowId, TimeBase};
use crate::table::{Block, Table};
use item::block_item;

/// What to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only this table; `None`: journal, manifest and all tables.
    pub table: Option<u64>,
    /// Also each block of the tables.
    pub blocks: bool,
    /// Also each row and sample, of tables and of the journal.
    pub rows: bool,
}

/// Shows what is stored to `visit`, until it answers `false`.
///
/// # Errors
/// The journal cannot be read at all, or the folder holds something else. What cannot be shown is an item.
pub fn dump(
    path: impl AsRef<Path>,
    world: World,
    selection: &Selection,
    visit: &mut dyn FnMut(&Item) -> bool,
) -> Result<(), Error> {
    let folder = Folder::open(path.as_ref(), &world)?;
    let look = folder.catalog.look()?;
    let mut show = Show { visit, going: true, selection, names: Names::default() };
    if selection.table.is_none() {
        if selection.rows {
            show.names = Names::read(&folder.reader, &mut Findings::default());
        }
        show.journal(&folder);
        let (good, tables) = (look.has_manifest, look.tables.len() as u64);
        show.item(&Item::Manifest { good, tables, dead: look.dead.clone() });
    }
    for lost in &look.lost {
        let (file, reason) = (file_of(lost.number), lost.reason.clone());
        let loss = Some(super::loss_of_table(lost.entry.as_ref()));
        show.item(&Item::Bad(Finding { fault: super::Fault::Damage, file, offset: None, reason, loss }));
    }
    let chosen = look.tables.iter().filter(|entry| selection.table.is_none_or(|number| number == entry.number));
    let mut shown = false;
    for entry in chosen {
        shown = true;
        show.table(&folder, entry);
    }
    match selection.table {
        Some(number) if !shown => {
            let reason = "there is no live table of this number".to_string();
            let file = file_of(number);
            show.item(&Item::Bad(Finding { fault: super::Fault::Rule, file, offset: None, reason, loss: None }));
        }
        _ => {}
    }
    Ok(())
}

struct Show<'a> {
    visit: &'a mut dyn FnMut(&Item) -> bool,
    going: bool,
    selection: &'a Selection,
    names: Names,
}

impl Show<'_> {
    fn item(&mut self, item: &Item) {
        self.going = self.going && (self.visit)(item);
    }

    fn journal(&mut self, folder: &Folder) {
        let mut scan = folder.reader.scan(..);
        let mut chain = ChainReader::default();
        while self.going {
            let Some(record) = scan.next_borrowed() else { return };
            let bad = |reason: String| {
                let file = super::journal::PLACE.to_string();
                Item::Bad(Finding { fault: super::Fault::Damage, file, offset: None, reason, loss: None })
            };
            match record {
                Ok(record) => {
                    if self.record(&record, &mut chain).is_none() {
                        let (sequence, kind) = (record.sequence, record.kind);
                        self.item(&bad(format!("record {sequence} of kind {kind} makes no sense")));
                    }
                }
                Err(error) => self.item(&bad(error.to_string())),
            }
        }
    }

    /// Shows a record; `None`: it makes no sense.
    fn record(&mut self, record: &RecordRef<'_>, chain: &mut ChainReader) -> Option<()> {
        let (sequence, bytes) = (record.sequence, record.payload.len() as u64);
        match record.kind {
            _ if record.log != LOG => None,
            KIND_STREAM => {
                stream(record.payload).map(|(id, labels)| self.item(&Item::Stream { sequence, number: id.0, labels }))
            }
            KIND_POSITION => position(record.payload).map(|(key, value)| {
                self.item(&Item::Position { sequence, key: key.to_vec(), value: value.to_vec() });
            }),
            KIND_ROWS | KIND_ROWS_OF_BOOT => rows(record.payload, sequence)
                .map(|chunk| self.rows(&chunk, sequence, bytes, record.kind == KIND_ROWS_OF_BOOT)),
            KIND_SAMPLES => chain.read(record.payload, sequence).map(|read| self.samples(&read, sequence, bytes)),
            _ => None,
        }
    }

    fn rows(&mut self, chunk: &Chunk, sequence: Sequence, bytes: u64, of_boot: bool) {
        self.item(&Item::Rows {
            sequence,
            boot: chunk.groups.first().filter(|_| of_boot).map(|group| group.arrival.boot),
            rows: chunk.len() as u64,
            streams: distinct(&chunk.streams),
            times: span(&chunk.times),
            bytes,
        });
        for row in 0..if self.selection.rows { chunk.len() } else { 0 } {
            let labels = self.names.of(chunk.streams[row]);
            self.row(chunk.id(row), labels, chunk.times[row], chunk.levels[row], chunk.text(row), chunk.fields(row));
        }
    }

    fn samples(&mut self, record: &SampleRecord, sequence: Sequence, bytes: u64) {
        let SampleRecord { begins, readable, chunk, .. } = record;
        let boot = match base_of(record) {
            TimeBase::Boot(boot) => Some(boot),
            TimeBase::Wall => None,
        };
        self.item(&Item::Samples {
            sequence,
            boot,
            begins: *begins,
            readable: *readable,
            samples: chunk.streams.len() as u64,
            series: distinct(&chunk.streams),
            times: span(&chunk.times),
            bytes,
        });
        if !self.selection.rows {
            return;
        }
        for (row, &id) in chunk.streams.iter().enumerate() {
            if !self.going {
                return;
            }
            let value = Some(chunk.values[row]).filter(|_| *readable);
            let (labels, time) = (self.names.of(id), chunk.times[row]);
            self.item(&Item::Sample { sequence: Some(sequence), labels, time, value });
        }
    }

    fn row(&mut self, id: RowId, labels: Labels, time: Nanoseconds, level: u8, text: &[u8], fields: Fields<'_>) {
        if self.going {
            let fields = fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            self.item(&Item::Row { id, labels, time, level: Level::from_byte(level), text: text.to_vec(), fields });
        }
    }

    fn table(&mut self, folder: &Folder, entry: &TableEntry) {
        if !self.going {
            return;
        }
        let table = match folder.catalog.open(entry.number) {
            Ok(table) => table,
            Err(error) => {
                let loss = Some(super::loss_of_table(Some(entry)));
                return self.item(&Item::Bad(finding_of(entry.number, &error, loss)));
            }
        };
        if table.index.partition.is_of_samples() {
            return self.table_of_samples(&table);
        }
        self.item(&Item::Table(Box::new(TableItem::of(&table))));
        for stream in &table.index.streams {
            if !self.going {
                return;
            }
            self.item(&Item::TableStream {
                table: entry.number,
                labels: stream.labels.clone(),
                covers: stream.covers,
                dictionary_bytes: stream.dictionary.map_or(0, |(_, section)| section.stored),
                blocks: stream.blocks.len() as u64,
                rows: stream.blocks.iter().map(|block| u64::from(block.rows)).sum(),
            });
            if self.selection.blocks || self.selection.rows {
                self.blocks(&table, stream);
            }
        }
    }

    fn blocks(&mut self, table: &Table, stream: &StreamEntry) {
        let number = table.binding.number;
        let mut reader = if self.selection.rows { table.stream(stream).map(Some) } else { Ok(None) };
        if let Err(error) = &reader {
            self.item(&Item::Bad(finding_of(number, error, None)));
        }
        for entry in &stream.blocks {
            if !self.going {
                return;
            }
            self.item(&block_item(number, entry));
            let Ok(Some(reader)) = &mut reader else { continue };
            match table.block(reader, entry) {
                Ok(block) => self.block_rows(&block, &stream.labels),
                Err(error) => {
                    let loss = super::tables::loss_of_block(table.index.partition, &stream.labels, entry);
                    self.item(&Item::Bad(finding_of(number, &error, Some(loss))));
                }
            }
        }
    }

    fn block_rows(&mut self, block: &Block, labels: &Labels) {
        let numbers = &block.numbers;
        for row in 0..numbers.len() {
            let (id, time, level) = (numbers.ids[row], numbers.times[row], numbers.levels[row]);
            self.row(id, labels.clone(), time, level, block.text(row), block.fields(row));
        }
    }

    fn table_of_samples(&mut self, table: &Table) {
        self.item(&Item::SampleTable(Box::new(SampleTableItem::of(table))));
        for series in &table.index.series {
            if !self.going {
                return;
            }
            self.item(&Item::TableSeries {
                table: table.binding.number,
                labels: series.labels.clone(),
                covers: series.covers,
                blocks: series.blocks.len() as u64,
                samples: series.samples(&table.index.columns),
            });
            if self.selection.blocks || self.selection.rows {
                self.blocks_of_samples(table, series);
            }
        }
    }

    fn blocks_of_samples(&mut self, table: &Table, series: &SampleStream) {
        let number = table.binding.number;
        for block in &series.blocks {
            let column = &table.index.columns[block.column as usize];
            self.item(&Item::SampleBlock(SampleBlockItem::of(number, block, column)));
            if !self.selection.rows {
                continue;
            }
            match table.times(column).and_then(|times| Ok((times, table.values(block)?))) {
                Ok((times, values)) => {
                    for (time, value) in times.into_iter().zip(values) {
                        if !self.going {
                            return;
                        }
                        let (labels, value) = (series.labels.clone(), Some(value));
                        self.item(&Item::Sample { sequence: None, labels, time, value });
                    }
                }
                Err(error) => {
                    let loss = loss_of_samples(table.index.partition, &series.labels, column);
                    self.item(&Item::Bad(finding_of(number, &error, Some(loss))));
                }
            }
        }
    }
}

/// How many streams there are.
fn distinct(streams: &[StreamId]) -> u64 {
    let mut streams = streams.to_vec();
    streams.sort_unstable();
    streams.dedup();
    streams.len() as u64
}

/// The first and the last time.
fn span(times: &[Nanoseconds]) -> (Nanoseconds, Nanoseconds) {
    (times.iter().min().copied().unwrap_or(0), times.iter().max().copied().unwrap_or(0))
}
