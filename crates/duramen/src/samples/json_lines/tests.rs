//! JSON lines: both shapes, and what is no sample.

use super::*;
use crate::samples::gather::{Gathered, damaged, gather};

fn run(body: &str) -> Gathered {
    gather(|each, _| read(body.as_bytes(), None, each))
}

#[test]
fn both_shapes_are_read() {
    let body = "{\"name\":\"cpu\",\"labels\":{\"host\":\"a\\u00e9\"},\"time\":\"2023-11-14T22:13:20Z\",\"value\":1.5}\n\n\
                {\"metric\":{\"__name__\":\"mem\",\"x\":\"y\"},\"values\":[1,2,null],\"timestamps\":[1700000000000,1700000001000,1700000002000]}\n";
    let read = run(body);
    assert_eq!(
        read.lines,
        [
            "{__name__=\"cpu\", host=\"aé\"} 1.5 @ 1700000000000000000",
            "{__name__=\"mem\", x=\"y\"} 1 @ 1700000000000000000",
            "{__name__=\"mem\", x=\"y\"} 2 @ 1700000001000000000",
        ]
    );
    assert_eq!((read.outcome.skipped, read.outcome.bad_count), (1, 0), "{:?}", read.bad());
}

#[test]
fn bad_lines_are_named_and_the_others_kept() {
    let good = "{\"name\":\"a\",\"time\":1700000000,\"value\":1}";
    let bad = [
        "{",
        "[]",
        "[\"a\",null,1700000000,1]",
        "[\"a\",null,null,null,[1],[1700000000000]]",
        "{\"name\":\"a\",\"value\":\"x\"}",
        "{\"name\":\"a\",\"vlaue\":1}",
        "{\"name\":\"a\",\"values\":[1],\"timestamps\":[]}",
    ];
    let body: String = bad.iter().map(|line| format!("{line}\n{good}\n")).collect();
    let read = run(&body);
    assert_eq!((read.lines.len(), read.outcome.bad_count), (bad.len(), bad.len() as u64), "{:?}", read.bad());
}

#[test]
fn damaged_lines_make_no_panic() {
    let body = "{\"metric\":{\"__name__\":\"m\",\"x\":\"y\"},\"values\":[1,2.5e3],\"timestamps\":[1700000000000,1]}\n";
    for seed in 0..4_000usize {
        let damaged = damaged(body.as_bytes(), &[(seed * 7, seed as u8), (seed * 31, (seed / 3) as u8)], seed * 13);
        assert!(gather(|each, _| read(&damaged, None, each)).lines.len() <= 2);
    }
}
