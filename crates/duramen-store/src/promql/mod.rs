//! PromQL over series of samples: reads an expression, and evaluates it for one time or for many. Owns the language and its
//! arithmetic, as Prometheus 3 has them; knows no store (samples come through [`Source`]), no clock, no thread and no HTTP.
//!
//! ```
//! use duramen_store::promql::{Answer, Budget, Error, Expression, LabelMatcher, LabelSet, Options, SeriesSamples, Source};
//!
//! struct One;
//! impl Source for One {
//!     fn select(&self, _: &[LabelMatcher], _: i64, _: i64, _: &mut Budget<'_>) -> Result<Vec<SeriesSamples>, Error> {
//!         let labels = LabelSet::new([("__name__", "up"), ("job", "web")]);
//!         Ok(vec![SeriesSamples { labels, times: vec![60_000_000_000], values: vec![2.0] }])
//!     }
//! }
//!
//! let expression = Expression::parse("up * 2")?;
//! let Answer::Vector(samples) = expression.instant(&One, 61_000, &Options::default())? else { panic!("no vector") };
//! assert_eq!((samples[0].labels.to_string(), samples[0].value), (r#"{job="web"}"#.to_string(), 4.0));
//! # Ok::<(), Error>(())
//! ```
//!
//! # Times
//!
//! Steps, starts and ends are milliseconds, as in Prometheus. Samples are nanoseconds, and everything is compared in nanoseconds: a
//! sample one nanosecond after a step belongs to the next. Windows and lookback are open on the left and closed on the right:
//! `(t - range, t]`. Durations in an expression count from 1 ms to 200 years.
//!
//! # What is supported
//!
//! | | supported | refused, by name and with the place |
//! | --- | --- | --- |
//! | selectors | `=`, `!=`, `=~`, `!~` (RE2's meaning of the classes, fully anchored), `__name__`, `{"name"}` | `or` between matchers |
//! | modifiers | `offset` (also negative), `@` time, `@ start()`, `@ end()`, ranges, subqueries | `smoothed`, `anchored` |
//! | operators | `+ - * / % ^ atan2`, `== != < <= > >=` with `bool`, `and or unless`, `on ignoring group_left group_right` | `fill`, `fill_left`, `fill_right` |
//! | aggregations | `avg bottomk count count_values group max min quantile stddev stdvar sum topk`, `by`, `without` | `limitk limit_ratio` |
//! | over a window | `absent_over_time avg_over_time changes count_over_time delta deriv first_over_time idelta increase irate last_over_time max_over_time min_over_time predict_linear present_over_time quantile_over_time rate resets stddev_over_time stdvar_over_time sum_over_time` | `double_exponential_smoothing integral mad_over_time ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time` |
//! | of a value | `abs ceil clamp clamp_max clamp_min exp floor ln log10 log2 round sgn sqrt`, `acos acosh asin asinh atan atanh cos cosh deg rad sin sinh tan tanh` | `max_of min_of` |
//! | of a date | `day_of_month day_of_week day_of_year days_in_month hour minute month year` | |
//! | of labels and series | `absent label_join label_replace scalar sort sort_desc vector` | `info sort_by_label sort_by_label_desc` |
//! | of time | `pi time timestamp` | `end range start start_timestamp step` |
//! | histograms | `histogram_quantile` on classic buckets | `histogram_avg histogram_count histogram_fraction histogram_quantiles histogram_stddev histogram_stdvar histogram_sum` |
//! | literals | numbers, durations as numbers of seconds, strings | `\x` and octal escapes of bytes that are not ASCII |
//!
//! Expressions are bounded: 256 KiB of text, 200 regular expressions in selectors, and 100 expressions within one another, where
//! each operator of a chain counts; labels made by functions: 64 KiB. No answer is wrong for a bound: it is an error. Warnings
//! and infos that Prometheus adds to an answer are not made. Parts of dates of values beyond some 30 million years are NaN.

