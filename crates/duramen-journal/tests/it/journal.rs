//! The journal on the real disk, in a temporary folder: what each user would try first.

#![allow(clippy::disallowed_methods, reason = "a test with real files and real threads")]

use std::path::PathBuf;
use std::time::Duration;

use duramen_journal::disk::real;
use duramen_journal::{Append, Batch, Class, Codec, End, Error, FreshPages, Journal, Options, Reader, SyncPolicy};

/// A folder that goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("duramen-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn small() -> Options {
    Options { segment_bytes: 64 << 10, ..Options::default() }
}

fn open(folder: &Folder, options: &Options) -> (Journal, duramen_journal::Report) {
    Journal::open_with(&folder.0, options, real::world()).expect("opens")
}

fn payload(index: u64) -> Vec<u8> {
    format!("record {index} {}", "x".repeat((index % 300) as usize)).into_bytes()
}

#[test]
fn appends_are_there_after_closing_and_reopening() {
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd(1)] {
        for fresh_pages in [FreshPages::Never, FreshPages::Always] {
            let folder = Folder::new("reopen");
            let options = Options { codec, fresh_pages, policy: SyncPolicy::Never, ..small() };
            let (journal, report) = open(&folder, &options);
            assert_eq!(report.end, End::New);
            for index in 1..=3000u64 {
                let ticket = journal.append(1 + (index % 3) as u32, 7, &payload(index)).expect("appends");
                assert_eq!(ticket.first(), index);
            }
            assert_eq!(journal.sync().expect("syncs"), 3000);
            check(&journal, 3000);
            journal.close().expect("closes");
            drop(journal);
            let (journal, report) = open(&folder, &options);
            assert_eq!(report.end, End::Closed, "{report}");
            assert_eq!((report.first, report.next), (1, 3001), "{report}");
            assert!(report.segments > 3, "{report}");
            check(&journal, 3000);
            drop(journal);
            let reader = Reader::open(&folder.0).expect("opens to read");
            assert_eq!(reader.report().end, End::Closed);
            assert_eq!(reader.scan(..).count(), 3000);
        }
    }
}

fn check(journal: &Journal, last: u64) {
    let mut next = 1;
    for record in journal.scan(..) {
        let record = record.expect("reads");
        assert_eq!(record.sequence, next);
        assert_eq!(record.payload, payload(next));
        assert_eq!((record.log, record.kind), (1 + (next % 3) as u32, 7));
        next += 1;
    }
    assert_eq!(next, last + 1);
    let (mut lent, mut scan) = (0, journal.scan(..));
    for record in journal.scan(..) {
        let record = record.expect("reads");
        assert_eq!(scan.next_borrowed().expect("as many").expect("reads"), record.borrow());
        lent += 1;
    }
    assert!(scan.next_borrowed().is_none() && lent == last);
    for sequence in [1, 2, last / 2, last - 1, last] {
        assert_eq!(journal.read(sequence).expect("reads").payload, payload(sequence));
    }
}

#[test]
fn waiting_makes_durable_and_batches_are_atomic() {
    let folder = Folder::new("wait");
    let (journal, _) = open(&folder, &small());
    assert_eq!(journal.append(1, 0, b"one").expect("appends").wait().expect("durable"), 1);
    assert_eq!(journal.durable(), 1);
    let mut batch = Batch::new();
    batch.push(2, 1, b"two");
    batch.push(3, 2, b"");
    let ticket = journal.append_batch(&batch, Append::default()).expect("appends");
    assert_eq!((ticket.first(), ticket.last()), (2, 3));
    assert_eq!(ticket.wait().expect("durable"), 3);
    assert!(journal.read(2).expect("reads").more);
    assert!(!journal.read(3).expect("reads").more);
    assert!(matches!(journal.read(4), Err(Error::NotYet { sequence: 4, next: 4 })));
    assert!(matches!(journal.append(0, 0, b"x"), Err(Error::InvalidAppend { .. })));
    assert!(matches!(journal.append(1, 0, &vec![0; 64 << 10]), Err(Error::TooLarge { .. })));
}

