//! Tables in CSV with a header line (RFC 4180, with any separator). Owns which column is what: one the time, some labels, the
//! others values. Pure; knows no file.
//!
//! A row is taken whole or not at all. A table comes in pieces of any length: what is not yet a whole row is asked for again.

use std::borrow::Cow;

use crate::samples::time::{Times, Unit};
use crate::samples::{Form, Label, NAME, Outcome, Refused, Sample, Series, add_label, names, number, quoted, utf8};

/// Bytes of one row at most: a quote that is never closed does not gather the rest of a file.
pub const ROW_BYTES_MAX: usize = 1 << 20;
/// The byte order mark that some programs put before everything.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// What the user says of the columns.
#[derive(Clone, Debug)]
pub struct Columns {
    /// The metric's name: columns become `name_column`, one that is named `value` becomes `name`. Without it the columns' names
    /// are the metrics'.
    pub name: Option<String>,
    /// The time's column; without it the one that is named `time` or `timestamp`.
    pub time: Option<String>,
    /// What times that are numbers count; without it their size tells.
    pub unit: Option<Unit>,
    /// Columns that are labels; `__name__` may be one.
    pub labels: Vec<String>,
    /// Columns that are values; empty means all that are nothing else.
    pub values: Vec<String>,
    /// Labels of all rows.
    pub more: Vec<(String, String)>,
    /// Between cells.
    pub separator: u8,
}

impl Default for Columns {
    fn default() -> Columns {
        Columns {
            name: None,
            time: None,
            unit: None,
            labels: Vec::new(),
            values: Vec::new(),
            more: Vec::new(),
            separator: b',',
        }
    }
}

/// Whether more of a table comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Rows may be cut at its end.
    More,
    /// Its end is the table's.
    Last,
}

/// A table that is being read.
#[derive(Debug)]
pub struct Csv {
    columns: Columns,
    header: Option<Header>,
    times: Times,
    /// The line at which the next piece begins, from 1.
    line: u64,
    key: Vec<u8>,
}

/// What the columns are.
#[derive(Debug)]
pub struct Header {
    name: Option<String>,
    count: usize,
    time: usize,
    labels: Vec<(usize, String)>,
    values: Vec<(usize, String)>,
    more: Vec<(String, String)>,
}

impl Csv {
    /// A table of which nothing is read yet.
    pub fn new(columns: Columns) -> Csv {
        Csv { times: Times::new(columns.unit), columns, header: None, line: 1, key: Vec::new() }
    }

