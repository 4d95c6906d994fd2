//! A Raft log on a crash-proof journal: votes, entries, truncation and purging in one ordered stream, for one group or for
//! ten thousand that share a journal and its syncs.
//!
//! ```no_run
//! use duramen_raft::{Config, Entry, Plain, RaftLog, TermIndex};
//!
//! # fn main() -> Result<(), duramen_raft::Error<Plain>> {
//! let (log, _) = RaftLog::<Plain>::open(Config::new("data"))?;
//! let receipt = log.writer().append(vec![Entry::new(TermIndex::new(1, 1), "x = 1".into())])?;
//! receipt.wait()?; // durable
//! for entry in log.reader().stream(..)? {
//!     println!("{:?}", entry?.payload);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What was acknowledged as durable is there after a power cut. The user's ids, votes and payloads come in through
//! [`Types`], storage of another kind through [`Wal`], consumers of the records through [`StateMachine`].

pub use config::{Config, FlushPolicy, MemoryFull, PurgeOnSnapshot, Strategy};
pub use error::Error;
pub use format::{Kind, Malformed};
pub use log::{RaftLog, RaftLogReader, RaftLogWriter, Stream};
pub use logs::{Laggard, Loss, Opened, RaftLogs};
pub use loss::Certainty;
pub use receipt::Receipt;
pub use record::Record;
pub use snapshot::{Snapshot, SnapshotError, SnapshotMeta, SnapshotReceiver, SnapshotWriter, Snapshots};
pub use state::{RaftLogState, Refusal};
pub use stats::{CacheStats, FlushStats, RaftStats};
pub use tier::{DirectoryTier, Tier};
pub use types::{Entry, EntryRef, Plain, StateMachine, Stored, TermIndex, TermVote, Types};
pub use wal::{JournalWal, OnDurable, Wal, WalSegment, WalTicket};

/// One of the logs that share a folder: the number of its log in the journal. 0 is the journal's own.
pub type GroupId = u32;

#[cfg(any(feature = "openraft", feature = "openraft-09", feature = "raft-rs"))]
mod adapter;
mod cache;
mod config;
mod core;
mod error;
mod flush;
pub mod format;
mod group;
pub mod index;
pub mod inspect;
mod log;
mod logs;
mod loss;
#[cfg(feature = "openraft-09")]
pub mod openraft_09;
#[cfg(feature = "openraft")]
pub mod openraft_10;
#[cfg(feature = "raft-rs")]
pub mod raft_rs;
mod read;
mod receipt;
mod record;
pub mod snapshot;
mod state;
mod stats;
#[cfg(feature = "suite")]
pub mod suite;
pub mod tier;
mod types;
mod wal;
mod watch;

use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Locks; a panic elsewhere under the lock left nothing half-done that matters here.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}
