//! `verify`: every byte of a store is checked, and what its parts say of each other. Owns the bar, the summary, and how findings are told.

use std::io::{self, Write as _};

use anyhow::Context as _;
use duramen_journal::End;
use duramen_journal::inspect::Progress;
use duramen_store::inspect::{self, Fault, Finding, Loss, Verification};

use crate::cli::tools::Verify;
use crate::commands::world;
use crate::exit::Exit;
use crate::progress::{self, OutputUse};
use crate::quantity::{show_bytes, show_count, show_counted, show_time};
use crate::stamp;
use crate::stop::Stop;

/// Findings that are shown to people; the JSON has more.
const FINDINGS_SHOWN: usize = 50;

/// Runs the command.
///
/// # Errors
/// The folder cannot be read at all, or it holds something else; damage is an answer, not an error.
pub fn run(arguments: &Verify, stop: &Stop) -> anyhow::Result<Exit> {
    let world = world();
    let environment = world.environment.clone();
    let begin = environment.now();
    let bar = progress::bytes(Some(0), OutputUse::Quiet);
    let verified = inspect::verify(&arguments.data.folder, world, &mut |progress: Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
        // Nothing is open for writing: the second signal's way out may as well be the first one's.
        if let Some(signal) = stop.signal() {
            bar.finish_and_clear();
            std::process::exit(Exit::Signal(signal).code().into());
        }
    });
    bar.finish_and_clear();
    let verified = verified?;
    let time = environment.now().saturating_sub(begin);
    let mut out = io::stdout().lock();
    let written = if arguments.json {
        writeln!(out, "{}", verified.to_json())
    } else {
        let bytes = verified.journal.bytes + verified.table_bytes;
        write!(out, "{}{}", verified.journal.report, stored(&verified)).and_then(|()| {
            writeln!(
                out,
                "checked   {}, {} of tables, {} of the journal, in {}",
                show_bytes(bytes),
                show_counted(verified.blocks, "block"),
                show_counted(verified.records, "record"),
                show_time(time)
            )
        })
    };
    written.and_then(|()| out.flush()).context("cannot write to standard output")?;
    Ok(tell(&verified))
}

/// What is stored, and where.
fn stored(verified: &Verification) -> String {
    let tables = show_counted(verified.tables, "table");
    let line = |name: &str, in_tables: u64, in_journal: u64| {
        format!("{name:10}{} in {tables}, {} in the journal only\n", show_count(in_tables), show_count(in_journal))
    };
    let rows = line("rows", verified.table_rows, verified.journal_rows);
    match verified.table_samples + verified.journal_samples {
        0 => rows,
        _ => rows + &line("samples", verified.table_samples, verified.journal_samples),
    }
}

/// Says on standard error what is wrong and what it costs, and picks the code.
fn tell(verified: &Verification) -> Exit {
    let report = &verified.journal.report;
    report.gaps.iter().for_each(|gap| eprintln!("duramen: known loss: {gap}"));
    // Those that cost records are among the findings, with what they cost.
    for damage in report.damage.iter().filter(|damage| !damage.what.refuses_writing()) {
        eprintln!("duramen: {}: {damage}", if damage.what.is_unreadable() { "disk" } else { "damage" });
    }
    verified.findings.iter().take(FINDINGS_SHOWN).for_each(|finding| eprintln!("duramen: {}", words(finding)));
    let more = verified.findings.len().saturating_sub(FINDINGS_SHOWN) as u64 + verified.findings_more;
    if more > 0 {
        eprintln!("duramen: and {}", show_counted(more, "more finding"));
    }
    verified.notes.iter().for_each(|note| eprintln!("duramen: note: {note}"));
    let losses = verified.findings.iter().any(|finding| finding.loss.is_some());
    match verified.end {
        End::Unreadable => {
            eprintln!(
                "duramen: the disk cannot read part of it, and nobody can tell what stands there: try again, look at the \
                 disk; `duramen salvage NEW` copies what can be read into a new folder"
            );
            Exit::Unreadable
        }
        End::Damaged if losses => {
            eprintln!("duramen: the store is damaged: `duramen salvage NEW` copies what is good into a new folder");
            Exit::Damaged
        }
        End::Damaged => {
            eprintln!("duramen: the store is damaged; no row is known to be lost by it");
            Exit::Damaged
        }
        End::Closed | End::Idle | End::Live | End::New => Exit::Complete,
        _ => {
            report.cut.iter().for_each(|cut| eprintln!("duramen: {cut}"));
            eprintln!(
                "duramen: the journal ends without a mark, after record {}: its writer was killed or lost power; whatever \
                 was told is durable is there, and the next opening goes on from here",
                report.next.saturating_sub(1)
            );
            Exit::Unmarked
        }
    }
}

/// A finding, with times as people read them.
pub(super) fn words(finding: &Finding) -> String {
    let word = match finding.fault {
        Fault::Damage => "damage",
        Fault::Unreadable => "disk",
        Fault::Rule => "rule",
    };
    format!("{word}: {finding}{}", times(finding.loss.as_ref()))
}

/// The times of a loss, as they are told behind it.
fn times(loss: Option<&Loss>) -> String {
    let Some(Loss { times: Some((first, last)), boot, .. }) = loss else { return String::new() };
    match boot {
        None => format!(", {} to {}", stamp::show(*first), stamp::show(*last)),
        Some(boot) => {
            let seconds = |time: &i64| *time as f64 / 1e9;
            format!(", {:.3} s to {:.3} s of boot {boot}", seconds(first), seconds(last))
        }
    }
}
