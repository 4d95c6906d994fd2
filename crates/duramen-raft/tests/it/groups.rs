//! Many groups on one journal: they share syncs and space, the laggards are named, and their entries can be moved.

use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_raft::Config;

use crate::simulated::{check, entry, fill, id, open, small, vote};

#[test]
fn groups_do_not_see_each_other() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    for number in 1..=20u32 {
        let log = logs.group(number).expect("a group");
        log.writer().save_vote(&vote(u64::from(number), 1)).expect("votes");
        fill(&log, 1, 1..u64::from(number) + 1, 500);
    }
    logs.group(7).expect("a group").writer().remove().expect("removes").wait().expect("durable");
    logs.group(8).expect("a group").writer().truncate_after(Some(&id(1, 3))).expect("cuts").wait().expect("durable");
    drop(logs);
    let (logs, _) = open(&disk.reboot(Crash::LoseAll), &small());
    assert_eq!(logs.groups(), (1..=20).filter(|&number| number != 7).collect::<Vec<u32>>());
    for number in 1..=20u32 {
        let log = logs.group(number).expect("a group");
        let last = match number {
            7 => 0,
            8 => 3,
            other => u64::from(other),
        };
        check(&log, &[(1, 1..last + 1)], 500);
        let expected = (number != 7).then(|| vote(u64::from(number), 1));
        assert_eq!(log.state().vote, expected);
    }
    // A number that was used can be used again.
    fill(&logs.group(7).expect("a group"), 9, 100..103, 10);
    check(&logs.group(7).expect("a group"), &[(9, 100..103)], 10);
}

#[test]
fn a_laggard_is_named_and_moved_out_of_the_way() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    let slow = logs.group(1).expect("a group");
    let fast = logs.group(2).expect("a group");
    fill(&slow, 1, 1..11, 200);
    slow.writer().save_vote(&vote(1, 7)).expect("votes");
    fill(&fast, 1, 1..101, 3000);
    fast.writer().purge(&id(1, 95)).expect("purges").wait().expect("durable");
    fill(&slow, 2, 11..13, 200);
    let segments = logs.stats().journal.segments;
    assert!(segments >= 5, "{segments}");
    let laggards = logs.laggards();
    assert_eq!((laggards[0].group, laggards[0].first_index, laggards[0].sequence), (1, 1, 1));
    assert_eq!(laggards[0].segments, segments - 1);
    assert_eq!(logs.collect().expect("collects"), 0, "nothing can go");
    let moved = logs.relocate(1, 1).expect("moves");
    assert_eq!(moved, 10);
    check(&slow, &[(1, 1..11), (2, 11..13)], 200);
    assert!(logs.collect().expect("collects") >= 3);
    assert!(logs.stats().journal.segments <= 2);
    assert!(logs.laggards().iter().all(|laggard| laggard.segments <= 1));
    let state = slow.state();
    drop((slow, fast, logs));
    let disk = disk.reboot(Crash::LoseAll);
    let (logs, _) = open(&disk, &small());
    let slow = logs.group(1).expect("a group");
    assert_eq!(slow.state(), state);
    check(&slow, &[(1, 1..11), (2, 11..13)], 200);
    check(&logs.group(2).expect("a group"), &[(1, 96..101)], 3000);
    // And once more, after which the log is still a log.
    fill(&logs.group(2).expect("a group"), 1, 101..130, 3000);
    assert!(logs.relocate(1, 1).expect("moves") > 0);
    slow.writer().truncate_after(Some(&id(1, 8))).expect("truncates").wait().expect("durable");
    fill(&slow, 3, 9..12, 200);
    slow.writer().purge(&id(1, 2)).expect("purges").wait().expect("durable");
    check(&slow, &[(1, 3..9), (3, 9..12)], 200);
    drop((slow, logs));
    let (logs, _) = open(&disk.reboot(Crash::LoseAll), &small());
    check(&logs.group(1).expect("a group"), &[(1, 3..9), (3, 9..12)], 200);
}

#[test]
fn ten_thousand_groups_open_and_write() {
    const GROUPS: u32 = 10_000;
    let disk = SimDisk::new(1);
    let config = Config { chunk_max_size: 4 << 20, ..small() };
    let (logs, _) = open(&disk, &config);
    for round in 1..4u64 {
        let receipts: Vec<_> = (1..=GROUPS)
            .map(|number| {
                let log = logs.group(number).expect("a group");
                log.writer().append(vec![entry(1, round, 64)]).expect("appends")
            })
            .collect();
        receipts.into_iter().for_each(|receipt| receipt.wait().expect("durable"));
    }
    let stats = logs.stats();
    assert_eq!((stats.groups, stats.entries), (GROUPS as usize, 3 * u64::from(GROUPS)));
    assert!(stats.journal.syncs < 100, "{} syncs for 30,000 appends", stats.journal.syncs);
    drop(logs);
    let (logs, _) = open(&disk.reboot(Crash::LoseAll), &config);
    assert_eq!(logs.groups().len(), GROUPS as usize);
    for number in [1, 77, GROUPS] {
        check(&logs.group(number).expect("a group"), &[(1, 1..4)], 64);
    }
}

/// Entries that do not fit into one batch were carried forward in one, which the journal refused (found by the campaign).
#[test]
fn large_entries_are_moved_in_small_batches() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    let slow = logs.group(1).expect("a group");
    fill(&slow, 1, 1..5, 12_000);
    fill(&logs.group(2).expect("a group"), 1, 1..10, 15_000);
    assert!(logs.relocate(1, 1).expect("moves") >= 4);
    check(&slow, &[(1, 1..5)], 12_000);
}
