//! Decisions, and what goes with them: order, duplicates, conflicts, taking back, compaction.

use bytes::Bytes;
use duramen_decisions::{Batch, Blake3, Completion, Digest as _, Error, PersistentLog as _, RawLayer};
use duramen_journal::disk::sim::SimDisk;

use crate::{config, decision, files, on_each_backend};

fn numbers(log: &impl duramen_decisions::PersistentLog<Blake3, Vec<u8>, RawLayer>, after: Option<u64>) -> Vec<u64> {
    log.retrieve_decisions_after(after).unwrap().map(|own| own.unwrap().0).collect()
}

fn done(completion: Completion) {
    completion.wait().unwrap();
}

on_each_backend!(decisions_come_back_in_order_whatever_order_they_came_in, |log, open| {
    for seq_no in [3, 1, 2, 6, 5] {
        done(log.store_decision(seq_no, &decision(seq_no)).unwrap());
    }
    assert_eq!(numbers(&log, None), [1, 2, 3], "up to the first that is missing");
    assert_eq!((log.last_contiguous().unwrap(), log.last_decision().unwrap()), (Some(3), Some(6)));
    done(log.store_decision(4, &decision(4)).unwrap());
    assert_eq!(numbers(&log, None), [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(&log, Some(4)), [5, 6]);
    done(log.store_decision(0, &decision(0)).unwrap());
    assert_eq!(numbers(&log, None), [0, 1, 2, 3, 4, 5, 6], "one before the first");
    log.close().unwrap();
    drop(log);
    let log = open();
    assert_eq!(numbers(&log, None), [0, 1, 2, 3, 4, 5, 6]);
    for seq_no in 0..7 {
        assert_eq!(log.retrieve_decision(seq_no).unwrap(), Some(decision(seq_no)));
        assert_eq!(log.decision_digest(seq_no).unwrap(), Some(Blake3::of(&[&decision(seq_no)])));
    }
    assert_eq!(log.retrieve_decision(7).unwrap(), None);
    assert_eq!(log.recovery_information().last_contiguous, Some(6));
});

on_each_backend!(a_duplicate_is_accepted_and_another_content_refused_with_its_whole_batch, |log, open| {
    done(log.store_decision(1, &decision(1)).unwrap());
    done(log.store_decision(1, &decision(1)).unwrap());
    let mut batch = Batch::new();
    batch.decision(2, &decision(2)).safety(&"view 9".into()).decision(1, &"something else".into());
    assert!(matches!(log.store_batch(&batch), Err(Error::Conflict { what: "decision", seq_no: 1 })));
    assert_eq!((log.retrieve_decision(2).unwrap(), log.retrieve_safety().unwrap()), (None, None));
    let mut batch = Batch::new();
    batch.decision(3, &decision(3)).decision(3, &decision(4));
    assert!(matches!(log.store_batch(&batch), Err(Error::Conflict { seq_no: 3, .. })), "also within a batch");
    done(log.store_configuration(5, &"a b c d".into()).unwrap());
    done(log.store_configuration(5, &"a b c d".into()).unwrap());
    let other = log.store_configuration(5, &"a b c e".into());
    assert!(matches!(other, Err(Error::Conflict { what: "membership", seq_no: 5 })));
    drop(log);
    assert_eq!(open().retrieve_decision(1).unwrap(), Some(decision(1)));
});

on_each_backend!(one_batch_holds_all_that_belongs_together, |log, open| {
    let mut batch = Batch::new();
    batch.message(8, &"prepare of a".into()).message(8, &"prepare of b".into());
    done(log.store_batch(&batch).unwrap());
    let mut batch = Batch::new();
    batch.message(8, &"commit of a".into()).safety(&"view 1".into()).recovery(3, b"sent up to 7");
    done(log.store_batch(&batch).unwrap());
    let mut batch = Batch::new();
    batch.decision(8, &decision(8)).proof(8, &"first votes".into()).membership(9, &"a b c".into());
    done(log.store_batch(&batch).unwrap());
    let mut batch = Batch::new();
    batch.proof(8, &"other votes".into()).safety(&"view 2".into()).membership(20, &"a b".into());
    done(log.store_batch(&batch).unwrap());
    drop(log);
    let log = open();
    let messages: Vec<Bytes> = vec!["prepare of a".into(), "prepare of b".into(), "commit of a".into()];
    assert_eq!(log.retrieve_messages(8).unwrap(), messages);
    assert_eq!(log.instances(0, 10).unwrap(), [8]);
    done(log.store_batch(Batch::new().message(8, &"after opening".into())).unwrap());
    assert_eq!(log.retrieve_messages(8).unwrap().len(), 4, "none replaces another");
    assert_eq!(log.retrieve_safety().unwrap(), Some("view 2".into()));
    assert_eq!(log.retrieve_proof(8).unwrap(), Some("other votes".into()));
    assert_eq!(log.retrieve_recovery(3).unwrap(), Some("sent up to 7".into()));
    let of = |seq_no| log.retrieve_configuration(seq_no).unwrap();
    assert_eq!((of(8), of(9), of(19)), (None, Some((9, "a b c".into())), Some((9, "a b c".into()))));
    assert_eq!(of(u64::MAX), Some((20, "a b".into())));
});

on_each_backend!(what_no_checkpoint_has_can_be_taken_back, |log, open| {
    for seq_no in 1..=9 {
        let mut batch = Batch::new();
        batch.decision(seq_no, &decision(seq_no)).proof(seq_no, &"votes".into()).message(seq_no, &"m".into());
        done(log.store_batch(&batch).unwrap());
    }
    log.store_checkpoint(3, &vec![7; 100]).unwrap();
    assert!(matches!(log.invalidate(3), Err(Error::BelowCheckpoint { seq_no: 3, checkpoint: 3 })));
    assert!(matches!(log.truncate_after(2), Err(Error::BelowCheckpoint { .. })));
    done(log.invalidate(6).unwrap());
    assert_eq!((numbers(&log, Some(3)), log.retrieve_proof(6).unwrap()), (vec![4, 5], None));
    assert!(log.retrieve_messages(6).unwrap().is_empty());
    done(log.store_decision(6, &"decided otherwise".into()).unwrap());
    assert_eq!(numbers(&log, Some(3)), [4, 5, 6, 7, 8, 9]);
    done(log.truncate_after(7).unwrap());
    assert_eq!(numbers(&log, Some(3)), [4, 5, 6, 7]);
    drop(log);
    let log = open();
    assert_eq!(numbers(&log, Some(3)), [4, 5, 6, 7]);
    assert_eq!(log.retrieve_decision(6).unwrap(), Some("decided otherwise".into()));
    assert_eq!(log.retrieve_decision(8).unwrap(), None);
});

on_each_backend!(compaction_stops_at_the_last_checkpoint, |log, open| {
    for seq_no in 1..=20 {
        done(log.store_batch(Batch::new().decision(seq_no, &decision(seq_no)).message(seq_no, &"m".into())).unwrap());
    }
    done(log.store_configuration(2, &"old".into()).unwrap());
    done(log.store_configuration(4, &"of the checkpoint".into()).unwrap());
    done(log.store_configuration(15, &"new".into()).unwrap());
    assert!(matches!(log.compact_log_up_to(1), Err(Error::BeyondCheckpoint { checkpoint: None, .. })));
    log.store_checkpoint(10, &vec![1; 5000]).unwrap();
    assert!(matches!(log.compact_log_up_to(11), Err(Error::BeyondCheckpoint { checkpoint: Some(10), .. })));
    assert_eq!(numbers(&log, None).len(), 20, "nothing went");
    log.compact_log_up_to(10).unwrap();
    log.compact_log_up_to(5).unwrap();
    assert_eq!(log.base(), Some(10));
    assert!(matches!(log.retrieve_decisions_after(Some(9)).err(), Some(Error::Compacted { seq_no: 9, upto: 10 })));
    assert!(matches!(log.store_decision(10, &decision(10)), Err(Error::Compacted { .. })));
    drop(log);
    let log = open();
    assert_eq!((log.base(), numbers(&log, Some(10)).len()), (Some(10), 10));
    assert_eq!(log.retrieve_decision(10).unwrap(), None);
    assert!(log.retrieve_messages(9).unwrap().is_empty());
    let of = |seq_no| log.retrieve_configuration(seq_no).unwrap().map(|own| own.1);
    assert_eq!((of(3), of(10), of(20)), (None, Some("of the checkpoint".into()), Some("new".into())));
});

#[test]
fn compaction_gives_back_segments_and_keeps_what_is_small() {
    let disk = SimDisk::new(9);
    let log = files(&disk);
    done(log.store_batch(Batch::new().safety(&"view 1".into()).membership(1, &"a b c d".into())).unwrap());
    for seq_no in 1..=2000 {
        drop(log.store_decision(seq_no, &decision(seq_no)).unwrap());
    }
    log.sync().unwrap();
    let before = log.backend().journal().segments().len();
    assert!(before > 4, "{before} segments");
    log.store_checkpoint(1990, &vec![3; 20_000]).unwrap();
    log.compact_log_up_to(1990).unwrap();
    let after = log.backend().journal().segments().len();
    assert!(after <= 2, "{after} of {before} segments");
    drop(log);
    let log = files(&disk);
    assert_eq!(log.retrieve_safety().unwrap(), Some("view 1".into()));
    assert_eq!(log.retrieve_configuration(1995).unwrap(), Some((1, "a b c d".into())));
    assert_eq!(log.retrieve_last_checkpoint().unwrap(), Some((1990, vec![3; 20_000])));
    assert_eq!(numbers(&log, Some(1990)), (1991..=2000).collect::<Vec<_>>());
}

#[test]
fn opening_reads_summaries_and_finds_the_same() {
    let disk = SimDisk::new(9);
    let log = files(&disk);
    for seq_no in 1..=3000 {
        drop(log.store_batch(Batch::new().decision(seq_no, &decision(seq_no)).proof(seq_no, &"p".into())).unwrap());
        if seq_no.is_multiple_of(500) {
            done(log.invalidate(seq_no).unwrap());
            done(log.store_decision(seq_no, &decision(seq_no + 1)).unwrap());
        }
    }
    log.close().unwrap();
    let sealed = log.backend().journal().segments();
    assert!(sealed.iter().filter(|info| info.summary.is_some()).count() > 4);
    drop(log);
    let log = files(&disk);
    let all: Vec<_> = log.retrieve_decisions_after(None).unwrap().map(|own| own.unwrap()).collect();
    let expected = |seq_no: u64| decision(if seq_no.is_multiple_of(500) { seq_no + 1 } else { seq_no });
    assert_eq!(all.len(), 3000);
    all.iter().for_each(|(seq_no, own)| assert_eq!(*own, expected(*seq_no)));
}

#[test]
fn another_digest_and_another_kind_of_folder_are_refused() {
    let disk = SimDisk::new(9);
    drop(files(&disk));
    let other = duramen_decisions::FileBasedLog::<duramen_decisions::Sha256, Vec<u8>, RawLayer>::new(config(&disk));
    assert!(matches!(other, Err(Error::OtherDigest { found, expected }) if found == "blake3" && expected == "sha-256"));
    let disk = SimDisk::new(9);
    let (journal, _) = duramen_journal::Journal::open_with(crate::FOLDER, &Default::default(), disk.world()).unwrap();
    drop(journal);
    assert!(matches!(crate::Files::new(config(&disk)), Err(Error::Foreign { .. })));
}

/// A store of keys and values was asked for the keys of a range before it had the batch's own: a value that a batch put and then
/// removed was there afterwards. The suite's case `batch_order` found it.
#[test]
fn a_batch_removes_what_it_has_put() {
    use duramen_decisions::backend::kv::KvBackend;
    use duramen_decisions::backend::{Backend as _, Key, Op, Space, Urgency};
    let backend = KvBackend::new(Default::default(), &config(&SimDisk::new(1))).unwrap();
    let _: &KvBackend<duramen_decisions::backend::memory::MemoryKv> = &backend;
    let key = Key::new(Space::Decision, 3);
    let ops = [Op::Put(key, "a".into()), Op::Remove(Space::Decision, 3..=3)];
    done(backend.write(&ops, Urgency::Now).unwrap());
    assert_eq!(backend.get(key).unwrap(), None);
}
