//! A table's fixed parts and its index: header, trailer, streams, blocks. Pure; what lies within a block is [`block`]'s.
//!
//! Every checksum covers the journal's id, the table's number and the part's offset too, so that moved or stale bytes never
//! pass.

pub(crate) mod block;
pub(crate) mod filter;
pub(crate) mod samples;

use crate::format::bytes::{Reader, checksum, put_bytes, put_number, put_signed};
use crate::labels::Labels;
use crate::row::{Nanoseconds, TimeBase};
use samples::{SampleBlock, SampleStream, TimesColumn};

/// The version that this code writes.
pub(crate) const VERSION: u16 = 1;
/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 64;
/// Bytes of the trailer.
pub(crate) const TRAILER_BYTES: usize = 64;
/// Raw bytes of one section at most: a row of the largest size, and what stands beside it.
pub(crate) const SECTION_RAW_MAX: u32 = 64 << 20;

const HEADER_MAGIC: &[u8; 8] = b"DURTABLE";
const TRAILER_MAGIC: &[u8; 8] = b"DURTBEND";
/// Nanoseconds of a partition of rows of wall time: one day.
pub(crate) const PARTITION_NANOSECONDS: i64 = 86_400_000_000_000;
/// Nanoseconds of a partition of samples: thirty days. Series that are measured every few minutes fill blocks worth the name then.
pub(crate) const PERIOD_NANOSECONDS: i64 = 30 * PARTITION_NANOSECONDS;
/// Nanoseconds of a partition of downsampled series.
pub(crate) const LONG_PERIOD_NANOSECONDS: i64 = 12 * PERIOD_NANOSECONDS;
/// The feature, incompatible with older readers, of tables that hold samples.
const FEATURE_SAMPLES: u16 = 1;

/// What all checksums of one table are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub journal_id: [u8; 16],
    pub number: u64,
}

impl Binding {
    /// The checksum of bytes at an offset.
    pub fn checksum(&self, offset: u64, bytes: &[u8]) -> u32 {
        checksum(&[&self.journal_id, &self.number.to_le_bytes(), &offset.to_le_bytes(), bytes])
    }
}

/// Why bytes are not the part of a table that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They do not verify; in words.
    Damaged(&'static str),
    /// Of a newer version.
    Newer(u16),
}

/// Which rows or samples a table may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Partition {
    /// Rows of one day, counted from 1970-01-01 UTC.
    Day(i32),
    /// Rows of a boot whose clock was not set.
    Boot(u32),
    /// Samples of thirty days, counted from 1970-01-01 UTC.
    Samples(i32),
    /// Samples of a boot whose clock was not set.
    SamplesOfBoot(u32),
    /// Samples of series that were made of others by downsampling, of 360 days: they are kept longer.
    Downsampled(i32),
}

/// Whether a series was measured, or made of others by downsampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    Measured,
    Downsampled,
}

impl Grain {
    /// That of a series.
    pub fn of(labels: &Labels) -> Grain {
        if labels.get(DOWNSAMPLE_LABEL).is_some() { Grain::Downsampled } else { Grain::Measured }
    }
}

/// The label of a series that was made of another one by downsampling: how.
pub const DOWNSAMPLE_LABEL: &str = "downsample";

impl Partition {
    /// The partition of a row.
    pub fn of(base: TimeBase, time: Nanoseconds) -> Partition {
        match base {
            TimeBase::Wall => {
                let day = time.div_euclid(PARTITION_NANOSECONDS);
                Partition::Day(i32::try_from(day).expect("nanoseconds in 64 bits are 213,504 days"))
            }
            TimeBase::Boot(boot) => Partition::Boot(boot),
        }
    }

    /// The partition of a sample.
    pub(crate) fn of_sample(base: TimeBase, time: Nanoseconds, grain: Grain) -> Partition {
        let period = |length| i32::try_from(time.div_euclid(length)).expect("nanoseconds in 64 bits are 7,117 periods");
        match (base, grain) {
            (TimeBase::Wall, Grain::Measured) => Partition::Samples(period(PERIOD_NANOSECONDS)),
            (TimeBase::Wall, Grain::Downsampled) => Partition::Downsampled(period(LONG_PERIOD_NANOSECONDS)),
            (TimeBase::Boot(boot), _) => Partition::SamplesOfBoot(boot),
        }
    }

