//! The works of the benchmark through the Raft log and through the journal below, side by side in one run: what the layer
//! costs. `cargo run --release -p duramen-raft --example figures -- FOLDER`

#![allow(
    clippy::disallowed_methods,
    reason = "an example measures time, on threads of its own, in a folder of its own"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use duramen_journal::{Append, Batch, Class, Journal, Options};
use duramen_raft::{Config, Entry, Error, FlushPolicy, Plain, RaftLog, RaftLogs, TermIndex};

const PAYLOAD_BYTES: usize = 256;
const TOTAL: u64 = 1_000_000;
/// Rounds of each work; the median counts.
const ROUNDS: usize = 5;

type Outcome<T> = Result<T, Error<Plain>>;

/// Operations a second.
fn rate(operations: u64, work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let began = Instant::now();
    work()?;
    Ok(operations as f64 / began.elapsed().as_secs_f64())
}

struct Place {
    base: PathBuf,
    used: u32,
}

impl Place {
    fn next(&mut self) -> PathBuf {
        let _ = std::fs::remove_dir_all(self.base.join(format!("{}", self.used)));
        self.used += 1;
        self.base.join(format!("{}", self.used))
    }
}

fn payload() -> Bytes {
    Bytes::from(vec![b'x'; PAYLOAD_BYTES])
}

fn entries(first: u64, count: u64, payload: &Bytes) -> Vec<Entry<Plain>> {
    (first..first + count).map(|index| Entry::new(TermIndex::new(1, index), payload.clone())).collect()
}

fn journal_at(path: &Path) -> Outcome<Journal> {
    Ok(Journal::open_with(path, &Options::default(), duramen_journal::World::real())?.0)
}

/// So many appends of so many records, each durable before the next.
fn synced(place: &mut Place, appends: u64, records: u64) -> Outcome<(f64, f64)> {
    let payload = payload();
    let journal = journal_at(&place.next())?;
    let own = rate(appends * records, || {
        for _ in 0..appends {
            let mut batch = Batch::new();
            (0..records).for_each(|_| batch.push(1, 2, &payload));
            journal.append_batch(&batch, Append::default())?.wait()?;
        }
        Ok(())
    })?;
    drop(journal);
    let (log, _) = RaftLog::<Plain>::open(Config::new(place.next()))?;
    let writer = log.writer();
    let raft = rate(appends * records, || {
        (0..appends).try_for_each(|round| writer.append(entries(1 + round * records, records, &payload))?.wait())
    })?;
    Ok((own, raft))
}

/// A hundred records an append, one sync at the end.
fn buffered(place: &mut Place) -> Outcome<(f64, f64)> {
    let payload = payload();
    let journal = journal_at(&place.next())?;
    let own = rate(TOTAL, || {
        for _ in 0..TOTAL / 100 {
            let mut batch = Batch::new();
            (0..100).for_each(|_| batch.push(1, 2, &payload));
            drop(journal.append_batch(&batch, Append { class: Class::OnFlush, ..Append::default() })?);
        }
        journal.sync()?;
        Ok(())
    })?;
    drop(journal);
    let interval = std::time::Duration::from_secs(60);
    let config = Config::mem_first(place.next(), FlushPolicy::Batch { threshold: u64::MAX, interval });
    let (log, _) = RaftLog::<Plain>::open(config)?;
    let writer = log.writer();
    let raft = rate(TOTAL, || {
        (0..TOTAL / 100).try_for_each(|round| writer.append(entries(1 + round * 100, 100, &payload))?.wait())?;
        writer.sync()
    })?;
    Ok((own, raft))
}

/// Threads, each with a group of its own, each append durable before that thread's next.
fn concurrent(place: &mut Place, threads: u32, appends: u64) -> Outcome<(f64, f64)> {
    let payload = payload();
    let journal = journal_at(&place.next())?;
    let total = u64::from(threads) * appends;
    let own = rate(total, || {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    (0..appends).for_each(|_| {
                        journal.append(1, 2, &payload).and_then(|ticket| ticket.wait()).expect("durable");
                    })
                });
            }
        });
        Ok(())
    })?;
    drop(journal);
    let (logs, _) = RaftLogs::<Plain>::open(Config::new(place.next()))?;
    let raft = rate(total, || {
        std::thread::scope(|scope| {
            for number in 1..=threads {
                let (logs, payload) = (&logs, &payload);
                scope.spawn(move || {
                    let writer = logs.group(number).expect("a group").writer();
                    (1..=appends).for_each(|index| {
                        let receipt = writer.append(entries(index, 1, payload));
                        receipt.and_then(|receipt| receipt.wait()).expect("durable");
                    });
                });
            }
        });
        Ok(())
    })?;
    Ok((own, raft))
}

