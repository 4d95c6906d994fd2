//! The state of one Raft log and its rules: what may follow on what. Pure: ids and votes in, verdicts out; knows neither
//! payloads, nor a journal, nor which entries are stored, only where they begin and end.
//!
//! Invariants of [`RaftLogState`], as indexes:
//! - `purged` <= `last`: purging beyond the end makes the log start there.
//! - Entries above `purged`, up to `last`, are there; if the two are equal there is none.
//! - Neither the vote nor `purged` nor `committed` ever goes back.

use std::fmt;

use crate::record::Record;
use crate::types::{StateMachine, Types};

/// Everything that a Raft log says of itself, entries aside.
#[derive(Clone, Debug, PartialEq)]
pub struct RaftLogState<T: Types> {
    /// The vote.
    pub vote: Option<T::Vote>,
    /// The last entry; the last purged one if there is none.
    pub last: Option<T::LogId>,
    /// The last entry that is known to be committed.
    pub committed: Option<T::LogId>,
    /// The last purged entry.
    pub purged: Option<T::LogId>,
    /// The user's own small state.
    pub user_data: Option<T::UserData>,
}

impl<T: Types> Default for RaftLogState<T> {
    fn default() -> RaftLogState<T> {
        RaftLogState { vote: None, last: None, committed: None, purged: None, user_data: None }
    }
}

/// Why a step cannot follow on a state: what is, and what was tried. The state is as it was.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Refusal<T: Types> {
    /// A vote that is lower than, or excludes, the one that was given.
    VoteReversal {
        /// The vote that was given.
        current: T::Vote,
        /// The vote that was refused.
        attempted: T::Vote,
    },
    /// An id whose leader is older than that of the id before it, or a commit or purge that goes back.
    LogIdReversal {
        /// The id that stands.
        current: T::LogId,
        /// The id that was refused.
        attempted: T::LogId,
    },
    /// An entry that does not follow on the last one.
    NonConsecutive {
        /// The last entry.
        current: Option<T::LogId>,
        /// The entry that was refused.
        attempted: T::LogId,
    },
    /// A commit beyond the last entry.
    CommitBeyondLast {
        /// The last entry.
        current: Option<T::LogId>,
        /// The commit that was refused.
        attempted: T::LogId,
    },
    /// A truncation that would take committed entries.
    TruncateCommitted {
        /// The last committed entry.
        current: T::LogId,
        /// The entry that was to be the last one left.
        attempted: Option<T::LogId>,
    },
    /// A truncation behind an entry that was purged.
    TruncatePurged {
        /// The last purged entry.
        current: T::LogId,
        /// The entry that was to be the last one left.
        attempted: Option<T::LogId>,
    },
    /// A truncation behind an entry that the log does not have yet.
    TruncateBeyondLast {
        /// The last entry.
        current: Option<T::LogId>,
        /// The entry that was to be the last one left.
        attempted: T::LogId,
    },
    /// An id with the index of an entry that another leader made.
    Mismatch {
        /// The entry at that index.
        current: T::LogId,
        /// The id that was refused.
        attempted: T::LogId,
    },
    /// A lost entry that was to be put back where its leader cannot have stood.
    OutOfOrder {
        /// The leader before it.
        before: Option<T::Leader>,
        /// The leader behind it.
        behind: Option<T::Leader>,
        /// The id that was refused.
        attempted: T::LogId,
    },
}

impl<T: Types> fmt::Display for Refusal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::VoteReversal { current, attempted } => {
                write!(f, "the vote {attempted:?} would take back {current:?}: vote in a later term")
            }
            Refusal::LogIdReversal { current, attempted } => {
                write!(f, "{attempted:?} would go back behind {current:?}")
            }
            Refusal::NonConsecutive { current: None, attempted } => write!(f, "{attempted:?} follows on nothing"),
            Refusal::NonConsecutive { current: Some(current), attempted } => {
                write!(f, "{attempted:?} does not follow on {current:?}: append the next index, or truncate first")
            }
            Refusal::CommitBeyondLast { current: None, attempted } => {
                write!(f, "{attempted:?} cannot be committed: the log is empty")
            }
            Refusal::CommitBeyondLast { current: Some(current), attempted } => {
                write!(f, "{attempted:?} cannot be committed: the last entry is {current:?}")
            }
            Refusal::TruncateCommitted { current, attempted } => {
                write!(f, "truncating after {attempted:?} would take entries that are committed, up to {current:?}")
            }
            Refusal::TruncatePurged { current, attempted } => {
                write!(f, "cannot truncate after {attempted:?}: entries up to {current:?} are purged")
            }
            Refusal::TruncateBeyondLast { current: None, attempted } => {
                write!(f, "cannot truncate after {attempted:?}: the log is empty")
            }
            Refusal::TruncateBeyondLast { current: Some(current), attempted } => {
                write!(f, "cannot truncate after {attempted:?}: the last entry is {current:?}")
            }
            Refusal::Mismatch { current, attempted } => {
                write!(f, "{attempted:?} is not in this log, which has {current:?} there")
            }
            Refusal::OutOfOrder { before, behind, attempted } => {
                write!(f, "{attempted:?} was not in this log: leaders there were between {before:?} and {behind:?}")
            }
        }
    }
}

impl<T: Types> std::error::Error for Refusal<T> {}

