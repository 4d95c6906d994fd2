//! Snapshots: saved, loaded, sent, kept, damaged, on a full disk.

use duramen_journal::disk::sim::{Crash, Effect, Fault, Operation, SimDisk};
use duramen_raft::{
    Config, Error, FlushPolicy, Loss, Plain, PurgeOnSnapshot, RaftLog, RaftLogState, SnapshotError, Strategy, TermIndex,
};

use crate::simulated::{FOLDER, entry, fill, id, open, small, try_open};

fn chunked() -> Config {
    Config { snapshot_chunk_bytes: 4096, ..small() }
}

fn content(index: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|at| ((at * 31 + index) ^ (at >> 8)) as u8).collect()
}

fn save(log: &RaftLog<Plain>, index: u64, bytes: usize) -> Result<(), Error<Plain>> {
    let mut writer = log.snapshots()?.begin(&id(1, index), format!("members {index}").as_bytes())?;
    content(index, bytes).chunks(999).try_for_each(|part| writer.write(part))?;
    let meta = writer.finish()?;
    assert_eq!((meta.last, meta.bytes, meta.chunks as usize), (id(1, index), bytes as u64, bytes.div_ceil(4096)));
    Ok(())
}

fn loaded(log: &RaftLog<Plain>) -> Option<(TermIndex, Vec<u8>)> {
    let snapshot = log.snapshots().expect("has a folder").load().expect("reads")?;
    let chunks: Vec<_> = snapshot.chunks().map(|chunk| chunk.expect("is good")).collect();
    Some((snapshot.meta().last, chunks.concat()))
}

fn indexes(log: &RaftLog<Plain>) -> Vec<u64> {
    log.snapshots().expect("has a folder").list().expect("lists").iter().map(|meta| meta.last.index).collect()
}

