//! `ingest`: files and standard input into a store, once. Owns the bar; the lines' way is the inputs'.

use anyhow::Context as _;
use duramen_store::{Batch, Durability, Options};

use crate::cli::store::Ingest;
use crate::exit::Exit;
use crate::input::lines::split;
use crate::input::streams::Streams;
use crate::input::{Counters, Feed, LineReader, Now};
use crate::pace::Pace;
use crate::progress::{self, OutputUse};
use crate::quantity::{show_bytes, show_counted};
use crate::source::{Chunk, Source};
use crate::stop::Stop;

/// Bytes that are read, and stored as one batch.
const READ_BYTES: usize = 256 << 10;

/// Runs it.
///
/// # Errors
/// An input that cannot be read, or the store's.
pub fn run(arguments: &Ingest, stop: Stop) -> anyhow::Result<Exit> {
    let mut sources = Source::open_all(&arguments.files)?;
    let options = Options::default();
    let (store, _) = super::open(&arguments.data.folder, &options)?;
    let stop = std::sync::Arc::new(stop);
    let counters = std::sync::Arc::new(Counters::default());
    let feed = Feed::new(store.clone(), stop.clone(), counters.clone(), std::sync::Arc::new(Pace::free()));
    let total = sources.iter().map(|source| source.bytes).sum::<Option<u64>>();
    let quiet = arguments.quiet || sources.iter().any(Source::is_terminal);
    let bar = if quiet { indicatif::ProgressBar::hidden() } else { progress::bytes(total, OutputUse::Quiet) };
    let mut rows = 0;
    let mut bytes = 0;
    let plain = feed.plain(&plain_labels(arguments))?;
    for source in &mut sources {
        let mut labels = arguments.labels.clone();
        labels.push(("file".to_string(), source.name.clone()));
        let mut reader = LineReader::new(Streams::with_plain(labels, plain.clone()));
        let mut pending = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let end = match source.read(&mut buffer, &stop).with_context(|| format!("cannot read {}", source.name))? {
                Chunk::Bytes(count) => {
                    pending.extend_from_slice(&buffer[..count]);
                    bytes += count as u64;
                    bar.inc(count as u64);
                    false
                }
                Chunk::End => true,
                Chunk::Stopped => break,
            };
            if end && pending.last().is_some_and(|&last| last != b'\n') {
                pending.push(b'\n');
            }
            let found = split(&pending, options.row_bytes_max);
            let (now, mut batch) = (Now::of(&store), Batch::new());
            for line in &found.lines {
                reader.push(&mut batch, line, now, &feed)?;
            }
            rows += batch.len() as u64;
            let taken = found.taken;
            let _ = feed.append(&mut batch, Durability::Policy)?;
            pending.drain(..taken);
            if end {
                break;
            }
        }
    }
    store.sync()?;
    store.close()?;
    bar.finish_and_clear();
    if !arguments.quiet {
        let too_old = store.stats().rows_too_old;
        let refused = if too_old > 0 { format!("; {too_old} were older than the retention") } else { String::new() };
        let crowded = counters.crowded.load(std::sync::atomic::Ordering::Relaxed);
        let crowded = match crowded {
            0 => String::new(),
            _ => format!("; {crowded} named more streams than there is room for, and are in {}", plain.labels()),
        };
        eprintln!("stored {} ({}), durable{refused}{crowded}", show_counted(rows, "line"), show_bytes(bytes));
    }
    Ok(stop.signal().map_or(Exit::Complete, Exit::Signal))
}

/// The labels of rows for whose own stream there is no room.
fn plain_labels(arguments: &Ingest) -> Vec<(String, String)> {
    let mut labels = arguments.labels.clone();
    if labels.iter().all(|(name, _)| name != "input") {
        labels.push(("input".to_string(), "ingest".to_string()));
    }
    labels
}
