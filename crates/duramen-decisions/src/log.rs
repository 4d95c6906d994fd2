//! The log: what follows what, what a duplicate is, what may go. Owns these rules, once for all backends.
//!
//! Locks: `tip` is held while a batch is checked and handed to the backend, so that batches are stored in the order in which they
//! were found good; it is never held while something is synced. `writing` is held while a checkpoint is written, installed or
//! forgotten; `checkpoints` for a look at what is published. They are taken in the order `writing`, `checkpoints`, `tip`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Mutex;

use bytes::Bytes;

use crate::SeqNo;
use crate::backend::file::FileBackend;
use crate::backend::{Backend, BackendStats, Key, Op, Space, Urgency};
use crate::batch::{Batch, Item};
use crate::cache::Cache;
use crate::checkpoint::Checkpoints;
use crate::codec::{Codec, ConsensusLayer};
use crate::completion::Completion;
use crate::config::{PersistentLogConfig, RecoveryPolicy};
use crate::digest::{Digest, algorithm_name};
use crate::error::Error;
use crate::lock;
use crate::migrate::UNFINISHED;
use crate::recovery::{Facts, RecoveryInfo, damage_of_files, verdict};
use crate::values::{DECISION_HEAD_BYTES, DecisionHead, Head, VERSION};

/// The key of what the log says of itself.
pub(crate) const HEAD: Key = Key { space: Space::Own, number: 0, part: 0 };
/// Numbers whose values are removed together, so that stores in between do not wait long.
const REMOVED_AT_ONCE: u64 = 4096;

/// A durable log of decisions, with digests `D`, checkpoints of states `S`, the types of a consensus layer `CL`, on a backend `B`.
///
/// Share it by reference or in an `Arc`: all methods take `&self`. [`crate::PersistentLog`] is the trait of what a protocol uses.
pub struct Log<D, S, CL, B = FileBackend> {
    pub(crate) backend: B,
    pub(crate) config: PersistentLogConfig,
    pub(crate) tip: Mutex<Tip>,
    pub(crate) checkpoints: Mutex<Checkpoints<D>>,
    pub(crate) writing: Mutex<()>,
    pub(crate) info: RecoveryInfo<D>,
    types: PhantomData<fn() -> (S, CL)>,
}

/// A log in segmented files, the default.
pub type FileBasedLog<D, S, CL> = Log<D, S, CL, FileBackend>;

/// What is known of the end without asking the backend.
#[derive(Debug, Default)]
pub(crate) struct Tip {
    /// Nothing is kept up to this one.
    pub base: Option<SeqNo>,
    /// Every decision behind the base, or from the first one on, is there up to this one.
    frontier: Option<SeqNo>,
    /// The first stored decision, where there is no base.
    first: Option<SeqNo>,
    /// The backend's epoch that this holds for.
    pub epoch: u64,
    /// Bytes of all decisions so far.
    pub total: u64,
    /// The number that an instance's next message gets.
    messages: BTreeMap<SeqNo, u32>,
    cache: Cache,
    hits: u64,
    misses: u64,
    /// Why old checkpoints could not be forgotten, or the log not be compacted, the last time.
    pub housekeeping: Option<Error>,
}

impl Tip {
    /// Nothing is kept up to this one any more.
    pub fn rebase(&mut self, base: SeqNo) {
        if !self.begins_by(base.saturating_add(1)) {
            // What is stored lies behind a hole from now on.
            self.frontier = None;
        }
        self.base = self.base.max(Some(base));
        self.messages.retain(|seq_no, _| *seq_no > base);
    }

    /// Whether decisions are counted from this one, or from one before it. Asked after the frontier was.
    pub fn begins_by(&self, seq_no: SeqNo) -> bool {
        self.base.is_some() || self.first.is_some_and(|first| first <= seq_no)
    }
}

/// Figures since opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// The backend's.
    pub backend: BackendStats,
    /// Decisions that were asked for and found in memory.
    pub cache_hits: u64,
    /// Decisions that were asked for and read.
    pub cache_misses: u64,
}

