//! Sealed segments in a second place: moved there, verified, then given up here; read from there as if they were here. Owns what a
//! place must be able to do ([`Tier`]), the place that is a directory ([`DirectoryTier`]), and bringing a log back ([`restore`]).
//!
//! A tier has the shape of a data folder: `IDENTITY`, `journal/….seg`. What stays here of a moved segment is a *stub* beside where
//! it was: its headers, its tables and its footer, so that opening asks the tier for nothing. While the tier is away, entries that
//! lie there are an error; everything else goes on.

#[cfg(feature = "object-store")]
mod object;
mod reach;
pub(crate) mod stub;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duramen_journal::disk::{Access, Disk, DiskFile, Lock, read_full_at, write_all_at};
use duramen_journal::{Error as WalError, ReadOptions, Reader, SegmentInfo, World};

#[cfg(feature = "object-store")]
pub use object::ObjectTier;
pub(crate) use reach::Reaching;

/// Bytes that are copied at once.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// The folder of the segments, in a data folder and in a tier.
pub(crate) const JOURNAL: &str = "journal";
pub(crate) const IDENTITY: &str = "IDENTITY";

/// Where a tier is, as far as it can be found again without the program that wrote to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TierPlace {
    /// A directory.
    Directory(PathBuf),
    /// Something else, in words.
    Other(String),
}

impl fmt::Display for TierPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TierPlace::Directory(path) => write!(f, "{}", path.display()),
            TierPlace::Other(words) => f.write_str(words),
        }
    }
}

/// A second place for files. Names are relative, with `/` between their parts. All methods may block, and are called from
/// threads that read or write the log.
pub trait Tier: Send + Sync + fmt::Debug {
    /// Where it is.
    fn place(&self) -> TierPlace;
    /// Stores so many bytes of a file under a name, in the place of what is there. Durable when it returns.
    ///
    /// # Errors
    /// Something less than the whole may be there.
    fn put(&self, name: &str, from: &dyn DiskFile, bytes: u64) -> io::Result<()>;
    /// Reads from an offset on; fewer bytes than the buffer holds only at the end of the file.
    ///
    /// # Errors
    /// The place is away, or has no such file.
    fn read_at(&self, name: &str, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// All files, and their lengths.
    ///
    /// # Errors
    /// The place is away.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// The place is away.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A directory, of another disk say.
#[derive(Clone, Debug)]
pub struct DirectoryTier {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl DirectoryTier {
    /// A directory of the real disk. It should be an absolute path: it is noted in the log's folder.
    pub fn new(path: impl Into<PathBuf>) -> DirectoryTier {
        DirectoryTier::on(World::real().disk, path)
    }

    /// A directory of any disk.
    pub fn on(disk: Arc<dyn Disk>, path: impl Into<PathBuf>) -> DirectoryTier {
        DirectoryTier { disk, path: path.into() }
    }

    /// Makes the directory that holds a name, durably, with those above it as far as the tier goes.
    fn make_folder(&self, name: &str) -> io::Result<PathBuf> {
        let file = self.path.join(name);
        let folder = file.parent().unwrap_or(&self.path).to_path_buf();
        let mut missing = vec![folder.as_path()];
        while let Some(parent) = missing.last().and_then(|path| path.parent())
            && parent.starts_with(&self.path)
        {
            missing.push(parent);
        }
        for path in missing.iter().rev() {
            match self.disk.create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                // One that is there may have been made by a process that died before its name was durable.
                _ => self.disk.sync_dir(path.parent().unwrap_or(path))?,
            }
        }
        Ok(folder)
    }
}

/// A new file under this name; what is there goes.
pub(crate) fn create(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn DiskFile>> {
    match disk.open(path, Access::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(path)?;
            disk.open(path, Access::Create)
        }
        opened => opened,
    }
}

/// Walks over a file piece by piece.
pub(crate) fn pieces(
    from: &dyn DiskFile,
    bytes: u64,
    visit: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES.min(usize::try_from(bytes).unwrap_or(PIECE_BYTES))];
    let mut offset = 0;
    while offset < bytes {
        let length = buffer.len().min(usize::try_from(bytes - offset).unwrap_or(buffer.len()));
        if read_full_at(from, &mut buffer[..length], offset)? != length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
        }
        visit(offset, &buffer[..length])?;
        offset += length as u64;
    }
    Ok(())
}

impl Tier for DirectoryTier {
    fn place(&self) -> TierPlace {
        TierPlace::Directory(self.path.clone())
    }

    fn put(&self, name: &str, from: &dyn DiskFile, bytes: u64) -> io::Result<()> {
        let folder = self.make_folder(name)?;
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.tmp")));
        let file = create(&*self.disk, &new)?;
        pieces(from, bytes, &mut |offset, piece| write_all_at(&*file, piece, offset))?;
        file.sync_data()?;
        self.disk.rename(&new, &path)?;
        self.disk.sync_dir(&folder)
    }

