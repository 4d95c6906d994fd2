//! One block in, one block out: the codecs behind a single pair of functions. Knows no format.

use crate::format::Codec;

/// Compresses into `out` (cleared first). `false`: it did not get smaller, and `out` is of no use.
pub(crate) fn compress(codec: Codec, body: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    match codec {
        Codec::None => false,
        #[cfg(feature = "lz4")]
        Codec::Lz4 => {
            out.resize(lz4_flex::block::get_maximum_output_size(body.len()), 0);
            match lz4_flex::block::compress_into(body, out) {
                Ok(bytes) if bytes < body.len() => {
                    out.truncate(bytes);
                    true
                }
                _ => false,
            }
        }
        #[cfg(feature = "zstd")]
        Codec::Zstd(level) => {
            out.resize(zstd::zstd_safe::compress_bound(body.len()), 0);
            match zstd::bulk::compress_to_buffer(body, &mut out[..], i32::from(level)) {
                Ok(bytes) if bytes < body.len() => {
                    out.truncate(bytes);
                    true
                }
                _ => false,
            }
        }
        #[allow(unreachable_patterns, reason = "reached only when a codec is compiled out")]
        _ => false,
    }
}

/// Decompresses a block to exactly `body_bytes` in `out` (cleared first). `false`: the bytes are not such a block, or
/// this build lacks the codec.
pub(crate) fn decompress(codec: Codec, stored: &[u8], body_bytes: usize, out: &mut Vec<u8>) -> bool {
    out.clear();
    if stored.len() == body_bytes {
        out.extend_from_slice(stored);
        return true;
    }
    out.resize(body_bytes, 0);
    match codec {
        Codec::None => false,
        #[cfg(feature = "lz4")]
        Codec::Lz4 => lz4_flex::block::decompress_into(stored, out).is_ok_and(|bytes| bytes == body_bytes),
        #[cfg(feature = "zstd")]
        Codec::Zstd(_) => zstd::bulk::decompress_to_buffer(stored, &mut out[..]).is_ok_and(|bytes| bytes == body_bytes),
        #[allow(unreachable_patterns, reason = "reached only when a codec is compiled out")]
        _ => false,
    }
}

/// Whether this build can read and write a codec.
pub(crate) fn supported(codec: Codec) -> bool {
    match codec {
        Codec::None => true,
        Codec::Lz4 => cfg!(feature = "lz4"),
        Codec::Zstd(_) => cfg!(feature = "zstd"),
    }
}
