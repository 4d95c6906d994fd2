//! The two tables of `docs/raft-strategies.md`, cell by cell: what each operation has promised when it is acknowledged, and what
//! each strategy is good for. The document names these tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use duramen_journal::Level;
use duramen_journal::disk::sim::{Crash, Effect, Fault, Operation, SimDisk, errno};
use duramen_raft::{Config, Error, FlushPolicy, MemoryFull, Plain, RaftLog, RaftLogState, RaftLogs, Receipt, Strategy};

use crate::simulated::{FOLDER, check, entry, fill, id, open, small, vote};

/// Nothing becomes durable by itself.
fn mem_first() -> Config {
    let flush = FlushPolicy::Batch { threshold: 1 << 40, interval: Duration::from_secs(3600) };
    Config { strategy: Strategy::MemFirst, flush, ..small() }
}

/// What is there after the process died, and after the power failed, at its worst.
fn left(disk: &SimDisk, config: &Config) -> [RaftLog<Plain>; 2] {
    let log = |disk: SimDisk| open(&disk, config).0.group(1).expect("a group");
    [log(disk.kill()), log(disk.reboot(Crash::LoseAll))]
}

struct Fresh {
    disk: SimDisk,
    logs: RaftLogs<Plain>,
    log: RaftLog<Plain>,
    config: Config,
}

/// Ten durable entries, the fifth committed.
fn fresh(config: Config) -> Fresh {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &config);
    let log = logs.group(1).expect("a group");
    log.writer().save_vote(&vote(1, 1)).expect("votes");
    fill(&log, 1, 1..11, 100);
    log.writer().commit(&id(1, 5)).expect("commits").wait_durable().expect("durable");
    Fresh { disk, logs, log, config }
}

/// Takes a step, waits for its acknowledgement, and says how safe it was by then.
fn acknowledged(fresh: &Fresh, step: impl Fn(&RaftLog<Plain>) -> Receipt<Plain>) -> bool {
    let before = fresh.logs.stats().journal.durable;
    step(&fresh.log).wait().expect("acknowledged");
    let stats = fresh.logs.stats().journal;
    assert!(stats.appended > before, "a step was taken");
    stats.durable == stats.appended
}

type Told = fn(&RaftLogState<Plain>) -> (Option<u64>, Option<u64>, Option<u64>, usize);

/// Last, committed, purged, bytes of the user's data.
const TOLD: Told = |state| {
    let index = |id: &Option<duramen_raft::TermIndex>| id.map(|id| id.index);
    let data = state.user_data.as_ref().map_or(0, |data| data.len());
    (index(&state.last), index(&state.committed), index(&state.purged), data)
};

/// A step on both strategies: with DiskFirst it is `durable` or not when it is acknowledged, with MemFirst never. Readers see
/// it at once; what was acknowledged as durable is left by any crash, and before it nothing changes but the step.
fn step(durable: bool, step: impl Fn(&RaftLog<Plain>) -> Receipt<Plain>) {
    for (config, durable) in [(small(), durable), (mem_first(), false)] {
        let fresh = fresh(config);
        let before = TOLD(&fresh.log.state());
        assert_eq!(acknowledged(&fresh, &step), durable, "{:?}", fresh.config.strategy);
        let after = TOLD(&fresh.log.state());
        assert_ne!(after, before, "seen at once");
        let [killed, cut] = left(&fresh.disk, &fresh.config).map(|log| TOLD(&log.state()));
        if durable {
            assert_eq!([killed, cut], [after, after]);
        } else {
            assert_eq!(cut, before, "a power cut takes it, and nothing else");
            assert!(killed == before || killed == after, "the process' death leaves it, or not, and nothing else");
        }
        fresh.log.writer().sync().expect("syncs");
        assert_eq!(left(&fresh.disk, &fresh.config).map(|log| TOLD(&log.state())), [after, after], "synced");
    }
}

#[test]
fn save_vote() {
    for config in [small(), mem_first()] {
        let fresh = fresh(config);
        fresh.log.writer().append(vec![entry(1, 11, 100)]).expect("appends").wait().expect("acknowledged");
        fresh.log.writer().save_vote(&vote(2, 3)).expect("votes");
        for log in left(&fresh.disk, &fresh.config) {
            assert_eq!(log.state().vote, Some(vote(2, 3)));
            assert_eq!(log.state().last, Some(id(1, 11)), "with all before it");
        }
    }
}

