//! Every bit of a closed journal, flipped: found, and located. Owns the disk in memory on which that is quick, and the
//! count; what finds the bit is the library's own check, and on a sample its reader and its writer.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use duramen_journal::disk::{Access, Disk, DiskFile, Entry, FileSystem, Lock, SyncMethod};
use duramen_journal::inspect::verify;
use duramen_journal::{Codec, Error, Journal, Options, Reader, Report, World};

use crate::checker::read_options;
use crate::damage::{Built, build, closed, segment};
use crate::script::{FOLDER, Script, Step, Then, append, batch, one, small};

/// One flip in so many also goes through opening for writing.
const WRITER_EVERY: usize = 97;

type Bytes = Arc<Mutex<Vec<u8>>>;

/// Files in memory, for reading only.
#[derive(Clone, Debug, Default)]
struct MemoryDisk {
    files: BTreeMap<PathBuf, Bytes>,
}

#[derive(Debug)]
struct MemoryFile(Bytes);

fn held(bytes: &Bytes) -> MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        read_only()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let inside = self.files.iter().filter(|(name, _)| name.parent() == Some(path));
        let entries: Vec<Entry> = inside
            .map(|(name, bytes)| Entry {
                name: name.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                directory: false,
                bytes: held(bytes).len() as u64,
            })
            .collect();
        if entries.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(entries) }
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        if access != Access::Read {
            return read_only();
        }
        let bytes = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryFile(bytes.clone())))
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Lock>> {
        read_only()
    }

    fn is_locked(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }

    fn file_system(&self, _path: &Path) -> io::Result<FileSystem> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = held(&self.0);
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<usize> {
        read_only()
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_sync(&self, _bytes: &[u8], _offset: u64, _method: SyncMethod) -> io::Result<usize> {
        read_only()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(held(&self.0).len() as u64)
    }

    fn allocate(&self, _bytes: u64) -> io::Result<()> {
        read_only()
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A journal whose one file is flipped.
struct Target {
    name: &'static str,
    built: Built,
    /// The files that belong to it, by path, without those made ahead.
    files: Vec<(String, Vec<u8>)>,
    /// The one whose bits are flipped.
    flipped: String,
}

impl Target {
    fn of(name: &'static str, script: &Script, segments: u64, flipped: String) -> Target {
        let built = build(script, 1);
        let paths = (1..=segments).map(segment).chain(["/j/IDENTITY".to_owned()]);
        let files = paths.map(|path| (path.clone(), built.disk.read_durable(&path).expect("it is there"))).collect();
        Target { name, built, files, flipped }
    }

    fn disk(&self) -> (MemoryDisk, Bytes) {
        let files = self.files.iter().map(|(path, bytes)| (PathBuf::from(path), Arc::new(Mutex::new(bytes.clone()))));
        let disk = MemoryDisk { files: files.collect() };
        let flipped = disk.files[Path::new(&self.flipped)].clone();
        (disk, flipped)
    }

    fn bytes(&self) -> usize {
        self.files.iter().find(|(path, _)| *path == self.flipped).map_or(0, |(_, bytes)| bytes.len())
    }

    /// Flips one bit and looks.
    fn flip(&self, world: &World, flipped: &Bytes, bit: usize) -> Result<(), String> {
        let (byte, mask) = (bit / 8, 1u8 << (bit % 8));
        held(flipped)[byte] ^= mask;
        let found = self.found(world, byte, bit);
        held(flipped)[byte] ^= mask;
        found.map_err(|message| format!("{}: bit {} of byte {byte}: {message}", self.name, bit % 8))
    }

    fn found(&self, world: &World, byte: usize, bit: usize) -> Result<(), String> {
        let verified = match verify(FOLDER, world.clone(), &mut |_| ()) {
            Ok(verified) => verified,
            // A version that nobody has written yet fails its page's check first.
            Err(error) => return Err(format!("verifying fails altogether: {error}")),
        };
        self.located(&verified.report, byte).map_err(|message| format!("verify: {message}"))?;
        if bit.is_multiple_of(WRITER_EVERY) {
            self.opened(world, byte)?;
        }
        Ok(())
    }

    fn located(&self, report: &Report, byte: usize) -> Result<(), String> {
        let file = self.flipped.rsplit('/').next().unwrap_or_default();
        let byte = byte as u64;
        let covers = |offset: u64, bytes: u64| offset <= byte && byte < offset + bytes;
        let damaged = report.damage.iter().any(|damage| damage.file == file && covers(damage.offset, damage.bytes));
        let cut = report.cut.as_ref().is_some_and(|cut| cut.file == file && covers(u64::from(cut.offset), cut.bytes));
        if damaged || cut { Ok(()) } else { Err(format!("not located: {report}")) }
    }

    /// Reading and writing never serve what is wrong.
    fn opened(&self, world: &World, byte: usize) -> Result<(), String> {
        let reader = Reader::open_with(FOLDER, &read_options(), world.clone())
            .map_err(|error| format!("reading fails altogether: {error}"))?;
        for record in reader.scan(..).flatten() {
            let sequence = record.sequence;
            self.built.model.check_records(std::iter::once(Ok(record)), sequence, sequence + 1)?;
        }
        let disk = self.built.disk.kill();
        let bytes =
            held(&Arc::new(Mutex::new(disk.read_durable(&self.flipped).map_err(|error| error.to_string())?)))[byte];
        let changed = world.disk.open(Path::new(&self.flipped), Access::Read).map_err(|error| error.to_string())?;
        let mut now = [0u8];
        changed.read_at(&mut now, byte as u64).map_err(|error| error.to_string())?;
        assert_ne!(now[0], bytes, "a bit is flipped");
        disk.write_durable(&self.flipped, byte as u64, &now).map_err(|error| error.to_string())?;
        match Journal::open_with(Path::new(FOLDER), &self.built.options, disk.world()) {
            Err(Error::Damaged(_)) => Ok(()),
            Err(error) => Err(format!("an unexpected error: {error}")),
            // A sealed segment is trusted until it is read.
            Ok((journal, report)) => {
                for record in journal.scan(..).flatten() {
                    let sequence = record.sequence;
                    self.built.model.check_records(std::iter::once(Ok(record)), sequence, sequence + 1)?;
                }
                let short = report.next < self.built.model.next() && report.cut.is_none();
                if short { Err(format!("silently short: {report}")) } else { Ok(()) }
            }
        }
    }
}

fn targets() -> Vec<Target> {
    let packed = Options { codec: Codec::Lz4, ..small() };
    let mut steps =
        vec![append(batch(9, 2_000, 2), Then::Wait), append(one(20_000), Then::Wait), append(one(90), Then::Wait)];
    steps.push(Step::Close);
    let packed = Script::new("packed", packed, steps);
    let options = Options { segment_records_max: 9, ..small() };
    let mut steps = vec![append(batch(3, 900, 3), Then::Wait); 4];
    steps.push(Step::Close);
    let sealed = Script::new("sealed", options, steps);
    vec![
        Target::of("plain", &closed(), 1, segment(1)),
        Target::of("identity", &closed(), 1, "/j/IDENTITY".to_owned()),
        Target::of("lz4", &packed, 1, segment(1)),
        Target::of("sealed", &sealed, 2, segment(1)),
    ]
}

/// Flips one bit in so many of every target; how many bits that were.
#[allow(clippy::disallowed_methods, reason = "a test tool with threads of its own")]
pub fn flip_all(every: usize, threads: usize) -> Result<u64, String> {
    let mut total = 0;
    for target in targets() {
        let next = AtomicU64::new(0);
        let bits = target.bytes() * 8;
        let failure = Mutex::new(None);
        let work = || {
            let (disk, flipped) = target.disk();
            let environment = target.built.disk.kill().world().environment;
            let world = World { disk: Arc::new(disk), environment };
            loop {
                let bit = next.fetch_add(1, Ordering::Relaxed) as usize * every;
                let failed = failure.lock().map_or(true, |failure| failure.is_some());
                if bit >= bits || failed {
                    return;
                }
                if let Err(message) = target.flip(&world, &flipped, bit)
                    && let Ok(mut failure) = failure.lock()
                {
                    *failure = Some(message);
                }
            }
        };
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        if let Some(message) = failure.into_inner().unwrap_or(None) {
            return Err(message);
        }
        total += bits.div_ceil(every) as u64;
    }
    Ok(total)
}
