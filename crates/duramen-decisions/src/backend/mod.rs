//! Where a log's values lie: the trait that each backend implements, its keys and its batches. Owns the seam; knows no decision.
//!
//! A backend is an ordered, atomic store of small values under [`Key`]s, and a store of chunks under their digests. What follows
//! what, what may be compacted, what a duplicate is: all of that stands above it, once, in [`crate::Log`].

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::completion::Completion;
use crate::error::Error;

pub(crate) mod compress;
pub mod file;
#[cfg(feature = "fjall")]
pub mod fjall;
#[cfg(any(feature = "redb", feature = "fjall"))]
pub(crate) mod folder;
pub mod kv;
pub mod memory;
pub(crate) mod packs;
#[cfg(feature = "redb")]
pub mod redb;
pub mod witness;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// The log's own: what it is, up to where it is compacted.
    Own = 0,
    /// The protocol's safety record: the newest one only.
    Safety = 1,
    /// Memberships, by the decision from which on they hold.
    Membership = 2,
    /// Published checkpoints.
    Checkpoint = 3,
    /// Decisions.
    Decision = 4,
    /// Proofs of decisions.
    Proof = 5,
    /// Messages of an instance, by their number in it.
    Message = 6,
    /// The protocol's recovery information, by its own numbers.
    Recovery = 7,
}

impl Space {
    /// All of them.
    pub const ALL: [Space; 8] = [
        Space::Own,
        Space::Safety,
        Space::Membership,
        Space::Checkpoint,
        Space::Decision,
        Space::Proof,
        Space::Message,
        Space::Recovery,
    ];

    /// The space of this number.
    pub fn of(number: u8) -> Option<Space> {
        Space::ALL.get(usize::from(number)).copied()
    }

    /// One lower-case word.
    pub fn word(self) -> &'static str {
        match self {
            Space::Own => "own record",
            Space::Safety => "safety record",
            Space::Membership => "membership",
            Space::Checkpoint => "checkpoint",
            Space::Decision => "decision",
            Space::Proof => "proof",
            Space::Message => "message",
            Space::Recovery => "recovery information",
        }
    }
}

/// Under what a value lies. Keys are sorted by space, number and part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it is.
    pub space: Space,
    /// Of which decision, or which of its kind.
    pub number: u64,
    /// Which part of that; 0 where there is only one.
    pub part: u32,
}

impl Key {
    /// The key of the only part.
    pub fn new(space: Space, number: u64) -> Key {
        Key { space, number, part: 0 }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.space {
            Space::Own | Space::Safety => f.write_str(self.space.word()),
            Space::Message => write!(f, "message {} of instance {}", self.part, self.number),
            other => write!(f, "{} {}", other.word(), self.number),
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A value lies under a key, instead of what lay there before.
    Put(Key, Bytes),
    /// The same for a value of two parts, which are stored one behind the other.
    PutParts(Key, Bytes, Bytes),
    /// Nothing lies under the keys of a space that have these numbers.
    Remove(Space, RangeInclusive<u64>),
}

/// How soon a write is to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Urgency {
    /// As the policy says.
    #[default]
    Policy,
    /// At once.
    Now,
}

/// What opening found of a backend's own. Decisions are looked at above.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// A word for how it ended: `new`, `closed`, `unmarked`, `torn`, ...
    pub end: String,
    /// What was cut off as unfinished, in words. Nobody was told that it was durable.
    pub cut: Option<String>,
    /// Values that were durable and are lost or cannot be read.
    pub lost: Vec<Key>,
    /// More than those may be lost: what the last ones were nobody can tell.
    pub open_end: bool,
    /// Where damage is, in words.
    pub places: Vec<String>,
}

/// A backend's figures since opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// Syncs.
    pub syncs: u64,
    /// Bytes that were given to the device, where it is known.
    pub device_bytes: u64,
    /// Bytes on the disk that are in use, where it is known.
    pub stored_bytes: u64,
}

