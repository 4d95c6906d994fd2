//! The fault table of `docs/durability.md`, the rows that ask for a typed answer of the living journal: each test is named
//! after its row. Crash rows are the campaign's.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use duramen_journal::disk::SyncMethod;
use duramen_journal::disk::sim::{Crash, Effect, Fault, Operation, Personality, SimDisk, Survivors, errno};
use duramen_journal::format::{
    COMMIT_HEADER_BYTES, COMMIT_TRAILER_BYTES, Codec, CommitHeader, CommitKind, CommitTrailer, DATA_OFFSET, PAGE_BYTES,
    RecordHeader, SegmentHeader, commit_digest,
};
use duramen_journal::{
    Append, Batch, Class, DamageKind, End, Error, Journal, OnDamage, Options, ReadOptions, Reader, Sequence, SyncPolicy,
};

use crate::simulated::{
    Clock, CrookedClock, FOLDER, check, contents, fill, open, payload, segment, small, threaded, try_open,
};

const INTERVAL: SyncPolicy = SyncPolicy::Interval(Duration::from_secs(1));

fn reader(disk: &SimDisk) -> Reader {
    Reader::open_with(FOLDER, &ReadOptions::default(), disk.world()).expect("opens to read")
}

fn append(journal: &Journal, class: Class, reserved: bool, bytes: usize) -> Result<Sequence, Error> {
    let mut batch = Batch::new();
    batch.push(1, 0, &payload(journal.appended() + 1, bytes));
    journal.append_batch(&batch, Append { class, reserved, ..Append::default() })?.wait()
}

fn failed_sync(code: i32, personality: Personality, survivors: Survivors) -> Fault {
    // The file in use was opened under the name of a spare.
    Fault::new(Effect::FailedSync { code, personality, survivors }).named("journal/")
}

