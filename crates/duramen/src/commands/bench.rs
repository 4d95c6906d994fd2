//! `journal bench`: what this disk can do, in about five seconds, and in words which sync policy suits it. Owns the
//! measurements and the advice; the comparison with other logs lives in the repository's `bench/`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use duramen_journal::disk::{Access, DiskFile, Environment, FileSystem, SyncMethod, World, write_all_at};
use duramen_journal::{Append, Batch, Journal, Options};

use crate::cli;
use crate::exit::Exit;
use crate::quantity::{show_bytes, show_count, show_time};
use crate::scratch::TemporaryFolder;
use crate::stop::Stop;

const PAGE_BYTES: usize = 4096;

/// The file that the sync methods write into: preallocated and written once, as a segment is.
const FILE_BYTES: u64 = 4 << 20;

/// Callers of the group commit.
const THREADS: u64 = 64;

/// What one sync method costs.
#[derive(Clone, Debug)]
struct Latency {
    p50: Duration,
    p99: Duration,
    count: usize,
}

/// Runs the command.
///
/// # Errors
/// The folder cannot be written, or the disk fails.
pub fn run(arguments: &cli::Bench, stop: &Stop) -> anyhow::Result<Exit> {
    let world = super::world();
    let folder = TemporaryFolder::make(arguments.folder.as_deref(), "bench", &world)?;
    let system = world.disk.file_system(folder.path()).context("cannot tell the file system")?;
    println!("file system   {}, {} free", system.kind, show_bytes(system.free_bytes));
    let slice = arguments.time / 6;
    let mut best: Option<Latency> = None;
    for (name, method) in [
        ("fdatasync", SyncMethod::DataSync),
        ("RWF_DSYNC", SyncMethod::WriteSync),
        ("O_DIRECT|O_DSYNC", SyncMethod::Direct),
    ] {
        if let Some(signal) = stop.signal() {
            return Ok(Exit::Signal(signal));
        }
        match sync_latency(&world, folder.path(), method, slice, stop)? {
            None => println!("one page      {name:<17} not supported here"),
            Some(latency) => {
                let (p50, p99) = (show_time(latency.p50), show_time(latency.p99));
                println!("one page      {name:<17} p50 {p50:>8}   p99 {p99:>8}   ({} syncs)", latency.count);
                if best.as_ref().is_none_or(|best| latency.p50 < best.p50) {
                    best = Some(latency);
                }
            }
        }
    }
    if stop.signal().is_none() {
        let rate = group_commit(&world, &folder.path().join("group"), slice, stop)?;
        println!("group commit  {THREADS} callers, 128 B, each append durable: {} appends/s", show_count(rate));
    }
    if stop.signal().is_none() {
        let rate = streaming(&world, &folder.path().join("stream"), slice, stop)?;
        println!("streaming     1 MiB batches, each durable: {}/s", show_bytes(rate));
    }
    if let Some(signal) = stop.signal() {
        return Ok(Exit::Signal(signal));
    }
    println!();
    for line in advice(&best.context("no sync method works on this disk")?, &system) {
        println!("{line}");
    }
    Ok(Exit::Complete)
}

/// Overwrites pages of a written file one by one, each durable before the next. `None`: the method is not supported.
fn sync_latency(
    world: &World,
    folder: &Path,
    method: SyncMethod,
    time: Duration,
    stop: &Stop,
) -> anyhow::Result<Option<Latency>> {
    let path = folder.join("pages");
    let file = world.disk.open(&path, Access::Create).context("cannot make a file")?;
    file.allocate(FILE_BYTES).context("cannot reserve space")?;
    let zeros = vec![0; 1 << 20];
    for offset in (0..FILE_BYTES).step_by(zeros.len()) {
        write_all_at(&*file, &zeros, offset).context("cannot fill the file")?;
    }
    file.sync_data().context("cannot sync the file")?;
    let buffer = vec![0xd5; 2 * PAGE_BYTES];
    // O_DIRECT asks for memory that begins at a page.
    let page = &buffer[buffer.as_ptr().align_offset(PAGE_BYTES)..][..PAGE_BYTES];
    let clock = &world.environment;
    let (begin, mut samples) = (clock.now(), Vec::new());
    while clock.now().saturating_sub(begin) < time && stop.signal().is_none() {
        let before = clock.now();
        let offset = (samples.len() * PAGE_BYTES) as u64 % FILE_BYTES;
        match write_durable(&*file, page, offset, method) {
            Ok(()) => samples.push(clock.now().saturating_sub(before)),
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => break,
            Err(error) => return Err(error).context("a durable write failed"),
        }
    }
    drop(file);
    world.disk.remove(&path).context("cannot remove the file")?;
    samples.sort_unstable();
    let at = |share: usize| samples.get(samples.len().saturating_sub(1) * share / 100).copied();
    Ok(at(50).zip(at(99)).map(|(p50, p99)| Latency { p50, p99, count: samples.len() }))
}

fn write_durable(file: &dyn DiskFile, page: &[u8], offset: u64, method: SyncMethod) -> std::io::Result<()> {
    if method == SyncMethod::DataSync {
        write_all_at(file, page, offset)?;
        return file.sync_data();
    }
    let written = file.write_sync(page, offset, method)?;
    if written == page.len() { Ok(()) } else { Err(std::io::ErrorKind::WriteZero.into()) }
}

