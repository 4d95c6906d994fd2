//! Which words a block may hold: a Bloom filter over the hashes of its tokens. Owns what a token is, and how it is hashed,
//! as both are on disk. Pure.
//!
//! Written here rather than taken from a crate because hash and bits are a stored format, which must not change with a
//! dependency's version. B. Bloom, "Space/time trade-offs in hash coding", 1970; two hashes make all, Kirsch and
//! Mitzenmacher, 2006.

/// Shorter tokens are not put in: nearly every block has them.
pub(crate) const TOKEN_BYTES_MIN: usize = 2;
/// Bits a token at most; more would hardly save another read.
const BITS_PER_TOKEN_MAX: f64 = 10.0;
/// Below this many bits a token a filter says "maybe" to nearly everything, and is left out.
const BITS_PER_TOKEN_MIN: f64 = 1.5;

/// Whether a byte belongs to a token: ASCII letters, digits, `_`, and all of UTF-8 beyond ASCII.
#[inline]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

static TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let character = byte as u8;
        table[byte] = character.is_ascii_alphanumeric() || character == b'_' || character >= 0x80;
        byte += 1;
    }
    table
};

/// The tokens of a text that are long enough, in order.
pub(crate) fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| !is_token_byte(byte)).filter(|token| token.len() >= TOKEN_BYTES_MIN)
}

/// The hash of a token, its ASCII letters as small ones.
#[inline]
pub(crate) fn hash(token: &[u8]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ token.len() as u64;
    let mut chunks = token.chunks_exact(8);
    for chunk in &mut chunks {
        state = mix(state, u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        state = mix(state, u64::from_le_bytes(last));
    }
    state ^ state >> 29
}

/// Adds eight bytes. Setting the bit that tells small letters from capitals folds some other characters too, which only
/// lets a few more tokens share a hash.
#[inline]
fn mix(state: u64, bytes: u64) -> u64 {
    let folded = bytes | 0x2020_2020_2020_2020;
    let state = (state ^ folded).wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^ state >> 32
}

/// The distinct hashes of texts: a set that is emptied and used again.
#[derive(Debug, Default)]
pub(crate) struct TokenSet {
    slots: Vec<u64>,
    held: usize,
}

impl TokenSet {
    pub fn clear(&mut self) {
        self.slots.fill(0);
        self.held = 0;
    }

    /// Adds all tokens of a text.
    pub fn add_text(&mut self, text: &[u8]) {
        let mut from = None;
        for (at, &byte) in text.iter().enumerate() {
            match (is_token_byte(byte), from) {
                (true, None) => from = Some(at),
                (false, Some(start)) => {
                    self.add_token(&text[start..at]);
                    from = None;
                }
                _ => {}
            }
        }
        if let Some(start) = from {
            self.add_token(&text[start..]);
        }
    }

    fn add_token(&mut self, token: &[u8]) {
        if token.len() >= TOKEN_BYTES_MIN {
            self.add(hash(token));
        }
    }

    fn add(&mut self, hash: u64) {
        if self.held * 2 >= self.slots.len() {
            let larger = vec![0; (self.slots.len() * 2).max(1024)];
            let before = std::mem::replace(&mut self.slots, larger);
            self.held = 0;
            before.into_iter().filter(|&slot| slot != 0).for_each(|slot| self.insert(slot));
        }
        // Zero marks an empty slot.
        self.insert(hash.max(1));
    }

    fn insert(&mut self, hash: u64) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                0 => {
                    self.slots[at] = hash;
                    self.held += 1;
                    return;
                }
                held if held == hash => return,
                _ => at = (at + 1) & mask,
            }
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.held
    }

    /// The filter's bytes, at most so many: how many probes, then the bits. Empty: too few bits to be of use.
    pub fn filter(&self, bytes_max: usize) -> Vec<u8> {
        let bits_max = bytes_max.saturating_sub(1) as f64 * 8.0;
        let per_token = (bits_max / self.held.max(1) as f64).min(BITS_PER_TOKEN_MAX);
        if self.held == 0 {
            // No tokens at all: a filter that says "no" to every word.
            return vec![1, 0];
        }
        if per_token < BITS_PER_TOKEN_MIN {
            return Vec::new();
        }
        let bytes = ((self.held as f64 * per_token) as usize / 8).max(1);
        let probes = ((per_token * std::f64::consts::LN_2).round() as u32).clamp(1, 8);
        let mut filter = vec![0; 1 + bytes];
        filter[0] = probes as u8;
        for &hash in self.slots.iter().filter(|&&slot| slot != 0) {
            for place in places(hash, probes, bytes) {
                filter[1 + place / 8] |= 1 << (place % 8);
            }
        }
        filter
    }
}

