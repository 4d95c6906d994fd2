//! `backup` and `restore`: a verified copy while the store is written to, and the way back. Owns the choice between the living daemon
//! and the folder itself, and what becomes of copies that were not completed; the copying is the store's.

#![allow(clippy::disallowed_methods, reason = "a tool: it names folders absolutely and clears away its own leftovers")]

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use duramen_journal::inspect::Progress;
use duramen_store::{Options, Store, partial_of};

use crate::cli::tools::{Backup, Restore};
use crate::client::Daemon;
use crate::commands::world;
use crate::exit::Exit;
use crate::progress::{self, OutputUse};
use crate::quantity::{show_bytes, show_count, show_counted};
use crate::stop::Stop;

/// What a copy that is not complete can hold.
const OWN_NAMES: [&str; 9] =
    ["IDENTITY", "IDENTITY.tmp", "LOCK", "MANIFEST", "MANIFEST.tmp", "aside", "journal", "rebuilt.tmp", "tables"];

/// Backs a store up.
///
/// # Errors
/// The folder of the backup holds something, the store is damaged or cannot be opened, the daemon does not answer or refuses.
pub fn run(arguments: &Backup, stop: &Stop) -> anyhow::Result<Exit> {
    let to = std::path::absolute(&arguments.to).context("cannot name the folder of the backup")?;
    let data = &arguments.data.folder;
    let backup = match Daemon::of(data) {
        Some(daemon) => daemon.backup(data, &to)?,
        None => {
            // A store that is not there would be made by opening it.
            let there = data.join("IDENTITY").exists() || data.join("journal").exists();
            anyhow::ensure!(there, "no store at {}; check the path", data.display());
            let (store, _) = super::open(data, &Options::default())?;
            let backup = made(&store, &to, stop)?;
            store.close()?;
            serde_json::from_str(&backup.to_json()).context("the figures make no sense")?
        }
    };
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{backup}")?;
    } else {
        let number = |name: &str| backup[name].as_u64().unwrap_or(0);
        write_rows(&mut out, number("table_rows"), number("journal_rows"), number("tables"))?;
        write_samples(&mut out, number("table_samples"), number("journal_samples"))?;
        writeln!(out, "size      {}", show_bytes(number("bytes")))?;
        writeln!(out, "backup    complete, read back and verified, in {}", to.display())?;
    }
    out.flush()?;
    Ok(Exit::Complete)
}

fn made(store: &Store, to: &Path, stop: &Stop) -> anyhow::Result<duramen_store::Backup> {
    clear_leftover(to)?;
    let bar = progress::bytes(Some(0), OutputUse::Quiet);
    let made = store.backup(to, &mut |progress: Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
        leave(stop, to, &bar);
    });
    bar.finish_and_clear();
    made.map_err(|error| given_up(error.into(), to)).with_context(|| format!("no backup in {}", to.display()))
}

/// Puts a backup back.
///
/// # Errors
/// The data folder holds something, the backup is damaged or in use, or a copy cannot be written.
pub fn restore(arguments: &Restore, stop: &Stop) -> anyhow::Result<Exit> {
    let to = std::path::absolute(&arguments.data.folder).context("cannot name the data folder")?;
    clear_leftover(&to)?;
    let bar = progress::bytes(Some(0), OutputUse::Quiet);
    let restored = duramen_store::restore(&arguments.from, &to, &world(), &mut |progress: Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
        leave(stop, &to, &bar);
    });
    bar.finish_and_clear();
    let restored = restored.map_err(|error| given_up(error.into(), &to));
    let restored = restored.with_context(|| format!("cannot restore {}", arguments.from.display()))?;
    let mut out = io::stdout().lock();
    let copied = &restored.copied;
    if arguments.json {
        writeln!(out, "{}", copied.to_json())?;
    } else {
        write_rows(&mut out, copied.table_rows, copied.journal_rows, copied.tables)?;
        write_samples(&mut out, copied.table_samples, copied.journal_samples)?;
        writeln!(out, "size      {}", show_bytes(copied.bytes))?;
        writeln!(out, "restored  verified and opened, in {}", to.display())?;
    }
    out.flush()?;
    Ok(Exit::Complete)
}

fn write_rows(out: &mut impl io::Write, in_tables: u64, in_journal: u64, tables: u64) -> io::Result<()> {
    let (all, tables) = (show_count(in_tables + in_journal), show_counted(tables, "table"));
    writeln!(out, "rows      {all} ({} in {tables})", show_count(in_tables))
}

fn write_samples(out: &mut impl io::Write, in_tables: u64, in_journal: u64) -> io::Result<()> {
    match in_tables + in_journal {
        0 => Ok(()),
        all => writeln!(out, "samples   {} ({} in tables)", show_count(all), show_count(in_tables)),
    }
}

/// Ends the process at a signal: what was begun is cleared away. The store that is copied needs no ending: what it was told is durable
/// is so.
fn leave(stop: &Stop, to: &Path, bar: &indicatif::ProgressBar) {
    if let Some(signal) = stop.signal() {
        bar.finish_and_clear();
        let _ = clear_leftover(to);
        eprintln!("duramen: stopped: nothing is in {}", to.display());
        std::process::exit(Exit::Signal(signal).code().into());
    }
}

/// Removes what a failed copy left, so that a full disk does not stay full because of it. A copy that was refused because something
/// stands in its place leaves that as it is.
pub fn given_up(error: anyhow::Error, to: &Path) -> anyhow::Error {
    match clear_leftover(to) {
        Ok(()) => error,
        Err(other) => error.context(format!("{other:#}")),
    }
}

/// Removes the folder of a copy to this place that was never completed.
///
/// # Errors
/// There is something else under its name, or it cannot be removed.
pub fn clear_leftover(to: &Path) -> anyhow::Result<()> {
    let partial = partial_of(to);
    let entries = match std::fs::read_dir(&partial) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot look into {}", partial.display()))?,
    };
    for entry in entries {
        let name = entry?.file_name();
        anyhow::ensure!(
            name.to_str().is_some_and(|name| OWN_NAMES.contains(&name)),
            "{} holds {}, which no copy leaves; move it away",
            partial.display(),
            name.display()
        );
    }
    std::fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))
}
