//! The tables as Markdown: medians with ratios, then the goals, then the spread of the runs.

use super::{direction, ratio_text, value_text};
use crate::engine::Role;
use crate::goals::Verdict;
use crate::results::{Results, Row};

/// The whole report as Markdown that refers to the chart by its file name.
pub fn markdown(results: &Results, verdicts: &[Verdict], chart_file: &str) -> String {
    let mut text = String::from("# Benchmark\n\nMade by `bench/`; absolute figures depend on the machine, the ratios ");
    text.push_str("within one run are what counts.\n\n");
    for (name, value) in &results.circumstances.facts {
        text.push_str(&format!("- {name}: {}\n", escaped(value)));
    }
    text.push_str(&format!("\n![Throughput by work]({chart_file})\n\n## Medians\n\n"));
    text.push_str("In brackets: the ratio to the raw bound.\n\n");
    table(&mut text, results, true, median_cell);
    if !verdicts.is_empty() {
        text.push_str("\n## Goals\n\n| goal | wanted | measured | |\n|---|---|---|---|\n");
        for verdict in verdicts {
            let word = if verdict.reached { "reached" } else { "**missed**" };
            let found = ratio_text(verdict.found);
            text.push_str(&format!("| {} | {} | {found} | {word} |\n", verdict.goal, verdict.wanted));
        }
    }
    text.push_str("\n## Spread of the runs\n\n");
    table(&mut text, results, false, range_cell);
    if !results.failures.is_empty() {
        text.push_str("\n## Failures\n\n");
        for failure in &results.failures {
            text.push_str(&format!("- {}\n", escaped(failure)));
        }
    }
    text
}

fn table(text: &mut String, results: &Results, with_ratios: bool, cell: fn(&Results, &Row, usize) -> String) {
    let names = results.participants.iter().map(|participant| escaped(&participant.name));
    let mut headings: Vec<String> = std::iter::once("work".to_owned()).chain(names).collect();
    let ratios = if with_ratios { results.ratios() } else { Vec::new() };
    headings.extend(ratios.iter().map(|(heading, _)| (*heading).to_owned()));
    text.push_str(&format!("| {} |\n|{}\n", headings.join(" | "), "---|".repeat(headings.len())));
    for row in &results.rows {
        let title = format!("`{}`: {} ({})", row.metric.id, row.metric.title, direction(row.metric.better));
        let cells = (0..results.participants.len()).map(|column| cell(results, row, column));
        let mut cells: Vec<String> = std::iter::once(title).chain(cells).collect();
        for (_, ratio) in &ratios {
            cells.push(ratio(results, row).map_or_else(|| "-".to_owned(), ratio_text));
        }
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
}

fn median_cell(results: &Results, row: &Row, column: usize) -> String {
    let raw = results.median_of(row, Role::Raw).filter(|raw| *raw > 0.0);
    let is_raw = results.participants[column].role == Role::Raw;
    match (row.median(column), raw) {
        (None, _) => "-".to_owned(),
        (Some(value), Some(raw)) if !is_raw => {
            format!("{} ({})", value_text(value, row.metric.unit), ratio_text(value / raw))
        }
        (Some(value), _) => value_text(value, row.metric.unit),
    }
}

fn range_cell(_results: &Results, row: &Row, column: usize) -> String {
    row.range(column).map_or_else(
        || "-".to_owned(),
        |(low, high)| format!("{} to {}", value_text(low, row.metric.unit), value_text(high, row.metric.unit)),
    )
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals;
    use crate::results::sample;

    #[test]
    fn all_lines_of_a_table_have_the_same_cells() {
        let results = sample::results(&["sync1", "scan", "memory"]);
        let text = markdown(&results, &goals::verdicts(&results), "chart.svg");
        for section in text.split("\n\n").filter(|section| section.starts_with('|')) {
            let counts: Vec<usize> = section.lines().map(|line| line.matches('|').count()).collect();
            assert!(counts.iter().all(|count| *count == counts[0]), "{section}");
        }
        assert!(text.contains("| 98.0/s (0.98) |") && text.contains("90.0/s to 110/s"), "{text}");
        assert!(text.contains("other &lt;peer>") && text.contains("(chart.svg)"), "{text}");
    }
}
