//! Each fault of the simulated disk behaves as it says.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::disk::{Access, Disk, DiskFile, Environment, SyncMethod, read_full_at, write_all_at};
use crate::sync::AtomicU32;

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A disk with a durable, empty file `/a`, open for writing.
fn disk_with_file() -> (SimDisk, Box<dyn DiskFile>) {
    let disk = SimDisk::new(7);
    let file = disk.open(path("/a"), Access::Create).expect("a fresh disk");
    file.sync_data().expect("no fault");
    disk.sync_dir(path("/")).expect("no fault");
    (disk, file)
}

fn read(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.bytes().expect("open") as usize];
    let count = read_full_at(file, &mut bytes, 0).expect("readable");
    assert_eq!(count, bytes.len());
    bytes
}

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.map(drop).expect_err("the call must fail").kind()
}

fn failed_sync(personality: Personality, survivors: Survivors) -> Fault {
    Fault::new(Effect::FailedSync { code: errno::EIO, personality, survivors })
}

#[test]
fn contents_are_durable_after_a_sync_and_visible_before() {
    let (disk, file) = disk_with_file();
    file.write_at(b"one", 0).expect("no fault");
    assert_eq!(read(&*file), b"one");
    assert_eq!(disk.read_durable("/a").expect("there"), b"");
    assert_eq!(disk.reboot(Crash::LoseAll).read_durable("/a").expect("there"), b"");
    assert_eq!(disk.reboot(Crash::KeepAll).read_durable("/a").expect("there"), b"one");
    file.sync_data().expect("no fault");
    assert_eq!(disk.reboot(Crash::LoseAll).read_durable("/a").expect("there"), b"one");
}

#[test]
fn each_sector_shows_any_version_since_its_last_sync() {
    let (disk, file) = disk_with_file();
    file.write_at(&[1; 1024], 0).expect("no fault");
    file.sync_data().expect("no fault");
    file.write_at(&[2; 1024], 0).expect("no fault");
    file.write_at(&[3; 512], 512).expect("no fault");
    let mut images: Vec<(u8, u8)> = disk
        .crash_images(100)
        .iter()
        .map(|image| {
            let bytes = image.read_durable("/a").expect("there");
            assert!(
                bytes[..512].iter().all(|byte| *byte == bytes[0])
                    && bytes[512..].iter().all(|byte| *byte == bytes[512])
            );
            (bytes[0], bytes[512])
        })
        .collect();
    images.sort_unstable();
    assert_eq!(images, [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]);
}

#[test]
fn ten_dirty_sectors_give_all_subsets() {
    let (disk, file) = disk_with_file();
    file.allocate(8192).expect("no fault");
    file.sync_data().expect("no fault");
    file.write_at(&[1; 5120], 0).expect("no fault");
    assert_eq!(disk.crash_images(1 << 20).len(), 1024);
    file.write_at(&[1; 512], 5120).expect("no fault");
    assert!(disk.crash_images(500).len() > 200, "more are sampled");
}

#[test]
fn a_pending_size_is_anything_between_and_grown_parts_are_zeros_or_stale() {
    let (disk, file) = disk_with_file();
    disk.put_durable("/old", &[9; 4096]).expect("room");
    disk.remove(path("/old")).expect("there");
    file.write_at(&[1; 100], 0).expect("no fault");
    file.sync_data().expect("no fault");
    file.allocate(3000).expect("no fault");
    let images: Vec<Vec<u8>> =
        disk.crash_images(1000).iter().map(|image| image.read_durable("/a").expect("there")).collect();
    assert!(images.iter().all(|bytes| (100..=3000).contains(&bytes.len()) && bytes[..100] == [1; 100]));
    assert!(images.iter().any(|bytes| bytes.len() == 100));
    assert!(images.iter().any(|bytes| bytes.len() > 100 && bytes.len() < 3000));
    assert!(images.iter().any(|bytes| bytes.len() == 3000 && bytes[100..].iter().all(|byte| *byte == 0)));
    assert!(images.iter().any(|bytes| bytes.len() == 3000 && bytes[100..].iter().all(|byte| *byte == 9)), "stale");
    file.sync_data().expect("no fault");
    assert!(disk.crash_images(1000).iter().all(|image| image.read_durable("/a").expect("there").len() == 3000));
}

