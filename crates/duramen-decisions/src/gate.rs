//! The gate between deciding and executing: an item passes when its mode lets it. Owns the order: items come out as they went in.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use duramen_journal::World;
use duramen_journal::disk::Environment;
use duramen_journal::sync::AtomicU32;

use crate::completion::Completion;
use crate::error::Error;
use crate::lock;

/// How long a wait lasts at most before the queue is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// When a decision may be executed, and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PersistentLogMode {
    /// When it is durable. **Nothing that was answered is lost**, whatever happens to however many replicas.
    #[default]
    Strict,
    /// At once; durable soon after. A power cut of one replica loses what its peers still have. **If more replicas than the
    /// protocol tolerates lose power within one sync interval, answered decisions are lost.** An error of the log comes out with
    /// the next item.
    Optimistic,
    /// At once, and nothing is waited for: the caller need not store at all. **What was answered is only in memory**; the group lives
    /// as long as enough of its processes do.
    None,
}

/// Holds items until they may be executed. Shared by whoever decides and whoever executes.
pub struct Gate<T> {
    mode: PersistentLogMode,
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    /// Changes when something may pass.
    moved: AtomicU32,
    environment: Arc<dyn Environment>,
}

struct Queue<T> {
    items: VecDeque<(u64, T)>,
    /// Number of the next item to go in.
    next: u64,
    /// Items below this number may pass, in strict mode each by itself.
    durable: VecDeque<bool>,
    failed: Option<Error>,
    closed: bool,
}

impl<T> Shared<T> {
    fn moved(&self) {
        self.moved.fetch_add(1, SeqCst);
        self.environment.wake(&self.moved, u32::MAX);
    }
}

impl<T: Send + 'static> Gate<T> {
    /// A gate.
    pub fn new(mode: PersistentLogMode) -> Gate<T> {
        Gate::with_environment(mode, World::real().environment)
    }

    /// A gate at which whoever waits does so by an environment.
    pub fn with_environment(mode: PersistentLogMode, environment: Arc<dyn Environment>) -> Gate<T> {
        let queue = Queue { items: VecDeque::new(), next: 0, durable: VecDeque::new(), failed: None, closed: false };
        Gate { mode, shared: Arc::new(Shared { queue: Mutex::new(queue), moved: AtomicU32::new(0), environment }) }
    }

    /// Its mode.
    pub fn mode(&self) -> PersistentLogMode {
        self.mode
    }

    /// Hands an item in, with the completion of what was stored of it.
    pub fn submit(&self, item: T, stored: Completion) {
        let number = {
            let mut queue = lock(&self.shared.queue);
            let number = queue.next;
            queue.next += 1;
            queue.items.push_back((number, item));
            queue.durable.push_back(self.mode != PersistentLogMode::Strict);
            number
        };
        self.shared.moved();
        if self.mode == PersistentLogMode::None {
            return;
        }
        let shared = self.shared.clone();
        stored.on_durable(move |result| {
            let mut queue = lock(&shared.queue);
            match result {
                Ok(()) => {
                    let first = queue.next - queue.durable.len() as u64;
                    if let Some(place) = number.checked_sub(first).and_then(|at| queue.durable.get_mut(at as usize)) {
                        *place = true;
                    }
                }
                Err(error) => _ = queue.failed.get_or_insert(error),
            }
            drop(queue);
            shared.moved();
        });
    }

    fn pass(queue: &mut Queue<T>) -> Option<Result<T, Error>> {
        if queue.durable.front() == Some(&true) && queue.failed.is_none() {
            queue.durable.pop_front();
            return queue.items.pop_front().map(|(_, item)| Ok(item));
        }
        queue.failed.clone().map(Err)
    }

    /// The next item, if it may pass by now.
    ///
    /// # Errors
    /// Storing failed: nothing passes any more, in no mode but `None`. The items stay; see [`Gate::into_waiting`].
    pub fn try_next(&self) -> Option<Result<T, Error>> {
        Gate::pass(&mut lock(&self.shared.queue))
    }

    /// The next item, as soon as it may pass. `None`: the gate was closed and is empty.
    ///
    /// # Errors
    /// As [`Gate::try_next`].
    pub fn next(&self) -> Option<Result<T, Error>> {
        loop {
            let seen = self.shared.moved.load(SeqCst);
            {
                let mut queue = lock(&self.shared.queue);
                if let Some(passed) = Gate::pass(&mut queue) {
                    return Some(passed);
                }
                if queue.closed && queue.items.is_empty() {
                    return None;
                }
            }
            self.shared.environment.wait(&self.shared.moved, seen, Some(LOOK_AGAIN));
        }
    }

    /// Items that wait.
    pub fn waiting(&self) -> usize {
        lock(&self.shared.queue).items.len()
    }

    /// Nothing more will come: [`Gate::next`] ends when what waits has passed.
    pub fn close(&self) {
        lock(&self.shared.queue).closed = true;
        self.shared.moved();
    }

    /// The items that did not pass, in their order.
    pub fn into_waiting(self) -> Vec<T> {
        let mut queue = lock(&self.shared.queue);
        queue.durable.clear();
        queue.items.drain(..).map(|(_, item)| item).collect()
    }
}

