//! Every byte of every segment against its check. Owns the order in which files are looked at, by two threads where the
//! environment has threads, and what is held against what: commits against their digests, payloads and index against the
//! commits, the footer against both, and zeros where nothing was ever written.
//!
//! Locks: `outcomes`, for the time of a push.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Break, Course, Progress, Surveyor, Verification, survey};
use crate::Sequence;
use crate::disk::{Access, Disk, DiskFile, World, read_full_at};
use crate::error::Error;
use crate::format::{
    Binding, CommitHeader, CommitTrailer, DATA_OFFSET, Footer, HeaderFault, HeaderState, IDENTITY_BYTES,
    INDEX_ENTRIES_PER_BLOCK, PAGE_BYTES, RecordHeader, SegmentHeader, decode_index_block, decode_tables,
    payload_checksum,
};
use crate::gather::{Gathered, read_frame, unreadable_parts};
use crate::report::{Damage, DamageKind, End, Report};
use crate::scan::{LogTable, Visitor, Window};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};
use crate::view::{self, Looked};

/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes between two looks at the progress.
const STEP_BYTES: u64 = 4 << 20;
/// The smallest unit that a device writes: a torn write leaves whole ones of these.
const SECTOR_BYTES: usize = 512;

/// Checks every byte of a journal. Reads only; beside a living writer an unfinished end is no damage.
///
/// `progress` is called every few megabytes, on the calling thread.
///
/// # Errors
/// [`Error::Missing`], [`Error::NotAJournal`], [`Error::NewerFormat`], [`Error::Io`] where not even the names and headers
/// can be read. Damage is an answer, not an error.
pub fn verify(path: impl AsRef<Path>, world: World, progress: &mut dyn FnMut(Progress)) -> Result<Verification, Error> {
    let path = path.as_ref();
    let looked = view::look(&world, path, BUFFER_BYTES)?;
    let gathered = &looked.gathered;
    let mut report = view::report_beside(&looked);
    let tasks = tasks_of(gathered);
    let bytes_total = IDENTITY_BYTES as u64 + tasks.iter().map(|task| task.file_bytes).sum::<u64>();
    let job = Arc::new(Job {
        disk: world.disk.clone(),
        folder: looked.folder.clone(),
        live: looked.live,
        known: report.damage.clone(),
        tasks,
        taken: AtomicU32::new(0),
        bytes: AtomicU64::new(IDENTITY_BYTES as u64),
        outcomes: Mutex::new(Vec::new()),
        helper_done: AtomicU32::new(0),
    });
    let mut tell = || progress(Progress { bytes: job.bytes.load(Ordering::Relaxed).min(bytes_total), bytes_total });
    run_with_helper(&job, &world, &mut tell);
    let mut outcomes = std::mem::take(&mut *lock(&job.outcomes));
    outcomes.sort_by_key(|(place, _)| *place);
    let (mut records, mut commits) = (0, 0);
    for (_, outcome) in outcomes {
        records += outcome.records;
        commits += outcome.commits;
        report.damage.extend(outcome.damage);
        report.notes.extend(outcome.notes);
    }
    prepared_copies(&world, &looked, &mut report);
    report.damage.sort_by_key(|damage| (damage.segment, damage.offset));
    if report.damage.iter().any(|damage| !damage.what.is_unreadable()) {
        report.end = End::Damaged;
    } else if !report.damage.is_empty() {
        report.end = End::Unreadable;
    }
    let bytes = job.bytes.load(Ordering::Relaxed).min(bytes_total);
    progress(Progress { bytes: bytes_total, bytes_total });
    Ok(Verification { bytes, records, commits, damage: report.damage.clone(), end: report.end, report })
}

/// One file to be checked.
struct Task {
    header: SegmentHeader,
    number: u64,
    name: String,
    file_bytes: u64,
    course: Course,
    footer: Result<Footer, HeaderFault>,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// In use, with a successor; whether some later segment has its footer, and this one's is therefore missing.
    Inner { footed_later: bool },
    /// In use, the last one.
    Last,
    /// Made ahead; whether the journal was closed, so that no switch to it can have been under way.
    Prepared { closed: bool },
}

