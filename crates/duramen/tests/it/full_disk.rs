//! Inputs on a disk that is full: what waits, what ends, and what each of them says.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Instant;

use crate::collector::{Collector, query, texts, wait_for};
use crate::harness::{Folder, PATIENCE, Random, assert_code, command, run_command, send, stderr};
use crate::mounted::SmallDisk;

/// Room for the journal's segments, and what is kept free beside them.
const DISK_BYTES: u64 = 160 << 20;

fn count(output: &std::process::Output) -> u64 {
    let said = stderr(output);
    let words = said.lines().find_map(|line| line.strip_prefix("stored ")).unwrap_or_else(|| panic!("{said}"));
    words.split(' ').next().and_then(|count| count.replace(',', "").parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

/// `ingest` waited for ever without a word, and when it was stopped it claimed lines as durable that were not stored.
#[test]
fn ingest_says_that_the_disk_is_full_and_what_is_stored() {
    let Some(disk) = SmallDisk::new(DISK_BYTES) else { return };
    let folder = Folder::new();
    let file = folder.join("a.log");
    let mut random = Random::new(1);
    let mut noise = || (0..44).map(|_| format!("{:016x}", random.below(u64::MAX))).collect::<String>();
    let lines: Vec<String> = (0..120_000).map(|number| format!("{number} {}", noise())).collect();
    disk.fill(96 << 20);
    fs::write(&file, lines.join("\n")).expect("a file");
    let data = disk.place.join("data");
    let output = run_command(command(&["ingest", "--data"]).arg(&data).arg(&file), b"");
    assert_code(&output, 5);
    let said = stderr(&output);
    assert!(said.contains("no space left") && said.contains("waiting for") && said.contains("not stored"), "{said}");
    disk.free();
    let stored = texts(&data, "{file=~\".+\"}");
    assert_eq!(stored.len() as u64, count(&output), "{said}");
    assert!(!stored.is_empty() && stored[..] == lines[..stored.len()], "the first lines, each once");
    // Stopped while it waits.
    disk.fill(40 << 20);
    let mut child =
        command(&["ingest", "--data"]).arg(&data).arg(&file).stdin(Stdio::null()).spawn().expect("it starts");
    let said = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
    let mut heard = Vec::new();
    let begin = Instant::now();
    for line in std::io::BufRead::lines(said).map_while(Result::ok) {
        if line.contains("waiting for") {
            send(&child, rustix::process::Signal::INT);
        }
        heard.push(line);
        assert!(begin.elapsed() < PATIENCE);
    }
    let status = crate::harness::wait(&mut child);
    assert_eq!(crate::harness::code(status), 130, "{heard:?}");
    let told = heard.iter().find_map(|line| line.strip_prefix("stored ")).unwrap_or_else(|| panic!("{heard:?}"));
    let told: u64 = told.split(' ').next().and_then(|count| count.replace(',', "").parse().ok()).expect("a number");
    disk.free();
    let all = query(&data, "{file=~\".+\"}", "cat").stdout.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(all as u64, stored.len() as u64 + told, "{heard:?}");
}

/// What is kept free is 32 MiB.
const NOTHING: u64 = 8 << 20;

/// A file that is read, and messages that are sent, while the disk is full: the file waits with its position, senders wait or are told,
/// and all of it is there when there is space again. What a stop finds unstored is told.
#[test]
fn inputs_wait_while_the_disk_is_full_and_lose_nothing() {
    let Some(disk) = SmallDisk::new(DISK_BYTES) else { return };
    let folder = Folder::new();
    let (data, log, socket) = (disk.place.join("data"), folder.join("a.log"), folder.join("socket"));
    let write = |text: &str| {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&log).expect("a file");
        file.write_all(text.as_bytes()).expect("written");
    };
    let mut random = Random::new(2);
    let mut noise = |numbers: std::ops::Range<u32>| -> String {
        let line = |number| format!("{number} {:0200x}{:016x}\n", number, random.below(u64::MAX));
        numbers.map(line).collect()
    };
    write(&noise(0..1_000));
    let words = [log.display().to_string(), "--syslog-unix".into(), socket.display().to_string()];
    let daemon = Collector::start(&data, &words);
    daemon.wait_rows(r#"{file=~".+"}"#, 1_000);
    // While lines come, so that some of them are on their way when there is no space left.
    write(&noise(1_000..60_000));
    disk.fill(NOTHING);
    wait_for("a full disk", || (daemon.health().0 == 507).then_some(()));
    assert!(daemon.health().1.contains("the disk is full"), "{:?}", daemon.health());
    write(&noise(60_000..70_000));
    let sender = UnixDatagram::unbound().expect("a socket");
    let send = |number: u32| _ = sender.send_to(format!("<14>a: message {number}").as_bytes(), &socket).expect("read");
    (0..5).for_each(send);
    for input in ["file", "syslog unix"] {
        wait_for("an input that waits", || (daemon.figure(input, "waits") > 0).then_some(()));
    }
    let (code, said) = daemon.post("/ingest?via=http", "refused\n");
    assert!(code == 507 && said.contains("no space left"), "{code} {said}");
    disk.free();
    wait_for("space", || (daemon.health().0 == 200).then_some(()));
    (5..10).for_each(send);
    daemon.wait_rows(r#"{app="a"}"#, 10);
    let check = |lines: u32| {
        let wanted = fs::read_to_string(&log).expect("it is ours");
        let told = wait_for("all lines", || {
            let told = query(&data, r#"{file=~".+"}"#, "cat");
            (told.stdout.iter().filter(|byte| **byte == b'\n').count() >= lines as usize).then_some(told.stdout)
        });
        crate::harness::assert_same(&told, wanted.as_bytes());
    };
    check(70_000);
    let messages: Vec<String> = (0..10).map(|number| format!("message {number}")).collect();
    assert_eq!(texts(&data, r#"{app="a"}"#), messages);
    // A stop on a full disk: what the socket had is lost and told of, what the file has is not.
    disk.fill(NOTHING);
    wait_for("a full disk", || (daemon.health().0 == 507).then_some(()));
    write("70000 late\n");
    (10..13).for_each(send);
    wait_for("messages that wait", || (daemon.figure("syslog unix", "waits") > 1).then_some(()));
    let said = daemon.stop();
    assert!(said.contains("3 rows that had been read are lost") && said.contains("no space left"), "{said}");
    disk.free();
    let daemon = Collector::start(&data, &words);
    check(70_001);
    let gaps = daemon.rows(r#"{duramen="events"} event=gap cause="not taken before the stop""#);
    assert_eq!((gaps.len(), &gaps[0]["fields"]["rows"]), (1, &"3".into()), "{gaps:?}");
    daemon.stop();
}
