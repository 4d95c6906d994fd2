//! Bytes into lines. Owns the bound of a line: what is longer comes in parts. Pure.

/// Whole lines at the beginning of some bytes, and what is left.
#[derive(Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// The lines, without their ends (`\n` or `\r\n`).
    pub lines: Vec<&'a [u8]>,
    /// Bytes that the lines and their ends take.
    pub taken: usize,
    /// Lines that are parts of longer ones.
    pub parts: usize,
}

/// Takes all whole lines. A line of more than `bytes_max` is taken in parts as soon as there is so much of it.
pub fn split(bytes: &[u8], bytes_max: usize) -> Split<'_> {
    let mut found = Split { lines: Vec::new(), taken: 0, parts: 0 };
    for end in memchr::memchr_iter(b'\n', bytes) {
        let mut rest = &bytes[found.taken..end];
        while rest.len() > bytes_max {
            found.lines.push(&rest[..bytes_max]);
            rest = &rest[bytes_max..];
            found.parts += 1;
        }
        found.lines.push(rest.strip_suffix(b"\r").unwrap_or(rest));
        found.taken = end + 1;
    }
    while bytes.len() - found.taken > bytes_max {
        found.lines.push(&bytes[found.taken..found.taken + bytes_max]);
        found.taken += bytes_max;
        found.parts += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], max: usize) -> (Vec<&str>, usize, usize) {
        let Split { lines, taken, parts } = split(bytes, max);
        (lines.into_iter().map(|line| std::str::from_utf8(line).unwrap()).collect(), taken, parts)
    }

    #[test]
    fn only_whole_lines_are_taken() {
        assert_eq!(lines(b"one\ntwo\r\n\nthr", 100), (vec!["one", "two", ""], 10, 0));
        assert_eq!(lines(b"", 100), (vec![], 0, 0));
        assert_eq!(lines(b"no end", 100), (vec![], 0, 0));
    }

    #[test]
    fn long_lines_come_in_parts() {
        assert_eq!(lines(b"abcdefgh\nx", 3), (vec!["abc", "def", "gh"], 9, 2));
        assert_eq!(lines(b"abcdefgh", 3), (vec!["abc", "def"], 6, 2));
        assert_eq!(lines(b"abc\n", 3), (vec!["abc"], 4, 0));
    }
}
