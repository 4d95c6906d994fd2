//! The index of a table of samples: which series it has, in which blocks, with which columns of times. Pure.
//!
//! A block is values of one series; its times are a column that it may share with other series, as those of one scrape do. A
//! column's section stands before the first block that uses it, so that no offset is said.

use crate::format::bytes::{Reader, put_bytes, put_number, put_signed};
use crate::format::samples::Effort;
use crate::format::samples::{put_values, values};
use crate::format::table::HEADER_BYTES;
use crate::labels::Labels;
use crate::row::Nanoseconds;

/// Samples of one block at most.
pub(crate) const BLOCK_SAMPLES_MAX: usize = 4_096;
/// Stored bytes of one section at most: a block of raw values, and what stands beside it.
const SECTION_BYTES_MAX: u64 = 1 << 20;
/// The block's summary says what its values are; otherwise only they do.
const PLAIN: u8 = 1;

/// A part of the file as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Part {
    pub offset: u64,
    pub stored: u32,
    pub checksum: u32,
}

impl Part {
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.stored)
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.stored));
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    /// Reads a part that stands at `end`, and moves that behind it.
    fn read(reader: &mut Reader<'_>, end: &mut u64) -> Option<Part> {
        let stored = reader.number().filter(|&stored| stored <= SECTION_BYTES_MAX)?;
        let part = Part { offset: *end, stored: stored as u32, checksum: reader.u32()? };
        *end = end.checked_add(stored)?;
        Some(part)
    }
}

/// Times of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimesColumn {
    pub part: Part,
    pub count: u32,
    pub first: Nanoseconds,
    pub last: Nanoseconds,
}

/// What a block's values come to, so that whoever asks for that need not read them. Values that say that a series ended are left
/// out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockSummary {
    pub count: u32,
    pub min: f64,
    pub max: f64,
    pub sum: f64,
}

/// One block: values of one series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampleBlock {
    /// Which of the table's columns has its times.
    pub column: u32,
    pub part: Part,
    /// `None`: only the values tell, as there is NaN among them.
    pub summary: Option<BlockSummary>,
}

impl PartialEq for SampleBlock {
    fn eq(&self, other: &SampleBlock) -> bool {
        let bits = |block: &SampleBlock| {
            block.summary.map(|own| (own.count, own.min.to_bits(), own.max.to_bits(), own.sum.to_bits()))
        };
        (self.column, self.part, bits(self)) == (other.column, other.part, bits(other))
    }
}

impl Eq for SampleBlock {}

/// One series in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SampleStream {
    pub labels: Labels,
    /// Samples of this series and the table's partition in the journal below this sequence are in tables.
    pub covers: u64,
    /// In the order of their times; they do not overlap.
    pub blocks: Vec<SampleBlock>,
}

impl SampleStream {
    /// Samples of the series.
    pub fn samples(&self, columns: &[TimesColumn]) -> u64 {
        self.blocks.iter().map(|block| u64::from(columns[block.column as usize].count)).sum()
    }
}

/// The offset behind all parts.
pub(crate) fn parts_end(series: &[SampleStream], columns: &[TimesColumn]) -> u64 {
    let blocks = series.iter().flat_map(|series| series.blocks.iter().map(|block| block.part.end()));
    blocks.chain(columns.iter().map(|column| column.part.end())).max().unwrap_or(HEADER_BYTES as u64)
}

/// Adds what an index says of samples.
pub(crate) fn put(out: &mut Vec<u8>, series: &[SampleStream], columns: &[TimesColumn]) {
    put_number(out, series.len() as u64);
    let mut known = 0;
    let mut time = 0i64;
    let mut summaries = [Vec::new(), Vec::new(), Vec::new()];
    for own in series {
        put_bytes(out, own.labels.as_bytes());
        put_number(out, own.covers);
        put_number(out, own.blocks.len() as u64);
        for block in &own.blocks {
            if block.column == known {
                let column = &columns[known as usize];
                put_number(out, 0);
                put_number(out, u64::from(column.count));
                put_signed(out, column.first.wrapping_sub(time));
                put_signed(out, column.last.wrapping_sub(column.first));
                column.part.put(out);
                time = column.first;
                known += 1;
            } else {
                put_number(out, u64::from(known - block.column));
            }
            block.part.put(out);
            match block.summary {
                None => out.push(0),
                Some(summary) => {
                    out.push(PLAIN);
                    put_number(out, u64::from(columns[block.column as usize].count - summary.count));
                    let all = [summary.min, summary.max, summary.sum];
                    summaries.iter_mut().zip(all).for_each(|(column, value)| column.push(value));
                }
            }
        }
    }
    for column in summaries {
        let mut packed = Vec::new();
        put_values(&mut packed, &column, Effort::Seal);
        put_bytes(out, &packed);
    }
}

/// Reads what an index says of samples. `None`: it makes no sense.
pub(crate) fn read(reader: &mut Reader<'_>) -> Option<(Vec<SampleStream>, Vec<TimesColumn>)> {
    let mut columns: Vec<TimesColumn> = Vec::new();
    let mut all: Vec<SampleStream> = Vec::new();
    let mut end = HEADER_BYTES as u64;
    let mut time = 0i64;
    let mut plain = 0;
    for _ in 0..reader.count()? {
        let labels = Labels::decode(reader.bytes()?)?;
        let covers = reader.number()?;
        let mut blocks = Vec::new();
        for _ in 0..reader.count()? {
            let back = usize::try_from(reader.number()?).ok()?;
            let column = match back {
                0 => {
                    let column = read_column(reader, &mut time, &mut end)?;
                    columns.push(column);
                    columns.len() - 1
                }
                _ => columns.len().checked_sub(back)?,
            };
            let part = Part::read(reader, &mut end)?;
            let summary = match reader.byte()? {
                0 => None,
                PLAIN => {
                    let ended = u32::try_from(reader.number()?).ok()?;
                    let count = columns[column].count.checked_sub(ended)?;
                    plain += 1;
                    Some(BlockSummary { count, min: 0.0, max: 0.0, sum: 0.0 })
                }
                _ => return None,
            };
            blocks.push(SampleBlock { column: u32::try_from(column).ok()?, part, summary });
        }
        // Mostly one: room for four would be nearly half of what the index takes of the memory.
        blocks.shrink_to_fit();
        all.push(SampleStream { labels, covers, blocks });
    }
    let mut column = || values(reader.bytes()?, plain);
    let (mins, maxs, sums) = (column()?, column()?, column()?);
    let plain = all.iter_mut().flat_map(|own| &mut own.blocks).filter_map(|block| block.summary.as_mut());
    for (at, summary) in plain.enumerate() {
        (summary.min, summary.max, summary.sum) = (mins[at], maxs[at], sums[at]);
    }
    Some((all, columns))
}

fn read_column(reader: &mut Reader<'_>, time: &mut i64, end: &mut u64) -> Option<TimesColumn> {
    let count =
        u32::try_from(reader.number()?).ok().filter(|&count| count as usize <= BLOCK_SAMPLES_MAX && count > 0)?;
    let first = time.wrapping_add(reader.signed()?);
    let last = first.wrapping_add(reader.signed()?);
    *time = first;
    Some(TimesColumn { part: Part::read(reader, end)?, count, first, last })
}
