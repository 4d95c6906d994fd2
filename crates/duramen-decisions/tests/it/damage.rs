//! Damage: told as a value, with what is lost and what is safe, and never given as if it were whole.

use duramen_decisions::backend::memory::MemoryKv;
use duramen_decisions::{Batch, Certainty, Error, LostRange, PersistentLog as _, RecoveryPolicy};
use duramen_journal::disk::sim::{Crash, Effect, Fault, Operation, SimDisk, errno};

use crate::{FOLDER, Files, config, decision, files, memory};

/// The sealed segments' files, by name.
fn segments(disk: &SimDisk) -> Vec<String> {
    let all = disk.list_files().into_iter().map(|(name, _)| name);
    all.filter(|name| name.starts_with(&format!("{FOLDER}/journal/")) && name.ends_with(".seg")).collect()
}

fn filled(disk: &SimDisk) -> Files {
    let log = files(disk);
    for seq_no in 1..=1000 {
        drop(log.store_decision(seq_no, &decision(seq_no)).unwrap());
    }
    log.store_batch(Batch::new().safety(&"view 1".into())).unwrap().wait().unwrap();
    log
}

/// Damages the middle of a sealed segment and its footer, so that opening has to look.
fn ruin(disk: &SimDisk) {
    let names = segments(disk);
    let name = &names[1];
    let bytes = disk.read_durable(name).unwrap().len() as u64;
    for sector in [20, 21, bytes / 512 - 1] {
        disk.zero_durable_sector(name, sector).unwrap();
    }
}

#[test]
fn opening_damaged_files_says_what_is_lost_and_what_is_safe() {
    let disk = SimDisk::new(21);
    let log = filled(&disk);
    log.close().unwrap();
    drop(log);
    ruin(&disk);
    let before = disk.list_files();
    let Err(Error::Damaged(damage)) = Files::new(config(&disk)) else { panic!("it opened") };
    assert_eq!(disk.list_files(), before, "nothing was changed");
    let last = damage.last_safe.unwrap();
    assert!(last > 100 && last < 900, "{damage}");
    assert!(damage.decisions.iter().any(|range| range.first == last + 1), "{damage}");
    assert!(!damage.places.is_empty());

    let mut own = config(&disk);
    own.recovery = RecoveryPolicy::SetAside;
    let log = Files::new(own.clone()).unwrap();
    let told = log.recovery_information().damage.clone().unwrap();
    assert_eq!(told.last_safe, Some(last), "{told}");
    let hole = log.recovery_information().holes.first().cloned().unwrap();
    assert_eq!(*hole.start(), last + 1);
    for seq_no in hole {
        log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
    }
    assert_eq!(log.last_contiguous().unwrap(), Some(1000), "peers had it");
    assert_eq!(log.retrieve_safety().unwrap(), Some("view 1".into()));
    drop(log);
    let log = Files::new(own).unwrap();
    for seq_no in 1..=1000 {
        assert_eq!(log.retrieve_decision(seq_no).unwrap(), Some(decision(seq_no)));
    }
}

/// A log that set damage aside said that the newest vote is certainly there, also where nobody can tell what the lost records were,
/// and an older vote was given as the newest. Found by reading, for the group of replicas.
#[test]
fn a_vote_that_may_lie_in_a_gap_is_told_at_each_opening_until_the_gap_is_compacted() {
    let disk = SimDisk::new(21);
    let log = files(&disk);
    for seq_no in 1..=1000 {
        let mut batch = Batch::new();
        batch.decision(seq_no, &decision(seq_no));
        if seq_no < 120 {
            batch.message(seq_no, &"a vote".into()).safety(&format!("view {seq_no}").into());
        }
        log.store_batch(&batch).unwrap().wait().unwrap();
    }
    log.close().unwrap();
    drop(log);
    ruin(&disk);
    let Err(Error::Damaged(damage)) = Files::new(config(&disk)) else { panic!("it opened") };
    assert!(damage.safety && damage.messages && damage.membership, "{damage}");
    let mut own = config(&disk);
    own.recovery = RecoveryPolicy::SetAside;
    for _ in 0..2 {
        let log = Files::new(own.clone()).unwrap();
        let damage = log.recovery_information().damage.clone().unwrap();
        assert!(damage.safety && damage.messages && damage.membership, "{damage}");
        assert!(damage.decisions.iter().any(|range| Some(range.first) == damage.last_safe.map(|last| last + 1)));
    }
    let log = Files::new(own.clone()).unwrap();
    log.store_batch(Batch::new().safety(&"view 2000".into())).unwrap().wait().unwrap();
    log.store_checkpoint(1000, &vec![1; 100]).unwrap();
    log.compact_log_up_to(1000).unwrap();
    drop(log);
    let log = Files::new(own).unwrap();
    assert_eq!(log.recovery_information().damage, None, "the gap is gone");
    assert_eq!(log.retrieve_safety().unwrap(), Some("view 2000".into()));
}

