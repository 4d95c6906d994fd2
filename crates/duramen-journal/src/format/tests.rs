//! `FORMAT.md` is the format: its hexadecimal samples are parsed here, and encoding must give exactly these bytes,
//! decoding these values. Whoever changes the layout has to change the page, and cannot do it by accident.

use super::*;

const PAGE: &str = include_str!("../../FORMAT.md");

/// The journal of all samples: id 00 01 … 0f, segment 3, salt 0x5a17.
fn id() -> [u8; 16] {
    std::array::from_fn(|index| index as u8)
}

fn header() -> SegmentHeader {
    SegmentHeader {
        state: HeaderState::Begun,
        journal_id: id(),
        number: 3,
        salt: 0x5a17,
        first_sequence: 1000,
        predecessor_digest: 0x1122_3344_5566_7788,
        released_below: 900,
        gap_first: 0,
        segment_bytes: 64 << 10,
        zeroed: true,
        growing: false,
    }
}

fn footer() -> Footer {
    let tables = encode_tables(&[logs()], b"summary");
    Footer {
        journal_id: id(),
        number: 3,
        salt: 0x5a17,
        first_sequence: 1000,
        count: 2,
        digest: 0x0102_0304_0506_0708,
        data_end: 8384,
        index_offset: 53248,
        tables_offset: 57344,
        logs: 1,
        summary_bytes: 7,
        summary_dropped: false,
        tables_check: tables_checksum(&tables, &header().binding()),
        released_below: 950,
    }
}

fn logs() -> LogCounts {
    LogCounts { log: 1, count: 2, first: 1000, last: 1001 }
}

fn identity() -> Identity {
    Identity { journal_id: id(), kind: *b"journal\0", method: 2, begun: true }
}

fn commit_header() -> CommitHeader {
    CommitHeader {
        first_sequence: 1000,
        previous_digest: header().binding().first_digest(&header()),
        count: 2,
        stored_bytes: 45,
        body_bytes: 45,
        padding: 3,
        kind: CommitKind::Data,
        codec: Codec::None,
    }
}

fn record_header(payload: &[u8], kind: u8, more: bool) -> RecordHeader {
    RecordHeader { payload_bytes: payload.len() as u32, payload_crc: payload_checksum(payload), log: 1, kind, more }
}

/// A commit of one batch of two records, "hello" and nothing, at the head of the segment.
fn commit() -> Vec<u8> {
    let binding = header().binding();
    let mut body = Vec::new();
    let records = [(&b"hello"[..], 7, true), (&b""[..], 8, false)];
    for (sequence, (payload, kind, more)) in (1000..).zip(records) {
        let at = body.len();
        body.extend_from_slice(&record_header(payload, kind, more).encode_open());
        RecordHeader::seal(&mut body[at..], &binding, DATA_OFFSET + (COMMIT_HEADER_BYTES + at) as u32, sequence);
        body.extend_from_slice(payload);
    }
    whole(commit_header(), &body)
}

fn whole(header: CommitHeader, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; COMMIT_HEADER_BYTES];
    header.encode(&mut bytes, &self::header().binding(), DATA_OFFSET);
    bytes.extend_from_slice(body);
    let trailer_at = bytes.len() + usize::from(header.padding);
    bytes.resize(trailer_at + COMMIT_TRAILER_BYTES, 0);
    trailer(0).encode(&mut bytes[trailer_at..]);
    let covered = trailer_at + CommitTrailer::COVERED;
    let digest = commit_digest(&bytes[..covered]);
    trailer(digest).encode(&mut bytes[trailer_at..]);
    bytes
}

fn trailer(digest: u64) -> CommitTrailer {
    CommitTrailer { durable_upto: 999, durable_end: 0, digest }
}

fn release() -> Vec<u8> {
    let header = CommitHeader {
        first_sequence: 1002,
        previous_digest: u64::from_le_bytes(commit()[104..].try_into().unwrap()),
        count: 0,
        stored_bytes: 8,
        body_bytes: 8,
        padding: 0,
        kind: CommitKind::Release,
        codec: Codec::None,
    };
    whole(header, &950u64.to_le_bytes())
}

