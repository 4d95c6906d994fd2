//! Row 16 of the fault table: what the device cannot read, at opening, reading and inspecting. Every page of every file is
//! made unreadable in turn, and every read fails in turn for a moment. A read error is told with file and offset; it is
//! never damage, never a cut, a loss, a set-aside, and the rest stays readable.

use std::ops::Range;

use duramen_journal::disk::sim::{Crash, Effect, Fault, Operation, SimDisk, errno};
use duramen_journal::format::{DATA_OFFSET, PAGE_BYTES};
use duramen_journal::inspect::{self, Item};
use duramen_journal::{
    Append, Batch, Codec, Damage, DamageKind, End, Error, Journal, OnDamage, Options, ReadOptions, Reader, Report,
    Sequence, SyncPolicy,
};

use crate::simulated::{FOLDER, contents, fill, open, payload, segment, small, try_open};

const RECORD_BYTES: usize = 1500;
const SEGMENT_BYTES: u64 = 64 << 10;

/// A journal, and what opening it says as long as all of it can be read.
struct Built {
    name: &'static str,
    disk: SimDisk,
    options: Options,
    report: Report,
}

fn options(codec: Codec) -> Options {
    Options { codec, segment_records_max: 20, spares_max: 0, read_cache_bytes: 0, ..small() }
}

/// Segments 1 and 2 sealed, 3 in use, 4 made ahead.
fn filled(codec: Codec) -> (SimDisk, Journal) {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &options(codec));
    fill(&journal, 50, RECORD_BYTES);
    (disk, journal)
}

fn build(name: &'static str) -> Built {
    let codec = if name == "compressed" { Codec::Lz4 } else { Codec::None };
    let (disk, journal) = filled(codec);
    match name {
        "closed" | "compressed" => journal.close().expect("closes"),
        "torn" => {
            journal.set_policy(SyncPolicy::Never);
            for _ in 0..2 {
                drop(journal.append(1, 0, &[7; RECORD_BYTES]).expect("appends"));
                journal.flush().expect("writes");
            }
        }
        _ => {}
    }
    let disk = disk.reboot(if name == "torn" { Crash::KeepAll } else { Crash::LoseAll });
    drop(journal);
    match name {
        // The first of the two is torn: the second one proves nothing.
        "torn" => tear(&disk),
        "footless" => (1..=2).for_each(|number| {
            let footer = SEGMENT_BYTES - PAGE_BYTES as u64;
            disk.write_durable(&segment(number), footer, &[0; PAGE_BYTES]).expect("overwrites");
        }),
        _ => {}
    }
    let reader = reader(&disk);
    let report = reader.report().clone();
    assert_eq!(report.next, 51, "{name}: {report}");
    assert_eq!(report.cut.is_some(), name == "torn", "{report}");
    Built { name, disk, options: options(codec), report }
}

/// Flips a bit in the body of the commit behind record 50.
fn tear(disk: &SimDisk) {
    let mut offset = 0;
    inspect::dump(FOLDER, disk.world(), &mut |item| {
        if let Item::Record { segment: 3, offset: place, sequence: 51, .. } = item {
            offset = u64::from(*place);
        }
        true
    })
    .expect("dumps");
    disk.flip_durable_bit(&segment(3), offset + 700, 1).expect("flips");
}

const NAMES: [&str; 5] = ["closed", "killed", "torn", "footless", "compressed"];

fn reader(disk: &SimDisk) -> Reader {
    Reader::open_with(FOLDER, &ReadOptions::default(), disk.world()).expect("opens to read")
}

/// What cannot be read.
#[derive(Clone, Debug)]
struct Bad {
    path: String,
    range: Range<u64>,
}

impl Bad {
    fn is_met_by(&self, damage: &Damage) -> bool {
        self.path.ends_with(&damage.file)
            && damage.offset < self.range.end
            && damage.offset + damage.bytes > self.range.start
    }
}

