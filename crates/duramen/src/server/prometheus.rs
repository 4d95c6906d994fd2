//! `/api/v1/…`: Prometheus' HTTP interface, as Grafana and others speak it. Owns its parameters and the form of its answers; PromQL
//! is the store's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use duramen_store::promql::{
    Answer, Error, Expression, LabelMatcher, LabelSet, Limits, Options, Point, Range, Series, ValueType, parse_selector,
};
use serde_json::{Map, Value, json};

use crate::daemon::Shared;
use crate::quantity::parse_time;
use crate::server::ingest::pairs;
use crate::server::read_body;
use crate::server::room::{Place, QuerySize};
use crate::stamp;

/// How long a query may take, with the time that it waits for its turn, if it does not say less.
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
    /// It held as many samples as it may.
    is_large: bool,
}

impl Refusal {
    fn bad(words: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::BAD_REQUEST, kind: "bad_data", words: words.into(), is_large: false }
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
        let is_large = matches!(error, Error::TooManySamples { .. });
        Refusal { status, kind, words: error.to_string(), is_large }
    }

    fn internal(words: impl Into<String>) -> Refusal {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Refusal { status, kind: "internal", words: words.into(), is_large: false }
    }

    /// It took too long, or would have.
    fn timeout(words: impl Into<String>) -> Refusal {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Refusal { status, kind: "timeout", words: words.into(), is_large: false }
    }
}

impl From<duramen_store::Error> for Refusal {
    fn from(error: duramen_store::Error) -> Refusal {
        Refusal::internal(error.to_string())
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
) -> Result<Asked, Response> {
    let mut all = pairs(parameters.as_deref().unwrap_or(""));
    if *method == Method::POST {
        let body = read_body(body, headers, shared).await?;
        all.extend(pairs(&String::from_utf8_lossy(&body)));
    }
    Ok(Asked(all))
}

/// What a query may do.
struct Allowed<'a> {
    /// Samples that it may hold at one time.
    samples_max: usize,
    /// Nobody waits for it any more.
    cancelled: &'a dyn Fn() -> bool,
}

