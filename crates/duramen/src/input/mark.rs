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

    fn is_before_offset(&self, file: &impl Bytes) -> bool {
        let tail_at = self.offset - self.tail.len() as u64;
        file.read(0, self.head.len()) == self.head && file.read(tail_at, self.tail.len()) == self.tail
    }
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
}
