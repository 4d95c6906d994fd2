//! PromQL beside a real Prometheus: the same samples, the same questions, the same answers. Skipped with a word where `prometheus`
//! and `promtool` are not installed (Debian: the package `prometheus`).
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a real server is started, fed and asked")]

mod data;
mod given;
mod names;
mod questions;
mod server;

use duramen_store::promql::Range;

use given::{ours, theirs};

fn seconds(milliseconds: i64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

#[derive(Clone, Copy, Debug)]
enum When {
    Instant(i64),
    Range(Range),
}

/// Whole seconds that no sample lies on, and no multiple of a subquery's step: neither here nor any range before it, for 2.42 still
/// closes windows on the left.
fn times() -> Vec<When> {
    let at = |second: i64| data::START_MS + second * 1000;
    let range =
        |start, end, step: i64| When::Range(Range { start_ms: at(start), end_ms: at(end), step_ms: step * 1000 });
    vec![
        When::Instant(at(613)),
        When::Instant(at(3673)),
        When::Instant(at(7203)),
        When::Instant(at(10_003)),
        range(-300, 1200, 60),
        range(3, 7203, 300),
        range(3303, 4503, 20),
        range(6_003, 12_003, 1800),
    ]
    .into_iter()
    .map(|when| match when {
        // The first range begins off the multiples too.
        When::Range(range) if range.start_ms < data::START_MS => {
            When::Range(Range { start_ms: range.start_ms + 3000, end_ms: range.end_ms + 3000, ..range })
        }
        other => other,
    })
    .collect()
}

#[test]
fn answers_are_those_of_prometheus() {
    let Some(server) = server::Server::start(&data::open_metrics()) else { return };
    let memory = data::Memory::new();
    let (mut asked, mut with_values, mut different) = (0, 0, Vec::new());
    let instants = |when: &When| matches!(when, When::Instant(_));
    let everywhere = questions::answered().into_iter().map(|text| (text, times()));
    let once =
        questions::instants().iter().map(|text| (text.to_string(), times().into_iter().filter(instants).collect()));
    for (text, times) in everywhere.chain(once) {
        for when in times {
            asked += 1;
            match (ours(&memory, &text, when), theirs(&server, &text, when)) {
                (Ok(mine), Ok(theirs)) => {
                    with_values += usize::from(!theirs.series.is_empty());
                    let ordered = text.starts_with("sort") && instants(&when);
                    different.extend(mine.difference(&theirs, ordered).map(|how| format!("{text} {when:?}: {how}")));
                }
                (mine, theirs) => {
                    let (mine, theirs) = (mine.map(|given| given.kind), theirs.map(|given| given.kind));
                    different.push(format!("{text} {when:?}: {mine:?}, in Prometheus {theirs:?}"));
                }
            }
        }
    }
    println!("{asked} questions, {with_values} with values, {} answered differently", different.len());
    assert!(different.is_empty(), "{} of {asked} differ:\n{}", different.len(), different.join("\n"));
    assert!(asked > 1000 && with_values > asked / 2, "{with_values} of {asked} have values");
}

#[test]
fn what_prometheus_refuses_is_refused() {
    let Some(server) = server::Server::start(&data::open_metrics()) else { return };
    let memory = data::Memory::new();
    let when = When::Instant(data::START_MS + 3_673_000);
    for text in questions::refused() {
        let (mine, theirs) = (ours(&memory, text, when), theirs(&server, text, when));
        assert!(theirs.is_err(), "{text} is good for Prometheus");
        assert!(mine.is_err(), "{text} is refused by Prometheus: {theirs:?}");
    }
}
