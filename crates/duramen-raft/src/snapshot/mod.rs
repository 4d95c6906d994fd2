//! Snapshots of the state machines whose logs lie in the folder: saved and loaded in chunks, each with a digest, published
//! whole or not at all, the newest few kept, the log purged below. Owns what a user holds; files are `store`'s, the bytes
//! [`crate::format::snapshot`]'s.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("duramen-snapshot-doc-{}", std::process::id()));
//! use duramen_raft::{Config, Entry, Plain, RaftLog, TermIndex};
//!
//! let (log, _) = RaftLog::<Plain>::open(Config::new(&folder))?;
//! log.writer().append(vec![Entry::new(TermIndex::new(1, 1), "x = 1".into())])?.wait()?;
//! log.writer().commit(&TermIndex::new(1, 1))?.wait()?;
//!
//! let snapshots = log.snapshots()?;
//! let mut writer = snapshots.begin(&TermIndex::new(1, 1), b"members: 1, 2, 3")?;
//! writer.write(b"x = 1")?; // the state machine's bytes, as many as there are
//! let meta = writer.finish()?; // durable and published from here on, and the log purged as the settings say
//!
//! let snapshot = snapshots.load()?.expect("there is one");
//! assert_eq!((snapshot.meta(), &snapshot.chunk(0)?[..]), (&meta, &b"x = 1"[..]));
//! log.close()?;
//! # let _ = std::process::Command::new("rm").arg("-r").arg(&folder).status();
//! # Ok(())
//! # }
//! ```
//!
//! Between two nodes: the leader sends [`Snapshot::offer`], the follower answers which chunks it lacks
//! ([`SnapshotReceiver::missing`], after a crash only the rest), puts them in any order, and [`SnapshotReceiver::finish`]
//! publishes the snapshot and lets the log begin behind it.
//!
//! A damaged chunk is never served. Until it is read it goes unnoticed; [`Snapshot::verify`] and `duramen raft verify` look.

mod error;
mod store;
mod write;

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use duramen_journal::disk::{Access, DiskFile, read_full_at};

pub use error::SnapshotError;
pub(crate) use store::{FOLDER, Raw, Store, group_of_name, read_ends};

use crate::GroupId;
use crate::config::PurgeOnSnapshot;
use crate::error::Error;
use crate::format::Malformed;
use crate::format::snapshot::digest;
use crate::log::RaftLog;
use crate::record::{decode_id, encode_id};
use crate::types::Types;
use crate::wal::{JournalWal, Wal};

/// What is known of a snapshot without reading its chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta<L> {
    /// Chosen at random when it was begun; another node's copy keeps it.
    pub id: [u8; 16],
    /// The last entry that it covers.
    pub last: L,
    /// The user's own: membership, for instance. At most 1 MiB.
    pub meta: Bytes,
    /// Bytes of the state machine.
    pub bytes: u64,
    /// How many chunks.
    pub chunks: u32,
    /// Bytes of each but the last.
    pub chunk_bytes: u32,
}

fn meta_of<T: Types>(raw: &Raw) -> Result<SnapshotMeta<T::LogId>, Error<T>> {
    let last = decode_id::<T>(raw.index, raw.leader.clone());
    let last = last.map_err(|what| Error::Foreign { group: raw.group, sequence: 0, what })?;
    Ok(SnapshotMeta {
        id: raw.id,
        last,
        meta: raw.meta.clone(),
        bytes: raw.end.bytes,
        chunks: raw.chunks(),
        chunk_bytes: raw.chunk_bytes,
    })
}

/// The snapshots of one group. Clones share them.
pub struct Snapshots<T: Types, W: Wal = JournalWal> {
    log: RaftLog<T, W>,
    store: Arc<Store>,
}

impl<T: Types, W: Wal> Clone for Snapshots<T, W> {
    fn clone(&self) -> Self {
        Snapshots { log: self.log.clone(), store: self.store.clone() }
    }
}

