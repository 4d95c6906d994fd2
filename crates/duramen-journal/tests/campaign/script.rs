//! Workloads as lists of steps, and the one interpreter that runs them and tells what the outside world was told. Owns
//! the words of which workloads are made; what must hold after a crash is the checker's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as PlainU32, Ordering};
use std::time::Duration;

use duramen_journal::disk::sim::Fault;
use duramen_journal::sync::AtomicU32;
use duramen_journal::{
    Append, Batch, Class, Error, Journal, Level, LogNumber, Observer, ObserverFactory, Options, Scan, Sequence,
    SyncPolicy, Ticket, World,
};

use crate::model::{Event, Shape, payload};

/// Where the journal lies on the simulated disk.
pub const FOLDER: &str = "/j";

/// What becomes of an append's ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Wait,
    WaitWritten,
    Hold,
    Drop,
    /// It gets a callback, which must run exactly once.
    Call,
}

/// One step of a workload.
#[derive(Clone, Debug)]
pub enum Step {
    Append {
        shape: Shape,
        how: Append,
        then: Then,
    },
    /// An append that goes to within so many bytes of the segment's end.
    Fill {
        left: u32,
    },
    WaitAll,
    Flush,
    Sync,
    /// Releases all but the newest so many records.
    ReleaseBut(u64),
    /// Lets time pass, then ticks.
    Pass(Duration),
    Policy(SyncPolicy),
    Close,
    /// Lets the handle go without closing it first.
    Drop,
    /// Opens with these options of the script.
    Open(usize),
    /// Begins to read, and holds the segment that it reads.
    HoldReader,
    LetReaderGo,
    /// Limits the room on the disk to what is used now and so many bytes; `None`: no limit.
    Room(Option<u64>),
}

/// A workload.
#[derive(Clone, Debug)]
pub struct Script {
    pub name: String,
    /// The first is used by recoveries, and by `Open(0)`.
    pub options: Vec<Options>,
    /// Done before crashes are tried.
    pub setup: Vec<Step>,
    pub steps: Vec<Step>,
    pub tear_pages: bool,
    /// Of the disk, from the beginning.
    pub capacity: Option<u64>,
    /// Ordered after the setup.
    pub faults: Vec<Fault>,
    /// Faults are swept over the steps instead of crashes.
    pub sweep: bool,
    /// One recovery in so many also goes on writing, and half of those reopen.
    pub goes_on_every: u64,
}

/// Small segments, nothing that depends on a measurement.
pub fn small() -> Options {
    Options {
        segment_bytes: 64 << 10,
        sync_method: Some(duramen_journal::disk::SyncMethod::DataSync),
        spares_max: 0,
        idle_mark: Some(Duration::from_secs(10)),
        read_buffer_bytes: 64 << 10,
        tail_cache_bytes: 64 << 10,
        read_cache_bytes: 64 << 10,
        ..Options::default()
    }
}

impl Script {
    pub fn new(name: impl Into<String>, options: Options, steps: Vec<Step>) -> Script {
        let setup = vec![Step::Open(0)];
        Script {
            name: name.into(),
            options: vec![options],
            setup,
            steps,
            tear_pages: false,
            capacity: None,
            faults: Vec::new(),
            sweep: false,
            goes_on_every: 4,
        }
    }

    /// Every recovery goes on writing.
    pub fn going_on(mut self) -> Script {
        self.goes_on_every = 1;
        self
    }

    /// Everything is tried, creation too.
    pub fn without_setup(mut self) -> Script {
        self.setup.clear();
        self
    }

    pub fn after(mut self, setup: Vec<Step>) -> Script {
        self.setup.extend(setup);
        self
    }
}

/// One record of so many bytes.
pub fn one(bytes: u32) -> Shape {
    Shape { records: 1, bytes, log: 1, logs: 1, kind: 7 }
}

/// A batch over a few logs.
pub fn batch(records: u32, bytes: u32, logs: u32) -> Shape {
    Shape { records, bytes, log: 1, logs, kind: 3 }
}

