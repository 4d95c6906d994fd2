#![allow(clippy::disallowed_methods, reason = "a test damages files behind the disk's back")]

use std::path::Path;

use duramen_journal::disk::real;

use super::writer::IndexHead;
use super::*;
use crate::error::Error;
use crate::format::table::filter::{hash, may_hold};
use crate::format::table::{Binding, Partition};
use crate::labels::Labels;
use crate::row::{Arrival, RowId};

const BINDING: Binding = Binding { journal_id: [3; 16], number: 11 };

struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("duramen-table-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn line(stream: usize, row: usize) -> String {
    format!("stream {stream} row {row} took {} ms for user{}", row * 7 % 1_000, row % 17)
}

fn write(folder: &Path, rows: usize, dictionary: &[u8]) -> writer::Written {
    let world = real::world();
    let head = IndexHead { partition: Partition::Day(0), level: 0, covers: 9, replaces: vec![4] };
    let options = WriterOptions::default();
    let mut table = TableWriter::create(world.disk, folder, BINDING, head, options).unwrap();
    for stream in 0..3 {
        let labels = Labels::new([("app", format!("a{stream}"))]).unwrap();
        table.begin_stream(&labels, 0, dictionary).unwrap();
        for row in 0..rows {
            let text = line(stream, row);
            let row = RowToWrite {
                time: row as i64 * 1_000_000,
                id: RowId::new(1 + row as u64 / 100, row % 100),
                arrival: Arrival { boot: 1, monotonic: (row as u64 / 100) * 50 },
                level: (row % 9) as u8,
                text: text.as_bytes(),
                fields: if row % 5 == 0 { b"\x01k\x01v" } else { b"" },
            };
            table.push(row).unwrap();
        }
    }
    table.finish().unwrap()
}

fn read(folder: &Path) -> Result<Vec<(usize, i64, String)>, Error> {
    let table = Table::open(&*real::world().disk, folder, BINDING)?;
    let mut all = Vec::new();
    for (at, stream) in table.index.streams.iter().enumerate() {
        let reader = table.stream(stream)?;
        for entry in &stream.blocks {
            let block = table.block(&reader, entry)?;
            for row in 0..block.numbers.len() {
                let text = String::from_utf8(block.text(row).to_vec()).unwrap();
                assert_eq!(block.fields(row).get("k").is_some(), block.numbers.times[row] / 1_000_000 % 5 == 0);
                all.push((at, block.numbers.times[row], text));
            }
        }
    }
    Ok(all)
}

#[test]
fn rows_come_back_with_and_without_a_dictionary() {
    let samples: Vec<String> = (0..2_000).map(|row| line(0, row)).collect();
    let dictionary = zstd::dict::from_samples(&samples, 4_096).unwrap();
    for (name, dictionary) in [("plain", &[][..]), ("dictionary", &dictionary)] {
        let folder = Folder::new(name);
        let written = write(&folder.0, 5_000, dictionary);
        assert_eq!(written.index.rows(), 15_000);
        let rows = read(&folder.0).unwrap();
        let expected = |at: usize| (at / 5_000, (at % 5_000) as i64 * 1_000_000, line(at / 5_000, at % 5_000));
        assert!(rows.iter().enumerate().all(|(at, row)| *row == expected(at)));
        assert_eq!(rows.len(), 15_000);
        let text: u64 = written.index.blocks().map(|block| u64::from(block.text.raw)).sum();
        assert!(written.bytes < text / 4, "{} of {text}", written.bytes);
    }
}

#[test]
fn filters_tell_which_blocks_may_hold_a_word() {
    let folder = Folder::new("filters");
    write(&folder.0, 20_000, &[]);
    let table = Table::open(&*real::world().disk, &folder.0, BINDING).unwrap();
    let filters = table.filters().unwrap();
    assert!(filters.len() as u64 <= table.bytes / 10);
    let holding = |word: &str| {
        let held = table.index.blocks().filter(|block| {
            let from = block.filter_offset as usize;
            may_hold(&filters[from..from + block.filter_bytes as usize], hash(word.as_bytes()))
        });
        held.count()
    };
    let blocks = table.index.blocks().count();
    assert!(blocks > 30);
    assert_eq!(holding("took"), blocks);
    assert!(holding("19999") >= 3);
    assert!(holding("nowhere") < blocks / 2);
}

#[test]
fn every_flipped_bit_is_found() {
    let folder = Folder::new("flips");
    write(&folder.0, 40, &[]);
    let path = folder.0.join(name(BINDING.number));
    let good = std::fs::read(&path).unwrap();
    let rows = read(&folder.0).unwrap();
    for at in 0..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, &damaged).unwrap();
        let found = match Table::open(&*real::world().disk, &folder.0, BINDING) {
            Err(_) => true,
            Ok(table) => table.filters().is_err() || read(&folder.0).is_err(),
        };
        assert!(found, "byte {at} of {}", good.len());
    }
    for end in [0, 1, 63, 64, 127, good.len() - 1] {
        std::fs::write(&path, &good[..end]).unwrap();
        assert!(read(&folder.0).is_err());
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(read(&folder.0).unwrap(), rows);
}

#[test]
fn names_are_read_as_they_are_written() {
    assert_eq!(parse_name(&name(0xabc)), Named::Table(0xabc));
    assert_eq!(parse_name(&temporary_name(7)), Named::Temporary(7));
    assert_eq!(parse_name(&moving_name(7)), Named::Moving(7));
    for other in ["x.table", "000000000000000A.table", "0000000000000001.tablet", ""] {
        assert_eq!(parse_name(other), Named::Other);
    }
}
