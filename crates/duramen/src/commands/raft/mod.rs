//! The commands on Raft logs, one module each, and what several of them need: how the end of a folder is told.

pub mod dump;
pub mod salvage;
pub mod state;
pub mod tier;
pub mod verify;

use duramen_journal::{End, Report};
use duramen_raft::inspect::Survey;

use crate::exit::Exit;

/// Losses that are listed for people; the JSON has all.
const LOSSES_SHOWN: usize = 50;

/// Says on standard error what is lost and how the journal ends, and picks the code.
fn tell(report: &Report, end: End, survey: &Survey) -> Exit {
    for damage in &report.damage {
        let word = if damage.what.is_unreadable() { "disk" } else { "damage" };
        eprintln!("duramen: {word}: {damage}");
    }
    for finding in &survey.foreign {
        eprintln!("duramen: {finding}: the folder may belong to another program");
    }
    tell_losses(survey);
    for fault in survey.snapshots.iter().flat_map(|snapshot| &snapshot.faults).take(LOSSES_SHOWN) {
        eprintln!("duramen: snapshot: {fault}");
    }
    let bad_snapshot = survey.snapshots.iter().any(|snapshot| !snapshot.is_good());
    match end {
        End::Unreadable => {
            eprintln!(
                "duramen: the disk cannot read part of it, and nobody can tell what stands there: try again, look at the \
                 disk; `duramen raft salvage` copies what can be read into a new folder"
            );
            Exit::Unreadable
        }
        _ if report.refuses_writing() || survey.is_damaged() => {
            eprintln!(
                "duramen: the logs are damaged: `duramen raft salvage` copies what is good into a new folder; lost entries \
                 come from another node, or from a snapshot"
            );
            Exit::Damaged
        }
        End::Damaged => {
            eprintln!("duramen: no record is lost by it; the next opening for writing mends what can be mended");
            Exit::Damaged
        }
        _ if bad_snapshot => Exit::Damaged,
        End::Closed | End::Idle | End::Live | End::New => Exit::Complete,
        _ => {
            if let Some(cut) = &report.cut {
                eprintln!("duramen: {cut}");
            }
            eprintln!(
                "duramen: the journal ends without a mark, after record {}: its writer was killed or lost power; whatever it \
                 was told is durable is there, and the next opening goes on from here",
                report.next.saturating_sub(1)
            );
            Exit::Unmarked
        }
    }
}

/// Says on standard error which entries are lost, and whose vote may be.
fn tell_losses(survey: &Survey) {
    let losses = survey.groups.iter().flat_map(|group| group.lost.iter().map(move |lost| (group.group, lost)));
    let count = losses.clone().count();
    for (group, lost) in losses.take(LOSSES_SHOWN) {
        eprintln!("duramen: lost: group {group}: {lost}");
    }
    if count > LOSSES_SHOWN {
        eprintln!("duramen: lost: and {} more; --json has all", count - LOSSES_SHOWN);
    }
    let doubtful: Vec<u32> =
        survey.groups.iter().filter(|group| group.vote_in_doubt).map(|group| group.group).collect();
    let shown: Vec<String> = doubtful.iter().take(LOSSES_SHOWN).map(u32::to_string).collect();
    if let Some(more) = doubtful.len().checked_sub(shown.len()).filter(|_| !shown.is_empty()) {
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        eprintln!(
            "duramen: vote in doubt: group {}{more}: a vote may be lost; it must not vote before it is settled what it voted",
            shown.join(", ")
        );
    }
}
