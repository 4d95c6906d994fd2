//! The records of Raft logs in the order in which they were written. Owns the choice of records and their words.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use bytes::Bytes;
use duramen_journal::{Error as WalError, ReadOptions, Reader, Sequence, World};

use super::check_kind;
use super::raw::{Raw, RawLogId, RawVote, json_bytes, json_number, json_or_null, json_string, preview};
use crate::GroupId;
use crate::format::Malformed;
use crate::record::Record;
use crate::state::RaftLogState;
use crate::tier::through;

/// Which records to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Of this group; `None`: of all.
    pub group: Option<GroupId>,
    /// With these sequences.
    pub sequences: RangeInclusive<Sequence>,
    /// Which name an entry of these; `None`: those that name none as well.
    pub indexes: Option<RangeInclusive<u64>>,
}

impl Default for Selection {
    fn default() -> Selection {
        Selection { group: None, sequences: 0..=Sequence::MAX, indexes: None }
    }
}

/// One thing that a dump shows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Item {
    /// A record.
    Record {
        /// Its sequence.
        sequence: Sequence,
        /// Its group.
        group: GroupId,
        /// What it says.
        record: Record<Raw>,
    },
    /// A record that is no Raft log's.
    Foreign {
        /// Its sequence.
        sequence: Sequence,
        /// Its group.
        group: GroupId,
        /// Its kind.
        kind: u8,
        /// What is wrong with it.
        what: Malformed,
        /// Its payload.
        payload: Bytes,
    },
    /// Records that cannot be had: lost, or, where the error says that it cannot be read, perhaps not.
    Lost(WalError),
}

/// Shows records in order to `visit`, until it answers `false`. Memory: one buffer, and the largest record. Beside a living
/// writer it ends with the last record that is known to be durable.
///
/// # Errors
/// The journal cannot be read at all, or it holds no Raft logs. Places that cannot be read are items.
pub fn dump(
    path: impl AsRef<Path>,
    world: World,
    selection: &Selection,
    visit: &mut dyn FnMut(&Item) -> bool,
) -> Result<(), WalError> {
    let path = path.as_ref();
    let (world, _) = through(path, &world, None)?;
    check_kind(path, &world)?;
    let reader = Reader::open_with(path, &ReadOptions::default(), world)?;
    let mut told = String::new();
    for record in reader.scan(selection.sequences.clone()) {
        let item = match record {
            Ok(record) if selection.group.is_some_and(|group| group != record.log) => continue,
            Ok(record) => match Record::<Raw>::decode(record.kind, &record.payload) {
                Ok(raw) if !selection.takes(&raw) => continue,
                Ok(raw) => Item::Record { sequence: record.sequence, group: record.log, record: raw },
                Err(what) => Item::Foreign {
                    sequence: record.sequence,
                    group: record.log,
                    kind: record.kind,
                    what,
                    payload: record.payload,
                },
            },
            // It was meant to go.
            Err(WalError::Released { .. }) => continue,
            // One bad place may hold many records.
            Err(error) if error.to_string() == told => continue,
            Err(error) => {
                told = error.to_string();
                Item::Lost(error)
            }
        };
        if !visit(&item) {
            break;
        }
    }
    Ok(())
}

impl Selection {
    fn takes(&self, record: &Record<Raw>) -> bool {
        let Some(indexes) = &self.indexes else { return true };
        named(record).is_some_and(|id| indexes.contains(&id.index))
    }
}

