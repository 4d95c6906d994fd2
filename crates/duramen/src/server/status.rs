//! `/healthz`, `/status`, `/metrics`: how the daemon is. Owns the figures' names.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use crate::daemon::Shared;
use crate::server::refuse;

/// Whether it takes rows.
pub async fn health(State(shared): State<Arc<Shared>>) -> Response {
    if shared.report.get().is_none() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, duramen_store::Error::Opening.to_string());
    }
    let stats = shared.store.stats();
    if stats.journal.poisoned {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "the journal has failed: nothing is taken until the daemon is restarted",
        );
    }
    if stats.journal.no_space || stats.space_short {
        return refuse(StatusCode::INSUFFICIENT_STORAGE, "the disk is full: nothing is taken until there is space");
    }
    "ok\n".into_response()
}

/// How the daemon is, for programs; the command `status` puts it in words.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Since when it runs, in nanoseconds.
    pub started: i64,
    /// How the machine is supplied: mains, battery, low, going.
    pub power: String,
    /// Seconds until a better state that has been told counts.
    pub power_settles_seconds: Option<f64>,
    /// All rows up to this sequence are durable.
    pub durable: u64,
    /// The highest sequence given.
    pub appended: u64,
    /// Bytes that wait for the disk.
    pub queue_bytes: u64,
    /// Seconds since the last sync.
    pub last_sync_seconds: f64,
    /// The journal takes nothing for want of space.
    pub no_space: bool,
    /// The journal takes nothing until the daemon is restarted.
    pub poisoned: bool,
    /// The journal is still being read: answers may lack what is not read yet, and nothing is taken.
    #[serde(default)]
    pub opening: bool,
    /// There is less free space than is to be kept.
    #[serde(default)]
    pub space_short: bool,
    /// Free bytes of the file system, if it says so.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// Days until the disk is full, if it goes on as in the last days. `None`: nobody knows yet, or the retention keeps the store
    /// smaller than that.
    #[serde(default)]
    pub days_left: Option<f64>,
    /// Bytes that the device was given today, counted in UTC.
    #[serde(default)]
    pub device_bytes_today: u64,
    /// How many it shall be given at most.
    #[serde(default)]
    pub device_bytes_per_day: Option<u64>,
    /// Seconds that rows of sources that cannot wait stay unsynced at most, now.
    #[serde(default)]
    pub commit_seconds: f64,
    /// Streams known.
    pub streams: u64,
    /// Bytes of rows in memory.
    pub memory_bytes: u64,
    /// Live tables, their rows, their bytes, and the bytes of text in them.
    pub tables: u64,
    /// Rows in tables.
    pub table_rows: u64,
    /// Samples in tables.
    #[serde(default)]
    pub table_samples: u64,
    /// Bytes of tables.
    pub table_bytes: u64,
    /// Bytes of text in tables.
    pub text_bytes: u64,
    /// Bytes handed to the device by the journal since the start.
    pub journal_bytes: u64,
    /// Bytes of tables written since the start, by sealing and by merging.
    pub sealed_bytes: u64,
    /// The same by merging.
    pub merged_bytes: u64,
    /// Bytes that the device was given for each byte that was taken, since the start; `None`: nothing was taken.
    #[serde(default)]
    pub write_amplification: Option<f64>,
    /// Rows refused because they were older than the retention.
    pub rows_too_old: u64,
    /// What the inputs have done.
    pub inputs: Vec<InputStatus>,
}

/// What one input has done.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct InputStatus {
    /// Its name.
    pub name: String,
    /// Rows that the store took.
    pub rows: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// Rows that did not come as they should.
    pub odd: u64,
    /// Rows known to be lost on the way.
    pub lost: u64,
    /// How often it waited for the store.
    pub waits: u64,
}

