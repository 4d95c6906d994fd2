//! The snapshots of all groups as files: finding, publishing, keeping the newest few. Owns names and the order of what makes
//! one durable; knows bytes, not the user's types.
//!
//! | name in `snapshots/GROUP/` | is |
//! |---|---|
//! | `INDEX-ID.snap` | whole and published: it was synced before it got this name |
//! | `ID.new` | being written; a leftover of a crash is removed |
//! | `INDEX-ID.part` | being received; goes on after a crash |
//! | `removed` | the group is being removed: if its log is gone, so are the others |

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use duramen_journal::World;
use duramen_journal::disk::{Access, Disk, DiskFile, read_full_at};

use super::SnapshotError;
use crate::format::Malformed;
use crate::format::snapshot::{END_BYTES, End, Fault, Head, PAGE_BYTES};
use crate::{GroupId, lock};

/// The folder's name in a data folder.
pub(crate) const FOLDER: &str = "snapshots";
const REMOVED: &str = "removed";

/// One published snapshot, or one that is being received, without its chunks.
#[derive(Debug)]
pub(crate) struct Raw {
    pub path: PathBuf,
    pub id: [u8; 16],
    pub group: GroupId,
    pub chunk_bytes: u32,
    pub index: u64,
    pub leader: Bytes,
    pub meta: Bytes,
    pub head: Vec<u8>,
    pub end: End,
}

impl Raw {
    /// Puts a head and an end together.
    pub fn of(path: PathBuf, head: Vec<u8>, end: &[u8]) -> Result<Raw, Fault> {
        let Head { id, group, chunk_bytes, last, meta } = Head::decode(&head)?;
        let end = End::decode(&head, chunk_bytes, end)?;
        let (leader, meta) = (Bytes::copy_from_slice(last.leader), Bytes::copy_from_slice(meta));
        Ok(Raw { path, id, group, chunk_bytes, index: last.index, leader, meta, head, end })
    }

    pub fn chunks(&self) -> u32 {
        self.end.digests.len() as u32
    }

    /// Where a chunk lies in the file, and its bytes.
    pub fn place(&self, number: u32) -> Option<(u64, usize)> {
        if number >= self.chunks() {
            return None;
        }
        let from = u64::from(number) * u64::from(self.chunk_bytes);
        let bytes = (self.end.bytes - from).min(u64::from(self.chunk_bytes));
        Some((self.head.len() as u64 + from, bytes as usize))
    }

    /// Where the digests lie.
    pub fn end_at(&self) -> u64 {
        self.head.len() as u64 + self.end.bytes
    }

    pub fn file_bytes(&self) -> u64 {
        self.end_at() + self.end.digests.len() as u64 * 8 + END_BYTES as u64
    }
}

/// All groups' snapshots.
#[derive(Debug)]
pub(crate) struct Store {
    pub world: World,
    data: PathBuf,
    path: PathBuf,
    kept: usize,
    pub chunk_bytes: u32,
    groups: Mutex<BTreeMap<GroupId, Arc<Folder>>>,
}

/// One group's.
#[derive(Debug)]
pub(crate) struct Folder {
    pub path: PathBuf,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// Whether the folder was read, or made.
    known: bool,
    /// The good ones, the newest last.
    good: Vec<Arc<Raw>>,
    bad: Vec<SnapshotError>,
}

fn read_fault(path: &Path, fault: Fault, offset: u64) -> SnapshotError {
    match fault {
        Fault::Newer(found) => SnapshotError::Newer { path: path.to_path_buf(), found },
        Fault::Damaged(what) => SnapshotError::Damaged { path: path.to_path_buf(), chunk: None, offset, what },
    }
}

