//! A journal made of given records under given sequences. Owns the new segments: sequences that are skipped become gaps,
//! each at the head of a segment of its own, because sequences are dense within one; a batch goes in whole or not at all.
//! Knows nothing of where the records come from.
//!
//! The new journal ends with a closing mark: one that lacks it was not finished.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Sequence;
use crate::body::BodyBuffer;
use crate::catalog::{Catalog, Segment};
use crate::disk::{SyncMethod, World};
use crate::error::Error;
use crate::format::{CommitKind, HeaderState, RECORD_HEADER_BYTES, RecordHeader, SegmentHeader, decode_checkpoint};
use crate::log::{Active, Body, Failure, Limits, Log};
use crate::observer::Observer;
use crate::options::Options;
use crate::pool::{FilePlan, Fill, Found, Pool, write_headers};
use crate::report::{Gap, OPEN_GAP};
use crate::stats::Counters;

/// A commit is written when it has grown so large, at the next end of a batch.
const COMMIT_BYTES: usize = 256 << 10;
/// Records in a segment at least, whatever the options say: a batch that was taken once must fit.
const RECORDS_MAX_LEAST: u32 = 1 << 20;

/// What is to be built.
pub(crate) struct Plan<'a> {
    pub world: &'a World,
    /// An existing, empty folder.
    pub folder: PathBuf,
    pub options: &'a Options,
    pub journal_id: [u8; 16],
    /// Length of the new segments: no less than that of those which the batches come from.
    pub segment_bytes: u32,
    /// Number of the first segment.
    pub number: u64,
    /// The sequence from which on the journal should hold everything.
    pub start: Sequence,
    pub released_below: Sequence,
}

/// Builds one journal.
pub(crate) struct Builder {
    world: World,
    folder: PathBuf,
    number: u64,
    start: Sequence,
    released_below: Sequence,
    limits: Limits,
    options: Options,
    pool: Arc<Pool>,
    catalog: Arc<Catalog>,
    counters: Arc<Counters>,
    observer: Option<Box<dyn Observer>>,
    /// Present once the first record, or the end, has told where the first segment begins.
    log: Option<Log>,
    /// Footers that were submitted and written.
    sealed: u64,
    /// The records of the commit in the making.
    buffer: BodyBuffer,
    places: Vec<u32>,
    logs: usize,
    first: Sequence,
    /// Records and bytes of it that belong to complete batches.
    whole: usize,
    whole_end: usize,
    next: Sequence,
    copied: u64,
    lost: Vec<Gap>,
}

/// What was built.
pub(crate) struct Built {
    pub copied: u64,
    pub lost: Vec<Gap>,
}

fn plain(failure: Failure) -> Error {
    match failure {
        Failure::Refused(error) | Failure::Fatal(error) => error,
    }
}

impl Builder {
    /// Begins; nothing is written before the first record.
    pub fn new(plan: Plan<'_>) -> Builder {
        let growing = plan.world.disk.file_system(&plan.folder).map(|system| system.copy_on_write).unwrap_or(false);
        let mut options = plan.options.clone();
        options.segment_bytes = options.segment_bytes_whole().max(plan.segment_bytes);
        let mut limits = Limits::of(&options);
        limits.records_max = limits.records_max.max(RECORDS_MAX_LEAST);
        let files = FilePlan {
            journal_id: plan.journal_id,
            segment_bytes: limits.segment_bytes,
            reserve_bytes: limits.segment_bytes,
            growing,
            spares_max: 0,
            stock: false,
        };
        let counters = Arc::new(Counters::default());
        let pool = Pool::new(plan.world.clone(), plan.folder.clone(), files, Found::default(), counters.clone());
        Builder {
            world: plan.world.clone(),
            folder: plan.folder,
            number: plan.number,
            start: plan.start,
            released_below: plan.released_below,
            limits,
            observer: options.observer.as_ref().map(|factory| factory.observer()),
            options,
            pool: Arc::new(pool),
            catalog: Arc::new(Catalog::new(Vec::new(), 0)),
            counters,
            log: None,
            sealed: 0,
            buffer: BodyBuffer::framed(),
            places: Vec::new(),
            logs: 0,
            first: plan.start,
            whole: 0,
            whole_end: 0,
            next: plan.start,
            copied: 0,
            lost: Vec::new(),
        }
    }

