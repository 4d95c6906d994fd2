//! A toy append-only log with known bugs, to prove that the explorer finds what it is there to find. One file of
//! records: length, sequence, payload, checksum. Owns the toy; knows the disk's interface only.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::hash::{Generator, mix};
use super::{Budget, Counts, Failure, History, Scenario, SimDisk, explore, replay, sweep_faults};
use crate::disk::{Access, Disk, DiskFile, SyncMethod, World, read_full_at, write_all_at};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    NoDirectorySync,
    NoParentSync,
    AcknowledgedBeforeSync,
    SizeTrusted,
    TailServedUnsynced,
    SyncRetried,
    CacheTrusted,
    InterruptionTakenAsDone,
}

#[derive(Clone, Copy, Debug)]
struct Toy {
    bug: Bug,
    records: u32,
    /// Records that are written before they are synced together; with `WriteSync` each is synced alone.
    batch: u32,
    preallocated: u64,
    method: SyncMethod,
    tears: bool,
}

const TOY: Toy =
    Toy { bug: Bug::None, records: 6, batch: 1, preallocated: 0, method: SyncMethod::DataSync, tears: false };

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Event {
    Issued(u32),
    Acknowledged(u32),
    Served(u32),
}

const DIRECTORY: &str = "/toy";
const FILE: &str = "/toy/log";

/// The record of a sequence. Made once: the explorer's speed is measured with it, not the generator's.
fn record(sequence: u32) -> &'static [u8] {
    static RECORDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    &RECORDS.get_or_init(|| (0..200).map(make_record).collect())[sequence as usize]
}

