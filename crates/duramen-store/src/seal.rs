//! Rows in memory become tables: sorted, grouped by stream, one table for each partition. Owns the order of rows in a table;
//! the writing is the table writer's, and what it means the store's.

pub(crate) mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::{Catalog, entry_of};
use crate::chunk::{Chunk, StreamId};
use crate::error::Error;
use crate::format::manifest::TableEntry;
use crate::format::table::Partition;
use crate::labels::Labels;
use crate::row::TimeBase;
use crate::stream::Streams;
use crate::table::writer::{IndexHead, Unfinished};
use crate::table::{RowToWrite, TableWriter, WriterOptions};

/// The name of a stream whose definition was lost with a part of the journal.
pub(crate) fn lost_labels(stream: StreamId) -> Labels {
    Labels::new([("duramen", "unnamed"), ("stream", &stream.0.to_string())]).expect("two good labels")
}

/// Rows of one partition, to be sorted.
#[derive(Default)]
struct Rows {
    /// Rank of the stream, time, chunk, row.
    rows: Vec<(u32, i64, u32, u32)>,
}

/// Sorted labels of all streams in some chunks, and the rank of each stream among them.
pub(crate) fn ranks(chunks: &[(TimeBase, Arc<Chunk>)], streams: &Streams) -> (Vec<Labels>, BTreeMap<StreamId, u32>) {
    let mut used = BTreeSet::new();
    for (_, chunk) in chunks {
        let mut before = None;
        for &stream in &chunk.streams {
            if before != Some(stream) {
                used.insert(stream);
                before = Some(stream);
            }
        }
    }
    let name = |id: StreamId| streams.get(id).map_or_else(|| lost_labels(id), |stream| stream.labels().clone());
    let named: Vec<(StreamId, Labels)> = used.into_iter().map(|id| (id, name(id))).collect();
    let mut labels: Vec<Labels> = named.iter().map(|(_, labels)| labels.clone()).collect();
    labels.sort_unstable();
    labels.dedup();
    let rank = |own: &Labels| labels.binary_search(own).expect("it is among them") as u32;
    let ranks = named.iter().map(|(id, own)| (*id, rank(own))).collect();
    (labels, ranks)
}

/// How rows are to be sealed.
pub(crate) struct Sealing<'a> {
    pub catalog: &'a Catalog,
    /// All rows below this sequence are in these tables, or in others.
    pub covers: u64,
    /// The same for the streams that have rows here, if that is further.
    pub stream_covers: u64,
    pub options: WriterOptions,
    pub next_number: &'a dyn Fn() -> u64,
}

/// Writes the tables of some rows, and puts what the manifest is to say of each into `done`: a table is durable, and counts, as
/// soon as it is there. Partitions that are in `done` already are left out, so that a failed sealing can be gone on with.
pub(crate) fn seal(
    chunks: &[(TimeBase, Arc<Chunk>)],
    labels: &[Labels],
    ranks: &BTreeMap<StreamId, u32>,
    sealing: &Sealing<'_>,
    done: &mut Vec<TableEntry>,
) -> Result<(), Unfinished> {
    let catalog = sealing.catalog;
    let mut partitions: BTreeMap<Partition, Rows> = BTreeMap::new();
    for (at, (base, chunk)) in chunks.iter().enumerate() {
        // Rows mostly come in the order of their time, and of few streams.
        let (mut partition, mut rank) = (None, None);
        for row in 0..chunk.len() {
            let place = Partition::of(*base, chunk.times[row]);
            let stream = chunk.streams[row];
            if rank.is_none_or(|(of, _)| of != stream) {
                rank = Some((stream, ranks[&stream]));
            }
            if partition != Some(place) {
                partition = Some(place);
                partitions.entry(place).or_default();
            }
            let rows = &mut partitions.get_mut(&place).expect("made above").rows;
            rows.push((rank.expect("set above").1, chunk.times[row], at as u32, row as u32));
        }
    }
    for (partition, Rows { mut rows }) in partitions {
        if done.iter().any(|entry| entry.partition == partition) {
            continue;
        }
        // Chunks and rows stand in the order of the journal, so that their places sort as ids do within a base.
        rows.sort_unstable();
        let number = (sealing.next_number)();
        let head = IndexHead { partition, level: 0, covers: sealing.covers, replaces: Vec::new() };
        let binding = catalog.binding(number);
        let table = TableWriter::create(catalog.disk.clone(), &catalog.tables, binding, head, sealing.options);
        let mut table = table.map_err(Unfinished::Gone)?;
        if let Err(error) = write_rows(&mut table, &rows, chunks, labels, sealing.stream_covers) {
            table.abandon();
            return Err(Unfinished::Gone(error));
        }
        let written = table.finish()?;
        done.push(entry_of(number, written.bytes, &written.index));
    }
    Ok(())
}

fn write_rows(
    table: &mut TableWriter,
    rows: &[(u32, i64, u32, u32)],
    chunks: &[(TimeBase, Arc<Chunk>)],
    labels: &[Labels],
    stream_covers: u64,
) -> Result<(), Error> {
    let mut stream = None;
    for &(rank, time, chunk, row) in rows {
        if stream != Some(rank) {
            stream = Some(rank);
            table.begin_stream(&labels[rank as usize], stream_covers, &[])?;
        }
        let (chunk, row) = (&chunks[chunk as usize].1, row as usize);
        table.push(RowToWrite {
            time,
            id: chunk.id(row),
            arrival: chunk.arrival(row),
            level: chunk.levels[row],
            text: chunk.text(row),
            fields: chunk.field_bytes(row),
        })?;
    }
    Ok(())
}
