//! The numbers of a block: times, places in the journal, arrivals, levels, lengths, each a column. Pure.

use duramen_journal::Sequence;

use crate::format::bytes::{Reader, put_number, put_signed};
use crate::format::column::{lengths, put_lengths, put_runs, put_times, runs, times};
use crate::row::{Arrival, Level, Nanoseconds, ROWS_PER_RECORD_MAX, RowId};

/// All of a block but its text and fields. Rows are sorted by time, then by id; all columns have one entry a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub times: Vec<Nanoseconds>,
    pub ids: Vec<RowId>,
    pub levels: Vec<u8>,
    /// When each record's rows arrived, sorted by sequence: one entry for each record that occurs.
    pub arrivals: Vec<(Sequence, Arrival)>,
    pub text_ends: Vec<u32>,
    /// As `text_ends`; all zero if no row has fields.
    pub field_ends: Vec<u32>,
}

impl Numbers {
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// When a row arrived.
    pub fn arrival(&self, row: usize) -> Arrival {
        let sequence = self.ids[row].sequence();
        let at = self.arrivals.binary_search_by_key(&sequence, |arrival| arrival.0);
        at.map_or_else(|_| Arrival::default(), |at| self.arrivals[at].1)
    }

    /// A bit for each level that occurs.
    pub fn level_mask(&self) -> u16 {
        self.levels.iter().fold(0, |mask, &level| mask | 1 << level.min(Level::None as u8))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_times(&mut out, &self.times);
        let mut before = 0;
        for id in &self.ids {
            put_signed(&mut out, id.sequence().wrapping_sub(before) as i64);
            before = id.sequence();
        }
        let mut expected = RowId::default();
        for &id in &self.ids {
            // Rows of one record mostly follow each other.
            put_signed(&mut out, id.ordinal() as i64 - next(expected, id) as i64);
            expected = id;
        }
        put_number(&mut out, self.arrivals.len() as u64);
        let (mut boot, mut monotonic) = (0, 0);
        for (_, arrival) in &self.arrivals {
            put_signed(&mut out, i64::from(arrival.boot) - boot);
            put_signed(&mut out, arrival.monotonic.wrapping_sub(monotonic) as i64);
            (boot, monotonic) = (i64::from(arrival.boot), arrival.monotonic);
        }
        put_runs(&mut out, self.levels.iter().map(|&level| u64::from(level)));
        put_lengths(&mut out, &self.text_ends);
        if self.field_ends.last().is_some_and(|&end| end > 0) {
            put_lengths(&mut out, &self.field_ends);
        }
        out
    }

    /// Reads the numbers of so many rows, with so many bytes of text and fields. `None`: these are none.
    pub fn decode(bytes: &[u8], rows: usize, text_bytes: u32, field_bytes: u32) -> Option<Numbers> {
        let mut reader = Reader::new(bytes);
        let times = times(&mut reader, rows)?;
        let mut sequences = Vec::with_capacity(rows);
        let mut sequence = 0u64;
        for _ in 0..rows {
            sequence = sequence.wrapping_add(reader.signed()? as u64);
            sequences.push(sequence);
        }
        let mut ids = Vec::with_capacity(rows);
        let mut before = RowId::default();
        for sequence in sequences {
            if sequence >= 1 << 44 {
                return None;
            }
            let expected = next(before, RowId::new(sequence, 0)) as i64;
            let ordinal = usize::try_from(expected.checked_add(reader.signed()?)?).ok()?;
            if ordinal >= ROWS_PER_RECORD_MAX {
                return None;
            }
            before = RowId::new(sequence, ordinal);
            ids.push(before);
        }
        let arrivals = arrivals(&mut reader, &ids)?;
        let mut levels = Vec::with_capacity(rows);
        runs(&mut reader, rows, |level, length| {
            levels.extend(std::iter::repeat_n(Level::from_byte(u8::try_from(level).ok()?) as u8, length));
            Some(())
        })?;
        let text_ends = lengths(&mut reader, rows)?;
        let field_ends = if field_bytes == 0 { vec![0; rows] } else { lengths(&mut reader, rows)? };
        let ends = (text_ends.last().copied().unwrap_or(0), field_ends.last().copied().unwrap_or(0));
        let whole = reader.is_empty() && ends == (text_bytes, field_bytes);
        whole.then_some(Numbers { times, ids, levels, arrivals, text_ends, field_ends })
    }
}

/// The ordinal that is expected behind a row: the next one of its record, or the first one of another.
fn next(before: RowId, id: RowId) -> usize {
    if before.sequence() == id.sequence() { before.ordinal() + 1 } else { 0 }
}

fn arrivals(reader: &mut Reader<'_>, ids: &[RowId]) -> Option<Vec<(Sequence, Arrival)>> {
    let mut sequences: Vec<Sequence> = ids.iter().map(|id| id.sequence()).collect();
    sequences.sort_unstable();
    sequences.dedup();
    if reader.count()? != sequences.len() {
        return None;
    }
    let (mut boot, mut monotonic) = (0i64, 0u64);
    let mut all = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        boot = boot.checked_add(reader.signed()?)?;
        monotonic = monotonic.wrapping_add(reader.signed()? as u64);
        all.push((sequence, Arrival { boot: u32::try_from(boot).ok()?, monotonic }));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Numbers {
        let arrival = |boot, monotonic| Arrival { boot, monotonic };
        Numbers {
            times: vec![10, 10, 11, 12],
            ids: vec![RowId::new(7, 3), RowId::new(7, 4), RowId::new(5, 0), RowId::new(9, ROWS_PER_RECORD_MAX - 1)],
            levels: vec![6, 6, 3, 8],
            arrivals: vec![(5, arrival(1, 900)), (7, arrival(1, 950)), (9, arrival(2, 4))],
            text_ends: vec![2, 2, 5, 9],
            field_ends: vec![0, 4, 4, 4],
        }
    }

    #[test]
    fn numbers_come_back() {
        let numbers = sample();
        let bytes = numbers.encode();
        assert_eq!(Numbers::decode(&bytes, 4, 9, 4), Some(numbers.clone()));
        assert_eq!(numbers.arrival(2), Arrival { boot: 1, monotonic: 900 });
        assert_eq!(numbers.level_mask(), 1 << 6 | 1 << 3 | 1 << 8);
        assert_eq!(Numbers::decode(&bytes, 3, 9, 4), None);
        assert_eq!(Numbers::decode(&bytes, 4, 8, 4), None);
        for end in 0..bytes.len() {
            assert_eq!(Numbers::decode(&bytes[..end], 4, 9, 4), None);
        }
    }

    #[test]
    fn damaged_numbers_make_no_panic() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let _ = Numbers::decode(&damaged, 4, 9, 4);
            }
        }
    }
}
