//! Counts the rows of an answer: per span of time, and per value of a label, a field or the level. Owns the bounds on what is
//! gathered; what is looked at is chosen as for the rows themselves, and no more of it is read than the counting needs.
//!
//! Spans begin at multiples of the step, counted from 1970-01-01 UTC. When there would be too many of them the step is doubled,
//! which joins each two of them: nothing is counted anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;

use super::{Candidate, Place, Reading, Role, Rows, Scale, Sought, reader};
use crate::chunk::Chunk;
use crate::error::Error;
use crate::query::{Explained, Query};
use crate::row::{Fields, Level, Nanoseconds, TimeBase};
use crate::store::Store;
use crate::table::Block;

/// Pairs of a span and a value that are counted apart at most.
const CELLS_MAX: usize = 1 << 16;
/// Values that are counted apart at most; those that are found later are counted together.
const VALUES_MAX: usize = 1_000;
/// Values of an answer at most: those with most rows.
const SERIES_MAX: usize = 50;
/// Bytes of a value that is counted apart at most.
const VALUE_BYTES_MAX: usize = 256;
/// Spans of an answer whose step is chosen here, about.
const SPANS_CHOSEN: i64 = 75;

/// Rows that only tell of gaps are not counted.
const ROWS: Sought = Sought { rows: true, gaps: false };

const SECOND: Nanoseconds = 1_000_000_000;
/// Steps that people find easy to read, in seconds.
const STEPS: [i64; 27] = [
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1_800,
    3_600,
    7_200,
    10_800,
    21_600,
    43_200,
    86_400,
    172_800,
    604_800,
    1_209_600,
    2_592_000,
    7_776_000,
    31_536_000,
    63_072_000,
    157_680_000,
    315_360_000,
];

/// What rows are told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Their level.
    Level,
    /// A label of their stream; of streams that have none of this name, a field of the row.
    Name(String),
}

impl By {
    /// As it is written: `level`, or a name.
    pub fn parse(text: &str) -> By {
        if text == "level" { By::Level } else { By::Name(text.to_string()) }
    }
}

/// The rows of one value, or of all values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The value; empty for rows that have none, and where nothing is told apart.
    pub value: String,
    /// Whether these are the rows of all values that are not counted apart.
    pub other: bool,
    /// Rows in each span.
    pub counts: Vec<u64>,
    /// Rows in all of them.
    pub total: u64,
}

/// How many rows there are, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The length of a span of time: what was asked for, or wider.
    pub step: Nanoseconds,
    /// Where the spans begin that hold rows, the earliest first.
    pub starts: Vec<Nanoseconds>,
    /// The values, those with most rows first; all others together come last.
    pub series: Vec<Series>,
    /// Rows in spans.
    pub total: u64,
    /// Rows whose time nobody knows: they are in no span.
    pub untimed: u64,
    /// What was looked at; damaged places are named there and count nothing.
    pub explained: Explained,
}

impl Store {
    /// Counts the rows that a query means, in spans of `step` nanoseconds; without a step, in about sixty spans. The query's limit and
    /// direction do not matter, and rows that only tell of gaps are not counted. Memory: one block, and 65,536 counters.
    ///
    /// ```no_run
    /// # use duramen_store::{By, Store};
    /// # let (store, _) = Store::open("data")?;
    /// let hourly = store.count("timeout".parse()?, Some(3_600_000_000_000), Some(&By::Level))?;
    /// println!("{} rows, {} of them without a time", hourly.total, hourly.untimed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A table that the device cannot read.
    pub fn count(&self, query: Query, step: Option<Nanoseconds>, by: Option<&By>) -> Result<Counts, Error> {
        self.count_while(query, step, by, &mut || true)
    }

