//! The chart: one panel of bars for each throughput, written as SVG by hand.
//!
//! Each panel has its own linear scale, because works differ by four orders of magnitude; the longest bar is the best of
//! that work. Text and colours are of middle brightness, so that the picture reads on white and on black.

use super::value_text;
use crate::engine::Role;
use crate::results::{Results, Row};
use crate::works::Better;

const WIDTH: f64 = 860.0;
const PANELS_ACROSS: usize = 2;
const PANEL_WIDTH: f64 = WIDTH / PANELS_ACROSS as f64;
const NAME_WIDTH: f64 = 120.0;
const VALUE_WIDTH: f64 = 90.0;
const BAR_HEIGHT: f64 = 15.0;
const LINE_HEIGHT: f64 = 20.0;
const HEADING_HEIGHT: f64 = 26.0;
const PANEL_GAP: f64 = 18.0;
const TEXT_COLOUR: &str = "#7d8590";

/// The throughputs of the results as an SVG picture.
pub fn chart(results: &Results) -> String {
    let rows: Vec<&Row> = results.rows.iter().filter(|row| row.metric.better == Better::Higher).collect();
    let mut body = String::new();
    let mut top = PANEL_GAP;
    for pair in rows.chunks(PANELS_ACROSS) {
        let panels = pair.iter().enumerate().map(|(place, row)| {
            let (panel, height) = panel(results, row, place as f64 * PANEL_WIDTH, top);
            body.push_str(&panel);
            height
        });
        let height = panels.fold(0.0, f64::max);
        top += height + PANEL_GAP;
    }
    let circumstances = &results.circumstances.facts;
    let caption: Vec<String> = circumstances.iter().take(2).map(|(name, value)| format!("{name}: {value}")).collect();
    body.push_str(&text(8.0, top, "start", 11, &caption.join("; ")));
    let height = top + PANEL_GAP;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" role=\"img\">\n\
         <title>Throughput by work, longer is better</title>\n{body}</svg>\n"
    )
}

/// One work: a heading and a bar for each system that took part. Returns its height too.
fn panel(results: &Results, row: &Row, left: f64, top: f64) -> (String, f64) {
    let bars: Vec<(usize, f64)> =
        (0..results.participants.len()).filter_map(|column| Some((column, row.median(column)?))).collect();
    let longest = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let room = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH;
    let mut out = text(left + 8.0, top + 10.0, "start", 12, &format!("{}: {}", row.metric.id, row.metric.title));
    for (place, (column, value)) in bars.iter().enumerate() {
        let participant = &results.participants[*column];
        let y = top + HEADING_HEIGHT + place as f64 * LINE_HEIGHT;
        let baseline = y + BAR_HEIGHT - 3.5;
        let length = (value / longest * room).max(1.0);
        let colour = colour(participant.role);
        out.push_str(&text(left + NAME_WIDTH - 6.0, baseline, "end", 11, &participant.name));
        out.push_str(&format!(
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\" fill=\"{colour}\"/>\n",
            left + NAME_WIDTH
        ));
        let label = value_text(*value, row.metric.unit);
        out.push_str(&text(left + NAME_WIDTH + length + 5.0, baseline, "start", 11, &label));
    }
    (out, HEADING_HEIGHT + bars.len() as f64 * LINE_HEIGHT)
}

fn colour(role: Role) -> &'static str {
    match role {
        Role::Raw => "#9aa4af",
        Role::Duramen => "#c2702d",
        Role::Raft => "#d7935b",
        Role::RaftMemory => "#e3b68f",
        Role::Peer => "#5b8cc0",
    }
}

fn text(x: f64, y: f64, anchor: &str, size: u32, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{TEXT_COLOUR}\">{words}</text>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn bars_are_proportional_and_latencies_are_left_out() {
        let picture = chart(&sample::results(&["sync1", "sync1_p99", "scan"]));
        assert_eq!(picture.matches("<rect").count(), 8, "two throughputs of four systems");
        assert!(picture.contains("other &lt;peer>") && !picture.contains("p99"));
        let room = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH;
        assert!(picture.contains(&format!("width=\"{:.1}\"", room * 0.5)), "raft-engine has half of the raw bound");
    }

    #[test]
    fn every_element_is_closed() {
        let picture = chart(&sample::results(&["sync1"]));
        assert_eq!(picture.matches("<text").count(), picture.matches("</text>").count());
        assert_eq!(picture.matches("<rect").count(), picture.matches("/>").count());
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    }
}
