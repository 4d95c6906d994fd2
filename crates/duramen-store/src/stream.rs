//! The streams that are known: labels to numbers and back. Owns the numbers, and which definition of a stream the journal
//! holds; a stream that nobody uses any more is forgotten.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use duramen_journal::Sequence;

use crate::chunk::StreamId;
use crate::error::Error;
use crate::labels::Labels;
use crate::postings::{Postings, Selection};

/// A stream of a store, to append to. Cheap to clone; keep it as long as rows of it come.
#[derive(Clone)]
pub struct Stream {
    named: Arc<Named>,
}

struct Named {
    id: StreamId,
    labels: Labels,
    /// Where the journal defines it last; 0: nowhere.
    defined: AtomicU64,
    /// The last record that has rows of it.
    used: AtomicU64,
}

impl Stream {
    /// Its labels.
    pub fn labels(&self) -> &Labels {
        &self.named.labels
    }

    pub(crate) fn id(&self) -> StreamId {
        self.named.id
    }

    pub(crate) fn defined(&self) -> Sequence {
        self.named.defined.load(Ordering::Relaxed)
    }

    pub(crate) fn set_defined(&self, sequence: Sequence) {
        self.named.defined.store(sequence, Ordering::Relaxed);
    }
}

impl Stream {
    pub(crate) fn used(&self) -> Sequence {
        self.named.used.load(Ordering::Relaxed)
    }

    pub(crate) fn note_used(&self, sequence: Sequence) {
        self.named.used.fetch_max(sequence, Ordering::Relaxed);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.labels(), f)
    }
}

/// All known streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    by_labels: BTreeMap<Labels, Stream>,
    by_id: BTreeMap<StreamId, Stream>,
    next: u32,
    /// The numbers in `by_id`.
    known: StreamBits,
    /// Which of them have which labels: of those below `indexed`, and of some that are forgotten.
    postings: Postings,
    indexed: u32,
    forgotten: u32,
}

impl Streams {
    /// The stream of these labels; made if it is new.
    pub fn name(&mut self, labels: &Labels, max: usize) -> Result<Stream, Error> {
        if let Some(stream) = self.by_labels.get(labels) {
            return Ok(stream.clone());
        }
        if self.by_labels.len() >= max {
            return Err(Error::TooManyStreams { max });
        }
        let id = StreamId(self.next);
        self.next = self.next.checked_add(1).ok_or(Error::TooManyStreams { max })?;
        Ok(self.insert(id, labels.clone(), 0))
    }

    fn insert(&mut self, id: StreamId, labels: Labels, defined: Sequence) -> Stream {
        let (defined, used) = (AtomicU64::new(defined), AtomicU64::new(0));
        let stream = Stream { named: Arc::new(Named { id, labels: labels.clone(), defined, used }) };
        self.by_labels.insert(labels, stream.clone());
        self.by_id.insert(id, stream.clone());
        self.known.set(id);
        if id.0 < self.indexed {
            self.index_anew();
        }
        stream
    }

    fn index_anew(&mut self) {
        (self.postings, self.indexed, self.forgotten) = (Postings::default(), 0, 0);
    }

    /// The streams that are known and that a selection does not mean. `None`: it demands no label by which to find the others.
    pub fn dismissed(&mut self, selection: &Selection<'_>) -> Option<StreamBits> {
        if !selection.demands_labels() {
            return None;
        }
        // Numbers beyond are in no set, so that whoever has one is looked at on its own.
        let end = self.next.min(StreamBits::BOUND);
        if self.indexed < end {
            for (id, stream) in self.by_id.range(StreamId(self.indexed)..StreamId(end)) {
                self.postings.add(id.0, stream.labels());
            }
            self.postings.settle();
            self.indexed = end;
        }
        let mut dismissed = self.known.clone();
        for id in self.postings.candidates(selection)?.into_iter().map(StreamId) {
            if self.by_id.get(&id).is_some_and(|stream| selection.selects(stream.labels())) {
                dismissed.clear(id);
            }
        }
        Some(dismissed)
    }

    /// A definition that the journal holds.
    pub fn define(&mut self, id: StreamId, labels: Labels, sequence: Sequence) {
        self.next = self.next.max(id.0.saturating_add(1));
        match self.by_id.get(&id) {
            Some(stream) if *stream.labels() == labels => stream.set_defined(sequence.max(stream.defined())),
            _ => _ = self.insert(id, labels, sequence),
        }
    }

    pub fn get(&self, id: StreamId) -> Option<&Stream> {
        self.by_id.get(&id)
    }

    /// The number of these labels, if they are known.
    pub fn find(&self, labels: &Labels) -> Option<StreamId> {
        self.by_labels.get(labels).map(Stream::id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.by_id.values()
    }

    pub fn len(&self) -> usize {
        self.by_labels.len()
    }

    /// Forgets streams that nobody holds, and that no record from a sequence on has rows of.
    pub fn forget(&mut self, kept: Sequence) {
        self.by_id.retain(|id, stream| {
            let shares = if self.by_labels.get(stream.labels()).is_some_and(|other| other.id() == *id) { 2 } else { 1 };
            let keep = Arc::strong_count(&stream.named) > shares || stream.used() >= kept;
            if !keep && shares == 2 {
                self.by_labels.remove(stream.labels());
            }
            if !keep {
                self.known.clear(*id);
                self.forgotten += u32::from(id.0 < self.indexed);
            }
            keep
        });
        if self.forgotten as usize > self.by_id.len() {
            self.index_anew();
        }
    }
}

/// A set of streams. Numbers beyond its bound are never in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamBits(Vec<u64>);

impl StreamBits {
    /// Two megabytes of bits.
    const BOUND: u32 = 1 << 24;

