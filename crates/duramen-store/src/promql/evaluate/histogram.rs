//! `histogram_quantile` on classic histograms: counters of buckets, each with its upper bound in the label `le`. Owns what makes a
//! histogram of series, and the interpolation within a bucket.

use std::collections::BTreeMap;

use super::super::error::Error;
use super::super::label::{BUCKET, LabelSet, NAME};
use super::super::plan::Node;
use super::{Column, Evaluator, Times, is_absent};

/// Up to this relative difference two counts of buckets are one: they were computed, and the last digits are noise.
const NOISE: f64 = 1e-12;

/// A bucket's upper bound, and how many observations were not above it.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    bound: f64,
    count: f64,
}

impl Evaluator<'_> {
    pub(super) fn histogram_quantile(
        &mut self,
        at: usize,
        wanted: &Node,
        vector: &Node,
        times: &Times,
    ) -> Result<Vec<Column>, Error> {
        let wanted = self.scalar(wanted, times)?;
        let columns = self.vector(vector, times)?;
        let mut histograms: BTreeMap<LabelSet, Vec<(f64, usize)>> = BTreeMap::new();
        for (place, column) in columns.iter().enumerate() {
            // What has no bound is no bucket.
            if let Ok(bound) = column.labels.get(BUCKET).parse::<f64>() {
                let labels = column.labels.filter(|name| name != BUCKET);
                histograms.entry(labels).or_default().push((bound, place));
            }
        }
        let mut results = Vec::with_capacity(histograms.len());
        for (labels, members) in histograms {
            let mut result = self.empty_column(labels.filter(|name| name != NAME), times)?;
            for (step, value) in result.values.iter_mut().enumerate() {
                self.budget.work(members.len())?;
                let counts =
                    members.iter().map(|(bound, place)| Bucket { bound: *bound, count: columns[*place].values[step] });
                let buckets: Vec<Bucket> = counts.filter(|bucket| !is_absent(bucket.count)).collect();
                if !buckets.is_empty() {
                    *value = quantile(wanted[step], buckets);
                }
            }
            results.push(result);
        }
        self.budget.release(wanted.len());
        self.release(&columns);
        self.merged(at, results)
    }
}

/// The value below which a share of observations lies.
fn quantile(wanted: f64, mut buckets: Vec<Bucket>) -> f64 {
    if wanted.is_nan() {
        return f64::NAN;
    }
    if wanted < 0.0 {
        return f64::NEG_INFINITY;
    }
    if wanted > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    buckets.dedup_by(|same, kept| {
        let equal = same.bound == kept.bound;
        kept.count += if equal { same.count } else { 0.0 };
        equal
    });
    make_monotonic(&mut buckets);
    let Some((highest, finite)) = buckets.split_last().filter(|(highest, _)| highest.bound == f64::INFINITY) else {
        return f64::NAN;
    };
    let Some(last_finite) = finite.last() else { return f64::NAN };
    let observations = highest.count;
    if observations == 0.0 {
        return f64::NAN;
    }
    let rank = wanted * observations;
    let found = finite.partition_point(|bucket| bucket.count.is_nan() || bucket.count < rank);
    match (found, finite.get(found)) {
        (_, None) => last_finite.bound,
        (0, Some(lowest)) if lowest.bound <= 0.0 => lowest.bound,
        (0, Some(lowest)) => lowest.bound * (rank / lowest.count),
        (found, Some(bucket)) => {
            let below = finite[found - 1];
            below.bound + (bucket.bound - below.bound) * ((rank - below.count) / (bucket.count - below.count))
        }
    }
}

/// Counts of buckets do not fall as bounds rise; where they do, the samples were taken at different times.
fn make_monotonic(buckets: &mut [Bucket]) {
    let Some(first) = buckets.first() else { return };
    let mut before = first.count;
    for bucket in &mut buckets[1..] {
        if bucket.count < before || nearly_equal(before, bucket.count) {
            bucket.count = before;
        }
        before = bucket.count;
    }
}

fn nearly_equal(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < NOISE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < NOISE
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFINITY: f64 = f64::INFINITY;

    fn of(wanted: f64, buckets: &[(f64, f64)]) -> f64 {
        quantile(wanted, buckets.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect())
    }

    #[test]
    fn interpolation_within_a_bucket() {
        let buckets = [(INFINITY, 10.0), (1.0, 2.0), (2.0, 6.0), (4.0, 10.0)];
        assert_eq!(of(0.1, &buckets), 0.5);
        assert_eq!(of(0.4, &buckets), 1.5);
        assert_eq!(of(1.0, &buckets), 4.0);
        assert_eq!(of(0.0, &buckets), 0.0);
        assert_eq!(of(1.5, &buckets), INFINITY);
        assert_eq!(of(-1.0, &buckets), -INFINITY);
        assert!(of(f64::NAN, &buckets).is_nan());
    }

    #[test]
    fn edges_of_histograms() {
        assert_eq!(of(0.9, &[(1.0, 1.0), (INFINITY, 10.0)]), 1.0, "beyond the last bound is the last bound");
        assert_eq!(of(0.1, &[(-1.0, 5.0), (INFINITY, 10.0)]), -1.0, "no lower bound below zero");
        assert!(of(0.5, &[(1.0, 1.0), (2.0, 2.0)]).is_nan(), "no bucket of all");
        assert!(of(0.5, &[(INFINITY, 2.0)]).is_nan(), "one bucket says nothing");
        assert!(of(0.5, &[(1.0, 0.0), (INFINITY, 0.0)]).is_nan(), "no observation");
        assert_eq!(of(0.5, &[(1.0, 1.0), (1.0, 1.0), (2.0, 4.0), (INFINITY, 4.0)]), 1.0, "equal bounds are added");
        assert_eq!(of(0.5, &[(1.0, 6.0), (2.0, 4.0), (INFINITY, 10.0)]), 5.0 / 6.0, "counts do not fall");
    }
}
