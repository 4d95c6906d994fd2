//! `demo`: a daemon takes this host's log lines, by HTTP and from a file that grows; it is killed with -9 again and again and
//! started anew, told that the power fails, and in the end what it stored is compared with what it was given, line by line. Owns
//! the story and its table; [`child`] is the process that is killed.
//!
//! kill -9 leaves the kernel alive, so what this shows is that nothing acknowledged needs the dead process. Power cuts are proven
//! on the simulated disk.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the demo's input and the file that grows are ordinary files outside the data folder; one thread kills"
)]

use std::fs::{self, File};
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use duramen_journal::disk::World;
use rustix::process::{Signal, kill_process};

use crate::answer::Line;
use crate::cli;
use crate::client::Daemon;
use crate::commands::demo::material::Material;
use crate::commands::store::ask::Question;
use crate::exit::Exit;
use crate::input::lines::split;
use crate::quantity::{show_bytes, show_count, show_counted, show_time};
use crate::scratch::TemporaryFolder;
use crate::server::status::Status;
use crate::stop::Stop;

mod child;

use child::{Place, Running, last_words};

/// Bytes that are sent, and added to the file, at once.
const PIECE_BYTES: usize = 16 << 10;
/// How long the daemon may take to have read the file to its end.
const FILE_PATIENCE: Duration = Duration::from_secs(20);
/// How long a change of the power may take to be seen.
const POWER_PATIENCE: Duration = Duration::from_secs(10);

/// The label of what is sent by HTTP.
const SENT: (&str, &str) = ("via", "http");

/// A broken promise, as opposed to a demo that could not run.
#[derive(Debug)]
struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

/// Runs the demo.
///
/// # Errors
/// An acknowledged line was lost, a line was stored twice or changed (the folder then stays as evidence), or the demo cannot run
/// here.
pub fn run(arguments: &cli::Demo, stop: &Stop) -> anyhow::Result<Exit> {
    let world = World::real();
    let begin = world.environment.now();
    let mut folder = TemporaryFolder::make(arguments.folder.as_deref(), "demo", &world)?;
    folder.keep = arguments.keep;
    let ended = perform(arguments, stop, &world, folder.path());
    match ended {
        // Ctrl-C may have made anything fail: the wish to stop decides.
        _ if stop.signal().is_some() => {
            let what = if folder.keep { "" } else { ", its folder is removed" };
            eprintln!("duramen: stopped; the daemon is gone{what}");
            return Ok(Exit::Signal(stop.signal().unwrap_or_default()));
        }
        Err(error) => {
            folder.keep |= error.downcast_ref::<Broken>().is_some();
            if folder.keep {
                eprintln!("duramen: the evidence stays in {}", folder.path().display());
            }
            return Err(error);
        }
        Ok(()) => {}
    }
    println!("time          {}", show_time(world.environment.now().saturating_sub(begin)));
    Ok(Exit::Complete)
}

fn perform(arguments: &cli::Demo, stop: &Stop, world: &World, folder: &Path) -> anyhow::Result<()> {
    let input = folder.join("input.log");
    let system = world.disk.file_system(folder).context("cannot tell the file system")?;
    let material = Material::gather(&input, system.free_bytes)?;
    println!(
        "A daemon collects log lines; it is killed with -9; nothing acknowledged may be missing, nothing stored twice.\n"
    );
    println!("input         {}", material.origin);
    let (bytes, lines) = (show_bytes(material.bytes), show_counted(material.lines, "line"));
    println!("              {bytes}, {lines}: one half sent by HTTP, one half in a file that grows");
    let where_to = if system.volatile { " (memory: fine for kill -9, not for power cuts)" } else { "" };
    println!("data          {} on {}{where_to}\n", folder.join("data").display(), system.kind);
    let mut bytes = fs::read(&input).context("cannot read the input")?;
    if bytes.last().is_some_and(|&last| last != b'\n') {
        bytes.push(b'\n');
    }
    let middle = memchr::memchr(b'\n', &bytes[bytes.len() / 2..]).map_or(0, |end| bytes.len() / 2 + end + 1);
    let (sent, filed) = bytes.split_at(middle);
    let place =
        Place { data: folder.join("data"), followed: folder.join("followed.log"), log: folder.join("daemon.log") };
    let (sent, filed) = (Given::new(sent), Given::new(filed));
    let mut stage = Stage { world, stop, place: &place, sent, filed, acknowledged: 0, sequence: 0 };
    let result = stage.perform(arguments);
    result.map_err(|error| match error.downcast::<Broken>() {
        Ok(broken) => broken.into(),
        Err(error) => match last_words(&place.log) {
            words if words.is_empty() => error,
            words => error.context(format!("the daemon's last words: {words}")),
        },
    })
}

