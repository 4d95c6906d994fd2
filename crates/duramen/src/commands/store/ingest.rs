//! `ingest`: files and standard input into a store, once. Owns the bar; the lines' way is the inputs'.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use duramen_journal::Level;
use duramen_store::{Batch, Durability, Error, Options, Receipt};

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
/// How long a full disk is waited for: whoever frees space at the first word about it need not begin anew.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// Runs it.
///
/// # Errors
/// An input that cannot be read, or the store's.
pub fn run(arguments: &Ingest, stop: Stop) -> anyhow::Result<Exit> {
    let mut sources = Source::open_all(&arguments.files)?;
    let (store, _) = super::open(&arguments.data.folder, &Options::default())?;
    let stop = Arc::new(stop);
    let counters = Arc::new(Counters::default());
    let feed = Feed::new(store.clone(), stop.clone(), counters.clone(), Arc::new(Pace::free()));
    let total = sources.iter().map(|source| source.bytes).sum::<Option<u64>>();
    let quiet = arguments.quiet || sources.iter().any(Source::is_terminal);
    let bar = if quiet { indicatif::ProgressBar::hidden() } else { progress::bytes(total, OutputUse::Quiet) };
    let plain = feed.plain(&plain_labels(arguments))?;
    let mut work = Work { feed, bar, stored: Stored::default() };
    let mut result = sources.iter_mut().try_for_each(|source| {
        let mut labels = arguments.labels.clone();
        labels.push(("file".to_string(), source.name.clone()));
        work.ingest(source, Streams::with_plain(labels, plain.clone()))
    });
    // Also what was stored before a failure is to be durable, and counted as such.
    let closed = store.sync().and_then(|()| store.close());
    let Work { bar, mut stored, .. } = work;
    result = result.and(stored.finish().map_err(Into::into)).and(closed.map_err(Into::into));
    bar.finish_and_clear();
    if !arguments.quiet || result.is_err() {
        let too_old = store.stats().rows_too_old;
        let refused = if too_old > 0 { format!("; {too_old} were older than the retention") } else { String::new() };
        let crowded = match counters.crowded.load(Ordering::Relaxed) {
            0 => String::new(),
            count => format!("; {count} named more streams than there is room for, and are in {}", plain.labels()),
        };
        let rest = if result.is_err() || stop.signal().is_some() { "; the rest is not stored" } else { "" };
        let (rows, bytes) = (show_counted(stored.rows, "line"), show_bytes(stored.bytes));
        eprintln!("stored {rows} ({bytes}), durable{refused}{crowded}{rest}");
    }
    result?;
    Ok(stop.signal().map_or(Exit::Complete, Exit::Signal))
}

/// What the sources have in common.
struct Work {
    feed: Feed,
    bar: indicatif::ProgressBar,
    stored: Stored,
}

impl Work {
    /// Stores the lines of one source, until its end or a stop.
    fn ingest(&mut self, source: &mut Source, streams: Streams) -> anyhow::Result<()> {
        let line_bytes_max = self.feed.store.row_bytes_max();
        let mut reader = LineReader::new(streams);
        let mut pending = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = source.read(&mut buffer, &self.feed.stop);
            let end = match read.with_context(|| format!("cannot read {}", source.name))? {
                Chunk::Bytes(count) => {
                    pending.extend_from_slice(&buffer[..count]);
                    self.bar.inc(count as u64);
                    false
                }
                Chunk::End => true,
                Chunk::Stopped => return Ok(()),
            };
            if end && pending.last().is_some_and(|&last| last != b'\n') {
                pending.push(b'\n');
            }
            let found = split(&pending, line_bytes_max);
            let (now, mut batch) = (Now::of(&self.feed.store), Batch::new());
            for line in &found.lines {
                reader.push(&mut batch, line, now, &self.feed)?;
            }
            let (rows, taken) = (batch.len() as u64, found.taken);
            let Some(receipt) = self.append(&mut batch)? else { return Ok(()) };
            self.stored.add(receipt, rows, taken as u64)?;
            pending.drain(..taken);
            if end {
                return Ok(());
            }
        }
    }

    /// Appends a batch; `None`: a stop came first. A full disk is told of, and waited for a while.
    fn append(&self, batch: &mut Batch) -> Result<Option<Receipt>, Error> {
        let attempts = PATIENCE.as_millis() / PAUSE.as_millis();
        for attempt in 0.. {
            match self.feed.store.append_drain(batch, Durability::Policy) {
                Err(error) if error.is_no_space() && attempt < attempts => {
                    if attempt == 0 {
                        self.bar.suspend(|| eprintln!("duramen: {error}; waiting for {} s", PATIENCE.as_secs()));
                    }
                    if self.feed.pause(PAUSE) {
                        return Ok(None);
                    }
                }
                other => return other.map(Some),
            }
        }
        Ok(None)
    }
}

/// What is durable, and what waits to be: the store may take rows back that it took, when the disk turns out to be full.
#[derive(Default)]
struct Stored {
    rows: u64,
    bytes: u64,
    waiting: VecDeque<(Receipt, u64, u64)>,
}

impl Stored {
    fn add(&mut self, receipt: Receipt, rows: u64, bytes: u64) -> Result<(), Error> {
        self.waiting.push_back((receipt, rows, bytes));
        while let Some((receipt, rows, bytes)) = self.waiting.front() {
            if receipt.level()? != Level::Durable {
                break;
            }
            (self.rows, self.bytes) = (self.rows + rows, self.bytes + bytes);
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Waits for the rest.
    fn finish(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for (receipt, rows, bytes) in std::mem::take(&mut self.waiting) {
            match receipt.wait() {
                Ok(()) => (self.rows, self.bytes) = (self.rows + rows, self.bytes + bytes),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }
}

/// The labels of rows for whose own stream there is no room.
fn plain_labels(arguments: &Ingest) -> Vec<(String, String)> {
    let mut labels = arguments.labels.clone();
    if labels.iter().all(|(name, _)| name != "input") {
        labels.push(("input".to_string(), "ingest".to_string()));
    }
    labels
}
