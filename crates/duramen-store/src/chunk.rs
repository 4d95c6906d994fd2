//! Rows in memory, column by column, in the order in which they came: what a batch is made of, and what the memtable holds.
//! Owns the columns and their lengths, which always agree; knows neither journal nor table.

use duramen_journal::Sequence;

use crate::memtable::Columns;
use crate::row::{Arrival, Fields, Level, Nanoseconds, RowId};

/// The number of a stream in this store, given when it is first named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u32);

/// Rows of one record of the journal within a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The record; 0 as long as it has none.
    pub sequence: Sequence,
    /// The chunk's row that the group begins with.
    pub from: usize,
    /// That row's place in the record: not 0 if rows before it are left out.
    pub ordinal: usize,
    pub arrival: Arrival,
}

/// Columns of rows of one time base. All columns have one entry a row; ends are offsets behind a row's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub streams: Vec<StreamId>,
    pub times: Vec<Nanoseconds>,
    pub levels: Vec<u8>,
    pub text_ends: Vec<u32>,
    pub field_ends: Vec<u32>,
    pub text: Vec<u8>,
    pub fields: Vec<u8>,
    pub groups: Vec<Group>,
}

/// What one row takes in the columns beside its text and fields.
pub(crate) const ROW_BYTES: usize = 4 + 8 + 1 + 4 + 4;

impl Chunk {
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Adds a row whose fields are given as their stored bytes.
    pub fn push(&mut self, stream: StreamId, time: Nanoseconds, level: Level, text: &[u8], fields: &[u8]) {
        self.streams.push(stream);
        self.times.push(time);
        self.levels.push(level as u8);
        self.text.extend_from_slice(text);
        self.text_ends.push(u32::try_from(self.text.len()).expect("a chunk stays below 4 GiB"));
        self.fields.extend_from_slice(fields);
        self.field_ends.push(u32::try_from(self.fields.len()).expect("a chunk stays below 4 GiB"));
    }

    pub fn text(&self, row: usize) -> &[u8] {
        let from = if row == 0 { 0 } else { self.text_ends[row - 1] };
        &self.text[from as usize..self.text_ends[row] as usize]
    }

    pub fn field_bytes(&self, row: usize) -> &[u8] {
        let from = if row == 0 { 0 } else { self.field_ends[row - 1] };
        &self.fields[from as usize..self.field_ends[row] as usize]
    }

    pub fn fields(&self, row: usize) -> Fields<'_> {
        Fields::from_bytes(self.field_bytes(row))
    }

    fn group(&self, row: usize) -> &Group {
        let behind = self.groups.partition_point(|group| group.from <= row);
        &self.groups[behind.checked_sub(1).expect("each row belongs to a group")]
    }

    pub fn id(&self, row: usize) -> RowId {
        let group = self.group(row);
        RowId::new(group.sequence, row - group.from + group.ordinal)
    }

    pub fn arrival(&self, row: usize) -> Arrival {
        self.group(row).arrival
    }
}

impl Columns for Chunk {
    fn len(&self) -> usize {
        self.streams.len()
    }

    fn streams(&self) -> &[StreamId] {
        &self.streams
    }

    /// Bytes of its text and fields.
    fn weight(&self, row: usize) -> usize {
        self.text(row).len() + self.field_bytes(row).len()
    }

    fn sequences(&self) -> Option<(Sequence, Sequence)> {
        Some((self.groups.first()?.sequence, self.groups.last()?.sequence))
    }

    fn bytes(&self) -> usize {
        self.len() * ROW_BYTES + self.text.len() + self.fields.len() + self.groups.len() * size_of::<Group>()
    }

    fn shrink(&mut self) {
        self.streams.shrink_to_fit();
        self.times.shrink_to_fit();
        self.levels.shrink_to_fit();
        self.text_ends.shrink_to_fit();
        self.field_ends.shrink_to_fit();
        self.text.shrink_to_fit();
        self.fields.shrink_to_fit();
        self.groups.shrink_to_fit();
    }

