//! What a work may ask of any log under test: the two traits behind which the raw bound, Duramen and the peers stand.
//!
//! This module owns the vocabulary of the benchmark and knows no engine and no work. An engine is shared by all the
//! threads of a work, so whatever lock it needs is its own affair, and that lock's cost is part of what is measured.

use std::path::Path;
use std::time::Instant;

use crate::pool::Pool;

/// More callers than any work has.
#[cfg(any(feature = "duramen", feature = "peers"))]
pub const LANES: usize = 1024;

/// How much payload lies between two calls of [`Engine::release`].
pub const RELEASE_BYTES: u64 = 24 << 20;

/// Whatever went wrong inside an engine; a benchmark only reports it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The result of everything that may touch a disk.
pub type Outcome<T> = Result<T, Failure>;

/// What an append has to have done when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// The records may still be in memory; [`Engine::sync`] makes them durable later.
    Buffered,
    /// The records survive a power cut.
    Durable,
}

/// How the records of a work reach the engine, which decides how the engine is best set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// One thread appends and waits.
    OneCaller,
    /// Many threads append and wait, each for its own records.
    ManyCallers,
    /// One thread appends ahead of the acknowledgements.
    InFlight,
}

/// Everything that an engine may know about a work before it opens its folder.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What each append of the work waits for.
    #[cfg_attr(not(feature = "duramen"), allow(dead_code, reason = "the others sync when they are told to"))]
    pub acknowledgement: Acknowledgement,
    /// How the records arrive.
    pub traffic: Traffic,
    /// An upper bound of the payload that the work will append, for engines that preallocate.
    pub payload_bytes_expected: u64,
    /// The size of a record's payload.
    pub record_bytes: usize,
    /// The size of a segment, where the engine has segments; `None` is the engine's own choice.
    pub segment_bytes: Option<u32>,
    /// The log that is opened was not closed.
    pub after_crash: bool,
    /// When the engine syncs by itself, for those with [`Ability::Policies`]; `None` follows from `acknowledgement`.
    pub policy: Option<Policy>,
}

/// When an engine syncs without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "duramen"), allow(dead_code, reason = "the others have none of them"))]
pub enum Policy {
    /// Each append.
    Always,
    /// A hundred records, or 200 ms.
    Batch,
    /// Once a second.
    Interval,
    /// At the end.
    Never,
}

/// A thing that not every engine can do, so that a work knows whom it may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// Appends that are acknowledged before they are durable, and a sync for all of them.
    Buffer,
    /// Several appends in flight from one thread, each acknowledged when it is durable.
    InFlight,
    /// Opening an existing folder, reading one record by its index and scanning all of them.
    Read,
    /// Segments whose size the work may choose.
    Segments,
    /// Sync policies that the work may choose.
    Policies,
    /// Opening without reading every record, so that ten times the records are worth a try.
    ManyRecords,
    /// A log for each lane, and one sync for the appends to many of them.
    Groups,
    /// A rule of its own for when an append is acknowledged.
    Strategies,
}

/// Who an engine is in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The bound that the disk and the processor set.
    Raw,
    /// The journal of this project.
    #[cfg_attr(
        not(feature = "duramen"),
        allow(dead_code, reason = "constructed only where the journal is compiled in")
    )]
    Duramen,
    /// The Raft log of this project, acknowledged when it is durable.
    #[cfg_attr(not(feature = "duramen"), allow(dead_code, reason = "as the journal"))]
    Raft,
    /// The Raft log of this project, acknowledged from memory.
    #[cfg_attr(not(feature = "duramen"), allow(dead_code, reason = "as the journal"))]
    RaftMemory,
    /// Somebody else's log.
    #[cfg_attr(not(feature = "peers"), allow(dead_code, reason = "constructed only where the peers are compiled in"))]
    Peer,
}

/// A log under test, before it is opened.
pub trait System: Sync {
    /// The name that the tables show, its version included.
    fn name(&self) -> &str;

    /// Who it is in the comparison.
    fn role(&self) -> Role;

    /// Whether the system can do this at all.
    fn can(&self, ability: Ability) -> bool;

    /// Opens the folder, which exists, and creates the log there unless there is one.
    fn open(&self, folder: &Path, setup: &Setup) -> Outcome<Box<dyn Engine>>;
}

/// An open log.
///
/// Indices count the records of lane 0 from zero in the order of their appends. A lane is one caller's stream: engines
/// that demand ordered positions keep one sequence per lane, so that callers never wait for each other's numbers.
pub trait Engine: Send + Sync {
    /// Appends the records as one unit, and returns when `acknowledgement` is true of all of them.
    fn append(&self, lane: usize, records: &[&[u8]], acknowledgement: Acknowledgement) -> Outcome<()>;

    /// Appends the records as one unit, and returns when the engine's own rule says that they are acknowledged.
    fn append_by_strategy(&self, lane: usize, records: &[&[u8]]) -> Outcome<()> {
        self.append(lane, records, Acknowledgement::Durable)
    }

    /// Appends the record to each of these lanes, and returns when all of that is durable.
    fn append_to_all(&self, lanes: &[usize], record: &[u8]) -> Outcome<()> {
        for &lane in lanes {
            self.append(lane, &[record], Acknowledgement::Buffered)?;
        }
        self.sync()
    }

    /// Makes everything durable that was appended before the call.
    fn sync(&self) -> Outcome<()>;

    /// Appends single records of `pool` with at most `window` of them unacknowledged until `stop_at`, then waits for
    /// the rest. Returns how many became durable.
    fn append_in_flight(&self, window: usize, pool: &Pool, stop_at: Instant) -> Outcome<u64>;

    /// Shows the payload of one record to `visit`, checked against its checksum if the engine has one.
    fn read(&self, index: u64, visit: &mut dyn FnMut(&[u8])) -> Outcome<()>;

    /// Shows every record of lane 0 to `visit`, in order.
    fn scan(&self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()>;

    /// Waits until the engine has prepared in the background what opening it started, as far as it can tell. Works that
    /// time appends call it before they start, as the raw bound's file is preallocated; works that time the opening do not.
    fn settle(&self) -> Outcome<()> {
        Ok(())
    }

    /// Says that nothing appended and acknowledged so far is needed any more. Works that append for a time call it each
    /// [`RELEASE_BYTES`], as the owner of a log does that is in use for longer, and as the raw bound's file wraps around; an
    /// engine that cannot, or whose owner would not, does nothing.
    fn release(&self) -> Outcome<()> {
        Ok(())
    }

    /// How many syncs the engine asked the device for since it was opened, where it counts them.
    fn syncs(&self) -> Option<u64> {
        None
    }

    /// Bytes of memory that finding entries takes, where the engine counts them.
    fn index_bytes(&self) -> Option<u64> {
        None
    }

    /// Closes the log in good order.
    fn close(self: Box<Self>) -> Outcome<()>;
}

/// The answer of an engine that is asked for what [`System::can`] denied.
pub fn unsupported<T>(what: &str) -> Outcome<T> {
    Err(format!("this engine cannot {what}").into())
}
