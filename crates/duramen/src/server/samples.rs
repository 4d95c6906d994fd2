//! `/write`, `/api/v2/write`, `/api/v1/write`: samples by HTTP, as InfluxDB's and Prometheus' clients send them. Owns the parameters,
//! the answers and their forms; the languages are [`crate::samples`]', the way into the store [`crate::intake`]'s.

use std::io::Read as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use duramen_store::{Durability, Error, Receipt};
use serde_json::json;

use crate::daemon::Shared;
use crate::import::{self, ImportOptions};
use crate::input::Counters;
use crate::intake::Intake;
use crate::samples::time::Unit;
use crate::samples::{Metadata, Outcome, influx, remote_write};
use crate::server::ingest::{pairs, status_of};
use crate::server::{Bodies, read_body, refuse};

/// Bad lines that an answer names.
const BAD_TOLD: usize = 5;

/// In which form errors are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `{"error": …}`.
    InfluxV1,
    /// `{"code": …, "message": …}`.
    InfluxV2,
    /// Plain words.
    Prometheus,
}

impl Form {
    fn refuse(self, status: StatusCode, words: impl Into<String>) -> Response {
        let words = words.into();
        match self {
            Form::InfluxV1 => (status, Json(json!({ "error": words }))).into_response(),
            Form::InfluxV2 => {
                let code = match status {
                    StatusCode::BAD_REQUEST => "invalid",
                    StatusCode::PAYLOAD_TOO_LARGE => "request too large",
                    StatusCode::TOO_MANY_REQUESTS => "too many requests",
                    _ => "unavailable",
                };
                (status, Json(json!({ "code": code, "message": words }))).into_response()
            }
            Form::Prometheus => refuse(status, words),
        }
    }
}

/// InfluxDB 1's lines: `db`, `precision`, and `durable=false` for an answer before the sync. Other parameters say nothing here.
pub async fn write_v1(
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    Extension(bodies): Extension<Bodies>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    lines(Form::InfluxV1, shared, parameters, bodies, headers, body).await
}

/// InfluxDB 2's lines: `bucket` stands for `db`.
pub async fn write_v2(
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    Extension(bodies): Extension<Bodies>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    lines(Form::InfluxV2, shared, parameters, bodies, headers, body).await
}

async fn lines(
    form: Form,
    shared: Arc<Shared>,
    parameters: Option<String>,
    bodies: Bodies,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (mut unit, mut database, mut how) = (Unit::Nanoseconds, None, Durability::Now);
    for (name, value) in pairs(parameters.as_deref().unwrap_or("")) {
        match name.as_str() {
            "precision" => match Unit::named(&value) {
                Ok(named) => unit = named,
                Err(words) => return form.refuse(StatusCode::BAD_REQUEST, words),
            },
            "db" | "bucket" if !value.is_empty() => database = Some(value),
            "durable" => how = durability(&value),
            _ => {}
        }
    }
    let body = match receive(form, body, &headers, &shared, &bodies).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let work = move || {
        let space = format!("influx {}", database.as_deref().unwrap_or(""));
        let mut intake = shared.intake(&space, &[], how);
        let options = influx::Options { unit, database: database.as_deref() };
        let outcome = influx::read(&body, options, |sample| intake.take(sample));
        let (receipt, too_old) = end(&mut intake, &shared.counters("influx"), &outcome);
        (outcome, receipt, too_old)
    };
    let (outcome, receipt, too_old) = match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => return form.refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    if let Err(refusal) = settle(form, receipt, how).await {
        return refusal;
    }
    let refused = refused("line", &outcome, too_old);
    if refused.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    // The good ones are in the store by now, as InfluxDB has it.
    let taken = outcome.samples.saturating_sub(too_old);
    form.refuse(StatusCode::BAD_REQUEST, format!("partial write: {refused} ({taken} values were written)"))
}

/// Prometheus' remote_write 1.0. The answer comes after the sync: whoever sends it has a log of its own until then.
pub async fn remote(
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    Extension(bodies): Extension<Bodies>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let form = Form::Prometheus;
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    if text(header::CONTENT_TYPE).contains("io.prometheus.write.v2") {
        let words = "remote_write 2.0 is not spoken here: send prometheus.WriteRequest of version 1";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, words);
    }
    let mut how = Durability::Now;
    for (name, value) in pairs(parameters.as_deref().unwrap_or("")) {
        if name == "durable" {
            how = durability(&value);
        }
    }
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let body = match read_body(body, declared, &shared, &bodies).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let raw_max = shared.config.http.body_bytes_max.0 as usize * RAW_TIMES;
    let work = move || -> Result<_, String> {
        let mut message = Vec::new();
        remote_write::decompress(&body, raw_max, &mut message)?;
        let mut intake = shared.intake("remote_write", &[], how);
        let read = remote_write::read(&message, |sample| intake.take(sample), |about| note(&shared, about));
        let outcome = read.map_err(|error| format!("bad protobuf: {error}"))?;
        let (receipt, too_old) = end(&mut intake, &shared.counters("remote_write"), &outcome);
        Ok((outcome, receipt, too_old))
    };
    let (outcome, receipt, too_old) = match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => done,
        Ok(Err(words)) => return refuse(StatusCode::BAD_REQUEST, words),
        Err(error) => return form.refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    if let Err(refusal) = settle(form, receipt, how).await {
        return refusal;
    }
    let refused = refused("time series", &outcome, too_old);
    if refused.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    // What is refused for good must not be sent again for ever.
    let taken = outcome.samples.saturating_sub(too_old);
    refuse(StatusCode::BAD_REQUEST, format!("{refused} ({taken} samples were written)"))
}

