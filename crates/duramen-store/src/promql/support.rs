//! What of PromQL is supported. Owns the two lists of names, the supported and the refused; knows nothing of how either is evaluated.

use super::calendar;
use super::numbers;

/// What a name means here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Support {
    /// Supported.
    Yes(Function),
    /// Known and not supported, and why.
    Refused(&'static str),
    /// No function of PromQL.
    Unknown,
}

/// A supported function.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    /// One value for one value.
    Map(fn(f64) -> f64),
    /// A part of a date; without an argument, of the time of the step.
    Calendar(fn(&calendar::Date) -> f64),
    /// One value for the samples of a window.
    Over(Over),
    AbsentOverTime,
    PredictLinear,
    QuantileOverTime,
    Absent,
    Clamp,
    ClampMax,
    ClampMin,
    HistogramQuantile,
    LabelJoin,
    LabelReplace,
    Pi,
    Round,
    Scalar,
    Sort,
    SortDescending,
    Time,
    Timestamp,
    Vector,
}

/// A function of a window's samples and of nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Average,
    Changes,
    Count,
    Delta,
    Derivative,
    Difference,
    First,
    Increase,
    InstantRate,
    Last,
    Maximum,
    Minimum,
    Present,
    Rate,
    Resets,
    StandardDeviation,
    StandardVariance,
    Sum,
}

/// The supported functions.
pub(super) const SUPPORTED: &[(&str, Function)] = &[
    ("abs", Function::Map(f64::abs)),
    ("absent", Function::Absent),
    ("absent_over_time", Function::AbsentOverTime),
    ("acos", Function::Map(f64::acos)),
    ("acosh", Function::Map(f64::acosh)),
    ("asin", Function::Map(f64::asin)),
    ("asinh", Function::Map(f64::asinh)),
    ("atan", Function::Map(f64::atan)),
    ("atanh", Function::Map(f64::atanh)),
    ("avg_over_time", Function::Over(Over::Average)),
    ("ceil", Function::Map(f64::ceil)),
    ("changes", Function::Over(Over::Changes)),
    ("clamp", Function::Clamp),
    ("clamp_max", Function::ClampMax),
    ("clamp_min", Function::ClampMin),
    ("cos", Function::Map(f64::cos)),
    ("cosh", Function::Map(f64::cosh)),
    ("count_over_time", Function::Over(Over::Count)),
    ("day_of_month", Function::Calendar(|date| f64::from(date.day))),
    ("day_of_week", Function::Calendar(|date| f64::from(date.weekday))),
    ("day_of_year", Function::Calendar(|date| f64::from(date.day_of_year))),
    ("days_in_month", Function::Calendar(|date| f64::from(date.days_in_month))),
    ("deg", Function::Map(|value| value * 180.0 / std::f64::consts::PI)),
    ("delta", Function::Over(Over::Delta)),
    ("deriv", Function::Over(Over::Derivative)),
    ("exp", Function::Map(f64::exp)),
    ("first_over_time", Function::Over(Over::First)),
    ("floor", Function::Map(f64::floor)),
    ("histogram_quantile", Function::HistogramQuantile),
    ("hour", Function::Calendar(|date| f64::from(date.hour))),
    ("idelta", Function::Over(Over::Difference)),
    ("increase", Function::Over(Over::Increase)),
    ("irate", Function::Over(Over::InstantRate)),
    ("label_join", Function::LabelJoin),
    ("label_replace", Function::LabelReplace),
    ("last_over_time", Function::Over(Over::Last)),
    ("ln", Function::Map(f64::ln)),
    ("log10", Function::Map(f64::log10)),
    ("log2", Function::Map(f64::log2)),
    ("max_over_time", Function::Over(Over::Maximum)),
    ("min_over_time", Function::Over(Over::Minimum)),
    ("minute", Function::Calendar(|date| f64::from(date.minute))),
    ("month", Function::Calendar(|date| f64::from(date.month))),
    ("pi", Function::Pi),
    ("predict_linear", Function::PredictLinear),
    ("present_over_time", Function::Over(Over::Present)),
    ("quantile_over_time", Function::QuantileOverTime),
    ("rad", Function::Map(|value| value * std::f64::consts::PI / 180.0)),
    ("rate", Function::Over(Over::Rate)),
    ("resets", Function::Over(Over::Resets)),
    ("round", Function::Round),
    ("scalar", Function::Scalar),
    ("sgn", Function::Map(numbers::sign)),
    ("sin", Function::Map(f64::sin)),
    ("sinh", Function::Map(f64::sinh)),
    ("sort", Function::Sort),
    ("sort_desc", Function::SortDescending),
    ("sqrt", Function::Map(f64::sqrt)),
    ("stddev_over_time", Function::Over(Over::StandardDeviation)),
    ("stdvar_over_time", Function::Over(Over::StandardVariance)),
    ("sum_over_time", Function::Over(Over::Sum)),
    ("tan", Function::Map(f64::tan)),
    ("tanh", Function::Map(f64::tanh)),
    ("time", Function::Time),
    ("timestamp", Function::Timestamp),
    ("vector", Function::Vector),
    ("year", Function::Calendar(|date| date.year as f64)),
];

