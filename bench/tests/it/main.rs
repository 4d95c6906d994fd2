//! The program as a human runs it: a few iterations of everything, and the report that comes out. No time is asserted.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_duramen-bench")).args(arguments).output().expect("the built program starts")
}

/// A folder for one test, which makes it anew.
fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the build's folder for tests can be written");
    path
}

#[test]
fn a_quick_run_measures_every_work_and_writes_the_report() {
    let out = folder("quick-out");
    let scratch = folder("quick-scratch");
    let output = bench(&["--quick", "--out", out.to_str().unwrap(), "--dir", scratch.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for metric in ["sync1", "conc64", "window1024", "buffered", "stream", "reopen", "scan", "random", "tail", "recover"]
        .into_iter()
        .chain(["groups", "purge", "mixed_p999", "available", "index_bytes"])
    {
        assert!(text.contains(&format!(" {metric} ")), "{metric} is missing in\n{text}");
    }
    let written: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    let markdown = written.iter().find(|path| path.extension().is_some_and(|end| end == "md")).unwrap();
    let table = fs::read_to_string(markdown).unwrap();
    assert!(table.contains("| work | raw bound |"), "{table}");
    assert!(!table.contains(scratch.to_str().unwrap()), "a published report names no path of the machine");
    let picture = written.iter().find(|path| path.extension().is_some_and(|end| end == "svg")).unwrap();
    assert!(fs::read_to_string(picture).unwrap().contains("<rect"));
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn bad_arguments_end_with_a_message_and_code_two() {
    for arguments in [&["--works", "nonsense"][..], &["--dir", "/nonexistent/folder"], &["--runs"]] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn works_and_systems_are_listed() {
    let text = String::from_utf8(bench(&["--list"]).stdout).unwrap();
    assert!(text.contains("sync1") && text.contains("raw bound"), "{text}");
}