impl<T: Types, W: Wal> fmt::Debug for Snapshots<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("group", &self.group()).finish_non_exhaustive()
    }
}

impl<T: Types, W: Wal> Snapshots<T, W> {
    pub(crate) fn of(log: RaftLog<T, W>, store: Arc<Store>) -> Snapshots<T, W> {
        Snapshots { log, store }
    }

    fn group(&self) -> GroupId {
        self.log.number()
    }

    /// The good ones, the newest first. Their chunks are not looked at.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<SnapshotMeta<T::LogId>>, Error<T>> {
        self.store.good(self.group())?.iter().rev().map(|raw| meta_of(raw)).collect()
    }

    /// What is wrong with those that are not good: they stay where they are, and count as not there.
    pub fn damaged(&self) -> Vec<SnapshotError> {
        self.store.bad(self.group())
    }

    /// Begins a snapshot that covers all entries up to `last`, which the caller's state machine has applied.
    ///
    /// # Errors
    /// [`SnapshotError::Outdated`], [`SnapshotError::TooLarge`], [`SnapshotError::Io`].
    pub fn begin(&self, last: &T::LogId, meta: &[u8]) -> Result<SnapshotWriter<T, W>, Error<T>> {
        let id = encode_id::<T>(last).map_err(Error::Unstorable)?;
        let writer = write::Writer::begin(&self.store, self.group(), id.raw(), meta)?;
        Ok(SnapshotWriter { snapshots: self.clone(), writer })
    }

    /// Goes on receiving the snapshot that another node offers, or begins to.
    ///
    /// # Errors
    /// [`SnapshotError::Outdated`], [`SnapshotError::BadOffer`], [`SnapshotError::Io`]: a full disk says so now.
    pub fn receive(&self, offer: &[u8]) -> Result<SnapshotReceiver<T, W>, Error<T>> {
        let receiver = write::Receiver::begin(&self.store, self.group(), offer)?;
        let meta = meta_of::<T>(receiver.raw())?;
        Ok(SnapshotReceiver { snapshots: self.clone(), receiver, meta })
    }

    /// The newest one that is good, each byte of it: reads it once, and passes over what is damaged. `None`: there is none.
    ///
    /// # Errors
    /// The folder cannot be read; what is wrong with the newest, if there are snapshots and none of them is good.
    pub fn load(&self) -> Result<Option<Snapshot<T>>, Error<T>> {
        let mut why = None;
        for raw in self.store.good(self.group())?.into_iter().rev() {
            match self.open_raw(raw).and_then(|snapshot| snapshot.verify().map(|()| snapshot)) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) => drop(why.get_or_insert(error)),
            }
        }
        let why = why.or_else(|| self.damaged().pop().map(Error::from));
        why.map_or(Ok(None), Err)
    }

    /// The one whose last entry has this index. Its chunks are checked as they are read.
    ///
    /// # Errors
    /// [`SnapshotError::NotThere`], [`SnapshotError::Io`].
    pub fn open(&self, index: u64) -> Result<Snapshot<T>, Error<T>> {
        let found = self.store.good(self.group())?.into_iter().find(|raw| raw.index == index);
        self.open_raw(found.ok_or(SnapshotError::NotThere { index })?)
    }

    fn open_raw(&self, raw: Arc<Raw>) -> Result<Snapshot<T>, Error<T>> {
        let file = self.store.disk().open(&raw.path, Access::Read);
        let file = file.map_err(|error| SnapshotError::io("open", &raw.path, error))?;
        Ok(Snapshot { meta: meta_of(&raw)?, raw, file })
    }

    /// Purges the log as [`crate::Config::purge_on_snapshot`] says. Done by itself whenever a snapshot was published.
    ///
    /// # Errors
    /// The journal's.
    pub fn purge(&self) -> Result<(), Error<T>> {
        let good = self.store.good(self.group())?;
        let upto = match self.log.logs.core.config.purge_on_snapshot {
            PurgeOnSnapshot::Never => None,
            PurgeOnSnapshot::ToOldest => good.first(),
            PurgeOnSnapshot::ToNewest => good.last(),
        };
        let Some(raw) = upto else { return Ok(()) };
        if self.log.state().purged.is_some_and(|purged| T::index(&purged) >= raw.index) {
            return Ok(());
        }
        self.log.writer().purge(&meta_of::<T>(raw)?.last)?.wait_durable()
    }

    /// Lets the log begin behind a snapshot that says other things than it does, or more.
    fn install(&self, last: &T::LogId) -> Result<(), Error<T>> {
        let writer = self.log.writer();
        let state = self.log.state();
        let index = T::index(last);
        if state.purged.as_ref().is_some_and(|purged| T::index(purged) >= index) {
            return Ok(());
        }
        match self.log.reader().log_id(index) {
            Ok(known) if known == *last => return self.purge(),
            // Another leader's entries, which were never committed.
            Ok(_) => writer.truncate_after(state.committed.or(state.purged).as_ref())?.wait_durable()?,
            Err(_) => {}
        }
        writer.purge(last)?.wait_durable()
    }

    /// Goes on where a crash came between publishing a snapshot and the log's beginning behind it.
    pub(crate) fn reconcile(&self) -> Result<(), Error<T>> {
        let Some(raw) = self.store.good(self.group())?.pop() else { return Ok(()) };
        let last = meta_of::<T>(&raw)?.last;
        let behind = self.log.state().last.is_none_or(|end| T::index(&end) < raw.index);
        let differs = self.log.reader().log_id(raw.index).is_ok_and(|known| known != last);
        if behind || differs { self.install(&last) } else { Ok(()) }
    }
}

