//! What a dump shows, thing by thing, for people and as JSON. Owns the words; reads nothing.

use std::collections::BTreeMap;
use std::fmt;

use duramen_journal::Sequence;

use crate::format::table::samples::{SampleBlock, TimesColumn};
use crate::format::table::{BlockEntry, Partition};
use crate::inspect::finding::{Finding, boot_of};
use crate::inspect::{json_array, json_number, json_string};
use crate::labels::Labels;
use crate::row::{Level, Nanoseconds, RowId};
use crate::sample::is_stale;
use crate::table::Table;

/// Bytes of a text that are shown to people.
const PREVIEW_BYTES: usize = 80;

/// One thing that a dump shows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Item {
    /// A record of rows in the journal.
    Rows {
        /// Its sequence.
        sequence: Sequence,
        /// The boot that its times are counted from; `None`: from 1970.
        boot: Option<u32>,
        /// How many.
        rows: u64,
        /// Of how many streams.
        streams: u64,
        /// The first and the last time.
        times: (Nanoseconds, Nanoseconds),
        /// Bytes of the record.
        bytes: u64,
    },
    /// A record of samples in the journal.
    Samples {
        /// Its sequence.
        sequence: Sequence,
        /// The boot that its times are counted from; `None`: from 1970.
        boot: Option<u32>,
        /// It begins a chain: its values build on none before.
        begins: bool,
        /// What its values build on is there; without it nobody can read them.
        readable: bool,
        /// How many.
        samples: u64,
        /// Of how many series.
        series: u64,
        /// The first and the last time.
        times: (Nanoseconds, Nanoseconds),
        /// Bytes of the record.
        bytes: u64,
    },
    /// A stream's definition in the journal.
    Stream {
        /// Its sequence.
        sequence: Sequence,
        /// The stream's number.
        number: u32,
        /// Its labels.
        labels: Labels,
    },
    /// A source's position in the journal.
    Position {
        /// Its sequence.
        sequence: Sequence,
        /// The source; the store's own notes begin with `d`, all others with `u`.
        key: Vec<u8>,
        /// Where it stands.
        value: Vec<u8>,
    },
    /// The list of live tables.
    Manifest {
        /// Whether there is one that can be believed; without it the tables decide.
        good: bool,
        /// Live tables.
        tables: u64,
        /// Tables that do not count any more.
        dead: Vec<u64>,
    },
    /// A live table of rows.
    Table(Box<TableItem>),
    /// A live table of samples.
    SampleTable(Box<SampleTableItem>),
    /// A stream in the table before.
    TableStream {
        /// The table.
        table: u64,
        /// Its labels.
        labels: Labels,
        /// Rows of it in the journal below this are in tables; 0: as the table says.
        covers: Sequence,
        /// Bytes of the dictionary of its text; 0: it has none.
        dictionary_bytes: u32,
        /// Its blocks.
        blocks: u64,
        /// Its rows.
        rows: u64,
    },
    /// A block of the stream before.
    Block {
        /// The table.
        table: u64,
        /// Where it lies.
        offset: u64,
        /// Its rows.
        rows: u32,
        /// The first and the last time.
        times: (Nanoseconds, Nanoseconds),
        /// A bit for each level that occurs.
        levels: u16,
        /// Stored and raw bytes of numbers, fields and text.
        columns: [(u32, u32); 3],
        /// Bytes of its filter.
        filter_bytes: u32,
    },
    /// A series in the table before.
    TableSeries {
        /// The table.
        table: u64,
        /// Its labels.
        labels: Labels,
        /// Samples of it in the journal below this are in tables; 0: as the table says.
        covers: Sequence,
        /// Its blocks.
        blocks: u64,
        /// Its samples.
        samples: u64,
    },
    /// A block of the series before.
    SampleBlock(SampleBlockItem),
    /// A sample, of the record or of the block before.
    Sample {
        /// The record that it stands in; `None`: it stands in the block.
        sequence: Option<Sequence>,
        /// Its series.
        labels: Labels,
        /// Its time.
        time: Nanoseconds,
        /// Its value; `None`: what it builds on is lost.
        value: Option<f64>,
    },
    /// A row, of the record or of the block before.
    Row {
        /// Its id.
        id: RowId,
        /// Its stream.
        labels: Labels,
        /// Its time.
        time: Nanoseconds,
        /// Its level.
        level: Level,
        /// Its text.
        text: Vec<u8>,
        /// Its fields.
        fields: Vec<(String, String)>,
    },
    /// Something that cannot be shown.
    Bad(Finding),
}

