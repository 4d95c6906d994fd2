//! The integration tests of the journal, in one binary.

mod decoders;
#[cfg(feature = "sim")]
mod faults;
#[cfg(feature = "sim")]
mod inspect;
mod journal;
#[cfg(feature = "sim")]
mod model;
mod real_disk;
mod real_environment;
#[cfg(feature = "sim")]
mod simulated;
