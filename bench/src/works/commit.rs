//! The works that append: one caller, many callers, many appends in flight, buffered, streaming, across segments.
//!
//! Time-bound works warm up for a tenth of their time first, so that nobody's first file or first page is measured.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Better, Context, Metric, Unit, Values, Work, percentile};
use crate::engine::{Ability, Acknowledgement, Engine, Outcome, RELEASE_BYTES, System, Traffic};
use crate::pool::{POOL_RECORDS, Pool};

const fn throughput(id: &'static str, title: &'static str) -> Metric {
    Metric { id, title, unit: Unit::PerSecond, better: Better::Higher }
}

const fn latency(id: &'static str, title: &'static str) -> Metric {
    Metric { id, title, unit: Unit::Microseconds, better: Better::Lower }
}

const fn cost(id: &'static str, title: &'static str) -> Metric {
    Metric { id, title, unit: Unit::Nanoseconds, better: Better::Lower }
}

/// The works of this module.
pub fn works() -> Vec<Work> {
    let work = |id, metrics, needs, run| Work { id, metrics, needs, interleaved: true, run };
    vec![
        work(
            "sync1",
            const {
                &[
                    throughput("sync1", "one caller, each append durable before the next"),
                    latency("sync1_p50", "the same, median of an append"),
                    latency("sync1_p99", "the same, p99 of an append"),
                ]
            },
            &[],
            |context, system| durable_appends(context, system, 1),
        ),
        work(
            "sync64",
            const {
                &[
                    throughput("sync64", "64 records an append, each append durable"),
                    latency("sync64_p50", "the same, median of an append"),
                    latency("sync64_p99", "the same, p99 of an append"),
                ]
            },
            &[],
            |context, system| durable_appends(context, system, 64),
        ),
        work("conc16", const { &[throughput("conc16", "16 threads, each append durable")] }, &[], |context, system| {
            callers(context, system, 16)
        }),
        work("conc64", const { &[throughput("conc64", "64 threads, each append durable")] }, &[], |context, system| {
            callers(context, system, 64)
        }),
        work(
            "conc256",
            const { &[throughput("conc256", "256 threads, each append durable")] },
            &[],
            |context, system| callers(context, system, 256),
        ),
        work(
            "window64",
            const { &[throughput("window64", "64 appends in flight from one task")] },
            &[Ability::InFlight],
            |context, system| in_flight(context, system, 64),
        ),
        work(
            "window1024",
            const { &[throughput("window1024", "1,024 appends in flight from one task")] },
            &[Ability::InFlight],
            |context, system| in_flight(context, system, 1024),
        ),
        work(
            "window16384",
            const { &[throughput("window16384", "16,384 appends in flight from one task")] },
            &[Ability::InFlight],
            |context, system| in_flight(context, system, 16384),
        ),
        work(
            "buffered",
            const { &[throughput("buffered", "buffered, 100 records an append, one sync at the end")] },
            &[Ability::Buffer],
            buffered,
        ),
        work(
            "append128",
            const { &[cost("append128", "cost of a buffered record of 128 B")] },
            &[Ability::Buffer],
            |context, system| append_cost(context, system, 128, context.scale.records),
        ),
        work(
            "append1024",
            const { &[cost("append1024", "cost of a buffered record of 1 KiB")] },
            &[Ability::Buffer],
            |context, system| append_cost(context, system, 1024, context.scale.records / 4),
        ),
        work(
            "stream",
            const {
                &[Metric {
                    id: "stream",
                    title: "durable batches of 1 MiB (256 records of 4 KiB)",
                    unit: Unit::MebibytesPerSecond,
                    better: Better::Higher,
                }]
            },
            &[],
            stream,
        ),
        work(
            "switch",
            const {
                &[
                    latency("quiet_p99", "a paced commit of 4 KiB, p99, no segment switch"),
                    latency("switch_p99", "the same, a segment switch every 60 commits"),
                ]
            },
            &[],
            segment_switch,
        ),
    ]
}

