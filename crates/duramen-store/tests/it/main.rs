//! The store as its users see it, on the simulated disk: rows come back in order from wherever they are, and what happened to
//! the machine is told.

mod backup;
mod counts;
mod downsampling;
mod events;
mod golden;
mod inspect;
mod inspect_samples;
mod questions;
mod retention;
mod samples;
mod segments;
mod space;
mod tables;

use duramen_journal::disk::sim::SimDisk;
use duramen_store::{Batch, Durability, Labels, Level, Nanoseconds, Options, Query, Report, Row, Store, Stream};

const FOLDER: &str = "/data";
/// 2023-11-14 22:13:20 UTC, as the simulated clock has it at first.
const START: Nanoseconds = 1_700_000_000_000_000_000;
const SECOND: Nanoseconds = 1_000_000_000;
const DAY: Nanoseconds = 86_400 * SECOND;

fn options() -> Options {
    let small = Options::default();
    Options {
        journal: duramen_journal::Options { segment_bytes: 256 << 10, stock: false, ..small.journal.clone() },
        ..small
    }
}

fn open_with(disk: &SimDisk, options: &Options) -> (Store, Report) {
    Store::open_with(FOLDER, options, disk.world()).expect("the store opens")
}

fn open(disk: &SimDisk) -> (Store, Report) {
    open_with(disk, &options())
}

fn stream(store: &Store, app: &str) -> Stream {
    store.stream(&Labels::new([("app", app)]).expect("good labels")).expect("room for a stream")
}

/// Appends one row and waits for it.
fn append(store: &Store, app: &str, time: Nanoseconds, text: &str) {
    let mut batch = Batch::new();
    batch.push(&stream(store, app), time, Level::Info, text.as_bytes(), &[]);
    store.append(batch, Durability::Now).expect("appended").wait().expect("durable");
}

fn ask(store: &Store, query: &str) -> Vec<Row> {
    let query: Query = query.parse().expect("a good query");
    ask_with(store, query)
}

fn ask_with(store: &Store, query: Query) -> Vec<Row> {
    store.query(query).expect("asked").map(|row| row.expect("a row")).collect()
}

fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| String::from_utf8_lossy(&row.text).into_owned()).collect()
}

/// All rows but the store's own.
fn all(store: &Store) -> Vec<String> {
    texts(&ask(store, r#"{app=~".+"}"#))
}
