//! A full disk: what the journal refuses is undone in memory, and the log goes on when there is space again.

use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_raft::{Config, Error, FlushPolicy, Plain, RaftLog, Refusal, Strategy};

use crate::simulated::{check, entry, fill, id, open, small, vote};

fn lazy() -> Config {
    let flush = FlushPolicy::Batch { threshold: 1 << 40, interval: std::time::Duration::from_secs(3600) };
    let mut config = Config { strategy: Strategy::MemFirst, flush, ..small() };
    // Nothing is written before it is asked for.
    config.journal.commit_bytes_max = 16 << 10;
    config
}

/// What it should follow on was refused, and is undone.
fn cut_off(error: &Error<Plain>) -> bool {
    matches!(error, Error::Refused(refusal) if matches!(**refusal, Refusal::NonConsecutive { .. }))
}

/// Steps that are queued when the disk turns out to be full.
fn queue_steps(log: &RaftLog<Plain>) {
    let writer = log.writer();
    for index in 10..40 {
        if let Err(error) = writer.append(vec![entry(1, index, 3000)]) {
            assert!(error.is_no_space() || cut_off(&error), "{error}");
        }
    }
}

#[test]
fn what_was_refused_is_undone() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &lazy());
    let log = logs.group(1).expect("a group");
    let other = logs.group(2).expect("a group");
    fill(&log, 1, 1..10, 100);
    log.writer().save_vote(&vote(1, 1)).expect("votes");
    disk.set_capacity(Some(disk.used()));
    let mut refused = 0;
    for round in 0..40u64 {
        // The other group's steps lie between: they are refused with the rest, or stand with the rest.
        let _ = other.writer().append(vec![entry(1, round + 1, 100)]);
        queue_steps(&log);
        if logs.sync().is_err() {
            refused += 1;
            break;
        }
        let next = log.reader().next_index().expect("has entries");
        if next < 40 {
            refused += 1;
            break;
        }
        log.writer().truncate_after(Some(&id(1, 9))).expect("truncates").wait_durable().expect("durable");
    }
    assert_eq!(refused, 1, "the disk was full");
    // What is left is what the journal holds, to the last entry.
    let next = log.reader().next_index().expect("has entries");
    assert!((10..40).contains(&next), "{next}");
    let there: Vec<_> = log.reader().stream(..).expect("a range").collect::<Result<Vec<_>, _>>().expect("reads");
    assert_eq!(there.last().map(|entry| entry.id.index + 1), Some(next));
    // Votes, truncations and purges still work, and stand in the same order.
    log.writer().save_vote(&vote(2, 1)).expect("votes on a full disk");
    log.writer().truncate_after(Some(&id(1, 9))).expect("truncates").wait_durable().expect("durable on a full disk");
    log.writer().purge(&id(1, 4)).expect("purges").wait_durable().expect("durable on a full disk");
    check(&log, &[(1, 5..10)], 100);
    // With space it goes on by itself.
    disk.set_capacity(None);
    fill(&log, 2, 10..20, 100);
    let others = other.reader().next_index().unwrap_or(1);
    fill(&other, 1, others..others + 3, 100);
    check(&log, &[(1, 5..10), (2, 10..20)], 100);
    drop((log, other, logs));
    let (logs, _) = open(&disk.reboot(Crash::LoseAll), &lazy());
    let log = logs.group(1).expect("a group");
    check(&log, &[(1, 5..10), (2, 10..20)], 100);
    assert_eq!((log.state().vote, log.state().purged), (Some(vote(2, 1)), Some(id(1, 4))));
    assert_eq!(logs.group(2).expect("a group").reader().next_index(), Some(others + 3));
}

/// A receipt of a refused step tells so, and what follows in the same breath is not stored without it.
#[test]
fn nothing_follows_on_what_was_refused() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &lazy());
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..3, 100);
    disk.set_capacity(Some(disk.used()));
    let mut receipts = Vec::new();
    let mut next = 3;
    // Until the journal itself says no.
    let error = loop {
        match log.writer().append(vec![entry(1, next, 3000)]) {
            Ok(receipt) => receipts.push((next, receipt)),
            Err(error) => break error,
        }
        next += 1;
        assert!(next < 1000, "the disk has no end");
    };
    assert!(error.is_no_space() || cut_off(&error), "{error}");
    let _ = logs.sync();
    let held = log.reader().next_index().expect("has entries");
    for (index, receipt) in receipts {
        assert_eq!(receipt.wait_durable().is_ok(), index < held, "entry {index}, {held} stand");
    }
    let read: Vec<_> = log.reader().stream(..).expect("a range").collect::<Result<Vec<_>, _>>().expect("reads");
    let wanted: Vec<_> = (1..held).map(|index| entry(1, index, if index < 3 { 100 } else { 3000 })).collect();
    assert_eq!(read, wanted);
}
