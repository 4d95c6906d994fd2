//! What is measured: each system takes the lines of a file, durable every thousand, and then answers. Owns what each figure means.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use duramen_store::{Batch, Durability, Labels, Level, Power, Query, Store, Stream};

use crate::corpus::{RARE, REGEX};
use crate::{Figures, Outcome, rsyslog};

/// Lines that are made durable together.
pub const BATCH: usize = 1_000;

/// The systems, in the order of the table: those that this build and this machine have.
pub fn names() -> Vec<&'static str> {
    let mut names = vec!["raw file, fdatasync", "zstd -3 of the file", "duramen-store"];
    if cfg!(feature = "peers") {
        names.push("fjall 3.1");
    }
    if rsyslog::is_here() {
        names.push(rsyslog::NAME);
    }
    names
}

/// The figures, and how many digits they have behind the point.
pub const FIGURES: &[(&str, usize)] = &[
    ("lines a second, thousands", 0),
    ("to the device, bytes a byte of text", 2),
    ("at rest, MB", 1),
    ("beside it: journal and spares, MB", 1),
    ("open again, ms", 0),
    ("rare word, ms", 1),
    ("regular expression, ms", 1),
    ("everything, ms", 0),
    ("battery signal to durable, p50 over a sync's", 2),
    ("battery signal to durable, p99 over a sync's", 2),
    ("battery signal to durable, p99, ms", 1),
    ("peak memory, MiB", 0),
    ("peak memory, ingesting and asked at once, MiB", 0),
];

/// Times each question is asked; the median counts.
const ASKED: usize = 9;

/// Measures one system.
pub fn run(system: &str, corpus: &Path, folder: &Path) -> Outcome<Figures> {
    let mut figures = Figures::default();
    let text = std::fs::metadata(corpus)?.len() as f64;
    let before = written()?;
    match system {
        "raw file, fdatasync" => raw(corpus, folder, &mut figures)?,
        "zstd -3 of the file" => zstd(corpus, folder, &mut figures)?,
        "duramen-store" => return duramen(corpus, folder, figures),
        rsyslog::NAME => return rsyslog::run(corpus, folder, figures),
        #[cfg(feature = "peers")]
        "fjall 3.1" => fjall(corpus, folder, &mut figures)?,
        other => return Err(format!("{other} is no system").into()),
    }
    figures.put("to the device, bytes a byte of text", (written()? - before) as f64 / text);
    figures.put("at rest, MB", bytes_below(folder)? as f64 / 1e6);
    figures.put("peak memory, MiB", peak()?);
    Ok(figures)
}

/// Gives the lines of a file in batches.
pub(crate) fn batches(corpus: &Path, take: &mut dyn FnMut(&[Vec<u8>]) -> Outcome<()>) -> Outcome<usize> {
    let mut reader = BufReader::with_capacity(1 << 20, std::fs::File::open(corpus)?);
    let mut lines = vec![Vec::new(); BATCH];
    let mut total = 0;
    loop {
        let mut count = 0;
        while count < BATCH {
            lines[count].clear();
            if reader.read_until(b'\n', &mut lines[count])? == 0 {
                break;
            }
            if lines[count].last() == Some(&b'\n') {
                lines[count].pop();
            }
            count += 1;
        }
        if count == 0 {
            return Ok(total);
        }
        take(&lines[..count])?;
        total += count;
    }
}

pub(crate) fn rate(figures: &mut Figures, lines: usize, took: Duration) {
    figures.put("lines a second, thousands", lines as f64 / took.as_secs_f64() / 1e3);
}

fn raw(corpus: &Path, folder: &Path, figures: &mut Figures) -> Outcome<()> {
    let mut file = std::fs::File::create_new(folder.join("lines.log"))?;
    let begin = Instant::now();
    let mut buffer = Vec::new();
    let lines = batches(corpus, &mut |lines| {
        buffer.clear();
        lines.iter().for_each(|line| buffer.extend(line.iter().copied().chain([b'\n'])));
        file.write_all(&buffer)?;
        file.sync_data()?;
        Ok(())
    })?;
    rate(figures, lines, begin.elapsed());
    Ok(())
}

