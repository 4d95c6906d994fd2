//! Samples into a store, and what the store then costs and answers: Duramen's store beside, with `--features peers`, tsink. Owns the
//! order and the table; [`corpus`] makes the samples, [`systems`] are what is measured.
//!
//! Each system runs in a process of its own, so that its memory and its device bytes are its own.

mod corpus;
mod systems;
#[cfg(feature = "peers")]
mod tsink;

use std::path::{Path, PathBuf};
use std::process::Command;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const HELP: &str = "\
Writes samples into stores, and asks them.

Usage: samples [OPTIONS]

  --corpus SPEC    walk:SERIESxSCRAPES, steady:SERIESxSCRAPES or files:FOLDER of CSV files with timestamp and value;
                   may come several times (default: walk:1000x1000 and steady:1000x1000)
  --dir PATH       measure in this folder (default: the system's folder for temporary files)
  --quick          small corpora, to see that it works; the figures mean nothing
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

fn corpus_of(spec: &str) -> Outcome<corpus::Corpus> {
    let (kind, rest) = spec.split_once(':').ok_or_else(|| format!("{spec} is no corpus; see --help"))?;
    if kind == "files" {
        return corpus::files(Path::new(rest));
    }
    let (series, scrapes) = rest.split_once('x').ok_or_else(|| format!("{spec} is no corpus; see --help"))?;
    let (series, scrapes) = (series.parse()?, scrapes.parse()?);
    match kind {
        "walk" => Ok(corpus::walk(series, scrapes)),
        "steady" => Ok(corpus::steady(series, scrapes)),
        other => Err(format!("{other} is no corpus; see --help").into()),
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, system, spec, folder] = arguments.as_slice()
        && word == "--one"
    {
        let corpus = if system == "replay" { corpus::Corpus::default() } else { corpus_of(spec)? };
        let figures = systems::run(system, &corpus, Path::new(folder))?;
        figures.values.iter().for_each(|(name, value)| println!("{name} {value}"));
        return Ok(());
    }
    let (mut specs, mut folder) = (Vec::new(), std::env::temp_dir());
    let mut given = arguments.iter();
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value; see --help"));
        match argument.as_str() {
            "--corpus" => specs.push(value()?.clone()),
            "--dir" => folder = PathBuf::from(value()?),
            "--quick" => specs.extend(["walk:50x100".to_string(), "steady:50x100".to_string()]),
            "--help" => {
                println!("{HELP}");
                return Ok(());
            }
            other => return Err(format!("{other} is unknown; see --help").into()),
        }
    }
    if specs.is_empty() {
        specs.extend(["walk:1000x1000".to_string(), "steady:1000x1000".to_string()]);
    }
    let scratch = folder.join(format!("duramen-samples-{}", std::process::id()));
    std::fs::create_dir(&scratch)?;
    let measured = specs.iter().try_for_each(|spec| measure(spec, &scratch));
    std::fs::remove_dir_all(&scratch)?;
    measured
}

fn measure(spec: &str, scratch: &Path) -> Outcome<()> {
    let mut columns = Vec::new();
    for system in systems::NAMES {
        let folder = scratch.join("data");
        std::fs::create_dir(&folder)?;
        let mut figures = one(system, spec, &folder)?;
        if folder.join("replay").exists() {
            figures.values.extend(one("replay", spec, &folder)?.values);
        }
        columns.push((*system, figures));
        std::fs::remove_dir_all(&folder)?;
    }
    let corpus = corpus_of(spec)?;
    // A folder's name is of no interest.
    let kind = spec.split(':').next().unwrap_or_default();
    println!("\n{kind}: {} series, {} samples\n", corpus.series.len(), corpus.points.len());
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

/// Measures one system in a process of its own.
fn one(system: &str, spec: &str, folder: &Path) -> Outcome<Figures> {
    // What others wrote must not be written on this one's time.
    Command::new("sync").status()?;
    let output = Command::new(std::env::current_exe()?)
        .args(["--one", system, spec])
        .arg(folder)
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
    Ok(figures)
}
