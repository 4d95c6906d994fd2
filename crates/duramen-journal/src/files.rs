//! The names in a data folder. Owns the layout of the folder; touches no file.

use std::path::{Path, PathBuf};

/// The folder of the segments.
pub(crate) const JOURNAL: &str = "journal";
/// The identity file.
pub(crate) const IDENTITY: &str = "IDENTITY";
/// The identity file before it is complete.
pub(crate) const IDENTITY_NEW: &str = "IDENTITY.tmp";
/// The lock file.
pub(crate) const LOCK: &str = "LOCK";
/// Where damaged journals are set aside.
pub(crate) const ASIDE: &str = "aside";

/// The name of a segment: sixteen hexadecimal digits, so that names sort as numbers do.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}.seg")
}

/// The number in a segment's name. `None`: not such a name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let plain = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// The file held back for a full disk.
pub(crate) const RESERVE: &str = "reserve.tmp";

/// The number in a spare's name. `None`: not such a name.
pub(crate) fn spare_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("spare-")?.strip_suffix(".tmp")?;
    u64::from_str_radix(digits, 16).ok()
}

/// The name of a spare file.
pub(crate) fn spare_name(number: u64) -> String {
    format!("spare-{number:016x}.tmp")
}

/// The name of a spare file that is all zeros.
pub(crate) fn blank_name(number: u64) -> String {
    format!("blank-{number:016x}.tmp")
}

/// The number in a blank's name. `None`: not such a name.
pub(crate) fn blank_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("blank-")?.strip_suffix(".tmp")?;
    u64::from_str_radix(digits, 16).ok()
}

/// The folder of the segments below a data folder.
pub(crate) fn journal_folder(path: &Path) -> PathBuf {
    path.join(JOURNAL)
}
