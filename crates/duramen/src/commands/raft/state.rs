//! `raft state`: what each group's log holds, from headers, footers and the tail. Owns the layout of the answer.

use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;
use duramen_raft::inspect::{self, GroupSurvey, RawLogId, RawVote, Survey};

use crate::cli::raft::State;
use crate::commands;
use crate::exit::Exit;

/// Runs the command.
///
/// # Errors
/// The folder cannot be read at all, it holds no Raft logs, or not the group that was asked for.
pub fn run(arguments: &State) -> anyhow::Result<Exit> {
    let survey = inspect::survey(&arguments.folder, commands::world())?;
    if let Some(number) = arguments.group.filter(|&number| survey.group(number).is_none()) {
        anyhow::bail!("{} has nothing of group {number}: {}", arguments.folder.display(), groups(&survey));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if arguments.json {
        writeln!(out, "{}", survey.to_json(arguments.group))
    } else {
        write_survey(&mut out, &survey, arguments.group)
    };
    written.and_then(|()| out.flush()).context("cannot write to standard output")?;
    let exit = super::tell(&survey.journal, survey.journal.end, &survey);
    // How a log ends is `verify`'s question: to be without a mark is the ordinary state after a kill.
    Ok(if exit == Exit::Unmarked { Exit::Complete } else { exit })
}

/// The groups that there are, in words.
fn groups(survey: &Survey) -> String {
    match (survey.groups.first(), survey.groups.last()) {
        (Some(first), Some(last)) if first.group == last.group => format!("it has group {} only", first.group),
        (Some(first), Some(last)) => {
            format!("it has {} groups, from {} to {}", survey.groups.len(), first.group, last.group)
        }
        _ => "it has no group".to_string(),
    }
}

fn write_survey(out: &mut impl io::Write, survey: &Survey, only: Option<u32>) -> io::Result<()> {
    let whole = only.and_then(|number| survey.group(number)).or(match &survey.groups[..] {
        [group] => Some(group),
        _ => None,
    });
    if let Some(group) = whole {
        write!(out, "{group}")?;
        let mut own = survey.snapshots.iter().filter(|snapshot| snapshot.group == group.group);
        return own.try_for_each(|snapshot| writeln!(out, "snapshot  {snapshot}"));
    }
    write!(out, "{}", survey.journal)?;
    writeln!(out, "groups    {}", survey.groups.len())?;
    if survey.groups.is_empty() {
        return Ok(());
    }
    let heading =
        ["group", "vote", "last", "committed", "purged", "entries", "segments", "snapshot", "lost"].map(str::to_string);
    let mut lines = vec![heading];
    lines.extend(survey.groups.iter().map(|group| line(group, newest(survey, group.group))));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// The last entry that a group's newest good snapshot covers.
fn newest(survey: &Survey, group: u32) -> Option<&RawLogId> {
    let mut own = survey.snapshots.iter().filter(|snapshot| snapshot.group == group && snapshot.is_good());
    own.next().and_then(|snapshot| snapshot.last.as_ref())
}

fn line(group: &GroupSurvey, snapshot: Option<&RawLogId>) -> [String; 9] {
    let state = &group.state;
    let id = |id: &Option<RawLogId>| id.as_ref().map_or_else(|| "-".to_string(), RawLogId::to_string);
    let vote = state.vote.as_ref().map_or_else(|| "-".to_string(), RawVote::to_string);
    [
        group.group.to_string(),
        if group.vote_in_doubt { format!("{vote} (in doubt)") } else { vote },
        id(&state.last),
        id(&state.committed),
        id(&state.purged),
        group.entries.to_string(),
        group.segments.to_string(),
        id(&snapshot.cloned()),
        if group.lost.is_empty() { "-".to_string() } else { format!("{} ranges", group.lost.len()) },
    ]
}
