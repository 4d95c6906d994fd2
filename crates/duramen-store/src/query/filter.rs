//! What a query asks of a stream's labels, a row's text, a row's fields. Owns the tests, and what a table's token filters can
//! say about them before anything is read.

use regex::bytes::Regex;

use crate::format::table::filter::{hash, is_token_byte, tokens};
use std::fmt;

use crate::labels::Labels;
use crate::postings::Selection;
use crate::row::Fields;

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`: the expression matches all of the value.
    Matches,
    /// `!~`
    NotMatches,
}

impl Operator {
    /// Its sign.
    pub fn sign(self) -> &'static str {
        ["=", "!=", "=~", "!~"][self as usize]
    }
}

/// A comparison of one label, or one field.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    operator: Operator,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// A comparison.
    ///
    /// # Errors
    /// The expression is none.
    pub fn new(name: &str, operator: Operator, value: &str) -> Result<Matcher, regex::Error> {
        let regex = match operator {
            Operator::Equal | Operator::NotEqual => None,
            Operator::Matches | Operator::NotMatches => Some(Regex::new(&format!("^(?:{value})$"))?),
        };
        Ok(Matcher { name: name.to_string(), operator, value: value.to_string(), regex })
    }

    /// Whether a value passes; a missing one counts as empty.
    fn passes(&self, value: Option<&str>) -> bool {
        let value = value.unwrap_or("");
        let matches = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value.as_bytes()));
        match self.operator {
            Operator::Equal => value == self.value,
            Operator::NotEqual => value != self.value,
            Operator::Matches => matches(),
            Operator::NotMatches => !matches(),
        }
    }
}

/// Which streams: all comparisons pass. None: every stream.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// The comparisons.
    pub matchers: Vec<Matcher>,
}

impl Selector {
    /// Whether a stream is meant.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.passes(labels.get(&matcher.name)))
    }

    /// As a test, with the labels that it demands.
    pub(crate) fn selection(&self) -> Selection<'_> {
        let mut selection = Selection::new(|labels| self.selects(labels));
        for Matcher { name, operator, value, .. } in &self.matchers {
            match operator {
                Operator::Equal => selection.demand(name, &[value]),
                Operator::Matches => selection.demand_matching(name, value),
                Operator::NotEqual | Operator::NotMatches => {}
            }
        }
        selection
    }
}

/// As it is written in a query.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{")?;
        for (at, matcher) in self.matchers.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}{}{:?}", matcher.name, matcher.operator.sign(), matcher.value)?;
        }
        write!(f, "}}")
    }
}

/// A comparison of a row's field.
#[derive(Clone, Debug)]
pub struct FieldFilter(pub Matcher);

impl FieldFilter {
    pub(crate) fn passes(&self, fields: Fields<'_>) -> bool {
        self.0.passes(fields.get(&self.0.name))
    }
}

/// A test of a row's text.
#[derive(Clone, Debug)]
pub enum Filter {
    /// It holds these words, in any case, as whole words.
    Word(Word),
    /// `|=`: it holds these bytes.
    Contains(Needle),
    /// `!=`: it does not.
    Lacks(Needle),
    /// `|~`: the expression matches somewhere.
    Matches(Regex),
    /// `!~`: it does not.
    MatchesNot(Regex),
}

/// Whole words in any case.
#[derive(Clone, Debug)]
pub struct Word {
    text: String,
    regex: Regex,
}

impl Word {
    /// Words that follow each other as they are written here.
    ///
    /// # Errors
    /// The text is too long for an expression.
    pub fn new(text: &str) -> Result<Word, regex::Error> {
        Ok(Word { text: text.to_string(), regex: Regex::new(&format!("(?i){}", regex::escape(text)))? })
    }

    fn is_in(&self, text: &[u8]) -> bool {
        let bytes = self.text.as_bytes();
        let inside = |at: usize| text.get(at).copied().is_some_and(is_token_byte);
        let mut from = 0;
        while let Some(found) = self.regex.find_at(text, from) {
            let open =
                found.start() > 0 && bytes.first().copied().is_some_and(is_token_byte) && inside(found.start() - 1);
            let on = bytes.last().copied().is_some_and(is_token_byte) && inside(found.end());
            if !open && !on {
                return true;
            }
            from = found.start() + 1;
        }
        false
    }
}

/// Bytes to look for.
#[derive(Clone, Debug)]
pub struct Needle {
    finder: memchr::memmem::Finder<'static>,
}

impl Needle {
    /// Looks for these.
    pub fn new(bytes: &[u8]) -> Needle {
        Needle { finder: memchr::memmem::Finder::new(bytes).into_owned() }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        self.finder.find(text).is_some()
    }
}

impl Filter {
    /// Whether a row's text passes.
    pub fn passes(&self, text: &[u8]) -> bool {
        match self {
            Filter::Word(word) => word.is_in(text),
            Filter::Contains(needle) => needle.is_in(text),
            Filter::Lacks(needle) => !needle.is_in(text),
            Filter::Matches(regex) => regex.is_match(text),
            Filter::MatchesNot(regex) => !regex.is_match(text),
        }
    }

    /// Whether some row of a block may pass, seen from the text of all its rows behind each other.
    pub(crate) fn may_pass_in(&self, text: &[u8]) -> bool {
        match self {
            Filter::Word(word) => word.regex.is_match(text),
            Filter::Contains(needle) => needle.is_in(text),
            _ => true,
        }
    }

    /// The hashes of tokens that every row that passes has.
    pub(crate) fn tokens(&self, out: &mut Vec<u64>) {
        match self {
            Filter::Word(word) => out.extend(tokens(word.text.as_bytes()).map(hash)),
            Filter::Contains(needle) => {
                // A token at an end may go on beyond it.
                let bytes = needle.finder.needle();
                let first = bytes.iter().position(|&byte| !is_token_byte(byte));
                let last = bytes.iter().rposition(|&byte| !is_token_byte(byte));
                if let (Some(first), Some(last)) = (first, last) {
                    out.extend(tokens(&bytes[first..last]).map(hash));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole_and_in_any_case() {
        let passes = |word: &str, text: &str| Filter::Word(Word::new(word).unwrap()).passes(text.as_bytes());
        assert!(passes("error", "an Error: no"));
        assert!(!passes("error", "errors"));
        assert!(passes("error", "errors, error"));
        assert!(!passes("error", "my_error"));
        assert!(passes("connection refused", "sshd: Connection refused (111)"));
        assert!(passes("[4242]", "sshd[4242]:"));
        assert!(passes("a.b", "x a.b"));
        assert!(!passes("a.b", "axb"));
    }

    #[test]
    fn a_filter_names_only_tokens_that_every_match_has() {
        let named = |filter: Filter| {
            let mut all = Vec::new();
            filter.tokens(&mut all);
            all
        };
        let needle = |text: &str| named(Filter::Contains(Needle::new(text.as_bytes())));
        assert_eq!(needle("blk_38"), Vec::<u64>::new(), "it may be a part of a longer one");
        assert_eq!(needle("user ana took"), [hash(b"ana")]);
        assert_eq!(needle(" ana "), [hash(b"ana")]);
        assert_eq!(needle("ana"), Vec::<u64>::new());
        assert_eq!(named(Filter::Word(Word::new("Ana took").unwrap())), [hash(b"ana"), hash(b"took")]);
        assert_eq!(named(Filter::Lacks(Needle::new(b" ana "))), Vec::<u64>::new());
    }

    #[test]
    fn comparisons_take_a_missing_value_for_an_empty_one() {
        let labels = Labels::new([("app", "nginx"), ("host", "web1")]).unwrap();
        let selects = |name: &str, operator, value: &str| {
            Selector { matchers: vec![Matcher::new(name, operator, value).unwrap()] }.selects(&labels)
        };
        assert!(selects("app", Operator::Equal, "nginx"));
        assert!(selects("host", Operator::Matches, "web[0-9]"));
        assert!(!selects("host", Operator::Matches, "web"), "an expression matches all of a value");
        assert!(selects("none", Operator::Equal, ""));
        assert!(selects("none", Operator::NotEqual, "x"));
        assert!(!selects("host", Operator::NotMatches, "web.*"));
        assert!(Matcher::new("a", Operator::Matches, "(").is_err());
    }
}
