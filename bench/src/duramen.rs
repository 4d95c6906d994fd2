//! Duramen's own journal behind the benchmark's trait: the only module that knows its interface.
//!
//! Defaults everywhere, so that the figures are the ones that a user gets; only the sync policy follows the work.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use duramen_journal::{Append, Batch, Journal, Options, SyncPolicy, Ticket, World};

use crate::engine::{Ability, Acknowledgement, Engine, LANES, Outcome, Policy, RELEASE_BYTES, Role, Setup, System};
use crate::pool::{POOL_RECORDS, Pool};

/// The log number of all records; zero is the journal's own.
const LOG: u32 = 1;

/// How many appends in flight pass between two looks at the clock.
const CLOCK_EVERY: u64 = 64;

/// The journal with its default options.
pub struct DuramenSystem;

impl System for DuramenSystem {
    fn name(&self) -> &str {
        "Duramen"
    }

    fn role(&self) -> Role {
        Role::Duramen
    }

    fn can(&self, ability: Ability) -> bool {
        ability != Ability::Strategies
    }

    fn open(&self, folder: &Path, setup: &Setup) -> Outcome<Box<dyn Engine>> {
        let policy = match (setup.policy, setup.acknowledgement) {
            (Some(Policy::Always), _) | (None, Acknowledgement::Durable) => SyncPolicy::Always,
            (Some(Policy::Batch), _) => SyncPolicy::Batch { records: 100, interval: Duration::from_millis(200) },
            (Some(Policy::Interval), _) => SyncPolicy::Interval(Duration::from_secs(1)),
            (Some(Policy::Never), _) | (None, Acknowledgement::Buffered) => SyncPolicy::Never,
        };
        let mut options = Options { policy, ..Options::default() };
        if let Some(bytes) = setup.segment_bytes {
            options.segment_bytes = bytes;
        }
        let (journal, _report) = Journal::open_with(folder.join("duramen"), &options, World::real())?;
        let batches = (0..LANES).map(|_| Mutex::new(Batch::new())).collect();
        Ok(Box::new(Duramen { journal, batches }))
    }
}

struct Duramen {
    journal: Journal,
    /// Each caller reuses its own batch's memory.
    batches: Vec<Mutex<Batch>>,
}

impl Duramen {
    fn submit(&self, lane: usize, records: &[&[u8]]) -> Outcome<Ticket> {
        if let [record] = records {
            return Ok(self.journal.append(LOG, 0, record)?);
        }
        let mut batch: MutexGuard<'_, Batch> = self.batches[lane].lock().unwrap_or_else(PoisonError::into_inner);
        batch.clear();
        for record in records {
            batch.push(LOG, 0, record);
        }
        Ok(self.journal.append_drain(&mut batch, Append::default())?)
    }
}

impl Engine for Duramen {
    fn append(&self, lane: usize, records: &[&[u8]], acknowledgement: Acknowledgement) -> Outcome<()> {
        let ticket = self.submit(lane, records)?;
        if acknowledgement == Acknowledgement::Durable {
            ticket.wait()?;
        }
        Ok(())
    }

    fn append_to_all(&self, lanes: &[usize], record: &[u8]) -> Outcome<()> {
        let tickets = lanes.iter().map(|&lane| self.journal.append(lane as u32 + 1, 0, record));
        // Tickets complete in order.
        if let Some(last) = tickets.collect::<Result<Vec<Ticket>, _>>()?.pop() {
            last.wait()?;
        }
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        self.journal.sync()?;
        Ok(())
    }

    fn append_in_flight(&self, window: usize, pool: &Pool, stop_at: Instant) -> Outcome<u64> {
        let table = pool.table(1);
        let mut waiting: VecDeque<Ticket> = VecDeque::with_capacity(window);
        let mut sent = 0_u64;
        loop {
            if waiting.len() == window {
                // The oldest is waited for; whatever became durable with it leaves the window by the watermark.
                if let Some(oldest) = waiting.pop_front() {
                    oldest.wait()?;
                }
                let durable = self.journal.durable();
                while waiting.front().is_some_and(|ticket| ticket.last() <= durable) {
                    waiting.pop_front();
                }
            }
            let record = table[(sent % POOL_RECORDS as u64) as usize];
            if sent.is_multiple_of(RELEASE_BYTES / record.len() as u64) {
                self.release()?;
            }
            waiting.push_back(self.journal.append(LOG, 0, record)?);
            sent += 1;
            if sent.is_multiple_of(CLOCK_EVERY) && Instant::now() >= stop_at {
                if let Some(last) = waiting.pop_back() {
                    last.wait()?;
                }
                return Ok(sent);
            }
        }
    }

    fn read(&self, index: u64, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        visit(&self.journal.read(index + 1)?.payload);
        Ok(())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let mut scan = self.journal.scan(..);
        while let Some(record) = scan.next_borrowed() {
            visit(record?.payload);
        }
        Ok(())
    }

    fn settle(&self) -> Outcome<()> {
        // The spare segments are zero-filled at a pace that spares running commits; a full disk may never get them.
        let give_up_at = Instant::now() + Duration::from_secs(10);
        while !self.journal.stats().stocked && Instant::now() < give_up_at {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn release(&self) -> Outcome<()> {
        Ok(self.journal.release(self.journal.durable())?)
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.journal.stats().syncs)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.journal.close()?;
        Ok(())
    }
}