/// A table, as its index has it.
#[derive(Clone, Debug)]
pub struct TableItem {
    /// Its number.
    pub number: u64,
    /// Its file's bytes.
    pub bytes: u64,
    /// Which rows it may hold.
    pub partition: Partition,
    /// How often its rows were merged.
    pub level: u32,
    /// Its rows.
    pub rows: u64,
    /// The first and the last time.
    pub times: (Nanoseconds, Nanoseconds),
    /// Rows of its partition in the journal below this sequence are in tables.
    pub covers: Sequence,
    /// The tables that it replaced.
    pub replaces: Vec<u64>,
    /// Its streams.
    pub streams: u64,
    /// Its blocks.
    pub blocks: u64,
    /// Stored and raw bytes of all numbers, fields and texts.
    pub columns: [(u64, u64); 3],
    /// Bytes of all filters.
    pub filter_bytes: u64,
    /// Bytes of all dictionaries.
    pub dictionary_bytes: u64,
}

/// A table of samples, as its index has it.
#[derive(Clone, Debug)]
pub struct SampleTableItem {
    /// Its number.
    pub number: u64,
    /// Its file's bytes.
    pub bytes: u64,
    /// Which samples it may hold.
    pub partition: Partition,
    /// How often its samples were merged.
    pub level: u32,
    /// Its samples.
    pub samples: u64,
    /// The first and the last time.
    pub times: (Nanoseconds, Nanoseconds),
    /// Samples of its partition in the journal below this sequence are in tables.
    pub covers: Sequence,
    /// The tables that it replaced.
    pub replaces: Vec<u64>,
    /// Its series.
    pub series: u64,
    /// Its blocks.
    pub blocks: u64,
    /// Columns of times, which blocks share.
    pub columns: u64,
    /// Bytes of all columns of times.
    pub times_bytes: u64,
    /// Bytes of the values of all blocks.
    pub values_bytes: u64,
}

/// A block of samples, as its table's index has it.
#[derive(Clone, Debug)]
pub struct SampleBlockItem {
    /// The table.
    pub table: u64,
    /// Where its values lie.
    pub offset: u64,
    /// Its samples.
    pub samples: u32,
    /// The first and the last time.
    pub times: (Nanoseconds, Nanoseconds),
    /// Bytes of its values.
    pub values_bytes: u32,
    /// Where its times lie; blocks of one scrape share them.
    pub times_offset: u64,
    /// Bytes of its times.
    pub times_bytes: u32,
    /// How many values there are that say nothing of an end, the least, the greatest and the sum of them; `None`: NaN is among them.
    pub summary: Option<(u32, f64, f64, f64)>,
}

impl SampleTableItem {
    pub(super) fn of(table: &Table) -> SampleTableItem {
        let index = &table.index;
        let blocks = index.series.iter().flat_map(|series| &series.blocks);
        SampleTableItem {
            number: table.binding.number,
            bytes: table.bytes,
            partition: index.partition,
            level: index.level,
            samples: index.rows(),
            times: index.times().unwrap_or((0, 0)),
            covers: index.covers,
            replaces: index.replaces.clone(),
            series: index.series.len() as u64,
            blocks: blocks.clone().count() as u64,
            columns: index.columns.len() as u64,
            times_bytes: index.columns.iter().map(|column| u64::from(column.part.stored)).sum(),
            values_bytes: blocks.map(|block| u64::from(block.part.stored)).sum(),
        }
    }
}

