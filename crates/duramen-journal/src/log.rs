//! The write side of one journal: one commit after another into one segment after another. Owns the segment in use, the
//! chain of digests, and the order of writes and syncs at a switch; belongs to whoever leads the flush, one at a time.
//! Knows nothing of queues, tickets and policies.
//!
//! Invariants:
//! - Everything below `durable_end` in the segment in use, and everything in earlier segments, is durable.
//! - A segment is synced before its successor's header is written, under every policy.
//! - A footer is submitted only after its successor's header is durable.
//! - After a failed write or sync that may have touched the file, nothing is written any more.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Sequence;
use crate::body::BodyBuffer;
use crate::catalog::{ActiveIndex, Catalog, Segment};
use crate::compress::compress;
use crate::disk::{DiskFile, SyncMethod, World, out_of_space, retryable, write_all_at};
use crate::error::Error;
use crate::format::{
    BLOCK_BODY_MAX, BLOCK_HEADER_BYTES, Binding, BlockHeader, COMMIT_HEADER_BYTES, COMMIT_TRAILER_BYTES, Codec,
    CommitHeader, CommitKind, CommitTrailer, DATA_OFFSET, HeaderState, Mark, PAGE_BYTES, RECORD_HEADER_BYTES,
    RecordHeader, SegmentHeader, commit_digest, encode_checkpoint, encode_mark, footer_bytes, payload_checksum,
};
use crate::observer::Observer;
use crate::options::{FreshPages, Options};
use crate::planted::{self, Bug};
use crate::pool::{Fill, Pool, Prepared, Seal, write_headers};
use crate::scan::LogTable;
use crate::stats::Counters;

/// Above this a commit is written and then synced, also where one call could do both: it bounds the aligned copy.
const WRITE_SYNC_MAX: usize = (1 << 20) + (64 << 10);

/// A commit of this size, or of a quarter of a small segment, ends with its page, so that the next one begins a page of
/// the file and of memory: it is written from where it was gathered, and no page is written twice.
const OWN_PAGES_FROM: u32 = 64 << 10;

/// An unsynced commit of this size is a part of a bulk load.
const BULK_BYTES: usize = 128 << 10;
/// Unsynced bytes after which the device is told to begin with them.
const WRITEBACK_BYTES: u64 = 1 << 20;

/// Why a commit was not written.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Nothing is visible, and the log can go on.
    Refused(Error),
    /// The log can not go on.
    Fatal(Error),
}

/// A data commit to be written.
pub(crate) struct Body<'a> {
    /// The records' bytes, framed.
    pub buffer: &'a mut BodyBuffer,
    /// Offsets of the records in the body.
    pub places: &'a [u32],
    pub first_sequence: Sequence,
    /// At most so many logs that this segment has not seen.
    pub logs: usize,
    /// May go into the last prepared segment when the disk is full.
    pub reserved: bool,
}

/// The segment in use.
pub(crate) struct Active {
    pub segment: Arc<Segment>,
    pub file: Arc<dyn DiskFile>,
    pub binding: Binding,
    pub end: u32,
    pub digest: u64,
    pub durable_end: u32,
    pub index: Arc<ActiveIndex>,
    pub logs: LogTable,
    pub records: u32,
    /// The page in which the commits end, up to there.
    pub tail: Box<[u8; PAGE_BYTES]>,
    /// Nothing but zeros lies behind the end.
    pub clean_tail: bool,
    /// Written, and not synced.
    pub dirty: bool,
    /// What the last commit was.
    pub last: Option<CommitKind>,
    /// The last commit is a mark, or another one that says of all before it that they are durable.
    pub witnessed: bool,
}

pub(crate) struct Log {
    pub world: World,
    pub folder: PathBuf,
    pub catalog: Arc<Catalog>,
    pub pool: Arc<Pool>,
    pub counters: Arc<Counters>,
    pub observer: Option<Box<dyn Observer>>,
    pub active: Active,
    pub next_sequence: Sequence,
    pub durable: Sequence,
    pub released_below: Sequence,
    pub limits: Limits,
    pub codec: Codec,
    pub fresh_pages: bool,
    pub method: SyncMethod,
    /// The predecessor, until its successor's header is durable.
    pub unsealed: Option<Seal>,
    pub scratch: BodyBuffer,
    pub no_space: bool,
    /// The environment runs no threads: background work is done here.
    pub inline: bool,
    /// Memory at a page's boundary for `O_DIRECT`, used again: at most a commit's bound and a little.
    pub aligned: Vec<u8>,
    /// Bytes written since the device was last told to begin with them.
    pub unstarted: u64,
}

