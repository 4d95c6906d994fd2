//! Damage as a value: what is lost is named, the rest is served, and a vote that may be lost is not given a second time.

use duramen_journal::disk::sim::SimDisk;
use duramen_journal::{Error as WalError, OnDamage};
use duramen_raft::inspect::{self, Notation};
use duramen_raft::{Certainty, Config, Error, Loss, Refusal, Strategy, TermIndex};

use crate::simulated::{FOLDER, entry, fill, id, open, small, try_open, vote};

fn damaged() -> SimDisk {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    let log = logs.group(1).expect("a group");
    log.writer().save_vote(&vote(1, 1)).expect("votes");
    fill(&log, 1, 1..101, 3000);
    logs.group(2).expect("a group").writer().save_vote(&vote(5, 5)).expect("votes");
    fill(&logs.group(2).expect("a group"), 5, 1..4, 100);
    assert!(logs.stats().journal.segments >= 5);
    drop((log, logs));
    disk.flip_durable_bit(&format!("{FOLDER}/journal/{:016x}.seg", 3), 20_000, 3).expect("is in use");
    disk
}

/// Damage within a sealed segment is met where it is read: that range errors, everything else is served.
#[test]
fn a_damaged_entry_stops_nothing_else() {
    let disk = damaged();
    let (logs, opened) = open(&disk, &small());
    assert!(opened.losses.is_empty(), "opening reads footers only");
    let reader = logs.group(1).expect("a group").reader();
    let bad: Vec<u64> = (1..101).filter(|&index| reader.entry(index).is_err()).collect();
    assert!((1..=2).contains(&bad.len()), "{bad:?}");
    for &index in &bad {
        let error = reader.entry(index).expect_err("is damaged");
        assert!(matches!(error, Error::Wal(WalError::DamagedRecord(_))), "{error}");
        assert_eq!(reader.log_id(index).expect("the index knows it"), id(1, index));
    }
    for index in (1..101).filter(|index| !bad.contains(index)) {
        assert_eq!(reader.entry(index).expect("is good"), entry(1, index, 3000));
    }
    // The protocol goes on, and a purge beyond the damage gets rid of it.
    fill(&logs.group(1).expect("a group"), 1, 101..103, 3000);
}

/// Entries of one group that lie between another's are read with one walk; what is damaged in between stops nothing.
#[test]
fn another_groups_damage_stops_nothing() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    let (first, second) = (logs.group(1).expect("a group"), logs.group(2).expect("a group"));
    for index in 1..41 {
        fill(&first, 1, index..index + 1, 300);
        fill(&second, 1, index..index + 1, 300);
    }
    // Sealed, so that opening does not look at every record.
    fill(&first, 1, 41..61, 3000);
    drop((first, second, logs));
    let (logs, _) = open(&disk, &Config { log_cache_capacity: 0, ..small() });
    let reader = |group| logs.group(group).expect("a group").reader();
    let mut bad = Vec::new();
    for offset in (9_000..40_000).step_by(150) {
        disk.flip_durable_bit(&format!("{FOLDER}/journal/{:016x}.seg", 1), offset, 3).expect("is in use");
        bad = (1..41).filter(|&index| reader(2).entry(index).is_err()).collect();
        let own = (1..41).all(|index| reader(1).entry(index).is_ok());
        if own && !bad.is_empty() {
            break;
        }
        disk.flip_durable_bit(&format!("{FOLDER}/journal/{:016x}.seg", 1), offset, 3).expect("is in use");
        bad.clear();
    }
    assert_eq!(bad.len(), 1, "no bit hits a record of group 2 alone");
    drop(logs);
    let (logs, _) = open(&disk, &Config { log_cache_capacity: 0, ..small() });
    let reader = |group| logs.group(group).expect("a group").reader();
    let expected: Vec<_> = (1..41).map(|index| entry(1, index, 300)).collect();
    assert_eq!(reader(1).range(1..41, usize::MAX).expect("none of it is damaged"), expected);
    let mut seen = 0;
    let visited = reader(1).visit(1..41, |entry| {
        seen += 1;
        entry.id.index == seen
    });
    visited.expect("none of it is damaged");
    assert_eq!(seen, 40);
    let error = reader(2).range(1..41, usize::MAX).expect_err("one is damaged");
    assert!(matches!(error, Error::Wal(WalError::DamagedRecord(_))), "{error}");
    assert_eq!(reader(2).range(1..bad[0], usize::MAX).expect("is good").len() as u64, bad[0] - 1);
}

