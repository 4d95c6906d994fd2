//! The trait of what a protocol uses of a log: [`PersistentLog`]. Owns the contract's words; [`crate::Log`] fulfils it.

use bytes::Bytes;

use crate::SeqNo;
use crate::backend::Backend;
use crate::batch::Batch;
use crate::checkpoint::CheckpointInfo;
use crate::codec::{ConsensusLayer, State};
use crate::completion::Completion;
use crate::digest::Digest;
use crate::error::Error;
use crate::log::Log;
use crate::recovery::RecoveryInfo;

/// Decisions of a log, in order.
pub type DecisionStream<'a, CL> =
    Box<dyn Iterator<Item = Result<(SeqNo, <CL as ConsensusLayer>::Decision), Error>> + 'a>;

/// Durable storage of one replica of a state machine: decisions with their proofs, checkpoints of a state `S`, memberships, and
/// what the protocol must not forget. `D` is the digest, `CL` the types of the consensus layer.
///
/// A store is visible to every read when its call returns. It is **durable** when its [`Completion`] says so: wait for it, await it,
/// leave a callback, or give it to a [`crate::Gate`]. Stores become durable in the order of their calls.
pub trait PersistentLog<D: Digest, S: State, CL: ConsensusLayer>: Send + Sync {
    /// Stores a decision. They may come out of order; one that is stored already is accepted if it is the same.
    ///
    /// # Errors
    /// [`Error::Conflict`]: another one is stored; [`Error::Compacted`]; [`Error::NoSpace`]. Nothing is stored.
    fn store_decision(&self, seq_no: SeqNo, decision: &CL::Decision) -> Result<Completion, Error>;
    /// Stores a batch over decisions, proofs, membership, messages, safety and recovery information: all or nothing.
    ///
    /// # Errors
    /// As [`PersistentLog::store_decision`].
    fn store_batch(&self, batch: &Batch<CL>) -> Result<Completion, Error>;
    /// A decision; `None`: it is not there, or was compacted.
    ///
    /// # Errors
    /// It is damaged, or cannot be decoded.
    fn retrieve_decision(&self, seq_no: SeqNo) -> Result<Option<CL::Decision>, Error>;
    /// A decision's proof.
    ///
    /// # Errors
    /// As [`PersistentLog::retrieve_decision`].
    fn retrieve_proof(&self, seq_no: SeqNo) -> Result<Option<CL::Proof>, Error>;
    /// The decisions behind one, in order, up to the first that is missing; `None`: from the first one on. A stream: few of them
    /// are in memory at a time.
    ///
    /// # Errors
    /// [`Error::Compacted`]: some of them are gone.
    fn retrieve_decisions_after(&self, seq_no: Option<SeqNo>) -> Result<DecisionStream<'_, CL>, Error>;
    /// The messages of an instance that is not decided yet, in their order.
    ///
    /// # Errors
    /// As [`PersistentLog::retrieve_decision`].
    fn retrieve_messages(&self, seq_no: SeqNo) -> Result<Vec<CL::Message>, Error>;
    /// The safety record.
    ///
    /// # Errors
    /// As [`PersistentLog::retrieve_decision`].
    fn retrieve_safety(&self) -> Result<Option<CL::Safety>, Error>;
    /// The protocol's recovery information of a number.
    ///
    /// # Errors
    /// It cannot be read.
    fn retrieve_recovery(&self, number: u64) -> Result<Option<Bytes>, Error>;
    /// Writes and publishes a checkpoint of the state after a decision: durable when this returns. Stores go on meanwhile.
    ///
    /// # Errors
    /// [`Error::OldCheckpoint`], [`Error::Conflict`], [`Error::State`], [`Error::NoSpace`]: the last checkpoint is what it was.
    fn store_checkpoint(&self, seq_no: SeqNo, state: &S) -> Result<CheckpointInfo<D>, Error>;
    /// The state of a checkpoint; `None`: there is none of this decision.
    ///
    /// # Errors
    /// A chunk of it is damaged.
    fn retrieve_checkpoint(&self, seq_no: SeqNo) -> Result<Option<S>, Error>;
    /// The last checkpoint's number and state.
    ///
    /// # Errors
    /// As [`PersistentLog::retrieve_checkpoint`].
    fn retrieve_last_checkpoint(&self) -> Result<Option<(SeqNo, S)>, Error>;
    /// Stores the membership that holds from a decision on.
    ///
    /// # Errors
    /// [`Error::Conflict`]: another one is stored for it.
    fn store_configuration(&self, seq_no: SeqNo, membership: &CL::Membership) -> Result<Completion, Error>;
    /// The membership that holds for a decision, and from which one on it does.
    ///
    /// # Errors
    /// As [`PersistentLog::retrieve_decision`].
    fn retrieve_configuration(&self, seq_no: SeqNo) -> Result<Option<(SeqNo, CL::Membership)>, Error>;
    /// Gives up the decisions up to one, which a durable checkpoint must have.
    ///
    /// # Errors
    /// [`Error::BeyondCheckpoint`]: nothing was given up.
    fn compact_log_up_to(&self, seq_no: SeqNo) -> Result<(), Error>;
    /// Takes back one decision, as after a view change.
    ///
    /// # Errors
    /// [`Error::BelowCheckpoint`]: a durable checkpoint has it.
    fn invalidate(&self, seq_no: SeqNo) -> Result<Completion, Error>;
    /// Takes back every decision behind one, and the memberships from then on.
    ///
    /// # Errors
    /// [`Error::BelowCheckpoint`]: a durable checkpoint has some of them.
    fn truncate_after(&self, seq_no: SeqNo) -> Result<Completion, Error>;
    /// What opening found.
    fn recovery_information(&self) -> &RecoveryInfo<D>;
    /// Makes everything that was stored so far durable.
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::NoSpace`].
    fn sync(&self) -> Result<(), Error>;
}

impl<D: Digest, S: State, CL: ConsensusLayer, B: Backend> PersistentLog<D, S, CL> for Log<D, S, CL, B> {
    fn store_decision(&self, seq_no: SeqNo, decision: &CL::Decision) -> Result<Completion, Error> {
        self.store(Batch::new().decision(seq_no, decision))
    }

    fn store_batch(&self, batch: &Batch<CL>) -> Result<Completion, Error> {
        self.store(batch)
    }

    fn retrieve_decision(&self, seq_no: SeqNo) -> Result<Option<CL::Decision>, Error> {
        self.decision(seq_no)
    }

    fn retrieve_proof(&self, seq_no: SeqNo) -> Result<Option<CL::Proof>, Error> {
        self.proof(seq_no)
    }

    fn retrieve_decisions_after(&self, seq_no: Option<SeqNo>) -> Result<DecisionStream<'_, CL>, Error> {
        Ok(Box::new(self.decisions_after(seq_no)?))
    }

    fn retrieve_messages(&self, seq_no: SeqNo) -> Result<Vec<CL::Message>, Error> {
        self.messages(seq_no)
    }

    fn retrieve_safety(&self) -> Result<Option<CL::Safety>, Error> {
        self.safety()
    }

    fn retrieve_recovery(&self, number: u64) -> Result<Option<Bytes>, Error> {
        self.recovery(number)
    }

    fn store_checkpoint(&self, seq_no: SeqNo, state: &S) -> Result<CheckpointInfo<D>, Error> {
        self.write_checkpoint(seq_no, state)
    }

    fn retrieve_checkpoint(&self, seq_no: SeqNo) -> Result<Option<S>, Error> {
        match self.checkpoint(seq_no) {
            Err(Error::NoCheckpoint { .. }) => Ok(None),
            found => found?.state().map(Some),
        }
    }

    fn retrieve_last_checkpoint(&self) -> Result<Option<(SeqNo, S)>, Error> {
        let Some(last) = self.last_checkpoint() else { return Ok(None) };
        Ok(self.retrieve_checkpoint(last)?.map(|state| (last, state)))
    }

    fn store_configuration(&self, seq_no: SeqNo, membership: &CL::Membership) -> Result<Completion, Error> {
        self.store(Batch::new().membership(seq_no, membership))
    }

    fn retrieve_configuration(&self, seq_no: SeqNo) -> Result<Option<(SeqNo, CL::Membership)>, Error> {
        self.membership(seq_no)
    }

    fn compact_log_up_to(&self, seq_no: SeqNo) -> Result<(), Error> {
        self.compact(seq_no)
    }

    fn invalidate(&self, seq_no: SeqNo) -> Result<Completion, Error> {
        self.take_back_one(seq_no)
    }

    fn truncate_after(&self, seq_no: SeqNo) -> Result<Completion, Error> {
        self.truncate(seq_no)
    }

    fn recovery_information(&self) -> &RecoveryInfo<D> {
        self.recovery_info()
    }

    fn sync(&self) -> Result<(), Error> {
        Log::sync(self)
    }
}
