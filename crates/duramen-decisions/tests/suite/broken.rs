//! A model of a store with a power supply to cut, right or broken in one way: what the suite must catch, by name.
//!
//! Its one file is the batches that were applied, one behind the other, with checksums; beside it lies the count of those that were
//! durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use duramen_decisions::backend::kv::{Kv, KvBackend, KvOp};
use duramen_decisions::backend::{Backend, BackendStats, Key, Op, Opened, Space, Urgency};
use duramen_decisions::suite::{Failure, File, Place};
use duramen_decisions::{Blake3, Completion, Digest as _, Error, PersistentLogConfig};
use duramen_journal::World;

use crate::files::UNASKED;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bug {
    None,
    HasSomething,
    VisibleLate,
    Unordered,
    BatchReversed,
    OtherBytes,
    KeepsRemoved,
    ForgetsChunks,
    LosesOnClose,
    AdmitsTwo,
    TakesAfterClosing,
    DropsCompletions,
    AcknowledgesEarly,
    LosesOrder,
    TearsBatches,
    LosesChunks,
    RefusesTornTail,
    HidesFullDisk,
    HidesFailures,
    HidesUnreadable,
    SaysNothing,
    ServesDamage,
}

impl Bug {
    /// Each with a case that must catch it.
    pub const ALL: [(Bug, &str); 30] = [
        (Bug::HasSomething, "empty"),
        (Bug::VisibleLate, "visible_at_once"),
        (Bug::Unordered, "ordering"),
        (Bug::BatchReversed, "batch_order"),
        (Bug::OtherBytes, "values"),
        (Bug::KeepsRemoved, "removal"),
        (Bug::ForgetsChunks, "chunks"),
        (Bug::ForgetsChunks, "chunks_survive"),
        (Bug::LosesOnClose, "reopen"),
        (Bug::AdmitsTwo, "one_opener"),
        (Bug::TakesAfterClosing, "closed"),
        (Bug::DropsCompletions, "completion_once"),
        (Bug::DropsCompletions, "completion_of_failure"),
        (Bug::AcknowledgesEarly, "acknowledged_survives"),
        (Bug::AcknowledgesEarly, "random_history"),
        (Bug::LosesOrder, "prefix_survives"),
        (Bug::LosesOrder, "killed"),
        (Bug::TearsBatches, "atomic_survives"),
        (Bug::LosesChunks, "chunks_survive"),
        (Bug::KeepsRemoved, "compaction_survives"),
        (Bug::RefusesTornTail, "torn_tail"),
        (Bug::HidesFullDisk, "disk_full"),
        (Bug::HidesFailures, "failed_write"),
        (Bug::HidesFailures, "failed_sync"),
        (Bug::HidesUnreadable, "failed_read"),
        (Bug::SaysNothing, "rot"),
        (Bug::SaysNothing, "rot_after_kill"),
        (Bug::ServesDamage, "rot"),
        (Bug::OtherBytes, "killed"),
        (Bug::AcknowledgesEarly, "chunks_survive"),
    ];
}

/// What lies at a place.
#[derive(Debug, Default)]
struct Model {
    batches: Vec<Vec<KvOp>>,
    durable: usize,
    values: BTreeMap<Vec<u8>, Bytes>,
    open: bool,
    failure: Option<Failure>,
    /// Batches that a failed sync lost.
    dropped: std::ops::Range<usize>,
    /// Batches that were durable and are not there.
    lost: usize,
    torn: bool,
}

impl Model {
    fn of(batches: &[Vec<KvOp>]) -> Model {
        let mut model = Model { durable: batches.len(), ..Model::default() };
        batches.iter().for_each(|ops| model.apply(ops.clone()));
        model
    }

    fn apply(&mut self, ops: Vec<KvOp>) {
        for op in &ops {
            match op {
                KvOp::Put(key, value) => _ = self.values.insert(key.clone(), value.clone().into()),
                KvOp::Remove(key) => _ = self.values.remove(key),
            }
        }
        self.batches.push(ops);
    }
}

#[derive(Clone, Debug)]
pub struct ModelKv(Arc<Mutex<Model>>, Bug);

impl ModelKv {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    fn is_unsynced(&self) -> bool {
        let model = self.model();
        model.durable < model.batches.len()
    }
}

fn failed() -> Error {
    Error::Backend { backend: "model", reason: "told to fail".into() }
}