impl SampleBlockItem {
    pub(super) fn of(table: u64, block: &SampleBlock, column: &TimesColumn) -> SampleBlockItem {
        SampleBlockItem {
            table,
            offset: block.part.offset,
            samples: column.count,
            times: (column.first, column.last),
            values_bytes: block.part.stored,
            times_offset: column.part.offset,
            times_bytes: column.part.stored,
            summary: block.summary.map(|own| (own.count, own.min, own.max, own.sum)),
        }
    }
}

pub(super) fn block_item(table: u64, entry: &BlockEntry) -> Item {
    Item::Block {
        table,
        offset: entry.offset,
        rows: entry.rows,
        times: (entry.first_time, entry.last_time),
        levels: entry.levels,
        columns: [entry.numbers, entry.fields, entry.text].map(|section| (section.stored, section.raw)),
        filter_bytes: entry.filter_bytes,
    }
}

impl TableItem {
    pub(super) fn of(table: &Table) -> TableItem {
        let index = &table.index;
        let mut columns = [(0u64, 0u64); 3];
        for block in index.blocks() {
            for (sum, section) in columns.iter_mut().zip([block.numbers, block.fields, block.text]) {
                *sum = (sum.0 + u64::from(section.stored), sum.1 + u64::from(section.raw));
            }
        }
        let dictionaries = index.streams.iter().filter_map(|stream| stream.dictionary);
        TableItem {
            number: table.binding.number,
            bytes: table.bytes,
            partition: index.partition,
            level: index.level,
            rows: index.rows(),
            times: index.times().unwrap_or((0, 0)),
            covers: index.covers,
            replaces: index.replaces.clone(),
            streams: index.streams.len() as u64,
            blocks: index.blocks().count() as u64,
            columns,
            filter_bytes: u64::from(index.filters.1.stored),
            dictionary_bytes: dictionaries.map(|(_, section)| u64::from(section.stored)).sum(),
        }
    }
}

/// Bytes as text, those that are none as escapes, at most so many.
fn preview(bytes: &[u8]) -> String {
    let more = if bytes.len() > PREVIEW_BYTES { "…" } else { "" };
    format!("{}{more}", bytes[..bytes.len().min(PREVIEW_BYTES)].escape_ascii())
}

fn show_partition(partition: Partition) -> String {
    match partition {
        Partition::Day(day) => format!("day {day}"),
        Partition::Boot(boot) => format!("boot {boot}"),
        Partition::Samples(period) => format!("samples of period {period}"),
        Partition::SamplesOfBoot(boot) => format!("samples of boot {boot}"),
        Partition::Downsampled(period) => format!("downsampled samples of period {period}"),
    }
}

