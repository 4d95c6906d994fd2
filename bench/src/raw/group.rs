//! The raw bound for many callers: they encode into one buffer, one thread writes and syncs whatever has gathered.
//!
//! Threads: the callers and one flusher. Locks: one short mutex around the buffer that is being filled; nobody holds it
//! while writing. A caller sleeps on the word of its own batch, so that one system call wakes exactly those whose
//! records became durable. This is the least that blocking callers need, and the bound of "conc" in TARGETS.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::thread::futex;

use super::Target;
use super::frame;
use super::pages::Pages;
use crate::engine::{Acknowledgement, Engine, Outcome, unsupported};
use crate::pool::Pool;

/// Batches whose callers may still be asleep at the same time; one is forming, one is being written.
const SLOTS: usize = 16;

/// How much a buffer holds before it has to grow.
const BUFFER_BYTES: usize = 1 << 20;

/// A batch starts only where this much fits before the end of the file; it bounds what may be in flight.
const WRAP_MARGIN_BYTES: u64 = 16 << 20;

/// How many appends in flight pass between two looks at the clock.
const CLOCK_EVERY: u64 = 64;

/// The log of many callers.
pub struct Group {
    inner: Arc<Inner>,
    flusher: Option<JoinHandle<()>>,
}

struct Inner {
    target: Target,
    forming: Mutex<Forming>,
    /// The number of the last durable batch of each slot: what its callers sleep on.
    done: [AtomicU32; SLOTS],
    /// What the flusher sleeps on.
    kick: AtomicU32,
    /// Counts the flushes: what a producer with a full window sleeps on.
    progress: AtomicU32,
    durable: AtomicU64,
    syncs: AtomicU64,
    closing: AtomicBool,
    failed: OnceLock<String>,
}

/// The batch that callers join now.
struct Forming {
    pages: Pages,
    offset: u64,
    last_sequence: u64,
    batch: u32,
    /// Frames came since the last flush took the buffer.
    fresh: bool,
    flusher_sleeps: bool,
}