/// Many callers, each waiting for its own append. Returns appends a second.
fn group_commit(world: &World, folder: &Path, time: Duration, stop: &Stop) -> anyhow::Result<u64> {
    let (journal, _) = Journal::open_with(folder, &Options::default(), world.clone())?;
    let environment = &world.environment;
    let begin = environment.now();
    let before = journal.durable();
    let mut workers = Vec::new();
    for _ in 0..THREADS {
        let (journal, clock) = (journal.clone(), environment.clone());
        let work = Box::new(move || {
            while clock.now().saturating_sub(begin) < time {
                let appended = journal.append(1, 1, &[0; 128]).and_then(duramen_journal::Ticket::wait);
                if appended.is_err() {
                    return;
                }
            }
        });
        workers.extend(environment.spawn("duramen-bench", work).context("cannot start a thread")?);
    }
    for worker in workers {
        worker.join();
    }
    let rate = rate(journal.durable() - before, &**environment, begin);
    journal.close().context(if stop.signal().is_some() { "stopped" } else { "an append failed" })?;
    Ok(rate)
}

/// One caller, large batches. Returns bytes a second.
fn streaming(world: &World, folder: &Path, time: Duration, stop: &Stop) -> anyhow::Result<u64> {
    let (journal, _) = Journal::open_with(folder, &Options::default(), world.clone())?;
    let mut batch = Batch::new();
    for _ in 0..16 {
        batch.push(1, 1, &[0xd5; 64 << 10]);
    }
    let begin = world.environment.now();
    let mut bytes: u64 = 0;
    while world.environment.now().saturating_sub(begin) < time && stop.signal().is_none() {
        let ticket = journal.append_batch(&batch, Append::default())?;
        bytes += 1 << 20;
        let durable = ticket.wait()?;
        // The disk shall not fill up: what lies 64 MiB back, of 64 KiB each, goes now and then.
        if bytes.is_multiple_of(64 << 20) {
            journal.release(durable.saturating_sub(1 << 10))?;
        }
    }
    let rate = rate(bytes, &*world.environment, begin);
    journal.close()?;
    Ok(rate)
}

fn rate(count: u64, environment: &dyn Environment, begin: Duration) -> u64 {
    (count as f64 / environment.now().saturating_sub(begin).as_secs_f64().max(1e-9)) as u64
}

/// What the figures mean for a user, in words. Pure.
fn advice(best: &Latency, system: &FileSystem) -> Vec<String> {
    let mut lines = Vec::new();
    if system.volatile {
        lines.push(format!("This is {}: memory. Nothing here survives a power cut, whatever the policy.", system.kind));
        return lines;
    }
    if system.network {
        lines.push(format!("This is {}: what a sync means here is up to the server.", system.kind));
    }
    if system.copy_on_write {
        let kind = &system.kind;
        lines.push(format!("{kind} never overwrites in place: each sync writes many times its bytes, so sync seldom."));
    }
    let (p50, per_second) = (show_time(best.p50), (1.0 / best.p50.as_secs_f64().max(1e-6)) as u64);
    let per_second = show_count(per_second);
    if best.p50 < Duration::from_micros(20) {
        lines.push(format!(
            "A sync takes {p50}. No flash cell or platter is so fast: either the drive keeps a cache that survives a \
             power cut, or it does not flush when told to. Test it: cut its power under `append --ack`."
        ));
    } else if best.p50 < Duration::from_millis(1) {
        lines.push(format!(
            "A sync takes {p50}: use `--policy always`. A single caller gets about {per_second} durable appends a \
             second, callers together many more, since they share syncs."
        ));
    } else if best.p50 < Duration::from_millis(5) {
        lines.push(format!(
            "A sync takes {p50}, so a single caller gets about {per_second} durable appends a second. Where every \
             append must be durable, use `--policy always`; for streams of lines use `--policy batch:1000,200ms`."
        ));
    } else {
        lines.push(format!(
            "A sync takes {p50}, as on a flash card or a disk without cache: use `--policy interval:1s` (and `--edge` \
             on flash). At most the last second is then at risk; `--policy always` allows about {per_second} durable \
             appends a second and wears the flash by at least a page each."
        ));
    }
    if best.p99 > best.p50 * 10 {
        let p99 = show_time(best.p99);
        lines.push(format!(
            "One sync in a hundred takes {p99} or more: whoever waits for an append should expect that."
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advised(micros: u64, volatile: bool) -> String {
        let latency = Latency { p50: Duration::from_micros(micros), p99: Duration::from_micros(micros * 20), count: 9 };
        let system =
            FileSystem { kind: "ext4".to_string(), copy_on_write: false, volatile, network: false, free_bytes: 0 };
        advice(&latency, &system).join("\n")
    }

    #[test]
    fn each_kind_of_disk_gets_its_policy() {
        assert!(advised(5, false).contains("does not flush"));
        assert!(advised(140, false).contains("--policy always"));
        assert!(advised(2_000, false).contains("batch:1000"));
        assert!(advised(10_000, false).contains("interval:1s"));
        assert!(advised(10_000, false).contains("One sync in a hundred takes 200.0 ms"));
        assert!(advised(5, true).contains("Nothing here survives"));
    }
}
