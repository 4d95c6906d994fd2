//! Streams' names: sets of labels, in one canonical order of bytes. Owns their rules and their text form; knows no rows.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::format::bytes::{Reader, put_bytes, put_number};

/// Labels of one stream at most.
pub const LABELS_MAX: usize = 64;
/// Bytes of one stream's labels at most, names and values together.
pub const LABEL_BYTES_MAX: usize = 4096;

/// The labels of a stream: pairs of a name and a value, sorted by name, each name once.
///
/// Names are of ASCII letters, digits and `_`, and begin with no digit; values are any text. Equal sets are equal bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    /// Count, then each name and value with its length before it.
    bytes: Arc<[u8]>,
}

impl Labels {
    /// Makes a set of pairs in any order.
    ///
    /// ```
    /// let labels = duramen_store::Labels::new([("host", "web1"), ("app", "nginx")])?;
    /// assert_eq!(labels.to_string(), r#"{app="nginx", host="web1"}"#);
    /// # Ok::<(), duramen_store::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidLabels`]: none, too many, too long, a name twice, or a name of other characters.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Labels, Error> {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let invalid = |reason: String| Err(Error::InvalidLabels { reason });
        if pairs.is_empty() {
            return invalid("a stream has at least one label".into());
        }
        if pairs.len() > LABELS_MAX {
            return invalid(format!("{} labels are over the bound of {LABELS_MAX}", pairs.len()));
        }
        let mut bytes = Vec::new();
        put_number(&mut bytes, pairs.len() as u64);
        for (at, (name, value)) in pairs.iter().enumerate() {
            let name = name.as_ref();
            if !is_name(name) {
                return invalid(format!("{name:?} is no label name: letters, digits and _ only, no digit first"));
            }
            if at > 0 && pairs[at - 1].0.as_ref() == name {
                return invalid(format!("the label {name} comes twice"));
            }
            put_bytes(&mut bytes, name.as_bytes());
            put_bytes(&mut bytes, value.as_ref().as_bytes());
        }
        if bytes.len() > LABEL_BYTES_MAX {
            return invalid(format!("{} bytes of labels are over the bound of {LABEL_BYTES_MAX}", bytes.len()));
        }
        Ok(Labels { bytes: bytes.into() })
    }

    /// The canonical bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads canonical bytes back; `None` if they are none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Labels> {
        let mut reader = Reader::new(bytes);
        let count = reader.number()?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            let name = std::str::from_utf8(reader.bytes()?).ok()?;
            pairs.push((name, std::str::from_utf8(reader.bytes()?).ok()?));
        }
        let labels = Labels::new(pairs).ok()?;
        (reader.is_empty() && *labels.bytes == *bytes).then_some(labels)
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut reader = Reader::new(&self.bytes);
        let count = reader.number().unwrap_or(0);
        (0..count).map_while(move |_| {
            let name = reader.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())?;
            let value = reader.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())?;
            Some((name, value))
        })
    }

    /// A label's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|pair| pair.0 == name).map(|pair| pair.1)
    }
}

/// Whether a text can be a label's name.
pub fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(letter) && text.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        write!(f, "}}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_one_form() {
        let one = Labels::new([("b", "2"), ("a", "1")]).unwrap();
        let other = Labels::new([("a", "1"), ("b", "2")]).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.get("b"), Some("2"));
        assert_eq!(one.get("c"), None);
        assert_eq!(Labels::decode(one.as_bytes()), Some(one.clone()));
        assert_eq!(one.to_string(), r#"{a="1", b="2"}"#);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let none: [(&str, &str); 0] = [];
        assert!(Labels::new(none).is_err());
        assert!(Labels::new([("a", "1"), ("a", "2")]).is_err());
        for name in ["", "1a", "a-b", "ä"] {
            assert!(Labels::new([(name, "x")]).is_err(), "{name}");
        }
        assert!(Labels::new([("a", "x".repeat(LABEL_BYTES_MAX))]).is_err());
        assert!(Labels::new((0..=LABELS_MAX).map(|n| (format!("l{n}"), "x"))).is_err());
    }

    #[test]
    fn bytes_that_are_no_set_are_none() {
        let good = Labels::new([("a", "1"), ("b", "2")]).unwrap();
        let bytes = good.as_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Labels::decode(&bytes[..end]), None);
        }
        let mut unsorted = Vec::new();
        put_number(&mut unsorted, 2);
        for text in ["b", "2", "a", "1"] {
            put_bytes(&mut unsorted, text.as_bytes());
        }
        assert_eq!(Labels::decode(&unsorted), None, "two forms of one set would be two streams");
    }
}
