//! The whole writer under shuttle: appenders, waiters, callbacks, a sync and a close meet in random orders on the
//! simulated disk, with the flusher and the keeper as threads of the exploration. Nobody hangs (shuttle reports a
//! deadlock), everyone is told once, and the watermark only grows.
//!
//! Compiled only with `--cfg shuttle`; `DURAMEN_SHUTTLE_ITERATIONS` sets how many orders are tried.

#![cfg(shuttle)]

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use duramen_journal::disk::sim::{Crash, Effect, Fault, Operation, Personality, SimDisk, Survivors, errno};
use duramen_journal::disk::{Environment, SyncMethod, Worker, World};
use duramen_journal::{Append, Batch, Class, End, Error, Journal, Level, Options, SyncPolicy};
use shuttle::scheduler::RandomScheduler;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

const FOLDER: &str = "/data";

/// Futexes and threads of the exploration; time passes when somebody waits for it.
struct Explored {
    nanoseconds: AtomicU64,
    entropy: AtomicU64,
    /// Who sleeps on which word, and whether it was woken.
    sleepers: Mutex<Vec<(usize, u64, bool)>>,
    bell: Condvar,
    tickets: AtomicU64,
}

impl Explored {
    fn world(disk: &SimDisk) -> World {
        let environment = Explored {
            nanoseconds: AtomicU64::new(0),
            entropy: AtomicU64::new(1),
            sleepers: Mutex::new(Vec::new()),
            bell: Condvar::new(),
            tickets: AtomicU64::new(0),
        };
        World { environment: Arc::new(environment), ..disk.world() }
    }
}

impl fmt::Debug for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Explored")
    }
}

struct Thread(thread::JoinHandle<()>);

impl Worker for Thread {
    fn join(self: Box<Self>) {
        self.0.join().expect("a thread of the journal never panics");
    }
}

impl Environment for Explored {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::SeqCst))
    }

    fn entropy(&self, out: &mut [u8]) -> io::Result<()> {
        let drawn = self.entropy.fetch_add(1, Ordering::SeqCst).to_le_bytes();
        out.iter_mut().zip(drawn.iter().cycle()).for_each(|(byte, drawn)| *byte = *drawn);
        Ok(())
    }

    fn spawn(&self, _name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Option<Box<dyn Worker>>> {
        Ok(Some(Box::new(Thread(thread::spawn(work)))))
    }

    fn wait(&self, word: &shuttle::sync::atomic::AtomicU32, expected: u32, timeout: Option<Duration>) {
        if let Some(timeout) = timeout {
            // Whoever has a timeout may always find that it is over.
            self.nanoseconds.fetch_add(timeout.as_nanos() as u64, Ordering::SeqCst);
            thread::yield_now();
            return;
        }
        let mut sleepers = self.sleepers.lock().expect("nobody panics with it");
        if word.load(Ordering::SeqCst) != expected {
            return;
        }
        let me = self.tickets.fetch_add(1, Ordering::SeqCst);
        sleepers.push((std::ptr::from_ref(word).addr(), me, false));
        loop {
            let place = sleepers.iter().position(|sleeper| sleeper.1 == me).expect("only it takes itself out");
            if sleepers[place].2 {
                sleepers.remove(place);
                return;
            }
            sleepers = self.bell.wait(sleepers).expect("nobody panics with it");
        }
    }

    fn wake(&self, word: &shuttle::sync::atomic::AtomicU32, count: u32) {
        let mut sleepers = self.sleepers.lock().expect("nobody panics with it");
        let address = std::ptr::from_ref(word).addr();
        let asleep = sleepers.iter_mut().filter(|sleeper| sleeper.0 == address && !sleeper.2);
        asleep.take(count as usize).for_each(|sleeper| sleeper.2 = true);
        self.bell.notify_all();
    }
}

fn options(policy: SyncPolicy) -> Options {
    Options {
        segment_bytes: 64 << 10,
        policy,
        sync_method: Some(SyncMethod::DataSync),
        tail_cache_bytes: 0,
        read_cache_bytes: 0,
        read_buffer_bytes: 4096,
        idle_mark: None,
        ..Options::default()
    }
}

fn explore(run: impl Fn() + Send + Sync + 'static) {
    let iterations = std::env::var("DURAMEN_SHUTTLE_ITERATIONS").ok().and_then(|text| text.parse().ok());
    explore_so_often(iterations.unwrap_or(1000), run);
}

fn explore_so_often(iterations: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    // Header pages and index blocks are made on the stack.
    config.stack_size = 512 << 10;
    shuttle::Runner::new(RandomScheduler::new(iterations), config).run(run);
}

