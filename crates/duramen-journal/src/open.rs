//! Opening for writing: from a folder to a writer, by way of the verdict. Owns the order of the steps that change the
//! disk, each of which can be cut off and repeated; what the facts mean is `recovery`'s.
//!
//! | step | durable before the next | a crash before leaves |
//! |---|---|---|
//! | the folder, its name | yes | nothing, or an empty folder |
//! | the lock | – | a file without meaning |
//! | `journal/`, then `IDENTITY` by rename | yes | a folder that is created again |
//! | a half-done setting aside is finished | yes | the same half |
//! | names synced; frames of the newest segments and all of those without footer: synced, cache dropped, walked | yes | the same bytes |
//! | header copies mended, torn switch removed | yes | the same verdict |
//! | opening record, if there was anything behind the end | yes | the same cut, reported again |
//! | `IDENTITY` again, once the first segment is in use: no segments is damage from then on | yes | a folder without that witness |
//! | footers, leftovers, spares | no need | the same work for the next opening |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::body::BodyBuffer;
use crate::catalog::{ActiveIndex, BlockCache, Catalog, Segment};
use crate::disk::{Access, Disk, Environment, SyncMethod, Worker, World, read_full_at, write_all_at};
use crate::error::Error;
use crate::files;
use crate::format::{CommitKind, HeaderState, Identity, PAGE_BYTES, SegmentHeader};
use crate::gather::{Gathered, How, Walked, gather, identity_place};
use crate::log::{Active, Failure, Limits, Log};
use crate::options::{OnDamage, Options, TornTail};
use crate::planted::{self, Bug};
use crate::pool::{FilePlan, Fill, Found, Pool, Prepared, Seal, write_headers};
use crate::reader::ReadCore;
use crate::recovery::OtherCopy;
use crate::report::{DamageKind, End, Report};
use crate::writer::{Parts, Writer};

/// An open journal's pieces.
pub(crate) struct Opened {
    pub writer: Arc<Writer>,
    pub report: Report,
    pub workers: Vec<Box<dyn Worker>>,
    pub lock: Box<dyn crate::disk::Lock>,
}

/// Opens for writing.
pub(crate) fn open(path: &Path, options: &Options, world: World) -> Result<Opened, Error> {
    options.check()?;
    let disk = &*world.disk;
    prepare_folder(disk, path, options)?;
    let lock_path = path.join(files::LOCK);
    let lock = disk.lock(&lock_path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Locked { path: lock_path.clone() },
        _ => Error::io("lock", &lock_path, error),
    })?;
    crate::salvage::finish_setting_aside(disk, path)?;
    let how = How { writing: true, buffer_bytes: options.read_buffer_bytes, observer: options.observer.as_ref() };
    let gathered = match gather(disk, path, how)? {
        Some(gathered) => {
            // A process that was killed may have left the identity's name in the cache only, and what is served from
            // here on must not go with it.
            disk.sync_dir(path).map_err(|error| Error::io("sync", path, error))?;
            gathered
        }
        None => {
            create(&world, path, options)?;
            gather(disk, path, how)?.ok_or_else(|| Error::Missing { path: path.to_path_buf() })?
        }
    };
    let mut report = report_of(&gathered);
    if report.is_unreadable() {
        return Err(Error::Unreadable(Box::new(report)));
    }
    check_kind(path, &gathered, options)?;
    if report.refuses_writing() {
        if options.on_damage == OnDamage::Refuse {
            return Err(Error::Damaged(Box::new(report)));
        }
        let aside = crate::salvage::set_aside(&world, path, options, &gathered)?;
        let again = gather(disk, path, how)?.ok_or_else(|| Error::Missing { path: path.to_path_buf() })?;
        let mended = report_of(&again);
        report = Report { damage: report.damage, cut: report.cut, set_aside: Some(aside), ..mended };
        return start(path, options, world, again, report, lock);
    }
    if report.cut.is_some() && options.torn_tail == TornTail::Refuse {
        return Err(Error::TornTail(Box::new(report)));
    }
    start(path, options, world, gathered, report, lock)
}