    /// As [`Store::count`], as long as `go_on` says so, which is asked before each block; what was counted by then is the answer.
    ///
    /// # Errors
    /// As [`Store::count`].
    pub fn count_while(
        &self,
        query: Query,
        step: Option<Nanoseconds>,
        by: Option<&By>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Counts, Error> {
        let mut rows = Rows::new(self.core(), Query { limit: None, gaps: false, ..query })?;
        let step = step.map_or_else(|| rows.step(), |step| step.max(1));
        let mut tally = Tally::new(step, by);
        for source in mem::take(&mut rows.sources) {
            if !go_on() {
                break;
            }
            match source.place {
                Place::Chunk(base, chunk) => rows.count_chunk(base, &chunk, &mut tally),
                Place::Block { table, stream, block } => match rows.count_block((table, stream), block, &mut tally) {
                    Err(error @ Error::DamagedTable { .. }) => {
                        rows.note(table, &error);
                        rows.explained.damaged.push(error.to_string());
                    }
                    result => result?,
                },
            }
            tally.settle();
        }
        Ok(tally.counts(rows.explained))
    }
}

/// The step with which a length of time has about sixty spans.
fn step_for(length: i64) -> Nanoseconds {
    if length < SPANS_CHOSEN * SECOND {
        let mut step = 1;
        // 1, 2, 5, 10, … nanoseconds.
        while length / step > SPANS_CHOSEN {
            step = if step.to_string().starts_with('2') { step / 2 * 5 } else { step * 2 };
        }
        return step;
    }
    let mut steps = STEPS.into_iter().map(|seconds| seconds * SECOND);
    steps.find(|step| length / step <= SPANS_CHOSEN).unwrap_or(STEPS[STEPS.len() - 1] * SECOND)
}

impl Rows {
    fn step(&self) -> Nanoseconds {
        let times = self.sources.iter().map(|source| source.times).filter(|times| times.0.0);
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        times.for_each(|(from, to)| (first, last) = (first.min(from.1), last.max(to.1)));
        let (from, to) = (self.query.from.unwrap_or(first), self.query.to.unwrap_or(last));
        step_for(to.saturating_sub(from).max(0))
    }

    fn count_chunk(&mut self, base: TimeBase, chunk: &Chunk, tally: &mut Tally<'_>) {
        self.explained.chunks += 1;
        let scale = self.scale(base);
        if !self.query.filters.iter().all(|filter| filter.may_pass_in(&chunk.text)) {
            return;
        }
        let mut before = None;
        for row in 0..chunk.len() {
            let id = chunk.streams[row];
            let Some(Some(meant)) = self.names.get(&id) else { continue };
            let (time, level) = (chunk.times[row], chunk.levels[row]);
            let (text, fields) = (chunk.text(row), chunk.fields(row));
            if self.role(scale, chunk.id(row), &Candidate { time, level, text, fields, of: ROWS }) != Some(Role::Row) {
                continue;
            }
            let of_stream = match before {
                Some((known, value)) if known == id => value,
                _ => tally.value_of_stream(|name| meant.labels.get(name)),
            };
            before = Some((id, of_stream));
            let value = of_stream.unwrap_or_else(|| tally.value_of_row(level, fields));
            tally.add(scale, time, value, 1);
        }
    }

    fn count_block(&mut self, place: (usize, usize), block: usize, tally: &mut Tally<'_>) -> Result<(), Error> {
        let Reading { table, live } = &self.tables[place.0];
        let table = table.clone();
        let scale = self.scale(live.entry.partition.base());
        let stream = &table.index.streams[place.1];
        let entry = &stream.blocks[block];
        let of_stream = tally.value_of_stream(|name| stream.labels.get(name));
        let one_level = (entry.levels.count_ones() == 1).then(|| entry.levels.trailing_zeros() as u8);
        let known = of_stream.or_else(|| one_level.and_then(|level| tally.value_of_level(level)));
        if let Some(value) = known
            && self.all_pass(scale, entry.levels, (entry.first_time, entry.last_time))
            && tally.is_one_span(scale, (entry.first_time, entry.last_time))
        {
            tally.add(scale, entry.first_time, value, u64::from(entry.rows));
            return Ok(());
        }
        self.explained.blocks_read += 1;
        let with_text = !self.query.filters.is_empty();
        let mut read = Block::default();
        if with_text {
            let reader = reader(&mut self.readers, place, &table)?;
            read.text = table.text(reader, entry)?;
            self.explained.bytes_read += u64::from(entry.text.stored);
            if !self.query.filters.iter().all(|filter| filter.may_pass_in(&read.text)) {
                return Ok(());
            }
        }
        let with_fields = !self.query.fields.is_empty() || (of_stream.is_none() && tally.is_by_name());
        if with_fields {
            read.fields = table.fields(entry)?;
            self.explained.bytes_read += u64::from(entry.fields.stored);
        }
        read.numbers = table.numbers(entry)?;
        self.explained.bytes_read += u64::from(entry.numbers.stored);
        for row in 0..read.numbers.len() {
            let (time, level) = (read.numbers.times[row], read.numbers.levels[row]);
            let text = if with_text { read.text(row) } else { &[] };
            let fields = if with_fields { read.fields(row) } else { Fields::default() };
            let id = read.numbers.ids[row];
            if self.role(scale, id, &Candidate { time, level, text, fields, of: ROWS }) == Some(Role::Row) {
                let value = of_stream.unwrap_or_else(|| tally.value_of_row(level, fields));
                tally.add(scale, time, value, 1);
            }
        }
        Ok(())
    }

