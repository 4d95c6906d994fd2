//! The protocol, as a state machine without clock, disk and network: messages and the time come in, effects come out. Owns what a
//! replica may say; whoever runs it owns that nothing is said before it is durable.
//!
//! PBFT with one instance at a time: a decision holds all commands that wait. `protocol/views.rs` has the change of the primary.

mod views;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use duramen_decisions::SeqNo;

use crate::choice::{Choice, choose};
use crate::instance::Instance;
use crate::types::{
    Command, Decision, FAULTS, Hash, Kept, NewView, Proof, REPLICAS, ReplicaId, Safety, Status, View, ViewChange, Vote,
    WITNESSES, Wire, primary,
};

/// Commands of a decision, at most.
const COMMANDS_MAX: usize = 64;
/// Messages that are kept until they make sense.
const LATER_MAX: usize = 256;
/// Instances ahead of the present one whose messages are kept.
const AHEAD_MAX: u64 = 8;
/// Decisions that are taken from peers ahead of the next.
const FETCHED_MAX: u64 = 256;
/// Peers whose word a replica without memory waits for.
const ASKED: usize = 2 * FAULTS;
/// What may not have got through is said again after so long.
const REPEAT: Duration = Duration::from_millis(200);

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Store this in one batch. When it is durable, say this to all, this replica included.
    Keep {
        /// What belongs to an instance.
        kept: Option<(SeqNo, Kept)>,
        /// What must not be forgotten.
        safety: Safety,
        /// What the view stands on.
        basis: Option<NewView>,
        /// What to say.
        say: Option<Wire>,
    },
    /// Say this, which is durable already: to one, or to all others.
    Say(Option<ReplicaId>, Wire),
    /// Store a decision with its proof in one batch, and execute it.
    Decide(SeqNo, Decision, Proof, Safety),
    /// Fetch a checkpoint: its number, and the digest that f + 1 peers agree on.
    Install(SeqNo, Hash),
}

/// What a replica remembers when it starts.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// `None`: it has lost it, or never had any.
    pub safety: Option<Safety>,
    /// It has decided all up to this one.
    pub decided: SeqNo,
    /// The digest of that one.
    pub last: Option<Hash>,
    /// What was stored of the next instance.
    pub kept: Vec<Kept>,
    /// What the view stands on.
    pub basis: Option<NewView>,
    /// The group is new: that there is no memory means that there was nothing.
    pub new_group: bool,
}

/// One replica's part in the protocol.
#[derive(Debug)]
pub struct Core {
    me: ReplicaId,
    view: View,
    /// The view was entered. Otherwise it was asked for, and nothing is voted on.
    active: bool,
    /// The view for which a view change is being stored, or was said.
    asked: Option<View>,
    votes_from: SeqNo,
    decided: SeqNo,
    last: Option<Hash>,
    /// What the view stands on; none in view 0.
    basis: Option<NewView>,
    instance: Instance,
    /// Each client's command that waits.
    pool: BTreeMap<u64, Command>,
    /// Each client's last command that was decided.
    done: BTreeMap<u64, u64>,
    peers: BTreeMap<ReplicaId, Status>,
    changes: BTreeMap<ReplicaId, ViewChange>,
    offered: BTreeMap<ReplicaId, NewView>,
    fetched: BTreeMap<SeqNo, BTreeMap<ReplicaId, (Decision, Proof)>>,
    later: Vec<(ReplicaId, Wire)>,
    now: Duration,
    /// When something was decided, or a view entered, or nothing was to be done.
    progress: Duration,
    repeated: Duration,
    /// Views in a row that decided nothing.
    failures: u32,
    effects: Vec<Effect>,
}

impl Core {
    /// A replica that starts.
    pub fn new(me: ReplicaId, memory: Memory) -> Core {
        let fresh =
            Safety { view: 0, active: true, votes_from: if memory.new_group { 1 } else { SeqNo::MAX }, prepared: None };
        let first = memory.safety.is_none();
        let Safety { view, active, votes_from, .. } = memory.safety.unwrap_or(fresh);
        let mut own = Core {
            me,
            view,
            active,
            asked: None,
            votes_from,
            decided: memory.decided,
            last: memory.last,
            basis: memory.basis.filter(|basis| active && basis.view == view),
            instance: Instance::restored(memory.decided + 1, memory.kept, view, active, me),
            pool: BTreeMap::new(),
            done: BTreeMap::new(),
            peers: BTreeMap::new(),
            changes: BTreeMap::new(),
            offered: BTreeMap::new(),
            fetched: BTreeMap::new(),
            later: Vec::new(),
            now: Duration::ZERO,
            progress: Duration::ZERO,
            repeated: Duration::ZERO,
            failures: 0,
            effects: Vec::new(),
        };
        if first {
            own.keep(None, None);
        }
        own
    }