impl<T> fmt::Debug for Gate<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("mode", &self.mode).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test waits on a thread of its own")]
mod tests {
    use super::*;

    #[test]
    fn strict_lets_pass_what_is_durable_in_the_order_in_which_it_came() {
        let gate = Gate::new(PersistentLogMode::Strict);
        let (first, completion) = Completion::pair(&World::real().environment);
        gate.submit(1, completion);
        let (second, completion) = Completion::pair(&World::real().environment);
        gate.submit(2, completion);
        second.complete(Ok(()));
        assert!(gate.try_next().is_none(), "the one before it is not durable");
        first.complete(Ok(()));
        assert!(matches!((gate.try_next(), gate.try_next()), (Some(Ok(1)), Some(Ok(2)))));
        let (third, completion) = Completion::pair(&World::real().environment);
        gate.submit(3, completion);
        third.complete(Err(Error::NoSpace));
        assert!(matches!(gate.next(), Some(Err(Error::NoSpace))));
        gate.submit(4, Completion::done());
        assert!(matches!(gate.next(), Some(Err(Error::NoSpace))), "nothing passes behind what failed");
        assert_eq!(gate.into_waiting(), [3, 4]);
    }

    #[test]
    fn optimistic_lets_pass_at_once_and_stops_when_storing_failed() {
        let gate = Gate::new(PersistentLogMode::Optimistic);
        let (completer, completion) = Completion::pair(&World::real().environment);
        gate.submit(1, completion);
        assert!(matches!(gate.try_next(), Some(Ok(1))));
        completer.complete(Err(Error::NoSpace));
        assert!(matches!(gate.try_next(), Some(Err(Error::NoSpace))));
        let gate = Gate::new(PersistentLogMode::None);
        let (completer, completion) = Completion::pair(&World::real().environment);
        gate.submit(1, completion);
        drop(completer);
        assert!(matches!(gate.try_next(), Some(Ok(1))), "nobody asks");
        gate.close();
        assert!(gate.next().is_none());
    }

    #[test]
    fn an_executor_waits_for_the_disk() {
        let gate = Arc::new(Gate::new(PersistentLogMode::Strict));
        let executor = {
            let gate = gate.clone();
            std::thread::spawn(move || std::iter::from_fn(|| gate.next()).map(|item| item.unwrap()).collect::<Vec<_>>())
        };
        let completers: Vec<_> = (0..50)
            .map(|item| {
                let (completer, completion) = Completion::pair(&World::real().environment);
                gate.submit(item, completion);
                completer
            })
            .collect();
        completers.into_iter().rev().for_each(|completer| completer.complete(Ok(())));
        gate.close();
        assert_eq!(executor.join().unwrap(), (0..50).collect::<Vec<_>>());
    }
}