    /// Whether every row of a block passes, seen from its index.
    fn all_pass(&self, scale: Scale, levels: u16, (first, last): (Nanoseconds, Nanoseconds)) -> bool {
        self.query.after.is_none()
            && self.query.filters.is_empty()
            && self.query.fields.is_empty()
            && levels & !self.levels == 0
            && self.meets(scale, (first, first))
            && self.meets(scale, (last, last))
    }
}

/// The number of a value; [`OTHER`] for those that are not counted apart.
type Value = u32;
const OTHER: Value = u32::MAX;

/// What is counted so far.
struct Tally<'a> {
    by: Option<&'a By>,
    step: Nanoseconds,
    /// By span and value.
    cells: BTreeMap<(i64, Value), u64>,
    /// What was added last, and is not in the cells yet: rows mostly fall where those before them fell.
    last: ((i64, Value), u64),
    values: HashMap<String, Value>,
    levels: [Option<Value>; Level::ALL.len()],
    untimed: u64,
}

impl<'a> Tally<'a> {
    fn new(step: Nanoseconds, by: Option<&'a By>) -> Tally<'a> {
        Tally {
            by,
            step,
            cells: BTreeMap::new(),
            last: ((0, 0), 0),
            values: HashMap::new(),
            levels: [None; Level::ALL.len()],
            untimed: 0,
        }
    }

    fn is_by_name(&self) -> bool {
        matches!(self.by, Some(By::Name(_)))
    }

    fn value(&mut self, text: &str) -> Value {
        if let Some(&known) = self.values.get(text) {
            return known;
        }
        if self.values.len() == VALUES_MAX || text.len() > VALUE_BYTES_MAX {
            return OTHER;
        }
        let number = self.values.len() as Value;
        self.values.insert(text.to_string(), number);
        number
    }

    /// The value of all rows of a stream, if they have one.
    fn value_of_stream<'l>(&mut self, label: impl Fn(&str) -> Option<&'l str>) -> Option<Value> {
        match self.by {
            None => Some(self.value("")),
            Some(By::Level) => None,
            Some(By::Name(name)) => label(name).map(|text| self.value(text)),
        }
    }

    /// The value of all rows of a level, if they have one.
    fn value_of_level(&mut self, level: u8) -> Option<Value> {
        if self.by != Some(&By::Level) {
            return None;
        }
        let level = Level::from_byte(level);
        let known = self.levels[level as usize].unwrap_or_else(|| self.value(level.word()));
        self.levels[level as usize] = Some(known);
        Some(known)
    }

    /// The value of a row whose stream says nothing of it.
    fn value_of_row(&mut self, level: u8, fields: Fields<'_>) -> Value {
        if let Some(value) = self.value_of_level(level) {
            return value;
        }
        let Some(By::Name(name)) = self.by else { return self.value("") };
        self.value(fields.get(name).unwrap_or(""))
    }

    fn is_one_span(&self, scale: Scale, (first, last): (Nanoseconds, Nanoseconds)) -> bool {
        !scale.timed || scale.time(first).div_euclid(self.step) == scale.time(last).div_euclid(self.step)
    }

    fn add(&mut self, scale: Scale, time: Nanoseconds, value: Value, rows: u64) {
        if !scale.timed {
            self.untimed += rows;
            return;
        }
        let cell = (scale.time(time).div_euclid(self.step), value);
        if cell != self.last.0 {
            self.settle();
            self.last.0 = (scale.time(time).div_euclid(self.step), value);
        }
        self.last.1 += rows;
    }

    /// Puts what was added last into its cell, and widens the step if that makes too many.
    fn settle(&mut self) {
        let (cell, rows) = mem::take(&mut self.last);
        if rows > 0 {
            *self.cells.entry(cell).or_default() += rows;
        }
        while self.cells.len() > CELLS_MAX && self.step <= i64::MAX / 2 {
            self.step *= 2;
            for ((span, value), rows) in mem::take(&mut self.cells) {
                *self.cells.entry((span.div_euclid(2), value)).or_default() += rows;
            }
        }
    }