/// Appends batches until the time is over; returns the appends after the warm-up and how long they took together.
fn append_for(
    engine: &dyn Engine,
    table: &[&[u8]],
    batch_records: usize,
    duration: Duration,
) -> Outcome<(Vec<Duration>, Duration)> {
    let mut latencies = Vec::new();
    let mut place = 0;
    let mut unreleased = 0;
    let mut append = || -> Outcome<()> {
        let result = engine.append(0, &table[place..place + batch_records], Acknowledgement::Durable);
        unreleased += table[place].len() as u64 * batch_records as u64;
        place = (place + batch_records) % POOL_RECORDS;
        if unreleased >= RELEASE_BYTES {
            unreleased = 0;
            engine.release()?;
        }
        result
    };
    let warm_until = Instant::now() + duration / 10;
    while Instant::now() < warm_until {
        append()?;
    }
    let start = Instant::now();
    let mut now = start;
    while now < start + duration {
        let before = now;
        append()?;
        now = Instant::now();
        latencies.push(now - before);
    }
    Ok((latencies, now - start))
}

fn durable_appends(context: &Context, system: &dyn System, batch_records: usize) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let engine = context.open(system, scratch.path(), &context.setup(Acknowledgement::Durable, Traffic::OneCaller))?;
    let pool = Pool::new(context.scale.record_bytes);
    let table = pool.table(batch_records);
    let (mut latencies, elapsed) = append_for(&*engine, &table, batch_records, context.scale.duration)?;
    engine.close()?;
    let rate = (latencies.len() * batch_records) as f64 / elapsed.as_secs_f64();
    latencies.sort_unstable();
    let microseconds = |share| percentile(&latencies, share).map(|latency| latency.as_secs_f64() * 1e6);
    Ok(vec![Some(rate), microseconds(0.5), microseconds(0.99)])
}

/// Counters of neighbours would share a cache line, and the work would measure that.
#[repr(align(128))]
#[derive(Default)]
struct Counter(AtomicU64);

