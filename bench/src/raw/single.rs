//! The raw bound for one caller: append, sync, read back.
//!
//! The lock is there only because the trait is shared between threads; it is never contended.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Target;
use super::frame::{self, Found};
use super::pages::{PAGE_BYTES, Pages};
use crate::engine::{Acknowledgement, Engine, Outcome, unsupported};
use crate::pool::Pool;

/// A buffered append writes once this much has gathered (PHYSICS: 23.5 ns a record of 128 B).
const WRITE_BYTES: usize = 256 << 10;

/// Recovery and scans read this much at a time.
const READ_BYTES: usize = 1 << 20;

/// The log of one caller.
pub struct Single {
    target: Target,
    state: Mutex<State>,
    scratch: Mutex<Vec<u8>>,
    syncs: AtomicU64,
}

struct State {
    pages: Pages,
    /// Where the first of `pages` belongs in the file.
    offset: u64,
    next_sequence: u64,
    /// Where each record starts: four bytes a record, as the journal's own index.
    index: Vec<u32>,
}

impl Single {
    /// An empty log in a preallocated file.
    pub fn create(target: Target) -> Single {
        Single::with_state(target, 0, 1, Vec::new())
    }

    /// Reads and checks the whole file.
    pub fn recover(target: Target) -> Outcome<Single> {
        let mut index = Vec::new();
        let end = walk(&target, &mut |offset, _| index.push(offset))?;
        let next_sequence = index.len() as u64 + 1;
        let page = end / PAGE_BYTES as u64 * PAGE_BYTES as u64;
        let single = Single::with_state(target, page, next_sequence, index);
        let unfinished = (end - page) as usize;
        single.target.cached.read_exact_at(single.lock().pages.extend(unfinished), page)?;
        Ok(single)
    }

