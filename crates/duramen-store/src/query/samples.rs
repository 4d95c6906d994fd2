//! Asking for samples: series by their labels, and the samples of each in a span of time. Owns how memory and tables become one:
//! of several samples at one time the one that came last counts.
//!
//! Memory: the samples of one series at a time, and what memory held of the selected ones when the question came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::core::Core;
use crate::damage::Noticed;
use crate::error::Error;
use crate::format::chain::ByStream;
use crate::format::table::samples::{BlockSummary, SampleStream, TimesColumn};
use crate::labels::Labels;
use crate::lock;
use crate::postings::Selection;
use crate::query::Selector;
use crate::row::{Nanoseconds, TimeBase};
use crate::sample::{Sample, SampleChunk, is_stale};
use crate::seal::lost_labels;
use crate::seal::samples::settle;
use crate::store::Store;
use crate::stream::StreamBits;
use crate::table::Table;
use crate::view::Live;

/// One series, and its samples in the span that was asked for, sorted by time, no two at one.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSamples {
    /// Its name.
    pub labels: Labels,
    /// May be none, if the series has samples near the span only.
    pub samples: Vec<Sample>,
}

/// What the samples of a series come to. Those that say that the series ended are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many there are.
    pub count: u64,
    /// The least; NaN if all are.
    pub min: f64,
    /// The greatest; NaN if all are.
    pub max: f64,
    /// All together.
    pub sum: f64,
}

impl Summary {
    const NONE: Summary = Summary { count: 0, min: f64::NAN, max: f64::NAN, sum: 0.0 };

    fn add(&mut self, value: f64) {
        if !is_stale(value) {
            self.count += 1;
            // Whatever is compared with NaN gives the other one.
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            self.sum += value;
        }
    }

    fn add_block(&mut self, block: &BlockSummary) {
        if block.count > 0 {
            self.count += u64::from(block.count);
            self.min = self.min.min(block.min);
            self.max = self.max.max(block.max);
            self.sum += block.sum;
        }
    }
}

/// A span of time: from the first one on, up to the second one, which does not count any more.
type Span = (Nanoseconds, Nanoseconds);

/// A table with samples in the span, and what turns its times into wall time.
struct Part {
    live: Arc<Live>,
    table: Arc<Table>,
    offset: Nanoseconds,
}

impl Part {
    /// A series' blocks that meet a span: which block, and its first and last time.
    fn meeting(&self, series: &SampleStream, span: Span) -> Vec<(usize, TimesColumn)> {
        let columns = &self.table.index.columns;
        let told = |(at, block): (usize, &crate::format::table::samples::SampleBlock)| {
            let mut column = columns[block.column as usize];
            column.first = column.first.saturating_add(self.offset);
            column.last = column.last.saturating_add(self.offset);
            (at, column)
        };
        let all = series.blocks.iter().enumerate().map(told);
        all.filter(|(_, column)| column.last >= span.0 && column.first < span.1).collect()
    }

    fn series(&self, labels: &Labels) -> Option<&SampleStream> {
        let series = &self.table.index.series;
        series.binary_search_by(|own| own.labels.cmp(labels)).ok().map(|at| &series[at])
    }
}

/// Series by series, sorted by labels. Damage that was met is told by [`SeriesIter::damaged`]; the rest is there.
pub struct SeriesIter {
    span: Span,
    names: std::vec::IntoIter<Labels>,
    memory: BTreeMap<Labels, Vec<Sample>>,
    /// The oldest first.
    parts: Vec<Part>,
    damaged: Vec<String>,
    noticed: Arc<Noticed>,
    /// Blocks whose values were read, and blocks whose summary was enough.
    blocks_read: u64,
    blocks_summed: u64,
}

impl std::fmt::Debug for SeriesIter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeriesIter").field("series", &self.names.len()).finish_non_exhaustive()
    }
}

impl Store {
    /// The samples of all series that a selector means and that have any in the span, series by series. What is written later is
    /// not in the answer.
    ///
    /// # Errors
    /// A table that the device cannot read; what is damaged is left out, and told by [`SeriesIter::damaged`].
    pub fn samples(&self, selector: &Selector, from: Nanoseconds, to: Nanoseconds) -> Result<SeriesIter, Error> {
        SeriesIter::new(self.core(), selector, (from, to))
    }

