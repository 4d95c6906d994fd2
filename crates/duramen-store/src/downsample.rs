//! Downsampling: series of longer steps made of those that were measured, in the background. Owns the rules, the windows, and how
//! far each rule has come.
//!
//! How far a rule has come is a position in the batch of the samples that it made, so that each window is made once over any number
//! of crashes. A window is made when it is over by the rule's delay; what comes later for it does not change it.

use std::time::Duration;

use crate::batch::Batch;
use crate::core::Core;
use crate::error::Error;
use crate::format::bytes::{Reader, put_signed};
use crate::format::table::DOWNSAMPLE_LABEL;
use crate::labels::Labels;
use crate::lock;
use crate::query::{Selector, SeriesIter};
use crate::row::Nanoseconds;
use crate::sample::{Sample, is_stale};
use crate::session::own;
use crate::store::Durability;

/// The label that says of which step a downsampled series is, in seconds.
const STEP_LABEL: &str = "downsample_step";
/// Windows that are made at one time, so that neither memory nor a crash's cost grows with how much is left to do.
const WINDOWS_AT_ONCE: i64 = 120;
/// Samples that are appended together.
const BATCH_SAMPLES: usize = 10_000;

/// What a window's samples become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Their mean.
    Mean,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The latest.
    Last,
    /// How many there are.
    Count,
}

impl Statistic {
    /// All of them.
    pub const ALL: [Statistic; 5] =
        [Statistic::Mean, Statistic::Min, Statistic::Max, Statistic::Last, Statistic::Count];

    /// Its name, which is also the value of the label [`DOWNSAMPLE_LABEL`] of the series that it makes.
    pub fn word(self) -> &'static str {
        ["mean", "min", "max", "last", "count"][self as usize]
    }

    /// Reads a name.
    pub fn parse(word: &str) -> Option<Statistic> {
        Statistic::ALL.into_iter().find(|statistic| statistic.word() == word)
    }
}

/// One rule: which series, in which steps.
///
/// A sample of a series that it makes has the time at which its window ends, and tells of the samples after the window's beginning
/// up to its end. The series has the labels of the one that it is made of, `downsample` with the statistic's name, and
/// `downsample_step` with the step in seconds.
#[derive(Clone, Debug)]
pub struct Downsampling {
    /// Which series. Those that were made by downsampling are never meant.
    pub selector: Selector,
    /// How long a window is: whole seconds.
    pub step: Duration,
    /// How long after its end a window is made: samples may come late by so much.
    pub delay: Duration,
    /// What is made of each window.
    pub statistics: Vec<Statistic>,
}

impl Downsampling {
    /// Checks the ranges.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad = |reason| Err(Error::InvalidOption { option: "downsampling", reason });
        if self.step.as_secs() == 0 || self.step.subsec_nanos() != 0 || self.step.as_secs() > 366 * 86_400 {
            return bad("a step must be whole seconds, at least one, at most 366 days");
        }
        if self.statistics.is_empty() {
            return bad("a rule needs at least one statistic");
        }
        Ok(())
    }

    fn step(&self) -> Nanoseconds {
        self.step.as_nanos() as Nanoseconds
    }

    /// The key of its progress: the same rule goes on where it was, another one begins anew.
    fn key(&self) -> Vec<u8> {
        own(&format!("downsample/{}/{}", self.step.as_secs(), self.selector))
    }

    /// The name of a series that it makes of another one.
    fn labels(&self, of: &Labels, statistic: Statistic) -> Result<Labels, Error> {
        let step = self.step.as_secs().to_string();
        let added = [(DOWNSAMPLE_LABEL, statistic.word()), (STEP_LABEL, step.as_str())];
        Labels::new(of.iter().filter(|(name, _)| *name != STEP_LABEL).chain(added))
    }
}

/// A window's samples, as they come.
#[derive(Clone, Copy, Debug)]
struct Window {
    end: Nanoseconds,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    last: f64,
}

impl Window {
    fn value(&self, statistic: Statistic) -> f64 {
        match statistic {
            Statistic::Mean => self.sum / self.count as f64,
            Statistic::Min => self.min,
            Statistic::Max => self.max,
            Statistic::Last => self.last,
            Statistic::Count => self.count as f64,
        }
    }
}

/// Samples by windows. Those that say that the series has ended are left out.
fn windows(samples: &[Sample], step: Nanoseconds) -> Vec<Window> {
    let mut all: Vec<Window> = Vec::new();
    for sample in samples.iter().filter(|sample| !is_stale(sample.value)) {
        let Some(end) = end_of(sample.time, step) else { continue };
        let value = sample.value;
        match all.last_mut() {
            Some(window) if window.end == end => {
                window.count += 1;
                window.sum += value;
                window.min = window.min.min(value);
                window.max = window.max.max(value);
                window.last = value;
            }
            _ => all.push(Window { end, count: 1, sum: value, min: value, max: value, last: value }),
        }
    }
    all
}

