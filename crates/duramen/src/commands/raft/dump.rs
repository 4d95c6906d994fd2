//! `raft dump`: the records of the logs in order, for people and as JSON lines. Owns the output loop only.

use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;
use duramen_raft::inspect::{self, Item};

use crate::cli::raft::Dump;
use crate::commands;
use crate::exit::Exit;
use crate::stop::Stop;

/// Runs the command.
///
/// # Errors
/// The folder cannot be read at all, it holds no Raft logs, a range is the wrong way round, or standard output cannot be
/// written; damage within it is an item, not an error.
pub fn run(arguments: &Dump, stop: &Stop) -> anyhow::Result<Exit> {
    let selection = arguments.selection().map_err(anyhow::Error::msg)?;
    let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut written = Ok(());
    let (mut damaged, mut unreadable) = (false, false);
    inspect::dump(&arguments.folder, commands::world(), &selection, &mut |item| {
        match item {
            Item::Lost(error) if Exit::of_journal(error) == Exit::Unreadable => unreadable = true,
            Item::Lost(_) | Item::Foreign { .. } => damaged = true,
            _ => {}
        }
        written = if arguments.json { writeln!(out, "{}", item.to_json()) } else { writeln!(out, "{item}") };
        written.is_ok() && stop.signal().is_none()
    })?;
    written.and_then(|()| out.flush()).context("cannot write to standard output")?;
    Ok(match stop.signal() {
        Some(signal) => Exit::Signal(signal),
        None if damaged => Exit::Damaged,
        None if unreadable => Exit::Unreadable,
        None => Exit::Complete,
    })
}
