//! What is stored together, all or none. Owns the encoding of the user's values, on the caller's thread and before any lock.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;

use crate::SeqNo;
use crate::codec::{Codec, ConsensusLayer};

/// One value of a batch, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Decision(SeqNo, Bytes),
    Proof(SeqNo, Bytes),
    Membership(SeqNo, Bytes),
    Message(SeqNo, Bytes),
    Safety(Bytes),
    Recovery(u64, Bytes),
}

/// A caller's atomic unit: after a crash all of it is there, or nothing.
///
/// ```
/// use duramen_decisions::{Batch, RawLayer};
/// let mut batch = Batch::<RawLayer>::new();
/// batch.decision(7, &"pay 3 to b".into()).proof(7, &"2f + 1 signatures".into()).safety(&"view 2".into());
/// ```
pub struct Batch<CL> {
    pub(crate) items: Vec<Item>,
    pub(crate) urgent: bool,
    layer: PhantomData<fn() -> CL>,
}

impl<CL: ConsensusLayer> Batch<CL> {
    /// An empty batch.
    pub fn new() -> Batch<CL> {
        Batch { items: Vec::new(), urgent: false, layer: PhantomData }
    }

    /// A decision. One that is stored already is accepted if it is the same, and refused otherwise.
    pub fn decision(&mut self, seq_no: SeqNo, decision: &CL::Decision) -> &mut Self {
        self.items.push(Item::Decision(seq_no, decision.to_bytes()));
        self
    }

    /// What proves a decision. A later one replaces it: several sets of votes prove the same.
    pub fn proof(&mut self, seq_no: SeqNo, proof: &CL::Proof) -> &mut Self {
        self.items.push(Item::Proof(seq_no, proof.to_bytes()));
        self
    }

    /// The membership from a decision on.
    pub fn membership(&mut self, seq_no: SeqNo, membership: &CL::Membership) -> &mut Self {
        self.items.push(Item::Membership(seq_no, membership.to_bytes()));
        self
    }

    /// A message of an instance before it is decided; they come back in their order.
    pub fn message(&mut self, seq_no: SeqNo, message: &CL::Message) -> &mut Self {
        self.items.push(Item::Message(seq_no, message.to_bytes()));
        self
    }

    /// What must not be forgotten: view, vote, lock. Replaces what was there. The batch becomes durable at once, whatever the
    /// policy says: the message that this authorises waits for it.
    pub fn safety(&mut self, safety: &CL::Safety) -> &mut Self {
        self.items.push(Item::Safety(safety.to_bytes()));
        self.urgent = true;
        self
    }

    /// Recovery information of the protocol's own, under a number of its own. Replaces what was there.
    pub fn recovery(&mut self, number: u64, bytes: &[u8]) -> &mut Self {
        self.items.push(Item::Recovery(number, Bytes::copy_from_slice(bytes)));
        self
    }

    /// The batch becomes durable at once, whatever the policy says.
    pub fn now(&mut self) -> &mut Self {
        self.urgent = true;
        self
    }

    /// Values in it.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<CL: ConsensusLayer> Default for Batch<CL> {
    fn default() -> Batch<CL> {
        Batch::new()
    }
}

impl<CL> fmt::Debug for Batch<CL> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("items", &self.items.len()).field("urgent", &self.urgent).finish()
    }
}
