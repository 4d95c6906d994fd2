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
use crate::body::BodyBuffer;
use crate::catalog::Catalog;
use crate::completion::{Completion, DURABLE, WRITTEN};
use crate::disk::World;
use crate::error::Error;
use crate::format::CommitKind;
use crate::log::{Body, Failure, Limits, Log};
use crate::options::{Append, Class, SyncPolicy, WhenFull};
use crate::planted::{self, Bug};
use crate::pool::Pool;
use crate::reader::ReadCore;
use crate::record::{Batch, Entries, Extent};
use crate::stats::{Counters, Stats};
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, fence, lock};
use crate::ticket::Ticket;
use crate::watermark::Watermark;

mod buffers;
mod lead;
mod queue;
mod timer;

use buffers::{Buffers, PooledBuffer};
pub(crate) use queue::{Commit, Kick};
use queue::{Gathering, Queue};

/// How long a ticket that nobody asks about may lie before the flusher takes its commit.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A body up to this size is copied for the readers of the tail, and its buffer used again at once.
const COPY_MAX: usize = 16 * 1024;
/// Commits of a backlog that share one sync.
const SHARED_MAX: usize = 4;
/// Buffers kept for later commits.
const BUFFERS_MAX: usize = 8;

/// What only the leader touches.
pub(crate) struct Lead {
    pub log: Log,
    /// Written, and somebody may still wait for them to be durable.
    unsynced: Vec<Arc<Commit>>,
}

/// What a flush finished.
#[derive(Default)]
pub(super) struct Done {
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
    /// The queue's, for those who only look.
    pub epoch: AtomicU64,
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
            epoch: 0,
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
            epoch: AtomicU64::new(0),
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
        self.append_with(batch.extent(), how, |open| {
            let base = open.body_bytes() as u32;
            batch.write(base, &mut open.buffer, &mut open.places);
        })
    }

    /// The same, and empties the batch: a large one becomes the commit as it is, and gets other memory for it.
    pub fn append_drain(self: &Arc<Self>, batch: &mut Batch, how: Append) -> Result<Ticket, Error> {
        self.append_with(Entries::Many(batch).extent(), how, |open| {
            if open.places.is_empty() && batch.body.is_framed() {
                std::mem::swap(&mut open.buffer, &mut batch.body);
                std::mem::swap(&mut open.places, &mut batch.places);
            } else {
                let base = open.body_bytes() as u32;
                Entries::Many(batch).write(base, &mut open.buffer, &mut open.places);
            }
            batch.clear();
        })
    }

    fn append_with(
        self: &Arc<Self>,
        batch: Extent,
        how: Append,
        put: impl FnOnce(&mut Gathering),
    ) -> Result<Ticket, Error> {
        self.check(&batch)?;
        let mut queue = self.wait_for_room(batch.bytes, how)?;
        let never = queue.policy == SyncPolicy::Never && matches!(how.class, Class::Policy | Class::OnFlush);
        let records = batch.records as u64;
        self.make_open(&mut queue, &batch, how.reserved);
        let first = queue.next_sequence;
        queue.next_sequence += records;
        queue.bytes += batch.bytes;
        let prompt_before = {
            let open = queue.open.as_mut().expect("made above");
            let prompt_before = open.prompt && !open.places.is_empty();
            put(open);
            open.logs += batch.logs;
            prompt_before
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
        Ok(Ticket { commit, first, last: first + records - 1, never })
    }

    fn check(&self, batch: &Extent) -> Result<(), Error> {
        if batch.records == 0 {
            return Err(Error::InvalidAppend { reason: "the batch is empty" });
        }
        if batch.own_log {
            return Err(Error::InvalidAppend { reason: "log 0 is the journal's own" });
        }
        if self.limits.admits(batch.bytes, batch.records, batch.logs) {
            return Ok(());
        }
        let record_max = self.limits.record_max as u64;
        if batch.largest as u64 > record_max {
            return Err(Error::TooLarge { what: "record", bytes: batch.largest as u64, max: record_max });
        }
        let max = u64::from(self.limits.segment_bytes / 2).min(record_max);
        Err(Error::TooLarge { what: "batch", bytes: batch.bytes as u64, max })
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
            if let Some(given) = how.epoch.filter(|&given| given != queue.epoch) {
                return Err(Error::StaleEpoch { current: queue.epoch, given });
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
    fn make_open(self: &Arc<Self>, queue: &mut Queue, batch: &Extent, reserved: bool) {
        let full = queue.open.as_ref().is_some_and(|open| {
            let bytes = open.body_bytes() + batch.bytes;
            let records = open.places.len() + batch.records;
            bytes > self.commit_bytes_max
                || open.reserved != reserved
                || !self.limits.admits(bytes, records, open.logs + batch.logs)
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
}
