//! Reading entries: from memory, and what is not there from the journal. Owns the way from a range of indexes to checked
//! entries, and what is read ahead. No lock is held while the journal is read, so one reader's miss stops nobody else.
//!
//! What is read is compared with what the index says of it: group, index, leader. If the two differ, the log changed under
//! the reader (or a refusal took back what it saw), and it looks again.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use duramen_journal::{Error as WalError, RecordRef, Sequence};

use crate::cache::Kept;
use crate::config::Strategy;
use crate::error::Error;
use crate::format::{Malformed, RawRecord};
use crate::group::{Group, View};
use crate::index::Run;
use crate::read;
use crate::record::decode_id;
use crate::types::{Entry, EntryRef, Stored, Types};
use crate::wal::Wal;

/// Entries that are looked up at once.
const ROUND: u64 = 4096;
/// The same where none of them is collected.
const VISIT_ROUND: u64 = 1 << 16;
/// Runs that are looked up at once.
const ROUND_RUNS: usize = 4096;
/// Missing payload bytes that are read at once from which on they pass by the cache: one read of so many costs next to nothing
/// an entry, and keeping them would throw out what single reads find there.
const BULK_BYTES: usize = 256 << 10;
/// The same in entries: a few large ones are worth keeping.
const BULK_ENTRIES: usize = 16;
/// Records of others between two entries that are read over: less than another read costs.
const SKIP_MAX: u64 = 8;
/// How often a reader looks again when the log changes under it.
const LOOKS: usize = 100;

/// What a reading collects.
struct Taken<T: Types> {
    entries: Vec<Entry<T>>,
    /// Where the last of them lies: as long as the index says so, all of them are of the log as it is.
    last: Option<(u64, Sequence)>,
    /// Bytes of their payloads, and how many there may be; one entry is taken in any case.
    bytes: usize,
    bytes_max: usize,
}

impl<T: Types> Taken<T> {
    fn has_room(&self, bytes: usize) -> bool {
        self.entries.is_empty() || self.bytes.saturating_add(bytes) <= self.bytes_max
    }

    fn push(&mut self, entry: Entry<T>, sequence: Sequence, bytes: usize) {
        self.last = Some((entry.index(), sequence));
        self.entries.push(entry);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// An entry as it is stored: what the index says of it, its record, and its payload there.
struct Found<'a> {
    index: u64,
    leader: &'a Bytes,
    record: &'a RecordRef<'a>,
    payload: &'a [u8],
}

/// Why a round of reading has to be done again, or cannot be.
enum Stop<T: Types> {
    Changed(Error<T>),
    Failed(Error<T>),
}

/// Decodes the leaders of entries that come in order: those of one run share theirs.
struct Ids<T: Types> {
    last: Option<(Bytes, T::Leader)>,
}

impl<T: Types> Ids<T> {
    fn id(&mut self, index: u64, leader: &Bytes) -> Result<T::LogId, Malformed> {
        let same = |known: &Bytes| known.as_ptr() == leader.as_ptr() && known.len() == leader.len();
        if !self.last.as_ref().is_some_and(|(known, _)| same(known)) {
            self.last = Some((leader.clone(), T::Leader::decode(leader.clone())?));
        }
        match &self.last {
            Some((_, decoded)) => Ok(T::log_id(decoded.clone(), index)),
            None => decode_id::<T>(index, leader.clone()),
        }
    }
}

impl<T: Types> View<T> {
    /// The first index that is there or will be; `None`: any.
    pub fn first_index(&self) -> Option<u64> {
        let purged = self.state.purged.as_ref().map(|id| T::index(id).saturating_add(1));
        purged.or_else(|| self.index.first_index())
    }

    /// The next index that will be given; `None`: any.
    pub fn next_index(&self) -> Option<u64> {
        self.state.last.as_ref().map(|id| T::index(id).saturating_add(1))
    }