fn tasks_of(gathered: &Gathered) -> Vec<Task> {
    let chain = &gathered.verdict.chain;
    let task = |index: usize, header: SegmentHeader, course: Course, role: Role| {
        let fact = &gathered.facts[index];
        Task {
            header,
            number: fact.number,
            name: fact.file.clone(),
            file_bytes: fact.file_bytes,
            course,
            footer: fact.footer,
            role,
        }
    };
    let mut tasks = Vec::new();
    for (place, link) in chain.iter().enumerate() {
        let fact = &gathered.facts[link.index];
        // A successor behind a hole says nothing about this segment's end.
        let next = chain.get(place + 1).filter(|next| gathered.facts[next.index].number == fact.number + 1);
        let footer = fact.footer.as_ref().ok();
        let course = Course::of(&link.header, footer, next.map(|next| &next.header));
        let footed_later = chain[place + 1..].iter().any(|later| gathered.facts[later.index].footer.is_ok());
        let role = if place + 1 < chain.len() { Role::Inner { footed_later } } else { Role::Last };
        tasks.push(task(link.index, link.header, course, role));
    }
    let closed = matches!(gathered.verdict.end, End::Closed);
    for &index in &gathered.arrangement.prepared {
        let Some(header) = gathered.facts[index].copies.iter().find_map(|copy| copy.ok()) else { continue };
        tasks.push(task(index, header, Course::of(&header, None, None), Role::Prepared { closed }));
    }
    tasks
}

/// Header copies of files made ahead: opening does not report them, as it makes such a file anew. A crash may have torn one:
/// both are written at once where such a file comes into use.
fn prepared_copies(world: &World, looked: &Looked, report: &mut Report) {
    let gathered = &looked.gathered;
    for &index in &gathered.arrangement.prepared {
        let fact = &gathered.facts[index];
        for (copy, header) in fact.copies.iter().enumerate() {
            let (offset, bytes) = ((copy * PAGE_BYTES) as u64, PAGE_BYTES as u64);
            let what = match header {
                Ok(_) => continue,
                Err(HeaderFault::Unreadable) => DamageKind::UnreadableCopy,
                Err(_) if gathered.verdict.end == End::Closed && !torn_in_switch(world, looked, index, copy) => {
                    DamageKind::HeaderCopy
                }
                Err(_) => {
                    let note =
                        format!("an unfinished switch left a torn header copy in {} at offset {offset}", fact.file);
                    report.notes.push(note);
                    continue;
                }
            };
            report.damage.push(place(fact.number, &fact.file, offset, bytes, what));
        }
    }
}

/// Whether a bad copy is what a crash within the switch to its file leaves behind a closed end: sectors of the other
/// copy, and sectors of the header by which the file would be in use, which the end of the journal determines.
fn torn_in_switch(world: &World, looked: &Looked, index: usize, copy: usize) -> bool {
    let gathered = &looked.gathered;
    let (fact, verdict) = (&gathered.facts[index], &gathered.verdict);
    let last = verdict.chain.last().and_then(|link| gathered.facts[link.index].scan.as_ref());
    let (Some(last), Ok(prepared)) = (last, fact.copies[1 - copy]) else { return false };
    let begun = SegmentHeader {
        state: HeaderState::Begun,
        first_sequence: verdict.next,
        predecessor_digest: last.digest,
        released_below: verdict.released_below,
        gap_first: 0,
        ..prepared
    };
    let mut pages = [[0u8; PAGE_BYTES]; 3];
    prepared.encode(&mut pages[0]);
    begun.encode(&mut pages[1]);
    let file = world.disk.open(&looked.folder.join(&fact.file), Access::Read);
    let read = file.and_then(|file| read_full_at(&*file, &mut pages[2], (copy * PAGE_BYTES) as u64));
    let range = |sector: usize| sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
    let known = |sector| pages[..2].iter().any(|page| page[range(sector)] == pages[2][range(sector)]);
    read.is_ok() && (0..PAGE_BYTES / SECTOR_BYTES).all(known)
}

fn place(segment: u64, file: &str, offset: u64, bytes: u64, what: DamageKind) -> Damage {
    Damage { segment, file: file.to_string(), offset, bytes, first: None, last: None, what }
}

/// What one file gave.
#[derive(Default)]
struct Outcome {
    damage: Vec<Damage>,
    notes: Vec<String>,
    records: u64,
    commits: u64,
    /// Bytes that the progress has been told of.
    passed: u64,
}

/// The work, shared by two threads.
struct Job {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    live: bool,
    known: Vec<Damage>,
    tasks: Vec<Task>,
    taken: AtomicU32,
    bytes: AtomicU64,
    outcomes: Mutex<Vec<(usize, Outcome)>>,
    /// 1 once the helping thread has ended.
    helper_done: AtomicU32,
}

