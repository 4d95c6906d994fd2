//! The works that open a log and read it: reopening, memory, scans, random reads, tail reads, recovery.
//!
//! Opening happens in a child process of its own, so that neither the memory nor the caches of earlier runs are
//! measured. Parent and child are the same program; the child prints one `name value` line per measurement.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::commit::fill;
use super::{Better, Context, Metric, Unit, Values, Work};
use crate::engine::{Ability, Acknowledgement, Engine, Outcome, Setup, System, Traffic};
use crate::host::{Scratch, resident_bytes};
use crate::pool::{Pool, Random};

/// The first argument of a child process.
pub const CHILD_FLAG: &str = "--child-process";

/// What stands for a segment size that the engine chooses.
const CHOICE_OF_ENGINE: &str = "default";

const fn milliseconds(id: &'static str, title: &'static str) -> Metric {
    Metric { id, title, unit: Unit::Milliseconds, better: Better::Lower }
}

/// The works of this module.
pub fn works() -> Vec<Work> {
    vec![
        Work {
            id: "reopen",
            metrics: const {
                &[
                    milliseconds("reopen", "open 1M records and read one"),
                    Metric { id: "memory", title: "memory after that", unit: Unit::Mebibytes, better: Better::Lower },
                    Metric { id: "scan", title: "scan all", unit: Unit::PerSecond, better: Better::Higher },
                    Metric {
                        id: "random",
                        title: "random reads of one",
                        unit: Unit::PerSecond,
                        better: Better::Higher,
                    },
                ]
            },
            needs: &[Ability::Buffer, Ability::Read],
            interleaved: true,
            run: reopen,
        },
        Work {
            id: "reopen10m",
            metrics: const { &[milliseconds("reopen10m", "open 10M records in segments and read one")] },
            needs: &[Ability::Buffer, Ability::Read, Ability::ManyRecords],
            interleaved: false,
            run: reopen_many,
        },
        Work {
            id: "tail",
            metrics: const {
                &[Metric {
                    id: "tail",
                    title: "reads among the last 2,000 records",
                    unit: Unit::PerSecond,
                    better: Better::Higher,
                }]
            },
            needs: &[Ability::Buffer, Ability::Read],
            interleaved: true,
            run: tail,
        },
        Work {
            id: "recover",
            metrics: const {
                &[Metric {
                    id: "recover",
                    title: "recovery of 44 MiB in an unsealed segment after a kill",
                    unit: Unit::MebibytesPerSecond,
                    better: Better::Higher,
                }]
            },
            needs: &[Ability::Buffer, Ability::Read],
            interleaved: true,
            run: recover,
        },
    ]
}

/// Whether this work starts child processes, which only the built program can.
#[cfg(test)]
pub fn needs_child(work: &Work) -> bool {
    ["reopen", "reopen10m", "recover"].contains(&work.id)
}

/// How the payload of an unsealed segment of 64 MiB is bounded: frames and commits have to fit as well.
const UNSEALED_PAYLOAD_BYTES: u64 = 44 << 20;

fn stored_setup(record_bytes: usize, records: u64, segment_bytes: Option<u32>) -> Setup {
    Setup {
        acknowledgement: Acknowledgement::Buffered,
        traffic: Traffic::OneCaller,
        payload_bytes_expected: records * record_bytes as u64,
        record_bytes,
        segment_bytes,
        after_crash: false,
        policy: None,
    }
}

fn context_setup(context: &Context, records: u64) -> Setup {
    stored_setup(context.scale.record_bytes, records, context.scale.segment_bytes)
}

fn fill_and_close(context: &Context, system: &dyn System, folder: &Path, records: u64) -> Outcome<()> {
    let engine = system.open(folder, &context_setup(context, records))?;
    fill(&*engine, &Pool::new(context.scale.record_bytes), records)?;
    engine.close()
}

fn reopen(context: &Context, system: &dyn System) -> Outcome<Values> {
    let scratch = context.scratch()?;
    fill_and_close(context, system, scratch.path(), context.scale.records)?;
    let measured = run_child(context, system, ChildTask::Read, scratch.path(), context.scale.records)?;
    let value = |name| measured.get(name).copied();
    Ok(vec![
        value("open_seconds").map(|seconds| seconds * 1e3),
        value("resident_bytes").map(|bytes| bytes / (1024.0 * 1024.0)),
        value("scan_rate"),
        value("random_rate"),
    ])
}

fn reopen_many(context: &Context, system: &dyn System) -> Outcome<Values> {
    let records = context.scale.many_records;
    let fill = |scratch: &Scratch| fill_and_close(context, system, scratch.path(), records);
    let folder = context.kept(system.name(), fill)?;
    let measured = run_child(context, system, ChildTask::Open, &folder, records)?;
    Ok(vec![measured.get("open_seconds").map(|seconds| seconds * 1e3)])
}

fn recover(context: &Context, system: &dyn System) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let record_bytes = context.scale.record_bytes as u64;
    let records = (UNSEALED_PAYLOAD_BYTES / record_bytes).min(context.scale.records) / 100 * 100;
    run_child(context, system, ChildTask::FillAndDie, scratch.path(), records)?;
    let measured = run_child(context, system, ChildTask::Recover, scratch.path(), records)?;
    let mebibytes = (records * record_bytes) as f64 / (1024.0 * 1024.0);
    Ok(vec![measured.get("open_seconds").map(|seconds| mebibytes / seconds)])
}

const TAIL_RECORDS: u64 = 2_000;