    /// The names of all series that a selector means and that may have samples in the span: blocks are not read for it.
    ///
    /// # Errors
    /// As [`Store::samples`].
    pub fn series(&self, selector: &Selector, from: Nanoseconds, to: Nanoseconds) -> Result<Vec<Labels>, Error> {
        Ok(self.samples(selector, from, to)?.names.collect())
    }

    /// The latest sample of a series, from memory if it was written since opening.
    ///
    /// # Errors
    /// As [`Store::samples`].
    pub fn last(&self, labels: &Labels) -> Result<Option<Sample>, Error> {
        let core = self.core();
        // What cannot be appended is no reason not to answer.
        let _ = core.append_staged();
        let id = lock(&core.streams).find(labels);
        let known = id.and_then(|id| lock(&core.view).tallies.get(&id).copied());
        if let Some(last) = known.filter(|tally| tally.sure).and_then(|tally| tally.last) {
            return Ok(Some(last));
        }
        let everything = (Nanoseconds::MIN, Nanoseconds::MAX);
        let mut selection = Selection::new(|own| own == labels);
        labels.iter().for_each(|(name, value)| selection.demand(name, &[value]));
        let mut all = SeriesIter::with(core, &selection, everything)?;
        let last = all.last_of(labels)?;
        if let (Some(sample), Some(id)) = (last, id) {
            let mut view = lock(&core.view);
            // Later ones may have come meanwhile.
            let tally = view.tallies.entry(id).or_default();
            tally.last = tally.last.filter(|known| known.time >= sample.time).or(Some(sample));
            tally.sure = true;
        }
        Ok(last)
    }
}

impl SeriesIter {
    fn new(core: &Core, selector: &Selector, span: Span) -> Result<SeriesIter, Error> {
        SeriesIter::with(core, &selector.selection(), span)
    }

    /// As [`Store::samples`], of the series of a selection.
    pub(crate) fn with(core: &Core, selection: &Selection<'_>, span: Span) -> Result<SeriesIter, Error> {
        // What cannot be appended is no reason not to answer.
        let _ = core.append_staged();
        core.settle(&mut lock(&core.write));
        let (chunks, tables) = {
            let view = lock(&core.view);
            let mut chunks = Vec::new();
            view.sealed.iter().for_each(|sealed| chunks.extend(sealed.samples.chunks()));
            chunks.extend(view.samples.chunks());
            let tables = view.tables.iter().filter(|live| live.entry.partition.is_of_samples());
            (chunks, tables.cloned().collect::<Vec<_>>())
        };
        let offsets = core.offsets();
        let offset = |base| match base {
            TimeBase::Wall => Some(0),
            // Nobody knows yet when that was.
            TimeBase::Boot(boot) => offsets.get(&boot).copied(),
        };
        let mut all = SeriesIter {
            span,
            names: Vec::new().into_iter(),
            memory: in_memory(core, &chunks, selection, &offset, span),
            parts: Vec::new(),
            damaged: Vec::new(),
            noticed: core.noticed.clone(),
            blocks_read: 0,
            blocks_summed: 0,
        };
        let mut names: BTreeSet<Labels> = all.memory.keys().cloned().collect();
        for live in tables {
            let Some(offset) = offset(live.entry.partition.base()) else { continue };
            let (first, last) = live.entry.times;
            if last.saturating_add(offset) < span.0 || first.saturating_add(offset) >= span.1 {
                continue;
            }
            match core.open_table(&live) {
                Ok(table) => all.parts.push(Part { live, table, offset }),
                Err(error @ Error::DamagedTable { .. }) => {
                    all.noticed.note_table(&live.entry, &error);
                    all.damaged.push(error.of_table(&live.entry).to_string());
                }
                Err(error) => return Err(error),
            }
        }
        all.parts.sort_by_key(|part| part.live.entry.age());
        for part in &all.parts {
            for series in part.table.series(selection) {
                if !names.contains(&series.labels) && !part.meeting(series, span).is_empty() {
                    names.insert(series.labels.clone());
                }
            }
        }
        all.names = names.into_iter().collect::<Vec<_>>().into_iter();
        Ok(all)
    }

    /// Series that are still to come.
    pub fn remaining(&self) -> usize {
        self.names.len()
    }

