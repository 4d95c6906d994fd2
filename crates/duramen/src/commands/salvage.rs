//! `journal salvage`: what is good of a damaged journal into a new folder. Owns the list of what was lost.

use std::io::{self, Write as _};

use anyhow::Context as _;
use duramen_journal::inspect::{self, Progress};

use crate::cli;
use crate::exit::Exit;
use crate::progress::{self, OutputUse};
use crate::quantity::show_counted;
use crate::stop::Stop;

/// Runs the command. The damaged folder is only read.
///
/// # Errors
/// The journal cannot be read at all, the new folder exists, or it cannot be written.
pub fn run(arguments: &cli::Salvage, stop: &Stop) -> anyhow::Result<Exit> {
    let bar = progress::bytes(Some(0), OutputUse::Quiet);
    let salvage = inspect::salvage(&arguments.folder, &arguments.new, super::world(), &mut |progress: Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
        if let Some(signal) = stop.signal() {
            bar.finish_and_clear();
            eprintln!("duramen: stopped: {} is not complete; remove it", arguments.new.display());
            std::process::exit(Exit::Signal(signal).code().into());
        }
    });
    bar.finish_and_clear();
    let salvage = salvage.with_context(|| format!("cannot salvage into {}", arguments.new.display()))?;
    let mut out = io::stdout().lock();
    writeln!(out, "copied    {}", show_counted(salvage.copied, "record"))?;
    for gap in &salvage.lost {
        if gap.is_open() {
            writeln!(out, "lost      {gap}")?;
            continue;
        }
        let count = gap.end.saturating_sub(gap.first);
        writeln!(out, "lost      {}: {} to {}", show_counted(count, "record"), gap.first, gap.end.saturating_sub(1))?;
    }
    for damage in &salvage.damage {
        writeln!(out, "because   {damage}")?;
    }
    if salvage.lost.is_empty() {
        writeln!(out, "lost      nothing that can be named")?;
    }
    out.flush()?;
    Ok(Exit::Complete)
}
