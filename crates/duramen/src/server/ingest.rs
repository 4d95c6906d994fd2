//! `/ingest`: rows by HTTP. A body of JSON objects, one a line, or of plain lines; the answer comes when all of it is durable.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use duramen_store::{Batch, Durability, Level, Nanoseconds, Receipt, Stream};
use serde_json::{Map, Value};

use crate::daemon::Shared;
use crate::input::lines::split;
use crate::input::{Counters, Feed, LineReader, Now};
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
    let result = match tokio::task::spawn_blocking(move || take(&shared, body, asked)).await {
        Ok(result) => result,
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let failed = |error: duramen_store::Error| refuse(status_of(&error), error.to_string());
    match result {
        Ok((receipt, taken)) if how == Durability::Now => match receipt.await {
            Ok(()) => Json(taken).into_response(),
            Err(error) => failed(error),
        },
        Ok((_, taken)) => (StatusCode::ACCEPTED, Json(taken)).into_response(),
        Err(error) => failed(error),
    }
}

/// Appends a body, unless its client's position says that it has been.
fn take(shared: &Shared, body: Held, asked: Asked) -> Result<(Receipt, Taken), duramen_store::Error> {
    let Asked { plain, labels, how, forget, position } = asked;
    let feed = Feed::new(shared.store.clone(), shared.stop.clone(), shared.counters("http"), shared.pace.clone());
    let is_empty = body.is_empty();
    let (mut batch, mut taken) = read(body, plain, labels, &feed)?;
    // One at a time, so that nobody comes between the look at a client's position and its change.
    let _one = position.is_some().then(|| shared.clients.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    if let Some((key, sequence)) = &position {
        let before = shared.store.position(key).and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?)));
        if forget && is_empty {
            batch.set_position(key, &[]);
        } else if before.is_some_and(|before| *sequence <= before) {
            batch = Batch::new();
            taken = Taken { repeated: true, ..Taken::default() };
            // It may have been taken a moment ago, and not be durable yet.
            shared.store.sync()?;
        } else {
            batch.set_position(key, &sequence.to_le_bytes());
        }
    }
    let (rows, bytes) = (batch.len() as u64, batch.text_bytes() as u64);
    let receipt = shared.store.append_drain(&mut batch, how)?;
    let too_old = receipt.too_old();
    taken.rows -= too_old.rows;
    taken.too_old = too_old.rows;
    Counters::add(&feed.counters.rows, rows - too_old.rows as u64);
    Counters::add(&feed.counters.bytes, bytes - too_old.text_bytes as u64);
    Counters::add(&feed.counters.odd, taken.odd.len() as u64);
    Ok((receipt, taken))
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

/// Turns a body into rows.
fn read(
    mut body: Held,
    plain: bool,
    labels: Vec<(String, String)>,
    feed: &Feed,
) -> Result<(Batch, Taken), duramen_store::Error> {
    let now = Now::of(&feed.store);
    let (mut batch, mut taken) = (Batch::new(), Taken::default());
    if body.last().is_some_and(|&last| last != b'\n') {
        body.bytes.push(b'\n');
    }
    let lines = split(&body, duramen_store::Options::default().row_bytes_max).lines;
    let mut reader = LineReader::new(labels.clone());
    let mut json = JsonReader { labels, stamps: Stamps::default(), last: None };
    for (at, line) in lines.into_iter().enumerate() {
        if plain {
            reader.push(&mut batch, line, now, feed)?;
            continue;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Map<String, Value>>(line) {
            Ok(object) => json.push(&mut batch, object, now, feed)?,
            Err(error) => {
                reader.push(&mut batch, line, now, feed)?;
                if taken.odd.len() < ODD_MAX {
                    taken.odd.push(Odd { line: at + 1, reason: error.to_string() });
                }
            }
        }
    }
    taken.rows = batch.len();
    Ok((batch, taken))
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
        batch: &mut Batch,
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
        match time {
            Some(time) => batch.push(&stream, time, level, text.as_bytes(), &fields),
            None => batch.push_at(now.base, &stream, now.time, level, text.as_bytes(), &fields),
        }
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
