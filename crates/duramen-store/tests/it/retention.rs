//! What a store of samples gives up when its tables take more bytes than they may.

use std::collections::BTreeSet;

use duramen_journal::disk::sim::SimDisk;
use duramen_store::{Batch, Durability, Options, Store};

use crate::samples::{all, series};
use crate::{DAY, SECOND, START, open_with, options};

const BYTES_MAX: u64 = 200 << 10;
const SERIES: u32 = 10;
const SAMPLES: u32 = 400;

fn bounded() -> Options {
    let journal = duramen_journal::Options { segment_bytes: 64 << 10, stock: false, ..options().journal };
    Options { journal, retention_bytes: Some(BYTES_MAX), fan_in: 100, ..options() }
}

/// A number that those before it do not tell.
fn noise(number: u64) -> u64 {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Samples of one period, some 32 KB, that do not compress; then what is due.
fn fill(store: &Store, period: u32) {
    for part in 0..8 {
        let mut batch = Batch::new();
        for at in part * (SAMPLES / 8)..(part + 1) * (SAMPLES / 8) {
            for number in 0..SERIES {
                let bits = noise(u64::from((period * SAMPLES + at) * SERIES + number));
                let time = START + i64::from(period) * 40 * DAY + i64::from(at) * SECOND;
                batch.push_sample(&series(store, number), time, f64::from_bits(bits >> 2));
            }
        }
        store.append(batch, Durability::Now).expect("taken").wait().expect("durable");
    }
    store.flush().expect("sealed");
    (0..3).for_each(|_| store.tick().expect("a look"));
}

/// The periods of which there is anything, all of which is there.
fn periods(store: &Store) -> BTreeSet<u32> {
    let found = all(store);
    let mut periods = BTreeSet::new();
    for (name, samples) in &found {
        for own in samples.chunk_by(|a, b| b.0 - a.0 < DAY) {
            assert_eq!(own.len(), SAMPLES as usize, "{name}: a period is there as a whole or not at all");
            periods.insert(((own[0].0 - START) / (40 * DAY)) as u32);
        }
    }
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), periods.len() * (SERIES * SAMPLES) as usize);
    periods
}

#[test]
fn the_oldest_samples_go_when_tables_take_more_than_they_may() {
    let disk = SimDisk::new(1);
    let (store, _) = open_with(&disk, &bounded());
    for period in 0..20 {
        fill(&store, period);
        let left = periods(&store);
        // The latest ones, without a hole.
        assert_eq!(left, (period + 1 - left.len() as u32..=period).collect(), "after period {period}");
        // A table goes when the journal has given up what it covers.
        let bytes = store.stats().table_bytes;
        assert!(bytes <= BYTES_MAX, "{bytes} bytes of tables after period {period}");
        assert!(bytes > BYTES_MAX / 2 || left.len() as u32 == period + 1, "{bytes} bytes: more went than had to");
    }
    let left = periods(&store);
    assert!((4..8).contains(&left.len()), "{left:?}");
    let found = all(&store);
    store.close().expect("closed");
    let (store, report) = open_with(&disk, &bounded());
    assert!(report.lost_tables.is_empty(), "{:?}", report.lost_tables);
    assert_eq!(all(&store), found, "what went does not come back");
    // The series go on.
    fill(&store, 20);
    assert!(periods(&store).contains(&20));
}
