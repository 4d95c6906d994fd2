//! A journal, open for writing: the handle that users hold. Owns the life of the threads and the lock; every method is a
//! few lines over the writer, the reader and the catalog.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::disk::{Lock, Worker, World, real};
use crate::error::Error;
use crate::format::{LogCounts, decode_tables};
use crate::open::{Opened, open};
use crate::options::{Append, Options, SyncPolicy};
use crate::reader::{Cursor, ReadCore};
use crate::record::{Batch, Entries, Record, RecordRef};
use crate::report::Report;
use crate::stats::Stats;
use crate::sync::{Mutex, Ordering, lock};
use crate::ticket::Ticket;
use crate::writer::Writer;
use crate::{LogNumber, Sequence};

/// A journal, open for writing. Clones share it; the last one that is dropped closes it.
///
/// ```
/// # fn main() -> Result<(), duramen_journal::Error> {
/// # let folder = std::env::temp_dir().join(format!("duramen-doc-{}", std::process::id()));
/// let (journal, report) = duramen_journal::Journal::open(&folder)?;
/// assert!(report.damage.is_empty());
/// let ticket = journal.append(1, 0, b"admitted at 07:40")?;
/// let sequence = ticket.wait()?; // durable: it survives a power cut
/// assert_eq!(journal.read(sequence)?.payload, &b"admitted at 07:40"[..]);
/// journal.close()?;
/// # drop(journal);
/// # let _ = std::process::Command::new("rm").arg("-r").arg(&folder).status();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

struct Handle {
    writer: Arc<Writer>,
    workers: Mutex<Vec<Box<dyn Worker>>>,
    lock: Mutex<Option<Box<dyn Lock>>>,
}

