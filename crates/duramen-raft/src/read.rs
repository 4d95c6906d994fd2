//! Reading entries: from memory, and what is not there from the journal. Owns the way from a range of indexes to checked
//! entries, and what is read ahead. No lock is held while the journal is read, so one reader's miss stops nobody else.
//!
//! What is read is compared with what the index says of it: group, index, leader. If the two differ, the log changed under
//! the reader (or a refusal took back what it saw), and it looks again.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use duramen_journal::{Error as WalError, Record as WalRecord, Sequence};

use crate::cache::Kept;
use crate::config::Strategy;
use crate::error::Error;
use crate::format::{Malformed, RawRecord};
use crate::group::{Group, View};
use crate::index::Run;
use crate::read;
use crate::record::decode_id;
use crate::types::{Entry, Stored, Types};
use crate::wal::Wal;

/// Entries that are looked up at once.
const ROUND: u64 = 4096;
/// Missing payload bytes that are read at once from which on they pass by the cache: one read of so many costs next to nothing
/// an entry, and keeping them would throw out what single reads find there.
const BULK_BYTES: usize = 256 << 10;
/// The same in entries: a few large ones are worth keeping.
const BULK_ENTRIES: usize = 16;
/// How often a reader looks again when the log changes under it.
const LOOKS: usize = 100;

/// An entry as the index tells it.
struct Place {
    index: u64,
    sequence: Sequence,
    leader: Bytes,
}

/// An entry, and the bytes of its payload.
struct Read<T: Types> {
    entry: Entry<T>,
    sequence: Sequence,
    payload: Bytes,
}

