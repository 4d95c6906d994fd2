//! Single records out of a commit that does not verify as a whole. Owns the search among damaged bytes: each record, and
//! each compressed block, carries checks of its own, bound to its place, so what passes them is what was written.
//!
//! A batch comes out whole or not at all. Where the end of a batch is lost, so is all that may belong to it: the records
//! up to the next one that ends a batch.

use crate::Sequence;
use crate::compress::supported;
use crate::format::{
    BLOCK_HEADER_BYTES, Binding, BlockHeader, COMMIT_ALIGNMENT, COMMIT_HEADER_BYTES, CommitHeader, PAGE_BYTES,
    RECORD_HEADER_BYTES, RecordHeader, SegmentHeader, payload_checksum,
};
use crate::inspect::Break;
use crate::scan::{Window, read_block};

/// Sequences tried at one place: more records than this are never looked for behind a bad one.
const CANDIDATES_MAX: u64 = 4096;

/// Takes a rescued record.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Sequence, &RecordHeader, &[u8]);

/// Hands out the records of all whole batches in a bad place.
pub(crate) fn rescue(window: &mut Window<'_>, header: &SegmentHeader, at: &Break, take: Take<'_>) {
    let end = at.end.unwrap_or(u64::MAX);
    let mut rescue = Rescue {
        binding: header.binding(),
        segment_first: header.first_sequence,
        until: at.until,
        next: at.first,
        end,
        last_good_end: at.offset,
        batch: Vec::new(),
        skipping: false,
        spanning: None,
        take,
    };
    let mut position = at.offset;
    while position < at.until && rescue.next < end {
        position = match rescue.step(window, position) {
            Ok(next) => next,
            // Unreadable: what lies behind the page may not be.
            Err(_) => (position / PAGE_BYTES as u32).saturating_add(1).saturating_mul(PAGE_BYTES as u32),
        };
    }
}

struct Rescue<'a> {
    binding: Binding,
    segment_first: Sequence,
    until: u32,
    next: Sequence,
    end: Sequence,
    last_good_end: u32,
    batch: Vec<(Sequence, RecordHeader, Vec<u8>)>,
    /// What comes may belong to a batch of which a part is lost.
    skipping: bool,
    /// A record larger than a block, as far as it was read.
    spanning: Option<(Sequence, RecordHeader, Vec<u8>)>,
    take: Take<'a>,
}

impl Rescue<'_> {
    /// Looks at one place. Returns the next one.
    fn step(&mut self, window: &mut Window<'_>, position: u32) -> std::io::Result<u32> {
        let left = (self.until - position) as usize;
        if left < RECORD_HEADER_BYTES {
            return Ok(self.until);
        }
        let mut head = [0u8; COMMIT_HEADER_BYTES];
        let length = left.min(COMMIT_HEADER_BYTES);
        head[..length].copy_from_slice(window.slice(u64::from(position), length)?);
        if head[..8] == [0; 8] {
            return Ok(position + 1);
        }
        if (position as usize).is_multiple_of(COMMIT_ALIGNMENT)
            && let Some(commit) = CommitHeader::decode(&head, &self.binding, position)
        {
            if (self.next..self.end).contains(&commit.first_sequence) {
                // Commits hold whole batches.
                (self.next, self.skipping) = (commit.first_sequence, false);
                self.batch.clear();
            }
            self.last_good_end = position + COMMIT_HEADER_BYTES as u32;
            return Ok(self.last_good_end);
        }
        if let Some((sequence, header)) = self.record_at(&head, position) {
            let total = header.total_bytes();
            let payload = window.slice(u64::from(position), total)?[RECORD_HEADER_BYTES..].to_vec();
            let good = payload_checksum(&payload) == header.payload_crc;
            self.found(sequence, header, good.then_some(payload));
            self.last_good_end = position + total as u32;
            return Ok(self.last_good_end);
        }
        let block = BlockHeader::decode(&head[..BLOCK_HEADER_BYTES], &self.binding, position)
            .filter(|block| supported(block.codec) && BLOCK_HEADER_BYTES + block.stored_bytes as usize <= left);
        if let Some(block) = block {
            let mut body = Vec::new();
            let good = read_block(window, &self.binding, position, &mut body)?.is_some();
            self.block(&block, good.then_some(&body));
            self.last_good_end = position + BLOCK_HEADER_BYTES as u32 + block.stored_bytes;
            return Ok(self.last_good_end);
        }
        Ok(position + 1)
    }

    /// The header of one of the records to come, if one begins here.
    fn record_at(&self, head: &[u8], position: u32) -> Option<(Sequence, RecordHeader)> {
        let header = RecordHeader::decode_trusted(head)?;
        let fits = header.total_bytes() as u64 <= u64::from(self.until - position);
        // Cheap before dear: few places pass this.
        if !fits || head[17] > 1 || head[18] != 0 || head[19] != 0 {
            return None;
        }
        let between = u64::from(position - self.last_good_end) / RECORD_HEADER_BYTES as u64;
        let last = self.end.min(self.next + between.min(CANDIDATES_MAX) + 1);
        (self.next..last)
            .find_map(|sequence| Some((sequence, RecordHeader::decode(head, &self.binding, position, sequence)?)))
    }

    /// A compressed block; `None`: its body is bad.
    fn block(&mut self, block: &BlockHeader, body: Option<&Vec<u8>>) {
        let first = self.segment_first + u64::from(block.first_index);
        if block.records == 0 {
            let Some((sequence, header, mut gathered)) = self.spanning.take() else { return };
            match body {
                Some(body) => gathered.extend_from_slice(body),
                None => return self.found(sequence, header, None),
            }
            if gathered.len() < header.total_bytes() {
                self.spanning = Some((sequence, header, gathered));
            } else {
                gathered.drain(..RECORD_HEADER_BYTES);
                self.found(sequence, header, Some(gathered));
            }
            return;
        }
        self.spanning = None;
        let Some(body) = body.filter(|_| (self.next..self.end).contains(&first)) else { return };
        let mut at = 0;
        for sequence in first..first + u64::from(block.records) {
            let Some(header) = body.get(at..).and_then(RecordHeader::decode_trusted) else { return };
            let end = at + header.total_bytes();
            match body.get(at + RECORD_HEADER_BYTES..end) {
                Some(payload) => self.found(sequence, header, Some(payload.to_vec())),
                None => {
                    self.spanning = Some((sequence, header, body[at..].to_vec()));
                    return;
                }
            }
            at = end;
        }
    }

    /// A record with a good header; `None`: its payload is bad.
    fn found(&mut self, sequence: Sequence, header: RecordHeader, payload: Option<Vec<u8>>) {
        if sequence != self.next {
            // Nothing tells whether the batch of a missing record went on.
            self.batch.clear();
            self.skipping = true;
        }
        self.next = sequence + 1;
        match payload {
            None => {
                self.batch.clear();
                self.skipping = header.more;
            }
            Some(_) if self.skipping => self.skipping = header.more,
            Some(payload) => {
                self.batch.push((sequence, header, payload));
                if !header.more {
                    for (sequence, header, payload) in self.batch.drain(..) {
                        (self.take)(sequence, &header, &payload);
                    }
                }
            }
        }
    }
}
