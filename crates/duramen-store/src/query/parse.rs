//! How a query is written: a selector of streams, then what rows must hold, one thing after another. Owns the grammar; an error
//! points at its place. Pure.
//!
//! ```text
//! query    = [ selector ] { item }
//! selector = "{" [ matcher { "," matcher } ] "}"
//! matcher  = name ( "=" | "!=" | "=~" | "!~" ) string
//! item     = word | string                        whole words, in any case
//!          | ( "|=" | "!=" | "|~" | "!~" ) string what the text must or must not hold or match
//!          | "level" ( "=" | ">=" ) level         as grave, or at least as grave
//!          | name ( "=" | "!=" | "=~" | "!~" ) value   a field
//! string   = '"' with \" \\ \n \t inside '"'  |  '`' as it is '`'
//! ```

use std::fmt;
use std::str::FromStr;

use regex::bytes::Regex;

use crate::labels::is_name;
use crate::query::Query;
use crate::query::filter::{FieldFilter, Filter, Matcher, Needle, Operator, Selector, Word};
use crate::row::Level;

/// Why a query cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The query.
    pub query: String,
    /// Where the bad part begins, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.query.get(..self.at).map_or(0, |before| before.chars().count());
        let line = self.query.replace(['\n', '\t'], " ");
        write!(f, "{}\n{line}\n{:before$}^", self.reason, "")
    }
}

impl std::error::Error for ParseError {}