mod calendar;
mod error;
mod evaluate;
mod label;
mod limits;
mod numbers;
mod parse;
mod pattern;
mod plan;
mod source;
mod support;
mod syntax;
mod text;

#[cfg(test)]
mod tests;

pub use error::{Complaint, Error};
pub use label::{LabelMatcher, LabelSet, MatchOperator, NAME};
pub use limits::{Budget, Limits};
pub use plan::ValueType;
pub use source::{STALE_BITS, SeriesSamples, SeriesSummaries, Source, Summary, Windows, is_stale};

use evaluate::{Column, Evaluator, Times, Value, is_absent};
use plan::{Kind, Node};

/// How an expression is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// How old a sample may be to count as the latest, in milliseconds: 5 minutes.
    pub lookback_ms: i64,
    /// The step of subqueries without one, in milliseconds: 1 minute.
    pub subquery_step_ms: i64,
    /// What it may cost.
    pub limits: Limits<'a>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { lookback_ms: 300_000, subquery_step_ms: 60_000, limits: Limits::default() }
    }
}

/// The steps of a range query, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first step.
    pub start_ms: i64,
    /// No step is after it.
    pub end_ms: i64,
    /// From one step to the next.
    pub step_ms: i64,
}

/// One sample of a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// In nanoseconds since 1970.
    pub time: i64,
    /// The value.
    pub value: f64,
}

/// One series at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: LabelSet,
    /// The evaluation's time in nanoseconds since 1970, whatever the time of the sample behind it.
    pub time: i64,
    /// The value.
    pub value: f64,
}

/// One series with its samples, sorted by time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: LabelSet,
    /// Its samples; steps without a value have none.
    pub points: Vec<Point>,
}

/// The answer to an instant query.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A number.
    Scalar(Point),
    /// A number for each series, in the order that the expression makes.
    Vector(Vec<Sample>),
    /// Samples of each series, sorted by labels.
    Matrix(Vec<Series>),
    /// A text, with the evaluation's time in nanoseconds.
    Text(i64, String),
}

/// An expression that was read and checked.
#[derive(Debug)]
pub struct Expression {
    text: String,
    root: Node,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`Error::Syntax`] and [`Error::Unsupported`], with the place.
    pub fn parse(text: &str) -> Result<Expression, Error> {
        Ok(Expression { text: text.to_string(), root: parse::parse(text)? })
    }

    /// The type of its value.
    pub fn value_type(&self) -> ValueType {
        self.root.value_type()
    }

    /// Evaluates it for one time, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Error::Execution`], a bound of [`Limits`], or what the source says.
    pub fn instant(&self, source: &dyn Source, time_ms: i64, options: &Options<'_>) -> Result<Answer, Error> {
        check_options(options)?;
        let time = nanoseconds("the time", time_ms)?;
        let times = Times { start: time, step: 0, count: 1 };
        if let Kind::Text(text) = &self.root.kind {
            return Ok(Answer::Text(time, text.clone()));
        }
        let mut evaluator = Evaluator::new(&self.text, source, options, (time, time));
        if let Kind::Ranged(ranged) = &self.root.kind {
            let (series, windows) = evaluator.ranged(ranged, &times)?;
            return Ok(Answer::Matrix(series.into_iter().filter_map(|series| in_window(series, &windows)).collect()));
        }
        Ok(match evaluator.value(&self.root, &times)? {
            Value::Scalar(values) => Answer::Scalar(Point { time, value: values.first().copied().unwrap_or(f64::NAN) }),
            Value::Vector(columns) => {
                let present = columns.into_iter().filter(|column| !is_absent(column.values[0]));
                Answer::Vector(
                    present.map(|Column { labels, values }| Sample { labels, time, value: values[0] }).collect(),
                )
            }
        })
    }

    /// Evaluates it at every step of a range. Series are sorted by labels; a scalar is one series without labels.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a range that is none, [`Error::Syntax`] if the expression is a string or a range vector,
    /// [`Error::Execution`], a bound of [`Limits`], or what the source says.
    pub fn range(&self, source: &dyn Source, range: Range, options: &Options<'_>) -> Result<Vec<Series>, Error> {
        check_options(options)?;
        let times = steps(range, &options.limits)?;
        let end = nanoseconds("the end", range.end_ms)?;
        let mut evaluator = Evaluator::new(&self.text, source, options, (times.start, end));
        if !matches!(self.value_type(), ValueType::Scalar | ValueType::Vector) {
            let found = parse::name_of(self.value_type());
            let reason = format!("a range query needs a scalar or an instant vector at each step, and this is {found}");
            return Err(Error::Syntax(Complaint::new(&self.text, self.root.at, reason)));
        }
        let columns = match evaluator.value(&self.root, &times)? {
            Value::Scalar(values) => vec![Column { labels: LabelSet::default(), values }],
            Value::Vector(columns) => columns,
        };
        let mut series: Vec<Series> = columns.into_iter().filter_map(|column| points(column, &times)).collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }
}

