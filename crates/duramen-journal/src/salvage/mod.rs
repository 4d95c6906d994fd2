//! Good records out of a damaged journal: into a new one elsewhere, or into one that takes the damaged one's place. Owns the
//! order of the renames by which it does so; reading is `copy`'s and `rescue`'s, writing the builder's.
//!
//! | step of setting aside | a crash before it is durable leaves |
//! |---|---|
//! | the good records in `rebuilt.tmp/`, closed and synced | the damaged journal, and a leftover that is removed |
//! | `journal/` renamed to `aside/N/` | the damaged journal, and a complete `rebuilt.tmp/`, which is made again |
//! | `rebuilt.tmp/` renamed to `journal/` | no `journal/`, and a complete `rebuilt.tmp/`: the next opening goes on here |
//!
//! Complete is what ends with a closing mark.

mod builder;
mod copy;
mod rescue;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use self::builder::{Builder, Built, Plan};
use self::copy::copy;
use crate::Sequence;
use crate::disk::{Disk, World};
use crate::error::Error;
use crate::files;
use crate::format::{HeaderFault, Identity, SEGMENT_BYTES_MIN};
use crate::gather::{Gathered, How, gather_in, read_identity};
use crate::inspect::Progress;
use crate::open::{create_folders, report_of, write_identity};
use crate::options::{OnDamage, Options};
use crate::report::{Damage, End, Gap, push_joined};
use crate::view;

/// Where a journal is rebuilt before it takes its place.
pub(crate) const REBUILT: &str = "rebuilt.tmp";
/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// What [`salvage`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvage {
    /// Records copied.
    pub copied: u64,
    /// Sequences that are not in the copy, gaps that were known before included.
    pub lost: Vec<Gap>,
    /// Why.
    pub damage: Vec<Damage>,
}

impl Salvage {
    /// The whole as one JSON object.
    pub fn to_json(&self) -> String {
        let mut out = format!("{{\"copied\":{},\"lost\":[", self.copied);
        push_joined(&mut out, self.lost.iter().map(|gap| format!("{{\"first\":{},\"end\":{}}}", gap.first, gap.end)));
        out.push_str("],\"damage\":[");
        push_joined(&mut out, self.damage.iter().map(Damage::to_json));
        out.push_str("]}");
        out
    }
}

impl fmt::Display for Salvage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "copied    {} records", self.copied)?;
        self.lost.iter().try_for_each(|gap| writeln!(f, "lost      {gap}"))?;
        self.damage.iter().try_for_each(|damage| writeln!(f, "because   {damage}"))
    }
}

/// Copies every good record of a journal, under its old sequence, into a new journal in a folder that does not exist yet.
/// Only reads the old one, which may be damaged, or in use.
///
/// What is lost becomes a gap of the new journal; behind a lost end of unknown length sequences go on 2³² later. A batch is copied whole or not at all. An unfinished end that nothing
/// proves to have been durable is left out, as opening would cut it. Each gap begins a segment of its own, as long as the
/// longest of the old ones.
///
/// # Errors
/// [`Error::Exists`]; [`Error::Missing`], [`Error::NotAJournal`], [`Error::NewerFormat`] of the old one; [`Error::NoSpace`],
/// [`Error::Io`]. A copy that failed half-way has no identity and is good for nothing: remove it.
pub fn salvage(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    world: World,
    progress: &mut dyn FnMut(Progress),
) -> Result<Salvage, Error> {
    salvage_as(from, to, Options::default().kind, world, progress)
}

