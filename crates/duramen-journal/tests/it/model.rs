//! The journal against the simplest thing that could be one: a vector. Random operations run on both, on the simulated
//! disk, with clean and unclean ends between them; what the journal says and serves must be what the vector holds, and
//! after a crash a prefix of it that leaves out nothing acknowledged.
//!
//! `DURAMEN_PROPTEST_CASES` sets how many sequences of operations are tried; the plain test run tries a few.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use duramen_journal::disk::SyncMethod;
use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_journal::{
    Append, Batch, Class, Codec, End, Error, FreshPages, Journal, Level, LogNumber, Options, ReadOptions, Reader,
    Record, Sequence, SyncPolicy, Ticket, WhenFull,
};
use proptest::prelude::*;

use crate::simulated::{FOLDER, open};

const CASES: u32 = 40;

/// A record of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    log: LogNumber,
    kind: u8,
    more: bool,
    payload: Vec<u8>,
}

/// What to do with a ticket.
#[derive(Clone, Copy, Debug)]
enum Then {
    Wait,
    WaitWritten,
    Hold,
    Drop,
    Call,
}

/// Sizes of payloads: some exact, some at the bound.
#[derive(Clone, Copy, Debug)]
enum Size {
    Bytes(usize),
    Bound,
    OverBound,
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        log: LogNumber,
        kind: u8,
        sizes: Vec<Size>,
        class: Class,
        full: WhenFull,
        then: Then,
    },
    Sync,
    Flush,
    /// Up to this share of the records.
    Release(f64),
    Advance(Duration),
    SetPolicy(SyncPolicy),
    Read(f64),
    Scan(f64, f64),
    Close(Settings),
    /// Drops the journal without closing it first.
    Drop(Settings),
    Kill(Settings),
    Crash(u64, Settings),
}

/// What may differ from one opening to the next.
#[derive(Clone, Copy, Debug)]
struct Settings {
    codec: Codec,
    fresh_pages: FreshPages,
    segment_bytes: u32,
    spares_max: u8,
    tail_cache_bytes: usize,
    policy: SyncPolicy,
    method: SyncMethod,
}

impl Settings {
    fn options(self) -> Options {
        Options {
            codec: self.codec,
            fresh_pages: self.fresh_pages,
            segment_bytes: self.segment_bytes,
            spares_max: self.spares_max,
            tail_cache_bytes: self.tail_cache_bytes,
            policy: self.policy,
            sync_method: Some(self.method),
            commit_bytes_max: 16 << 10,
            queue_bytes_max: 48 << 10,
            read_buffer_bytes: 8 << 10,
            read_cache_bytes: 32 << 10,
            segment_records_max: 500,
            idle_mark: Some(Duration::from_secs(10)),
            ..Options::default()
        }
    }
}

