//! Samples as other programs write them: InfluxDB lines, Prometheus remote_write and text, CSV and JSON lines. Owns what a
//! reader of any of them hands out and how it tells what it could not read. Pure: bytes in, samples out; knows no store, no
//! socket and no clock.
//!
//! A reader gives each sample's series as the bytes that name it in the body. Whoever has met these bytes before needs nothing
//! else; labels are parsed and checked only when [`Series::labels`] is asked for, and no reader does so itself. What a reader
//! allocates is bounded by a small multiple of the body.

pub mod csv;
pub mod exposition;
pub mod influx;
pub mod json_lines;
pub mod names;
mod number;
pub mod protobuf;
pub mod remote_write;
pub mod time;

use std::borrow::Cow;

/// The label that holds a metric's name.
pub const NAME: &str = "__name__";
/// Labels of one series at most.
pub const LABELS_MAX: usize = 256;
/// Bad rows that an [`Outcome`] describes; the rest are counted.
pub const BAD_KEPT: usize = 100;
/// Bytes of a sender's text that a reason quotes.
const QUOTED_MAX: usize = 64;

/// A label's name and value. The metric's name is one of them, as [`NAME`].
pub type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// One sample.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Whose.
    pub series: Series<'a>,
    /// Nanoseconds since 1970; `None` where the sender named no time.
    pub time: Option<i64>,
    /// Bit for bit what was sent.
    pub value: f64,
}

/// A series as a body names it.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    head: &'a [u8],
    field: &'a [u8],
    form: Form<'a>,
}

/// In which language `head` and `field` are written.
#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    Influx { database: Option<&'a str> },
    RemoteWrite,
    Exposition,
    Csv(&'a csv::Header),
    Json,
}

impl<'a> Series<'a> {
    /// With [`Series::field`] a key: equal keys are equal series as long as the reader and its options are the same. Different
    /// keys may be the same series, since senders may write the same labels in several ways.
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// What tells apart the series of one head: a field's or column's name, often nothing.
    pub fn field(&self) -> &'a [u8] {
        self.field
    }

    /// The labels, unescaped, each name once and fit for a store, none with an empty value, in no order.
    ///
    /// # Errors
    /// Why the bytes are no series: give it back as [`Refused::Row`].
    pub fn labels(&self) -> Result<Vec<Label<'a>>, String> {
        let mut labels = match self.form {
            Form::Influx { database } => influx::labels(self.head, self.field, database)?,
            Form::RemoteWrite => remote_write::labels(self.head)?,
            Form::Exposition => exposition::labels(self.head)?,
            Form::Csv(header) => header.labels(self.head, self.field)?,
            Form::Json => json_lines::labels(self.head, self.field)?,
        };
        labels.retain(|(_, value)| !value.is_empty());
        if !labels.iter().any(|(name, _)| name == NAME) {
            return Err("the metric has no name".to_string());
        }
        let mut names: Vec<&str> = labels.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("the label {} comes twice", quoted(pair[0].as_bytes()))),
            None => Ok(labels),
        }
    }
}

/// Adds a label, within the bound.
fn add_label<'a>(labels: &mut Vec<Label<'a>>, name: Cow<'a, str>, value: Cow<'a, str>) -> Result<(), String> {
    if labels.len() == LABELS_MAX {
        return Err(format!("more than {LABELS_MAX} labels"));
    }
    labels.push((name, value));
    Ok(())
}

/// What whoever takes the samples does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This row, and why; the next ones are welcome. Samples of the row that were taken stay taken.
    Row(String),
    /// Everything from here on.
    Stop,
}

/// How reading a body ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Samples that were taken.
    pub samples: u64,
    /// Values that are no samples and were left out: strings, empty cells, exemplars, native histograms.
    pub skipped: u64,
    /// The first rows that were refused, [`BAD_KEPT`] at most, in their order.
    pub bad: Vec<Bad>,
    /// All that were refused.
    pub bad_count: u64,
    /// Whoever takes the samples wanted no more.
    pub stopped: bool,
    /// The body does not end as its language wants it: it may have been cut.
    pub cut: bool,
}

/// A row that is none, or was not wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Its number from 1: a line, or a time series of a message.
    pub row: u64,
    /// The byte in the row from 1; 1 where the row as a whole is meant.
    pub column: usize,
    /// What is wrong, without its place.
    pub reason: String,
}

impl Outcome {
    /// Counts a bad row, and keeps its reason while there are few.
    fn refuse(&mut self, row: u64, column: usize, reason: impl Into<String>) {
        self.bad_count += 1;
        if self.bad.len() < BAD_KEPT {
            self.bad.push(Bad { row, column, reason: reason.into() });
        }
    }

    /// Hands over one sample; whether the row's next one is wanted.
    fn hand(
        &mut self,
        row: u64,
        sample: &Sample<'_>,
        each: &mut impl FnMut(&Sample<'_>) -> Result<(), Refused>,
    ) -> bool {
        match each(sample) {
            Ok(()) => {
                self.samples += 1;
                true
            }
            Err(Refused::Row(reason)) => {
                self.refuse(row, 1, reason);
                false
            }
            Err(Refused::Stop) => {
                self.stopped = true;
                false
            }
        }
    }
}

/// What a sender says of a metric. Each part may come alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// The metric family: without `_total`, `_bucket` and the like where the sender leaves them out.
    pub name: Cow<'a, str>,
    /// What its samples are.
    pub kind: Option<Kind>,
    /// In words.
    pub help: Option<Cow<'a, str>>,
    /// Of its values.
    pub unit: Option<Cow<'a, str>>,
}

/// Kinds of metrics, of Prometheus and OpenMetrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `unknown`, and `untyped` as it was called.
    Unknown,
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets of counts.
    Histogram,
    /// Buckets that go up and down.
    GaugeHistogram,
    /// Quantiles.
    Summary,
    /// Labels that are the information.
    Info,
    /// Which of its states holds.
    StateSet,
}

impl Kind {
    /// By its name in a text.
    fn of(name: &[u8]) -> Option<Kind> {
        Some(match name {
            b"unknown" | b"untyped" => Kind::Unknown,
            b"counter" => Kind::Counter,
            b"gauge" => Kind::Gauge,
            b"histogram" => Kind::Histogram,
            b"gaugehistogram" => Kind::GaugeHistogram,
            b"summary" => Kind::Summary,
            b"info" => Kind::Info,
            b"stateset" => Kind::StateSet,
            _ => return None,
        })
    }

    /// As Prometheus names it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Unknown => "unknown",
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::GaugeHistogram => "gaugehistogram",
            Kind::Summary => "summary",
            Kind::Info => "info",
            Kind::StateSet => "stateset",
        }
    }
}

/// A sender's text for a reason: on one line, cut where it is long.
fn quoted(text: &[u8]) -> String {
    if text.len() <= QUOTED_MAX {
        return format!("{:?}", String::from_utf8_lossy(text));
    }
    format!("{:?}…", String::from_utf8_lossy(&text[..QUOTED_MAX]))
}

/// A name or a value as text.
fn utf8<'a>(text: &'a [u8], what: &str) -> Result<&'a str, String> {
    std::str::from_utf8(text).map_err(|_| format!("the {what} {} is not UTF-8", quoted(text)))
}

#[cfg(test)]
mod gather;
#[cfg(test)]
mod tests;
