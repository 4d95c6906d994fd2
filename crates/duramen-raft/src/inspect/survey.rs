//! What a folder of Raft logs holds, group by group, and what of it is lost. Owns the way from a journal's segments and its
//! damage to states and losses, as opening goes it: from summaries where footers have them, from records elsewhere.
//!
//! What a loss costs is told with its certainty. Where a segment's summary says what lay there, no vote is in doubt.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use duramen_journal::{Damage, Reader, Report, Sequence};

use super::raw::{Raw, RawLeader, RawLogId, RawVote, json_array, json_bytes, json_number, json_or_null, preview};
use super::{Fault, Finding, SnapshotFile};
use crate::GroupId;
use crate::format::RawRecord;
use crate::format::summary::{Change, GroupChange, OwnedId};
use crate::loss::{Certainty, Left, Lost};
use crate::state::RaftLogState;

/// Foreign records that are kept to be told.
const FOREIGN_KEPT: usize = 20;

/// Entries that are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostEntries {
    /// The first index.
    pub first: u64,
    /// The last index; `None`: nobody knows.
    pub last: Option<u64>,
    /// The leader of the entry before them: theirs is the same or a later one.
    pub leader_from: Option<RawLeader>,
    /// The leader of the entry behind them: theirs is the same or an earlier one.
    pub leader_to: Option<RawLeader>,
    /// How sure that is.
    pub certainty: Certainty,
}

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSurvey {
    /// Its number.
    pub group: GroupId,
    /// Its state.
    pub state: RaftLogState<Raw>,
    /// The first index that is there, or will be.
    pub first_index: Option<u64>,
    /// Live entries that can be had.
    pub entries: u64,
    /// Segments that its live entries keep.
    pub segments: u64,
    /// What is lost.
    pub lost: Vec<LostEntries>,
    /// Its vote may have been lost: it must not vote before somebody has settled what it voted.
    pub vote_in_doubt: bool,
}

/// What a folder holds.
#[derive(Clone, Debug)]
pub struct Survey {
    /// What the journal found.
    pub journal: Report,
    /// The groups, in order.
    pub groups: Vec<GroupSurvey>,
    /// Records that are no Raft log's, the first of them.
    pub foreign: Vec<Finding>,
    /// The published snapshots, by group, the newest first.
    pub snapshots: Vec<SnapshotFile>,
}

/// Sequences whose records cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hole {
    sequences: Range<Sequence>,
    /// A summary says what lay there.
    told: bool,
}

/// Looks at a journal, of which these places are known to be damaged.
pub(super) fn survey_of(reader: &Reader, damage: &[Damage]) -> Survey {
    let mut all = Change::default();
    let mut holes = Vec::new();
    let mut foreign = Vec::new();
    let mut told: Vec<Range<Sequence>> = Vec::new();
    let segments = reader.segments();
    let mut next: Option<Sequence> = None;
    for info in &segments {
        if let Some(next) = next.filter(|&next| next < info.first) {
            holes.push(next..info.first);
        }
        next = Some(info.next);
        let summary = info.summary.as_ref().filter(|_| info.next > info.first);
        let change = match summary.and_then(|summary| Change::decode(summary).ok()) {
            Some(change) => {
                told.push(info.first..info.next);
                change
            }
            None => change_of(reader, info.first..info.next, &mut holes, &mut foreign),
        };
        all.then(change);
    }
    let places = damage.iter().filter(|damage| damage.what.refuses_writing());
    holes.extend(places.filter_map(|damage| {
        let first = damage.first?;
        Some(first..damage.last.map_or(Sequence::MAX, |last| last.saturating_add(1)))
    }));
    holes.extend(reader.report().gaps.iter().map(|gap| gap.first..gap.end));
    let is_told = |hole: &Range<Sequence>| told.iter().any(|told| told.start <= hole.start && hole.end <= told.end);
    let holes: Vec<Hole> = holes.into_iter().map(|sequences| Hole { told: is_told(&sequences), sequences }).collect();
    let kept = |lowest: Option<Sequence>| {
        lowest.map_or(0, |lowest| segments.iter().filter(|info| info.next > lowest).count() as u64)
    };
    let groups = all.groups.into_iter().map(|(number, mut change)| {
        change.settle();
        group_of(number, change, &holes, &kept)
    });
    let nothing = |group: &GroupSurvey| group.state == RaftLogState::default() && group.lost.is_empty();
    let groups = groups.filter(|group| !nothing(group) || group.vote_in_doubt).collect();
    Survey { journal: reader.report().clone(), groups, foreign, snapshots: Vec::new() }
}

