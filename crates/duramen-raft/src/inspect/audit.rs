//! The Raft rules, replayed over the records of a journal: what may follow on what is [`RaftLogState`]'s, as in the log
//! itself; this module adds what a reader of an old journal does not know: what was released, and what was lost. Pure.
//!
//! A part of a group's state is *known* from its first record on; behind a loss nothing is. What only contradicts a part
//! that is not known is no finding.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use duramen_journal::Sequence;

use super::raw::{Raw, RawLogId, json_string};
use crate::GroupId;
use crate::format::Malformed;
use crate::index::Index;
use crate::record::Record;
use crate::state::{RaftLogState, Refusal};
use crate::types::StateMachine as _;

/// How far a tool may read the user's own bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Notation {
    /// Terms and votes lie as the ready set [`Plain`](crate::Plain) stores them.
    #[default]
    Plain,
    /// Nothing is known of them: their order is not looked at.
    Opaque,
}

/// A record that cannot stand where it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its group.
    pub group: GroupId,
    /// Its sequence.
    pub sequence: Sequence,
    /// What is wrong.
    pub what: Fault,
}

/// What is wrong with a record, or with a segment's summary.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// It is no record of a Raft log.
    Foreign(Malformed),
    /// It breaks a rule.
    Rule(Box<Refusal<Raw>>),
    /// A state that was carried forward says something else than the records before it.
    StateDiffers {
        /// The part.
        part: &'static str,
    },
    /// A copy of an entry that is not there.
    CopyOfNothing(RawLogId),
    /// The footer of the segment that begins here says something else than its records, and opening believes it.
    SummaryDiffers,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Foreign(what) => write!(f, "no record of a Raft log: {what}"),
            Fault::Rule(refusal) => write!(f, "{refusal}"),
            Fault::StateDiffers { part } => {
                write!(f, "a state was carried forward whose {part} is not that of the records before it")
            }
            Fault::CopyOfNothing(id) => write!(f, "a copy of entry {id}, which is not in the log"),
            Fault::SummaryDiffers => f.write_str("the footer's summary is not that of the segment's records"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}, record {}: {}", self.group, self.sequence, self.what)
    }
}

impl Finding {
    /// The finding as one JSON object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"group\":{},\"sequence\":{},\"what\":{}}}",
            self.group,
            self.sequence,
            json_string(&self.what.to_string())
        )
    }
}

/// Which parts of a group's state the records so far have told.
#[derive(Clone, Copy, Debug)]
struct Known {
    vote: bool,
    last: bool,
    committed: bool,
    purged: bool,
    user_data: bool,
}

impl Known {
    const fn all(known: bool) -> Known {
        Known { vote: known, last: known, committed: known, purged: known, user_data: known }
    }
}

#[derive(Debug)]
struct GroupAudit {
    state: RaftLogState<Raw>,
    index: Index,
    known: Known,
}

/// Replays records in the order of their sequences.
#[derive(Debug)]
pub struct Audit {
    groups: BTreeMap<GroupId, GroupAudit>,
    notation: Notation,
    /// Everything before this may be incomplete.
    lost_before: Sequence,
}

impl Audit {
    /// Begins with a journal's first record: whether it is the first that there ever was tells what is known.
    pub fn new(first: Sequence, notation: Notation) -> Audit {
        Audit { groups: BTreeMap::new(), notation, lost_before: if first > 1 { first } else { 0 } }
    }

    /// Records are missing before this sequence.
    pub fn lost_before(&mut self, sequence: Sequence) {
        self.lost_before = sequence;
        self.groups.values_mut().for_each(|group| group.known = Known::all(false));
    }

    /// Takes the next record.
    pub fn record(&mut self, sequence: Sequence, group: GroupId, kind: u8, payload: &Bytes) -> Option<Finding> {
        let found = |what| Finding { group, sequence, what };
        let record = match Record::<Raw>::decode(kind, payload) {
            Ok(record) => record,
            Err(what) => return Some(found(Fault::Foreign(what))),
        };
        let (lost_before, notation) = (self.lost_before, self.notation);
        let audit = self.groups.entry(group).or_insert_with(|| GroupAudit {
            state: RaftLogState::default(),
            index: Index::default(),
            known: Known::all(lost_before == 0),
        });
        let fault = audit.judge(&record, lost_before).filter(|fault| notation == Notation::Plain || !is_order(fault));
        audit.follow(sequence, record);
        fault.map(found)
    }

    /// The state of a group as its records tell it.
    pub fn state(&self, group: GroupId) -> Option<&RaftLogState<Raw>> {
        self.groups.get(&group).map(|audit| &audit.state)
    }
}

