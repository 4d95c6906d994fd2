//! From text to a plan: cut, outlined, parsed by the parser crate, and taken over part by part. Owns the search for the place of
//! what the parser refuses without saying where.

use std::collections::VecDeque;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{
    AggregateExpr, AtModifier, BinaryExpr, Call as ParsedCall, Expr, LabelModifier, Offset, SubqueryExpr,
    VectorMatchCardinality, VectorSelector,
};

use super::error::{Complaint, Error};
use super::label::{LabelMatcher, MatchOperator, NAME};
use super::pattern;
use super::plan::{
    Aggregation, At, Binary, Call, Cardinality, Grouping, Kind, Matching, Node, Operation, Operator, Ranged, Samples,
    Selector, ValueType, When,
};
use super::support::{self, Support};
use super::syntax::{self, Outline};
use super::text::{self, Token};

/// Bytes of an expression at most.
pub(super) const TEXT_BYTES_MAX: usize = 256 << 10;
/// How often the parser is asked again where the error is.
const TRIES_MAX: usize = 200;

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Node, Error> {
    if text.len() > TEXT_BYTES_MAX {
        let reason = format!("the expression has {} bytes, and {TEXT_BYTES_MAX} are the bound", text.len());
        return Err(Error::Syntax(Complaint::new(text.get(..120).unwrap_or(""), 0, reason)));
    }
    let tokens = text::tokens(text)?;
    let outline = syntax::outline(text, &tokens)?;
    let parsed = promql_parser::parser::parse(&outline.written)
        .map_err(|reason| Error::Syntax(Complaint::new(text, place_of_refusal(&tokens, &outline), reason)))?;
    let mut lowering = Lowering {
        text,
        leaves: outline.leaves.into(),
        calls: outline.calls.into(),
        operators: outline.operators.into(),
        patterns: outline.patterns.into(),
    };
    lowering.node(parsed)
}

/// Where the smallest part begins that the parser refuses on its own.
fn place_of_refusal(tokens: &[Token], outline: &Outline) -> usize {
    let refused = |group: &&std::ops::Range<usize>| {
        promql_parser::parser::parse(&syntax::written(&tokens[(*group).clone()])).is_err()
    };
    let first = match outline.groups.iter().take(TRIES_MAX).find(refused) {
        Some(group) => group.start,
        None => 0,
    };
    tokens[first].at
}

/// Places are kept in queues: the parser's tree, walked as the text runs, comes by them in their order.
struct Lowering<'a> {
    text: &'a str,
    leaves: VecDeque<usize>,
    calls: VecDeque<usize>,
    operators: VecDeque<usize>,
    patterns: VecDeque<(String, usize)>,
}