/// A disk with an empty journal and its files made: so that the runs explore the writer and not the zero-fill.
fn made() -> SimDisk {
    static MADE: OnceLock<SimDisk> = OnceLock::new();
    MADE.get_or_init(|| {
        let disk = SimDisk::new(3);
        let shared = disk.clone();
        explore_so_often(1, move || {
            let (journal, _) = Journal::open_with(FOLDER, &options(SyncPolicy::Always), shared.world()).expect("opens");
            journal.close().expect("closes");
        });
        disk
    })
    .kill()
}

fn open(disk: &SimDisk, options: &Options) -> Journal {
    Journal::open_with(FOLDER, options, Explored::world(disk)).expect("opens").0
}

/// All that is on the disk after a power cut: a prefix of the sequences, in each log the payloads in their order.
fn recovered(disk: &SimDisk, logs: usize) -> u64 {
    let disk = disk.reboot(Crash::LoseAll);
    let (journal, report) =
        Journal::open_with(FOLDER, &options(SyncPolicy::Always), disk.world()).expect("opens after a crash");
    assert_eq!(report.damage, []);
    let mut next = vec![0u8; logs + 1];
    for record in journal.scan(..) {
        let record = record.expect("reads");
        assert_eq!(record.payload[0], next[record.log as usize], "the order of log {}", record.log);
        next[record.log as usize] += 1;
    }
    report.next - 1
}

/// What the threads count together; plain, because it is looked at when they have ended.
#[derive(Default)]
struct Counts {
    called: AtomicU64,
    failed: AtomicU64,
}

#[test]
fn appenders_waiters_callbacks_a_sync_and_a_close() {
    let disk = made();
    explore(move || {
        let disk = disk.kill();
        let journal = open(&disk, &options(SyncPolicy::Always));
        let counts = Arc::new(Counts::default());
        let mut threads = Vec::new();
        for log in 1..=3u32 {
            let (journal, counts) = (journal.clone(), counts.clone());
            threads.push(thread::spawn(move || {
                let mut held = None;
                for index in 0..3u8 {
                    let ticket = journal.append(log, 0, &[index]).expect("appends");
                    let last = ticket.last();
                    match (log + u32::from(index)) % 4 {
                        0 => {
                            assert_eq!(ticket.wait().expect("durable"), last);
                            assert!(journal.durable() >= last, "the watermark is never behind an acknowledgement");
                        }
                        1 => {
                            let counts = counts.clone();
                            ticket.on_durable(move |result| {
                                counts.called.fetch_add(u64::from(result.is_ok()), Ordering::SeqCst);
                            });
                        }
                        2 => drop(ticket),
                        _ => held = Some(ticket),
                    }
                }
                held
            }));
        }
        let syncer = {
            let journal = journal.clone();
            thread::spawn(move || {
                let mut seen = 0;
                for _ in 0..2 {
                    let synced = journal.sync().expect("syncs");
                    let durable = journal.durable();
                    assert!(durable >= synced && synced >= seen, "it never falls");
                    seen = synced;
                }
            })
        };
        let held: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().expect("succeeds")).collect();
        syncer.join().expect("succeeds");
        journal.close().expect("closes");
        for ticket in held {
            assert_eq!(ticket.level().expect("succeeds"), Level::Durable);
        }
        // (log + index) % 4 == 1: log 1 with its first, log 3 with its last.
        assert_eq!(counts.called.load(Ordering::SeqCst), 2, "each callback once");
        assert_eq!(journal.durable(), 9);
        drop(journal);
        assert_eq!(recovered(&disk, 3), 9);
    });
}

#[test]
fn a_lone_waiter_beside_held_and_dropped_tickets() {
    let disk = made();
    explore(move || {
        let disk = disk.kill();
        let journal = open(&disk, &options(SyncPolicy::Always));
        let other = {
            let journal = journal.clone();
            thread::spawn(move || {
                drop(journal.append(1, 0, &[0]).expect("appends"));
                let held = journal.append(1, 0, &[1]).expect("appends");
                let mut follow = journal.follow(1);
                for sequence in 1..=2 {
                    let record = follow.next(None).expect("reads").expect("not closed yet");
                    assert_eq!(record.sequence, sequence, "what is only held becomes durable too");
                }
                drop(held);
            })
        };
        let ticket = journal.append(2, 0, &[0]).expect("appends");
        ticket.wait_written().expect("writes");
        ticket.wait().expect("durable");
        other.join().expect("succeeds");
    });
}