/// The bounds of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub segment_bytes: u32,
    pub records_max: u32,
    /// Room for the caller's summary.
    pub summary: u32,
    /// Room for the journal's own commits: opening, release, marks.
    pub own: u32,
    pub checkpoint: u32,
    pub fresh_pages: bool,
    /// The largest payload of a lone record.
    pub record_max: usize,
}

impl Limits {
    pub fn of(options: &Options) -> Limits {
        let segment_bytes = options.segment_bytes_whole();
        let mut limits = Limits {
            record_max: 0,
            segment_bytes,
            records_max: options.segment_records_max,
            summary: options.summary_reserve(),
            own: match segment_bytes {
                bytes if bytes < 256 << 10 => 8 << 10,
                bytes if bytes < 4 << 20 => 16 << 10,
                _ => 64 << 10,
            },
            checkpoint: if options.observer.is_some() { segment_bytes / 16 } else { 0 },
            fresh_pages: options.fresh_pages == FreshPages::Always,
        };
        // Each append compares with it, so it is searched for once.
        let (mut low, mut high) = (0usize, segment_bytes as usize);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if limits.admits(middle + RECORD_HEADER_BYTES, 1, 1) { low = middle } else { high = middle - 1 }
        }
        limits.record_max = low;
        limits
    }

    /// Where the commits of a segment of this length with so many records and logs must end.
    fn end_max(&self, segment_bytes: u32, records: usize, logs: usize) -> i64 {
        i64::from(segment_bytes) - footer_bytes(records, logs, self.summary as usize) as i64
    }

    /// Whether a batch of such a body, with its framing at its worst, fits into an empty segment and into half of one.
    pub fn admits(&self, body_bytes: usize, records: usize, logs: usize) -> bool {
        let framed = framed_max(body_bytes, records) as i64;
        // A page for the batch's own padding, another for the checkpoint's.
        let pages = if self.checkpoint > 0 { 2 } else { 1 };
        let begin = i64::from(DATA_OFFSET) + i64::from(self.checkpoint) + pages * PAGE_BYTES as i64;
        let empty = self.end_max(self.segment_bytes, records, logs) - i64::from(self.own) - begin;
        framed <= empty.min(i64::from(self.segment_bytes / 2)) && records <= self.records_max as usize
    }
}

/// The bytes that a commit can take at most: compressed blocks that do not shrink cost their headers.
fn framed_max(body_bytes: usize, records: usize) -> usize {
    let blocks = (2 * body_bytes / BLOCK_BODY_MAX + 2).min(records + body_bytes / BLOCK_BODY_MAX + 1);
    COMMIT_HEADER_BYTES + body_bytes + blocks * BLOCK_HEADER_BYTES + COMMIT_TRAILER_BYTES + 8
}

