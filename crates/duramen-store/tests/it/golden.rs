//! A store of version 1 as this code wrote it when the format was frozen: rows, streams, positions and events must be read from it for
//! ever.
//!
//! `DURAMEN_REGENERATE=1` writes the file anew. That is right only before a version is released; afterwards a change of the
//! format gets a file of its own, and this one stays. Bytes are not compared with what is written now: a new zstd may pack better.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the golden file lies on the real disk; a failure is the test's"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duramen_journal::disk::sim::SimDisk;
use duramen_journal::disk::{Access, Disk, read_full_at, write_all_at};
use duramen_store::{
    Batch, Downsampling, Durability, Level, Options, Partition, Query, Report, STALE, Statistic, Store, inspect,
};

use crate::samples::{all, series, series_options};
use crate::{DAY, FOLDER, SECOND, START, ask, open, open_with, stream};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1/store.txt");

/// The same of samples.
const SAMPLES_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1/samples.txt");

/// The same of series that were made by downsampling.
const DOWNSAMPLED_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1/downsampled.txt");

/// What a clock says that nobody set.
const CLOCK_NOT_SET: Duration = Duration::from_secs(100);

/// Tables of two days, one of them merged, a partition of a boot without a clock, rows that only the journal has.
fn workload(disk: &SimDisk) {
    disk.environment().set_wall(CLOCK_NOT_SET);
    let (store, _) = open(disk);
    let (base, time) = store.now();
    let mut batch = Batch::new();
    batch.push_at(base, &stream(&store, "boot"), time, Level::Notice, b"before the clock was set", &[]);
    store.append(batch, Durability::Now).unwrap().wait().unwrap();
    store.flush().unwrap();
    for number in 0..40 {
        let mut batch = Batch::new();
        let app = ["pump", "door", "sshd"][number as usize % 3];
        let text = format!("number {number} of what stands there, \u{fc} and more of the same");
        let fields: &[(&str, &str)] = if number % 2 == 0 { &[("user", "ana")] } else { &[] };
        let time = START + number % 2 * DAY + number * SECOND;
        batch.push(&stream(&store, app), time, Level::ALL[number as usize % 9], text.as_bytes(), fields);
        batch.set_position(b"source", format!("{number}").as_bytes());
        store.append(batch, Durability::Now).unwrap().wait().unwrap();
        if number % 4 == 3 {
            store.flush().unwrap();
            store.compact().unwrap();
        }
    }
    let mut batch = Batch::new();
    batch.push(&stream(&store, "late"), START - 1, Level::None, b"\xff\x00only the journal has it", &[("a", "b")]);
    store.append(batch, Durability::Now).unwrap().wait().unwrap();
    store.close().unwrap();
}

/// Series of every shape that has an encoding of its own, in tables and merged ones, late samples, and some that only the journal has.
fn samples_workload(disk: &SimDisk) {
    let (store, _) = open_with(disk, &series_options());
    let mut random = 1u64;
    let all: Vec<_> = (0..7).map(|number| series(&store, number)).collect();
    let mut walk = 5_000i64;
    for step in 0..700i64 {
        let mut batch = Batch::new();
        let time = START + step * 10 * SECOND;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        walk += (random >> 33) as i64 % 21 - 10;
        let odd = [f64::NAN, STALE, f64::INFINITY, -0.0, f64::MIN_POSITIVE][step as usize % 5];
        let values = [
            1.0,
            (step / 50) as f64,
            walk as f64 / 100.0,
            (step * step) as f64,
            f64::from_bits(0x3ff0_0000_0000_0000 | random >> 12),
            odd,
        ];
        for (own, value) in all.iter().zip(values) {
            batch.push_sample(own, time, value);
        }
        // At times of its own, each third one late and anew.
        let late = if step % 3 == 2 { START + step * SECOND } else { time + random as i64 % SECOND };
        batch.push_sample(&all[6], late, step as f64 / 4.0);
        store.append(batch, Durability::Now).unwrap().wait().unwrap();
        if step % 200 == 199 {
            store.flush().unwrap();
            store.compact().unwrap();
        }
    }
    store.close().unwrap();
}

