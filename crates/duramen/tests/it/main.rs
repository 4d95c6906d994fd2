//! The real binary as its users meet it: bytes in, bytes out, exit codes, signals, kills. Each test runs the executable
//! that this build made, in a temporary folder of its own.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the tests run processes and look at their files from outside"
)]

mod bad_input;
#[cfg(feature = "daemon")]
mod bad_rows;
#[cfg(feature = "daemon")]
mod collector;
#[cfg(feature = "daemon")]
mod crowd;
#[cfg(feature = "daemon")]
mod curl;
mod damage;
#[cfg(all(feature = "daemon", feature = "decisions"))]
mod decisions;
mod demo;
#[cfg(feature = "daemon")]
mod exec;
mod file_systems;
#[cfg(feature = "daemon")]
mod file_tail;
mod harness;
#[cfg(feature = "daemon")]
mod http;
#[cfg(feature = "daemon")]
mod journald;
mod kill;
mod mounted;
#[cfg(feature = "daemon")]
mod page;
#[cfg(feature = "daemon")]
mod power;
mod power_cut;
#[cfg(feature = "raft")]
mod raft;
mod round_trip;
#[cfg(feature = "daemon")]
mod scrape;
#[cfg(feature = "daemon")]
mod series;
#[cfg(feature = "daemon")]
mod series_answers;
#[cfg(feature = "daemon")]
mod series_bodies;
mod signals;
#[cfg(feature = "daemon")]
mod store_tools;
mod strace;
#[cfg(feature = "daemon")]
mod syslog;
mod tools;
