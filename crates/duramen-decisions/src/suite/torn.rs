//! What a write that was cut off may leave of a file. Owns the cuts; reads and writes nothing.

/// Bytes that a disk writes whole.
const SECTOR: usize = 512;
/// Sectors that are looked at one by one.
const SECTORS_MAX: usize = 16;

/// The files between `before` and `after` that a power cut may leave while the one becomes the other: what is new is there up to
/// some byte, and behind it the old bytes, none, or, where the file grew, zeros. Neither of the two themselves.
pub fn torn(before: &[u8], after: &[u8]) -> Vec<Vec<u8>> {
    let Some((first, last)) = differing(before, after) else { return Vec::new() };
    let mut cuts = vec![first + 1, first + (last - first) / 2, last];
    let sectors = (first / SECTOR + 1..).map(|sector| sector * SECTOR).take_while(|&cut| cut <= last);
    let step = ((last - first) / SECTOR).div_ceil(SECTORS_MAX).max(1);
    cuts.extend(sectors.step_by(step));
    cuts.retain(|cut| (first + 1..=last).contains(cut));
    cuts.sort_unstable();
    cuts.dedup();
    let mut all: Vec<Vec<u8>> = Vec::new();
    for cut in cuts {
        let new = after[..cut.min(after.len())].to_vec();
        let mut old = new.clone();
        old.extend_from_slice(before.get(cut..).unwrap_or_default());
        let mut zeros = old.clone();
        zeros.resize(after.len().max(before.len()), 0);
        for candidate in [old, zeros] {
            if candidate != before && candidate != after && !all.contains(&candidate) {
                all.push(candidate);
            }
        }
    }
    all
}

/// The first and the last byte that differ; a byte that only one of them has does.
fn differing(before: &[u8], after: &[u8]) -> Option<(usize, usize)> {
    let length = before.len().max(after.len());
    let differs = |&at: &usize| before.get(at) != after.get(at);
    Some(((0..length).find(differs)?, (0..length).rev().find(differs)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grew_is_cut_and_filled() {
        assert_eq!(torn(b"ab", b"abcd"), [b"abc".to_vec(), b"abc\0".to_vec()]);
    }

    #[test]
    fn a_file_that_was_overwritten_keeps_its_end() {
        let torn = torn(b"aaaaaa", b"abcdea");
        assert!(torn.contains(&b"abaaaa".to_vec()), "{torn:?}");
        assert!(torn.iter().all(|file| file.len() == 6 && file.starts_with(b"ab")), "{torn:?}");
    }

    #[test]
    fn a_large_write_is_cut_at_sectors() {
        let torn = torn(&[], &[7; 4 * SECTOR]);
        assert!((1..4).all(|sector| torn.contains(&vec![7; sector * SECTOR])));
    }

    #[test]
    fn nothing_between_equals() {
        assert!(torn(b"same", b"same").is_empty());
    }
}