fn block() -> BlockHeader {
    BlockHeader {
        stored_bytes: 900,
        body_bytes: 65536,
        stored_crc: 0xcafe_f00d,
        first_index: 2,
        records: 17,
        codec: Codec::Lz4,
    }
}

fn page(encode: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut page = vec![0xff; PAGE_BYTES];
    encode(&mut page);
    page
}

/// Every structure, encoded.
fn encoded() -> Vec<(&'static str, Vec<u8>)> {
    let binding = header().binding();
    let prepared = SegmentHeader {
        state: HeaderState::Prepared,
        first_sequence: 0,
        predecessor_digest: 0,
        released_below: 0,
        ..header()
    };
    vec![
        ("identity", identity().encode().to_vec()),
        ("segment-prepared", page(|page| prepared.encode(page))),
        ("segment-begun", page(|page| header().encode(page))),
        ("commit", commit()),
        ("release", release()),
        ("mark", encode_mark(Mark { zero_tail: true }).to_vec()),
        ("checkpoint", encode_checkpoint(5, 9, b"state")),
        ("block", block().encode(&binding, 8232).to_vec()),
        ("index", page(|page| encode_index_block(&[8232, 8257], 0, &binding, page))),
        ("tables", encode_tables(&[logs()], b"summary")),
        ("footer", page(|page| footer().encode(page))),
    ]
}

