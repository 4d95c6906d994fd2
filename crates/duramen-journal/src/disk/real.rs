//! The kernel behind the two interfaces: [`RealDisk`] and [`RealEnvironment`], and [`world`], which pairs them. Owns
//! every system call of this crate: files, clocks, randomness, threads and futexes. Must not know what is stored:
//! no format, no segment, no record.
//!
//! The values here hold no lock and start no thread unasked. Each system call is made once and its error is passed on
//! with the operating system's code, `EINTR` of writes and syncs included: whether a call may be repeated is the
//! caller's decision (a failed sync must never be, row 11 of the fault table). Opening, locking and reserving, which
//! have no such history, are repeated after `EINTR`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the one place that may call files, clocks, randomness and threads; everyone else goes through it"
)]

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::fs::{Advice, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};
use rustix::rand::GetRandomFlags;
use rustix::time::ClockId;

use super::{Access, Disk, DiskFile, Entry, Environment, FileSystem, Lock, SyncMethod, Worker, World};
use crate::sync::AtomicU32;

/// What [`SyncMethod::Direct`] asks of buffers, offsets and lengths. Many devices take 512, but 4096 holds everywhere.
const DIRECT_ALIGNMENT_BYTES: usize = 4096;

/// How often the lock is asked for again: a reader that looks whether it is held holds it itself, for microseconds.
const LOCK_ATTEMPTS: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The kernel's disk together with the kernel's clock, randomness and threads.
pub fn world() -> World {
    World { disk: Arc::new(RealDisk::new()), environment: Arc::new(RealEnvironment) }
}

/// The permission bits of what a [`RealDisk`] creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// For directories; 0700 unless widened.
    pub directory: u32,
    /// For files, locks included; 0600 unless widened.
    pub file: u32,
}

impl Default for Modes {
    fn default() -> Self {
        Modes { directory: 0o700, file: 0o600 }
    }
}

/// The files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk {
    modes: Modes,
}

impl RealDisk {
    /// A disk that creates directories with mode 0700 and files with mode 0600.
    pub fn new() -> Self {
        RealDisk::default()
    }

    /// A disk that creates with these modes, so that for example a group may read. They hold exactly: other than the
    /// default modes, they are not narrowed by the process's umask, because someone asked for them by number.
    pub fn with_modes(modes: Modes) -> Self {
        RealDisk { modes }
    }