    /// Reads the whole rows of a piece and returns how many of its bytes they are; the rest comes again with what follows it.
    /// [`Outcome::skipped`] counts empty cells.
    ///
    /// # Errors
    /// The header has not the columns that it should have, or a row is longer than [`ROW_BYTES_MAX`]: nothing can be read from here
    /// on.
    pub fn read(
        &mut self,
        bytes: &[u8],
        piece: Piece,
        outcome: &mut Outcome,
        mut each: impl FnMut(&Sample<'_>) -> Result<(), Refused>,
    ) -> Result<usize, String> {
        let (mut at, mut cells) = (0, Vec::new());
        if self.header.is_none() && bytes.starts_with(MARK) {
            at = MARK.len();
        }
        while at < bytes.len() && !outcome.stopped {
            cells.clear();
            let rest = &bytes[at..];
            let row = split(rest, self.columns.separator, &mut cells);
            let line = self.line;
            let taken = &rest[..row.length];
            if row.open && piece == Piece::More {
                if rest.len() <= ROW_BYTES_MAX {
                    return Ok(at);
                }
                if !taken.ends_with(b"\n") {
                    return Err(format!("line {line} is longer than {ROW_BYTES_MAX} bytes"));
                }
            }
            self.line += memchr::memchr_iter(b'\n', taken).count() as u64;
            at += row.length;
            if taken.trim_ascii().is_empty() {
                continue;
            }
            match (row.fault, &self.header) {
                (Some(fault), None) => return Err(format!("bad header: {fault}")),
                (None, None) => self.header = Some(Header::new(&self.columns, &cells)?),
                (Some(fault), Some(_)) => outcome.refuse(line, 1, fault),
                (None, Some(header)) => {
                    let read = take(header, &mut self.times, &mut self.key, &cells, line, outcome, &mut each);
                    if let Err((column, reason)) = read {
                        outcome.refuse(line, column, reason);
                    }
                }
            }
        }
        Ok(at)
    }
}

/// One row; a fault comes with the column of its cell.
fn take(
    header: &Header,
    times: &mut Times,
    key: &mut Vec<u8>,
    cells: &[Cell<'_>],
    line: u64,
    outcome: &mut Outcome,
    each: &mut impl FnMut(&Sample<'_>) -> Result<(), Refused>,
) -> Result<(), (usize, String)> {
    if cells.len() != header.count {
        return Err((1, format!("{} cells, where the header has {}", cells.len(), header.count)));
    }
    let at = |cell: &Cell<'_>| cell.start + 1;
    let time = &cells[header.time];
    let time = times.read(&time.text()).map_err(|reason| (at(time), reason))?;
    key.clear();
    for &(column, _) in &header.labels {
        let text = cells[column].text();
        key.extend_from_slice(&(text.len() as u32).to_le_bytes());
        key.extend_from_slice(&text);
    }
    for (column, name) in &header.values {
        let cell = &cells[*column];
        if value(cell).is_none() && !cell.is_empty() {
            return Err((at(cell), format!("bad number {} in the column {name}", quoted(&cell.text()))));
        }
    }
    for (column, name) in &header.values {
        let Some(value) = value(&cells[*column]) else {
            outcome.skipped += 1;
            continue;
        };
        let series = Series { head: key, field: name.as_bytes(), form: Form::Csv(header) };
        if !outcome.hand(line, &Sample { series, time: Some(time), value }, each) {
            break;
        }
    }
    Ok(())
}

fn value(cell: &Cell<'_>) -> Option<f64> {
    number::prometheus(cell.text().trim_ascii())
}

impl Header {
    fn new(columns: &Columns, cells: &[Cell<'_>]) -> Result<Header, String> {
        let mut names = Vec::new();
        for cell in cells {
            let name = utf8(&cell.text(), "column")?.trim().to_string();
            if !name.is_empty() && names.contains(&name) {
                return Err(format!("bad header: the column {} comes twice", quoted(name.as_bytes())));
            }
            names.push(name);
        }
        let find = |wanted: &String| {
            let missing =
                || format!("no column {} among {}", quoted(wanted.as_bytes()), quoted(names.join(", ").as_bytes()));
            names.iter().position(|name| name == wanted).ok_or_else(missing)
        };
        let time = match &columns.time {
            Some(name) => find(name)?,
            None => {
                let usual = |name: &String| ["time", "timestamp"].iter().any(|usual| name.eq_ignore_ascii_case(usual));
                let missing = || format!("no column time or timestamp among {}", quoted(names.join(", ").as_bytes()));
                names.iter().position(usual).ok_or_else(missing)?
            }
        };
        let mut labels = Vec::new();
        for name in &columns.labels {
            labels.push((find(name)?, names::label(Cow::Borrowed(name)).into_owned()));
        }
        let mut values = Vec::new();
        for name in &columns.values {
            values.push((find(name)?, name.clone()));
        }
        if columns.values.is_empty() {
            let is_else = |at: usize| at == time || labels.iter().any(|(label, _)| *label == at);
            values = names.iter().cloned().enumerate().filter(|(at, name)| !is_else(*at) && !name.is_empty()).collect();
        }
        if values.is_empty() {
            return Err("no column is left for values".to_string());
        }
        let more = columns.more.clone();
        Ok(Header { name: columns.name.clone(), count: names.len(), time, labels, values, more })
    }

    /// The labels of a key of this table.
    pub(super) fn labels<'a>(&'a self, head: &'a [u8], field: &'a [u8]) -> Result<Vec<Label<'a>>, String> {
        let mut labels = Vec::new();
        for (name, value) in &self.more {
            add_label(&mut labels, names::label(Cow::Borrowed(name)), Cow::Borrowed(value))?;
        }
        let mut metric = self.name.as_deref();
        let mut rest = head;
        for (_, name) in &self.labels {
            let Some((length, behind)) = rest.split_first_chunk() else { break };
            let Some((value, behind)) = behind.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
            rest = behind;
            let value = utf8(value, "label value")?;
            if name == NAME {
                metric = Some(value);
            } else {
                add_label(&mut labels, Cow::Borrowed(name), Cow::Borrowed(value))?;
            }
        }
        let column = utf8(field, "column")?;
        let metric = match metric {
            Some("") => return Ok(labels),
            None => Cow::Borrowed(column),
            Some(metric) if column == "value" => Cow::Borrowed(metric),
            Some(metric) => Cow::Owned(format!("{metric}_{column}")),
        };
        add_label(&mut labels, Cow::Borrowed(NAME), names::metric(metric))?;
        Ok(labels)
    }
}

/// A cell as it stands in a row.
struct Cell<'a> {
    start: usize,
    /// Without the quotes around it.
    raw: &'a [u8],
    /// It has doubled quotes in it.
    doubled: bool,
}

impl<'a> Cell<'a> {
    fn is_empty(&self) -> bool {
        self.raw.trim_ascii().is_empty()
    }

