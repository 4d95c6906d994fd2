//! What a user brings: ids, votes, payloads and how they are turned into bytes ([`Types`]), and what consumes a log's
//! records ([`StateMachine`]). Owns the two traits and a ready set of types, [`Plain`]; knows no journal.
//!
//! ```
//! use duramen_raft::{Malformed, Stored, TermVote, Types};
//! use bytes::Bytes;
//!
//! /// A log whose entries are texts.
//! #[derive(Clone, Debug, PartialEq)]
//! struct Texts;
//!
//! #[derive(Clone, Debug, PartialEq)]
//! struct Text(String);
//!
//! impl Stored for Text {
//!     fn encode(&self, out: &mut Vec<u8>) {
//!         out.extend_from_slice(self.0.as_bytes());
//!     }
//!     fn decode(bytes: Bytes) -> Result<Text, Malformed> {
//!         String::from_utf8(bytes.to_vec()).map(Text).map_err(|_| Malformed::new("a text is UTF-8"))
//!     }
//! }
//!
//! impl Types for Texts {
//!     type Leader = u64;
//!     type LogId = (u64, u64);
//!     type Vote = TermVote;
//!     type Payload = Text;
//!     type UserData = ();
//!     fn leader(id: &(u64, u64)) -> u64 {
//!         id.0
//!     }
//!     fn index(id: &(u64, u64)) -> u64 {
//!         id.1
//!     }
//!     fn log_id(leader: u64, index: u64) -> (u64, u64) {
//!         (leader, index)
//!     }
//! }
//! ```

use std::cmp::Ordering;
use std::fmt;

use bytes::Bytes;

use crate::format::Malformed;
use crate::record::Record;

/// A value that is stored, as bytes that its author chose. What was once stored must be readable for ever.
pub trait Stored: Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// Puts the value's bytes behind what is there.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads a value from exactly the bytes that [`Stored::encode`] wrote. It may keep them: then nothing is copied.
    ///
    /// # Errors
    /// What is wrong with them. Must not panic: the bytes come from a disk.
    fn decode(bytes: Bytes) -> Result<Self, Malformed>;
}

/// What a Raft log is made of.
pub trait Types: Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// Who made an entry: a term, or a term and a node. Never goes back along a log. At most 255 bytes when stored.
    type Leader: Stored + Ord;
    /// The id of an entry: its leader, and its index.
    type LogId: Clone + fmt::Debug + PartialEq + Send + Sync + 'static;
    /// A vote, or whatever else a node must never take back: two that cannot be compared exclude each other.
    type Vote: Stored + PartialOrd;
    /// What an entry carries.
    type Payload: Stored;
    /// A small state of the user's own that lives in the log.
    type UserData: Stored;

    /// The leader in an id.
    fn leader(id: &Self::LogId) -> Self::Leader;
    /// The index in an id.
    fn index(id: &Self::LogId) -> u64;
    /// The id of these two.
    fn log_id(leader: Self::Leader, index: u64) -> Self::LogId;
}

/// Consumes the records of one log in order, or refuses one.
///
/// [`crate::RaftLogState`] is the one that the log itself uses; [`crate::RaftLog::replay`] feeds any other.
pub trait StateMachine<T: Types> {
    /// Why a record was refused.
    type Refusal;

    /// Takes one record. Refused: nothing has changed.
    ///
    /// # Errors
    /// Why it cannot follow on what came before.
    fn apply(&mut self, record: &Record<T>) -> Result<(), Self::Refusal>;
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<T: Types> {
    /// Its id.
    pub id: T::LogId,
    /// What it carries.
    pub payload: T::Payload,
}

impl<T: Types> Entry<T> {
    /// An entry of these two.
    pub fn new(id: T::LogId, payload: T::Payload) -> Entry<T> {
        Entry { id, payload }
    }

    /// Its index.
    pub fn index(&self) -> u64 {
        T::index(&self.id)
    }
}

/// One entry, lent by a reader that walks: its payload as it is stored.
#[derive(Clone, Debug)]
pub struct EntryRef<'a, T: Types> {
    /// Its id.
    pub id: T::LogId,
    /// What it carries, as [`Stored::encode`] wrote it.
    pub payload: &'a [u8],
}