impl<D, S, CL, B> Log<D, S, CL, B> {
    /// Why old checkpoints could not be forgotten, or the log not be compacted, when that was tried last after a checkpoint. `None`:
    /// it was done.
    pub fn housekeeping(&self) -> Option<Error> {
        lock(&self.tip).housekeeping.clone()
    }
}

impl<D, S, CL, B: fmt::Debug> fmt::Debug for Log<D, S, CL, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl<D: Digest, S, CL: ConsensusLayer> FileBasedLog<D, S, CL> {
    /// Opens, or creates, the log in a folder. Everything that it says and gives is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Damaged`], with what is lost as a value, unless the options say otherwise; [`Error::Foreign`],
    /// [`Error::OtherDigest`], [`Error::NewerFormat`]; [`Error::Journal`], as when another process has it open; [`Error::Io`].
    pub fn new(config: PersistentLogConfig) -> Result<FileBasedLog<D, S, CL>, Error> {
        config.check()?;
        match FileBackend::open(&config) {
            Ok(backend) => Log::on(backend, config),
            Err(Error::Journal(error @ duramen_journal::Error::Damaged(_))) => {
                // What cannot be assessed is told as the journal told it.
                Err(damage_of_files(&config).unwrap_or(Error::Journal(error)))
            }
            Err(error) => Err(error),
        }
    }
}

impl<D: Digest, S, CL: ConsensusLayer, B: Backend> Log<D, S, CL, B> {
    /// A log on a backend that is open.
    ///
    /// # Errors
    /// As [`FileBasedLog::new`]; [`Error::Unfinished`]: a migration into it was not finished.
    pub fn on(backend: B, config: PersistentLogConfig) -> Result<Log<D, S, CL, B>, Error> {
        config.check()?;
        let base = read_head::<D>(&backend, config.recovery)?;
        let cache = Cache::new(config.cache_size);
        let mut tip = Tip { base, epoch: backend.epoch(), cache, ..Tip::default() };
        if let Some(key) = backend.last(Space::Decision, u64::MAX)?
            && let Some((head, bytes)) = backend.get(key).ok().flatten().and_then(|value| DecisionHead::split(&value))
        {
            // Of several that came out of order the last number's is near enough: what it is used for are bounds.
            tip.total = head.total + bytes.len() as u64;
        }
        let mut log = Log {
            backend,
            config,
            tip: Mutex::new(tip),
            checkpoints: Mutex::default(),
            writing: Mutex::default(),
            info: RecoveryInfo::default(),
            types: PhantomData,
        };
        log.find_checkpoints()?;
        log.info = log.look()?;
        if let (RecoveryPolicy::Refuse, true, Some(damage)) =
            (log.config.recovery, log.backend.opened().open_end, &log.info.damage)
        {
            return Err(Error::Damaged(Box::new(damage.clone())));
        }
        if let Some(base) = log.base() {
            // A crash may have left some of what was compacted.
            log.remove_upto(base)?;
        }
        Ok(log)
    }

    /// What opening found.
    pub fn recovery_info(&self) -> &RecoveryInfo<D> {
        &self.info
    }

    /// The backend, to look at.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The options.
    pub fn config(&self) -> &PersistentLogConfig {
        &self.config
    }

    /// Figures since opening.
    pub fn stats(&self) -> LogStats {
        let (cache_hits, cache_misses) = {
            let tip = lock(&self.tip);
            (tip.hits, tip.misses)
        };
        LogStats { backend: self.backend.stats(), cache_hits, cache_misses }
    }

    /// Nothing is kept up to this one: it was compacted, or an installed checkpoint has it. `None`: nothing was.
    pub fn base(&self) -> Option<SeqNo> {
        lock(&self.tip).base
    }

    /// Every decision behind the base is there up to this one; where there is no base, behind the first that was stored. `None`:
    /// there is none.
    ///
    /// # Errors
    /// The backend's.
    pub fn last_contiguous(&self) -> Result<Option<SeqNo>, Error> {
        self.frontier(&mut lock(&self.tip))
    }

    /// The highest number that was stored, whatever is missing before it.
    ///
    /// # Errors
    /// The backend's.
    pub fn last_decision(&self) -> Result<Option<SeqNo>, Error> {
        let last = self.backend.last(Space::Decision, u64::MAX)?.map(|key| key.number);
        Ok(last.filter(|last| self.base().is_none_or(|base| *last > base)))
    }

