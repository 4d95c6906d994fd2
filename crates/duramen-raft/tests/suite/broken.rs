//! Stores that are broken on purpose: each in one way, around our own.

use duramen_journal::disk::sim::SimDisk;
use duramen_raft::suite::{Done, Failure, Item, Place, Store, Told};
use duramen_raft::{Config, TermIndex, TermVote};

use crate::ours::{Open, Ours, config, open_with};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bug {
    None,
    /// Not a bug: nothing can be made to fail here, and nothing is copied or cut.
    CannotFail,
    VotesFromNowhere,
    DropsCompletion,
    KeepsTruncated,
    ForgetsPurge,
    MakesUpEntries,
    TakesGaps,
    TakesOlderVotes,
    LeaksCompletion,
    AdmitsTwo,
    LosesOnClose,
    AcknowledgesEarly,
    SkipsEntries,
    DropsVote,
    RevertsVote,
    RefusesTornTail,
    HidesFullDisk,
    HidesFailures,
    HidesUnreadable,
    StartsAfresh,
    ServesDamage,
    CommitsTooFar,
}

impl Bug {
    /// Each with the case that must catch it.
    pub const ALL: [(Bug, &str); 27] = [
        (Bug::VotesFromNowhere, "empty"),
        (Bug::DropsCompletion, "append_read"),
        (Bug::KeepsTruncated, "overwrite"),
        (Bug::KeepsTruncated, "no_resurrection"),
        (Bug::ForgetsPurge, "purge"),
        (Bug::ForgetsPurge, "purge_survives"),
        (Bug::MakesUpEntries, "read_absent"),
        (Bug::TakesGaps, "refuses_gaps"),
        (Bug::TakesOlderVotes, "refuses_older_votes"),
        (Bug::LeaksCompletion, "completion_once"),
        (Bug::AdmitsTwo, "one_opener"),
        (Bug::LosesOnClose, "reopen"),
        (Bug::AcknowledgesEarly, "acknowledged_survives"),
        (Bug::AcknowledgesEarly, "killed"),
        (Bug::SkipsEntries, "prefix_survives"),
        (Bug::DropsVote, "vote_before_append"),
        (Bug::RevertsVote, "killed"),
        (Bug::RevertsVote, "random_history"),
        (Bug::RefusesTornTail, "torn_tail"),
        (Bug::HidesFullDisk, "disk_full"),
        (Bug::HidesFailures, "failed_sync"),
        (Bug::HidesFailures, "failed_write"),
        (Bug::HidesUnreadable, "failed_read"),
        (Bug::StartsAfresh, "damage"),
        (Bug::ServesDamage, "failed_read"),
        (Bug::CommitsTooFar, "random_history"),
        (Bug::CommitsTooFar, "purge_survives"),
    ];
}

pub struct Broken(pub Ours, pub Bug);

pub struct BrokenOpen(Open, Bug);

impl Broken {
    /// What is left of one: only the bugs of opening and reading stay, the others would hide what the first run left.
    fn left(&self, ours: Ours) -> Broken {
        let stays = matches!(
            self.1,
            Bug::RevertsVote | Bug::RefusesTornTail | Bug::StartsAfresh | Bug::ServesDamage | Bug::CommitsTooFar
        );
        Broken(ours, if stays { self.1 } else { Bug::None })
    }
}

impl Place for Broken {
    type Store = BrokenOpen;

    fn open(&self) -> Result<BrokenOpen, String> {
        let config = Config { truncate_incomplete_record: self.1 != Bug::RefusesTornTail, ..config(self.0.strategy) };
        let open = match open_with(&self.0.disk.world(), config.clone()) {
            Err(_) if self.1 == Bug::AdmitsTwo => open_with(&self.0.disk.kill().world(), config),
            Err(_) if self.1 == Bug::StartsAfresh => open_with(&SimDisk::new(2).world(), config),
            opened => opened,
        }?;
        // Only what this opening finds is told wrong.
        let found = open.log.state().vote.is_some();
        Ok(BrokenOpen(open, if self.1 == Bug::RevertsVote && !found { Bug::None } else { self.1 }))
    }

    fn copy(&self) -> Option<Broken> {
        self.0.copy().filter(|_| self.1 != Bug::CannotFail).map(|ours| self.left(ours))
    }

