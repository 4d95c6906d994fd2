//! Known answers: what Prometheus documents, on series small enough to count by hand. The comparison with a real Prometheus is in
//! `tests/promql`.

use super::evaluate::ABSENT;
use super::*;

/// Series in memory, asked for as a store would be.
#[derive(Default)]
struct Memory {
    series: Vec<SeriesSamples>,
    with_summaries: bool,
}

impl Memory {
    /// Samples every ten seconds from 0 on; `ABSENT` is a stale marker, and gaps are left by `skip`.
    fn with(mut self, name: &str, labels: &[(&str, &str)], values: &[f64]) -> Memory {
        let times = (0..values.len() as i64).map(|index| index * 10_000_000_000).collect();
        let labels = LabelSet::new(labels.iter().copied().chain([(NAME, name)]));
        self.series.push(SeriesSamples { labels, times, values: values.to_vec() });
        self
    }

    fn at(mut self, name: &str, samples: &[(i64, f64)]) -> Memory {
        let (times, values) = samples.iter().map(|(second, value)| (second * 1_000_000_000, *value)).unzip();
        self.series.push(SeriesSamples { labels: LabelSet::new([(NAME, name)]), times, values });
        self
    }
}

impl Source for Memory {
    fn select(
        &self,
        matchers: &[LabelMatcher],
        first: i64,
        last: i64,
        budget: &mut Budget<'_>,
    ) -> Result<Vec<SeriesSamples>, Error> {
        let mut selected = Vec::new();
        for series in self.series.iter().filter(|series| matchers.iter().all(|matcher| matcher.matches(&series.labels)))
        {
            let begin = series.times.partition_point(|time| *time < first);
            let end = series.times.partition_point(|time| *time <= last);
            if begin >= end {
                continue;
            }
            budget.samples(end - begin)?;
            budget.series(selected.len() + 1)?;
            selected.push(SeriesSamples {
                labels: series.labels.clone(),
                times: series.times[begin..end].to_vec(),
                values: series.values[begin..end].to_vec(),
            });
        }
        Ok(selected)
    }

    fn summaries(
        &self,
        matchers: &[LabelMatcher],
        windows: &Windows,
        _: &mut Budget<'_>,
    ) -> Result<Option<Vec<SeriesSummaries>>, Error> {
        if !self.with_summaries {
            return Ok(None);
        }
        let selected =
            self.series.iter().filter(|series| matchers.iter().all(|matcher| matcher.matches(&series.labels)));
        let summary = |series: &SeriesSamples, end: i64| {
            let pairs = series.times.iter().zip(&series.values);
            let inside =
                pairs.filter(|(time, value)| **time > end - windows.range && **time <= end && !is_stale(**value));
            let values: Vec<f64> = inside.map(|(_, value)| *value).collect();
            (!values.is_empty()).then(|| Summary {
                count: values.len() as u64,
                sum: numbers::sum(&values),
                min: numbers::minimum(&values),
                max: numbers::maximum(&values),
            })
        };
        let of_series = |series: &SeriesSamples| SeriesSummaries {
            labels: series.labels.clone(),
            windows: (0..windows.count).map(|index| summary(series, windows.end(index))).collect(),
        };
        Ok(Some(selected.map(of_series).collect()))
    }
}

fn answer(memory: &Memory, text: &str, second: i64) -> Result<Answer, Error> {
    Expression::parse(text)?.instant(memory, second * 1000, &Options::default())
}

