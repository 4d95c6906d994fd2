//! journald's export format, bytes to entries: fields of text and of binary data, an empty line behind each entry. Owns which fields are
//! kept and how much of one: an entry may hold a core dump. Pure, and takes bytes in any pieces.

/// Bytes of a message that are kept; of any other field, see [`FIELD_BYTES_MAX`].
const MESSAGE_BYTES_MAX: usize = 512 << 10;
/// Bytes of a field that are kept.
const FIELD_BYTES_MAX: usize = 1 << 10;
/// Bytes of a field's name at most.
const NAME_BYTES_MAX: usize = 256;

/// The fields that are kept, as the journal names them.
const KEPT: [&str; 10] = [
    "MESSAGE",
    "PRIORITY",
    "SYSLOG_IDENTIFIER",
    "SYSLOG_FACILITY",
    "_COMM",
    "_HOSTNAME",
    "_SYSTEMD_UNIT",
    "_PID",
    "_BOOT_ID",
    "UNIT",
];
/// Those that say where and when an entry is.
const PLACE: [&str; 2] = ["__CURSOR", "__REALTIME_TIMESTAMP"];

/// One entry of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    fields: Vec<(&'static str, Vec<u8>)>,
    /// Something of it was cut, or is not as the format says.
    pub odd: bool,
}

impl Entry {
    /// The first value of a field.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_slice())
    }

    /// The first value of a field that is text and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok()).filter(|text| !text.is_empty())
    }
}

/// Within which part of an entry the next byte is.
#[derive(Debug)]
enum Within {
    /// A field's name, of which this was read.
    Name(Vec<u8>),
    /// A value that ends with the line.
    Text(Field),
    /// The length of binary data: so many bytes of it are read.
    Length(Field, [u8; 8], usize),
    /// Binary data, with so many bytes to come.
    Data(Field, u64),
    /// The newline behind binary data.
    Behind,
    /// The rest of a line that is no field.
    Odd,
}

/// A field that is being read.
#[derive(Debug)]
struct Field {
    /// `None`: it is not kept.
    name: Option<&'static str>,
    value: Vec<u8>,
}

impl Field {
    fn of(name: &[u8]) -> Field {
        let name = KEPT.iter().chain(&PLACE).find(|known| known.as_bytes() == name).copied();
        Field { name, value: Vec::new() }
    }

    /// Keeps bytes up to the bound; false: some were cut.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(name) = self.name else { return true };
        let max = if name == "MESSAGE" { MESSAGE_BYTES_MAX } else { FIELD_BYTES_MAX };
        let room = max.saturating_sub(self.value.len()).min(bytes.len());
        self.value.extend_from_slice(&bytes[..room]);
        room == bytes.len()
    }
}

/// Reads entries out of a stream of bytes.
#[derive(Debug)]
pub struct Parser {
    within: Within,
    entry: Entry,
}

impl Default for Parser {
    fn default() -> Parser {
        Parser { within: Within::Name(Vec::new()), entry: Entry::default() }
    }
}

impl Parser {
    /// Takes bytes; returns an entry as soon as one is whole, with the number of bytes that were taken up to its end.
    pub fn take(&mut self, bytes: &[u8]) -> (Option<Entry>, usize) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let within = std::mem::replace(&mut self.within, Within::Odd);
            let (next, taken) = match within {
                Within::Name(name) => self.name(name, rest),
                Within::Text(field) => self.text(field, rest),
                Within::Length(field, length, have) => length_of(field, length, have, rest),
                Within::Data(field, left) => self.data(field, left, rest),
                Within::Behind if rest[0] == b'\n' => (Within::Name(Vec::new()), 1),
                Within::Behind => {
                    self.entry.odd = true;
                    (Within::Odd, 0)
                }
                Within::Odd => match memchr::memchr(b'\n', rest) {
                    Some(end) => (Within::Name(Vec::new()), end + 1),
                    None => (Within::Odd, rest.len()),
                },
            };
            at += taken;
            let empty_line = matches!(&next, Within::Name(name) if name.as_slice() == b"\n");
            self.within = if empty_line { Within::Name(Vec::new()) } else { next };
            if empty_line && self.entry != Entry::default() {
                return (Some(std::mem::take(&mut self.entry)), at);
            }
        }
        (None, at)
    }

    /// `NAME=` begins text, `NAME` and a newline binary data; a line without a name, here shown as the name `\n`, ends the entry.
    fn name(&mut self, mut name: Vec<u8>, rest: &[u8]) -> (Within, usize) {
        let Some(end) = memchr::memchr2(b'=', b'\n', rest) else {
            if name.len() + rest.len() > NAME_BYTES_MAX {
                self.entry.odd = true;
                return (Within::Odd, rest.len());
            }
            name.extend_from_slice(rest);
            return (Within::Name(name), rest.len());
        };
        name.extend_from_slice(&rest[..end]);
        let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
        if name.is_empty() && rest[end] == b'\n' {
            return (Within::Name(b"\n".to_vec()), end + 1);
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.iter().all(is_name) {
            self.entry.odd = true;
            // The newline, if it is what ended the name, ends the odd line too.
            return (Within::Odd, end);
        }
        let field = Field::of(&name);
        match rest[end] {
            b'=' => (Within::Text(field), end + 1),
            _ => (Within::Length(field, [0; 8], 0), end + 1),
        }
    }

    fn text(&mut self, mut field: Field, rest: &[u8]) -> (Within, usize) {
        let end = memchr::memchr(b'\n', rest);
        self.entry.odd |= !field.push(&rest[..end.unwrap_or(rest.len())]);
        match end {
            Some(end) => {
                self.keep(field);
                (Within::Name(Vec::new()), end + 1)
            }
            None => (Within::Text(field), rest.len()),
        }
    }

    fn data(&mut self, mut field: Field, left: u64, rest: &[u8]) -> (Within, usize) {
        let there = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
        self.entry.odd |= !field.push(&rest[..there]);
        let left = left - there as u64;
        if left > 0 {
            return (Within::Data(field, left), there);
        }
        self.keep(field);
        (Within::Behind, there)
    }

    fn keep(&mut self, field: Field) {
        if let Some(name) = field.name
            && self.entry.get(name).is_none()
        {
            self.entry.fields.push((name, field.value));
        }
    }
}