impl Log {
    /// Writes one commit of records, and syncs if asked. On success the records are readable; they are durable if
    /// `sync`. Refused: nothing is visible and the same sequences can be used again.
    pub fn append(&mut self, body: &mut Body<'_>, sync: bool) -> Result<(), Failure> {
        self.check_pool()?;
        let records = body.places.len();
        let body_bytes = body.buffer.len();
        let framed = framed_max(body_bytes, records);
        if self.no_space && !body.reserved {
            self.space_again()?;
        }
        if !self.fits(framed, records, body.logs, self.limits.own) {
            self.roll(body.reserved)?;
            if !self.fits(framed, records, body.logs, self.limits.own) {
                // Only the small segment that was held back for a full disk can be too small.
                return Err(Failure::Refused(Error::NoSpace { path: self.folder.clone() }));
            }
        }
        let offset = self.active.end;
        let compressing = self.codec != Codec::None && body_bytes > PAGE_BYTES;
        if compressing {
            let mut out = std::mem::take(&mut self.scratch);
            let blocks = self.compress_body(body, &mut out);
            let header = self.header(CommitKind::Data, records as u32, out.len(), body_bytes, self.codec);
            let result = self.put(&mut out, header, body.first_sequence, sync);
            self.scratch = out;
            result?;
            let places = blocks.iter().flat_map(|&(place, count)| std::iter::repeat_n(place, count as usize));
            self.active.index.extend(places);
        } else {
            let base = offset + COMMIT_HEADER_BYTES as u32;
            for (index, &place) in body.places.iter().enumerate() {
                let head = &mut body.buffer.body_mut()[place as usize..place as usize + RECORD_HEADER_BYTES];
                RecordHeader::seal(head, &self.active.binding, base + place, body.first_sequence + index as u64);
            }
            let header = self.header(CommitKind::Data, records as u32, body_bytes, body_bytes, Codec::None);
            self.put(body.buffer, header, body.first_sequence, sync)?;
            self.active.index.extend(body.places.iter().map(|place| base + place));
        }
        self.observe(body);
        self.active.records += records as u32;
        self.next_sequence = body.first_sequence + records as u64;
        self.active.segment.set_extent(self.next_sequence, self.active.end);
        Counters::add(&self.counters.records, records as u64);
        Counters::add(&self.counters.payload_bytes, (body_bytes - records * RECORD_HEADER_BYTES) as u64);
        if sync {
            self.synced()?;
        }
        Ok(())
    }

    /// Counts the records per log and shows them to the observer.
    fn observe(&mut self, body: &Body<'_>) {
        for (index, &place) in body.places.iter().enumerate() {
            let record = &body.buffer.body()[place as usize..];
            let header = RecordHeader::decode_trusted(record).expect("encoded by Batch");
            let sequence = body.first_sequence + index as u64;
            self.active.logs.count(header.log, sequence);
            if let Some(observer) = &mut self.observer {
                let payload = &record[RECORD_HEADER_BYTES..header.total_bytes()];
                observer.record(sequence, header.log, header.kind, payload);
            }
        }
    }

    /// Whether a commit of such a body ends with its page.
    fn ends_page(&self, stored_bytes: usize) -> bool {
        self.fresh_pages || stored_bytes >= OWN_PAGES_FROM.min(self.limits.segment_bytes / 4) as usize
    }

    /// Whether a commit of such a body is best written and synced in one go, also where others wait behind it: it goes to
    /// the device from where it lies, while sharing a sync would take it through the cache.
    pub fn is_written_through(&self, body_bytes: usize) -> bool {
        self.method == SyncMethod::Direct && !self.active.dirty && body_bytes >= OWN_PAGES_FROM as usize
    }

    fn header(&self, kind: CommitKind, count: u32, stored: usize, body_bytes: usize, codec: Codec) -> CommitHeader {
        let to_page = self.ends_page(stored) && !planted::is(Bug::PagesShared);
        CommitHeader {
            first_sequence: self.next_sequence,
            previous_digest: self.active.digest,
            count,
            stored_bytes: stored as u32,
            body_bytes: body_bytes as u32,
            padding: CommitHeader::padding_for(self.active.end, stored, to_page),
            kind,
            codec,
        }
    }

    fn fits(&self, framed: usize, records: usize, logs: usize, kept_back: u32) -> bool {
        let all = self.active.records as usize + records;
        let logs = self.active.logs.entries().len() + logs;
        let page = if self.ends_page(framed) { PAGE_BYTES } else { 0 };
        let end = i64::from(self.active.end) + (framed + page) as i64 + i64::from(kept_back);
        end <= self.limits.end_max(self.active.segment.header.segment_bytes, all, logs)
            && all <= self.limits.records_max as usize
    }