/// Both header pages of a journal's only segment rotted, and opening took the file for a torn creation and removed it
/// with everything that had been acknowledged.
#[test]
fn row_03_both_header_pages_of_the_only_segment() {
    for records in [1, 20] {
        let disk = SimDisk::new(1);
        let (journal, _) = open(&disk, &small());
        fill(&journal, records, 100);
        drop(journal);
        disk.remove_durable(&segment(2)).expect("was made ahead");
        disk.write_durable(&segment(1), 0, &[0x5a; DATA_OFFSET as usize]).expect("overwrites");
        let before = contents(&disk);
        match try_open(&disk, &small()) {
            Err(Error::Damaged(report)) => assert_eq!(report.damage[0].what, DamageKind::Header, "{report}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(contents(&disk), before, "nothing was touched");
    }
}

/// The newest segment was removed before its predecessor had a footer: only the file made ahead of the next one tells.
#[test]
fn row_07_the_newest_segment_is_missing() {
    for footer in [true, false] {
        let disk = SimDisk::new(1);
        let (journal, _) = open(&disk, &small());
        fill(&journal, 6, 9000);
        assert_eq!(journal.segments().len(), 2);
        drop(journal);
        disk.remove_durable(&segment(2)).expect("was in use");
        if !footer {
            disk.write_durable(&segment(1), (64 << 10) - 4096, &[0; 4096]).expect("overwrites");
        }
        match try_open(&disk, &small()) {
            Err(Error::Damaged(report)) => {
                let missing: Vec<_> = report.damage.iter().map(|damage| (damage.what, damage.segment)).collect();
                assert_eq!(missing, [(DamageKind::Missing, 2)], "{report}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn row_11_a_failed_sync_poisons() {
    for method in [SyncMethod::DataSync, SyncMethod::WriteSync, SyncMethod::Direct] {
        for code in [errno::EIO, errno::ENOSPC, errno::EDQUOT] {
            for personality in [Personality::Once, Personality::ReadOnly, Personality::Forever] {
                failed_sync_poisons(method, code, personality);
            }
        }
    }
}

fn failed_sync_poisons(method: SyncMethod, code: i32, personality: Personality) {
    let disk = SimDisk::new(1);
    let options = Options { sync_method: Some(method), ..small() };
    let (journal, _) = open(&disk, &options);
    fill(&journal, 5, 100);
    journal.set_policy(INTERVAL);
    let written = journal.append(1, 0, &payload(6, 100)).expect("appends");
    journal.flush().expect("is only written");
    let queued = journal.append(1, 0, &payload(7, 100)).expect("appends");
    disk.fault(failed_sync(code, personality, Survivors::Nothing));
    disk.start_trace();
    let source = |error: &Error| match error {
        Error::Unknown { cause } | Error::Poisoned { cause } => match &**cause {
            Error::Io { action, source, .. } => (*action, source.raw_os_error()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert!(matches!(journal.sync(), Err(Error::Poisoned { .. })));
    for ticket in [written, queued] {
        let error = ticket.wait().expect_err("nobody knows of it");
        assert!(matches!(error, Error::Unknown { .. }));
        assert_eq!(source(&error), ("sync", Some(code)), "{error}");
    }
    for attempt in [journal.append(1, 0, b"x").map(drop), journal.flush().map(drop), journal.sync().map(drop)] {
        let error = attempt.expect_err("poisoned");
        assert!(matches!(error, Error::Poisoned { .. }), "{error}");
        assert_eq!(source(&error).1, Some(code));
    }
    assert!(matches!(journal.release(3), Err(Error::Poisoned { .. })));
    journal.tick();
    assert!(matches!(journal.close(), Err(Error::Poisoned { .. })));
    let syncs = disk.trace().into_iter().filter(|call| matches!(call, Operation::SyncData | Operation::WriteSync));
    assert_eq!(syncs.count(), 1, "the sync is never tried again");
    assert!(journal.stats().poisoned);
    assert_eq!(journal.durable(), 5, "nothing is called durable that is not");
    check(&journal, 1, 5.max(journal.written()), 100);
    drop(journal);
    disk.set_read_only(false);
    let (journal, report) = open(&disk, &options);
    assert!(report.next >= 6, "{report}");
    fill(&journal, 2, 100);
    check(&journal, 1, report.next + 1, 100);
}

/// The same with the flusher thread: whoever waits is woken, and the thread neither dies nor spins on the deadline that
/// the failed commit left behind.
#[test]
fn row_11_with_threads() {
    let disk = SimDisk::new(1);
    let options = Options { policy: SyncPolicy::Interval(Duration::from_millis(1)), idle_mark: None, ..small() };
    let (journal, _) = Journal::open_with(FOLDER, &options, threaded(&disk)).expect("opens");
    assert_eq!(journal.append(1, 0, b"good").expect("appends").wait().expect("durable"), 1);
    disk.fault(failed_sync(errno::EIO, Personality::Forever, Survivors::Nothing));
    let ticket = journal.append(1, 0, b"unknown").expect("appends");
    assert!(matches!(ticket.wait(), Err(Error::Unknown { .. })));
    assert!(matches!(journal.append(1, 0, b"x"), Err(Error::Poisoned { .. })));
    let mut follow = journal.follow(2);
    let (environment, calls) = (threaded(&disk).environment, disk.operations());
    environment.wait(&AtomicU32::new(0), 0, Some(Duration::from_millis(20)));
    assert_eq!(disk.operations(), calls, "nothing is tried again");
    assert_eq!(journal.read(1).expect("reads").payload, &b"good"[..]);
    assert!(journal.close().is_err());
    assert!(follow.next(None).expect("ends").is_none(), "whoever follows is told");
}

/// The kernel reports a failed writeback once, marks the pages clean, and shows them from its cache: whoever scans that
/// cache serves what no power cut leaves (PostgreSQL's "fsyncgate").
#[test]
fn row_12_opening_distrusts_the_cache() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &small());
    fill(&journal, 3, 100);
    disk.fault(failed_sync(errno::EIO, Personality::Once, Survivors::Nothing));
    assert!(matches!(append(&journal, Class::Now, false, 100), Err(Error::Unknown { .. })));
    drop(journal);
    let (journal, report) = open(&disk, &small());
    assert_eq!(report.next, 4, "the fourth is only in the cache: {report}");
    check(&journal, 1, 3, 100);
    let after = disk.reboot(Crash::LoseAll);
    check(&open(&after, &small()).0, 1, 3, 100);
}

#[test]
fn row_13_a_failed_write_poisons() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &small());
    fill(&journal, 3, 100);
    disk.fault(Fault::new(Effect::Error(errno::EIO)).on(Operation::Write).named("journal/"));
    match append(&journal, Class::Now, false, 100) {
        Err(Error::Unknown { cause }) => assert!(matches!(*cause, Error::Io { action: "write", .. })),
        other => panic!("{other:?}"),
    }
    assert!(matches!(journal.append(1, 0, b"x"), Err(Error::Poisoned { .. })));
    check(&journal, 1, 3, 100);
    drop(journal);
    let (journal, report) = open(&disk, &small());
    assert_eq!((report.next, report.damage.len()), (4, 0), "{report}");
    fill(&journal, 1, 100);
    check(&journal, 1, 4, 100);
}

#[test]
fn row_14_a_full_disk() {
    for segment_bytes in [64 << 10, 128 << 10, 256 << 10, 1 << 20] {
        let disk = SimDisk::new(1);
        let options = Options { segment_bytes, ..small() };
        let (journal, _) = open(&disk, &options);
        disk.set_capacity(Some(disk.used()));
        let error = loop {
            if let Err(error) = append(&journal, Class::Now, false, 3000) {
                break error;
            }
        };
        assert!(error.is_no_space(), "{error}");
        let last = journal.written();
        assert_eq!((journal.appended(), journal.durable()), (last, last), "sequences are given again");
        assert!(last > u64::from(segment_bytes) / 3000, "the segment that was made ahead was used");
        check(&journal, 1, last, 3000);
        assert!(matches!(journal.read(last + 1), Err(Error::NotYet { .. })));
        assert!(journal.append(1, 0, b"x").is_err_and(|error| error.is_no_space()), "at once, while it is full");
        assert!(journal.stats().no_space);

        // What is reserved goes on, and what is not does not use up its room.
        for round in 1..=5 {
            assert_eq!(append(&journal, Class::Now, true, 3000).expect("has room kept for it"), last + round);
            assert!(append(&journal, Class::Now, false, 3000).is_err_and(|error| error.is_no_space()));
        }
        check(&journal, 1, last + 5, 3000);

        // Opening works, and nobody is acknowledged wrongly after it.
        drop(journal);
        let (journal, report) = open(&disk, &options);
        assert_eq!((report.end, report.next), (End::Closed, last + 6), "{report}");
        // Which file was held back must not be forgotten: in small segments it was as long as any.
        assert!(append(&journal, Class::Now, false, 3000).is_err_and(|error| error.is_no_space()));
        let sequence = append(&journal, Class::Now, true, 3000).expect("has room kept for it");
        assert_eq!(sequence, last + 6);

        // Releasing makes room, and appending resumes.
        journal.release(last).expect("releases on a full disk");
        assert_eq!(append(&journal, Class::Now, false, 3000).expect("resumes"), last + 7);
        fill(&journal, 3, 3000);
        check(&journal, last, last + 10, 3000);
        assert!(!journal.stats().no_space);
        drop(journal);
        check(&open(&disk.reboot(Crash::LoseAll), &options).0, last, last + 10, 3000);
    }
}

#[test]
fn row_14_appends_resume_when_space_returns() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &small());
    disk.set_capacity(Some(disk.used()));
    while append(&journal, Class::Now, false, 3000).is_ok() {}
    let last = journal.written();
    disk.set_capacity(None);
    assert_eq!(append(&journal, Class::Now, false, 3000).expect("resumes by itself"), last + 1);
    check(&journal, 1, last + 1, 3000);
}

/// Several batches wait when the disk turns out to be full: all that did not fit fail, in order, and none of them is
/// half there.
#[test]
fn row_14_a_queue_that_does_not_fit() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &Options { policy: INTERVAL, commit_bytes_max: 8 << 10, ..small() });
    disk.set_capacity(Some(disk.used()));
    let mut tickets = Vec::new();
    let mut sequences = Vec::new();
    for round in 0..60u64 {
        let mut batch = Batch::new();
        (0..3).for_each(|place| batch.push(1, 0, &payload(round * 3 + place + 1, 1000)));
        match journal.append_batch(&batch, Append::default()) {
            Ok(ticket) => {
                sequences.push((ticket.first(), ticket.last()));
                tickets.push(ticket);
            }
            Err(error) => assert!(error.is_no_space(), "{error}"),
        }
    }
    let _ = journal.sync();
    let good: Vec<bool> = tickets.into_iter().map(|ticket| ticket.wait().is_ok()).collect();
    let kept = good.iter().take_while(|&&good| good).count();
    assert!(kept > 0 && good[kept..].iter().all(|&good| !good), "a prefix is kept: {good:?}");
    let last = sequences[kept - 1].1;
    assert_eq!((journal.written(), journal.durable(), journal.appended()), (last, last, last));
    check(&journal, 1, last, 1000);
    // Who would follow on what was refused is told so, and nothing of it is stored.
    let current = journal.epoch();
    assert!(current > 0, "a refusal begins an epoch");
    let mut batch = Batch::new();
    batch.push(1, 0, b"follows on what was refused");
    let stale = journal.append_batch(&batch, Append { epoch: Some(0), ..Append::default() });
    assert!(matches!(stale, Err(Error::StaleEpoch { current: told, given: 0 }) if told == current), "{stale:?}");
    disk.set_capacity(None);
    let again = journal.append_batch(&batch, Append { epoch: Some(current), ..Append::default() });
    assert_eq!(again.and_then(|ticket| ticket.wait()).expect("follows on what is there"), last + 1);
}

/// A caller sends A and B, and A does not fit. Space comes back before it has looked at A's ticket: C, which builds on A,
/// was stored without it.
#[test]
fn row_14_an_append_that_builds_on_a_refused_one() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &Options { policy: INTERVAL, ..small() });
    disk.set_capacity(Some(disk.used()));
    let bound = |epoch| Append { epoch: Some(epoch), ..Append::default() };
    let send = |records: usize, epoch| {
        let mut batch = Batch::new();
        (0..records as u64).for_each(|place| batch.push(1, 0, &payload(journal.appended() + 1 + place, 3000)));
        journal.append_batch(&batch, bound(epoch))
    };
    let epoch = journal.epoch();
    let sent: Vec<_> = std::iter::from_fn(|| send(3, epoch).ok()).take(100).collect();
    let _ = journal.sync();
    disk.set_capacity(None);
    match send(1, epoch) {
        Err(Error::StaleEpoch { given, current }) => assert_eq!((given, current), (epoch, journal.epoch())),
        other => panic!("{other:?}"),
    }
    assert!(sent.len() < 100, "the disk was not full");
    let good = sent.into_iter().filter_map(|ticket| ticket.wait().ok()).last().expect("some fitted");
    assert_eq!(journal.written(), good, "nothing was stored behind what was refused");
    assert_eq!(send(1, journal.epoch()).expect("knows of the refusal").wait().expect("is stored"), good + 1);
    check(&journal, 1, good + 1, 3000);
}

