//! What is to be evaluated: the parser's tree in this module's own words, each part with its place. Owns the second look at types
//! and numbers; evaluates nothing.

use super::error::{Complaint, Error};
use super::label::{LabelMatcher, NAME};
use super::support::Function;

/// A part of an expression.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it stands, in bytes of the text.
    pub at: usize,
    pub kind: Kind,
}

/// What a part is.
#[derive(Debug)]
pub(super) enum Kind {
    Number(f64),
    Text(String),
    /// The latest sample of each series.
    Selector(Box<Selector>),
    /// Samples of a window of each series.
    Ranged(Box<Ranged>),
    Negation(Box<Node>),
    Binary(Box<Binary>),
    Aggregation(Box<Aggregation>),
    Call(Box<Call>),
}

/// The type of a part's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// One number for each step.
    Scalar,
    /// A number for each series and step.
    Vector,
    /// Samples of a range for each series.
    Matrix,
    /// A text.
    Text,
}

impl Node {
    pub(super) fn value_type(&self) -> ValueType {
        match &self.kind {
            Kind::Number(_) => ValueType::Scalar,
            Kind::Text(_) => ValueType::Text,
            Kind::Selector(_) | Kind::Aggregation(_) => ValueType::Vector,
            Kind::Ranged(_) => ValueType::Matrix,
            Kind::Negation(inner) => inner.value_type(),
            Kind::Binary(binary) => binary.value_type,
            Kind::Call(call) => match call.function {
                Function::Pi | Function::Scalar | Function::Time => ValueType::Scalar,
                _ => ValueType::Vector,
            },
        }
    }
}

#[derive(Debug)]
pub(super) struct Selector {
    pub matchers: Vec<LabelMatcher>,
    pub when: When,
}

/// How the time that is looked at differs from the step's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct When {
    pub at: Option<At>,
    /// Nanoseconds into the past.
    pub offset: i64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Start,
    End,
    /// Nanoseconds since 1970.
    Time(i64),
}

#[derive(Debug)]
pub(super) struct Ranged {
    pub samples: Samples,
    /// Nanoseconds.
    pub range: i64,
    pub when: When,
}

#[derive(Debug)]
pub(super) enum Samples {
    Stored(Vec<LabelMatcher>),
    /// A subquery, with its step in milliseconds if it has one.
    Computed(Node, Option<i64>),
}

#[derive(Debug)]
pub(super) struct Binary {
    pub operator: Operator,
    /// Comparisons only: 0 and 1 instead of a filter.
    pub return_bool: bool,
    pub matching: Matching,
    pub left: Node,
    pub right: Node,
    pub value_type: ValueType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Unless,
}

impl Operator {
    pub(super) fn new(written: &str) -> Option<Operator> {
        Some(match written {
            "+" => Operator::Add,
            "-" => Operator::Subtract,
            "*" => Operator::Multiply,
            "/" => Operator::Divide,
            "%" => Operator::Modulo,
            "^" => Operator::Power,
            "atan2" => Operator::Atan2,
            "==" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            "and" => Operator::And,
            "or" => Operator::Or,
            "unless" => Operator::Unless,
            _ => return None,
        })
    }

    pub(super) fn is_comparison(self) -> bool {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | LessOrEqual | Greater | GreaterOrEqual)
    }

    pub(super) fn is_set(self) -> bool {
        matches!(self, Operator::And | Operator::Or | Operator::Unless)
    }
}

/// Which series of two vectors belong together.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// Whether the labels are those that count, or those that do not.
    pub on: bool,
    pub labels: Vec<String>,
    pub cardinality: Cardinality,
}

#[derive(Debug, Default)]
pub(super) enum Cardinality {
    #[default]
    OneToOne,
    /// `group_left`, with the labels taken over from the one.
    ManyToOne(Vec<String>),
    /// `group_right`.
    OneToMany(Vec<String>),
}

impl Matching {
    /// Whether a label says what belongs together.
    pub(super) fn counts(&self, name: &str) -> bool {
        let listed = self.labels.iter().any(|label| label == name);
        if self.on { listed } else { !listed && name != NAME }
    }
}

#[derive(Debug)]
pub(super) struct Aggregation {
    pub operation: Operation,
    pub grouping: Grouping,
    /// Of topk, bottomk, quantile and count_values.
    pub parameter: Option<Node>,
    pub inner: Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Sum,
    Average,
    Minimum,
    Maximum,
    Count,
    Group,
    StandardDeviation,
    StandardVariance,
    Quantile,
    Top,
    Bottom,
    CountValues,
}

impl Operation {
    pub(super) fn new(written: &str) -> Option<Operation> {
        Some(match written {
            "sum" => Operation::Sum,
            "avg" => Operation::Average,
            "min" => Operation::Minimum,
            "max" => Operation::Maximum,
            "count" => Operation::Count,
            "group" => Operation::Group,
            "stddev" => Operation::StandardDeviation,
            "stdvar" => Operation::StandardVariance,
            "quantile" => Operation::Quantile,
            "topk" => Operation::Top,
            "bottomk" => Operation::Bottom,
            "count_values" => Operation::CountValues,
            _ => return None,
        })
    }
}

/// Which labels a group keeps.
#[derive(Debug)]
pub(super) enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}

impl Grouping {
    pub(super) fn keeps(&self, name: &str) -> bool {
        match self {
            Grouping::By(labels) => labels.iter().any(|label| label == name),
            Grouping::Without(labels) => name != NAME && labels.iter().all(|label| label != name),
        }
    }
}

#[derive(Debug)]
pub(super) struct Call {
    pub function: Function,
    pub arguments: Vec<Node>,
}

impl Call {
    /// An argument; the parser saw to their number.
    pub(super) fn argument(&self, index: usize, text: &str, at: usize) -> Result<&Node, Error> {
        self.arguments
            .get(index)
            .ok_or_else(|| Error::Syntax(Complaint::new(text, at, format!("argument {} is missing", index + 1))))
    }
}
