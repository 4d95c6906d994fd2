//! raft-rs on this log: the storage's answers, and three nodes whose power is cut again and again.

use duramen_journal::Options;
use duramen_journal::disk::SyncMethod;
use duramen_journal::disk::sim::{Crash, Generator, SimDisk};
use duramen_raft::raft_rs::{RaftRs, Store};
use duramen_raft::{Config, Error, PurgeOnSnapshot, RaftLog, SnapshotError};
use raft::eraftpb::{ConfState, Entry, HardState, Message, Snapshot};
use raft::{GetEntriesContext, RawNode, Storage, StorageError};

fn config() -> Config {
    let journal = Options { sync_method: Some(SyncMethod::DataSync), spares_max: 1, ..Options::default() };
    Config { chunk_max_size: 64 << 10, snapshot_chunk_bytes: 4096, journal, ..Config::new("/raft") }
}

fn open(disk: &SimDisk) -> Store {
    let (log, opened) = RaftLog::<RaftRs>::open_with(config(), disk.world()).expect("opens");
    assert!(opened.losses.is_empty() && opened.uncovered.is_empty(), "{opened:?}");
    Store::new(log)
}

fn entry(term: u64, index: u64) -> Entry {
    Entry { term, index, data: vec![b'd'; 20].into(), context: vec![b'c'; 3].into(), ..Default::default() }
}

fn entries(store: &Store, low: u64, high: u64, max: impl Into<Option<u64>>) -> raft::Result<Vec<Entry>> {
    store.entries(low, high, max, GetEntriesContext::empty(false))
}

fn is(result: raft::Result<impl std::fmt::Debug>, expected: StorageError) {
    match result {
        Err(raft::Error::Store(error)) => assert_eq!(error, expected),
        other => panic!("{other:?}"),
    }
}

fn members() -> ConfState {
    ConfState { voters: vec![1, 2, 3], learners: vec![9], ..Default::default() }
}

#[test]
fn a_new_store() {
    let store = open(&SimDisk::new(1));
    assert!(store.is_new());
    assert_eq!((store.first_index().expect("says"), store.last_index().expect("says")), (1, 0));
    assert_eq!(store.term(0).expect("is known"), 0);
    is(store.term(1), StorageError::Unavailable);
    is(store.snapshot(0, 2), StorageError::SnapshotTemporarilyUnavailable);
    assert_eq!(entries(&store, 1, 1, None).expect("an empty range"), []);
    store.bootstrap(&members()).expect("stores");
    assert!(!store.is_new());
}

#[test]
fn terms_entries_and_bounds() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    store.bootstrap(&members()).expect("stores");
    store
        .append(&[entry(1, 1), entry(1, 2), entry(3, 3), entry(4, 4), entry(5, 5)])
        .expect("appends")
        .wait()
        .expect("durable");
    store.set_hard_state(&HardState { term: 5, vote: 2, commit: 4, ..Default::default() }).expect("stores");
    for (index, term) in [(0, 0), (1, 1), (2, 1), (3, 3), (5, 5)] {
        assert_eq!(store.term(index).expect("is known"), term);
    }
    is(store.term(6), StorageError::Unavailable);
    assert_eq!(entries(&store, 3, 6, None).expect("are there"), [entry(3, 3), entry(4, 4), entry(5, 5)]);
    // A bound counts protobuf's bytes, and one entry comes in any case.
    let size = u64::from(protobuf::Message::compute_size(&entry(3, 3)));
    for (max, count) in [(0, 1), (size, 1), (2 * size - 1, 1), (2 * size, 2), (3 * size, 3), (raft::NO_LIMIT, 3)] {
        assert_eq!(entries(&store, 3, 6, max).expect("are there").len(), count, "{max} bytes");
    }
    is(entries(&store, 4, 7, None), StorageError::Unavailable);
    store.compact(3).expect("compacts");
    assert_eq!((store.first_index().expect("says"), store.last_index().expect("says")), (3, 5));
    assert_eq!(store.term(2).expect("the one before the first is known"), 1);
    is(store.term(1), StorageError::Compacted);
    is(entries(&store, 2, 4, None), StorageError::Compacted);
    store.compact(2).expect("was compacted");
    assert!(matches!(store.compact(9), Err(Error::NotYet { .. })));
    // Another leader's entries take the place of those from the third on.
    store.append(&[entry(6, 5), entry(6, 6)]).expect("appends").wait().expect("durable");
    assert_eq!(entries(&store, 4, 7, None).expect("are there"), [entry(4, 4), entry(6, 5), entry(6, 6)]);
    drop(store);
    let store = open(&disk.reboot(Crash::LoseAll));
    let state = store.initial_state().expect("says");
    assert_eq!((state.hard_state.term, state.hard_state.vote, state.hard_state.commit), (5, 2, 4));
    assert_eq!(state.conf_state, members());
    assert_eq!(entries(&store, 3, 7, None).expect("are there").len(), 4);
    // In one term there is one vote.
    assert!(store.set_hard_state(&HardState { term: 5, vote: 3, ..Default::default() }).is_err());
    assert!(store.set_hard_state(&HardState { term: 4, vote: 2, ..Default::default() }).is_err());
}

