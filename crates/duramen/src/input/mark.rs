//! Where a file's reader stands, and how the file is known again: by what it begins with and by what stands before the
//! position, as names and inodes are given anew. Owns the position's form and the judgement. Pure.

use serde::{Deserialize, Serialize};

/// Bytes that a file is known by at its beginning, and before the position.
pub const MARK_BYTES: usize = 64;

/// A position in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The name under which it was read last.
    pub path: String,
    /// All lines before this byte are stored.
    pub offset: u64,
    /// The file's first bytes, as many of them as were read and at most [`MARK_BYTES`].
    pub head: Vec<u8>,
    /// The bytes before `offset`, at most [`MARK_BYTES`].
    pub tail: Vec<u8>,
    /// The file is a copy of the one with this device and inode, whose lines are stored from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<(u64, u64)>,
}

/// What a file's bytes say about a position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is the file: go on at the offset.
    Same,
    /// It is the file, but what followed this byte was lost when the power failed: go on at its end.
    Shorter,
    /// It is another file, or was written anew: begin at 0.
    Other,
}

/// A file's bytes, as far as judging needs them.
pub trait Bytes {
    /// The length.
    fn bytes(&self) -> u64;
    /// Reads at an offset; fewer bytes only at the end.
    fn read(&self, offset: u64, count: usize) -> Vec<u8>;
}

impl Position {
    /// The position after reading on: `read` are the bytes from the old offset to the new one.
    pub fn advance(&mut self, read: &[u8]) {
        if self.offset < MARK_BYTES as u64 && self.head.len() == self.offset as usize {
            let missing = MARK_BYTES - self.head.len();
            self.head.extend_from_slice(&read[..read.len().min(missing)]);
        }
        self.offset += read.len() as u64;
        self.tail.extend_from_slice(&read[read.len().saturating_sub(MARK_BYTES)..]);
        let surplus = self.tail.len().saturating_sub(MARK_BYTES);
        self.tail.drain(..surplus);
    }

    /// The position in a file of which all before this byte is stored.
    pub fn at(file: &impl Bytes, offset: u64) -> Position {
        let tail_bytes = (MARK_BYTES as u64).min(offset);
        Position {
            offset,
            head: file.read(0, MARK_BYTES.min(offset as usize)),
            tail: file.read(offset - tail_bytes, tail_bytes as usize),
            ..Position::default()
        }
    }

    /// Judges a file that should be the one of this position. `resumed`: the reader has just been started, so that a shorter file
    /// may be one that a power cut took the end from; while it runs, a file becomes shorter only because it is written anew.
    pub fn judge(&self, file: &impl Bytes, resumed: bool) -> Judgement {
        if self.offset == 0 {
            return Judgement::Same;
        }
        let bytes = file.bytes();
        if bytes >= self.offset {
            return if self.is_before_offset(file) { Judgement::Same } else { Judgement::Other };
        }
        let begins = |head: &[u8]| !head.is_empty() && file.read(0, head.len()) == head;
        let known = &self.head[..self.head.len().min(bytes as usize)];
        if resumed && begins(known) { Judgement::Shorter } else { Judgement::Other }
    }

    /// Whether a file of another inode is a copy of the one of this position.
    pub fn is_copied_in(&self, file: &impl Bytes) -> bool {
        self.offset > 0 && file.bytes() >= self.offset && self.is_before_offset(file)
    }

    /// Whether a file that begins so may be the one of this position, or a copy of it.
    pub fn may_begin(&self, head: &[u8]) -> bool {
        let count = self.head.len().min(head.len());
        count > 0 && self.head[..count] == head[..count]
    }

    fn is_before_offset(&self, file: &impl Bytes) -> bool {
        let tail_at = self.offset - self.tail.len() as u64;
        file.read(0, self.head.len()) == self.head && file.read(tail_at, self.tail.len()) == self.tail
    }
}

/// Whether two files are the same at both ends of their first so many bytes: nobody compares gigabytes, and two logs that differ
/// do so in the times of their lines.
pub fn begin_alike(one: &impl Bytes, other: &impl Bytes, bytes: u64) -> bool {
    let tail_bytes = (MARK_BYTES as u64).min(bytes);
    [0, bytes - tail_bytes].iter().all(|&at| {
        let found = one.read(at, tail_bytes as usize);
        found.len() as u64 == tail_bytes && found == other.read(at, tail_bytes as usize)
    })
}

