//! The safe ways to make pages durable, and the probe that finds the fastest one on this file system.
//!
//! Safe means: durable on return by the documentation of the system call, the flush of the device's cache included.
//! `sync_file_range` and O_DIRECT alone are not, and are not tried.

use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;

use super::pages::{PAGE_BYTES, Pages};
use crate::engine::Outcome;

/// The size of a file that the probe overwrites.
const PROBE_BYTES: u64 = 1 << 20;

/// A safe way to make pages durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMethod {
    /// A write into the page cache and fdatasync.
    DataSync,
    /// A write to a file that was opened with O_DIRECT and O_DSYNC.
    Direct,
    /// A write into the page cache with RWF_DSYNC.
    WriteThrough,
}

impl SyncMethod {
    /// All of them, the most widely supported first.
    pub const ALL: [SyncMethod; 3] = [SyncMethod::DataSync, SyncMethod::Direct, SyncMethod::WriteThrough];

    /// The name that the report shows.
    pub fn name(self) -> &'static str {
        match self {
            SyncMethod::DataSync => "fdatasync",
            SyncMethod::Direct => "O_DIRECT|O_DSYNC",
            SyncMethod::WriteThrough => "RWF_DSYNC",
        }
    }

    /// Opens a file of this path for durable writes by this method.
    pub fn open(self, path: &Path) -> Outcome<File> {
        let flags = match self {
            SyncMethod::Direct => (OFlags::DIRECT | OFlags::DSYNC).bits() as i32,
            SyncMethod::DataSync | SyncMethod::WriteThrough => 0,
        };
        Ok(OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?)
    }

    /// Writes whole pages to a file that [`SyncMethod::open`] opened; they are durable on return.
    pub fn write(self, file: &File, pages: &[u8], offset: u64) -> Outcome<()> {
        match self {
            SyncMethod::Direct => file.write_all_at(pages, offset)?,
            SyncMethod::DataSync => {
                file.write_all_at(pages, offset)?;
                file.sync_data()?;
            }
            SyncMethod::WriteThrough => {
                let mut written = 0;
                while written < pages.len() {
                    let rest = [IoSlice::new(&pages[written..])];
                    let count = rustix::io::pwritev2(file, &rest, offset + written as u64, ReadWriteFlags::DSYNC)?;
                    if count == 0 {
                        return Err("the device took no bytes".into());
                    }
                    written += count;
                }
            }
        }
        Ok(())
    }
}

/// Creates a file of this size, zero-filled, with everything about it durable: later writes change no metadata.
pub fn preallocate(path: &Path, bytes: u64) -> Outcome<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < bytes {
        let count = zeros.len().min((bytes - offset) as usize);
        file.write_all_at(&zeros[..count], offset)?;
        offset += count as u64;
    }
    file.sync_all()?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// The median time of one durable page by each method that works here, the fastest first. The methods take turns, so
/// that a busy moment of the disk hits all of them.
pub fn probe(folder: &Path, rounds: usize) -> Outcome<Vec<(SyncMethod, Duration)>> {
    let mut page = Pages::with_capacity(PAGE_BYTES);
    page.extend(PAGE_BYTES).fill(0xa5);
    // A file each: direct and cached writes to one file would throw out each other's pages.
    let mut candidates = Vec::new();
    for method in SyncMethod::ALL {
        let path = folder.join(format!("probe-{method:?}"));
        preallocate(&path, PROBE_BYTES)?;
        if let Ok(file) = method.open(&path)
            && method.write(&file, page.whole_pages(), 0).is_ok()
        {
            candidates.push((method, file, Vec::with_capacity(rounds)));
        }
    }
    for round in 0..rounds.max(1) as u64 {
        for (method, file, times) in &mut candidates {
            let start = Instant::now();
            method.write(file, page.whole_pages(), round * PAGE_BYTES as u64 % PROBE_BYTES)?;
            times.push(start.elapsed());
        }
    }
    let medians = candidates.into_iter().map(|(method, _, mut times)| {
        times.sort_unstable();
        (method, times[times.len() / 2])
    });
    let mut found: Vec<_> = medians.collect();
    found.sort_by_key(|(_, time)| *time);
    if found.is_empty() { Err("no sync method works in this folder".into()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Scratch;

    #[test]
    fn the_probe_finds_a_method_and_every_method_found_writes_the_same_bytes() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let found = probe(scratch.path(), 3).unwrap();
        assert!(found.iter().any(|(method, _)| *method == SyncMethod::DataSync), "fdatasync works everywhere");
        for (method, _) in found {
            let path = scratch.path().join("file");
            preallocate(&path, 3 * PAGE_BYTES as u64).unwrap();
            let mut pages = Pages::with_capacity(PAGE_BYTES);
            pages.extend(5).copy_from_slice(b"bytes");
            method.write(&method.open(&path).unwrap(), pages.whole_pages(), PAGE_BYTES as u64).unwrap();
            let stored = std::fs::read(&path).unwrap();
            assert_eq!(stored.len(), 3 * PAGE_BYTES, "{method:?} must not change the size");
            assert_eq!(&stored[PAGE_BYTES..PAGE_BYTES + 6], b"bytes\0", "{method:?}");
        }
    }
}
