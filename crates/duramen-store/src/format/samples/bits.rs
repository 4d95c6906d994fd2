//! Numbers of equal width side by side, lowest bit first. Pure.

/// Bytes that so many numbers of this width take.
pub(super) fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// How many bits a number needs.
pub(super) fn width(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

/// Adds numbers, of each its lowest `width` bits.
pub(super) fn put_packed(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>, width: u32) {
    if width == 0 {
        return;
    }
    let mut gathered = 0u128;
    let mut bits = 0;
    for number in numbers {
        gathered |= u128::from(number) << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&(gathered as u64).to_le_bytes());
            gathered >>= 64;
            bits -= 64;
        }
    }
    out.extend_from_slice(&gathered.to_le_bytes()[..bits.div_ceil(8) as usize]);
}

/// Reads so many numbers from exactly the bytes that they take.
///
/// # Panics
/// If there are fewer bytes than that, or a width over 64: the caller has looked.
pub(super) fn packed(bytes: &[u8], count: usize, width: u32) -> impl Iterator<Item = u64> {
    assert!(width <= 64 && bytes.len() == packed_bytes(count, width), "as many bytes as the numbers take");
    let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
    (0..count).map(move |index| {
        let at = index * width as usize;
        let (from, skip) = (at / 8, at % 8);
        match bytes.get(from..from + 16) {
            // One load does while the number ends in it, which it does up to 57 bits.
            Some(word) if width <= 57 => {
                u64::from_le_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]) >> skip
                    & mask
            }
            Some(word) => (u128::from_le_bytes(word.try_into().expect("sixteen")) >> skip) as u64 & mask,
            None => {
                let mut word = [0; 16];
                let rest = bytes.get(from..).unwrap_or_default();
                word[..rest.len()].copy_from_slice(rest);
                (u128::from_le_bytes(word) >> skip) as u64 & mask
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_come_back() {
        for bits in 0..=64 {
            for count in [0, 1, 2, 7, 8, 63, 100] {
                let mask = u64::MAX.checked_shr(64 - bits).unwrap_or(0);
                let numbers: Vec<u64> =
                    (0..count as u64).map(|at| !at.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask).collect();
                let mut out = Vec::new();
                put_packed(&mut out, numbers.iter().copied(), bits);
                assert_eq!(out.len(), packed_bytes(count, bits));
                assert_eq!(packed(&out, count, bits).collect::<Vec<_>>(), numbers, "{bits} bits");
                assert!(numbers.iter().all(|number| width(*number) <= bits));
            }
        }
    }
}
