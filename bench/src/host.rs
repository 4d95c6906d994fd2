//! What the harness asks of the machine: a scratch folder, the file system's kind, device traffic, memory.
//!
//! Everything here is Linux's /proc and /sys read as text. Nothing that identifies the machine (paths, device names,
//! host names) may leave this module: reports get published.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::Outcome;

/// A folder of this run, removed when dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Creates a folder with a fresh name in `parent`.
    pub fn create(parent: &Path) -> Outcome<Scratch> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("duramen-bench-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Scratch { path }),
                // Left behind by a killed run whose process number came round again.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("cannot create a folder in {}: {error}", parent.display()).into()),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is only litter, and a drop has nobody to tell.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Waits until the file system has written what earlier runs left in the page cache: the next one is not to pay for it.
pub fn settle(folder: &Path) -> Outcome<()> {
    rustix::fs::syncfs(fs::File::open(folder)?)?;
    Ok(())
}

/// What a report says about where the figures were measured.
pub struct Host {
    /// The file system, its journal named, and whether it lies on a loop device.
    pub file_system: String,
    /// Kernel release.
    pub kernel: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// The device under the folder, if it is a loop device of its own.
    pub device: Option<Device>,
}

impl Host {
    /// Looks at the folder's file system and the machine.
    pub fn inspect(folder: &Path) -> Outcome<Host> {
        let number = fs::metadata(folder)?.dev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let kind = mount_kind(&fs::read_to_string("/proc/self/mountinfo")?, major, minor)
            .unwrap_or_else(|| "unknown file system".to_owned());
        let system_folder = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let device_name = fs::read_link(&system_folder)
            .ok()
            .and_then(|target| target.file_name().map(|name| name.to_string_lossy().into_owned()));
        let on_loop = device_name.as_deref().is_some_and(|name| name.starts_with("loop"));
        let file_system = describe_file_system(&kind, device_name.as_deref(), on_loop);
        let device = on_loop.then(|| Device { statistics: system_folder.join("stat") });
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Host { file_system, kernel, processors, device })
    }
}

/// Finds the type of the mount of this device in the text of /proc/self/mountinfo.
fn mount_kind(mount_information: &str, major: u32, minor: u32) -> Option<String> {
    let wanted = format!("{major}:{minor}");
    mount_information.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let device = front.split(' ').nth(2)?;
        (device == wanted).then(|| back.split(' ').next().unwrap_or_default().to_owned())
    })
}

fn describe_file_system(kind: &str, device_name: Option<&str>, on_loop: bool) -> String {
    let mut text = kind.to_owned();
    if kind == "ext4" {
        let has_journal = device_name.is_some_and(|name| Path::new(&format!("/proc/fs/jbd2/{name}-8")).exists());
        text.push_str(if has_journal { " with a journal" } else { " without a journal" });
    }
    if on_loop {
        text.push_str(", loop-mounted");
    }
    text
}

/// A block device that belongs to the benchmark alone, so that its counters are the benchmark's.
pub struct Device {
    statistics: PathBuf,
}

/// Writes that reached a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes written.
    pub bytes: u64,
    /// Write requests and flushes.
    pub requests: u64,
}

impl Traffic {
    /// What came since an earlier reading.
    pub fn since(self, earlier: Traffic) -> Traffic {
        Traffic { bytes: self.bytes - earlier.bytes, requests: self.requests - earlier.requests }
    }
}

impl Device {
    /// Reads the counters.
    pub fn traffic(&self) -> Outcome<Traffic> {
        parse_traffic(&fs::read_to_string(&self.statistics)?).ok_or_else(|| "unknown format of block statistics".into())
    }
}

/// Fields of the kernel's Documentation/block/stat.rst: 5 is write I/Os, 7 write sectors of 512 bytes. An empty flush
/// is counted among the write I/Os already (seen: 2.0 for a page and its fdatasync), so the flush field is left out.
fn parse_traffic(text: &str) -> Option<Traffic> {
    let fields: Vec<u64> = text.split_whitespace().map_while(|field| field.parse().ok()).collect();
    Some(Traffic { bytes: fields.get(6)? * 512, requests: *fields.get(4)? })
}

/// Bytes that this process caused to be written, from /proc/self/io: pages are counted when they become dirty.
pub fn process_write_bytes() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let value = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(value.ok_or("/proc/self/io does not count bytes here")?.trim().parse()?)
}

/// Resident memory of this process, from /proc/self/statm.
pub fn resident_bytes() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).ok_or("/proc/self/statm has no second field")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// The mean number of running or waiting threads of the whole machine over the last minute: what else was going on.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_goes_away() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("file"), b"x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn the_mount_of_a_device_is_found_by_number() {
        let text = "22 1 254:0 / / rw shared:1 - ext4 /dev/x rw\n30 22 7:0 / /mnt rw - xfs /dev/y rw\n";
        assert_eq!(mount_kind(text, 7, 0).as_deref(), Some("xfs"));
        assert_eq!(mount_kind(text, 254, 0).as_deref(), Some("ext4"));
        assert_eq!(mount_kind(text, 1, 1), None);
    }

    #[test]
    fn block_statistics_are_read_by_position() {
        let text = " 1 0 8 0 20 3 400 5 0 6 7 0 0 0 0 9 2\n";
        assert_eq!(parse_traffic(text), Some(Traffic { bytes: 400 * 512, requests: 20 }));
        assert_eq!(parse_traffic("1 2"), None);
    }

    #[test]
    fn this_process_has_memory_and_a_file_system() {
        assert!(resident_bytes().unwrap() > 100_000);
        assert!(!Host::inspect(&std::env::temp_dir()).unwrap().file_system.is_empty());
    }
}