    /// No sample of the answer comes before this time; `None`: there is none.
    pub(crate) fn first_time(&self) -> Option<Nanoseconds> {
        let memory = self.memory.values().flatten().map(|sample| sample.time);
        let blocks = self.parts.iter().flat_map(|part| {
            let known = self.names.as_slice().iter().filter_map(|labels| part.series(labels));
            known.flat_map(|series| part.meeting(series, self.span)).map(|(_, column)| column.first.max(self.span.0))
        });
        memory.chain(blocks).min()
    }

    /// The names of all series that are still to come.
    #[cfg(feature = "promql")]
    pub(crate) fn into_names(self) -> Vec<Labels> {
        self.names.collect()
    }

    /// More samples than this the next series does not have; `None`: there is none.
    #[cfg(feature = "promql")]
    pub(crate) fn next_samples_max(&self) -> Option<usize> {
        let labels = self.names.as_slice().first()?;
        let blocks = self.parts.iter().filter_map(|part| Some((part, part.series(labels)?)));
        let tables = blocks.flat_map(|(part, series)| part.meeting(series, self.span));
        let memory = self.memory.get(labels).map_or(0, Vec::len);
        Some(memory + tables.map(|(_, column)| column.count as usize).sum::<usize>())
    }

    /// Blocks of tables whose values were read, and those of which the summary was enough.
    pub fn blocks(&self) -> (u64, u64) {
        (self.blocks_read, self.blocks_summed)
    }

    /// What could not be read, in words.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// The next series' name and what its samples in the span come to. Blocks that lie in the span whole, and that nothing else
    /// overlaps, are not read for it.
    ///
    /// # Errors
    /// A table that the device cannot read.
    pub fn next_summary(&mut self) -> Option<Result<(Labels, Summary), Error>> {
        let labels = self.names.next()?;
        Some(self.summary(&labels).map(|summary| (labels, summary)))
    }

    fn summary(&mut self, labels: &Labels) -> Result<Summary, Error> {
        let memory = self.memory.remove(labels).unwrap_or_default();
        let mut whole = Vec::new();
        let mut spans: Vec<Span> = Vec::new();
        for (at, part) in self.parts.iter().enumerate() {
            let Some(series) = part.series(labels) else { continue };
            for (block, column) in part.meeting(series, self.span) {
                spans.push((column.first, column.last));
                whole.push((at, block, column));
            }
        }
        let mut summary = Summary::NONE;
        let overlaps = |column: &TimesColumn| {
            let meets = |span: &Span| span.0 <= column.last && span.1 >= column.first;
            spans.iter().filter(|span| meets(span)).count() > 1
                || memory.iter().any(|sample| (column.first..=column.last).contains(&sample.time))
        };
        let mut left = Vec::new();
        for (part, block, column) in whole {
            let told = self.parts[part].series(labels).and_then(|series| series.blocks[block].summary);
            let inside = column.first >= self.span.0 && column.last < self.span.1;
            match told {
                Some(told) if inside && !overlaps(&column) => {
                    summary.add_block(&told);
                    self.blocks_summed += 1;
                }
                _ => left.push((part, block)),
            }
        }
        let mut samples = Vec::new();
        for (part, block) in left {
            self.read(part, labels, block, &mut samples)?;
        }
        samples.extend(memory);
        settle(&mut samples);
        samples.iter().for_each(|sample| summary.add(sample.value));
        Ok(summary)
    }

