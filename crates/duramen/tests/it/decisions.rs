//! The commands on a log of decisions: a whole one, a damaged one, one with a living writer beside it, and folders that are none.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Output;

use duramen::decisions::{Batch, Blake3, FileBasedLog, PersistentLog as _, PersistentLogConfig, RawLayer};

use crate::harness::{Folder, append, assert_code, command, run_command, stderr};

type Log = FileBasedLog<Blake3, Vec<u8>, RawLayer>;

fn decisions(verb: &str, path: &Path, words: &[&str]) -> Output {
    let mut all = vec![OsStr::new("decisions"), OsStr::new(verb), path.as_os_str()];
    all.extend(words.iter().map(OsStr::new));
    run_command(&mut command(&all), b"")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn open(path: &Path) -> Log {
    let mut config = PersistentLogConfig::new(path);
    config.max_segment_size = 64 << 10;
    config.retention.compact = false;
    Log::new(config).expect("opens")
}

fn filled(path: &Path) -> Log {
    let log = open(path);
    for seq_no in 1..=200u64 {
        let mut batch = Batch::new();
        batch
            .decision(seq_no, &format!("put {seq_no} {}", "x".repeat(900)).into())
            .proof(seq_no, &vec![0xff, 1].into());
        drop(log.store_batch(&batch).expect("stored"));
    }
    log.store_batch(Batch::new().safety(&"view 3".into())).expect("stored").wait().expect("durable");
    log.store_checkpoint(20, &vec![7; 100_000]).expect("published");
    log
}

#[test]
fn a_whole_log_is_told_shown_and_checked_also_beside_its_writer() {
    let folder = Folder::new();
    let path = folder.join("log");
    let log = filled(&path);
    let beside = decisions("info", &path, &[]);
    assert_code(&beside, 0);
    assert!(stdout(&beside).contains("end         live"), "{}", stdout(&beside));
    log.close().expect("closes");
    drop(log);
    let info = decisions("info", &path, &[]);
    assert_code(&info, 0);
    let text = stdout(&info);
    for line in ["end         closed", "digest      blake3", "decisions   1 to 200", "checkpoint  20: 100000 bytes"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let json = stdout(&decisions("info", &path, &["--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["last_contiguous"], &json["values"]["decision"]), (&200.into(), &200.into()));
    let dump = decisions("dump", &path, &["--only", "decision", "--from", "7", "--to", "8"]);
    assert_code(&dump, 0);
    let text = stdout(&dump);
    assert!(text.lines().count() == 2 && text.contains("decision 7") && text.contains("put 8 xxx"), "{text}");
    let json = stdout(&decisions("dump", &path, &["--only", "safety", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["what"], &json["bytes"]), (&"safety record".into(), &"766965772033".into()));
    assert_code(&decisions("dump", &path, &["--from", "9", "--to", "8"]), 1);
    let verify = decisions("verify", &path, &[]);
    assert_code(&verify, 0);
    assert!(stdout(&verify).contains("checked     "), "{}", stdout(&verify));
}

#[test]
fn a_damaged_log_is_told_and_salvaged() {
    let folder = Folder::new();
    let path = folder.join("log");
    drop(filled(&path));
    let segments =
        std::fs::read_dir(path.join("journal")).expect("a journal").map(|entry| entry.expect("an entry").path());
    let mut segments: Vec<_> = segments.filter(|path| path.extension().is_some_and(|ending| ending == "seg")).collect();
    segments.sort();
    let file = OpenOptions::new().write(true).open(&segments[0]).expect("opens");
    file.write_all_at(&[0xee; 600], 20_000).expect("writes");
    let verify = decisions("verify", &path, &["--json"]);
    assert_code(&verify, 4);
    let json: serde_json::Value = serde_json::from_str(&stdout(&verify)).expect("JSON");
    assert_eq!(json["sound"], false);
    assert!(stderr(&verify).contains("duramen decisions salvage"), "{}", stderr(&verify));
    let new = folder.join("new");
    let salvage = decisions("salvage", &path, &[new.to_str().expect("text")]);
    assert_code(&salvage, 0);
    assert!(stdout(&salvage).contains("lost      "), "{}", stdout(&salvage));
    assert_code(&decisions("salvage", &path, &[new.to_str().expect("text")]), 1);
    assert_code(&decisions("verify", &new, &[]), 0);
    let log = open(&new);
    assert_eq!(log.retrieve_decision(200).expect("reads").map(|own| own.starts_with(b"put 200 ")), Some(true));
    assert_eq!(log.retrieve_last_checkpoint().expect("reads"), Some((20, vec![7; 100_000])));
}

#[test]
fn what_is_no_log_of_decisions_is_refused() {
    let folder = Folder::new();
    let journal = folder.join("journal");
    append(&journal, &[], b"a line\n");
    for verb in ["info", "dump", "verify"] {
        let output = decisions(verb, &journal, &[]);
        assert_code(&output, 1);
        assert!(stderr(&output).contains("no log of decisions"), "{}", stderr(&output));
        assert_code(&decisions(verb, &folder.join("nothing"), &[]), 1);
    }
}

#[test]
fn a_log_moves_to_another_folder_and_is_compared() {
    let folder = Folder::new();
    let path = folder.join("log");
    let log = filled(&path);
    log.close().expect("closes");
    drop(log);
    let new = folder.join("new");
    let to = |backend: &str, new: &Path| decisions("migrate", &path, &[new.to_str().expect("text"), "--to", backend]);
    let moved = to("files", &new);
    assert_code(&moved, 0);
    assert!(stdout(&moved).contains("decision              200"), "{}", stdout(&moved));
    assert_code(&to("files", &new), 1);
    assert_code(&decisions("verify", &new, &[]), 0);
    let log = open(&new);
    assert_eq!(log.retrieve_last_checkpoint().expect("reads"), Some((20, vec![7; 100_000])));
    drop(log);
    for backend in ["redb", "fjall"] {
        let new = folder.join(backend);
        let moved = to(backend, &new);
        if cfg!(feature = "decisions-stores") {
            assert_code(&moved, 0);
            let back = folder.join(&format!("{backend}-back"));
            let words = [back.to_str().expect("text"), "--to", "files", "--json"];
            let moved = decisions("migrate", &new, &words);
            assert_code(&moved, 0);
            assert_code(&decisions("verify", &back, &[]), 0);
        } else {
            assert_code(&moved, 1);
            assert!(stderr(&moved).contains("decisions-stores"), "{}", stderr(&moved));
        }
    }
    assert_code(&decisions("migrate", &folder.join("nothing"), &["x", "--to", "files"]), 1);
}