#[test]
fn snapshots_are_made_and_applied() {
    let (disk, other) = (SimDisk::new(1), SimDisk::new(2));
    let store = open(&disk);
    store.append(&(1..=10).map(|index| entry(1, index)).collect::<Vec<_>>()).expect("appends").wait().expect("durable");
    let made = store.create_snapshot(8, &members(), |writer| writer.write(&[7; 10_000]));
    made.expect("saves");
    let snapshot = store.snapshot(8, 2).expect("is there");
    let metadata = snapshot.get_metadata();
    assert_eq!((metadata.index, metadata.term, metadata.get_conf_state()), (8, 1, &members()));
    assert_eq!(snapshot.data, vec![7; 10_000]);
    is(store.snapshot(9, 2), StorageError::SnapshotTemporarilyUnavailable);
    let follower = open(&other);
    follower.append(&[entry(9, 1), entry(9, 2)]).expect("appends").wait().expect("durable");
    follower.apply_snapshot(&snapshot).expect("installs");
    drop(follower);
    let follower = open(&other.reboot(Crash::LoseAll));
    assert_eq!((follower.first_index().expect("says"), follower.last_index().expect("says")), (9, 8));
    assert_eq!(follower.term(8).expect("is known"), 1);
    let state = follower.initial_state().expect("says");
    assert_eq!((state.hard_state.commit, state.conf_state), (8, members()));
    assert_eq!(follower.snapshot(0, 3).expect("is there"), snapshot);
    let again = follower.apply_snapshot(&snapshot);
    assert!(matches!(again, Err(Error::Snapshot(SnapshotError::Outdated { .. }))), "{again:?}");
}

/// One node: what it has applied is its state machine, a list of numbers.
struct Node {
    id: u64,
    disk: SimDisk,
    raw: RawNode<Store>,
    store: Store,
    applied: Vec<u64>,
    applied_to: u64,
}

fn logger() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

impl Node {
    fn start(id: u64, disk: SimDisk) -> Node {
        let config = Config { purge_on_snapshot: PurgeOnSnapshot::ToNewest, ..config() };
        let (log, opened) = RaftLog::<RaftRs>::open_with(config, disk.world()).expect("opens");
        assert!(opened.losses.is_empty() && opened.uncovered.is_empty(), "{opened:?}");
        let store = Store::new(log);
        if store.is_new() {
            store.bootstrap(&ConfState { voters: vec![1, 2, 3], ..Default::default() }).expect("stores");
        }
        let snapshot = store.snapshot(0, id).unwrap_or_default();
        let applied = decode(&snapshot.data);
        let applied_to = snapshot.get_metadata().index;
        let settings = raft::Config {
            id,
            applied: applied_to,
            election_tick: 10,
            heartbeat_tick: 2,
            max_size_per_msg: 300,
            max_inflight_msgs: 16,
            ..Default::default()
        };
        let raw = RawNode::new(&settings, store.clone(), &logger()).expect("starts");
        Node { id, disk, raw, store, applied, applied_to }
    }

