//! The facade of Duramen: one name for the journal and, later, for the stores on it, and the [`lines`] that the binary
//! stores in a journal. Owns no storage code of its own.

pub mod lines;

#[cfg(feature = "decisions")]
pub use duramen_decisions as decisions;
pub use duramen_journal as journal;
#[cfg(feature = "raft")]
pub use duramen_raft as raft;
#[cfg(feature = "daemon")]
pub use duramen_store as store;

/// The README's example, so that it runs.
#[cfg(all(doctest, feature = "raft", feature = "decisions"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
