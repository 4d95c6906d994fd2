//! `/ingest`: rows by HTTP. A body of JSON objects, one a line, or of plain lines; the answer comes when all of it is durable.
//! What fits into one batch of the store is stored whole or not at all; more is stored in several.

mod batches;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use duramen_store::{Durability, Level, Nanoseconds, Receipt, Stream, TimeBase};
use serde_json::{Map, Value};

use crate::daemon::Shared;
use crate::input::lines::split;
use crate::input::parts::Row;
use crate::input::streams::Streams;
use crate::input::{Counters, Feed, LineReader, Now};
use crate::server::ingest::batches::{Batches, Progress, Refused};
use crate::server::room::Held;
use crate::server::{read_body, refuse};
use crate::stamp::{self, Stamps};

/// Names under which senders put a row's text.
const TEXT: [&str; 5] = ["line", "message", "msg", "text", "_msg"];
/// Names under which they put its time.
const TIME: [&str; 6] = ["time", "timestamp", "@timestamp", "_time", "ts", "ns"];
/// Names under which they put its level.
const LEVEL: [&str; 3] = ["level", "severity", "priority"];

/// What was done with a body.
#[derive(Debug, Default, serde::Serialize)]
struct Taken {
    /// Rows stored.
    rows: usize,
    /// Rows that are not stored, as they are older than the retention keeps. Sending them again does not help.
    #[serde(skip_serializing_if = "is_zero")]
    too_old: usize,
    /// Nothing was stored, because the client's sequence says that it has been.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
    /// Lines that are no JSON object, and were stored as text: their numbers, and why.
    odd: Vec<Odd>,
}

#[derive(Debug, serde::Serialize)]
struct Odd {
    line: usize,
    reason: String,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Lines named in an answer at most.
const ODD_MAX: usize = 100;

/// What the parameters of a request say of its rows.
#[derive(Debug)]
struct Asked {
    /// Lines are texts, not JSON objects.
    plain: bool,
    /// Labels of all rows.
    labels: Vec<(String, String)>,
    how: Durability,
    /// This client sends no more.
    forget: bool,
    /// A client's key, and where it is in what it sends.
    position: Option<(Vec<u8>, u64)>,
}

impl Asked {
    fn of(headers: &HeaderMap, parameters: &str) -> Result<Asked, String> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        let plain = kind.starts_with("text/plain");
        let mut labels = Vec::new();
        let (mut how, mut forget) = (Durability::Now, false);
        let (mut client, mut sequence): (Option<String>, Option<u64>) = (None, None);
        for (name, value) in pairs(parameters) {
            match name.as_str() {
                "durable" if value == "false" || value == "0" => how = Durability::Policy,
                "durable" => how = Durability::Now,
                "forget" => forget = value == "true",
                "client" => client = Some(value),
                "sequence" => sequence = Some(value.parse().map_err(|_| format!("sequence={value} is no number"))?),
                _ => labels.push((name, value)),
            }
        }
        if labels.is_empty() {
            labels.push(("input".to_string(), "http".to_string()));
        }
        let position = match (client, sequence) {
            (Some(client), Some(sequence)) => Some((format!("client/{client}").into_bytes(), sequence)),
            (None, None) => None,
            _ => return Err("client and sequence come together".to_string()),
        };
        Ok(Asked { plain, labels, how, forget, position })
    }
}

