//! Evaluates a plan: every part for all steps at once, series by series. Owns times, columns and the dispatch; what a part computes
//! is in the modules beside.
//!
//! A vector's series is a [`Column`]: one number for each step, [`ABSENT`] where the series has none. The number of values held is
//! counted in the budget before they are allocated, and given back when a part has consumed them.

mod aggregate;
mod binary;
mod extrapolate;
mod functions;
mod histogram;
mod over;
mod relabel;
mod select;

use std::collections::BTreeMap;

use super::error::{Complaint, Error};
use super::label::LabelSet;
use super::limits::Budget;
use super::plan::{At, Kind, Node, ValueType, When};
use super::source::{STALE_BITS, Source, Windows};
use super::{Options, parse};

/// What a column holds at a step without a value. No value is ever equal to it, bit by bit: those of samples are replaced when
/// they are read, and arithmetic does not make them.
pub(super) const ABSENT: f64 = f64::from_bits(STALE_BITS);

pub(super) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// The steps of an evaluation, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub start: i64,
    pub step: i64,
    pub count: usize,
}

impl Times {
    pub(super) fn at(&self, index: usize) -> i64 {
        self.windows().end(index)
    }

    fn windows(&self) -> Windows {
        Windows { first_end: self.start, step: self.step, count: self.count, range: 0 }
    }
}

/// One series of a vector, for all steps.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub labels: LabelSet,
    pub values: Vec<f64>,
}

impl Column {
    fn is_empty(&self) -> bool {
        self.values.iter().all(|value| is_absent(*value))
    }
}

/// What a part amounts to.
pub(super) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Column>),
}

/// One evaluation.
pub(super) struct Evaluator<'a> {
    text: &'a str,
    source: &'a dyn Source,
    options: &'a Options<'a>,
    /// Start and end of the whole query, which `@ start()` and `@ end()` mean; the end may lie after the last step.
    bounds: (i64, i64),
    pub(super) budget: Budget<'a>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        text: &'a str,
        source: &'a dyn Source,
        options: &'a Options<'a>,
        bounds: (i64, i64),
    ) -> Evaluator<'a> {
        Evaluator { text, source, options, bounds, budget: Budget::new(options.limits) }
    }

    pub(super) fn value(&mut self, node: &Node, times: &Times) -> Result<Value, Error> {
        match &node.kind {
            Kind::Number(number) => Ok(Value::Scalar(self.constant(*number, times)?)),
            Kind::Selector(selector) => self.selector(selector, times).map(Value::Vector),
            Kind::Negation(inner) => self.negation(node.at, inner, times),
            Kind::Binary(binary) => self.binary(node.at, binary, times),
            Kind::Aggregation(aggregation) => self.aggregation(node.at, aggregation, times).map(Value::Vector),
            Kind::Call(call) => self.call(node.at, call, times),
            Kind::Text(_) | Kind::Ranged(_) => Err(self.wrong_type(node, "a scalar or an instant vector")),
        }
    }

    pub(super) fn vector(&mut self, node: &Node, times: &Times) -> Result<Vec<Column>, Error> {
        match self.value(node, times)? {
            Value::Vector(columns) => Ok(columns),
            Value::Scalar(_) => Err(self.wrong_type(node, "an instant vector")),
        }
    }

    fn scalar(&mut self, node: &Node, times: &Times) -> Result<Vec<f64>, Error> {
        match self.value(node, times)? {
            Value::Scalar(values) => Ok(values),
            Value::Vector(_) => Err(self.wrong_type(node, "a scalar")),
        }
    }

    fn literal<'n>(&self, node: &'n Node) -> Result<&'n str, Error> {
        match &node.kind {
            Kind::Text(text) => Ok(text),
            _ => Err(self.wrong_type(node, "a string")),
        }
    }

    fn wrong_type(&self, node: &Node, wanted: &str) -> Error {
        let found: ValueType = node.value_type();
        let reason = format!("expected {wanted}, found {}", parse::name_of(found));
        Error::Syntax(Complaint::new(self.text, node.at, reason))
    }

    fn execution(&self, at: usize, reason: impl Into<String>) -> Error {
        Error::Execution(Complaint::new(self.text, at, reason))
    }

    /// One number at every step.
    fn constant(&mut self, number: f64, times: &Times) -> Result<Vec<f64>, Error> {
        self.budget.samples(times.count)?;
        Ok(vec![number; times.count])
    }

    /// A column without a value yet.
    fn empty_column(&mut self, labels: LabelSet, times: &Times) -> Result<Column, Error> {
        Ok(Column { labels, values: self.constant(ABSENT, times)? })
    }

    fn release(&mut self, columns: &[Column]) {
        let values: usize = columns.iter().map(|column| column.values.len()).sum();
        self.budget.release(values);
    }

    fn negation(&mut self, at: usize, inner: &Node, times: &Times) -> Result<Value, Error> {
        Ok(match self.value(inner, times)? {
            Value::Scalar(values) => Value::Scalar(values.into_iter().map(|value| -value).collect()),
            Value::Vector(columns) => Value::Vector(self.map(at, columns, |value| -value)?),
        })
    }

    /// Computes one value from one value, everywhere. The metric is not what it was: its name goes.
    fn map(&mut self, at: usize, mut columns: Vec<Column>, compute: impl Fn(f64) -> f64) -> Result<Vec<Column>, Error> {
        for column in &mut columns {
            self.budget.work(column.values.len())?;
            for value in column.values.iter_mut().filter(|value| !is_absent(**value)) {
                *value = compute(*value);
            }
            column.labels = column.labels.without_name();
        }
        self.merged(at, columns)
    }

    /// Leaves out series without a value, and makes one of those that became alike.
    ///
    /// # Errors
    /// Two of them have a value at one step.
    fn merged(&mut self, at: usize, columns: Vec<Column>) -> Result<Vec<Column>, Error> {
        let mut places: BTreeMap<LabelSet, usize> = BTreeMap::new();
        let mut merged: Vec<Column> = Vec::with_capacity(columns.len());
        for column in columns {
            self.budget.work(column.values.len())?;
            if column.is_empty() {
                self.budget.release(column.values.len());
                continue;
            }
            if let Some(&place) = places.get(&column.labels) {
                for (into, value) in merged[place].values.iter_mut().zip(&column.values) {
                    if is_absent(*value) {
                        continue;
                    }
                    if !is_absent(*into) {
                        let reason = format!("vector cannot contain metrics with the same labelset: {}", column.labels);
                        return Err(self.execution(at, reason));
                    }
                    *into = *value;
                }
                self.budget.release(column.values.len());
            } else {
                places.insert(column.labels.clone(), merged.len());
                merged.push(column);
            }
        }
        self.budget.series(merged.len())?;
        Ok(merged)
    }

    /// The windows that a selector's modifiers make of the steps; one for all of them if it has its own time.
    fn windows(&self, when: &When, range: i64, times: &Times) -> Windows {
        let fixed = when.at.map(|at| match at {
            At::Start => self.bounds.0,
            At::End => self.bounds.1,
            At::Time(time) => time,
        });
        let first_end = fixed.unwrap_or(times.start).saturating_sub(when.offset);
        match fixed {
            Some(_) => Windows { first_end, step: 0, count: 1, range },
            None => Windows { first_end, step: times.step, count: times.count, range },
        }
    }
}

/// What belongs to one window, said at every step.
fn at_every_step(mut values: Vec<f64>, times: &Times) -> Vec<f64> {
    if values.len() == 1 {
        values.resize(times.count, values[0]);
    }
    values
}