#[test]
fn row_15_short_writes_and_interruptions() {
    let methods = [SyncMethod::DataSync, SyncMethod::WriteSync, SyncMethod::Direct];
    for method in methods {
        for (effect, times) in [
            (Effect::Short(100), 7),
            (Effect::Short(1), 3),
            (Effect::Short(4096), 3),
            (Effect::Error(errno::EINTR), 3),
            (Effect::Error(errno::EAGAIN), 3),
        ] {
            if method != SyncMethod::DataSync && matches!(effect, Effect::Short(bytes) if bytes < 4096) {
                continue;
            }
            let operation = if method == SyncMethod::DataSync { Operation::Write } else { Operation::WriteSync };
            let disk = SimDisk::new(1);
            let options = Options { sync_method: Some(method), ..small() };
            let (journal, _) = open(&disk, &options);
            for _ in 0..5 {
                disk.fault(Fault::new(effect).on(operation).named("journal/").times(times));
                fill(&journal, 1, 9000);
            }
            disk.clear_faults();
            disk.fault(Fault::new(Effect::Short(11)).on(Operation::Read).times(50));
            check(&journal, 1, 5, 9000);
            check(&open(&disk.reboot(Crash::LoseAll), &options).0, 1, 5, 9000);
        }
    }
}

#[test]
fn row_15_a_write_of_nothing_is_an_error() {
    for method in [SyncMethod::DataSync, SyncMethod::WriteSync] {
        let disk = SimDisk::new(1);
        let (journal, _) = open(&disk, &Options { sync_method: Some(method), ..small() });
        fill(&journal, 2, 100);
        disk.fault(Fault::new(Effect::Zero).named("journal/"));
        assert!(matches!(append(&journal, Class::Now, false, 100), Err(Error::Unknown { .. })));
        drop(journal);
        check(&open(&disk, &small()).0, 1, 2, 100);
    }
}

