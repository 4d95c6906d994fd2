//! One group's log as a user holds it: a writer, a reader. Owns the handles; the work is the group's.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use duramen_journal::World;

use crate::GroupId;
use crate::config::Config;
use crate::error::Error;
use crate::group::Group;
use crate::logs::{Logs, Opened, RaftLogs};
use crate::read;
use crate::receipt::Receipt;
use crate::record::{Record, decode_id};
use crate::snapshot::{SnapshotError, Snapshots};
use crate::state::RaftLogState;
use crate::stats::RaftStats;
use crate::types::{Entry, EntryRef, StateMachine, Types};
use crate::wal::{JournalWal, Wal};

/// The group that a folder with one log has.
const ONLY: GroupId = 1;

/// The log of one group. Clones share it; the folder stays open while one lives.
pub struct RaftLog<T: Types, W: Wal = JournalWal> {
    pub(crate) group: Arc<Group<T, W>>,
    pub(crate) logs: Arc<Logs<T, W>>,
}

impl<T: Types, W: Wal> Clone for RaftLog<T, W> {
    fn clone(&self) -> Self {
        RaftLog { group: self.group.clone(), logs: self.logs.clone() }
    }
}

impl<T: Types, W: Wal> fmt::Debug for RaftLog<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftLog")
            .field("group", &self.group.number)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl<T: Types> RaftLog<T> {
    /// Opens, or creates, a folder with one log on the real disk.
    ///
    /// # Errors
    /// As [`RaftLogs::open`].
    pub fn open(config: Config) -> Result<(RaftLog<T>, Opened<T>), Error<T>> {
        RaftLog::open_with(config, World::real())
    }

    /// Opens on any disk.
    ///
    /// # Errors
    /// As [`RaftLogs::open`].
    pub fn open_with(config: Config, world: World) -> Result<(RaftLog<T>, Opened<T>), Error<T>> {
        let (logs, opened) = RaftLogs::open_with(config, world)?;
        Ok((logs.group(ONLY)?, opened))
    }
}

impl<T: Types, W: Wal> RaftLog<T, W> {
    /// The group's number.
    pub fn number(&self) -> GroupId {
        self.group.number
    }

    /// All logs of the folder.
    pub fn logs(&self) -> RaftLogs<T, W> {
        RaftLogs { logs: self.logs.clone() }
    }

    /// The write side.
    pub fn writer(&self) -> RaftLogWriter<T, W> {
        RaftLogWriter { log: self.clone() }
    }

    /// The read side.
    pub fn reader(&self) -> RaftLogReader<T, W> {
        RaftLogReader { log: self.clone() }
    }

    /// The state, entries aside, as of the last step that was taken. It may say of steps that are not durable yet.
    pub fn state(&self) -> RaftLogState<T> {
        self.group.refresh();
        read(&self.group.view).state.clone()
    }

    /// Whether the vote may have been lost: see [`Error::VoteInDoubt`].
    pub fn vote_in_doubt(&self) -> bool {
        self.group.vote_in_doubt()
    }

    /// Feeds the log as it stands to a state machine: purge, vote and user data, then each live entry, then the commit.
    ///
    /// # Errors
    /// Outside: the log cannot be read. Inside: why the machine refused a record; nothing more was fed.
    pub fn replay<M: StateMachine<T>>(&self, machine: &mut M) -> Result<Result<(), M::Refusal>, Error<T>> {
        let state = self.state();
        let purge = state.purged.map(Record::PurgeUpto);
        let vote = state.vote.map(Record::SaveVote);
        let data = state.user_data.map(Record::SaveUserData);
        for record in [purge, vote, data].into_iter().flatten() {
            if let Err(refusal) = machine.apply(&record) {
                return Ok(Err(refusal));
            }
        }
        for entry in self.reader().stream(..)? {
            let entry = entry?;
            if let Err(refusal) = machine.apply(&Record::Append(entry.id, entry.payload)) {
                return Ok(Err(refusal));
            }
        }
        match state.committed.map(|committed| machine.apply(&Record::Commit(committed))) {
            Some(Err(refusal)) => Ok(Err(refusal)),
            _ => Ok(Ok(())),
        }
    }

