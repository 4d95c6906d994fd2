//! Counts: the same as counting the rows of the answer, wherever the rows lie, and without reading what is not needed.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's")]

use std::collections::BTreeMap;
use std::time::Duration;

use duramen_journal::disk::sim::SimDisk;
use duramen_store::{Batch, By, Durability, Level, Nanoseconds, Query, Store};

use crate::{DAY, SECOND, START, ask_with, open, stream};

type Cells = BTreeMap<(Nanoseconds, String), u64>;

/// What [`Store::count`] should say: the rows of the answer, one by one.
fn by_rows(store: &Store, query: &Query, step: Nanoseconds, by: Option<&By>) -> (Cells, u64) {
    let (mut cells, mut untimed) = (Cells::new(), 0);
    for row in ask_with(store, query.clone()) {
        if !row.timed {
            untimed += 1;
            continue;
        }
        let value = match by {
            None => String::new(),
            Some(By::Level) => row.level.to_string(),
            Some(By::Name(name)) => {
                row.labels.get(name).or_else(|| row.fields().get(name)).unwrap_or_default().to_string()
            }
        };
        *cells.entry((row.time.div_euclid(step) * step, value)).or_default() += 1;
    }
    (cells, untimed)
}

fn by_count(store: &Store, query: &Query, step: Nanoseconds, by: Option<&By>) -> (Cells, u64) {
    let counts = store.count(query.clone(), Some(step), by).expect("counted");
    assert_eq!(counts.step, step);
    let mut cells = Cells::new();
    for series in &counts.series {
        for (start, rows) in counts.starts.iter().zip(&series.counts).filter(|(_, rows)| **rows > 0) {
            assert!(cells.insert((*start, series.value.clone()), *rows).is_none());
        }
        assert_eq!(series.total, series.counts.iter().sum::<u64>());
    }
    assert_eq!(counts.total, cells.values().sum::<u64>());
    (cells, counts.untimed)
}

