//! Rust text without its comments and literals, and the names in it. Owns a lexer that is just good enough for this
//! repository; knows no rule of the house.

/// Replaces the contents of comments, strings and character literals by spaces. Line breaks stay, so that line numbers
/// hold, and what is left is code.
pub fn code_only(source: &str) -> String {
    let characters: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < characters.len() {
        let end = skipped_until(&characters, at);
        if end > at {
            out.extend(characters[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(characters[at]);
            at += 1;
        }
    }
    out
}

/// The end of the comment or literal that begins here, or `at` itself where code stands.
fn skipped_until(characters: &[char], at: usize) -> usize {
    let next = |ahead: usize| characters.get(at + ahead).copied().unwrap_or('\0');
    match characters[at] {
        '/' if next(1) == '/' => position_of(characters, at, '\n'),
        '/' if next(1) == '*' => end_of_block_comment(characters, at),
        '"' => end_of_quoted(characters, at + 1, '"'),
        '\'' if next(1) == '\\' || next(2) == '\'' => end_of_quoted(characters, at + 1, '\''),
        'r' if at == 0 || !in_name(characters[at - 1]) || matches!(characters[at - 1], 'b' | 'c') => {
            end_of_raw_string(characters, at)
        }
        _ => at,
    }
}

fn in_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn position_of(characters: &[char], from: usize, wanted: char) -> usize {
    (from..characters.len()).find(|&at| characters[at] == wanted).unwrap_or(characters.len())
}

fn end_of_block_comment(characters: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < characters.len() {
        match (characters[at], characters.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    characters.len()
}

fn end_of_quoted(characters: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < characters.len() {
        match characters[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    characters.len()
}

/// A raw string, or `at` where the `r` only begins a name.
fn end_of_raw_string(characters: &[char], at: usize) -> usize {
    let hashes = characters[at + 1..].iter().take_while(|&&c| c == '#').count();
    if characters.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let mut end = at + 2 + hashes;
    while end < characters.len() {
        let closing = characters[end + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
        if characters[end] == '"' && closing {
            return end + 1 + hashes;
        }
        end += 1;
    }
    characters.len()
}

/// The part of `code` (see [`code_only`]) before the unit tests, which by the rule of the house stand at the end of a
/// file, in a module that is compiled for tests (or for loom and shuttle) only.
pub fn before_tests(code: &str) -> &str {
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(") {
        let start = from + found;
        let end = code[start..].find(']').map_or(code.len(), |end| start + end + 1);
        let conditions = names(&code[start..end]);
        let for_tests = ["test", "loom", "shuttle"].iter().any(|word| conditions.iter().any(|name| name == word));
        if for_tests && !conditions.iter().any(|name| name == "not") && begins_inline_module(&code[end..]) {
            return &code[..start];
        }
        from = end;
    }
    code
}

/// Whether, after further attributes, `mod name {` follows.
fn begins_inline_module(code: &str) -> bool {
    let mut rest = code.trim_start();
    while rest.starts_with("#[") {
        rest = rest.find(']').map_or("", |end| rest[end + 1..].trim_start());
    }
    let header = &rest[..rest.find(['{', ';']).unwrap_or(0)];
    names(header).iter().any(|name| name == "mod") && rest[header.len()..].starts_with('{')
}

/// Every name in the code, in order, keywords too.
pub fn names(code: &str) -> Vec<String> {
    tokens(code).into_iter().filter(|token| token.starts_with(in_name)).collect()
}

/// Every macro that is called, without its `!`.
pub fn macros(code: &str) -> Vec<String> {
    let tokens = tokens(code);
    let called = |three: &&[String]| three[0].starts_with(in_name) && three[1] == "!" && three[2] != "=";
    tokens.windows(3).filter(called).map(|three| three[0].clone()).collect()
}

/// Every path that the code names, `use` trees expanded: `use std::{fs, io}` gives `std::fs` and `std::io`.
pub fn paths(code: &str) -> Vec<String> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" {
            at = expand_use(&tokens, at + 1, "", &mut found);
        } else if tokens[at].starts_with(in_name) {
            let mut path = tokens[at].clone();
            at += 1;
            while at + 1 < tokens.len() && tokens[at] == "::" && tokens[at + 1].starts_with(in_name) {
                path = format!("{path}::{}", tokens[at + 1]);
                at += 2;
            }
            found.push(path);
        } else {
            at += 1;
        }
    }
    found
}

/// Expands the use tree that starts at `at`; returns where it ended.
fn expand_use(tokens: &[String], mut at: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    let mut path = prefix.to_string();
    while at < tokens.len() {
        match tokens[at].as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    let end = expand_use(tokens, at, &path, found);
                    // Moves on also over what is no use tree, so that odd text cannot hold the test up.
                    at = end.max(at + usize::from(end == at));
                    at += usize::from(at < tokens.len() && tokens[at] == ",");
                }
                return at + 1;
            }
            "as" => at += 2,
            name if name.starts_with(in_name) => {
                path = if path.is_empty() { name.to_string() } else { format!("{path}::{name}") };
                at += 1;
            }
            "*" => at += 1,
            _ => break,
        }
    }
    found.push(path);
    at
}

/// Names, `::`, and single other characters.
fn tokens(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let bytes = if in_name(first) {
            rest.find(|c| !in_name(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            found.push(rest[..bytes].to_string());
        }
        rest = &rest[bytes..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_become_blank() {
        let source = concat!(
            "let a = \"x // y\"; // std::fs\n/* a /* b */ c */ let b = 'q'; ",
            "let c: &'static str = r#\"u\"v\"#; let d = b'\\'';z",
        );
        let code = code_only(source);
        assert_eq!(code.lines().count(), source.lines().count());
        assert_eq!(names(&code), ["let", "a", "let", "b", "let", "c", "static", "str", "let", "d", "b", "z"]);
    }

    #[test]
    fn use_trees_are_expanded() {
        let found = paths("use std::{fs::{self, File}, io as input, time::*}; fn f() { a::b::<u8>(c) }");
        for path in ["std::fs::self", "std::fs::File", "std::io", "std::time", "a::b", "c"] {
            assert!(found.iter().any(|name| name == path), "{path} is missing in {found:?}");
        }
    }

    #[test]
    fn unit_tests_are_cut_off() {
        assert_eq!(before_tests("a\n#[cfg(test)]\n#[allow(x)]\nmod tests { b }"), "a\n");
        assert_eq!(before_tests("a #[cfg(all(test, feature))] mod tests { b }"), "a ");
        for whole in ["a #[cfg(test)] mod tests; b", "#[cfg(not(test))] mod a { b }", "#[cfg(test)] use a; b"] {
            assert_eq!(before_tests(whole), whole);
        }
    }

    #[test]
    fn macros_are_found() {
        assert_eq!(macros("a!(b); c != d; e! { f }"), ["a", "e"]);
    }
}
