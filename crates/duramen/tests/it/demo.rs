//! The demo: it ends by itself, loses nothing, cleans up, and can be repeated by anyone.

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
fn it_works_twice_and_leaves_nothing() {
    let folder = Folder::new();
    for _ in 0..2 {
        let output = run_command(command(&["demo", "--kills", "5"]).env("TMPDIR", folder.path()), b"");
        assert_code(&output, 0);
        let said = String::from_utf8(output.stdout).expect("text");
        for part in ["acknowledged", "recovered", "lost          nothing", "cut", "kill -9 #5", "byte for byte: equal"]
        {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
        assert_eq!(entries(&folder), Vec::<PathBuf>::new());
    }
}

#[test]
fn it_keeps_the_folder_when_asked() {
    let folder = Folder::new();
    let output = run_command(command(&["demo", "--keep", "--kills", "1"]).env("TMPDIR", folder.path()), b"");
    assert_code(&output, 0);
    let kept = entries(&folder);
    assert_eq!(kept.len(), 1);
    let found =
        run_command(&mut command(&["journal".as_ref(), "cat".as_ref(), kept[0].join("journal").as_os_str()]), b"");
    assert_code(&found, 0);
    assert!(found.stdout == fs::read(kept[0].join("input.log")).expect("the input is kept"));
}

#[test]
fn a_signal_stops_it_and_it_cleans_up() {
    let folder = Folder::new();
    let mut child =
        command(&["demo", "--kills", "100"]).env("TMPDIR", folder.path()).spawn().expect("the binary starts");
    // Its folder appears when the handlers are in place.
    while entries(&folder).is_empty() {
        std::thread::yield_now();
    }
    send(&child, Signal::INT);
    assert_eq!(code(wait(&mut child)), 130);
    assert_eq!(entries(&folder), Vec::<PathBuf>::new());
}

#[test]
fn it_needs_no_privilege() {
    if !is_root() {
        println!("skipped: the other tests run it without privilege already");
        return;
    }
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("it is our own folder");
    let program = folder.join("duramen");
    fs::copy(binary(), &program).expect("the binary can be copied");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is our own file");
    let mut command = command_of(&program, &["demo", "--kills", "1"]);
    let output = run_command(command.env("TMPDIR", folder.path()).uid(65_534).gid(65_534), b"");
    assert_code(&output, 0);
    assert_eq!(entries(&folder), [program]);
}

#[test]
fn a_place_without_permission_is_an_error_that_says_so() {
    let folder = Folder::new();
    let output = run_command(&mut command(&["demo".as_ref(), "--folder".as_ref(), folder.join("no").as_os_str()]), b"");
    assert_code(&output, 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot make a temporary folder"));
}
