//! What the outside world was told: the events of a workload and of the recoveries after it, in order. Owns the list
//! and its fingerprint; what an event means is the scenario's business.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::hash::{EventHasher, mix};

/// The events so far: issued, acknowledged, served, … A workload and each recovery push theirs as they happen; a crash
/// cuts the history where it stood at that moment.
#[derive(Debug)]
pub struct History<E> {
    /// The workload's events, shared by all histories that grow from it.
    base: Arc<Vec<E>>,
    base_length: usize,
    resumed: usize,
    added: Mutex<Vec<E>>,
    mark: Arc<Mark>,
}

/// How long a history is, and a fingerprint of its events: the disk notes both at each operation. One thread writes.
#[derive(Debug, Default)]
pub(super) struct Mark {
    length: AtomicU64,
    fingerprint: AtomicU64,
}

impl Mark {
    pub(super) fn read(&self) -> (usize, u64) {
        (self.length.load(Ordering::Relaxed) as usize, self.fingerprint.load(Ordering::Relaxed))
    }
}

impl<E: Clone + Hash> Default for History<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Clone + Hash> History<E> {
    /// An empty history.
    pub fn new() -> Self {
        Self::resume(Arc::default(), 0, Vec::new(), 0)
    }

    /// A history that continues after a crash.
    pub(super) fn resume(base: Arc<Vec<E>>, base_length: usize, added: Vec<E>, fingerprint: u64) -> Self {
        let mark = Mark::default();
        let resumed = base_length + added.len();
        mark.length.store(resumed as u64, Ordering::Relaxed);
        mark.fingerprint.store(fingerprint, Ordering::Relaxed);
        Self { base, base_length, resumed, added: Mutex::new(added), mark: Arc::new(mark) }
    }

    /// Appends an event.
    pub fn push(&self, event: E) {
        let mut hasher = EventHasher::default();
        event.hash(&mut hasher);
        let (length, fingerprint) = self.mark.read();
        self.lock().push(event);
        self.mark.length.store(length as u64 + 1, Ordering::Relaxed);
        self.mark.fingerprint.store(mix(fingerprint, hasher.finish()), Ordering::Relaxed);
    }

    /// The events that the workload had pushed when it crashed. Empty in the workload itself.
    pub fn base(&self) -> &[E] {
        &self.base[..self.base_length]
    }

    /// The events pushed since: in a workload all of them, in a recovery those of the recoveries before it and its own.
    pub fn added(&self) -> Vec<E> {
        self.lock().clone()
    }

    /// Visits all events in order.
    pub fn for_each(&self, visit: impl FnMut(&E)) {
        self.base().iter().chain(self.lock().iter()).for_each(visit);
    }

    /// How many events there are.
    pub fn count(&self) -> usize {
        self.base_length + self.lock().len()
    }

    /// How many events there were when this history resumed after a crash.
    pub(super) fn resumed(&self) -> usize {
        self.resumed
    }

    pub(super) fn mark(&self) -> Arc<Mark> {
        self.mark.clone()
    }

    /// The history as it was at a moment, to continue from after a crash there.
    pub(super) fn cut(&self, length: usize, fingerprint: u64) -> Self {
        let added = self.lock()[..length - self.base_length].to_vec();
        Self::resume(self.base.clone(), self.base_length, added, fingerprint)
    }

    /// The finished workload's events become the base of all that follows.
    pub(super) fn into_base(self) -> Arc<Vec<E>> {
        Arc::new(self.lock().clone())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<E>> {
        self.added.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
