//! Samples as the journal's records: column by column, each value told by the one before it of its series. Pure.
//!
//! Values of a series mostly differ little from scrape to scrape, and a scrape has one value of each: so a record builds on the
//! records before it. Such records make a chain; each names the one before, so that a reader that missed one knows it, and never
//! makes up values. Chains are short ([`CHAIN_BYTES`]): what is lost with a damaged record ends with its chain. Streams and times
//! are told within the record, and can be read whatever was lost.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use duramen_journal::Sequence;

use crate::chunk::StreamId;
use crate::format::bytes::{Reader, put_number, put_signed, unzigzag, zigzag};
use crate::format::column::{UNITS, unit_of};
use crate::row::{Arrival, ROWS_PER_RECORD_MAX};
use crate::sample::{SampleChunk, SampleGroup};

/// Bytes of records after which a new chain begins.
pub(crate) const CHAIN_BYTES: usize = 1 << 20;

/// Its times are counted from the boot that it arrived in.
const OF_BOOT: u8 = 1;
/// What follows the header is one zstd frame.
const COMPRESSED: u8 = 2;
/// Shorter bodies are not worth a frame.
const COMPRESS_BYTES_MIN: usize = 64;
/// Bytes of a record's body at most.
const BODY_BYTES_MAX: usize = 32 << 20;

/// A value is the one before it of its series.
const SAME: u64 = 0;
/// Its bits stand in the column of raw values.
const RAW: u64 = 1;
/// A new exponent follows, then the whole number.
const EXPONENT: u64 = 2;
/// From here on: the difference of whole numbers.
const DIFFERENCE: u64 = 3;

/// Powers of ten that are exact, and that decimals are looked for with.
const POWERS: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Whole numbers beyond this are not exact.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Streams' numbers are dense: one multiplication spreads them.
#[derive(Clone, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(self.0 as u32 ^ u32::from(byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// A map from streams.
pub(crate) type ByStream<T> = HashMap<StreamId, T, BuildHasherDefault<IdHasher>>;

/// The last value of a series in a chain.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    bits: u64,
    /// The last whole number, at this exponent.
    whole: i64,
    exponent: u8,
}

/// The whole number that a value is at an exponent, if it is exactly that.
#[inline]
fn whole(value: f64, exponent: u8) -> Option<i64> {
    let power = POWERS[usize::from(exponent)];
    let scaled = (value * power).round_ties_even();
    if !(-WHOLE_MAX..=WHOLE_MAX).contains(&scaled) {
        return None;
    }
    let number = scaled as i64;
    // A negative zero is no whole number: it would lose its sign.
    (number as f64 / power).to_bits().eq(&value.to_bits()).then_some(number)
}

/// Writes chains.
#[derive(Debug, Default)]
pub(crate) struct ChainWriter {
    series: ByStream<Last>,
    /// The record before; 0: the next one begins a chain.
    previous: Sequence,
    /// The last record of samples in the journal, of whatever chain; 0: none.
    last: Sequence,
    /// Records that were put, and not appended yet: whether each begins a chain.
    pending: Vec<bool>,
    bytes: usize,
    /// Where chains began that the journal may still hold, oldest first.
    starts: std::collections::VecDeque<Sequence>,
    body: Vec<u8>,
    raw: Vec<u8>,
}

impl ChainWriter {
    /// The next record begins a new chain: what was put was refused, or a reader may not have it.
    pub fn cut(&mut self) {
        self.previous = 0;
        self.pending.clear();
    }

    /// As [`ChainWriter::cut`]; records above this sequence were refused.
    pub fn cut_above(&mut self, written: Sequence) {
        self.cut();
        while self.starts.back().is_some_and(|&start| start > written) {
            self.starts.pop_back();
        }
        self.last = self.last.min(written);
    }

    /// Adds a record of samples; all of them have one base. It must be appended next, and [`ChainWriter::appended`] be told, or the
    /// chain be cut. A second record of one batch begins a chain, as nobody knows the first one's place yet.
    pub fn put(&mut self, out: &mut Vec<u8>, chunk: &SampleChunk, of_boot: bool, arrival: Arrival) {
        let begins = self.previous == 0 || self.bytes >= CHAIN_BYTES || !self.pending.is_empty();
        self.pending.push(begins);
        if begins {
            self.previous = 0;
            self.bytes = 0;
            self.series.clear();
        }
        let before = out.len();
        self.body.clear();
        self.raw.clear();
        put_steps(&mut self.body, chunk.streams.iter().map(|stream| i64::from(stream.0)));
        let unit = unit_of(&chunk.times);
        self.body.push(unit as u8);
        put_steps(&mut self.body, chunk.times.iter().map(|time| time / UNITS[unit]));
        self.put_values(chunk);
        self.body.extend_from_slice(&self.raw);
        let packed = if self.body.len() >= COMPRESS_BYTES_MIN { compress(&self.body) } else { None };
        out.push(if of_boot { OF_BOOT } else { 0 } | if packed.is_some() { COMPRESSED } else { 0 });
        put_number(out, self.previous);
        put_number(out, chunk.streams.len() as u64);
        put_number(out, u64::from(arrival.boot));
        put_number(out, arrival.monotonic);
        match packed {
            Some(packed) => {
                put_number(out, self.body.len() as u64);
                out.extend_from_slice(&packed);
            }
            None => out.extend_from_slice(&self.body),
        }
        self.bytes += out.len() - before;
    }

