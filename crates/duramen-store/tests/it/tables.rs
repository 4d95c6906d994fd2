//! Tables: sealed, merged, dropped, damaged, lost.

use std::time::Duration;

use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_store::{Batch, Compaction, Durability, Error, Labels, Level, Options, Selector, TooOld};

use crate::{DAY, START, all, append, ask, open, open_with, options, stream, texts};

fn tables(disk: &SimDisk) -> Vec<String> {
    let files = disk.list_files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.contains("/tables/")).collect()
}

#[test]
fn merging_changes_nothing_but_the_files() {
    let disk = SimDisk::new(1);
    let (store, _) = open_with(&disk, &Options { fan_in: 4, ..options() });
    store.set_compaction(Compaction::Off);
    for number in 0..16 {
        append(&store, ["a", "b", "c"][number as usize % 3], START + (number * 7 % 16), &format!("row {number}"));
        store.flush().unwrap();
    }
    let before = all(&store);
    assert_eq!((before.len(), tables(&disk).len()), (16, 16));
    store.set_compaction(Compaction::Runs);
    store.compact().unwrap();
    assert_eq!((all(&store), tables(&disk).len()), (before.clone(), 1));
    assert_eq!(store.stats().merges, 5);
    drop(store);
    assert_eq!(all(&open(&disk.reboot(Crash::LoseAll)).0), before);
}

#[test]
fn a_lost_manifest_is_rebuilt_loudly() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    for number in 0..5 {
        append(&store, "a", START + number * DAY, &format!("row {number}"));
        store.flush().unwrap();
    }
    let before = all(&store);
    drop(store);
    disk.world().disk.remove("/data/MANIFEST".as_ref()).unwrap();
    let (store, report) = open(&disk);
    assert_eq!(all(&store), before);
    assert!(report.notes.iter().any(|note| note.contains("rebuilt from")), "{:?}", report.notes);
}