/// Sees that the folder exists and may be a journal's.
fn prepare_folder(disk: &dyn Disk, path: &Path, options: &Options) -> Result<(), Error> {
    match disk.list(path) {
        Ok(entries) => {
            let ours = [
                files::LOCK,
                files::IDENTITY,
                files::IDENTITY_NEW,
                files::JOURNAL,
                files::ASIDE,
                crate::salvage::REBUILT,
                crate::probe::FILE_NAME,
                "tables",
                "MANIFEST",
                "MANIFEST.tmp",
                "snapshots",
            ];
            let identified = entries.iter().any(|entry| entry.name == files::IDENTITY || entry.name == files::JOURNAL);
            let foreign = entries.iter().find(|entry| !ours.contains(&entry.name.as_str()));
            match foreign {
                Some(entry) if !identified => Err(Error::NotAJournal {
                    path: path.to_path_buf(),
                    reason: format!("the folder holds other things ({}); name an empty or new folder", entry.name),
                }),
                _ if !identified && !options.create => Err(Error::Missing { path: path.to_path_buf() }),
                _ => Ok(()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.create => create_folders(disk, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Missing { path: path.to_path_buf() }),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(Error::NotAJournal {
            path: path.to_path_buf(),
            reason: "it is a file, and a journal is a folder".to_string(),
        }),
        Err(error) => Err(Error::io("list", path, error)),
    }
}

/// Creates a folder and those above it that are missing, each name durable.
pub(crate) fn create_folders(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent_or_here = parent.unwrap_or(Path::new("."));
    match disk.create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent.is_some() => {
            create_folders(disk, parent_or_here)?;
            disk.create_dir(path).map_err(|error| Error::io("create", path, error))?;
        }
        Err(error) => return Err(Error::io("create", path, error)),
    }
    disk.sync_dir(parent_or_here).map_err(|error| Error::io("sync", parent_or_here, error))
}

/// Creates an empty journal in a folder: its identity is the last thing to become durable.
fn create(world: &World, path: &Path, options: &Options) -> Result<(), Error> {
    let disk = &*world.disk;
    let folder = files::journal_folder(path);
    match disk.create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io("create", &folder, error)),
        _ => {}
    }
    sync_ancestors(disk, path)?;
    // Two names of one folder may become durable in either order, and an identity says that there are segments.
    disk.sync_dir(path).map_err(|error| Error::io("sync", path, error))?;
    let mut journal_id = [0u8; 16];
    world.environment.entropy(&mut journal_id).map_err(|error| Error::io("draw entropy for", path, error))?;
    let method = measured_method(world, path, options);
    write_identity(disk, path, &Identity { journal_id, kind: options.kind, method, begun: false })
}

