//! What happens by itself: deadlines, idle marks, the flusher's life; and the knobs and figures beside it.

use super::*;

impl Writer {
    /// Ends the flusher and the keeper.
    pub fn stop(&self) {
        lock(&self.queue).stopped = true;
        self.pool.stop();
        self.wake_flusher();
    }

    pub fn policy(&self) -> SyncPolicy {
        lock(&self.queue).policy
    }

    /// Changes the policy; what waits in memory or in the cache is held to the new one.
    pub fn set_policy(&self, policy: SyncPolicy) {
        let now = self.world.environment.now();
        let mut queue = lock(&self.queue);
        queue.policy = policy;
        let within = match policy {
            SyncPolicy::Always => Duration::ZERO,
            SyncPolicy::Batch { interval, .. } | SyncPolicy::Interval(interval) => interval,
            SyncPolicy::Never => return,
        };
        let deadline = now + within;
        let Queue { ready, open, .. } = &mut *queue;
        for gathering in ready.iter_mut().chain(open) {
            gathering.prompt |= policy == SyncPolicy::Always;
            gathering.deadline = Some(gathering.deadline.map_or(deadline, |other| other.min(deadline)));
        }
        let unsynced = self.durable.get() < self.written.get();
        queue.written_deadline = [queue.written_deadline, unsynced.then_some(deadline)].into_iter().flatten().min();
        queue.flusher_dozes = false;
        drop(queue);
        if self.inline { self.tick() } else { self.wake_flusher() }
    }

    /// Runs what is due: deadlines, marks, background work.
    pub fn tick(&self) {
        let now = self.world.environment.now();
        let (due, mark) = {
            let queue = lock(&self.queue);
            let due = queue.deadline().is_some_and(|deadline| deadline <= now) || queue.wants_flush();
            (due, !due && self.mark_due(&queue).is_some_and(|at| at <= now))
        };
        if due {
            let _ = self.sync();
        }
        if mark {
            let marked = self.as_leader(|lead, told| self.step(lead, told, |log| log.mark(CommitKind::IdleMark)));
            if marked.is_err() {
                // Not again before something else was written.
                lock(&self.queue).unwitnessed = false;
            }
        }
        if self.inline {
            while self.pool.work() {}
        }
    }

    /// When an idle mark is due, if nothing happens before.
    pub(super) fn mark_due(&self, queue: &Queue) -> Option<Duration> {
        let delay = self.idle_mark?;
        let idle = queue.unwitnessed && queue.open.is_none() && queue.ready.is_empty() && queue.failed.is_none();
        (idle && !queue.closed).then(|| queue.last_flush + delay)
    }

    /// The flusher's life.
    pub fn run(&self) {
        let mut seen_open: Option<Sequence> = None;
        loop {
            let word = self.flusher.load(Ordering::SeqCst);
            let mut queue = lock(&self.queue);
            if queue.handed_over {
                queue.handed_over = false;
                drop(queue);
                self.drain();
                continue;
            }
            if queue.stopped {
                return;
            }
            let now = self.world.environment.now();
            // After a failure nothing is due any more; what was would lie in the past, and the thread would spin.
            let deadline = queue.deadline().filter(|_| queue.failed.is_none());
            let mark = self.mark_due(&queue);
            if [deadline, mark].into_iter().flatten().any(|at| at <= now) {
                drop(queue);
                self.tick();
                continue;
            }
            // A prompt commit that was there at the last look and that nobody has asked for since.
            let open = queue.open.as_ref().filter(|open| open.prompt).map(|open| open.commit.first);
            if open.is_some() && open == seen_open && !queue.flushing {
                queue.flushing = true;
                queue.handed_over = true;
                continue;
            }
            let active = open.is_some() || queue.last_flush + LOOK_AGAIN > now;
            seen_open = open;
            let look = active.then(|| now + LOOK_AGAIN);
            let until = [deadline, mark, look].into_iter().flatten().min();
            queue.flusher_until = until;
            queue.flusher_dozes = !active;
            drop(queue);
            self.world.environment.wait(&self.flusher, word, until.map(|at| at.saturating_sub(now)));
        }
    }

    /// All figures.
    pub fn stats(&self) -> Stats {
        let mut stats = self.counters.read();
        let segments = self.catalog.all();
        {
            let queue = lock(&self.queue);
            stats.appended = queue.next_sequence - 1;
            stats.queue_bytes = queue.bytes;
            stats.no_space = queue.no_space;
            stats.poisoned = queue.failed.is_some();
        }
        stats.durable = self.durable.get();
        stats.written = self.written.get();
        stats.first = segments.first().map_or(1, |segment| segment.header.first_sequence);
        stats.segments = segments.len();
        stats.stocked = self.pool.is_stocked();
        stats.tail_bytes = self.catalog.tail_bytes();
        stats
    }

    /// The highest sequence given.
    pub fn appended_upto(&self) -> Sequence {
        lock(&self.queue).next_sequence - 1
    }

    /// Whether no thread works for this journal.
    pub fn is_inline(&self) -> bool {
        self.inline
    }
}
