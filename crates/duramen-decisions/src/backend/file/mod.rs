//! Segmented files: values in a journal, chunks in packs. The default backend. Owns the index from keys to records, what becomes of
//! it when the journal refuses what it had taken, and what keeps old segments from being released.
//!
//! Locks: one over the index. It is held while an append is handed to the journal, which does not wait for the disk, and never
//! while anything is read or synced.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use duramen_journal::{
    Append, Batch, Class, Codec, End, Error as JournalError, Gap, Journal, LogNumber, Observer, ObserverFactory,
    OnDamage, Options, Report, SegmentInfo, Sequence,
};

use crate::backend::packs::Packs;
use crate::backend::{Backend, BackendStats, Key, Op, Opened, Space, Urgency};
use crate::completion::Completion;
use crate::config::{CompressionOptions, PersistentLogConfig, RecoveryPolicy};
use crate::error::Error;
use crate::lock;
use index::{Index, Undo};
use record::{Change, HEAD_BYTES, PUT, REMOVE, Summary, change_of, log_of, put_head, put_removal, read_summary};

pub(crate) mod index;
pub(crate) mod record;
pub(crate) mod survey;

/// What a folder of decisions is called in its identity.
pub const KIND: [u8; 8] = *b"decide\0\0";

/// Records that are walked over for each one that is wanted, rather than read one by one.
const WALK_PER_KEY: usize = 8;

/// Values that are few, and stay while decisions go: they are written again so that old segments can be released.
const CARRIED: [Space; 6] =
    [Space::Own, Space::Safety, Space::Membership, Space::Checkpoint, Space::Message, Space::Recovery];

/// Segmented files on a journal.
pub struct FileBackend {
    journal: Journal,
    packs: Packs,
    state: Mutex<State>,
    /// Held while old segments are given back.
    collecting: Mutex<()>,
    opened: Opened,
}

#[derive(Debug, Default)]
struct State {
    index: Index,
    /// How to take back what is not written yet.
    undo: VecDeque<(Sequence, Undo)>,
    epoch: u64,
    /// How often something was taken back.
    refusals: u64,
    batch: Batch,
}

impl fmt::Debug for FileBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBackend").finish_non_exhaustive()
    }
}

fn options_of(config: &PersistentLogConfig) -> Options {
    Options {
        kind: KIND,
        create: config.create,
        segment_bytes: config.max_segment_size,
        policy: config.sync_policy,
        codec: match config.compression {
            CompressionOptions::None => Codec::None,
            CompressionOptions::Lz4 => Codec::Lz4,
            CompressionOptions::Zstd(level) => Codec::Zstd(level as i8),
        },
        on_damage: match config.recovery {
            RecoveryPolicy::Refuse => OnDamage::Refuse,
            RecoveryPolicy::SetAside => OnDamage::SetAside,
        },
        observer: Some(Arc::new(Summing)),
        ..config.journal.clone()
    }
}

