//! The tools and the reader, beside damage and beside a living writer, on the simulated disk; once on the real one, with
//! threads.
#![allow(clippy::disallowed_methods, reason = "one test has threads and a folder of its own")]

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use duramen_journal::disk::Environment;
use duramen_journal::disk::sim::{Budget, Crash, Effect, Fault, History, Operation, Scenario, SimDisk, explore};
use duramen_journal::inspect::{Item, Verification, dump, salvage, verify};
use duramen_journal::{
    Append, Batch, Codec, DamageKind, End, Error, FreshPages, Gap, Journal, OnDamage, Options, ReadOptions, Reader,
    Record, World,
};

const ROOT: &str = "/data";

fn options() -> Options {
    Options { segment_bytes: 64 << 10, idle_mark: None, spares_max: 0, ..Options::default() }
}

fn payload(index: u64) -> Vec<u8> {
    format!("record {index} {}", "x".repeat((index * 7 % 400) as usize)).into_bytes()
}

/// Appends records `from..=to`: each third one and its successor in one batch.
fn fill(journal: &Journal, from: u64, to: u64) {
    let mut index = from;
    while index <= to {
        let mut batch = Batch::new();
        batch.push(1 + (index % 3) as u32, (index % 5) as u8, &payload(index));
        if index.is_multiple_of(3) && index < to {
            index += 1;
            batch.push(1 + (index % 3) as u32, (index % 5) as u8, &payload(index));
        }
        drop(journal.append_batch(&batch, Append::default()).expect("appends"));
        if index.is_multiple_of(10) {
            journal.sync().expect("syncs");
        }
        index += 1;
    }
    journal.sync().expect("syncs");
}

fn check_record(record: &Record, last: u64) {
    let index = record.sequence;
    assert_eq!(record.payload, payload(index), "record {index}");
    assert_eq!((record.log, record.kind), (1 + (index % 3) as u32, (index % 5) as u8));
    assert_eq!(record.more, index.is_multiple_of(3) && index < last, "record {index}");
}

/// A closed journal of so many records.
fn closed(options: &Options, records: u64) -> SimDisk {
    let disk = SimDisk::new(7);
    let (journal, _) = Journal::open_with(ROOT, options, disk.world()).expect("opens");
    fill(&journal, 1, records);
    journal.close().expect("closes");
    drop(journal);
    disk.kill()
}

fn check(world: World) -> Verification {
    verify(ROOT, world, &mut |_| ()).expect("verifies")
}

fn segments(disk: &SimDisk) -> Vec<(String, u64)> {
    disk.list_files().into_iter().filter(|(path, _)| path.ends_with(".seg")).collect()
}

/// Places of a structure in a segment's file, as `dump` tells them.
fn items(world: World) -> Vec<Item> {
    let mut items = Vec::new();
    dump(ROOT, world, &mut |item| {
        items.push(item.clone());
        true
    })
    .expect("dumps");
    items
}

/// Whether a place is told: as damage, or as a cut.
fn tells(verification: &Verification, path: &str, offset: u64) -> bool {
    let name = path.rsplit('/').next().expect("a name");
    let damage = verification
        .damage
        .iter()
        .any(|damage| damage.file == name && (damage.offset..damage.offset + damage.bytes.max(1)).contains(&offset));
    let cut = verification.report.cut.as_ref().is_some_and(|cut| {
        cut.file == name && (u64::from(cut.offset)..u64::from(cut.offset) + cut.bytes).contains(&offset)
    });
    damage || cut
}

#[test]
fn a_sound_journal_verifies_whatever_its_options() {
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd(1)] {
        for fresh_pages in [FreshPages::Never, FreshPages::Always] {
            let disk = closed(&Options { codec, fresh_pages, ..options() }, 700);
            let mut last = 0;
            let verification = verify(ROOT, disk.world(), &mut |progress| {
                assert!(progress.bytes <= progress.bytes_total);
                last = progress.bytes;
            })
            .expect("verifies");
            assert!(verification.damage.is_empty(), "{verification}");
            assert_eq!(verification.end, End::Closed);
            assert_eq!(verification.records, 700);
            assert_eq!(verification.bytes, last);
            assert!(verification.to_json().contains("\"records\":700"));
        }
    }
}

