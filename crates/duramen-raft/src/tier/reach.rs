//! A disk that reaches through to a tier: segments that were moved are listed and opened as if they were here. Owns the order in
//! which a segment moves, and what becomes of its files.
//!
//! | step of a move | after a crash here |
//! |---|---|
//! | the copy is durable in the tier | nothing has changed; the copy is written anew by the next move |
//! | every byte of it was read back and compared | the same |
//! | the stub is durable | both are there, the file counts; the next move goes on here |
//! | the file is gone, durably | the stub counts |
//!
//! Locks: `moving`, held while a segment goes or comes to an end, then `opened`. Neither while a tier is read.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock, Weak};

use duramen_journal::World;
use duramen_journal::disk::{Access, Disk, DiskFile, Entry, FileSystem, Lock, SyncMethod, read_full_at, write_all_at};
use duramen_journal::format::{Footer, PAGE_BYTES, SegmentHeader};

use super::stub::{SUFFIX, Stub};
use super::{DirectoryTier, IDENTITY, JOURNAL, PIECE_BYTES, Tier, TierPlace, create, is_segment, pieces};
use crate::{lock, read, write};

/// The two copies of a segment's header.
const HEAD_BYTES: usize = 2 * PAGE_BYTES;

#[derive(Debug)]
pub(crate) struct Reaching {
    inner: Arc<dyn Disk>,
    tier: Arc<dyn Tier>,
    data: PathBuf,
    journal: PathBuf,
    /// Segments' files in use, by name.
    opened: Mutex<BTreeMap<String, Vec<Weak<Inner>>>>,
    moving: Mutex<()>,
    /// Names whose stubs are gone: the tier's copy can go when that is durable.
    given_up: Mutex<Vec<String>>,
}

/// Where a segment's bytes are.
#[derive(Debug)]
enum Place {
    Here(Box<dyn DiskFile>),
    There(Arc<Cold>),
}

type Inner = RwLock<Place>;

#[derive(Debug)]
struct Cold {
    stub: Stub,
    name: String,
    tier: Arc<dyn Tier>,
}

#[derive(Debug)]
struct File(Arc<Inner>);

/// A reason to refuse.
fn refuse<V>(kind: io::ErrorKind, why: impl Into<String>) -> io::Result<V> {
    Err(io::Error::new(kind, why.into()))
}

impl Reaching {
    /// A world whose disk reaches through, if segments were moved from this data folder, or may be. A directory is found by what
    /// the stubs say; any other place has to be given.
    ///
    /// # Errors
    /// Segments lie in a place that was not given; a stub is damaged.
    pub fn through(
        world: &World,
        data: &Path,
        tier: Option<Arc<dyn Tier>>,
    ) -> io::Result<(World, Option<Arc<Reaching>>)> {
        let journal = data.join(JOURNAL);
        let names = match world.disk.list(&journal) {
            Ok(entries) => entries.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(SUFFIX)).collect(),
            // What is no folder, or may not be looked at, the journal tells better.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
                ) =>
            {
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let tier = match (tier, names.first()) {
            (Some(tier), _) => tier,
            (None, None) => return Ok((world.clone(), None)),
            (None, Some(name)) => match read_stub(&*world.disk, &journal.join(name))?.place {
                TierPlace::Directory(path) => Arc::new(DirectoryTier::on(world.disk.clone(), path)),
                TierPlace::Other(words) => {
                    return refuse(
                        io::ErrorKind::NotFound,
                        format!("segments were moved to {words}: give that place as the tier"),
                    );
                }
            },
        };
        let reaching = Arc::new(Reaching {
            inner: world.disk.clone(),
            tier,
            data: data.to_path_buf(),
            journal,
            opened: Mutex::new(BTreeMap::new()),
            moving: Mutex::new(()),
            given_up: Mutex::new(Vec::new()),
        });
        let disk: Arc<dyn Disk> = reaching.clone();
        Ok((World { disk, environment: world.environment.clone() }, Some(reaching)))
    }

