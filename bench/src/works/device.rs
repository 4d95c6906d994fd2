//! The works that count what reaches the device: bytes and requests a commit, and the cost of one record a second.
//!
//! A block device's counters belong to everybody who writes to it, so they are read only where the folder lies on a
//! loop device (`bench/on-ext4` makes one). The process's own counter in /proc/self/io is no substitute: it counts a
//! whole large folio, up to 1 MiB, for each page of it that is written.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Better, Context, Metric, Unit, Work};
use crate::engine::{Ability, Acknowledgement, Engine, Outcome, Policy, System, Traffic};
use crate::host::{self, process_write_bytes};
use crate::pool::Pool;

const RECORD_BYTES: usize = 128;

const fn count(id: &'static str, title: &'static str, unit: Unit) -> Metric {
    Metric { id, title, unit, better: Better::Lower }
}

/// The works of this module.
pub fn works() -> Vec<Work> {
    vec![
        Work {
            id: "device",
            metrics: const {
                &[
                    count("device_bytes", "device bytes of a 128 B commit", Unit::Bytes),
                    count("device_requests", "device requests of a 128 B commit, flushes included", Unit::Count),
                ]
            },
            needs: &[],
            interleaved: true,
            run: |context, system| {
                if context.host.device.is_none() {
                    return Ok(vec![None, None]);
                }
                let counts = count_commits(context, system, Pace::durable(context.scale.commits, Duration::ZERO))?;
                Ok(vec![counts.device_bytes, counts.device_requests])
            },
        },
        Work {
            id: "policies",
            metrics: const {
                &[
                    count(
                        "always_bytes",
                        "100 records of 128 B a second, closing included, always: bytes",
                        Unit::Bytes,
                    ),
                    count("always_syncs", "the same: syncs", Unit::Count),
                    count("batch_bytes", "the same, 100 records or 200 ms: bytes", Unit::Bytes),
                    count("batch_syncs", "the same: syncs", Unit::Count),
                    count("interval_bytes", "the same, once a second: bytes", Unit::Bytes),
                    count("interval_syncs", "the same: syncs", Unit::Count),
                    count("never_bytes", "the same, never: bytes", Unit::Bytes),
                    count("never_syncs", "the same: syncs", Unit::Count),
                ]
            },
            needs: &[Ability::Policies],
            interleaved: true,
            run: policies,
        },
        Work {
            id: "trickle",
            metrics: const {
                &[
                    count("trickle_device_bytes", "one record at a time, closing included: device bytes", Unit::Bytes),
                    count("trickle_syncs", "the same: syncs", Unit::Count),
                ]
            },
            needs: &[],
            interleaved: true,
            run: |context, system| {
                let commits = (context.scale.commits / 100).clamp(5, 20);
                let counts = count_commits(context, system, Pace::durable(commits, context.scale.trickle_pause))?;
                Ok(vec![counts.device_bytes, counts.syncs])
            },
        },
    ]
}

/// Everything per commit.
struct Counts {
    device_bytes: Option<f64>,
    device_requests: Option<f64>,
    syncs: Option<f64>,
}

/// One reading of all counters.
struct Reading {
    device: Option<host::Traffic>,
    syncs: Option<u64>,
}

impl Reading {
    fn of_process(context: &Context) -> Outcome<Reading> {
        let device = context.host.device.as_ref().map(host::Device::traffic).transpose()?;
        Ok(Reading { device, syncs: None })
    }

    fn take(context: &Context, engine: &dyn Engine) -> Outcome<Reading> {
        Ok(Reading { syncs: engine.syncs(), ..Reading::of_process(context)? })
    }
}

/// How the records of a count come.
#[derive(Clone, Copy)]
struct Pace {
    commits: u64,
    pause: Duration,
    /// `None`: each is waited for.
    policy: Option<Policy>,
}

impl Pace {
    fn durable(commits: u64, pause: Duration) -> Pace {
        Pace { commits, pause, policy: None }
    }
}

/// Each policy in turn.
fn policies(context: &Context, system: &dyn System) -> Outcome<Vec<Option<f64>>> {
    let mut values = Vec::new();
    for policy in [Policy::Always, Policy::Batch, Policy::Interval, Policy::Never] {
        let pause = context.scale.trickle_pause / 10;
        let counts = count_commits(
            context,
            system,
            Pace { commits: (context.scale.commits / 6).max(1), pause, policy: Some(policy) },
        )?;
        values.extend([counts.device_bytes, counts.syncs]);
    }
    Ok(values)
}

fn count_commits(context: &Context, system: &dyn System, pace: Pace) -> Outcome<Counts> {
    let Pace { commits, pause, policy } = pace;
    let scratch = context.scratch()?;
    let mut setup = context.setup(Acknowledgement::Durable, Traffic::OneCaller);
    setup.record_bytes = RECORD_BYTES;
    setup.policy = policy;
    let engine = context.open(system, scratch.path(), &setup)?;
    let pool = Pool::new(RECORD_BYTES);
    let acknowledgement = if policy.is_some() { Acknowledgement::Buffered } else { Acknowledgement::Durable };
    engine.append(0, &[pool.record(0)], acknowledgement)?;
    engine.sync()?;
    if context.host.device.is_some() {
        settle()?;
    }
    let before = Reading::take(context, &*engine)?;
    for index in 1..=commits {
        engine.append(0, &[pool.record(index)], acknowledgement)?;
        sleep(pause);
    }
    let mut after = Reading::take(context, &*engine)?;
    engine.close()?;
    if !pause.is_zero() {
        // The closing mark of a log that is used so rarely is part of its price.
        after = Reading { syncs: after.syncs, ..Reading::of_process(context)? };
    }
    let per_commit = |total: u64| total as f64 / commits as f64;
    let traffic = after.device.zip(before.device).map(|(after, before)| after.since(before));
    Ok(Counts {
        device_bytes: traffic.map(|traffic| per_commit(traffic.bytes)),
        device_requests: traffic.map(|traffic| per_commit(traffic.requests)),
        syncs: after.syncs.zip(before.syncs).map(|(after, before)| per_commit(after - before)),
    })
}

/// Waits until nobody in this process writes any more: an engine may be preparing files in the background, which is
/// not the price of a commit.
fn settle() -> Outcome<()> {
    const STILL_FOR: Duration = Duration::from_millis(150);
    const GIVE_UP_AFTER: Duration = Duration::from_secs(5);
    let start = Instant::now();
    let mut last = process_write_bytes()?;
    while start.elapsed() < GIVE_UP_AFTER {
        sleep(STILL_FOR);
        let now = process_write_bytes()?;
        if now == last {
            return Ok(());
        }
        last = now;
    }
    Ok(())
}
