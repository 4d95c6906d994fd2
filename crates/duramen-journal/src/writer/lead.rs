//! The leader's work: takes commits from the queue to the log, and tells those who wait. Owns what happens on success,
//! refusal and failure; runs under the lead, and calls nobody back before it is free.

use super::*;

impl Writer {
    /// Flushes as the leader until nothing asks for it. The caller has set `flushing`.
    ///
    /// It looks for more work after it has woken those whose commit it finished: they are the ones who bring it, and a
    /// leader that stepped down before would leave the next commit to the first of them alone.
    pub(super) fn drain(&self) {
        loop {
            let done = self.flush_one(false);
            self.tell(done);
            let mut queue = lock(&self.queue);
            queue.flushing = queue.wants_flush() && queue.failed.is_none();
            if !queue.flushing {
                return;
            }
        }
    }

    /// Flushes as the leader until `goal` has reached its level, then hands over what is left. The caller has set
    /// `flushing`.
    pub(super) fn lead_for(&self, goal: &Arc<Commit>, level: u32) {
        loop {
            let done = self.flush_one(false);
            let reached = !done.worked
                || done.durable.iter().chain(&done.failed).any(|commit| Arc::ptr_eq(commit, goal))
                || (level == WRITTEN && done.written.iter().any(|commit| Arc::ptr_eq(commit, goal)));
            if !reached {
                self.tell(done);
                continue;
            }
            // Where others waited too there is a crowd, and the flusher thread serves it better.
            let crowd = done.durable.iter().any(|commit| commit.completion.has_sleepers());
            let more = {
                let mut queue = lock(&self.queue);
                let more = (queue.wants_flush() || crowd) && queue.failed.is_none();
                queue.flushing = more;
                queue.handed_over = more && !self.inline;
                more
            };
            if more && !self.inline {
                self.wake_flusher();
            }
            self.tell(done);
            if more && self.inline {
                self.drain();
            }
            return;
        }
    }

    /// Writes the oldest commit, if there is one; syncs it if it is prompt, or if told to. Under a backlog a few commits
    /// share one sync: the size bound keeps a lone flush short, and there is nothing short about a queue.
    pub(super) fn flush_one(&self, sync: bool) -> Done {
        let mut lead = lock(&self.lead);
        self.flush_held(&mut lead, sync)
    }

    pub(super) fn flush_held(&self, lead: &mut Lead, sync: bool) -> Done {
        let mut done = Done::default();
        let mut owed = false;
        for round in 1..=SHARED_MAX {
            let (taken, more) = {
                let mut queue = lock(&self.queue);
                let taken = queue.ready.pop_front().or_else(|| {
                    queue.asked = false;
                    queue.open.take()
                });
                if taken.as_ref().is_some_and(|gathering| sync || gathering.prompt) {
                    queue.unsynced_records = 0;
                }
                (taken, !queue.ready.is_empty() && round < SHARED_MAX)
            };
            let Some(gathering) = taken else { break };
            owed |= sync || gathering.prompt;
            let through = owed && lead.log.is_written_through(gathering.body_bytes());
            let syncs = owed && (!more || through);
            let well = self.flush_gathering(lead, gathering, syncs, &mut done);
            owed &= !syncs && well;
            if !more || !well || through {
                break;
            }
        }
        if owed {
            // A commit before one that failed was to be synced with it.
            let mut told = Vec::new();
            let _ = self.step(lead, &mut told, Log::sync);
            told.into_iter().for_each(|other| done.merge(other));
        }
        done
    }

