//! The group commit: appends gather while the flush before them runs. Owns the queue of commits, who leads the flush,
//! when it is asked for, and who is told; the bytes and their order on disk are `log`'s.
//!
//! Threads: any number append; one at a time leads (an appender that waits, or the flusher thread); the keeper works in
//! `pool`. Locks, in the order in which they may be taken together: `lead`, then `queue`. No callback runs under either.
//!
//! Who leads: `flushing` says that somebody does or is about to. A waiter that finds nobody leads itself, so that a lone
//! caller pays for no hand-over. Whoever finds work left when it ends hands over to the flusher thread *before* it wakes
//! those whose commit it finished. Nothing waits for company: `append` alone starts no flush, because its caller is about
//! to ask; a second append, a poll, a callback or a dropped ticket does, and the flusher looks every few milliseconds
//! while there is activity, so that a ticket that is only held becomes durable too.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::Sequence;
use crate::catalog::Catalog;
use crate::completion::{Completion, DURABLE, WRITTEN};
use crate::disk::World;
use crate::error::Error;
use crate::format::CommitKind;
use crate::log::{Body, FRONT, Failure, Limits, Log};
use crate::options::{Append, Class, SyncPolicy, WhenFull};
use crate::planted::{self, Bug};
use crate::pool::Pool;
use crate::reader::ReadCore;
use crate::record::Entries;
use crate::stats::{Counters, Stats};
use crate::sync::{AtomicU32, Mutex, MutexGuard, Ordering, lock};
use crate::ticket::Ticket;
use crate::watermark::Watermark;

/// How long a ticket that nobody asks about may lie before the flusher takes its commit.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A body up to this size is copied for the readers of the tail, and its buffer used again at once.
const COPY_MAX: usize = 16 * 1024;
/// Commits of a backlog that share one sync.
const SHARED_MAX: usize = 4;
/// Buffers kept for later commits.
const BUFFERS_MAX: usize = 8;

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
    writer: Arc<Writer>,
    first: Sequence,
}

/// One commit as it gathers.
struct Gathering {
    commit: Arc<Commit>,
    buffer: Vec<u8>,
    places: Vec<u32>,
    logs: usize,
    reserved: bool,
    /// To be synced as soon as it is written, and written as soon as possible.
    prompt: bool,
    /// When its sync must begin at the latest.
    deadline: Option<Duration>,
}

impl Gathering {
    fn body_bytes(&self) -> usize {
        self.buffer.len() - FRONT
    }
}

struct Queue {
    ready: VecDeque<Gathering>,
    open: Option<Gathering>,
    next_sequence: Sequence,
    bytes: usize,
    policy: SyncPolicy,
    /// Somebody leads, or was told to.
    flushing: bool,
    /// It is the flusher thread that was told to.
    handed_over: bool,
    /// Somebody waits for the open commit to be written, prompt or not.
    asked: bool,
    /// When something that is written and not synced must be synced.
    written_deadline: Option<Duration>,
    unsynced_records: u64,
    failed: Option<Error>,
    closed: bool,
    no_space: bool,
    last_flush: Duration,
    unwitnessed: bool,
    /// The flusher sleeps until then; `None`: until woken.
    flusher_until: Option<Duration>,
    flusher_dozes: bool,
    stopped: bool,
}

impl Queue {
    fn wants_flush(&self) -> bool {
        !self.ready.is_empty() || self.open.as_ref().is_some_and(|open| open.prompt || self.asked)
    }

    fn deadline(&self) -> Option<Duration> {
        let gathering = self.ready.iter().chain(&self.open).filter_map(|gathering| gathering.deadline);
        gathering.chain(self.written_deadline).min()
    }
}

/// What only the leader touches.
pub(crate) struct Lead {
    pub log: Log,
    /// Written, and somebody may still wait for them to be durable.
    unsynced: Vec<Arc<Commit>>,
}

/// What a flush finished.
#[derive(Default)]
struct Done {
    durable: Vec<Arc<Commit>>,
    written: Vec<Arc<Commit>>,
    failed: Vec<Arc<Commit>>,
    error: Option<Error>,
    worked: bool,
}

impl Done {
    fn merge(&mut self, other: Done) {
        self.durable.extend(other.durable);
        self.written.extend(other.written);
        self.failed.extend(other.failed);
        self.error = self.error.take().or(other.error);
        self.worked |= other.worked;
    }
}