#[test]
fn row_16_a_bad_sector_while_the_journal_is_open() {
    for codec in [Codec::None, Codec::Lz4] {
        let disk = SimDisk::new(1);
        let (journal, _) = open(&disk, &Options { codec, read_cache_bytes: 0, ..small() });
        fill(&journal, 12, 6000);
        drop(journal);
        let (journal, _) = open(&disk, &Options { codec, read_cache_bytes: 0, ..small() });
        // Without compression a record takes 6,084 bytes; the third lies within these.
        let bad = u64::from(DATA_OFFSET) + 14_000..u64::from(DATA_OFFSET) + 14_512;
        disk.fail_reads(&segment(1), bad.clone());
        if codec == Codec::Lz4 {
            // It must be an error or a record, whatever lies there.
            assert_eq!(journal.scan(..).count(), 12);
            continue;
        }
        match journal.read(3) {
            Err(Error::Io { action, path, offset, source }) => {
                assert_eq!((action, source.raw_os_error()), ("read", Some(errno::EIO)));
                assert!(offset.is_some_and(|offset| offset < bad.end && offset > bad.start - 6084), "{offset:?}");
                assert!(path.ends_with("0000000000000001.seg"));
            }
            Err(Error::DamagedRecord(damage)) => {
                assert_eq!((damage.what, damage.first), (DamageKind::Unreadable, Some(3)));
                assert!(damage.offset < bad.end && damage.offset + damage.bytes > bad.start, "{damage}");
            }
            other => panic!("{other:?}"),
        }
        let records: Vec<_> = journal.scan(..).collect();
        assert_eq!(records.len(), 12);
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record.is_ok(), index != 2, "record {}", index + 1);
        }
    }
}