/// One sector of each page of each file that belongs to the journal, another one in each; both header pages; all.
fn bad_places(disk: &SimDisk) -> Vec<Bad> {
    let mut all = Vec::new();
    for (path, bytes) in disk.list_files() {
        if !path.ends_with(".seg") && !path.ends_with("IDENTITY") {
            continue;
        }
        for page in (0..bytes).step_by(PAGE_BYTES) {
            let sector = page + page / PAGE_BYTES as u64 % 8 * 512;
            let range = if bytes < 512 { 0..bytes } else { sector..sector + 512 };
            all.push(Bad { path: path.clone(), range });
        }
        if path.ends_with(".seg") {
            all.push(Bad { path: path.clone(), range: 0..u64::from(DATA_OFFSET) });
            all.push(Bad { path: path.clone(), range: bytes - 3 * PAGE_BYTES as u64..bytes });
            all.push(Bad { path, range: 0..bytes });
        }
    }
    all
}

fn check_record(payload_found: &[u8], sequence: Sequence) {
    assert_eq!(payload_found, payload(sequence, RECORD_BYTES), "record {sequence}");
}

/// Reads every record one by one and as a scan. Returns how many could be read.
fn check_readable(what: &str, bad: Option<&Bad>, read: &dyn Fn(Sequence) -> Result<Vec<u8>, Error>, next: u64) -> u64 {
    let mut good = 0;
    for sequence in 1..next {
        match read(sequence) {
            Ok(found) => {
                check_record(&found, sequence);
                good += 1;
            }
            Err(Error::Io { action: "read", path, offset: Some(_), source }) => {
                assert_eq!(source.raw_os_error(), Some(errno::EIO));
                assert!(bad.is_none_or(|bad| path.ends_with(&bad.path[1..])), "{what}: {}", path.display());
            }
            Err(Error::UnreadableRecord(damage)) => {
                assert!(bad.is_none_or(|bad| bad.is_met_by(&damage)), "{what}: {damage}");
            }
            Err(error) => panic!("{what}: record {sequence}: {error}"),
        }
    }
    good
}

fn only_unreadable(what: &str, damage: &[Damage]) {
    for damage in damage {
        assert!(damage.what.is_unreadable(), "{what}: a read error is no damage: {damage}");
        assert!(!damage.what.loses_records());
    }
}

/// Opening for reading.
fn check_reader(built: &Built, disk: &SimDisk, bad: Option<&Bad>) {
    let what = format!("{}, reading, {bad:?}", built.name);
    let reader = match Reader::open_with(FOLDER, &ReadOptions::default(), disk.world()) {
        Ok(reader) => reader,
        Err(Error::Unreadable(_) | Error::Io { .. }) if bad.is_none() => return,
        Err(error) => panic!("{what}: {error}"),
    };
    let report = reader.report();
    only_unreadable(&what, &report.damage);
    assert!(report.gaps.is_empty(), "{what}: {report}");
    let told = report.damage.iter().any(|damage| bad.is_none_or(|bad| bad.is_met_by(damage)));
    if report.end == End::Unreadable {
        assert!(told && report.cut.is_none() && report.refuses_writing(), "{what}: {report}");
    } else {
        assert_eq!((report.end, &report.cut), (built.report.end, &built.report.cut), "{what}: {report}");
        assert_eq!(report.next, built.report.next, "{what}: {report}");
    }
    let good = check_readable(&what, bad, &|sequence| Ok(reader.read(sequence)?.payload.to_vec()), report.next);
    let scanned = reader.scan(..).filter(|record| record.is_ok()).count() as u64;
    assert!(scanned == good || bad.is_none(), "{what}: one by one {good}, in a row {scanned}");
    reader.scan(..).flatten().for_each(|record| check_record(&record.payload, record.sequence));
    let Some(bad) = bad else { return };
    let one_sector = bad.range.end - bad.range.start <= 512;
    let in_sealed = ["01.seg", "02.seg"].iter().any(|end| bad.path.ends_with(end)) && built.name != "footless";
    let in_data = bad.range.start >= u64::from(DATA_OFFSET) && bad.range.start < 40 << 10;
    if one_sector && in_sealed && in_data && built.options.codec == Codec::None {
        assert!(good >= 48, "{what}: a sector lies in two records at most, and {good} can be read");
    }
    if bad.path.ends_with("03.seg") || bad.path.ends_with("04.seg") {
        assert!(good >= 40, "{what}: what lies before it can be read, and {good} can");
    }
}

