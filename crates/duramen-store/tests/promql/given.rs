//! Answers of both in one form, and how they differ.

use std::collections::BTreeMap;

use duramen_store::promql::{Answer, Expression, LabelSet, Options, Point, Series};
use serde_json::Value as Json;

use super::data::Memory;
use super::server::Server;
use super::{When, seconds};

/// Relative difference up to which two numbers are one: sums are taken in another order.
const TOLERANCE: f64 = 1e-9;

/// An answer in a form that both give: values of series by their labels and by milliseconds.
#[derive(Debug, Default)]
pub struct Given {
    pub kind: String,
    pub series: BTreeMap<String, BTreeMap<i64, f64>>,
    /// The labels in the order of the answer.
    order: Vec<String>,
}

impl Given {
    fn add(&mut self, labels: BTreeMap<String, String>, points: impl IntoIterator<Item = (i64, f64)>) {
        let labels = format!("{labels:?}");
        self.order.push(labels.clone());
        let points: BTreeMap<i64, f64> = points.into_iter().collect();
        assert!(self.series.insert(labels, points).is_none(), "one label set twice: {}", self.order.join(" "));
    }

    pub fn difference(&self, other: &Given, ordered: bool) -> Option<String> {
        if self.kind != other.kind {
            return Some(format!("{} and {}", self.kind, other.kind));
        }
        let mut labels: Vec<&String> = self.series.keys().chain(other.series.keys()).collect();
        labels.dedup();
        for labels in labels {
            let (Some(mine), Some(theirs)) = (self.series.get(labels), other.series.get(labels)) else {
                let missing = if self.series.contains_key(labels) { "Prometheus" } else { "Duramen" };
                return Some(format!("{labels} is missing in {missing}"));
            };
            let times: Vec<&i64> = mine.keys().chain(theirs.keys()).collect();
            for time in times {
                let (mine, theirs) = (mine.get(time), theirs.get(time));
                if !matches!((mine, theirs), (Some(mine), Some(theirs)) if alike(*mine, *theirs)) {
                    return Some(format!("{labels} at {time}: {mine:?}, in Prometheus {theirs:?}"));
                }
            }
        }
        (ordered && self.order != other.order)
            .then(|| format!("order {:?}, in Prometheus {:?}", self.order, other.order))
    }
}

fn alike(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

fn labels_of(labels: &LabelSet) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn milliseconds(points: &[Point]) -> impl Iterator<Item = (i64, f64)> {
    points.iter().map(|point| (point.time / 1_000_000, point.value))
}

fn of_series(series: &[Series]) -> Given {
    let mut given = Given { kind: "matrix".into(), ..Given::default() };
    for series in series {
        given.add(labels_of(&series.labels), milliseconds(&series.points));
    }
    given
}

pub fn ours(memory: &Memory, text: &str, when: When) -> Result<Given, String> {
    let expression = Expression::parse(text).map_err(|error| error.to_string())?;
    let options = Options::default();
    match when {
        When::Range(range) => {
            let series = expression.range(memory, range, &options).map_err(|error| error.to_string())?;
            Ok(of_series(&series))
        }
        When::Instant(time) => match expression.instant(memory, time, &options).map_err(|error| error.to_string())? {
            Answer::Matrix(series) => Ok(of_series(&series)),
            Answer::Scalar(point) => {
                let mut given = Given { kind: "scalar".into(), ..Given::default() };
                given.add(BTreeMap::new(), milliseconds(&[point]));
                Ok(given)
            }
            Answer::Vector(samples) => {
                let mut given = Given { kind: "vector".into(), ..Given::default() };
                for sample in &samples {
                    given.add(labels_of(&sample.labels), [(sample.time / 1_000_000, sample.value)]);
                }
                Ok(given)
            }
            Answer::Text(time, text) => {
                let mut given = Given { kind: "string".into(), ..Given::default() };
                given.add(BTreeMap::from([("text".to_string(), text)]), [(time / 1_000_000, 0.0)]);
                Ok(given)
            }
        },
    }
}

pub fn theirs(server: &Server, text: &str, when: When) -> Result<Given, String> {
    let answer = match when {
        When::Instant(time) => server.get("query", &[("query", text), ("time", &seconds(time))]),
        When::Range(range) => {
            let (start, end, step) = (seconds(range.start_ms), seconds(range.end_ms), seconds(range.step_ms));
            server.get("query_range", &[("query", text), ("start", &start), ("end", &end), ("step", &step)])
        }
    };
    if answer["status"] != "success" {
        return Err(answer["error"].to_string());
    }
    let data = &answer["data"];
    let mut given = Given { kind: text_of(&data["resultType"]), ..Given::default() };
    if given.kind == "scalar" {
        given.add(BTreeMap::new(), [pair(&data["result"])]);
        return Ok(given);
    }
    if given.kind == "string" {
        let text = BTreeMap::from([("text".to_string(), text_of(&data["result"][1]))]);
        given.add(text, [(time_of(&data["result"][0]), 0.0)]);
        return Ok(given);
    }
    for series in list(&data["result"]) {
        let labels = series["metric"].as_object().expect("labels").iter();
        let labels = labels.map(|(name, value)| (name.clone(), text_of(value))).collect();
        match series.get("values") {
            Some(values) => given.add(labels, list(values).iter().map(pair)),
            None => given.add(labels, [pair(&series["value"])]),
        }
    }
    Ok(given)
}

fn pair(json: &Json) -> (i64, f64) {
    (time_of(&json[0]), text_of(&json[1]).parse().expect("a number"))
}

fn time_of(json: &Json) -> i64 {
    (json.as_f64().expect("a time") * 1000.0).round() as i64
}

fn text_of(json: &Json) -> String {
    json.as_str().expect("a text").to_string()
}

fn list(json: &Json) -> &[Json] {
    json.as_array().expect("a list")
}
