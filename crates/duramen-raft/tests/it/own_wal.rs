//! Storage of the user's own under the log: a vector in memory, which is all that the trait asks for.

use std::future::{Ready, ready};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use duramen_journal::disk::real::RealEnvironment;
use duramen_journal::{Append, Batch, Error as WalError, Level, Record, Sequence};
use duramen_raft::{Config, Entry, OnDurable, Plain, RaftLogs, TermIndex, TermVote, Wal, WalTicket};

#[derive(Clone, Debug, Default)]
struct MemoryWal {
    records: Arc<Mutex<Vec<Record>>>,
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

    fn scan(&self, range: Range<Sequence>, visit: &mut dyn FnMut(Record) -> bool) -> Result<(), WalError> {
        for sequence in range {
            if !visit(self.read(sequence)?) {
                break;
            }
        }
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
