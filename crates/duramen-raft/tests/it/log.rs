//! One log: steps, reads, reopening, and every bad input.

use bytes::Bytes;
use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_journal::{Error as WalError, Level};
use duramen_raft::{
    Config, Error, FlushPolicy, MemoryFull, Plain, RaftLog, RaftLogState, Record, Refusal, StateMachine, Strategy,
    TermVote,
};

use crate::simulated::{FOLDER, check, entry, fill, id, open, small, try_open, vote};

fn refusal<R>(result: Result<R, Error<Plain>>) -> Refusal<Plain> {
    match result {
        Err(Error::Refused(refusal)) => *refusal,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("was not refused"),
    }
}

#[test]
fn everything_is_there_after_reopening() {
    let disk = SimDisk::new(1);
    let (logs, opened) = open(&disk, &small());
    assert!(opened.losses.is_empty() && opened.votes_in_doubt.is_empty());
    let log = logs.group(1).expect("a group");
    assert_eq!((log.reader().first_index(), log.reader().next_index()), (None, None));
    let writer = log.writer();
    writer.save_vote(&vote(1, 3)).expect("votes");
    fill(&log, 1, 1..300, 1000);
    writer.commit(&id(1, 250)).expect("commits").wait_durable().expect("durable");
    writer.save_user_data(&Bytes::from_static(b"mine")).expect("saves").wait_durable().expect("durable");
    writer.truncate_after(Some(&id(1, 280))).expect("truncates").wait().expect("durable");
    fill(&log, 4, 281..320, 1000);
    writer.save_vote(&vote(4, 2)).expect("votes");
    writer.purge(&id(1, 200)).expect("purges").wait().expect("durable");
    let state = log.state();
    let expected = RaftLogState {
        vote: Some(vote(4, 2)),
        last: Some(id(4, 319)),
        committed: Some(id(1, 250)),
        purged: Some(id(1, 200)),
        user_data: Some(Bytes::from_static(b"mine")),
    };
    assert_eq!(state, expected);
    check(&log, &[(1, 201..281), (4, 281..320)], 1000);
    drop((writer, log, logs));
    for round in 0..3 {
        // At once after a crash, after another, and after closing.
        let disk = disk.reboot(Crash::LoseAll);
        let (logs, _) = open(&disk, &small());
        let log = logs.group(1).expect("a group");
        assert_eq!(log.state(), expected, "round {round}");
        check(&log, &[(1, 201..281), (4, 281..320)], 1000);
        assert_eq!(logs.stats().entries, 119);
    }
}

#[test]
fn what_is_appended_can_be_read_at_once() {
    let disk = SimDisk::new(1);
    for cache in [0, 64 << 20] {
        let (logs, _) = open(&disk, &Config { log_cache_capacity: cache, dir: format!("/r{cache}").into(), ..small() });
        let log = logs.group(1).expect("a group");
        let receipt = log.writer().append((1..50).map(|index| entry(1, index, 100)).collect()).expect("appends");
        assert_eq!(log.reader().entry(49).expect("reads"), entry(1, 49, 100));
        check(&log, &[(1, 1..50)], 100);
        // What has left memory is written before it is read.
        assert_eq!(receipt.level().expect("is under way") < Level::Durable, cache > 0);
        receipt.wait().expect("durable");
        let misses = logs.stats().cache.misses;
        assert_eq!(misses > 0, cache == 0, "{misses}");
    }
}

