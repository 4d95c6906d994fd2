//! Each decoder of the store's format, fed with any bytes: for the fuzz targets, and for the noise of the plain tests. What is read
//! is looked through, so that a value that makes no sense cannot hide until somebody uses it.
//!
//! Checksums stand before these decoders in a store; they are left out here, since noise would never come past them.

use crate::format::chain::{ChainReader, ChainWriter};
use crate::format::manifest::Manifest;
use crate::format::table::Index;
use crate::format::table::block::Numbers;
use crate::format::table::filter::{hash, may_hold};
use crate::format::{batch, bytes::Reader, table::samples as sample_index};
use crate::row::Fields;

/// Rows as the journal has them.
pub fn rows(input: &[u8]) {
    let Some(chunk) = batch::rows(input, 7) else { return };
    for row in 0..chunk.len() {
        assert!(chunk.text(row).len() <= input.len() && chunk.id(row).sequence() == 7);
        chunk.fields(row).iter().for_each(|(name, value)| assert!(name.len() + value.len() <= input.len()));
    }
}

/// Samples as the journal has them: two records of one chain. What is read is written again, and must come back with every bit.
pub fn samples(input: &[u8]) {
    let mut reader = ChainReader::default();
    for sequence in [7, 8] {
        let Some(record) = reader.read(input, sequence) else { return };
        let chunk = &record.chunk;
        assert_eq!((chunk.streams.len(), chunk.times.len()), (chunk.values.len(), chunk.values.len()));
        assert_eq!((chunk.groups.len(), chunk.groups[0].sequence), (1, sequence));
        let mut again = Vec::new();
        ChainWriter::default().put(&mut again, chunk, record.of_boot, record.arrival);
        let read = ChainReader::default().read(&again, sequence).expect("what was written is read");
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert!(read.begins && read.readable && (read.of_boot, read.arrival) == (record.of_boot, record.arrival));
        assert_eq!((&read.chunk.streams, &read.chunk.times), (&chunk.streams, &chunk.times));
        assert_eq!(bits(&read.chunk.values), bits(&chunk.values));
    }
}

/// What the index of a table of samples says of series and blocks.
pub fn series(input: &[u8]) {
    let Some((series, columns)) = sample_index::read(&mut Reader::new(input)) else { return };
    let mut again = Vec::new();
    sample_index::put(&mut again, &series, &columns);
    assert_eq!(sample_index::read(&mut Reader::new(&again)), Some((series.clone(), columns.clone())));
    let end = sample_index::parts_end(&series, &columns);
    for own in &series {
        let samples = own.blocks.iter().map(|block| u64::from(columns[block.column as usize].count));
        assert_eq!(own.samples(&columns), samples.sum::<u64>());
        assert!(own.blocks.iter().all(|block| block.part.end() <= end));
    }
}

/// A stream's definition and a source's position.
pub fn names(input: &[u8]) {
    if let Some((_, labels)) = batch::stream(input) {
        assert!(crate::Labels::new(labels.iter()).is_ok_and(|again| again == labels));
    }
    if let Some((key, value)) = batch::position(input) {
        assert!(key.len() + value.len() < input.len());
    }
}

/// A manifest's list.
pub fn manifest(input: &[u8]) {
    if let Some(manifest) = Manifest::list(input) {
        let again = manifest.encode(&[3; 16]);
        assert_eq!(Manifest::decode(&again, &[3; 16]), Ok(manifest));
    }
}

/// A table's index.
pub fn index(input: &[u8]) {
    let Some(index) = Index::decode(input) else { return };
    assert_eq!(Index::decode(&index.encode()), Some(index.clone()));
    assert!(index.parts_end() <= index.filters.0 && index.blocks().count() <= input.len());
    let _ = (index.rows(), index.times());
}

/// A block's numbers; the first bytes say how many rows and bytes it is to have.
pub fn numbers(input: &[u8]) {
    let mut reader = Reader::new(input);
    let (Some(rows), Some(text), Some(fields)) = (reader.u16(), reader.u16(), reader.byte()) else { return };
    let Some(body) = reader.take(reader.left()) else { return };
    let Some(numbers) = Numbers::decode(body, rows.into(), text.into(), fields.into()) else { return };
    assert_eq!((numbers.len(), numbers.text_ends.len(), numbers.ids.len()), (rows.into(), rows.into(), rows.into()));
    assert!(numbers.text_ends.is_sorted() && numbers.text_ends.iter().all(|end| *end <= u32::from(text)));
    (0..numbers.len()).for_each(|row| _ = numbers.arrival(row));
}

