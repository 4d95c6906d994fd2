//! Prometheus' text format 0.0.4, and OpenMetrics 1.0 where it differs: what a scraped program answers. Owns their grammar.
//! Pure; knows no HTTP and no targets.
//!
//! Names in quotes, as Prometheus 3 has them, are read in both. Exemplars are skipped.

use std::borrow::Cow;

use crate::samples::time::{self, Unit};
use crate::samples::{
    Form, Kind, Label, Metadata, NAME, Outcome, Refused, Sample, Series, add_label, names, number, quoted, utf8,
};

/// Which of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Times are milliseconds.
    #[default]
    Text,
    /// Times are seconds, and the last line is `# EOF`.
    OpenMetrics,
}

impl Format {
    /// By the answer's content type.
    pub fn of(content_type: &str) -> Format {
        let kind = content_type.split(';').next().unwrap_or("").trim();
        if kind.eq_ignore_ascii_case("application/openmetrics-text") { Format::OpenMetrics } else { Format::Text }
    }
}

/// Reads a body. [`Outcome::skipped`] counts the exemplars. An OpenMetrics body that does not end in `# EOF` has a bad row for
/// that, behind its last line, and is [`Outcome::cut`].
pub fn read(
    body: &[u8],
    format: Format,
    mut each: impl FnMut(&Sample<'_>) -> Result<(), Refused>,
    mut told: impl FnMut(&Metadata<'_>),
) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut start, mut row, mut ended) = (0, 0, false);
    while start < body.len() && !outcome.stopped {
        row += 1;
        let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |end| start + end);
        let text = &body[start..end];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        start = end + 1;
        let mut line = Line { text, at: 0 };
        line.skip_blanks();
        if ended {
            outcome.refuse(row, 1, "a line behind # EOF");
            break;
        }
        let read = match line.peek() {
            None => continue,
            Some(b'#') => {
                ended = text == b"# EOF";
                comment(&line.text[line.at + 1..], &mut told)
            }
            Some(_) => line.sample(format).map(|(sample, exemplar)| {
                outcome.skipped += u64::from(exemplar);
                outcome.hand(row, &sample, &mut each);
            }),
        };
        if let Err(reason) = read {
            outcome.refuse(row, line.at + 1, reason);
        }
    }
    if format == Format::OpenMetrics && !ended && !outcome.stopped {
        outcome.cut = true;
        outcome.refuse(row + 1, 1, "no # EOF at the end: the body may have been cut");
    }
    outcome
}

/// What stands behind `#`: a word about a metric, or anything.
fn comment(text: &[u8], told: &mut impl FnMut(&Metadata<'_>)) -> Result<(), String> {
    let Some((word, rest)) = word(text) else { return Ok(()) };
    if !matches!(word, b"HELP" | b"TYPE" | b"UNIT") {
        return Ok(());
    }
    let rest = rest.trim_ascii_start();
    let (name, said) = if rest.first() == Some(&b'"') {
        let end = quote_end(rest, 0)?;
        (unescaped(&rest[1..end - 1], "metric name")?, rest[end..].trim_ascii_start())
    } else {
        let Some((name, said)) = self::word(rest) else {
            return Err("a comment about a metric without its name".to_string());
        };
        (Cow::Borrowed(metric_name(name)?), said.trim_ascii_start())
    };
    let mut metadata = Metadata { name, kind: None, help: None, unit: None };
    match word {
        b"HELP" => metadata.help = Some(unescaped(said, "help")?),
        b"UNIT" => metadata.unit = Some(Cow::Borrowed(utf8(said.trim_ascii_end(), "unit")?)),
        _ => {
            let kind = said.trim_ascii_end();
            let known = Kind::of(kind).ok_or_else(|| format!("{} is no type of a metric", quoted(kind)))?;
            metadata.kind = Some(known);
        }
    }
    told(&metadata);
    Ok(())
}

/// The first word, and what is behind it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn metric_name(name: &[u8]) -> Result<&str, String> {
    if names::is_metric(name) { utf8(name, "metric name") } else { Err(format!("{} is no metric name", quoted(name))) }
}

/// A line that is being read.
struct Line<'a> {
    text: &'a [u8],
    /// The next byte; where the fault is if one is found.
    at: usize,
}