fn snapshot_error<R: std::fmt::Debug>(result: Result<R, Error<Plain>>) -> SnapshotError {
    match result {
        Err(Error::Snapshot(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn files(disk: &SimDisk) -> Vec<String> {
    let all = disk.list_files().into_iter().map(|(name, _)| name);
    all.filter(|name| name.contains("/snapshots/")).collect()
}

#[test]
fn the_newest_are_kept_and_the_log_is_purged_below() {
    for (policy, first) in
        [(PurgeOnSnapshot::Never, 1), (PurgeOnSnapshot::ToOldest, 31), (PurgeOnSnapshot::ToNewest, 41)]
    {
        let disk = SimDisk::new(1);
        let config = Config { purge_on_snapshot: policy, ..chunked() };
        let (logs, _) = open(&disk, &config);
        let log = logs.group(1).expect("a group");
        assert_eq!(loaded(&log), None);
        fill(&log, 1, 1..51, 300);
        for (index, bytes) in [(10, 1), (20, 0), (30, 4096), (40, 10_000)] {
            save(&log, index, bytes).expect("saves");
        }
        assert_eq!(indexes(&log), [40, 30]);
        assert_eq!(log.reader().first_index(), Some(first));
        assert_eq!(loaded(&log), Some((id(1, 40), content(40, 10_000))));
        // A reader of one that is let go reads on.
        let old = log.snapshots().expect("has a folder").open(30).expect("is there");
        save(&log, 45, 5000).expect("saves");
        assert_eq!(old.chunk(0).expect("reads"), content(30, 4096));
        assert_eq!(files(&disk).len(), 2, "{:?}", files(&disk));
        let refused = snapshot_error(log.snapshots().expect("has a folder").begin(&id(1, 45), b""));
        assert!(matches!(refused, SnapshotError::Outdated { index: 45, newest: 45 }), "{refused}");
        assert!(matches!(snapshot_error(old_open(&log)), SnapshotError::NotThere { index: 30 }));
        drop((log, logs, old));
        let (logs, opened) = open(&disk.reboot(Crash::LoseAll), &config);
        assert!(opened.damaged_snapshots.is_empty() && opened.uncovered.is_empty());
        let log = logs.group(1).expect("a group");
        assert_eq!(loaded(&log), Some((id(1, 45), content(45, 5000))));
        assert_eq!(log.snapshots().expect("has a folder").list().expect("lists")[0].meta, "members 45");
    }
}

fn old_open(log: &RaftLog<Plain>) -> Result<(), Error<Plain>> {
    log.snapshots()?.open(30).map(drop)
}

#[test]
fn what_was_not_finished_never_was() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &chunked());
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..11, 100);
    let mut writer = log.snapshots().expect("has a folder").begin(&id(1, 5), b"").expect("begins");
    writer.write(&content(5, 9000)).expect("writes");
    let torn = disk.kill();
    drop(writer);
    assert_eq!((files(&disk).len(), indexes(&log).len()), (0, 0));
    assert_eq!(files(&torn).len(), 1);
    let (logs, _) = open(&torn, &chunked());
    let log = logs.group(1).expect("a group");
    assert_eq!((loaded(&log), files(&torn).len()), (None, 0), "a leftover is removed");
    let large = vec![0; (1 << 20) + 1];
    let refused = snapshot_error(log.snapshots().expect("has a folder").begin(&id(1, 5), &large));
    assert!(matches!(refused, SnapshotError::TooLarge { .. }), "{refused}");
}

/// Every byte that is changed is noticed: by opening in head and end, by reading in a chunk. Then the older one counts, and
/// the log goes on from it.
#[test]
fn a_damaged_one_is_never_served() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &chunked());
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..31, 100);
    save(&log, 10, 5000).expect("saves");
    save(&log, 20, 5000).expect("saves");
    logs.close().expect("closes");
    drop((log, logs));
    let name = files(&disk).into_iter().find(|name| name.contains("/0000000000000014-")).expect("is there");
    let bytes = disk.read_durable(&name).expect("is there").len() as u64;
    assert_eq!(bytes, 4096 + 5000 + 2 * 8 + 32);
    let (mut unopened, mut unread) = (0, 0);
    for offset in (0..bytes).step_by(7).chain(bytes - 48..bytes) {
        let disk = disk.kill();
        disk.flip_durable_bit(&name, offset, (offset % 8) as u8).expect("is there");
        let (logs, opened) = open(&disk, &chunked());
        let log = logs.group(1).expect("a group");
        assert!(opened.uncovered.is_empty());
        assert_eq!(loaded(&log), Some((id(1, 10), content(10, 5000))), "byte {offset}");
        assert_eq!(log.reader().first_index(), Some(11), "the log goes on behind it");
        match &opened.damaged_snapshots[..] {
            [] => {
                let snapshot = log.snapshots().expect("has a folder").open(20).expect("its head and end are good");
                let error = snapshot_error(snapshot.verify());
                assert!(matches!(error, SnapshotError::Damaged { chunk: Some(_), .. }), "{error}");
                unread += 1;
            }
            [SnapshotError::Damaged { chunk: None, .. } | SnapshotError::Newer { .. }] => unopened += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(unopened > 500 && unread > 500, "{unopened} {unread}");
    // A bad sector is no damage, and serves nothing either.
    for range in [0..512, 5000..5512, bytes - 40..bytes] {
        let disk = disk.kill();
        disk.fail_reads(&name, range.clone());
        let (logs, _) = open(&disk, &chunked());
        assert_eq!(loaded(&logs.group(1).expect("a group")), Some((id(1, 10), content(10, 5000))), "{range:?}");
        drop(logs);
        disk.heal_reads();
        let (logs, _) = open(&disk, &chunked());
        assert_eq!(loaded(&logs.group(1).expect("a group")), Some((id(1, 20), content(20, 5000))), "{range:?}");
    }
    // Without the older one, what was purged is not covered, and is named.
    let config = Config { snapshots_kept: 1, purge_on_snapshot: PurgeOnSnapshot::ToNewest, ..chunked() };
    let (logs, _) = open(&disk, &config);
    save(&logs.group(1).expect("a group"), 25, 10).expect("saves");
    drop(logs);
    let name = files(&disk).pop().expect("is there");
    disk.flip_durable_bit(&name, 20, 1).expect("is there");
    let (logs, opened) = open(&disk, &config);
    assert!(
        matches!(opened.uncovered[..], [Loss { group: 1, first: 0, last: Some(25), .. }]),
        "{:?}",
        opened.uncovered
    );
    let error = snapshot_error(logs.group(1).expect("a group").snapshots().expect("has a folder").load());
    assert!(matches!(error, SnapshotError::Damaged { chunk: None, .. }), "{error}");
}

/// From one node to another, in pieces, over a crash, onto a log that has entries of another leader.
#[test]
fn a_snapshot_is_received() {
    let (leader_disk, disk) = (SimDisk::new(1), SimDisk::new(2));
    let (leader_logs, _) = open(&leader_disk, &chunked());
    let leader = leader_logs.group(1).expect("a group");
    fill(&leader, 1, 1..101, 100);
    save(&leader, 100, 20_000).expect("saves");
    let snapshot = leader.snapshots().expect("has a folder").load().expect("reads").expect("is there");
    let offer = snapshot.offer();
    let (logs, _) = open(&disk, &chunked());
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..11, 100);
    log.writer().commit(&id(1, 10)).expect("commits").wait_durable().expect("durable");
    fill(&log, 9, 11..121, 100);
    let snapshots = log.snapshots().expect("has a folder");
    for bad in [&b""[..], b"DURASNAP", &offer[..offer.len() - 1], &[0; 5000]] {
        assert!(matches!(snapshot_error(snapshots.receive(bad)), SnapshotError::BadOffer { .. }));
    }
    let other = logs.group(2).expect("a group").snapshots().expect("has a folder");
    assert!(matches!(snapshot_error(other.receive(&offer)), SnapshotError::BadOffer { .. }));
    let mut receiver = snapshots.receive(&offer).expect("begins");
    assert_eq!((receiver.meta(), receiver.missing().count()), (snapshot.meta(), 5));
    for number in [3, 1] {
        let mut chunk = snapshot.chunk(number).expect("reads").to_vec();
        receiver.put(number, &chunk).expect("is the one");
        receiver.put(number, &chunk).expect("once more");
        let wrong = snapshot_error(receiver.put(number + 1, &chunk));
        assert!(matches!(wrong, SnapshotError::WrongChunk { .. }), "{wrong}");
        chunk[7] ^= 1;
        assert!(matches!(snapshot_error(receiver.put(number, &chunk)), SnapshotError::WrongChunk { .. }));
        assert!(matches!(snapshot_error(receiver.put(5, &chunk)), SnapshotError::WrongChunk { chunk: 5, .. }));
    }
    let incomplete = snapshot_error(receiver.finish());
    assert!(matches!(incomplete, SnapshotError::Incomplete { first: 0, missing: 3 }), "{incomplete}");
    assert_eq!((loaded(&log), log.reader().next_index()), (None, Some(121)), "nothing has changed");
    drop((log, snapshots, other, logs));
    // The process dies: what has come is there.
    let disk = disk.kill();
    let (logs, _) = open(&disk, &chunked());
    let log = logs.group(1).expect("a group");
    let mut receiver = log.snapshots().expect("has a folder").receive(&offer).expect("goes on");
    let missing: Vec<u32> = receiver.missing().collect();
    assert_eq!(missing, [0, 2, 4]);
    for number in missing {
        receiver.put(number, &snapshot.chunk(number).expect("reads")).expect("is the one");
    }
    receiver.finish().expect("installs");
    drop((log, logs));
    let (logs, opened) = open(&disk.reboot(Crash::LoseAll), &chunked());
    let log = logs.group(1).expect("a group");
    assert!(opened.uncovered.is_empty());
    assert_eq!(loaded(&log), Some((id(1, 100), content(100, 20_000))));
    let state = log.state();
    assert_eq!((state.purged, state.last), (Some(id(1, 100)), Some(id(1, 100))), "another leader's entries are gone");
    fill(&log, 1, 101..103, 100);
    assert!(matches!(
        snapshot_error(log.snapshots().expect("has a folder").receive(&offer)),
        SnapshotError::Outdated { index: 100, newest: 100 }
    ));
}

