//! `dump`: what a store has stored, for people and as JSON lines. Owns the output loop only: the words are the store's.

use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;
use duramen_store::inspect::{self, Fault, Item, Selection};

use crate::cli::tools::Dump;
use crate::commands::world;
use crate::exit::Exit;
use crate::stop::Stop;

/// Runs the command.
///
/// # Errors
/// The folder cannot be read at all, or standard output cannot be written; damage within it is an item, not an error.
pub fn run(arguments: &Dump, stop: &Stop) -> anyhow::Result<Exit> {
    let selection = Selection { table: arguments.table, blocks: arguments.blocks, rows: arguments.rows };
    let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut written = Ok(());
    let mut worst = Exit::Complete;
    inspect::dump(&arguments.data.folder, world(), &selection, &mut |item| {
        if let Item::Bad(finding) = item {
            worst = match (finding.fault, worst) {
                // What was asked for is not there, which says nothing about the rest.
                (Fault::Rule, Exit::Complete) => Exit::Failure,
                (Fault::Unreadable, Exit::Complete | Exit::Failure) => Exit::Unreadable,
                (Fault::Damage, _) => Exit::Damaged,
                (_, worst) => worst,
            };
        }
        written = if arguments.json { writeln!(out, "{}", item.to_json()) } else { writeln!(out, "{item}") };
        written.is_ok() && stop.signal().is_none()
    })?;
    written.and_then(|()| out.flush()).context("cannot write to standard output")?;
    Ok(stop.signal().map_or(worst, Exit::Signal))
}
