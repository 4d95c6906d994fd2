//! The flash budget: what the device is given to write, and how far apart syncs may be to keep it. Owns the rule (pure) and the
//! figures; rows of whoever waits for an answer are not its business, they are synced at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use duramen_journal::SyncPolicy;
use duramen_store::{Durability, Nanoseconds, Power, Store};

/// Nanoseconds of a day.
const DAY: Nanoseconds = 86_400_000_000_000;
/// The share of a day's budget that may be spent ahead of the clock.
const AHEAD: f64 = 0.02;
/// How often the rule looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The key of the position that keeps what was spent over a restart.
const KEY: &[u8] = b"device-bytes";

/// The rule's settings.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// How far apart syncs are without need.
    pub commit: Duration,
    /// How far apart they may be.
    pub commit_max: Duration,
    /// Bytes a day.
    pub budget: Option<u64>,
}

impl Promise {
    /// As the settings say. Whoever has each row synced at once is promised just that: no budget moves these syncs apart.
    pub fn new(policy: SyncPolicy, commit_max: Duration, budget: Option<u64>) -> Promise {
        let (commit, commit_max) = match policy {
            SyncPolicy::Interval(time) => (time, commit_max.max(time)),
            _ => (Duration::ZERO, Duration::ZERO),
        };
        Promise { commit, commit_max, budget }
    }
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spent {
    /// The day since 1970.
    day: i64,
    bytes: u64,
    /// The counter when it was looked at last.
    counter: Option<u64>,
}

/// The pace of syncs, shared by all inputs.
#[derive(Debug)]
pub struct Pace {
    promise: Promise,
    spent: Mutex<Spent>,
    /// Milliseconds; 0: as the store's policy says.
    interval: AtomicU64,
}

impl Pace {
    /// With a promise to keep.
    pub fn new(promise: Promise) -> Pace {
        Pace { promise, spent: Mutex::default(), interval: AtomicU64::new(0) }
    }

    /// Without a budget: as the store's policy says.
    pub fn free() -> Pace {
        Pace::new(Promise { commit: Duration::ZERO, commit_max: Duration::ZERO, budget: None })
    }

    /// Goes on where the last daemon ended.
    pub fn resume(&self, store: &Store) {
        let stored = store.position(KEY).and_then(|bytes| {
            let (day, bytes) = bytes.split_first_chunk::<8>()?;
            Some((i64::from_le_bytes(*day), u64::from_le_bytes(bytes.try_into().ok()?)))
        });
        if let Some((day, bytes)) = stored {
            *self.spent() = Spent { day, bytes, counter: None };
        }
    }

    /// What to keep of it.
    pub fn position(&self) -> (Vec<u8>, Vec<u8>) {
        let spent = *self.spent();
        (KEY.to_vec(), [spent.day.to_le_bytes(), spent.bytes.to_le_bytes()].concat())
    }

    fn spent(&self) -> std::sync::MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How soon rows of a source that cannot wait are to be durable.
    pub fn durability(&self, power: Power) -> Durability {
        match self.interval.load(Ordering::Relaxed) {
            0 => Durability::Policy,
            // On a battery what counts is to be safe, not the card's life.
            _ if power != Power::Mains => Durability::Policy,
            millis => Durability::Within(Duration::from_millis(millis)),
        }
    }

    /// Takes the counter of bytes that were written, and decides anew.
    pub fn look(&self, counter: u64, now: Nanoseconds) {
        let mut spent = self.spent();
        let day = now.div_euclid(DAY);
        if spent.day != day {
            *spent = Spent { day, bytes: 0, counter: spent.counter };
        }
        spent.bytes += spent.counter.map_or(counter, |before| counter.saturating_sub(before));
        spent.counter = Some(counter);
        let elapsed = now.rem_euclid(DAY) as f64 / DAY as f64;
        let before = Duration::from_millis(self.interval.load(Ordering::Relaxed));
        let next = next(self.promise, before, spent.bytes, elapsed);
        self.interval.store(next.map_or(0, |next| next.as_millis() as u64), Ordering::Relaxed);
    }

    /// Bytes of today, the budget, and how far apart syncs are.
    pub fn figures(&self) -> (u64, Option<u64>, Duration) {
        let interval = Duration::from_millis(self.interval.load(Ordering::Relaxed));
        (self.spent().bytes, self.promise.budget, interval.max(self.promise.commit))
    }
}

/// The next interval; `None`: as it is without need. Twice as long while more is spent than the clock allows, half as long when
/// clearly less is.
fn next(promise: Promise, before: Duration, spent: u64, elapsed: f64) -> Option<Duration> {
    let budget = promise.budget? as f64;
    let allowed = budget * (elapsed + AHEAD).min(1.0);
    let before = before.max(promise.commit);
    let next = match spent as f64 {
        spent if spent > allowed => (before * 2).max(Duration::from_millis(100)).min(promise.commit_max),
        spent if spent < allowed * 0.8 => before / 2,
        _ => before,
    };
    (next > promise.commit).then_some(next)
}

/// Bytes that this process caused the device to write, as the kernel counts them.
#[allow(clippy::disallowed_methods, reason = "the kernel's figures are no data")]
pub fn written_bytes() -> Option<u64> {
    let figures = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = figures.lines().find_map(|line| line.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Promise =
        Promise { commit: Duration::from_secs(1), commit_max: Duration::from_secs(10), budget: Some(1_000_000) };

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn syncs_move_apart_while_too_much_is_spent_and_never_beyond_the_promise() {
        let (zero, half) = (Duration::ZERO, 0.5);
        assert_eq!(next(PROMISE, zero, 400_000, half), None);
        assert_eq!(next(PROMISE, zero, 600_000, half), seconds(2));
        assert_eq!(next(PROMISE, Duration::from_secs(4), 600_000, half), seconds(8));
        assert_eq!(next(PROMISE, Duration::from_secs(8), 600_000, half), seconds(10));
        assert_eq!(next(PROMISE, Duration::from_secs(8), 500_000, half), seconds(8));
        assert_eq!(next(PROMISE, Duration::from_secs(8), 100_000, half), seconds(4));
        assert_eq!(next(PROMISE, Duration::from_secs(2), 100_000, half), None);
        assert_eq!(next(Promise { budget: None, ..PROMISE }, zero, u64::MAX, half), None);
    }

    #[test]
    fn always_stays_always() {
        let pace = Pace::new(Promise::new(SyncPolicy::Always, Duration::from_secs(10), Some(1)));
        for second in 1..100 {
            pace.look(second * 1_000_000, DAY / 2);
            assert_eq!(pace.durability(Power::Mains), Durability::Policy);
        }
        assert_eq!(pace.figures(), (99_000_000, Some(1), Duration::ZERO));
        let spread = Promise::new(SyncPolicy::Interval(Duration::from_secs(1)), Duration::ZERO, Some(1));
        assert_eq!(spread.commit_max, Duration::from_secs(1));
    }

    #[test]
    fn a_day_begins_with_nothing_spent() {
        let pace = Pace::new(PROMISE);
        pace.look(700_000, DAY / 2);
        assert_eq!(pace.figures(), (700_000, Some(1_000_000), Duration::from_secs(2)));
        assert_eq!(pace.durability(Power::Mains), Durability::Within(Duration::from_secs(2)));
        assert_eq!(pace.durability(Power::Battery), Durability::Policy);
        pace.look(700_500, DAY);
        assert_eq!(pace.figures(), (500, Some(1_000_000), Duration::from_secs(1)));
        assert_eq!(pace.durability(Power::Mains), Durability::Policy);
    }
}