/// Why a round of reading has to be done again, or cannot be.
enum Stop<T: Types> {
    Changed(Error<T>),
    Failed(Error<T>),
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
    /// Entries from `start` to before `end`, at most so many payload bytes but at least one entry.
    pub fn entries(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry<T>>, Error<T>> {
        let mut entries = Vec::new();
        let mut bytes = 0usize;
        let mut next = start;
        let mut looks = 0;
        loop {
            self.refresh();
            let places = self.look_up(next, end)?;
            if places.is_empty() {
                return Ok(entries);
            }
            match self.read_places(&places, bytes_max, &mut bytes, &mut entries) {
                Ok(true) => return Ok(entries),
                Ok(false) => {}
                Err(Stop::Changed(error)) => {
                    looks += 1;
                    if looks == LOOKS {
                        return Err(error);
                    }
                }
                Err(Stop::Failed(error)) => return Err(error),
            }
            next = entries.last().map_or(start, |entry| entry.index() + 1);
        }
    }

    /// The places of the first entries of a range.
    fn look_up(&self, start: u64, end: u64) -> Result<Vec<Place>, Error<T>> {
        let view = read(&self.view);
        view.check_range(self.number, start, end)?;
        let mut places = Vec::with_capacity((end - start).min(ROUND) as usize);
        for run in view.index.runs(start..end.min(start.saturating_add(ROUND))) {
            places.extend(places_of(&run));
        }
        Ok(places)
    }

    /// Reads entries at their places. `true`: the bound is reached.
    fn read_places(
        &self,
        places: &[Place],
        bytes_max: usize,
        bytes: &mut usize,
        entries: &mut Vec<Entry<T>>,
    ) -> Result<bool, Stop<T>> {
        let mut cached = self.cache.get_many(places.iter().map(|place| (place.index, place.sequence)));
        let (mut at, mut hits, mut misses) = (0, 0, 0);
        let (mut full, mut bulk) = (false, false);
        while at < places.len() && !full {
            if let Some((payload, size)) = cached[at].take() {
                full = !entries.is_empty() && bytes.saturating_add(size) > bytes_max;
                if !full {
                    let place = &places[at];
                    let id = decode_id::<T>(place.index, place.leader.clone());
                    entries.push(Entry { id: id.map_err(|what| self.foreign(place, what))?, payload });
                    *bytes = bytes.saturating_add(size);
                    (at, hits) = (at + 1, hits + 1);
                }
                continue;
            }
            let until = (at..places.len()).find(|&place| cached[place].is_some()).unwrap_or(places.len());
            let room = bytes_max.saturating_sub(*bytes);
            let missed = self.read_stored(&places[at..until], room, entries.is_empty())?;
            full = missed.len() < until - at;
            (at, misses) = (at + missed.len(), misses + missed.len() as u64);
            let missed_bytes: usize = missed.iter().map(|read| read.payload.len()).sum();
            *bytes = bytes.saturating_add(missed_bytes);
            if missed_bytes >= BULK_BYTES && missed.len() >= BULK_ENTRIES {
                bulk = true;
            } else {
                self.keep(&missed);
            }
            entries.extend(missed.into_iter().map(|read| read.entry));
        }
        self.core.budget.hits.fetch_add(hits, Ordering::Relaxed);
        self.core.budget.misses.fetch_add(misses, Ordering::Relaxed);
        if self.core.config.strategy == Strategy::MemFirst {
            self.core.spilled_reads.fetch_add(misses, Ordering::Relaxed);
        }
        // Whoever reads in bulk reads ahead by itself.
        if misses > 0 && !bulk {
            self.missed(misses, places[0].index, places[at - 1].index + 1, full);
        }
        Ok(full || *bytes >= bytes_max)
    }

    /// After a miss: what follows is read ahead if reads follow each other, so that the next one finds it.
    fn missed(&self, misses: u64, first: u64, end: u64, full: bool) {
        let follows = self.read_end.swap(end, Ordering::Relaxed) == first;
        if follows || (misses > 1 && !full) {
            self.read_ahead(end);
        }
    }

    fn foreign(&self, place: &Place, what: Malformed) -> Stop<T> {
        Stop::Failed(Error::Foreign { group: self.number, sequence: place.sequence, what })
    }

    /// Reads entries that are not in memory, in order, at most so many payload bytes; the first one in any case if asked.
    fn read_stored(&self, places: &[Place], bytes_max: usize, first_anyway: bool) -> Result<Vec<Read<T>>, Stop<T>> {
        let last = places.iter().map(|place| place.sequence).max().unwrap_or(0);
        if last > self.core.wal.written() {
            // What was just appended left memory before it was written.
            self.core.wal.flush().map_err(|error| self.stop(error))?;
        }
        let mut found: Vec<Read<T>> = Vec::with_capacity(places.len());
        let mut bytes = 0usize;
        let mut at = 0;
        while at < places.len() {
            let follow = |pair: &[Place]| pair[0].sequence + 1 == pair[1].sequence;
            let run = 1 + places[at..].windows(2).take_while(|pair| follow(pair)).count();
            let here = &places[at..at + run];
            let mut full = false;
            let mut failed = None;
            let mut take = |record: WalRecord| {
                let place = &here[(record.sequence - here[0].sequence) as usize];
                match self.check(place, &record) {
                    Ok(read) => {
                        let size = read.payload.len();
                        full = bytes.saturating_add(size) > bytes_max && !(first_anyway && found.is_empty());
                        if !full {
                            bytes = bytes.saturating_add(size);
                            found.push(read);
                        }
                        !full
                    }
                    Err(stop) => {
                        failed = Some(stop);
                        false
                    }
                }
            };
            let from = here[0].sequence;
            let result = if run == 1 {
                self.core.wal.read(from).map(|record| {
                    take(record);
                })
            } else {
                self.core.wal.scan(from..from + run as u64, &mut take)
            };
            if let Some(stop) = failed {
                return Err(stop);
            }
            result.map_err(|error| self.stop(error))?;
            at += run;
            if full {
                break;
            }
            if found.len() < at {
                // The storage ended early: what was seen is not there any more.
                return Err(Stop::Changed(Error::NotYet { index: places[found.len()].index, next: None }));
            }
        }
        Ok(found)
    }

    fn stop(&self, error: WalError) -> Stop<T> {
        match error {
            WalError::Released { .. } | WalError::NotYet { .. } => Stop::Changed(error.into()),
            error if error.is_no_space() => Stop::Changed(error.into()),
            error => Stop::Failed(error.into()),
        }
    }

    /// Whether a record is the entry that the index tells of.
    fn check(&self, place: &Place, record: &WalRecord) -> Result<Read<T>, Stop<T>> {
        let (id, payload) = match RawRecord::decode(record.kind, &record.payload) {
            Ok(RawRecord::Append { id, payload } | RawRecord::Relocate { id, payload }) => (id, payload),
            Ok(_) => return Err(self.other(place)),
            Err(what) => return Err(self.foreign(place, what)),
        };
        if record.log != self.number || id.index != place.index || id.leader != place.leader {
            return Err(self.other(place));
        }
        let bytes = record.payload.slice_ref(payload);
        let value = T::Payload::decode(bytes.clone()).map_err(|what| self.foreign(place, what))?;
        let id = decode_id::<T>(place.index, place.leader.clone()).map_err(|what| self.foreign(place, what))?;
        Ok(Read { entry: Entry { id, payload: value }, sequence: place.sequence, payload: bytes })
    }

    /// Another record lies where the entry was: after a refusal its sequence was given again.
    fn other(&self, place: &Place) -> Stop<T> {
        let what = Malformed::new("another record lies where an entry should");
        Stop::Changed(Error::Foreign { group: self.number, sequence: place.sequence, what })
    }

    /// Keeps what was read in memory, if it is still what the index says.
    fn keep(&self, found: &[Read<T>]) {
        if self.core.config.strategy == Strategy::DiskFirst && self.core.config.log_cache_capacity == 0 {
            return;
        }
        let view = read(&self.view);
        let kept = found.iter().filter_map(|read| {
            let current = view.index.get(read.entry.index()).is_some_and(|(sequence, _)| sequence == read.sequence);
            if current { read.kept() } else { None }
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
        let Some(run) = run.filter(|run| run.first_index == from) else { return };
        let places: Vec<Place> = places_of(&run).collect();
        let cached = self.cache.get_many(places.iter().map(|place| (place.index, place.sequence)));
        let missing = cached.iter().take_while(|payload| payload.is_none()).count();
        if let Ok(found) = self.read_stored(&places[..missing], bytes_max, false) {
            self.core.budget.prefetched.fetch_add(found.len() as u64, Ordering::Relaxed);
            self.keep(&found);
        }
    }

    /// Loads live entries into memory, the newest last, up to the bound.
    pub fn preload(&self) -> Result<(), Error<T>> {
        let (first, end) = {
            let view = read(&self.view);
            (view.index.first_index().unwrap_or(0), view.index.end().unwrap_or(0))
        };
        let mut next = first;
        while next < end {
            let until = end.min(next.saturating_add(ROUND));
            let places: Vec<Place> = read(&self.view).index.runs(next..until).flat_map(|run| places_of(&run)).collect();
            let found = self.read_stored(&places, usize::MAX, true).map_err(|stop| match stop {
                Stop::Changed(error) | Stop::Failed(error) => error,
            })?;
            self.cache.append(found.iter().filter_map(Read::kept));
            self.core.shrink();
            next = until;
        }
        Ok(())
    }
}

impl<T: Types> Read<T> {
    /// The entry for the cache. Its bytes are copied, so that they do not keep the whole buffer that they were read into.
    fn kept(&self) -> Option<Kept<T::Payload>> {
        let payload = T::Payload::decode(Bytes::copy_from_slice(&self.payload)).ok()?;
        Some(Kept { index: self.entry.index(), sequence: self.sequence, bytes: self.payload.len(), payload })
    }
}

fn places_of(run: &Run) -> impl Iterator<Item = Place> + use<> {
    let Run { first_index, first_sequence, count, leader } = run.clone();
    (0..count).map(move |at| Place { index: first_index + at, sequence: first_sequence + at, leader: leader.clone() })
}
