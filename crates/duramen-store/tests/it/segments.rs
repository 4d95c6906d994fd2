//! The journal of a store of samples is bounded: series too short to be worth a block are sealed when they hold too many segments,
//! and whoever writes waits for that. And when else samples are sealed.

use std::collections::BTreeMap;
use std::time::Duration;

use duramen_journal::disk::sim::{Crash, Effect, Fault, Operation, SimDisk};
use duramen_store::{Batch, Durability, Error, Options, Store};

use crate::samples::{all, series};
use crate::{SECOND, START, open_with};

const SEGMENTS_MAX: usize = 3;
const SERIES: u32 = 400;
/// Samples of one batch, one each of as many series: some 4 KB of the journal.
const AT_ONCE: u32 = 200;

/// As [`Options::series`], with small segments, and nothing but their number that would have samples sealed.
fn small_segments() -> Options {
    let series = Options::series();
    assert_eq!(series.segments_max, SEGMENTS_MAX);
    Options {
        journal: duramen_journal::Options { segment_bytes: 64 << 10, ..series.journal.clone() },
        buffer_samples: usize::MAX,
        buffer_bytes: 1 << 30,
        buffer_age: Duration::from_secs(1_000_000),
        ..series
    }
}

/// What was acknowledged.
type Told = BTreeMap<String, Vec<(i64, u64)>>;

/// Appends the batch of a round, and notes what it has once it is durable. Values do not compress.
fn append(store: &Store, round: u32, told: &mut Told) -> Result<(), Error> {
    let mut batch = Batch::new();
    let mut samples = Vec::new();
    for at in 0..AT_ONCE {
        let own = series(store, (round * AT_ONCE + at) % SERIES);
        let time = START + i64::from(round) * SECOND;
        let bits = u64::from(round * AT_ONCE + at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2;
        batch.push_sample(&own, time, f64::from_bits(bits));
        samples.push((own.labels().to_string(), (time, bits)));
    }
    store.append(batch, Durability::Now)?.wait()?;
    samples.into_iter().for_each(|(name, sample)| told.entry(name).or_default().push(sample));
    Ok(())
}

/// Segment files, spares among them.
fn segment_files(disk: &SimDisk) -> usize {
    let files = disk.list_files();
    files.iter().filter(|(path, bytes)| path.starts_with("/data/journal") && *bytes == 64 << 10).count()
}

#[test]
fn short_series_are_sealed_when_they_hold_as_many_segments_as_are_kept() {
    let disk = SimDisk::new(1);
    let (store, _) = open_with(&disk, &small_segments());
    let (mut told, mut segments_max, mut forced) = (Told::new(), 0, 0);
    let mut segments = 1;
    for round in 0..150 {
        let tables = store.stats().tables;
        append(&store, round, &mut told).expect("taken");
        let stats = store.stats();
        if stats.tables > tables {
            forced += 1;
            assert_eq!(segments, SEGMENTS_MAX, "round {round}: sealed before that many segments were begun");
            // Whoever appended waited: all but its own samples are sealed when it returns.
            assert_eq!(stats.table_samples, u64::from(round * AT_ONCE));
        }
        segments = stats.journal.segments;
        segments_max = segments_max.max(segments);
        // The journal has the next one ready.
        assert!(segment_files(&disk) <= SEGMENTS_MAX + 1, "{:?}", disk.list_files());
        // Whatever of the journal is gone is in tables: nothing that was acknowledged depends on what a power cut takes.
        if round % 10 == 9 {
            let crashed = disk.reboot(Crash::LoseAll);
            assert_eq!(all(&open_with(&crashed, &small_segments()).0), told, "after round {round}");
        }
    }
    assert_eq!(segments_max, SEGMENTS_MAX);
    assert!(forced >= 4, "{forced} times");
    assert!(told.values().all(|samples| samples.len() < duramen_store::SERIES_SAMPLES_MIN), "these series are short");
    assert_eq!(all(&store), told);
}

#[test]
fn writers_are_held_back_while_nothing_can_be_sealed_and_no_segment_goes() {
    let disk = SimDisk::new(2);
    let (store, _) = open_with(&disk, &small_segments());
    disk.fault(Fault::new(Effect::Error(5)).on(Operation::Create).named(".table").times(u64::MAX));
    let mut told = Told::new();
    let refused = (0..150).find(|&round| append(&store, round, &mut told).is_err()).expect("the journal has an end");
    for _ in 0..20 {
        append(&store, refused, &mut told).expect_err("still no table");
    }
    let stats = store.stats();
    assert_eq!((stats.journal.segments, stats.tables), (SEGMENTS_MAX, 0));
    assert_eq!(all(&store), told);
    let crashed = disk.reboot(Crash::LoseAll);
    assert_eq!(all(&open_with(&crashed, &small_segments()).0), told, "the journal alone has all of it");
    disk.clear_faults();
    (refused..150).for_each(|round| append(&store, round, &mut told).expect("taken again"));
    assert!(store.stats().table_samples > 0);
    assert_eq!(all(&store), told);
    store.close().expect("closed");
    assert_eq!(all(&open_with(&disk, &small_segments()).0), told);
}

#[test]
fn the_preset_seals_when_full_when_called_and_when_its_time_has_come() {
    let disk = SimDisk::new(3);
    let (store, _) = open_with(&disk, &Options::series());
    let write = |number: u32, times: std::ops::Range<i64>| {
        let mut batch = Batch::new();
        times.for_each(|at| batch.push_sample(&series(&store, number), START + at * SECOND, at as f64));
        store.append(batch, Durability::Now).expect("taken").wait().expect("durable");
        store.tick().expect("a look");
        store.stats().table_samples
    };
    // Series of fewer than 120 samples are not worth blocks, however many they are together.
    for number in 0..100 {
        assert_eq!(write(number, 0..119), 0);
    }
    // The first one that is worth it goes alone.
    assert_eq!(write(0, 119..120), 120);
    store.flush().expect("called");
    assert_eq!(store.stats().table_samples, 100 * 119 + 1);
    // Full: a long series waits for 10,000 samples in all.
    let before = store.stats().table_samples;
    assert_eq!(write(1, 1_000..10_999) - before, 0);
    assert_eq!(write(1, 10_999..11_000) - before, 10_000);
    // Its time: two hours for what is too short otherwise.
    let before = store.stats().table_samples;
    assert_eq!(write(2, 20_000..20_005) - before, 0);
    disk.advance(Duration::from_secs(2 * 3600));
    store.tick().expect("a look");
    assert_eq!(store.stats().table_samples - before, 5);
    // And a sample that nobody waits for is durable a second later.
    store.write(&series(&store, 3), START + 30_000 * SECOND, 1.0).expect("taken");
    for _ in 0..3 {
        disk.advance(Duration::from_millis(500));
        store.tick().expect("a look");
    }
    let crashed = disk.reboot(Crash::LoseAll);
    let (crashed, _) = open_with(&crashed, &Options::series());
    let last = crashed.last(series(&crashed, 3).labels()).expect("asked").expect("it is there");
    assert_eq!(last.time, START + 30_000 * SECOND);
}

#[test]
fn bytes_force_short_series() {
    let disk = SimDisk::new(4);
    let (store, _) = open_with(&disk, &Options { buffer_bytes: 64 << 10, ..Options::series() });
    let mut told = Told::new();
    (0..40).for_each(|round| append(&store, round, &mut told).expect("taken"));
    assert!(store.stats().table_samples > 0 && store.stats().memory_bytes < 2 * (64 << 10));
    assert_eq!(all(&store), told);
}