fn zstd(corpus: &Path, folder: &Path, figures: &mut Figures) -> Outcome<()> {
    let begin = Instant::now();
    let file = std::fs::File::create_new(folder.join("lines.zst"))?;
    let mut encoder = zstd::Encoder::new(file, 3)?;
    let lines = batches(corpus, &mut |lines| {
        for line in lines {
            encoder.write_all(line)?;
            encoder.write_all(b"\n")?;
        }
        Ok(())
    })?;
    encoder.finish()?.sync_data()?;
    rate(figures, lines, begin.elapsed());
    Ok(())
}

#[cfg(feature = "peers")]
fn fjall(corpus: &Path, folder: &Path, figures: &mut Figures) -> Outcome<()> {
    let database = fjall::Database::builder(folder.join("fjall")).open()?;
    let keyspace = database.keyspace("lines", fjall::KeyspaceCreateOptions::default)?;
    let begin = Instant::now();
    let mut next = 0_u64;
    let lines = batches(corpus, &mut |lines| {
        let mut batch = database.batch().durability(Some(fjall::PersistMode::SyncData));
        for line in lines {
            batch.insert(&keyspace, next.to_be_bytes(), line.as_slice());
            next += 1;
        }
        batch.commit()?;
        Ok(())
    })?;
    rate(figures, lines, begin.elapsed());
    let begin = Instant::now();
    let mut found = 0;
    for item in keyspace.iter() {
        found += usize::from(memchr::memmem::find(&item.value()?, RARE.as_bytes()).is_some());
    }
    figures.put("rare word, ms", begin.elapsed().as_secs_f64() * 1e3);
    if found == 0 {
        return Err("the rare word was not found".into());
    }
    Ok(())
}

fn duramen(corpus: &Path, folder: &Path, mut figures: Figures) -> Outcome<Figures> {
    let text = std::fs::metadata(corpus)?.len() as f64;
    let place = folder.join("store");
    let (store, _) = Store::open(&place)?;
    let mut feeder = Feeder { store: store.clone(), streams: HashMap::new(), time: 1_767_225_600_000_000_000 };
    let begin = Instant::now();
    let lines = batches(corpus, &mut |lines| feeder.feed(lines))?;
    rate(&mut figures, lines, begin.elapsed());
    figures.put("peak memory, MiB", peak()?);
    store.flush()?;
    store.compact()?;
    let stats = store.stats();
    let given = stats.journal.device_bytes + stats.sealed_bytes + stats.merged_bytes;
    figures.put("to the device, bytes a byte of text", given as f64 / text);
    figures.put("at rest, MB", bytes_below(&place.join("tables"))? as f64 / 1e6);
    figures.put("beside it: journal and spares, MB", bytes_below(&place.join("journal"))? as f64 / 1e6);
    store.close()?;
    drop((store, feeder));
    let begin = Instant::now();
    let (store, _) = Store::open(&place)?;
    figures.put("open again, ms", begin.elapsed().as_secs_f64() * 1e3);
    let regex = format!("|~ `{REGEX}`");
    for (name, query, expected) in [
        ("rare word, ms", RARE, 1..10),
        ("regular expression, ms", &regex, 1..10),
        ("everything, ms", "", lines..usize::MAX),
    ] {
        figures.put(name, ask(&store, query, expected)?);
    }
    power(corpus, &store, &mut figures)?;
    together(corpus, &store)?;
    figures.put("peak memory, ingesting and asked at once, MiB", peak()?);
    Ok(figures)
}

