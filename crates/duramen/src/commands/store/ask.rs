//! `query` and `tail`: asks the daemon that runs on the data, or the data itself, and prints the answer. Owns the choice between
//! the two and the pager; what is asked is the store's language.

use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use duramen_store::{Direction, Level, Options, Query};

use crate::answer::{Line, Printer};
use crate::cli::store::Ask;
use crate::client::Daemon;
use crate::commands::store::last::{Give, give_last};
use crate::exit::Exit;
use crate::stamp;
use crate::stop::Stop;

/// What is asked, in a form that both the daemon and the store take.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The query's text.
    pub text: String,
    /// From this time on.
    pub from: Option<i64>,
    /// Before this time.
    pub to: Option<i64>,
    /// The last so many rows.
    pub lines: Option<usize>,
}

impl Question {
    /// Of what was typed.
    ///
    /// # Errors
    /// A time or a level that is none.
    fn of(arguments: &Ask, now: i64) -> anyhow::Result<Question> {
        let time = |text: &Option<String>| -> anyhow::Result<Option<i64>> {
            text.as_deref().map(|text| stamp::parse_time(text, now).map_err(anyhow::Error::msg)).transpose()
        };
        let mut text = arguments.query.join(" ");
        if let Some(level) = &arguments.priority {
            let level = Level::parse(level).with_context(|| format!("{level} is no level; try err or warning"))?;
            text = format!("{text} level>={level}");
        }
        if let Some(regex) = &arguments.grep {
            text = format!("{text} |~ `{}`", regex.replace('`', "\\x60"));
        }
        let _: Query = text.parse()?;
        let last = (arguments.follow && arguments.since.is_none()).then_some(10);
        Ok(Question {
            text,
            from: time(&arguments.since)?,
            to: time(&arguments.until)?,
            lines: arguments.lines.or(last),
        })
    }

    /// As the store takes it.
    ///
    /// # Errors
    /// A query that cannot be read.
    pub fn query(&self) -> Result<Query, duramen_store::ParseError> {
        Ok(Query { from: self.from, to: self.to, gaps: true, ..self.text.parse()? })
    }
}

/// Runs it.
///
/// # Errors
/// A query that cannot be read, data that cannot be opened, a daemon that does not answer.
pub fn run(arguments: &Ask, stop: &Stop) -> anyhow::Result<Exit> {
    if arguments.promql {
        return super::promql::run(arguments);
    }
    let now = stamp::wall_clock();
    let question = Question::of(arguments, now)?;
    let daemon = match &arguments.url {
        Some(url) => Some(Daemon::at(url)),
        None => Daemon::of(&arguments.data.folder),
    };
    if arguments.count {
        return super::count::run(arguments, &question, daemon.as_ref());
    }
    let pager = if arguments.no_pager || arguments.follow { None } else { Pager::start() };
    let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let out: Box<dyn Write> = match &pager {
        Some(pager) => Box::new(io::BufWriter::new(pager.input()?)),
        None => Box::new(io::BufWriter::new(io::stdout())),
    };
    let mut printer = Printer::new(out, arguments.output, color);
    if arguments.follow && daemon.is_some() {
        end_at_signal(stop)?;
    }
    let exit = match daemon {
        Some(daemon) => ask_daemon(&daemon, &question, arguments, &mut printer),
        None => ask_store(&question, arguments, &mut printer, stop),
    };
    let flushed = printer.flush();
    drop(printer);
    if let Some(pager) = pager {
        pager.wait();
        // Whoever leaves the pager early has seen enough.
        return match exit {
            Err(error) if Exit::of(&error) == Exit::BrokenPipe => Ok(Exit::Complete),
            other => other,
        };
    }
    flushed?;
    exit
}

/// Runs `tail`: the last rows, then new ones as they come.
///
/// # Errors
/// As [`run`].
pub fn tail(arguments: &Ask, stop: &Stop) -> anyhow::Result<Exit> {
    run(&Ask { follow: true, ..arguments.clone() }, stop)
}

/// Ends the process at the first signal: whoever follows waits for the daemon's next word and has nothing to close.
#[allow(
    clippy::disallowed_methods,
    reason = "one thread that waits for a signal while the other one waits for the daemon"
)]
fn end_at_signal(stop: &Stop) -> anyhow::Result<()> {
    let waiting = stop.waiting().context("cannot wait for signals")?;
    std::thread::Builder::new().name("duramen-signal".into()).spawn(move || {
        waiting.wait();
        std::process::exit(0);
    })?;
    Ok(())
}