/// A follower that has the entries keeps those behind the snapshot.
#[test]
fn what_follows_a_received_snapshot_stays() {
    let (leader_disk, disk) = (SimDisk::new(1), SimDisk::new(2));
    let (leader_logs, _) = open(&leader_disk, &chunked());
    let leader = leader_logs.group(1).expect("a group");
    fill(&leader, 1, 1..31, 100);
    save(&leader, 20, 100).expect("saves");
    let snapshot = leader.snapshots().expect("has a folder").load().expect("reads").expect("is there");
    let (logs, _) = open(&disk, &chunked());
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..31, 100);
    let mut receiver = log.snapshots().expect("has a folder").receive(&snapshot.offer()).expect("begins");
    receiver.put(0, &snapshot.chunk(0).expect("reads")).expect("is the one");
    receiver.finish().expect("publishes");
    assert_eq!((log.reader().first_index(), log.reader().next_index()), (Some(21), Some(31)));
    assert_eq!(log.reader().entry(21).expect("is there"), entry(1, 21, 100));
}

#[test]
fn mem_first_loads_only_what_follows() {
    let disk = SimDisk::new(1);
    let config = Config { strategy: Strategy::MemFirst, flush: FlushPolicy::Immediate, ..chunked() };
    let config = Config { purge_on_snapshot: PurgeOnSnapshot::Never, ..config };
    let (logs, _) = open(&disk, &config);
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..101, 100);
    save(&log, 70, 100).expect("saves");
    logs.close().expect("closes");
    drop((log, logs));
    let (logs, _) = open(&disk, &config);
    assert_eq!((logs.stats().cache.items, logs.stats().entries), (30, 100));
    let log = logs.group(1).expect("a group");
    assert_eq!(log.reader().entry(71).expect("is in memory"), entry(1, 71, 100));
    assert_eq!(logs.stats().cache.misses, 0);
    assert_eq!(log.reader().entry(50).expect("is on the disk still"), entry(1, 50, 100));
}

