//! Moving a log to another backend: all of it, compared, and never a half one that passes for a log.

use duramen_decisions::backend::file::FileBackend;
use duramen_decisions::backend::kv::KvBackend;
use duramen_decisions::backend::memory::MemoryKv;
use duramen_decisions::backend::{Backend, Space};
use duramen_decisions::{Batch, Blake3, Error, Log, Migrated, PersistentLog as _, RawLayer, migrate};
use duramen_journal::disk::sim::{Effect, Fault, Operation, SimDisk, errno};

use crate::{config, decision, files, memory, on_each_backend};

fn state(seed: u64) -> Vec<u8> {
    let mixed = |at: u64| (at ^ seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    (0..40_000u64).map(|at| mixed(mixed(at)) as u8).collect()
}

fn fill(log: &impl duramen_decisions::PersistentLog<Blake3, Vec<u8>, RawLayer>) {
    for seq_no in 1..=1200 {
        let mut batch = Batch::new();
        batch.decision(seq_no, &decision(seq_no)).proof(seq_no, &"votes".into());
        drop(log.store_batch(&batch).unwrap());
    }
    for at in (0..1100).step_by(100) {
        let mut batch = Batch::new();
        (at..at + 100).for_each(|at| _ = batch.message(1300, &format!("message {at}").into()));
        drop(log.store_batch(&batch).unwrap());
    }
    let mut batch = Batch::new();
    batch.safety(&"view 3".into()).membership(7, &"a b c d".into()).recovery(9, b"sent").recovery(1 << 60, b"more");
    log.store_batch(&batch).unwrap().wait().unwrap();
    drop(log.store_decision(1250, &vec![7; 18_000].into()).unwrap());
    log.store_checkpoint(500, &state(3)).unwrap();
    log.store_checkpoint(1000, &state(7)).unwrap();
    log.compact_log_up_to(400).unwrap();
}

fn check<B: Backend>(log: &Log<Blake3, Vec<u8>, RawLayer, B>) {
    assert_eq!((log.base(), log.last_contiguous().unwrap()), (Some(400), Some(1200)));
    for seq_no in 401..=1200 {
        assert_eq!(log.retrieve_decision(seq_no).unwrap(), Some(decision(seq_no)));
        assert_eq!(log.retrieve_proof(seq_no).unwrap(), Some("votes".into()));
    }
    assert_eq!(log.retrieve_decision(1250).unwrap(), Some(vec![7; 18_000].into()));
    let messages = log.retrieve_messages(1300).unwrap();
    assert_eq!((messages.len(), &messages[1099][..]), (1100, &b"message 1099"[..]));
    assert_eq!(log.retrieve_safety().unwrap(), Some("view 3".into()));
    assert_eq!(log.retrieve_configuration(400).unwrap(), Some((7, "a b c d".into())));
    assert_eq!(log.retrieve_recovery(1 << 60).unwrap(), Some("more".into()));
    assert_eq!(log.retrieve_checkpoint(500).unwrap(), Some(state(3)));
    assert_eq!(log.retrieve_last_checkpoint().unwrap(), Some((1000, state(7))));
}

fn counted(migrated: &Migrated) {
    assert_eq!(migrated.values[Space::Decision as usize], 801, "{migrated}");
    assert_eq!(migrated.values[Space::Message as usize], 1100);
    assert_eq!((migrated.values[Space::Own as usize], migrated.values[Space::Checkpoint as usize]), (1, 2));
    assert!(migrated.chunks > 10 && migrated.bytes > 100_000);
}

on_each_backend!(a_log_moves_to_files_and_to_memory_and_back, |log, open| {
    fill(&log);
    let disk = SimDisk::new(8);
    let target = FileBackend::open(&config(&disk)).unwrap();
    counted(&migrate(&log, &target).unwrap());
    check(&log);
    drop(target);
    let log = files(&disk);
    check(&log);
    let kv = MemoryKv::default();
    let target = KvBackend::new(kv.clone(), &config(&SimDisk::new(1))).unwrap();
    counted(&migrate(&log, &target).unwrap());
    drop(target);
    check(&memory(&kv));
    let _ = open;
});

/// The same into redb and fjall.
#[cfg(any(feature = "redb", feature = "fjall"))]
#[test]
fn a_log_moves_to_stores_on_the_real_disk() {
    let log = files(&SimDisk::new(8));
    fill(&log);
    #[cfg(feature = "redb")]
    {
        let folder = crate::Folder::new("redb-target");
        counted(&migrate(&log, &KvBackend::redb(&folder.config()).unwrap()).unwrap());
        check(&duramen_decisions::RedbLog::<Blake3, Vec<u8>, RawLayer>::new(folder.config()).unwrap());
    }
    #[cfg(feature = "fjall")]
    {
        let folder = crate::Folder::new("fjall-target");
        counted(&migrate(&log, &KvBackend::fjall(&folder.config()).unwrap()).unwrap());
        check(&duramen_decisions::FjallLog::<Blake3, Vec<u8>, RawLayer>::new(folder.config()).unwrap());
    }
}

#[test]
fn a_target_that_holds_something_is_refused_and_not_changed() {
    let log = files(&SimDisk::new(8));
    fill(&log);
    let other = files(&SimDisk::new(9));
    other.store_decision(5, &decision(5)).unwrap().wait().unwrap();
    assert!(matches!(migrate(&log, other.backend()), Err(Error::NotEmpty { what }) if what == "decision 5"));
    assert_eq!(other.retrieve_decision(5).unwrap(), Some(decision(5)));
    let fresh = SimDisk::new(10);
    migrate(&log, files(&fresh).backend()).unwrap();
    check(&files(&fresh));
}

/// The disk fails at more and more places on the way.
#[test]
fn a_migration_that_was_ended_leaves_the_source_and_a_target_that_is_no_log() {
    let disk = SimDisk::new(8);
    let log = files(&disk);
    fill(&log);
    let before = disk.list_files();
    let mut unfinished = 0;
    for writes in (0..).step_by(3) {
        let target = SimDisk::new(9);
        let backend = FileBackend::open(&config(&target)).unwrap();
        target.fault(Fault::new(Effect::Error(errno::EIO)).on(Operation::Write).skip(writes).times(u64::MAX));
        let migrated = migrate(&log, &backend);
        drop(backend);
        assert_eq!(disk.list_files(), before);
        let left = target.kill();
        left.clear_faults();
        if migrated.is_ok() {
            check(&files(&left));
            break;
        }
        match crate::Files::new(config(&left)) {
            Err(Error::Unfinished) => unfinished += 1,
            // Before the mark was durable.
            Ok(empty) => assert_eq!((empty.last_decision().unwrap(), empty.last_checkpoint()), (None, None)),
            Err(error) => panic!("{error}"),
        }
        let backend = FileBackend::open(&config(&left)).unwrap();
        counted(&migrate(&log, &backend).unwrap());
        drop(backend);
        check(&files(&left));
    }
    assert!(unfinished > 3, "{unfinished}");
}

#[test]
fn what_is_damaged_is_not_copied() {
    let kv = MemoryKv::default();
    let log = memory(&kv);
    fill(&log);
    let key: Vec<u8> = [&[4][..], &700u64.to_be_bytes(), &[0; 4]].concat();
    kv.edit(|values| {
        let value = values.get_mut(&key).unwrap();
        let mut bytes = value.to_vec();
        bytes[40] ^= 4;
        *value = bytes.into();
    });
    let target = MemoryKv::default();
    let backend = KvBackend::new(target.clone(), &config(&SimDisk::new(1))).unwrap();
    assert!(matches!(migrate(&log, &backend), Err(Error::DamagedValue { what, .. }) if what == "decision 700"));
    let backend = KvBackend::new(target, &config(&SimDisk::new(1))).unwrap();
    let opened = Log::<Blake3, Vec<u8>, RawLayer, _>::on(backend, config(&SimDisk::new(1)));
    assert!(matches!(opened, Err(Error::Unfinished)));
}
