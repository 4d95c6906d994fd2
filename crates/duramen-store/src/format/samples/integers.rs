//! A column of integers, as the distances from the smallest one, divided by what divides them all: packed plainly, by steps, by
//! steps of steps, as runs of equal steps, or by `pco`. Owns the choice. Pure.

use super::bits::{packed, packed_bytes, put_packed, width};
use super::chunk::{self, Ask, chunk, levels, put_chunk};
use super::order::order;
use super::{Effort, keep_shorter};
use crate::format::bytes::{Reader, put_number, put_signed};

const PLAIN: u8 = 0;
const STEPS: u8 = 1;
const STEPS_OF_STEPS: u8 = 2;
const RUNS: u8 = 3;
const CHUNK_8: u8 = 4;
const CHUNK_16: u8 = 5;
const CHUNK_32: u8 = 6;
const CHUNK_64: u8 = 7;
/// Beside one of the above: a number follows that all distances were divided by.
const DIVIDED: u8 = 0x10;

/// Packed bytes under which `pco` is not worth asking.
const ENOUGH_BYTES: usize = 24;

/// Distances from the smallest number.
struct Distances {
    least: i64,
    divisor: u64,
    all: Vec<u64>,
}

impl Distances {
    fn of(numbers: &[i64]) -> Distances {
        let least = numbers.iter().copied().min().unwrap_or(0);
        let mut all: Vec<u64> = numbers.iter().map(|number| number.wrapping_sub(least) as u64).collect();
        let divisor = common_divisor(&all);
        if divisor > 1 {
            all.iter_mut().for_each(|distance| *distance /= divisor);
        }
        Distances { least, divisor, all }
    }

    fn put_head(&self, out: &mut Vec<u8>, kind: u8) {
        out.push(if self.divisor > 1 { kind | DIVIDED } else { kind });
        put_signed(out, self.least);
        if self.divisor > 1 {
            put_number(out, self.divisor);
        }
    }
}

/// What divides all, at least 1.
fn common_divisor(all: &[u64]) -> u64 {
    let mut divisor = 0u64;
    for &number in all {
        if divisor == 1 {
            break;
        }
        // A remainder of 32 bits costs half of one of 64.
        let rest = match (u32::try_from(number), u32::try_from(divisor)) {
            (Ok(_), Ok(0)) => number,
            (Ok(number), Ok(divisor)) => u64::from(number % divisor),
            _ => number.checked_rem(divisor).unwrap_or(number),
        };
        if rest != 0 {
            let (mut larger, mut smaller) = (divisor, rest);
            while smaller != 0 {
                (larger, smaller) = (smaller, larger % smaller);
            }
            divisor = larger;
        }
    }
    divisor.max(1)
}

/// What the steps between distances are like.
#[derive(Debug)]
struct Shape {
    largest: u64,
    steps: (i64, i64),
    steps_of_steps: (i64, i64),
    runs: usize,
}

impl Shape {
    fn of(all: &[u64]) -> Shape {
        let mut shape =
            Shape { largest: 0, steps: (i64::MAX, i64::MIN), steps_of_steps: (i64::MAX, i64::MIN), runs: 0 };
        let (mut before, mut step_before) = (0u64, 0i64);
        for (at, &distance) in all.iter().enumerate() {
            let step = distance.wrapping_sub(before) as i64;
            let turn = step.wrapping_sub(step_before);
            shape.largest = shape.largest.max(distance);
            if at > 0 {
                shape.steps = (shape.steps.0.min(step), shape.steps.1.max(step));
                shape.runs += usize::from(at == 1 || turn != 0);
            }
            if at > 1 {
                shape.steps_of_steps = (shape.steps_of_steps.0.min(turn), shape.steps_of_steps.1.max(turn));
            }
            (before, step_before) = (distance, step);
        }
        shape
    }
}

fn span((least, most): (i64, i64)) -> u32 {
    if least > most { 0 } else { width(most.wrapping_sub(least) as u64) }
}

