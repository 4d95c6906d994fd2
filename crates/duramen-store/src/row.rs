//! One row, as users see it: its place, its time, its level, its text and fields. Owns the words; stores nothing.

use std::fmt;

use duramen_journal::Sequence;

use crate::format::bytes::{Reader, put_bytes};

/// Rows in one record of the journal at most.
pub const ROWS_PER_RECORD_MAX: usize = 1 << ORDINAL_BITS;
const ORDINAL_BITS: u32 = 20;

/// Nanoseconds since 1970-01-01 00:00 UTC, leap seconds not counted. Reaches from 1677 to 2262.
pub type Nanoseconds = i64;

/// What a row is known by, for good: the place of its record in the journal, and its place in that record.
///
/// Ids grow in the order in which rows were appended, over all streams, and are never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RowId(u64);

impl RowId {
    /// The row at a place of a record. Sequences stay below 2⁴⁴: at a million records a second that takes half a year of
    /// appending without a pause, and five hundred times that with batches.
    pub(crate) fn new(sequence: Sequence, ordinal: usize) -> RowId {
        debug_assert!(ordinal < ROWS_PER_RECORD_MAX);
        RowId(sequence << ORDINAL_BITS | ordinal as u64)
    }

    /// The id as one number.
    pub fn number(self) -> u64 {
        self.0
    }

    pub(crate) fn from_number(number: u64) -> RowId {
        RowId(number)
    }

    /// The sequence of the record in the journal.
    pub fn sequence(self) -> Sequence {
        self.0 >> ORDINAL_BITS
    }

    /// The place in that record, from 0.
    pub fn ordinal(self) -> usize {
        (self.0 & (ROWS_PER_RECORD_MAX as u64 - 1)) as usize
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.sequence(), self.ordinal())
    }
}

/// How grave a line is: syslog's severities, and none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Level {
    /// The system is unusable.
    Emergency = 0,
    /// Something must be done at once.
    Alert = 1,
    /// Critical.
    Critical = 2,
    /// An error.
    Error = 3,
    /// A warning.
    Warning = 4,
    /// Normal, but worth a note.
    Notice = 5,
    /// For information.
    Info = 6,
    /// For whoever looks for a bug.
    Debug = 7,
    /// The source said nothing about it.
    #[default]
    None = 8,
}

impl Level {
    /// All levels, the gravest first.
    pub const ALL: [Level; 9] = [
        Level::Emergency,
        Level::Alert,
        Level::Critical,
        Level::Error,
        Level::Warning,
        Level::Notice,
        Level::Info,
        Level::Debug,
        Level::None,
    ];

    /// The level of a stored byte; unknown ones are [`Level::None`].
    pub fn from_byte(byte: u8) -> Level {
        Level::ALL.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// syslog's word: `emerg`, `alert`, `crit`, `err`, `warning`, `notice`, `info`, `debug`, `none`.
    pub fn word(self) -> &'static str {
        ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "none"][self as usize]
    }

    /// Reads a word as programs write it, in any case: syslog's, and `fatal`, `panic`, `error`, `warn`, `trace`, `0` to `7`.
    pub fn parse(word: &str) -> Option<Level> {
        let word = word.to_ascii_lowercase();
        Some(match word.as_str() {
            "emerg" | "emergency" | "panic" | "0" => Level::Emergency,
            "alert" | "1" => Level::Alert,
            "crit" | "critical" | "fatal" | "2" => Level::Critical,
            "err" | "error" | "severe" | "3" => Level::Error,
            "warning" | "warn" | "4" => Level::Warning,
            "notice" | "5" => Level::Notice,
            "info" | "information" | "informational" | "6" => Level::Info,
            "debug" | "trace" | "7" => Level::Debug,
            "none" => Level::None,
            _ => return None,
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a row's time is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeBase {
    /// 1970-01-01 00:00 UTC.
    Wall,
    /// The start of a boot of the machine whose clock was not set; the number is the store's own count of boots.
    Boot(u32),
}

/// When a row reached the store: which boot of the machine, and the monotonic time in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Arrival {
    /// The store's own count of boots of the machine.
    pub boot: u32,
    /// Nanoseconds of the monotonic clock in that boot.
    pub monotonic: u64,
}

/// Fields beside a line's text: pairs of a name and a value in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Fields out of their stored bytes.
    pub(crate) fn from_bytes(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes }
    }

    /// The pairs. Bytes that are no fields end them.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || {
            let name = std::str::from_utf8(reader.bytes()?).ok()?;
            Some((name, std::str::from_utf8(reader.bytes()?).ok()?))
        })
    }

    /// The first value of a name.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter().find(|pair| pair.0 == name).map(|pair| pair.1)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }
}

/// Adds one field to the stored bytes of a row's fields.
pub(crate) fn put_field(out: &mut Vec<u8>, name: &str, value: &str) {
    put_bytes(out, name.as_bytes());
    put_bytes(out, value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_as_rows_were_appended() {
        let ids = [RowId::new(1, 0), RowId::new(1, 1), RowId::new(2, 0), RowId::new(1 << 43, ROWS_PER_RECORD_MAX - 1)];
        assert!(ids.is_sorted());
        for id in ids {
            assert_eq!(RowId::new(id.sequence(), id.ordinal()), id);
        }
        assert_eq!(ids[1].to_string(), "1.1");
    }

    #[test]
    fn levels_are_read_as_programs_write_them() {
        for level in Level::ALL {
            assert_eq!(Level::parse(level.word()), Some(level));
            assert_eq!(Level::from_byte(level as u8), level);
        }
        assert_eq!(Level::parse("WARN"), Some(Level::Warning));
        assert_eq!(Level::parse("warns"), None);
        assert_eq!(Level::from_byte(200), Level::None);
    }

    #[test]
    fn fields_come_back_in_order() {
        let mut bytes = Vec::new();
        put_field(&mut bytes, "user", "ana");
        put_field(&mut bytes, "user", "bo");
        let fields = Fields::from_bytes(&bytes);
        assert_eq!(fields.iter().collect::<Vec<_>>(), [("user", "ana"), ("user", "bo")]);
        assert_eq!(fields.get("user"), Some("ana"));
        assert_eq!(Fields::from_bytes(&bytes[..3]).iter().count(), 0);
    }
}