#[test]
fn every_bad_step_is_refused_and_changes_nothing() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    let log = logs.group(1).expect("a group");
    let writer = log.writer();
    assert!(matches!(logs.group(0), Err(Error::InvalidGroup { group: 0 })));
    assert_eq!(refusal(writer.commit(&id(1, 1))), Refusal::CommitBeyondLast { current: None, attempted: id(1, 1) });
    writer.append(Vec::new()).expect("nothing to do").wait().expect("done");
    assert!(writer.truncate_after(None).expect("nothing to do").level().is_ok());
    fill(&log, 2, 10..20, 10);
    writer.save_vote(&vote(3, 1)).expect("votes");
    writer.commit(&id(2, 15)).expect("commits").wait().expect("taken");
    writer.purge(&id(2, 12)).expect("purges").wait().expect("durable");
    let state = log.state();

    let reversed = refusal(writer.save_vote(&vote(3, 2)));
    assert_eq!(reversed, Refusal::VoteReversal { current: vote(3, 1), attempted: vote(3, 2) });
    let gap = refusal(writer.append(vec![entry(2, 21, 10)]));
    assert_eq!(gap, Refusal::NonConsecutive { current: Some(id(2, 19)), attempted: id(2, 21) });
    let inner_gap = refusal(writer.append(vec![entry(2, 20, 10), entry(2, 22, 10)]));
    assert_eq!(inner_gap, Refusal::NonConsecutive { current: Some(id(2, 20)), attempted: id(2, 22) });
    let back = refusal(writer.append(vec![entry(2, 20, 10), entry(1, 21, 10)]));
    assert_eq!(back, Refusal::LogIdReversal { current: id(2, 20), attempted: id(1, 21) });
    let committed = refusal(writer.truncate_after(Some(&id(2, 14))));
    assert_eq!(committed, Refusal::TruncateCommitted { current: id(2, 15), attempted: Some(id(2, 14)) });
    let other = refusal(writer.truncate_after(Some(&id(1, 17))));
    assert_eq!(other, Refusal::Mismatch { current: id(2, 17), attempted: id(1, 17) });
    let other = refusal(writer.purge(&id(3, 17)));
    assert_eq!(other, Refusal::Mismatch { current: id(2, 17), attempted: id(3, 17) });
    let beyond = refusal(writer.commit(&id(2, 20)));
    assert_eq!(beyond, Refusal::CommitBeyondLast { current: Some(id(2, 19)), attempted: id(2, 20) });
    let backwards = refusal(writer.purge(&id(2, 11)));
    assert_eq!(backwards, Refusal::LogIdReversal { current: id(2, 12), attempted: id(2, 11) });
    let bound = log.writer().append(vec![entry(2, 20, 40 << 10)]);
    assert!(matches!(bound, Err(Error::Wal(WalError::TooLarge { .. }))), "{bound:?}");
    let data = writer.save_user_data(&Bytes::from(vec![0; 20_000]));
    assert!(matches!(data, Err(Error::Wal(WalError::TooLarge { what: "state", .. }))), "{data:?}");

    let reader = log.reader();
    assert!(matches!(reader.entry(12), Err(Error::Purged { index: 12, first: 13 })));
    assert!(matches!(reader.entry(20), Err(Error::NotYet { index: 20, next: Some(20) })));
    assert!(matches!(reader.entry(u64::MAX), Err(Error::NotYet { .. })));
    assert!(matches!(reader.range(13..21, 100), Err(Error::NotYet { index: 20, .. })));
    #[allow(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    let reversed = reader.range(16..14, 100);
    assert!(matches!(reversed, Err(Error::InvalidRange { start: 16, end: 14 })));
    assert!(reader.range(15..15, 100).expect("an empty range").is_empty());
    assert!(matches!(reader.log_id(5), Err(Error::Purged { .. })));
    assert_eq!(reader.log_id(12).expect("the last purged"), id(2, 12));
    assert!(matches!(logs.group(2).expect("empty").reader().entry(1), Err(Error::NotYet { next: None, .. })));

    assert_eq!(log.state(), state);
    check(&log, &[(2, 13..20)], 10);
    drop((writer, reader, log, logs));
    let (logs, _) = open(&disk.reboot(Crash::LoseAll), &small());
    assert_eq!(logs.group(1).expect("a group").state().vote, state.vote);
    check(&logs.group(1).expect("a group"), &[(2, 13..20)], 10);
}

#[test]
fn purging_beyond_the_end_starts_the_log_there() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..5, 10);
    log.writer().purge(&id(7, 100)).expect("purges").wait().expect("durable");
    assert_eq!(log.reader().first_index(), Some(101));
    assert!(log.writer().append(vec![entry(7, 5, 10)]).is_err());
    fill(&log, 7, 101..104, 10);
    drop((log, logs));
    let (logs, _) = open(&disk.reboot(Crash::LoseAll), &small());
    let log = logs.group(1).expect("a group");
    check(&log, &[(7, 101..104)], 10);
    assert_eq!((log.state().purged, log.state().last), (Some(id(7, 100)), Some(id(7, 103))));
}

