//! The tables of one partition against themselves and each other: every byte against its checksum, every block against what the index
//! and the filter say of it, the rows in order, and no row twice. Owns the walk, stream by stream, over all tables at once; the walk
//! over samples is [`super::series`]'.
//!
//! Memory: the indexes of the partition's tables, and one block of each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use duramen_journal::Sequence;

use super::finding::{Fault, Finding, Findings, Loss, Unit, boot_of};
use crate::catalog::{Catalog, entry_of};
use crate::covers::Covers;
use crate::error::Error;
use crate::format::bytes::Reader;
use crate::format::manifest::TableEntry;
use crate::format::table::filter::{hash, may_hold, tokens};
use crate::format::table::{BlockEntry, Partition, StreamEntry};
use crate::labels::Labels;
use crate::row::{Level, Nanoseconds, RowId};
use crate::table::reader::StreamReader;
use crate::table::{self, Block, Table};

/// The file of a table, below the data folder.
pub(crate) fn file_of(number: u64) -> String {
    format!("{}/{}", table::FOLDER, table::name(number))
}

/// An error of a table as a finding.
pub(super) fn finding_of(number: u64, error: &Error, loss: Option<Loss>) -> Finding {
    let (fault, offset, reason) = match error {
        Error::DamagedTable { offset, reason, .. } => (Fault::Damage, Some(*offset), (*reason).to_string()),
        Error::Io { offset: Some(offset), source, .. } => {
            (Fault::Unreadable, Some(*offset), format!("the device cannot read it: {source}"))
        }
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            (Fault::Damage, None, "the file is missing".to_string())
        }
        Error::Io { source, .. } => (Fault::Unreadable, None, source.to_string()),
        other => (Fault::Damage, None, other.to_string()),
    };
    Finding { fault, file: file_of(number), offset, reason, loss }
}

/// What is lost with a whole table of which the manifest still knows something.
pub(crate) fn loss_of_table(entry: Option<&TableEntry>) -> Loss {
    entry.map_or_else(Loss::default, Loss::of_entry)
}

/// What is lost with a block.
pub(crate) fn loss_of_block(partition: Partition, labels: &Labels, entry: &BlockEntry) -> Loss {
    Loss {
        rows: Some(u64::from(entry.rows)),
        unit: Unit::Rows,
        times: Some((entry.first_time, entry.last_time)),
        boot: boot_of(partition),
        stream: Some(labels.clone()),
    }
}

/// Holds a block that was read against what its table says of it; in words, what does not agree.
pub(crate) fn check_block(block: &Block, entry: &BlockEntry, partition: Partition, filter: &[u8]) -> Vec<String> {
    let numbers = &block.numbers;
    let mut wrong = Vec::new();
    let mut say = |bad: bool, words: &str| {
        if bad {
            wrong.push(words.to_string());
        }
    };
    let keys: Vec<(Nanoseconds, RowId)> = numbers.times.iter().copied().zip(numbers.ids.iter().copied()).collect();
    say(keys.is_empty(), "a block has no rows");
    say(!keys.is_sorted_by(|a, b| a < b), "rows are out of order, or stand twice in one block");
    let (first, last) = (numbers.times.iter().min(), numbers.times.iter().max());
    let times = (first.copied().unwrap_or(0), last.copied().unwrap_or(0));
    say(times != (entry.first_time, entry.last_time), "the index says other times than the rows have");
    say(numbers.level_mask() != entry.levels, "the index says other levels than the rows have");
    let strange = |time: &Nanoseconds| Partition::of(partition.base(), *time) != partition;
    say(numbers.times.iter().any(strange), "rows of another partition");
    say(numbers.ids.iter().any(|id| id.sequence() == 0), "a row that no record of the journal held");
    say(numbers.levels.iter().any(|&level| level > Level::None as u8), "a level that there is not");
    let denied = (0..numbers.len()).any(|row| tokens(block.text(row)).any(|token| !may_hold(filter, hash(token))));
    say(denied, "the filter denies a word that is there: searches for it miss these rows");
    say((0..numbers.len()).any(|row| !are_fields(block.field_bytes(row))), "fields that make no sense");
    wrong
}

/// Whether a row's field bytes are pairs of texts, to their end.
fn are_fields(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let (Some(name), Some(value)) = (reader.bytes(), reader.bytes()) else { return false };
        if std::str::from_utf8(name).is_err() || std::str::from_utf8(value).is_err() {
            return false;
        }
    }
    true
}

