//! Where samples come from: what the evaluation asks of a store, and nothing of how that answers.

use super::error::Error;
use super::label::{LabelMatcher, LabelSet};
use super::limits::Budget;

/// The bits of the value that ends a series: from its time on there is no sample until the next one.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether a value is the marker that ends a series.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// One series with its samples of a range of time.
#[derive(Clone, Debug, Default)]
pub struct SeriesSamples {
    /// Its labels, the metric's name among them.
    pub labels: LabelSet,
    /// The samples' times in nanoseconds since 1970, sorted, none twice.
    pub times: Vec<i64>,
    /// The samples' values, as many as times.
    pub values: Vec<f64>,
}

/// Where samples come from.
pub trait Source {
    /// All series that these matchers select which have samples in `first..=last` (nanoseconds since 1970), each once, each with
    /// its samples in that range sorted by time, no two at one time; stale markers included. The order of series is free.
    ///
    /// Samples are counted with [`Budget::samples`] before they are held, series with [`Budget::series`].
    ///
    /// # Errors
    /// What the budget says, and what reading says.
    fn select(
        &self,
        matchers: &[LabelMatcher],
        first: i64,
        last: i64,
        budget: &mut Budget<'_>,
    ) -> Result<Vec<SeriesSamples>, Error>;

    /// As [`Source::select`], for whoever needs of the samples only those that are the latest when a window ends. The others may be
    /// left out, so that a long series is not held for a few steps; by default they are all there.
    ///
    /// # Errors
    /// As [`Source::select`].
    fn select_latest(
        &self,
        matchers: &[LabelMatcher],
        windows: &Windows,
        budget: &mut Budget<'_>,
    ) -> Result<Vec<SeriesSamples>, Error> {
        self.select(matchers, windows.first(), windows.last(), budget)
    }

    /// A shortcut: count, sum, minimum and maximum of windows, for a source that knows them without decoding every sample.
    /// `None`, as by default, and the samples are selected instead.
    ///
    /// # Errors
    /// As [`Source::select`].
    fn summaries(
        &self,
        _matchers: &[LabelMatcher],
        _windows: &Windows,
        _budget: &mut Budget<'_>,
    ) -> Result<Option<Vec<SeriesSummaries>>, Error> {
        Ok(None)
    }
}

/// Windows of one width, one for each step: the samples later than `end - range` and not later than `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Where the first window ends, in nanoseconds since 1970.
    pub first_end: i64,
    /// From one window's end to the next, in nanoseconds; 0 if all are one.
    pub step: i64,
    /// How many windows.
    pub count: usize,
    /// How wide each is, in nanoseconds.
    pub range: i64,
}

impl Windows {
    /// Where a window ends.
    pub fn end(&self, index: usize) -> i64 {
        let distance = self.step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX));
        self.first_end.saturating_add(distance)
    }

    /// The time of the first sample that any window can hold.
    pub fn first(&self) -> i64 {
        self.first_end.saturating_sub(self.range).saturating_add(1)
    }

    /// Whether a window ends while a sample is the latest one: from its time on, until the next one's.
    pub(crate) fn any_ends(&self, time: i64, next: Option<i64>) -> bool {
        let late = time.saturating_sub(self.first_end).max(0);
        let index =
            if self.step > 0 { late / self.step + i64::from(late % self.step > 0) } else { i64::from(late > 0) };
        let Ok(index) = usize::try_from(index) else { return false };
        index < self.count && next.is_none_or(|next| self.end(index) < next)
    }

    /// The time of the last.
    pub fn last(&self) -> i64 {
        self.end(self.count.saturating_sub(1))
    }
}

/// One series with what its windows hold.
#[derive(Clone, Debug, Default)]
pub struct SeriesSummaries {
    /// Its labels, the metric's name among them.
    pub labels: LabelSet,
    /// One for each window; `None` for a window without a sample.
    pub windows: Vec<Option<Summary>>,
}

/// What one window holds, stale markers left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many samples, NaN among them.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest that is not NaN; NaN if all are.
    pub min: f64,
    /// The greatest that is not NaN; NaN if all are.
    pub max: f64,
}
