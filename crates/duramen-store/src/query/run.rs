//! Answers a query: rows in the order of their times, out of memory and tables, read as they are asked for. Owns what is read and
//! what is not; a look at the store is taken once, and holds no lock.
//!
//! Everything that may hold a row is a *source*: a chunk in memory, a block of a table. Sources are sorted by the first time that
//! they may hold, and one is opened only when all rows before that time have been given out. Open are therefore only sources
//! whose times overlap, and of each only what matches.

pub(super) mod count;

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::chunk::{Chunk, StreamId};
use crate::core::Core;
use crate::damage::Noticed;
use crate::error::Error;
use crate::format::table::filter::may_hold;
use crate::labels::Labels;
use crate::lock;
use crate::query::{Direction, Query};
use crate::row::{Arrival, Fields, Level, Nanoseconds, RowId, TimeBase};
use crate::seal::lost_labels;
use crate::session::EVENTS;
use crate::store::Store;
use crate::table::reader::StreamReader;
use crate::table::{Block, Table};
use crate::view::Live;

/// One row of an answer.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is known by.
    pub id: RowId,
    /// Its stream.
    pub labels: Labels,
    /// Its time.
    pub time: Nanoseconds,
    /// What the time was counted from when the row was stored.
    pub base: TimeBase,
    /// Whether the time is wall time. Else the clock of its boot was never set, and the time is since that boot.
    pub timed: bool,
    /// When it reached the store.
    pub arrival: Arrival,
    /// Whether it is not an answer itself, but tells what may be missing here: see [`Query::gaps`].
    pub gap: bool,
    /// Its level.
    pub level: Level,
    /// The line, without its end.
    pub text: Vec<u8>,
    fields: Vec<u8>,
}

impl Row {
    /// Its fields.
    pub fn fields(&self) -> Fields<'_> {
        Fields::from_bytes(&self.fields)
    }
}

/// What a query looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// Live tables.
    pub tables: usize,
    /// Of those, tables whose times do not meet the query's.
    pub tables_by_time: usize,
    /// Blocks of streams that are meant, in tables whose times meet.
    pub blocks: usize,
    /// Of those, blocks whose times or levels do not meet.
    pub blocks_by_time: usize,
    /// Of those, blocks whose filter says that a word is not there.
    pub blocks_by_word: usize,
    /// Blocks read so far.
    pub blocks_read: usize,
    /// Stored bytes of them.
    pub bytes_read: u64,
    /// Chunks in memory that were looked at.
    pub chunks: usize,
    /// Rows given out.
    pub rows: usize,
    /// Blocks that could not be read, tables that could not be opened, and why.
    pub damaged: Vec<String>,
}

/// Something that may hold rows.
struct Source {
    /// First and last time that it may hold, as order counts.
    times: (Order, Order),
    place: Place,
}

enum Place {
    Chunk(TimeBase, Arc<Chunk>),
    Block { table: usize, stream: usize, block: usize },
}

/// A stream that is meant.
#[derive(Clone, Debug)]
struct Meant {
    labels: Labels,
    of: Sought,
}

/// What of a stream is sought: rows that pass the filters, rows that tell of gaps, or both. A row that tells of a gap and passes is
/// an answer as any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sought {
    rows: bool,
    gaps: bool,
}

/// What a row is to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Row,
    Gap,
}

/// A row of an open source that is of the answer.
#[derive(Clone, Copy, Debug)]
struct Match {
    row: u32,
    role: Role,
}

impl Match {
    fn of(row: usize, role: Role) -> Match {
        Match { row: row as u32, role }
    }
}

/// What rows are sorted by: rows of boots without a clock come before all others.
type Order = (bool, i64, RowId);

/// From stored times of one base to those of the answer.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Whether that makes them wall time.
    timed: bool,
    offset: Nanoseconds,
}

impl Scale {
    fn time(self, time: Nanoseconds) -> Nanoseconds {
        time.saturating_add(self.offset)
    }

    fn order(self, time: Nanoseconds, id: RowId) -> Order {
        (self.timed, self.time(time), id)
    }

