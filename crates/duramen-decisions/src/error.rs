//! The crate's one error, and damage as a value. Owns the words in which a fault is told.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::SeqNo;
use crate::backend::Key;

/// What went wrong. Unless it says otherwise, what is stored is as it was.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The journal under the log: [`duramen_journal::Error`] says what can be done.
    Journal(duramen_journal::Error),
    /// An operation of the disk failed.
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// There is no room. Nothing of it is stored; storing goes on by itself when there is room again.
    NoSpace,
    /// Another store under the log failed, in its own words.
    Backend {
        /// Which one.
        backend: &'static str,
        /// What it says.
        reason: String,
    },
    /// An earlier write or sync failed: nothing more is stored until the log is opened again. What was under way may be there
    /// then, or not.
    Failed {
        /// The failure.
        reason: String,
    },
    /// The log was closed.
    Closed,
    /// Something else is stored under this number already. **Two contents for one decision mean that somebody is at fault:** this
    /// replica, its peers, or its disk.
    Conflict {
        /// `"decision"`, `"proof"`, `"membership"` or `"checkpoint"`.
        what: &'static str,
        /// Its number.
        seq_no: SeqNo,
    },
    /// The number lies in what was compacted away, or is covered by a checkpoint that was installed.
    Compacted {
        /// The number.
        seq_no: SeqNo,
        /// Up to where nothing is kept, this one included.
        upto: SeqNo,
    },
    /// The checkpoint is older than the last one.
    OldCheckpoint {
        /// Its number.
        seq_no: SeqNo,
        /// The last one's.
        last: SeqNo,
    },
    /// Compaction beyond the last durable checkpoint would lose decisions that no checkpoint has.
    BeyondCheckpoint {
        /// Up to where it was asked for.
        seq_no: SeqNo,
        /// The last durable checkpoint, if there is any.
        checkpoint: Option<SeqNo>,
    },
    /// What a durable checkpoint has cannot be taken back.
    BelowCheckpoint {
        /// What was asked for.
        seq_no: SeqNo,
        /// The last durable checkpoint.
        checkpoint: SeqNo,
    },
    /// A chunk or a manifest is not what its digest says. Nothing of it was stored.
    WrongDigest {
        /// Of what, in words.
        what: String,
    },
    /// A transfer cannot be finished: so many chunks are missing.
    Incomplete {
        /// How many.
        missing: usize,
    },
    /// There is no such checkpoint.
    NoCheckpoint {
        /// The number that was asked for.
        seq_no: SeqNo,
    },
    /// What was durable is damaged. Opening refuses with it unless told otherwise.
    Damaged(Box<Damage>),
    /// One stored value is damaged; others may be good.
    DamagedValue {
        /// Which one, in words.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The place holds something else.
    Foreign {
        /// The place.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The log was made with another digest.
    OtherDigest {
        /// The one that is stored.
        found: String,
        /// The one that was asked for.
        expected: String,
    },
    /// Written by a newer version. Nothing was touched.
    NewerFormat {
        /// The version found.
        found: u16,
        /// The version that this code reads and writes.
        supported: u16,
    },
    /// The target of a migration holds something. It was not changed.
    NotEmpty {
        /// What, in words.
        what: String,
    },
    /// A migration into this log was begun and not finished. Migrate again, or empty its place.
    Unfinished,
    /// What a migration copied is not what was there. The source is as it was; the target is no log.
    Unequal {
        /// What, in words.
        what: String,
    },
    /// The user's codec refused what was stored.
    Codec {
        /// Which value, in words.
        what: String,
        /// What the codec said.
        reason: String,
    },
    /// The user's state refused to be written or read.
    State {
        /// What it said.
        source: Arc<io::Error>,
    },
    /// A batch or a value is over the bound. Nothing was stored.
    TooLarge {
        /// Its bytes.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// An option is out of its range.
    InvalidOption {
        /// Its name.
        option: &'static str,
        /// What it must be.
        reason: &'static str,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        if duramen_journal::disk::out_of_space(&source) {
            return Error::NoSpace;
        }
        Error::Io { action, path: path.to_path_buf(), source: Arc::new(source) }
    }

    pub(crate) fn damaged(key: Key, reason: impl Into<String>) -> Error {
        Error::DamagedValue { what: key.to_string(), reason: reason.into() }
    }
}

impl From<duramen_journal::Error> for Error {
    fn from(error: duramen_journal::Error) -> Error {
        use duramen_journal::Error as Own;
        match error {
            Own::NoSpace { .. } => Error::NoSpace,
            Own::Poisoned { cause } | Own::Unknown { cause } => Error::Failed { reason: cause.to_string() },
            Own::Closed => Error::Closed,
            Own::TooLarge { bytes, max, .. } => Error::TooLarge { bytes, max },
            Own::NotAJournal { path, reason } => Error::Foreign { path, reason },
            Own::NewerFormat { found, supported, .. } => Error::NewerFormat { found, supported },
            other => Error::Journal(other),
        }
    }
}

impl Error {
    /// Whether something that was stored is damaged, for good, rather than not to be had now. A decision is stored anew after
    /// [`crate::PersistentLog::invalidate`].
    pub fn is_damage(&self) -> bool {
        use duramen_journal::Error as Own;
        match self {
            Error::DamagedValue { .. } | Error::WrongDigest { .. } | Error::Damaged(_) => true,
            Error::Journal(own) => matches!(own, Own::DamagedRecord(_) | Own::Damaged(_)),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Journal(error) => write!(f, "{error}"),
            Error::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            Error::NoSpace => write!(f, "no space left: nothing of it is stored"),
            Error::Backend { backend, reason } => write!(f, "{backend}: {reason}"),
            Error::Failed { reason } => write!(f, "the log failed, and must be opened again: {reason}"),
            Error::Closed => write!(f, "the log is closed"),
            Error::Conflict { what, seq_no } => write!(f, "another {what} is stored as {seq_no} already"),
            Error::Compacted { seq_no, upto } => write!(f, "{seq_no} was compacted away: nothing is kept up to {upto}"),
            Error::OldCheckpoint { seq_no, last } => {
                write!(f, "the checkpoint of {seq_no} is older than the last one, of {last}")
            }
            Error::BeyondCheckpoint { seq_no, checkpoint: Some(last) } => {
                write!(f, "cannot compact up to {seq_no}: the last durable checkpoint is that of {last}")
            }
            Error::BeyondCheckpoint { seq_no, checkpoint: None } => {
                write!(f, "cannot compact up to {seq_no}: there is no durable checkpoint")
            }
            Error::BelowCheckpoint { seq_no, checkpoint } => {
                write!(f, "{seq_no} cannot be taken back: the durable checkpoint of {checkpoint} has it")
            }
            Error::WrongDigest { what } => write!(f, "{what} is not what its digest says"),
            Error::Incomplete { missing } => write!(f, "{missing} chunks of the checkpoint are missing"),
            Error::NoCheckpoint { seq_no } => write!(f, "there is no checkpoint of {seq_no}"),
            Error::Damaged(damage) => write!(f, "{damage}"),
            Error::DamagedValue { what, reason } => write!(f, "{what} is damaged: {reason}"),
            Error::Foreign { path, reason } => write!(f, "{} holds something else: {reason}", path.display()),
            Error::OtherDigest { found, expected } => {
                write!(f, "the log was made with {found}, and is asked for with {expected}")
            }
            Error::NewerFormat { found, supported } => {
                write!(f, "written in version {found}; this program reads version {supported}")
            }
            Error::NotEmpty { what } => write!(f, "the target is not empty: it has a {what}"),
            Error::Unfinished => write!(f, "a migration into this log was not finished: begin it again"),
            Error::Unequal { what } => write!(f, "the copy of {what} is not the same"),
            Error::Codec { what, reason } => write!(f, "{what} cannot be decoded: {reason}"),
            Error::State { source } => write!(f, "the state: {source}"),
            Error::TooLarge { bytes, max } => write!(f, "{bytes} bytes are over the bound of {max}"),
            Error::InvalidOption { option, reason } => write!(f, "{option} {reason}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Journal(error) => Some(error),
            Error::Io { source, .. } | Error::State { source } => Some(&**source),
            _ => None,
        }
    }
}

/// How sure it is that something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It was stored, and is gone.
    Lost,
    /// It may have been stored: nobody can tell.
    Possible,
}

/// Decisions that are, or may be, lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// The first one.
    pub first: SeqNo,
    /// The last one; `None`: nobody knows where it ends.
    pub last: Option<SeqNo>,
    /// How sure that is.
    pub certainty: Certainty,
}