/// Opening, a scan and random reads of what is stored; as (journal, raft) pairs in milliseconds and reads a second.
fn reading(place: &mut Place) -> Outcome<[(f64, f64); 3]> {
    let payload = payload();
    let (journal_path, raft_path) = (place.next(), place.next());
    let journal = journal_at(&journal_path)?;
    let (log, _) = RaftLog::<Plain>::open(Config::new(&raft_path))?;
    for round in 0..TOTAL / 1000 {
        let mut batch = Batch::new();
        (0..1000).for_each(|_| batch.push(1, 2, &payload));
        drop(journal.append_batch(&batch, Append::default())?);
        drop(log.writer().append(entries(1 + round * 1000, 1000, &payload))?);
    }
    journal.close()?;
    log.close()?;
    drop((journal, log));
    let began = Instant::now();
    let journal = journal_at(&journal_path)?;
    let own_open = began.elapsed().as_secs_f64() * 1e3;
    let began = Instant::now();
    // No cache: each read goes to the file.
    let config = Config { log_cache_capacity: 0, ..Config::new(&raft_path) };
    let (log, _) = RaftLog::<Plain>::open(config)?;
    let raft_open = began.elapsed().as_secs_f64() * 1e3;
    let own_scan = rate(TOTAL, || journal.scan(..).try_for_each(|record| record.map(|_| ()).map_err(Error::from)))?;
    let raft_scan = rate(TOTAL, || log.reader().stream(..)?.try_for_each(|entry| entry.map(|_| ())))?;
    let place_of = |round: u64| 1 + round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % TOTAL;
    let reads = 100_000;
    let own_random = rate(reads, || (0..reads).try_for_each(|round| Ok(journal.read(place_of(round)).map(|_| ())?)))?;
    let raft_random = rate(reads, || (0..reads).try_for_each(|round| log.reader().entry(place_of(round)).map(|_| ())))?;
    Ok([(own_open, raft_open), (own_scan, raft_scan), (own_random, raft_random)])
}

fn median(mut pairs: Vec<(f64, f64)>) -> (f64, f64) {
    pairs.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    pairs[pairs.len() / 2]
}

fn tell(name: &str, pairs: Vec<(f64, f64)>) {
    let (own, raft) = median(pairs);
    println!("{name:34} {own:14.0} {raft:14.0} {:8.2}", raft / own);
}

fn rounds(mut work: impl FnMut() -> Outcome<(f64, f64)>) -> Outcome<Vec<(f64, f64)>> {
    (0..ROUNDS).map(|_| work()).collect()
}

fn main() -> Outcome<()> {
    let Some(base) = std::env::args().nth(1) else {
        eprintln!("usage: figures FOLDER");
        return Ok(());
    };
    let mut place = Place { base: PathBuf::from(base).join("duramen-raft-figures"), used: 0 };
    println!("{:34} {:>14} {:>14} {:>8}", "work (records of 256 B)", "journal", "raft", "ratio");
    tell("sync1, a second", rounds(|| synced(&mut place, 3_000, 1))?);
    tell("sync64, records a second", rounds(|| synced(&mut place, 2_000, 64))?);
    tell("conc64, a second", rounds(|| concurrent(&mut place, 64, 2_000))?);
    tell("buffered, records a second", rounds(|| buffered(&mut place))?);
    let read: Vec<[(f64, f64); 3]> = (0..3).map(|_| reading(&mut place)).collect::<Result<_, _>>()?;
    tell("reopen 1M, microseconds", read.iter().map(|r| (r[0].0 * 1e3, r[0].1 * 1e3)).collect());
    tell("scan 1M, records a second", read.iter().map(|read| read[1]).collect());
    tell("random reads, a second", read.iter().map(|read| read[2]).collect());
    let _ = std::fs::remove_dir_all(&place.base);
    Ok(())
}
