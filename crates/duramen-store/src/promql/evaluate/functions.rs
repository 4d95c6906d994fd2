//! Functions: which argument is what, and the ones that need no module of their own.

use super::super::calendar;
use super::super::error::Error;
use super::super::label::{LabelMatcher, LabelSet, MatchOperator, NAME};
use super::super::numbers;
use super::super::plan::{Call, Kind, Node, Ranged, Samples, ValueType};
use super::super::support::{Function, Over};
use super::select::Asked;
use super::{ABSENT, Column, Evaluator, Times, Value, is_absent, over};

impl Evaluator<'_> {
    pub(super) fn call(&mut self, at: usize, call: &Call, times: &Times) -> Result<Value, Error> {
        match call.function {
            Function::Pi => Ok(Value::Scalar(self.constant(std::f64::consts::PI, times)?)),
            Function::Time => Ok(Value::Scalar(self.time(times)?)),
            Function::Scalar => {
                let columns = self.vector(call.argument(0, self.text, at)?, times)?;
                Ok(Value::Scalar(self.only_value(&columns, times)?))
            }
            _ => self.vector_call(at, call, times).map(Value::Vector),
        }
    }

    fn vector_call(&mut self, at: usize, call: &Call, times: &Times) -> Result<Vec<Column>, Error> {
        let text = self.text;
        let argument = |index| call.argument(index, text, at);
        match call.function {
            Function::Map(compute) => {
                let columns = self.vector(argument(0)?, times)?;
                self.map(at, columns, compute)
            }
            Function::Over(function) => self.over_call(at, function, argument(0)?, times),
            Function::AbsentOverTime => self.absent_over_time(argument(0)?, times),
            Function::PredictLinear => self.predict_linear(at, argument(0)?, argument(1)?, times),
            Function::QuantileOverTime => self.quantile_over_time(at, argument(0)?, argument(1)?, times),
            Function::Absent => self.absent(argument(0)?, times),
            Function::Calendar(part) => self.calendar(at, part, call.arguments.first(), times),
            Function::Clamp | Function::ClampMin | Function::ClampMax | Function::Round => {
                self.bounded(at, call, times)
            }
            Function::HistogramQuantile => self.histogram_quantile(at, argument(0)?, argument(1)?, times),
            Function::LabelJoin => self.label_join(at, call, times),
            Function::LabelReplace => self.label_replace(at, call, times),
            Function::Sort | Function::SortDescending => self.sorted(call, argument(0)?, times),
            Function::Timestamp => self.timestamp(at, argument(0)?, times),
            Function::Vector => {
                let values = self.scalar(argument(0)?, times)?;
                Ok(vec![Column { labels: LabelSet::default(), values }])
            }
            Function::Pi | Function::Time | Function::Scalar => {
                Err(self.execution(at, "a scalar function as a vector"))
            }
        }
    }

    /// The steps' times in seconds.
    fn time(&mut self, times: &Times) -> Result<Vec<f64>, Error> {
        self.budget.samples(times.count)?;
        Ok((0..times.count).map(|index| numbers::seconds(times.at(index))).collect())
    }

    /// The value where there is one series; NaN where there is none, or more.
    fn only_value(&mut self, columns: &[Column], times: &Times) -> Result<Vec<f64>, Error> {
        let mut found = self.constant(f64::NAN, times)?;
        for (step, value) in found.iter_mut().enumerate() {
            self.budget.work(columns.len())?;
            let mut present = columns.iter().map(|column| column.values[step]).filter(|value| !is_absent(*value));
            if let (Some(only), None) = (present.next(), present.next()) {
                *value = only;
            }
        }
        self.release(columns);
        Ok(found)
    }

    fn range_argument<'n>(&self, node: &'n Node) -> Result<&'n Ranged, Error> {
        match &node.kind {
            Kind::Ranged(ranged) => Ok(ranged),
            _ => Err(self.wrong_type(node, "a range vector")),
        }
    }

    fn over_call(&mut self, at: usize, function: Over, argument: &Node, times: &Times) -> Result<Vec<Column>, Error> {
        let ranged = self.range_argument(argument)?;
        self.over(at, function, ranged, times)
    }

    fn quantile_over_time(
        &mut self,
        at: usize,
        wanted: &Node,
        argument: &Node,
        times: &Times,
    ) -> Result<Vec<Column>, Error> {
        let wanted = self.scalar(wanted, times)?;
        let ranged = self.range_argument(argument)?;
        let mut sorted = Vec::new();
        let columns = self.each_series(ranged, times, |series, windows, budget| {
            // With a time of its own there is one window, and still one quantile for each step.
            let windows = super::super::source::Windows { count: times.count, ..*windows };
            let mut step = 0..times.count;
            let mut sweep = over::Sweep::default();
            let mut values = Vec::with_capacity(times.count);
            for index in step.by_ref() {
                let window = sweep.window(series, &windows, index);
                budget.work(window.len())?;
                sorted.clear();
                sorted.extend_from_slice(&series.values[window]);
                values.push(if sorted.is_empty() { ABSENT } else { numbers::quantile(wanted[index], &mut sorted) });
            }
            Ok(values)
        })?;
        self.budget.release(wanted.len());
        self.distinct(at, columns)
    }

    fn predict_linear(
        &mut self,
        at: usize,
        argument: &Node,
        ahead: &Node,
        times: &Times,
    ) -> Result<Vec<Column>, Error> {
        let ranged = self.range_argument(argument)?;
        let ahead = self.scalar(ahead, times)?;
        let columns = self.each_series(ranged, times, |series, windows, budget| {
            let windows = super::super::source::Windows { count: times.count, ..*windows };
            let mut sweep = over::Sweep::default();
            let mut values = Vec::with_capacity(times.count);
            for (index, ahead) in ahead.iter().enumerate() {
                let window = sweep.window(series, &windows, index);
                budget.work(window.len())?;
                values.push(if window.len() < 2 {
                    ABSENT
                } else {
                    let (slope, now) =
                        numbers::line(&series.times[window.clone()], &series.values[window], times.at(index));
                    slope * ahead + now
                });
            }
            Ok(values)
        })?;
        self.budget.release(ahead.len());
        self.distinct(at, columns)
    }

    /// 1 at the steps at which a vector has no series.
    fn absent(&mut self, argument: &Node, times: &Times) -> Result<Vec<Column>, Error> {
        let columns = self.vector(argument, times)?;
        let labels = match &argument.kind {
            Kind::Selector(selector) => labels_of_absent(&selector.matchers),
            _ => LabelSet::default(),
        };
        self.absences(labels, &columns, times)
    }

    fn absent_over_time(&mut self, argument: &Node, times: &Times) -> Result<Vec<Column>, Error> {
        let ranged = self.range_argument(argument)?;
        let labels = match &ranged.samples {
            Samples::Stored(matchers) => labels_of_absent(matchers),
            Samples::Computed(..) => LabelSet::default(),
        };
        let columns =
            self.each_series(ranged, times, |series, windows, budget| over::plain(series, windows, budget, |_| 1.0))?;
        self.absences(labels, &columns, times)
    }

    fn absences(&mut self, labels: LabelSet, columns: &[Column], times: &Times) -> Result<Vec<Column>, Error> {
        let mut absent = Column { labels, values: self.constant(1.0, times)? };
        for column in columns {
            self.budget.work(column.values.len())?;
            for (into, _) in absent.values.iter_mut().zip(&column.values).filter(|(_, value)| !is_absent(**value)) {
                *into = ABSENT;
            }
        }
        self.release(columns);
        Ok(if absent.is_empty() { Vec::new() } else { vec![absent] })
    }

    /// A part of the date that a value is, or that a step has.
    fn calendar(
        &mut self,
        at: usize,
        part: fn(&calendar::Date) -> f64,
        argument: Option<&Node>,
        times: &Times,
    ) -> Result<Vec<Column>, Error> {
        let columns = match argument {
            Some(argument) => self.vector(argument, times)?,
            None => vec![Column { labels: LabelSet::default(), values: self.time(times)? }],
        };
        self.map(at, columns, |seconds| calendar::date(seconds).map_or(f64::NAN, |date| part(&date)))
    }

    /// The functions of a value and of scalars beside it.
    fn bounded(&mut self, at: usize, call: &Call, times: &Times) -> Result<Vec<Column>, Error> {
        let mut columns = self.vector(call.argument(0, self.text, at)?, times)?;
        let mut scalars = Vec::new();
        for argument in &call.arguments[1..] {
            scalars.push(self.scalar(argument, times)?);
        }
        let compute: fn(f64, &[f64]) -> f64 = match call.function {
            Function::ClampMin => |value, bounds| numbers::greater(bounds[0], value),
            Function::ClampMax => |value, bounds| numbers::smaller(bounds[0], value),
            Function::Clamp => |value, bounds| match bounds[1] < bounds[0] {
                true => ABSENT,
                false => numbers::greater(bounds[0], numbers::smaller(bounds[1], value)),
            },
            _ => |value, nearest| {
                let inverse = 1.0 / nearest.first().copied().unwrap_or(1.0);
                (value * inverse + 0.5).floor() / inverse
            },
        };
        let mut beside = Vec::with_capacity(scalars.len());
        for column in &mut columns {
            self.budget.work(column.values.len())?;
            for (step, value) in column.values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
                beside.clear();
                beside.extend(scalars.iter().map(|scalar| scalar[step]));
                *value = compute(*value, &beside);
            }
            column.labels = column.labels.without_name();
        }
        self.budget.release(scalars.len() * times.count);
        self.merged(at, columns)
    }

    /// Sorts by value, NaN last. With more than one step there is no one order, and none is made.
    fn sorted(&mut self, call: &Call, argument: &Node, times: &Times) -> Result<Vec<Column>, Error> {
        let mut columns = self.vector(argument, times)?;
        if times.count == 1 {
            let ascending = matches!(call.function, Function::Sort);
            columns.sort_by(|a, b| {
                let (a, b) = (a.values[0], b.values[0]);
                let by_value = if ascending { numbers::ascending(a, b) } else { numbers::ascending(b, a) };
                a.is_nan().cmp(&b.is_nan()).then(by_value)
            });
        }
        Ok(columns)
    }

    /// The times of samples where the argument is a selector; elsewhere those of the steps.
    fn timestamp(&mut self, at: usize, argument: &Node, times: &Times) -> Result<Vec<Column>, Error> {
        if let Kind::Selector(selector) = &argument.kind {
            let columns = self.latest(selector, times, Asked::Time)?;
            return self.map(at, columns, |seconds| seconds);
        }
        debug_assert_eq!(argument.value_type(), ValueType::Vector, "the parser saw to it");
        let mut columns = self.vector(argument, times)?;
        for column in &mut columns {
            for (step, value) in column.values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
                *value = numbers::seconds(times.at(step));
            }
        }
        self.map(at, columns, |seconds| seconds)
    }
}

/// The labels that what is absent would have: those that a selector asks for once, with `=`.
fn labels_of_absent(matchers: &[LabelMatcher]) -> LabelSet {
    let mut labels = LabelSet::default();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name != NAME) {
        if matches!(matcher.operator, MatchOperator::Equal) && !seen.contains(&matcher.name.as_str()) {
            seen.push(&matcher.name);
            labels = labels.with(&matcher.name, &matcher.value);
        } else {
            labels = labels.with(&matcher.name, "");
        }
    }
    labels
}
