//! Exactly once: how one commit tells everyone who asked that it is written, durable, or failed. Owns the futex word,
//! the count of sleepers, and the callbacks; knows neither disk nor queue, so that `loom` can explore it alone.
//!
//! Invariants:
//! - The word only grows: buffered, written, durable or failed. The last two are final.
//! - A sleeper counts itself before it compares the word (in the kernel); the finisher stores the word before it reads
//!   the count. A fence on each side lets one of the two see the other, whatever the kernel's own load promises.
//! - A callback is taken out of the list by whoever runs it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::disk::Environment;
use crate::error::Error;
use crate::sync::{AtomicU32, Mutex, Ordering, fence, lock};

/// In memory.
pub(crate) const BUFFERED: u32 = 0;
/// Survives the death of the process.
pub(crate) const WRITTEN: u32 = 1;
/// Survives a power cut.
pub(crate) const DURABLE: u32 = 2;
/// Will never be durable, or nobody knows.
pub(crate) const FAILED: u32 = 3;

type Call = Box<dyn FnOnce(Result<(), Error>) + Send>;

enum Interest {
    Wake(Waker),
    Call(Call),
}

#[derive(Default)]
struct Interests {
    list: Vec<Interest>,
    error: Option<Error>,
}

/// The outcome of one commit, and who waits for it.
pub(crate) struct Completion {
    word: AtomicU32,
    sleepers: AtomicU32,
    interests: Mutex<Interests>,
}

impl Completion {
    pub fn new() -> Completion {
        Completion {
            word: AtomicU32::new(BUFFERED),
            sleepers: AtomicU32::new(0),
            interests: Mutex::new(Interests::default()),
        }
    }

    /// The level reached, or the failure.
    pub fn level(&self) -> Result<u32, Error> {
        match self.word.load(Ordering::Acquire) {
            FAILED => Err(self.error()),
            level => Ok(level),
        }
    }

    /// Whether this level, or failure, has been reached.
    pub fn reached(&self, level: u32) -> bool {
        self.word.load(Ordering::Acquire) >= level
    }

    fn error(&self) -> Error {
        lock(&self.interests).error.clone().unwrap_or(Error::Closed)
    }

    /// Whether a thread sleeps for it.
    pub fn has_sleepers(&self) -> bool {
        self.sleepers.load(Ordering::Relaxed) > 0
    }

    /// Whether somebody left a waker or a callback.
    pub fn has_interests(&self) -> bool {
        !lock(&self.interests).list.is_empty()
    }

    /// Sleeps until the level, or failure, is reached.
    pub fn wait(&self, level: u32, environment: &dyn Environment) -> Result<(), Error> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            if word == FAILED {
                return Err(self.error());
            }
            if word >= level {
                return Ok(());
            }
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            environment.wait(&self.word, word, None);
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Registers a waker, replacing one that would wake the same task. `false`: already final.
    pub fn register(&self, waker: &Waker) -> bool {
        let mut interests = lock(&self.interests);
        if self.reached(DURABLE) {
            return false;
        }
        let known = interests.list.iter().any(|interest| match interest {
            Interest::Wake(other) => other.will_wake(waker),
            Interest::Call(_) => false,
        });
        if !known {
            interests.list.push(Interest::Wake(waker.clone()));
        }
        true
    }

    /// Runs `call` once the commit is durable or failed: now, if it is.
    pub fn on_final(&self, call: Call) {
        let mut interests = lock(&self.interests);
        if self.reached(DURABLE) {
            let result = interests.error.clone().map_or(Ok(()), Err);
            drop(interests);
            run(call, result);
        } else {
            interests.list.push(Interest::Call(call));
        }
    }

    /// Marks the commit as written; only those who wait for that wake for good.
    pub fn written(&self, environment: &dyn Environment) {
        if self.word.compare_exchange(BUFFERED, WRITTEN, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.wake(environment);
        }
    }

    /// Ends the commit, once; later calls do nothing.
    pub fn finish(&self, result: Result<(), Error>, environment: &dyn Environment) {
        let list = {
            let mut interests = lock(&self.interests);
            if self.reached(DURABLE) {
                return;
            }
            let word = if result.is_ok() { DURABLE } else { FAILED };
            interests.error = result.as_ref().err().cloned();
            self.word.store(word, Ordering::SeqCst);
            std::mem::take(&mut interests.list)
        };
        self.wake(environment);
        if result.is_err() && crate::planted::is(crate::planted::Bug::CallbacksDroppedAfterError) {
            return;
        }
        for interest in list {
            match interest {
                Interest::Wake(waker) => run(Box::new(move |_| waker.wake()), Ok(())),
                Interest::Call(call) => run(call, result.clone()),
            }
        }
    }

    fn wake(&self, environment: &dyn Environment) {
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            environment.wake(&self.word, u32::MAX);
        }
    }
}

/// A callback or a waker that panics must not take the flusher with it (row 29).
fn run(call: Call, result: Result<(), Error>) {
    let _ = catch_unwind(AssertUnwindSafe(move || call(result)));
}
