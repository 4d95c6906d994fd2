//! The integration tests of the journal, in one binary.

mod decoders;
mod extras;
#[cfg(feature = "sim")]
mod faults;
#[cfg(feature = "sim")]
mod golden;
#[cfg(feature = "sim")]
mod inspect;
mod journal;
#[cfg(feature = "sim")]
mod model;
#[cfg(feature = "sim")]
mod options;
mod real_disk;
mod real_environment;
#[cfg(feature = "sim")]
mod simulated;
#[cfg(feature = "sim")]
mod unreadable;