#[test]
fn ranges_are_bounded_by_bytes() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..101, 100);
    let (reopened, _) = open(&disk.reboot(Crash::KeepAll), &small());
    for (cached, log) in [(true, log), (false, reopened.group(1).expect("a group"))] {
        let read = |range: std::ops::Range<u64>, bytes| {
            let found = log.reader().range(range, bytes).expect("reads");
            found.iter().map(|entry| entry.id.index).collect::<Vec<u64>>()
        };
        assert_eq!(read(5..90, 350), [5, 6, 7], "cached {cached}");
        assert_eq!(read(5..90, 0), [5], "at least one");
        assert_eq!(read(5..8, usize::MAX), [5, 6, 7]);
        let all: Vec<u64> = (1..101).collect();
        assert_eq!(read(1..101, usize::MAX), all);
    }
}

#[test]
fn old_segments_go_when_they_are_purged() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    let log = logs.group(1).expect("a group");
    log.writer().save_vote(&vote(1, 9)).expect("votes");
    log.writer().save_user_data(&Bytes::from_static(b"u")).expect("saves").wait_durable().expect("durable");
    let mut most = 0;
    for round in 0..40u64 {
        fill(&log, 1, round * 10 + 1..round * 10 + 11, 3000);
        log.writer().commit(&id(1, round * 10 + 5)).expect("commits").wait().expect("taken");
        if round > 2 {
            log.writer().purge(&id(1, round * 10 - 20)).expect("purges").wait().expect("durable");
        }
        most = most.max(logs.stats().journal.segments);
    }
    assert!(most <= 4, "{most} segments for 60 live entries of 3000 bytes");
    let state = log.state();
    drop((log, logs));
    let (logs, _) = open(&disk.reboot(Crash::LoseAll), &small());
    let log = logs.group(1).expect("a group");
    assert_eq!(log.state(), RaftLogState { committed: log.state().committed, ..state });
    assert_eq!(log.state().vote, Some(vote(1, 9)), "the vote was carried forward");
    check(&log, &[(1, 371..401)], 3000);
}

#[test]
fn reading_behind_a_miss_is_read_ahead() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    fill(&logs.group(1).expect("a group"), 1, 1..201, 100);
    drop(logs);
    let (logs, _) = open(&disk, &small());
    let log = logs.group(1).expect("a group");
    assert_eq!(logs.stats().cache.items, 0, "nothing is loaded at the start");
    for index in 1..201 {
        assert_eq!(log.reader().entry(index).expect("reads"), entry(1, index, 100));
    }
    let cache = logs.stats().cache;
    assert!(cache.misses <= 4 && cache.hits >= 196 && cache.prefetched >= 190, "{cache:?}");
}

#[test]
fn the_cache_keeps_its_bounds() {
    let disk = SimDisk::new(1);
    let config = Config { log_cache_max_items: 20, ..small() };
    let (logs, _) = open(&disk, &config);
    let log = logs.group(1).expect("a group");
    for index in 1..200 {
        fill(&log, 1, index..index + 1, 500);
        assert!(logs.stats().cache.items <= 20);
    }
    check(&log, &[(1, 1..200)], 500);
    assert!(logs.stats().cache.items <= 20);
    let config = Config { log_cache_capacity: 8 << 10, ..small() };
    drop((log, logs));
    let (logs, _) = open(&disk, &config);
    let log = logs.group(1).expect("a group");
    check(&log, &[(1, 1..200)], 500);
    fill(&log, 1, 200..230, 500);
    let cache = logs.stats().cache;
    assert!(cache.bytes <= 8 << 10 && cache.evicted > 100, "{cache:?}");
}

