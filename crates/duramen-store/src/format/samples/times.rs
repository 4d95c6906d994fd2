//! A column of times: the unit that all are whole in, then integers. Pure.

use super::Effort;
use super::integers::{integers, put_integers};

/// Units that times come in, largest first: whole seconds, milliseconds, microseconds, nanoseconds.
const UNITS: [i64; 4] = [1_000_000_000, 1_000_000, 1_000, 1];

/// Adds times in nanoseconds, in the shortest of their encodings. Any are taken; those that do not fall are short.
pub(crate) fn put_times(out: &mut Vec<u8>, times: &[i64], effort: Effort) {
    let which =
        UNITS.iter().position(|unit| times.iter().all(|time| time % unit == 0)).expect("one divides everything");
    out.push(which as u8);
    let unit = UNITS[which];
    put_integers(out, &times.iter().map(|time| time / unit).collect::<Vec<_>>(), effort);
}

/// Reads so many times, which take all the bytes; the count is the writer's, as with [`values`](super::values). Allocates for so many, and for what `bytes` holds.
pub(crate) fn times(bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    let (which, bytes) = bytes.split_first()?;
    let unit = *UNITS.get(usize::from(*which))?;
    let mut times = integers(bytes, count)?;
    if unit > 1 {
        for time in &mut times {
            *time = time.checked_mul(unit)?;
        }
    }
    Some(times)
}
