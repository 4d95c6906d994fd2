//! The journal's records of a store: rows, a stream's definition, a source's position. Pure.
//!
//! Rows travel column by column, one record for all rows of a batch that have one time base; the record's place in the
//! journal is their identity, so nothing in it counts them.

use crate::chunk::{Chunk, Group, StreamId};
use crate::format::bytes::{Reader, put_bytes, put_number};
use crate::format::column::{lengths, put_lengths, put_runs, put_times, runs, times};
use crate::labels::Labels;
use crate::row::{Arrival, Level, ROWS_PER_RECORD_MAX};

/// The journal's log that all records of a store belong to.
pub(crate) const LOG: u32 = 1;
/// Rows whose times are counted from 1970.
pub(crate) const KIND_ROWS: u8 = 1;
/// Rows whose times are counted from the boot that they arrived in.
pub(crate) const KIND_ROWS_OF_BOOT: u8 = 2;
/// A stream's number and labels.
pub(crate) const KIND_STREAM: u8 = 3;
/// A source's key and where it stands.
pub(crate) const KIND_POSITION: u8 = 4;
/// Samples, see [`crate::format::chain`].
pub(crate) const KIND_SAMPLES: u8 = 5;

/// Adds the rows of a batch, which are one group.
pub(crate) fn put_rows(out: &mut Vec<u8>, chunk: &Chunk, arrival: Arrival) {
    put_number(out, chunk.len() as u64);
    put_number(out, u64::from(arrival.boot));
    put_number(out, arrival.monotonic);
    put_runs(out, chunk.streams.iter().map(|stream| u64::from(stream.0)));
    put_times(out, &chunk.times);
    put_runs(out, chunk.levels.iter().map(|&level| u64::from(level)));
    put_lengths(out, &chunk.text_ends);
    put_number(out, chunk.fields.len() as u64);
    if !chunk.fields.is_empty() {
        put_lengths(out, &chunk.field_ends);
        out.extend_from_slice(&chunk.fields);
    }
    out.extend_from_slice(&chunk.text);
}

/// Reads the rows of a record with this sequence. `None`: these are no rows.
pub(crate) fn rows(payload: &[u8], sequence: u64) -> Option<Chunk> {
    let mut reader = Reader::new(payload);
    let count = reader.count()?;
    if count > ROWS_PER_RECORD_MAX {
        return None;
    }
    let boot = u32::try_from(reader.number()?).ok()?;
    let arrival = Arrival { boot, monotonic: reader.number()? };
    let mut chunk = Chunk { groups: vec![Group { sequence, from: 0, ordinal: 0, arrival }], ..Chunk::default() };
    runs(&mut reader, count, |stream, length| {
        chunk.streams.extend(std::iter::repeat_n(StreamId(u32::try_from(stream).ok()?), length));
        Some(())
    })?;
    chunk.times = times(&mut reader, count)?;
    runs(&mut reader, count, |level, length| {
        chunk.levels.extend(std::iter::repeat_n(Level::from_byte(u8::try_from(level).ok()?) as u8, length));
        Some(())
    })?;
    chunk.text_ends = lengths(&mut reader, count)?;
    let field_bytes = reader.count()?;
    chunk.field_ends = match field_bytes {
        0 => vec![0; count],
        _ => lengths(&mut reader, count)?,
    };
    chunk.fields = reader.take(field_bytes)?.to_vec();
    chunk.text = reader.take(reader.left())?.to_vec();
    let whole = chunk.text_ends.last().map_or(0, |&end| end as usize) == chunk.text.len()
        && chunk.field_ends.last().map_or(0, |&end| end as usize) == field_bytes;
    whole.then_some(chunk)
}

/// Adds a stream's definition.
pub(crate) fn put_stream(out: &mut Vec<u8>, stream: StreamId, labels: &Labels) {
    put_number(out, u64::from(stream.0));
    out.extend_from_slice(labels.as_bytes());
}

/// Reads a stream's definition.
pub(crate) fn stream(payload: &[u8]) -> Option<(StreamId, Labels)> {
    let mut reader = Reader::new(payload);
    let id = StreamId(u32::try_from(reader.number()?).ok()?);
    Some((id, Labels::decode(reader.take(reader.left())?)?))
}

/// Adds a source's position.
pub(crate) fn put_position(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    put_bytes(out, key);
    out.extend_from_slice(value);
}

/// Reads a source's position: its key, and where it stands.
pub(crate) fn position(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new(payload);
    let key = reader.bytes()?;
    Some((key, reader.take(reader.left())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Chunk {
        let mut chunk = Chunk {
            groups: vec![Group { sequence: 42, from: 0, ordinal: 0, arrival: Arrival { boot: 3, monotonic: 99 } }],
            ..Chunk::default()
        };
        chunk.push(StreamId(1), 1_000_000_000, Level::Info, b"one", b"");
        chunk.push(StreamId(1), 2_000_000_000, Level::Error, b"", b"\x01a\x01b");
        chunk.push(StreamId(7), -5_000_000_000, Level::None, b"\xff\x00", b"");
        chunk
    }

    #[test]
    fn rows_come_back() {
        let chunk = sample();
        let mut out = Vec::new();
        put_rows(&mut out, &chunk, chunk.arrival(0));
        assert_eq!(rows(&out, 42), Some(chunk));
    }

    #[test]
    fn rows_that_are_cut_short_are_none() {
        let chunk = sample();
        let mut out = Vec::new();
        put_rows(&mut out, &chunk, chunk.arrival(0));
        for end in 0..out.len() {
            assert_eq!(rows(&out[..end], 42), None, "{end}");
        }
        out.push(0);
        assert_eq!(rows(&out, 42), None);
    }

    #[test]
    fn definitions_and_positions_come_back() {
        let labels = Labels::new([("app", "x")]).unwrap();
        let mut out = Vec::new();
        put_stream(&mut out, StreamId(9), &labels);
        assert_eq!(stream(&out), Some((StreamId(9), labels)));
        assert_eq!(stream(&out[..3]), None);
        out.clear();
        put_position(&mut out, b"file", b"\x00\x01");
        assert_eq!(position(&out), Some((&b"file"[..], &b"\x00\x01"[..])));
        assert_eq!(position(b"\x09x"), None);
    }
}