    pub fn set(&mut self, id: StreamId) {
        if id.0 < StreamBits::BOUND {
            let at = id.0 as usize / 64;
            if at >= self.0.len() {
                self.0.resize(at + 1, 0);
            }
            self.0[at] |= 1 << (id.0 % 64);
        }
    }

    pub fn clear(&mut self, id: StreamId) {
        if let Some(bits) = self.0.get_mut(id.0 as usize / 64) {
            *bits &= !(1 << (id.0 % 64));
        }
    }

    #[inline]
    pub fn has(&self, id: StreamId) -> bool {
        self.0.get(id.0 as usize / 64).is_some_and(|bits| bits >> (id.0 % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(app: &str) -> Labels {
        Labels::new([("app", app)]).unwrap()
    }

    #[test]
    fn a_stream_has_one_number_until_it_is_forgotten() {
        let mut streams = Streams::default();
        let a = streams.name(&labels("a"), 2).unwrap();
        let b = streams.name(&labels("b"), 2).unwrap();
        assert_eq!(streams.name(&labels("a"), 2).unwrap().id(), a.id());
        assert!(matches!(streams.name(&labels("c"), 2), Err(Error::TooManyStreams { max: 2 })));
        let beyond = streams.name(&labels("plain"), usize::MAX).unwrap();
        assert_eq!(streams.name(&labels("plain"), 2).unwrap().id(), beyond.id(), "it is known to all from then on");
        drop(beyond);
        let id = b.id();
        b.note_used(7);
        drop(b);
        streams.forget(7);
        assert_eq!(streams.len(), 2, "the journal still has rows of it");
        streams.forget(8);
        assert_eq!(streams.len(), 1);
        assert!(streams.get(id).is_none() && streams.get(a.id()).is_some());
        assert_ne!(streams.name(&labels("b"), 2).unwrap().id(), id, "a number is never given twice");
    }

    #[test]
    fn definitions_of_one_stream_under_two_numbers_serve_both() {
        let mut streams = Streams::default();
        streams.define(StreamId(4), labels("a"), 10);
        streams.define(StreamId(9), labels("a"), 20);
        streams.define(StreamId(9), labels("a"), 30);
        assert_eq!(streams.get(StreamId(4)).unwrap().labels(), &labels("a"));
        assert_eq!(streams.name(&labels("a"), 9).unwrap().id(), StreamId(9));
        assert_eq!(streams.get(StreamId(9)).unwrap().defined(), 30);
        assert_eq!(streams.name(&labels("b"), 9).unwrap().id(), StreamId(10));
        streams.forget(1);
        assert_eq!(streams.len(), 0);
    }

    #[test]
    fn streams_are_found_by_label_whatever_became_of_others() {
        let named = |at: u32| Labels::new([("app", format!("a{}", at % 10)), ("n", at.to_string())]).unwrap();
        let selected = |streams: &mut Streams, app: &str| {
            let mut selection = Selection::new(|labels: &Labels| labels.get("app") == Some(app));
            selection.demand("app", &[app]);
            let dismissed = streams.dismissed(&selection).unwrap();
            let found: Vec<_> = streams.by_id.keys().filter(|id| !dismissed.has(**id)).map(|id| id.0).collect();
            let scanned = streams.iter().filter(|stream| selection.selects(stream.labels()));
            assert_eq!(found, scanned.map(|stream| stream.id().0).collect::<Vec<_>>());
            found
        };
        let mut streams = Streams::default();
        assert!(streams.dismissed(&Selection::new(|_| true)).is_none());
        let mut held: Vec<_> = (0..50).map(|at| streams.name(&named(at), 100).unwrap()).collect();
        assert_eq!(selected(&mut streams, "a3"), [3, 13, 23, 33, 43]);
        held.extend((50..60).map(|at| streams.name(&named(at), 100).unwrap()));
        assert_eq!(selected(&mut streams, "a3"), [3, 13, 23, 33, 43, 53], "what came after the index was made");
        held.truncate(20);
        streams.forget(1);
        assert_eq!(selected(&mut streams, "a3"), [3, 13], "what was forgotten is not meant");
        streams.define(StreamId(5), Labels::new([("app", "a3")]).unwrap(), 9);
        assert_eq!(selected(&mut streams, "a3"), [3, 5, 13], "a number that means another stream now");
        let far = StreamId(StreamBits::BOUND + 7);
        streams.define(far, labels("a3"), 9);
        assert_eq!(selected(&mut streams, "a3"), [3, 5, 13, far.0], "beyond the bound nothing is dismissed");
    }
}
