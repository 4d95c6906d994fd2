//! The crate's one error. Owns the words in which a fault is told; each says what the caller can do.

use std::fmt;

use duramen_journal::{Error as WalError, Sequence};

use crate::GroupId;
use crate::format::Malformed;
use crate::snapshot::SnapshotError;
use crate::state::Refusal;
use crate::types::Types;

/// What went wrong, with the evidence. Unless a variant says otherwise, the log is as it was.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error<T: Types> {
    /// The step cannot follow on the log's state.
    Refused(Box<Refusal<T>>),
    /// The journal below failed or refused; its own error says what to do. After [`WalError::Unknown`] the step may or may
    /// not be there when the log is opened again.
    Wal(WalError),
    /// A value of the user's cannot be stored.
    Unstorable(Malformed),
    /// What is stored is not a Raft log's, or not this build's types'. Nothing was changed.
    Foreign {
        /// The group, if one can be named.
        group: GroupId,
        /// The record of the journal.
        sequence: Sequence,
        /// What is wrong with it.
        what: Malformed,
    },
    /// Entries are missing that should be there: see [`crate::Loss`].
    Lost {
        /// The group.
        group: GroupId,
        /// The first missing index.
        first: u64,
        /// The last missing index.
        last: u64,
    },
    /// The entry was purged.
    Purged {
        /// The index asked for.
        index: u64,
        /// The first that is there, or will be.
        first: u64,
    },
    /// The entry does not exist yet.
    NotYet {
        /// The index asked for.
        index: u64,
        /// The next index that will be given; `None`: the log is empty and takes any.
        next: Option<u64>,
    },
    /// A range that ends before it begins.
    InvalidRange {
        /// Its first index.
        start: u64,
        /// The index behind its last.
        end: u64,
    },
    /// The entries in memory reach the bound: purge, or wait until something was purged.
    MemoryFull {
        /// Bytes of the entries in memory.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// A group number that cannot be: 0 is the journal's own.
    InvalidGroup {
        /// The number.
        group: GroupId,
    },
    /// An option is out of its range.
    InvalidOption {
        /// Its name.
        option: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// The log may have lost its vote with damaged data: it does not vote until [`crate::RaftLogWriter::accept_lost_vote`]
    /// says that another node's answer, or an operator, has settled what this node voted.
    VoteInDoubt {
        /// The group.
        group: GroupId,
    },
    /// A snapshot cannot be written, published or read.
    Snapshot(SnapshotError),
}

impl<T: Types> Error<T> {
    /// Whether space has run out below: the step was not stored, and will be once there is space again.
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::Wal(error) => error.is_no_space(),
            Error::Snapshot(error) => error.is_no_space(),
            _ => false,
        }
    }
}

impl<T: Types> From<WalError> for Error<T> {
    fn from(error: WalError) -> Error<T> {
        Error::Wal(error)
    }
}

impl<T: Types> From<SnapshotError> for Error<T> {
    fn from(error: SnapshotError) -> Error<T> {
        Error::Snapshot(error)
    }
}

impl<T: Types> From<Refusal<T>> for Error<T> {
    fn from(refusal: Refusal<T>) -> Error<T> {
        Error::Refused(Box::new(refusal))
    }
}

impl<T: Types> fmt::Display for Error<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(refusal) => write!(f, "{refusal}"),
            Error::Wal(error) => write!(f, "{error}"),
            Error::Snapshot(error) => write!(f, "{error}"),
            Error::Unstorable(what) => write!(f, "cannot be stored: {what}"),
            Error::Foreign { group, sequence, what } => write!(
                f,
                "record {sequence} of group {group} is not what this program stores ({what}): open it with the program that wrote it"
            ),
            Error::Lost { group, first, last } => write!(
                f,
                "entries {first} to {last} of group {group} are lost: fetch them, or a snapshot, from another node"
            ),
            Error::Purged { index, first } => {
                write!(f, "entry {index} was purged, the first is {first}: send a snapshot instead")
            }
            Error::NotYet { index, next: Some(next) } => {
                write!(f, "entry {index} does not exist yet; the next is {next}")
            }
            Error::NotYet { index, next: None } => write!(f, "entry {index} does not exist: the log is empty"),
            Error::InvalidRange { start, end } => write!(f, "the range from {start} to {end} ends before it begins"),
            Error::MemoryFull { bytes, max } => {
                write!(f, "entries of {bytes} bytes are in memory, {max} are allowed: purge what a snapshot covers")
            }
            Error::InvalidGroup { group } => write!(f, "there can be no group {group}: number them from 1"),
            Error::InvalidOption { option, reason } => write!(f, "option {option}: {reason}"),
            Error::VoteInDoubt { group } => write!(
                f,
                "group {group} may have lost its vote with damaged data: settle what it voted, then call accept_lost_vote"
            ),
        }
    }
}

impl<T: Types> std::error::Error for Error<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Refused(refusal) => Some(&**refusal),
            Error::Wal(error) => Some(error),
            Error::Snapshot(error) => Some(error),
            Error::Unstorable(what) | Error::Foreign { what, .. } => Some(what),
            _ => None,
        }
    }
}
