//! A replicated map with one replica: clients that put and wait, a replica that orders what waits into decisions, stores, executes
//! and answers. Owns the four ways of logging, and what is measured of them.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use duramen_decisions::backend::Backend;
use duramen_decisions::{
    Blake3, Completion, Error, Log, PersistentLogConfig, RawLayer, State, StateWriter, SyncPolicy,
};

use crate::Outcome;

/// Bytes of a value.
const VALUE_BYTES: usize = 4000;
/// Keys of the map: about 100 MB of values.
const KEYS: u64 = 25_000;
/// Parts of the map that are copied when they change while a checkpoint is written.
const SHARDS: u64 = 256;
/// Puts in one decision at most, as the consensus batches them.
const BATCH: usize = 64;
/// Lengths of the windows of which the worst is told.
const WINDOW: Duration = Duration::from_millis(100);

/// How decisions are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    None,
    /// Stored, made durable within a second, answered at once.
    Async,
    /// Stored and durable, then executed, then answered.
    Sync,
    /// Executed while it becomes durable, answered when both are done.
    Parallel,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 4] = [Mode::None, Mode::Async, Mode::Sync, Mode::Parallel];

    /// In words.
    pub fn name(self) -> &'static str {
        ["none", "async, 1 s", "sync", "sync, beside execution"][self as usize]
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Measured {
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
    pub puts: u64,
    pub syncs: u64,
    pub device_bytes: u64,
    pub checkpoints: u64,
    /// Puts in the worst window.
    pub worst_window: f64,
}

/// The map, in parts that are shared with whoever writes a checkpoint.
#[derive(Clone)]
pub struct Map {
    shards: Vec<Arc<std::collections::BTreeMap<u64, Vec<u8>>>>,
}

impl Map {
    fn full() -> Map {
        let shard = |shard: u64| (0..KEYS / SHARDS).map(|at| (at * SHARDS + shard, value(at))).collect();
        Map { shards: (0..SHARDS).map(|at| Arc::new(shard(at))).collect() }
    }

    fn execute(&mut self, puts: &[Put]) {
        for put in puts {
            let shard = &mut self.shards[(put.key % SHARDS) as usize];
            Arc::make_mut(shard).insert(put.key, put.value.clone());
        }
    }
}

impl State for Map {
    fn write_to(&self, out: &mut StateWriter<'_>) -> std::io::Result<()> {
        for shard in &self.shards {
            for (key, value) in shard.iter() {
                out.write_all(&key.to_le_bytes())?;
                out.write_all(value)?;
            }
            out.end_part()?;
        }
        Ok(())
    }

    fn read_from(_: &mut dyn std::io::Read) -> std::io::Result<Map> {
        Err(std::io::Error::other("a benchmark never reads it"))
    }
}

fn value(seed: u64) -> Vec<u8> {
    let mut own = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        own ^= own << 13;
        own ^= own >> 7;
        own ^= own << 17;
        own
    };
    (0..VALUE_BYTES / 8).flat_map(|_| next().to_le_bytes()).collect()
}

struct Put {
    key: u64,
    value: Vec<u8>,
    answer: SyncSender<()>,
}

/// A log of this service.
pub type MapLog<B> = Log<Blake3, Map, RawLayer, B>;

/// Runs the service on the log that `open` opens; writes a checkpoint each `checkpoint_every`.
pub fn run<B: Backend>(
    open: impl FnOnce(PersistentLogConfig) -> Result<MapLog<B>, Error>,
    mode: Mode,
    clients: usize,
    time: Duration,
    folder: &Path,
    checkpoint_every: Option<Duration>,
) -> Outcome<Measured> {
    let mut config = PersistentLogConfig::new(folder);
    config.sync_policy =
        if mode == Mode::Async { SyncPolicy::Interval(Duration::from_secs(1)) } else { SyncPolicy::Always };
    let log = if mode == Mode::None { None } else { Some(Arc::new(open(config)?)) };
    let done = AtomicBool::new(false);
    let counted = AtomicU64::new(0);
    let mut measured = Measured::default();
    let before = log.as_ref().map(|log| log.stats().backend).unwrap_or_default();
    std::thread::scope(|scope| -> Outcome<()> {
        let (requests, waiting) = sync_channel::<Put>(1024);
        let (snapshots, wanted) = channel::<(u64, Map)>();
        let (done, counted) = (&done, &counted);
        // Made before the clock runs.
        let map = Map::full();
        let replica = {
            let log = log.clone();
            scope.spawn(move || replica(mode, log, map, waiting, checkpoint_every.map(|every| (every, snapshots))))
        };
        let checkpointer = {
            let log = log.clone();
            scope.spawn(move || write_checkpoints(log, wanted))
        };
        let begin = Instant::now();
        let running: Vec<_> = (0..clients)
            .map(|client| {
                let requests = requests.clone();
                scope.spawn(move || client_loop(client as u64, &requests, done, counted))
            })
            .collect();
        drop(requests);
        let mut worst = u64::MAX;
        let mut last = 0;
        while begin.elapsed() < time {
            std::thread::sleep(WINDOW);
            let now = counted.load(Relaxed);
            worst = worst.min(now - last);
            last = now;
        }
        let (puts, took) = (counted.load(Relaxed), begin.elapsed());
        done.store(true, Relaxed);
        let mut times: Vec<f64> = Vec::new();
        for client in running {
            times.extend(client.join().map_err(|_| "a client panicked")?);
        }
        replica.join().map_err(|_| "the replica panicked")??;
        measured.checkpoints = checkpointer.join().map_err(|_| "the checkpointer panicked")??;
        times.sort_by(f64::total_cmp);
        measured.per_second = puts as f64 / took.as_secs_f64();
        measured.p50 = times.get(times.len() / 2).copied().unwrap_or(0.0);
        measured.p99 = times.get(times.len() * 99 / 100).copied().unwrap_or(0.0);
        measured.puts = counted.load(Relaxed).max(1);
        measured.worst_window = worst as f64;
        Ok(())
    })?;
    if let Some(log) = log {
        log.close()?;
        let after = log.stats().backend;
        measured.syncs = after.syncs - before.syncs;
        measured.device_bytes = after.device_bytes - before.device_bytes;
    }
    Ok(measured)
}

