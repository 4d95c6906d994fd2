//! Every byte of the journal, and every rule of the logs in it. Owns the order: the journal's bytes first, as its own
//! `verify` looks at them, then all records once more, replayed.

use std::path::Path;

use duramen_journal::inspect::{self as journal_inspect, Progress};
use duramen_journal::{Error as WalError, ReadOptions, Reader, SegmentInfo, Sequence, World};

use super::audit::{Audit, Fault, Finding, Notation};
use super::raw::json_array;
use super::survey::{Survey, survey_of};
use super::{check_kind, snapshots};
use crate::format::RawRecord;
use crate::format::summary::Change;
use crate::tier::through;

/// Findings that are kept to be told; the others are counted.
const FINDINGS_KEPT: usize = 1000;
/// Records between two calls of the progress.
const RECORDS_BETWEEN: u64 = 16_384;

/// What [`verify`] found.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The journal's bytes.
    pub journal: journal_inspect::Verification,
    /// What the logs hold, and what is lost of them, with all that damage counted in.
    pub survey: Survey,
    /// Records that were replayed.
    pub records: u64,
    /// Summaries that were compared with their segments' records.
    pub summaries: u64,
    /// Records that cannot stand where they do.
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub findings_more: u64,
}

impl Verification {
    /// The whole as one JSON object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"end\":\"{}\",\"bytes\":{},\"records\":{},\"summaries\":{},\"findings\":{},\"findings_more\":{},\
             \"logs\":{}}}",
            self.journal.end.word(),
            self.journal.bytes,
            self.records,
            self.summaries,
            json_array(self.findings.iter().map(Finding::to_json)),
            self.findings_more,
            self.survey.to_json(None)
        )
    }
}

/// Checks every byte of a folder of Raft logs, replays the rules over all records, and compares the summaries that opening
/// believes with the records. Reads only; beside a living writer an unfinished end is no damage, and records that are not
/// known to be durable are not replayed.
///
/// `progress` is called every few megabytes, on the calling thread.
///
/// # Errors
/// The journal cannot be read at all, or it holds no Raft logs. Damage and broken rules are an answer.
pub fn verify(
    path: impl AsRef<Path>,
    world: World,
    notation: Notation,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verification, WalError> {
    let path = path.as_ref();
    let (world, _) = through(path, &world, None)?;
    check_kind(path, &world)?;
    let reader = Reader::open_with(path, &ReadOptions::default(), world.clone())?;
    let records_bytes = reader.report().bytes;
    let mut told = Progress::default();
    let journal = journal_inspect::verify(path, world.clone(), &mut |now| {
        told = Progress { bytes: now.bytes, bytes_total: now.bytes_total + records_bytes };
        progress(told);
    })?;
    let mut replay = Replay {
        audit: Audit::new(reader.first(), notation),
        segments: reader.segments(),
        place: 0,
        change: Change::default(),
        whole: true,
        next: reader.first(),
        records: 0,
        summaries: 0,
        findings: Vec::new(),
        findings_more: 0,
    };
    let bytes_before = told.bytes;
    let mut bytes = 0;
    for record in reader.scan(..) {
        let Ok(record) = record else {
            replay.whole = false;
            continue;
        };
        bytes += record.payload.len() as u64 + duramen_journal::format::RECORD_HEADER_BYTES as u64;
        replay.record(&record);
        if replay.records.is_multiple_of(RECORDS_BETWEEN) {
            progress(Progress { bytes: (bytes_before + bytes).min(told.bytes_total), ..told });
        }
    }
    replay.leave_segments(reader.last().saturating_add(1));
    progress(Progress { bytes: told.bytes_total, ..told });
    let mut survey = survey_of(&reader, &journal.damage);
    survey.journal = journal.report.clone();
    survey.snapshots = snapshots::look(path, &world, snapshots::Look::Everything);
    let Replay { records, summaries, findings, findings_more, .. } = replay;
    Ok(Verification { journal, survey, records, summaries, findings, findings_more })
}

/// The walk over all records.
struct Replay {
    audit: Audit,
    segments: Vec<SegmentInfo>,
    /// The segment that the walk is in, what its records changed, and whether all of them could be read.
    place: usize,
    change: Change,
    whole: bool,
    next: Sequence,
    records: u64,
    summaries: u64,
    findings: Vec<Finding>,
    findings_more: u64,
}

impl Replay {
    fn record(&mut self, record: &duramen_journal::Record) {
        self.leave_segments(record.sequence);
        if record.sequence > self.next {
            self.whole = false;
            self.audit.lost_before(record.sequence);
        }
        self.next = record.sequence + 1;
        self.records += 1;
        if let Some(finding) = self.audit.record(record.sequence, record.log, record.kind, &record.payload) {
            self.found(finding);
        }
        match RawRecord::decode(record.kind, &record.payload) {
            Ok(raw) => self.change.add(record.sequence, record.log, &raw),
            Err(_) => self.whole = false,
        }
    }

    fn found(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_KEPT {
            self.findings.push(finding);
        } else {
            self.findings_more += 1;
        }
    }

    /// Compares the summaries of the segments that end before a sequence.
    fn leave_segments(&mut self, sequence: Sequence) {
        while let Some(info) = self.segments.get(self.place).filter(|info| info.next <= sequence) {
            let records = info.next - info.first;
            let (first, summary) = (info.first, info.summary.clone());
            self.place += 1;
            let mut change = std::mem::take(&mut self.change);
            let whole = std::mem::replace(&mut self.whole, true) && self.next >= info_end(first, records);
            let Some(summary) = summary.filter(|summary| whole && records > 0 && !summary.is_empty()) else {
                continue;
            };
            self.summaries += 1;
            change.groups.values_mut().for_each(|change| change.settle());
            if Change::decode(&summary).ok().as_ref() != Some(&change) {
                self.found(Finding { group: 0, sequence: first, what: Fault::SummaryDiffers });
            }
        }
    }
}

fn info_end(first: Sequence, records: u64) -> Sequence {
    first.saturating_add(records)
}
