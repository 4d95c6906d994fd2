//! Segment files off the appender's path: made ahead, sealed, retired, recycled. Owns the spare files and the order of
//! the operations that make their names and contents durable; a keeper thread drives it, or, in an environment without
//! threads, the writer itself.
//!
//! Invariants:
//! - A file gets a segment's name only after its contents (zeros or stale bytes, two *prepared* headers) are durable,
//!   and is handed out only after that name is durable.
//! - A recycled file's header is overwritten only after it has durably lost its old name.
//! - A footer is written only when the successor's header is durable: the writer submits the seal then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{ActiveIndex, Segment};
use crate::disk::{Access, DiskFile, SyncMethod, World, out_of_space, write_all_at};
use crate::error::Error;
use crate::files;
use crate::format::{
    DATA_OFFSET, Footer, HeaderState, INDEX_ENTRIES_PER_BLOCK, PAGE_BYTES, SegmentHeader, encode_index_block,
    encode_tables, footer_bytes, tables_checksum,
};
use crate::planted::{self, Bug};
use crate::scan::LogTable;
use crate::stats::Counters;
use crate::sync::{AtomicBool, AtomicU32, Mutex, Ordering, lock};

/// Zero-fill in pieces of this size, one each [`PACE`], so that commits beside it do not wait.
const PIECE_BYTES: usize = 128 * 1024;
const PACE: Duration = Duration::from_millis(2);

/// A file made ahead.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub header: SegmentHeader,
    pub file: Arc<dyn DiskFile>,
    pub path: PathBuf,
}

/// A complete segment that waits for its footer.
pub(crate) struct Seal {
    pub segment: Arc<Segment>,
    pub file: Arc<dyn DiskFile>,
    pub index: Arc<ActiveIndex>,
    pub logs: LogTable,
    pub summary: Option<Vec<u8>>,
    pub summary_max: usize,
    pub digest: u64,
    pub data_end: u32,
    pub zero_behind: bool,
    pub released_below: u64,
}

/// What a file was before it is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileKind {
    New,
    Blank,
    Recycled,
    Reserve,
}

/// What all files of a journal share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilePlan {
    pub journal_id: [u8; 16],
    pub segment_bytes: u32,
    /// Length of the file that is held back for a full disk.
    pub reserve_bytes: u32,
    pub growing: bool,
    pub spares_max: usize,
    /// Make spare files before there is anything to recycle.
    pub stock: bool,
}

/// Files that opening found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub spares: Vec<PathBuf>,
    pub blanks: Vec<PathBuf>,
    /// The highest number in a spare's name.
    pub spare_number: u64,
    pub reserve: Option<PathBuf>,
}

#[derive(Default)]
struct State {
    wanted: Option<u64>,
    ready: Option<Prepared>,
    /// The last segment number that was handed out: its name is in use, and no file may be made under it again.
    handed_out: u64,
    /// Files that were used.
    spares: Vec<PathBuf>,
    /// Files filled with zeros.
    blanks: Vec<PathBuf>,
    spare_number: u64,
    /// A smaller file held back for a full disk; whether one is to be made.
    reserve: Option<PathBuf>,
    reserve_wanted: bool,
    /// The stock has run out and is being filled up. While some of it is left nobody is disturbed for more.
    restocking: bool,
    seals: Vec<Seal>,
    retired: Vec<Arc<Segment>>,
    busy: bool,
    /// Preparing failed for want of space; tried again when asked.
    no_space: Option<Error>,
    failed: Option<Error>,
    stopped: bool,
}

impl State {
    /// Whether spare files are to be made: from the last one's going until the stock is full.
    fn restocks(&mut self, spares_max: usize) -> bool {
        match self.spares.len() + self.blanks.len() {
            stock if stock >= spares_max => self.restocking = false,
            0 => self.restocking = true,
            _ => {}
        }
        self.restocking
    }

    /// Whether a file for this segment number is still to be made.
    fn lacks(&self, number: u64) -> bool {
        number > self.handed_out && self.ready.as_ref().is_none_or(|ready| ready.header.number != number)
    }