/// Checks all files, with a second thread if there is more than one and the environment has threads.
fn run_with_helper(job: &Arc<Job>, world: &World, tell: &mut dyn FnMut()) {
    let environment = &world.environment;
    let helper = (job.tasks.len() > 1).then(|| {
        let (job, environment) = (job.clone(), environment.clone());
        let work = move || {
            job.run(&mut || ());
            job.helper_done.store(1, Ordering::SeqCst);
            environment.wake(&job.helper_done, u32::MAX);
        };
        world.environment.spawn("duramen-verify", Box::new(work)).ok().flatten()
    });
    job.run(tell);
    if let Some(helper) = helper.flatten() {
        // The count tells of a thread that died without a word.
        while job.helper_done.load(Ordering::SeqCst) == 0 && Arc::strong_count(job) > 1 {
            environment.wait(&job.helper_done, 0, Some(Duration::from_millis(100)));
            tell();
        }
        helper.join();
    }
    // What a thread that died left undone.
    let done: Vec<usize> = lock(&job.outcomes).iter().map(|(place, _)| *place).collect();
    for place in (0..job.tasks.len()).filter(|place| !done.contains(place)) {
        let outcome = job.check(&job.tasks[place], tell);
        lock(&job.outcomes).push((place, outcome));
    }
}

impl Job {
    fn run(&self, tell: &mut dyn FnMut()) {
        loop {
            let place = self.taken.fetch_add(1, Ordering::SeqCst) as usize;
            let Some(task) = self.tasks.get(place) else { return };
            let outcome = self.check(task, tell);
            lock(&self.outcomes).push((place, outcome));
        }
    }
}

impl Job {
    /// One file. Beside a living writer what looks wrong may be a file that was released, used again, or begun since:
    /// then its header has changed.
    fn check(&self, task: &Task, tell: &mut dyn FnMut()) -> Outcome {
        let mut outcome = self.check_once(task, tell);
        if self.live && !outcome.damage.is_empty() {
            let frame = read_frame(&*self.disk, &self.folder, task.number, &task.name, task.file_bytes);
            let same = frame.is_ok_and(|frame| frame.copies.contains(&Ok(task.header)) && frame.footer == task.footer);
            outcome = if same { self.check_once(task, &mut || ()) } else { Outcome::default() };
        }
        self.bytes.fetch_add(task.file_bytes.saturating_sub(outcome.passed), Ordering::Relaxed);
        outcome
    }

    fn check_once(&self, task: &Task, tell: &mut dyn FnMut()) -> Outcome {
        let file = match self.disk.open(&self.folder.join(&task.name), Access::Read) {
            Ok(file) => file,
            Err(error) if self.live && error.kind() == io::ErrorKind::NotFound => return Outcome::default(),
            Err(_) => {
                let damage = vec![place(task.number, &task.name, 0, task.file_bytes, DamageKind::Unreadable)];
                return Outcome { damage, ..Outcome::default() };
            }
        };
        let mut check = Check {
            task,
            file: &*file,
            binding: task.header.binding(),
            known: &self.known,
            bytes: &self.bytes,
            told: 0,
            tell,
            block: None,
            bad_blocks: Vec::new(),
            logs: LogTable::default(),
            outcome: Outcome::default(),
            broken: false,
        };
        match task.role {
            Role::Prepared { closed } => check.prepared(closed),
            Role::Inner { .. } | Role::Last => check.begun(),
        }
        check.outcome
    }
}

/// One file under check.
struct Check<'a> {
    task: &'a Task,
    file: &'a dyn DiskFile,
    binding: Binding,
    /// What opening reports already.
    known: &'a [Damage],
    bytes: &'a AtomicU64,
    told: u64,
    tell: &'a mut dyn FnMut(),
    /// The page of the index that the walk is in.
    block: Option<(u32, Vec<u32>)>,
    bad_blocks: Vec<u32>,
    logs: LogTable,
    outcome: Outcome,
    /// Some commits are bad, so that counts cannot agree.
    broken: bool,
}

impl Visitor for Check<'_> {
    fn commit(&mut self, _offset: u32, header: &CommitHeader, _trailer: &CommitTrailer) {
        self.outcome.commits += 1;
        self.passed(header.total_bytes());
    }

    fn record(&mut self, sequence: Sequence, place: u32, header: &RecordHeader, payload: Option<&[u8]>) {
        self.outcome.records += 1;
        self.logs.count(header.log, sequence);
        // The commit's digest was made after the payload's check: between the two lies the memory of the writer.
        if payload.is_none_or(|payload| payload_checksum(payload) != header.payload_crc) {
            self.damage(u64::from(place), header.total_bytes() as u64, DamageKind::Commit, Some((sequence, sequence)));
        }
        if let Ok(footer) = &self.task.footer {
            self.compare_index(footer, sequence, place);
        }
    }

    fn wants_payloads(&self) -> bool {
        true
    }
}

