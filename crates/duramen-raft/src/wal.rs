//! What a Raft log needs of the storage under it ([`Wal`]), and the storage that it has by default, a journal
//! ([`JournalWal`]). Owns the seam: users can put their own storage under the same log.
//!
//! A `Wal` has one watermark for all groups, gives dense sequences, and tells of refusals by an epoch, as
//! [`duramen_journal::Journal`] does. Errors are the journal's: [`WalError`].

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use duramen_journal::{
    Append, Batch, Error as WalError, Journal, Level, Options, Record, RecordRef, Report, Sequence, Stats, World,
};

use crate::GroupId;
use crate::format::summary::Change;
use crate::watch::{Watch, Watching};

/// Called once with the outcome of an append.
pub type OnDurable = Box<dyn FnOnce(Result<Sequence, WalError>) + Send>;

/// The receipt of one append: completes once, durable or failed. It can be awaited, too.
pub trait WalTicket: Future<Output = Result<Sequence, WalError>> + Unpin + Send + 'static {
    /// The first record's sequence.
    fn first(&self) -> Sequence;
    /// The last record's sequence.
    fn last(&self) -> Sequence;
    /// How safe the append is by now.
    ///
    /// # Errors
    /// Why it failed.
    fn level(&self) -> Result<Level, WalError>;
    /// Blocks until the append is durable.
    ///
    /// # Errors
    /// Why it failed.
    fn wait(self) -> Result<Sequence, WalError>;
    /// Runs a callback when the append is durable or has failed.
    fn on_durable(self, call: OnDurable);
}

/// A part of a journal, and what it changed in each group.
#[derive(Clone, Debug)]
pub struct WalSegment {
    /// Its first sequence.
    pub first: Sequence,
    /// The sequence behind its last.
    pub next: Sequence,
    /// What it changed, if that is known without reading its records.
    pub change: Option<Change>,
}