#[track_caller]
fn compare(store: &Store) {
    let name = |name: &str| Some(By::Name(name.to_string()));
    let queries = ["", r#"{app=~"a|b"}"#, "level>=warning", "level=none", "number", r#"!= "7""#, "user=ana", "nowhere"];
    let times = [(None, None), (Some(START + 3 * SECOND), Some(START + DAY + 17 * SECOND)), (None, Some(START))];
    for text in queries {
        for (from, to) in times {
            let query = Query { from, to, ..text.parse().unwrap() };
            for by in [None, Some(By::Level), name("app"), name("user"), name("nothing")] {
                for step in [SECOND, 7 * SECOND + 3, DAY, 3_000 * DAY] {
                    let (told, expected) =
                        (by_count(store, &query, step, by.as_ref()), by_rows(store, &query, step, by.as_ref()));
                    assert_eq!(told, expected, "{text:?} {from:?} {to:?} by {by:?} in steps of {step}");
                }
            }
        }
    }
}

fn fill(store: &Store, from: usize) {
    for at in from..from + 60 {
        let mut batch = Batch::new();
        let level = Level::from_byte([8, 6, 3, 4][at / 2 % 4]);
        let time = START + (at % 3) as i64 * DAY + (at as i64 * 7 % 40) * SECOND - i64::from(at == 5);
        let fields: &[(&str, &str)] = [&[("user", "ana")], &[][..], &[("user", "bo"), ("app", "no")]][at % 3];
        let text = format!("number {at}");
        batch.push(&stream(store, ["a", "b", "c"][at % 3]), time, level, text.as_bytes(), fields);
        store.append(batch, Durability::Now).unwrap().wait().unwrap();
    }
}

#[test]
fn counting_is_what_the_rows_say() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    fill(&store, 0);
    compare(&store);
    store.flush().unwrap();
    compare(&store);
    fill(&store, 60);
    compare(&store);
    store.flush().unwrap();
    store.compact().unwrap();
    fill(&store, 120);
    compare(&store);
    let half = store.last_row().unwrap();
    fill(&store, 180);
    let rest = Query { after: Some(half), ..r#"{app=~".+"}"#.parse().unwrap() };
    store.flush().unwrap();
    assert_eq!(store.count(rest, Some(3_000 * DAY), None).unwrap().total, 60);
}

#[test]
fn rows_of_boots_without_a_clock_are_counted_where_they_belong() {
    let disk = SimDisk::new(1);
    disk.environment().set_wall(Duration::from_secs(100));
    let (store, _) = open(&disk);
    for flushed in [true, false] {
        let (base, time) = store.now();
        let mut batch = Batch::new();
        batch.push_at(base, &stream(&store, "a"), time, Level::Info, b"early number", &[]);
        store.append(batch, Durability::Now).unwrap().wait().unwrap();
        if flushed {
            store.flush().unwrap();
        }
    }
    assert_eq!(store.count(Query::default(), None, None).unwrap().untimed, 2);
    compare(&store);
    // The network tells the time; with the next opening the same rows have places.
    disk.environment().set_wall(Duration::from_nanos(START as u64));
    fill(&store, 0);
    compare(&store);
    store.close().unwrap();
    drop(store);
    let (store, _) = open(&disk);
    compare(&store);
    let all = store.count(r#"{app=~".+"}"#.parse().unwrap(), Some(DAY), None).unwrap();
    assert_eq!((all.total, all.untimed), (62, 0));
}

#[test]
fn only_what_is_needed_is_read() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    for day in 0..3 {
        let mut batch = Batch::new();
        for number in 0..500 {
            let text = format!("day {day} number {number} {}", "x".repeat(100));
            batch.push(&stream(&store, "a"), START + day * DAY + number, Level::Info, text.as_bytes(), &[]);
        }
        store.append(batch, Durability::Now).unwrap().wait().unwrap();
        store.flush().unwrap();
    }
    let count = |query: &str, from, step, by: Option<&By>| {
        let query = Query { from, ..query.parse().unwrap() };
        store.count(query, Some(step), by).unwrap()
    };
    let whole = count(r#"{app="a"}"#, None, DAY, None);
    assert_eq!((whole.total, whole.explained.blocks_read), (1_500, 0), "the index says it");
    let level = count(r#"{app="a"}"#, None, DAY, Some(&By::Level));
    assert_eq!((level.total, level.explained.blocks_read), (1_500, 0));
    let fine = count(r#"{app="a"}"#, Some(START + 2 * DAY + 100), 10, None);
    assert_eq!((fine.total, fine.starts.len(), fine.explained.blocks_read), (400, 40, 1));
    let words = count(r#"{app="a"} "number 7""#, Some(START + 2 * DAY), 10, None);
    assert_eq!(words.total, 1);
    assert!(fine.explained.bytes_read < words.explained.bytes_read, "the text was not read");
}

#[test]
fn a_step_is_chosen_for_the_times_asked_for() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    assert_eq!(store.count(r#"{app="a"}"#.parse().unwrap(), None, None).unwrap().total, 0);
    fill(&store, 0);
    let counts = |from, to| store.count(Query { from, to, ..Query::default() }, None, None).unwrap();
    assert_eq!(counts(Some(START), Some(START + 3_600 * SECOND)).step, 60 * SECOND);
    assert_eq!(counts(Some(START), Some(START + 7 * DAY)).step, 10_800 * SECOND);
    let all = counts(None, None);
    assert!((1_800 * SECOND..=7_200 * SECOND).contains(&all.step), "{}", all.step);
}

#[test]
fn counting_can_be_given_up() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    fill(&store, 0);
    store.flush().unwrap();
    let mut left = 2;
    let mut go_on = || {
        left -= 1;
        left >= 0
    };
    let counts = store.count_while(Query::default(), Some(DAY), None, &mut go_on).unwrap();
    assert!(counts.total > 0 && counts.total < 60, "{}", counts.total);
}
