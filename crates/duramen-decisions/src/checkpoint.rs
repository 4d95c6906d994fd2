//! Checkpoints: written in chunks beside running appends, published at once, forgotten in order. Owns what makes one durable, which
//! chunks are still needed, and when one is due.
//!
//! A checkpoint is published by one record, after its chunks and its manifest were synced; chunks go only after the record that
//! names them is durably gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::SeqNo;
use crate::backend::{Backend, Key, Op, Space, Urgency};
use crate::codec::{ConsensusLayer, State};
use crate::config::RecoveryPolicy;
use crate::digest::{Digest, hex};
use crate::error::Error;
use crate::lock;
use crate::log::Log;
use crate::state::StateWriter;
use crate::transfer::PENDING;
use crate::values::{DecisionHead, Published, RawManifest};

/// What is known of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointInfo<D> {
    /// It has every decision up to this one.
    pub seq_no: SeqNo,
    /// Bytes of the state.
    pub bytes: u64,
    /// Its chunks.
    pub chunks: u64,
    /// The digest of its manifest: equal ones are equal states, cut in the same way.
    pub root: D,
    /// When it was published, in milliseconds since 1970 as the machine's clock had it; 0: it had none.
    pub millis: u64,
}

/// The checkpoints that can be used.
#[derive(Debug)]
pub(crate) struct Checkpoints<D> {
    published: BTreeMap<SeqNo, Entry<D>>,
    /// Forgotten, and still being read.
    leaving: Vec<Entry<D>>,
    /// Published, and not whole.
    pub broken: Vec<SeqNo>,
}

impl<D> Default for Checkpoints<D> {
    fn default() -> Checkpoints<D> {
        Checkpoints { published: BTreeMap::new(), leaving: Vec::new(), broken: Vec::new() }
    }
}

#[derive(Debug)]
struct Entry<D> {
    info: CheckpointInfo<D>,
    total: u64,
    manifest: Arc<RawManifest>,
}

impl<D: Digest> Checkpoints<D> {
    pub fn last(&self) -> Option<SeqNo> {
        self.published.keys().next_back().copied()
    }

    pub fn oldest(&self) -> Option<SeqNo> {
        self.published.keys().next().copied()
    }

    pub fn infos(&self) -> Vec<CheckpointInfo<D>> {
        self.published.values().map(|own| own.info).collect()
    }

    pub fn manifest(&self, seq_no: SeqNo) -> Option<(CheckpointInfo<D>, Arc<RawManifest>)> {
        self.published.get(&seq_no).map(|own| (own.info, own.manifest.clone()))
    }

    pub fn insert(&mut self, published: &Published, manifest: RawManifest) -> CheckpointInfo<D> {
        let Published { root, bytes, chunks, millis, total } = *published;
        let info = CheckpointInfo { seq_no: manifest.seq_no, bytes, chunks, root: D::from_bytes(root), millis };
        self.published.insert(manifest.seq_no, Entry { info, total, manifest: Arc::new(manifest) });
        info
    }

    /// Adds the digests that are needed.
    fn live(&mut self, live: &mut BTreeSet<[u8; 32]>) {
        self.leaving.retain(|own| Arc::strong_count(&own.manifest) > 1);
        for own in self.published.values().chain(&self.leaving) {
            live.insert(own.info.root.bytes());
            live.extend(own.manifest.chunks.iter().map(|(digest, _)| *digest));
        }
    }
}

impl<D: Digest, S, CL: ConsensusLayer, B: Backend> Log<D, S, CL, B> {
    /// Looks for the published checkpoints, and whether they are whole, as far as can be told without reading their chunks. What the
    /// device cannot read now is not broken: it may be read the next time, and what is broken is forgotten.
    pub(crate) fn find_checkpoints(&self) -> Result<(), Error> {
        let mut checkpoints = lock(&self.checkpoints);
        for key in self.backend.keys(Space::Checkpoint, 0..=u64::MAX, usize::MAX)? {
            match self.found(key) {
                Ok(Some((record, manifest))) => _ = checkpoints.insert(&record, manifest),
                Err(error) if !error.is_damage() && self.config.recovery == RecoveryPolicy::Refuse => {
                    return Err(error);
                }
                _ => checkpoints.broken.push(key.number),
            }
        }
        Ok(())
    }

