//! A journal, open for reading only: beside a damaged one, and beside a living writer. Takes no lock and writes nothing.
//! Owns the difference between what a writer has not finished and what is damaged, between what was released under the
//! reader and what is lost, and the way to follow a writer without reading anything twice.
//!
//! Beside a living writer
//! - an unfinished end is *in progress*, and no damage;
//! - only what some later structure witnesses counts as durable, and only that is served;
//! - what looks damaged is looked at again, a few times: between two reads a writer seals, begins, releases and recycles.

use std::fmt;
use std::io;
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::Sequence;
use crate::catalog::{ActiveIndex, BlockCache, Segment};
use crate::disk::{Access, Disk, DiskFile, World, read_full_at, real};
use crate::error::Error;
use crate::files;
use crate::format::{
    COMMIT_HEADER_BYTES, CommitHeader, CommitTrailer, HeaderState, PAGE_BYTES, RecordHeader, SegmentHeader,
};
use crate::gather::{Gathered, How, gather_in, read_frame};
use crate::journal::{Scan, SegmentInfo, segment_infos};
use crate::open::{catalog_of, report_of};
use crate::reader::ReadCore;
use crate::record::Record;
use crate::report::{End, Report};
use crate::scan::{Start, Visitor, Window, walk};
use crate::sync::AtomicU32;

/// How often a living journal is looked at before what looks damaged counts as damaged.
const LOOKS: u32 = 6;
/// The pause between two looks: a writer needs less for a switch.
const PAUSE: Duration = Duration::from_millis(5);

/// What a folder holds, seen without a lock.
pub(crate) struct Looked {
    pub gathered: Gathered,
    /// Where its segments lie.
    pub folder: PathBuf,
    /// A writer is at work on it.
    pub live: bool,
}

/// Reads what there is to know about a folder that others may be writing to.
pub(crate) fn look(world: &World, path: &Path, buffer_bytes: usize) -> Result<Looked, Error> {
    let disk = &*world.disk;
    let how = How { writing: false, buffer_bytes, observer: None };
    let mut looks = 0;
    loop {
        looks += 1;
        let live_before = is_live(disk, path);
        let folder = crate::salvage::current_folder(disk, path)?;
        let result = gather_in(disk, path, &folder, how);
        let live = live_before || is_live(disk, path);
        // A header copy that is being written looks damaged, too, though no record would be lost by it.
        let whole = |gathered: &Gathered| gathered.verdict.damage.is_empty();
        let settled = !live || looks == LOOKS || matches!(&result, Ok(Some(gathered)) if whole(gathered));
        if settled {
            let gathered = result?.ok_or_else(|| Error::Missing { path: path.to_path_buf() })?;
            return Ok(Looked { gathered, folder, live });
        }
        world.environment.wait(&AtomicU32::new(0), 0, Some(PAUSE));
    }
}

/// Whether a writer is at work. Who may not even ask is told no: then a torn end is told as torn.
fn is_live(disk: &dyn Disk, path: &Path) -> bool {
    disk.is_locked(&path.join(files::LOCK)).unwrap_or(false)
}

/// The report of a look: beside a living writer the end is in progress.
pub(crate) fn report_beside(looked: &Looked) -> Report {
    let mut report = report_of(&looked.gathered);
    if looked.live && !matches!(report.end, End::Damaged | End::Unreadable) {
        report.end = End::Live;
        report.cut = None;
    }
    report
}

/// How a journal is read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Bytes that a scan reads at once.
    pub read_buffer_bytes: usize,
    /// Bytes of indexes and decompressed blocks kept in memory.
    pub read_cache_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions { read_buffer_bytes: 1 << 20, read_cache_bytes: 8 << 20 }
    }
}

/// A journal, open for reading only.
///
/// ```no_run
/// # fn main() -> Result<(), duramen_journal::Error> {
/// let mut reader = duramen_journal::Reader::open("data")?;
/// println!("{}", reader.report());
/// let mut next = reader.first();
/// loop {
///     for record in reader.scan(next..) {
///         next = record?.sequence + 1;
///     }
///     while !reader.refresh()? {
///         std::thread::sleep(std::time::Duration::from_millis(100));
///     }
/// }
/// # }
/// ```
pub struct Reader {
    path: PathBuf,
    folder: PathBuf,
    options: ReadOptions,
    world: World,
    core: Arc<ReadCore>,
    report: Report,
    last: Sequence,
    live: bool,
    /// Where the walk over the last segment stands. `None`: it cannot go on from there.
    tail: Option<Tail>,
}

/// The end of the segment in use, as far as it was walked.
struct Tail {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    index: Arc<ActiveIndex>,
    at: Start,
}

impl Reader {
    /// Opens a journal on the real disk.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::NotAJournal`], [`Error::NewerFormat`], [`Error::Io`]; [`Error::Unreadable`] where the
    /// device can read neither the identity nor the header of any segment. Damage is no error otherwise: see
    /// [`Reader::report`].
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, Error> {
        Reader::open_with(path, &ReadOptions::default(), real::world())
    }

