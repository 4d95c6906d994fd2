//! What a segment's footer says about the Raft logs in it: per group what the segment changed, so that opening reads
//! footers and no records. Owns the change's shape, how records add up to it, and its bytes. Pure.
//!
//! A change is complete in itself: it tells what the segment did to whatever came before, and needs no knowledge of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use duramen_journal::Sequence;

use super::{Malformed, RawId, RawRecord, Reader, put_varint};
use crate::GroupId;
use crate::index::{Index, Run};

const VERSION: u8 = 1;

const REMOVED: u8 = 1;
const VOTE: u8 = 2;
const COMMITTED: u8 = 4;
const PURGED: u8 = 8;
const USER_DATA: u8 = 16;
const CUT: u8 = 32;

/// A log id that stands on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedId {
    /// The entry's index.
    pub index: u64,
    /// Who led, in the user's own bytes.
    pub leader: Bytes,
}

impl OwnedId {
    fn of(id: RawId<'_>) -> OwnedId {
        OwnedId { index: id.index, leader: Bytes::copy_from_slice(id.leader) }
    }

    /// The same, lent.
    pub fn raw(&self) -> RawId<'_> {
        RawId { index: self.index, leader: &self.leader }
    }
}

/// A value, and the sequence of the record that holds its newest copy.
pub type At<T> = Option<(Sequence, T)>;

/// What a part of a journal changed in one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupChange {
    /// The group was removed; the rest says what came after that.
    pub removed: bool,
    /// The last vote.
    pub vote: At<Bytes>,
    /// The last committed entry.
    pub committed: At<OwnedId>,
    /// The last purged entry.
    pub purged: At<OwnedId>,
    /// The user's own state.
    pub user_data: At<Bytes>,
    /// Entries of earlier parts are gone from this index on.
    pub cut_from: Option<u64>,
    /// Entries that were added here, and are still there at the end.
    pub entries: Index,
    /// Entries that were moved here, likewise. They count before `entries` does.
    pub moved: Index,
}

impl GroupChange {
    /// Adds what one record does.
    pub fn add(&mut self, sequence: Sequence, record: &RawRecord<'_>) {
        match record {
            RawRecord::SaveVote(vote) => self.vote = Some((sequence, Bytes::copy_from_slice(vote))),
            RawRecord::SaveUserData(data) => self.user_data = Some((sequence, Bytes::copy_from_slice(data))),
            RawRecord::Append { id, .. } => {
                // An entry always follows the last one: whatever stands from there on is older, and gone.
                if self.entries.end().is_some_and(|end| id.index < end) {
                    self.entries.truncate_from(id.index);
                }
                put(&mut self.entries, sequence, *id);
            }
            RawRecord::Relocate { id, .. } => put(&mut self.moved, sequence, *id),
            RawRecord::Commit(id) => self.committed = Some((sequence, OwnedId::of(*id))),
            RawRecord::TruncateAfter(id) => self.cut(id.map_or(0, |id| id.index.saturating_add(1))),
            RawRecord::PurgeUpto(id) => self.purge(sequence, *id),
            RawRecord::State(state) => {
                let own = |bytes: &[u8]| (sequence, Bytes::copy_from_slice(bytes));
                let own_id = |id: RawId<'_>| (sequence, OwnedId::of(id));
                self.vote = state.vote.map(own).or(self.vote.take());
                self.committed = state.committed.map(own_id).or(self.committed.take());
                self.purged = state.purged.map(own_id).or(self.purged.take());
                self.user_data = state.user_data.map(own).or(self.user_data.take());
            }
            RawRecord::RemoveGroup => *self = GroupChange { removed: true, ..GroupChange::default() },
        }
    }

    fn cut(&mut self, from: u64) {
        self.entries.truncate_from(from);
        self.moved.truncate_from(from);
        self.cut_from = Some(self.cut_from.map_or(from, |other| other.min(from)));
    }