    /// Adds the samples of one block that lie in the span. A damaged block has none, and is told of.
    fn read(&mut self, part: usize, labels: &Labels, block: usize, out: &mut Vec<Sample>) -> Result<(), Error> {
        let Part { table, offset, .. } = &self.parts[part];
        let Some(series) = self.parts[part].series(labels) else { return Ok(()) };
        let block = &series.blocks[block];
        let column = &table.index.columns[block.column as usize];
        self.blocks_read += 1;
        let read = table.times(column).and_then(|times| Ok((times, table.values(block)?)));
        let (times, values) = match read {
            Ok(read) => read,
            Err(error @ Error::DamagedTable { .. }) => {
                self.noticed.note(table, &error);
                self.damaged.push(error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let shifted = times.iter().map(|time| time.saturating_add(*offset));
        let all = shifted.zip(values).map(|(time, value)| Sample { time, value });
        out.extend(all.filter(|sample| sample.time >= self.span.0 && sample.time < self.span.1));
        Ok(())
    }

    fn samples_of(&mut self, labels: &Labels) -> Result<Vec<Sample>, Error> {
        let mut samples = Vec::new();
        // The oldest tables first, memory last: what came later stands behind what it replaces.
        for part in 0..self.parts.len() {
            let own = &self.parts[part];
            let blocks = own.series(labels).map_or(Vec::new(), |series| own.meeting(series, self.span));
            for (block, _) in blocks {
                self.read(part, labels, block, &mut samples)?;
            }
        }
        samples.extend(self.memory.remove(labels).unwrap_or_default());
        settle(&mut samples);
        Ok(samples)
    }

    /// The latest sample of a series: only the blocks that may hold it are read.
    fn last_of(&mut self, labels: &Labels) -> Result<Option<Sample>, Error> {
        let latest = |part: &Part, span| {
            let blocks = part.series(labels).map_or(Vec::new(), |series| part.meeting(series, span));
            blocks.iter().map(|(_, column)| column.last).max()
        };
        let tables = self.parts.iter().filter_map(|part| latest(part, self.span)).max();
        let memory = self.memory.get(labels).and_then(|samples| samples.iter().map(|sample| sample.time).max());
        let Some(last) = tables.max(memory) else { return Ok(None) };
        self.span = (last, last.saturating_add(1));
        if let Some(samples) = self.memory.get_mut(labels) {
            samples.retain(|sample| sample.time == last);
        }
        Ok(self.samples_of(labels)?.pop())
    }
}

/// The samples in memory of all series that are meant, in the order in which they came.
fn in_memory(
    core: &Core,
    chunks: &[(TimeBase, Arc<SampleChunk>)],
    selection: &Selection<'_>,
    offset: &impl Fn(TimeBase) -> Option<Nanoseconds>,
    span: Span,
) -> BTreeMap<Labels, Vec<Sample>> {
    let mut found: ByStream<Option<Vec<Sample>>> = ByStream::default();
    let named = |id| lock(&core.streams).get(id).map_or_else(|| lost_labels(id), |stream| stream.labels().clone());
    let dismissed = dismissed(core, selection, chunks.iter().map(|(_, chunk)| chunk.streams.len()).sum());
    for (base, chunk) in chunks {
        let Some(offset) = offset(*base) else { continue };
        for (row, &id) in chunk.streams.iter().enumerate() {
            if dismissed.has(id) {
                continue;
            }
            let own = found.entry(id).or_insert_with(|| selection.selects(&named(id)).then(Vec::new));
            let time = chunk.times[row].saturating_add(offset);
            if let Some(own) = own.as_mut().filter(|_| time >= span.0 && time < span.1) {
                own.push(Sample { time, value: chunk.values[row] });
            }
        }
    }
    let mut ids: Vec<_> =
        found.into_iter().filter_map(|(id, own)| Some((id, own.filter(|own| !own.is_empty())?))).collect();
    // Two numbers may stand for one set of labels; the higher one came later.
    ids.sort_unstable_by_key(|(id, _)| *id);
    let mut memory: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
    ids.into_iter().for_each(|(id, mut own)| memory.entry(named(id)).or_default().append(&mut own));
    memory
}

/// Series of which it is known beforehand that they are not meant. Most samples in memory are of such: a bit tells so, without a
/// name to look up.
fn dismissed(core: &Core, selection: &Selection<'_>, rows: usize) -> StreamBits {
    let found = lock(&core.streams).dismissed(selection);
    found.unwrap_or_else(|| {
        let known: Vec<_> = {
            let streams = lock(&core.streams);
            // For few samples it is not worth a look at every name.
            if rows > streams.len() { streams.iter().cloned().collect() } else { Vec::new() }
        };
        let mut dismissed = StreamBits::default();
        let others = known.iter().filter(|stream| !selection.selects(stream.labels()));
        others.for_each(|stream| dismissed.set(stream.id()));
        dismissed
    })
}

impl Iterator for SeriesIter {
    type Item = Result<SeriesSamples, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let labels = self.names.next()?;
        Some(self.samples_of(&labels).map(|samples| SeriesSamples { labels, samples }))
    }
}
