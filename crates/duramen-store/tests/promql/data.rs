//! The samples that both are asked about: counters that begin anew, gauges, gaps longer than the lookback, values that are no
//! numbers, buckets of histograms. All made of a small generator, alike in every run.

use std::fmt::Write;

use duramen_store::promql::{Budget, Error, LabelMatcher, LabelSet, SeriesSamples, Source};

/// A multiple of two hours: where blocks of Prometheus begin.
pub const START_MS: i64 = 1_699_992_000_000;
const SAMPLES: i64 = 800;
const INTERVAL_MS: i64 = 15_000;

/// A series in memory.
pub struct Memory {
    series: Vec<SeriesSamples>,
}

impl Memory {
    pub fn new() -> Memory {
        Memory { series: series() }
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
            if begin < end {
                budget.samples(end - begin)?;
                selected.push(SeriesSamples {
                    labels: series.labels.clone(),
                    times: series.times[begin..end].to_vec(),
                    values: series.values[begin..end].to_vec(),
                });
            }
        }
        budget.series(selected.len())?;
        Ok(selected)
    }
}

struct Noise(u64);

impl Noise {
    /// Below a bound.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Adds a series: times never on a whole second, some 15 s apart, some missing.
fn add(
    all: &mut Vec<SeriesSamples>,
    labels: &[(&str, &str)],
    has: impl Fn(i64) -> bool,
    mut value: impl FnMut(i64, &mut Noise) -> f64,
) {
    let mut noise = Noise(all.len() as u64 + 1);
    let mut series = SeriesSamples { labels: LabelSet::new(labels.iter().copied()), ..SeriesSamples::default() };
    for index in 0..SAMPLES {
        let value = value(index, &mut noise);
        let jitter = 100 + noise.below(800) as i64 + 1000 * noise.below(3) as i64;
        if has(index) {
            series.times.push((START_MS + index * INTERVAL_MS + jitter) * 1_000_000);
            series.values.push(value);
        }
    }
    all.push(series);
}

fn series() -> Vec<SeriesSamples> {
    let mut all = Vec::new();
    add_counters(&mut all);
    add_gauges(&mut all);
    add_strange(&mut all);
    add_facts(&mut all);
    add_histograms(&mut all);
    all
}

fn add_counters(all: &mut Vec<SeriesSamples>) {
    for (number, (job, instance, code)) in [
        ("api", "a:1", "200"),
        ("api", "a:1", "500"),
        ("api", "b:1", "200"),
        ("web", "a:2", "200"),
        ("web", "b:2", "200"),
        ("web", "b:2", "404"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut total = 1000.0;
        let reset_every = 170 + 40 * number as i64;
        let labels = [("__name__", "requests_total"), ("job", job), ("instance", instance), ("code", code)];
        add(
            all,
            &labels,
            |_| true,
            |index, noise| {
                if index % reset_every == reset_every - 1 {
                    total = 3.0;
                }
                total += noise.below(40) as f64;
                // No two are alike: which of equal ones topk leaves out has changed.
                total + number as f64 / 64.0
            },
        );
    }
}

fn add_gauges(all: &mut Vec<SeriesSamples>) {
    for (room, level) in [("cellar", -4.0), ("hall", 18.5), ("attic", 31.25)] {
        let mut now = level;
        add(
            all,
            &[("__name__", "temperature"), ("room", room)],
            |_| true,
            |_, noise| {
                now += noise.below(201) as f64 / 100.0 - 1.0;
                now
            },
        );
    }
    // Gaps of ten minutes and more.
    add(all, &[("__name__", "gappy"), ("n", "1")], |index| index % 130 < 70, |index, _| index as f64);
    add(
        all,
        &[("__name__", "gappy"), ("n", "2")],
        |index| index % 97 > 50,
        |index, noise| (10 * index + noise.below(9) as i64) as f64,
    );
    add(all, &[("__name__", "sparse")], |index| index % 11 == 0, |_, noise| noise.below(100) as f64);
}

/// What is no number, and numbers that are often alike.
fn add_strange(all: &mut Vec<SeriesSamples>) {
    let strange = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.5, 2.5, -3.0];
    for (kind, values) in [("all", &strange[..]), ("nan", &[f64::NAN, 1.0, 2.0, f64::NAN, 5.0]), ("none", &[f64::NAN])]
    {
        add(
            all,
            &[("__name__", "strange"), ("kind", kind)],
            |_| true,
            |_, noise| values[noise.below(values.len() as u64) as usize],
        );
    }
    for host in ["h1", "h2", "h3", "h4"] {
        add(all, &[("__name__", "state"), ("host", host)], |_| true, |_, noise| noise.below(3) as f64);
    }
}

/// What says something of other series.
fn add_facts(all: &mut Vec<SeriesSamples>) {
    for (job, limit) in [("api", 100.0), ("web", 250.0)] {
        add(all, &[("__name__", "limit"), ("job", job)], |_| true, |_, _| limit);
    }
    for (instance, version) in [("a:1", "1.0"), ("b:1", "1.1"), ("a:2", "2.0"), ("b:2", "2.0")] {
        let labels = [("__name__", "build"), ("instance", instance), ("version", version)];
        add(all, &labels, |_| true, |_, _| 1.0);
    }
    add(all, &[("__name__", "epoch")], |_| true, |index, _| 951_000_000.5 + 86_400.0 * 11.0 * index as f64);
}

fn add_histograms(all: &mut Vec<SeriesSamples>) {
    for path in ["/", "/api"] {
        let bounds = ["0.1", "0.5", "1", "2.5", "+Inf"];
        let mut counts = vec![[0.0; 5]; SAMPLES as usize];
        let mut noise = Noise(path.len() as u64 * 77);
        for index in 1..counts.len() {
            counts[index] = counts[index - 1];
            for _ in 0..7 {
                let bucket = noise.below(5) as usize;
                counts[index][bucket..].iter_mut().for_each(|count| *count += 1.0);
            }
        }
        for (place, bound) in bounds.into_iter().enumerate() {
            let labels = [("__name__", "latency_bucket"), ("path", path), ("le", bound)];
            add(all, &labels, |_| true, |index, _| counts[index as usize][place]);
        }
    }
}

/// The samples as `promtool` takes them in.
pub fn open_metrics() -> String {
    let mut text = String::new();
    for series in series() {
        let name = series.labels.get("__name__").to_string();
        let labels = series.labels.iter().filter(|(label, _)| *label != "__name__");
        let labels: Vec<String> = labels.map(|(label, value)| format!("{label}={value:?}")).collect();
        for (time, value) in series.times.iter().zip(&series.values) {
            let value = match *value {
                f64::INFINITY => "+Inf".to_string(),
                f64::NEG_INFINITY => "-Inf".to_string(),
                value => value.to_string(),
            };
            let milliseconds = time / 1_000_000;
            let _ = writeln!(
                text,
                "{name}{{{}}} {value} {}.{:03}",
                labels.join(","),
                milliseconds / 1000,
                milliseconds % 1000
            );
        }
    }
    text.push_str("# EOF\n");
    text
}