    pub(crate) fn frontier(&self, tip: &mut Tip) -> Result<Option<SeqNo>, Error> {
        let epoch = self.backend.epoch();
        if epoch != tip.epoch {
            // Something that was taken was refused.
            (tip.epoch, tip.frontier, tip.first) = (epoch, None, None);
            tip.messages.clear();
            tip.cache.clear();
        }
        if tip.base.is_none() && tip.first.is_none() {
            tip.first = self.backend.keys(Space::Decision, 0..=u64::MAX, 1)?.first().map(|key| key.number);
        }
        let mut next = match tip.frontier.max(tip.base) {
            Some(last) => last.checked_add(1),
            None => tip.first,
        };
        while let Some(number) = next
            && self.backend.contains(Key::new(Space::Decision, number))?
        {
            tip.frontier = Some(number);
            next = number.checked_add(1);
        }
        Ok(tip.frontier.max(tip.base))
    }

    fn now_millis(&self) -> u64 {
        self.config.world.environment.wall().map_or(0, |wall| wall.as_millis() as u64)
    }

    pub(crate) fn millis(&self) -> u64 {
        self.now_millis()
    }

    /// Stores a batch, all or none. Its values are there for readers when this returns; the completion says when they are durable.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Compacted`], [`Error::TooLarge`], [`Error::NoSpace`], [`Error::Failed`]: nothing of it is
    /// stored.
    pub fn store(&self, batch: &Batch<CL>) -> Result<Completion, Error> {
        let digests: Vec<[u8; 32]> = batch
            .items
            .iter()
            .map(|item| if let Item::Decision(_, bytes) = item { D::of(&[bytes]).bytes() } else { [0; 32] })
            .collect();
        let millis = self.now_millis();
        let urgency = if batch.urgent { Urgency::Now } else { Urgency::Policy };
        let mut tip = lock(&self.tip);
        let (own, completion) = loop {
            // Also notices what was refused since.
            self.frontier(&mut tip)?;
            let mut own = Pending { total: tip.total, ..Pending::default() };
            for (item, digest) in batch.items.iter().zip(&digests) {
                self.check(&mut tip, item, *digest, millis, &mut own)?;
            }
            if own.ops.is_empty() {
                // All of it is there; what follows it is durable only when it is, too.
                own.ops.push(self.head_op(tip.base));
            }
            // What was found to be there already may have been refused by now: then it is looked at again.
            if let Some(completion) = self.backend.write_in(tip.epoch, &own.ops, urgency)? {
                break (own, completion);
            }
        };
        tip.total = own.total;
        tip.messages.extend(own.messages);
        for (seq_no, (_, bytes)) in own.decisions {
            tip.first = tip.first.map(|first| first.min(seq_no));
            if tip.base.is_none() && tip.frontier.is_some_and(|frontier| seq_no < frontier) {
                // One before the first.
                tip.frontier = None;
            }
            tip.cache.insert(seq_no, bytes);
        }
        Ok(completion)
    }

    pub(crate) fn head_op(&self, base: Option<SeqNo>) -> Op {
        Op::Put(HEAD, Head { version: VERSION, algorithm: D::ALGORITHM, base }.encode().into())
    }

