//! Replay: the rows and samples that only the journal has, back into memory; sealed as they would have been when memory is full.
//! Owns which records count; what tables say of them is [`Covers`]' business.

use std::sync::Arc;

use duramen_journal::{RecordRef, Sequence};

use crate::catalog::LostTable;
use crate::chunk::{Chunk, StreamId};
use crate::core::Core;
use crate::covers::Covers;
use crate::error::Error;
use crate::format::batch::{KIND_ROWS, KIND_ROWS_OF_BOOT, KIND_SAMPLES, rows};
use crate::format::chain::{ByStream, ChainReader};
use crate::format::table::{Grain, Partition};
use crate::lock;
use crate::memtable::Columns;
use crate::report::Report;
use crate::row::{Arrival, Nanoseconds, TimeBase};
use crate::sample::SampleChunk;
use crate::seal::lost_labels;

/// What replay found beside rows and samples.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// When the last of them arrived.
    pub last: Option<Arrival>,
    pub missed: Option<Missed>,
}

/// Samples that cannot be read, as records that they build on are lost, and that no table has.
#[derive(Debug)]
pub(crate) struct Missed {
    /// The first such record.
    pub first: Sequence,
    pub samples: u64,
    pub times: (Nanoseconds, Nanoseconds),
    /// Their times are wall time.
    pub wall: bool,
}

/// Puts the rows and samples that no table has into memory.
pub(crate) fn replay(
    core: &Arc<Core>,
    covers: &Covers,
    lost: &mut [LostTable],
    report: &mut Report,
) -> Result<Replayed, Error> {
    let (known, used) = (ByStream::default(), ByStream::default());
    let (chain, full) = (ChainReader::default(), false);
    let mut replay = Replay { core, covers, lost, report, chain, known, used, full };
    let mut replayed = Replayed::default();
    let mut scan = core.journal.scan(..);
    while let Some(record) = scan.next_borrowed() {
        // What cannot be read was told of in the first pass.
        let Ok(record) = record else { continue };
        match record.kind {
            KIND_ROWS | KIND_ROWS_OF_BOOT => replay.rows(&record, &mut replayed)?,
            KIND_SAMPLES => replay.samples(&record, &mut replayed)?,
            _ => {}
        }
    }
    let streams = lock(&core.streams);
    for (id, sequence) in replay.used {
        streams.get(id).into_iter().for_each(|stream| stream.note_used(sequence));
    }
    drop(streams);
    Ok(replayed)
}

struct Replay<'a> {
    core: &'a Arc<Core>,
    covers: &'a Covers,
    lost: &'a mut [LostTable],
    report: &'a mut Report,
    chain: ChainReader,
    /// Of a series its grain, and how far it is covered in the partition that its latest sample belongs to.
    known: ByStream<(Grain, Partition, Sequence)>,
    /// The last record that has rows of a stream.
    used: ByStream<Sequence>,
    /// The disk has no room for a table.
    full: bool,
}

