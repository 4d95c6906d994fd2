//! `journal verify`: every byte of every segment is checked. Owns the bar and the summary.

use std::io::{self, Write as _};

use duramen_journal::inspect::{self, Progress};

use crate::cli;
use crate::commands::cat;
use crate::exit::Exit;
use crate::progress::{self, OutputUse};
use crate::quantity::{show_bytes, show_counted, show_time};
use crate::stop::Stop;

/// Runs the command.
///
/// # Errors
/// The journal cannot be read at all; damage is an answer, not an error.
pub fn run(arguments: &cli::Verify, stop: &Stop) -> anyhow::Result<Exit> {
    let world = super::world();
    let environment = world.environment.clone();
    let begin = environment.now();
    let bar = progress::bytes(Some(0), OutputUse::Quiet);
    let verification = inspect::verify(&arguments.folder, world, &mut |progress: Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
        // Nothing is open for writing: the second signal's way out may as well be the first one's.
        if let Some(signal) = stop.signal() {
            bar.finish_and_clear();
            std::process::exit(Exit::Signal(signal).code().into());
        }
    });
    bar.finish_and_clear();
    let verification = verification?;
    let time = environment.now().saturating_sub(begin);
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", verification.to_json())?;
    } else {
        write!(out, "{}", verification.report)?;
        let speed = verification.bytes as f64 / time.as_secs_f64().max(1e-9);
        writeln!(
            out,
            "checked   {} in {}, {} ({}/s)",
            show_bytes(verification.bytes),
            show_counted(verification.commits, "commit"),
            show_time(time),
            show_bytes(speed as u64)
        )?;
    }
    out.flush()?;
    Ok(cat::tell_end(&verification.report, verification.end))
}