#[test]
fn row_16_a_bad_sector_at_opening() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &small());
    fill(&journal, 5, 6000);
    drop(journal);
    let bad = u64::from(DATA_OFFSET) + 14_000;
    disk.fail_reads(&segment(1), bad..bad + 512);
    match try_open(&disk, &small()) {
        Err(Error::Unreadable(report)) => {
            let damage = &report.damage[0];
            assert_eq!((report.damage.len(), damage.what, damage.segment), (1, DamageKind::Unreadable, 1), "{report}");
            assert!(damage.offset <= bad && damage.offset + damage.bytes > bad && damage.bytes <= 4096, "{report}");
            assert_eq!((damage.first, report.next), (Some(3), 3), "{report}");
        }
        other => panic!("{other:?}"),
    }
    let reader = reader(&disk);
    assert_eq!(reader.read(1).expect("lies before it").payload, payload(1, 6000));
    assert_eq!(reader.report().end, End::Unreadable);
}

/// Killed, and then the power fails too: what a kernel's cache showed at the opening between must not be lost again.
#[test]
fn row_22_a_recovered_tail_is_synced_before_it_is_served() {
    let disk = SimDisk::new(1);
    let options = Options { policy: SyncPolicy::Never, ..small() };
    let (journal, _) = open(&disk, &options);
    for number in 1..=4 {
        drop(journal.append(1, 0, &payload(number, 500)).expect("appends"));
    }
    journal.flush().expect("writes");
    let killed = disk.kill();
    drop(journal);
    let (journal, report) = open(&killed, &options);
    assert_eq!((report.next, journal.durable()), (5, 4), "what is served is durable: {report}");
    for crash in [Crash::LoseAll, Crash::KeepAll] {
        check(&open(&killed.reboot(crash), &options).0, 1, 4, 500);
    }
    check(&journal, 1, 4, 500);
}

#[test]
fn row_23_a_second_writer_is_refused_at_once() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &small());
    fill(&journal, 2, 100);
    let calls = disk.operations();
    match try_open(&disk, &small()) {
        Err(Error::Locked { path }) => assert!(path.ends_with("LOCK")),
        other => panic!("{other:?}"),
    }
    assert!(disk.operations() - calls < 10, "no waiting, no scanning");
    // Readers take no lock. Beside a living writer they serve what a later commit witnesses: the last one is not yet.
    assert_eq!(reader(&disk).read(1).expect("readers take no lock").payload, payload(1, 100));
    // The file alone locks nothing: its holder has died.
    check(&open(&disk.kill(), &small()).0, 1, 2, 100);
    drop(journal);
    check(&open(&disk, &small()).0, 1, 2, 100);
}

#[test]
fn row_24_a_file_system_turned_read_only() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &small());
    fill(&journal, 3, 100);
    disk.set_read_only(true);
    let error = append(&journal, Class::Now, false, 100).expect_err("cannot be written");
    match &error {
        Error::Unknown { cause } => assert!(matches!(**cause, Error::ReadOnly { .. }), "{error}"),
        other => panic!("{other:?}"),
    }
    check(&journal, 1, 3, 100);
    drop(journal);
    match try_open(&disk, &small()) {
        Err(Error::ReadOnly { source, .. }) => assert_eq!(source.raw_os_error(), Some(errno::EROFS)),
        other => panic!("{other:?}"),
    }
    let reader = reader(&disk);
    assert_eq!((reader.first(), reader.last()), (1, 3));
    assert_eq!(reader.scan(..).map(|record| record.expect("reads").sequence).collect::<Vec<_>>(), [1, 2, 3]);
    disk.set_read_only(false);
    fill(&open(&disk, &small()).0, 1, 100);
}

#[test]
fn row_24_permissions_are_missing() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &small());
    fill(&journal, 3, 100);
    drop(journal);
    disk.fault(Fault::new(Effect::Error(errno::EACCES)).on(Operation::Lock));
    assert!(matches!(try_open(&disk, &small()), Err(Error::ReadOnly { .. })));
    disk.fault(Fault::new(Effect::Error(errno::EACCES)).on(Operation::Open).named(".seg"));
    assert!(matches!(try_open(&disk, &small()), Err(Error::ReadOnly { .. })));
    check(&open(&disk, &small()).0, 1, 3, 100);
}

/// The bytes on the disk are the same, however the clock goes.
#[test]
fn row_25_no_clock_matters() {
    let run = |clock: Option<Clock>| {
        let disk = SimDisk::new(1);
        let world = clock.map_or_else(|| disk.world(), |clock| CrookedClock::world(&disk, clock));
        let (journal, _) = Journal::open_with(FOLDER, &Options { idle_mark: None, ..small() }, world).expect("opens");
        fill(&journal, 30, 4000);
        journal.release(10).expect("releases");
        journal.tick();
        fill(&journal, 30, 4000);
        journal.close().expect("closes");
        check(&journal, 10, 60, 4000);
        contents(&disk)
    };
    let straight = run(None);
    for clock in [Clock::Stopped, Clock::Leaping, Clock::Swinging] {
        assert!(run(Some(clock)) == straight, "{clock:?}");
    }
}

