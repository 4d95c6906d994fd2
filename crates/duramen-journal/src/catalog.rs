//! What readers know of the segments: which there are, where their records lie, and the latest commits in memory.
//! Owned jointly by the writer, which adds and retires, and by readers, which look up; each holds its locks for
//! nanoseconds and never while it reads a file.
//!
//! Locks: `segments`, `tail`, and one per open segment's index. None is taken while another is held.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};

use bytes::Bytes;

use crate::Sequence;
use crate::disk::{Access, Disk, DiskFile};
use crate::error::Error;
use crate::format::{Binding, Footer, RECORD_HEADER_BYTES, RecordHeader, SegmentHeader, payload_checksum};
use crate::record::Record;

/// Entries in one piece of an active index: pieces never move, so growing one copies nothing.
const PIECE: usize = 1 << 14;

/// Locks as [`crate::sync::lock`] does, but always the standard library's mutex: a lookup is one step for whoever explores
/// interleavings, so that its locks, held for nanoseconds, are none of theirs.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Places of the records of a segment without footer: 4 bytes each.
#[derive(Debug, Default)]
pub(crate) struct ActiveIndex {
    pieces: RwLock<Vec<Vec<u32>>>,
}

impl ActiveIndex {
    /// Adds the places of one commit's records.
    pub fn extend(&self, places: impl Iterator<Item = u32>) {
        let mut pieces = self.pieces.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        for place in places {
            match pieces.last_mut() {
                Some(piece) if piece.len() < PIECE => piece.push(place),
                _ => {
                    let mut piece = Vec::with_capacity(if pieces.is_empty() { 64 } else { PIECE });
                    piece.push(place);
                    pieces.push(piece);
                }
            }
        }
    }

    /// The place of a record, counted from the segment's first.
    pub fn get(&self, index: u64) -> Option<u32> {
        let pieces = self.pieces.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        pieces.get(index as usize / PIECE)?.get(index as usize % PIECE).copied()
    }

    /// Entries.
    pub fn len(&self) -> usize {
        let pieces = self.pieces.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        pieces.len().saturating_sub(1) * PIECE + pieces.last().map_or(0, Vec::len)
    }

    /// All entries, for the footer.
    pub fn copy(&self) -> Vec<u32> {
        self.pieces.read().unwrap_or_else(|poisoned| poisoned.into_inner()).concat()
    }
}

/// One segment as readers see it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub header: SegmentHeader,
    pub binding: Binding,
    pub path: PathBuf,
    pub name: String,
    /// The open file, while it is held: see [`Segment::let_go`].
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    footer: OnceLock<Footer>,
    /// Present until a footer is.
    index: RwLock<Option<Arc<ActiveIndex>>>,
    /// Bounds of what is readable in a segment without footer: next sequence, end offset.
    extent: Mutex<(Sequence, u32)>,
}

impl Segment {
    pub fn sealed(header: SegmentHeader, path: PathBuf, footer: Footer) -> Segment {
        let segment = Segment::open_ended(header, path, None, Arc::new(ActiveIndex::default()));
        segment.seal(footer);
        segment
    }

    pub fn open_ended(
        header: SegmentHeader,
        path: PathBuf,
        file: Option<Arc<dyn DiskFile>>,
        index: Arc<ActiveIndex>,
    ) -> Segment {
        Segment {
            binding: header.binding(),
            name: crate::files::segment_name(header.number),
            header,
            path,
            file: Mutex::new(file),
            footer: OnceLock::new(),
            index: RwLock::new(Some(index)),
            extent: Mutex::new((header.first_sequence, crate::format::DATA_OFFSET)),
        }
    }

    /// The open file; opened for reading when nobody holds it. `true`: it was opened for this call.
    pub fn file(&self, disk: &dyn Disk) -> Result<(Arc<dyn DiskFile>, bool), Error> {
        if let Some(file) = &*lock(&self.file) {
            return Ok((file.clone(), false));
        }
        let opened = disk.open(&self.path, Access::Read).map_err(|error| Error::io("open", &self.path, error))?;
        let file: Arc<dyn DiskFile> = Arc::from(opened);
        *lock(&self.file) = Some(file.clone());
        Ok((file, true))
    }

    /// Closes a sealed segment's file once its present users are done: a journal may have more segments than a process
    /// may have files.
    pub fn let_go(&self) {
        if self.footer.get().is_some() {
            *lock(&self.file) = None;
        }
    }

    pub fn footer(&self) -> Option<&Footer> {
        self.footer.get()
    }

    /// The footer is durable: the index in memory can go.
    pub fn seal(&self, footer: Footer) {
        let _ = self.footer.set(footer);
        self.let_go();
        *self.index.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }

    pub fn index(&self) -> Option<Arc<ActiveIndex>> {
        self.index.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub fn set_extent(&self, next: Sequence, end: u32) {
        *lock(&self.extent) = (next, end);
    }

    /// The sequence behind the last readable record.
    pub fn next(&self) -> Sequence {
        self.footer.get().map_or_else(|| lock(&self.extent).0, |footer| footer.first_sequence + footer.count)
    }

    /// Where the commits end.
    pub fn end(&self) -> u32 {
        self.footer.get().map_or_else(|| lock(&self.extent).1, |footer| footer.data_end)
    }
}

/// One of the latest commits, in memory.
#[derive(Debug)]
struct TailCommit {
    first: Sequence,
    body: Bytes,
    places: Box<[u32]>,
}

#[derive(Debug, Default)]
struct Tail {
    commits: VecDeque<TailCommit>,
    bytes: usize,
}

/// The segments in order, and the tail.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    segments: RwLock<Vec<Arc<Segment>>>,
    tail: RwLock<Tail>,
    tail_bytes_max: usize,
}

