//! Prometheus remote_write 1.0: a snappy block around a protobuf `WriteRequest`. Owns both bounds, what the message means, and
//! what of it is refused. Pure; knows no HTTP.
//!
//! Labels need not be sorted, although the protocol wants them so: Prometheus takes them in any order, and there are clients that
//! send them so. Names of labels that the store cannot hold are mended as [`names::label`] does; names of metrics are any text.

use std::borrow::Cow;

use crate::samples::protobuf::{Malformed, Reader};
use crate::samples::{
    Form, Kind, Label, Metadata, NAME, Outcome, Refused, Sample, Series, add_label, names, quoted, utf8,
};

/// The most that snappy makes of a byte: a copy of three bytes gives 64.
const SNAPPY_RATIO_MAX: usize = 22;

/// How many bytes a body says that are in it. Whoever takes bodies has a bound for that.
///
/// # Errors
/// It is no snappy block, or cannot hold so many.
pub fn decompressed_bytes(body: &[u8]) -> Result<usize, String> {
    if body.starts_with(b"\xff\x06\x00\x00sNaPpY") {
        return Err("bad snappy: a stream of frames, where a block is expected".to_string());
    }
    let length = snap::raw::decompress_len(body).map_err(|error| format!("bad snappy: {error}"))?;
    if length > body.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(format!("bad snappy: {} bytes cannot hold the {length} that they announce", body.len()));
    }
    Ok(length)
}

/// Decompresses a body into `message`, whose memory is used again from one body to the next.
///
/// # Errors
/// It is no snappy block. Nothing is allocated before that is known, nor more than [`decompressed_bytes`] says.
pub fn decompress(body: &[u8], message: &mut Vec<u8>) -> Result<(), String> {
    message.resize(decompressed_bytes(body)?, 0);
    let written = snap::raw::Decoder::new().decompress(body, message);
    let written = written.map_err(|error| format!("bad snappy: {error}"))?;
    message.truncate(written);
    Ok(())
}

/// Reads a `WriteRequest`. [`Outcome::skipped`] counts exemplars and native histograms; a row is a time series.
///
/// # Errors
/// The message is malformed, which may be seen only after samples were handed out: a sender sends a body again as a whole, so whoever
/// takes them should then drop what this body gave.
pub fn read(
    message: &[u8],
    mut each: impl FnMut(&Sample<'_>) -> Result<(), Refused>,
    mut told: impl FnMut(&Metadata<'_>),
) -> Result<Outcome, Malformed> {
    let mut outcome = Outcome::default();
    let mut scattered = Vec::new();
    let mut reader = Reader::new(message);
    let mut row = 0;
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => {
                row += 1;
                let series = reader.inner(&field)?;
                time_series(series, row, &mut outcome, &mut scattered, &mut each)?;
                if outcome.stopped {
                    break;
                }
            }
            3 => metadata(reader.inner(&field)?, &mut told)?,
            _ => {}
        }
    }
    Ok(outcome)
}

