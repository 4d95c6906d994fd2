//! Each rule with a record that breaks it, and what is no fault behind a loss or a release.

use super::*;
use crate::inspect::raw::{RawLeader, RawVote};
use crate::types::{Stored as _, TermVote};

fn id(term: u64, index: u64) -> RawLogId {
    RawLogId { leader: RawLeader(Bytes::copy_from_slice(&term.to_le_bytes())), index }
}

fn vote(term: u64, node: u64) -> Record<Raw> {
    let mut bytes = Vec::new();
    TermVote { term, node: Some(node) }.encode(&mut bytes);
    Record::SaveVote(RawVote(Bytes::from(bytes)))
}

fn append(term: u64, index: u64) -> Record<Raw> {
    Record::Append(id(term, index), Bytes::from_static(b"payload"))
}

/// Feeds records from a sequence on; returns the places of those with a fault, and the faults.
fn feed(audit: &mut Audit, first: Sequence, records: &[Record<Raw>]) -> Vec<(usize, Fault)> {
    let mut found = Vec::new();
    for (place, record) in records.iter().enumerate() {
        let mut payload = Vec::new();
        let kind = record.encode(&mut payload).expect("encodes");
        let finding = audit.record(first + place as u64, 1, kind as u8, &Bytes::from(payload));
        found.extend(finding.map(|finding| (place, finding.what)));
    }
    found
}

fn faults(records: &[Record<Raw>]) -> Vec<usize> {
    let found = feed(&mut Audit::new(1, Notation::Plain), 1, records);
    found.into_iter().map(|(place, _)| place).collect()
}

#[test]
fn what_a_log_writes_has_no_fault() {
    let state = RaftLogState {
        vote: Some(RawVote(Bytes::from_static(&[1, 0, 0, 0, 0, 0, 0, 0]))),
        last: Some(id(2, 5)),
        committed: Some(id(1, 3)),
        purged: Some(id(1, 2)),
        user_data: None,
    };
    let records = [
        Record::SaveVote(state.vote.clone().expect("given")),
        append(1, 1),
        append(1, 2),
        append(1, 3),
        append(1, 4),
        Record::Commit(id(1, 3)),
        Record::TruncateAfter(Some(id(1, 3))),
        append(2, 4),
        append(2, 5),
        Record::PurgeUpto(id(1, 2)),
        Record::State(state),
        Record::Relocate(id(2, 4), Bytes::new()),
        Record::PurgeUpto(id(3, 90)),
        append(3, 91),
        Record::RemoveGroup,
        append(1, 7),
    ];
    assert_eq!(faults(&records), [] as [usize; 0]);
}

#[test]
fn each_broken_rule_is_told_once() {
    assert_eq!(faults(&[vote(2, 1), vote(2, 2), vote(2, 2), vote(1, 1)]), [1, 3], "votes");
    assert_eq!(faults(&[append(1, 1), append(1, 3), append(1, 4)]), [1], "a hole");
    assert_eq!(faults(&[append(2, 1), append(1, 2)]), [1], "an older leader");
    assert_eq!(faults(&[append(1, 1), Record::Commit(id(1, 2))]), [1], "a commit beyond the end");
    let committed = [append(1, 1), append(1, 2), Record::Commit(id(1, 2)), Record::Commit(id(1, 1))];
    assert_eq!(faults(&committed), [3], "a commit that goes back");
    let cut = [append(1, 1), append(1, 2), Record::Commit(id(1, 2)), Record::TruncateAfter(Some(id(1, 1)))];
    assert_eq!(faults(&cut), [3], "committed entries are cut");
    assert_eq!(faults(&[append(1, 1), append(1, 2), Record::Commit(id(9, 2))]), [2], "another leader's entry");
    assert_eq!(faults(&[append(1, 1), Record::Relocate(id(1, 2), Bytes::new())]), [1], "a copy of nothing");
    let state = RaftLogState { last: Some(id(1, 2)), ..RaftLogState::default() };
    assert_eq!(faults(&[append(1, 1), Record::State(state)]), [1], "a state that differs");
}

#[test]
fn what_is_unknown_is_no_fault() {
    let behind = [append(4, 40), Record::Commit(id(4, 40)), vote(1, 1)];
    assert!(feed(&mut Audit::new(100, Notation::Plain), 100, &behind).is_empty(), "after a release");
    let mut audit = Audit::new(1, Notation::Plain);
    assert!(feed(&mut audit, 1, &[vote(5, 1), append(1, 1), append(1, 2), Record::Commit(id(1, 2))]).is_empty());
    audit.lost_before(50);
    assert!(feed(&mut audit, 50, &behind).is_empty(), "after a loss");
    // From then on the rules hold again.
    let places: Vec<usize> =
        feed(&mut audit, 60, &[append(4, 42), vote(0, 1)]).into_iter().map(|found| found.0).collect();
    assert_eq!(places, [0, 1]);
}

#[test]
fn unknown_bytes_have_no_order_and_indexes_do() {
    let mut audit = Audit::new(1, Notation::Opaque);
    let records = [vote(2, 1), vote(1, 2), append(2, 1), append(1, 2), append(1, 9)];
    let found = feed(&mut audit, 1, &records);
    assert_eq!(found.iter().map(|found| found.0).collect::<Vec<_>>(), [4]);
}

#[test]
fn foreign_records_are_told_as_that() {
    let mut audit = Audit::new(1, Notation::Plain);
    let finding = audit.record(9, 1, 77, &Bytes::from_static(b"?")).expect("a finding");
    assert!(matches!(finding.what, Fault::Foreign(_)));
    assert!(finding.to_string().starts_with("group 1, record 9: no record of a Raft log"), "{finding}");
}