/// Times stand in it as nanoseconds, exactly as they are stored.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Rows { sequence, boot, rows, streams, times, bytes } => {
                let base = boot.map_or(String::new(), |boot| format!(" of boot {boot}"));
                write!(f, "record {sequence}: {rows} rows{base} of {streams} streams, {} to {}", times.0, times.1)?;
                write!(f, ", {bytes} bytes")
            }
            Item::Samples { sequence, boot, begins, readable, samples, series, times, bytes } => {
                let base = boot.map_or(String::new(), |boot| format!(" of boot {boot}"));
                write!(f, "record {sequence}: {samples} samples{base} of {series} series, {} to {}", times.0, times.1)?;
                write!(f, ", {bytes} bytes")?;
                match (begins, readable) {
                    (true, _) => write!(f, ", begins a chain"),
                    (false, true) => Ok(()),
                    (false, false) => write!(f, ", builds on a record that is not there"),
                }
            }
            Item::Stream { sequence, number, labels } => write!(f, "record {sequence}: stream {number} is {labels}"),
            Item::Position { sequence, key, value } => {
                write!(f, "record {sequence}: {} stands at {}", preview(key), preview(value))
            }
            Item::Manifest { good, tables, dead } => {
                let how = if *good { "" } else { ", as the tables say: there is no list that can be believed" };
                write!(f, "manifest: {tables} live tables, {} dead{how}", dead.len())
            }
            Item::Table(table) => write!(f, "{table}"),
            Item::SampleTable(table) => write!(f, "{table}"),
            Item::TableSeries { labels, covers, blocks, samples, .. } => {
                write!(f, "  {labels}: {samples} samples in {blocks} blocks")?;
                if *covers > 0 { write!(f, ", covers the journal below {covers}") } else { Ok(()) }
            }
            Item::SampleBlock(block) => write!(f, "{block}"),
            Item::Sample { labels, time, value, .. } => write!(f, "      {time} {labels} {}", show_value(*value)),
            Item::TableStream { labels, covers, dictionary_bytes, blocks, rows, .. } => {
                write!(f, "  {labels}: {rows} rows in {blocks} blocks, dictionary of {dictionary_bytes} bytes")?;
                if *covers > 0 { write!(f, ", covers the journal below {covers}") } else { Ok(()) }
            }
            Item::Block { offset, rows, times, columns, filter_bytes, levels, .. } => {
                let [numbers, fields, text] = columns;
                write!(f, "    {offset:>10}  {rows} rows, {} to {}, levels {levels:09b}", times.0, times.1)?;
                write!(f, ", numbers {} of {}, fields {} of {}", numbers.0, numbers.1, fields.0, fields.1)?;
                write!(f, ", text {} of {} bytes, filter {filter_bytes}", text.0, text.1)
            }
            Item::Row { id, labels, time, level, text, fields } => {
                write!(f, "      {id} {time} {level} {labels} {}", preview(text))?;
                fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value:?}"))
            }
            Item::Bad(finding) => write!(f, "BAD: {finding}"),
        }
    }
}

impl fmt::Display for TableItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [numbers, fields, text] = self.columns;
        write!(f, "table {} of {}, level {}", self.number, show_partition(self.partition), self.level)?;
        write!(f, ": {} rows of {} streams in {} blocks", self.rows, self.streams, self.blocks)?;
        write!(f, ", {} to {}, covers the journal below {}", self.times.0, self.times.1, self.covers)?;
        write!(f, ", {} bytes: numbers {} of {}", self.bytes, numbers.0, numbers.1)?;
        write!(f, ", fields {} of {}, text {} of {}", fields.0, fields.1, text.0, text.1)?;
        write!(f, ", filters {}, dictionaries {}", self.filter_bytes, self.dictionary_bytes)?;
        if self.replaces.is_empty() { Ok(()) } else { write!(f, ", replaces {:?}", self.replaces) }
    }
}

impl fmt::Display for SampleTableItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} of {}, level {}", self.number, show_partition(self.partition), self.level)?;
        write!(f, ": {} samples of {} series in {} blocks", self.samples, self.series, self.blocks)?;
        write!(f, ", {} to {}, covers the journal below {}", self.times.0, self.times.1, self.covers)?;
        write!(f, ", {} bytes: values {}, times {}", self.bytes, self.values_bytes, self.times_bytes)?;
        write!(f, " in {} columns", self.columns)?;
        if self.replaces.is_empty() { Ok(()) } else { write!(f, ", replaces {:?}", self.replaces) }
    }
}

impl fmt::Display for SampleBlockItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "    {:>10}  {} samples, {} to {}", self.offset, self.samples, self.times.0, self.times.1)?;
        write!(f, ", values {} bytes, times {} at {}", self.values_bytes, self.times_bytes, self.times_offset)?;
        match self.summary {
            Some((count, min, max, sum)) => write!(f, ", {count} from {min:?} to {max:?}, sum {sum:?}"),
            None => Ok(()),
        }
    }
}

