//! Standard input, line by line. It cannot be read again, so its rows wait in a pipe no longer than they must; what the pipe's
//! writer had written and was not yet read when the power failed is lost with it, as it was never here.

use duramen_store::{Batch, Durability};

use crate::input::lines::split;
use crate::input::streams::Streams;
use crate::input::{Counters, Feed, Input, LineReader, Now};
use crate::source::{Chunk, Source};

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// Standard input as an input.
pub struct Stdin {
    source: Source,
    labels: Vec<(String, String)>,
    line_bytes_max: usize,
}

impl Stdin {
    /// Reads a source that was opened, with these labels.
    pub fn new(source: Source, labels: Vec<(String, String)>, line_bytes_max: usize) -> Stdin {
        Stdin { source, labels, line_bytes_max }
    }
}

impl Input for Stdin {
    fn name(&self) -> String {
        "stdin".to_string()
    }

    fn run(&mut self, feed: &Feed) -> anyhow::Result<()> {
        let mut reader = LineReader::new(Streams::with_plain(self.labels.clone(), feed.plain(&self.labels)?));
        let mut buffer = vec![0; READ_BYTES];
        let mut pending: Vec<u8> = Vec::new();
        loop {
            let end = match self.source.read(&mut buffer, &feed.stop)? {
                Chunk::Bytes(count) => {
                    pending.extend_from_slice(&buffer[..count]);
                    false
                }
                Chunk::End => true,
                Chunk::Stopped => return Ok(()),
            };
            if end && pending.last().is_some_and(|&last| last != b'\n') {
                pending.push(b'\n');
            }
            let found = split(&pending, self.line_bytes_max);
            let (now, mut batch) = (Now::of(&feed.store), Batch::new());
            for line in &found.lines {
                reader.push(&mut batch, line, now, feed)?;
            }
            Counters::add(&feed.counters.odd, found.parts as u64);
            let taken = found.taken;
            if !batch.is_empty() && feed.append(&mut batch, Durability::Policy)?.is_none() {
                return Ok(());
            }
            pending.drain(..taken);
            if end {
                feed.store.sync()?;
                return Ok(());
            }
            if feed.stopped() {
                return Ok(());
            }
        }
    }
}
