//! The log alone: beside the journal that it stands on, its recovery beside reading its files, a state larger than the bound of memory.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use duramen_decisions::{
    Batch, Blake3, FileBasedLog, PersistentLogConfig, RawLayer, Replica, SeqNo, State, StateWriter, SyncPolicy, What,
};
use duramen_journal::{Journal, Options};

use crate::{Outcome, fresh};

/// Bytes of a decision.
const DECISION_BYTES: usize = 4096;
/// Decisions that wait for the disk at the same time.
const OUTSTANDING: usize = 64;

type Log = FileBasedLog<Blake3, Vec<u8>, RawLayer>;

/// The median time of a page's sync into a file that is filled already.
pub fn raw_sync(scratch: &Path) -> Outcome<f64> {
    use std::os::unix::fs::FileExt as _;
    let path = scratch.join("raw");
    let mut file = std::fs::File::create_new(&path)?;
    file.write_all(&vec![0; 1 << 20])?;
    file.sync_all()?;
    let mut times: Vec<f64> = Vec::new();
    for at in 0..200u64 {
        let begin = Instant::now();
        file.write_all_at(&[at as u8; 4096], at % 256 * 4096)?;
        file.sync_data()?;
        times.push(begin.elapsed().as_secs_f64());
    }
    std::fs::remove_file(path)?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn bytes(seed: u64) -> duramen_journal::Bytes {
    let mut own = seed | 1;
    let mut next = || {
        own ^= own << 13;
        own ^= own >> 7;
        own ^= own << 17;
        own
    };
    (0..DECISION_BYTES / 8).flat_map(|_| next().to_le_bytes()).collect::<Vec<_>>().into()
}

/// Decisions of 4 KiB with 64 outstanding, and the same bytes into a bare journal.
pub fn log_beside_journal(scratch: &Path, time: Duration) -> Outcome<()> {
    println!("## The log beside its journal: decisions of 4 KiB, {OUTSTANDING} outstanding\n");
    println!("| | journal | log | ratio |");
    println!("|---|---:|---:|---:|");
    let decisions: Vec<_> = (0..256).map(bytes).collect();
    for (name, policy) in [
        ("each durable, a second", SyncPolicy::Always),
        ("durable within 1 s, a second", SyncPolicy::Interval(Duration::from_secs(1))),
    ] {
        let waits = policy == SyncPolicy::Always;
        let mut best = [0f64; 2];
        for _ in 0..3 {
            let options = Options { policy, tail_cache_bytes: 1 << 20, ..Options::default() };
            let folder = fresh(scratch)?;
            let (journal, _) = Journal::open_with(&folder, &options, duramen_journal::World::real())?;
            let own = each(time, waits, |at| {
                let ticket = journal.append(1, 1, &decisions[at as usize % 256])?;
                Ok(move || ticket.wait().map(|_| ()).map_err(Into::into))
            })?;
            best[0] = best[0].max(own);
            drop(journal);
            let mut config = PersistentLogConfig::new(fresh(scratch)?);
            config.sync_policy = policy;
            let log = Log::new(config)?;
            let own = each(time, waits, |at| {
                let completion = log.store(Batch::new().decision(at, &decisions[at as usize % 256]))?;
                Ok(move || completion.wait().map_err(Into::into))
            })?;
            best[1] = best[1].max(own);
        }
        println!("| {name} | {:.0} | {:.0} | {:.2} |", best[0], best[1], best[1] / best[0]);
    }
    println!();
    Ok(())
}

/// Runs stores with so many outstanding, for a time; returns how many a second.
fn each<W: FnOnce() -> Outcome<()>>(
    time: Duration,
    waits: bool,
    mut store: impl FnMut(u64) -> Outcome<W>,
) -> Outcome<f64> {
    let begin = Instant::now();
    let mut outstanding = VecDeque::new();
    let mut count = 0;
    while begin.elapsed() < time {
        for _ in 0..16 {
            count += 1;
            let wait = store(count)?;
            if waits {
                outstanding.push_back(wait);
            }
            if outstanding.len() >= OUTSTANDING {
                outstanding.pop_front().map_or(Ok(()), |wait| wait())?;
            }
        }
    }
    outstanding.into_iter().try_for_each(|wait| wait())?;
    Ok(count as f64 / begin.elapsed().as_secs_f64())
}

struct Counting(u64);

impl Replica<Vec<u8>, RawLayer> for Counting {
    fn apply(&mut self, decisions: Vec<(SeqNo, duramen_journal::Bytes)>) -> Result<(), String> {
        self.0 += decisions.iter().map(|own| own.1.len() as u64).sum::<u64>();
        Ok(())
    }
}

/// Opens a log again and applies its decisions, beside reading its files.
pub fn recovery(scratch: &Path, decisions: u64) -> Outcome<()> {
    let folder = fresh(scratch)?;
    let mut config = PersistentLogConfig::new(&folder);
    config.sync_policy = SyncPolicy::Interval(Duration::from_secs(1));
    let log = Log::new(config.clone())?;
    let own: Vec<_> = (0..256).map(bytes).collect();
    for seq_no in 1..=decisions {
        drop(log.store(Batch::new().decision(seq_no, &own[seq_no as usize % 256]))?);
        if seq_no == decisions / 10 {
            log.write_checkpoint(seq_no, &vec![7; 1 << 20])?;
        }
    }
    log.close()?;
    drop(log);
    let (mut raw, mut open, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let mut read = 0;
    for _ in 0..3 {
        forget(&folder.join("journal"))?;
        let begin = Instant::now();
        read = read_all(&folder.join("journal"))?;
        raw.push(begin.elapsed().as_secs_f64());
        forget(&folder.join("journal"))?;
        let begin = Instant::now();
        let log = Log::new(config.clone())?;
        open.push(begin.elapsed().as_secs_f64());
        let mut replica = Counting(0);
        let last = log.recover(&What::Everything, 256, &mut replica)?;
        whole.push(begin.elapsed().as_secs_f64());
        if last != Some(decisions) || replica.0 == 0 {
            return Err(format!("recovered up to {last:?} of {decisions}").into());
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (raw, open, whole) = (median(&mut raw), median(&mut open), median(&mut whole));
    let from_checkpoint = decisions - decisions / 10;
    println!("## Recovery of {decisions} decisions of 4 KiB, a checkpoint after a tenth, nothing in the page cache\n");
    println!("| | |\n|---|---:|");
    println!("| reading the files, GB/s | {:.2} |", read as f64 / raw / 1e9);
    println!("| opening, ms | {:.0} |", open * 1e3);
    println!("| opening and applying, ms | {:.0} |", whole * 1e3);
    let bytes = from_checkpoint as f64 * DECISION_BYTES as f64;
    println!(
        "| applied, GB/s; of reading | {:.2}; {:.2} |\n",
        bytes / whole / 1e9,
        bytes / whole / (read as f64 / raw)
    );
    Ok(())
}

/// Has the system forget what it keeps of files in memory.
fn forget(folder: &Path) -> Outcome<()> {
    for entry in std::fs::read_dir(folder)? {
        let file = std::fs::File::open(entry?.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

fn read_all(folder: &Path) -> Outcome<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let mut file = std::fs::File::open(entry?.path())?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => total += read as u64,
            }
        }
    }
    Ok(total)
}

/// A state that is made as it is written, so that only the log's memory is measured.
struct Made(u64);

impl State for Made {
    fn write_to(&self, out: &mut StateWriter<'_>) -> std::io::Result<()> {
        let mut own = 1u64;
        let mut page = vec![0u8; 64 << 10];
        for _ in 0..self.0 / page.len() as u64 {
            for word in page.chunks_exact_mut(8) {
                own ^= own << 13;
                own ^= own >> 7;
                own ^= own << 17;
                word.copy_from_slice(&own.to_le_bytes());
            }
            out.write_all(&page)?;
        }
        Ok(())
    }

    fn read_from(_: &mut dyn std::io::Read) -> std::io::Result<Made> {
        Err(std::io::Error::other("a benchmark never reads it"))
    }
}

/// A checkpoint of a large state while decisions are stored; how much memory that takes.
pub fn large_state(scratch: &Path, state_bytes: u64) -> Outcome<()> {
    let before = resident()?;
    let log = FileBasedLog::<Blake3, Made, RawLayer>::new(PersistentLogConfig::new(fresh(scratch)?))?;
    let own = bytes(1);
    let done = std::sync::atomic::AtomicBool::new(false);
    let begin = Instant::now();
    let (stored, took) = std::thread::scope(|scope| -> Outcome<(u64, Duration)> {
        let storing = scope.spawn(|| {
            let mut seq_no = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                seq_no += 1;
                let stored = log.store(Batch::new().decision(seq_no, &own)).and_then(|completion| completion.wait());
                stored.map_err(|error| error.to_string())?;
            }
            Ok::<u64, String>(seq_no)
        });
        let written = log.write_checkpoint(1, &Made(state_bytes));
        let took = begin.elapsed();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let stored = storing.join().map_err(|_| "storing panicked")??;
        written?;
        Ok((stored, took))
    })?;
    println!("## A checkpoint of {} MiB while decisions are stored one by one\n", state_bytes >> 20);
    println!("| | |\n|---|---:|");
    println!("| MB/s | {:.0} |", state_bytes as f64 / took.as_secs_f64() / 1e6);
    println!("| durable decisions a second meanwhile | {:.0} |", stored as f64 / took.as_secs_f64());
    println!("| peak memory above the start, MiB | {:.0} |\n", peak()? - before);
    Ok(())
}

fn status(name: &str) -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("the kernel tells no figure")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

fn resident() -> Outcome<f64> {
    // What was needed before is no longer the peak.
    std::fs::write("/proc/self/clear_refs", "5")?;
    status("VmRSS:")
}

fn peak() -> Outcome<f64> {
    status("VmHWM:")
}