/// Verifying, dumping, salvaging.
fn check_tools(built: &Built, disk: &SimDisk, bad: Option<&Bad>) {
    let what = format!("{}, inspecting, {bad:?}", built.name);
    match inspect::verify(FOLDER, disk.world(), &mut |_| ()) {
        Ok(verification) => {
            only_unreadable(&what, &verification.damage);
            let met = |damage: &&Damage| bad.is_none_or(|bad| bad.is_met_by(damage));
            if let Some(bad) = bad {
                assert_eq!(verification.end, End::Unreadable, "{what}: {verification}");
                let told: Vec<_> = verification.damage.iter().filter(met).collect();
                assert!(!told.is_empty(), "{what}: not named: {verification}");
                assert_eq!(told.len(), verification.damage.len(), "{what}: {bad:?}: {verification}");
                let sum: u64 = told.iter().map(|damage| damage.bytes).sum();
                let pages = bad.range.end.next_multiple_of(PAGE_BYTES as u64) - bad.range.start / 4096 * 4096;
                assert!(sum <= pages, "{what}: each page once: {verification}");
            }
        }
        Err(Error::Unreadable(_) | Error::Io { .. }) if bad.is_none() => {}
        Err(error) => panic!("{what}: {error}"),
    }
    let mut items = Vec::new();
    let dumped = inspect::dump(FOLDER, disk.world(), &mut |item| {
        items.push(item.clone());
        true
    });
    match dumped {
        Ok(()) => {
            let damage = |item: &Item| if let Item::Damage(damage) = item { Some(damage.clone()) } else { None };
            let damage: Vec<Damage> = items.iter().filter_map(damage).collect();
            only_unreadable(&what, &damage);
        }
        Err(Error::Unreadable(_) | Error::Io { .. }) if bad.is_none() => {}
        Err(error) => panic!("{what}: {error}"),
    }
    if bad.is_some_and(|bad| bad.range.start % (3 * PAGE_BYTES as u64) != 0) {
        return;
    }
    match inspect::salvage(FOLDER, "/copy", disk.world(), &mut |_| ()) {
        Ok(salvage) => {
            only_unreadable(&what, &salvage.damage);
            let known = salvage.lost.iter().filter(|gap| !gap.is_open());
            let lost: u64 = known.map(|gap| gap.end - gap.first).sum();
            assert!(salvage.copied + lost <= 50 && (lost == 0 || !salvage.damage.is_empty()), "{what}: {salvage}");
            let copy = Reader::open_with("/copy", &ReadOptions::default(), disk.world()).expect("opens the copy");
            copy.scan(..).flatten().for_each(|record| check_record(&record.payload, record.sequence));
        }
        Err(Error::Unreadable(_) | Error::Io { .. }) if bad.is_none() => {}
        Err(error) => panic!("{what}: {error}"),
    }
}

fn has_aside(disk: &SimDisk) -> bool {
    disk.list_files().iter().any(|(path, _)| path.contains("/aside/") || path.contains("/rebuilt.tmp/"))
}

/// Opening for writing; `disk` may be changed by it.
fn check_writer(built: &Built, disk: &SimDisk, bad: Option<&Bad>, on_damage: OnDamage) {
    let what = format!("{}, writing, {on_damage:?}, {bad:?}", built.name);
    let before = contents(disk);
    let options = Options { on_damage, ..built.options.clone() };
    match try_open(disk, &options) {
        Ok((journal, report)) => {
            only_unreadable(&what, &report.damage);
            assert!(report.gaps.is_empty() && report.set_aside.is_none(), "{what}: {report}");
            assert_eq!((report.next, &report.cut), (built.report.next, &built.report.cut), "{what}: {report}");
            let read = |sequence| Ok(journal.read(sequence)?.payload.to_vec());
            check_readable(&what, bad, &read, report.next);
        }
        Err(error) => {
            let named = match &error {
                Error::Unreadable(report) => {
                    assert!(report.cut.is_none() && report.is_unreadable(), "{what}: {report}");
                    only_unreadable(&what, &report.damage);
                    report.damage.iter().any(|damage| bad.is_none_or(|bad| bad.is_met_by(damage)))
                }
                Error::Io { action: "read", offset: Some(_), .. } => true,
                _ => false,
            };
            assert!(named, "{what}: {error}");
            // A read that fails once the verdict stands may find its first steps done.
            let same = contents(disk) == before || matches!(error, Error::Io { .. });
            assert!(same, "{what}: something was touched");
        }
    }
    assert!(!has_aside(disk), "{what}: set aside");
    // Once it can be read again, everything is there.
    disk.clear_faults();
    disk.heal_reads();
    let (journal, report) = open(disk, &built.options);
    assert_eq!(report.next, built.report.next, "{what}, then healed: {report}");
    only_unreadable(&what, &report.damage);
    assert_eq!(check_readable(&what, None, &|sequence| Ok(journal.read(sequence)?.payload.to_vec()), 51), 50);
    let next = journal.append(1, 0, &payload(51, RECORD_BYTES)).expect("appends").wait().expect("durable");
    assert_eq!(next, 51);
}