/// The storage under a Raft log. All methods may be called from any thread.
pub trait Wal: Send + Sync + fmt::Debug + 'static {
    /// An append's receipt.
    type Ticket: WalTicket;

    /// Appends a batch: after any crash all of its records are there, or none. The log of each record is the group. If
    /// `how` names an epoch that is over, fails with [`WalError::StaleEpoch`].
    ///
    /// # Errors
    /// Nothing of the batch is or will be stored.
    fn append(&self, batch: &Batch, how: Append) -> Result<Self::Ticket, WalError>;
    /// The same for a batch that is not needed any more once it was taken, so that its memory may be taken with it. If it
    /// was refused, it is as it was.
    ///
    /// # Errors
    /// As [`Wal::append`].
    fn append_drain(&self, batch: &mut Batch, how: Append) -> Result<Self::Ticket, WalError> {
        self.append(batch, how)
    }
    /// The largest payload that one record may have.
    fn record_bytes_max(&self) -> usize {
        usize::MAX
    }
    /// Grows with each refusal of something that was appended: what was appended before, and is not written, never will
    /// be, and its sequences are given again.
    fn epoch(&self) -> u64;
    /// How many records of a group have been written since some fixed moment before opening ended. When
    /// [`Wal::epoch`] has told of a refusal, this has settled for everything that was appended before it.
    fn held(&self, group: GroupId) -> u64;
    /// The highest sequence that can be read; 0: none.
    fn written(&self) -> Sequence;
    /// The highest sequence that was given, as far as is known; a flush policy counts with it.
    fn appended(&self) -> Sequence {
        self.written()
    }
    /// The highest durable sequence; 0: none.
    fn durable(&self) -> Sequence;
    /// The first stored sequence.
    fn first(&self) -> Sequence;
    /// Reads one written record.
    ///
    /// # Errors
    /// [`WalError::Released`], [`WalError::NotYet`], damage, the device's.
    fn read(&self, sequence: Sequence) -> Result<Record, WalError>;
    /// Reads written records in order, until `visit` says `false`.
    ///
    /// # Errors
    /// The first record that cannot be read.
    fn scan(&self, range: Range<Sequence>, visit: &mut dyn FnMut(RecordRef<'_>) -> bool) -> Result<(), WalError>;
    /// Makes everything appended so far readable.
    ///
    /// # Errors
    /// Something of it was refused, or the storage has failed.
    fn flush(&self) -> Result<Sequence, WalError>;
    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// Something of it was refused, or the storage has failed.
    fn sync(&self) -> Result<Sequence, WalError>;
    /// Says that nothing below a sequence is needed. Durable when it returns.
    ///
    /// # Errors
    /// Nothing was released.
    fn release(&self, below: Sequence) -> Result<(), WalError>;
    /// Where its parts begin that can be released apart, in order. Must not read anything.
    fn starts(&self) -> Vec<Sequence> {
        vec![self.first()]
    }
    /// What is stored when it is opened, in order. Called once, before anything is appended.
    ///
    /// # Errors
    /// The storage cannot tell.
    fn segments(&self) -> Result<Vec<WalSegment>, WalError> {
        Ok(vec![WalSegment { first: self.first(), next: self.written() + 1, change: None }])
    }
    /// The storage's figures, as far as it has them.
    fn stats(&self) -> Stats {
        Stats::default()
    }
    /// Runs due work, in an environment without threads.
    fn tick(&self) {}
    /// Closes it: everything appended becomes durable.
    ///
    /// # Errors
    /// It did not.
    fn close(&self) -> Result<(), WalError>;
}

/// A journal as the storage of Raft logs.
#[derive(Debug)]
pub struct JournalWal {
    journal: Journal,
    watch: Arc<Watch>,
    end: Sequence,
}

impl JournalWal {
    /// Opens the journal, with an observer that leaves a summary in each segment's footer.
    ///
    /// # Errors
    /// The journal's.
    pub fn open(dir: &std::path::Path, options: &Options, world: World) -> Result<(JournalWal, Report), WalError> {
        let watch = Arc::new(Watch::default());
        let options = Options { observer: Some(Arc::new(Watching(watch.clone()))), ..options.clone() };
        let (journal, report) = Journal::open_with(dir, &options, world)?;
        Ok((JournalWal { journal, watch, end: report.next }, report))
    }

    /// The journal itself, to look at.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }
}

impl WalTicket for duramen_journal::Ticket {
    fn first(&self) -> Sequence {
        self.first()
    }

    fn last(&self) -> Sequence {
        self.last()
    }

    fn level(&self) -> Result<Level, WalError> {
        self.level()
    }

    fn wait(self) -> Result<Sequence, WalError> {
        self.wait()
    }

    fn on_durable(self, call: OnDurable) {
        self.on_durable(call);
    }
}

impl Wal for JournalWal {
    type Ticket = duramen_journal::Ticket;

    fn append(&self, batch: &Batch, how: Append) -> Result<duramen_journal::Ticket, WalError> {
        self.journal.append_batch(batch, how)
    }

    fn append_drain(&self, batch: &mut Batch, how: Append) -> Result<duramen_journal::Ticket, WalError> {
        self.journal.append_drain(batch, how)
    }

    fn record_bytes_max(&self) -> usize {
        self.journal.record_bytes_max()
    }

    fn epoch(&self) -> u64 {
        self.journal.epoch()
    }

    fn held(&self, group: GroupId) -> u64 {
        self.watch.held(group)
    }

    fn written(&self) -> Sequence {
        self.journal.written()
    }

    fn appended(&self) -> Sequence {
        self.journal.appended()
    }

    fn durable(&self) -> Sequence {
        self.journal.durable()
    }

    fn first(&self) -> Sequence {
        self.journal.first()
    }

    fn read(&self, sequence: Sequence) -> Result<Record, WalError> {
        self.journal.read(sequence)
    }

    fn scan(&self, range: Range<Sequence>, visit: &mut dyn FnMut(RecordRef<'_>) -> bool) -> Result<(), WalError> {
        let mut scan = self.journal.scan(range);
        while let Some(record) = scan.next_borrowed() {
            if !visit(record?) {
                break;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<Sequence, WalError> {
        self.journal.flush()
    }

    fn sync(&self) -> Result<Sequence, WalError> {
        self.journal.sync()
    }

    fn release(&self, below: Sequence) -> Result<(), WalError> {
        self.journal.release(below)
    }

    fn starts(&self) -> Vec<Sequence> {
        self.watch.starts(self.journal.first())
    }

    fn segments(&self) -> Result<Vec<WalSegment>, WalError> {
        let mut walked = self.watch.opened();
        let mut segments = Vec::new();
        for info in self.journal.segments() {
            // A segment without records shares its first sequence with its successor, and changed nothing.
            let own = if info.next > info.first { walked.remove(&info.first) } else { None };
            // What was seen beyond the end that recovery found was cut off.
            let own = own.filter(|seen| seen.next <= self.end).map(|seen| seen.change);
            let summary = || info.summary.as_ref().and_then(|summary| Change::decode(summary).ok());
            segments.push(WalSegment { first: info.first, next: info.next, change: own.or_else(summary) });
        }
        self.watch.set_starts(segments.iter().map(|segment| segment.first).collect());
        Ok(segments)
    }

    fn stats(&self) -> Stats {
        self.journal.stats()
    }

    fn tick(&self) {
        self.journal.tick();
    }

    fn close(&self) -> Result<(), WalError> {
        self.journal.close()
    }
}
