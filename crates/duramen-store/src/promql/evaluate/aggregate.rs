//! Aggregations over the series of a vector. Owns groups and their order; the arithmetic is in [`numbers`].

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::super::error::Error;
use super::super::label::LabelSet;
use super::super::numbers;
use super::super::plan::{Aggregation, Operation};
use super::{ABSENT, Column, Evaluator, Times, is_absent};

/// Series that are aggregated into one, by their places.
struct Group {
    labels: LabelSet,
    members: Vec<usize>,
}

impl Evaluator<'_> {
    pub(super) fn aggregation(
        &mut self,
        at: usize,
        aggregation: &Aggregation,
        times: &Times,
    ) -> Result<Vec<Column>, Error> {
        let columns = self.vector(&aggregation.inner, times)?;
        if aggregation.operation == Operation::CountValues {
            return self.count_values(aggregation, columns, times);
        }
        let parameter = match &aggregation.parameter {
            Some(parameter) => self.scalar(parameter, times)?,
            None => Vec::new(),
        };
        let groups = grouped(aggregation, &columns);
        let results = match aggregation.operation {
            Operation::Top | Operation::Bottom => {
                let best = Best { at, top: aggregation.operation == Operation::Top, counts: &parameter };
                self.best(&best, &groups, &columns, times)?
            }
            operation => self.fold(operation, &parameter, &groups, &columns, times)?,
        };
        self.budget.release(parameter.len());
        self.release(&columns);
        Ok(results)
    }

    /// One number for each group and step.
    fn fold(
        &mut self,
        operation: Operation,
        parameter: &[f64],
        groups: &[Group],
        columns: &[Column],
        times: &Times,
    ) -> Result<Vec<Column>, Error> {
        let mut results = Vec::with_capacity(groups.len());
        let mut gathered = Vec::new();
        for group in groups {
            let mut result = self.empty_column(group.labels.clone(), times)?;
            for (step, value) in result.values.iter_mut().enumerate() {
                self.budget.work(group.members.len())?;
                gathered.clear();
                let members = group.members.iter().map(|member| columns[*member].values[step]);
                gathered.extend(members.filter(|value| !is_absent(*value)));
                if !gathered.is_empty() {
                    let parameter = parameter.get(step).copied().unwrap_or(f64::NAN);
                    *value = folded(operation, parameter, &mut gathered);
                }
            }
            results.push(result);
        }
        Ok(results)
    }

    /// `topk` and `bottomk`: the series themselves, at the steps at which they are among the best.
    fn best(
        &mut self,
        best: &Best<'_>,
        groups: &[Group],
        columns: &[Column],
        times: &Times,
    ) -> Result<Vec<Column>, Error> {
        if let Some(reason) = best.counts.iter().find_map(|count| no_count(*count)) {
            return Err(self.execution(best.at, reason));
        }
        let mut results: Vec<Column> = Vec::new();
        let mut candidates = Vec::new();
        for group in groups {
            // Only the chosen get a column, in the order in which they first were.
            let mut places: BTreeMap<usize, usize> = BTreeMap::new();
            for step in 0..times.count {
                self.budget.work(group.members.len())?;
                let members = group.members.iter().map(|member| (columns[*member].values[step], *member));
                candidates.clear();
                candidates.extend(members.filter(|candidate| !is_absent(candidate.0)));
                for (value, member) in best.of(&candidates, best.counts[step]) {
                    let place = match places.get(&member) {
                        Some(place) => *place,
                        None => {
                            results.push(self.empty_column(columns[member].labels.clone(), times)?);
                            places.insert(member, results.len() - 1);
                            results.len() - 1
                        }
                    };
                    results[place].values[step] = value;
                }
            }
        }
        Ok(results)
    }

    /// How many series have each value, which becomes a label.
    fn count_values(
        &mut self,
        aggregation: &Aggregation,
        columns: Vec<Column>,
        times: &Times,
    ) -> Result<Vec<Column>, Error> {
        let (name, at) = match &aggregation.parameter {
            Some(parameter) => (self.literal(parameter)?, parameter.at),
            None => ("", 0),
        };
        if name.is_empty() {
            return Err(self.execution(at, "the name of a label is not empty"));
        }
        let mut places: BTreeMap<LabelSet, usize> = BTreeMap::new();
        let mut results: Vec<Column> = Vec::new();
        for column in &columns {
            for (step, value) in column.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
                self.budget.work(1)?;
                let labels = column.labels.with(name, &written(*value));
                let labels =
                    labels.filter(|label| aggregation.grouping.keeps(label) || is_added(aggregation, label, name));
                let place = match places.get(&labels) {
                    Some(place) => *place,
                    None => {
                        self.budget.series(results.len() + 1)?;
                        results.push(self.empty_column(labels.clone(), times)?);
                        places.insert(labels, results.len() - 1);
                        results.len() - 1
                    }
                };
                let count = &mut results[place].values[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
        self.release(&columns);
        Ok(results)
    }
}

/// `by` keeps the label of the value too; `without` drops it if it says so.
fn is_added(aggregation: &Aggregation, label: &str, name: &str) -> bool {
    label == name && matches!(aggregation.grouping, super::super::plan::Grouping::By(_))
}

/// A value as a label: as short as it can be without an exponent.
fn written(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_string(),
        f64::NEG_INFINITY => "-Inf".to_string(),
        _ => value.to_string(),
    }
}

