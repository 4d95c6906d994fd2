//! Label sets as the evaluation makes them, and what selects them. Owns Prometheus' rules: an empty value is no label, and the
//! name of the metric is a label; knows no stream and no index.

use std::fmt;
use std::sync::Arc;

use regex::Regex;

use super::pattern;

/// The label that holds the name of the metric.
pub const NAME: &str = "__name__";
/// The label that holds the upper bound of a bucket.
pub(super) const BUCKET: &str = "le";

/// The labels of one series of a result: pairs sorted by name, each name once, no value empty. There may be none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSet {
    pairs: Arc<[(Arc<str>, Arc<str>)]>,
}

impl LabelSet {
    /// Makes a set of pairs in any order. Of two pairs with one name the last counts; pairs without a value do not.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> LabelSet {
        let pairs = pairs.into_iter().map(|(name, value)| (Arc::from(name.as_ref()), Arc::from(value.as_ref())));
        LabelSet::sorted(pairs.collect())
    }

    fn sorted(mut pairs: Vec<(Arc<str>, Arc<str>)>) -> LabelSet {
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|a, b| a.0 == b.0);
        pairs.retain(|pair| !pair.1.is_empty());
        LabelSet { pairs: pairs.into() }
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// A label's value; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.binary_search_by(|pair| (*pair.0).cmp(name)).map_or("", |at| &self.pairs[at].1)
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The labels whose names pass.
    pub(super) fn filter(&self, keep: impl Fn(&str) -> bool) -> LabelSet {
        if self.pairs.iter().all(|pair| keep(&pair.0)) {
            return self.clone();
        }
        LabelSet { pairs: self.pairs.iter().filter(|pair| keep(&pair.0)).cloned().collect() }
    }

    /// All labels but the metric's name.
    pub(super) fn without_name(&self) -> LabelSet {
        self.filter(|name| name != NAME)
    }

    /// With one label set, or removed if the value is empty.
    pub(super) fn with(&self, name: &str, value: &str) -> LabelSet {
        let mut pairs = self.pairs.to_vec();
        pairs.push((Arc::from(name), Arc::from(value)));
        LabelSet::sorted(pairs)
    }
}

impl From<&crate::Labels> for LabelSet {
    fn from(labels: &crate::Labels) -> LabelSet {
        LabelSet::new(labels.iter())
    }
}

impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

/// How a matcher compares.
#[derive(Clone, Debug)]
pub enum MatchOperator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`: the whole value matches.
    Matches(Regex),
    /// `!~`
    MatchesNot(Regex),
}

/// One condition of a selector. A label that a series does not have counts as an empty one.
#[derive(Clone, Debug)]
pub struct LabelMatcher {
    /// The label's name; [`NAME`] for the metric's.
    pub name: String,
    /// How its value is compared.
    pub operator: MatchOperator,
    /// What with, as it was written.
    pub value: String,
}

impl LabelMatcher {
    /// A matcher for one value.
    pub fn equal(name: &str, value: &str) -> LabelMatcher {
        LabelMatcher { name: name.into(), operator: MatchOperator::Equal, value: value.into() }
    }

    /// A matcher for a regular expression, fully anchored.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn regex(name: &str, value: &str) -> Result<LabelMatcher, String> {
        let operator = MatchOperator::Matches(pattern::anchored(value)?);
        Ok(LabelMatcher { name: name.into(), operator, value: value.into() })
    }

    /// Whether a value passes; empty for a label that is not there.
    pub fn matches_value(&self, value: &str) -> bool {
        match &self.operator {
            MatchOperator::Equal => self.value == value,
            MatchOperator::NotEqual => self.value != value,
            MatchOperator::Matches(regex) => regex.is_match(value),
            MatchOperator::MatchesNot(regex) => !regex.is_match(value),
        }
    }

    /// Whether a series passes.
    pub fn matches(&self, labels: &LabelSet) -> bool {
        self.matches_value(labels.get(&self.name))
    }
}

impl fmt::Display for LabelMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.operator {
            MatchOperator::Equal => "=",
            MatchOperator::NotEqual => "!=",
            MatchOperator::Matches(_) => "=~",
            MatchOperator::MatchesNot(_) => "!~",
        };
        write!(f, "{}{operator}{:?}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_and_has_no_empty_value() {
        let set = LabelSet::new([("b", "2"), ("a", "1"), ("c", ""), ("a", "3")]);
        assert_eq!(set.to_string(), r#"{a="3", b="2"}"#);
        assert_eq!((set.get("a"), set.get("c"), set.get("z")), ("3", "", ""));
        assert_eq!(set.with("a", "").with("d", "4").to_string(), r#"{b="2", d="4"}"#);
        assert_eq!(LabelSet::new([(NAME, "x"), ("a", "1")]).without_name(), LabelSet::new([("a", "1")]));
        let labels = crate::Labels::new([("host", "web1"), ("empty", "")]).unwrap();
        assert_eq!(LabelSet::from(&labels).to_string(), r#"{host="web1"}"#);
        assert!(LabelSet::default().is_empty());
    }

    #[test]
    fn a_regex_matches_the_whole_value() {
        let matcher = LabelMatcher::regex("a", "1|22").unwrap();
        for (value, expected) in [("1", true), ("22", true), ("122", false), ("", false)] {
            assert_eq!(matcher.matches(&LabelSet::new([("a", value)])), expected, "{value}");
        }
        assert!(LabelMatcher::equal("a", "").matches(&LabelSet::default()), "a label that is missing is empty");
        assert!(LabelMatcher::regex("a", "(").is_err());
    }
}
