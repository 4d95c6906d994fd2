//! Entries in memory: the newest ones, and those read ahead, bounded over all groups in items and in bytes. Owns what
//! leaves first; an item names the sequence that it was stored under, so that a stale one is never taken for another.
//!
//! Locks: one per group's cache, and `ring` of the budget; a thread holds one cache at most, and never waits for a cache
//! while it holds the ring.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use duramen_journal::Sequence;

use crate::lock;

/// What an item costs beside its payload: its place here, and a shared payload's head.
const ITEM_OVERHEAD: usize = 96;
/// An eviction makes room of so small a share of the bounds.
const ROOM_SHARE: usize = 64;
/// Items that one group gives before the next is asked.
const EVICT_AT_ONCE: usize = 64;

/// Something that can let go of its oldest item.
pub(crate) trait Evict: Send + Sync {
    /// Lets go of up to so many of the oldest items whose sequence is at most `upto`. `None`: somebody holds it.
    fn evict(&self, items: usize, upto: Sequence) -> Option<Evicted>;
}

/// What an eviction took.
pub(crate) struct Evicted {
    pub items: usize,
    /// Nothing is left: the cache leaves the ring, and comes back with its next item.
    pub empty: bool,
}

/// The bounds that all groups share, and the figures.
#[derive(Default)]
pub(crate) struct Budget {
    items_max: usize,
    bytes_max: usize,
    items: AtomicUsize,
    bytes: AtomicUsize,
    /// The caches that have items: of ten thousand groups few may have any.
    ring: Mutex<VecDeque<Weak<dyn Evict>>>,
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub prefetched: AtomicU64,
    pub evicted: AtomicU64,
}

impl Budget {
    pub fn new(items_max: usize, bytes_max: usize) -> Budget {
        Budget { items_max, bytes_max, ..Budget::default() }
    }

    pub fn items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn is_over(&self) -> bool {
        self.items() > self.items_max || self.bytes() > self.bytes_max
    }

    fn join(&self, cache: Weak<dyn Evict>) {
        lock(&self.ring).push_back(cache);
    }