/// When the window of a time ends: the next multiple of the step, itself included.
fn end_of(time: Nanoseconds, step: Nanoseconds) -> Option<Nanoseconds> {
    time.checked_sub(1)?.div_euclid(step).checked_add(1)?.checked_mul(step)
}

impl Core {
    /// Makes the windows that are due; true: there were any.
    pub fn downsample_due(&self) -> Result<bool, Error> {
        if self.options.downsampling.is_empty() || self.compaction.get() != crate::compaction::Compaction::Runs {
            return Ok(false);
        }
        // Without a clock nobody knows which windows are over.
        let Some(now) = self.wall() else { return Ok(false) };
        let mut any = false;
        for rule in &self.options.downsampling {
            while self.downsample(rule, now)? {
                any = true;
                if self.is_stopped() {
                    return Ok(any);
                }
            }
        }
        Ok(any)
    }

    /// Makes the next windows of a rule; false: none is due.
    fn downsample(&self, rule: &Downsampling, now: Nanoseconds) -> Result<bool, Error> {
        let (step, delay) = (rule.step(), i64::try_from(rule.delay.as_nanos()).unwrap_or(i64::MAX));
        let due = now.saturating_sub(delay).div_euclid(step).saturating_mul(step);
        let key = rule.key();
        let known = lock(&self.write).positions.get(&key).and_then(|at| Reader::new(&at.value).signed());
        let done = match known {
            Some(done) => done,
            // Begins with the first sample that there is.
            None => match self.first_sample(rule, due)? {
                Some(first) => end_of(first, step).unwrap_or(due).saturating_sub(step),
                None => return Ok(false),
            },
        };
        if done >= due {
            return Ok(false);
        }
        let mut upto = due.min(done.saturating_add(step.saturating_mul(WINDOWS_AT_ONCE)));
        let asked = self.measured(rule, (done.saturating_add(1), upto.saturating_add(1)))?;
        if asked.remaining() == 0 {
            // A gap is passed over in one step.
            upto =
                self.first_sample_after(rule, upto, due)?.map_or(due, |next| end_of(next, step).unwrap_or(due) - step);
        }
        let mut batch = Batch::own();
        for own in asked {
            let own = own?;
            for window in windows(&own.samples, step) {
                for &statistic in &rule.statistics {
                    let labels = rule.labels(&own.labels, statistic);
                    // A series that has no room for two more labels, or is one too many, is left out.
                    let Ok(series) = labels.and_then(|labels| self.stream(&labels)) else { continue };
                    batch.push_sample(&series, window.end, window.value(statistic));
                }
            }
            if batch.samples() >= BATCH_SAMPLES {
                // Made again after a crash, which gives the same samples at the same times.
                self.append(&mut batch, Durability::Policy)?;
                batch.own = true;
            }
        }
        let mut value = Vec::new();
        put_signed(&mut value, upto);
        batch.positions.push((key, value));
        self.append(&mut batch, Durability::Policy)?;
        Ok(true)
    }

    fn measured(&self, rule: &Downsampling, span: (Nanoseconds, Nanoseconds)) -> Result<SeriesIter, Error> {
        let meant = rule.selector.selection();
        let measured = |labels: &Labels| labels.get(DOWNSAMPLE_LABEL).is_none();
        SeriesIter::with(self, &meant.and(measured), span)
    }

    fn first_sample(&self, rule: &Downsampling, due: Nanoseconds) -> Result<Option<Nanoseconds>, Error> {
        self.first_sample_after(rule, Nanoseconds::MIN, due)
    }

    /// About when the first sample after a time comes; never later than it does.
    fn first_sample_after(
        &self,
        rule: &Downsampling,
        after: Nanoseconds,
        due: Nanoseconds,
    ) -> Result<Option<Nanoseconds>, Error> {
        Ok(self.measured(rule, (after.saturating_add(1), due.saturating_add(1)))?.first_time())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_with_a_multiple_of_the_step() {
        assert_eq!([end_of(1, 10), end_of(10, 10), end_of(11, 10)], [Some(10), Some(10), Some(20)]);
        assert_eq!([end_of(0, 10), end_of(-1, 10), end_of(-10, 10)], [Some(0), Some(0), Some(-10)]);
        assert_eq!([end_of(i64::MAX, 10), end_of(i64::MIN, 10)], [None, None]);
        let sample = |time, value| Sample { time, value };
        let all = [sample(1, 4.0), sample(10, 2.0), sample(11, 1.0), sample(15, crate::STALE), sample(40, 7.0)];
        let made = windows(&all, 10);
        let told: Vec<_> = made.iter().map(|w| (w.end, Statistic::ALL.map(|statistic| w.value(statistic)))).collect();
        assert_eq!(
            told,
            [(10, [3.0, 2.0, 4.0, 2.0, 2.0]), (20, [1.0, 1.0, 1.0, 1.0, 1.0]), (40, [7.0, 7.0, 7.0, 7.0, 1.0])]
        );
    }
}