/// Works out an answer on a thread that may take its time, when it is this query's turn: only so many run at once, so that writes
/// do not wait for them and that all together hold no more memory than [`crate::server::room`] says. It may be worked out twice.
async fn answered(
    shared: Arc<Shared>,
    timeout: Duration,
    work: impl Fn(&Shared, &Allowed<'_>) -> Result<String, Refusal> + Send + Sync + 'static,
) -> Response {
    let answer = tokio::time::timeout(timeout, worked_out(&shared, Arc::new(work))).await;
    answer.unwrap_or_else(|_| {
        let seconds = timeout.as_secs_f64();
        shown(Err(Refusal::timeout(format!("the query took longer than {seconds} s, with its wait for others"))))
    })
}

async fn worked_out<W>(shared: &Arc<Shared>, work: Arc<W>) -> Response
where
    W: Fn(&Shared, &Allowed<'_>) -> Result<String, Refusal> + Send + Sync + 'static,
{
    let stop = Arc::new(AtomicBool::new(false));
    let _waiting = Waiting(stop.clone());
    let mut size = QuerySize::Usual;
    loop {
        let Some(shares) = shared.room.for_query(size).await else {
            return shown(Err(Refusal::internal("the daemon ends")));
        };
        let (own, work, stop) = (shared.clone(), work.clone(), stop.clone());
        let working = tokio::task::spawn_blocking(move || {
            let cancelled = || stop.load(Ordering::Relaxed);
            let answer = work(&own, &Allowed { samples_max: shares.samples_max(), cancelled: &cancelled });
            // The shares end with the work, even if nobody waits for it any more.
            (answer, shares)
        });
        match working.await {
            Err(error) => return shown(Err(Refusal::internal(error.to_string()))),
            Ok((Err(refusal), _)) if refusal.is_large && size == QuerySize::Usual => size = QuerySize::Large,
            Ok((Err(refusal), _)) => return shown(Err(refusal)),
            Ok((Ok(data), shares)) => {
                let place = shared.room.for_answer(data.len()).await;
                drop(shares);
                return shown(Ok((data, place)));
            }
        }
    }
}

fn shown(answer: Result<(String, Place), Refusal>) -> Response {
    match answer {
        Ok((mut data, place)) => {
            data.insert_str(0, "{\"status\":\"success\",\"data\":");
            data.push('}');
            // It has its room until the last byte of it is sent.
            let body = Bytes::from_owner(place.hold(data.into_bytes()));
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(Refusal { status, kind, words, .. }) => {
            (status, Json(json!({ "status": "error", "errorType": kind, "error": words }))).into_response()
        }
    }
}

/// Answers what waits for no turn.
async fn apart(work: impl FnOnce() -> Result<String, Refusal> + Send + 'static) -> Response {
    let answer = tokio::task::spawn_blocking(work).await;
    let answer = answer.unwrap_or_else(|error| Err(Refusal::internal(error.to_string())));
    shown(answer.map(|data| (data, Place::UNCOUNTED)))
}

fn options<'a>(asked: &Asked, allowed: &'a Allowed<'a>) -> Result<Options<'a>, Refusal> {
    let Allowed { samples_max, cancelled } = *allowed;
    let limits = Limits { samples_max, cancelled, ..Limits::default() };
    let lookback_ms = asked.duration("lookback_delta")?.unwrap_or(Options::default().lookback_ms);
    Ok(Options { limits, lookback_ms, ..Options::default() })
}

fn timeout(asked: &Asked) -> Result<Duration, Refusal> {
    let asked = asked.duration("timeout")?;
    Ok(asked.map_or(TIMEOUT, |milliseconds| Duration::from_millis(milliseconds as u64).min(TIMEOUT)))
}

fn now_ms() -> i64 {
    stamp::wall_clock().div_euclid(1_000_000)
}

/// A query for one time.
pub async fn instant(
    method: Method,
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = match asked(&method, parameters, &headers, body, &shared).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    let timeout = match timeout(&asked) {
        Ok(timeout) => timeout,
        Err(refusal) => return shown(Err(refusal)),
    };
    answered(shared, timeout, move |shared, allowed| {
        let expression = Expression::parse(asked.need("query")?).map_err(|error| Refusal::of(&error))?;
        let time = asked.time("time")?.unwrap_or_else(now_ms);
        let answer = expression.instant(&shared.store, time, &options(&asked, allowed)?);
        answer.map(|answer| show_answer(&answer)).map_err(|error| Refusal::of(&error))
    })
    .await
}

/// A query for many times.
pub async fn range(
    method: Method,
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = match asked(&method, parameters, &headers, body, &shared).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    let timeout = match timeout(&asked) {
        Ok(timeout) => timeout,
        Err(refusal) => return shown(Err(refusal)),
    };
    answered(shared, timeout, move |shared, allowed| {
        let expression = Expression::parse(asked.need("query")?).map_err(|error| Refusal::of(&error))?;
        let missing = |name| move || Refusal::bad(format!("the parameter {name} is missing"));
        let range = Range {
            start_ms: asked.time("start")?.ok_or_else(missing("start"))?,
            end_ms: asked.time("end")?.ok_or_else(missing("end"))?,
            step_ms: asked.duration("step")?.ok_or_else(missing("step"))?,
        };
        let series = expression.range(&shared.store, range, &options(&asked, allowed)?);
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
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = match asked(&method, parameters, &headers, body, &shared).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    answered(shared, TIMEOUT, move |shared, _| {
        let series = series_of(shared, &asked)?;
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
    answered(shared, TIMEOUT, move |shared, _| {
        let asked = Asked(pairs(parameters.as_deref().unwrap_or("")));
        if !duramen_store::is_name(&name) {
            return Err(Refusal::bad(format!("{name:?} is no label name")));
        }
        let series = series_of(shared, &asked)?;
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
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = match asked(&method, parameters, &headers, body, &shared).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    answered(shared, TIMEOUT, move |shared, _| {
        if asked.get("match[]").is_none() {
            return Err(Refusal::bad("no match[] parameter: which series?"));
        }
        let object = |labels: &duramen_store::Labels| {
            let pairs = labels.iter().map(|(name, value)| (name.to_string(), Value::from(value)));
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        Ok(limited(&asked, series_of(shared, &asked)?.iter().map(object)).to_string())
    })
    .await
}

/// What senders said of metrics since the daemon started.
pub async fn metadata(State(shared): State<Arc<Shared>>, RawQuery(parameters): RawQuery) -> Response {
    apart(move || {
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

/// A time in seconds, exact to the millisecond.
fn put_time(out: &mut String, time: i64) {
    let milliseconds = time.div_euclid(1_000_000);
    let (seconds, rest) = (milliseconds.div_euclid(1_000), milliseconds.rem_euclid(1_000));
    let _ = match rest {
        0 => write!(out, "{seconds}"),
        // Before 1970 the parts of a second count backwards.
        _ if seconds < 0 => write!(out, "{}", milliseconds as f64 / 1e3),
        _ => write!(out, "{seconds}.{rest:03}"),
    };
}

fn put_point(out: &mut String, point: Point) {
    out.push('[');
    put_time(out, point.time);
    let _ = write!(out, ",\"{}\"]", show_value(point.value));
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
            out.push_str("{\"resultType\":\"string\",\"result\":[");
            put_time(&mut out, *time);
            let _ = write!(out, ",{}]}}", Value::from(text.as_str()));
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
    apart(move || {
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
        // A text's time was once 1700002900.2499998.
        assert_eq!(
            show_answer(&Answer::Text(1_700_002_900_250_000_000, "a\"b".to_string())),
            r#"{"resultType":"string","result":[1700002900.250,"a\"b"]}"#
        );
    }
}
