//! The folder of a store that is not ours: which store it belongs to, and what to do when that store panics. Owns the marker
//! beside the store's own files.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "fjall")]
use duramen_journal::disk::Lock;
use duramen_journal::disk::{Access, Disk, read_full_at, write_all_at};

use crate::backend::witness::Witness;
use crate::config::PersistentLogConfig;
use crate::error::Error;

/// The file that says to which store a folder belongs.
const MARKER: &str = "BACKEND";

/// What a marker says.
fn marker(name: &str) -> String {
    format!("duramen-decisions {name} 1\n")
}

/// A folder that belongs to one store.
#[derive(Debug)]
pub(crate) struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Folder {
    /// Takes a folder for a store: an empty one if the options allow that, or one that is this store's already.
    ///
    /// # Errors
    /// [`Error::Foreign`]: it holds something else. Nothing was changed.
    pub fn take(name: &'static str, disk: Arc<dyn Disk>, config: &PersistentLogConfig) -> Result<Folder, Error> {
        let folder = Folder { disk, path: config.log_dir.clone() };
        let entries = match folder.disk.list(&folder.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("list", &folder.path, error)),
        };
        let found = folder.read(MARKER)?;
        let expected = marker(name);
        let foreign = |reason: &str| Err(Error::Foreign { path: folder.path.clone(), reason: reason.to_string() });
        match found {
            Some(found) if found == expected.as_bytes() => return Ok(folder),
            // The machine stopped while it was being made.
            Some(found) if expected.as_bytes().starts_with(&found) && entries.len() == 1 => {}
            Some(found) => {
                return foreign(&format!("its marker says {:?}", String::from_utf8_lossy(&found).trim_end()));
            }
            None if entries.is_empty() => {}
            None => return foreign(&format!("it has no marker of a log in {name}")),
        }
        if !config.create {
            return foreign("there is no log, and none is to be created");
        }
        folder.make(&expected)?;
        Ok(folder)
    }

    fn make(&self, marker: &str) -> Result<(), Error> {
        match self.disk.create_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", &self.path, error));
            }
            _ => {}
        }
        let path = self.path.join(MARKER);
        let made = || -> io::Result<()> {
            let file = self.disk.open(&path, Access::Create).or_else(|_| self.disk.open(&path, Access::Write))?;
            write_all_at(&*file, marker.as_bytes(), 0)?;
            file.sync_data()?;
            self.disk.sync_dir(&self.path)
        };
        made().map_err(|error| Error::io("write", &path, error))?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        self.disk.sync_dir(parent).map_err(|error| Error::io("sync", parent, error))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path.join(name);
        let read = || -> io::Result<Vec<u8>> {
            let file = self.disk.open(&path, Access::Read)?;
            let mut bytes = vec![0; 64];
            let count = read_full_at(&*file, &mut bytes, 0)?;
            bytes.truncate(count);
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path, error)),
        }
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Takes the folder's lock.
    #[cfg(feature = "fjall")]
    pub fn lock(&self) -> Result<Box<dyn Lock>, Error> {
        let path = self.path.join("LOCK");
        self.disk.lock(&path).map_err(|error| Error::io("lock", &path, error))
    }

    /// The names in a folder within it; none, if there is no such folder.
    #[cfg(feature = "fjall")]
    pub fn names(&self, within: &Path) -> Vec<String> {
        let entries = self.disk.list(&self.path.join(within)).unwrap_or_default();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    /// Makes the names in it durable.
    pub fn sync(&self) -> Result<(), Error> {
        self.disk.sync_dir(&self.path).map_err(|error| Error::io("sync", &self.path, error))
    }

    /// The length of a file in it; 0: there is none.
    #[cfg(feature = "redb")]
    pub fn bytes(&self, name: &str) -> u64 {
        let entries = self.disk.list(&self.path).unwrap_or_default();
        entries.iter().find(|entry| entry.name == name).map_or(0, |entry| entry.bytes)
    }

    /// Whether so much can be written. A store that meets the end of the disk by itself is of no use until it is opened again, and
    /// nobody knows what of the last change it kept; before that it is only refused.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.disk.file_system(&self.path).map_or(true, |own| own.free_bytes >= bytes)
    }

    /// The witness of this folder.
    pub fn witness(&self) -> Result<Witness, Error> {
        Witness::open(&self.disk, &self.path)
    }
}

/// Calls a store; its panic, as on a damaged file, is an error like any other.
pub(crate) fn guarded<T>(backend: &'static str, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(Error::Backend { backend, reason: format!("it panicked: {}", words(&*panic)) }))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("for no reason that it gave")
}
