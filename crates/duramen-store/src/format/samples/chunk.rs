//! Numbers compressed by `pco`, as a chunk of one page without any head: what surrounds it says the type and the count. Owns
//! what is asked of `pco`, and what of its bytes is refused before it allocates for them. Pure.
//!
//! Only deterministic ways are asked for: its own choice of a mode counts in a hash table with a random key.

use std::cell::RefCell;

use pco::data_types::Number;
use pco::metadata::DeltaEncoding;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DecompressorScratch, DeltaSpec, ModeSpec};

use super::Effort;

/// The version of pco's format that chunks are in, as its own header would say.
const VERSION: [u8; 2] = [4, 1];
/// Counts under this are not worth its tables.
pub(super) const COUNT_MIN: usize = 24;
/// The mode that stores a dictionary, whose length `pco` believes before it has read it. Never written here.
const MODE_DICTIONARY: u8 = 4;

/// What is asked of `pco`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// 0 to 12: how finely the numbers' distribution is described.
    pub level: usize,
    /// How many times differences are taken.
    pub order: usize,
    /// Floats only: so many low bits apart from the rest; 0: not.
    pub low_bits: u32,
}

/// The levels that are tried. Over 8 nothing is gained; at 4 two hundredths are lost for a tenth of the time. In short blocks a lower one
/// may be shorter: its description is.
pub(super) fn levels(effort: Effort) -> &'static [usize] {
    match effort {
        Effort::Seal => &[5],
        Effort::Merge => &[5, 8],
    }
}

/// Adds a chunk. False: `pco` cannot, and nothing was added.
pub(super) fn put_chunk<T: Number>(out: &mut Vec<u8>, numbers: &[T], ask: Ask) -> bool {
    let delta = if ask.order == 0 { DeltaSpec::NoOp } else { DeltaSpec::TryConsecutive(ask.order) };
    let mode = if ask.low_bits == 0 { ModeSpec::Classic } else { ModeSpec::TryFloatQuant(ask.low_bits) };
    let config = ChunkConfig::default().with_compression_level(ask.level).with_delta_spec(delta).with_mode_spec(mode);
    let before = out.len();
    let written = (|| {
        let mut chunk = FileCompressor::default().chunk_compressor(numbers, &config.with_enable_8_bit(true))?;
        chunk.write_meta(&mut *out)?;
        chunk.write_page(0, &mut *out).map(|_| ())
    })();
    if written.is_err() {
        out.truncate(before);
    }
    written.is_ok()
}

/// Reads a chunk of so many numbers that takes all the bytes.
pub(super) fn chunk<T: Number + Default>(bytes: &[u8], count: usize) -> Option<Vec<T>> {
    thread_local! {
        static SCRATCH: RefCell<DecompressorScratch> = RefCell::default();
    }
    if count == 0 || bytes.first()? & 0xf == MODE_DICTIONARY {
        return None;
    }
    let (file, _) = FileDecompressor::new(&VERSION[..]).ok()?;
    let (chunk, page) = file.chunk_decompressor::<T, _>(bytes).ok()?;
    let meta = chunk.meta();
    // Nor are the others: one allocates what it says, the other is not for all counts.
    if matches!(meta.delta_encoding, DeltaEncoding::Lookback { .. } | DeltaEncoding::Conv1(_)) {
        return None;
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let mut page = chunk.page_decompressor_with_scratch(page, count, scratch).ok()?;
        let mut numbers = vec![T::default(); count];
        let progress = page.read(&mut numbers).ok()?;
        (progress.finished && page.into_src().is_empty()).then_some(numbers)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mode: ModeSpec, delta: DeltaSpec) -> Vec<u8> {
        let numbers: Vec<u32> = (0..300).map(|at| at * at % 97).collect();
        let config = ChunkConfig::default().with_mode_spec(mode).with_delta_spec(delta);
        let mut chunk = FileCompressor::default().chunk_compressor(&numbers, &config).unwrap();
        chunk.write_page(0, chunk.write_meta(Vec::new()).unwrap()).unwrap()
    }

    #[test]
    fn what_is_never_written_is_refused() {
        assert!(chunk::<u32>(&written(ModeSpec::Classic, DeltaSpec::TryConsecutive(1)), 300).is_some());
        assert_eq!(chunk::<u32>(&written(ModeSpec::TryDict, DeltaSpec::NoOp), 300), None);
        assert_eq!(chunk::<u32>(&written(ModeSpec::Classic, DeltaSpec::TryLookback), 300), None);
        assert_eq!(chunk::<u32>(&written(ModeSpec::Classic, DeltaSpec::TryConv1(2)), 300), None);
        // A dictionary of 2^25 numbers that are not there.
        assert_eq!(chunk::<u64>(&[0xf4, 0xff, 0xff, 0xff, 0x1f], 300), None);
    }

    #[test]
    fn a_chunk_takes_all_its_bytes_and_holds_its_count() {
        let bytes = written(ModeSpec::Classic, DeltaSpec::NoOp);
        assert_eq!(chunk::<u32>(&bytes, 0), None);
        assert_eq!(chunk::<u32>(&[&bytes[..], &[0]].concat(), 300), None);
        assert_eq!(chunk::<u32>(&bytes[..bytes.len() - 1], 300), None);
        assert_eq!(chunk::<u32>(&[], 300), None);
    }
}
