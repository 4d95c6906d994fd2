//! What a block's values come to, so that an aggregate over all of a block reads no value. Owns what Prometheus' functions make
//! of values that are no numbers. Pure.

/// The bits of the value by which Prometheus marks that a series has ended. It is no sample to any function.
pub(crate) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// The answers of `count_over_time`, `min_over_time`, `max_over_time` and `sum_over_time` over a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// Values that are no stale markers.
    pub count: u32,
    /// Of those that are numbers; NaN where none is.
    pub min: f64,
    /// Likewise.
    pub max: f64,
    /// Added in order, with what rounding lost added at the end (Kahan and Neumaier). Sums of blocks may be added: the error stays
    /// within that of one more addition.
    pub sum: f64,
    /// Whether the above says all. False where a value is NaN and no stale marker: minimum and maximum of several blocks would
    /// have to tell it from having no value, and a decoder's answer keeps its payload.
    pub usable: bool,
}

impl Summary {
    pub fn of(values: &[f64]) -> Summary {
        let mut summary = Summary { count: 0, min: f64::NAN, max: f64::NAN, sum: 0.0, usable: true };
        let mut lost = 0.0;
        for &value in values {
            if value.to_bits() == STALE {
                continue;
            }
            summary.count += 1;
            summary.usable &= !value.is_nan();
            // Written so that the first number wins over NaN, and so does none after it: an equal one changes nothing, which
            // keeps the sign of the first zero.
            if value < summary.min || summary.min.is_nan() {
                summary.min = value;
            }
            if value > summary.max || summary.max.is_nan() {
                summary.max = value;
            }
            let sum = summary.sum + value;
            lost = match () {
                () if sum.is_infinite() => 0.0,
                () if summary.sum.abs() >= value.abs() => lost + ((summary.sum - sum) + value),
                () => lost + ((value - sum) + summary.sum),
            };
            summary.sum = sum;
        }
        if !summary.sum.is_infinite() {
            summary.sum += lost;
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_summed_up() {
        let summary = Summary::of(&[3.0, -1.5, 7.25]);
        assert_eq!(summary, Summary { count: 3, min: -1.5, max: 7.25, sum: 8.75, usable: true });
        let lossy = [1e100, 1.0, -1e100];
        assert_eq!(Summary::of(&lossy).sum, 1.0, "what rounding lost is added");
        let endless = Summary::of(&[f64::INFINITY, 1.0]);
        assert_eq!((endless.sum, endless.max, endless.usable), (f64::INFINITY, f64::INFINITY, true));
        assert!(Summary::of(&[f64::INFINITY, f64::NEG_INFINITY]).sum.is_nan());
        let overflow = Summary::of(&[f64::MAX, f64::MAX]);
        assert_eq!(overflow.sum, f64::INFINITY);
    }

    #[test]
    fn stale_markers_are_no_values() {
        let stale = f64::from_bits(STALE);
        let summary = Summary::of(&[stale, 2.0, stale, 5.0]);
        assert_eq!(summary, Summary { count: 2, min: 2.0, max: 5.0, sum: 7.0, usable: true });
        let none = Summary::of(&[stale]);
        assert!(none.count == 0 && none.min.is_nan() && none.max.is_nan() && none.sum == 0.0 && none.usable);
    }

    #[test]
    fn another_nan_makes_it_unusable_and_still_says_what_prometheus_would() {
        let summary = Summary::of(&[f64::NAN, 2.0, f64::NAN, 5.0]);
        assert!(!summary.usable && summary.count == 4);
        assert!(summary.min == 2.0 && summary.max == 5.0 && summary.sum.is_nan());
    }
}
