//! Opening: the journal, the tables, then what only the journal has. Owns the order; changes nothing that a second try
//! would not find the same.
//!
//! The journal is read twice: once for streams and positions, which may stand behind the rows that they belong to, once for the
//! rows. Memory is bounded: when the rows read fill it, they are sealed as they would have been.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use duramen_journal::disk::World;
use duramen_journal::{Journal, Sequence};

use crate::catalog::{Catalog, Found, LostTable};
use crate::core::{Core, ManifestState, SegmentWatch};
use crate::covers::Covers;
use crate::error::Error;
use crate::format::batch::{KIND_POSITION, KIND_ROWS, KIND_ROWS_OF_BOOT, KIND_SAMPLES, KIND_STREAM, position, stream};
use crate::format::manifest::TableEntry;
use crate::inspect::Unit;
use crate::lock;
use crate::options::{KIND, Options};
use crate::replay::{Missed, Replayed, replay};
use crate::report::Report;
use crate::row::{Level, TimeBase};
use crate::session::Event;
use crate::stream::Streams;
use crate::view::{Live, View};
use crate::write::Writing;

/// A store whose tables can be asked, and of whose journal nothing is read yet.
pub(crate) struct Opening {
    pub core: Arc<Core>,
    covers: Covers,
    lost: Vec<LostTable>,
    report: Report,
}

/// Opens a store as far as its tables and its names go.
pub(crate) fn open(path: &Path, options: &Options, world: World) -> Result<Opening, Error> {
    options.check()?;
    let segment_first = Arc::new(AtomicU64::new(0));
    let journal_options = duramen_journal::Options {
        kind: KIND,
        observer: Some(Arc::new(SegmentWatch(segment_first.clone()))),
        summary_bytes_max: 4096,
        ..options.journal.clone()
    };
    let (journal, journal_report) = Journal::open_with(path, &journal_options, world.clone())?;
    let catalog = Catalog {
        disk: world.disk.clone(),
        folder: path.to_path_buf(),
        tables: path.join(crate::table::FOLDER),
        journal_id: journal_report.journal_id,
    };
    catalog.prepare()?;
    let Found { manifest, notes, lost } = catalog.recover()?;
    let mut report = Report { journal: journal_report, notes, ..Report::default() };
    report.tables = manifest.tables.len();
    let of = |samples| manifest.tables.iter().filter(move |table| table.partition.is_of_samples() == samples);
    report.table_rows = of(false).map(|table| table.rows).sum();
    report.table_samples = of(true).map(|table| table.rows).sum();
    let mut writing = Writing::new(journal.epoch());
    let mut streams = Streams::default();
    read_names(&journal, &mut writing, &mut streams, &mut report);
    let tables = manifest.tables.iter().map(|entry| Arc::new(Live::new(entry.clone()))).collect();
    let covers = read_covers(&catalog, &manifest.tables, journal.first());
    let core = Arc::new(Core {
        world,
        options: options.clone(),
        journal,
        catalog,
        sealing: Mutex::new(None),
        next_table: AtomicU64::new(manifest.next_table),
        manifest: Mutex::new(ManifestState { manifest, ..ManifestState::default() }),
        write: Mutex::new(writing),
        streams: Mutex::new(streams),
        view: Mutex::new(View { tables, ..View::default() }),
        open_tables: Default::default(),
        segment_first,
        short_since: AtomicU64::new(u64::MAX),
        stage: Default::default(),
        clock: Default::default(),
        power: Default::default(),
        takes_rows: AtomicBool::new(false),
        space_short: AtomicBool::new(false),
        space_dropped_rows: AtomicU64::new(0),
        wanted_seal: Default::default(),
        // There is no session to end before one has begun.
        ended: AtomicBool::new(true),
        merge: Mutex::new(()),
        compaction: Default::default(),
        unmergeable: Default::default(),
        noticed: Default::default(),
        pins: Default::default(),
        merging: Default::default(),
        stopped: AtomicBool::new(false),
        replaying: AtomicBool::new(true),
        inline: AtomicBool::new(true),
        work: Default::default(),
        sealed: Default::default(),
    });
    *lock(&core.clock) = core.learn_clock();
    Ok(Opening { core, covers, lost, report })
}

/// Reads what only the journal has, and stores what is known to be missing. From here on rows are taken.
pub(crate) fn replay_and_tell(opening: Opening) -> Result<Report, Error> {
    let Opening { core, covers, mut lost, mut report } = opening;
    let (core, lost, report) = (&core, &mut lost, &mut report);
    let Replayed { last, missed } = replay(core, &covers, lost, report)?;
    report_lost_tables(lost, report);
    core.replaying.store(false, Ordering::Release);
    // A full disk must not keep the store from opening: what it holds can be asked for, and the note is written next time.
    let told = core.begin_session(last).and_then(|outage| {
        report.outage = outage;
        tell_losses(core, report, lost)?;
        missed.map_or(Ok(()), |missed| tell_missed(core, &missed))
    });
    match told {
        Err(error) if error.is_no_space() => report.notes.push(format!("this opening is not noted: {error}")),
        told => told?,
    }
    core.ended.store(false, Ordering::Release);
    core.takes_rows.store(true, Ordering::Release);
    Ok(std::mem::take(report))
}