/// Adds a column, in the shortest of its encodings.
pub(super) fn put_integers(out: &mut Vec<u8>, numbers: &[i64], effort: Effort) {
    let distances = Distances::of(numbers);
    let shape = Shape::of(&distances.all);
    let from = out.len();
    put_packed_best(out, &distances, &shape);
    let count = numbers.len();
    let packed = out.len() - from;
    if shape.runs > 0 && shape.runs * 2 < packed {
        let mut runs = Vec::new();
        put_runs(&mut runs, &distances);
        keep_shorter(out, from, &runs);
    }
    let enough = match effort {
        Effort::Seal => ENOUGH_BYTES + count / 32,
        Effort::Merge => ENOUGH_BYTES / 2,
    };
    if count < chunk::COUNT_MIN || out.len() - from <= enough {
        return;
    }
    let mut attempt = Vec::new();
    let order = order(&distances.all);
    for level in levels(effort) {
        attempt.clear();
        if put_distances_chunk(&mut attempt, &distances, &shape, Ask { level: *level, order, low_bits: 0 }) {
            keep_shorter(out, from, &attempt);
        }
    }
}

fn put_packed_best(out: &mut Vec<u8>, distances: &Distances, shape: &Shape) {
    let count = distances.all.len();
    let widths = [width(shape.largest), span(shape.steps), span(shape.steps_of_steps)];
    // A head's bytes beside the packed ones; by steps they say more.
    let bytes = |order: usize| packed_bytes(count.saturating_sub(order), widths[order]) + [0, 4, 7][order];
    let kind = (0..3).min_by_key(|&order| bytes(order)).expect("three");
    distances.put_head(out, [PLAIN, STEPS, STEPS_OF_STEPS][kind]);
    let all = &distances.all;
    let steps = all.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    if kind > 0 {
        put_number(out, all.first().copied().unwrap_or(0));
    }
    match kind {
        0 => {
            out.push(widths[0] as u8);
            put_packed(out, all.iter().copied(), widths[0]);
        }
        1 => {
            let least = if count < 2 { 0 } else { shape.steps.0 };
            put_signed(out, least);
            out.push(widths[1] as u8);
            put_packed(out, steps.map(|step| step.wrapping_sub(least as u64)), widths[1]);
        }
        _ => {
            let least = if count < 3 { 0 } else { shape.steps_of_steps.0 };
            let mut step_before = steps.clone().next().unwrap_or(0);
            put_signed(out, step_before as i64);
            put_signed(out, least);
            out.push(widths[2] as u8);
            let turns = steps.skip(1).map(move |step| {
                let turn = step.wrapping_sub(step_before).wrapping_sub(least as u64);
                step_before = step;
                turn
            });
            put_packed(out, turns, widths[2]);
        }
    }
}

fn put_runs(out: &mut Vec<u8>, distances: &Distances) {
    distances.put_head(out, RUNS);
    put_number(out, distances.all.first().copied().unwrap_or(0));
    let mut steps = distances.all.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as i64).peekable();
    while let Some(step) = steps.next() {
        let mut length = 1;
        while steps.next_if_eq(&step).is_some() {
            length += 1;
        }
        put_signed(out, step);
        put_number(out, length);
    }
}

/// Adds a chunk of the narrowest type that holds all distances.
fn put_distances_chunk(out: &mut Vec<u8>, distances: &Distances, shape: &Shape, ask: Ask) -> bool {
    let all = &distances.all;
    match width(shape.largest) {
        0..=8 => {
            distances.put_head(out, CHUNK_8);
            put_chunk(out, &all.iter().map(|distance| *distance as u8).collect::<Vec<_>>(), ask)
        }
        9..=16 => {
            distances.put_head(out, CHUNK_16);
            put_chunk(out, &all.iter().map(|distance| *distance as u16).collect::<Vec<_>>(), ask)
        }
        17..=32 => {
            distances.put_head(out, CHUNK_32);
            put_chunk(out, &all.iter().map(|distance| *distance as u32).collect::<Vec<_>>(), ask)
        }
        _ => {
            distances.put_head(out, CHUNK_64);
            put_chunk(out, all, ask)
        }
    }
}