/// The writer of one open journal.
pub(crate) struct Writer {
    pub world: World,
    pub limits: Limits,
    pub catalog: Arc<Catalog>,
    pub core: Arc<ReadCore>,
    pub counters: Arc<Counters>,
    pub pool: Arc<Pool>,
    pub durable: Watermark,
    pub written: Watermark,
    commit_bytes_max: usize,
    queue_bytes_max: usize,
    idle_mark: Option<Duration>,
    /// The environment runs no threads.
    inline: bool,
    queue: Mutex<Queue>,
    lead: Mutex<Lead>,
    /// Changes when the flusher has something to do.
    flusher: AtomicU32,
    /// Changes when the queue got room.
    room: AtomicU32,
    room_sleepers: AtomicU32,
    buffers: Arc<Buffers>,
}

/// What a writer is made of.
pub(crate) struct Parts {
    pub log: Log,
    pub core: Arc<ReadCore>,
    pub policy: SyncPolicy,
    pub commit_bytes_max: usize,
    pub queue_bytes_max: usize,
    pub idle_mark: Option<Duration>,
}

impl Writer {
    pub fn new(parts: Parts) -> Writer {
        let log = parts.log;
        let now = log.world.environment.now();
        let queue = Queue {
            ready: VecDeque::new(),
            open: None,
            next_sequence: log.next_sequence,
            bytes: 0,
            policy: parts.policy,
            flushing: false,
            handed_over: false,
            asked: false,
            written_deadline: None,
            unsynced_records: 0,
            failed: None,
            closed: false,
            no_space: false,
            last_flush: now,
            unwitnessed: !log.active.witnessed,
            flusher_until: None,
            flusher_dozes: false,
            stopped: false,
        };
        Writer {
            world: log.world.clone(),
            limits: log.limits,
            catalog: log.catalog.clone(),
            core: parts.core,
            counters: log.counters.clone(),
            pool: log.pool.clone(),
            durable: Watermark::new(log.durable),
            written: Watermark::new(log.next_sequence - 1),
            commit_bytes_max: parts.commit_bytes_max,
            queue_bytes_max: parts.queue_bytes_max,
            idle_mark: parts.idle_mark,
            inline: log.inline,
            queue: Mutex::new(queue),
            lead: Mutex::new(Lead { log, unsynced: Vec::new() }),
            flusher: AtomicU32::new(0),
            room: AtomicU32::new(0),
            room_sleepers: AtomicU32::new(0),
            buffers: Arc::default(),
        }
    }

    /// Puts a batch into the open commit.
    pub fn append(self: &Arc<Self>, batch: Entries<'_>, how: Append) -> Result<Ticket, Error> {
        self.check(&batch)?;
        let mut queue = self.wait_for_room(batch.bytes(), how)?;
        let never = queue.policy == SyncPolicy::Never && matches!(how.class, Class::Policy | Class::OnFlush);
        let records = batch.len() as u64;
        self.make_open(&mut queue, &batch, how.reserved);
        let first = queue.next_sequence;
        queue.next_sequence += records;
        queue.bytes += batch.bytes();
        let prompt_before = {
            let open = queue.open.as_mut().expect("made above");
            let base = open.body_bytes() as u32;
            batch.write(base, &mut open.buffer, &mut open.places);
            open.logs += batch.logs();
            open.prompt && base > 0
        };
        self.classify(&mut queue, records, how.class);
        let open = queue.open.as_ref().expect("made above");
        let commit = open.commit.clone();
        let ready = open.body_bytes() >= self.commit_bytes_max;
        if ready && let Some(open) = queue.open.take() {
            queue.ready.push_back(open);
            queue.asked = false;
        }
        let kick = !queue.ready.is_empty() || prompt_before;
        self.alert(queue, kick);
        Counters::add(&self.counters.payload_bytes, (batch.bytes() - batch.len() * 20) as u64);
        Ok(Ticket { commit, first, last: first + records - 1, never })
    }

    fn check(&self, batch: &Entries<'_>) -> Result<(), Error> {
        if batch.len() == 0 {
            return Err(Error::InvalidAppend { reason: "the batch is empty" });
        }
        if batch.own_log() {
            return Err(Error::InvalidAppend { reason: "log 0 is the journal's own" });
        }
        if self.limits.admits(batch.bytes(), batch.len(), batch.logs()) {
            return Ok(());
        }
        let record_max = self.limits.record_max() as u64;
        if batch.largest() as u64 > record_max {
            return Err(Error::TooLarge { what: "record", bytes: batch.largest() as u64, max: record_max });
        }
        let max = u64::from(self.limits.segment_bytes / 2).min(record_max);
        Err(Error::TooLarge { what: "batch", bytes: batch.bytes() as u64, max })
    }

