//! Lines into a journal: what `append` and the demo's child share. Owns the batching and the count of durable lines;
//! knows neither the command line nor where the bytes come from.
//!
//! One thread pushes; the journal's threads call back when a batch is durable; one printer thread says so on standard
//! output, so that a slow reader of the acknowledgements never holds up a commit.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use anyhow::Context as _;
use duramen::lines;
use duramen_journal::disk::{Worker, World};
use duramen_journal::{Append, Batch, Error, Journal, Options, Sequence, SyncPolicy};

use crate::stop::Raiser;

/// Bytes of one batch, at most: large enough to make the cost of an append vanish, small enough to acknowledge often.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Payload bytes of one record, at most.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// What is durable is told to.
pub enum Acknowledge {
    /// Nobody.
    Silent,
    /// Standard output, as `durable N`; the raiser hears when its reader went away.
    Print(Option<Raiser>),
}

/// Splits what is pushed into lines and appends them in batches.
pub struct LineWriter {
    splitter: lines::Splitter,
    sink: Sink,
    printer: Option<Box<dyn Worker>>,
}

struct Sink {
    journal: Journal,
    batch: Batch,
    batch_bytes_max: usize,
    folder: PathBuf,
    /// The journal's epoch, in which the whole run lies: a full disk refuses a commit with all behind it and gives their
    /// sequences back, and what came next would be stored in their place.
    epoch: u64,
    /// Lines that ended in the batch or before it, in this run.
    lines: u64,
    /// Batches that the journal took and whose durability is not known here yet: their last sequence, and the lines
    /// of the run up to their end.
    taken: VecDeque<(Sequence, u64)>,
    progress: Arc<Progress>,
    sender: Option<mpsc::Sender<u64>>,
    /// Under the policy `Never` no batch becomes durable by itself, so nobody waits for one.
    tracked: bool,
}

#[derive(Default)]
struct Progress {
    durable_lines: AtomicU64,
    failure: Mutex<Option<Error>>,
}

impl LineWriter {
    /// A writer on an open journal. A line that an earlier writer left unfinished is marked abandoned first.
    ///
    /// # Errors
    /// The mark cannot be appended, or no thread can be started.
    pub fn new(
        folder: &Path,
        journal: Journal,
        options: &Options,
        world: &World,
        acknowledge: Acknowledge,
    ) -> anyhow::Result<LineWriter> {
        let eighth = options.segment_bytes as usize / 8;
        let (sender, printer) = match acknowledge {
            Acknowledge::Silent => (None, None),
            Acknowledge::Print(raiser) => {
                let (sender, receiver) = mpsc::channel();
                let work = Box::new(move || print_acknowledgements(&receiver, raiser));
                let printer = world.environment.spawn("duramen-acknowledge", work).context("cannot start a thread")?;
                (Some(sender), printer)
            }
        };
        let mut sink = Sink {
            epoch: journal.epoch(),
            journal,
            batch: Batch::new(),
            batch_bytes_max: BATCH_BYTES_MAX.min(eighth),
            folder: folder.to_path_buf(),
            lines: 0,
            taken: VecDeque::new(),
            progress: Arc::default(),
            sender,
            tracked: options.policy != SyncPolicy::Never,
        };
        sink.abandon_unfinished_line()?;
        Ok(LineWriter { splitter: lines::Splitter::new(RECORD_BYTES_MAX.min(eighth)), sink, printer })
    }

    /// Appends the next bytes; they are durable when the policy says so, told through [`Acknowledge`].
    ///
    /// # Errors
    /// The journal's; [`LineWriter::settle`] then tells what is durable.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let sink = &mut self.sink;
        self.splitter.push(bytes, &mut |kind, payload| sink.put(kind, payload))?;
        sink.send()
    }

    /// Ends one input: a begun line is stored as a partial one.
    ///
    /// # Errors
    /// As [`LineWriter::push`].
    pub fn end_input(&mut self) -> Result<(), Error> {
        let sink = &mut self.sink;
        self.splitter.finish(&mut |kind, payload| sink.put(kind, payload))?;
        sink.send()
    }

    /// Makes all that was taken durable, closes the journal with its mark, and ends the acknowledgements.
    /// Returns how many lines of this run are durable, and the first error if there was one.
    pub fn settle(mut self) -> (u64, Result<(), Error>) {
        let synced = self.sink.journal.sync().map(|_| ());
        let closed = self.sink.journal.close();
        // Not every callback must have run by now; the watermark knows.
        self.sink.acknowledge_taken();
        drop(self.sink.sender.take());
        let failure = self.sink.failure();
        let durable = self.sink.progress.durable_lines.load(Ordering::Acquire);
        // The callbacks hold senders too: closing has ended every ticket, so the printer's channel is at its end.
        if let Some(printer) = self.printer.take() {
            printer.join();
        }
        (durable, failure.map_or(Ok(()), Err).and(synced).and(closed))
    }
}