impl Catalog {
    pub fn new(segments: Vec<Arc<Segment>>, tail_bytes_max: usize) -> Catalog {
        Catalog { segments: RwLock::new(segments), tail: RwLock::new(Tail::default()), tail_bytes_max }
    }

    pub fn push(&self, segment: Arc<Segment>) {
        self.segments.write().unwrap_or_else(|poisoned| poisoned.into_inner()).push(segment);
    }

    /// All segments, oldest first.
    pub fn all(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Takes out the segments that hold nothing at or above `below`; the last always stays.
    pub fn retire(&self, below: Sequence) -> Vec<Arc<Segment>> {
        let mut segments = self.segments.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let keep_from = segments.windows(2).take_while(|pair| pair[1].header.first_sequence <= below).count();
        segments.drain(..keep_from).collect()
    }

    /// The first stored sequence.
    pub fn first(&self) -> Sequence {
        let segments = self.segments.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        segments.first().map_or(1, |segment| segment.header.first_sequence)
    }

    /// The segment that holds a sequence, or the first behind it.
    pub fn find(&self, sequence: Sequence) -> Result<Arc<Segment>, Option<Arc<Segment>>> {
        let segments = self.segments.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let behind = segments.partition_point(|segment| segment.header.first_sequence <= sequence);
        // A segment without records shares its first sequence with its successor; the later one holds the record.
        match behind.checked_sub(1).map(|place| &segments[place]) {
            Some(segment) if sequence < segment.next() => Ok(segment.clone()),
            _ => Err(segments.get(behind).cloned()),
        }
    }

    /// Adds a commit that was just written.
    pub fn remember(&self, first: Sequence, body: Bytes, places: Box<[u32]>) {
        let mut tail = self.tail.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        tail.bytes += body.len() + 4 * places.len() + size_of::<TailCommit>();
        tail.commits.push_back(TailCommit { first, body, places });
        while tail.bytes > self.tail_bytes_max {
            let Some(old) = tail.commits.pop_front() else { break };
            tail.bytes -= old.body.len() + 4 * old.places.len() + size_of::<TailCommit>();
        }
    }

    /// Bytes held for the tail.
    pub fn tail_bytes(&self) -> usize {
        self.tail.read().unwrap_or_else(|poisoned| poisoned.into_inner()).bytes
    }

    /// A record of the tail, without a system call and without copying. Its checksum is compared all the same.
    pub fn recall(&self, sequence: Sequence) -> Option<Record> {
        let tail = self.tail.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let place = tail.commits.partition_point(|commit| commit.first <= sequence).checked_sub(1)?;
        let commit = &tail.commits[place];
        let at = *commit.places.get((sequence - commit.first) as usize)? as usize;
        let header = RecordHeader::decode_trusted(commit.body.get(at..)?)?;
        let from = at + RECORD_HEADER_BYTES;
        let payload = commit.body.slice(from..from + header.payload_bytes as usize);
        drop(tail);
        (payload_checksum(&payload) == header.payload_crc).then(|| Record::new(sequence, &header, payload))
    }
}

/// A decompressed block, or an index block, of a sealed segment.
#[derive(Clone, Debug)]
pub(crate) enum Cached {
    Index(Arc<Vec<u32>>),
    Block(Arc<(u32, Bytes)>),
}

impl Cached {
    fn bytes(&self) -> usize {
        match self {
            Cached::Index(entries) => entries.len() * 4,
            Cached::Block(block) => block.1.len(),
        }
    }
}

/// Blocks read lately, bounded in bytes. The least lately inserted goes first, but what was used since it was looked
/// at last gets another round (the "clock" rule).
#[derive(Debug)]
pub(crate) struct BlockCache {
    state: Mutex<CacheState>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct CacheState {
    map: std::collections::HashMap<(u64, u32), (Cached, bool)>,
    order: VecDeque<(u64, u32)>,
    bytes: usize,
}

impl BlockCache {
    pub fn new(bytes_max: usize) -> BlockCache {
        BlockCache { state: Mutex::new(CacheState::default()), bytes_max }
    }

    pub fn get(&self, segment: u64, offset: u32) -> Option<Cached> {
        let mut state = lock(&self.state);
        let (cached, used) = state.map.get_mut(&(segment, offset))?;
        *used = true;
        Some(cached.clone())
    }

    pub fn insert(&self, segment: u64, offset: u32, cached: Cached) {
        let mut state = lock(&self.state);
        let bytes = cached.bytes();
        if bytes > self.bytes_max {
            return;
        }
        if let Some((old, _)) = state.map.insert((segment, offset), (cached, false)) {
            state.bytes -= old.bytes();
        } else {
            state.order.push_back((segment, offset));
        }
        state.bytes += bytes;
        while state.bytes > self.bytes_max {
            let Some(key) = state.order.pop_front() else { break };
            match state.map.get_mut(&key) {
                Some((_, used)) if *used => {
                    *used = false;
                    state.order.push_back(key);
                }
                Some(_) => {
                    if let Some((old, _)) = state.map.remove(&key) {
                        state.bytes -= old.bytes();
                    }
                }
                None => {}
            }
        }
    }
}