#[test]
fn the_dump_shows_every_record_and_every_commit_once() {
    let disk = closed(&Options { codec: Codec::Lz4, ..options() }, 700);
    let mut next = 1;
    let (mut commits, mut counted, mut footers) = (0, 0, 0);
    for item in items(disk.world()) {
        assert!(!item.to_string().contains('\n'));
        assert!(!item.to_json().contains('\n'));
        match item {
            Item::Record { sequence, payload: found, .. } => {
                assert_eq!(sequence, next);
                assert_eq!(found, payload(next));
                next += 1;
            }
            Item::Commit { count, .. } => {
                commits += 1;
                counted += u64::from(count);
            }
            Item::Footer { .. } => footers += 1,
            Item::Damage(damage) => panic!("{damage}"),
            _ => {}
        }
    }
    assert_eq!((next, counted), (701, 700));
    assert_eq!(commits, check(disk.world()).commits);
    assert!(footers >= 2);
    let mut seen = 0;
    dump(ROOT, disk.world(), &mut |_| {
        seen += 1;
        seen < 5
    })
    .expect("dumps");
    assert_eq!(seen, 5);
}

#[test]
fn each_flipped_byte_of_each_file_is_located() {
    for codec in [Codec::None, Codec::Lz4] {
        let disk = closed(&Options { codec, ..options() }, 420);
        let mut files = segments(&disk);
        assert!(files.len() >= 3, "sealed ones, the last one, the one made ahead");
        files.push((format!("{ROOT}/IDENTITY"), 64));
        for (path, bytes) in files {
            // A prime step meets every alignment; the header and the last bytes are looked at closely. The campaign
            // flips every bit.
            let dense = (0..bytes).step_by(5).filter(|offset| *offset < 120 || bytes - offset < 20);
            for offset in dense.chain((0..bytes).step_by(1499)) {
                disk.flip_durable_bit(&path, offset, (offset % 8) as u8).expect("flips");
                let verification = check(disk.world());
                assert!(tells(&verification, &path, offset), "{path} at {offset}: {verification}");
                disk.flip_durable_bit(&path, offset, (offset % 8) as u8).expect("flips back");
            }
        }
        assert!(check(disk.world()).damage.is_empty());
    }
}

#[test]
fn each_kind_of_damage_has_its_name() {
    let pristine = closed(&options(), 700);
    let files = segments(&pristine);
    let (first, second) = (files[0].0.clone(), files[1].0.clone());
    let footer = items(pristine.world()).into_iter().find_map(|item| match item {
        Item::Footer { data_end, index_offset, tables_offset, .. } => Some((data_end, index_offset, tables_offset)),
        _ => None,
    });
    let (data_end, index, tables) = footer.expect("the first segment is sealed");
    assert!(data_end < index);
    let kinds = [
        (8300, DamageKind::Commit),
        (100, DamageKind::HeaderCopy),
        (5000, DamageKind::HeaderCopy),
        (u64::from(data_end), DamageKind::Padding),
        (u64::from(index) + 4, DamageKind::Footer),
        (u64::from(tables) + 1, DamageKind::Footer),
        ((64 << 10) - 2, DamageKind::Footer),
    ];
    for (offset, what) in kinds {
        let disk = pristine.kill();
        disk.flip_durable_bit(&first, offset, 3).expect("flips");
        let verification = check(disk.world());
        let found: Vec<_> = verification.damage.iter().map(|damage| (damage.segment, damage.what)).collect();
        assert_eq!(found, [(1, what)], "at {offset}: {verification}");
        assert_eq!(verification.end, End::Damaged);
    }
    let whole = |change: &dyn Fn(&SimDisk)| {
        let disk = pristine.kill();
        change(&disk);
        let verification = check(disk.world());
        verification.damage.iter().map(|damage| (damage.segment, damage.what)).collect::<Vec<_>>()
    };
    assert_eq!(whole(&|disk| disk.remove_durable(&second).expect("removes")), [(2, DamageKind::Missing)]);
    let copy = pristine.read_durable(&first).expect("reads");
    let copied = whole(&|disk| disk.put_durable(&second, &copy).expect("puts"));
    assert!(copied.contains(&(2, DamageKind::Foreign)), "{copied:?}");
    let short = whole(&|disk| disk.put_durable(&second, &copy[..32 << 10]).expect("puts"));
    assert!(short.iter().any(|(segment, _)| *segment == 2), "{short:?}");
    let destroyed = whole(&|disk| {
        disk.flip_durable_bit(&second, 50, 0).expect("flips");
        disk.flip_durable_bit(&second, 4150, 0).expect("flips");
    });
    assert!(destroyed.contains(&(2, DamageKind::Header)), "{destroyed:?}");
    let unreadable = whole(&|disk| disk.fail_reads(&second, 16 << 10..17 << 10));
    assert!(unreadable.contains(&(2, DamageKind::Unreadable)), "{unreadable:?}");
}

