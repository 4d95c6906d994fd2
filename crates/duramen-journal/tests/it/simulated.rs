//! What the tests on the simulated disk share: options for small journals, payloads that tell their sequence, and a
//! clock that can be made to jump. Owns no test.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use duramen_journal::disk::real::RealEnvironment;
use duramen_journal::disk::sim::SimDisk;
use duramen_journal::disk::{Environment, SyncMethod, Worker, World};
use duramen_journal::{Error, Journal, Options, Report};

/// Where the journals lie.
pub const FOLDER: &str = "/data";

/// The smallest segments, no cache of the tail (so that each read goes to the disk), no probe.
pub fn small() -> Options {
    Options {
        segment_bytes: 64 << 10,
        tail_cache_bytes: 0,
        read_cache_bytes: 64 << 10,
        sync_method: Some(SyncMethod::DataSync),
        ..Options::default()
    }
}

pub fn open(disk: &SimDisk, options: &Options) -> (Journal, Report) {
    try_open(disk, options).expect("opens")
}

pub fn try_open(disk: &SimDisk, options: &Options) -> Result<(Journal, Report), Error> {
    Journal::open_with(FOLDER, options, disk.world())
}

/// The simulated disk with the real clock, real threads and real futexes.
pub fn threaded(disk: &SimDisk) -> World {
    World { environment: Arc::new(RealEnvironment), ..disk.world() }
}

/// A payload that tells its number, of this length or a little more.
pub fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = format!("record {number} ").into_bytes();
    payload.resize(payload.len().max(bytes), b'a' + (number % 26) as u8);
    payload
}

/// Appends `count` records of this size, each durable when this returns.
pub fn fill(journal: &Journal, count: u64, bytes: usize) {
    for _ in 0..count {
        let number = journal.appended() + 1;
        let sequence = journal.append(1, 0, &payload(number, bytes)).expect("appends").wait().expect("durable");
        assert_eq!(sequence, number);
    }
}

/// All records from `first` to `last`, as [`fill`] wrote them, and no others.
pub fn check(journal: &Journal, first: u64, last: u64, bytes: usize) {
    let mut next = first;
    for record in journal.scan(first..) {
        let record = record.expect("reads");
        assert_eq!((record.sequence, &record.payload[..]), (next, &payload(next, bytes)[..]));
        next += 1;
    }
    assert_eq!(next, last + 1);
    for sequence in [first, last] {
        assert_eq!(journal.read(sequence).expect("reads").payload, payload(sequence, bytes));
    }
}

/// All files and their durable contents.
pub fn contents(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let read = |(path, _): (String, u64)| {
        let bytes = disk.read_durable(&path).expect("listed");
        (path, bytes)
    };
    disk.list_files().into_iter().map(read).collect()
}

/// The path of a segment.
pub fn segment(number: u64) -> String {
    format!("{FOLDER}/journal/{number:016x}.seg")
}

/// How a [`CrookedClock`] goes.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// It stands.
    Stopped,
    /// Each look jumps ahead by a year.
    Leaping,
    /// It goes forth and back.
    Swinging,
}

/// An environment whose clock keeps no promise.
pub struct CrookedClock {
    inner: Arc<dyn Environment>,
    clock: Clock,
    looks: AtomicU64,
}

impl CrookedClock {
    pub fn world(disk: &SimDisk, clock: Clock) -> World {
        let World { disk, environment: inner } = disk.world();
        World { disk, environment: Arc::new(CrookedClock { inner, clock, looks: AtomicU64::new(0) }) }
    }
}

impl fmt::Debug for CrookedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrookedClock").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl Environment for CrookedClock {
    fn now(&self) -> Duration {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        match self.clock {
            Clock::Stopped => Duration::from_secs(5),
            Clock::Leaping => Duration::from_secs(look * 365 * 86_400),
            Clock::Swinging => Duration::from_secs(if look.is_multiple_of(2) { 1_000_000 } else { 3 }),
        }
    }

    fn entropy(&self, out: &mut [u8]) -> io::Result<()> {
        self.inner.entropy(out)
    }

    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Option<Box<dyn Worker>>> {
        self.inner.spawn(name, work)
    }

    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        self.inner.wait(word, expected, timeout);
    }

    fn wake(&self, word: &AtomicU32, count: u32) {
        self.inner.wake(word, count);
    }
}