    /// Its view, and whether it has entered it.
    pub fn view(&self) -> (View, bool) {
        (self.view, self.active)
    }

    /// It has decided all up to this one.
    pub fn decided(&self) -> SeqNo {
        self.decided
    }

    /// What is to be done since this was asked last.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Whether it may vote on the next instance. A replica that lost its folder may not until what it may have voted on is decided.
    pub fn may_vote(&self) -> bool {
        self.instance.seq_no >= self.votes_from
    }

    fn safety(&self) -> Safety {
        let vote = |(view, digest)| Vote { view, seq_no: self.instance.seq_no, digest };
        let prepared = self.instance.prepared.map(vote);
        Safety { view: self.view, active: self.active, votes_from: self.votes_from, prepared }
    }

    fn keep(&mut self, kept: Option<Kept>, say: Option<Wire>) {
        let kept = kept.map(|kept| (self.instance.seq_no, kept));
        self.effects.push(Effect::Keep { kept, safety: self.safety(), basis: None, say });
    }

    /// A client asks for something.
    pub fn request(&mut self, command: Command) {
        let known = self.done.get(&command.client).is_some_and(|done| *done >= command.number);
        if !known && self.pool.get(&command.client).is_none_or(|waits| waits.number < command.number) {
            self.pool.insert(command.client, command);
            self.propose();
        }
    }

    /// A message comes in. What a replica says to all comes to itself, too, when it is durable.
    pub fn receive(&mut self, from: ReplicaId, message: Wire) {
        match message {
            Wire::PrePrepare(view, seq_no, decision) => self.pre_prepare(from, view, seq_no, decision),
            Wire::Prepare(vote) | Wire::Commit(vote) if vote.seq_no > self.instance.seq_no => {
                self.put_off(from, message);
            }
            Wire::Prepare(vote) if vote.seq_no == self.instance.seq_no => {
                self.instance.prepare_vote(from, vote.view, vote.digest);
                self.advance();
            }
            Wire::Commit(vote) if vote.seq_no == self.instance.seq_no => {
                self.instance.commit_vote(from, vote.view, vote.digest);
                self.advance();
            }
            Wire::ViewChange(change) => self.view_change(from, change),
            Wire::NewView(new) => self.new_view(from, new),
            Wire::Status(status) if from != self.me => self.status(from, status),
            Wire::Decided(seq_no, decision, proof) => self.attested(from, seq_no, decision, proof),
            _ => {}
        }
    }

    fn put_off(&mut self, from: ReplicaId, message: Wire) {
        let seq_no = match &message {
            Wire::PrePrepare(_, seq_no, _) => *seq_no,
            Wire::Prepare(vote) | Wire::Commit(vote) => vote.seq_no,
            _ => return,
        };
        // A replica that lags by more fetches what is decided.
        if seq_no <= self.instance.seq_no + AHEAD_MAX && self.later.len() < LATER_MAX {
            self.later.push((from, message));
        }
    }

    /// Proposes what waits, if this is the primary's turn.
    fn propose(&mut self) {
        let turn = self.active && primary(self.view) == self.me && self.may_vote();
        if !turn || self.instance.current.is_some() {
            return;
        }
        let decision = match self.choice() {
            Choice::Open => return,
            Choice::Only(digest) => self.content(digest),
            Choice::Free => {
                let commands: Vec<Command> = self.pool.values().take(COMMANDS_MAX).cloned().collect();
                (!commands.is_empty()).then_some(Decision { commands })
            }
        };
        let Some(decision) = decision else { return };
        self.instance.accept(self.view, decision.clone());
        let kept = Kept::Accepted { view: self.view, decision: decision.clone() };
        self.keep(Some(kept), Some(Wire::PrePrepare(self.view, self.instance.seq_no, decision)));
    }

