//! Journals that end without a mark, and journals that are damaged: what is good is printed, the code says the rest.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::Signal;

use crate::harness::{Folder, Writer, append, assert_code, assert_same, cat, code, journal, stderr};

fn on(verb: &str, path: &Path) -> Output {
    journal(&[OsStr::new(verb), path.as_os_str()], b"")
}

/// The segment files, oldest first.
fn segments(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(path.join("journal"))
        .expect("a journal folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "seg"))
        .collect();
    found.sort();
    found
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the segment can be opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("the segment is longer");
    file.write_all_at(&[byte[0] ^ 0x40], offset).expect("the segment can be written");
}

/// The segment in which this text is stored, and where; a newline at its end is not stored.
fn find(path: &Path, text: &[u8]) -> (PathBuf, u64) {
    let text = text.trim_ascii_end();
    let within = |segment: PathBuf| {
        let bytes = fs::read(&segment).expect("the segment can be read");
        let place = bytes.windows(text.len()).rposition(|window| window == text);
        place.map(|place| (segment, place as u64))
    };
    segments(path).into_iter().find_map(within).expect("the text is stored as it is")
}

/// Lines enough for several segments of 64 KiB.
fn line(number: usize) -> Vec<u8> {
    format!("line {number} of a journal that will be damaged in its middle\n").into_bytes()
}

fn lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(line).collect()
}

#[test]
fn an_end_without_a_mark_prints_everything_and_is_code_3() {
    let folder = Folder::new();
    let path = folder.join("journal");
    // No idle mark may come between the kill and the look, however slow the machine is.
    let mut writer = Writer::start(&path, &["--idle-mark", "1h"]);
    writer.write(b"one\ntwo\n");
    writer.wait_durable(2);
    writer.signal(Signal::KILL);
    assert_eq!(code(writer.finish().0), 137);
    let output = cat(&path);
    assert_code(&output, 3);
    assert_eq!(output.stdout, b"one\ntwo\n");
    assert!(stderr(&output).contains("without a mark"), "{}", stderr(&output));
    assert_code(&on("verify", &path), 3);
    assert_code(&on("stat", &path), 0);

    // Going on and closing makes it whole.
    append(&path, &[], b"three\n");
    let output = cat(&path);
    assert_code(&output, 0);
    assert_eq!(output.stdout, b"one\ntwo\nthree\n");
    assert_code(&on("verify", &path), 0);
}

#[test]
fn a_long_line_cut_off_by_a_kill_does_not_swallow_the_next_one() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let mut writer = Writer::start(&path, &["--segment-bytes", "64K", "--idle-mark", "1h"]);
    writer.write(b"one\n");
    writer.wait_durable(1);
    writer.write(&vec![b'x'; 200_000]);
    // The parts of the line are acknowledged to nobody; a reader sees them when they are there.
    while cat(&path).stdout.len() < 50_000 {}
    writer.signal(Signal::KILL);
    assert_eq!(code(writer.finish().0), 137);

    let output = cat(&path);
    assert_code(&output, 3);
    assert!(output.stdout.starts_with(b"one\nxxxx"), "what can be recovered is printed");
    assert!(stderr(&output).contains("cut off within"), "{}", stderr(&output));

    append(&path, &["--segment-bytes", "64K"], b"two\n");
    let output = cat(&path);
    assert_code(&output, 0);
    assert_same(&output.stdout, b"one\ntwo\n");
    assert!(stderr(&output).contains("1 unfinished line"), "{}", stderr(&output));
}

#[test]
fn damage_prints_the_good_part_and_its_place() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let input = lines(5000);
    append(&path, &["--segment-bytes", "64K"], &input);
    let segments = segments(&path);
    assert!(segments.len() >= 4, "{} segments", segments.len());
    flip(&segments[1], 20_000);

    let output = cat(&path);
    assert_code(&output, 4);
    let whole: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    let found: Vec<&[u8]> = output.stdout.split_inclusive(|byte| *byte == b'\n').collect();
    assert!(found.len() > 500 && found.len() < whole.len(), "{} lines of {}", found.len(), whole.len());
    let mut rest = whole.iter();
    assert!(found.iter().all(|line| rest.any(|expected| expected == line)), "a line that was never written");
    let name = segments[1].file_name().unwrap().to_string_lossy().into_owned();
    assert!(stderr(&output).contains(&name), "{}", stderr(&output));

    let output = on("verify", &path);
    assert_code(&output, 4);
    assert!(stderr(&output).contains(&name), "{}", stderr(&output));
    assert_code(&on("dump", &path), 4);
}

