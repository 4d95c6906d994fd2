//! `journal dump`: the stored structures, for people and as JSON lines. Owns the output loop only: the words are the
//! journal's.

use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;
use duramen_journal::inspect;

use crate::cli;
use crate::exit::Exit;
use crate::stop::Stop;

/// Runs the command.
///
/// # Errors
/// The journal cannot be read at all, or standard output cannot be written; damage within it is an item, not an error.
pub fn run(arguments: &cli::Dump, stop: &Stop) -> anyhow::Result<Exit> {
    let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut written = Ok(());
    let (mut damaged, mut unreadable) = (false, false);
    inspect::dump(&arguments.folder, super::world(), &mut |item| {
        if let inspect::Item::Damage(damage) = item {
            damaged |= !damage.what.is_unreadable();
            unreadable |= damage.what.is_unreadable();
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
