//! The command line: what was typed, turned into what to do. Nothing is run here.

use std::path::PathBuf;

use crate::engine::Outcome;

/// The text of `--help`.
pub const HELP: &str = "\
Measures a durable log against the raw bound of the disk and against its peers, side by side in one run.

Usage: duramen-bench [OPTIONS]

  --dir PATH       measure in this folder (default: the system's folder for temporary files)
  --works A,B      only these works (see --list)
  --systems A,B    only systems whose name is one of these words, else contains one; case aside
  --runs N         runs of each work, of which the median counts (default 5; 1 with --quick)
  --quick          a few iterations of everything, to see that it works; the figures mean nothing
  --records N      records of the works that are bound by a count (default 1000000)
  --out DIR        write the tables as Markdown and the chart as SVG into this folder
  --list           list works and systems and stop
  --help           show this text and stop

Peers are compiled in with --features peers.";

/// What the caller asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Measure.
    Run(Arguments),
    /// Print the works and systems.
    List,
    /// Print [`HELP`].
    Help,
}

/// The settings of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Where to measure.
    pub folder: PathBuf,
    /// The chosen works; empty means all.
    pub works: Vec<String>,
    /// Words of the chosen systems' names; empty means all.
    pub systems: Vec<String>,
    /// Runs of each work.
    pub runs: usize,
    /// Whether to do only a little of everything.
    pub quick: bool,
    /// Another number of records than the scale's own.
    pub records: Option<u64>,
    /// Where to write the report.
    pub out: Option<PathBuf>,
}

/// Reads the arguments that follow the program's name.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Outcome<Command> {
    let mut arguments = arguments.into_iter();
    let mut parsed = Arguments {
        folder: std::env::temp_dir(),
        works: Vec::new(),
        systems: Vec::new(),
        runs: 0,
        quick: false,
        records: None,
        out: None,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value; see --help"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--list" => return Ok(Command::List),
            "--quick" => parsed.quick = true,
            "--dir" => parsed.folder = PathBuf::from(value()?),
            "--out" => parsed.out = Some(PathBuf::from(value()?)),
            "--works" => parsed.works = words(&value()?),
            "--systems" => parsed.systems = words(&value()?),
            "--runs" => parsed.runs = positive(&argument, &value()?)? as usize,
            "--records" => parsed.records = Some(positive(&argument, &value()?)?),
            // `cargo bench` and `cargo test` add this to whatever they start.
            "--bench" => {}
            _ => return Err(format!("unknown argument {argument}; see --help").into()),
        }
    }
    if parsed.runs == 0 {
        parsed.runs = if parsed.quick { 1 } else { 5 };
    }
    Ok(Command::Run(parsed))
}

fn words(list: &str) -> Vec<String> {
    list.split(',').map(|word| word.trim().to_lowercase()).filter(|word| !word.is_empty()).collect()
}

fn positive(argument: &str, value: &str) -> Outcome<u64> {
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{argument} needs a number above zero, not {value}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Outcome<Command> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn runs_default_to_five_or_one() {
        let Command::Run(full) = parse_line("").unwrap() else { panic!("not a run") };
        assert_eq!((full.runs, full.quick), (5, false));
        let Command::Run(quick) = parse_line("--quick --works sync1,Scan,").unwrap() else { panic!("not a run") };
        assert_eq!((quick.runs, quick.works), (1, vec!["sync1".to_owned(), "scan".to_owned()]));
        let Command::Run(both) = parse_line("--runs 3 --quick").unwrap() else { panic!("not a run") };
        assert_eq!(both.runs, 3);
    }

    #[test]
    fn nonsense_is_refused_with_its_name() {
        for (line, word) in [("--frobnicate", "--frobnicate"), ("--runs 0", "--runs"), ("--dir", "--dir")] {
            assert!(parse_line(line).unwrap_err().to_string().contains(word), "{line}");
        }
    }
}
