//! A full disk: what is refused is gone for readers too, nothing else is harmed, and storing goes on when there is room again.

use duramen_decisions::{Batch, Error, PersistentLog as _, SyncPolicy};
use duramen_journal::disk::sim::{Effect, Fault, Operation, SimDisk, errno};

use crate::{Files, config, decision};

#[test]
fn what_was_refused_for_want_of_room_is_not_there() {
    let disk = SimDisk::new(11);
    let mut own = config(&disk);
    own.sync_policy = SyncPolicy::Never;
    let log = Files::new(own.clone()).unwrap();
    log.store_batch(Batch::new().safety(&"view 1".into()).decision(1, &decision(1))).unwrap().wait().unwrap();
    disk.set_capacity(Some(disk.used() + 100_000));
    let (mut stored, mut refused) = (vec![(1, decision(1))], 0);
    for seq_no in 2..4000 {
        match log.store_batch(Batch::new().decision(seq_no, &decision(seq_no)).now()) {
            Ok(completion) => match completion.wait() {
                Ok(()) => stored.push((seq_no, decision(seq_no))),
                Err(Error::NoSpace) => refused += 1,
                Err(error) => panic!("{error}"),
            },
            Err(Error::NoSpace) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        if refused > 5 {
            break;
        }
    }
    assert!(refused > 5 && stored.len() > 50, "{} stored", stored.len());
    let last = stored.last().unwrap().0;
    assert_eq!(log.last_contiguous().unwrap(), Some(last), "what was refused does not count");
    assert_eq!(log.retrieve_decision(last + 1).unwrap(), None);
    log.store_batch(Batch::new().safety(&"view 2".into())).unwrap().wait().unwrap();
    disk.set_capacity(None);
    for seq_no in last + 1..last + 20 {
        drop(log.store_decision(seq_no, &decision(seq_no)).unwrap());
    }
    log.sync().unwrap();
    assert_eq!(log.last_contiguous().unwrap(), Some(last + 19));
    drop(log);
    let log = Files::new(own).unwrap();
    for (seq_no, expected) in stored {
        assert_eq!(log.retrieve_decision(seq_no).unwrap(), Some(expected));
    }
    assert_eq!(log.last_contiguous().unwrap(), Some(last + 19));
    assert_eq!(log.retrieve_safety().unwrap(), Some("view 2".into()), "votes have room of their own");
}

#[test]
fn a_checkpoint_without_room_leaves_the_last_one_and_can_be_tried_again() {
    let disk = SimDisk::new(12);
    let log = Files::new(config(&disk)).unwrap();
    let state = |at: u64| -> Vec<u8> { (0..60_000u64).map(|own| (own * at % 251) as u8).collect() };
    log.store_checkpoint(1, &state(3)).unwrap();
    disk.set_capacity(Some(disk.used() + 20_000));
    let failed = log.store_checkpoint(2, &state(5));
    assert!(matches!(failed, Err(Error::NoSpace)), "{failed:?}");
    assert_eq!(log.retrieve_last_checkpoint().unwrap(), Some((1, state(3))));
    disk.set_capacity(None);
    log.store_checkpoint(2, &state(5)).unwrap();
    drop(log);
    let log = Files::new(config(&disk)).unwrap();
    assert_eq!(log.retrieve_last_checkpoint().unwrap(), Some((2, state(5))));
    assert_eq!(log.retrieve_checkpoint(1).unwrap(), Some(state(3)));
}

/// There was no room for the record that says up to where the log is compacted, and then there was for the removals: after opening,
/// the decisions behind them stood behind a hole, and none came out of a recovery. Found by the campaign.
#[test]
fn decisions_do_not_go_without_the_word_that_they_were_compacted() {
    for skipped in 0..12 {
        let disk = SimDisk::new(13);
        let log = Files::new(config(&disk)).unwrap();
        for seq_no in 1..=9 {
            log.store_batch(Batch::new().decision(seq_no, &decision(seq_no)).proof(seq_no, &"p".into()))
                .unwrap()
                .wait()
                .unwrap();
        }
        log.store_checkpoint(5, &vec![5; 100]).unwrap();
        log.store_checkpoint(8, &vec![8; 100]).unwrap();
        log.compact_log_up_to(3).unwrap();
        disk.fault(Fault::new(Effect::Error(errno::ENOSPC)).on(Operation::Write).skip(skipped));
        let compacted = log.compact_log_up_to(8);
        assert!(matches!(compacted, Ok(()) | Err(Error::NoSpace)), "{compacted:?}");
        disk.clear_faults();
        log.store_batch(Batch::new().safety(&"view 1".into())).unwrap().wait().unwrap();
        drop(log);
        let log = Files::new(config(&disk)).unwrap();
        let base = log.base().unwrap();
        assert!(base == 3 || base == 8, "{base}");
        let there: Vec<u64> = log.retrieve_decisions_after(Some(base)).unwrap().map(|own| own.unwrap().0).collect();
        assert_eq!(there, (base + 1..=9).collect::<Vec<_>>(), "after {skipped} writes");
        log.compact_log_up_to(8).unwrap();
        assert_eq!(log.last_contiguous().unwrap(), Some(9));
    }
}

/// The installed checkpoint was published, there was no room to forget an old one, and the installation was told to have failed.
/// Found by the campaign.
#[test]
fn an_installation_that_is_published_has_not_failed() {
    let (donor, disk) = (Files::new(config(&SimDisk::new(3))).unwrap(), SimDisk::new(14));
    donor.store_checkpoint(50, &vec![5; 9000]).unwrap();
    let mut published = 0;
    for skipped in 0..8 {
        let disk = disk.kill();
        let log = Files::new(config(&disk)).unwrap();
        for seq_no in 1..=2 {
            log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
            log.store_checkpoint(seq_no, &vec![1; 100]).unwrap();
        }
        let install = log.begin_install(donor.manifest(50).unwrap()).unwrap();
        for (digest, _) in install.missing().unwrap() {
            install.put(digest, &donor.chunk(digest).unwrap().unwrap()).unwrap();
        }
        disk.fault(Fault::new(Effect::Error(errno::ENOSPC)).on(Operation::Write).skip(skipped));
        match install.finish() {
            Ok(info) => {
                published += u32::from(log.housekeeping().is_some());
                assert_eq!((info.seq_no, log.last_checkpoint(), log.base()), (50, Some(50), Some(50)));
            }
            Err(error) => {
                assert!(matches!(error, Error::NoSpace), "{error}");
                assert_eq!((log.last_checkpoint(), log.base()), (Some(2), None), "as it was");
            }
        }
    }
    assert!(published > 0, "the room ended behind the publication once");
}
