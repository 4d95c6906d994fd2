//! FORMAT.md's samples are what the code writes.

use crate::backend::file::record::{Change, Summary, put_head};
use crate::backend::kv::key_bytes;
use crate::backend::packs::header;
use crate::backend::witness::encoded;
use crate::backend::{Key, Space};
use crate::values::{Head, RawManifest, VERSION};

fn samples() -> Vec<Vec<u8>> {
    let text = include_str!("../FORMAT.md");
    let blocks = text.split("```hex\n").skip(1).filter_map(|rest| rest.split("```").next());
    let digits = blocks.map(|block| block.chars().filter(char::is_ascii_hexdigit).collect::<String>());
    let bytes = |digits: String| {
        (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).expect("hex")).collect()
    };
    digits.map(bytes).collect()
}

#[test]
fn the_samples_are_what_is_written() {
    let head = Head { version: VERSION, algorithm: 2, base: Some(7) }.encode();
    let manifest = RawManifest { seq_no: 9, chunks: vec![] }.encode();
    let mut record = Vec::new();
    put_head(Key::new(Space::Decision, 5), &mut record);
    record.push(0x76);
    let mut summary = Summary::new(10);
    let put = |space, number| Change::Put(Key::new(space, number));
    summary.add(10, &put(Space::Own, 0));
    summary.add(11, &put(Space::Decision, 7));
    summary.add(12, &put(Space::Proof, 7));
    summary.add(13, &put(Space::Decision, 8));
    summary.add(14, &Change::Remove(Space::Message, 0..=8));
    let pack = header(1)[..20].to_vec();
    let key = key_bytes(Key::new(Space::Decision, 5));
    let witness = encoded(5).to_vec();
    assert_eq!(samples(), [head, manifest, record, summary.finish(), pack, key, witness]);
}
