//! `journal follow`: the text as it becomes durable, beside a living writer. Owns the polling.

use std::io::{self, BufWriter, ErrorKind};
use std::os::fd::AsFd as _;

use duramen_journal::Reader;

use crate::cli;
use crate::exit::Exit;
use crate::stop::{Stop, Woken};
use crate::text::{OpenLine, TextPrinter};

/// Runs the command until a signal comes; that is its way to end, so the code is then 0.
///
/// # Errors
/// The journal cannot be read, or standard output cannot be written.
pub fn run(arguments: &cli::Follow, stop: &Stop) -> anyhow::Result<Exit> {
    let mut reader = Reader::open(&arguments.folder)?;
    let stdout = io::stdout();
    let mut printer = TextPrinter::new(BufWriter::with_capacity(256 << 10, stdout.lock()));
    let mut next = arguments.from;
    loop {
        next = printer.print(&reader, next, OpenLine::Wait, stop, |_| ())?;
        if let Some(error) = printer.errors.pop() {
            return Err(error.into());
        }
        loop {
            match stop.sleep(arguments.every, stdout.as_fd())? {
                Woken::Stopped => return Ok(Exit::Complete),
                Woken::Ready => return Err(io::Error::from(ErrorKind::BrokenPipe).into()),
                Woken::TimedOut if reader.refresh()? => break,
                Woken::TimedOut => {}
            }
        }
    }
}
