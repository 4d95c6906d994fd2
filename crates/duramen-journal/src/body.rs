//! The memory in which the records of a batch or a commit gather. Owns its layout: room for the page that a commit begins
//! in and for the commit's header lies in front of the records, placed so that a commit which begins a page of the file
//! begins a page of memory too, as `O_DIRECT` asks: what was gathered here is written from here. Knows no format beyond
//! those sizes, no disk and no lock.
//!
//! ```text
//! bytes: | up to a page unused | page of the file, as far as earlier commits fill it | header | body ...
//!                              ^ a page's boundary in memory                                  ^ body_at
//! ```

use crate::format::{COMMIT_HEADER_BYTES, PAGE_BYTES};

/// Bytes in front of a commit's body: room for the page that the commit begins in, and for its header.
const FRONT: usize = PAGE_BYTES + COMMIT_HEADER_BYTES;
/// A body that grows to this size gets the room in front of it, which costs nothing then: it moves anyway.
const FRAMED_FROM: usize = 32 << 10;
/// Room behind the body for padding, trailer and the rest of the last page.
const BEHIND: usize = 2 * PAGE_BYTES;

/// Bytes of records, and room for what a commit puts around them.
///
/// Invariants: `body_at` is 0, or the address of byte `body_at - COMMIT_HEADER_BYTES` is a multiple of a page; the memory
/// never moves while `body_at` is not 0, except into memory that is laid out in the same way.
#[derive(Default)]
pub(crate) struct BodyBuffer {
    bytes: Vec<u8>,
    body_at: usize,
}

impl BodyBuffer {
    /// An empty body with the room in front of it.
    pub fn framed() -> BodyBuffer {
        let mut buffer = BodyBuffer::default();
        buffer.relocate(PAGE_BYTES, true);
        buffer
    }

    /// Bytes of the body.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.body_at
    }

    /// Whether a commit can be made around the body where it stands.
    pub fn is_framed(&self) -> bool {
        self.body_at > 0
    }

    /// Empties the body and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.truncate(self.body_at);
    }

    /// Cuts the body to its first bytes.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(self.body_at + length);
    }

    /// The body.
    #[inline]
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }

    /// The body, to be changed in place.
    #[inline]
    pub fn body_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.body_at..]
    }

    /// Adds bytes to the body.
    #[inline]
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        self.reserve(more.len());
        self.bytes.extend_from_slice(more);
    }

    /// Makes room for so many further bytes.
    #[inline]
    pub fn reserve(&mut self, more: usize) {
        let behind = if self.is_framed() { BEHIND } else { 0 };
        if self.bytes.len() + more + behind > self.bytes.capacity() {
            let body = self.len() + more;
            self.relocate(body.max(2 * self.len()), self.is_framed() || body >= FRAMED_FROM);
        }
    }

    /// Lets `write` put bytes behind the body, into a vector in which other bytes stand before them.
    ///
    /// # Panics
    /// If `write` takes bytes away.
    pub fn append_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        write(&mut self.bytes);
        assert!(self.bytes.len() >= before, "a payload is put behind what is there");
        // The vector may have grown by its own rules, which know nothing of pages.
        let commit_at = self.body_at.saturating_sub(COMMIT_HEADER_BYTES);
        let moved = self.is_framed() && self.bytes[commit_at..].as_ptr().align_offset(PAGE_BYTES) != 0;
        if moved || (!self.is_framed() && self.len() >= FRAMED_FROM) {
            self.relocate(2 * self.len(), true);
        }
    }

    /// Grows the body with zeros. Up to two pages of them are provided for and move nothing.
    pub fn grow_to(&mut self, length: usize) {
        if self.body_at + length > self.bytes.capacity() {
            self.reserve(length.saturating_sub(self.len()));
        }
        self.bytes.resize(self.body_at + length, 0);
    }

    /// The commit's header, in front of the body.
    ///
    /// # Panics
    /// If the body is not framed.
    pub fn header_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.body_at - COMMIT_HEADER_BYTES..self.body_at]
    }

    /// Header and body.
    ///
    /// # Panics
    /// If the body is not framed.
    pub fn commit(&self) -> &[u8] {
        &self.bytes[self.body_at - COMMIT_HEADER_BYTES..]
    }

    /// Header and body, behind so many bytes of the page that the commit begins in, less than a page.
    ///
    /// # Panics
    /// If the body is not framed.
    pub fn pages_mut(&mut self, prefix: usize) -> &mut [u8] {
        &mut self.bytes[self.body_at - COMMIT_HEADER_BYTES - prefix..]
    }

    /// Moves the body into memory for at least so many bytes of it.
    #[cold]
    fn relocate(&mut self, capacity: usize, framed: bool) {
        if !framed {
            self.bytes.reserve(capacity - self.bytes.len());
            return;
        }
        let mut bytes: Vec<u8> = Vec::with_capacity(PAGE_BYTES + FRONT + capacity + BEHIND);
        let start = bytes.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        let body_at = start + FRONT;
        bytes.resize(start, 0);
        match self.is_framed() {
            // A header may stand there by now.
            true => bytes.extend_from_slice(&self.bytes[self.body_at - FRONT..self.body_at]),
            false => bytes.resize(body_at, 0),
        }
        bytes.extend_from_slice(self.body());
        *self = BodyBuffer { bytes, body_at };
    }
}