    /// The grain of its series.
    pub(crate) fn grain(self) -> Grain {
        if matches!(self, Partition::Downsampled(_)) { Grain::Downsampled } else { Grain::Measured }
    }

    /// Whether it is one of samples.
    pub fn is_of_samples(self) -> bool {
        matches!(self, Partition::Samples(_) | Partition::SamplesOfBoot(_) | Partition::Downsampled(_))
    }

    /// What its rows' times are counted from.
    pub fn base(self) -> TimeBase {
        match self {
            Partition::Day(_) | Partition::Samples(_) | Partition::Downsampled(_) => TimeBase::Wall,
            Partition::Boot(boot) | Partition::SamplesOfBoot(boot) => TimeBase::Boot(boot),
        }
    }

    /// The time behind its last possible row; `None`: its times have no place in wall time.
    pub fn end(self) -> Option<Nanoseconds> {
        match self {
            Partition::Day(day) => Some((i64::from(day) + 1).saturating_mul(PARTITION_NANOSECONDS)),
            Partition::Samples(period) => Some((i64::from(period) + 1).saturating_mul(PERIOD_NANOSECONDS)),
            Partition::Downsampled(period) => Some((i64::from(period) + 1).saturating_mul(LONG_PERIOD_NANOSECONDS)),
            Partition::Boot(_) | Partition::SamplesOfBoot(_) => None,
        }
    }