/// The median of some askings, in milliseconds.
fn ask(store: &Store, query: &str, expected: std::ops::Range<usize>) -> Outcome<f64> {
    let mut times = Vec::new();
    for _ in 0..ASKED {
        let begin = Instant::now();
        let mut found = 0;
        for row in store.query(query.parse::<Query>()?)? {
            row?;
            found += 1;
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        if !expected.contains(&found) {
            return Err(format!("{query}: {found} rows were found").into());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[ASKED / 2])
}

/// From the signal to everything durable, while rows come that cannot wait; beside what one sync takes.
fn power(corpus: &Path, store: &Store, figures: &mut Figures) -> Outcome<()> {
    let mut feeder = Feeder { store: store.clone(), streams: HashMap::new(), time: 1_770_000_000_000_000_000 };
    let (mut syncs, mut signals) = (Vec::new(), Vec::new());
    let mut turn = 0;
    batches(corpus, &mut |lines| {
        if turn >= 400 {
            return Ok(());
        }
        turn += 1;
        drop(feeder.append(lines, Durability::Policy)?);
        let begin = Instant::now();
        if turn % 2 == 0 {
            store.sync()?;
            syncs.push(begin.elapsed().as_secs_f64());
        } else {
            store.set_power(Power::Battery, "bench")?;
            signals.push(begin.elapsed().as_secs_f64());
            store.set_power(Power::Mains, "bench")?;
            // The tables that the signal asked for are no part of the next one.
            while store.stats().sealing > 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    })?;
    syncs.sort_by(f64::total_cmp);
    signals.sort_by(f64::total_cmp);
    let at = |times: &[f64], hundredths: usize| times[times.len() * hundredths / 100];
    figures.put("battery signal to durable, p50 over a sync's", at(&signals, 50) / at(&syncs, 50));
    figures.put("battery signal to durable, p99 over a sync's", at(&signals, 99) / at(&syncs, 99));
    figures.put("battery signal to durable, p99, ms", at(&signals, 99) * 1e3);
    Ok(())
}

/// Takes all lines once more, while another thread asks.
fn together(corpus: &Path, store: &Store) -> Outcome<()> {
    let mut feeder = Feeder { store: store.clone(), streams: HashMap::new(), time: 1_780_000_000_000_000_000 };
    let done = std::sync::atomic::AtomicBool::new(false);
    let done = &done;
    std::thread::scope(|scope| {
        let asking = scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let found = RARE.parse::<Query>().ok().and_then(|query| store.query(query).ok());
                let _ = found.map(Iterator::count);
            }
        });
        let fed = batches(corpus, &mut |lines| feeder.feed(lines));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        asking.join().map_err(|_| "asking panicked")?;
        fed.map(|_| ())
    })
}

/// Turns lines into rows: a stream for each program of each host.
struct Feeder {
    store: Store,
    streams: HashMap<Vec<u8>, Stream>,
    time: i64,
}

impl Feeder {
    fn feed(&mut self, lines: &[Vec<u8>]) -> Outcome<()> {
        Ok(self.append(lines, Durability::Now)?.wait()?)
    }

    fn append(&mut self, lines: &[Vec<u8>], how: Durability) -> Outcome<duramen_store::Receipt> {
        let mut batch = Batch::new();
        for line in lines {
            let mut words = line.splitn(4, |byte| *byte == b' ').skip(1);
            let (host, tag) = (words.next().unwrap_or(b""), words.next().unwrap_or(b""));
            let program = tag.split(|byte| matches!(byte, b'[' | b':')).next().unwrap_or(b"");
            let name = [host, b"/", program].concat();
            if !self.streams.contains_key(&name) {
                let labels = [("app", String::from_utf8_lossy(program)), ("host", String::from_utf8_lossy(host))];
                let labels = labels.iter().map(|(name, value)| (*name, value.as_ref()));
                let stream = self.store.stream(&Labels::new(labels)?)?;
                self.streams.insert(name.clone(), stream);
            }
            let stream = &self.streams[&name];
            batch.push(stream, self.time, Level::None, line, &[]);
            self.time += 50_000_000;
        }
        Ok(self.store.append(batch, how)?)
    }
}

fn bytes_below(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

pub(crate) fn figure(file: &str, name: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("the kernel tells no figure")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn written() -> Outcome<u64> {
    figure("/proc/self/io", "write_bytes:")
}

fn peak() -> Outcome<f64> {
    Ok(figure("/proc/self/status", "VmHWM:")? as f64 / 1024.0)
}