    /// Cuts the body into blocks at record boundaries and compresses each. Returns each block's place and how many
    /// records begin in it.
    fn compress_body(&mut self, body: &mut Body<'_>, out: &mut BodyBuffer) -> Vec<(u32, u32)> {
        if !out.is_framed() {
            *out = BodyBuffer::framed();
        }
        out.clear();
        let mut blocks = Vec::new();
        let mut packed = Vec::new();
        let body_end = body.buffer.len();
        let first_index = (body.first_sequence - self.active.segment.header.first_sequence) as u32;
        let mut record = 0;
        while record < body.places.len() {
            let from = body.places[record] as usize;
            let end_of = |index: usize| body.places.get(index + 1).map_or(body_end, |&next| next as usize);
            let mut behind = record + 1;
            while behind < body.places.len() && end_of(behind) - from <= BLOCK_BODY_MAX {
                behind += 1;
            }
            let end = end_of(behind - 1);
            let place = self.active.end + (COMMIT_HEADER_BYTES + out.len()) as u32;
            for index in record..behind {
                let at = body.places[index] as usize;
                let sequence = body.first_sequence + index as u64;
                let head = &mut body.buffer.body_mut()[at..at + RECORD_HEADER_BYTES];
                RecordHeader::seal(head, &self.active.binding, place, sequence);
            }
            blocks.push((place, (behind - record) as u32));
            let mut piece = from;
            while piece < end {
                let until = end.min(piece + BLOCK_BODY_MAX);
                let raw = &body.buffer.body()[piece..until];
                let stored = if compress(self.codec, raw, &mut packed) { &packed[..] } else { raw };
                let offset = self.active.end + (COMMIT_HEADER_BYTES + out.len()) as u32;
                let header = BlockHeader {
                    stored_bytes: stored.len() as u32,
                    body_bytes: raw.len() as u32,
                    stored_crc: payload_checksum(stored),
                    first_index: first_index + record as u32,
                    records: if piece == from { (behind - record) as u16 } else { 0 },
                    codec: self.codec,
                };
                out.extend_from_slice(&header.encode(&self.active.binding, offset));
                out.extend_from_slice(stored);
                piece = until;
            }
            record = behind;
        }
        blocks
    }

    /// Makes a commit around the body and writes it; leaves the buffer with the body alone, for whoever keeps it for readers.
    fn put(
        &mut self,
        buffer: &mut BodyBuffer,
        header: CommitHeader,
        first_sequence: Sequence,
        sync: bool,
    ) -> Result<(), Failure> {
        let header = CommitHeader { first_sequence, ..header };
        let offset = self.active.end;
        header.encode(buffer.header_mut(), &self.active.binding, offset);
        let body_end = buffer.len();
        let trailer_at = body_end + usize::from(header.padding);
        buffer.grow_to(trailer_at + COMMIT_TRAILER_BYTES);
        let mut trailer = CommitTrailer { durable_upto: self.durable, durable_end: self.active.durable_end, digest: 0 };
        trailer.encode(&mut buffer.body_mut()[trailer_at..]);
        let covered = trailer_at + CommitTrailer::COVERED;
        trailer.digest = commit_digest(&buffer.commit()[..COMMIT_HEADER_BYTES + covered]);
        buffer.body_mut()[covered..].copy_from_slice(&trailer.digest.to_le_bytes());
        let end = offset + header.total_bytes() as u32;
        assert!(end <= self.active.segment.header.segment_bytes, "a commit fits its segment");

        // Whole pages: the page that the commit begins in goes out again in front of it, zeros fill the last one.
        let prefix = offset as usize % PAGE_BYTES;
        let rest_of_page = (end as usize).next_multiple_of(PAGE_BYTES) - end as usize;
        buffer.grow_to(buffer.len() + rest_of_page);
        let pages = buffer.pages_mut(prefix);
        pages[..prefix].copy_from_slice(&self.active.tail[..prefix]);
        let written = self.write(pages, offset - prefix as u32, sync);
        let rest = end as usize % PAGE_BYTES;
        if written.is_ok() {
            let last_page = pages.len() - PAGE_BYTES;
            self.active.tail[..rest].copy_from_slice(&pages[last_page..last_page + rest]);
        }
        let pages_bytes = pages.len();
        buffer.truncate(body_end);
        written?;
        self.active.end = end;
        self.pool.consumed(end, !sync && pages_bytes >= BULK_BYTES);
        self.active.digest = trailer.digest;
        self.active.last = Some(header.kind);
        // A commit without records witnesses all before it, provided that all before it was durable.
        self.active.witnessed =
            header.count == 0 && trailer.durable_upto + 1 >= first_sequence && trailer.durable_end >= offset;
        Counters::add(&self.counters.commits, 1);
        Ok(())
    }