    /// Opens a regular file with these flags, and refuses everything else that can stand under a name.
    fn open_regular(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        // O_NONBLOCK, because opening a FIFO that someone left there would otherwise wait for its other end for ever.
        // It means nothing for a regular file.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let mode = Mode::from_raw_mode(self.modes.file as rustix::fs::RawMode);
        let file = File::from(retry_on_intr(|| rustix::fs::open(path, flags, mode))?);
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            let message = format!("{} is a directory, not a regular file", path.display());
            return Err(io::Error::new(io::ErrorKind::IsADirectory, message));
        }
        if !metadata.is_file() {
            let message = format!("{} is a FIFO, a device or a socket, not a regular file", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(file)
    }
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(self.modes.directory).create(path)?;
        if self.modes.directory != Modes::default().directory {
            // What mkdir inherited (a set-group-id parent) stays: the option speaks of permissions only.
            let inherited = fs::metadata(path)?.mode() & 0o7000;
            fs::set_permissions(path, fs::Permissions::from_mode(inherited | self.modes.directory))?;
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for found in fs::read_dir(path)? {
            let found = found?;
            // A link counts as what it leads to, since `open` follows it too; one that leads nowhere, as itself.
            let metadata = match fs::metadata(found.path()).or_else(|_| found.metadata()) {
                Ok(metadata) => metadata,
                // Removed between the listing and the question: it is not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let directory = metadata.is_dir();
            entries.push(Entry {
                name: found.file_name().to_string_lossy().into_owned(),
                directory,
                bytes: if directory { 0 } else { metadata.len() },
            });
        }
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
            Access::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        let file = self.open_regular(path, flags)?;
        if access == Access::Create && self.modes.file != Modes::default().file {
            file.set_permissions(fs::Permissions::from_mode(self.modes.file))?;
        }
        Ok(Box::new(RealFile { file, writable: access != Access::Read, direct: OnceLock::new() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
        Ok(rustix::fs::fsync(directory)?)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        // Opened for writing, because a network file system turns flock into a byte-range lock, which asks for that.
        let file = self.open_regular(path, OFlags::RDWR | OFlags::CREATE)?;
        let mut attempts_left = LOCK_ATTEMPTS;
        loop {
            match retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if attempts_left > 0 => attempts_left -= 1,
                Err(error) => return Err(error.into()),
            }
            thread::sleep(LOCK_PAUSE);
        }
        if self.modes.file != Modes::default().file {
            file.set_permissions(fs::Permissions::from_mode(self.modes.file))?;
        }
        Ok(Box::new(RealLock { file }))
    }

    /// Takes the shared lock for some microseconds; [`RealDisk::lock`] waits them out. Of the ways to ask without taking,
    /// `F_OFD_GETLK` sees no `flock`, and `/proc/locks` none of another process namespace.
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let file = match self.open_regular(path, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        match retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)) {
            Ok(()) => {
                rustix::fs::flock(&file, FlockOperation::Unlock)?;
                Ok(false)
            }
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        let magic = retry_on_intr(|| rustix::fs::statfs(path))?.f_type;
        let space = retry_on_intr(|| rustix::fs::statvfs(path))?;
        // The field is signed or unsigned, of 32 or 64 bits, by architecture; the magic is its lower 32 bits.
        let nature = nature_of(magic as u32);
        Ok(FileSystem {
            kind: nature.kind,
            copy_on_write: nature.trait_of == Trait::CopyOnWrite,
            volatile: nature.trait_of == Trait::Volatile,
            network: nature.trait_of == Trait::Network,
            free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        })
    }
}

/// The one property that sets a file system apart from an ordinary one; none of those known has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trait {
    Ordinary,
    CopyOnWrite,
    Volatile,
    Network,
}

/// A file system's name and its property.
struct Nature {
    kind: String,
    trait_of: Trait,
}

/// What the kernel's magic numbers (`linux/magic.h`, and the headers of zfs, bcachefs and Lustre) stand for. An unknown
/// one counts as ordinary and is named by its number.
fn nature_of(magic: u32) -> Nature {
    let (kind, trait_of) = match magic {
        // ext2 and ext3 have the same magic, and are served by the same driver.
        0x0000_ef53 => ("ext4", Trait::Ordinary),
        0x5846_5342 => ("xfs", Trait::Ordinary),
        // Log-structured, yet it has in-place modes for files that are overwritten: the interface counts it as ordinary.
        0xf2f5_2010 => ("f2fs", Trait::Ordinary),
        0x3153_464a => ("jfs", Trait::Ordinary),
        0x5265_4973 => ("reiserfs", Trait::Ordinary),
        0x0000_4d44 => ("vfat", Trait::Ordinary),
        0x2011_bab0 => ("exfat", Trait::Ordinary),
        0x7366_746e => ("ntfs3", Trait::Ordinary),
        // What lies beneath an overlay cannot be asked for here.
        0x794c_7630 => ("overlayfs", Trait::Ordinary),
        0x0000_f15f => ("ecryptfs", Trait::Ordinary),
        0x7371_7368 => ("squashfs", Trait::Ordinary),
        0xe0f5_e1e2 => ("erofs", Trait::Ordinary),
        0x9123_683e => ("btrfs", Trait::CopyOnWrite),
        0x2fc1_2fc1 => ("zfs", Trait::CopyOnWrite),
        0xca45_1a4e => ("bcachefs", Trait::CopyOnWrite),
        0x0000_3434 => ("nilfs2", Trait::CopyOnWrite),
        0x2405_1905 => ("ubifs", Trait::CopyOnWrite),
        0x0000_72b6 => ("jffs2", Trait::CopyOnWrite),
        0x0102_1994 => ("tmpfs", Trait::Volatile),
        0x8584_58f6 => ("ramfs", Trait::Volatile),
        0x0000_6969 => ("nfs", Trait::Network),
        0xff53_4d42 => ("cifs", Trait::Network),
        0xfe53_4d42 => ("smb2", Trait::Network),
        0x0000_517b => ("smb", Trait::Network),
        // Not always a network, but always another process that decides what a sync and a lock mean.
        0x6573_5546 => ("fuse", Trait::Network),
        0x0102_1997 => ("9p", Trait::Network),
        0x00c3_6400 => ("ceph", Trait::Network),
        0x0bd0_0bd0 => ("lustre", Trait::Network),
        0x0116_1970 => ("gfs2", Trait::Network),
        0x7461_636f => ("ocfs2", Trait::Network),
        0x5346_414f | 0x6b41_4653 => ("afs", Trait::Network),
        0x7375_7245 => ("coda", Trait::Network),
        0x786f_4256 => ("vboxsf", Trait::Network),
        unknown => {
            return Nature { kind: format!("{unknown:#x}"), trait_of: Trait::Ordinary };
        }
    };
    Nature { kind: kind.to_owned(), trait_of }
}

/// A held `flock`. It belongs to the open file, which a child process shares between its fork and its exec.
#[derive(Debug)]
struct RealLock {
    file: File,
}

impl Lock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a child of another thread that has forked but not yet reached its
        // exec. An error cannot be told to anyone, and closing follows anyway.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// An open regular file.
///
/// Invariants: `direct`, once set, holds a descriptor of the same inode, or nothing if the file cannot have one.
#[derive(Debug)]
struct RealFile {
    file: File,
    writable: bool,
    /// The second descriptor, opened at the first direct write.
    direct: OnceLock<Option<File>>,
}

impl RealFile {
    /// `pwritev2` with `RWF_DSYNC`, since Linux 4.7.
    fn write_and_sync(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        rustix::io::pwritev2(&self.file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC).map_err(or_unsupported)
    }

    /// `pwrite` through the descriptor that bypasses the cache.
    fn write_direct(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let aligned = |value: usize| value.is_multiple_of(DIRECT_ALIGNMENT_BYTES);
        if !aligned(bytes.as_ptr().addr()) || !aligned(bytes.len()) || !offset.is_multiple_of(4096) {
            // Some kernels would take it, through the cache and slowly: the same answer everywhere is worth more.
            return Err(unsupported("a direct write needs a buffer, an offset and a length in multiples of 4096"));
        }
        if !self.writable {
            // The reopening below could gain a right that this descriptor does not have.
            return Err(Errno::BADF.into());
        }
        let Some(direct) = self.direct()? else {
            return Err(unsupported("this file cannot be opened for direct writes"));
        };
        rustix::io::pwrite(direct, bytes, offset).map_err(or_unsupported)
    }

    /// The second descriptor; nothing if the file system, or a missing `/proc`, refuses it for good.
    fn direct(&self) -> io::Result<Option<&File>> {
        if let Some(direct) = self.direct.get() {
            return Ok(direct.as_ref());
        }
        let opened = match reopen_direct(&self.file) {
            Ok(direct) => Some(direct),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM) => None,
            // Out of descriptors or memory, for example: that can pass.
            Err(other) => return Err(other.into()),
        };
        Ok(self.direct.get_or_init(|| opened).as_ref())
    }
}

/// Opens the inode behind a descriptor once more. By its name in `/proc` and not by its own, which may have been given
/// to another file since; a link there is followed to the very inode, also after it was renamed or removed.
fn reopen_direct(file: &File) -> Result<File, Errno> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::DSYNC | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let direct = retry_on_intr(|| rustix::fs::open(&path, flags, Mode::empty()))?;
    let (expected, found) = (rustix::fs::fstat(file)?, rustix::fs::fstat(&direct)?);
    if (expected.st_dev, expected.st_ino) != (found.st_dev, found.st_ino) {
        // Whatever is mounted on /proc is no procfs.
        return Err(Errno::NOENT);
    }
    Ok(File::from(direct))
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not `File::sync_data`, which repeats an interrupted call: only the caller may decide that.
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn write_sync(&self, bytes: &[u8], offset: u64, method: SyncMethod) -> io::Result<usize> {
        if i64::try_from(offset).is_err() {
            // The kernel takes an offset of -1 as "at the current position" in pwritev2.
            return Err(Errno::FBIG.into());
        }
        match method {
            SyncMethod::DataSync => Err(unsupported("`DataSync` is a write and a sync, not one call")),
            SyncMethod::WriteSync => self.write_and_sync(bytes, offset),
            SyncMethod::Direct => self.write_direct(bytes, offset),
        }
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            // To the kernel, reserving nothing is an error.
            return Ok(());
        }
        let before = self.bytes()?;
        match retry_on_intr(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes)) {
            Ok(()) => Ok(()),
            // `set_len` is for growing only: a file that is longer keeps its end.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if before < bytes => self.file.set_len(bytes),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => {
                // ext4 leaves what it could still reserve, and with it a longer file. Undo, so that nothing is
                // half-visible and the space is there for others (row 14 of the fault table); the first error counts.
                if self.writable && self.bytes().is_ok_and(|now| before < now && now <= bytes) {
                    let _ = self.file.set_len(before);
                }
                Err(error.into())
            }
        }
    }

    /// "Will not need" makes the kernel start writing what is dirty in the range, and is the only way to it that needs no
    /// unsafe code; pages that are being written stay in the cache.
    fn start_writeback(&self, offset: u64, bytes: u64) {
        if let Some(bytes) = NonZeroU64::new(bytes) {
            let _ = rustix::fs::fadvise(&self.file, offset, Some(bytes), Advice::DontNeed);
        }
    }

    /// "Sequential" and not "will need": the kernel then reads ahead by itself, without waiting, while each "will need" of 8
    /// MiB took 1.7 ms and left the device idle in between (64 MiB cold: 20 against 49 ms).
    fn expect_sequential_reads(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::Sequential);
    }

    fn drop_cache_range(&self, offset: u64, bytes: u64) -> io::Result<()> {
        match NonZeroU64::new(bytes) {
            Some(bytes) => Ok(rustix::fs::fadvise(&self.file, offset, Some(bytes), Advice::DontNeed)?),
            None => Ok(()),
        }
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }
}

