//! What the journal shows of the records that it writes: the observer that sums up each segment for its footer, and
//! counts each group's records, so that after a refusal a group knows which of its steps are stored.
//!
//! Threads: the journal's flushing thread calls the observer; opening and groups look. One lock, held for a record or a
//! look at a time; nothing is called under it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use duramen_journal::{LogNumber, Observer, ObserverFactory, Sequence};

use crate::GroupId;
use crate::format::RawRecord;
use crate::format::summary::Change;
use crate::lock;

/// What was seen of one segment.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub change: Change,
    /// The sequence behind the last record.
    pub next: Sequence,
    /// A record that is no Raft log's: the segment has no summary, and whoever reads it finds the record.
    foreign: bool,
}

#[derive(Debug, Default)]
struct Watched {
    /// The segment that was begun last.
    first: Sequence,
    seen: Seen,
    /// Those that were begun before, while opening.
    earlier: BTreeMap<Sequence, Seen>,
    opened: bool,
    held: BTreeMap<GroupId, u64>,
    starts: Vec<Sequence>,
}

/// Shared by the observer and those who look.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    watched: Mutex<Watched>,
}

impl Watch {
    /// Records of a group that were seen.
    pub fn held(&self, group: GroupId) -> u64 {
        lock(&self.watched).held.get(&group).copied().unwrap_or(0)
    }

    /// The segments that were walked at opening, by their first sequence; those with foreign records are left out.
    pub fn opened(&self) -> BTreeMap<Sequence, Seen> {
        let mut watched = lock(&self.watched);
        watched.opened = true;
        let mut all = std::mem::take(&mut watched.earlier);
        let Seen { change, next, foreign } = &watched.seen;
        all.insert(watched.first, Seen { change: change.clone(), next: *next, foreign: *foreign });
        all.retain(|_, seen| !seen.foreign);
        all
    }

    pub fn set_starts(&self, starts: Vec<Sequence>) {
        lock(&self.watched).starts = starts;
    }

    /// First sequences of the segments from the one that holds `first` on.
    pub fn starts(&self, first: Sequence) -> Vec<Sequence> {
        let mut watched = lock(&self.watched);
        let gone = watched.starts.partition_point(|&start| start <= first).saturating_sub(1);
        watched.starts.drain(..gone);
        watched.starts.clone()
    }
}

/// Makes the observers of one journal, all of which report to one [`Watch`].
#[derive(Debug)]
pub(crate) struct Watching(pub Arc<Watch>);

impl ObserverFactory for Watching {
    fn observer(&self) -> Box<dyn Observer> {
        Box::new(Watcher { watch: self.0.clone(), first: 0 })
    }
}

struct Watcher {
    watch: Arc<Watch>,
    first: Sequence,
}

impl Watched {
    /// What was seen of the segment that begins here.
    fn of(&mut self, first: Sequence) -> &mut Seen {
        if self.first == first { &mut self.seen } else { self.earlier.entry(first).or_default() }
    }
}

impl Observer for Watcher {
    fn begin(&mut self, first: Sequence) {
        self.first = first;
        let mut watched = lock(&self.watch.watched);
        let seen = std::mem::replace(&mut watched.seen, Seen { next: first, ..Seen::default() });
        let before = std::mem::replace(&mut watched.first, first);
        if !watched.opened && before != first {
            watched.earlier.insert(before, seen);
        }
        watched.starts.push(first);
    }

    fn record(&mut self, sequence: Sequence, log: LogNumber, kind: u8, payload: &[u8]) {
        let mut watched = lock(&self.watch.watched);
        *watched.held.entry(log).or_default() += 1;
        let seen = watched.of(self.first);
        seen.next = sequence + 1;
        match RawRecord::decode(kind, payload) {
            Ok(record) => seen.change.add(sequence, log, &record),
            Err(_) => seen.foreign = true,
        }
    }

    fn checkpoint_found(&mut self, _log: LogNumber, _kind: u8, _payload: &[u8]) {
        // None is ever written: see `checkpoint`.
    }

    fn summary(&mut self) -> Vec<u8> {
        let mut watched = lock(&self.watch.watched);
        let seen = watched.of(self.first);
        // No bytes are no summary: whoever opens reads the records.
        if seen.foreign { Vec::new() } else { seen.change.encode() }
    }

    /// Nothing: a state is carried forward as a record, when a release would drop its newest copy. A state of all groups at
    /// each segment's head would grow with the groups, and would not be known to be stored.
    fn checkpoint(&mut self) -> Option<(LogNumber, u8, Vec<u8>)> {
        None
    }
}