    fn extend(&mut self, other: &Chunk) {
        let (rows, text, fields) = (self.len(), self.text.len() as u32, self.fields.len() as u32);
        self.streams.extend_from_slice(&other.streams);
        self.times.extend_from_slice(&other.times);
        self.levels.extend_from_slice(&other.levels);
        self.text.extend_from_slice(&other.text);
        self.fields.extend_from_slice(&other.fields);
        self.text_ends.extend(other.text_ends.iter().map(|end| text + end));
        self.field_ends.extend(other.field_ends.iter().map(|end| fields + end));
        self.groups.extend(other.groups.iter().map(|group| Group { from: group.from + rows, ..*group }));
    }

    fn filtered(&self, mut keep: impl FnMut(usize) -> bool) -> Chunk {
        let mut kept = Chunk::default();
        let mut last = None;
        for row in 0..self.len() {
            if !keep(row) {
                continue;
            }
            let group = self.group(row);
            if last != Some((group.sequence, row.wrapping_sub(1))) {
                let ordinal = row - group.from + group.ordinal;
                kept.groups.push(Group { from: kept.len(), ordinal, ..*group });
            }
            last = Some((group.sequence, row));
            kept.push(
                self.streams[row],
                self.times[row],
                Level::from_byte(self.levels[row]),
                self.text(row),
                self.field_bytes(row),
            );
        }
        kept
    }

    fn truncate_above(&mut self, sequence: Sequence) {
        let keep = self.groups.partition_point(|group| group.sequence <= sequence);
        let rows = self.groups.get(keep).map_or(self.len(), |group| group.from);
        self.groups.truncate(keep);
        self.streams.truncate(rows);
        self.times.truncate(rows);
        self.levels.truncate(rows);
        self.text_ends.truncate(rows);
        self.field_ends.truncate(rows);
        self.text.truncate(self.text_ends.last().map_or(0, |&end| end as usize));
        self.fields.truncate(self.field_ends.last().map_or(0, |&end| end as usize));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(sequence: Sequence, texts: &[&str]) -> Chunk {
        let mut chunk = Chunk::default();
        chunk.groups.push(Group { sequence, from: 0, ordinal: 0, arrival: Arrival::default() });
        for text in texts {
            chunk.push(StreamId(1), 7, Level::Info, text.as_bytes(), b"");
        }
        chunk
    }

    #[test]
    fn rows_keep_their_ids_when_chunks_are_joined_and_cut() {
        let mut all = chunk(5, &["a", "bc"]);
        all.extend(&chunk(6, &["", "def"]));
        all.extend(&chunk(9, &["g"]));
        let told: Vec<_> =
            (0..all.len()).map(|row| (all.id(row).to_string(), String::from_utf8_lossy(all.text(row)))).collect();
        let told: Vec<_> = told.iter().map(|(id, text)| (id.as_str(), text.as_ref())).collect();
        assert_eq!(told, [("5.0", "a"), ("5.1", "bc"), ("6.0", ""), ("6.1", "def"), ("9.0", "g")]);
        let mut cut = all.clone();
        cut.truncate_above(6);
        assert_eq!((cut.len(), cut.text.as_slice()), (4, &b"abcdef"[..]));
        cut.truncate_above(4);
        assert!(cut.is_empty() && cut.text.is_empty() && cut.groups.is_empty());
        all.truncate_above(100);
        assert_eq!(all.len(), 5);
        let odd = all.filtered(|row| row % 2 == 1 || row == 4);
        let ids: Vec<String> = (0..odd.len()).map(|row| odd.id(row).to_string()).collect();
        assert_eq!((ids, odd.text.as_slice()), (vec!["5.1".into(), "6.1".into(), "9.0".into()], &b"bcdefg"[..]));
        assert_eq!(all.filtered(|_| true), all);
    }
}