/// How the kernel says that it, or this file system, does not know a way of writing. Nothing is written then.
fn or_unsupported(error: Errno) -> io::Error {
    match error {
        Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS => {
            unsupported("the file system does not know this way to write")
        }
        other => other.into(),
    }
}

fn unsupported(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, message)
}

/// The clock, the randomness, the threads and the futexes of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealEnvironment;

/// A wait is cut to this length, which its contract allows: a 32-bit kernel's seconds overflow at 68 years.
#[cfg(not(any(loom, shuttle)))]
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Environment for RealEnvironment {
    /// `CLOCK_MONOTONIC`: it starts at the machine's boot and is the same for all its processes.
    fn now(&self) -> Duration {
        let now = rustix::time::clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanoseconds)
    }

    fn wall(&self) -> Option<Duration> {
        let now = rustix::time::clock_gettime(ClockId::Realtime);
        Some(Duration::new(u64::try_from(now.tv_sec).ok()?, u32::try_from(now.tv_nsec).ok()?))
    }

    /// The kernel's own.
    fn boot_id(&self) -> Option<[u8; 16]> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits: Vec<u8> = text.bytes().filter_map(|byte| char::from(byte).to_digit(16).map(|d| d as u8)).collect();
        let pairs = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<u8>>();
        pairs.try_into().ok()
    }

    fn entropy(&self, out: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            let rest = &mut out[filled..];
            match retry_on_intr(|| rustix::rand::getrandom(&mut *rest, GetRandomFlags::empty()))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(())
    }

    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Option<Box<dyn Worker>>> {
        // The standard library panics on a zero byte in a name.
        let name = name.replace('\0', "");
        let handle = thread::Builder::new().name(name).spawn(work)?;
        Ok(Some(Box::new(RealWorker { handle })))
    }

    #[cfg(not(any(loom, shuttle)))]
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        use rustix::thread::futex;
        let timeout = timeout.map(|timeout| {
            let timeout = timeout.min(WAIT_MAX);
            futex::Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).expect("a day has fewer seconds than an i64 counts"),
                tv_nsec: futex::Nsecs::from(i32::try_from(timeout.subsec_nanos()).expect("below 10^9")),
            }
        });
        // Timed out, interrupted, or the word had changed already: each of them is a return, and none a failure.
        let _ = futex::wait(word, futex::Flags::PRIVATE, expected, timeout.as_ref());
    }

    /// Under a model checker the words are not the kernel's to watch. Models bring an environment of their own; this one
    /// only lets the crate compile, and an early return is within the contract.
    #[cfg(any(loom, shuttle))]
    fn wait(&self, _word: &AtomicU32, _expected: u32, _timeout: Option<Duration>) {
        thread::yield_now();
    }

    #[cfg(not(any(loom, shuttle)))]
    fn wake(&self, word: &AtomicU32, count: u32) {
        use rustix::thread::futex;
        // The kernel takes the count as signed: beyond its range stands for everyone.
        let count = count.min(i32::MAX as u32);
        // It can fail for a bad address only, and a reference is none.
        let _ = futex::wake(word, futex::Flags::PRIVATE, count);
    }

    /// See `wait`: nobody sleeps there.
    #[cfg(any(loom, shuttle))]
    fn wake(&self, _word: &AtomicU32, _count: u32) {}
}