#[test]
fn row_16_every_page_of_every_file_at_opening_to_read() {
    for name in NAMES {
        let built = build(name);
        for bad in bad_places(&built.disk) {
            let disk = built.disk.kill();
            disk.fail_reads(&bad.path, bad.range.clone());
            check_reader(&built, &disk, Some(&bad));
        }
    }
}

#[test]
fn row_16_every_page_of_every_file_at_opening_to_write() {
    for name in NAMES {
        let built = build(name);
        for bad in bad_places(&built.disk) {
            for on_damage in [OnDamage::Refuse, OnDamage::SetAside] {
                let disk = built.disk.kill();
                disk.fail_reads(&bad.path, bad.range.clone());
                check_writer(&built, &disk, Some(&bad), on_damage);
            }
        }
    }
}

#[test]
fn row_16_every_page_of_every_file_under_the_tools() {
    for name in NAMES {
        let built = build(name);
        for bad in bad_places(&built.disk) {
            let disk = built.disk.kill();
            disk.fail_reads(&bad.path, bad.range.clone());
            check_tools(&built, &disk, Some(&bad));
        }
    }
}

/// A name, and work that reads.
type Way<'a> = (&'a str, &'a dyn Fn(&SimDisk));

/// For a moment: so many reads in a row fail, then all is well.
#[test]
fn row_16_every_read_fails_for_a_moment() {
    for name in NAMES {
        let built = build(name);
        let reads = |work: &dyn Fn(&SimDisk)| {
            let disk = built.disk.kill();
            disk.start_trace();
            work(&disk);
            disk.trace().into_iter().filter(|call| *call == Operation::Read).count() as u64
        };
        let ways: [Way<'_>; 3] = [
            ("reader", &|disk| check_reader(&built, disk, None)),
            ("writer", &|disk| drop(try_open(disk, &built.options))),
            ("tools", &|disk| drop(inspect::verify(FOLDER, disk.world(), &mut |_| ()))),
        ];
        for (way, work) in ways {
            let total = reads(work).min(400);
            for skip in 0..total {
                for times in [1, 2, 3, 5] {
                    let disk = built.disk.kill();
                    let fault = Fault::new(Effect::Error(errno::EIO)).on(Operation::Read);
                    disk.fault(fault.skip(skip).times(times));
                    match way {
                        "reader" => check_reader(&built, &disk, None),
                        "writer" => check_writer(&built, &disk, None, OnDamage::SetAside),
                        _ => check_tools(&built, &disk, None),
                    }
                }
            }
        }
    }
}

