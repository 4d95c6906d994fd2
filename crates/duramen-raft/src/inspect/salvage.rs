//! What is good of damaged Raft logs into a new folder. The copy is the journal's; this module adds what that means for each
//! log: which entries are lost, and whose vote may be.

use std::path::Path;

use duramen_journal::inspect::{self as journal_inspect, Progress};
use duramen_journal::{Error as WalError, ReadOptions, Reader, World};

use super::raw::json_array;
use super::survey::{GroupSurvey, Survey, survey_of};
use super::{check_kind, snapshots};
use crate::tier::through;

/// What [`salvage`] did.
#[derive(Clone, Debug)]
pub struct Salvage {
    /// The copy of the journal's records.
    pub journal: journal_inspect::Salvage,
    /// What the new logs hold, and what is lost of them.
    pub survey: Survey,
}

impl Salvage {
    /// The whole as one JSON object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"journal\":{},\"logs\":{},\"votes_in_doubt\":{}}}",
            self.journal.to_json(),
            self.survey.to_json(None),
            json_array(self.votes_in_doubt().map(|group| group.group.to_string()))
        )
    }

    /// The groups that must not vote before somebody has settled what they voted.
    pub fn votes_in_doubt(&self) -> impl Iterator<Item = &GroupSurvey> {
        self.survey.groups.iter().filter(|group| group.vote_in_doubt)
    }
}

/// Copies every good record into a new folder, which must not exist, under its old sequence. Only reads the old one.
///
/// The new folder opens as Raft logs. It keeps what was lost as gaps, so every opening tells of it; a group whose newest vote
/// may lie in a gap does not vote until [`crate::RaftLogWriter::accept_lost_vote`]: see [`crate::Error::VoteInDoubt`]. Entries
/// that were lost are refused as [`crate::Error::Lost`]; those behind them are served. Snapshots that are good to the last
/// byte are copied too.
///
/// # Errors
/// As [`duramen_journal::inspect::salvage`]; the old folder holds no Raft logs.
pub fn salvage(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    world: World,
    progress: &mut dyn FnMut(Progress),
) -> Result<Salvage, WalError> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let (world, _) = through(from, &world, None)?;
    check_kind(from, &world)?;
    let journal = journal_inspect::salvage_as(from, to, crate::config::KIND, world.clone(), progress)?;
    let copied = snapshots::copy(from, to, &world);
    let reader = Reader::open_with(to, &ReadOptions::default(), world)?;
    let mut survey = survey_of(&reader, &[]);
    survey.snapshots = copied;
    Ok(Salvage { journal, survey })
}
