//! The order of tokens: what may follow what, how deep expressions nest, and where each part stands. Owns the grammar's outline
//! and the bound on nesting; knows no precedence and no types, which are the parser crate's.
//!
//! The walk keeps its own stack, so that no nesting can overflow the thread's; what follows it recurses, and relies on the bound.

use std::ops::Range;

use super::error::{Complaint, Error};
use super::support::{self, Support};
use super::text::{DURATION_MS_MAX, Kind, Token};

/// Expressions within expressions at most; each operator of a chain is one. Built without optimization a level takes up to 13 KB of
/// a thread's 2 MB.
pub(super) const DEPTH_MAX: usize = 100;

/// Regular expressions of selectors at most: each may take a megabyte when compiled.
const PATTERNS_MAX: usize = 200;

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// The expression in one form, for the parser.
    pub written: String,
    /// Where numbers, strings and selectors stand, in bytes of the text, as they come.
    pub leaves: Vec<usize>,
    /// Where the names of functions and aggregations stand, as they come.
    pub calls: Vec<usize>,
    /// Where the operators between two operands stand, as they come.
    pub operators: Vec<usize>,
    /// The regular expressions of selectors and where they stand, as they come.
    pub patterns: Vec<(String, usize)>,
    /// Tokens of what stands in parentheses, with the name before it; inner ones first.
    pub groups: Vec<Range<usize>>,
}

/// Checks the order of tokens.
pub(super) fn outline(text: &str, tokens: &[Token]) -> Result<Outline, Error> {
    let whole = Frame { first: 0, arguments: false, aggregation: false, levels: 0, deepest: 0 };
    let mut walk = Walk { text, tokens, next: 0, frames: vec![whole], outline: Outline::default() };
    let mut expected = Expected::Operand;
    while expected != Expected::Nothing {
        expected = match expected {
            Expected::Operand => walk.operand()?,
            _ => walk.operator()?,
        };
    }
    walk.outline.written = written(tokens);
    Ok(walk.outline)
}

/// Tokens as one text. Inside of braces nothing stands between them: the parser takes `or` before a space for an operator there.
///
/// Regular expressions are replaced by ones that select something, so that the parser, whose words are not RE2's, does not refuse
/// or misread them; [`Outline::patterns`] has them.
pub(super) fn written(tokens: &[Token]) -> String {
    let mut written = String::new();
    let mut in_braces = false;
    let mut before = &Kind::End;
    for token in tokens {
        match (before, &token.kind) {
            (Kind::Sign("=~"), Kind::Text(_)) => written.push_str("\"x\""),
            (Kind::Sign("!~"), Kind::Text(_)) => written.push_str("\".*\""),
            _ => written.push_str(&token.written),
        }
        match token.kind {
            Kind::Sign("{") => in_braces = true,
            Kind::Sign("}") => in_braces = false,
            _ => {}
        }
        if !in_braces {
            written.push(' ');
        }
        before = &token.kind;
    }
    written
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Operand,
    Operator,
    Nothing,
}

/// An open parenthesis.
struct Frame {
    /// Its first token, a name included.
    first: usize,
    /// Whether commas separate arguments here.
    arguments: bool,
    aggregation: bool,
    /// Operators in it.
    levels: usize,
    /// The deepest parenthesis closed in it.
    deepest: usize,
}

struct Walk<'a> {
    text: &'a str,
    tokens: &'a [Token],
    next: usize,
    /// The first is the whole expression, and is never popped.
    frames: Vec<Frame>,
    outline: Outline,
}