/// The bits of a token.
fn places(hash: u64, probes: u32, bytes: usize) -> impl Iterator<Item = usize> {
    let bits = bytes as u64 * 8;
    let (mut place, step) = (hash as u32, (hash >> 32) as u32 | 1);
    (0..probes).map(move |_| {
        let at = ((u64::from(place) * bits) >> 32) as usize;
        place = place.wrapping_add(step);
        at
    })
}

/// Whether a block with this filter may hold a token of this hash.
pub(crate) fn may_hold(filter: &[u8], hash: u64) -> bool {
    let Some((&probes, bits)) = filter.split_first() else { return true };
    if bits.is_empty() {
        return true;
    }
    places(hash.max(1), u32::from(probes), bits.len()).all(|place| bits[place / 8] & 1 << (place % 8) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words_and_numbers() {
        let text = "Jan  5 sshd[4242]: user=ana_2 für x".as_bytes();
        let all: Vec<_> = tokens(text).map(|token| std::str::from_utf8(token).unwrap()).collect();
        assert_eq!(all, ["Jan", "sshd", "4242", "user", "ana_2", "für"]);
        let mut set = TokenSet::default();
        set.add_text(text);
        assert_eq!(set.len(), all.len());
    }

    #[test]
    fn what_was_added_is_never_denied() {
        let mut set = TokenSet::default();
        let words: Vec<String> = (0..3_000).map(|n| format!("word{n}")).collect();
        words.iter().for_each(|word| set.add_text(word.as_bytes()));
        assert_eq!(set.len(), 3_000);
        for bytes_max in [600, 1_200, 4_000, 100_000] {
            let filter = set.filter(bytes_max);
            assert!(filter.len() <= bytes_max);
            for word in &words {
                assert!(may_hold(&filter, hash(word.as_bytes())));
                assert!(may_hold(&filter, hash(word.to_uppercase().as_bytes())), "case is folded");
            }
            let wrong = (0..10_000).filter(|n| may_hold(&filter, hash(format!("other{n}").as_bytes()))).count();
            let bound =
                [6_000, 3_500, 200, 200][[600, 1_200, 4_000, 100_000].iter().position(|b| *b == bytes_max).unwrap()];
            assert!(wrong < bound, "{bytes_max} bytes: {wrong} of 10,000 wrong");
        }
        assert!(set.filter(300).is_empty(), "under a bit and a half a token");
        assert!(may_hold(&[], 5), "no filter denies nothing");
        set.clear();
        assert!(!may_hold(&set.filter(100), hash(b"any")), "a block without tokens denies all");
    }

    /// The hash is on disk: it must not change.
    #[test]
    fn the_hash_is_fixed() {
        assert_eq!(hash(b"duramen"), hash(b"DURAMEN"));
        let told: Vec<_> = [&b"ab"[..], b"terminating", b"12345678"].iter().map(|token| hash(token)).collect();
        assert_eq!(told, FIXED);
    }

    const FIXED: [u64; 3] = [10_753_693_816_554_421_172, 12_409_565_738_841_983_042, 4_931_868_451_867_331_781];
}
