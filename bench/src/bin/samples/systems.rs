//! What is measured: each system takes the samples of a corpus, and then answers. Owns what each figure means.

use std::path::Path;
use std::time::Instant;

use duramen_store::{Batch, Durability, Labels, Options, Selector, Store, Stream};

use crate::corpus::{Corpus, Point};
use crate::{Figures, Outcome};

/// Samples that are written together.
pub const BATCH: usize = 1_000;

/// The systems, in the order of the table.
pub const NAMES: &[&str] = if cfg!(feature = "peers") {
    &[
        DURABLE,
        SINGLE,
        "tsink, durable each 1,000",
        "tsink, one by one, durable",
        "tsink, periodic 1,000",
        "tsink, one by one, periodic",
    ]
} else {
    &[DURABLE, SINGLE]
};

const DURABLE: &str = "duramen, durable each 1,000";
const SINGLE: &str = "duramen, one by one, 1 s";

/// The figures, and how many digits they have behind the point.
pub const FIGURES: &[(&str, usize)] = &[
    ("samples a second, thousands", 0),
    ("journal, bytes a sample", 2),
    ("to the device, bytes a sample", 2),
    ("of that, zeros ahead, bytes a sample", 2),
    ("at rest, bytes a sample", 2),
    ("replay, million samples a second", 1),
    ("open again, ms", 0),
    ("one series, ms", 2),
    ("all samples, million a second", 1),
    ("sums of all series, ms", 1),
    ("peak memory, MiB", 0),
    ("peak memory of replay, MiB", 0),
];

/// Measures one system.
pub fn run(system: &str, corpus: &Corpus, folder: &Path) -> Outcome<Figures> {
    let mut figures = Figures::default();
    match system {
        DURABLE | SINGLE => duramen(system, corpus, folder, &mut figures)?,
        "replay" => replay(folder, &mut figures)?,
        #[cfg(feature = "peers")]
        _ => crate::tsink::run(system, corpus, folder, &mut figures)?,
        #[cfg(not(feature = "peers"))]
        other => return Err(format!("{other} is no system").into()),
    }
    Ok(figures)
}

fn options() -> Options {
    let series = Options::series();
    let smaller = std::env::var("DURAMEN_SEGMENT_BYTES").ok().and_then(|bytes| bytes.parse().ok());
    let segment_bytes = smaller.unwrap_or(series.journal.segment_bytes);
    Options { journal: duramen_journal::Options { segment_bytes, ..series.journal.clone() }, ..series }
}

fn open(folder: &Path, options: &Options) -> Outcome<(Store, duramen_store::Report)> {
    Ok(Store::open_with(folder.join("duramen"), options, duramen_journal::World::real())?)
}

fn series(store: &Store, corpus: &Corpus) -> Outcome<Vec<Stream>> {
    let one = |pairs: &Vec<(String, String)>| {
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Ok(store.stream(&Labels::new(pairs)?)?)
    };
    corpus.series.iter().map(one).collect()
}

fn nanoseconds(point: &Point) -> i64 {
    point.1 * 1_000_000
}

fn duramen(system: &str, corpus: &Corpus, folder: &Path, figures: &mut Figures) -> Outcome<()> {
    let (store, _) = open(folder, &options())?;
    let streams = series(&store, corpus)?;
    let journal = store.stats().journal;
    let framed_before = journal.payload_bytes + 24 * journal.records + 64 * journal.commits;
    let before = written()?;
    let begin = Instant::now();
    for points in corpus.points.chunks(BATCH) {
        if system == SINGLE {
            for point in points {
                store.write(&streams[point.0 as usize], nanoseconds(point), point.2)?;
            }
            continue;
        }
        let mut batch = Batch::new();
        for point in points {
            batch.push_sample(&streams[point.0 as usize], nanoseconds(point), point.2);
        }
        store.append(batch, Durability::Now)?.wait()?;
    }
    let took = begin.elapsed();
    store.sync()?;
    let count = corpus.points.len() as f64;
    figures.put("samples a second, thousands", count / took.as_secs_f64() / 1e3);
    // Records and what frames them; pages that a sync leaves half empty are in the device bytes.
    let journal = store.stats().journal;
    let framed = journal.payload_bytes + 24 * journal.records + 64 * journal.commits;
    figures.put("journal, bytes a sample", (framed - framed_before) as f64 / count);
    figures.put("peak memory, MiB", peak()?);
    store.flush()?;
    store.compact()?;
    figures.put("to the device, bytes a sample", (written()? - before) as f64 / count);
    // New segments are filled with zeros ahead of their need, once in the life of each file.
    figures.put("of that, zeros ahead, bytes a sample", store.stats().journal.prepare_bytes as f64 / count);
    figures.put("at rest, bytes a sample", store.stats().table_bytes as f64 / count);
    store.close()?;
    drop(store);
    let begin = Instant::now();
    let (store, _) = open(folder, &options())?;
    figures.put("open again, ms", begin.elapsed().as_secs_f64() * 1e3);
    ask(&store, corpus, figures)?;
    store.close()?;
    drop(store);
    write_for_replay(corpus, folder)
}

