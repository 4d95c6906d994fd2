//! What waits for the disk: commits as they gather, and what is asked of them. Owns the queue's state and who may start
//! its flush; the flush itself is the leader's.

use super::*;

/// Why somebody wants a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kick {
    /// A poll or a callback.
    Asked,
    /// A ticket was dropped unasked.
    Dropped,
}

/// One commit as tickets see it.
pub(crate) struct Commit {
    pub completion: Completion,
    pub(super) writer: Arc<Writer>,
    pub(super) first: Sequence,
}

/// One commit as it gathers.
pub(super) struct Gathering {
    pub(super) commit: Arc<Commit>,
    pub(super) buffer: BodyBuffer,
    pub(super) places: Vec<u32>,
    pub(super) logs: usize,
    pub(super) reserved: bool,
    /// To be synced as soon as it is written, and written as soon as possible.
    pub(super) prompt: bool,
    /// When its sync must begin at the latest.
    pub(super) deadline: Option<Duration>,
}

impl Gathering {
    pub(super) fn body_bytes(&self) -> usize {
        self.buffer.len()
    }
}

pub(super) struct Queue {
    pub(super) ready: VecDeque<Gathering>,
    pub(super) open: Option<Gathering>,
    pub(super) next_sequence: Sequence,
    /// Refusals so far: see [`Append::epoch`].
    pub(super) epoch: u64,
    pub(super) bytes: usize,
    pub(super) policy: SyncPolicy,
    /// Somebody leads, or was told to.
    pub(super) flushing: bool,
    /// It is the flusher thread that was told to.
    pub(super) handed_over: bool,
    /// Somebody waits for the open commit to be written, prompt or not.
    pub(super) asked: bool,
    /// When something that is written and not synced must be synced.
    pub(super) written_deadline: Option<Duration>,
    pub(super) unsynced_records: u64,
    pub(super) failed: Option<Error>,
    pub(super) closed: bool,
    pub(super) no_space: bool,
    pub(super) last_flush: Duration,
    pub(super) unwitnessed: bool,
    /// The flusher sleeps until then; `None`: until woken.
    pub(super) flusher_until: Option<Duration>,
    pub(super) flusher_dozes: bool,
    pub(super) stopped: bool,
}

impl Queue {
    pub(super) fn wants_flush(&self) -> bool {
        !self.ready.is_empty() || self.open.as_ref().is_some_and(|open| open.prompt || self.asked)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let gathering = self.ready.iter().chain(&self.open).filter_map(|gathering| gathering.deadline);
        gathering.chain(self.written_deadline).min()
    }
}

impl Commit {
    /// Waits for a level, and leads the flush if nobody does.
    pub fn drive(self: &Arc<Self>, level: u32) -> Result<(), Error> {
        let writer = &self.writer;
        loop {
            if self.completion.reached(level) {
                return self.completion.level().map(|_| ());
            }
            let mut queue = lock(&writer.queue);
            let queued = queue.open.iter().chain(&queue.ready).find(|gathering| Arc::ptr_eq(&gathering.commit, self));
            let prompt = queued.is_some_and(|gathering| gathering.prompt);
            if queued.is_some() && level == WRITTEN {
                queue.asked = true;
            }
            if writer.inline && level == DURABLE && !prompt {
                drop(queue);
                match writer.sync() {
                    // What was refused is gone from the queue, and may have been queued behind this commit: its own
                    // completion tells.
                    Err(error) if !error.is_no_space() => return Err(error),
                    _ => continue,
                }
            }
            if !queue.flushing && queued_for(&queue, self) && (prompt || level == WRITTEN) {
                queue.flushing = true;
                drop(queue);
                writer.lead_for(self, level);
                continue;
            }
            drop(queue);
            return self.completion.wait(level, &*writer.world.environment);
        }
    }

    /// Sees that the commit gets going, if it is one that should.
    pub fn kick(self: &Arc<Self>, kick: Kick) {
        let writer = &self.writer;
        let mut queue = lock(&writer.queue);
        let prompt = queue.open.iter().chain(&queue.ready).any(|g| Arc::ptr_eq(&g.commit, self) && g.prompt);
        if writer.inline && kick == Kick::Asked && !prompt {
            // Nobody else will ever do it.
            drop(queue);
            if writer.sync().is_err_and(|error| error.is_no_space()) {
                // Something behind it was refused, and is gone from the queue.
                let _ = writer.sync();
            }
            return;
        }
        if !prompt || queue.flushing {
            return;
        }
        queue.flushing = true;
        if writer.inline {
            drop(queue);
            writer.drain();
        } else {
            queue.handed_over = true;
            drop(queue);
            writer.wake_flusher();
        }
    }
}

fn queued_for(queue: &Queue, commit: &Arc<Commit>) -> bool {
    queue.open.iter().chain(&queue.ready).any(|gathering| Arc::ptr_eq(&gathering.commit, commit))
}
