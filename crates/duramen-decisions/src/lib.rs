//! Durable storage for replicas of state machine replication and BFT protocols: decisions, proofs, checkpoints, membership, and
//! what a protocol must not forget.
//!
//! ```
//! use duramen_decisions::{Batch, Blake3, FileBasedLog, PersistentLog, PersistentLogConfig, RawLayer};
//!
//! # fn main() -> Result<(), duramen_decisions::Error> {
//! # let folder = std::env::temp_dir().join(format!("duramen-decisions-doc-{}", std::process::id()));
//! let config = PersistentLogConfig::new(&folder);
//! let log = FileBasedLog::<Blake3, Vec<u8>, RawLayer>::new(config.clone())?;
//! log.store_decision(1, &"add 3".into())?.wait()?; // durable: it survives a power cut
//! log.store_batch(Batch::new().decision(2, &"add 4".into()).proof(2, &"3 signatures".into()))?.wait()?;
//! log.store_checkpoint(2, &b"the sum is 7".to_vec())?;
//! log.store_decision(3, &"add 5".into())?.wait()?;
//! log.compact_log_up_to(2)?;
//! drop(log);
//!
//! let log = FileBasedLog::<Blake3, Vec<u8>, RawLayer>::new(config)?;
//! let (seq_no, state) = log.retrieve_last_checkpoint()?.expect("it was durable");
//! assert_eq!((seq_no, &state[..]), (2, &b"the sum is 7"[..]));
//! for decision in log.retrieve_decisions_after(Some(seq_no))? {
//!     assert_eq!(decision?, (3, "add 5".into()));
//! }
//! assert_eq!(log.retrieve_decision(1)?, None); // the checkpoint has it
//! # drop(log);
//! # let _ = std::process::Command::new("rm").arg("-r").arg(&folder).status();
//! # Ok(())
//! # }
//! ```
//!
//! A decision passes from the protocol into one atomic [`Batch`] with its proof and whatever else belongs to it; the
//! [`Completion`] of the store says when it is durable, and a [`Gate`] holds its execution until then. [`Log::write_checkpoint`]
//! writes a state in chunks beside running stores; chunks that did not change are not written again. Damage is a value:
//! [`Damage`] says which decisions a replica has to ask its peers for, and whether it may still vote.

pub use bytes::Bytes;

#[cfg(feature = "fjall")]
pub use crate::backend::fjall::FjallLog;
#[cfg(feature = "redb")]
pub use crate::backend::redb::RedbLog;
pub use crate::batch::Batch;
pub use crate::checkpoint::{Checkpoint, CheckpointInfo, StateReader};
pub use crate::codec::{Codec, ConsensusLayer, RawLayer, State};
pub use crate::completion::{Completer, Completion};
pub use crate::config::{
    CheckpointPolicy, CompressionOptions, PersistentLogConfig, RecoveryPolicy, Retention, SyncPolicy,
};
#[cfg(feature = "blake3")]
pub use crate::digest::Blake3;
#[cfg(feature = "sha256")]
pub use crate::digest::Sha256;
pub use crate::digest::{DIGEST_BYTES, Digest};
pub use crate::error::{Certainty, Damage, Error, LostRange};
pub use crate::gate::{Gate, PersistentLogMode};
pub use crate::log::{Decisions, FileBasedLog, Log, LogStats};
pub use crate::migrate::{Migrated, migrate};
pub use crate::persistent::{DecisionStream, PersistentLog};
pub use crate::recovery::{Progress, RecoveryInfo, Replica, What};
pub use crate::state::StateWriter;
pub use crate::transfer::{Install, Manifest};

use std::sync::{Mutex, MutexGuard};

pub mod backend;
mod batch;
mod cache;
mod checkpoint;
mod codec;
mod completion;
mod config;
#[cfg(any(test, feature = "decoders"))]
#[doc(hidden)]
pub mod decoders;
mod digest;
mod error;
mod gate;
pub mod inspect;
mod log;
mod migrate;
mod persistent;
mod recovery;
mod state;
#[cfg(feature = "suite")]
pub mod suite;
mod transfer;
mod values;

#[cfg(test)]
mod format_test;

/// The number of a decision or an instance: given by the protocol.
pub type SeqNo = u64;

/// Locks, whatever happened to the thread that held it before: every change under these locks is whole when it can panic.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
