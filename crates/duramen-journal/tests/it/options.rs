//! Every option has a range, and what lies outside of it is refused by name before anything is touched; what lies inside
//! works at both ends.

use std::time::Duration;

use duramen_journal::disk::sim::SimDisk;
use duramen_journal::format::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use duramen_journal::{
    Append, Batch, Class, Codec, End, Error, FreshPages, Journal, Level, Options, SyncPolicy, TornTail, WhenFull,
};

use crate::simulated::{FOLDER, check, contents, fill, open, payload, segment, small, try_open};

#[test]
fn options_out_of_range_are_refused_by_name() {
    let cases: [(&str, Options); 8] = [
        ("segment_bytes", Options { segment_bytes: SEGMENT_BYTES_MIN - 1, ..small() }),
        ("segment_bytes", Options { segment_bytes: SEGMENT_BYTES_MAX + 1, ..small() }),
        ("segment_bytes", Options { segment_bytes: 0, ..small() }),
        ("segment_records_max", Options { segment_records_max: 0, ..small() }),
        ("spares_max", Options { spares_max: 17, ..small() }),
        ("read_buffer_bytes", Options { read_buffer_bytes: 4095, ..small() }),
        ("read_buffer_bytes", Options { read_buffer_bytes: (16 << 20) + 1, ..small() }),
        ("summary_bytes_max", Options { summary_bytes_max: (8 << 10) + 1, ..small() }),
    ];
    for (name, options) in cases {
        let disk = SimDisk::new(1);
        match try_open(&disk, &options) {
            Err(Error::InvalidOption { option, .. }) => assert_eq!(option, name),
            other => panic!("{name}: {other:?}"),
        }
        assert!(disk.list_files().is_empty(), "nothing was created");
    }
}

#[test]
fn options_at_the_ends_of_their_ranges_work() {
    let cases = [
        Options { segment_bytes: SEGMENT_BYTES_MIN, ..small() },
        // Not whole pages: rounded down.
        Options { segment_bytes: SEGMENT_BYTES_MIN + 4095, ..small() },
        Options { segment_records_max: 1, ..small() },
        Options { spares_max: 16, ..small() },
        Options { spares_max: 0, ..small() },
        Options { read_buffer_bytes: 4096, ..small() },
        Options { read_buffer_bytes: 16 << 20, ..small() },
        Options { commit_bytes_max: 0, ..small() },
        Options { commit_bytes_max: u32::MAX, ..small() },
        Options { queue_bytes_max: 0, ..small() },
        Options { queue_bytes_max: usize::MAX, ..small() },
        Options { tail_cache_bytes: usize::MAX, read_cache_bytes: usize::MAX, ..small() },
        Options { read_cache_bytes: 0, ..small() },
        Options { idle_mark: Some(Duration::ZERO), ..small() },
        Options { codec: Codec::Zstd(i8::MAX), ..small() },
        Options { codec: Codec::Zstd(i8::MIN), ..small() },
        Options { policy: SyncPolicy::Interval(Duration::ZERO), ..small() },
        Options { policy: SyncPolicy::Batch { records: 0, interval: Duration::MAX / 4 }, ..small() },
        Options { segment_bytes: 16 << 20, sync_method: small().sync_method, ..Options::edge() },
    ];
    for (case, options) in cases.into_iter().enumerate() {
        let disk = SimDisk::new(1);
        let (journal, _) = open(&disk, &options);
        fill(&journal, 12, 7000);
        journal.tick();
        check(&journal, 1, 12, 7000);
        drop(journal);
        let (journal, report) = open(&disk, &options);
        assert_eq!((report.end, report.next), (End::Closed, 13), "case {case}");
        check(&journal, 1, 12, 7000);
    }
}

#[test]
fn a_folder_of_another_kind_is_refused() {
    let disk = SimDisk::new(1);
    fill(&open(&disk, &small()).0, 2, 100);
    let other = Options { kind: *b"raft-log", ..small() };
    match try_open(&disk, &other) {
        Err(Error::NotAJournal { reason, .. }) => assert!(reason.contains("journal") && reason.contains("raft-log")),
        other => panic!("{other:?}"),
    }
    check(&open(&disk, &small()).0, 1, 2, 100);
}