impl Handle {
    fn end(&self) -> Result<(), Error> {
        let result = self.writer.close();
        self.writer.stop();
        for worker in std::mem::take(&mut *lock(&self.workers)) {
            worker.join();
        }
        lock(&self.lock).take();
        result
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl Journal {
    /// Opens, or creates, the journal in a folder of the real disk, with default options.
    ///
    /// Everything that it reports and serves is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Damaged`], [`Error::Unreadable`], [`Error::NotAJournal`], [`Error::NewerFormat`],
    /// [`Error::ReadOnly`], [`Error::NoSpace`] (for a new journal), [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<(Journal, Report), Error> {
        Journal::open_with(path, &Options::default(), real::world())
    }

    /// Opens with options, on any disk.
    pub fn open_with(path: impl AsRef<Path>, options: &Options, world: World) -> Result<(Journal, Report), Error> {
        let Opened { writer, report, workers, lock } = open(path.as_ref(), options, world)?;
        let handle = Handle { writer, workers: Mutex::new(workers), lock: Mutex::new(Some(lock)) };
        Ok((Journal { handle: Arc::new(handle) }, report))
    }

    fn writer(&self) -> &Arc<Writer> {
        &self.handle.writer
    }

    /// Appends one record to a log, as the policy says. Nothing of it is durable when this returns: see the ticket.
    pub fn append(&self, log: LogNumber, kind: u8, payload: &[u8]) -> Result<Ticket, Error> {
        if payload.len() > self.writer().limits.record_max {
            let max = self.writer().limits.record_max as u64;
            return Err(Error::TooLarge { what: "record", bytes: payload.len() as u64, max });
        }
        self.writer().append(Entries::one(log, kind, payload), Append::default())
    }

    /// Appends a batch: after any crash all of its records are there, or none.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is written; [`Error::QueueFull`] if asked not to wait; [`Error::StaleEpoch`] if
    /// bound to an epoch; [`Error::NoSpace`], [`Error::Poisoned`], [`Error::Closed`].
    pub fn append_batch(&self, batch: &Batch, how: Append) -> Result<Ticket, Error> {
        self.writer().append(Entries::Many(batch), how)
    }

    /// As [`Journal::append_batch`], and empties the batch when it succeeds: a large batch is not copied but becomes the
    /// commit itself, and the batch goes on with the memory of an earlier one.
    pub fn append_drain(&self, batch: &mut Batch, how: Append) -> Result<Ticket, Error> {
        self.writer().append_drain(batch, how)
    }

    /// Makes everything appended so far durable; returns the highest durable sequence.
    pub fn sync(&self) -> Result<Sequence, Error> {
        self.writer().sync()
    }

    /// Writes everything appended so far, so that it survives the death of this process.
    pub fn flush(&self) -> Result<Sequence, Error> {
        self.writer().flush()
    }

    /// Changes the policy at once: what waits now is held to the new one.
    pub fn set_policy(&self, policy: SyncPolicy) {
        self.writer().set_policy(policy);
    }

    /// The policy in force.
    pub fn policy(&self) -> SyncPolicy {
        self.writer().policy()
    }

    /// The highest durable sequence; 0: none.
    pub fn durable(&self) -> Sequence {
        self.writer().durable.get()
    }

    /// The highest sequence that survives the death of this process; 0: none.
    pub fn written(&self) -> Sequence {
        self.writer().written.get()
    }

    /// The highest sequence given; 0: none.
    pub fn appended(&self) -> Sequence {
        self.writer().appended_upto()
    }

    /// How often appends were refused for want of space, since opening. Each refusal takes back all sequences from the
    /// refused one on, so that what was appended in an earlier epoch and is not written by now never will be.
    pub fn epoch(&self) -> u64 {
        self.writer().epoch.load(Ordering::SeqCst)
    }

    /// The first stored sequence; above [`Journal::written`] if nothing is stored.
    pub fn first(&self) -> Sequence {
        self.writer().catalog.first()
    }

    /// The largest payload that one record may have.
    pub fn record_bytes_max(&self) -> usize {
        self.writer().limits.record_max
    }

    /// Reads one record: of the latest commits from memory, of others from their file, verified either way. Records are
    /// readable once they are written, also before they are durable: compare with [`Journal::durable`].
    ///
    /// # Errors
    /// [`Error::Released`], [`Error::NotYet`], [`Error::InGap`], [`Error::DamagedRecord`], and [`Error::Io`],
    /// which names the offset.
    pub fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        self.writer().core.read(sequence, self.written() + 1)
    }

    /// Reads a range in order, as far as it is written now. Memory: one read buffer, and the payloads that the caller
    /// keeps, each of which keeps the buffer that it lies in.
    pub fn scan(&self, range: impl RangeBounds<Sequence>) -> Scan {
        Scan::new(self.writer().core.clone(), range, self.first(), self.written() + 1)
    }

    /// Reads on from a sequence for ever, durable records only.
    pub fn follow(&self, from: Sequence) -> Follow {
        Follow { writer: self.writer().clone(), cursor: Cursor::new(self.writer().core.clone(), from.max(1)) }
    }

    /// Says that nothing below a sequence is needed. Durable when it returns; whole segments below it are then recycled
    /// or removed. A sequence beyond the end counts as the end.
    pub fn release(&self, below: Sequence) -> Result<(), Error> {
        self.writer().release(below)
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        segment_infos(&self.writer().core)
    }

    /// All figures.
    pub fn stats(&self) -> Stats {
        self.writer().stats()
    }

    /// Runs due work now. Needed only in an environment without threads.
    pub fn tick(&self) {
        self.writer().tick();
    }

    /// Closes: everything appended becomes durable, and a closing mark witnesses it. Later appends fail with
    /// [`Error::Closed`]; reading goes on while handles live. Closing again does nothing.
    pub fn close(&self) -> Result<(), Error> {
        self.handle.end()
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("first", &self.first())
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}

/// The records of a range, in order. After an error it stands behind the bad record: go on, or stop.
pub struct Scan {
    cursor: Cursor,
    end: Sequence,
}

impl Scan {
    pub(crate) fn new(core: Arc<ReadCore>, range: impl RangeBounds<Sequence>, first: Sequence, next: Sequence) -> Scan {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => first,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => next,
        };
        Scan { cursor: Cursor::new(core, start.max(1)), end: end.min(next) }
    }
}

