//! What can go wrong with an expression, in words that point at the place. Owns the errors of [`super`]; knows no source of
//! samples but the store's own error.

use std::fmt;

/// Something wrong at one place of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The whole expression, as it was given.
    pub text: String,
    /// Where the bad part begins, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
}

impl Complaint {
    pub(super) fn new(text: &str, at: usize, reason: impl Into<String>) -> Complaint {
        Complaint { text: text.to_string(), at, reason: reason.into() }
    }

    /// Line and column of the place, both counted from 1, columns in characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.text.get(..self.at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

/// Characters shown on either side of the place: a hostile expression of one long line fills no terminal.
const SHOWN: usize = 60;

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        let shown: Vec<char> = self.text.split('\n').nth(line - 1).unwrap_or("").chars().collect();
        let from = (column - 1).saturating_sub(SHOWN);
        let to = shown.len().min(column - 1 + SHOWN);
        let part: String = shown[from..to].iter().map(|c| if c.is_control() { ' ' } else { *c }).collect();
        let pad = column - 1 - from;
        write!(f, "{}:{}: {}\n{part}\n{:pad$}^", line, column, self.reason, "")
    }
}

/// Why an expression has no answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The expression cannot be read, or its types do not fit: mend it.
    Syntax(Complaint),
    /// Good PromQL that is not supported here; the reason names what.
    Unsupported(Complaint),
    /// The expression is good, but with these samples it has no answer: two series on one side of a match, for example.
    Execution(Complaint),
    /// Start, end, step or another number beside the expression is out of its range.
    Parameter(String),
    /// More samples at one time than the bound: ask for a shorter range, or for fewer series.
    TooManySamples {
        /// The bound.
        max: usize,
    },
    /// More series than the bound: add matchers, or aggregate.
    TooManySeries {
        /// The bound.
        max: usize,
    },
    /// More steps than the bound: ask with a longer step.
    TooManyPoints {
        /// The steps asked for.
        points: u64,
        /// The bound.
        max: u64,
    },
    /// The caller said stop, or its deadline passed.
    Cancelled,
    /// Samples could not be read.
    Source(crate::Error),
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Error {
        Error::Source(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Syntax(complaint) | Error::Execution(complaint) => complaint.fmt(f),
            Error::Unsupported(complaint) => write!(f, "not supported: {complaint}"),
            Error::Parameter(reason) => f.write_str(reason),
            Error::TooManySamples { max } => {
                write!(f, "the query would hold more than {max} samples: ask for a shorter range or fewer series")
            }
            Error::TooManySeries { max } => {
                write!(f, "the query selects more than {max} series: add matchers or aggregate")
            }
            Error::TooManyPoints { points, max } => {
                write!(f, "{points} points a series are over the bound of {max}: ask with a longer step")
            }
            Error::Cancelled => f.write_str("the query was stopped before it had an answer"),
            Error::Source(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Source(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place() {
        let complaint = Complaint::new("sum(a)\n  + rat(b)", 11, "no function rat");
        assert_eq!(complaint.to_string(), "2:5: no function rat\n  + rat(b)\n    ^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}X{}", "ä".repeat(500), "b".repeat(500));
        let shown = Complaint::new(&text, 1000, "here").to_string();
        assert!(shown.len() < 400, "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1].chars().nth(lines[2].len() - 1), Some('X'));
    }

    #[test]
    fn a_place_beyond_the_end_is_the_end() {
        assert_eq!(Complaint::new("ab", 7, "end").to_string(), "1:3: end\nab\n  ^");
    }
}