/// Salvages, checks the copy, and returns what is not in it.
fn salvaged(disk: &SimDisk, records: u64) -> Vec<u64> {
    let before = disk.list_files();
    let result = salvage(ROOT, "/copy", disk.world(), &mut |_| ()).expect("salvages");
    assert!(disk.list_files().into_iter().filter(|(path, _)| path.starts_with(ROOT)).eq(before), "only reads");
    assert!(matches!(salvage(ROOT, "/copy", disk.world(), &mut |_| ()), Err(Error::Exists { .. })));
    // What it says is durable is durable.
    let disk = disk.reboot(Crash::LoseAll);
    let verification = verify("/copy", disk.world(), &mut |_| ()).expect("verifies");
    assert!(verification.damage.is_empty(), "{verification}");
    assert_eq!(verification.end, End::Closed);
    assert_eq!(verification.records, result.copied);
    let lost: Vec<u64> = result.lost.iter().flat_map(|gap| gap.first..gap.end).collect();
    let reader = Reader::open_with("/copy", &ReadOptions::default(), disk.world()).expect("opens");
    assert_eq!(reader.report().gaps, result.lost, "{result}");
    let mut found = Vec::new();
    for record in reader.scan(..) {
        match record {
            Ok(record) => {
                check_record(&record, records);
                found.push(record.sequence);
            }
            Err(error) => assert!(matches!(error, Error::InGap { .. }), "{error}"),
        }
    }
    assert_eq!(found.len() as u64, result.copied);
    let missing: Vec<u64> = (1..=records).filter(|sequence| found.binary_search(sequence).is_err()).collect();
    assert_eq!(missing, lost, "{result}");
    for first in (3..=records).step_by(3) {
        let both = found.binary_search(&first).is_ok() == found.binary_search(&(first + 1).min(records)).is_ok();
        assert!(both, "the batch of {first} is torn");
    }
    let (journal, report) = Journal::open_with("/copy", &options(), disk.world()).expect("opens");
    assert_eq!(report.end, End::Closed, "{report}");
    let next = journal.append(1, 0, b"on").expect("appends").wait().expect("durable");
    assert_eq!(next, records + 1, "no sequence is given twice");
    missing
}