    /// The queue, once it has room; or why not.
    fn wait_for_room(self: &Arc<Self>, bytes: usize, how: Append) -> Result<MutexGuard<'_, Queue>, Error> {
        loop {
            let seen = self.room.load(Ordering::SeqCst);
            let mut queue = lock(&self.queue);
            if let Some(error) = &queue.failed {
                return Err(error.clone());
            }
            if queue.closed {
                return Err(Error::Closed);
            }
            if queue.no_space && !how.reserved {
                drop(queue);
                self.look_for_space()?;
                continue;
            }
            if queue.bytes == 0 || queue.bytes + bytes <= self.queue_bytes_max {
                return Ok(queue);
            }
            if how.full == WhenFull::Fail {
                return Err(Error::QueueFull { bytes: queue.bytes, max: self.queue_bytes_max });
            }
            queue.asked = true;
            if self.inline {
                drop(queue);
                self.flush()?;
            } else {
                self.room_sleepers.fetch_add(1, Ordering::SeqCst);
                self.alert(queue, true);
                self.world.environment.wait(&self.room, seen, None);
                self.room_sleepers.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// After the disk was full: asks whether it still is.
    fn look_for_space(&self) -> Result<(), Error> {
        let mut lead = lock(&self.lead);
        match lead.log.space_again() {
            Ok(()) => {
                lock(&self.queue).no_space = false;
                Ok(())
            }
            Err(Failure::Refused(error) | Failure::Fatal(error)) => Err(error),
        }
    }

    /// Sees that the open commit can take the batch.
    fn make_open(self: &Arc<Self>, queue: &mut Queue, batch: &Entries<'_>, reserved: bool) {
        let full = queue.open.as_ref().is_some_and(|open| {
            let bytes = open.body_bytes() + batch.bytes();
            let records = open.places.len() + batch.len();
            bytes > self.commit_bytes_max
                || open.reserved != reserved
                || !self.limits.admits(bytes, records, open.logs + batch.logs())
        });
        if full && let Some(open) = queue.open.take() {
            queue.ready.push_back(open);
            queue.asked = false;
        }
        if queue.open.is_none() {
            let buffer = self.buffers.take();
            let commit = Commit { completion: Completion::new(), writer: self.clone(), first: queue.next_sequence };
            queue.open = Some(Gathering {
                commit: Arc::new(commit),
                buffer,
                places: Vec::new(),
                logs: 0,
                reserved,
                prompt: false,
                deadline: None,
            });
        }
    }

    /// What policy and class ask of the open commit.
    fn classify(&self, queue: &mut Queue, records: u64, class: Class) {
        let interval = match (class, queue.policy) {
            (Class::Now, _) | (Class::Policy, SyncPolicy::Always) => Some(Duration::ZERO),
            (Class::Within(time), _) => Some(time),
            (Class::Policy, SyncPolicy::Interval(interval)) => Some(interval),
            (Class::Policy, SyncPolicy::Batch { records: most, interval }) => {
                queue.unsynced_records += records;
                Some(if queue.unsynced_records >= most { Duration::ZERO } else { interval })
            }
            (Class::OnFlush, _) | (Class::Policy, SyncPolicy::Never) => None,
        };
        let open = queue.open.as_mut().expect("the caller put a batch in");
        match interval {
            Some(Duration::ZERO) => open.prompt = true,
            Some(interval) if !open.prompt && open.deadline.is_none_or(|deadline| deadline > interval) => {
                // The clock is read once a commit, unless a shorter class comes later.
                let deadline = self.world.environment.now() + interval;
                open.deadline = Some(open.deadline.map_or(deadline, |other| other.min(deadline)));
            }
            _ => {}
        }
    }

    /// Leaves the queue, and tells the flusher if it has something to do or a deadline to keep.
    fn alert(&self, mut queue: MutexGuard<'_, Queue>, kick: bool) {
        if self.inline {
            // Whoever waits, polls or ticks does the work; a full commit is written here.
            let full = kick && !queue.ready.is_empty() && !queue.flushing;
            if full {
                queue.flushing = true;
                drop(queue);
                self.drain();
            }
            return;
        }
        let mut wake = false;
        if kick && !queue.flushing {
            queue.flushing = true;
            queue.handed_over = true;
            wake = true;
        } else if !queue.flushing {
            let prompt = queue.open.as_ref().is_some_and(|open| open.prompt);
            let deadline = queue.open.as_ref().and_then(|open| open.deadline);
            let late = deadline.is_some_and(|deadline| queue.flusher_until.is_none_or(|until| until > deadline));
            wake = queue.flusher_dozes && (prompt || late);
            if wake {
                queue.flusher_dozes = false;
            }
        }
        drop(queue);
        if wake {
            self.wake_flusher();
        }
    }

    fn wake_flusher(&self) {
        self.flusher.fetch_add(1, Ordering::SeqCst);
        self.world.environment.wake(&self.flusher, 1);
    }

    /// Flushes as the leader until nothing asks for it. The caller has set `flushing`.
    ///
    /// It looks for more work after it has woken those whose commit it finished: they are the ones who bring it, and a
    /// leader that stepped down before would leave the next commit to the first of them alone.
    fn drain(&self) {
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
    fn lead_for(&self, goal: &Arc<Commit>, level: u32) {
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
    fn flush_one(&self, sync: bool) -> Done {
        let mut lead = lock(&self.lead);
        self.flush_held(&mut lead, sync)
    }

    fn flush_held(&self, lead: &mut Lead, sync: bool) -> Done {
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
            let well = self.flush_gathering(lead, gathering, owed && !more, &mut done);
            owed &= more && well;
            if !more || !well {
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
    fn flush_gathering(&self, lead: &mut Lead, mut gathering: Gathering, sync: bool, done: &mut Done) -> bool {
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
        .unwrap_or_else(|_| Err(Failure::Fatal(Error::InvalidAppend { reason: "the flushing thread panicked" })));
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
    fn appended(&self, lead: &mut Lead, gathering: Gathering, sync: bool) -> Done {
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
            // Alone with this reference nobody holds a ticket.
            if Arc::strong_count(&commit) > 1 {
                lead.unsynced.push(commit.clone());
            }
            done.written.push(commit);
        }
        self.durable.advance(lead.log.durable, &self.world);
        done
    }

    /// Keeps a body in memory for readers of the tail, and its buffer for another commit.
    fn keep_for_readers(&self, first: Sequence, buffer: Vec<u8>, places: Vec<u32>) {
        let places = places.into_boxed_slice();
        if buffer.len() - FRONT <= COPY_MAX {
            self.catalog.remember(first, Bytes::copy_from_slice(&buffer[FRONT..]), places);
            self.buffers.give(buffer);
        } else {
            let body = Bytes::from_owner(PooledBuffer { buffer, pool: self.buffers.clone() });
            self.catalog.remember(first, body, places);
        }
    }

    /// There was no room for a commit: it and all behind it fail, and their sequences are given again.
    fn refused(&self, lead: &mut Lead, commit: Arc<Commit>, error: Error) -> Done {
        let mut queue = lock(&self.queue);
        if !planted::is(Bug::NoSpaceSequenceLost) {
            queue.next_sequence = commit.first;
        }
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

    fn fail_queued(&self, queue: &mut Queue, done: &mut Done) {
        let rest: Vec<Gathering> = queue.ready.drain(..).collect();
        let rest = rest.into_iter().chain(queue.open.take());
        for gathering in rest {
            queue.bytes -= gathering.body_bytes();
            done.failed.push(gathering.commit);
        }
        queue.asked = false;
    }

    /// The disk failed: nothing more is written, and nobody knows of what was under way.
    fn poison(&self, lead: &mut Lead, commit: Option<Arc<Commit>>, error: Error) -> Done {
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

    fn release_room(&self, bytes: usize, lead: &Lead) {
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
    fn tell(&self, done: Done) {
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
    fn as_leader<T>(&self, work: impl FnOnce(&mut Lead, &mut Vec<Done>) -> Result<T, Error>) -> Result<T, Error> {
        let mut told = Vec::new();
        let result = {
            let mut lead = lock(&self.lead);
            work(&mut lead, &mut told)
        };
        told.into_iter().for_each(|done| self.tell(done));
        result
    }

    /// Writes what is queued. A refusal (no space) empties the queue, and is returned after that.
    fn flush_all(&self, lead: &mut Lead, told: &mut Vec<Done>) -> Result<(), Error> {
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

    fn failure(&self) -> Result<(), Error> {
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
    fn step(
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
    fn mark_due(&self, queue: &Queue) -> Option<Duration> {
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

/// Buffers of commits, used again: a fresh megabyte costs more in page faults than filling it.
#[derive(Debug, Default)]
struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer: [`FRONT`] bytes and nothing behind them.
    fn take(&self) -> Vec<u8> {
        let mut buffer = lock(&self.free).pop().unwrap_or_default();
        buffer.resize(FRONT, 0);
        buffer
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut free = lock(&self.free);
        if free.len() < BUFFERS_MAX {
            free.push(buffer);
        }
    }
}

/// A body in use by readers; its buffer comes back when the last of them lets go.
struct PooledBuffer {
    buffer: Vec<u8>,
    pool: Arc<Buffers>,
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[FRONT..]
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.buffer));
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
                writer.sync()?;
                continue;
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
            let _ = writer.sync();
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
