//! Downsampling: what rules make, and who sees it.

use std::time::Duration;

use duramen_journal::disk::sim::SimDisk;
use duramen_store::{DOWNSAMPLE_LABEL, Downsampling, Matcher, Operator, Options, Selector, Statistic, Store};

use crate::samples::series;
use crate::{SECOND, START, open_with, options};

const MINUTE: i64 = 60 * SECOND;

/// A rule for every series, with every statistic.
fn rule(step: u64) -> Downsampling {
    let (step, delay) = (Duration::from_secs(step), Duration::from_secs(10));
    Downsampling { selector: Selector::default(), step, delay, statistics: Statistic::ALL.to_vec() }
}

/// Where the first window of a minute begins in these tests.
fn start() -> i64 {
    (START / MINUTE + 1) * MINUTE
}

/// A store in which two series have a sample each 10 seconds over five minutes, and all of their minutes are made.
fn made(disk: &SimDisk, rules: Vec<Downsampling>) -> Store {
    let (store, _) = open_with(disk, &Options { downsampling: rules, ..options() });
    for step in 1..=30 {
        for number in 1..=2 {
            let value = f64::from(number) * [5.0, 1.0, 9.0, 3.0, 4.0, 2.0][step as usize % 6];
            store.write(&series(&store, number), start() + step * 10 * SECOND, value).expect("written");
        }
    }
    disk.advance(Duration::from_nanos((start() - START + 5 * MINUTE + 11 * SECOND) as u64));
    store.tick().expect("made");
    store
}

/// A rule on `load` with all statistics had `sum(load)` answer 39 instead of 3: what it made has the same name and labels beside
/// `downsample`, and counted too.
#[test]
#[cfg(feature = "promql")]
fn promql_means_measured_series_unless_it_names_the_label() {
    use duramen_store::promql::{Answer, Expression, LabelMatcher, Options, parse_selector};

    let disk = SimDisk::new(1);
    let store = made(&disk, vec![rule(60), rule(120)]);
    let check = |store: &Store| {
        let end_ms = (start() + 5 * MINUTE) / 1_000_000;
        let values = |expression: &str| -> Vec<f64> {
            let parsed = Expression::parse(expression).expect("good");
            let answer = parsed.instant(store, end_ms, &Options::default()).expect("answered");
            let Answer::Vector(samples) = answer else { panic!("no vector: {answer:?}") };
            samples.iter().map(|sample| sample.value).collect()
        };
        for (expression, expected) in [
            ("sum(load)", 15.0),
            ("count(load)", 2.0),
            ("count({core=~\".+\"})", 2.0),
            ("count(load{core!=\"\"})", 2.0),
            ("count(load{downsample=\"\"})", 2.0),
            ("sum(count_over_time(load[5m]))", 60.0),
            ("sum(sum_over_time(load[5m]))", 360.0),
            ("sum(load{downsample=\"mean\",downsample_step=\"60\"})", 12.0),
            ("sum(load{downsample=\"max\",downsample_step=\"120\"})", 27.0),
            ("count(load{downsample!=\"\"})", 20.0),
            ("count(load{downsample=~\".*\"})", 22.0),
        ] {
            assert_eq!(values(expression), [expected], "{expression}");
        }
        let names = |matchers: &[LabelMatcher]| store.series_matching(matchers, i64::MIN, i64::MAX - 1).expect("asked");
        assert_eq!(names(&[]).len(), 2);
        let of_one = names(&parse_selector("load{core=\"1\",downsample!=\"\"}").expect("good"));
        assert_eq!(of_one.len(), 10);
        assert!(of_one.iter().all(|labels| labels.get("downsample_step").is_some()), "{of_one:?}");
    };
    check(&store);
    store.flush().expect("sealed");
    check(&store);
}

#[test]
fn each_statistic_of_each_window_is_that_of_its_samples() {
    let disk = SimDisk::new(2);
    let store = made(&disk, vec![rule(60)]);
    let check = |store: &Store| {
        for (statistic, expected) in [
            (Statistic::Mean, 4.0),
            (Statistic::Min, 1.0),
            (Statistic::Max, 9.0),
            // The sixth of each minute is the first of the six values again.
            (Statistic::Last, 5.0),
            (Statistic::Count, 6.0),
        ] {
            let matcher = Matcher::new(DOWNSAMPLE_LABEL, Operator::Equal, statistic.word()).expect("a matcher");
            let asked = store.samples(&Selector { matchers: vec![matcher] }, i64::MIN, i64::MAX).expect("asked");
            let found: Vec<_> = asked.map(|own| own.expect("a series")).collect();
            assert_eq!(found.len(), 2, "{statistic:?}");
            for (own, number) in found.iter().zip(1..) {
                let (core, step) = (own.labels.get("core"), own.labels.get("downsample_step"));
                assert_eq!((core, step), (Some(format!("{number}").as_str()), Some("60")));
                // How many there are does not grow with the values.
                let value = if statistic == Statistic::Count { expected } else { expected * f64::from(number) };
                let told: Vec<_> = own.samples.iter().map(|sample| (sample.time, sample.value)).collect();
                let minutes: Vec<_> = (1..=5).map(|at| (start() + at * MINUTE, value)).collect();
                assert_eq!(told, minutes, "{statistic:?} of {}", own.labels);
            }
        }
    };
    check(&store);
    store.flush().expect("sealed");
    check(&store);
    store.close().expect("closed");
    check(&open_with(&disk, &options()).0);
}
