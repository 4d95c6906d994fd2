//! From a folder to facts: lists it, reads headers and footers, walks what needs walking. Owns the reading part of
//! opening, shared by the writer, the read-only reader and the tools; decides nothing and writes nothing but syncs.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::Sequence;
use crate::catalog::ActiveIndex;
use crate::disk::{Access, Disk, DiskFile, Entry, read_full_at};
use crate::error::Error;
use crate::files;
use crate::format::{
    CommitKind, DATA_OFFSET, Footer, HeaderFault, IDENTITY_BYTES, Identity, PAGE_BYTES, RecordHeader, SegmentHeader,
    VERSION, decode_checkpoint,
};
use crate::observer::{Observer, ObserverFactory};
use crate::planted::{self, Bug};
use crate::pool::Found;
use crate::recovery::{Arrangement, SegmentFacts, Verdict, arrange, judge, missing};
use crate::report::{Damage, DamageKind, End, Report};
use crate::scan::{LogTable, ScanFacts, Start, Visitor, Window, orphans, scan};

/// Bytes read at once of a segment without a good header.
const ORPHANS_BUFFER: usize = 256 << 10;

/// So many of the newest segments are settled, footer or not: the keeper may have failed on a footer or two.
const SETTLED: usize = 3;

/// Walks over a segment that cannot be read at one moment and can at the next.
const WALKS_MAX: u32 = 3;

/// What a folder holds.
pub(crate) struct Gathered {
    pub identity: Option<Identity>,
    /// Why there is no identity although there are segments.
    pub identity_fault: Option<DamageKind>,
    pub journal_id: [u8; 16],
    pub facts: Vec<SegmentFacts>,
    pub walked: Vec<Option<Walked>>,
    pub arrangement: Arrangement,
    pub verdict: Verdict,
    pub found: Found,
    pub notes: Vec<String>,
}

/// What a walk left beside its facts.
pub(crate) struct Walked {
    pub index: Arc<ActiveIndex>,
    pub logs: LogTable,
    pub observer: Option<Box<dyn Observer>>,
    pub file: Arc<dyn DiskFile>,
    pub records: u64,
}

/// How a folder is read.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    /// For writing: what has no footer is synced and dropped from the cache before it is read, because what the cache
    /// shows may never reach the device (rows 12 and 22 of the fault table).
    pub writing: bool,
    pub buffer_bytes: usize,
    pub observer: Option<&'a Arc<dyn ObserverFactory>>,
}

/// Reads the identity. `None`: there is none. An error inside: it is no good, or could not be read.
pub(crate) fn read_identity(disk: &dyn Disk, path: &Path) -> Result<Option<Result<Identity, HeaderFault>>, Error> {
    let place = path.join(files::IDENTITY);
    let file = match disk.open(&place, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let reason = "it is a file, and a journal is a folder".to_string();
            return Err(Error::NotAJournal { path: path.to_path_buf(), reason });
        }
        Err(error) => return Err(Error::io("open", &place, error)),
    };
    let mut bytes = vec![0u8; IDENTITY_BYTES + 1];
    let Ok(length) = read_full_at(&*file, &mut bytes, 0) else { return Ok(Some(Err(HeaderFault::Unreadable))) };
    match Identity::decode(&bytes[..length]) {
        Err(HeaderFault::Newer(found)) => Err(Error::NewerFormat { path: place, found, supported: VERSION }),
        other => Ok(Some(other)),
    }
}

/// Reads everything there is to know about a folder. `None`: it holds no journal yet.
pub(crate) fn gather(disk: &dyn Disk, path: &Path, how: How<'_>) -> Result<Option<Gathered>, Error> {
    gather_in(disk, path, &files::journal_folder(path), how)
}

