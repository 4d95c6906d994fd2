//! The two demos, the journal's and the daemon's: they end by themselves, lose nothing, clean up, and can be repeated by anyone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::harness::{Folder, assert_code, binary, code, command, command_of, is_root, run_command, send, wait};

fn entries(folder: &Folder) -> Vec<PathBuf> {
    fs::read_dir(folder.path()).expect("the folder is there").map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn the_journals_works_twice_and_leaves_nothing() {
    let parts = ["acknowledged", "recovered", "lost          nothing", "cut", "kill -9 #5", "byte for byte: equal"];
    works_twice_and_leaves_nothing(&["journal", "demo", "--kills", "5"], &parts);
}

#[cfg(feature = "daemon")]
#[test]
fn the_daemons_works_twice_and_leaves_nothing() {
    let parts = [
        "acknowledged",
        "recovered",
        "lost          nothing",
        "kill -9 #3",
        "gaps          none; 3 outages recorded",
        "SIGUSR1: low, everything durable",
        "each stored once",
    ];
    works_twice_and_leaves_nothing(&["demo"], &parts);
}

fn works_twice_and_leaves_nothing(words: &[&str], parts: &[&str]) {
    let folder = Folder::new();
    for _ in 0..2 {
        let output = run_command(command(words).env("TMPDIR", folder.path()), b"");
        assert_code(&output, 0);
        let said = String::from_utf8(output.stdout).expect("text");
        for part in parts {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
        assert_eq!(entries(&folder), Vec::<PathBuf>::new());
    }
}

#[test]
fn the_journals_keeps_the_folder_when_asked() {
    let folder = Folder::new();
    let output = run_command(command(&["journal", "demo", "--keep", "--kills", "1"]).env("TMPDIR", folder.path()), b"");
    assert_code(&output, 0);
    let kept = entries(&folder);
    assert_eq!(kept.len(), 1);
    let found =
        run_command(&mut command(&["journal".as_ref(), "cat".as_ref(), kept[0].join("journal").as_os_str()]), b"");
    assert_code(&found, 0);
    assert!(found.stdout == fs::read(kept[0].join("input.log")).expect("the input is kept"));
}

#[cfg(feature = "daemon")]
#[test]
fn the_daemon_stays_when_asked() {
    let folder = Folder::new();
    let output = run_command(command(&["demo", "--keep", "--kills", "1"]).env("TMPDIR", folder.path()), b"");
    assert_code(&output, 0);
    let said = String::from_utf8(output.stdout).expect("text");
    let (_, process) = said.split_once("(process ").expect("it names the process");
    let process: i32 = process.split(':').next().and_then(|number| number.parse().ok()).expect("a number");
    let data = entries(&folder)[0].join("data");
    let asked =
        run_command(&mut command(&["query".as_ref(), "--data".as_ref(), data.as_os_str(), "-n3".as_ref()]), b"");
    let stopped = rustix::process::kill_process(
        rustix::process::Pid::from_raw(process).expect("a process"),
        rustix::process::Signal::TERM,
    );
    assert_code(&asked, 0);
    assert_eq!(asked.stdout.iter().filter(|byte| **byte == b'\n').count(), 3);
    assert!(stopped.is_ok(), "the daemon was running: {stopped:?}");
    // Its folder is removed with the value when it is gone.
    while fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
}

#[test]
fn a_signal_stops_the_journals_and_it_cleans_up() {
    a_signal_stops_it_and_it_cleans_up(&["journal", "demo", "--kills", "100"]);
}

#[cfg(feature = "daemon")]
#[test]
fn a_signal_stops_the_daemons_and_it_cleans_up() {
    a_signal_stops_it_and_it_cleans_up(&["demo", "--kills", "100"]);
}

fn a_signal_stops_it_and_it_cleans_up(words: &[&str]) {
    let folder = Folder::new();
    let mut child = command(words).env("TMPDIR", folder.path()).spawn().expect("the binary starts");
    // Its folder appears when the handlers are in place.
    while entries(&folder).is_empty() {
        std::thread::yield_now();
    }
    send(&child, Signal::INT);
    assert_eq!(code(wait(&mut child)), 130);
    assert_eq!(entries(&folder), Vec::<PathBuf>::new());
}

#[test]
fn they_need_no_privilege() {
    if !is_root() {
        println!("skipped: the other tests run them without privilege already");
        return;
    }
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("it is our own folder");
    let program = folder.join("duramen");
    fs::copy(binary(), &program).expect("the binary can be copied");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is our own file");
    let demos: &[&[&str]] =
        if cfg!(feature = "daemon") { &[&["journal", "demo"], &["demo"]] } else { &[&["journal", "demo"]] };
    for demo in demos {
        let mut command = command_of(&program, demo);
        let output =
            run_command(command.args(["--kills", "1"]).env("TMPDIR", folder.path()).uid(65_534).gid(65_534), b"");
        assert_code(&output, 0);
        assert_eq!(entries(&folder), std::slice::from_ref(&program));
    }
}

#[test]
fn a_place_without_permission_is_an_error_that_says_so() {
    let folder = Folder::new();
    let output = run_command(command(&["journal", "demo", "--folder"]).arg(folder.join("no")), b"");
    assert_code(&output, 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot make a temporary folder"));
}