/// A block's filter and a row's fields.
pub fn parts(input: &[u8]) {
    let _ = (may_hold(input, hash(b"word")), may_hold(input, hash(b"word7")));
    let fields = Fields::from_bytes(input);
    assert!(fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= input.len());
    let _ = fields.get("name");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Chunk, StreamId};
    use crate::format::table::samples::{BlockSummary, Part, SampleBlock, SampleStream, TimesColumn};
    use crate::row::{Arrival, Level};
    use crate::sample::SampleChunk;

    fn chunk() -> Chunk {
        let mut chunk = Chunk::default();
        for row in 0..20 {
            let mut fields = Vec::new();
            crate::row::put_field(&mut fields, "user", "ana");
            chunk.push(StreamId(row % 3), i64::from(row) * 1_000, Level::Info, b"a line of text", &fields);
        }
        chunk
    }

    /// A chain's first record and its second one, an index, and what it says of series.
    fn seeds_of_samples() -> Vec<Vec<u8>> {
        let mut chunk = SampleChunk::default();
        let values = [1.5, 2.0, f64::NAN, std::f64::consts::PI, -0.0, 1e300];
        values
            .iter()
            .enumerate()
            .for_each(|(at, &value)| chunk.push(StreamId(at as u32 % 2), at as i64 * 1_000, value));
        let mut writer = ChainWriter::default();
        let mut records = [Vec::new(), Vec::new()];
        for (record, sequence) in records.iter_mut().zip(7..) {
            writer.put(record, &chunk, sequence == 8, Arrival { boot: 1, monotonic: 5 });
            writer.appended(sequence);
        }
        let part = |offset, stored| Part { offset, stored, checksum: 9 };
        let columns = vec![
            TimesColumn { part: part(64, 16), count: 2, first: 5, last: 7 },
            TimesColumn { part: part(96, 24), count: 3, first: -9, last: 70 },
        ];
        let summary = Some(BlockSummary { count: 2, min: -1.5, max: 2.0, sum: 0.5 });
        let block = |column, offset, summary| SampleBlock { column, part: part(offset, 16), summary };
        let labels = |name| crate::Labels::new([("__name__", name)]).unwrap();
        let all = vec![
            SampleStream { labels: labels("a"), covers: 0, blocks: vec![block(0, 80, summary)] },
            SampleStream { labels: labels("b"), covers: 9, blocks: vec![block(1, 120, None), block(0, 136, summary)] },
        ];
        let mut put = Vec::new();
        sample_index::put(&mut put, &all, &columns);
        let mut index = Index::new(crate::format::table::Partition::Samples(3), 1, 7, vec![4]);
        (index.series, index.columns) = (all, columns);
        records.into_iter().chain([put, index.encode()]).collect()
    }

    /// Good bytes with some of them changed, and plain noise: what a fuzzer begins with, on every run of the tests.
    #[test]
    fn noise_makes_no_panic() {
        let mut good = Vec::new();
        batch::put_rows(&mut good, &chunk(), Arrival { boot: 1, monotonic: 5 });
        let mut seeds = vec![good, vec![0; 64], vec![0xff; 64]];
        let mut stream = Vec::new();
        batch::put_stream(&mut stream, StreamId(9), &crate::Labels::new([("app", "x"), ("b", "y")]).unwrap());
        seeds.push(stream);
        let manifest = Manifest {
            next_table: 3,
            tables: vec![crate::format::manifest::TableEntry {
                number: 1,
                bytes: 9,
                partition: crate::format::table::Partition::Day(1),
                level: 0,
                rows: 3,
                times: (1, 2),
                text_bytes: 3,
                covers: 4,
                stream_covers: vec![(vec![1], 5)],
            }],
        };
        seeds.push(manifest.encode(&[3; 16])[40..].to_vec());
        seeds.extend(seeds_of_samples());
        assert!(seeds.iter().any(|seed| Index::decode(seed).is_some_and(|index| index.series.len() == 2)));
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as usize % bound
        };
        for turn in 0..60_000 {
            let mut input = seeds[turn % seeds.len()].clone();
            for _ in 0..random(6) {
                let at = random(input.len());
                match random(3) {
                    0 => input[at] = random(256) as u8,
                    1 => input.truncate(at.max(1)),
                    _ => input.insert(at, random(256) as u8),
                }
            }
            for decoder in [rows, samples, names, super::manifest, index, series, numbers, parts] {
                decoder(&input);
            }
        }
    }
}
