//! The storage of raft-rs 0.7 ([`raft::Storage`]), and the write side that its applications have to bring themselves. Owns the
//! translation between its types and this crate's, and the bytes of its entries and memberships ([`RaftRs`]), which do not
//! depend on protobuf.
//!
//! The loop of an application, with everything that must be durable before something else:
//!
//! ```no_run
//! use duramen_raft::raft_rs::Store;
//! use duramen_raft::{Config, RaftLog};
//! use raft::RawNode;
//!
//! # fn run(config: raft::Config, logger: slog::Logger) -> Result<(), Box<dyn std::error::Error>> {
//! let (log, _) = RaftLog::open(Config::new("data"))?;
//! let store = Store::new(log);
//! if store.is_new() {
//!     store.bootstrap(&raft::eraftpb::ConfState { voters: vec![1, 2, 3], ..Default::default() })?;
//! }
//! let mut node = RawNode::new(&config, store.clone(), &logger)?;
//! # let send = |_: Vec<raft::eraftpb::Message>| ();
//! # let apply = |_: Vec<raft::eraftpb::Entry>| ();
//! loop {
//!     // … tick, step, propose …
//!     if !node.has_ready() {
//!         continue;
//!     }
//!     let mut ready = node.ready();
//!     send(ready.take_messages()); // a leader's may go before they are durable
//!     apply(ready.take_committed_entries());
//!     let receipt = store.persist(&ready)?; // snapshot, vote, entries, commit: one ordered stream
//!     if ready.must_sync() {
//!         receipt.wait_durable()?; // or await it, or call `on_persist_ready` from its callback
//!     }
//!     send(ready.take_persisted_messages());
//!     let mut light = node.advance(ready);
//!     send(light.take_messages());
//!     apply(light.take_committed_entries());
//!     node.advance_apply();
//! }
//! # }
//! ```
//!
//! Entries are read on the caller's thread: a request that may be answered later ([`raft::GetEntriesContext::can_async`]) is
//! answered now. The protobuf code of raft-rs is generated when it is built, by a `protoc` that comes with it for x86-64
//! Linux; on other systems `PROTOC` has to name one.

use std::fmt;

use bytes::Bytes;
use duramen_journal::Error as WalError;
use raft::eraftpb::{ConfState, Entry as PbEntry, EntryType, HardState, Snapshot as PbSnapshot};
use raft::{Error as PbError, GetEntriesContext, RaftState, Ready, Storage, StorageError};

use crate::adapter;
use crate::error::Error;
use crate::format::{Malformed, Reader, put_varint};
use crate::log::RaftLog;
use crate::receipt::Receipt;
use crate::types::{Entry, Stored, TermIndex, TermVote, Types};
use crate::wal::{JournalWal, Wal};

/// The types of a log for raft-rs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftRs;

/// What an entry carries, its term and index aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its type's number: 0 normal, 1 a change of the membership, 2 the same in its second form.
    pub kind: u8,
    /// What was proposed.
    pub data: Bytes,
    /// What was proposed beside it.
    pub context: Bytes,
}

/// Who is a member.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members(pub ConfState);

impl Types for RaftRs {
    type Leader = u64;
    type LogId = TermIndex;
    type Vote = TermVote;
    type Payload = Body;
    type UserData = Members;

    fn leader(id: &TermIndex) -> u64 {
        id.term
    }

    fn index(id: &TermIndex) -> u64 {
        id.index
    }

    fn log_id(term: u64, index: u64) -> TermIndex {
        TermIndex { term, index }
    }
}

impl Stored for Body {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind);
        put_varint(self.context.len() as u64, out);
        out.extend_from_slice(&self.context);
        out.extend_from_slice(&self.data);
    }

    fn decode(bytes: Bytes) -> Result<Body, Malformed> {
        let mut reader = Reader { left: &bytes };
        let kind = reader.byte()?;
        if kind > 2 {
            return Err(Malformed::new("an entry of an unknown type"));
        }
        let context = usize::try_from(reader.varint()?).map_err(|_| Malformed::new("a context is too long"))?;
        let context = bytes.slice_ref(reader.take(context)?);
        let data = bytes.slice_ref(reader.left);
        Ok(Body { kind, data, context })
    }
}