/// As [`gather`], with the segments in another folder: a journal that is being rebuilt.
pub(crate) fn gather_in(disk: &dyn Disk, path: &Path, folder: &Path, how: How<'_>) -> Result<Option<Gathered>, Error> {
    let identity = read_identity(disk, path)?;
    let entries = match disk.list(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && identity.is_none() => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("list", folder, error)),
    };
    let Entries { mut facts, found, notes } = read_entries(disk, folder, &entries, how)?;
    facts.sort_by_key(|fact| fact.number);
    let known = identity.and_then(Result::ok);
    let identity_fault = match identity {
        Some(Ok(_)) => None,
        Some(Err(HeaderFault::Unreadable)) => Some(DamageKind::Unreadable),
        _ => Some(DamageKind::Identity),
    };
    let from_segments = || facts.iter().flat_map(|fact| fact.copies).find_map(|copy| copy.ok()).map(|h| h.journal_id);
    let Some(journal_id) = known.map(|identity| identity.journal_id).or_else(from_segments) else {
        if facts.is_empty() && identity.is_none() {
            return Ok(None);
        }
        let unread = unread_pages(&facts).chain(identity_fault.map(identity_place));
        let report = Report { damage: unread.collect(), end: End::Unreadable, ..Report::default() };
        if report.is_unreadable() {
            return Err(Error::Unreadable(Box::new(report)));
        }
        let reason = "its identity file is damaged, and no segment tells whose it is".to_string();
        return Err(Error::NotAJournal { path: path.to_path_buf(), reason });
    };
    let arrangement = arrange(&facts, &journal_id);
    if let Some((index, found)) = arrangement.newer {
        return Err(Error::NewerFormat { path: folder.join(&facts[index].file), found, supported: VERSION });
    }
    let mut walked: Vec<Option<Walked>> = facts.iter().map(|_| None).collect();
    for &index in &arrangement.to_scan {
        let header = arrangement.begun.iter().find(|link| link.index == index).map(|link| link.header);
        let Some(header) = header else { continue };
        let path = folder.join(&facts[index].file);
        let (scanned, walk, unreadable) = walk_patiently(disk, &path, &header, &facts[index].footer, how)?;
        facts[index].scan = Some(scanned);
        facts[index].unreadable = unreadable;
        walked[index] = Some(walk);
    }
    let mut verdict = judge(&facts, &arrangement);
    if known.is_some_and(|identity| identity.begun) && verdict.chain.is_empty() && verdict.damage.is_empty() {
        // Row 7 where no segment is left to tell: the identity is the witness.
        verdict.damage.push(missing(1, 0));
        verdict.end = End::Damaged;
    }
    Ok(Some(Gathered {
        identity: known,
        identity_fault,
        journal_id,
        facts,
        walked,
        arrangement,
        verdict,
        found,
        notes,
    }))
}

/// The identity file, as a report tells what is wrong with it.
pub(crate) fn identity_place(what: DamageKind) -> Damage {
    let file = files::IDENTITY.to_string();
    Damage { segment: 0, file, offset: 0, bytes: IDENTITY_BYTES as u64, first: None, last: None, what }
}

/// Header pages that could not be read, where nothing else is known of a journal.
fn unread_pages(facts: &[SegmentFacts]) -> impl Iterator<Item = Damage> {
    let unread = |fact: &&SegmentFacts| fact.copies.contains(&Err(HeaderFault::Unreadable));
    facts.iter().filter(unread).map(|fact| Damage {
        segment: fact.number,
        file: fact.file.clone(),
        offset: 0,
        bytes: u64::from(DATA_OFFSET),
        first: None,
        last: None,
        what: DamageKind::Unreadable,
    })
}

/// Reads one file's frame; for writing, a frame that a power cut could take away is settled first.
fn settled_frame(
    disk: &dyn Disk,
    folder: &Path,
    number: u64,
    entry: &Entry,
    writing: bool,
    newest: bool,
) -> Result<SegmentFacts, Error> {
    if writing && newest {
        settle(disk, &folder.join(&entry.name), Extent::Frame(entry.bytes))?;
    }
    let fact = read_frame(disk, folder, number, &entry.name, entry.bytes)?;
    if !writing || fact.footer.is_ok() {
        return Ok(fact);
    }
    settle(disk, &folder.join(&entry.name), Extent::Whole)?;
    read_frame(disk, folder, number, &entry.name, entry.bytes)
}