fn downsampled_options() -> Options {
    let rule = |step, statistics: &[Statistic]| Downsampling {
        selector: "{core!=\"2\"}".parse::<Query>().unwrap().selector,
        step: Duration::from_secs(step),
        delay: Duration::from_secs(30),
        statistics: statistics.to_vec(),
    };
    let rules = vec![rule(60, &Statistic::ALL), rule(300, &[Statistic::Mean])];
    Options { downsampling: rules, ..series_options() }
}

/// When the workload of downsampled series ends.
const DOWNSAMPLED_END: i64 = START + 400 * DAY + 1_300 * SECOND;

/// Rules of two steps over samples of two periods of 360 days: what they make in tables, merged ones, and in the journal only, with how far
/// they have come; and a series that they do not mean.
fn downsampled_workload(disk: &SimDisk) {
    let (store, _) = open_with(disk, &downsampled_options());
    let all: Vec<_> = (0..3).map(|number| series(&store, number)).collect();
    for part in 0..24i64 {
        let mut batch = Batch::new();
        let mut time = 0;
        for step in part * 10..(part + 1) * 10 {
            time = START + step / 120 * 400 * DAY + step % 120 * 10 * SECOND;
            let values = [(step * 37 % 100) as f64 / 10.0, (step as f64).sqrt(), 1.0];
            all.iter().zip(values).for_each(|(own, value)| batch.push_sample(own, time, value));
        }
        store.append(batch, Durability::Now).unwrap().wait().unwrap();
        disk.environment().set_wall(Duration::from_nanos(time as u64));
        if part % 3 == 2 {
            store.tick().unwrap();
        }
        if part % 4 == 3 {
            store.flush().unwrap();
            store.compact().unwrap();
        }
    }
    // The last windows are made behind the last flush.
    disk.environment().set_wall(Duration::from_nanos(DOWNSAMPLED_END as u64));
    store.tick().unwrap();
    store.close().unwrap();
}

/// Every sample, bit by bit: of each series how many, and a sum over times and values in their order.
fn samples_told(store: &Store) -> String {
    let mut out = String::new();
    for (labels, samples) in all(store) {
        let sum = samples.iter().fold(0u64, |sum, &(time, bits)| {
            (sum.rotate_left(5) ^ time as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7) ^ bits
        });
        let ends = samples.first().zip(samples.last()).expect("none is empty");
        let _ = writeln!(out, "{labels} {} {sum:016x} {:?} {:?}", samples.len(), ends.0, ends.1);
    }
    out
}

/// Path, length, bytes.
fn dump(disk: &dyn Disk, folder: &Path, out: &mut String) {
    for entry in disk.list(folder).unwrap() {
        let path = folder.join(&entry.name);
        if entry.directory {
            let _ = writeln!(out, "{}", path.display());
            dump(disk, &path, out);
            continue;
        }
        let file = disk.open(&path, Access::Read).unwrap();
        let mut bytes = vec![0; file.bytes().unwrap() as usize];
        read_full_at(&*file, &mut bytes, 0).unwrap();
        let _ = writeln!(out, "{} {} {}", path.display(), bytes.len(), pack(&bytes));
    }
}

/// Bytes as parts with commas between: two hexadecimal digits for each byte, or `z` and a number for so many zeros.
fn pack(bytes: &[u8]) -> String {
    let mut parts = vec![String::new()];
    for run in bytes.chunk_by(|left, right| (*left == 0) == (*right == 0)) {
        if run[0] == 0 && run.len() > 8 {
            parts.push(format!("z{}", run.len()));
            parts.push(String::new());
            continue;
        }
        let last = parts.last_mut().unwrap();
        run.iter().for_each(|byte| last.push_str(&format!("{byte:02x}")));
    }
    parts.join(",")
}

fn unpack(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in text.split(',') {
        match part.strip_prefix('z') {
            Some(zeros) => bytes.resize(bytes.len() + zeros.parse::<usize>().unwrap(), 0),
            None => {
                bytes.extend((0..part.len()).step_by(2).map(|at| u8::from_str_radix(&part[at..at + 2], 16).unwrap()))
            }
        }
    }
    bytes
}

fn load(text: &str) -> SimDisk {
    let sim = SimDisk::new(1);
    sim.environment().set_wall(CLOCK_NOT_SET);
    let disk = sim.world().disk;
    disk.create_dir(Path::new(FOLDER)).unwrap();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let path = PathBuf::from(words.next().unwrap());
        let Some(length) = words.next() else {
            disk.create_dir(&path).unwrap();
            continue;
        };
        let mut bytes = unpack(words.next().unwrap_or(""));
        bytes.resize(length.parse().unwrap(), 0);
        let file = disk.open(&path, Access::Create).unwrap();
        write_all_at(&*file, &bytes, 0).unwrap();
    }
    sim
}

