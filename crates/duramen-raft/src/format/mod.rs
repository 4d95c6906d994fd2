//! Bytes of the records that a Raft log puts into its journal, and back. Owns every stored byte of this crate, here and
//! in [`summary`] and [`snapshot`]; FORMAT.md draws them. Pure: knows neither journal, nor file, nor the user's types, which are opaque
//! bytes here. Nothing that is decoded can make it panic.

use std::fmt;

pub mod snapshot;
pub mod summary;

/// A leader's id, as it is stored in front of each entry, may have so many bytes.
pub const LEADER_BYTES_MAX: usize = 255;

/// Bytes that cannot be what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
}

impl Malformed {
    /// Says what is wrong.
    pub const fn new(what: &'static str) -> Malformed {
        Malformed { what }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for Malformed {}

/// What a record of the journal is to a Raft log: the record's kind there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A vote, or what else a node promised.
    SaveVote = 1,
    /// One entry.
    Append = 2,
    /// Everything up to an entry is committed.
    Commit = 3,
    /// Everything behind an entry is gone.
    TruncateAfter = 4,
    /// Everything up to an entry is gone.
    PurgeUpto = 5,
    /// The state of the whole log, entries aside.
    State = 6,
    /// The user's own small state.
    SaveUserData = 7,
    /// A copy of an entry that is live, so that the segment with the first copy can go.
    Relocate = 8,
    /// The group is gone, with all that it had.
    RemoveGroup = 9,
}

impl Kind {
    /// The kind with this number.
    pub fn of(number: u8) -> Option<Kind> {
        use Kind::*;
        let all = [SaveVote, Append, Commit, TruncateAfter, PurgeUpto, State, SaveUserData, Relocate, RemoveGroup];
        all.into_iter().find(|kind| *kind as u8 == number)
    }

    /// One lower-case word or two.
    pub fn words(self) -> &'static str {
        match self {
            Kind::SaveVote => "save vote",
            Kind::Append => "append",
            Kind::Commit => "commit",
            Kind::TruncateAfter => "truncate after",
            Kind::PurgeUpto => "purge up to",
            Kind::State => "state",
            Kind::SaveUserData => "save user data",
            Kind::Relocate => "relocate",
            Kind::RemoveGroup => "remove group",
        }
    }
}

/// A log id: who led when the entry was made, in the user's own bytes, and the entry's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawId<'a> {
    /// The entry's index.
    pub index: u64,
    /// The leader, opaque; at most [`LEADER_BYTES_MAX`] bytes.
    pub leader: &'a [u8],
}

impl<'a> RawId<'a> {
    /// Writes the id.
    ///
    /// # Panics
    /// If the leader has more than [`LEADER_BYTES_MAX`] bytes: whoever made it has compared.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let length = u8::try_from(self.leader.len()).expect("a leader's length was compared with the bound");
        out.extend_from_slice(&self.index.to_le_bytes());
        out.push(length);
        out.extend_from_slice(self.leader);
    }

    fn take(reader: &mut Reader<'a>) -> Result<RawId<'a>, Malformed> {
        let index = reader.word()?;
        let length = reader.byte()?;
        Ok(RawId { index, leader: reader.take(usize::from(length))? })
    }
}

/// The state of a log, entries aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawState<'a> {
    /// The vote.
    pub vote: Option<&'a [u8]>,
    /// The last entry; the last purged one if there is none.
    pub last: Option<RawId<'a>>,
    /// The last committed entry.
    pub committed: Option<RawId<'a>>,
    /// The last purged entry.
    pub purged: Option<RawId<'a>>,
    /// The user's own small state.
    pub user_data: Option<&'a [u8]>,
}

