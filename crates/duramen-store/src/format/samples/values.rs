//! A column of floats: constant, runs, decimals, `pco`'s floats, zstd, or as they are. Owns the choice. Bit for bit, whatever the
//! bits. Pure.

use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, CParameter, DCtx};

use super::chunk::{self, Ask, chunk, levels, put_chunk};
use super::decimal::{Decimals, decimals};
use super::integers::{integers, put_integers};
use super::order::order;
use super::{Effort, keep_shorter};
use crate::format::bytes::{Reader, put_number};

const RAW: u8 = 0;
const CONSTANT: u8 = 1;
const RUNS: u8 = 2;
const DECIMALS: u8 = 3;
const FLOATS: u8 = 4;
const COMPRESSED: u8 = 5;

/// Runs are looked at where they are at most one of so many values.
const RUNS_SHARE: usize = 3;
/// Counts under this are not worth a frame of zstd.
const COMPRESS_COUNT_MIN: usize = 16;
/// zstd's: what it finds in floats are repeats of whole ones, which a higher one finds hardly better.
const COMPRESSION: i32 = 1;
/// Low bits of nothing under which it is not worth to set them apart.
const LOW_BITS_MIN: u32 = 8;

/// Adds values, in the shortest of their encodings.
pub(crate) fn put_values(out: &mut Vec<u8>, values: &[f64], effort: Effort) {
    let Some(first) = values.first() else {
        return out.push(RAW);
    };
    let runs = 1 + values.windows(2).filter(|pair| pair[0].to_bits() != pair[1].to_bits()).count();
    if runs == 1 {
        out.push(CONSTANT);
        return out.extend_from_slice(&first.to_le_bytes());
    }
    let from = out.len();
    put_without_runs(out, values, effort);
    if runs <= values.len() / RUNS_SHARE {
        let mut attempt = Vec::new();
        put_runs(&mut attempt, values, effort);
        keep_shorter(out, from, &attempt);
    }
}

/// Lengths of runs, then their values.
fn put_runs(out: &mut Vec<u8>, values: &[f64], effort: Effort) {
    let runs = || values.chunk_by(|before, next| before.to_bits() == next.to_bits());
    let lengths: Vec<i64> = runs().map(|run| run.len() as i64).collect();
    let heads: Vec<f64> = runs().map(|run| run[0]).collect();
    let mut packed = Vec::new();
    put_integers(&mut packed, &lengths, effort);
    out.push(RUNS);
    put_number(out, heads.len() as u64);
    put_number(out, packed.len() as u64);
    out.extend_from_slice(&packed);
    put_without_runs(out, &heads, effort);
}

fn put_without_runs(out: &mut Vec<u8>, values: &[f64], effort: Effort) {
    let from = out.len();
    put_raw(out, values);
    let mut attempt = Vec::new();
    if let Some(decimals) = Decimals::of(values) {
        attempt.push(DECIMALS);
        decimals.put(&mut attempt, effort);
        keep_shorter(out, from, &attempt);
        if decimals.plain() {
            return;
        }
    }
    if values.len() >= COMPRESS_COUNT_MIN {
        attempt.clear();
        if put_compressed(&mut attempt, values, COMPRESSION) {
            keep_shorter(out, from, &attempt);
        }
    }
    if values.len() >= chunk::COUNT_MIN {
        put_floats(out, from, values, effort);
    }
}

/// Adds `pco`'s floats where they are shorter than what stands from `from` on.
fn put_floats(out: &mut Vec<u8>, from: usize, values: &[f64], effort: Effort) {
    // Where all have the same low bits of nothing, as what was a 32-bit float once, they are set apart.
    let together = values.iter().fold(0, |bits, value| bits | value.to_bits());
    let low_bits = match together.trailing_zeros() {
        bits @ LOW_BITS_MIN..=52 => bits,
        _ => 0,
    };
    let order = order(&values.iter().map(|value| ordered(*value)).collect::<Vec<_>>());
    let mut attempt = Vec::new();
    for level in levels(effort) {
        attempt.clear();
        attempt.push(FLOATS);
        if put_chunk(&mut attempt, values, Ask { level: *level, order, low_bits }) {
            keep_shorter(out, from, &attempt);
        }
    }
}

/// Bits that are ordered as the floats are.
fn ordered(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn put_raw(out: &mut Vec<u8>, values: &[f64]) {
    out.push(RAW);
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

/// Adds a frame that says neither length nor checksum. False: there is none.
fn put_compressed(out: &mut Vec<u8>, values: &[f64], level: i32) -> bool {
    thread_local! {
        static CONTEXT: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    }
    let mut raw = Vec::with_capacity(values.len() * 8);
    values.iter().for_each(|value| raw.extend_from_slice(&value.to_le_bytes()));
    out.push(COMPRESSED);
    CONTEXT.with_borrow_mut(|context| {
        let context = context.get_or_insert_with(CCtx::create);
        let lean =
            [CParameter::CompressionLevel(level), CParameter::ContentSizeFlag(false), CParameter::ChecksumFlag(false)];
        if lean.into_iter().any(|parameter| context.set_parameter(parameter).is_err()) {
            return false;
        }
        // What would be longer than the values is of no use.
        let mut packed = Vec::with_capacity(raw.len());
        let done = context.compress2(&mut packed, &raw).is_ok();
        out.extend_from_slice(&packed);
        done
    })
}

/// Reads so many values, which take all the bytes; `None`: they are no such values. The count is the writer's, kept beside the
/// bytes: most encodings do not repeat it, and a wrong one gives `None` or other values, as many as asked for. Allocates for so many, for what `bytes` holds, and some memory that
/// does not depend on either.
pub(crate) fn values(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let (kind, rest) = bytes.split_first()?;
    match *kind {
        CONSTANT => {
            let value = f64::from_le_bytes(rest.try_into().ok()?);
            (count > 0).then(|| vec![value; count])
        }
        RUNS => read_runs(rest, count),
        _ => without_runs(bytes, count),
    }
}

fn without_runs(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let (kind, rest) = bytes.split_first()?;
    match *kind {
        RAW => raw(rest, count),
        DECIMALS => decimals(rest, count),
        FLOATS => chunk(rest, count),
        COMPRESSED => raw(&decompress(rest, count.checked_mul(8)?)?, count),
        _ => None,
    }
}

fn read_runs(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let mut reader = Reader::new(bytes);
    let runs = usize::try_from(reader.number()?).ok().filter(|runs| *runs <= count)?;
    let lengths = integers(reader.bytes()?, runs)?;
    let heads = without_runs(reader.take(reader.left())?, runs)?;
    let mut all = Vec::with_capacity(count);
    for (head, length) in heads.into_iter().zip(lengths) {
        let length = usize::try_from(length).ok().filter(|length| *length <= count - all.len())?;
        all.extend(std::iter::repeat_n(head, length));
    }
    (all.len() == count).then_some(all)
}

fn raw(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let (all, []) = bytes.as_chunks::<8>() else { return None };
    (all.len() == count).then(|| all.iter().map(|value| f64::from_le_bytes(*value)).collect())
}

/// What a frame holds, if it is so many bytes.
fn decompress(bytes: &[u8], raw: usize) -> Option<Vec<u8>> {
    thread_local! {
        static CONTEXT: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
    }
    let mut out = Vec::with_capacity(raw);
    let done = CONTEXT.with_borrow_mut(|context| context.get_or_insert_with(DCtx::create).decompress(&mut out, bytes));
    (done == Ok(raw)).then_some(out)
}