#[test]
fn salvage_copies_all_that_is_good() {
    for codec in [Codec::None, Codec::Lz4] {
        let pristine = closed(&Options { codec, ..options() }, 700);
        assert!(salvaged(&pristine.kill(), 700).is_empty());
        let all = items(pristine.world());
        let files = segments(&pristine);
        let place = |wanted: u64| {
            let found = all.iter().find_map(|item| match item {
                Item::Record { segment, offset, sequence, .. } if *sequence == wanted => Some((*segment, *offset)),
                _ => None,
            });
            let (segment, offset) = found.expect("the record is there");
            (files[segment as usize - 1].0.clone(), u64::from(offset))
        };
        for victim in [1, 2, 101, 255, 256, 402] {
            let (path, offset) = place(victim);
            // Payload, length, log of a record; of a block for a codec.
            for at in [offset + 26, offset + 5, offset + 13] {
                let disk = pristine.kill();
                disk.flip_durable_bit(&path, at, 1).expect("flips");
                let missing = salvaged(&disk, 700);
                assert!(!missing.is_empty());
                assert!(codec != Codec::None || missing.len() <= 5, "victim {victim} at {at}: {missing:?}");
                assert!(codec != Codec::None || missing.iter().any(|sequence| sequence.abs_diff(victim) <= 2));
            }
            let disk = pristine.kill();
            disk.zero_durable_sector(&path, offset / 512).expect("zeros");
            let missing = salvaged(&disk, 700);
            assert!(codec != Codec::None || missing.len() <= 40, "victim {victim}: {missing:?}");
        }
        for item in &all {
            let Item::Commit { segment, offset, first, count, .. } = item else { continue };
            if *segment != 2 || *count == 0 {
                continue;
            }
            let disk = pristine.kill();
            disk.flip_durable_bit(&files[1].0, u64::from(*offset) + 9, 1).expect("flips");
            let missing = salvaged(&disk, 700);
            assert!(missing.is_empty(), "only a commit's header at {first} is bad: {missing:?}");
        }
        let disk = pristine.kill();
        disk.remove_durable(&files[1].0).expect("removes");
        let missing = salvaged(&disk, 700);
        assert!(missing.windows(2).all(|pair| pair[0] + 1 == pair[1]), "one range: {missing:?}");
        let disk = pristine.kill();
        disk.remove_durable(&files[0].0).expect("removes");
        assert_eq!(salvaged(&disk, 700)[0], 1);
        let disk = pristine.kill();
        disk.flip_durable_bit(&files[1].0, 8, 0).expect("flips");
        disk.flip_durable_bit(&files[1].0, 4104, 0).expect("flips");
        assert!(!salvaged(&disk, 700).is_empty());
    }
}

#[test]
fn salvage_takes_nothing_from_behind_a_cut() {
    let disk = SimDisk::new(3);
    let (journal, _) = Journal::open_with(ROOT, &options(), disk.world()).expect("opens");
    fill(&journal, 1, 20);
    let torn = journal.append(1, 0, b"never acknowledged").expect("appends");
    journal.flush().expect("writes");
    let disk = disk.kill();
    drop(torn);
    let path = segments(&disk)[0].0.clone();
    let commits = items(disk.world()).into_iter().filter_map(|item| match item {
        Item::Commit { offset, .. } => Some(offset),
        _ => None,
    });
    let last = commits.max().expect("there are commits");
    let disk = disk.reboot(Crash::KeepAll);
    disk.flip_durable_bit(&path, u64::from(last) + 50, 0).expect("flips");
    let report = check(disk.world());
    assert_eq!((report.end, report.damage.len()), (End::Torn, 0), "{report}");
    assert!(salvaged(&disk, 20).is_empty());
}

/// A damaged journal is opened with the option to set it aside, and the power fails at every moment of that.
struct SettingAside {
    pristine: SimDisk,
    good: Vec<u64>,
}

fn damaged() -> (SimDisk, Vec<u64>) {
    let disk = closed(&options(), 300);
    let path = segments(&disk)[0].0.clone();
    let place = items(disk.world()).into_iter().find_map(|item| match item {
        Item::Record { sequence: 17, offset, .. } => Some(offset),
        _ => None,
    });
    disk.flip_durable_bit(&path, u64::from(place.expect("record 17")) + 25, 0).expect("flips");
    // The first segment must be read to its end: its footer would vouch for it otherwise.
    let bytes = disk.read_durable(&path).expect("reads").len() as u64;
    disk.write_durable(&path, bytes - 4096, &[0; 4096]).expect("writes");
    (disk, (1..=300).filter(|sequence| *sequence != 17).collect())
}