    /// Checks one value of a batch, and adds what it changes.
    fn check(&self, tip: &mut Tip, item: &Item, digest: [u8; 32], millis: u64, own: &mut Pending) -> Result<(), Error> {
        let kept = |seq_no: SeqNo| match tip.base {
            Some(upto) if seq_no <= upto => Err(Error::Compacted { seq_no, upto }),
            _ => Ok(()),
        };
        let put = |space, number, bytes: &Bytes| Op::Put(Key::new(space, number), bytes.clone());
        match item {
            Item::Decision(seq_no, bytes) => {
                kept(*seq_no)?;
                let conflict = Error::Conflict { what: "decision", seq_no: *seq_no };
                if let Some((known, _)) = own.decisions.get(seq_no) {
                    return if *known == digest { Ok(()) } else { Err(conflict) };
                }
                if let Some(known) = self.stored_digest(*seq_no)? {
                    return if known == digest { Ok(()) } else { Err(conflict) };
                }
                let mut head = Vec::with_capacity(DECISION_HEAD_BYTES);
                DecisionHead { digest, millis, total: own.total }.put(&mut head);
                own.total += bytes.len() as u64;
                own.decisions.insert(*seq_no, (digest, bytes.clone()));
                own.ops.push(Op::PutParts(Key::new(Space::Decision, *seq_no), head.into(), bytes.clone()));
            }
            Item::Proof(seq_no, bytes) => {
                kept(*seq_no)?;
                own.ops.push(put(Space::Proof, *seq_no, bytes));
            }
            Item::Membership(seq_no, bytes) => {
                let key = Key::new(Space::Membership, *seq_no);
                match self.backend.get(key)? {
                    Some(known) if known == *bytes => {}
                    Some(_) => return Err(Error::Conflict { what: "membership", seq_no: *seq_no }),
                    None => own.ops.push(put(Space::Membership, *seq_no, bytes)),
                }
            }
            Item::Message(seq_no, bytes) => {
                kept(*seq_no)?;
                let known = own.messages.get(seq_no).or_else(|| tip.messages.get(seq_no)).copied();
                let part = match known {
                    Some(part) => part,
                    None => {
                        self.backend.keys(Space::Message, *seq_no..=*seq_no, usize::MAX)?.last().map_or(0, next_part)
                    }
                };
                own.messages.insert(*seq_no, part + 1);
                let key = Key { space: Space::Message, number: *seq_no, part };
                own.ops.push(Op::Put(key, bytes.clone()));
            }
            Item::Safety(bytes) => own.ops.push(put(Space::Safety, 0, bytes)),
            Item::Recovery(number, bytes) => own.ops.push(put(Space::Recovery, *number, bytes)),
        }
        Ok(())
    }

    fn stored_digest(&self, seq_no: SeqNo) -> Result<Option<[u8; 32]>, Error> {
        let key = Key::new(Space::Decision, seq_no);
        if !self.backend.contains(key)? {
            return Ok(None);
        }
        Ok(self.decision_value(key)?.map(|(head, _)| head.digest))
    }

    fn decision_value(&self, key: Key) -> Result<Option<(DecisionHead, Bytes)>, Error> {
        let Some(value) = self.backend.get(key)? else { return Ok(None) };
        let split = DecisionHead::split(&value);
        split.map(Some).ok_or_else(|| Error::damaged(key, "it is shorter than what stands before a decision"))
    }

    /// A decision's bytes.
    pub(crate) fn decision_bytes(&self, seq_no: SeqNo) -> Result<Option<Bytes>, Error> {
        {
            let mut tip = lock(&self.tip);
            if tip.base.is_some_and(|base| seq_no <= base) {
                return Ok(None);
            }
            if self.backend.epoch() == tip.epoch
                && let Some(bytes) = tip.cache.get(seq_no)
            {
                tip.hits += 1;
                return Ok(Some(bytes));
            }
            tip.misses += 1;
        }
        Ok(self.decision_value(Key::new(Space::Decision, seq_no))?.map(|(_, bytes)| bytes))
    }

    /// A decision; `None`: it is not there, or was compacted.
    ///
    /// # Errors
    /// [`Error::DamagedValue`], the backend's, the codec's.
    pub fn decision(&self, seq_no: SeqNo) -> Result<Option<CL::Decision>, Error> {
        self.decision_bytes(seq_no)?.map(|bytes| decoded(Key::new(Space::Decision, seq_no), &bytes)).transpose()
    }

    /// A decision's digest, as it was when it was stored.
    ///
    /// # Errors
    /// As [`Log::decision`].
    pub fn decision_digest(&self, seq_no: SeqNo) -> Result<Option<D>, Error> {
        if self.base().is_some_and(|base| seq_no <= base) {
            return Ok(None);
        }
        Ok(self.stored_digest(seq_no)?.map(D::from_bytes))
    }