    fn text(&self) -> Cow<'a, [u8]> {
        if !self.doubled {
            return Cow::Borrowed(self.raw);
        }
        let mut found = Vec::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'"', rest) {
            found.extend_from_slice(&rest[..=at]);
            rest = &rest[(at + 2).min(rest.len())..];
        }
        found.extend_from_slice(rest);
        Cow::Owned(found)
    }
}

/// A row at the beginning of some bytes.
struct Row {
    /// With its line feed.
    length: usize,
    /// It may go on behind the bytes.
    open: bool,
    fault: Option<&'static str>,
}

/// Splits off one row. A faulty one ends at its first line feed.
fn split<'a>(bytes: &'a [u8], separator: u8, cells: &mut Vec<Cell<'a>>) -> Row {
    let mut at = 0;
    let fault = |fault, open| {
        let length = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        Row { length, open, fault: Some(fault) }
    };
    loop {
        let start = at;
        if bytes.get(at) == Some(&b'"') {
            at += 1;
            let mut doubled = false;
            loop {
                match memchr::memchr(b'"', &bytes[at..]) {
                    Some(found) if bytes.get(at + found + 1) == Some(&b'"') => {
                        doubled = true;
                        at += found + 2;
                    }
                    Some(found) => {
                        at += found;
                        break;
                    }
                    None => return fault("a quote that is not closed", true),
                }
            }
            cells.push(Cell { start, raw: &bytes[start + 1..at], doubled });
            at += 1;
        } else {
            while bytes.get(at).is_some_and(|&byte| byte != separator && byte != b'\n') {
                at += 1;
            }
            let raw = &bytes[start..at];
            let ends = bytes.get(at) != Some(&separator);
            let raw = if ends { raw.strip_suffix(b"\r").unwrap_or(raw) } else { raw };
            cells.push(Cell { start, raw, doubled: false });
        }
        match &bytes[at..] {
            [] | [b'\r'] => return Row { length: bytes.len(), open: true, fault: None },
            [b'\n', ..] => return Row { length: at + 1, open: false, fault: None },
            [b'\r', b'\n', ..] => return Row { length: at + 2, open: false, fault: None },
            [byte, ..] if *byte == separator => at += 1,
            _ => return fault("something behind a closing quote", false),
        }
    }
}

#[cfg(test)]
mod tests;
