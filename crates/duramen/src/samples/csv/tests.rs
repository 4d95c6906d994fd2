//! Tables: which columns are what, rows in pieces, bad rows.

use super::*;
use crate::samples::gather::{Gathered, damaged, gather};

fn run(body: &[u8], columns: Columns, cut: usize) -> (Gathered, Result<(), String>) {
    let mut ended = Ok(());
    let gathered = gather(|each, _| {
        let (mut table, mut outcome) = (Csv::new(columns), Outcome::default());
        let cut = cut.min(body.len());
        ended = (|| {
            let taken = table.read(&body[..cut], Piece::More, &mut outcome, &mut *each)?;
            table.read(&body[taken..], Piece::Last, &mut outcome, &mut *each).map(|_| ())
        })();
        outcome
    });
    (gathered, ended)
}

fn columns() -> Columns {
    Columns { name: Some("house".into()), labels: vec!["room".into()], ..Columns::default() }
}

const TABLE: &str = "timestamp,room,temp,value\n2023-11-14 22:13:20,\"the, hall\",20.5,1\n1700000060,attic,,2\n";

#[test]
fn columns_are_metrics_labels_and_times_wherever_the_table_is_cut() {
    for cut in 0..=TABLE.len() {
        let (read, ended) = run(TABLE.as_bytes(), columns(), cut);
        assert_eq!(ended, Ok(()), "cut at {cut}");
        assert_eq!(
            read.lines,
            [
                "{__name__=\"house_temp\", room=\"the, hall\"} 20.5 @ 1700000000000000000",
                "{__name__=\"house\", room=\"the, hall\"} 1 @ 1700000000000000000",
                "{__name__=\"house\", room=\"attic\"} 2 @ 1700000060000000000",
            ],
            "cut at {cut}"
        );
        assert_eq!(read.outcome.skipped, 1, "an empty cell");
    }
}

#[test]
fn bad_rows_are_named_and_a_bad_header_ends_it() {
    let (read, ended) = run(b"time,value\nnonsense,1\n1700000000,x\n1700000000\n1700000000,4\n", Columns::default(), 0);
    assert_eq!((ended, read.lines.len()), (Ok(()), 1));
    let rows: Vec<u64> = read.outcome.bad.iter().map(|bad| bad.row).collect();
    assert_eq!(rows, [2, 3, 4]);
    assert!(run(b"a,b\n1,2\n", Columns::default(), 0).1.is_err(), "no time");
    assert!(run(b"time,value\n1,2\n", columns(), 0).1.is_err(), "no column room");
}

#[test]
fn damaged_tables_make_no_panic() {
    for seed in 0..4_000usize {
        let damaged = damaged(TABLE.as_bytes(), &[(seed * 7, seed as u8), (seed * 31, (seed / 3) as u8)], seed * 13);
        let _ = run(&damaged, columns(), seed % 60);
    }
}