#[test]
fn create_is_asked_for() {
    let disk = SimDisk::new(1);
    let existing = Options { create: false, ..small() };
    assert!(matches!(try_open(&disk, &existing), Err(Error::Missing { .. })));
    assert!(disk.list_files().is_empty());
    fill(&open(&disk, &small()).0, 2, 100);
    check(&open(&disk, &existing).0, 1, 2, 100);
}

#[test]
fn a_folder_with_other_things_is_left_alone() {
    let disk = SimDisk::new(1);
    disk.put_durable("/data/photos.zip", b"not a journal").expect("fits");
    assert!(matches!(try_open(&disk, &small()), Err(Error::NotAJournal { .. })));
    assert_eq!(disk.list_files(), [("/data/photos.zip".to_string(), 13)]);
    let file = SimDisk::new(1);
    file.put_durable("/data", b"a file").expect("fits");
    assert!(matches!(try_open(&file, &small()), Err(Error::NotAJournal { .. })));
}

#[test]
fn a_torn_end_can_be_refused() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &small());
    fill(&journal, 3, 600);
    let disk = disk.kill();
    drop(journal);
    // The last commit loses its last sector.
    let end = 8192 + 2 * (64 + 20 + 600 + 4);
    disk.write_durable(&segment(1), end + 512, &[0; 512]).expect("overwrites");
    let before = contents(&disk);
    let refuse = Options { torn_tail: TornTail::Refuse, ..small() };
    match try_open(&disk, &refuse) {
        Err(Error::TornTail(report)) => {
            assert_eq!((report.next, report.end), (3, End::Torn), "{report}");
            assert!(report.cut.expect("told").uncertain);
        }
        other => panic!("{other:?}"),
    }
    assert!(contents(&disk) == before, "nothing was changed");
    let (journal, report) = open(&disk, &small());
    assert_eq!((report.next, report.end), (3, End::Torn));
    check(&journal, 1, 2, 600);
    drop(journal);
    check(&open(&disk, &refuse).0, 1, 2, 600);
}

/// Whatever was chosen before, the next opening may choose otherwise.
#[test]
fn every_opening_may_choose_otherwise() {
    let disk = SimDisk::new(1);
    let mut last = 0;
    for segment_bytes in [64 << 10, 128 << 10, 96 << 10] {
        for codec in [Codec::None, Codec::Lz4, Codec::Zstd(1)] {
            for fresh_pages in [FreshPages::Never, FreshPages::Always] {
                let spares_max = (last % 3) as u8;
                let options = Options { segment_bytes, codec, fresh_pages, spares_max, ..small() };
                let (journal, report) = open(&disk, &options);
                assert_eq!((report.next, report.damage.len()), (last + 1, 0), "{report}");
                check_from(&journal, last);
                fill(&journal, 7, 5000);
                last += 7;
                check_from(&journal, last);
            }
        }
    }
}

fn check_from(journal: &Journal, last: u64) {
    if last > 0 {
        check(journal, 1, last, 5000);
    }
}

