//! What can go wrong with a snapshot, in words that say what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duramen_journal::disk::out_of_space;

use crate::format::Malformed;

/// What went wrong with a snapshot. The log, and the other snapshots, are as they were.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The disk failed or refused.
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        error: Arc<io::Error>,
    },
    /// It is not what was written: take an older one, or fetch one from another node.
    Damaged {
        /// The file.
        path: PathBuf,
        /// The chunk; `None`: the head, the digests or the end, without which nothing of it can be trusted.
        chunk: Option<u32>,
        /// Where it begins in the file.
        offset: u64,
        /// What is wrong.
        what: Malformed,
    },
    /// A newer version of this program wrote it.
    Newer {
        /// The file.
        path: PathBuf,
        /// The version.
        found: u16,
    },
    /// There is one that covers as much.
    Outdated {
        /// The last index that it covers.
        index: u64,
        /// The last index that the newest one covers.
        newest: u64,
    },
    /// A chunk that was received is not the one that was offered: ask for it again.
    WrongChunk {
        /// Its number.
        chunk: u32,
        /// Why not.
        reason: &'static str,
    },
    /// Chunks are missing still.
    Incomplete {
        /// The first of them.
        first: u32,
        /// How many.
        missing: u32,
    },
    /// An offer that cannot be read, or is of another group.
    BadOffer {
        /// What is wrong.
        what: Malformed,
    },
    /// More than is allowed.
    TooLarge {
        /// What.
        what: &'static str,
        /// Its bytes.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// There is no snapshot that covers this index.
    NotThere {
        /// The index.
        index: u64,
    },
    /// The log's storage is the user's own, and has no folder.
    NoFolder,
}

impl SnapshotError {
    pub(crate) fn io(action: &'static str, path: &Path, error: io::Error) -> SnapshotError {
        SnapshotError::Io { action, path: path.to_path_buf(), error: Arc::new(error) }
    }

    /// Whether space has run out: nothing was published, and the same can be tried again once there is space.
    pub fn is_no_space(&self) -> bool {
        matches!(self, SnapshotError::Io { error, .. } if out_of_space(error))
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Io { action, path, error } if out_of_space(error) => {
                write!(f, "cannot {action} {}: the disk is full; free space and save it again", path.display())
            }
            SnapshotError::Io { action, path, error } => write!(f, "cannot {action} {}: {error}", path.display()),
            SnapshotError::Damaged { path, chunk: Some(chunk), offset, what } => write!(
                f,
                "{}: chunk {chunk} at {offset} is damaged ({what}): take an older snapshot, or another node's",
                path.display()
            ),
            SnapshotError::Damaged { path, chunk: None, offset, what } => {
                write!(f, "{}: damaged at {offset} ({what}): take an older snapshot, or another node's", path.display())
            }
            SnapshotError::Newer { path, found } => {
                write!(f, "{}: version {found} is newer than this program: use the one that wrote it", path.display())
            }
            SnapshotError::Outdated { index, newest } => {
                write!(f, "a snapshot up to entry {index} is of no use: there is one up to {newest}")
            }
            SnapshotError::WrongChunk { chunk, reason } => {
                write!(f, "chunk {chunk} is not the one that was offered ({reason}): ask for it again")
            }
            SnapshotError::Incomplete { first, missing } => {
                write!(f, "{missing} chunks are missing, the first is {first}: ask for them")
            }
            SnapshotError::BadOffer { what } => write!(f, "not an offer for this group: {what}"),
            SnapshotError::TooLarge { what, bytes, max } => write!(f, "{what} of {bytes} bytes: at most {max}"),
            SnapshotError::NotThere { index } => write!(f, "there is no snapshot up to entry {index}"),
            SnapshotError::NoFolder => write!(f, "storage of your own has no folder for snapshots: keep them yourself"),
        }
    }
}

impl std::error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SnapshotError::Io { error, .. } => Some(&**error),
            SnapshotError::Damaged { what, .. } | SnapshotError::BadOffer { what } => Some(what),
            _ => None,
        }
    }
}