/// The end of the last line within a file's first `bytes`, and not before `from`: as far as `window` bytes back.
pub fn last_line_end(file: &impl Bytes, from: u64, bytes: u64, window: usize) -> u64 {
    let begin = from.max(bytes.saturating_sub(window as u64));
    let found = file.read(begin, bytes.saturating_sub(begin) as usize);
    memchr::memrchr(b'\n', &found).map_or(from, |end| begin + end as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Bytes for &[u8] {
        fn bytes(&self) -> u64 {
            self.len() as u64
        }

        fn read(&self, offset: u64, count: usize) -> Vec<u8> {
            self.iter().skip(offset as usize).take(count).copied().collect()
        }
    }

    fn after(bytes: &[u8]) -> Position {
        let mut position = Position::default();
        for part in bytes.chunks(50) {
            position.advance(part);
        }
        position
    }

    fn text(seed: u8, lines: usize) -> Vec<u8> {
        (0..lines).flat_map(|line| format!("{seed} line {line} of a log\n").into_bytes()).collect()
    }

    #[test]
    fn a_position_knows_its_file_again() {
        let file = text(1, 40);
        for end in [1, 20, 63, 64, 65, 500] {
            let position = after(&file[..end]);
            assert_eq!((position.offset, position.head.len()), (end as u64, end.min(MARK_BYTES)));
            assert_eq!(position.judge(&&file[..], true), Judgement::Same);
            assert_eq!(position.judge(&&file[..end], false), Judgement::Same);
            assert!(position.is_copied_in(&&file[..]));
        }
    }

    #[test]
    fn a_file_that_was_written_anew_is_another() {
        let (old, new) = (text(1, 40), text(2, 60));
        let position = after(&old);
        for resumed in [true, false] {
            assert_eq!(position.judge(&&new[..], resumed), Judgement::Other);
            assert_eq!(position.judge(&&new[..100], resumed), Judgement::Other);
            assert_eq!(position.judge(&&b""[..], resumed), Judgement::Other);
        }
        assert!(!position.is_copied_in(&&new[..]));
        // The same beginning, and as long, but other lines before the position.
        let mut twin = old.clone();
        let at = twin.len() - 10;
        twin[at] ^= 1;
        assert_eq!(position.judge(&&twin[..], true), Judgement::Other);
    }

    #[test]
    fn a_shorter_file_lost_its_end_only_while_nobody_looked() {
        let file = text(1, 40);
        let position = after(&file);
        assert_eq!(position.judge(&&file[..200], true), Judgement::Shorter);
        assert_eq!(position.judge(&&file[..10], true), Judgement::Shorter);
        assert_eq!(position.judge(&&file[..200], false), Judgement::Other);
    }

    #[test]
    fn beginnings_are_compared_at_both_ends() {
        let file = text(1, 40);
        let mut other = file.clone();
        other.extend_from_slice(b"more");
        for bytes in [1, 63, 64, 65, 500, file.len() as u64] {
            assert!(begin_alike(&&file[..], &&other[..], bytes));
        }
        assert!(!begin_alike(&&file[..], &&other[..], file.len() as u64 + 1));
        other[499] ^= 1;
        assert!(!begin_alike(&&file[..], &&other[..], 500));
        assert!(Position::at(&&file[..], 500).is_copied_in(&&file[..]));
        assert_eq!(Position::at(&&file[..], 500), Position { copy_of: None, ..after(&file[..500]) });
        assert!(after(&file[..500]).may_begin(&file[..10]) && !after(&file[..500]).may_begin(b"2 line"));
    }

    #[test]
    fn the_last_line_end_is_found_within_its_window() {
        let file = b"ab\ncd\nef";
        assert_eq!(last_line_end(&&file[..], 0, 8, 100), 6);
        assert_eq!(last_line_end(&&file[..], 0, 5, 100), 3);
        assert_eq!((last_line_end(&&file[..], 6, 8, 100), last_line_end(&&file[..], 0, 8, 2)), (6, 0));
    }
}
