//! Checkpoints: published whole or not at all, unchanged chunks once, old ones forgotten, and brought over from other replicas.

use std::io::Read as _;
use std::time::Duration;

use duramen_decisions::{
    Batch, CheckpointPolicy, Error, Manifest, PersistentLog as _, RawLayer, Replica, Retention, SeqNo, What,
};
use duramen_journal::disk::sim::SimDisk;

use crate::{Files, config, decision, files, on_each_backend};

/// Bytes without a pattern, the same for the same seed.
fn state(bytes: usize, seed: u64) -> Vec<u8> {
    let mut own = seed;
    let mut next = || {
        own = own.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (own >> 33) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

on_each_backend!(the_last_few_checkpoints_are_there, |log, open| {
    for seq_no in [10, 20, 30] {
        let info = log.store_checkpoint(seq_no, &state(50_000, seq_no)).unwrap();
        assert_eq!((info.seq_no, info.bytes), (seq_no, 50_000));
        assert!(info.chunks > 3);
    }
    assert!(log.housekeeping().is_none());
    assert_eq!(log.retrieve_checkpoint(10).unwrap(), None, "two are kept");
    assert!(matches!(log.store_checkpoint(29, &vec![1]), Err(Error::OldCheckpoint { seq_no: 29, last: 30 })));
    assert_eq!(log.store_checkpoint(30, &state(50_000, 30)).unwrap().seq_no, 30, "the same again");
    let other = log.store_checkpoint(30, &state(50_000, 31));
    assert!(matches!(other, Err(Error::Conflict { what: "checkpoint", seq_no: 30 })));
    drop(log);
    let log = open();
    assert_eq!(log.recovery_information().damage, None);
    assert_eq!(log.retrieve_checkpoint(20).unwrap(), Some(state(50_000, 20)));
    assert_eq!(log.retrieve_last_checkpoint().unwrap(), Some((30, state(50_000, 30))));
});

#[test]
fn chunks_that_did_not_change_are_not_written_again() {
    let disk = SimDisk::new(7);
    let log = files(&disk);
    let mut own = state(400_000, 1);
    log.store_checkpoint(1, &own).unwrap();
    let before = log.stats().backend.stored_bytes;
    own[200_000] ^= 1;
    log.store_checkpoint(2, &own).unwrap();
    let more = log.stats().backend.stored_bytes - before;
    assert!(more < 40_000, "{more} bytes for one that changed");
    drop(log);
    let log = files(&disk);
    own[100_000] ^= 1;
    log.store_checkpoint(3, &own).unwrap();
    let more = log.stats().backend.stored_bytes - before;
    assert!(more < 90_000, "{more} bytes, also after opening again");
    assert_eq!(log.retrieve_last_checkpoint().unwrap(), Some((3, own)));
}

#[test]
fn a_checkpoint_that_is_read_stays_whole_though_it_is_forgotten() {
    let disk = SimDisk::new(7);
    let log = files(&disk);
    log.store_checkpoint(1, &state(100_000, 1)).unwrap();
    let held = log.checkpoint(1).unwrap();
    let mut reader = held.reader();
    let mut first = vec![0; 10_000];
    reader.read_exact(&mut first).unwrap();
    for seq_no in 2..6 {
        log.store_checkpoint(seq_no, &state(100_000, seq_no)).unwrap();
    }
    assert!(matches!(log.checkpoint(1), Err(Error::NoCheckpoint { seq_no: 1 })));
    reader.read_to_end(&mut first).unwrap();
    assert_eq!(first, state(100_000, 1));
    drop(reader);
    drop(held);
    log.store_checkpoint(6, &state(1000, 6)).unwrap();
    log.store_checkpoint(7, &state(1000, 7)).unwrap();
    let left = log.stats().backend.stored_bytes;
    assert!(left < 60_000, "{left} bytes are left");
}

on_each_backend!(a_checkpoint_comes_over_in_chunks_and_goes_on_after_a_stop, |log, open| {
    let donor = files(&SimDisk::new(3));
    donor.store_checkpoint(50, &state(80_000, 4)).unwrap();
    donor.store_decision(51, &decision(51)).unwrap().wait().unwrap();
    for seq_no in [1, 2, 50, 51, 52] {
        log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
    }
    let sent = donor.manifest(50).unwrap();
    let (bytes, root) = (sent.encode(), sent.root());
    let mut wrong = bytes.clone();
    wrong[30] ^= 1;
    assert!(matches!(Manifest::decode(&wrong, root), Err(Error::WrongDigest { .. })));
    let install = log.begin_install(Manifest::decode(&bytes, root).unwrap()).unwrap();
    let missing = install.missing().unwrap();
    assert!(missing.len() > 5);
    let (half, rest) = missing.split_at(missing.len() / 2);
    for (digest, length) in half {
        let chunk = donor.chunk(*digest).unwrap().unwrap();
        assert_eq!(chunk.len() as u32, *length);
        let mut wrong = chunk.to_vec();
        wrong[0] ^= 1;
        assert!(matches!(install.put(*digest, &wrong), Err(Error::WrongDigest { .. })));
        install.put(*digest, &chunk).unwrap();
    }
    assert!(matches!(install.finish(), Err(Error::Incomplete { missing }) if missing == rest.len()));
    log.close().unwrap();
    drop(log);

    let log = open();
    assert_eq!(log.recovery_information().pending_install, Some(50));
    let install = log.begin_install(log.pending_install().unwrap().unwrap()).unwrap();
    assert_eq!(install.missing().unwrap(), rest, "what is here need not come again");
    for (digest, _) in rest {
        install.put(*digest, &donor.chunk(*digest).unwrap().unwrap()).unwrap();
    }
    assert_eq!(install.finish().unwrap().seq_no, 50);
    assert_eq!(log.base(), Some(50), "decisions before it were missing");
    assert_eq!(log.last_contiguous().unwrap(), Some(52));
    let again = log.begin_install(sent).unwrap();
    assert_eq!(again.missing().unwrap(), [], "all of it is here");
    assert_eq!(again.finish().unwrap().seq_no, 50);
    let other = files(&SimDisk::new(3));
    other.store_checkpoint(50, &state(900, 5)).unwrap();
    let other = log.begin_install(other.manifest(50).unwrap());
    assert!(matches!(other.err(), Some(Error::OldCheckpoint { seq_no: 50, last: 50 })));
    drop(log);
    let log = open();
    assert_eq!(log.recovery_information().pending_install, None);
    assert_eq!(log.retrieve_last_checkpoint().unwrap(), Some((50, state(80_000, 4))));
    assert_eq!((log.base(), log.last_contiguous().unwrap()), (Some(50), Some(52)));
    assert_eq!(log.retrieve_decision(2).unwrap(), None);
});

#[test]
fn an_abandoned_installation_leaves_nothing() {
    let donor = files(&SimDisk::new(3));
    donor.store_checkpoint(50, &state(80_000, 4)).unwrap();
    let log = files(&SimDisk::new(4));
    let install = log.begin_install(donor.manifest(50).unwrap()).unwrap();
    for (digest, _) in install.missing().unwrap() {
        install.put(digest, &donor.chunk(digest).unwrap().unwrap()).unwrap();
    }
    install.abandon().unwrap();
    assert_eq!(log.pending_install().unwrap(), None);
    log.store_checkpoint(1, &vec![1; 100]).unwrap();
    assert!(log.stats().backend.stored_bytes < 90_000);
}

#[test]
fn a_checkpoint_is_due_and_the_log_compacted_as_the_options_say() {
    let disk = SimDisk::new(7);
    let policy = CheckpointPolicy { decisions: Some(10), bytes: None, interval: None };
    let mut own = config(&disk);
    own.checkpoint = policy;
    own.retention = Retention { checkpoints: 1, compact: true, decisions: Some(3), bytes: None, age: None };
    let log = Files::new(own.clone()).unwrap();
    let store = |log: &Files, range: std::ops::RangeInclusive<SeqNo>| {
        for seq_no in range {
            log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
        }
    };
    store(&log, 1..=9);
    assert_eq!(log.checkpoint_due().unwrap(), None);
    store(&log, 10..=12);
    assert_eq!(log.checkpoint_due().unwrap(), Some(12));
    log.store_checkpoint(12, &vec![12]).unwrap();
    assert!(log.housekeeping().is_none());
    assert_eq!((log.base(), log.checkpoint_due().unwrap()), (Some(9), None), "three are kept");
    drop(log);

    own.checkpoint = CheckpointPolicy { decisions: None, bytes: Some(2000), interval: None };
    own.retention = Retention { checkpoints: 1, compact: true, decisions: None, bytes: Some(1000), age: None };
    let log = Files::new(own.clone()).unwrap();
    store(&log, 13..=20);
    assert_eq!(log.checkpoint_due().unwrap(), None);
    store(&log, 21..=100);
    assert_eq!(log.checkpoint_due().unwrap(), Some(100));
    log.store_checkpoint(100, &vec![100]).unwrap();
    let kept: usize = (log.base().unwrap() + 1..=100).map(|seq_no| decision(seq_no).len()).sum();
    assert!((1000..1300).contains(&kept), "{kept} bytes are kept");
    drop(log);

    own.checkpoint = CheckpointPolicy { decisions: None, bytes: None, interval: Some(Duration::from_secs(60)) };
    own.retention = Retention { age: Some(Duration::from_secs(100)), bytes: None, ..own.retention };
    let log = Files::new(own).unwrap();
    store(&log, 101..=110);
    assert_eq!(log.checkpoint_due().unwrap(), None);
    disk.environment().set_wall(Duration::from_millis(log.checkpoints()[0].millis) + Duration::from_secs(70));
    assert_eq!(log.checkpoint_due().unwrap(), Some(110));
    store(&log, 111..=120);
    disk.environment().set_wall(Duration::from_millis(log.checkpoints()[0].millis) + Duration::from_secs(130));
    log.store_checkpoint(120, &vec![120]).unwrap();
    assert_eq!(log.base(), Some(110), "what is younger is kept");
}

#[derive(Default)]
struct Recovered {
    state: Option<(SeqNo, Vec<u8>)>,
    membership: Option<SeqNo>,
    safety: Option<bytes::Bytes>,
    batches: Vec<Vec<SeqNo>>,
    progress: Vec<(u64, u64)>,
}

impl Replica<Vec<u8>, RawLayer> for Recovered {
    fn install(&mut self, seq_no: SeqNo, state: Vec<u8>) -> Result<(), String> {
        self.state = Some((seq_no, state));
        Ok(())
    }

    fn membership(&mut self, seq_no: SeqNo, _: bytes::Bytes) -> Result<(), String> {
        self.membership = Some(seq_no);
        Ok(())
    }

    fn safety(&mut self, safety: bytes::Bytes) -> Result<(), String> {
        self.safety = Some(safety);
        Ok(())
    }

    fn apply(&mut self, decisions: Vec<(SeqNo, bytes::Bytes)>) -> Result<(), String> {
        self.batches.push(decisions.iter().map(|own| own.0).collect());
        decisions.iter().for_each(|(seq_no, own)| assert_eq!(*own, decision(*seq_no)));
        if decisions.iter().any(|own| own.0 == 666) { Err("not that one".into()) } else { Ok(()) }
    }

    fn progress(&mut self, progress: duramen_decisions::Progress) {
        self.progress.push((progress.done, progress.total));
    }
}

on_each_backend!(a_replica_is_brought_back_whole_or_in_part, |log, open| {
    for seq_no in 1..=25 {
        log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
    }
    log.store_batch(Batch::new().safety(&"view 4".into()).membership(7, &"a b".into())).unwrap().wait().unwrap();
    log.store_checkpoint(10, &state(9000, 1)).unwrap();
    log.compact_log_up_to(10).unwrap();
    drop(log);
    let log = open();
    let mut replica = Recovered::default();
    assert_eq!(log.recover(&What::Everything, 4, &mut replica).unwrap(), Some(25));
    assert_eq!(replica.state, Some((10, state(9000, 1))));
    assert_eq!((replica.membership, replica.safety), (Some(7), Some("view 4".into())));
    let expected: Vec<Vec<SeqNo>> =
        vec![vec![11, 12, 13, 14], vec![15, 16, 17, 18], vec![19, 20, 21, 22], vec![23, 24, 25]];
    assert_eq!(replica.batches, expected);
    assert_eq!(replica.progress, [(4, 15), (8, 15), (12, 15), (15, 15)]);
    let mut replica = Recovered::default();
    assert_eq!(log.recover(&What::Decisions(13..=14), 100, &mut replica).unwrap(), Some(14));
    assert_eq!((replica.batches, replica.state), (vec![vec![13, 14]], None));
    let mut replica = Recovered::default();
    log.recover(&What::Safety, 1, &mut replica).unwrap();
    assert_eq!((replica.safety, replica.membership), (Some("view 4".into()), None));
    assert!(log.recover(&What::Decisions(3..=14), 100, &mut Recovered::default()).is_err(), "they are gone");
});

// A replica without a log took decisions from the present while it installed a checkpoint of the past. They were taken to reach up to
// the present without a hole, and what should have come behind the checkpoint was told to be compacted. Found by the campaign.
on_each_backend!(decisions_from_far_ahead_stand_behind_a_hole, |log, open| {
    let donor = files(&SimDisk::new(3));
    donor.store_checkpoint(50, &state(9000, 4)).unwrap();
    for seq_no in [80, 81] {
        log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
    }
    assert_eq!(log.last_contiguous().unwrap(), Some(81), "counted from the first one");
    assert_eq!(log.retrieve_decisions_after(Some(50)).unwrap().count(), 0, "51 is not there");
    let install = log.begin_install(donor.manifest(50).unwrap()).unwrap();
    for (digest, _) in install.missing().unwrap() {
        install.put(digest, &donor.chunk(digest).unwrap().unwrap()).unwrap();
    }
    install.finish().unwrap();
    assert_eq!((log.base(), log.last_contiguous().unwrap()), (Some(50), Some(50)));
    assert_eq!(log.retrieve_decisions_after(Some(50)).unwrap().count(), 0);
    drop(log);
    let log = open();
    assert_eq!((log.base(), log.last_contiguous().unwrap()), (Some(50), Some(50)));
    assert_eq!(log.retrieve_decisions_after(Some(50)).unwrap().count(), 0);
    assert_eq!(log.recovery_information().holes, [51..=79]);
    for seq_no in 51..80 {
        log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
    }
    assert_eq!(log.last_contiguous().unwrap(), Some(81));
});

// A state came by another way than an installation, was stored as a checkpoint of a decision that the log did not reach, and the
// decisions behind it never came out again. An installation that it made needless stayed pending for ever, with its chunks.
on_each_backend!(the_log_goes_on_behind_a_checkpoint_that_it_did_not_reach, |log, open| {
    let donor = files(&SimDisk::new(3));
    donor.store_checkpoint(45, &state(9000, 4)).unwrap();
    for seq_no in 1..=20 {
        log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
    }
    drop(log.begin_install(donor.manifest(45).unwrap()).unwrap());
    log.store_checkpoint(50, &state(9000, 5)).unwrap();
    assert_eq!(log.pending_install().unwrap(), None, "nobody could finish it");
    for seq_no in 51..=53 {
        log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
    }
    assert_eq!((log.base(), log.last_contiguous().unwrap()), (Some(50), Some(53)));
    drop(log);
    let log = open();
    let mut replica = Recovered::default();
    assert_eq!(log.recover(&What::Everything, 10, &mut replica).unwrap(), Some(53));
    assert_eq!(replica.batches, vec![vec![51, 52, 53]]);
    assert!(log.recovery_information().holes.is_empty() && log.recovery_information().pending_install.is_none());
});
