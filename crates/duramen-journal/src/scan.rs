//! One segment's bytes to facts. Owns the walk over commits and records, the search for witnesses behind damage, and
//! the bounded window through which both read. Decides nothing: what the facts mean is `recovery`'s.
//!
//! Memory is bounded by the window, whatever the segment's size and whatever a length field says.

use std::io;

use crate::compress::{decompress, supported};
use crate::disk::{DiskFile, read_full_at};
use crate::format::{
    BLOCK_HEADER_BYTES, Binding, BlockHeader, COMMIT_ALIGNMENT, COMMIT_HEADER_BYTES, COMMIT_MAGIC,
    COMMIT_TRAILER_BYTES, Codec, CommitHeader, CommitKind, CommitTrailer, DATA_OFFSET, RECORD_HEADER_BYTES,
    RecordHeader, SegmentHeader, align_up, decode_mark, decode_word, payload_checksum,
};
use crate::planted::{self, Bug};
use crate::{LogNumber, Sequence};

/// A file seen through a sliding buffer; behind its end it reads as zeros.
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    buffer: Vec<u8>,
    start: u64,
    capacity: usize,
    limit: u64,
    /// The disk was told that reads will come in order.
    hinted: bool,
}

impl<'a> Window<'a> {
    /// Sees `file` up to `limit`, about `capacity` bytes at once.
    pub fn new(file: &'a dyn DiskFile, limit: u64, capacity: usize) -> Window<'a> {
        let capacity = capacity.min(limit as usize).max(COMMIT_HEADER_BYTES);
        Window { file, buffer: Vec::new(), start: 0, capacity, limit, hinted: false }
    }

    /// The file.
    pub fn file(&self) -> &'a dyn DiskFile {
        self.file
    }

    /// Bytes that one call can give without growing the buffer.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The bytes from `offset`, exactly `length` of them. `UnexpectedEof` if the limit ends before.
    #[inline]
    pub fn slice(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let inside = offset >= self.start && offset + length as u64 <= self.start + self.buffer.len() as u64;
        if !inside {
            self.refill(offset, length)?;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.buffer[from..from + length])
    }