#[test]
fn a_checkpoint_whose_chunks_are_damaged_is_told_and_the_one_before_serves() {
    let disk = SimDisk::new(22);
    let log = filled(&disk);
    let state = |at: u64| -> Vec<u8> { (0..60_000u64).map(|own| (own * own * at % 251) as u8).collect() };
    log.store_checkpoint(100, &state(3)).unwrap();
    log.store_checkpoint(200, &state(7)).unwrap();
    log.close().unwrap();
    drop(log);
    let packs: Vec<String> =
        disk.list_files().into_iter().map(|own| own.0).filter(|own| own.ends_with(".pack")).collect();
    let bytes = disk.read_durable(&packs[0]).unwrap().len() as u64;
    disk.flip_durable_bit(&packs[0], bytes - 30_000, 3).unwrap();
    let log = files(&disk);
    assert_eq!(log.retrieve_checkpoint(100).unwrap(), Some(state(3)));
    assert!(matches!(log.retrieve_checkpoint(200), Err(Error::DamagedValue { .. })));
    let donor = files(&SimDisk::new(23));
    donor.store_checkpoint(200, &state(7)).unwrap();
    let install = log.begin_install(donor.manifest(200).unwrap()).unwrap();
    let missing = install.missing().unwrap();
    assert_eq!(missing.len(), 1, "only what is damaged is fetched");
    install.put(missing[0].0, &donor.chunk(missing[0].0).unwrap().unwrap()).unwrap();
    install.finish().unwrap();
    assert_eq!(log.retrieve_checkpoint(200).unwrap(), Some(state(7)));
    log.store_checkpoint(300, &state(7)).unwrap();
    assert_eq!(log.retrieve_checkpoint(300).unwrap(), Some(state(7)), "a damaged chunk is no base for a new one");
    drop(log);
    disk.remove_durable(&packs[0]).unwrap();
    let log = files(&disk);
    let damage = log.recovery_information().damage.clone().unwrap();
    assert!(damage.checkpoints.contains(&200), "{damage}");
    assert_eq!(damage.last_safe, Some(1000), "the decisions are all there: {damage}");
}

#[test]
fn a_value_that_was_changed_or_moved_is_never_given() {
    let kv = MemoryKv::default();
    let log = memory(&kv);
    for seq_no in 1..=3 {
        log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
    }
    drop(log);
    kv.edit(|values| {
        let keys: Vec<_> = values.keys().filter(|key| key[0] == 4).cloned().collect();
        let second = values[&keys[1]].clone();
        values.insert(keys[0].clone(), second);
        let mut third = values[&keys[2]].to_vec();
        *third.last_mut().unwrap() ^= 1;
        values.insert(keys[2].clone(), third.into());
    });
    let log = memory(&kv);
    assert!(matches!(log.retrieve_decision(1), Err(Error::DamagedValue { .. })), "another one's bytes");
    assert_eq!(log.retrieve_decision(2).unwrap(), Some(decision(2)));
    assert!(matches!(log.retrieve_decision(3), Err(Error::DamagedValue { .. })));
    let mut all = log.retrieve_decisions_after(None).unwrap();
    assert!(all.next().unwrap().is_err());
    assert_eq!(all.next().unwrap().unwrap().0, 2);
    let range = LostRange { first: 3, last: None, certainty: Certainty::Possible };
    assert_eq!(range.to_string(), "decisions from 3 on may be lost");
}

/// A manifest could not be read once, while the log was opened: its checkpoint was told to be broken, and forgotten for good with
/// the next one. Likewise a record that could not be read was left out as if it had never been. Found by the campaign.
#[test]
fn what_cannot_be_read_once_is_not_lost() {
    let disk = SimDisk::new(23);
    let mut own = config(&disk);
    own.journal.tail_cache_bytes = 0;
    let log = Files::new(own.clone()).unwrap();
    log.store_checkpoint(1, &vec![1; 9000]).unwrap();
    for seq_no in 2..60 {
        log.store_batch(Batch::new().decision(seq_no, &decision(seq_no)).safety(&decision(seq_no)))
            .unwrap()
            .wait()
            .unwrap();
    }
    log.store_checkpoint(2, &vec![2; 9000]).unwrap();
    log.invalidate(30).unwrap().wait().unwrap();
    let disk = disk.reboot(Crash::KeepAll);
    let mut refused = 0;
    for skipped in 0..200 {
        let disk = disk.kill();
        let own = duramen_decisions::PersistentLogConfig { world: disk.world(), ..own.clone() };
        disk.fault(Fault::new(Effect::Error(errno::EIO)).on(Operation::Read).skip(skipped).times(1 + skipped % 7));
        let log = match Files::new(own.clone()) {
            Ok(log) => log,
            Err(error) => {
                assert!(!matches!(error, Error::Damaged(_)), "{error}");
                refused += 1;
                disk.clear_faults();
                Files::new(own).unwrap()
            }
        };
        disk.clear_faults();
        assert_eq!(log.recovery_information().damage, None, "the read after {skipped}");
        assert_eq!(log.checkpoints().iter().map(|own| own.seq_no).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(log.last_contiguous().unwrap(), Some(29), "the read after {skipped}");
        assert_eq!(log.retrieve_safety().unwrap(), Some(decision(59)));
        assert_eq!((log.retrieve_decision(30).unwrap(), log.last_decision().unwrap()), (None, Some(59)));
    }
    assert!(refused > 5, "{refused}");
}
