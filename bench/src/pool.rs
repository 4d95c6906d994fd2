//! The records that the works append: made once, random, and recognisable when they are read back.
//!
//! Random bytes keep a compressing engine from winning by what this benchmark does not measure. A record starts with its
//! place in the pool, so that a reader can tell a wrong record without the appender having to stamp anything.

/// How many different records there are; they stay within a processor's second-level cache at the usual sizes.
pub const POOL_RECORDS: usize = 1000;

/// The records, and how to cut batches out of them.
pub struct Pool {
    bytes: Vec<u8>,
    record_bytes: usize,
}

impl Pool {
    /// Makes the pool; a record has at least the eight bytes that its place needs.
    pub fn new(record_bytes: usize) -> Pool {
        assert!(record_bytes >= 8, "a record carries its place in its first eight bytes");
        let mut bytes = vec![0; POOL_RECORDS * record_bytes];
        let mut random = Random::new(0x5eed);
        for chunk in bytes.chunks_mut(8) {
            let word = random.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        for (place, record) in bytes.chunks_mut(record_bytes).enumerate() {
            record[..8].copy_from_slice(&(place as u64).to_le_bytes());
        }
        Pool { bytes, record_bytes }
    }

    /// The record that stands at this index of a log that was filled from the pool in order.
    pub fn record(&self, index: u64) -> &[u8] {
        let start = (index % POOL_RECORDS as u64) as usize * self.record_bytes;
        &self.bytes[start..start + self.record_bytes]
    }

    /// The pool's records over and over, long enough that a batch of `batch_records` may start at any record.
    pub fn table(&self, batch_records: usize) -> Vec<&[u8]> {
        (0..(POOL_RECORDS + batch_records) as u64).map(|index| self.record(index)).collect()
    }

    /// Whether this payload may stand at this index. Only the length and the place are compared: whoever checks more
    /// measures the comparison.
    pub fn matches(&self, index: u64, payload: &[u8]) -> bool {
        let place = (index % POOL_RECORDS as u64).to_le_bytes();
        payload.len() == self.record_bytes && payload.first_chunk() == Some(&place)
    }
}

/// The xorshift64* generator: repeatable, and far from being what a work waits for.
pub struct Random {
    state: u64,
}

impl Random {
    /// Starts the sequence that belongs to this seed.
    pub fn new(seed: u64) -> Random {
        Random { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_recognised_only_at_its_place() {
        let pool = Pool::new(128);
        assert!(pool.matches(7, pool.record(7)));
        assert!(pool.matches(7 + POOL_RECORDS as u64, pool.record(7)));
        assert!(!pool.matches(8, pool.record(7)));
        assert!(!pool.matches(7, &pool.record(7)[..127]));
        assert!(!pool.matches(7, b""));
    }

    #[test]
    fn a_table_lets_a_batch_start_anywhere() {
        let pool = Pool::new(16);
        let table = pool.table(64);
        let last_batch = &table[POOL_RECORDS - 1..][..64];
        assert_eq!(last_batch[0], pool.record(POOL_RECORDS as u64 - 1));
        assert_eq!(last_batch[1], pool.record(0));
    }

    #[test]
    fn the_random_numbers_repeat_and_stay_below_their_bound() {
        let mut one = Random::new(1);
        let mut other = Random::new(1);
        for _ in 0..100 {
            assert_eq!(one.next(), other.next());
            assert!(one.below(10) < 10);
            other.next();
        }
    }
}