/// What `duramen import` sends: a piece of a file, and what the user said of it.
pub async fn import(
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    Extension(bodies): Extension<Bodies>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let form = Form::Prometheus;
    let options = match ImportOptions::of(&pairs(parameters.as_deref().unwrap_or(""))) {
        Ok(options) => options,
        Err(words) => return refuse(StatusCode::BAD_REQUEST, words),
    };
    let body = match receive(form, body, &headers, &shared, &bodies).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let work = move || -> Result<_, String> {
        let mut intake = shared.intake(&options.space(), &options.more, Durability::Now);
        let outcome = import::read(&body, &options, &mut intake)?;
        let (receipt, too_old) = end(&mut intake, &shared.counters("import"), &outcome);
        Ok((outcome, receipt, too_old))
    };
    let (outcome, receipt, too_old) = match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => done,
        Ok(Err(words)) => return refuse(StatusCode::BAD_REQUEST, words),
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    if let Err(refusal) = settle(form, receipt, Durability::Now).await {
        return refusal;
    }
    Json(import::Imported::of(&outcome, too_old)).into_response()
}

/// Keeps what a sender says of a metric.
pub fn note(shared: &Shared, about: &Metadata<'_>) {
    let mut known = shared.metadata.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if known.len() >= METRICS_MAX && !known.contains_key(about.name.as_ref()) {
        return;
    }
    let own = known.entry(about.name.to_string()).or_default();
    about.kind.into_iter().for_each(|kind| own.kind = kind.name().to_string());
    about.help.iter().for_each(|help| own.help = help.to_string());
    about.unit.iter().for_each(|unit| own.unit = unit.to_string());
}

/// Metrics of which it is kept what senders say.
const METRICS_MAX: usize = 10_000;
/// How much larger a body may be that comes compressed.
const RAW_TIMES: usize = 4;

fn durability(value: &str) -> Durability {
    if value == "false" || value == "0" { Durability::Policy } else { Durability::Now }
}

/// Ends a body: the receipt of its samples, and how many of them the retention refused, which do not count as taken.
fn end(intake: &mut Intake<'_>, counters: &Counters, outcome: &Outcome) -> (Result<Option<Receipt>, Error>, u64) {
    let receipt = intake.finish();
    Counters::add(&counters.rows, outcome.samples.saturating_sub(intake.too_old()));
    (receipt, intake.too_old())
}

/// What of a body was not stored, and why; empty: all of it was. Clients of InfluxDB know the words about the retention, and do not
/// send such points again.
fn refused(what: &str, outcome: &Outcome, too_old: u64) -> String {
    let bad = (outcome.bad_count > 0).then(|| bad_rows(what, outcome));
    let old = (too_old > 0).then(|| format!("points beyond retention policy dropped={too_old}"));
    bad.into_iter().chain(old).collect::<Vec<_>>().join("; ")
}

/// The first bad rows, and how many there are.
fn bad_rows(what: &str, outcome: &Outcome) -> String {
    let told = outcome.bad.iter().take(BAD_TOLD);
    let mut words: Vec<String> =
        told.map(|bad| format!("{what} {}, column {}: {}", bad.row, bad.column, bad.reason)).collect();
    let more = outcome.bad_count - words.len() as u64;
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    words.join("; ")
}

/// Waits for the durability that was asked for.
async fn settle(form: Form, receipt: Result<Option<Receipt>, Error>, how: Durability) -> Result<(), Response> {
    let failed = |error: Error| form.refuse(status_of(&error), error.to_string());
    match receipt.map_err(failed)? {
        Some(receipt) if how == Durability::Now => receipt.await.map_err(failed),
        _ => Ok(()),
    }
}

/// Reads a body, which may come compressed.
async fn receive(
    form: Form,
    body: Body,
    headers: &HeaderMap,
    shared: &Shared,
    bodies: &Bodies,
) -> Result<Vec<u8>, Response> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let body = read_body(body, declared, shared, bodies).await?;
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    match encoding {
        "" | "identity" => Ok(body),
        "gzip" => {
            let max = shared.config.http.body_bytes_max.0 * RAW_TIMES as u64;
            let mut raw = Vec::new();
            let read = flate2::read::MultiGzDecoder::new(&body[..]).take(max + 1).read_to_end(&mut raw);
            match read {
                Err(error) => Err(form.refuse(StatusCode::BAD_REQUEST, format!("the body is no gzip: {error}"))),
                Ok(bytes) if bytes as u64 > max => {
                    let words = format!("the body is larger than {max} bytes: send it in parts");
                    Err(form.refuse(StatusCode::PAYLOAD_TOO_LARGE, words))
                }
                Ok(_) => Ok(raw),
            }
        }
        other => Err(form.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the encoding {other} is unknown: gzip"))),
    }
}
