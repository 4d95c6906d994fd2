//! The tools' view of a journal: [`verify`] reads every byte, [`dump`] shows every structure, [`salvage`] copies what is
//! good. Owns their answers' shape and words. Writes nothing to the journal that it looks at, takes no lock, and works
//! beside a damaged or a living one.

mod dump;
mod item;
mod survey;
mod verify;

use std::fmt;

pub use dump::dump;
pub use item::Item;
pub(crate) use survey::{Break, Course, Surveyor, survey};
pub use verify::verify;

pub use crate::salvage::{Salvage, salvage, salvage_as};

use crate::report::{Damage, End, Report};

/// How far a tool has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes looked at.
    pub bytes: u64,
    /// Bytes to look at in all.
    pub bytes_total: u64,
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// What opening would report, with every damaged place added that opening would not have looked at.
    pub report: Report,
    /// Bytes checked.
    pub bytes: u64,
    /// Good records.
    pub records: u64,
    /// Good commits, the journal's own included.
    pub commits: u64,
    /// Every damaged place, each once.
    pub damage: Vec<Damage>,
    /// How the journal ends: [`End::Damaged`] if anything at all is wrong, also where no record is lost by it.
    pub end: End,
}

impl Verification {
    /// The whole as one JSON object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"end\":\"{}\",\"bytes\":{},\"records\":{},\"commits\":{},\"report\":{}}}",
            self.end.word(),
            self.bytes,
            self.records,
            self.commits,
            self.report.to_json()
        )
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.report)?;
        writeln!(f, "checked   {} bytes, {} records, {} commits", self.bytes, self.records, self.commits)
    }
}
