//! `/api/v1/…`: Prometheus' HTTP interface, as Grafana and others speak it. Owns its parameters and the form of its answers; PromQL
//! is the store's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use duramen_store::promql::{
    Answer, Error, Expression, LabelMatcher, LabelSet, Limits, Options, Point, Range, Series, ValueType, parse_selector,
};
use serde_json::{Map, Value, json};

use crate::daemon::Shared;
use crate::quantity::parse_time;
use crate::server::ingest::pairs;
use crate::server::{Bodies, read_body};
use crate::stamp;

/// Samples that one query may hold at one time: 16 bytes each.
const SAMPLES_MAX: usize = 2_000_000;
/// How long a query may take, if it does not say less.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Names or series of one answer.
const NAMES_MAX: usize = 100_000;

/// What was asked, by name; a name may come several times.
struct Asked(Vec<(String, String)>);

impl Asked {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::bad(format!("the parameter {name} is missing")))
    }

    /// A time, in milliseconds.
    fn time(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        if let Ok(seconds) = text.parse::<f64>() {
            let milliseconds = (seconds * 1e3).round();
            let fits = milliseconds.is_finite() && milliseconds.abs() < 9e15;
            let wrong = || Refusal::bad(format!("{name}={text} is out of range"));
            return if fits { Ok(Some(milliseconds as i64)) } else { Err(wrong()) };
        }
        let parsed = stamp::parse_time(text, stamp::wall_clock());
        parsed.map(|time| Some(time.div_euclid(1_000_000))).map_err(|words| Refusal::bad(format!("{name}: {words}")))
    }

    /// A duration, in milliseconds: seconds as a number, or `5m`.
    fn duration(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        let milliseconds = match seconds {
            Some(seconds) => Some((seconds * 1e3).round()),
            None => parse_time(text).ok().map(|time| time.as_millis() as f64),
        };
        let fits = milliseconds.filter(|milliseconds| (1.0..9e15).contains(milliseconds));
        fits.map(|fits| Some(fits as i64))
            .ok_or_else(|| Refusal::bad(format!("{name}={text} is no duration: 15, 15s, 5m")))
    }
}

/// Why there is no answer, as Prometheus names it.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    words: String,
}

impl Refusal {
    fn bad(words: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::BAD_REQUEST, kind: "bad_data", words: words.into() }
    }

    fn of(error: &Error) -> Refusal {
        let (status, kind) = match error {
            Error::Syntax(_) | Error::Unsupported(_) | Error::Parameter(_) | Error::TooManyPoints { .. } => {
                (StatusCode::BAD_REQUEST, "bad_data")
            }
            Error::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Error::Source(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
        };
        Refusal { status, kind, words: error.to_string() }
    }
}

impl From<duramen_store::Error> for Refusal {
    fn from(error: duramen_store::Error) -> Refusal {
        Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", words: error.to_string() }
    }
}

/// A query that ends when nobody waits for it any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The parameters of a request, from its address and, if it is a form, its body.
async fn asked(
    method: &Method,
    parameters: Option<String>,
    headers: &HeaderMap,
    body: Body,
    shared: &Shared,
    bodies: &Bodies,
) -> Result<Asked, Response> {
    let mut all = pairs(parameters.as_deref().unwrap_or(""));
    if *method == Method::POST {
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let body = read_body(body, declared, shared, bodies).await?;
        all.extend(pairs(&String::from_utf8_lossy(&body)));
    }
    Ok(Asked(all))
}

/// Works out an answer on a thread that may take its time.
async fn answered(
    timeout: Duration,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<String, Refusal> + Send + 'static,
) -> Response {
    let stop = Arc::new(AtomicBool::new(false));
    let _waiting = Waiting(stop.clone());
    let flag = stop.clone();
    let working = tokio::task::spawn_blocking(move || work(&|| flag.load(Ordering::Relaxed)));
    let done = tokio::time::timeout(timeout, working).await;
    let answer = match done {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Err(Refusal { status, kind: "internal", words: error.to_string() })
        }
        Err(_) => {
            let words = format!("the query took longer than {} s", timeout.as_secs_f64());
            Err(Refusal { status: StatusCode::SERVICE_UNAVAILABLE, kind: "timeout", words })
        }
    };
    match answer {
        Ok(data) => {
            let body = format!("{{\"status\":\"success\",\"data\":{data}}}");
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(Refusal { status, kind, words }) => {
            (status, Json(json!({ "status": "error", "errorType": kind, "error": words }))).into_response()
        }
    }
}

fn options<'a>(asked: &Asked, cancelled: &'a dyn Fn() -> bool) -> Result<Options<'a>, Refusal> {
    let limits = Limits { samples_max: SAMPLES_MAX, cancelled, ..Limits::default() };
    let lookback_ms = asked.duration("lookback_delta")?.unwrap_or(Options::default().lookback_ms);
    Ok(Options { limits, lookback_ms, ..Options::default() })
}

