//! Many threads on one folder, on a disk that fills up and empties again: what was acknowledged is there, nothing follows on
//! what was refused, and every receipt completes once.

#![allow(clippy::disallowed_methods, reason = "the test is about threads")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use duramen_journal::World;
use duramen_journal::disk::real::RealEnvironment;
use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_raft::{Config, Error, FlushPolicy, Plain, RaftLog, RaftLogs, Receipt, Strategy};

use crate::simulated::{entry, id, open, small};

/// The simulated disk with the real clock and real threads.
fn threaded(disk: &SimDisk) -> World {
    World { environment: Arc::new(RealEnvironment), ..disk.world() }
}

fn bytes_of(index: u64) -> usize {
    200 + (index as usize * 37) % 2_000
}

/// Appends, with a few receipts in the air, until told to stop. Returns the highest index that was durable.
fn append_on(log: &RaftLog<Plain>, stop: &AtomicBool, refused: &AtomicU64) -> u64 {
    let mut held: Vec<(u64, Receipt<Plain>)> = Vec::new();
    let mut durable = 0;
    let mut settle = |held: &mut Vec<(u64, Receipt<Plain>)>| {
        for (index, receipt) in held.drain(..) {
            match receipt.wait_durable() {
                Ok(()) => durable = durable.max(index),
                Err(error) if error.is_no_space() => {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    while !stop.load(Ordering::Relaxed) {
        let next = log.reader().next_index().unwrap_or(1);
        match log.writer().append(vec![entry(1, next, bytes_of(next))]) {
            Ok(receipt) => held.push((next, receipt)),
            Err(Error::Refused(_)) => {}
            Err(error) => {
                assert!(error.is_no_space(), "{error}");
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        if held.len() == 40 {
            settle(&mut held);
        }
    }
    settle(&mut held);
    durable
}

fn run(config: &Config, seed: u64) {
    let disk = SimDisk::new(seed);
    let world = threaded(&disk);
    let (logs, _) = RaftLogs::<Plain>::open_with(config.clone(), world).expect("opens");
    let (stop, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let groups: Vec<RaftLog<Plain>> = (1..=3).map(|number| logs.group(number).expect("a group")).collect();
    let durable: Vec<u64> = std::thread::scope(|scope| {
        let appenders = groups.iter().map(|log| scope.spawn(|| append_on(log, &stop, &refused)));
        let appenders: Vec<_> = appenders.collect();
        for _ in 0..6 {
            disk.set_capacity(Some(disk.used()));
            let before = refused.load(Ordering::Relaxed);
            while refused.load(Ordering::Relaxed) < before + 30 && !appenders.iter().any(|thread| thread.is_finished())
            {
                std::thread::yield_now();
                // Readers meet the refusals, too.
                for log in &groups {
                    let Some(next) = log.reader().next_index() else { continue };
                    match log.reader().entry(next - 1) {
                        Ok(read) => assert_eq!(read, entry(1, next - 1, bytes_of(next - 1))),
                        Err(Error::NotYet { .. }) => {}
                        Err(error) => assert!(error.is_no_space(), "{error}"),
                    }
                }
            }
            disk.set_capacity(None);
            // Some get through before the disk is full again.
            let written = logs.stats().journal.written;
            while logs.stats().journal.written < written + 60 && !appenders.iter().any(|thread| thread.is_finished()) {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        appenders.into_iter().map(|thread| thread.join().expect("no appender panics")).collect()
    });
    let next: Vec<Option<u64>> = groups.iter().map(|log| log.reader().next_index()).collect();
    logs.sync().expect("there is space");
    drop((groups, logs));
    let (logs, opened) = open(&disk.reboot(Crash::LoseAll), config);
    assert!(opened.losses.is_empty(), "{opened:?}");
    for (place, number) in (1..=3).enumerate() {
        let log = logs.group(number).expect("a group");
        assert_eq!(log.reader().next_index(), next[place], "what was there is there");
        assert!(next[place].unwrap_or(1) > durable[place], "acknowledged up to {}", durable[place]);
        for (place, read) in log.reader().stream(..).expect("a range").enumerate() {
            let index = place as u64 + 1;
            assert_eq!(read.expect("reads"), entry(1, index, bytes_of(index)));
        }
        assert_eq!(log.reader().log_id(1).ok(), next[place].map(|_| id(1, 1)));
    }
}

#[test]
fn a_disk_that_fills_up_under_many_threads() {
    let flush = FlushPolicy::Batch { threshold: 30, interval: std::time::Duration::from_millis(3) };
    let mut short_queue = Config { strategy: Strategy::MemFirst, flush, ..small() };
    short_queue.journal.queue_bytes_max = 16 << 10;
    for (seed, config) in [
        (1, small()),
        (2, Config { log_cache_max_items: 5, ..small() }),
        (3, Config { strategy: Strategy::MemFirst, flush, ..small() }),
        (4, short_queue),
    ] {
        (0..4).for_each(|round| run(&config, seed * 10 + round));
    }
}
