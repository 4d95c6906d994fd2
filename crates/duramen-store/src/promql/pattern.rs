//! Regular expressions as Prometheus reads them (RE2), in the words of the `regex` crate. Owns the translation of what the two
//! write alike and mean differently: `\d`, `\w`, `\s` and `\b` are of ASCII in RE2, and inside a class `[`, `&&`, `--` and `~~` are
//! plain characters.

use regex::{Regex, RegexBuilder};

/// Bytes of a compiled expression at most.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Groups within groups at most.
const NESTING_MAX: u32 = 100;

/// Compiles an expression that the whole text must match. `.` matches a line's end too, as in Prometheus 3.
///
/// # Errors
/// What is wrong with the expression.
pub(super) fn anchored(expression: &str) -> Result<Regex, String> {
    let translated = translate(expression);
    // On its own first: what closes a group that it did not open must not close the anchoring one.
    let compile = |text: &str| {
        RegexBuilder::new(text)
            .dot_matches_new_line(true)
            .size_limit(COMPILED_BYTES_MAX)
            .nest_limit(NESTING_MAX)
            .build()
            .map_err(|error| reason(expression, &error))
    };
    compile(&translated)?;
    compile(&format!("^(?:{translated})$"))
}

fn reason(expression: &str, error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(max) => {
            format!("the regular expression {expression:?} is over {max} bytes compiled")
        }
        regex::Error::Syntax(text) => {
            let last = text.lines().last().unwrap_or("").trim_start_matches("error: ");
            format!("bad regular expression {expression:?}: {last}")
        }
        _ => format!("bad regular expression {expression:?}"),
    }
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn translate(expression: &str) -> String {
    let mut translated = String::with_capacity(expression.len() + 16);
    let mut characters = expression.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('b') => translated.push_str("(?-u:\\b)"),
                Some('B') => translated.push_str("(?-u:\\B)"),
                escaped => push_escape(&mut translated, escaped),
            },
            '[' => translate_class(&mut translated, &mut characters),
            _ => translated.push(character),
        }
    }
    translated
}

/// Translates a class of characters, whose `[` was read, up to its `]`: items, each a character, a range or a named class.
fn translate_class(translated: &mut String, characters: &mut Characters<'_>) {
    translated.push('[');
    if characters.next_if_eq(&'^').is_some() {
        translated.push('^');
    }
    let mut first = true;
    while let Some(character) = characters.next() {
        if character == ']' && !first {
            translated.push(']');
            return;
        }
        first = false;
        if character == '[' && characters.peek() == Some(&':') {
            translated.push('[');
            for inner in characters.by_ref() {
                translated.push(inner);
                if inner == ']' {
                    break;
                }
            }
            continue;
        }
        push_member(translated, character, characters);
        let mut ahead = characters.clone();
        if ahead.next() == Some('-') && ahead.peek().is_some_and(|end| *end != ']') {
            characters.next();
            translated.push('-');
            if let Some(end) = characters.next() {
                push_member(translated, end, characters);
            }
        }
    }
}

/// Writes one character of a class so that it is nothing else.
fn push_member(translated: &mut String, character: char, characters: &mut Characters<'_>) {
    match character {
        '\\' => push_escape(translated, characters.next()),
        '[' | ']' | '&' | '~' | '-' | '^' => {
            translated.push('\\');
            translated.push(character);
        }
        _ => translated.push(character),
    }
}

fn push_escape(translated: &mut String, escaped: Option<char>) {
    let ascii = match escaped {
        Some('d') => "[0-9]",
        Some('D') => "[^0-9]",
        Some('w') => "[0-9A-Za-z_]",
        Some('W') => "[^0-9A-Za-z_]",
        Some('s') => "[\\t\\n\\f\\r ]",
        Some('S') => "[^\\t\\n\\f\\r ]",
        _ => {
            translated.push('\\');
            translated.extend(escaped);
            return;
        }
    };
    translated.push_str(ascii);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_write_alike_means_what_prometheus_means() {
        for (expression, yes, no) in [
            (r"\d+", "12", "١٢"),
            (r"[\d.]+", "1.2", "1x"),
            (r"[^\d]", "x", "1"),
            (r"\w+", "a_1", "ä"),
            (r"a\sb", "a b", "a\u{a0}b"),
            (r"[[a]+", "[a", "b"),
            (r"[a&&b]+", "a&b", "c"),
            (r"[]a]+", "]a", "b"),
            (r"[^]a]", "b", "]"),
            (r"[[:alpha:]]+", "ab", ":"),
            (r"a.b", "a\nb", "ab"),
            (r"a|b", "b", "ab"),
            (r"(?i)web", "WEB", "we"),
            (r"[+--]+", "+,-", "a"),
            (r"[--/]+", "-./", "0"),
            (r"[^^]", "a", "^"),
            (r"[a-]+", "a-", "b"),
            (r"a\.b", "a.b", "axb"),
            ("", "", "a"),
        ] {
            let regex = anchored(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            assert!(regex.is_match(yes), "{expression} on {yes}");
            assert!(!regex.is_match(no), "{expression} on {no}");
        }
    }

    #[test]
    fn bad_expressions_are_refused() {
        for expression in ["(", "a)|(b", "[", "*", "\\", "a{1000}{1000}{1000}", &"(".repeat(5000), &"(a".repeat(300)] {
            let reason = anchored(expression).unwrap_err();
            assert!(reason.contains("regular expression"), "{reason}");
        }
    }
}