/// One record, its parts still bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawRecord<'a> {
    /// See [`Kind::SaveVote`].
    SaveVote(&'a [u8]),
    /// See [`Kind::Append`].
    Append {
        /// Its id.
        id: RawId<'a>,
        /// Its payload.
        payload: &'a [u8],
    },
    /// See [`Kind::Commit`].
    Commit(RawId<'a>),
    /// See [`Kind::TruncateAfter`]; `None`: no entry is left.
    TruncateAfter(Option<RawId<'a>>),
    /// See [`Kind::PurgeUpto`].
    PurgeUpto(RawId<'a>),
    /// See [`Kind::State`].
    State(RawState<'a>),
    /// See [`Kind::SaveUserData`].
    SaveUserData(&'a [u8]),
    /// See [`Kind::Relocate`].
    Relocate {
        /// Its id.
        id: RawId<'a>,
        /// Its payload.
        payload: &'a [u8],
    },
    /// See [`Kind::RemoveGroup`].
    RemoveGroup,
}

impl<'a> RawRecord<'a> {
    /// The record's kind.
    pub fn kind(&self) -> Kind {
        match self {
            RawRecord::SaveVote(_) => Kind::SaveVote,
            RawRecord::Append { .. } => Kind::Append,
            RawRecord::Commit(_) => Kind::Commit,
            RawRecord::TruncateAfter(_) => Kind::TruncateAfter,
            RawRecord::PurgeUpto(_) => Kind::PurgeUpto,
            RawRecord::State(_) => Kind::State,
            RawRecord::SaveUserData(_) => Kind::SaveUserData,
            RawRecord::Relocate { .. } => Kind::Relocate,
            RawRecord::RemoveGroup => Kind::RemoveGroup,
        }
    }

    /// Writes the payload of the journal's record.
    ///
    /// # Panics
    /// As [`RawId::encode`]; and if a vote or user data reach 4 GiB, which no journal takes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            RawRecord::SaveVote(bytes) | RawRecord::SaveUserData(bytes) => out.extend_from_slice(bytes),
            RawRecord::Append { id, payload } | RawRecord::Relocate { id, payload } => {
                id.encode(out);
                out.extend_from_slice(payload);
            }
            RawRecord::Commit(id) | RawRecord::PurgeUpto(id) => id.encode(out),
            RawRecord::TruncateAfter(id) => id.iter().for_each(|id| id.encode(out)),
            RawRecord::State(state) => state.encode(out),
            RawRecord::RemoveGroup => {}
        }
    }

    /// Reads the payload of a record of this kind.
    ///
    /// # Errors
    /// An unknown kind, or bytes that are too few or too many.
    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<RawRecord<'a>, Malformed> {
        let kind = Kind::of(kind).ok_or(Malformed::new("a record of an unknown kind"))?;
        let mut reader = Reader { left: payload };
        let record = match kind {
            Kind::SaveVote => RawRecord::SaveVote(reader.rest()),
            Kind::SaveUserData => RawRecord::SaveUserData(reader.rest()),
            Kind::Append => RawRecord::Append { id: RawId::take(&mut reader)?, payload: reader.rest() },
            Kind::Relocate => RawRecord::Relocate { id: RawId::take(&mut reader)?, payload: reader.rest() },
            Kind::Commit => RawRecord::Commit(RawId::take(&mut reader)?),
            Kind::PurgeUpto => RawRecord::PurgeUpto(RawId::take(&mut reader)?),
            Kind::TruncateAfter if payload.is_empty() => RawRecord::TruncateAfter(None),
            Kind::TruncateAfter => RawRecord::TruncateAfter(Some(RawId::take(&mut reader)?)),
            Kind::State => RawRecord::State(RawState::take(&mut reader)?),
            Kind::RemoveGroup => RawRecord::RemoveGroup,
        };
        reader.end()?;
        Ok(record)
    }
}

const HAS_VOTE: u8 = 1;
const HAS_LAST: u8 = 2;
const HAS_COMMITTED: u8 = 4;
const HAS_PURGED: u8 = 8;
const HAS_USER_DATA: u8 = 16;
const STATE_FLAGS: u8 = HAS_VOTE | HAS_LAST | HAS_COMMITTED | HAS_PURGED | HAS_USER_DATA;

impl<'a> RawState<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        let flag = |present: bool, flag: u8| if present { flag } else { 0 };
        out.push(
            flag(self.vote.is_some(), HAS_VOTE)
                | flag(self.last.is_some(), HAS_LAST)
                | flag(self.committed.is_some(), HAS_COMMITTED)
                | flag(self.purged.is_some(), HAS_PURGED)
                | flag(self.user_data.is_some(), HAS_USER_DATA),
        );
        let with_length = |bytes: &[u8], out: &mut Vec<u8>| {
            let length = u32::try_from(bytes.len()).expect("a record stays below 4 GiB");
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(bytes);
        };
        self.vote.iter().for_each(|vote| with_length(vote, out));
        [self.last, self.committed, self.purged].iter().flatten().for_each(|id| id.encode(out));
        self.user_data.iter().for_each(|data| with_length(data, out));
    }

    fn take(reader: &mut Reader<'a>) -> Result<RawState<'a>, Malformed> {
        let flags = reader.byte()?;
        if flags & !STATE_FLAGS != 0 {
            return Err(Malformed::new("a state with unknown parts"));
        }
        let mut state = RawState::default();
        if flags & HAS_VOTE != 0 {
            state.vote = Some(reader.with_length()?);
        }
        for (flag, id) in
            [(HAS_LAST, &mut state.last), (HAS_COMMITTED, &mut state.committed), (HAS_PURGED, &mut state.purged)]
        {
            if flags & flag != 0 {
                *id = Some(RawId::take(reader)?);
            }
        }
        if flags & HAS_USER_DATA != 0 {
            state.user_data = Some(reader.with_length()?);
        }
        Ok(state)
    }
}

/// Takes bytes apart from the front.
pub(crate) struct Reader<'a> {
    pub left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(Malformed::new("bytes are missing at the end"))?;
        self.left = left;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub fn word(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    fn with_length(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.take(4)?;
        let length = u32::from_le_bytes(bytes.try_into().expect("four bytes were taken"));
        self.take(length as usize)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.left)
    }

    /// A number of seven bits a byte, the low ones first.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::new("a number is too long"))
    }

    pub fn end(&self) -> Result<(), Malformed> {
        if self.left.is_empty() { Ok(()) } else { Err(Malformed::new("bytes are left over at the end")) }
    }
}

