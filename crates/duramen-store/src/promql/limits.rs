//! What a query may cost: how many samples it may hold, how many series and steps, and when it must stop. Owns the counting;
//! knows no clock: the caller's callback does.

use std::fmt;

use super::error::Error;

/// The bounds of one query.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Samples held at one time at most: those read and those computed.
    pub samples_max: usize,
    /// Series that one selector, or one operation, may yield at most.
    pub series_max: usize,
    /// Steps of a range query at most, as `(end - start) / step`: 11,000 in Prometheus.
    pub points_max: u64,
    /// Asked again and again while the query runs: `true` stops it. A deadline goes in here.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Default for Limits<'_> {
    fn default() -> Self {
        Limits { samples_max: 10_000_000, series_max: 100_000, points_max: 11_000, cancelled: &|| false }
    }
}

impl fmt::Debug for Limits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits")
            .field("samples_max", &self.samples_max)
            .field("series_max", &self.series_max)
            .field("points_max", &self.points_max)
            .finish_non_exhaustive()
    }
}

/// Samples between two questions whether to stop.
const SAMPLES_PER_QUESTION: usize = 16_384;

/// What is left of the bounds while a query runs. A [`super::Source`] takes from it before it allocates.
pub struct Budget<'a> {
    limits: Limits<'a>,
    held: usize,
    since_question: usize,
}

impl<'a> Budget<'a> {
    /// A whole budget.
    pub fn new(limits: Limits<'a>) -> Budget<'a> {
        Budget { limits, held: 0, since_question: 0 }
    }

    /// Counts samples about to be held. Call it for parts of a long series too: it is where a query stops.
    ///
    /// # Errors
    /// [`Error::TooManySamples`] and [`Error::Cancelled`].
    pub fn samples(&mut self, count: usize) -> Result<(), Error> {
        self.held = self.held.saturating_add(count);
        if self.held > self.limits.samples_max {
            return Err(Error::TooManySamples { max: self.limits.samples_max });
        }
        self.work(count)
    }

    /// Counts work that holds nothing more, and stops if the caller says so.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn work(&mut self, count: usize) -> Result<(), Error> {
        self.since_question = self.since_question.saturating_add(count.max(1));
        if self.since_question >= SAMPLES_PER_QUESTION { self.check() } else { Ok(()) }
    }

    /// Stops if the caller says so, and asks it now: before what may take long.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&mut self) -> Result<(), Error> {
        self.since_question = 0;
        if (self.limits.cancelled)() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Checks a number of series against its bound.
    ///
    /// # Errors
    /// [`Error::TooManySeries`].
    pub fn series(&self, count: usize) -> Result<(), Error> {
        if count > self.limits.series_max {
            return Err(Error::TooManySeries { max: self.limits.series_max });
        }
        Ok(())
    }

    /// Samples that are no longer held.
    pub(crate) fn release(&mut self, count: usize) {
        self.held = self.held.saturating_sub(count);
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn samples_are_counted_while_they_are_held() {
        let mut budget = Budget::new(Limits { samples_max: 10, ..Limits::default() });
        budget.samples(8).unwrap();
        budget.release(5);
        budget.samples(7).unwrap();
        assert!(matches!(budget.samples(1), Err(Error::TooManySamples { max: 10 })));
        assert!(matches!(Budget::new(Limits::default()).samples(usize::MAX), Err(Error::TooManySamples { .. })));
    }

    #[test]
    fn the_callback_is_asked_now_and_then() {
        let asked = Cell::new(0);
        let cancelled = || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        };
        let mut budget = Budget::new(Limits { cancelled: &cancelled, ..Limits::default() });
        let stopped = (0..1_000_000).find(|_| budget.work(1).is_err()).unwrap();
        assert_eq!(stopped, 3 * SAMPLES_PER_QUESTION - 1);
    }
}