#[test]
fn a_damaged_journal_is_not_written_unless_it_is_set_aside() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let small = ["--segment-bytes", "64K"];
    append(&path, &small, &lines(5000));
    // In the segment in use, behind which the closing mark stands: opening trusts sealed segments until they are read.
    let (segment, place) = find(&path, &line(4990));
    flip(&segment, place);
    let before: Vec<Vec<u8>> = segments(&path).iter().map(|path| fs::read(path).unwrap()).collect();
    let mut words = vec![OsStr::new("append"), path.as_os_str()];
    words.extend(small.map(OsStr::new));
    let output = journal(&words, b"more\n");
    assert_code(&output, 4);
    let after: Vec<Vec<u8>> = segments(&path).iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(before == after, "a refused journal was changed");

    words.extend(["--on-damage", "set-aside"].map(OsStr::new));
    let output = journal(&words, b"more\n");
    assert_code(&output, 0);
    assert!(stderr(&output).contains("aside"), "{}", stderr(&output));
    let output = cat(&path);
    assert!(output.stdout.ends_with(b"more\n") && output.stdout.starts_with(&line(0)));
    // The damage is gone, the loss is not: it is known and said.
    assert!(stderr(&output).contains("known loss"), "{}", stderr(&output));
    assert_code(&output, 0);
}

#[test]
fn salvage_copies_what_is_good_into_a_new_folder() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let input = lines(5000);
    append(&path, &["--segment-bytes", "64K"], &input);
    flip(&segments(&path)[1], 20_000);
    let new = folder.join("new");
    let salvage = || journal(&["salvage".as_ref(), path.as_os_str(), new.as_os_str()], b"");
    let output = salvage();
    assert_code(&output, 0);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("copied") && said.contains("lost"), "{said}");
    assert_code(&on("verify", &new), 0);
    let output = cat(&new);
    assert_code(&output, 0);
    assert!(output.stdout.len() > input.len() / 2 && output.stdout.len() < input.len(), "{said}");
    assert!(output.stdout.ends_with(&line(4999)), "what lies behind the damage is good as well");
    // Never into a folder that exists.
    assert_code(&salvage(), 1);
    // The damaged one was only read.
    assert_code(&on("verify", &path), 4);
}

#[test]
fn a_missing_segment_is_damage() {
    let folder = Folder::new();
    let path = folder.join("journal");
    append(&path, &["--segment-bytes", "64K"], &lines(5000));
    fs::remove_file(&segments(&path)[2]).expect("the segment can be removed");
    let output = cat(&path);
    assert_code(&output, 4);
    assert!(output.stdout.starts_with(&line(0)));
    assert_code(&on("verify", &path), 4);
}

#[test]
fn a_torn_tail_can_be_refused() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let mut writer = Writer::start(&path, &["--segment-bytes", "64K", "--idle-mark", "1h"]);
    writer.write(b"one\n");
    writer.wait_durable(1);
    writer.write(b"two\n");
    writer.wait_durable(2);
    writer.signal(Signal::KILL);
    writer.finish();
    // The last commit, and it alone, is half overwritten: a torn write.
    let (segment, last) = find(&path, b"two");
    flip(&segment, last);

    let output = cat(&path);
    assert_code(&output, 3);
    assert_eq!(output.stdout, b"one\n");
    let words = ["append".as_ref(), path.as_os_str(), "--torn-tail".as_ref(), "refuse".as_ref()];
    let output = journal(&words, b"three\n");
    assert_code(&output, 3);
    let words = ["append".as_ref(), path.as_os_str(), "--segment-bytes".as_ref(), "64K".as_ref()];
    let output = journal(&words, b"three\n");
    assert_code(&output, 0);
    assert!(stderr(&output).contains("cut off"), "{}", stderr(&output));
    assert_eq!(cat(&path).stdout, b"one\nthree\n");
}