/// Lines that are given to the daemon, piece by piece.
struct Given<'a> {
    bytes: &'a [u8],
    /// The rows that they are to become.
    rows: Vec<&'a [u8]>,
    /// Bytes given.
    given: usize,
}

impl<'a> Given<'a> {
    fn new(bytes: &'a [u8]) -> Given<'a> {
        Given { bytes, rows: rows_of(bytes), given: 0 }
    }

    /// The next whole lines, not many more bytes than a piece has.
    fn piece(&self) -> &'a [u8] {
        let rest = &self.bytes[self.given..];
        let from = PIECE_BYTES.min(rest.len());
        let end = memchr::memchr(b'\n', &rest[from..]).map_or(rest.len(), |end| from + end + 1);
        &rest[..end]
    }
}

/// The rows that lines become: as the daemon takes them.
fn rows_of(bytes: &[u8]) -> Vec<&[u8]> {
    split(bytes, duramen_store::Options::default().row_bytes_max).lines
}

/// The parts of one demonstration, and how far it is.
struct Stage<'a> {
    world: &'a World,
    stop: &'a Stop,
    place: &'a Place,
    /// Lines for HTTP.
    sent: Given<'a>,
    /// Lines for the file.
    filed: Given<'a>,
    /// Rows sent by HTTP of which the daemon has said that they are durable.
    acknowledged: usize,
    /// The number of the last body.
    sequence: u64,
}

/// What a daemon has.
struct Stored {
    sent: usize,
    filed: usize,
}

