//! Samples in JSON, an object a line. Owns the two shapes that are read: one sample, `{"name": "cpu", "labels": {"host": "a"}, "time":
//! "2026-11-26T20:00:00Z", "value": 1.5}`, and many of one series as VictoriaMetrics exports them, `{"metric": {"__name__": "cpu"},
//! "values": [1, 2], "timestamps": [1795723200000, 1795723201000]}`. Pure; knows no file.
//!
//! `metric` and `labels` are the same, and so are `time` and `timestamp`. A member of another name is refused: it may be one of
//! these, misspelt. A line is taken whole or not at all.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::samples::time::{self, Times, Unit};
use crate::samples::{Form, Label, NAME, Outcome, Refused, Sample, Series, add_label, names, number, quoted};

/// A line, its parts unread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "metric")]
    labels: Option<&'a RawValue>,
    #[serde(borrow, alias = "timestamp")]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    values: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    timestamps: Option<Vec<&'a RawValue>>,
}

/// A text, in place unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a body of whole lines. Numbers that are times count `unit`; without one their size tells, but `timestamps` are milliseconds.
/// [`Outcome::skipped`] counts values that are null.
pub fn read(body: &[u8], unit: Option<Unit>, mut each: impl FnMut(&Sample<'_>) -> Result<(), Refused>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut times = Times::new(unit);
    let mut samples = Vec::new();
    let (mut start, mut line) = (0, 0);
    while start < body.len() && !outcome.stopped {
        line += 1;
        let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |end| start + end);
        let text = &body[start..end];
        start = end + 1;
        if text.trim_ascii().is_empty() {
            continue;
        }
        // serde would take the members of an array, in their order, for those of the object.
        if text.trim_ascii_start().first() != Some(&b'{') {
            outcome.refuse(line, 1, "bad JSON: a line is an object".to_string());
            continue;
        }
        let row = match serde_json::from_slice::<Row<'_>>(text) {
            Ok(row) => row,
            Err(error) => {
                outcome.refuse(line, error.column().max(1), format!("bad JSON: {}", without_place(&error)));
                continue;
            }
        };
        samples.clear();
        let read = if row.values.is_some() || row.timestamps.is_some() {
            many(&row, unit, &mut samples)
        } else {
            one(&row, &mut times, &mut samples)
        };
        match read {
            Ok(skipped) => outcome.skipped += skipped,
            Err(reason) => {
                outcome.refuse(line, 1, reason);
                continue;
            }
        }
        let head = row.labels.map_or(&b""[..], |labels| labels.get().as_bytes());
        let field = row.name.as_deref().unwrap_or("").as_bytes();
        let series = Series { head, field, form: Form::Json };
        for &(time, value) in &samples {
            if !outcome.hand(line, &Sample { series, time, value }, &mut each) {
                break;
            }
        }
    }
    outcome
}

/// What serde_json says, without the line and column behind it.
fn without_place(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    if said.len() <= 200 { said.to_string() } else { said.chars().take(200).chain("…".chars()).collect() }
}

/// The shape of one sample; returns how many values are none.
fn one(row: &Row<'_>, times: &mut Times, into: &mut Vec<(Option<i64>, f64)>) -> Result<u64, String> {
    let time = match row.time.map(RawValue::get) {
        None => None,
        Some(raw) => Some(times.read(content(raw)?.as_bytes())?),
    };
    let value = row.value.ok_or("there is no value")?;
    match value_of(value.get())? {
        Some(value) => into.push((time, value)),
        None => return Ok(1),
    }
    Ok(0)
}

/// The shape of many samples.
fn many(row: &Row<'_>, unit: Option<Unit>, into: &mut Vec<(Option<i64>, f64)>) -> Result<u64, String> {
    let (Some(values), Some(timestamps)) = (&row.values, &row.timestamps) else {
        return Err("values and timestamps come together".to_string());
    };
    if row.value.is_some() || row.time.is_some() {
        return Err("one value and many in the same line".to_string());
    }
    if values.len() != timestamps.len() {
        return Err(format!("{} values, but {} timestamps", values.len(), timestamps.len()));
    }
    let unit = Some(unit.unwrap_or(Unit::Milliseconds));
    let mut skipped = 0;
    for (value, timestamp) in values.iter().zip(timestamps) {
        let time = time::decimal(timestamp.get().as_bytes(), unit)?;
        match value_of(value.get())? {
            Some(value) => into.push((Some(time), value)),
            None => skipped += 1,
        }
    }
    Ok(skipped)
}

/// A number, or a number in quotes as those that JSON has not are written; `None` is null.
fn value_of(raw: &str) -> Result<Option<f64>, String> {
    if raw == "null" {
        return Ok(None);
    }
    let text = content(raw)?;
    match number::prometheus(text.as_bytes()) {
        Some(value) => Ok(Some(value)),
        None => Err(format!("bad number {}", quoted(raw.as_bytes()))),
    }
}

/// What is in the quotes, or what stands there without any.
fn content(raw: &str) -> Result<Cow<'_, str>, String> {
    if !raw.starts_with('"') {
        return Ok(Cow::Borrowed(raw));
    }
    let text: Text<'_> = serde_json::from_str(raw).map_err(|error| format!("bad JSON: {}", without_place(&error)))?;
    Ok(text.0)
}

/// The labels of an object and a name.
pub(super) fn labels<'a>(head: &'a [u8], field: &'a [u8]) -> Result<Vec<Label<'a>>, String> {
    let mut labels = Vec::new();
    if !field.is_empty() {
        labels.push((Cow::Borrowed(NAME), Cow::Borrowed(crate::samples::utf8(field, "metric name")?)));
    }
    if head.is_empty() || head == b"null" {
        return Ok(labels);
    }
    let bad = |error| format!("bad labels: {}", without_place(&error));
    let Pairs(pairs) = serde_json::from_slice(head).map_err(bad)?;
    for (name, value) in pairs {
        let value = match value.get() {
            "null" => continue,
            raw if raw.starts_with(['{', '[']) => {
                return Err(format!("the label {} is no text", quoted(name.as_bytes())));
            }
            raw => content(raw)?,
        };
        let name = if name == NAME { name } else { names::label(name) };
        add_label(&mut labels, name, value)?;
    }
    Ok(labels)
}

/// An object's members, in their order and with doubled names.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Pairs<'de>, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Text(name), value)) = map.next_entry()? {
            pairs.push((name, value));
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests;
