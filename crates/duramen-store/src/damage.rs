//! Damage in tables that somebody met while reading: noted by whoever met it, told once as a gap by the background. Owns the notes.
//! What is damaged is a block, or a table as a whole, if its index does not verify.
//!
//! A query must not write, and a merge must not wait: both only leave a note here.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::core::Core;
use crate::error::Error;
use crate::format::manifest::TableEntry;
use crate::format::table::samples::SampleStream;
use crate::inspect::Unit;
use crate::lock;
use crate::row::{Level, Nanoseconds, TimeBase};
use crate::session::Event;
use crate::table::Table;

/// Notes kept at most: more tell nothing new.
const NOTES_MAX: usize = 1_000;

/// Where the notes of a table say that all of it is meant: no block begins there.
const WHOLE: u64 = u64::MAX;

/// A block that does not verify, or times that several blocks share, or a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    reason: String,
    /// Whose rows or samples they are; `None`: of several series, or of a table, and nobody can tell.
    labels: Option<String>,
    series: usize,
    unit: Unit,
    rows: u64,
    /// First and last.
    times: (Nanoseconds, Nanoseconds),
    base: TimeBase,
}

impl Note {
    fn words(&self, table: u64, offset: u64) -> String {
        let rows = self.unit.count(self.rows);
        if offset == WHOLE {
            return format!("table {table:016x} is damaged ({}): none of its {rows} can be read", self.reason);
        }
        let whose = self.labels.clone().unwrap_or_else(|| format!("{} series", self.series));
        format!("a block of table {table:016x} is damaged ({}): {rows} of {whose} cannot be read", self.reason)
    }
}

/// Damage that was met, by table and offset.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    notes: Mutex<BTreeMap<(u64, u64), Note>>,
}

impl Noticed {
    /// Notes an error that reading a table met, if it is damage within a block.
    pub fn note(&self, table: &Table, error: &Error) {
        let Error::DamagedTable { offset, reason, .. } = error else { return };
        let found = match table.index.partition.is_of_samples() {
            true => note_of_samples(table, *offset, reason),
            false => note_of_rows(table, *offset, reason),
        };
        let Some((place, note)) = found else { return };
        self.insert((table.binding.number, place), note);
    }

    /// Notes that a table cannot be opened, if that is because it is damaged. What it held, the manifest says.
    pub fn note_table(&self, entry: &TableEntry, error: &Error) {
        let (Error::DamagedTable { reason, .. } | Error::UnusableTable { reason, .. }) = error else { return };
        let note = Note {
            reason: (*reason).to_string(),
            labels: None,
            series: 0,
            unit: Unit::of(entry.partition),
            rows: entry.rows,
            times: entry.times,
            base: entry.partition.base(),
        };
        self.insert((entry.number, WHOLE), note);
    }

    fn insert(&self, place: (u64, u64), note: Note) {
        let mut notes = lock(&self.notes);
        if notes.len() < NOTES_MAX {
            notes.insert(place, note);
        }
    }
}

/// The block of rows that an offset lies in: its own offset, and what is said of it.
fn note_of_rows(table: &Table, offset: u64, reason: &str) -> Option<(u64, Note)> {
    let blocks = table.index.streams.iter().flat_map(|stream| stream.blocks.iter().map(move |block| (stream, block)));
    let mut hit = blocks.filter(|(_, block)| (block.offset..block.end()).contains(&offset));
    let (stream, block) = hit.next()?;
    let note = Note {
        reason: reason.to_string(),
        labels: Some(stream.labels.to_string()),
        series: 1,
        unit: Unit::Rows,
        rows: u64::from(block.rows),
        times: (block.first_time, block.last_time),
        base: table.index.partition.base(),
    };
    Some((block.offset, note))
}

/// The values of a block of samples, or the times of several, that begin at an offset.
fn note_of_samples(table: &Table, offset: u64, reason: &str) -> Option<(u64, Note)> {
    let index = &table.index;
    let blocks = |series: &SampleStream| {
        let own = series.blocks.iter().map(|block| (block.part.offset, &index.columns[block.column as usize]));
        own.filter(|(values, column)| *values == offset || column.part.offset == offset).collect::<Vec<_>>()
    };
    let mut note: Option<Note> = None;
    for series in &index.series {
        let own = blocks(series);
        for (_, column) in &own {
            let note = note.get_or_insert_with(|| Note {
                reason: reason.to_string(),
                labels: Some(series.labels.to_string()),
                series: 0,
                unit: Unit::Samples,
                rows: 0,
                times: (column.first, column.last),
                base: index.partition.base(),
            });
            note.rows += u64::from(column.count);
            note.times = (note.times.0.min(column.first), note.times.1.max(column.last));
        }
        if let Some(note) = note.as_mut().filter(|_| !own.is_empty()) {
            note.series += 1;
            note.labels = note.labels.take().filter(|_| note.series == 1);
        }
    }
    note.map(|note| (offset, note))
}

impl Core {
    /// Tells of damage that was met, each place once in the store's life.
    pub fn tell_damage(&self) -> Result<(), Error> {
        let first = || lock(&self.noticed.notes).first_key_value().map(|(place, note)| (*place, note.clone()));
        while let Some(((table, offset), note)) = first() {
            // A table whose file is gone by the next opening is told of under the same key, and not twice.
            let once = if offset == WHOLE { format!("table/{table}") } else { format!("block/{table:016x}/{offset}") };
            let mut fields = vec![
                ("cause", "damage".to_string()),
                ("table", format!("{table:016x}")),
                (note.unit.field(), note.rows.to_string()),
            ];
            fields.extend(note.labels.clone().map(|labels| ("stream", labels)));
            let (from, to) = note.times;
            fields.extend([("from", from.to_string()), ("to", to.to_string())]);
            if let TimeBase::Boot(boot) = note.base {
                fields.push(("boot", boot.to_string()));
            }
            let at = Some(to).filter(|_| note.base == TimeBase::Wall);
            let event = Event { kind: "gap", level: Level::Error, at, text: note.words(table, offset), fields };
            self.tell(&event, Some(&once))?;
            lock(&self.noticed.notes).remove(&(table, offset));
        }
        Ok(())
    }
}