    /// Writes pages, durably if asked.
    fn write(&mut self, pages: &[u8], offset: u32, sync: bool) -> Result<(), Failure> {
        let began = self.world.environment.now();
        let segment = self.active.segment.clone();
        let path = &segment.path;
        Counters::add(&self.counters.device_bytes, pages.len() as u64);
        let one_call = sync && !self.active.dirty && pages.len() <= WRITE_SYNC_MAX;
        if one_call && self.method != SyncMethod::DataSync {
            match self.write_sync(pages, offset) {
                Ok(()) => {
                    self.counters.synced(began, self.world.environment.now());
                    return Ok(());
                }
                Err(error) if error.kind() == std::io::ErrorKind::Unsupported => self.method = SyncMethod::DataSync,
                Err(error) => return Err(Failure::Fatal(Error::sync(path, error))),
            }
        }
        match write_all_at(&*self.active.file, pages, u64::from(offset)) {
            Ok(()) => {
                self.active.dirty = true;
                if !sync {
                    // The sync to come, at the latest at the segment's end, finds most of it on its way.
                    self.unstarted += pages.len() as u64;
                    if self.unstarted >= WRITEBACK_BYTES {
                        let end = u64::from(offset) + pages.len() as u64;
                        self.active.file.start_writeback(end.saturating_sub(self.unstarted), self.unstarted);
                        self.unstarted = 0;
                    }
                }
            }
            // Only a part lies in the cache, and the next commit writes over it: nothing can be half-visible.
            Err(error) if out_of_space(&error) => return Err(Failure::Refused(Error::io("write", path, error))),
            Err(error) => return Err(Failure::Fatal(Error::io("write", path, error))),
        }
        if sync { self.sync_file() } else { Ok(()) }
    }