impl FileBackend {
    /// Opens, or creates, the files in a folder.
    ///
    /// # Errors
    /// The journal's.
    pub fn open(config: &PersistentLogConfig) -> Result<FileBackend, Error> {
        let (journal, report) = Journal::open_with(&config.log_dir, &options_of(config), config.world.clone())?;
        let mut index = Index::default();
        let mut opened = opened_of(&report);
        let (mut damaged, mut told) = (Vec::new(), Vec::new());
        for info in journal.segments() {
            let scan = |visit: &mut dyn FnMut(Sequence, Option<Change>)| {
                let mut scan = journal.scan(info.first..info.next);
                while let Some(record) = scan.next_borrowed() {
                    match record {
                        Ok(record) => {
                            visit(record.sequence, changed(record.log, record.kind, record.payload, record.sequence)?);
                        }
                        Err(JournalError::InGap { .. }) => {}
                        Err(error @ JournalError::DamagedRecord(_)) => damaged.push(error.to_string()),
                        // What cannot be read now may be a removal, or the newest vote: without it nothing is served.
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(())
            };
            if fill(&mut index, &info, &report, &mut opened.lost, scan)? {
                told.push(info.first..info.next);
            }
        }
        // Nobody knows what they were.
        opened.open_end |= !damaged.is_empty();
        opened.places.append(&mut damaged);
        // Of what is lost elsewhere nobody tells what it was: it may have been the newest vote.
        let is_told = |gap: &Gap| told.iter().any(|own| own.start <= gap.first && gap.end <= own.end);
        opened.open_end |= !report.gaps.iter().filter(|gap| gap.end > journal.first()).all(is_told);
        let packs = Packs::open(config.world.disk.clone(), &config.log_dir, config.compression)?;
        let state = State { index, epoch: journal.epoch(), ..State::default() };
        Ok(FileBackend { journal, packs, state: Mutex::new(state), collecting: Mutex::new(()), opened })
    }

    /// The journal, to look at.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Takes back what the journal refused after it had taken it.
    fn settle(&self, state: &mut State) {
        while state.epoch != self.journal.epoch() {
            let epoch = self.journal.epoch();
            // What cannot be written now never will be, as its epoch is over.
            let _ = self.journal.flush();
            let written = self.journal.written();
            while state.undo.back().is_some_and(|(sequence, _)| *sequence > written) {
                let Some((_, undo)) = state.undo.pop_back() else { break };
                state.index.undo(undo);
                state.refusals += 1;
            }
            state.epoch = epoch;
        }
    }

    /// The state, with what was refused taken back.
    fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        self.settle(&mut state);
        state
    }

    /// Appends to a settled state. `None`: something was taken back first, and nothing is appended.
    fn append(&self, state: &mut State, ops: &[Op], urgency: Urgency) -> Result<Option<Completion>, Error> {
        let refusals = state.refusals;
        let small = |op: &Op| match op {
            Op::Put(key, _) => matches!(key.space, Space::Own | Space::Safety),
            Op::PutParts(..) => false,
            Op::Remove(..) => true,
        };
        let how = Append {
            class: if urgency == Urgency::Now { Class::Now } else { Class::Policy },
            reserved: ops.iter().all(small),
            epoch: Some(state.epoch),
            ..Append::default()
        };
        for op in ops {
            match op {
                Op::Put(key, value) => state.batch.push_with(log_of(key.space), PUT, |out| {
                    put_head(*key, out);
                    out.extend_from_slice(value);
                }),
                Op::PutParts(key, head, body) => state.batch.push_with(log_of(key.space), PUT, |out| {
                    put_head(*key, out);
                    out.extend_from_slice(head);
                    out.extend_from_slice(body);
                }),
                Op::Remove(space, numbers) => {
                    state.batch.push_with(log_of(*space), REMOVE, |out| put_removal(numbers, out));
                }
            }
        }
        let appended = match self.journal.append_drain(&mut state.batch, how) {
            Err(JournalError::StaleEpoch { .. }) => {
                self.settle(state);
                if state.refusals != refusals {
                    state.batch.clear();
                    return Ok(None);
                }
                let how = Append { epoch: Some(state.epoch), ..how };
                self.journal.append_drain(&mut state.batch, how)
            }
            other => other,
        };
        state.batch.clear();
        let ticket = appended?;
        let written = self.journal.written();
        while state.undo.front().is_some_and(|(sequence, _)| *sequence <= written) {
            state.undo.pop_front();
        }
        for (sequence, op) in (ticket.first()..).zip(ops) {
            let undo = match op {
                Op::Put(key, _) | Op::PutParts(key, ..) => state.index.put(*key, sequence),
                Op::Remove(space, numbers) => state.index.remove(*space, numbers.clone()),
            };
            state.undo.push_back((sequence, undo));
        }
        Ok(Some(Completion::of(ticket)))
    }

    fn read(&self, key: Key, sequence: Sequence) -> Result<Bytes, Error> {
        if sequence > self.journal.written() {
            self.journal.flush()?;
        }
        let record = self.journal.read(sequence)?;
        if change_of(record.log, record.kind, &record.payload) != Some(Change::Put(key)) {
            return Err(Error::damaged(key, format!("record {sequence} holds something else")));
        }
        Ok(record.payload.slice(HEAD_BYTES..))
    }
}

/// What a record changes; `None`: it is the journal's own.
fn changed(log: LogNumber, kind: u8, payload: &[u8], sequence: Sequence) -> Result<Option<Change>, Error> {
    if log == 0 {
        return Ok(None);
    }
    let told = change_of(log, kind, payload);
    told.map(Some).ok_or_else(|| Error::DamagedValue {
        what: format!("record {sequence}"),
        reason: "it is of no kind that a log of decisions has".into(),
    })
}

/// Notes what a segment's records change: from its summary, or by reading them. Returns whether a summary told it, also of those that
/// cannot be read.
fn fill(
    index: &mut Index,
    info: &SegmentInfo,
    report: &Report,
    lost: &mut Vec<Key>,
    scan: impl FnOnce(&mut dyn FnMut(Sequence, Option<Change>)) -> Result<(), Error>,
) -> Result<bool, Error> {
    let mut apply = |sequence: Sequence, change: Change| match change {
        Change::Put(key) if report.gaps.iter().any(|gap| (gap.first..gap.end).contains(&sequence)) => lost.push(key),
        Change::Put(key) => _ = index.put(key, sequence),
        Change::Remove(space, numbers) => {
            lost.retain(|key| key.space != space || !numbers.contains(&key.number));
            index.remove(space, numbers);
        }
    };
    let told = info.summary.as_ref().and_then(|summary| {
        let mut told = Vec::new();
        read_summary(summary, info.first, info.next, &mut |sequence, change| told.push((sequence, change)))?;
        Some(told)
    });
    let is_told = told.is_some();
    match told {
        Some(told) => told.into_iter().for_each(|(sequence, change)| apply(sequence, change)),
        None => scan(&mut |sequence, change| change.into_iter().for_each(|change| apply(sequence, change)))?,
    }
    Ok(is_told)
}

fn opened_of(report: &Report) -> Opened {
    let damage = report.damage.iter().filter(|damage| damage.what.refuses_writing());
    let gaps = report.gaps.iter().map(|gap| format!("lost: {gap}"));
    Opened {
        end: report.end.word().to_string(),
        cut: report.cut.as_ref().map(|cut| cut.to_string()),
        lost: Vec::new(),
        open_end: report.gaps.iter().any(duramen_journal::Gap::is_open) || report.end == End::Damaged,
        places: damage.map(|damage| damage.to_string()).chain(gaps).collect(),
    }
}

impl Backend for FileBackend {
    fn name(&self) -> &'static str {
        "files"
    }