/// Deadlines and marks depend on the clock, records do not.
#[test]
fn row_25_intervals_under_a_crooked_clock() {
    for clock in [Clock::Stopped, Clock::Leaping, Clock::Swinging] {
        let disk = SimDisk::new(1);
        let world = CrookedClock::world(&disk, clock);
        let (journal, _) = Journal::open_with(FOLDER, &Options { policy: INTERVAL, ..small() }, world).expect("opens");
        for number in 1..=50 {
            drop(journal.append(1, 0, &payload(number, 2000)).expect("appends"));
            journal.tick();
        }
        assert_eq!(journal.sync().expect("syncs"), 50);
        check(&open(&disk.reboot(Crash::LoseAll), &small()).0, 1, 50, 2000);
    }
}

/// Writes a commit with this body over the end of segment 1, with right checksums; `change` makes it lie.
fn forge(disk: &SimDisk, first_sequence: u64, change: impl FnOnce(&mut CommitHeader, &mut Vec<u8>)) {
    let bytes = disk.read_durable(&segment(1)).expect("is there");
    let segment_header = SegmentHeader::decode(&bytes[..PAGE_BYTES]).expect("is good");
    let binding = segment_header.binding();
    let mut offset = DATA_OFFSET;
    let mut previous_digest = binding.first_digest(&segment_header);
    while let Some(header) = CommitHeader::decode(&bytes[offset as usize..], &binding, offset) {
        offset += header.total_bytes() as u32;
        previous_digest = CommitTrailer::decode(&bytes[offset as usize - COMMIT_TRAILER_BYTES..]).expect("fits").digest;
    }
    let mut body = Vec::new();
    let header = RecordHeader { payload_bytes: 4, payload_crc: 0, log: 1, kind: 0, more: false };
    body.extend_from_slice(&header.encode_open());
    body.extend_from_slice(b"body");
    RecordHeader::seal(&mut body, &binding, offset + COMMIT_HEADER_BYTES as u32, first_sequence);
    let mut header = CommitHeader {
        first_sequence,
        previous_digest,
        count: 1,
        stored_bytes: body.len() as u32,
        body_bytes: body.len() as u32,
        padding: 0,
        kind: CommitKind::Data,
        codec: Codec::None,
    };
    change(&mut header, &mut body);
    let mut commit = vec![0; COMMIT_HEADER_BYTES];
    header.encode(&mut commit, &binding, offset);
    commit.extend_from_slice(&body);
    let trailer = commit.len();
    commit.resize(trailer + COMMIT_TRAILER_BYTES, 0);
    CommitTrailer { durable_upto: first_sequence - 1, durable_end: DATA_OFFSET, digest: 0 }
        .encode(&mut commit[trailer..]);
    let covered = commit.len() - 8;
    let digest = commit_digest(&commit[..covered]);
    commit[covered..].copy_from_slice(&digest.to_le_bytes());
    disk.write_durable(&segment(1), u64::from(offset), &commit).expect("overwrites");
}

/// Lengths that are checked and lie all the same: nothing is allocated by them, nothing panics.
#[test]
fn row_26_hostile_lengths() {
    type Change = fn(&mut CommitHeader, &mut Vec<u8>);
    let changes: [Change; 9] = [
        |header, _| header.stored_bytes = u32::MAX,
        |header, _| header.stored_bytes = u32::MAX - 64,
        |header, _| (header.stored_bytes, header.padding) = (60_000, u16::MAX),
        |header, _| header.count = u32::MAX,
        |header, _| header.count = 2,
        |_, body| body[4..8].copy_from_slice(&u32::MAX.to_le_bytes()),
        |header, _| (header.codec, header.body_bytes) = (Codec::Lz4, u32::MAX),
        |header, _| header.first_sequence = u64::MAX,
        |header, _| (header.kind, header.count) = (CommitKind::Release, 0),
    ];
    for (case, change) in changes.into_iter().enumerate() {
        let disk = SimDisk::new(1);
        let (journal, _) = open(&disk, &small());
        fill(&journal, 3, 100);
        drop(journal);
        forge(&disk, 4, change);
        let reader = reader(&disk);
        assert_eq!((reader.last(), reader.scan(..).count()), (3, 3), "case {case}");
        let on_damage = OnDamage::Refuse;
        let (journal, report) = open(&disk, &Options { on_damage, ..small() });
        assert_eq!(report.cut.is_some(), case != 8, "case {case}: {report}");
        check(&journal, 1, 3, 100);
    }
}