#[test]
fn append() {
    step(true, |log| log.writer().append(vec![entry(1, 11, 100), entry(1, 12, 100)]).expect("appends"));
}

#[test]
fn truncate() {
    step(true, |log| log.writer().truncate_after(Some(&id(1, 7))).expect("truncates"));
}

#[test]
fn purge() {
    step(true, |log| log.writer().purge(&id(1, 3)).expect("purges"));
}

#[test]
fn commit() {
    // A note in both: what it says can be learnt again from a leader. But see `sync_on_commit`.
    step_of_notes(|log| log.writer().commit(&id(1, 9)).expect("commits"));
}

#[test]
fn save_user_data() {
    step_of_notes(|log| log.writer().save_user_data(&vec![1; 9].into()).expect("saves"));
}

/// As [`step`], where DiskFirst follows the flush policy, too: *Immediate* makes it durable soon, others later.
fn step_of_notes(note: impl Fn(&RaftLog<Plain>) -> Receipt<Plain>) {
    let lazy = Config { strategy: Strategy::DiskFirst, ..mem_first() };
    for config in [lazy, mem_first()] {
        let fresh = fresh(config);
        let before = TOLD(&fresh.log.state());
        assert!(!acknowledged(&fresh, &note), "not durable when it is acknowledged");
        let after = TOLD(&fresh.log.state());
        assert_ne!(after, before, "seen at once");
        assert_eq!(TOLD(&left(&fresh.disk, &fresh.config)[1].state()), before);
        let receipt = fresh.log.writer().save_user_data(&vec![1; 20].into()).expect("saves");
        assert!(receipt.level().expect("is on its way") < Level::Durable);
        receipt.wait_durable().expect("durable when it is waited for");
        let left = left(&fresh.disk, &fresh.config).map(|log| TOLD(&log.state()));
        assert_eq!(left, [TOLD(&fresh.log.state()); 2]);
    }
}

#[test]
fn sync_on_commit() {
    let fresh = fresh(Config { sync_on_commit: true, ..mem_first() });
    fresh.log.writer().append(vec![entry(1, 11, 100), entry(1, 12, 100)]).expect("appends").wait().expect("taken");
    drop(fresh.log.writer().commit(&id(1, 11)).expect("commits"));
    for log in left(&fresh.disk, &fresh.config) {
        assert_eq!(log.state().committed, Some(id(1, 11)));
        assert_eq!(log.state().last, Some(id(1, 12)), "with all before it");
    }
}

#[test]
fn read() {
    for (config, from_memory) in [(small(), false), (mem_first(), true)] {
        let fresh = fresh(config);
        let receipt = fresh.log.writer().append(vec![entry(1, 11, 100)]).expect("appends");
        assert_eq!(fresh.log.reader().entry(11).expect("readable at once"), entry(1, 11, 100));
        if from_memory {
            assert!(receipt.level().expect("is on its way") < Level::Durable, "readable, and not called durable");
        }
        receipt.wait_durable().expect("durable");
        let [_, cut] = left(&fresh.disk, &fresh.config);
        check(&cut, &[(1, 1..12)], 100);
        let cache = cut.stats().cache;
        assert_eq!((cache.misses == 0, cache.spilled_reads), (from_memory, 0), "{cache:?}");
    }
}

/// All steps of one log are one order, and a crash leaves a prefix of it: no reader after it sees a later step without an
/// earlier one. (Over a cluster: `examples/raft-kv`; over every crash: the campaign and the suite.)
#[test]
fn linearizability() {
    for config in [small(), mem_first()] {
        let fresh = fresh(config);
        let mut held = Vec::new();
        for round in 0..6 {
            let next = 11 + 2 * round;
            held.push(fresh.log.writer().append(vec![entry(1, next, 100), entry(1, next + 1, 100)]).expect("appends"));
            held.push(fresh.log.writer().commit(&id(1, next)).expect("commits"));
            for image in fresh.disk.crash_images(64).into_iter().chain([fresh.disk.kill()]) {
                let state = open(&image, &fresh.config).0.group(1).expect("a group").state();
                let (last, committed) = (state.last.expect("ten").index, state.committed.expect("five").index);
                let prefix = (last == 10 && committed == 5) || committed + 1 == last || committed + 3 == last;
                assert!(prefix || (last == 12 && committed == 5), "last {last}, committed {committed}");
            }
        }
        for receipt in held {
            receipt.wait_durable().expect("durable");
        }
        assert_eq!(TOLD(&left(&fresh.disk, &fresh.config)[1].state()).0, Some(22));
    }
}

