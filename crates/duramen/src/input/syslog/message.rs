//! A syslog message into its parts: RFC 5424, and RFC 3164 as programs really send it. Owns the two grammars. Pure, and never fails:
//! what does not follow them is kept as text and marked `odd`.
//!
//! Nothing is guessed that would cost text: where it is not clear what a word is, it stays in the text.

use std::borrow::Cow;

use duramen_store::{Level, Nanoseconds};

use crate::stamp::Stamps;

/// Bytes of a host, a program, a process or a message id at most; what is longer is none of these.
const NAME_BYTES_MAX: usize = 255;
/// Bytes of a name in structured data at most; the RFC says 32.
const DATA_NAME_BYTES_MAX: usize = 64;
/// Bytes of all structured data of a message, as fields, at most.
const DATA_BYTES_MAX: usize = 256 << 10;
/// syslog's facilities in the order of their numbers.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// A message's parts. What it does not name is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// The facility's word.
    pub facility: Option<&'static str>,
    /// The severity; [`Level::None`] if there is none.
    pub level: Level,
    /// When it was written.
    pub time: Option<Nanoseconds>,
    /// The machine.
    pub host: Option<&'a str>,
    /// The program: the tag, or APP-NAME.
    pub app: Option<&'a str>,
    /// The process.
    pub pid: Option<&'a str>,
    /// MSGID.
    pub msgid: Option<&'a str>,
    /// Structured data: `id.name` and its value; `id` and nothing for an element without parameters.
    pub data: Vec<(String, String)>,
    /// The text.
    pub text: &'a [u8],
    /// It follows neither grammar.
    pub odd: bool,
}

/// Takes a message apart. `now` decides the year where it names none.
pub fn parse<'a>(bytes: &'a [u8], stamps: &mut Stamps, now: Nanoseconds) -> Message<'a> {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0)).map_or(0, |last| last + 1);
    let bytes = &bytes[..end];
    let Some((priority, rest)) = priority(bytes) else {
        // The RFC lets a relay take it for user.notice; nobody said so, so neither do we.
        return Message { odd: true, ..plain(bytes, stamps, now) };
    };
    let found = match rest.strip_prefix(b"1 ") {
        Some(rest) => {
            structured(rest, stamps, now).unwrap_or_else(|| Message { text: bytes, odd: true, ..Message::default() })
        }
        None => plain(rest, stamps, now),
    };
    Message {
        facility: FACILITIES.get(usize::from(priority / 8)).copied(),
        level: Level::from_byte(priority % 8),
        ..found
    }
}

/// `<PRI>`, 0 to 191, and what follows it.
fn priority(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let rest = bytes.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|&byte| byte == b'>')?;
    let digits =
        std::str::from_utf8(&rest[..end]).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let number: u8 = digits.parse().ok()?;
    (number < 192).then_some((number, &rest[end + 1..]))
}

/// RFC 3164 behind the priority: a time or none, a host or none, a tag or none.
fn plain<'a>(bytes: &'a [u8], stamps: &mut Stamps, now: Nanoseconds) -> Message<'a> {
    let mut found = Message { text: bytes, ..Message::default() };
    // Some routers mark a clock that is not set with `*` or `.`.
    let marked = usize::from(matches!(bytes.first(), Some(b'*' | b'.')));
    let begin = marked + usize::from(bytes.get(marked) == Some(&b' '));
    let mut rest = bytes;
    if let Some((time, length)) = stamps.time(&bytes[begin..], now) {
        let behind = &bytes[begin + length..];
        let behind = behind.strip_prefix(b":").unwrap_or(behind);
        if behind.is_empty() || behind[0] == b' ' {
            found.time = Some(time);
            rest = behind.strip_prefix(b" ").unwrap_or(behind);
            found.text = rest;
        }
    }
    if let Some(tag) = Tag::at(rest) {
        return Message { app: Some(tag.app), pid: tag.pid, text: tag.rest, ..found };
    }
    // A host stands before a tag, and only behind a time; without a tag, nothing tells it from the text's first word.
    let Some(space) = rest.iter().take(NAME_BYTES_MAX + 1).position(|&byte| byte == b' ') else { return found };
    let (Some(host), Some(tag), Some(_)) = (name(&rest[..space]), Tag::at(&rest[space + 1..]), found.time) else {
        return found;
    };
    Message { host: Some(host), app: Some(tag.app), pid: tag.pid, text: tag.rest, ..found }
}

/// `program[pid]: text`, or `program: text`.
struct Tag<'a> {
    app: &'a str,
    pid: Option<&'a str>,
    rest: &'a [u8],
}

