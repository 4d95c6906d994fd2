//! Moving a log to another backend. Owns the order of it: a mark that the target is unfinished, the copies, the comparison, and at
//! last, in one batch, the target's head in the place of the mark.
//!
//! Whatever ends it, the source is as it was, and a target that is not finished is refused by [`crate::Log::on`] until it is migrated
//! into again, from the beginning, or emptied. Memory: a page of keys, a few values, the list of live chunks.

use std::collections::BTreeSet;
use std::fmt;

use crate::backend::{Backend, Key, Op, Space, Urgency};
use crate::codec::ConsensusLayer;
use crate::digest::{Digest, hex};
use crate::error::Error;
use crate::lock;
use crate::log::{HEAD, Log};
use crate::values::{Head, Published, RawManifest};

/// The key of the mark that a migration into this log was begun and not finished.
pub(crate) const UNFINISHED: Key = Key { space: Space::Own, number: 2, part: 0 };

/// Keys that are looked at together.
const KEYS_AT_ONCE: usize = 512;
/// Bytes of values that are written together: less than half of the smallest segment.
const BATCH_BYTES: usize = 16 << 10;
/// What a value may take beside its bytes.
const OVERHEAD: usize = 64;
/// Bytes after which the target is synced.
const SYNC_BYTES: u64 = 4 << 20;

/// What was copied, and found the same on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Values of each space, in the order of [`Space::ALL`].
    pub values: [u64; Space::ALL.len()],
    /// Chunks of checkpoints, manifests included.
    pub chunks: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (space, count) in Space::ALL.iter().zip(self.values).filter(|(_, count)| *count > 0) {
            writeln!(f, "{:21} {count}", space.word())?;
        }
        writeln!(f, "{:21} {}", "chunk", self.chunks)?;
        writeln!(f, "{:21} {}", "bytes", self.bytes)
    }
}

/// Copies a log, every value and every live chunk, to an empty backend, and reads both to compare them. Durable when this returns;
/// [`Log::on`] then opens the target. Nothing is stored in the source meanwhile, and most reads of it wait.
///
/// ```
/// use duramen_decisions::backend::{kv::KvBackend, memory::MemoryKv};
/// use duramen_decisions::{Blake3, Log, PersistentLog, PersistentLogConfig, RawLayer, migrate};
///
/// # fn main() -> Result<(), duramen_decisions::Error> {
/// let config = PersistentLogConfig::new("unused");
/// let from = Log::<Blake3, Vec<u8>, RawLayer, _>::on(KvBackend::new(MemoryKv::default(), &config)?, config.clone())?;
/// from.store_decision(1, &"add 3".into())?.wait()?;
/// let to = KvBackend::new(MemoryKv::default(), &config)?; // or FileBackend::open(&config)?, or a user's own
/// migrate(&from, &to)?;
/// let log = Log::<Blake3, Vec<u8>, RawLayer, _>::on(to, config)?;
/// assert_eq!(log.retrieve_decision(1)?, Some("add 3".into()));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::NotEmpty`]: the target holds something, and was not changed; [`Error::DamagedValue`], [`Error::WrongDigest`]: something of
/// the source is damaged; [`Error::Unequal`]: the target gave back something else; what either backend said.
pub fn migrate<D: Digest, S, CL: ConsensusLayer, A: Backend, B: Backend>(
    from: &Log<D, S, CL, A>,
    to: &B,
) -> Result<Migrated, Error> {
    let _writing = lock(&from.writing);
    let _tip = lock(&from.tip);
    let source = &from.backend;
    begin(to)?;
    let chunks = live_chunks(source)?;
    copy_chunks::<D>(source, to, &chunks)?;
    for space in Space::ALL {
        copy_values(source, to, space)?;
    }
    to.sync()?;
    let mut found = Migrated::default();
    for (count, space) in found.values.iter_mut().zip(Space::ALL) {
        *count = compare_values(source, to, space, &mut found.bytes)?;
    }
    found.chunks = compare_chunks::<D>(source, to, &chunks, &mut found.bytes)?;
    let head = source.get(HEAD)?.ok_or_else(|| Error::damaged(HEAD, "it is missing"))?;
    found.values[Space::Own as usize] += 1;
    found.bytes += head.len() as u64;
    let number = UNFINISHED.number;
    to.write(&[Op::Remove(Space::Own, number..=number), Op::Put(HEAD, head.clone())], Urgency::Now)?.wait()?;
    if to.get(HEAD)? == Some(head) { Ok(found) } else { Err(Error::Unequal { what: HEAD.to_string() }) }
}