/// What of a file is settled.
#[derive(Clone, Copy)]
enum Extent {
    /// Headers and footer of a file of this length. A footer that the device holds vouches for the data in front of it,
    /// which was synced before: those pages may stay in the cache.
    Frame(u64),
    /// All of it.
    Whole,
}

/// The cache may hold pages in naturally aligned groups of up to this size, and drops a group whole or not at all.
const FOLIO_BYTES: u64 = 2 << 20;

/// Sees that what is read next of a file is what the device holds. A failed sync marks pages clean that it never wrote:
/// until they are evicted the cache shows headers, commits and footers that a power cut takes away.
fn settle(disk: &dyn Disk, path: &Path, extent: Extent) -> Result<(), Error> {
    let file = disk.open(path, Access::Read).map_err(|error| Error::io("open", path, error))?;
    if !planted::is(Bug::RecoveredTailNotSynced) {
        file.sync_data().map_err(|error| Error::sync(path, error))?;
    }
    if !planted::is(Bug::CacheTrustedAfterReopen) {
        let dropped = match extent {
            Extent::Frame(bytes) if bytes > 4 * FOLIO_BYTES => {
                let end = (bytes - 1) / FOLIO_BYTES * FOLIO_BYTES;
                file.drop_cache_range(0, FOLIO_BYTES).and_then(|()| file.drop_cache_range(end, bytes - end))
            }
            _ => file.drop_cache(),
        };
        dropped.map_err(|error| Error::io("drop the cache of", path, error))?;
    }
    Ok(())
}

/// What the names in a folder stand for.
struct Entries {
    facts: Vec<SegmentFacts>,
    found: Found,
    notes: Vec<String>,
}

/// Sorts the names in a folder, and reads the header and footer pages of the segments.
fn read_entries(disk: &dyn Disk, folder: &Path, entries: &[Entry], how: How<'_>) -> Result<Entries, Error> {
    let mut facts = Vec::new();
    let mut found = Found::default();
    let mut notes = Vec::new();
    let segments = entries.iter().filter(|entry| files::segment_number(&entry.name).is_some()).count();
    let mut place = 0;
    for entry in entries {
        if let Some(number) = files::segment_number(&entry.name) {
            place += 1;
            let newest = segments - place < SETTLED;
            facts.push(settled_frame(disk, folder, number, entry, how.writing, newest)?);
        } else if let Some(number) = files::spare_number(&entry.name) {
            found.spare_number = found.spare_number.max(number);
            found.spares.push(folder.join(&entry.name));
        } else if let Some(number) = files::blank_number(&entry.name) {
            found.spare_number = found.spare_number.max(number);
            found.blanks.push(folder.join(&entry.name));
        } else if entry.name == files::RESERVE {
            found.reserve = Some(folder.join(&entry.name));
        } else {
            notes.push(format!("{} is no file of a journal; it is left alone", entry.name));
        }
    }
    Ok(Entries { facts, found, notes })
}

