//! `/write`, `/api/v2/write`, `/api/v1/write`: samples by HTTP, as InfluxDB's and Prometheus' clients send them. Owns the parameters,
//! the answers and their forms; the languages are [`crate::samples`]', the way into the store [`crate::intake`]'s.

use std::io::Read as _;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use duramen_store::{Durability, Error, Receipt};
use serde_json::json;

use crate::daemon::Shared;
use crate::import::{self, ImportOptions};
use crate::input::Counters;
use crate::intake::Intake;
use crate::samples::time::Unit;
use crate::samples::{Metadata, Outcome, influx, remote_write};
use crate::server::ingest::{pairs, status_of};
use crate::server::room::{Full, Held, Place};
use crate::server::{NO_ROOM, no_room, read_body, refuse};

/// Bad lines that an answer names.
const BAD_TOLD: usize = 5;
/// The most that deflate makes of a byte.
const DEFLATE_RATIO_MAX: usize = 1032;

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
    headers: HeaderMap,
    body: Body,
) -> Response {
    lines(Form::InfluxV1, shared, parameters, headers, body).await
}

/// InfluxDB 2's lines: `bucket` stands for `db`.
pub async fn write_v2(
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    lines(Form::InfluxV2, shared, parameters, headers, body).await
}

async fn lines(
    form: Form,
    shared: Arc<Shared>,
    parameters: Option<String>,
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
    let body = match receive(form, body, &headers, &shared).await {
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
    let (body, place) = match receive_block(body, &headers, &shared).await {
        Ok(received) => received,
        Err(refusal) => return refusal,
    };
    let work = move || -> Result<_, String> {
        let mut message = Vec::new();
        remote_write::decompress(&body, &mut message)?;
        let message = place.hold(message);
        drop(body);
        let mut intake = shared.intake("remote_write", &[], how);
        let read = remote_write::read(&message, |sample| intake.take(sample), |about| note(&shared, about));
        let outcome = read.map_err(|error| error.to_string())?;
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
    headers: HeaderMap,
    body: Body,
) -> Response {
    let form = Form::Prometheus;
    let options = match ImportOptions::of(&pairs(parameters.as_deref().unwrap_or(""))) {
        Ok(options) => options,
        Err(words) => return refuse(StatusCode::BAD_REQUEST, words),
    };
    let body = match receive(form, body, &headers, &shared).await {
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
pub fn bad_rows(what: &str, outcome: &Outcome) -> String {
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

/// Reads a block of snappy, and finds room for what it says is in it.
async fn receive_block(body: Body, headers: &HeaderMap, shared: &Shared) -> Result<(Held, Place), Response> {
    let body = read_body(body, headers, shared).await?;
    let length = remote_write::decompressed_bytes(&body).map_err(|words| refuse(StatusCode::BAD_REQUEST, words))?;
    let max = shared.room.unpacked_bytes_max();
    if length > max {
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, too_large(max)));
    }
    let place = shared.room.for_unpacked(length, shared.config.http.patience.0).await.map_err(|Full| no_room())?;
    Ok((body, place))
}

fn too_large(max: usize) -> String {
    format!("the body is larger than {max} bytes when unpacked: send it in parts")
}

/// Reads a body, which may come compressed.
async fn receive(form: Form, body: Body, headers: &HeaderMap, shared: &Shared) -> Result<Held, Response> {
    let body = read_body(body, headers, shared).await?;
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    match encoding {
        "" | "identity" => Ok(body),
        "gzip" => unpacked(form, body, shared).await,
        other => Err(form.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the encoding {other} is unknown: gzip"))),
    }
}

/// Unpacks a body, on a thread that may take its time. How much comes out stands in its last bytes; if that was not all, room for
/// the most that may come out is found, and it is unpacked again.
async fn unpacked(form: Form, body: Held, shared: &Shared) -> Result<Held, Response> {
    let max = shared.room.unpacked_bytes_max();
    let body = Arc::new(body);
    let mut expected = announced_bytes(&body).min(body.len().saturating_mul(DEFLATE_RATIO_MAX)).min(max);
    loop {
        let patience = shared.config.http.patience.0;
        let busy = |Full| form.refuse(StatusCode::SERVICE_UNAVAILABLE, NO_ROOM);
        let place = shared.room.for_unpacked(expected, patience).await.map_err(busy)?;
        let packed = body.clone();
        let unpacking = tokio::task::spawn_blocking(move || Ok(gunzip(&packed, expected)?.map(|raw| place.hold(raw))));
        let done: Result<Result<Option<Held>, std::io::Error>, _> = unpacking.await;
        let done = done.map_err(|error| form.refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        match done {
            Err(error) => {
                return Err(form.refuse(StatusCode::BAD_REQUEST, format!("the body is no gzip: {error}")));
            }
            Ok(Some(raw)) => return Ok(raw),
            Ok(None) if expected < max => expected = max,
            Ok(None) => return Err(form.refuse(StatusCode::PAYLOAD_TOO_LARGE, too_large(max))),
        }
    }
}

/// What the last member of a gzip says of its length.
fn announced_bytes(body: &[u8]) -> usize {
    body.last_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize)
}

/// All members; `None`: there are more bytes in them.
fn gunzip(body: &[u8], bytes_max: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut raw = Vec::with_capacity(bytes_max);
    let mut reader = flate2::read::MultiGzDecoder::new(body);
    reader.by_ref().take(bytes_max as u64).read_to_end(&mut raw)?;
    // What is behind tells of the end, or that this was not all.
    let more = reader.read(&mut [0])?;
    Ok((more == 0).then_some(raw))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_gzip_is_unpacked_within_its_bound() {
        let one = gzip(b"0123456789");
        assert_eq!(announced_bytes(&one), 10);
        assert_eq!(gunzip(&one, 10).unwrap().unwrap(), b"0123456789");
        assert_eq!(gunzip(&one, 9).unwrap(), None);
        // Of several members only the last one's length can be seen beforehand.
        let two = [one.clone(), gzip(b"ab")].concat();
        assert_eq!((announced_bytes(&two), gunzip(&two, 2).unwrap()), (2, None));
        assert_eq!(gunzip(&two, 12).unwrap().unwrap(), b"0123456789ab");
        assert!(gunzip(b"no gzip at all", 100).is_err() && gunzip(&one[..one.len() - 5], 100).is_err());
        assert_eq!(gunzip(&gzip(b""), 0).unwrap().unwrap(), b"");
        assert_eq!(announced_bytes(b"x"), 0);
    }
}
