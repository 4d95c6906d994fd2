//! `journal cat`: the text back to standard output. Owns the words and codes for how the journal ends.

use std::io::{self, BufWriter};

use duramen_journal::{End, Error, Reader, Report};

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
    // A file that cannot be opened is no damage either.
    let unreadable = |error: &Error| matches!(error, Error::Io { .. }) || Exit::of_journal(error) == Exit::Unreadable;
    for error in &printer.errors {
        eprintln!("duramen: {}: {error}", word(unreadable(error)));
    }
    if printer.errors_more > 0 {
        eprintln!("duramen: and {} that cannot be had", show_counted(printer.errors_more, "more record"));
    }
    let exit = tell_end(report, report.end);
    if printer.open_line && !matches!(exit, Exit::Damaged | Exit::Unreadable) && report.end != End::Live {
        eprintln!("duramen: the last line was cut off within");
    }
    Ok(match exit {
        _ if printer.errors.is_empty() => exit,
        Exit::Damaged => Exit::Damaged,
        _ if printer.errors.iter().all(unreadable) => Exit::Unreadable,
        _ => Exit::Damaged,
    })
}

/// What a bad place is called.
fn word(unreadable: bool) -> &'static str {
    if unreadable { "disk" } else { "damage" }
}

/// Says on standard error what the end of a journal means, and picks its code.
pub fn tell_end(report: &Report, end: End) -> Exit {
    for gap in &report.gaps {
        eprintln!("duramen: known loss: {gap}");
    }
    for damage in &report.damage {
        eprintln!("duramen: {}: {damage}", word(damage.what.is_unreadable()));
    }
    let last = report.next.saturating_sub(1);
    match end {
        End::Unreadable if report.refuses_writing() => {
            eprintln!(
                "duramen: the disk cannot read part of it, and nobody can tell what stands there: try again, look at the \
                 disk; `salvage` copies what can be read into a new folder"
            );
            Exit::Unreadable
        }
        _ if report.refuses_writing() => {
            eprintln!("duramen: the journal is damaged: `salvage` copies what is good into a new folder");
            Exit::Damaged
        }
        End::Closed | End::Idle | End::Live | End::New => Exit::Complete,
        End::Unreadable => {
            eprintln!("duramen: no record lies where the disk cannot read; the next `append` mends what can be mended");
            Exit::Unreadable
        }
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