fn ask_daemon<W: Write>(
    daemon: &Daemon,
    question: &Question,
    arguments: &Ask,
    printer: &mut Printer<W>,
) -> anyhow::Result<Exit> {
    let mut answer = daemon.ask(question, arguments.reverse, arguments.follow, arguments.explain)?;
    let mut line = String::new();
    let mut damaged = false;
    while answer.read_line(&mut line)? > 0 {
        if let Ok(row) = serde_json::from_str::<Line>(&line) {
            printer.print(&row)?;
            if arguments.follow {
                printer.flush()?;
            }
        } else if let Ok(note) = serde_json::from_str::<Note>(&line) {
            damaged |= note.error.is_some();
            note.print();
        }
        line.clear();
    }
    Ok(if damaged { Exit::Damaged } else { Exit::Complete })
}

/// What an answer says beside its rows.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Note {
    /// Something that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was read and what was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<String>,
}

impl Note {
    fn print(&self) {
        self.error.iter().for_each(|error| eprintln!("duramen: {error}"));
        self.explain.iter().for_each(|explain| eprintln!("{explain}"));
    }
}

fn ask_store<W: Write>(
    question: &Question,
    arguments: &Ask,
    printer: &mut Printer<W>,
    stop: &Stop,
) -> anyhow::Result<Exit> {
    anyhow::ensure!(
        !arguments.follow,
        "nothing writes into {}: there is nothing to follow; start `duramen run`",
        arguments.data.folder.display()
    );
    let mut options = Options::default();
    options.journal.create = false;
    let (store, _) = super::open(&arguments.data.folder, &options)?;
    let query = question.query()?;
    let mut damaged = false;
    let mut print = |row: Result<duramen_store::Row, duramen_store::Error>| -> anyhow::Result<bool> {
        match row {
            Ok(row) => printer.print(&Line::from(&row))?,
            Err(error) => {
                eprintln!("duramen: {error}");
                damaged = true;
            }
        }
        Ok(stop.signal().is_none())
    };
    let explained = answer(&store, query, question.lines, arguments.reverse, &mut print)?;
    if arguments.explain {
        eprintln!("{}", explain(&explained));
    }
    store.close()?;
    Ok(match stop.signal() {
        Some(signal) => Exit::Signal(signal),
        None if damaged => Exit::Damaged,
        None => Exit::Complete,
    })
}

/// Gives out the rows of an answer: all of them, or the last `lines`, in the order that is asked for, until `give` says false. What is
/// gathered in memory for it is bounded.
///
/// # Errors
/// The store's, and those of `give`.
pub fn answer(
    store: &duramen_store::Store,
    query: Query,
    lines: Option<usize>,
    reverse: bool,
    give: &mut Give<'_>,
) -> anyhow::Result<duramen_store::Explained> {
    if let Some(lines) = lines.filter(|_| !reverse) {
        return give_last(store, query, lines, give);
    }
    let direction = if reverse { Direction::Backward } else { Direction::Forward };
    let mut rows = store.query(Query { limit: lines, direction, ..query })?;
    for row in rows.by_ref() {
        if !give(row)? {
            break;
        }
    }
    Ok(rows.explained().clone())
}

/// What was read and what was not, in words.
pub fn explain(told: &duramen_store::Explained) -> String {
    let damaged: String = told.damaged.iter().map(|place| format!("\ndamaged: {place}")).collect();
    format!(
        "read {} of {} blocks ({} bytes) and {} chunks in memory, for {} rows; left out: {} of {} tables by time, {} blocks by time \
         or level, {} blocks because their filter denies a word{damaged}",
        told.blocks_read,
        told.blocks,
        told.bytes_read,
        told.chunks,
        told.rows,
        told.tables_by_time,
        told.tables,
        told.blocks_by_time,
        told.blocks_by_word
    )
}

/// A pager on a terminal.
struct Pager {
    child: Child,
}

impl Pager {
    /// Starts the one that the environment names, or less; `None`: there is no terminal, or no pager.
    fn start() -> Option<Pager> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let named = std::env::var("DURAMEN_PAGER").or_else(|_| std::env::var("PAGER"));
        let command = named.unwrap_or_else(|_| "less".to_string());
        if command.is_empty() || command == "cat" {
            return None;
        }
        // -F: what fits on the screen stays there; -R: colours; -X: nothing is cleared; -S: long lines are cut.
        let mut parts = command.split_whitespace();
        let mut pager = Command::new(parts.next()?);
        pager.args(parts).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            pager.env("LESS", "FRSX");
        }
        Some(Pager { child: pager.spawn().ok()? })
    }

    fn input(&self) -> anyhow::Result<std::process::ChildStdin> {
        use std::os::fd::AsFd as _;
        let input = self.child.stdin.as_ref().context("the pager has no input")?;
        Ok(std::process::ChildStdin::from(input.as_fd().try_clone_to_owned()?))
    }

    fn wait(mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
