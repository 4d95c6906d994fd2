//! The only door to files, time, waiting and entropy. Owns the two interfaces through which the journal, and every
//! store on it, meets the outside: [`Disk`] with its [`DiskFile`]s, and [`Environment`]. Knows nothing of journals:
//! no format, no segment, no record. The real pair lives in [`real`], the simulated one in `sim` (feature `sim`).
//!
//! Errors are plain [`std::io::Error`]s with the operating system's code kept, so that a caller can tell a full disk
//! from a broken one.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::AtomicU32;

pub mod real;
#[cfg(feature = "sim")]
pub mod sim;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing; an existing one is an error (`AlreadyExists`).
    Create,
}

/// What a directory holds under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without its directory. A name that is not UTF-8 is given with replacement characters.
    pub name: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// The length of a file, in bytes.
    pub bytes: u64,
}

/// How bytes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncMethod {
    /// `pwrite`, then `fdatasync`.
    DataSync,
    /// `pwritev2` with `RWF_DSYNC`: one call writes and syncs.
    WriteSync,
    /// A second descriptor opened `O_DIRECT | O_DSYNC`. Buffers, offsets and lengths are multiples of 4096.
    Direct,
}

/// What a directory's file system is and allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// The kind, as `statfs` names it: `ext4`, `xfs`, `btrfs`, `tmpfs`, …, or its magic in hexadecimal.
    pub kind: String,
    /// Never overwrites in place (btrfs, zfs, bcachefs, f2fs counts not): preallocating and recycling harm there.
    pub copy_on_write: bool,
    /// Forgets everything at a power cut (tmpfs, ramfs).
    pub volatile: bool,
    /// Reached over a network: locks and syncs mean what the server makes of them.
    pub network: bool,
    /// Free bytes for an ordinary user.
    pub free_bytes: u64,
}

/// A place where files live. All paths are given by the caller; a disk never invents one.
///
/// What is durable: contents after [`DiskFile::sync_data`], names after [`Disk::sync_dir`], nothing else.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates one directory, mode 0700. The parent must exist; the name is durable after `sync_dir` of the parent.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Lists a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Opens a file; one that is created has mode 0600.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file or a directory, replacing a file of the new name atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Readers that hold it open keep reading it.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes all names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the exclusive lock on a file, which is created when missing. Held by someone else: `WouldBlock` at once.
    /// The lock ends when the value is dropped or its process dies.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// Whether someone holds the exclusive lock on a file. Creates nothing: a missing file is not locked. Safe beside an
    /// attempt to take the lock, which it must not make fail.
    fn is_locked(&self, path: &Path) -> io::Result<bool>;
    /// Tells what file system a directory lies on.
    fn file_system(&self, path: &Path) -> io::Result<FileSystem>;
}

/// A held lock; dropping it releases.
pub trait Lock: Send + Sync + fmt::Debug {}

/// An open file. All methods take `&self`: positions travel with each call.
///
/// A sync's error is reported once per open file by the kernel: write and sync through the same value.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads at an offset; fewer bytes than asked are possible, 0 means the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at an offset into the cache; fewer bytes than asked are possible. `Interrupted` may be returned.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes all written contents, and the size needed to read them, durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Writes `bytes` at `offset` such that they are durable on return, by a method other than `DataSync`. Fewer bytes
    /// than asked are possible (only those are durable). A method that this file cannot do: `Unsupported`, nothing
    /// written. It covers these bytes only, not earlier writes.
    fn write_sync(&self, bytes: &[u8], offset: u64, method: SyncMethod) -> io::Result<usize>;
    /// The file's length in bytes.
    fn bytes(&self) -> io::Result<u64>;
    /// Reserves space for, and grows the file to, `bytes` (`fallocate`; `set_len` where that is not supported). Contents
    /// of the grown part read as zeros but are not "written": see PHYSICS on unwritten extents.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Begins to write cached bytes of a range to the device, and does not wait: a hint, so that a later sync finds less
    /// to do. Makes nothing durable, and tells no error.
    fn start_writeback(&self, _offset: u64, _bytes: u64) {}
    /// Says that reads will come in order, so that the disk reads ahead of them: a hint for a reader that walks.
    fn expect_sequential_reads(&self) {}
    /// Drops clean cached pages, so that the next read comes from the device. A hint: may do nothing.
    fn drop_cache(&self) -> io::Result<()>;
    /// The same for the pages that lie wholly in a range; may drop more.
    fn drop_cache_range(&self, _offset: u64, _bytes: u64) -> io::Result<()> {
        self.drop_cache()
    }
}

/// A thread that an [`Environment`] started.
pub trait Worker: Send + Sync {
    /// Waits until the thread has ended. Never panics, also when the thread did.
    fn join(self: Box<Self>);
}

/// Time, waiting and entropy. The only source of each.
pub trait Environment: Send + Sync + fmt::Debug {
    /// Monotonic time since some fixed moment.
    fn now(&self) -> Duration;
    /// Time since 1970-01-01 00:00 UTC as the machine's clock has it, which may be wrong, jump and not be set. Nothing in a
    /// journal depends on it; it is here for the stores on journals. `None`: there is no such clock.
    fn wall(&self) -> Option<Duration> {
        None
    }
    /// What tells this boot of the machine from all others. `None`: nothing does.
    fn boot_id(&self) -> Option<[u8; 16]> {
        None
    }
    /// Fills with unpredictable bytes (deterministic in the simulation).
    fn entropy(&self, out: &mut [u8]) -> io::Result<()>;
    /// Starts a background thread. `Ok(None)`: this environment has none, and the work is dropped unrun; the journal
    /// then does background work inside the calls of its user and in `Journal::tick`.
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Option<Box<dyn Worker>>>;
    /// Blocks while `word` holds `expected`, at most `timeout`; may return early for no reason (a futex wait). Without
    /// threads: advances the simulated clock by the timeout and returns.
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>);
    /// Wakes up to `count` waiters of `word`.
    fn wake(&self, word: &AtomicU32, count: u32);
}

/// The disk and the environment that belong together.
#[derive(Clone, Debug)]
pub struct World {
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Time, waiting, entropy.
    pub environment: Arc<dyn Environment>,
}

impl World {
    /// The real disk with the real environment.
    pub fn real() -> World {
        real::world()
    }
}

/// Writes all of `bytes`, finishing short writes and interruptions. A write of zero bytes is an error (`WriteZero`).
pub fn write_all_at(file: &dyn DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                if crate::planted::is(crate::planted::Bug::ShortWriteIgnored) {
                    return Ok(());
                }
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(error) if retryable(&error) => {
                if crate::planted::is(crate::planted::Bug::InterruptedTakenAsDone) {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; returns the count of bytes read.
pub fn read_full_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if retryable(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Whether an error asks for the same call once more: EINTR and EAGAIN.
pub fn retryable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Whether an error means that space or quota ran out: ENOSPC, EDQUOT, EFBIG.
pub fn out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
