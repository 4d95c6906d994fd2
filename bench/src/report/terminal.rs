//! The table for a terminal: a line a metric, a column a system, each value with its ratio to the raw bound.

use super::{ratio_text, value_text};
use crate::engine::Role;
use crate::goals::Verdict;
use crate::results::{Results, Row};
use crate::works::Better;

/// The whole report as plain text.
pub fn terminal(results: &Results, verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for (name, value) in &results.circumstances.facts {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push_str("\nmedians; in brackets the ratio to the raw bound (+ more is better, - less is better)\n");
    let mut lines = vec![header(results)];
    lines.extend(results.rows.iter().map(|row| line(results, row)));
    text.push_str(&aligned(&lines));
    if !verdicts.is_empty() {
        text.push_str("\ngoals\n");
        let lines: Vec<Vec<String>> = verdicts.iter().map(verdict_line).collect();
        text.push_str(&aligned(&lines));
    }
    for failure in &results.failures {
        text.push_str(&format!("\nfailed: {failure}\n"));
    }
    text
}

fn header(results: &Results) -> Vec<String> {
    let names = results.participants.iter().map(|participant| participant.name.clone());
    let mut cells: Vec<String> = std::iter::once(String::new()).chain(names).collect();
    cells.extend(results.ratios().iter().map(|(heading, _)| (*heading).to_owned()));
    cells
}

fn line(results: &Results, row: &Row) -> Vec<String> {
    let sign = match row.metric.better {
        Better::Higher => '+',
        Better::Lower => '-',
    };
    let raw = results.median_of(row, Role::Raw);
    let mut cells = vec![format!("{sign} {}", row.metric.id)];
    for (column, participant) in results.participants.iter().enumerate() {
        cells.push(match (row.median(column), raw) {
            (None, _) => "-".to_owned(),
            (Some(value), Some(raw)) if participant.role != Role::Raw && raw > 0.0 => {
                format!("{} ({})", value_text(value, row.metric.unit), ratio_text(value / raw))
            }
            (Some(value), _) => value_text(value, row.metric.unit),
        });
    }
    for (_, ratio) in results.ratios() {
        cells.push(ratio(results, row).map_or_else(|| "-".to_owned(), ratio_text));
    }
    cells
}

fn verdict_line(verdict: &Verdict) -> Vec<String> {
    let word = if verdict.reached { "reached" } else { "MISSED" };
    vec![verdict.goal.clone(), verdict.wanted.clone(), ratio_text(verdict.found), word.to_owned()]
}

/// Pads every column to its widest cell; the first is flush left.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.len()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            let padded = if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            text.push_str(&padded);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals;
    use crate::results::sample;

    #[test]
    fn each_value_stands_with_its_ratio_and_goals_follow() {
        let results = sample::results(&["sync1"]);
        let text = terminal(&results, &goals::verdicts(&results));
        assert!(text.contains("98.0/s (0.98)"), "{text}");
        assert!(text.contains("1.23"), "{text}");
        assert!(text.contains("reached"), "{text}");
    }
}