/// A thread of this process.
struct RealWorker {
    handle: thread::JoinHandle<()>,
}

impl Worker for RealWorker {
    fn join(self: Box<Self>) {
        if self.handle.thread().id() == thread::current().id() {
            // The last owner of a journal can be dropped in the journal's own thread, by a completion's callback. A
            // thread cannot wait for itself, and the standard library panics on the attempt.
            return;
        }
        // The panic was reported when it happened; whoever depended on the thread learns of it from its own state.
        let _ = self.handle.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_numbers_have_one_property_each() {
        let property = |magic| nature_of(magic).trait_of;
        assert_eq!(property(0xef53), Trait::Ordinary);
        assert_eq!(property(0x9123_683e), Trait::CopyOnWrite);
        assert_eq!(property(0x2fc1_2fc1), Trait::CopyOnWrite);
        assert_eq!(property(0xf2f5_2010), Trait::Ordinary);
        assert_eq!(property(0x0102_1994), Trait::Volatile);
        assert_eq!(property(0x6969), Trait::Network);
        let unknown = nature_of(0xdead_beef);
        assert_eq!((unknown.kind.as_str(), unknown.trait_of), ("0xdeadbeef", Trait::Ordinary));
    }

    #[test]
    fn a_negative_magic_of_a_32_bit_kernel_is_the_same_number() {
        let signed = 0x9123_683e_u32 as i32;
        assert_eq!(nature_of(i64::from(signed) as u32).kind, "btrfs");
        assert_eq!(nature_of(signed as u32).kind, "btrfs");
    }
}