    /// The snapshots of the state machine that this log drives.
    ///
    /// # Errors
    /// [`crate::SnapshotError::NoFolder`] for storage of the user's own.
    pub fn snapshots(&self) -> Result<Snapshots<T, W>, Error<T>> {
        let store = self.logs.snapshots.clone().ok_or(SnapshotError::NoFolder)?;
        Ok(Snapshots::of(self.clone(), store))
    }

    /// All figures of the folder.
    pub fn stats(&self) -> RaftStats {
        RaftStats::of(&self.logs.core, &self.logs.all())
    }

    /// Closes the folder, with all logs in it.
    ///
    /// # Errors
    /// The journal's.
    pub fn close(&self) -> Result<(), Error<T>> {
        self.logs().close()
    }
}

/// The write side of one log. Steps of one log form one ordered stream, from whichever threads they come: after a crash
/// a prefix of them is there, and each one's receipt completes no earlier than those before it.
pub struct RaftLogWriter<T: Types, W: Wal = JournalWal> {
    log: RaftLog<T, W>,
}

impl<T: Types, W: Wal> Clone for RaftLogWriter<T, W> {
    fn clone(&self) -> Self {
        RaftLogWriter { log: self.log.clone() }
    }
}

impl<T: Types, W: Wal> fmt::Debug for RaftLogWriter<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftLogWriter").field("log", &self.log).finish()
    }
}

impl<T: Types, W: Wal> RaftLogWriter<T, W> {
    /// Saves the vote. Durable when it returns, with every strategy, together with all steps before it.
    ///
    /// # Errors
    /// [`crate::Refusal::VoteReversal`], [`Error::VoteInDoubt`], [`Error::Wal`].
    pub fn save_vote(&self, vote: &T::Vote) -> Result<(), Error<T>> {
        self.log.group.save_vote(vote)?.wait_durable()
    }

    /// As [`RaftLogWriter::save_vote`], for a task that awaits the receipt. **Nothing is promised to anybody before it has
    /// completed.**
    ///
    /// # Errors
    /// As [`RaftLogWriter::save_vote`].
    pub fn submit_vote(&self, vote: &T::Vote) -> Result<Receipt<T, W>, Error<T>> {
        self.log.group.save_vote(vote)
    }

    /// Says that it is settled what this node voted before its data was damaged, so that it may vote again.
    pub fn accept_lost_vote(&self) {
        self.log.group.accept_lost_vote();
    }

    /// Appends entries that follow on the last one and on each other. They can be read when this returns; see the receipt
    /// for when they are durable. After a crash all of them are there, or none. An empty log takes any first index.
    ///
    /// # Errors
    /// [`crate::Refusal::NonConsecutive`], [`crate::Refusal::LogIdReversal`], [`Error::MemoryFull`], [`Error::Wal`] (too
    /// large: split it): nothing was appended.
    pub fn append(&self, entries: Vec<Entry<T>>) -> Result<Receipt<T, W>, Error<T>> {
        self.log.group.append(entries)
    }

    /// Puts entries back that are lost, or whose stored records are damaged: copies that another node has. Those that are
    /// there are left out, so that a whole range can be given. After a crash all of them are there, or none.
    ///
    /// What is lost without a trace is taken at the caller's word, as long as its leader may have stood there. Raft's log
    /// matching tells which copies are the same (Ongaro 2014, 3.5): if another node has the entry *behind* the lost ones with
    /// the same id, all entries before it are the same on both. Protocol-aware recovery (Alagappan et al., FAST '18) is built
    /// on this; `examples/raft-kv` does it.
    ///
    /// # Errors
    /// [`crate::Refusal::Mismatch`], [`crate::Refusal::OutOfOrder`]: the log had other entries there; [`Error::Purged`],
    /// [`Error::Wal`] (too large: split it): nothing was put back. Those of [`RaftLogWriter::append`]: nothing was appended.
    pub fn refill(&self, entries: Vec<Entry<T>>) -> Result<Receipt<T, W>, Error<T>> {
        self.log.group.refill(entries)
    }

