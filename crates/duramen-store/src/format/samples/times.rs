//! Times of a block as bytes. Pure.

use super::Effort;

/// Adds times.
pub(crate) fn put_times(out: &mut Vec<u8>, times: &[i64], _effort: Effort) {
    times.iter().for_each(|time| out.extend_from_slice(&time.to_le_bytes()));
}

/// Reads exactly so many times. `None`: these are no times.
pub(crate) fn times(bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    let (words, rest) = bytes.as_chunks::<8>();
    let all = || words.iter().map(|word| i64::from_le_bytes(*word)).collect();
    (rest.is_empty() && words.len() == count).then(all)
}
