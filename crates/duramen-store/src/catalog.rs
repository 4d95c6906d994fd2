//! Which tables are live: the manifest, read, compared with the folder, and written. Owns the manifest's file and the
//! removal of dead tables; reads no rows.
//!
//! What decides, in this order:
//!
//! | found | verdict |
//! |---|---|
//! | a temporary file | removed: it never counted |
//! | a table under its moving name | named back: opening was cut |
//! | a listed table | live, unless a table that is not listed yet replaces it |
//! | a table that is not listed, its number at or above the manifest's next | live: the cut came between its rename and the manifest |
//! | a table that is not listed, its number below | removed: it was replaced or retired |
//! | a listed table without a file | lost, told as such |
//! | a table that is not listed, number at or above, and does not verify | set aside, told as such: its rows are in the journal, or in what it was to replace |
//! | no manifest, or a damaged one | rebuilt: every table that verifies and that no other replaces is live, told as such |

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duramen_journal::disk::{Access, Disk, read_full_at, write_all_at};

use crate::error::Error;
use crate::format::manifest::{Manifest, TableEntry};
use crate::format::table::{Binding, Fault, Index};
use crate::table::{self, Named, Table};

const MANIFEST: &str = "MANIFEST";
const MANIFEST_NEW: &str = "MANIFEST.tmp";
/// Where damaged tables go, beside the journal's own.
const ASIDE: &str = "aside";
/// A manifest of a hundred thousand tables is a few megabytes.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// The manifest's file and the tables' folder.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub disk: Arc<dyn Disk>,
    pub folder: PathBuf,
    pub tables: PathBuf,
    pub journal_id: [u8; 16],
}

/// What opening found of the tables.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub manifest: Manifest,
    /// What a reader of the report should know.
    pub notes: Vec<String>,
    /// Tables that should be there, or cannot be read: with them rows are missing.
    pub lost: Vec<LostTable>,
}

/// What a look at the tables found that changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Live tables, sorted by number.
    pub tables: Vec<TableEntry>,
    pub lost: Vec<LostTable>,
    /// Tables that the manifest lists.
    pub listed: BTreeSet<u64>,
    /// Tables that do not count any more.
    pub dead: Vec<u64>,
    /// Files of tables that were never finished.
    pub temporary: Vec<String>,
    /// Files that are no tables.
    pub foreign: Vec<String>,
    pub has_manifest: bool,
    /// Why the manifest that is there cannot be believed.
    pub manifest_fault: Option<String>,
    /// Why it cannot be read.
    pub manifest_unreadable: Option<String>,
}

/// What is done with a table that the device cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnUnreadable {
    /// Nothing is decided: another try may read it.
    Fail,
    /// It counts as lost, for whoever only looks.
    Lose,
}

/// A table whose rows cannot be had.
#[derive(Clone, Debug)]
pub(crate) struct LostTable {
    pub number: u64,
    pub reason: String,
    /// What the manifest said of it.
    pub entry: Option<TableEntry>,
    /// The device could not read it, which says nothing about its bytes.
    pub unreadable: bool,
    /// Rows of its partition that the journal still had.
    pub replayed: u64,
}

/// What the manifest says of a table.
pub(crate) fn entry_of(number: u64, bytes: u64, index: &Index) -> TableEntry {
    let streams = index.streams.iter().map(|stream| (&stream.labels, stream.covers));
    let further = streams.filter(|(_, covers)| *covers > index.covers);
    let furthest = index.series.iter().map(|series| series.covers).filter(|&covers| covers > index.covers).max();
    TableEntry {
        number,
        bytes,
        partition: index.partition,
        level: index.level,
        rows: index.rows(),
        times: index.times().unwrap_or((0, 0)),
        text_bytes: index.blocks().map(|block| u64::from(block.text.raw)).sum(),
        covers: index.covers,
        stream_covers: further
            .map(|(labels, covers)| (labels.as_bytes().to_vec(), covers))
            .chain(furthest.map(|covers| (Vec::new(), covers)))
            .collect(),
    }
}

