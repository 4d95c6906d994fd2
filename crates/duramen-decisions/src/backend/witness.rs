//! What says, beside a store, how many of its changes were durable. Owns its file of twelve bytes.
//!
//! A store that cuts off what it cannot read cannot tell a torn tail from damage. The witness can: a counter of the changes that
//! were durable, written after each sync and not synced itself. It outlives the process always, and a power cut in some form that
//! is never ahead of the store. A store that comes back with fewer changes than its witness says has lost durable ones.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duramen_journal::disk::{Access, Disk, DiskFile, read_full_at, write_all_at};

use crate::error::Error;

/// Its name in the folder.
const FILE: &str = "WITNESS";
/// Counter u64 and CRC-32C of it.
const BYTES: usize = 12;

/// The witness in one folder.
#[derive(Debug)]
pub struct Witness {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    stored: u64,
}

impl Witness {
    /// Opens, or creates, the witness in a folder. One that makes no sense says nothing.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Witness, Error> {
        let path = folder.join(FILE);
        let file = match disk.open(&path, Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(&path, Access::Create),
            opened => opened,
        };
        let file = file.map_err(|error| Error::io("open", &path, error))?;
        let mut bytes = [0; BYTES];
        let read = read_full_at(&*file, &mut bytes, 0).map_err(|error| Error::io("read", &path, error))?;
        let number = u64::from_le_bytes(*bytes.first_chunk().expect("it has twelve bytes"));
        let stored = if read == BYTES && bytes == encoded(number) { number } else { 0 };
        Ok(Witness { file, path, stored })
    }

    /// Changes that were durable when it was opened, as far as it knows.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Notes that so many changes are durable.
    pub(crate) fn note(&self, changes: u64) -> Result<(), Error> {
        write_all_at(&*self.file, &encoded(changes), 0).map_err(|error| Error::io("write", &self.path, error))
    }
}

pub(crate) fn encoded(changes: u64) -> [u8; BYTES] {
    let number = changes.to_le_bytes();
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&number);
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&number);
    bytes[8..].copy_from_slice(&(digest.finalize() as u32).to_le_bytes());
    bytes
}
