//! Inputs on a disk that is full: what waits, what ends, and what each of them says.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use crate::collector::{query, texts};
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