    /// Whether all entries of a range are there.
    fn check_range(&self, group: u32, start: u64, end: u64) -> Result<(), Error<T>> {
        if start > end {
            return Err(Error::InvalidRange { start, end });
        }
        if start == end {
            return Ok(());
        }
        match self.first_index() {
            Some(first) if start < first => return Err(Error::Purged { index: start, first }),
            None => return Err(Error::NotYet { index: start, next: None }),
            _ => {}
        }
        match self.next_index() {
            Some(next) if end > next => return Err(Error::NotYet { index: end - 1, next: Some(next) }),
            _ => {}
        }
        let touched = self.lost.iter().find(|(first, behind)| start < *behind && *first < end);
        touched.map_or(Ok(()), |&(first, behind)| Err(Error::Lost { group, first, last: behind - 1 }))
    }
}

impl<T: Types, W: Wal> Group<T, W> {
    /// One entry.
    pub fn entry(&self, index: u64) -> Result<Entry<T>, Error<T>> {
        let end = index.checked_add(1).ok_or(Error::NotYet { index, next: None })?;
        self.refresh();
        let run = {
            let view = read(&self.view);
            view.check_range(self.number, index, end)?;
            view.index.get(index).map(|(first_sequence, leader)| Run {
                first_index: index,
                first_sequence,
                count: 1,
                leader: leader.clone(),
            })
        };
        if let Some(run) = run {
            if let Some((payload, _)) = self.cache.get(index, run.first_sequence) {
                self.core.budget.hits.fetch_add(1, Ordering::Relaxed);
                let id = decode_id::<T>(index, run.leader).map_err(|what| self.foreign(run.first_sequence, what));
                return Ok(Entry { id: id?, payload });
            }
            match self.read_alone(&run).map_err(|stop| self.unless_moved(stop, std::slice::from_ref(&run))) {
                Ok(entry) => return Ok(entry),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Changed(_)) => {}
            }
        }
        let found = self.entries(index, end, usize::MAX)?.pop();
        found.ok_or(Error::NotYet { index, next: None })
    }