pub fn append(shape: Shape, then: Then) -> Step {
    Step::Append { shape, how: Append::default(), then }
}

pub fn append_as(shape: Shape, class: Class, then: Then) -> Step {
    Step::Append { shape, how: Append { class, ..Append::default() }, then }
}

pub fn reserved(shape: Shape, then: Then) -> Step {
    Step::Append { shape, how: Append { reserved: true, ..Append::default() }, then }
}

/// The same steps so many times.
pub fn times(count: usize, steps: &[Step]) -> Vec<Step> {
    steps.iter().cloned().cycle().take(count * steps.len()).collect()
}

struct Held {
    ticket: Ticket,
    first: Sequence,
}

/// A running workload.
pub struct Session<'a> {
    script: &'a Script,
    disk: &'a dyn Fn(Option<u64>),
    world: World,
    journal: Option<Journal>,
    reader: Option<Scan>,
    held: Vec<Held>,
    calls: Vec<(Sequence, Arc<PlainU32>)>,
    content: u32,
    next: Sequence,
    durable: Sequence,
    written: Sequence,
    poisoned: bool,
}

/// What goes on from the setup to the steps.
pub struct Paused {
    journal: Option<Journal>,
    content: u32,
    next: Sequence,
    durable: Sequence,
    written: Sequence,
    poisoned: bool,
    pub events: Vec<Event>,
}

