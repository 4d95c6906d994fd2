//! `exec`: a command's output stored and passed through, its signals and its end passed on, beside a daemon, without one, and with a store
//! that cannot be had.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::collector::{Collector, rows, texts, wait_for};
use crate::harness::{Folder, assert_code, code, command, run_command, send, stderr, wait};

fn exec(data: &Path, words: &[&str], script: &str) -> Command {
    let mut all = vec![OsStr::new("exec"), "--data".as_ref(), data.as_os_str()];
    all.extend(words.iter().map(OsStr::new));
    all.extend(["--", "sh", "-c", script].map(OsStr::new));
    command(&all)
}

fn run(data: &Path, words: &[&str], script: &str) -> Output {
    run_command(&mut exec(data, words, script), b"")
}

#[test]
fn both_streams_are_stored_and_passed_through() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let output = run(&data, &["--label", "job=backup"], "echo one; echo two >&2; printf 'no end'; exit 3");
    assert_code(&output, 3);
    assert_eq!(output.stdout, b"one\nno end");
    assert_eq!(stderr(&output), "two\n");
    assert_eq!(texts(&data, r#"{app="sh", job="backup", stream="stdout"}"#), ["one", "no end"]);
    assert_eq!(texts(&data, r#"{app="sh", job="backup", stream="stderr"}"#), ["two"]);
    let last = &rows(&data, r#"{stream="exit"}"#)[0];
    assert_eq!((&last["fields"]["exit"], &last["level"]), (&"3".into(), &"err".into()), "{last}");
    // Input is the command's, quiet is quiet, and a signal that kills it shows.
    let output = run_command(&mut exec(&data, &["--quiet"], "cat; kill -9 $$"), b"from outside\n");
    assert_code(&output, 128 + 9);
    assert!(output.stdout.is_empty());
    assert!(texts(&data, r#"{stream="stdout"}"#).contains(&"from outside".to_string()));
    assert!(rows(&data, r#"{stream="exit"}"#).iter().any(|row| row["fields"]["signal"] == "9"));
}

#[test]
fn much_output_and_odd_bytes_come_whole() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let output = run(&data, &[], r"seq 1 200000; printf '\377\000x\n' >&2; head -c 3000000 /dev/zero | tr '\0' y");
    assert_code(&output, 0);
    let mut expected: Vec<u8> = (1..=200_000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    expected.extend(vec![b'y'; 3_000_000]);
    crate::harness::assert_same(&output.stdout, &expected);
    let told = texts(&data, r#"{stream="stdout"}"#);
    assert_eq!((told.len(), told[199_999].as_str()), (200_003, "200000"));
    assert_eq!(told[200_000..].concat().len(), 3_000_000);
    assert_eq!(rows(&data, r#"{stream="stderr"}"#)[0]["hex"], "ff0078");
}

#[test]
fn signals_reach_the_command() {
    let folder = Folder::fast();
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1")] {
        let data = folder.join(name);
        let script = format!("trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.02; done");
        let mut child = exec(&data, &[], &script).spawn().expect("it starts");
        let mut output = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).expect("it says so");
        send(&child, signal);
        assert_eq!(code(wait(&mut child)), 7, "{name}");
        assert_eq!(texts(&data, r#"{stream="stdout"}"#), ["ready".to_string(), format!("got {name}")]);
    }
}

#[test]
fn a_command_that_cannot_run_ends_as_in_a_shell() {
    let folder = Folder::fast();
    let data = folder.join("data");
    for (program, expected) in [("/no/such/program", 127), ("/", 126)] {
        let words: [&OsStr; 5] =
            ["exec".as_ref(), "--data".as_ref(), data.as_os_str(), "--".as_ref(), program.as_ref()];
        assert_code(&run_command(&mut command(&words), b""), expected);
    }
}

#[test]
fn nobody_waits_for_what_the_command_left_behind() {
    let folder = Folder::fast();
    let begin = std::time::Instant::now();
    assert_code(&run(&folder.join("data"), &[], "sleep 60 & echo done"), 0);
    assert!(begin.elapsed() < std::time::Duration::from_secs(30));
    assert_eq!(texts(&folder.join("data"), r#"{stream="stdout"}"#), ["done"]);
}

#[test]
fn a_closed_output_is_closed_to_the_command_too() {
    let folder = Folder::fast();
    let mut child = exec(&folder.join("data"), &[], "while :; do echo y; done").spawn().expect("it starts");
    drop(child.stdout.take());
    assert_ne!(code(wait(&mut child)), 0, "it ends, as it does without us");
}

#[test]
fn a_store_that_cannot_be_had_disturbs_nothing() {
    let folder = Folder::fast();
    let data = folder.join("file");
    fs::write(&data, b"no folder").expect("a file");
    let output = run(&data, &[], "seq 1 1000; exit 4");
    assert_code(&output, 4);
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1_000);
    assert!(stderr(&output).contains("could not be stored"), "{}", stderr(&output));
}

/// The daemon is killed while a command prints, and started again at another port: each line is there once.
#[test]
fn a_daemon_takes_each_line_once_over_kills() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let mut collector = Collector::start(&data, &["--syslog-udp", "127.0.0.1:0"]);
    let script = "for i in $(seq 1 150); do echo line $i; sleep 0.02; done";
    let mut child = exec(&data, &["--quiet"], script).spawn().expect("it starts");
    for count in [1, 60] {
        collector.wait_rows(r#"{app="sh"}"#, count);
        collector.kill();
        collector = Collector::start(&data, &["--syslog-udp", "127.0.0.1:0"]);
    }
    assert_eq!(code(wait(&mut child)), 0);
    let expected: Vec<String> = (1..=150).map(|number| format!("line {number}")).collect();
    assert_eq!(texts(&data, r#"{stream="stdout"}"#), expected, "durable before the command's end was told");
    assert_eq!(rows(&data, r#"{stream="exit"}"#).len(), 1);
    collector.stop();
}

/// Two commands without a daemon take turns at the data.
#[test]
fn two_commands_share_a_folder() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let mut first = exec(&data, &["--label", "n=1"], "echo one; sleep 1").spawn().expect("it starts");
    wait_for("the first one's hold", || data.join("IDENTITY").exists().then_some(()));
    assert_code(&run(&data, &["--label", "n=2"], "echo two"), 0);
    assert_eq!(code(wait(&mut first)), 0);
    assert_eq!(
        (texts(&data, r#"{n="1", stream="stdout"}"#).len(), texts(&data, r#"{n="2", stream="stdout"}"#).len()),
        (1, 1)
    );
}
