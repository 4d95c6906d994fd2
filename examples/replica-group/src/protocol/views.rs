//! How the primary is changed: who asks for a view, when it begins, and who is told of it.

use std::time::Duration;

use super::{Core, Effect, Memory};
use crate::choice::{Choice, choose};
use crate::types::{FAULTS, NewView, QUORUM, ReplicaId, View, ViewChange, WITNESSES, Wire, primary};

/// How long a primary may take for a decision; doubled with each view that decided nothing, four times at most.
const PATIENCE: Duration = Duration::from_millis(600);
const DOUBLINGS_MAX: u32 = 3;

impl Core {
    /// Asks for the next view when this one decides nothing though there is something to decide.
    pub(super) fn watch_the_primary(&mut self) {
        let busy = if self.active {
            self.may_vote() && !self.lags() && (!self.pool.is_empty() || self.instance.current.is_some())
        } else {
            if self.asked != Some(self.view) && self.may_vote() {
                self.ask();
            }
            // Alone in a view there is nothing to wait for; the others come when they have reason to.
            let peers = (0..).take(super::REPLICAS).filter(|peer| *peer != self.me);
            peers.filter(|peer| self.claimed(*peer) >= self.view).count() + 1 >= QUORUM
        };
        if !busy {
            self.progress = self.now;
        }
        let patience = PATIENCE * 2u32.pow(self.failures.min(DOUBLINGS_MAX));
        if self.now.saturating_sub(self.progress) > patience {
            self.failures += 1;
            self.leave_for(self.view + 1);
        }
    }

    /// The furthest view that a peer says it is in.
    fn claimed(&self, peer: ReplicaId) -> View {
        let status = self.peers.get(&peer).map_or(0, |own| own.view);
        self.changes.get(&peer).map_or(0, |own| own.view).max(status)
    }

    /// Goes where f + 1 peers are, one of whom is honest.
    pub(super) fn follow(&mut self) {
        let peers = (0..).take(super::REPLICAS).filter(|peer| *peer != self.me);
        let mut views: Vec<View> = peers.map(|peer| self.claimed(peer)).collect();
        views.sort_unstable_by(|a, b| b.cmp(a));
        if views[FAULTS] > self.view {
            self.leave_for(views[FAULTS]);
        }
    }

    /// Takes part in no view before this one any more.
    fn leave_for(&mut self, view: View) {
        (self.view, self.active, self.basis) = (view, false, None);
        self.instance.current = None;
        (self.progress, self.repeated) = (self.now, self.now);
        if self.may_vote() {
            self.ask();
        } else {
            self.keep(None, None);
        }
    }

    /// Asks for the view, and says what it must respect.
    fn ask(&mut self) {
        self.asked = Some(self.view);
        let content = |digest| self.instance.contents.get(&digest).cloned();
        let change = ViewChange {
            view: self.view,
            decided: self.decided,
            last: self.last,
            prepared: self.instance.prepared.and_then(|(view, digest)| Some((view, content(digest)?))),
            accepted: self.instance.accepted.iter().map(|(digest, view)| (*digest, *view)).collect(),
        };
        self.keep(None, Some(Wire::ViewChange(change)));
    }

    pub(super) fn view_change(&mut self, from: ReplicaId, change: ViewChange) {
        let view = change.view;
        if self.changes.get(&from).is_none_or(|known| known.view <= view) {
            self.changes.insert(from, change);
        }
        if view <= self.view && self.active && from != self.me {
            self.offer(from);
        }
        self.follow();
        self.begin();
    }

    /// Begins the view, if it is this replica's and enough others asked for it.
    pub(super) fn begin(&mut self) {
        if self.active || primary(self.view) != self.me || !self.may_vote() {
            return;
        }
        let wanted = self.changes.iter().filter(|(_, change)| change.view == self.view);
        let changes: Vec<(ReplicaId, ViewChange)> = wanted.map(|(from, own)| (*from, own.clone())).collect();
        let mine = changes.iter().any(|(from, _)| *from == self.me);
        if mine && changes.len() >= QUORUM && choose(&changes, self.instance.seq_no) != Choice::Open {
            self.enter(NewView { view: self.view, changes }, true);
        }
    }

    /// Gives a replica what it needs to enter this view.
    pub(super) fn offer(&mut self, peer: ReplicaId) {
        let basis = self.basis.clone().map(Wire::NewView);
        self.effects.extend(basis.map(|basis| Effect::Say(Some(peer), basis)));
    }

    /// A view begins, says a replica. Believed if its primary says so and what it stands on was heard from each one itself, or if
    /// f + 1 replicas say the same.
    pub(super) fn new_view(&mut self, from: ReplicaId, new: NewView) {
        if from == self.me || new.view < self.view || (new.view == self.view && self.active) {
            return;
        }
        let mut senders: Vec<ReplicaId> = new.changes.iter().map(|(sender, _)| *sender).collect();
        senders.dedup();
        if senders.len() < QUORUM
            || !senders.is_sorted()
            || senders.iter().any(|sender| usize::from(*sender) >= super::REPLICAS)
            || new.changes.iter().any(|(_, change)| change.view != new.view)
        {
            return;
        }
        let heard = new.changes.iter().all(|(sender, change)| self.changes.get(sender) == Some(change));
        self.offered.insert(from, new.clone());
        let same = self.offered.values().filter(|own| **own == new).count();
        if same >= WITNESSES || (heard && from == primary(new.view)) {
            self.enter(new, false);
        }
    }

    fn enter(&mut self, new: NewView, say: bool) {
        (self.view, self.active, self.basis) = (new.view, true, Some(new.clone()));
        self.instance.current = None;
        (self.progress, self.repeated) = (self.now, self.now);
        self.offered.retain(|_, own| own.view > new.view);
        let say = say.then(|| Wire::NewView(new.clone()));
        self.effects.push(Effect::Keep { kept: None, safety: self.safety(), basis: Some(new), say });
        self.catch_up();
    }
}

impl Memory {
    /// Of a replica of a group that begins.
    pub fn of_a_new_group() -> Memory {
        Memory { new_group: true, ..Memory::default() }
    }
}
