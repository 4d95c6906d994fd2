//! The frames of a syslog connection, RFC 6587: each is counted in octets or ends in a newline, and is told from the other kind by its
//! own first bytes. Owns the bound of a frame: what is longer comes in parts. Pure.

/// Digits of an octet count at most.
const COUNT_DIGITS_MAX: usize = 9;

/// Where a connection stands.
#[derive(Debug)]
pub struct Framer {
    bytes_max: usize,
    within: Within,
}

/// The frame that has been begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// None.
    Nothing,
    /// One with so many octets to come, of which a part was given out.
    Counted(usize),
    /// A line, of which a part was given out.
    Line,
}

/// A frame, or a part of one that is longer than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its bytes, without count and newline.
    pub bytes: &'a [u8],
    /// It goes on with what the frame before it began.
    pub goes_on: bool,
    /// It is all of its frame.
    pub whole: bool,
}

impl Framer {
    /// For a new connection. Frames of more than `bytes_max` come in parts.
    pub fn new(bytes_max: usize) -> Framer {
        Framer { bytes_max: bytes_max.max(COUNT_DIGITS_MAX + 2), within: Within::Nothing }
    }

    /// The next frame of some bytes, and how many of them it takes; `None`: more must come first.
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Option<(Frame<'a>, usize)> {
        match self.within {
            Within::Counted(left) => self.counted(bytes, left, 0),
            Within::Line => self.line(bytes),
            Within::Nothing => match count(bytes) {
                Count::Octets(octets, head) => self.counted(bytes, octets, head),
                Count::None => self.line(bytes),
                Count::Unknown => None,
            },
        }
    }

    /// What is left when the connection has ended.
    pub fn rest<'a>(&mut self, bytes: &'a [u8]) -> Option<Frame<'a>> {
        let goes_on = self.within != Within::Nothing;
        let head = match (self.within, count(bytes)) {
            (Within::Nothing, Count::Octets(_, head)) => head,
            _ => 0,
        };
        self.within = Within::Nothing;
        (!bytes.is_empty()).then_some(Frame { bytes: &bytes[head..], goes_on, whole: false })
    }

    fn counted<'a>(&mut self, bytes: &'a [u8], octets: usize, head: usize) -> Option<(Frame<'a>, usize)> {
        let goes_on = self.within != Within::Nothing;
        let there = &bytes[head..];
        if octets <= self.bytes_max {
            let frame = there.get(..octets)?;
            self.within = Within::Nothing;
            return Some((Frame { bytes: frame, goes_on, whole: !goes_on }, head + octets));
        }
        let part = there.get(..self.bytes_max)?;
        self.within = Within::Counted(octets - part.len());
        Some((Frame { bytes: part, goes_on, whole: false }, head + part.len()))
    }

    fn line<'a>(&mut self, bytes: &'a [u8]) -> Option<(Frame<'a>, usize)> {
        let goes_on = self.within == Within::Line;
        let reach = bytes.len().min(self.bytes_max + 1);
        if let Some(end) = memchr::memchr(b'\n', &bytes[..reach]) {
            self.within = Within::Nothing;
            return Some((Frame { bytes: &bytes[..end], goes_on, whole: !goes_on }, end + 1));
        }
        if reach <= self.bytes_max {
            return None;
        }
        self.within = Within::Line;
        Some((Frame { bytes: &bytes[..self.bytes_max], goes_on, whole: false }, self.bytes_max))
    }
}

/// What a frame begins with.
enum Count {
    /// So many octets, behind so many bytes.
    Octets(usize, usize),
    /// No count: it ends in a newline.
    None,
    /// Too little of it is there to tell.
    Unknown,
}

/// `123 <`: a number without leading zero, a space, and a message. The `<`, which every message has, keeps a line that begins with a
/// number from being taken for a count.
fn count(bytes: &[u8]) -> Count {
    let digits = bytes.iter().take(COUNT_DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits > COUNT_DIGITS_MAX || bytes.first().is_none_or(|byte| !(b'1'..=b'9').contains(byte)) {
        return if bytes.is_empty() { Count::Unknown } else { Count::None };
    }
    match &bytes[digits..] {
        [] | [b' '] => Count::Unknown,
        [b' ', b'<', ..] => {
            let octets = bytes[..digits].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
            Count::Octets(octets, digits + 1)
        }
        _ => Count::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of bytes that arrive in pieces of this size; a `+` before those that go on, a `-` behind those that are not whole.
    fn frames(bytes: &[u8], piece: usize, max: usize) -> Vec<String> {
        let mut framer = Framer::new(max);
        let mut pending = Vec::new();
        let mut found = Vec::new();
        let show = |frame: Frame<'_>| {
            let mark = |wanted: bool, text: &'static str| if wanted { text } else { "" };
            format!("{}{}{}", mark(frame.goes_on, "+"), String::from_utf8_lossy(frame.bytes), mark(!frame.whole, "-"))
        };
        for part in bytes.chunks(piece) {
            pending.extend_from_slice(part);
            while let Some((frame, taken)) = framer.next(&pending) {
                found.push(show(frame));
                pending.drain(..taken);
            }
        }
        found.extend(framer.rest(&pending).map(show));
        found
    }

    #[test]
    fn both_kinds_are_told_apart_frame_by_frame() {
        let bytes = b"5 <1>ab<2>line\n7 <3>a\nbc8 <4>12 <5<6>end\n99 bottles\n0 <7>x\n";
        let told = ["<1>ab", "<2>line", "<3>a\nbc", "<4>12 <5", "<6>end", "99 bottles", "0 <7>x"];
        for piece in [1, 2, 3, 7, 100] {
            assert_eq!(frames(bytes, piece, 100), told, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_that_the_connection_cut_is_kept() {
        assert_eq!(frames(b"<1>a\n<2>b", 100, 100), ["<1>a", "<2>b-"]);
        assert_eq!(frames(b"9 <1>a", 100, 100), ["<1>a-"]);
        assert_eq!(frames(b"12", 100, 100), ["12-"]);
        assert_eq!(frames(b"", 100, 100), Vec::<String>::new());
    }

    #[test]
    fn frames_over_the_bound_come_in_parts() {
        for piece in [1, 5, 100] {
            assert_eq!(
                frames(b"26 <1>4567890abcdefghij123456<2>x\n", piece, 11),
                ["<1>4567890a-", "+bcdefghij12-", "+3456-", "<2>x"]
            );
            assert_eq!(frames(b"<1>4567890abcdefghij\n3 <2>", piece, 11), ["<1>4567890a-", "+bcdefghij-", "<2>"]);
            assert_eq!(frames(b"<1>4567890a\n", piece, 11), ["<1>4567890a"]);
            assert_eq!(frames(b"999999999 <1>4567890abc", piece, 11), ["<1>4567890a-", "+bc-"]);
        }
    }
}
