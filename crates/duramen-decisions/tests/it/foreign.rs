//! Logs in redb and fjall: whose a folder is, what a damaged file comes to, and what tells that durable changes are gone.

use duramen_decisions::{Blake3, Error, PersistentLog, PersistentLogConfig, RawLayer, RecoveryPolicy};

use crate::{Folder, decision};

type Open<L> = fn(PersistentLogConfig) -> Result<L, Error>;

fn store(log: &impl PersistentLog<Blake3, Vec<u8>, RawLayer>, numbers: std::ops::RangeInclusive<u64>) {
    for seq_no in numbers {
        log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
    }
}

fn a_folder_belongs_to_one_store<L: PersistentLog<Blake3, Vec<u8>, RawLayer>>(name: &str, open: Open<L>) {
    let folder = Folder::new(&format!("{name}-owner"));
    let mut config = folder.config();
    config.create = false;
    assert!(matches!(open(config.clone()), Err(Error::Foreign { .. })), "none is there");
    assert!(!folder.path().exists());
    config.create = true;
    store(&open(config.clone()).unwrap(), 1..=3);
    let log = open(config.clone()).unwrap();
    assert!(matches!(open(config.clone()), Err(Error::Backend { .. } | Error::Io { .. })), "it is open");
    drop(log);
    std::fs::write(folder.path().join("BACKEND"), "duramen-decisions other 1\n").unwrap();
    assert!(matches!(open(config.clone()), Err(Error::Foreign { .. })));
    std::fs::remove_file(folder.path().join("BACKEND")).unwrap();
    assert!(matches!(open(config.clone()), Err(Error::Foreign { .. })), "it has something, and no marker");
    let files = duramen_decisions::FileBasedLog::<Blake3, Vec<u8>, RawLayer>::new(config.clone());
    assert!(matches!(files, Err(Error::Foreign { .. })), "{files:?}");
    std::fs::remove_dir_all(folder.path()).unwrap();
    std::fs::create_dir(folder.path()).unwrap();
    std::fs::write(folder.path().join("BACKEND"), "duramen-deci").unwrap();
    store(&open(config).unwrap(), 1..=1);
}

/// The store's files are set back to an earlier state, as by a controller that forgets, and nothing in them is wrong.
fn lost_changes_are_told<L: PersistentLog<Blake3, Vec<u8>, RawLayer>>(name: &str, data: &str, open: Open<L>) {
    let folder = Folder::new(&format!("{name}-witness"));
    let config = folder.config();
    store(&open(config.clone()).unwrap(), 1..=5);
    let (now, before) = (folder.path().join(data), folder.path().join("before"));
    copy(&now, &before);
    store(&open(config.clone()).unwrap(), 6..=9);
    if now.is_dir() {
        std::fs::remove_dir_all(&now).unwrap()
    } else {
        std::fs::remove_file(&now).unwrap()
    }
    std::fs::rename(&before, &now).unwrap();
    for _ in 0..2 {
        let Err(Error::Damaged(damage)) = open(config.clone()) else { panic!("it opened") };
        assert!(damage.safety && damage.decisions.iter().any(|lost| lost.first == 6), "{damage}");
    }
    let aside = PersistentLogConfig { recovery: RecoveryPolicy::SetAside, ..config.clone() };
    let log = open(aside).unwrap();
    assert_eq!(log.recovery_information().damage.as_ref().unwrap().last_safe, Some(5));
    store(&log, 6..=9);
    drop(log);
    let log = open(config).unwrap();
    assert_eq!(
        (log.recovery_information().damage.clone(), log.retrieve_decision(9).unwrap()),
        (None, Some(decision(9)))
    );
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    if from.is_file() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

#[cfg(feature = "redb")]
#[test]
fn redb() {
    a_folder_belongs_to_one_store("redb", duramen_decisions::RedbLog::new);
    lost_changes_are_told("redb", "decisions.redb", duramen_decisions::RedbLog::new);
}

#[cfg(feature = "fjall")]
#[test]
fn fjall() {
    a_folder_belongs_to_one_store("fjall", duramen_decisions::FjallLog::new);
    lost_changes_are_told("fjall", "fjall", duramen_decisions::FjallLog::new);
}

/// redb asks for a shorter file when most of it is free, and a log's disk has no such call: what is behind the end must be room
/// again, also after opening.
#[cfg(feature = "redb")]
#[test]
fn redb_takes_again_what_was_given_back() {
    let folder = Folder::new("redb-room");
    let mut config = folder.config();
    config.retention.checkpoints = 1;
    let open = || duramen_decisions::RedbLog::<Blake3, Vec<u8>, RawLayer>::new(config.clone()).unwrap();
    let bytes = |seq_no: u64| -> bytes::Bytes { vec![seq_no as u8; 100_000].into() };
    let mut stored = Vec::new();
    for round in 0..4u64 {
        let log = open();
        for seq_no in round * 40 + 1..=round * 40 + 40 {
            drop(log.store_decision(seq_no, &bytes(seq_no)).unwrap());
        }
        log.sync().unwrap();
        log.store_checkpoint(round * 40 + 39, &vec![1; 1000]).unwrap();
        log.compact_log_up_to(round * 40 + 39).unwrap();
        for number in 0..20 {
            log.store_batch(duramen_decisions::Batch::new().recovery(number, b"a sync")).unwrap().wait().unwrap();
        }
        stored.push(log.stats().backend.stored_bytes);
        drop(log);
        let log = open();
        assert_eq!(log.retrieve_decision(round * 40 + 40).unwrap(), Some(bytes(round * 40 + 40)));
        assert_eq!(log.recovery_information().damage, None);
    }
    assert!(stored[3] < stored[0] * 2, "{stored:?}");
}

/// fjall panicked on a damaged list of tables while it held a lock, and again in the drop that followed: the process was aborted.
/// Its trees are opened alone first. The suite's case `rot` found it.
#[cfg(feature = "fjall")]
#[test]
fn fjall_with_a_damaged_list_of_tables_is_refused() {
    let folder = Folder::new("fjall-list");
    let open = || duramen_decisions::FjallLog::<Blake3, Vec<u8>, RawLayer>::new(folder.config());
    store(&open().unwrap(), 1..=3);
    // What fjall reserves is cut off when it opens.
    drop(open().unwrap());
    let (now, good) = (folder.path().join("fjall"), folder.path().join("good"));
    copy(&now, &good);
    let restore = || {
        std::fs::remove_dir_all(&now).unwrap();
        copy(&good, &now);
    };
    let (mut refused, mut tried) = (0, 0);
    for tree in std::fs::read_dir(good.join("keyspaces")).unwrap() {
        for file in std::fs::read_dir(tree.unwrap().path()).unwrap().map(|file| file.unwrap().path()) {
            let bytes = if file.is_file() { std::fs::read(&file).unwrap() } else { Vec::new() };
            for at in (0..bytes.len()).step_by(2) {
                restore();
                let mut bytes = bytes.clone();
                bytes[at] ^= 4;
                std::fs::write(now.join(file.strip_prefix(&good).unwrap()), bytes).unwrap();
                tried += 1;
                refused += usize::from(open().is_err());
            }
        }
    }
    assert!(refused > 5, "{refused} of {tried}");
    restore();
    assert_eq!(open().unwrap().retrieve_decision(3).unwrap(), Some(decision(3)));
}