impl Status {
    /// How the daemon is now.
    pub fn of(shared: &Shared) -> Status {
        let stats = shared.store.stats();
        let inputs = shared.inputs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let inputs = inputs.iter().map(|(name, counters)| InputStatus {
            name: name.clone(),
            rows: get(&counters.rows),
            bytes: get(&counters.bytes),
            odd: get(&counters.odd),
            lost: get(&counters.lost),
            waits: get(&counters.waits),
        });
        let (device_bytes_today, device_bytes_per_day, commit) = shared.pace.figures();
        let (power, left) = shared.watch.state();
        let now = duramen_journal::disk::World::real().environment.now();
        Status {
            version: env!("CARGO_PKG_VERSION").to_string(),
            started: shared.started,
            power: power.to_string(),
            power_settles_seconds: left.map(|left| left.as_secs_f64()),
            durable: stats.journal.durable,
            appended: stats.journal.appended,
            queue_bytes: stats.journal.queue_bytes as u64,
            last_sync_seconds: now.saturating_sub(stats.journal.last_sync).as_secs_f64(),
            no_space: stats.journal.no_space,
            poisoned: stats.journal.poisoned,
            opening: shared.report.get().is_none(),
            space_short: stats.space_short,
            free_bytes: stats.free_bytes,
            days_left: days_left(&stats, shared),
            device_bytes_today,
            device_bytes_per_day,
            commit_seconds: commit.as_secs_f64(),
            streams: stats.streams as u64,
            memory_bytes: stats.memory_bytes as u64,
            tables: stats.tables as u64,
            table_rows: stats.table_rows,
            table_samples: stats.table_samples,
            table_bytes: stats.table_bytes,
            text_bytes: stats.text_bytes,
            journal_bytes: stats.journal.device_bytes,
            sealed_bytes: stats.sealed_bytes,
            merged_bytes: stats.merged_bytes,
            write_amplification: stats.write_amplification(),
            rows_too_old: stats.rows_too_old,
            inputs: inputs.collect(),
        }
    }
}

/// A start of which nothing can be foreseen yet.
const JUST_NOW: f64 = 600.0;

fn days_left(stats: &duramen_store::Stats, shared: &Shared) -> Option<f64> {
    let seconds = crate::stamp::wall_clock().saturating_sub(shared.started) as f64 / 1e9;
    let config = &shared.config.store;
    let free = stats.free_bytes?.saturating_sub(config.free_bytes_min.0) as f64;
    // What the tables say of the last days is known at once. A new store has only what came since the start, which lies in the
    // journal as it is until it is sealed.
    let since_start = || {
        let grown = if stats.sealed_bytes > 0 { stats.sealed_bytes } else { stats.taken_bytes };
        (seconds > JUST_NOW).then(|| grown as f64 / seconds * 86_400.0)
    };
    let rate = stats.grown_bytes_per_day.map(|grown| grown as f64).or_else(since_start)?;
    let by_age = config.retention_age.map(|age| rate * age.0.as_secs_f64() / 86_400.0);
    let by_size = config.retention_bytes.map(|bytes| bytes.0 as f64);
    let kept = by_age.into_iter().chain(by_size).reduce(f64::min);
    until_full(free, rate, kept.map(|kept| kept - stats.table_bytes as f64))
}

/// Days until so many bytes are used up at so many a day; `None`: never, also because the store does not grow by more than
/// `growth_max`.
fn until_full(free: f64, rate: f64, growth_max: Option<f64>) -> Option<f64> {
    (rate > 0.0 && growth_max.is_none_or(|max| free < max)).then(|| free / rate)
}

/// How the daemon is.
pub async fn status(State(shared): State<Arc<Shared>>) -> Response {
    Json(Status::of(&shared)).into_response()
}

/// What opening found, in words.
pub async fn report(State(shared): State<Arc<Shared>>) -> Response {
    match shared.report.get() {
        Some(report) => report.to_string().into_response(),
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, duramen_store::Error::Opening.to_string()),
    }
}