#[test]
fn back_pressure_lets_everyone_through() {
    let disk = made();
    explore(move || {
        let disk = disk.kill();
        let tight = Options { queue_bytes_max: 60, commit_bytes_max: 40, ..options(SyncPolicy::Always) };
        let journal = open(&disk, &tight);
        let threads: Vec<_> = (1..=3u32)
            .map(|log| {
                let journal = journal.clone();
                thread::spawn(move || {
                    for index in 0..3u8 {
                        drop(journal.append(log, 0, &[index; 20]).expect("waits for room"));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("succeeds"));
        assert_eq!(journal.sync().expect("syncs"), 9);
        drop(journal);
        assert_eq!(recovered(&disk, 3), 9);
    });
}

#[test]
fn intervals_classes_and_a_policy_that_is_raised() {
    let disk = made();
    explore(move || {
        let disk = disk.kill();
        let journal = open(&disk, &options(SyncPolicy::Interval(Duration::from_secs(1))));
        let waiter = {
            let journal = journal.clone();
            thread::spawn(move || journal.append(1, 0, &[0]).expect("appends").wait().expect("its interval ends"))
        };
        let prompt = {
            let journal = journal.clone();
            thread::spawn(move || {
                let mut batch = Batch::new();
                batch.push(2, 0, &[0]);
                let how = Append { class: Class::Now, ..Append::default() };
                journal.append_batch(&batch, how).expect("appends").wait().expect("now")
            })
        };
        journal.set_policy(SyncPolicy::Always);
        let last = journal.append(3, 0, &[0]).expect("appends").wait().expect("now");
        let mut all = [waiter.join().expect("succeeds"), prompt.join().expect("succeeds"), last];
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
        drop(journal);
        assert_eq!(recovered(&disk, 3), 3);
    });
}

#[test]
fn a_failed_sync_tells_everyone() {
    let disk = made();
    explore(move || {
        let disk = disk.kill();
        let journal = open(&disk, &options(SyncPolicy::Always));
        let effect =
            Effect::FailedSync { code: errno::EIO, personality: Personality::Forever, survivors: Survivors::Nothing };
        disk.fault(Fault::new(effect).on(Operation::SyncData).skip(1));
        let counts = Arc::new(Counts::default());
        let threads: Vec<_> = (1..=3u32)
            .map(|log| {
                let (journal, counts) = (journal.clone(), counts.clone());
                thread::spawn(move || {
                    let mut good = 0u64;
                    for index in 0..2u8 {
                        let ticket = match journal.append(log, 0, &[index]) {
                            Ok(ticket) => ticket,
                            Err(error) => {
                                assert!(matches!(error, Error::Poisoned { .. }));
                                counts.called.fetch_add(1, Ordering::SeqCst);
                                continue;
                            }
                        };
                        if log == 3 {
                            let counts = counts.clone();
                            ticket.on_durable(move |result| {
                                counts.called.fetch_add(1, Ordering::SeqCst);
                                counts.failed.fetch_add(u64::from(result.is_err()), Ordering::SeqCst);
                            });
                            continue;
                        }
                        counts.called.fetch_add(1, Ordering::SeqCst);
                        match ticket.wait() {
                            Ok(sequence) => good = good.max(sequence),
                            Err(error) => assert!(matches!(error, Error::Unknown { .. }), "{error}"),
                        }
                    }
                    good
                })
            })
            .collect();
        let good = threads.into_iter().map(|thread| thread.join().expect("succeeds")).max().unwrap_or(0);
        let durable = journal.durable();
        assert!(durable >= good);
        let _ = journal.close();
        drop(journal);
        assert_eq!(counts.called.load(Ordering::SeqCst), 6, "each is told once");
        let healed = disk.reboot(Crash::LoseAll);
        healed.set_read_only(false);
        assert!(recovered(&healed, 3) >= durable, "what was acknowledged is there");
    });
}

#[test]
fn closing_beside_appends() {
    let disk = made();
    explore(move || {
        let disk = disk.kill();
        let journal = open(&disk, &options(SyncPolicy::Always));
        let threads: Vec<_> = (1..=2u32)
            .map(|log| {
                let journal = journal.clone();
                thread::spawn(move || {
                    let mut good = 0u64;
                    for index in 0..2u8 {
                        match journal.append(log, 0, &[index]).and_then(|ticket| ticket.wait()) {
                            Ok(_) => good += 1,
                            Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
                        }
                    }
                    good
                })
            })
            .collect();
        journal.close().expect("closes");
        let good: u64 = threads.into_iter().map(|thread| thread.join().expect("succeeds")).sum();
        drop(journal);
        let disk = disk.reboot(Crash::LoseAll);
        let (_, report) = Journal::open_with(FOLDER, &options(SyncPolicy::Always), disk.world()).expect("opens");
        assert_eq!((report.end, report.next), (End::Closed, good + 1), "exactly what was acknowledged");
    });
}
