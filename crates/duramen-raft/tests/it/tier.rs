//! Segments in a second place: moved, read through, released, brought back, restored; with the place away, damaged, another's,
//! and with the power cut at every operation.

use std::io;
use std::path::Path;
use std::sync::Arc;

use duramen_journal::disk::DiskFile;
use duramen_journal::disk::sim::{Budget, Effect, Fault, History, Operation, Scenario, SimDisk, errno, explore};
use duramen_journal::{Error as WalError, World};
use duramen_raft::inspect::{self, Notation};
use duramen_raft::tier::{self, TierPlace};
use duramen_raft::{Certainty, Config, DirectoryTier, Error, Plain, RaftLogs, Strategy, Tier};

use crate::simulated::{FOLDER, entry, fill, id, open, small, try_open, vote};

const COLD: &str = "/cold";

fn cold(world: &World) -> Arc<dyn Tier> {
    Arc::new(DirectoryTier::on(world.disk.clone(), COLD))
}

fn tiered(disk: &SimDisk) -> Config {
    // Nothing of what was written stays in memory.
    Config { tier: Some(cold(&disk.world())), log_cache_capacity: 0, ..small() }
}

fn names(disk: &SimDisk, folder: &str) -> Vec<String> {
    let files = disk.list_files().into_iter().map(|(name, _)| name);
    files.filter_map(|name| name.strip_prefix(folder).map(str::to_string)).collect()
}

/// Segments here, stubs here, segments there.
fn counts(disk: &SimDisk) -> (usize, usize, usize) {
    let ends = |folder: &str, end: &str| names(disk, folder).iter().filter(|name| name.ends_with(end)).count();
    (ends(FOLDER, ".seg"), ends(FOLDER, ".cold"), ends(COLD, ".seg"))
}

fn check_all(logs: &RaftLogs<Plain>, indexes: std::ops::Range<u64>) {
    let reader = logs.group(1).expect("a group").reader();
    let wanted: Vec<_> = indexes.clone().map(|index| entry(1, index, 1000)).collect();
    assert_eq!(reader.range(indexes.clone(), usize::MAX).expect("reads"), wanted);
    for index in indexes.step_by(7) {
        assert_eq!(reader.entry(index).expect("reads"), entry(1, index, 1000));
    }
}

/// Three hundred entries, most of them elsewhere.
fn moved(config: &Config, disk: &SimDisk) -> RaftLogs<Plain> {
    let (logs, _) = open(disk, config);
    let log = logs.group(1).expect("a group");
    log.writer().save_vote(&vote(1, 1)).expect("votes");
    fill(&log, 1, 1..300, 1000);
    let before = counts(disk);
    let went = logs.move_segments(1).expect("moves");
    assert!(went >= 3, "{went}");
    let after = counts(disk);
    assert_eq!(after, (before.0 - went, went, went));
    logs
}

#[test]
fn what_was_moved_is_read_through_and_goes_when_it_is_purged() {
    for strategy in [Strategy::DiskFirst, Strategy::MemFirst] {
        let disk = SimDisk::new(1);
        let config = Config { strategy, ..tiered(&disk) };
        let logs = moved(&config, &disk);
        check_all(&logs, 1..300);
        assert_eq!(logs.move_segments(1).expect("moves"), 0, "once");
        fill(&logs.group(1).expect("a group"), 1, 300..320, 1000);
        logs.close().expect("closes");
        drop(logs);
        // The stubs say where it is.
        let (logs, opened) = open(&disk, &Config { tier: None, ..config.clone() });
        assert!(opened.losses.is_empty());
        check_all(&logs, 1..320);
        let verified = inspect::verify(FOLDER, disk.world(), Notation::Plain, &mut |_| ()).expect("verifies");
        assert!(verified.findings.is_empty() && verified.survey.group(1).expect("is there").entries == 319);
        let there = counts(&disk).2;
        let log = logs.group(1).expect("a group");
        log.writer().purge(&id(1, 150)).expect("purges").wait_durable().expect("durable");
        let some = counts(&disk);
        assert!(some.2 < there && some.1 == some.2 && some.2 > 0, "{some:?}");
        log.writer().purge(&id(1, 319)).expect("purges").wait_durable().expect("durable");
        fill(&log, 1, 320..330, 1000);
        assert_eq!((counts(&disk).1, counts(&disk).2), (0, 0), "given up here and there");
        check_all(&logs, 320..330);
    }
}