/// The same as Prometheus reads it.
pub async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let status = Status::of(&shared);
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(out, "# HELP duramen_{name} {help}\n# TYPE duramen_{name} {kind}\nduramen_{name} {value}");
    };
    let power = ["mains", "battery", "low", "going"].iter().position(|word| *word == status.power).unwrap_or(0);
    put("power", "gauge", "0 mains, 1 battery, 2 low, 3 going.", power as f64);
    put("durable_sequence", "gauge", "All rows up to this sequence are durable.", status.durable as f64);
    put("appended_sequence", "gauge", "The highest sequence given.", status.appended as f64);
    put("queue_bytes", "gauge", "Bytes that wait for the disk.", status.queue_bytes as f64);
    put("last_sync_seconds", "gauge", "Seconds since the last sync.", status.last_sync_seconds);
    put(
        "no_space",
        "gauge",
        "1 while the journal takes nothing for want of space.",
        f64::from(u8::from(status.no_space)),
    );
    put("poisoned", "gauge", "1 if the journal takes nothing until a restart.", f64::from(u8::from(status.poisoned)));
    put("free_bytes", "gauge", "Free bytes of the file system.", status.free_bytes.unwrap_or(0) as f64);
    put("device_bytes_today", "gauge", "Bytes given to the device today.", status.device_bytes_today as f64);
    put("commit_seconds", "gauge", "Seconds that rows may stay unsynced.", status.commit_seconds);
    put("streams", "gauge", "Streams known.", status.streams as f64);
    put("memory_bytes", "gauge", "Bytes of rows in memory.", status.memory_bytes as f64);
    put("tables", "gauge", "Live tables.", status.tables as f64);
    put("table_rows", "gauge", "Rows in tables.", status.table_rows as f64);
    put("table_samples", "gauge", "Samples in tables.", status.table_samples as f64);
    put("table_bytes", "gauge", "Bytes of tables.", status.table_bytes as f64);
    put("text_bytes", "gauge", "Bytes of text in tables, before compression.", status.text_bytes as f64);
    put(
        "journal_written_bytes_total",
        "counter",
        "Bytes handed to the device by the journal.",
        status.journal_bytes as f64,
    );
    put("sealed_bytes_total", "counter", "Bytes of tables written from memory.", status.sealed_bytes as f64);
    put("merged_bytes_total", "counter", "Bytes of tables written by merges.", status.merged_bytes as f64);
    // Without anything taken there is nothing to compare with, and a figure would be a wrong one.
    if let Some(times) = status.write_amplification {
        put("write_amplification", "gauge", "Bytes given to the device for each byte taken.", times);
    }
    if let Some(days) = status.days_left {
        put("disk_days_left", "gauge", "Days until the disk is full, as in the last days.", days);
    }
    put("rows_too_old_total", "counter", "Rows refused as older than the retention.", status.rows_too_old as f64);
    put("start_time_seconds", "gauge", "When the daemon was started.", status.started as f64 / 1e9);
    for (name, help, get) in [
        ("rows", "Rows taken.", (|input: &InputStatus| input.rows) as fn(&InputStatus) -> u64),
        ("bytes", "Bytes of text taken.", |input| input.bytes),
        (
            "odd_rows",
            "Rows that were not of the input's form: lines are kept as text, samples are not kept.",
            |input| input.odd,
        ),
        ("lost_rows", "Rows known to be lost on the way.", |input| input.lost),
        ("waits", "Times that the input waited for the store.", |input| input.waits),
    ] {
        let _ = writeln!(out, "# HELP duramen_input_{name}_total {help}\n# TYPE duramen_input_{name}_total counter");
        for input in &status.inputs {
            let _ = writeln!(out, "duramen_input_{name}_total{{input=\"{}\"}} {}", input.name, get(input));
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], out).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_the_retention_keeps_from_filling_has_no_days_left() {
        assert_eq!(until_full(1_000.0, 100.0, None), Some(10.0));
        assert_eq!(until_full(1_000.0, 100.0, Some(2_000.0)), Some(10.0));
        assert_eq!(until_full(1_000.0, 100.0, Some(900.0)), None);
        assert_eq!(until_full(1_000.0, 0.0, None), None);
    }
}
