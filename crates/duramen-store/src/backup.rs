//! Backups: a store copied while it is written to, and a copy put back. Owns the moment that a backup shows, and the rule that nothing
//! bears a backup's name before it was read back whole.
//!
//! The moment: first nothing of the journal is released any more, then the list of tables is taken, then the journal is copied as far
//! as it goes by then. Tables never change, and those on the list stay as long as somebody holds them; what no table of the list
//! covers is in the journal. So the copy holds every row up to its last record once, whatever is sealed, merged or dropped meanwhile.
//! The journal is free again before the tables are copied, which is the long part.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duramen_journal::inspect::{self as journal_inspect, Progress};
use duramen_journal::{End, Error as JournalError, Sequence, World};

use crate::copy::Copy;
use crate::core::Core;
use crate::error::Error;
use crate::format::manifest::TableEntry;
use crate::inspect::{Folder, LOCK, json_string, verify};
use crate::lock;
use crate::options::Options;
use crate::row::Level;
use crate::session::Event;
use crate::store::Store;
use crate::table::Table;
use crate::view::Live;

/// What the folder of a backup that is not complete ends in.
const PARTIAL: &str = ".partial";

/// A backup that was made and read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Where it is.
    pub path: PathBuf,
    /// It holds every row whose id has this sequence or a lower one, as far as the store still had it, and none behind.
    pub upto: Sequence,
    /// Tables in it.
    pub tables: u64,
    /// Rows in tables.
    pub table_rows: u64,
    /// Samples in tables.
    pub table_samples: u64,
    /// Rows in its journal.
    pub journal_rows: u64,
    /// Samples in its journal, each time that one was written.
    pub journal_samples: u64,
    /// Bytes of tables and of the journal's commits.
    pub bytes: u64,
}

impl Backup {
    /// The whole as one JSON object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"path\":{},\"upto\":{},\"tables\":{},\"table_rows\":{},\"table_samples\":{},\"journal_rows\":{},\
             \"journal_samples\":{},\"bytes\":{}}}",
            json_string(&self.path.to_string_lossy()),
            self.upto,
            self.tables,
            self.table_rows,
            self.table_samples,
            self.journal_rows,
            self.journal_samples,
            self.bytes
        )
    }
}

impl fmt::Display for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "rows      {} ({} in {} tables)",
            self.table_rows + self.journal_rows,
            self.table_rows,
            self.tables
        )?;
        if self.table_samples + self.journal_samples > 0 {
            let (tables, journal) = (self.table_samples, self.journal_samples);
            writeln!(f, "samples   {tables} in tables, {journal} in the journal only")?;
        }
        writeln!(f, "upto      record {}", self.upto)
    }
}

/// A store that was put back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What was copied.
    pub copied: Backup,
    /// What opening it found.
    pub report: crate::report::Report,
}

/// The folder in which a backup is made before it has its name.
pub fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(PARTIAL);
    path.with_file_name(name)
}

/// Keeps the journal from being released.
struct Pin<'a>(&'a Core);

