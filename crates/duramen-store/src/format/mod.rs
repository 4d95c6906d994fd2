//! Stored bytes: the journal's records of rows, streams and positions ([`batch`]), tables ([`table`]), and the manifest
//! ([`manifest`]). Pure: bytes to values and back; drawn in this crate's FORMAT.md.

pub(crate) mod batch;
pub(crate) mod bytes;
pub(crate) mod column;
pub(crate) mod manifest;
pub(crate) mod samples;
pub(crate) mod table;
