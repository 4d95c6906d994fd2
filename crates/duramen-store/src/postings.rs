//! From a label to the series that have it. Owns which series a question has to look at: those that have the rarest of the labels
//! which it demands, instead of all.
//!
//! Memory: eight bytes for each label of each series. The term is that of search engines; Prometheus calls it so too.

use std::hash::{DefaultHasher, Hasher as _};

use crate::labels::Labels;

/// What is asked of the labels of series: a test, and labels without which none passes it.
pub(crate) struct Selection<'a> {
    selects: Box<dyn Fn(&Labels) -> bool + 'a>,
    /// Hashes: of each of these sets, whatever is selected has a label.
    demands: Vec<Vec<u32>>,
}

impl<'a> Selection<'a> {
    pub fn new(selects: impl Fn(&Labels) -> bool + 'a) -> Selection<'a> {
        Selection { selects: Box::new(selects), demands: Vec::new() }
    }

    /// What passes another test too.
    pub fn and(self, also: impl Fn(&Labels) -> bool + 'a) -> Selection<'a> {
        let selects = self.selects;
        Selection { selects: Box::new(move |labels| selects(labels) && also(labels)), demands: self.demands }
    }

    /// Whatever the test selects has a label of this name with one of these values.
    pub fn demand<V: AsRef<str>>(&mut self, name: &str, values: &[V]) {
        // A label that is missing counts as an empty one, and stands nowhere.
        if values.iter().all(|value| !value.as_ref().is_empty()) {
            self.demands.push(values.iter().map(|value| hash(name, value.as_ref())).collect());
        }
    }

    /// As [`Selection::demand`], by an expression that must match all of a value.
    pub fn demand_matching(&mut self, name: &str, expression: &str) {
        if let Some(values) = literals(expression) {
            self.demand(name, &values);
        }
    }

    pub fn demands_labels(&self) -> bool {
        !self.demands.is_empty()
    }

    pub fn selects(&self, labels: &Labels) -> bool {
        (self.selects)(labels)
    }
}

/// Which series have a label.
#[derive(Debug, Default)]
pub(crate) struct Postings {
    /// A label's hash, and a series that has it; sorted up to `sorted`.
    pairs: Vec<(u32, u32)>,
    sorted: usize,
}

impl Postings {
    /// Bytes that so many labels take.
    pub fn bytes(labels: usize) -> usize {
        labels * size_of::<(u32, u32)>()
    }

    pub fn add(&mut self, series: u32, labels: &Labels) {
        self.pairs.extend(labels.iter().map(|(name, value)| (hash(name, value), series)));
    }

    /// Makes what was added count.
    pub fn settle(&mut self) {
        if self.sorted < self.pairs.len() {
            // Stable: it finds the part that is sorted, and merges.
            self.pairs.sort();
            self.sorted = self.pairs.len();
        }
    }

    /// The series that a selection may mean, each once, sorted. `None`: it demands no label, so it may be any.
    pub fn candidates(&self, selection: &Selection<'_>) -> Option<Vec<u32>> {
        let settled = &self.pairs[..self.sorted];
        let having = |label: u32| {
            let from = settled.partition_point(|pair| pair.0 < label);
            &settled[from..from + settled[from..].partition_point(|pair| pair.0 == label)]
        };
        let sets = selection.demands.iter().map(|set| set.iter().map(|label| having(*label)).collect::<Vec<_>>());
        let rarest = sets.min_by_key(|set| set.iter().map(|having| having.len()).sum::<usize>())?;
        let mut series: Vec<u32> = rarest.concat().into_iter().map(|pair| pair.1).collect();
        series.sort_unstable();
        series.dedup();
        Some(series)
    }
}

fn hash(name: &str, value: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name.as_bytes());
    // No byte of UTF-8.
    hasher.write_u8(0xff);
    hasher.write(value.as_bytes());
    hasher.finish() as u32
}

/// The texts that an expression matches if it is nothing but a choice of plain ones, as dashboards write it. `None`: it is more.
fn literals(expression: &str) -> Option<Vec<String>> {
    let grouped = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let mut all = vec![String::new()];
    let mut characters = grouped.unwrap_or(expression).chars();
    while let Some(character) = characters.next() {
        let last = all.last_mut()?;
        match character {
            '|' => all.push(String::new()),
            // Other escapes mean more than the character behind them.
            '\\' => last.push(characters.next().filter(|escaped| r"\.+*?()|[]{}^$-/".contains(*escaped))?),
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            plain => last.push(plain),
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str, host: u32) -> Labels {
        Labels::new([("__name__", name.to_string()), ("host", format!("h{host}"))]).unwrap()
    }

    #[test]
    fn the_rarest_label_names_the_candidates() {
        let mut postings = Postings::default();
        let all: Vec<_> = (0..1000).map(|at| labels(["cpu", "mem"][at as usize % 2], at)).collect();
        all.iter().enumerate().for_each(|(at, labels)| postings.add(at as u32, labels));
        postings.settle();
        let asked = |demand: &dyn Fn(&mut Selection<'_>)| {
            let mut selection = Selection::new(|_| true);
            demand(&mut selection);
            postings.candidates(&selection)
        };
        assert_eq!(asked(&|_| ()), None);
        assert_eq!(asked(&|selection| selection.demand("host", &[""])), None, "it may be missing");
        let one = asked(&|selection| {
            selection.demand("__name__", &["cpu"]);
            selection.demand("host", &["h4"]);
        });
        assert_eq!(one, Some(vec![4]));
        assert_eq!(asked(&|selection| selection.demand("host", &["h9999"])), Some(vec![]));
        assert_eq!(asked(&|selection| selection.demand_matching("host", "h7|h3|h7")), Some(vec![3, 7]));
        assert_eq!(asked(&|selection| selection.demand_matching("host", "h7|h3.*")), None);
        assert_eq!(asked(&|selection| selection.demand("__name__", &["mem"])).map(|all| all.len()), Some(500));
        postings.add(1000, &labels("cpu", 4));
        postings.settle();
        let mut selection = Selection::new(|_| true);
        selection.demand("host", &["h4"]);
        assert_eq!(postings.candidates(&selection), Some(vec![4, 1000]));
    }

    #[test]
    fn only_a_choice_of_plain_texts_is_taken_for_one() {
        let told = |expression: &str| literals(expression).map(|all| all.join(","));
        for (expression, expected) in [
            ("a", Some("a")),
            ("a|b-1", Some("a,b-1")),
            ("(a|b)", Some("a,b")),
            (r"10\.0\.0\.1|x", Some("10.0.0.1,x")),
            ("", Some("")),
            ("a|", Some("a,")),
            ("a.b", None),
            ("(a|b)|(c)", None),
            ("(a)b", None),
            (r"\d", None),
            (r"a\", None),
            (r"\<a", None),
            ("a+", None),
            ("(?i)a", None),
            ("[ab]", None),
            ("a{2}", None),
            ("^a$", None),
        ] {
            assert_eq!(told(expression).as_deref(), expected, "{expression}");
        }
    }
}