/// What another version wrote is not even looked at closer.
#[test]
fn row_28_a_newer_format() {
    let newer = |bytes: &mut [u8], place: usize| {
        bytes[place] = if place == 8 { 2 } else { 0x80 };
        let body = bytes.len() - 4;
        let check = crc_fast::crc32_iscsi(&bytes[..body]);
        bytes[body..].copy_from_slice(&check.to_le_bytes());
    };
    // The version, and an unknown feature in either mask that a writer must heed.
    for place in [8, 12, 16] {
        for identity in [true, false] {
            let disk = SimDisk::new(1);
            let (journal, _) = open(&disk, &small());
            fill(&journal, 3, 100);
            drop(journal);
            let (path, length) = if identity { (format!("{FOLDER}/IDENTITY"), 64) } else { (segment(1), PAGE_BYTES) };
            let mut bytes = disk.read_durable(&path).expect("is there")[..length].to_vec();
            newer(&mut bytes, place);
            disk.write_durable(&path, 0, &bytes).expect("overwrites");
            let before = contents(&disk);
            match try_open(&disk, &small()) {
                Err(Error::NewerFormat { found, supported, .. }) => {
                    assert_eq!((found, supported), (if place == 8 { 2 } else { 1 }, 1));
                }
                other => panic!("{other:?}"),
            }
            let read = Reader::open_with(FOLDER, &ReadOptions::default(), disk.world());
            assert!(matches!(read, Err(Error::NewerFormat { .. })));
            assert!(contents(&disk) == before, "nothing was touched");
            let set_aside = Options { on_damage: OnDamage::SetAside, ..small() };
            assert!(matches!(try_open(&disk, &set_aside), Err(Error::NewerFormat { .. })), "newer is not damaged");
        }
    }
}

/// Counts wakes, and panics at each if told to.
struct Counting {
    wakes: AtomicU32,
    panics: bool,
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "on purpose");
    }
}

#[test]
fn row_29_panicking_callbacks_and_wakers() {
    for threads in [false, true] {
        let disk = SimDisk::new(1);
        let world = if threads { threaded(&disk) } else { disk.world() };
        let (journal, _) = Journal::open_with(FOLDER, &small(), world).expect("opens");
        let told = Arc::new(Mutex::new(Vec::new()));
        for round in 0..20u64 {
            let told = told.clone();
            journal.append(1, 0, b"x").expect("appends").on_durable(move |result| {
                told.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(result.expect("durable"));
                assert_ne!(round % 3, 0, "on purpose");
            });
            let waker = Arc::new(Counting { wakes: AtomicU32::new(0), panics: true });
            let mut ticket = journal.append(1, 0, b"x").expect("appends");
            let _ = Pin::new(&mut ticket).poll(&mut Context::from_waker(&Waker::from(waker)));
            drop(ticket);
            assert_eq!(journal.append(1, 0, b"x").expect("appends").wait().expect("durable"), 3 * round + 3);
        }
        journal.close().expect("closes");
        let mut told = told.lock().expect("nobody holds it").clone();
        told.sort_unstable();
        assert_eq!(told, (0..20).map(|round| 3 * round + 1).collect::<Vec<_>>(), "each once");
        assert_eq!(journal.durable(), 60);
    }
}

#[test]
fn row_29_dropped_futures() {
    for threads in [false, true] {
        let disk = SimDisk::new(1);
        let world = if threads { threaded(&disk) } else { disk.world() };
        let (journal, _) = Journal::open_with(FOLDER, &small(), world).expect("opens");
        for round in 0..50u64 {
            let waker = Arc::new(Counting { wakes: AtomicU32::new(0), panics: false });
            let mut polled = journal.append(1, 0, &payload(3 * round + 1, 50)).expect("appends");
            let _ = Pin::new(&mut polled).poll(&mut Context::from_waker(&Waker::from(waker.clone())));
            let unasked = journal.append(1, 0, &payload(3 * round + 2, 50)).expect("appends");
            drop(polled);
            drop(unasked);
            let last = journal.append(1, 0, &payload(3 * round + 3, 50)).expect("appends");
            assert_eq!(last.wait().expect("durable"), 3 * round + 3);
            assert!(waker.wakes.load(Ordering::SeqCst) <= 1, "at most once");
        }
        assert_eq!(journal.durable(), 150);
        check(&journal, 1, 150, 50);
    }
}

/// The journal ends while tickets are held, futures wait and callbacks are due: each is told, once.
#[test]
fn row_29_the_writer_is_dropped() {
    for threads in [false, true] {
        for policy in [SyncPolicy::Always, SyncPolicy::Interval(Duration::from_secs(3600))] {
            let disk = SimDisk::new(1);
            let world = if threads { threaded(&disk) } else { disk.world() };
            let (journal, _) = Journal::open_with(FOLDER, &Options { policy, ..small() }, world).expect("opens");
            let held = journal.append(1, 0, b"held").expect("appends");
            let waker = Arc::new(Counting { wakes: AtomicU32::new(0), panics: false });
            let context_waker = Waker::from(waker.clone());
            let mut polled = journal.append(1, 0, b"polled").expect("appends");
            let pending = Pin::new(&mut polled).poll(&mut Context::from_waker(&context_waker)).is_pending();
            let calls = Arc::new(AtomicU32::new(0));
            let counted = calls.clone();
            journal.append(1, 0, b"called").expect("appends").on_durable(move |result| {
                assert_eq!(result.expect("closing makes durable"), 3);
                counted.fetch_add(1, Ordering::SeqCst);
            });
            drop(journal);
            assert_eq!(calls.load(Ordering::SeqCst), 1);
            assert_eq!(held.wait().expect("closing makes durable"), 1);
            assert!(waker.wakes.load(Ordering::SeqCst) == 1 || !pending);
            match Pin::new(&mut polled).poll(&mut Context::from_waker(&context_waker)) {
                Poll::Ready(result) => assert_eq!(result.expect("closing makes durable"), 2),
                Poll::Pending => panic!("never told"),
            }
        }
    }
}