    /// What a source may hold whose times lie between these.
    fn orders(self, times: (Nanoseconds, Nanoseconds)) -> (Order, Order) {
        (self.order(times.0, RowId::default()), self.order(times.1, RowId::from_number(u64::MAX)))
    }
}

/// Rows of an open source that match, in order.
enum Opened {
    Chunk(Arc<Chunk>),
    Block(Arc<Block>, Meant),
}

struct Open {
    rows: Opened,
    base: TimeBase,
    scale: Scale,
    /// Rows that match, in the order of the answer; those before `next` are given out.
    matching: Vec<Match>,
    next: usize,
}

/// A row that may be of the answer.
struct Candidate<'a> {
    time: Nanoseconds,
    level: u8,
    text: &'a [u8],
    fields: Fields<'a>,
    of: Sought,
}

/// Readers kept at most; each may hold a dictionary.
const READERS_MAX: usize = 64;

/// A table that may hold rows of the answer.
struct Reading {
    live: Arc<Live>,
    table: Arc<Table>,
}

/// The answer to a query, row by row. After an error that names a damaged place it goes on behind it; those that name a table of
/// which nothing can be read come first.
pub struct Rows {
    query: Query,
    levels: u16,
    /// The next one last.
    sources: Vec<Source>,
    open: Vec<Option<Open>>,
    heap: BinaryHeap<Keyed>,
    tables: Vec<Reading>,
    names: BTreeMap<StreamId, Option<Meant>>,
    /// What makes wall time of each boot's.
    offsets: BTreeMap<u32, Nanoseconds>,
    explained: Explained,
    left: usize,
    /// What blocks are read with, by table and stream.
    readers: BTreeMap<(usize, usize), StreamReader>,
    noticed: Arc<Noticed>,
    /// What is to be told before the first row.
    faults: VecDeque<Error>,
}

/// What the blocks of a stream are read with, made when it is needed first.
fn reader<'r>(
    readers: &'r mut BTreeMap<(usize, usize), StreamReader>,
    place: (usize, usize),
    table: &Table,
) -> Result<&'r StreamReader, Error> {
    if readers.len() >= READERS_MAX && !readers.contains_key(&place) {
        readers.clear();
    }
    match readers.entry(place) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(vacant) => Ok(vacant.insert(table.stream(&table.index.streams[place.1])?)),
    }
}

/// An open source's next row; the heap gives the one that comes first in the answer.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Keyed {
    key: Key,
    open: Reverse<usize>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Forward(Reverse<Order>),
    Backward(Order),
}

impl Store {
    /// Answers a query with the rows that are there now; rows that come later are not in it. Memory: the matching rows of as many
    /// sources as overlap at one time.
    ///
    /// # Errors
    /// A table that the device cannot read. One that is damaged is told of by [`Rows`].
    pub fn query(&self, query: Query) -> Result<Rows, Error> {
        Rows::new(self.core(), query)
    }
}

impl Rows {
    fn new(core: &Core, query: Query) -> Result<Rows, Error> {
        core.settle(&mut lock(&core.write));
        let (chunks, tables) = {
            let view = lock(&core.view);
            let mut chunks = view.active.chunks();
            view.sealed.iter().for_each(|sealed| chunks.extend(sealed.rows.chunks()));
            (chunks, view.tables.clone())
        };
        let mut rows = Rows {
            levels: query.levels(),
            left: query.limit.unwrap_or(usize::MAX),
            sources: Vec::new(),
            open: Vec::new(),
            heap: BinaryHeap::new(),
            tables: Vec::new(),
            names: rows_names(core, &chunks, &query),
            offsets: core.offsets(),
            explained: Explained { tables: tables.len(), ..Explained::default() },
            readers: BTreeMap::new(),
            noticed: core.noticed.clone(),
            faults: VecDeque::new(),
            query,
        };
        for (base, chunk) in chunks {
            rows.add_chunk(base, chunk);
        }
        for live in tables.into_iter().filter(|live| !live.entry.partition.is_of_samples()) {
            rows.add_table(core, live)?;
        }
        match rows.query.direction {
            Direction::Forward => rows.sources.sort_by_key(|source| Reverse(source.times.0)),
            Direction::Backward => rows.sources.sort_by_key(|source| source.times.1),
        }
        Ok(rows)
    }