    /// Writes one commit. `false`: it failed, and everything behind it with it.
    pub(super) fn flush_gathering(
        &self,
        lead: &mut Lead,
        mut gathering: Gathering,
        sync: bool,
        done: &mut Done,
    ) -> bool {
        let first = gathering.commit.first;
        let bytes = gathering.body_bytes();
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut body = Body {
                buffer: &mut gathering.buffer,
                places: &gathering.places,
                first_sequence: first,
                logs: gathering.logs,
                reserved: gathering.reserved,
            };
            lead.log.append(&mut body, sync)
        }))
        .unwrap_or(Err(Failure::Fatal(Error::InvalidAppend { reason: "the flushing thread panicked" })));
        let well = result.is_ok();
        done.merge(match result {
            Ok(()) => self.appended(lead, gathering, sync),
            Err(Failure::Refused(error)) => self.refused(lead, gathering.commit, error),
            Err(Failure::Fatal(error)) => self.poison(lead, Some(gathering.commit), error),
        });
        done.worked = true;
        self.release_room(bytes, lead);
        well
    }

    /// A commit was written.
    pub(super) fn appended(&self, lead: &mut Lead, gathering: Gathering, sync: bool) -> Done {
        let Gathering { commit, buffer, places, deadline, .. } = gathering;
        self.keep_for_readers(commit.first, buffer, places);
        self.written.advance(lead.log.next_sequence - 1, &self.world);
        // The log may have synced on its own, at the end of a segment.
        let mut done = Done::default();
        if lead.log.durable + 1 >= commit.first || sync {
            done.durable.append(&mut lead.unsynced);
        }
        if sync {
            done.durable.push(commit);
            lock(&self.queue).written_deadline = None;
        } else {
            let mut queue = lock(&self.queue);
            queue.written_deadline = [queue.written_deadline, deadline].into_iter().flatten().min();
            drop(queue);
            // Alone with this reference nobody holds a ticket; but one that was given up for a callback has left that. The fence
            // goes with the release of the last reference: the callback was left before that.
            let held = Arc::strong_count(&commit) > 1;
            fence(Ordering::Acquire);
            if held || commit.completion.has_interests() {
                lead.unsynced.push(commit.clone());
            }
            done.written.push(commit);
        }
        self.durable.advance(lead.log.durable, &self.world);
        done
    }

    /// Keeps a body in memory for readers of the tail, and its buffer for another commit.
    pub(super) fn keep_for_readers(&self, first: Sequence, buffer: BodyBuffer, places: Vec<u32>) {
        let places = places.into_boxed_slice();
        if buffer.len() <= COPY_MAX {
            self.catalog.remember(first, Bytes::copy_from_slice(buffer.body()), places);
            self.buffers.give(buffer);
        } else {
            let body = Bytes::from_owner(PooledBuffer { buffer, pool: self.buffers.clone() });
            self.catalog.remember(first, body, places);
        }
    }

    /// There was no room for a commit: it and all behind it fail, and their sequences are given again.
    pub(super) fn refused(&self, lead: &mut Lead, commit: Arc<Commit>, error: Error) -> Done {
        let mut queue = lock(&self.queue);
        if !planted::is(Bug::NoSpaceSequenceLost) {
            queue.next_sequence = commit.first;
        }
        queue.epoch += 1;
        self.epoch.store(queue.epoch, Ordering::SeqCst);
        queue.no_space = lead.log.no_space;
        let mut done = Done { error: Some(error), ..Done::default() };
        done.failed.push(commit);
        self.fail_queued(&mut queue, &mut done);
        self.durable.advance(lead.log.durable, &self.world);
        if lead.log.durable + 1 == lead.log.next_sequence {
            done.durable.append(&mut lead.unsynced);
        }
        done
    }

    pub(super) fn fail_queued(&self, queue: &mut Queue, done: &mut Done) {
        let rest: Vec<Gathering> = queue.ready.drain(..).collect();
        let rest = rest.into_iter().chain(queue.open.take());
        for gathering in rest {
            queue.bytes -= gathering.body_bytes();
            done.failed.push(gathering.commit);
        }
        queue.asked = false;
    }

    /// The disk failed: nothing more is written, and nobody knows of what was under way.
    pub(super) fn poison(&self, lead: &mut Lead, commit: Option<Arc<Commit>>, error: Error) -> Done {
        let cause = Arc::new(error);
        let mut done = Done { error: Some(Error::Unknown { cause: cause.clone() }), ..Done::default() };
        let mut queue = lock(&self.queue);
        if !planted::is(Bug::SyncErrorForgotten) {
            queue.failed.get_or_insert(Error::Poisoned { cause });
        }
        done.failed.append(&mut lead.unsynced);
        done.failed.extend(commit);
        self.fail_queued(&mut queue, &mut done);
        done
    }

    pub(super) fn release_room(&self, bytes: usize, lead: &Lead) {
        let now = self.world.environment.now();
        {
            let mut queue = lock(&self.queue);
            queue.bytes -= bytes;
            queue.last_flush = now;
            queue.unwitnessed = !lead.log.active.witnessed;
        }
        self.room.fetch_add(1, Ordering::SeqCst);
        if self.room_sleepers.load(Ordering::SeqCst) > 0 {
            self.world.environment.wake(&self.room, u32::MAX);
        }
    }

    /// Tells whoever waits, with no lock held.
    pub(super) fn tell(&self, done: Done) {
        let environment = &*self.world.environment;
        for commit in done.written {
            commit.completion.written(environment);
        }
        for commit in done.durable {
            commit.completion.finish(Ok(()), environment);
        }
        if let Some(error) = done.error {
            for commit in done.failed {
                commit.completion.finish(Err(error.clone()), environment);
            }
        }
    }

    /// Everything appended so far is written when this returns.
    pub fn flush(&self) -> Result<Sequence, Error> {
        self.as_leader(|lead, told| {
            self.flush_all(lead, told)?;
            Ok(lead.log.next_sequence - 1)
        })
    }

    /// Runs `work` as the leader, and tells what it finished when the lead is free again: no callback runs under a lock.
    pub(super) fn as_leader<T>(
        &self,
        work: impl FnOnce(&mut Lead, &mut Vec<Done>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut told = Vec::new();
        let result = {
            let mut lead = lock(&self.lead);
            work(&mut lead, &mut told)
        };
        told.into_iter().for_each(|done| self.tell(done));
        result
    }

    /// Writes what is queued. A refusal (no space) empties the queue, and is returned after that.
    pub(super) fn flush_all(&self, lead: &mut Lead, told: &mut Vec<Done>) -> Result<(), Error> {
        let target = lock(&self.queue).next_sequence;
        while lead.log.next_sequence < target {
            let done = self.flush_held(lead, false);
            let (error, worked) = (done.error.clone(), done.worked);
            told.push(done);
            if let Some(error) = error {
                return Err(error);
            }
            if !worked {
                break;
            }
        }
        self.failure()
    }

    pub(super) fn failure(&self) -> Result<(), Error> {
        lock(&self.queue).failed.clone().map_or(Ok(()), Err)
    }

    /// Everything appended so far is durable when this returns.
    pub fn sync(&self) -> Result<Sequence, Error> {
        self.as_leader(|lead, told| {
            self.flush_all(lead, told)?;
            self.step(lead, told, Log::sync)?;
            Ok(lead.log.durable)
        })
    }

    /// Runs a step of the log's that leaves everything written so far durable.
    pub(super) fn step(
        &self,
        lead: &mut Lead,
        told: &mut Vec<Done>,
        step: impl FnOnce(&mut Log) -> Result<(), Failure>,
    ) -> Result<(), Error> {
        match step(&mut lead.log) {
            Ok(()) => {
                let mut done = Done::default();
                done.durable.append(&mut lead.unsynced);
                told.push(done);
                let mut queue = lock(&self.queue);
                queue.written_deadline = None;
                queue.unsynced_records = 0;
                queue.unwitnessed = !lead.log.active.witnessed;
                queue.last_flush = self.world.environment.now();
                drop(queue);
                self.durable.advance(lead.log.durable, &self.world);
                Ok(())
            }
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Fatal(error)) => {
                told.push(self.poison(lead, None, error));
                self.failure()
            }
        }
    }

    /// Makes a release durable, then lets the files go. On a full disk what is queued may be refused; that has its own
    /// tickets to tell, and is no reason not to make room.
    pub fn release(&self, below: Sequence) -> Result<(), Error> {
        self.as_leader(|lead, told| {
            match self.flush_all(lead, told) {
                Err(error) if !error.is_no_space() => return Err(error),
                _ => {}
            }
            let below = below.min(lead.log.next_sequence);
            if below > lead.log.released_below {
                self.step(lead, told, |log| log.release(below))?;
                // The predecessor may still wait for its footer; sealed or not, a released segment needs none.
                self.pool.retire(self.catalog.retire(below));
                lead.log.keep();
            }
            Ok(())
        })
    }

    /// Ends writing: everything durable, a closing mark behind it.
    pub fn close(&self) -> Result<(), Error> {
        {
            let mut queue = lock(&self.queue);
            if queue.closed {
                return queue.failed.clone().map_or(Ok(()), Err);
            }
            queue.closed = true;
        }
        let result = self.as_leader(|lead, told| {
            let flushed = match self.flush_all(lead, told) {
                Err(error) if !error.is_no_space() => Err(error),
                _ => Ok(()),
            };
            let result = flushed.and_then(|()| self.step(lead, told, |log| log.mark(CommitKind::ClosingMark)));
            let mut left = Done { error: Some(Error::Closed), ..Done::default() };
            left.failed.append(&mut lead.unsynced);
            self.fail_queued(&mut lock(&self.queue), &mut left);
            told.push(left);
            result
        });
        self.room.fetch_add(1, Ordering::SeqCst);
        self.world.environment.wake(&self.room, u32::MAX);
        self.durable.close(&self.world);
        result
    }
}
