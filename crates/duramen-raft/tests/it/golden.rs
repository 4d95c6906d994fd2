//! Records of version 1 as this code wrote them when the format was frozen: a workload must give the same records, and a
//! journal of these records must be the same log.
//!
//! `DURAMEN_REGENERATE=1` writes the file anew. That is right only before a version is released; afterwards a change of the
//! format gets a folder of its own, and this one stays.

#![allow(clippy::disallowed_methods, reason = "the golden files lie on the real disk")]

use std::fmt::Write as _;

use bytes::Bytes;
use duramen_journal::disk::sim::SimDisk;
use duramen_journal::{Append, Batch, Journal, Options};
use duramen_raft::{Plain, RaftLogs};

use crate::simulated::{FOLDER, entry, fill, id, open, small, vote};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1/records.txt");

fn workload(logs: &RaftLogs<Plain>) {
    let log = logs.group(1).expect("a group");
    log.writer().save_vote(&vote(1, 3)).expect("votes");
    fill(&log, 1, 1..6, 10);
    log.writer().commit(&id(1, 3)).expect("commits").wait_durable().expect("durable");
    log.writer().save_user_data(&Bytes::from_static(b"mine")).expect("saves").wait_durable().expect("durable");
    log.writer().truncate_after(Some(&id(1, 4))).expect("truncates").wait().expect("durable");
    let other = logs.group(300).expect("a group");
    fill(&other, 2, 70..72, 10);
    fill(&log, 2, 5..7, 10);
    log.writer().purge(&id(1, 2)).expect("purges").wait().expect("durable");
    other.writer().truncate_after(None).expect("truncates").wait().expect("durable");
    let gone = logs.group(9).expect("a group");
    fill(&gone, 1, 1..2, 10);
    gone.writer().remove().expect("removes").wait().expect("durable");
}

/// Log number, kind and payload of every record.
fn dump(disk: &SimDisk) -> String {
    let options = Options { kind: *b"raft\0\0\0\0", ..small().journal };
    let (journal, _) = Journal::open_with(FOLDER, &options, disk.world()).expect("opens");
    let mut out = String::new();
    for record in journal.scan(..) {
        let record = record.expect("reads");
        let hex: String = record.payload.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(out, "{} {} {hex}", record.log, record.kind);
    }
    out
}

/// A journal of these records.
fn load(text: &str) -> SimDisk {
    let disk = SimDisk::new(1);
    let options = Options { kind: *b"raft\0\0\0\0", ..small().journal };
    let (journal, _) = Journal::open_with(FOLDER, &options, disk.world()).expect("opens");
    for line in text.lines() {
        let mut words = line.split(' ');
        let mut number = || words.next().and_then(|word| word.parse::<u32>().ok()).expect("a number");
        let (log, kind) = (number(), number() as u8);
        let hex = words.next().unwrap_or_default();
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        let payload: Vec<u8> = (0..hex.len()).step_by(2).map(digit).collect();
        let mut batch = Batch::new();
        batch.push(log, kind, &payload);
        journal.append_batch(&batch, Append::default()).expect("appends").wait().expect("durable");
    }
    disk
}

#[test]
fn version_1() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    workload(&logs);
    let states: Vec<_> = [1, 9, 300].map(|number| logs.group(number).expect("a group").state()).into();
    drop(logs);
    let now = dump(&disk);
    if std::env::var("DURAMEN_REGENERATE").is_ok() {
        std::fs::write(FILE, &now).expect("writes the golden file");
    }
    let golden = std::fs::read_to_string(FILE).expect("the golden file is there");
    assert_eq!(now, golden, "the same workload gives the same records");
    let disk = load(&golden);
    for _ in 0..2 {
        let (logs, _) = open(&disk, &small());
        let read: Vec<_> = [1, 9, 300].map(|number| logs.group(number).expect("a group").state()).into();
        assert_eq!(read, states);
        let log = logs.group(1).expect("a group");
        let entries = log.reader().range(.., usize::MAX).expect("reads");
        assert_eq!(entries, [entry(1, 3, 10), entry(1, 4, 10), entry(2, 5, 10), entry(2, 6, 10)]);
        assert_eq!(log.state().user_data, Some(Bytes::from_static(b"mine")));
    }
}
