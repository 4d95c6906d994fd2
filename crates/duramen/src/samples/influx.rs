//! InfluxDB's line protocol. Owns its grammar, and how its measurements, tags and fields become labels: a field is the metric
//! `measurement_field`, one that is named `value` the metric `measurement`, as Prometheus' and VictoriaMetrics' gateways have it.
//! Pure; knows no HTTP.
//!
//! A line is taken whole or not at all. A bad one ends at its first line feed, so that a quote that is never closed costs one
//! line; where a closed string of several lines came before the fault, it ends after that.

use std::borrow::Cow;

use crate::samples::time::{self, Unit};
use crate::samples::{Form, Label, NAME, Outcome, Refused, Sample, Series, add_label, names, number, quoted, utf8};

/// What a request says of its lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The precision of times.
    pub unit: Unit,
    /// The value of a label `db`, for lines that have no tag of this name.
    pub database: Option<&'a str>,
}

/// Reads a body of lines. [`Outcome::skipped`] counts the fields that are strings.
pub fn read(body: &[u8], options: Options<'_>, mut each: impl FnMut(&Sample<'_>) -> Result<(), Refused>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut fields = Vec::new();
    let form = Form::Influx { database: options.database };
    let (mut start, mut row) = (0, 1);
    while start < body.len() && !outcome.stopped {
        fields.clear();
        let mut line = Line { body, at: start, string_end: start };
        match line.read(options.unit, &mut fields) {
            Ok(parsed) => {
                outcome.skipped += parsed.strings;
                for &(field, value) in &fields {
                    let series = Series { head: parsed.head, field, form };
                    if !outcome.hand(row, &Sample { series, time: parsed.time, value }, &mut each) {
                        break;
                    }
                }
            }
            Err(reason) => {
                outcome.refuse(row, line.at - start + 1, reason);
                line.at = line.string_end;
                line.at = line.line_end();
            }
        }
        row += 1;
        if line.string_end > start {
            row += memchr::memchr_iter(b'\n', &body[start..line.string_end]).count() as u64;
        }
        start = line.at + 1;
    }
    outcome
}

/// A line that is being read.
struct Line<'a> {
    body: &'a [u8],
    /// The next byte; where the fault is if one is found.
    at: usize,
    /// Behind the last string of several lines; the line's start if there is none.
    string_end: usize,
}

/// A line without its fields.
#[derive(Default)]
struct Parsed<'a> {
    /// Measurement and tags; empty where the line holds nothing.
    head: &'a [u8],
    time: Option<i64>,
    strings: u64,
}

impl<'a> Line<'a> {
    /// Reads to the line feed, or to the end.
    fn read(&mut self, unit: Unit, fields: &mut Vec<(&'a [u8], f64)>) -> Result<Parsed<'a>, String> {
        self.skip_blanks();
        match self.peek() {
            Some(b'#') => {
                self.at = self.line_end();
                return Ok(Parsed::default());
            }
            Some(b',') => return Err("missing measurement".to_string()),
            _ if self.ends() => return Ok(Parsed::default()),
            _ => {}
        }
        let head = self.head()?;
        let mut parsed = Parsed { head, ..Parsed::default() };
        loop {
            let name = self.field_name()?;
            match self.value()? {
                Some(value) => fields.push((name, value)),
                None => parsed.strings += 1,
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b' ') => break,
                _ if self.ends() => return Ok(parsed),
                _ => return Err("expected a comma, a blank or the line's end behind a field".to_string()),
            }
        }
        self.skip_blanks();
        if !self.ends() {
            let start = self.at;
            let token = self.token();
            parsed.time = Some(time::whole(token, unit).inspect_err(|_| self.at = start)?);
            self.skip_blanks();
        }
        if self.ends() { Ok(parsed) } else { Err("expected the line's end behind the timestamp".to_string()) }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    /// Whether the line ends here; goes to its line feed if so.
    fn ends(&mut self) -> bool {
        match &self.body[self.at..] {
            [] | [b'\n', ..] => true,
            [b'\r'] | [b'\r', b'\n', ..] => {
                self.at += 1;
                true
            }
            _ => false,
        }
    }

    fn line_end(&self) -> usize {
        memchr::memchr(b'\n', &self.body[self.at..]).map_or(self.body.len(), |end| self.at + end)
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// Measurement and tags, up to the blank that is not escaped. What is in them is checked when their labels are asked for.
    fn head(&mut self) -> Result<&'a [u8], String> {
        let start = self.at;
        loop {
            let found = memchr::memchr3(b' ', b'\\', b'\n', &self.body[self.at..]);
            self.at = found.map_or(self.body.len(), |found| self.at + found);
            match self.peek() {
                Some(b' ') => break,
                Some(b'\\') => self.skip_escape(),
                _ => return Err("missing fields".to_string()),
            }
        }
        let head = &self.body[start..self.at];
        self.skip_blanks();
        if self.ends() { Err("missing fields".to_string()) } else { Ok(head) }
    }

    /// Over a backslash and what it escapes; nothing escapes a line feed.
    fn skip_escape(&mut self) {
        self.at += if matches!(self.body.get(self.at + 1), None | Some(b'\n')) { 1 } else { 2 };
    }

    /// Up to the equals sign that is not escaped, and over it.
    fn field_name(&mut self) -> Result<&'a [u8], String> {
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'=') if self.at == start => return Err("missing field name".to_string()),
                Some(b'=') => break,
                Some(b'\\') => self.skip_escape(),
                None | Some(b',' | b' ' | b'\n') => {
                    let name = quoted(&self.body[start..self.at]);
                    return Err(if self.at == start {
                        "missing field name".to_string()
                    } else {
                        format!("the field {name} has no value")
                    });
                }
                Some(_) => self.at += 1,
            }
        }
        let name = &self.body[start..self.at];
        self.at += 1;
        Ok(name)
    }

    /// Up to a comma, a blank or the line's end.
    fn token(&mut self) -> &'a [u8] {
        let start = self.at;
        while !matches!(self.peek(), None | Some(b',' | b' ' | b'\n' | b'\r')) {
            self.at += 1;
        }
        &self.body[start..self.at]
    }

    /// A field's value; `None` is a string.
    fn value(&mut self) -> Result<Option<f64>, String> {
        if self.peek() == Some(b'"') {
            return self.skip_string().map(|()| None);
        }
        let start = self.at;
        let token = self.token();
        let value = match token {
            [] => Err("missing field value".to_string()),
            [b't' | b'T', ..] | [b'f' | b'F', ..] => boolean(token),
            [digits @ .., b'i'] => whole(digits, number::signed(digits).map(|value| value as f64), token),
            [digits @ .., b'u'] => whole(digits, number::unsigned(digits).map(|value| value as f64), token),
            _ => number::decimal(token).ok_or_else(|| format!("bad number {}", quoted(token))),
        };
        value.map(Some).inspect_err(|_| self.at = start)
    }

    /// Over a string in quotes, which may have line feeds in it.
    fn skip_string(&mut self) -> Result<(), String> {
        let mut at = self.at + 1;
        loop {
            let found = memchr::memchr2(b'"', b'\\', &self.body[at.min(self.body.len())..]);
            match found {
                Some(found) if self.body[at + found] == b'\\' => at += found + 2,
                Some(found) => {
                    at += found + 1;
                    break;
                }
                None => return Err("a string without its closing quote".to_string()),
            }
        }
        // A quote in the midst of something is the opening one of a later line.
        if !matches!(self.body.get(at), None | Some(b',' | b' ' | b'\n' | b'\r')) {
            return Err("a string without its closing quote, or with a quote in it that is not escaped".to_string());
        }
        if memchr::memchr(b'\n', &self.body[self.at..at]).is_some() {
            self.string_end = at;
        }
        self.at = at;
        Ok(())
    }
}

