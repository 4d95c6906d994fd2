//! `journal append`: inputs into a journal. Owns the loop over the inputs and what is said when it ends early.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use duramen_journal::Error;
use indicatif::ProgressBar;

use crate::cli;
use crate::exit::Exit;
use crate::progress::{self, OutputUse};
use crate::quantity::{show_bytes, show_counted};
use crate::source::{Chunk, Source};
use crate::stop::Stop;
use crate::writer::{Acknowledge, LineWriter};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// Why the loop over the inputs ended.
enum Ended {
    AtEnd,
    Stopped,
    Unreadable(String, io::Error),
    Refused(Error),
}

/// Runs the command.
///
/// # Errors
/// An input or the journal cannot be opened (nothing was written then), or the run ended early; the message says how
/// much of it is durable.
pub fn run(arguments: &cli::Append, stop: &Stop) -> anyhow::Result<Exit> {
    let mut inputs = Source::open_all(&arguments.files)?;
    let options = arguments.writing.options();
    let world = super::world();
    let (journal, _) = super::open_for_writing(&arguments.folder, &options, &world)?;
    let acknowledge = if arguments.ack {
        Acknowledge::Print(Some(stop.raiser().context("cannot watch standard output")?))
    } else {
        Acknowledge::Silent
    };
    let mut writer = LineWriter::new(&arguments.folder, journal, &options, &world, acknowledge)?;
    let bar = bar(&inputs, arguments);
    let ended = copy(&mut inputs, &mut writer, &bar, stop);
    let read = bar.position();
    bar.finish_and_clear();
    let (durable, settled) = writer.settle();
    let said =
        format!("{} of this run {} durable", show_counted(durable, "line"), if durable == 1 { "is" } else { "are" });
    match ended {
        Ended::Refused(error) => return Err(error).context(format!("{said}; {}", advice(durable))),
        Ended::Unreadable(name, error) => return Err(error).context(format!("{said}, then {name} could not be read")),
        Ended::AtEnd | Ended::Stopped => {}
    }
    settled.with_context(|| format!("{said}; {}", advice(durable)))?;
    if let (Ended::Stopped, Some(signal)) = (&ended, stop.signal()) {
        eprintln!("duramen: stopped: {said}, which is all that was read; the journal is closed");
        return Ok(Exit::Signal(signal));
    }
    if !arguments.quiet && io::stderr().is_terminal() {
        eprintln!("duramen: {said} ({})", show_bytes(read));
    }
    Ok(Exit::Complete)
}

fn advice(durable: u64) -> String {
    format!("mend the cause and append the rest of the input, from line {} on", durable + 1)
}

fn copy(inputs: &mut [Source], writer: &mut LineWriter, bar: &ProgressBar, stop: &Stop) -> Ended {
    let mut buffer = vec![0; READ_BYTES];
    for input in inputs {
        loop {
            let end = match input.read(&mut buffer, stop) {
                Ok(Chunk::Bytes(count)) => {
                    bar.inc(count as u64);
                    if let Err(error) = writer.push(&buffer[..count]) {
                        return Ended::Refused(error);
                    }
                    continue;
                }
                Ok(Chunk::End) => None,
                Ok(Chunk::Stopped) => Some(Ended::Stopped),
                Err(error) => Some(Ended::Unreadable(input.name.clone(), error)),
            };
            // A begun line is stored in every case: what was read is never dropped.
            if let Err(error) = writer.end_input() {
                return Ended::Refused(error);
            }
            match end {
                None => break,
                Some(ended) => return ended,
            }
        }
    }
    Ended::AtEnd
}

/// A bar where all lengths are known, a spinner where not, nothing while a person types.
fn bar(inputs: &[Source], arguments: &cli::Append) -> ProgressBar {
    if arguments.quiet || inputs.iter().any(Source::is_terminal) {
        return ProgressBar::hidden();
    }
    let total = inputs.iter().map(|input| input.bytes).sum::<Option<u64>>();
    progress::bytes(total, if arguments.ack { OutputUse::Lines } else { OutputUse::Quiet })
}