/// Takes an empty target, or one that was not finished, and marks it.
fn begin(to: &impl Backend) -> Result<(), Error> {
    if to.get(UNFINISHED)?.is_none() {
        for space in Space::ALL {
            for key in to.keys(space, 0..=u64::MAX, 2)? {
                let head = to.get(key)?.and_then(|value| Head::decode(&value));
                if key != HEAD || head.is_none_or(|head| head.base.is_some()) {
                    return Err(Error::NotEmpty { what: key.to_string() });
                }
            }
        }
    }
    // The mark stands before anything is removed, and the head goes first: from here on nobody takes it for a log.
    let head = Op::Remove(Space::Own, HEAD.number..=HEAD.number);
    to.write(&[Op::Put(UNFINISHED, Default::default()), head], Urgency::Now)?.wait()?;
    for space in Space::ALL {
        while let Some(first) = to.keys(space, 0..=u64::MAX, 1)?.first().filter(|key| **key != UNFINISHED) {
            let last = if space == Space::Own { first.number } else { first.number.saturating_add(4095) };
            drop(to.write(&[Op::Remove(space, first.number..=last)], Urgency::Policy)?);
        }
    }
    to.sync()?;
    to.retain_chunks(&BTreeSet::new())
}

/// Keys that belong to no one log's content.
fn is_own(key: &Key) -> bool {
    *key == HEAD || *key == UNFINISHED
}

/// The next keys of a space behind one, in order; none: there are no more.
fn page(backend: &impl Backend, space: Space, after: Option<Key>) -> Result<Vec<Key>, Error> {
    let mut max = KEYS_AT_ONCE;
    loop {
        let from = after.map_or(0, |after| after.number);
        let mut keys = backend.keys(space, from..=u64::MAX, max)?;
        let whole = keys.len() < max;
        keys.retain(|key| Some(*key) > after);
        if whole || !keys.is_empty() {
            return Ok(keys);
        }
        // All of them are parts that were seen.
        max *= 2;
    }
}

fn copy_values(from: &impl Backend, to: &impl Backend, space: Space) -> Result<(), Error> {
    let (mut ops, mut bytes, mut unsynced) = (Vec::new(), 0, 0);
    let mut write = |ops: &mut Vec<Op>, bytes: &mut usize| {
        if !ops.is_empty() {
            drop(to.write(ops, Urgency::Policy)?);
        }
        unsynced += std::mem::take(bytes) as u64;
        ops.clear();
        if unsynced >= SYNC_BYTES {
            to.sync()?;
            unsynced = 0;
        }
        Ok::<(), Error>(())
    };
    let mut after = None;
    loop {
        let keys = page(from, space, after)?;
        let Some(last) = keys.last() else { break };
        after = Some(*last);
        let keys: Vec<Key> = keys.into_iter().filter(|key| !is_own(key)).collect();
        // A large value lies alone: how large one may be is the target's to say.
        for few in keys.chunks(16) {
            for (key, value) in few.iter().zip(from.get_many(few)) {
                let value = value?.ok_or_else(|| Error::damaged(*key, "it is missing"))?;
                if bytes + value.len() + OVERHEAD > BATCH_BYTES {
                    write(&mut ops, &mut bytes)?;
                }
                bytes += value.len() + OVERHEAD;
                ops.push(Op::Put(*key, value));
            }
        }
    }
    write(&mut ops, &mut bytes)
}

