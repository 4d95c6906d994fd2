//! Values of a block as bytes. Pure.

use super::Effort;

/// Adds values.
pub(crate) fn put_values(out: &mut Vec<u8>, values: &[f64], _effort: Effort) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_bits().to_le_bytes()));
}

/// Reads exactly so many values. `None`: these are no values.
pub(crate) fn values(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let (words, rest) = bytes.as_chunks::<8>();
    let all = || words.iter().map(|word| f64::from_bits(u64::from_le_bytes(*word))).collect();
    (rest.is_empty() && words.len() == count).then(all)
}