    /// A published checkpoint; `None`: it is not whole.
    fn found(&self, key: Key) -> Result<Option<(Published, RawManifest)>, Error> {
        let Some(record) = self.backend.get(key)?.and_then(|value| Published::decode(&value)) else { return Ok(None) };
        let Some(manifest) = self.stored_manifest(&record.root)? else { return Ok(None) };
        let whole = manifest.seq_no == key.number && self.is_complete(&manifest)?;
        Ok(whole.then_some((record, manifest)))
    }

    /// The manifest of this digest; `None`: it is not here, or is another one.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub(crate) fn stored_manifest(&self, root: &[u8; 32]) -> Result<Option<RawManifest>, Error> {
        let Some(bytes) = self.backend.chunk(root)? else { return Ok(None) };
        Ok(RawManifest::decode(&bytes).filter(|_| D::of(&[&bytes]).bytes() == *root))
    }

    fn is_complete(&self, manifest: &RawManifest) -> Result<bool, Error> {
        for (digest, _) in &manifest.chunks {
            if !self.backend.has_chunk(digest)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The checkpoints that can be used, the oldest first.
    pub fn checkpoints(&self) -> Vec<CheckpointInfo<D>> {
        lock(&self.checkpoints).infos()
    }

    /// The last durable checkpoint.
    pub fn last_checkpoint(&self) -> Option<SeqNo> {
        lock(&self.checkpoints).last()
    }

    /// Writes a chunk that is not there, or not whole.
    pub(crate) fn keep_chunk(&self, digest: &[u8; 32], bytes: &[u8]) -> Result<(), Error> {
        if self.backend.is_chunk_whole(digest)? {
            return Ok(());
        }
        self.backend.put_chunk(digest, bytes)
    }

    /// Publishes a manifest whose chunks are durable, and ends the installation of it or of an older one. Where decisions up to it are
    /// missing, what comes next has no beginning but the checkpoint: the log is based at it.
    pub(crate) fn publish(&self, manifest: RawManifest) -> Result<CheckpointInfo<D>, Error> {
        let bytes = manifest.encode();
        let root = D::of(&[&bytes]).bytes();
        self.keep_chunk(&root, &bytes)?;
        self.backend.sync_chunks()?;
        let seq_no = manifest.seq_no;
        let mut published = Published {
            root,
            bytes: manifest.bytes(),
            chunks: manifest.chunks.len() as u64,
            millis: self.millis(),
            total: 0,
        };
        let pending = self.pending_root()?.is_some();
        let ended = pending && self.pending_install()?.is_none_or(|pending| pending.seq_no() <= seq_no);
        let (completion, gap) = {
            let mut tip = lock(&self.tip);
            loop {
                let frontier = self.frontier(&mut tip)?;
                let begins = tip.begins_by(seq_no.saturating_add(1));
                let gap = !begins || frontier.is_none_or(|frontier| frontier < seq_no);
                published.total = tip.total;
                let mut ops = vec![Op::Put(Key::new(Space::Checkpoint, seq_no), published.encode().into())];
                ops.extend(ended.then_some(Op::Remove(PENDING.space, PENDING.number..=PENDING.number)));
                ops.extend(gap.then(|| self.head_op(Some(seq_no))));
                if let Some(completion) = self.backend.write_in(tip.epoch, &ops, Urgency::Now)? {
                    break (completion, gap);
                }
            }
        };
        completion.wait()?;
        if gap {
            lock(&self.tip).rebase(seq_no);
        }
        let mut checkpoints = lock(&self.checkpoints);
        checkpoints.broken.retain(|broken| *broken != seq_no);
        Ok(checkpoints.insert(&published, manifest))
    }

    /// Removes what a checkpoint that was just published has made invisible, and forgets old ones.
    pub(crate) fn tidy(&self, seq_no: SeqNo) -> Result<(), Error> {
        if self.base() == Some(seq_no) {
            self.remove_upto(seq_no)?;
        }
        self.forget_old()
    }

    /// Forgets all but the newest checkpoints, and gives back what only they had.
    pub(crate) fn forget_old(&self) -> Result<(), Error> {
        let old: Vec<SeqNo> = {
            let checkpoints = lock(&self.checkpoints);
            let count = checkpoints.published.len().saturating_sub(self.config.retention.checkpoints);
            let newest = checkpoints.last();
            let broken = checkpoints.broken.iter().filter(|broken| newest.is_some_and(|newest| **broken < newest));
            checkpoints.published.keys().take(count).chain(broken).copied().collect()
        };
        if !old.is_empty() {
            let ops: Vec<Op> = old.iter().map(|seq_no| Op::Remove(Space::Checkpoint, *seq_no..=*seq_no)).collect();
            let completion = {
                let _tip = lock(&self.tip);
                self.backend.write(&ops, Urgency::Now)?
            };
            completion.wait()?;
        }
        let mut live = BTreeSet::new();
        {
            let mut checkpoints = lock(&self.checkpoints);
            for seq_no in old {
                let left = checkpoints.published.remove(&seq_no);
                checkpoints.leaving.extend(left);
                checkpoints.broken.retain(|broken| *broken != seq_no);
            }
            checkpoints.live(&mut live);
        }
        if let Some(pending) = self.pending_root()? {
            live.insert(pending);
            let manifest = match self.stored_manifest(&pending) {
                Err(error) if !error.is_damage() => return Err(error),
                manifest => manifest.ok().flatten(),
            };
            live.extend(manifest.iter().flat_map(|manifest| manifest.chunks.iter().map(|(digest, _)| *digest)));
        }
        self.backend.retain_chunks(&live)
    }

    pub(crate) fn pending_root(&self) -> Result<Option<[u8; 32]>, Error> {
        let value = self.backend.get(PENDING)?;
        Ok(value.and_then(|value| value[..].try_into().ok()))
    }

    /// Whether a checkpoint is due by the policy, and of which decision.
    ///
    /// # Errors
    /// The backend's.
    pub fn checkpoint_due(&self) -> Result<Option<SeqNo>, Error> {
        let policy = self.config.checkpoint;
        let last = {
            let checkpoints = lock(&self.checkpoints);
            checkpoints.published.values().next_back().map(|own| (own.info.seq_no, own.info.millis, own.total))
        };
        let mut tip = lock(&self.tip);
        let Some(frontier) = self.frontier(&mut tip)? else { return Ok(None) };
        let total = tip.total;
        drop(tip);
        let (seq_no, millis, before) = match last {
            Some(last) => last,
            None => {
                let Some(first) = self.backend.keys(Space::Decision, 0..=u64::MAX, 1)?.first().copied() else {
                    return Ok(None);
                };
                let head = self.backend.get(first)?.and_then(|value| DecisionHead::split(&value)).map(|(head, _)| head);
                (first.number.wrapping_sub(1), head.map_or(0, |head| head.millis), 0)
            }
        };
        let new = frontier.wrapping_sub(seq_no);
        if last.is_some_and(|last| frontier <= last.0) || new == 0 {
            return Ok(None);
        }
        let age = self.millis().saturating_sub(millis);
        let due = policy.decisions.is_some_and(|bound| new >= bound)
            || policy.bytes.is_some_and(|bound| total.saturating_sub(before) >= bound)
            || policy.interval.is_some_and(|bound| u128::from(age) >= bound.as_millis());
        Ok(due.then_some(frontier))
    }

    /// Compacts as far as the retention says; returns up to where. Called by itself after a checkpoint, if the options say so.
    ///
    /// # Errors
    /// The backend's.
    pub fn compact_by_policy(&self) -> Result<Option<SeqNo>, Error> {
        let retention = self.config.retention;
        let Some(mut upto) = lock(&self.checkpoints).oldest() else { return Ok(None) };
        let (frontier, base, total) = {
            let mut tip = lock(&self.tip);
            (self.frontier(&mut tip)?, tip.base, tip.total)
        };
        if let Some(kept) = retention.decisions {
            let Some(last) = frontier.and_then(|frontier| frontier.checked_sub(kept)) else { return Ok(None) };
            upto = upto.min(last);
        }
        let now = self.millis();
        // A decision may go if what came after it is enough, or if it is old enough.
        let enough = |head: &DecisionHead, bytes: u64| {
            let after = total.saturating_sub(head.total + bytes);
            let age = now.saturating_sub(head.millis);
            retention.bytes.is_none_or(|bound| after >= bound)
                && retention.age.is_none_or(|bound| head.millis > 0 && u128::from(age) >= bound.as_millis())
        };
        let mut low = base.map_or(0, |base| base.saturating_add(1));
        if retention.bytes.is_some() || retention.age.is_some() {
            // What may go is a prefix: the first that must stay is found by halving.
            let mut high = upto.saturating_add(1);
            while low < high {
                let middle = low + (high - low) / 2;
                let Some(key) = self.backend.keys(Space::Decision, middle..=upto, 1)?.first().copied() else {
                    high = middle;
                    continue;
                };
                let head = self.backend.get(key)?.and_then(|value| DecisionHead::split(&value));
                let goes = head.is_none_or(|(head, bytes)| enough(&head, bytes.len() as u64));
                if goes { low = key.number.saturating_add(1) } else { high = middle }
            }
            let Some(last) = low.checked_sub(1) else { return Ok(None) };
            upto = upto.min(last);
        }
        if base.is_some_and(|base| upto <= base) {
            return Ok(None);
        }
        self.compact(upto)?;
        Ok(Some(upto))
    }
}

impl<D: Digest, S: State, CL: ConsensusLayer, B: Backend> Log<D, S, CL, B> {
    /// Writes a checkpoint of the state after a decision, and publishes it: durable when this returns. Appends go on meanwhile;
    /// the state must not change until it is written. Then old checkpoints are forgotten, and the log is compacted, as the options
    /// say. Where decisions up to it are missing, those before it are given up: the state has them, and the log goes on behind it.
    ///
    /// Memory: a few chunks, beside the list of digests.
    ///
    /// # Errors
    /// [`Error::OldCheckpoint`]; [`Error::Conflict`]: another state is stored for the same decision; [`Error::State`],
    /// [`Error::NoSpace`], the backend's. The last checkpoint is what it was.
    pub fn write_checkpoint(&self, seq_no: SeqNo, state: &S) -> Result<CheckpointInfo<D>, Error> {
        let _writing = lock(&self.writing);
        if let Some(last) = self.last_checkpoint().filter(|last| seq_no < *last) {
            return Err(Error::OldCheckpoint { seq_no, last });
        }
        let mut chunks = Vec::new();
        let mut take = |bytes: &[u8]| {
            let digest = D::of(&[bytes]).bytes();
            chunks.push((digest, bytes.len() as u32));
            self.keep_chunk(&digest, bytes)
        };
        let mut writer = StateWriter::new(self.config.chunk_size, &mut take);
        let written = state.write_to(&mut writer);
        writer.finish(written)?;
        let manifest = RawManifest { seq_no, chunks };
        let known = lock(&self.checkpoints).manifest(seq_no);
        if let Some((info, known)) = known {
            return if *known == manifest { Ok(info) } else { Err(Error::Conflict { what: "checkpoint", seq_no }) };
        }
        let info = self.publish(manifest)?;
        // The checkpoint is durable, whatever becomes of the rest, which is tried again with the next one.
        let tidied = self
            .tidy(seq_no)
            .and_then(|()| if self.config.retention.compact { self.compact_by_policy() } else { Ok(None) });
        lock(&self.tip).housekeeping = tidied.err();
        Ok(info)
    }

    /// A checkpoint to read from. It stays whole as long as it is held, also when it is forgotten meanwhile.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`].
    pub fn checkpoint(&self, seq_no: SeqNo) -> Result<Checkpoint<'_, D, S, CL, B>, Error> {
        let found = lock(&self.checkpoints).manifest(seq_no);
        let (info, manifest) = found.ok_or(Error::NoCheckpoint { seq_no })?;
        Ok(Checkpoint { log: self, info, manifest })
    }
}

