//! Reading: one record, a range, and what comes next. Owns the way from a sequence to checked bytes; shares the catalog
//! with the writer and holds none of its locks while a file is read.
//!
//! Each read verifies: a record's header against its place and sequence, its payload against the header. Memory is
//! bounded by the read buffer (one per scan) and the block cache (one per journal).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use bytes::{Bytes, BytesMut};

use crate::Sequence;
use crate::catalog::{BlockCache, Cached, Catalog, Segment, lock};
use crate::compress::decompress;
use crate::disk::{Disk, DiskFile, read_full_at};
use crate::error::Error;
use crate::format::{
    BLOCK_HEADER_BYTES, BlockHeader, Footer, INDEX_ENTRIES_PER_BLOCK, PAGE_BYTES, RECORD_HEADER_BYTES, RecordHeader,
    decode_index_block, payload_checksum,
};
use crate::record::{Record, RecordRef};
use crate::report::{Damage, DamageKind};

/// The lower bound of one read of a single record: small records come with their header in one call.
const RECORD_READ_MIN: usize = 256;
/// The upper bound of the first read; a longer record is read on exactly.
const RECORD_READ_MAX: usize = 64 * 1024;

/// Files of sealed segments that stay open between two reads.
const OPEN_FILES_MAX: usize = 32;

/// What reading needs, shared by all readers of a journal.
#[derive(Debug)]
pub(crate) struct ReadCore {
    pub disk: Arc<dyn Disk>,
    pub catalog: Arc<Catalog>,
    pub cache: BlockCache,
    pub buffer_bytes: usize,
    /// Damage known from opening: what is missing because of it is told as damage, not as a declared gap.
    pub damage: Vec<Damage>,
    /// Another process may be the writer, and release segments or use their files again under this reader.
    pub beside: bool,
    /// Sealed segments whose files are open, oldest first.
    pub opened: Mutex<VecDeque<Weak<Segment>>>,
}

impl ReadCore {
    /// The open file of a segment; of the sealed ones only the latest few stay open.
    pub fn file(&self, segment: &Arc<Segment>) -> Result<Arc<dyn DiskFile>, Error> {
        let (file, fresh) = segment.file(&*self.disk)?;
        if fresh {
            let mut opened = lock(&self.opened);
            opened.push_back(Arc::downgrade(segment));
            while opened.len() > OPEN_FILES_MAX {
                if let Some(old) = opened.pop_front().and_then(|old| old.upgrade()) {
                    old.let_go();
                }
            }
        }
        Ok(file)
    }

    /// One record.
    pub fn read(&self, sequence: Sequence, next: Sequence) -> Result<Record, Error> {
        let first = self.catalog.first();
        if sequence < first {
            return Err(self.below_first(sequence, first));
        }
        if let Some(record) = self.catalog.recall(sequence) {
            return Ok(record);
        }
        if sequence >= next {
            return Err(Error::NotYet { sequence, next });
        }
        match self.catalog.find(sequence) {
            Ok(segment) => {
                self.read_stored(&segment, sequence).map_err(|error| self.or_released(&segment, sequence, error))
            }
            // The catalog moved on between two looks: released, or not there yet.
            Err(_) if sequence < self.catalog.first() => Err(self.below_first(sequence, self.catalog.first())),
            Err(Some(later)) => Err(self.lost(sequence, &later)),
            Err(None) => Err(Error::NotYet { sequence, next }),
        }
    }

    /// Why a sequence before the first segment is in none: it was released, it is known to be lost, or opening could not
    /// get at it.
    fn below_first(&self, sequence: Sequence, first: Sequence) -> Error {
        if let Some(header) = self.catalog.all().first().map(|segment| segment.header)
            && header.gap_first != 0
            && (header.gap_first..header.first_sequence).contains(&sequence)
        {
            return Error::InGap { sequence, resume: header.first_sequence };
        }
        let touches = |damage: &&Damage| {
            damage.what.refuses_writing()
                && damage.first.is_some_and(|from| from <= sequence)
                && damage.last.is_some_and(|last| sequence <= last && last < first)
        };
        match self.damage.iter().find(touches) {
            Some(damage) => told(Damage { first: Some(sequence), ..damage.clone() }),
            None => Error::Released { sequence, first },
        }
    }