fn callers(context: &Context, system: &dyn System, threads: usize) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let engine =
        context.open(system, scratch.path(), &context.setup(Acknowledgement::Durable, Traffic::ManyCallers))?;
    let pool = Pool::new(context.scale.record_bytes);
    let counters: Vec<Counter> = (0..threads).map(|_| Counter::default()).collect();
    let stop = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let total = || counters.iter().map(|counter| counter.0.load(Ordering::Relaxed)).sum::<u64>();
    let duration = context.scale.duration;
    let (records, elapsed) = std::thread::scope(|scope| {
        for (lane, counter) in counters.iter().enumerate() {
            let (engine, pool, stop, failure) = (&engine, &pool, &stop, &failure);
            scope.spawn(move || {
                let record = pool.record(lane as u64);
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = engine.append(lane, &[record], Acknowledgement::Durable) {
                        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return;
                    }
                    counter.0.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(duration / 4);
        let (before, start) = (total(), Instant::now());
        std::thread::sleep(duration);
        let (after, elapsed) = (total(), start.elapsed());
        stop.store(true, Ordering::Relaxed);
        (after - before, elapsed)
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    engine.close()?;
    Ok(vec![Some(records as f64 / elapsed.as_secs_f64())])
}

fn in_flight(context: &Context, system: &dyn System, window: usize) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let engine = context.open(system, scratch.path(), &context.setup(Acknowledgement::Durable, Traffic::InFlight))?;
    let pool = Pool::new(context.scale.record_bytes);
    engine.append_in_flight(window, &pool, Instant::now() + context.scale.duration / 10)?;
    let start = Instant::now();
    let records = engine.append_in_flight(window, &pool, start + context.scale.duration)?;
    let elapsed = start.elapsed();
    engine.close()?;
    Ok(vec![Some(records as f64 / elapsed.as_secs_f64())])
}

/// Records of an append in the buffered works.
const BUFFERED_BATCH: usize = 100;

/// Appends about this many records without waiting; returns how many they were.
fn append_buffered(engine: &dyn Engine, table: &[&[u8]], records: u64) -> Outcome<u64> {
    let mut appended = 0;
    while appended < records {
        let place = (appended % POOL_RECORDS as u64) as usize;
        engine.append(0, &table[place..place + BUFFERED_BATCH], Acknowledgement::Buffered)?;
        appended += BUFFERED_BATCH as u64;
    }
    Ok(appended)
}

/// Fills an engine with the pool's records in order and makes them durable.
pub fn fill(engine: &dyn Engine, pool: &Pool, records: u64) -> Outcome<()> {
    append_buffered(engine, &pool.table(BUFFERED_BATCH), records)?;
    engine.sync()
}

fn buffered(context: &Context, system: &dyn System) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let mut setup = context.setup(Acknowledgement::Buffered, Traffic::OneCaller);
    setup.payload_bytes_expected = context.scale.records * setup.record_bytes as u64;
    let engine = context.open(system, scratch.path(), &setup)?;
    let pool = Pool::new(setup.record_bytes);
    let table = pool.table(BUFFERED_BATCH);
    let start = Instant::now();
    let records = append_buffered(&*engine, &table, context.scale.records)?;
    engine.sync()?;
    let elapsed = start.elapsed();
    engine.close()?;
    Ok(vec![Some(records as f64 / elapsed.as_secs_f64())])
}

fn append_cost(context: &Context, system: &dyn System, record_bytes: usize, records: u64) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let mut setup = context.setup(Acknowledgement::Buffered, Traffic::OneCaller);
    setup.record_bytes = record_bytes;
    setup.payload_bytes_expected = records * record_bytes as u64;
    let engine = context.open(system, scratch.path(), &setup)?;
    let pool = Pool::new(record_bytes);
    let table = pool.table(BUFFERED_BATCH);
    let start = Instant::now();
    let appended = append_buffered(&*engine, &table, records)?;
    let elapsed = start.elapsed();
    engine.sync()?;
    engine.close()?;
    Ok(vec![Some(elapsed.as_nanos() as f64 / appended as f64)])
}

/// Records of 4 KiB, as many as make a batch of 1 MiB.
const STREAM_RECORD_BYTES: usize = 4096;
const STREAM_BATCH: usize = 256;

fn stream(context: &Context, system: &dyn System) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let mut setup = context.setup(Acknowledgement::Durable, Traffic::OneCaller);
    setup.record_bytes = STREAM_RECORD_BYTES;
    let engine = context.open(system, scratch.path(), &setup)?;
    let pool = Pool::new(STREAM_RECORD_BYTES);
    let table = pool.table(STREAM_BATCH);
    let (appends, elapsed) = append_for(&*engine, &table, STREAM_BATCH, context.scale.duration)?;
    engine.close()?;
    let mebibytes = (appends.len() * STREAM_BATCH * STREAM_RECORD_BYTES) as f64 / (1024.0 * 1024.0);
    Ok(vec![Some(mebibytes / elapsed.as_secs_f64())])
}

/// A commit comes every millisecond: whatever prepares the next segment has time, as it would have in production, and
/// with a switch every 60 commits the switch itself is within the slowest hundredth.
const PACE: Duration = Duration::from_millis(1);
const SWITCH_RECORD_BYTES: usize = 4000;
const SWITCH_SEGMENT_BYTES: u32 = 256 << 10;

fn segment_switch(context: &Context, system: &dyn System) -> Outcome<Values> {
    let quiet = paced_p99(context, system, None)?;
    let switching = match system.can(Ability::Segments) {
        true => paced_p99(context, system, Some(SWITCH_SEGMENT_BYTES))?,
        false => None,
    };
    Ok(vec![quiet, switching])
}

fn paced_p99(context: &Context, system: &dyn System, segment_bytes: Option<u32>) -> Outcome<Option<f64>> {
    let scratch = context.scratch()?;
    let mut setup = context.setup(Acknowledgement::Durable, Traffic::OneCaller);
    setup.record_bytes = SWITCH_RECORD_BYTES;
    setup.segment_bytes = segment_bytes;
    let engine = context.open(system, scratch.path(), &setup)?;
    let pool = Pool::new(SWITCH_RECORD_BYTES);
    let mut latencies = Vec::new();
    let mut due = Instant::now();
    for index in 0..context.scale.commits {
        due += PACE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let start = Instant::now();
        engine.append(0, &[pool.record(index)], Acknowledgement::Durable)?;
        latencies.push(start.elapsed());
    }
    engine.close()?;
    latencies.sort_unstable();
    Ok(percentile(&latencies, 0.99).map(|latency| latency.as_secs_f64() * 1e6))
}