impl Lowering<'_> {
    fn syntax(&self, at: usize, reason: impl Into<String>) -> Error {
        Error::Syntax(Complaint::new(self.text, at, reason))
    }

    fn unsupported(&self, at: usize, what: impl Into<String>) -> Error {
        Error::Unsupported(Complaint::new(self.text, at, what))
    }

    fn leaf(&mut self) -> usize {
        self.leaves.pop_front().unwrap_or(0)
    }

    fn node(&mut self, expression: Expr) -> Result<Node, Error> {
        match expression {
            Expr::Paren(paren) => self.node(*paren.expr),
            Expr::NumberLiteral(number) => Ok(Node { at: self.leaf(), kind: Kind::Number(number.val) }),
            Expr::StringLiteral(string) => Ok(Node { at: self.leaf(), kind: Kind::Text(string.val) }),
            Expr::VectorSelector(selector) => {
                let at = self.leaf();
                let when = self.when(selector.at.as_ref(), selector.offset.as_ref(), at)?;
                let matchers = self.matchers(selector, at)?;
                Ok(Node { at, kind: Kind::Selector(Box::new(Selector { matchers, when })) })
            }
            Expr::MatrixSelector(matrix) => {
                let at = self.leaf();
                let range = self.nanoseconds(matrix.range, at)?;
                let when = self.when(matrix.vs.at.as_ref(), matrix.vs.offset.as_ref(), at)?;
                let samples = Samples::Stored(self.matchers(matrix.vs, at)?);
                Ok(Node { at, kind: Kind::Ranged(Box::new(Ranged { samples, range, when })) })
            }
            Expr::Subquery(subquery) => self.subquery(subquery),
            Expr::Unary(unary) => {
                let inner = self.node(*unary.expr)?;
                Ok(Node { at: inner.at, kind: Kind::Negation(Box::new(inner)) })
            }
            Expr::Binary(binary) => self.binary(binary),
            Expr::Aggregate(aggregate) => self.aggregation(aggregate),
            Expr::Call(call) => self.call(call),
            Expr::Extension(_) => Err(self.unsupported(0, "an extension")),
        }
    }

    fn subquery(&mut self, subquery: SubqueryExpr) -> Result<Node, Error> {
        let inner = self.node(*subquery.expr)?;
        let at = inner.at;
        let range = self.nanoseconds(subquery.range, at)?;
        let when = self.when(subquery.at.as_ref(), subquery.offset.as_ref(), at)?;
        let step = match subquery.step {
            Some(step) => Some(self.nanoseconds(step, at)? / 1_000_000),
            None => None,
        };
        if step == Some(0) {
            return Err(self.syntax(at, "a subquery's step is at least a millisecond"));
        }
        let ranged = Ranged { samples: Samples::Computed(inner, step), range, when };
        Ok(Node { at, kind: Kind::Ranged(Box::new(ranged)) })
    }

    fn nanoseconds(&self, duration: std::time::Duration, at: usize) -> Result<i64, Error> {
        i64::try_from(duration.as_nanos()).map_err(|_| self.syntax(at, "a duration longer than 200 years"))
    }

    fn when(&self, time: Option<&AtModifier>, offset: Option<&Offset>, at: usize) -> Result<When, Error> {
        let offset = match offset {
            None => 0,
            Some(Offset::Pos(duration)) => self.nanoseconds(*duration, at)?,
            Some(Offset::Neg(duration)) => -self.nanoseconds(*duration, at)?,
        };
        let time = match time {
            None => None,
            Some(AtModifier::Start) => Some(At::Start),
            Some(AtModifier::End) => Some(At::End),
            Some(time @ AtModifier::At(_)) => {
                let out = || self.syntax(at, "the time after @ is out of range");
                Some(At::Time(since_epoch(time).ok_or_else(out)?))
            }
        };
        Ok(When { at: time, offset })
    }

    fn matchers(&mut self, selector: VectorSelector, at: usize) -> Result<Vec<LabelMatcher>, Error> {
        if !selector.matchers.or_matchers.is_empty() {
            return Err(self.unsupported(at, "or between matchers"));
        }
        let mut matchers: Vec<LabelMatcher> =
            selector.name.map(|name| LabelMatcher::equal(NAME, &name)).into_iter().collect();
        for matcher in selector.matchers.matchers {
            matchers.push(self.matcher(matcher)?);
        }
        if matchers.iter().all(|matcher| matcher.matches_value("")) {
            return Err(self.syntax(at, "a selector has at least one matcher that an empty label does not pass"));
        }
        Ok(matchers)
    }

    fn matcher(&mut self, matcher: Matcher) -> Result<LabelMatcher, Error> {
        let regex = matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_));
        let (value, at) = if regex { self.patterns.pop_front().unwrap_or_default() } else { (matcher.value, 0) };
        let compiled = |lowering: &Self| pattern::anchored(&value).map_err(|reason| lowering.syntax(at, reason));
        let operator = match matcher.op {
            MatchOp::Equal => MatchOperator::Equal,
            MatchOp::NotEqual => MatchOperator::NotEqual,
            MatchOp::Re(_) => MatchOperator::Matches(compiled(self)?),
            MatchOp::NotRe(_) => MatchOperator::MatchesNot(compiled(self)?),
        };
        Ok(LabelMatcher { name: matcher.name, operator, value })
    }

    fn binary(&mut self, binary: BinaryExpr) -> Result<Node, Error> {
        let left = self.node(*binary.lhs)?;
        let at = self.operators.pop_front().unwrap_or(0);
        let right = self.node(*binary.rhs)?;
        let written = binary.op.to_string();
        let Some(operator) = Operator::new(&written) else {
            return Err(self.unsupported(at, format!("the operator {written}")));
        };
        let value_type = match (left.value_type(), right.value_type()) {
            (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
            (ValueType::Scalar | ValueType::Vector, ValueType::Scalar | ValueType::Vector) => ValueType::Vector,
            _ => return Err(self.syntax(at, "an operator stands between scalars and instant vectors only")),
        };
        let mut matching = Matching::default();
        let mut return_bool = false;
        if let Some(modifier) = binary.modifier {
            if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
                return Err(self.unsupported(at, "the modifier fill"));
            }
            return_bool = modifier.return_bool;
            matching.cardinality = match modifier.card {
                VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => Cardinality::OneToOne,
                VectorMatchCardinality::ManyToOne(labels) => Cardinality::ManyToOne(labels.labels),
                VectorMatchCardinality::OneToMany(labels) => Cardinality::OneToMany(labels.labels),
            };
            (matching.on, matching.labels) = match modifier.matching {
                Some(LabelModifier::Include(labels)) => (true, labels.labels),
                Some(LabelModifier::Exclude(labels)) => (false, labels.labels),
                None => (false, Vec::new()),
            };
        }
        let plan = Binary { operator, return_bool, matching, left, right, value_type };
        Ok(Node { at, kind: Kind::Binary(Box::new(plan)) })
    }

    fn aggregation(&mut self, aggregate: AggregateExpr) -> Result<Node, Error> {
        let at = self.calls.pop_front().unwrap_or(0);
        let written = aggregate.op.to_string();
        let Some(operation) = Operation::new(&written) else {
            return Err(self.unsupported(at, format!("the aggregation {written}")));
        };
        let parameter = match aggregate.param {
            Some(parameter) => Some(self.node(*parameter)?),
            None => None,
        };
        let inner = self.node(*aggregate.expr)?;
        self.expect(&inner, ValueType::Vector)?;
        if let Some(parameter) = &parameter {
            let text = operation == Operation::CountValues;
            self.expect(parameter, if text { ValueType::Text } else { ValueType::Scalar })?;
        }
        let grouping = match aggregate.modifier {
            Some(LabelModifier::Exclude(labels)) => Grouping::Without(labels.labels),
            Some(LabelModifier::Include(labels)) => Grouping::By(labels.labels),
            None => Grouping::By(Vec::new()),
        };
        let plan = Aggregation { operation, grouping, parameter, inner };
        Ok(Node { at, kind: Kind::Aggregation(Box::new(plan)) })
    }

    fn call(&mut self, call: ParsedCall) -> Result<Node, Error> {
        let at = self.calls.pop_front().unwrap_or(0);
        let function = match support::function(call.func.name) {
            Support::Yes(function) => function,
            Support::Refused(why) => {
                return Err(self.unsupported(at, format!("the function {}: {why}", call.func.name)));
            }
            Support::Unknown => return Err(self.syntax(at, format!("there is no function {:?}", call.func.name))),
        };
        let mut arguments = Vec::with_capacity(call.args.len());
        for (index, argument) in call.args.args.into_iter().enumerate() {
            let argument = self.node(*argument)?;
            // The parser lets some scalars pass where vectors belong.
            if let Some(wanted) = call.func.arg_types.get(index).or(call.func.arg_types.last()) {
                self.expect(&argument, value_type(*wanted))?;
            }
            arguments.push(argument);
        }
        Ok(Node { at, kind: Kind::Call(Box::new(Call { function, arguments })) })
    }

    fn expect(&self, node: &Node, wanted: ValueType) -> Result<(), Error> {
        let found = node.value_type();
        if found == wanted {
            return Ok(());
        }
        Err(self.syntax(node.at, format!("expected {}, found {}", name_of(wanted), name_of(found))))
    }
}

