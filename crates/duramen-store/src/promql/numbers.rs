//! Arithmetic as Prometheus does it, down to the order of operations: compensated sums, means that do not overflow, quantiles.
//! Owns what is done with plain lists of numbers; knows no labels and no times.

/// A sum with what its additions lost (Kahan and Neumaier).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CompensatedSum {
    pub sum: f64,
    pub lost: f64,
}

impl CompensatedSum {
    pub(super) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(super) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// The sum of values.
pub(super) fn sum(values: &[f64]) -> f64 {
    let mut sum = CompensatedSum::default();
    values.iter().for_each(|value| sum.add(*value));
    sum.total()
}

/// The mean of values. Where their sum overflows, the mean goes on value by value.
pub(super) fn mean(values: &[f64]) -> f64 {
    let mut sum = CompensatedSum::default();
    let mut incremental = false;
    for (before, &value) in values.iter().enumerate() {
        let (before, count) = (before as f64, before as f64 + 1.0);
        if !incremental {
            let mut next = sum;
            next.add(value);
            if before == 0.0 || !next.sum.is_infinite() {
                sum = next;
                continue;
            }
            incremental = true;
            sum = CompensatedSum { sum: sum.sum / before, lost: sum.lost / before };
        }
        let share = before / count;
        sum = CompensatedSum { sum: sum.sum * share, lost: sum.lost * share };
        sum.add(value / count);
    }
    if incremental { sum.sum + sum.lost } else { (sum.sum + sum.lost) / values.len() as f64 }
}

/// The variance of values (Welford), compensated.
pub(super) fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (CompensatedSum::default(), CompensatedSum::default());
    for (before, &value) in values.iter().enumerate() {
        let delta = value - (mean.sum + mean.lost);
        mean.add(delta / (before as f64 + 1.0));
        squares.add(delta * (value - (mean.sum + mean.lost)));
    }
    (squares.sum + squares.lost) / values.len() as f64
}

/// The greatest value that is not NaN; NaN if all are.
pub(super) fn maximum(values: &[f64]) -> f64 {
    values
        .iter()
        .copied()
        .reduce(|best, value| if value > best || best.is_nan() { value } else { best })
        .unwrap_or(f64::NAN)
}

/// The smallest value that is not NaN; NaN if all are.
pub(super) fn minimum(values: &[f64]) -> f64 {
    values
        .iter()
        .copied()
        .reduce(|best, value| if value < best || best.is_nan() { value } else { best })
        .unwrap_or(f64::NAN)
}

/// A quantile of values, which get sorted, NaN first. Between two values it is weighed.
pub(super) fn quantile(wanted: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || wanted.is_nan() {
        return f64::NAN;
    }
    if wanted < 0.0 {
        return f64::NEG_INFINITY;
    }
    if wanted > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| ascending(*a, *b));
    let rank = wanted * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// Orders values, NaN before all others.
