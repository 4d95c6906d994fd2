//! A log in redb, a B-tree in one file. Owns what its transactions mean for a log. Feature `redb`.
//!
//! A change is a transaction without a sync; making it durable is one with two. redb's faster commit has one: it trusts checksums,
//! which whoever chooses the values can make come out right, says redb's design, and a replica stores what its peers send; and it
//! takes a damaged root for an unfinished commit. redb has one writer, so nothing is stored while a sync runs. Its file is one of
//! the log's disk.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bytes::Bytes;
use duramen_journal::disk::{Access, Disk, DiskFile, Lock, read_full_at, write_all_at};
use redb::{Builder, Database, Durability, ReadableDatabase as _, StorageBackend, TableDefinition};

use crate::backend::folder::{Folder, guarded};
use crate::backend::kv::{Kv, KvBackend, KvOp};
use crate::codec::ConsensusLayer;
use crate::config::PersistentLogConfig;
use crate::digest::Digest;
use crate::error::Error;
use crate::log::Log;

const NAME: &str = "redb";
/// The file in the folder.
const FILE: &str = "decisions.redb";
/// Whose holder has it open.
const LOCK: &str = "LOCK";
const TABLE: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("decisions");
/// Bytes of pages in memory.
const CACHE_BYTES: usize = 64 << 20;
/// Bytes that stay free beside what is written: copies of the pages above it, and the allocator's.
const ROOM_BYTES: u64 = 16 << 20;

/// A log in redb: needs Rust 1.89 with redb 4.1, more with later ones.
pub type RedbLog<D, S, CL> = Log<D, S, CL, KvBackend<RedbKv>>;

/// Keys and values in redb.
pub struct RedbKv {
    /// `None` only while it is dropped.
    database: Option<Database>,
    folder: Folder,
}

impl fmt::Debug for RedbKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbKv").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// redb's file, on the log's disk.
#[derive(Debug)]
struct Pages {
    file: Box<dyn DiskFile>,
    _lock: Box<dyn Lock>,
}

impl Pages {
    fn open(disk: &dyn Disk, path: &Path, lock: &Path) -> io::Result<Pages> {
        let lock = disk.lock(lock)?;
        let file = match disk.open(path, Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(path, Access::Create)?,
            opened => opened?,
        };
        Ok(Pages { file, _lock: lock })
    }
}

impl StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let whole = read_full_at(&*self.file, out, offset)? == out.len();
        if whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The file stays as long as it ever was: redb takes what lies behind its end as room when it is opened again.
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.file.bytes()? { self.file.allocate(bytes) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&*self.file, bytes, offset)
    }
}

fn failed(error: impl Into<redb::Error>) -> Error {
    Error::Backend { backend: NAME, reason: error.into().to_string() }
}

impl RedbKv {
    /// Opens, or creates, the store in a folder. Reads all of it: redb checks its pages only then.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::NoSpace`]; [`Error::Backend`]: it is damaged, or open elsewhere.
    pub fn open(config: &PersistentLogConfig) -> Result<RedbKv, Error> {
        let folder = Folder::take(NAME, config.world.disk.clone(), config)?;
        let path = folder.path(FILE);
        let full = |error: redb::Error| match error {
            redb::Error::Io(error) => Error::io("open", &path, error),
            other => failed(other),
        };
        let database = guarded(NAME, || {
            let checked = Arc::new(AtomicBool::new(false));
            let told = checked.clone();
            let mut builder = Builder::new();
            builder.set_cache_size(CACHE_BYTES).set_repair_callback(move |_| told.store(true, SeqCst));
            let pages = Pages::open(&*config.world.disk, &path, &folder.path(LOCK));
            let pages = pages.map_err(|error| Error::io("open", &path, error))?;
            let mut database = builder.create_with_backend(pages).map_err(|error| full(error.into()))?;
            if !checked.load(SeqCst) {
                // What is wrong with its lists of free pages it mends; what is wrong with a page is an error.
                database.check_integrity().map_err(|error| full(error.into()))?;
            }
            let mut begun = database.begin_write().map_err(failed)?;
            begun.set_two_phase_commit(true);
            begun.open_table(TABLE).map_err(|error| full(error.into()))?;
            begun.commit().map_err(|error| full(error.into()))?;
            Ok(database)
        })?;
        folder.sync()?;
        Ok(RedbKv { database: Some(database), folder })
    }

