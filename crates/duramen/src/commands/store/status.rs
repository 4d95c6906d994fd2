//! `status` and `report`: how the daemon is and what happened, in plain words. Owns the words.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use duramen_store::{Options, Query, Store};

use crate::answer::Line;
use crate::cli::store::Look;
use crate::client::Daemon;
use crate::commands::store::ask::{Question, answer};
use crate::exit::Exit;
use crate::quantity::{show_bytes, show_count, show_counted};
use crate::server::status::Status;
use crate::stamp;

/// What the store says of itself.
const EVENTS: &str = "{duramen=\"events\"}";
/// Nobody knows how it goes on for longer.
const DAYS_TOLD_MAX: f64 = 3_650.0;
/// Events that are told.
const EVENTS_MAX: usize = 8;

/// Runs `status`.
///
/// # Errors
/// No daemon runs and the data cannot be opened; or a daemon does not answer.
pub fn run(arguments: &Look) -> anyhow::Result<Exit> {
    let Some(daemon) = find(arguments) else { return without_daemon(arguments) };
    let words = daemon.get("/status")?;
    if arguments.json {
        println!("{}", words.trim());
        return Ok(Exit::Complete);
    }
    let status: Status = serde_json::from_str(&words).context("the daemon answers in another form")?;
    let question = Question { text: EVENTS.to_string(), lines: Some(50), ..Question::default() };
    let mut events = Vec::new();
    for line in std::io::BufRead::lines(daemon.ask(&question, true, false, false)?) {
        events.extend(serde_json::from_str::<Line>(&line?).ok());
    }
    let mut out = std::io::stdout().lock();
    out.write_all(describe(&status, daemon.url(), stamp::wall_clock()).as_bytes())?;
    out.write_all(told(&events).as_bytes())?;
    Ok(if status.poisoned { Exit::Failure } else { Exit::Complete })
}

/// Runs `report`.
///
/// # Errors
/// As [`run`].
pub fn report(arguments: &Look) -> anyhow::Result<Exit> {
    let words = match find(arguments) {
        Some(daemon) => daemon.get("/report")?,
        None => {
            let (store, report) = open(arguments)?;
            store.close()?;
            report.to_string()
        }
    };
    if arguments.json {
        let lines: Vec<&str> = words.lines().collect();
        println!("{}", serde_json::to_string(&lines)?);
    } else {
        print!("{words}");
    }
    Ok(Exit::Complete)
}

fn find(arguments: &Look) -> Option<Daemon> {
    arguments.url.as_deref().map(Daemon::at).or_else(|| Daemon::of(&arguments.data.folder))
}

fn open(arguments: &Look) -> anyhow::Result<(Store, duramen_store::Report)> {
    let mut options = Options::default();
    options.journal.create = false;
    Ok(super::open(&arguments.data.folder, &options)?)
}

fn without_daemon(arguments: &Look) -> anyhow::Result<Exit> {
    let (store, _) = open(arguments)?;
    let stats = store.stats();
    let mut events = Vec::new();
    answer(&store, EVENTS.parse::<Query>()?, Some(50), true, &mut |row| {
        events.extend(row.ok().map(|row| Line::from(&row)));
        Ok(true)
    })?;
    store.close()?;
    println!("no daemon runs on {}", arguments.data.folder.display());
    println!("rows        {}", rows(stats.table_rows, stats.tables as u64, stats.table_bytes, stats.text_bytes));
    if stats.table_samples > 0 {
        println!("samples     {}", show_count(stats.table_samples));
    }
    if let Some(free) = stats.free_bytes {
        println!("disk        {} free", show_bytes(free));
    }
    print!("{}", told(&events));
    Ok(Exit::Complete)
}

fn rows(rows: u64, tables: u64, bytes: u64, text_bytes: u64) -> String {
    let ratio =
        if bytes > 0 { format!(", {:.1} of text to 1", text_bytes as f64 / bytes as f64) } else { String::new() };
    format!("{} in {} ({}{ratio})", show_count(rows), show_counted(tables, "table"), show_bytes(bytes))
}

