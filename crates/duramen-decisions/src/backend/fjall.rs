//! A log in fjall, a log-structured merge tree. Owns what its batches mean for a log. Feature `fjall`, which needs Rust 1.90.
//!
//! A change is a batch in fjall's journal, handed to the system; making it durable syncs that journal, which takes nothing meanwhile.
//! fjall compresses nothing here: values come compressed as the log's options say. Its files lie on the real disk, whatever the
//! log's world is: it knows no other.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use duramen_journal::World;
use duramen_journal::disk::Lock;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use lsm_tree::{AbstractTree as _, SequenceNumberCounter};

use crate::backend::folder::{Folder, guarded};
use crate::backend::kv::{Kv, KvBackend, KvOp};
use crate::codec::ConsensusLayer;
use crate::config::PersistentLogConfig;
use crate::digest::Digest;
use crate::error::Error;
use crate::log::Log;

const NAME: &str = "fjall";
/// The store's folder in the log's folder.
const FOLDER: &str = "fjall";
const KEYSPACE: &str = "decisions";
/// Levels of a tree.
const LEVELS: usize = 7;
/// Bytes of blocks in memory.
const CACHE_BYTES: u64 = 64 << 20;
/// Bytes that stay free beside what is written: a memory table, which has to become a file, and its journal.
const ROOM_BYTES: u64 = 160 << 20;

/// A log in fjall.
pub type FjallLog<D, S, CL> = Log<D, S, CL, KvBackend<FjallKv>>;

/// Keys and values in fjall.
pub struct FjallKv {
    /// `None` only while it is dropped.
    open: Option<(Database, Keyspace)>,
    folder: Folder,
    _lock: Box<dyn Lock>,
}

impl fmt::Debug for FjallKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FjallKv").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn failed(error: fjall::Error) -> Error {
    Error::Backend { backend: NAME, reason: error.to_string() }
}

/// Opens each tree alone. A damaged one makes fjall panic while it holds a lock, and panic again when it is dropped for that: the
/// process is gone. By itself a tree panics once, and that is an error.
fn rehearse(folder: &Folder) -> Result<(), Error> {
    let trees = Path::new(FOLDER).join("keyspaces");
    for name in folder.names(&trees) {
        let tree = trees.join(name);
        if !folder.names(&tree).iter().any(|name| name == "current") {
            continue;
        }
        let path = folder.path(&tree);
        guarded(NAME, || {
            let (next, visible) = (SequenceNumberCounter::default(), SequenceNumberCounter::default());
            let opened = lsm_tree::Config::new(path, next, visible).open();
            let opened = opened.map_err(|error| Error::Backend { backend: NAME, reason: error.to_string() })?;
            // What it does not look at before it compacts.
            if opened.level_table_count(LEVELS - 1).is_none() || opened.level_table_count(LEVELS).is_some() {
                return Err(Error::Backend { backend: NAME, reason: "a tree has a wrong count of levels".into() });
            }
            Ok(())
        })?;
    }
    Ok(())
}

impl FjallKv {
    /// Opens, or creates, the store in a folder.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::NoSpace`]; [`Error::Backend`]: it is damaged, or open elsewhere.
    pub fn open(config: &PersistentLogConfig) -> Result<FjallKv, Error> {
        let folder = Folder::take(NAME, World::real().disk, config)?;
        let lock = folder.lock()?;
        rehearse(&folder)?;
        let path = folder.path(FOLDER);
        let full = |error: fjall::Error| match error {
            fjall::Error::Io(error) => Error::io("open", &path, error),
            other => failed(other),
        };
        let builder = Database::builder(&path).cache_size(CACHE_BYTES).manual_journal_persist(true);
        let database = guarded(NAME, || builder.open().map_err(full))?;
        // From here on it is dropped with care.
        let mut own = FjallKv { open: None, folder, _lock: lock };
        let keyspace = guarded(NAME, || database.keyspace(KEYSPACE, KeyspaceCreateOptions::default).map_err(full));
        match keyspace {
            Ok(keyspace) => own.open = Some((database, keyspace)),
            Err(error) => {
                let _ = guarded(NAME, || {
                    drop(database);
                    Ok(())
                });
                return Err(error);
            }
        }
        // What its last process wrote and did not sync is read now, and counts as durable.
        own.call(|database, _| database.persist(PersistMode::SyncAll))?;
        own.folder.sync()?;
        Ok(own)
    }

    fn call<T>(&self, call: impl FnOnce(&Database, &Keyspace) -> fjall::Result<T>) -> Result<T, Error> {
        guarded(NAME, || {
            let (database, keyspace) = self.open.as_ref().ok_or(Error::Closed)?;
            call(database, keyspace).map_err(failed)
        })
    }
}

impl Kv for FjallKv {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, ops: Vec<KvOp>) -> Result<(), Error> {
        let put = |op: &KvOp| if let KvOp::Put(key, value) = op { key.len() + value.len() } else { 0 };
        let bytes: usize = ops.iter().map(put).sum();
        if !self.folder.has_room(ROOM_BYTES + 2 * bytes as u64) {
            return Err(Error::NoSpace);
        }
        self.call(|database, keyspace| {
            let mut batch = database.batch().durability(Some(PersistMode::Buffer));
            for op in ops {
                match op {
                    KvOp::Put(key, value) => batch.insert(keyspace, key, value),
                    KvOp::Remove(key) => batch.remove(keyspace, key),
                }
            }
            batch.commit()
        })
    }

    fn persist(&self) -> Result<(), Error> {
        self.call(|database, _| database.persist(PersistMode::SyncData))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.call(|_, keyspace| Ok(keyspace.get(key)?.map(|value| Bytes::copy_from_slice(&value))))
    }

    fn keys(&self, from: &[u8], to: &[u8], max: usize) -> Result<Vec<Vec<u8>>, Error> {
        if from > to {
            return Ok(Vec::new());
        }
        self.call(|_, keyspace| keyspace.range(from..=to).take(max).map(|own| Ok(own.key()?.to_vec())).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if from > to {
            return Ok(None);
        }
        self.call(|_, keyspace| keyspace.range(from..=to).next_back().map(|own| Ok(own.key()?.to_vec())).transpose())
    }

    fn stored_bytes(&self) -> u64 {
        self.call(|database, _| database.disk_space()).unwrap_or(0)
    }
}

impl Drop for FjallKv {
    fn drop(&mut self) {
        let open = self.open.take();
        // On a damaged file it may panic once more; whoever used it was told.
        let _ = guarded(NAME, || {
            drop(open);
            Ok(())
        });
    }
}

impl KvBackend<FjallKv> {
    /// Opens, or creates, a backend in fjall.
    ///
    /// # Errors
    /// As [`FjallKv::open`].
    pub fn fjall(config: &PersistentLogConfig) -> Result<KvBackend<FjallKv>, Error> {
        let kv = FjallKv::open(config)?;
        let witness = kv.folder.witness()?;
        KvBackend::witnessed(kv, witness, config)
    }
}

impl<D: Digest, S, CL: ConsensusLayer> FjallLog<D, S, CL> {
    /// Opens, or creates, the log in a folder. `max_segment_size` and the journal's settings mean nothing here.
    ///
    /// # Errors
    /// As [`FjallKv::open`] and [`Log::on`].
    pub fn new(config: PersistentLogConfig) -> Result<FjallLog<D, S, CL>, Error> {
        config.check()?;
        Log::on(KvBackend::fjall(&config)?, config)
    }
}