    fn write(&self, ops: &[Op], urgency: Urgency) -> Result<Completion, Error> {
        if ops.is_empty() {
            return Ok(Completion::done());
        }
        let mut state = self.settled();
        loop {
            if let Some(completion) = self.append(&mut state, ops, urgency)? {
                return Ok(completion);
            }
        }
    }

    fn write_in(&self, epoch: u64, ops: &[Op], urgency: Urgency) -> Result<Option<Completion>, Error> {
        let mut state = self.settled();
        if state.refusals == epoch { self.append(&mut state, ops, urgency) } else { Ok(None) }
    }

    /// Refusals: the journal's own epoch also grows with what was refused before it had been taken.
    #[allow(clippy::misnamed_getters, reason = "each refusal begins an epoch for whoever stands above")]
    fn epoch(&self) -> u64 {
        // Not the journal's: only what was taken back counts.
        let state = self.settled();
        state.refusals
    }

    fn get(&self, key: Key) -> Result<Option<Bytes>, Error> {
        let find = || self.settled().index.get(key);
        let Some(sequence) = find() else { return Ok(None) };
        match self.read(key, sequence) {
            // It was moved, or removed and given back, or refused, meanwhile.
            Err(error) => match find() {
                Some(now) if now != sequence => self.read(key, now).map(Some),
                None => Ok(None),
                Some(_) => Err(error),
            },
            read => read.map(Some),
        }
    }

