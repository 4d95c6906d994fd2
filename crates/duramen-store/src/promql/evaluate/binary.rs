//! Operators between two operands. Owns vector matching: which series of one side meet which of the other, and what the result is
//! called.

use std::collections::BTreeMap;

use super::super::error::{Complaint, Error};
use super::super::label::LabelSet;
use super::super::plan::{Binary, Cardinality, Matching, Operator};
use super::{ABSENT, Column, Evaluator, Times, Value, is_absent};

impl Evaluator<'_> {
    pub(super) fn binary(&mut self, at: usize, binary: &Binary, times: &Times) -> Result<Value, Error> {
        let left = self.value(&binary.left, times)?;
        let right = self.value(&binary.right, times)?;
        match (left, right) {
            (Value::Scalar(left), Value::Scalar(right)) => {
                self.budget.release(times.count);
                let pairs = left.into_iter().zip(right);
                Ok(Value::Scalar(pairs.map(|(left, right)| scalars(binary.operator, left, right)).collect()))
            }
            (Value::Vector(columns), Value::Scalar(numbers)) => {
                self.with_scalar(at, binary, columns, &numbers, Side::Right).map(Value::Vector)
            }
            (Value::Scalar(numbers), Value::Vector(columns)) => {
                self.with_scalar(at, binary, columns, &numbers, Side::Left).map(Value::Vector)
            }
            (Value::Vector(left), Value::Vector(right)) if binary.operator.is_set() => {
                self.sets(at, binary, left, right).map(Value::Vector)
            }
            (Value::Vector(left), Value::Vector(right)) => {
                self.vectors(at, binary, left, right, times).map(Value::Vector)
            }
        }
    }

    /// A vector with a scalar on one side of it.
    fn with_scalar(
        &mut self,
        at: usize,
        binary: &Binary,
        mut columns: Vec<Column>,
        numbers: &[f64],
        scalar: Side,
    ) -> Result<Vec<Column>, Error> {
        let renamed = drops_name(binary);
        for column in &mut columns {
            self.budget.work(column.values.len())?;
            for (value, number) in column.values.iter_mut().zip(numbers).filter(|(value, _)| !is_absent(**value)) {
                let result = match scalar {
                    Side::Left => apply(binary, *number, *value),
                    Side::Right => apply(binary, *value, *number),
                };
                *value = match result {
                    // What a comparison lets pass is the vector's value, wherever that stands.
                    Applied::Passed => *value,
                    Applied::Value(result) => result,
                    Applied::Nothing => ABSENT,
                };
            }
            if renamed {
                column.labels = column.labels.without_name();
            }
        }
        self.budget.release(numbers.len());
        self.merged(at, columns)
    }

    /// Two vectors under an arithmetic operator or a comparison.
    fn vectors(
        &mut self,
        at: usize,
        binary: &Binary,
        left: Vec<Column>,
        right: Vec<Column>,
        times: &Times,
    ) -> Result<Vec<Column>, Error> {
        let many =
            if matches!(binary.matching.cardinality, Cardinality::OneToMany(_)) { Side::Right } else { Side::Left };
        let (many_side, one_side) = if many == Side::Left { (&left, &right) } else { (&right, &left) };
        let groups = self.groups(&binary.matching, one_side)?;
        self.check_one(at, many, many_side, one_side, &groups, times)?;
        let mut results = Vec::new();
        // In one-to-one matching, the steps at which a group has its result.
        let mut taken: BTreeMap<LabelSet, Vec<bool>> = BTreeMap::new();
        for from_many in many_side {
            let signature = from_many.labels.filter(|name| binary.matching.counts(name));
            for &one in groups.get(&signature).map_or(&[][..], |ones| ones) {
                let from_one = &one_side[one];
                let labels = result_labels(binary, &from_many.labels, &from_one.labels);
                let mut column = self.empty_column(labels, times)?;
                let pairs = from_many.values.iter().zip(&from_one.values);
                for (value, (from_many, from_one)) in column.values.iter_mut().zip(pairs) {
                    if is_absent(*from_many) || is_absent(*from_one) {
                        continue;
                    }
                    let (left, right) =
                        if many == Side::Left { (*from_many, *from_one) } else { (*from_one, *from_many) };
                    *value = match apply(binary, left, right) {
                        Applied::Passed => left,
                        Applied::Value(result) => result,
                        Applied::Nothing => ABSENT,
                    };
                }
                if matches!(binary.matching.cardinality, Cardinality::OneToOne) {
                    let taken = taken.entry(signature.clone()).or_insert_with(|| vec![false; times.count]);
                    for (taken, _) in taken.iter_mut().zip(&column.values).filter(|(_, value)| !is_absent(**value)) {
                        if std::mem::replace(taken, true) {
                            let reason = format!(
                                "multiple matches for labels {signature}: many-to-one matching must be explicit \
                                 (group_left/group_right)"
                            );
                            return Err(self.execution(at, reason));
                        }
                    }
                }
                results.push(column);
            }
        }
        self.release(&left);
        self.release(&right);
        let one_to_one = matches!(binary.matching.cardinality, Cardinality::OneToOne);
        self.merged(at, results).map_err(|error| match error {
            Error::Execution(complaint) if !one_to_one => Error::Execution(Complaint {
                reason: "multiple matches for labels: grouping labels must ensure unique matches".to_string(),
                ..complaint
            }),
            other => other,
        })
    }

    /// Places of columns by the labels that count.
    fn groups(&mut self, matching: &Matching, columns: &[Column]) -> Result<BTreeMap<LabelSet, Vec<usize>>, Error> {
        let mut groups: BTreeMap<LabelSet, Vec<usize>> = BTreeMap::new();
        for (place, column) in columns.iter().enumerate() {
            self.budget.work(1)?;
            groups.entry(column.labels.filter(|name| matching.counts(name))).or_default().push(place);
        }
        Ok(groups)
    }

    /// At no step may a group have two series on the side of the one, if there is anything to match them with.
    fn check_one(
        &mut self,
        at: usize,
        many: Side,
        many_side: &[Column],
        one_side: &[Column],
        groups: &BTreeMap<LabelSet, Vec<usize>>,
        times: &Times,
    ) -> Result<(), Error> {
        for (signature, ones) in groups.iter().filter(|(_, ones)| ones.len() > 1) {
            let mut found: Vec<Option<usize>> = vec![None; times.count];
            for &one in ones {
                self.budget.work(times.count)?;
                for (step, _) in one_side[one].values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
                    let Some(other) = found[step].replace(one) else { continue };
                    if many_side.iter().all(|column| is_absent(column.values[step])) {
                        continue;
                    }
                    let side = if many == Side::Left { "right" } else { "left" };
                    let reason = format!(
                        "found duplicate series for the match group {signature} on the {side} hand-side of the operation: \
                         [{}, {}]; many-to-many matching not allowed: matching labels must be unique on one side",
                        one_side[other].labels, one_side[one].labels
                    );
                    return Err(self.execution(at, reason));
                }
            }
        }
        Ok(())
    }

    /// `and`, `or` and `unless`.
    fn sets(
        &mut self,
        at: usize,
        binary: &Binary,
        mut left: Vec<Column>,
        mut right: Vec<Column>,
    ) -> Result<Vec<Column>, Error> {
        let (filtered, other) = if binary.operator == Operator::Or { (&mut right, &left) } else { (&mut left, &right) };
        let mut present: BTreeMap<LabelSet, Vec<bool>> = BTreeMap::new();
        for column in other {
            self.budget.work(column.values.len())?;
            let signature = column.labels.filter(|name| binary.matching.counts(name));
            let steps = present.entry(signature).or_insert_with(|| vec![false; column.values.len()]);
            for (step, value) in steps.iter_mut().zip(&column.values) {
                *step |= !is_absent(*value);
            }
        }
        let keeps = binary.operator == Operator::And;
        for column in filtered.iter_mut() {
            self.budget.work(column.values.len())?;
            let met = present.get(&column.labels.filter(|name| binary.matching.counts(name)));
            for (step, value) in column.values.iter_mut().enumerate() {
                if met.is_some_and(|steps| steps[step]) != keeps {
                    *value = ABSENT;
                }
            }
        }
        if binary.operator == Operator::Or {
            left.append(&mut right);
        } else {
            self.release(&right);
        }
        self.merged(at, left)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// What an operator makes of two values.
enum Applied {
    Value(f64),
    /// A comparison holds, and the value stays.
    Passed,
    /// A comparison does not hold.
    Nothing,
}

fn apply(binary: &Binary, left: f64, right: f64) -> Applied {
    let operator = binary.operator;
    if !operator.is_comparison() {
        return Applied::Value(arithmetic(operator, left, right));
    }
    match (holds(operator, left, right), binary.return_bool) {
        (holds, true) => Applied::Value(f64::from(u8::from(holds))),
        (true, false) => Applied::Passed,
        (false, false) => Applied::Nothing,
    }
}

fn scalars(operator: Operator, left: f64, right: f64) -> f64 {
    if operator.is_comparison() {
        f64::from(u8::from(holds(operator, left, right)))
    } else {
        arithmetic(operator, left, right)
    }
}

fn arithmetic(operator: Operator, left: f64, right: f64) -> f64 {
    match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::Modulo => left % right,
        Operator::Power => left.powf(right),
        Operator::Atan2 => left.atan2(right),
        _ => f64::NAN,
    }
}

fn holds(operator: Operator, left: f64, right: f64) -> bool {
    match operator {
        Operator::Equal => left == right,
        Operator::NotEqual => left != right,
        Operator::Less => left < right,
        Operator::LessOrEqual => left <= right,
        Operator::Greater => left > right,
        Operator::GreaterOrEqual => left >= right,
        _ => false,
    }
}

fn drops_name(binary: &Binary) -> bool {
    !binary.operator.is_comparison() || binary.return_bool
}

fn result_labels(binary: &Binary, many: &LabelSet, one: &LabelSet) -> LabelSet {
    let matching = &binary.matching;
    let mut labels = if drops_name(binary) { many.without_name() } else { many.clone() };
    match &matching.cardinality {
        Cardinality::OneToOne => {
            let listed = |name: &str| matching.labels.iter().any(|label| label == name);
            labels.filter(|name| listed(name) == matching.on)
        }
        Cardinality::ManyToOne(included) | Cardinality::OneToMany(included) => {
            for name in included {
                labels = labels.with(name, one.get(name));
            }
            labels
        }
    }
}