    /// The next record. One that does not follow the last opens a gap; one that was there already is passed over.
    pub fn record(&mut self, sequence: Sequence, header: &RecordHeader, payload: &[u8]) -> Result<(), Error> {
        if sequence < self.next {
            return Ok(());
        }
        if sequence > self.next {
            self.drop_open_batch();
            self.flush()?;
            self.first = sequence;
        }
        self.places.push(self.buffer.len() as u32);
        self.logs += 1;
        self.buffer.reserve(RECORD_HEADER_BYTES + payload.len());
        self.buffer.extend_from_slice(&header.encode_open());
        self.buffer.extend_from_slice(payload);
        self.next = sequence + 1;
        if !header.more {
            self.whole = self.places.len();
            self.whole_end = self.buffer.len();
            if self.whole_end >= COMMIT_BYTES.min(self.limits.segment_bytes as usize / 8) {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// A caller's state at the head of a segment, at its place between the records.
    pub fn checkpoint(&mut self, body: &[u8]) -> Result<(), Error> {
        if let Some(observer) = &mut self.observer {
            // It makes a checkpoint of its own at the head of each new segment.
            if let Some((log, kind, payload)) = decode_checkpoint(body) {
                observer.checkpoint_found(log, kind, payload);
            }
            return Ok(());
        }
        self.drop_open_batch();
        self.flush()?;
        let log = self.reach(self.next)?;
        log.control(CommitKind::Checkpoint, body, false).map_err(plain)?;
        self.write_footers();
        Ok(())
    }

    /// Ends the journal: `next` is the sequence that its next record gets, at least. If its end is lost and nobody knows how
    /// many records that were, it goes on far behind them. Everything is durable on return.
    pub fn finish(mut self, next: Sequence, end_is_lost: bool) -> Result<Built, Error> {
        self.drop_open_batch();
        self.flush()?;
        let mut next = next.max(self.next);
        if end_is_lost {
            next = next.saturating_add(OPEN_GAP);
        }
        let log = self.reach(next)?;
        log.mark(CommitKind::ClosingMark).map_err(plain)?;
        self.write_footers();
        if let Some(error) = self.pool.failed() {
            return Err(error);
        }
        self.world.disk.sync_dir(&self.folder).map_err(|error| Error::io("sync", &self.folder, error))?;
        Ok(Built { copied: self.copied, lost: self.lost })
    }

    /// Takes back the records of a batch whose end did not come.
    fn drop_open_batch(&mut self) {
        self.places.truncate(self.whole);
        self.buffer.truncate(self.whole_end);
        self.next = self.first + self.whole as u64;
    }

    /// Writes the complete batches; none is open.
    fn flush(&mut self) -> Result<(), Error> {
        if self.places.is_empty() {
            self.first = self.next;
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let places = std::mem::take(&mut self.places);
        let (first, logs) = (self.first, self.logs);
        let log = self.reach(first)?;
        let mut body = Body { buffer: &mut buffer, places: &places, first_sequence: first, logs, reserved: true };
        log.append(&mut body, false).map_err(plain)?;
        self.copied += places.len() as u64;
        self.first = first + places.len() as u64;
        self.next = self.first;
        buffer.clear();
        (self.buffer, self.places) = (buffer, places);
        self.places.clear();
        (self.logs, self.whole, self.whole_end) = (0, 0, 0);
        self.write_footers();
        Ok(())
    }

    /// The log, standing at a sequence: begun there, or behind a gap.
    fn reach(&mut self, sequence: Sequence) -> Result<&mut Log, Error> {
        match &mut self.log {
            None => {
                let gap_first = if sequence > self.start { self.start } else { 0 };
                self.lose(self.start, sequence);
                let active = self.first_segment(sequence, gap_first)?;
                let log = self.begin_log(active, sequence);
                return Ok(self.log.insert(log));
            }
            Some(log) if log.next_sequence < sequence => {
                let gap_first = log.next_sequence;
                log.sync().map_err(plain)?;
                let number = log.active.segment.header.number + 1;
                let prepared = self.pool.take(number, true, Fill::Skip)?;
                log.next_sequence = sequence;
                log.begin(prepared, gap_first).map_err(plain)?;
                self.lose(gap_first, sequence);
            }
            Some(_) => {}
        }
        Ok(self.log.as_mut().expect("looked at above"))
    }

    fn lose(&mut self, first: Sequence, end: Sequence) {
        if first < end {
            self.lost.push(Gap { first, end });
        }
    }

    fn first_segment(&self, first_sequence: Sequence, gap_first: Sequence) -> Result<Active, Error> {
        let prepared = self.pool.take(self.number, true, Fill::Skip)?;
        let header = SegmentHeader {
            state: HeaderState::Begun,
            first_sequence,
            predecessor_digest: 0,
            released_below: self.released_below,
            gap_first,
            ..prepared.header
        };
        let path = prepared.path.clone();
        write_headers(&*prepared.file, &header).map_err(|error| Error::io("write", &path, error))?;
        prepared.file.sync_data().map_err(|error| Error::sync(&path, error))?;
        let segment = Arc::new(Segment::open_ended(header, path, Some(prepared.file.clone()), Arc::default()));
        self.catalog.push(segment.clone());
        Ok(Active::new(segment, prepared.file))
    }

    fn begin_log(&mut self, active: Active, next_sequence: Sequence) -> Log {
        let mut observer = self.observer.take();
        if let Some(observer) = &mut observer {
            observer.begin(next_sequence);
        }
        Log {
            world: self.world.clone(),
            folder: self.folder.clone(),
            catalog: self.catalog.clone(),
            pool: self.pool.clone(),
            counters: self.counters.clone(),
            observer,
            next_sequence,
            durable: next_sequence.saturating_sub(1),
            released_below: self.released_below,
            limits: self.limits,
            codec: self.options.codec,
            fresh_pages: self.limits.fresh_pages,
            method: SyncMethod::DataSync,
            unsealed: None,
            scratch: BodyBuffer::default(),
            no_space: false,
            // Footers are written by `write_footers`; preparing the next file is the next opening's business.
            inline: false,
            aligned: Vec::new(),
            unstarted: 0,
            active,
        }
    }

    /// Writes the footers that are due, and nothing else of what the pool would do.
    fn write_footers(&mut self) {
        let Some(log) = &self.log else { return };
        let begun = log.active.segment.header.number - self.number;
        let due = begun.saturating_sub(u64::from(log.unsealed.is_some()));
        while self.sealed < due {
            // The pool takes seals before everything else.
            self.pool.work();
            self.sealed += 1;
        }
    }
}