    fn with_state(target: Target, offset: u64, next_sequence: u64, index: Vec<u32>) -> Single {
        let state = State { pages: Pages::with_capacity(2 * WRITE_BYTES), offset, next_sequence, index };
        Single { target, state: Mutex::new(state), scratch: Mutex::new(Vec::new()), syncs: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_cached(&self, state: &mut State) -> Outcome<()> {
        Ok(self.target.cached.write_all_at(state.pages.whole_pages(), state.offset)?)
    }

    fn write_durably(&self, state: &mut State) -> Outcome<()> {
        self.target.write_durably(state.pages.whole_pages(), state.offset)?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        state.drop_finished();
        Ok(())
    }
}

impl State {
    fn drop_finished(&mut self) {
        self.offset += self.pages.finished_pages().len() as u64;
        self.pages.keep_unfinished();
    }

    fn encode(&mut self, payload: &[u8]) {
        self.index.push((self.offset + self.pages.len() as u64) as u32);
        frame::encode(self.pages.extend(frame::frame_bytes(payload.len())), self.next_sequence, payload);
        self.next_sequence += 1;
    }
}

impl Engine for Single {
    fn append(&self, _lane: usize, records: &[&[u8]], acknowledgement: Acknowledgement) -> Outcome<()> {
        let mut state = self.lock();
        let batch_bytes: usize = records.iter().map(|record| frame::frame_bytes(record.len())).sum();
        if state.offset + (state.pages.len() + batch_bytes + PAGE_BYTES) as u64 > self.target.bytes {
            self.write_cached(&mut state)?;
            state.pages.clear();
            state.index.clear();
            state.offset = 0;
        }
        for record in records {
            state.encode(record);
        }
        match acknowledgement {
            Acknowledgement::Durable => self.write_durably(&mut state)?,
            Acknowledgement::Buffered if state.pages.len() >= WRITE_BYTES => {
                self.target.cached.write_all_at(state.pages.finished_pages(), state.offset)?;
                state.drop_finished();
            }
            Acknowledgement::Buffered => {}
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        let mut state = self.lock();
        self.write_cached(&mut state)?;
        self.target.cached.sync_data()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        state.drop_finished();
        Ok(())
    }

    fn append_in_flight(&self, _window: usize, _pool: &Pool, _stop_at: Instant) -> Outcome<u64> {
        unsupported("keep appends in flight when it was opened for one caller")
    }

    fn read(&self, index: u64, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let (start, end) = {
            let state = self.lock();
            let start = *state.index.get(index as usize).ok_or("there is no record at this index")?;
            let tail = (state.offset + state.pages.len() as u64) as u32;
            (start, state.index.get(index as usize + 1).copied().unwrap_or(tail))
        };
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        scratch.resize((end - start) as usize, 0);
        self.target.cached.read_exact_at(&mut scratch, u64::from(start))?;
        match frame::decode(&scratch, index + 1) {
            Found::Frame(payload) => visit(payload),
            Found::Short | Found::Nothing => return Err("the record is damaged".into()),
        }
        Ok(())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        walk(&self.target, &mut |_, payload| visit(payload))?;
        Ok(())
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.syncs.load(Ordering::Relaxed))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        if self.lock().pages.len() > 0 { self.sync() } else { Ok(()) }
    }
}

/// Shows every frame from the start of the file, checked, to `visit` with its offset; returns where the last one ends.
fn walk(target: &Target, visit: &mut dyn FnMut(u32, &[u8])) -> Outcome<u64> {
    let mut buffer = vec![0; 2 * READ_BYTES];
    let mut filled = 0;
    let mut buffer_offset = 0_u64;
    let mut sequence = 1;
    loop {
        let count = target.cached.read_at(&mut buffer[filled..], buffer_offset + filled as u64)?;
        filled += count;
        let mut position = 0;
        loop {
            match frame::decode(&buffer[position..filled], sequence) {
                Found::Frame(payload) => {
                    visit((buffer_offset + position as u64) as u32, payload);
                    position += frame::frame_bytes(payload.len());
                    sequence += 1;
                }
                Found::Short if count > 0 && position > 0 => break,
                Found::Short | Found::Nothing => return Ok(buffer_offset + position as u64),
            }
        }
        buffer.copy_within(position..filled, 0);
        filled -= position;
        buffer_offset += position as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Scratch;
    use crate::raw::probe::{SyncMethod, preallocate};

    fn target(scratch: &Scratch, bytes: u64) -> Target {
        let path = scratch.path().join("raw.log");
        if !path.exists() {
            preallocate(&path, bytes).unwrap();
        }
        Target::open(&path, SyncMethod::DataSync).unwrap()
    }

    #[test]
    fn what_was_appended_is_recovered_read_and_scanned() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let pool = Pool::new(300);
        let table = pool.table(100);
        let single = Single::create(target(&scratch, 8 << 20));
        for start in (0..10_000).step_by(100) {
            let acknowledgement = if start < 300 { Acknowledgement::Durable } else { Acknowledgement::Buffered };
            single.append(0, &table[start % 1000..][..100], acknowledgement).unwrap();
        }
        single.sync().unwrap();
        assert_eq!(single.syncs(), Some(4));

        let reopened = Single::recover(target(&scratch, 0)).unwrap();
        let mut count = 0;
        reopened
            .scan(&mut |payload| {
                assert_eq!(payload, pool.record(count));
                count += 1;
            })
            .unwrap();
        assert_eq!(count, 10_000);
        for index in [0, 1, 4321, 9_999] {
            reopened.read(index, &mut |payload| assert_eq!(payload, pool.record(index))).unwrap();
        }
        assert!(reopened.read(10_000, &mut |_| ()).is_err());
    }

    #[test]
    fn a_full_file_wraps_around() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let pool = Pool::new(300);
        let single = Single::create(target(&scratch, 64 << 10));
        for index in 0..1000 {
            single.append(0, &[pool.record(index)], Acknowledgement::Durable).unwrap();
        }
        assert_eq!(single.target.cached.metadata().unwrap().len(), 64 << 10);
    }
}
