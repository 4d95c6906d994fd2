//! The works: what is done with each system, and what is measured about it.
//!
//! A work knows engines only through their trait. It gets a fresh folder, returns one value per metric, or none where a
//! thing cannot be measured here. [`commit`] holds the works that wait for durability, [`stored`] those that open and
//! read, [`raft`] those that only Raft logs have, [`device`] those that count what reaches the device.

mod commit;
mod device;
mod raft;
pub mod stored;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::engine::{Ability, Acknowledgement, Engine, Outcome, Setup, System, Traffic};
use crate::host::{Host, Scratch};

/// Whether more of a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// As a throughput.
    Higher,
    /// As a latency or a size.
    Lower,
}

/// How a value is written for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Operations a second.
    PerSecond,
    /// MiB a second.
    MebibytesPerSecond,
    /// Nanoseconds.
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// MiB.
    Mebibytes,
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
    /// Hundredths.
    Percent,
}

/// One line of the tables.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name that goals refer to.
    pub id: &'static str,
    /// The line's heading.
    pub title: &'static str,
    /// How its values are written.
    pub unit: Unit,
    /// Which of two values wins.
    pub better: Better,
}

/// The values of one run, in the order of the work's metrics.
pub type Values = Vec<Option<f64>>;

/// Something to do with each system.
pub struct Work {
    /// The name on the command line.
    pub id: &'static str,
    /// What it measures.
    pub metrics: &'static [Metric],
    /// What a system must be able to do.
    pub needs: &'static [Ability],
    /// Whether the systems take turns. Where the data of one of them is all that fits, they cannot.
    pub interleaved: bool,
    /// Does it once.
    pub run: fn(&Context, &dyn System) -> Outcome<Values>,
}

/// How much of everything a run does.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// How long a time-bound work runs, its warm-up apart.
    pub duration: Duration,
    /// The records that are appended, opened and scanned by count-bound works.
    pub records: u64,
    /// The records of the work that opens many.
    pub many_records: u64,
    /// The payload of a record.
    pub record_bytes: usize,
    /// Commits of the works that count device traffic or take their time.
    pub commits: u64,
    /// The size of a segment, where the engine has segments; `None` is the engine's own choice.
    pub segment_bytes: Option<u32>,
    /// Whether a work waits for what an engine prepares in the background before it times appends.
    pub settles: bool,
    /// The pause between commits where one record a second is simulated.
    pub trickle_pause: Duration,
}

impl Scale {
    /// The scale of published figures.
    pub fn full() -> Scale {
        Scale {
            duration: Duration::from_millis(800),
            records: 1_000_000,
            many_records: 10_000_000,
            record_bytes: 256,
            commits: 1_200,
            segment_bytes: None,
            settles: true,
            trickle_pause: Duration::from_millis(100),
        }
    }

    /// Just enough to see that everything works.
    pub fn quick() -> Scale {
        Scale {
            duration: Duration::from_millis(40),
            records: 20_000,
            many_records: 50_000,
            record_bytes: 256,
            commits: 60,
            // Twice the largest batch is the least that every engine takes; zero-filling more is not quick.
            segment_bytes: Some(4 << 20),
            settles: false,
            trickle_pause: Duration::from_millis(5),
        }
    }
}

/// What every work is given.
pub struct Context {
    /// Where scratch folders are made.
    pub folder: PathBuf,
    /// How much to do.
    pub scale: Scale,
    /// The machine.
    pub host: Host,
    /// Data that a work that is not interleaved keeps from run to run, by system.
    kept: Mutex<BTreeMap<String, Scratch>>,
}

impl Context {
    /// A context for works in this folder.
    pub fn new(folder: PathBuf, scale: Scale) -> Outcome<Context> {
        let host = Host::inspect(&folder)?;
        Ok(Context { folder, scale, host, kept: Mutex::new(BTreeMap::new()) })
    }

    /// A fresh folder for one run.
    pub fn scratch(&self) -> Outcome<Scratch> {
        Scratch::create(&self.folder)
    }

    /// The folder that `fill` has filled for this system, now or in an earlier run.
    fn kept(&self, system: &str, fill: impl FnOnce(&Scratch) -> Outcome<()>) -> Outcome<PathBuf> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scratch) = kept.get(system) {
            return Ok(scratch.path().to_owned());
        }
        let scratch = self.scratch()?;
        fill(&scratch)?;
        let path = scratch.path().to_owned();
        kept.insert(system.to_owned(), scratch);
        Ok(path)
    }

    /// Removes what [`Context::kept`] holds.
    pub fn forget_kept(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Opens a log for a work that times what comes after the opening.
    fn open(&self, system: &dyn System, folder: &Path, setup: &Setup) -> Outcome<Box<dyn Engine>> {
        let engine = system.open(folder, setup)?;
        if self.scale.settles {
            engine.settle()?;
        }
        Ok(engine)
    }

    fn setup(&self, acknowledgement: Acknowledgement, traffic: Traffic) -> Setup {
        Setup {
            acknowledgement,
            traffic,
            payload_bytes_expected: crate::raw::payload_bytes_before_wrap(),
            record_bytes: self.scale.record_bytes,
            segment_bytes: self.scale.segment_bytes,
            after_crash: false,
            policy: None,
        }
    }
}

/// All works, in the order of the tables.
pub fn all() -> Vec<Work> {
    [commit::works(), stored::works(), raft::works(), device::works()].into_iter().flatten().collect()
}

/// The value at this share of sorted values.
fn percentile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied()
}

/// A setup for tests that open the raw bound by hand.
#[cfg(test)]
pub fn setup_for_test() -> Setup {
    Setup {
        acknowledgement: Acknowledgement::Durable,
        traffic: Traffic::OneCaller,
        payload_bytes_expected: 1 << 20,
        record_bytes: 64,
        segment_bytes: None,
        after_crash: false,
        policy: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::RawSystem;
    use crate::raw::probe::SyncMethod;

    #[test]
    fn work_and_metric_names_are_unique() {
        let works = all();
        let mut ids: Vec<_> = works.iter().map(|work| work.id).collect();
        let mut metrics: Vec<_> = works.iter().flat_map(|work| work.metrics).map(|metric| metric.id).collect();
        for names in [&mut ids, &mut metrics] {
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }

    #[test]
    fn percentiles_stay_within_the_values() {
        let values: Vec<_> = (0..100).map(Duration::from_micros).collect();
        assert_eq!(percentile(&values, 0.99), Some(Duration::from_micros(99)));
        assert_eq!(percentile(&values, 1.0), Some(Duration::from_micros(99)));
        assert_eq!(percentile(&[], 0.5), None);
    }

    /// The works that open in a child process need the built program; tests/it runs those.
    #[test]
    fn works_within_this_process_return_a_value_for_each_metric_of_the_raw_bound() {
        let scale = Scale { duration: Duration::from_millis(2), records: 500, commits: 3, ..Scale::quick() };
        let context = Context::new(std::env::temp_dir(), scale).unwrap();
        let raw = RawSystem::new(SyncMethod::DataSync);
        let able = |work: &&Work| work.needs.iter().all(|ability| raw.can(*ability));
        for work in all().iter().filter(able).filter(|work| !stored::needs_child(work)) {
            let values = (work.run)(&context, &raw).unwrap();
            assert_eq!(values.len(), work.metrics.len(), "{}", work.id);
            assert!(values.iter().flatten().all(|value| value.is_finite() && *value >= 0.0), "{}", work.id);
        }
    }
}