impl Stored for Members {
    fn encode(&self, out: &mut Vec<u8>) {
        let ConfState { voters, learners, voters_outgoing, learners_next, auto_leave, .. } = &self.0;
        out.push(u8::from(*auto_leave));
        for list in [voters, learners, voters_outgoing, learners_next] {
            put_varint(list.len() as u64, out);
            list.iter().for_each(|&node| put_varint(node, out));
        }
    }

    fn decode(bytes: Bytes) -> Result<Members, Malformed> {
        let mut reader = Reader { left: &bytes };
        let auto_leave = match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed::new("a membership with an unknown flag")),
        };
        let mut list = || -> Result<Vec<u64>, Malformed> {
            let count = reader.varint()?;
            // Each takes a byte at least: no length is believed.
            if count > reader.left.len() as u64 {
                return Err(Malformed::new("a membership is cut off"));
            }
            (0..count).map(|_| reader.varint()).collect()
        };
        let (voters, learners, voters_outgoing, learners_next) = (list()?, list()?, list()?, list()?);
        reader.end()?;
        let state = ConfState { voters, learners, voters_outgoing, learners_next, auto_leave, ..Default::default() };
        Ok(Members(state))
    }
}

fn to_entry(entry: &PbEntry) -> Entry<RaftRs> {
    let kind = entry.get_entry_type() as u8;
    let body = Body { kind, data: entry.data.clone(), context: entry.context.clone() };
    Entry::new(TermIndex::new(entry.term, entry.index), body)
}

fn from_entry(entry: Entry<RaftRs>) -> PbEntry {
    let TermIndex { term, index } = entry.id;
    let Body { kind, data, context } = entry.payload;
    let mut out = PbEntry { term, index, data, context, ..Default::default() };
    out.set_entry_type(match kind {
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => EntryType::EntryNormal,
    });
    out
}

/// An error as raft-rs knows it.
fn to_raft(error: Error<RaftRs>) -> PbError {
    match error {
        Error::Purged { .. } => StorageError::Compacted.into(),
        Error::NotYet { .. } => StorageError::Unavailable.into(),
        Error::Wal(WalError::Released { .. }) => StorageError::Compacted.into(),
        error => PbError::Store(StorageError::Other(Box::new(error))),
    }
}

/// One log as raft-rs sees it. Clones share it.
pub struct Store<W: Wal = JournalWal> {
    log: RaftLog<RaftRs, W>,
}

impl<W: Wal> Clone for Store<W> {
    fn clone(&self) -> Self {
        Store { log: self.log.clone() }
    }
}

impl<W: Wal> fmt::Debug for Store<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("log", &self.log).finish()
    }
}

impl<W: Wal> Store<W> {
    /// A log, of a folder that has one or many.
    ///
    /// With [`crate::Strategy::MemFirst`] let [`crate::Config::memory_full`] be [`crate::MemoryFull::Spill`]: a protocol must
    /// not be blocked by a bound of memory.
    pub fn new(log: RaftLog<RaftRs, W>) -> Store<W> {
        Store { log }
    }

    /// The log.
    pub fn log(&self) -> &RaftLog<RaftRs, W> {
        &self.log
    }

    /// Whether nothing was ever stored: then [`Store::bootstrap`] it, or let a leader's snapshot come.
    pub fn is_new(&self) -> bool {
        self.log.state() == crate::RaftLogState::default()
    }

    /// Stores the members that a new cluster begins with. Durable when it returns.
    ///
    /// # Errors
    /// The journal's.
    pub fn bootstrap(&self, members: &ConfState) -> Result<(), Error<RaftRs>> {
        self.set_conf_state(members)?.wait_durable()
    }

    /// Stores who is a member from now on: after each change of the membership that was applied. Durable with the next step
    /// that is waited for.
    ///
    /// # Errors
    /// The journal's.
    pub fn set_conf_state(&self, members: &ConfState) -> Result<Receipt<RaftRs, W>, Error<RaftRs>> {
        self.log.writer().save_user_data(&Members(members.clone()))
    }