/// The same, for a caller who knows of which kind the folder should be: where the old identity cannot be read, the new one says this.
///
/// # Errors
/// As [`salvage`].
pub fn salvage_as(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    kind: [u8; 8],
    world: World,
    progress: &mut dyn FnMut(Progress),
) -> Result<Salvage, Error> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let disk = &*world.disk;
    let looked = view::look(&world, from, BUFFER_BYTES)?;
    match disk.list(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() != io::ErrorKind::NotADirectory => return Err(Error::io("list", to, error)),
        _ => return Err(Error::Exists { path: to.to_path_buf() }),
    }
    create_folders(disk, to)?;
    let mut journal_id = [0u8; 16];
    world.environment.entropy(&mut journal_id).map_err(|error| Error::io("draw entropy for", to, error))?;
    let options = Options { stock: false, spares_max: 0, ..Options::default() };
    let segment_bytes = longest(&looked.gathered);
    let options = Options { segment_bytes, ..options };
    let building = Building { path: to, folder: &looked.folder, options: &options, journal_id, number: 1 };
    let (built, mut damage) = build(&world, &looked.gathered, &building, progress)?;
    let journal = files::journal_folder(to);
    disk.rename(&to.join(REBUILT), &journal).map_err(|error| Error::io("rename", &journal, error))?;
    disk.sync_dir(to).map_err(|error| Error::io("sync", to, error))?;
    let kind = looked.gathered.identity.map_or(kind, |identity| identity.kind);
    write_identity(disk, to, &Identity { journal_id, kind, method: 0, begun: true })?;
    damage.extend(view::report_beside(&looked).damage);
    damage.sort_by_key(|damage| (damage.segment, damage.offset));
    Ok(Salvage { copied: built.copied, lost: built.lost, damage })
}

/// One journal to be rebuilt.
struct Building<'a> {
    path: &'a Path,
    /// Where the old segments lie.
    folder: &'a Path,
    options: &'a Options,
    journal_id: [u8; 16],
    number: u64,
}

/// Builds the good records into an empty `rebuilt.tmp/`; everything in it is durable on return, its own name is not.
fn build(
    world: &World,
    gathered: &Gathered,
    building: &Building<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Built, Vec<Damage>), Error> {
    let disk = &*world.disk;
    let folder = building.path.join(REBUILT);
    match disk.create_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => clear(disk, &folder)?,
        other => other.map_err(|error| Error::io("create", &folder, error))?,
    }
    let plan = Plan {
        world,
        folder,
        options: building.options,
        journal_id: building.journal_id,
        segment_bytes: longest(gathered),
        number: building.number,
        start: start_of(gathered),
        released_below: gathered.verdict.released_below.max(1),
    };
    let mut builder = Builder::new(plan);
    let copied = copy(disk, building.folder, gathered, &mut builder, progress)?;
    let damage = gathered.verdict.damage.iter().chain(&copied.damage);
    let built = builder.finish(copied.next, end_is_lost(gathered, damage))?;
    disk.sync_dir(building.path).map_err(|error| Error::io("sync", building.path, error))?;
    Ok((built, copied.damage))
}

/// Whether records may be lost of which nothing tells how many they were: at the end.
fn end_is_lost<'a>(gathered: &Gathered, mut damage: impl Iterator<Item = &'a Damage>) -> bool {
    let last = gathered.verdict.chain.last().map_or(0, |link| gathered.facts[link.index].number);
    damage.any(|damage| damage.what.refuses_writing() && damage.last.is_none() && damage.segment >= last)
}

/// The length of the longest old segment: every batch fits into half of it.
fn longest(gathered: &Gathered) -> u32 {
    let lengths = gathered.verdict.chain.iter().map(|link| link.header.segment_bytes);
    lengths.max().unwrap_or(SEGMENT_BYTES_MIN).max(SEGMENT_BYTES_MIN)
}

/// The sequence from which on nothing should be missing.
fn start_of(gathered: &Gathered) -> Sequence {
    let verdict = &gathered.verdict;
    let Some(first) = verdict.chain.first() else { return verdict.released_below.max(1) };
    let first = if first.header.gap_first != 0 { first.header.gap_first } else { first.header.first_sequence };
    first.min(verdict.released_below.max(1))
}

fn clear(disk: &dyn Disk, folder: &Path) -> Result<(), Error> {
    let entries = disk.list(folder).map_err(|error| Error::io("list", folder, error))?;
    for entry in entries.iter().filter(|entry| !entry.directory) {
        let path = folder.join(&entry.name);
        disk.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
    }
    if entries.is_empty() {
        return Ok(());
    }
    disk.sync_dir(folder).map_err(|error| Error::io("sync", folder, error))
}

/// Where the segments of a data folder lie: in `journal/`, or, when a crash came between the two renames of setting aside,
/// in `rebuilt.tmp/`.
///
/// # Errors
/// `journal/` is missing, and what lies in `rebuilt.tmp/` could not be read: it may be the only place with the good
/// records.
pub(crate) fn current_folder(disk: &dyn Disk, path: &Path) -> Result<PathBuf, Error> {
    let (journal, rebuilt) = (files::journal_folder(path), path.join(REBUILT));
    let missing = disk.list(&journal).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    Ok(if missing && is_complete(disk, path, &rebuilt)? { rebuilt } else { journal })
}

