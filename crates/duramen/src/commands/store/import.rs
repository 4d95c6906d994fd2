//! `import`: samples from files into a store, or to the daemon that runs on it. Owns the pieces in which files are read, and the bar.

use anyhow::Context as _;
use duramen_store::{Durability, Options, Store};

use crate::cli::store::Import;
use crate::client::Daemon;
use crate::exit::Exit;
use crate::import::{self, Format, ImportOptions, Imported};
use crate::intake::{Intake, Names};
use crate::progress::{self, OutputUse};
use crate::quantity::{show_bytes, show_count, show_counted};
use crate::source::{Chunk, Source};
use crate::stop::Stop;

/// Bytes of one piece.
const PIECE_BYTES: usize = 4 << 20;
/// Bad rows that are told of.
const BAD_TOLD: usize = 10;

/// Where the pieces go.
enum Target {
    Daemon(Daemon),
    Store(Store, Names),
}

impl Target {
    fn take(&self, piece: &[u8], options: &ImportOptions) -> anyhow::Result<Imported> {
        match self {
            Target::Daemon(daemon) => daemon.import(options, piece),
            Target::Store(store, names) => {
                let mut intake = Intake::new(store, names, &options.space(), &options.more, Durability::Policy);
                let outcome = import::read(piece, options, &mut intake).map_err(anyhow::Error::msg)?;
                drop(intake.finish()?);
                Ok(Imported::of(&outcome, intake.too_old()))
            }
        }
    }
}

/// Runs it.
///
/// # Errors
/// An input that cannot be read or is in no known format, a daemon that does not answer, or the store's.
pub fn run(arguments: &Import, stop: &Stop) -> anyhow::Result<Exit> {
    let mut sources = Source::open_all(&arguments.files)?;
    let daemon = match &arguments.url {
        Some(url) => Some(Daemon::at(url)),
        None => Daemon::of(&arguments.data.folder),
    };
    let target = match daemon {
        Some(daemon) => Target::Daemon(daemon),
        None => Target::Store(super::open(&arguments.data.folder, &Options::series())?.0, Names::default()),
    };
    let total = sources.iter().map(|source| source.bytes).sum::<Option<u64>>();
    let quiet = arguments.quiet || sources.iter().any(Source::is_terminal);
    let bar = if quiet { indicatif::ProgressBar::hidden() } else { progress::bytes(total, OutputUse::Quiet) };
    let mut all = Imported::default();
    let mut bytes = 0;
    for source in &mut sources {
        let options = options(arguments, &source.name)?;
        let mut file = Pieces { header: Vec::new(), lines: 0, csv: options.format == Format::Csv };
        let mut pending = Vec::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let end = match source.read(&mut buffer, stop).with_context(|| format!("cannot read {}", source.name))? {
                Chunk::Bytes(count) => {
                    pending.extend_from_slice(&buffer[..count]);
                    bytes += count as u64;
                    bar.inc(count as u64);
                    false
                }
                Chunk::End => true,
                Chunk::Stopped => break,
            };
            if pending.len() < PIECE_BYTES && !end {
                continue;
            }
            let cut = if end { pending.len() } else { memchr::memrchr(b'\n', &pending).map_or(0, |at| at + 1) };
            anyhow::ensure!(cut > 0 || end, "{}: a line is longer than {PIECE_BYTES} bytes", source.name);
            let (piece, before) = file.piece(&pending[..cut]);
            let taken = target.take(&piece, &options).with_context(|| format!("cannot import {}", source.name))?;
            pending.drain(..cut);
            let more = taken.bad.into_iter().map(|(row, why)| (row + before, format!("{}: {why}", source.name)));
            all.bad.extend(more.take(BAD_TOLD.saturating_sub(all.bad.len())));
            all.bad_count += taken.bad_count;
            all.samples += taken.samples;
            all.skipped += taken.skipped;
            all.too_old += taken.too_old;
            if end {
                break;
            }
        }
    }
    if let Target::Store(store, _) = &target {
        store.flush()?;
        store.close()?;
    }
    bar.finish_and_clear();
    tell(arguments, &all, bytes);
    let complete = if all.bad_count > 0 { Exit::Failure } else { Exit::Complete };
    Ok(stop.signal().map_or(complete, Exit::Signal))
}

fn tell(arguments: &Import, all: &Imported, bytes: u64) {
    for (row, why) in &all.bad {
        eprintln!("duramen: row {row} of {why}");
    }
    let more = all.bad_count - all.bad.len() as u64;
    if more > 0 {
        eprintln!("duramen: and {}", show_counted(more, "bad row"));
    }
    if !arguments.quiet {
        let mut words = format!("stored {} ({}), durable", show_counted(all.samples, "sample"), show_bytes(bytes));
        if all.skipped > 0 {
            words.push_str(&format!("; {} skipped", show_counted(all.skipped, "value")));
        }
        if all.too_old > 0 {
            words.push_str(&format!("; {} older than the retention", show_count(all.too_old)));
        }
        eprintln!("{words}");
    }
}

fn options(arguments: &Import, file: &str) -> anyhow::Result<ImportOptions> {
    let format = match &arguments.format {
        Some(name) => Format::named(name).map_err(anyhow::Error::msg)?,
        None => Format::of_file(file)
            .with_context(|| format!("{file} does not say what it is: --format csv, json, influx or prometheus"))?,
    };
    let mut options = ImportOptions::new(format);
    let stem = || file.rsplit('/').next().unwrap_or(file).split('.').next().unwrap_or(file).replace(['-', ' '], "_");
    options.name = arguments.name.clone().or_else(|| (format == Format::Csv).then(stem));
    options.time.clone_from(&arguments.time);
    options.label_columns.clone_from(&arguments.label_columns);
    options.value_columns.clone_from(&arguments.value_columns);
    options.separator = import::separator(&arguments.separator).map_err(anyhow::Error::msg)?;
    if let Some(unit) = &arguments.unit {
        options.set_unit(unit).map_err(anyhow::Error::msg)?;
    }
    options.more.clone_from(&arguments.labels);
    Ok(options)
}

/// A file in pieces, each of which can be read by itself.
struct Pieces {
    /// A table's first line, which each piece begins with.
    header: Vec<u8>,
    lines: u64,
    csv: bool,
}

impl Pieces {
    /// A piece to be sent, and how many lines of the file stand before its first one.
    fn piece(&mut self, lines: &[u8]) -> (Vec<u8>, u64) {
        let first = self.lines == 0;
        let before = self.lines.saturating_sub(u64::from(self.csv && !first));
        self.lines += memchr::memchr_iter(b'\n', lines).count() as u64;
        if first && self.csv {
            let end = memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1);
            self.header = lines[..end].to_vec();
        }
        let header: &[u8] = if first { &[] } else { &self.header };
        ([header, lines].concat(), before)
    }
}
