//! Standard input, line by line. It cannot be read again, so its rows wait in a pipe no longer than they must; what the pipe's
//! writer had written and was not yet read when the power failed is lost with it, as it was never here. A stop reads what is in the pipe first; what the store
//! does not take then is counted in `lost`, and is a gap.

use duramen_store::{Batch, Durability};

use crate::input::lines::split;
use crate::input::streams::Streams;
use crate::input::{Counters, Feed, Input, LineReader, Now};
use crate::source::{Chunk, Source};

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// Reads when a stop is asked for, at most: a file, or a writer that never pauses, must not keep the daemon.
const LAST_READS: usize = 64;

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

    /// Reads what is in the pipe though a stop was asked for: its writer has it no more.
    fn read_last(&mut self, buffer: &mut [u8], left: &mut usize) -> std::io::Result<Chunk> {
        if *left == 0 {
            return Ok(Chunk::Stopped);
        }
        *left -= 1;
        Ok(self.source.read_rest(buffer)?.map_or(Chunk::Stopped, Chunk::Bytes))
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
        let mut last_reads = LAST_READS;
        loop {
            let chunk = match self.source.read(&mut buffer, &feed.stop)? {
                Chunk::Stopped => self.read_last(&mut buffer, &mut last_reads)?,
                chunk => chunk,
            };
            let end = match chunk {
                Chunk::Bytes(count) => {
                    pending.extend_from_slice(&buffer[..count]);
                    false
                }
                Chunk::End | Chunk::Stopped => true,
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
            if !batch.is_empty() {
                feed.append_or_lose(&mut batch, Durability::Policy)?;
            }
            pending.drain(..taken);
            if end {
                break;
            }
        }
        feed.tell_lost("standard input");
        if !feed.stopped() {
            feed.store.sync()?;
        }
        Ok(())
    }
}
