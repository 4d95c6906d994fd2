//! Tables as files: written once ([`writer`]), then read ([`reader`]). Owns the files' names.

pub(crate) mod reader;
pub(crate) mod sample_writer;
pub(crate) mod writer;

pub(crate) use reader::{Block, Table};
pub(crate) use sample_writer::SampleTableWriter;
pub(crate) use writer::{RowToWrite, TableWriter, WriterOptions};

/// The folder of the tables in a data folder.
pub(crate) const FOLDER: &str = "tables";

/// The name of a table: sixteen hexadecimal digits, so that names sort as numbers do.
pub(crate) fn name(number: u64) -> String {
    format!("{number:016x}.table")
}

/// The name of a table that is being written.
pub(crate) fn temporary_name(number: u64) -> String {
    format!("{number:016x}.table.tmp")
}

/// The name of a table for the moment in which opening names it anew.
pub(crate) fn moving_name(number: u64) -> String {
    format!("{number:016x}.table.moving")
}

/// What a name in the tables' folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Table(u64),
    Temporary(u64),
    /// A whole table, whose name was being changed and changed back.
    Moving(u64),
    Other,
}

/// Reads a name.
pub(crate) fn parse_name(name: &str) -> Named {
    let number = |digits: &str| {
        let plain = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if plain { u64::from_str_radix(digits, 16).ok() } else { None }
    };
    if let Some(found) = name.strip_suffix(".table").and_then(number) {
        return Named::Table(found);
    }
    if let Some(found) = name.strip_suffix(".table.moving").and_then(number) {
        return Named::Moving(found);
    }
    match name.strip_suffix(".table.tmp").and_then(number) {
        Some(found) => Named::Temporary(found),
        None => Named::Other,
    }
}

#[cfg(test)]
mod tests;