    #[cold]
    fn refill(&mut self, offset: u64, length: usize) -> io::Result<()> {
        if offset + length as u64 > self.limit {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let wanted = (self.capacity.max(length) as u64).min(self.limit - offset) as usize;
        let end = self.start + self.buffer.len() as u64;
        let kept = if offset >= self.start && offset < end { (end - offset) as usize } else { 0 };
        let from = self.buffer.len() - kept;
        self.buffer.copy_within(from.., 0);
        self.buffer.truncate(kept);
        self.start = offset;
        self.buffer.resize(wanted.max(kept), 0);
        if !std::mem::replace(&mut self.hinted, true) {
            // The device reads on while this thread checks: one call at a time leaves it idle in between.
            self.file.expect_sequential_reads();
        }
        match read_full_at(self.file, &mut self.buffer[kept..], offset + kept as u64) {
            // Behind the end of a short file lie zeros: that the file is short is a fact of its own.
            Ok(read) => self.buffer[kept + read..].fill(0),
            // A wide read may have met a bad sector far behind what was asked for. What it did not read is not zero: the
            // buffer ends where the good bytes do.
            Err(error) => {
                self.buffer.truncate(kept);
                if kept < length {
                    self.buffer.resize(length, 0);
                    let narrow = read_full_at(self.file, &mut self.buffer[kept..], offset + kept as u64);
                    if narrow.is_err() {
                        self.buffer.truncate(kept);
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Sees what a walk finds, in order, and only what has been verified.
pub(crate) trait Visitor {
    /// A commit begins here.
    fn commit(&mut self, _offset: u32, _header: &CommitHeader, _trailer: &CommitTrailer) {}
    /// A record: `place` is its index entry.
    fn record(&mut self, sequence: Sequence, place: u32, header: &RecordHeader, payload: Option<&[u8]>);
    /// A control commit's body.
    fn control(&mut self, _kind: CommitKind, _body: &[u8]) {}
    /// Whether the visitor has seen enough: asked before each commit.
    fn finished(&self) -> bool {
        false
    }
    /// Whether records are wanted with their payloads.
    fn wants_payloads(&self) -> bool {
        false
    }
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No room for another commit.
    Full,
    /// Zeros where a header would be.
    Zero,
    /// Neither zeros nor a header.
    Garbage,
    /// A good header, and a commit behind it that does not verify.
    Torn,
    /// A commit that verifies by itself and does not continue the chain.
    Chain,
    /// The device could not read it.
    Unreadable,
}

/// A commit that verifies, found behind the end of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later {
    /// Where.
    pub offset: u32,
    /// Its first sequence.
    pub first: Sequence,
    /// The sequence behind its last.
    pub next: Sequence,
}

/// What a walk over one segment found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanFacts {
    /// Where the good commits end.
    pub end: u32,
    /// The sequence that comes next there.
    pub next: Sequence,
    /// The chain's digest there.
    pub digest: u64,
    /// Good commits.
    pub commits: u64,
    /// The highest sequence that some good commit calls durable.
    pub durable_upto: Sequence,
    /// The highest offset that some good commit calls durable.
    pub durable_end: u32,
    /// The last good commit's kind and, for a mark, whether it vouches for zeros behind it.
    pub last: Option<(CommitKind, bool)>,
    /// Where the last good commit begins.
    pub last_offset: u32,
    /// The highest release.
    pub released_below: Sequence,
    /// What stands at the end.
    pub stop: Stop,
    /// The first commit behind the end that proves that the bytes at the end were durable.
    pub witness: Option<Later>,
    /// The first commit behind the end that verifies, whatever it proves.
    pub resume: Option<Later>,
    /// The highest sequence seen behind the end.
    pub last_seen: Option<Sequence>,
    /// Behind the last byte that is not zero; `end` if all behind the end are.
    pub nonzero_end: u32,
    /// The first byte behind the end that is not zero.
    pub nonzero_start: u32,
    /// Where a read failed, if one did.
    pub unreadable: Option<u32>,
}

/// Where a walk starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// Offset of the first commit.
    pub offset: u32,
    /// Its sequence.
    pub sequence: Sequence,
    /// The digest that it chains to.
    pub digest: u64,
}

impl Start {
    /// The start of a segment.
    pub fn of(header: &SegmentHeader) -> Start {
        Start { offset: DATA_OFFSET, sequence: header.first_sequence, digest: header.binding().first_digest(header) }
    }
}

/// A page that was never written.
static ZEROS: [u8; 4096] = [0; 4096];

/// Walks a segment from `start` up to `limit` (its length, or where its footer's index begins).
pub(crate) fn scan(
    window: &mut Window<'_>,
    header: &SegmentHeader,
    start: Start,
    limit: u32,
    visitor: &mut dyn Visitor,
) -> ScanFacts {
    let mut walk = Walk::over(window, header, start, limit, visitor);
    let stop = walk.facts.stop;
    let trusts_length = planted::is(Bug::BadLengthReadAsTornTail) && stop == Stop::Torn;
    let trusts_zero = planted::is(Bug::ZeroReadAsEnd) && stop == Stop::Zero;
    if stop != Stop::Full && !trusts_length && !trusts_zero {
        walk.look_behind(window, |_| false);
    }
    walk.facts
}

/// As [`scan`], without a look at what stands behind the end.
pub(crate) fn walk(
    window: &mut Window<'_>,
    header: &SegmentHeader,
    start: Start,
    limit: u32,
    visitor: &mut dyn Visitor,
) -> ScanFacts {
    Walk::over(window, header, start, limit, visitor).facts
}

/// Looks behind the end of a walk until `enough` is found. Returns the facts with what was seen there.
pub(crate) fn look_on(
    window: &mut Window<'_>,
    header: &SegmentHeader,
    facts: &ScanFacts,
    limit: u32,
    enough: fn(&ScanFacts) -> bool,
) -> ScanFacts {
    let start = Start { offset: facts.end, sequence: facts.next, digest: facts.digest };
    let mut walk = Walk::new(header, start, limit);
    walk.facts = facts.clone();
    walk.look_behind(window, enough);
    walk.facts
}

/// Where a walk can start at a commit that was found behind damage. `None`: it is no commit's header.
pub(crate) fn start_at(window: &mut Window<'_>, header: &SegmentHeader, offset: u32) -> Option<Start> {
    let head = window.slice(u64::from(offset), COMMIT_HEADER_BYTES).ok()?;
    let commit = CommitHeader::decode(head, &header.binding(), offset)?;
    Some(Start { offset, sequence: commit.first_sequence, digest: commit.previous_digest })
}

struct Walk {
    binding: Binding,
    limit: u32,
    segment_first: Sequence,
    facts: ScanFacts,
    body: Vec<u8>,
    gathered: Vec<u8>,
}

impl Walk {
    /// A walk that has come to its end.
    fn over(
        window: &mut Window<'_>,
        header: &SegmentHeader,
        start: Start,
        limit: u32,
        visitor: &mut dyn Visitor,
    ) -> Walk {
        let mut walk = Walk::new(header, start, limit);
        walk.run(window, visitor);
        walk
    }

    fn new(header: &SegmentHeader, start: Start, limit: u32) -> Walk {
        Walk {
            binding: header.binding(),
            limit,
            segment_first: header.first_sequence,
            body: Vec::new(),
            gathered: Vec::new(),
            facts: ScanFacts {
                end: start.offset,
                next: start.sequence,
                digest: start.digest,
                commits: 0,
                durable_upto: start.sequence.saturating_sub(1),
                durable_end: start.offset,
                last: None,
                last_offset: start.offset,
                released_below: header.released_below,
                stop: Stop::Full,
                witness: None,
                resume: None,
                last_seen: None,
                nonzero_end: start.offset,
                nonzero_start: start.offset,
                unreadable: None,
            },
        }
    }

    /// Commit after commit, up to the first that is no good.
    fn run(&mut self, window: &mut Window<'_>, visitor: &mut dyn Visitor) {
        let stop = loop {
            if visitor.finished() {
                break Stop::Full;
            }
            match self.step(window, visitor) {
                Ok(None) => {}
                Ok(Some(stop)) => break stop,
                Err(_) => break Stop::Unreadable,
            }
        };
        self.facts.stop = stop;
        if stop == Stop::Unreadable {
            self.facts.unreadable = Some(self.facts.end);
        }
    }

    /// One commit. `Some`: the walk ends here.
    fn step(&mut self, window: &mut Window<'_>, visitor: &mut dyn Visitor) -> io::Result<Option<Stop>> {
        let offset = self.facts.end;
        if u64::from(offset) + (COMMIT_HEADER_BYTES + COMMIT_TRAILER_BYTES) as u64 > u64::from(self.limit) {
            return Ok(Some(Stop::Full));
        }
        let head = window.slice(u64::from(offset), COMMIT_HEADER_BYTES)?;
        let Some(header) = CommitHeader::decode(head, &self.binding, offset) else {
            let zero = head.iter().all(|&byte| byte == 0);
            return Ok(Some(if zero { Stop::Zero } else { Stop::Garbage }));
        };
        let Some(trailer) = self.verify(window, offset, &header)? else {
            return Ok(Some(Stop::Torn));
        };
        let chained = header.previous_digest == self.facts.digest || planted::is(Bug::ChainNotChecked);
        if !chained || header.first_sequence != self.facts.next {
            return Ok(Some(Stop::Chain));
        }
        if header.kind != CommitKind::Data && (header.count != 0 || header.codec != Codec::None) {
            return Ok(Some(Stop::Torn));
        }
        if !self.take(window, offset, &header, &trailer, visitor)? {
            return Ok(Some(Stop::Torn));
        }
        Ok(None)
    }

    /// Reads a commit whole and compares its digest. `None`: it does not fit, or does not verify.
    fn verify(&self, window: &mut Window<'_>, offset: u32, header: &CommitHeader) -> io::Result<Option<CommitTrailer>> {
        verify_digest(window, u64::from(offset), header, self.limit)
    }

    /// Hands a verified commit out. `false`: its body has not the shape that its header says; a digest proves who wrote
    /// it, not that the writer was right, and nothing read from a disk may make this code panic.
    fn take(
        &mut self,
        window: &mut Window<'_>,
        offset: u32,
        header: &CommitHeader,
        trailer: &CommitTrailer,
        visitor: &mut dyn Visitor,
    ) -> io::Result<bool> {
        visitor.commit(offset, header, trailer);
        let body_offset = offset + COMMIT_HEADER_BYTES as u32;
        let mut zero_tail = false;
        if header.kind == CommitKind::Data {
            let mut records = Records {
                binding: self.binding,
                sequence: header.first_sequence,
                end: header.first_sequence + u64::from(header.count),
                segment_first: self.segment_first,
            };
            match header.codec {
                Codec::None => records.plain(window, body_offset, header.stored_bytes, visitor)?,
                codec => {
                    let place = (body_offset, header.stored_bytes);
                    records.compressed(window, place, codec, (&mut self.body, &mut self.gathered), visitor)?;
                }
            }
            if records.sequence != records.end {
                return Ok(false);
            }
        } else {
            let body = window.slice(u64::from(body_offset), header.stored_bytes as usize)?;
            match header.kind {
                CommitKind::Release => {
                    self.facts.released_below = self.facts.released_below.max(decode_word(body).unwrap_or(0));
                }
                CommitKind::IdleMark | CommitKind::ClosingMark => {
                    zero_tail = decode_mark(body).unwrap_or_default().zero_tail;
                }
                _ => {}
            }
            visitor.control(header.kind, body);
        }
        let facts = &mut self.facts;
        facts.last_offset = offset;
        facts.end = offset + header.total_bytes() as u32;
        facts.next = header.first_sequence + u64::from(header.count);
        facts.digest = trailer.digest;
        facts.commits += 1;
        facts.durable_upto = facts.durable_upto.max(trailer.durable_upto);
        facts.durable_end = facts.durable_end.max(trailer.durable_end);
        facts.last = Some((header.kind, zero_tail));
        Ok(true)
    }

    /// Searches behind the end for commits that verify, and for bytes that are not zero, until `enough` is found.
    fn look_behind(&mut self, window: &mut Window<'_>, enough: impl Fn(&ScanFacts) -> bool) {
        let end = self.facts.end;
        self.facts.nonzero_end = end;
        self.facts.nonzero_start = self.limit;
        let mut offset = align_up(end as usize, COMMIT_ALIGNMENT) as u64;
        let jump = planted::is(Bug::LengthOutsideChecksum) && self.facts.stop == Stop::Torn;
        if jump && let Ok(head) = window.slice(u64::from(end), COMMIT_HEADER_BYTES) {
            // The bug: a length that nothing vouches for says where to go on.
            if let Some(header) = CommitHeader::decode(head, &self.binding, end) {
                offset = align_up((u64::from(end) + header.total_bytes()) as usize, COMMIT_ALIGNMENT) as u64;
            }
        }
        while offset < u64::from(self.limit) && !enough(&self.facts) {
            let length = (u64::from(self.limit) - offset).min(4096 - offset % 4096) as usize;
            let mut found: [u16; 8] = [0; 8];
            let mut count = 0;
            match window.slice(offset, length) {
                Ok(page) => {
                    // Nearly all of what lies behind an end is zeros, and comparing finds that out at the speed of memory.
                    let zero = *page == ZEROS[..length];
                    if let Some(first) = (!zero).then(|| page.iter().position(|&byte| byte != 0)).flatten() {
                        let last = page.iter().rposition(|&byte| byte != 0).unwrap_or(first);
                        self.facts.nonzero_start = self.facts.nonzero_start.min(offset as u32 + first as u32);
                        self.facts.nonzero_end = offset as u32 + last as u32 + 1;
                        let magic = COMMIT_MAGIC.to_le_bytes();
                        for (index, word) in page.chunks_exact(COMMIT_ALIGNMENT).enumerate() {
                            if word[..4] == magic && count < found.len() {
                                found[count] = (index * COMMIT_ALIGNMENT) as u16;
                                count += 1;
                            }
                        }
                        // More in one page than fit: payloads that quote the magic. Look at each of them.
                        if count == found.len() {
                            for index in (0..length).step_by(COMMIT_ALIGNMENT) {
                                self.consider(window, offset as u32 + index as u32);
                            }
                            count = 0;
                        }
                    }
                }
                Err(_) => {
                    self.facts.unreadable.get_or_insert(offset as u32);
                }
            }
            for &place in &found[..count] {
                self.consider(window, offset as u32 + u32::from(place));
            }
            offset += length as u64;
        }
        self.facts.nonzero_start = self.facts.nonzero_start.min(self.facts.nonzero_end);
    }

    /// The commit that verifies here, if one does.
    fn verified_at(&self, window: &mut Window<'_>, offset: u32) -> io::Result<Option<(CommitHeader, CommitTrailer)>> {
        if u64::from(offset) + COMMIT_HEADER_BYTES as u64 > u64::from(self.limit) {
            return Ok(None);
        }
        let head = window.slice(u64::from(offset), COMMIT_HEADER_BYTES)?;
        let Some(header) = CommitHeader::decode(head, &self.binding, offset) else { return Ok(None) };
        Ok(self.verify(window, offset, &header)?.map(|trailer| (header, trailer)))
    }

    /// Whether a commit verifies here, and what it proves.
    fn consider(&mut self, window: &mut Window<'_>, offset: u32) {
        if offset <= self.facts.end && self.facts.stop != Stop::Chain {
            return;
        }
        let (header, trailer) = match self.verified_at(window, offset) {
            Ok(Some(verified)) => verified,
            Ok(None) => return,
            // What could not be read just now may be the witness.
            Err(_) => {
                self.facts.unreadable.get_or_insert(offset);
                return;
            }
        };
        let later = Later {
            offset,
            first: header.first_sequence,
            next: header.first_sequence.saturating_add(u64::from(header.count)),
        };
        let proves = trailer.durable_end > self.facts.end
            || trailer.durable_upto >= self.facts.next
            || planted::is(Bug::LaterRecordProvesRot);
        if proves && self.facts.witness.is_none() {
            self.facts.witness = Some(later);
        }
        if later.first >= self.facts.next && self.facts.resume.is_none() && offset > self.facts.end {
            self.facts.resume = Some(later);
        }
        if later.next > self.facts.next {
            self.facts.last_seen = Some(self.facts.last_seen.unwrap_or(0).max(later.next - 1));
        }
    }
}

/// What the commits of a segment without a good header call durable at most. Their places and the chain cannot be
/// checked without its salt; each commit's own digest can. `None`: nothing in the file verifies.
pub(crate) fn orphans(window: &mut Window<'_>, limit: u32) -> io::Result<Option<Sequence>> {
    let mut upto = None;
    let mut offset = u64::from(DATA_OFFSET);
    while offset + (COMMIT_HEADER_BYTES + COMMIT_TRAILER_BYTES) as u64 <= u64::from(limit) {
        let header = CommitHeader::decode_unbound(window.slice(offset, COMMIT_HEADER_BYTES)?);
        let trailer = header.map(|header| verify_digest(window, offset, &header, limit)).transpose()?;
        match (header, trailer.flatten()) {
            (Some(header), Some(trailer)) => {
                upto = upto.max(Some(trailer.durable_upto));
                offset += header.total_bytes().next_multiple_of(COMMIT_ALIGNMENT as u64);
            }
            _ => offset += COMMIT_ALIGNMENT as u64,
        }
    }
    Ok(upto)
}

/// Reads a commit whole and compares its digest. `None`: it does not fit, or does not verify.
fn verify_digest(
    window: &mut Window<'_>,
    start: u64,
    header: &CommitHeader,
    limit: u32,
) -> io::Result<Option<CommitTrailer>> {
    let total = header.total_bytes();
    if start + total > u64::from(limit) {
        return Ok(None);
    }
    let covered = total as usize - 8;
    let digest = if covered <= window.capacity() {
        crc_fast::crc64_nvme(window.slice(start, covered)?)
    } else {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        let mut done = 0;
        while done < covered {
            let chunk = (covered - done).min(window.capacity());
            digest.update(window.slice(start + done as u64, chunk)?);
            done += chunk;
        }
        digest.finalize()
    };
    let tail = window.slice(start + total - COMMIT_TRAILER_BYTES as u64, COMMIT_TRAILER_BYTES)?;
    let trailer = CommitTrailer::decode(tail).filter(|trailer| trailer.digest == digest);
    Ok(if planted::is(Bug::TornBatchKept) { CommitTrailer::decode(tail) } else { trailer })
}

/// The records of one verified commit.
struct Records {
    binding: Binding,
    sequence: Sequence,
    end: Sequence,
    segment_first: Sequence,
}

impl Records {
    fn plain(
        &mut self,
        window: &mut Window<'_>,
        body_offset: u32,
        body_bytes: u32,
        visitor: &mut dyn Visitor,
    ) -> io::Result<()> {
        let payloads = visitor.wants_payloads();
        let mut position = u64::from(body_offset);
        let body_end = position + u64::from(body_bytes);
        while self.sequence < self.end && position + RECORD_HEADER_BYTES as u64 <= body_end {
            let head = window.slice(position, RECORD_HEADER_BYTES)?;
            let Some(header) = RecordHeader::decode_trusted(head) else { break };
            let total = header.total_bytes();
            if position + total as u64 > body_end {
                break;
            }
            if payloads {
                let bytes = window.slice(position, total)?;
                visitor.record(self.sequence, position as u32, &header, Some(&bytes[RECORD_HEADER_BYTES..]));
            } else {
                visitor.record(self.sequence, position as u32, &header, None);
            }
            self.sequence += 1;
            position += total as u64;
        }
        Ok(())
    }

    fn compressed(
        &mut self,
        window: &mut Window<'_>,
        (body_offset, stored_bytes): (u32, u32),
        codec: Codec,
        (body, gathered): (&mut Vec<u8>, &mut Vec<u8>),
        visitor: &mut dyn Visitor,
    ) -> io::Result<()> {
        if !supported(codec) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut position = body_offset;
        let body_end = body_offset + stored_bytes;
        let mut pending: Option<(u32, RecordHeader)> = None;
        while position + (BLOCK_HEADER_BYTES as u32) < body_end {
            let Some(block) = read_block(window, &self.binding, position, body)? else { break };
            if let Some((place, header)) = pending.take_if(|_| block.records == 0) {
                gathered.extend_from_slice(body);
                if gathered.len() < header.total_bytes() {
                    pending = Some((place, header));
                } else {
                    visitor.record(self.sequence, place, &header, Some(&gathered[RECORD_HEADER_BYTES..]));
                    self.sequence += 1;
                }
            } else {
                debug_assert!(u64::from(block.first_index) >= self.sequence - self.segment_first);
                pending = self.block_records(position, body, gathered, visitor);
            }
            position += BLOCK_HEADER_BYTES as u32 + block.stored_bytes;
        }
        Ok(())
    }

    /// Hands out the records that begin in a block; one that goes on behind it is gathered and returned.
    fn block_records(
        &mut self,
        place: u32,
        body: &[u8],
        gathered: &mut Vec<u8>,
        visitor: &mut dyn Visitor,
    ) -> Option<(u32, RecordHeader)> {
        let mut at = 0;
        while self.sequence < self.end && at < body.len() {
            let header = RecordHeader::decode_trusted(&body[at..])?;
            let total = header.total_bytes();
            if at + total > body.len() {
                gathered.clear();
                gathered.extend_from_slice(&body[at..]);
                return Some((place, header));
            }
            visitor.record(self.sequence, place, &header, Some(&body[at + RECORD_HEADER_BYTES..at + total]));
            self.sequence += 1;
            at += total;
        }
        None
    }
}

/// Reads and decompresses one block into `body`. `None`: damaged.
pub(crate) fn read_block(
    window: &mut Window<'_>,
    binding: &Binding,
    offset: u32,
    body: &mut Vec<u8>,
) -> io::Result<Option<BlockHeader>> {
    let head = window.slice(u64::from(offset), BLOCK_HEADER_BYTES)?;
    let Some(block) = BlockHeader::decode(head, binding, offset) else { return Ok(None) };
    let from = u64::from(offset) + BLOCK_HEADER_BYTES as u64;
    let stored = window.slice(from, block.stored_bytes as usize)?;
    let good = payload_checksum(stored) == block.stored_crc
        && decompress(block.codec, stored, block.body_bytes as usize, body);
    Ok(good.then_some(block))
}

/// Counts per log, kept while records are written or walked.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogTable {
    entries: Vec<crate::format::LogCounts>,
    places: std::collections::HashMap<LogNumber, usize>,
    latest: usize,
}

impl LogTable {
    /// One more record.
    #[inline]
    pub fn count(&mut self, log: LogNumber, sequence: Sequence) {
        if self.entries.get(self.latest).is_none_or(|entry| entry.log != log) {
            self.latest = *self.places.entry(log).or_insert_with(|| {
                self.entries.push(crate::format::LogCounts { log, count: 0, first: sequence, last: sequence });
                self.entries.len() - 1
            });
        }
        let entry = &mut self.entries[self.latest];
        entry.count += 1;
        entry.last = sequence;
    }

    /// The logs seen.
    pub fn entries(&self) -> &[crate::format::LogCounts] {
        &self.entries
    }
}
