//! The journal's records as a store's: whether each decodes, what it names, and which rows and samples no table has. Owns the two
//! walks over them, names first, as opening does it.
//!
//! Memory: the names of the streams that the journal defines, what the next samples of each build on, and one record.

use std::collections::BTreeMap;

use duramen_journal::{Error as JournalError, Reader, Sequence};

use super::finding::{Fault, Finding, Findings, Loss, Unit};
use crate::chunk::{Chunk, StreamId};
use crate::covers::Covers;
use crate::format::batch::{
    KIND_POSITION, KIND_ROWS, KIND_ROWS_OF_BOOT, KIND_SAMPLES, KIND_STREAM, LOG, position, rows, stream,
};
use crate::format::bytes::checksum;
use crate::format::chain::{ByStream, ChainReader, SampleRecord};
use crate::format::table::{Grain, Partition};
use crate::labels::Labels;
use crate::row::{Nanoseconds, TimeBase};
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
                KIND_ROWS | KIND_ROWS_OF_BOOT | KIND_SAMPLES => Some(()),
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

/// What is known of a series in the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    grain: Grain,
    pub partition: Partition,
    /// Its samples in that partition below this sequence are in tables, as these say.
    pub covers: Sequence,
    /// One number for each name.
    pub hash: u32,
    /// The journal has its name. Once all of a series is in tables, its name may go from the journal before its last record does.
    pub named: bool,
}

/// How far series are covered, each in the partition that its latest sample belongs to: samples of one partition mostly follow each
/// other.
pub(super) struct SeriesCovers<'a> {
    names: &'a Names,
    covers: &'a Covers,
    known: ByStream<Known>,
}

impl<'a> SeriesCovers<'a> {
    pub fn new(names: &'a Names, covers: &'a Covers) -> SeriesCovers<'a> {
        SeriesCovers { names, covers, known: ByStream::default() }
    }

    /// What is known of a series in the partition of a time.
    pub fn of(&mut self, id: StreamId, base: TimeBase, time: Nanoseconds) -> Known {
        match self.known.get(&id) {
            Some(known) if known.partition == Partition::of_sample(base, time, known.grain) => *known,
            _ => {
                let labels = self.names.of(id);
                let grain = Grain::of(&labels);
                let partition = Partition::of_sample(base, time, grain);
                let covers = self.covers.of_stream(partition, labels.as_bytes());
                let (hash, named) = (checksum(&[labels.as_bytes()]), self.names.streams.contains_key(&id));
                let known = Known { grain, partition, covers, hash, named };
                self.known.insert(id, known);
                known
            }
        }
    }
}

/// Samples that nobody can read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    /// The first of their records.
    pub first: Sequence,
    pub samples: u64,
    pub times: (Nanoseconds, Nanoseconds),
    /// What their times are counted from; `None`: they differ in that.
    pub base: Option<TimeBase>,
}

impl Unread {
    /// Adds one more.
    pub fn add(all: &mut Option<Unread>, sequence: Sequence, base: TimeBase, time: Nanoseconds) {
        let new = Unread { first: sequence, samples: 0, times: (time, time), base: Some(base) };
        let all = all.get_or_insert(new);
        all.samples += 1;
        all.times = (all.times.0.min(time), all.times.1.max(time));
        all.base = all.base.filter(|own| *own == base);
    }

    /// What is told of them.
    pub fn finding(&self) -> Finding {
        let boot = match self.base {
            Some(TimeBase::Boot(boot)) => Some(boot),
            _ => None,
        };
        let times = Some(self.times).filter(|_| self.base.is_some());
        let loss = Some(Loss { rows: Some(self.samples), times, boot, unit: Unit::Samples, ..Loss::default() });
        let reason = format!("samples from record {} on build on records that are lost", self.first);
        Finding { fault: Fault::Damage, file: PLACE.into(), offset: None, reason, loss }
    }
}

