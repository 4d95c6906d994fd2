//! The snapshots beside the logs, whatever types their author used: which there are, what is wrong with them, and a copy of
//! the good ones. Reads only.

use std::fmt;
use std::io;
use std::path::Path;

use duramen_journal::World;
use duramen_journal::disk::{Access, Disk, DiskFile, write_all_at};

use super::raw::{RawLeader, RawLogId, json_array, json_or_null, json_string};
use crate::GroupId;
use crate::snapshot::{FOLDER, Raw, SnapshotError, group_of_name, read_chunk, read_ends};

/// One snapshot's file.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    /// The group.
    pub group: GroupId,
    /// The name, from the data folder on.
    pub file: String,
    /// The last entry that it covers; `None`: its head cannot be read.
    pub last: Option<RawLogId>,
    /// Bytes of the state machine.
    pub bytes: u64,
    /// How many chunks.
    pub chunks: u32,
    /// What is wrong with it.
    pub faults: Vec<SnapshotError>,
}

impl SnapshotFile {
    /// The snapshot as one JSON object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"group\":{},\"file\":{},\"last\":{},\"bytes\":{},\"chunks\":{},\"faults\":{}}}",
            self.group,
            json_string(&self.file),
            json_or_null(self.last.as_ref(), RawLogId::to_json),
            self.bytes,
            self.chunks,
            json_array(self.faults.iter().map(|fault| json_string(&fault.to_string())))
        )
    }

    /// Whether it can be loaded, as far as was looked.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last {
            Some(last) => write!(f, "up to {last}, {} bytes in {} chunks", self.bytes, self.chunks)?,
            None => write!(f, "{}", self.file)?,
        }
        if self.is_good() { Ok(()) } else { write!(f, ", damaged") }
    }
}

/// How closely snapshots are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Heads and ends.
    Ends,
    /// Every chunk.
    Everything,
}

/// Looks at all published snapshots of a data folder, by group, the newest first.
pub(super) fn look(data: &Path, world: &World, how: Look) -> Vec<SnapshotFile> {
    let mut found = Vec::new();
    walk(&*world.disk, data, &mut |snapshot, opened| {
        let mut snapshot = snapshot;
        if let (Look::Everything, Some((raw, file))) = (how, opened) {
            let faults = (0..raw.chunks()).filter_map(|number| read_chunk(raw, file, number).err());
            snapshot.faults.extend(faults);
        }
        found.push(snapshot);
    });
    let index = |snapshot: &SnapshotFile| snapshot.last.as_ref().map_or(0, |last| last.index);
    found.sort_by_key(|snapshot| (snapshot.group, std::cmp::Reverse(index(snapshot))));
    found
}

/// A snapshot whose head and end are good.
type Opened<'a> = Option<(&'a Raw, &'a dyn DiskFile)>;

/// Shows each published snapshot, with its file if its head and end are good.
fn walk(disk: &dyn Disk, data: &Path, show: &mut dyn FnMut(SnapshotFile, Opened<'_>)) {
    let list = |path: &Path| match disk.list(path) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(SnapshotError::io("list", path, error)),
    };
    let bad =
        |group, file: String, fault| SnapshotFile { group, file, last: None, bytes: 0, chunks: 0, faults: vec![fault] };
    let groups = match list(&data.join(FOLDER)) {
        Ok(groups) => groups,
        Err(fault) => return show(bad(0, FOLDER.to_string(), fault), None),
    };
    for (group, folder) in groups.iter().filter_map(|entry| Some((group_of_name(&entry.name)?, &entry.name))) {
        let folder = format!("{FOLDER}/{folder}");
        let entries = match list(&data.join(&folder)) {
            Ok(entries) => entries,
            Err(fault) => {
                show(bad(group, folder, fault), None);
                continue;
            }
        };
        for entry in entries.iter().filter(|entry| entry.name.ends_with(".snap")) {
            let name = format!("{folder}/{}", entry.name);
            let path = data.join(&name);
            let file = disk.open(&path, Access::Read).map_err(|error| SnapshotError::io("open", &path, error));
            match file.and_then(|file| Ok((read_ends(&path, &*file)?, file))) {
                Ok((raw, file)) => {
                    let last = RawLogId { leader: RawLeader(raw.leader.clone()), index: raw.index };
                    let (bytes, chunks) = (raw.end.bytes, raw.chunks());
                    let good = SnapshotFile { group, file: name, last: Some(last), bytes, chunks, faults: Vec::new() };
                    show(good, Some((&raw, &*file)));
                }
                Err(fault) => show(bad(group, name, fault), None),
            }
        }
    }
}

/// Copies every snapshot that is good to its last byte into another data folder; returns all, with what was wrong.
pub(super) fn copy(from: &Path, to: &Path, world: &World) -> Vec<SnapshotFile> {
    let disk = &*world.disk;
    let mut found = look(from, world, Look::Everything);
    for snapshot in found.iter_mut().filter(|snapshot| snapshot.is_good()) {
        if let Err(fault) = copy_one(disk, from, to, &snapshot.file) {
            snapshot.faults.push(fault);
        }
    }
    found
}

fn copy_one(disk: &dyn Disk, from: &Path, to: &Path, name: &str) -> Result<(), SnapshotError> {
    let mut made = to.to_path_buf();
    let folders = Path::new(name).parent().into_iter().flat_map(Path::components);
    for part in folders {
        let parent = made.clone();
        made.push(part);
        match disk.create_dir(&made) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SnapshotError::io("create", &made, error));
            }
            _ => disk.sync_dir(&parent).map_err(|error| SnapshotError::io("sync", &parent, error))?,
        }
    }
    let (old, new) = (from.join(name), to.join(name));
    let source = disk.open(&old, Access::Read).map_err(|error| SnapshotError::io("open", &old, error))?;
    let target = disk.open(&new, Access::Create).map_err(|error| SnapshotError::io("create", &new, error))?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = duramen_journal::disk::read_full_at(&*source, &mut buffer, at);
        let read = read.map_err(|error| SnapshotError::io("read", &old, error))?;
        if read == 0 {
            break;
        }
        write_all_at(&*target, &buffer[..read], at).map_err(|error| SnapshotError::io("write", &new, error))?;
        at += read as u64;
    }
    target.sync_data().map_err(|error| SnapshotError::io("sync", &new, error))?;
    disk.sync_dir(&made).map_err(|error| SnapshotError::io("sync", &made, error))
}
