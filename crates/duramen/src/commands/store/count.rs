//! `query --count`: rows over time, as a table with bars or as JSON. Owns the table; the counting is the store's.

use std::io::{IsTerminal as _, Write as _};

use duramen_store::{By, Options};

use crate::answer::Output;
use crate::cli::store::Ask;
use crate::client::Daemon;
use crate::commands::store::ask::Question;
use crate::exit::Exit;
use crate::quantity::show_count;
use crate::server::counts::{Counted, parse_step};
use crate::stamp;

/// Characters of the longest bar.
const BAR: usize = 40;
/// Columns of values beside the sum.
const COLUMNS: usize = 6;

/// Counts what a question means.
///
/// # Errors
/// As asking for the rows.
pub fn run(arguments: &Ask, question: &Question, daemon: Option<&Daemon>) -> anyhow::Result<Exit> {
    let step = arguments.step.as_deref().map(parse_step).transpose().map_err(anyhow::Error::msg)?;
    let counted = match daemon {
        Some(daemon) => daemon.counts(question, arguments.step.as_deref(), arguments.by.as_deref())?,
        None => {
            let mut options = Options::default();
            options.journal.create = false;
            let (store, _) = super::open(&arguments.data.folder, &options)?;
            let by = arguments.by.as_deref().map(By::parse);
            let counts = store.count(question.query()?, step, by.as_ref())?;
            store.close()?;
            counts.into()
        }
    };
    let mut out = std::io::stdout().lock();
    if arguments.output == Output::Json {
        serde_json::to_writer(&mut out, &counted)?;
        out.write_all(b"\n")?;
    } else {
        let bars = std::io::stdout().is_terminal();
        out.write_all(table(&counted, arguments.by.as_deref(), bars).as_bytes())?;
    }
    counted.damaged.iter().for_each(|place| eprintln!("duramen: {place}"));
    Ok(if counted.damaged.is_empty() { Exit::Complete } else { Exit::Damaged })
}

fn table(counted: &Counted, by: Option<&str>, bars: bool) -> String {
    let mut out = String::new();
    let shown = if by.is_some() { &counted.series[..counted.series.len().min(COLUMNS)] } else { &[] };
    let name = |series: &crate::server::counts::CountedSeries| match (series.other, series.value.as_str()) {
        (true, _) => "other".to_string(),
        (false, "") => "-".to_string(),
        (false, value) => value.chars().take(12).collect(),
    };
    let width = 12;
    let mut head = format!("{:<19}  {:>width$}", "from", "rows");
    shown.iter().for_each(|series| head.push_str(&format!("  {:>width$}", name(series))));
    out.push_str(head.trim_end());
    out.push('\n');
    let sums: Vec<u64> =
        (0..counted.starts_ms.len()).map(|at| counted.series.iter().map(|series| series.counts[at]).sum()).collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    for (at, (start, sum)) in counted.starts_ms.iter().zip(&sums).enumerate() {
        let time: String = stamp::show((start * 1e6) as i64).chars().take(19).collect();
        let mut line = format!("{time:<19}  {:>width$}", show_count(*sum));
        shown.iter().for_each(|series| line.push_str(&format!("  {:>width$}", show_count(series.counts[at]))));
        if bars {
            line.push_str("  ");
            line.push_str(&"#".repeat((*sum as usize * BAR).div_ceil(most as usize)));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let mut last = format!("{:<19}  {:>width$}", "all", show_count(counted.total));
    shown.iter().for_each(|series| last.push_str(&format!("  {:>width$}", show_count(series.total))));
    out.push_str(last.trim_end());
    out.push('\n');
    if counted.untimed > 0 {
        out.push_str(&format!("{:<19}  {:>width$}\n", "without a time", show_count(counted.untimed)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::counts::CountedSeries;

    #[test]
    fn the_table_has_a_line_for_each_span() {
        let series = |value: &str, counts: &[u64]| CountedSeries {
            value: value.into(),
            other: false,
            total: counts.iter().sum(),
            counts: counts.to_vec(),
        };
        let counted = Counted {
            step_ms: 1e3,
            starts_ms: vec![0.0, 1e3],
            series: vec![series("err", &[1_000, 2]), series("", &[1, 0])],
            total: 1_003,
            untimed: 4,
            damaged: vec![],
        };
        let lines: Vec<String> = table(&counted, Some("level"), true).lines().map(str::to_string).collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[0].ends_with("rows           err             -"), "{lines:?}");
        assert!(lines[1].ends_with(&format!("1,001         1,000             1  {}", "#".repeat(40))), "{lines:?}");
        assert!(lines[2].ends_with("  #") && lines[3].contains("1,003") && lines[4].ends_with(" 4"), "{lines:?}");
        assert!(!table(&counted, None, false).contains("err"));
    }
}