impl Clone for BodyBuffer {
    /// The copy lies elsewhere, so it is laid out anew when it grows.
    fn clone(&self) -> BodyBuffer {
        BodyBuffer { bytes: self.body().to_vec(), body_at: 0 }
    }
}

impl std::fmt::Debug for BodyBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyBuffer").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_aligned(buffer: &mut BodyBuffer) -> bool {
        buffer.pages_mut(0).as_ptr().align_offset(PAGE_BYTES) == 0
    }

    #[test]
    fn a_commit_that_begins_a_page_begins_one_in_memory_however_it_grew() {
        let mut buffer = BodyBuffer::framed();
        assert!(is_aligned(&mut buffer));
        for round in 0..2000u32 {
            buffer.extend_from_slice(&round.to_le_bytes().repeat(40));
            assert!(is_aligned(&mut buffer), "round {round}");
        }
        let body = buffer.body().to_vec();
        assert!(body.chunks(160).zip(0..2000u32).all(|(chunk, round)| chunk == round.to_le_bytes().repeat(40)));
        buffer.grow_to(body.len() + 100);
        assert!(is_aligned(&mut buffer));
        assert_eq!(&buffer.body()[..body.len()], body);
        assert_eq!(buffer.body()[body.len()..], [0; 100]);
        buffer.header_mut().fill(9);
        buffer.grow_to(body.len() + (1 << 20));
        assert_eq!(buffer.commit()[..COMMIT_HEADER_BYTES], [9; COMMIT_HEADER_BYTES], "the header moves too");
        assert!(is_aligned(&mut buffer));
        buffer.clear();
        assert_eq!((buffer.len(), buffer.is_framed()), (0, true));
    }

    #[test]
    fn what_a_commit_puts_behind_its_body_moves_nothing() {
        let mut buffer = BodyBuffer::framed();
        for length in [1, 5000, 40_000, 1 << 20] {
            buffer.extend_from_slice(&vec![1; length - buffer.len()]);
            let before = buffer.body().as_ptr();
            buffer.grow_to(length + BEHIND);
            assert_eq!(buffer.body().as_ptr(), before, "{length}");
            buffer.truncate(length);
        }
    }

    #[test]
    fn bytes_put_behind_by_others_leave_the_layout_as_it_is() {
        let mut buffer = BodyBuffer::default();
        let mut expected = Vec::new();
        for round in 0..400u32 {
            let piece = round.to_le_bytes().repeat(1 + (round as usize * 37) % 900);
            buffer.append_with(|bytes| bytes.extend_from_slice(&piece));
            expected.extend_from_slice(&piece);
            assert_eq!(buffer.is_framed(), expected.len() >= FRAMED_FROM);
            assert!(!buffer.is_framed() || is_aligned(&mut buffer), "round {round}");
        }
        assert_eq!(buffer.body(), expected);
    }

    #[test]
    fn small_bodies_have_no_room_in_front_and_large_ones_do() {
        let mut buffer = BodyBuffer::default();
        buffer.extend_from_slice(&[7; 100]);
        assert!(!buffer.is_framed());
        assert!(buffer.bytes.capacity() < PAGE_BYTES, "a small batch costs no page");
        buffer.extend_from_slice(&[8; FRAMED_FROM]);
        assert!(buffer.is_framed() && is_aligned(&mut buffer));
        assert_eq!(buffer.body()[..101], [&[7; 100][..], &[8]].concat());
        let copy = buffer.clone();
        assert_eq!((copy.body(), copy.is_framed()), (buffer.body(), false));
    }
}
