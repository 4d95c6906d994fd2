//! Blocks of samples: a column of times ([`times`]) and one of values ([`values`]), each in the smallest of several encodings,
//! and what a block says of itself ([`Summary`]). Pure and deterministic: the same numbers give the same bytes. Drawn in
//! FORMAT.md. Knows no series, no file, no checksum.

mod bits;
mod chunk;
mod decimal;
mod integers;
mod order;
mod summary;
mod times;
mod values;

pub(crate) use summary::Summary;
pub(crate) use times::{put_times, times};
pub(crate) use values::{put_values, values};

/// How hard to try: sealing is on the write path, merging is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Where a cheap encoding does well, dear ones are not tried.
    Seal,
    /// Whatever may be smaller is tried.
    Merge,
}

/// Where `bytes` is shorter than what stands in `out` from `from` on, it takes its place; else nothing changes.
fn keep_shorter(out: &mut Vec<u8>, from: usize, bytes: &[u8]) {
    if out.len() - from > bytes.len() {
        out.truncate(from);
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests;