/// DiskFirst: an acknowledgement that a power cut could take is never given, whatever the policy. MemFirst: what a cut takes
/// is what the policy left, and no more.
#[test]
fn durability() {
    for flush in [
        FlushPolicy::Immediate,
        FlushPolicy::Batch { threshold: 7, interval: Duration::from_millis(5) },
        FlushPolicy::Adaptive,
    ] {
        for strategy in [Strategy::DiskFirst, Strategy::MemFirst] {
            let fresh = fresh(Config { strategy, flush, ..small() });
            for index in 11..60 {
                fresh.log.writer().append(vec![entry(1, index, 100)]).expect("appends").wait().expect("acknowledged");
                // The flusher's turn, in a world without threads.
                fresh.logs.tick();
                let cut = TOLD(&left(&fresh.disk, &fresh.config)[1].state()).0.expect("ten");
                match (strategy, flush) {
                    (Strategy::DiskFirst, _) => assert_eq!(cut, index, "{flush:?}"),
                    (_, FlushPolicy::Batch { .. }) => assert!(index - cut < 7, "{index} acknowledged, {cut} left"),
                    _ => assert!(cut <= index),
                }
            }
        }
    }
}

/// A disk that refuses writes: DiskFirst says so with the next step; MemFirst goes on acknowledging until something has to be
/// durable, and then says so, too. Both go on reading.
#[test]
fn availability_on_a_failing_disk() {
    for config in [small(), mem_first()] {
        let fresh = fresh(config);
        for operation in [Operation::Write, Operation::WriteSync] {
            fresh.disk.fault(Fault::new(Effect::Error(errno::EIO)).on(operation).times(u64::MAX));
        }
        let appended = fresh.log.writer().append(vec![entry(1, 11, 100)]).and_then(Receipt::wait);
        assert_eq!(appended.is_ok(), fresh.config.strategy == Strategy::MemFirst, "{appended:?}");
        assert!(matches!(fresh.log.writer().save_vote(&vote(2, 2)), Err(Error::Wal(_))));
        check_range(&fresh.log, 1..11);
    }
}

fn check_range(log: &RaftLog<Plain>, indexes: std::ops::Range<u64>) {
    let wanted: Vec<_> = indexes.clone().map(|index| entry(1, index, 100)).collect();
    assert_eq!(log.reader().range(indexes, usize::MAX).expect("reads"), wanted);
}

/// More entries than memory is meant for: DiskFirst does not notice; MemFirst waits, fails or reads from the disk, as chosen.
#[test]
fn availability_at_the_memory_bound() {
    let fresh = fresh(Config { log_cache_capacity: 4 << 10, ..small() });
    fill(&fresh.log, 1, 11..200, 100);
    assert!(fresh.logs.stats().cache.bytes <= 4 << 10);
    check_range(&fresh.log, 1..200);
    let bounded = |memory_full| Config { memory_max_bytes: 8 << 10, memory_full, ..mem_first() };
    let fresh = self::fresh(bounded(MemoryFull::Fail));
    let mut next = 11;
    let error = loop {
        match fresh.log.writer().append(vec![entry(1, next, 100)]) {
            Ok(receipt) => receipt.wait().expect("acknowledged"),
            Err(error) => break error,
        }
        next += 1;
    };
    assert!(matches!(error, Error::MemoryFull { max: 8192, .. }), "{error}");
    fresh.log.writer().purge(&id(1, 8)).expect("purges").wait().expect("acknowledged");
    fill(&fresh.log, 1, next..next + 1, 100);
    // Spilling: what is durable may leave memory; what is not may not, and twice the bound is the end.
    let fresh = self::fresh(bounded(MemoryFull::Spill));
    fill(&fresh.log, 1, 11..200, 100);
    assert!(fresh.logs.stats().cache.bytes <= 8 << 10);
    check_range(&fresh.log, 1..200);
    assert!(fresh.logs.stats().cache.spilled_reads > 100);
    let mut next = 200;
    let error = loop {
        match fresh.log.writer().append(vec![entry(1, next, 100)]) {
            Ok(receipt) => receipt.wait().expect("acknowledged"),
            Err(error) => break error,
        }
        next += 1;
    };
    assert!(matches!(error, Error::MemoryFull { bytes, max: 16384 } if bytes <= 16384), "{error}");
    fresh.log.writer().sync().expect("syncs");
    fill(&fresh.log, 1, next..next + 20, 100);
}

