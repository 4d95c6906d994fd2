//! `raft salvage`: what is good of damaged logs into a new folder. Owns the list of what was lost.

use std::io::{self, Write as _};

use anyhow::Context as _;
use duramen_journal::inspect::Progress;
use duramen_raft::inspect;

use crate::cli::raft::Salvage;
use crate::commands;
use crate::exit::Exit;
use crate::progress::{self, OutputUse};
use crate::quantity::show_counted;
use crate::stop::Stop;

/// Runs the command. The damaged folder is only read.
///
/// # Errors
/// The folder cannot be read at all, it holds no Raft logs, the new folder exists, or it cannot be written.
pub fn run(arguments: &Salvage, stop: &Stop) -> anyhow::Result<Exit> {
    let bar = progress::bytes(Some(0), OutputUse::Quiet);
    let salvaged = inspect::salvage(&arguments.folder, &arguments.new, commands::world(), &mut |progress: Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
        if let Some(signal) = stop.signal() {
            bar.finish_and_clear();
            eprintln!("duramen: stopped: {} is not complete; remove it", arguments.new.display());
            std::process::exit(Exit::Signal(signal).code().into());
        }
    });
    bar.finish_and_clear();
    let salvaged = salvaged.with_context(|| format!("cannot salvage into {}", arguments.new.display()))?;
    let mut out = io::stdout().lock();
    let written =
        if arguments.json { writeln!(out, "{}", salvaged.to_json()) } else { write_lost(&mut out, &salvaged) };
    written.and_then(|()| out.flush()).context("cannot write to standard output")?;
    Ok(Exit::Complete)
}

fn write_lost(out: &mut impl io::Write, salvaged: &inspect::Salvage) -> io::Result<()> {
    let groups = &salvaged.survey.groups;
    writeln!(
        out,
        "copied    {} of {}",
        show_counted(salvaged.journal.copied, "record"),
        show_counted(groups.len() as u64, "group")
    )?;
    for snapshot in &salvaged.survey.snapshots {
        let word = if snapshot.is_good() { "copied" } else { "lost" };
        writeln!(out, "{word:9} snapshot of group {}: {snapshot}", snapshot.group)?;
    }
    for gap in &salvaged.journal.lost {
        if gap.is_open() {
            writeln!(out, "lost      of the journal: {gap}")?;
            continue;
        }
        let count = show_counted(gap.end.saturating_sub(gap.first), "record");
        writeln!(out, "lost      {count} of the journal: {} to {}", gap.first, gap.end.saturating_sub(1))?;
    }
    for group in groups {
        for lost in &group.lost {
            writeln!(out, "lost      group {}: {lost}", group.group)?;
        }
    }
    for damage in &salvaged.journal.damage {
        writeln!(out, "because   {damage}")?;
    }
    for group in salvaged.votes_in_doubt() {
        writeln!(out, "vote      group {}: in doubt, so it does not vote until its program says so", group.group)?;
    }
    if salvaged.journal.lost.is_empty() {
        writeln!(out, "lost      nothing that can be named")?;
    }
    Ok(())
}