/// What the records of a range changed, as far as they can be read.
fn change_of(
    reader: &Reader,
    range: Range<Sequence>,
    holes: &mut Vec<Range<Sequence>>,
    foreign: &mut Vec<Finding>,
) -> Change {
    let mut change = Change::default();
    let mut next = range.start;
    let end = range.end.min(reader.last().saturating_add(1));
    for record in reader.scan(range) {
        let Ok(record) = record else { continue };
        if record.sequence > next {
            holes.push(next..record.sequence);
        }
        next = record.sequence + 1;
        match RawRecord::decode(record.kind, &record.payload) {
            Ok(raw) => change.add(record.sequence, record.log, &raw),
            Err(what) if foreign.len() < FOREIGN_KEPT => {
                foreign.push(Finding { group: record.log, sequence: record.sequence, what: Fault::Foreign(what) });
            }
            Err(_) => {}
        }
    }
    if next < end {
        holes.push(next..end);
    }
    change
}

fn group_of(
    group: GroupId,
    change: GroupChange,
    holes: &[Hole],
    kept: &dyn Fn(Option<Sequence>) -> u64,
) -> GroupSurvey {
    let id = |at: &Option<(Sequence, OwnedId)>| {
        let raw = |(_, id): &(Sequence, OwnedId)| RawLogId { leader: RawLeader(id.leader.clone()), index: id.index };
        at.as_ref().map(raw)
    };
    let (purged, committed) = (id(&change.purged), id(&change.committed));
    let mut index = change.entries;
    if let Some(purged) = &purged {
        index.purge_upto(purged.index);
    }
    let end = index.last().map(|(at, leader)| RawLogId { leader: RawLeader(leader.clone()), index: at });
    let last = end.or_else(|| purged.clone());
    let vote_at = change.vote.as_ref().map_or(0, |(at, _)| *at);
    let (told, untold): (Vec<&Hole>, Vec<&Hole>) = holes.iter().partition(|hole| hole.told);
    let ranges = |holes: &[&Hole]| holes.iter().map(|hole| hole.sequences.clone()).collect::<Vec<_>>();
    let (told, untold) = (ranges(&told), ranges(&untold));
    let pair = |id: &Option<RawLogId>| id.as_ref().map(|id| (id.index, id.leader.0.clone()));
    let left = Left { index: &index, last: pair(&last), committed: pair(&committed), purged: pair(&purged) };
    let named = holes.iter().flat_map(|hole| left.named(&hole.sequences));
    let gone: u64 = named.filter_map(|lost| Some(lost.last? - lost.first + 1)).sum();
    let lost = left.lost(&told, &untold).into_iter().map(LostEntries::of).collect();
    let state = RaftLogState {
        vote: change.vote.map(|(_, vote)| RawVote(vote)),
        last,
        committed,
        purged,
        user_data: change.user_data.map(|(_, data)| data),
    };
    GroupSurvey {
        group,
        first_index: state.purged.as_ref().map(|id: &RawLogId| id.index.saturating_add(1)).or(index.first_index()),
        entries: index.len().saturating_sub(gone),
        segments: kept(index.lowest_sequence()),
        lost,
        vote_in_doubt: untold.iter().any(|hole| vote_at < hole.end),
        state,
    }
}

impl Survey {
    /// Whether entries are lost for certain, or a record is no Raft log's.
    pub fn is_damaged(&self) -> bool {
        let certain = |lost: &LostEntries| lost.certainty == Certainty::Certain;
        self.groups.iter().any(|group| group.lost.iter().any(certain)) || !self.foreign.is_empty()
    }

    /// The group of this number.
    pub fn group(&self, number: GroupId) -> Option<&GroupSurvey> {
        self.groups.iter().find(|group| group.group == number)
    }

