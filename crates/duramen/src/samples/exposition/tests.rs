//! Prometheus' text and OpenMetrics: samples, what is said of metrics, and bad lines.

use super::*;
use crate::samples::gather::{Gathered, damaged, gather};

fn run(body: &str, format: Format) -> Gathered {
    gather(|each, told| read(body.as_bytes(), format, each, told))
}

#[test]
fn samples_and_what_is_said_of_them() {
    let body = "# HELP http_requests_total The number, with a \\\\ and\\na line.\n# TYPE http_requests_total counter\n\
                http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\nplain 1.5e3\n\
                odd{path=\"C:\\\\DIR\\\"\\n\",} +Inf\nnone NaN\n# a comment\n\n";
    let read = run(body, Format::Text);
    assert_eq!(
        read.lines,
        [
            "{__name__=\"http_requests_total\", code=\"200\", method=\"post\"} 1027 @ 1395066363000000000",
            "{__name__=\"plain\"} 1500",
            "{__name__=\"odd\", path=\"C:\\\\DIR\\\"\\n\"} inf",
            "{__name__=\"none\"} NaN",
        ]
    );
    assert!(read.metadata.iter().any(|said| said.starts_with("http_requests_total counter")), "{:?}", read.metadata);
    assert!(read.metadata.iter().any(|said| said.contains("The number")), "{:?}", read.metadata);
}

#[test]
fn openmetrics_counts_seconds_and_ends_in_eof() {
    let body = "# TYPE a counter\n# UNIT a seconds\na_total 3 1.5 # {id=\"x\"} 1 1.4\n# EOF\n";
    let read = run(body, Format::OpenMetrics);
    assert_eq!(read.lines, ["{__name__=\"a_total\"} 3 @ 1500000000"]);
    assert_eq!((read.outcome.skipped, read.outcome.bad_count), (1, 0));
    assert_eq!(run("a 1\n", Format::OpenMetrics).outcome.bad_count, 1, "it may have been cut");
}

#[test]
fn bad_lines_are_named_and_the_others_kept() {
    let body = "good 1\nbad{a=b} 1\nbad{a=\"b} 1\nbad\nbad x\ngood 2\n{} 1\nbad 1 x\n";
    let read = run(body, Format::Text);
    assert_eq!(read.lines, ["{__name__=\"good\"} 1", "{__name__=\"good\"} 2"]);
    let rows: Vec<u64> = read.outcome.bad.iter().map(|bad| bad.row).collect();
    assert_eq!(rows, [2, 3, 4, 5, 7, 8]);
}

#[test]
fn damaged_bodies_make_no_panic() {
    let body = "# HELP a b\n# TYPE a gauge\na{b=\"c\\n\",d=\"e\"} 1.5 1395066363000\nh_bucket{le=\"+Inf\"} 3 # {x=\"y\"} 1\n# EOF\n";
    for seed in 0..4_000usize {
        let damaged = damaged(body.as_bytes(), &[(seed * 7, seed as u8), (seed * 31, (seed / 3) as u8)], seed * 13);
        for format in [Format::Text, Format::OpenMetrics] {
            assert!(gather(|each, told| read(&damaged, format, each, told)).lines.len() <= 4);
        }
    }
}
