//! A checkpoint from other replicas: a manifest, chunks by digest from whoever has them, an install that goes on after a crash.
//! Owns what must be checked before anything of another replica's is believed.

use std::fmt;
use std::sync::MutexGuard;

use bytes::Bytes;

use crate::SeqNo;
use crate::backend::{Backend, Key, Op, Space, Urgency};
use crate::checkpoint::CheckpointInfo;
use crate::codec::ConsensusLayer;
use crate::digest::{Digest, hex};
use crate::error::Error;
use crate::lock;
use crate::log::Log;
use crate::values::RawManifest;

/// The key of the manifest whose chunks are being fetched.
pub(crate) const PENDING: Key = Key { space: Space::Own, number: 1, part: 0 };

/// What a checkpoint is made of. Its digest is all that replicas have to agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest<D> {
    raw: RawManifest,
    root: D,
}

impl<D: Digest> Manifest<D> {
    /// Reads what another replica sent.
    ///
    /// # Errors
    /// [`Error::WrongDigest`]: it is not the manifest that was agreed on, or none.
    pub fn decode(bytes: &[u8], root: D) -> Result<Manifest<D>, Error> {
        let wrong = || Error::WrongDigest { what: "the manifest".into() };
        if D::of(&[bytes]) != root {
            return Err(wrong());
        }
        Ok(Manifest { raw: RawManifest::decode(bytes).ok_or_else(wrong)?, root })
    }

    /// Its bytes, to send.
    pub fn encode(&self) -> Vec<u8> {
        self.raw.encode()
    }

    /// Its digest.
    pub fn root(&self) -> D {
        self.root
    }

    /// The decision up to which the state has all.
    pub fn seq_no(&self) -> SeqNo {
        self.raw.seq_no
    }

    /// Bytes of the state.
    pub fn bytes(&self) -> u64 {
        self.raw.bytes()
    }

    /// Digest and bytes of each chunk, in the state's order; one may come several times.
    pub fn chunks(&self) -> impl Iterator<Item = (D, u32)> + '_ {
        self.raw.chunks.iter().map(|(digest, bytes)| (D::from_bytes(*digest), *bytes))
    }
}

impl<D: Digest, S, CL: ConsensusLayer, B: Backend> Log<D, S, CL, B> {
    /// The manifest of a checkpoint, for another replica.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`].
    pub fn manifest(&self, seq_no: SeqNo) -> Result<Manifest<D>, Error> {
        let found = lock(&self.checkpoints).manifest(seq_no);
        let (info, manifest) = found.ok_or(Error::NoCheckpoint { seq_no })?;
        Ok(Manifest { raw: (*manifest).clone(), root: info.root })
    }

    /// A chunk, for another replica; its digest is checked. `None`: it is not here.
    ///
    /// # Errors
    /// [`Error::DamagedValue`], [`Error::WrongDigest`]: another replica has to be asked.
    pub fn chunk(&self, digest: D) -> Result<Option<Bytes>, Error> {
        let Some(bytes) = self.backend.chunk(&digest.bytes())? else { return Ok(None) };
        if D::of(&[&bytes]) != digest {
            return Err(Error::WrongDigest { what: format!("chunk {}", hex(&digest.bytes()[..4])) });
        }
        Ok(Some(bytes))
    }

    /// The checkpoint whose installation was begun and not finished, if there is one.
    ///
    /// # Errors
    /// The backend's.
    pub fn pending_install(&self) -> Result<Option<Manifest<D>>, Error> {
        let Some(root) = self.pending_root()? else { return Ok(None) };
        let manifest = match self.stored_manifest(&root) {
            Err(error) if !error.is_damage() => return Err(error),
            // It has to come again from whoever has it.
            manifest => manifest.ok().flatten(),
        };
        Ok(manifest.map(|raw| Manifest { raw, root: D::from_bytes(root) }))
    }

