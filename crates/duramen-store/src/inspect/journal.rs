//! The journal's records as a store's: whether each decodes, what it names, and which rows no table has. Owns the two walks over
//! them, names first, as opening does it.
//!
//! Memory: the names of the streams that the journal defines, and one record.

use std::collections::BTreeMap;

use duramen_journal::{Error as JournalError, Reader, Sequence};

use super::finding::{Fault, Finding, Findings};
use crate::chunk::{Chunk, StreamId};
use crate::covers::Covers;
use crate::format::batch::{KIND_POSITION, KIND_ROWS, KIND_ROWS_OF_BOOT, KIND_STREAM, LOG, position, rows, stream};
use crate::format::table::Partition;
use crate::labels::Labels;
use crate::row::TimeBase;
use crate::seal::lost_labels;

/// What the journal's findings are told of.
pub(super) const PLACE: &str = "journal";

/// The streams that the journal defines, and how many positions it has.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub streams: BTreeMap<StreamId, Labels>,
    pub positions: u64,
    pub records: u64,
}

impl Names {
    /// Reads all records once.
    pub(super) fn read(reader: &Reader, findings: &mut Findings) -> Names {
        let mut names = Names::default();
        let mut scan = reader.scan(..);
        while let Some(record) = scan.next_borrowed() {
            // Damaged places are the journal's own verification's to tell.
            let Ok(record) = record else { continue };
            names.records += 1;
            let good = match record.kind {
                _ if record.log != LOG => None,
                KIND_STREAM => stream(record.payload).map(|(id, labels)| _ = names.streams.insert(id, labels)),
                KIND_POSITION => position(record.payload).map(|_| names.positions += 1),
                KIND_ROWS | KIND_ROWS_OF_BOOT => Some(()),
                _ => None,
            };
            if good.is_none() {
                let reason = format!("record {} of kind {} makes no sense", record.sequence, record.kind);
                findings.rule(PLACE.into(), None, reason);
            }
        }
        names
    }

    /// The name of a stream; one whose definition is lost has a name that says so.
    pub fn of(&self, id: StreamId) -> Labels {
        self.streams.get(&id).cloned().unwrap_or_else(|| lost_labels(id))
    }
}

/// Rows of the journal, counted.
#[derive(Debug, Default)]
pub(super) struct JournalRows {
    /// Rows that no table says it has.
    pub uncovered: u64,
    /// Rows of each partition that tables say they have.
    pub covered: BTreeMap<Partition, u64>,
    /// The first sequence of all that was read.
    pub first: Sequence,
    /// Something between could not be read, so that the counts say too little.
    pub holes: bool,
}

/// Hands out the rows of each record that can be read.
pub(crate) fn for_each_record(
    reader: &Reader,
    mut bad: impl FnMut(Sequence),
    mut visit: impl FnMut(TimeBase, &Chunk, Sequence),
) -> bool {
    let mut holes = false;
    let mut scan = reader.scan(..);
    while let Some(record) = scan.next_borrowed() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                holes |= !matches!(error, JournalError::Released { .. });
                continue;
            }
        };
        if !matches!(record.kind, KIND_ROWS | KIND_ROWS_OF_BOOT) {
            continue;
        }
        let Some(chunk) = rows(record.payload, record.sequence) else {
            holes = true;
            bad(record.sequence);
            continue;
        };
        let base = match record.kind {
            KIND_ROWS => TimeBase::Wall,
            _ => TimeBase::Boot(chunk.groups[0].arrival.boot),
        };
        visit(base, &chunk, record.sequence);
    }
    holes
}

/// Counts all rows, and tells of those that make no sense.
pub(super) fn count_rows(reader: &Reader, names: &Names, covers: &Covers, findings: &mut Findings) -> JournalRows {
    let mut counted = JournalRows { first: reader.first(), ..JournalRows::default() };
    let mut nameless: BTreeMap<StreamId, u64> = BTreeMap::new();
    let mut senseless = Vec::new();
    let holes = for_each_record(
        reader,
        |sequence| senseless.push(sequence),
        |base, chunk, sequence| {
            let may = covers.may_hold(sequence);
            for row in 0..chunk.len() {
                let id = chunk.streams[row];
                if !names.streams.contains_key(&id) {
                    *nameless.entry(id).or_default() += 1;
                }
                let partition = Partition::of(base, chunk.times[row]);
                if may && covers.holds(partition, names.of(id).as_bytes(), sequence) {
                    *counted.covered.entry(partition).or_default() += 1;
                } else {
                    counted.uncovered += 1;
                }
            }
        },
    );
    counted.holes = holes;
    for sequence in senseless {
        findings.rule(PLACE.into(), None, format!("record {sequence} holds no rows that make sense"));
    }
    for (id, rows) in nameless {
        let reason = format!("{rows} rows are of stream {}, whose name is lost", id.0);
        findings.add(Finding { fault: Fault::Damage, file: PLACE.into(), offset: None, reason, loss: None });
    }
    counted
}
