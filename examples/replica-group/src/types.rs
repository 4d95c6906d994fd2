//! What is agreed on, what is stored, and what goes over the wire. Owns their encoding, and no rule of the protocol.

use bytes::Bytes;
use duramen_decisions::{Blake3, Codec, ConsensusLayer, Digest as _, FileBasedLog, SeqNo};
use serde::{Deserialize, Serialize};

use crate::state::KeyValues;

/// Replicas of the group: n = 3f + 1.
pub const REPLICAS: usize = 4;
/// Replicas that may be faulty: f.
pub const FAULTS: usize = 1;
/// Replicas of which any two sets have an honest one in common: 2f + 1.
pub const QUORUM: usize = 2 * FAULTS + 1;
/// Replicas of which one is honest: f + 1.
pub const WITNESSES: usize = FAULTS + 1;

/// A replica: 0 to 3.
pub type ReplicaId = u8;
/// A view: its primary is the replica of its number modulo four.
pub type View = u64;
/// A digest as it goes over the wire.
pub type Hash = [u8; 32];
/// The log of a replica.
pub type Log = FileBasedLog<Blake3, KeyValues, Layer>;

/// The primary of a view.
pub fn primary(view: View) -> ReplicaId {
    (view % REPLICAS as u64) as ReplicaId
}

/// A client's request: sets a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Who asks.
    pub client: u64,
    /// Which of its requests this is, from 1 on; it has one under way at a time.
    pub number: u64,
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What is decided under one number: commands, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The commands.
    pub commands: Vec<Command>,
}

impl Decision {
    /// Its digest, the same as the log's.
    pub fn digest(&self) -> Hash {
        Blake3::of(&[&encoded(self)]).bytes()
    }
}

/// What shows a decision: who voted to commit it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// In which view they did; of several the last.
    pub view: View,
    /// The decision's digest.
    pub digest: Hash,
    /// The replicas.
    pub voters: Vec<ReplicaId>,
}

impl Proof {
    /// Whether it is one of this decision. There are no signatures, so that it is only as good as who sent it.
    pub fn shows(&self, decision: &Decision) -> bool {
        let mut voters = self.voters.clone();
        voters.sort_unstable();
        voters.dedup();
        voters.retain(|voter| usize::from(*voter) < REPLICAS);
        voters.len() >= QUORUM && self.digest == decision.digest()
    }
}

/// What is stored of an instance before it is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    /// The primary's proposal of this view was accepted: no other one may be in the same view.
    Accepted {
        /// The view.
        view: View,
        /// What it proposed.
        decision: Decision,
    },
    /// A quorum accepted it, as far as this replica knows: a later view must not pass it over.
    Prepared {
        /// The view.
        view: View,
        /// The decision's digest.
        digest: Hash,
        /// Who accepted it.
        voters: Vec<ReplicaId>,
    },
}

/// What a replica must not forget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Safety {
    /// It takes part in no view before this one.
    pub view: View,
    /// Whether the view was entered; otherwise it was only asked for.
    pub active: bool,
    /// It votes on no instance before this one, as it may have done so before its folder was lost.
    pub votes_from: SeqNo,
    /// What it prepared last and is not decided.
    pub prepared: Option<Vote>,
}

/// Who belongs to the group: addresses, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The addresses.
    pub replicas: Vec<String>,
}

/// The consensus layer's types.
#[derive(Clone, Copy, Debug)]
pub struct Layer;

impl ConsensusLayer for Layer {
    type Decision = Decision;
    type Proof = Proof;
    type Message = Kept;
    type Safety = Safety;
    type Membership = Membership;
}

/// A value's bytes.
pub fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("these types have no form that cannot be written into memory")
}

macro_rules! stored {
    ($($name:ty),*) => {$(
        impl Codec for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&encoded(self));
            }

            fn decode(bytes: &Bytes) -> Result<Self, String> {
                postcard::from_bytes(bytes).map_err(|error| error.to_string())
            }
        }
    )*};
}

stored!(Decision, Proof, Kept, Safety, Membership);

/// A vote on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// In which view.
    pub view: View,
    /// On which instance.
    pub seq_no: SeqNo,
    /// For which decision.
    pub digest: Hash,
}

/// A replica wants a view, and says what it knows that the view's primary must respect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewChange {
    /// The view.
    pub view: View,
    /// It has decided all up to this one.
    pub decided: SeqNo,
    /// The digest of that one, if it knows it: it does not behind a checkpoint of others.
    pub last: Option<Hash>,
    /// What it prepared for the next instance, in the latest view: PBFT's set P.
    pub prepared: Option<(View, Decision)>,
    /// What it accepted for the next instance, each with the latest view: PBFT's set Q.
    pub accepted: Vec<(Hash, View)>,
}

/// A view begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewView {
    /// The view.
    pub view: View,
    /// What a quorum of replicas said when they asked for it.
    pub changes: Vec<(ReplicaId, ViewChange)>,
}

/// How far a replica is. Everything in it is durable there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its view.
    pub view: View,
    /// Whether it has entered it.
    pub active: bool,
    /// It has decided all up to this one.
    pub decided: SeqNo,
    /// It has no decisions up to this one any more.
    pub base: SeqNo,
    /// Its checkpoints: the decision, and the digest of the manifest.
    pub checkpoints: Vec<(SeqNo, Hash)>,
}

/// Who opens a connection. Nothing proves it: see the crate's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// Another replica: its messages count as its votes.
    Replica(ReplicaId),
    /// A client.
    Client(u64),
    /// Whoever asks questions: a replica that fetches chunks, a tool.
    Visitor,
}

/// What goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wire {
    /// The first of each connection.
    Hello(Who),
    /// The primary proposes a decision.
    PrePrepare(View, SeqNo, Decision),
    /// A replica accepted it.
    Prepare(Vote),
    /// A replica knows that a quorum accepted it.
    Commit(Vote),
    /// See [`ViewChange`].
    ViewChange(ViewChange),
    /// See [`NewView`].
    NewView(NewView),
    /// See [`Status`].
    Status(Status),
    /// A replica asks for the decisions behind one.
    Fetch(SeqNo),
    /// A replica has decided this.
    Decided(SeqNo, Decision, Proof),
    /// A client's request.
    Put(Command),
    /// A replica executed a client's request of this number, as part of that decision.
    Done(u64, SeqNo),
    /// Asks for the manifest of a checkpoint.
    AskManifest(SeqNo),
    /// Asks for a chunk.
    AskChunk(Hash),
    /// The answer to both.
    Bytes(Option<Vec<u8>>),
    /// Asks how far the state is, and for its digest.
    AskState,
    /// The answer: the last decision in the state, and the state's digest.
    State(SeqNo, Hash),
    /// Asks for the values of keys.
    AskValues(Vec<String>),
    /// The answer.
    Values(Vec<Option<String>>),
}