#[test]
fn a_place_that_is_away_stops_only_what_lies_there() {
    let disk = SimDisk::new(1);
    let config = tiered(&disk);
    let logs = moved(&config, &disk);
    let (log, reader) = (logs.group(1).expect("a group"), logs.group(1).expect("a group").reader());
    drop(logs);
    disk.drop_caches();
    disk.fail_reads(COLD, 0..u64::MAX);
    let error = reader.entry(2).expect_err("is away");
    assert!(matches!(error, Error::Wal(_)) && error.to_string().contains(COLD), "{error}");
    assert_eq!(reader.entry(299).expect("is here"), entry(1, 299, 1000));
    fill(&log, 1, 300..310, 1000);
    // Opening asks the tier for nothing.
    let (log_2, logs_2) = {
        let left = disk.kill();
        let (logs, opened) = open(&left, &Config { tier: Some(cold(&left.world())), ..config.clone() });
        assert!(opened.losses.is_empty());
        (logs.group(1).expect("a group"), logs)
    };
    assert_eq!(log_2.state().last, Some(id(1, 309)));
    drop((log_2, logs_2));
    disk.heal_reads();
    assert_eq!(reader.entry(2).expect("is back"), entry(1, 2, 1000));
}

#[test]
fn a_move_that_fails_changes_nothing() {
    for (effect, operation) in
        [(Effect::Error(errno::EIO), Operation::Write), (Effect::Error(errno::ENOSPC), Operation::Write)]
    {
        let disk = SimDisk::new(1);
        let (logs, _) = open(&disk, &tiered(&disk));
        fill(&logs.group(1).expect("a group"), 1, 1..300, 1000);
        let before = counts(&disk);
        disk.fault(Fault::new(effect).on(operation).named(COLD).times(u64::MAX));
        let error = logs.move_segments(1).expect_err("fails");
        assert!(matches!(error, Error::Wal(WalError::Io { .. } | WalError::NoSpace { .. })), "{error}");
        assert_eq!(counts(&disk), before);
        check_all(&logs, 1..300);
        disk.clear_faults();
        assert!(logs.move_segments(1).expect("moves") > 0);
        check_all(&logs, 1..300);
    }
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &small());
    assert!(matches!(logs.move_segments(1), Err(Error::InvalidOption { option: "tier", .. })));
}

/// A place that stores something else.
#[derive(Debug)]
struct Careless(DirectoryTier);

impl Tier for Careless {
    fn place(&self) -> TierPlace {
        TierPlace::Other("a careless place".into())
    }

    fn put(&self, name: &str, from: &dyn DiskFile, bytes: u64) -> io::Result<()> {
        self.0.put(name, from, bytes)
    }

