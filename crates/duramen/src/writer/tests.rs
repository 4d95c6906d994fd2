//! A writer on a simulated disk that is full.

use std::time::Duration;

use duramen_journal::disk::sim::{Effect, Fault, Operation, SimDisk, errno};

use super::*;

const FOLDER: &str = "/data";
const LINES: u64 = 200;

fn options(policy: SyncPolicy) -> Options {
    let sync_method = Some(duramen_journal::disk::SyncMethod::DataSync);
    Options { segment_bytes: 64 << 10, commit_bytes_max: 4 << 10, policy, sync_method, ..Options::default() }
}

fn writer(disk: &SimDisk, options: &Options) -> LineWriter {
    let (journal, _) = Journal::open_with(FOLDER, options, disk.world()).expect("opens");
    LineWriter::new(Path::new(FOLDER), journal, options, &disk.world(), Acknowledge::Silent).expect("starts")
}

fn line(number: u64) -> String {
    format!("{number} {}\n", "abc ".repeat(100 + number as usize % 50))
}

/// The kinds and texts of all records.
fn stored(disk: &SimDisk) -> Vec<(u8, Vec<u8>)> {
    let (journal, _) = Journal::open_with(FOLDER, &options(SyncPolicy::Always), disk.world()).expect("opens");
    let records = journal.scan(..).map(|record| record.expect("reads"));
    records.map(|record| (record.kind, record.payload.to_vec())).collect()
}

/// A commit found the disk full, space returned at once, and the next lines were stored in its place: the journal
/// then held lines that nobody was told of behind a hole, and who went on as the message says stored them twice.
/// Under the policy `Never` a refusal has nobody to tell, so that each one stands for a callback that comes late.
#[test]
fn nothing_follows_on_lines_that_found_the_disk_full() {
    let mut refusals = 0;
    for policy in [SyncPolicy::Never, SyncPolicy::Always, SyncPolicy::Interval(Duration::from_secs(1))] {
        for operation in [Operation::Write, Operation::Allocate, Operation::Create] {
            for skip in 0..60 {
                let disk = SimDisk::new(1);
                let mut writer = writer(&disk, &options(policy));
                disk.fault(Fault::new(Effect::Error(errno::ENOSPC)).on(operation).named("journal/").skip(skip));
                let pushed = (0..LINES).try_for_each(|number| writer.push(line(number).as_bytes()));
                let (durable, settled) = writer.settle();
                let what = format!("{policy:?}, {operation:?} {skip}: {durable} durable, {pushed:?}, {settled:?}");
                let found = stored(&disk);
                for (number, (kind, text)) in found.iter().enumerate() {
                    let expected = line(number as u64);
                    assert!(*kind == lines::KIND_LINE, "{what}");
                    assert!(text == expected.trim_end_matches('\n').as_bytes(), "{what}: line {number}");
                }
                let ended = pushed.and(settled);
                assert!(durable <= found.len() as u64, "{what}");
                assert!(ended.is_err() || durable == LINES, "{what}: success, and {} are there", found.len());
                refusals += u64::from(ended.is_err_and(|error| error.is_no_space()));
            }
        }
    }
    assert!(refusals > 100, "{refusals} runs met a full disk");
}

/// The mark behind an unfinished line found the disk full, and the first line of the run was stored in its place: it
/// was acknowledged, and read as the end of the other one.
#[test]
fn no_line_follows_on_an_unfinished_one_without_its_mark() {
    let disk = SimDisk::new(1);
    let options = options(SyncPolicy::Always);
    let (journal, _) = Journal::open_with(FOLDER, &options, disk.world()).expect("opens");
    let begun = journal.append(lines::LOG, lines::KIND_CONTINUED, b"begun, ").expect("appends");
    begun.wait().expect("durable");
    drop(journal);
    let (journal, _) = Journal::open_with(FOLDER, &options, disk.world()).expect("opens");
    disk.fault(Fault::new(Effect::Error(errno::ENOSPC)).on(Operation::Write).named("journal/"));
    let path = Path::new(FOLDER);
    let mut writer = LineWriter::new(path, journal, &options, &disk.world(), Acknowledge::Silent).expect("starts");
    let error = writer.push(b"another\n").expect_err("the mark is missing");
    assert!(error.is_no_space(), "{error}");
    let (durable, settled) = writer.settle();
    assert!(durable == 0 && settled.is_err_and(|error| error.is_no_space()));
    let begun = (lines::KIND_CONTINUED, b"begun, ".to_vec());
    assert_eq!(stored(&disk), std::slice::from_ref(&begun));
    let mut writer = self::writer(&disk, &options);
    writer.push(b"another\n").expect("space is back");
    writer.settle().1.expect("closes");
    let mark = (lines::KIND_ABANDONED, Vec::new());
    assert_eq!(stored(&disk), [begun, mark, (lines::KIND_LINE, b"another".to_vec())]);
}