/// Writes what it is given; returns how many that were.
fn write_checkpoints<B: Backend>(log: Option<Arc<MapLog<B>>>, wanted: Receiver<(u64, Map)>) -> Result<u64, String> {
    let mut written = 0;
    for (seq_no, map) in wanted {
        if let Some(log) = &log {
            log.write_checkpoint(seq_no, &map).map_err(|error| error.to_string())?;
        }
        written += 1;
    }
    Ok(written)
}

fn client_loop(client: u64, requests: &SyncSender<Put>, done: &AtomicBool, counted: &AtomicU64) -> Vec<f64> {
    let mut times = Vec::new();
    let (answer, answered) = sync_channel(1);
    let own = value(client);
    let mut turn = client.wrapping_mul(7919);
    while !done.load(Relaxed) {
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let begin = Instant::now();
        let put = Put { key: (turn >> 33) % KEYS, value: own.clone(), answer: answer.clone() };
        if requests.send(put).is_err() || answered.recv().is_err() {
            break;
        }
        times.push(begin.elapsed().as_secs_f64());
        counted.fetch_add(1, Relaxed);
    }
    times
}

/// Orders what waits, stores, executes, answers.
fn replica<B: Backend>(
    mode: Mode,
    log: Option<Arc<MapLog<B>>>,
    mut map: Map,
    waiting: Receiver<Put>,
    checkpoints: Option<(Duration, Sender<(u64, Map)>)>,
) -> Result<(), String> {
    let mut seq_no = 0;
    let mut last_checkpoint = Instant::now();
    // Answers what was executed, as soon as it is durable.
    let (executed, to_answer) = channel::<(Vec<Put>, Completion)>();
    let answering = std::thread::spawn(move || {
        for (puts, completion) in to_answer {
            completion.wait().map_err(|error| error.to_string())?;
            // A client that ended does not hear.
            puts.iter().for_each(|put| _ = put.answer.send(()));
        }
        Ok::<(), String>(())
    });
    while let Ok(first) = waiting.recv() {
        let mut puts = vec![first];
        puts.extend(waiting.try_iter().take(BATCH - 1));
        seq_no += 1;
        let completion = match &log {
            None => Completion::done(),
            Some(log) => {
                let mut decision = Vec::with_capacity(puts.len() * (VALUE_BYTES + 8));
                for put in &puts {
                    decision.extend_from_slice(&put.key.to_le_bytes());
                    decision.extend_from_slice(&put.value);
                }
                let mut batch = duramen_decisions::Batch::new();
                batch.decision(seq_no, &decision.into());
                log.store(&batch).map_err(|error| error.to_string())?
            }
        };
        match mode {
            Mode::None | Mode::Async => {
                map.execute(&puts);
                drop(completion);
                puts.iter().for_each(|put| _ = put.answer.send(()));
            }
            Mode::Sync => {
                completion.wait().map_err(|error| error.to_string())?;
                map.execute(&puts);
                puts.iter().for_each(|put| _ = put.answer.send(()));
            }
            Mode::Parallel => {
                map.execute(&puts);
                executed.send((puts, completion)).map_err(|_| "nobody answers")?;
            }
        }
        if let Some((every, wanted)) = &checkpoints
            && last_checkpoint.elapsed() >= *every
        {
            last_checkpoint = Instant::now();
            wanted.send((seq_no, map.clone())).map_err(|_| "nobody writes checkpoints")?;
        }
    }
    drop(executed);
    answering.join().map_err(|_| "answering panicked".to_string())?
}
