//! The store as a source of samples for PromQL. Owns how matchers and windows become questions to the store, and what of them is
//! answered from blocks' summaries alone.

use crate::format::table::DOWNSAMPLE_LABEL;
use crate::labels::Labels;
use crate::postings::Selection;
use crate::promql::{
    Budget, Error, LabelMatcher, LabelSet, MatchOperator, SeriesSamples, SeriesSummaries, Source,
    Summary as WindowSummary, Windows,
};
use crate::query::SeriesIter;
use crate::row::Nanoseconds;
use crate::store::Store;

impl Store {
    /// The names of all series that matchers mean and that may have samples in `first..=last`. Those that downsampling made are
    /// meant only where a matcher names the label [`DOWNSAMPLE_LABEL`].
    ///
    /// # Errors
    /// As [`Store::samples`].
    pub fn series_matching(
        &self,
        matchers: &[LabelMatcher],
        first: Nanoseconds,
        last: Nanoseconds,
    ) -> Result<Vec<Labels>, crate::Error> {
        Ok(self.matching(matchers, first, last)?.into_names())
    }

    /// A downsampled series has the name and labels of the one that it was made of: unless it is asked for, a sum over a name would
    /// count every sample several times.
    fn matching(
        &self,
        matchers: &[LabelMatcher],
        first: Nanoseconds,
        last: Nanoseconds,
    ) -> Result<SeriesIter, crate::Error> {
        let passes =
            |labels: &Labels, matcher: &LabelMatcher| matcher.matches_value(labels.get(&matcher.name).unwrap_or(""));
        let made_too = matchers.iter().any(|matcher| matcher.name == DOWNSAMPLE_LABEL);
        let mut selection = Selection::new(|labels| {
            (made_too || labels.get(DOWNSAMPLE_LABEL).is_none())
                && matchers.iter().all(|matcher| passes(labels, matcher))
        });
        for LabelMatcher { name, operator, value } in matchers {
            match operator {
                MatchOperator::Equal => selection.demand(name, &[value]),
                MatchOperator::Matches(_) => selection.demand_matching(name, value),
                MatchOperator::NotEqual | MatchOperator::MatchesNot(_) => {}
            }
        }
        SeriesIter::with(self.core(), &selection, (first, last.saturating_add(1)))
    }

    /// Series by matchers, in a span whose end counts, with the samples that are wanted: told their time and the next one's.
    fn held(
        &self,
        matchers: &[LabelMatcher],
        (first, last): (Nanoseconds, Nanoseconds),
        budget: &mut Budget<'_>,
        wanted: impl Fn(Nanoseconds, Option<Nanoseconds>) -> bool,
    ) -> Result<Vec<SeriesSamples>, Error> {
        let mut asked = self.matching(matchers, first, last)?;
        budget.series(asked.remaining())?;
        let mut all = Vec::with_capacity(asked.remaining());
        // What a block holds is known before it is read.
        while let Some(most) = asked.next_samples_max() {
            budget.samples(most)?;
            let Some(own) = asked.next() else { break };
            let own = own?;
            let later = own.samples.iter().skip(1).map(|sample| Some(sample.time)).chain([None]);
            let kept = own.samples.iter().zip(later).filter(|(sample, next)| wanted(sample.time, *next));
            let (times, values): (Vec<_>, Vec<_>) = kept.map(|(sample, _)| (sample.time, sample.value)).unzip();
            budget.release(most.saturating_sub(times.len()));
            if !times.is_empty() {
                all.push(SeriesSamples { labels: LabelSet::new(own.labels.iter()), times, values });
            }
        }
        Ok(all)
    }
}

impl Source for Store {
    fn select(
        &self,
        matchers: &[LabelMatcher],
        first: i64,
        last: i64,
        budget: &mut Budget<'_>,
    ) -> Result<Vec<SeriesSamples>, Error> {
        self.held(matchers, (first, last), budget, |_, _| true)
    }

    fn select_latest(
        &self,
        matchers: &[LabelMatcher],
        windows: &Windows,
        budget: &mut Budget<'_>,
    ) -> Result<Vec<SeriesSamples>, Error> {
        self.held(matchers, (windows.first(), windows.last()), budget, |time, next| windows.any_ends(time, next))
    }

    fn summaries(
        &self,
        matchers: &[LabelMatcher],
        windows: &Windows,
        budget: &mut Budget<'_>,
    ) -> Result<Option<Vec<SeriesSummaries>>, Error> {
        // With several windows each block is read for few of them: reading it once is cheaper.
        if windows.count != 1 {
            return Ok(None);
        }
        let mut asked = self.matching(matchers, windows.first(), windows.last())?;
        budget.series(asked.remaining())?;
        let mut all = Vec::with_capacity(asked.remaining());
        while let Some(own) = asked.next_summary() {
            budget.work(1)?;
            let (labels, own) = own?;
            let window = WindowSummary { count: own.count, sum: own.sum, min: own.min, max: own.max };
            let windows = vec![(own.count > 0).then_some(window)];
            all.push(SeriesSummaries { labels: LabelSet::new(labels.iter()), windows });
        }
        Ok(Some(all))
    }
}