    /// Says that everything up to an entry is committed: a note for the next start. With `sync_on_commit` it, and all
    /// before it, is durable when this returns.
    ///
    /// # Errors
    /// [`crate::Refusal::CommitBeyondLast`], [`crate::Refusal::LogIdReversal`], [`crate::Refusal::Mismatch`],
    /// [`Error::Wal`].
    pub fn commit(&self, id: &T::LogId) -> Result<Receipt<T, W>, Error<T>> {
        self.log.group.commit(id)
    }

    /// Takes everything behind an entry away; `None`: every entry.
    ///
    /// # Errors
    /// [`crate::Refusal::TruncateCommitted`] and its kin, [`crate::Refusal::Mismatch`], [`Error::Wal`].
    pub fn truncate_after(&self, kept: Option<&T::LogId>) -> Result<Receipt<T, W>, Error<T>> {
        self.log.group.truncate_after(kept)
    }

    /// Takes everything up to an entry away, which may be beyond the last one: then the log starts behind it. Waiting for
    /// the receipt also gives segments back that nobody needs any more.
    ///
    /// # Errors
    /// [`crate::Refusal::LogIdReversal`], [`crate::Refusal::Mismatch`], [`Error::Wal`].
    pub fn purge(&self, upto: &T::LogId) -> Result<Receipt<T, W>, Error<T>> {
        let receipt = self.log.group.purge_upto(upto)?;
        Ok(Receipt { after: self.log.logs.after_purge(), ..receipt })
    }

    /// Saves the user's own small state.
    ///
    /// # Errors
    /// [`Error::Wal`].
    pub fn save_user_data(&self, data: &T::UserData) -> Result<Receipt<T, W>, Error<T>> {
        self.log.group.save_user_data(data)
    }

    /// Removes the group with all that it has. Its number can be used again, as if it never had been. If it has snapshots, it
    /// is durably gone when this returns, and so are they.
    ///
    /// # Errors
    /// [`Error::Wal`], [`Error::Snapshot`].
    pub fn remove(&self) -> Result<Receipt<T, W>, Error<T>> {
        let (group, store) = (&self.log.group, self.log.logs.snapshots.as_deref());
        if let Some(store) = store
            && store.begin_removal(group.number)?
        {
            // If this fails the mark stays: whether the group is gone, opening sees, and clears away the one or the other.
            group.remove()?.wait_durable()?;
            store.clear(group.number)?;
        }
        let receipt = group.remove()?;
        Ok(Receipt { after: self.log.logs.after_purge(), ..receipt })
    }

    /// Makes all steps so far durable, those of other groups too.
    ///
    /// # Errors
    /// [`Error::Wal`].
    pub fn sync(&self) -> Result<(), Error<T>> {
        self.log.logs().sync()
    }

    /// The log that it writes to.
    pub fn log(&self) -> &RaftLog<T, W> {
        &self.log
    }
}

/// The read side of one log.
pub struct RaftLogReader<T: Types, W: Wal = JournalWal> {
    log: RaftLog<T, W>,
}

impl<T: Types, W: Wal> Clone for RaftLogReader<T, W> {
    fn clone(&self) -> Self {
        RaftLogReader { log: self.log.clone() }
    }
}

impl<T: Types, W: Wal> fmt::Debug for RaftLogReader<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftLogReader").field("log", &self.log).finish()
    }
}

impl<T: Types, W: Wal> RaftLogReader<T, W> {
    /// The first index that is there, or will be; `None`: the log is empty and takes any.
    pub fn first_index(&self) -> Option<u64> {
        self.log.group.refresh();
        read(&self.log.group.view).first_index()
    }

    /// The next index that will be given; `None`: the log is empty and takes any.
    pub fn next_index(&self) -> Option<u64> {
        self.log.group.refresh();
        read(&self.log.group.view).next_index()
    }

    /// One entry.
    ///
    /// # Errors
    /// [`Error::Purged`], [`Error::NotYet`], [`Error::Lost`], [`Error::Wal`].
    pub fn entry(&self, index: u64) -> Result<Entry<T>, Error<T>> {
        self.log.group.entry(index)
    }

