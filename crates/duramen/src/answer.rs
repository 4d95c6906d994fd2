//! One row of an answer on its way to people and programs: as JSON, and as a line on the screen. Owns these two forms; asks
//! nothing.

use std::collections::BTreeMap;
use std::io::{self, Write};

use duramen_store::{Level, Nanoseconds, Row};
use serde::{Deserialize, Serialize};

use crate::stamp;

/// A row as JSON has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// RFC 3339 in UTC; `+12.5s` if the time is only known since the boot.
    pub time: String,
    /// The same in nanoseconds.
    pub ns: Nanoseconds,
    /// The level's word.
    pub level: String,
    /// The stream.
    pub labels: BTreeMap<String, String>,
    /// The text; bytes that are no UTF-8 are replaced.
    pub line: String,
    /// The text's bytes in hexadecimal digits, if it is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// The fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// Whether it tells of what may be missing here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gap: bool,
    /// What the row is known by.
    pub id: String,
}

impl From<&Row> for Line {
    fn from(row: &Row) -> Line {
        let text = std::str::from_utf8(&row.text);
        Line {
            time: if row.timed { stamp::show_utc(row.time) } else { since_boot(row.time) },
            ns: row.time,
            level: row.level.word().to_string(),
            labels: row.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            line: String::from_utf8_lossy(&row.text).into_owned(),
            hex: text.is_err().then(|| row.text.iter().map(|byte| format!("{byte:02x}")).collect()),
            fields: row.fields().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            gap: row.gap,
            id: row.id.to_string(),
        }
    }
}

fn since_boot(time: Nanoseconds) -> String {
    format!("+{:.3}s", time as f64 / 1e9)
}

impl Line {
    /// The text's bytes as they came.
    pub fn bytes(&self) -> Vec<u8> {
        let Some(hex) = &self.hex else { return self.line.clone().into_bytes() };
        let digits: Vec<u8> = hex.bytes().filter_map(|c| char::from(c).to_digit(16).map(|digit| digit as u8)).collect();
        digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn is_timed(&self) -> bool {
        !self.time.starts_with('+')
    }
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Time, stream in short, text
    Short,
    /// Time, level, all labels and fields, text
    Full,
    /// The text only, its bytes as they came
    Cat,
    /// One JSON object a line
    Json,
}

/// Prints rows.
pub struct Printer<W: Write> {
    out: W,
    output: Output,
    color: bool,
}

impl<W: Write> Printer<W> {
    /// Prints into `out`, with colours or without.
    pub fn new(out: W, output: Output, color: bool) -> Printer<W> {
        Printer { out, output, color }
    }

    /// Prints one row.
    ///
    /// # Errors
    /// The reader went away, or the disk is full.
    pub fn print(&mut self, line: &Line) -> io::Result<()> {
        match self.output {
            Output::Json => {
                serde_json::to_writer(&mut self.out, line)?;
                self.out.write_all(b"\n")
            }
            Output::Cat if line.gap => Ok(()),
            Output::Cat => {
                self.out.write_all(&line.bytes())?;
                self.out.write_all(b"\n")
            }
            _ if line.gap => self.print_gap(line),
            Output::Short => {
                let stream = short_stream(&line.labels);
                self.dim(&format!("{} ", self.time(line)))?;
                if !stream.is_empty() {
                    self.dim(&format!("{stream}: "))?;
                }
                self.text(line)
            }
            Output::Full => {
                let labels: Vec<String> = line.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
                self.dim(&format!("{} {:7} {{{}}} ", self.time(line), line.level, labels.join(", ")))?;
                for (name, value) in &line.fields {
                    self.dim(&format!("{name}={value:?} "))?;
                }
                self.text(line)
            }
        }
    }

    fn time(&self, line: &Line) -> String {
        if line.is_timed() { stamp::show(line.ns) } else { line.time.clone() }
    }

    fn print_gap(&mut self, line: &Line) -> io::Result<()> {
        let at = |name: &str| line.fields.get(name).and_then(|time| time.parse().ok()).map(stamp::show);
        let span = match (at("from"), at("to")) {
            (Some(from), Some(to)) => format!("{from} to {to}"),
            _ => self.time(line),
        };
        let kind = line.fields.get("event").map_or("gap", String::as_str);
        self.colored("33", &format!("-- {kind}, {span}: {} --\n", line.line))
    }

    /// The text; what a terminal would obey in it is shown instead.
    fn text(&mut self, line: &Line) -> io::Result<()> {
        let shown = visible(&line.line);
        match Level::parse(&line.level) {
            Some(level) if level <= Level::Error => self.colored("31", &shown)?,
            Some(Level::Warning) => self.colored("33", &shown)?,
            Some(Level::Debug) => self.dim(&shown)?,
            _ => self.out.write_all(shown.as_bytes())?,
        }
        self.out.write_all(b"\n")
    }

    fn dim(&mut self, text: &str) -> io::Result<()> {
        self.colored("2", text)
    }

    fn colored(&mut self, code: &str, text: &str) -> io::Result<()> {
        if self.color { write!(self.out, "\x1b[{code}m{text}\x1b[0m") } else { self.out.write_all(text.as_bytes()) }
    }

    /// Hands over what was printed.
    ///
    /// # Errors
    /// As [`Printer::print`].
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A text without characters that move a terminal's cursor or change its colours.
fn visible(text: &str) -> String {
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return text.to_string();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() && c != '\t' {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

/// The most telling label's value: the program, or the file's name.
fn short_stream(labels: &BTreeMap<String, String>) -> String {
    let get = |name: &str| labels.get(name).map(String::as_str);
    match (get("app"), get("file"), get("duramen")) {
        (Some(app), ..) => app.to_string(),
        (None, Some(file), _) => file.rsplit('/').next().unwrap_or(file).to_string(),
        (None, None, Some(own)) => format!("duramen {own}"),
        _ => labels.values().next().cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            time: "2026-11-26T20:00:00.000000000Z".into(),
            ns: 1_795_723_200_000_000_000,
            level: "err".into(),
            labels: [("app".to_string(), "sshd".to_string())].into(),
            line: text.into(),
            hex: None,
            fields: BTreeMap::new(),
            gap: false,
            id: "1.0".into(),
        }
    }

    fn printed(line: &Line, output: Output, color: bool) -> String {
        let mut out = Vec::new();
        Printer::new(&mut out, output, color).print(line).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_are_printed_as_asked() {
        let short = printed(&line("refused"), Output::Short, false);
        assert!(short.ends_with(" sshd: refused\n") && short.starts_with("2026-11-2"), "{short}");
        assert_eq!(printed(&line("refused"), Output::Cat, true), "refused\n");
        assert!(printed(&line("refused"), Output::Full, false).contains(r#"err     {app="sshd"} refused"#));
        assert!(printed(&line("refused"), Output::Short, true).contains("\x1b[31mrefused\x1b[0m"));
        let json: Line = serde_json::from_str(&printed(&line("refused"), Output::Json, true)).unwrap();
        assert_eq!(json, line("refused"));
    }

    #[test]
    fn a_terminal_is_not_obeyed() {
        let short = printed(&line("a\x1b[2Jb\u{7}"), Output::Short, false);
        assert!(short.ends_with("a\\u{1b}[2Jb\\u{7}\n"), "{short}");
    }

    #[test]
    fn bytes_come_as_they_were() {
        let odd = Line { hex: Some("ff0061".into()), ..line("?") };
        assert_eq!(odd.bytes(), b"\xff\x00a");
        assert_eq!(line("ü").bytes(), "ü".as_bytes());
    }
}