/// A durable checkpoint: see [`Log::checkpoint`].
pub struct Checkpoint<'a, D, S, CL, B> {
    log: &'a Log<D, S, CL, B>,
    info: CheckpointInfo<D>,
    manifest: Arc<RawManifest>,
}

impl<D: Digest, S: State, CL: ConsensusLayer, B: Backend> Checkpoint<'_, D, S, CL, B> {
    /// What is known of it.
    pub fn info(&self) -> CheckpointInfo<D> {
        self.info
    }

    /// Its state.
    ///
    /// # Errors
    /// [`Error::WrongDigest`] or [`Error::DamagedValue`]: a chunk is damaged; [`Error::State`]: the state refused its bytes.
    pub fn state(&self) -> Result<S, Error> {
        let mut reader = self.reader();
        let read = S::read_from(&mut reader);
        if let Some(error) = reader.failed.take() {
            return Err(error);
        }
        read.map_err(|source| Error::State { source: source.into() })
    }

    /// The state as a stream, each chunk checked against its digest before a byte of it is given.
    pub fn reader(&self) -> StateReader<'_> {
        StateReader {
            next: Box::new(|at| {
                let Some((digest, bytes)) = self.manifest.chunks.get(at) else { return Ok(None) };
                self.log.checked_chunk(digest, *bytes).map(Some)
            }),
            at: 0,
            chunk: Bytes::new(),
            failed: None,
        }
    }
}