fn ask(store: &Store, corpus: &Corpus, figures: &mut Figures) -> Outcome<()> {
    let labels = &corpus.series[corpus.series.len() / 2];
    let matchers = labels.iter().map(|(name, value)| {
        duramen_store::Matcher::new(name, duramen_store::Operator::Equal, value).map_err(|error| error.to_string())
    });
    let one = Selector { matchers: matchers.collect::<Result<_, _>>()? };
    let mut times = Vec::new();
    for _ in 0..9 {
        let begin = Instant::now();
        let found: usize = sum(store.samples(&one, i64::MIN, i64::MAX)?)?;
        assert!(found > 0, "a series is there");
        times.push(begin.elapsed());
    }
    times.sort();
    figures.put("one series, ms", times[4].as_secs_f64() * 1e3);
    let begin = Instant::now();
    let found = sum(store.samples(&Selector::default(), i64::MIN, i64::MAX)?)?;
    figures.put("all samples, million a second", found as f64 / begin.elapsed().as_secs_f64() / 1e6);
    let begin = Instant::now();
    let mut asked = store.samples(&Selector::default(), i64::MIN, i64::MAX)?;
    let mut counted = 0;
    while let Some(summary) = asked.next_summary() {
        counted += summary?.1.count;
    }
    assert_eq!(counted as usize, found, "a sum counts what is there");
    figures.put("sums of all series, ms", begin.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn sum(asked: duramen_store::SeriesIter) -> Outcome<usize> {
    let mut found = 0;
    for own in asked {
        found += own?.samples.len();
    }
    Ok(found)
}

/// A journal of which no table has anything: what a power cut leaves in the worst case.
fn write_for_replay(corpus: &Corpus, folder: &Path) -> Outcome<()> {
    let folder = folder.join("replay");
    std::fs::create_dir(&folder)?;
    let all = Options { buffer_samples: usize::MAX / 2, buffer_bytes: 1 << 30, ..options() };
    let (store, _) = open(&folder, &all)?;
    let streams = series(&store, corpus)?;
    for points in corpus.points.chunks(BATCH) {
        let mut batch = Batch::new();
        for point in points {
            batch.push_sample(&streams[point.0 as usize], nanoseconds(point), point.2);
        }
        drop(store.append(batch, Durability::Policy)?);
    }
    store.close()?;
    Ok(())
}

/// Opens what [`write_for_replay`] left, in a process of its own.
fn replay(folder: &Path, figures: &mut Figures) -> Outcome<()> {
    let begin = Instant::now();
    let (store, report) = open(&folder.join("replay"), &options())?;
    let took = begin.elapsed();
    figures.put("replay, million samples a second", report.replayed_samples as f64 / took.as_secs_f64() / 1e6);
    figures.put("peak memory of replay, MiB", peak()?);
    store.close()?;
    Ok(())
}

fn figure(file: &str, name: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("the kernel tells no figure")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Bytes that this process has caused to be written.
pub fn written() -> Outcome<u64> {
    figure("/proc/self/io", "write_bytes:")
}

/// The most memory that it has had.
pub fn peak() -> Outcome<f64> {
    Ok(figure("/proc/self/status", "VmHWM:")? as f64 / 1024.0)
}

/// Notes how many samples a second were written.
#[cfg(feature = "peers")]
pub fn rate(figures: &mut Figures, samples: usize, took: std::time::Duration) {
    figures.put("samples a second, thousands", samples as f64 / took.as_secs_f64() / 1e3);
}
