use proptest::prelude::*;

use super::*;
use crate::types::{Plain, TermIndex, TermVote};

fn id(term: u64, index: u64) -> TermIndex {
    TermIndex::new(term, index)
}

fn with(purged: Option<TermIndex>, last: Option<TermIndex>, committed: Option<TermIndex>) -> RaftLogState<Plain> {
    RaftLogState { purged, last, committed, ..RaftLogState::default() }
}

/// Applies a step, and checks that a refusal changes nothing.
fn refused(
    state: &RaftLogState<Plain>,
    step: impl Fn(&mut RaftLogState<Plain>) -> Result<(), Refusal<Plain>>,
) -> Refusal<Plain> {
    let mut changed = state.clone();
    let refusal = step(&mut changed).expect_err("must be refused");
    assert_eq!(changed, *state, "a refusal changes nothing");
    assert!(!refusal.to_string().is_empty());
    refusal
}

#[test]
fn votes_never_go_back() {
    let vote = |term, node| TermVote { term, node };
    let mut state = RaftLogState::<Plain>::default();
    state.save_vote(&vote(3, Some(1))).expect("first");
    state.save_vote(&vote(3, Some(1))).expect("the same");
    for lower in [vote(2, Some(9)), vote(3, None), vote(3, Some(2))] {
        let refusal = refused(&state, |state| state.save_vote(&lower));
        assert_eq!(refusal, Refusal::VoteReversal { current: vote(3, Some(1)), attempted: lower });
    }
    state.save_vote(&vote(4, None)).expect("a later term");
}

#[test]
fn entries_follow_on_each_other() {
    let mut state = RaftLogState::<Plain>::default();
    state.append(&id(2, 70)).expect("an empty log takes any first index");
    state.append(&id(2, 71)).expect("the next");
    state.append(&id(5, 72)).expect("a later leader");
    for attempted in [id(5, 74), id(5, 72), id(5, 0)] {
        let refusal = refused(&state, |state| state.append(&attempted));
        assert_eq!(refusal, Refusal::NonConsecutive { current: Some(id(5, 72)), attempted });
    }
    let refusal = refused(&state, |state| state.append(&id(4, 73)));
    assert_eq!(refusal, Refusal::LogIdReversal { current: id(5, 72), attempted: id(4, 73) });
    // There is no index behind the last number.
    let state = with(None, Some(id(1, u64::MAX)), None);
    refused(&state, |state| state.append(&id(1, 0)));
}

#[test]
fn commits_stay_within_the_log() {
    let state = with(None, Some(id(2, 9)), Some(id(2, 5)));
    let refusal = refused(&state, |state| state.commit(&id(2, 10)));
    assert_eq!(refusal, Refusal::CommitBeyondLast { current: Some(id(2, 9)), attempted: id(2, 10) });
    let refusal = refused(&state, |state| state.commit(&id(1, 4)));
    assert_eq!(refusal, Refusal::LogIdReversal { current: id(2, 5), attempted: id(1, 4) });
    refused(&RaftLogState::default(), |state| state.commit(&id(0, 0)));
    let mut state = state;
    state.commit(&id(2, 5)).expect("the same");
    state.commit(&id(2, 9)).expect("the last");
}

#[test]
fn what_is_committed_or_purged_is_not_truncated() {
    let state = with(Some(id(1, 3)), Some(id(2, 9)), Some(id(2, 5)));
    for attempted in [Some(id(1, 4)), Some(id(1, 2)), None] {
        let refusal = refused(&state, |state| state.truncate_after(attempted.as_ref()));
        assert_eq!(refusal, Refusal::TruncateCommitted { current: id(2, 5), attempted });
    }
    let refusal = refused(&state, |state| state.truncate_after(Some(&id(2, 10))));
    assert_eq!(refusal, Refusal::TruncateBeyondLast { current: Some(id(2, 9)), attempted: id(2, 10) });
    let behind_purge = with(Some(id(1, 3)), Some(id(2, 9)), None);
    let refusal = refused(&behind_purge, |state| state.truncate_after(Some(&id(1, 2))));
    assert_eq!(refusal, Refusal::TruncatePurged { current: id(1, 3), attempted: Some(id(1, 2)) });
    let mut state = state;
    state.truncate_after(Some(&id(2, 5))).expect("all that is not committed");
    assert_eq!(state.last, Some(id(2, 5)));
    let mut state = behind_purge;
    state.truncate_after(None).expect("every entry");
    assert_eq!(state.last, Some(id(1, 3)));
    assert!(state.is_empty());
}

#[test]
fn purging_beyond_the_end_starts_the_log_there() {
    let mut state = with(None, Some(id(2, 9)), Some(id(2, 5)));
    state.purge_upto(&id(2, 7)).expect("beyond what is committed");
    assert_eq!((state.purged, state.last), (Some(id(2, 7)), Some(id(2, 9))));
    let refusal = refused(&state, |state| state.purge_upto(&id(2, 6)));
    assert_eq!(refusal, Refusal::LogIdReversal { current: id(2, 7), attempted: id(2, 6) });
    state.purge_upto(&id(3, 100)).expect("beyond the last");
    assert_eq!((state.purged, state.last), (Some(id(3, 100)), Some(id(3, 100))));
    refused(&state, |state| state.append(&id(3, 10)));
    state.append(&id(3, 101)).expect("goes on there");
    let mut state = RaftLogState::<Plain>::default();
    state.purge_upto(&id(1, 4)).expect("an empty log");
    assert_eq!(state.last, Some(id(1, 4)));
}

proptest! {
    /// Whatever is tried, the invariants hold and a refusal changes nothing.
    #[test]
    fn invariants_hold(steps in proptest::collection::vec((0..5u8, 0..4u64, 0..12u64), 0..40)) {
        let mut state = RaftLogState::<Plain>::default();
        for (step, term, index) in steps {
            let before = state.clone();
            let result = match step {
                0 => state.save_vote(&TermVote { term, node: Some(index % 2) }),
                1 => {
                    let next = state.last.map_or(index, |last| if index < 10 { last.index + 1 } else { index });
                    state.append(&id(term, next))
                }
                2 => state.commit(&id(term, index)),
                3 => state.truncate_after((index > 0).then_some(&id(term, index))),
                _ => state.purge_upto(&id(term, index)),
            };
            if result.is_err() {
                prop_assert_eq!(&state, &before);
            }
            prop_assert!(state.purged.map(|id| id.index) <= state.last.map(|id| id.index));
            prop_assert!(before.purged.map(|id| id.index) <= state.purged.map(|id| id.index));
            prop_assert!(before.committed.map(|id| id.index) <= state.committed.map(|id| id.index));
            let committed_is_there = state.committed.is_none_or(|id| Some(id.index) <= state.last.map(|id| id.index));
            prop_assert!(committed_is_there);
        }
    }
}
