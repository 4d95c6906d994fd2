//! systemd's journal, read by `journalctl` itself, which knows all of its versions and damages. Owns that process and the cursor, which
//! travels in the batch of its rows: each entry is stored exactly once, over any kill. What an entry is, [`export`] knows.
//!
//! Without `journalctl` on this machine, the input says so and ends.

#![allow(clippy::disallowed_methods, reason = "the input runs a program of the system")]

mod export;

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use duramen_store::{Batch, Durability, Error, Level, Nanoseconds, TimeBase};

use crate::input::journald::export::{Entry, Parser};
use crate::input::parts::Row;
use crate::input::streams::Streams;
use crate::input::{Counters, Feed, Input, Now};
use crate::stamp;
use crate::stop::Woken;

/// The key of the cursor behind the last entry that is stored.
const CURSOR: &[u8] = b"journald/cursor";
/// Bytes that are read at once, and stored as one batch.
const READ_BYTES: usize = 256 << 10;
/// Waiting before it is started again, if it ended; doubled each time that it gave nothing.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The system's journal.
pub struct Journald {
    program: String,
    labels: Vec<(String, String)>,
    streams: Streams,
}

/// The journal's reader; ends with its value.
struct Reader {
    child: Child,
    output: ChildStdout,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How reading from one process ended.
enum End {
    Stopped,
    /// It ended, after so many rows.
    Ended(u64),
}

impl Journald {
    /// What `journalctl` shows to this user. Labels are those of every row beside host, app and unit; there must be one.
    pub fn new(labels: Vec<(String, String)>) -> Journald {
        let streams = Streams::new(labels.clone());
        Journald { program: "journalctl".to_string(), labels, streams }
    }

    fn start(&self, feed: &Feed) -> io::Result<Reader> {
        let mut command = Command::new(&self.program);
        // Without --no-tail, following would begin ten entries before the end.
        command.args(["--output=export", "--follow", "--no-tail", "--no-pager"]);
        if let Some(cursor) = feed.store.position(CURSOR) {
            command.arg(format!("--after-cursor={}", String::from_utf8_lossy(&cursor)));
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        match child.stdout.take() {
            Some(output) => Ok(Reader { child, output }),
            None => Err(io::Error::other("it has no output")),
        }
    }

    /// Stores what one process gives, until it ends.
    fn read(&mut self, reader: &mut Reader, feed: &Feed) -> anyhow::Result<End> {
        let mut parser = Parser::default();
        let mut buffer = vec![0; READ_BYTES];
        let mut rows = 0;
        loop {
            if feed.stop.wait_readable(reader.output.as_fd())? == Woken::Stopped {
                return Ok(End::Stopped);
            }
            let count = match reader.output.read(&mut buffer) {
                Ok(0) => return Ok(End::Ended(rows)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let (now, mut batch, mut cursor) = (Now::of(&feed.store), Batch::new(), None);
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let (entry, taken) = parser.take(rest);
                rest = &rest[taken..];
                let Some(entry) = entry else { continue };
                self.push(&mut batch, &entry, now, feed)?;
                cursor = entry.get("__CURSOR").map(<[u8]>::to_vec).or(cursor);
            }
            if let Some(cursor) = cursor {
                batch.set_position(CURSOR, &cursor);
            }
            if !batch.is_empty() {
                rows += batch.len() as u64;
                if feed.append(&mut batch, Durability::Policy)?.is_none() {
                    return Ok(End::Stopped);
                }
            }
        }
    }

    fn push(&mut self, batch: &mut Batch, entry: &Entry, now: Now, feed: &Feed) -> Result<(), Error> {
        let text = entry.get("MESSAGE").unwrap_or_default();
        let app = entry.text("SYSLOG_IDENTIFIER").or_else(|| entry.text("_COMM"));
        // What the service manager says of a unit names it elsewhere.
        let unit = entry.text("UNIT").or_else(|| entry.text("_SYSTEMD_UNIT"));
        let named = [("host", entry.text("_HOSTNAME")), ("app", app), ("unit", unit)];
        let named: Vec<(&'static str, &str)> =
            named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let mut fields: Vec<(&str, &str)> = Vec::new();
        let more = [("pid", entry.text("_PID")), ("boot", entry.text("_BOOT_ID"))];
        fields.extend(more.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let place = self.streams.place(&named, feed)?;
        fields.extend(place.fields());
        let level = match entry.get("PRIORITY") {
            Some([digit @ b'0'..=b'7']) => Level::from_byte(digit - b'0'),
            _ => stamp::level(text),
        };
        let (base, time) = time(entry).map_or((now.base, now.time), |time| (TimeBase::Wall, time));
        feed.push(batch, &place.stream, &Row { base, time, level, text, fields: &fields });
        Counters::add(&feed.counters.odd, u64::from(entry.odd));
        Ok(())
    }
}

/// Microseconds since 1970, as journald has them.
fn time(entry: &Entry) -> Option<Nanoseconds> {
    let microseconds: i64 = entry.text("__REALTIME_TIMESTAMP")?.parse().ok()?;
    microseconds.checked_mul(1_000)
}

impl Input for Journald {
    fn name(&self) -> String {
        "journald".to_string()
    }

    fn run(&mut self, feed: &Feed) -> anyhow::Result<()> {
        self.streams = Streams::with_plain(self.labels.clone(), feed.plain(&self.labels)?);
        let mut pause = PAUSE_MIN;
        loop {
            match self.start(feed) {
                Ok(mut reader) => match self.read(&mut reader, feed)? {
                    End::Stopped => return Ok(()),
                    End::Ended(0) => pause = (pause * 2).min(PAUSE_MAX),
                    End::Ended(_) => pause = PAUSE_MIN,
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    eprintln!("duramen: journald: there is no {} on this machine: nothing is read", self.program);
                    return Ok(());
                }
                Err(error) => {
                    eprintln!("duramen: journald: cannot run {}: {error}", self.program);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            Counters::add(&feed.counters.waits, 1);
            if feed.pause(pause) {
                return Ok(());
            }
        }
    }
}