impl SettingAside {
    fn options() -> Options {
        Options { on_damage: OnDamage::SetAside, ..options() }
    }

    fn look(&self, world: &World) -> Result<(), String> {
        let (journal, report) =
            Journal::open_with(ROOT, &Self::options(), world.clone()).map_err(|error| error.to_string())?;
        let found: Vec<u64> = journal.scan(..).flatten().map(|record| record.sequence).collect();
        if found[..found.len().min(self.good.len())] != self.good {
            return Err(format!("{} records are there: {report}", found.len()));
        }
        if report.gaps != [Gap { first: 17, end: 18 }] {
            return Err(format!("the gap is not told: {report}"));
        }
        let sequence =
            journal.append(1, 0, b"on").and_then(|ticket| ticket.wait()).map_err(|error| error.to_string())?;
        if sequence <= 300 {
            return Err(format!("sequence {sequence} is given twice"));
        }
        journal.close().map_err(|error| error.to_string())?;
        let list = world.disk.list(Path::new("/data/aside/1")).map_err(|error| error.to_string())?;
        if list.is_empty() {
            return Err("nothing lies aside".to_string());
        }
        Ok(())
    }
}

impl Scenario for SettingAside {
    type Event = u8;

    fn prepare(&self, disk: &SimDisk) {
        for (path, _) in self.pristine.list_files() {
            disk.put_durable(&path, &self.pristine.read_durable(&path).expect("reads")).expect("puts");
        }
    }

    fn run(&self, world: &World, _history: &History<u8>) {
        self.look(world).expect("sets aside");
    }

    fn recover(&self, world: &World, _history: &History<u8>) -> Result<(), String> {
        // A reader between the steps sees the old journal or the new one, never an empty one.
        let reader =
            Reader::open_with(ROOT, &ReadOptions::default(), world.clone()).map_err(|error| error.to_string())?;
        if reader.last() < 16 {
            return Err(format!("a reader sees {}", reader.report()));
        }
        self.look(world)
    }
}

#[test]
fn setting_aside_survives_a_crash_at_every_moment() {
    let (pristine, good) = damaged();
    let refused = Journal::open_with(ROOT, &options(), pristine.kill().world());
    assert!(matches!(refused, Err(Error::Damaged(_))));
    let scenario = SettingAside { pristine, good };
    let budget = Budget { states_max: 4_000, images_per_moment_max: 24, ..Budget::default() };
    let counts = explore(&scenario, &budget, &|| ()).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(counts.states > 500 && counts.nested > 20, "{counts:?}");
}

/// The explorer found it: a process died after it had moved the damaged journal aside; the next one moved the rebuilt one
/// into its place; the power failed, and of the two renames only the second was kept. The damaged journal was gone.
#[test]
fn the_first_rename_is_durable_before_the_second() {
    let (pristine, _) = damaged();
    let name = segments(&pristine)[0].0.rsplit('/').next().expect("a name").to_string();
    let disk = pristine.kill();
    disk.fault(Fault::new(Effect::Error(5)).on(Operation::SyncDirectory).named("aside"));
    Journal::open_with(ROOT, &SettingAside::options(), disk.world()).expect_err("the process dies here");
    for failing in 0..4 {
        let disk = disk.kill();
        disk.fault(Fault::new(Effect::Error(5)).on(Operation::SyncDirectory).skip(failing));
        let _ = Journal::open_with(ROOT, &SettingAside::options(), disk.world());
        let images = disk.crash_images(256);
        assert!(!images.is_empty());
        for image in images {
            let kept = |(path, _): &(String, u64)| path.ends_with(&name);
            assert!(image.list_files().iter().any(kept), "{failing}: {:?}", image.list_files());
        }
    }
}

