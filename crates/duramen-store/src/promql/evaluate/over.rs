//! Functions of the samples of a window. Owns the sweep of windows over sorted samples: indices only go forward, and what depends
//! on the whole window is carried along where it can be exact.

use std::collections::VecDeque;
use std::ops::Range;

use super::super::error::Error;
use super::super::limits::Budget;
use super::super::numbers::{self, seconds_between};
use super::super::plan::{Ranged, Samples};
use super::super::source::{SeriesSamples, SeriesSummaries, Summary, Windows};
use super::super::support::Over;
use super::extrapolate::{self, Change};
use super::{ABSENT, Column, Evaluator, Times, at_every_step};

/// Where a window's samples begin and end. Windows are asked for in their order.
#[derive(Default)]
pub(super) struct Sweep {
    begin: usize,
    end: usize,
}

impl Sweep {
    /// The indices of a window's samples.
    pub(super) fn window(&mut self, series: &SeriesSamples, windows: &Windows, index: usize) -> Range<usize> {
        let end = windows.end(index);
        let start = end.saturating_sub(windows.range);
        self.end += series.times[self.end..].iter().take_while(|time| **time <= end).count();
        self.begin += series.times[self.begin..self.end].iter().take_while(|time| **time <= start).count();
        self.begin..self.end
    }
}

