//! Damage in tables that somebody met while reading: noted by whoever met it, told once as a gap by the background. Owns the notes.
//!
//! A query must not write, and a merge must not wait: both only leave a note here.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::core::Core;
use crate::error::Error;
use crate::format::table::Partition;
use crate::lock;
use crate::row::{Level, Nanoseconds};
use crate::session::Event;
use crate::table::Table;

/// Notes kept at most: more tell nothing new.
const NOTES_MAX: usize = 1_000;

/// A block that does not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    reason: String,
    labels: String,
    rows: u32,
    /// First and last, if the partition is one of wall time.
    times: Option<(Nanoseconds, Nanoseconds)>,
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
        let blocks =
            table.index.streams.iter().flat_map(|stream| stream.blocks.iter().map(move |block| (stream, block)));
        let mut hit = blocks.filter(|(_, block)| (block.offset..block.end()).contains(offset));
        let Some((stream, block)) = hit.next() else { return };
        let wall = matches!(table.index.partition, Partition::Day(_));
        let note = Note {
            reason: (*reason).to_string(),
            labels: stream.labels.to_string(),
            rows: block.rows,
            times: wall.then_some((block.first_time, block.last_time)),
        };
        let mut notes = lock(&self.notes);
        if notes.len() < NOTES_MAX {
            notes.insert((table.binding.number, block.offset), note);
        }
    }
}

impl Core {
    /// Tells of damage that was met, each place once in the store's life.
    pub fn tell_damage(&self) -> Result<(), Error> {
        let first = || lock(&self.noticed.notes).first_key_value().map(|(place, note)| (*place, note.clone()));
        while let Some(((table, offset), note)) = first() {
            let text = format!(
                "a block of table {table:016x} is damaged ({}): {} rows of {} cannot be read",
                note.reason, note.rows, note.labels
            );
            let mut fields = vec![
                ("cause", "damage".to_string()),
                ("table", format!("{table:016x}")),
                ("rows", note.rows.to_string()),
                ("stream", note.labels.clone()),
            ];
            if let Some((from, to)) = note.times {
                fields.extend([("from", from.to_string()), ("to", to.to_string())]);
            }
            let at = note.times.map(|(_, to)| to);
            let event = Event { kind: "gap", level: Level::Error, at, text, fields };
            self.tell(&event, Some(&format!("block/{table:016x}/{offset}")))?;
            lock(&self.noticed.notes).remove(&(table, offset));
        }
        Ok(())
    }
}