impl<'a> Walk<'a> {
    /// The token `ahead` of the next one; beyond the end, the end.
    fn peek(&self, ahead: usize) -> &'a Token {
        &self.tokens[(self.next + ahead).min(self.tokens.len() - 1)]
    }

    fn is_sign(&self, ahead: usize, sign: &str) -> bool {
        matches!(self.peek(ahead).kind, Kind::Sign(found) if found == sign)
    }

    /// The next token's keyword, in small letters; empty if it is no word.
    fn keyword(&self, ahead: usize) -> String {
        let token = self.peek(ahead);
        if token.kind == Kind::Word { token.written.to_ascii_lowercase() } else { String::new() }
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = self.is_sign(0, sign);
        self.next += usize::from(found);
        found
    }

    fn complaint(&self, at: usize, reason: impl Into<String>) -> Complaint {
        Complaint::new(self.text, at, reason)
    }

    fn unexpected<T>(&self, expected: &str) -> Result<T, Error> {
        let token = self.peek(0);
        let found = match token.kind {
            Kind::End => "the end".to_string(),
            Kind::Text(_) => "a string".to_string(),
            _ => format!("{:?}", token.written),
        };
        Err(Error::Syntax(self.complaint(token.at, format!("expected {expected}, found {found}"))))
    }

    fn unsupported<T>(&self, what: impl Into<String>) -> Result<T, Error> {
        Err(Error::Unsupported(self.complaint(self.peek(0).at, what)))
    }

    fn top(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the whole expression's frame stays")
    }

    fn operand(&mut self) -> Result<Expected, Error> {
        let token = self.peek(0);
        match token.kind {
            Kind::Sign("+" | "-") => {
                self.next += 1;
                self.deeper(token.at)?;
                Ok(Expected::Operand)
            }
            Kind::Sign("(") => {
                self.open(self.next, false, false)?;
                Ok(Expected::Operand)
            }
            Kind::Number(_) | Kind::Duration(_) | Kind::Text(_) => Ok(self.leaf()),
            Kind::Sign("{") => {
                self.outline.leaves.push(token.at);
                self.braces()?;
                Ok(Expected::Operator)
            }
            Kind::Word => self.word(),
            _ => self.unexpected("an operand"),
        }
    }

    fn leaf(&mut self) -> Expected {
        self.outline.leaves.push(self.peek(0).at);
        self.next += 1;
        Expected::Operator
    }

    /// A word where an operand stands: a function, an aggregation, a number or a metric.
    fn word(&mut self) -> Result<Expected, Error> {
        let token = self.peek(0);
        let keyword = self.keyword(0);
        let called = self.is_sign(1, "(");
        let grouped = matches!(&*self.keyword(1), "by" | "without");
        if support::is_aggregation(&keyword) && (called || grouped) {
            return self.aggregation(&keyword);
        }
        if !called {
            let number = matches!(&*keyword, "inf" | "nan");
            self.leaf();
            if !number && self.is_sign(0, "{") {
                self.braces()?;
            }
            return Ok(Expected::Operator);
        }
        match support::function(&token.written) {
            Support::Yes(_) => {}
            Support::Refused(why) => {
                return self.unsupported(format!("the function {}: {why}", token.written));
            }
            Support::Unknown => {
                let reason = format!("there is no function {:?}", token.written);
                return Err(Error::Syntax(self.complaint(token.at, reason)));
            }
        }
        self.outline.calls.push(token.at);
        let first = self.next;
        self.next += 1;
        self.open(first, true, false)?;
        if self.is_sign(0, ")") { self.close() } else { Ok(Expected::Operand) }
    }

    fn aggregation(&mut self, keyword: &str) -> Result<Expected, Error> {
        if let Some(why) = support::refused_aggregation(keyword) {
            return self.unsupported(format!("the aggregation {keyword}: {why}"));
        }
        self.outline.calls.push(self.peek(0).at);
        let first = self.next;
        self.next += 1;
        if !self.is_sign(0, "(") {
            self.next += 1;
            self.label_list()?;
        }
        if !self.is_sign(0, "(") {
            return self.unexpected("( before what is aggregated");
        }
        self.open(first, true, true)?;
        Ok(Expected::Operand)
    }

    /// Opens the parenthesis that comes next.
    fn open(&mut self, first: usize, arguments: bool, aggregation: bool) -> Result<(), Error> {
        let at = self.peek(0).at;
        self.next += 1;
        self.frames.push(Frame { first, arguments, aggregation, levels: 0, deepest: 0 });
        if self.frames.len() > DEPTH_MAX { self.too_deep(at) } else { Ok(()) }
    }

    fn close(&mut self) -> Result<Expected, Error> {
        if self.frames.len() == 1 {
            return self.unexpected("no ) without its (");
        }
        let at = self.peek(0).at;
        self.next += 1;
        if let Some(frame) = self.frames.pop() {
            self.outline.groups.push(frame.first..self.next);
            if frame.aggregation && matches!(&*self.keyword(0), "by" | "without") {
                self.next += 1;
                self.label_list()?;
            }
            let top = self.top();
            top.deepest = top.deepest.max(frame.levels + frame.deepest + 1);
            if top.levels + top.deepest > DEPTH_MAX {
                return self.too_deep(at);
            }
        }
        Ok(Expected::Operator)
    }

    /// Counts an operator.
    fn deeper(&mut self, at: usize) -> Result<(), Error> {
        let top = self.top();
        top.levels += 1;
        if top.levels + top.deepest > DEPTH_MAX { self.too_deep(at) } else { Ok(()) }
    }

    fn too_deep<T>(&self, at: usize) -> Result<T, Error> {
        let reason = format!("more than {DEPTH_MAX} expressions within one another, or operators in one chain");
        Err(Error::Syntax(self.complaint(at, reason)))
    }

    fn operator(&mut self) -> Result<Expected, Error> {
        let token = self.peek(0);
        let keyword = self.keyword(0);
        match token.kind {
            Kind::Sign("+" | "-" | "*" | "/" | "%" | "^" | "==" | "!=" | "<=" | "<" | ">=" | ">") => self.binary(),
            Kind::Sign("[") => self.brackets(),
            Kind::Sign("@") => self.at_time(),
            Kind::Sign(")") => self.close(),
            Kind::Sign(",") if self.top().arguments => {
                self.next += 1;
                Ok(Expected::Operand)
            }
            Kind::End => self.end(),
            Kind::Sign("=") => self.unexpected("an operator (equality is == outside of braces)"),
            Kind::Word => match &*keyword {
                "and" | "or" | "unless" | "atan2" => self.binary(),
                "offset" => {
                    self.next += 1;
                    self.signed_duration()
                }
                "smoothed" | "anchored" => self.unsupported(format!("the modifier {keyword}")),
                _ => self.unexpected("an operator"),
            },
            _ => self.unexpected("an operator"),
        }
    }

    fn end(&mut self) -> Result<Expected, Error> {
        let open = self.top().first;
        if self.frames.len() > 1 {
            let reason = "a ( without its )".to_string();
            return Err(Error::Syntax(self.complaint(self.tokens[open].at, reason)));
        }
        Ok(Expected::Nothing)
    }

    /// An operator between two operands, with its modifiers.
    fn binary(&mut self) -> Result<Expected, Error> {
        let at = self.peek(0).at;
        self.outline.operators.push(at);
        self.next += 1;
        self.deeper(at)?;
        if self.keyword(0) == "bool" {
            self.next += 1;
        }
        if matches!(&*self.keyword(0), "on" | "ignoring") && self.is_sign(1, "(") {
            self.next += 1;
            self.label_list()?;
        }
        if matches!(&*self.keyword(0), "group_left" | "group_right") {
            self.next += 1;
            if self.is_sign(0, "(") {
                self.label_list()?;
            }
        }
        let keyword = self.keyword(0);
        if matches!(&*keyword, "fill" | "fill_left" | "fill_right") && self.is_sign(1, "(") {
            return self.unsupported(format!("the modifier {keyword}"));
        }
        Ok(Expected::Operand)
    }

    fn label_list(&mut self) -> Result<(), Error> {
        if !self.eat("(") {
            return self.unexpected("( before names of labels");
        }
        while !self.eat(")") {
            if !matches!(self.peek(0).kind, Kind::Word | Kind::Text(_)) {
                return self.unexpected("the name of a label");
            }
            self.next += 1;
            if !self.eat(",") && !self.is_sign(0, ")") {
                return self.unexpected(", or )");
            }
        }
        Ok(())
    }

    /// The matchers of a selector.
    fn braces(&mut self) -> Result<(), Error> {
        self.next += 1;
        while !self.eat("}") {
            let named = matches!(self.peek(0).kind, Kind::Text(_));
            if !named && self.peek(0).kind != Kind::Word {
                return self.unexpected("the name of a label");
            }
            self.next += 1;
            let separated = self.is_sign(0, ",") || self.is_sign(0, "}");
            if !(named && separated) {
                if !matches!(self.peek(0).kind, Kind::Sign("=" | "!=" | "=~" | "!~")) {
                    return self.unexpected("=, !=, =~ or !~");
                }
                self.next += 1;
                let Kind::Text(value) = &self.peek(0).kind else {
                    return self.unexpected("a string");
                };
                if self.is_pattern() {
                    if self.outline.patterns.len() == PATTERNS_MAX {
                        let reason = format!("more than {PATTERNS_MAX} regular expressions");
                        return Err(Error::Syntax(self.complaint(self.peek(0).at, reason)));
                    }
                    self.outline.patterns.push((value.clone(), self.peek(0).at));
                }
                self.next += 1;
            }
            if self.keyword(0) == "or" {
                return self.unsupported("or between matchers");
            }
            if !self.eat(",") && !self.is_sign(0, "}") {
                return self.unexpected(", or }");
            }
        }
        Ok(())
    }

    /// Whether the next token is what a label is matched against.
    fn is_pattern(&self) -> bool {
        matches!(self.tokens[self.next - 1].kind, Kind::Sign("=~" | "!~"))
    }

    /// A range, or a subquery's range and step.
    fn brackets(&mut self) -> Result<Expected, Error> {
        let at = self.peek(0).at;
        self.next += 1;
        self.deeper(at)?;
        self.duration(1)?;
        if self.eat(":") && !self.is_sign(0, "]") {
            self.duration(1)?;
        }
        if !self.eat("]") {
            return self.unexpected("]");
        }
        Ok(Expected::Operator)
    }

    fn signed_duration(&mut self) -> Result<Expected, Error> {
        if !self.eat("+") {
            self.eat("-");
        }
        self.duration(0)?;
        Ok(Expected::Operator)
    }

    /// A duration of at least so many milliseconds. Plain numbers are seconds; the parser panics on some of them.
    fn duration(&mut self, least_ms: i64) -> Result<(), Error> {
        match self.peek(0).kind {
            Kind::Duration(_) => {}
            Kind::Number(seconds) if seconds * 1e3 >= least_ms as f64 && seconds * 1e3 <= DURATION_MS_MAX as f64 => {}
            Kind::Number(_) => {
                let reason = format!("a duration is between {least_ms} ms and 200 years");
                return Err(Error::Syntax(self.complaint(self.peek(0).at, reason)));
            }
            _ => return self.unexpected("a duration, such as 5m"),
        }
        self.next += 1;
        Ok(())
    }

    /// What follows `@`: a time in seconds, `start()` or `end()`.
    fn at_time(&mut self) -> Result<Expected, Error> {
        self.next += 1;
        if matches!(&*self.keyword(0), "start" | "end") && self.is_sign(1, "(") && self.is_sign(2, ")") {
            self.next += 3;
            return Ok(Expected::Operator);
        }
        if !self.eat("+") {
            self.eat("-");
        }
        match self.peek(0).kind {
            Kind::Number(_) | Kind::Duration(_) => self.next += 1,
            _ => return self.unexpected("a time in seconds, start() or end()"),
        }
        Ok(Expected::Operator)
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::tokens;
    use super::*;

    fn walk(text: &str) -> Result<Outline, Error> {
        outline(text, &tokens(text)?)
    }

    fn place(text: &str) -> usize {
        match walk(text) {
            Err(Error::Syntax(complaint) | Error::Unsupported(complaint)) => complaint.at,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn good_expressions_have_an_outline() {
        let found = walk("sum by (a) (rate(x{b='c'}[5m])) / on() group_left -2").unwrap();
        assert_eq!(found.written, r#"sum by ( a ) ( rate ( x {b="c"} [ 5m ] ) ) / on ( ) group_left - 2  "#);
        assert_eq!((found.calls, found.leaves, found.operators), (vec![0, 12], vec![17, 51], vec![32]));
        for text in [
            "1",
            "Inf",
            "-NaN",
            "sum",
            "sum(a) by (b,)",
            "{\"a.b\", c!=\"d\",}",
            "a offset -5m @ end()",
            "a[5m:] @ 1.5 offset 1",
            "a and on(x) b or c unless ignoring() d",
            "a == bool 1",
            "time()",
            "fill + fill_left",
            "start",
            "a @ start()",
            "{or=\"x\"}",
            "1 # note",
        ] {
            let found = walk(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            promql_parser::parser::parse(&found.written).unwrap_or_else(|error| panic!("{}: {error}", found.written));
        }
    }

    #[test]
    fn bad_expressions_point_at_the_place() {
        for (text, at) in [
            ("", 0),
            ("a b", 2),
            ("sum(", 4),
            ("sum(a", 0),
            ("a)", 1),
            ("a + ", 4),
            ("rat(a)", 0),
            ("a{b}", 3),
            ("a{b='c' d='e'}", 8),
            ("a{b==\"c\"}", 3),
            ("a[5m", 4),
            ("a[]", 2),
            ("a[0]", 2),
            ("a[1e300]", 2),
            ("a offset Inf", 9),
            ("a @ b", 4),
            ("a = 1", 2),
            ("sum by a (b)", 7),
            ("abs(a,)", 6),
            ("a, b", 1),
            ("(a, b)", 2),
            ("a ! b", 2),
        ] {
            assert_eq!(place(text), at, "{text}");
        }
    }

    #[test]
    fn what_is_refused_is_named() {
        for (text, at, name) in [
            ("1 + limitk(2, a)", 4, "limitk"),
            ("a{b='c' or d='e'}", 8, "or between"),
            ("a + fill(0) b", 4, "fill"),
            ("rate(a[5m] smoothed)", 11, "smoothed"),
            ("info(a)", 0, "info"),
        ] {
            let error = walk(text).unwrap_err();
            assert!(matches!(&error, Error::Unsupported(complaint) if complaint.at == at), "{text}: {error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn regular_expressions_are_counted() {
        assert!(walk(&format!("a{{{}}}", "b=~\"c\",".repeat(PATTERNS_MAX))).is_ok());
        assert_eq!(place(&format!("a{{{}}}", "b=~\"c\",".repeat(PATTERNS_MAX + 1))), 2 + 7 * PATTERNS_MAX + 3);
    }

    #[test]
    fn nesting_is_bounded_whatever_the_text() {
        for text in [
            "(".repeat(100_000),
            format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000)),
            format!("{}1", "-".repeat(100_000)),
            format!("1{}", " + 1".repeat(50_000)),
            format!("1{}", " ^ 1".repeat(50_000)),
            format!("a{}", "[1m:1m]".repeat(20_000)),
            format!("{}a{}", "abs(".repeat(50_000), ")".repeat(50_000)),
            format!("{}a{}", "sum by (x) (-".repeat(5_000), ")".repeat(5_000)),
        ] {
            let error = walk(&text).unwrap_err().to_string();
            assert!(error.contains("within one another"), "{error}");
        }
    }
}