    fn read_at(&self, name: &str, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.0.read_at(name, buffer, offset)?;
        if let Some(byte) = buffer[..read].get_mut(20_000) {
            *byte ^= 1;
        }
        Ok(read)
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.0.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
}

#[test]
fn a_copy_that_differs_is_noticed_before_the_segment_goes() {
    let disk = SimDisk::new(1);
    let careless = Arc::new(Careless(DirectoryTier::on(disk.world().disk, COLD)));
    let (logs, _) = open(&disk, &Config { tier: Some(careless), ..tiered(&disk) });
    fill(&logs.group(1).expect("a group"), 1, 1..300, 1000);
    let before = counts(&disk).0;
    let error = logs.move_segments(1).expect_err("differs");
    assert!(error.to_string().contains("differs"), "{error}");
    assert_eq!((counts(&disk).0, counts(&disk).1), (before, 0));
    check_all(&logs, 1..300);
}

#[test]
fn another_logs_place_is_refused() {
    let disk = SimDisk::new(1);
    drop(moved(&tiered(&disk), &disk));
    let other = Config { dir: "/other".into(), ..tiered(&disk) };
    let (logs, _) = open(&disk, &other);
    fill(&logs.group(1).expect("a group"), 1, 1..300, 1000);
    let error = logs.move_segments(1).expect_err("is another's");
    assert!(error.to_string().contains("another log's"), "{error}");
    check_all(&logs, 1..300);
}

#[test]
fn damage_there_is_told_and_not_brought_back() {
    let disk = SimDisk::new(1);
    let logs = moved(&tiered(&disk), &disk);
    let name = names(&disk, COLD).into_iter().find(|name| name.ends_with(".seg")).expect("moved");
    disk.flip_durable_bit(&format!("{COLD}{name}"), 20_000, 3).expect("is in use");
    let reader = logs.group(1).expect("a group").reader();
    let bad: Vec<u64> = (1..300).filter(|&index| reader.entry(index).is_err()).collect();
    assert!((1..=2).contains(&bad.len()), "{bad:?}");
    let error = logs.bring_back_segments().expect_err("is damaged");
    assert!(error.to_string().contains("is damaged in"), "{error}");
    let good: Vec<u64> = (1..300).filter(|&index| reader.entry(index).is_ok()).collect();
    assert_eq!(good.len() + bad.len(), 299, "nothing else is gone");
    let verified = inspect::verify(FOLDER, disk.world(), Notation::Plain, &mut |_| ()).expect("verifies");
    let lost = &verified.survey.group(1).expect("is there").lost;
    assert!(lost.iter().any(|lost| lost.first == bad[0] && lost.certainty == Certainty::Certain), "{lost:?}");
    // Another node's copies take their place, here.
    let writer = logs.group(1).expect("a group").writer();
    writer
        .refill(bad.iter().map(|&index| entry(1, index, 1000)).collect())
        .expect("puts back")
        .wait()
        .expect("durable");
    check_all(&logs, 1..300);
}

#[test]
fn segments_are_brought_back() {
    let disk = SimDisk::new(1);
    let logs = moved(&tiered(&disk), &disk);
    let there = counts(&disk).2;
    check_all(&logs, 1..300);
    assert_eq!(logs.bring_back_segments().expect("brings back"), there);
    assert_eq!((counts(&disk).1, counts(&disk).2), (0, 0));
    check_all(&logs, 1..300);
    logs.close().expect("closes");
    drop(logs);
    let world = disk.world();
    // The same without a writer, as the tools do it.
    let went = tier::move_segments(Path::new(FOLDER), &world, cold(&world), 0).expect("moves");
    assert!(went >= there);
    assert_eq!(tier::bring_back(Path::new(FOLDER), &world, None).expect("brings back"), went);
    let (logs, _) = open(&disk, &small());
    check_all(&logs, 1..300);
    let locked = tier::move_segments(Path::new(FOLDER), &world, cold(&world), 0);
    assert!(locked.is_err(), "a writer has it");
}

/// The folder is gone with its disk: what was moved comes back as a log, which does not vote.
#[test]
fn a_log_is_restored_from_there() {
    let disk = SimDisk::new(1);
    let logs = moved(&tiered(&disk), &disk);
    drop(logs);
    let world = disk.world();
    let segments = tier::restore(&*cold(&world), Path::new("/brought"), &world).expect("restores");
    assert!(segments >= 3);
    assert!(tier::restore(&*cold(&world), Path::new("/brought"), &world).is_err(), "not over another");
    println!("{:?}", inspect::survey("/brought", disk.world()).map(|survey| (survey.journal.damage, survey.groups)));
    let salvaged = inspect::salvage("/brought", "/new", disk.world(), &mut |_| ()).expect("salvages");
    assert_eq!(salvaged.votes_in_doubt().count(), 1);
    let (logs, opened) = try_open(disk.world(), &Config { dir: "/new".into(), ..small() }).expect("opens");
    assert_eq!(opened.votes_in_doubt, [1]);
    let log = logs.group(1).expect("a group");
    let last = log.state().last.expect("entries").index;
    assert!((200..299).contains(&last), "{last}");
    check_all(&logs, 1..last + 1);
    assert!(opened.losses.iter().any(|loss| loss.first == last + 1 && loss.last.is_none()), "{:?}", opened.losses);
}

/// Appends, moves, purges and brings back; the power may be cut at each of their operations.
struct Moving;

impl Moving {
    fn open(world: &World) -> RaftLogs<Plain> {
        let config = Config { tier: Some(cold(world)), log_cache_capacity: 0, ..small() };
        let (logs, opened) = RaftLogs::<Plain>::open_with(config, world.clone()).expect("opens");
        assert!(opened.losses.is_empty(), "{opened:?}");
        logs
    }
}

impl Scenario for Moving {
    /// Durable up to here, or purged up to here.
    type Event = (bool, u64);

