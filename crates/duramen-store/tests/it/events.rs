//! What happened to the machine, as the store tells it: outages, boots, clocks.

use std::time::Duration;

use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_store::{Batch, Durability, Level, Query, TimeBase};

use crate::{SECOND, START, all, append, ask, ask_with, open, stream, texts};

#[test]
fn an_outage_is_told_once_with_its_length() {
    let disk = SimDisk::new(1);
    let (store, report) = open(&disk);
    assert_eq!(report.outage, None, "the first opening follows no outage");
    disk.advance(Duration::from_secs(10));
    append(&store, "a", START, "before the cut");
    let disk = disk.reboot(Crash::LoseAll);
    drop(store);
    let (store, report) = open(&disk);
    let outage = report.outage.clone().expect("the power failed");
    // Each boot of the simulated machine begins 1,000 s after the one before.
    assert_eq!((outage.power, outage.length().map(|length| length.as_secs())), (true, Some(989)));
    assert_eq!(all(&store), ["before the cut"]);
    store.close().unwrap();
    drop(store);
    for _ in 0..2 {
        let (store, report) = open(&disk);
        assert_eq!(report.outage, None, "it was closed");
        let told = ask(&store, r#"{duramen="events"} event=outage"#);
        assert_eq!((told.len(), told[0].fields().get("cause"), told[0].level), (1, Some("power"), Level::Warning));
        store.close().unwrap();
    }
}

#[test]
fn a_killed_process_is_no_power_cut() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    append(&store, "a", START, "one");
    let killed = disk.kill();
    drop(store);
    let (store, report) = open(&killed);
    assert_eq!(report.outage.map(|outage| outage.power), Some(false));
    assert_eq!(all(&store), ["one"]);
}

/// A device without a battery for its clock comes up in 1970, and learns the time later, or never.
#[test]
fn rows_of_a_boot_without_a_clock_find_their_time_later() {
    let disk = SimDisk::new(1);
    disk.environment().set_wall(Duration::from_secs(100));
    let (store, _) = open(&disk);
    disk.advance(Duration::from_secs(5));
    let (base, time) = store.now();
    assert!(matches!(base, TimeBase::Boot(1)), "{base:?}");
    let mut batch = Batch::new();
    batch.push_at(base, &stream(&store, "a"), time, Level::Info, b"early", &[]);
    store.append(batch, Durability::Now).unwrap().wait().unwrap();
    store.flush().unwrap();
    let early = &ask(&store, r#"{app="a"}"#)[0];
    assert_eq!((early.timed, early.time), (false, time));
    let from_start = Query { from: Some(0), ..r#"{app="a"}"#.parse().unwrap() };
    assert!(ask_with(&store, from_start.clone()).is_empty(), "nobody knows its time");
    // The network tells the time.
    disk.environment().set_wall(Duration::from_secs(1_800_000_000));
    assert_eq!(store.now(), (TimeBase::Wall, 1_800_000_000 * SECOND));
    append(&store, "a", 1_800_000_001 * SECOND, "late");
    store.close().unwrap();
    drop(store);
    for _ in 0..2 {
        let (store, _) = open(&disk);
        let rows = ask_with(&store, from_start.clone());
        assert_eq!(texts(&rows), ["early", "late"]);
        let since_boot = 1_800_000_000 * SECOND - rows[0].time;
        assert!((0..SECOND).contains(&since_boot), "the clock was set right after it came: {since_boot}");
        assert!(rows[0].timed);
        store.close().unwrap();
    }
}

#[test]
fn a_clock_that_falls_back_far_is_not_believed() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    append(&store, "a", START, "one");
    store.close().unwrap();
    drop(store);
    disk.environment().set_wall(Duration::from_nanos(START as u64) - Duration::from_secs(10 * 86_400));
    let (store, _) = open(&disk);
    assert!(matches!(store.now().0, TimeBase::Boot(_)));
    disk.environment().set_wall(Duration::from_nanos(START as u64) - Duration::from_secs(3_600));
    assert_eq!(store.now().0, TimeBase::Wall, "an hour is a correction");
}