impl Evaluator<'_> {
    /// One function for all series of a range vector.
    pub(super) fn over(
        &mut self,
        at: usize,
        function: Over,
        ranged: &Ranged,
        times: &Times,
    ) -> Result<Vec<Column>, Error> {
        if let Some(columns) = self.summarized(function, ranged, times)? {
            return self.distinct(at, columns);
        }
        let columns =
            self.each_series(ranged, times, |series, windows, budget| over(function, series, windows, budget))?;
        if matches!(function, Over::Last | Over::First) {
            return Ok(columns);
        }
        self.distinct(at, columns)
    }

    /// Computes a column for each series of a range vector; the metric's name stays.
    pub(super) fn each_series(
        &mut self,
        ranged: &Ranged,
        times: &Times,
        mut compute: impl FnMut(&SeriesSamples, &Windows, &mut Budget<'_>) -> Result<Vec<f64>, Error>,
    ) -> Result<Vec<Column>, Error> {
        let before = self.budget.held();
        let (selected, windows) = self.ranged(ranged, times)?;
        let read = self.budget.held().saturating_sub(before);
        let mut columns = Vec::with_capacity(selected.len());
        for series in selected {
            self.budget.samples(times.count)?;
            let values = at_every_step(compute(&series, &windows, &mut self.budget)?, times);
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

    /// Takes the metric's name away. Unlike elsewhere two series that become alike are an error even at different steps.
    pub(super) fn distinct(&mut self, at: usize, mut columns: Vec<Column>) -> Result<Vec<Column>, Error> {
        for column in &mut columns {
            column.labels = column.labels.without_name();
        }
        let before = columns.len();
        let merged = self.merged(at, columns)?;
        if merged.len() < before {
            return Err(self.execution(at, "vector cannot contain metrics with the same labelset"));
        }
        Ok(merged)
    }

    /// What the source knows of windows without their samples.
    fn summarized(&mut self, function: Over, ranged: &Ranged, times: &Times) -> Result<Option<Vec<Column>>, Error> {
        let (Samples::Stored(matchers), Some(value_of)) = (&ranged.samples, from_summary(function)) else {
            return Ok(None);
        };
        let windows = self.windows(&ranged.when, ranged.range, times);
        let Some(mut summaries) = self.source.summaries(matchers, &windows, &mut self.budget)? else {
            return Ok(None);
        };
        self.budget.series(summaries.len())?;
        summaries.sort_by(|a, b| a.labels.cmp(&b.labels));
        let overflowed =
            |series: &SeriesSummaries| series.windows.iter().flatten().any(|summary| summary.sum.is_infinite());
        if function == Over::Average && summaries.iter().any(overflowed) {
            return Ok(None);
        }
        let mut columns = Vec::with_capacity(summaries.len());
        for series in summaries {
            self.budget.samples(times.count)?;
            let mut values: Vec<f64> =
                series.windows.iter().map(|summary| summary.as_ref().map_or(ABSENT, value_of)).collect();
            values.resize(windows.count, ABSENT);
            let column = Column { labels: series.labels, values: at_every_step(values, times) };
            if column.is_empty() {
                self.budget.release(times.count);
            } else {
                columns.push(column);
            }
        }
        Ok(Some(columns))
    }
}

fn from_summary(function: Over) -> Option<fn(&Summary) -> f64> {
    Some(match function {
        Over::Count => |summary| summary.count as f64,
        Over::Sum => |summary| summary.sum,
        Over::Average => |summary| summary.sum / summary.count as f64,
        Over::Minimum => |summary| summary.min,
        Over::Maximum => |summary| summary.max,
        Over::Present => |_| 1.0,
        _ => return None,
    })
}

/// One function for one series.
fn over(function: Over, series: &SeriesSamples, windows: &Windows, budget: &mut Budget<'_>) -> Result<Vec<f64>, Error> {
    budget.work(series.values.len() + windows.count)?;
    let values = &series.values;
    match function {
        Over::Rate => Ok(extrapolate::change(Change::Rate, series, windows)),
        Over::Increase => Ok(extrapolate::change(Change::Increase, series, windows)),
        Over::Delta => Ok(extrapolate::change(Change::Delta, series, windows)),
        Over::Changes => {
            let changed = |at: usize| values[at] != values[at - 1] && !(values[at].is_nan() && values[at - 1].is_nan());
            Ok(places(series, windows, changed))
        }
        Over::Resets => Ok(places(series, windows, |at| values[at] < values[at - 1])),
        Over::Maximum => Ok(extremes(series, windows, |a, b| a >= b)),
        Over::Minimum => Ok(extremes(series, windows, |a, b| a <= b)),
        Over::InstantRate | Over::Difference => {
            plain(series, windows, budget, |window| last_two(function, series, window).unwrap_or(ABSENT))
        }
        Over::Derivative => plain(series, windows, budget, |window| match window.len() {
            0 | 1 => ABSENT,
            _ => numbers::line(&series.times[window.clone()], &values[window.clone()], series.times[window.start]).0,
        }),
        Over::Average => plain(series, windows, budget, |window| numbers::mean(&values[window])),
        Over::Sum => plain(series, windows, budget, |window| numbers::sum(&values[window])),
        Over::StandardVariance => plain(series, windows, budget, |window| numbers::variance(&values[window])),
        Over::StandardDeviation => plain(series, windows, budget, |window| numbers::variance(&values[window]).sqrt()),
        Over::Count => plain(series, windows, budget, |window| window.len() as f64),
        Over::Present => plain(series, windows, budget, |_| 1.0),
        Over::First => plain(series, windows, budget, |window| values[window.start]),
        Over::Last => plain(series, windows, budget, |window| values[window.end - 1]),
    }
}

/// Computes a window's value from its samples, where it has any.
pub(super) fn plain(
    series: &SeriesSamples,
    windows: &Windows,
    budget: &mut Budget<'_>,
    mut compute: impl FnMut(Range<usize>) -> f64,
) -> Result<Vec<f64>, Error> {
    let mut sweep = Sweep::default();
    let mut computed = Vec::with_capacity(windows.count);
    for index in 0..windows.count {
        let window = sweep.window(series, windows, index);
        budget.work(window.len())?;
        computed.push(if window.is_empty() { ABSENT } else { compute(window) });
    }
    Ok(computed)
}

/// The difference of a window's last two samples, or how fast a counter grew between them.
fn last_two(function: Over, series: &SeriesSamples, window: Range<usize>) -> Option<f64> {
    if window.len() < 2 {
        return None;
    }
    let (before, last) = (window.end - 2, window.end - 1);
    let (from, to) = (series.values[before], series.values[last]);
    if function == Over::Difference {
        return Some(to - from);
    }
    // A counter that began anew came from zero.
    let grown = if to < from { to } else { to - from };
    Some(grown / seconds_between(series.times[before], series.times[last]))
}

/// How many samples of a window stand in some relation to the one before them, which is in the window too.
fn places(series: &SeriesSamples, windows: &Windows, counts: impl Fn(usize) -> bool) -> Vec<f64> {
    let mut until = Vec::with_capacity(series.values.len());
    let mut total = 0_u64;
    for at in 0..series.values.len() {
        total += u64::from(at > 0 && counts(at));
        until.push(total);
    }
    let mut sweep = Sweep::default();
    let in_window = |index| {
        let window = sweep.window(series, windows, index);
        if window.is_empty() { ABSENT } else { (until[window.end - 1] - until[window.start]) as f64 }
    };
    (0..windows.count).map(in_window).collect()
}

/// The extreme of each window that is not NaN. Candidates wait in a queue, best first; one that a later sample beats is dropped.
fn extremes(series: &SeriesSamples, windows: &Windows, beats: impl Fn(f64, f64) -> bool) -> Vec<f64> {
    let values = &series.values;
    let mut candidates: VecDeque<usize> = VecDeque::new();
    let mut seen = 0;
    let mut sweep = Sweep::default();
    let in_window = |index| {
        let window = sweep.window(series, windows, index);
        for at in seen..window.end {
            if values[at].is_nan() {
                continue;
            }
            while candidates.back().is_some_and(|last| beats(values[at], values[*last])) {
                candidates.pop_back();
            }
            candidates.push_back(at);
        }
        seen = window.end;
        while candidates.front().is_some_and(|first| *first < window.start) {
            candidates.pop_front();
        }
        match candidates.front() {
            _ if window.is_empty() => ABSENT,
            Some(best) => values[*best],
            None => f64::NAN,
        }
    };
    (0..windows.count).map(in_window).collect()
}