    /// What was looked at so far.
    pub fn explained(&self) -> &Explained {
        &self.explained
    }

    fn scale(&self, base: TimeBase) -> Scale {
        match base {
            TimeBase::Wall => Scale { timed: true, offset: 0 },
            TimeBase::Boot(boot) => match self.offsets.get(&boot) {
                Some(&offset) => Scale { timed: true, offset },
                None => Scale { timed: false, offset: 0 },
            },
        }
    }

    /// Whether times may be in the answer.
    fn meets(&self, scale: Scale, times: (Nanoseconds, Nanoseconds)) -> bool {
        if !scale.timed {
            return self.query.from.is_none();
        }
        self.query.from.is_none_or(|from| scale.time(times.1) >= from)
            && self.query.to.is_none_or(|to| scale.time(times.0) < to)
    }

    fn add_chunk(&mut self, base: TimeBase, chunk: Arc<Chunk>) {
        let (Some(&first), Some(&last)) = (chunk.times.iter().min(), chunk.times.iter().max()) else { return };
        let scale = self.scale(base);
        let newest = chunk.groups.last().map_or(0, |group| group.sequence);
        if self.query.after.is_some_and(|after| newest < after.sequence()) {
            return;
        }
        if self.meets(scale, (first, last)) {
            self.sources.push(Source { times: scale.orders((first, last)), place: Place::Chunk(base, chunk) });
        }
    }

