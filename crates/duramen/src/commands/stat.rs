//! `journal stat`: what a journal holds and how it ends, from headers, footers and the tail. Owns the layout of the
//! answer.

use std::io::{self, Write as _};

use duramen_journal::{Reader, SegmentInfo};

use crate::cli;
use crate::exit::Exit;
use crate::quantity::{show_bytes, show_count};

/// Segments that are listed for people; the JSON has all.
const SEGMENTS_SHOWN: usize = 20;

/// Runs the command.
///
/// # Errors
/// The journal cannot be opened for reading, or standard output cannot be written.
pub fn run(arguments: &cli::Stat) -> anyhow::Result<Exit> {
    let reader = Reader::open(&arguments.folder)?;
    let report = reader.report();
    let segments = reader.segments();
    let mut out = io::stdout().lock();
    if arguments.json {
        let segments: Vec<String> = segments.iter().map(segment_json).collect();
        writeln!(out, "{{\"report\":{},\"segments\":[{}]}}", report.to_json(), segments.join(","))?;
        return Ok(Exit::Complete);
    }
    write!(out, "{report}")?;
    let hidden = segments.len().saturating_sub(SEGMENTS_SHOWN);
    if hidden > 0 {
        writeln!(out, "          … {} older segments", show_count(hidden as u64))?;
    }
    for segment in &segments[hidden..] {
        let records = if segment.first == segment.next {
            "no records".to_string()
        } else {
            format!("records {} to {}", segment.first, segment.next - 1)
        };
        let state = if segment.sealed { "sealed" } else { "in use" };
        writeln!(
            out,
            "          segment {:>6}  {state}  {:>10}  {records}",
            segment.number,
            show_bytes(segment.bytes)
        )?;
    }
    Ok(Exit::Complete)
}

fn segment_json(segment: &SegmentInfo) -> String {
    format!(
        "{{\"number\":{},\"first\":{},\"next\":{},\"bytes\":{},\"sealed\":{}}}",
        segment.number, segment.first, segment.next, segment.bytes, segment.sealed
    )
}