impl Scan {
    /// As the iterator's `next`, but the record is lent until the scan moves on: nothing is counted or kept, which makes a
    /// walk over small records a quarter faster.
    pub fn next_borrowed(&mut self) -> Option<Result<RecordRef<'_>, Error>> {
        self.cursor.next_borrowed(self.end)
    }
}

impl Iterator for Scan {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next(self.end)
    }
}

/// Durable records as they come.
pub struct Follow {
    writer: Arc<Writer>,
    cursor: Cursor,
}

impl Follow {
    /// The next record; `None` if none became durable within the time, or ever will because the journal was closed.
    /// Without a timeout it waits until one does.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Record>, Error> {
        let environment = &self.writer.world.environment;
        let until = timeout.map(|timeout| environment.now() + timeout);
        loop {
            let durable = self.writer.durable.get();
            if let Some(result) = self.cursor.next(durable + 1) {
                return result.map(Some);
            }
            let left = until.map(|until| until.saturating_sub(environment.now()));
            if self.writer.durable.is_closed() || left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            if self.writer.is_inline() && timeout.is_none() {
                return Ok(None);
            }
            self.writer.durable.wait_above(durable, left, &self.writer.world);
        }
    }

    /// The next record, for a task of any runtime. `Ready(None)`: the journal was closed.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Record, Error>>> {
        if let Some(result) = self.cursor.next(self.writer.durable.get() + 1) {
            return Poll::Ready(Some(result));
        }
        self.writer.durable.register(context.waker());
        // It may have moved before the waker was in place.
        if let Some(result) = self.cursor.next(self.writer.durable.get() + 1) {
            return Poll::Ready(Some(result));
        }
        if self.writer.durable.is_closed() { Poll::Ready(None) } else { Poll::Pending }
    }

    /// The sequence that comes next.
    pub fn position(&self) -> Sequence {
        self.cursor.position()
    }
}

/// One segment, as told to users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u64,
    /// Its first sequence.
    pub first: Sequence,
    /// The sequence behind its last.
    pub next: Sequence,
    /// Bytes of commits in it.
    pub bytes: u64,
    /// Whether it has its footer.
    pub sealed: bool,
    /// The caller's summary, where the footer has one.
    pub summary: Option<Bytes>,
    /// Count and range of each log's records, where the footer has them.
    pub logs: Vec<LogCounts>,
}

/// Tells of all segments; footers that cannot be read are told without their tables.
pub(crate) fn segment_infos(core: &ReadCore) -> Vec<SegmentInfo> {
    let all = core.catalog.all();
    let tell = |segment: &Arc<crate::catalog::Segment>| {
        let mut info = SegmentInfo {
            number: segment.header.number,
            first: segment.header.first_sequence,
            next: segment.next(),
            bytes: u64::from(segment.end() - crate::format::DATA_OFFSET),
            sealed: segment.footer().is_some(),
            summary: None,
            logs: Vec::new(),
        };
        if let Some(footer) = segment.footer()
            && let Ok(file) = core.file(segment)
        {
            let length = segment.header.segment_bytes.saturating_sub(footer.tables_offset + 4096) as usize;
            let mut tables = vec![0u8; length];
            let read = crate::disk::read_full_at(&*file, &mut tables, u64::from(footer.tables_offset));
            if read.is_ok_and(|read| read == length)
                && let Some((logs, summary)) = decode_tables(&tables, footer, &segment.binding)
            {
                info.logs = logs;
                info.summary = (!footer.summary_dropped).then(|| Bytes::copy_from_slice(summary));
            }
        }
        info
    };
    all.iter().map(tell).collect()
}
