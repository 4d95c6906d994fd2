//! How text lines lie in a journal: the four record kinds, and both directions between bytes and records. Owns what
//! `duramen journal append` writes and `cat` restores (`FORMAT.md` beside this crate); pure, knows no file and no
//! journal.
//!
//! A line is stored with whether it ended in a newline, so that the restored bytes equal the input, whatever they are:
//! no encoding is assumed, NUL bytes and an end without newline included.

use std::convert::Infallible;
use std::io;

/// The log number of the lines within their journal.
pub const LOG: u32 = 1;

/// A line, or the last part of one; a newline followed it in the input and is not stored.
pub const KIND_LINE: u8 = 1;

/// A part of a line: the line goes on in the next record. Never the last record of a line.
pub const KIND_CONTINUED: u8 = 2;

/// A line, or the last part of one, that ended with its input and without a newline.
pub const KIND_PARTIAL: u8 = 3;

/// The continued records just before belong to a line whose writer died before its end; nobody was told that the line
/// is durable. They are no part of the text. The payload is empty.
pub const KIND_ABANDONED: u8 = 4;

/// Whether a record of this log and kind carries text.
pub fn is_text(log: u32, kind: u8) -> bool {
    log == LOG && matches!(kind, KIND_LINE | KIND_CONTINUED | KIND_PARTIAL)
}

/// Writes the bytes that a text record stands for.
pub fn restore(kind: u8, payload: &[u8], out: &mut dyn io::Write) -> io::Result<()> {
    out.write_all(payload)?;
    if kind == KIND_LINE { out.write_all(b"\n") } else { Ok(()) }
}

/// Cuts a stream of bytes into line records with bounded memory.
///
/// Invariants: what is held has no newline and is at most `record_bytes_max` long; a continued record is emitted only
/// when further bytes of its line are at hand, so the last record of a line is never a continued one.
#[derive(Debug)]
pub struct Splitter {
    record_bytes_max: usize,
    held: Vec<u8>,
}

impl Splitter {
    /// A splitter whose records carry at most `record_bytes_max` bytes (at least 1).
    pub fn new(record_bytes_max: usize) -> Splitter {
        assert!(record_bytes_max > 0, "a record must be able to carry a byte");
        Splitter { record_bytes_max, held: Vec::new() }
    }

    /// Whether the begin of a line is held, which [`Splitter::finish`] would emit as a partial one.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes the next bytes of the stream and emits `(kind, payload)` for each record that is complete.
    ///
    /// # Errors
    /// The first error of `emit`; the splitter is then to be dropped.
    pub fn push<E>(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
        while let Some(newline) = memchr::memchr(b'\n', bytes) {
            self.end_line(&bytes[..newline], KIND_LINE, emit)?;
            bytes = &bytes[newline + 1..];
        }
        let rest = self.emit_continued(bytes, emit)?;
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// Ends the input: what is held becomes a line without newline.
    ///
    /// # Errors
    /// The error of `emit`.
    pub fn finish<E>(&mut self, emit: &mut impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.held.is_empty() { Ok(()) } else { self.end_line(&[], KIND_PARTIAL, emit) }
    }

    fn end_line<E>(
        &mut self,
        end: &[u8],
        kind: u8,
        emit: &mut impl FnMut(u8, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let rest = self.emit_continued(end, emit)?;
        if self.held.is_empty() {
            return emit(kind, rest);
        }
        self.held.extend_from_slice(rest);
        emit(kind, &self.held)?;
        self.held.clear();
        Ok(())
    }

    /// Emits full continued records until what is held and the returned rest fit one record together.
    fn emit_continued<'b, E>(
        &mut self,
        mut bytes: &'b [u8],
        emit: &mut impl FnMut(u8, &[u8]) -> Result<(), E>,
    ) -> Result<&'b [u8], E> {
        while self.held.len() + bytes.len() > self.record_bytes_max {
            let (taken, rest) = bytes.split_at(self.record_bytes_max - self.held.len());
            if self.held.is_empty() {
                emit(KIND_CONTINUED, taken)?;
            } else {
                self.held.extend_from_slice(taken);
                emit(KIND_CONTINUED, &self.held)?;
                self.held.clear();
            }
            bytes = rest;
        }
        Ok(bytes)
    }
}

