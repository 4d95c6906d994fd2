//! Rows within the store's bound. Owns what becomes of a longer one: its text comes in parts, the fields stay with the first of them, and
//! fields that do not fit are cut. No row that comes from outside is refused for its length.

use duramen_store::{Batch, Level, Nanoseconds, Stream, TimeBase};

use crate::input::{Counters, Feed};

/// Bytes that a field takes beside its name and its value, at most.
const FIELD_BYTES: usize = 10;

/// A row as it came.
pub struct Row<'a> {
    /// What its time is counted from.
    pub base: TimeBase,
    /// Its time.
    pub time: Nanoseconds,
    /// How grave it is.
    pub level: Level,
    /// Its text.
    pub text: &'a [u8],
    /// Its fields.
    pub fields: &'a [(&'a str, &'a str)],
}

/// Where rows are added.
pub trait Target {
    /// What to add the next row of a stream to, whose text and fields have so many bytes; `None`: it is not to be added.
    fn batch(&mut self, stream: &Stream, bytes: usize) -> Option<&mut Batch>;
}

impl Target for Batch {
    fn batch(&mut self, _stream: &Stream, _bytes: usize) -> Option<&mut Batch> {
        Some(self)
    }
}

impl Feed {
    /// Adds a row to a batch, in parts if it is longer than the store's bound; each part but the first counts as odd, and so do
    /// fields that were cut.
    pub fn push(&self, target: &mut impl Target, stream: &Stream, row: &Row<'_>) {
        let max = self.row_bytes_max.max(1);
        let kept = fitting(row.fields, max);
        let (first, rest) = row.text.split_at(row.text.len().min(max));
        let mut add = |text: &[u8], fields: &[(&str, &str)]| {
            let field_bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len() + FIELD_BYTES).sum();
            if let Some(batch) = target.batch(stream, text.len() + field_bytes) {
                batch.push_at(row.base, stream, row.time, row.level, text, fields);
            }
        };
        add(first, &kept);
        rest.chunks(max).for_each(|part| add(part, &[]));
        let cut = kept[..] != *row.fields;
        Counters::add(&self.counters.odd, (rest.len().div_ceil(max) + usize::from(cut)) as u64);
    }
}

/// As many of some fields as fit into so many bytes, the last one cut.
fn fitting<'a>(fields: &[(&'a str, &'a str)], bytes_max: usize) -> Vec<(&'a str, &'a str)> {
    let mut room = bytes_max;
    let mut found = Vec::with_capacity(fields.len());
    for &(name, value) in fields {
        let Some(left) = room.checked_sub(name.len() + FIELD_BYTES) else { break };
        let end = (0..=left.min(value.len())).rev().find(|&end| value.is_char_boundary(end));
        let kept = &value[..end.unwrap_or(0)];
        found.push((name, kept));
        if kept.len() < value.len() {
            break;
        }
        room = left - kept.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_cut_where_they_end() {
        let fields = [("a", "12345"), ("b", "1234ü"), ("c", "x")];
        assert_eq!(fitting(&fields, 1_000), fields);
        assert_eq!(fitting(&fields, 16 + 16), [("a", "12345"), ("b", "1234")]);
        assert_eq!(fitting(&fields, 16 + 11), [("a", "12345"), ("b", "")]);
        assert_eq!(fitting(&fields, 16), [("a", "12345")]);
        assert_eq!(fitting(&fields, 10), []);
    }
}
