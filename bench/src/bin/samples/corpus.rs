//! Samples to measure with: series by name, and in which order their samples are written. Owns the generators; nothing of others is
//! shipped.

use std::path::Path;

use crate::Outcome;

/// One sample: series, milliseconds since 1970, value.
pub type Point = (u32, i64, f64);

/// Series, and their samples in the order in which they are written.
#[derive(Debug, Default)]
pub struct Corpus {
    /// Pairs of label name and value; `__name__` is the metric.
    pub series: Vec<Vec<(String, String)>>,
    /// The samples.
    pub points: Vec<Point>,
}

/// 2023-11-14 22:13:20 UTC.
const START: i64 = 1_700_000_000_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, with a deviation of one.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

fn named(metric: &str, number: usize) -> Vec<(String, String)> {
    let pairs =
        [("__name__", metric.to_string()), ("host", format!("host{}", number % 100)), ("unit", number.to_string())];
    pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// Random walks of two decimals, one scrape each fifteen seconds.
pub fn walk(series: usize, scrapes: usize) -> Corpus {
    let mut random = Random(42);
    let mut values: Vec<f64> = (0..series).map(|_| (random.next() * 10_000.0).round()).collect();
    let mut points = Vec::with_capacity(series * scrapes);
    for scrape in 0..scrapes {
        for (at, value) in values.iter_mut().enumerate() {
            *value += (random.normal() * 100.0).round();
            points.push((at as u32, START + scrape as i64 * 15_000, *value / 100.0));
        }
    }
    Corpus { series: (0..series).map(|at| named("walk", at)).collect(), points }
}

/// What a machine at rest tells: two of three series stay as they are, the others count up or move a little.
pub fn steady(series: usize, scrapes: usize) -> Corpus {
    let mut random = Random(7);
    let mut values: Vec<f64> = (0..series).map(|_| (random.next() * 1e6).round()).collect();
    let mut points = Vec::with_capacity(series * scrapes);
    for scrape in 0..scrapes {
        for (at, value) in values.iter_mut().enumerate() {
            match at % 6 {
                0 => *value += (random.next() * 100.0).floor(),
                1 => *value += 15.0,
                _ => {}
            }
            points.push((at as u32, START + scrape as i64 * 15_000, *value));
        }
    }
    Corpus { series: (0..series).map(|at| named("steady", at)).collect(), points }
}

/// The series of a folder of files with the columns `timestamp,value`, each one after the other in blocks of a thousand.
pub fn files(folder: &Path) -> Outcome<Corpus> {
    let mut corpus = Corpus::default();
    let mut found = Vec::new();
    collect(folder, &mut found)?;
    found.sort();
    for path in found {
        let number = corpus.series.len() as u32;
        let text = std::fs::read_to_string(&path)?;
        for line in text.lines().skip(1) {
            let (time, value) = line.split_once(',').ok_or("two columns")?;
            corpus.points.push((number, milliseconds(time).ok_or("a time")?, value.parse()?));
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        corpus.series.push(vec![("__name__".into(), "nab".into()), ("file".into(), name)]);
    }
    Ok(corpus)
}

fn collect(folder: &Path, found: &mut Vec<std::path::PathBuf>) -> Outcome<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "csv") {
            found.push(path);
        }
    }
    Ok(())
}

/// `2015-09-01 11:25:00`, with or without parts of a second, as UTC.
fn milliseconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // Days since 1970, as the calendar of the civil year counts them from March.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000)
}