impl<'a> Pin<'a> {
    /// Waits for a release that is under way.
    fn new(core: &'a Core) -> Pin<'a> {
        *lock(&core.pins) += 1;
        Pin(core)
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        *lock(&self.0.pins) -= 1;
    }
}

impl Store {
    /// Copies the store into a folder that must not exist, or be empty, while rows go on coming in. The copy is a store: it can be
    /// opened, asked, verified, and put back with [`restore`]. Until it was read back and is known to be whole it bears a name that
    /// ends in `.partial`; one that stayed there belongs to a backup that was interrupted, and is refused.
    ///
    /// The journal grows while it is copied itself, not while the tables are. Returns durable.
    ///
    /// # Errors
    /// [`JournalError::Exists`]; the store is damaged: salvage it; [`Error::BadCopy`]; the disks'. What was begun stays under its
    /// partial name.
    pub fn backup(&self, to: impl AsRef<Path>, progress: &mut dyn FnMut(Progress)) -> Result<Backup, Error> {
        let (core, to) = (self.core(), to.as_ref());
        let world = &core.world;
        let partial = free_place(world, to)?;
        let pin = Pin::new(core);
        core.append_staged()?;
        core.journal.sync()?;
        let tables: Vec<Arc<Live>> = {
            core.settle(&mut lock(&core.write));
            lock(&core.view).tables.clone()
        };
        let bytes_total: u64 = tables.iter().map(|live| live.entry.bytes).sum();
        let copied = copy_journal(world, &core.catalog.folder, &partial, bytes_total, progress)?;
        drop(pin);
        let mut told = Told { progress, bytes: copied.bytes, bytes_total: copied.bytes + bytes_total };
        let mut copy = Copy::begin(world, &partial)?;
        for live in &tables {
            let table = core.open_table(live)?;
            copy.table(&table, &mut |bytes| told.passed(bytes))?;
        }
        let expected = tables.iter().map(|live| &live.entry);
        complete(&mut copy, expected, copied.records, to, told.progress)
    }
}

/// Puts a backup back: verifies it, copies it into a data folder that must not exist, or be empty, verifies the copy, opens it and
/// closes it. The backup is only read. The store that comes of it goes on from the backup's moment; an event in it tells that it was
/// restored, and from where.
///
/// # Errors
/// [`JournalError::Exists`]; [`Error::BadCopy`]: the backup, or the copy, is not whole, or the store in it is in use; the disks'.
pub fn restore(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    world: &World,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, Error> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let folder = Folder::open(from, world)?;
    let bad = |reason: String| Error::BadCopy { path: from.to_path_buf(), reason };
    if world.disk.is_locked(&from.join(LOCK)).unwrap_or(false) {
        return Err(bad("a program has it open; a backup lies still".into()));
    }
    let partial = free_place(world, to)?;
    let verified = verify(from, world.clone(), &mut |_| ())?;
    if !verified.is_sound() {
        let first = verified.findings.first().map_or_else(String::new, |finding| format!(": {finding}"));
        let hint = "salvage copies what is good of it";
        return Err(bad(format!("it does not verify ({}){first}; {hint}", verified.end.word())));
    }
    if matches!(verified.end, End::Unmarked | End::Torn) {
        return Err(bad("it ends without a mark, as no complete backup does".into()));
    }
    let entries = folder.catalog.look()?.tables;
    let bytes_total = entries.iter().map(|entry| entry.bytes).sum();
    let copied = copy_journal(world, from, &partial, bytes_total, progress)?;
    let mut told = Told { progress, bytes: copied.bytes, bytes_total: copied.bytes + bytes_total };
    let mut copy = Copy::begin(world, &partial)?;
    for entry in &entries {
        let table = folder.catalog.open(entry.number)?;
        copy.table(&table, &mut |bytes| told.passed(bytes))?;
    }
    let copied = complete(&mut copy, entries.iter(), copied.records, to, told.progress)?;
    let (store, report) = Store::open_with(to, &Options::default(), world.clone())?;
    let text = format!("restored from {}, with all up to record {}", from.display(), copied.upto);
    let fields = vec![("from_backup", from.display().to_string()), ("upto", copied.upto.to_string())];
    store.tell(&Event { kind: "restore", level: Level::Notice, at: None, text, fields }, None)?;
    store.close()?;
    Ok(Restored { copied, report })
}

/// Calls the progress every few megabytes.
struct Told<'a> {
    progress: &'a mut dyn FnMut(Progress),
    bytes: u64,
    bytes_total: u64,
}

impl Told<'_> {
    fn passed(&mut self, bytes: u64) {
        const STEP_BYTES: u64 = 4 << 20;
        let before = self.bytes / STEP_BYTES;
        self.bytes = (self.bytes + bytes).min(self.bytes_total);
        if self.bytes / STEP_BYTES > before {
            (self.progress)(Progress { bytes: self.bytes, bytes_total: self.bytes_total });
        }
    }
}