#[test]
fn names_are_durable_after_a_directory_sync_only() {
    let disk = SimDisk::new(1);
    disk.create_dir(path("/d")).expect("room");
    let file = disk.open(path("/d/x"), Access::Create).expect("room");
    file.write_at(b"x", 0).expect("room");
    file.sync_data().expect("no fault");
    disk.sync_dir(path("/d")).expect("no fault");
    assert!(disk.reboot(Crash::LoseAll).list(path("/d")).is_err(), "the parent was not synced");
    disk.sync_dir(path("/")).expect("no fault");
    assert_eq!(disk.reboot(Crash::LoseAll).list_files(), [("/d/x".to_owned(), 1)]);
    disk.rename(path("/d/x"), path("/d/y")).expect("there");
    disk.open(path("/d/z"), Access::Create).expect("room");
    let mut outcomes: Vec<Vec<String>> = disk
        .crash_images(100)
        .iter()
        .map(|image| image.list_files().into_iter().map(|(name, _)| name).collect())
        .collect();
    outcomes.sort();
    let expected: [&[&str]; 4] = [&["/d/x"], &["/d/x", "/d/z"], &["/d/y"], &["/d/y", "/d/z"]];
    assert_eq!(outcomes, expected);
    disk.remove(path("/d/y")).expect("there");
    disk.sync_dir(path("/d")).expect("no fault");
    assert_eq!(disk.reboot(Crash::LoseAll).list_files(), [("/d/z".to_owned(), 0)]);
}

#[test]
fn a_rename_replaces_atomically_and_between_directories_is_one_change() {
    let disk = SimDisk::new(1);
    disk.put_durable("/d/x", b"new").expect("room");
    disk.put_durable("/e/x", b"old").expect("room");
    disk.rename(path("/d/x"), path("/e/x")).expect("there");
    for image in disk.crash_images(100) {
        let contents = image.read_durable("/e/x").expect("one of the two");
        assert_eq!(contents == b"new", image.read_durable("/d/x").is_err());
    }
    disk.sync_dir(path("/e")).expect("no fault");
    let after = disk.reboot(Crash::LoseAll);
    assert_eq!(after.list_files(), [("/e/x".to_owned(), 3)]);
    assert_eq!(after.read_durable("/e/x").expect("there"), b"new");
    assert_eq!(kind(disk.rename(path("/e"), path("/e/inside"))), ErrorKind::InvalidInput);
}

#[test]
fn an_open_file_survives_its_removal() {
    let (disk, file) = disk_with_file();
    file.write_at(b"here", 0).expect("room");
    disk.remove(path("/a")).expect("there");
    disk.sync_dir(path("/")).expect("no fault");
    disk.open(path("/b"), Access::Create).expect("room").write_at(b"other", 0).expect("room");
    assert_eq!(read(&*file), b"here");
    assert_eq!(kind(disk.open(path("/a"), Access::Read)), ErrorKind::NotFound);
}

#[test]
fn a_write_with_sync_makes_its_own_bytes_durable_only() {
    let (disk, file) = disk_with_file();
    file.write_at(&[1; 4096], 0).expect("room");
    assert_eq!(file.write_sync(&[2; 4096], 4096, SyncMethod::Direct).expect("room"), 4096);
    let after = disk.reboot(Crash::LoseAll).read_durable("/a").expect("there");
    assert_eq!((after.len(), after[0], after[4096]), (8192, 0, 2));
    assert_eq!(kind(file.write_sync(&[2; 100], 4096, SyncMethod::Direct)), ErrorKind::InvalidInput);
    disk.set_methods(&[]);
    assert_eq!(kind(file.write_sync(&[2; 4096], 0, SyncMethod::WriteSync)), ErrorKind::Unsupported);
}