    /// A file that need not be made: a used one first, because it costs no zeros.
    fn spare(&mut self) -> Option<(PathBuf, FileKind)> {
        let used = self.spares.pop().map(|path| (path, FileKind::Recycled));
        used.or_else(|| self.blanks.pop().map(|path| (path, FileKind::Blank)))
    }
}

/// The files of one journal that are not being written.
pub(crate) struct Pool {
    world: World,
    folder: PathBuf,
    plan: FilePlan,
    counters: Arc<Counters>,
    state: Mutex<State>,
    urgent: AtomicBool,
    /// Grows with each change, for whoever waits for one.
    word: AtomicU32,
    direct: AtomicBool,
    /// Nobody will need what is being made ahead.
    stopping: AtomicBool,
    /// There is no keeper: the writer calls [`Pool::work`].
    inline: AtomicBool,
    /// How far the segment in use is filled: the next one is made a little faster than that, and one for later as much
    /// slower as files are at hand before it is needed.
    consumed: AtomicU32,
    /// Files at hand, when one was begun to be filled.
    at_hand: AtomicU32,
    /// The latest commit was large and not synced: zeros in front of such ones only cost bandwidth.
    bulk: AtomicBool,
}

/// How a new file is filled with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Beside commits: in pieces with pauses, as long as it stays ahead of them.
    Paced,
    /// Nobody commits yet: at once.
    Whole,
    /// A commit waits for the file: not at all. The allocation must do: its contents read as zeros too, and a burst of
    /// large commits pays for the conversion of its extents in bulk.
    Skip,
}

impl Pool {
    pub fn new(world: World, folder: PathBuf, plan: FilePlan, found: Found, counters: Arc<Counters>) -> Pool {
        let Found { spares, blanks, spare_number, reserve } = found;
        let reserve_wanted = reserve.is_none() && !plan.growing;
        Pool {
            world,
            folder,
            plan,
            counters,
            state: Mutex::new(State {
                spares,
                blanks,
                spare_number,
                reserve,
                reserve_wanted,
                restocking: plan.spares_max > 0,
                ..State::default()
            }),
            urgent: AtomicBool::new(false),
            word: AtomicU32::new(0),
            direct: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            inline: AtomicBool::new(false),
            consumed: AtomicU32::new(0),
            at_hand: AtomicU32::new(0),
            bulk: AtomicBool::new(false),
        }
    }

    /// What all files share.
    pub fn plan(&self) -> FilePlan {
        self.plan
    }

    /// Where their bytes are counted.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Says that no keeper runs.
    pub fn set_inline(&self) {
        self.inline.store(true, Ordering::Relaxed);
    }

    /// Takes a prepared file that was found at opening.
    pub fn adopt(&self, prepared: Prepared) {
        lock(&self.state).ready = Some(prepared);
    }

    /// Asks for a file for this segment number.
    pub fn want(&self, number: u64) {
        let mut state = lock(&self.state);
        if state.lacks(number) {
            state.wanted = Some(number);
            state.no_space = None;
        }
        drop(state);
        self.changed();
    }

    pub fn submit(&self, seal: Seal) {
        lock(&self.state).seals.push(seal);
        self.changed();
    }

    pub fn retire(&self, segments: Vec<Arc<Segment>>) {
        if !segments.is_empty() {
            lock(&self.state).retired.extend(segments);
            self.changed();
        }
    }