    fn put_values(&mut self, chunk: &SampleChunk) {
        let out = &mut self.body;
        let mut before: Option<(StreamId, Last)> = None;
        for (&stream, &value) in chunk.streams.iter().zip(&chunk.values) {
            // Samples of one series mostly follow each other, or none does.
            let mut last = match before {
                Some((of, last)) if of == stream => last,
                _ => {
                    before.into_iter().for_each(|(of, last)| _ = self.series.insert(of, last));
                    self.series.get(&stream).copied().unwrap_or_default()
                }
            };
            let bits = value.to_bits();
            if bits == last.bits {
                put_number(out, SAME);
            } else if let Some(number) = whole(value, last.exponent) {
                put_number(out, DIFFERENCE + zigzag(number - last.whole));
                last.whole = number;
            } else if let Some((exponent, number)) = (0..POWERS.len() as u8).find_map(|e| Some((e, whole(value, e)?))) {
                put_number(out, EXPONENT);
                out.push(exponent);
                put_signed(out, number);
                (last.exponent, last.whole) = (exponent, number);
            } else {
                put_number(out, RAW);
                self.raw.extend_from_slice(&(bits ^ last.bits).to_le_bytes());
            }
            last.bits = bits;
            before = Some((stream, last));
        }
        before.into_iter().for_each(|(of, last)| _ = self.series.insert(of, last));
    }

    /// The records that were put since the last time stand one behind the other from this sequence.
    pub fn appended(&mut self, first: Sequence) {
        for (begins, sequence) in self.pending.drain(..).zip(first..) {
            if begins {
                self.starts.push_back(sequence);
            }
            (self.previous, self.last) = (sequence, sequence);
        }
    }

    /// A record that opening found in the journal.
    pub fn found(&mut self, sequence: Sequence, begins: bool) {
        if begins {
            self.starts.push_back(sequence);
        }
        self.last = sequence;
    }

    /// What must be kept so that records from a sequence on can be read, those that are still to come among them.
    pub fn kept_for(&self, sequence: Sequence) -> Sequence {
        if self.previous == 0 && sequence > self.last {
            return sequence;
        }
        let behind = self.starts.partition_point(|&start| start <= sequence);
        behind.checked_sub(1).and_then(|at| self.starts.get(at)).map_or(sequence, |&start| start.min(sequence))
    }

    /// Nothing below this sequence is in the journal any more.
    pub fn released(&mut self, below: Sequence) {
        // The last start below stays: its chain may reach beyond.
        while self.starts.get(1).is_some_and(|&start| start <= below) {
            self.starts.pop_front();
        }
    }
}

/// What a record of samples says.
#[derive(Debug)]
pub(crate) struct SampleRecord {
    /// Its times are counted from the boot that it arrived in.
    pub of_boot: bool,
    pub arrival: Arrival,
    /// It begins a chain.
    pub begins: bool,
    /// All samples; their values are right only if `readable`.
    pub chunk: SampleChunk,
    /// No record that it builds on was missed.
    pub readable: bool,
}

/// Reads chains: give it all records of samples in their order.
#[derive(Debug, Default)]
pub(crate) struct ChainReader {
    series: ByStream<Last>,
    previous: Sequence,
}

impl ChainReader {
    /// Reads the record of this sequence. `None`: these are no samples.
    pub fn read(&mut self, payload: &[u8], sequence: Sequence) -> Option<SampleRecord> {
        let read = self.read_whole(payload, sequence);
        match &read {
            Some(record) if record.readable => self.previous = sequence,
            _ => self.previous = 0,
        }
        read
    }

    fn read_whole(&mut self, payload: &[u8], sequence: Sequence) -> Option<SampleRecord> {
        let mut reader = Reader::new(payload);
        let flags = reader.byte()?;
        if flags & !(OF_BOOT | COMPRESSED) != 0 {
            return None;
        }
        let previous = reader.number()?;
        let count = usize::try_from(reader.number()?).ok().filter(|&count| count <= ROWS_PER_RECORD_MAX)?;
        let boot = u32::try_from(reader.number()?).ok()?;
        let arrival = Arrival { boot, monotonic: reader.number()? };
        let unpacked;
        let body = match flags & COMPRESSED {
            0 => reader.take(reader.left())?,
            _ => {
                let bytes = usize::try_from(reader.number()?).ok().filter(|&bytes| bytes <= BODY_BYTES_MAX)?;
                unpacked = decompress(reader.take(reader.left())?, bytes)?;
                &unpacked[..]
            }
        };
        let mut reader = Reader::new(body);
        // Each value takes a byte and more: no column is made for samples that cannot be there.
        if count > reader.left() {
            return None;
        }
        let mut chunk = SampleChunk { groups: vec![SampleGroup { sequence, from: 0 }], ..SampleChunk::default() };
        steps(&mut reader, count, |stream| {
            chunk.streams.push(StreamId(u32::try_from(stream).ok()?));
            Some(())
        })?;
        let unit = *UNITS.get(usize::from(reader.byte()?))?;
        steps(&mut reader, count, |counted| {
            chunk.times.push(counted.checked_mul(unit)?);
            Some(())
        })?;
        let begins = previous == 0;
        let readable = begins || (previous == self.previous && self.previous != 0);
        if begins {
            self.series.clear();
        }
        self.read_values(&mut reader, &mut chunk)?;
        Some(SampleRecord { of_boot: flags & OF_BOOT != 0, arrival, begins, chunk, readable })
    }

