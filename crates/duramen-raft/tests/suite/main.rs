//! The public suite on our own log over the simulated disk, and on broken stores, which it must catch.

use std::time::Duration;

use duramen_journal::Options;
use duramen_journal::disk::SyncMethod;
use duramen_journal::disk::sim::SimDisk;
use duramen_raft::suite::{Done, Item, Outcome, Place, Store, Told, run};
use duramen_raft::{Config, Entry, FlushPolicy, Plain, RaftLog, RaftLogs, Strategy, TermIndex, TermVote};

/// What is wrong with a store on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    AcknowledgesEarly,
    DropsVote,
    DropsCompletion,
    KeepsTruncated,
    ForgetsPurge,
    HidesFullDisk,
}

struct Ours {
    disk: SimDisk,
    strategy: Strategy,
    bug: Bug,
}

struct Open(RaftLogs<Plain>, RaftLog<Plain>, Bug);

fn words(error: impl ToString) -> String {
    error.to_string()
}

impl Place for Ours {
    type Store = Open;

    fn open(&self) -> Result<Open, String> {
        let journal = Options {
            sync_method: Some(SyncMethod::DataSync),
            tail_cache_bytes: 0,
            spares_max: 1,
            idle_mark: Some(Duration::from_secs(10)),
            ..Options::default()
        };
        let flush = FlushPolicy::Batch { threshold: 1 << 40, interval: Duration::from_secs(3600) };
        let config = match self.strategy {
            Strategy::MemFirst => Config::mem_first("/raft", flush),
            _ => Config::new("/raft"),
        };
        let config = Config { chunk_max_size: 256 << 10, read_buffer_size: 64 << 10, journal, ..config };
        let (logs, _) = RaftLogs::open_with(config, self.disk.world()).map_err(words)?;
        let log = logs.group(1).map_err(words)?;
        Ok(Open(logs, log, self.bug))
    }

    fn cut_power(&self, states_max: u64) -> Option<Vec<Ours>> {
        let images = self.disk.crash_images(states_max).into_iter();
        Some(images.map(|disk| Ours { disk, strategy: self.strategy, bug: Bug::None }).collect())
    }

    fn set_full(&self, full: bool) -> bool {
        self.disk.set_capacity(full.then(|| self.disk.used()));
        true
    }

    fn is_lasting(&self) -> bool {
        true
    }
}

impl Store for Open {
    fn save_vote(&mut self, vote: TermVote) -> Result<(), String> {
        if self.2 == Bug::DropsVote {
            return Ok(());
        }
        self.1.writer().submit_vote(&vote).map_err(words)?.wait_durable().map_err(words)
    }

    fn append(&mut self, items: &[Item], done: Done) -> Result<(), String> {
        let entries = items.iter().map(|(id, payload)| Entry::new(*id, payload.clone().into())).collect();
        let receipt = match self.1.writer().append(entries) {
            Err(_) if self.2 == Bug::HidesFullDisk => {
                done(Ok(()));
                return Ok(());
            }
            other => other.map_err(words)?,
        };
        match self.2 {
            Bug::AcknowledgesEarly => done(Ok(())),
            Bug::DropsCompletion => drop(done),
            Bug::HidesFullDisk => {
                let _ = receipt.wait_durable();
                done(Ok(()));
            }
            _ => receipt.on_durable(move |outcome| done(outcome.map_err(words))),
        }
        Ok(())
    }

    fn truncate_after(&mut self, kept: TermIndex) -> Result<(), String> {
        if self.2 == Bug::KeepsTruncated {
            return Ok(());
        }
        self.1.writer().truncate_after(Some(&kept)).map_err(words)?.wait_durable().map_err(words)
    }

    fn purge(&mut self, upto: TermIndex) -> Result<(), String> {
        if self.2 == Bug::ForgetsPurge {
            return Ok(());
        }
        self.1.writer().purge(&upto).map_err(words)?.wait_durable().map_err(words)
    }

    fn read(&self, start: u64, end: u64) -> Result<Vec<Item>, String> {
        let stream = self.1.reader().stream(start..end).map_err(words)?;
        stream.map(|entry| entry.map(|entry| (entry.id, entry.payload.to_vec())).map_err(words)).collect()
    }

    fn told(&self) -> Told {
        let state = self.1.state();
        Told { vote: state.vote, last: state.last, purged: state.purged }
    }

    fn close(self) -> Result<(), String> {
        self.0.close().map_err(words)
    }
}

fn states() -> u64 {
    std::env::var("DURAMEN_SUITE_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

#[test]
fn ours_passes_all() {
    for strategy in [Strategy::DiskFirst, Strategy::MemFirst] {
        let report = run(|| Ours { disk: SimDisk::new(1), strategy, bug: Bug::None }, states());
        println!("{strategy:?}\n{report}");
        assert!(report.0.iter().all(|ran| ran.outcome == Outcome::Passed), "{strategy:?}\n{report}");
    }
}

#[test]
fn planted_bugs_are_caught() {
    let planted = [
        (Bug::AcknowledgesEarly, "acknowledged_survives"),
        (Bug::DropsVote, "vote_before_append"),
        (Bug::DropsCompletion, "append_read"),
        (Bug::KeepsTruncated, "overwrite"),
        (Bug::ForgetsPurge, "purge"),
        (Bug::HidesFullDisk, "disk_full"),
    ];
    for (bug, name) in planted {
        let report = run(|| Ours { disk: SimDisk::new(1), strategy: Strategy::MemFirst, bug }, states());
        assert!(report.failed().contains(&name), "{bug:?} was to fail {name}\n{report}");
    }
}