impl<T: Types> RaftLogState<T> {
    fn next_index(id: &Option<T::LogId>) -> u64 {
        id.as_ref().map_or(0, |id| T::index(id).saturating_add(1))
    }

    /// Whether the log has no entry.
    pub fn is_empty(&self) -> bool {
        Self::next_index(&self.last) == Self::next_index(&self.purged)
    }

    /// Takes a vote: the same once more, or a higher one.
    ///
    /// # Errors
    /// [`Refusal::VoteReversal`].
    pub fn save_vote(&mut self, vote: &T::Vote) -> Result<(), Refusal<T>> {
        match &self.vote {
            Some(current) if !matches!(vote.partial_cmp(current), Some(o) if o.is_ge()) => {
                Err(Refusal::VoteReversal { current: current.clone(), attempted: vote.clone() })
            }
            _ => {
                self.vote = Some(vote.clone());
                Ok(())
            }
        }
    }

    /// Takes one entry: the next index, by the same leader or a later one. An empty log takes any index.
    ///
    /// # Errors
    /// [`Refusal::NonConsecutive`], [`Refusal::LogIdReversal`].
    pub fn append(&mut self, id: &T::LogId) -> Result<(), Refusal<T>> {
        if let Some(last) = &self.last {
            if T::index(last).checked_add(1) != Some(T::index(id)) {
                return Err(Refusal::NonConsecutive { current: Some(last.clone()), attempted: id.clone() });
            }
            if T::leader(id) < T::leader(last) {
                return Err(Refusal::LogIdReversal { current: last.clone(), attempted: id.clone() });
            }
        }
        self.last = Some(id.clone());
        Ok(())
    }

    /// Takes a commit: the same once more, or a later one, within the log.
    ///
    /// # Errors
    /// [`Refusal::CommitBeyondLast`], [`Refusal::LogIdReversal`].
    pub fn commit(&mut self, id: &T::LogId) -> Result<(), Refusal<T>> {
        if T::index(id) >= Self::next_index(&self.last) {
            return Err(Refusal::CommitBeyondLast { current: self.last.clone(), attempted: id.clone() });
        }
        if let Some(current) = self.committed.as_ref().filter(|current| Self::goes_back(current, id)) {
            return Err(Refusal::LogIdReversal { current: current.clone(), attempted: id.clone() });
        }
        self.committed = Some(id.clone());
        Ok(())
    }

    fn goes_back(current: &T::LogId, id: &T::LogId) -> bool {
        T::index(id) < T::index(current) || T::leader(id) < T::leader(current)
    }

    /// Takes everything behind an entry away; `None`: every entry.
    ///
    /// # Errors
    /// [`Refusal::TruncateCommitted`], [`Refusal::TruncatePurged`], [`Refusal::TruncateBeyondLast`].
    pub fn truncate_after(&mut self, kept: Option<&T::LogId>) -> Result<(), Refusal<T>> {
        let next = kept.map_or(0, |id| T::index(id).saturating_add(1));
        let attempted = || kept.cloned();
        let purged = Self::next_index(&self.purged);
        if let Some(current) = self.committed.as_ref().filter(|id| T::index(id) >= next && T::index(id) >= purged) {
            return Err(Refusal::TruncateCommitted { current: current.clone(), attempted: attempted() });
        }
        match (kept, &self.purged) {
            (Some(id), _) if next > Self::next_index(&self.last) => {
                Err(Refusal::TruncateBeyondLast { current: self.last.clone(), attempted: id.clone() })
            }
            (Some(_), Some(purged)) if next <= T::index(purged) => {
                Err(Refusal::TruncatePurged { current: purged.clone(), attempted: attempted() })
            }
            (Some(id), _) => {
                self.last = Some(id.clone());
                Ok(())
            }
            (None, purged) => {
                self.last = purged.clone();
                Ok(())
            }
        }
    }

    /// Takes everything up to an entry away. Beyond the last one the log is empty and starts there.
    ///
    /// # Errors
    /// [`Refusal::LogIdReversal`] if that is less than what was purged before.
    pub fn purge_upto(&mut self, id: &T::LogId) -> Result<(), Refusal<T>> {
        if let Some(current) = self.purged.as_ref().filter(|current| Self::goes_back(current, id)) {
            return Err(Refusal::LogIdReversal { current: current.clone(), attempted: id.clone() });
        }
        if T::index(id) >= Self::next_index(&self.last) {
            self.last = Some(id.clone());
        }
        self.purged = Some(id.clone());
        Ok(())
    }
}

impl<T: Types> StateMachine<T> for RaftLogState<T> {
    type Refusal = Refusal<T>;

    fn apply(&mut self, record: &Record<T>) -> Result<(), Refusal<T>> {
        match record {
            Record::SaveVote(vote) => self.save_vote(vote),
            Record::Append(id, _) => self.append(id),
            Record::Commit(id) => self.commit(id),
            Record::TruncateAfter(id) => self.truncate_after(id.as_ref()),
            Record::PurgeUpto(id) => self.purge_upto(id),
            Record::State(state) => {
                *self = state.clone();
                Ok(())
            }
            Record::SaveUserData(data) => {
                self.user_data = Some(data.clone());
                Ok(())
            }
            // Where an entry lies is none of the state's business.
            Record::Relocate(..) => Ok(()),
            Record::RemoveGroup => {
                *self = RaftLogState::default();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