    fn read_values(&mut self, reader: &mut Reader<'_>, chunk: &mut SampleChunk) -> Option<()> {
        let body = reader.clone();
        // The raw values stand behind the codes: their place is known when all codes are read.
        let mut raw = 0;
        for _ in 0..chunk.streams.len() {
            match reader.number()? {
                RAW => raw += 8,
                EXPONENT => {
                    let exponent = reader.byte()?;
                    POWERS.get(usize::from(exponent))?;
                    reader.signed()?;
                }
                _ => {}
            }
        }
        let mut raw = Reader::new(reader.take(raw)?);
        if !reader.is_empty() {
            return None;
        }
        let mut codes = body;
        chunk.values.reserve(chunk.streams.len());
        let mut before: Option<(StreamId, Last)> = None;
        for &stream in &chunk.streams {
            let mut last = match before {
                Some((of, last)) if of == stream => last,
                _ => {
                    before.into_iter().for_each(|(of, last)| _ = self.series.insert(of, last));
                    self.series.get(&stream).copied().unwrap_or_default()
                }
            };
            match codes.number()? {
                SAME => {}
                RAW => last.bits ^= raw.u64()?,
                code => {
                    if code == EXPONENT {
                        last.exponent = codes.byte()?;
                        last.whole = codes.signed()?;
                    } else {
                        last.whole = last.whole.wrapping_add(unzigzag(code - DIFFERENCE));
                    }
                    last.bits = (last.whole as f64 / POWERS[usize::from(last.exponent)]).to_bits();
                }
            }
            chunk.values.push(f64::from_bits(last.bits));
            before = Some((stream, last));
        }
        before.into_iter().for_each(|(of, last)| _ = self.series.insert(of, last));
        Some(())
    }
}

/// Adds numbers by their differences: as runs of equal ones (1, count of runs, then difference and length of each), or one by one
/// (0, then each).
fn put_steps(out: &mut Vec<u8>, numbers: impl ExactSizeIterator<Item = i64> + Clone) {
    let count = numbers.len();
    let mut runs: Vec<(i64, u64)> = Vec::new();
    let mut before = 0i64;
    for number in numbers.clone() {
        let step = number.wrapping_sub(before);
        before = number;
        let many = runs.len() * 2 > count;
        match runs.last_mut() {
            Some(run) if run.0 == step => run.1 += 1,
            _ if many => break,
            _ => runs.push((step, 1)),
        }
    }
    if runs.iter().map(|run| run.1).sum::<u64>() == count as u64 && runs.len() * 2 <= count + 1 {
        out.push(1);
        put_number(out, runs.len() as u64);
        for (step, length) in runs {
            put_signed(out, step);
            put_number(out, length);
        }
        return;
    }
    out.push(0);
    let mut before = 0i64;
    for number in numbers {
        put_signed(out, number.wrapping_sub(before));
        before = number;
    }
}

/// Reads so many numbers, and hands each out.
fn steps(reader: &mut Reader<'_>, count: usize, mut each: impl FnMut(i64) -> Option<()>) -> Option<()> {
    let mut number = 0i64;
    match reader.byte()? {
        0 => {
            for _ in 0..count {
                number = number.wrapping_add(reader.signed()?);
                each(number)?;
            }
            Some(())
        }
        1 => {
            let mut left = count;
            for _ in 0..reader.count()? {
                let step = reader.signed()?;
                let length = usize::try_from(reader.number()?).ok()?;
                left = left.checked_sub(length)?;
                for _ in 0..length {
                    number = number.wrapping_add(step);
                    each(number)?;
                }
            }
            (left == 0).then_some(())
        }
        _ => None,
    }
}

/// Compresses, if that makes it shorter. A thread's context is made once.
fn compress(body: &[u8]) -> Option<Vec<u8>> {
    thread_local! {
        static CONTEXT: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    }
    CONTEXT.with_borrow_mut(|context| {
        if context.is_none() {
            *context = crate::table::writer::compressor(1, &[]).ok();
        }
        let packed = context.as_mut()?.compress(body).ok()?;
        (packed.len() + 4 < body.len()).then_some(packed)
    })
}

fn decompress(bytes: &[u8], raw: usize) -> Option<Vec<u8>> {
    crate::table::reader::decompress(bytes, raw, None)
}

#[cfg(test)]
mod tests;