/// Checks that a backup may go to a place, and names the folder in which it is made.
fn free_place(world: &World, to: &Path) -> Result<PathBuf, Error> {
    let exists = |path: &Path| Err(Error::Journal(JournalError::Exists { path: path.to_path_buf() }));
    match world.disk.list(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(entries) if entries.is_empty() => {}
        Err(error) if error.kind() != io::ErrorKind::NotADirectory => return Err(Error::io("list", to, error)),
        _ => return exists(to),
    }
    let partial = partial_of(to);
    match world.disk.list(&partial) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(partial),
        _ => exists(&partial),
    }
}

/// What was copied of a journal.
struct CopiedJournal {
    records: u64,
    bytes: u64,
}

/// Copies the journal, which must be whole.
fn copy_journal(
    world: &World,
    from: &Path,
    partial: &Path,
    table_bytes: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<CopiedJournal, Error> {
    let mut last = 0;
    let salvaged = journal_inspect::salvage(from, partial, world.clone(), &mut |now: Progress| {
        last = now.bytes_total;
        progress(Progress { bytes: now.bytes, bytes_total: now.bytes_total + table_bytes });
    })?;
    if let Some(damage) = salvaged.damage.iter().find(|damage| damage.what.refuses_writing()) {
        return Err(Error::BadCopy {
            path: partial.to_path_buf(),
            reason: format!("the journal that it is of is damaged ({damage}); salvage copies what is good"),
        });
    }
    Ok(CopiedJournal { records: salvaged.copied, bytes: last })
}

/// Ends a copy: lists its tables, reads all of it back, and gives it its name.
fn complete<'a>(
    copy: &mut Copy,
    expected: impl Iterator<Item = &'a TableEntry>,
    records: u64,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Backup, Error> {
    copy.list()?;
    copy.note_closed()?;
    drop_caches(copy)?;
    let verified = verify(&copy.path, copy.world.clone(), progress)?;
    let bad = |reason: String| Error::BadCopy { path: copy.path.clone(), reason };
    if verified.end != End::Closed {
        let first = verified.findings.first().map_or_else(|| verified.end.word().to_string(), ToString::to_string);
        return Err(bad(format!("read back, it does not verify: {first}")));
    }
    let (mut tables, mut rows, mut samples) = (0, 0, 0);
    for entry in expected {
        tables += 1;
        *if entry.partition.is_of_samples() { &mut samples } else { &mut rows } += entry.rows;
    }
    let found = (verified.tables, verified.table_rows, verified.table_samples);
    if found != (tables, rows, samples) || verified.records < records {
        return Err(bad(format!(
            "read back, it has {} rows and {} samples in {} tables and {} records; there were {rows}, {samples}, {tables} \
             and {records}",
            verified.table_rows, verified.table_samples, verified.tables, verified.records
        )));
    }
    let disk = &copy.world.disk;
    disk.sync_dir(&copy.path).map_err(|error| Error::io("sync", &copy.path, error))?;
    disk.rename(&copy.path, to).map_err(|error| Error::io("rename", &copy.path, error))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk.sync_dir(parent).map_err(|error| Error::io("sync", parent, error))?;
    Ok(Backup {
        path: to.to_path_buf(),
        upto: copy.last,
        tables,
        table_rows: rows,
        table_samples: samples,
        journal_rows: verified.journal_rows,
        journal_samples: verified.journal_samples,
        bytes: verified.table_bytes + verified.journal.report.bytes,
    })
}

/// Makes the reading back go to the device, as far as the system lets.
fn drop_caches(copy: &Copy) -> Result<(), Error> {
    for entry in &copy.tables {
        let table: Table = copy.catalog.open(entry.number)?;
        table.drop_cache();
    }
    Ok(())
}
