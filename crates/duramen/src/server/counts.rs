//! `/counts`: how many rows a query means, and when. Owns the answer's form, which the page and the command share.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query as Parameters, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use duramen_store::By;
use serde::{Deserialize, Serialize};

use crate::daemon::Shared;
use crate::server::query::{Asked, SEARCH_PATIENCE, busy};
use crate::server::refuse;
use crate::stamp;

/// What a client asks beside the query.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AskedCounts {
    query: String,
    since: Option<String>,
    until: Option<String>,
    step: Option<String>,
    by: Option<String>,
}

/// Rows in spans of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// The length of a span, in milliseconds.
    pub step_ms: f64,
    /// Where the spans begin that hold rows, in milliseconds since 1970.
    pub starts_ms: Vec<f64>,
    /// The values, those with most rows first.
    pub series: Vec<CountedSeries>,
    /// Rows in spans.
    pub total: u64,
    /// Rows whose time nobody knows.
    pub untimed: u64,
    /// Places that could not be read, and count nothing.
    pub damaged: Vec<String>,
}

/// The rows of one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountedSeries {
    /// The value.
    pub value: String,
    /// These are all values that are not counted apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other: bool,
    /// Rows in all spans.
    pub total: u64,
    /// Rows in each span.
    pub counts: Vec<u64>,
}

impl From<duramen_store::Counts> for Counted {
    fn from(counts: duramen_store::Counts) -> Counted {
        let series = counts.series.into_iter().map(|series| CountedSeries {
            value: series.value,
            other: series.other,
            total: series.total,
            counts: series.counts,
        });
        Counted {
            step_ms: counts.step as f64 / 1e6,
            starts_ms: counts.starts.iter().map(|start| *start as f64 / 1e6).collect(),
            series: series.collect(),
            total: counts.total,
            untimed: counts.untimed,
            damaged: counts.explained.damaged,
        }
    }
}

/// A step as people write it.
///
/// # Errors
/// It is none.
pub fn parse_step(text: &str) -> Result<i64, String> {
    let step = stamp::span_nanoseconds(text).filter(|step| *step > 0);
    step.ok_or_else(|| format!("{text} is no step: expected a time such as 30s, 5m, 1h, 1d"))
}

/// Answers with counts, when it is its turn.
pub async fn counts(State(shared): State<Arc<Shared>>, Parameters(asked): Parameters<AskedCounts>) -> Response {
    let question = Asked::of(asked.query, asked.since, asked.until).question();
    let step = asked.step.as_deref().map(parse_step).transpose();
    let (question, step) = match question.and_then(|question| Ok((question, step?))) {
        Ok(parsed) => parsed,
        Err(words) => return refuse(StatusCode::BAD_REQUEST, words),
    };
    let by = asked.by.as_deref().map(By::parse);
    let Ok(place) = shared.room.for_search(SEARCH_PATIENCE).await else { return busy() };
    let stop = shared.stop.clone();
    let counted = tokio::task::spawn_blocking(move || {
        let _place = place;
        shared.store.count_while(question, step, by.as_ref(), &mut || stop.signal().is_none())
    });
    match counted.await {
        Ok(Ok(counts)) => Json(Counted::from(counts)).into_response(),
        Ok(Err(error)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
