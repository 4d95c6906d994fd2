//! `FORMAT.md` is the format: its hexadecimal samples are parsed here, and encoding must give exactly these bytes,
//! decoding these values.

use std::fmt::Write as _;

use bytes::Bytes;
use duramen_raft::format::snapshot::{End, Head, digest};
use duramen_raft::format::summary::Change;
use duramen_raft::format::{RawId, RawRecord};
use duramen_raft::{Plain, RaftLogState, Record, TermIndex, TermVote};

const PAGE: &str = include_str!("../../FORMAT.md");

/// The bytes of a sample.
fn sample(name: &str) -> Vec<u8> {
    let begin = PAGE.find(&format!("```hex {name} ")).unwrap_or_else(|| panic!("FORMAT.md has no sample {name}"));
    let body = PAGE[begin..].split("```").nth(1).expect("a fence ends");
    let lines = body.lines().skip(1).filter_map(|line| line.split_once(':'));
    let digits = lines.flat_map(|(_, digits)| digits.split_whitespace());
    digits.map(|digits| u8::from_str_radix(digits, 16).expect("hexadecimal")).collect()
}

/// The sample as it should be drawn.
fn drawn(name: &str, bytes: &[u8]) -> String {
    let mut out = format!("```hex {name} {}\n", bytes.len());
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let digits: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(out, "{:04x}: {}", line * 16, digits.join(" "));
    }
    out + "```\n"
}

fn id(term: u64, index: u64) -> TermIndex {
    TermIndex::new(term, index)
}

fn records() -> Vec<(&'static str, Record<Plain>)> {
    let vote = TermVote { term: 7, node: Some(3) };
    let state = RaftLogState {
        vote: Some(vote),
        last: Some(id(7, 43)),
        committed: None,
        purged: Some(id(6, 41)),
        user_data: Some(Bytes::from_static(b"mine")),
    };
    vec![
        ("vote", Record::SaveVote(vote)),
        ("append", Record::Append(id(7, 42), Bytes::from_static(b"hello"))),
        ("commit", Record::Commit(id(7, 42))),
        ("state", Record::State(state)),
    ]
}

fn change() -> Change {
    let mut change = Change::default();
    let term = |term: u64| term.to_le_bytes();
    let own = term(7);
    let append = |index| RawRecord::Append { id: RawId { index, leader: &own }, payload: b"" };
    change.add(100, 1, &RawRecord::SaveVote(b"v"));
    change.add(101, 1, &RawRecord::TruncateAfter(Some(RawId { index: 41, leader: &term(6) })));
    change.add(102, 1, &append(42));
    change.add(103, 1, &append(43));
    change.add(104, 300, &RawRecord::PurgeUpto(RawId { index: 9, leader: b"x" }));
    change.add(105, 1, &append(44));
    change
}

#[test]
fn encoding_gives_the_bytes() {
    for (name, record) in records() {
        let mut bytes = Vec::new();
        record.encode(&mut bytes).expect("can be stored");
        assert!(sample(name) == bytes, "FORMAT.md should show:\n{}", drawn(name, &bytes));
        assert!(PAGE.contains(&drawn(name, &bytes)), "FORMAT.md should show:\n{}", drawn(name, &bytes));
    }
    let bytes = change().encode();
    assert!(PAGE.contains(&drawn("summary", &bytes)), "FORMAT.md should show:\n{}", drawn("summary", &bytes));
}

#[test]
fn decoding_gives_the_values() {
    for (name, record) in records() {
        let bytes = Bytes::from(sample(name));
        assert_eq!(Record::decode(record.kind() as u8, &bytes), Ok(record));
    }
    assert_eq!(Change::decode(&sample("summary")), Ok(change()));
}

#[test]
fn the_kinds_are_those_of_the_table() {
    for number in 1..=9 {
        let kind = duramen_raft::format::Kind::of(number).expect("is one");
        assert!(PAGE.contains(&format!("\n| {number} | {} |", kind.words())), "{kind:?}");
    }
    assert_eq!(duramen_raft::format::Kind::of(0), None);
    assert_eq!(duramen_raft::format::Kind::of(10), None);
}

/// A snapshot of the text `hello`, without the zeros in its head.
#[test]
fn a_snapshot() {
    let leader = 7u64.to_le_bytes();
    let last = RawId { index: 42, leader: &leader };
    let head = Head { id: *b"0123456789abcdef", group: 1, chunk_bytes: 4096, last, meta: b"members" };
    let encoded = head.encode();
    let end = End { bytes: 5, digests: vec![digest(&head.id, 0, b"hello")] };
    let bytes = [&encoded[..68], &encoded[4092..], b"hello", &end.encode(&encoded)].concat();
    assert!(encoded[68..4092].iter().all(|&byte| byte == 0));
    assert_eq!(bytes, sample("snapshot"), "draw it as\n{}", drawn("snapshot", &bytes));
    assert_eq!(Head::decode(&encoded), Ok(head));
    assert_eq!(End::decode(&encoded, 4096, &bytes[77..]), Ok(end));
}
