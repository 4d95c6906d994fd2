//! An expression cut into tokens, each with its place. Owns what a number, a duration and a string are; knows no grammar.
//!
//! The parser crate says nothing of places, and panics on some numbers and escapes; it is given only text that went through here.

use super::error::{Complaint, Error};

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: Kind,
    /// Where it begins, in bytes.
    pub at: usize,
    /// How it is written for the parser: strings in one form, whatever quotes they had.
    pub written: String,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word,
    /// A number.
    Number(f64),
    /// A duration, in milliseconds.
    Duration(i64),
    /// A string, and what it says.
    Text(String),
    /// Punctuation or an operator.
    Sign(&'static str),
    /// Behind the last token.
    End,
}

/// Milliseconds of a duration at most: 200 years, well inside of what nanoseconds can count.
pub(super) const DURATION_MS_MAX: i64 = 200 * 365 * 86_400_000;

/// Longest first.
const SIGNS: [&str; 25] = [
    "==", "!=", "<=", ">=", "=~", "!~", "+", "-", "*", "/", "%", "^", "<", ">", "=", "(", ")", "{", "}", "[", "]", ",",
    "@", ":", "!",
];

/// Cuts a text. The last token is [`Kind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let mut reader = Reader { text, at: 0, in_braces: false, in_brackets: false };
    let mut tokens = Vec::new();
    loop {
        reader.skip_space();
        let token = reader.token()?;
        let end = token.kind == Kind::End;
        tokens.push(token);
        if end {
            return Ok(tokens);
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    in_braces: bool,
    in_brackets: bool,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn complain<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, Error> {
        Err(Error::Syntax(Complaint::new(self.text, at, reason)))
    }

    /// Spaces, and comments up to their line's end.
    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            let skipped = match trimmed.strip_prefix('#') {
                Some(comment) => rest.len() - comment.find('\n').map_or(0, |end| comment.len() - end),
                None => rest.len() - trimmed.len(),
            };
            self.at += skipped;
            if skipped == 0 {
                return;
            }
        }
    }

    fn token(&mut self) -> Result<Token, Error> {
        let at = self.at;
        let Some(first) = self.rest().chars().next() else {
            return Ok(Token { kind: Kind::End, at, written: String::new() });
        };
        if matches!(first, '"' | '\'' | '`') {
            return self.string(first);
        }
        let second_is_digit = self.rest().as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        if first.is_ascii_digit() || (first == '.' && second_is_digit) {
            return self.number();
        }
        let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && !self.in_braces);
        if in_word(first) && !(first == ':' && self.in_brackets) {
            let length = self.rest().find(|c| !in_word(c)).unwrap_or(self.rest().len());
            let written = self.rest()[..length].to_string();
            self.at += length;
            return Ok(Token { kind: Kind::Word, at, written });
        }
        let Some(sign) = SIGNS.into_iter().find(|sign| self.rest().starts_with(sign)) else {
            return self.complain(at, format!("no expression has the character {first:?} here"));
        };
        self.at += sign.len();
        match sign {
            "{" | "}" => self.in_braces = sign == "{",
            "[" | "]" => self.in_brackets = sign == "[",
            _ => {}
        }
        Ok(Token { kind: Kind::Sign(sign), at, written: sign.to_string() })
    }

    /// A number, or a duration such as `1h30m`.
    fn number(&mut self) -> Result<Token, Error> {
        let at = self.at;
        let bytes = self.rest().as_bytes();
        let mut length = 0;
        while let Some(byte) = bytes.get(length) {
            let hexadecimal = bytes.starts_with(b"0x") || bytes.starts_with(b"0X");
            let sign = matches!(byte, b'+' | b'-') && !hexadecimal && matches!(bytes[length - 1], b'e' | b'E');
            if !(byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'.' || sign) {
                break;
            }
            length += 1;
        }
        let written = self.rest()[..length].to_string();
        self.at += length;
        let kind = match number(&written) {
            Some(value) if value.is_infinite() => {
                return self.complain(at, format!("the number {written} is out of range: there is Inf"));
            }
            Some(value) => Kind::Number(value),
            None => match duration_ms(&written) {
                Ok(milliseconds) => Kind::Duration(milliseconds),
                Err(reason) => return self.complain(at, format!("{written:?} is no number and no duration: {reason}")),
            },
        };
        Ok(Token { kind, at, written })
    }

    fn string(&mut self, quote: char) -> Result<Token, Error> {
        let at = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            let Some(character) = self.rest().chars().next() else {
                return self.complain(at, "a string without its end");
            };
            self.at += character.len_utf8();
            match character {
                _ if character == quote => break,
                '\n' if quote != '`' => return self.complain(at, "a string without its end on its line"),
                '\\' if quote != '`' => value.push(self.escape(quote)?),
                _ => value.push(character),
            }
        }
        Ok(Token { at, written: quoted(&value), kind: Kind::Text(value) })
    }

    /// What follows a backslash.
    fn escape(&mut self, quote: char) -> Result<char, Error> {
        let at = self.at - 1;
        let Some(character) = self.rest().chars().next() else {
            return self.complain(at, "a string without its end");
        };
        let (skipped, digits, radix) = match character {
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='7' => (0, 3, 8),
            _ => {
                self.at += character.len_utf8();
                return match character {
                    'a' => Ok('\x07'),
                    'b' => Ok('\x08'),
                    'f' => Ok('\x0c'),
                    'n' => Ok('\n'),
                    'r' => Ok('\r'),
                    't' => Ok('\t'),
                    'v' => Ok('\x0b'),
                    '\\' => Ok('\\'),
                    _ if character == quote => Ok(quote),
                    _ => {
                        self.complain(at, format!("no escape sequence \\{character}; in `back quotes` all is as it is"))
                    }
                };
            }
        };
        let code = self.rest().get(skipped..skipped + digits).filter(|digits| digits.bytes().all(|b| b != b'+'));
        let code = code.and_then(|digits| u32::from_str_radix(digits, radix).ok());
        self.at += skipped + digits;
        match code.and_then(char::from_u32) {
            // Such an escape is a byte in Prometheus, and a label's value is text.
            Some(value) if digits < 4 && !value.is_ascii() => {
                self.complain(at, "an escape sequence of one byte that is not ASCII")
            }
            Some(value) => Ok(value),
            None => self.complain(at, "an escape sequence that is no character"),
        }
    }
}

