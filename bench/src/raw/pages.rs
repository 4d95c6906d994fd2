//! Bytes that wait for the disk: a growing buffer whose start is aligned to a page in memory and in the file.
//!
//! It owns the rule that only whole pages are written and that the unfinished page stays in memory; it touches no file.
//! Alignment in memory is what O_DIRECT asks for.

/// The unit of every write.
pub const PAGE_BYTES: usize = 4096;

/// Frames behind each other, starting at a page of the file.
pub struct Pages {
    bytes: Vec<u8>,
    /// Where the aligned part of `bytes` begins.
    start: usize,
    /// How much of the aligned part can be filled.
    capacity: usize,
    /// How much of the aligned part is filled.
    length: usize,
}

impl Pages {
    /// An empty buffer for at least `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Pages {
        let capacity = capacity.next_multiple_of(PAGE_BYTES);
        let bytes = vec![0; capacity + PAGE_BYTES];
        let start = bytes.as_ptr().align_offset(PAGE_BYTES);
        Pages { bytes, start, capacity, length: 0 }
    }

    /// How many bytes are filled, the unfinished page included.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Makes room for `count` bytes behind the filled ones and hands it out; it counts as filled at once.
    pub fn extend(&mut self, count: usize) -> &mut [u8] {
        if self.length + count > self.capacity {
            self.grow(self.length + count);
        }
        let from = self.start + self.length;
        self.length += count;
        &mut self.bytes[from..from + count]
    }

    fn grow(&mut self, needed: usize) {
        let mut larger = Pages::with_capacity(needed.max(2 * self.capacity));
        larger.extend(self.length).copy_from_slice(&self.bytes[self.start..self.start + self.length]);
        *self = larger;
    }

    /// All pages that hold filled bytes, the last one filled up with zeros.
    pub fn whole_pages(&mut self) -> &[u8] {
        let padded = self.length.next_multiple_of(PAGE_BYTES);
        self.bytes[self.start + self.length..self.start + padded].fill(0);
        &self.bytes[self.start..self.start + padded]
    }

    /// Only the pages that are filled to the end.
    pub fn finished_pages(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length / PAGE_BYTES * PAGE_BYTES]
    }

    /// The filled part of the last page.
    pub fn unfinished(&self) -> &[u8] {
        let finished = self.length / PAGE_BYTES * PAGE_BYTES;
        &self.bytes[self.start + finished..self.start + self.length]
    }

    /// Forgets the finished pages: the unfinished one becomes the first.
    pub fn keep_unfinished(&mut self) {
        let finished = self.length / PAGE_BYTES * PAGE_BYTES;
        self.bytes.copy_within(self.start + finished..self.start + self.length, self.start);
        self.length -= finished;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_aligned_padded_and_carried_over() {
        let mut pages = Pages::with_capacity(10);
        pages.extend(PAGE_BYTES + 3).fill(7);
        assert_eq!(pages.finished_pages().len(), PAGE_BYTES);
        let whole = pages.whole_pages();
        assert_eq!(whole.len(), 2 * PAGE_BYTES);
        assert_eq!(whole.as_ptr().align_offset(PAGE_BYTES), 0, "O_DIRECT asks for this");
        assert_eq!(whole[PAGE_BYTES + 2..PAGE_BYTES + 4], [7, 0]);
        pages.keep_unfinished();
        assert_eq!((pages.len(), pages.unfinished()), (3, &[7, 7, 7][..]));
    }

    #[test]
    fn growing_keeps_what_was_filled() {
        let mut pages = Pages::with_capacity(PAGE_BYTES);
        for round in 0..100_u8 {
            pages.extend(100).fill(round);
        }
        let whole = pages.whole_pages();
        assert!((0..100).all(|round| whole[round * 100..][..100] == [round as u8; 100]));
    }
}