#[test]
fn policies_and_classes_on_the_clock() {
    let second = Duration::from_secs(1);
    let one = |class| {
        (Append { class, ..Append::default() }, {
            let mut b = Batch::new();
            b.push(1, 0, b"x");
            b
        })
    };
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &Options { policy: SyncPolicy::Interval(second), idle_mark: None, ..small() });
    let append = |class| {
        let (how, batch) = one(class);
        journal.append_batch(&batch, how).expect("appends")
    };
    let level = |ticket: &duramen_journal::Ticket| ticket.level().expect("well");
    // As the policy says: not before the interval ends, and then by itself.
    let ticket = append(Class::Policy);
    disk.advance(second / 2);
    journal.tick();
    assert_ne!(level(&ticket), Level::Durable);
    disk.advance(second / 2);
    journal.tick();
    assert_eq!(level(&ticket), Level::Durable);
    // A shorter class takes those before it along.
    let (slow, quick) = (append(Class::Policy), append(Class::Within(second / 10)));
    disk.advance(second / 10);
    journal.tick();
    assert_eq!((level(&slow), level(&quick)), (Level::Durable, Level::Durable));
    // With the next sync that anything else causes, and not by itself.
    let patient = append(Class::OnFlush);
    disk.advance(second * 10);
    journal.tick();
    assert_ne!(level(&patient), Level::Durable);
    assert_eq!(append(Class::Now).wait().expect("now"), 5);
    assert_eq!(level(&patient), Level::Durable);
    // So many records, or so much time.
    journal.set_policy(SyncPolicy::Batch { records: 3, interval: second });
    let tickets = [append(Class::Policy), append(Class::Policy)];
    journal.tick();
    assert!(tickets.iter().all(|ticket| level(ticket) != Level::Durable));
    let third = append(Class::Policy);
    journal.tick();
    assert!(tickets.iter().chain([&third]).all(|ticket| level(ticket) == Level::Durable));
    // Power is failing: what waits does not wait any longer.
    journal.set_policy(SyncPolicy::Never);
    let never = append(Class::Policy);
    disk.advance(second * 100);
    journal.tick();
    assert_ne!(level(&never), Level::Durable);
    journal.set_policy(SyncPolicy::Always);
    assert_eq!(level(&never), Level::Durable);
    assert_eq!(journal.policy(), SyncPolicy::Always);
}

#[test]
fn a_full_queue_says_so_or_waits() {
    let disk = SimDisk::new(1);
    let options = Options { policy: SyncPolicy::Never, queue_bytes_max: 4000, ..small() };
    let (journal, _) = Journal::open_with(FOLDER, &options, disk.world()).expect("opens");
    let append = |full| {
        let mut batch = Batch::new();
        batch.push(1, 0, &payload(journal.appended() + 1, 1000));
        journal.append_batch(&batch, Append { full, ..Append::default() }).map(drop)
    };
    for _ in 0..3 {
        append(WhenFull::Fail).expect("fits");
    }
    match append(WhenFull::Fail) {
        Err(Error::QueueFull { bytes, max }) => assert_eq!((bytes, max), (3060, 4000)),
        other => panic!("{other:?}"),
    }
    assert_eq!(journal.appended(), 3, "no sequence was used up");
    append(WhenFull::Wait).expect("makes room");
    assert_eq!(journal.written(), 3);
    journal.sync().expect("syncs");
    check(&journal, 1, 4, 1000);
}

/// Draining gives large batches away with their memory and copies small ones: either way the records are stored, and the
/// batch is empty and can be filled again.
#[test]
fn drained_batches_are_stored_and_empty() {
    let disk = SimDisk::new(1);
    let options = Options { policy: SyncPolicy::Never, segment_bytes: 1 << 20, ..small() };
    let (journal, _) = Journal::open_with(FOLDER, &options, disk.world()).expect("opens");
    let mut batch = Batch::new();
    for round in 0..40u64 {
        let records = [1, 100, 3, 120][round as usize % 4];
        let first = journal.appended() + 1;
        (first..first + records).for_each(|number| batch.push(1, 0, &payload(number, 1000)));
        let ticket = journal.append_drain(&mut batch, Append::default()).expect("fits");
        assert_eq!((ticket.first(), ticket.last()), (first, first + records - 1));
        assert!(batch.is_empty() && batch.bytes() == 0);
        if round % 3 == 0 {
            journal.flush().expect("writes");
        }
    }
    assert!(matches!(journal.append_drain(&mut batch, Append::default()), Err(Error::InvalidAppend { .. })));
    batch.push(1, 0, &vec![0; 2 << 20]);
    assert!(matches!(journal.append_drain(&mut batch, Append::default()), Err(Error::TooLarge { .. })));
    assert_eq!(batch.len(), 1, "what was refused is still there");
    let last = journal.sync().expect("syncs");
    check(&journal, 1, last, 1000);
    drop(journal);
    check(&Journal::open_with(FOLDER, &options, disk.world()).expect("opens").0, 1, last, 1000);
}
