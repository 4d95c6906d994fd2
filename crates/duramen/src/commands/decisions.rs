//! The commands on a log of decisions. Owns how its facts are told, and which exit code they have.

use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;
use duramen_decisions::backend::Backend;
use duramen_decisions::backend::file::FileBackend;
use duramen_decisions::inspect::{self, Info, Item};
use duramen_decisions::{Blake3, Digest, Error, FileBasedLog, Log, Migrated, PersistentLogConfig, RawLayer, Sha256};

use crate::cli::decisions::{Dump, Look, Migrate, Salvage, Store};
use crate::commands;
use crate::exit::Exit;
use crate::stop::Stop;

/// Findings that are shown to people; the JSON has all.
const FINDINGS_SHOWN: usize = 50;
/// Bytes of a value that are shown to people.
const BYTES_SHOWN: usize = 48;

/// The code of what was found.
fn exit_of(info: &Info, sound: bool) -> Exit {
    match info.end.as_str() {
        "unreadable" => Exit::Unreadable,
        _ if !sound || info.damage.is_some() || info.end == "damaged" => Exit::Damaged,
        "unmarked" => Exit::Unmarked,
        _ => Exit::Complete,
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Says what is to be done about damage.
fn advise(exit: Exit) {
    if exit == Exit::Damaged {
        eprintln!(
            "duramen: the log is damaged: `duramen decisions salvage` copies what is good into a new folder; lost decisions come \
             from other replicas"
        );
    }
}

/// Runs `info`.
///
/// # Errors
/// The folder cannot be read at all, or holds something else.
pub fn info(arguments: &Look) -> anyhow::Result<Exit> {
    let info = inspect::info(&arguments.folder, commands::world())?;
    print(&if arguments.json { format!("{}\n", info.to_json()) } else { info.to_string() })?;
    let exit = exit_of(&info, true);
    advise(exit);
    Ok(exit)
}

/// Runs `verify`.
///
/// # Errors
/// The folder cannot be read at all, or holds something else; damage is an answer, not an error.
pub fn verify(arguments: &Look) -> anyhow::Result<Exit> {
    let found = inspect::verify(&arguments.folder, commands::world())?;
    let checked = format!("checked     {} values, {} bytes\n", found.values, found.bytes);
    print(&if arguments.json { format!("{}\n", found.to_json()) } else { format!("{}{checked}", found.info) })?;
    for finding in found.findings.iter().take(FINDINGS_SHOWN) {
        eprintln!("duramen: {finding}");
    }
    let more = found.findings.len().saturating_sub(FINDINGS_SHOWN);
    if more > 0 {
        eprintln!("duramen: and {more} more");
    }
    let exit = exit_of(&found.info, found.findings.is_empty());
    advise(exit);
    Ok(exit)
}

/// Runs `dump`.
///
/// # Errors
/// The folder cannot be read at all, or holds something else; a damaged value is an item.
pub fn dump(arguments: &Dump, stop: &Stop) -> anyhow::Result<Exit> {
    let numbers = arguments.numbers().map_err(anyhow::Error::msg)?;
    let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let (mut written, mut damaged) = (Ok(()), false);
    inspect::dump(&arguments.folder, commands::world(), &arguments.spaces(), numbers, &mut |item| {
        damaged |= item.bytes.is_err();
        written = if arguments.json { writeln!(out, "{}", item.to_json()) } else { writeln!(out, "{}", told(item)) };
        written.is_ok() && stop.signal().is_none()
    })?;
    written.and_then(|()| out.flush()).context("cannot write to standard output")?;
    Ok(match stop.signal() {
        Some(signal) => Exit::Signal(signal),
        None if damaged => Exit::Damaged,
        None => Exit::Complete,
    })
}

/// One value in one line: text as text, other bytes in hexadecimal digits.
fn told(item: &Item) -> String {
    let digest = item.digest.map_or(String::new(), |digest| format!("  {}", hex(&digest[..8])));
    let value = match &item.bytes {
        Err(error) => format!("DAMAGED: {error}"),
        Ok(bytes) => {
            let shown = &bytes[..bytes.len().min(BYTES_SHOWN)];
            let more = if bytes.len() > BYTES_SHOWN { "…" } else { "" };
            let text = std::str::from_utf8(shown).ok().filter(|text| !text.chars().any(char::is_control));
            format!("{} bytes  {}{more}", bytes.len(), text.map_or_else(|| hex(shown), str::to_string))
        }
    };
    format!("{:>10}  {}{digest}  {value}", item.sequence, item.key)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs `salvage`. The damaged folder is only read.
///
/// # Errors
/// The folder cannot be read at all, holds something else, or the new one is not empty or cannot be written.
pub fn salvage(arguments: &Salvage) -> anyhow::Result<Exit> {
    let done = inspect::salvage(&arguments.folder, &arguments.new, commands::world())
        .with_context(|| format!("cannot salvage into {}", arguments.new.display()))?;
    if arguments.json {
        print(&format!("{}\n", done.to_json()))?;
        return Ok(Exit::Complete);
    }
    let mut text = format!("copied    {} values, {} chunks\n", done.values, done.chunks);
    done.lost.iter().for_each(|lost| text.push_str(&format!("lost      {lost}\n")));
    match &done.damage {
        Some(damage) => text.push_str(&format!("replica   {damage}\n")),
        None if done.lost.is_empty() => text.push_str("lost      nothing that can be named\n"),
        None => {}
    }
    print(&text)?;
    Ok(Exit::Complete)
}

/// Runs `migrate`. Opening the source for it closes off what a crash left behind; nothing else of it changes.
///
/// # Errors
/// The source cannot be opened, is damaged, or is of no backend that this build has; the new folder is not empty, or cannot be written;
/// the two differ.
pub fn migrate(arguments: &Migrate) -> anyhow::Result<Exit> {
    let done = match migrated::<Blake3>(arguments) {
        Err(error) if matches!(error.downcast_ref(), Some(Error::OtherDigest { .. })) => migrated::<Sha256>(arguments)?,
        done => done?,
    };
    if arguments.json {
        let (values, chunks, bytes) = (done.values.iter().sum::<u64>(), done.chunks, done.bytes);
        print(&format!("{{\"values\":{values},\"chunks\":{chunks},\"bytes\":{bytes}}}\n"))?;
    } else {
        print(&format!("copied, and found the same on both sides:\n{done}"))?;
    }
    Ok(Exit::Complete)
}

type Raw<D, B> = Log<D, Vec<u8>, RawLayer, B>;

fn config(folder: &std::path::Path, create: bool) -> PersistentLogConfig {
    PersistentLogConfig { create, world: commands::world(), ..PersistentLogConfig::new(folder) }
}

fn migrated<D: Digest>(arguments: &Migrate) -> anyhow::Result<Migrated> {
    let from = config(&arguments.folder, false);
    let found = inspect::backend_of(&arguments.folder, &from.world);
    match found.as_deref() {
        Some("files") => into::<D, _>(&FileBasedLog::new(from)?, arguments),
        #[cfg(feature = "decisions-stores")]
        Some("redb") => into::<D, _>(&duramen_decisions::RedbLog::new(from)?, arguments),
        #[cfg(feature = "decisions-stores")]
        Some("fjall") => into::<D, _>(&duramen_decisions::FjallLog::new(from)?, arguments),
        Some(other) => anyhow::bail!("{} is a log in {other}, {NO_STORE}", arguments.folder.display()),
        None => anyhow::bail!("{} holds no log of decisions: check the path", arguments.folder.display()),
    }
}

/// What a build lacks.
const NO_STORE: &str = "which this build does not have: build duramen with the feature `decisions-stores`";

fn into<D: Digest, A: Backend>(from: &Raw<D, A>, arguments: &Migrate) -> anyhow::Result<Migrated> {
    let to = config(&arguments.new, true);
    let done = match arguments.to {
        Store::Files => copied(from, &FileBackend::open(&to)?)?,
        #[cfg(feature = "decisions-stores")]
        Store::Redb => copied(from, &duramen_decisions::backend::kv::KvBackend::redb(&to)?)?,
        #[cfg(feature = "decisions-stores")]
        Store::Fjall => copied(from, &duramen_decisions::backend::kv::KvBackend::fjall(&to)?)?,
        #[cfg(not(feature = "decisions-stores"))]
        Store::Redb | Store::Fjall => anyhow::bail!("that is a store, {NO_STORE}"),
    };
    from.close()?;
    Ok(done)
}

fn copied<D: Digest, A: Backend, B: Backend>(from: &Raw<D, A>, to: &B) -> anyhow::Result<Migrated> {
    let done = duramen_decisions::migrate(from, to)?;
    to.close()?;
    Ok(done)
}
