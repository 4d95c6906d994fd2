//! Digests: what tells one content from another, and finds a chunk. Owns the trait, and two that are ready to use.

use std::fmt;
use std::hash::Hash;

/// Bytes of a digest, of whatever algorithm.
pub const DIGEST_BYTES: usize = 32;

/// A cryptographic digest of 32 bytes. Longer ones are cut to that, as their authors allow.
///
/// Its [`Digest::ALGORITHM`] is stored with the log: a log that was made with another one is refused.
pub trait Digest: Copy + Eq + Ord + Hash + fmt::Debug + Send + Sync + 'static {
    /// Which algorithm it is. Below 1000: of this crate; above: the user's own.
    const ALGORITHM: u32;
    /// Its name, for people.
    const NAME: &'static str;

    /// The digest of parts that stand one behind the other.
    fn of(parts: &[&[u8]]) -> Self;
    /// Its bytes.
    fn bytes(&self) -> [u8; DIGEST_BYTES];
    /// A digest whose bytes were stored.
    fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self;
}

macro_rules! digest {
    ($feature:literal, $name:ident, $text:literal, $number:literal, $doc:literal, $of:expr) => {
        #[doc = $doc]
        #[cfg(feature = $feature)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; DIGEST_BYTES]);

        #[cfg(feature = $feature)]
        impl Digest for $name {
            const ALGORITHM: u32 = $number;
            const NAME: &'static str = $text;

            fn of(parts: &[&[u8]]) -> $name {
                let of: fn(&[&[u8]]) -> [u8; DIGEST_BYTES] = $of;
                $name(of(parts))
            }

            fn bytes(&self) -> [u8; DIGEST_BYTES] {
                self.0
            }

            fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> $name {
                $name(bytes)
            }
        }

        #[cfg(feature = $feature)]
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        #[cfg(feature = $feature)]
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }
    };
}

digest!(
    "blake3",
    Blake3,
    "blake3",
    1,
    "BLAKE3: several times as fast as SHA-256 where there is no instruction for that.",
    |parts| {
        let mut hasher = blake3::Hasher::new();
        parts.iter().for_each(|part| _ = hasher.update(part));
        hasher.finalize().into()
    }
);

digest!("sha256", Sha256, "sha-256", 2, "SHA-256, for protocols whose messages have it already.", |parts| {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
});

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of bytes by an algorithm of this crate; `None`: it is the user's own, or not in this build.
pub(crate) fn digest_of(algorithm: u32, bytes: &[u8]) -> Option<[u8; DIGEST_BYTES]> {
    match algorithm {
        #[cfg(feature = "blake3")]
        1 => Some(Blake3::of(&[bytes]).bytes()),
        #[cfg(feature = "sha256")]
        2 => Some(Sha256::of(&[bytes]).bytes()),
        _ => None,
    }
}

/// The name of an algorithm of this crate.
pub(crate) fn algorithm_name(algorithm: u32) -> String {
    match algorithm {
        1 => "blake3".into(),
        2 => "sha-256".into(),
        other => format!("digest {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_their_algorithm_whatever_the_parts() {
        // Of the empty text, as the algorithms' authors publish them.
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Blake3::of(&[]).to_string(), empty);
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256::of(&[b"", b""]).to_string(), empty);
        assert_eq!(Sha256::of(&[b"ab", b"c"]), Sha256::of(&[b"abc"]));
        assert_ne!(Blake3::of(&[b"abc"]), Blake3::of(&[b"abd"]));
        let one = Blake3::of(&[b"abc"]);
        assert_eq!(Blake3::from_bytes(one.bytes()), one);
    }
}