#[test]
fn mem_first_loads_everything_and_acknowledges_at_once() {
    let disk = SimDisk::new(1);
    let batch = FlushPolicy::Batch { threshold: 1000, interval: std::time::Duration::from_secs(1) };
    let config = Config { strategy: Strategy::MemFirst, flush: batch, ..small() };
    let (logs, _) = open(&disk, &config);
    let log = logs.group(1).expect("a group");
    log.writer().append((1..50).map(|index| entry(1, index, 100)).collect()).expect("appends").wait().expect("taken");
    assert_eq!(logs.stats().journal.durable, 0, "acknowledged, and not durable");
    log.writer().save_vote(&vote(1, 1)).expect("votes");
    assert_eq!(logs.stats().journal.durable, 50, "a vote is durable, with all before it");
    log.writer().append((50..60).map(|index| entry(1, index, 100)).collect()).expect("appends").wait().expect("taken");
    let (after_crash, _) = open(&disk.reboot(Crash::LoseAll), &config);
    check(&after_crash.group(1).expect("a group"), &[(1, 1..50)], 100);
    assert_eq!(after_crash.stats().cache.items, 49, "preloaded");
    check(&log, &[(1, 1..60)], 100);
    assert_eq!(logs.stats().cache.misses, 0);
    let synced = Config { sync_on_commit: true, dir: "/other".into(), ..config };
    let (logs, _) = open(&disk, &synced);
    let log = logs.group(1).expect("a group");
    log.writer().append((1..50).map(|index| entry(1, index, 100)).collect()).expect("appends").wait().expect("taken");
    drop(log.writer().commit(&id(1, 20)).expect("commits"));
    assert_eq!(logs.stats().journal.durable, 50, "a commit is durable, with all before it");
    log.writer().commit(&id(1, 20)).expect("once more").wait().expect("durable");
}

#[test]
fn mem_first_pushes_back_at_its_bound() {
    let disk = SimDisk::new(1);
    let mem_first = Config { strategy: Strategy::MemFirst, memory_max_bytes: 20 << 10, ..small() };
    let fail = Config { memory_full: MemoryFull::Fail, ..mem_first.clone() };
    let (logs, _) = open(&disk, &fail);
    let log = logs.group(1).expect("a group");
    let mut index = 1;
    let error = loop {
        match log.writer().append(vec![entry(1, index, 1000)]) {
            Ok(receipt) => receipt.wait_durable().expect("durable"),
            Err(error) => break error,
        }
        index += 1;
    };
    assert!(matches!(error, Error::MemoryFull { max: 20480, .. }), "{error}");
    assert!((15..20).contains(&index), "{index}");
    log.writer().purge(&id(1, 5)).expect("purges").wait_durable().expect("durable");
    fill(&log, 1, index..index + 4, 1000);
    drop((log, logs));
    let (logs, _) = open(&disk, &Config { memory_full: MemoryFull::Spill, ..mem_first });
    let log = logs.group(1).expect("a group");
    fill(&log, 1, index + 4..index + 40, 1000);
    let cache = logs.stats().cache;
    assert!(cache.bytes <= 20 << 10 && cache.evicted > 0, "{cache:?}");
    check(&log, &[(1, 6..index + 40)], 1000);
    assert!(logs.stats().cache.spilled_reads > 0);
}

/// Counts what it is fed, and refuses one index.
struct Counter {
    records: Vec<String>,
    refuses: u64,
}

impl StateMachine<Plain> for Counter {
    type Refusal = String;

    fn apply(&mut self, record: &Record<Plain>) -> Result<(), String> {
        match record {
            Record::Append(id, _) if id.index == self.refuses => return Err(format!("not {}", id.index)),
            Record::Append(id, _) => self.records.push(format!("append {}", id.index)),
            other => self.records.push(other.kind().words().to_string()),
        }
        Ok(())
    }
}

#[test]
fn a_state_machine_is_fed_and_may_refuse() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..6, 10);
    log.writer().save_vote(&vote(1, 1)).expect("votes");
    log.writer().commit(&id(1, 4)).expect("commits").wait().expect("taken");
    log.writer().purge(&id(1, 2)).expect("purges").wait().expect("durable");
    let mut counter = Counter { records: Vec::new(), refuses: 0 };
    log.replay(&mut counter).expect("reads").expect("accepts");
    assert_eq!(counter.records, ["purge up to", "save vote", "append 3", "append 4", "append 5", "commit"]);
    let mut counter = Counter { records: Vec::new(), refuses: 4 };
    assert_eq!(log.replay(&mut counter).expect("reads"), Err("not 4".to_string()));
    let mut state = RaftLogState::<Plain>::default();
    log.replay(&mut state).expect("reads").expect("accepts");
    assert_eq!(state, log.state());
}

