//! When what nobody has to wait for becomes durable: from a policy and what happens to a class of the journal's. Owns the
//! measured rate of arrivals; syncs nothing itself, the journal's own thread does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use duramen_journal::Class;

use crate::config::FlushPolicy;

/// The policy at work.
#[derive(Debug)]
pub(crate) struct Flush {
    policy: FlushPolicy,
    /// Nanoseconds between two arrivals, smoothed.
    between: AtomicU64,
    /// When the last one came.
    last: AtomicU64,
    pub prompt: AtomicU64,
    pub delayed: AtomicU64,
}

/// What the storage says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Records that are not durable, this one included.
    pub unsynced: u64,
    /// The environment's time.
    pub now: Duration,
    /// What a sync takes.
    pub sync: Duration,
}

impl Flush {
    pub fn new(policy: FlushPolicy) -> Flush {
        Flush {
            policy,
            between: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(0),
            prompt: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
        }
    }

    /// Whether [`Flush::class`] wants to know anything.
    pub fn counts(&self) -> bool {
        self.policy != FlushPolicy::Immediate
    }

    /// Whether [`Flush::class`] wants to know the time and what a sync takes.
    pub fn measures(&self) -> bool {
        self.policy == FlushPolicy::Adaptive
    }

    /// How soon an arrival is to be durable.
    pub fn class(&self, load: Load) -> Class {
        let class = match self.policy {
            FlushPolicy::Immediate => Class::Now,
            FlushPolicy::Batch { threshold, .. } if load.unsynced >= threshold => Class::Now,
            FlushPolicy::Batch { interval, .. } => Class::Within(interval),
            FlushPolicy::Adaptive => self.adapt(load),
        };
        let counter = if class == Class::Now { &self.prompt } else { &self.delayed };
        counter.fetch_add(1, Ordering::Relaxed);
        class
    }

    /// Two syncs' time is what a burst may wait: one sync is under way then, and the next takes all that came.
    fn adapt(&self, load: Load) -> Class {
        let now = u64::try_from(load.now.as_nanos()).unwrap_or(u64::MAX);
        let passed = now.saturating_sub(self.last.swap(now, Ordering::Relaxed));
        let before = self.between.load(Ordering::Relaxed);
        // A pause makes the next arrival a lone one at once; a burst is believed after a few.
        let between = if passed >= before || before == u64::MAX { passed } else { before - (before - passed) / 4 };
        self.between.store(between, Ordering::Relaxed);
        let sync = u64::try_from(load.sync.as_nanos()).unwrap_or(u64::MAX);
        if sync == 0 || between >= sync {
            return Class::Now;
        }
        let share = (2 * sync / between.max(1)).max(1);
        if load.unsynced >= share { Class::Now } else { Class::Within(2 * load.sync) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64, unsynced: u64) -> Load {
        Load { unsynced, now: Duration::from_micros(micros), sync: Duration::from_micros(200) }
    }

    #[test]
    fn batches_wait_for_their_threshold() {
        let interval = Duration::from_millis(5);
        let flush = Flush::new(FlushPolicy::Batch { threshold: 3, interval });
        assert_eq!(flush.class(at(0, 1)), Class::Within(interval));
        assert_eq!(flush.class(at(0, 3)), Class::Now);
        assert_eq!((flush.prompt.load(Ordering::Relaxed), flush.delayed.load(Ordering::Relaxed)), (1, 1));
        assert_eq!(Flush::new(FlushPolicy::Immediate).class(at(0, 1)), Class::Now);
    }

    #[test]
    fn adaptive_waits_in_a_burst_only() {
        let flush = Flush::new(FlushPolicy::Adaptive);
        for round in 1..10 {
            assert_eq!(flush.class(at(round * 1_000, 1)), Class::Now, "rarer than syncs");
        }
        let burst: Vec<Class> = (0..40).map(|round| flush.class(at(9_000 + round * 10, 1))).collect();
        assert_eq!(burst[39], Class::Within(Duration::from_micros(400)), "a burst shares syncs");
        assert_eq!(flush.class(at(9_400, 50)), Class::Now, "as many as come within two syncs");
        assert_eq!(flush.class(at(20_000, 1)), Class::Now, "after a pause");
    }

    #[test]
    fn adaptive_knows_no_sync_yet() {
        let flush = Flush::new(FlushPolicy::Adaptive);
        let load = Load { unsynced: 1, now: Duration::ZERO, sync: Duration::ZERO };
        assert!((0..100).all(|_| flush.class(load) == Class::Now));
    }
}
