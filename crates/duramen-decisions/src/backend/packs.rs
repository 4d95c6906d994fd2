//! Chunks of checkpoints in files, many to a file: a pack. Owns the packs' format (FORMAT.md), which chunks lie where, and when a
//! pack is rewritten or removed.
//!
//! A pack is written by one process and never appended to by another. Whether what is found in it after a crash is whole is not
//! asked before somebody needs it: a chunk's checksum is checked when it is read, and before it is counted on for a new checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use duramen_journal::disk::{Access, Disk, DiskFile, read_full_at, write_all_at};

use crate::backend::compress::{pack, unpack};
use crate::config::CompressionOptions;
use crate::digest::hex;
use crate::error::Error;
use crate::lock;

/// The folder's name in a data folder.
pub(crate) const FOLDER: &str = "snapshots";
const SUFFIX: &str = ".pack";
const MAGIC: [u8; 8] = *b"DURAPACK";
const VERSION: u16 = 1;
/// Bytes before the first chunk.
const HEADER_BYTES: usize = 24;
/// Bytes before each chunk.
const ENTRY_BYTES: usize = 44;
/// Bytes of a pack, about: the next chunk begins another.
const PACK_BYTES: u64 = 256 << 20;
/// Bytes that are written together.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes of dead chunks in the pack that is being written, before it is left for another one.
const OPEN_DEAD_MAX: u64 = 64 << 10;
/// Stored bytes of a chunk at most.
const CHUNK_BYTES_MAX: u32 = 64 << 20;

type Digest = [u8; 32];

/// All chunks of one data folder.
#[derive(Debug)]
pub(crate) struct Packs {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    folder: PathBuf,
    compression: CompressionOptions,
    pack_bytes: u64,
    state: Mutex<Packed>,
}

#[derive(Debug, Default)]
struct Packed {
    chunks: BTreeMap<Digest, Place>,
    packs: BTreeMap<u64, Arc<dyn DiskFile>>,
    open: Option<Open>,
    next: u64,
    /// Whether the folder is there, durably.
    made: bool,
}

type Placed = (Place, Arc<dyn DiskFile>);

/// Where a chunk lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    pack: u64,
    /// Of its bytes, behind what stands before them.
    offset: u64,
    stored: u32,
    checksum: u32,
    /// Its bytes were checked, or written, by this process.
    sure: bool,
}

/// The pack that is being written.
#[derive(Debug)]
struct Open {
    number: u64,
    file: Arc<dyn DiskFile>,
    /// Bytes written.
    written: u64,
    buffer: Vec<u8>,
    /// Chunks that are not durable yet.
    unsynced: Vec<Digest>,
    named: bool,
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize() as u32
}

pub(crate) fn header(number: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&number.to_le_bytes());
    let sum = checksum(&[&bytes[..20]]);
    bytes[20..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// What stands before a chunk's bytes. Its checksum is bound to pack and offset, so that no other place's passes.
fn entry(pack: u64, offset: u64, digest: &Digest, stored: u32, sum: u32) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..32].copy_from_slice(digest);
    bytes[32..36].copy_from_slice(&stored.to_le_bytes());
    bytes[36..40].copy_from_slice(&sum.to_le_bytes());
    let own = checksum(&[&pack.to_le_bytes(), &offset.to_le_bytes(), &bytes[..40]]);
    bytes[40..].copy_from_slice(&own.to_le_bytes());
    bytes
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?;
    u64::from_str_radix(number, 16).ok().filter(|_| number.len() == 16)
}

fn name_of(number: u64) -> String {
    format!("{number:016x}{SUFFIX}")
}

impl Packs {
    /// Finds the chunks that there are; reads none.
    pub fn open(disk: Arc<dyn Disk>, data: &Path, compression: CompressionOptions) -> Result<Packs, Error> {
        Packs::find(disk, data, compression, Access::Write)
    }

    /// The same beside whoever writes, and without changing anything.
    pub fn look(disk: Arc<dyn Disk>, data: &Path) -> Result<Packs, Error> {
        Packs::find(disk, data, CompressionOptions::None, Access::Read)
    }