#[test]
fn folders_that_cannot_be_opened_say_why() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    assert!(matches!(try_open(disk.world(), &small()), Err(Error::Wal(WalError::Locked { .. }))));
    fill(&logs.group(1).expect("a group"), 1, 1..3, 10);
    drop(logs);
    // A folder of another kind.
    let plain = duramen_journal::Options { ..small().journal };
    let other = duramen_journal::Journal::open_with("/plain", &plain, disk.world()).expect("opens");
    drop(other);
    let wrong = try_open(disk.world(), &Config { dir: "/plain".into(), ..small() });
    assert!(matches!(wrong, Err(Error::Wal(WalError::NotAJournal { .. }))), "{wrong:?}");
    // Settings that cannot be.
    for bad in [
        Config { flush: FlushPolicy::Batch { threshold: 0, interval: std::time::Duration::from_secs(1) }, ..small() },
        Config { flush: FlushPolicy::Batch { threshold: 1, interval: std::time::Duration::ZERO }, ..small() },
        Config { sync_on_commit: true, ..small() },
        Config { memory_max_bytes: 0, ..small() },
    ] {
        assert!(matches!(try_open(disk.world(), &bad), Err(Error::InvalidOption { .. })));
    }
    // Records that are no Raft log's.
    let options = duramen_journal::Options { kind: *b"raft\0\0\0\0", ..small().journal };
    let (journal, _) = duramen_journal::Journal::open_with(FOLDER, &options, disk.world()).expect("opens");
    journal.append(1, 77, b"who knows").expect("appends").wait().expect("durable");
    drop(journal);
    let foreign = try_open(disk.world(), &small());
    assert!(matches!(foreign, Err(Error::Foreign { group: 1, sequence: 3, .. })), "{foreign:?}");
}

#[test]
fn one_log_has_a_folder_for_itself() {
    let disk = SimDisk::new(1);
    let (log, _) = RaftLog::<Plain>::open_with(small(), disk.world()).expect("opens");
    log.writer().save_vote(&TermVote { term: 1, node: None }).expect("votes");
    fill(&log, 1, 1..4, 10);
    assert_eq!((log.number(), log.stats().entries, log.logs().groups()), (1, 3, vec![1]));
    log.close().expect("closes");
    assert!(matches!(log.writer().append(vec![entry(1, 4, 10)]), Err(Error::Wal(WalError::Closed))));
    check(&log, &[(1, 1..4)], 10);
}

#[test]
fn a_visit_shows_what_is_stored() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..151, 300);
    log.writer().truncate_after(Some(&id(1, 120))).expect("truncates").wait().expect("durable");
    fill(&log, 4, 121..201, 300);
    log.writer().commit(&id(4, 200)).expect("commits").wait().expect("taken");
    log.writer().purge(&id(1, 20)).expect("purges").wait().expect("durable");
    let reader = log.reader();
    let before = logs.stats().cache;
    let expected: Vec<_> = (21..201u64).map(|index| entry(if index > 120 { 4 } else { 1 }, index, 300)).collect();
    let mut seen = Vec::new();
    let visited = reader.visit(.., |entry| {
        seen.push((entry.id, entry.payload.to_vec()));
        true
    });
    visited.expect("reads");
    assert_eq!(seen, expected.iter().map(|entry| (entry.id, entry.payload.to_vec())).collect::<Vec<_>>());
    let mut some = Vec::new();
    let visited = reader.visit(100..190, |entry| {
        some.push(entry.id.index);
        entry.id.index < 130
    });
    visited.expect("reads");
    assert_eq!(some, (100..131).collect::<Vec<u64>>());
    reader.visit(50..50, |_| panic!("nothing is asked for")).expect("an empty range");
    #[allow(clippy::reversed_empty_ranges, reason = "that is what is asked")]
    let reversed = reader.visit(60..50, |_| true);
    assert!(matches!(reversed, Err(Error::InvalidRange { start: 60, end: 50 })), "{reversed:?}");
    assert!(matches!(reader.visit(10..50, |_| true), Err(Error::Purged { index: 10, first: 21 })));
    assert!(matches!(reader.visit(150..300, |_| true), Err(Error::NotYet { next: Some(201), .. })));
    let after = logs.stats().cache;
    assert_eq!((before.hits, before.misses, before.items), (after.hits, after.misses, after.items));
}