impl FromStr for Query {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Query, ParseError> {
        let mut parser = Parser { text, at: 0 };
        let mut query = Query::default();
        parser.skip_space();
        if parser.eat("{") {
            query.selector = parser.selector()?;
        }
        loop {
            parser.skip_space();
            if parser.rest().is_empty() {
                return Ok(query);
            }
            parser.item(&mut query)?;
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError { query: self.text.to_string(), at, reason: reason.into() })
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// The longest beginning of characters that pass.
    fn take_while(&mut self, pass: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !pass(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn operator(&mut self) -> Option<Operator> {
        let all = [
            ("=~", Operator::Matches),
            ("!~", Operator::NotMatches),
            ("!=", Operator::NotEqual),
            ("=", Operator::Equal),
        ];
        all.into_iter().find(|(text, _)| self.eat(text)).map(|(_, operator)| operator)
    }

    fn selector(&mut self) -> Result<Selector, ParseError> {
        let mut selector = Selector::default();
        loop {
            self.skip_space();
            if self.eat("}") {
                return Ok(selector);
            }
            let at = self.at;
            let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name(name) {
                return self.fail(at, "a label's name is expected here, such as {app=\"nginx\"}");
            }
            self.skip_space();
            let Some(operator) = self.operator() else {
                return self.fail(self.at, "one of = != =~ !~ is expected behind a label's name");
            };
            self.skip_space();
            let value_at = self.at;
            let Some(value) = self.string()? else {
                return self.fail(value_at, "a label's value is expected here, in quotes");
            };
            selector.matchers.push(self.matcher(name, operator, &value, value_at)?);
            self.skip_space();
            if !self.eat(",") && !self.rest().starts_with('}') {
                return self.fail(self.at, "a comma or } is expected here");
            }
        }
    }

    fn matcher(&self, name: &str, operator: Operator, value: &str, at: usize) -> Result<Matcher, ParseError> {
        Matcher::new(name, operator, value).or_else(|error| self.fail(at, expression_words(&error)))
    }

    fn regex(&self, text: &str, at: usize) -> Result<Regex, ParseError> {
        Regex::new(text).or_else(|error| self.fail(at, expression_words(&error)))
    }

    /// A quoted string; `None`: none begins here.
    fn string(&mut self) -> Result<Option<String>, ParseError> {
        let at = self.at;
        if self.eat("`") {
            let inside = self.take_while(|c| c != '`').to_string();
            return if self.eat("`") { Ok(Some(inside)) } else { self.fail(at, "this quote is never closed") };
        }
        if !self.eat("\"") {
            return Ok(None);
        }
        let mut inside = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((offset, character)) = characters.next() {
            match character {
                '"' => {
                    self.at += offset + 1;
                    return Ok(Some(inside));
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => inside.push('\n'),
                    Some((_, 't')) => inside.push('\t'),
                    Some((_, same @ ('"' | '\\'))) => inside.push(same),
                    // Expressions are full of them, and mean what they say.
                    Some((_, other)) => inside.extend(['\\', other]),
                    None => {}
                },
                other => inside.push(other),
            }
        }
        self.fail(at, "this quote is never closed")
    }

    fn item(&mut self, query: &mut Query) -> Result<(), ParseError> {
        let at = self.at;
        if let Some(text) = self.string()? {
            return self.word(query, &text, at);
        }
        for operator in ["|=", "!=", "|~", "!~"] {
            if self.eat(operator) {
                self.skip_space();
                let string_at = self.at;
                let Some(text) = self.string()? else {
                    return self.fail(string_at, format!("{operator} wants a text in quotes"));
                };
                query.filters.push(match operator {
                    "|=" => Filter::Contains(Needle::new(text.as_bytes())),
                    "!=" => Filter::Lacks(Needle::new(text.as_bytes())),
                    "|~" => Filter::Matches(self.regex(&text, string_at)?),
                    _ => Filter::MatchesNot(self.regex(&text, string_at)?),
                });
                return Ok(());
            }
        }
        if self.rest().starts_with(['{', '}', '|', '(', ')', ',', '=', '!', '>', '<']) {
            return self.fail(at, "a word, a quoted text, a filter such as |= \"text\", or a field is expected here");
        }
        let name = self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if name == "level" && self.rest().starts_with(['=', '>']) {
            return self.level(query);
        }
        match self.operator() {
            Some(operator) if !name.is_empty() => self.field(query, name, operator),
            _ => {
                let _ = self.take_while(|c| !c.is_whitespace() && !matches!(c, '"' | '`' | '|'));
                let word = &self.text[at..self.at];
                self.word(query, word, at)
            }
        }
    }

    fn word(&self, query: &mut Query, text: &str, at: usize) -> Result<(), ParseError> {
        if text.is_empty() {
            return self.fail(at, "there is nothing to look for between these quotes");
        }
        let word = Word::new(text).or_else(|error| self.fail(at, expression_words(&error)))?;
        query.filters.push(Filter::Word(word));
        Ok(())
    }

    fn level(&mut self, query: &mut Query) -> Result<(), ParseError> {
        let least = self.eat(">=");
        if !least && !self.eat("=") {
            return self.fail(self.at, "level takes = or >=");
        }
        let at = self.at;
        let word = self.take_while(|c| c.is_ascii_alphanumeric());
        let Some(level) = Level::parse(word) else {
            return self.fail(at, "one of emerg alert crit err warning notice info debug none is expected here");
        };
        if least {
            query.level = Some(level);
        } else {
            query.level_only = Some(level);
        }
        Ok(())
    }

    fn field(&mut self, query: &mut Query, name: &str, operator: Operator) -> Result<(), ParseError> {
        let at = self.at;
        let value = match self.string()? {
            Some(value) => value,
            None => self.take_while(|c| !c.is_whitespace()).to_string(),
        };
        query.fields.push(FieldFilter(self.matcher(name, operator, &value, at)?));
        Ok(())
    }
}

/// What a regular expression's error says, without its drawing of several lines.
fn expression_words(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or("").trim().trim_start_matches("error: ").to_string();
    format!("the expression cannot be used: {last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> (usize, String) {
        let error = text.parse::<Query>().expect_err(text);
        assert!(error.to_string().ends_with('^'));
        (error.at, error.reason)
    }

    #[test]
    fn every_part_is_read() {
        let text = r#" {app="x", host=~"web.*" , } timeout "two words" |= "a\"b" != `c\d` |~ "x+" !~ "\d" level>=warning user=ana path=~"/a.*""#;
        let query: Query = text.parse().unwrap();
        assert_eq!(query.selector.matchers.len(), 2);
        assert_eq!(query.filters.len(), 6);
        assert_eq!(query.fields.len(), 2);
        assert_eq!(query.level, Some(Level::Warning));
        assert!(query.filters[2].passes(b"xa\"by") && query.filters[3].passes(b"cd"));
        let empty: Query = "".parse().unwrap();
        assert!(empty.filters.is_empty() && empty.selector.matchers.is_empty());
        let only: Query = "level=err".parse().unwrap();
        assert_eq!(only.levels(), 1 << 3);
        let odd: Query = "10.0.0.1:443 sshd[12] a/b".parse().unwrap();
        assert_eq!(odd.filters.len(), 3);
    }

    #[test]
    fn errors_point_at_their_place() {
        assert_eq!(error(r#"{app}"#).0, 4);
        assert_eq!(error(r#"{app=x}"#).0, 5);
        assert_eq!(error(r#"{1a="x"}"#).0, 1);
        assert_eq!(error(r#"{app="x" host="y"}"#).0, 9);
        assert_eq!(error(r#"{app="x"#).0, 5);
        assert_eq!(error(r#"{app=~"("}"#).0, 6);
        assert_eq!(error(r#"ok |= nope"#).0, 6);
        assert_eq!(error(r#"ok |~ "(""#), (6, "the expression cannot be used: unclosed group".into()));
        assert_eq!(error("level=loud").0, 6);
        assert_eq!(error("ok }").0, 3);
        assert_eq!(error("\"\"").0, 0);
        assert_eq!(error("für | x").0, 5);
    }
}