/// Reads a selector alone, as `match[]` has it: no range, no modifier, no operator.
///
/// # Errors
/// [`Error::Syntax`] and [`Error::Unsupported`], with the place.
pub fn parse_selector(text: &str) -> Result<Vec<LabelMatcher>, Error> {
    let root = parse::parse(text)?;
    match root.kind {
        Kind::Selector(selector) if selector.when.at.is_none() && selector.when.offset == 0 => Ok(selector.matchers),
        _ => Err(Error::Syntax(Complaint::new(text, root.at, "expected a selector of series and nothing else"))),
    }
}

/// The names of the functions that are supported, sorted.
pub fn supported_functions() -> impl Iterator<Item = &'static str> {
    support::SUPPORTED.iter().map(|known| known.0)
}

/// The names of the functions of PromQL that are refused, sorted.
pub fn refused_functions() -> impl Iterator<Item = &'static str> {
    support::REFUSED.iter().map(|known| known.0)
}

fn check_options(options: &Options<'_>) -> Result<(), Error> {
    if options.lookback_ms <= 0 || options.subquery_step_ms <= 0 {
        return Err(Error::Parameter("lookback and the step of subqueries are above zero".to_string()));
    }
    Ok(())
}

fn nanoseconds(what: &str, milliseconds: i64) -> Result<i64, Error> {
    let out = || Error::Parameter(format!("{what} is {milliseconds} ms after 1970, which nanoseconds cannot count"));
    milliseconds.checked_mul(1_000_000).ok_or_else(out)
}

fn steps(range: Range, limits: &Limits<'_>) -> Result<Times, Error> {
    let (start, end) = (nanoseconds("the start", range.start_ms)?, nanoseconds("the end", range.end_ms)?);
    if range.step_ms <= 0 {
        return Err(Error::Parameter("the step is above zero: give it in seconds or as a duration".to_string()));
    }
    if end < start {
        return Err(Error::Parameter("the end is before the start".to_string()));
    }
    let points = range.end_ms.abs_diff(range.start_ms) / range.step_ms.unsigned_abs();
    if points > limits.points_max {
        return Err(Error::TooManyPoints { points, max: limits.points_max });
    }
    let count = usize::try_from(points).unwrap_or(usize::MAX).saturating_add(1);
    Ok(Times { start, step: range.step_ms.saturating_mul(1_000_000), count })
}

fn points(column: Column, times: &Times) -> Option<Series> {
    let present = column.values.iter().enumerate().filter(|(_, value)| !is_absent(**value));
    let points: Vec<Point> = present.map(|(index, value)| Point { time: times.at(index), value: *value }).collect();
    (!points.is_empty()).then_some(Series { labels: column.labels, points })
}

fn in_window(series: SeriesSamples, windows: &Windows) -> Option<Series> {
    let pairs = series.times.into_iter().zip(series.values);
    let inside = pairs.filter(|(time, _)| (windows.first()..=windows.last()).contains(time));
    let points: Vec<Point> = inside.map(|(time, value)| Point { time, value }).collect();
    (!points.is_empty()).then_some(Series { labels: series.labels, points })
}
