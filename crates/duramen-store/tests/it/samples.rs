//! Samples: whatever happens between writing and asking, each is there once, with every bit, and the last one of its time.

use std::collections::BTreeMap;
use std::time::Duration;

use duramen_journal::End;
use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_store::{
    Batch, DOWNSAMPLE_LABEL, Downsampling, Durability, Error, Labels, Level, Matcher, Operator, Options, STALE, Sample,
    Selector, Statistic, Store, Stream, Summary,
};

use crate::{DAY, SECOND, START, open_with, options};

pub(crate) fn series_options() -> Options {
    Options { buffer_bytes: 8 << 10, buffer_samples: 150, fan_in: 3, ..options() }
}

pub(crate) fn series(store: &Store, number: u32) -> Stream {
    let labels = Labels::new([("__name__", "load"), ("core", &number.to_string())]).expect("good labels");
    store.stream(&labels).expect("room for a series")
}

pub(crate) fn everything() -> Selector {
    Selector::default()
}

/// All samples of all series, bit by bit.
pub(crate) fn all(store: &Store) -> BTreeMap<String, Vec<(i64, u64)>> {
    let mut found = BTreeMap::new();
    let mut asked = store.samples(&everything(), i64::MIN, i64::MAX).expect("asked");
    for own in asked.by_ref() {
        let own = own.expect("a series");
        let samples = own.samples.iter().map(|sample| (sample.time, sample.value.to_bits())).collect();
        assert!(found.insert(own.labels.to_string(), samples).is_none());
    }
    assert!(asked.damaged().is_empty(), "{:?}", asked.damaged());
    found
}

/// Looks at everything that is stored; nothing may be wrong with it.
fn verify(disk: &SimDisk, seed: u64) -> duramen_store::inspect::Verification {
    let found = duramen_store::inspect::verify(crate::FOLDER, disk.world(), &mut |_| ()).expect("it can be looked at");
    assert!(found.is_sound() && found.findings.is_empty(), "seed {seed}: {:?} {found}", found.findings);
    found
}

/// Spans exclude their end: a sample at the last time of all was acknowledged, and never seen.
#[test]
fn a_sample_that_nobody_could_ask_for_is_refused() {
    let disk = SimDisk::new(3);
    let (store, _) = open_with(&disk, &options());
    let series = series(&store, 1);
    let refused = |written: Result<(), Error>| matches!(written, Err(Error::TimeOutOfRange { time: i64::MAX }));
    let mut batch = Batch::new();
    batch.push_sample(&series, i64::MAX, 1.0);
    assert!(refused(store.append(batch, Durability::Now).map(|_| ())));
    assert!(refused(store.write(&series, i64::MAX, 2.0)));
    for time in [i64::MIN, i64::MAX - 1] {
        store.write(&series, time, 3.0).expect("taken");
    }
    let found: Vec<i64> = all(&store).into_values().flatten().map(|(time, _)| time).collect();
    assert_eq!(found, [i64::MIN, i64::MAX - 1]);
}

struct Model {
    samples: BTreeMap<String, BTreeMap<i64, u64>>,
    random: u64,
}