#[test]
fn many_threads_share_syncs() {
    let folder = Folder::new("threads");
    let (journal, _) = open(&folder, &Options { segment_bytes: 1 << 20, ..Options::default() });
    std::thread::scope(|scope| {
        for thread in 0..16u32 {
            let journal = journal.clone();
            scope.spawn(move || {
                for index in 0..200u32 {
                    let ticket = journal.append(1 + thread, 0, &index.to_le_bytes()).expect("appends");
                    let sequence = ticket.wait().expect("durable");
                    assert!(journal.durable() >= sequence);
                }
            });
        }
    });
    let stats = journal.stats();
    assert_eq!(stats.durable, 3200);
    assert!(stats.syncs < 3200, "{stats:?}");
    let mut next = [0u32; 17];
    for record in journal.scan(..) {
        let record = record.expect("reads");
        let log = record.log as usize;
        assert_eq!(record.payload, next[log].to_le_bytes()[..], "each log's records keep their order");
        next[log] += 1;
    }
}

#[test]
fn an_interval_has_a_real_timer_and_never_says_so() {
    let folder = Folder::new("interval");
    let interval = Duration::from_millis(20);
    let (journal, _) = open(&folder, &Options { policy: SyncPolicy::Interval(interval), ..small() });
    assert_eq!(journal.append(1, 0, b"one").expect("appends").wait().expect("durable"), 1);
    drop(journal.append(1, 0, b"two").expect("appends"));
    let mut follow = journal.follow(2);
    assert_eq!(follow.next(Some(Duration::from_secs(5))).expect("reads").expect("came").sequence, 2);
    journal.set_policy(SyncPolicy::Never);
    assert!(matches!(journal.append(1, 0, b"three").expect("appends").wait(), Err(Error::NeverDurable)));
    let now = Append { class: Class::Now, ..Append::default() };
    let mut batch = Batch::new();
    batch.push(1, 0, b"four");
    assert_eq!(journal.append_batch(&batch, now).expect("appends").wait().expect("durable"), 4);
}

#[test]
fn a_held_ticket_becomes_durable_and_callbacks_run_once() {
    let folder = Folder::new("held");
    let (journal, _) = open(&folder, &small());
    let held = journal.append(1, 0, b"held").expect("appends");
    let mut follow = journal.follow(1);
    assert!(follow.next(Some(Duration::from_secs(5))).expect("reads").is_some());
    // The watermark moves before those who hold tickets are told.
    assert_eq!(held.wait().expect("durable"), 1);
    let (send, receive) = std::sync::mpsc::channel();
    for _ in 0..100 {
        let send = send.clone();
        journal.append(1, 0, b"call").expect("appends").on_durable(move |result| {
            send.send(result.expect("durable")).expect("somebody listens");
        });
    }
    let got: Vec<u64> = receive.iter().take(100).collect();
    assert_eq!(got, (2..=101).collect::<Vec<_>>());
}