/// The store under a log. All methods may be called from any thread; writes are ordered among each other by the log, which calls
/// [`Backend::write`] from one thread at a time.
///
/// What must hold, and what [`crate::suite`] checks:
/// - a write is visible to all reads when the call returns, and atomic over any crash;
/// - writes become durable in the order in which they were given: if one is there after a crash, all before it are;
/// - a completion that comes with success was preceded by a sync of the device; each completes exactly once;
/// - what is read is what was written, or an error: never other bytes.
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// Its name, for people.
    fn name(&self) -> &'static str;
    /// Writes changes, in order, all or none.
    ///
    /// # Errors
    /// Nothing of it is stored.
    fn write(&self, ops: &[Op], urgency: Urgency) -> Result<Completion, Error>;
    /// As [`Backend::write`], unless the epoch is another one by now: `None`, and nothing of it is stored. What was looked at before
    /// this write may be there no more.
    ///
    /// # Errors
    /// As [`Backend::write`].
    fn write_in(&self, epoch: u64, ops: &[Op], urgency: Urgency) -> Result<Option<Completion>, Error> {
        // Where nothing is ever refused after it was taken there is one epoch.
        if epoch == self.epoch() { self.write(ops, urgency).map(Some) } else { Ok(None) }
    }
    /// Grows with each write that was taken and then refused, as for want of room, so that it is visible no more.
    fn epoch(&self) -> u64 {
        0
    }
    /// The value under a key.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    fn get(&self, key: Key) -> Result<Option<Bytes>, Error>;
    /// The values under keys that follow each other, so that they can be read together.
    fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Bytes>, Error>> {
        keys.iter().map(|key| self.get(*key)).collect()
    }
    /// Whether something lies under a key.
    ///
    /// # Errors
    /// It cannot be told.
    fn contains(&self, key: Key) -> Result<bool, Error> {
        Ok(self.get(key)?.is_some())
    }
    /// The first keys of a space in a range of numbers, in order, `max` at most.
    ///
    /// # Errors
    /// They cannot be read.
    fn keys(&self, space: Space, numbers: RangeInclusive<u64>, max: usize) -> Result<Vec<Key>, Error>;
    /// The last key of a space up to a number.
    ///
    /// # Errors
    /// It cannot be read.
    fn last(&self, space: Space, upto: u64) -> Result<Option<Key>, Error>;
    /// Makes all writes so far durable.
    ///
    /// # Errors
    /// They are not, or nobody knows.
    fn sync(&self) -> Result<(), Error>;
    /// Gives back the room of what was removed, as far as that is cheap. Must not hold up writes.
    ///
    /// # Errors
    /// Nothing was given back.
    fn collect(&self) -> Result<(), Error>;
    /// Stores a chunk; durable with [`Backend::sync_chunks`]. One that is there already may be stored again.
    ///
    /// # Errors
    /// It is not stored.
    fn put_chunk(&self, digest: &[u8; 32], bytes: &[u8]) -> Result<(), Error>;
    /// Makes all chunks so far durable.
    ///
    /// # Errors
    /// They are not.
    fn sync_chunks(&self) -> Result<(), Error>;
    /// A chunk's bytes. They are checked above.
    ///
    /// # Errors
    /// It cannot be read.
    fn chunk(&self, digest: &[u8; 32]) -> Result<Option<Bytes>, Error>;
    /// Whether a chunk is stored, as far as can be told without reading it.
    ///
    /// # Errors
    /// It cannot be told.
    fn has_chunk(&self, digest: &[u8; 32]) -> Result<bool, Error>;
    /// Whether a chunk is stored and whole, so that a new checkpoint may count on it.
    ///
    /// # Errors
    /// It cannot be told.
    fn is_chunk_whole(&self, digest: &[u8; 32]) -> Result<bool, Error> {
        match self.chunk(digest) {
            Ok(chunk) => Ok(chunk.is_some()),
            Err(Error::DamagedValue { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
    /// Forgets all chunks but these.
    ///
    /// # Errors
    /// Some are still there; none of the others is harmed.
    fn retain_chunks(&self, live: &BTreeSet<[u8; 32]>) -> Result<(), Error>;
    /// What opening found. Told once.
    fn opened(&self) -> Opened;
    /// Figures.
    fn stats(&self) -> BackendStats;
    /// Runs due work, in an environment without threads.
    fn tick(&self) {}
    /// Closes: everything becomes durable.
    ///
    /// # Errors
    /// It did not.
    fn close(&self) -> Result<(), Error>;
}