fn timeout(asked: &Asked) -> Duration {
    let asked = asked.duration("timeout").ok().flatten();
    asked.map_or(TIMEOUT, |milliseconds| Duration::from_millis(milliseconds as u64).min(TIMEOUT))
}

fn now_ms() -> i64 {
    stamp::wall_clock().div_euclid(1_000_000)
}

/// A query for one time.
pub async fn instant(
    method: Method,
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    Extension(bodies): Extension<Bodies>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = match asked(&method, parameters, &headers, body, &shared, &bodies).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    answered(timeout(&asked), move |cancelled| {
        let expression = Expression::parse(asked.need("query")?).map_err(|error| Refusal::of(&error))?;
        let time = asked.time("time")?.unwrap_or_else(now_ms);
        let answer = expression.instant(&shared.store, time, &options(&asked, cancelled)?);
        answer.map(|answer| show_answer(&answer)).map_err(|error| Refusal::of(&error))
    })
    .await
}

/// A query for many times.
pub async fn range(
    method: Method,
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    Extension(bodies): Extension<Bodies>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = match asked(&method, parameters, &headers, body, &shared, &bodies).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    answered(timeout(&asked), move |cancelled| {
        let expression = Expression::parse(asked.need("query")?).map_err(|error| Refusal::of(&error))?;
        let missing = |name| move || Refusal::bad(format!("the parameter {name} is missing"));
        let range = Range {
            start_ms: asked.time("start")?.ok_or_else(missing("start"))?,
            end_ms: asked.time("end")?.ok_or_else(missing("end"))?,
            step_ms: asked.duration("step")?.ok_or_else(missing("step"))?,
        };
        let series = expression.range(&shared.store, range, &options(&asked, cancelled)?);
        let series = series.map_err(|error| Refusal::of(&error))?;
        Ok(show_matrix(&series))
    })
    .await
}

/// The matchers of `match[]`, one list for each; without any, every series.
fn selections(asked: &Asked) -> Result<Vec<Vec<LabelMatcher>>, Refusal> {
    let given = asked.0.iter().filter(|(name, _)| name == "match[]");
    let all: Vec<_> =
        given.map(|(_, text)| parse_selector(text)).collect::<Result<_, _>>().map_err(|error| Refusal::of(&error))?;
    Ok(if all.is_empty() { vec![Vec::new()] } else { all })
}

/// Labels of the series that are meant and have samples in the time that is asked for.
fn series_of(shared: &Shared, asked: &Asked) -> Result<BTreeSet<duramen_store::Labels>, Refusal> {
    let nanoseconds = |milliseconds: i64| milliseconds.saturating_mul(1_000_000);
    let first = asked.time("start")?.map_or(i64::MIN, nanoseconds);
    let last = asked.time("end")?.map_or(i64::MAX - 1, nanoseconds);
    let mut all = BTreeSet::new();
    for matchers in selections(asked)? {
        all.extend(shared.store.series_matching(&matchers, first, last)?);
    }
    Ok(all)
}

/// The first so many, as `limit` and the bound say.
fn limited(asked: &Asked, all: impl Iterator<Item = Value>) -> Value {
    let limit = asked.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    all.take(limit.unwrap_or(NAMES_MAX).min(NAMES_MAX)).collect()
}

/// Names of labels.
pub async fn labels(
    method: Method,
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    Extension(bodies): Extension<Bodies>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = match asked(&method, parameters, &headers, body, &shared, &bodies).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    answered(TIMEOUT, move |_| {
        let series = series_of(&shared, &asked)?;
        let names: BTreeSet<&str> = series.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        Ok(limited(&asked, names.into_iter().map(Value::from)).to_string())
    })
    .await
}

/// Values of one label.
pub async fn values(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    RawQuery(parameters): RawQuery,
) -> Response {
    answered(TIMEOUT, move |_| {
        let asked = Asked(pairs(parameters.as_deref().unwrap_or("")));
        if !duramen_store::is_name(&name) {
            return Err(Refusal::bad(format!("{name:?} is no label name")));
        }
        let series = series_of(&shared, &asked)?;
        let values: BTreeSet<&str> = series.iter().filter_map(|labels| labels.get(&name)).collect();
        Ok(limited(&asked, values.into_iter().map(Value::from)).to_string())
    })
    .await
}

/// Names of series.
pub async fn series(
    method: Method,
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    Extension(bodies): Extension<Bodies>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = match asked(&method, parameters, &headers, body, &shared, &bodies).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    answered(TIMEOUT, move |_| {
        if asked.get("match[]").is_none() {
            return Err(Refusal::bad("no match[] parameter: which series?"));
        }
        let object = |labels: &duramen_store::Labels| {
            let pairs = labels.iter().map(|(name, value)| (name.to_string(), Value::from(value)));
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        Ok(limited(&asked, series_of(&shared, &asked)?.iter().map(object)).to_string())
    })
    .await
}

/// What senders said of metrics since the daemon started.
pub async fn metadata(State(shared): State<Arc<Shared>>, RawQuery(parameters): RawQuery) -> Response {
    answered(TIMEOUT, move |_| {
        let asked = Asked(pairs(parameters.as_deref().unwrap_or("")));
        let wanted = asked.get("metric");
        let known = shared.metadata.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let chosen = known.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
        let shown = chosen.map(|(name, about)| {
            (name.clone(), json!([{ "type": about.kind, "help": about.help, "unit": about.unit }]))
        });
        Ok(Value::Object(shown.take(NAMES_MAX).collect()).to_string())
    })
    .await
}

/// What a sender said of a metric.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `counter`, `gauge`, …
    pub kind: String,
    /// In words.
    pub help: String,
    /// Of its values.
    pub unit: String,
}

