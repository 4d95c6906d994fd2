//! What the service says to openraft, and how that is stored.

use bytes::Bytes;
use duramen_raft::Malformed;
use duramen_raft::openraft_10::{
    Codec, CommittedLeaderIdOf, LogIdOf, LogStore, VoteOf, decode_payload, encode_payload,
};
use openraft::entry::RaftEntry;
use openraft::vote::{RaftLeaderId, RaftVote};
use openraft::{BasicNode, Entry, EntryPayload, Vote};
use serde::{Deserialize, Serialize};

/// What a client asks to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Sets a key.
    Put { key: String, value: String },
    /// Sets a key, if it has this value.
    Cas { key: String, expected: Option<String>, value: String },
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Command::Put { key, value } => write!(f, "{key} = {value}"),
            Command::Cas { key, expected, value } => write!(f, "{key} = {value} if it is {expected:?}"),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the key was set.
    pub done: bool,
}

openraft::declare_raft_types!(
    /// The configuration: nodes are numbers with an address.
    pub Kv:
        D = Command,
        R = Answer,
        Node = BasicNode,
);

/// How entries and votes are stored: numbers in little-endian, the rest as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored;

/// The log store.
pub type Store = LogStore<Kv, Stored>;
/// The log's entries.
pub type KvEntry = <Kv as openraft::RaftTypeConfig>::Entry;

fn word(bytes: &[u8], at: usize) -> Result<u64, Malformed> {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    word.map(u64::from_le_bytes).ok_or(Malformed::new("a number has eight bytes"))
}

fn json<V: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<V, Malformed> {
    serde_json::from_slice(bytes).map_err(|_| Malformed::new("it is stored as JSON"))
}

fn to_json<V: Serialize>(value: &V, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a value of strings and numbers is JSON");
}

impl Codec<Kv> for Stored {
    fn encode_leader(leader: &CommittedLeaderIdOf<Kv>, out: &mut Vec<u8>) {
        out.extend_from_slice(&leader.term().to_le_bytes());
        out.extend_from_slice(&leader.node_id().to_le_bytes());
    }

    fn decode_leader(bytes: &[u8]) -> Result<CommittedLeaderIdOf<Kv>, Malformed> {
        Ok(RaftLeaderId::new(word(bytes, 0)?, word(bytes, 8)?))
    }

    fn encode_vote(vote: &VoteOf<Kv>, out: &mut Vec<u8>) {
        Stored::encode_leader(&vote.leader_id, out);
        out.push(u8::from(vote.committed));
    }

    fn decode_vote(bytes: &[u8]) -> Result<VoteOf<Kv>, Malformed> {
        let committed = bytes.get(16).ok_or(Malformed::new("a vote has seventeen bytes"))?;
        Ok(Vote::from_leader_id(Stored::decode_leader(&bytes[..16])?, *committed == 1))
    }

    fn encode_entry(entry: &KvEntry, out: &mut Vec<u8>) {
        encode_payload(&entry.payload, out, to_json::<Command>, |node, out| {
            out.extend_from_slice(node.addr.as_bytes())
        });
    }

    fn decode_entry(id: LogIdOf<Kv>, bytes: Bytes) -> Result<KvEntry, Malformed> {
        let node = |bytes: &[u8]| {
            let address = String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::new("an address is UTF-8"))?;
            Ok(BasicNode::new(address))
        };
        let payload: EntryPayload<Command, u64, BasicNode> = decode_payload(&bytes, |bytes| json(&bytes), node)?;
        Ok(Entry::new(id, payload))
    }
}