fn policy() -> impl Strategy<Value = SyncPolicy> {
    prop_oneof![
        3 => Just(SyncPolicy::Always),
        1 => (1..6u64).prop_map(|records| SyncPolicy::Batch { records, interval: Duration::from_secs(1) }),
        1 => Just(SyncPolicy::Interval(Duration::from_millis(200))),
        1 => Just(SyncPolicy::Never),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let codec = prop_oneof![2 => Just(Codec::None), 1 => Just(Codec::Lz4), 1 => Just(Codec::Zstd(1))];
    let pages = prop_oneof![2 => Just(FreshPages::Never), 1 => Just(FreshPages::Always)];
    let segment_bytes = prop_oneof![3 => Just(64u32 << 10), 1 => Just(128u32 << 10)];
    let tail = prop_oneof![Just(0usize), Just(4 << 10), Just(1 << 20)];
    let methods = [SyncMethod::DataSync, SyncMethod::WriteSync, SyncMethod::Direct];
    (codec, pages, segment_bytes, 0..3u8, tail, policy(), prop::sample::select(methods.to_vec())).prop_map(
        |(codec, fresh_pages, segment_bytes, spares_max, tail_cache_bytes, policy, method)| Settings {
            codec,
            fresh_pages,
            segment_bytes,
            spares_max,
            tail_cache_bytes,
            policy,
            method,
        },
    )
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![
        8 => (0..200usize).prop_map(Size::Bytes),
        2 => (3900..4300usize).prop_map(Size::Bytes),
        1 => (9_000..20_000usize).prop_map(Size::Bytes),
        1 => Just(Size::Bytes(0)),
    ]
}

fn sizes() -> impl Strategy<Value = Vec<Size>> {
    prop_oneof![
        8 => prop::collection::vec(size(), 1..5),
        2 => prop::collection::vec((0..40usize).prop_map(Size::Bytes), 30..60),
        1 => Just(vec![Size::Bound]),
        1 => Just(vec![Size::OverBound]),
        1 => Just(vec![Size::Bytes(1), Size::Bound]),
        1 => Just(Vec::new()),
    ]
}

fn append() -> impl Strategy<Value = Step> {
    let class = prop_oneof![
        4 => Just(Class::Policy),
        1 => Just(Class::Now),
        1 => Just(Class::Within(Duration::from_millis(50))),
        1 => Just(Class::OnFlush),
    ];
    let then = [Then::Wait, Then::WaitWritten, Then::Hold, Then::Drop, Then::Call];
    let full = [WhenFull::Wait, WhenFull::Fail];
    (1..4u32, any::<u8>(), sizes(), class, prop::sample::select(full.to_vec()), prop::sample::select(then.to_vec()))
        .prop_map(|(log, kind, sizes, class, full, then)| Step::Append { log, kind, sizes, class, full, then })
}

fn step() -> impl Strategy<Value = Step> {
    let share = || 0.0..1.0f64;
    prop_oneof![
        30 => append(),
        3 => Just(Step::Sync),
        2 => Just(Step::Flush),
        2 => share().prop_map(Step::Release),
        2 => (0..20_000u64).prop_map(|ms| Step::Advance(Duration::from_millis(ms))),
        1 => policy().prop_map(Step::SetPolicy),
        4 => share().prop_map(Step::Read),
        2 => (share(), share()).prop_map(|(from, to)| Step::Scan(from, to)),
        1 => settings().prop_map(Step::Close),
        1 => settings().prop_map(Step::Drop),
        2 => settings().prop_map(Step::Kill),
        3 => (any::<u64>(), settings()).prop_map(|(seed, settings)| Step::Crash(seed, settings)),
    ]
}

/// A payload that only this record has; half of it can be compressed.
fn payload(sequence: Sequence, bytes: usize) -> Vec<u8> {
    let noise =
        |index: usize| (sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (index % 57)) as u8 ^ (index / 57) as u8;
    (0..bytes).map(|index| if index % 512 < 256 { noise(index) } else { sequence as u8 }).collect()
}

struct Run {
    disk: SimDisk,
    journal: Journal,
    policy: SyncPolicy,
    /// Record `n` has sequence `n + 1`.
    records: Vec<Stored>,
    /// Acknowledged as durable, and as written.
    durable: Sequence,
    written: Sequence,
    released: Sequence,
    held: Vec<Ticket>,
    /// Callbacks that were left, and those that ran.
    calls: u64,
    called: Arc<AtomicU64>,
}

impl Run {
    fn new(settings: Settings) -> Run {
        let disk = SimDisk::new(7);
        let (journal, report) = open(&disk, &settings.options());
        assert_eq!((report.end, report.next), (End::New, 1));
        Run {
            disk,
            journal,
            policy: settings.policy,
            records: Vec::new(),
            durable: 0,
            written: 0,
            released: 1,
            held: Vec::new(),
            calls: 0,
            called: Arc::default(),
        }
    }

    fn last(&self) -> Sequence {
        self.records.len() as Sequence
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { log, kind, sizes, class, full, then } => self.append((log, kind), &sizes, class, full, then),
            Step::Sync => {
                assert_eq!(self.journal.sync().expect("syncs"), self.last());
                self.durable = self.last();
            }
            Step::Flush => {
                assert_eq!(self.journal.flush().expect("writes"), self.last());
                self.written = self.last();
            }
            Step::Release(share) => {
                let below = (self.last() as f64 * share) as Sequence + 1;
                self.journal.release(below).expect("releases");
                // What was released already costs nothing, and brings nothing.
                if below > self.released {
                    self.released = below;
                    self.durable = self.last();
                }
            }
            Step::Advance(time) => {
                self.disk.advance(time);
                self.journal.tick();
            }
            Step::SetPolicy(policy) => {
                self.journal.set_policy(policy);
                self.policy = policy;
            }
            Step::Read(share) => self.read((self.last() as f64 * 1.1 * share) as Sequence),
            Step::Scan(from, to) => {
                let at = |share: f64| 1 + (self.last() as f64 * share) as Sequence;
                self.scan(at(from), at(to));
            }
            Step::Close(settings) => {
                self.journal.close().expect("closes");
                assert!(matches!(self.journal.append(1, 0, b"x"), Err(Error::Closed)));
                self.ended();
                self.durable = self.last();
                self.reopen(self.disk.kill(), settings, Some(End::Closed));
            }
            Step::Drop(settings) => {
                self.journal = open(&SimDisk::new(1), &settings.options()).0;
                self.ended();
                self.durable = self.last();
                self.reopen(self.disk.kill(), settings, Some(End::Closed));
            }
            Step::Kill(settings) => {
                self.durable = self.durable.max(self.written).max(self.journal.written());
                self.reopen(self.disk.kill(), settings, None);
            }
            Step::Crash(seed, settings) => {
                let crash = match seed % 5 {
                    0 => Crash::LoseAll,
                    1 => Crash::KeepAll,
                    _ => Crash::Random(seed),
                };
                self.reopen(self.disk.reboot(crash), settings, None);
            }
        }
        self.look();
    }

    /// What holds at each moment.
    fn look(&mut self) {
        let (durable, written, appended) = (self.journal.durable(), self.journal.written(), self.journal.appended());
        assert!(durable >= self.durable, "durable {durable}, acknowledged {}", self.durable);
        assert!(written >= self.written.max(durable), "written {written}, acknowledged {} {durable}", self.written);
        assert_eq!(appended, self.last());
        self.durable = durable;
        self.written = written;
        assert!(self.journal.first() <= self.released, "nothing that is needed is gone");
        for ticket in &self.held {
            let level = ticket.level().expect("nothing fails here");
            assert!(level != Level::Durable || ticket.last() <= durable, "never early");
            assert!(level == Level::Durable || ticket.last() > durable, "never late");
        }
        assert!(self.called.load(Ordering::SeqCst) <= self.calls);
    }

    /// The journal ended in good order: everyone was told.
    fn ended(&mut self) {
        for ticket in self.held.drain(..) {
            assert_eq!(ticket.level().expect("closing makes durable"), Level::Durable);
        }
        assert_eq!(self.called.load(Ordering::SeqCst), self.calls, "each callback once");
    }

    fn append(&mut self, (log, kind): (LogNumber, u8), sizes: &[Size], class: Class, full: WhenFull, then: Then) {
        let bound = self.journal.record_bytes_max();
        let mut batch = Batch::new();
        let mut stored: Vec<Stored> = Vec::new();
        for size in sizes {
            let bytes = match size {
                Size::Bytes(bytes) => *bytes,
                Size::Bound => bound,
                Size::OverBound => bound + 1,
            };
            let payload = payload(self.last() + stored.len() as Sequence + 1, bytes);
            let log = log + stored.len() as u32 % 3;
            batch.push(log, kind, &payload);
            if let Some(before) = stored.last_mut() {
                before.more = true;
            }
            stored.push(Stored { log, kind, more: false, payload });
        }
        let bounded = sizes.len() == 1 || sizes.iter().all(|size| matches!(size, Size::Bytes(_)));
        let over = sizes.iter().any(|size| matches!(size, Size::OverBound)) || !bounded;
        let ticket = match self.journal.append_batch(&batch, Append { class, full, ..Append::default() }) {
            Ok(ticket) => ticket,
            Err(Error::InvalidAppend { .. }) => return assert!(sizes.is_empty()),
            Err(Error::TooLarge { what, max, .. }) => {
                let total: usize = stored.iter().map(|record| record.payload.len() + 20).sum();
                assert!(over || total > 20_000, "a {what} over {max}");
                return;
            }
            Err(Error::QueueFull { bytes, max }) => {
                return assert!(full == WhenFull::Fail && bytes + batch.bytes() > max);
            }
            Err(error) => panic!("{error}"),
        };
        assert!(!over && !sizes.is_empty());
        assert_eq!((ticket.first(), ticket.last()), (self.last() + 1, self.last() + sizes.len() as Sequence));
        self.records.extend(stored);
        let last = ticket.last();
        match then {
            Then::Wait => {
                let asked = matches!(class, Class::Now | Class::Within(_)) || self.policy != SyncPolicy::Never;
                match ticket.wait() {
                    Ok(sequence) => {
                        assert_eq!(sequence, last);
                        self.durable = last;
                    }
                    Err(Error::NeverDurable) => assert!(!asked),
                    Err(error) => panic!("{error}"),
                }
            }
            Then::WaitWritten => {
                ticket.wait_written().expect("writes");
                self.written = last;
            }
            Then::Hold => self.held.push(ticket),
            Then::Drop => drop(ticket),
            Then::Call => {
                let called = self.called.clone();
                self.calls += 1;
                let never = self.policy == SyncPolicy::Never && matches!(class, Class::Policy | Class::OnFlush);
                ticket.on_durable(move |result| {
                    if result.map_or_else(|error| never && matches!(error, Error::NeverDurable), |got| got == last) {
                        called.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        }
    }

    fn same(&self, record: &Record) {
        let Record { log, kind, more, payload, .. } = record;
        let stored = &self.records[record.sequence as usize - 1];
        assert_eq!((*log, *kind, *more), (stored.log, stored.kind, stored.more), "record {}", record.sequence);
        assert!(*payload == stored.payload, "the payload of record {}", record.sequence);
    }

    fn read(&self, sequence: Sequence) {
        match self.journal.read(sequence) {
            Ok(record) => {
                assert_eq!(record.sequence, sequence);
                self.same(&record);
            }
            Err(Error::Released { first, .. }) => assert!(sequence < first && first <= self.released),
            Err(Error::NotYet { next, .. }) => assert!(sequence >= next && next > self.written),
            Err(error) => panic!("{error}"),
        }
    }

    fn scan(&self, from: Sequence, to: Sequence) {
        let mut next = from.max(self.journal.first());
        for record in self.journal.scan(next..to) {
            let record = record.expect("reads");
            assert_eq!(record.sequence, next);
            self.same(&record);
            next += 1;
        }
        let readable = to.min(self.journal.written() + 1);
        assert!(next >= readable, "the scan ended at {next} and not at {readable}");
    }

    fn reopen(&mut self, disk: SimDisk, settings: Settings, end: Option<End>) {
        self.held.clear();
        self.calls = 0;
        self.called = Arc::default();
        let (journal, report) = open(&disk, &settings.options());
        assert_eq!(report.damage, [], "a crash is no damage: {report}");
        assert!(end.is_none_or(|end| report.end == end && report.cut.is_none()), "{report}");
        let recovered = report.next - 1;
        assert!(recovered >= self.durable, "{} was durable: {report}", self.durable);
        assert!(recovered <= self.last(), "{} was the last: {report}", self.last());
        assert!(report.cut.as_ref().is_none_or(|cut| cut.first == report.next), "{report}");
        assert!(report.first <= self.released, "{report}");
        self.records.truncate(recovered as usize);
        assert!(self.records.last().is_none_or(|record| !record.more), "batches are whole or not there");
        assert_eq!(journal.durable(), recovered, "what is served is durable");
        // Whatever comes next: a power cut now leaves the same.
        let after = disk.reboot(Crash::LoseAll);
        let reader = Reader::open_with(FOLDER, &ReadOptions::default(), after.world()).expect("opens to read");
        assert_eq!((reader.last(), reader.report().damage.len()), (recovered, 0), "{}", reader.report());
        self.disk = disk;
        self.journal = journal;
        self.policy = settings.policy;
        self.durable = recovered;
        self.written = recovered;
        self.released = self.released.min(recovered + 1);
        self.scan(1, recovered + 1);
    }
}

fn cases() -> u32 {
    std::env::var("DURAMEN_PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_journal_is_a_vector(first in settings(), steps in prop::collection::vec(step(), 1..120)) {
        let mut run = Run::new(first);
        for step in steps {
            run.step(step);
        }
        run.journal.close().expect("closes");
        run.ended();
    }
}