#[test]
fn a_failed_sync_that_is_retried_says_ok_and_keeps_nothing() {
    let (disk, file) = disk_with_file();
    file.write_at(&[1; 512], 0).expect("room");
    file.sync_data().expect("no fault yet");
    file.write_at(&[2; 512], 0).expect("room");
    disk.fault(failed_sync(Personality::Once, Survivors::Nothing));
    assert_eq!(file.sync_data().expect_err("ordered").raw_os_error(), Some(errno::EIO));
    file.sync_data().expect("the pages are marked clean");
    assert_eq!(read(&*file), [2; 512], "the cache looks right");
    assert_eq!(disk.reboot(Crash::KeepAll).read_durable("/a").expect("there"), [1; 512]);
    file.drop_cache().expect("a hint");
    assert_eq!(read(&*file), [1; 512], "after eviction the device's bytes are back");
    file.write_at(&[2; 512], 0).expect("room");
    file.sync_data().expect("no fault");
    assert_eq!(disk.reboot(Crash::LoseAll).read_durable("/a").expect("there"), [2; 512]);
}

#[test]
fn rewriting_the_same_bytes_after_a_failed_sync_makes_them_dirty_again() {
    let (disk, file) = disk_with_file();
    file.allocate(512).expect("room");
    file.sync_data().expect("no fault yet");
    file.write_at(&[2; 512], 0).expect("room");
    disk.fault(failed_sync(Personality::Once, Survivors::Nothing));
    assert!(file.sync_data().is_err());
    file.write_at(&[2; 512], 0).expect("room");
    file.sync_data().expect("no fault");
    assert_eq!(disk.reboot(Crash::LoseAll).read_durable("/a").expect("there"), [2; 512]);
}

#[test]
fn a_failed_sync_may_have_written_all_or_some() {
    for (survivors, all) in [(Survivors::Everything, true), (Survivors::Some, false)] {
        let (disk, file) = disk_with_file();
        file.allocate(1 << 16).expect("room");
        file.sync_data().expect("no fault yet");
        file.write_at(&[2; 1 << 16], 0).expect("room");
        disk.fault(failed_sync(Personality::Once, survivors));
        assert!(file.sync_data().is_err());
        let bytes = disk.reboot(Crash::LoseAll).read_durable("/a").expect("there");
        assert_eq!(bytes.iter().all(|byte| *byte == 2), all);
        assert!(bytes.contains(&2));
    }
}

