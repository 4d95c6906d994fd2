//! openraft's memory store, as the suite wants it: it is what openraft tests itself with, and outlives nothing.

use std::sync::{Arc, Mutex};

use duramen_raft::suite::{Done, Failure, Item, Place, Store, Told};
use duramen_raft::{TermIndex, TermVote};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderId;
use openraft::{Entry, EntryPayload, LogId, RaftLogReader, Vote};
use openraft_memstore::{ClientRequest, MemLogStore, TypeConfig, new_mem_store};

pub struct Memory(Arc<MemLogStore>);

impl Memory {
    pub fn new() -> Memory {
        Memory(new_mem_store().0)
    }
}

pub struct Peer(Mutex<Arc<MemLogStore>>, tokio::runtime::Runtime);

fn words(error: impl ToString) -> String {
    error.to_string()
}

/// The node that every term has: the suite's ids name terms only.
const NODE: u64 = 1;

type Leader = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
type Id = LogId<Leader>;

fn id(id: TermIndex) -> Id {
    LogId { leader_id: <Leader as RaftLeaderId>::new(id.term, NODE), index: id.index }
}

fn back(id: Id) -> TermIndex {
    TermIndex::new(id.leader_id.term, id.index)
}

impl Place for Memory {
    type Store = Peer;

    fn open(&self) -> Result<Peer, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(words)?;
        Ok(Peer(Mutex::new(self.0.clone()), runtime))
    }

    fn copy(&self) -> Option<Memory> {
        None
    }

    fn cut_power(&self, _states_max: u64) -> Option<Vec<Memory>> {
        None
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }

    fn put(&self, _name: &str, _bytes: &[u8]) -> bool {
        false
    }

    fn fail(&self, _what: Failure) -> bool {
        false
    }

    fn heal(&self) {}
}

impl Peer {
    fn log(&self) -> Arc<MemLogStore> {
        self.0.lock().expect("no panics under it").clone()
    }
}

impl Store for Peer {
    fn save_vote(&mut self, vote: TermVote) -> Result<(), String> {
        let vote = Vote::new(vote.term, vote.node.unwrap_or(0));
        self.1.block_on(self.log().save_vote(&vote)).map_err(words)
    }

    fn append(&mut self, items: &[Item], done: Done) -> Result<(), String> {
        let entry = |(at, payload): &Item| {
            // Its payloads are text.
            let status = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            let request = ClientRequest { client: String::new(), serial: 0, status };
            Entry::new(id(*at), EntryPayload::Normal(request))
        };
        let entries: Vec<_> = items.iter().map(entry).collect();
        let (sender, receiver) = TypeConfig::oneshot();
        self.1.block_on(async {
            self.log().append(entries, IOFlushed::signal(sender)).await.map_err(words)?;
            match receiver.await {
                Ok(outcome) => done(outcome.map_err(words)),
                Err(_) => drop(done),
            }
            Ok(())
        })
    }

    fn truncate_after(&mut self, kept: TermIndex) -> Result<(), String> {
        self.1.block_on(self.log().truncate_after(Some(id(kept)))).map_err(words)
    }

    fn purge(&mut self, upto: TermIndex) -> Result<(), String> {
        self.1.block_on(self.log().purge(id(upto))).map_err(words)
    }

    fn commit(&mut self, upto: TermIndex) -> Result<(), String> {
        self.1.block_on(self.log().save_committed(Some(id(upto)))).map_err(words)
    }

    fn read(&self, start: u64, end: u64) -> Result<Vec<Item>, String> {
        let entries = self.1.block_on(self.log().try_get_log_entries(start..end)).map_err(words)?;
        let item = |entry: Entry<Leader, EntryPayload<ClientRequest, u64, ()>>| {
            let EntryPayload::Normal(request) = entry.payload else {
                return Err("an entry of another kind".to_string());
            };
            let byte = |at: usize| u8::from_str_radix(&request.status[at..at + 2], 16).map_err(words);
            let payload: Result<Vec<u8>, String> = (0..request.status.len()).step_by(2).map(byte).collect();
            Ok((back(entry.log_id), payload?))
        };
        entries.into_iter().map(item).collect()
    }

    fn told(&self) -> Told {
        let (state, vote, committed) = self.1.block_on(async {
            let mut log = self.log();
            (log.get_log_state().await, log.read_vote().await, log.read_committed().await)
        });
        let state = state.expect("memory does not fail");
        let vote = vote.expect("memory does not fail");
        Told {
            vote: vote.map(|vote| TermVote { term: vote.leader_id.term, node: Some(vote.leader_id.node_id) }),
            last: state.last_log_id.map(back),
            purged: state.last_purged_log_id.map(back),
            committed: committed.expect("memory does not fail").map(back),
        }
    }

    fn close(self) -> Result<(), String> {
        Ok(())
    }
}