#[test]
fn what_was_set_aside_is_untouched() {
    let (pristine, good) = damaged();
    let before: Vec<_> =
        segments(&pristine).into_iter().map(|(path, _)| pristine.read_durable(&path).expect("reads")).collect();
    let disk = pristine.kill();
    SettingAside { pristine, good }.look(&disk.world()).expect("sets aside");
    let aside: Vec<_> = segments(&disk)
        .into_iter()
        .filter(|(path, _)| path.contains("/aside/1/"))
        .map(|(path, _)| disk.read_durable(&path).expect("reads"))
        .collect();
    assert_eq!(aside, before);
    let verification = check(disk.kill().world());
    assert!(verification.damage.is_empty(), "{verification}");
    assert_eq!(verification.end, End::Closed);
}

#[test]
fn beside_a_living_writer_only_what_is_witnessed_counts() {
    let disk = SimDisk::new(5);
    let (journal, _) = Journal::open_with(ROOT, &options(), disk.world()).expect("opens");
    let read = || Reader::open_with(ROOT, &ReadOptions::default(), disk.world()).expect("opens to read");
    journal.append(1, 0, b"one").expect("appends").wait().expect("durable");
    assert_eq!(read().last(), 0, "nothing says yet that it is durable");
    journal.append(1, 0, b"two").expect("appends").wait().expect("durable");
    let mut reader = read();
    assert_eq!((reader.first(), reader.last()), (1, 1));
    assert_eq!(reader.report().end, End::Live);
    assert_eq!(reader.read(1).expect("reads").payload, &b"one"[..]);
    assert!(matches!(reader.read(2), Err(Error::NotYet { .. })));
    assert!(!reader.refresh().expect("looks"));
    // Written, and not synced: in progress.
    drop(journal.append(1, 0, b"three").expect("appends"));
    journal.flush().expect("writes");
    assert!(reader.refresh().expect("looks"));
    assert_eq!(reader.last(), 2);
    let verification = check(disk.world());
    assert_eq!((verification.end, verification.damage.len()), (End::Live, 0), "{verification}");
    journal.close().expect("closes");
    drop(journal);
    assert!(reader.refresh().expect("looks"));
    assert_eq!((reader.last(), reader.report().end), (3, End::Closed));
    assert_eq!(reader.scan(..).flatten().count(), 3);
}

#[test]
fn a_reader_follows_through_switches_and_releases() {
    let disk = SimDisk::new(6);
    let (journal, _) = Journal::open_with(ROOT, &Options { spares_max: 1, ..options() }, disk.world()).expect("opens");
    let options = ReadOptions { read_buffer_bytes: 16 << 10, ..ReadOptions::default() };
    let mut reader = Reader::open_with(ROOT, &options, disk.world()).expect("opens to read");
    let mut next = 1;
    let mut upto = 0;
    for round in 0..40 {
        fill(&journal, upto + 1, upto + 60);
        upto += 60;
        reader.refresh().expect("looks");
        for record in reader.scan(next..) {
            let record = record.expect("reads");
            assert_eq!((record.sequence, &record.payload), (next, &payload(next).into()));
            next += 1;
        }
        assert!(next > upto - 20, "round {round}: {next} of {upto}");
        if round % 8 == 7 {
            journal.release(next - 30).expect("releases");
        }
    }
    assert!(reader.segments().iter().rev().skip(2).all(|segment| segment.sealed), "footers are found");
    assert!(reader.first() > 1);
    assert!(check(disk.world()).damage.is_empty());
    // A reader that has not looked for long is told of the release.
    let late = Reader::open_with(ROOT, &options, disk.world()).expect("opens to read");
    let first = late.first();
    fill(&journal, upto + 1, upto + 600);
    journal.release(upto + 500).expect("releases");
    fill(&journal, upto + 601, upto + 1200);
    assert!(matches!(late.read(first), Err(Error::Released { .. })), "{:?}", late.read(first));
    assert!(matches!(late.scan(first..).next(), Some(Err(Error::Released { .. }))));
}

