//! Compression of single values: a byte that says how, the length, the bytes. Owns that form, which is stored; what does not get
//! smaller stays as it is.

use bytes::Bytes;

use crate::config::CompressionOptions;

/// Values below this are not worth it.
const BYTES_MIN: usize = 256;
const PLAIN: u8 = 0;
const LZ4: u8 = 1;
const ZSTD: u8 = 2;
/// Bytes that a value may claim to have when it is unpacked.
const UNPACKED_MAX: usize = 1 << 30;

/// Adds a value in the smaller form.
pub(crate) fn pack(how: CompressionOptions, bytes: &[u8], out: &mut Vec<u8>) {
    let packed = match how {
        _ if bytes.len() < BYTES_MIN => None,
        CompressionOptions::None => None,
        CompressionOptions::Lz4 => Some((LZ4, lz4_flex::block::compress(bytes))),
        CompressionOptions::Zstd(level) => {
            zstd::bulk::compress(bytes, i32::from(level)).ok().map(|packed| (ZSTD, packed))
        }
    };
    match packed.filter(|(_, packed)| packed.len() + 4 < bytes.len()) {
        None => {
            out.push(PLAIN);
            out.extend_from_slice(bytes);
        }
        Some((how, packed)) => {
            out.push(how);
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(&packed);
        }
    }
}

/// The value again. `None`: these bytes are none.
pub(crate) fn unpack(bytes: &Bytes) -> Option<Bytes> {
    let (&how, rest) = bytes.split_first()?;
    if how == PLAIN {
        return Some(bytes.slice(1..));
    }
    let (length, packed) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > UNPACKED_MAX {
        return None;
    }
    let unpacked = match how {
        // Neither packs better than that, so that a lie about the length costs little memory.
        LZ4 if length / 255 <= packed.len() => lz4_flex::block::decompress(packed, length).ok()?,
        ZSTD => {
            // Stops at the length, whatever the frame says.
            let mut unpacked = Vec::with_capacity(length.min(packed.len().saturating_mul(16)));
            let mut reader = std::io::Read::take(zstd::stream::read::Decoder::new(packed).ok()?, length as u64 + 1);
            std::io::Read::read_to_end(&mut reader, &mut unpacked).ok()?;
            unpacked
        }
        _ => return None,
    };
    (unpacked.len() == length).then(|| unpacked.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_nonsense_does_not() {
        let text = b"the same words again and again ".repeat(100);
        let noise: Vec<u8> = (0..2000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for how in [CompressionOptions::None, CompressionOptions::Lz4, CompressionOptions::Zstd(3)] {
            for value in [&b""[..], b"short", &text, &noise] {
                let mut packed = Vec::new();
                pack(how, value, &mut packed);
                assert!(packed.len() <= value.len() + 1, "{how:?}");
                assert_eq!(unpack(&packed.clone().into()).as_deref(), Some(value), "{how:?}");
                if packed.first() != Some(&PLAIN) {
                    for cut in 0..packed.len() {
                        assert_eq!(unpack(&Bytes::copy_from_slice(&packed[..cut])), None, "{how:?} cut to {cut}");
                    }
                }
            }
        }
        assert_eq!(unpack(&Bytes::new()), None);
        assert_eq!(unpack(&Bytes::from_static(&[9, 0, 0, 0, 0])), None);
        assert_eq!(unpack(&Bytes::from_static(&[LZ4, 0xff, 0xff, 0xff, 0x7f, 1])), None);
        assert_eq!(unpack(&Bytes::from_static(&[ZSTD, 0xff, 0xff, 0xff, 0x3f, 1])), None);
    }
}
