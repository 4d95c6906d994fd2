//! The commands, one module each. Each takes its parsed arguments and returns how it ended; what several of them need
//! stands here.

use std::path::Path;

use duramen_journal::disk::{World, real};
use duramen_journal::{Error, Journal, Options, Report};

pub mod append;
pub mod bench;
pub mod cat;
#[cfg(feature = "decisions")]
pub mod decisions;
pub mod demo;
pub mod dump;
pub mod follow;
pub mod manual;
#[cfg(feature = "raft")]
pub mod raft;
pub mod salvage;
pub mod stat;
#[cfg(feature = "daemon")]
pub mod store;
pub mod verify;

/// The real disk and environment: every command's data folder goes through it.
fn world() -> World {
    real::world()
}

/// Opens for writing and says on standard error what recovery did, if it did anything.
fn open_for_writing(folder: &Path, options: &Options, world: &World) -> Result<(Journal, Report), Error> {
    let (journal, report) = Journal::open_with(folder, options, world.clone())?;
    if let Some(cut) = &report.cut {
        eprintln!("duramen: recovered: {} records; cut off: {cut}", report.records);
    }
    if let Some(aside) = &report.set_aside {
        eprintln!("duramen: the damaged journal was set aside in {}", aside.display());
        for gap in &report.gaps {
            eprintln!("duramen: lost: {gap}");
        }
    }
    for note in &report.notes {
        eprintln!("duramen: note: {note}");
    }
    Ok((journal, report))
}