    /// The whole, or only one group of it, as one JSON object.
    pub fn to_json(&self, only: Option<GroupId>) -> String {
        let groups = self.groups.iter().filter(|group| only.is_none_or(|only| only == group.group));
        let snapshots = self.snapshots.iter().filter(|snapshot| only.is_none_or(|only| only == snapshot.group));
        format!(
            "{{\"groups\":{},\"snapshots\":{},\"foreign\":{},\"journal\":{}}}",
            json_array(groups.map(GroupSurvey::to_json)),
            json_array(snapshots.map(SnapshotFile::to_json)),
            json_array(self.foreign.iter().map(Finding::to_json)),
            self.journal.to_json()
        )
    }
}

impl GroupSurvey {
    /// The group as one JSON object.
    pub fn to_json(&self) -> String {
        let id = |id: &Option<RawLogId>| json_or_null(id.as_ref(), RawLogId::to_json);
        let data = |data: &Bytes| format!("{{\"bytes\":{},{}}}", data.len(), json_bytes(data));
        format!(
            "{{\"group\":{},\"vote\":{},\"vote_in_doubt\":{},\"last\":{},\"committed\":{},\"purged\":{},\
             \"first_index\":{},\"entries\":{},\"user_data\":{},\"segments\":{},\"lost\":{}}}",
            self.group,
            json_or_null(self.state.vote.as_ref(), RawVote::to_json),
            self.vote_in_doubt,
            id(&self.state.last),
            id(&self.state.committed),
            id(&self.state.purged),
            json_number(self.first_index),
            self.entries,
            json_or_null(self.state.user_data.as_ref(), data),
            self.segments,
            json_array(self.lost.iter().map(LostEntries::to_json))
        )
    }
}

impl LostEntries {
    fn of(lost: Lost) -> LostEntries {
        let (leader_from, leader_to) = (lost.leader_from.map(RawLeader), lost.leader_to.map(RawLeader));
        LostEntries { first: lost.first, last: lost.last, leader_from, leader_to, certainty: lost.certainty }
    }

    /// The loss as one JSON object.
    pub fn to_json(&self) -> String {
        let leader = |leader: &Option<RawLeader>| {
            json_or_null(leader.as_ref(), |leader| format!("{{{}}}", leader.json_member()))
        };
        let certain = self.certainty == Certainty::Certain;
        format!(
            "{{\"first\":{},\"last\":{},\"from\":{},\"to\":{},\"certain\":{certain}}}",
            self.first,
            json_number(self.last),
            leader(&self.leader_from),
            leader(&self.leader_to)
        )
    }
}

impl fmt::Display for LostEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let perhaps = if self.certainty == Certainty::Certain { "" } else { "perhaps " };
        match self.last {
            Some(last) if last == self.first => write!(f, "{perhaps}entry {last}")?,
            Some(last) => write!(f, "{perhaps}entries {} to {last}", self.first)?,
            None => write!(f, "{perhaps}entries from {} on", self.first)?,
        }
        match (&self.leader_from, &self.leader_to) {
            (Some(from), Some(to)) if from == to => write!(f, ", of {from}"),
            (Some(from), Some(to)) => write!(f, ", of {from} to {to}"),
            (Some(from), None) => write!(f, ", of {from} or later"),
            (None, Some(to)) => write!(f, ", of {to} or earlier"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for GroupSurvey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RaftLogState { vote, last, committed, purged, user_data } = &self.state;
        let shown = |value: Option<String>| value.unwrap_or_else(|| "none".to_string());
        writeln!(f, "group     {}", self.group)?;
        writeln!(f, "vote      {}", shown(vote.as_ref().map(RawVote::to_string)))?;
        if self.vote_in_doubt {
            writeln!(f, "          in doubt: a later one may be lost; settle what it voted before it votes again")?;
        }
        let first = self.first_index.filter(|_| self.entries > 0);
        let entries = first.map(|first| format!(", from {first} on")).unwrap_or_default();
        writeln!(f, "entries   {}{entries}", self.entries)?;
        for (word, id) in [("last", last), ("committed", committed), ("purged", purged)] {
            writeln!(f, "{word:9} {}", shown(id.as_ref().map(RawLogId::to_string)))?;
        }
        let data = user_data.as_ref().map(|data| format!("{} bytes  {}", data.len(), preview(data)));
        writeln!(f, "user data {}", shown(data))?;
        writeln!(f, "keeps     {} segments", self.segments)?;
        self.lost.iter().try_for_each(|lost| writeln!(f, "lost      {lost}"))
    }
}