/// A commit that shared the sync of a later one, and whose ticket had been given up for a callback, was taken for one that nobody
/// waits for: its callback was dropped. A group of replicas found it, whose small records, which may use the reserve, part
/// commits from those that may not.
#[test]
fn a_commit_that_shares_a_sync_calls_back() {
    let folder = Folder::new("shared");
    let (journal, _) = open(&folder, &small());
    let (send, receive) = std::sync::mpsc::channel();
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    // What comes while the flusher is held up is queued.
    journal.append(1, 0, b"first").expect("appends").on_durable(move |_| _ = held.recv());
    for index in 0..5 {
        let how = Append { class: Class::Now, reserved: index % 2 == 0, ..Append::default() };
        let mut batch = Batch::new();
        batch.push(1, 0, b"call");
        let send = send.clone();
        journal.append_batch(&batch, how).expect("appends").on_durable(move |result| {
            send.send(result.expect("durable")).expect("somebody listens");
        });
    }
    drop((send, go_on));
    assert_eq!(receive.iter().collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
}

/// Under a policy with an interval a commit is written before it is synced. One whose tickets had all been given up for callbacks
/// looked like one that nobody waits for, and its callbacks were dropped unsaid. The decision log's suite found it.
#[test]
fn callbacks_outlive_the_time_between_writing_and_syncing() {
    let folder = Folder::new("left");
    let policy = SyncPolicy::Interval(Duration::from_secs(3600));
    let (journal, _) = open(&folder, &Options { policy, ..small() });
    let (send, receive) = std::sync::mpsc::channel();
    for round in 0..3 {
        let send = send.clone();
        let ticket = journal.append(1, 0, b"called").expect("appends");
        ticket.on_durable(move |result| send.send(result.expect("durable")).expect("somebody listens"));
        match round {
            0 => _ = journal.sync().expect("syncs"),
            1 => {
                journal.flush().expect("writes");
                drop(journal.append(1, 0, b"now").expect("appends"));
                journal.sync().expect("syncs");
            }
            _ => journal.close().expect("closes"),
        }
        assert_eq!(receive.recv_timeout(Duration::from_secs(5)).ok(), Some([1, 2, 4][round]), "round {round}");
    }
}

#[test]
fn release_frees_segments_and_survives_reopening() {
    let folder = Folder::new("release");
    let (journal, _) = open(&folder, &small());
    for index in 1..=2000u64 {
        drop(journal.append(1, 0, &payload(index)).expect("appends"));
    }
    journal.sync().expect("syncs");
    let before = journal.segments().len();
    journal.release(1500).expect("releases");
    assert!(journal.segments().len() < before);
    assert!(journal.first() > 1 && journal.first() <= 1500);
    assert!(matches!(journal.read(1), Err(Error::Released { .. })));
    assert_eq!(journal.read(1500).expect("reads").payload, payload(1500));
    for index in 2001..=4000u64 {
        drop(journal.append(1, 0, &payload(index)).expect("appends"));
    }
    journal.close().expect("closes");
    drop(journal);
    let (journal, report) = open(&folder, &small());
    assert_eq!(report.end, End::Closed, "{report}");
    assert!(report.first > 1 && report.first <= 1500, "{report}");
    assert_eq!(journal.scan(1500..).count(), 2501);
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let folder = Folder::new("locked");
    let (journal, _) = open(&folder, &small());
    let second = Journal::open_with(&folder.0, &small(), real::world());
    assert!(matches!(second, Err(Error::Locked { .. })));
    journal.append(1, 0, b"one").expect("appends").wait().expect("durable");
    // Beside a living writer only what a later commit calls durable is served.
    journal.append(1, 0, b"two").expect("appends").wait().expect("durable");
    let reader = Reader::open(&folder.0).expect("opens to read");
    assert_eq!(reader.report().end, End::Live);
    assert_eq!(reader.read(1).expect("reads").payload, &b"one"[..]);
    assert_eq!(reader.last(), 1);
}

#[test]
fn ten_thousand_futures_complete() {
    use std::future::Future;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};

    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let folder = Folder::new("futures");
    let (journal, _) = open(&folder, &Options { segment_bytes: 4 << 20, ..Options::default() });
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    for round in 0..10u64 {
        let tickets: Vec<_> =
            (0..1000u64).map(|index| journal.append(1, 0, &index.to_le_bytes()).expect("appends")).collect();
        for (index, ticket) in tickets.into_iter().enumerate() {
            let mut ticket = std::pin::pin!(ticket);
            let sequence = loop {
                match ticket.as_mut().poll(&mut context) {
                    Poll::Ready(result) => break result.expect("durable"),
                    Poll::Pending => std::thread::park(),
                }
            };
            assert_eq!(sequence, round * 1000 + index as u64 + 1);
        }
    }
}
