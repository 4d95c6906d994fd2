//! Our log, as the suite wants it.

use std::path::Path;

use duramen_raft::suite::{Done, Item, Store, Told};
use duramen_raft::{Config, Entry, Plain, RaftLog, TermIndex, TermVote};

pub struct Ours(RaftLog<Plain>);

fn words(error: impl ToString) -> String {
    error.to_string()
}

pub fn open(path: &Path) -> Result<Ours, String> {
    let mut config = Config { chunk_max_size: 256 << 10, ..Config::new(path) };
    config.journal.stock = false;
    Ok(Ours(RaftLog::open(config).map_err(words)?.0))
}

impl Store for Ours {
    fn save_vote(&mut self, vote: TermVote) -> Result<(), String> {
        self.0.writer().save_vote(&vote).map_err(words)
    }

    fn append(&mut self, items: &[Item], done: Done) -> Result<(), String> {
        let entries = items.iter().map(|(id, payload)| Entry::new(*id, payload.clone().into())).collect();
        let receipt = self.0.writer().append(entries).map_err(words)?;
        receipt.on_durable(move |outcome| done(outcome.map_err(words)));
        Ok(())
    }

    fn truncate_after(&mut self, kept: TermIndex) -> Result<(), String> {
        self.0.writer().truncate_after(Some(&kept)).map_err(words)?.wait_durable().map_err(words)
    }

    fn purge(&mut self, upto: TermIndex) -> Result<(), String> {
        self.0.writer().purge(&upto).map_err(words)?.wait_durable().map_err(words)
    }

    fn commit(&mut self, upto: TermIndex) -> Result<(), String> {
        self.0.writer().commit(&upto).map(drop).map_err(words)
    }

    fn read(&self, start: u64, end: u64) -> Result<Vec<Item>, String> {
        let stream = self.0.reader().stream(start..end).map_err(words)?;
        stream.map(|entry| entry.map(|entry| (entry.id, entry.payload.to_vec())).map_err(words)).collect()
    }

    fn told(&self) -> Told {
        let state = self.0.state();
        Told { vote: state.vote, last: state.last, purged: state.purged, committed: state.committed }
    }

    fn close(self) -> Result<(), String> {
        self.0.close().map_err(words)
    }
}
