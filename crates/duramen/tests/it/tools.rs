//! The commands around the journal: stat, dump, bench, completions, man.

use std::ffi::OsStr;
use std::fs;

use crate::harness::{Folder, append, assert_code, command, journal, run_command};

fn run(words: &[&str]) -> String {
    let output = run_command(&mut command(words), b"");
    assert_code(&output, 0);
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert!(script.contains("salvage"), "{shell}");
        assert_eq!(script.contains("raft"), cfg!(feature = "raft"), "{shell}");
        assert!(!script.contains("demo-writer"), "{shell} offers the hidden command");
    }
}

#[test]
fn the_manual_documents_the_exit_codes_and_each_command() {
    let page = run(&["man"]);
    assert!(page.contains("Exit codes") && page.contains("141"));
    let folder = Folder::new();
    run(&["man", folder.path().to_str().expect("a plain path")]);
    for name in ["duramen.1", "duramen-demo.1", "duramen-journal-append.1", "duramen-journal-salvage.1"] {
        assert!(folder.join(name).exists(), "{name} is missing");
    }
    assert_eq!(folder.join("duramen-raft-verify.1").exists(), cfg!(feature = "raft"));
    assert_code(&run_command(&mut command(&["man".as_ref(), folder.join("missing").as_os_str()]), b""), 1);
}

#[test]
fn stat_and_dump_speak_to_people_and_machines() {
    let folder = Folder::new();
    let path = folder.join("journal");
    append(&path, &[], b"one\ntwo \"quoted\"\n");
    let on = |verb: &str, option: Option<&str>| {
        let mut words = vec![OsStr::new(verb), path.as_os_str()];
        words.extend(option.map(OsStr::new));
        let output = journal(&words, b"");
        assert_code(&output, 0);
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(on("stat", None).contains("closed"));
    let json = on("stat", Some("--json"));
    assert!(json.contains("\"end\":\"closed\"") && json.contains("\"records\":2"), "{json}");
    assert!(on("verify", Some("--json")).contains("\"damage\":[]"));
    assert!(on("dump", None).lines().count() >= 4);
    let json = on("dump", Some("--json"));
    assert!(json.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{json}");
}

#[test]
fn bench_measures_advises_and_leaves_nothing() {
    let folder = Folder::new();
    let path = folder.path().to_str().expect("a plain path");
    let said = run(&["journal", "bench", path, "--time", "300ms"]);
    for part in ["file system", "fdatasync", "group commit", "streaming"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.contains("policy") || said.contains("does not flush"), "no advice: {said}");
    assert_eq!(fs::read_dir(folder.path()).expect("the folder is there").count(), 0);
}