    fn find(disk: Arc<dyn Disk>, data: &Path, compression: CompressionOptions, access: Access) -> Result<Packs, Error> {
        let folder = data.join(FOLDER);
        let mut found = Packed { next: 1, ..Packed::default() };
        let entries = match disk.list(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("list", &folder, error)),
        };
        for own in entries {
            let Some(number) = number_of(&own.name) else { continue };
            let path = folder.join(&own.name);
            let file: Arc<dyn DiskFile> = match disk.open(&path, access) {
                Ok(file) => file.into(),
                // Its writer removed it meanwhile.
                Err(error) if access == Access::Read && error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("open", &path, error)),
            };
            if access == Access::Write {
                // Nobody knows whether its writer synced it; and what the system keeps in memory is no witness.
                let synced = file.sync_data().and_then(|()| file.drop_cache());
                synced.map_err(|error| Error::io("sync", &path, error))?;
            }
            found.next = found.next.max(number + 1);
            scan(&*file, number, own.bytes, &mut found.chunks).map_err(|error| Error::io("read", &path, error))?;
            found.packs.insert(number, file);
        }
        let (data, state) = (data.to_path_buf(), Mutex::new(found));
        Ok(Packs { disk, data, folder, compression, pack_bytes: PACK_BYTES, state })
    }

    /// Smaller packs, for tests.
    #[cfg(all(test, feature = "sim"))]
    fn with_pack_bytes(self, pack_bytes: u64) -> Packs {
        Packs { pack_bytes, ..self }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(name_of(number))
    }

    /// Stores a chunk.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        let mut stored = Vec::with_capacity(bytes.len() + 5);
        pack(self.compression, bytes, &mut stored);
        self.put_stored(&mut lock(&self.state), digest, &stored)
    }

    fn put_stored(&self, state: &mut Packed, digest: &Digest, stored: &[u8]) -> Result<(), Error> {
        if stored.len() as u64 > u64::from(CHUNK_BYTES_MAX) {
            return Err(Error::TooLarge { bytes: stored.len() as u64, max: u64::from(CHUNK_BYTES_MAX) });
        }
        let full = |open: &Open| open.written + open.buffer.len() as u64 >= self.pack_bytes;
        if state.open.as_ref().is_some_and(full) {
            self.sync(state)?;
            state.open = None;
        }
        if state.open.is_none() {
            self.begin(state)?;
        }
        let Some(open) = &mut state.open else { return Err(Error::Closed) };
        let at = open.written + open.buffer.len() as u64;
        let (length, sum) = (stored.len() as u32, checksum(&[stored]));
        open.buffer.extend_from_slice(&entry(open.number, at, digest, length, sum));
        open.buffer.extend_from_slice(stored);
        open.unsynced.push(*digest);
        let offset = at + ENTRY_BYTES as u64;
        let place = Place { pack: open.number, offset, stored: length, checksum: sum, sure: true };
        state.chunks.insert(*digest, place);
        if open.buffer.len() >= BUFFER_BYTES { self.write(state) } else { Ok(()) }
    }

    fn begin(&self, state: &mut Packed) -> Result<(), Error> {
        if !state.made {
            match self.disk.create_dir(&self.folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("create", &self.folder, error));
                }
                _ => {}
            }
            self.disk.sync_dir(&self.data).map_err(|error| Error::io("sync", &self.data, error))?;
            state.made = true;
        }
        let number = state.next;
        let path = self.path(number);
        // Whatever becomes of it, the number is not used again.
        state.next += 1;
        let file: Arc<dyn DiskFile> =
            self.disk.open(&path, Access::Create).map_err(|error| Error::io("create", &path, error))?.into();
        state.packs.insert(number, file.clone());
        let buffer = header(number).to_vec();
        state.open = Some(Open { number, file, written: 0, buffer, unsynced: Vec::new(), named: false });
        Ok(())
    }

    /// Writes what is buffered. A pack that cannot be written, or synced, is given up with the chunks that it made no one sure of.
    fn write(&self, state: &mut Packed) -> Result<(), Error> {
        let Some(open) = &mut state.open else { return Ok(()) };
        let written = write_all_at(&*open.file, &open.buffer, open.written);
        open.written += open.buffer.len() as u64;
        open.buffer.clear();
        self.kept(state, "write", written)
    }

    fn kept(&self, state: &mut Packed, action: &'static str, result: io::Result<()>) -> Result<(), Error> {
        let Err(error) = result else { return Ok(()) };
        let Some(open) = state.open.take() else { return Ok(()) };
        let of_it = |place: &Place| place.pack == open.number;
        open.unsynced.iter().for_each(|digest| {
            if state.chunks.get(digest).is_some_and(of_it) {
                state.chunks.remove(digest);
            }
        });
        Err(Error::io(action, &self.path(open.number), error))
    }

    fn sync(&self, state: &mut Packed) -> Result<(), Error> {
        self.write(state)?;
        let Some(open) = &mut state.open else { return Ok(()) };
        if open.unsynced.is_empty() {
            return Ok(());
        }
        let named = open.named;
        let synced = open.file.sync_data();
        self.kept(state, "sync", synced)?;
        if !named {
            let synced = self.disk.sync_dir(&self.folder);
            self.kept(state, "sync", synced)?;
        }
        if let Some(open) = &mut state.open {
            open.named = true;
            open.unsynced.clear();
        }
        Ok(())
    }

    /// Makes all chunks durable.
    pub fn sync_all(&self) -> Result<(), Error> {
        self.sync(&mut lock(&self.state))
    }

    /// A chunk as it is stored, its checksum checked.
    fn stored(&self, digest: &Digest, place: Place, file: &dyn DiskFile) -> Result<Bytes, Error> {
        let damaged = |reason: &str| Error::DamagedValue {
            what: format!("chunk {} in {}", hex(&digest[..4]), name_of(place.pack)),
            reason: reason.to_string(),
        };
        let mut bytes = vec![0; place.stored as usize];
        let read = read_full_at(file, &mut bytes, place.offset);
        let read = read.map_err(|error| Error::io("read", &self.path(place.pack), error))?;
        if read < bytes.len() {
            return Err(damaged("the file ends too early"));
        }
        if checksum(&[&bytes]) != place.checksum {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(bytes.into())
    }

    fn place(&self, state: &mut Packed, digest: &Digest) -> Result<Option<Placed>, Error> {
        let Some(place) = state.chunks.get(digest).copied() else { return Ok(None) };
        let buffered = |open: &Open| open.number == place.pack && place.offset + u64::from(place.stored) > open.written;
        if state.open.as_ref().is_some_and(buffered) {
            self.write(state)?;
        }
        Ok(state.packs.get(&place.pack).cloned().map(|file| (place, file)))
    }

    /// A chunk.
    pub fn get(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let Some((place, file)) = self.place(&mut lock(&self.state), digest)? else { return Ok(None) };
        let stored = self.stored(digest, place, &*file)?;
        let damaged = || Error::DamagedValue {
            what: format!("chunk {} in {}", hex(&digest[..4]), name_of(place.pack)),
            reason: "it cannot be decompressed".into(),
        };
        unpack(&stored).map(Some).ok_or_else(damaged)
    }

    /// Whether a chunk is there, unread.
    pub fn lists(&self, digest: &Digest) -> bool {
        lock(&self.state).chunks.contains_key(digest)
    }

    /// Whether a chunk is there and whole.
    pub fn has(&self, digest: &Digest) -> Result<bool, Error> {
        let Some((place, file)) = self.place(&mut lock(&self.state), digest)? else { return Ok(false) };
        if place.sure {
            return Ok(true);
        }
        let good = self.stored(digest, place, &*file).is_ok();
        let mut state = lock(&self.state);
        let of_it = |own: &&mut Place| own.pack == place.pack && own.offset == place.offset;
        if good {
            state.chunks.get_mut(digest).filter(of_it).iter_mut().for_each(|own| own.sure = true);
        } else if state.chunks.get_mut(digest).filter(of_it).is_some() {
            // It is stored anew if somebody has it.
            state.chunks.remove(digest);
        }
        Ok(good)
    }

    /// Forgets all chunks but these: packs without any of them are removed, those with few are rewritten.
    pub fn retain(&self, live: &BTreeSet<Digest>) -> Result<(), Error> {
        let mut state = lock(&self.state);
        self.sync(&mut state)?;
        let mut bytes: BTreeMap<u64, (u64, u64)> = state.packs.keys().map(|number| (*number, (0, 0))).collect();
        for (digest, place) in &state.chunks {
            let own = bytes.entry(place.pack).or_default();
            own.1 += u64::from(place.stored);
            own.0 += if live.contains(digest) { u64::from(place.stored) } else { 0 };
        }
        let open = state.open.as_ref().map(|open| open.number);
        let open = open.filter(|open| bytes.get(open).is_none_or(|(live, all)| all - live < OPEN_DEAD_MAX));
        if open.is_none() {
            // It is mostly dead, too: what follows goes into another one.
            state.open = None;
        }
        let sparse = bytes.iter().filter(|(number, (live, all))| Some(**number) != open && live * 2 < *all);
        let sparse: BTreeSet<u64> = sparse.map(|(number, _)| *number).collect();
        let empty = bytes.iter().filter(|(number, (live, all))| Some(**number) != open && *live == 0 && *all == 0);
        let dead: BTreeSet<u64> = sparse.iter().copied().chain(empty.map(|(number, _)| *number)).collect();
        let moved = state.chunks.iter().filter(|(digest, place)| live.contains(*digest) && dead.contains(&place.pack));
        let moved: Vec<Digest> = moved.map(|(digest, _)| *digest).collect();
        for digest in moved {
            let Some((place, file)) = self.place(&mut state, &digest)? else { continue };
            match self.stored(&digest, place, &*file) {
                Ok(stored) => self.put_stored(&mut state, &digest, &stored)?,
                // Nothing is lost by that which was not lost before; the checkpoint that has it says so.
                Err(Error::DamagedValue { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.sync(&mut state)?;
        if dead.is_empty() {
            return Ok(());
        }
        state.chunks.retain(|_, place| !dead.contains(&place.pack));
        for number in dead {
            let path = self.path(number);
            state.packs.remove(&number);
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &path, error)),
                _ => {}
            }
        }
        self.disk.sync_dir(&self.folder).map_err(|error| Error::io("sync", &self.folder, error))
    }

    /// Bytes of all packs.
    pub fn bytes(&self) -> u64 {
        lock(&self.state).packs.values().map(|file| file.bytes().unwrap_or(0)).sum()
    }
}

/// Notes the chunks of a pack, up to where it ends or makes no sense any more: what lies behind was not durable when its writer
/// ended, or is damaged; then the checkpoint that has it finds it missing.
fn scan(file: &dyn DiskFile, number: u64, bytes: u64, chunks: &mut BTreeMap<Digest, Place>) -> io::Result<()> {
    let mut head = [0; HEADER_BYTES];
    if read_full_at(file, &mut head, 0)? < HEADER_BYTES || head != header(number) {
        return Ok(());
    }
    let mut at = HEADER_BYTES as u64;
    let mut own = [0; ENTRY_BYTES];
    while at + ENTRY_BYTES as u64 <= bytes && read_full_at(file, &mut own, at)? == ENTRY_BYTES {
        let mut digest = [0; 32];
        digest.copy_from_slice(&own[..32]);
        let (stored, sum) = (word(&own[32..36]), word(&own[36..40]));
        let offset = at + ENTRY_BYTES as u64;
        if own != entry(number, at, &digest, stored, sum) || offset + u64::from(stored) > bytes {
            return Ok(());
        }
        chunks.insert(digest, Place { pack: number, offset, stored, checksum: sum, sure: false });
        at = offset + u64::from(stored);
    }
    Ok(())
}

#[cfg(all(test, feature = "sim"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use duramen_journal::disk::sim::SimDisk;

    fn packs(disk: &SimDisk) -> Packs {
        let world = disk.world();
        // It may be there.
        let _ = world.disk.create_dir(Path::new("/data"));
        Packs::open(world.disk, Path::new("/data"), CompressionOptions::None).unwrap().with_pack_bytes(3000)
    }

    fn chunk(at: u8) -> (Digest, Vec<u8>) {
        ([at; 32], vec![at; 500 + usize::from(at)])
    }

    #[test]
    fn chunks_come_back_after_opening_again_and_dead_packs_go() {
        let disk = SimDisk::new(3);
        let own = packs(&disk);
        for at in 0..40 {
            let (digest, bytes) = chunk(at);
            own.put(&digest, &bytes).unwrap();
            assert!(own.has(&digest).unwrap());
            assert_eq!(own.get(&digest).unwrap().unwrap(), bytes, "also before it is written");
        }
        own.sync_all().unwrap();
        let own = packs(&disk);
        for at in 0..40 {
            let (digest, bytes) = chunk(at);
            assert!(own.has(&digest).unwrap());
            assert_eq!(own.get(&digest).unwrap().unwrap(), bytes);
        }
        assert!(!own.has(&[99; 32]).unwrap());
        let before = own.bytes();
        let live: BTreeSet<Digest> = (0..40).filter(|at| at % 8 == 0).map(|at| chunk(at).0).collect();
        own.retain(&live).unwrap();
        assert!(own.bytes() < before / 2, "{} of {before}", own.bytes());
        let own = packs(&disk);
        for digest in &live {
            assert_eq!(own.get(digest).unwrap().unwrap(), chunk(digest[0]).1);
        }
        own.retain(&BTreeSet::new()).unwrap();
        assert_eq!(own.bytes(), 0);
    }
}