/// Groups in the order of their first series.
fn grouped(aggregation: &Aggregation, columns: &[Column]) -> Vec<Group> {
    let mut places: BTreeMap<LabelSet, usize> = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (member, column) in columns.iter().enumerate() {
        let labels = column.labels.filter(|name| aggregation.grouping.keeps(name));
        match places.get(&labels) {
            Some(place) => groups[*place].members.push(member),
            None => {
                places.insert(labels.clone(), groups.len());
                groups.push(Group { labels, members: vec![member] });
            }
        }
    }
    groups
}

fn folded(operation: Operation, parameter: f64, values: &mut [f64]) -> f64 {
    match operation {
        Operation::Sum => numbers::sum(values),
        Operation::Average => numbers::mean(values),
        Operation::Minimum => numbers::minimum(values),
        Operation::Maximum => numbers::maximum(values),
        Operation::Count => values.len() as f64,
        Operation::Group => 1.0,
        Operation::StandardDeviation => numbers::variance(values).sqrt(),
        Operation::StandardVariance => numbers::variance(values),
        Operation::Quantile => numbers::quantile(parameter, values),
        Operation::Top | Operation::Bottom | Operation::CountValues => ABSENT,
    }
}

/// Why a number does not say how many are wanted. Prometheus takes of floating point what fits Go's int64, its ends left out.
fn no_count(count: f64) -> Option<&'static str> {
    const INT64_MAX: f64 = 9_223_372_036_854_774_784.0;
    match count {
        count if count.is_nan() => Some("how many are wanted is NaN"),
        INT64_MAX.. => Some("how many are wanted overflows int64"),
        ..=-9_223_372_036_854_775_808.0 => Some("how many are wanted underflows int64"),
        _ => None,
    }
}

/// How the best are chosen.
struct Best<'a> {
    at: usize,
    top: bool,
    /// How many, at each step.
    counts: &'a [f64],
}

impl Best<'_> {
    /// Whether one value goes before another: NaN first, then the worse.
    fn worse(&self, a: f64, b: f64) -> bool {
        match self.top {
            _ if a.is_nan() => true,
            true => a < b,
            false => a > b,
        }
    }

    /// The best candidates, best first. Which of equal ones is left out is decided by the same heap as in Prometheus.
    fn of(&self, candidates: &[(f64, usize)], count: f64) -> Vec<(f64, usize)> {
        if count < 1.0 {
            return Vec::new();
        }
        let count = (count as usize).min(candidates.len());
        let mut heap: Vec<(f64, usize)> = Vec::with_capacity(count);
        for &candidate in candidates {
            if heap.len() < count {
                heap.push(candidate);
                self.rise(&mut heap);
            } else if candidate.0.is_nan() {
                continue;
            } else if heap[0].0.is_nan() || self.worse(heap[0].0, candidate.0) {
                heap[0] = candidate;
                self.sink(&mut heap);
            }
        }
        heap.sort_by(|a, b| match (self.worse(a.0, b.0), self.worse(b.0, a.0)) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => Ordering::Equal,
        });
        heap
    }

    fn rise(&self, heap: &mut [(f64, usize)]) {
        let mut at = heap.len() - 1;
        while at > 0 && self.worse(heap[at].0, heap[(at - 1) / 2].0) {
            heap.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn sink(&self, heap: &mut [(f64, usize)]) {
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child >= heap.len() {
                return;
            }
            if child + 1 < heap.len() && self.worse(heap[child + 1].0, heap[child].0) {
                child += 1;
            }
            if !self.worse(heap[child].0, heap[at].0) {
                return;
            }
            heap.swap(at, child);
            at = child;
        }
    }
}
