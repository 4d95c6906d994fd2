//! `/power`: what the daemon knows of the power, and what a script tells it. Owns the answer's form.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query as Parameters, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use duramen_store::{Power, Signal};
use serde::{Deserialize, Serialize};

use crate::daemon::Shared;
use crate::power::sources::Word;
use crate::server::refuse;

/// What is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    state: String,
    #[serde(default)]
    source: Option<String>,
    /// After so many seconds it is as if nothing had been told.
    #[serde(default)]
    lasts: Option<u64>,
}

/// How the power is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PowerStatus {
    /// The state.
    pub power: String,
    /// Seconds until a better state counts that has been told.
    pub settles_seconds: Option<f64>,
    /// The journal's watermark, and the last sequence given.
    pub durable: u64,
    /// See there.
    pub appended: u64,
    /// What each source says.
    pub sources: Vec<SourceStatus>,
}

/// What a source says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name.
    pub source: String,
    /// What it comes to, if it has said anything.
    pub power: Option<String>,
    /// In its own words.
    pub words: String,
    /// How long ago.
    pub seconds_ago: f64,
    /// It should have said something again by now.
    pub silent: bool,
    /// Why it cannot be asked.
    pub trouble: Option<String>,
}

impl PowerStatus {
    fn of(shared: &Shared) -> PowerStatus {
        let (power, left) = shared.watch.state();
        let stats = shared.store.stats().journal;
        let sources = shared.watch.said().into_iter().map(|said| SourceStatus {
            source: said.source,
            power: said.power.map(|power| power.to_string()),
            words: said.words,
            seconds_ago: said.ago.as_secs_f64(),
            silent: said.silent,
            trouble: said.trouble,
        });
        PowerStatus {
            power: power.to_string(),
            settles_seconds: left.map(|left| left.as_secs_f64()),
            durable: stats.durable,
            appended: stats.appended,
            sources: sources.collect(),
        }
    }
}

/// Says how it is.
pub async fn status(State(shared): State<Arc<Shared>>) -> Response {
    Json(PowerStatus::of(&shared)).into_response()
}

/// Takes a word; answers when everything taken so far is durable, if the power got worse.
pub async fn tell(State(shared): State<Arc<Shared>>, Parameters(told): Parameters<Told>) -> Response {
    let Some(power) = Power::parse(&told.state) else {
        return refuse(StatusCode::BAD_REQUEST, format!("{}: expected mains, battery, low or going", told.state));
    };
    let source = told.source.unwrap_or_else(|| "operator".to_string());
    let mut word = Word::new(&source, Signal::Is(power), power.word());
    word.lasts = told.lasts.map(Duration::from_secs);
    let work = move || shared.watch.tell(word).map(|_| PowerStatus::of(&shared));
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(status)) => Json(status).into_response(),
        Ok(Err(error)) => refuse(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}")),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
