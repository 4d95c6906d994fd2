//! Importing samples: what a user says of a file, as options and as parameters of a request, and the reading of a piece of it. Owns
//! the names of formats.

use serde::{Deserialize, Serialize};

use crate::intake::Intake;
use crate::samples::csv::{Columns, Csv, Piece};
use crate::samples::exposition::{self, Format as TextFormat};
use crate::samples::time::Unit;
use crate::samples::{Outcome, influx, json_lines};

/// Bad rows that an answer describes.
const BAD_TOLD: usize = 20;

/// In which language samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table with a header.
    Csv,
    /// JSON objects, one a line.
    Json,
    /// InfluxDB's lines.
    Influx,
    /// Prometheus' text.
    Prometheus,
}

impl Format {
    const ALL: [(Format, &'static str); 4] =
        [(Format::Csv, "csv"), (Format::Json, "json"), (Format::Influx, "influx"), (Format::Prometheus, "prometheus")];

    /// Its name.
    pub fn name(self) -> &'static str {
        Format::ALL[self as usize].1
    }

    /// By its name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn named(name: &str) -> Result<Format, String> {
        let found = Format::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(format, _)| *format).ok_or_else(|| format!("{name} is no format: csv, json, influx, prometheus"))
    }

    /// By what a file's name ends in.
    pub fn of_file(name: &str) -> Option<Format> {
        match name.rsplit('.').next()? {
            "csv" | "tsv" => Some(Format::Csv),
            "json" | "jsonl" | "ndjson" => Some(Format::Json),
            "lp" | "line" | "influx" => Some(Format::Influx),
            "prom" | "om" | "txt" => Some(Format::Prometheus),
            _ => None,
        }
    }
}

/// What a user says of samples.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// In which language they are.
    pub format: Format,
    /// The metric's name, for CSV.
    pub name: Option<String>,
    /// The time's column, for CSV.
    pub time: Option<String>,
    /// Columns that are labels.
    pub label_columns: Vec<String>,
    /// Columns that are values.
    pub value_columns: Vec<String>,
    /// Between cells.
    pub separator: u8,
    /// What times that are numbers count.
    pub unit: Option<Unit>,
    /// How that was written.
    pub unit_name: String,
    /// Labels of all samples.
    pub more: Vec<(String, String)>,
}

impl ImportOptions {
    /// Of the parameters of a request.
    ///
    /// # Errors
    /// One is unknown or makes no sense.
    pub fn of(pairs: &[(String, String)]) -> Result<ImportOptions, String> {
        let mut options = ImportOptions::new(Format::Csv);
        let mut format = None;
        for (name, value) in pairs {
            match name.as_str() {
                "format" => format = Some(Format::named(value)?),
                "name" => options.name = Some(value.clone()),
                "time" => options.time = Some(value.clone()),
                "label_column" => options.label_columns.push(value.clone()),
                "value_column" => options.value_columns.push(value.clone()),
                "separator" => options.separator = separator(value)?,
                "unit" => options.set_unit(value)?,
                "label" => {
                    let (name, value) = value.split_once('=').ok_or_else(|| format!("{value} is no NAME=VALUE"))?;
                    options.more.push((name.to_string(), value.to_string()));
                }
                other => return Err(format!("the parameter {other} is unknown")),
            }
        }
        options.format = format.ok_or("the parameter format is missing")?;
        Ok(options)
    }

    /// Nothing said but the language.
    pub fn new(format: Format) -> ImportOptions {
        ImportOptions {
            format,
            name: None,
            time: None,
            label_columns: Vec::new(),
            value_columns: Vec::new(),
            separator: b',',
            unit: None,
            unit_name: String::new(),
            more: Vec::new(),
        }
    }

    /// Says what times that are numbers count.
    ///
    /// # Errors
    /// The unit is unknown.
    pub fn set_unit(&mut self, name: &str) -> Result<(), String> {
        self.unit = Some(Unit::named(name)?);
        self.unit_name = name.to_string();
        Ok(())
    }

    /// As parameters of a request.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![("format", self.format.name().to_string())];
        pairs.extend(self.name.iter().map(|name| ("name", name.clone())));
        pairs.extend(self.time.iter().map(|time| ("time", time.clone())));
        pairs.extend(self.label_columns.iter().map(|column| ("label_column", column.clone())));
        pairs.extend(self.value_columns.iter().map(|column| ("value_column", column.clone())));
        pairs.push(("separator", char::from(self.separator).to_string()));
        pairs.extend(self.unit.iter().map(|_| ("unit", self.unit_name.clone())));
        pairs.extend(self.more.iter().map(|(name, value)| ("label", format!("{name}={value}"))));
        pairs
    }

    /// What tells the keys of such bodies from those of others.
    pub fn space(&self) -> String {
        format!("import {:?}", self.pairs())
    }
}

/// The byte between cells.
///
/// # Errors
/// It is not one.
pub fn separator(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) => Ok(*byte),
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        _ => Err(format!("{text:?} cannot stand between cells: one character of ASCII, or tab")),
    }
}

/// Reads a piece of whole rows into the store. A piece of a table begins with the table's header.
///
/// # Errors
/// Nothing of it can be read.
pub fn read(body: &[u8], options: &ImportOptions, intake: &mut Intake<'_>) -> Result<Outcome, String> {
    Ok(match options.format {
        Format::Csv => {
            let mut table = Csv::new(Columns {
                name: options.name.clone(),
                time: options.time.clone(),
                unit: options.unit,
                labels: options.label_columns.clone(),
                values: options.value_columns.clone(),
                more: Vec::new(),
                separator: options.separator,
            });
            let mut outcome = Outcome::default();
            table.read(body, Piece::Last, &mut outcome, |sample| intake.take(sample))?;
            outcome
        }
        Format::Json => json_lines::read(body, options.unit, |sample| intake.take(sample)),
        Format::Influx => {
            let options = influx::Options { unit: options.unit.unwrap_or_default(), database: None };
            influx::read(body, options, |sample| intake.take(sample))
        }
        Format::Prometheus => exposition::read(body, TextFormat::Text, |sample| intake.take(sample), |_| ()),
    })
}

/// What was made of a piece.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Imported {
    /// Samples that are stored.
    pub samples: u64,
    /// Samples that are not, as they are older than the retention keeps.
    #[serde(default)]
    pub too_old: u64,
    /// Values that are no samples.
    pub skipped: u64,
    /// The first bad rows: number in the piece, and why.
    pub bad: Vec<(u64, String)>,
    /// All bad rows.
    pub bad_count: u64,
}

impl Imported {
    /// Of what reading says, and of how many samples the retention refused.
    pub fn of(outcome: &Outcome, too_old: u64) -> Imported {
        let bad = outcome.bad.iter().take(BAD_TOLD).map(|bad| (bad.row, bad.reason.clone()));
        Imported {
            samples: outcome.samples.saturating_sub(too_old),
            too_old,
            skipped: outcome.skipped,
            bad: bad.collect(),
            bad_count: outcome.bad_count,
        }
    }
}