    fn cut_power(&self, states_max: u64) -> Option<Vec<Broken>> {
        let left = self.0.cut_power(states_max).filter(|_| self.1 != Bug::CannotFail)?;
        Some(left.into_iter().map(|ours| self.left(ours)).collect())
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        self.0.files()
    }

    fn put(&self, name: &str, bytes: &[u8]) -> bool {
        self.0.put(name, bytes)
    }

    fn fail(&self, what: Failure) -> bool {
        self.1 != Bug::CannotFail && self.0.fail(what)
    }

    fn heal(&self) {
        self.0.heal();
    }
}

impl Store for BrokenOpen {
    fn save_vote(&mut self, vote: TermVote) -> Result<(), String> {
        match self.1 {
            Bug::DropsVote => Ok(()),
            Bug::TakesOlderVotes => self.0.save_vote(vote).or(Ok(())),
            _ => self.0.save_vote(vote),
        }
    }

    fn append(&mut self, items: &[Item], done: Done) -> Result<(), String> {
        let nothing: Done = Box::new(drop);
        match self.1 {
            Bug::DropsCompletion => self.0.append(items, nothing),
            Bug::LeaksCompletion => {
                std::mem::forget(done);
                self.0.append(items, nothing)
            }
            // Never durable by itself: the policy waits for an hour.
            Bug::AcknowledgesEarly => {
                let entries = items.iter().map(|(id, payload)| duramen_raft::Entry::new(*id, payload.clone().into()));
                drop(self.0.log.writer().append(entries.collect()).map_err(crate::ours::words)?);
                done(Ok(()));
                Ok(())
            }
            Bug::HidesFailures => self.0.append(items, Box::new(|_| done(Ok(())))),
            Bug::HidesFullDisk | Bug::TakesGaps => {
                let hears = std::sync::Arc::new(std::sync::Mutex::new(Some(done)));
                let call = hears.clone();
                let told = move |_| call.lock().expect("no panics").take().into_iter().for_each(|done| done(Ok(())));
                if self.0.append(items, Box::new(told)).is_err() {
                    hears.lock().expect("no panics").take().into_iter().for_each(|done| done(Ok(())));
                }
                Ok(())
            }
            // The second entry of three or more is another.
            Bug::SkipsEntries if items.len() > 2 => {
                let mut items = items.to_vec();
                items[1].1.clear();
                self.0.append(&items, done)
            }
            _ => self.0.append(items, done),
        }
    }

    fn truncate_after(&mut self, kept: TermIndex) -> Result<(), String> {
        if self.1 == Bug::KeepsTruncated { Ok(()) } else { self.0.truncate_after(kept) }
    }

    fn purge(&mut self, upto: TermIndex) -> Result<(), String> {
        if self.1 == Bug::ForgetsPurge { Ok(()) } else { self.0.purge(upto) }
    }

    fn commit(&mut self, upto: TermIndex) -> Result<(), String> {
        self.0.commit(upto)
    }

    fn read(&self, start: u64, end: u64) -> Result<Vec<Item>, String> {
        let read = self.0.read(start, end);
        match self.1 {
            Bug::MakesUpEntries if start >= 100 => Ok(vec![(TermIndex::new(1, start), Vec::new())]),
            Bug::HidesUnreadable => read.or(Ok(Vec::new())),
            Bug::ServesDamage => read.or(Ok(vec![(TermIndex::new(1, start), b"something".to_vec())])),
            _ => read,
        }
    }

    fn told(&self) -> Told {
        let told = self.0.told();
        match self.1 {
            Bug::VotesFromNowhere => Told { vote: Some(TermVote { term: 1, node: None }), ..told },
            Bug::RevertsVote => {
                let vote = told.vote.map(|vote| TermVote { term: vote.term - 1, ..vote });
                Told { vote, ..told }
            }
            Bug::CommitsTooFar => {
                let committed = told.last.map(|id| TermIndex::new(id.term, id.index + 1));
                Told { committed, ..told }
            }
            _ => told,
        }
    }

    fn close(self) -> Result<(), String> {
        if self.1 == Bug::LosesOnClose {
            let removed = self.0.log.writer().remove().and_then(|receipt| receipt.wait_durable());
            removed.map_err(crate::ours::words)?;
        }
        self.0.close()
    }
}
