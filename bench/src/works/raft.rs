//! The works that Raft logs meet: many groups, purging under load, a mixed load at a fixed rate, and what a strategy
//! acknowledges.
//!
//! Where arrivals come at a fixed rate, a latency runs from the moment at which the arrival was due, so that an engine that
//! stands still is charged for all that waited meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Better, Context, Metric, Unit, Values, Work, percentile};
use crate::engine::{Ability, Acknowledgement, Engine, Outcome, Role, System, Traffic};
use crate::pool::{POOL_RECORDS, Pool, Random};

const fn metric(id: &'static str, title: &'static str, unit: Unit, better: Better) -> Metric {
    Metric { id, title, unit, better }
}

const fn latency(id: &'static str, title: &'static str) -> Metric {
    metric(id, title, Unit::Microseconds, Better::Lower)
}

/// The works of this module.
pub fn works() -> Vec<Work> {
    let work = |id, metrics, needs, run| Work { id, metrics, needs, interleaved: true, run };
    vec![
        work(
            "groups",
            const {
                &[metric(
                    "groups",
                    "1,000 groups; each time one entry to each of 100 of them, durable",
                    Unit::PerSecond,
                    Better::Higher,
                )]
            },
            &[Ability::Groups],
            groups,
        ),
        work(
            "purge",
            const {
                &[
                    metric("purge", "64 records an append, durable; purged each MiB", Unit::PerSecond, Better::Higher),
                    latency("purge_p99", "the same, p99 of an append"),
                ]
            },
            &[Ability::Segments],
            purge,
        ),
        work(
            "mixed",
            const {
                &[
                    latency("mixed_p50", "2,000 durable appends a second beside reads, median"),
                    latency("mixed_p99", "the same, p99"),
                    latency("mixed_p999", "the same, p99.9"),
                ]
            },
            &[Ability::Read],
            mixed,
        ),
        work(
            "strategy",
            const {
                &[
                    latency("strategy_p50", "one caller, acknowledged by the strategy's rule, median"),
                    latency("strategy_p99", "the same, p99"),
                    metric(
                        "available",
                        "of 40,000 arrivals a second, acknowledged within 10 ms",
                        Unit::Percent,
                        Better::Higher,
                    ),
                ]
            },
            &[Ability::Strategies],
            strategy,
        ),
        work(
            "index",
            const {
                &[metric(
                    "index_bytes",
                    "memory of the index for an entry, where 64 groups take turns",
                    Unit::Bytes,
                    Better::Lower,
                )]
            },
            &[Ability::Strategies],
            index,
        ),
    ]
}

const GROUPS: usize = 1_000;
const GROUPS_AT_ONCE: usize = 100;

fn groups(context: &Context, system: &dyn System) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let engine = context.open(system, scratch.path(), &context.setup(Acknowledgement::Durable, Traffic::OneCaller))?;
    let pool = Pool::new(context.scale.record_bytes);
    let lanes: Vec<usize> = (0..GROUPS).collect();
    let rounds = |duration: Duration| -> Outcome<(u64, Duration)> {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < duration {
            let from = count as usize * GROUPS_AT_ONCE % GROUPS;
            engine.append_to_all(&lanes[from..from + GROUPS_AT_ONCE], pool.record(count))?;
            count += 1;
        }
        Ok((count, start.elapsed()))
    };
    rounds(context.scale.duration / 10)?;
    let (count, elapsed) = rounds(context.scale.duration)?;
    engine.close()?;
    Ok(vec![Some((count * GROUPS_AT_ONCE as u64) as f64 / elapsed.as_secs_f64())])
}

const PURGE_BATCH: usize = 64;
const PURGE_EVERY_BYTES: u64 = 1 << 20;
const PURGE_SEGMENT_BYTES: u32 = 4 << 20;

/// Segments are small, so that purging gives files back again and again.
fn purge(context: &Context, system: &dyn System) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let mut setup = context.setup(Acknowledgement::Durable, Traffic::OneCaller);
    setup.segment_bytes = Some(PURGE_SEGMENT_BYTES);
    let engine = context.open(system, scratch.path(), &setup)?;
    let pool = Pool::new(context.scale.record_bytes);
    let table = pool.table(PURGE_BATCH);
    let mut latencies = Vec::new();
    let (mut place, mut unpurged) = (0, 0);
    let start = Instant::now();
    while start.elapsed() < context.scale.duration {
        let before = Instant::now();
        engine.append(0, &table[place..place + PURGE_BATCH], Acknowledgement::Durable)?;
        latencies.push(before.elapsed());
        place = (place + PURGE_BATCH) % POOL_RECORDS;
        unpurged += (PURGE_BATCH * context.scale.record_bytes) as u64;
        if unpurged >= PURGE_EVERY_BYTES {
            unpurged = 0;
            engine.release()?;
        }
    }
    let rate = (latencies.len() * PURGE_BATCH) as f64 / start.elapsed().as_secs_f64();
    engine.close()?;
    latencies.sort_unstable();
    Ok(vec![Some(rate), microseconds(&latencies, 0.99)])
}

fn microseconds(sorted: &[Duration], share: f64) -> Option<f64> {
    percentile(sorted, share).map(|latency| latency.as_secs_f64() * 1e6)
}

/// Arrivals at a fixed rate.
#[derive(Clone, Copy)]
struct Arrivals {
    per_second: u64,
    /// So many callers share them, each in turn: more than any engine keeps busy.
    callers: usize,
    duration: Duration,
}