    /// The power fails: what was not durable may be gone.
    fn crash(self, crash: Crash) -> Node {
        let Node { id, disk, raw, store, .. } = self;
        let disk = disk.reboot(crash);
        drop((raw, store));
        Node::start(id, disk)
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            assert_eq!(entry.index, self.applied_to + 1, "node {} applies in order", self.id);
            self.applied_to = entry.index;
            if !entry.data.is_empty() {
                self.applied.push(u64::from_le_bytes(entry.data[..].try_into().expect("a number")));
            }
        }
    }

    fn restore(&mut self, snapshot: &Snapshot) {
        if *snapshot != Snapshot::default() {
            (self.applied, self.applied_to) = (decode(&snapshot.data), snapshot.get_metadata().index);
        }
    }

    /// Goes round the loop once; returns what is to be sent.
    fn ready(&mut self) -> Vec<Message> {
        let mut out = Vec::new();
        if !self.raw.has_ready() {
            return out;
        }
        let mut ready = self.raw.ready();
        out.extend(ready.take_messages());
        let receipt = self.store.persist(&ready).expect("stores");
        let snapshot = ready.snapshot().clone();
        self.restore(&snapshot);
        self.apply(ready.take_committed_entries());
        if ready.must_sync() {
            receipt.wait_durable().expect("durable");
        }
        out.extend(ready.take_persisted_messages());
        let mut light = self.raw.advance(ready);
        out.extend(light.take_messages());
        self.apply(light.take_committed_entries());
        self.raw.advance_apply();
        out
    }

    fn save(&mut self) {
        let members = ConfState { voters: vec![1, 2, 3], ..Default::default() };
        let bytes: Vec<u8> = self.applied.iter().flat_map(|number| number.to_le_bytes()).collect();
        let saved = self.store.create_snapshot(self.applied_to, &members, |writer| writer.write(&bytes));
        match saved {
            Ok(()) | Err(Error::Snapshot(SnapshotError::Outdated { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn decode(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().expect("eight bytes"))).collect()
}

/// Lets the cluster run for so many rounds; messages to or from a node are lost at random.
fn run(nodes: &mut [Node], rounds: u64, chance: &mut Generator, next: &mut u64, acknowledged: &mut Vec<u64>) {
    let mut held: Vec<Message> = Vec::new();
    for round in 0..rounds {
        for node in nodes.iter_mut() {
            node.raw.tick();
        }
        let leader = nodes.iter_mut().find(|node| node.raw.raft.state == raft::StateRole::Leader);
        if leader.is_some_and(|leader| leader.raw.propose(Vec::new(), next.to_le_bytes().to_vec()).is_ok()) {
            *next += 1;
        }
        for _ in 0..4 {
            for message in std::mem::take(&mut held) {
                if chance.below(20) == 0 {
                    continue;
                }
                let to = message.to as usize - 1;
                let _ = nodes[to].raw.step(message);
            }
            for node in nodes.iter_mut() {
                held.extend(node.ready());
            }
        }
        // What the leader has applied, a client was told.
        if let Some(leader) = nodes.iter().find(|node| node.raw.raft.state == raft::StateRole::Leader)
            && leader.applied.len() > acknowledged.len()
        {
            assert_eq!(leader.applied[..acknowledged.len()], acknowledged[..], "round {round}: the past has changed");
            acknowledged.clone_from(&leader.applied);
        }
    }
}

/// Nodes lose power one by one, two at once, all at once; nothing that a client was told is ever missing, and all logs agree.
#[test]
fn three_nodes_whose_power_fails() {
    for seed in 1..=3 {
        let mut chance = Generator::new(seed);
        let mut nodes: Vec<Node> = (1..=3).map(|id| Node::start(id, SimDisk::new(seed * 10 + id))).collect();
        let (mut next, mut acknowledged) = (1, Vec::new());
        for era in 0..12u64 {
            run(&mut nodes, 60, &mut chance, &mut next, &mut acknowledged);
            if era % 4 == 1 {
                nodes[chance.below(3) as usize].save();
            }
            let falls: Vec<bool> = match era % 3 {
                0 => (0..3).map(|node| node == era % 2).collect(),
                1 => vec![true; 3],
                _ => nodes.iter().map(|node| node.raw.raft.state == raft::StateRole::Leader).collect(),
            };
            let crash = |era: u64| if era.is_multiple_of(2) { Crash::LoseAll } else { Crash::KeepAll };
            let restart = |(node, falls): (Node, bool)| if falls { node.crash(crash(era)) } else { node };
            nodes = nodes.into_iter().zip(falls).map(restart).collect();
        }
        run(&mut nodes, 300, &mut chance, &mut next, &mut acknowledged);
        assert!(acknowledged.len() > 200, "seed {seed}: {} were acknowledged", acknowledged.len());
        for node in &nodes {
            let common = node.applied.len().min(acknowledged.len());
            assert_eq!(node.applied[..common], acknowledged[..common], "seed {seed}: node {} differs", node.id);
            assert!(common + 50 > acknowledged.len(), "seed {seed}: node {} lags: {common}", node.id);
        }
        let mut sorted = acknowledged.clone();
        sorted.dedup();
        assert_eq!(sorted.len(), acknowledged.len(), "nothing is applied twice");
    }
}
