//! A disk that fills up: nothing acknowledged goes but what the options give up, and that is told.

use std::ops::Range;

use duramen_journal::disk::sim::SimDisk;
use duramen_store::{Batch, DiskFull, Durability, Error, Level, Options, Store};

use crate::{DAY, START, all, append, ask, open_with, options, stream};

/// Bytes kept free.
const FREE: u64 = 200 << 10;

fn small(disk_full: DiskFull) -> Options {
    Options { free_bytes_min: FREE, disk_full, memtable_bytes: 64 << 10, fan_in: 100, ..options() }
}

/// How many of these rows of a day were taken before one was refused.
fn fill(store: &Store, day: i64, rows: Range<u32>) -> Result<u32, Error> {
    for row in rows.clone() {
        let mut batch = Batch::new();
        // Digits that compress badly.
        let noise =
            (0..8).map(|at| format!("{:016x}", u64::from(row * 8 + at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let text = format!("{day} {row} {}", noise.collect::<String>());
        batch.push(&stream(store, "filler"), START + day * DAY, Level::Info, text.as_bytes(), &[]);
        match store.append(batch, Durability::Now) {
            Ok(receipt) => receipt.wait()?,
            Err(error) if error.is_no_space() => return Ok(row - rows.start),
            Err(error) => return Err(error),
        }
    }
    Ok(rows.len() as u32)
}

#[test]
fn rows_are_refused_while_there_is_too_little_space_and_taken_when_it_is_back() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(3 << 20));
    let (store, _) = open_with(&disk, &small(DiskFull::Stop));
    let taken = fill(&store, 0, 0..100_000).expect("refusals only");
    assert!(taken > 1_000 && taken < 100_000, "{taken} rows were taken");
    assert!(store.stats().space_short && store.stats().free_bytes.is_some_and(|free| free < FREE));
    assert_eq!(all(&store).len() as u32, taken, "nothing that was taken goes, nothing that was refused stays");
    disk.set_capacity(Some(30 << 20));
    store.tick().expect("a look at the space");
    append(&store, "late", START, "back");
    store.close().expect("closed");
    let (store, report) = open_with(&disk, &small(DiskFull::Stop));
    assert!(report.lost_tables.is_empty());
    assert_eq!(all(&store).len() as u32, taken + 1);
}

#[test]
fn the_oldest_rows_go_and_a_gap_says_which() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(3 << 20));
    let (store, _) = open_with(&disk, &small(DiskFull::DropOldest));
    let mut taken = 0_u32;
    for day in 0..8 {
        for row in 0..2_500 {
            // As the background thread does it: before an append waits for a table, it looks at the space that one needs.
            store.tick().expect("a look at the space");
            let today = fill(&store, day, row..row + 1).expect("rows");
            assert_eq!(today, 1, "day {day}, row {row}: refused though older ones could go");
        }
        store.flush().expect("sealed");
        taken += 2_500;
    }
    let kept = all(&store);
    let dropped = store.stats().rows_dropped;
    // Events of earlier drops are among the rows that went.
    let gone = u64::from(taken) - kept.len() as u64;
    assert!(gone > 0 && (gone..gone + 20).contains(&dropped), "{} kept, {dropped} dropped", kept.len());
    assert!(kept.iter().all(|text| !text.starts_with("0 ")), "the first day went first");
    assert_eq!(kept.iter().filter(|text| text.starts_with("7 ")).count(), 2_500);
    let told = |store: &Store| {
        let gaps = ask(store, r#"{duramen="events"} event=gap"#);
        let last = gaps.last().expect("a gap").fields();
        let number = |name: &str| last.get(name).and_then(|value| value.parse::<i64>().ok()).expect("a number");
        (number("total") as u64, number("from"))
    };
    assert_eq!(told(&store), (dropped, START), "the newest gap tells of all that went");
    store.close().expect("closed");
    let (store, report) = open_with(&disk, &small(DiskFull::DropOldest));
    assert!(report.lost_tables.is_empty(), "{:?}", report.lost_tables);
    assert_eq!((all(&store), told(&store)), (kept, (dropped, START)));
}

#[test]
fn errors_do_not_wait_for_the_interval() {
    let disk = SimDisk::new(1);
    let (store, _) = open_with(&disk, &options());
    let push = |level| {
        let mut batch = Batch::new();
        batch.push(&stream(&store, "a"), START, level, b"x", &[]);
        store.append(batch, Durability::Policy).expect("appended").sequence()
    };
    push(Level::Warning);
    let last = push(Level::Error);
    assert_eq!(store.stats().journal.durable, last, "the error and all before it");
    let waiting = push(Level::Warning);
    assert!(store.stats().journal.durable < waiting, "a warning waits for the interval");
}
