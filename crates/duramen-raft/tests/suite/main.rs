//! The public suite on our own log over the simulated disk, and on broken stores, which it must catch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use duramen_journal::Options;
use duramen_journal::disk::SyncMethod;
use duramen_journal::disk::sim::{Effect, Fault, Personality, SimDisk, Survivors, errno};
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
    IgnoresFailedSync,
    StartsAfresh,
    AdmitsTwo,
    RevertsVote,
    LosesOnClose,
    MakesUpEntries,
}

impl Bug {
    /// After a cut only the bugs of recovery itself remain: the others would hide what the first run left.
    fn after_cut(self) -> Bug {
        if self == Bug::RevertsVote { self } else { Bug::None }
    }
}

/// Power cuts that were tried, which the run prints.
static CUTS: AtomicUsize = AtomicUsize::new(0);

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
        let (logs, _) = match RaftLogs::open_with(config.clone(), self.disk.world()) {
            Err(_) if self.bug == Bug::AdmitsTwo => RaftLogs::open_with(config, self.disk.kill().world()),
            Err(_) if self.bug == Bug::StartsAfresh => RaftLogs::open_with(config, SimDisk::new(2).world()),
            opened => opened,
        }
        .map_err(words)?;
        let log = logs.group(1).map_err(words)?;
        // What this open finds is told as one term less: a vote that recovery took back.
        let reverts = self.bug == Bug::RevertsVote && log.state().vote.is_some();
        let bug = if self.bug == Bug::RevertsVote && !reverts { Bug::None } else { self.bug };
        Ok(Open(logs, log, bug))
    }

    fn cut_power(&self, states_max: u64) -> Option<Vec<Ours>> {
        let images = self.disk.crash_images(states_max);
        CUTS.fetch_add(images.len(), Ordering::Relaxed);
        Some(images.into_iter().map(|disk| Ours { disk, strategy: self.strategy, bug: self.bug.after_cut() }).collect())
    }

    fn set_full(&self, full: bool) -> bool {
        self.disk.set_capacity(full.then(|| self.disk.used()));
        true
    }

    fn fail_sync(&self) -> bool {
        let personality = Personality::Once;
        let effect = Effect::FailedSync { code: errno::EIO, personality, survivors: Survivors::Nothing };
        self.disk.fault(Fault::new(effect));
        true
    }

    fn damage(&self, text: &[u8]) -> bool {
        self.disk.list_files().into_iter().any(|(path, _)| {
            let bytes = self.disk.read_durable(&path).unwrap_or_default();
            let place = bytes.windows(text.len()).position(|window| window == text);
            let flipped = place.is_some_and(|at| self.disk.flip_durable_bit(&path, at as u64 + 5, 3).is_ok());
            self.disk.drop_caches();
            flipped
        })
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
            Bug::IgnoresFailedSync => receipt.on_durable(move |_| done(Ok(()))),
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
        if self.2 == Bug::MakesUpEntries && start >= 100 {
            return Ok(vec![(TermIndex::new(1, start), Vec::new())]);
        }
        let stream = self.1.reader().stream(start..end).map_err(words)?;
        stream.map(|entry| entry.map(|entry| (entry.id, entry.payload.to_vec())).map_err(words)).collect()
    }

    fn told(&self) -> Told {
        let mut state = self.1.state();
        if self.2 == Bug::RevertsVote {
            state.vote = state.vote.map(|vote| TermVote { term: vote.term - 1, ..vote });
        }
        Told { vote: state.vote, last: state.last, purged: state.purged }
    }

    fn close(self) -> Result<(), String> {
        if self.2 == Bug::LosesOnClose {
            self.1.writer().remove().map_err(words)?.wait_durable().map_err(words)?;
        }
        self.0.close().map_err(words)
    }
}

fn states() -> u64 {
    std::env::var("DURAMEN_SUITE_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

#[test]
fn ours_passes_all() {
    for (strategy, seed) in
        [Strategy::DiskFirst, Strategy::MemFirst].into_iter().flat_map(|s| (1..9).map(move |n| (s, n)))
    {
        let report = run(|| Ours { disk: SimDisk::new(1), strategy, bug: Bug::None }, states(), seed);
        println!("{strategy:?}, seed {seed}, {} power cuts so far\n{report}", CUTS.load(Ordering::Relaxed));
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
        (Bug::IgnoresFailedSync, "failed_sync"),
        (Bug::StartsAfresh, "damage"),
        (Bug::AdmitsTwo, "one_opener"),
        (Bug::RevertsVote, "acknowledged_survives"),
        (Bug::LosesOnClose, "reopen"),
        (Bug::MakesUpEntries, "read_absent"),
    ];
    for (bug, name) in planted {
        let report = run(|| Ours { disk: SimDisk::new(1), strategy: Strategy::MemFirst, bug }, states(), 1);
        assert!(report.failed().contains(&name), "{bug:?} was to fail {name}\n{report}");
    }
}