/// The samples of the page: fences that begin with `hex NAME LENGTH`; lines of an offset and bytes, a semicolon before a
/// remark. What no line names is zero.
fn samples() -> Vec<(String, Vec<u8>)> {
    let mut samples: Vec<(String, Vec<u8>)> = Vec::new();
    let mut inside = false;
    for line in PAGE.lines() {
        if let Some(head) = line.strip_prefix("```hex ") {
            let (name, length) = head.split_once(' ').expect("a name and a length");
            samples.push((name.to_string(), vec![0; length.parse().expect("a length")]));
            inside = true;
        } else if line.starts_with("```") {
            inside = false;
        } else if inside {
            let (offset, rest) = line.split_once(':').expect("an offset");
            let offset = usize::from_str_radix(offset.trim(), 16).expect("a hexadecimal offset");
            let digits = rest.split(';').next().unwrap_or_default().split_whitespace();
            let bytes: Vec<u8> = digits.map(|byte| u8::from_str_radix(byte, 16).expect("two digits")).collect();
            let sample = &mut samples.last_mut().expect("inside of one").1;
            sample[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
    }
    samples
}

fn sample(name: &str) -> Vec<u8> {
    samples().into_iter().find(|(other, _)| other == name).expect("drawn").1
}

/// Bytes as the page shows them.
fn drawn(name: &str, bytes: &[u8]) -> String {
    let mut out = format!("```hex {name} {}\n", bytes.len());
    for (index, line) in bytes.chunks(16).enumerate() {
        if line.iter().any(|&byte| byte != 0) {
            let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            out += &format!("{:04x}: {}\n", index * 16, digits.join(" "));
        }
    }
    out + "```\n"
}

#[test]
fn encoding_gives_the_samples() {
    let drawn_names: Vec<String> = samples().into_iter().map(|(name, _)| name).collect();
    let names: Vec<&str> = encoded().iter().map(|&(name, _)| name).collect();
    let wanted: String = encoded().iter().map(|(name, bytes)| drawn(name, bytes)).collect();
    assert_eq!(drawn_names, names, "each structure is drawn once, in this order:\n{wanted}");
    for (name, bytes) in encoded() {
        assert!(sample(name) == bytes, "FORMAT.md should show:\n{}", drawn(name, &bytes));
    }
}

#[test]
fn decoding_gives_the_values() {
    let binding = header().binding();
    assert_eq!(Identity::decode(&sample("identity")), Ok(identity()));
    assert_eq!(SegmentHeader::decode(&sample("segment-begun")), Ok(header()));
    let prepared = SegmentHeader::decode(&sample("segment-prepared")).expect("good");
    assert_eq!((prepared.state, prepared.salt), (HeaderState::Prepared, header().salt));
    assert_eq!(Footer::decode(&sample("footer"), &header()), Ok(footer()));
    let index = decode_index_block(&sample("index"), 0, &binding).expect("good");
    assert_eq!((index[..3].to_vec(), index.len()), (vec![8232, 8257, 0], INDEX_ENTRIES_PER_BLOCK));
    assert_eq!(decode_tables(&sample("tables"), &footer(), &binding), Some((vec![logs()], &b"summary"[..])));
    assert_eq!(BlockHeader::decode(&sample("block"), &binding, 8232), Some(block()));
    let bytes = sample("commit");
    assert_eq!(CommitHeader::decode(&bytes, &binding, DATA_OFFSET), Some(commit_header()));
    assert_eq!(commit_header().total_bytes(), bytes.len() as u64);
    assert_eq!(CommitTrailer::decode(&bytes[88..]), Some(trailer(commit_digest(&bytes[..104]))));
    let first = RecordHeader::decode(&bytes[40..], &binding, 8232, 1000);
    assert_eq!(first, Some(record_header(b"hello", 7, true)));
    assert_eq!(RecordHeader::decode(&bytes[65..], &binding, 8257, 1001), Some(record_header(b"", 8, false)));
    assert_eq!(&bytes[60..65], b"hello");
    assert_eq!(decode_word(&sample("release")[40..48]), Some(950));
    assert_eq!(decode_mark(&sample("mark")), Some(Mark { zero_tail: true }));
    assert_eq!(decode_checkpoint(&sample("checkpoint")), Some((5, 9, &b"state"[..])));
}

/// Any bit that changes anywhere in a sample is noticed by the check that covers it.
#[test]
fn every_bit_lies_under_a_check() {
    let binding = header().binding();
    type Good = fn(&[u8], &Binding) -> bool;
    let checks: [(&str, Good); 6] = [
        ("identity", |bytes, _| Identity::decode(bytes).is_ok()),
        ("segment-begun", |bytes, _| SegmentHeader::decode(bytes).is_ok()),
        ("footer", |bytes, _| Footer::decode(bytes, &header()).is_ok()),
        ("index", |bytes, binding| decode_index_block(bytes, 0, binding).is_some()),
        ("tables", |bytes, binding| decode_tables(bytes, &footer(), binding).is_some()),
        ("commit", |bytes, _| {
            CommitTrailer::decode(&bytes[88..]).is_some_and(|t| t.digest == commit_digest(&bytes[..104]))
        }),
    ];
    for (name, good) in checks {
        let mut bytes = sample(name);
        assert!(good(&bytes, &binding), "{name}");
        for place in 0..bytes.len() {
            for bit in 0..8 {
                bytes[place] ^= 1 << bit;
                assert!(!good(&bytes, &binding), "{name}, byte {place}, bit {bit}");
                bytes[place] ^= 1 << bit;
            }
        }
    }
}

/// Of another journal, segment, use of the file, offset, or sequence: nothing passes.
#[test]
fn nothing_passes_in_another_place() {
    let good = header().binding();
    let others = [
        SegmentHeader { journal_id: [0; 16], ..header() }.binding(),
        SegmentHeader { number: 4, ..header() }.binding(),
        SegmentHeader { salt: 1, ..header() }.binding(),
    ];
    let (commit, block, index) = (sample("commit"), sample("block"), sample("index"));
    for other in others {
        assert_eq!(CommitHeader::decode(&commit, &other, DATA_OFFSET), None);
        assert_eq!(RecordHeader::decode(&commit[40..], &other, 8232, 1000), None);
        assert_eq!(BlockHeader::decode(&block, &other, 8232), None);
        assert_eq!(decode_index_block(&index, 0, &other), None);
        assert_eq!(decode_tables(&sample("tables"), &footer(), &other), None);
        assert_ne!(other.first_digest(&header()), good.first_digest(&header()));
    }
    assert_eq!(CommitHeader::decode(&commit, &good, DATA_OFFSET + 8), None);
    assert_eq!(RecordHeader::decode(&commit[40..], &good, 8240, 1000), None);
    assert_eq!(RecordHeader::decode(&commit[40..], &good, 8232, 1001), None);
    assert_eq!(BlockHeader::decode(&block, &good, 8240), None);
    assert_eq!(decode_index_block(&index, 1, &good), None);
    for changed in [
        SegmentHeader { predecessor_digest: 1, ..header() },
        SegmentHeader { first_sequence: 1, ..header() },
        SegmentHeader { gap_first: 1, ..header() },
    ] {
        assert_ne!(good.first_digest(&changed), good.first_digest(&header()), "the chain begins elsewhere");
    }
    let foreign = [
        SegmentHeader { journal_id: [0; 16], ..header() },
        SegmentHeader { number: 4, ..header() },
        SegmentHeader { salt: 1, ..header() },
        SegmentHeader { first_sequence: 999, ..header() },
    ];
    for header in foreign {
        assert_eq!(Footer::decode(&sample("footer"), &header), Err(HeaderFault::Damaged));
    }
}

/// A footer can be checked and lie: its places must lie in order in the file.
#[test]
fn implausible_footers_are_no_footers() {
    let changes: [fn(&mut Footer); 9] = [
        |footer| footer.count = u64::MAX,
        |footer| footer.count = 1 << 20,
        |footer| footer.count = 2000,
        |footer| footer.data_end = footer.index_offset + 8,
        |footer| footer.index_offset += 8,
        |footer| footer.tables_offset += 4096,
        |footer| footer.logs = 10_000,
        |footer| footer.summary_bytes = u32::MAX,
        |footer| (footer.index_offset, footer.tables_offset) = (61_440, 65_536),
    ];
    for (case, change) in changes.into_iter().enumerate() {
        let mut changed = footer();
        change(&mut changed);
        let bytes = page(|page| changed.encode(page));
        assert_eq!(Footer::decode(&bytes, &header()), Err(HeaderFault::Damaged), "case {case}");
    }
}

#[test]
fn versions_and_features() {
    let signed = |place: usize, value: u8| {
        let mut page = sample("segment-begun");
        page[place] = value;
        let check = crc_fast::crc32_iscsi(&page[..PAGE_BYTES - 4]);
        page[PAGE_BYTES - 4..].copy_from_slice(&check.to_le_bytes());
        SegmentHeader::decode(&page)
    };
    assert_eq!(signed(8, 2), Err(HeaderFault::Newer(2)), "another version");
    assert_eq!(signed(12, 1), Err(HeaderFault::Newer(1)), "an incompatible feature");
    assert_eq!(signed(16, 1), Err(HeaderFault::Newer(1)), "a feature that a writer may not ignore");
    assert_eq!(signed(20, 1), Ok(header()), "a feature that everyone may ignore");
    assert_eq!(SegmentHeader::decode(&[0; PAGE_BYTES]), Err(HeaderFault::Blank));
    assert_eq!(SegmentHeader::decode(&sample("segment-begun")[..100]), Err(HeaderFault::Damaged));
    assert_eq!(SegmentHeader::decode(&sample("footer")), Err(HeaderFault::Damaged), "another magic");
}

#[test]
fn padding_reaches_the_boundary_and_no_further() {
    for offset in [8192u32, 8200, 12_280] {
        for stored in [0usize, 1, 7, 8, 4000, 4032, 70_000] {
            for (to_page, boundary) in [(false, COMMIT_ALIGNMENT), (true, PAGE_BYTES)] {
                let padding = usize::from(CommitHeader::padding_for(offset, stored, to_page));
                let end = offset as usize + COMMIT_HEADER_BYTES + stored + padding + COMMIT_TRAILER_BYTES;
                assert!(end.is_multiple_of(boundary) && padding < boundary, "{offset} {stored} {to_page}");
            }
        }
    }
}