    fn database(&self) -> Result<&Database, Error> {
        self.database.as_ref().ok_or(Error::Closed)
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<T, redb::StorageError>,
    ) -> Result<T, Error> {
        guarded(NAME, || {
            let reading = self.database()?.begin_read().map_err(failed)?;
            let table = reading.open_table(TABLE).map_err(failed)?;
            read(&table).map_err(failed)
        })
    }
}

impl Kv for RedbKv {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, ops: Vec<KvOp>) -> Result<(), Error> {
        let put = |op: &KvOp| if let KvOp::Put(key, value) = op { key.len() + value.len() } else { 0 };
        let bytes: usize = ops.iter().map(put).sum();
        if !self.folder.has_room(ROOM_BYTES + 2 * bytes as u64) {
            return Err(Error::NoSpace);
        }
        guarded(NAME, || {
            let mut begun = self.database()?.begin_write().map_err(failed)?;
            begun.set_durability(Durability::None).map_err(|error| failed(redb::Error::from(error)))?;
            {
                let mut table = begun.open_table(TABLE).map_err(failed)?;
                for op in &ops {
                    match op {
                        KvOp::Put(key, value) => _ = table.insert(&key[..], &value[..]).map_err(failed)?,
                        KvOp::Remove(key) => _ = table.remove(&key[..]).map_err(failed)?,
                    }
                }
            }
            begun.commit().map_err(failed)
        })
    }

    fn persist(&self) -> Result<(), Error> {
        guarded(NAME, || {
            let mut begun = self.database()?.begin_write().map_err(failed)?;
            begun.set_two_phase_commit(true);
            begun.commit().map_err(failed)
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.read(|table| Ok(table.get(key)?.map(|value| Bytes::copy_from_slice(value.value()))))
    }

    fn keys(&self, from: &[u8], to: &[u8], max: usize) -> Result<Vec<Vec<u8>>, Error> {
        if from > to {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from), Bound::Included(to));
        self.read(|table| table.range::<&[u8]>(range)?.take(max).map(|own| Ok(own?.0.value().to_vec())).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if from > to {
            return Ok(None);
        }
        let range = (Bound::Included(from), Bound::Included(to));
        let last = |table: &redb::ReadOnlyTable<&'static [u8], &'static [u8]>| {
            table.range::<&[u8]>(range)?.next_back().map(|own| Ok(own?.0.value().to_vec())).transpose()
        };
        self.read(last)
    }

    fn stored_bytes(&self) -> u64 {
        self.folder.bytes(FILE)
    }
}

impl Drop for RedbKv {
    fn drop(&mut self) {
        let database = self.database.take();
        // On a damaged file it may panic once more; whoever used it was told.
        let _ = guarded(NAME, || {
            drop(database);
            Ok(())
        });
    }
}

impl KvBackend<RedbKv> {
    /// Opens, or creates, a backend in redb.
    ///
    /// # Errors
    /// As [`RedbKv::open`].
    pub fn redb(config: &PersistentLogConfig) -> Result<KvBackend<RedbKv>, Error> {
        let kv = RedbKv::open(config)?;
        let witness = kv.folder.witness()?;
        KvBackend::witnessed(kv, witness, config)
    }
}

impl<D: Digest, S, CL: ConsensusLayer> RedbLog<D, S, CL> {
    /// Opens, or creates, the log in a folder. `max_segment_size` and the journal's settings mean nothing here.
    ///
    /// # Errors
    /// As [`RedbKv::open`] and [`Log::on`].
    pub fn new(config: PersistentLogConfig) -> Result<RedbLog<D, S, CL>, Error> {
        config.check()?;
        Log::on(KvBackend::redb(&config)?, config)
    }
}
