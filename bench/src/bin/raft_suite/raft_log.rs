//! raft-log, as the suite wants it: durable means that the callback of `flush(true, ..)` came.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use duramen_raft::suite::{Done, Item, Store, Told};
use duramen_raft::{TermIndex, TermVote};
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Callback, Config, RaftLog};

pub struct Completion(Box<dyn FnOnce(io::Result<()>) + Send>);

impl Callback for Completion {
    fn send(self, result: io::Result<()>) {
        (self.0)(result);
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Types;

impl raft_log::Types for Types {
    type LogId = (u64, u64);
    type LogPayload = Vec<u8>;
    /// The term, and the node behind one for none.
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

pub struct Peer(RaftLog<Types>);

fn words(error: impl ToString) -> String {
    error.to_string()
}

pub fn open(path: &Path) -> Result<Peer, String> {
    let mut config = Config::new(path.to_string_lossy());
    config.wal.chunk_max_size = Some(256 << 10);
    Ok(Peer(RaftLog::open(Arc::new(config)).map_err(words)?))
}

impl Peer {
    fn flush(&mut self) -> Result<(), String> {
        let (sender, receiver) = sync_channel(1);
        let completion = Completion(Box::new(move |result| {
            let _ = sender.send(result);
        }));
        self.0.flush(true, Some(completion)).map_err(words)?;
        receiver.recv().map_err(words)?.map_err(words)
    }
}

impl Store for Peer {
    fn save_vote(&mut self, vote: TermVote) -> Result<(), String> {
        self.0.save_vote((vote.term, vote.node.map_or(0, |node| node + 1))).map_err(words)?;
        self.flush()
    }

    fn append(&mut self, items: &[Item], done: Done) -> Result<(), String> {
        let entries = items.iter().map(|(id, payload)| ((id.term, id.index), payload.clone()));
        self.0.append(entries).map_err(words)?;
        let completion = Completion(Box::new(move |result| done(result.map_err(words))));
        self.0.flush(true, Some(completion)).map_err(words)
    }

    fn truncate_after(&mut self, kept: TermIndex) -> Result<(), String> {
        self.0.truncate(kept.index + 1).map_err(words)?;
        self.flush()
    }

    fn purge(&mut self, upto: TermIndex) -> Result<(), String> {
        self.0.purge((upto.term, upto.index)).map_err(words)?;
        self.flush()
    }

    fn commit(&mut self, upto: TermIndex) -> Result<(), String> {
        self.0.commit((upto.term, upto.index)).map_err(words)?;
        self.0.flush(false, None).map_err(words)
    }

    fn read(&self, start: u64, end: u64) -> Result<Vec<Item>, String> {
        let item = |((term, index), payload)| (TermIndex::new(term, index), payload);
        self.0.read(start, end).map(|entry| entry.map(item).map_err(words)).collect()
    }

    fn told(&self) -> Told {
        let state = self.0.log_state();
        let id = |id: Option<&(u64, u64)>| id.map(|&(term, index)| TermIndex::new(term, index));
        Told {
            vote: state.vote().map(|&(term, node)| TermVote { term, node: node.checked_sub(1) }),
            last: id(state.last()),
            purged: id(state.purged()),
            committed: id(state.committed()),
        }
    }

    fn close(mut self) -> Result<(), String> {
        self.flush()
    }
}