/// A value so that every bit of it is told.
fn show_value(value: Option<f64>) -> String {
    match value {
        None => "lost".into(),
        Some(value) if is_stale(value) => "stale".into(),
        Some(value) if value.is_nan() && value.to_bits() != f64::NAN.to_bits() => {
            format!("NaN({:#018x})", value.to_bits())
        }
        // The shortest digits that are read back as the same number.
        Some(value) => format!("{value:?}"),
    }
}

fn columns_json<N: fmt::Display>(columns: &[(N, N); 3]) -> String {
    let [numbers, fields, text] = columns;
    let pair = |pair: &(N, N)| format!("{{\"stored\":{},\"raw\":{}}}", pair.0, pair.1);
    format!("{{\"numbers\":{},\"fields\":{},\"text\":{}}}", pair(numbers), pair(fields), pair(text))
}

/// Bytes as a JSON string: text as it is, other bytes with replacement characters.
fn json_text(bytes: &[u8]) -> String {
    json_string(&String::from_utf8_lossy(bytes))
}

impl Item {
    /// The item as one JSON object on one line.
    pub fn to_json(&self) -> String {
        match self {
            Item::Rows { sequence, boot, rows, streams, times, bytes } => format!(
                "{{\"item\":\"rows\",\"sequence\":{sequence},\"boot\":{},\"rows\":{rows},\"streams\":{streams},\
                 \"from\":{},\"to\":{},\"bytes\":{bytes}}}",
                json_number(*boot),
                times.0,
                times.1
            ),
            Item::Samples { sequence, boot, begins, readable, samples, series, times, bytes } => format!(
                "{{\"item\":\"samples\",\"sequence\":{sequence},\"boot\":{},\"begins\":{begins},\"readable\":{readable},\
                 \"samples\":{samples},\"series\":{series},\"from\":{},\"to\":{},\"bytes\":{bytes}}}",
                json_number(*boot),
                times.0,
                times.1
            ),
            Item::Stream { sequence, number, labels } => format!(
                "{{\"item\":\"stream\",\"sequence\":{sequence},\"number\":{number},\"labels\":{}}}",
                json_string(&labels.to_string())
            ),
            Item::Position { sequence, key, value } => format!(
                "{{\"item\":\"position\",\"sequence\":{sequence},\"key\":{},\"value\":{}}}",
                json_text(key),
                json_text(value)
            ),
            Item::Manifest { good, tables, dead } => format!(
                "{{\"item\":\"manifest\",\"good\":{good},\"tables\":{tables},\"dead\":{}}}",
                json_array(dead.iter().map(u64::to_string))
            ),
            Item::Table(table) => table.to_json(),
            Item::SampleTable(table) => table.to_json(),
            Item::TableSeries { table, labels, covers, blocks, samples } => format!(
                "{{\"item\":\"table_series\",\"table\":{table},\"labels\":{},\"covers\":{covers},\"blocks\":{blocks},\
                 \"samples\":{samples}}}",
                json_string(&labels.to_string())
            ),
            Item::SampleBlock(block) => block.to_json(),
            Item::Sample { sequence, labels, time, value } => format!(
                "{{\"item\":\"sample\",\"sequence\":{},\"labels\":{},\"time\":{time},\"value\":{}}}",
                json_number(*sequence),
                json_string(&labels.to_string()),
                value.map_or_else(|| "null".to_string(), |value| json_string(&show_value(Some(value))))
            ),
            Item::TableStream { table, labels, covers, dictionary_bytes, blocks, rows } => format!(
                "{{\"item\":\"table_stream\",\"table\":{table},\"labels\":{},\"covers\":{covers},\
                 \"dictionary_bytes\":{dictionary_bytes},\"blocks\":{blocks},\"rows\":{rows}}}",
                json_string(&labels.to_string())
            ),
            Item::Block { table, offset, rows, times, levels, columns, filter_bytes } => format!(
                "{{\"item\":\"block\",\"table\":{table},\"offset\":{offset},\"rows\":{rows},\"from\":{},\"to\":{},\
                 \"levels\":{levels},\"columns\":{},\"filter_bytes\":{filter_bytes}}}",
                times.0,
                times.1,
                columns_json(columns)
            ),
            Item::Row { id, labels, time, level, text, fields } => {
                let fields: BTreeMap<&str, &str> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{}:{}", json_string(name), json_string(value)))
                    .collect();
                format!(
                    "{{\"item\":\"row\",\"id\":\"{id}\",\"labels\":{},\"time\":{time},\"level\":\"{level}\",\"text\":{},\
                     \"fields\":{{{}}}}}",
                    json_string(&labels.to_string()),
                    json_text(text),
                    fields.join(",")
                )
            }
            Item::Bad(finding) => format!("{{\"item\":\"bad\",\"finding\":{}}}", finding.to_json()),
        }
    }
}

