//! The instance that is being agreed on: what was proposed, who voted for what. Owns the counting of votes.

use std::collections::{BTreeMap, BTreeSet};

use duramen_decisions::SeqNo;

use crate::types::{Decision, Hash, Kept, Proof, QUORUM, ReplicaId, View, WITNESSES};

/// The latest vote of each replica.
type Votes = BTreeMap<ReplicaId, (View, Hash)>;

/// What is known of an instance that is not decided here.
#[derive(Clone, Debug, Default)]
pub struct Instance {
    /// Its number.
    pub seq_no: SeqNo,
    /// Decisions by their digests.
    pub contents: BTreeMap<Hash, Decision>,
    /// What was accepted, each with the latest view: PBFT's set Q.
    pub accepted: BTreeMap<Hash, View>,
    /// What was accepted in the present view.
    pub current: Option<Hash>,
    /// What was prepared in the latest view: PBFT's set P.
    pub prepared: Option<(View, Hash)>,
    prepares: Votes,
    commits: Votes,
    /// Who says that it has decided, and what, with its proof.
    attested: BTreeMap<ReplicaId, (Hash, Proof)>,
}

fn vote(votes: &mut Votes, from: ReplicaId, view: View, digest: Hash) {
    if votes.get(&from).is_none_or(|(known, _)| *known <= view) {
        votes.insert(from, (view, digest));
    }
}

impl Instance {
    /// An instance of which nothing is known.
    pub fn new(seq_no: SeqNo) -> Instance {
        Instance { seq_no, ..Instance::default() }
    }

    /// An instance as it was stored. What was stored may be said again.
    pub fn restored(seq_no: SeqNo, kept: Vec<Kept>, view: View, active: bool, me: ReplicaId) -> Instance {
        let mut own = Instance::new(seq_no);
        for kept in kept {
            match kept {
                Kept::Accepted { view: of, decision } => {
                    let digest = decision.digest();
                    own.accept(of, decision);
                    own.current = own.current.filter(|_| active && of == view);
                    own.prepare_vote(me, of, digest);
                }
                Kept::Prepared { view, digest, .. } => {
                    own.prepared = Some((view, digest));
                    own.commit_vote(me, view, digest);
                }
            }
        }
        own
    }

    /// Accepts a proposal.
    pub fn accept(&mut self, view: View, decision: Decision) {
        let digest = decision.digest();
        self.accepted.insert(digest, view);
        self.current = Some(digest);
        self.contents.insert(digest, decision);
    }

    /// A replica accepted a proposal.
    pub fn prepare_vote(&mut self, from: ReplicaId, view: View, digest: Hash) {
        vote(&mut self.prepares, from, view, digest);
    }

    /// A replica wants a proposal committed.
    pub fn commit_vote(&mut self, from: ReplicaId, view: View, digest: Hash) {
        vote(&mut self.commits, from, view, digest);
    }

    /// A replica has decided it: a vote for it in every view.
    pub fn attest(&mut self, from: ReplicaId, decision: Decision, proof: Proof) {
        let digest = decision.digest();
        self.contents.insert(digest, decision);
        self.attested.insert(from, (digest, proof));
    }

    /// What a replica accepted last, as far as it is durable or was heard.
    pub fn prepare_of(&self, replica: ReplicaId) -> Option<(View, Hash)> {
        self.prepares.get(&replica).copied()
    }

    /// What a replica wants committed.
    pub fn commit_of(&self, replica: ReplicaId) -> Option<(View, Hash)> {
        self.commits.get(&replica).copied()
    }

    fn supporters(&self, votes: &Votes, view: View, digest: Hash) -> BTreeSet<ReplicaId> {
        let voted = votes.iter().filter(|(_, own)| **own == (view, digest)).map(|(from, _)| *from);
        let decided = self.attested.iter().filter(|(_, (own, _))| *own == digest).map(|(from, _)| *from);
        voted.chain(decided).collect()
    }

    /// Who accepted a proposal, if it is a quorum.
    pub fn prepare_quorum(&self, view: View, digest: Hash) -> Option<Vec<ReplicaId>> {
        let supporters = self.supporters(&self.prepares, view, digest);
        (supporters.len() >= QUORUM).then(|| supporters.into_iter().collect())
    }

    /// What is decided: a quorum wants it committed, or f + 1 replicas have decided it, one of whom is honest.
    pub fn outcome(&self) -> Option<(Decision, Proof)> {
        let content = |digest: &Hash| self.contents.get(digest).cloned();
        for (view, digest) in self.commits.values() {
            let voters = self.supporters(&self.commits, *view, *digest);
            if voters.len() >= QUORUM
                && let Some(decision) = content(digest)
            {
                let proof = Proof { view: *view, digest: *digest, voters: voters.into_iter().collect() };
                return Some((decision, proof));
            }
        }
        self.attested.values().find_map(|(digest, proof)| {
            let same = self.attested.values().filter(|(own, _)| own == digest).count();
            let decision = content(digest).filter(|_| same >= WITNESSES)?;
            Some((decision, proof.clone()))
        })
    }
}
