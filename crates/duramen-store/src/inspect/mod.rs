//! The tools' view of a store's data folder: [`verify`] checks every byte and what the parts say of each other, [`dump`] shows what is
//! stored, [`salvage`] copies what is good. Owns their answers' shape and words. Writes nothing to the folder that it looks at, takes
//! no lock, and works beside a damaged or a living store.

mod dump;
mod finding;
mod journal;
mod owed;
mod salvage;
mod series;
mod tables;
mod verify;

use std::path::{Path, PathBuf};

pub use dump::{Item, SampleBlockItem, SampleTableItem, Selection, TableItem, dump};
pub use finding::{Fault, Finding, Loss, Unit};
pub use salvage::{Salvage, salvage};
pub use verify::{Verification, verify};

pub(crate) use tables::{check_block, loss_of_table};

use duramen_journal::disk::{Access, read_full_at};
use duramen_journal::format::{IDENTITY_BYTES, Identity};
use duramen_journal::{Error as JournalError, ReadOptions, Reader, World};

use crate::catalog::Catalog;
use crate::error::Error;
use crate::options::KIND;

/// The identity's name in a data folder.
const IDENTITY: &str = "IDENTITY";
/// The lock's.
pub(crate) const LOCK: &str = "LOCK";

/// A folder that is looked at: its journal, and where its tables are.
pub(crate) struct Folder {
    pub path: PathBuf,
    pub world: World,
    pub reader: Reader,
    pub catalog: Catalog,
}

impl Folder {
    pub fn open(path: &Path, world: &World) -> Result<Folder, Error> {
        check_kind(path, world)?;
        let reader = Reader::open_with(path, &ReadOptions::default(), world.clone())?;
        let catalog = Catalog {
            disk: world.disk.clone(),
            folder: path.to_path_buf(),
            tables: path.join(crate::table::FOLDER),
            journal_id: reader.report().journal_id,
        };
        Ok(Folder { path: path.to_path_buf(), world: world.clone(), reader, catalog })
    }

    /// Whether somebody has the store open. Who may not even ask is told no.
    pub fn is_live(&self) -> bool {
        self.world.disk.is_locked(&self.path.join(LOCK)).unwrap_or(false)
    }
}

/// Refuses a folder that says it holds something else. One that says nothing is looked at: its identity may be damaged.
fn check_kind(path: &Path, world: &World) -> Result<(), Error> {
    let mut bytes = [0u8; IDENTITY_BYTES];
    let file = world.disk.open(&path.join(IDENTITY), Access::Read);
    let read = file.and_then(|file| read_full_at(&*file, &mut bytes, 0));
    let identity = read.ok().and_then(|read| Identity::decode(&bytes[..read]).ok());
    match identity.map(|identity| identity.kind) {
        Some(kind) if kind != KIND => {
            let word: String = kind.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte)).collect();
            let reason = format!("it holds a {}, not a store of rows", word.escape_default());
            Err(Error::Journal(JournalError::NotAJournal { path: path.to_path_buf(), reason }))
        }
        _ => Ok(()),
    }
}

/// A string as JSON writes it.
pub(crate) fn json_string(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            character if (character as u32) < 0x20 => _ = write!(out, "\\u{:04x}", character as u32),
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

/// A number, or `null`.
fn json_number<N: ToString>(number: Option<N>) -> String {
    number.map_or_else(|| "null".to_string(), |number| number.to_string())
}

/// Values as a JSON array.
fn json_array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}
