//! InfluxDB's lines: what a line gives, and what of a bad one is told.

use super::*;
use crate::samples::gather::{Gathered, damaged, gather};

fn run(body: &[u8], options: Options<'_>) -> Gathered {
    gather(|each, _| read(body, options, each))
}

fn told(body: &str) -> Vec<String> {
    run(body.as_bytes(), Options { unit: Unit::Seconds, database: None }).lines
}

#[test]
fn a_field_is_a_metric_and_tags_are_labels() {
    let lines = told("cpu,host=a,zone=eu usage=1.5,load=2i,up=t,count=3u 10\nweather value=-4\r\n\n# said\n");
    let labels = "host=\"a\", zone=\"eu\"";
    assert_eq!(
        lines,
        [
            format!("{{__name__=\"cpu_usage\", {labels}}} 1.5 @ 10000000000"),
            format!("{{__name__=\"cpu_load\", {labels}}} 2 @ 10000000000"),
            format!("{{__name__=\"cpu_up\", {labels}}} 1 @ 10000000000"),
            format!("{{__name__=\"cpu_count\", {labels}}} 3 @ 10000000000"),
            "{__name__=\"weather\"} -4".to_string(),
        ]
    );
}

#[test]
fn escapes_are_undone_and_strings_are_skipped() {
    let body = r#"my\ cpu,host\ name=a\,b\=c usage=1,text="with \"quotes\", and a comma" 1"#;
    let read = run(body.as_bytes(), Options::default());
    assert_eq!(read.lines, [r#"{__name__="my_cpu_usage", host_name="a,b=c"} 1 @ 1"#]);
    assert_eq!(read.outcome.skipped, 1);
    let many = run(b"m s=\"two\nlines\",v=1 5\nm v=2 6\n", Options::default());
    assert_eq!((many.lines.len(), many.outcome.bad_count), (2, 0));
}

#[test]
fn a_database_is_a_label_that_a_tag_overrides() {
    let options = Options { unit: Unit::Nanoseconds, database: Some("home") };
    let lines = run(b"m v=1 1\nm,db=other v=2 1\n", options).lines;
    assert_eq!(lines, [r#"{__name__="m_v", db="home"} 1 @ 1"#, r#"{__name__="m_v", db="other"} 2 @ 1"#]);
}

#[test]
fn a_bad_line_takes_no_other_with_it_and_is_named() {
    let bad = [
        "m",
        "m v",
        "m v=",
        "m v=x 1",
        "m v=1 x",
        "m v=1 1 1",
        ",a=b v=1",
        "m,a v=1",
        "m,=b v=1",
        "m v=1i2",
        "m v=nan",
        "m v=inf",
        "m v=\"open",
        "m v=1 99999999999999999999",
        "m,__name__=x v=1",
    ];
    let body: String = bad.iter().map(|line| format!("{line}\ngood v=1 1\n")).collect();
    let read = run(body.as_bytes(), Options::default());
    assert_eq!(read.lines.len(), bad.len(), "{:?}", read.bad());
    assert_eq!(read.outcome.bad_count, bad.len() as u64, "{:?}", read.bad());
    let rows: Vec<u64> = read.outcome.bad.iter().map(|bad| bad.row).collect();
    assert_eq!(rows, (0..bad.len() as u64).map(|at| at * 2 + 1).collect::<Vec<_>>());
}

#[test]
fn damaged_bodies_make_no_panic() {
    let body = "cpu,host=a\\ b,zone=eu usage=1.5,text=\"a\\\"b\",up=t 1700000000\n".repeat(3);
    for seed in 0..4_000usize {
        let changes = [(seed * 7, seed as u8), (seed * 31, (seed / 3) as u8)];
        let damaged = damaged(body.as_bytes(), &changes, seed * 13);
        let read = run(&damaged, Options { unit: Unit::Hours, database: Some("d") });
        assert!(read.lines.len() <= 6);
    }
}