/// The header pages and the footer page of one file.
pub(crate) fn read_frame(
    disk: &dyn Disk,
    folder: &Path,
    number: u64,
    name: &str,
    file_bytes: u64,
) -> Result<SegmentFacts, Error> {
    let path = folder.join(name);
    let file = disk.open(&path, Access::Read).map_err(|error| Error::io("open", &path, error))?;
    let copies = [0, 1].map(|copy| {
        let mut page = [0u8; PAGE_BYTES];
        match read_full_at(&*file, &mut page, copy * PAGE_BYTES as u64) {
            Ok(_) => SegmentHeader::decode(&page),
            Err(_) => Err(HeaderFault::Unreadable),
        }
    });
    let header = copies.iter().find_map(|copy| copy.ok());
    let footer = match header {
        Some(header) => read_footer(&*file, &header),
        None => Err(HeaderFault::Blank),
    };
    // Where a header could not be read, nothing is concluded from what stands behind it.
    let unread = copies.contains(&Err(HeaderFault::Unreadable));
    let (mut unreadable, mut found) = (Vec::new(), None);
    if header.is_none() && !unread && file_bytes > u64::from(DATA_OFFSET) {
        let limit = file_bytes.min(u64::from(u32::MAX));
        unreadable = unreadable_parts(&*file, DATA_OFFSET.into(), limit);
        if unreadable.is_empty() {
            match orphans(&mut Window::new(&*file, limit, ORPHANS_BUFFER), limit as u32) {
                Ok(upto) => found = upto,
                Err(_) => unreadable.push(DATA_OFFSET.into()..limit),
            }
        }
    }
    let file = name.to_string();
    Ok(SegmentFacts { number, file, file_bytes, copies, footer, scan: None, orphans: found, unreadable })
}

/// Bytes of one read where nobody knows which of them is bad.
const PROBE_BYTES: u64 = 256 << 10;

/// The pages within a part of a file that cannot be read, adjoining ones as one.
pub(crate) fn unreadable_parts(file: &dyn DiskFile, from: u64, until: u64) -> Vec<Range<u64>> {
    let mut buffer = vec![0u8; PROBE_BYTES.min(until.saturating_sub(from) + PAGE_BYTES as u64) as usize];
    let mut parts: Vec<Range<u64>> = Vec::new();
    let mut offset = from / PAGE_BYTES as u64 * PAGE_BYTES as u64;
    while offset < until {
        let length = (buffer.len() as u64).min(until - offset);
        if read_full_at(file, &mut buffer[..length as usize], offset).is_err() {
            let pages = (offset..offset + length).step_by(PAGE_BYTES);
            for page in pages {
                let end = (page + PAGE_BYTES as u64).min(until);
                if read_full_at(file, &mut buffer[..(end - page) as usize], page).is_ok() {
                    continue;
                }
                match parts.last_mut() {
                    Some(part) if part.end == page => part.end = end,
                    _ => parts.push(page..end),
                }
            }
        }
        offset += length;
    }
    parts
}

/// The page at the end of a segment.
fn read_footer(file: &dyn DiskFile, header: &SegmentHeader) -> Result<Footer, HeaderFault> {
    let at = u64::from(header.segment_bytes).checked_sub(PAGE_BYTES as u64).ok_or(HeaderFault::Damaged)?;
    let mut page = [0u8; PAGE_BYTES];
    match read_full_at(file, &mut page, at) {
        Ok(PAGE_BYTES) => Footer::decode(&page, header),
        Ok(_) => Err(HeaderFault::Blank),
        Err(_) => Err(HeaderFault::Unreadable),
    }
}

/// Walks one segment; where the device could not read, the parts which it still cannot read afterwards. A failure that
/// has passed by then is no reason to refuse anything: then the walk is done again, a few times.
fn walk_patiently(
    disk: &dyn Disk,
    path: &Path,
    header: &SegmentHeader,
    footer: &Result<Footer, HeaderFault>,
    how: How<'_>,
) -> Result<(ScanFacts, Walked, Vec<Range<u64>>), Error> {
    let mut walks = 0;
    loop {
        walks += 1;
        let (facts, walked) = walk_segment(disk, path, header, footer, how)?;
        let Some(met) = facts.unreadable else { return Ok((facts, walked, Vec::new())) };
        let mut parts = unreadable_parts(&*walked.file, u64::from(facts.end), u64::from(header.segment_bytes));
        if parts.is_empty() && walks < WALKS_MAX {
            continue;
        }
        if parts.is_empty() {
            parts.push(u64::from(met)..u64::from(met) + PAGE_BYTES as u64);
        }
        return Ok((facts, walked, parts));
    }
}