impl<'a> Session<'a> {
    pub fn new(script: &'a Script, world: World, disk: &'a dyn Fn(Option<u64>)) -> Session<'a> {
        Session {
            script,
            disk,
            world,
            journal: None,
            reader: None,
            held: Vec::new(),
            calls: Vec::new(),
            content: 0,
            next: 1,
            durable: 0,
            written: 0,
            poisoned: false,
        }
    }

    pub fn pause(mut self, events: Vec<Event>) -> Paused {
        assert!(self.held.is_empty(), "a setup holds no tickets");
        Paused {
            journal: self.journal.take(),
            content: self.content,
            next: self.next,
            durable: self.durable,
            written: self.written,
            poisoned: self.poisoned,
            events,
        }
    }

    pub fn resume(mut self, paused: Paused) -> Session<'a> {
        self.journal = paused.journal;
        self.content = paused.content;
        self.next = paused.next;
        self.durable = paused.durable;
        self.written = paused.written;
        self.poisoned = paused.poisoned;
        self
    }

    /// Runs steps; each event is told as soon as the outside could know of it.
    pub fn run(&mut self, steps: &[Step], tell: &dyn Fn(Event)) {
        for step in steps {
            if self.journal.is_none() && !matches!(step, Step::Open(_) | Step::Room(_)) {
                continue;
            }
            self.step(step, tell);
            self.observe(tell);
        }
    }

    fn step(&mut self, step: &Step, tell: &dyn Fn(Event)) {
        match *step {
            Step::Append { shape, how, then } => self.append(shape, how, then, tell),
            Step::Fill { left } => self.fill(left, tell),
            Step::WaitAll => {
                for held in std::mem::take(&mut self.held) {
                    let last = held.ticket.last();
                    let result = held.ticket.wait();
                    self.waited(held.first, last, result, tell);
                }
            }
            Step::Flush => self.synced(Journal::flush, Event::Written, tell),
            Step::Sync => self.synced(Journal::sync, Event::Durable, tell),
            Step::ReleaseBut(kept) => {
                let below = self.next.saturating_sub(kept).max(1);
                tell(Event::ReleaseAsked(below));
                match self.journal().release(below) {
                    Ok(()) => tell(Event::Released(below)),
                    Err(error) => self.failed(&error, tell),
                }
            }
            Step::Pass(time) => {
                self.world.environment.wait(&AtomicU32::new(0), 0, Some(time));
                self.journal().tick();
            }
            Step::Policy(policy) => self.journal().set_policy(policy),
            Step::Close => self.close(tell),
            Step::Drop => {
                self.reader = None;
                self.held.clear();
                self.journal = None;
            }
            Step::Open(options) => self.open(options, tell),
            Step::HoldReader => {
                let mut scan = self.journal().scan(..);
                assert!(scan.next().is_none_or(|record| record.is_ok()), "reads beside the writer");
                self.reader = Some(scan);
            }
            Step::LetReaderGo => self.reader = None,
            Step::Room(room) => (self.disk)(room),
        }
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("steps run on an open journal only")
    }

    fn open(&mut self, options: usize, tell: &dyn Fn(Event)) {
        self.reader = None;
        self.held.clear();
        self.journal = None;
        tell(Event::Opened);
        match Journal::open_with(Path::new(FOLDER), &self.script.options[options], self.world.clone()) {
            Ok((journal, report)) => {
                // What was only maybe there is decided now.
                tell(Event::Served { first: report.first, next: report.next });
                (self.next, self.durable, self.written) = (report.next, report.next - 1, report.next - 1);
                self.poisoned = false;
                self.journal = Some(journal);
            }
            Err(error) => accept_refusal(&error).expect("opening fails with a word only"),
        }
    }

    fn close(&mut self, tell: &dyn Fn(Event)) {
        self.reader = None;
        let result = self.journal().close();
        self.observe(tell);
        match result {
            Ok(()) => {
                assert!(self.held.iter().all(|held| held.ticket.level().is_ok_and(|level| level == Level::Durable)));
                self.held.clear();
                self.journal = None;
                tell(Event::Closed);
            }
            Err(error) => {
                self.failed(&error, tell);
                self.held.clear();
                self.journal = None;
            }
        }
    }

    fn synced(
        &mut self,
        call: fn(&Journal) -> Result<Sequence, Error>,
        event: fn(Sequence) -> Event,
        tell: &dyn Fn(Event),
    ) {
        match call(self.journal()) {
            Ok(upto) => {
                assert_eq!(upto + 1, self.journal().appended() + 1, "everything appended is covered");
                tell(event(upto));
            }
            Err(error) => self.failed(&error, tell),
        }
    }

    fn fill(&mut self, left: u32, tell: &dyn Fn(Event)) {
        let _ = self.journal().flush();
        let segment = self.journal().segments().pop().expect("a segment is in use");
        // Header pages, framing, the journal's own reserve and the footer are not to be had.
        let taken = segment.bytes as u32 + (8 << 10) + 40 + 24 + 20 + (8 << 10) + (8 << 10);
        let room = self.script.options[0].segment_bytes.saturating_sub(taken + left);
        let bytes = room.min(self.journal().record_bytes_max() as u32);
        self.append(one(bytes), Append::default(), Then::Hold, tell);
    }

    fn append(&mut self, shape: Shape, how: Append, then: Then, tell: &dyn Fn(Event)) {
        self.content += 1;
        let content = self.content;
        let mut batch = Batch::new();
        for index in 0..shape.records {
            batch.push(shape.log_of(index), shape.kind, payload(content, index, shape.bytes));
        }
        let first = self.journal().appended() + 1;
        if !self.poisoned {
            tell(Event::Issued { first, content, shape });
            self.next = first + u64::from(shape.records);
        }
        let ticket = match self.journal().append_batch(&batch, how) {
            Ok(ticket) => ticket,
            Err(error) => {
                self.failed(&error, tell);
                if !self.poisoned {
                    tell(Event::Withdrawn(first));
                    self.next = first;
                }
                return;
            }
        };
        assert!(!self.poisoned, "a poisoned journal takes no appends");
        assert_eq!(ticket.first(), first, "sequences are dense");
        let last = ticket.last();
        match then {
            Then::Wait => {
                let result = ticket.wait();
                self.waited(first, last, result, tell);
            }
            Then::WaitWritten => {
                match ticket.wait_written() {
                    Ok(()) => tell(Event::Written(last)),
                    Err(error) => self.failed_append(first, &error, tell),
                }
                drop(ticket);
            }
            Then::Hold => self.held.push(Held { ticket, first }),
            Then::Drop => drop(ticket),
            Then::Call => {
                let count = Arc::new(PlainU32::new(0));
                self.calls.push((first, count.clone()));
                ticket.on_durable(move |_| {
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
        }
    }

    fn waited(&mut self, first: Sequence, last: Sequence, result: Result<Sequence, Error>, tell: &dyn Fn(Event)) {
        match result {
            Ok(sequence) => {
                assert_eq!(sequence, last);
                tell(Event::Durable(last));
            }
            Err(Error::NeverDurable) => {}
            Err(error) => self.failed_append(first, &error, tell),
        }
    }

    fn failed_append(&mut self, first: Sequence, error: &Error, tell: &dyn Fn(Event)) {
        if error.is_no_space() && !self.poisoned {
            let appended = self.journal().appended();
            assert!(
                appended < first,
                "sequences of a refused append are given again: {first} failed, {appended} stand"
            );
        }
        self.failed(error, tell);
    }

    /// Takes note of an error that the outside was told.
    fn failed(&mut self, error: &Error, tell: &dyn Fn(Event)) {
        accept_refusal(error).expect("a fault has a typed error");
        if matches!(error, Error::Unknown { .. } | Error::Poisoned { .. }) && !self.poisoned {
            self.poisoned = true;
            tell(Event::Unknown);
        }
    }

    /// Looks at everything that the outside can look at.
    fn observe(&mut self, tell: &dyn Fn(Event)) {
        let Some(journal) = self.journal.clone() else { return };
        for held in std::mem::take(&mut self.held) {
            match held.ticket.level() {
                Ok(Level::Durable) => assert!(journal.durable() >= held.ticket.last(), "one watermark"),
                Ok(_) => self.held.push(held),
                Err(error) => self.failed_append(held.first, &error, tell),
            }
        }
        if journal.stats().poisoned && !self.poisoned {
            self.poisoned = true;
            tell(Event::Unknown);
        }
        let (durable, written, next) = (journal.durable(), journal.written(), journal.appended() + 1);
        assert!(durable <= written && written < next, "the levels are ordered: {durable}, {written}, {next}");
        if durable > self.durable {
            self.durable = durable;
            tell(Event::Durable(durable));
        }
        if written > self.written {
            self.written = written;
            tell(Event::Written(written));
        }
        if next < self.next {
            self.next = next;
            tell(Event::Withdrawn(next));
        }
    }

    /// Ends the workload: nothing is pending any more, every callback ran once.
    pub fn end(mut self) {
        self.held.clear();
        self.reader = None;
        self.journal = None;
        for (first, count) in &self.calls {
            assert_eq!(count.load(Ordering::Relaxed), 1, "the callback of record {first} runs exactly once");
        }
    }
}

/// Errors that a fault of the disk may lead to.
pub fn accept_refusal(error: &Error) -> Result<(), String> {
    match error {
        Error::Io { .. }
        | Error::NoSpace { .. }
        | Error::ReadOnly { .. }
        | Error::Poisoned { .. }
        | Error::Unknown { .. }
        | Error::QueueFull { .. }
        | Error::Unreadable(_)
        | Error::Closed => Ok(()),
        other => Err(format!("an unexpected error: {other}")),
    }
}

/// An observer that counts, and carries its count from segment to segment.
#[derive(Debug)]
pub struct Counting;

struct Counter {
    records: u64,
}

impl ObserverFactory for Counting {
    fn observer(&self) -> Box<dyn Observer> {
        Box::new(Counter { records: 0 })
    }
}

impl Observer for Counter {
    fn begin(&mut self, _first: Sequence) {}

    fn record(&mut self, _sequence: Sequence, _log: LogNumber, _kind: u8, _payload: &[u8]) {
        self.records += 1;
    }

    fn checkpoint_found(&mut self, _log: LogNumber, _kind: u8, payload: &[u8]) {
        self.records = u64::from_le_bytes(payload[..8].try_into().expect("a checkpoint of eight bytes"));
    }

    fn summary(&mut self) -> Vec<u8> {
        self.records.to_le_bytes().to_vec()
    }

    fn checkpoint(&mut self) -> Option<(LogNumber, u8, Vec<u8>)> {
        Some((9, 1, self.records.to_le_bytes().to_vec()))
    }
}
