//! The log store of openraft 0.10. Owns the translation between its types and this crate's, and nothing that is stored:
//! a [`Codec`] says how its values become bytes.
//!
//! A completion always means *durable*, whatever the strategy, and fires exactly once, also when the journal fails or is
//! dropped. Appends, reads and purges do their work on the caller's thread; what waits for the disk is awaited.
//!
//! openraft lets a node that led go on leading when it is started again, with the commit index that was noted last. That note is
//! not waited for, so it may lag behind what clients were told, and a read that openraft calls linearizable would be answered
//! from there. `examples/raft-kv` votes in a later term before it starts such a node, so that it has to be elected anew.
//!
//! ```no_run
//! # use duramen_raft::{Config, Malformed};
//! # use duramen_raft::openraft_10::{Codec, LogStore};
//! # fn open<C: openraft::RaftTypeConfig, K: Codec<C>>() -> Result<(), Box<dyn std::error::Error>> {
//! let (store, opened) = LogStore::<C, K>::open(Config::new("data"))?;
//! // `store` is what `openraft::Raft::new` takes.
//! # Ok(())
//! # }
//! ```

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::vote::{RaftLeaderId, RaftVote};
use openraft::{AppData, EntryPayload, LogId, Membership, Node, OptionalSend, RaftLogReader, RaftTypeConfig};

use crate::adapter;
use crate::config::Config;
use crate::error::Error;
use crate::format::{Malformed, Reader, put_varint};
use crate::log::RaftLog;
use crate::logs::Opened;
use crate::types::{Entry, Stored, Types};

/// The leader's id in an entry's.
pub type CommittedLeaderIdOf<C> = <<C as RaftTypeConfig>::LeaderId as RaftLeaderId>::Committed;
/// An entry's id.
pub type LogIdOf<C> = LogId<CommittedLeaderIdOf<C>>;
/// A vote.
pub type VoteOf<C> = <C as RaftTypeConfig>::Vote;

/// How the values of one openraft configuration become bytes. What was once stored must be readable for ever.
pub trait Codec<C: RaftTypeConfig>: Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// Puts a leader's id behind what is there: at most 255 bytes.
    fn encode_leader(leader: &CommittedLeaderIdOf<C>, out: &mut Vec<u8>);
    /// Reads what [`Codec::encode_leader`] wrote.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn decode_leader(bytes: &[u8]) -> Result<CommittedLeaderIdOf<C>, Malformed>;
    /// Puts a vote behind what is there.
    fn encode_vote(vote: &VoteOf<C>, out: &mut Vec<u8>);
    /// Reads what [`Codec::encode_vote`] wrote.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn decode_vote(bytes: &[u8]) -> Result<VoteOf<C>, Malformed>;
    /// Puts what an entry carries, its id aside, behind what is there. See [`encode_payload`].
    fn encode_entry(entry: &C::Entry, out: &mut Vec<u8>);
    /// Reads what [`Codec::encode_entry`] wrote. See [`decode_payload`].
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn decode_entry(id: LogIdOf<C>, bytes: Bytes) -> Result<C::Entry, Malformed>;
}

/// The types of a log for one openraft configuration.
pub struct OpenRaft<C, K>(PhantomData<fn() -> (C, K)>);

impl<C, K> Clone for OpenRaft<C, K> {
    fn clone(&self) -> Self {
        OpenRaft(PhantomData)
    }
}

impl<C, K> PartialEq for OpenRaft<C, K> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl<C, K> fmt::Debug for OpenRaft<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenRaft")
    }
}

/// A leader's id that knows its bytes.
pub struct StoredLeader<C: RaftTypeConfig, K>(pub CommittedLeaderIdOf<C>, PhantomData<fn() -> K>);

/// A vote that knows its bytes.
pub struct StoredVote<C: RaftTypeConfig, K>(pub VoteOf<C>, PhantomData<fn() -> K>);

impl<C: RaftTypeConfig, K> Clone for StoredLeader<C, K> {
    fn clone(&self) -> Self {
        StoredLeader(self.0.clone(), PhantomData)
    }
}

impl<C: RaftTypeConfig, K> fmt::Debug for StoredLeader<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C: RaftTypeConfig, K> PartialEq for StoredLeader<C, K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<C: RaftTypeConfig, K> Eq for StoredLeader<C, K> {}

impl<C: RaftTypeConfig, K> PartialOrd for StoredLeader<C, K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<C: RaftTypeConfig, K> Ord for StoredLeader<C, K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<C: RaftTypeConfig, K: Codec<C>> Stored for StoredLeader<C, K> {
    fn encode(&self, out: &mut Vec<u8>) {
        K::encode_leader(&self.0, out);
    }

    fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        Ok(StoredLeader(K::decode_leader(&bytes)?, PhantomData))
    }
}

impl<C: RaftTypeConfig, K> Clone for StoredVote<C, K> {
    fn clone(&self) -> Self {
        StoredVote(self.0.clone(), PhantomData)
    }
}

impl<C: RaftTypeConfig, K> fmt::Debug for StoredVote<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C: RaftTypeConfig, K> PartialEq for StoredVote<C, K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<C: RaftTypeConfig, K> PartialOrd for StoredVote<C, K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        RaftVote::partial_cmp(&self.0, &other.0)
    }
}

impl<C: RaftTypeConfig, K: Codec<C>> Stored for StoredVote<C, K> {
    fn encode(&self, out: &mut Vec<u8>) {
        K::encode_vote(&self.0, out);
    }

    fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        Ok(StoredVote(K::decode_vote(&bytes)?, PhantomData))
    }
}

impl<C: RaftTypeConfig, K: Codec<C>> Types for OpenRaft<C, K> {
    type Leader = StoredLeader<C, K>;
    type LogId = LogIdOf<C>;
    type Vote = StoredVote<C, K>;
    /// What the codec made of an entry: it is turned into one when it is read.
    type Payload = Bytes;
    type UserData = Bytes;

    fn leader(id: &LogIdOf<C>) -> StoredLeader<C, K> {
        StoredLeader(id.leader_id.clone(), PhantomData)
    }

    fn index(id: &LogIdOf<C>) -> u64 {
        id.index
    }

    fn log_id(leader: StoredLeader<C, K>, index: u64) -> LogIdOf<C> {
        LogId { leader_id: leader.0, index }
    }
}

/// openraft's log store over one log. Clones share it; each is a log reader, too.
pub struct LogStore<C: RaftTypeConfig, K: Codec<C>> {
    log: RaftLog<OpenRaft<C, K>>,
}

/// A store, and what opening found.
pub type Opening<C, K> = Result<(LogStore<C, K>, Opened<OpenRaft<C, K>>), Error<OpenRaft<C, K>>>;

impl<C: RaftTypeConfig, K: Codec<C>> Clone for LogStore<C, K> {
    fn clone(&self) -> Self {
        LogStore { log: self.log.clone() }
    }
}

impl<C: RaftTypeConfig, K: Codec<C>> fmt::Debug for LogStore<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("log", &self.log).finish()
    }
}

impl<C: RaftTypeConfig, K: Codec<C>> LogStore<C, K> {
    /// Opens, or creates, a folder with one log on the real disk. At a bound of memory entries are read from the disk
    /// instead of blocking the protocol, whatever the settings say.
    ///
    /// # Errors
    /// As [`crate::RaftLogs::open`].
    pub fn open(config: Config) -> Opening<C, K> {
        let (log, opened) = RaftLog::open(adapter::unblocked(config))?;
        Ok((LogStore { log }, opened))
    }

    /// The store over the log of a group that is open already: see [`crate::RaftLogs::group`]. Its settings should say
    /// [`crate::MemoryFull::Spill`].
    pub fn new(log: RaftLog<OpenRaft<C, K>>) -> LogStore<C, K> {
        LogStore { log }
    }

    /// The log below.
    pub fn log(&self) -> &RaftLog<OpenRaft<C, K>> {
        &self.log
    }

    /// Puts entries back that are lost or damaged: see [`crate::RaftLogWriter::refill`]. Durable when it returns. For the time
    /// before the store is given to openraft, which takes a lost entry for a fatal error.
    ///
    /// # Errors
    /// As [`crate::RaftLogWriter::refill`].
    pub fn refill(&self, entries: impl IntoIterator<Item = C::Entry>) -> Result<(), Error<OpenRaft<C, K>>> {
        let entries = entries.into_iter().map(Self::stored).collect();
        self.log.writer().refill(entries)?.wait_durable()
    }

    fn stored(entry: C::Entry) -> Entry<OpenRaft<C, K>> {
        let (leader, index) = entry.log_id_parts();
        let id = LogId { leader_id: leader.clone(), index };
        let mut payload = Vec::new();
        K::encode_entry(&entry, &mut payload);
        Entry::new(id, Bytes::from(payload))
    }

    fn read(&self, range: (Bound<u64>, Bound<u64>), bytes_max: usize) -> Result<Vec<C::Entry>, io::Error> {
        let entries = adapter::read(&self.log, range, bytes_max)?;
        let decode = |entry: Entry<OpenRaft<C, K>>| K::decode_entry(entry.id, entry.payload);
        entries.into_iter().map(|entry| decode(entry).map_err(adapter::malformed)).collect()
    }
}