fn boolean(token: &[u8]) -> Result<f64, String> {
    match token {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok(1.0),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok(0.0),
        _ => Err(format!("bad boolean {}", quoted(token))),
    }
}

fn whole(digits: &[u8], value: Option<f64>, token: &[u8]) -> Result<f64, String> {
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    let plain = !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit);
    match value {
        Some(value) => Ok(value),
        None if plain => Err(format!("integer {} is out of range", quoted(token))),
        None => Err(format!("bad integer {}", quoted(token))),
    }
}

/// The labels of a head and a field.
pub(super) fn labels<'a>(head: &'a [u8], field: &[u8], database: Option<&'a str>) -> Result<Vec<Label<'a>>, String> {
    let measurement_end = end_of(head, b",");
    let measurement = unescaped(&head[..measurement_end], "measurement")?;
    let field = unescaped(field, "field name")?;
    let metric = if field == "value" { measurement } else { Cow::Owned(format!("{measurement}_{field}")) };
    let mut labels = vec![(Cow::Borrowed(NAME), names::metric(metric))];
    let mut rest = &head[measurement_end..];
    while let Some(tag) = rest.strip_prefix(b",") {
        let name_end = end_of(tag, b"=,");
        let name = &tag[..name_end];
        if name.is_empty() {
            return Err("missing tag name".to_string());
        }
        let Some(value) = tag[name_end..].strip_prefix(b"=") else {
            return Err(format!("the tag {} has no value", quoted(name)));
        };
        let value_end = end_of(value, b"=,");
        if value.get(value_end) == Some(&b'=') {
            return Err(format!("the value of the tag {} has a = that is not escaped", quoted(name)));
        }
        if value_end == 0 {
            return Err(format!("the tag {} has no value", quoted(name)));
        }
        rest = &value[value_end..];
        let label = names::label(unescaped(name, "tag name")?);
        if label == NAME {
            return Err(format!("a tag cannot be named {NAME}"));
        }
        add_label(&mut labels, label, unescaped(&value[..value_end], "tag value")?)?;
    }
    if let Some(database) = database.filter(|_| !labels.iter().any(|(name, _)| name == "db")) {
        add_label(&mut labels, Cow::Borrowed("db"), Cow::Borrowed(database))?;
    }
    Ok(labels)
}

/// Where one of these bytes stands that is not escaped, or the end.
fn end_of(text: &[u8], ends: &[u8]) -> usize {
    let mut at = 0;
    while at < text.len() && !ends.contains(&text[at]) {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at.min(text.len())
}

/// Without the backslashes that escape something. Before any other character a backslash is itself.
fn unescaped<'a>(text: &'a [u8], what: &str) -> Result<Cow<'a, str>, String> {
    let text = utf8(text, what)?;
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut found = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = letters.next_if(|next| letter == '\\' && matches!(next, ',' | '=' | ' ' | '\\'));
        found.push(escaped.unwrap_or(letter));
    }
    Ok(Cow::Owned(found))
}

#[cfg(test)]
mod tests;
