//! `query --promql`: asks for samples in PromQL, now or over a span of time, and prints values or draws a chart. Owns how the answer
//! looks; the daemon or the store gives it.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use duramen_store::Options;
use duramen_store::promql::{self, Expression, Range};
use serde_json::Value;

use crate::answer::Output;
use crate::chart::{self, Frame, Line};
use crate::cli::store::Ask;
use crate::client::Daemon;
use crate::exit::Exit;
use crate::quantity::parse_time;
use crate::server::prometheus::{show_answer, show_matrix};
use crate::stamp;

/// Steps of a chart.
const STEPS: i64 = 240;
/// Rows of a chart.
const ROWS: usize = 16;
/// Series of which a chart has a line.
const LINES_MAX: usize = 30;

/// When to ask for.
enum When {
    /// One time, in milliseconds.
    At(i64),
    /// Many times.
    Over(Range),
}

/// Runs it.
///
/// # Errors
/// An expression or a time that is none, data that cannot be opened, a daemon that does not answer.
pub fn run(arguments: &Ask) -> anyhow::Result<Exit> {
    let expression = arguments.query.join(" ");
    anyhow::ensure!(
        !expression.is_empty(),
        "which series? For example: duramen query --promql 'rate(http_requests_total[5m])'"
    );
    // So that a bad one is told of the same way, whoever answers.
    let parsed = Expression::parse(&expression)?;
    let when = when(arguments)?;
    let daemon = match &arguments.url {
        Some(url) => Some(Daemon::at(url)),
        None => Daemon::of(&arguments.data.folder),
    };
    let data = match daemon {
        Some(daemon) => ask_daemon(&daemon, &expression, &when)?,
        None => ask_store(arguments, &parsed, &when)?,
    };
    let json = matches!(arguments.output, Output::Json);
    let mut out = io::stdout().lock();
    match &when {
        _ if json => writeln!(out, "{data}")?,
        When::At(_) => out.write_all(table(&data).as_bytes())?,
        When::Over(range) => out.write_all(drawn(&data, *range, out.is_terminal()).as_bytes())?,
    }
    Ok(Exit::Complete)
}

fn when(arguments: &Ask) -> anyhow::Result<When> {
    let now = stamp::wall_clock();
    let time = |text: &Option<String>| -> anyhow::Result<Option<i64>> {
        let parsed =
            text.as_deref().map(|text| stamp::parse_time(text, now).map_err(anyhow::Error::msg)).transpose()?;
        Ok(parsed.map(|time| time.div_euclid(1_000_000)))
    };
    let end_ms = time(&arguments.until)?.unwrap_or(now.div_euclid(1_000_000));
    let Some(start_ms) = time(&arguments.since)? else { return Ok(When::At(end_ms)) };
    let step_ms = match &arguments.step {
        Some(step) => parse_time(step).map_err(anyhow::Error::msg)?.as_millis() as i64,
        None => ((end_ms - start_ms) / STEPS).max(1_000),
    };
    Ok(When::Over(Range { start_ms, end_ms, step_ms: step_ms.max(1) }))
}

fn seconds(milliseconds: i64) -> String {
    format!("{}", milliseconds as f64 / 1e3)
}

/// A daemon's words for why there is no answer, the place of a bad part below them.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

fn ask_daemon(daemon: &Daemon, expression: &str, when: &When) -> anyhow::Result<Value> {
    let query = ("query", expression.to_string());
    let answer = match when {
        When::At(time) => daemon.json("/api/v1/query", &[query, ("time", seconds(*time))])?,
        When::Over(range) => {
            let step = ("step", seconds(range.step_ms));
            let span = [("start", seconds(range.start_ms)), ("end", seconds(range.end_ms))];
            daemon.json("/api/v1/query_range", &[query, span[0].clone(), span[1].clone(), step])?
        }
    };
    if let Some(words) = answer.get("error").and_then(Value::as_str) {
        return Err(Refused(words.to_string()).into());
    }
    answer.get("data").cloned().context("the daemon's answer has no data")
}