    /// Opens with options, on any disk.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &ReadOptions, world: World) -> Result<Reader, Error> {
        let path = path.as_ref();
        let looked = look(&world, path, options.read_buffer_bytes)?;
        let report = report_beside(&looked);
        let Looked { gathered, folder, live } = looked;
        let catalog = catalog_of(&gathered, &folder, 0);
        let next = report.next;
        let last = if live { gathered.verdict.witnessed.min(next.saturating_sub(1)) } else { next.saturating_sub(1) };
        let tail = tail_of(&gathered, catalog.all().pop());
        let core = Arc::new(ReadCore {
            disk: world.disk.clone(),
            catalog,
            cache: BlockCache::new(options.read_cache_bytes),
            buffer_bytes: options.read_buffer_bytes,
            damage: report.damage.clone(),
            beside: true,
            opened: Default::default(),
        });
        let (path, options) = (path.to_path_buf(), options.clone());
        Ok(Reader { path, folder, options, world, core, report, last, live, tail })
    }

    /// What opening found, or the last [`Reader::refresh`].
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The first stored sequence; above [`Reader::last`] if nothing is stored.
    pub fn first(&self) -> Sequence {
        self.core.catalog.first()
    }

    /// The last readable sequence; 0: none. Beside a living writer: the last that is known to be durable, which a writer
    /// says with its next commit or with its idle mark.
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Reads one record, verified.
    ///
    /// # Errors
    /// [`Error::Released`], also when the writer released it after this reader last looked; [`Error::NotYet`],
    /// [`Error::InGap`], [`Error::DamagedRecord`], [`Error::UnreadableRecord`], [`Error::Io`].
    pub fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        self.core.read(sequence, self.last + 1)
    }

    /// Reads a range in order, up to [`Reader::last`] as it is now. Damaged places come as errors; going on leads behind
    /// them.
    pub fn scan(&self, range: impl RangeBounds<Sequence>) -> Scan {
        Scan::new(self.core.clone(), range, self.first(), self.last + 1)
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        segment_infos(&self.core)
    }

    /// Looks for what came since. `true`: [`Reader::last`] has moved. Reads on where it stopped: with nothing new it costs
    /// a few system calls, whatever the segment's size.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn refresh(&mut self) -> Result<bool, Error> {
        let before = self.last;
        let live = is_live(&*self.world.disk, &self.path);
        if live != self.live || !self.advance()? {
            *self = Reader::open_with(&self.path, &self.options, self.world.clone())?;
        }
        Ok(self.last != before)
    }

    /// Goes on from the end that was reached. `false`: that does not do, and a fresh look must.
    fn advance(&mut self) -> Result<bool, Error> {
        if self.live {
            self.drop_released();
            self.seal_sealed();
        }
        let buffer_bytes = self.options.read_buffer_bytes;
        loop {
            let Some(tail) = &mut self.tail else { return Ok(false) };
            let header = tail.segment.header;
            if header_at(&*self.world.disk, &tail.segment.path).ok() != Some(header) {
                return Ok(false);
            }
            // The successor first: what is walked after that is all that this segment will ever hold.
            let number = header.number.saturating_add(1);
            let path = self.folder.join(files::segment_name(number));
            let next = match header_at(&*self.world.disk, &path) {
                Ok(next) => Some(next),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => None,
                // A fresh look names what cannot be read.
                Err(_) => return Ok(false),
            };
            let next = next.filter(|next| {
                next.state == HeaderState::Begun && next.number == number && next.journal_id == header.journal_id
            });
            let before = tail.at;
            let Some(upto) = tail.walk_on(buffer_bytes) else { return Ok(false) };
            self.report.records += tail.at.sequence - before.sequence;
            self.report.bytes += u64::from(tail.at.offset - before.offset);
            self.report.next = tail.at.sequence;
            if tail.at.offset != before.offset && !self.live {
                return Ok(false);
            }
            self.last = self.last.max(upto.min(tail.at.sequence.saturating_sub(1)));
            let Some(next) = next else { return Ok(true) };
            if (next.first_sequence, next.predecessor_digest) != (tail.at.sequence, tail.at.digest) {
                return Ok(false);
            }
            // A segment is durable before its successor's header is written.
            self.last = next.first_sequence.saturating_sub(1);
            let Ok(opened) = self.world.disk.open(&path, Access::Read) else { return Ok(false) };
            let file: Arc<dyn DiskFile> = Arc::from(opened);
            let index = Arc::new(ActiveIndex::default());
            let segment = Arc::new(Segment::open_ended(next, path, Some(file.clone()), index.clone()));
            self.core.catalog.push(segment.clone());
            self.report.segments += 1;
            self.tail = Some(Tail { segment, file, index, at: Start::of(&next) });
        }
    }

    /// Forgets segments whose files are gone.
    fn drop_released(&mut self) {
        loop {
            let segments = self.core.catalog.all();
            let [first, second, ..] = &segments[..] else { return };
            if is_in_place(&*self.world.disk, first) {
                return;
            }
            self.core.catalog.retire(second.header.first_sequence);
            self.report.first = self.core.catalog.first();
            self.report.segments = self.report.segments.saturating_sub(1);
        }
    }

    /// Lets go of indexes in memory where a footer has come.
    fn seal_sealed(&mut self) {
        let segments = self.core.catalog.all();
        let Some((_, inner)) = segments.split_last() else { return };
        for segment in inner.iter().filter(|segment| segment.footer().is_none()) {
            let bytes = u64::from(segment.header.segment_bytes);
            let frame = read_frame(&*self.world.disk, &self.folder, segment.header.number, &segment.name, bytes);
            if let Ok(Ok(footer)) = frame.map(|frame| frame.footer)
                && footer.first_sequence + footer.count == segment.next()
            {
                segment.seal(footer);
            }
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).field("last", &self.last).finish_non_exhaustive()
    }
}