/// Lets arrivals come; returns their latencies, sorted. `appended` counts those of lane 0.
fn arrive(
    arrivals: Arrivals,
    appended: &AtomicU64,
    append: &(dyn Fn(usize) -> Outcome<()> + Sync),
) -> Outcome<Vec<Duration>> {
    let between = Duration::from_secs(1) / arrivals.per_second as u32;
    let start = Instant::now() + Duration::from_millis(5);
    let caller = |lane: usize| -> Outcome<Vec<Duration>> {
        let mut latencies = Vec::new();
        for number in (lane as u32..).step_by(arrivals.callers) {
            let due = start + between * number;
            if due > start + arrivals.duration {
                break;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            append(lane)?;
            latencies.push(due.elapsed());
            if lane == 0 {
                appended.fetch_add(1, Ordering::Release);
            }
            // An engine that cannot keep up at all is not waited for: what it has not taken by then counts as this late.
            if start.elapsed() > 4 * arrivals.duration {
                break;
            }
        }
        Ok(latencies)
    };
    let all = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..arrivals.callers).map(|lane| scope.spawn(move || caller(lane))).collect();
        let joined = callers.into_iter().map(|caller| caller.join().unwrap_or_else(|_| Err("a caller died".into())));
        joined.collect::<Outcome<Vec<Vec<Duration>>>>()
    })?;
    let mut latencies: Vec<Duration> = all.into_iter().flatten().collect();
    latencies.sort_unstable();
    Ok(latencies)
}

const MIXED: Arrivals = Arrivals { per_second: 2_000, callers: 16, duration: Duration::ZERO };
/// Entries that a reader asks for at once, as a leader does for a follower that lags a little.
const READ_AT_ONCE: u64 = 8;
const READ_EVERY: Duration = Duration::from_millis(1);
const READ_AMONG: u64 = 1_000;

fn mixed(context: &Context, system: &dyn System) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let engine =
        context.open(system, scratch.path(), &context.setup(Acknowledgement::Durable, Traffic::ManyCallers))?;
    let pool = Pool::new(context.scale.record_bytes);
    let (appended, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    // The raw bound's form for many callers reads nothing back.
    let reads = system.role() != Role::Raw;
    let arrivals = Arrivals { duration: 3 * context.scale.duration, ..MIXED };
    let append = |lane: usize| engine.append(lane, &[pool.record(lane as u64)], Acknowledgement::Durable);
    let latencies = std::thread::scope(|scope| {
        let reader = scope.spawn(|| if reads { read_beside(&*engine, &appended, &stop) } else { Ok(()) });
        let latencies = arrive(arrivals, &appended, &append);
        stop.store(true, Ordering::Release);
        reader.join().unwrap_or_else(|_| Err("the reader died".into()))?;
        latencies
    })?;
    engine.close()?;
    Ok([0.5, 0.99, 0.999].map(|share| microseconds(&latencies, share)).to_vec())
}

fn read_beside(engine: &dyn Engine, appended: &AtomicU64, stop: &AtomicBool) -> Outcome<()> {
    let mut random = Random::new(11);
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(READ_EVERY);
        let count = appended.load(Ordering::Acquire);
        if count < READ_AT_ONCE {
            continue;
        }
        let first = (count - READ_AT_ONCE).saturating_sub(random.below(READ_AMONG));
        for index in first..first + READ_AT_ONCE {
            engine.read(index, &mut |_| ())?;
        }
    }
    Ok(())
}

const AVAILABLE_WITHIN: Duration = Duration::from_millis(10);

fn strategy(context: &Context, system: &dyn System) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let engine = context.open(system, scratch.path(), &context.setup(Acknowledgement::Buffered, Traffic::OneCaller))?;
    let pool = Pool::new(context.scale.record_bytes);
    let mut latencies = Vec::new();
    let start = Instant::now();
    while start.elapsed() < context.scale.duration {
        let before = Instant::now();
        engine.append_by_strategy(0, &[pool.record(latencies.len() as u64)])?;
        latencies.push(before.elapsed());
        if latencies.len().is_multiple_of(100_000) {
            engine.release()?;
        }
    }
    latencies.sort_unstable();
    let arrivals = Arrivals { per_second: 40_000, callers: 4, duration: context.scale.duration };
    let append = |lane: usize| engine.append_by_strategy(lane, &[pool.record(lane as u64)]);
    let late = arrive(arrivals, &AtomicU64::new(0), &append)?;
    let due = arrivals.per_second as f64 * arrivals.duration.as_secs_f64();
    let prompt = late.iter().filter(|latency| **latency <= AVAILABLE_WITHIN).count() as f64;
    engine.close()?;
    Ok(vec![microseconds(&latencies, 0.5), microseconds(&latencies, 0.99), Some((100.0 * prompt / due).min(100.0))])
}

const INDEX_GROUPS: usize = 64;

/// Groups that take turns make each entry a run of its own: the worst that can be for an index of runs.
fn index(context: &Context, system: &dyn System) -> Outcome<Values> {
    const RECORD: [u8; 16] = [7; 16];
    let scratch = context.scratch()?;
    let mut setup = context.setup(Acknowledgement::Buffered, Traffic::OneCaller);
    setup.record_bytes = RECORD.len();
    let engine = system.open(scratch.path(), &setup)?;
    let before = engine.index_bytes();
    for number in 0..context.scale.records {
        engine.append(number as usize % INDEX_GROUPS, &[&RECORD], Acknowledgement::Buffered)?;
    }
    let after = engine.index_bytes();
    engine.close()?;
    let bytes = after.zip(before).map(|(after, before)| after.saturating_sub(before) as f64);
    Ok(vec![bytes.map(|bytes| bytes / context.scale.records as f64)])
}
