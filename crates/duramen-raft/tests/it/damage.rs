//! Damage as a value: what is lost is named, the rest is served, and a vote that may be lost is not given a second time.

use duramen_journal::disk::sim::SimDisk;
use duramen_journal::{Error as WalError, OnDamage};
use duramen_raft::{Config, Error, Loss};

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
    let [Loss { group: 1, first, last }] = opened.losses[..] else { panic!("{:?}", opened.losses) };
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
