//! The crate's one error. Owns the words in which a fault is told; each says what the caller can do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Sequence;
use crate::report::{Damage, Report};

/// What went wrong, with the evidence. Cloneable, because one failed commit fails many tickets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// An operation of the disk failed.
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Where in it, for a read.
        offset: Option<u64>,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// No space or quota left. Nothing of the append is visible; appending resumes by itself when space returns.
    NoSpace {
        /// Where space is missing.
        path: PathBuf,
    },
    /// The file system is read-only, or permissions are missing: opening for reading still works.
    ReadOnly {
        /// Where writing is refused.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// A write or a sync failed earlier: nothing more is written until the journal is reopened. Reading goes on.
    Poisoned {
        /// The first failure.
        cause: Arc<Error>,
    },
    /// The append was under way when the journal was poisoned: it may or may not be there after reopening.
    Unknown {
        /// The failure.
        cause: Arc<Error>,
    },
    /// The journal was closed, or dropped, before the append.
    Closed,
    /// Another process, or another part of this one, has the journal open for writing.
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// There is no journal at this place.
    Missing {
        /// The place.
        path: PathBuf,
    },
    /// There is something at a place that must be new.
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// The place holds something else.
    NotAJournal {
        /// The place.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Written by a newer version. Nothing was touched.
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u16,
        /// The version that this code reads and writes.
        supported: u16,
    },
    /// Durable data is damaged: writing is refused. The report names every place.
    Damaged(Box<Report>),
    /// The device could not read something that decides over records: writing is refused, and nothing was touched,
    /// whatever the options say about damage. The report names every place. Opening again may succeed; reading without
    /// writing, and salvage, give what can be read.
    Unreadable(Box<Report>),
    /// The end is torn, and the option said to refuse rather than cut.
    TornTail(Box<Report>),
    /// A record or batch is larger than the bound. Nothing was written.
    TooLarge {
        /// `"record"` or `"batch"`.
        what: &'static str,
        /// Its bytes, headers included.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// An empty batch, or the journal's own log number.
    InvalidAppend {
        /// What is wrong.
        reason: &'static str,
    },
    /// Waiting for durability under the policy `Never`, by an append that did not ask to be synced.
    NeverDurable,
    /// The queue is full, and the append said not to wait.
    QueueFull {
        /// Bytes in the queue.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// A commit was refused since the epoch that the append named: what it builds on may be missing. Nothing was stored.
    StaleEpoch {
        /// The epoch that the append named.
        given: u64,
        /// The epoch now.
        current: u64,
    },
    /// The sequence was released; its record is gone.
    Released {
        /// The sequence asked for.
        sequence: Sequence,
        /// The first that is stored.
        first: Sequence,
    },
    /// The sequence lies beyond the end.
    NotYet {
        /// The sequence asked for.
        sequence: Sequence,
        /// The next that will be given.
        next: Sequence,
    },
    /// The sequence lies in a known gap.
    InGap {
        /// The sequence asked for.
        sequence: Sequence,
        /// The first after the gap.
        resume: Sequence,
    },
    /// This record, or the way to it, is damaged. Others may be readable.
    DamagedRecord(Box<Damage>),
    /// This record lies where the device could not read when the journal was opened. Others may be readable.
    UnreadableRecord(Box<Damage>),
    /// An option is out of its range.
    InvalidOption {
        /// Its name.
        option: &'static str,
        /// What it must be.
        reason: &'static str,
    },
}

impl Error {
    /// Classifies an answer of the disk.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        let path = path.to_path_buf();
        match source.kind() {
            _ if crate::disk::out_of_space(&source) => Error::NoSpace { path },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Error::ReadOnly { path, source: Arc::new(source) }
            }
            _ => Error::Io { action, path, offset: None, source: Arc::new(source) },
        }
    }

    /// A read that failed at a place of a file.
    pub(crate) fn read(path: &Path, offset: u64, source: io::Error) -> Error {
        Error::Io { action: "read", path: path.to_path_buf(), offset: Some(offset), source: Arc::new(source) }
    }

    /// As [`Error::io`], for a sync: running out of space there loses pages like any other failure does.
    pub(crate) fn sync(path: &Path, source: io::Error) -> Error {
        Error::Io { action: "sync", path: path.to_path_buf(), offset: None, source: Arc::new(source) }
    }

    /// What readers are told.
    fn tell_of_reading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Released { sequence, first } => {
                write!(f, "record {sequence} was released; the first stored is {first}")
            }
            Error::NotYet { sequence, next } => write!(f, "record {sequence} does not exist yet; the next is {next}"),
            Error::InGap { sequence, resume } => {
                write!(f, "record {sequence} is known to be lost; the next good one is {resume}")
            }
            Error::DamagedRecord(damage) | Error::UnreadableRecord(damage) => write!(f, "{damage}"),
            _ => Ok(()),
        }
    }

    /// Whether space has run out.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::NoSpace { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { action, path, offset, source } => {
                let place = offset.map_or(String::new(), |offset| format!(" at offset {offset}"));
                write!(f, "cannot {action} {}{place}: {source}", path.display())
            }
            Error::NoSpace { path } => write!(
                f,
                "no space left at {}: nothing of this append is stored; free space or release old records, and appending resumes",
                path.display()
            ),
            Error::ReadOnly { path, source } => {
                write!(f, "cannot write at {}: {source}; open it for reading, or mend the permissions", path.display())
            }
            Error::Poisoned { cause } => {
                write!(f, "the journal takes no more appends since a failure ({cause}); reopen it")
            }
            Error::Unknown { cause } => write!(
                f,
                "this append may or may not survive: the journal failed under it ({cause}); reopen it and look"
            ),
            Error::Closed => write!(f, "the journal is closed; open it again"),
            Error::Locked { path } => {
                write!(f, "the journal is open for writing elsewhere (lock {}); close it there", path.display())
            }
            Error::Missing { path } => write!(f, "no journal at {}; check the path", path.display()),
            Error::Exists { path } => write!(f, "{} exists already; name a new folder", path.display()),
            Error::NotAJournal { path, reason } => {
                write!(f, "{} is not a journal that can be opened: {reason}", path.display())
            }
            Error::NewerFormat { path, found, supported } => write!(
                f,
                "{} has format version {found}, this program knows {supported}: nothing was touched; use a newer program",
                path.display()
            ),
            Error::Damaged(report) => tell(
                f,
                "durable data is damaged, so writing is refused; read what is good, salvage, or restore a copy",
                report.damage.iter(),
            ),
            Error::Unreadable(report) => tell(
                f,
                "the disk could not be read, so writing is refused and nothing was touched; try again, look at the disk, \
                 read or salvage what can be read",
                report.damage.iter().filter(|damage| damage.what.is_unreadable()),
            ),
            Error::TornTail(report) => tell(f, "the end is torn, and the options say not to cut it", report.cut.iter()),
            Error::TooLarge { what, bytes, max } => {
                write!(f, "a {what} of {bytes} bytes is over the bound of {max}: split it, or use larger segments")
            }
            Error::InvalidAppend { reason } => write!(f, "invalid append: {reason}"),
            Error::NeverDurable => {
                write!(
                    f,
                    "nothing becomes durable under the policy Never: ask for a class, call sync, or change the policy"
                )
            }
            Error::QueueFull { bytes, max } => {
                write!(f, "the queue holds {bytes} of {max} bytes: try again when the disk has caught up")
            }
            Error::StaleEpoch { given, current } => write!(
                f,
                "appends were refused since epoch {given} (now {current}): look which of them failed, and append those first"
            ),
            Error::Released { .. }
            | Error::NotYet { .. }
            | Error::InGap { .. }
            | Error::DamagedRecord(_)
            | Error::UnreadableRecord(_) => self.tell_of_reading(f),
            Error::InvalidOption { option, reason } => write!(f, "option {option}: {reason}"),
        }
    }
}

/// A sentence, and the places that it is about.
fn tell(f: &mut fmt::Formatter<'_>, what: &str, mut places: impl Iterator<Item = impl fmt::Display>) -> fmt::Result {
    write!(f, "{what}")?;
    places.try_for_each(|place| write!(f, "; {place}"))
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } | Error::ReadOnly { source, .. } => Some(&**source),
            Error::Poisoned { cause } | Error::Unknown { cause } => Some(&**cause),
            _ => None,
        }
    }
}