impl Sink {
    fn put(&mut self, kind: u8, payload: &[u8]) -> Result<(), Error> {
        if self.batch.bytes() + payload.len() > self.batch_bytes_max {
            self.send()?;
        }
        self.batch.push(lines::LOG, kind, payload);
        self.lines += u64::from(matches!(kind, lines::KIND_LINE | lines::KIND_PARTIAL));
        Ok(())
    }

    fn send(&mut self) -> Result<(), Error> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        let how = Append { epoch: Some(self.epoch), ..Append::default() };
        let ticket = match self.journal.append_batch(&self.batch, how) {
            Err(stale @ Error::StaleEpoch { .. }) => return Err(self.failure().unwrap_or(stale)),
            other => other?,
        };
        self.batch.clear();
        self.acknowledge_taken();
        self.taken.push_back((ticket.last(), self.lines));
        if self.tracked {
            let (lines, progress, sender) = (self.lines, Arc::clone(&self.progress), self.sender.clone());
            ticket.on_durable(move |result: Result<Sequence, Error>| match result {
                Ok(_) => progress.acknowledge(lines, sender.as_ref()),
                Err(error) => progress.fail(error),
            });
        }
        Ok(())
    }

    /// Counts what the watermark has passed.
    fn acknowledge_taken(&mut self) {
        let durable = self.journal.durable();
        while let Some(&(_, lines)) = self.taken.front().filter(|(last, _)| *last <= durable) {
            self.taken.pop_front();
            self.progress.acknowledge(lines, self.sender.as_ref());
        }
    }

    /// Why the run is over. A refusal counts before its callback has told of it; the mark and, under the policy `Never`,
    /// the batches have none.
    fn failure(&self) -> Option<Error> {
        let told = self.progress.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let refused = self.journal.epoch() != self.epoch;
        told.or_else(|| refused.then(|| Error::NoSpace { path: self.folder.clone() }))
    }

    /// Continued records at the very end belong to a writer that died: without a mark, the first line of this run
    /// would read as their end.
    fn abandon_unfinished_line(&mut self) -> Result<(), Error> {
        let last = self.journal.appended();
        if last == 0 || last < self.journal.first() {
            return Ok(());
        }
        match self.journal.read(last) {
            Ok(record) if record.log == lines::LOG && record.kind == lines::KIND_CONTINUED => {
                self.journal.append(lines::LOG, lines::KIND_ABANDONED, &[]).map(|_| ())
            }
            _ => Ok(()),
        }
    }
}

impl Progress {
    /// Counts lines as durable. The watermark is cumulative: a batch is durable only after all before it.
    fn acknowledge(&self, lines: u64, sender: Option<&mpsc::Sender<u64>>) {
        let before = self.durable_lines.fetch_max(lines, Ordering::AcqRel);
        if let Some(sender) = sender.filter(|_| lines > before) {
            // A printer that is gone has raised the stop already.
            let _ = sender.send(lines);
        }
    }

    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
    }
}

/// Prints each new count, only the latest one when several came meanwhile, until every sender is gone.
fn print_acknowledgements(receiver: &mpsc::Receiver<u64>, mut raiser: Option<Raiser>) {
    let mut printed = 0;
    while let Ok(lines) = receiver.recv() {
        let latest = receiver.try_iter().fold(lines, u64::max);
        if latest <= printed {
            continue;
        }
        printed = latest;
        if print_line(latest).is_err() {
            if let Some(raiser) = &mut raiser {
                raiser.broken_pipe();
            }
            return;
        }
    }
}

fn print_line(lines: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "durable {lines}")?;
    out.flush()
}

// What a full disk does to a writer. A dependency on the journal's feature, even for tests alone, would put the simulated disk
// into the binary that `cargo test --release` builds and the kill loops run.
#[cfg(test)]
duramen_journal::with_simulated_disk! { mod tests; }
