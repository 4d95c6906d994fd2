//! The binary on file systems that differ in what the journal cares about: xfs, which overwrites in place as ext4 does, and
//! btrfs, which never does, so that files must grow as they are written there. A writer is killed and goes on, again and
//! again, with the file system unmounted in between.
//!
//! Ignored by default: needs root, the `mkfs` tools, loop devices and a kernel that can mount them.

use std::fs;
use std::io::Write as _;

use duramen_journal::World;
use rustix::process::Signal;

use crate::harness::{Writer, append, assert_code, assert_same, cat, code, journal, stderr};
use crate::mounted::FileSystem;

const ROUNDS: u64 = 12;
const LINES_PER_ROUND: u64 = 400;
const SEGMENT_BYTES: u64 = 64 << 10;

fn line(number: u64) -> Vec<u8> {
    format!("line {number} {}\n", "x".repeat((number * 31 % 200) as usize)).into_bytes()
}

#[test]
#[ignore = "needs root, mkfs.xfs and loop devices; .ci/run runs it"]
fn file_system_xfs_is_written_in_place() {
    kill_again_and_again("xfs", false);
}

#[test]
#[ignore = "needs root, mkfs.btrfs and loop devices; .ci/run runs it"]
fn file_system_btrfs_gets_files_that_grow() {
    kill_again_and_again("btrfs", true);
}

fn kill_again_and_again(kind: &str, copy_on_write: bool) {
    let mut system = match FileSystem::new(kind) {
        Ok(system) => system,
        Err(why) => {
            println!("skipped: no {kind} in an image file here: {why}");
            return;
        }
    };
    let found = World::real().disk.file_system(&system.place).expect("statfs answers");
    assert_eq!((found.kind.as_str(), found.copy_on_write), (kind, copy_on_write));
    let path = system.place.join("journal");
    let mut present = 0;
    for round in 0..ROUNDS {
        let mut writer = Writer::start(&path, &["--segment-bytes", "64K", "--idle-mark", "1h"]);
        let mut input = writer.input.take().expect("a pipe");
        for number in present..present + LINES_PER_ROUND {
            input.write_all(&line(number)).expect("the writer reads");
        }
        writer.wait_durable(LINES_PER_ROUND);
        check_lengths(&path, copy_on_write);
        writer.signal(Signal::KILL);
        assert_eq!(code(writer.finish().0), 137);
        drop(input);
        present += LINES_PER_ROUND;
        if round % 3 == 0 {
            system.unmount().expect("nobody uses the file system any more");
            system.mount().expect("mounts again");
        }
        let output = cat(&path);
        assert!([0, 3].contains(&code(output.status)), "{kind}, round {round}: {}", stderr(&output));
        let expected: Vec<u8> = (0..present).flat_map(line).collect();
        assert_same(&output.stdout, &expected);
    }
    append(&path, &["--segment-bytes", "64K"], b"");
    assert_code(&cat(&path), 0);
    assert_code(&journal(&["verify".as_ref(), path.as_os_str()], b""), 0);
    println!("{kind}: {ROUNDS} kills, {present} lines acknowledged, 0 lost; files grow: {copy_on_write}");
}

/// Where nothing is overwritten in place, no file is longer than what was written to it; elsewhere all are whole.
fn check_lengths(path: &std::path::Path, growing: bool) {
    let entries = fs::read_dir(path.join("journal")).expect("a journal folder");
    let lengths: Vec<u64> = entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "seg"))
        .map(|entry| entry.metadata().expect("is there").len())
        .collect();
    // A sealed one ends in its footer, so that it is whole too.
    let short = lengths.iter().filter(|&&bytes| bytes < SEGMENT_BYTES).count();
    assert_eq!(short > 0, growing, "{lengths:?}");
}
