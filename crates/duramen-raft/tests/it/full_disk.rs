//! A full disk: what the journal refuses is undone in memory, and the log goes on when there is space again.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use duramen_journal::disk::sim::{Crash, Effect, Fault, Operation, SimDisk, errno};
use duramen_journal::{Append, Batch, Error as WalError, Record, RecordRef, Sequence, Ticket};
use duramen_raft::{Config, Error, FlushPolicy, JournalWal, Plain, RaftLog, RaftLogs, Refusal, Strategy, Wal};

use crate::simulated::{FOLDER, check, entry, fill, id, open, small, vote};

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

/// A journal in which, when it is armed, everything that waits is refused right before the next append.
#[derive(Debug)]
struct Interrupting {
    inner: JournalWal,
    disk: SimDisk,
    armed: AtomicBool,
}

impl Wal for Interrupting {
    type Ticket = Ticket;

    fn append(&self, batch: &Batch, how: Append) -> Result<Ticket, WalError> {
        if self.armed.swap(false, Ordering::Relaxed) {
            self.disk.fault(Fault::new(Effect::Error(errno::ENOSPC)).on(Operation::Write));
            assert!(self.inner.flush().expect_err("the disk is full").is_no_space());
            self.disk.clear_faults();
        }
        self.inner.append(batch, how)
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn held(&self, group: u32) -> u64 {
        self.inner.held(group)
    }

    fn written(&self) -> Sequence {
        self.inner.written()
    }

    fn durable(&self) -> Sequence {
        self.inner.durable()
    }

    fn first(&self) -> Sequence {
        self.inner.first()
    }

    fn read(&self, sequence: Sequence) -> Result<Record, WalError> {
        self.inner.read(sequence)
    }

    fn scan(&self, range: Range<Sequence>, visit: &mut dyn FnMut(RecordRef<'_>) -> bool) -> Result<(), WalError> {
        self.inner.scan(range, visit)
    }

    fn flush(&self) -> Result<Sequence, WalError> {
        self.inner.flush()
    }

    fn sync(&self) -> Result<Sequence, WalError> {
        self.inner.sync()
    }

    fn release(&self, below: Sequence) -> Result<(), WalError> {
        self.inner.release(below)
    }

    fn close(&self) -> Result<(), WalError> {
        self.inner.close()
    }
}

/// A step was checked, and what it follows on was refused before it was appended: it must not be stored alone.
#[test]
fn a_refusal_between_the_check_and_the_append() {
    let disk = SimDisk::new(1);
    let options = duramen_journal::Options { kind: *b"raft\0\0\0\0", segment_bytes: 64 << 10, ..lazy().journal };
    let world = disk.world();
    let (inner, _) = JournalWal::open(FOLDER.as_ref(), &options, world.clone()).expect("opens");
    let wal = Interrupting { inner, disk: disk.clone(), armed: AtomicBool::new(false) };
    let (logs, _) = RaftLogs::<Plain, Interrupting>::with_wal(lazy(), wal, world.environment).expect("opens");
    let log = logs.group(1).expect("a group");
    let writer = log.writer();
    writer.append(vec![entry(1, 1, 100), entry(1, 2, 100)]).expect("appends").wait_durable().expect("durable");
    let refused = writer.append(vec![entry(1, 3, 100)]).expect("waits");
    logs.wal().armed.store(true, Ordering::Relaxed);
    let error = writer.append(vec![entry(1, 4, 100)]).expect_err("3 is not there");
    assert!(cut_off(&error), "{error}");
    assert!(refused.wait_durable().expect_err("was refused").is_no_space());
    // What does not depend on it is tried again, and stands.
    let refused = writer.append(vec![entry(1, 3, 100)]).expect("waits");
    logs.wal().armed.store(true, Ordering::Relaxed);
    writer.save_vote(&vote(9, 9)).expect("votes");
    assert!(refused.wait_durable().is_err());
    writer.append(vec![entry(1, 3, 70)]).expect("appends").wait_durable().expect("durable");
    drop((writer, log, logs));
    let (logs, opened) = open(&disk.reboot(Crash::LoseAll), &lazy());
    let log = logs.group(1).expect("a group");
    assert!(opened.losses.is_empty());
    assert_eq!((log.state().vote, log.state().last), (Some(vote(9, 9)), Some(id(1, 3))));
    assert_eq!(log.reader().entry(3).expect("reads"), entry(1, 3, 70));
}