/// Splits a whole input into records; for small inputs and tests.
pub fn split(bytes: &[u8], record_bytes_max: usize) -> Vec<(u8, Vec<u8>)> {
    let mut records = Vec::new();
    let mut emit = |kind: u8, payload: &[u8]| -> Result<(), Infallible> {
        records.push((kind, payload.to_vec()));
        Ok(())
    };
    let mut splitter = Splitter::new(record_bytes_max);
    let Ok(()) = splitter.push(bytes, &mut emit);
    let Ok(()) = splitter.finish(&mut emit);
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(records: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, payload) in records {
            restore(*kind, payload, &mut out).expect("a vector takes all bytes");
        }
        out
    }

    #[test]
    fn lines_keep_how_they_ended() {
        assert_eq!(split(b"", 4), []);
        assert_eq!(split(b"\n", 4), [(KIND_LINE, vec![])]);
        assert_eq!(split(b"ab\ncd", 4), [(KIND_LINE, b"ab".to_vec()), (KIND_PARTIAL, b"cd".to_vec())]);
        assert_eq!(split(b"ab\r\n", 4), [(KIND_LINE, b"ab\r".to_vec())]);
    }

    #[test]
    fn a_line_of_exactly_the_bound_is_one_record() {
        assert_eq!(split(b"abcd\n", 4), [(KIND_LINE, b"abcd".to_vec())]);
        assert_eq!(split(b"abcd", 4), [(KIND_PARTIAL, b"abcd".to_vec())]);
        assert_eq!(split(b"abcde\n", 4), [(KIND_CONTINUED, b"abcd".to_vec()), (KIND_LINE, b"e".to_vec())]);
    }

    #[test]
    fn every_cut_of_every_small_input_gives_the_same_records() {
        let alphabet = *b"a\n\0";
        for length in 0..8u32 {
            for number in 0..3usize.pow(length) {
                let input: Vec<u8> = (0..length).map(|place| alphabet[number / 3usize.pow(place) % 3]).collect();
                let whole = split(&input, 3);
                assert_eq!(restored(&whole), input);
                assert!(whole.iter().all(|(_, payload)| payload.len() <= 3));
                assert_ne!(whole.last().map(|record| record.0), Some(KIND_CONTINUED));
                for step in 1..=3 {
                    let mut pieces = Vec::new();
                    let mut emit = |kind: u8, payload: &[u8]| -> Result<(), Infallible> {
                        pieces.push((kind, payload.to_vec()));
                        Ok(())
                    };
                    let mut splitter = Splitter::new(3);
                    for piece in input.chunks(step) {
                        let Ok(()) = splitter.push(piece, &mut emit);
                    }
                    let Ok(()) = splitter.finish(&mut emit);
                    assert_eq!(pieces, whole, "input {input:?} in pieces of {step}");
                }
            }
        }
    }

    #[test]
    fn the_sample_of_the_format_page_holds() {
        let page = include_str!("../FORMAT.md");
        let sample = page.split("```").nth(1).expect("the page has a sample");
        let mut shown = String::new();
        for (kind, payload) in split(b"ab\n\ncdefg", 4) {
            let bytes: Vec<String> = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            shown.push_str(format!("kind {kind}  {}", bytes.join(" ")).trim_end());
            shown.push('\n');
        }
        assert_eq!(sample.trim_start(), shown);
    }

    #[test]
    fn an_error_of_the_receiver_stops_the_splitter() {
        let mut splitter = Splitter::new(4);
        let stopped = splitter.push(b"a\nb\n", &mut |_, payload| if payload == b"b" { Err("full") } else { Ok(()) });
        assert_eq!(stopped, Err("full"));
    }

    #[test]
    fn only_the_text_kinds_of_the_text_log_are_text() {
        assert!(is_text(LOG, KIND_LINE) && is_text(LOG, KIND_CONTINUED) && is_text(LOG, KIND_PARTIAL));
        assert!(!is_text(LOG, KIND_ABANDONED) && !is_text(2, KIND_LINE) && !is_text(LOG, 0));
    }
}
