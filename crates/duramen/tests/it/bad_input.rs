//! Wrong paths, missing permissions, full disks, wrong words: each a clear message, its code, and nothing half-written.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{
    Folder, acknowledged, append, assert_code, assert_same, binary, cat, command, command_of, is_root, journal,
    run_command, stderr,
};

/// The user and group `nobody`, whom permissions do stop.
const NOBODY: u32 = 65_534;

#[test]
fn a_wrong_command_line_is_code_2() {
    let lines: [&[&str]; 5] =
        [&[], &["journal"], &["journal", "cat"], &["journal", "append", "x", "--policy", "maybe"], &["sing"]];
    for words in lines {
        assert_code(&run_command(&mut command(words), b""), 2);
    }
    assert_code(&run_command(&mut command(&["--help"]), b""), 0);
    assert_code(&run_command(&mut command(&["--version"]), b""), 0);
}

#[test]
fn a_missing_folder_is_named() {
    let folder = Folder::new();
    let path = folder.join("nothing");
    for verb in ["cat", "stat", "verify", "dump", "follow"] {
        let output = journal(&[OsStr::new(verb), path.as_os_str()], b"");
        assert_code(&output, 1);
        assert!(stderr(&output).contains("nothing"), "{verb}: {}", stderr(&output));
        assert!(!path.exists(), "{verb} made a folder");
    }
    // Writing makes the folder, and those above it.
    append(&folder.join("no/such"), &[], b"line\n");
    assert_eq!(cat(&folder.join("no/such")).stdout, b"line\n");
}

#[test]
fn a_file_in_place_of_the_folder_is_left_alone() {
    let folder = Folder::new();
    let path = folder.join("file");
    fs::write(&path, b"precious").expect("the file can be written");
    for verb in ["append", "cat", "stat", "verify", "dump"] {
        let output = journal(&[OsStr::new(verb), path.as_os_str()], b"line\n");
        assert_code(&output, 1);
        assert!(stderr(&output).contains("a journal is a folder"), "{verb}: {}", stderr(&output));
    }
    assert_eq!(fs::read(&path).expect("the file can be read"), b"precious");
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let folder = Folder::new();
    fs::write(folder.join("letter.txt"), b"dear").expect("the file can be written");
    let output = journal(&["append".as_ref(), folder.path().as_os_str()], b"line\n");
    assert_code(&output, 1);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["letter.txt"], "{}", stderr(&output));
}

#[test]
fn a_missing_input_is_found_before_anything_is_written() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let good = folder.join("good");
    fs::write(&good, b"line\n").expect("the file can be written");
    for bad in [folder.join("missing"), folder.path().to_path_buf()] {
        let output = journal(&["append".as_ref(), path.as_os_str(), good.as_os_str(), bad.as_os_str()], b"");
        assert_code(&output, 1);
        assert!(stderr(&output).contains("nothing was appended"), "{}", stderr(&output));
        assert!(!path.exists(), "a journal was made");
    }
}

#[test]
fn errors_are_one_line() {
    let folder = Folder::new();
    let output = journal(&["cat".as_ref(), folder.join("missing").as_os_str()], b"");
    let said = stderr(&output);
    assert!(said.starts_with("duramen: ") && said.trim_end().lines().count() == 1, "{said}");
}

#[test]
fn without_permission_nothing_happens_and_the_reason_is_said() {
    let folder = Folder::new();
    let path = folder.join("journal");
    append(&path, &[], b"line\n");
    let (program, guarded) = program_for_nobody(&folder);
    for verb in ["append", "cat", "stat", "verify"] {
        let mut command = command_of(&program, &[OsStr::new("journal"), verb.as_ref(), guarded.as_os_str()]);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = run_command(&mut command, b"more\n");
        assert_code(&output, 1);
        assert!(stderr(&output).contains("ermission denied"), "{verb}: {}", stderr(&output));
    }
    if !is_root() {
        fs::set_permissions(&guarded, fs::Permissions::from_mode(0o700)).expect("it is our own folder");
    }
    assert_eq!(cat(&path).stdout, b"line\n");
}

/// A copy of the binary that anyone may run, and a journal that its user may not enter: root's own, or one with its
/// permissions taken away.
fn program_for_nobody(folder: &Folder) -> (PathBuf, PathBuf) {
    let path = folder.join("journal");
    if !is_root() {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("it is our own folder");
        return (binary().to_path_buf(), path);
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is our own folder");
    let program = folder.join("duramen");
    fs::copy(binary(), &program).expect("the binary can be copied");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is our own file");
    (program, path)
}

/// A small file system in memory, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path, options: &str) -> Option<Mounted> {
        fs::create_dir(path).expect("the mount point can be made");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "duramen-test"]).arg(path).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Mounted(path.to_path_buf())),
            _ => {
                println!("skipped: mounting a small tmpfs needs root and its permission");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(done.expect("mount runs").success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_says_what_is_durable_and_the_rest_can_follow() {
    let folder = Folder::new();
    let Some(mounted) = Mounted::new(&folder.join("small"), "size=1m") else { return };
    let path = folder.join("small/journal");
    let line = |number: usize| format!("line {number} with enough words that a megabyte is soon full\n").into_bytes();
    let input: Vec<u8> = (0..40_000).flat_map(line).collect();
    let words = ["append".as_ref(), path.as_os_str(), "--ack".as_ref(), "--segment-bytes".as_ref(), "64K".as_ref()];
    let output = journal(&words, &input);
    assert_code(&output, 5);
    let durable = acknowledged(&output.stdout) as usize;
    let said = stderr(&output);
    assert!(durable > 0, "nothing fitted: {said}");
    assert!(said.contains(&format!("from line {} on", durable + 1)), "{durable}: {said}");

    // On the full disk it can be read, and it ended in its mark: the space for that was reserved.
    let output = cat(&path);
    let stored: Vec<u8> = (0..durable).flat_map(line).collect();
    assert_same(&output.stdout, &stored);
    assert_code(&output, 0);

    mounted.remount("size=64m");
    append(&path, &["--segment-bytes", "64K"], &input[stored.len()..]);
    let output = cat(&path);
    assert_code(&output, 0);
    assert_same(&output.stdout, &input);
}

#[test]
fn a_read_only_file_system_can_be_read_and_not_written() {
    let folder = Folder::new();
    let Some(mounted) = Mounted::new(&folder.join("small"), "size=8m") else { return };
    let path = folder.join("small/journal");
    append(&path, &["--segment-bytes", "64K"], b"line\n");
    mounted.remount("ro");
    let output = journal(&["append".as_ref(), path.as_os_str()], b"more\n");
    assert_code(&output, 1);
    assert!(stderr(&output).to_lowercase().contains("read-only"), "{}", stderr(&output));
    let output = cat(&path);
    assert_code(&output, 0);
    assert_eq!(output.stdout, b"line\n");
    assert_code(&journal(&["verify".as_ref(), path.as_os_str()], b""), 0);
}
