//! What chains must keep: every bit of every value, and the knowledge of what was missed.

use super::*;

fn chunk(samples: &[(u32, i64, f64)]) -> SampleChunk {
    let mut chunk = SampleChunk::default();
    samples.iter().for_each(|&(stream, time, value)| chunk.push(StreamId(stream), time, value));
    chunk
}

fn same(a: &SampleChunk, b: &SampleChunk) -> bool {
    let bits = |chunk: &SampleChunk| chunk.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    a.streams == b.streams && a.times == b.times && bits(a) == bits(b)
}

fn records(chunks: &[SampleChunk]) -> Vec<Vec<u8>> {
    let mut writer = ChainWriter::default();
    let mut all = Vec::new();
    for (at, chunk) in chunks.iter().enumerate() {
        let mut out = Vec::new();
        writer.put(&mut out, chunk, at % 2 == 1, Arrival { boot: 3, monotonic: 77 });
        writer.appended(at as u64 + 1);
        all.push(out);
    }
    all
}

fn varied() -> Vec<SampleChunk> {
    let odd =
        [0.0, -0.0, f64::NAN, crate::STALE, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, f64::MAX];
    let mut chunks = vec![chunk(&[]), chunk(&[(u32::MAX, i64::MIN, 1.5), (0, i64::MAX, -2.25)])];
    for round in 0..20i64 {
        let time = 1_700_000_000_000_000_000 + round * 15_000_000_000;
        let mut samples: Vec<(u32, i64, f64)> = (0..100)
            .map(|series| (series, time, (f64::from(series) * 10.0 + round as f64 * f64::from(series % 3)) / 100.0))
            .collect();
        samples.extend(odd.iter().map(|&value| (7, time + 1, value)));
        samples.push((8, time, (round as f64).sqrt()));
        samples.extend((0..50).map(|step| (200, time + step * 1_000_000, 20.0 + step as f64 / 10.0)));
        chunks.push(chunk(&samples));
    }
    chunks
}

#[test]
fn every_bit_comes_back() {
    let chunks = varied();
    let mut reader = ChainReader::default();
    for (at, record) in records(&chunks).iter().enumerate() {
        let read = reader.read(record, at as u64 + 1).unwrap();
        assert!(read.readable && same(&read.chunk, &chunks[at]), "record {at}");
        assert_eq!((read.begins, read.of_boot), (at == 0, at % 2 == 1));
        assert_eq!(read.arrival, Arrival { boot: 3, monotonic: 77 });
    }
}

#[test]
fn a_scrape_like_the_one_before_takes_little() {
    let scrape = |round: i64| {
        let value = |series: u32| {
            if series.is_multiple_of(2) { f64::from(series) } else { f64::from(series) * 0.25 + round as f64 }
        };
        chunk(&(0..1000).map(|series| (series, round * 15_000_000_000, value(series))).collect::<Vec<_>>())
    };
    let all = records(&(0..5).map(scrape).collect::<Vec<_>>());
    assert!(all[0].len() < 3_000, "{}", all[0].len());
    assert!(all[4].len() < 100, "{}", all[4].len());
}

#[test]
fn what_was_missed_is_known_until_the_next_chain_begins() {
    let chunks = varied();
    let mut writer = ChainWriter::default();
    let mut all = Vec::new();
    for (at, chunk) in chunks.iter().enumerate() {
        if at == 10 {
            writer.cut();
        }
        let mut out = Vec::new();
        writer.put(&mut out, chunk, false, Arrival::default());
        writer.appended(at as u64 + 1);
        all.push(out);
    }
    let mut reader = ChainReader::default();
    for (at, record) in all.iter().enumerate().filter(|(at, _)| *at != 4) {
        let read = reader.read(record, at as u64 + 1).unwrap();
        assert_eq!(read.readable, !(5..10).contains(&at), "record {at}");
        assert_eq!((&read.chunk.streams, &read.chunk.times), (&chunks[at].streams, &chunks[at].times));
        assert!(!read.readable || same(&read.chunk, &chunks[at]));
    }
    assert_eq!((writer.kept_for(5), writer.kept_for(11), writer.kept_for(40)), (1, 11, 11));
    writer.released(12);
    assert_eq!((writer.kept_for(5), writer.kept_for(12)), (5, 11));
    // What comes behind a chain that has ended builds on nothing.
    let last = chunks.len() as u64;
    assert_eq!(writer.kept_for(last + 1), 11);
    writer.cut();
    assert_eq!((writer.kept_for(last), writer.kept_for(last + 1)), (11, last + 1));
}

#[test]
fn records_that_are_cut_short_or_damaged_make_no_panic() {
    for (at, record) in records(&varied()).iter().enumerate().take(5) {
        let step = (record.len() / 500).max(1);
        for end in (0..record.len()).step_by(step) {
            assert!(ChainReader::default().read(&record[..end], 1).is_none(), "record {at} cut at {end}");
            for bit in 0..8 {
                let mut damaged = record.clone();
                damaged[end] ^= 1 << bit;
                let _ = ChainReader::default().read(&damaged, 1);
            }
        }
    }
}