    pub(crate) fn put(self, out: &mut Vec<u8>) {
        let (kind, number) = match self {
            Partition::Day(day) => (0, i64::from(day)),
            Partition::Boot(boot) => (1, i64::from(boot)),
            Partition::Samples(period) => (2, i64::from(period)),
            Partition::SamplesOfBoot(boot) => (3, i64::from(boot)),
            Partition::Downsampled(period) => (4, i64::from(period)),
        };
        out.push(kind);
        put_signed(out, number);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Partition> {
        let kind = reader.byte()?;
        let number = reader.signed()?;
        match kind {
            0 => Some(Partition::Day(i32::try_from(number).ok()?)),
            1 => Some(Partition::Boot(u32::try_from(number).ok()?)),
            2 => Some(Partition::Samples(i32::try_from(number).ok()?)),
            3 => Some(Partition::SamplesOfBoot(u32::try_from(number).ok()?)),
            4 => Some(Partition::Downsampled(i32::try_from(number).ok()?)),
            _ => None,
        }
    }

    /// The features that a table of it needs its reader to know.
    fn features(self) -> u16 {
        if self.is_of_samples() { FEATURE_SAMPLES } else { 0 }
    }
}

/// The first bytes of a table.
pub(crate) fn header(binding: &Binding, partition: Partition) -> [u8; HEADER_BYTES] {
    fixed_part(binding, HEADER_MAGIC, partition.features(), 0, [0; 20])
}

/// Checks the first bytes of a table.
pub(crate) fn check_header(bytes: &[u8], binding: &Binding) -> Result<(), Fault> {
    read_fixed_part(bytes, binding, HEADER_MAGIC, 0).map(|_| ())
}

/// Header and trailer have one shape: magic, version, masks, binding, twenty bytes of their own, checksum.
fn fixed_part(binding: &Binding, magic: &[u8; 8], features: u16, offset: u64, own: [u8; 20]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(magic);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    // Three feature masks of two bytes: incompatible, compatible for reading, compatible.
    bytes[10..12].copy_from_slice(&features.to_le_bytes());
    bytes[16..32].copy_from_slice(&binding.journal_id);
    bytes[32..40].copy_from_slice(&binding.number.to_le_bytes());
    bytes[40..60].copy_from_slice(&own);
    let sum = binding.checksum(offset, &bytes[..60]);
    bytes[60..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn read_fixed_part(bytes: &[u8], binding: &Binding, magic: &[u8; 8], offset: u64) -> Result<[u8; 20], Fault> {
    let mut reader = Reader::new(bytes);
    if bytes.len() < 64 || reader.fixed::<8>() != Some(*magic) {
        return Err(Fault::Damaged("not the beginning or end of a table"));
    }
    let version = reader.u16().unwrap_or(0);
    let incompatible = reader.u16().unwrap_or(0);
    if version > VERSION || incompatible & !FEATURE_SAMPLES != 0 {
        return Err(Fault::Newer(version.max(VERSION + 1)));
    }
    if bytes[16..32] != binding.journal_id || bytes[32..40] != binding.number.to_le_bytes() {
        return Err(Fault::Damaged("belongs to another store, or has another table's number"));
    }
    if bytes[60..64] != binding.checksum(offset, &bytes[..60]).to_le_bytes() {
        return Err(Fault::Damaged("the checksum of its header or trailer is wrong"));
    }
    Ok(bytes[40..60].try_into().expect("twenty bytes"))
}

/// The last bytes of a table: where its index lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub index_offset: u64,
    pub index: Section,
}

impl Trailer {
    pub fn encode(&self, binding: &Binding, partition: Partition) -> [u8; TRAILER_BYTES] {
        let mut own = [0; 20];
        own[..8].copy_from_slice(&self.index_offset.to_le_bytes());
        own[8..12].copy_from_slice(&self.index.stored.to_le_bytes());
        own[12..16].copy_from_slice(&self.index.raw.to_le_bytes());
        own[16..].copy_from_slice(&self.index.checksum.to_le_bytes());
        let offset = self.index_offset + u64::from(self.index.stored);
        fixed_part(binding, TRAILER_MAGIC, partition.features(), offset, own)
    }

    /// Reads the last bytes of a table of this length.
    pub fn decode(bytes: &[u8], binding: &Binding, table_bytes: u64) -> Result<Trailer, Fault> {
        let offset = table_bytes.saturating_sub(TRAILER_BYTES as u64);
        let own = read_fixed_part(bytes, binding, TRAILER_MAGIC, offset)?;
        let mut reader = Reader::new(&own);
        let mut read = || {
            let index_offset = reader.u64()?;
            let (stored, raw, checksum) = (reader.u32()?, reader.u32()?, reader.u32()?);
            Some(Trailer { index_offset, index: Section { stored, raw, checksum } })
        };
        let trailer = read().ok_or(Fault::Damaged("the trailer is short"))?;
        let whole = trailer.index_offset.checked_add(u64::from(trailer.index.stored)) == Some(offset);
        if whole { Ok(trailer) } else { Err(Fault::Damaged("the table's length is not what its trailer says")) }
    }
}

/// A stored part: compressed where that makes it shorter, as it is otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Section {
    /// Bytes in the file.
    pub stored: u32,
    /// Bytes of the contents; equal to `stored` if they are not compressed.
    pub raw: u32,
    pub checksum: u32,
}

impl Section {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.stored));
        put_number(out, u64::from(self.raw));
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Option<Section> {
        let stored = u32::try_from(reader.number()?).ok()?;
        let raw = u32::try_from(reader.number()?).ok()?;
        (raw <= SECTION_RAW_MAX).then_some(Section { stored, raw, checksum: reader.u32()? })
    }
}

/// One block: rows of one stream that follow each other in time. Its sections lie one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    /// Where its first section lies: behind the block before.
    pub offset: u64,
    pub rows: u32,
    pub first_time: Nanoseconds,
    pub last_time: Nanoseconds,
    /// A bit for each level that occurs.
    pub levels: u16,
    pub numbers: Section,
    pub fields: Section,
    pub text: Section,
    /// Where its filter lies among the table's filters, and its length.
    pub filter_offset: u32,
    pub filter_bytes: u32,
}

impl BlockEntry {
    /// The offset behind its last section.
    pub fn end(&self) -> u64 {
        self.text_offset() + u64::from(self.text.stored)
    }

