//! Reads samples: the latest of each series for instant vectors, windows for range vectors, subqueries evaluated into such windows.
//! Owns lookback and staleness.

use super::super::error::Error;
use super::super::label::LabelMatcher;
use super::super::plan::{Node, Ranged, Samples, Selector};
use super::super::source::{SeriesSamples, Windows, is_stale};
use super::{ABSENT, Column, Evaluator, Times, at_every_step, is_absent};

/// Which number of a sample is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Value,
    /// Its time, in seconds.
    Time,
}

impl Evaluator<'_> {
    pub(super) fn selector(&mut self, selector: &Selector, times: &Times) -> Result<Vec<Column>, Error> {
        self.latest(selector, times, Asked::Value)
    }

    /// The latest sample of each series at each step, if it is not older than the lookback and does not end the series.
    pub(super) fn latest(&mut self, selector: &Selector, times: &Times, asked: Asked) -> Result<Vec<Column>, Error> {
        let windows = self.windows(&selector.when, self.options.lookback_ms.saturating_mul(1_000_000), times);
        let before = self.budget.held();
        self.budget.check()?;
        let selected = self.source.select_latest(&selector.matchers, &windows, &mut self.budget)?;
        let selected = self.in_order(selected)?;
        let read = self.budget.held().saturating_sub(before);
        let mut columns = Vec::with_capacity(selected.len());
        for series in selected {
            self.budget.samples(times.count)?;
            let values = at_every_step(latest(&series, &windows, asked), times);
            let column = Column { labels: series.labels, values };
            if column.is_empty() {
                self.budget.release(times.count);
            } else {
                columns.push(column);
            }
        }
        self.budget.release(read);
        Ok(columns)
    }

    /// Series of windows, with the windows. The caller releases what this took from the budget.
    pub(in super::super) fn ranged(
        &mut self,
        ranged: &Ranged,
        times: &Times,
    ) -> Result<(Vec<SeriesSamples>, Windows), Error> {
        let windows = self.windows(&ranged.when, ranged.range, times);
        let series = match &ranged.samples {
            Samples::Stored(matchers) => {
                let mut selected = self.select(matchers, &windows)?;
                selected.iter_mut().for_each(without_stale);
                selected
            }
            Samples::Computed(inner, step_ms) => {
                let step_ms = step_ms.unwrap_or(self.options.subquery_step_ms);
                self.subquery(inner, step_ms, &windows)?
            }
        };
        Ok((series, windows))
    }

    /// Evaluates an expression at the multiples of a step that any window holds.
    fn subquery(&mut self, inner: &Node, step_ms: i64, windows: &Windows) -> Result<Vec<SeriesSamples>, Error> {
        let step = step_ms.saturating_mul(1_000_000).max(1);
        // The smallest multiple that is not before the first time.
        let start = windows.first().saturating_sub(1).div_euclid(step).saturating_add(1).saturating_mul(step);
        let last = windows.last();
        if start > last {
            return Ok(Vec::new());
        }
        let count =
            usize::try_from((i128::from(last) - i128::from(start)) / i128::from(step) + 1).unwrap_or(usize::MAX);
        self.budget.samples(count)?;
        self.budget.release(count);
        let times = Times { start, step, count };
        let columns = self.vector(inner, &times)?;
        let mut series = Vec::with_capacity(columns.len());
        for column in columns {
            let present = column.values.iter().filter(|value| !is_absent(**value)).count();
            self.budget.samples(present)?;
            let mut samples = SeriesSamples { labels: column.labels, ..SeriesSamples::default() };
            for (index, value) in column.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
                samples.times.push(times.at(index));
                samples.values.push(*value);
            }
            self.budget.release(column.values.len());
            series.push(samples);
        }
        Ok(series)
    }

    fn select(&mut self, matchers: &[LabelMatcher], windows: &Windows) -> Result<Vec<SeriesSamples>, Error> {
        self.budget.check()?;
        let selected = self.source.select(matchers, windows.first(), windows.last(), &mut self.budget)?;
        self.in_order(selected)
    }

    /// Series in the order of their labels, so that ties are broken alike every time.
    fn in_order(&mut self, mut selected: Vec<SeriesSamples>) -> Result<Vec<SeriesSamples>, Error> {
        self.budget.series(selected.len())?;
        selected.sort_by(|a, b| a.labels.cmp(&b.labels));
        for series in &mut selected {
            self.budget.work(series.values.len())?;
            let length = series.times.len().min(series.values.len());
            series.times.truncate(length);
            series.values.truncate(length);
            for value in series.values.iter_mut().filter(|value| value.is_nan() && !is_stale(**value)) {
                *value = f64::NAN;
            }
        }
        Ok(selected)
    }
}

fn latest(series: &SeriesSamples, windows: &Windows, asked: Asked) -> Vec<f64> {
    let mut next = 0;
    let at_step = |index| {
        let end = windows.end(index);
        next += series.times[next..].iter().take_while(|time| **time <= end).count();
        let Some(found) = next.checked_sub(1) else { return ABSENT };
        let (time, value) = (series.times[found], series.values[found]);
        // A stale marker is ABSENT, bit by bit.
        match asked {
            _ if time <= end.saturating_sub(windows.range) || is_stale(value) => ABSENT,
            Asked::Value => value,
            Asked::Time => super::super::numbers::seconds(time),
        }
    };
    (0..windows.count).map(at_step).collect()
}

fn without_stale(series: &mut SeriesSamples) {
    if series.values.iter().any(|value| is_stale(*value)) {
        let mut keep = series.values.iter().map(|value| !is_stale(*value));
        series.times.retain(|_| keep.next().unwrap_or(false));
        series.values.retain(|value| !is_stale(*value));
    }
}