impl Stage<'_> {
    fn perform(&mut self, arguments: &cli::Demo) -> anyhow::Result<()> {
        drop(File::create(&self.place.followed).context("cannot make the file that grows")?);
        println!("              acknowledged     recovered          lost  of the file      up again");
        let mut running = Running::start(self.place, false, self.stop)?;
        let mut lost = 0;
        for kill in 1..=arguments.kills {
            let left = self.sent.rows.len() - self.acknowledged;
            let goal = self.acknowledged + self.random(left / (arguments.kills - kill + 2) as usize)?;
            self.feed(&running.daemon, goal)?;
            self.feed_until_killed(running)?;
            let began = self.world.environment.now();
            running = Running::start(self.place, arguments.keep && kill == arguments.kills, self.stop)?;
            let up = self.world.environment.now().saturating_sub(began);
            let stored = self.compare(&running.daemon)?;
            lost += self.row(&format!("kill -9 #{kill}"), &stored, &show_time(up));
        }
        self.feed(&running.daemon, self.sent.rows.len())?;
        let stored = self.settle(&running.daemon)?;
        lost += self.row("to the end", &stored, "-");
        println!("              (recovered beyond acknowledged: stored, but killed before the word of it)\n");
        self.power(&running)?;
        println!("lost          {}", if lost == 0 { "nothing".to_string() } else { show_counted(lost as u64, "line") });
        self.events(&running.daemon, arguments.kills)?;
        if lost > 0 {
            return Err(
                Broken(format!("{} that had been acknowledged were lost", show_counted(lost as u64, "line"))).into()
            );
        }
        self.verify(&stored)?;
        if arguments.keep {
            let process = running.process().as_raw_nonzero();
            println!("kept          {}/ (process {process}: `kill {process}` ends it)", running.daemon.url());
            println!("              data and what the daemon says: {}", self.place.data.with_file_name("").display());
            return Ok(());
        }
        running.end()
    }

    fn row(&self, name: &str, stored: &Stored, up: &str) -> usize {
        let lost = self.acknowledged.saturating_sub(stored.sent);
        let count = |count: usize| show_count(count as u64);
        let numbers = [self.acknowledged, stored.sent, lost].map(count);
        println!(
            "{name:<12}  {:>12}  {:>12}  {:>12}  {:>11}  {up:>12}",
            numbers[0],
            numbers[1],
            numbers[2],
            count(stored.filed)
        );
        lost
    }

    /// Sends lines and lets the file grow, until so many are acknowledged.
    fn feed(&mut self, daemon: &Daemon, goal: usize) -> anyhow::Result<()> {
        while self.acknowledged < goal {
            if self.stop.signal().is_some() {
                anyhow::bail!("stopped");
            }
            self.feed_piece(daemon)?;
        }
        Ok(())
    }

    fn feed_piece(&mut self, daemon: &Daemon) -> anyhow::Result<()> {
        // The file grows whether or not somebody reads, as far as the other half has come.
        if self.filed.given <= self.sent.given {
            self.grow(self.filed.piece())?;
        }
        let piece = self.sent.piece();
        daemon.send(piece, "demo", self.sequence + 1, &[(SENT.0.to_string(), SENT.1.to_string())])?;
        self.sequence += 1;
        self.sent.given += piece.len();
        self.acknowledged += rows_of(piece).len();
        Ok(())
    }

    fn grow(&mut self, piece: &[u8]) -> anyhow::Result<()> {
        let mut file =
            File::options().append(true).open(&self.place.followed).context("cannot open the file that grows")?;
        file.write_all(piece).context("cannot write the file that grows")?;
        self.filed.given += piece.len();
        Ok(())
    }

    /// Goes on while the daemon is killed at a random moment.
    fn feed_until_killed(&mut self, running: Running) -> anyhow::Result<()> {
        let process = running.process();
        let linger = Duration::from_micros(self.random(20_000)? as u64);
        let assassin = std::thread::spawn(move || {
            std::thread::sleep(linger);
            kill_process(process, Signal::KILL)
        });
        // What was sent last has no answer, and is sent again to the next one.
        while self.sent.given < self.sent.bytes.len() && self.feed_piece(&running.daemon).is_ok() {}
        assassin
            .join()
            .map_err(|_| anyhow::anyhow!("the killing thread panicked"))?
            .context("cannot kill the daemon")?;
        running.kill()
    }

    /// Compares what the daemon has with the beginnings of what it was given.
    fn compare(&self, daemon: &Daemon) -> anyhow::Result<Stored> {
        let sent = compare(daemon, &format!("{{{}=\"{}\"}}", SENT.0, SENT.1), &self.sent.rows)?;
        let filed = compare(daemon, "{file=~\".+\"}", &self.filed.rows)?;
        Ok(Stored { sent, filed })
    }

    /// Waits until the file has been read to its end.
    fn settle(&mut self, daemon: &Daemon) -> anyhow::Result<Stored> {
        self.grow(&self.filed.bytes[self.filed.given..])?;
        let begin = self.world.environment.now();
        loop {
            let stored = self.compare(daemon)?;
            let late = self.world.environment.now().saturating_sub(begin) > FILE_PATIENCE;
            if stored.filed == self.filed.rows.len() || late {
                return Ok(stored);
            }
            self.stop.pause(Duration::from_millis(100))?;
        }
    }

    /// Tells the daemon that the power fails, and sees that everything becomes durable.
    fn power(&self, running: &Running) -> anyhow::Result<()> {
        let mut said = Vec::new();
        for (signal, name, power) in [(Signal::USR1, "SIGUSR1", "battery"), (Signal::USR1, "SIGUSR1", "low")] {
            let begin = self.world.environment.now();
            running.signal(signal)?;
            loop {
                let status: Status = running.daemon.get_json("/status")?;
                let took = self.world.environment.now().saturating_sub(begin);
                if status.power == power && status.durable == status.appended {
                    said.push(format!("{name}: {power}, everything durable within {}", show_time(took)));
                    break;
                }
                if took > POWER_PATIENCE {
                    return Err(Broken(format!("{name} did not make it say {power}, but {}", status.power)).into());
                }
                self.stop.pause(Duration::from_millis(1))?;
            }
        }
        running.signal(Signal::USR2)?;
        println!(
            "power         {}\n              SIGUSR2: mains, which counts after it has lasted",
            said.join("\n              ")
        );
        Ok(())
    }

    /// Says what the store says of itself: outages and gaps.
    fn events(&self, daemon: &Daemon, kills: u32) -> anyhow::Result<()> {
        let question = Question { text: "{duramen=\"events\"}".to_string(), ..Question::default() };
        let (mut outages, mut gaps) = (0, 0);
        for row in rows(daemon, &question)? {
            match row?.fields.get("event").map(String::as_str) {
                Some("outage") => outages += 1,
                Some("gap") => gaps += 1,
                _ => {}
            }
        }
        println!(
            "gaps          {}; {} recorded",
            if gaps == 0 { "none".to_string() } else { show_count(gaps) },
            show_counted(outages, "outage")
        );
        if outages != u64::from(kills) || gaps > 0 {
            return Err(Broken(format!("{kills} kills left {outages} outages and {gaps} gaps")).into());
        }
        Ok(())
    }

    /// The proof at the end: everything is there.
    fn verify(&self, stored: &Stored) -> anyhow::Result<()> {
        for (what, had, given) in
            [("HTTP", stored.sent, self.sent.rows.len()), ("the file", stored.filed, self.filed.rows.len())]
        {
            if had != given {
                return Err(Broken(format!("of {given} lines by {what} {had} are stored")).into());
            }
        }
        let total = (self.sent.rows.len() + self.filed.rows.len()) as u64;
        println!(
            "compared      {} by HTTP and from the file, byte for byte, in order: each stored once",
            show_counted(total, "line")
        );
        Ok(())
    }

    /// A random number up to `bound`.
    fn random(&self, bound: usize) -> anyhow::Result<usize> {
        let mut bytes = [0; 8];
        self.world.environment.entropy(&mut bytes).context("the system gives no random bytes")?;
        Ok((u64::from_le_bytes(bytes) % (bound as u64 + 1)) as usize)
    }
}

