//! What a new view may propose for an instance, from what a quorum said when it asked for the view: pure.
//!
//! PBFT without signatures (Castro and Liskov, "Practical Byzantine Fault Tolerance and Proactive Recovery", 2002, section 3.2.4):
//! nobody can show that it prepared something, so that a claim counts when a quorum does not contradict it, and f + 1 replicas
//! say that they accepted the same.

use duramen_decisions::SeqNo;

use crate::types::{Hash, QUORUM, ReplicaId, View, ViewChange, WITNESSES};

/// What may be proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Anything: nothing can have been decided.
    Free,
    /// Only this: it may have been decided.
    Only(Hash),
    /// Nobody can tell from these: more replicas have to be heard, or the instance is decided and has to be fetched.
    Open,
}

/// What a replica prepared for an instance.
fn prepared(change: &ViewChange, seq_no: SeqNo) -> Option<(View, Hash)> {
    let next = change.prepared.as_ref().filter(|_| change.decided + 1 == seq_no);
    next.map(|(view, decision)| (*view, decision.digest()))
}

/// Whether a replica has nothing against it that this was prepared in this view.
fn agrees(change: &ViewChange, seq_no: SeqNo, view: View, digest: Hash) -> bool {
    if change.decided >= seq_no {
        return change.decided == seq_no && change.last == Some(digest);
    }
    prepared(change, seq_no).is_none_or(|(own_view, own)| own_view < view || (own_view == view && own == digest))
}

/// Whether a replica accepted this in this view or a later one.
fn accepted(change: &ViewChange, seq_no: SeqNo, view: View, digest: Hash) -> bool {
    let decided = change.decided == seq_no && change.last == Some(digest);
    let next = change.decided + 1 == seq_no;
    decided || (next && change.accepted.iter().any(|(own, own_view)| *own == digest && *own_view >= view))
}

/// What may be proposed for an instance.
pub fn choose(changes: &[(ReplicaId, ViewChange)], seq_no: SeqNo) -> Choice {
    let count = |wanted: &dyn Fn(&ViewChange) -> bool| changes.iter().filter(|(_, change)| wanted(change)).count();
    let mut claims: Vec<(View, Hash)> = changes.iter().filter_map(|(_, change)| prepared(change, seq_no)).collect();
    claims.sort_unstable();
    for (view, digest) in claims.into_iter().rev() {
        if count(&|change| agrees(change, seq_no, view, digest)) >= QUORUM
            && count(&|change| accepted(change, seq_no, view, digest)) >= WITNESSES
        {
            return Choice::Only(digest);
        }
    }
    let none = count(&|change| change.decided < seq_no && prepared(change, seq_no).is_none());
    if none >= QUORUM { Choice::Free } else { Choice::Open }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Decision;

    fn change(decided: SeqNo) -> ViewChange {
        ViewChange { view: 5, decided, last: None, prepared: None, accepted: Vec::new() }
    }

    fn all(changes: [ViewChange; 3]) -> Vec<(ReplicaId, ViewChange)> {
        (0..).zip(changes).collect()
    }

    #[test]
    fn what_may_be_decided_binds_the_view_and_nothing_else_does() {
        let decision = Decision { commands: Vec::new() };
        let digest = decision.digest();
        let one = ViewChange { prepared: Some((3, decision)), accepted: vec![(digest, 3)], ..change(7) };
        let two = ViewChange { accepted: vec![(digest, 3)], ..change(7) };
        assert_eq!(choose(&all([change(7), change(7), two.clone()]), 8), Choice::Free);
        assert_eq!(choose(&all([one.clone(), change(7), two.clone()]), 8), Choice::Only(digest));
        assert_eq!(choose(&all([one.clone(), change(7), change(7)]), 8), Choice::Open, "a claim that nobody backs");
        let done = ViewChange { last: Some(digest), ..change(8) };
        assert_eq!(choose(&all([done.clone(), one.clone(), change(2)]), 8), Choice::Only(digest), "one decided it");
        assert_eq!(choose(&all([done.clone(), change(2), change(7)]), 8), Choice::Open);
        assert_eq!(choose(&all([done, change(2), one]), 9), Choice::Free, "and of the next they said nothing");
    }
}