    fn took(&self, items: usize, bytes: usize) {
        self.items.fetch_add(items, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn gave(&self, items: usize, bytes: usize) {
        self.items.fetch_sub(items, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// About how many items are too many, with the room that an eviction makes; one at least, if the bounds are passed.
    fn excess(&self) -> usize {
        let (items, bytes) = (self.items(), self.bytes());
        let too_many = |have: usize, max: usize| have.saturating_sub(max - max / ROOM_SHARE);
        let by_bytes = too_many(bytes, self.bytes_max) / (bytes / items.max(1)).max(1);
        too_many(items, self.items_max).max(by_bytes).max(usize::from(self.is_over()))
    }

    /// Once the bounds are passed: lets items go, group after group, until there is some room again, so that not each
    /// append has to. Only items up to a sequence.
    pub fn shrink(&self, upto: Sequence) {
        if !self.is_over() {
            return;
        }
        let members = lock(&self.ring).len();
        let mut idle = 0;
        // A share of each group's, so that one that sleeps does not keep all the room.
        while idle < members {
            let excess = self.excess();
            if excess == 0 {
                return;
            }
            let Some(next) = lock(&self.ring).pop_front() else { return };
            let Some(cache) = next.upgrade() else { continue };
            let evicted = cache.evict(excess.min(EVICT_AT_ONCE), upto);
            match &evicted {
                None | Some(Evicted { items: 0, .. }) => idle += 1,
                Some(Evicted { items, .. }) => {
                    idle = 0;
                    self.evicted.fetch_add(*items as u64, Ordering::Relaxed);
                }
            }
            if !evicted.is_some_and(|evicted| evicted.empty) {
                lock(&self.ring).push_back(next);
            }
        }
    }
}

#[derive(Debug)]
struct Item<P> {
    sequence: Sequence,
    bytes: usize,
    payload: P,
}

#[derive(Debug)]
struct Items<P> {
    /// The newest entries, without a hole.
    tail: VecDeque<Item<P>>,
    tail_first: u64,
    /// Others, that were read.
    side: BTreeMap<u64, Item<P>>,
    /// Whether the budget's ring has this cache.
    in_ring: bool,
}

impl<P> Items<P> {
    fn tail_end(&self) -> u64 {
        self.tail_first + self.tail.len() as u64
    }

    fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.side.is_empty()
    }

    fn get(&self, index: u64, sequence: Sequence) -> Option<(P, usize)>
    where
        P: Clone,
    {
        let place = index.checked_sub(self.tail_first).and_then(|place| usize::try_from(place).ok());
        let item = place.and_then(|place| self.tail.get(place)).or_else(|| self.side.get(&index));
        let item = item.filter(|item| item.sequence == sequence)?;
        Some((item.payload.clone(), item.bytes - ITEM_OVERHEAD))
    }

    /// Whether the cache has to go into the ring now.
    fn enters_ring(&mut self) -> bool {
        !self.is_empty() && !std::mem::replace(&mut self.in_ring, true)
    }
}

/// The entries of one group that are in memory.
pub(crate) struct Cache<P> {
    me: Weak<Cache<P>>,
    budget: Arc<Budget>,
    items: Mutex<Items<P>>,
}

/// An entry to be kept.
pub(crate) struct Kept<P> {
    pub index: u64,
    pub sequence: Sequence,
    /// Bytes of its payload, as it is stored.
    pub bytes: usize,
    pub payload: P,
}

impl<P: Clone + Send + 'static> Cache<P> {
    pub fn new(budget: Arc<Budget>) -> Arc<Cache<P>> {
        let items = Items { tail: VecDeque::new(), tail_first: 0, side: BTreeMap::new(), in_ring: false };
        Arc::new_cyclic(|me| Cache { me: me.clone(), budget, items: Mutex::new(items) })
    }

    /// Keeps entries that were appended, in order. Whatever was kept from the first of them on goes.
    pub fn append(&self, entries: impl Iterator<Item = Kept<P>>) {
        let mut items = lock(&self.items);
        let (mut count, mut bytes) = (0, 0);
        let mut freed = (0, 0);
        for kept in entries {
            if kept.index != items.tail_end() {
                let (removed, bytes) = Self::drop_from(&mut items, kept.index);
                freed = (freed.0 + removed, freed.1 + bytes);
                if kept.index != items.tail_end() {
                    // A hole: what stands before it is as good as it was.
                    let first = std::mem::replace(&mut items.tail_first, kept.index);
                    let old = std::mem::take(&mut items.tail);
                    items.side.extend((first..).zip(old));
                }
            }
            let cost = kept.bytes + ITEM_OVERHEAD;
            items.tail.push_back(Item { sequence: kept.sequence, bytes: cost, payload: kept.payload });
            (count, bytes) = (count + 1, bytes + cost);
        }
        let enters = items.enters_ring();
        drop(items);
        self.budget.took(count, bytes);
        self.budget.gave(freed.0, freed.1);
        if enters {
            self.budget.join(self.me.clone());
        }
    }

    /// Keeps entries that were read.
    pub fn keep(&self, entries: impl Iterator<Item = Kept<P>>) {
        let mut items = lock(&self.items);
        for kept in entries {
            let in_tail = kept.index >= items.tail_first && kept.index < items.tail_end();
            if in_tail {
                continue;
            }
            let cost = kept.bytes + ITEM_OVERHEAD;
            let item = Item { sequence: kept.sequence, bytes: cost, payload: kept.payload };
            self.budget.took(1, cost);
            if let Some(old) = items.side.insert(kept.index, item) {
                self.budget.gave(1, old.bytes);
            }
        }
        let enters = items.enters_ring();
        drop(items);
        if enters {
            self.budget.join(self.me.clone());
        }
    }

    /// An entry's payload with its bytes, if it is here under this sequence.
    pub fn get(&self, index: u64, sequence: Sequence) -> Option<(P, usize)> {
        lock(&self.items).get(index, sequence)
    }

    /// The payloads, with their bytes, of entries that follow each other in index and in the journal. `None`: none of them
    /// is here.
    pub fn get_run(&self, first: u64, sequence: Sequence, count: u64) -> Option<Vec<Option<(P, usize)>>> {
        let items = lock(&self.items);
        let end = first + count;
        let in_tail = first.max(items.tail_first) < end.min(items.tail_end());
        if !in_tail && items.side.range(first..end).next().is_none() {
            return None;
        }
        Some((0..count).map(|at| items.get(first + at, sequence + at)).collect())
    }

    /// An entry lies elsewhere now.
    pub fn moved(&self, index: u64, from: Sequence, to: Sequence) {
        let mut items = lock(&self.items);
        let place = index.checked_sub(items.tail_first).and_then(|place| usize::try_from(place).ok());
        let in_tail = place.filter(|&place| place < items.tail.len());
        let item = match in_tail {
            Some(place) => items.tail.get_mut(place),
            None => items.side.get_mut(&index),
        };
        if let Some(item) = item.filter(|item| item.sequence == from) {
            item.sequence = to;
        }
    }

    fn drop_from(items: &mut Items<P>, index: u64) -> (usize, usize) {
        let keep = index.saturating_sub(items.tail_first).min(items.tail.len() as u64) as usize;
        let gone = items.tail.drain(keep..).map(|item| item.bytes);
        let (mut count, mut bytes) = gone.fold((0, 0), |(count, bytes), item| (count + 1, bytes + item));
        for item in items.side.split_off(&index).into_values() {
            (count, bytes) = (count + 1, bytes + item.bytes);
        }
        (count, bytes)
    }

    /// Lets go of all entries from an index on.
    pub fn truncate_from(&self, index: u64) {
        let (count, bytes) = Self::drop_from(&mut lock(&self.items), index);
        self.budget.gave(count, bytes);
    }

    /// Lets go of all entries up to an index.
    pub fn purge_upto(&self, index: u64) {
        let mut items = lock(&self.items);
        let gone = index.saturating_add(1).saturating_sub(items.tail_first).min(items.tail.len() as u64) as usize;
        let (mut count, mut bytes) = (gone, items.tail.drain(..gone).map(|item| item.bytes).sum::<usize>());
        items.tail_first += gone as u64;
        let kept = items.side.split_off(&index.saturating_add(1));
        for item in std::mem::replace(&mut items.side, kept).into_values() {
            (count, bytes) = (count + 1, bytes + item.bytes);
        }
        drop(items);
        self.budget.gave(count, bytes);
    }
}

impl<P: Clone + Send + 'static> Evict for Cache<P> {
    fn evict(&self, wanted: usize, upto: Sequence) -> Option<Evicted> {
        let mut items = self.items.try_lock().ok()?;
        let (mut count, mut bytes) = (0, 0);
        while count < wanted {
            let side = items.side.first_key_value().is_some_and(|(_, item)| item.sequence <= upto);
            let tail = items.tail.front().is_some_and(|item| item.sequence <= upto);
            let gone = if side {
                items.side.pop_first().map(|(_, item)| item)
            } else if tail {
                items.tail_first += 1;
                items.tail.pop_front()
            } else {
                None
            };
            let Some(gone) = gone else { break };
            (count, bytes) = (count + 1, bytes + gone.bytes);
        }
        let empty = items.is_empty();
        items.in_ring = !empty;
        drop(items);
        self.budget.gave(count, bytes);
        Some(Evicted { items: count, empty })
    }
}

impl<P> Drop for Cache<P> {
    fn drop(&mut self) {
        let items = self.items.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        let bytes: usize = items.tail.iter().chain(items.side.values()).map(|item| item.bytes).sum();
        self.budget.gave(items.tail.len() + items.side.len(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(index: u64, sequence: u64, bytes: usize) -> Kept<u64> {
        Kept { index, sequence, bytes, payload: index * 10 }
    }

    fn payload(cache: &Cache<u64>, index: u64, sequence: u64) -> Option<u64> {
        cache.get(index, sequence).map(|(payload, _)| payload)
    }

    #[test]
    fn the_newest_and_the_read_ones_are_found() {
        let budget = Arc::new(Budget::new(100, 1 << 20));
        let cache = Cache::new(budget.clone());
        cache.append((5..8).map(|index| kept(index, index + 100, 10)));
        cache.keep([kept(2, 50, 10), kept(6, 1, 10)].into_iter());
        assert_eq!((budget.items(), budget.bytes()), (4, 4 * (10 + ITEM_OVERHEAD)));
        assert_eq!(payload(&cache, 5, 105), Some(50));
        assert_eq!(payload(&cache, 2, 50), Some(20));
        assert_eq!(payload(&cache, 6, 1), None, "what was appended counts");
        assert_eq!(payload(&cache, 5, 104), None, "another sequence is another entry");
        assert_eq!(cache.get_run(1, 49, 4), Some(vec![None, Some((20, 10)), None, None]));
        assert_eq!(cache.get_run(6, 106, 3), Some(vec![Some((60, 10)), Some((70, 10)), None]));
        assert_eq!((cache.get_run(3, 51, 2), cache.get_run(8, 108, 5)), (None, None));
        cache.moved(5, 105, 500);
        assert_eq!((payload(&cache, 5, 105), payload(&cache, 5, 500)), (None, Some(50)));
        cache.truncate_from(7);
        assert_eq!((payload(&cache, 6, 106), payload(&cache, 7, 107)), (Some(60), None));
        cache.append([kept(6, 200, 10)].into_iter());
        assert_eq!((payload(&cache, 6, 106), payload(&cache, 6, 200)), (None, Some(60)));
        cache.purge_upto(5);
        assert_eq!((payload(&cache, 2, 50), payload(&cache, 5, 500), payload(&cache, 6, 200)), (None, None, Some(60)));
        // An append that leaves a hole begins a new tail, and one before all others.
        cache.append([kept(9, 300, 10)].into_iter());
        assert_eq!((payload(&cache, 6, 200), payload(&cache, 9, 300)), (Some(60), Some(90)));
        assert_eq!(budget.items(), 2);
        cache.append([kept(2, 400, 10)].into_iter());
        assert_eq!((payload(&cache, 6, 200), payload(&cache, 9, 300), payload(&cache, 2, 400)), (None, None, Some(20)));
        assert_eq!(budget.items(), 1);
        drop(cache);
        assert_eq!((budget.items(), budget.bytes()), (0, 0));
    }

    #[test]
    fn the_bounds_hold_over_all_groups() {
        let budget = Arc::new(Budget::new(100, 100 * (10 + ITEM_OVERHEAD)));
        let caches: Vec<Arc<Cache<u64>>> = (0..3).map(|_| Cache::new(budget.clone())).collect();
        for round in 0..50u64 {
            for cache in &caches {
                cache.append((round * 4..round * 4 + 4).map(|index| kept(index, index, 10)));
                budget.shrink(u64::MAX);
                assert!(budget.items() <= 100 && budget.bytes() <= 100 * (10 + ITEM_OVERHEAD));
            }
        }
        assert!(caches.iter().all(|cache| payload(cache, 199, 199).is_some()), "the newest of each stay");
        assert!(budget.evicted.load(Ordering::Relaxed) >= 500);
        // An empty cache costs nothing: it leaves the ring, and comes back with its next item.
        assert_eq!(lock(&budget.ring).len(), 3);
        caches[1].truncate_from(0);
        caches[2].truncate_from(0);
        caches[0].append((200..400).map(|index| kept(index, index, 10)));
        budget.shrink(u64::MAX);
        assert_eq!((lock(&budget.ring).len(), budget.items()), (1, 99), "and a little room");
        caches[1].append([kept(1, 1, 10)].into_iter());
        assert_eq!(lock(&budget.ring).len(), 2);
        budget.shrink(u64::MAX);
        assert_eq!(budget.items(), 100, "the bound is not passed");
        // What must stay does.
        let budget = Arc::new(Budget::new(2, 1 << 20));
        let cache = Cache::new(budget.clone());
        cache.append((1..10).map(|index| kept(index, index, 10)));
        budget.shrink(4);
        assert_eq!(budget.items(), 5);
        assert!(payload(&cache, 4, 4).is_none() && payload(&cache, 5, 5).is_some());
    }
}