/// Where a walk can go on, if nothing is damaged.
fn tail_of(gathered: &Gathered, segment: Option<Arc<Segment>>) -> Option<Tail> {
    let index = gathered.verdict.chain.last()?.index;
    let (scan, walked) = (gathered.facts[index].scan.as_ref()?, gathered.walked[index].as_ref()?);
    let at = Start { offset: scan.end, sequence: scan.next, digest: scan.digest };
    let damaged = gathered.verdict.damage.iter().any(|damage| damage.what.refuses_writing());
    let (file, index) = (walked.file.clone(), walked.index.clone());
    segment.filter(|_| !damaged).map(|segment| Tail { segment, file, index, at })
}

/// One good copy of a segment's header; of the two, the one that says more.
fn header_at(disk: &dyn Disk, path: &Path) -> io::Result<SegmentHeader> {
    let file = disk.open(path, Access::Read)?;
    let mut pages = [0u8; 2 * PAGE_BYTES];
    let Ok(read) = read_full_at(&*file, &mut pages, 0) else { return readable_header(&*file) };
    let copies = pages[..read].chunks(PAGE_BYTES).filter_map(|page| SegmentHeader::decode(page).ok());
    copies.max_by_key(|header| header.state == HeaderState::Begun).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The header from the copy that can be read.
#[cold]
fn readable_header(file: &dyn DiskFile) -> io::Result<SegmentHeader> {
    let copy = |offset| {
        let mut page = [0u8; PAGE_BYTES];
        let read = read_full_at(file, &mut page, offset)?;
        SegmentHeader::decode(&page[..read]).map_err(|_| io::Error::other("the device cannot read the other copy"))
    };
    copy(0).or_else(|_| copy(PAGE_BYTES as u64))
}

/// Whether a segment's file is still what it was, as far as can be told: only a file that is gone, or that has been used
/// again, says no. One that cannot be read does not: on a disk that fails all reads, records would pass as released,
/// and a reader would leave them out without a word (found by the `strace` sweep).
pub(crate) fn is_in_place(disk: &dyn Disk, segment: &Segment) -> bool {
    is_header_in_place(disk, &segment.path, &segment.header)
}

/// The same of a file with this header.
pub(crate) fn is_header_in_place(disk: &dyn Disk, path: &Path, header: &SegmentHeader) -> bool {
    match header_at(disk, path) {
        Ok(found) => found == *header,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

impl Tail {
    /// Walks over the commits that came. Returns the highest sequence that one of them calls durable; `None`: the device
    /// could not read on.
    fn walk_on(&mut self, buffer_bytes: usize) -> Option<Sequence> {
        let header = self.segment.header;
        let mut head = [0u8; COMMIT_HEADER_BYTES];
        read_full_at(&*self.file, &mut head, u64::from(self.at.offset)).ok()?;
        if CommitHeader::decode(&head, &self.segment.binding, self.at.offset).is_none() {
            return Some(0);
        }
        let mut window = Window::new(&*self.file, u64::from(header.segment_bytes), buffer_bytes);
        let mut came = Came { places: Vec::new(), upto: 0 };
        let facts = walk(&mut window, &header, self.at, header.segment_bytes, &mut came);
        // A commit that turned out bad half-way has shown records all the same.
        came.places.truncate((facts.next - self.at.sequence) as usize);
        self.index.extend(came.places.into_iter());
        self.segment.set_extent(facts.next, facts.end);
        self.at = Start { offset: facts.end, sequence: facts.next, digest: facts.digest };
        facts.unreadable.is_none().then_some(came.upto)
    }
}

/// Collects the places of the records that came, and what is durable.
struct Came {
    places: Vec<u32>,
    upto: Sequence,
}

impl Visitor for Came {
    fn commit(&mut self, _offset: u32, _header: &CommitHeader, trailer: &CommitTrailer) {
        self.upto = self.upto.max(trailer.durable_upto);
    }

    fn record(&mut self, _sequence: Sequence, place: u32, _header: &RecordHeader, _payload: Option<&[u8]>) {
        self.places.push(place);
    }
}