/// Real damage, to be set aside, on a disk that cannot read something else: what cannot be read is not given up as lost.
#[test]
fn row_16_nothing_is_set_aside_that_could_not_be_read() {
    let (disk, journal) = filled(Codec::None);
    let disk = {
        let after = disk.reboot(Crash::LoseAll);
        drop(journal);
        after
    };
    // Record 42, in the segment in use; later commits witness it.
    let mut offset = 0;
    inspect::dump(FOLDER, disk.world(), &mut |item| {
        if let Item::Record { offset: place, sequence: 42, .. } = item {
            offset = u64::from(*place);
        }
        true
    })
    .expect("dumps");
    disk.flip_durable_bit(&segment(3), offset + 700, 1).expect("flips");
    let set_aside = Options { on_damage: OnDamage::SetAside, ..options(Codec::None) };
    let (_, plain) = open(&disk.kill(), &set_aside);
    assert!(plain.set_aside.is_some());
    assert_eq!(plain.gaps.iter().map(|gap| (gap.first, gap.end)).collect::<Vec<_>>(), [(42, 43)]);
    let mut refused = 0;
    for bad in bad_places(&disk) {
        let disk = disk.kill();
        disk.fail_reads(&bad.path, bad.range.clone());
        let before = contents(&disk);
        match try_open(&disk, &set_aside) {
            Ok((_, report)) => assert_eq!((&report.gaps, report.next), (&plain.gaps, plain.next), "{bad:?}: {report}"),
            Err(Error::Unreadable(report)) => {
                assert!(report.damage.iter().any(|damage| bad.is_met_by(damage)), "{bad:?}: {report}");
                assert!(contents(&disk) == before, "{bad:?}: something was touched");
                refused += 1;
            }
            Err(error) => panic!("{bad:?}: {error}"),
        }
        disk.heal_reads();
        let (_, report) = open(&disk, &set_aside);
        assert_eq!((&report.gaps, report.next), (&plain.gaps, plain.next), "{bad:?}, healed: {report}");
    }
    assert!(refused > 20, "{refused}");
}

/// A crash between the two renames of setting aside, and then a rebuilt journal that cannot be read for a moment: it was
/// taken for unfinished, and removed, although it was the only journal in its place.
#[test]
fn row_16_a_rebuilt_journal_that_cannot_be_read_is_not_removed() {
    let (disk, journal) = filled(Codec::None);
    journal.close().expect("closes");
    drop(journal);
    let disk = disk.kill();
    let world = disk.world();
    let path = |name: &str| std::path::PathBuf::from(format!("{FOLDER}/{name}"));
    world.disk.rename(&path("journal"), &path("rebuilt.tmp")).expect("renames");
    world.disk.create_dir(&path("aside")).expect("creates");
    world.disk.sync_dir(&path("")).expect("syncs");
    drop(world);
    for (name, range) in [("IDENTITY", 0..64), ("01.seg", 0..8192), ("03.seg", 0..4096), ("03.seg", 9000..9001)] {
        let disk = disk.kill();
        disk.fail_reads(name, range.clone());
        let before = contents(&disk);
        match try_open(&disk, &options(Codec::None)) {
            Ok((_, report)) => assert_eq!((report.next, range.clone()), (51, 0..4096), "{report}"),
            Err(error) => {
                assert!(matches!(error, Error::Unreadable(_) | Error::Io { .. }), "{name}, {range:?}: {error}");
                assert!(contents(&disk) == before || name == "IDENTITY", "{name}, {range:?}: something was touched");
            }
        }
        disk.heal_reads();
        let (_, report) = open(&disk, &options(Codec::None));
        assert_eq!((report.next, report.end), (51, End::Closed), "{name}, {range:?}: {report}");
    }
}

/// A reader beside a living writer does not take what it cannot read for the end, nor for released.
#[test]
fn row_16_following_a_writer() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, &options(Codec::None));
    fill(&journal, 5, RECORD_BYTES);
    let mut reader = reader(&disk);
    assert_eq!(reader.last(), 4);
    disk.fail_reads(&segment(1), 8192 + 8 * 1600..8192 + 8 * 1600 + 512);
    fill(&journal, 10, RECORD_BYTES);
    let mut batch = Batch::new();
    batch.push(1, 0, &payload(16, RECORD_BYTES));
    journal.append_batch(&batch, Append::default()).expect("appends").wait().expect("durable");
    reader.refresh().expect("looks");
    assert_eq!(reader.report().end, End::Unreadable, "{}", reader.report());
    assert!(reader.report().damage.iter().all(|damage| damage.what == DamageKind::Unreadable));
    assert!(reader.last() >= 4);
    disk.heal_reads();
    reader.refresh().expect("looks");
    assert_eq!((reader.last(), reader.report().end), (15, End::Live), "{}", reader.report());
    // The header of a segment that is still there.
    fill(&journal, 30, RECORD_BYTES);
    reader.refresh().expect("looks");
    disk.fail_reads(&segment(1), 0..8192);
    reader.refresh().expect("looks");
    assert_eq!(reader.first(), 1, "not released");
    reader.read(1).expect("its records can be read");
}