/// A writer that waits for memory goes on as soon as something was purged.
#[test]
#[allow(clippy::disallowed_methods, reason = "a writer that waits needs another thread to go on")]
fn availability_by_waiting() {
    let config = Config { memory_max_bytes: 8 << 10, memory_full: MemoryFull::Wait, ..Config::new(FOLDER) };
    let config = Config { strategy: Strategy::MemFirst, ..config };
    let folder = std::env::temp_dir().join(format!("duramen-raft-wait-{}", std::process::id()));
    let (log, _) = RaftLog::<Plain>::open(Config { dir: folder.clone(), ..config }).expect("opens");
    let waited = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for index in 1..100 {
                log.writer().append(vec![entry(1, index, 100)]).expect("appends").wait().expect("acknowledged");
            }
            waited.store(true, Ordering::SeqCst);
        });
        let mut purged = 0;
        while !waited.load(Ordering::SeqCst) {
            let last = log.state().last.map_or(0, |id| id.index);
            if last > purged && log.stats().cache.bytes > 6 << 10 {
                purged = last;
                log.writer().purge(&id(1, purged)).expect("purges").wait_durable().expect("durable");
            }
            std::thread::yield_now();
        }
        assert!(purged > 0);
    });
    log.close().expect("closes");
    std::fs::remove_dir_all(folder).expect("removes");
}

/// DiskFirst opens without reading an entry, MemFirst with all of them in memory; both with the same log.
#[test]
fn recovery() {
    for (config, preloads) in [(small(), false), (mem_first(), true)] {
        let fresh = fresh(config);
        fill(&fresh.log, 1, 11..300, 1000);
        let disk = fresh.disk.reboot(Crash::LoseAll);
        let (logs, opened) = open(&disk, &fresh.config);
        assert!(opened.losses.is_empty());
        let items = logs.stats().cache.items;
        assert_eq!(items, if preloads { 299 } else { 0 });
        assert_eq!(logs.group(1).expect("a group").state().last, Some(id(1, 299)));
    }
}

/// Ready means: MemFirst reads nothing from the disk any more; DiskFirst has a miss, reads ahead from there, and the readers behind it find
/// what they want in memory.
#[test]
fn readiness() {
    for (config, preloads) in [(small(), false), (mem_first(), true)] {
        let fresh = fresh(config);
        fill(&fresh.log, 1, 11..300, 100);
        let disk = fresh.disk.reboot(Crash::LoseAll);
        let (logs, _) = open(&disk, &fresh.config);
        let reader = logs.group(1).expect("a group").reader();
        for index in 1..300 {
            assert_eq!(reader.entry(index).expect("is there").id, id(1, index));
        }
        let cache = logs.stats().cache;
        if preloads {
            assert_eq!((cache.misses, cache.prefetched), (0, 0));
        } else {
            assert!(cache.misses < 20 && cache.prefetched > 250, "{cache:?}");
        }
    }
}

/// Every test here is in the document, and every test in the document is here.
#[test]
fn the_document_names_these_tests() {
    let document = include_str!("../../../../docs/raft-strategies.md");
    let source = include_str!("strategies.rs");
    let here: Vec<&str> = source
        .split("#[test]\n")
        .skip(1)
        .filter_map(|after| after.split("fn ").nth(1)?.split('(').next())
        .filter(|name| *name != "the_document_names_these_tests")
        .collect();
    assert_eq!(here.len(), 15, "{here:?}");
    for name in &here {
        assert!(document.contains(&format!("`{name}`")), "{name} is not in the document");
    }
    for name in document.split("it::strategies::").skip(1).filter_map(|text| text.split('`').next()) {
        assert!(here.contains(&name), "{name} is not a test");
    }
}