    /// Entries in a range of indexes, all of which must be there: in order, at most so many payload bytes in sum, but at
    /// least one, if the range is not empty. A side that is left open means the log's.
    ///
    /// # Errors
    /// [`Error::InvalidRange`], [`Error::Purged`], [`Error::NotYet`], [`Error::Lost`], [`Error::Wal`].
    pub fn range(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> Result<Vec<Entry<T>>, Error<T>> {
        let (start, end) = self.bounds(range);
        self.log.group.entries(start, end, bytes_max)
    }

    /// The entries in a range of indexes, all of which must be there, read a buffer at a time.
    ///
    /// # Errors
    /// As [`RaftLogReader::range`].
    pub fn stream(&self, range: impl RangeBounds<u64>) -> Result<Stream<T, W>, Error<T>> {
        let (start, end) = self.bounds(range);
        if start > end {
            return Err(Error::InvalidRange { start, end });
        }
        let bytes_max = self.log.logs.core.config.read_buffer_size;
        Ok(Stream { group: self.log.group.clone(), next: start, end, read: Vec::new().into_iter(), bytes_max })
    }

    /// Shows the entries in a range of indexes as they are stored, in order, until `visit` says `false`: for replaying a log
    /// into a state machine, at twice the speed of [`RaftLogReader::stream`]. Nothing is copied, and the cache is neither
    /// asked nor filled. While it runs nothing is locked; it shows some 65,000 entries at a time as the log had them when it
    /// came to the first of them.
    ///
    /// # Errors
    /// As [`RaftLogReader::range`].
    pub fn visit(
        &self,
        range: impl RangeBounds<u64>,
        mut visit: impl FnMut(EntryRef<'_, T>) -> bool,
    ) -> Result<(), Error<T>> {
        let (start, end) = self.bounds(range);
        self.log.group.visit(start, end, &mut visit)
    }

    /// The id of an entry, or of the last purged one, from memory.
    ///
    /// # Errors
    /// [`Error::Purged`], [`Error::NotYet`], [`Error::Lost`].
    pub fn log_id(&self, index: u64) -> Result<T::LogId, Error<T>> {
        self.log.group.refresh();
        let view = read(&self.log.group.view);
        if let Some(purged) = view.state.purged.as_ref().filter(|purged| T::index(purged) == index) {
            return Ok(purged.clone());
        }
        let group = self.log.group.number;
        match view.index.get(index) {
            Some((sequence, leader)) => {
                decode_id::<T>(index, leader.clone()).map_err(|what| Error::Foreign { group, sequence, what })
            }
            None => match (view.first_index(), view.next_index()) {
                (Some(first), _) if index < first => Err(Error::Purged { index, first }),
                (_, Some(next)) if index < next => Err(Error::Lost { group, first: index, last: index }),
                (_, next) => Err(Error::NotYet { index, next }),
            },
        }
    }

    /// The log that it reads.
    pub fn log(&self) -> &RaftLog<T, W> {
        &self.log
    }

    fn bounds(&self, range: impl RangeBounds<u64>) -> (u64, u64) {
        self.log.group.refresh();
        let view = read(&self.log.group.view);
        let first = view.first_index().unwrap_or(0);
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => first,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => view.next_index().unwrap_or(first).max(start),
        };
        (start, end)
    }
}

/// Entries in order, read a buffer at a time. After an error it ends.
pub struct Stream<T: Types, W: Wal = JournalWal> {
    group: Arc<Group<T, W>>,
    next: u64,
    end: u64,
    read: std::vec::IntoIter<Entry<T>>,
    bytes_max: usize,
}

impl<T: Types, W: Wal> Iterator for Stream<T, W> {
    type Item = Result<Entry<T>, Error<T>>;

    fn next(&mut self) -> Option<Result<Entry<T>, Error<T>>> {
        if let Some(entry) = self.read.next() {
            return Some(Ok(entry));
        }
        if self.next >= self.end {
            return None;
        }
        match self.group.entries(self.next, self.end, self.bytes_max) {
            Ok(entries) => {
                self.next += entries.len() as u64;
                self.read = entries.into_iter();
                self.read.next().map(Ok)
            }
            Err(error) => {
                self.next = self.end;
                Some(Err(error))
            }
        }
    }
}

impl<T: Types, W: Wal> fmt::Debug for Stream<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("next", &self.next).field("end", &self.end).finish_non_exhaustive()
    }
}
