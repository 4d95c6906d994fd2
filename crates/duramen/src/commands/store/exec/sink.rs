//! Where a command's lines go: to the daemon that runs on the data, or into the store itself. Owns the choice, and the patience: what
//! fails is tried again while the command runs and for a while behind its end. Each line is stored once: a daemon is told a client and
//! a sequence with each body.

#![allow(clippy::disallowed_methods, reason = "storing has a thread of its own, and waits before it tries again")]

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use duramen_store::{Batch, Durability, Level, Options, Store};

use crate::cli::store::Exec;
use crate::client::{Daemon, Refusal};
use crate::commands::store::exec::queue::{Queue, Stream, Taken};
use crate::input::lines::split;
use crate::input::streams::Streams;
use crate::input::{Counters, Feed, LineReader, Now};
use crate::pace::Pace;
use crate::quantity::show_bytes;
use crate::stamp;
use crate::stop::Stop;

/// How long lines wait for more of them before a daemon is asked: each question costs a sync.
const GATHER: Duration = Duration::from_millis(200);
/// Bytes that are handed over at once.
const BODY_BYTES: usize = 256 << 10;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the end of the command may be behind before storing is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// As a shell shows it.
    pub code: i32,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// For people.
    pub text: String,
}

/// The thread that stores.
pub struct Sink {
    thread: JoinHandle<Option<String>>,
}

impl Sink {
    /// Starts it.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(arguments: &Exec, app: &str, queue: Arc<Queue>) -> anyhow::Result<Sink> {
        let mut labels = arguments.labels.clone();
        if labels.iter().all(|(name, _)| name != "app") {
            labels.push(("app".into(), app.into()));
        }
        let mut work = Work {
            folder: arguments.data.folder.clone(),
            url: arguments.url.clone(),
            labels,
            client: format!("exec-{}-{}", std::process::id(), stamp::wall_clock()),
            sequence: 0,
            place: Place::Nowhere,
            queue,
            ended: None,
            failure: None,
            refused_bytes: 0,
        };
        let thread = std::thread::Builder::new().name("duramen-store".into()).spawn(move || work.run())?;
        Ok(Sink { thread })
    }

    /// Waits until everything is durable; else what was not stored, and why.
    pub fn end(self) -> Option<String> {
        self.thread.join().unwrap_or_else(|_| Some("storing failed".to_string()))
    }
}

/// Where lines go.
enum Place {
    /// Not found yet.
    Nowhere,
    Daemon(Daemon),
    Store(Box<Own>),
}

/// The store, opened here.
struct Own {
    store: Store,
    feed: Feed,
    readers: [LineReader; 2],
}

struct Work {
    folder: PathBuf,
    url: Option<String>,
    labels: Vec<(String, String)>,
    client: String,
    sequence: u64,
    place: Place,
    queue: Arc<Queue>,
    /// When the command was seen to have ended.
    ended: Option<Instant>,
    failure: Option<String>,
    refused_bytes: u64,
}

impl Work {
    fn run(&mut self) -> Option<String> {
        let mut pending: [Vec<u8>; 2] = Default::default();
        let line_bytes_max = Options::default().row_bytes_max;
        loop {
            let taken = self.queue.take(Duration::from_secs(1));
            if matches!(self.place, Place::Daemon(_) | Place::Nowhere) && self.queue.last().is_none() {
                std::thread::sleep(GATHER);
            }
            let end = match taken {
                Taken::Nothing => continue,
                Taken::End => true,
                Taken::Chunk(stream, bytes) => {
                    let pending = &mut pending[stream as usize];
                    pending.extend_from_slice(&bytes);
                    while self.hand_over(stream, pending, line_bytes_max) {}
                    false
                }
            };
            if end {
                break;
            }
        }
        for stream in [Stream::Out, Stream::Err] {
            let pending = &mut pending[stream as usize];
            if !pending.is_empty() {
                pending.push(b'\n');
                while self.hand_over(stream, pending, line_bytes_max) {}
            }
        }
        self.close()
    }

