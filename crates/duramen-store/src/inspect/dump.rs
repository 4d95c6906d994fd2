//! What a store has stored, piece by piece: the journal's records, the manifest, the tables with their streams, blocks and rows. Owns the
//! choice and the words.
//!
//! Memory: one record, one table's index, one block.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use duramen_journal::{Sequence, World};

use super::finding::{Finding, Findings, boot_of};
use super::journal::Names;
use super::tables::{file_of, finding_of};
use super::{Folder, json_array, json_number, json_string};
use crate::chunk::Chunk;
use crate::error::Error;
use crate::format::batch::{KIND_POSITION, KIND_ROWS, KIND_ROWS_OF_BOOT, KIND_STREAM, LOG, position, rows, stream};
use crate::format::manifest::TableEntry;
use crate::format::table::{BlockEntry, Partition, StreamEntry};
use crate::labels::Labels;
use crate::row::{Fields, Level, Nanoseconds, RowId};
use crate::table::{Block, Table};

/// Bytes of a text that are shown to people.
const PREVIEW_BYTES: usize = 80;

/// What to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only this table; `None`: journal, manifest and all tables.
    pub table: Option<u64>,
    /// Also each block of the tables.
    pub blocks: bool,
    /// Also each row, of tables and of the journal.
    pub rows: bool,
}

/// One thing that a dump shows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Item {
    /// A record of rows in the journal.
    Rows {
        /// Its sequence.
        sequence: Sequence,
        /// The boot that its times are counted from; `None`: from 1970.
        boot: Option<u32>,
        /// How many.
        rows: u64,
        /// Of how many streams.
        streams: u64,
        /// The first and the last time.
        times: (Nanoseconds, Nanoseconds),
        /// Bytes of the record.
        bytes: u64,
    },
    /// A stream's definition in the journal.
    Stream {
        /// Its sequence.
        sequence: Sequence,
        /// The stream's number.
        number: u32,
        /// Its labels.
        labels: Labels,
    },
    /// A source's position in the journal.
    Position {
        /// Its sequence.
        sequence: Sequence,
        /// The source; the store's own notes begin with `d`, all others with `u`.
        key: Vec<u8>,
        /// Where it stands.
        value: Vec<u8>,
    },
    /// The list of live tables.
    Manifest {
        /// Whether there is one that can be believed; without it the tables decide.
        good: bool,
        /// Live tables.
        tables: u64,
        /// Tables that do not count any more.
        dead: Vec<u64>,
    },
    /// A live table.
    Table(Box<TableItem>),
    /// A stream in the table before.
    TableStream {
        /// The table.
        table: u64,
        /// Its labels.
        labels: Labels,
        /// Rows of it in the journal below this are in tables; 0: as the table says.
        covers: Sequence,
        /// Bytes of the dictionary of its text; 0: it has none.
        dictionary_bytes: u32,
        /// Its blocks.
        blocks: u64,
        /// Its rows.
        rows: u64,
    },
    /// A block of the stream before.
    Block {
        /// The table.
        table: u64,
        /// Where it lies.
        offset: u64,
        /// Its rows.
        rows: u32,
        /// The first and the last time.
        times: (Nanoseconds, Nanoseconds),
        /// A bit for each level that occurs.
        levels: u16,
        /// Stored and raw bytes of numbers, fields and text.
        columns: [(u32, u32); 3],
        /// Bytes of its filter.
        filter_bytes: u32,
    },
    /// A row, of the record or of the block before.
    Row {
        /// Its id.
        id: RowId,
        /// Its stream.
        labels: Labels,
        /// Its time.
        time: Nanoseconds,
        /// Its level.
        level: Level,
        /// Its text.
        text: Vec<u8>,
        /// Its fields.
        fields: Vec<(String, String)>,
    },
    /// Something that cannot be shown.
    Bad(Finding),
}