fn told(store: &Store) -> String {
    let mut out = String::new();
    for row in ask(store, "") {
        let fields: Vec<String> = row.fields().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let text: String = row.text.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(out, "{} {} {} {} {text} {}", row.id, row.time, row.level, row.labels, fields.join(","));
    }
    for (key, value) in store.positions(b"") {
        let _ = writeln!(out, "{} {}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
    }
    out
}

#[test]
fn version_1() {
    if std::env::var("DURAMEN_REGENERATE").is_ok() {
        let disk = SimDisk::new(1);
        workload(&disk);
        let mut text = String::new();
        dump(&*disk.world().disk, Path::new(FOLDER), &mut text);
        let (store, _) = open(&disk);
        let _ = write!(text, "\n{}", told(&store));
        std::fs::create_dir_all(Path::new(FILE).parent().unwrap()).unwrap();
        std::fs::write(FILE, text).unwrap();
    }
    let golden = std::fs::read_to_string(FILE).expect("the golden file is there");
    let (_, expected) = golden.split_once("\n\n").expect("files, then rows");
    let (store, report) = open(&load(&golden));
    assert!(report.lost_tables.is_empty() && report.unreadable.is_empty() && report.outage.is_none(), "{report}");
    assert!(told(&store) == expected, "other rows:\n{}", told(&store));
    assert!(report.tables >= 3 && report.replayed > 0, "{report}");
}

/// Compares what a golden store of samples holds with what was told of it when it was written, and with what the same work gives today.
fn check_samples(path: &str, workload: impl Fn(&SimDisk), options: &Options) -> (SimDisk, Report) {
    let written = SimDisk::new(1);
    workload(&written);
    if std::env::var("DURAMEN_REGENERATE").is_ok() {
        let mut text = String::new();
        dump(&*written.world().disk, Path::new(FOLDER), &mut text);
        let (store, _) = open_with(&written.kill(), options);
        let _ = write!(text, "\n{}", samples_told(&store));
        std::fs::write(path, text).unwrap();
    }
    let golden = std::fs::read_to_string(path).expect("the golden file is there");
    let (_, expected) = golden.split_once("\n\n").expect("files, then series");
    let disk = load(&golden);
    let (store, report) = open_with(&disk.kill(), options);
    assert!(report.lost_tables.is_empty() && report.unreadable.is_empty() && report.outage.is_none(), "{report}");
    assert!(samples_told(&store) == expected, "other samples:\n{}", samples_told(&store));
    let (store, _) = open_with(&written, options);
    assert!(samples_told(&store) == expected, "this code writes other samples:\n{}", samples_told(&store));
    (disk, report)
}

#[test]
fn version_1_of_samples() {
    let (_, report) = check_samples(SAMPLES_FILE, samples_workload, &series_options());
    assert!(report.table_samples > 1_000 && report.replayed_samples > 0, "{report}");
}

#[test]
fn version_1_of_downsampled_series() {
    let (disk, report) = check_samples(DOWNSAMPLED_FILE, downsampled_workload, &series_options());
    assert!(report.table_samples > 800 && report.replayed_samples > 0, "{report}");
    let mut partitions = BTreeSet::new();
    let mut levels = BTreeSet::new();
    inspect::dump(FOLDER, disk.world(), &inspect::Selection::default(), &mut |item| {
        if let inspect::Item::SampleTable(table) = item
            && let Partition::Downsampled(period) = table.partition
        {
            partitions.insert(period);
            levels.insert(table.level);
        }
        true
    })
    .unwrap();
    assert!(partitions.len() == 2 && levels.len() > 1, "{partitions:?} {levels:?}");
    // The rules know how far they came: nothing is made again, or otherwise.
    disk.environment().set_wall(Duration::from_nanos(DOWNSAMPLED_END as u64));
    let (store, _) = open_with(&disk, &downsampled_options());
    let (before, rows) = (samples_told(&store), store.stats().journal.appended);
    store.tick().unwrap();
    assert_eq!((samples_told(&store), store.stats().journal.appended), (before, rows));
}
