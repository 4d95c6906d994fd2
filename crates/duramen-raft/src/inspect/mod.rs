//! The tools' view of a folder of Raft logs, whatever types its author used: [`survey`] tells each group's state and what is
//! lost, [`dump`] shows every record, [`verify`] checks every byte and every rule, [`salvage`] copies what is good. Owns their
//! answers' shape and words. Writes nothing to the folder that it looks at, takes no lock, and works beside a damaged or a
//! living one.
//!
//! ```no_run
//! use duramen_journal::World;
//! use duramen_raft::inspect;
//!
//! # fn main() -> Result<(), duramen_journal::Error> {
//! for group in inspect::survey("data", World::real())?.groups {
//!     println!("{group}");
//! }
//! # Ok(())
//! # }
//! ```

mod audit;
mod dump;
mod raw;
mod salvage;
mod snapshots;
mod survey;
mod verify;

use std::path::Path;

pub use audit::{Audit, Fault, Finding, Notation};
pub use dump::{Item, Selection, dump};
pub use raw::{Raw, RawLeader, RawLogId, RawVote};
pub use salvage::{Salvage, salvage};
pub use snapshots::SnapshotFile;
pub use survey::{GroupSurvey, LostEntries, Survey};

pub use crate::loss::Certainty;
pub use verify::{Verification, verify};

use duramen_journal::disk::{Access, read_full_at};
use duramen_journal::format::{IDENTITY_BYTES, Identity};
use duramen_journal::{Error as WalError, ReadOptions, Reader, World};

use crate::config::KIND;
use crate::tier::through;

/// The identity's name in a data folder.
const IDENTITY: &str = "IDENTITY";

/// Tells what each group holds, from headers, footers and the tail: as fast as opening. Damage within sealed segments is found
/// by [`verify`] only. Beside a living writer it tells of what is known to be durable.
///
/// # Errors
/// The journal cannot be read at all, or it holds no Raft logs.
pub fn survey(path: impl AsRef<Path>, world: World) -> Result<Survey, WalError> {
    let path = path.as_ref();
    let (world, _) = through(path, &world, None)?;
    check_kind(path, &world)?;
    let reader = Reader::open_with(path, &ReadOptions::default(), world.clone())?;
    let mut survey = survey::survey_of(&reader, &reader.report().damage);
    survey.snapshots = snapshots::look(path, &world, snapshots::Look::Ends);
    Ok(survey)
}

/// Refuses a folder that says it holds something else. One that says nothing is looked at: its identity may be damaged.
fn check_kind(path: &Path, world: &World) -> Result<(), WalError> {
    let mut bytes = [0u8; IDENTITY_BYTES];
    let file = world.disk.open(&path.join(IDENTITY), Access::Read);
    let read = file.and_then(|file| read_full_at(&*file, &mut bytes, 0));
    let identity = read.ok().and_then(|read| Identity::decode(&bytes[..read]).ok());
    match identity.map(|identity| identity.kind) {
        Some(kind) if kind != KIND => {
            let word: String = kind.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte)).collect();
            let reason = format!("it holds a {}, not Raft logs", word.escape_default());
            Err(WalError::NotAJournal { path: path.to_path_buf(), reason })
        }
        _ => Ok(()),
    }
}