/// Takes rows. Parameters are labels of all of them; `durable=false` answers before the sync. With `client` and `sequence`, which
/// grows from body to body, a body that is sent again because its answer was lost is not stored again; `forget=true` with an empty
/// body says that this client sends no more.
pub async fn ingest(
    State(shared): State<Arc<Shared>>,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = match Asked::of(&headers, parameters.as_deref().unwrap_or("")) {
        Ok(asked) => asked,
        Err(words) => return refuse(StatusCode::BAD_REQUEST, words),
    };
    let body = match read_body(body, &headers, &shared).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let how = asked.how;
    match tokio::task::spawn_blocking(move || take(&shared, body, asked)).await {
        Ok(result) => answer(result, how).await,
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Appends a body, or what of it is not stored yet as its client's position says.
fn take(shared: &Shared, body: Held, asked: Asked) -> Result<(Option<Receipt>, Taken), Refused> {
    let Asked { plain, labels, how, forget, position } = asked;
    let feed = Feed::new(shared.store.clone(), shared.stop.clone(), shared.counters("http"), shared.pace.clone());
    // One at a time, so that nobody comes between the look at a client's position and its change.
    let _one = position.is_some().then(|| shared.clients.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    let forgets = forget && body.is_empty();
    let progress = position.as_ref().map(|(key, sequence)| Progress::of(shared.store.position(key), *sequence));
    let stored = match progress {
        Some(Progress::Whole) if !forgets => {
            // It may have been taken a moment ago, and not be durable yet.
            shared.store.sync()?;
            return Ok((None, Taken { repeated: true, ..Taken::default() }));
        }
        Some(Progress::Rows(rows)) => rows,
        _ => 0,
    };
    let (mut batches, mut taken) = read(body, plain, labels, &feed, stored)?;
    match &position {
        Some((key, _)) if forgets => batches.forget(key),
        Some((key, sequence)) => batches.mark(key, *sequence),
        None => {}
    }
    let (receipt, too_old) = batches.append(how, &feed)?;
    taken.rows -= too_old;
    taken.too_old = too_old;
    Counters::add(&feed.counters.odd, taken.odd.len() as u64);
    Ok((Some(receipt), taken))
}

/// Answers, as soon as what was asked for is true.
async fn answer(result: Result<(Option<Receipt>, Taken), Refused>, how: Durability) -> Response {
    let failed = |error: duramen_store::Error| refuse(status_of(&error), error.to_string());
    match result {
        Ok((Some(receipt), taken)) if how == Durability::Now => match receipt.await {
            Ok(()) => Json(taken).into_response(),
            Err(error) => failed(error),
        },
        Ok((None, taken)) if how == Durability::Now => Json(taken).into_response(),
        Ok((_, taken)) => (StatusCode::ACCEPTED, Json(taken)).into_response(),
        Err(Refused { error, rows: 0 }) => failed(error),
        Err(Refused { error, rows }) => {
            let words = format!("{error}; the first {rows} rows of this body are stored, the rest is not");
            refuse(status_of(&error), words)
        }
    }
}

pub(super) fn status_of(error: &duramen_store::Error) -> StatusCode {
    use duramen_store::Error as E;
    match error {
        E::InvalidLabels { .. } | E::TimeOutOfRange { .. } => StatusCode::BAD_REQUEST,
        E::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        E::Going => StatusCode::SERVICE_UNAVAILABLE,
        E::TooManyStreams { .. } => StatusCode::TOO_MANY_REQUESTS,
        error if error.is_no_space() => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Turns a body into rows, of which the first so many are stored already.
fn read(
    mut body: Held,
    plain: bool,
    labels: Vec<(String, String)>,
    feed: &Feed,
    stored: usize,
) -> Result<(Batches, Taken), duramen_store::Error> {
    let now = Now::of(&feed.store);
    let (mut batches, mut taken) = (Batches::new(&feed.store, stored), Taken::default());
    if body.last().is_some_and(|&last| last != b'\n') {
        body.bytes.push(b'\n');
    }
    // An object is read whole; it is its text that comes in parts.
    let lines = split(&body, usize::MAX).lines;
    let mut reader = LineReader::new(Streams::new(labels.clone()));
    let mut json = JsonReader { labels, stamps: Stamps::default(), last: None };
    for (at, line) in lines.into_iter().enumerate() {
        if at % 100_000 == 0 {
            // Before memory is spent on all of them.
            batches.rows()?;
        }
        if plain {
            reader.push(&mut batches, line, now, feed)?;
            continue;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Map<String, Value>>(line) {
            Ok(object) => json.push(&mut batches, object, now, feed)?,
            Err(error) => {
                reader.push(&mut batches, line, now, feed)?;
                if taken.odd.len() < ODD_MAX {
                    taken.odd.push(Odd { line: at + 1, reason: error.to_string() });
                }
            }
        }
    }
    taken.rows = batches.rows()?;
    Ok((batches, taken))
}

/// What turns JSON objects into rows.
struct JsonReader {
    labels: Vec<(String, String)>,
    stamps: Stamps,
    last: Option<(Vec<(String, String)>, Stream)>,
}

impl JsonReader {
    fn push(
        &mut self,
        batch: &mut Batches,
        mut object: Map<String, Value>,
        now: Now,
        feed: &Feed,
    ) -> Result<(), duramen_store::Error> {
        let mut take = |names: &[&str]| names.iter().find_map(|name| object.shift_remove(*name));
        let text = take(&TEXT).map_or(String::new(), |value| words(&value));
        let time = take(&TIME).and_then(|value| self.time(&value, now));
        let level = take(&LEVEL).and_then(|value| Level::parse(&words(&value)));
        let own = take(&["labels", "stream"]);
        let mut labels = self.labels.clone();
        if let Some(Value::Object(own)) = &own {
            labels.retain(|(name, _)| !own.contains_key(name));
            labels.extend(own.iter().map(|(name, value)| (name.clone(), words(value))));
        }
        let stream = match &self.last {
            Some((known, stream)) if *known == labels => stream.clone(),
            _ => {
                let pairs: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let stream = feed.stream(&pairs)?;
                self.last = Some((labels, stream.clone()));
                stream
            }
        };
        let fields: Vec<(String, String)> = object.into_iter().map(|(name, value)| (name, words(&value))).collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let level = level.unwrap_or_else(|| stamp::level(text.as_bytes()));
        let (base, time) = time.map_or((now.base, now.time), |time| (TimeBase::Wall, time));
        feed.push(batch, &stream, &Row { base, time, level, text: text.as_bytes(), fields: &fields });
        Ok(())
    }

    /// Nanoseconds, microseconds, milliseconds or seconds by their size, or a text.
    fn time(&mut self, value: &Value, now: Now) -> Option<Nanoseconds> {
        match value {
            Value::Number(number) => {
                let number = number.as_f64()?;
                let whole = value.as_i64();
                Some(match number.abs() {
                    size if size >= 1e17 => whole?,
                    size if size >= 1e14 => whole?.checked_mul(1_000)?,
                    size if size >= 1e11 => whole?.checked_mul(1_000_000)?,
                    _ => (number * 1e9) as i64,
                })
            }
            Value::String(text) => self.stamps.head(text.as_bytes(), now.wall).time,
            _ => None,
        }
    }
}

/// A value as text.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The pairs of a URL's query.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'+' => bytes.push(b' '),
                b'%' => {
                    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                    match (digit(rest.next()), digit(rest.next())) {
                        (Some(high), Some(low)) => bytes.push((high << 4 | low) as u8),
                        _ => bytes.push(b'%'),
                    }
                }
                byte => bytes.push(byte),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (decode(n), decode(v))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_a_query_are_decoded() {
        let told = pairs("app=a+b&x=%22%e4%bd%a0%22&empty=&flag");
        let told: Vec<_> = told.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(told, [("app", "a b"), ("x", "\"你\""), ("empty", ""), ("flag", "")]);
    }
}
