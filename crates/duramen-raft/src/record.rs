//! The records of a Raft log with the user's types in them. Owns the step between [`crate::format`]'s opaque bytes and
//! the values of [`Types`]; knows no journal.

use bytes::Bytes;

use crate::format::{Kind, LEADER_BYTES_MAX, Malformed, RawId, RawRecord, RawState};
use crate::state::RaftLogState;
use crate::types::{Stored, Types};

/// One record of a Raft log.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a record is looked at and dropped, not collected")]
pub enum Record<T: Types> {
    /// A vote.
    SaveVote(T::Vote),
    /// One entry.
    Append(T::LogId, T::Payload),
    /// Everything up to an entry is committed.
    Commit(T::LogId),
    /// Everything behind an entry is gone; `None`: no entry is left.
    TruncateAfter(Option<T::LogId>),
    /// Everything up to an entry is gone; it may lie beyond the last one.
    PurgeUpto(T::LogId),
    /// The whole state, entries aside.
    State(RaftLogState<T>),
    /// The user's own small state.
    SaveUserData(T::UserData),
    /// A copy of a live entry.
    Relocate(T::LogId, T::Payload),
    /// The group is gone.
    RemoveGroup,
}

/// A log id, its leader encoded.
pub(crate) struct EncodedId {
    index: u64,
    leader: Vec<u8>,
}

impl EncodedId {
    pub fn raw(&self) -> RawId<'_> {
        RawId { index: self.index, leader: &self.leader }
    }
}

/// Encodes a leader; shares the bytes of one that is known, if they are the same.
pub(crate) fn encode_leader<L: Stored>(leader: &L, known: Option<&Bytes>) -> Result<Bytes, Malformed> {
    let mut bytes = Vec::with_capacity(16);
    leader.encode(&mut bytes);
    match known {
        Some(known) if *known == bytes => Ok(known.clone()),
        _ if bytes.len() > LEADER_BYTES_MAX => Err(Malformed::new("a leader's id of more than 255 bytes")),
        _ => Ok(Bytes::from(bytes.into_boxed_slice())),
    }
}

/// Encodes the leader of an id.
pub(crate) fn encode_id<T: Types>(id: &T::LogId) -> Result<EncodedId, Malformed> {
    let mut leader = Vec::with_capacity(16);
    T::leader(id).encode(&mut leader);
    if leader.len() > LEADER_BYTES_MAX {
        return Err(Malformed::new("a leader's id of more than 255 bytes"));
    }
    Ok(EncodedId { index: T::index(id), leader })
}

pub(crate) fn decode_id<T: Types>(index: u64, leader: Bytes) -> Result<T::LogId, Malformed> {
    Ok(T::log_id(T::Leader::decode(leader)?, index))
}

impl<T: Types> Record<T> {
    /// Reads a record of the journal. Payloads share its buffer as far as [`Stored::decode`] does.
    ///
    /// # Errors
    /// What is wrong with its bytes.
    pub fn decode(kind: u8, payload: &Bytes) -> Result<Record<T>, Malformed> {
        let id = |id: RawId<'_>| decode_id::<T>(id.index, payload.slice_ref(id.leader));
        Ok(match RawRecord::decode(kind, payload)? {
            RawRecord::SaveVote(vote) => Record::SaveVote(T::Vote::decode(payload.slice_ref(vote))?),
            RawRecord::Append { id: raw, payload: body } => {
                Record::Append(id(raw)?, T::Payload::decode(payload.slice_ref(body))?)
            }
            RawRecord::Relocate { id: raw, payload: body } => {
                Record::Relocate(id(raw)?, T::Payload::decode(payload.slice_ref(body))?)
            }
            RawRecord::Commit(raw) => Record::Commit(id(raw)?),
            RawRecord::TruncateAfter(raw) => Record::TruncateAfter(raw.map(id).transpose()?),
            RawRecord::PurgeUpto(raw) => Record::PurgeUpto(id(raw)?),
            RawRecord::State(raw) => Record::State(RaftLogState {
                vote: raw.vote.map(|vote| T::Vote::decode(payload.slice_ref(vote))).transpose()?,
                last: raw.last.map(id).transpose()?,
                committed: raw.committed.map(id).transpose()?,
                purged: raw.purged.map(id).transpose()?,
                user_data: raw.user_data.map(|data| T::UserData::decode(payload.slice_ref(data))).transpose()?,
            }),
            RawRecord::SaveUserData(data) => Record::SaveUserData(T::UserData::decode(payload.slice_ref(data))?),
            RawRecord::RemoveGroup => Record::RemoveGroup,
        })
    }

    /// The kind of the journal's record, and its payload put behind what is there.
    ///
    /// # Errors
    /// A leader's id of more than 255 bytes; `out` may then hold a part.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<Kind, Malformed> {
        let value = |value: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            value(&mut bytes);
            bytes
        };
        match self {
            Record::SaveVote(vote) => vote.encode(out),
            Record::SaveUserData(data) => data.encode(out),
            Record::Append(id, payload) | Record::Relocate(id, payload) => {
                encode_id::<T>(id)?.raw().encode(out);
                payload.encode(out);
            }
            Record::Commit(id) | Record::PurgeUpto(id) => encode_id::<T>(id)?.raw().encode(out),
            Record::TruncateAfter(id) => {
                let id = id.as_ref().map(encode_id::<T>).transpose()?;
                RawRecord::TruncateAfter(id.as_ref().map(EncodedId::raw)).encode(out);
            }
            Record::State(state) => {
                let vote = state.vote.as_ref().map(|vote| value(&|out| vote.encode(out)));
                let data = state.user_data.as_ref().map(|data| value(&|out| data.encode(out)));
                let encode = |id: &Option<T::LogId>| id.as_ref().map(encode_id::<T>).transpose();
                let (last, committed, purged) =
                    (encode(&state.last)?, encode(&state.committed)?, encode(&state.purged)?);
                let state = RawState {
                    vote: vote.as_deref(),
                    last: last.as_ref().map(EncodedId::raw),
                    committed: committed.as_ref().map(EncodedId::raw),
                    purged: purged.as_ref().map(EncodedId::raw),
                    user_data: data.as_deref(),
                };
                RawRecord::State(state).encode(out);
            }
            Record::RemoveGroup => {}
        }
        Ok(self.kind())
    }

    /// The record's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Record::SaveVote(_) => Kind::SaveVote,
            Record::Append(..) => Kind::Append,
            Record::Commit(_) => Kind::Commit,
            Record::TruncateAfter(_) => Kind::TruncateAfter,
            Record::PurgeUpto(_) => Kind::PurgeUpto,
            Record::State(_) => Kind::State,
            Record::SaveUserData(_) => Kind::SaveUserData,
            Record::Relocate(..) => Kind::Relocate,
            Record::RemoveGroup => Kind::RemoveGroup,
        }
    }
}
