//! More streams than there is room for, by each input: nothing ends, nothing is lost, and what would have been labels are fields.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;

use crate::collector::{Collector, rows, wait_for};
use crate::harness::{Folder, assert_code, command, run_command, stderr};

/// Rows, each of a program of its own.
const PROGRAMS: usize = 60;
/// Room for so many streams.
const ROOM: &str = "10";

fn start(data: &Path, words: &[&str], change: impl FnOnce(&mut std::process::Command)) -> Collector {
    let mut command = Collector::command(data, words);
    command.env("DURAMEN__STORE__STREAMS_MAX", ROOM).env("DURAMEN__STORE__COMMIT", "always");
    change(&mut command);
    Collector::of(data, &mut command)
}

fn line(program: usize) -> String {
    format!("Nov 29 12:00:00 host program{program}: message {program}\n")
}

/// Each row is there once, with its program as a label or, in the plain stream, as a field.
#[track_caller]
fn check(data: &Path, input: &str, all: &str) {
    let found = rows(data, all);
    assert_eq!(found.len(), PROGRAMS, "{input}");
    let mut fields = 0;
    for program in 0..PROGRAMS {
        let name = format!("program{program}");
        let end = format!("message {program}");
        let row = found.iter().find(|row| row["line"].as_str().is_some_and(|line| line.ends_with(&end)));
        let row = row.unwrap_or_else(|| panic!("{input}: {end} is missing"));
        match row["labels"]["app"].as_str() {
            Some(app) => assert_eq!(app, name, "{row}"),
            None => {
                fields += 1;
                assert_eq!((&row["fields"]["app"], &row["fields"]["host"]), (&name.into(), &"host".into()), "{row}");
            }
        }
    }
    assert!(fields >= PROGRAMS - 10, "{input}: {fields}");
}

/// 50,200 datagrams of as many programs ended the daemon, and at once again when it was started anew, as the table of streams was
/// full then before the plain stream was asked for.
#[test]
fn syslog_goes_on_also_after_a_restart() {
    let folder = Folder::fast();
    let (data, path) = (folder.join("data"), folder.join("log"));
    let unix = path.display().to_string();
    let send = |programs: std::ops::Range<usize>| {
        let socket = UnixDatagram::unbound().expect("a socket");
        for program in programs {
            socket.send_to(format!("<13>{}", line(program).trim_end()).as_bytes(), &path).expect("it reads");
        }
    };
    let daemon = start(&data, &["--syslog-unix", &unix], |_| {});
    send(0..PROGRAMS / 2);
    daemon.wait_rows(r#"{input="syslog"}"#, PROGRAMS / 2);
    assert!(daemon.figure("syslog unix", "crowded") >= 20);
    wait_for("all durable", || (daemon.status()["durable"] == daemon.status()["appended"]).then_some(()));
    daemon.kill();
    // Not even its own streams have a place now: those of the first run are known from the journal.
    let daemon = start(&data, &["--syslog-unix", &unix], |_| {});
    send(PROGRAMS / 2..PROGRAMS);
    daemon.wait_rows(r#"{input="syslog"}"#, PROGRAMS);
    daemon.stop();
    check(&data, "syslog", r#"{input="syslog"}"#);
}

#[test]
fn files_and_their_programs_go_on() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let lines: Vec<String> = (0..PROGRAMS).map(line).collect();
    fs::write(folder.join("all.log"), lines.concat()).expect("a file");
    let all = folder.join("all.log").display().to_string();
    let daemon = start(&data, &[&all], |_| {});
    daemon.wait_rows("message", PROGRAMS);
    daemon.stop();
    check(&data, "file", "message");
    // Files of which each needs a stream.
    let data = folder.join("other");
    for number in 0..PROGRAMS {
        fs::write(folder.join(&format!("{number}.txt")), format!("text {number}\n")).expect("a file");
    }
    let daemon = start(&data, &[&folder.join("*.txt").display().to_string()], |_| {});
    daemon.wait_rows("text", PROGRAMS);
    daemon.stop();
    let found = rows(&data, "text");
    assert_eq!(found.len(), PROGRAMS);
    let plain: Vec<_> = found.iter().filter(|row| row["labels"]["input"] == "file").collect();
    assert!(plain.len() >= PROGRAMS - 10, "{}", plain.len());
    for row in plain {
        let number = row["line"].as_str().and_then(|line| line.strip_prefix("text ")).expect("a line");
        assert_eq!(row["fields"]["file"], folder.join(&format!("{number}.txt")).display().to_string(), "{row}");
    }
}

#[test]
fn standard_input_goes_on() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let mut daemon = start(&data, &[], |command| _ = command.stdin(Stdio::piped()));
    let mut input = daemon.child.stdin.take().expect("a pipe");
    (0..PROGRAMS).for_each(|program| input.write_all(line(program).as_bytes()).expect("it reads"));
    daemon.wait_rows("message", PROGRAMS);
    daemon.stop();
    check(&data, "stdin", "message");
}

#[test]
fn ingest_goes_on_and_says_so() {
    let folder = Folder::fast();
    let (data, file) = (folder.join("data"), folder.join("p.log"));
    let count = 60_000;
    fs::write(&file, (0..count).map(line).collect::<String>()).expect("a file");
    let output = run_command(command(&["ingest", "--data"]).arg(&data).arg(&file), b"");
    assert_code(&output, 0);
    let said = stderr(&output);
    assert!(
        said.contains("stored 60,000 lines") && said.contains("named more streams than there is room for"),
        "{said}"
    );
    let output = run_command(command(&["query", "--count", "--data"]).arg(&data).arg("message"), b"");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(told.split_whitespace().last().map(|count| count.replace(',', "")), Some(count.to_string()), "{told}");
    let last = rows(&data, r#"{input="ingest"} app=program59999"#);
    assert_eq!((last.len(), &last[0]["fields"]["file"]), (1, &file.display().to_string().into()));
}