/// A time span for people.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// A status in words.
fn describe(status: &Status, url: &str, now: i64) -> String {
    let mut out = String::new();
    let mut put = |name: &str, words: String| _ = writeln!(out, "{name:<10}  {words}");
    let running = span(Duration::from_nanos(u64::try_from(now - status.started).unwrap_or(0)).as_secs_f64());
    put("duramen", format!("{} at {url}, running for {running}", status.version));
    let settles = status.power_settles_seconds.map(|left| format!(", better in {left:.0} s if it lasts"));
    put("power", format!("{}{}", status.power, settles.unwrap_or_default()));
    let waiting = match status.appended.saturating_sub(status.durable) {
        0 => "everything".to_string(),
        records => {
            format!(
                "all up to {} of {}: {} wait for a sync",
                status.durable,
                status.appended,
                show_counted(records, "record")
            )
        }
    };
    let trouble = match (status.poisoned, status.no_space || status.space_short) {
        (true, _) => "; NOTHING IS TAKEN: the disk failed, start the daemon again",
        (false, true) => "; NOTHING IS TAKEN: the disk is full",
        _ => "",
    };
    let queued =
        if status.queue_bytes > 0 { format!(", {} queued", show_bytes(status.queue_bytes)) } else { String::new() };
    put("durable", format!("{waiting}{queued}; last sync {} ago{trouble}", span(status.last_sync_seconds)));
    let memory = show_bytes(status.memory_bytes);
    let stored = rows(status.table_rows, status.tables, status.table_bytes, status.text_bytes);
    if status.table_samples > 0 {
        put("samples", format!("{} in tables", show_count(status.table_samples)));
    }
    if status.opening {
        put("opening", "the journal is still being read: some is missing here, and nothing is taken".to_string());
    }
    put("rows", format!("{stored}; {memory} in memory; {}", show_counted(status.streams, "stream")));
    if status.rows_too_old > 0 {
        let count = show_count(status.rows_too_old);
        put("too old", format!("{count} rows or samples were not taken: they are older than the retention keeps"));
    }
    if let Some(free) = status.free_bytes {
        let left = status.days_left.map(|days| match days < DAYS_TOLD_MAX {
            true => format!(", {} left at this pace", span(days * 86_400.0)),
            false => ", over 10 years left at this pace".to_string(),
        });
        put("disk", format!("{} free{}", show_bytes(free), left.unwrap_or_default()));
    }
    let budget = status.device_bytes_per_day.map_or(String::new(), |budget| format!(" of {}", show_bytes(budget)));
    let given = show_bytes(status.device_bytes_today);
    let times =
        status.write_amplification.map(|times| format!("; {times:.1} bytes for each that came since the start"));
    let apart = span(status.commit_seconds);
    put("device", format!("{given}{budget} written today{}; syncs at most {apart} apart", times.unwrap_or_default()));
    for input in &status.inputs {
        let mut words = format!("{}, {}", show_counted(input.rows, "row"), show_bytes(input.bytes));
        for (count, what) in [(input.odd, "odd"), (input.lost, "LOST"), (input.waits, "waits")] {
            if count > 0 {
                let _ = write!(words, ", {} {what}", show_count(count));
            }
        }
        put("input", format!("{}: {words}", input.name));
    }
    out
}

/// Outages, gaps and the rest of what happened, newest first.
fn told(events: &[Line]) -> String {
    let mut out = String::new();
    let kind = |event: &Line| event.fields.get("event").cloned().unwrap_or_default();
    for (name, wanted) in [("outages", "outage"), ("gaps", "gap")] {
        let mut found = events.iter().filter(|event| kind(event) == wanted).take(EVENTS_MAX).peekable();
        if found.peek().is_none() {
            let _ = writeln!(out, "{name:<10}  none");
        }
        for (at, event) in found.enumerate() {
            let name = if at == 0 { name } else { "" };
            let _ = writeln!(out, "{name:<10}  {}  {}", stamp::show(event.ns), event.line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_said_loudly() {
        let status = Status { power: "low".into(), durable: 5, appended: 7, space_short: true, ..Status::default() };
        let words = describe(&status, "http://127.0.0.1:1", 0);
        assert!(words.contains("power       low"), "{words}");
        assert!(words.contains("all up to 5 of 7: 2 records wait for a sync"), "{words}");
        assert!(words.contains("NOTHING IS TAKEN: the disk is full"), "{words}");
    }

    #[test]
    fn what_it_costs_and_how_long_it_lasts_is_said() {
        let with = |days, times| {
            let told = Status { free_bytes: Some(1 << 30), days_left: days, ..Status::default() };
            describe(&Status { write_amplification: times, ..told }, "", 0)
        };
        let words = with(Some(12.34), Some(1.26));
        assert!(words.contains("1.0 GiB free, 12.3 days left at this pace"), "{words}");
        assert!(words.contains("written today; 1.3 bytes for each that came since the start; syncs"), "{words}");
        assert!(with(Some(5e6), None).contains("free, over 10 years left"), "{}", with(Some(5e6), None));
        assert!(!with(None, None).contains("left") && !with(None, None).contains("for each"));
    }

    #[test]
    fn what_the_retention_refused_is_said() {
        let old = Status { rows_too_old: 1_200, ..Status::default() };
        let words = describe(&old, "http://127.0.0.1:1", 0);
        assert!(words.contains("too old     1,200 rows or samples were not taken"), "{words}");
        assert!(!describe(&Status::default(), "", 0).contains("too old"));
    }

    #[test]
    fn events_are_told_by_kind() {
        let event = |kind: &str, text: &str| Line {
            time: String::new(),
            ns: 0,
            level: String::new(),
            labels: [].into(),
            line: text.into(),
            hex: None,
            fields: [("event".to_string(), kind.to_string())].into(),
            gap: false,
            id: String::new(),
        };
        let words = told(&[event("outage", "dark"), event("power", "no"), event("outage", "darker")]);
        assert!(words.contains("dark\n") && words.contains("darker") && !words.contains("no\n"), "{words}");
        assert!(words.contains("gaps        none"), "{words}");
    }
}