/// A table, as its index has it.
#[derive(Clone, Debug)]
pub struct TableItem {
    /// Its number.
    pub number: u64,
    /// Its file's bytes.
    pub bytes: u64,
    /// Which rows it may hold.
    pub partition: Partition,
    /// How often its rows were merged.
    pub level: u32,
    /// Its rows.
    pub rows: u64,
    /// The first and the last time.
    pub times: (Nanoseconds, Nanoseconds),
    /// Rows of its partition in the journal below this sequence are in tables.
    pub covers: Sequence,
    /// The tables that it replaced.
    pub replaces: Vec<u64>,
    /// Its streams.
    pub streams: u64,
    /// Its blocks.
    pub blocks: u64,
    /// Stored and raw bytes of all numbers, fields and texts.
    pub columns: [(u64, u64); 3],
    /// Bytes of all filters.
    pub filter_bytes: u64,
    /// Bytes of all dictionaries.
    pub dictionary_bytes: u64,
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
        while self.going {
            let Some(record) = scan.next_borrowed() else { return };
            let bad = |reason: String| {
                let file = super::journal::PLACE.to_string();
                Item::Bad(Finding { fault: super::Fault::Damage, file, offset: None, reason, loss: None })
            };
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    self.item(&bad(error.to_string()));
                    continue;
                }
            };
            let (sequence, bytes) = (record.sequence, record.payload.len() as u64);
            let shown = match record.kind {
                _ if record.log != LOG => None,
                KIND_STREAM => stream(record.payload)
                    .map(|(id, labels)| self.item(&Item::Stream { sequence, number: id.0, labels })),
                KIND_POSITION => position(record.payload).map(|(key, value)| {
                    self.item(&Item::Position { sequence, key: key.to_vec(), value: value.to_vec() });
                }),
                KIND_ROWS | KIND_ROWS_OF_BOOT => rows(record.payload, sequence)
                    .map(|chunk| self.rows(&chunk, sequence, bytes, record.kind == KIND_ROWS_OF_BOOT)),
                _ => None,
            };
            if shown.is_none() {
                self.item(&bad(format!("record {sequence} of kind {} makes no sense", record.kind)));
            }
        }
    }

    fn rows(&mut self, chunk: &Chunk, sequence: Sequence, bytes: u64, of_boot: bool) {
        let mut streams = chunk.streams.clone();
        streams.sort_unstable();
        streams.dedup();
        let times = (chunk.times.iter().min().copied(), chunk.times.iter().max().copied());
        self.item(&Item::Rows {
            sequence,
            boot: chunk.groups.first().filter(|_| of_boot).map(|group| group.arrival.boot),
            rows: chunk.len() as u64,
            streams: streams.len() as u64,
            times: (times.0.unwrap_or(0), times.1.unwrap_or(0)),
            bytes,
        });
        for row in 0..if self.selection.rows { chunk.len() } else { 0 } {
            let labels = self.names.of(chunk.streams[row]);
            self.row(chunk.id(row), labels, chunk.times[row], chunk.levels[row], chunk.text(row), chunk.fields(row));
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
}

fn block_item(table: u64, entry: &BlockEntry) -> Item {
    Item::Block {
        table,
        offset: entry.offset,
        rows: entry.rows,
        times: (entry.first_time, entry.last_time),
        levels: entry.levels,
        columns: [entry.numbers, entry.fields, entry.text].map(|section| (section.stored, section.raw)),
        filter_bytes: entry.filter_bytes,
    }
}

impl TableItem {
    fn of(table: &Table) -> TableItem {
        let index = &table.index;
        let mut columns = [(0u64, 0u64); 3];
        for block in index.blocks() {
            for (sum, section) in columns.iter_mut().zip([block.numbers, block.fields, block.text]) {
                *sum = (sum.0 + u64::from(section.stored), sum.1 + u64::from(section.raw));
            }
        }
        let dictionaries = index.streams.iter().filter_map(|stream| stream.dictionary);
        TableItem {
            number: table.binding.number,
            bytes: table.bytes,
            partition: index.partition,
            level: index.level,
            rows: index.rows(),
            times: index.times().unwrap_or((0, 0)),
            covers: index.covers,
            replaces: index.replaces.clone(),
            streams: index.streams.len() as u64,
            blocks: index.blocks().count() as u64,
            columns,
            filter_bytes: u64::from(index.filters.1.stored),
            dictionary_bytes: dictionaries.map(|(_, section)| u64::from(section.stored)).sum(),
        }
    }
}

/// Bytes as text, those that are none as escapes, at most so many.
fn preview(bytes: &[u8]) -> String {
    let more = if bytes.len() > PREVIEW_BYTES { "…" } else { "" };
    format!("{}{more}", bytes[..bytes.len().min(PREVIEW_BYTES)].escape_ascii())
}

fn show_partition(partition: Partition) -> String {
    match partition {
        Partition::Day(day) => format!("day {day}"),
        Partition::Boot(boot) => format!("boot {boot}"),
        Partition::Samples(period) => format!("samples of period {period}"),
        Partition::SamplesOfBoot(boot) => format!("samples of boot {boot}"),
        Partition::Downsampled(period) => format!("downsampled samples of period {period}"),
    }
}

/// Times stand in it as nanoseconds, exactly as they are stored.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Rows { sequence, boot, rows, streams, times, bytes } => {
                let base = boot.map_or(String::new(), |boot| format!(" of boot {boot}"));
                write!(f, "record {sequence}: {rows} rows{base} of {streams} streams, {} to {}", times.0, times.1)?;
                write!(f, ", {bytes} bytes")
            }
            Item::Stream { sequence, number, labels } => write!(f, "record {sequence}: stream {number} is {labels}"),
            Item::Position { sequence, key, value } => {
                write!(f, "record {sequence}: {} stands at {}", preview(key), preview(value))
            }
            Item::Manifest { good, tables, dead } => {
                let how = if *good { "" } else { ", as the tables say: there is no list that can be believed" };
                write!(f, "manifest: {tables} live tables, {} dead{how}", dead.len())
            }
            Item::Table(table) => write!(f, "{table}"),
            Item::TableStream { labels, covers, dictionary_bytes, blocks, rows, .. } => {
                write!(f, "  {labels}: {rows} rows in {blocks} blocks, dictionary of {dictionary_bytes} bytes")?;
                if *covers > 0 { write!(f, ", covers the journal below {covers}") } else { Ok(()) }
            }
            Item::Block { offset, rows, times, columns, filter_bytes, levels, .. } => {
                let [numbers, fields, text] = columns;
                write!(f, "    {offset:>10}  {rows} rows, {} to {}, levels {levels:09b}", times.0, times.1)?;
                write!(f, ", numbers {} of {}, fields {} of {}", numbers.0, numbers.1, fields.0, fields.1)?;
                write!(f, ", text {} of {} bytes, filter {filter_bytes}", text.0, text.1)
            }
            Item::Row { id, labels, time, level, text, fields } => {
                write!(f, "      {id} {time} {level} {labels} {}", preview(text))?;
                fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value:?}"))
            }
            Item::Bad(finding) => write!(f, "BAD: {finding}"),
        }
    }
}