    fn write_sync(&mut self, pages: &[u8], offset: u32) -> std::io::Result<()> {
        let pages = if self.method == SyncMethod::Direct && pages.as_ptr().align_offset(PAGE_BYTES) != 0 {
            let aligned = &mut self.aligned;
            if aligned.len() < pages.len() + PAGE_BYTES {
                aligned.resize(pages.len() + PAGE_BYTES, 0);
            }
            let start = aligned.as_ptr().align_offset(PAGE_BYTES);
            aligned[start..start + pages.len()].copy_from_slice(pages);
            &aligned[start..start + pages.len()]
        } else {
            pages
        };
        let mut done = 0;
        while done < pages.len() {
            match self.active.file.write_sync(&pages[done..], u64::from(offset) + done as u64, self.method) {
                // What is left must again be whole pages at a page's boundary, or O_DIRECT refuses it.
                Ok(written) if written < PAGE_BYTES => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written & !(PAGE_BYTES - 1),
                Err(error) if retryable(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync_file(&mut self) -> Result<(), Failure> {
        if planted::is(Bug::AcknowledgedBeforeSync) {
            return Ok(());
        }
        let began = self.world.environment.now();
        let mut result = self.active.file.sync_data();
        if result.is_err() && planted::is(Bug::FailedSyncRetried) {
            result = self.active.file.sync_data();
        }
        if let Err(error) = result {
            if planted::is(Bug::SpaceErrorOfSyncForgiven) && out_of_space(&error) {
                return Err(Failure::Refused(Error::io("sync", &self.active.segment.path, error)));
            }
            return Err(Failure::Fatal(Error::sync(&self.active.segment.path, error)));
        }
        self.counters.synced(began, self.world.environment.now());
        self.active.dirty = false;
        Ok(())
    }

    /// Makes everything written durable.
    pub fn sync(&mut self) -> Result<(), Failure> {
        self.check_pool()?;
        if self.active.dirty {
            self.sync_file()?;
        }
        self.synced()
    }

    /// Everything written is durable now: moves the watermark, and lets the predecessor have its footer.
    fn synced(&mut self) -> Result<(), Failure> {
        self.durable = self.next_sequence - 1;
        self.active.durable_end = self.active.end;
        if let Some(seal) = self.unsealed.take() {
            self.pool.submit(seal);
            self.pool.want(self.active.segment.header.number + 1);
            self.keep();
            self.check_pool()?;
        }
        Ok(())
    }

    /// Background work, where there is no background.
    pub fn keep(&self) {
        if self.inline {
            while self.pool.work() {}
        }
    }

    fn check_pool(&self) -> Result<(), Failure> {
        self.pool.failed().map_or(Ok(()), |error| Err(Failure::Fatal(error)))
    }

    /// Sees that the segment in use no longer ends as closed, or that nobody trusts the file behind it. A switch that is
    /// torn off leaves its file *prepared*, with commits in it; opening takes such a file over after a clean close only, and
    /// under its old salt those commits could come back to life behind identical appends.
    fn reopen(&mut self) -> Result<(), Failure> {
        let own_page = !self.fresh_pages || (self.active.end as usize).is_multiple_of(PAGE_BYTES);
        let mut salt = [0u8; 8];
        let framed = COMMIT_HEADER_BYTES + COMMIT_TRAILER_BYTES + 8 + salt.len();
        if !own_page || !self.fits(framed, 0, 0, 0) {
            return self.pool.discard_ready().map_err(Failure::Fatal);
        }
        let drawn = self.world.environment.entropy(&mut salt);
        drawn.map_err(|error| Failure::Fatal(Error::io("draw entropy for", &self.folder, error)))?;
        self.put_control(CommitKind::Opening, &salt, true)?;
        self.synced()
    }

    /// Begins the next segment.
    fn roll(&mut self, reserved: bool) -> Result<(), Failure> {
        let number = self.active.segment.header.number + 1;
        if self.active.last == Some(CommitKind::ClosingMark) && !planted::is(Bug::PreparedTrustedAfterClose) {
            self.reopen()?;
        }
        if self.active.dirty && !planted::is(Bug::SuccessorBeforeData) {
            self.sync_file()?;
        }
        if !planted::is(Bug::SuccessorBeforeData) {
            self.durable = self.next_sequence - 1;
            self.active.durable_end = self.active.end;
            if let Some(seal) = self.unsealed.take() {
                self.pool.submit(seal);
                self.keep();
            }
        }
        let prepared = match self.pool.take(number, reserved, Fill::Skip) {
            Ok(prepared) => prepared,
            Err(error) if error.is_no_space() => {
                self.no_space = true;
                return Err(Failure::Refused(error));
            }
            Err(error) => return Err(Failure::Fatal(error)),
        };
        // In the held-back file only what is reserved goes on, until a further file can be made.
        self.no_space = prepared.header.segment_bytes != self.limits.segment_bytes;
        self.begin(prepared, 0)
    }

    /// Overwrites what a crash left behind the end with zeros, durably. The opening record's salt already keeps all of it
    /// from ever validating; this keeps later openings from meeting, and reporting, the same torn bytes again.
    pub fn clear_behind(&mut self, until: u32) -> Result<(), Failure> {
        let from = self.active.end.next_multiple_of(PAGE_BYTES as u32);
        let until = until.next_multiple_of(PAGE_BYTES as u32).min(self.active.segment.header.segment_bytes);
        let path = &self.active.segment.path;
        let zeros = vec![0u8; (until.saturating_sub(from) as usize).min(1 << 20)];
        let mut offset = from;
        while offset < until {
            let length = zeros.len().min((until - offset) as usize);
            let written = write_all_at(&*self.active.file, &zeros[..length], u64::from(offset));
            written.map_err(|error| Failure::Fatal(Error::io("write", path, error)))?;
            Counters::add(&self.counters.device_bytes, length as u64);
            offset += length as u32;
            self.active.dirty = true;
        }
        if self.active.dirty {
            self.sync_file()?;
        }
        self.active.clean_tail = true;
        Ok(())
    }

    /// Begins the next segment although this one has room.
    pub fn begin_next(&mut self) -> Result<(), Failure> {
        self.roll(true)
    }

    /// After the disk was full: ordinary appends go on when a further file is at hand. Asks for it, so that they
    /// resume by themselves.
    pub fn space_again(&mut self) -> Result<(), Failure> {
        let number = self.active.segment.header.number + 1;
        if !self.pool.has_ready(number) {
            self.pool.want(number);
            self.keep();
        }
        if !self.pool.has_ready(number) {
            return Err(Failure::Refused(Error::NoSpace { path: self.folder.clone() }));
        }
        self.no_space = false;
        Ok(())
    }

    /// Puts a prepared file in use.
    pub fn begin(&mut self, prepared: Prepared, gap_first: Sequence) -> Result<(), Failure> {
        let summary = self.observer.as_mut().map(|observer| observer.summary());
        let header = SegmentHeader {
            state: HeaderState::Begun,
            first_sequence: self.next_sequence,
            predecessor_digest: self.active.digest,
            released_below: self.released_below,
            gap_first,
            ..prepared.header
        };
        let segment =
            Segment::open_ended(header, prepared.path, Some(prepared.file.clone()), Arc::new(ActiveIndex::default()));
        let fresh = Active::new(Arc::new(segment), prepared.file);
        let header_bytes = u64::from(DATA_OFFSET);
        Counters::add(&self.counters.device_bytes, header_bytes);
        if let Err(error) = write_headers(&*fresh.file, &header) {
            return Err(Failure::Fatal(Error::io("write", &fresh.segment.path, error)));
        }
        let old = std::mem::replace(&mut self.active, fresh);
        self.active.dirty = true;
        self.catalog.push(self.active.segment.clone());
        let seal = Seal {
            segment: old.segment,
            file: old.file,
            index: old.index,
            logs: old.logs,
            summary,
            summary_max: self.limits.summary as usize,
            digest: old.digest,
            data_end: old.end,
            zero_behind: old.clean_tail,
            released_below: self.released_below,
        };
        if planted::is(Bug::FooterBeforeSuccessor) {
            self.pool.submit(seal);
            self.keep();
        } else {
            self.unsealed = Some(seal);
        }
        let checkpoint = self.observer.as_mut().and_then(|observer| {
            observer.begin(header.first_sequence);
            observer.checkpoint()
        });
        if let Some((log, kind, payload)) = checkpoint {
            let body = encode_checkpoint(log, kind, &payload);
            if body.len() <= self.limits.checkpoint as usize {
                self.put_control(CommitKind::Checkpoint, &body, false)?;
            }
        }
        Ok(())
    }

    /// Writes one of the journal's own commits.
    pub fn control(&mut self, kind: CommitKind, body: &[u8], sync: bool) -> Result<(), Failure> {
        self.check_pool()?;
        if !self.fits(COMMIT_HEADER_BYTES + COMMIT_TRAILER_BYTES + 8 + body.len(), 0, 0, 0) {
            self.roll(true)?;
        }
        self.put_control(kind, body, sync)?;
        if sync { self.synced() } else { Ok(()) }
    }

    fn put_control(&mut self, kind: CommitKind, body: &[u8], sync: bool) -> Result<(), Failure> {
        let mut buffer = BodyBuffer::framed();
        buffer.extend_from_slice(body);
        let header = self.header(kind, 0, body.len(), body.len(), Codec::None);
        self.put(&mut buffer, header, self.next_sequence, sync)?;
        self.active.segment.set_extent(self.next_sequence, self.active.end);
        Ok(())
    }

    /// Writes a mark, durably, after everything before it is durable. Nothing to witness: nothing is written.
    pub fn mark(&mut self, kind: CommitKind) -> Result<(), Failure> {
        self.sync()?;
        let needed = match kind {
            CommitKind::ClosingMark => self.active.last != Some(CommitKind::ClosingMark),
            _ => !self.active.witnessed && self.active.last.is_some(),
        };
        if !needed {
            return Ok(());
        }
        self.control(kind, &encode_mark(Mark { zero_tail: self.active.clean_tail }), true)
    }

    /// Makes a release durable. What it frees is the caller's to take out of the catalog.
    pub fn release(&mut self, below: Sequence) -> Result<(), Failure> {
        self.sync()?;
        if !planted::is(Bug::ReleaseNotDurable) {
            self.control(CommitKind::Release, &below.to_le_bytes(), true)?;
        }
        self.released_below = self.released_below.max(below);
        Ok(())
    }
}

impl Active {
    /// A segment that was just begun.
    pub fn new(segment: Arc<Segment>, file: Arc<dyn DiskFile>) -> Active {
        let header = segment.header;
        Active {
            binding: segment.binding,
            index: segment.index().unwrap_or_default(),
            file,
            end: DATA_OFFSET,
            digest: segment.binding.first_digest(&header),
            durable_end: 0,
            logs: LogTable::default(),
            records: 0,
            tail: Box::new([0; PAGE_BYTES]),
            clean_tail: header.zeroed,
            dirty: false,
            last: None,
            witnessed: true,
            segment,
        }
    }
}