    /// Begins to install a checkpoint, or goes on with it: chunks that are here already are not missing. One at a time; no
    /// checkpoint is written meanwhile. The last checkpoint can be installed once more: only its damaged chunks are missing then.
    ///
    /// # Errors
    /// [`Error::OldCheckpoint`]: a newer one is here, or another one of the same decision.
    pub fn begin_install(&self, manifest: Manifest<D>) -> Result<Install<'_, D, S, CL, B>, Error> {
        let writing = lock(&self.writing);
        let seq_no = manifest.seq_no();
        let same = lock(&self.checkpoints).manifest(seq_no).is_some_and(|(info, _)| info.root == manifest.root);
        if let Some(last) = self.last_checkpoint().filter(|last| seq_no < *last || (seq_no == *last && !same)) {
            return Err(Error::OldCheckpoint { seq_no, last });
        }
        let root = manifest.root.bytes();
        self.keep_chunk(&root, &manifest.encode())?;
        self.backend.sync_chunks()?;
        let completion = {
            let _tip = lock(&self.tip);
            self.backend.write(&[Op::Put(PENDING, Bytes::copy_from_slice(&root))], Urgency::Now)?
        };
        completion.wait()?;
        Ok(Install { log: self, manifest, _writing: writing })
    }
}

/// An installation that is under way. Dropped, it can be begun again and goes on, also after a crash.
pub struct Install<'a, D, S, CL, B> {
    log: &'a Log<D, S, CL, B>,
    manifest: Manifest<D>,
    _writing: MutexGuard<'a, ()>,
}

impl<D: Digest, S, CL: ConsensusLayer, B: Backend> Install<'_, D, S, CL, B> {
    /// What is being installed.
    pub fn manifest(&self) -> &Manifest<D> {
        &self.manifest
    }

    /// Chunks that are still to be fetched, each once: from any replica, in any order, by several threads.
    ///
    /// # Errors
    /// The backend's.
    pub fn missing(&self) -> Result<Vec<(D, u32)>, Error> {
        let mut chunks: Vec<(D, u32)> = self.manifest.chunks().collect();
        chunks.sort_unstable();
        chunks.dedup();
        let mut missing = Vec::new();
        for (digest, bytes) in chunks {
            if !self.log.backend.is_chunk_whole(&digest.bytes())? {
                missing.push((digest, bytes));
            }
        }
        Ok(missing)
    }

    /// Takes a chunk that another replica sent, if it is what its digest says.
    ///
    /// # Errors
    /// [`Error::WrongDigest`]: it is not, or belongs to another checkpoint; nothing was stored.
    pub fn put(&self, digest: D, bytes: &[u8]) -> Result<(), Error> {
        let meant = |(own, length): (D, u32)| own == digest && length as usize == bytes.len();
        if D::of(&[bytes]) != digest || !self.manifest.chunks().any(meant) {
            return Err(Error::WrongDigest { what: format!("chunk {}", hex(&digest.bytes()[..4])) });
        }
        self.log.keep_chunk(&digest.bytes(), bytes)
    }

    /// Publishes the checkpoint, durable when this returns. Where decisions up to it are missing, those before it are given up:
    /// the state has them. Whether their room was given back: [`Log::housekeeping`].
    ///
    /// # Errors
    /// [`Error::Incomplete`]: chunks are missing. The log is as it was.
    pub fn finish(self) -> Result<CheckpointInfo<D>, Error> {
        let missing = self.missing()?.len();
        if missing > 0 {
            return Err(Error::Incomplete { missing });
        }
        let Install { log, manifest, _writing } = self;
        let seq_no = manifest.seq_no();
        let info = log.publish(manifest.raw)?;
        // The checkpoint is durable, whatever becomes of the rest, which is tried again with the next one.
        let tidied = log.tidy(seq_no).and_then(|()| log.backend.collect());
        lock(&log.tip).housekeeping = tidied.err();
        Ok(info)
    }

    /// Gives the installation up; its chunks go with the next checkpoint.
    ///
    /// # Errors
    /// The backend's.
    pub fn abandon(self) -> Result<(), Error> {
        let completion = {
            let _tip = lock(&self.log.tip);
            let op = Op::Remove(PENDING.space, PENDING.number..=PENDING.number);
            self.log.backend.write(&[op], Urgency::Now)?
        };
        completion.wait()
    }
}

impl<D: fmt::Debug, S, CL, B> fmt::Debug for Install<'_, D, S, CL, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Install").field("root", &self.manifest.root).finish_non_exhaustive()
    }
}
