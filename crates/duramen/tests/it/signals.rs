//! Ctrl-C, SIGTERM, broken pipes, and readers beside a living writer.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::{
    Folder, PATIENCE, Writer, acknowledged, append, assert_code, cat, code, command, journal, send, stderr, wait,
};

#[test]
fn a_signal_stops_append_with_everything_read_durable() {
    for (signal, expected) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let folder = Folder::new();
        let path = folder.join("journal");
        let mut writer = Writer::start(&path, &[]);
        writer.write(b"one\ntwo\n");
        writer.wait_durable(2);
        writer.signal(signal);
        let (status, _, said) = writer.finish();
        assert_eq!(code(status), expected, "{said}");
        assert!(said.contains("2 lines of this run are durable"), "{said}");
        let output = cat(&path);
        assert_code(&output, 0);
        assert_eq!(output.stdout, b"one\ntwo\n");
    }
}

#[test]
fn a_line_that_was_half_read_at_the_signal_is_kept() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let mut writer = Writer::start(&path, &["--segment-bytes", "64K"]);
    // The half line is longer than a record, so its first part must have been read when its record is there.
    let half = vec![b'h'; 100_000];
    writer.write(b"whole\n");
    writer.write(&half);
    writer.wait_durable(1);
    writer.signal(Signal::INT);
    let (status, rest, _) = writer.finish();
    assert_eq!(code(status), 130);
    let output = cat(&path);
    assert_code(&output, 0);
    let stored = output.stdout.strip_prefix(b"whole\n").expect("the whole line");
    assert!(half.starts_with(stored), "something else was stored");
    // Whether the signal came before the half line was read is not ours to say; both ends agree on it.
    assert_eq!(acknowledged(&rest).max(1), 1 + u64::from(!stored.is_empty()));
}

#[test]
fn cat_and_verify_are_content_beside_a_living_writer() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let mut writer = Writer::start(&path, &["--idle-mark", "20ms"]);
    writer.write(b"one\n");
    writer.wait_durable(1);
    // A reader beside the writer knows that the line is durable when a later structure says so: here the idle mark.
    let begin = Instant::now();
    loop {
        let output = cat(&path);
        assert_code(&output, 0);
        assert_eq!(stderr(&output), "");
        if output.stdout == b"one\n" {
            break;
        }
        assert_eq!(output.stdout, b"");
        assert!(begin.elapsed() < PATIENCE, "the idle mark does not come");
    }
    assert_code(&journal(&["verify".as_ref(), path.as_os_str()], b""), 0);
    let stat = journal(&["stat".as_ref(), path.as_os_str()], b"");
    assert!(String::from_utf8_lossy(&stat.stdout).contains("live"), "{stat:?}");
    writer.input.take();
    let (status, rest, said) = writer.finish();
    assert_eq!(code(status), 0, "{said}");
    assert_eq!(rest, b"", "nothing new became durable");
}

#[test]
fn a_second_writer_is_refused_at_once() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let mut writer = Writer::start(&path, &[]);
    writer.write(b"one\n");
    writer.wait_durable(1);
    let output = journal(&["append".as_ref(), path.as_os_str()], b"two\n");
    assert_code(&output, 1);
    assert!(stderr(&output).contains("open for writing elsewhere"), "{}", stderr(&output));
    writer.signal(Signal::KILL);
    assert_eq!(code(writer.finish().0), 137);
    // The lock died with its holder.
    append(&path, &[], b"two\n");
    assert_eq!(cat(&path).stdout, b"one\ntwo\n");
}

#[test]
fn follow_prints_what_becomes_durable_until_a_signal() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let mut writer = Writer::start(&path, &["--segment-bytes", "64K", "--idle-mark", "20ms"]);
    writer.write(b"one\ntwo\n");
    writer.wait_durable(2);
    let words = [OsStr::new("journal"), "follow".as_ref(), path.as_os_str(), "--from".as_ref(), "2".as_ref()];
    let mut child = command(&words).spawn().expect("the binary starts");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut next = || {
        let mut line = Vec::new();
        output.read_until(b'\n', &mut line).expect("follow prints");
        line
    };
    assert_eq!(next(), b"two\n");
    writer.write(b"three\n");
    assert_eq!(next(), b"three\n");
    let long = [vec![b'l'; 50_000], b"\n".to_vec()].concat();
    writer.write(&long);
    assert_eq!(next(), long);
    // Beyond a rotation or two.
    for number in 0..2000 {
        writer.write(format!("line {number} with some more words so that segments fill up\n").as_bytes());
    }
    for number in 0..2000 {
        assert_eq!(next(), format!("line {number} with some more words so that segments fill up\n").into_bytes());
    }
    send(&child, Signal::INT);
    assert_eq!(code(wait(&mut child)), 0);
}

#[test]
fn follow_ends_when_its_reader_does() {
    let folder = Folder::new();
    let path = folder.join("journal");
    append(&path, &[], b"one\n");
    let mut child = command(&[OsStr::new("journal"), "follow".as_ref(), path.as_os_str()]).spawn().expect("it starts");
    let mut output = child.stdout.take().expect("a pipe");
    output.read_exact(&mut [0; 4]).expect("follow prints");
    drop(output);
    assert_eq!(code(wait(&mut child)), 141);
}

#[test]
fn cat_into_a_broken_pipe_stops_without_a_word() {
    let folder = Folder::new();
    let path = folder.join("journal");
    append(&path, &[], &b"a line of some length, many times\n".repeat(50_000));
    let mut child = command(&[OsStr::new("journal"), "cat".as_ref(), path.as_os_str()]).spawn().expect("it starts");
    let mut output = child.stdout.take().expect("a pipe");
    output.read_exact(&mut [0; 100]).expect("cat prints");
    drop(output);
    assert_eq!(code(wait(&mut child)), 141);
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("standard error can be read");
    assert_eq!(said, "");
}

#[test]
fn append_whose_acknowledgements_nobody_reads_keeps_what_it_read() {
    let folder = Folder::new();
    let path = folder.join("journal");
    let words = [OsStr::new("journal"), "append".as_ref(), path.as_os_str(), "--ack".as_ref()];
    let mut child = command(&words).stderr(Stdio::null()).spawn().expect("the binary starts");
    let mut input = child.stdin.take().expect("a pipe");
    drop(child.stdout.take());
    input.write_all(b"one\n").expect("the writer reads");
    assert_eq!(code(wait(&mut child)), 141);
    let output = cat(&path);
    assert_code(&output, 0);
    assert_eq!(output.stdout, b"one\n");
}