impl fmt::Display for TableItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [numbers, fields, text] = self.columns;
        write!(f, "table {} of {}, level {}", self.number, show_partition(self.partition), self.level)?;
        write!(f, ": {} rows of {} streams in {} blocks", self.rows, self.streams, self.blocks)?;
        write!(f, ", {} to {}, covers the journal below {}", self.times.0, self.times.1, self.covers)?;
        write!(f, ", {} bytes: numbers {} of {}", self.bytes, numbers.0, numbers.1)?;
        write!(f, ", fields {} of {}, text {} of {}", fields.0, fields.1, text.0, text.1)?;
        write!(f, ", filters {}, dictionaries {}", self.filter_bytes, self.dictionary_bytes)?;
        if self.replaces.is_empty() { Ok(()) } else { write!(f, ", replaces {:?}", self.replaces) }
    }
}

fn columns_json<N: fmt::Display>(columns: &[(N, N); 3]) -> String {
    let [numbers, fields, text] = columns;
    let pair = |pair: &(N, N)| format!("{{\"stored\":{},\"raw\":{}}}", pair.0, pair.1);
    format!("{{\"numbers\":{},\"fields\":{},\"text\":{}}}", pair(numbers), pair(fields), pair(text))
}

/// Bytes as a JSON string: text as it is, other bytes with replacement characters.
fn json_text(bytes: &[u8]) -> String {
    json_string(&String::from_utf8_lossy(bytes))
}