fn length_of(field: Field, mut length: [u8; 8], have: usize, rest: &[u8]) -> (Within, usize) {
    let taken = (8 - have).min(rest.len());
    length[have..have + taken].copy_from_slice(&rest[..taken]);
    if have + taken < 8 {
        return (Within::Length(field, length, have + taken), taken);
    }
    (Within::Data(field, u64::from_le_bytes(length)), taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(bytes: &[u8], piece: usize) -> Vec<Entry> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for mut part in bytes.chunks(piece) {
            while !part.is_empty() {
                let (entry, taken) = parser.take(part);
                assert!(taken > 0);
                found.extend(entry);
                part = &part[taken..];
            }
        }
        found
    }

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value, b"\n"].concat()
    }

    #[test]
    fn text_and_binary_fields_are_read_in_any_pieces() {
        let mut bytes = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=17\nMESSAGE=a=b\nPRIORITY=3\nNOT_KEPT=x\n\n".to_vec();
        bytes.extend(b"__CURSOR=s=1;i=3\n");
        bytes.extend(binary("MESSAGE", b"two\n\nlines\n"));
        bytes.extend(binary("COREDUMP", b"\n\n\0"));
        bytes.extend(binary("_COMM", b""));
        bytes.extend(b"\n\n");
        for piece in [1, 2, 3, 5, 11, 1_000] {
            let found = entries(&bytes, piece);
            assert_eq!(found.len(), 2, "in pieces of {piece}");
            assert_eq!(found[0].text("__CURSOR"), Some("s=1;i=2"));
            assert_eq!((found[0].text("MESSAGE"), found[0].text("PRIORITY")), (Some("a=b"), Some("3")));
            assert_eq!(found[1].get("MESSAGE"), Some(&b"two\n\nlines\n"[..]));
            assert_eq!((found[1].get("_COMM"), found[1].text("_COMM")), (Some(&b""[..]), None));
            assert!(!found[0].odd && !found[1].odd && found[1].get("NOT_KEPT").is_none());
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_marked() {
        let mut bytes = [b"MESSAGE=", &vec![b'x'; MESSAGE_BYTES_MAX + 5][..], b"\n_PID=7\n\n"].concat();
        bytes.extend(binary("_COMM", &vec![b'y'; FIELD_BYTES_MAX + 1]));
        bytes.extend(binary("COREDUMP", &vec![b'z'; 3_000_000]));
        bytes.extend(b"\nMESSAGE=after\n\n");
        let found = entries(&bytes, 4_096);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].get("MESSAGE").map(<[u8]>::len), Some(MESSAGE_BYTES_MAX));
        assert_eq!((found[0].odd, found[0].text("_PID")), (true, Some("7")));
        assert_eq!((found[1].odd, found[1].get("_COMM").map(<[u8]>::len)), (true, Some(FIELD_BYTES_MAX)));
        assert_eq!((found[2].odd, found[2].text("MESSAGE")), (false, Some("after")));
    }

    #[test]
    fn what_is_no_field_is_left_out_and_marked() {
        let long = "N".repeat(1_000);
        for odd in ["lower=1\n", "=nothing\n", "A B\n", &format!("{long}=1\n")] {
            for piece in [1, 7, 4_096] {
                let found = entries(format!("MESSAGE=one\n{odd}_PID=3\n\nMESSAGE=two\n\n").as_bytes(), piece);
                assert_eq!(found.len(), 2, "{odd}");
                assert_eq!((found[0].odd, found[0].text("_PID")), (true, Some("3")), "{odd}");
                assert_eq!((found[1].odd, found[1].text("MESSAGE")), (false, Some("two")), "{odd}");
            }
        }
        // Data whose newline is missing.
        let mut bytes = binary("MESSAGE", b"x");
        bytes.pop();
        bytes.extend(b"junk\n_PID=3\n\n");
        let found = entries(&bytes, 3);
        assert_eq!((found.len(), found[0].odd, found[0].text("_PID")), (1, true, Some("3")));
        // An absurd length takes no memory.
        let huge = [b"MESSAGE\n".as_slice(), &u64::MAX.to_le_bytes(), b"abc"].concat();
        assert_eq!(entries(&huge, 2), []);
    }
}
