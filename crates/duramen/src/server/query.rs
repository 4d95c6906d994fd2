//! `/query` and `/tail`: rows as JSON, one object a line, as they are found. Owns the bounds: a client that does not read is left
//! after a while, and an answer is never gathered in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query as Parameters, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use duramen_store::{Query, RowId};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_stream::wrappers::ReceiverStream;

use crate::answer::Line;
use crate::commands::store::ask::{Note, answer, explain};
use crate::daemon::Shared;
use crate::server::refuse;
use crate::stamp;
use crate::stop::{Stop, Woken};

/// Bytes that are sent at once.
const CHUNK_BYTES: usize = 32 << 10;
/// A client that takes nothing for so long is gone.
const CLIENT_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is tried again to send to one that takes nothing now.
const SEND_AGAIN: Duration = Duration::from_millis(1);
/// A search waits so long for its turn.
pub(super) const SEARCH_PATIENCE: Duration = Duration::from_secs(30);
/// How often a tail looks for new rows.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a client asks.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    query: String,
    since: Option<String>,
    until: Option<String>,
    lines: Option<usize>,
    reverse: bool,
    explain: bool,
}

impl Asked {
    /// What is asked, without any of its other settings.
    pub fn of(query: String, since: Option<String>, until: Option<String>) -> Asked {
        Asked { query, since, until, ..Asked::default() }
    }

    /// As the store takes it.
    ///
    /// # Errors
    /// A query or a time that cannot be read, in words.
    pub fn question(&self) -> Result<Query, String> {
        let now = stamp::wall_clock();
        let time = |text: &Option<String>| -> Result<Option<i64>, String> {
            let Some(text) = text else { return Ok(None) };
            // Nanoseconds, as programs have them; else as people write them.
            let nanoseconds = text.parse::<i64>().ok().filter(|number| number.abs() > 100_000_000_000);
            nanoseconds.map_or_else(|| stamp::parse_time(text, now), Ok).map(Some)
        };
        let query: Query = self.query.parse().map_err(|error: duramen_store::ParseError| error.to_string())?;
        Ok(Query { from: time(&self.since)?, to: time(&self.until)?, gaps: true, ..query })
    }
}

/// The sending side of an answer. It waits without the runtime, which may be about to end.
struct Sender {
    stop: Arc<Stop>,
    sender: mpsc::Sender<Result<Bytes, std::io::Error>>,
    buffer: Vec<u8>,
}

impl Sender {
    fn put(&mut self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.buffer, value)?;
        self.buffer.push(b'\n');
        if self.buffer.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Sends what there is; an error: nobody listens any more.
    fn flush(&mut self) -> anyhow::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut bytes = Ok(Bytes::from(std::mem::take(&mut self.buffer)));
        let mut waited = Duration::ZERO;
        loop {
            match self.sender.try_send(bytes) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(unsent)) => bytes = unsent,
                Err(TrySendError::Closed(_)) => anyhow::bail!("the client went away"),
            }
            anyhow::ensure!(waited < CLIENT_PATIENCE, "the client takes nothing");
            anyhow::ensure!(self.stop.pause(SEND_AGAIN)? != Woken::Stopped, "the daemon ends");
            waited += SEND_AGAIN;
        }
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// An answer that `work` writes on a thread that may wait.
fn stream(stop: Arc<Stop>, work: impl FnOnce(&mut Sender) -> anyhow::Result<()> + Send + 'static) -> Response {
    let (sender, receiver) = mpsc::channel(16);
    tokio::task::spawn_blocking(move || {
        let mut sender = Sender { stop, sender, buffer: Vec::new() };
        // Whoever went away needs no answer.
        let _ = work(&mut sender).and_then(|()| sender.flush());
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(ReceiverStream::new(receiver))).into_response()
}

/// Too many searches run.
pub(super) fn busy() -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "too many searches are being answered: ask again later")
}

/// Answers a query, when it is its turn.
pub async fn query(State(shared): State<Arc<Shared>>, Parameters(asked): Parameters<Asked>) -> Response {
    let question = match asked.question() {
        Ok(question) => question,
        Err(words) => return refuse(StatusCode::BAD_REQUEST, words),
    };
    let Ok(place) = shared.room.for_search(SEARCH_PATIENCE).await else { return busy() };
    stream(shared.stop.clone(), move |sender| {
        let _place = place;
        let told = answer(&shared.store, question, asked.lines, asked.reverse, &mut |row| {
            match row {
                Ok(row) => sender.put(&Line::from(&row))?,
                Err(error) => sender.put(&Note { error: Some(error.to_string()), ..Note::default() })?,
            }
            Ok(shared.stop.signal().is_none())
        })?;
        if asked.explain {
            sender.put(&Note { explain: Some(explain(&told)), ..Note::default() })?;
        }
        Ok(())
    })
}

/// Answers with the last rows, then with new ones as they come. It waits for no turn, since it would keep it.
pub async fn tail(State(shared): State<Arc<Shared>>, Parameters(asked): Parameters<Asked>) -> Response {
    let question = match asked.question() {
        Ok(question) => question,
        Err(words) => return refuse(StatusCode::BAD_REQUEST, words),
    };
    stream(shared.stop.clone(), move |sender| {
        let mut last: Option<RowId> = shared.store.last_row();
        answer(&shared.store, question.clone(), asked.lines.or(Some(10)), false, &mut |row| {
            match row {
                Ok(row) => {
                    last = last.max(Some(row.id));
                    sender.put(&Line::from(&row))?;
                }
                Err(error) => sender.put(&Note { error: Some(error.to_string()), ..Note::default() })?,
            }
            Ok(true)
        })?;
        sender.flush()?;
        while shared.stop.signal().is_none() && !sender.is_closed() {
            let _ = shared.stop.pause(LOOK_EVERY);
            for row in shared.store.query(Query { after: last, ..question.clone() })? {
                let Ok(row) = row else { continue };
                last = last.max(Some(row.id));
                sender.put(&Line::from(&row))?;
            }
            sender.flush()?;
        }
        Ok(())
    })
}