impl<'a> Tag<'a> {
    fn at(bytes: &'a [u8]) -> Option<Tag<'a>> {
        let end = bytes.iter().take(NAME_BYTES_MAX).position(|&byte| matches!(byte, b':' | b'[' | b' '))?;
        let app = name(&bytes[..end])?;
        let (pid, colon) = match bytes[end] {
            b'[' => {
                let length = bytes[end..].iter().take(NAME_BYTES_MAX).position(|&byte| byte == b']')?;
                (Some(name(&bytes[end + 1..end + length])?), end + length + 1)
            }
            _ => (None, end),
        };
        let rest = bytes[colon..].strip_prefix(b":")?;
        // `std::io: no` and addresses are text.
        if !rest.is_empty() && rest[0] != b' ' {
            return None;
        }
        Some(Tag { app, pid, rest: rest.strip_prefix(b" ").unwrap_or(rest) })
    }
}

/// Visible ASCII, or UTF-8, without spaces; not empty, and not too long.
fn name(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let visible = !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    (visible && text.len() <= NAME_BYTES_MAX).then_some(text)
}

/// RFC 5424 behind the version; `None`: its head is not as the RFC says.
fn structured<'a>(bytes: &'a [u8], stamps: &mut Stamps, now: Nanoseconds) -> Option<Message<'a>> {
    let mut rest = bytes;
    let mut time = None;
    let stamp = word(&mut rest)?;
    if stamp != b"-" {
        let (found, length) = stamps.time(stamp, now)?;
        (length == stamp.len()).then_some(())?;
        time = Some(found);
    }
    let mut field = || -> Option<Option<&'a str>> {
        match word(&mut rest)? {
            b"-" => Some(None),
            other => name(other).map(Some),
        }
    };
    let (host, app, pid, msgid) = (field()?, field()?, field()?, field()?);
    let head = Message { time, host, app, pid, msgid, text: rest, ..Message::default() };
    let Some((data, text)) = data(rest) else { return Some(Message { odd: true, ..head }) };
    Some(Message { data, text: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text), ..head })
}

/// The bytes before the next space, which is taken too; at the end it may be missing.
fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let found = &rest[..end];
    *rest = rest.get(end + 1..).unwrap_or(&[]);
    (!found.is_empty()).then_some(found)
}

/// Fields, and what follows them.
type Data<'a> = (Vec<(String, String)>, &'a [u8]);

/// Structured data; `None`: it is none.
fn data(bytes: &[u8]) -> Option<Data<'_>> {
    let mut fields = Vec::new();
    let mut rest = bytes;
    if let Some(behind) = rest.strip_prefix(b"-") {
        rest = behind;
    } else if !rest.is_empty() {
        let mut taken = 0;
        rest.starts_with(b"[").then_some(())?;
        while let Some(element) = rest.strip_prefix(b"[") {
            rest = one_element(element, &mut fields, &mut taken)?;
        }
    }
    match rest {
        [] => Some((fields, rest)),
        [b' ', text @ ..] => Some((fields, text)),
        _ => None,
    }
}

/// One element behind its `[`; returns what follows its `]`.
fn one_element<'a>(bytes: &'a [u8], fields: &mut Vec<(String, String)>, taken: &mut usize) -> Option<&'a [u8]> {
    let data_name = |bytes: &'a [u8]| name(bytes).filter(|name| name.len() <= DATA_NAME_BYTES_MAX);
    let end = bytes.iter().take(DATA_NAME_BYTES_MAX + 1).position(|byte| matches!(byte, b' ' | b']'))?;
    let id = data_name(&bytes[..end])?;
    let mut rest = &bytes[end..];
    let mut alone = true;
    loop {
        match rest {
            [b']', behind @ ..] => {
                if alone {
                    fields.push((id.to_string(), String::new()));
                }
                return Some(behind);
            }
            [b' ', behind @ ..] if behind.starts_with(b"]") => rest = behind,
            [b' ', behind @ ..] => {
                let end = behind.iter().take(DATA_NAME_BYTES_MAX + 1).position(|&byte| byte == b'=')?;
                let name = data_name(&behind[..end])?;
                let (value, behind) = quoted(behind[end + 1..].strip_prefix(b"\"")?)?;
                let value = String::from_utf8_lossy(&value).into_owned();
                *taken += id.len() + name.len() + value.len() + 8;
                (*taken <= DATA_BYTES_MAX).then_some(())?;
                fields.push((format!("{id}.{name}"), value));
                (alone, rest) = (false, behind);
            }
            _ => return None,
        }
    }
}

/// A value up to its closing quote. `\"`, `\\` and `\]` stand for what follows the backslash; any other backslash is one.
fn quoted(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let end = memchr::memchr2(b'"', b'\\', bytes)?;
    if bytes[end] == b'"' {
        return Some((Cow::Borrowed(&bytes[..end]), &bytes[end + 1..]));
    }
    let mut value = Vec::new();
    let mut rest = bytes;
    loop {
        match rest {
            [b'\\', escaped @ (b'"' | b'\\' | b']'), behind @ ..] => {
                value.push(*escaped);
                rest = behind;
            }
            [b'"', behind @ ..] => return Some((Cow::Owned(value), behind)),
            [byte, behind @ ..] => {
                value.push(*byte);
                rest = behind;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests;