impl Replay<'_> {
    /// Memory is bounded by making tables on the way. Where the disk has no room for them, what is in the journal stays in memory:
    /// it is no more than the process had there that wrote it, and a store that cannot be opened cannot make room either.
    fn make_room(&mut self, below: Sequence) -> Result<(), Error> {
        if self.full {
            return Ok(());
        }
        match self.core.make_replay_room(below) {
            Err(error) if error.is_no_space() => {
                self.full = true;
                Ok(())
            }
            other => other,
        }
    }

    fn rows(&mut self, record: &RecordRef<'_>, replayed: &mut Replayed) -> Result<(), Error> {
        let sequence = record.sequence;
        let Some(chunk) = rows(record.payload, sequence) else {
            self.report.unreadable.push(format!("record {sequence} holds no rows that make sense"));
            return Ok(());
        };
        self.note_used(&chunk.streams, sequence);
        let arrival = chunk.groups[0].arrival;
        replayed.last = replayed.last.max(Some(arrival));
        let base = if record.kind == KIND_ROWS { TimeBase::Wall } else { TimeBase::Boot(arrival.boot) };
        let all = chunk.len() as u64;
        let kept = if self.covers.may_hold(sequence) { self.uncovered(base, &chunk, sequence) } else { chunk };
        self.count_lost(sequence, kept.times.iter().map(|&time| Partition::of(base, time)));
        self.report.replayed += kept.len() as u64;
        self.report.skipped += all - kept.len() as u64;
        lock(&self.core.view).active.insert(base, kept);
        self.make_room(sequence + 1)
    }

    fn samples(&mut self, record: &RecordRef<'_>, replayed: &mut Replayed) -> Result<(), Error> {
        let sequence = record.sequence;
        let Some(read) = self.chain.read(record.payload, sequence) else {
            self.report.unreadable.push(format!("record {sequence} holds no samples that make sense"));
            return Ok(());
        };
        self.note_used(&read.chunk.streams, sequence);
        replayed.last = replayed.last.max(Some(read.arrival));
        let base = if read.of_boot { TimeBase::Boot(read.arrival.boot) } else { TimeBase::Wall };
        lock(&self.core.write).chain.found(sequence, read.begins);
        let all = read.chunk.len() as u64;
        let kept = match self.covers.may_hold(sequence) {
            true => self.uncovered_samples(base, &read.chunk, sequence),
            false => read.chunk,
        };
        self.report.skipped_samples += all - kept.len() as u64;
        if kept.is_empty() {
            return Ok(());
        }
        if !read.readable {
            note_missed(&mut replayed.missed, sequence, base, &kept);
            return Ok(());
        }
        if !self.lost.is_empty() {
            let grain = |id| self.known.get(&id).map_or(Grain::Measured, |known| known.0);
            let samples = kept.streams.iter().zip(&kept.times);
            let partitions: Vec<_> = samples.map(|(&id, &time)| Partition::of_sample(base, time, grain(id))).collect();
            self.count_lost(sequence, partitions.into_iter());
        }
        self.report.replayed_samples += kept.len() as u64;
        lock(&self.core.view).insert_samples(base, kept, self.core.world.environment.now());
        self.make_room(sequence + 1)
    }

    fn note_used(&mut self, streams: &[StreamId], sequence: Sequence) {
        for run in streams.chunk_by(|a, b| a == b) {
            self.used.insert(run[0], sequence);
        }
    }

    /// Counts what the journal still has of tables that are lost.
    fn count_lost(&mut self, sequence: Sequence, partitions: impl Iterator<Item = Partition>) {
        if self.lost.is_empty() {
            return;
        }
        for partition in partitions {
            for lost in self.lost.iter_mut() {
                let own = lost.entry.as_ref().is_some_and(|e| sequence < e.covers_upto() && partition == e.partition);
                lost.replayed += u64::from(own);
            }
        }
    }

    /// The rows of a record that no table has.
    fn uncovered(&self, base: TimeBase, chunk: &Chunk, sequence: Sequence) -> Chunk {
        let streams = lock(&self.core.streams);
        chunk.filtered(|row| {
            let id = chunk.streams[row];
            let partition = Partition::of(base, chunk.times[row]);
            match streams.get(id) {
                Some(stream) => !self.covers.holds(partition, stream.labels().as_bytes(), sequence),
                None => !self.covers.holds(partition, lost_labels(id).as_bytes(), sequence),
            }
        })
    }

    fn uncovered_samples(&mut self, base: TimeBase, chunk: &SampleChunk, sequence: Sequence) -> SampleChunk {
        let streams = lock(&self.core.streams);
        let labels = |id: StreamId| streams.get(id).map_or_else(|| lost_labels(id), |stream| stream.labels().clone());
        let look = |id: StreamId, time| {
            let labels = labels(id);
            let grain = Grain::of(&labels);
            let partition = Partition::of_sample(base, time, grain);
            (grain, partition, self.covers.of_stream(partition, labels.as_bytes()))
        };
        chunk.filtered(|row| {
            let (id, time) = (chunk.streams[row], chunk.times[row]);
            let known = self.known.entry(id).or_insert_with(|| look(id, time));
            if known.1 != Partition::of_sample(base, time, known.0) {
                *known = look(id, time);
            }
            sequence >= known.2
        })
    }
}

fn note_missed(missed: &mut Option<Missed>, sequence: Sequence, base: TimeBase, chunk: &SampleChunk) {
    let (Some(&first), Some(&last)) = (chunk.times.iter().min(), chunk.times.iter().max()) else { return };
    let all = missed.get_or_insert(Missed { first: sequence, samples: 0, times: (first, last), wall: true });
    all.samples += chunk.len() as u64;
    all.times = (all.times.0.min(first), all.times.1.max(last));
    all.wall &= base == TimeBase::Wall;
}