/// A string as the parser reads it back.
fn quoted(value: &str) -> String {
    let mut written = String::with_capacity(value.len() + 2);
    written.push('"');
    for character in value.chars() {
        match character {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            '\n' => written.push_str("\\n"),
            _ => written.push(character),
        }
    }
    written.push('"');
    written
}

fn number(written: &str) -> Option<f64> {
    if let Some(digits) = written.strip_prefix("0x").or_else(|| written.strip_prefix("0X")) {
        return i64::from_str_radix(digits, 16).ok().map(|value| value as f64);
    }
    let octal =
        written.len() > 1 && written.starts_with('0') && written.bytes().all(|byte| (b'0'..b'8').contains(&byte));
    if octal {
        return i64::from_str_radix(written, 8).ok().map(|value| value as f64);
    }
    let decimal = written.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    written.parse().ok().filter(|_| decimal)
}

/// Reads a duration: numbers with their units, from years down to milliseconds, each unit once.
fn duration_ms(written: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let too_long = || "longer than 200 years".to_string();
    let (mut rest, mut total, mut next_unit) = (written, 0_i64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let after = &rest[digits..];
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &after[..letters];
        let Some(index) = UNITS.iter().position(|known| known.0 == unit) else {
            return Err(format!("the units are y, w, d, h, m, s and ms, not {unit:?}"));
        };
        if digits == 0 || index < next_unit {
            return Err("each unit stands once, the longest first, behind its whole number".to_string());
        }
        next_unit = index + 1;
        // The parser crate reads more digits than 32 bits hold as none.
        let count = rest[..digits].parse::<u32>().map_err(|_| too_long())?;
        total = UNITS[index]
            .1
            .checked_mul(i64::from(count))
            .and_then(|part| total.checked_add(part))
            .ok_or_else(too_long)?;
        if total > DURATION_MS_MAX {
            return Err(too_long());
        }
        rest = &after[letters..];
    }
    if total == 0 {
        return Err("a duration is longer than nothing".to_string());
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = tokens(text).unwrap().into_iter().map(|token| token.kind).collect();
        assert_eq!(kinds.pop(), Some(Kind::End));
        kinds
    }

    #[test]
    fn numbers_and_durations() {
        for (text, value) in [
            ("1", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e-3", 0.001),
            ("1E+2", 100.0),
            ("0x1F", 31.0),
            ("0755", 493.0),
            ("08", 8.0),
        ] {
            assert_eq!(kinds(text), [Kind::Number(value)], "{text}");
        }
        for (text, value) in
            [("5m", 300_000), ("1h30m", 5_400_000), ("1d", 86_400_000), ("7ms", 7), ("1y1ms", 31_536_000_001)]
        {
            assert_eq!(kinds(text), [Kind::Duration(value)], "{text}");
        }
        for text in
            ["1x", "5mm", "1m1h", "1.5h", "0s", "99999999999s", "400y", "1_000", "0xg", "1e", "0x", "1h99999999999s"]
        {
            assert!(matches!(tokens(text), Err(Error::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn strings_have_one_form_behind_the_cut() {
        for (text, written) in [
            (r#""a\"b""#, r#""a\"b""#),
            (r"'a\'b'", r#""a'b""#),
            (r"`a\d`", r#""a\\d""#),
            (r#""\x41\101\u00e4\n""#, "\"AA\u{e4}\\n\""),
        ] {
            assert_eq!(tokens(text).unwrap()[0].written, written, "{text}");
        }
        for text in
            [r#""a"#, "\"a\nb\"", r#""\é""#, r#""\xff""#, r#""\x+1""#, r#""\x4é""#, r#""\ud800""#, r#""\"#, r#""\U00""#]
        {
            assert!(matches!(tokens(text), Err(Error::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn words_signs_and_places() {
        let cut = tokens("job:up{a!~'x'}[5m:1m]# note\n >= 2").unwrap();
        let written: Vec<(&str, usize)> = cut.iter().map(|token| (&*token.written, token.at)).collect();
        assert_eq!(
            written,
            [
                ("job:up", 0),
                ("{", 6),
                ("a", 7),
                ("!~", 8),
                ("\"x\"", 10),
                ("}", 13),
                ("[", 14),
                ("5m", 15),
                (":", 17),
                ("1m", 18),
                ("]", 20),
                (">=", 29),
                ("2", 32),
                ("", 33),
            ]
        );
        assert!(tokens("a ; b").is_err());
        assert!(tokens("ä").is_err());
    }
}