pub(super) fn ascending(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// -1, 1, or the value itself if it is zero or NaN.
pub(super) fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// The greater of two, as Go's `math.Max`: infinity beats NaN, and NaN everything else.
pub(super) fn greater(a: f64, b: f64) -> f64 {
    match (a, b) {
        (f64::INFINITY, _) | (_, f64::INFINITY) => f64::INFINITY,
        _ if a.is_nan() || b.is_nan() => f64::NAN,
        // Of two zeros the positive one is greater.
        _ if a == b => {
            if a.is_sign_negative() {
                b
            } else {
                a
            }
        }
        _ => a.max(b),
    }
}

/// The smaller of two, as Go's `math.Min`: negative infinity beats NaN, and NaN everything else.
pub(super) fn smaller(a: f64, b: f64) -> f64 {
    -greater(-a, -b)
}

/// Slope per second and value at a time of the line through samples (least squares). Times are nanoseconds.
pub(super) fn line(times: &[i64], values: &[f64], at: i64) -> (f64, f64) {
    let first = values[0];
    if values.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let mut sums = [CompensatedSum::default(); 4];
    for (&time, &value) in times.iter().zip(values) {
        let x = seconds_between(at, time);
        for (sum, part) in sums.iter_mut().zip([x, value, x * value, x * x]) {
            sum.add(part);
        }
    }
    let [x, y, xy, xx] = sums.map(|sum| sum.sum + sum.lost);
    let count = values.len() as f64;
    let slope = (xy - x * y / count) / (xx - x * x / count);
    (slope, y / count - slope * x / count)
}

/// Seconds from one time in nanoseconds to another.
pub(super) fn seconds_between(from: i64, to: i64) -> f64 {
    seconds(to.saturating_sub(from))
}

/// Nanoseconds as seconds. Whole milliseconds come out as exactly as from milliseconds.
pub(super) fn seconds(nanoseconds: i64) -> f64 {
    if nanoseconds % 1_000_000 == 0 { (nanoseconds / 1_000_000) as f64 / 1e3 } else { nanoseconds as f64 / 1e9 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFINITY: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    #[test]
    fn sums_keep_what_additions_lose() {
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(sum(&[INFINITY, 1.0]), INFINITY);
        assert!(sum(&[INFINITY, -INFINITY]).is_nan());
        assert_eq!(sum(&[0.1; 10]), 1.0);
    }

    #[test]
    fn means_do_not_overflow() {
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(mean(&[1e100, 1.0, -1e100]), 1.0 / 3.0);
        let high = mean(&[f64::MAX, f64::MAX, f64::MAX]);
        assert!((high / f64::MAX - 1.0).abs() < 1e-12, "{high}");
        assert_eq!(mean(&[INFINITY, 1.0]), INFINITY);
        assert_eq!(mean(&[1.0, -INFINITY, 1.0]), -INFINITY);
        assert!(mean(&[INFINITY, -INFINITY]).is_nan());
        assert!(mean(&[NAN, 1.0]).is_nan());
    }

    #[test]
    fn extremes_pass_over_nan() {
        assert_eq!((maximum(&[NAN, 1.0, 3.0, NAN]), minimum(&[NAN, 1.0, 3.0])), (3.0, 1.0));
        assert!(maximum(&[NAN, NAN]).is_nan());
        assert!(greater(NAN, 1.0).is_nan() && smaller(1.0, NAN).is_nan());
    }

    /// NaN won against infinity, which it does not in Go.
    #[test]
    fn of_two_the_greater_is_that_of_go() {
        for (a, b, greatest, least) in [
            (1.0, 2.0, 2.0, 1.0),
            (INFINITY, NAN, INFINITY, NAN),
            (NAN, -INFINITY, NAN, -INFINITY),
            (NAN, NAN, NAN, NAN),
            (INFINITY, -INFINITY, INFINITY, -INFINITY),
            (0.0, -0.0, 0.0, -0.0),
            (-3.0, -3.0, -3.0, -3.0),
        ] {
            for (a, b) in [(a, b), (b, a)] {
                let same = |found: f64, wanted: f64| {
                    found.to_bits() == wanted.to_bits() || (found.is_nan() && wanted.is_nan())
                };
                assert!(same(greater(a, b), greatest) && same(smaller(a, b), least), "{a} {b}");
            }
        }
    }

    #[test]
    fn quantiles_weigh_two_values() {
        let quantile_of = |wanted, values: &[f64]| quantile(wanted, &mut values.to_vec());
        assert_eq!(quantile_of(0.5, &[3.0, 1.0, 2.0, 4.0]), 2.5);
        assert_eq!(quantile_of(0.0, &[3.0, 1.0]), 1.0);
        assert_eq!(quantile_of(1.0, &[3.0, 1.0]), 3.0);
        assert_eq!(quantile_of(0.75, &[0.0, 1.0, 2.0]), 1.5);
        assert_eq!(quantile_of(-0.1, &[1.0]), -INFINITY);
        assert_eq!(quantile_of(1.1, &[1.0]), INFINITY);
        assert!(quantile_of(NAN, &[1.0]).is_nan());
        assert!(quantile_of(0.5, &[]).is_nan());
        assert!(quantile_of(0.0, &[1.0, NAN]).is_nan(), "NaN comes first");
    }

    #[test]
    fn variances() {
        assert_eq!(variance(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), 4.0);
        assert_eq!(variance(&[5.0]), 0.0);
        assert!((variance(&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0]) - 2.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_through_samples() {
        let second = 1_000_000_000;
        assert_eq!(line(&[0, second, 2 * second], &[1.0, 3.0, 5.0], 0), (2.0, 1.0));
        assert_eq!(line(&[0, second], &[4.0, 4.0], 0), (0.0, 4.0));
        assert!(line(&[0, second], &[INFINITY, INFINITY], 0).0.is_nan());
    }

    #[test]
    fn seconds_are_as_exact_as_they_can_be() {
        assert_eq!(seconds(1_700_000_000_123_000_000), 1_700_000_000_123.0 / 1e3);
        assert_eq!(seconds(1), 1e-9);
        assert_eq!(sign(-0.0).to_bits(), (-0.0_f64).to_bits());
    }
}
