//! The integration tests of the journal, in one binary.

mod journal;
mod real_disk;
mod real_environment;