    pub fn fields_offset(&self) -> u64 {
        self.offset + u64::from(self.numbers.stored)
    }

    pub fn text_offset(&self) -> u64 {
        self.fields_offset() + u64::from(self.fields.stored)
    }
}

/// One stream in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamEntry {
    pub labels: Labels,
    /// Rows of this stream and the table's partition in the journal below this sequence are in tables.
    pub covers: u64,
    /// The dictionary of its text.
    pub dictionary: Option<(u64, Section)>,
    /// In the order of their times.
    pub blocks: Vec<BlockEntry>,
}

/// What a table holds, and how it came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub partition: Partition,
    /// 0: sealed from the memtable; otherwise one more than the highest of what was merged.
    pub level: u32,
    /// Rows of this partition in the journal below this sequence are in tables, this or others.
    pub covers: u64,
    /// The tables whose rows are in this one now.
    pub replaces: Vec<u64>,
    /// Sorted by labels; none in a table of samples.
    pub streams: Vec<StreamEntry>,
    /// Series with samples, sorted by labels; none in a table of rows.
    pub series: Vec<SampleStream>,
    /// The columns of times that the series' blocks share.
    pub columns: Vec<TimesColumn>,
    /// Where the filters of all blocks lie, and their checksum.
    pub filters: (u64, Section),
}

impl Index {
    /// An index with nothing in it.
    pub fn new(partition: Partition, level: u32, covers: u64, replaces: Vec<u64>) -> Index {
        let filters = (0, Section::default());
        Index { partition, level, covers, replaces, filters, streams: vec![], series: vec![], columns: vec![] }
    }

    /// Rows or samples in the table.
    pub fn rows(&self) -> u64 {
        let samples = self.series.iter().map(|series| series.samples(&self.columns)).sum::<u64>();
        samples + self.blocks().map(|block| u64::from(block.rows)).sum::<u64>()
    }

    pub fn blocks(&self) -> impl Iterator<Item = &BlockEntry> {
        self.streams.iter().flat_map(|stream| &stream.blocks)
    }

    /// Bytes of memory that it takes, about: what allocating adds is not known.
    pub fn memory_bytes(&self) -> usize {
        // A set of labels stands behind two counters.
        let labels = |labels: &Labels| labels.as_bytes().len() + 2 * size_of::<usize>();
        let streams = self.streams.iter().map(|own| {
            size_of::<StreamEntry>() + labels(&own.labels) + own.blocks.capacity() * size_of::<BlockEntry>()
        });
        let series = self.series.iter().map(|own| {
            size_of::<SampleStream>() + labels(&own.labels) + own.blocks.capacity() * size_of::<SampleBlock>()
        });
        streams.chain(series).sum::<usize>() + self.columns.capacity() * size_of::<TimesColumn>()
    }

    /// The offset behind the dictionaries and blocks of all streams.
    pub fn parts_end(&self) -> u64 {
        if self.partition.is_of_samples() {
            return samples::parts_end(&self.series, &self.columns);
        }
        let end = |stream: &StreamEntry| {
            let dictionary = stream.dictionary.map(|(offset, section)| offset + u64::from(section.stored));
            stream.blocks.last().map(BlockEntry::end).or(dictionary)
        };
        self.streams.iter().rev().find_map(end).unwrap_or(HEADER_BYTES as u64)
    }

    /// First and last time of its rows.
    pub fn times(&self) -> Option<(Nanoseconds, Nanoseconds)> {
        let columns = self.columns.iter().map(|column| (column.first, column.last));
        let all = self.blocks().map(|block| (block.first_time, block.last_time)).chain(columns);
        all.reduce(|all, own| (all.0.min(own.0), all.1.max(own.1)))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.partition.put(&mut out);
        put_number(&mut out, u64::from(self.level));
        put_number(&mut out, self.covers);
        put_number(&mut out, self.replaces.len() as u64);
        self.replaces.iter().for_each(|&number| put_number(&mut out, number));
        if self.partition.is_of_samples() {
            samples::put(&mut out, &self.series, &self.columns);
            return out;
        }
        put_number(&mut out, self.filters.0);
        self.filters.1.put(&mut out);
        put_number(&mut out, self.streams.len() as u64);
        let mut end = HEADER_BYTES as u64;
        for stream in &self.streams {
            stream.put(&mut end, &mut out);
        }
        out
    }