/// A segment is gone: opening refuses; told to set it aside, it names the entries, and does not vote.
#[test]
fn a_lost_segment_is_named() {
    let disk = damaged();
    disk.remove_durable(&format!("{FOLDER}/journal/{:016x}.seg", 3)).expect("is in use");
    let refused = try_open(disk.world(), &small());
    assert!(matches!(refused, Err(Error::Wal(WalError::Damaged(_)))), "{refused:?}");
    let mut config = small();
    config.journal.on_damage = OnDamage::SetAside;
    for round in 0..2 {
        let config = if round == 0 { config.clone() } else { small() };
        check_lost(&disk, &config, round);
    }
}

fn check_lost(disk: &SimDisk, config: &Config, round: u64) {
    let (logs, opened) = open(disk, config);
    let log = logs.group(1).expect("a group");
    let [Loss { group: 1, first, last: Some(last), leader_from: Some(1), leader_to: Some(1), certainty }] =
        opened.losses[..]
    else {
        panic!("{:?}", opened.losses)
    };
    assert_eq!(certainty, Certainty::Certain);
    assert!(first > 1 && last < 100 && last - first > 5, "{first} to {last}");
    let reader = log.reader();
    for index in 1..101 {
        match reader.entry(index) {
            Ok(read) => {
                assert!(index < first || index > last);
                assert_eq!(read, entry(1, index, 3000));
            }
            Err(Error::Lost { group: 1, first: from, last: upto }) => {
                assert!((first..=last).contains(&index) && (from, upto) == (first, last));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(matches!(reader.log_id(first), Err(Error::Lost { .. })));
    assert!(matches!(reader.range(1..100, usize::MAX), Err(Error::Lost { .. })));
    // Group 2 voted after the gap, group 1 before it, and group 3 may have had a vote in it.
    if round == 0 {
        assert_eq!(opened.votes_in_doubt, [1]);
        assert!(log.vote_in_doubt() && logs.group(3).expect("a group").vote_in_doubt());
        assert!(matches!(log.writer().save_vote(&vote(9, 9)), Err(Error::VoteInDoubt { group: 1 })));
        log.writer().accept_lost_vote();
        log.writer().save_vote(&vote(9, 9)).expect("was settled");
    } else {
        assert!(opened.votes_in_doubt.is_empty(), "a vote behind the gap settles it");
        assert_eq!(log.state().vote, Some(vote(9, 9)));
    }
    let second = logs.group(2).expect("a group");
    assert_eq!((second.state().vote, second.vote_in_doubt()), (Some(vote(5, 5)), false));
    second.writer().save_vote(&vote(5, 5)).expect("the same once more");
    // What is lost can be purged, once a snapshot covers it.
    fill(&log, 1, 101 + round..102 + round, 3000);
    if round == 1 {
        log.writer().purge(&id(1, last)).expect("purges").wait().expect("durable");
        assert_eq!(reader.entry(last + 1).expect("is there"), entry(1, last + 1, 3000));
        drop((log, second, reader, logs));
        let (logs, opened) = open(disk, config);
        assert!(opened.losses.is_empty(), "{:?}", opened.losses);
        assert_eq!(logs.group(1).expect("a group").reader().first_index(), Some(last + 1));
    }
}

/// Another node's copies take the place of what was lost, and stay.
#[test]
fn lost_entries_are_put_back() {
    for strategy in [Strategy::DiskFirst, Strategy::MemFirst] {
        let disk = damaged();
        disk.remove_durable(&format!("{FOLDER}/journal/{:016x}.seg", 3)).expect("is in use");
        let mut config = Config { strategy, ..small() };
        config.journal.on_damage = OnDamage::SetAside;
        let (logs, opened) = open(&disk, &config);
        let (first, last) = (opened.losses[0].first, opened.losses[0].last.expect("is known"));
        let log = logs.group(1).expect("a group");
        let copy =
            |term, indexes: std::ops::Range<u64>| indexes.map(|index| entry(term, index, 3000)).collect::<Vec<_>>();
        let writer = log.writer();
        let Err(Error::Refused(refusal)) = writer.refill(copy(2, first..first + 1)) else {
            panic!("of another leader")
        };
        let attempted = TermIndex::new(2, first);
        assert_eq!(*refusal, Refusal::OutOfOrder { before: Some(1), behind: Some(1), attempted });
        let Err(Error::Refused(refusal)) = writer.refill(copy(2, 1..2)) else { panic!("another entry is there") };
        assert!(matches!(*refusal, Refusal::Mismatch { .. }), "{refusal}");
        assert!(matches!(writer.refill(copy(1, 500..501)), Err(Error::Refused(_))), "does not follow");
        let mut backwards = copy(1, first..first + 2);
        backwards.reverse();
        assert!(matches!(writer.refill(backwards), Err(Error::Refused(_))));
        assert!(matches!(log.reader().entry(first), Err(Error::Lost { .. })), "nothing was put back so far");
        // A part of it, then more than all of it.
        writer.refill(copy(1, first..first + 2)).expect("puts back").wait_durable().expect("durable");
        assert_eq!(log.reader().entry(first + 1).expect("is back"), entry(1, first + 1, 3000));
        let Err(Error::Lost { first: next, .. }) = log.reader().entry(first + 2) else { panic!("still lost") };
        assert_eq!(next, first + 2, "the loss is smaller now");
        for index in (first - 1..=last + 1).step_by(4) {
            writer.refill(copy(1, index..index + 4)).expect("puts back").wait_durable().expect("durable");
        }
        // Those behind the end are appended.
        writer.refill(copy(1, 99..104)).expect("appends").wait_durable().expect("durable");
        assert_eq!(log.reader().range(99..104, usize::MAX).expect("is there"), copy(1, 99..104));
        writer.truncate_after(Some(&id(1, 100))).expect("cuts").wait_durable().expect("durable");
        for round in 0..2 {
            let read = logs.group(1).expect("a group").reader().range(1..101, usize::MAX);
            assert_eq!(read.expect("all is there"), copy(1, 1..101), "round {round}");
        }
        drop((log, writer));
        logs.close().expect("closes");
        drop(logs);
        let verified = inspect::verify(FOLDER, disk.world(), Notation::Plain, &mut |_| ()).expect("verifies");
        assert!(verified.findings.is_empty(), "{:?}", verified.findings);
        let (logs, opened) = open(&disk, &Config { strategy, ..small() });
        assert!(opened.losses.is_empty(), "{:?}", opened.losses);
        let read = logs.group(1).expect("a group").reader().range(1..101, usize::MAX);
        assert_eq!(read.expect("all is there"), copy(1, 1..101));
    }
}

/// A damaged record is replaced, a good one beside it is not written again; a crash leaves it as it was, or whole.
#[test]
fn damaged_entries_are_put_back() {
    let disk = damaged();
    let (logs, _) = open(&disk, &small());
    let log = logs.group(1).expect("a group");
    let bad: Vec<u64> = (1..101).filter(|&index| log.reader().entry(index).is_err()).collect();
    assert!(!bad.is_empty());
    let written = logs.stats().journal.appended;
    let receipt = log.writer().refill((1..101).map(|index| entry(1, index, 3000)).collect()).expect("puts back");
    assert_eq!(logs.stats().journal.appended - written, bad.len() as u64);
    receipt.wait_durable().expect("durable");
    let all: Vec<_> = (1..101).map(|index| entry(1, index, 3000)).collect();
    assert_eq!(log.reader().range(1..101, usize::MAX).expect("all is there"), all);
    for left in disk.crash_images(200) {
        let (logs, opened) = open(&left, &small());
        assert!(opened.losses.is_empty());
        assert_eq!(logs.group(1).expect("a group").reader().range(1..101, usize::MAX).expect("all is there"), all);
    }
}

/// MemFirst with a damaged record: it is absent, all others are in memory.
#[test]
fn a_damaged_entry_is_absent_from_memory() {
    let disk = damaged();
    let (logs, _) = open(&disk, &Config { strategy: Strategy::MemFirst, ..small() });
    let reader = logs.group(1).expect("a group").reader();
    let bad: Vec<u64> = (1..101).filter(|&index| reader.entry(index).is_err()).collect();
    assert!((1..=2).contains(&bad.len()), "{bad:?}");
    let cache = logs.stats().cache;
    assert_eq!(cache.items, 103 - bad.len(), "a hundred of group 1, three of group 2");
    assert_eq!(cache.hits, 100 - bad.len() as u64);
}

/// What was lost and then cut off is not lost any more: new entries take the place.
#[test]
fn a_hole_that_is_cut_off_is_none() {
    let disk = damaged();
    disk.remove_durable(&format!("{FOLDER}/journal/{:016x}.seg", 3)).expect("is in use");
    let mut config = small();
    config.journal.on_damage = OnDamage::SetAside;
    let (logs, opened) = open(&disk, &config);
    let first = opened.losses[0].first;
    let log = logs.group(1).expect("a group");
    log.writer().truncate_after(Some(&id(1, first - 1))).expect("cuts").wait().expect("durable");
    fill(&log, 2, first..first + 5, 100);
    assert_eq!(log.reader().entry(first + 1).expect("is new"), entry(2, first + 1, 100));
    assert!(log.reader().log_id(first + 1).is_ok());
}

/// The newest segments are gone, and nothing tells how much lay in them: no vote is trusted, and no sequence is given again.
#[test]
fn a_lost_end_is_told_until_it_is_settled() {
    let disk = damaged();
    // The bit that was flipped is of no interest here.
    disk.flip_durable_bit(&format!("{FOLDER}/journal/{:016x}.seg", 3), 20_000, 3).expect("is in use");
    let next = inspect::survey(FOLDER, disk.world()).expect("surveys").journal.next;
    for number in 4..40 {
        let _ = disk.remove_durable(&format!("{FOLDER}/journal/{number:016x}.seg"));
    }
    assert!(matches!(try_open(disk.world(), &small()), Err(Error::Wal(WalError::Damaged(_)))));
    let salvaged = inspect::salvage(FOLDER, "/new", disk.world(), &mut |_| ()).expect("salvages");
    assert_eq!(salvaged.votes_in_doubt().count(), 1, "group 1; of group 2 nothing is left");
    let mut config = small();
    config.journal.on_damage = OnDamage::SetAside;
    for (dir, config) in [("/new", small()), (FOLDER, config)] {
        for round in 0..3 {
            let (logs, opened) = open(&disk, &Config { dir: dir.into(), ..config.clone() });
            assert!(opened.journal.next > next, "not one that was given before");
            let log = logs.group(1).expect("a group");
            let last = log.state().last.expect("entries").index;
            let end = opened.losses.iter().find(|loss| loss.first == last + 1 && loss.last.is_none());
            if round < 2 {
                assert_eq!(opened.votes_in_doubt, [1], "{dir}, round {round}");
                assert_eq!(end.map(|loss| loss.certainty), Some(Certainty::Possible), "{:?}", opened.losses);
                assert!(logs.group(2).expect("a group").vote_in_doubt(), "it may have had one");
            } else {
                assert!(opened.votes_in_doubt.is_empty() && end.is_none(), "{opened:?}");
            }
            if round == 1 {
                log.writer().accept_lost_vote();
                log.writer().save_vote(&vote(9, 9)).expect("was settled");
                fill(&log, 9, last + 1..last + 3, 100);
            }
        }
    }
}