/// Term and index; payloads and user data are bytes, which are read without being copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain;

/// The id of an entry: the leader's term, and the index. Ordered by term first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TermIndex {
    /// The term of the leader that made the entry.
    pub term: u64,
    /// The entry's index.
    pub index: u64,
}

impl TermIndex {
    /// An id of these two.
    pub fn new(term: u64, index: u64) -> TermIndex {
        TermIndex { term, index }
    }
}

/// A term, and the node that was voted for in it. In one term there is one vote: two nodes in the same term cannot be
/// compared, so the second is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TermVote {
    /// The term.
    pub term: u64,
    /// The node; `None`: no vote was given in this term.
    pub node: Option<u64>,
}

impl PartialOrd for TermVote {
    fn partial_cmp(&self, other: &TermVote) -> Option<Ordering> {
        match (self.term.cmp(&other.term), self.node, other.node) {
            (Ordering::Equal, Some(a), Some(b)) => (a == b).then_some(Ordering::Equal),
            (Ordering::Equal, a, b) => Some(a.is_some().cmp(&b.is_some())),
            (ordering, _, _) => Some(ordering),
        }
    }
}

impl Types for Plain {
    type Leader = u64;
    type LogId = TermIndex;
    type Vote = TermVote;
    type Payload = Bytes;
    type UserData = Bytes;

    fn leader(id: &TermIndex) -> u64 {
        id.term
    }

    fn index(id: &TermIndex) -> u64 {
        id.index
    }

    fn log_id(leader: u64, index: u64) -> TermIndex {
        TermIndex { term: leader, index }
    }
}

impl Stored for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: Bytes) -> Result<Bytes, Malformed> {
        Ok(bytes)
    }
}

impl Stored for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: Bytes) -> Result<Vec<u8>, Malformed> {
        Ok(bytes.to_vec())
    }
}

impl Stored for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn decode(bytes: Bytes) -> Result<u64, Malformed> {
        let bytes = bytes[..].try_into().map_err(|_| Malformed::new("a number has eight bytes"))?;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl Stored for () {
    fn encode(&self, _out: &mut Vec<u8>) {}

    fn decode(bytes: Bytes) -> Result<(), Malformed> {
        if bytes.is_empty() { Ok(()) } else { Err(Malformed::new("nothing has no bytes")) }
    }
}

impl Stored for TermVote {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.term.to_le_bytes());
        self.node.iter().for_each(|node| out.extend_from_slice(&node.to_le_bytes()));
    }

    fn decode(bytes: Bytes) -> Result<TermVote, Malformed> {
        let word =
            |from: usize| bytes.get(from..from + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
        match (bytes.len(), word(0)) {
            (8, Some(term)) => Ok(TermVote { term, node: None }),
            (16, Some(term)) => Ok(TermVote { term, node: word(8) }),
            _ => Err(Malformed::new("a vote has eight or sixteen bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_of_one_term_exclude_each_other() {
        let vote = |term, node| TermVote { term, node };
        let order = |a: TermVote, b: TermVote| a.partial_cmp(&b);
        assert_eq!(order(vote(2, None), vote(1, Some(9))), Some(Ordering::Greater));
        assert_eq!(order(vote(2, Some(1)), vote(2, None)), Some(Ordering::Greater));
        assert_eq!(order(vote(2, Some(1)), vote(2, Some(1))), Some(Ordering::Equal));
        assert_eq!(order(vote(2, Some(1)), vote(2, Some(2))), None);
        assert_eq!(order(vote(2, None), vote(2, None)), Some(Ordering::Equal));
    }

    #[test]
    fn ready_values_are_read_as_they_were_written() {
        fn check<S: Stored>(value: S) {
            let mut bytes = Vec::new();
            value.encode(&mut bytes);
            assert_eq!(S::decode(Bytes::from(bytes)).expect("reads"), value);
        }
        check(TermVote { term: 7, node: None });
        check(TermVote { term: 7, node: Some(u64::MAX) });
        check(u64::MAX);
        check(());
        check(vec![1u8, 2]);
        check(Bytes::from_static(b"x"));
        for length in [0, 7, 9, 15, 17] {
            assert!(TermVote::decode(Bytes::from(vec![0; length])).is_err());
        }
    }
}