/// Whether a fault speaks of an order of bytes that only their author knows.
fn is_order(fault: &Fault) -> bool {
    let Fault::Rule(refusal) = fault else { return false };
    match &**refusal {
        Refusal::VoteReversal { .. } => true,
        Refusal::LogIdReversal { current, attempted } => attempted.index >= current.index,
        _ => false,
    }
}

impl GroupAudit {
    /// What is wrong with a record that comes next.
    fn judge(&self, record: &Record<Raw>, lost_before: Sequence) -> Option<Fault> {
        match record {
            Record::State(state) => return self.judge_state(state),
            // A copy takes the place of what is there, or of what was lost; it is of nothing else.
            Record::Relocate(id, _) => {
                let fits = match self.index.get(id.index) {
                    Some((_, leader)) => *leader == id.leader.0,
                    None => self.state.last.as_ref().is_none_or(|last| id.index <= last.index),
                };
                return (!fits && self.known.last).then(|| Fault::CopyOfNothing(id.clone()));
            }
            _ => {}
        }
        let refused = self.state.clone().apply(record).err().filter(|refusal| self.is_known(record, refusal));
        let refused = refused.or_else(|| self.mismatch(record, lost_before));
        refused.map(|refusal| Fault::Rule(Box::new(refusal)))
    }

    /// Whether all that a refusal speaks of is known.
    fn is_known(&self, record: &Record<Raw>, refusal: &Refusal<Raw>) -> bool {
        let known = &self.known;
        match (refusal, record) {
            (Refusal::VoteReversal { .. }, _) => known.vote,
            (Refusal::LogIdReversal { .. }, Record::Commit(_)) => known.committed,
            (Refusal::LogIdReversal { .. } | Refusal::TruncatePurged { .. }, Record::PurgeUpto(_)) => known.purged,
            (Refusal::TruncatePurged { .. }, _) => known.purged,
            (Refusal::TruncateCommitted { .. }, _) => known.committed && known.purged,
            _ => known.last,
        }
    }

    /// An id that names another entry than the one that stands there.
    fn mismatch(&self, record: &Record<Raw>, lost_before: Sequence) -> Option<Refusal<Raw>> {
        let (Record::Commit(id) | Record::TruncateAfter(Some(id)) | Record::PurgeUpto(id)) = record else {
            return None;
        };
        let (sequence, leader) = self.index.get(id.index)?;
        // An entry from before a loss may have been replaced in it.
        if *leader == id.leader.0 || sequence < lost_before {
            return None;
        }
        let current = RawLogId { leader: super::raw::RawLeader(leader.clone()), index: id.index };
        Some(Refusal::Mismatch { current, attempted: id.clone() })
    }

    fn judge_state(&self, state: &RaftLogState<Raw>) -> Option<Fault> {
        let known = &self.known;
        let parts = [
            ("vote", known.vote && state.vote != self.state.vote),
            ("last entry", known.last && state.last != self.state.last),
            ("commit", known.committed && state.committed != self.state.committed),
            ("purge", known.purged && state.purged != self.state.purged),
            ("user data", known.user_data && state.user_data != self.state.user_data),
        ];
        parts.iter().find(|(_, differs)| *differs).map(|(part, _)| Fault::StateDiffers { part })
    }

    /// Takes a record for what it says, right or wrong, so that one wrong record is told once.
    fn follow(&mut self, sequence: Sequence, record: Record<Raw>) {
        let (state, known) = (&mut self.state, &mut self.known);
        match record {
            Record::SaveVote(vote) => (state.vote, known.vote) = (Some(vote), true),
            Record::Append(id, _) => {
                self.index.truncate_from(id.index);
                self.index.push(id.index, sequence, &id.leader.0);
                (state.last, known.last) = (Some(id), true);
            }
            Record::Commit(id) => (state.committed, known.committed) = (Some(id), true),
            Record::TruncateAfter(kept) => {
                self.index.truncate_from(kept.as_ref().map_or(0, |id| id.index.saturating_add(1)));
                state.last = kept.or_else(|| state.purged.clone());
                known.last = true;
            }
            Record::PurgeUpto(id) => {
                self.index.purge_upto(id.index);
                if state.last.as_ref().is_none_or(|last| last.index <= id.index) {
                    state.last = Some(id.clone());
                }
                (state.purged, known.purged) = (Some(id), true);
            }
            Record::State(whole) => (*state, *known) = (whole, Known::all(true)),
            Record::SaveUserData(data) => (state.user_data, known.user_data) = (Some(data), true),
            Record::Relocate(..) => {}
            Record::RemoveGroup => {
                self.index = Index::default();
                (*state, *known) = (RaftLogState::default(), Known::all(true));
            }
        }
    }
}

#[cfg(test)]
#[path = "audit/tests.rs"]
mod tests;