/// The same when the last sync fails: each is told that nobody knows, once, and nobody that it is durable.
#[test]
fn row_29_the_writer_is_dropped_and_fails() {
    for threads in [false, true] {
        let disk = SimDisk::new(1);
        let world = if threads { threaded(&disk) } else { disk.world() };
        let policy = SyncPolicy::Interval(Duration::from_secs(3600));
        let (journal, _) = Journal::open_with(FOLDER, &Options { policy, ..small() }, world).expect("opens");
        disk.fault(failed_sync(errno::EIO, Personality::Forever, Survivors::Some));
        let held = journal.append(1, 0, b"held").expect("appends");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let counted = calls.clone();
        if threads {
            journal.append(1, 0, b"called").expect("appends").on_durable(move |result| {
                counted.lock().expect("nobody panics").push(matches!(result, Err(Error::Unknown { .. })));
            });
        }
        drop(journal);
        assert_eq!(*calls.lock().expect("nobody panics"), vec![true; usize::from(threads)]);
        assert!(matches!(held.wait(), Err(Error::Unknown { .. })));
    }
}

/// Without threads, waiting for one record syncs everything, and a record that was queued behind it did not fit: the one
/// that was waited for was said to be refused, though it was stored (found by the Raft log's campaign).
#[test]
fn row_14_a_refusal_is_told_to_its_own_ticket_only() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &Options { policy: INTERVAL, ..small() });
    disk.set_capacity(Some(disk.used()));
    let mut round = 0;
    loop {
        round += 1;
        let waited = journal.append(1, 0, &payload(round, 3000)).expect("queues");
        if waited.wait_written().is_err() {
            break;
        }
        let behind = journal.append(1, 0, &payload(round + 1, 20_000)).expect("queues");
        let (first, last) = (waited.first(), behind.last());
        let result = waited.wait();
        assert_eq!(result.expect("was written before"), first);
        if behind.level().is_err() {
            assert_eq!((journal.durable(), journal.appended()), (first, first));
            return;
        }
        assert_eq!(behind.wait().expect("fits"), last);
        round += 1;
    }
    panic!("no record was refused behind one that was written");
}

/// The file for the next segment was asked for again while it was being made, because the disk had been full. It was put in
/// use, and then made a second time: under the same name, over acknowledged records (found by the Raft log's threads).
#[test]
#[allow(clippy::disallowed_methods, reason = "the test is about threads")]
fn row_14_many_threads_on_a_disk_that_fills_up_and_empties() {
    for seed in 1..9 {
        let disk = SimDisk::new(seed);
        let (journal, _) = Journal::open_with(FOLDER, &small(), threaded(&disk)).expect("opens");
        let stop = AtomicU32::new(0);
        let refused = AtomicU32::new(0);
        let durable = std::thread::scope(|scope| {
            let appender = || {
                let mut durable = 0;
                while stop.load(Ordering::Relaxed) == 0 {
                    match append(&journal, Class::Now, false, 1_500) {
                        Ok(sequence) => durable = durable.max(sequence),
                        Err(error) => {
                            assert!(error.is_no_space(), "{error}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                durable
            };
            let appenders: Vec<_> = (0..3).map(|_| scope.spawn(appender)).collect();
            let running = || !appenders.iter().any(|thread| thread.is_finished());
            for _ in 0..6 {
                disk.set_capacity(Some(disk.used()));
                let before = refused.load(Ordering::Relaxed);
                while refused.load(Ordering::Relaxed) < before + 30 && running() {
                    std::thread::yield_now();
                }
                disk.set_capacity(None);
                let before = journal.written();
                while journal.written() < before + 60 && running() {
                    std::thread::yield_now();
                }
            }
            stop.store(1, Ordering::Relaxed);
            appenders.into_iter().filter_map(|thread| thread.join().ok()).max().unwrap_or(0)
        });
        drop(journal);
        let (journal, report) = open(&disk.reboot(Crash::LoseAll), &small());
        assert!(report.next > durable && durable > 360, "{durable} was acknowledged: {report}");
        assert!(journal.scan(..).all(|record| record.is_ok()));
    }
}