    /// A decision's proof.
    ///
    /// # Errors
    /// As [`Log::decision`].
    pub fn proof(&self, seq_no: SeqNo) -> Result<Option<CL::Proof>, Error> {
        if self.base().is_some_and(|base| seq_no <= base) {
            return Ok(None);
        }
        self.value(Key::new(Space::Proof, seq_no))
    }

    /// The messages of an instance, in the order in which they were stored.
    ///
    /// # Errors
    /// As [`Log::decision`].
    pub fn messages(&self, seq_no: SeqNo) -> Result<Vec<CL::Message>, Error> {
        if self.base().is_some_and(|base| seq_no <= base) {
            return Ok(Vec::new());
        }
        let keys = self.backend.keys(Space::Message, seq_no..=seq_no, usize::MAX)?;
        keys.into_iter().filter_map(|key| self.value(key).transpose()).collect()
    }

    /// The numbers of instances that have messages, from one on, `max` at most.
    ///
    /// # Errors
    /// The backend's.
    pub fn instances(&self, from: SeqNo, max: usize) -> Result<Vec<SeqNo>, Error> {
        let from = self.base().map_or(from, |base| from.max(base.saturating_add(1)));
        let (mut numbers, mut next) = (Vec::new(), Some(from));
        while numbers.len() < max
            && let Some(from) = next
            && let Some(key) = self.backend.keys(Space::Message, from..=u64::MAX, 1)?.first()
        {
            numbers.push(key.number);
            next = key.number.checked_add(1);
        }
        Ok(numbers)
    }

    /// The safety record; `None`: none was ever stored. **Look at [`RecoveryInfo::damage`] before you trust it.**
    ///
    /// # Errors
    /// As [`Log::decision`].
    pub fn safety(&self) -> Result<Option<CL::Safety>, Error> {
        self.value(Key::new(Space::Safety, 0))
    }

    /// The protocol's recovery information of a number.
    ///
    /// # Errors
    /// The backend's.
    pub fn recovery(&self, number: u64) -> Result<Option<Bytes>, Error> {
        self.backend.get(Key::new(Space::Recovery, number))
    }

    /// The membership that holds for a decision, and from which one on it does.
    ///
    /// # Errors
    /// As [`Log::decision`].
    pub fn membership(&self, seq_no: SeqNo) -> Result<Option<(SeqNo, CL::Membership)>, Error> {
        let Some(key) = self.backend.last(Space::Membership, seq_no)? else { return Ok(None) };
        Ok(self.value(key)?.map(|membership| (key.number, membership)))
    }

    fn value<T: Codec>(&self, key: Key) -> Result<Option<T>, Error> {
        self.backend.get(key)?.map(|bytes| decoded(key, &bytes)).transpose()
    }