fn make_record(sequence: u32) -> Vec<u8> {
    let payload = 20 + (sequence as usize * 397) % 900;
    let mut bytes = Vec::new();
    bytes.extend((payload as u32).to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    let start = bytes.len();
    bytes.resize(start + payload, 0);
    Generator::new(u64::from(sequence)).fill(&mut bytes[start..]);
    let sum = checksum(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(bytes.len() as u64, |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(sum, u64::from_le_bytes(word))
    })
}

impl Toy {
    fn create(&self, disk: &dyn Disk) -> io::Result<Box<dyn DiskFile>> {
        match disk.create_dir(Path::new(DIRECTORY)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if self.bug != Bug::NoParentSync {
            disk.sync_dir(Path::new("/"))?;
        }
        let file = disk.open(Path::new(FILE), Access::Create)?;
        file.allocate(self.preallocated)?;
        file.sync_data()?;
        if self.bug != Bug::NoDirectorySync {
            disk.sync_dir(Path::new(DIRECTORY))?;
        }
        Ok(file)
    }

    /// Appends records and acknowledges them; the new end.
    fn append(
        &self,
        file: &dyn DiskFile,
        sequences: RangeInclusive<u32>,
        mut end: u64,
        history: &History<Event>,
    ) -> io::Result<u64> {
        for sequence in sequences.clone() {
            let bytes = record(sequence);
            history.push(Event::Issued(sequence));
            if self.method == SyncMethod::WriteSync {
                self.write_sync(file, bytes, end)?;
            } else {
                self.write(file, bytes, end)?;
            }
            if self.bug == Bug::AcknowledgedBeforeSync || self.method == SyncMethod::WriteSync {
                history.push(Event::Acknowledged(sequence));
            }
            end += bytes.len() as u64;
        }
        if self.method == SyncMethod::DataSync {
            match file.sync_data() {
                Err(_) if self.bug == Bug::SyncRetried => file.sync_data()?,
                other => other?,
            }
            history.push(Event::Acknowledged(*sequences.end()));
        }
        Ok(end)
    }

    fn write_sync(&self, file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match file.write_sync(&bytes[done..], offset + done as u64, self.method) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&self, file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.bug == Bug::InterruptionTakenAsDone {
            return match file.write_at(bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                other => other.map(drop),
            };
        }
        write_all_at(file, bytes, offset)
    }

    fn work(&self, world: &World, history: &History<Event>) -> io::Result<()> {
        let file = self.create(&*world.disk)?;
        let mut end = 0;
        for first in (1..=self.records).step_by(self.batch as usize) {
            end = self.append(&*file, first..=(first + self.batch - 1), end, history)?;
        }
        Ok(())
    }

    fn reopen(&self, world: &World, history: &History<Event>) -> io::Result<Result<(), String>> {
        let disk = &*world.disk;
        let file = match disk.open(Path::new(FILE), Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(disk)?,
            other => other?,
        };
        if self.bug != Bug::TailServedUnsynced {
            file.sync_data()?;
            if self.bug != Bug::CacheTrusted {
                file.drop_cache()?;
            }
        }
        disk.sync_dir(Path::new(DIRECTORY))?;
        let mut bytes = vec![0; file.bytes()? as usize];
        read_full_at(&*file, &mut bytes, 0)?;
        let (count, end, equal) = self.scan(&bytes);
        if !equal {
            return Ok(Err("a record that was never written".to_owned()));
        }
        let mut floor = 0;
        let mut issued = 0;
        history.for_each(|event| match *event {
            Event::Issued(sequence) => issued = issued.max(sequence),
            Event::Acknowledged(sequence) | Event::Served(sequence) => floor = floor.max(sequence),
        });
        if count < floor || count > issued {
            return Ok(Err(format!("{count} records, {floor} acknowledged or served, {issued} issued")));
        }
        if bytes[end..].iter().any(|&byte| byte != 0) {
            write_all_at(&*file, &vec![0; bytes.len() - end], end as u64)?;
            file.sync_data()?;
        }
        history.push(Event::Served(count));
        self.append(&*file, count + 1..=count + 1, end as u64, history)?;
        Ok(Ok(()))
    }

    /// The count of good records, where they end, and whether they are the ones that were written.
    fn scan(&self, bytes: &[u8]) -> (u32, usize, bool) {
        let (mut sequence, mut end, mut equal) = (1, 0, true);
        loop {
            let expected = record(sequence);
            let found = bytes.get(end..end + expected.len());
            // Whoever takes the size as evidence believes every record that lies within it.
            let believed = found.is_some_and(|found| found == expected || self.bug == Bug::SizeTrusted);
            if !believed {
                return (sequence - 1, end, equal);
            }
            equal &= found == Some(expected);
            end += expected.len();
            sequence += 1;
        }
    }
}

impl Scenario for Toy {
    type Event = Event;

    fn prepare(&self, disk: &SimDisk) {
        disk.tear_pages(self.tears);
    }

    fn run(&self, world: &World, history: &History<Event>) {
        // A refused write ends the workload; what was acknowledged before must hold.
        let _ = self.work(world, history);
    }

    fn recover(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        self.reopen(world, history).map_err(|error| format!("reopening failed: {error}"))?
    }
}

fn budget() -> Budget {
    Budget { states_max: 20_000, ..Budget::default() }
}

fn explored(toy: &Toy) -> Result<Counts, Failure> {
    explore(toy, &budget(), &|| ())
}

#[test]
fn the_correct_toy_survives_every_crash() {
    for method in [SyncMethod::DataSync, SyncMethod::WriteSync] {
        for preallocated in [0, 16 << 10] {
            let toy = Toy { method, preallocated, records: 12, batch: 3, ..TOY };
            let counts = explored(&toy).unwrap_or_else(|failure| panic!("{toy:?}: {failure}"));
            println!("{method:?}, {preallocated} bytes preallocated: {counts:?}");
            assert!(counts.states > 150, "{counts:?}");
            assert!(counts.nested * 5 >= counts.states, "a fifth is nested: {counts:?}");
            assert!(counts.kills > 0 && counts.moments > 10, "{counts:?}");
        }
    }
}

#[test]
fn the_correct_toy_survives_every_fault() {
    for method in [SyncMethod::DataSync, SyncMethod::WriteSync] {
        let toy = Toy { method, ..TOY };
        let counts = sweep_faults(&toy, &budget(), &|| ()).unwrap_or_else(|failure| panic!("{method:?}: {failure}"));
        println!("{method:?}: {counts:?}");
        assert!(counts.faults > 50 && counts.states > 100 && counts.kills > 20, "{counts:?}");
    }
}

#[test]
fn each_bug_is_caught_and_replayed() {
    let bugs = [
        Bug::NoDirectorySync,
        Bug::NoParentSync,
        Bug::AcknowledgedBeforeSync,
        Bug::SizeTrusted,
        Bug::TailServedUnsynced,
    ];
    for bug in bugs {
        let toy = Toy { bug, ..TOY };
        let failure = explored(&toy).expect_err(&format!("{bug:?} must be caught"));
        let again = replay(&toy, &budget(), &failure.choice).expect_err("the failure must come again");
        assert_eq!(again.message, failure.message, "{bug:?}, {}", failure.choice);
    }
}

#[test]
fn each_bug_in_handling_faults_is_caught_and_replayed() {
    for bug in [Bug::SyncRetried, Bug::CacheTrusted, Bug::InterruptionTakenAsDone] {
        let toy = Toy { bug, ..TOY };
        explored(&toy).unwrap_or_else(|failure| panic!("{bug:?} shows only under faults: {failure}"));
        let failure = sweep_faults(&toy, &budget(), &|| ()).expect_err(&format!("{bug:?} must be caught"));
        assert!(failure.choice.starts_with("fault="), "{failure}");
        let again = replay(&toy, &budget(), &failure.choice).expect_err("the failure must come again");
        assert_eq!(again.message, failure.message, "{bug:?}");
    }
}

#[test]
fn a_torn_page_takes_acknowledged_records_of_a_log_without_fresh_pages() {
    let failure = explored(&Toy { tears: true, ..TOY }).expect_err("the toy shares pages between records");
    assert!(failure.choice.contains(";t="), "{failure}");
}

#[test]
fn the_same_seed_gives_the_same_states() {
    let budget = Budget { threads: 1, depth: 3, ..budget() };
    let counts = explore(&TOY, &budget, &|| ()).expect("the toy is correct");
    assert_eq!(explore(&TOY, &budget, &|| ()), Ok(counts));
}

/// A scenario of which only the recovery matters: what the explorer says when it goes wrong.
struct Broken(fn(&World) -> Result<(), String>);

impl Scenario for Broken {
    type Event = ();

    fn run(&self, world: &World, _history: &History<()>) {
        world.disk.open(Path::new("/a"), Access::Create).expect("a fresh disk");
    }

    fn recover(&self, world: &World, _history: &History<()>) -> Result<(), String> {
        self.0(world)
    }
}

#[test]
fn panics_and_hangs_of_a_recovery_are_failures() {
    let message = |work| explore(&Broken(work), &budget(), &|| ()).expect_err("it is broken").message;
    assert_eq!(message(|_| Err("wrong".to_owned())), "wrong");
    assert_eq!(message(|_| panic!("on purpose")), "panic: on purpose");
    let calls_for_ever = |world: &World| {
        while world.disk.list(Path::new("/")).is_ok() {}
        Ok(())
    };
    assert!(message(calls_for_ever).contains("hang"));
    assert!(replay(&Broken(|_| Ok(())), &budget(), "m=99;kill").is_err(), "there is no such moment");
}

#[test]
fn a_spent_budget_ends_the_walk_and_every_thread_is_set_up() {
    let set_up = AtomicU32::new(0);
    let toy = Toy { records: 60, batch: 6, ..TOY };
    let budget = Budget { states_max: 100, threads: 3, ..budget() };
    let setup = || {
        set_up.fetch_add(1, Ordering::Relaxed);
    };
    let counts = explore(&toy, &budget, &setup).expect("the toy is correct");
    assert!((100..104).contains(&counts.states), "{counts:?}");
    assert_eq!(set_up.into_inner(), 4);
}