/// Reads the head and the end of a file, and checks that its length fits.
pub(crate) fn read_ends(path: &Path, file: &dyn DiskFile) -> Result<Raw, SnapshotError> {
    let read = |from: u64, count: usize| {
        let mut bytes = vec![0; count];
        match read_full_at(file, &mut bytes, from) {
            Ok(read) if read == count => Ok(bytes),
            Ok(_) => Err(read_fault(path, Fault::Damaged(Malformed::new("the file is cut off")), from)),
            Err(error) => Err(SnapshotError::io("read", path, error)),
        }
    };
    let length = file.bytes().map_err(|error| SnapshotError::io("measure", path, error))?;
    let mut head = read(0, PAGE_BYTES)?;
    let whole = Head::length(&head).map_err(|fault| read_fault(path, fault, 0))?;
    head.extend(read(PAGE_BYTES as u64, whole - PAGE_BYTES)?);
    Head::decode(&head).map_err(|fault| read_fault(path, fault, 0))?;
    let cut_off = || read_fault(path, Fault::Damaged(Malformed::new("the file is cut off")), length);
    let last_at = length.checked_sub(END_BYTES as u64).ok_or_else(cut_off)?;
    let chunks = End::chunks(&read(last_at, END_BYTES)?).map_err(|fault| read_fault(path, fault, last_at))?;
    let end_at = last_at.checked_sub(u64::from(chunks) * 8).ok_or_else(cut_off)?;
    let end = read(end_at, (length - end_at) as usize)?;
    let raw = Raw::of(path.to_path_buf(), head, &end).map_err(|fault| read_fault(path, fault, end_at))?;
    if raw.file_bytes() != length {
        return Err(read_fault(path, Fault::Damaged(Malformed::new("the file has another length")), length));
    }
    Ok(raw)
}

/// Makes a directory, if it is not there, and its name durable.
fn make_folder(disk: &dyn Disk, parent: &Path, path: &Path) -> Result<(), SnapshotError> {
    match disk.create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(SnapshotError::io("create", path, error));
        }
        // One that is there already may have been made by a process that died before it was durable.
        _ => {}
    }
    disk.sync_dir(parent).map_err(|error| SnapshotError::io("sync", parent, error))
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), SnapshotError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SnapshotError::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// The group whose snapshots lie in a folder of this name.
pub(crate) fn group_of_name(name: &str) -> Option<GroupId> {
    GroupId::from_str_radix(name, 16).ok().filter(|_| name.len() == 8)
}

