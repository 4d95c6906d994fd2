//! Which words a block may hold: two Bloom filters over the hashes of its tokens, one of words and one of tokens with a digit. Owns
//! what a token is, and how it is hashed, as both are on disk. Pure.
//!
//! Logs are full of numbers that hardly anybody asks for, and of few words. Words get the bits that they need first, so that the
//! numbers of a block do not make it look as if it held every word.
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

/// Of a hash: the token has a digit.
const NUMBER: u64 = 1;

/// The hash of a token, its ASCII letters as small ones; the lowest bit says whether it has a digit.
#[inline]
pub(crate) fn hash(token: &[u8]) -> u64 {
    let number = token.iter().any(u8::is_ascii_digit);
    (mixed(token) & !NUMBER).max(2) | u64::from(number)
}

#[inline]
fn mixed(token: &[u8]) -> u64 {
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
    /// How many of them have a digit.
    numbers: usize,
}

impl TokenSet {
    pub fn clear(&mut self) {
        self.slots.fill(0);
        self.held = 0;
        self.numbers = 0;
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
            (self.held, self.numbers) = (0, 0);
            before.into_iter().filter(|&slot| slot != 0).for_each(|slot| self.insert(slot));
        }
        // Zero marks an empty slot; no hash is zero.
        self.insert(hash);
    }

    fn insert(&mut self, hash: u64) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                0 => {
                    self.slots[at] = hash;
                    self.held += 1;
                    self.numbers += (hash & NUMBER) as usize;
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

    /// The filter's bytes, at most so many: the probes of words and of numbers, the bytes of the words' bits, their bits, the numbers'
    /// bits. A part without probes says nothing. Empty: no part is of use.
    pub fn filter(&self, bytes_max: usize) -> Vec<u8> {
        let room = bytes_max.saturating_sub(HEAD_BYTES).min(usize::from(u16::MAX));
        let words = Part::of(self.held - self.numbers, room);
        let numbers = Part::of(self.numbers, room - words.bytes);
        if words.probes == 0 && numbers.probes == 0 {
            return Vec::new();
        }
        let mut filter = vec![words.probes, numbers.probes];
        filter.extend_from_slice(&(words.bytes as u16).to_le_bytes());
        filter.resize(HEAD_BYTES + words.bytes + numbers.bytes, 0);
        for &hash in self.slots.iter().filter(|&&slot| slot != 0) {
            let (part, from) =
                if hash & NUMBER == 0 { (&words, HEAD_BYTES) } else { (&numbers, HEAD_BYTES + words.bytes) };
            if part.bytes > 0 {
                for place in places(hash, u32::from(part.probes), part.bytes) {
                    filter[from + place / 8] |= 1 << (place % 8);
                }
            }
        }
        filter
    }
}

/// Bytes before the bits.
const HEAD_BYTES: usize = 4;

/// The size of one of the two filters.
struct Part {
    /// 0: it is left out, and says nothing.
    probes: u8,
    bytes: usize,
}

impl Part {
    fn of(tokens: usize, bytes_max: usize) -> Part {
        if bytes_max == 0 {
            return Part { probes: 0, bytes: 0 };
        }
        if tokens == 0 {
            // No tokens at all: it says "no" to every one.
            return Part { probes: 1, bytes: 1 };
        }
        let per_token = (bytes_max as f64 * 8.0 / tokens as f64).min(BITS_PER_TOKEN_MAX);
        if per_token < BITS_PER_TOKEN_MIN {
            return Part { probes: 0, bytes: 0 };
        }
        let bytes = ((tokens as f64 * per_token) as usize / 8).max(1);
        let probes = (per_token * std::f64::consts::LN_2).round().clamp(1.0, 8.0) as u8;
        Part { probes, bytes }
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
    let Some((head, bits)) = filter.split_first_chunk::<HEAD_BYTES>() else { return true };
    let words = usize::from(u16::from_le_bytes([head[2], head[3]])).min(bits.len());
    let (probes, bits) = if hash & NUMBER == 0 { (head[0], &bits[..words]) } else { (head[1], &bits[words..]) };
    if probes == 0 || bits.is_empty() {
        return true;
    }
    places(hash, u32::from(probes), bits.len()).all(|place| bits[place / 8] & 1 << (place % 8) != 0)
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
        let word = |n: usize| n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>();
        let words: Vec<String> = (0..3_000).map(|n| format!("word{}", word(n))).collect();
        words.iter().for_each(|word| set.add_text(word.as_bytes()));
        assert_eq!(set.len(), 3_000);
        for bytes_max in [600, 1_200, 4_000, 100_000] {
            let filter = set.filter(bytes_max);
            assert!(filter.len() <= bytes_max);
            for word in &words {
                assert!(may_hold(&filter, hash(word.as_bytes())));
                assert!(may_hold(&filter, hash(word.to_uppercase().as_bytes())), "case is folded");
            }
            let wrong =
                (0..10_000).filter(|n| may_hold(&filter, hash(format!("other{}", word(*n)).as_bytes()))).count();
            let bound =
                [6_000, 3_500, 200, 200][[600, 1_200, 4_000, 100_000].iter().position(|b| *b == bytes_max).unwrap()];
            assert!(wrong < bound, "{bytes_max} bytes: {wrong} of 10,000 wrong");
        }
        assert!(may_hold(&set.filter(300), hash(b"any")), "under a bit and a half a token it says nothing");
        assert!(!may_hold(&set.filter(4_000), hash(b"1")), "there is no number");
        // Numbers do not take the words' bits.
        (0..3_000).for_each(|n| set.add_text(format!("{n} id{n}").as_bytes()));
        let filter = set.filter(4_200);
        let wrong = (0..10_000).filter(|n| may_hold(&filter, hash(format!("other{}", word(*n)).as_bytes()))).count();
        assert!(wrong < 200 && words.iter().all(|word| may_hold(&filter, hash(word.as_bytes()))), "{wrong} wrong");
        assert!((0..3_000).all(|n| may_hold(&filter, hash(n.to_string().as_bytes()))));
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