impl Model {
    fn next(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn note(&mut self, series: &Stream, time: i64, value: f64) {
        self.samples.entry(series.labels().to_string()).or_default().insert(time, value.to_bits());
    }

    fn sample(&mut self) -> (u32, i64, f64) {
        let series = self.next(7) as u32;
        let time = match self.next(20) {
            0 => START - 40 * DAY,
            1 => START + self.next(50) as i64,
            _ => START + self.next(5_000) as i64 * SECOND,
        };
        let odd = [
            0.0,
            -0.0,
            f64::NAN,
            STALE,
            f64::INFINITY,
            f64::MIN_POSITIVE,
            1e300,
            f64::from_bits(0xfff8_dead_beef_0001),
        ];
        let value = match self.next(30) {
            0 => odd[self.next(odd.len() as u64) as usize],
            1..4 => (self.next(1 << 40) as f64).sqrt(),
            _ => self.next(5_000) as f64 / 100.0,
        };
        (series, time, value)
    }

    fn check(&self, store: &Store) {
        let told: BTreeMap<String, Vec<(i64, u64)>> = self
            .samples
            .iter()
            .map(|(name, own)| (name.clone(), own.iter().map(|(t, v)| (*t, *v)).collect()))
            .collect();
        let found = all(store);
        assert_eq!(found.keys().collect::<Vec<_>>(), told.keys().collect::<Vec<_>>());
        for (name, own) in &told {
            let wrong = own.iter().zip(&found[name]).find(|(a, b)| a != b);
            assert_eq!((wrong, own.len()), (None, found[name].len()), "{name}: told and found");
        }
        for (name, own) in &self.samples {
            let last = own.iter().next_back().map(|(time, value)| (*time, *value));
            let labels = store.series(&everything(), i64::MIN, i64::MAX).expect("asked");
            let labels = labels.iter().find(|labels| labels.to_string() == *name).expect("it is there");
            let found = store.last(labels).expect("asked").map(|sample| (sample.time, sample.value.to_bits()));
            assert_eq!(found, last, "{name}");
        }
    }
}

#[test]
fn samples_are_what_was_written_last_over_flushes_merges_and_reopening() {
    for seed in 0..12 {
        let disk = SimDisk::new(seed);
        let (mut store, _) = open_with(&disk, &series_options());
        let mut model = Model { samples: BTreeMap::new(), random: seed };
        for step in 0..400 {
            match model.next(40) {
                0 => store.flush().unwrap(),
                1 => store.compact().unwrap(),
                2 => {
                    store.close().unwrap();
                    drop(store);
                    store = open_with(&disk, &series_options()).0;
                }
                3 => store.tick().unwrap(),
                4..15 => {
                    let mut batch = Batch::new();
                    for _ in 0..model.next(60) {
                        let (number, time, value) = model.sample();
                        let own = series(&store, number);
                        batch.push_sample(&own, time, value);
                        model.note(&own, time, value);
                    }
                    store.append(batch, Durability::Now).unwrap().wait().unwrap();
                }
                _ => {
                    let (number, time, value) = model.sample();
                    let own = series(&store, number);
                    store.write(&own, time, value).unwrap();
                    model.note(&own, time, value);
                }
            }
            if step % 80 == 79 {
                model.check(&store);
            }
        }
        model.check(&store);
        verify(&disk, seed);
        store.flush().unwrap();
        store.compact().unwrap();
        model.check(&store);
        store.close().unwrap();
        assert_eq!(verify(&disk, seed).end, End::Closed, "seed {seed}");
    }
}

#[test]
fn a_summary_is_that_of_its_samples_and_reads_no_block_that_lies_inside() {
    let disk = SimDisk::new(3);
    let (store, _) = open_with(&disk, &options());
    let own = series(&store, 1);
    let mut batch = Batch::new();
    for step in 0..20_000i64 {
        batch.push_sample(&own, START + step * SECOND, (step % 100) as f64);
    }
    batch.push_sample(&own, START + 20_000 * SECOND, STALE);
    store.append(batch, Durability::Now).unwrap().wait().unwrap();
    store.flush().unwrap();
    let ask = |from: i64, to: i64| {
        let mut asked = store.samples(&everything(), from, to).unwrap();
        let (_, summary) = asked.next_summary().unwrap().unwrap();
        (summary, asked.blocks())
    };
    let (whole, (read, summed)) = ask(i64::MIN, i64::MAX);
    assert_eq!(whole, Summary { count: 20_000, min: 0.0, max: 99.0, sum: 990_000.0 });
    assert!(read == 0 && summed > 3, "{read} blocks read, {summed} summed");
    let (part, (read, _)) = ask(START + 50 * SECOND, START + 19_950 * SECOND);
    assert_eq!(part, Summary { count: 19_900, min: 0.0, max: 99.0, sum: 985_050.0 });
    assert_eq!(read, 2);
    // One sample in memory over a block: the block must be read, or it would count twice.
    store.write(&own, START + 100 * SECOND, 1e6).unwrap();
    let (changed, (read, _)) = ask(i64::MIN, i64::MAX);
    assert_eq!((changed.count, changed.max, changed.sum, read), (20_000, 1e6, 1_990_000.0, 1));
}

#[test]
fn staged_samples_are_durable_within_the_interval() {
    let disk = SimDisk::new(5);
    let (store, _) = open_with(&disk, &options());
    let own = series(&store, 1);
    for step in 0..10 {
        store.write(&own, START + step, 0.5).unwrap();
    }
    // As the background thread does it: it looks twice within an interval.
    for _ in 0..3 {
        disk.advance(Duration::from_millis(500));
        store.tick().unwrap();
    }
    std::mem::forget(store);
    let crashed = disk.reboot(Crash::LoseAll);
    let (store, _) = open_with(&crashed, &options());
    assert_eq!(all(&store).values().map(Vec::len).sum::<usize>(), 10);
}

#[test]
fn series_with_few_samples_stay_in_memory_until_age_or_bytes_force_them() {
    let disk = SimDisk::new(7);
    let (store, _) = open_with(&disk, &Options { buffer_samples: 500, ..options() });
    let (long, short) = (series(&store, 1), series(&store, 2));
    let mut batch = Batch::new();
    for step in 0..600 {
        batch.push_sample(&long, START + step * SECOND, step as f64);
    }
    for step in 0..100 {
        batch.push_sample(&short, START + step * SECOND, step as f64);
    }
    store.append(batch, Durability::Now).unwrap().wait().unwrap();
    store.tick().unwrap();
    let stats = store.stats();
    assert_eq!((stats.tables, stats.table_samples), (1, 600));
    disk.advance(Duration::from_secs(2 * 3600 + 1));
    store.tick().unwrap();
    assert_eq!(store.stats().table_samples, 700);
    let count = |store: &Store| all(store).values().map(Vec::len).sum::<usize>();
    assert_eq!(count(&store), 700);
    drop(store);
    assert_eq!(count(&open_with(&disk, &options()).0), 700);
}

#[test]
fn the_last_sample_is_known_from_memory_and_from_tables() {
    let disk = SimDisk::new(9);
    let (store, _) = open_with(&disk, &options());
    let own = series(&store, 1);
    store.write(&own, START + 5, 5.0).unwrap();
    store.flush().unwrap();
    drop(store);
    let (store, _) = open_with(&disk, &options());
    let own = series(&store, 1);
    // Late: the table's is later.
    store.write(&own, START + 3, 3.0).unwrap();
    assert_eq!(store.last(own.labels()).unwrap(), Some(Sample { time: START + 5, value: 5.0 }));
    store.write(&own, START + 5, 6.0).unwrap();
    assert_eq!(store.last(own.labels()).unwrap(), Some(Sample { time: START + 5, value: 6.0 }));
    assert_eq!(store.last(&Labels::new([("no", "such")]).unwrap()).unwrap(), None);
}

#[test]
fn downsampled_series_are_made_once_and_outlive_what_they_are_made_of() {
    let disk = SimDisk::new(11);
    let minute = 60 * SECOND;
    let rule = Downsampling {
        selector: Selector::default(),
        step: Duration::from_secs(60),
        delay: Duration::from_secs(30),
        statistics: vec![Statistic::Mean, Statistic::Count],
    };
    let with_rule =
        Options { downsampling: vec![rule], retention_age: Some(Duration::from_secs(3 * 86_400)), ..options() };
    let (store, _) = open_with(&disk, &with_rule);
    let own = series(&store, 1);
    let start = (START / minute + 1) * minute;
    for step in 1..=600 {
        store.write(&own, start + step * SECOND, step as f64).expect("written");
    }
    disk.advance(Duration::from_nanos((start - START) as u64 + 600 * SECOND as u64 + 31 * SECOND as u64));
    store.tick().expect("done");
    let made = |store: &Store, statistic: &str| -> Vec<(i64, f64)> {
        let matchers = vec![Matcher::new(DOWNSAMPLE_LABEL, Operator::Equal, statistic).expect("a matcher")];
        let asked = store.samples(&Selector { matchers }, i64::MIN, i64::MAX).expect("asked");
        asked.flat_map(|own| own.expect("a series").samples).map(|sample| (sample.time, sample.value)).collect()
    };
    let told: Vec<(i64, f64)> = (1..=10).map(|at| (start + at * minute, at as f64 * 60.0 - 29.5)).collect();
    assert_eq!(made(&store, "mean"), told);
    assert_eq!(made(&store, "count"), told.iter().map(|(time, _)| (*time, 60.0)).collect::<Vec<_>>());
    // Another opening goes on where the first one was.
    store.flush().expect("flushed");
    drop(store);
    let (store, _) = open_with(&disk, &with_rule);
    store.write(&series(&store, 1), start + 5 * minute, 1e9).expect("written");
    store.tick().expect("done");
    assert_eq!(made(&store, "mean"), told, "a late sample does not change a window that is made");
    store.flush().expect("flushed");
    // A partition of measured samples is dropped when all of it is too old.
    disk.advance(Duration::from_secs(40 * 86_400));
    store.write(&series(&store, 2), start + 40 * DAY, 1.0).expect("written");
    // A table goes only when the journal has given up what it covers: fill some segments.
    let mut noise = Model { samples: BTreeMap::new(), random: 5 };
    for _ in 0..10 {
        let text: Vec<u8> = (0..100_000).map(|_| noise.next(256) as u8).collect();
        let mut batch = Batch::new();
        batch.push(&series(&store, 3), start + 40 * DAY, Level::Info, &text, &[]);
        store.append(batch, Durability::Now).expect("appended").wait().expect("durable");
        store.flush().expect("flushed");
    }
    for _ in 0..3 {
        store.tick().expect("done");
    }
    assert_eq!(made(&store, "mean")[..10], told);
    let measured = vec![Matcher::new(DOWNSAMPLE_LABEL, Operator::Equal, "").expect("a matcher")];
    let left = store
        .samples(&Selector { matchers: measured }, i64::MIN, i64::MAX)
        .expect("asked")
        .map(|own| own.expect("a series"));
    assert_eq!(left.map(|own| own.samples.len()).sum::<usize>(), 1);
}

#[test]
fn a_store_that_is_being_opened_answers_and_takes_nothing() {
    let disk = SimDisk::new(13);
    let (store, _) = open_with(&disk, &options());
    let own = series(&store, 1);
    store.write(&own, START, 1.0).expect("written");
    store.flush().expect("flushed");
    store.write(&own, START + SECOND, 2.0).expect("written");
    drop(store);
    let (store, report) = Store::open_serving(crate::FOLDER, &options(), disk.world(), |early| {
        assert!(early.is_opening());
        // What tables have is there; the journal is not read yet.
        assert_eq!(all(early).values().map(Vec::len).sum::<usize>(), 1);
        let own = series(early, 1);
        assert!(matches!(early.write(&own, START, 9.0), Err(Error::Opening)));
        let mut batch = Batch::new();
        batch.push_sample(&own, START, 9.0);
        assert!(matches!(early.append(batch, Durability::Now), Err(Error::Opening)));
        assert!(matches!(early.set_power(duramen_store::Power::Low, "test"), Err(Error::Opening)));
    })
    .expect("opened");
    assert!(!store.is_opening() && report.replayed_samples == 1);
    assert_eq!(all(&store).values().map(Vec::len).sum::<usize>(), 2);
    assert_eq!(store.last(own.labels()).expect("asked"), Some(Sample { time: START + SECOND, value: 2.0 }));
}

#[test]
fn selectors_find_among_many_series_what_looking_at_all_finds() {
    let disk = SimDisk::new(17);
    let labels = |at: i64| {
        let host = format!("web-{}", at % 100);
        let name = ["load", "temperature", "up"][at as usize % 3];
        Labels::new([("__name__", name.to_string()), ("core", at.to_string()), ("host", host)]).expect("good labels")
    };
    let write = |store: &Store, series: std::ops::Range<i64>| {
        let mut batch = Batch::new();
        for at in series {
            batch.push_sample(&store.stream(&labels(at)).expect("room"), START + at, at as f64);
        }
        store.append(batch, Durability::Now).expect("taken").wait().expect("durable");
    };
    let questions = [
        ("core", Operator::Equal, "77"),
        ("core", Operator::Matches, "3|77|701|x"),
        ("host", Operator::Equal, "web-5"),
        ("host", Operator::Matches, "(web-5|web-50)"),
        ("host", Operator::Matches, "web-5.*"),
        ("host", Operator::NotEqual, "web-5"),
        ("core", Operator::Equal, "none"),
        ("missing", Operator::Equal, ""),
        ("missing", Operator::Matches, "|web"),
    ];
    let check = |store: &Store, written: i64| {
        let asked = |matchers: Vec<Matcher>| {
            let selector = Selector { matchers };
            let found = store.series(&selector, i64::MIN, i64::MAX).expect("asked");
            let mut expected: Vec<_> = (0..written).map(labels).filter(|labels| selector.selects(labels)).collect();
            expected.sort();
            assert_eq!(found, expected, "{selector}");
        };
        for (name, operator, value) in questions {
            let matcher = Matcher::new(name, operator, value).expect("a matcher");
            asked(vec![matcher.clone()]);
            asked(vec![Matcher::new("__name__", Operator::Equal, "load").expect("a matcher"), matcher]);
        }
        let last = store.last(&labels(77)).expect("asked");
        assert_eq!(last, Some(Sample { time: START + 77, value: 77.0 }));
    };
    let (store, _) = open_with(&disk, &series_options());
    write(&store, 0..400);
    check(&store, 400);
    store.flush().expect("flushed");
    check(&store, 400);
    write(&store, 400..800);
    check(&store, 800);
    drop(store);
    let (store, _) = open_with(&disk, &series_options());
    check(&store, 800);
}
