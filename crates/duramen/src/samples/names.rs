//! Names of metrics and labels. Owns their rules, which are Prometheus' and the store's, and what becomes of names that break
//! them. Pure.

use std::borrow::Cow;

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`, the names of metrics that need no quotes.
pub fn is_metric(name: &[u8]) -> bool {
    first_is_no_digit(name) && name.iter().all(|&byte| byte == b':' || is_label_byte(byte))
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, the names of labels.
pub fn is_label(name: &[u8]) -> bool {
    first_is_no_digit(name) && name.iter().all(|&byte| is_label_byte(byte))
}

/// The nearest name of a metric: each other character becomes `_`, and `_` goes before a digit that is first.
pub fn metric(name: Cow<'_, str>) -> Cow<'_, str> {
    if is_metric(name.as_bytes()) {
        name
    } else {
        Cow::Owned(mended(&name, |byte| byte == b':' || is_label_byte(byte)))
    }
}

/// The nearest name of a label, likewise.
pub fn label(name: Cow<'_, str>) -> Cow<'_, str> {
    if is_label(name.as_bytes()) { name } else { Cow::Owned(mended(&name, is_label_byte)) }
}

fn first_is_no_digit(name: &[u8]) -> bool {
    name.first().is_some_and(|byte| !byte.is_ascii_digit())
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn mended(name: &str, fits: impl Fn(u8) -> bool) -> String {
    let mut found = String::with_capacity(name.len() + 1);
    if !first_is_no_digit(name.as_bytes()) {
        found.push('_');
    }
    found.extend(name.chars().map(|letter| if u8::try_from(letter).is_ok_and(&fits) { letter } else { '_' }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_those_of_prometheus() {
        for name in ["a", "_", "node_cpu_seconds_total", "job:up:sum", ":a", "A9"] {
            assert!(is_metric(name.as_bytes()), "{name}");
        }
        for name in ["", "9a", "a-b", "a.b", "ä", "a b"] {
            assert!(!is_metric(name.as_bytes()) && !is_label(name.as_bytes()), "{name}");
        }
        assert!(is_label(b"le") && is_label(b"__name__") && !is_label(b"a:b"));
    }

    #[test]
    fn what_breaks_them_is_mended() {
        for (name, as_metric, as_label) in [
            ("cpu", "cpu", "cpu"),
            ("a:b", "a:b", "a_b"),
            ("http.status-code", "http_status_code", "http_status_code"),
            ("5xx", "_5xx", "_5xx"),
            ("größe", "gr__e", "gr__e"),
            ("", "_", "_"),
        ] {
            assert_eq!(metric(name.into()), as_metric);
            assert_eq!(label(name.into()), as_label);
            assert!(is_metric(as_metric.as_bytes()) && is_label(as_label.as_bytes()));
        }
    }

    #[test]
    fn a_mended_label_is_one_for_the_store() {
        for name in ["", "5", "ä", "a b", "\u{0}", "\u{ff}", "ok"] {
            assert!(duramen_store::Labels::new([(label(name.into()), "x")]).is_ok(), "{name}");
        }
    }
}