fn ask_store(arguments: &Ask, expression: &Expression, when: &When) -> anyhow::Result<Value> {
    let mut options = Options::default();
    options.journal.create = false;
    let (store, _) = super::open(&arguments.data.folder, &options)?;
    let options = promql::Options::default();
    let text = match when {
        When::At(time) => expression.instant(&store, *time, &options).map(|answer| show_answer(&answer)),
        When::Over(range) => expression.range(&store, *range, &options).map(|series| show_matrix(&series)),
    };
    let text = text?;
    store.close()?;
    serde_json::from_str(&text).context("an answer is JSON")
}

/// A series' name as PromQL writes it.
fn name(metric: &Value) -> String {
    let Some(labels) = metric.as_object() else { return "{}".to_string() };
    let own = labels.get("__name__").and_then(Value::as_str).unwrap_or("");
    let others: Vec<String> =
        labels.iter().filter(|(name, _)| *name != "__name__").map(|(name, value)| format!("{name}={value}")).collect();
    if others.is_empty() && !own.is_empty() { own.to_string() } else { format!("{own}{{{}}}", others.join(", ")) }
}

fn value_of(pair: &Value) -> &str {
    pair.get(1).and_then(Value::as_str).unwrap_or("")
}

/// One line a series, values aligned.
fn table(data: &Value) -> String {
    let result = &data["result"];
    let rows: Vec<(String, String)> = match data["resultType"].as_str() {
        Some("scalar" | "string") => vec![(String::new(), value_of(result).to_string())],
        Some("matrix") => {
            let series = result.as_array().map(Vec::as_slice).unwrap_or_default();
            let points = series.iter().flat_map(|own| {
                let values = own["values"].as_array().cloned().unwrap_or_default();
                values.into_iter().map(|pair| (name(&own["metric"]), format!("{} @{}", value_of(&pair), pair[0])))
            });
            points.collect()
        }
        _ => {
            let series = result.as_array().map(Vec::as_slice).unwrap_or_default();
            series.iter().map(|own| (name(&own["metric"]), value_of(&own["value"]).to_string())).collect()
        }
    };
    let width = rows.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{value:>width$}  {name}").trim_end().to_string() + "\n").collect()
}

/// A chart, and what its lines are.
fn drawn(data: &Value, range: Range, colours: bool) -> String {
    let series = data["result"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |own: &Value| {
        let pairs = own["values"].as_array().cloned().unwrap_or_default();
        let point = |pair: &Value| {
            let value = match value_of(pair) {
                "+Inf" => f64::INFINITY,
                "-Inf" => f64::NEG_INFINITY,
                text => text.parse().unwrap_or(f64::NAN),
            };
            ((pair[0].as_f64().unwrap_or(0.0) * 1e3).round() as i64, value)
        };
        Line { name: name(&own["metric"]), points: pairs.iter().map(point).collect() }
    };
    let lines: Vec<Line> = series.iter().take(LINES_MAX).map(line).collect();
    let columns = terminal_columns();
    // A step that is not there is a gap.
    let gap_ms = range.step_ms.saturating_mul(3) / 2;
    let frame = Frame { columns, rows: ROWS, span: (range.start_ms, range.end_ms), gap_ms, colours };
    let mut out = chart::draw(&lines, frame);
    if out.is_empty() {
        return "nothing to draw: no values in this time\n".to_string();
    }
    let show = |milliseconds: i64| stamp::show(milliseconds.saturating_mul(1_000_000));
    out += &format!("{}  to  {}, each {} s\n", show(range.start_ms), show(range.end_ms), seconds(range.step_ms));
    for (number, line) in lines.iter().enumerate() {
        let last = line.points.last().map_or(String::new(), |(_, value)| chart::short(*value));
        let mark =
            if colours { format!("\x1b[38;5;{}m━━\x1b[0m", chart::colour(number)) } else { "--".to_string() };
        out += &format!("{mark} {}  {last}\n", line.name);
    }
    if series.len() > lines.len() {
        out += &format!("and {} more\n", series.len() - lines.len());
    }
    out
}

fn terminal_columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    size.filter(|columns| *columns >= 20).unwrap_or(100)
}
