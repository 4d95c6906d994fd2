//! Duramen's Raft log behind the benchmark's trait, once with each strategy: the only module that knows its interface.
//!
//! Defaults everywhere, but for what the work or the strategy asks. Each caller has a group of its own, as with raft-engine.
//! A payload is copied into memory of its own before it is appended, as for the other Raft logs, whose types ask for it;
//! the journal borrows the work's records. With MemFirst each append is synced as soon as can be where the work waits for
//! that, else within a second.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use duramen_journal::{Bytes, Level};
use duramen_raft::{Config, Entry, FlushPolicy, Plain, RaftLog, RaftLogs, Receipt, TermIndex};

use crate::engine::{Ability, Acknowledgement, Engine, LANES, Outcome, RELEASE_BYTES, Role, Setup, System};
use crate::pool::{POOL_RECORDS, Pool};

/// How many appends in flight pass between two looks at the clock.
const CLOCK_EVERY: u64 = 64;

/// The Raft log with one of its strategies.
pub struct RaftSystem {
    name: &'static str,
    role: Role,
}

/// MemFirst's, where nobody's wait starts a sync.
fn policy(acknowledgement: Acknowledgement) -> FlushPolicy {
    match acknowledgement {
        Acknowledgement::Durable => FlushPolicy::Immediate,
        Acknowledgement::Buffered => FlushPolicy::Batch { threshold: u64::MAX, interval: Duration::from_secs(1) },
    }
}

/// Both strategies.
pub fn all() -> Vec<Box<dyn System>> {
    vec![
        Box::new(RaftSystem { name: "Duramen Raft", role: Role::Raft }),
        Box::new(RaftSystem { name: "Duramen Raft MemFirst", role: Role::RaftMemory }),
    ]
}

impl System for RaftSystem {
    fn name(&self) -> &str {
        self.name
    }

    fn role(&self) -> Role {
        self.role
    }

    fn can(&self, ability: Ability) -> bool {
        match ability {
            Ability::Buffer | Ability::InFlight | Ability::Read | Ability::Segments => true,
            Ability::Groups | Ability::Strategies => true,
            // With MemFirst all entries are in memory: ten million would measure the machine's memory.
            Ability::ManyRecords => self.role == Role::Raft,
            Ability::Policies => false,
        }
    }

    fn open(&self, folder: &Path, setup: &Setup) -> Outcome<Box<dyn Engine>> {
        let folder = folder.join("raft");
        let mut config = match self.role {
            Role::RaftMemory => Config::mem_first(folder, policy(setup.acknowledgement)),
            _ => Config::new(folder),
        };
        if let Some(bytes) = setup.segment_bytes {
            config.chunk_max_size = bytes;
        }
        let (logs, _) = RaftLogs::open(config)?;
        let lanes = (0..LANES).map(|lane| {
            let log = logs.group(lane as u32 + 1)?;
            let next = AtomicU64::new(log.reader().next_index().unwrap_or(1));
            Ok(Lane { log, next })
        });
        let lanes = lanes.collect::<Outcome<Vec<Lane>>>()?;
        Ok(Box::new(Raft { logs, lanes }))
    }
}

struct Lane {
    log: RaftLog<Plain>,
    next: AtomicU64,
}

impl Lane {
    fn submit(&self, records: &[&[u8]]) -> Outcome<Receipt<Plain>> {
        let first = self.next.fetch_add(records.len() as u64, Ordering::Relaxed);
        let entry =
            |(record, index): (&&[u8], u64)| Entry::new(TermIndex::new(1, index), Bytes::copy_from_slice(record));
        Ok(self.log.writer().append(records.iter().zip(first..).map(entry).collect())?)
    }
}

struct Raft {
    logs: RaftLogs<Plain>,
    lanes: Vec<Lane>,
}

impl Engine for Raft {
    fn append(&self, lane: usize, records: &[&[u8]], acknowledgement: Acknowledgement) -> Outcome<()> {
        let receipt = self.lanes[lane].submit(records)?;
        match acknowledgement {
            Acknowledgement::Durable => receipt.wait_durable()?,
            Acknowledgement::Buffered => drop(receipt),
        }
        Ok(())
    }

    fn append_by_strategy(&self, lane: usize, records: &[&[u8]]) -> Outcome<()> {
        Ok(self.lanes[lane].submit(records)?.wait()?)
    }

    fn append_to_all(&self, lanes: &[usize], record: &[u8]) -> Outcome<()> {
        let receipts = lanes.iter().map(|&lane| self.lanes[lane].submit(&[record]));
        // One watermark serves all groups, and receipts complete in order.
        match receipts.collect::<Outcome<Vec<_>>>()?.pop() {
            Some(last) => Ok(last.wait_durable()?),
            None => Ok(()),
        }
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.logs.sync()?)
    }

    fn append_in_flight(&self, window: usize, pool: &Pool, stop_at: Instant) -> Outcome<u64> {
        let table = pool.table(1);
        let mut waiting: VecDeque<Receipt<Plain>> = VecDeque::with_capacity(window);
        let mut sent = 0_u64;
        loop {
            if waiting.len() == window {
                // The oldest is waited for; whatever became durable with it leaves the window.
                if let Some(oldest) = waiting.pop_front() {
                    oldest.wait_durable()?;
                }
                while waiting.front().map(Receipt::level).transpose()? == Some(Level::Durable) {
                    waiting.pop_front();
                }
            }
            let record = table[(sent % POOL_RECORDS as u64) as usize];
            if sent.is_multiple_of(RELEASE_BYTES / record.len() as u64) {
                self.release()?;
            }
            waiting.push_back(self.lanes[0].submit(&[record])?);
            sent += 1;
            if sent.is_multiple_of(CLOCK_EVERY) && Instant::now() >= stop_at {
                if let Some(last) = waiting.pop_back() {
                    last.wait_durable()?;
                }
                return Ok(sent);
            }
        }
    }

    fn read(&self, index: u64, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        visit(&self.lanes[0].log.reader().entry(index + 1)?.payload);
        Ok(())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        Ok(self.lanes[0].log.reader().visit(.., |entry| {
            visit(entry.payload);
            true
        })?)
    }

    fn settle(&self) -> Outcome<()> {
        // The spare segments are zero-filled at a pace that spares running commits; a full disk may never get them.
        let give_up_at = Instant::now() + Duration::from_secs(10);
        while !self.logs.stats().journal.stocked && Instant::now() < give_up_at {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn release(&self) -> Outcome<()> {
        let lane = &self.lanes[0];
        match lane.next.load(Ordering::Relaxed).checked_sub(1).filter(|&last| last > 0) {
            Some(last) => Ok(lane.log.writer().purge(&TermIndex::new(1, last))?.wait_durable()?),
            None => Ok(()),
        }
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.logs.stats().journal.syncs)
    }

    fn index_bytes(&self) -> Option<u64> {
        Some(self.logs.stats().index_bytes as u64)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.logs.close()?)
    }
}
