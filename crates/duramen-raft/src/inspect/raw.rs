//! A Raft log's values for tools, which do not know the program that wrote them: ids, votes and user data stay the bytes
//! that they are, and are shown as numbers where they have the shape of the ready set [`Plain`](crate::Plain). Owns the
//! set of types [`Raw`], and the words and the JSON of its values.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use bytes::Bytes;

use crate::format::Malformed;
use crate::types::{Stored, TermVote, Types};

/// Bytes of a payload that are shown to people.
const PREVIEW_BYTES: usize = 32;

/// The types of a log of which nothing is known. Every log can be opened with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw;

/// Who led, in the bytes of whoever wrote them. Eight bytes are read as a term.
#[derive(Clone, PartialEq, Eq)]
pub struct RawLeader(pub Bytes);

/// The id of an entry.
#[derive(Clone, PartialEq, Eq)]
pub struct RawLogId {
    /// Its leader.
    pub leader: RawLeader,
    /// Its index.
    pub index: u64,
}

/// A vote, in the bytes of whoever wrote them. Eight are read as a term, sixteen as a term and a node.
#[derive(Clone, PartialEq, Eq)]
pub struct RawVote(pub Bytes);

impl RawLeader {
    /// The term, if the bytes have a term's shape.
    pub fn term(&self) -> Option<u64> {
        self.0[..].try_into().ok().map(u64::from_le_bytes)
    }

    /// As JSON: `"term":7`, or `"leader":"0a0b"`.
    pub fn json_member(&self) -> String {
        match self.term() {
            Some(term) => format!("\"term\":{term}"),
            None => format!("\"leader\":\"{}\"", hex(&self.0)),
        }
    }
}

impl RawVote {
    /// The vote, if the bytes have the shape of one.
    pub fn plain(&self) -> Option<TermVote> {
        TermVote::decode(self.0.clone()).ok()
    }

    /// As a JSON object.
    pub fn to_json(&self) -> String {
        match self.plain() {
            Some(TermVote { term, node }) => format!("{{\"term\":{term},\"node\":{}}}", json_number(node)),
            None => format!("{{\"hex\":\"{}\"}}", hex(&self.0)),
        }
    }
}

impl RawLogId {
    /// As a JSON object.
    pub fn to_json(&self) -> String {
        format!("{{\"index\":{},{}}}", self.index, self.leader.json_member())
    }
}

impl PartialOrd for RawLeader {
    fn partial_cmp(&self, other: &RawLeader) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RawLeader {
    /// By term; bytes that are no term come after all terms, in the order of their bytes.
    fn cmp(&self, other: &RawLeader) -> Ordering {
        let key = |leader: &RawLeader| (leader.term().is_none(), leader.term());
        key(self).cmp(&key(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for RawVote {
    fn partial_cmp(&self, other: &RawVote) -> Option<Ordering> {
        match (self.plain(), other.plain()) {
            _ if self == other => Some(Ordering::Equal),
            (Some(this), Some(other)) => this.partial_cmp(&other),
            _ => None,
        }
    }
}

impl fmt::Display for RawLeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.term() {
            Some(term) => write!(f, "term {term}"),
            None => write!(f, "leader {}", hex(&self.0)),
        }
    }
}

impl fmt::Display for RawLogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.index, self.leader)
    }
}

impl fmt::Display for RawVote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.plain() {
            Some(TermVote { term, node: Some(node) }) => write!(f, "term {term}, for node {node}"),
            Some(TermVote { term, node: None }) => write!(f, "term {term}, for nobody"),
            None => f.write_str(&hex(&self.0)),
        }
    }
}

// The rules' refusals show values with `Debug`: it says the same as `Display`.
impl fmt::Debug for RawLeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for RawLogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for RawVote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Stored for RawLeader {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(bytes: Bytes) -> Result<RawLeader, Malformed> {
        Ok(RawLeader(bytes))
    }
}

impl Stored for RawVote {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(bytes: Bytes) -> Result<RawVote, Malformed> {
        Ok(RawVote(bytes))
    }
}

impl Types for Raw {
    type Leader = RawLeader;
    type LogId = RawLogId;
    type Vote = RawVote;
    type Payload = Bytes;
    type UserData = Bytes;

    fn leader(id: &RawLogId) -> RawLeader {
        id.leader.clone()
    }

    fn index(id: &RawLogId) -> u64 {
        id.index
    }

    fn log_id(leader: RawLeader, index: u64) -> RawLogId {
        RawLogId { leader, index }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A number, or `null`.
pub(super) fn json_number(number: Option<u64>) -> String {
    number.map_or_else(|| "null".to_string(), |number| number.to_string())
}

/// What a value writes of itself, or `null`.
pub(super) fn json_or_null<V>(value: Option<&V>, json: impl Fn(&V) -> String) -> String {
    value.map_or_else(|| "null".to_string(), json)
}

/// Values as a JSON array.
pub(super) fn json_array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// A string as JSON writes it.
pub(super) fn json_string(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            character if (character as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", character as u32);
            }
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

/// Bytes in hexadecimal, and as text where they are text.
pub(super) fn json_bytes(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).map_or_else(|_| "null".to_string(), json_string);
    format!("\"hex\":\"{}\",\"text\":{text}", hex(bytes))
}

/// The first bytes, in hexadecimal and as characters.
pub(super) fn preview(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(PREVIEW_BYTES)];
    let more = if shown.len() < bytes.len() { "…" } else { "" };
    let printable = |&byte: &u8| if (0x20..0x7f).contains(&byte) { byte as char } else { '.' };
    let text: String = shown.iter().map(printable).collect();
    format!("{}{more} |{text}{more}|", hex(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leader(term: u64) -> RawLeader {
        RawLeader(Bytes::copy_from_slice(&term.to_le_bytes()))
    }

    #[test]
    fn terms_are_ordered_as_numbers_and_other_bytes_as_bytes() {
        assert!(leader(255) < leader(256), "little-endian");
        let other = |bytes: &'static [u8]| RawLeader(Bytes::from_static(bytes));
        assert!(leader(u64::MAX) < other(b"a") && other(b"a") < other(b"b"));
        assert_eq!((leader(7).to_string(), other(b"\x0a\xff").to_string()), ("term 7".into(), "leader 0aff".into()));
        assert_eq!(RawLogId { leader: leader(7), index: 3 }.to_json(), "{\"index\":3,\"term\":7}");
    }

    #[test]
    fn votes_of_an_unknown_shape_have_no_order() {
        let vote = |bytes: &'static [u8]| RawVote(Bytes::from_static(bytes));
        assert_eq!(vote(b"abc").partial_cmp(&vote(b"abd")), None);
        assert_eq!(vote(b"abc").partial_cmp(&vote(b"abc")), Some(Ordering::Equal));
        assert_eq!(vote(&[1, 0, 0, 0, 0, 0, 0, 0]).to_json(), "{\"term\":1,\"node\":null}");
        assert_eq!(vote(b"abc").to_json(), "{\"hex\":\"616263\"}");
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(json_string("a\"b\\\n"), "\"a\\\"b\\\\\\u000a\"");
        assert_eq!(json_bytes(&[0xff]), "\"hex\":\"ff\",\"text\":null");
    }
}