/// Writes a number as [`Reader::varint`] reads it.
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64, leader: &[u8]) -> RawId<'_> {
        RawId { index, leader }
    }

    #[test]
    fn what_is_written_is_read() {
        let state = RawState {
            vote: Some(b"vote"),
            last: Some(id(9, b"l")),
            committed: None,
            purged: Some(id(3, b"")),
            user_data: Some(b""),
        };
        let records = [
            RawRecord::SaveVote(b""),
            RawRecord::SaveVote(b"v"),
            RawRecord::Append { id: id(7, &[1; 255]), payload: b"p" },
            RawRecord::Commit(id(u64::MAX, b"x")),
            RawRecord::TruncateAfter(None),
            RawRecord::TruncateAfter(Some(id(0, b""))),
            RawRecord::PurgeUpto(id(1, b"y")),
            RawRecord::State(state),
            RawRecord::State(RawState::default()),
            RawRecord::SaveUserData(b"u"),
            RawRecord::Relocate { id: id(8, b"z"), payload: b"" },
            RawRecord::RemoveGroup,
        ];
        for record in records {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(RawRecord::decode(record.kind() as u8, &bytes), Ok(record));
            // Whatever is cut off or added is noticed, except in what is all payload.
            let open_ended = matches!(record.kind(), Kind::SaveVote | Kind::SaveUserData);
            for cut in 0..bytes.len() {
                let read = RawRecord::decode(record.kind() as u8, &bytes[..cut]);
                assert_ne!(read, Ok(record), "{record:?} cut to {cut}");
            }
            bytes.push(0);
            let read = RawRecord::decode(record.kind() as u8, &bytes);
            let payload_grew = matches!(record.kind(), Kind::Append | Kind::Relocate) || open_ended;
            assert!(payload_grew || read.is_err(), "{record:?}");
        }
    }

    #[test]
    fn numbers_of_every_length() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put_varint(value, &mut bytes);
                let mut reader = Reader { left: &bytes };
                assert_eq!(reader.varint(), Ok(value));
                assert!(reader.left.is_empty());
            }
        }
        for bad in [&[0x80u8; 11][..], &[0xff; 10], &[0x80], &[]] {
            assert!(Reader { left: bad }.varint().is_err(), "{bad:?}");
        }
    }
}