    /// Makes everything that was stored so far durable.
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::NoSpace`].
    pub fn sync(&self) -> Result<(), Error> {
        self.backend.sync()
    }

    /// Gives up the decisions up to one, with their proofs and messages. A checkpoint that has them must be durable. Appends go on
    /// meanwhile. What was given up is gone when this returns; its room on the disk follows.
    ///
    /// # Errors
    /// [`Error::BeyondCheckpoint`]: nothing was given up.
    pub fn compact(&self, upto: SeqNo) -> Result<(), Error> {
        let checkpoints = lock(&self.checkpoints);
        let checkpoint = checkpoints.last();
        if checkpoint.is_none_or(|last| upto > last) {
            return Err(Error::BeyondCheckpoint { seq_no: upto, checkpoint });
        }
        let oldest = checkpoints.oldest();
        drop(checkpoints);
        {
            let mut tip = lock(&self.tip);
            if tip.base.is_some_and(|base| base >= upto) {
                drop(tip);
                // It may have stopped half-way, as for want of room.
                self.remove_upto(upto)?;
                return self.backend.collect();
            }
            loop {
                self.frontier(&mut tip)?;
                let mut ops = vec![self.head_op(Some(upto))];
                // Memberships are kept from that of the oldest checkpoint on.
                let known = oldest.map_or(Ok(None), |oldest| self.backend.last(Space::Membership, oldest))?;
                if let Some(last) = known.and_then(|key| key.number.checked_sub(1)) {
                    ops.push(Op::Remove(Space::Membership, 0..=last));
                }
                if self.backend.write_in(tip.epoch, &ops, Urgency::Policy)?.is_some() {
                    break;
                }
            }
            tip.rebase(upto);
        }
        self.remove_upto(upto)?;
        self.backend.collect()
    }

    /// Removes what the base has made invisible, piece by piece. Each piece says the base again: that which said it first may have
    /// been refused meanwhile, and a removal without it would be a hole.
    pub(crate) fn remove_upto(&self, upto: SeqNo) -> Result<(), Error> {
        for space in [Space::Decision, Space::Proof, Space::Message] {
            while let Some(first) = self.backend.keys(space, 0..=upto, 1)?.first().map(|key| key.number) {
                let last = upto.min(first.saturating_add(REMOVED_AT_ONCE - 1));
                let tip = lock(&self.tip);
                let ops = [self.head_op(tip.base), Op::Remove(space, 0..=last)];
                drop(self.backend.write(&ops, Urgency::Policy)?);
                drop(tip);
            }
        }
        Ok(())
    }

    /// Takes back every decision behind one, with its proof and messages, and the memberships from then on.
    ///
    /// # Errors
    /// [`Error::BelowCheckpoint`]: a durable checkpoint has some of them.
    pub fn truncate(&self, kept: SeqNo) -> Result<Completion, Error> {
        self.take_back(kept.saturating_add(1), u64::MAX, true)
    }

    /// Takes back one decision, with its proof and messages.
    ///
    /// # Errors
    /// [`Error::BelowCheckpoint`]: a durable checkpoint has it.
    pub fn take_back_one(&self, seq_no: SeqNo) -> Result<Completion, Error> {
        self.take_back(seq_no, seq_no, false)
    }

    fn take_back(&self, first: SeqNo, last: SeqNo, memberships: bool) -> Result<Completion, Error> {
        let checkpoints = lock(&self.checkpoints);
        if let Some(checkpoint) = checkpoints.last().filter(|checkpoint| first <= *checkpoint) {
            return Err(Error::BelowCheckpoint { seq_no: first, checkpoint });
        }
        let mut tip = lock(&self.tip);
        let mut ops: Vec<Op> =
            [Space::Decision, Space::Proof, Space::Message].map(|space| Op::Remove(space, first..=last)).into();
        if memberships {
            ops.push(Op::Remove(Space::Membership, first..=last));
        }
        let completion = self.backend.write(&ops, Urgency::Now)?;
        (tip.frontier, tip.first) = (None, None);
        tip.messages.retain(|seq_no, _| !(first..=last).contains(seq_no));
        tip.cache.clear();
        Ok(completion)
    }

    /// Decisions behind one, in order, up to the first that is missing. Memory: a few hundred at a time.
    ///
    /// # Errors
    /// [`Error::Compacted`]: some of them are gone.
    pub fn decisions_after(&self, seq_no: Option<SeqNo>) -> Result<Decisions<'_, D, S, CL, B>, Error> {
        let mut tip = lock(&self.tip);
        let end = self.frontier(&mut tip)?;
        let first = match (seq_no, tip.base) {
            (Some(seq_no), Some(upto)) if seq_no < upto => return Err(Error::Compacted { seq_no, upto }),
            // Those that are stored may all come later.
            (Some(seq_no), _) => seq_no.checked_add(1).filter(|next| tip.begins_by(*next)),
            (None, Some(upto)) => return Err(Error::Compacted { seq_no: 0, upto }),
            (None, None) => tip.first,
        };
        drop(tip);
        let next = first.zip(end).filter(|(first, end)| first <= end);
        Ok(Decisions { log: self, next, read: Vec::new().into_iter() })
    }

    /// Runs due work, in an environment without threads.
    pub fn tick(&self) {
        self.backend.tick();
    }

    /// Closes: everything becomes durable. Reading goes on.
    ///
    /// # Errors
    /// It did not.
    pub fn close(&self) -> Result<(), Error> {
        self.backend.close()
    }
}

/// What a batch adds, while it is checked.
#[derive(Default)]
struct Pending {
    ops: Vec<Op>,
    decisions: BTreeMap<SeqNo, ([u8; 32], Bytes)>,
    messages: BTreeMap<SeqNo, u32>,
    total: u64,
}

fn next_part(key: &Key) -> u32 {
    key.part + 1
}

pub(crate) fn decoded<T: Codec>(key: Key, bytes: &Bytes) -> Result<T, Error> {
    T::decode(bytes).map_err(|reason| Error::Codec { what: key.to_string(), reason })
}

/// Checks what the log says of itself, or makes it say so; returns its base.
fn read_head<D: Digest>(backend: &impl Backend, recovery: RecoveryPolicy) -> Result<Option<SeqNo>, Error> {
    if backend.contains(UNFINISHED)? {
        return Err(Error::Unfinished);
    }
    let Some(value) = backend.get(HEAD)? else {
        let opened = backend.opened();
        if let (RecoveryPolicy::Refuse, true) = (recovery, opened.open_end)
            && let Some(damage) = verdict(&Facts { opened, ..Facts::default() })
        {
            return Err(Error::Damaged(Box::new(damage)));
        }
        let head = Head { version: VERSION, algorithm: D::ALGORITHM, base: None };
        backend.write(&[Op::Put(HEAD, head.encode().into())], Urgency::Now)?.wait()?;
        return Ok(None);
    };
    let head = Head::decode(&value).ok_or_else(|| Error::damaged(HEAD, "it makes no sense"))?;
    if head.version > VERSION {
        return Err(Error::NewerFormat { found: head.version, supported: VERSION });
    }
    if head.algorithm != D::ALGORITHM {
        return Err(Error::OtherDigest { found: algorithm_name(head.algorithm), expected: D::NAME.into() });
    }
    Ok(head.base)
}

/// Decisions in order: see [`Log::decisions_after`].
pub struct Decisions<'a, D, S, CL, B> {
    log: &'a Log<D, S, CL, B>,
    /// The next to read, and the last.
    next: Option<(SeqNo, SeqNo)>,
    read: std::vec::IntoIter<(SeqNo, Result<Option<Bytes>, Error>)>,
}

/// Decisions that are read together.
const READ_AT_ONCE: u64 = 64;

impl<D: Digest, S, CL: ConsensusLayer, B: Backend> Decisions<'_, D, S, CL, B> {
    /// The number of the last one that will come; `None`: nothing comes.
    pub fn end(&self) -> Option<SeqNo> {
        self.next.map(|(_, last)| last).or(self.read.as_slice().last().map(|(seq_no, _)| *seq_no))
    }

    fn fill(&mut self) {
        let Some((first, last)) = self.next else { return };
        let end = last.min(first.saturating_add(READ_AT_ONCE - 1));
        self.next = if end < last { Some((end + 1, last)) } else { None };
        let keys: Vec<Key> = (first..=end).map(|number| Key::new(Space::Decision, number)).collect();
        let values = self.log.backend.get_many(&keys);
        self.read = (first..=end).zip(values).collect::<Vec<_>>().into_iter();
    }
}

impl<D: Digest, S, CL: ConsensusLayer, B: Backend> Iterator for Decisions<'_, D, S, CL, B> {
    type Item = Result<(SeqNo, CL::Decision), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read.as_slice().is_empty() {
            self.fill();
        }
        let (seq_no, value) = self.read.next()?;
        let key = Key::new(Space::Decision, seq_no);
        let decode = |value: Bytes| {
            let (_, bytes) = DecisionHead::split(&value)
                .ok_or_else(|| Error::damaged(key, "it is shorter than what stands before a decision"))?;
            decoded(key, &bytes)
        };
        match value {
            Ok(Some(value)) => Some(decode(value).map(|decision| (seq_no, decision))),
            // It was compacted, or taken back, meanwhile.
            Ok(None) => Some(Err(Error::Compacted { seq_no, upto: self.log.base().unwrap_or(seq_no) })),
            Err(error) => Some(Err(error)),
        }
    }
}

impl<D, S, CL, B> fmt::Debug for Decisions<'_, D, S, CL, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").field("next", &self.next).finish_non_exhaustive()
    }
}