/// What checking counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub tables: u64,
    pub blocks: u64,
    pub rows: u64,
    pub samples: u64,
    pub bytes: u64,
    /// Rows whose records the journal still had.
    pub rows_in_journal: u64,
    /// Something could not be read, so that the counts say too little.
    pub holes: bool,
}

/// The check of one partition.
pub(super) struct Check<'a> {
    pub partition: Partition,
    pub covers: &'a Covers,
    /// The journal begins here.
    pub journal_first: Sequence,
    /// The sequence that the journal's next record gets; `None`: it grows.
    pub journal_next: Option<Sequence>,
    pub findings: Findings,
    pub counted: Counted,
}

/// A table under check.
struct Checked {
    table: Arc<Table>,
    filters: Vec<u8>,
}

/// One stream of one table, block by block.
struct Cursor<'a> {
    checked: &'a Checked,
    stream: &'a StreamEntry,
    reader: Option<StreamReader>,
    next_block: usize,
    block: Block,
    row: usize,
    last: Option<(Nanoseconds, RowId)>,
}

impl Check<'_> {
    /// Opens tables; `Err`: one is gone, which beside a living store means that another holds its rows by now.
    pub fn open(&mut self, catalog: &Catalog, entries: &[TableEntry], live: bool) -> Result<Vec<Arc<Table>>, ()> {
        let mut tables = Vec::new();
        for entry in entries {
            match catalog.open(entry.number) {
                Ok(table) => {
                    let same = entry_of(entry.number, table.bytes, &table.index) == *entry;
                    if !same {
                        let reason = "the manifest says other things of it than the table itself".to_string();
                        self.findings.rule(file_of(entry.number), None, reason);
                    }
                    tables.push(Arc::new(table));
                }
                Err(Error::Io { source, .. }) if live && source.kind() == std::io::ErrorKind::NotFound => {
                    return Err(());
                }
                Err(error) => {
                    self.counted.holes = true;
                    self.findings.add(finding_of(entry.number, &error, Some(Loss::of_entry(entry))));
                }
            }
        }
        Ok(tables)
    }

    /// Checks all bytes of tables.
    pub fn run(&mut self, tables: &[Arc<Table>], passed: &mut dyn FnMut(u64)) {
        if self.partition.is_of_samples() {
            return self.run_series(tables, passed);
        }
        let checked: Vec<Checked> = tables.iter().map(|table| self.frame(table.clone())).collect();
        let mut labels: Vec<&Labels> = checked
            .iter()
            .flat_map(|checked| checked.table.index.streams.iter().map(|stream| &stream.labels))
            .collect();
        labels.sort_unstable();
        labels.dedup();
        for labels in labels {
            self.stream(&checked, labels, passed);
        }
    }

    /// What of a table belongs to no stream.
    fn frame(&mut self, table: Arc<Table>) -> Checked {
        let number = table.binding.number;
        let index = &table.index;
        self.counted.tables += 1;
        self.counted.bytes += table.bytes;
        let filters = table.filters().unwrap_or_else(|error| {
            let mut finding = finding_of(number, &error, None);
            finding.reason += " (the filters): searches read more than they need to, no row is lost by it";
            self.findings.add(finding);
            Vec::new()
        });
        let mut rule = |bad: bool, words: &str| {
            if bad {
                self.findings.rule(file_of(number), None, words.to_string());
            }
        };
        rule(index.partition != self.partition, "it is of another partition than the manifest says");
        rule(!index.streams.is_sorted_by(|a, b| a.labels < b.labels), "its streams are out of order");
        rule(index.replaces.contains(&number), "it says that it replaces itself");
        rule(index.parts_end() != index.filters.0, "bytes between its blocks and its filters belong to nothing");
        Checked { table, filters }
    }

    /// One stream through all tables, in the order of its rows.
    fn stream(&mut self, checked: &[Checked], labels: &Labels, passed: &mut dyn FnMut(u64)) {
        let mut cursors = Vec::new();
        for one in checked {
            for stream in one.table.index.streams.iter().filter(|stream| stream.labels == *labels) {
                let mut cursor = Cursor {
                    checked: one,
                    stream,
                    reader: None,
                    next_block: 0,
                    block: Block::default(),
                    row: 0,
                    last: None,
                };
                self.begin(&mut cursor);
                self.next_block(&mut cursor, passed);
                cursors.push(cursor);
            }
        }
        let mut heap: BinaryHeap<_> = BinaryHeap::new();
        for (at, cursor) in cursors.iter().enumerate() {
            heap.extend(cursor.key().map(|key| Reverse((key, at))));
        }
        let (mut last, mut twice, mut beyond) = (None, 0u64, 0u64);
        while let Some(Reverse((key, at))) = heap.pop() {
            twice += u64::from(last == Some(key));
            last = Some(key);
            self.counted.rows += 1;
            let sequence = key.1.sequence();
            self.counted.rows_in_journal += u64::from(sequence >= self.journal_first);
            beyond += u64::from(!self.covers.holds(self.partition, labels.as_bytes(), sequence));
            let cursor = &mut cursors[at];
            cursor.row += 1;
            if cursor.row >= cursor.block.numbers.len() {
                self.next_block(cursor, passed);
            }
            heap.extend(cursor.key().map(|key| Reverse((key, at))));
        }
        if twice > 0 {
            self.findings.rule(table::FOLDER.into(), None, format!("{twice} rows of {labels} stand in tables twice"));
        }
        if beyond > 0 {
            let words =
                "rows stand in tables beyond what these say to cover: read from the journal, they would come twice";
            self.findings.rule(table::FOLDER.into(), None, format!("{beyond} {words} ({labels})"));
        }
    }

    /// Reads what a stream's blocks are read with: its dictionary.
    fn begin(&mut self, cursor: &mut Cursor<'_>) {
        let table = &cursor.checked.table;
        match table.stream(cursor.stream) {
            Ok(reader) => cursor.reader = Some(reader),
            Err(error) => {
                self.counted.holes = true;
                let rows = cursor.stream.blocks.iter().map(|block| u64::from(block.rows)).sum();
                let first = cursor.stream.blocks.iter().map(|block| block.first_time).min();
                let last = cursor.stream.blocks.iter().map(|block| block.last_time).max();
                let loss = Loss {
                    rows: Some(rows),
                    unit: Unit::Rows,
                    times: first.zip(last),
                    boot: boot_of(self.partition),
                    stream: Some(cursor.stream.labels.clone()),
                };
                let mut finding = finding_of(table.binding.number, &error, Some(loss));
                finding.reason += " (the dictionary of a stream's text)";
                self.findings.add(finding);
            }
        }
    }

    /// Reads a stream's next good block; what is wrong on the way is told.
    fn next_block(&mut self, cursor: &mut Cursor<'_>, passed: &mut dyn FnMut(u64)) {
        cursor.row = 0;
        cursor.block = Block::default();
        let Some(reader) = &mut cursor.reader else { return };
        let (table, filters) = (&cursor.checked.table, &cursor.checked.filters);
        while let Some(entry) = cursor.stream.blocks.get(cursor.next_block) {
            cursor.next_block += 1;
            self.counted.blocks += 1;
            passed(entry.end() - entry.offset);
            let number = table.binding.number;
            let block = match table.block(reader, entry) {
                Ok(block) => block,
                Err(error) => {
                    self.counted.holes = true;
                    let loss = loss_of_block(self.partition, &cursor.stream.labels, entry);
                    self.findings.add(finding_of(number, &error, Some(loss)));
                    continue;
                }
            };
            let from = entry.filter_offset as usize;
            let filter = filters.get(from..from + entry.filter_bytes as usize).unwrap_or(&[]);
            for reason in check_block(&block, entry, self.partition, filter) {
                self.findings.rule(file_of(number), Some(entry.offset), reason);
            }
            let key = |row: usize| Some((*block.numbers.times.get(row)?, *block.numbers.ids.get(row)?));
            if cursor.last.is_some() && key(0).is_some() && key(0) <= cursor.last {
                self.findings.rule(file_of(number), Some(entry.offset), "blocks are out of order".into());
            }
            cursor.last = key(block.numbers.len().saturating_sub(1)).or(cursor.last);
            if block.numbers.len() > 0 {
                cursor.block = block;
                return;
            }
        }
    }
}

impl Cursor<'_> {
    fn key(&self) -> Option<(Nanoseconds, RowId)> {
        Some((*self.block.numbers.times.get(self.row)?, *self.block.numbers.ids.get(self.row)?))
    }
}