impl TableItem {
    fn to_json(&self) -> String {
        format!(
            "{{\"item\":\"table\",\"number\":{},\"partition\":\"{}\",\"boot\":{},\"level\":{},\"rows\":{},\"streams\":{},\
             \"blocks\":{},\"from\":{},\"to\":{},\"covers\":{},\"replaces\":{},\"bytes\":{},\"columns\":{},\
             \"filter_bytes\":{},\"dictionary_bytes\":{}}}",
            self.number,
            show_partition(self.partition),
            json_number(boot_of(self.partition)),
            self.level,
            self.rows,
            self.streams,
            self.blocks,
            self.times.0,
            self.times.1,
            self.covers,
            json_array(self.replaces.iter().map(u64::to_string)),
            self.bytes,
            columns_json(&self.columns),
            self.filter_bytes,
            self.dictionary_bytes
        )
    }
}

impl SampleTableItem {
    fn to_json(&self) -> String {
        format!(
            "{{\"item\":\"sample_table\",\"number\":{},\"partition\":\"{}\",\"boot\":{},\"level\":{},\"samples\":{},\
             \"series\":{},\"blocks\":{},\"from\":{},\"to\":{},\"covers\":{},\"replaces\":{},\"bytes\":{},\"columns\":{},\
             \"times_bytes\":{},\"values_bytes\":{}}}",
            self.number,
            show_partition(self.partition),
            json_number(boot_of(self.partition)),
            self.level,
            self.samples,
            self.series,
            self.blocks,
            self.times.0,
            self.times.1,
            self.covers,
            json_array(self.replaces.iter().map(u64::to_string)),
            self.bytes,
            self.columns,
            self.times_bytes,
            self.values_bytes
        )
    }
}

impl SampleBlockItem {
    fn to_json(&self) -> String {
        let summary = self.summary.map(|(count, min, max, sum)| {
            let [min, max, sum] = [min, max, sum].map(|value| json_string(&show_value(Some(value))));
            format!("{{\"count\":{count},\"min\":{min},\"max\":{max},\"sum\":{sum}}}")
        });
        format!(
            "{{\"item\":\"sample_block\",\"table\":{},\"offset\":{},\"samples\":{},\"from\":{},\"to\":{},\
             \"values_bytes\":{},\"times_offset\":{},\"times_bytes\":{},\"summary\":{}}}",
            self.table,
            self.offset,
            self.samples,
            self.times.0,
            self.times.1,
            self.values_bytes,
            self.times_offset,
            self.times_bytes,
            summary.unwrap_or_else(|| "null".to_string())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_every_bit() {
        let shown = [0.1, -0.0, 1e300, f64::INFINITY, f64::NAN, crate::STALE].map(|value| show_value(Some(value)));
        assert_eq!(shown, ["0.1", "-0.0", "1e300", "inf", "NaN", "stale"]);
        assert_eq!(show_value(Some(f64::from_bits(0xfff8_dead_beef_0001))), "NaN(0xfff8deadbeef0001)");
        assert_eq!(show_value(None), "lost");
    }
}