/// A snapshot that is being written. Dropped before it is finished, it never was.
#[must_use = "nothing is published before `finish`"]
pub struct SnapshotWriter<T: Types, W: Wal = JournalWal> {
    snapshots: Snapshots<T, W>,
    writer: write::Writer,
}

impl<T: Types, W: Wal> SnapshotWriter<T, W> {
    /// Puts the state machine's next bytes behind what is there. Holds one chunk in memory.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]: nothing is published, and nothing more can be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error<T>> {
        Ok(self.writer.write(bytes)?)
    }

    /// Makes it durable, publishes it, lets the oldest go beyond [`crate::Config::snapshots_kept`], and purges the log as
    /// [`crate::Config::purge_on_snapshot`] says: all of it is durable when it returns.
    ///
    /// # Errors
    /// [`SnapshotError::Io`], [`SnapshotError::Outdated`]: it was not published, or, if syncing the folder failed, nobody
    /// knows. The journal's: it is published, and the log not purged.
    pub fn finish(self) -> Result<SnapshotMeta<T::LogId>, Error<T>> {
        let raw = self.writer.finish()?;
        self.snapshots.purge()?;
        meta_of(&raw)
    }
}

impl<T: Types, W: Wal> SnapshotWriter<T, W> {
    /// As [`SnapshotWriter::finish`], for a snapshot that came from another node: the log begins behind it, if it does not
    /// have its last entry; see [`SnapshotReceiver::finish`].
    ///
    /// # Errors
    /// As there.
    pub fn install(self) -> Result<SnapshotMeta<T::LogId>, Error<T>> {
        let raw = self.writer.finish()?;
        let meta = meta_of::<T>(&raw)?;
        self.snapshots.install(&meta.last)?;
        Ok(meta)
    }
}

impl<T: Types, W: Wal> fmt::Debug for SnapshotWriter<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotWriter").field("group", &self.snapshots.group()).finish_non_exhaustive()
    }
}

impl<T: Types, W: Wal> io::Write for SnapshotWriter<T, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    /// Does nothing: all is made durable by [`SnapshotWriter::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A snapshot that is being received. Dropped before it is finished, what has come stays for the next attempt.
#[must_use = "nothing is published before `finish`"]
pub struct SnapshotReceiver<T: Types, W: Wal = JournalWal> {
    snapshots: Snapshots<T, W>,
    receiver: write::Receiver,
    meta: SnapshotMeta<T::LogId>,
}

