//! The two cells of the group commit that threads meet in, explored by loom in every order that two or three threads
//! allow: nobody sleeps through an end, each is told once, and the watermark only grows.
//!
//! Compiled only with `--cfg loom`; `LOOM_MAX_PREEMPTIONS` bounds the search. The modules are included from the crate's
//! sources, because they are no part of its interface.

#![cfg(loom)]
#![allow(dead_code, reason = "the modules offer more than is explored here")]

use std::fmt;
use std::io;
use std::task::{Wake, Waker};
use std::time::Duration;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use duramen_journal::Sequence;

/// What the included modules see of the crate.
mod disk {
    pub use duramen_journal::disk::{Environment, World};
}
mod error {
    pub use duramen_journal::Error;
}
mod planted {
    pub use duramen_journal::planted::{Bug, is};
}
#[path = "../src/completion.rs"]
mod completion;
#[path = "../src/sync.rs"]
mod sync;
#[path = "../src/watermark.rs"]
mod watermark;

use completion::{Completion, DURABLE, WRITTEN};
use error::Error;
use sync::{Arc, AtomicU32, Ordering};
use watermark::Watermark;

/// A futex: whoever waits looks at the word and goes to sleep in one step, as in the kernel.
struct Futex {
    bed: Mutex<()>,
    bell: Condvar,
}

impl Futex {
    fn new() -> Futex {
        Futex { bed: Mutex::new(()), bell: Condvar::new() }
    }
}

impl fmt::Debug for Futex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Futex")
    }
}

impl disk::Environment for Futex {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn entropy(&self, _out: &mut [u8]) -> io::Result<()> {
        Ok(())
    }

    fn spawn(
        &self,
        _name: &str,
        _work: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Option<Box<dyn duramen_journal::disk::Worker>>> {
        Ok(None)
    }

    fn wait(&self, word: &AtomicU32, expected: u32, _timeout: Option<Duration>) {
        let mut sleeping = self.bed.lock().unwrap();
        while word.load(Ordering::SeqCst) == expected {
            sleeping = self.bell.wait(sleeping).unwrap();
        }
    }

    fn wake(&self, _word: &AtomicU32, _count: u32) {
        let _nobody_falls_asleep = self.bed.lock().unwrap();
        self.bell.notify_all();
    }
}

fn world(futex: &std::sync::Arc<Futex>) -> disk::World {
    disk::World { disk: duramen_journal::disk::real::world().disk, environment: futex.clone() }
}

/// Counts wakes. A plain counter: what it counts is read when the threads have ended.
#[derive(Default)]
struct Counter(std::sync::atomic::AtomicU32);

impl Counter {
    fn add(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }

    fn get(&self) -> u32 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Wake for Counter {
    fn wake(self: std::sync::Arc<Self>) {
        self.add();
    }
}

#[test]
fn a_sleeper_is_woken_at_its_level() {
    loom::model(|| {
        let (futex, completion) = (std::sync::Arc::new(Futex::new()), Arc::new(Completion::new()));
        let sleepers: Vec<_> = [WRITTEN, DURABLE]
            .into_iter()
            .map(|level| {
                let (futex, completion) = (futex.clone(), completion.clone());
                thread::spawn(move || {
                    completion.wait(level, &*futex).expect("succeeds");
                    assert!(completion.reached(level));
                })
            })
            .collect();
        completion.written(&*futex);
        completion.finish(Ok(()), &*futex);
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

#[test]
fn of_two_ends_one_counts() {
    loom::model(|| {
        let (futex, completion) = (std::sync::Arc::new(Futex::new()), Arc::new(Completion::new()));
        let called = std::sync::Arc::new(Counter::default());
        let told = called.clone();
        completion.on_final(Box::new(move |_| told.add()));
        let other = {
            let (futex, completion) = (futex.clone(), completion.clone());
            thread::spawn(move || completion.finish(Err(Error::Closed), &*futex))
        };
        completion.finish(Ok(()), &*futex);
        other.join().unwrap();
        assert_eq!(called.get(), 1, "each callback once");
        let first = completion.level().is_ok();
        completion.finish(if first { Err(Error::Closed) } else { Ok(()) }, &*futex);
        completion.written(&*futex);
        assert_eq!(completion.level().is_ok(), first, "an end is final");
        assert_eq!(completion.wait(DURABLE, &*futex).is_ok(), first);
    });
}

#[test]
fn a_callback_runs_once_whoever_comes_first() {
    loom::model(|| {
        let (futex, completion) = (std::sync::Arc::new(Futex::new()), Arc::new(Completion::new()));
        let called = std::sync::Arc::new(Counter::default());
        let caller = {
            let (completion, told) = (completion.clone(), called.clone());
            thread::spawn(move || {
                completion.on_final(Box::new(move |result| {
                    assert!(matches!(result, Err(Error::Closed)));
                    told.add();
                }));
            })
        };
        completion.finish(Err(Error::Closed), &*futex);
        caller.join().unwrap();
        assert_eq!(called.get(), 1);
    });
}

#[test]
fn a_waker_is_woken_or_told_that_it_is_late() {
    loom::model(|| {
        let (futex, completion) = (std::sync::Arc::new(Futex::new()), Arc::new(Completion::new()));
        let woken = std::sync::Arc::new(Counter::default());
        let poller = {
            let (completion, waker) = (completion.clone(), Waker::from(woken.clone()));
            // As a future's poll does: an answer of `false` means that it is ready.
            thread::spawn(move || {
                let pending = completion.register(&waker);
                assert!(pending || completion.reached(DURABLE));
                pending
            })
        };
        completion.written(&*futex);
        completion.finish(Ok(()), &*futex);
        let pending = poller.join().unwrap();
        assert_eq!(woken.get(), u32::from(pending), "woken exactly if it was left pending");
    });
}

#[test]
fn the_watermark_grows_and_wakes() {
    loom::model(|| {
        let futex = std::sync::Arc::new(Futex::new());
        let watermark = Arc::new(Watermark::new(0));
        let follower = {
            let (watermark, world) = (watermark.clone(), world(&futex));
            thread::spawn(move || {
                let mut seen: Sequence = 0;
                while seen < 2 {
                    watermark.wait_above(seen, None, &world);
                    let now = watermark.get();
                    assert!(now >= seen, "it never falls");
                    seen = now;
                }
            })
        };
        let world = world(&futex);
        watermark.advance(1, &world);
        watermark.advance(2, &world);
        watermark.advance(1, &world);
        assert_eq!(watermark.get(), 2);
        follower.join().unwrap();
    });
}

#[test]
fn closing_ends_the_wait() {
    loom::model(|| {
        let futex = std::sync::Arc::new(Futex::new());
        let watermark = Arc::new(Watermark::new(5));
        let follower = {
            let (watermark, world) = (watermark.clone(), world(&futex));
            thread::spawn(move || {
                while !watermark.is_closed() {
                    watermark.wait_above(5, None, &world);
                }
            })
        };
        watermark.close(&world(&futex));
        follower.join().unwrap();
    });
}

#[test]
fn a_follower_registers_and_looks_again() {
    loom::model(|| {
        let futex = std::sync::Arc::new(Futex::new());
        let watermark = Arc::new(Watermark::new(0));
        let woken = std::sync::Arc::new(Counter::default());
        let poller = {
            let (watermark, waker) = (watermark.clone(), Waker::from(woken.clone()));
            thread::spawn(move || {
                watermark.register(&waker);
                // As `Follow::poll_next` does: what moved before the waker was in place is seen here.
                watermark.get() == 0
            })
        };
        watermark.advance(1, &world(&futex));
        let pending = poller.join().unwrap();
        assert!(!pending || woken.get() == 1, "left pending, and never woken");
    });
}