    /// Stores all that a [`Ready`] says must be: the snapshot (durable at once), the vote, the entries, the commit index, in
    /// this order in one stream, with one sync. Its receipt completes when all of it is durable; wait for that before what
    /// [`Ready::take_persisted_messages`] gives is sent, if [`Ready::must_sync`] says so, or tell
    /// [`raft::RawNode::on_persist_ready`] when it has.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Snapshot`], the journal's. Nothing that came after the failed part was stored.
    pub fn persist(&self, ready: &Ready) -> Result<Receipt<RaftRs, W>, Error<RaftRs>> {
        if *ready.snapshot() != PbSnapshot::default() {
            self.apply_snapshot(ready.snapshot())?;
        }
        // The vote comes first: an entry of a term must not survive a crash that the term's vote does not.
        let mut receipt = match ready.hs() {
            Some(state) => self.save_vote(state)?,
            None => None,
        };
        if !ready.entries().is_empty() {
            receipt = Some(self.append(ready.entries())?);
        }
        if let Some(state) = ready.hs() {
            // Not worth a sync of its own: what is committed, a restarted node learns again.
            drop(self.save_commit(state.commit)?);
        }
        Ok(receipt.unwrap_or_else(|| Receipt::new(None, false)))
    }

    /// Stores entries; where others are in their place, those and all behind them go first.
    ///
    /// # Errors
    /// [`Error::Refused`], the journal's.
    pub fn append(&self, entries: &[PbEntry]) -> Result<Receipt<RaftRs, W>, Error<RaftRs>> {
        adapter::append(&self.log, entries.iter().map(to_entry).collect())
    }

    /// Stores term, vote and commit index. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::Refusal::VoteReversal`], the journal's.
    pub fn set_hard_state(&self, state: &HardState) -> Result<(), Error<RaftRs>> {
        let vote = self.save_vote(state)?;
        let commit = self.save_commit(state.commit)?;
        vote.map_or(Ok(()), Receipt::wait_durable)?;
        commit.map_or(Ok(()), Receipt::wait_durable)
    }

    fn save_vote(&self, state: &HardState) -> Result<Option<Receipt<RaftRs, W>>, Error<RaftRs>> {
        let vote = TermVote { term: state.term, node: Some(state.vote).filter(|&node| node != 0) };
        if self.log.state().vote.unwrap_or_default() == vote {
            return Ok(None);
        }
        self.log.group.save_vote(&vote).map(Some)
    }

    fn save_commit(&self, commit: u64) -> Result<Option<Receipt<RaftRs, W>>, Error<RaftRs>> {
        let state = self.log.state();
        let known = state.committed.max(state.purged).map_or(0, |id| id.index);
        if commit <= known {
            return Ok(None);
        }
        let id = self.log.reader().log_id(commit)?;
        self.log.writer().commit(&id).map(Some)
    }

    /// Gives the entries before this index back; a snapshot must cover them. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::NotYet`], the journal's.
    pub fn compact(&self, first: u64) -> Result<(), Error<RaftRs>> {
        let Some(last) = first.checked_sub(1) else { return Ok(()) };
        match self.log.reader().log_id(last) {
            Ok(id) => self.log.writer().purge(&id)?.wait_durable(),
            Err(Error::Purged { .. }) => Ok(()),
            Err(_) if last == 0 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Stores a snapshot of the state machine as it is after the entry `index`, published and durable when it returns, and
    /// purges the log as the settings say. `write` is called with where its bytes go.
    ///
    /// # Errors
    /// [`Error::Snapshot`], [`Error::Purged`], [`Error::NotYet`], what `write` says.
    pub fn create_snapshot<E: From<Error<RaftRs>>>(
        &self,
        index: u64,
        members: &ConfState,
        write: impl FnOnce(&mut crate::SnapshotWriter<RaftRs, W>) -> Result<(), E>,
    ) -> Result<(), E> {
        let id = self.log.reader().log_id(index)?;
        let mut meta = Vec::new();
        Members(members.clone()).encode(&mut meta);
        let mut writer = self.log.snapshots()?.begin(&id, &meta)?;
        write(&mut writer)?;
        writer.finish()?;
        Ok(())
    }

    /// Stores the snapshot that a leader has sent, and lets the log begin behind it. Durable when it returns; the state
    /// machine is the caller's.
    ///
    /// # Errors
    /// [`crate::SnapshotError::Outdated`]: there is one that covers as much, which is no harm. The journal's.
    pub fn apply_snapshot(&self, snapshot: &PbSnapshot) -> Result<(), Error<RaftRs>> {
        let metadata = snapshot.get_metadata();
        let id = TermIndex::new(metadata.term, metadata.index);
        let mut meta = Vec::new();
        let members = Members(metadata.get_conf_state().clone());
        members.encode(&mut meta);
        let mut writer = self.log.snapshots()?.begin(&id, &meta)?;
        writer.write(&snapshot.data)?;
        writer.install()?;
        self.log.writer().save_user_data(&members)?.wait_durable()
    }

    /// The index of the last entry; of the last purged one, if there is none.
    fn last(&self) -> u64 {
        self.log.state().last.map_or(0, |id| id.index)
    }
}

impl<W: Wal> Storage for Store<W> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        if self.log.vote_in_doubt() {
            return Err(to_raft(Error::VoteInDoubt { group: self.log.number() }));
        }
        let state = self.log.state();
        let vote = state.vote.unwrap_or_default();
        // What was purged was committed, also if the word of that was not durable.
        let commit = state.committed.max(state.purged).map_or(0, |id| id.index);
        let hard_state = HardState { term: vote.term, vote: vote.node.unwrap_or(0), commit, ..Default::default() };
        Ok(RaftState { hard_state, conf_state: state.user_data.unwrap_or_default().0 })
    }

