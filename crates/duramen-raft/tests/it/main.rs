//! The integration tests of the Raft log, in one binary.

#[cfg(feature = "sim")]
mod damage;
mod format;
#[cfg(feature = "sim")]
mod full_disk;
#[cfg(feature = "sim")]
mod golden;
#[cfg(feature = "sim")]
mod groups;
#[cfg(feature = "sim")]
mod inspect;
#[cfg(feature = "sim")]
mod log;
mod own_wal;
#[cfg(feature = "sim")]
mod simulated;
#[cfg(feature = "sim")]
mod snapshots;
#[cfg(feature = "sim")]
mod strategies;
#[cfg(feature = "sim")]
mod threads;
#[cfg(feature = "sim")]
mod tier;
