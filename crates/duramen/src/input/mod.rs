//! Inputs: where rows come from. Owns what all of them share: the trait, the way into the store with its back-pressure, and the
//! counters. Each input is a module of its own and knows no other.

pub mod file;
pub mod journald;
pub mod lines;
pub mod mark;
pub mod stdin;
pub mod syslog;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use duramen_store::{Batch, Durability, Labels, Level, Nanoseconds, Receipt, Store, Stream};

use crate::pace::Pace;
use crate::stamp::{self, Stamps};
use crate::stop::{Stop, Woken};

/// Something that rows come from. It runs on a thread of its own until it is at its end or asked to stop.
pub trait Input: Send {
    /// What to call it in figures and messages.
    fn name(&self) -> String;

    /// Feeds the store until the source ends or [`Feed::stopped`].
    ///
    /// # Errors
    /// It cannot go on at all. What passes (a full disk, a file that cannot be opened now) is counted and tried again.
    fn run(&mut self, feed: &Feed) -> anyhow::Result<()>;
}

/// What an input has done.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows that the store took.
    pub rows: AtomicU64,
    /// Bytes of their text.
    pub bytes: AtomicU64,
    /// Rows that did not come as they should: cut at the bound, or not of the form that the input speaks; kept as text.
    pub odd: AtomicU64,
    /// Rows known to be lost on the way: refused for good, or dropped by a source that cannot wait.
    pub lost: AtomicU64,
    /// How often it had to wait because the store could take no more.
    pub waits: AtomicU64,
}

impl Counters {
    /// Adds to one of them.
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

/// The way into the store, for one input.
pub struct Feed {
    /// The store.
    pub store: Store,
    /// The wish to stop.
    pub stop: Arc<Stop>,
    /// What the input has done.
    pub counters: Arc<Counters>,
    pace: Arc<Pace>,
    streams: Mutex<BTreeMap<Vec<(String, String)>, Stream>>,
}

impl Feed {
    /// A way for one input.
    pub fn new(store: Store, stop: Arc<Stop>, counters: Arc<Counters>, pace: Arc<Pace>) -> Feed {
        Feed { store, stop, counters, pace, streams: Mutex::default() }
    }

    /// Whether the input is to end.
    pub fn stopped(&self) -> bool {
        self.stop.signal().is_some()
    }

    /// Sleeps; true: a stop is asked for.
    pub fn pause(&self, time: Duration) -> bool {
        self.stop.pause(time).is_ok_and(|woken| woken == Woken::Stopped)
    }

    /// The stream of these labels; known ones cost no search in the store.
    ///
    /// # Errors
    /// Labels that break the rules, or too many streams.
    pub fn stream(&self, labels: &[(&str, &str)]) -> Result<Stream, duramen_store::Error> {
        let key: Vec<(String, String)> = labels.iter().map(|(n, v)| ((*n).to_string(), (*v).to_string())).collect();
        let mut streams = self.streams.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(stream) = streams.get(&key) {
            return Ok(stream.clone());
        }
        let stream = self.store.stream(&Labels::new(labels.iter().copied())?)?;
        // What has not been used for long is cheap to look up again.
        if streams.len() >= 4_096 {
            streams.clear();
        }
        streams.insert(key, stream.clone());
        Ok(stream)
    }

    /// Appends, and waits as long as the disk is full: nothing is dropped because there is no space now. `None`: a stop came first.
    ///
    /// # Errors
    /// What waiting does not mend.
    pub fn append(&self, batch: &mut Batch, how: Durability) -> anyhow::Result<Option<Receipt>> {
        let (rows, bytes) = (batch.len() as u64, batch.text_bytes() as u64);
        let how = if how == Durability::Policy { self.pace.durability(self.store.power()) } else { how };
        loop {
            match self.store.append_drain(batch, how) {
                Ok(receipt) => {
                    let too_old = receipt.too_old();
                    Counters::add(&self.counters.rows, rows - too_old.rows as u64);
                    Counters::add(&self.counters.bytes, bytes - too_old.text_bytes as u64);
                    return Ok(Some(receipt));
                }
                // Files and pipes wait; whoever cannot wait is told, or counted.
                Err(error) if error.is_no_space() || matches!(error, duramen_store::Error::Going) => {
                    Counters::add(&self.counters.waits, 1);
                    if self.pause(Duration::from_millis(500)) {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What turns lines into rows: time, level, and the stream.
pub struct LineReader {
    stamps: Stamps,
    /// The labels of every line.
    labels: Vec<(String, String)>,
    /// The stream of the line before, with the host and program that it named.
    last: Option<(String, String, Stream)>,
}

impl LineReader {
    /// For lines with these labels.
    pub fn new(labels: Vec<(String, String)>) -> LineReader {
        LineReader { stamps: Stamps::default(), labels, last: None }
    }

    /// Adds a line to a batch. Host and program that it names become labels.
    ///
    /// # Errors
    /// The store knows no room for its stream, not even without host and program.
    pub fn push(&mut self, batch: &mut Batch, line: &[u8], now: Now, feed: &Feed) -> Result<(), duramen_store::Error> {
        let head = self.stamps.head(line, now.wall);
        let (host, program) = (head.host.unwrap_or(""), head.program.unwrap_or(""));
        let level = if line.is_empty() { Level::None } else { stamp::level(line) };
        let stream = match &self.last {
            Some((last_host, last_program, stream)) if last_host == host && last_program == program => stream.clone(),
            _ => {
                let stream = self.stream(host, program, feed)?;
                self.last = Some((host.to_string(), program.to_string(), stream.clone()));
                stream
            }
        };
        match head.time {
            Some(time) => batch.push(&stream, time, level, line, &[]),
            None => batch.push_at(now.base, &stream, now.time, level, line, &[]),
        }
        Ok(())
    }

    fn stream(&self, host: &str, program: &str, feed: &Feed) -> Result<Stream, duramen_store::Error> {
        let mut labels: Vec<(&str, &str)> = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let plain = labels.clone();
        if !program.is_empty() {
            labels.extend([("app", program), ("host", host)]);
        }
        // Lines that name ever new programs must not take the others' room.
        feed.stream(&labels).or_else(|_| feed.stream(&plain))
    }
}

/// One moment, as the store and as lines count it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// What rows without a time of their own get.
    pub base: duramen_store::TimeBase,
    /// Their time.
    pub time: Nanoseconds,
    /// Wall time, as well as it is known: it decides the year of lines that name none.
    pub wall: Nanoseconds,
}

impl Now {
    /// Now.
    pub fn of(store: &Store) -> Now {
        let (base, time) = store.now();
        let wall = match base {
            duramen_store::TimeBase::Wall => time,
            // 2026: when this was written; no line that this program stores is much older.
            duramen_store::TimeBase::Boot(_) => 1_798_000_000_000_000_000,
        };
        Now { base, time, wall }
    }
}
