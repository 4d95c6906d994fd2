//! `rate`, `increase` and `delta`: what samples of a window say about all of the window. Owns Prometheus' extrapolation.
//!
//! The samples seldom lie on the window's ends. The slope between first and last goes on to an end that is not farther away than
//! 1.1 average distances between samples, and by half a distance otherwise; of a counter, it does not go on below zero.

use super::super::numbers::seconds_between;
use super::super::source::{SeriesSamples, Windows};
use super::ABSENT;
use super::over::Sweep;

/// Which of the three.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Rate,
    Increase,
    Delta,
}

/// The change within each window.
pub(super) fn change(change: Change, series: &SeriesSamples, windows: &Windows) -> Vec<f64> {
    let counter = change != Change::Delta;
    let values = &series.values;
    // Where a counter began anew: each such place adds what it had reached.
    let resets: Vec<usize> = match counter {
        true => (1..values.len()).filter(|at| values[*at] < values[*at - 1]).collect(),
        false => Vec::new(),
    };
    let mut next_reset = 0;
    let mut sweep = Sweep::default();
    let in_window = |index| {
        let window = sweep.window(series, windows, index);
        if window.len() < 2 {
            return ABSENT;
        }
        let (first, last) = (window.start, window.end - 1);
        let mut total = values[last] - values[first];
        next_reset += resets[next_reset..].iter().take_while(|at| **at <= first).count();
        for &at in resets[next_reset..].iter().take_while(|at| **at <= last) {
            total += values[at - 1];
        }
        let end = windows.end(index);
        let start = end.saturating_sub(windows.range);
        let reach = Reach {
            before: seconds_between(start, series.times[first]),
            sampled: seconds_between(series.times[first], series.times[last]),
            after: seconds_between(series.times[last], end),
            distances: (window.len() - 1) as f64,
        };
        let zero = (counter && total > 0.0 && values[first] >= 0.0).then(|| reach.sampled * (values[first] / total));
        let factor = reach.extrapolated(zero) / reach.sampled;
        match change {
            Change::Rate => total * (factor / seconds_between(start, end)),
            Change::Increase | Change::Delta => total * factor,
        }
    };
    (0..windows.count).map(in_window).collect()
}

/// A window around its samples, in seconds.
struct Reach {
    before: f64,
    sampled: f64,
    after: f64,
    /// Distances between samples.
    distances: f64,
}

impl Reach {
    /// How much of the window the slope stands for; `zero` is how long before its first sample a counter was zero.
    fn extrapolated(&self, zero: Option<f64>) -> f64 {
        let average = self.sampled / self.distances;
        let near = |distance: f64| if distance >= average * 1.1 { average / 2.0 } else { distance };
        let mut before = near(self.before);
        if let Some(zero) = zero
            && zero < before
        {
            before = zero;
        }
        self.sampled + before + near(self.after)
    }
}
