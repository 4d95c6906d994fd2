//! The crate's one error. Owns the words in which a fault is told; each says what the caller can do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::manifest::TableEntry;
use crate::inspect::Unit;

/// What went wrong, with the evidence.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The journal's: locked, full, poisoned, damaged, of another kind. See there what can be done.
    Journal(duramen_journal::Error),
    /// An operation of the disk failed on a table or the manifest.
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
    /// No space or quota left for a table or the manifest. Rows go on into the journal as long as that has room.
    NoSpace {
        /// Where space is missing.
        path: PathBuf,
    },
    /// A part of a table does not verify: the rows in it are lost, the rest of the table serves.
    DamagedTable {
        /// The file.
        path: PathBuf,
        /// Where the bad part begins.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A table's index does not verify: nothing of it can be read. All other tables serve.
    UnusableTable {
        /// The file.
        path: PathBuf,
        /// Where the bad part begins.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
        /// How many rows, or samples, it holds, as the manifest says.
        rows: u64,
        /// Which of both.
        unit: Unit,
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
    /// Labels that break the rules of [`crate::Labels`].
    InvalidLabels {
        /// What is wrong.
        reason: String,
    },
    /// A stream more than the option allows: give fewer labels, or raise `streams_max`.
    TooManyStreams {
        /// The bound.
        max: usize,
    },
    /// The journal is still being read: try again in a moment.
    Opening,
    /// A row, a batch or a position is larger than the bound. Nothing was written.
    TooLarge {
        /// `"row"`, `"batch"` or `"position"`.
        what: &'static str,
        /// Its bytes.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// A sample at the last nanosecond that there is: spans of time exclude their end, so that nobody could ever ask for it. Nothing
    /// was written.
    TimeOutOfRange {
        /// The time.
        time: i64,
    },
    /// An option is out of its range.
    InvalidOption {
        /// Its name.
        option: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// Making a table durable failed at a point where only opening again can tell whether it counts: nothing more is sealed
    /// until then. Appending goes on as long as there is room in memory.
    Broken {
        /// The failure.
        cause: Arc<Error>,
    },
    /// A copy is not what it should be, and was not put in its place.
    BadCopy {
        /// The copy.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The machine is about to lose its power: no rows are taken any more. Send them to another, or again when it is back.
    Going,
    /// The store was closed.
    Closed,
}

impl Error {
    /// Classifies an answer of the disk.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        let path = path.to_path_buf();
        if duramen_journal::disk::out_of_space(&source) {
            return Error::NoSpace { path };
        }
        Error::Io { action, path, offset: None, source: Arc::new(source) }
    }

    /// A read that failed at a place of a file.
    pub(crate) fn read(path: &Path, offset: u64, source: io::Error) -> Error {
        Error::Io { action: "read", path: path.to_path_buf(), offset: Some(offset), source: Arc::new(source) }
    }

    /// What damage that was met while a table was opened means for the whole of it. Other errors stay what they are.
    pub(crate) fn of_table(self, entry: &TableEntry) -> Error {
        match self {
            Error::DamagedTable { path, offset, reason } => {
                Error::UnusableTable { path, offset, reason, rows: entry.rows, unit: Unit::of(entry.partition) }
            }
            other => other,
        }
    }

    /// Whether space has run out.
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::NoSpace { .. } => true,
            Error::Journal(error) => error.is_no_space(),
            _ => false,
        }
    }
}

impl From<duramen_journal::Error> for Error {
    fn from(error: duramen_journal::Error) -> Error {
        Error::Journal(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Journal(error) => error.fmt(f),
            Error::Io { action, path, offset, source } => {
                let place = offset.map_or(String::new(), |offset| format!(" at offset {offset}"));
                write!(f, "cannot {action} {}{place}: {source}", path.display())
            }
            Error::NoSpace { path } => {
                write!(f, "no space left at {}: free space, or shorten the retention", path.display())
            }
            Error::DamagedTable { path, offset, reason } => {
                write!(f, "damage in {} at offset {offset}: {reason}; the rest of it serves", path.display())
            }
            Error::UnusableTable { path, offset, reason, rows, unit } => write!(
                f,
                "damage in {} at offset {offset}: {reason}; nothing of it can be read: {} may be missing here",
                path.display(),
                unit.count(*rows)
            ),
            Error::NewerFormat { path, found, supported } => write!(
                f,
                "{} has format version {found}, this program knows {supported}: nothing was touched; use a newer program",
                path.display()
            ),
            Error::InvalidLabels { reason } => write!(f, "invalid labels: {reason}"),
            Error::TooManyStreams { max } => {
                write!(f, "this would be stream {} of at most {max}: give fewer labels, or raise the bound", max + 1)
            }
            Error::TooLarge { what, bytes, max } => {
                write!(f, "a {what} of {bytes} bytes is over the bound of {max}: split it")
            }
            Error::TimeOutOfRange { time } => write!(f, "the time {time} of a sample is out of range"),
            Error::InvalidOption { option, reason } => write!(f, "option {option}: {reason}"),
            Error::Broken { cause } => {
                write!(f, "no rows are sealed any more since a failure ({cause}); reopen the store")
            }
            Error::BadCopy { path, reason } => write!(f, "{} is not complete: {reason}", path.display()),
            Error::Opening => write!(f, "the store is being opened, and takes nothing yet"),
            Error::Going => {
                write!(f, "the power is going: no rows are taken any more; send them again when it is back")
            }
            Error::Closed => write!(f, "the store is closed; open it again"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Journal(error) => Some(error),
            Error::Io { source, .. } => Some(&**source),
            Error::Broken { cause } => Some(&**cause),
            _ => None,
        }
    }
}
