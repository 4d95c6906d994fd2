//! Backups: a copy of a moment while the store goes on, and the way back.

use std::collections::BTreeSet;
use std::time::Duration;

use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_journal::{End, World};
use duramen_store::inspect::verify;
use duramen_store::{Batch, Durability, Error, Level, Options, Store, partial_of, restore};

use crate::samples::series;
use crate::{DAY, FOLDER, SECOND, START, all, append, ask, open, open_with, options, stream};

const BACKUP: &str = "/backup";

fn opened(disk: &SimDisk, path: &str) -> (Store, duramen_store::Report) {
    Store::open_with(path, &options(), disk.world()).expect("the copy opens")
}

#[test]
fn a_backup_is_a_store_of_its_moment() {
    let disk = SimDisk::new(1);
    let (store, _) = open_with(&disk, &Options { fan_in: 2, ..options() });
    for number in 0..30 {
        let mut batch = Batch::new();
        let time = START + number % 3 * DAY + number;
        batch.push(&stream(&store, "a"), time, Level::Info, format!("row {number}").as_bytes(), &[("n", "1")]);
        batch.set_position(b"source", number.to_string().as_bytes());
        store.append(batch, Durability::Now).unwrap().wait().unwrap();
        if number % 6 == 5 {
            store.flush().unwrap();
        }
    }
    append(&store, "a", START, "last");
    let before = all(&store);
    let backup = store.backup(BACKUP, &mut |_| ()).unwrap();
    assert_eq!(backup.table_rows + backup.journal_rows, before.len() as u64);
    append(&store, "a", START, "behind");
    assert_eq!(all(&store).len(), before.len() + 1, "the store goes on");
    // A second one does not take the first one's place.
    assert!(store.backup(BACKUP, &mut |_| ()).is_err());
    let disk = disk.reboot(Crash::LoseAll);
    drop(store);
    assert_eq!(verify(BACKUP, disk.world(), &mut |_| ()).unwrap().end, End::Closed);
    let (copy, report) = opened(&disk, BACKUP);
    assert_eq!((all(&copy), report.outage), (before.clone(), None));
    assert_eq!(copy.position(b"source").as_deref(), Some(&b"29"[..]));
    let ids: BTreeSet<_> = ask(&copy, r#"{app="a"}"#).iter().map(|row| row.id).collect();
    assert!(ids.len() == before.len() && ids.iter().all(|id| id.sequence() <= backup.upto));
    // Rows that come to the copy come behind all that it has.
    append(&copy, "a", START + 9 * DAY, "new");
    let new = ask(&copy, "new")[0].id;
    assert!(ids.iter().all(|id| *id < new), "ids are never given twice");
    copy.flush().unwrap();
    copy.compact().unwrap();
    copy.close().unwrap();
    drop(copy);
    let (copy, _) = opened(&disk, BACKUP);
    assert_eq!(all(&copy).len(), before.len() + 1);
}

#[test]
fn a_backup_is_put_back() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    append(&store, "a", START, "in a table");
    store.flush().unwrap();
    append(&store, "a", START + 1, "in the journal");
    store.backup(BACKUP, &mut |_| ()).unwrap();
    append(&store, "a", START + 2, "behind");
    drop(store);
    disk.advance(Duration::from_secs(3_600));
    let disk = disk.reboot(Crash::LoseAll);
    let before = disk.list_files().into_iter().filter(|file| file.0.starts_with("/backup")).collect::<Vec<_>>();
    let restored = restore(BACKUP, "/restored", &disk.world(), &mut |_| ()).unwrap();
    assert_eq!(restored.copied.table_rows + restored.copied.journal_rows, 2);
    assert_eq!(restored.report.outage, None, "nobody lost power");
    let after = disk.list_files().into_iter().filter(|file| file.0.starts_with("/backup")).collect::<Vec<_>>();
    assert_eq!(before, after, "the backup is only read");
    let (store, report) = opened(&disk, "/restored");
    assert_eq!((all(&store), report.outage), (vec!["in a table".into(), "in the journal".into()], None));
    assert_eq!(ask(&store, r#"{duramen="events"} event=restore"#).len(), 1);
    assert!(ask(&store, r#"{duramen="events"} event=outage"#).is_empty());
    assert!(restore(BACKUP, "/restored", &disk.world(), &mut |_| ()).is_err(), "never over something");
}

/// Rows and samples, in tables that share their times and not, in the journal, and not even there yet.
#[test]
fn a_backup_with_samples_gives_the_same_answers() {
    let disk = SimDisk::new(1);
    let (store, _) = open_with(&disk, &Options { fan_in: 2, ..options() });
    let every = |step: i64| if step % 5 == 0 { f64::NAN } else { step as f64 / 3.0 };
    for step in 0..30 {
        append(&store, "a", START + step, &format!("row {step}"));
        let mut batch = Batch::new();
        for number in 0..4 {
            let time = START + step % 2 * 40 * DAY + step * SECOND + i64::from(number / 3);
            batch.push_sample(&series(&store, number), time, every(step));
        }
        store.append(batch, Durability::Now).unwrap().wait().unwrap();
        if step % 6 == 5 {
            store.flush().unwrap();
            store.compact().unwrap();
        }
    }
    store.write(&series(&store, 9), START, 0.25).unwrap();
    store.write(&series(&store, 1), START, -7.0).unwrap();
    let backup = store.backup(BACKUP, &mut |_| ()).unwrap();
    let (rows, samples) = (all(&store), crate::samples::all(&store));
    let count: usize = samples.values().map(Vec::len).sum();
    assert_eq!(backup.table_rows + backup.journal_rows, rows.len() as u64);
    assert!(backup.table_samples > 0 && backup.journal_samples > 0, "{backup}");
    // One was written twice.
    assert_eq!(backup.table_samples + backup.journal_samples, count as u64 + 1, "{backup}");
    let restored = restore(BACKUP, "/restored", &disk.world(), &mut |_| ()).unwrap();
    assert_eq!(restored.copied.table_samples, backup.table_samples);
    for path in [BACKUP, "/restored"] {
        let found = verify(path, disk.world(), &mut |_| ()).unwrap();
        assert_eq!((found.end, &found.findings[..]), (End::Closed, &[][..]), "{path}");
        let (copy, report) = opened(&disk, path);
        assert_eq!((all(&copy), crate::samples::all(&copy)), (rows.clone(), samples.clone()), "{path}");
        assert!(report.table_samples == backup.table_samples && report.replayed_samples > 0, "{report}");
        copy.flush().unwrap();
        copy.compact().unwrap();
        assert_eq!(crate::samples::all(&copy), samples, "{path}");
        copy.close().unwrap();
    }
}

#[test]
fn what_is_damaged_is_neither_backed_up_nor_put_back() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    append(&store, "a", START, "a row in a table");
    store.flush().unwrap();
    store.backup(BACKUP, &mut |_| ()).unwrap();
    store.close().unwrap();
    drop(store);
    for (folder, text) in [(BACKUP, "a row in a table"), (FOLDER, "a row in a table")] {
        let files = disk.list_files().into_iter().map(|(path, _)| path);
        let table = files.into_iter().find(|path| path.starts_with(&format!("{folder}/tables/"))).unwrap();
        let bytes = disk.read_durable(&table).unwrap();
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        disk.flip_durable_bit(&table, at as u64, 1).unwrap();
    }
    let refused = restore(BACKUP, "/restored", &disk.world(), &mut |_| ()).unwrap_err();
    assert!(matches!(&refused, Error::BadCopy { .. }), "{refused}");
    let (store, _) = open(&disk);
    let refused = store.backup("/second", &mut |_| ()).unwrap_err();
    assert!(matches!(&refused, Error::DamagedTable { .. }), "{refused}");
    let world: World = disk.world();
    assert!(world.disk.list("/second".as_ref()).is_err() && world.disk.list("/restored".as_ref()).is_err());
    // What was begun bears its other name, and is not taken for something to go on with.
    assert!(world.disk.list(&partial_of("/second".as_ref())).is_ok());
    assert!(store.backup("/second", &mut |_| ()).unwrap_err().to_string().contains("partial"));
}

/// What was lost long ago, and is known, is no reason not to back up the rest.
#[test]
fn known_losses_are_backed_up_too() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    for number in 0..5 {
        append(&store, "a", START + number, &format!("row number {number}"));
    }
    store.close().unwrap();
    drop(store);
    let files = disk.list_files().into_iter().map(|(path, _)| path);
    let segment = files.into_iter().find(|path| path.contains("/journal/") && path.ends_with(".seg")).unwrap();
    let bytes = disk.read_durable(&segment).unwrap();
    let at = bytes.windows(12).position(|window| window == b"row number 2").unwrap();
    disk.flip_durable_bit(&segment, at as u64, 1).unwrap();
    // The store sets the damaged journal aside and goes on with what is good.
    let (store, report) = open(&disk);
    assert!(!report.journal.gaps.is_empty(), "{report}");
    let before = all(&store);
    assert_eq!(before.len(), 4);
    store.backup(BACKUP, &mut |_| ()).unwrap();
    let (copy, report) = opened(&disk, BACKUP);
    assert_eq!(all(&copy), before);
    assert!(!report.journal.gaps.is_empty(), "the loss stays known");
    assert_eq!(ask(&copy, r#"{duramen="events"} event=gap"#).len(), 1, "and is told once");
}

/// A power cut at any moment of a backup leaves either none or a whole one, and the store itself as it was.
#[test]
fn a_backup_that_was_cut_is_none() {
    for stop in 0..40 {
        let disk = SimDisk::new(stop);
        let (store, _) = open(&disk);
        append(&store, "a", START, "in a table");
        store.flush().unwrap();
        append(&store, "a", START + 1, "in the journal");
        let calls = std::cell::Cell::new(0);
        let mut cut = None;
        let done = store.backup(BACKUP, &mut |_| {
            calls.set(calls.get() + 1);
            if calls.get() == stop + 1 {
                cut = Some(disk.reboot(Crash::LoseAll));
            }
        });
        done.unwrap();
        let was_cut = cut.is_some();
        let disk = cut.unwrap_or_else(|| disk.reboot(Crash::LoseAll));
        drop(store);
        let there = disk.world().disk.list(BACKUP.as_ref()).is_ok();
        assert_eq!(there, !was_cut, "nothing bears the name before it is whole");
        assert_eq!(all(&open(&disk).0), ["in a table", "in the journal"]);
        if there {
            assert_eq!(all(&opened(&disk, BACKUP).0), ["in a table", "in the journal"]);
            return;
        }
    }
    panic!("a backup calls its progress without end");
}

/// With threads, on the real disk: writers, sealing, merges and retention go on while backups are made.
#[test]
#[allow(clippy::disallowed_methods, reason = "the test has threads of its own and a folder on the real disk")]
fn backups_beside_appends_merges_and_retention_have_all_rows_to_their_moment() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let place = std::env::temp_dir().join(format!("duramen-backup-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let world = World::real();
    let options = Options { memtable_bytes: 64 << 10, fan_in: 2, retention_bytes: Some(600_000), ..options() };
    let (store, _) = Store::open_with(place.join("data"), &options, world.clone()).unwrap();
    let done = AtomicBool::new(false);
    let writer = |name: &'static str| {
        let stream = stream(&store, name);
        for number in 0u64.. {
            let mut batch = Batch::new();
            for row in 0..20 {
                // Noise that hardly compresses, so that the retention has something to drop.
                let noise = (number * 20 + row).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let text = format!("{number}.{row} {noise:016x} {:016x}", noise.rotate_left(17).wrapping_mul(31));
                batch.push(&stream, START + number as i64 / 40 * DAY, Level::Info, text.as_bytes(), &[]);
            }
            batch.set_position(name.as_bytes(), &number.to_le_bytes());
            let receipt = store.append(batch, Durability::Policy).unwrap();
            if number % 16 == 0 {
                receipt.wait().unwrap();
            }
            if done.load(Ordering::Relaxed) {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| writer("a"));
        scope.spawn(|| writer("b"));
        for round in 0..6 {
            std::thread::sleep(Duration::from_millis(200));
            let path = place.join(format!("backup-{round}"));
            let beside = verify(place.join("data"), world.clone(), &mut |_| ()).unwrap();
            assert!(beside.is_sound(), "round {round}: {:?} {beside}", beside.findings);
            let backup = store.backup(&path, &mut |_| ()).unwrap();
            let (copy, report) = Store::open_with(&path, &options, world.clone()).unwrap();
            assert!(report.outage.is_none() && report.lost_tables.is_empty(), "{report}");
            let rows = ask(&copy, r#"{app=~".+"}"#);
            assert!(!rows.is_empty() && rows.iter().all(|row| row.id.sequence() <= backup.upto));
            for name in ["a", "b"] {
                let own = rows.iter().filter(|row| row.labels.get("app") == Some(name));
                let mut numbers: Vec<(u64, u64)> = own
                    .map(|row| {
                        let text = String::from_utf8(row.text.clone()).unwrap();
                        let (number, row) = text.split(' ').next().unwrap().split_once('.').unwrap();
                        (number.parse().unwrap(), row.parse().unwrap())
                    })
                    .collect();
                numbers.sort_unstable();
                let position = copy.position(name.as_bytes()).map(|at| u64::from_le_bytes(at.try_into().unwrap()));
                // Old days may be dropped as a whole; from the first one that is there on nothing is missing or doubled.
                let Some(&first) = numbers.first() else { continue };
                let last = position.expect("a stream with rows has its position");
                let expected: Vec<(u64, u64)> =
                    (first.0..=last).flat_map(|number| (0..20).map(move |row| (number, row))).collect();
                assert_eq!(first.1, 0);
                assert!(numbers == expected, "round {round}, {name}: {} of {}", numbers.len(), expected.len());
            }
            copy.close().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let stats = store.stats();
    assert!(stats.merges > 0 && stats.sealed_bytes > 0, "{stats:?}");
    store.close().unwrap();
    drop(store);
    std::fs::remove_dir_all(&place).unwrap();
}