/// A full disk refuses the snapshot and nothing else; once there is room, it is saved.
#[test]
fn a_full_disk_refuses_and_forgives() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &chunked());
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..31, 100);
    save(&log, 10, 5000).expect("saves");
    let (leader_logs, _) = open(&SimDisk::new(2), &chunked());
    let leader = leader_logs.group(1).expect("a group");
    fill(&leader, 1, 1..31, 100);
    save(&leader, 25, 200_000).expect("saves");
    let snapshot = leader.snapshots().expect("has a folder").load().expect("reads").expect("is there");
    disk.set_capacity(Some(disk.used() + 50_000));
    let error = save(&log, 20, 200_000).expect_err("there is no room");
    assert!(error.is_no_space(), "{error}");
    let error = log.snapshots().expect("has a folder").receive(&snapshot.offer()).expect_err("there is no room");
    assert!(error.is_no_space(), "{error}");
    assert_eq!((indexes(&log), files(&disk).len()), (vec![10], 1), "nothing half-written is left");
    fill(&log, 1, 31..35, 100);
    disk.set_capacity(None);
    save(&log, 20, 200_000).expect("there is room");
    assert_eq!(loaded(&log), Some((id(1, 20), content(20, 200_000))));
}

/// A sync that fails publishes nothing, though the log goes on.
#[test]
fn a_failed_sync_publishes_nothing() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &chunked());
    let log = logs.group(1).expect("a group");
    fill(&log, 1, 1..31, 100);
    for (operation, effect) in [(Operation::SyncData, Effect::Error(5)), (Operation::Write, Effect::Error(5))] {
        disk.fault(Fault::new(effect).on(operation).named(".new").times(1));
        let error = snapshot_error(save(&log, 10, 9000));
        assert!(matches!(error, SnapshotError::Io { .. }), "{error}");
        disk.clear_faults();
        assert_eq!((loaded(&log), files(&disk).len(), log.reader().first_index()), (None, 0, Some(1)));
    }
    save(&log, 10, 9000).expect("saves");
}

#[test]
fn ten_thousand_groups_do_not_look_at_each_other() {
    let disk = SimDisk::new(1);
    let (logs, _) = open(&disk, &chunked());
    for group in 1..=300 {
        let log = logs.group(group).expect("a group");
        log.writer().append(vec![entry(1, 1, 10)]).expect("appends").wait().expect("durable");
        save(&log, 1, 10).expect("saves");
    }
    logs.close().expect("closes");
    drop(logs);
    let (logs, _) = open(&disk, &chunked());
    let before = disk.operations();
    for group in [7, 8, 9] {
        assert_eq!(loaded(&logs.group(group).expect("a group")), Some((id(1, 1), content(1, 10))));
    }
    assert!(disk.operations() - before < 30, "{} calls for three groups", disk.operations() - before);
    logs.group(7).expect("a group").writer().remove().expect("removes").wait().expect("durable");
    assert_eq!(files(&disk).iter().filter(|name| name.contains("/00000007/")).count(), 0);
    drop(logs);
    let (logs, _) = try_open(disk.reboot(Crash::LoseAll).world(), &chunked()).expect("opens");
    let log = logs.group(7).expect("a group");
    assert_eq!((log.state(), loaded(&log)), (RaftLogState::default(), None));
    assert!(disk.list_files().iter().any(|(name, _)| name.starts_with(&format!("{FOLDER}/snapshots/00000008/"))));
}