    fn purge(&mut self, sequence: Sequence, id: RawId<'_>) {
        self.entries.purge_upto(id.index);
        self.moved.purge_upto(id.index);
        self.purged = Some((sequence, OwnedId::of(id)));
    }

    /// Adds what a later part of the journal changed.
    pub fn then(&mut self, later: GroupChange) {
        if later.removed {
            *self = later;
            return;
        }
        self.vote = later.vote.or(self.vote.take());
        self.committed = later.committed.or(self.committed.take());
        self.purged = later.purged.or(self.purged.take());
        self.user_data = later.user_data.or(self.user_data.take());
        self.settle();
        if let Some(from) = later.cut_from {
            self.cut(from);
        }
        self.entries.overlay(&later.entries);
        self.entries.overlay(&later.moved);
        if let Some((_, purged)) = &self.purged {
            self.entries.purge_upto(purged.index);
        }
    }

    /// Counts moved entries in.
    pub fn settle(&mut self) {
        let moved = std::mem::take(&mut self.moved);
        self.entries.overlay(&moved);
    }

    fn flags(&self) -> u8 {
        let flag = |present: bool, flag: u8| if present { flag } else { 0 };
        flag(self.removed, REMOVED)
            | flag(self.vote.is_some(), VOTE)
            | flag(self.committed.is_some(), COMMITTED)
            | flag(self.purged.is_some(), PURGED)
            | flag(self.user_data.is_some(), USER_DATA)
            | flag(self.cut_from.is_some(), CUT)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.flags());
        put_bytes_at(&self.vote, out);
        put_id_at(&self.committed, out);
        put_id_at(&self.purged, out);
        put_bytes_at(&self.user_data, out);
        self.cut_from.iter().for_each(|&from| put_varint(from, out));
        let mut entries = self.entries.clone();
        entries.overlay(&self.moved);
        let runs: Vec<Run> = entries.runs(..).collect();
        put_varint(runs.len() as u64, out);
        let (mut index, mut sequence, mut leader): (u64, u64, &[u8]) = (0, 0, &[]);
        for (place, run) in runs.iter().enumerate() {
            let changed = place == 0 || leader != &run.leader[..];
            put_varint(run.first_index - index, out);
            let gap = run.first_sequence.wrapping_sub(sequence) as i64;
            put_varint((gap << 1 ^ gap >> 63) as u64, out);
            put_varint((run.count - 1) << 1 | u64::from(changed), out);
            if changed {
                out.push(u8::try_from(run.leader.len()).expect("it came from a record, which bounds it"));
                out.extend_from_slice(&run.leader);
            }
            (index, sequence, leader) = (run.end(), run.first_sequence + run.count, &run.leader);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<GroupChange, Malformed> {
        let flags = reader.byte()?;
        if flags & !(REMOVED | VOTE | COMMITTED | PURGED | USER_DATA | CUT) != 0 {
            return Err(Malformed::new("a summary with unknown parts"));
        }
        let has = |flag: u8| flags & flag != 0;
        Ok(GroupChange {
            removed: has(REMOVED),
            vote: has(VOTE).then(|| take_bytes_at(reader)).transpose()?,
            committed: has(COMMITTED).then(|| take_id_at(reader)).transpose()?,
            purged: has(PURGED).then(|| take_id_at(reader)).transpose()?,
            user_data: has(USER_DATA).then(|| take_bytes_at(reader)).transpose()?,
            cut_from: has(CUT).then(|| reader.varint()).transpose()?,
            entries: take_entries(reader)?,
            moved: Index::default(),
        })
    }
}

fn put(entries: &mut Index, sequence: Sequence, id: RawId<'_>) {
    if entries.follow(id.index, sequence, id.leader) {
        return;
    }
    let leader = match entries.last() {
        Some((_, leader)) if *leader == id.leader => leader.clone(),
        _ => Bytes::copy_from_slice(id.leader),
    };
    let run = Run { first_index: id.index, first_sequence: sequence, count: 1, leader };
    if entries.end().is_none_or(|end| id.index >= end) {
        entries.push_run(&run);
    } else {
        let mut newer = Index::default();
        newer.push_run(&run);
        entries.overlay(&newer);
    }
}

fn take_entries(reader: &mut Reader<'_>) -> Result<Index, Malformed> {
    let overflow = Malformed::new("a run of entries beyond the last index");
    let mut entries = Index::default();
    let (mut index, mut sequence, mut leader) = (0u64, 0u64, Bytes::new());
    for _ in 0..reader.varint()? {
        let first_index = index.checked_add(reader.varint()?).ok_or(overflow)?;
        let folded = reader.varint()?;
        let gap = (folded >> 1) as i64 ^ -((folded & 1) as i64);
        let first_sequence = sequence.checked_add_signed(gap).ok_or(overflow)?;
        let tail = reader.varint()?;
        let count = (tail >> 1) + 1;
        if tail & 1 != 0 {
            let length = reader.byte()?;
            leader = Bytes::copy_from_slice(reader.take(usize::from(length))?);
        }
        index = first_index.checked_add(count).ok_or(overflow)?;
        sequence = first_sequence.checked_add(count).ok_or(overflow)?;
        entries.push_run(&Run { first_index, first_sequence, count, leader: leader.clone() });
    }
    Ok(entries)
}

fn put_bytes_at(value: &At<Bytes>, out: &mut Vec<u8>) {
    if let Some((sequence, bytes)) = value {
        put_varint(*sequence, out);
        put_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

fn put_id_at(value: &At<OwnedId>, out: &mut Vec<u8>) {
    if let Some((sequence, id)) = value {
        put_varint(*sequence, out);
        id.raw().encode(out);
    }
}

fn take_bytes_at(reader: &mut Reader<'_>) -> Result<(Sequence, Bytes), Malformed> {
    let sequence = reader.varint()?;
    let length = usize::try_from(reader.varint()?).map_err(|_| Malformed::new("a length beyond all memory"))?;
    Ok((sequence, Bytes::copy_from_slice(reader.take(length)?)))
}

fn take_id_at(reader: &mut Reader<'_>) -> Result<(Sequence, OwnedId), Malformed> {
    let sequence = reader.varint()?;
    Ok((sequence, OwnedId::of(RawId::take(reader)?)))
}

/// What a part of a journal changed, by group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// The groups that have a record in it.
    pub groups: BTreeMap<GroupId, GroupChange>,
}

impl Change {
    /// Adds what one record does.
    pub fn add(&mut self, sequence: Sequence, group: GroupId, record: &RawRecord<'_>) {
        self.groups.entry(group).or_default().add(sequence, record);
    }

    /// Adds what a later part of the journal changed.
    pub fn then(&mut self, later: Change) {
        for (group, change) in later.groups {
            self.groups.entry(group).or_default().then(change);
        }
    }

    /// The summary of a segment.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_varint(self.groups.len() as u64, &mut out);
        for (&group, change) in &self.groups {
            put_varint(u64::from(group), &mut out);
            change.encode(&mut out);
        }
        out
    }

    /// Reads a summary.
    ///
    /// # Errors
    /// What is wrong with it; the segment's records can be read instead.
    pub fn decode(bytes: &[u8]) -> Result<Change, Malformed> {
        let mut reader = Reader { left: bytes };
        if reader.byte()? != VERSION {
            return Err(Malformed::new("a summary of another version"));
        }
        let mut groups = BTreeMap::new();
        for _ in 0..reader.varint()? {
            let group =
                u32::try_from(reader.varint()?).map_err(|_| Malformed::new("a group beyond the last number"))?;
            groups.insert(group, GroupChange::take(&mut reader)?);
        }
        reader.end()?;
        Ok(Change { groups })
    }
}

#[cfg(test)]
mod tests;
