//! Mixing, hashing and pseudo-random numbers of the simulation. Owns no state but the generator's. Pure and the same on
//! every machine, because a failure is replayed from a seed.

use std::hash::Hasher;

use super::SECTOR_BYTES;

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd6e8_feb8_6659_fd93;

pub(super) const ZERO_SECTOR: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];

/// Mixes two words into one: the folded 128-bit product of wyhash, plus the words themselves, because a factor of zero
/// would swallow the other.
pub(super) fn mix(left: u64, right: u64) -> u64 {
    let product = u128::from(left ^ FIRST) * u128::from(right ^ SECOND);
    ((product as u64) ^ ((product >> 64) as u64)).wrapping_add(left.rotate_left(29) ^ right)
}

/// The contribution of one sector to the hash of a file. Contributions are added up, so that replacing a sector costs
/// one subtraction and one addition; a sector of zeros contributes nothing, so that sparse and written zeros are equal.
pub(super) fn sector_hash(index: u64, bytes: &[u8; SECTOR_BYTES]) -> u64 {
    if *bytes == ZERO_SECTOR {
        return 0;
    }
    let mut lanes = [index, !index, index.rotate_left(32), index.rotate_left(16) ^ SECOND];
    for block in bytes.chunks_exact(64) {
        for (lane, pair) in lanes.iter_mut().zip(block.chunks_exact(16)) {
            *lane = mix(*lane ^ word(&pair[..8]), word(&pair[8..]));
        }
    }
    mix(mix(lanes[0], lanes[1]), mix(lanes[2], lanes[3]))
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("callers pass eight bytes"))
}

/// The hash of a name.
pub(super) fn text_hash(text: &str) -> u64 {
    let mut hasher = EventHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// A deterministic [`Hasher`] for the events of a history; the standard one is seeded per process.
#[derive(Default)]
pub(super) struct EventHasher(u64);

impl Hasher for EventHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            self.0 = mix(self.0, u64::from_le_bytes(padded) ^ ((chunk.len() as u64) << 56));
        }
    }

    fn finish(&self) -> u64 {
        mix(self.0, FIRST)
    }
}

/// A small deterministic generator (SplitMix64): the same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Generator(u64);

impl Generator {
    /// A generator from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(FIRST);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// Fills a buffer.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}
