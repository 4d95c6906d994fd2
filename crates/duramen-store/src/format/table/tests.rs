use super::*;

fn binding() -> Binding {
    Binding { journal_id: [7; 16], number: 5 }
}

fn section(stored: u32, raw: u32) -> Section {
    Section { stored, raw, checksum: stored ^ 0xabcd }
}

fn index() -> Index {
    let block = |offset, filter_offset| BlockEntry {
        offset,
        rows: 3,
        first_time: 1_000,
        last_time: 2_000,
        levels: 0b100,
        numbers: section(10, 20),
        fields: section(0, 0),
        text: section(30, 30),
        filter_offset,
        filter_bytes: 4,
    };
    let (first, second) = (Labels::new([("a", "1")]).unwrap(), Labels::new([("a", "2")]).unwrap());
    Index {
        series: vec![],
        columns: vec![],
        partition: Partition::Day(19_000),
        level: 1,
        covers: 77,
        replaces: vec![1, 2],
        streams: vec![
            StreamEntry { labels: first, covers: 0, dictionary: None, blocks: vec![block(64, 0), block(104, 4)] },
            StreamEntry {
                labels: second,
                covers: 80,
                dictionary: Some((144, section(6, 12))),
                blocks: vec![block(150, 8)],
            },
        ],
        filters: (190, section(12, 12)),
    }
}

#[test]
fn an_index_comes_back() {
    let index = index();
    let bytes = index.encode();
    assert_eq!(Index::decode(&bytes), Some(index.clone()));
    assert_eq!((index.rows(), index.times()), (9, Some((1_000, 2_000))));
    for end in 0..bytes.len() {
        assert_eq!(Index::decode(&bytes[..end]), None);
    }
}

#[test]
fn a_damaged_index_makes_no_panic() {
    let bytes = index().encode();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let _ = Index::decode(&damaged);
        }
    }
}

#[test]
fn header_and_trailer_belong_to_their_table() {
    let bytes = header(&binding(), Partition::Day(0));
    assert_eq!(check_header(&bytes, &binding()), Ok(()));
    for other in [Binding { number: 6, ..binding() }, Binding { journal_id: [8; 16], ..binding() }] {
        assert!(matches!(check_header(&bytes, &other), Err(Fault::Damaged(_))));
    }
    let mut newer = bytes;
    newer[8] = 2;
    assert_eq!(check_header(&newer, &binding()), Err(Fault::Newer(2)));
    let trailer = Trailer { index_offset: 1_000, index: section(50, 90) };
    let bytes = trailer.encode(&binding(), Partition::Day(0));
    assert_eq!(Trailer::decode(&bytes, &binding(), 1_114), Ok(trailer));
    assert!(Trailer::decode(&bytes, &binding(), 1_115).is_err(), "the place is under the checksum");
    for at in (0..8).chain(16..64) {
        let mut damaged = bytes;
        damaged[at] ^= 1;
        assert!(Trailer::decode(&damaged, &binding(), 1_114).is_err(), "byte {at}");
    }
}

#[test]
fn partitions_are_days_from_1677_to_2262() {
    let day = |time| Partition::of(TimeBase::Wall, time);
    assert_eq!(day(0), Partition::Day(0));
    assert_eq!(day(-1), Partition::Day(-1));
    assert_eq!(day(PARTITION_NANOSECONDS), Partition::Day(1));
    for time in [i64::MIN, i64::MAX] {
        let partition = day(time);
        let mut out = Vec::new();
        partition.put(&mut out);
        assert_eq!(Partition::read(&mut Reader::new(&out)), Some(partition));
        assert!(partition.end().is_some());
    }
    assert_eq!(Partition::of(TimeBase::Boot(3), 5), Partition::Boot(3));
}
