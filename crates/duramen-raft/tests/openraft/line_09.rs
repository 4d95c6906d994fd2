//! openraft 0.9. Its own state machine is of the first storage interface, so here is a small one of the second.

use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use duramen_raft::openraft_09::{
    Codec, CommittedLeaderIdOf, LogIdOf, LogStore, VoteOf, decode_payload, encode_payload,
};
use duramen_raft::{Malformed, Strategy};
use openraft_09::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft_09::testing::{StoreBuilder, Suite};
use openraft_09::{
    CommittedLeaderId, Entry, EntryPayload, LogId, OptionalSend, RaftLogReader, RaftSnapshotBuilder, Snapshot,
    SnapshotMeta, StorageError, StoredMembership, Vote,
};

use crate::Folder;

openraft_09::declare_raft_types!(
    /// Texts in, nothing out.
    pub TypeConfig:
        D = String,
        R = (),
        Node = (),
);

/// Remembers how far it got, and its membership.
#[derive(Clone, Debug, Default)]
struct Machine(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, ()>,
    snapshot: Option<SnapshotMeta<u64, ()>>,
}

impl Machine {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics under it")
    }
}

fn snapshot_of(meta: &SnapshotMeta<u64, ()>) -> Snapshot<TypeConfig> {
    Snapshot { meta: meta.clone(), snapshot: Box::new(Cursor::new(Vec::new())) }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError<u64>> {
        let mut state = self.state();
        let snapshot_id = format!("{:?}", state.applied);
        let meta = SnapshotMeta { last_log_id: state.applied, last_membership: state.membership.clone(), snapshot_id };
        state.snapshot = Some(meta.clone());
        Ok(snapshot_of(&meta))
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, StoredMembership<u64, ()>), StorageError<u64>> {
        let state = self.state();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError<u64>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state();
        let apply = |entry: Entry<TypeConfig>| {
            state.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                state.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
        };
        Ok(entries.into_iter().map(apply).collect())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError<u64>> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, ()>,
        _snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<u64>> {
        let mut state = self.state();
        (state.applied, state.membership) = (meta.last_log_id, meta.last_membership.clone());
        state.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError<u64>> {
        Ok(self.state().snapshot.as_ref().map(snapshot_of))
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Texts;

fn word(bytes: &[u8], at: usize) -> Result<u64, Malformed> {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    word.map(u64::from_le_bytes).ok_or(Malformed::new("a number has eight bytes"))
}

impl Codec<TypeConfig> for Texts {
    fn encode_leader(leader: &CommittedLeaderIdOf<TypeConfig>, out: &mut Vec<u8>) {
        out.extend_from_slice(&leader.term.to_le_bytes());
        out.extend_from_slice(&leader.node_id.to_le_bytes());
    }

    fn decode_leader(bytes: &[u8]) -> Result<CommittedLeaderIdOf<TypeConfig>, Malformed> {
        Ok(CommittedLeaderId::new(word(bytes, 0)?, word(bytes, 8)?))
    }

    fn encode_vote(vote: &VoteOf<TypeConfig>, out: &mut Vec<u8>) {
        Texts::encode_leader(&vote.leader_id, out);
        out.push(u8::from(vote.committed));
    }

    fn decode_vote(bytes: &[u8]) -> Result<VoteOf<TypeConfig>, Malformed> {
        let committed = bytes.get(16).ok_or(Malformed::new("a vote has seventeen bytes"))?;
        Ok(Vote { leader_id: Texts::decode_leader(&bytes[..16])?, committed: *committed == 1 })
    }

    fn encode_entry(entry: &Entry<TypeConfig>, out: &mut Vec<u8>) {
        let data = |data: &String, out: &mut Vec<u8>| out.extend_from_slice(data.as_bytes());
        encode_payload(&entry.payload, out, data, |(), _| ());
    }

    fn decode_entry(id: LogIdOf<TypeConfig>, bytes: Bytes) -> Result<Entry<TypeConfig>, Malformed> {
        let data = |bytes: Bytes| String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::new("a text is UTF-8"));
        Ok(Entry { log_id: id, payload: decode_payload(&bytes, data, |_| Ok(()))? })
    }
}

type Store = LogStore<TypeConfig, Texts>;

struct Builder(Strategy);

impl StoreBuilder<TypeConfig, Store, Machine, Folder> for Builder {
    async fn build(&self) -> Result<(Folder, Store, Machine), StorageError<u64>> {
        let folder = Folder::fresh();
        let (store, _) = Store::open(folder.config(self.0)).expect("opens");
        Ok((folder, store, Machine::default()))
    }
}

#[test]
fn the_suite_passes() {
    for strategy in [Strategy::DiskFirst, Strategy::MemFirst] {
        Suite::test_all(Builder(strategy)).expect("openraft's suite passes");
    }
}

fn blank(index: u64) -> Entry<TypeConfig> {
    Entry { log_id: LogId::new(CommittedLeaderId::new(1, 7), index), payload: EntryPayload::Blank }
}

#[test]
fn everything_is_there_when_it_is_opened_again() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let folder = Folder::fresh();
        let config = folder.config(Strategy::DiskFirst);
        let (mut store, _) = Store::open(config.clone()).expect("opens");
        let vote = Vote::new_committed(1, 7);
        store.save_vote(&vote).await.expect("votes");
        store.blocking_append((0..2_000).map(blank)).await.expect("appends, durably");
        store.save_committed(Some(blank(1_500).log_id)).await.expect("notes");
        store.truncate(blank(1_801).log_id).await.expect("truncates");
        store.purge(blank(1_000).log_id).await.expect("purges");
        store.log().close().expect("closes");
        assert!(store.blocking_append([blank(1_801)]).await.is_err());
        drop(store);
        let (mut store, _) = Store::open(config).expect("opens");
        let state = store.get_log_state().await.expect("a state");
        assert_eq!(state.last_purged_log_id, Some(blank(1_000).log_id));
        assert_eq!(state.last_log_id, Some(blank(1_800).log_id));
        assert_eq!(store.read_vote().await.expect("reads"), Some(vote));
        assert_eq!(store.read_committed().await.expect("reads"), Some(blank(1_500).log_id));
        let entries = store.try_get_log_entries(..).await.expect("reads");
        assert_eq!(entries.len(), 800);
        assert!(entries.iter().zip(1_001..).all(|(entry, index)| entry.log_id.index == index));
    });
}
