//! The integration tests of the journal, in one binary.

mod decoders;
#[cfg(feature = "sim")]
mod faults;
mod journal;
mod real_disk;
mod real_environment;
#[cfg(feature = "sim")]
mod simulated;