#[test]
fn a_failed_sync_may_turn_the_file_system_read_only() {
    let (disk, file) = disk_with_file();
    file.write_at(b"x", 0).expect("room");
    disk.fault(failed_sync(Personality::ReadOnly, Survivors::Nothing));
    assert!(file.sync_data().is_err());
    assert_eq!(kind(file.sync_data()), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(kind(file.write_at(b"y", 0)), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(kind(disk.open(path("/b"), Access::Create)), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(read(&*file), b"x", "reads go on");
    assert!(disk.kill().open(path("/a"), Access::Write).is_err(), "the kernel goes on when a process dies");
    assert!(disk.reboot(Crash::LoseAll).open(path("/a"), Access::Write).is_ok());
}

#[test]
fn syncs_may_fail_for_ever() {
    let (disk, file) = disk_with_file();
    file.write_at(b"x", 0).expect("room");
    let code = errno::EDQUOT;
    let effect = Effect::FailedSync { code, personality: Personality::Forever, survivors: Survivors::Nothing };
    disk.fault(Fault::new(effect).on(Operation::SyncData));
    for _ in 0..3 {
        assert_eq!(kind(file.sync_data()), ErrorKind::QuotaExceeded);
    }
    assert_eq!(kind(disk.sync_dir(path("/"))), ErrorKind::QuotaExceeded);
    assert_eq!(disk.reboot(Crash::LoseAll).read_durable("/a").expect("there"), b"");
}

#[test]
fn a_full_disk_writes_short_then_refuses_and_removal_frees() {
    let (disk, file) = disk_with_file();
    disk.put_durable("/filler", &[0; 600]).expect("no limit yet");
    disk.set_capacity(Some(1000));
    assert_eq!(disk.file_system(path("/")).expect("there").free_bytes, 400);
    assert_eq!(file.write_at(&[1; 500], 0).expect("a part fits"), 400);
    assert_eq!(kind(file.write_at(&[1; 100], 400)), ErrorKind::StorageFull);
    assert_eq!(kind(file.allocate(401)), ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[2; 400], 0).expect("overwriting needs no room"), 400);
    disk.remove(path("/filler")).expect("there");
    assert_eq!(disk.used(), 400);
    file.allocate(1000).expect("room again");
    assert_eq!(disk.reboot(Crash::KeepAll).used(), 1000);
}

#[test]
fn ordered_errors_strike_where_and_as_often_as_ordered() {
    let (disk, file) = disk_with_file();
    let other = disk.open(path("/b"), Access::Create).expect("room");
    disk.fault(Fault::new(Effect::Error(errno::ENOSPC)).on(Operation::Write).named("b").skip(1).times(2));
    write_all_at(&*file, b"fine", 0).expect("another file");
    write_all_at(&*other, b"fine", 0).expect("skipped");
    assert_eq!(kind(other.write_at(b"x", 0)), ErrorKind::StorageFull);
    assert_eq!(kind(other.write_at(b"x", 0)), ErrorKind::StorageFull);
    assert_eq!(read(&*other), b"fine", "a failed write writes nothing");
    other.write_at(b"x", 0).expect("no more");
    disk.fault(Fault::new(Effect::Error(errno::EACCES)).at(disk.operations() + 2));
    file.sync_data().expect("not yet");
    assert_eq!(kind(disk.open(path("/a"), Access::Read)), ErrorKind::PermissionDenied);
    for (code, operation) in [(errno::ENOSPC, Operation::Allocate), (errno::ENOSPC, Operation::Create)] {
        disk.fault(Fault::new(Effect::Error(code)).on(operation));
    }
    assert_eq!(kind(file.allocate(10)), ErrorKind::StorageFull);
    assert_eq!(kind(disk.open(path("/c"), Access::Create)), ErrorKind::StorageFull);
    disk.fault(Fault::new(Effect::Error(errno::EIO)).times(u64::MAX));
    disk.clear_faults();
    assert!(disk.open(path("/c"), Access::Read).is_err(), "it was not created");
}

#[test]
fn short_and_interrupted_calls_are_finished_by_the_helpers_and_a_zero_write_is_an_error() {
    let (disk, file) = disk_with_file();
    disk.fault(Fault::new(Effect::Short(3)).on(Operation::Write));
    disk.fault(Fault::new(Effect::Error(errno::EINTR)).on(Operation::Write));
    disk.fault(Fault::new(Effect::Error(errno::EAGAIN)).on(Operation::Write));
    write_all_at(&*file, b"0123456789", 0).expect("finished");
    disk.fault(Fault::new(Effect::Short(4)).on(Operation::Read));
    assert_eq!(read(&*file), b"0123456789");
    disk.fault(Fault::new(Effect::Zero));
    assert_eq!(kind(write_all_at(&*file, b"x", 0)), ErrorKind::WriteZero);
}

#[test]
fn lost_misdirected_and_lying() {
    let (disk, file) = disk_with_file();
    write_all_at(&*file, &[1; 1536], 0).expect("room");
    file.sync_data().expect("no fault");
    disk.fault(Fault::new(Effect::Lost));
    file.write_at(&[2; 512], 0).expect("it says");
    disk.fault(Fault::new(Effect::Misdirected(1024)).on(Operation::Write));
    file.write_at(&[3; 512], 512).expect("it says");
    file.sync_data().expect("no fault");
    let durable = disk.read_durable("/a").expect("there");
    assert_eq!((durable[0], durable[512], durable[1024]), (1, 1, 3));
    assert_eq!(read(&*file)[..1024], [[2; 512], [3; 512]].concat(), "the cache shows what was meant");
    file.write_at(&[4; 512], 0).expect("room");
    disk.fault(Fault::new(Effect::LyingSync));
    file.sync_data().expect("it says");
    assert_eq!(disk.read_durable("/a").expect("there")[0], 1);
    file.sync_data().expect("honest");
    assert_eq!(disk.read_durable("/a").expect("there")[0], 4);
}

#[test]
fn unreadable_ranges_end_a_read_before_them() {
    let disk = SimDisk::new(1);
    disk.put_durable("/a", &[1; 4096]).expect("room");
    disk.fail_reads("a", 1024..1536);
    let disk = disk.reboot(Crash::LoseAll);
    let file = disk.open(path("/a"), Access::Read).expect("there");
    let mut buffer = [0; 4096];
    assert_eq!(file.read_at(&mut buffer, 0).expect("up to there"), 1024);
    assert_eq!(file.read_at(&mut buffer, 1024).expect_err("unreadable").raw_os_error(), Some(errno::EIO));
    assert_eq!(file.read_at(&mut buffer, 1536).expect("behind it"), 4096 - 1536);
    assert_eq!(file.write_at(b"x", 0).expect_err("opened for reading").raw_os_error(), Some(errno::EBADF));
}

#[test]
fn damage_to_durable_sectors() {
    let disk = SimDisk::new(1);
    disk.put_durable("/a", &[[1; 512], [2; 512]].concat()).expect("room");
    let earlier = disk.kill();
    disk.flip_durable_bit("/a", 3, 7).expect("inside");
    assert_eq!(disk.read_durable("/a").expect("there")[3], 0x81);
    disk.swap_durable_sectors(("/a", 0), ("/a", 1)).expect("inside");
    assert_eq!(disk.read_durable("/a").expect("there")[515], 0x81);
    disk.zero_durable_sector("/a", 1).expect("inside");
    disk.stale_durable_sector("/a", 0, &earlier).expect("inside");
    assert_eq!(disk.read_durable("/a").expect("there"), [[1; 512], [0; 512]].concat());
    assert_eq!(read(&*disk.open(path("/a"), Access::Read).expect("there")), [[1; 512], [0; 512]].concat());
    assert!(disk.flip_durable_bit("/a", 1024, 0).is_err());
    disk.remove_durable("/a").expect("there");
    assert!(disk.reboot(Crash::KeepAll).list_files().is_empty());
}

#[test]
fn a_torn_page_ruins_its_durable_sectors_too() {
    let (disk, file) = disk_with_file();
    write_all_at(&*file, &[1; 8192], 0).expect("room");
    file.sync_data().expect("no fault");
    write_all_at(&*file, &[2; 512], 0).expect("room");
    let ruined = |disk: &SimDisk| {
        let images = disk.crash_images(100);
        images.iter().filter(|image| image.read_durable("/a").expect("there")[4095] != 1).count()
    };
    assert_eq!(ruined(&disk), 0);
    disk.tear_pages(true);
    assert!(ruined(&disk) > 0);
    assert!(disk.crash_images(100).iter().all(|image| image.read_durable("/a").expect("there")[4096..] == [1; 4096]));
}

#[test]
fn a_lock_excludes_and_dies_with_its_holder() {
    let disk = SimDisk::new(1);
    let held = disk.lock(path("/LOCK")).expect("free");
    assert_eq!(kind(disk.clone().lock(path("/LOCK"))), ErrorKind::WouldBlock);
    assert!(disk.kill().lock(path("/LOCK")).is_ok());
    assert!(disk.reboot(Crash::KeepAll).lock(path("/LOCK")).is_ok());
    drop(held);
    assert!(disk.lock(path("/LOCK")).is_ok());
}

#[test]
fn a_read_only_mount_refuses_all_changes() {
    let (disk, file) = disk_with_file();
    disk.set_read_only(true);
    let refused = [
        kind(disk.create_dir(path("/d"))),
        kind(disk.rename(path("/a"), path("/b"))),
        kind(disk.remove(path("/a"))),
        kind(disk.open(path("/a"), Access::Write)),
        kind(disk.lock(path("/LOCK"))),
        kind(file.write_at(b"x", 0)),
        kind(file.allocate(1)),
    ];
    assert_eq!(refused, [ErrorKind::ReadOnlyFilesystem; 7]);
    disk.open(path("/a"), Access::Read).expect("reading is allowed");
    file.sync_data().expect("nothing to write");
}

#[test]
fn time_entropy_and_waiting_are_simulated() {
    let disk = SimDisk::new(1);
    let world = disk.world();
    let word = AtomicU32::new(1);
    world.environment.wait(&word, 0, Some(Duration::from_secs(9)));
    assert_eq!(world.environment.now(), Duration::ZERO, "the word differs: no waiting");
    world.environment.wait(&word, 1, Some(Duration::from_secs(2)));
    disk.advance(Duration::from_secs(1));
    assert_eq!(world.environment.now(), Duration::from_secs(3));
    assert!(world.environment.spawn("none", Box::new(|| ())).expect("no error").is_none());
    let entropy = |disk: &SimDisk| {
        let mut bytes = [0; 16];
        disk.environment().entropy(&mut bytes).expect("always");
        bytes
    };
    let first = entropy(&disk);
    assert_eq!(first, entropy(&SimDisk::new(1)));
    assert_ne!(first, entropy(&SimDisk::new(2)));
    assert_ne!(first, entropy(&disk.reboot(Crash::LoseAll)));
    assert_ne!(first, entropy(&disk));
}

#[test]
#[should_panic(expected = "deadlock")]
fn waiting_for_nobody_is_a_deadlock() {
    let environment = SimDisk::new(1).environment();
    let word = AtomicU32::new(1);
    loop {
        environment.wait(&word, 1, None);
    }
}

#[test]
fn hashes_do_not_depend_on_the_way_to_a_state() {
    let direct = SimDisk::new(1);
    direct.put_durable("/d/a", &[5; 1000]).expect("room");
    let (disk, file) = disk_with_file();
    disk.create_dir(path("/d")).expect("room");
    write_all_at(&*file, &[9; 1000], 0).expect("room");
    write_all_at(&*file, &[5; 700], 300).expect("room");
    write_all_at(&*file, &[5; 300], 0).expect("room");
    disk.rename(path("/a"), path("/d/a")).expect("there");
    disk.sync_dir(path("/d")).expect("no fault");
    disk.sync_dir(path("/")).expect("no fault");
    file.sync_data().expect("no fault");
    let hash = |disk: &SimDisk| image::image_hash(&disk.shared.lock().state);
    assert_eq!(hash(&disk), hash(&direct));
    direct.flip_durable_bit("/d/a", 999, 0).expect("inside");
    assert_ne!(hash(&disk), hash(&direct));
}

/// The first version of the mixing multiplied by zero for some inputs, so that images were taken for duplicates.
#[test]
fn hashes_of_similar_things_differ() {
    let names: BTreeSet<u64> = (0..1000).map(|number| hash::text_hash(&format!("name {number}"))).collect();
    assert_eq!(names.len(), 1000);
    let mut sectors = BTreeSet::new();
    for index in 0..8 {
        for byte in 0..512 {
            for value in [1, 0x80, 0xff] {
                let mut sector = [0; 512];
                sector[byte] = value;
                sectors.insert(hash::sector_hash(index, &sector));
            }
        }
    }
    assert_eq!(sectors.len(), 8 * 512 * 3);
    let history = |events: &[u32]| {
        let history = History::new();
        events.iter().for_each(|event| history.push(*event));
        history.mark().read()
    };
    let histories = [&[][..], &[0], &[1], &[0, 0], &[0, 1], &[1, 0]].map(history);
    assert_eq!(histories.iter().collect::<BTreeSet<_>>().len(), histories.len());
}

#[test]
fn a_choice_is_read_as_it_was_written() {
    let (disk, file) = disk_with_file();
    disk.tear_pages(true);
    for part in 0..20 {
        file.write_at(&[part as u8 + 1; 700], part * 600).expect("room");
    }
    disk.open(path("/b"), Access::Create).expect("room");
    let core = disk.shared.lock();
    let plan = plan::Plan::new(image::Pending::of(&core.state), 500, true, 1);
    for number in 0..plan.total() {
        let choice = plan.choice(number);
        assert!(plan.pending.fits(&choice), "{choice}");
        let again = image::Choice::parse(&choice.to_string()).expect("it was written so");
        assert!(again == choice || again.kill && choice.kill, "{choice}");
    }
    for wrong in ["", "x=1", "s=1", "s=!", "n=xyz;s="] {
        assert!(!image::Choice::parse(wrong).is_ok_and(|choice| plan.pending.fits(&choice)), "{wrong}");
    }
}