impl Item {
    /// The item as one JSON object on one line.
    pub fn to_json(&self) -> String {
        match self {
            Item::Rows { sequence, boot, rows, streams, times, bytes } => format!(
                "{{\"item\":\"rows\",\"sequence\":{sequence},\"boot\":{},\"rows\":{rows},\"streams\":{streams},\
                 \"from\":{},\"to\":{},\"bytes\":{bytes}}}",
                json_number(*boot),
                times.0,
                times.1
            ),
            Item::Stream { sequence, number, labels } => format!(
                "{{\"item\":\"stream\",\"sequence\":{sequence},\"number\":{number},\"labels\":{}}}",
                json_string(&labels.to_string())
            ),
            Item::Position { sequence, key, value } => format!(
                "{{\"item\":\"position\",\"sequence\":{sequence},\"key\":{},\"value\":{}}}",
                json_text(key),
                json_text(value)
            ),
            Item::Manifest { good, tables, dead } => format!(
                "{{\"item\":\"manifest\",\"good\":{good},\"tables\":{tables},\"dead\":{}}}",
                json_array(dead.iter().map(u64::to_string))
            ),
            Item::Table(table) => table.to_json(),
            Item::TableStream { table, labels, covers, dictionary_bytes, blocks, rows } => format!(
                "{{\"item\":\"table_stream\",\"table\":{table},\"labels\":{},\"covers\":{covers},\
                 \"dictionary_bytes\":{dictionary_bytes},\"blocks\":{blocks},\"rows\":{rows}}}",
                json_string(&labels.to_string())
            ),
            Item::Block { table, offset, rows, times, levels, columns, filter_bytes } => format!(
                "{{\"item\":\"block\",\"table\":{table},\"offset\":{offset},\"rows\":{rows},\"from\":{},\"to\":{},\
                 \"levels\":{levels},\"columns\":{},\"filter_bytes\":{filter_bytes}}}",
                times.0,
                times.1,
                columns_json(columns)
            ),
            Item::Row { id, labels, time, level, text, fields } => {
                let fields: BTreeMap<&str, &str> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{}:{}", json_string(name), json_string(value)))
                    .collect();
                format!(
                    "{{\"item\":\"row\",\"id\":\"{id}\",\"labels\":{},\"time\":{time},\"level\":\"{level}\",\"text\":{},\
                     \"fields\":{{{}}}}}",
                    json_string(&labels.to_string()),
                    json_text(text),
                    fields.join(",")
                )
            }
            Item::Bad(finding) => format!("{{\"item\":\"bad\",\"finding\":{}}}", finding.to_json()),
        }
    }
}

impl TableItem {
    fn to_json(&self) -> String {
        format!(
            "{{\"item\":\"table\",\"number\":{},\"partition\":\"{}\",\"boot\":{},\"level\":{},\"rows\":{},\"streams\":{},\
             \"blocks\":{},\"from\":{},\"to\":{},\"covers\":{},\"replaces\":{},\"bytes\":{},\"columns\":{},\
             \"filter_bytes\":{},\"dictionary_bytes\":{}}}",
            self.number,
            show_partition(self.partition),
            json_number(boot_of(self.partition)),
            self.level,
            self.rows,
            self.streams,
            self.blocks,
            self.times.0,
            self.times.1,
            self.covers,
            json_array(self.replaces.iter().map(u64::to_string)),
            self.bytes,
            columns_json(&self.columns),
            self.filter_bytes,
            self.dictionary_bytes
        )
    }
}