impl Group {
    /// An empty log in a preallocated file.
    pub fn create(target: Target) -> Outcome<Group> {
        let pages = Pages::with_capacity(BUFFER_BYTES);
        // Batches count from SLOTS, so that slot number i can start with "batch i is done".
        let forming =
            Forming { pages, offset: 0, last_sequence: 0, batch: SLOTS as u32, fresh: false, flusher_sleeps: false };
        let inner = Arc::new(Inner {
            target,
            forming: Mutex::new(forming),
            done: std::array::from_fn(|slot| AtomicU32::new(slot as u32)),
            kick: AtomicU32::new(0),
            progress: AtomicU32::new(0),
            durable: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            failed: OnceLock::new(),
        });
        let shared = Arc::clone(&inner);
        let flusher = std::thread::Builder::new().name("raw-flusher".to_owned()).spawn(move || shared.flush_all())?;
        Ok(Group { inner, flusher: Some(flusher) })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.inner.closing.store(true, Ordering::SeqCst);
        self.inner.kick_flusher();
        if let Some(flusher) = self.flusher.take() {
            // A flusher that panicked has told so itself; a drop has nobody to tell.
            let _ = flusher.join();
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Forming> {
        self.forming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kick_flusher(&self) {
        self.kick.fetch_add(1, Ordering::SeqCst);
        wake(&self.kick, 1);
    }

    /// Encodes the records into the forming batch and returns its number.
    fn join(&self, records: &[&[u8]]) -> u32 {
        let mut forming = self.lock();
        for record in records {
            forming.last_sequence += 1;
            let sequence = forming.last_sequence;
            frame::encode(forming.pages.extend(frame::frame_bytes(record.len())), sequence, record);
        }
        forming.fresh = true;
        let batch = forming.batch;
        let flusher_sleeps = std::mem::take(&mut forming.flusher_sleeps);
        drop(forming);
        if flusher_sleeps {
            self.kick_flusher();
        }
        batch
    }

    fn wait_for_batch(&self, batch: u32) -> Outcome<()> {
        let word = &self.done[batch as usize % SLOTS];
        loop {
            let seen = word.load(Ordering::Acquire);
            if seen.wrapping_sub(batch) as i32 >= 0 {
                return self.check();
            }
            sleep(word, seen);
        }
    }

    fn check(&self) -> Outcome<()> {
        match self.failed.get() {
            None => Ok(()),
            Some(reason) => Err(reason.clone().into()),
        }
    }

    fn flush_all(&self) {
        let mut spare = Pages::with_capacity(BUFFER_BYTES);
        loop {
            let kicked = self.kick.load(Ordering::SeqCst);
            let mut forming = self.lock();
            if !forming.fresh {
                if self.closing.load(Ordering::SeqCst) {
                    return;
                }
                forming.flusher_sleeps = true;
                drop(forming);
                sleep(&self.kick, kicked);
                continue;
            }
            let (batch, last_sequence, offset) = self.take(&mut forming, &mut spare);
            drop(forming);
            if let Err(error) = self.target.write_durably(spare.whole_pages(), offset) {
                // The first reason is the one that matters.
                let _ = self.failed.set(error.to_string());
            }
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.durable.store(last_sequence, Ordering::Release);
            let word = &self.done[batch as usize % SLOTS];
            word.store(batch, Ordering::Release);
            wake(word, i32::MAX as u32);
            self.progress.fetch_add(1, Ordering::Release);
            wake(&self.progress, 1);
        }
    }

    /// Swaps the forming batch for an empty one that starts with the unfinished page.
    fn take(&self, forming: &mut Forming, spare: &mut Pages) -> (u32, u64, u64) {
        let taken = (forming.batch, forming.last_sequence, forming.offset);
        spare.clear();
        let unfinished = forming.pages.unfinished();
        let finished_bytes = (forming.pages.len() - unfinished.len()) as u64;
        spare.extend(unfinished.len()).copy_from_slice(unfinished);
        forming.offset += finished_bytes;
        if forming.offset + WRAP_MARGIN_BYTES > self.target.bytes {
            forming.offset = 0;
            spare.clear();
        }
        std::mem::swap(&mut forming.pages, spare);
        forming.batch = forming.batch.wrapping_add(1);
        forming.fresh = false;
        taken
    }

    fn wait_until_outstanding(&self, sent: u64, at_most: u64) -> Outcome<()> {
        loop {
            let seen = self.progress.load(Ordering::Acquire);
            if sent - self.durable.load(Ordering::Acquire) <= at_most {
                return self.check();
            }
            sleep(&self.progress, seen);
        }
    }
}

impl Engine for Group {
    fn append(&self, _lane: usize, records: &[&[u8]], acknowledgement: Acknowledgement) -> Outcome<()> {
        let batch = self.inner.join(records);
        match acknowledgement {
            Acknowledgement::Durable => self.inner.wait_for_batch(batch),
            Acknowledgement::Buffered => self.inner.check(),
        }
    }

    fn sync(&self) -> Outcome<()> {
        let last_sequence = self.inner.lock().last_sequence;
        self.inner.wait_until_outstanding(last_sequence, 0)
    }

    fn append_in_flight(&self, window: usize, pool: &Pool, stop_at: Instant) -> Outcome<u64> {
        let table = pool.table(1);
        // Sequences of the log, not of this call: what an earlier call appended counts as durable by now.
        let first = self.inner.lock().last_sequence;
        let mut sent = first;
        loop {
            if sent - self.inner.durable.load(Ordering::Acquire) >= window as u64 {
                self.inner.wait_until_outstanding(sent, window as u64 - 1)?;
            }
            let place = (sent % crate::pool::POOL_RECORDS as u64) as usize;
            self.inner.join(&table[place..=place]);
            sent += 1;
            if sent.is_multiple_of(CLOCK_EVERY) && Instant::now() >= stop_at {
                self.inner.wait_until_outstanding(sent, 0)?;
                return Ok(sent - first);
            }
        }
    }

    fn read(&self, _index: u64, _visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        unsupported("read when it was opened for many callers")
    }

    fn scan(&self, _visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        unsupported("scan when it was opened for many callers")
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.inner.syncs.load(Ordering::Relaxed))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.sync()
    }
}

/// Sleeps while the word has this value; may return early, so callers look again.
fn sleep(word: &AtomicU32, value: u32) {
    // An early return (a signal, a changed word) is what the callers' loops are for.
    let _ = futex::wait(word, futex::Flags::PRIVATE, value, None);
}

fn wake(word: &AtomicU32, sleepers_max: u32) {
    // Waking cannot fail on a word of this process.
    let _ = futex::wake(word, futex::Flags::PRIVATE, sleepers_max);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::System;
    use crate::host::Scratch;
    use crate::raw::RawSystem;
    use crate::raw::probe::{SyncMethod, preallocate};
    use crate::works::setup_for_test;

    fn group(scratch: &Scratch, bytes: u64) -> Group {
        let path = scratch.path().join("raw.log");
        preallocate(&path, bytes).unwrap();
        Group::create(Target::open(&path, SyncMethod::DataSync).unwrap()).unwrap()
    }

    #[test]
    fn each_callers_record_is_on_disk_and_callers_share_syncs() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let group = group(&scratch, 32 << 20);
        std::thread::scope(|scope| {
            for caller in 0..8_u64 {
                let group = &group;
                scope.spawn(move || {
                    for _ in 0..50 {
                        group.append(0, &[&caller.to_le_bytes()], Acknowledgement::Durable).unwrap();
                    }
                });
            }
        });
        drop(group);
        let reopened = RawSystem::new(SyncMethod::DataSync).open(scratch.path(), &setup_for_test()).unwrap();
        let mut counts = [0; 8];
        reopened.scan(&mut |payload| counts[payload[0] as usize] += 1).unwrap();
        assert_eq!(counts, [50; 8]);
    }

    #[test]
    fn a_window_ends_with_everything_durable() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let group = group(&scratch, 32 << 20);
        let mut sent = 0;
        for _ in 0..2 {
            let stop_at = Instant::now() + Duration::from_millis(5);
            sent += group.append_in_flight(32, &Pool::new(64), stop_at).unwrap();
            assert!(sent >= CLOCK_EVERY);
            assert_eq!(group.inner.durable.load(Ordering::Acquire), sent);
        }
    }
}