/// Walks one segment and keeps its index.
fn walk_segment(
    disk: &dyn Disk,
    path: &Path,
    header: &SegmentHeader,
    footer: &Result<Footer, HeaderFault>,
    how: How<'_>,
) -> Result<(ScanFacts, Walked), Error> {
    let access = if how.writing { Access::Write } else { Access::Read };
    let file: Arc<dyn DiskFile> = Arc::from(disk.open(path, access).map_err(|error| Error::io("open", path, error))?);
    if how.writing && planted::is(Bug::TornTailResigned) {
        resign(&*file, header);
    }
    let limit = footer.as_ref().map_or(header.segment_bytes, |footer| footer.index_offset);
    let mut window = Window::new(&*file, u64::from(limit), how.buffer_bytes);
    let mut visitor = Indexer {
        places: Vec::new(),
        logs: LogTable::default(),
        observer: how.observer.map(|factory| factory.observer()),
    };
    if let Some(observer) = &mut visitor.observer {
        observer.begin(header.first_sequence);
    }
    let facts = scan(&mut window, header, Start::of(header), limit, &mut visitor);
    let index = ActiveIndex::default();
    let count = (facts.next - header.first_sequence) as usize;
    visitor.places.truncate(count);
    index.extend(visitor.places.into_iter());
    let walked =
        Walked { index: Arc::new(index), logs: visitor.logs, observer: visitor.observer, records: count as u64, file };
    Ok((facts, walked))
}

/// Collects places, counts, and what an observer wants to see.
struct Indexer {
    places: Vec<u32>,
    logs: LogTable,
    observer: Option<Box<dyn Observer>>,
}

impl Visitor for Indexer {
    fn record(&mut self, sequence: Sequence, place: u32, header: &RecordHeader, payload: Option<&[u8]>) {
        self.places.push(place);
        self.logs.count(header.log, sequence);
        if let (Some(observer), Some(payload)) = (&mut self.observer, payload) {
            observer.record(sequence, header.log, header.kind, payload);
        }
    }

    fn control(&mut self, kind: CommitKind, body: &[u8]) {
        if let (Some(observer), CommitKind::Checkpoint) = (&mut self.observer, kind)
            && let Some((log, kind, payload)) = decode_checkpoint(body)
        {
            observer.checkpoint_found(log, kind, payload);
        }
    }

    fn wants_payloads(&self) -> bool {
        self.observer.is_some()
    }
}

/// The planted bug of redb #1290: recovery puts a fresh signature on bytes that a crash tore.
#[cold]
fn resign(file: &dyn DiskFile, header: &SegmentHeader) {
    use crate::format::{COMMIT_HEADER_BYTES, COMMIT_TRAILER_BYTES, CommitHeader, commit_digest};
    struct Nothing;
    impl Visitor for Nothing {
        fn record(&mut self, _: Sequence, _: u32, _: &RecordHeader, _: Option<&[u8]>) {}
    }
    let limit = header.segment_bytes;
    let mut window = Window::new(file, u64::from(limit), 1 << 20);
    let facts = scan(&mut window, header, Start::of(header), limit, &mut Nothing);
    let Ok(head) = window.slice(u64::from(facts.end), COMMIT_HEADER_BYTES) else { return };
    let Some(commit) = CommitHeader::decode(head, &header.binding(), facts.end) else { return };
    let total = commit.total_bytes() as usize;
    if u64::from(facts.end) + total as u64 > u64::from(limit) || total < COMMIT_TRAILER_BYTES {
        return;
    }
    let Ok(bytes) = window.slice(u64::from(facts.end), total) else { return };
    let digest = commit_digest(&bytes[..total - 8]);
    let _ = crate::disk::write_all_at(file, &digest.to_le_bytes(), u64::from(facts.end) + total as u64 - 8);
    debug_assert!(facts.end >= DATA_OFFSET);
}
