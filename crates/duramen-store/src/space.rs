//! A disk that fills up: what is kept free, and what gives way. Owns the look at the free space and the dropping of the oldest
//! tables; how an append fails on a full disk is the journal's business.
//!
//! The bytes that are kept free are what the rest needs to go on: the manifest, tables on their way, merges.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::batch::Batch;
use crate::compaction::pick::{self, Keep};
use crate::core::Core;
use crate::error::Error;
use crate::format::bytes::{Reader, put_number, put_signed};
use crate::format::manifest::TableEntry;
use crate::lock;
use crate::options::DiskFull;
use crate::row::{Level, Nanoseconds};
use crate::session::{Event, own};
use crate::store::Durability;
use crate::table;
use crate::view::Live;

impl Core {
    /// The free bytes of the file system; `None`: it does not say.
    pub fn free_bytes(&self) -> Option<u64> {
        self.world.disk.file_system(&self.catalog.folder).ok().map(|system| system.free_bytes)
    }

    /// Looks at the free space, and does what the options say if there is too little.
    ///
    /// # Errors
    /// The journal's or the manifest's, of dropping tables.
    pub fn watch_space(&self) -> Result<(), Error> {
        let min = self.options.free_bytes_min;
        let is_short = |free: Option<u64>| free.is_some_and(|free| free < min);
        let refused = self.journal.stats().no_space;
        let mut short = is_short(self.free_bytes());
        let result = match self.options.disk_full {
            DiskFull::Stop => Ok(()),
            // A journal without space where the file system seems to have some: a quota. One table at a look.
            DiskFull::DropOldest if refused && !short => self.drop_oldest(1).map(|_| ()),
            DiskFull::DropOldest if short => {
                // Room for the next table as well, so that this does not happen anew at each row.
                let goal = min.saturating_add(self.options.memtable_bytes as u64);
                let missing = goal.saturating_sub(self.free_bytes().unwrap_or(u64::MAX));
                let dropped = self.drop_oldest(missing);
                short = is_short(self.free_bytes());
                dropped.map(|_| ())
            }
            DiskFull::DropOldest => Ok(()),
        };
        self.space_short.store(short, Ordering::Release);
        result
    }

    /// Drops the oldest tables that hold so many bytes together, and tells of it first. False: there are none to drop.
    fn drop_oldest(&self, bytes: u64) -> Result<bool, Error> {
        let _one = lock(&self.merge);
        let first = self.journal.first();
        let gone: Vec<Arc<Live>> = {
            let view = lock(&self.view);
            let total: u64 = view.tables.iter().map(|live| live.entry.bytes).sum();
            let keep = Keep { since: None, since_downsampled: None, bytes_max: Some(total.saturating_sub(bytes)) };
            let entries = view.tables.iter().map(|live| &live.entry);
            let (_, by_size) = pick::drops(entries, keep, |entry| self.is_released(entry, first));
            view.tables.iter().filter(|live| by_size.contains(&live.entry.number)).cloned().collect()
        };
        if gone.is_empty() {
            return Ok(false);
        }
        let entries: Vec<&TableEntry> = gone.iter().map(|live| &live.entry).collect();
        // The event goes into the space that the journal holds back.
        self.tell_dropped(&entries)?;
        self.space_dropped_rows.fetch_add(entries.iter().map(|entry| entry.rows).sum(), Ordering::Relaxed);
        let names: Vec<String> = entries.iter().map(|entry| table::name(entry.number)).collect();
        self.replace(&gone, None);
        drop(gone);
        match self.settle_manifest() {
            // Not even the manifest has room: the files go before it says so. Whoever opens the store in between misses them, and
            // says that they are lost, which the event has said.
            Err(error) if error.is_no_space() => {
                self.catalog.remove(names)?;
                self.settle_manifest()?;
            }
            other => other?,
        }
        self.remove_retired()?;
        Ok(true)
    }

    /// Tells of tables that are about to be dropped. Earlier events of the kind may be among their rows, so the newest one tells of
    /// all that went, in a note that is kept beside the rows.
    fn tell_dropped(&self, entries: &[&TableEntry]) -> Result<(), Error> {
        let key = own("dropped");
        let before = lock(&self.write).positions.get(&key).and_then(|position| Dropped::decode(&position.value));
        let rows: u64 = entries.iter().map(|entry| entry.rows).sum();
        let timed = || entries.iter().filter(|entry| entry.partition.end().is_some());
        let (from, to) = (timed().map(|entry| entry.times.0).min(), timed().map(|entry| entry.times.1).max());
        let before = before.unwrap_or_default();
        let all = Dropped { rows: before.rows + rows, from: before.from.into_iter().chain(from).min() };
        let mut fields =
            vec![("cause", "disk full".to_string()), ("rows", rows.to_string()), ("total", all.rows.to_string())];
        fields.extend(all.from.map(|from| ("from", from.to_string())));
        fields.extend(to.map(|to| ("to", to.to_string())));
        let text = format!(
            "the disk was full: the oldest {rows} rows were dropped to make room, {} in all, as the options say",
            all.rows
        );
        let mut batch = Batch::own();
        batch.positions.push((key, all.encode()));
        self.add_event(&mut batch, &Event { kind: "gap", level: Level::Warning, at: to, text, fields })?;
        let ticket = self.append(&mut batch, Durability::Now)?;
        ticket.map_or(Ok(0), duramen_journal::Ticket::wait)?;
        Ok(())
    }
}

/// What was dropped in a store's whole life because its disk was full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Dropped {
    rows: u64,
    /// The earliest time of them.
    from: Option<Nanoseconds>,
}

impl Dropped {
    fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, self.rows);
        if let Some(from) = self.from {
            put_signed(&mut out, from);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Dropped> {
        let mut reader = Reader::new(bytes);
        let rows = reader.number()?;
        let from = if reader.is_empty() { None } else { Some(reader.signed()?) };
        Some(Dropped { rows, from })
    }
}