    /// Why a sequence before a segment is in none: a gap that the segment declares, or damage before it.
    fn lost(&self, sequence: Sequence, later: &Segment) -> Error {
        let resume = later.header.first_sequence;
        let declared = later.header.gap_first != 0 && sequence >= later.header.gap_first;
        // Where the walk over a segment ended at the bad place, that place stands before all that lies behind it too.
        let segments = self.catalog.all();
        let ended = |number: u64| {
            let segment = segments.iter().find(|segment| segment.header.number == number);
            segment.is_some_and(|segment| segment.footer().is_none())
        };
        let touches = |damage: &&Damage| {
            damage.what.refuses_writing()
                && damage.segment != 0
                && damage.first.is_none_or(|first| first <= sequence)
                && (damage.last.is_none_or(|last| sequence <= last) || ended(damage.segment))
                && damage.segment < later.header.number
        };
        match self.damage.iter().find(touches) {
            Some(damage) if !declared => {
                let (first, last) = (Some(sequence), resume.checked_sub(1));
                told(Damage { first, last, ..damage.clone() })
            }
            _ => Error::InGap { sequence, resume },
        }
    }

    /// The error, unless the segment's file went away, or is used again, since the catalog was made.
    fn or_released(&self, segment: &Segment, sequence: Sequence, error: Error) -> Error {
        if !self.beside || crate::view::is_in_place(&*self.disk, segment) {
            return error;
        }
        let segments = self.catalog.all();
        let later = segments.iter().find(|later| later.header.number > segment.header.number);
        match later {
            Some(later) => {
                let first = later.header.first_sequence;
                self.catalog.retire(first);
                Error::Released { sequence, first }
            }
            None => Error::Released { sequence, first: segment.next() },
        }
    }

    /// A record from its file.
    fn read_stored(&self, segment: &Arc<Segment>, sequence: Sequence) -> Result<Record, Error> {
        let index = sequence - segment.header.first_sequence;
        let (place, guess) = match segment.index() {
            Some(active) => {
                let Some(place) = active.get(index) else {
                    return Err(Error::NotYet { sequence, next: segment.next() });
                };
                (place, active.get(index + 1))
            }
            None => {
                let entries = self.index_block(segment, index)?;
                let at = index as usize % INDEX_ENTRIES_PER_BLOCK;
                (entries[at], entries.get(at + 1).copied().filter(|&next| next > 0))
            }
        };
        if let Some(Cached::Block(block)) = self.cache.get(segment.header.number, place)
            && let Some(record) = record_in_block(&block, segment, sequence)
        {
            return Ok(record);
        }
        let wide = guess.filter(|&next| next > place).map_or(RECORD_READ_MIN, |next| (next - place) as usize);
        let file = self.file(segment)?;
        let wide = wide.clamp(RECORD_READ_MIN.min(RECORD_HEADER_BYTES + 4), RECORD_READ_MAX);
        let bytes = match self.fetch(segment, &*file, place, wide) {
            Ok(bytes) => bytes,
            // A wide read may have met a bad sector behind the record: this one may still be readable.
            Err(_) => self.fetch(segment, &*file, place, RECORD_HEADER_BYTES.max(BLOCK_HEADER_BYTES))?,
        };
        if let Some(header) = RecordHeader::decode(&bytes, &segment.binding, place, sequence) {
            let bytes = self.fetch_whole(segment, &*file, place, bytes, header.total_bytes())?;
            let payload = bytes.slice(RECORD_HEADER_BYTES..header.total_bytes());
            return check(segment, sequence, place, &header, payload);
        }
        let block = self.block_at(segment, &*file, place, bytes)?;
        let Some(block) = block else { return Err(damaged(segment, sequence, place)) };
        if let Some(record) = record_in_block(&block, segment, sequence) {
            self.cache.insert(segment.header.number, place, Cached::Block(block));
            return Ok(record);
        }
        self.read_spanning(segment, &*file, sequence, place, &block)
    }

    fn fetch(&self, segment: &Segment, file: &dyn DiskFile, place: u32, length: usize) -> Result<Bytes, Error> {
        self.fetch_into(BytesMut::new(), segment, file, place, length)
    }

