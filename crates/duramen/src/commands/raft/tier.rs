//! `raft tier`: sealed segments to a second directory, and back. Owns what it says; each step is the library's.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use duramen_raft::{DirectoryTier, tier};

use crate::cli::raft::Tier;
use crate::commands;
use crate::exit::Exit;
use crate::quantity::show_counted;

/// Runs the command. Nobody else may write to the logs meanwhile.
///
/// # Errors
/// A writer has the folder; the other place is away, or a copy there is not what it should be: that segment is where it was.
pub fn run(arguments: &Tier) -> anyhow::Result<Exit> {
    let world = commands::world();
    let (word, count) = match &arguments.to {
        Some(to) => ("moved", move_to(&arguments.folder, to, arguments.keep)?),
        None => ("back", tier::bring_back(&arguments.folder, &world, None)?),
    };
    let mut out = io::stdout().lock();
    let written = match arguments.json {
        true => writeln!(out, "{{\"{word}\":{count}}}"),
        false => writeln!(out, "{word:9} {}", show_counted(count as u64, "segment")),
    };
    written.and_then(|()| out.flush()).context("cannot write to standard output")?;
    Ok(Exit::Complete)
}

fn move_to(folder: &Path, to: &Path, keep: usize) -> anyhow::Result<usize> {
    let to = std::path::absolute(to).with_context(|| format!("cannot tell where {} is", to.display()))?;
    let world = commands::world();
    let is_there = world.disk.list(&to).is_ok();
    anyhow::ensure!(is_there, "{} is no directory that can be read: make it, or mount it", to.display());
    let place = Arc::new(DirectoryTier::on(world.disk.clone(), to));
    Ok(tier::move_segments(folder, &world, place, keep)?)
}
