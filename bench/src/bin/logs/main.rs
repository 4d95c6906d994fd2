//! Log lines into a store, and what the store then costs and answers: Duramen's store beside the raw file, `zstd -3` of it, rsyslog
//! where it is installed and, with `--features peers`, fjall. Owns the order and the table; [`corpus`] makes the lines, [`systems`]
//! are what is measured.
//!
//! Each system runs in a process of its own, so that its memory and its device bytes are its own.

mod corpus;
mod rsyslog;
mod systems;

use std::path::{Path, PathBuf};
use std::process::Command;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const HELP: &str = "\
Puts log lines into stores, durable every 1,000 lines, and asks them.

Usage: logs [OPTIONS]

  --corpus FILE    the lines (default: a million lines, made from the sample that ships with the binary)
  --lines N        how many lines to make without a corpus (default 1000000)
  --dir PATH       measure in this folder (default: the system's folder for temporary files)
  --quick          20,000 lines, to see that it works; the figures mean nothing
  --help           show this text and stop";

/// What was measured of one system.
#[derive(Debug, Default)]
pub struct Figures {
    values: Vec<(String, f64)>,
}

impl Figures {
    /// Notes a figure.
    pub fn put(&mut self, name: &str, value: f64) {
        self.values.push((name.to_string(), value));
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, system, corpus, folder] = arguments.as_slice()
        && word == "--one"
    {
        let figures = systems::run(system, Path::new(corpus), Path::new(folder))?;
        figures.values.iter().for_each(|(name, value)| println!("{name} {value}"));
        return Ok(());
    }
    let (mut corpus, mut folder, mut lines) = (None, std::env::temp_dir(), 1_000_000);
    let mut given = arguments.iter();
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value; see --help"));
        match argument.as_str() {
            "--corpus" => corpus = Some(PathBuf::from(value()?)),
            "--dir" => folder = PathBuf::from(value()?),
            "--lines" => lines = value()?.parse()?,
            "--quick" => lines = 20_000,
            "--help" => {
                println!("{HELP}");
                return Ok(());
            }
            other => return Err(format!("{other} is unknown; see --help").into()),
        }
    }
    let scratch = folder.join(format!("duramen-logs-{}", std::process::id()));
    std::fs::create_dir(&scratch)?;
    let measured = measure(corpus, lines, &scratch);
    std::fs::remove_dir_all(&scratch)?;
    measured
}

fn measure(corpus: Option<PathBuf>, lines: u64, scratch: &Path) -> Outcome<()> {
    let corpus = match corpus {
        Some(corpus) => corpus,
        None => {
            let made = scratch.join("corpus.log");
            corpus::make(&made, lines)?;
            made
        }
    };
    let bytes = std::fs::metadata(&corpus)?.len();
    let mut columns = Vec::new();
    for system in systems::names() {
        let folder = scratch.join("data");
        std::fs::create_dir(&folder)?;
        // What others wrote must not be written on this one's time.
        Command::new("sync").status()?;
        let output = Command::new(std::env::current_exe()?)
            .args(["--one", system])
            .arg(&corpus)
            .arg(&folder)
            .stderr(std::process::Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("{system} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let mut figures = Figures::default();
        for line in String::from_utf8(output.stdout)?.lines() {
            let (name, value) = line.rsplit_once(' ').ok_or("a figure has a name and a value")?;
            figures.put(name, value.parse()?);
        }
        columns.push((system, figures));
        std::fs::remove_dir_all(&folder)?;
    }
    println!("{:.0} MB of lines, durable every {} lines\n", bytes as f64 / 1e6, systems::BATCH);
    print!("| |");
    columns.iter().for_each(|(system, _)| print!(" {system} |"));
    println!("\n|---|{}", "---:|".repeat(columns.len()));
    for (name, digits) in systems::FIGURES {
        print!("| {name} |");
        for (_, figures) in &columns {
            match figures.get(name) {
                Some(value) => print!(" {value:.digits$} |"),
                None => print!(" - |"),
            }
        }
        println!();
    }
    Ok(())
}