    fn add_table(&mut self, core: &Core, live: Arc<Live>) -> Result<(), Error> {
        let scale = self.scale(live.entry.partition.base());
        if self.query.after.is_some_and(|after| live.entry.covers_upto() <= after.sequence()) {
            self.explained.tables_by_time += 1;
            return Ok(());
        }
        if !self.meets(scale, live.entry.times) {
            self.explained.tables_by_time += 1;
            return Ok(());
        }
        let table = match core.open_table(&live) {
            Ok(table) => table,
            Err(error @ Error::DamagedTable { .. }) => {
                // Nobody can tell any more whether rows of the answer were in it: the answer says so, and goes on.
                self.noticed.note_table(&live.entry, &error);
                let error = error.of_table(&live.entry);
                self.explained.damaged.push(error.to_string());
                self.faults.push_back(error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut tokens = Vec::new();
        self.query.filters.iter().for_each(|filter| filter.tokens(&mut tokens));
        let filters = if tokens.is_empty() { Vec::new() } else { self.filters(&table) };
        let at = self.tables.len();
        for (number, stream) in table.index.streams.iter().enumerate() {
            let Some(Meant { of, .. }) = meant(&self.query, &stream.labels) else { continue };
            for (block, entry) in stream.blocks.iter().enumerate() {
                self.explained.blocks += 1;
                let times = (entry.first_time, entry.last_time);
                if !self.meets(scale, times) || (!of.gaps && entry.levels & self.levels == 0) {
                    self.explained.blocks_by_time += 1;
                    continue;
                }
                let from = entry.filter_offset as usize;
                let own = filters.get(from..from + entry.filter_bytes as usize).unwrap_or(&[]);
                if !of.gaps && !tokens.iter().all(|&token| may_hold(own, token)) {
                    self.explained.blocks_by_word += 1;
                    continue;
                }
                self.sources.push(Source {
                    times: scale.orders(times),
                    place: Place::Block { table: at, stream: number, block },
                });
            }
        }
        self.tables.push(Reading { live, table });
        Ok(())
    }

    /// A table's filters; without them every block may hold every word.
    fn filters(&mut self, table: &Table) -> Vec<u8> {
        table.filters().unwrap_or_else(|error| {
            self.explained.damaged.push(error.to_string());
            Vec::new()
        })
    }

    fn note(&self, table: usize, error: &Error) {
        self.noticed.note(&self.tables[table].table, error);
    }

    /// Opens the next source.
    fn open(&mut self, source: Source) -> Result<(), Error> {
        let opened = match source.place {
            Place::Chunk(base, chunk) => {
                self.explained.chunks += 1;
                self.open_chunk(base, chunk)
            }
            Place::Block { table, stream, block } => {
                self.open_block(table, stream, block).inspect_err(|error| self.note(table, error))?
            }
        };
        let Some(mut opened) = opened else { return Ok(()) };
        if self.query.direction == Direction::Backward {
            opened.matching.reverse();
        }
        let key = self.key(&opened);
        let place = self.open.iter().position(Option::is_none).unwrap_or(self.open.len());
        if place == self.open.len() {
            self.open.push(None);
        }
        self.open[place] = Some(opened);
        self.heap.push(Keyed { key, open: Reverse(place) });
        Ok(())
    }

    fn key(&self, open: &Open) -> Key {
        let order = open.order(open.matching[open.next].row as usize);
        match self.query.direction {
            Direction::Forward => Key::Forward(Reverse(order)),
            Direction::Backward => Key::Backward(order),
        }
    }

    /// What a row is to the answer; `None`: it is not of it.
    fn role(&self, scale: Scale, id: RowId, candidate: &Candidate<'_>) -> Option<Role> {
        let Candidate { time, level, text, fields, of } = *candidate;
        if !self.meets(scale, (time, time)) || self.query.after.is_some_and(|after| id <= after) {
            return None;
        }
        let passes = of.rows
            && self.levels & 1 << level != 0
            && self.query.filters.iter().all(|filter| filter.passes(text))
            && self.query.fields.iter().all(|filter| filter.passes(fields));
        if passes {
            return Some(Role::Row);
        }
        (of.gaps && matches!(fields.get("event"), Some("gap" | "outage"))).then_some(Role::Gap)
    }

    fn open_chunk(&self, base: TimeBase, chunk: Arc<Chunk>) -> Option<Open> {
        let scale = self.scale(base);
        let may = self.query.filters.iter().all(|filter| filter.may_pass_in(&chunk.text));
        let rows: Range<usize> = if may || self.query.gaps { 0..chunk.len() } else { 0..0 };
        let matching = rows.filter_map(|row| {
            let Some(Some(Meant { of, .. })) = self.names.get(&chunk.streams[row]) else { return None };
            if !may && !of.gaps {
                return None;
            }
            let (text, fields) = (chunk.text(row), chunk.fields(row));
            let candidate = Candidate { time: chunk.times[row], level: chunk.levels[row], text, fields, of: *of };
            Some(Match::of(row, self.role(scale, chunk.id(row), &candidate)?))
        });
        let mut matching: Vec<Match> = matching.collect();
        if matching.is_empty() {
            return None;
        }
        // Rows lie in the order in which they came.
        matching.sort_by_key(|found| chunk.times[found.row as usize]);
        Some(Open { rows: Opened::Chunk(chunk), base, scale, matching, next: 0 })
    }

    fn open_block(&mut self, table: usize, stream: usize, block: usize) -> Result<Option<Open>, Error> {
        let place = (table, stream);
        let Reading { table, live } = &self.tables[table];
        let base = live.entry.partition.base();
        let scale = self.scale(base);
        let stream = &table.index.streams[stream];
        let entry = &stream.blocks[block];
        self.explained.blocks_read += 1;
        let reader = reader(&mut self.readers, place, table)?;
        let text = table.text(reader, entry)?;
        self.explained.bytes_read += u64::from(entry.text.stored);
        let Some(meant) = meant(&self.query, &stream.labels) else { return Ok(None) };
        if !meant.of.gaps && !self.query.filters.iter().all(|filter| filter.may_pass_in(&text)) {
            return Ok(None);
        }
        self.explained.bytes_read += u64::from(entry.numbers.stored) + u64::from(entry.fields.stored);
        let numbers = table.numbers(entry)?;
        let block = Block { numbers, text, fields: table.fields(entry)? };
        let matching = (0..block.numbers.len()).filter_map(|row| {
            let (time, level) = (block.numbers.times[row], block.numbers.levels[row]);
            let (text, fields) = (block.text(row), block.fields(row));
            let candidate = Candidate { time, level, text, fields, of: meant.of };
            Some(Match::of(row, self.role(scale, block.numbers.ids[row], &candidate)?))
        });
        let matching: Vec<Match> = matching.collect();
        let rows = Opened::Block(Arc::new(block), meant);
        Ok((!matching.is_empty()).then_some(Open { rows, base, scale, matching, next: 0 }))
    }

    /// Whether the next source may hold a row that comes before all that are open.
    fn must_open(&self) -> bool {
        let (Some(source), Some(top)) = (self.sources.last(), self.heap.peek()) else {
            return !self.sources.is_empty();
        };
        match &top.key {
            Key::Forward(Reverse(order)) => source.times.0 <= *order,
            Key::Backward(order) => source.times.1 >= *order,
        }
    }

    fn take(&mut self) -> Option<Row> {
        let Keyed { open: Reverse(place), .. } = self.heap.pop()?;
        let mut open = self.open[place].take()?;
        let row = open.row(open.matching[open.next], &self.names);
        open.next += 1;
        if open.next < open.matching.len() {
            let key = self.key(&open);
            self.open[place] = Some(open);
            self.heap.push(Keyed { key, open: Reverse(place) });
        }
        Some(row)
    }
}

/// The streams in some chunks that a query means, by number.
fn rows_names(core: &Core, chunks: &[(TimeBase, Arc<Chunk>)], query: &Query) -> BTreeMap<StreamId, Option<Meant>> {
    let streams = lock(&core.streams);
    let mut names = BTreeMap::new();
    for (_, chunk) in chunks {
        let mut before = None;
        for &id in &chunk.streams {
            if before == Some(id) {
                continue;
            }
            before = Some(id);
            names.entry(id).or_insert_with(|| {
                let labels = streams.get(id).map_or_else(|| lost_labels(id), |stream| stream.labels().clone());
                meant(query, &labels)
            });
        }
    }
    names
}

fn named(names: &BTreeMap<StreamId, Option<Meant>>, stream: StreamId) -> &Meant {
    names.get(&stream).and_then(Option::as_ref).expect("only rows of streams that are meant match")
}

/// Whether a query means a stream, and what of it.
fn meant(query: &Query, labels: &Labels) -> Option<Meant> {
    let rows = query.selector.selects(labels);
    let gaps = query.gaps && labels.get(EVENTS.0) == Some(EVENTS.1);
    (rows || gaps).then(|| Meant { labels: labels.clone(), of: Sought { rows, gaps } })
}

impl Open {
    fn order(&self, row: usize) -> Order {
        match &self.rows {
            Opened::Chunk(chunk) => self.scale.order(chunk.times[row], chunk.id(row)),
            Opened::Block(block, _) => self.scale.order(block.numbers.times[row], block.numbers.ids[row]),
        }
    }

    fn row(&self, Match { row, role }: Match, names: &BTreeMap<StreamId, Option<Meant>>) -> Row {
        let (row, gap) = (row as usize, role == Role::Gap);
        match &self.rows {
            Opened::Chunk(chunk) => Row {
                id: chunk.id(row),
                labels: named(names, chunk.streams[row]).labels.clone(),
                gap,
                time: self.scale.time(chunk.times[row]),
                base: self.base,
                timed: self.scale.timed,
                arrival: chunk.arrival(row),
                level: Level::from_byte(chunk.levels[row]),
                text: chunk.text(row).to_vec(),
                fields: chunk.field_bytes(row).to_vec(),
            },
            Opened::Block(block, meant) => Row {
                id: block.numbers.ids[row],
                labels: meant.labels.clone(),
                gap,
                time: self.scale.time(block.numbers.times[row]),
                base: self.base,
                timed: self.scale.timed,
                arrival: block.numbers.arrival(row),
                level: Level::from_byte(block.numbers.levels[row]),
                text: block.text(row).to_vec(),
                fields: block.field_bytes(row).to_vec(),
            },
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(fault) = self.faults.pop_front() {
            return Some(Err(fault));
        }
        if self.left == 0 {
            return None;
        }
        while self.must_open() {
            let source = self.sources.pop()?;
            if let Err(error) = self.open(source) {
                self.explained.damaged.push(error.to_string());
                return Some(Err(error));
            }
        }
        let row = self.take()?;
        if !row.gap {
            self.left -= 1;
            self.explained.rows += 1;
        }
        Some(Ok(row))
    }
}