pub(crate) fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Store {
    /// Finds out which groups have snapshots; reads none.
    pub fn open(world: World, data: &Path, kept: usize, chunk_bytes: u32) -> Result<Store, SnapshotError> {
        let path = data.join(FOLDER);
        let entries = match world.disk.list(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(SnapshotError::io("list", &path, error)),
        };
        let groups = entries.iter().filter_map(|entry| group_of_name(&entry.name));
        let groups = groups.map(|group| (group, Arc::new(Folder::at(&path, group)))).collect();
        Ok(Store { world, data: data.to_path_buf(), path, kept: kept.max(1), chunk_bytes, groups: Mutex::new(groups) })
    }

    /// The groups that have a folder.
    pub fn groups(&self) -> Vec<GroupId> {
        lock(&self.groups).keys().copied().collect()
    }

    pub fn disk(&self) -> &dyn Disk {
        &*self.world.disk
    }

    /// A group's folder, which may not be there yet.
    pub fn folder(&self, group: GroupId) -> Arc<Folder> {
        lock(&self.groups).entry(group).or_insert_with(|| Arc::new(Folder::at(&self.path, group))).clone()
    }

    /// The same, for writing.
    pub fn made(&self, group: GroupId) -> Result<Arc<Folder>, SnapshotError> {
        let folder = self.folder(group);
        make_folder(self.disk(), &self.data, &self.path)?;
        make_folder(self.disk(), &self.path, &folder.path)?;
        Ok(folder)
    }

    /// The good snapshots of a group, the newest last.
    pub fn good(&self, group: GroupId) -> Result<Vec<Arc<Raw>>, SnapshotError> {
        let folder = self.folder(group);
        let mut found = lock(&folder.found);
        self.know(&folder, &mut found)?;
        Ok(found.good.clone())
    }

    /// What is wrong with the others.
    pub fn bad(&self, group: GroupId) -> Vec<SnapshotError> {
        lock(&self.folder(group).found).bad.clone()
    }

    /// Reads a folder once: what is good, what is not; removes what a crash left.
    fn know(&self, folder: &Folder, found: &mut Found) -> Result<(), SnapshotError> {
        if found.known {
            return Ok(());
        }
        let disk = self.disk();
        let entries = match disk.list(&folder.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(SnapshotError::io("list", &folder.path, error)),
        };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for entry in entries.iter().filter(|entry| entry.name.ends_with(".snap")) {
            let path = folder.path.join(&entry.name);
            let file = disk.open(&path, Access::Read).map_err(|error| SnapshotError::io("open", &path, error));
            match file.and_then(|file| read_ends(&path, &*file)) {
                Ok(raw) => good.push(Arc::new(raw)),
                // What cannot be read now may be readable later: it is not passed over in silence.
                Err(error) => bad.push(error),
            }
        }
        good.sort_by_key(|raw| raw.index);
        if !good.is_empty() {
            // The process that gave them their names may have died before those were durable.
            disk.sync_dir(&folder.path).map_err(|error| SnapshotError::io("sync", &folder.path, error))?;
        }
        // A crash may have brought back what was removed.
        self.let_go(&mut good);
        let newest = good.last().map_or(0, |raw| raw.index);
        for entry in &entries {
            let index = entry.name.split('-').next().and_then(|index| u64::from_str_radix(index, 16).ok());
            let old_part = entry.name.ends_with(".part") && index.is_none_or(|index| index <= newest && newest > 0);
            if entry.name.ends_with(".new") || old_part {
                remove(disk, &folder.path.join(&entry.name))?;
            }
        }
        *found = Found { known: true, good, bad };
        Ok(())
    }

    /// Fails if there is a snapshot that covers as much.
    pub fn check_newer(&self, group: GroupId, index: u64) -> Result<(), SnapshotError> {
        match self.good(group)?.last() {
            Some(newest) if newest.index >= index => Err(SnapshotError::Outdated { index, newest: newest.index }),
            _ => Ok(()),
        }
    }

    /// Gives a whole, synced file its name, durably; then lets the oldest go.
    pub fn publish(&self, folder: &Folder, from: &Path, mut raw: Raw) -> Result<Arc<Raw>, SnapshotError> {
        let disk = self.disk();
        let mut found = lock(&folder.found);
        self.know(folder, &mut found)?;
        if let Some(newest) = found.good.last().filter(|newest| newest.index >= raw.index) {
            return Err(SnapshotError::Outdated { index: raw.index, newest: newest.index });
        }
        raw.path = folder.path.join(format!("{:016x}-{}.snap", raw.index, hex(&raw.id)));
        disk.rename(from, &raw.path).map_err(|error| SnapshotError::io("rename", &raw.path, error))?;
        if let Err(error) = disk.sync_dir(&folder.path) {
            // Whether the name is durable, nobody knows: it is looked at anew when it is asked for.
            found.known = false;
            return Err(SnapshotError::io("sync", &folder.path, error));
        }
        let raw = Arc::new(raw);
        found.good.push(raw.clone());
        self.let_go(&mut found.good);
        Ok(raw)
    }

    /// Removes the oldest. One that cannot be removed now stays for the next time.
    fn let_go(&self, good: &mut Vec<Arc<Raw>>) {
        while good.len() > self.kept && remove(self.disk(), &good[0].path).is_ok() {
            good.remove(0);
        }
    }

    /// Says, durably, that a group is about to be removed. `false`: it has no snapshots.
    pub fn begin_removal(&self, group: GroupId) -> Result<bool, SnapshotError> {
        let folder = self.folder(group);
        let mark = folder.path.join(REMOVED);
        match self.disk().open(&mark, Access::Create) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SnapshotError::io("create", &mark, error));
            }
            _ => {}
        }
        self.disk().sync_dir(&folder.path).map_err(|error| SnapshotError::io("sync", &folder.path, error))?;
        Ok(true)
    }

    /// Whether a group's removal was begun.
    pub fn is_being_removed(&self, group: GroupId) -> bool {
        self.disk().open(&self.folder(group).path.join(REMOVED), Access::Read).is_ok()
    }

    /// The removal did not come to be.
    pub fn end_removal(&self, group: GroupId) -> Result<(), SnapshotError> {
        let folder = self.folder(group);
        remove(self.disk(), &folder.path.join(REMOVED))?;
        self.disk().sync_dir(&folder.path).map_err(|error| SnapshotError::io("sync", &folder.path, error))
    }

    /// Removes all of a group's, the mark last.
    pub fn clear(&self, group: GroupId) -> Result<(), SnapshotError> {
        let folder = self.folder(group);
        let mut found = lock(&folder.found);
        found.known = false;
        let entries = match self.disk().list(&folder.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| SnapshotError::io("list", &folder.path, error))?,
        };
        for entry in entries.iter().filter(|entry| entry.name != REMOVED) {
            remove(self.disk(), &folder.path.join(&entry.name))?;
        }
        self.disk().sync_dir(&folder.path).map_err(|error| SnapshotError::io("sync", &folder.path, error))?;
        remove(self.disk(), &folder.path.join(REMOVED))
    }
}

impl Folder {
    fn at(parent: &Path, group: GroupId) -> Folder {
        Folder { path: parent.join(format!("{group:08x}")), found: Mutex::default() }
    }
}
