//! `journal cat`: the text back to standard output. Owns the words and codes for how the journal ends.

use std::io::{self, BufWriter};

use duramen_journal::{End, Reader, Report};

use crate::cli;
use crate::exit::Exit;
use crate::quantity::show_counted;
use crate::stop::Stop;
use crate::text::{OpenLine, TextPrinter};

/// Runs the command.
///
/// # Errors
/// The journal cannot be opened for reading, or standard output cannot be written.
pub fn run(arguments: &cli::Cat, stop: &Stop) -> anyhow::Result<Exit> {
    let reader = Reader::open(&arguments.folder)?;
    let out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut printer = TextPrinter::new(out);
    printer.print(&reader, arguments.from, OpenLine::Print, stop, |_| ())?;
    if let Some(signal) = stop.signal() {
        return Ok(Exit::Signal(signal));
    }
    if printer.foreign > 0 {
        let what = show_counted(printer.foreign, "record");
        eprintln!("duramen: {what} of other logs or kinds are no text and were left out; `dump` shows them");
    }
    if printer.abandoned > 0 {
        let what = show_counted(printer.abandoned, "unfinished line");
        eprintln!("duramen: {what} of a killed writer left out: nobody was told that they are stored");
    }
    let report = reader.report();
    for error in &printer.errors {
        eprintln!("duramen: damage: {error}");
    }
    if printer.errors_more > 0 {
        eprintln!("duramen: damage: and {}", show_counted(printer.errors_more, "more unreadable record"));
    }
    let exit = tell_end(report, report.end);
    if printer.open_line && exit != Exit::Damaged && report.end != End::Live {
        eprintln!("duramen: the last line was cut off within");
    }
    Ok(if printer.errors.is_empty() { exit } else { Exit::Damaged })
}

/// Says on standard error what the end of a journal means, and picks its code.
pub fn tell_end(report: &Report, end: End) -> Exit {
    for gap in &report.gaps {
        eprintln!("duramen: known loss: records {} to {}", gap.first, gap.end.saturating_sub(1));
    }
    for damage in &report.damage {
        eprintln!("duramen: damage: {damage}");
    }
    let last = report.next.saturating_sub(1);
    match end {
        _ if report.refuses_writing() => {
            eprintln!("duramen: the journal is damaged: `salvage` copies what is good into a new folder");
            Exit::Damaged
        }
        End::Closed | End::Idle | End::Live | End::New => Exit::Complete,
        End::Damaged => {
            eprintln!("duramen: no record is lost by it; the next `append` mends what can be mended");
            Exit::Damaged
        }
        _ => {
            if let Some(cut) = &report.cut {
                eprintln!("duramen: {cut}");
            }
            eprintln!(
                "duramen: the journal ends without a mark, after record {last}: its writer was killed or lost power, and \
                 lines that nobody was told are durable may be missing; the next `append` goes on from here"
            );
            Exit::Unmarked
        }
    }
}