/// Rows and samples of the journal, counted.
#[derive(Debug, Default)]
pub(super) struct JournalCounts {
    /// Rows that no table says it has.
    pub uncovered: u64,
    /// Rows of each partition that tables say they have.
    pub covered: BTreeMap<Partition, u64>,
    /// Samples that no table says it has, and that can be read.
    pub samples_uncovered: u64,
    /// Samples of each partition that tables say they have.
    pub samples_covered: BTreeMap<Partition, u64>,
    /// Samples that no table says it has, and that nobody can read.
    pub unread: Option<Unread>,
    /// There are records of rows, and of samples.
    pub kinds: Kinds,
    /// The first sequence of all that was read.
    pub first: Sequence,
    /// Something between could not be read, so that the counts say too little.
    pub holes: bool,
    /// There are gaps that are known: what they held was lost before, and told.
    pub gaps: bool,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kinds {
    pub rows: bool,
    pub samples: bool,
}

/// What a record holds.
pub(crate) enum Contents<'a> {
    Rows(&'a Chunk),
    Samples(&'a SampleRecord),
}

/// Hands out the rows and samples of each record that can be read.
pub(crate) fn for_each_record(
    reader: &Reader,
    mut bad: impl FnMut(Sequence, &'static str),
    mut visit: impl FnMut(TimeBase, Contents<'_>, Sequence),
) -> Holes {
    let mut chain = ChainReader::default();
    walk(reader, |kind, payload, sequence| {
        if kind == KIND_SAMPLES {
            let Some(record) = chain.read(payload, sequence) else {
                bad(sequence, "samples");
                return false;
            };
            visit(base_of(&record), Contents::Samples(&record), sequence);
            return true;
        }
        let Some(chunk) = rows(payload, sequence) else {
            bad(sequence, "rows");
            return false;
        };
        let base = match kind {
            KIND_ROWS => TimeBase::Wall,
            _ => TimeBase::Boot(chunk.groups[0].arrival.boot),
        };
        visit(base, Contents::Rows(&chunk), sequence);
        true
    })
}

/// Hands out the samples of each record that can be read.
pub(super) fn for_each_sample_record(reader: &Reader, mut visit: impl FnMut(TimeBase, &SampleRecord, Sequence)) {
    let mut chain = ChainReader::default();
    walk(reader, |kind, payload, sequence| {
        if kind == KIND_SAMPLES
            && let Some(record) = chain.read(payload, sequence)
        {
            visit(base_of(&record), &record, sequence);
        }
        true
    });
}

/// What a record's times are counted from.
pub(super) fn base_of(record: &SampleRecord) -> TimeBase {
    if record.of_boot { TimeBase::Boot(record.arrival.boot) } else { TimeBase::Wall }
}

/// What a walk could not read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Holes {
    /// Anything at all.
    pub any: bool,
    /// Gaps that are known.
    pub gaps: bool,
}

/// Hands out all records of rows and samples; `visit` says whether one makes sense.
fn walk(reader: &Reader, mut visit: impl FnMut(u8, &[u8], Sequence) -> bool) -> Holes {
    let mut holes = Holes::default();
    let mut scan = reader.scan(..);
    while let Some(record) = scan.next_borrowed() {
        match record {
            Ok(record) if matches!(record.kind, KIND_ROWS | KIND_ROWS_OF_BOOT | KIND_SAMPLES) => {
                holes.any |= !visit(record.kind, record.payload, record.sequence);
            }
            Ok(_) => {}
            Err(error) => {
                holes.any |= !matches!(error, JournalError::Released { .. });
                holes.gaps |= matches!(error, JournalError::InGap { .. });
            }
        }
    }
    holes
}

/// Counts all rows and samples, and tells of those that make no sense.
pub(super) fn count(reader: &Reader, names: &Names, covers: &Covers, findings: &mut Findings) -> JournalCounts {
    let mut counted = JournalCounts { first: reader.first(), ..JournalCounts::default() };
    let mut nameless: BTreeMap<StreamId, u64> = BTreeMap::new();
    let mut senseless = Vec::new();
    let mut series = SeriesCovers::new(names, covers);
    let holes = for_each_record(
        reader,
        |sequence, what| senseless.push((sequence, what)),
        |base, contents, sequence| match contents {
            Contents::Rows(chunk) => count_rows(&mut counted, (names, covers, &mut nameless), base, chunk, sequence),
            Contents::Samples(record) => {
                counted.kinds.samples = true;
                for (row, &id) in record.chunk.streams.iter().enumerate() {
                    let time = record.chunk.times[row];
                    let known = series.of(id, base, time);
                    if sequence < known.covers {
                        *counted.samples_covered.entry(known.partition).or_default() += 1;
                        continue;
                    }
                    if !known.named {
                        *nameless.entry(id).or_default() += 1;
                    }
                    match record.readable {
                        true => counted.samples_uncovered += 1,
                        false => Unread::add(&mut counted.unread, sequence, base, time),
                    }
                }
            }
        },
    );
    (counted.holes, counted.gaps) = (holes.any, holes.gaps);
    for (sequence, what) in senseless {
        findings.rule(PLACE.into(), None, format!("record {sequence} holds no {what} that make sense"));
    }
    for (id, rows) in nameless {
        let reason = format!("{rows} rows are of stream {}, whose name is lost", id.0);
        findings.add(Finding { fault: Fault::Damage, file: PLACE.into(), offset: None, reason, loss: None });
    }
    if let Some(unread) = counted.unread.filter(|_| !counted.gaps) {
        findings.add(unread.finding());
    }
    counted
}

fn count_rows(
    counted: &mut JournalCounts,
    (names, covers, nameless): (&Names, &Covers, &mut BTreeMap<StreamId, u64>),
    base: TimeBase,
    chunk: &Chunk,
    sequence: Sequence,
) {
    counted.kinds.rows = true;
    let may = covers.may_hold(sequence);
    for row in 0..chunk.len() {
        let id = chunk.streams[row];
        let partition = Partition::of(base, chunk.times[row]);
        if may && covers.holds(partition, names.of(id).as_bytes(), sequence) {
            *counted.covered.entry(partition).or_default() += 1;
            continue;
        }
        counted.uncovered += 1;
        // Once all of a stream is in tables, its name may go from the journal before its last record does.
        if !names.streams.contains_key(&id) {
            *nameless.entry(id).or_default() += 1;
        }
    }
}