impl fmt::Display for LostRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) if last == self.first => write!(f, "decision {last}")?,
            Some(last) => write!(f, "decisions {} to {last}", self.first)?,
            None => write!(f, "decisions from {} on", self.first)?,
        }
        match self.certainty {
            Certainty::Lost => f.write_str(" are lost"),
            Certainty::Possible => f.write_str(" may be lost"),
        }
    }
}

/// What damage took, as a value: a protocol asks its peers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What decisions are missing; those that a good checkpoint has are left out.
    pub decisions: Vec<LostRange>,
    /// Every decision up to this one is there, or in a good checkpoint; `None`: none is.
    pub last_safe: Option<SeqNo>,
    /// The newest safety record may be lost: **the replica must not vote** until its protocol says that it may.
    pub safety: bool,
    /// Messages of instances may be lost. **Where they are votes, that is as bad as a lost safety record.**
    pub messages: bool,
    /// The newest membership may be lost.
    pub membership: bool,
    /// Checkpoints that were published and cannot be used.
    pub checkpoints: Vec<SeqNo>,
    /// Where the damage is, in the words of what found it.
    pub places: Vec<String>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was durable is damaged")?;
        for lost in &self.decisions {
            write!(f, "; {lost}")?;
        }
        match self.last_safe {
            Some(last) => write!(f, "; all is there up to {last}")?,
            None => f.write_str("; nothing is certainly there")?,
        }
        if self.safety {
            f.write_str("; the newest vote may be lost")?;
        }
        if self.messages {
            f.write_str("; messages before a decision may be lost")?;
        }
        if self.membership {
            f.write_str("; the newest membership may be lost")?;
        }
        for seq_no in &self.checkpoints {
            write!(f, "; the checkpoint of {seq_no} cannot be used")?;
        }
        for place in &self.places {
            write!(f, "; {place}")?;
        }
        Ok(())
    }
}
