//! A journal's text back to bytes: what `cat` and `follow` share. Owns how continued, abandoned and foreign records are
//! treated; knows neither commands nor exit codes.

use std::io::{self, Write};

use duramen::lines;
use duramen_journal::{Error, Reader, Sequence};

use crate::stop::Stop;

/// Records between two looks at whether a signal came.
const RECORDS_PER_LOOK: u64 = 1024;

/// Unreadable places that are kept to be told; the others are counted.
const ERRORS_KEPT: usize = 20;

/// What to do with a long line whose end is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenLine {
    /// Print what there is of it.
    Print,
    /// Leave it for the next call.
    Wait,
}

/// Prints text records, and remembers what it met.
#[derive(Debug)]
pub struct TextPrinter<W> {
    out: W,
    /// The next record continues the line that was printed last.
    inside_line: bool,
    /// Records up to here belong to an abandoned line.
    skipped_through: Sequence,
    /// Bytes printed.
    pub bytes: u64,
    /// Lines that a killed writer left unfinished and that were left out.
    pub abandoned: u64,
    /// Records of other logs and kinds, which are no text.
    pub foreign: u64,
    /// The last line has no end.
    pub open_line: bool,
    /// The first unreadable places, in order.
    pub errors: Vec<Error>,
    /// How many more there were.
    pub errors_more: u64,
}

/// How the line that begins with a continued record ends.
enum Fate {
    Ends,
    AbandonedAt(Sequence),
    Open,
}

impl<W: Write> TextPrinter<W> {
    /// A printer onto `out`.
    pub fn new(out: W) -> TextPrinter<W> {
        TextPrinter {
            out,
            inside_line: false,
            skipped_through: 0,
            bytes: 0,
            abandoned: 0,
            foreign: 0,
            open_line: false,
            errors: Vec::new(),
            errors_more: 0,
        }
    }

    /// Prints the records from `from` on that the reader knows, flushes, and returns the sequence to go on with.
    /// A signal ends it early. Unreadable places are collected in `errors`, not returned.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn print(
        &mut self,
        reader: &Reader,
        from: Sequence,
        open: OpenLine,
        stop: &Stop,
        mut told: impl FnMut(u64),
    ) -> io::Result<Sequence> {
        let mut next = from.max(reader.first());
        for record in reader.scan(next..) {
            let record = match record {
                Ok(record) => record,
                // Known losses are in the journal's report, and what a writer released meanwhile was meant to go.
                Err(Error::InGap { .. } | Error::Released { .. }) => {
                    self.inside_line = false;
                    continue;
                }
                Err(error) => {
                    self.inside_line = false;
                    // The scan goes on behind it: what is good there is printed as well.
                    if self.errors.len() < ERRORS_KEPT {
                        self.errors.push(error);
                    } else {
                        self.errors_more += 1;
                    }
                    continue;
                }
            };
            if record.sequence.is_multiple_of(RECORDS_PER_LOOK) {
                told(self.bytes);
                if stop.signal().is_some() {
                    break;
                }
            }
            if self.decide(reader, record.log, record.kind, record.sequence, open) == Decision::Wait {
                break;
            }
            if record.sequence > self.skipped_through && lines::is_text(record.log, record.kind) {
                lines::restore(record.kind, &record.payload, &mut self.out)?;
                self.bytes += record.payload.len() as u64 + u64::from(record.kind == lines::KIND_LINE);
                self.inside_line = record.kind == lines::KIND_CONTINUED;
            }
            next = record.sequence + 1;
        }
        self.out.flush()?;
        Ok(next)
    }

    fn decide(&mut self, reader: &Reader, log: u32, kind: u8, sequence: Sequence, open: OpenLine) -> Decision {
        if sequence <= self.skipped_through {
            return Decision::Go;
        }
        if !lines::is_text(log, kind) {
            self.foreign += u64::from(log != lines::LOG || kind != lines::KIND_ABANDONED);
            return Decision::Go;
        }
        if self.inside_line || kind != lines::KIND_CONTINUED {
            return Decision::Go;
        }
        match fate(reader, sequence) {
            Fate::Ends => {}
            Fate::AbandonedAt(last) => {
                self.skipped_through = last;
                self.abandoned += 1;
            }
            Fate::Open if open == OpenLine::Wait => return Decision::Wait,
            Fate::Open => self.open_line = true,
        }
        Decision::Go
    }
}

#[derive(PartialEq, Eq)]
enum Decision {
    Go,
    Wait,
}

/// Looks ahead for how a long line ends. It reads such a line twice, rather than holding it in memory.
fn fate(reader: &Reader, from: Sequence) -> Fate {
    for record in reader.scan(from..) {
        // A lost part: what is left of the line is printed.
        let Ok(record) = record else { return Fate::Ends };
        match record.kind {
            _ if record.log != lines::LOG => {}
            lines::KIND_CONTINUED => {}
            lines::KIND_ABANDONED => return Fate::AbandonedAt(record.sequence),
            _ => return Fate::Ends,
        }
    }
    Fate::Open
}
