//! A log on any store of keys and values. An author implements [`Kv`], a few lines; [`KvBackend`] makes a backend of it. Owns the
//! bytes of keys and values, group commit, and the order of completions.
//!
//! Threads: one of the environment's makes durable what waits, as the policy says; whoever waits for it is woken. Without threads
//! the writer does it itself.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use duramen_journal::SyncPolicy;
use duramen_journal::disk::{Environment, Worker};
use duramen_journal::sync::AtomicU32;

use crate::backend::compress::{pack, unpack};
use crate::backend::witness::Witness;
use crate::backend::{Backend, BackendStats, Key, Op, Opened, Space, Urgency};
use crate::completion::{Completer, Completion};
use crate::config::{CompressionOptions, PersistentLogConfig};
use crate::error::Error;
use crate::lock;

/// One change of a store of keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvOp {
    /// A value lies under a key.
    Put(Vec<u8>, Vec<u8>),
    /// Nothing lies under a key.
    Remove(Vec<u8>),
}

/// A store of keys and values that is sorted by key, atomic, and durable when asked.
pub trait Kv: Send + Sync + fmt::Debug + 'static {
    /// Its name, for people.
    fn name(&self) -> &'static str;
    /// Applies changes, all or none; visible when it returns, durable when [`Kv::persist`] did. If one is there after a crash, all
    /// that were applied before it are.
    ///
    /// # Errors
    /// Nothing of it was applied. [`Error::NoSpace`]: it can be tried again; any other: the store is not written to any more.
    fn apply(&self, ops: Vec<KvOp>) -> Result<(), Error>;
    /// Makes everything applied so far durable.
    ///
    /// # Errors
    /// It is not, or nobody knows.
    fn persist(&self) -> Result<(), Error>;
    /// The value under a key.
    ///
    /// # Errors
    /// It cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;
    /// The first keys in a range, both ends included, in order, `max` at most.
    ///
    /// # Errors
    /// They cannot be read.
    fn keys(&self, from: &[u8], to: &[u8], max: usize) -> Result<Vec<Vec<u8>>, Error>;
    /// The last key in a range, both ends included.
    ///
    /// # Errors
    /// It cannot be read.
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// Gives back the room of what was removed, if that needs to be asked for.
    ///
    /// # Errors
    /// It did not.
    fn collect(&self) -> Result<(), Error> {
        Ok(())
    }
    /// Bytes on the disk, if that is known.
    fn stored_bytes(&self) -> u64 {
        0
    }
}

/// The first byte of a chunk's key; those of other keys are their space.
const CHUNK: u8 = 0xff;
/// The key of the count of changes, for a store with a witness.
const COUNT: &[u8] = &[0xfe];
/// Keys that are looked at together when some are removed.
const KEYS_AT_ONCE: usize = 1024;

/// A key's bytes: they sort as keys do.
pub(crate) fn key_bytes(key: Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(13);
    bytes.push(key.space as u8);
    bytes.extend_from_slice(&key.number.to_be_bytes());
    bytes.extend_from_slice(&key.part.to_be_bytes());
    bytes
}

/// The key of these bytes; `None`: it is none of this crate's.
pub(crate) fn key_of(bytes: &[u8]) -> Option<Key> {
    let (&space, rest) = bytes.split_first()?;
    let (number, rest) = rest.split_first_chunk()?;
    let part = rest.try_into().ok()?;
    Some(Key { space: Space::of(space)?, number: u64::from_be_bytes(*number), part: u32::from_be_bytes(part) })
}

fn chunk_key(digest: &[u8; 32]) -> Vec<u8> {
    [&[CHUNK], &digest[..]].concat()
}

fn unmarked() -> Opened {
    Opened { end: "unmarked".into(), ..Opened::default() }
}