/// Makes the folder's own name durable: whoever made it may have died before that. Folders above its parent are synced
/// where that is allowed.
fn sync_ancestors(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    for (height, ancestor) in path.ancestors().skip(1).enumerate() {
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        match disk.sync_dir(ancestor) {
            Err(error) if height == 0 && error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(Error::io("sync", ancestor, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Measures the fastest safe sync method, once, where the journal is created.
fn measured_method(world: &World, path: &Path, options: &Options) -> u8 {
    if options.sync_method.is_some() {
        return 0;
    }
    match crate::probe::probe(&*world.disk, &*world.environment, path).map(|probe| probe.method) {
        Ok(SyncMethod::WriteSync) => 2,
        Ok(SyncMethod::Direct) => 3,
        Ok(SyncMethod::DataSync) => 1,
        Err(_) => 0,
    }
}

/// Replaces the identity file atomically.
pub(crate) fn write_identity(disk: &dyn Disk, path: &Path, identity: &Identity) -> Result<(), Error> {
    let (new, place) = (path.join(files::IDENTITY_NEW), path.join(files::IDENTITY));
    let file = match disk.open(&new, Access::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(&new, Access::Write),
        other => other,
    };
    let file = file.map_err(|error| Error::io("create", &new, error))?;
    write_all_at(&*file, &identity.encode(), 0).map_err(|error| Error::io("write", &new, error))?;
    file.sync_data().map_err(|error| Error::io("sync", &new, error))?;
    disk.rename(&new, &place).map_err(|error| Error::io("rename", &new, error))?;
    if planted::is(Bug::IdentityNotSynced) {
        return Ok(());
    }
    disk.sync_dir(path).map_err(|error| Error::io("sync", path, error))
}

fn check_kind(path: &Path, gathered: &Gathered, options: &Options) -> Result<(), Error> {
    match gathered.identity {
        Some(identity) if identity.kind != options.kind => Err(Error::NotAJournal {
            path: path.to_path_buf(),
            reason: format!(
                "it holds a {:?} folder, and a {:?} one is wanted",
                printable(&identity.kind),
                printable(&options.kind)
            ),
        }),
        _ => Ok(()),
    }
}

fn printable(kind: &[u8; 8]) -> String {
    String::from_utf8_lossy(kind).trim_end_matches('\0').to_string()
}

/// The report of what was gathered, before anything is changed.
pub(crate) fn report_of(gathered: &Gathered) -> Report {
    let verdict = &gathered.verdict;
    let mut records = 0;
    let mut bytes = 0;
    for link in &verdict.chain {
        let fact = &gathered.facts[link.index];
        let (count, end) = match (&fact.footer, &fact.scan) {
            (Ok(footer), _) => (footer.count, footer.data_end),
            (_, Some(scan)) => (scan.next - link.header.first_sequence, scan.end),
            _ => (0, crate::format::DATA_OFFSET),
        };
        records += count;
        bytes += u64::from(end - crate::format::DATA_OFFSET);
    }
    let mut damage = verdict.damage.clone();
    damage.extend(gathered.identity_fault.map(identity_place));
    let end = match verdict.end {
        End::Damaged => End::Damaged,
        _ if gathered.identity_fault == Some(DamageKind::Unreadable) => End::Unreadable,
        end => end,
    };
    Report {
        journal_id: gathered.journal_id,
        first: verdict.first,
        next: verdict.next,
        segments: verdict.chain.len() as u64,
        records,
        bytes,
        end,
        cut: verdict.cut.clone().filter(|_| end != End::Unreadable),
        damage,
        gaps: verdict.gaps.clone(),
        notes: gathered.notes.clone(),
        set_aside: None,
    }
}

/// The segments as readers see them.
pub(crate) fn catalog_of(gathered: &Gathered, folder: &Path, tail_bytes: usize) -> Arc<Catalog> {
    let segments = gathered.verdict.chain.iter().map(|link| {
        let fact = &gathered.facts[link.index];
        let path = folder.join(&fact.file);
        let walked = gathered.walked[link.index].as_ref();
        Arc::new(match (&fact.footer, walked) {
            (Ok(footer), _) => Segment::sealed(link.header, path, *footer),
            (Err(_), Some(walked)) => {
                let file = Some(walked.file.clone());
                let segment = Segment::open_ended(link.header, path, file, walked.index.clone());
                if let Some(scan) = &fact.scan {
                    segment.set_extent(scan.next, scan.end);
                }
                segment
            }
            (Err(_), None) => Segment::open_ended(link.header, path, None, Arc::new(ActiveIndex::default())),
        })
    });
    Arc::new(Catalog::new(segments.collect(), tail_bytes))
}

/// The keeper's thread; ends with the opening if that fails.
struct Keeper {
    pool: Arc<Pool>,
    worker: Option<Box<dyn Worker>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.pool.stop();
            worker.join();
        }
    }
}

/// Carries the verdict out and starts the writer.
fn start(
    path: &Path,
    options: &Options,
    world: World,
    mut gathered: Gathered,
    report: Report,
    lock: Box<dyn crate::disk::Lock>,
) -> Result<Opened, Error> {
    let folder = files::journal_folder(path);
    let disk = world.disk.clone();
    mend(&*disk, &folder, &gathered)?;
    let mut keeper = keeper_of(path, &folder, options, &world, &mut gathered)?;
    let catalog = catalog_of(&gathered, &folder, options.tail_cache_bytes);
    let mut log = log_of(&folder, options, &world, &mut gathered, &catalog, &keeper)?;
    let known = gathered.identity.unwrap_or(Identity {
        journal_id: gathered.journal_id,
        kind: options.kind,
        method: 0,
        begun: false,
    });
    if !known.begun {
        // The first segment is in use, durably. A folder that is found without one from now on has lost it.
        write_identity(&*disk, path, &Identity { begun: true, ..known })?;
    }
    submit_due_footers(options, &mut gathered, &catalog, &keeper.pool);
    first_steps(&mut log, &gathered)?;
    let core = Arc::new(ReadCore {
        disk,
        catalog,
        cache: BlockCache::new(options.read_cache_bytes),
        buffer_bytes: options.read_buffer_bytes,
        damage: Vec::new(),
        beside: false,
        opened: Default::default(),
    });
    let inline = log.inline;
    let writer = Arc::new(Writer::new(Parts {
        log,
        core,
        policy: options.policy,
        commit_bytes_max: options.commit_bytes_max as usize,
        queue_bytes_max: options.queue_bytes_max,
        idle_mark: options.idle_mark,
    }));
    let mut workers: Vec<Box<dyn Worker>> = Vec::new();
    if !inline {
        let running = writer.clone();
        workers.extend(spawn(&*world.environment, "duramen-flusher", Box::new(move || running.run()))?);
    }
    workers.extend(keeper.worker.take());
    Ok(Opened { writer, report, workers, lock })
}

/// The length of the file that is held back for a full disk. No other file has it: by its length an opening knows that it
/// stands in this one, where only what is reserved goes on.
fn reserve_bytes(segment_bytes: u32) -> u32 {
    match (segment_bytes / 16).max(256 << 10) & !(PAGE_BYTES as u32 - 1) {
        short if short < segment_bytes => short,
        _ => segment_bytes + PAGE_BYTES as u32,
    }
}

/// The files that are not being written, and the thread that keeps them, if the environment has threads.
fn keeper_of(
    path: &Path,
    folder: &Path,
    options: &Options,
    world: &World,
    gathered: &mut Gathered,
) -> Result<Keeper, Error> {
    let disk = &*world.disk;
    let segment_bytes = options.segment_bytes_whole();
    let plan = FilePlan {
        journal_id: gathered.journal_id,
        segment_bytes,
        reserve_bytes: reserve_bytes(segment_bytes),
        growing: disk.file_system(path).map(|system| system.copy_on_write).unwrap_or(false),
        spares_max: usize::from(options.spares_max),
        stock: options.stock,
    };
    let mut found = usable_spares(disk, std::mem::take(&mut gathered.found), &plan)?;
    let adopted = adopt_prepared(disk, folder, gathered, &mut found, &plan)?;
    let pool = Arc::new(Pool::new(world.clone(), folder.to_path_buf(), plan, found, Arc::default()));
    if let Some(prepared) = adopted {
        pool.adopt(prepared);
    }
    let running = pool.clone();
    let worker = spawn(&*world.environment, "duramen-keeper", Box::new(move || running.run()))?;
    if worker.is_none() {
        pool.set_inline();
    }
    Ok(Keeper { pool, worker })
}

/// The write side, standing at the end that recovery found.
fn log_of(
    folder: &Path,
    options: &Options,
    world: &World,
    gathered: &mut Gathered,
    catalog: &Arc<Catalog>,
    keeper: &Keeper,
) -> Result<Log, Error> {
    let limits = Limits::of(options);
    let (active, observer) = active_segment(options, gathered, catalog, &keeper.pool)?;
    let measured = match gathered.identity.map(|identity| identity.method) {
        Some(2) => SyncMethod::WriteSync,
        Some(3) => SyncMethod::Direct,
        _ => SyncMethod::DataSync,
    };
    let plan = keeper.pool.plan();
    let verdict = &gathered.verdict;
    Ok(Log {
        world: world.clone(),
        folder: folder.to_path_buf(),
        catalog: catalog.clone(),
        pool: keeper.pool.clone(),
        counters: keeper.pool.counters(),
        observer,
        next_sequence: verdict.next,
        durable: verdict.next - 1,
        released_below: verdict.released_below,
        limits,
        codec: options.codec,
        fresh_pages: limits.fresh_pages,
        method: options.sync_method.unwrap_or(measured),
        unsealed: None,
        scratch: BodyBuffer::default(),
        // A segment of the held-back file's length is that file; any other short one stems from other options.
        no_space: active.segment.header.segment_bytes == plan.reserve_bytes && !plan.growing,
        inline: keeper.worker.is_none(),
        aligned: Vec::new(),
        unstarted: 0,
        active,
    })
}

fn spawn(
    environment: &dyn Environment,
    name: &str,
    work: Box<dyn FnOnce() + Send>,
) -> Result<Option<Box<dyn Worker>>, Error> {
    environment.spawn(name, work).map_err(|error| Error::io("start a thread for", Path::new(name), error))
}

/// What opening writes through the log: the opening record, and the release of what a crash kept from going.
fn first_steps(log: &mut Log, gathered: &Gathered) -> Result<(), Error> {
    let verdict = &gathered.verdict;
    let opening = verdict.opening_record && !planted::is(Bug::GhostRevived);
    let segment = log.active.segment.header.number;
    let unaligned = log.fresh_pages && !(log.active.end as usize).is_multiple_of(PAGE_BYTES);
    let result = (|| {
        if opening {
            let mut salt = [0u8; 8];
            let drawn = log.world.environment.entropy(&mut salt);
            drawn.map_err(|error| Failure::Fatal(Error::io("draw entropy for", &log.folder, error)))?;
            log.control(CommitKind::Opening, &salt, true)?;
            let torn = verdict.cut.as_ref().filter(|cut| cut.segment == segment && cut.offset > 0);
            let here = log.active.segment.header.number == segment && !planted::is(Bug::CutReportedAgain);
            if let Some(cut) = torn.filter(|_| here) {
                log.clear_behind((u64::from(cut.offset) + cut.bytes) as u32)?;
            }
        }
        if unaligned {
            // The page that the end lies in holds acknowledged records: no further write may touch it.
            log.begin_next()?;
            log.sync()?;
        }
        Ok(())
    })();
    if let Err(Failure::Refused(error) | Failure::Fatal(error)) = result {
        return Err(error);
    }
    log.pool.want(log.active.segment.header.number + 1);
    log.pool.retire(log.catalog.retire(log.released_below));
    log.keep();
    Ok(())
}

/// Mends header copies, and clears away a torn switch and what is left below the floor.
fn mend(disk: &dyn Disk, folder: &Path, gathered: &Gathered) -> Result<(), Error> {
    for link in &gathered.verdict.chain {
        let (OtherCopy::Behind(copy) | OtherCopy::Damaged(copy) | OtherCopy::Unreadable(copy)) = link.other else {
            continue;
        };
        let path = folder.join(&gathered.facts[link.index].file);
        let file = disk.open(&path, Access::Write).map_err(|error| Error::io("open", &path, error))?;
        let mut page = [0u8; PAGE_BYTES];
        link.header.encode(&mut page);
        write_all_at(&*file, &page, (copy * PAGE_BYTES) as u64).map_err(|error| Error::io("write", &path, error))?;
        file.sync_data().map_err(|error| Error::sync(&path, error))?;
    }
    let mut removed = false;
    for &index in gathered.arrangement.torn_switch.iter().chain(&gathered.verdict.leftovers) {
        let path = folder.join(&gathered.facts[index].file);
        disk.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
        removed = true;
    }
    if removed {
        disk.sync_dir(folder).map_err(|error| Error::io("sync", folder, error))?;
    }
    Ok(())
}

/// Keeps spare files of the right length, up to the bound, and removes the others.
fn usable_spares(disk: &dyn Disk, found: Found, plan: &FilePlan) -> Result<Found, Error> {
    let length = |path: &PathBuf| disk.open(path, Access::Read).and_then(|file| file.bytes()).unwrap_or(0);
    let mut kept = Found { spare_number: found.spare_number, ..Found::default() };
    for (paths, keep) in [(found.spares, &mut kept.spares), (found.blanks, &mut kept.blanks)] {
        for path in paths {
            if keep.len() < plan.spares_max && !plan.growing && length(&path) == u64::from(plan.segment_bytes) {
                keep.push(path);
            } else {
                disk.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
            }
        }
    }
    match found.reserve {
        Some(path) if length(&path) == u64::from(plan.reserve_bytes) => kept.reserve = Some(path),
        Some(path) => disk.remove(&path).map_err(|error| Error::io("remove", &path, error))?,
        None => {}
    }
    Ok(kept)
}

/// Hands the file that was made ahead to the pool, if it suits; others go.
///
/// After anything but a clean close it may have been begun: the header that said so was torn off, and what was written
/// behind it was not. Under the same salt that could validate again, behind identical appends. It becomes a spare then,
/// which gets a fresh salt before it is used.
fn adopt_prepared(
    disk: &dyn Disk,
    folder: &Path,
    gathered: &Gathered,
    found: &mut Found,
    plan: &FilePlan,
) -> Result<Option<Prepared>, Error> {
    let wanted = gathered.verdict.chain.last().map_or(1, |link| gathered.facts[link.index].number + 1);
    let clean = gathered.verdict.end == End::Closed || planted::is(Bug::PreparedTrustedAfterCrash);
    let mut adopted = None;
    let mut changed = false;
    for &index in &gathered.arrangement.prepared {
        let fact = &gathered.facts[index];
        let path = folder.join(&fact.file);
        let header = fact.copies.iter().find_map(|copy| copy.ok());
        let whole = fact.copies[0].is_ok() && fact.copies[0] == fact.copies[1];
        let length = header.filter(|header| {
            header.segment_bytes == plan.segment_bytes && header.growing == plan.growing && !plan.growing
        });
        let suits = length.filter(|header| {
            clean && whole && fact.number == wanted && header.state == HeaderState::Prepared && adopted.is_none()
        });
        if let Some(header) = suits {
            let file = disk.open(&path, Access::Write).map_err(|error| Error::io("open", &path, error))?;
            adopted = Some(Prepared { header, file: Arc::from(file), path });
        } else if length.is_some() && found.spares.len() < plan.spares_max.max(1) {
            found.spare_number += 1;
            let spare = folder.join(files::spare_name(found.spare_number));
            disk.rename(&path, &spare).map_err(|error| Error::io("rename", &path, error))?;
            found.spares.push(spare);
            changed = true;
        } else {
            disk.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
            changed = true;
        }
    }
    if changed || adopted.is_some() {
        // A spare's header is overwritten only after it has durably lost its old name; and the name of a file that is
        // handed out may be in the cache alone, if the process died where it was given.
        disk.sync_dir(folder).map_err(|error| Error::io("sync", folder, error))?;
    }
    Ok(adopted)
}

type ActiveAndObserver = (Active, Option<Box<dyn crate::observer::Observer>>);

/// The segment to write on, as the walk left it; or the first of a new journal.
fn active_segment(
    options: &Options,
    gathered: &mut Gathered,
    catalog: &Arc<Catalog>,
    pool: &Pool,
) -> Result<ActiveAndObserver, Error> {
    let verdict = &gathered.verdict;
    let Some(link) = verdict.chain.last() else {
        let mut observer = options.observer.as_ref().map(|factory| factory.observer());
        if let Some(observer) = &mut observer {
            observer.begin(verdict.next);
        }
        let active = first_segment(verdict.next, catalog, pool)?;
        return Ok((active, observer));
    };
    let segment = catalog.all().pop().expect("the catalog was made of the chain");
    let walked = gathered.walked[link.index].take().ok_or_else(|| Error::NotAJournal {
        path: segment.path.clone(),
        reason: "its last segment was not read".to_string(),
    })?;
    let fact = &gathered.facts[link.index];
    let scan = fact.scan.as_ref().expect("walked with facts");
    let Walked { index, logs, observer, file, records } = walked;
    let mut active = Active::new(segment.clone(), file);
    let page = u64::from(scan.end) / PAGE_BYTES as u64 * PAGE_BYTES as u64;
    let rest = (u64::from(scan.end) - page) as usize;
    read_full_at(&*active.file, &mut active.tail[..rest], page)
        .map_err(|error| Error::read(&segment.path, page, error))?;
    active.index = index;
    active.logs = logs;
    active.records = records as u32;
    active.end = scan.end;
    active.digest = scan.digest;
    active.durable_end = scan.end;
    active.clean_tail = link.header.zeroed && scan.nonzero_end <= scan.end;
    active.last = scan.last.map(|(kind, _)| kind);
    active.witnessed = matches!(verdict.end, End::Closed | End::Idle | End::New);
    Ok((active, observer))
}

/// Begins segment 1 of a new journal: its headers are durable before anything else happens.
fn first_segment(next: u64, catalog: &Arc<Catalog>, pool: &Pool) -> Result<Active, Error> {
    let prepared = pool.take(1, true, Fill::Whole)?;
    let header = SegmentHeader {
        state: HeaderState::Begun,
        first_sequence: next,
        predecessor_digest: 0,
        released_below: next,
        gap_first: 0,
        ..prepared.header
    };
    let path = prepared.path.clone();
    write_headers(&*prepared.file, &header).map_err(|error| Error::io("write", &path, error))?;
    prepared.file.sync_data().map_err(|error| Error::sync(&path, error))?;
    let segment = Arc::new(Segment::open_ended(header, path, Some(prepared.file.clone()), Arc::default()));
    catalog.push(segment.clone());
    Ok(Active::new(segment, prepared.file))
}

/// Segments whose footers a crash prevented.
fn submit_due_footers(options: &Options, gathered: &mut Gathered, catalog: &Catalog, pool: &Pool) {
    let segments = catalog.all();
    for &index in &gathered.verdict.footers_due {
        let (Some(walked), Some(scan)) = (gathered.walked[index].take(), &gathered.facts[index].scan) else { continue };
        let Some(segment) = segments.iter().find(|segment| segment.header.number == gathered.facts[index].number)
        else {
            continue;
        };
        let summary = walked.observer.map(|mut observer| observer.summary());
        pool.submit(Seal {
            segment: segment.clone(),
            file: walked.file,
            index: walked.index,
            logs: walked.logs,
            summary,
            summary_max: options.summary_reserve() as usize,
            digest: scan.digest,
            data_end: scan.end,
            zero_behind: segment.header.zeroed && scan.nonzero_end <= scan.end,
            released_below: scan.released_below,
        });
    }
}
