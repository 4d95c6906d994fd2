//! What the tools see of a folder: all of it, beside a writer too, and every damaged byte of it.

use duramen_decisions::backend::Space;
use duramen_decisions::{Batch, FileBasedLog, PersistentLog as _, RawLayer, inspect};
use duramen_journal::disk::sim::SimDisk;

use crate::{FOLDER, Files, config, decision, files};

fn filled(disk: &SimDisk) -> Files {
    let log = files(disk);
    for seq_no in 1..=600 {
        let mut batch = Batch::new();
        batch.decision(seq_no, &decision(seq_no)).proof(seq_no, &"votes".into());
        if seq_no.is_multiple_of(100) {
            batch.safety(&format!("view {}", seq_no / 100).into()).membership(seq_no, &"a b c d".into());
        }
        drop(log.store_batch(&batch).unwrap());
    }
    log.store_batch(Batch::new().message(601, &"prepare".into()).message(601, &"commit".into()))
        .unwrap()
        .wait()
        .unwrap();
    let state: Vec<u8> = (0..60_000u32).map(|at| (at * at % 251) as u8).collect();
    log.store_checkpoint(300, &state).unwrap();
    log.compact_log_up_to(200).unwrap();
    log
}

#[test]
fn info_dump_and_verify_tell_what_is_there_beside_a_writer() {
    let disk = SimDisk::new(31);
    let log = filled(&disk);
    log.store_batch(Batch::new().safety(&"witness of the rest".into())).unwrap().wait().unwrap();
    let live = inspect::info(FOLDER, disk.world()).unwrap();
    assert_eq!((live.end.as_str(), live.base, live.first), ("live", Some(200), Some(201)));
    log.close().unwrap();
    drop(log);
    let info = inspect::info(FOLDER, disk.world()).unwrap();
    assert_eq!((info.end.as_str(), info.digest.as_str()), ("closed", "blake3"));
    assert_eq!((info.base, info.first, info.last_contiguous, info.last), (Some(200), Some(201), Some(600), Some(600)));
    assert_eq!(info.counts[Space::Decision as usize], 400);
    assert_eq!(info.counts[Space::Message as usize], 2);
    assert!(info.checkpoints.len() == 1 && info.checkpoints[0].is_good() && info.damage.is_none());
    assert!(info.to_string().contains("decisions   201 to 600"), "{info}");
    assert!(info.to_json().contains("\"last_contiguous\":600"), "{}", info.to_json());

    let mut seen = Vec::new();
    inspect::dump(FOLDER, disk.world(), &[Space::Decision, Space::Message], 210..=601, &mut |item| {
        seen.push(item.clone());
        true
    })
    .unwrap();
    let numbers: Vec<u64> = seen.iter().map(|item| item.key.number).collect();
    assert_eq!(numbers, (210..=600).chain([601, 601]).collect::<Vec<_>>());
    assert_eq!(seen[0].bytes, Ok(decision(210)));
    assert_eq!(seen[392].bytes, Ok("commit".into()));
    assert!(seen[0].to_json().starts_with("{\"what\":\"decision\",\"number\":210,"), "{}", seen[0].to_json());

    let found = inspect::verify(FOLDER, disk.world()).unwrap();
    assert!(found.is_sound(), "{:?}", found.findings);
    assert!(found.values > 800 && found.bytes > 100_000);
}

#[test]
fn a_dump_shows_each_of_many_values_once() {
    let disk = SimDisk::new(31);
    let log = files(&disk);
    for seq_no in 0..3000 {
        let mut batch = Batch::new();
        batch.message(seq_no / 700, &format!("{seq_no}").into());
        drop(log.store_batch(&batch).unwrap());
    }
    log.close().unwrap();
    let mut seen = Vec::new();
    inspect::dump(FOLDER, disk.world(), &[Space::Message], 0..=u64::MAX, &mut |item| {
        seen.push(item.bytes.clone().unwrap());
        true
    })
    .unwrap();
    assert_eq!(seen, (0..3000).map(|at| bytes::Bytes::from(format!("{at}"))).collect::<Vec<_>>());
}

#[test]
fn salvage_makes_a_log_of_what_is_good() {
    let disk = SimDisk::new(32);
    drop(filled(&disk));
    let used = |name: &String| {
        let bytes = disk.read_durable(name).unwrap();
        bytes.get(20 * 512..21 * 512).is_some_and(|sector| sector.iter().any(|byte| *byte != 0))
    };
    let mut names = disk.list_files().into_iter().map(|own| own.0).filter(|own| own.ends_with(".seg"));
    disk.zero_durable_sector(&names.find(used).unwrap(), 20).unwrap();
    let found = inspect::verify(FOLDER, disk.world()).unwrap();
    assert!(!found.is_sound() && !found.findings.is_empty());
    let before = disk.list_files();
    let done = inspect::salvage(FOLDER, "/saved", disk.world()).unwrap();
    assert!(!done.lost.is_empty() && done.values > 100, "{done:?}");
    let kept = |list: Vec<(String, u64)>| list.into_iter().filter(|own| own.0.starts_with(FOLDER)).collect::<Vec<_>>();
    assert_eq!(kept(disk.list_files()), kept(before), "the source is as it was");
    assert!(inspect::salvage(FOLDER, "/saved", disk.world()).is_err(), "not into what is there");
    let mut own = config(&disk);
    own.log_dir = "/saved".into();
    let log = FileBasedLog::<duramen_decisions::Blake3, Vec<u8>, RawLayer>::new(own).unwrap();
    assert_eq!(log.retrieve_last_checkpoint().unwrap().unwrap().0, 300);
    let good = log.retrieve_decisions_after(Some(200)).unwrap().map(|own| own.unwrap());
    good.for_each(|(seq_no, own)| assert_eq!(own, decision(seq_no)));
    assert!(inspect::verify("/saved", disk.world()).unwrap().is_sound());
}

#[test]
fn every_flipped_bit_of_decisions_and_chunks_is_found() {
    let disk = SimDisk::new(33);
    let log = files(&disk);
    for seq_no in 1..=40 {
        drop(log.store_decision(seq_no, &decision(seq_no)).unwrap());
    }
    log.store_checkpoint(40, &vec![7; 9000]).unwrap();
    log.close().unwrap();
    drop(log);
    for (name, bytes) in disk.list_files() {
        let used = bytes.min(30_000);
        for at in (0..used).step_by(97) {
            if disk.read_durable(&name).unwrap().get(at as usize).is_none_or(|byte| *byte == 0) {
                continue;
            }
            disk.flip_durable_bit(&name, at, (at % 8) as u8).unwrap();
            let found = inspect::verify(FOLDER, disk.world());
            let told = found.as_ref().map_or(true, |found| !found.is_sound());
            assert!(told || name.ends_with("LOCK"), "{name} at {at}: {found:?}");
            disk.flip_durable_bit(&name, at, (at % 8) as u8).unwrap();
        }
    }
}