fn compare_values(from: &impl Backend, to: &impl Backend, space: Space, bytes: &mut u64) -> Result<u64, Error> {
    let unequal = |key: Option<&Key>| Error::Unequal { what: key.map_or(space.word().into(), Key::to_string) };
    let (mut after, mut count) = (None, 0);
    loop {
        let keys = page(from, space, after)?;
        let mut copied = page(to, space, after)?;
        copied.retain(|key| *key != UNFINISHED);
        let own: Vec<Key> = keys.iter().filter(|key| !is_own(key)).copied().collect();
        if own != copied {
            let differs = own.iter().zip(&copied).find(|(own, copied)| own != copied).map(|(own, _)| own);
            return Err(unequal(differs));
        }
        for few in own.chunks(16) {
            for ((key, value), copied) in few.iter().zip(from.get_many(few)).zip(to.get_many(few)) {
                let value = value?;
                if value.is_none() || value != copied? {
                    return Err(unequal(Some(key)));
                }
                *bytes += value.map_or(0, |value| value.len() as u64);
                count += 1;
            }
        }
        match keys.last() {
            Some(last) => after = Some(*last),
            None => return Ok(count),
        }
    }
}

/// The digests that published checkpoints, and one that is being installed, need; those of a broken checkpoint as far as they
/// are there.
fn live_chunks(from: &impl Backend) -> Result<BTreeSet<[u8; 32]>, Error> {
    let mut roots = Vec::new();
    for key in from.keys(Space::Checkpoint, 0..=u64::MAX, usize::MAX)? {
        roots.extend(from.get(key)?.and_then(|value| Published::decode(&value)).map(|own| own.root));
    }
    let pending = from.get(crate::transfer::PENDING)?;
    roots.extend(pending.and_then(|value| <[u8; 32]>::try_from(&value[..]).ok()));
    let mut live = BTreeSet::new();
    for root in roots {
        let manifest = from.chunk(&root)?.and_then(|bytes| RawManifest::decode(&bytes));
        live.insert(root);
        live.extend(manifest.into_iter().flat_map(|manifest| manifest.chunks.into_iter().map(|(digest, _)| digest)));
    }
    // What an installation still fetches is not there.
    let mut there = BTreeSet::new();
    for digest in live {
        if from.has_chunk(&digest)? {
            there.insert(digest);
        }
    }
    Ok(there)
}

/// A chunk of the source, its digest checked.
fn chunk<D: Digest>(from: &impl Backend, digest: &[u8; 32]) -> Result<bytes::Bytes, Error> {
    let what = || format!("chunk {}", hex(&digest[..4]));
    let bytes =
        from.chunk(digest)?.ok_or_else(|| Error::DamagedValue { what: what(), reason: "it is missing".into() })?;
    if D::of(&[&bytes]).bytes() == *digest { Ok(bytes) } else { Err(Error::WrongDigest { what: what() }) }
}

fn copy_chunks<D: Digest>(from: &impl Backend, to: &impl Backend, chunks: &BTreeSet<[u8; 32]>) -> Result<(), Error> {
    let mut unsynced = 0;
    for digest in chunks {
        let bytes = chunk::<D>(from, digest)?;
        to.put_chunk(digest, &bytes)?;
        unsynced += bytes.len() as u64;
        if unsynced >= 8 * SYNC_BYTES {
            to.sync_chunks()?;
            unsynced = 0;
        }
    }
    to.sync_chunks()
}

fn compare_chunks<D: Digest>(
    from: &impl Backend,
    to: &impl Backend,
    chunks: &BTreeSet<[u8; 32]>,
    sum: &mut u64,
) -> Result<u64, Error> {
    for digest in chunks {
        let bytes = chunk::<D>(from, digest)?;
        if to.chunk(digest)? != Some(bytes.clone()) {
            return Err(Error::Unequal { what: format!("chunk {}", hex(&digest[..4])) });
        }
        *sum += bytes.len() as u64;
    }
    Ok(chunks.len() as u64)
}
