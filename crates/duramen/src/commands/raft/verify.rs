//! `raft verify`: every byte of the journal and every rule of the logs. Owns the bar and the summary.

use std::io::{self, Write as _};

use anyhow::Context as _;
use duramen_journal::inspect::Progress;
use duramen_raft::inspect;

use crate::cli::raft::Verify;
use crate::commands;
use crate::exit::Exit;
use crate::progress::{self, OutputUse};
use crate::quantity::{show_bytes, show_count, show_counted, show_time};
use crate::stop::Stop;

/// Findings that are shown to people; the JSON has more.
const FINDINGS_SHOWN: usize = 50;

/// Runs the command.
///
/// # Errors
/// The folder cannot be read at all, or it holds no Raft logs; damage is an answer, not an error.
pub fn run(arguments: &Verify, stop: &Stop) -> anyhow::Result<Exit> {
    let world = commands::world();
    let environment = world.environment.clone();
    let begin = environment.now();
    let bar = progress::bytes(Some(0), OutputUse::Quiet);
    let verified = inspect::verify(&arguments.folder, world, arguments.types.notation(), &mut |progress: Progress| {
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
        let entries: u64 = verified.survey.groups.iter().map(|group| group.entries).sum();
        write!(out, "{}", verified.journal.report).and_then(|()| {
            writeln!(
                out,
                "logs      {}, {} live entries\nsnapshots {}, {}\nchecked   {}, {} replayed, {} summaries compared, in {}",
                show_counted(verified.survey.groups.len() as u64, "group"),
                show_count(entries),
                show_count(verified.survey.snapshots.len() as u64),
                show_bytes(verified.survey.snapshots.iter().map(|snapshot| snapshot.bytes).sum()),
                show_bytes(verified.journal.bytes),
                show_counted(verified.records, "record"),
                show_count(verified.summaries),
                show_time(time)
            )
        })
    };
    written.and_then(|()| out.flush()).context("cannot write to standard output")?;
    for finding in verified.findings.iter().take(FINDINGS_SHOWN) {
        eprintln!("duramen: rule: {finding}");
    }
    let more = verified.findings.len().saturating_sub(FINDINGS_SHOWN) as u64 + verified.findings_more;
    if more > 0 {
        eprintln!("duramen: rule: and {}", show_counted(more, "more record"));
    }
    let exit = super::tell(&verified.journal.report, verified.journal.end, &verified.survey);
    Ok(match exit {
        Exit::Complete | Exit::Unmarked if !verified.findings.is_empty() => {
            eprintln!("duramen: the bytes are what was written; what was written breaks the rules of Raft logs");
            Exit::Damaged
        }
        exit => exit,
    })
}