    /// The name of a segment at this path.
    fn segment<'a>(&self, path: &'a Path) -> Option<&'a str> {
        let name = path.file_name()?.to_str()?;
        (path.parent() == Some(&self.journal) && is_segment(name)).then_some(name)
    }

    fn stub_path(&self, name: &str) -> PathBuf {
        self.journal.join(format!("{name}{SUFFIX}"))
    }

    fn in_tier(name: &str) -> String {
        format!("{JOURNAL}/{name}")
    }

    fn cold(&self, name: &str) -> io::Result<Arc<Cold>> {
        let stub = read_stub(&*self.inner, &self.stub_path(name))?;
        Ok(Arc::new(Cold { stub, name: Self::in_tier(name), tier: self.tier.clone() }))
    }

    /// Whether a segment's file is here.
    fn is_here(&self, name: &str) -> io::Result<bool> {
        match self.inner.open(&self.journal.join(name), Access::Read) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Files of a segment that are in use.
    fn users_of(&self, name: &str) -> Vec<Arc<Inner>> {
        lock(&self.opened).get(name).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    /// Moves one sealed segment. False: it is not here any more, or not in a state to be moved yet.
    pub fn move_out(&self, name: &str) -> io::Result<bool> {
        let path = self.journal.join(name);
        let file = match self.inner.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(mut stub) = ends_of(&*file, self.tier.place())? else { return Ok(false) };
        self.put_identity()?;
        let there = Self::in_tier(name);
        let copied = self.tier.put(&there, &*file, stub.bytes);
        let compared = copied.and_then(|()| self.compare(&*file, &there, stub.bytes));
        let _alone = lock(&self.moving);
        if !self.is_here(name)? {
            // It was released meanwhile, and its file may be in use again: what was copied means nothing.
            self.tier.remove(&there)?;
            return Ok(false);
        }
        stub.digest = compared?;
        let (kept, new) = (self.stub_path(name), self.journal.join(format!("{name}{SUFFIX}.tmp")));
        let written = create(&*self.inner, &new)?;
        write_all_at(&*written, &stub.encode(), 0)?;
        written.sync_data()?;
        self.inner.rename(&new, &kept)?;
        self.inner.sync_dir(&self.journal)?;
        let cold = Arc::new(Cold { stub, name: there, tier: self.tier.clone() });
        for opened in self.users_of(name) {
            *write(&opened) = Place::There(cold.clone());
        }
        self.inner.remove(&path)?;
        self.inner.sync_dir(&self.journal)?;
        Ok(true)
    }

    /// A tier is complete in itself: it says whose it is.
    fn put_identity(&self) -> io::Result<()> {
        let file = self.inner.open(&self.data.join(IDENTITY), Access::Read)?;
        let bytes = file.bytes()?;
        let mut own = vec![0; usize::try_from(bytes).unwrap_or(0)];
        read_full_at(&*file, &mut own, 0)?;
        let mut theirs = vec![0; own.len()];
        match self.tier.read_at(IDENTITY, &mut theirs, 0) {
            // Beyond the journal's id hints may differ.
            Ok(read) if read == theirs.len() && theirs.get(..40) == own.get(..40) => Ok(()),
            Ok(read) if read > 0 => {
                refuse(io::ErrorKind::AlreadyExists, format!("{} holds another log's segments", self.tier.place()))
            }
            Ok(_) => self.tier.put(IDENTITY, &*file, bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.tier.put(IDENTITY, &*file, bytes),
            Err(error) => Err(error),
        }
    }

    /// Reads the copy back and compares each byte; the digest of both.
    fn compare(&self, file: &dyn DiskFile, there: &str, bytes: u64) -> io::Result<u64> {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        let mut copy = vec![0; PIECE_BYTES];
        pieces(file, bytes, &mut |offset, piece| {
            let read = self.tier.read_at(there, &mut copy[..piece.len()], offset)?;
            if copy[..read] != *piece {
                return refuse(io::ErrorKind::InvalidData, format!("the copy in {} differs", self.tier.place()));
            }
            digest.update(piece);
            Ok(())
        })?;
        Ok(digest.finalize())
    }

    /// Brings a segment back, compares its digest, and gives the copy up. False: it is here, or was released.
    pub fn move_in(&self, name: &str) -> io::Result<bool> {
        let _alone = lock(&self.moving);
        if self.is_here(name)? {
            return Ok(false);
        }
        let cold = match self.cold(name) {
            Ok(cold) => cold,
            // It was released meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let (path, new) = (self.journal.join(name), self.journal.join(format!("{name}.tmp")));
        let file = create(&*self.inner, &new)?;
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        let mut buffer = vec![0; PIECE_BYTES];
        let mut offset = 0;
        while offset < cold.stub.bytes {
            let length = buffer.len().min(usize::try_from(cold.stub.bytes - offset).unwrap_or(buffer.len()));
            if self.tier.read_at(&cold.name, &mut buffer[..length], offset)? != length {
                return refuse(
                    io::ErrorKind::UnexpectedEof,
                    format!("{} is cut off in {}", cold.name, self.tier.place()),
                );
            }
            digest.update(&buffer[..length]);
            write_all_at(&*file, &buffer[..length], offset)?;
            offset += length as u64;
        }
        if digest.finalize() != cold.stub.digest {
            self.inner.remove(&new)?;
            return refuse(io::ErrorKind::InvalidData, format!("{} is damaged in {}", cold.name, self.tier.place()));
        }
        file.sync_data()?;
        self.inner.rename(&new, &path)?;
        self.inner.sync_dir(&self.journal)?;
        for opened in self.users_of(name) {
            *write(&opened) = Place::Here(self.inner.open(&path, Access::Read)?);
        }
        self.give_up(name)?;
        self.inner.sync_dir(&self.journal)?;
        self.clear_tier();
        Ok(true)
    }

    /// Names of segments that lie in the tier.
    pub fn moved(&self) -> io::Result<Vec<String>> {
        let entries = self.inner.list(&self.journal)?;
        let names = |entry: &Entry| entry.name.strip_suffix(SUFFIX).map(str::to_string);
        let mut moved: Vec<String> = entries.iter().filter_map(names).collect();
        moved.retain(|name| !entries.iter().any(|entry| entry.name == *name));
        moved.sort();
        Ok(moved)
    }

    /// Forgets a moved segment; `false`: it was not moved.
    fn give_up(&self, name: &str) -> io::Result<bool> {
        match self.inner.remove(&self.stub_path(name)) {
            Ok(()) => {
                lock(&self.given_up).push(Self::in_tier(name));
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes a segment away by `call`, and its stub; then its copy. Whether there was a stub.
    fn let_go(&self, name: &str, call: &dyn Fn() -> io::Result<()>) -> (io::Result<()>, bool) {
        let alone = lock(&self.moving);
        let (result, had_stub) = (call(), self.give_up(name));
        drop(alone);
        match had_stub {
            Ok(false) => (result, false),
            Ok(true) => {
                // Should this fail, the copy goes with the next.
                if self.inner.sync_dir(&self.journal).is_ok() {
                    self.clear_tier();
                }
                (result, true)
            }
            Err(error) => (Err(error), false),
        }
    }

    /// Removes what no stub speaks of any more. What the tier cannot do now is done with the next.
    fn clear_tier(&self) {
        let names = std::mem::take(&mut *lock(&self.given_up));
        let left: Vec<String> = names.into_iter().filter(|name| self.tier.remove(name).is_err()).collect();
        lock(&self.given_up).extend(left);
    }
}

fn read_stub(disk: &dyn Disk, path: &Path) -> io::Result<Stub> {
    let file = disk.open(path, Access::Read)?;
    let mut bytes = vec![0; usize::try_from(file.bytes()?).unwrap_or(0)];
    read_full_at(&*file, &mut bytes, 0)?;
    Stub::decode(&bytes).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what.to_string()))
}

/// The two ends of a sealed segment whose headers are both good.
fn ends_of(file: &dyn DiskFile, place: TierPlace) -> io::Result<Option<Stub>> {
    let mut head = vec![0; HEAD_BYTES];
    if read_full_at(file, &mut head, 0)? != HEAD_BYTES || head[..PAGE_BYTES] != head[PAGE_BYTES..] {
        return Ok(None);
    }
    let Ok(header) = SegmentHeader::decode(&head[..PAGE_BYTES]) else { return Ok(None) };
    let bytes = file.bytes()?;
    let mut page = vec![0; PAGE_BYTES];
    let Some(at) = u64::from(header.segment_bytes).checked_sub(PAGE_BYTES as u64) else { return Ok(None) };
    if bytes != u64::from(header.segment_bytes) || read_full_at(file, &mut page, at)? != PAGE_BYTES {
        return Ok(None);
    }
    let Ok(footer) = Footer::decode(&page, &header) else { return Ok(None) };
    let from = u64::from(footer.tables_offset);
    let mut tail = vec![0; usize::try_from(bytes - from).unwrap_or(0)];
    if read_full_at(file, &mut tail, from)? != tail.len() {
        return Ok(None);
    }
    Ok(Some(Stub { place, bytes, digest: 0, head, tail }))
}

impl Disk for Reaching {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = self.inner.list(path)?;
        if path != self.journal {
            return Ok(entries);
        }
        let stubs: Vec<String> =
            entries.iter().filter_map(|entry| entry.name.strip_suffix(SUFFIX)).map(str::to_string).collect();
        entries.retain(|entry| !entry.name.contains(SUFFIX));
        for name in stubs {
            if !entries.iter().any(|entry| entry.name == name) {
                let bytes = self.cold(&name)?.stub.bytes;
                entries.push(Entry { name, directory: false, bytes });
            }
        }
        Ok(entries)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let Some(name) = self.segment(path) else { return self.inner.open(path, access) };
        let _alone = lock(&self.moving);
        let place = match self.inner.open(path, access) {
            Ok(file) => Place::Here(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound && access != Access::Create => {
                match self.cold(name) {
                    Ok(cold) => Place::There(cold),
                    Err(stub) if stub.kind() == io::ErrorKind::NotFound => return Err(error),
                    Err(stub) => return Err(stub),
                }
            }
            Err(error) => return Err(error),
        };
        let file = Arc::new(RwLock::new(place));
        let mut opened = lock(&self.opened);
        let of_name = opened.entry(name.to_string()).or_default();
        of_name.retain(|file| file.strong_count() > 0);
        of_name.push(Arc::downgrade(&file));
        Ok(Box::new(File(file)))
    }

    /// A released segment becomes a spare; one that is elsewhere just goes.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let Some(name) = self.segment(from) else { return self.inner.rename(from, to) };
        self.let_go(name, &|| self.inner.rename(from, to)).0
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let Some(name) = self.segment(path) else { return self.inner.remove(path) };
        match self.let_go(name, &|| self.inner.remove(path)) {
            (Err(error), true) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            (removed, _) => removed,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)?;
        if path == self.journal {
            self.clear_tier();
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_locked(path)
    }

    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        self.inner.file_system(path)
    }
}

impl File {
    fn here<V>(&self, call: impl FnOnce(&dyn DiskFile) -> io::Result<V>) -> io::Result<V> {
        match &*read(&self.0) {
            Place::Here(file) => call(&**file),
            Place::There(cold) => refuse(
                io::ErrorKind::ReadOnlyFilesystem,
                format!("{} was moved to {} and is not written any more", cold.name, cold.tier.place()),
            ),
        }
    }
}

impl Cold {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let part = |bytes: &[u8], from: u64, buffer: &mut [u8]| {
            let at = usize::try_from(offset - from).unwrap_or(usize::MAX);
            let there = bytes.get(at..).unwrap_or_default();
            let length = there.len().min(buffer.len());
            buffer[..length].copy_from_slice(&there[..length]);
            Ok(length)
        };
        if offset >= self.stub.tail_at() {
            return part(&self.stub.tail, self.stub.tail_at(), buffer);
        }
        if offset < self.stub.head.len() as u64 {
            return part(&self.stub.head, 0, buffer);
        }
        let length = buffer.len().min(usize::try_from(self.stub.tail_at() - offset).unwrap_or(buffer.len()));
        let read = self.tier.read_at(&self.name, &mut buffer[..length], offset);
        let read = read.map_err(|error| {
            io::Error::new(error.kind(), format!("{} cannot be read from {}: {error}", self.name, self.tier.place()))
        })?;
        if read == length {
            return Ok(read);
        }
        refuse(io::ErrorKind::UnexpectedEof, format!("{} is cut off in {}", self.name, self.tier.place()))
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let cold = match &*read(&self.0) {
            Place::Here(file) => return file.read_at(buffer, offset),
            Place::There(cold) => cold.clone(),
        };
        cold.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.here(|file| file.write_at(bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        match &*read(&self.0) {
            Place::Here(file) => file.sync_data(),
            // It was durable before it moved.
            Place::There(_) => Ok(()),
        }
    }

    fn write_sync(&self, bytes: &[u8], offset: u64, method: SyncMethod) -> io::Result<usize> {
        self.here(|file| file.write_sync(bytes, offset, method))
    }

    fn bytes(&self) -> io::Result<u64> {
        match &*read(&self.0) {
            Place::Here(file) => file.bytes(),
            Place::There(cold) => Ok(cold.stub.bytes),
        }
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.here(|file| file.allocate(bytes))
    }

    fn start_writeback(&self, offset: u64, bytes: u64) {
        if let Place::Here(file) = &*read(&self.0) {
            file.start_writeback(offset, bytes);
        }
    }

    fn expect_sequential_reads(&self) {
        if let Place::Here(file) = &*read(&self.0) {
            file.expect_sequential_reads();
        }
    }

    fn drop_cache(&self) -> io::Result<()> {
        match &*read(&self.0) {
            Place::Here(file) => file.drop_cache(),
            Place::There(_) => Ok(()),
        }
    }

    fn drop_cache_range(&self, offset: u64, bytes: u64) -> io::Result<()> {
        match &*read(&self.0) {
            Place::Here(file) => file.drop_cache_range(offset, bytes),
            Place::There(_) => Ok(()),
        }
    }
}