const EXPERIMENTAL: &str = "it is experimental in Prometheus, and may still change";
const NATIVE: &str = "it is for native histograms, which are not stored";

/// The functions that PromQL has and that are refused, with the reason.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("double_exponential_smoothing", EXPERIMENTAL),
    ("end", EXPERIMENTAL),
    ("histogram_avg", NATIVE),
    ("histogram_count", NATIVE),
    ("histogram_fraction", NATIVE),
    ("histogram_quantiles", EXPERIMENTAL),
    ("histogram_stddev", NATIVE),
    ("histogram_stdvar", NATIVE),
    ("histogram_sum", NATIVE),
    ("info", EXPERIMENTAL),
    ("integral", EXPERIMENTAL),
    ("mad_over_time", EXPERIMENTAL),
    ("max_of", EXPERIMENTAL),
    ("min_of", EXPERIMENTAL),
    ("range", EXPERIMENTAL),
    ("sort_by_label", EXPERIMENTAL),
    ("sort_by_label_desc", EXPERIMENTAL),
    ("start", EXPERIMENTAL),
    ("start_timestamp", EXPERIMENTAL),
    ("step", EXPERIMENTAL),
    ("ts_of_first_over_time", EXPERIMENTAL),
    ("ts_of_last_over_time", EXPERIMENTAL),
    ("ts_of_max_over_time", EXPERIMENTAL),
    ("ts_of_min_over_time", EXPERIMENTAL),
];

/// The supported aggregations.
pub(super) const AGGREGATIONS: &[&str] =
    &["avg", "bottomk", "count", "count_values", "group", "max", "min", "quantile", "stddev", "stdvar", "sum", "topk"];

/// The aggregations that PromQL has and that are refused.
pub(super) const REFUSED_AGGREGATIONS: &[&str] = &["limit_ratio", "limitk"];

/// What the name of a function means.
pub(super) fn function(name: &str) -> Support {
    if let Ok(at) = SUPPORTED.binary_search_by(|known| known.0.cmp(name)) {
        return Support::Yes(SUPPORTED[at].1);
    }
    match REFUSED.iter().find(|known| known.0 == name) {
        Some((_, why)) => Support::Refused(why),
        None => Support::Unknown,
    }
}

/// Whether a word in small letters is an aggregation's.
pub(super) fn is_aggregation(word: &str) -> bool {
    AGGREGATIONS.contains(&word) || REFUSED_AGGREGATIONS.contains(&word)
}

/// Why an aggregation is refused; `None` if it is not.
pub(super) fn refused_aggregation(word: &str) -> Option<&'static str> {
    REFUSED_AGGREGATIONS.contains(&word).then_some(EXPERIMENTAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_do_not_overlap() {
        assert!(SUPPORTED.is_sorted_by(|a, b| a.0 < b.0));
        assert!(REFUSED.is_sorted_by(|a, b| a.0 < b.0));
        for (name, _) in REFUSED {
            assert!(matches!(function(name), Support::Refused(_)), "{name} is in both lists");
        }
        assert!(matches!(function("holt_winters"), Support::Unknown));
    }

    #[test]
    fn the_parser_knows_every_name() {
        for name in SUPPORTED.iter().map(|known| known.0).chain(REFUSED.iter().map(|known| known.0)) {
            // Refused for its arguments, if for anything, never for its name.
            let answer = promql_parser::parser::parse(&format!("{name}(a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)"));
            assert!(!answer.is_err_and(|reason| reason.contains("unknown function")), "{name}");
        }
    }
}
