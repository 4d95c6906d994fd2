//! Columns of numbers as bytes: runs, and differences in a common unit. Owns what the journal's records and the tables'
//! blocks share. Pure.

use crate::format::bytes::{Reader, put_number, put_signed};

/// Units that times come in: whole seconds, milliseconds, microseconds, nanoseconds. The largest that fits all is used.
pub(crate) const UNITS: [i64; 4] = [1_000_000_000, 1_000_000, 1_000, 1];

/// Which of [`UNITS`] is the largest that fits all times.
pub(crate) fn unit_of(times: &[i64]) -> usize {
    UNITS.iter().position(|unit| times.iter().all(|time| time % unit == 0)).expect("one divides everything")
}

/// Adds times: which unit, the first one, then the difference of each to the one before.
pub(crate) fn put_times(out: &mut Vec<u8>, times: &[i64]) {
    let which = unit_of(times);
    out.push(which as u8);
    let unit = UNITS[which];
    let mut before = 0;
    for &time in times {
        let counted = time / unit;
        put_signed(out, counted.wrapping_sub(before));
        before = counted;
    }
}

/// Reads so many times.
pub(crate) fn times(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    let unit = *UNITS.get(usize::from(reader.byte()?))?;
    if count > reader.left() {
        return None;
    }
    let mut all = Vec::with_capacity(count);
    let mut counted = 0i64;
    for _ in 0..count {
        counted = counted.wrapping_add(reader.signed()?);
        all.push(counted.checked_mul(unit)?);
    }
    Some(all)
}

/// Adds runs of equal numbers: how many runs, then each one's number and length.
pub(crate) fn put_runs(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>) {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.0 == number => run.1 += 1,
            _ => runs.push((number, 1)),
        }
    }
    put_number(out, runs.len() as u64);
    for (number, length) in runs {
        put_number(out, number);
        put_number(out, length);
    }
}

/// Reads runs that make up so many numbers, and hands each run out.
pub(crate) fn runs(reader: &mut Reader<'_>, count: usize, mut run: impl FnMut(u64, usize) -> Option<()>) -> Option<()> {
    let mut left = count;
    for _ in 0..reader.count()? {
        let number = reader.number()?;
        let length = usize::try_from(reader.number()?).ok()?;
        left = left.checked_sub(length)?;
        run(number, length)?;
    }
    (left == 0).then_some(())
}

/// Adds the lengths between ends: differences of a growing column.
pub(crate) fn put_lengths(out: &mut Vec<u8>, ends: &[u32]) {
    let mut before = 0;
    for &end in ends {
        put_number(out, u64::from(end - before));
        before = end;
    }
}

/// Reads so many lengths back into ends.
pub(crate) fn lengths(reader: &mut Reader<'_>, count: usize) -> Option<Vec<u32>> {
    if count > reader.left() {
        return None;
    }
    let mut ends = Vec::with_capacity(count);
    let mut end = 0u32;
    for _ in 0..count {
        end = end.checked_add(u32::try_from(reader.number()?).ok()?)?;
        ends.push(end);
    }
    Some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_whatever_their_unit() {
        for all in [
            vec![],
            vec![0],
            vec![1_700_000_000_000_000_000, 1_700_000_001_000_000_000, 1_699_999_999_000_000_000],
            vec![1_700_000_000_123_000_000],
            vec![i64::MIN, i64::MAX, 0, -1],
        ] {
            let mut out = Vec::new();
            put_times(&mut out, &all);
            let mut reader = Reader::new(&out);
            assert_eq!(times(&mut reader, all.len()), Some(all));
            assert!(reader.is_empty());
        }
        let mut seconds = Vec::new();
        put_times(&mut seconds, &[1_700_000_000_000_000_000, 1_700_000_001_000_000_000]);
        assert_eq!(seconds.len(), 1 + 5 + 1);
    }

    #[test]
    fn runs_and_lengths_come_back_or_are_none() {
        let numbers = [3u64, 3, 3, 9, 9, 3];
        let mut out = Vec::new();
        put_runs(&mut out, numbers.iter().copied());
        let mut read = Vec::new();
        let mut collect = |number, length| {
            read.extend(std::iter::repeat_n(number, length));
            Some(())
        };
        assert_eq!(runs(&mut Reader::new(&out), 6, &mut collect), Some(()));
        assert_eq!(read, numbers);
        for wrong in [5, 7] {
            assert_eq!(runs(&mut Reader::new(&out), wrong, |_, _| Some(())), None);
        }
        let mut out = Vec::new();
        put_lengths(&mut out, &[2, 2, 300]);
        assert_eq!(lengths(&mut Reader::new(&out), 3), Some(vec![2, 2, 300]));
        assert_eq!(lengths(&mut Reader::new(&out), 4), None);
    }
}