impl<'a> Line<'a> {
    /// A sample, and whether it has an exemplar.
    fn sample(&mut self, format: Format) -> Result<(Sample<'a>, bool), String> {
        let head = self.head()?;
        self.skip_blanks();
        let start = self.at;
        let token = self.token();
        if token.is_empty() {
            return Err("missing value".to_string());
        }
        let value = number::prometheus(token);
        let value = value.ok_or_else(|| format!("bad value {}", quoted(token))).inspect_err(|_| self.at = start)?;
        self.skip_blanks();
        let mut stamp = None;
        if self.peek().is_some_and(|byte| byte != b'#') {
            let start = self.at;
            let token = self.token();
            let read = match format {
                Format::Text => time::whole(token, Unit::Milliseconds),
                Format::OpenMetrics => time::decimal(token, Some(Unit::Seconds)),
            };
            stamp = Some(read.inspect_err(|_| self.at = start)?);
            self.skip_blanks();
        }
        let exemplar = match self.peek() {
            None => false,
            Some(b'#') => true,
            Some(_) => return Err("expected the line's end".to_string()),
        };
        let series = Series { head, field: &[], form: Form::Exposition };
        Ok((Sample { series, time: stamp, value }, exemplar))
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn token(&mut self) -> &'a [u8] {
        let start = self.at;
        while !matches!(self.peek(), None | Some(b' ' | b'\t')) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// The name and the labels, as they stand there. What is in them is checked when their labels are asked for.
    fn head(&mut self) -> Result<&'a [u8], String> {
        let start = self.at;
        while !matches!(self.peek(), None | Some(b' ' | b'\t' | b'{')) {
            self.at += 1;
        }
        let name_end = self.at;
        self.skip_blanks();
        if self.peek() != Some(b'{') {
            return Ok(&self.text[start..name_end]);
        }
        let brace = self.at;
        loop {
            match memchr::memchr2(b'"', b'}', &self.text[self.at..]) {
                Some(found) if self.text[self.at + found] == b'"' => {
                    self.at = quote_end(self.text, self.at + found).inspect_err(|_| self.at += found)?;
                }
                Some(found) => {
                    self.at += found + 1;
                    return Ok(&self.text[start..self.at]);
                }
                None => {
                    self.at = brace;
                    return Err("labels without their closing brace".to_string());
                }
            }
        }
    }
}

/// Behind the quote that closes the one at `at`.
fn quote_end(text: &[u8], mut at: usize) -> Result<usize, String> {
    at += 1;
    loop {
        match text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
            Some(found) if text[at + found] == b'\\' => at += found + 2,
            Some(found) => return Ok(at + found + 1),
            None => return Err("a value without its closing quote".to_string()),
        }
    }
}

/// The labels of a head.
pub(super) fn labels(head: &[u8]) -> Result<Vec<Label<'_>>, String> {
    let brace = memchr::memchr(b'{', head).unwrap_or(head.len());
    let name = head[..brace].trim_ascii_end();
    let mut labels = Vec::new();
    if !name.is_empty() || brace == head.len() {
        labels.push((Cow::Borrowed(NAME), Cow::Borrowed(metric_name(name)?)));
    }
    let mut rest = head[brace..].strip_prefix(b"{").unwrap_or(b"}").trim_ascii_start();
    while rest != b"}" {
        let (first, behind) = name_or_text(rest)?;
        rest = behind.trim_ascii_start();
        if let Some(behind) = rest.strip_prefix(b"=") {
            let (value, behind) = text(behind.trim_ascii_start())?;
            rest = behind.trim_ascii_start();
            if first == NAME {
                return Err(format!("a label cannot be named {NAME}"));
            }
            add_label(&mut labels, names::label(first), value)?;
        } else {
            add_label(&mut labels, Cow::Borrowed(NAME), first)?;
        }
        match rest.first() {
            Some(b',') => rest = rest[1..].trim_ascii_start(),
            Some(b'}') if rest.len() == 1 => {}
            _ => return Err(format!("expected a comma or a closing brace before {}", quoted(rest))),
        }
    }
    Ok(labels)
}

/// A label's name, or anything in quotes.
fn name_or_text(rest: &[u8]) -> Result<(Cow<'_, str>, &[u8]), String> {
    if rest.first() == Some(&b'"') {
        return text(rest);
    }
    let end = rest.iter().position(|byte| matches!(byte, b'=' | b',' | b'}' | b' ' | b'\t' | b'"'));
    let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));
    if !names::is_label(name) {
        return Err(format!("{} is no label name", quoted(name)));
    }
    if behind.trim_ascii_start().first() != Some(&b'=') {
        return Err(format!("the label {} has no value", quoted(name)));
    }
    Ok((Cow::Borrowed(utf8(name, "label name")?), behind))
}

/// A text in quotes, and what is behind it.
fn text(rest: &[u8]) -> Result<(Cow<'_, str>, &[u8]), String> {
    if rest.first() != Some(&b'"') {
        return Err(format!("expected a quote before {}", quoted(rest)));
    }
    let end = quote_end(rest, 0)?;
    Ok((unescaped(&rest[1..end - 1], "label value")?, &rest[end..]))
}

/// `\\`, `\"` and `\n` resolved; any other backslash is itself.
fn unescaped<'a>(text: &'a [u8], what: &str) -> Result<Cow<'a, str>, String> {
    let text = utf8(text, what)?;
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut found = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = letters.next_if(|next| letter == '\\' && matches!(next, '\\' | '"' | 'n'));
        found.push(match escaped {
            Some('n') => '\n',
            Some(other) => other,
            None => letter,
        });
    }
    Ok(Cow::Owned(found))
}

#[cfg(test)]
mod tests;