    /// Reads an index back. `None`: it is none.
    pub fn decode(bytes: &[u8]) -> Option<Index> {
        let mut reader = Reader::new(bytes);
        let partition = Partition::read(&mut reader)?;
        let level = u32::try_from(reader.number()?).ok()?;
        let covers = reader.number()?;
        let replaces = (0..reader.count()?).map(|_| reader.number()).collect::<Option<Vec<_>>>()?;
        let mut index = Index::new(partition, level, covers, replaces);
        if partition.is_of_samples() {
            (index.series, index.columns) = samples::read(&mut reader)?;
            // There are no filters: their place is where the index begins.
            index.filters.0 = index.parts_end();
            return reader.is_empty().then_some(index);
        }
        index.filters = (reader.number()?, Section::read(&mut reader)?);
        let mut end = HEADER_BYTES as u64;
        let mut filter_end = 0;
        for _ in 0..reader.count()? {
            index.streams.push(StreamEntry::read(&mut reader, &mut end, &mut filter_end)?);
        }
        let whole = reader.is_empty() && filter_end == index.filters.1.raw && end <= index.filters.0;
        whole.then_some(index)
    }
}

impl StreamEntry {
    /// `end` is the offset behind the parts of the streams before; blocks and dictionary follow from there.
    fn put(&self, end: &mut u64, out: &mut Vec<u8>) {
        put_bytes(out, self.labels.as_bytes());
        put_number(out, self.covers);
        match &self.dictionary {
            None => out.push(0),
            Some((offset, section)) => {
                debug_assert_eq!(offset, end);
                out.push(1);
                section.put(out);
                *end += u64::from(section.stored);
            }
        }
        put_number(out, self.blocks.len() as u64);
        let mut time = 0;
        for block in &self.blocks {
            debug_assert_eq!(block.offset, *end);
            put_number(out, u64::from(block.rows));
            put_signed(out, block.first_time.wrapping_sub(time));
            put_signed(out, block.last_time.wrapping_sub(block.first_time));
            time = block.last_time;
            put_number(out, u64::from(block.levels));
            block.numbers.put(out);
            block.fields.put(out);
            block.text.put(out);
            put_number(out, u64::from(block.filter_bytes));
            *end = block.end();
        }
    }

    fn read(reader: &mut Reader<'_>, end: &mut u64, filter_end: &mut u32) -> Option<StreamEntry> {
        let labels = Labels::decode(reader.bytes()?)?;
        let covers = reader.number()?;
        let dictionary = match reader.byte()? {
            0 => None,
            1 => {
                let section = Section::read(reader)?;
                let offset = *end;
                *end = end.checked_add(u64::from(section.stored))?;
                Some((offset, section))
            }
            _ => return None,
        };
        let mut blocks = Vec::new();
        let mut time: i64 = 0;
        for _ in 0..reader.count()? {
            let rows = u32::try_from(reader.number()?).ok()?;
            let first_time = time.wrapping_add(reader.signed()?);
            let last_time = first_time.wrapping_add(reader.signed()?);
            time = last_time;
            let levels = u16::try_from(reader.number()?).ok()?;
            let (numbers, fields, text) = (Section::read(reader)?, Section::read(reader)?, Section::read(reader)?);
            let filter_bytes = u32::try_from(reader.number()?).ok()?;
            let filter_offset = *filter_end;
            *filter_end = filter_end.checked_add(filter_bytes)?;
            let entry = BlockEntry {
                offset: *end,
                rows,
                first_time,
                last_time,
                levels,
                numbers,
                fields,
                text,
                filter_offset,
                filter_bytes,
            };
            *end = entry.end();
            blocks.push(entry);
        }
        Some(StreamEntry { labels, covers, dictionary, blocks })
    }
}

#[cfg(test)]
mod tests;