/// The rows of an answer.
fn rows(daemon: &Daemon, question: &Question) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Line>> + use<>> {
    let answer = daemon.ask(question, false, false, false)?;
    Ok(answer.lines().map(|line| {
        let line = line.context("the answer breaks off")?;
        serde_json::from_str(&line).map_err(|_| Broken(format!("instead of a row the daemon says {line}")).into())
    }))
}

/// Compares the rows of an answer, in the order in which they were stored, with the beginning of what was given; says how many.
fn compare(daemon: &Daemon, selector: &str, given: &[&[u8]]) -> anyhow::Result<usize> {
    let question = Question { text: selector.to_string(), ..Question::default() };
    let mut found = Vec::new();
    for row in rows(daemon, &question)? {
        let row = row?;
        if row.gap || row.labels.contains_key("duramen") {
            continue;
        }
        found.push((number(&row.id)?, row.bytes()));
    }
    found.sort();
    if found.len() > given.len() {
        return Err(Broken(format!("{selector}: {} lines were given, {} are stored", given.len(), found.len())).into());
    }
    if let Some(at) = found.iter().zip(given).position(|((_, stored), given)| stored != given) {
        return Err(Broken(format!("{selector}: stored line {} is not the one that was given", at + 1)).into());
    }
    Ok(found.len())
}

/// A row's id as something that sorts.
fn number(id: &str) -> anyhow::Result<(u64, u64)> {
    let parsed = id.split_once('.').and_then(|(sequence, at)| Some((sequence.parse().ok()?, at.parse().ok()?)));
    parsed.with_context(|| format!("{id} is no row's id"))
}