/// The entry that a record names.
fn named(record: &Record<Raw>) -> Option<&RawLogId> {
    match record {
        Record::Append(id, _) | Record::Relocate(id, _) | Record::Commit(id) | Record::PurgeUpto(id) => Some(id),
        Record::TruncateAfter(id) => id.as_ref(),
        Record::SaveVote(_) | Record::SaveUserData(_) | Record::State(_) | Record::RemoveGroup => None,
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Record { sequence, group, record } => {
                write!(f, "{sequence:>10}  group {group}  {:14}", record.kind().words())?;
                match record {
                    Record::SaveVote(vote) => write!(f, "  {vote}"),
                    Record::Append(id, payload) | Record::Relocate(id, payload) => {
                        write!(f, "  {id}, {} bytes", payload.len())?;
                        if payload.is_empty() { Ok(()) } else { write!(f, "  {}", preview(payload)) }
                    }
                    Record::Commit(id) | Record::PurgeUpto(id) | Record::TruncateAfter(Some(id)) => {
                        write!(f, "  {id}")
                    }
                    Record::TruncateAfter(None) => write!(f, "  nothing: no entry is left"),
                    Record::SaveUserData(data) => write!(f, "  {} bytes  {}", data.len(), preview(data)),
                    Record::State(state) => state_words(f, state),
                    Record::RemoveGroup => Ok(()),
                }
            }
            Item::Foreign { sequence, group, kind, what, payload } => {
                write!(f, "{sequence:>10}  group {group}  FOREIGN: kind {kind}, {} bytes: {what}", payload.len())
            }
            Item::Lost(error @ (WalError::Io { .. } | WalError::UnreadableRecord(_))) => {
                write!(f, "            UNREADABLE: {error}")
            }
            Item::Lost(error) => write!(f, "            LOST: {error}"),
        }
    }
}

fn state_words(f: &mut fmt::Formatter<'_>, state: &RaftLogState<Raw>) -> fmt::Result {
    state.vote.iter().try_for_each(|vote| write!(f, "  vote {vote};"))?;
    for (word, id) in [("last", &state.last), ("committed", &state.committed), ("purged", &state.purged)] {
        id.iter().try_for_each(|id| write!(f, "  {word} {id};"))?;
    }
    state.user_data.iter().try_for_each(|data| write!(f, "  user data of {} bytes", data.len()))
}

impl Item {
    /// The item as one JSON object on one line.
    pub fn to_json(&self) -> String {
        match self {
            Item::Record { sequence, group, record } => format!(
                "{{\"item\":\"record\",\"sequence\":{sequence},\"group\":{group},\"kind\":\"{}\"{}}}",
                record.kind().words(),
                members(record)
            ),
            Item::Foreign { sequence, group, kind, what, payload } => format!(
                "{{\"item\":\"foreign\",\"sequence\":{sequence},\"group\":{group},\"kind\":{kind},\"what\":{},\
                 \"bytes\":{},{}}}",
                json_string(what.what),
                payload.len(),
                json_bytes(payload)
            ),
            Item::Lost(error) => format!("{{\"item\":\"lost\",\"what\":{}}}", json_string(&error.to_string())),
        }
    }
}

fn members(record: &Record<Raw>) -> String {
    let id = |id: &RawLogId| format!(",\"index\":{},{}", id.index, id.leader.json_member());
    let data = |bytes: &Bytes| format!(",\"bytes\":{},{}", bytes.len(), json_bytes(bytes));
    match record {
        Record::SaveVote(vote) => format!(",\"vote\":{}", vote.to_json()),
        Record::Append(at, payload) | Record::Relocate(at, payload) => id(at) + &data(payload),
        Record::Commit(at) | Record::PurgeUpto(at) | Record::TruncateAfter(Some(at)) => id(at),
        Record::TruncateAfter(None) => ",\"index\":null".to_string(),
        Record::SaveUserData(bytes) => data(bytes),
        Record::State(state) => {
            let id = |id: &Option<RawLogId>| json_or_null(id.as_ref(), RawLogId::to_json);
            format!(
                ",\"vote\":{},\"last\":{},\"committed\":{},\"purged\":{},\"user_data_bytes\":{}",
                json_or_null(state.vote.as_ref(), RawVote::to_json),
                id(&state.last),
                id(&state.committed),
                id(&state.purged),
                json_number(state.user_data.as_ref().map(|data| data.len() as u64))
            )
        }
        Record::RemoveGroup => String::new(),
    }
}