    /// Records that lie close together are read in one walk.
    fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Bytes>, Error>> {
        let places: Vec<Option<Sequence>> = {
            let state = self.settled();
            keys.iter().map(|key| state.index.get(*key)).collect()
        };
        let known = || places.iter().copied().flatten();
        let span = known().min().zip(known().max()).filter(|(first, last)| {
            let near = last - first < (keys.len() * WALK_PER_KEY) as u64;
            near && *last <= self.journal.written() && places.iter().flatten().is_sorted()
        });
        let mut found = vec![None; keys.len()];
        if let Some((first, last)) = span {
            let mut at = 0;
            let mut scan = self.journal.scan(first..=last);
            while let Some(record) = scan.next_borrowed() {
                // What is damaged is told by the single read below.
                let Ok(record) = record else { break };
                while at < keys.len() && places[at].is_none_or(|place| place < record.sequence) {
                    at += 1;
                }
                let wanted = at < keys.len() && places[at] == Some(record.sequence);
                if wanted && change_of(record.log, record.kind, record.payload) == Some(Change::Put(keys[at])) {
                    found[at] = Some(record.share(&record.payload[HEAD_BYTES..]));
                }
            }
        }
        let all = keys.iter().zip(found);
        all.map(|(key, found)| found.map_or_else(|| self.get(*key), |value| Ok(Some(value)))).collect()
    }

    fn contains(&self, key: Key) -> Result<bool, Error> {
        Ok(self.settled().index.get(key).is_some())
    }

    fn keys(&self, space: Space, numbers: RangeInclusive<u64>, max: usize) -> Result<Vec<Key>, Error> {
        Ok(self.settled().index.keys(space, numbers, max))
    }

    fn last(&self, space: Space, upto: u64) -> Result<Option<Key>, Error> {
        Ok(self.settled().index.last(space, upto))
    }

    fn sync(&self) -> Result<(), Error> {
        self.journal.sync()?;
        Ok(())
    }

    /// Releases the segments before the one with the oldest decision. What else stands in those is written again first.
    fn collect(&self) -> Result<(), Error> {
        let _collecting = lock(&self.collecting);
        let (bulk, end, refusals) = {
            let state = self.settled();
            let end = self.journal.appended() + 1;
            (state.index.oldest(&[Space::Decision, Space::Proof]).unwrap_or(end), end, state.refusals)
        };
        let starts = self.journal.segments();
        let Some(from) = starts.iter().map(|info| info.first).filter(|&first| first <= bulk).max() else {
            return Ok(());
        };
        if starts.first().is_none_or(|oldest| from <= oldest.first) {
            return Ok(());
        }
        for space in CARRIED {
            let keys = lock(&self.state).index.keys(space, 0..=u64::MAX, usize::MAX);
            for key in keys {
                let Some(sequence) = lock(&self.state).index.get(key).filter(|&sequence| sequence < from) else {
                    continue;
                };
                let value = self.read(key, sequence)?;
                let mut state = self.settled();
                // If something is taken back now, nothing goes below.
                if state.index.get(key) == Some(sequence) {
                    drop(self.append(&mut state, &[Op::Put(key, value)], Urgency::Policy)?);
                }
            }
        }
        // The removals that this builds on, and what was written again, are durable before anything goes; if something of it was
        // refused, nothing goes.
        self.journal.sync()?;
        let state = self.settled();
        let oldest = state.index.oldest(&Space::ALL).unwrap_or(end);
        let whole = state.refusals == refusals;
        drop(state);
        if whole { Ok(self.journal.release(from.min(oldest))?) } else { Err(Error::NoSpace) }
    }

    fn put_chunk(&self, digest: &[u8; 32], bytes: &[u8]) -> Result<(), Error> {
        self.packs.put(digest, bytes)
    }

    fn sync_chunks(&self) -> Result<(), Error> {
        self.packs.sync_all()
    }

    fn chunk(&self, digest: &[u8; 32]) -> Result<Option<Bytes>, Error> {
        self.packs.get(digest)
    }