/// One `TimeSeries`: its labels first, wherever they stand, then its samples.
fn time_series(
    message: Reader<'_>,
    row: u64,
    outcome: &mut Outcome,
    scattered: &mut Vec<u8>,
    each: &mut impl FnMut(&Sample<'_>) -> Result<(), Refused>,
) -> Result<(), Malformed> {
    let mut reader = message.clone();
    // Labels stand together in what all senders write; protobuf would let them be anywhere.
    let (mut together, mut is_together) = (0..0, true);
    loop {
        let start = reader.position();
        let Some((number, field)) = reader.next()? else { break };
        match number {
            1 => {
                reader.inner(&field)?;
                if together.is_empty() {
                    together.start = start;
                } else if together.end != start {
                    is_together = false;
                }
                together.end = reader.position();
            }
            2 => {
                reader.inner(&field)?;
            }
            3 | 4 => outcome.skipped += 1,
            _ => {}
        }
    }
    let head = if is_together {
        message.between(together)
    } else {
        gather(message.clone(), scattered)?;
        scattered
    };
    let series = Series { head, field: &[], form: Form::RemoteWrite };
    let mut reader = message;
    let mut refused = false;
    while let Some((number, field)) = reader.next()? {
        if number == 2 {
            let (value, milliseconds) = sample(reader.inner(&field)?)?;
            if refused || outcome.stopped {
                continue;
            }
            let Some(time) = milliseconds.checked_mul(1_000_000) else {
                // The series' other samples have done nothing wrong.
                outcome.refuse(row, 1, format!("timestamp \"{milliseconds}\" is out of range"));
                continue;
            };
            refused = !outcome.hand(row, &Sample { series, time: Some(time), value }, each);
        }
    }
    Ok(())
}

/// The fields of labels, one behind the other.
fn gather(mut reader: Reader<'_>, into: &mut Vec<u8>) -> Result<(), Malformed> {
    let whole = reader.clone();
    into.clear();
    loop {
        let start = reader.position();
        let Some((number, _)) = reader.next()? else { return Ok(()) };
        if number == 1 {
            into.extend_from_slice(whole.between(start..reader.position()));
        }
    }
}

/// One `Sample`: its value and its time in milliseconds. What a sender leaves out is 0.
fn sample(mut reader: Reader<'_>) -> Result<(f64, i64), Malformed> {
    let (mut value, mut time) = (0.0, 0);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => value = f64::from_bits(reader.fixed(&field)?),
            // Negative numbers are sent in two's complement.
            2 => time = reader.number(&field)? as i64,
            _ => {}
        }
    }
    Ok((value, time))
}

/// One `MetricMetadata`.
fn metadata(mut reader: Reader<'_>, told: &mut impl FnMut(&Metadata<'_>)) -> Result<(), Malformed> {
    let mut said = Metadata { name: Cow::Borrowed(""), kind: None, help: None, unit: None };
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => said.kind = Some(kind(reader.number(&field)?)),
            2 => said.name = String::from_utf8_lossy(reader.bytes(&field)?),
            4 => said.help = Some(String::from_utf8_lossy(reader.bytes(&field)?)),
            5 => said.unit = Some(String::from_utf8_lossy(reader.bytes(&field)?)),
            _ => {}
        }
    }
    said.unit = said.unit.filter(|unit| !unit.is_empty());
    if !said.name.is_empty() {
        told(&said);
    }
    Ok(())
}

fn kind(number: u64) -> Kind {
    match number {
        1 => Kind::Counter,
        2 => Kind::Gauge,
        3 => Kind::Histogram,
        4 => Kind::GaugeHistogram,
        5 => Kind::Summary,
        6 => Kind::Info,
        7 => Kind::StateSet,
        _ => Kind::Unknown,
    }
}

/// The labels of a head, which is a run of label fields.
pub(super) fn labels(head: &[u8]) -> Result<Vec<Label<'_>>, String> {
    let mut labels = Vec::new();
    let mut reader = Reader::new(head);
    let malformed = |error: Malformed| error.reason.to_string();
    while let Some((_, field)) = reader.next().map_err(malformed)? {
        let mut label = reader.inner(&field).map_err(malformed)?;
        let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
        while let Some((number, field)) = label.next().map_err(malformed)? {
            match number {
                1 => name = label.bytes(&field).map_err(malformed)?,
                2 => value = label.bytes(&field).map_err(malformed)?,
                _ => {}
            }
        }
        if name.is_empty() {
            return Err(format!("a label without a name, with the value {}", quoted(value)));
        }
        let name = utf8(name, "label name")?;
        let value = std::str::from_utf8(value)
            .map_err(|_| format!("the value {} of the label {name} is not UTF-8", quoted(value)))?;
        let name = if name == NAME { Cow::Borrowed(NAME) } else { names::label(Cow::Borrowed(name)) };
        add_label(&mut labels, name, Cow::Borrowed(value))?;
    }
    Ok(labels)
}

#[cfg(test)]
mod tests;
