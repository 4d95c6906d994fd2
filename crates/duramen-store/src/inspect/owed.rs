//! Samples of the journal that tables say they have, held against these tables. Owns the walks: samples have no ids, so that each is
//! looked for by its series and time.
//!
//! What a table says of a time is right if it has the sample itself or a later one. Tables tell by what they cover: one that covers a
//! sample's record has it, or what replaced it; one that does not has what was there before, which is right only if it is the same.
//!
//! Memory: a share of the journal's samples, [`SHARE_SAMPLES`] of them if they spread evenly, of 32 bytes each; the journal is read
//! once for each share. A share has all samples of a series within an hour or so, so that a table's block is read for one or two
//! shares only. Beside that the indexes of the tables of those partitions that the journal has samples of.

use std::collections::BTreeMap;
use std::sync::Arc;

use duramen_journal::{Reader, Sequence};

use super::journal::{Known, Names, SeriesCovers, for_each_sample_record};
use super::series::covers_of;
use crate::covers::Covers;
use crate::error::Error;
use crate::format::table::Partition;
use crate::labels::Labels;
use crate::row::Nanoseconds;
use crate::table::Table;

/// Samples that are held at a time, so that they take some 32 MiB.
const SHARE_SAMPLES: u64 = 1 << 20;
/// Samples of a series whose times differ in these bits only are in one share: an hour and some.
const SHARE_TIME_BITS: u32 = 42;

/// A sample that the journal has: of several of one series and time the last one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    pub time: Nanoseconds,
    pub sequence: Sequence,
    /// `None`: nobody can read it.
    pub value: Option<f64>,
}

/// Samples by partition and series, those of a series by time.
pub(super) type BySeries = BTreeMap<Partition, BTreeMap<Labels, Vec<Owed>>>;

/// One of several parts of the journal's samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    number: u64,
    of: u64,
}

impl Share {
    /// As many shares as so many samples need.
    pub fn all(samples: u64) -> impl Iterator<Item = Share> {
        let of = samples.div_ceil(SHARE_SAMPLES);
        (0..of).map(move |number| Share { number, of })
    }

    fn has(self, known: Known, time: Nanoseconds) -> bool {
        if self.of == 1 {
            return true;
        }
        let place = u64::from(known.hash) ^ (time >> SHARE_TIME_BITS) as u64;
        // Of neighbours in time none in the same share: the high bits of a product depend on all.
        (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % self.of == self.number
    }
}

/// Collects those samples of a share that are wanted; `wanted` is told the partition, below which sequence tables say they have the
/// series, and the sample's.
pub(super) fn collect(
    (reader, names, covers): (&Reader, &Names, &Covers),
    share: Share,
    mut wanted: impl FnMut(Partition, Sequence, Sequence) -> bool,
) -> BySeries {
    let mut found: BTreeMap<(Partition, u32), (Labels, Vec<Owed>)> = BTreeMap::new();
    let mut series = SeriesCovers::new(names, covers);
    for_each_sample_record(reader, |base, record, sequence| {
        for (row, &id) in record.chunk.streams.iter().enumerate() {
            let time = record.chunk.times[row];
            let known = series.of(id, base, time);
            let partition = known.partition;
            if wanted(partition, known.covers, sequence) && share.has(known, time) {
                let value = record.readable.then(|| record.chunk.values[row]);
                let (_, own) = found.entry((partition, id.0)).or_insert_with(|| (names.of(id), Vec::new()));
                own.push(Owed { time, sequence, value });
            }
        }
    });
    let mut all = BySeries::new();
    // Two numbers may stand for one set of labels.
    for ((partition, _), (labels, mut own)) in found {
        all.entry(partition).or_default().entry(labels).or_default().append(&mut own);
    }
    all.values_mut().flat_map(BTreeMap::values_mut).for_each(settle);
    all
}

/// Sorts samples by time; of several at one time the last one stays. They come in the order of the journal, but for those of two
/// numbers of one series.
fn settle(samples: &mut Vec<Owed>) {
    samples.sort_by_key(|sample| (sample.time, sample.sequence));
    samples.reverse();
    samples.dedup_by_key(|sample| sample.time);
    samples.reverse();
}

/// The tables of a partition, to look for samples in.
pub(super) struct Shelf<'a> {
    tables: &'a [Arc<Table>],
    /// The column of times of each that was read last: the series of one scrape share it.
    latest: Vec<Option<(u32, Vec<Nanoseconds>)>>,
}

