//! Floats that were decimals once: integers over a power of ten. What arithmetic has moved by a few units in the last place is
//! an offset beside the integer; what is no such number is an exception, bits and all. Exact: a float comes back bit for bit,
//! or is not taken. Pure.

use super::Effort;
use super::integers::{integers, put_integers};
use crate::format::bytes::{Reader, put_number};

/// Digits behind the point that are tried. 10^22 would still be exact; more digits than this are no decimals but arithmetic.
const DIGITS_MAX: usize = 14;
const POWERS: [f64; DIGITS_MAX + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
/// Integers with digits behind the point are smaller than this: each is a float, and one division rounds once.
const SCALED_MAX: f64 = (1u64 << 53) as f64;
/// Where offsets are allowed, integers are smaller than this: else any float is near some decimal.
const NEAR_MAX: f64 = (1u64 << 46) as f64;
/// The furthest offset, in units of the last place.
const OFFSET_MAX: u64 = 127;
/// One of so many values may be an exception, and some are always allowed.
const EXCEPTIONS_SHARE: usize = 16;
const EXCEPTIONS_FREE: usize = 3;
/// Values of which the digits are guessed.
const SAMPLE: usize = 32;
/// In the byte of the digits: a column of offsets follows.
const WITH_OFFSETS: u8 = 0x80;

/// Floats taken apart.
pub(super) struct Decimals {
    digits: usize,
    integers: Vec<i64>,
    /// In units of the last place; empty where all are 0.
    offsets: Vec<i64>,
    /// Which value, and its bits.
    exceptions: Vec<(usize, u64)>,
}

/// One float taken apart.
enum Apart {
    Exact(i64),
    Near(i64, i64),
    No,
}

/// The float that an integer over a power of ten is nearest to.
#[inline]
fn joined(integer: i64, power: f64) -> f64 {
    integer as f64 / power
}

#[inline]
fn apart(value: f64, digits: usize) -> Apart {
    let power = POWERS[digits];
    let scaled = (value * power).round_ties_even();
    let bound = if digits == 0 { i64::MAX as f64 } else { SCALED_MAX };
    if scaled.is_nan() || scaled.abs() >= bound {
        return Apart::No;
    }
    let integer = scaled as i64;
    // Zeros of either sign lie far apart in bits, so -0.0 is not taken.
    let offset = value.to_bits().wrapping_sub(joined(integer, power).to_bits()) as i64;
    match offset {
        0 => Apart::Exact(integer),
        _ if offset.unsigned_abs() <= OFFSET_MAX && scaled.abs() < NEAR_MAX && integer != 0 => {
            Apart::Near(integer, offset)
        }
        _ => Apart::No,
    }
}

/// The fewest digits, from some number on, with which a value is exactly a decimal.
fn digits_of(value: f64, from: usize) -> Option<usize> {
    (from..=DIGITS_MAX).find(|&digits| {
        matches!(apart(value, digits), Apart::Exact(integer) if digits == 0 || (integer.unsigned_abs() as f64) < NEAR_MAX)
    })
}

/// How many digits most of a sample have: exactly, if that explains them, or nearly.
fn guess(values: &[f64]) -> Option<usize> {
    let stride = values.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<f64> =
        values.iter().step_by(stride).copied().filter(|value| value.is_finite() && *value != 0.0).collect();
    let enough = sample.len() - sample.len() / 4;
    let near =
        |digits: &usize| sample.iter().filter(|value| !matches!(apart(**value, *digits), Apart::No)).count() >= enough;
    (0..=DIGITS_MAX).find(near)
}

impl Decimals {
    /// Takes floats apart; `None`: they are no decimals.
    pub(super) fn of(values: &[f64]) -> Option<Decimals> {
        let mut digits = guess(values)?;
        'again: loop {
            let mut found = Decimals {
                digits,
                integers: Vec::with_capacity(values.len()),
                offsets: Vec::new(),
                exceptions: Vec::new(),
            };
            for (at, &value) in values.iter().enumerate() {
                match apart(value, digits) {
                    Apart::Exact(integer) => found.push(integer, 0),
                    Apart::Near(integer, offset) => found.push(integer, offset),
                    Apart::No => {
                        if let Some(more) = digits_of(value, digits + 1) {
                            digits = more;
                            continue 'again;
                        }
                        if found.exceptions.len() >= EXCEPTIONS_FREE + values.len() / EXCEPTIONS_SHARE {
                            return None;
                        }
                        found.exceptions.push((at, value.to_bits()));
                        found.push(found.integers.last().copied().unwrap_or(0), 0);
                    }
                }
            }
            return Some(found);
        }
    }

    fn push(&mut self, integer: i64, offset: i64) {
        if offset != 0 && self.offsets.is_empty() {
            self.offsets.resize(self.integers.len(), 0);
            self.offsets.push(offset);
        } else if offset != 0 || !self.offsets.is_empty() {
            self.offsets.push(offset);
        }
        self.integers.push(integer);
    }

    /// Whether each value is exactly a decimal: then nothing else is likely to be shorter.
    pub(super) fn plain(&self) -> bool {
        self.offsets.is_empty()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>, effort: Effort) {
        let with_offsets = !self.offsets.is_empty();
        out.push(self.digits as u8 | if with_offsets { WITH_OFFSETS } else { 0 });
        put_number(out, self.exceptions.len() as u64);
        let mut next = 0;
        for &(at, bits) in &self.exceptions {
            put_number(out, (at - next) as u64);
            out.extend_from_slice(&bits.to_le_bytes());
            next = at + 1;
        }
        if with_offsets {
            let mut offsets = Vec::new();
            put_integers(&mut offsets, &self.offsets, effort);
            put_number(out, offsets.len() as u64);
            out.extend_from_slice(&offsets);
        }
        put_integers(out, &self.integers, effort);
    }
}

/// Reads so many floats.
pub(super) fn decimals(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let mut reader = Reader::new(bytes);
    let digits = reader.byte()?;
    let power = *POWERS.get(usize::from(digits & !WITH_OFFSETS))?;
    let mut exceptions = Vec::new();
    let mut next = 0;
    for _ in 0..reader.count()? {
        let at = usize::try_from(reader.number()?).ok()?.checked_add(next)?;
        exceptions.push((at, reader.u64()?));
        next = at.checked_add(1)?;
    }
    let offsets = if digits & WITH_OFFSETS == 0 { Vec::new() } else { integers(reader.bytes()?, count)? };
    let all = integers(reader.take(reader.left())?, count)?;
    let mut values: Vec<f64> = all.iter().map(|integer| joined(*integer, power)).collect();
    for (value, offset) in values.iter_mut().zip(offsets) {
        *value = f64::from_bits(value.to_bits().wrapping_add(offset as u64));
    }
    for (at, bits) in exceptions {
        *values.get_mut(at)? = f64::from_bits(bits);
    }
    Some(values)
}