    /// Ends the keeper: what only spares later work is given up where it stands.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        lock(&self.state).stopped = true;
        self.changed();
    }

    /// A failure of a background sync poisons the journal like any other.
    pub fn failed(&self) -> Option<Error> {
        lock(&self.state).failed.clone()
    }

    /// Lets the file that is at hand go: another is made when it is wanted.
    pub fn discard_ready(&self) -> Result<(), Error> {
        let Some(ready) = lock(&self.state).ready.take() else { return Ok(()) };
        self.world.disk.remove(&ready.path).map_err(|error| Error::io("remove", &ready.path, error))
    }

    /// Whether a file is at hand for the segment after the one in use.
    pub fn has_ready(&self, number: u64) -> bool {
        lock(&self.state).ready.as_ref().is_some_and(|ready| ready.header.number == number)
    }

    fn changed(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        self.world.environment.wake(&self.word, u32::MAX);
    }

    /// The keeper's life.
    pub fn run(&self) {
        loop {
            let seen = self.word.load(Ordering::SeqCst);
            if self.work() {
                continue;
            }
            if lock(&self.state).stopped {
                return;
            }
            let retry = !lock(&self.state).retired.is_empty();
            self.world.environment.wait(&self.word, seen, retry.then_some(Duration::from_millis(100)));
        }
    }

    /// Does one piece of work. `false`: nothing to do.
    pub fn work(&self) -> bool {
        let mut state = lock(&self.state);
        if state.busy || state.failed.is_some() {
            return false;
        }
        if !state.seals.is_empty() {
            let seal = state.seals.remove(0);
            state.busy = true;
            drop(state);
            let result = self.seal(seal);
            return self.done(|state| state.failed = state.failed.take().or(result.err()));
        }
        let stopped = state.stopped;
        // It may have been asked for again while it was made, and be in use by now.
        if let Some(number) = state.wanted.take().filter(|&number| !stopped && state.lacks(number)) {
            let spare = state.spare();
            state.busy = true;
            drop(state);
            self.at_hand.store(0, Ordering::Relaxed);
            let result = self.prepare(number, spare, Fill::Paced);
            return self.done(|state| match result {
                Ok(prepared) => state.ready = Some(prepared),
                Err(error) => state.no_space = Some(error),
            });
        }
        if state.reserve_wanted && state.no_space.is_none() && !stopped {
            state.reserve_wanted = false;
            state.busy = true;
            drop(state);
            let made = self.make_reserve();
            return self.done(|state| state.reserve = made.ok());
        }
        if state.restocks(self.plan.spares_max)
            && self.stocks()
            && !stopped
            && state.no_space.is_none()
            && state.ready.is_some()
        {
            state.spare_number += 1;
            let number = state.spare_number;
            let at_hand = 1 + state.spares.len() + state.blanks.len();
            state.busy = true;
            drop(state);
            self.at_hand.store(at_hand as u32, Ordering::Relaxed);
            let made = self.make_blank(number);
            return self.done(|state| match made {
                Ok(blank) => state.blanks.push(blank),
                Err(error) => state.no_space = Some(error),
            });
        }
        let free = state.retired.iter().position(|segment| Arc::strong_count(segment) == 1);
        if let Some(place) = free {
            let segment = state.retired.remove(place);
            let recycle = !self.plan.growing
                && state.spares.len() < self.plan.spares_max
                && segment.header.segment_bytes == self.plan.segment_bytes;
            state.spare_number += 1;
            let spare = self.folder.join(files::spare_name(state.spare_number));
            state.busy = true;
            drop(state);
            let kept = self.put_away(&segment, recycle.then_some(&spare));
            return self.done(|state| {
                if kept {
                    state.spares.push(spare);
                }
            });
        }
        false
    }

    fn done(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = lock(&self.state);
        state.busy = false;
        change(&mut state);
        drop(state);
        self.changed();
        true
    }

    /// Whether files are filled with zeros ahead of their need. Without threads nothing is ahead of anything, and where
    /// nothing is overwritten in place it would only cost.
    fn stocks(&self) -> bool {
        !self.plan.growing && self.plan.stock && !self.inline.load(Ordering::Relaxed)
    }

    /// Makes a file of zeros for later.
    fn make_blank(&self, number: u64) -> Result<PathBuf, Error> {
        let (new, blank) = (self.folder.join(files::spare_name(number)), self.folder.join(files::blank_name(number)));
        let made = (|| {
            let file = self.world.disk.open(&new, Access::Create)?;
            file.allocate(u64::from(self.plan.segment_bytes))?;
            self.fill(&*file, self.plan.segment_bytes, Fill::Paced)?;
            file.sync_data()?;
            self.world.disk.rename(&new, &blank)?;
            self.world.disk.sync_dir(&self.folder)
        })();
        if let Err(error) = made {
            let _ = self.world.disk.remove(&new);
            return Err(Error::io("create", &blank, error));
        }
        Ok(blank)
    }

    /// Whether everything that is made ahead is made.
    pub fn is_stocked(&self) -> bool {
        let state = lock(&self.state);
        let stocked = !state.restocking || !self.stocks();
        !state.busy && state.wanted.is_none() && state.seals.is_empty() && (stocked || state.no_space.is_some())
    }

    /// Makes the file that is held back. Without one the journal works all the same, until the disk is full.
    fn make_reserve(&self) -> Result<PathBuf, Error> {
        let path = self.folder.join(files::RESERVE);
        let made = (|| {
            let file = self.world.disk.open(&path, Access::Create)?;
            file.allocate(u64::from(self.plan.reserve_bytes))?;
            self.fill(&*file, self.plan.reserve_bytes, Fill::Paced)?;
            file.sync_data()
        })();
        if let Err(error) = made {
            let _ = self.world.disk.remove(&path);
            return Err(Error::io("create", &path, error));
        }
        Ok(path)
    }

    /// The file for this segment number: the prepared one, or one made now; when the disk is full and `reserved`, the
    /// one that was held back.
    pub fn take(&self, number: u64, reserved: bool, fill: Fill) -> Result<Prepared, Error> {
        self.urgent.store(fill == Fill::Skip, Ordering::SeqCst);
        let result = loop {
            let seen = self.word.load(Ordering::SeqCst);
            let mut state = lock(&self.state);
            if let Some(error) = &state.failed {
                break Err(error.clone());
            }
            if state.ready.as_ref().is_some_and(|ready| ready.header.number == number) {
                state.handed_out = number;
                break state.ready.take().ok_or(Error::Closed);
            }
            if state.busy {
                drop(state);
                self.world.environment.wait(&self.word, seen, Some(Duration::from_millis(50)));
                continue;
            }
            state.wanted = None;
            let spare = state.spare();
            state.busy = true;
            drop(state);
            let mut made = self.prepare(number, spare, fill);
            let full = made.as_ref().is_err_and(Error::is_no_space);
            if let Some(reserve) = lock(&self.state).reserve.take_if(|_| full && reserved) {
                made = self.make(number, &reserve, FileKind::Reserve, fill);
            }
            self.done(|state| {
                if made.is_ok() {
                    state.handed_out = number;
                }
                if full {
                    state.reserve_wanted = state.reserve.is_none();
                    state.no_space = Some(Error::NoSpace { path: self.folder.clone() });
                }
            });
            break made;
        };
        self.urgent.store(false, Ordering::SeqCst);
        result
    }

    fn prepare(&self, number: u64, spare: Option<(PathBuf, FileKind)>, fill: Fill) -> Result<Prepared, Error> {
        let (from, kind) = match spare {
            Some(spare) => spare,
            None => {
                let mut state = lock(&self.state);
                state.spare_number += 1;
                (self.folder.join(files::spare_name(state.spare_number)), FileKind::New)
            }
        };
        let made = self.make(number, &from, kind, fill);
        if made.is_err() && kind == FileKind::New {
            // Half a file is of no use; a recycled one stays a leftover for the next opening.
            let _ = self.world.disk.remove(&from);
        }
        made
    }

    fn make(&self, number: u64, from: &Path, kind: FileKind, fill: Fill) -> Result<Prepared, Error> {
        let disk = &self.world.disk;
        let path = &self.folder.join(files::segment_name(number));
        let access = if kind == FileKind::New { Access::Create } else { Access::Write };
        let file: Arc<dyn DiskFile> =
            Arc::from(disk.open(from, access).map_err(|error| Error::io("create", from, error))?);
        let mut salt = [0u8; 8];
        self.world.environment.entropy(&mut salt).map_err(|error| Error::io("draw entropy for", path, error))?;
        let header = SegmentHeader {
            state: HeaderState::Prepared,
            journal_id: self.plan.journal_id,
            number,
            salt: u64::from_le_bytes(salt),
            first_sequence: 0,
            predecessor_digest: 0,
            released_below: 0,
            gap_first: 0,
            segment_bytes: match kind {
                FileKind::Reserve => self.plan.reserve_bytes,
                _ => self.plan.segment_bytes,
            },
            zeroed: kind != FileKind::Recycled,
            growing: self.plan.growing,
        };
        if kind == FileKind::New && !self.plan.growing {
            file.allocate(u64::from(self.plan.segment_bytes)).map_err(|error| Error::io("allocate", path, error))?;
            self.fill(&*file, self.plan.segment_bytes, fill).map_err(|error| Error::io("fill", path, error))?;
        }
        write_headers(&*file, &header).map_err(|error| Error::io("write", path, error))?;
        self.count_prepared(DATA_OFFSET.into());
        if !planted::is(Bug::PreparedSegmentNotSynced) {
            file.sync_data().map_err(|error| self.sync_failed(path, error))?;
        }
        disk.rename(from, path).map_err(|error| Error::io("rename", path, error))?;
        if !planted::is(Bug::NoDirectorySyncAtRotation) {
            disk.sync_dir(&self.folder).map_err(|error| Error::io("sync the folder of", path, error))?;
        }
        Ok(Prepared { header, file, path: path.clone() })
    }

    /// Nothing acknowledged lies in a file that is being prepared: that its sync failed costs only the file.
    fn sync_failed(&self, path: &Path, error: std::io::Error) -> Error {
        if out_of_space(&error) { Error::io("sync", path, error) } else { Error::sync(path, error) }
    }

    /// How far the segment in use is filled, and whether by large commits that nobody syncs.
    pub fn consumed(&self, bytes: u32, bulk: bool) {
        self.consumed.store(bytes, Ordering::Relaxed);
        self.bulk.store(bulk, Ordering::Relaxed);
    }

    /// Writes zeros, so that later commits change neither size nor extents.
    fn fill(&self, file: &dyn DiskFile, bytes: u32, fill: Fill) -> std::io::Result<()> {
        let zeros = AlignedZeros::new(PIECE_BYTES.min(bytes as usize));
        let total = u64::from(bytes);
        let mut offset = 0;
        let wanted = |offset| offset < total && fill != Fill::Skip;
        let hurry = || self.urgent.load(Ordering::Relaxed) || self.bulk.load(Ordering::Relaxed);
        while wanted(offset) && !(fill == Fill::Paced && hurry()) {
            if fill == Fill::Paced && self.stopping.load(Ordering::Relaxed) {
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
            let length = (total - offset).min(PIECE_BYTES as u64) as usize;
            let piece = &zeros.slice()[..length];
            let direct = fill == Fill::Paced && self.direct.load(Ordering::Relaxed);
            match direct.then(|| file.write_sync(piece, offset, SyncMethod::Direct)) {
                Some(Ok(written)) if written == length => {}
                Some(Err(error)) if out_of_space(&error) => return Err(error),
                _ => {
                    write_all_at(file, piece, offset)?;
                    if fill == Fill::Paced {
                        self.direct.store(false, Ordering::Relaxed);
                        file.sync_data()?;
                    }
                }
            }
            self.count_prepared(length as u64);
            offset += length as u64;
            let needed = 2 * u64::from(self.consumed.load(Ordering::Relaxed));
            let ahead = offset * (1 + u64::from(self.at_hand.load(Ordering::Relaxed))) > needed;
            if fill == Fill::Paced && offset < total && length == PIECE_BYTES && ahead {
                let nobody = AtomicU32::new(0);
                self.world.environment.wait(&nobody, 0, Some(PACE));
            }
        }
        Ok(())
    }

    fn count_prepared(&self, bytes: u64) {
        Counters::add(&self.counters.device_bytes, bytes);
        Counters::add(&self.counters.prepare_bytes, bytes);
    }

    /// Removes a released segment's file, or keeps it as a spare. `true`: kept. Failures leave a leftover, which the
    /// next opening clears.
    fn put_away(&self, segment: &Segment, spare: Option<&PathBuf>) -> bool {
        let disk = &self.world.disk;
        match spare {
            Some(spare) => disk.rename(&segment.path, spare).is_ok() && disk.sync_dir(&self.folder).is_ok(),
            None => {
                let _ = disk.remove(&segment.path);
                false
            }
        }
    }

    /// Writes a footer and makes it durable.
    fn seal(&self, seal: Seal) -> Result<(), Error> {
        let path = seal.segment.path.clone();
        let header = &seal.segment.header;
        let summary = seal.summary.as_deref().unwrap_or(&[]);
        let dropped = summary.len() > seal.summary_max;
        let summary = if dropped { &[] } else { summary };
        let places = seal.index.copy();
        let footer_total = footer_bytes(places.len(), seal.logs.entries().len(), summary.len()) as u32;
        assert!(
            u64::from(seal.data_end) + u64::from(footer_total) <= u64::from(header.segment_bytes),
            "the writer keeps room for the footer"
        );
        let index_offset = header.segment_bytes - footer_total;
        let tables_offset = index_offset + (places.len().div_ceil(INDEX_ENTRIES_PER_BLOCK) * PAGE_BYTES) as u32;
        let tables = encode_tables(seal.logs.entries(), summary);
        let footer = Footer {
            journal_id: header.journal_id,
            number: header.number,
            salt: header.salt,
            first_sequence: header.first_sequence,
            count: places.len() as u64,
            digest: seal.digest,
            data_end: seal.data_end,
            index_offset,
            tables_offset,
            logs: seal.logs.entries().len() as u32,
            summary_bytes: summary.len() as u32,
            summary_dropped: dropped,
            tables_check: tables_checksum(&tables, &seal.segment.binding),
            released_below: seal.released_below,
        };
        let write = |bytes: &[u8], offset: u32| {
            Counters::add(&self.counters.device_bytes, bytes.len() as u64);
            write_all_at(&*seal.file, bytes, u64::from(offset)).map_err(|error| Error::io("write", &path, error))
        };
        if !seal.zero_behind && !header.growing {
            let from = seal.data_end.next_multiple_of(PAGE_BYTES as u32);
            let zeros = vec![0u8; PIECE_BYTES.min((index_offset.saturating_sub(from)) as usize)];
            let mut offset = from;
            while offset < index_offset {
                let length = zeros.len().min((index_offset - offset) as usize);
                write(&zeros[..length], offset)?;
                offset += length as u32;
            }
        }
        let mut pages = Vec::with_capacity(PIECE_BYTES);
        let mut offset = index_offset;
        for (block, entries) in places.chunks(INDEX_ENTRIES_PER_BLOCK).enumerate() {
            let at = pages.len();
            pages.resize(at + PAGE_BYTES, 0);
            encode_index_block(entries, block as u32, &seal.segment.binding, &mut pages[at..]);
            if pages.len() == PIECE_BYTES {
                write(&pages, offset)?;
                offset += pages.len() as u32;
                pages.clear();
            }
        }
        pages.extend_from_slice(&tables);
        write(&pages, offset)?;
        // Opening trusts a footer's page without reading what it points to, so a crash must never leave the one without
        // the other.
        let sync = || seal.file.sync_data().map_err(|error| Error::sync(&path, error));
        if !planted::is(Bug::FooterWithItsIndex) {
            sync()?;
        }
        let mut page = [0u8; PAGE_BYTES];
        footer.encode(&mut page);
        write(&page, offset + pages.len() as u32)?;
        sync()?;
        seal.segment.seal(footer);
        Ok(())
    }
}

/// Writes both copies of a header, in pages of their own.
pub(crate) fn write_headers(file: &dyn DiskFile, header: &SegmentHeader) -> std::io::Result<()> {
    let mut pages = [0u8; DATA_OFFSET as usize];
    header.encode(&mut pages[..PAGE_BYTES]);
    let copies = if planted::is(Bug::HeaderWrittenOnce) { 1 } else { 2 };
    pages.copy_within(..PAGE_BYTES, PAGE_BYTES);
    write_all_at(file, &pages[..copies * PAGE_BYTES], 0)
}

/// Zeros at a page's boundary in memory, as `O_DIRECT` wants them.
struct AlignedZeros {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedZeros {
    fn new(length: usize) -> AlignedZeros {
        let bytes = vec![0u8; length + PAGE_BYTES];
        let start = bytes.as_ptr().align_offset(PAGE_BYTES);
        AlignedZeros { bytes, start, length }
    }

    fn slice(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}