#[test]
fn looking_for_news_costs_a_few_calls_whatever_the_segments_size() {
    let disk = SimDisk::new(8);
    let big = Options { segment_bytes: 8 << 20, ..options() };
    let (journal, _) = Journal::open_with(ROOT, &big, disk.world()).expect("opens");
    fill(&journal, 1, 3000);
    let mut reader = Reader::open_with(ROOT, &ReadOptions::default(), disk.world()).expect("opens to read");
    let calls = |reader: &mut Reader| {
        let before = disk.operations();
        reader.refresh().expect("looks");
        disk.operations() - before
    };
    assert!(calls(&mut reader) <= 12, "{}", calls(&mut reader));
    fill(&journal, 3001, 3020);
    let moved = RefCell::new(reader);
    assert!(calls(&mut moved.borrow_mut()) <= 16);
    assert!(moved.borrow().last() >= 3010);
    disk.advance(Duration::from_secs(1));
}

#[test]
fn a_damaged_journal_is_read_around_its_damage() {
    let (disk, good) = damaged();
    let reader = Reader::open_with(ROOT, &ReadOptions::default(), disk.world()).expect("opens to read");
    assert_eq!(reader.report().end, End::Damaged);
    assert!(reader.report().damage.iter().any(|damage| damage.first.is_some_and(|first| first <= 17)));
    let mut errors = 0;
    let mut found = Vec::new();
    for record in reader.scan(..) {
        match record {
            Ok(record) => found.push(record.sequence),
            Err(error) => {
                assert!(matches!(error, Error::DamagedRecord(_)), "{error}");
                errors += 1;
            }
        }
    }
    assert_eq!(errors, 1, "one error for one bad place");
    assert!(found.iter().all(|sequence| good.contains(sequence)));
    assert_eq!(found[0], 1);
    assert_eq!(found.last(), Some(&300));
    assert_eq!(reader.read(300).expect("reads").sequence, 300);
}

/// A segment was released and its file used again between the look at its header and the walk over its commits: the dump
/// called that damage. (Found by the test below, on a busy machine.)
#[test]
fn a_file_that_is_used_again_under_a_dump_is_no_damage() {
    let disk = SimDisk::new(3);
    let busy = Options { spares_max: 1, ..options() };
    let (journal, _) = Journal::open_with(ROOT, &busy, disk.world()).expect("opens");
    fill(&journal, 1, 700);
    let (mut segments, mut records) = (Vec::new(), 0);
    dump(ROOT, disk.world(), &mut |item| {
        assert!(!matches!(item, Item::Damage(_)), "{item}");
        if let Item::Segment { number, .. } = item {
            if *number == 1 {
                journal.release(700).expect("releases");
                fill(&journal, 701, 1400);
            }
            segments.push(*number);
        }
        records += u64::from(matches!(item, Item::Record { .. }));
        true
    })
    .expect("dumps");
    assert!(segments.len() < 700 && segments.contains(&1) && records > 0, "{segments:?}, {records} records");
}

/// A folder on the real disk that goes when the test does.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("duramen-inspect-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Puts a flipped byte right while whoever looked waits to look again.
#[derive(Debug)]
struct Mending {
    inner: Arc<dyn Environment>,
    disk: SimDisk,
    place: (String, u64),
    waits: AtomicU64,
}

impl Environment for Mending {
    fn now(&self) -> Duration {
        self.inner.now()
    }

    fn entropy(&self, out: &mut [u8]) -> std::io::Result<()> {
        self.inner.entropy(out)
    }

    fn spawn(
        &self,
        name: &str,
        work: Box<dyn FnOnce() + Send>,
    ) -> std::io::Result<Option<Box<dyn duramen_journal::disk::Worker>>> {
        self.inner.spawn(name, work)
    }

    fn wait(&self, _word: &duramen_journal::sync::AtomicU32, _expected: u32, _timeout: Option<Duration>) {
        if self.waits.fetch_add(1, Ordering::SeqCst) == 0 {
            self.disk.flip_durable_bit(&self.place.0, self.place.1, 3).expect("is in use");
        }
    }

