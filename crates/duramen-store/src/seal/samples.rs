//! Samples in memory become tables: series by series, each sorted by time, one table for each partition. Owns that order, and that
//! of several samples of one time the last one counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::catalog::entry_of;
use crate::error::Error;
use crate::format::chain::ByStream;
use crate::format::manifest::TableEntry;
use crate::format::table::{Grain, Partition};
use crate::labels::Labels;
use crate::lock;
use crate::row::TimeBase;
use crate::sample::{Sample, SampleChunk};
use crate::seal::{Sealing, lost_labels};
use crate::stream::Streams;
use crate::table::SampleTableWriter;
use crate::table::writer::{IndexHead, Unfinished};

/// Sorts samples by time; of several at one time the last one stays.
pub(crate) fn settle(samples: &mut Vec<Sample>) {
    if !samples.is_sorted_by(|a, b| a.time < b.time) {
        // Stable: those of one time stay as they came.
        samples.sort_by_key(|sample| sample.time);
        samples.reverse();
        samples.dedup_by_key(|sample| sample.time);
        samples.reverse();
    }
}

/// Writes the tables of some samples, as [`crate::seal::seal`] does with rows.
pub(crate) fn seal_samples(
    chunks: &[(TimeBase, Arc<SampleChunk>)],
    streams: &Mutex<Streams>,
    sealing: &Sealing<'_>,
    done: &mut Vec<TableEntry>,
) -> Result<(), Unfinished> {
    let mut bases: BTreeMap<TimeBase, ByStream<Vec<Sample>>> = BTreeMap::new();
    for (base, chunk) in chunks {
        let series = bases.entry(*base).or_default();
        for (row, &stream) in chunk.streams.iter().enumerate() {
            let sample = Sample { time: chunk.times[row], value: chunk.values[row] };
            series.entry(stream).or_default().push(sample);
        }
    }
    for (base, series) in bases {
        // Two numbers may stand for one set of labels; the higher one came later.
        let mut ids: Vec<_> = series.into_iter().collect();
        ids.sort_unstable_by_key(|(id, _)| *id);
        let mut named: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
        {
            let streams = lock(streams);
            for (id, mut samples) in ids {
                let labels = streams.get(id).map_or_else(|| lost_labels(id), |stream| stream.labels().clone());
                named.entry(labels).or_default().append(&mut samples);
            }
        }
        named.values_mut().for_each(settle);
        seal_base(base, &named, sealing, done)?;
    }
    Ok(())
}

/// Writes the tables of one base, partition by partition.
fn seal_base(
    base: TimeBase,
    named: &BTreeMap<Labels, Vec<Sample>>,
    sealing: &Sealing<'_>,
    done: &mut Vec<TableEntry>,
) -> Result<(), Unfinished> {
    let mut partitions: BTreeMap<Partition, Vec<(&Labels, &[Sample])>> = BTreeMap::new();
    for (labels, samples) in named {
        let grain = Grain::of(labels);
        let partition = |sample: &Sample| Partition::of_sample(base, sample.time, grain);
        for part in samples.chunk_by(|a, b| partition(a) == partition(b)) {
            partitions.entry(partition(&part[0])).or_default().push((labels, part));
        }
    }
    let catalog = sealing.catalog;
    for (partition, series) in partitions {
        if done.iter().any(|entry| entry.partition == partition) {
            continue;
        }
        let number = (sealing.next_number)();
        let head = IndexHead { partition, level: 0, covers: sealing.covers, replaces: Vec::new() };
        let binding = catalog.binding(number);
        let table = SampleTableWriter::create(catalog.disk.clone(), &catalog.tables, binding, head, sealing.options);
        let mut table = table.map_err(Unfinished::Gone)?;
        if let Err(error) = write_series(&mut table, &series, sealing.stream_covers) {
            table.abandon();
            return Err(Unfinished::Gone(error));
        }
        let written = table.finish()?;
        done.push(entry_of(number, written.bytes, &written.index));
    }
    Ok(())
}

fn write_series(
    table: &mut SampleTableWriter,
    series: &[(&Labels, &[Sample])],
    stream_covers: u64,
) -> Result<(), Error> {
    for (labels, samples) in series {
        table.begin_series(labels, stream_covers)?;
        for sample in *samples {
            table.push(sample.time, sample.value)?;
        }
    }
    Ok(())
}
