//! A sequence that only grows, and those who wait for it to move. Owns the number, a futex word and the wakers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::Duration;

use crate::Sequence;
use crate::disk::World;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, fence, lock};

#[derive(Debug)]
pub(crate) struct Watermark {
    value: AtomicU64,
    word: AtomicU32,
    sleepers: AtomicU32,
    has_wakers: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
    closed: AtomicBool,
}

impl Watermark {
    pub fn new(value: Sequence) -> Watermark {
        Watermark {
            value: AtomicU64::new(value),
            word: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            has_wakers: AtomicBool::new(false),
            wakers: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
        }
    }

    pub fn get(&self) -> Sequence {
        self.value.load(Ordering::Acquire)
    }

    /// Whether it will not move any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub fn advance(&self, to: Sequence, world: &World) {
        if to > self.value.load(Ordering::Relaxed) {
            self.value.store(to, Ordering::SeqCst);
            self.moved(world);
        }
    }

    pub fn close(&self, world: &World) {
        self.closed.store(true, Ordering::SeqCst);
        self.moved(world);
    }

    fn moved(&self, world: &World) {
        self.word.fetch_add(1, Ordering::SeqCst);
        // Whoever counted itself, or left a waker, before it looked at the value is seen here; whoever did so after sees
        // the value.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            world.environment.wake(&self.word, u32::MAX);
        }
        if self.has_wakers.swap(false, Ordering::SeqCst) {
            for waker in std::mem::take(&mut *lock(&self.wakers)) {
                // A waker is the caller's code: that it panics must not end the flush (row 29).
                let _ = catch_unwind(AssertUnwindSafe(move || waker.wake()));
            }
        }
    }

    /// Sleeps until it stands above `seen`, or is closed, or the time is over.
    pub fn wait_above(&self, seen: Sequence, timeout: Option<Duration>, world: &World) {
        let word = self.word.load(Ordering::SeqCst);
        if self.get() > seen || self.is_closed() {
            return;
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        world.environment.wait(&self.word, word, timeout);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes this task at the next move. The caller looks at the value again afterwards.
    pub fn register(&self, waker: &Waker) {
        let mut wakers = lock(&self.wakers);
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        self.has_wakers.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}