    /// What may be proposed in this view.
    fn choice(&self) -> Choice {
        self.basis.as_ref().map_or(Choice::Free, |basis| choose(&basis.changes, self.instance.seq_no))
    }

    fn content(&self, digest: Hash) -> Option<Decision> {
        let known = self.instance.contents.get(&digest);
        let changes = self.basis.iter().flat_map(|basis| &basis.changes);
        let mut said = changes.filter_map(|(_, change)| change.prepared.as_ref()).map(|(_, decision)| decision);
        known.or_else(|| said.find(|decision| decision.digest() == digest)).cloned()
    }

    fn pre_prepare(&mut self, from: ReplicaId, view: View, seq_no: SeqNo, decision: Decision) {
        let passed = seq_no < self.instance.seq_no || view < self.view;
        if passed || from != primary(view) || decision.commands.len() > COMMANDS_MAX {
            return;
        }
        if seq_no > self.instance.seq_no || view > self.view || !self.active {
            return self.put_off(from, Wire::PrePrepare(view, seq_no, decision));
        }
        let digest = decision.digest();
        let allowed = match self.choice() {
            Choice::Free => true,
            Choice::Only(only) => only == digest,
            Choice::Open => false,
        };
        if !allowed {
            return;
        }
        self.instance.prepare_vote(from, view, digest);
        self.instance.contents.insert(digest, decision.clone());
        if from != self.me && self.instance.current.is_none() && self.may_vote() {
            self.instance.accept(view, decision.clone());
            let vote = Vote { view, seq_no, digest };
            self.keep(Some(Kept::Accepted { view, decision }), Some(Wire::Prepare(vote)));
        }
        self.advance();
    }

    /// Goes on as far as the votes say.
    fn advance(&mut self) {
        let (view, seq_no) = (self.view, self.instance.seq_no);
        let new = self.instance.prepared.is_none_or(|(known, _)| known < view);
        if let Some(digest) = self.instance.current.filter(|_| self.active && new)
            && let Some(voters) = self.instance.prepare_quorum(view, digest)
        {
            self.instance.prepared = Some((view, digest));
            let say = Wire::Commit(Vote { view, seq_no, digest });
            self.keep(Some(Kept::Prepared { view, digest, voters }), Some(say));
        }
        if let Some((decision, proof)) = self.instance.outcome() {
            self.decide(decision, proof);
        }
    }

    fn decide(&mut self, decision: Decision, proof: Proof) {
        let seq_no = self.instance.seq_no;
        for command in &decision.commands {
            let done = self.done.entry(command.client).or_default();
            *done = command.number.max(*done);
            if self.pool.get(&command.client).is_some_and(|waits| waits.number <= *done) {
                self.pool.remove(&command.client);
            }
        }
        self.last = Some(proof.digest);
        self.go_on_behind(seq_no);
        self.effects.push(Effect::Decide(seq_no, decision, proof, self.safety()));
        self.catch_up();
    }

    /// All up to this one is decided.
    fn go_on_behind(&mut self, seq_no: SeqNo) {
        self.decided = seq_no;
        self.instance = Instance::new(seq_no + 1);
        (self.progress, self.repeated, self.failures) = (self.now, self.now, 0);
    }

    /// Takes what came before its time; asks for more; proposes.
    fn catch_up(&mut self) {
        let next = self.instance.seq_no;
        self.fetched = self.fetched.split_off(&next);
        for (from, (decision, proof)) in self.fetched.remove(&next).unwrap_or_default() {
            self.instance.attest(from, decision, proof);
        }
        for (from, message) in std::mem::take(&mut self.later) {
            self.receive(from, message);
        }
        if self.instance.seq_no != next {
            return;
        }
        self.advance();
        if self.instance.seq_no == next {
            if self.fetched.is_empty() {
                self.ask_far_ahead();
            }
            self.propose();
        }
    }

    fn ask_far_ahead(&mut self) {
        let far = |status: &Status| status.decided > self.decided + 8 && status.base <= self.decided;
        let peers: Vec<ReplicaId> = self.peers.iter().filter(|(_, own)| far(own)).map(|(peer, _)| *peer).collect();
        let ask = |peer| Effect::Say(Some(peer), Wire::Fetch(self.decided));
        self.effects.extend(peers.into_iter().map(ask));
    }