impl<'a> Shelf<'a> {
    pub fn new(tables: &'a [Arc<Table>]) -> Shelf<'a> {
        Shelf { tables, latest: vec![None; tables.len()] }
    }

    /// Takes out those samples of a series that a table has, or a later one of their time.
    pub fn remove_known(&mut self, labels: &Labels, owed: &mut Vec<Owed>) -> Result<(), Error> {
        for at in 0..self.tables.len() {
            let table = &self.tables[at];
            let Ok(series) = table.index.series.binary_search_by(|series| series.labels.cmp(labels)) else { continue };
            let series = &table.index.series[series];
            let covers = covers_of(&table.index, series);
            for block in &series.blocks {
                let column = &table.index.columns[block.column as usize];
                let from = owed.partition_point(|sample| sample.time < column.first);
                let to = owed.partition_point(|sample| sample.time <= column.last);
                if from == to {
                    continue;
                }
                let times = times_of(table, block.column, &mut self.latest[at])?;
                let mut values = None;
                let mut keep = Vec::new();
                for sample in &owed[from..to] {
                    let known = match times.binary_search(&sample.time) {
                        Err(_) => false,
                        Ok(_) if sample.sequence < covers => true,
                        Ok(row) => {
                            let read = match values.take() {
                                Some(read) => read,
                                None => table.values(block)?,
                            };
                            let same = sample.value.is_some_and(|value| value.to_bits() == read[row].to_bits());
                            values = Some(read);
                            same
                        }
                    };
                    if !known {
                        keep.push(*sample);
                    }
                }
                owed.splice(from..to, keep);
            }
        }
        Ok(())
    }
}

fn times_of<'a>(
    table: &Table,
    number: u32,
    latest: &'a mut Option<(u32, Vec<Nanoseconds>)>,
) -> Result<&'a [Nanoseconds], Error> {
    let read = match latest.take() {
        Some((known, times)) if known == number => times,
        _ => table.times(&table.index.columns[number as usize])?,
    };
    Ok(&latest.insert((number, read)).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_of_a_time_stays() {
        let owed = |time, sequence| Owed { time, sequence, value: None };
        let mut samples = vec![owed(5, 1), owed(3, 1), owed(5, 2), owed(3, 0)];
        settle(&mut samples);
        let left: Vec<_> = samples.iter().map(|sample| (sample.time, sample.sequence)).collect();
        assert_eq!(left, [(3, 1), (5, 2)]);
    }

    #[test]
    fn each_sample_is_in_one_share() {
        let names = Names::default();
        let covers = Covers::default();
        let mut series = SeriesCovers::new(&names, &covers);
        let shares: Vec<Share> = Share::all(5 * SHARE_SAMPLES - 1).collect();
        assert_eq!((shares.len(), Share::all(0).count()), (5, 0));
        let mut sizes = [0; 5];
        for id in 0..50 {
            let known =
                series.of(crate::chunk::StreamId(id), crate::TimeBase::Wall, crate::format::table::PERIOD_NANOSECONDS);
            for hour in 0..40 {
                let time = hour << SHARE_TIME_BITS;
                let own: Vec<usize> = (0..5).filter(|&at| shares[at].has(known, time)).collect();
                assert!(own.len() == 1 && shares[own[0]].has(known, time + 1_000));
                sizes[own[0]] += 1;
            }
        }
        assert!(sizes.iter().all(|size| (200..600).contains(size)), "{sizes:?}");
    }
}