    fn wake(&self, word: &duramen_journal::sync::AtomicU32, count: u32) {
        self.inner.wake(word, count);
    }
}

/// A header copy that a living writer is just writing is no damage: it is looked at again.
#[test]
fn a_header_copy_in_the_making_is_no_damage() {
    let disk = SimDisk::new(1);
    let (journal, _) = Journal::open_with(ROOT, &options(), disk.world()).expect("opens");
    for index in 1..=200 {
        journal.append(1, 0, &payload(index)).expect("appends").wait().expect("durable");
    }
    let newest = journal.segments().last().expect("segments").number;
    let place = (format!("{ROOT}/journal/{newest:016x}.seg"), 4096 + 60);
    disk.flip_durable_bit(&place.0, place.1, 3).expect("is in use");
    let inner = disk.world().environment;
    let mending = Arc::new(Mending { inner, disk: disk.clone(), place, waits: AtomicU64::new(0) });
    let world = World { environment: mending.clone(), ..disk.world() };
    let verification = verify(ROOT, world, &mut |_| ()).expect("verifies");
    assert!(verification.damage.is_empty(), "{verification}");
    assert!(mending.waits.load(Ordering::SeqCst) > 0, "it was looked at again");
}

/// On the real disk, with threads: a writer that rotates, releases and recycles as fast as it can, beside a reader that
/// follows it and tools that look. None of them may ever see damage, or a record twice, or one too few.
#[test]
fn nothing_looks_damaged_beside_a_busy_writer() {
    let folder = Folder::new("busy");
    let world = duramen_journal::disk::real::world();
    let busy = Options { spares_max: 2, ..options() };
    let (journal, _) = Journal::open_with(&folder.0, &busy, world.clone()).expect("opens");
    const RECORDS: u64 = 30_000;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for index in 1..=RECORDS {
                let ticket = journal.append(1, 0, &payload(index)).expect("appends");
                if index.is_multiple_of(40) {
                    ticket.wait().expect("durable");
                }
                if index.is_multiple_of(4_000) {
                    journal.release(index - 3_000).expect("releases");
                }
            }
            journal.close().expect("closes");
        });
        let tools = scope.spawn(|| {
            let mut rounds = 0;
            loop {
                let verification = verify(&folder.0, world.clone(), &mut |_| ()).expect("verifies");
                assert!(verification.damage.is_empty(), "{verification}");
                dump(&folder.0, world.clone(), &mut |item| {
                    assert!(!matches!(item, Item::Damage(_)), "{item}");
                    true
                })
                .expect("dumps");
                rounds += 1;
                if verification.end == End::Closed {
                    break rounds;
                }
            }
        });
        let mut reader = Reader::open_with(&folder.0, &ReadOptions::default(), world.clone()).expect("opens to read");
        let mut next = 1;
        while next <= RECORDS {
            reader.refresh().expect("looks");
            for record in reader.scan(next..) {
                match record {
                    Ok(record) => {
                        assert_eq!(record.sequence, next);
                        assert_eq!(record.payload, payload(next));
                        next += 1;
                    }
                    // It was too slow: the writer released what it had not yet read.
                    Err(Error::Released { first, .. }) => next = first,
                    Err(error) => panic!("{error}: {}", reader.report()),
                }
            }
        }
        writer.join().expect("writes");
        assert!(tools.join().expect("looks") > 0);
    });
    let reader = Reader::open_with(&folder.0, &ReadOptions::default(), world.clone()).expect("opens to read");
    assert_eq!((reader.report().end, reader.last()), (End::Closed, RECORDS));
    let copy = Folder::new("busy-copy");
    let result = salvage(&folder.0, &copy.0, world.clone(), &mut |_| ()).expect("salvages");
    assert_eq!(result.copied, RECORDS - reader.first() + 1);
    let (journal, report) = Journal::open_with(&copy.0, &busy, world).expect("opens");
    assert_eq!((report.first, report.next, report.end), (reader.first(), RECORDS + 1, End::Closed), "{report}");
    drop(journal);
}