/// What the live tables say of the journal from a sequence on.
pub(crate) fn read_covers(catalog: &Catalog, tables: &[TableEntry], first: Sequence) -> Covers {
    let mut covers = Covers::of(tables);
    for entry in tables.iter().filter(|entry| entry.partition.is_of_samples() && entry.covers_upto() > first) {
        // A table that cannot be opened has nothing to say: what it covers is read from the journal again, and counts once.
        if let Ok(table) = catalog.open(entry.number) {
            let further = table.index.series.iter().map(|series| (&series.labels, series.covers));
            covers.add_streams(entry.partition, further);
        }
    }
    covers
}

/// Reads the streams' definitions and the sources' positions.
fn read_names(journal: &Journal, writing: &mut Writing, streams: &mut Streams, report: &mut Report) {
    let mut scan = journal.scan(..);
    while let Some(record) = scan.next_borrowed() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                report.unreadable.push(error.to_string());
                continue;
            }
        };
        let good = match record.kind {
            KIND_STREAM => stream(record.payload).map(|(id, labels)| streams.define(id, labels, record.sequence)),
            KIND_POSITION => position(record.payload)
                .map(|(key, value)| writing.set_position(key.to_vec(), value.to_vec(), record.sequence)),
            KIND_ROWS | KIND_ROWS_OF_BOOT | KIND_SAMPLES => Some(()),
            _ => None,
        };
        if good.is_none() {
            report.unreadable.push(format!("record {} of kind {} makes no sense", record.sequence, record.kind));
        }
    }
    writing.written(journal.written());
}

/// Says which tables' rows are lost. What the journal still had is not.
fn report_lost_tables(lost: &mut Vec<LostTable>, report: &mut Report) {
    lost.retain(|lost| {
        let LostTable { number, reason, entry, replayed, .. } = lost;
        match entry {
            Some(entry) if *replayed >= entry.rows => {
                let rows = Unit::of(entry.partition).count(entry.rows);
                let note = format!("table {number} cannot be had ({reason}), but the journal still had its {rows}");
                report.notes.push(note);
                return false;
            }
            Some(entry) => {
                let rows = Unit::of(entry.partition).count(entry.rows);
                report.lost_tables.push(format!("table {number} ({rows}): {reason}"));
            }
            None => report.lost_tables.push(format!("table {number}: {reason}")),
        }
        true
    });
}

/// Stores what is known to be missing, each loss once.
fn tell_losses(core: &Core, report: &Report, lost: &[LostTable]) -> Result<(), Error> {
    for gap in &report.journal.gaps {
        let fields =
            vec![("cause", "damage".to_string()), ("first", gap.first.to_string()), ("end", gap.end.to_string())];
        let text = format!("the journal is damaged: {gap} are lost; the damaged files were set aside");
        let event = Event { kind: "gap", level: Level::Error, at: None, text, fields };
        core.tell(&event, Some(&format!("journal/{}", gap.first)))?;
    }
    for lost in lost {
        let mut fields = vec![("cause", "damage".to_string()), ("table", lost.number.to_string())];
        if let Some(entry) = &lost.entry {
            fields.push((Unit::of(entry.partition).field(), entry.rows.to_string()));
            fields.push(("from", entry.times.0.to_string()));
            fields.push(("to", entry.times.1.to_string()));
        }
        let text = format!("table {} is lost: {}", lost.number, lost.reason);
        let at = lost.entry.as_ref().map(|entry| entry.times.0).filter(|_| is_wall(lost));
        core.tell(
            &Event { kind: "gap", level: Level::Error, at, text, fields },
            Some(&format!("table/{}", lost.number)),
        )?;
    }
    Ok(())
}

/// Stores that samples cannot be read, as records that they build on are lost.
fn tell_missed(core: &Core, missed: &Missed) -> Result<(), Error> {
    let (from, to) = missed.times;
    let fields = vec![
        ("cause", "damage".to_string()),
        ("samples", missed.samples.to_string()),
        ("from", from.to_string()),
        ("to", to.to_string()),
    ];
    let text = format!("{} samples of the journal cannot be read: what they build on is lost", missed.samples);
    let event = Event { kind: "gap", level: Level::Error, at: Some(from).filter(|_| missed.wall), text, fields };
    core.tell(&event, Some(&format!("samples/{}", missed.first)))
}

fn is_wall(lost: &LostTable) -> bool {
    lost.entry.as_ref().is_some_and(|entry| entry.partition.base() == TimeBase::Wall)
}
