//! tsink, for comparison: the same samples through its embedded interface. Owns how it is set up.

use std::path::Path;
use std::time::{Duration, Instant};

use tsink::wal::WalSyncMode;
use tsink::{DataPoint, Label, Row, StorageBuilder, TimestampPrecision};

use crate::corpus::Corpus;
use crate::systems::{BATCH, peak, rate, written};
use crate::{Figures, Outcome};

/// Samples that are written one by one with a sync each: a thousand a second, so that all would take very long.
const SINGLES_DURABLE: usize = 3_000;
/// The same without a sync each.
const SINGLES_PERIODIC: usize = 20_000;

/// Measures it.
pub fn run(system: &str, corpus: &Corpus, folder: &Path, figures: &mut Figures) -> Outcome<()> {
    let durable = system.contains("durable");
    let single = system.contains("one by one");
    let mode = if durable { WalSyncMode::PerAppend } else { WalSyncMode::Periodic(Duration::from_secs(1)) };
    let storage = StorageBuilder::new()
        .with_data_path(folder.join("tsink"))
        .with_timestamp_precision(TimestampPrecision::Milliseconds)
        .with_retention_enforced(false)
        .with_wal_sync_mode(mode)
        .build()?;
    let labels: Vec<(String, Vec<Label>)> = corpus
        .series
        .iter()
        .map(|pairs| {
            let metric = pairs.iter().find(|(name, _)| name == "__name__").map_or("", |(_, value)| value);
            let others = pairs.iter().filter(|(name, _)| name != "__name__");
            (metric.to_string(), others.map(|(name, value)| Label::new(name, value)).collect())
        })
        .collect();
    let count = match (single, durable) {
        (true, true) => SINGLES_DURABLE.min(corpus.points.len()),
        (true, false) => SINGLES_PERIODIC.min(corpus.points.len()),
        (false, _) => corpus.points.len(),
    };
    let before = written()?;
    let begin = Instant::now();
    for points in corpus.points[..count].chunks(if single { 1 } else { BATCH }) {
        let row = |&(series, time, value): &crate::corpus::Point| {
            let (metric, labels) = &labels[series as usize];
            Row::with_labels(metric.clone(), labels.clone(), DataPoint::new(time, value))
        };
        storage.insert_rows(&points.iter().map(row).collect::<Vec<_>>())?;
    }
    rate(figures, count, begin.elapsed());
    figures.put("peak memory, MiB", peak()?);
    storage.close()?;
    drop(storage);
    if !single {
        figures.put("to the device, bytes a sample", (written()? - before) as f64 / count as f64);
        figures.put("at rest, bytes a sample", bytes_below(&folder.join("tsink"))? as f64 / count as f64);
    }
    Ok(())
}

fn bytes_below(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