fn value_type(parsed: promql_parser::parser::value::ValueType) -> ValueType {
    use promql_parser::parser::value::ValueType as Parsed;
    match parsed {
        Parsed::Scalar => ValueType::Scalar,
        Parsed::Vector => ValueType::Vector,
        Parsed::Matrix => ValueType::Matrix,
        Parsed::String => ValueType::Text,
    }
}

pub(super) fn name_of(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "a scalar",
        ValueType::Vector => "an instant vector",
        ValueType::Matrix => "a range vector",
        ValueType::Text => "a string",
    }
}

/// Nanoseconds since 1970. The epoch comes from the parser too: the names of clocks have no place here.
fn since_epoch(time: &AtModifier) -> Option<i64> {
    let (AtModifier::At(time), Ok(AtModifier::At(epoch))) = (time, AtModifier::try_from(0.0)) else {
        return None;
    };
    match time.duration_since(epoch) {
        Ok(after) => i64::try_from(after.as_nanos()).ok(),
        Err(before) => i64::try_from(before.duration().as_nanos()).ok().map(|before| -before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Complaint {
        match parse(text) {
            Err(Error::Syntax(complaint) | Error::Unsupported(complaint)) => complaint,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn refusals_point_at_the_place() {
        for (text, at) in [
            ("1 + rate(a)", 4),
            ("sum(rate(a[5m])) + abs(rate(b))", 23),
            ("abs(a, b)", 0),
            ("1 + (2 == 3)", 4),
            ("a{b=~\"(\"}", 5),
            ("x + {b=~\".*\"}", 4),
            ("{b=\"\"}", 0),
            ("x + {b!~\"\"} + {c=\"\"}", 0),
            ("1 + ln(-1)", 8),
            ("topk(a, b)", 0),
            ("a + \"b\"", 0),
            ("a[5m] + 1", 0),
            ("(a[5m])[5m:]", 0),
            ("a @ 1e300", 0),
            ("a{__name__=\"b\"}", 0),
        ] {
            assert_eq!(refusal(text).at, at, "{text}: {}", refusal(text));
        }
    }

    #[test]
    fn precedence_is_the_parsers() {
        let Kind::Binary(sum) = parse("1 + 2 * 3 ^ 2 ^ x").unwrap().kind else { panic!("no sum") };
        let Kind::Binary(product) = sum.right.kind else { panic!("no product") };
        let Kind::Binary(power) = product.right.kind else { panic!("no power") };
        assert!(matches!(power.left.kind, Kind::Number(3.0)));
        assert_eq!(
            (sum.operator, product.operator, power.operator),
            (Operator::Add, Operator::Multiply, Operator::Power)
        );
        assert_eq!(power.right.at, 14);
        let Kind::Negation(inner) = parse("-x ^ 2").unwrap().kind else { panic!("no negation") };
        assert!(matches!(inner.kind, Kind::Binary(_)));
    }

    #[test]
    fn times_and_offsets_are_nanoseconds() {
        let when = |text: &str| match parse(text).unwrap().kind {
            Kind::Selector(selector) => selector.when,
            Kind::Ranged(ranged) => ranged.when,
            other => panic!("{other:?}"),
        };
        assert_eq!(when("a offset -1m").offset, -60_000_000_000);
        assert!(matches!(when("a @ -1.5").at, Some(At::Time(-1_500_000_000))));
        assert!(matches!(when("a[5m] @ 1700000000.25").at, Some(At::Time(1_700_000_000_250_000_000))));
        assert!(matches!(when("a[5m:1m] @ end() offset 1.5"), When { at: Some(At::End), offset: 1_500_000_000 }));
    }

    #[test]
    fn what_is_too_long_is_not_even_cut() {
        assert!(refusal(&" ".repeat(TEXT_BYTES_MAX + 1)).reason.contains("bytes"));
        for text in ["(".repeat(100_000), "1+".repeat(100_000) + "1", "-".repeat(100_000) + "1"] {
            assert!(parse(&text).is_err());
        }
    }

    #[test]
    fn the_deepest_expressions_allowed_fit_a_stack() {
        let depth = syntax::DEPTH_MAX - 1;
        for text in [
            format!("{}1{}", "(".repeat(depth), ")".repeat(depth)),
            format!("a{}", " + a".repeat(depth)),
            format!("a{}", " ^ a".repeat(depth)),
            format!("{}a", "-".repeat(depth)),
            format!("{}a{}", "abs(".repeat(depth), ")".repeat(depth)),
            format!("{}a{}", "sum(".repeat(depth), ")".repeat(depth)),
        ] {
            parse(&text).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn noise_is_refused_without_a_panic() {
        const PARTS: [&str; 48] = [
            "a",
            "sum",
            "rate",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "5m",
            "1",
            "\"x\"",
            "=",
            "=~",
            "!~",
            "!=",
            "+",
            "-",
            "^",
            "and",
            "or",
            "unless",
            "on",
            "ignoring",
            "group_left",
            "group_right",
            "by",
            "without",
            "offset",
            "@",
            "start",
            "end",
            ",",
            ":",
            "bool",
            "==",
            "Inf",
            "NaN",
            "topk",
            "quantile_over_time",
            "fill",
            "0",
            "1e300",
            "`\\`",
            "#\n",
            "atan2",
            "step",
            "count_values",
        ];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..state % 12 + 1 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(PARTS[(state >> 33) as usize % PARTS.len()]);
                text.push(' ');
            }
            let _ = parse(&text);
        }
    }
}