    fn counts(mut self, explained: Explained) -> Counts {
        self.settle();
        let mut totals: HashMap<Value, u64> = HashMap::new();
        self.cells.iter().for_each(|((_, value), rows)| *totals.entry(*value).or_default() += rows);
        let mut ranked: Vec<(&str, Value, u64)> =
            self.values.iter().filter_map(|(text, value)| Some((text.as_str(), *value, *totals.get(value)?))).collect();
        ranked.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(b.0)));
        ranked.truncate(SERIES_MAX);
        let spans: BTreeSet<i64> = self.cells.keys().map(|(span, _)| *span).collect();
        let places: BTreeMap<i64, usize> = spans.iter().enumerate().map(|(at, span)| (*span, at)).collect();
        let empty =
            |value: &str, other| Series { value: value.to_string(), other, counts: vec![0; spans.len()], total: 0 };
        let mut series: Vec<Series> = ranked.iter().map(|(text, ..)| empty(text, false)).collect();
        let known: HashMap<Value, usize> = ranked.iter().enumerate().map(|(at, (_, value, _))| (*value, at)).collect();
        let mut other = empty("", true);
        for ((span, value), rows) in &self.cells {
            let of = known.get(value).map_or(&mut other, |at| &mut series[*at]);
            of.counts[places[span]] += rows;
            of.total += rows;
        }
        if other.total > 0 {
            series.push(other);
        }
        let total: u64 = series.iter().map(|series| series.total).sum();
        Counts {
            step: self.step,
            starts: spans.iter().map(|span| span.saturating_mul(self.step)).collect(),
            series,
            total,
            untimed: self.untimed,
            explained: Explained { rows: (total + self.untimed) as usize, ..explained },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Scale = Scale { timed: true, offset: 0 };

    #[test]
    fn steps_are_round_and_make_about_sixty_spans() {
        let day = 86_400 * SECOND;
        let told = [0, 100, 10 * SECOND, 3_600 * SECOND, day, 7 * day, 400 * day].map(step_for);
        let seconds = [60, 1_800, 10_800, 604_800].map(|seconds| seconds * SECOND);
        assert_eq!(told, [1, 2, SECOND / 5, seconds[0], seconds[1], seconds[2], seconds[3]]);
        for length in [1, 77, SECOND, 76 * SECOND, 100 * day, 100 * 365 * day] {
            let spans = length / step_for(length);
            assert!((25..=SPANS_CHOSEN).contains(&spans) || length < 25, "{spans} of {length}");
        }
        assert!(step_for(i64::MAX) > 0);
    }

    #[test]
    fn too_many_spans_make_the_step_wider_and_lose_nothing() {
        let mut tally = Tally::new(1, None);
        let value = tally.value("");
        let rows = 3 * CELLS_MAX as i64;
        for time in -rows..rows {
            tally.add(WALL, time, value, 1);
        }
        let counts = tally.counts(Explained::default());
        assert_eq!((counts.step, counts.total), (8, 2 * rows as u64));
        assert_eq!(counts.starts.first(), Some(&-rows));
        assert!(counts.series[0].counts.iter().all(|&rows| rows == 8));
    }

    #[test]
    fn times_at_both_ends_have_spans() {
        let mut tally = Tally::new(i64::MAX, None);
        let value = tally.value("");
        [i64::MIN, 0, i64::MAX].into_iter().for_each(|time| tally.add(WALL, time, value, 1));
        assert_eq!(tally.counts(Explained::default()).total, 3);
    }

    #[test]
    fn many_values_are_counted_together() {
        let by = By::parse("user");
        let mut tally = Tally::new(10, Some(&by));
        for number in 0..2 * VALUES_MAX as u64 {
            let value = tally.value(&number.to_string());
            tally.add(WALL, 0, value, 1 + u64::from(number == 7));
        }
        let long = tally.value(&"x".repeat(VALUE_BYTES_MAX + 1));
        assert_eq!(long, OTHER);
        let counts = tally.counts(Explained::default());
        assert_eq!((counts.series.len(), counts.total), (SERIES_MAX + 1, 2 * VALUES_MAX as u64 + 1));
        assert_eq!((counts.series[0].value.as_str(), counts.series[0].total), ("7", 2));
        let last = counts.series.last().unwrap();
        assert_eq!((last.other, last.total), (true, 2 * VALUES_MAX as u64 - SERIES_MAX as u64));
    }
}