    /// See [`Storage::entries`]. A range that goes beyond the last entry is `Unavailable`; nothing panics.
    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<PbEntry>> {
        let max_size = max_size.into();
        if low < self.first_index()? {
            return Err(StorageError::Compacted.into());
        }
        // Their size in protobuf is a little more than what is counted here; the rest is cut off below.
        let bytes = max_size.map_or(usize::MAX, |size| usize::try_from(size).unwrap_or(usize::MAX));
        let found = self.log.reader().range(low..high, bytes).map_err(to_raft)?;
        let mut entries: Vec<PbEntry> = found.into_iter().map(from_entry).collect();
        raft::util::limit_size(&mut entries, max_size);
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.log.reader().log_id(index) {
            Ok(id) => Ok(id.term),
            // Before the first entry of a log that was never purged.
            Err(_) if index == 0 && self.first_index()? == 1 => Ok(0),
            Err(error) => Err(to_raft(error)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.log.reader().first_index().unwrap_or(1))
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// The newest good snapshot, whole, its chunks put together: see [`crate::Snapshots`] for sending them one by one.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<PbSnapshot> {
        let found = self.log.snapshots().and_then(|snapshots| snapshots.load()).map_err(to_raft)?;
        let Some(found) = found.filter(|found| found.meta().last.index >= request_index) else {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        };
        let mut data = Vec::with_capacity(usize::try_from(found.meta().bytes).unwrap_or(0));
        for chunk in found.chunks() {
            data.extend_from_slice(&chunk.map_err(to_raft)?);
        }
        let members = Members::decode(found.meta().meta.clone());
        let members =
            members.map_err(|what| to_raft(Error::Foreign { group: self.log.number(), sequence: 0, what }))?;
        let mut snapshot = PbSnapshot { data: data.into(), ..Default::default() };
        let metadata = snapshot.mut_metadata();
        metadata.index = found.meta().last.index;
        metadata.term = found.meta().last.term;
        metadata.set_conf_state(members.0);
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_values_are_read_as_they_were_written() {
        fn check<S: Stored>(value: S) {
            let mut bytes = Vec::new();
            value.encode(&mut bytes);
            assert_eq!(S::decode(Bytes::from(bytes)).expect("reads"), value);
        }
        let body = |kind, data: &'static [u8], context: &'static [u8]| Body {
            kind,
            data: Bytes::from_static(data),
            context: Bytes::from_static(context),
        };
        check(body(0, b"", b""));
        check(body(2, b"data", &[7; 300]));
        check(Members::default());
        check(Members(ConfState {
            voters: vec![1, u64::MAX],
            learners: vec![300],
            voters_outgoing: vec![2, 3],
            learners_next: vec![9],
            auto_leave: true,
            ..Default::default()
        }));
        for bad in [&b""[..], b"\x03\x00", b"\x00\x05ab", b"\x00\x80"] {
            assert!(Body::decode(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
        for bad in
            [&b""[..], b"\x02\x00\x00\x00\x00", b"\x00\xff\xff\x03", b"\x00\x00\x00\x00", b"\x00\x00\x00\x00\x00\x00"]
        {
            assert!(Members::decode(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }
}