/// Whether a folder holds a journal that was built to its end, and belongs to this data folder.
fn is_complete(disk: &dyn Disk, path: &Path, rebuilt: &Path) -> Result<bool, Error> {
    match read_identity(disk, path)? {
        Some(Ok(_) | Err(HeaderFault::Unreadable)) => {}
        _ => return Ok(false),
    }
    let how = How { writing: false, buffer_bytes: BUFFER_BYTES, observer: None };
    let Some(gathered) = gather_in(disk, path, rebuilt, how)? else { return Ok(false) };
    let report = report_of(&gathered);
    if report.is_unreadable() {
        return Err(Error::Unreadable(Box::new(report)));
    }
    Ok(report.end == End::Closed && !gathered.verdict.damage.iter().any(|damage| !damage.what.is_unreadable()))
}

/// Goes on where a crash interrupted setting aside, or clears away what it left. With the lock held, at each opening.
pub(crate) fn finish_setting_aside(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    let rebuilt = path.join(REBUILT);
    match disk.list(&rebuilt) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("list", &rebuilt, error)),
        Ok(_) => {}
    }
    if current_folder(disk, path)? == rebuilt {
        // The process that moved the damaged journal aside may have died before that was durable; then a power cut could
        // keep the second rename and not the first, and the damaged journal would be gone.
        sync_aside(disk, path)?;
        return take_place(disk, path);
    }
    // The folder itself stays, empty, for the next time.
    clear(disk, &rebuilt)
}

/// Makes it durable that the damaged journal lies aside, and no longer in its place.
fn sync_aside(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    let aside = path.join(files::ASIDE);
    disk.sync_dir(&aside).map_err(|error| Error::io("sync", &aside, error))?;
    disk.sync_dir(path).map_err(|error| Error::io("sync", path, error))
}

fn take_place(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    let journal = files::journal_folder(path);
    disk.rename(&path.join(REBUILT), &journal).map_err(|error| Error::io("rename", &journal, error))?;
    disk.sync_dir(path).map_err(|error| Error::io("sync", path, error))
}

/// Moves a damaged journal aside, untouched, and puts one with its good records in its place. With the lock held. Returns
/// where the damaged one went.
///
/// # Errors
/// [`Error::Unreadable`] if the device could not read all of it: what another try may read is not given up as lost.
pub(crate) fn set_aside(world: &World, path: &Path, options: &Options, gathered: &Gathered) -> Result<PathBuf, Error> {
    debug_assert!(options.on_damage == OnDamage::SetAside, "the option was asked before");
    let disk = &*world.disk;
    let journal = files::journal_folder(path);
    if gathered.identity_fault.is_some() {
        // Without one, a crash between the renames would leave a folder of which nobody knows what it is.
        write_identity(
            disk,
            path,
            &Identity { journal_id: gathered.journal_id, kind: options.kind, method: 0, begun: true },
        )?;
    }
    let highest = gathered.facts.iter().map(|fact| fact.number).max().unwrap_or(0);
    let number = highest.saturating_add(1);
    let building = Building { path, folder: &journal, options, journal_id: gathered.journal_id, number };
    let (_, damage) = build(world, gathered, &building, &mut |_| ())?;
    if damage.iter().any(|damage| damage.what.is_unreadable()) {
        clear(disk, &path.join(REBUILT))?;
        let mut report = report_of(gathered);
        report.damage.extend(damage);
        return Err(Error::Unreadable(Box::new(report)));
    }
    let aside = path.join(files::ASIDE);
    match disk.create_dir(&aside) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => {
            other.map_err(|error| Error::io("create", &aside, error))?;
            disk.sync_dir(path).map_err(|error| Error::io("sync", path, error))?;
        }
    }
    let entries = disk.list(&aside).map_err(|error| Error::io("list", &aside, error))?;
    let taken = |number: &u64| entries.iter().any(|entry| entry.name == number.to_string());
    let number = (1..).find(|number| !taken(number)).expect("a folder has fewer entries than there are numbers");
    let place = aside.join(number.to_string());
    disk.rename(&journal, &place).map_err(|error| Error::io("rename", &place, error))?;
    sync_aside(disk, path)?;
    take_place(disk, path)?;
    Ok(place)
}