impl<D, S, CL, B> fmt::Debug for Checkpoint<'_, D, S, CL, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("seq_no", &self.manifest.seq_no).finish_non_exhaustive()
    }
}

impl<D: Digest, S, CL: ConsensusLayer, B: Backend> Log<D, S, CL, B> {
    pub(crate) fn checked_chunk(&self, digest: &[u8; 32], bytes: u32) -> Result<Bytes, Error> {
        let name = || format!("chunk {}", hex(&digest[..4]));
        let chunk = self.backend.chunk(digest)?;
        let chunk = chunk.ok_or_else(|| Error::DamagedValue { what: name(), reason: "it is missing".into() })?;
        if chunk.len() as u64 != u64::from(bytes) || D::of(&[&chunk]).bytes() != *digest {
            return Err(Error::WrongDigest { what: name() });
        }
        Ok(chunk)
    }
}

type NextChunk<'a> = Box<dyn Fn(usize) -> Result<Option<Bytes>, Error> + 'a>;

/// The bytes of a state: see [`Checkpoint::reader`].
pub struct StateReader<'a> {
    next: NextChunk<'a>,
    at: usize,
    chunk: Bytes,
    failed: Option<Error>,
}

impl io::Read for StateReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match (self.next)(self.at) {
                Ok(None) => return Ok(0),
                Ok(Some(chunk)) => (self.chunk, self.at) = (chunk, self.at + 1),
                Err(error) => {
                    self.failed = Some(error.clone());
                    return Err(io::Error::other(error));
                }
            }
        }
        let count = out.len().min(self.chunk.len());
        out[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

impl fmt::Debug for StateReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateReader").field("at", &self.at).finish_non_exhaustive()
    }
}