impl Surveyor for Check<'_> {
    fn broken(&mut self, _window: &mut Window<'_>, at: &Break) {
        self.broken = true;
        let known = |known: &Damage| known.what.refuses_writing() && at.is_told_by(self.task.number, known);
        if !self.known.iter().any(known) {
            self.outcome.damage.extend(at.damages(self.task.number, &self.task.name, self.file));
        }
    }
}

impl Check<'_> {
    fn damage(&mut self, offset: u64, bytes: u64, what: DamageKind, records: Option<(Sequence, Sequence)>) {
        let mut damage = place(self.task.number, &self.task.name, offset, bytes, what);
        (damage.first, damage.last) = (records.map(|(first, _)| first), records.map(|(_, last)| last));
        self.outcome.damage.push(damage);
    }

    /// Tells of what cannot be read between two offsets, unless it is told already.
    fn unreadable(&mut self, from: u64, until: u64) {
        for part in unreadable_parts(self.file, from, until) {
            let told = |told: &&Damage| told.segment == self.task.number && told.what.is_unreadable();
            let covers = |told: &Damage| told.offset <= part.start && told.offset + told.bytes >= part.end;
            if !self.known.iter().filter(told).any(covers) {
                self.damage(part.start, part.end - part.start, DamageKind::Unreadable, None);
            }
        }
    }

    fn passed(&mut self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.outcome.passed += bytes;
        self.told += bytes;
        if self.told >= STEP_BYTES {
            self.told = 0;
            (self.tell)();
        }
    }

    fn begun(&mut self) {
        let course = self.task.course;
        let mut window = Window::new(self.file, u64::from(self.task.header.segment_bytes), BUFFER_BYTES);
        let end = survey(&mut window, &course, self).end;
        match (self.task.footer, self.task.role) {
            (Ok(footer), _) => self.sealed(&footer),
            (Err(_), Role::Inner { footed_later }) => {
                // Nothing is known of what stands here, but that the device can read it.
                self.unreadable(end.into(), u64::from(course.header.segment_bytes) - PAGE_BYTES as u64);
                self.unfinished_footer(footed_later);
            }
            // What stands behind the last segment's end is the verdict's.
            (Err(_), _) => {}
        }
    }

    /// Everything behind the commits of a sealed segment.
    fn sealed(&mut self, footer: &Footer) {
        self.zeros(u64::from(footer.data_end), u64::from(footer.index_offset), "");
        let blocks = footer.count.div_ceil(INDEX_ENTRIES_PER_BLOCK as u64) as u32;
        for block in 0..blocks {
            self.index_block(footer, block);
        }
        let end = u64::from(self.task.header.segment_bytes) - PAGE_BYTES as u64;
        let offset = u64::from(footer.tables_offset);
        let mut tables = vec![0u8; (end - offset) as usize];
        match read_full_at(self.file, &mut tables, offset) {
            Ok(read) => tables.truncate(read),
            Err(_) => return self.unreadable(offset, end),
        }
        let decoded = decode_tables(&tables, footer, &self.binding);
        // Logs cannot agree where records are missing.
        let agrees = decoded.is_some_and(|(logs, _)| self.broken || logs == self.logs.entries());
        if !agrees {
            self.damage(offset, end - offset, DamageKind::Footer, None);
        }
    }

    /// Reads one page of the index; a bad one is told once. `None`: it is bad.
    fn index_block(&mut self, footer: &Footer, block: u32) -> Option<Vec<u32>> {
        if self.bad_blocks.contains(&block) {
            return None;
        }
        let offset = u64::from(footer.index_offset) + u64::from(block) * PAGE_BYTES as u64;
        let mut page = [0u8; PAGE_BYTES];
        let what = match read_full_at(self.file, &mut page, offset) {
            Ok(_) => DamageKind::Footer,
            Err(_) => DamageKind::Unreadable,
        };
        let entries = decode_index_block(&page, block, &self.binding);
        if entries.is_none() {
            self.bad_block(footer, block, what);
        }
        entries
    }

    fn bad_block(&mut self, footer: &Footer, block: u32, what: DamageKind) {
        if self.bad_blocks.contains(&block) {
            return;
        }
        self.bad_blocks.push(block);
        let first = footer.first_sequence + u64::from(block) * INDEX_ENTRIES_PER_BLOCK as u64;
        let last = (first + INDEX_ENTRIES_PER_BLOCK as u64 - 1).min(footer.last_sequence());
        let offset = u64::from(footer.index_offset) + u64::from(block) * PAGE_BYTES as u64;
        self.damage(offset, PAGE_BYTES as u64, what, Some((first, last)));
    }

    /// Whether the index leads to the record where it is.
    fn compare_index(&mut self, footer: &Footer, sequence: Sequence, place: u32) {
        let Some(index) = sequence.checked_sub(footer.first_sequence).filter(|&index| index < footer.count) else {
            return;
        };
        let block = (index / INDEX_ENTRIES_PER_BLOCK as u64) as u32;
        if self.block.as_ref().is_none_or(|(number, _)| *number != block) {
            self.block = self.index_block(footer, block).map(|entries| (block, entries));
        }
        let Some((_, entries)) = &self.block else { return };
        if entries.get(index as usize % INDEX_ENTRIES_PER_BLOCK) != Some(&place) {
            self.bad_block(footer, block, DamageKind::Footer);
        }
    }

    /// A segment with a successor and without a good footer. A crash before the footer was durable leaves it so, and the
    /// next opening writes it again; a footer that was once complete and is bad now is damage.
    fn unfinished_footer(&mut self, footed_later: bool) {
        let offset = u64::from(self.task.header.segment_bytes) - PAGE_BYTES as u64;
        let mut page = [0u8; PAGE_BYTES];
        let read = read_full_at(self.file, &mut page, offset);
        if read.is_err() || self.task.footer == Err(HeaderFault::Unreadable) {
            return self.unreadable(offset, offset + PAGE_BYTES as u64);
        }
        // A footer's page has bytes that are not zero at both of its ends, and none between. Where both are there, it was
        // written whole, and one sector of it may have rotted since. In a file that was used before they can be another
        // footer's; a page with bytes all over was ruined as a whole, which a crash does where a device tears pages.
        let written: Vec<bool> = page.chunks(SECTOR_BYTES).map(|sector| sector.iter().any(|&byte| byte != 0)).collect();
        let between = written[1..written.len() - 1].iter().filter(|&&written| written).count();
        let whole = self.task.header.zeroed && written[0] && written[written.len() - 1] && between <= 1;
        if footed_later || whole {
            self.damage(offset, PAGE_BYTES as u64, DamageKind::Footer, None);
        }
    }

    /// A file made ahead holds nothing yet.
    fn prepared(&mut self, closed: bool) {
        let header = &self.task.header;
        if header.zeroed && !header.growing && header.state == HeaderState::Prepared {
            let unfinished = if closed { "" } else { "an unfinished switch left bytes in" };
            self.zeros(u64::from(DATA_OFFSET), self.task.file_bytes, unfinished);
        }
    }

    /// Tells of bytes that should be zero: as damage, or as a note where there is an innocent reason.
    fn zeros(&mut self, from: u64, to: u64, reason: &str) {
        let mut buffer = vec![0u8; BUFFER_BYTES.min(to.saturating_sub(from) as usize)];
        let mut found: Option<(u64, u64)> = None;
        let mut offset = from;
        while offset < to {
            let length = buffer.len().min((to - offset) as usize);
            let piece = &mut buffer[..length];
            let length = match read_full_at(self.file, piece, offset) {
                Ok(0) => break,
                Ok(read) => read,
                Err(_) => return self.unreadable(offset, to),
            };
            for (place, page) in piece[..length].chunks(PAGE_BYTES).enumerate() {
                // Without an early exit the loop becomes wide instructions.
                if page.iter().fold(0, |all, byte| all | byte) == 0 {
                    continue;
                }
                let at = offset + (place * PAGE_BYTES) as u64;
                let first = page.iter().position(|&byte| byte != 0).unwrap_or(0) as u64;
                let last = page.iter().rposition(|&byte| byte != 0).unwrap_or(0) as u64;
                found = Some((found.map_or(at + first, |(first, _)| first), at + last + 1));
            }
            offset += length as u64;
            self.passed(length as u64);
        }
        match found {
            Some((first, _)) if !reason.is_empty() => {
                self.outcome.notes.push(format!("{reason} {} at offset {first}", self.task.name));
            }
            Some((first, end)) => self.damage(first, end - first, DamageKind::Padding, None),
            None => {}
        }
    }
}
