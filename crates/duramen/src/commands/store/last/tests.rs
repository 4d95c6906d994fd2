//! The last rows, gathered or read twice: the same ones. `query -n 5000000` on 700,000 rows took 248 MB of the daemon.

use std::time::Duration;

use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_store::{Batch, Durability, Labels, Level, Options};

use super::*;

const START: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

fn append(store: &Store, number: i64) {
    let stream = store.stream(&Labels::new([("app", "a")]).expect("good labels")).expect("room for a stream");
    let mut batch = Batch::new();
    let text = format!("row {number}");
    match store.now() {
        // Four rows at each time.
        (duramen_store::TimeBase::Wall, _) => {
            batch.push(&stream, START + number / 4 * SECOND, Level::Info, text.as_bytes(), &[]);
        }
        (base, time) => batch.push_at(base, &stream, time, Level::Info, text.as_bytes(), &[]),
    }
    store.append(batch, Durability::Now).expect("appended").wait().expect("durable");
    if number % 20 == 19 {
        store.flush().expect("flushed");
    }
}

/// Fifty rows in tables and in memory, the first ten of a boot whose clock was never set.
fn filled() -> Store {
    let disk = SimDisk::new(1);
    disk.environment().set_wall(Duration::from_secs(100));
    let (store, _) = Store::open_with("/data", &Options::default(), disk.world()).expect("it opens");
    (0..10).for_each(|number| append(&store, number));
    store.sync().expect("synced");
    let disk = disk.reboot(Crash::LoseAll);
    drop(store);
    disk.environment().set_wall(Duration::from_nanos(START as u64));
    let (store, _) = Store::open_with("/data", &Options::default(), disk.world()).expect("it opens");
    (10..50).for_each(|number| append(&store, number));
    store
}

fn last(store: &Store, query: &Query, lines: usize, bytes_max: usize) -> Vec<String> {
    let (mut texts, mut gaps) = (Vec::new(), 0);
    let told = give_last_within(store, query.clone(), lines, bytes_max, &mut |row| {
        let row = row?;
        gaps += usize::from(row.gap);
        texts.push(String::from_utf8(row.text)?);
        Ok(true)
    });
    assert_eq!(told.expect("an answer").rows, texts.len() - gaps);
    texts
}

#[test]
fn the_last_rows_are_the_same_gathered_or_read_twice() {
    let store = filled();
    let query: Query = r#"{app="a"} "row""#.parse().unwrap();
    let all: Vec<duramen_store::Row> = store.query(query.clone()).unwrap().map(Result::unwrap).collect();
    assert_eq!((all.len(), all.iter().filter(|row| !row.timed).count()), (50, 10));
    let all: Vec<String> = all.into_iter().map(|row| String::from_utf8(row.text).unwrap()).collect();
    for lines in [0, 1, 2, 3, 7, 39, 40, 41, 49, 50, 1_000] {
        let expected = &all[all.len().saturating_sub(lines)..];
        for bytes_max in [0, 1_000, usize::MAX] {
            assert_eq!(last(&store, &query, lines, bytes_max), expected, "{lines} rows, {bytes_max} bytes");
        }
    }
    let bounded = Query { from: Some(START + 3 * SECOND), to: Some(START + 6 * SECOND), ..query.clone() };
    assert_eq!(last(&store, &bounded, 5, 0), last(&store, &bounded, 5, usize::MAX));
    // What tells of gaps comes along and does not count.
    let gaps = Query { gaps: true, ..query };
    let told = last(&store, &gaps, 45, 0);
    assert_eq!((told.len(), told), (46, last(&store, &gaps, 45, usize::MAX)));
}