    /// Entries from `start` to before `end`, at most so many payload bytes but at least one entry.
    pub fn entries(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry<T>>, Error<T>> {
        let nothing = || Taken { entries: Vec::new(), last: None, bytes: 0, bytes_max };
        let (mut taken, mut looks) = (nothing(), 0);
        loop {
            self.refresh();
            let next = start + taken.entries.len() as u64;
            let Some(runs) = self.look_up(next, end, ROUND, taken.last)? else {
                // The log was cut below what was taken, or that was moved.
                self.look_again(Stop::Changed(Error::NotYet { index: next, next: Some(next) }), &mut looks)?;
                taken = nothing();
                continue;
            };
            if runs.is_empty() {
                return Ok(taken.entries);
            }
            match self.read_runs(&runs, &mut taken).map_err(|stop| self.unless_moved(stop, &runs)) {
                Ok(true) => return Ok(taken.entries),
                Ok(false) => {}
                Err(stop) => self.look_again(stop, &mut looks)?,
            }
        }
    }

    /// Shows entries from `start` to before `end` as they are stored, until `visit` says `false`.
    pub fn visit(&self, start: u64, end: u64, visit: &mut dyn FnMut(EntryRef<'_, T>) -> bool) -> Result<(), Error<T>> {
        let (mut next, mut looks, mut goes_on) = (start, 0, true);
        let mut ids = Ids::<T> { last: None };
        while goes_on {
            self.refresh();
            let runs = self.look_up(next, end, VISIT_ROUND, None)?.unwrap_or_default();
            if runs.is_empty() {
                break;
            }
            let read = self.read_stored(&runs, &mut |found| {
                let id = ids.id(found.index, found.leader).map_err(|what| self.bad(found.record.sequence, what))?;
                next = found.index + 1;
                goes_on = visit(EntryRef { id, payload: found.payload });
                Ok(goes_on)
            });
            if let Err(stop) = read {
                self.look_again(self.unless_moved(stop, &runs), &mut looks)?;
            }
        }
        Ok(())
    }

    /// A reading that failed where nothing lies any more is done again: what was read was purged, or written elsewhere, and
    /// the place given up.
    fn unless_moved(&self, stop: Stop<T>, runs: &[Run]) -> Stop<T> {
        let Stop::Failed(error) = stop else { return stop };
        self.refresh();
        let view = read(&self.view);
        let holds =
            |run: &Run| view.index.get(run.first_index).is_some_and(|(current, _)| current == run.first_sequence);
        if runs.iter().all(holds) { Stop::Failed(error) } else { Stop::Changed(error) }
    }

    /// Whether a reading that was stopped is to look again.
    fn look_again(&self, stop: Stop<T>, looks: &mut usize) -> Result<(), Error<T>> {
        match stop {
            Stop::Changed(error) => {
                *looks += 1;
                if *looks == LOOKS { Err(error) } else { Ok(()) }
            }
            Stop::Failed(error) => Err(error),
        }
    }

    /// The runs of the first entries of a range. `None`: the index does not say any more of an entry what it said before.
    fn look_up(
        &self,
        start: u64,
        end: u64,
        entries_max: u64,
        known: Option<(u64, Sequence)>,
    ) -> Result<Option<Vec<Run>>, Error<T>> {
        let view = read(&self.view);
        view.check_range(self.number, start, end)?;
        let holds = |(index, sequence)| view.index.get(index).is_some_and(|(current, _)| current == sequence);
        if !known.is_none_or(holds) {
            return Ok(None);
        }
        let runs = view.index.runs(start..end.min(start.saturating_add(entries_max)));
        Ok(Some(runs.take(ROUND_RUNS).collect()))
    }

    /// Reads one entry that is not in memory.
    fn read_alone(&self, run: &Run) -> Result<Entry<T>, Stop<T>> {
        let mut read = None;
        self.read_stored(std::slice::from_ref(run), &mut |found| {
            let payload = found.record.share(found.payload);
            let id = decode_id::<T>(found.index, found.leader.clone());
            let id = id.map_err(|what| self.bad(run.first_sequence, what))?;
            if self.core.is_read_again(run.first_sequence) {
                self.keep(vec![(found.index, run.first_sequence, payload.clone())]);
            }
            let payload = T::Payload::decode(payload).map_err(|what| self.bad(run.first_sequence, what))?;
            read = Some(Entry { id, payload });
            Ok(true)
        })?;
        self.count(0, 1);
        self.missed(1, run.first_index, run.first_index + 1, false);
        read.ok_or(Stop::Changed(Error::NotYet { index: run.first_index, next: None }))
    }

    /// Reads entries of these runs, from memory where they are there. `true`: the bound is reached.
    fn read_runs(&self, runs: &[Run], taken: &mut Taken<T>) -> Result<bool, Stop<T>> {
        let mut missing: Vec<Run> = Vec::new();
        let mut full = false;
        let mut hits = 0;
        let mut ids = Ids::<T> { last: None };
        'runs: for run in runs {
            let Some(cached) = self.cache.get_run(run.first_index, run.first_sequence, run.count) else {
                missing.push(run.clone());
                continue;
            };
            for (at, cached) in cached.into_iter().enumerate() {
                let (index, sequence) = (run.first_index + at as u64, run.first_sequence + at as u64);
                let Some((payload, size)) = cached else {
                    match missing.last_mut() {
                        Some(last) if at > 0 && last.end() == index => last.count += 1,
                        _ => {
                            missing.push(Run { first_index: index, first_sequence: sequence, count: 1, ..run.clone() })
                        }
                    }
                    continue;
                };
                full = self.read_missing(&mut missing, taken)? || !taken.has_room(size);
                if full {
                    break 'runs;
                }
                let id = ids.id(index, &run.leader).map_err(|what| self.bad(sequence, what))?;
                taken.push(Entry { id, payload }, sequence, size);
                hits += 1;
            }
        }
        self.count(hits, 0);
        full = full || self.read_missing(&mut missing, taken)?;
        Ok(full || taken.bytes >= taken.bytes_max)
    }

    fn count(&self, hits: u64, misses: u64) {
        self.core.budget.hits.fetch_add(hits, Ordering::Relaxed);
        self.core.budget.misses.fetch_add(misses, Ordering::Relaxed);
        if self.core.config.strategy == Strategy::MemFirst {
            self.core.spilled_reads.fetch_add(misses, Ordering::Relaxed);
        }
    }

    /// Reads entries that are not in memory, and takes them out of the list. `true`: the bound is reached.
    fn read_missing(&self, missing: &mut Vec<Run>, taken: &mut Taken<T>) -> Result<bool, Stop<T>> {
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else { return Ok(false) };
        let (first, end) = (first.first_index, last.end());
        let (before, bytes_before) = (taken.entries.len(), taken.bytes);
        let (mut full, mut bulk) = (false, false);
        let mut kept = Vec::new();
        let mut ids = Ids::<T> { last: None };
        let result = self.read_stored(missing, &mut |found| {
            let size = found.payload.len();
            full = !taken.has_room(size);
            if full {
                return Ok(false);
            }
            let sequence = found.record.sequence;
            let id = ids.id(found.index, found.leader).map_err(|what| self.bad(sequence, what))?;
            let payload = found.record.share(found.payload);
            if !bulk {
                kept.push((found.index, sequence, payload.clone()));
            }
            let payload = T::Payload::decode(payload).map_err(|what| self.bad(sequence, what))?;
            taken.push(Entry { id, payload }, sequence, size);
            bulk = bulk || (kept.len() >= BULK_ENTRIES && taken.bytes - bytes_before >= BULK_BYTES);
            Ok(true)
        });
        missing.clear();
        let misses = (taken.entries.len() - before) as u64;
        self.count(0, misses);
        if !bulk {
            self.keep(kept);
        }
        result?;
        // Whoever reads in bulk reads ahead by itself.
        if misses > 0 && !bulk {
            self.missed(misses, first, if full { first + misses } else { end }, full);
        }
        Ok(full)
    }

    /// After a miss: what follows is read ahead if reads follow each other, so that the next one finds it.
    fn missed(&self, misses: u64, first: u64, end: u64, full: bool) {
        let follows = self.read_end.swap(end, Ordering::Relaxed) == first;
        if follows || (misses > 1 && !full) {
            self.read_ahead(end);
        }
    }

    fn foreign(&self, sequence: Sequence, what: Malformed) -> Error<T> {
        Error::Foreign { group: self.number, sequence, what }
    }

    fn bad(&self, sequence: Sequence, what: Malformed) -> Stop<T> {
        Stop::Failed(self.foreign(sequence, what))
    }

    /// Reads entries where they are stored, in order, until `take` says `false`. That they are all there is sure when it
    /// returns, not before.
    fn read_stored(
        &self,
        runs: &[Run],
        take: &mut dyn FnMut(Found<'_>) -> Result<bool, Stop<T>>,
    ) -> Result<(), Stop<T>> {
        let last = runs.iter().map(|run| run.first_sequence + run.count - 1).max().unwrap_or(0);
        if last > self.core.wal.written() {
            // What was just appended left memory before it was written.
            self.core.wal.flush().map_err(|error| self.stop(error))?;
        }
        let mut at = 0;
        while at < runs.len() {
            let near = |pair: &[Run]| {
                let behind = pair[0].first_sequence + pair[0].count;
                pair[1].first_sequence.checked_sub(behind).is_some_and(|between| between <= SKIP_MAX)
            };
            let span = 1 + runs[at..].windows(2).take_while(|pair| near(pair)).count();
            let span = &runs[at..at + span];
            let (taken, goes_on) = (Cell::new(0), Cell::new(true));
            let mut counted = |found: Found<'_>| {
                goes_on.set(take(found)?);
                taken.set(taken.get() + 1);
                Ok(goes_on.get())
            };
            match self.read_span(span, &mut counted) {
                // What lies between the runs is none of ours, and may be damaged: then each by itself.
                Err(Stop::Failed(_)) if span.len() > 1 => {
                    let from = span[0].first_index + taken.get();
                    for rest in span.iter().filter_map(|run| run.clip(from, u64::MAX)) {
                        if goes_on.get() {
                            self.read_span(&[rest], &mut counted)?;
                        }
                    }
                }
                other => other?,
            }
            if !goes_on.get() {
                break;
            }
            at += span.len();
        }
        Ok(())
    }

    /// Reads runs that lie near each other with one walk.
    fn read_span(&self, span: &[Run], take: &mut dyn FnMut(Found<'_>) -> Result<bool, Stop<T>>) -> Result<(), Stop<T>> {
        let (Some(first), Some(last)) = (span.first(), span.last()) else { return Ok(()) };
        let sequences = first.first_sequence..last.first_sequence + last.count;
        let (mut at, mut within) = (0, 0);
        let mut stopped = false;
        let mut failed = None;
        let mut visit = |record: RecordRef<'_>| {
            let Some(run) = span.get(at) else { return false };
            if record.sequence < run.first_sequence + within {
                return true;
            }
            let index = run.first_index + within;
            let taken = self
                .check(index, run, &record)
                .and_then(|payload| take(Found { index, leader: &run.leader, record: &record, payload }));
            within += 1;
            if within == run.count {
                (at, within) = (at + 1, 0);
            }
            match taken {
                Ok(goes_on) => {
                    stopped = !goes_on;
                    goes_on
                }
                Err(stop) => {
                    failed = Some(stop);
                    false
                }
            }
        };
        let result = if sequences.end - sequences.start == 1 {
            self.core.wal.read(sequences.start).map(|record| {
                visit(record.borrow());
            })
        } else {
            self.core.wal.scan(sequences, &mut visit)
        };
        if let Some(stop) = failed {
            return Err(stop);
        }
        result.map_err(|error| self.stop(error))?;
        match span.get(at) {
            // The storage ended early: what was seen is not there any more.
            Some(run) if !stopped => Err(Stop::Changed(Error::NotYet { index: run.first_index + within, next: None })),
            _ => Ok(()),
        }
    }

    fn stop(&self, error: WalError) -> Stop<T> {
        match error {
            WalError::Released { .. } | WalError::NotYet { .. } => Stop::Changed(error.into()),
            error if error.is_no_space() => Stop::Changed(error.into()),
            error => Stop::Failed(error.into()),
        }
    }

    /// Whether a record is the entry that the index tells of; its payload then.
    fn check<'a>(&self, index: u64, run: &Run, record: &RecordRef<'a>) -> Result<&'a [u8], Stop<T>> {
        let (id, payload) = match RawRecord::decode(record.kind, record.payload) {
            Ok(RawRecord::Append { id, payload } | RawRecord::Relocate { id, payload }) => (id, payload),
            Ok(_) => return Err(self.other(record.sequence)),
            Err(what) => return Err(self.bad(record.sequence, what)),
        };
        if record.log != self.number || id.index != index || id.leader != run.leader {
            return Err(self.other(record.sequence));
        }
        Ok(payload)
    }

    /// Another record lies where the entry was: after a refusal its sequence was given again.
    fn other(&self, sequence: Sequence) -> Stop<T> {
        Stop::Changed(self.foreign(sequence, Malformed::new("another record lies where an entry should")))
    }

    /// Keeps what was read in memory, if it is still what the index says.
    fn keep(&self, found: Vec<(u64, Sequence, Bytes)>) {
        let no_room = self.core.config.strategy == Strategy::DiskFirst && self.core.config.log_cache_capacity == 0;
        if no_room || found.is_empty() {
            return;
        }
        let view = read(&self.view);
        let kept = found.into_iter().filter_map(|(index, sequence, payload)| {
            let current = view.index.get(index).is_some_and(|(current, _)| current == sequence);
            if current { kept::<T>(index, sequence, &payload) } else { None }
        });
        self.cache.keep(kept);
        drop(view);
        self.core.shrink();
    }

    /// Reads entries from an index on into memory, as far as they follow each other in the journal. What cannot be read
    /// is left to whoever asks for it.
    fn read_ahead(&self, from: u64) {
        let bytes_max = self.core.config.prefetch_bytes.min(self.core.config.log_cache_capacity / 2);
        if bytes_max == 0 || self.core.config.strategy == Strategy::MemFirst {
            return;
        }
        let run = read(&self.view).index.runs(from..from.saturating_add(ROUND)).next();
        let Some(mut run) = run.filter(|run| run.first_index == from) else { return };
        if let Some(cached) = self.cache.get_run(run.first_index, run.first_sequence, run.count) {
            run.count = cached.iter().take_while(|payload| payload.is_none()).count() as u64;
        }
        if run.count == 0 {
            return;
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        let read = self.read_stored(&[run], &mut |entry| {
            bytes += entry.payload.len();
            if bytes > bytes_max {
                return Ok(false);
            }
            found.push((entry.index, entry.record.sequence, entry.record.share(entry.payload)));
            Ok(true)
        });
        if read.is_ok() {
            self.core.budget.prefetched.fetch_add(found.len() as u64, Ordering::Relaxed);
            self.keep(found);
        }
    }

    fn load(&self, runs: &[Run], loaded: &mut Vec<Kept<T::Payload>>) -> Result<(), Error<T>> {
        let read = self.read_stored(runs, &mut |found| {
            loaded.extend(kept::<T>(found.index, found.record.sequence, found.payload));
            Ok(true)
        });
        read.map_err(|stop| match stop {
            Stop::Changed(error) | Stop::Failed(error) => error,
        })
    }

    /// Loads live entries from an index on into memory, the newest last, up to the bound.
    pub fn preload(&self, from: u64) -> Result<(), Error<T>> {
        let Range { start, end } = {
            let view = read(&self.view);
            view.index.first_index().unwrap_or(0)..view.index.end().unwrap_or(0)
        };
        let mut next = start.max(from);
        while next < end {
            let until = end.min(next.saturating_add(ROUND));
            let runs: Vec<Run> = read(&self.view).index.runs(next..until).collect();
            let mut loaded = Vec::new();
            match self.load(&runs, &mut loaded) {
                Ok(()) => {}
                // The others of the round one by one: what cannot be had is absent, and an error for whoever asks for it.
                Err(error) if is_damage(&error) => {
                    loaded.clear();
                    for run in
                        runs.iter().flat_map(|run| (run.first_index..run.end()).filter_map(|at| run.clip(at, at + 1)))
                    {
                        match self.load(&[run], &mut loaded) {
                            Err(error) if !is_damage(&error) => return Err(error),
                            _ => {}
                        }
                    }
                }
                Err(error) => return Err(error),
            }
            self.cache.append(loaded.into_iter());
            self.core.shrink();
            next = until;
        }
        Ok(())
    }
}

/// Whether an entry's record is damaged or unreadable.
pub(crate) fn is_damage<T: Types>(error: &Error<T>) -> bool {
    matches!(error, Error::Wal(WalError::DamagedRecord(_) | WalError::UnreadableRecord(_)))
}

/// An entry for the cache. Its bytes are copied, so that they do not keep the whole buffer that they were read into.
fn kept<T: Types>(index: u64, sequence: Sequence, stored: &[u8]) -> Option<Kept<T::Payload>> {
    let payload = T::Payload::decode(Bytes::copy_from_slice(stored)).ok()?;
    Some(Kept { index, sequence, bytes: stored.len(), payload })
}