impl Catalog {
    /// Makes the tables' folder if it is missing.
    pub fn prepare(&self) -> Result<(), Error> {
        match self.disk.create_dir(&self.tables) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(Error::io("create", &self.tables, error)),
        }
        self.disk.sync_dir(&self.folder).map_err(|error| Error::io("sync", &self.folder, error))
    }

    pub fn binding(&self, number: u64) -> Binding {
        Binding { journal_id: self.journal_id, number }
    }

    /// Opens a table.
    pub fn open(&self, number: u64) -> Result<Table, Error> {
        match Table::open(&*self.disk, &self.tables, self.binding(number)) {
            // Opening was cut while it named the table anew; seen only by who looks without opening.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let moving = self.tables.join(table::moving_name(number));
                let moved = Table::open_file(&*self.disk, moving, self.binding(number));
                moved.or_else(|_| Table::open(&*self.disk, &self.tables, self.binding(number)))
            }
            other => other,
        }
    }

    /// Finds the live tables as opening would, and changes nothing. What cannot be read counts as lost.
    pub fn look(&self) -> Result<Look, Error> {
        let entries = match self.disk.list(&self.tables) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("list", &self.tables, error)),
        };
        let mut look = Look::default();
        let mut present = BTreeSet::new();
        for entry in &entries {
            match table::parse_name(&entry.name) {
                Named::Table(number) | Named::Moving(number) => _ = present.insert(number),
                Named::Temporary(_) => look.temporary.push(entry.name.clone()),
                Named::Other => look.foreign.push(entry.name.clone()),
            }
        }
        let mut found = Found::default();
        let read = match self.read_manifest(&mut found) {
            Ok(read) => read,
            Err(error @ Error::Io { .. }) => {
                look.manifest_unreadable = Some(error.to_string());
                None
            }
            Err(error) => return Err(error),
        };
        look.manifest_fault = found.notes.pop();
        look.has_manifest = read.is_some();
        let listed = read.unwrap_or_default();
        let live = self.decide(&listed, &present, &mut found, OnUnreadable::Lose)?;
        let lost: BTreeSet<u64> = found.lost.iter().map(|lost| lost.number).collect();
        let dead = present.iter().filter(|number| !live.contains_key(number) && !lost.contains(number));
        look.dead = dead.copied().collect();
        look.lost = found.lost;
        look.listed = listed.tables.iter().map(|entry| entry.number).collect();
        look.tables = live.into_values().collect();
        Ok(look)
    }

    /// Finds the live tables, removes the dead ones, and writes the manifest if it is not what it should be.
    pub fn recover(&self) -> Result<Found, Error> {
        let entries = match self.disk.list(&self.tables) {
            Ok(entries) => entries,
            Err(error) => return Err(Error::io("list", &self.tables, error)),
        };
        let mut present = BTreeSet::new();
        let mut dead = Vec::new();
        for entry in &entries {
            match table::parse_name(&entry.name) {
                Named::Table(number) => _ = present.insert(number),
                Named::Temporary(_) => dead.push(entry.name.clone()),
                Named::Moving(number) => {
                    let (moving, place) = (self.tables.join(&entry.name), self.tables.join(table::name(number)));
                    self.disk.rename(&moving, &place).map_err(|error| Error::io("rename", &moving, error))?;
                    present.insert(number);
                }
                Named::Other => {}
            }
        }
        let mut found = Found::default();
        let read = self.read_manifest(&mut found)?;
        let rebuilt = read.is_none() && !present.is_empty();
        let listed = read.clone().unwrap_or_default();
        let live = self.decide(&listed, &present, &mut found, OnUnreadable::Fail)?;
        let next_table = present.iter().next_back().map_or(1, |last| last + 1).max(listed.next_table).max(1);
        dead.extend(present.iter().filter(|number| !live.contains_key(number)).map(|&number| table::name(number)));
        let lost: Vec<u64> = found.lost.iter().map(|lost| lost.number).filter(|n| present.contains(n)).collect();
        dead.retain(|name| !matches!(table::parse_name(name), Named::Table(number) if lost.contains(&number)));
        let live_new: Vec<u64> = live.keys().copied().filter(|&number| number >= listed.next_table).collect();
        found.manifest = Manifest { next_table, tables: live.into_values().collect() };
        if rebuilt {
            let count = found.manifest.tables.len();
            found.notes.push(format!("the manifest was missing or damaged, and was rebuilt from {count} tables"));
        }
        self.set_aside(&lost)?;
        self.name_again(live_new)?;
        // What is seen of the manifest may be in the cache only, if syncing its name failed before the process died: it is written
        // again before anything is removed because of it.
        if read.as_ref() != Some(&found.manifest) || !dead.is_empty() {
            self.write(&found.manifest)?;
        }
        self.remove(dead)?;
        Ok(found)
    }

    /// The live tables by number.
    fn decide(
        &self,
        listed: &Manifest,
        present: &BTreeSet<u64>,
        found: &mut Found,
        unreadable: OnUnreadable,
    ) -> Result<BTreeMap<u64, TableEntry>, Error> {
        let mut live: BTreeMap<u64, TableEntry> = BTreeMap::new();
        let mut replaced = BTreeSet::new();
        for entry in &listed.tables {
            if present.contains(&entry.number) {
                live.insert(entry.number, entry.clone());
            } else {
                let reason = "its file is missing".to_string();
                found.lost.push(LostTable {
                    number: entry.number,
                    reason,
                    entry: Some(entry.clone()),
                    replayed: 0,
                    unreadable: false,
                });
            }
        }
        for &number in present.range(listed.next_table..) {
            match self.open(number) {
                Ok(table) => {
                    replaced.extend(table.index.replaces.iter().copied());
                    live.insert(number, entry_of(number, table.bytes, &table.index));
                }
                Err(Error::DamagedTable { path, offset, reason }) => {
                    let reason = format!("{reason}, at offset {offset} of {}", path.display());
                    found.lost.push(LostTable { number, reason, entry: None, replayed: 0, unreadable: false });
                }
                Err(error @ Error::Io { .. }) if unreadable == OnUnreadable::Lose => {
                    found.lost.push(LostTable {
                        number,
                        reason: error.to_string(),
                        entry: None,
                        replayed: 0,
                        unreadable: true,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        live.retain(|number, _| !replaced.contains(number));
        // What a newer table replaced is not lost with its file.
        found.lost.retain(|lost| !replaced.contains(&lost.number));
        Ok(live)
    }

    /// `None`: there is none that can be believed.
    fn read_manifest(&self, found: &mut Found) -> Result<Option<Manifest>, Error> {
        let path = self.folder.join(MANIFEST);
        let file = match self.disk.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        let bytes = file.bytes().map_err(|error| Error::io("measure", &path, error))?;
        let mut buffer = vec![0; bytes.min(MANIFEST_BYTES_MAX) as usize];
        let read = read_full_at(&*file, &mut buffer, 0).map_err(|error| Error::read(&path, 0, error))?;
        match Manifest::decode(&buffer[..read], &self.journal_id) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(Fault::Newer(version)) => Err(Error::NewerFormat { path, found: version, supported: 1 }),
            Err(Fault::Damaged(reason)) => {
                found.notes.push(format!("the manifest cannot be used: {reason}"));
                Ok(None)
            }
        }
    }

    /// Replaces the manifest: durable when this returns.
    pub fn write(&self, manifest: &Manifest) -> Result<(), Error> {
        let (new, place) = (self.folder.join(MANIFEST_NEW), self.folder.join(MANIFEST));
        match self.disk.remove(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("remove", &new, error)),
        }
        let file = self.disk.open(&new, Access::Create).map_err(|error| Error::io("create", &new, error))?;
        let bytes = manifest.encode(&self.journal_id);
        write_all_at(&*file, &bytes, 0).map_err(|error| Error::io("write", &new, error))?;
        file.sync_data().map_err(|error| Error::io("sync", &new, error))?;
        drop(file);
        self.disk.rename(&new, &place).map_err(|error| Error::io("rename", &new, error))?;
        self.disk.sync_dir(&self.folder).map_err(|error| Error::io("sync", &self.folder, error))
    }

    /// Makes the names of tables durable that no manifest lists yet. A process may have died because syncing the folder failed,
    /// after which the kernel shows names that it will never write, and calls a further sync done: so each name is changed and
    /// changed back. Opening takes a table that a cut caught in between for what it is.
    fn name_again(&self, numbers: Vec<u64>) -> Result<(), Error> {
        if numbers.is_empty() {
            return Ok(());
        }
        for number in numbers {
            let (place, aside) = (self.tables.join(table::name(number)), self.tables.join(table::moving_name(number)));
            let renamed = self.disk.rename(&place, &aside).and_then(|()| self.disk.rename(&aside, &place));
            renamed.map_err(|error| Error::io("rename", &place, error))?;
        }
        sync(&*self.disk, &self.tables)
    }

    /// Moves tables that cannot be used out of the way, untouched.
    pub fn set_aside(&self, numbers: &[u64]) -> Result<(), Error> {
        if numbers.is_empty() {
            return Ok(());
        }
        let aside = self.folder.join(ASIDE);
        match self.disk.create_dir(&aside) {
            Ok(()) => sync(&*self.disk, &self.folder)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("create", &aside, error)),
        }
        for &number in numbers {
            let from = self.tables.join(table::name(number));
            let renamed = self.disk.rename(&from, &aside.join(table::name(number)));
            renamed.map_err(|error| Error::io("set aside", &from, error))?;
        }
        sync(&*self.disk, &aside)?;
        sync(&*self.disk, &self.tables)
    }

    /// Removes files of the tables' folder for good. The names are gone durably when this returns: a table that replaces
    /// others may itself be replaced only then.
    pub fn remove(&self, names: Vec<String>) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            let path = self.tables.join(name);
            match self.disk.remove(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("remove", &path, error)),
            }
        }
        sync(&*self.disk, &self.tables)
    }
}

fn sync(disk: &dyn Disk, folder: &Path) -> Result<(), Error> {
    disk.sync_dir(folder).map_err(|error| Error::io("sync", folder, error))
}