impl<C: RaftTypeConfig, K: Codec<C>> RaftLogReader<C> for LogStore<C, K> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<C::Entry>, io::Error> {
        self.read((range.start_bound().cloned(), range.end_bound().cloned()), usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<C>>, io::Error> {
        Ok(self.log.state().vote.map(|vote| vote.0))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<C::Entry>, io::Error> {
        self.read((Bound::Included(start), Bound::Excluded(end)), adapter::READ_BYTES_MAX)
    }
}

impl<C: RaftTypeConfig, K: Codec<C>> RaftLogStorage<C> for LogStore<C, K> {
    type LogReader = LogStore<C, K>;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        let state = self.log.state();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> LogStore<C, K> {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> Result<(), io::Error> {
        let receipt = self.log.writer().submit_vote(&StoredVote(vote.clone(), PhantomData));
        receipt.map_err(adapter::io_error)?.await.map_err(adapter::io_error)
    }

    /// A note for the next start. What the log does not have, or had already, is not noted.
    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        adapter::commit(&self.log, committed.as_ref())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<C>>, io::Error> {
        Ok(self.log.state().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(Self::stored).collect();
        match adapter::append(&self.log, entries).map_err(adapter::io_error) {
            Ok(receipt) => {
                receipt.on_durable(move |result| callback.io_completed(result.map_err(adapter::io_error)));
                Ok(())
            }
            Err(error) => {
                callback.io_completed(Err(adapter::copy(&error)));
                Err(error)
            }
        }
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        match adapter::truncate_after(&self.log, last_log_id.as_ref())? {
            Some(receipt) => receipt.await.map_err(adapter::io_error),
            None => Ok(()),
        }
    }

    async fn purge(&mut self, log_id: LogIdOf<C>) -> Result<(), io::Error> {
        if let Some(receipt) = adapter::purge(&self.log, &log_id)? {
            receipt.await.map_err(adapter::io_error)?;
            adapter::collect(&self.log);
        }
        Ok(())
    }
}

/// Puts what an entry carries behind what is there: the codec of openraft's own `EntryPayload`, for node ids that are
/// numbers. `data` and `node` put the application's part.
pub fn encode_payload<D: AppData, N: Node>(
    payload: &EntryPayload<D, u64, N>,
    out: &mut Vec<u8>,
    data: impl Fn(&D, &mut Vec<u8>),
    node: impl Fn(&N, &mut Vec<u8>),
) {
    match payload {
        EntryPayload::Blank => out.push(0),
        EntryPayload::Normal(value) => {
            out.push(1);
            data(value, out);
        }
        EntryPayload::Membership(membership) => {
            out.push(2);
            let configurations = membership.get_joint_config();
            put_varint(configurations.len() as u64, out);
            for configuration in configurations {
                put_varint(configuration.len() as u64, out);
                configuration.iter().for_each(|&id| put_varint(id, out));
            }
            let nodes: Vec<(&u64, &N)> = membership.nodes().collect();
            put_varint(nodes.len() as u64, out);
            for (&id, value) in nodes {
                put_varint(id, out);
                let mut bytes = Vec::new();
                node(value, &mut bytes);
                put_varint(bytes.len() as u64, out);
                out.extend_from_slice(&bytes);
            }
        }
    }
}

/// Reads what [`encode_payload`] wrote.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode_payload<D: AppData, N: Node>(
    bytes: &Bytes,
    data: impl Fn(Bytes) -> Result<D, Malformed>,
    node: impl Fn(&[u8]) -> Result<N, Malformed>,
) -> Result<EntryPayload<D, u64, N>, Malformed> {
    let mut reader = Reader { left: bytes };
    match reader.byte()? {
        0 => reader.end().map(|()| EntryPayload::Blank),
        1 => Ok(EntryPayload::Normal(data(bytes.slice(1..))?)),
        2 => {
            let mut configurations = Vec::new();
            for _ in 0..reader.varint()? {
                let count = reader.varint()?;
                let ids: Result<BTreeSet<u64>, Malformed> = (0..count).map(|_| reader.varint()).collect();
                configurations.push(ids?);
            }
            let mut nodes = BTreeMap::new();
            for _ in 0..reader.varint()? {
                let id = reader.varint()?;
                let length =
                    usize::try_from(reader.varint()?).map_err(|_| Malformed::new("a node beyond all memory"))?;
                nodes.insert(id, node(reader.take(length)?)?);
            }
            reader.end()?;
            let membership = Membership::new(configurations, nodes);
            membership.map(EntryPayload::Membership).map_err(|_| Malformed::new("a membership that cannot be"))
        }
        _ => Err(Malformed::new("a payload of an unknown kind")),
    }
}