    fn read_at(&self, name: &str, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = self.disk.open(&self.path.join(name), Access::Read)?;
        read_full_at(&*file, buffer, offset)
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for (prefix, folder) in [(String::new(), self.path.clone()), (format!("{JOURNAL}/"), self.path.join(JOURNAL))] {
            match self.disk.list(&folder) {
                Ok(entries) => {
                    let own = entries.into_iter().filter(|entry| !entry.directory && !entry.name.ends_with(".tmp"));
                    files.extend(own.map(|entry| (format!("{prefix}{}", entry.name), entry.bytes)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.disk.remove(&self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether this is the name of a segment.
pub(crate) fn is_segment(name: &str) -> bool {
    name.strip_suffix(".seg").is_some_and(|digits| digits.len() == 16 && u64::from_str_radix(digits, 16).is_ok())
}

/// Moves the sealed segments of a log that nobody writes to into a tier, but for the newest `segments_kept` of them. For the
/// tools: a writer moves its own, with [`crate::RaftLogs::move_segments`]. Returns how many moved.
///
/// # Errors
/// A writer has the folder open; the tier is away; a copy differs: that segment stays as it was, those before it have moved.
pub fn move_segments(data: &Path, world: &World, tier: Arc<dyn Tier>, segments_kept: usize) -> Result<usize, WalError> {
    let _alone = lock_folder(data, world)?;
    let (reached, reaching) = through(data, world, Some(tier))?;
    let Some(reaching) = reaching else { return Ok(0) };
    let reader = Reader::open_with(data, &ReadOptions::default(), reached)?;
    move_sealed(&reaching, data, &reader.segments(), segments_kept)
}

/// Brings all segments of a log back that nobody writes to. `tier`: where they are; a directory is found without it.
///
/// # Errors
/// As [`move_segments`]; a copy is damaged: its stub stays.
pub fn bring_back(data: &Path, world: &World, tier: Option<Arc<dyn Tier>>) -> Result<usize, WalError> {
    let _alone = lock_folder(data, world)?;
    let (_, reaching) = through(data, world, tier)?;
    reaching.map_or(Ok(0), |reaching| bring_all(&reaching, data))
}

pub(crate) fn move_sealed(
    reaching: &Reaching,
    data: &Path,
    segments: &[SegmentInfo],
    segments_kept: usize,
) -> Result<usize, WalError> {
    let sealed = segments.iter().filter(|info| info.sealed).count();
    let mut moved = 0;
    for info in segments.iter().filter(|info| info.sealed).take(sealed.saturating_sub(segments_kept)) {
        let name = format!("{:016x}.seg", info.number);
        let went =
            reaching.move_out(&name).map_err(|error| io_error("move", &data.join(JOURNAL).join(&name), error))?;
        moved += usize::from(went);
    }
    Ok(moved)
}

pub(crate) fn bring_all(reaching: &Reaching, data: &Path) -> Result<usize, WalError> {
    let error = |name: &str, error| io_error("bring back", &data.join(JOURNAL).join(name), error);
    let mut came = 0;
    for name in reaching.moved().map_err(|cause| error("", cause))? {
        came += usize::from(reaching.move_in(&name).map_err(|cause| error(&name, cause))?);
    }
    Ok(came)
}

/// A world that reaches through to where this folder's segments were moved, if they were.
pub(crate) fn through(
    data: &Path,
    world: &World,
    tier: Option<Arc<dyn Tier>>,
) -> Result<(World, Option<Arc<Reaching>>), WalError> {
    Reaching::through(world, data, tier).map_err(|error| io_error("reach the tier of", data, error))
}

fn lock_folder(data: &Path, world: &World) -> Result<Box<dyn Lock>, WalError> {
    let path = data.join("LOCK");
    world.disk.lock(&path).map_err(|error| io_error("lock", &path, error))
}

fn io_error(action: &'static str, path: &Path, error: io::Error) -> WalError {
    if duramen_journal::disk::out_of_space(&error) {
        return WalError::NoSpace { path: path.to_path_buf() };
    }
    WalError::Io { action, path: path.to_path_buf(), offset: None, source: Arc::new(error) }
}

/// Copies what a tier holds into a new folder, which then is what the log's own folder was when its last segment moved, without
/// the segments behind that. [`crate::inspect::salvage`] makes a log of it that opens. Returns how many segments there were.
///
/// # Errors
/// The tier is away; the folder holds files already; the disk's.
pub fn restore(tier: &dyn Tier, folder: &Path, world: &World) -> io::Result<usize> {
    let disk = &*world.disk;
    for path in [folder.to_path_buf(), folder.join(JOURNAL)] {
        match disk.create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    if disk.list(&folder.join(JOURNAL))?.iter().any(|entry| !entry.directory) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a journal in the folder already"));
    }
    let files = tier.list()?;
    let wanted = |name: &str| name == IDENTITY || name.strip_prefix("journal/").is_some_and(is_segment);
    let mut segments = 0;
    for (name, bytes) in files.into_iter().filter(|(name, _)| wanted(name)) {
        let file = create(disk, &folder.join(&name))?;
        let mut buffer = vec![0; PIECE_BYTES];
        let mut offset = 0;
        while offset < bytes {
            let read = tier.read_at(&name, &mut buffer, offset)?;
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} is shorter than it was")));
            }
            write_all_at(&*file, &buffer[..read], offset)?;
            offset += read as u64;
        }
        file.sync_data()?;
        segments += usize::from(name != IDENTITY);
    }
    disk.sync_dir(&folder.join(JOURNAL))?;
    disk.sync_dir(folder)?;
    Ok(segments)
}