impl Kv for ModelKv {
    fn name(&self) -> &'static str {
        "model"
    }

    fn apply(&self, mut ops: Vec<KvOp>) -> Result<(), Error> {
        let mut model = self.model();
        match model.failure {
            Some(Failure::Full) if self.1 == Bug::HidesFullDisk => return Ok(()),
            Some(Failure::Writes) if self.1 == Bug::HidesFailures => return Ok(()),
            Some(Failure::Full) => return Err(Error::NoSpace),
            Some(Failure::Writes) => return Err(failed()),
            _ => {}
        }
        match self.1 {
            Bug::BatchReversed => ops.reverse(),
            Bug::KeepsRemoved => ops.retain(|op| matches!(op, KvOp::Put(..))),
            _ => {}
        }
        model.apply(ops);
        Ok(())
    }

    fn persist(&self) -> Result<(), Error> {
        let mut model = self.model();
        if let Some(Failure::Sync) = model.failure {
            model.failure = None;
            model.dropped = model.durable..model.batches.len();
            return if self.1 == Bug::HidesFailures { Ok(()) } else { Err(failed()) };
        }
        if self.1 != Bug::AcknowledgesEarly {
            model.durable = model.batches.len();
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let model = self.model();
        match model.failure {
            Some(Failure::Reads) if self.1 == Bug::HidesUnreadable => Ok(None),
            Some(Failure::Reads) => Err(failed()),
            _ => Ok(model.values.get(key).cloned()),
        }
    }

    fn keys(&self, from: &[u8], to: &[u8], max: usize) -> Result<Vec<Vec<u8>>, Error> {
        let model = self.model();
        if from > to {
            return Ok(Vec::new());
        }
        let mut keys: Vec<_> = model.values.range(from.to_vec()..=to.to_vec()).map(|(key, _)| key.clone()).collect();
        if self.1 == Bug::Unordered {
            keys.sort_by_key(|key| key.iter().rev().copied().collect::<Vec<u8>>());
        }
        keys.truncate(max);
        Ok(keys)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.keys(from, to, usize::MAX)?.pop())
    }
}

/// A place of the model.
pub struct Broken(ModelKv);

impl Broken {
    pub fn new(bug: Bug) -> Broken {
        Broken(ModelKv(Arc::default(), bug))
    }

    /// What is left of it: only the bugs of opening and reading stay, the others would hide what the first run left.
    fn left(&self, model: Model) -> Broken {
        let stays = matches!(self.0.1, Bug::OtherBytes | Bug::RefusesTornTail | Bug::SaysNothing | Bug::ServesDamage);
        Broken(ModelKv(Arc::new(Mutex::new(model)), if stays { self.0.1 } else { Bug::None }))
    }
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    *Blake3::of(&[bytes]).bytes().first_chunk().unwrap()
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (own, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(own)
}

fn encoded(ops: &[KvOp]) -> Vec<u8> {
    let mut changes = Vec::new();
    for op in ops {
        let (KvOp::Put(key, _) | KvOp::Remove(key)) = op;
        put(&mut changes, key);
        match op {
            KvOp::Put(_, value) => put(&mut changes, &[&[1], &value[..]].concat()),
            KvOp::Remove(_) => put(&mut changes, &[0]),
        }
    }
    let mut record = Vec::new();
    put(&mut record, &[&checksum(&changes), &changes[..]].concat());
    record
}

fn decoded(rest: &mut &[u8], checks: bool) -> Option<Vec<KvOp>> {
    let (sum, mut changes) = take(rest)?.split_first_chunk::<8>()?;
    if checks && checksum(changes) != *sum {
        return None;
    }
    let mut ops = Vec::new();
    while !changes.is_empty() {
        let key = take(&mut changes)?.to_vec();
        let (how, value) = take(&mut changes)?.split_first()?;
        ops.push(if *how == 0 { KvOp::Remove(key) } else { KvOp::Put(key, value.to_vec()) });
    }
    Some(ops)
}

impl Place for Broken {
    type Backend = BrokenOpen;

    fn open(&self) -> Result<BrokenOpen, Error> {
        let ModelKv(_, bug) = self.0;
        let mut model = self.0.model();
        if model.open && bug != Bug::AdmitsTwo || model.torn && bug == Bug::RefusesTornTail {
            return Err(failed());
        }
        model.open = true;
        let lost = model.lost;
        drop(model);
        let mut config = PersistentLogConfig::new("unused");
        config.sync_policy = UNASKED;
        Ok(BrokenOpen { inner: KvBackend::new(self.0.clone(), &config)?, kv: self.0.clone(), bug, lost })
    }

    fn files(&self) -> Option<Vec<File>> {
        let model = self.0.model();
        let log = model.batches.iter().flat_map(|ops| encoded(ops)).collect();
        let durable = (model.durable as u64).to_le_bytes();
        Some(vec![("log".into(), log), ("durable".into(), [&durable[..], &checksum(&durable)].concat())])
    }

    fn with_files(&self, files: &[File]) -> Option<Broken> {
        let (mut rest, mut batches) = (&files[0].1[..], Vec::new());
        while let Some(ops) = decoded(&mut rest, self.0.1 != Bug::ServesDamage) {
            batches.push(ops);
        }
        let durable = files[1].1.split_first_chunk::<8>().filter(|(own, sum)| checksum(&own[..]) == **sum);
        let durable = durable.map_or(0, |(own, _)| u64::from_le_bytes(*own) as usize);
        let mut model = Model::of(&batches);
        (model.torn, model.lost) = (!rest.is_empty(), durable.saturating_sub(batches.len()));
        Some(self.left(model))
    }

    fn copy(&self) -> Option<Broken> {
        let mut batches = self.0.model().batches.clone();
        if self.0.1 == Bug::LosesOrder && batches.len() > 2 {
            batches.remove(1);
        }
        Some(self.left(Model::of(&batches)))
    }