#[test]
fn a_lost_table_is_told_once_and_the_rest_serves() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    for number in 0..3 {
        append(&store, "a", START + number * DAY, &format!("row {number}"));
        store.flush().unwrap();
    }
    drop(store);
    let lost = tables(&disk).remove(1);
    disk.world().disk.remove(lost.as_ref()).unwrap();
    let (store, report) = open(&disk);
    assert_eq!(all(&store), ["row 0", "row 1", "row 2"], "the journal still has it");
    assert!(report.lost_tables.is_empty() && report.notes.len() == 1, "{report}");
    // Once the journal has given its rows up, a table is all there is of them.
    for number in 0..200 {
        append(&store, "filler", START + number, &format!("{number} {}", "x".repeat(3_000)));
    }
    store.flush().unwrap();
    drop(store);
    let lost = tables(&disk).remove(1);
    disk.world().disk.remove(lost.as_ref()).unwrap();
    for opening in 0..3 {
        let (store, report) = open(&disk);
        assert_eq!(ask(&store, r#"{app="a"}"#).len(), 2);
        assert_eq!(report.lost_tables.len(), usize::from(opening == 0));
        let gaps = ask(&store, r#"{duramen="events"} event=gap"#);
        assert_eq!(gaps.len(), 1, "told once, and kept");
        assert_eq!(gaps[0].fields().get("rows"), Some("1"));
    }
}

#[test]
fn old_days_go_whole_and_old_rows_are_refused() {
    let disk = SimDisk::new(1);
    let keep = Options { retention_age: Some(Duration::from_secs(3 * 86_400)), ..options() };
    let (store, _) = open_with(&disk, &keep);
    for day in 0..6 {
        append(&store, "a", START - day * DAY, &format!("{day} days ago"));
    }
    assert_eq!(store.stats().rows_too_old, 3);
    assert_eq!(all(&store).len(), 3);
    // Whoever appends is told.
    let mut batch = Batch::new();
    batch.push(&stream(&store, "b"), START - 5 * DAY, Level::Info, b"old", &[]);
    batch.push(&stream(&store, "b"), START, Level::Info, b"new", &[]);
    batch.push_sample(&stream(&store, "b"), START - 6 * DAY, 1.0);
    let receipt = store.append_drain(&mut batch, Durability::Now).unwrap();
    assert_eq!(receipt.too_old(), TooOld { rows: 1, text_bytes: 3, samples: 1 });
    receipt.wait().unwrap();
    assert_eq!(texts(&ask(&store, r#"{app="b"}"#)), ["new"]);
    store.flush().unwrap();
    disk.advance(Duration::from_secs(4 * 86_400));
    // The journal gives its rows up with its segments: until then the tables stay.
    for number in 0..200 {
        append(&store, "filler", START + 4 * DAY, &format!("{number} {}", "x".repeat(3_000)));
        store.flush().unwrap();
    }
    store.compact().unwrap();
    assert!(ask(&store, r#"{app="a"}"#).is_empty());
    assert_eq!(ask(&store, r#"{app="filler"}"#).len(), 200);
    drop(store);
    let (store, report) = open_with(&disk, &keep);
    assert!(ask(&store, r#"{app="a"}"#).is_empty());
    assert!(report.lost_tables.is_empty(), "{report}");
}

#[test]
fn the_oldest_go_when_there_is_too_much() {
    let disk = SimDisk::new(1);
    let (store, _) = open_with(&disk, &Options { retention_bytes: Some(20_000), ..options() });
    for number in 0..100 {
        let noise: String =
            (0..400).map(|at| char::from(b'a' + ((number * 31 + at * at * 7 + at) % 26) as u8)).collect();
        append(&store, "a", START + number * DAY, &noise);
        append(&store, "a", START + number * DAY, &format!("row {number}"));
        store.flush().unwrap();
        store.tick().unwrap();
    }
    assert!(store.stats().table_bytes <= 30_000, "{}", store.stats().table_bytes);
    let rows = texts(&ask(&store, "row"));
    assert_eq!(rows.last().map(String::as_str), Some("row 99"));
    assert!(rows.len() > 5 && rows.len() < 100, "{}", rows.len());
}

#[test]
fn a_damaged_block_takes_nothing_with_it() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    for number in 0..3 {
        append(&store, ["a", "b", "c"][number as usize], START + number, &format!("row {number}"));
    }
    store.flush().unwrap();
    drop(store);
    let table = tables(&disk).remove(0);
    let bytes = disk.read_durable(&table).unwrap();
    let at = bytes.windows(5).position(|window| window == b"row 1").unwrap();
    disk.flip_durable_bit(&table, at as u64, 3).unwrap();
    let (store, _) = open(&disk);
    let rows: Vec<_> = store.query(r#"{app=~".+"}"#.parse().unwrap()).unwrap().collect();
    let good: Vec<_> = rows.iter().filter_map(|row| row.as_ref().ok()).map(|row| row.text.clone()).collect();
    assert_eq!(good, [b"row 0", b"row 2"]);
    let bad: Vec<_> = rows.iter().filter_map(|row| row.as_ref().err()).collect();
    assert!(matches!(bad[..], [Error::DamagedTable { .. }]), "{bad:?}");
    // Whoever asks again, and opens again, is told of the gap, once.
    let gaps = |store: &duramen_store::Store| texts(&ask(store, r#"{duramen="events"} event=gap"#));
    for _ in 0..3 {
        store.tick().unwrap();
        store.query(r#"{app=~".+"}"#.parse().unwrap()).unwrap().count();
    }
    let told = gaps(&store);
    assert!(matches!(&told[..], [gap] if gap.contains("1 row of {app=\"b\"} cannot be read")), "{told:?}");
    store.close().unwrap();
    drop(store);
    let (store, _) = open(&disk);
    store.query(r#"{app=~".+"}"#.parse().unwrap()).unwrap().count();
    store.tick().unwrap();
    assert_eq!(gaps(&store), told);
}

/// A table whose trailer did not verify, under a good manifest, was left out of answers, and nobody was told: `query` gave 19,401 of
/// 20,001 rows and the code 0, `status` knew no gap.
#[test]
fn a_table_that_cannot_be_opened_is_told_and_the_rest_serves() {
    let disk = SimDisk::new(1);
    let (store, _) = open_with(&disk, &Options { fan_in: 2, ..options() });
    store.set_compaction(Compaction::Off);
    for number in 0..3 {
        append(&store, "a", START + number, &format!("row {number}"));
        store.flush().unwrap();
    }
    let mut batch = Batch::new();
    batch.push_sample(&store.stream(&Labels::new([("core", "1")]).unwrap()).unwrap(), START, 1.0);
    batch.push_sample(&store.stream(&Labels::new([("core", "1")]).unwrap()).unwrap(), START + 1, 2.0);
    store.append(batch, Durability::Now).unwrap().wait().unwrap();
    store.flush().unwrap();
    drop(store);
    for table in [1, 3].map(|at| tables(&disk).remove(at)) {
        let bytes = disk.read_durable(&table).unwrap();
        disk.flip_durable_bit(&table, bytes.len() as u64 - 6, 3).unwrap();
    }
    // Whoever only asks tells of it when it closes, and a merge that meets it does as well as a query.
    for asks in [true, false] {
        let disk = disk.reboot(Crash::LoseAll);
        let (store, report) = open_with(&disk, &Options { fan_in: 2, ..options() });
        assert!(report.lost_tables.is_empty(), "opening reads the manifest only: {report}");
        if asks {
            let mut asked = store.query(r#"{app="a"}"#.parse().unwrap()).unwrap();
            let rows: Vec<_> = asked.by_ref().collect();
            assert!(matches!(rows[0], Err(Error::UnusableTable { rows: 1, .. })), "{rows:?}");
            let good: Vec<_> = rows[1..].iter().map(|row| row.as_ref().unwrap().text.clone()).collect();
            assert_eq!(good, [b"row 0", b"row 2"]);
            assert!(asked.explained().damaged[0].contains("1 row may be missing"), "{:?}", asked.explained());
            drop(asked);
            let counts = store.count(r#"{app="a"}"#.parse().unwrap(), None, None).unwrap();
            assert_eq!((counts.total, counts.explained.damaged.len()), (2, 1));
            let asked = store.samples(&Selector::default(), i64::MIN, i64::MAX).unwrap();
            assert!(asked.damaged()[0].contains("2 samples may be missing"), "{:?}", asked.damaged());
        } else {
            store.compact().unwrap();
        }
        store.close().unwrap();
        drop(store);
        let (store, _) = open(&disk);
        let asked = store.query(r#"{duramen="events"} event=gap"#.parse().unwrap()).unwrap();
        let gaps: Vec<_> = asked.filter_map(Result::ok).collect();
        let told: Vec<_> = gaps.iter().map(|gap| (gap.fields().get("rows"), gap.fields().get("samples"))).collect();
        let expected = [(Some("1"), None), (None, Some("2"))];
        assert_eq!(told, expected[..if asks { 2 } else { 1 }], "{:?}", texts(&gaps));
        let (time, fields) = ((START + 1).to_string(), gaps[0].fields());
        let known = ["cause", "from", "to"].map(|name| fields.get(name).unwrap());
        assert_eq!(known, ["damage", &time, &time]);
        assert!(texts(&gaps)[0].contains("none of its 1 row can be read"), "{:?}", texts(&gaps));
    }
}

#[test]
fn what_is_too_large_is_refused_whole() {
    let disk = SimDisk::new(1);
    let (store, _) = open_with(&disk, &Options { row_bytes_max: 1_000, streams_max: 3, ..options() });
    let mut batch = Batch::new();
    batch.push(&stream(&store, "a"), START, Level::None, b"fine", &[]);
    batch.push(&stream(&store, "a"), START, Level::None, &[b'x'; 1_001], &[]);
    let refused = store.append(batch, Durability::Now);
    assert!(matches!(refused, Err(Error::TooLarge { what: "row", bytes: 1_001, max: 1_000 })), "{refused:?}");
    let mut batch = Batch::new();
    batch.set_position(b"key", &[0; 100_000]);
    assert!(matches!(store.append(batch, Durability::Now), Err(Error::TooLarge { what: "position", .. })));
    assert!(all(&store).is_empty());
    let labels = |n: usize| Labels::new([("n", n.to_string())]).unwrap();
    let known: Vec<_> = (0..10).map(|n| store.stream(&labels(n)).is_ok()).collect();
    assert!(known.contains(&false), "a bound is a bound");
}

#[test]
fn rows_of_any_time_are_kept() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    let times = [i64::MIN, -1, 0, START, 4_102_444_800_000_000_000, i64::MAX];
    for (number, time) in times.into_iter().enumerate() {
        append(&store, "a", time, &format!("row {number}"));
    }
    let before = all(&store);
    assert_eq!(before.len(), 6);
    store.flush().unwrap();
    assert_eq!(all(&store), before);
    let times_found: Vec<_> = ask(&store, r#"{app="a"}"#).iter().map(|row| row.time).collect();
    assert_eq!(times_found, times);
}

#[test]
fn tables_are_kept_open_within_a_bound_of_memory_and_answer_all_the_same() {
    let disk = SimDisk::new(1);
    let (periods, series) = (6, 500);
    // Two of them fit.
    let bounded = Options { open_tables_bytes: 400 << 10, ..options() };
    let (store, _) = open_with(&disk, &bounded);
    for period in 0..periods {
        let mut batch = Batch::new();
        for number in 0..series {
            let own = crate::samples::series(&store, number);
            batch.push_sample(&own, START + period * 40 * DAY, f64::from(number));
        }
        store.append(batch, Durability::Now).expect("taken").wait().expect("durable");
        store.flush().expect("sealed");
    }
    assert_eq!(store.stats().tables, periods as usize);
    for _ in 0..3 {
        assert_eq!(crate::samples::all(&store).values().map(Vec::len).sum::<usize>(), (periods * 500) as usize);
        let stats = store.stats();
        assert!((2..periods as usize).contains(&stats.open_tables), "{} are open", stats.open_tables);
        assert!(stats.open_table_bytes <= 400 << 10, "{} bytes", stats.open_table_bytes);
        // The names alone take so much.
        assert!(stats.open_table_bytes > stats.open_tables * series as usize * 30, "{} bytes", stats.open_table_bytes);
    }
    drop(store);
    // Two stay whatever they take.
    let (store, _) = open_with(&disk, &Options { open_tables_bytes: 1, ..options() });
    assert_eq!(crate::samples::all(&store).len(), series as usize);
    assert_eq!(store.stats().open_tables, 2);
}