    fn run(&self, world: &World, history: &History<(bool, u64)>) {
        let logs = Moving::open(world);
        let log = logs.group(1).expect("a group");
        for index in 1..160 {
            fill(&log, 1, index..index + 1, 1000);
            history.push((false, index));
            if index % 30 == 0 {
                logs.move_segments(0).expect("moves");
            }
        }
        history.push((true, 60));
        log.writer().purge(&id(1, 60)).expect("purges").wait_durable().expect("durable");
        logs.bring_back_segments().expect("brings back");
        logs.move_segments(1).expect("moves");
    }

    fn recover(&self, world: &World, history: &History<(bool, u64)>) -> Result<(), String> {
        let (mut durable, mut purged) = (0, 0);
        history.for_each(|(is_purge, index)| match is_purge {
            true => purged = *index,
            false => durable = *index,
        });
        let logs = Moving::open(world);
        let log = logs.group(1).expect("a group");
        let last = log.state().last.map_or(0, |id| id.index);
        if last < durable {
            return Err(format!("{durable} was durable, {last} is the last"));
        }
        let first = log.reader().first_index().unwrap_or(1);
        if first > purged + 1 {
            return Err(format!("the first is {first}, {purged} was purged"));
        }
        for index in (first..=durable).step_by(9) {
            let read = log.reader().entry(index).map_err(|error| format!("entry {index}: {error}"))?;
            if read != entry(1, index, 1000) {
                return Err(format!("entry {index} is another"));
            }
        }
        // The next move goes on where the crash came.
        logs.move_segments(1).map_err(|error| error.to_string())?;
        for index in (first..=durable).step_by(9) {
            log.reader().entry(index).map_err(|error| format!("moved again, entry {index}: {error}"))?;
        }
        Ok(())
    }
}

#[test]
fn the_power_may_fail_at_every_operation() {
    let states_max = std::env::var("DURAMEN_TIER_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let budget = Budget { states_max, images_per_moment_max: 65_536, ..Budget::default() };
    let tried = explore(&Moving, &budget, &|| ()).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{} states, {} in recoveries, {} moments", tried.states, tried.nested, tried.moments);
    assert!(tried.states >= states_max.min(10_000) / 2);
}

#[cfg(feature = "object-store")]
#[test]
fn an_object_store_is_a_place() {
    use duramen_raft::tier::ObjectTier;
    use object_store::memory::InMemory;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let store = Arc::new(InMemory::new());
    let handle = runtime.handle().clone();
    let place = Arc::new(ObjectTier::new(store, "logs/a", move |job| drop(handle.spawn(job))));
    let disk = SimDisk::new(1);
    let config = Config { tier: Some(place.clone()), ..tiered(&disk) };
    let (logs, _) = open(&disk, &config);
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..300, 1000);
    let went = logs.move_segments(1).expect("moves");
    assert!(went >= 3);
    let listed = place.list().expect("lists");
    assert_eq!(listed.iter().filter(|(name, _)| name.starts_with("journal/")).count(), went, "{listed:?}");
    check_all(&logs, 1..300);
    drop((log, logs));
    let error = try_open(disk.world(), &Config { tier: None, ..config.clone() }).expect_err("nobody knows where");
    assert!(error.to_string().contains("logs/a"), "{error}");
    let (logs, _) = open(&disk, &config);
    check_all(&logs, 1..300);
    let log = logs.group(1).expect("a group");
    log.writer().purge(&id(1, 100)).expect("purges").wait_durable().expect("durable");
    let left = place.list().expect("lists");
    assert!(left.len() < listed.len());
    let world = disk.world();
    assert!(tier::restore(&*place, Path::new("/brought"), &world).expect("restores") > 0);
    // The identity is no segment.
    assert_eq!(logs.bring_back_segments().expect("brings back"), left.len() - 1);
    check_all(&logs, 101..300);
    runtime.shutdown_background();
    let error = logs.move_segments(1).expect_err("nobody speaks to the store");
    assert!(matches!(error, Error::Wal(WalError::Io { .. })), "{error}");
    check_all(&logs, 101..300);
}

/// On the real disk, with threads: one writes and purges, one moves segments and brings them back, two read.
#[test]
#[allow(clippy::disallowed_methods, reason = "folders and threads of the test")]
fn segments_move_beside_a_busy_log() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    const ENTRIES: u64 = 10_000;
    let folder = std::env::temp_dir().join(format!("duramen-tier-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("cold")).expect("a folder");
    let config = Config {
        dir: folder.join("log"),
        chunk_max_size: 64 << 10,
        log_cache_capacity: 64 << 10,
        tier: Some(Arc::new(DirectoryTier::new(folder.join("cold")))),
        ..Config::new(folder.join("log"))
    };
    let (logs, _) = RaftLogs::<Plain>::open(config.clone()).expect("opens");
    let (ended, moved, back) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let log = logs.group(1).expect("a group");
            for index in (1..ENTRIES).step_by(4) {
                let entries = (index..index + 4).map(|index| entry(1, index, 300)).collect();
                log.writer().append(entries).expect("appends").wait().expect("durable");
                if index % 200 == 1 && index > 1_000 {
                    log.writer().purge(&id(1, index - 1_000)).expect("purges").wait_durable().expect("durable");
                }
            }
            ended.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            let mut rounds = 0u64;
            while !ended.load(Ordering::SeqCst) {
                moved.fetch_add(logs.move_segments(2).expect("moves") as u64, Ordering::SeqCst);
                rounds += 1;
                if rounds.is_multiple_of(5) {
                    back.fetch_add(logs.bring_back_segments().expect("brings back") as u64, Ordering::SeqCst);
                }
            }
        });
        for seed in [7u64, 13] {
            let (logs, ended) = (&logs, &ended);
            scope.spawn(move || {
                let reader = logs.group(1).expect("a group").reader();
                let mut chance = seed;
                while !ended.load(Ordering::SeqCst) {
                    let (Some(first), Some(next)) = (reader.first_index(), reader.next_index()) else { continue };
                    chance = chance.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let index = first + (chance >> 33) % (next - first).max(1);
                    match reader.entry(index) {
                        Ok(read) => assert_eq!(read, entry(1, index, 300)),
                        Err(Error::Purged { .. }) => {}
                        Err(error) => panic!("entry {index} of {first} to {next}: {error}"),
                    }
                }
            });
        }
    });
    assert!(moved.load(Ordering::SeqCst) > 3 && back.load(Ordering::SeqCst) > 0, "{moved:?} {back:?}");
    logs.move_segments(1).expect("moves");
    logs.close().expect("closes");
    drop(logs);
    let (logs, opened) = RaftLogs::<Plain>::open(Config { tier: None, ..config }).expect("opens");
    assert!(opened.losses.is_empty());
    let reader = logs.group(1).expect("a group").reader();
    let first = reader.first_index().expect("entries");
    let read = reader.range(first..ENTRIES + 1, usize::MAX).expect("reads");
    assert_eq!(read, (first..ENTRIES + 1).map(|index| entry(1, index, 300)).collect::<Vec<_>>());
    drop((reader, logs));
    std::fs::remove_dir_all(&folder).expect("removes");
}