/// What is known of metrics by their names.
pub type Metadata = BTreeMap<String, About>;

/// Which version of the interface this is: Grafana asks.
pub async fn build_info() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    // The semantics are those of Prometheus 3; the rest says who it is.
    let data = json!({ "version": "3.0.0", "revision": format!("duramen {version}"), "branch": "", "buildUser": "", "buildDate": "", "goVersion": "" });
    Json(json!({ "status": "success", "data": data })).into_response()
}

/// A number as Prometheus shows it: shortest, without an exponent.
pub fn show_value(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_string(),
        f64::INFINITY => "+Inf".to_string(),
        f64::NEG_INFINITY => "-Inf".to_string(),
        value => value.to_string(),
    }
}

fn put_point(out: &mut String, point: Point) {
    let milliseconds = point.time.div_euclid(1_000_000);
    let (seconds, rest) = (milliseconds.div_euclid(1_000), milliseconds.rem_euclid(1_000));
    let _ = match rest {
        0 => write!(out, "[{seconds},"),
        // Before 1970 the parts of a second count backwards.
        _ if seconds < 0 => write!(out, "[{},", milliseconds as f64 / 1e3),
        _ => write!(out, "[{seconds}.{rest:03},"),
    };
    let _ = write!(out, "\"{}\"]", show_value(point.value));
}

fn put_labels(out: &mut String, labels: &LabelSet) {
    let pairs = labels.iter().map(|(name, value)| (name.to_string(), Value::from(value)));
    out.push_str(&Value::Object(pairs.collect::<Map<_, _>>()).to_string());
}

/// An answer as JSON.
pub fn show_answer(answer: &Answer) -> String {
    let mut out = String::new();
    match answer {
        Answer::Scalar(point) => {
            out.push_str("{\"resultType\":\"scalar\",\"result\":");
            put_point(&mut out, *point);
            out.push('}');
        }
        Answer::Text(time, text) => {
            let seconds = *time as f64 / 1e9;
            out = json!({ "resultType": "string", "result": [seconds, text] }).to_string();
        }
        Answer::Vector(samples) => {
            out.push_str("{\"resultType\":\"vector\",\"result\":[");
            for (at, sample) in samples.iter().enumerate() {
                out.push_str(if at == 0 { "{\"metric\":" } else { ",{\"metric\":" });
                put_labels(&mut out, &sample.labels);
                out.push_str(",\"value\":");
                put_point(&mut out, Point { time: sample.time, value: sample.value });
                out.push('}');
            }
            out.push_str("]}");
        }
        Answer::Matrix(series) => out = show_matrix(series),
    }
    out
}

/// Series as JSON.
pub fn show_matrix(all: &[Series]) -> String {
    let mut out = "{\"resultType\":\"matrix\",\"result\":[".to_string();
    for (at, series) in all.iter().enumerate() {
        out.push_str(if at == 0 { "{\"metric\":" } else { ",{\"metric\":" });
        put_labels(&mut out, &series.labels);
        out.push_str(",\"values\":[");
        for (at, point) in series.points.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            put_point(&mut out, *point);
        }
        out.push_str("]}");
    }
    out.push_str("]}");
    out
}

/// Checks an expression as `/api/v1/parse_query` would: whether it can be answered here.
pub async fn format_query(RawQuery(parameters): RawQuery) -> Response {
    answered(TIMEOUT, move |_| {
        let asked = Asked(pairs(parameters.as_deref().unwrap_or("")));
        let expression = Expression::parse(asked.need("query")?).map_err(|error| Refusal::of(&error))?;
        let kind = match expression.value_type() {
            ValueType::Scalar => "scalar",
            ValueType::Text => "string",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
        };
        Ok(json!({ "type": kind }).to_string())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_shown_as_prometheus_does() {
        let told: Vec<String> =
            [1.0, 0.1, 1e21, 1e-7, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0].map(show_value).into();
        assert_eq!(told, ["1", "0.1", "1000000000000000000000", "0.0000001", "NaN", "+Inf", "-Inf", "-0"]);
        let point = |time| {
            let mut out = String::new();
            put_point(&mut out, Point { time, value: 2.5 });
            out
        };
        assert_eq!(point(1_435_781_430_781_000_000), "[1435781430.781,\"2.5\"]");
        assert_eq!(point(1_435_781_430_000_000_000), "[1435781430,\"2.5\"]");
        assert_eq!(point(1_435_781_430_050_000_000), "[1435781430.050,\"2.5\"]");
    }
}