    fn has_chunk(&self, digest: &[u8; 32]) -> Result<bool, Error> {
        Ok(self.packs.lists(digest))
    }

    fn is_chunk_whole(&self, digest: &[u8; 32]) -> Result<bool, Error> {
        self.packs.has(digest)
    }

    fn retain_chunks(&self, live: &BTreeSet<[u8; 32]>) -> Result<(), Error> {
        self.packs.retain(live)
    }

    fn opened(&self) -> Opened {
        self.opened.clone()
    }

    fn stats(&self) -> BackendStats {
        let journal = self.journal.stats();
        let segments: u64 = self.journal.segments().iter().map(|info| info.bytes).sum();
        BackendStats {
            syncs: journal.syncs,
            device_bytes: journal.device_bytes,
            stored_bytes: segments + self.packs.bytes(),
        }
    }

    fn tick(&self) {
        self.journal.tick();
    }

    fn close(&self) -> Result<(), Error> {
        Ok(self.journal.close()?)
    }
}

/// Leaves a summary in each segment's footer.
#[derive(Debug)]
struct Summing;

impl ObserverFactory for Summing {
    fn observer(&self) -> Box<dyn Observer> {
        Box::new(Summer { summary: Summary::new(1), foreign: false })
    }
}

struct Summer {
    summary: Summary,
    /// A record that is no log's of decisions: the segment gets no summary, and whoever reads it finds the record.
    foreign: bool,
}

impl Observer for Summer {
    fn begin(&mut self, first: Sequence) {
        (self.summary, self.foreign) = (Summary::new(first), false);
    }

    fn record(&mut self, sequence: Sequence, log: LogNumber, kind: u8, payload: &[u8]) {
        match change_of(log, kind, payload) {
            Some(change) => self.summary.add(sequence, &change),
            None => self.foreign |= log != 0,
        }
    }

    fn checkpoint_found(&mut self, _: LogNumber, _: u8, _: &[u8]) {
        // None is ever written.
    }

    fn summary(&mut self) -> Vec<u8> {
        let summary = std::mem::replace(&mut self.summary, Summary::new(1));
        if self.foreign { Vec::new() } else { summary.finish() }
    }

    fn checkpoint(&mut self) -> Option<(LogNumber, u8, Vec<u8>)> {
        None
    }
}

#[cfg(all(test, feature = "sim"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use duramen_journal::SyncPolicy;
    use duramen_journal::disk::sim::SimDisk;

    /// A batch was checked against a decision that was there already, the decision was refused for want of room, and then the batch
    /// was stored without it, and acknowledged. Found by reading.
    #[test]
    fn what_was_looked_at_before_a_refusal_is_looked_at_again() {
        let disk = SimDisk::new(3);
        let mut config = PersistentLogConfig::new("/log");
        (config.world, config.sync_policy, config.max_segment_size) = (disk.world(), SyncPolicy::Never, 64 << 10);
        let backend = FileBackend::open(&config).unwrap();
        let key = |number| Key::new(Space::Decision, number);
        let put = |number, bytes: usize| Op::Put(key(number), vec![7; bytes].into());
        backend.write(&[put(1, 10)], Urgency::Now).unwrap().wait().unwrap();
        disk.set_capacity(Some(disk.used()));
        let mut seen = backend.epoch();
        for number in 2.. {
            seen = backend.epoch();
            drop(backend.write(&[put(number, 15_000)], Urgency::Policy));
            assert!(number < 100, "the disk is full");
            if backend.sync().is_err() {
                assert_eq!(backend.last(Space::Decision, u64::MAX).unwrap(), Some(key(number - 1)), "and not shown");
                break;
            }
        }
        disk.set_capacity(None);
        assert!(backend.write_in(seen, &[put(500, 10)], Urgency::Now).unwrap().is_none());
        assert_eq!(backend.get(key(500)).unwrap(), None);
        let now = backend.epoch();
        backend.write_in(now, &[put(500, 10)], Urgency::Now).unwrap().unwrap().wait().unwrap();
        assert!(backend.contains(key(500)).unwrap());
    }
}
