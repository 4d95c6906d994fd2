//! `power`: says how the power is, tells the daemon of it, rehearses its failing. Owns the rehearsal.

use std::time::Duration;

use anyhow::Context as _;

use crate::answer::Line;
use crate::cli::store::{PowerArguments, PowerWord};
use crate::client::Daemon;
use crate::commands::store::ask::Question;
use crate::exit::Exit;
use crate::quantity::show_time;
use crate::server::power::PowerStatus;
use crate::stop::Stop;

/// Who rehearses.
const REHEARSAL: &str = "rehearsal";
/// A rehearsal that breaks off is forgotten after so many seconds.
const LASTS: u64 = 120;
/// How long mains may take to count again, beyond the time that it must last.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

/// Runs it.
///
/// # Errors
/// No daemon runs on the folder, or it does not answer, or the rehearsal shows a fault.
pub fn run(arguments: &PowerArguments, stop: &Stop) -> anyhow::Result<Exit> {
    let daemon = arguments.url.as_deref().map(Daemon::at).or_else(|| Daemon::of(&arguments.data.folder));
    let daemon = daemon.with_context(|| format!("no daemon runs on {}", arguments.data.folder.display()))?;
    let word = match arguments.what {
        None => return show(&daemon.get_json("/power")?, arguments.json),
        Some(PowerWord::Test) => return rehearse(&daemon, stop),
        Some(PowerWord::Mains) => "mains",
        Some(PowerWord::Battery) => "battery",
        Some(PowerWord::Low) => "low",
        Some(PowerWord::Going) => "going",
    };
    show(&daemon.tell_power(word, &arguments.source, None)?, arguments.json)
}

fn show(status: &PowerStatus, json: bool) -> anyhow::Result<Exit> {
    if json {
        println!("{}", serde_json::to_string(status)?);
        return Ok(Exit::Complete);
    }
    let settles = status.settles_seconds.map(|left| format!(", better in {left:.0} s if it lasts"));
    println!("power    {}{}", status.power, settles.unwrap_or_default());
    println!("durable  {} of {}", status.durable, status.appended);
    for source in &status.sources {
        let says = source.power.as_deref().unwrap_or("nothing yet");
        let silent = if source.silent { ", SILENT" } else { "" };
        let trouble = source.trouble.as_deref().map_or(String::new(), |trouble| format!(" ({trouble})"));
        println!(
            "source   {}: {says}, {:.0} s ago: {}{silent}{trouble}",
            source.source, source.seconds_ago, source.words
        );
    }
    Ok(Exit::Complete)
}

/// Goes through battery, low and mains, and looks at each what the daemon promises.
fn rehearse(daemon: &Daemon, stop: &Stop) -> anyhow::Result<Exit> {
    let environment = duramen_journal::disk::World::real().environment;
    let before: PowerStatus = daemon.get_json("/power")?;
    anyhow::ensure!(before.power == "mains", "the power is {} already: this is no time to rehearse", before.power);
    for word in ["battery", "low"] {
        let begin = environment.now();
        let status = daemon.tell_power(word, REHEARSAL, Some(LASTS))?;
        let took = environment.now().saturating_sub(begin);
        anyhow::ensure!(status.power == word, "the daemon was told {word} and says {}", status.power);
        anyhow::ensure!(
            status.durable >= before.appended,
            "{} of {} are durable after {word}",
            status.durable,
            before.appended
        );
        recorded(daemon, word)?;
        println!("{word:<8} everything taken before is durable after {}; the change is stored", show_time(took));
    }
    let begin = environment.now();
    let mut status = daemon.tell_power("mains", REHEARSAL, Some(LASTS))?;
    let patience = Duration::from_secs_f64(status.settles_seconds.unwrap_or(0.0)) + SETTLES_WITHIN;
    while status.power != "mains" {
        let waited = environment.now().saturating_sub(begin);
        anyhow::ensure!(
            waited < patience,
            "mains was told {} ago, and it is still {}",
            show_time(waited),
            status.power
        );
        stop.pause(Duration::from_millis(200))?;
        if let Some(signal) = stop.signal() {
            return Ok(Exit::Signal(signal));
        }
        status = daemon.get_json("/power")?;
    }
    recorded(daemon, "mains")?;
    let took = show_time(environment.now().saturating_sub(begin));
    println!("mains    counts again after {took}; the change is stored");
    Ok(Exit::Complete)
}

/// Sees that the newest record of a change tells of this one.
fn recorded(daemon: &Daemon, word: &str) -> anyhow::Result<()> {
    let text = "{duramen=\"events\"} event=power".to_string();
    let question = Question { text, lines: Some(1), ..Question::default() };
    let mut found = None;
    for line in std::io::BufRead::lines(daemon.ask(&question, true, false, false)?) {
        found = serde_json::from_str::<Line>(&line?).ok().or(found);
    }
    let to = found.and_then(|line| line.fields.get("to").cloned());
    anyhow::ensure!(to.as_deref() == Some(word), "no record of the change to {word} is stored");
    Ok(())
}