/// An instant query's vector as text, one series after the other in the order of the answer.
fn ask(memory: &Memory, text: &str, second: i64) -> String {
    match answer(memory, text, second) {
        Ok(Answer::Vector(samples)) => {
            let written: Vec<String> =
                samples.iter().map(|sample| format!("{} {}", sample.labels, sample.value)).collect();
            written.join("; ")
        }
        Ok(Answer::Scalar(point)) => point.value.to_string(),
        Ok(Answer::Text(_, text)) => text,
        Ok(Answer::Matrix(series)) => format!("{series:?}"),
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The one value of an answer.
fn value(memory: &Memory, text: &str, second: i64) -> f64 {
    match answer(memory, text, second) {
        Ok(Answer::Vector(samples)) if samples.len() == 1 => samples[0].value,
        Ok(Answer::Scalar(point)) => point.value,
        other => panic!("{text}: {other:?}"),
    }
}

fn failure(memory: &Memory, text: &str) -> String {
    match answer(memory, text, 60) {
        Err(error) => error.to_string(),
        other => panic!("{text}: {other:?}"),
    }
}

/// A range query's series as text, `-` for a step without a value.
fn range(memory: &Memory, text: &str, (start, end, step): (i64, i64, i64)) -> String {
    let range = Range { start_ms: start * 1000, end_ms: end * 1000, step_ms: step * 1000 };
    let series = Expression::parse(text).unwrap().range(memory, range, &Options::default()).unwrap();
    let row = |series: &Series| {
        let at = |second: i64| series.points.iter().find(|point| point.time == second * 1_000_000_000);
        let values = (start..=end)
            .step_by(step as usize)
            .map(|second| at(second).map_or("-".to_string(), |p| p.value.to_string()));
        format!("{} {}", series.labels, values.collect::<Vec<_>>().join(" "))
    };
    series.iter().map(row).collect::<Vec<_>>().join("; ")
}

/// 1, 2, …, 10 from 0 s to 90 s.
fn ramp() -> Memory {
    Memory::default().with("a", &[], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
}

fn two_jobs() -> Memory {
    Memory::default()
        .with("up", &[("job", "web"), ("host", "1")], &[1.0; 10])
        .with("up", &[("job", "web"), ("host", "2")], &[3.0; 10])
        .with("up", &[("job", "db"), ("host", "1")], &[5.0; 10])
        .with("limit", &[("job", "web")], &[10.0; 10])
        .with("limit", &[("job", "db")], &[20.0; 10])
}

#[test]
fn the_latest_sample_counts_until_the_lookback_has_passed() {
    let memory = Memory::default().at("a", &[(10, 1.0), (20, 2.0)]);
    assert_eq!(ask(&memory, "a", 9), "");
    assert_eq!(ask(&memory, "a", 10), r#"{__name__="a"} 1"#);
    assert_eq!(ask(&memory, "a", 19), r#"{__name__="a"} 1"#);
    assert_eq!(ask(&memory, "a", 319), r#"{__name__="a"} 2"#);
    assert_eq!(ask(&memory, "a", 320), "", "the lookback is open on the left");
    assert_eq!(range(&memory, "a", (0, 40, 10)), r#"{__name__="a"} - 1 2 2 2"#);
}

#[test]
fn a_stale_marker_ends_a_series_at_once() {
    let memory = Memory::default().at("a", &[(10, 1.0), (20, ABSENT), (40, 3.0)]);
    assert_eq!(range(&memory, "a", (0, 50, 10)), r#"{__name__="a"} - 1 - - 3 3"#);
    assert_eq!(value(&memory, "count_over_time(a[1m])", 50), 2.0);
    assert_eq!(range(&memory, "absent(a)", (0, 50, 10)), "{} 1 - 1 1 - -");
}

#[test]
fn nan_is_a_value_whatever_its_bits() {
    let quiet = f64::from_bits(0x7ff8_0000_0000_0042);
    let memory = Memory::default().at("a", &[(10, quiet)]).at("b", &[(10, -ABSENT)]);
    assert!(value(&memory, "a", 20).is_nan());
    assert!(value(&memory, "-b", 20).is_nan());
}

#[test]
fn windows_are_open_on_the_left() {
    assert_eq!(value(&ramp(), "count_over_time(a[30s])", 60), 3.0);
    assert_eq!(value(&ramp(), "sum_over_time(a[30s])", 60), 18.0);
    let Answer::Matrix(series) = answer(&ramp(), "a[20s] offset 10s", 60).unwrap() else { panic!("no matrix") };
    let times: Vec<i64> = series[0].points.iter().map(|point| point.time / 1_000_000_000).collect();
    assert_eq!(times, [40, 50]);
    let nearly = Memory { series: ramp().series, ..Memory::default() };
    assert_eq!(value(&nearly, "count_over_time(a[30001ms])", 60), 4.0);
}

#[test]
fn offsets_and_times_of_their_own() {
    assert_eq!(value(&ramp(), "a offset 20s", 50), 4.0);
    assert_eq!(value(&ramp(), "a offset -20s", 50), 8.0);
    assert_eq!(value(&ramp(), "a @ 30", 50), 4.0);
    assert_eq!(value(&ramp(), "a @ 30 offset 10s", 50), 3.0);
    assert_eq!(range(&ramp(), "a @ start() + 0", (20, 40, 10)), "{} 3 3 3");
    assert_eq!(range(&ramp(), "sum_over_time(a[20s] @ end())", (20, 40, 10)), "{} 9 9 9");
    assert_eq!(range(&ramp(), "a @ end() + 0", (20, 45, 20)), "{} 5 5", "the end need not be a step");
    let moving = range(&ramp(), "predict_linear(a[30s] @ 40, 0)", (40, 60, 10));
    assert_eq!(moving, "{} 5 6 7", "the window stays, and the time that is predicted for does not");
    assert_eq!(
        range(&ramp(), "quantile_over_time(scalar(vector(time() / 40)), a[20s] @ end())", (20, 40, 10)),
        "{} 4.5 4.75 5"
    );
}

#[test]
fn rates_are_extrapolated_to_the_window() {
    // Samples on every ten seconds, window ends 5 s from them: both ends are near enough to reach.
    assert!((value(&ramp(), "rate(a[30s])", 65) - 0.1).abs() < 1e-12);
    assert!((value(&ramp(), "increase(a[30s])", 65) - 3.0).abs() < 1e-12);
    assert!((value(&ramp(), "delta(a[30s])", 65) - 3.0).abs() < 1e-12);
    // A counter that begins within the window is not taken below zero.
    let from_zero = Memory::default().at("c", &[(30, 1.0), (40, 2.0), (50, 3.0)]);
    assert_eq!(value(&from_zero, "increase(c[1m])", 55), 2.0 * (20.0 + 5.0 + 5.0) / 20.0);
    let low = Memory::default().at("c", &[(30, 0.1), (40, 1.1), (50, 2.1)]);
    let expected = 2.0 * ((20.0 + 20.0 * (0.1 / 2.0) + 5.0) / 20.0);
    assert!((value(&low, "increase(c[1m])", 55) - expected).abs() < 1e-12);
    // The zero is compared with what the distance was shortened to, and not with the distance (Prometheus since 2.52): it lies
    // 8 s before the first sample, and the window begins half a distance before it, that is 5 s.
    let shortened = Memory::default().at("c", &[(60, 0.8), (70, 1.8), (80, 2.8)]);
    assert!((value(&shortened, "increase(c[5m])", 85) - 2.0 * (20.0 + 5.0 + 5.0) / 20.0).abs() < 1e-12);
    // Half a distance where the end is too far: 11 s or more from samples 10 s apart.
    assert_eq!(value(&low, "delta(c[1m])", 70), 2.0 * (20.0 + 5.0 + 5.0) / 20.0);
    assert_eq!(ask(&low, "rate(c[5s])", 30), "", "one sample has no slope");
}

#[test]
fn a_counter_that_falls_began_anew() {
    let memory = Memory::default().with("c", &[], &[5.0, 7.0, 1.0, 4.0, 2.0, 3.0]);
    let seen = 3.0 - 5.0 + 7.0 + 4.0;
    assert_eq!(value(&memory, "increase(c[51s])", 50), seen * (51.0 / 50.0));
    assert_eq!(value(&memory, "resets(c[1m])", 50), 2.0);
    assert_eq!(value(&memory, "changes(c[1m])", 50), 5.0);
    assert_eq!(value(&memory, "irate(c[1m])", 40), 0.2, "after a reset the counter came from zero");
    assert_eq!(value(&memory, "idelta(c[1m])", 40), -2.0);
    assert_eq!(range(&memory, "resets(c[25s])", (0, 50, 10)), "{} 0 0 1 1 1 1");
}

#[test]
fn windows_that_slide_are_as_windows_alone() {
    let mut state = 7_u64;
    let mut values = Vec::new();
    for _ in 0..200 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        values.push(match state >> 60 {
            0 => f64::NAN,
            1 => ABSENT,
            _ => ((state >> 33) % 50) as f64,
        });
    }
    let memory = Memory::default().with("a", &[], &values);
    for function in [
        "rate",
        "increase",
        "delta",
        "irate",
        "idelta",
        "deriv",
        "changes",
        "resets",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "sum_over_time",
        "count_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "last_over_time",
        "first_over_time",
        "present_over_time",
        "absent_over_time",
    ] {
        let text = format!("{function}(a[95s])");
        let expression = Expression::parse(&text).unwrap();
        let steps = Range { start_ms: -50_000, end_ms: 2_200_000, step_ms: 7000 };
        let series = expression.range(&memory, steps, &Options::default()).unwrap();
        let points = series.first().map_or(&[][..], |series| &series.points);
        for time in (steps.start_ms..=steps.end_ms).step_by(7000) {
            let Answer::Vector(alone) = expression.instant(&memory, time, &Options::default()).unwrap() else {
                panic!("{text}")
            };
            let slid = points.iter().find(|point| point.time == time * 1_000_000).map(|point| point.value.to_bits());
            assert_eq!(slid, alone.first().map(|sample| sample.value.to_bits()), "{text} at {time}");
        }
    }
}

#[test]
fn functions_over_time() {
    let memory = Memory::default().with("a", &[], &[1.0, 3.0, f64::NAN, 2.0]).with("b", &[], &[4.0, 2.0, 8.0, 6.0]);
    for (text, expected) in [
        ("max_over_time(a[1m])", 3.0),
        ("min_over_time(a[1m])", 1.0),
        ("count_over_time(a[1m])", 4.0),
        ("avg_over_time(b[1m])", 5.0),
        ("sum_over_time(b[1m])", 20.0),
        ("stdvar_over_time(b[1m])", 5.0),
        ("quantile_over_time(0.5, b[1m])", 5.0),
        ("last_over_time(b[1m])", 6.0),
        ("first_over_time(b[1m])", 4.0),
        ("present_over_time(b[1m])", 1.0),
        ("deriv(b[1m])", 0.12),
        ("predict_linear(b[1m], 10)", 8.0),
        ("changes(a[1m])", 3.0),
    ] {
        assert!((value(&memory, text, 30) - expected).abs() < 1e-12, "{text}: {}", value(&memory, text, 30));
    }
    assert!(value(&memory, "sum_over_time(a[1m])", 30).is_nan());
    assert_eq!(ask(&memory, "last_over_time(b[1m])", 30), r#"{__name__="b"} 6"#, "it keeps the name");
    assert_eq!(ask(&memory, "avg_over_time(b[1m])", 30), "{} 5");
    assert_eq!(ask(&memory, r#"absent_over_time(c{x="1", y=~"2"}[1m])"#, 30), r#"{x="1"} 1"#);
    assert_eq!(ask(&memory, "absent_over_time(b[1m])", 30), "");
}

#[test]
fn what_the_source_knows_already_is_not_computed() {
    let plain = ramp().with("a", &[("x", "1")], &[f64::NAN, 2.0, ABSENT, 4.0]);
    let knowing = Memory { series: plain.series.clone(), with_summaries: true };
    for function in ["count", "sum", "avg", "min", "max", "present"] {
        let text = format!("{function}_over_time(a[35s] offset 5s)");
        assert_eq!(range(&plain, &text, (0, 100, 15)), range(&knowing, &text, (0, 100, 15)), "{text}");
        let text = format!("{function}_over_time(a[35s] @ 40)");
        assert_eq!(range(&plain, &text, (0, 100, 15)), range(&knowing, &text, (0, 100, 15)), "{text}");
    }
}

#[test]
fn aggregations() {
    let memory = two_jobs();
    assert_eq!(ask(&memory, "sum(up)", 50), "{} 9");
    assert_eq!(ask(&memory, "sum by (job) (up)", 50), r#"{job="db"} 5; {job="web"} 4"#);
    assert_eq!(ask(&memory, "sum(up) without (host)", 50), r#"{job="db"} 5; {job="web"} 4"#);
    assert_eq!(ask(&memory, "count by (__name__) ({job=\"web\"})", 50), r#"{__name__="limit"} 1; {__name__="up"} 2"#);
    for (text, expected) in [
        ("avg(up)", 3.0),
        ("min(up)", 1.0),
        ("max(up)", 5.0),
        ("count(up)", 3.0),
        ("group(up)", 1.0),
        ("stdvar(up)", 8.0 / 3.0),
        ("stddev(up)", (8.0_f64 / 3.0).sqrt()),
        ("quantile(0.75, up)", 4.0),
    ] {
        assert!((value(&memory, text, 50) - expected).abs() < 1e-12, "{text}");
    }
    assert_eq!(
        ask(&memory, "topk(2, up)", 50),
        concat!(r#"{__name__="up", host="1", job="db"} 5; "#, r#"{__name__="up", host="2", job="web"} 3"#)
    );
    assert_eq!(
        ask(&memory, "bottomk by (job) (1, up)", 50),
        concat!(r#"{__name__="up", host="1", job="db"} 5; "#, r#"{__name__="up", host="1", job="web"} 1"#)
    );
    assert_eq!(ask(&memory, "topk(0, up)", 50), "");
    assert_eq!(ask(&memory, r#"count_values("v", up > bool 2)"#, 50), r#"{v="1"} 2; {v="0"} 1"#);
    assert!(failure(&memory, "topk(NaN, up)").contains("NaN"));
    assert!(failure(&memory, r#"count_values("", up)"#).contains("label"));
}

/// Infinity was taken for all series, NaN won against infinity, and a number beyond all numbers was infinity.
#[test]
fn numbers_without_bounds_are_as_in_prometheus() {
    let memory = Memory::default().with("up", &[("job", "a")], &[1.0; 6]).with("up", &[("job", "b")], &[2.0; 6]);
    for many in ["Inf", "1e30", "9223372036854774784"] {
        assert!(failure(&memory, &format!("topk({many}, up)")).contains("overflows int64"), "{many}");
    }
    assert!(failure(&memory, "bottomk(-Inf, up)").contains("underflows int64"));
    assert_eq!(ask(&memory, "bottomk(-1e18, up)", 50), "");
    assert_eq!(ask(&memory, "topk(1e18, up)", 50), ask(&memory, "topk(100, up)", 50));
    for (text, column) in [("1e400", 1), ("2 * 1e999", 5)] {
        let Err(Error::Syntax(complaint)) = Expression::parse(text) else { panic!("{text} is a number") };
        assert!(complaint.reason.contains("out of range"), "{complaint}");
        assert_eq!(complaint.line_and_column(), (1, column));
    }
    for (text, value) in [
        ("clamp_min(vector(NaN), Inf)", "inf"),
        ("clamp_min(vector(Inf), NaN)", "inf"),
        ("clamp_max(vector(NaN), -Inf)", "-inf"),
        ("clamp(vector(NaN), Inf, Inf)", "inf"),
        ("clamp_max(vector(NaN), Inf)", "NaN"),
    ] {
        assert_eq!(ask(&memory, text, 50), format!("{{}} {value}"), "{text}");
    }
}

#[test]
fn best_of_many_steps() {
    let memory =
        Memory::default().with("a", &[("x", "1")], &[1.0, 5.0, f64::NAN]).with("a", &[("x", "2")], &[2.0, 4.0, 6.0]);
    assert_eq!(
        range(&memory, "topk(1, a)", (0, 20, 10)),
        concat!(r#"{__name__="a", x="1"} - 5 -; "#, r#"{__name__="a", x="2"} 2 - 6"#)
    );
    assert_eq!(
        range(&memory, "bottomk(1, a)", (20, 20, 10)),
        r#"{__name__="a", x="2"} 6"#,
        "NaN is never among the best"
    );
}

#[test]
fn matching_of_vectors() {
    let memory = two_jobs();
    assert_eq!(ask(&memory, "sum by (job) (up) / limit", 50), r#"{job="db"} 0.25; {job="web"} 0.4"#);
    assert_eq!(
        ask(&memory, "up / on(job) group_left limit", 50),
        concat!(r#"{host="1", job="db"} 0.25; "#, r#"{host="1", job="web"} 0.1; "#, r#"{host="2", job="web"} 0.3"#)
    );
    assert_eq!(
        ask(&memory, "limit > ignoring(host) group_right up", 50),
        concat!(
            r#"{__name__="up", host="1", job="db"} 20; "#,
            r#"{__name__="up", host="1", job="web"} 10; "#,
            r#"{__name__="up", host="2", job="web"} 10"#
        )
    );
    assert_eq!(ask(&memory, r#"up{job="db"} + on(job) limit"#, 50), r#"{job="db"} 25"#);
    assert_eq!(ask(&memory, r#"up{host="1"} == bool ignoring(host) limit"#, 50), r#"{job="db"} 0; {job="web"} 0"#);
    assert_eq!(ask(&memory, "up + nothing", 50), "");
    assert!(failure(&memory, "limit + on(job) up").contains("many-to-many matching not allowed"));
    assert!(failure(&memory, "up + on(job) limit").contains("group_left"));
    assert!(failure(&memory, "up + on(job) group_left limit + on() up").contains("duplicate series"));
}

#[test]
fn included_labels_come_from_the_one() {
    let memory = Memory::default()
        .with("up", &[("host", "1"), ("zone", "old")], &[1.0; 10])
        .with("info", &[("host", "1"), ("zone", "north")], &[1.0; 10])
        .with("bare", &[("host", "1")], &[1.0; 10]);
    assert_eq!(ask(&memory, "up * on(host) group_left(zone) info", 50), r#"{host="1", zone="north"} 1"#);
    assert_eq!(ask(&memory, "up * on(host) group_left(zone) bare", 50), r#"{host="1"} 1"#);
}

#[test]
fn operators_of_sets() {
    let memory = two_jobs();
    assert_eq!(ask(&memory, r#"up and on(job) limit{job="db"}"#, 50), r#"{__name__="up", host="1", job="db"} 5"#);
    assert_eq!(ask(&memory, r#"limit unless on(job) up{job="db"}"#, 50), r#"{__name__="limit", job="web"} 10"#);
    assert_eq!(
        ask(&memory, r#"up{job="db"} or on(job) limit"#, 50),
        concat!(r#"{__name__="up", host="1", job="db"} 5; "#, r#"{__name__="limit", job="web"} 10"#)
    );
    let gaps = Memory::default().with("a", &[], &[1.0, ABSENT, 3.0]).with("b", &[], &[4.0, 5.0, ABSENT]);
    assert_eq!(range(&gaps, "a or b", (0, 20, 10)), r#"{__name__="a"} 1 - 3; {__name__="b"} - 5 -"#);
    assert_eq!(range(&gaps, "a and b", (0, 20, 10)), r#"{__name__="a"} 1 - -"#);
    assert_eq!(range(&gaps, "a unless b", (0, 20, 10)), r#"{__name__="a"} - - 3"#);
}

#[test]
fn arithmetic_and_comparisons() {
    let memory = ramp();
    for (text, expected) in [
        ("1 + 2 * 3", "7"),
        ("2 ^ 3 ^ 2", "512"),
        ("-2 ^ 2", "-4"),
        ("7 % -4", "3"),
        ("1 / 0", "inf"),
        ("0 / 0", "NaN"),
        ("1 atan2 1", "0.7853981633974483"),
        ("1 > bool 2", "0"),
        ("1 <= bool 1", "1"),
        ("5m", "300"),
        ("0x1F", "31"),
        ("-(1)", "-1"),
        ("a * 2", "{} 12"),
        ("2 - a", "{} -4"),
        ("-a", "{} -6"),
        ("a > 5", r#"{__name__="a"} 6"#),
        ("5 < a", r#"{__name__="a"} 6"#),
        ("a > 6", ""),
        ("a > bool 6", "{} 0"),
        ("\"text\"", "text"),
        ("+a", r#"{__name__="a"} 6"#),
    ] {
        assert_eq!(ask(&memory, text, 50), expected, "{text}");
    }
}

#[test]
fn functions_of_values() {
    let memory = Memory::default().with("a", &[], &[-1.5]).with("n", &[], &[f64::NAN]);
    for (text, expected) in [
        ("abs(a)", 1.5),
        ("ceil(a)", -1.0),
        ("floor(a)", -2.0),
        ("round(a)", -1.0),
        ("round(a, 0.4)", -1.6),
        ("sgn(a)", -1.0),
        ("sqrt(a * a)", 1.5),
        ("exp(a - a)", 1.0),
        ("ln(a - a)", f64::NEG_INFINITY),
        ("log2(a + 9.5)", 3.0),
        ("log10(a + 11.5)", 1.0),
        ("clamp(a, -1, 1)", -1.0),
        ("clamp_min(a, 0)", 0.0),
        ("clamp_max(a, -2)", -2.0),
        ("scalar(a)", -1.5),
        ("vector(2)", 2.0),
        ("time()", 7.0),
        ("timestamp(a)", 0.0),
        ("timestamp(a + 1)", 7.0),
        ("deg(vector(pi()))", 180.0),
        ("hour(vector(1700000000))", 22.0),
        ("minute(vector(1700000000))", 13.0),
        ("day_of_week(vector(1700000000))", 2.0),
        ("day_of_month(vector(1700000000))", 14.0),
        ("day_of_year(vector(1700000000))", 318.0),
        ("days_in_month(vector(1700000000))", 30.0),
        ("month(vector(1700000000))", 11.0),
        ("year()", 1970.0),
    ] {
        assert!((value(&memory, text, 7) - expected).abs() < 1e-12 || value(&memory, text, 7) == expected, "{text}");
    }
    assert_eq!(ask(&memory, "clamp(a, 1, -1)", 7), "");
    assert!(value(&memory, "clamp(n, 0, 1)", 7).is_nan());
    assert!(value(&memory, "scalar({__name__=~\"a|n\"})", 7).is_nan());
    assert!(value(&memory, "year(n)", 7).is_nan());
    assert_eq!(ask(&memory, "absent(a)", 7), "");
    assert_eq!(ask(&memory, r#"absent(b{x="1", y!="2", z="3", z="4"})"#, 7), r#"{x="1"} 1"#);
}

#[test]
fn sorting_puts_nan_last() {
    let memory = Memory::default().with("a", &[("x", "1")], &[2.0]).with("a", &[("x", "2")], &[f64::NAN]).with(
        "a",
        &[("x", "3")],
        &[1.0],
    );
    let order = |text: &str| {
        let Answer::Vector(samples) = answer(&memory, text, 0).unwrap() else { panic!("no vector") };
        samples.iter().map(|sample| sample.labels.get("x").to_string()).collect::<String>()
    };
    assert_eq!((order("sort(a)"), order("sort_desc(a)")), ("312".to_string(), "132".to_string()));
}

#[test]
fn labels_are_made_of_labels() {
    let memory = Memory::default().with("a", &[("x", "web-12"), ("y", "z")], &[1.0]);
    let ask = |text: &str| ask(&memory, text, 0);
    assert_eq!(
        ask(r#"label_replace(a, "n", "$1/${1}", "x", "web-(.*)")"#),
        r#"{__name__="a", n="12/12", x="web-12", y="z"} 1"#
    );
    assert_eq!(ask(r#"label_replace(a, "x", "", "x", ".*")"#), r#"{__name__="a", y="z"} 1"#);
    assert_eq!(ask(r#"label_replace(a, "n", "v", "x", "web")"#), r#"{__name__="a", x="web-12", y="z"} 1"#);
    assert_eq!(
        ask(r#"label_join(a, "n", "+", "x", "y", "none")"#),
        r#"{__name__="a", n="web-12+z+", x="web-12", y="z"} 1"#
    );
    assert!(failure(&Memory::default(), r#"label_replace(a, "n", "", "x", "(")"#).contains("regular expression"));
    assert!(failure(&Memory::default(), r#"label_join(a, "", "", "x")"#).contains("not empty"));
}

#[test]
fn labels_do_not_grow_without_end() {
    let memory = Memory::default().with("a", &[("x", "0123456789")], &[1.0]);
    let doubled = format!("{}a{}", "label_replace(".repeat(30), r#", "x", "$1$1", "x", "(.*)")"#.repeat(30));
    assert!(failure(&memory, &doubled).contains("longer than"));
    let joined = format!("{}a{}", "label_join(".repeat(30), r#", "x", "", "x", "x")"#.repeat(30));
    assert!(failure(&memory, &joined).contains("longer than"));
    assert!(
        failure(&memory, &format!(r#"label_join(a, "x", "-"{})"#, r#", "x""#.repeat(10_000))).contains("longer than")
    );
}

#[test]
fn series_that_become_alike_are_an_error_where_they_meet() {
    let memory = Memory::default().with("a", &[("x", "1")], &[1.0, ABSENT]).with("b", &[("x", "1")], &[ABSENT, 2.0]);
    assert_eq!(range(&memory, r#"abs({__name__=~"a|b"})"#, (0, 10, 10)), r#"{x="1"} 1 2"#);
    let both = Memory::default().with("a", &[], &[1.0; 10]).with("b", &[], &[2.0; 10]);
    for text in [
        r#"-{__name__=~"a|b"}"#,
        r#"rate({__name__=~"a|b"}[1m])"#,
        r#"label_replace({__name__=~"a|b"}, "__name__", "c", "", "")"#,
        r#"{__name__=~"a|b"} + 1"#,
    ] {
        assert!(failure(&both, text).contains("same labelset"), "{text}");
    }
}

#[test]
fn histograms_of_several_series() {
    let memory = Memory::default()
        .with("h_bucket", &[("le", "1"), ("p", "x")], &[2.0])
        .with("h_bucket", &[("le", "2"), ("p", "x")], &[6.0])
        .with("h_bucket", &[("le", "+Inf"), ("p", "x")], &[10.0])
        .with("h_bucket", &[("le", "none"), ("p", "x")], &[10.0])
        .with("h_bucket", &[("le", "1"), ("p", "y")], &[1.0]);
    assert_eq!(ask(&memory, "histogram_quantile(0.4, h_bucket)", 0), r#"{p="x"} 1.5; {p="y"} NaN"#);
}

#[test]
fn subqueries_are_at_multiples_of_their_step() {
    assert_eq!(value(&ramp(), "sum_over_time(a[30s:20s])", 65), 5.0 + 7.0);
    assert_eq!(value(&ramp(), "count_over_time(a[20s:20s])", 60), 1.0, "open on the left");
    assert_eq!(value(&ramp(), "max_over_time(rate(a[20s])[1m:10s])", 90), 0.1);
    assert_eq!(value(&ramp(), "sum_over_time(a[30s:20s] offset 20s)", 85), 5.0 + 7.0);
    assert_eq!(range(&ramp(), "sum_over_time(a[20s:10s] @ 40)", (50, 70, 10)), "{} 9 9 9");
    assert_eq!(value(&ramp(), "count_over_time(vector(1)[5m:])", 600), 5.0);
    assert_eq!(ask(&ramp(), "sum_over_time(a[5s:20s])", 79), "");
}

#[test]
fn a_scalar_is_a_series_without_labels_in_a_range() {
    assert_eq!(range(&ramp(), "time() - 1", (10, 30, 10)), "{} 9 19 29");
    let range = Range { start_ms: 0, end_ms: 1000, step_ms: 1000 };
    for text in ["\"text\"", "a[5m]"] {
        let refused = Expression::parse(text).unwrap().range(&ramp(), range, &Options::default());
        assert!(matches!(refused, Err(Error::Syntax(_))), "{text}");
    }
}

#[test]
fn a_query_that_would_read_everything_stops() {
    let memory = two_jobs();
    let options = |limits: Limits<'static>| Options { limits, ..Options::default() };
    let run = |text: &str, options: &Options<'_>| Expression::parse(text).unwrap().instant(&memory, 60_000, options);
    let few_samples = options(Limits { samples_max: 10, ..Limits::default() });
    assert!(matches!(run("sum_over_time(up[5m])", &few_samples), Err(Error::TooManySamples { max: 10 })));
    assert!(matches!(run("max_over_time(vector(1)[100y:1ms])", &few_samples), Err(Error::TooManySamples { .. })));
    assert!(
        run("sum(sum_over_time(up{job=\"db\"}[1m])) + sum(sum_over_time(limit{job=\"db\"}[1m]))", &few_samples).is_ok()
    );
    let few_series = options(Limits { series_max: 2, ..Limits::default() });
    assert!(matches!(run("up", &few_series), Err(Error::TooManySeries { max: 2 })));
    let stopped = options(Limits { cancelled: &|| true, ..Limits::default() });
    assert!(matches!(run("max_over_time(vector(1)[1d:1s])", &stopped), Err(Error::Cancelled)));
    assert!(matches!(run("up", &stopped), Err(Error::Cancelled)), "asked before each reading");

    let range = |start_ms, end_ms, step_ms| {
        Expression::parse("up").unwrap().range(&memory, Range { start_ms, end_ms, step_ms }, &Options::default())
    };
    assert!(range(0, 11_000, 1).is_ok());
    assert!(matches!(range(0, 11_001, 1), Err(Error::TooManyPoints { points: 11_001, max: 11_000 })));
    assert!(matches!(range(i64::MIN / 1_000_000, i64::MAX / 1_000_000, 1), Err(Error::TooManyPoints { .. })));
    assert!(matches!(range(0, 1, 0), Err(Error::Parameter(_))));
    assert!(matches!(range(1, 0, 1), Err(Error::Parameter(_))));
    assert!(matches!(range(i64::MIN, 0, 1), Err(Error::Parameter(_))));
    assert!(range(i64::MAX / 1_000_000, i64::MAX / 1_000_000, i64::MAX).is_ok());
}

#[test]
fn times_at_the_ends_of_what_can_be_counted() {
    let memory = two_jobs();
    for time_ms in [i64::MIN / 1_000_000, i64::MAX / 1_000_000] {
        for text in [
            "up",
            "rate(up[200y])",
            "up offset 200y",
            "up offset -200y",
            "count_over_time(up[200y:200y] offset 200y)",
            "up @ 9e9",
            "time()",
            "up @ -9e9 offset 200y",
            "predict_linear(up[200y], 1)",
            "year()",
        ] {
            let _ = Expression::parse(text).unwrap().instant(&memory, time_ms, &Options::default());
        }
    }
}

#[test]
fn the_deepest_expressions_allowed_are_evaluated() {
    let depth = syntax::DEPTH_MAX - 1;
    for (text, expected) in [
        (format!("a{}", " + a".repeat(depth)), format!("{{}} {}", 3 * (depth + 1))),
        (format!("{}a{}", "abs(".repeat(depth), ")".repeat(depth)), "{} 3".to_string()),
        (format!("{}a{}", "sum(".repeat(depth), ")".repeat(depth)), "{} 3".to_string()),
        (format!("{}a", "-".repeat(depth)), "{} -3".to_string()),
        (
            format!("{}a{}", "label_join(".repeat(depth), r#", "x", "", "x")"#.repeat(depth)),
            r#"{__name__="a"} 3"#.to_string(),
        ),
        (format!("{}a{}", "sum(last_over_time(".repeat(33), "[1m:10s]))".repeat(33)), "{} 3".to_string()),
    ] {
        assert_eq!(ask(&ramp(), &text, 20), expected);
    }
}

#[test]
fn a_selector_alone() {
    let matchers = parse_selector(r#"up{job!~"w.*"}"#).unwrap();
    let written: Vec<String> = matchers.iter().map(LabelMatcher::to_string).collect();
    assert_eq!(written, [r#"__name__="up""#, r#"job!~"w.*""#]);
    for text in ["up offset 5m", "up[5m]", "1", "up + up", "sum(up)", "up @ 5"] {
        assert!(parse_selector(text).is_err(), "{text}");
    }
}

#[test]
fn the_latest_samples_when_windows_end() {
    let times = [0, 5, 9, 10, 11, 30, 31, 70];
    for (step, count) in [(10, 6), (0, 1), (7, 3), (1, 60), (100, 2)] {
        for first_end in [-20, 0, 4, 10, 12, 40, 90] {
            let windows = Windows { first_end, step, count, range: 1_000 };
            let ends: Vec<i64> = (0..count).map(|index| windows.end(index)).collect();
            for (at, &time) in times.iter().enumerate() {
                let next = times.get(at + 1).copied();
                let expected = ends.iter().any(|&end| end >= time && next.is_none_or(|next| end < next));
                assert_eq!(windows.any_ends(time, next), expected, "{windows:?} {time}");
            }
        }
    }
}
