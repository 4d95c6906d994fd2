//! raft-log 0.4.6: durable means that the callback of `flush(true, ..)` came, which is after its worker's fsync.
//!
//! The worker's wait for company (1 ms by default) is zero where there is one caller, since it would decide the work; but
//! without it the worker takes one request a sync, so a short wait stays where requests do come together. Both are the
//! peer's better side. Appending needs `&mut`, so callers share a mutex for the append and wait outside of it.

use std::io;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Callback, Config, RaftLog as Inner};

use super::turn;
use crate::engine::{Ability, Acknowledgement, Engine, Outcome, RELEASE_BYTES, Role, Setup, System, Traffic};
use crate::pool::Pool;

/// The best of 0, 50, 200 and 1,000 us for 64 callers where it was tried: 5.3K, 83K, 65K and 35K appends a second.
const COMPANY_WAIT: Duration = Duration::from_micros(50);

/// Entries read at a time by a scan, so that the lock is not held throughout.
const SCAN_ENTRIES: u64 = 1024;

pub struct RaftLogSystem;

impl System for RaftLogSystem {
    fn name(&self) -> &str {
        "raft-log 0.4.6"
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn can(&self, ability: Ability) -> bool {
        // Every entry is read at open and kept in memory: ten million would measure the machine's memory.
        !matches!(ability, Ability::ManyRecords | Ability::Policies | Ability::Groups | Ability::Strategies)
    }

    fn open(&self, folder: &Path, setup: &Setup) -> Outcome<Box<dyn Engine>> {
        let mut config = Config::new(folder.to_string_lossy());
        config.wal.flush_batch_wait = Some(match setup.traffic {
            Traffic::OneCaller => Duration::ZERO,
            Traffic::ManyCallers | Traffic::InFlight => COMPANY_WAIT,
        });
        config.wal.chunk_max_size = setup.segment_bytes.map(|bytes| bytes as usize);
        let inner = Inner::<Types>::open(Arc::new(config))?;
        let next = inner.log_state().last().map_or(0, |(_, index)| index + 1);
        Ok(Box::new(RaftLog { state: Mutex::new(State { inner, next }) }))
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Types;

impl raft_log::Types for Types {
    type LogId = (u64, u64);
    type LogPayload = Vec<u8>;
    type Vote = (u64, u64);
    type Callback = Completion;
    type UserData = String;

    fn log_index(log_id: &(u64, u64)) -> u64 {
        log_id.1
    }

    fn payload_size(payload: &Vec<u8>) -> u64 {
        payload.len() as u64
    }
}

/// Who hears that a flush is done.
enum Completion {
    /// A caller that waits.
    Caller(SyncSender<io::Result<()>>),
    /// A window: one more append is durable.
    Window(Arc<Window>),
}

impl Callback for Completion {
    fn send(self, result: io::Result<()>) {
        match self {
            // A caller that is gone needs no answer.
            Completion::Caller(sender) => drop(SyncSender::send(&sender, result)),
            Completion::Window(window) => window.complete(result),
        }
    }
}

/// Counts the appends that are durable.
#[derive(Default)]
struct Window {
    state: Mutex<WindowState>,
    moved: Condvar,
}

#[derive(Default)]
struct WindowState {
    durable: u64,
    failed: Option<String>,
    /// The producer sleeps until this many are durable; waking it for each callback would only slow the peer down.
    wanted: u64,
}

impl Window {
    fn complete(&self, result: io::Result<()>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.durable += 1;
        if let Err(error) = result {
            state.failed = Some(error.to_string());
        }
        if state.durable >= state.wanted {
            self.moved.notify_one();
        }
    }

    fn wait_until(&self, durable: u64) -> Outcome<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.wanted = durable;
        while state.durable < durable && state.failed.is_none() {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match &state.failed {
            None => Ok(state.durable),
            Some(reason) => Err(reason.clone().into()),
        }
    }
}

struct RaftLog {
    state: Mutex<State>,
}

struct State {
    inner: Inner<Types>,
    next: u64,
}

impl RaftLog {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_and_wait(&self, mut state: MutexGuard<'_, State>) -> Outcome<()> {
        let (sender, receiver) = sync_channel(1);
        state.inner.flush(true, Some(Completion::Caller(sender)))?;
        drop(state);
        receiver.recv()??;
        Ok(())
    }
}

impl State {
    fn append(&mut self, records: &[&[u8]]) -> Outcome<()> {
        let first = self.next;
        self.next += records.len() as u64;
        self.inner.append(records.iter().zip(first..).map(|(record, index)| ((1, index), record.to_vec())))?;
        Ok(())
    }
}

impl Engine for RaftLog {
    fn append(&self, _lane: usize, records: &[&[u8]], acknowledgement: Acknowledgement) -> Outcome<()> {
        let mut state = self.lock();
        state.append(records)?;
        match acknowledgement {
            Acknowledgement::Durable => self.flush_and_wait(state),
            Acknowledgement::Buffered => Ok(()),
        }
    }

    fn sync(&self) -> Outcome<()> {
        self.flush_and_wait(self.lock())
    }

    fn append_in_flight(&self, window: usize, pool: &Pool, stop_at: Instant) -> Outcome<u64> {
        let progress = Arc::new(Window::default());
        let mut sent = 0_u64;
        let mut durable = 0_u64;
        loop {
            if sent - durable >= window as u64 {
                // Half a window at a time: the producer fills one half while the worker syncs the other.
                durable = progress.wait_until(sent - window as u64 / 2)?;
                if Instant::now() >= stop_at {
                    progress.wait_until(sent)?;
                    return Ok(sent);
                }
            }
            if sent.is_multiple_of(RELEASE_BYTES / turn(pool, sent).len() as u64) {
                self.release()?;
            }
            let mut state = self.lock();
            state.append(&[turn(pool, sent)])?;
            state.inner.flush(true, Some(Completion::Window(Arc::clone(&progress))))?;
            sent += 1;
        }
    }

    fn read(&self, index: u64, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let state = self.lock();
        let (_, payload) = state.inner.read(index, index + 1).next().ok_or("there is no entry at this index")??;
        visit(&payload);
        Ok(())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let end = self.lock().next;
        let mut begin = 0;
        while begin < end {
            let until = end.min(begin + SCAN_ENTRIES);
            let state = self.lock();
            for entry in state.inner.read(begin, until) {
                visit(&entry?.1);
            }
            begin = until;
        }
        Ok(())
    }

    fn release(&self) -> Outcome<()> {
        let mut state = self.lock();
        match state.next.checked_sub(1) {
            Some(last) => Ok(state.inner.purge((1, last)).map(drop)?),
            None => Ok(()),
        }
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.sync()
    }
}