    fn cut_power(&self, states_max: u64) -> Option<Vec<Broken>> {
        let model = self.0.model();
        let images = (model.durable..=model.batches.len()).rev().take(states_max as usize);
        let image = |count: usize| {
            let kept = (0..count).filter(|at| !model.dropped.contains(at));
            let mut batches: Vec<Vec<KvOp>> = kept.map(|at| model.batches[at].clone()).collect();
            match self.0.1 {
                Bug::LosesOrder if count > model.durable + 1 => _ = batches.remove(model.durable),
                Bug::TearsBatches if count > model.durable => {
                    let last = batches.last_mut().unwrap();
                    last.truncate(last.len().div_ceil(2));
                }
                Bug::LosesChunks => {
                    batches.iter_mut().for_each(|ops| {
                        ops.retain(|op| !matches!(op, KvOp::Put(key, _) if key[0] == 0xff && key[1] % 2 == 0));
                    });
                }
                _ => {}
            }
            self.left(Model::of(&batches))
        };
        Some(images.map(image).collect())
    }

    fn fail(&self, what: Failure) -> bool {
        self.0.model().failure = Some(what);
        true
    }

    fn heal(&self) {
        self.0.model().failure = None;
    }
}

#[derive(Debug)]
pub struct BrokenOpen {
    inner: KvBackend<ModelKv>,
    kv: ModelKv,
    bug: Bug,
    lost: usize,
}

impl Drop for BrokenOpen {
    fn drop(&mut self) {
        let mut model = self.kv.model();
        model.open = false;
        if self.bug == Bug::LosesOnClose {
            let kept = model.batches.len() / 2;
            *model = Model::of(&model.batches[..kept]);
        }
    }
}

/// The bytes of a key, as FORMAT.md has them.
fn key_bytes(key: Key) -> Vec<u8> {
    [&[key.space as u8][..], &key.number.to_be_bytes(), &key.part.to_be_bytes()].concat()
}

impl Backend for BrokenOpen {
    fn name(&self) -> &'static str {
        "model"
    }

    fn write(&self, ops: &[Op], urgency: Urgency) -> Result<Completion, Error> {
        let completion = match self.inner.write(ops, urgency) {
            Err(Error::Closed) if self.bug == Bug::TakesAfterClosing => return Ok(Completion::done()),
            written => written?,
        };
        if self.bug == Bug::DropsCompletions {
            drop(completion);
            let (completer, completion) = Completion::pair(&World::real().environment);
            std::mem::forget(completer);
            return Ok(completion);
        }
        Ok(completion)
    }

    fn get(&self, key: Key) -> Result<Option<Bytes>, Error> {
        let got = self.inner.get(key);
        match (self.bug, &got) {
            (Bug::HasSomething, Ok(None)) => Ok(Some("what?".into())),
            (Bug::VisibleLate, _) if self.kv.is_unsynced() => Ok(None),
            (Bug::OtherBytes, Ok(Some(value))) if value.len() > 100 => {
                let mut value = value.to_vec();
                value[50] ^= 1;
                Ok(Some(value.into()))
            }
            (Bug::ServesDamage, Err(Error::DamagedValue { .. })) => {
                Ok(self.kv.get(&key_bytes(key))?.map(|value| value.slice(5.min(value.len())..)))
            }
            _ => got,
        }
    }

    fn keys(&self, space: Space, numbers: RangeInclusive<u64>, max: usize) -> Result<Vec<Key>, Error> {
        self.inner.keys(space, numbers, max)
    }

    fn last(&self, space: Space, upto: u64) -> Result<Option<Key>, Error> {
        self.inner.last(space, upto)
    }

    fn sync(&self) -> Result<(), Error> {
        self.inner.sync()
    }

    fn collect(&self) -> Result<(), Error> {
        self.inner.collect()
    }

    fn put_chunk(&self, digest: &[u8; 32], bytes: &[u8]) -> Result<(), Error> {
        self.inner.put_chunk(digest, bytes)
    }

    fn sync_chunks(&self) -> Result<(), Error> {
        self.inner.sync_chunks()
    }

    fn chunk(&self, digest: &[u8; 32]) -> Result<Option<Bytes>, Error> {
        self.inner.chunk(digest)
    }

    fn has_chunk(&self, digest: &[u8; 32]) -> Result<bool, Error> {
        self.inner.has_chunk(digest)
    }

    fn retain_chunks(&self, live: &BTreeSet<[u8; 32]>) -> Result<(), Error> {
        self.inner.retain_chunks(if self.bug == Bug::ForgetsChunks { const { &BTreeSet::new() } } else { live })
    }

    fn opened(&self) -> Opened {
        let mut opened = self.inner.opened();
        if self.lost > 0 && self.bug != Bug::SaysNothing {
            (opened.open_end, opened.places) = (true, vec![format!("{} batches are lost", self.lost)]);
        }
        opened
    }

    fn stats(&self) -> BackendStats {
        self.inner.stats()
    }

    fn tick(&self) {
        self.inner.tick();
    }

    fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }
}
