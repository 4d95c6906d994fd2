//! `salvage`: what is good of a damaged store into a new folder. Owns the list of what was lost.

use std::io::{self, Write as _};

use anyhow::Context as _;
use duramen_journal::inspect::Progress;
use duramen_store::inspect;

use super::verify::words;
use crate::cli::tools::Salvage;
use crate::commands::world;
use crate::exit::Exit;
use crate::progress::{self, OutputUse};
use crate::quantity::{show_count, show_counted};
use crate::stop::Stop;

/// Runs the command. The damaged folder is only read.
///
/// # Errors
/// The folder cannot be read at all, it holds something else, the new one exists, or cannot be written.
pub fn run(arguments: &Salvage, stop: &Stop) -> anyhow::Result<Exit> {
    let bar = progress::bytes(Some(0), OutputUse::Quiet);
    let new = &arguments.new;
    let salvaged = inspect::salvage(&arguments.data.folder, new, world(), &mut |progress: Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
        if let Some(signal) = stop.signal() {
            bar.finish_and_clear();
            eprintln!("duramen: stopped: {} is not complete; remove it", new.display());
            std::process::exit(Exit::Signal(signal).code().into());
        }
    });
    bar.finish_and_clear();
    let salvaged = salvaged.with_context(|| format!("cannot salvage into {}", new.display()))?;
    let mut out = io::stdout().lock();
    let written =
        if arguments.json { writeln!(out, "{}", salvaged.to_json()) } else { write_lost(&mut out, &salvaged) };
    written.and_then(|()| out.flush()).context("cannot write to standard output")?;
    Ok(Exit::Complete)
}

fn write_lost(out: &mut impl io::Write, salvaged: &inspect::Salvage) -> io::Result<()> {
    let (tables, journal) = (show_count(salvaged.table_rows), show_count(salvaged.journal_rows));
    writeln!(out, "copied    {tables} rows of tables, {journal} rows of the journal")?;
    if salvaged.table_samples + salvaged.journal_samples > 0 {
        let (tables, journal) = (show_count(salvaged.table_samples), show_count(salvaged.journal_samples));
        writeln!(out, "copied    {tables} samples of tables, {journal} samples of the journal")?;
    }
    for (found, name) in [(salvaged.found_again, "row"), (salvaged.samples_found_again, "sample")] {
        if found > 0 {
            writeln!(out, "found     {} in the journal that tables had lost", show_counted(found, name))?;
        }
    }
    for gap in &salvaged.journal.lost {
        writeln!(out, "lost      of the journal: {gap}; rows of them that were in tables are there")?;
    }
    for lost in &salvaged.lost {
        writeln!(out, "{:9} {}", if lost.loss.is_some() { "lost" } else { "mended" }, words(lost))?;
    }
    if salvaged.lost_more > 0 {
        writeln!(out, "lost      and {}", show_counted(salvaged.lost_more, "more place"))?;
    }
    for damage in &salvaged.journal.damage {
        writeln!(out, "because   {damage}")?;
    }
    if salvaged.journal.lost.is_empty() && salvaged.lost.iter().all(|lost| lost.loss.is_none()) {
        writeln!(out, "lost      nothing that can be named")?;
    }
    Ok(())
}
