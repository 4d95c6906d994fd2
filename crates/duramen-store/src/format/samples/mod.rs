//! Columns of samples: values ([`values`]) and times ([`times`]) of one block. Pure. For now both are stored as they are; encodings
//! that shrink them follow.

pub(crate) mod times;
pub(crate) mod values;

/// How hard to try: sealing is on the write path, merging is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Quickly.
    Seal,
    /// Well.
    Merge,
}
