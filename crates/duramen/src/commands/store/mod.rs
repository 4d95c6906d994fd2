//! The commands on a store: one module each. What several need stands here.

pub mod ask;
pub mod backup;
pub mod config;
pub mod count;
pub mod demo;
pub mod dump;
pub mod exec;
pub mod import;
pub mod ingest;
mod last;
pub mod power;
pub mod promql;
pub mod run;
pub mod salvage;
pub mod status;
pub mod verify;

use duramen_store::{Error, Options, Report, Store};

/// Opens a store for a command, and says on standard error what opening found, if it found anything.
///
/// # Errors
/// The store's.
pub fn open(folder: &std::path::Path, options: &Options) -> Result<(Store, Report), Error> {
    open_serving(folder, options, |_| ())
}

/// The same, and hands the store out before its journal is read; see [`Store::open_serving`].
///
/// # Errors
/// The store's.
pub fn open_serving(
    folder: &std::path::Path,
    options: &Options,
    early: impl FnOnce(&Store),
) -> Result<(Store, Report), Error> {
    let (store, report) = Store::open_serving(folder, options, duramen_journal::disk::World::real(), early)?;
    if let Some(cut) = &report.journal.cut {
        eprintln!("duramen: cut off an unfinished write: {cut}");
    }
    if let Some(outage) = &report.outage {
        let what = if outage.power {
            "this machine lost power or was reset"
        } else {
            "whoever had the store open died without closing it"
        };
        let length = outage.length().map_or(String::new(), |length| format!(", for {:.1} s", length.as_secs_f64()));
        let samples = match report.replayed_samples {
            0 => String::new(),
            samples => format!(" and {samples} samples"),
        };
        let rows = report.replayed;
        eprintln!("duramen: {what}{length}; {rows} rows{samples} were read from the journal");
    }
    let lost = report.lost_tables.iter().chain(&report.unreadable).map(|lost| format!("lost: {lost}"));
    lost.chain(report.notes.iter().map(|note| format!("note: {note}"))).for_each(|line| eprintln!("duramen: {line}"));
    Ok((store, report))
}