    fn attested(&mut self, from: ReplicaId, seq_no: SeqNo, decision: Decision, proof: Proof) {
        let next = self.instance.seq_no;
        if !(next..next + FETCHED_MAX).contains(&seq_no) || !proof.shows(&decision) {
            return;
        }
        if seq_no == next {
            self.instance.attest(from, decision, proof);
            self.advance();
        } else {
            self.fetched.entry(seq_no).or_default().insert(from, (decision, proof));
        }
    }

    /// A peer says how far it is.
    fn status(&mut self, from: ReplicaId, status: Status) {
        let behind = status.view < self.view || (status.view == self.view && !status.active);
        if behind && self.active {
            self.offer(from);
        }
        if status.decided > self.decided && status.base <= self.decided {
            self.effects.push(Effect::Say(Some(from), Wire::Fetch(self.decided)));
        }
        self.peers.insert(from, status);
        if self.votes_from == SeqNo::MAX && self.peers.len() >= ASKED {
            // Of any two peers one took part in whatever this replica decided last, and has decided what was before. The
            // replica may have decided one more than that peer, and voted on the one behind.
            let furthest = self.peers.values().map(|own| own.decided).max().unwrap_or(0);
            self.votes_from = furthest.max(self.decided) + 3;
            self.keep(None, None);
        }
        self.follow();
        self.wish_for_a_checkpoint();
    }

    /// Where too few peers still have the next decision, a checkpoint has to be fetched, on which f + 1 of them agree.
    fn wish_for_a_checkpoint(&mut self) {
        let ahead = self.peers.values().filter(|own| own.decided > self.decided);
        if ahead.filter(|own| own.base <= self.decided).count() >= WITNESSES {
            return;
        }
        let mut backers: BTreeMap<(SeqNo, Hash), usize> = BTreeMap::new();
        for checkpoint in self.peers.values().flat_map(|own| &own.checkpoints) {
            *backers.entry(*checkpoint).or_default() += 1;
        }
        let agreed = backers.into_iter().rev().find(|((seq_no, _), count)| {
            *seq_no > self.decided && *count >= WITNESSES // One of them is honest.
        });
        if let Some(((seq_no, root), _)) = agreed {
            self.effects.push(Effect::Install(seq_no, root));
        }
    }

    /// A checkpoint was installed, whose state says what was done for clients.
    pub fn installed(&mut self, seq_no: SeqNo, done: impl Iterator<Item = (u64, u64)>) {
        if seq_no <= self.decided {
            return;
        }
        self.done = done.collect();
        let done = &self.done;
        self.pool.retain(|client, waits| done.get(client).is_none_or(|done| *done < waits.number));
        self.last = None;
        self.go_on_behind(seq_no);
        self.catch_up();
    }

    /// Others have decided what this replica has not: it is not the primary who is late.
    fn lags(&self) -> bool {
        self.peers.values().filter(|own| own.decided > self.decided).count() >= WITNESSES
    }

    /// Time passes.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
        self.watch_the_primary();
        self.begin();
        self.propose();
        if now.saturating_sub(self.repeated) >= REPEAT {
            self.repeated = now;
            self.repeat();
        }
    }

    /// Says again what is durable and may not have got through.
    fn repeat(&mut self) {
        if !self.active {
            let change = self.changes.get(&self.me).filter(|change| change.view == self.view).cloned();
            self.effects.extend(change.map(|change| Effect::Say(None, Wire::ViewChange(change))));
        }
        let seq_no = self.instance.seq_no;
        if let Some((view, digest)) = self.instance.prepare_of(self.me) {
            let again = match self.instance.contents.get(&digest).filter(|_| primary(view) == self.me) {
                Some(decision) => Wire::PrePrepare(view, seq_no, decision.clone()),
                None => Wire::Prepare(Vote { view, seq_no, digest }),
            };
            self.effects.push(Effect::Say(None, again));
        }
        if let Some((view, digest)) = self.instance.commit_of(self.me) {
            self.effects.push(Effect::Say(None, Wire::Commit(Vote { view, seq_no, digest })));
        }
    }
}

const _: () = assert!(REPLICAS == 3 * FAULTS + 1);