    /// As [`ReadCore::fetch`], into memory that was used before.
    fn fetch_into(
        &self,
        mut buffer: BytesMut,
        segment: &Segment,
        file: &dyn DiskFile,
        place: u32,
        length: usize,
    ) -> Result<Bytes, Error> {
        if buffer.capacity() < length {
            buffer = BytesMut::zeroed(length);
        }
        buffer.resize(length, 0);
        let read =
            read_full_at(file, &mut buffer, u64::from(place)).map_err(|error| read_failed(segment, place, error))?;
        buffer.truncate(read);
        Ok(buffer.freeze())
    }

    /// `bytes` if they are enough, else as many as needed: `total` stands in a checked header, and the file's end
    /// bounds it all the same.
    fn fetch_whole(
        &self,
        segment: &Segment,
        file: &dyn DiskFile,
        place: u32,
        bytes: Bytes,
        total: usize,
    ) -> Result<Bytes, Error> {
        if bytes.len() >= total {
            return Ok(bytes);
        }
        if u64::from(place) + total as u64 > u64::from(segment.header.segment_bytes) {
            return Err(read_failed(segment, place, std::io::ErrorKind::UnexpectedEof.into()));
        }
        let bytes = self.fetch(segment, file, place, total)?;
        if bytes.len() < total {
            return Err(read_failed(segment, place, std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    /// A decompressed block with the place of its first record. `None`: damaged.
    fn block_at(
        &self,
        segment: &Segment,
        file: &dyn DiskFile,
        place: u32,
        bytes: Bytes,
    ) -> Result<Option<Arc<(u32, Bytes)>>, Error> {
        let Some(header) = BlockHeader::decode(&bytes, &segment.binding, place) else { return Ok(None) };
        let total = BLOCK_HEADER_BYTES + header.stored_bytes as usize;
        let bytes = self.fetch_whole(segment, file, place, bytes, total)?;
        let stored = &bytes[BLOCK_HEADER_BYTES..total];
        let mut body = Vec::new();
        let good = payload_checksum(stored) == header.stored_crc
            && decompress(header.codec, stored, header.body_bytes as usize, &mut body);
        Ok(good.then(|| Arc::new((header.first_index, Bytes::from(body)))))
    }

    /// A record larger than a block: its first block, and those that continue it.
    fn read_spanning(
        &self,
        segment: &Segment,
        file: &dyn DiskFile,
        sequence: Sequence,
        place: u32,
        first: &Arc<(u32, Bytes)>,
    ) -> Result<Record, Error> {
        let begins = sequence == segment.header.first_sequence + u64::from(first.0);
        let header = RecordHeader::decode(&first.1, &segment.binding, place, sequence).filter(|_| begins);
        let Some(header) = header else { return Err(damaged(segment, sequence, place)) };
        let bound = segment.header.segment_bytes as usize;
        let mut whole = Vec::with_capacity(header.total_bytes().min(bound));
        whole.extend_from_slice(&first.1);
        let mut next = place + stored_total(&self.fetch(segment, file, place, BLOCK_HEADER_BYTES)?, segment, place);
        while whole.len() < header.total_bytes() {
            let head = self.fetch(segment, file, next, BLOCK_HEADER_BYTES)?;
            let Some(block) = self.block_at(segment, file, next, head.clone())? else {
                return Err(damaged(segment, sequence, next));
            };
            whole.extend_from_slice(&block.1);
            next += stored_total(&head, segment, next);
        }
        whole.truncate(header.total_bytes());
        check(segment, sequence, place, &header, Bytes::from(whole).slice(RECORD_HEADER_BYTES..))
    }

    /// The page of a footer's index that holds an entry.
    fn index_block(&self, segment: &Arc<Segment>, index: u64) -> Result<Arc<Vec<u32>>, Error> {
        let Some(footer) = segment.footer() else {
            return Err(Error::NotYet { sequence: segment.header.first_sequence + index, next: segment.next() });
        };
        let block = (index / INDEX_ENTRIES_PER_BLOCK as u64) as u32;
        let offset = footer.index_offset + block * PAGE_BYTES as u32;
        if let Some(Cached::Index(entries)) = self.cache.get(segment.header.number, offset) {
            return Ok(entries);
        }
        let file = self.file(segment)?;
        let entries = Arc::new(read_index_block(segment, &*file, footer, block)?);
        self.cache.insert(segment.header.number, offset, Cached::Index(entries.clone()));
        Ok(entries)
    }
}

/// Reads one page of a footer's index.
pub(crate) fn read_index_block(
    segment: &Segment,
    file: &dyn DiskFile,
    footer: &Footer,
    block: u32,
) -> Result<Vec<u32>, Error> {
    let offset = footer.index_offset + block * PAGE_BYTES as u32;
    let mut page = [0u8; PAGE_BYTES];
    read_full_at(file, &mut page, u64::from(offset)).map_err(|error| read_failed(segment, offset, error))?;
    decode_index_block(&page, block, &segment.binding).ok_or_else(|| {
        let first = footer.first_sequence + u64::from(block) * INDEX_ENTRIES_PER_BLOCK as u64;
        let mut damage = damage(segment, offset, DamageKind::Footer);
        damage.bytes = PAGE_BYTES as u64;
        damage.first = Some(first);
        damage.last = Some((first + INDEX_ENTRIES_PER_BLOCK as u64 - 1).min(footer.last_sequence()));
        Error::DamagedRecord(Box::new(damage))
    })
}

fn stored_total(head: &[u8], segment: &Segment, place: u32) -> u32 {
    let stored = BlockHeader::decode(head, &segment.binding, place).map_or(0, |header| header.stored_bytes);
    BLOCK_HEADER_BYTES as u32 + stored
}

/// A record within a place that opening told of.
fn told(damage: Damage) -> Error {
    let unreadable = damage.what.is_unreadable();
    let damage = Box::new(damage);
    if unreadable { Error::UnreadableRecord(damage) } else { Error::DamagedRecord(damage) }
}

fn damage(segment: &Segment, offset: u32, what: DamageKind) -> Damage {
    Damage {
        segment: segment.header.number,
        file: segment.name.clone(),
        offset: u64::from(offset),
        bytes: 0,
        first: None,
        last: None,
        what,
    }
}

fn damaged(segment: &Segment, sequence: Sequence, place: u32) -> Error {
    let mut damage = damage(segment, place, DamageKind::Commit);
    damage.first = Some(sequence);
    damage.last = Some(sequence);
    Error::DamagedRecord(Box::new(damage))
}

fn read_failed(segment: &Segment, place: u32, error: std::io::Error) -> Error {
    Error::read(&segment.path, place.into(), error)
}

fn check(
    segment: &Segment,
    sequence: Sequence,
    place: u32,
    header: &RecordHeader,
    payload: Bytes,
) -> Result<Record, Error> {
    if payload_checksum(&payload) == header.payload_crc {
        Ok(Record::new(sequence, header, payload))
    } else {
        Err(damaged(segment, sequence, place))
    }
}

/// A record that lies whole in a decompressed block.
fn record_in_block(block: &Arc<(u32, Bytes)>, segment: &Segment, sequence: Sequence) -> Option<Record> {
    let mut current = segment.header.first_sequence + u64::from(block.0);
    let body = &block.1;
    let mut at = 0;
    while current <= sequence {
        let header = RecordHeader::decode_trusted(body.get(at..)?)?;
        let end = at + header.total_bytes();
        if end > body.len() {
            return None;
        }
        if current == sequence {
            let payload = body.slice(at + RECORD_HEADER_BYTES..end);
            return (payload_checksum(&payload) == header.payload_crc).then(|| Record::new(sequence, &header, payload));
        }
        current += 1;
        at = end;
    }
    None
}

/// Reads a range in order, a buffer at a time.
pub(crate) struct Cursor {
    core: Arc<ReadCore>,
    next: Sequence,
    segment: Option<Open>,
    /// The record that was lent last, if it lies outside of the buffer.
    lent: Option<Record>,
}

/// Where a cursor stands in a segment.
struct Open {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    entries: Entries,
    chunk: Bytes,
    chunk_offset: u32,
    block: Option<(u32, Arc<(u32, Bytes)>)>,
    block_at: (Sequence, usize),
}

/// A run of index entries.
struct Entries {
    first: u64,
    places: Vec<u32>,
}

impl Cursor {
    pub fn new(core: Arc<ReadCore>, next: Sequence) -> Cursor {
        Cursor { core, next, segment: None, lent: None }
    }

    /// The sequence that comes next.
    pub fn position(&self) -> Sequence {
        self.next
    }

    /// The next record below `end`, or `None` there. After an error the cursor stands behind the bad record, so that a
    /// caller may go on.
    pub fn next(&mut self, end: Sequence) -> Option<Result<Record, Error>> {
        if self.next >= end {
            return None;
        }
        let result = self.read();
        match &result {
            Ok(record) => self.next = record.sequence + 1,
            Err(Error::Released { first, .. }) => self.next = *first,
            Err(Error::InGap { resume, .. }) => self.next = *resume,
            // One error for all that one bad place takes.
            Err(Error::DamagedRecord(damage) | Error::UnreadableRecord(damage)) => {
                self.next = damage.last.unwrap_or(0).max(self.next) + 1
            }
            Err(_) => self.next += 1,
        }
        Some(result)
    }

    /// As [`Cursor::next`]; the record lives until the cursor moves.
    pub fn next_borrowed(&mut self, end: Sequence) -> Option<Result<RecordRef<'_>, Error>> {
        if self.next >= end {
            return None;
        }
        let sequence = self.next;
        let found = match &mut self.segment {
            Some(open) if sequence < open.segment.next() => open.plain(&self.core, sequence).ok().flatten(),
            _ => None,
        };
        let Some((header, at)) = found else {
            // Everything else goes the general way: segments, blocks, the tail, errors.
            return match self.next(end)? {
                Ok(record) => Some(Ok(self.lent.insert(record).borrow())),
                Err(error) => Some(Err(error)),
            };
        };
        self.next += 1;
        let chunk = &self.segment.as_ref().expect("read above").chunk;
        Some(Ok(RecordRef::new(sequence, &header, at + RECORD_HEADER_BYTES..at + header.total_bytes(), chunk)))
    }

    fn read(&mut self) -> Result<Record, Error> {
        if self.segment.as_ref().is_none_or(|open| self.next >= open.segment.next()) {
            self.segment = None;
            // The tail is read from memory; the file is opened only for what has left it.
            if let Some(record) = self.core.catalog.recall(self.next) {
                return Ok(record);
            }
            let segment = match self.core.catalog.find(self.next) {
                Ok(segment) => segment,
                Err(_) if self.next < self.core.catalog.first() => {
                    return Err(self.core.below_first(self.next, self.core.catalog.first()));
                }
                Err(Some(later)) => return Err(self.core.lost(self.next, &later)),
                Err(None) => return Err(Error::NotYet { sequence: self.next, next: self.next }),
            };
            let file = self.core.file(&segment).map_err(|error| self.core.or_released(&segment, self.next, error))?;
            self.segment = Some(Open {
                segment,
                file,
                entries: Entries { first: 0, places: Vec::new() },
                chunk: Bytes::new(),
                chunk_offset: 0,
                block: None,
                block_at: (0, 0),
            });
        }
        let open = self.segment.as_mut().expect("set above");
        match open.read(&self.core, self.next) {
            Err(error) => Err(self.core.or_released(&open.segment, self.next, error)),
            good => good,
        }
    }
}

impl Open {
    fn read(&mut self, core: &ReadCore, sequence: Sequence) -> Result<Record, Error> {
        let place = self.place(sequence - self.segment.header.first_sequence)?;
        if let Some((at, block)) = &self.block
            && *at == place
        {
            let block = block.clone();
            if let Some(record) = self.record_in_block(&block, sequence) {
                return Ok(record);
            }
        }
        if let Some((header, at)) = self.plain(core, sequence)? {
            let payload = self.chunk.slice(at + RECORD_HEADER_BYTES..at + header.total_bytes());
            return Ok(Record::new(sequence, &header, payload));
        }
        let head = self.bytes(core, place, BLOCK_HEADER_BYTES)?;
        let Some(header) = BlockHeader::decode(&head, &self.segment.binding, place) else {
            return Err(damaged(&self.segment, sequence, place));
        };
        let bytes = self.bytes(core, place, BLOCK_HEADER_BYTES + header.stored_bytes as usize)?;
        let Some(block) = core.block_at(&self.segment, &*self.file, place, bytes)? else {
            return Err(damaged(&self.segment, sequence, place));
        };
        self.block = Some((place, block.clone()));
        self.block_at = (self.segment.header.first_sequence + u64::from(block.0), 0);
        match self.record_in_block(&block, sequence) {
            Some(record) => Ok(record),
            None => core.read_spanning(&self.segment, &*self.file, sequence, place, &block),
        }
    }

    /// A record that is stored as it is: its header, checked like its payload, and its place in the buffer. `None`: what
    /// stands there is no such record.
    fn plain(&mut self, core: &ReadCore, sequence: Sequence) -> Result<Option<(RecordHeader, usize)>, Error> {
        let place = self.place(sequence - self.segment.header.first_sequence)?;
        let at = self.reach(core, place, RECORD_HEADER_BYTES)?;
        let header = RecordHeader::decode(&self.chunk[at..], &self.segment.binding, place, sequence);
        let Some(header) = header else { return Ok(None) };
        let at = self.reach(core, place, header.total_bytes())?;
        let payload = &self.chunk[at + RECORD_HEADER_BYTES..at + header.total_bytes()];
        if payload_checksum(payload) != header.payload_crc {
            return Err(damaged(&self.segment, sequence, place));
        }
        Ok(Some((header, at)))
    }

    /// A record of the block that the cursor stands in: walks on from the last one.
    fn record_in_block(&mut self, block: &Arc<(u32, Bytes)>, sequence: Sequence) -> Option<Record> {
        let (mut current, mut at) = self.block_at;
        if current > sequence {
            (current, at) = (self.segment.header.first_sequence + u64::from(block.0), 0);
        }
        loop {
            let header = RecordHeader::decode_trusted(block.1.get(at..)?)?;
            let end = at + header.total_bytes();
            if end > block.1.len() {
                return None;
            }
            if current == sequence {
                self.block_at = (current, at);
                let payload = block.1.slice(at + RECORD_HEADER_BYTES..end);
                let good = payload_checksum(&payload) == header.payload_crc;
                return good.then(|| Record::new(sequence, &header, payload));
            }
            current += 1;
            at = end;
        }
    }

    fn place(&mut self, index: u64) -> Result<u32, Error> {
        let known = index.checked_sub(self.entries.first).and_then(|at| self.entries.places.get(at as usize));
        if let Some(&place) = known {
            return Ok(place);
        }
        let block = (index / INDEX_ENTRIES_PER_BLOCK as u64) as u32;
        let first = u64::from(block) * INDEX_ENTRIES_PER_BLOCK as u64;
        let places = match (self.segment.index(), self.segment.footer()) {
            (Some(active), _) => {
                let end = (first + INDEX_ENTRIES_PER_BLOCK as u64).min(active.len() as u64);
                (first..end).map_while(|index| active.get(index)).collect()
            }
            (None, Some(footer)) => read_index_block(&self.segment, &*self.file, footer, block)?,
            (None, None) => Vec::new(),
        };
        self.entries = Entries { first, places };
        let at = (index - first) as usize;
        let sequence = self.segment.header.first_sequence + index;
        self.entries.places.get(at).copied().ok_or(Error::NotYet { sequence, next: sequence })
    }

    /// Bytes of the segment through the cursor's buffer.
    fn bytes(&mut self, core: &ReadCore, offset: u32, length: usize) -> Result<Bytes, Error> {
        let at = self.reach(core, offset, length)?;
        Ok(self.chunk.slice(at..at + length))
    }

    /// Sees that the buffer holds so many bytes from this offset on; returns where they are in it.
    fn reach(&mut self, core: &ReadCore, offset: u32, length: usize) -> Result<usize, Error> {
        let inside = offset >= self.chunk_offset
            && u64::from(offset) + length as u64 <= u64::from(self.chunk_offset) + self.chunk.len() as u64;
        if !inside {
            let end = self.segment.end();
            let rest = end.saturating_sub(offset) as usize;
            if length > rest {
                return Err(read_failed(&self.segment, offset, std::io::ErrorKind::UnexpectedEof.into()));
            }
            // Memory that no payload holds any more is read into again: fresh memory costs a page fault for each 4 KiB.
            let used = std::mem::take(&mut self.chunk).try_into_mut().unwrap_or_default();
            let wide = core.buffer_bytes.max(length).min(rest);
            self.chunk = match core.fetch_into(used, &self.segment, &*self.file, offset, wide) {
                Ok(chunk) => chunk,
                // A wide read may have met a bad sector behind the record: this one may still be readable.
                Err(_) => core.fetch(&self.segment, &*self.file, offset, length)?,
            };
            self.chunk_offset = offset;
            if self.chunk.len() < length {
                return Err(read_failed(&self.segment, offset, std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok((offset - self.chunk_offset) as usize)
    }
}
