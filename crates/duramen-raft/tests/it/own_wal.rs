//! Storage of the user's own under the log: a vector in memory, which is all that the trait asks for.

use std::future::{Ready, ready};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use duramen_journal::disk::real::RealEnvironment;
use duramen_journal::{Append, Batch, Error as WalError, Level, Record, RecordRef, Sequence};
use duramen_raft::{Config, Entry, OnDurable, Plain, RaftLog, RaftLogs, TermIndex, TermVote, Wal, WalTicket};

#[derive(Clone, Debug, Default)]
struct MemoryWal {
    records: Arc<Mutex<Vec<Record>>>,
    hook: Arc<Mutex<Hook>>,
}

/// Runs once, after the next scan.
#[derive(Default)]
struct Hook(Option<Box<dyn FnOnce() + Send>>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hook").field(&self.0.is_some()).finish()
    }
}

#[derive(Debug)]
struct Done {
    first: Sequence,
    last: Sequence,
    ready: Ready<Result<Sequence, WalError>>,
}

impl std::future::Future for Done {
    type Output = Result<Sequence, WalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.ready).poll(context)
    }
}

impl WalTicket for Done {
    fn first(&self) -> Sequence {
        self.first
    }

    fn last(&self) -> Sequence {
        self.last
    }

    fn level(&self) -> Result<Level, WalError> {
        Ok(Level::Durable)
    }

    fn wait(self) -> Result<Sequence, WalError> {
        Ok(self.last)
    }

    fn on_durable(self, call: OnDurable) {
        call(Ok(self.last));
    }
}

impl MemoryWal {
    fn records(&self) -> std::sync::MutexGuard<'_, Vec<Record>> {
        self.records.lock().expect("no test panics under it")
    }
}

impl Wal for MemoryWal {
    type Ticket = Done;

    fn append(&self, batch: &Batch, _how: Append) -> Result<Done, WalError> {
        let mut records = self.records();
        let first = records.len() as u64 + 1;
        for (log, kind, payload) in batch.records() {
            let sequence = records.len() as u64 + 1;
            records.push(Record { sequence, log, kind, more: false, payload: Bytes::copy_from_slice(payload) });
        }
        let last = records.len() as u64;
        Ok(Done { first, last, ready: ready(Ok(last)) })
    }

    fn epoch(&self) -> u64 {
        0
    }

    fn held(&self, group: u32) -> u64 {
        self.records().iter().filter(|record| record.log == group).count() as u64
    }

    fn written(&self) -> Sequence {
        self.records().len() as u64
    }

    fn durable(&self) -> Sequence {
        self.written()
    }

    fn first(&self) -> Sequence {
        1
    }

    fn read(&self, sequence: Sequence) -> Result<Record, WalError> {
        let record = self.records().get(sequence as usize - 1).cloned();
        record.ok_or(WalError::NotYet { sequence, next: self.written() + 1 })
    }

    fn scan(&self, range: Range<Sequence>, visit: &mut dyn FnMut(RecordRef<'_>) -> bool) -> Result<(), WalError> {
        for sequence in range {
            if !visit(self.read(sequence)?.borrow()) {
                break;
            }
        }
        let hook = self.hook.lock().expect("no test panics under it").0.take();
        hook.into_iter().for_each(|hook| hook());
        Ok(())
    }

    fn flush(&self) -> Result<Sequence, WalError> {
        Ok(self.written())
    }

    fn sync(&self) -> Result<Sequence, WalError> {
        Ok(self.written())
    }

    fn release(&self, _below: Sequence) -> Result<(), WalError> {
        Ok(())
    }

    fn close(&self) -> Result<(), WalError> {
        Ok(())
    }
}

#[test]
fn a_log_on_other_storage() {
    let wal = MemoryWal::default();
    let id = |index| TermIndex::new(1, index);
    let open = || {
        let environment = Arc::new(RealEnvironment);
        RaftLogs::<Plain, MemoryWal>::with_wal(Config::new("unused"), wal.clone(), environment).expect("opens").0
    };
    let logs = open();
    let log = logs.group(5).expect("a group");
    log.writer().save_vote(&TermVote { term: 1, node: Some(1) }).expect("votes");
    let entries = (1..100).map(|index| Entry::new(id(index), format!("entry {index}").into())).collect();
    log.writer().append(entries).expect("appends").wait().expect("durable");
    log.writer().truncate_after(Some(&id(80))).expect("truncates").wait().expect("durable");
    log.writer().purge(&id(20)).expect("purges").wait().expect("durable");
    let state = log.state();
    let logs = open();
    let log = logs.group(5).expect("a group");
    assert_eq!(log.state(), state);
    let read = log.reader().range(.., usize::MAX).expect("reads");
    assert_eq!(read.iter().map(|entry| entry.id.index).collect::<Vec<u64>>(), (21..81).collect::<Vec<u64>>());
    assert_eq!(read[0].payload, "entry 21");
}

/// A range that is read while the log is cut and written anew is the log of one moment: never a part of each.
#[test]
fn a_range_is_of_one_moment() {
    // More than is looked up at once.
    const COUNT: u64 = 6_000;
    let wal = MemoryWal::default();
    let config = Config { log_cache_capacity: 0, ..Config::new("unused") };
    let (logs, _) =
        RaftLogs::<Plain, MemoryWal>::with_wal(config, wal.clone(), Arc::new(RealEnvironment)).expect("opens");
    let log = logs.group(1).expect("a group");
    let write = |log: &RaftLog<Plain, MemoryWal>, term, first| {
        let entries = (first..=COUNT).map(|index| Entry::new(TermIndex::new(term, index), Bytes::new())).collect();
        log.writer().append(entries).expect("appends").wait().expect("durable");
    };
    write(&log, 1, 1);
    for term in 2..5 {
        let other = log.clone();
        let cut = move || {
            let kept = other.reader().log_id(10).expect("is there");
            other.writer().truncate_after(Some(&kept)).expect("truncates").wait().expect("durable");
            write(&other, term, 11);
        };
        wal.hook.lock().expect("no test panics under it").0 = Some(Box::new(cut));
        let entries = log.reader().range(1..=COUNT, usize::MAX).expect("reads");
        assert!(wal.hook.lock().expect("no test panics under it").0.is_none(), "it was cut while it was read");
        assert_eq!(entries.len() as u64, COUNT);
        assert!(entries[10..].iter().all(|entry| entry.id.term == term), "a mix of two logs");
    }
}
