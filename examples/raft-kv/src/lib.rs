//! A key-value service on openraft 0.10, in three processes over HTTP on loopback. Its log, votes and snapshots lie in a
//! [`duramen_raft`] folder; its keys and values in memory, rebuilt from the newest snapshot and the log.
//!
//! The path of a write: [`server`] -> openraft -> the log store (durable) -> [`network`] to the others -> committed ->
//! [`machine`] -> the answer. [`client`] and [`history`] are for the test that kills the processes.

pub mod client;
pub mod history;
pub mod machine;
pub mod network;
pub mod repair;
pub mod server;
pub mod types;
