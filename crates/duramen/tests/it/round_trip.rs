//! What goes in comes out, byte for byte.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};

use crate::harness::{
    Folder, Random, append, assert_code, assert_same, cat, command, journal, peak_memory_bytes, setting, wait,
};

/// The smallest segments: a record carries at most 8 KiB, and rotation is frequent.
const SMALL: [&str; 2] = ["--segment-bytes", "64K"];

fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Random::new(3);
    let noise = (0..200_000).map(|_| random.below(256) as u8).collect();
    let long: Vec<u8> = (0..100_000u32).map(|number| b'a' + (number % 23) as u8).collect();
    let sized = (0..3000usize).flat_map(|length| [vec![b'x'; length % 700], b"\n".to_vec()].concat()).collect();
    let exact = [vec![b'e'; 8192], b"\n".to_vec(), vec![b'f'; 8193], b"\n".to_vec(), vec![b'g'; 16384]].concat();
    vec![
        ("empty", vec![]),
        ("one newline", b"\n".to_vec()),
        ("newlines", b"\n\n\n".to_vec()),
        ("one line", b"line\n".to_vec()),
        ("no newline at the end", b"line\nlast".to_vec()),
        ("only a partial line", b"x".to_vec()),
        ("carriage returns", b"a\r\nb\r\rc\r\n".to_vec()),
        ("NUL bytes", b"\0\0\n\0a\0\n\0".to_vec()),
        ("not UTF-8", b"\xff\xfe\n\xc3\x28\n\x80".to_vec()),
        ("a long line", [&long[..], b"\nafter\n"].concat()),
        ("a long line without newline", long),
        ("lines of exactly a record and one more", exact),
        ("noise", noise),
        ("many lines", sized),
    ]
}

#[test]
fn standard_input_comes_back_byte_for_byte() {
    let folder = Folder::new();
    for (index, (name, input)) in inputs().iter().enumerate() {
        let journal = folder.join(&format!("journal-{index}"));
        append(&journal, &SMALL, input);
        let output = cat(&journal);
        assert_code(&output, 0);
        println!("{name}");
        assert_same(&output.stdout, input);
        assert!(output.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn files_come_back_joined_in_order() {
    let folder = Folder::new();
    let mut expected = Vec::new();
    let mut words: Vec<std::ffi::OsString> = vec!["append".into(), folder.join("journal").into()];
    for (index, (_, input)) in inputs().into_iter().enumerate() {
        let path = folder.join(&format!("input-{index}"));
        fs::write(&path, &input).expect("the input can be written");
        expected.extend(input);
        words.push(path.into());
    }
    words.push("-".into());
    expected.extend(b"from standard input\n");
    assert_code(&journal(&words, b"from standard input\n"), 0);
    let output = cat(&folder.join("journal"));
    assert_code(&output, 0);
    assert_same(&output.stdout, &expected);
}

#[test]
fn every_policy_and_codec_keeps_the_bytes() {
    let folder = Folder::new();
    let input: Vec<u8> = (0..5000).flat_map(|number| format!("line {number} of a log\n").into_bytes()).collect();
    for policy in ["always", "never", "interval:5ms", "batch:100,5ms"] {
        for codec in ["none", "lz4", "zstd", "zstd:9"] {
            let journal = folder.join(&format!("{policy}-{codec}").replace(':', "-"));
            append(&journal, &["--policy", policy, "--codec", codec, "--segment-bytes", "128K"], &input);
            append(&journal, &["--edge", "--segment-bytes", "128K"], b"more");
            let output = cat(&journal);
            assert_code(&output, 0);
            assert_same(&output.stdout, &[&input[..], b"more"].concat());
        }
    }
}

#[test]
fn the_segment_size_may_change_between_runs() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let input: Vec<u8> = (0..5000).flat_map(|number| format!("line {number} of a log\n").into_bytes()).collect();
    // A segment of another size than asked for was once taken for the one that is held back for a full disk.
    let sizes = ["64K", "1M", "512K", "2M", "256K", "64M", "64K"];
    for size in sizes {
        append(&path, &["--segment-bytes", size], &input);
    }
    let output = cat(&path);
    assert_code(&output, 0);
    assert_same(&output.stdout, &input.repeat(sizes.len()));
}

#[test]
fn acknowledgements_count_the_lines_of_the_run() {
    let folder = Folder::new();
    for policy in ["always", "never", "interval:5ms", "batch:100,5ms"] {
        let path = folder.join(&policy.replace(':', "-"));
        for input in [&b"a\nb\nc"[..], b"d\n", b""] {
            let mut words = vec![OsStr::new("append"), path.as_os_str(), OsStr::new("--ack")];
            words.extend(["--policy".as_ref(), OsStr::new(policy)]);
            words.extend(SMALL.map(OsStr::new));
            let output = journal(&words, input);
            assert_code(&output, 0);
            let text = String::from_utf8(output.stdout).expect("acknowledgements are text");
            let counts: Vec<u64> =
                text.lines().map(|line| line.strip_prefix("durable ").unwrap().parse().unwrap()).collect();
            assert!(counts.is_sorted() && counts.first() != Some(&0), "{policy}: {counts:?}");
            let lines = input.split_inclusive(|byte| *byte == b'\n').count() as u64;
            assert_eq!(counts.last().copied().unwrap_or(0), lines, "{policy}");
        }
    }
}

#[test]
fn a_huge_line_takes_little_memory() {
    let default = if cfg!(debug_assertions) { 16_000_000 } else { 100_000_000 };
    let bytes = setting("DURAMEN_LONG_LINE_BYTES", default) as usize;
    let folder = Folder::new();
    let path = folder.join("journal");
    let line: Vec<u8> = (0..bytes).map(|index| (index % 251) as u8).map(|byte| byte.max(11)).collect();

    let mut child = command(&[
        OsStr::new("journal"),
        "append".as_ref(),
        path.as_os_str(),
        "--segment-bytes".as_ref(),
        "4M".as_ref(),
    ])
    .spawn()
    .expect("the binary starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(&line).expect("the writer reads");
    let peak = peak_memory_bytes(&child);
    assert!(peak < 64 << 20, "append held {peak} bytes for a line of {bytes}");
    drop(input);
    assert!(wait(&mut child).success());

    let mut child =
        command(&[OsStr::new("journal"), "cat".as_ref(), path.as_os_str()]).spawn().expect("the binary starts");
    let mut output = child.stdout.take().expect("a pipe");
    let mut found = vec![0; bytes - (1 << 20)];
    output.read_exact(&mut found).expect("cat prints the line");
    let peak = peak_memory_bytes(&child);
    assert!(peak < 64 << 20, "cat held {peak} bytes for a line of {bytes}");
    output.read_to_end(&mut found).expect("cat prints the line");
    assert!(wait(&mut child).success());
    assert_same(&found, &line);
}

#[test]
fn cat_starts_where_it_is_told() {
    let folder = Folder::new();
    let path = folder.join("journal");
    append(&path, &[], b"one\ntwo\nthree\n");
    let from = |sequence: &str| journal(&["cat".as_ref(), path.as_os_str(), "--from".as_ref(), sequence.as_ref()], b"");
    assert_eq!(from("2").stdout, b"two\nthree\n");
    assert_eq!(from("4").stdout, b"");
    assert_code(&from("4"), 0);
    assert_eq!(from("99").stdout, b"");
}