/// Reads a column of so many numbers that takes all the bytes.
pub(super) fn integers(bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    let mut reader = Reader::new(bytes);
    let kind = reader.byte()?;
    let least = reader.signed()?;
    let divisor = if kind & DIVIDED == 0 { 1 } else { reader.number()? };
    let place = |distance: u64| least.wrapping_add(distance.wrapping_mul(divisor) as i64);
    let placed = |all: Vec<u64>| all.into_iter().map(place).collect();
    match kind & !DIVIDED {
        PLAIN => {
            let (width, bytes) = read_packed(&mut reader, count)?;
            Some(packed(bytes, count, width).map(place).collect())
        }
        STEPS => read_steps(&mut reader, count).map(placed),
        STEPS_OF_STEPS => read_steps_of_steps(&mut reader, count).map(placed),
        RUNS => read_runs(&mut reader, count).map(placed),
        kind => {
            let rest = reader.take(reader.left())?;
            Some(match kind {
                CHUNK_8 => chunk::<u8>(rest, count)?.into_iter().map(|distance| place(distance.into())).collect(),
                CHUNK_16 => chunk::<u16>(rest, count)?.into_iter().map(|distance| place(distance.into())).collect(),
                CHUNK_32 => chunk::<u32>(rest, count)?.into_iter().map(|distance| place(distance.into())).collect(),
                CHUNK_64 => placed(chunk::<u64>(rest, count)?),
                _ => return None,
            })
        }
    }
}

/// The width, and the bytes of so many numbers, which must be all that is left.
fn read_packed<'a>(reader: &mut Reader<'a>, count: usize) -> Option<(u32, &'a [u8])> {
    let width = u32::from(reader.byte()?);
    if width > u64::BITS || reader.left() != packed_bytes(count, width) {
        return None;
    }
    Some((width, reader.take(reader.left())?))
}

fn read_steps(reader: &mut Reader<'_>, count: usize) -> Option<Vec<u64>> {
    let mut distance = reader.number()?;
    let least = reader.signed()? as u64;
    let (width, bytes) = read_packed(reader, count.saturating_sub(1))?;
    let mut all = Vec::with_capacity(count);
    all.extend((count > 0).then_some(distance));
    all.extend(packed(bytes, count.saturating_sub(1), width).map(|step| {
        distance = distance.wrapping_add(step).wrapping_add(least);
        distance
    }));
    Some(all)
}

fn read_steps_of_steps(reader: &mut Reader<'_>, count: usize) -> Option<Vec<u64>> {
    let mut distance = reader.number()?;
    let mut step = reader.signed()? as u64;
    let least = reader.signed()? as u64;
    let (width, bytes) = read_packed(reader, count.saturating_sub(2))?;
    let mut all = Vec::with_capacity(count);
    all.extend((count > 0).then_some(distance));
    distance = distance.wrapping_add(step);
    all.extend((count > 1).then_some(distance));
    all.extend(packed(bytes, count.saturating_sub(2), width).map(|turn| {
        step = step.wrapping_add(turn).wrapping_add(least);
        distance = distance.wrapping_add(step);
        distance
    }));
    Some(all)
}

fn read_runs(reader: &mut Reader<'_>, count: usize) -> Option<Vec<u64>> {
    let mut distance = reader.number()?;
    let mut all = Vec::with_capacity(count);
    all.extend((count > 0).then_some(distance));
    while !reader.is_empty() {
        let step = reader.signed()? as u64;
        let length = reader.number()?;
        if length == 0 || length > (count - all.len()) as u64 {
            return None;
        }
        for _ in 0..length {
            distance = distance.wrapping_add(step);
            all.push(distance);
        }
    }
    (all.len() == count).then_some(all)
}