impl<T: Types, W: Wal> SnapshotReceiver<T, W> {
    /// What was offered.
    pub fn meta(&self) -> &SnapshotMeta<T::LogId> {
        &self.meta
    }

    /// The numbers of the chunks that have not come yet, in order.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        self.receiver.missing()
    }

    /// Takes one chunk; one that has come already is taken again.
    ///
    /// # Errors
    /// [`SnapshotError::WrongChunk`], [`SnapshotError::Io`].
    pub fn put(&mut self, number: u32, chunk: &[u8]) -> Result<(), Error<T>> {
        Ok(self.receiver.put(number, chunk)?)
    }

    /// Makes it durable, publishes it, and lets the log begin behind it, if the log does not have its last entry: what the
    /// log had of another leader is truncated. A crash at any moment leaves it as it was, or installs it at the next
    /// opening.
    ///
    /// # Errors
    /// [`SnapshotError::Incomplete`], [`SnapshotError::Outdated`], [`SnapshotError::Io`]; the journal's: it is published, and
    /// opening goes on with the log.
    pub fn finish(self) -> Result<SnapshotMeta<T::LogId>, Error<T>> {
        self.receiver.finish()?;
        self.snapshots.install(&self.meta.last)?;
        Ok(self.meta)
    }
}

impl<T: Types, W: Wal> fmt::Debug for SnapshotReceiver<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReceiver").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// A published snapshot. It can be read to its end also when it is let go meanwhile.
pub struct Snapshot<T: Types> {
    meta: SnapshotMeta<T::LogId>,
    raw: Arc<Raw>,
    file: Box<dyn DiskFile>,
}

impl<T: Types> Snapshot<T> {
    /// What it is.
    pub fn meta(&self) -> &SnapshotMeta<T::LogId> {
        &self.meta
    }

    /// One chunk, checked against its digest.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`], [`SnapshotError::Io`]; [`SnapshotError::WrongChunk`] if there is none of this number.
    pub fn chunk(&self, number: u32) -> Result<Bytes, Error<T>> {
        let chunk = read_chunk(&self.raw, &*self.file, number)?;
        Ok(Bytes::from(chunk))
    }

    /// Its chunks, in order.
    pub fn chunks(&self) -> impl Iterator<Item = Result<Bytes, Error<T>>> + '_ {
        (0..self.raw.chunks()).map(|number| self.chunk(number))
    }

    /// Checks every chunk.
    ///
    /// # Errors
    /// The first that is not good.
    pub fn verify(&self) -> Result<(), Error<T>> {
        (0..self.raw.chunks()).try_for_each(|number| self.chunk(number).map(drop))
    }

    /// All that another node has to know before it asks for chunks: 8 bytes a chunk, and the head.
    pub fn offer(&self) -> Bytes {
        write::offer(&self.raw)
    }
}

impl<T: Types> fmt::Debug for Snapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// Reads a chunk and checks it.
pub(crate) fn read_chunk(raw: &Raw, file: &dyn DiskFile, number: u32) -> Result<Vec<u8>, SnapshotError> {
    let Some((at, bytes)) = raw.place(number) else {
        return Err(SnapshotError::WrongChunk { chunk: number, reason: "there is no chunk of this number" });
    };
    let mut chunk = vec![0; bytes];
    let read = read_full_at(file, &mut chunk, at).map_err(|error| SnapshotError::io("read", &raw.path, error))?;
    if read == bytes && digest(&raw.id, number, &chunk) == raw.end.digests[number as usize] {
        return Ok(chunk);
    }
    let what = Malformed::new("its digest is another");
    Err(SnapshotError::Damaged { path: raw.path.clone(), chunk: Some(number), offset: at, what })
}
