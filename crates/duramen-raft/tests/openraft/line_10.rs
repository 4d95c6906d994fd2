//! openraft 0.10.

use std::sync::Arc;

use bytes::Bytes;
use duramen_raft::openraft_10::{
    Codec, CommittedLeaderIdOf, LogIdOf, LogStore, VoteOf, decode_payload, encode_payload,
};
use duramen_raft::{Malformed, Strategy};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::vote::{RaftLeaderId, RaftVote};
use openraft::{Entry, EntryPayload, LogId, RaftLogReader, StorageError, Vote};
use openraft_memstore::{ClientRequest, MemStateMachine, TypeConfig, new_mem_store};

use crate::Folder;

#[derive(Clone, Debug, PartialEq)]
struct Json;

fn word(bytes: &[u8], at: usize) -> Result<u64, Malformed> {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    word.map(u64::from_le_bytes).ok_or(Malformed::new("a number has eight bytes"))
}

impl Codec<TypeConfig> for Json {
    fn encode_leader(leader: &CommittedLeaderIdOf<TypeConfig>, out: &mut Vec<u8>) {
        out.extend_from_slice(&leader.term().to_le_bytes());
        out.extend_from_slice(&leader.node_id().to_le_bytes());
    }

    fn decode_leader(bytes: &[u8]) -> Result<CommittedLeaderIdOf<TypeConfig>, Malformed> {
        Ok(RaftLeaderId::new(word(bytes, 0)?, word(bytes, 8)?))
    }

    fn encode_vote(vote: &VoteOf<TypeConfig>, out: &mut Vec<u8>) {
        Json::encode_leader(&vote.leader_id, out);
        out.push(u8::from(vote.committed));
    }

    fn decode_vote(bytes: &[u8]) -> Result<VoteOf<TypeConfig>, Malformed> {
        let committed = bytes.get(16).ok_or(Malformed::new("a vote has seventeen bytes"))?;
        Ok(Vote::from_leader_id(Json::decode_leader(&bytes[..16])?, *committed == 1))
    }

    fn encode_entry(
        entry: &Entry<CommittedLeaderIdOf<TypeConfig>, EntryPayload<ClientRequest, u64, ()>>,
        out: &mut Vec<u8>,
    ) {
        let data = |data: &ClientRequest, out: &mut Vec<u8>| {
            out.extend_from_slice(&serde_json::to_vec(data).expect("a request is JSON"));
        };
        encode_payload(&entry.payload, out, data, |(), _| ());
    }

    fn decode_entry(
        id: LogIdOf<TypeConfig>,
        bytes: Bytes,
    ) -> Result<Entry<CommittedLeaderIdOf<TypeConfig>, EntryPayload<ClientRequest, u64, ()>>, Malformed> {
        let data = |bytes: Bytes| serde_json::from_slice(&bytes).map_err(|_| Malformed::new("a request is JSON"));
        Ok(Entry::new(id, decode_payload(&bytes, data, |_| Ok(()))?))
    }
}

type Store = LogStore<TypeConfig, Json>;

struct Builder(Strategy);

impl StoreBuilder<TypeConfig, Store, Arc<MemStateMachine>, Folder> for Builder {
    async fn build(&self) -> Result<(Folder, Store, Arc<MemStateMachine>), StorageError<TypeConfig>> {
        let folder = Folder::fresh();
        let (store, _) = Store::open(folder.config(self.0)).expect("opens");
        Ok((folder, store, new_mem_store().1))
    }
}

#[test]
fn the_suite_passes() {
    for strategy in [Strategy::DiskFirst, Strategy::MemFirst] {
        TypeConfig::run(async move {
            Suite::test_all(Builder(strategy)).await.expect("openraft's suite passes");
        });
    }
}

fn blank(index: u64) -> Entry<CommittedLeaderIdOf<TypeConfig>, EntryPayload<ClientRequest, u64, ()>> {
    let leader: CommittedLeaderIdOf<TypeConfig> = RaftLeaderId::new(1, 7);
    Entry::new(LogId { leader_id: leader, index }, EntryPayload::Blank)
}

#[test]
fn everything_is_there_when_it_is_opened_again() {
    TypeConfig::run(async {
        let folder = Folder::fresh();
        let config = folder.config(Strategy::DiskFirst);
        let (mut store, _) = Store::open(config.clone()).expect("opens");
        let vote = Vote::from_leader_id(RaftLeaderId::new(1, 7), true);
        store.save_vote(&vote).await.expect("votes");
        let (sender, receiver) = TypeConfig::oneshot();
        store.append((0..2_000).map(blank), IOFlushed::signal(sender)).await.expect("appends");
        receiver.await.expect("fires").expect("durable");
        store.save_committed(Some(blank(1_500).log_id)).await.expect("notes");
        store.truncate_after(Some(blank(1_800).log_id)).await.expect("truncates");
        store.purge(blank(1_000).log_id).await.expect("purges");
        store.log().close().expect("closes");
        // The completion fires, with an error, although nobody will ever write these.
        let (sender, receiver) = TypeConfig::oneshot();
        assert!(store.append([blank(1_801)], IOFlushed::signal(sender)).await.is_err());
        receiver.await.expect("fires").expect_err("closed");
        drop(store);
        let (mut store, _) = Store::open(config).expect("opens");
        let state = store.get_log_state().await.expect("a state");
        assert_eq!(state.last_purged_log_id, Some(blank(1_000).log_id));
        assert_eq!(state.last_log_id, Some(blank(1_800).log_id));
        assert_eq!(store.read_vote().await.expect("reads"), Some(vote));
        assert_eq!(store.read_committed().await.expect("reads"), Some(blank(1_500).log_id));
        let entries = store.try_get_log_entries(..).await.expect("reads");
        assert_eq!(entries.len(), 800);
        assert!(entries.iter().zip(1_001..).all(|(entry, index)| entry.index() == index));
    });
}
