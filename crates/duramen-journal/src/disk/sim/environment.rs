//! Simulated time, waiting and entropy. Owns a clock that only waiting and tests advance, and a seeded stream of bytes.
//! Has no threads: whoever would wait for another thread for ever is told so by a panic, which the explorer reports.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32 as PlainU32, AtomicU64, Ordering};
use std::time::Duration;

use super::hash::{Generator, mix};
use crate::disk::{Environment, Worker};
use crate::sync::AtomicU32;

/// Wall time at the first boot: 2023-11-14 22:13:20 UTC. Each later boot comes 1,000 s after the one before.
const SIMULATED_EPOCH: u64 = 1_700_000_000_000_000_000;
/// How often in a row a wait without a timeout may return early before it counts as a deadlock.
const ENDLESS_WAITS_MAX: u32 = 1_000;

/// Deterministic time, waiting and entropy. No threads.
#[derive(Debug)]
pub struct SimEnvironment {
    nanoseconds: AtomicU64,
    /// Wall time at time zero, in nanoseconds.
    wall: AtomicU64,
    boot: AtomicU64,
    endless_waits: PlainU32,
    entropy: Mutex<Generator>,
}

impl SimEnvironment {
    /// An environment at time zero. `boot` counts the starts of the machine: each has entropy of its own.
    pub(super) fn new(seed: u64, boot: u64) -> Self {
        Self {
            nanoseconds: AtomicU64::new(0),
            wall: AtomicU64::new(SIMULATED_EPOCH + boot * 1_000_000_000_000),
            boot: AtomicU64::new(boot),
            endless_waits: PlainU32::new(0),
            entropy: Mutex::new(Generator::new(mix(seed, boot))),
        }
    }

    /// Goes on with another one's boot of the machine: its id, its clocks.
    pub(super) fn continue_boot_of(&self, other: &Self) {
        for (own, others) in
            [(&self.nanoseconds, &other.nanoseconds), (&self.wall, &other.wall), (&self.boot, &other.boot)]
        {
            own.store(others.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Sets the wall clock, now: from here on it goes on with the monotonic one.
    pub fn set_wall(&self, wall: Duration) {
        let wall = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        self.wall.store(wall.wrapping_sub(self.nanoseconds.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let nanoseconds = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let before = self.nanoseconds.load(Ordering::Relaxed);
        self.nanoseconds.store(before.saturating_add(nanoseconds), Ordering::Relaxed);
    }
}

impl Environment for SimEnvironment {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Option<Duration> {
        let nanoseconds = self.nanoseconds.load(Ordering::Relaxed);
        Some(Duration::from_nanos(self.wall.load(Ordering::Relaxed).wrapping_add(nanoseconds)))
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        Some(u128::from(self.boot.load(Ordering::Relaxed)).to_le_bytes())
    }

    fn entropy(&self, out: &mut [u8]) -> io::Result<()> {
        self.entropy.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).fill(out);
        Ok(())
    }

    fn spawn(&self, _name: &str, _work: Box<dyn FnOnce() + Send>) -> io::Result<Option<Box<dyn Worker>>> {
        Ok(None)
    }

    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        if word.load(crate::sync::Ordering::Acquire) != expected {
            self.endless_waits.store(0, Ordering::Relaxed);
            return;
        }
        if let Some(timeout) = timeout {
            self.advance(timeout);
            return;
        }
        let waits = self.endless_waits.fetch_add(1, Ordering::Relaxed);
        assert!(waits < ENDLESS_WAITS_MAX, "deadlock: a wait without a timeout, and no other thread to end it");
        self.advance(Duration::from_millis(1));
    }

    fn wake(&self, _word: &AtomicU32, _count: u32) {}
}