    /// Stores whole lines of one stream, up to a body full; true: there may be more.
    fn hand_over(&mut self, stream: Stream, pending: &mut Vec<u8>, line_bytes_max: usize) -> bool {
        let bytes = &pending[..pending.len().min(BODY_BYTES.max(line_bytes_max + 1))];
        let taken = split(bytes, line_bytes_max).taken;
        if taken == 0 {
            return false;
        }
        let mut body: Vec<u8> = pending.drain(..taken).collect();
        // A part of a line that is too long becomes a line.
        if body.last().is_some_and(|&last| last != b'\n') {
            body.push(b'\n');
        }
        let stored = self.attempt(|work| work.store(stream, &body));
        if !stored {
            self.refused_bytes += body.len() as u64;
        }
        !pending.is_empty()
    }

    /// Tries until it succeeds, is refused for good, or the command ended too long ago. True: it succeeded.
    fn attempt(&mut self, mut what: impl FnMut(&mut Work) -> Result<(), Refusal>) -> bool {
        self.sequence += 1;
        loop {
            match what(self) {
                Ok(()) => return true,
                Err(refusal) => {
                    let for_good = refusal.for_good;
                    self.failure = Some(refusal.words);
                    if for_good {
                        return false;
                    }
                }
            }
            if self.queue.last().is_some() && self.ended.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Finds where lines go: a daemon that answers, else the store.
    fn find(&mut self) -> Result<(), Refusal> {
        if let Some(url) = &self.url {
            self.place = Place::Daemon(Daemon::at(url));
            return Ok(());
        }
        if let Place::Store(_) = self.place {
            return Ok(());
        }
        // Its address may be another one since it was started again.
        if let Some(daemon) = Daemon::of(&self.folder)
            && (matches!(self.place, Place::Daemon(_)) || daemon.is_there())
        {
            self.place = Place::Daemon(daemon);
            return Ok(());
        }
        // A daemon that has taken lines is waited for: one of them may be in doubt, and only it knows.
        if let Place::Daemon(_) = self.place {
            return Err(later("the daemon has ended"));
        }
        let own = self.open().map_err(|error| later(&format!("{error:#}")))?;
        self.place = Place::Store(Box::new(own));
        Ok(())
    }

    fn open(&self) -> anyhow::Result<Own> {
        let (store, _) = crate::commands::store::open(&self.folder, &Options::default())?;
        let feed = Feed::new(
            store.clone(),
            Arc::new(Stop::without_signals()?),
            Arc::new(Counters::default()),
            Arc::new(Pace::free()),
        );
        let reader = |stream: Stream| -> anyhow::Result<LineReader> {
            let labels = self.labels_of(stream.word());
            let plain = feed.plain(&labels)?;
            Ok(LineReader::new(Streams::with_plain(labels, plain)))
        };
        let readers = [reader(Stream::Out)?, reader(Stream::Err)?];
        Ok(Own { store, feed, readers })
    }

    fn labels_of(&self, stream: &str) -> Vec<(String, String)> {
        let own = self.labels.iter().filter(|(name, _)| name != "stream").cloned();
        own.chain([("stream".to_string(), stream.to_string())]).collect()
    }

    fn store(&mut self, stream: Stream, body: &[u8]) -> Result<(), Refusal> {
        self.find()?;
        match &mut self.place {
            Place::Store(own) => own.append(stream, body).map_err(|error| refusal_of(&error)),
            Place::Daemon(daemon) => {
                let daemon = daemon.clone();
                self.send(&daemon, stream.word(), "text/plain", body)
            }
            Place::Nowhere => Err(later("no place is found")),
        }
    }

    fn send(&self, daemon: &Daemon, stream: &str, kind: &str, body: &[u8]) -> Result<(), Refusal> {
        let labels = self.labels_of(stream);
        let sequence = self.sequence.to_string();
        let mut parameters = vec![("client", self.client.as_str()), ("sequence", sequence.as_str())];
        parameters.extend(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        daemon.ingest(&parameters, kind, body)
    }

    /// Stores how the command ended, makes all durable, and says what could not be stored.
    fn close(&mut self) -> Option<String> {
        let last = self.queue.last()?;
        let lost_bytes = self.refused_bytes + self.queue.lost_bytes();
        let stored = self.attempt(|work| work.store_last(&last, lost_bytes));
        let mut failure = (!stored || lost_bytes > 0).then(|| self.failure.take().unwrap_or_default());
        match &self.place {
            Place::Store(own) => {
                if let Err(error) = own.store.close() {
                    failure = Some(error.to_string());
                }
            }
            Place::Daemon(daemon) if stored => {
                self.sequence += 1;
                let sequence = self.sequence.to_string();
                // If this fails, a few bytes stay behind.
                let parameters = [("client", self.client.as_str()), ("sequence", &sequence), ("forget", "true")];
                let _ = daemon.ingest(&parameters, "text/plain", b"");
            }
            _ => {}
        }
        let what = if lost_bytes > 0 {
            format!("{} of the output could not be stored", show_bytes(lost_bytes))
        } else {
            "the end could not be stored".to_string()
        };
        failure.map(|why| format!("{what} ({why})"))
    }

    fn store_last(&mut self, last: &Last, lost_bytes: u64) -> Result<(), Refusal> {
        self.find()?;
        let level = if last.code == 0 { Level::Info } else { Level::Error };
        let mut fields = vec![("exit", last.code.to_string())];
        fields.extend(last.signal.map(|signal| ("signal", signal.to_string())));
        fields.extend((lost_bytes > 0).then(|| ("lost_bytes", lost_bytes.to_string())));
        match &mut self.place {
            Place::Store(own) => {
                let labels = self.labels.iter().filter(|(name, _)| name != "stream");
                let labels: Vec<(&str, &str)> = labels.map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let labels = [labels, vec![("stream", "exit")]].concat();
                own.append_last(&labels, level, last, &fields).map_err(|error| refusal_of(&error))
            }
            Place::Daemon(daemon) => {
                let mut object = serde_json::Map::new();
                object.insert("line".into(), last.text.clone().into());
                object.insert("level".into(), level.word().into());
                object.extend(fields.into_iter().map(|(name, value)| (name.to_string(), value.into())));
                let (daemon, body) = (daemon.clone(), serde_json::Value::Object(object).to_string());
                self.send(&daemon, "exit", "application/json", body.as_bytes())
            }
            Place::Nowhere => Err(later("no place is found")),
        }
    }
}

impl Own {
    fn append(&mut self, stream: Stream, body: &[u8]) -> Result<(), duramen_store::Error> {
        let (now, mut batch) = (Now::of(&self.store), Batch::new());
        for line in split(body, self.store.row_bytes_max()).lines {
            self.readers[stream as usize].push(&mut batch, line, now, &self.feed)?;
        }
        self.store.append_drain(&mut batch, Durability::Policy).map(drop)
    }

    fn append_last(
        &self,
        labels: &[(&str, &str)],
        level: Level,
        last: &Last,
        fields: &[(&str, String)],
    ) -> Result<(), duramen_store::Error> {
        let (now, mut batch) = (Now::of(&self.store), Batch::new());
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        batch.push_at(now.base, &self.feed.plain(labels)?, now.time, level, last.text.as_bytes(), &fields);
        self.store.append_drain(&mut batch, Durability::Now)?.wait()
    }
}

fn later(words: &str) -> Refusal {
    Refusal { words: words.to_string(), for_good: false }
}

fn refusal_of(error: &duramen_store::Error) -> Refusal {
    let for_good = !error.is_no_space() && !matches!(error, duramen_store::Error::Going);
    Refusal { words: error.to_string(), for_good }
}
