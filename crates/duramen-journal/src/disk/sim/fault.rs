//! The faults that a test can order, and when each strikes. Owns the plan; what a fault does to contents is done by the
//! disk. Pure.

use std::io;
use std::path::Path;

/// The operating system's codes, as they arrive in an [`std::io::Error`].
pub mod errno {
    use rustix::io::Errno;

    /// A medium that does not answer.
    pub const EIO: i32 = Errno::IO.raw_os_error();
    /// No space left.
    pub const ENOSPC: i32 = Errno::NOSPC.raw_os_error();
    /// The user's quota is used up.
    pub const EDQUOT: i32 = Errno::DQUOT.raw_os_error();
    /// A signal came in between.
    pub const EINTR: i32 = Errno::INTR.raw_os_error();
    /// Not now.
    pub const EAGAIN: i32 = Errno::AGAIN.raw_os_error();
    /// The file system is mounted read-only.
    pub const EROFS: i32 = Errno::ROFS.raw_os_error();
    /// Permission denied.
    pub const EACCES: i32 = Errno::ACCESS.raw_os_error();
    /// No such file.
    pub const ENOENT: i32 = Errno::NOENT.raw_os_error();
    /// The name is taken.
    pub const EEXIST: i32 = Errno::EXIST.raw_os_error();
    /// A file where a directory is needed.
    pub const ENOTDIR: i32 = Errno::NOTDIR.raw_os_error();
    /// A directory where a file is needed.
    pub const EISDIR: i32 = Errno::ISDIR.raw_os_error();
    /// An argument that makes no sense.
    pub const EINVAL: i32 = Errno::INVAL.raw_os_error();
    /// The file is not open for this.
    pub const EBADF: i32 = Errno::BADF.raw_os_error();
    /// The directory still holds something.
    pub const ENOTEMPTY: i32 = Errno::NOTEMPTY.raw_os_error();
    /// The method is not supported.
    pub const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();
}

pub(super) fn error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// A call of the disk interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `open` of an existing file.
    Open,
    /// `open` of a new file.
    Create,
    /// `create_dir`.
    CreateDirectory,
    /// `list`.
    List,
    /// `rename`.
    Rename,
    /// `remove`.
    Remove,
    /// `sync_dir`.
    SyncDirectory,
    /// `lock`.
    Lock,
    /// `read_at`.
    Read,
    /// `write_at`.
    Write,
    /// `sync_data`.
    SyncData,
    /// `write_sync`.
    WriteSync,
    /// `allocate`.
    Allocate,
    /// `drop_cache`.
    DropCache,
}

impl Operation {
    /// Whether it can change what a crash leaves behind.
    pub fn changes_disk(self) -> bool {
        !matches!(self, Self::Open | Self::List | Self::Read | Self::DropCache)
    }

    fn is_sync(self) -> bool {
        matches!(self, Self::SyncData | Self::WriteSync | Self::SyncDirectory)
    }
}

/// How a device goes on after a failed sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Personality {
    /// The next sync returns success, but the dirty pages of the failed one were marked clean and are never written;
    /// the cache shows them until they are evicted (ext4, xfs).
    Once,
    /// The file system turns read-only (ext4 with `errors=remount-ro`).
    ReadOnly,
    /// Every later sync fails too (btrfs after an aborted transaction).
    Forever,
}

/// Which of the sectors reached the device before a sync failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Survivors {
    /// None of them.
    Nothing,
    /// Each with an even chance, by the disk's seed.
    Some,
    /// All of them.
    Everything,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The call fails with this code of the operating system and changes nothing.
    Error(i32),
    /// A read or a write handles at most so many bytes.
    Short(usize),
    /// A write returns success for zero bytes.
    Zero,
    /// A write looks right in the cache, but never reaches the device, whatever sync follows.
    Lost,
    /// A write reaches the device at this offset of the file instead, at once; the cache shows it where it should be.
    Misdirected(u64),
    /// A sync returns success and did nothing; the changes stay pending.
    LyingSync,
    /// A sync fails.
    FailedSync {
        /// The code that it returns.
        code: i32,
        /// What follows.
        personality: Personality,
        /// What was written all the same.
        survivors: Survivors,
    },
    /// The file system turns read-only, beginning with this call.
    ReadOnly,
}

impl Effect {
    fn applies_to(self, operation: Operation) -> bool {
        match self {
            Self::Error(_) => true,
            Self::Short(_) => matches!(operation, Operation::Read | Operation::Write | Operation::WriteSync),
            Self::Zero => matches!(operation, Operation::Write | Operation::WriteSync),
            Self::Lost | Self::Misdirected(_) => operation == Operation::Write,
            Self::LyingSync | Self::FailedSync { .. } => operation.is_sync(),
            Self::ReadOnly => operation.changes_disk(),
        }
    }
}

/// An effect, and when it strikes: at the first call that fits, once, unless told otherwise.
#[derive(Clone, Debug)]
pub struct Fault {
    effect: Effect,
    operation: Option<Operation>,
    name: String,
    number: Option<u64>,
    skip: u64,
    times: u64,
}

impl Fault {
    /// A fault that strikes once, at the next call to which it can apply.
    pub fn new(effect: Effect) -> Self {
        Self { effect, operation: None, name: String::new(), number: None, skip: 0, times: 1 }
    }

    /// Only at this kind of call.
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only for paths that contain this text.
    pub fn named(mut self, part: &str) -> Self {
        self.name = part.to_owned();
        self
    }

    /// Only at the call with this number; a disk counts its calls from 1 ([`super::SimDisk::operations`]).
    pub fn at(mut self, number: u64) -> Self {
        self.number = Some(number);
        self
    }

    /// Lets this many fitting calls pass first.
    pub fn skip(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// Strikes this often; `u64::MAX` is for ever.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Whether it strikes now; counts down.
    pub(super) fn strikes(&mut self, operation: Operation, path: &Path, number: u64) -> Option<Effect> {
        let fits = self.times > 0
            && self.effect.applies_to(operation)
            && self.operation.is_none_or(|wanted| wanted == operation)
            && self.number.is_none_or(|wanted| wanted == number)
            && (self.name.is_empty() || path.to_string_lossy().contains(&self.name));
        if !fits {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times = self.times.saturating_sub(u64::from(self.times != u64::MAX));
        Some(self.effect)
    }
}