/// A value with a checksum that is bound to its key, so that no other's bytes pass for it.
fn sealed(key: &[u8], how: CompressionOptions, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    pack(how, value, &mut bytes);
    let checksum = checksum(key, &bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn opened(key: &[u8], bytes: &Bytes) -> Option<Bytes> {
    let (stored, rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*stored) != checksum(key, rest) {
        return None;
    }
    unpack(&bytes.slice(4..))
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(key);
    digest.update(value);
    digest.finalize() as u32
}

/// A backend on a store of keys and values.
pub struct KvBackend<K: Kv> {
    shared: Arc<Shared<K>>,
    worker: Mutex<Option<Box<dyn Worker>>>,
    opened: Opened,
}

struct Shared<K> {
    kv: K,
    witness: Option<Witness>,
    /// Changes so far. Held while one is applied, so that the store has all up to the count that it has.
    changes: Mutex<u64>,
    compression: CompressionOptions,
    policy: SyncPolicy,
    environment: Arc<dyn Environment>,
    /// Changes when there is work for the thread.
    word: AtomicU32,
    waiting: Mutex<Waiting>,
    /// Held while something is made durable, so that completions come in order.
    persisting: Mutex<()>,
    threaded: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct Waiting {
    completers: Vec<Completer>,
    urgent: bool,
    since: Option<Duration>,
    failed: Option<String>,
    closed: bool,
    syncs: u64,
}

impl<K: Kv> fmt::Debug for KvBackend<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvBackend").field("kv", &self.shared.kv).finish_non_exhaustive()
    }
}

impl<K: Kv> KvBackend<K> {
    /// A backend that keeps its values in a store, with policy, compression and environment of a log's options.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn new(kv: K, config: &PersistentLogConfig) -> Result<KvBackend<K>, Error> {
        KvBackend::start(kv, None, 0, unmarked(), config)
    }

    /// As [`KvBackend::new`], for a store that silently cuts off what it cannot read: the witness beside it then tells that durable
    /// changes are gone.
    ///
    /// # Errors
    /// No thread could be started, or the store cannot be read.
    pub fn witnessed(kv: K, witness: Witness, config: &PersistentLogConfig) -> Result<KvBackend<K>, Error> {
        let mut found = unmarked();
        let count = match kv.get(COUNT)? {
            None => Some(0),
            Some(value) => opened(COUNT, &value).and_then(|own| Some(u64::from_le_bytes(own[..].try_into().ok()?))),
        };
        let stored = witness.stored();
        match count {
            Some(count) if count >= stored => {}
            Some(count) => found.places.push(format!("the store ends at change {count}; change {stored} was durable")),
            None => found.places.push("the store's count of changes is damaged".into()),
        }
        found.open_end = !found.places.is_empty();
        // What is lost is told until something new is stored.
        KvBackend::start(kv, Some(witness), stored.max(count.unwrap_or(0)), found, config)
    }

    fn start(
        kv: K,
        witness: Option<Witness>,
        changes: u64,
        opened: Opened,
        config: &PersistentLogConfig,
    ) -> Result<KvBackend<K>, Error> {
        let environment = config.world.environment.clone();
        let shared = Arc::new(Shared {
            kv,
            witness,
            changes: Mutex::new(changes),
            compression: config.compression,
            policy: config.sync_policy,
            environment: environment.clone(),
            word: AtomicU32::new(0),
            waiting: Mutex::default(),
            persisting: Mutex::new(()),
            threaded: false.into(),
        });
        let own = shared.clone();
        let worker = environment.spawn("duramen-decisions", Box::new(move || own.run()));
        let worker = worker.map_err(|error| Error::io("start a thread", &config.log_dir, error))?;
        shared.threaded.store(worker.is_some(), SeqCst);
        Ok(KvBackend { shared, worker: Mutex::new(worker), opened })
    }

    /// The store below.
    pub fn kv(&self) -> &K {
        &self.shared.kv
    }

    fn check(&self) -> Result<(), Error> {
        let waiting = lock(&self.shared.waiting);
        match &waiting.failed {
            _ if waiting.closed => Err(Error::Closed),
            Some(reason) => Err(Error::Failed { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn value(&self, bytes: &[u8], what: impl FnOnce() -> Error) -> Result<Option<Bytes>, Error> {
        match self.shared.kv.get(bytes)? {
            None => Ok(None),
            Some(value) => opened(bytes, &value).map(Some).ok_or_else(what),
        }
    }

    /// What a change is for the store below: removals name each key.
    fn translated(&self, ops: &[Op]) -> Result<Vec<KvOp>, Error> {
        let mut out = Vec::with_capacity(ops.len());
        for op in ops {
            match op {
                Op::Put(key, value) => {
                    let key = key_bytes(*key);
                    let value = sealed(&key, self.shared.compression, value);
                    out.push(KvOp::Put(key, value));
                }
                Op::PutParts(key, head, body) => {
                    let key = key_bytes(*key);
                    let value = sealed(&key, self.shared.compression, &[&head[..], body].concat());
                    out.push(KvOp::Put(key, value));
                }
                Op::Remove(space, numbers) => {
                    let mut from = key_bytes(Key::new(*space, *numbers.start()));
                    let to = key_bytes(Key { space: *space, number: *numbers.end(), part: u32::MAX });
                    // What the batch itself has put there is not in the store yet.
                    let own = |op: &KvOp| match op {
                        KvOp::Put(key, _) if (&from..=&to).contains(&key) => Some(KvOp::Remove(key.clone())),
                        _ => None,
                    };
                    let put: Vec<KvOp> = out.iter().filter_map(own).collect();
                    out.extend(put);
                    loop {
                        let keys = self.shared.kv.keys(&from, &to, KEYS_AT_ONCE)?;
                        let Some(last) = keys.last() else { break };
                        // The next one in order.
                        from = [last, &[0][..]].concat();
                        let whole = keys.len() == KEYS_AT_ONCE;
                        out.extend(keys.into_iter().map(KvOp::Remove));
                        if !whole {
                            break;
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    fn apply(&self, mut ops: Vec<KvOp>) -> Result<(), Error> {
        let mut changes = lock(&self.shared.changes);
        if self.shared.witness.is_some() {
            let count = (*changes + 1).to_le_bytes();
            ops.push(KvOp::Put(COUNT.to_vec(), sealed(COUNT, CompressionOptions::None, &count)));
        }
        match self.shared.kv.apply(ops) {
            Ok(()) => {
                *changes += 1;
                Ok(())
            }
            Err(error) if !matches!(error, Error::NoSpace) => {
                lock(&self.shared.waiting).failed.get_or_insert_with(|| error.to_string());
                Err(error)
            }
            refused => refused,
        }
    }
}

impl<K: Kv> Shared<K> {
    /// Makes durable what waits, and tells everybody.
    fn persist(&self) -> Result<(), Error> {
        let turn = lock(&self.persisting);
        let completers = {
            let mut waiting = lock(&self.waiting);
            (waiting.urgent, waiting.since) = (false, None);
            std::mem::take(&mut waiting.completers)
        };
        let failed = lock(&self.waiting).failed.clone();
        let changes = *lock(&self.changes);
        let result = match failed {
            Some(reason) => Err(Error::Failed { reason }),
            None => self.kv.persist(),
        };
        if let (Ok(()), Some(witness)) = (&result, &self.witness) {
            // An older one is a weaker one, and no wrong one.
            let _ = witness.note(changes);
        }
        {
            let mut waiting = lock(&self.waiting);
            waiting.syncs += 1;
            if let Err(error) = &result {
                // Whatever the store says later: what this was to make durable may be lost.
                waiting.failed.get_or_insert_with(|| error.to_string());
            }
        }
        let told = result.clone().map_err(|error| Error::Failed { reason: error.to_string() });
        completers.into_iter().for_each(|completer| completer.complete(told.clone()));
        drop(turn);
        result
    }

    /// How long what waits may go on waiting; `None`: for ever.
    fn due(&self, waiting: &Waiting) -> Option<Duration> {
        if waiting.urgent {
            return Some(Duration::ZERO);
        }
        let since = waiting.since?;
        let left = |interval: Duration| interval.saturating_sub(self.environment.now().saturating_sub(since));
        match self.policy {
            SyncPolicy::Always => Some(Duration::ZERO),
            SyncPolicy::Batch { records, .. } if waiting.completers.len() as u64 >= records => Some(Duration::ZERO),
            SyncPolicy::Batch { interval, .. } | SyncPolicy::Interval(interval) => Some(left(interval)),
            SyncPolicy::Never => None,
        }
    }

    fn run(&self) {
        loop {
            let word = self.word.load(SeqCst);
            let (due, closed) = {
                let waiting = lock(&self.waiting);
                (self.due(&waiting), waiting.closed)
            };
            match due {
                Some(Duration::ZERO) => _ = self.persist(),
                _ if closed => return,
                wait => self.environment.wait(&self.word, word, wait),
            }
        }
    }

    fn wake(&self) {
        self.word.fetch_add(1, SeqCst);
        self.environment.wake(&self.word, 1);
    }
}

impl<K: Kv> Backend for KvBackend<K> {
    fn name(&self) -> &'static str {
        self.shared.kv.name()
    }

    fn write(&self, ops: &[Op], urgency: Urgency) -> Result<Completion, Error> {
        self.check()?;
        self.apply(self.translated(ops)?)?;
        let (completer, completion) = Completion::pair(&self.shared.environment);
        {
            let mut waiting = lock(&self.shared.waiting);
            waiting.completers.push(completer);
            waiting.urgent |= urgency == Urgency::Now;
            let now = self.shared.environment.now();
            waiting.since.get_or_insert(now);
        }
        if self.shared.threaded.load(SeqCst) {
            self.shared.wake()
        } else {
            self.tick()
        }
        Ok(completion)
    }

    fn get(&self, key: Key) -> Result<Option<Bytes>, Error> {
        self.value(&key_bytes(key), || Error::damaged(key, "its checksum is wrong"))
    }

    fn contains(&self, key: Key) -> Result<bool, Error> {
        Ok(self.shared.kv.get(&key_bytes(key))?.is_some())
    }

    fn keys(&self, space: Space, numbers: RangeInclusive<u64>, max: usize) -> Result<Vec<Key>, Error> {
        let from = key_bytes(Key::new(space, *numbers.start()));
        let to = key_bytes(Key { space, number: *numbers.end(), part: u32::MAX });
        let keys = self.shared.kv.keys(&from, &to, max)?;
        Ok(keys.iter().filter_map(|key| key_of(key)).collect())
    }

    fn last(&self, space: Space, upto: u64) -> Result<Option<Key>, Error> {
        let from = key_bytes(Key::new(space, 0));
        let to = key_bytes(Key { space, number: upto, part: u32::MAX });
        Ok(self.shared.kv.last(&from, &to)?.and_then(|key| key_of(&key)))
    }

    fn sync(&self) -> Result<(), Error> {
        self.check()?;
        self.shared.persist()
    }

    fn collect(&self) -> Result<(), Error> {
        self.shared.kv.collect()
    }

    fn put_chunk(&self, digest: &[u8; 32], bytes: &[u8]) -> Result<(), Error> {
        self.check()?;
        let key = chunk_key(digest);
        let value = sealed(&key, self.shared.compression, bytes);
        self.apply(vec![KvOp::Put(key, value)])
    }

    fn sync_chunks(&self) -> Result<(), Error> {
        self.sync()
    }

    fn chunk(&self, digest: &[u8; 32]) -> Result<Option<Bytes>, Error> {
        self.value(&chunk_key(digest), || Error::DamagedValue {
            what: format!("chunk {}", crate::digest::hex(&digest[..4])),
            reason: "its checksum is wrong".into(),
        })
    }

    fn has_chunk(&self, digest: &[u8; 32]) -> Result<bool, Error> {
        Ok(self.shared.kv.get(&chunk_key(digest))?.is_some())
    }

    fn retain_chunks(&self, live: &BTreeSet<[u8; 32]>) -> Result<(), Error> {
        let (mut from, to) = (vec![CHUNK], chunk_key(&[0xff; 32]));
        loop {
            let keys = self.shared.kv.keys(&from, &to, KEYS_AT_ONCE)?;
            let Some(last) = keys.last() else { return Ok(()) };
            from = [last, &[0][..]].concat();
            let of_live = |key: &Vec<u8>| <[u8; 32]>::try_from(&key[1..]).is_ok_and(|digest| live.contains(&digest));
            let dead = keys.into_iter().filter(|key| !of_live(key));
            let dead: Vec<_> = dead.map(KvOp::Remove).collect();
            if !dead.is_empty() {
                self.apply(dead)?;
            }
        }
    }

    fn opened(&self) -> Opened {
        self.opened.clone()
    }

    fn stats(&self) -> BackendStats {
        let syncs = lock(&self.shared.waiting).syncs;
        BackendStats { syncs, stored_bytes: self.shared.kv.stored_bytes(), ..BackendStats::default() }
    }

    fn tick(&self) {
        let due = self.shared.due(&lock(&self.shared.waiting));
        if due == Some(Duration::ZERO) {
            // Who waits is told.
            let _ = self.shared.persist();
        }
    }

    fn close(&self) -> Result<(), Error> {
        if std::mem::replace(&mut lock(&self.shared.waiting).closed, true) {
            return Ok(());
        }
        let result = self.shared.persist();
        self.shared.wake();
        if let Some(worker) = lock(&self.worker).take() {
            worker.join();
        }
        result
    }
}

impl<K: Kv> Drop for KvBackend<K> {
    fn drop(&mut self) {
        // Who waits was told; there is nobody else to tell.
        let _ = self.close();
    }
}