fn tail(context: &Context, system: &dyn System) -> Outcome<Values> {
    let scratch = context.scratch()?;
    let records = context.scale.records.clamp(TAIL_RECORDS, 20_000);
    let engine = context.open(system, scratch.path(), &context_setup(context, records))?;
    let pool = Pool::new(context.scale.record_bytes);
    fill(&*engine, &pool, records)?;
    let rate = random_reads(&*engine, &pool, records - TAIL_RECORDS, TAIL_RECORDS, context.scale.duration / 2)?;
    engine.close()?;
    Ok(vec![Some(rate)])
}

/// Reads single records at random among `count` from `first` on; returns reads a second.
fn random_reads(engine: &dyn Engine, pool: &Pool, first: u64, count: u64, duration: Duration) -> Outcome<f64> {
    const READS_BETWEEN_CLOCKS: u64 = 256;
    let mut random = Random::new(7);
    let mut reads = 0;
    let start = Instant::now();
    loop {
        for _ in 0..READS_BETWEEN_CLOCKS {
            read_checked(engine, pool, first + random.below(count))?;
        }
        reads += READS_BETWEEN_CLOCKS;
        let elapsed = start.elapsed();
        if elapsed >= duration {
            return Ok(reads as f64 / elapsed.as_secs_f64());
        }
    }
}

fn read_checked(engine: &dyn Engine, pool: &Pool, index: u64) -> Outcome<()> {
    let mut matches = false;
    engine.read(index, &mut |payload| matches = pool.matches(index, payload))?;
    if matches { Ok(()) } else { Err(format!("the record at index {index} is not the one that was appended").into()) }
}

/// Scans everything; returns records a second.
fn scan_checked(engine: &dyn Engine, pool: &Pool, records: u64) -> Outcome<f64> {
    let mut seen = 0;
    let mut wrong = 0_u64;
    let start = Instant::now();
    engine.scan(&mut |payload| {
        wrong += u64::from(!pool.matches(seen, payload));
        seen += 1;
    })?;
    let elapsed = start.elapsed();
    if wrong > 0 || seen != records {
        return Err(format!("a scan saw {seen} of {records} records, {wrong} of them wrong").into());
    }
    Ok(seen as f64 / elapsed.as_secs_f64())
}

/// What a child process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChildTask {
    /// Opens and reads one record.
    Open,
    /// The same, after a crash.
    Recover,
    /// Opens, reads one record, says how much memory that took, scans, reads at random.
    Read,
    /// Fills, syncs, and is killed.
    FillAndDie,
}

impl ChildTask {
    const ALL: [(ChildTask, &'static str); 4] = [
        (ChildTask::Open, "open"),
        (ChildTask::Recover, "recover"),
        (ChildTask::Read, "read"),
        (ChildTask::FillAndDie, "fill-and-die"),
    ];

    fn name(self) -> &'static str {
        ChildTask::ALL.iter().find(|(task, _)| *task == self).map_or("", |(_, name)| name)
    }

    fn parse(name: &str) -> Outcome<ChildTask> {
        let found = ChildTask::ALL.iter().find(|(_, candidate)| *candidate == name);
        found.map(|(task, _)| *task).ok_or_else(|| format!("unknown task {name}").into())
    }
}

fn run_child(
    context: &Context,
    system: &dyn System,
    task: ChildTask,
    folder: &Path,
    records: u64,
) -> Outcome<BTreeMap<String, f64>> {
    // Not the path of the program: a build during a run replaces what stands there.
    let output = Command::new("/proc/self/exe")
        .args([CHILD_FLAG, task.name(), system.name()])
        .arg(folder)
        .args([records.to_string(), context.scale.record_bytes.to_string()])
        .arg(context.scale.duration.as_millis().to_string())
        .arg(context.scale.segment_bytes.map_or_else(|| CHOICE_OF_ENGINE.to_owned(), |bytes| bytes.to_string()))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let has_finished = text.lines().any(|line| line == "finished");
    if !has_finished {
        return Err(format!("the child process failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
}

/// The child's side: the arguments that follow [`CHILD_FLAG`], and the systems that this build knows.
pub fn child_main(arguments: &[String], systems: &[Box<dyn System>]) -> Outcome<()> {
    let [task, name, folder, records, record_bytes, duration_ms, segment_bytes] = arguments else {
        return Err("a child process takes seven arguments".into());
    };
    let system = systems.iter().find(|system| system.name() == name).ok_or("unknown system")?;
    let (records, record_bytes) = (records.parse()?, record_bytes.parse()?);
    let segment_bytes = if segment_bytes == CHOICE_OF_ENGINE { None } else { Some(segment_bytes.parse()?) };
    let task = ChildTask::parse(task)?;
    let after_crash = task == ChildTask::Recover;
    let setup = Setup { after_crash, ..stored_setup(record_bytes, records, segment_bytes) };
    let pool = Pool::new(record_bytes);
    let start = Instant::now();
    let engine = system.open(Path::new(folder), &setup)?;
    if task == ChildTask::FillAndDie {
        fill(&*engine, &pool, records)?;
        println!("finished");
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
        return Err("SIGKILL did not arrive".into());
    }
    read_checked(&*engine, &pool, records / 2)?;
    println!("open_seconds {}", start.elapsed().as_secs_f64());
    println!("resident_bytes {}", resident_bytes()?);
    if task == ChildTask::Read {
        let duration = Duration::from_millis(duration_ms.parse()?) / 2;
        println!("scan_rate {}", scan_checked(&*engine, &pool, records)?);
        println!("random_rate {}", random_reads(&*engine, &pool, 0, records, duration)?);
    }
    engine.close()?;
    println!("finished");
    Ok(())
}
