//! Logs as this machine has them, of its packages, its kernel and a build, through a kill -9: compared with what is stored line by line.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::collector::{Collector, query, wait_for};
use crate::harness::{Folder, assert_code};

/// Bytes of one log at most.
const BYTES_MAX: usize = 4 << 20;

/// The logs that are there, with a name for each.
fn logs() -> Vec<(&'static str, Vec<u8>)> {
    let kernel = || {
        let dmesg = Command::new("dmesg").output().ok().filter(|output| output.status.success())?;
        (!dmesg.stdout.is_empty()).then_some(dmesg.stdout)
    };
    let read = |path: &str| fs::read(path).ok().filter(|bytes| !bytes.is_empty());
    let mut found = Vec::new();
    let all = [
        ("dpkg.log", read("/var/log/dpkg.log")),
        ("kern.log", read("/var/log/kern.log").or_else(kernel)),
        ("build.log", build_output()),
    ];
    for (name, bytes) in all {
        match bytes {
            Some(mut bytes) => {
                bytes.truncate(BYTES_MAX);
                found.push((name, bytes));
            }
            None => println!("skipped: there is no {name} on this machine"),
        }
    }
    found
}

/// What the build scripts of this very build have said.
fn build_output() -> Option<Vec<u8>> {
    let scripts = crate::harness::binary().parent()?.join("build");
    let outputs = fs::read_dir(scripts).ok()?.flatten().map(|entry| entry.path());
    let mut bytes = Vec::new();
    for path in outputs.flat_map(|folder| [folder.join("output"), folder.join("stderr")]) {
        bytes.extend(fs::read(path).unwrap_or_default());
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// Lines, each with how often it is there.
fn counted(bytes: &[u8]) -> BTreeMap<&[u8], usize> {
    let mut counts = BTreeMap::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n")) {
        *counts.entry(line.strip_suffix(b"\r").unwrap_or(line)).or_default() += 1;
    }
    counts
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("the log can be opened");
    file.write_all(bytes).expect("the log can be written");
}

#[test]
fn logs_of_this_machine_are_stored_line_by_line_over_a_kill() {
    let logs = logs();
    let folder = Folder::fast();
    let (data, sources) = (folder.join("data"), folder.join("logs"));
    fs::create_dir(&sources).expect("a folder");
    let pattern = sources.join("*.log").display().to_string();
    // Their first parts end within a line.
    logs.iter().for_each(|(name, bytes)| append(&sources.join(name), &bytes[..bytes.len() / 2]));
    let daemon = Collector::start(&data, &[&pattern]);
    let wanted = u64::from(!logs.is_empty());
    wait_for("the first rows", || (daemon.figure("file", "rows") >= wanted).then_some(()));
    daemon.kill();
    let daemon = Collector::start(&data, &[&pattern]);
    for (name, bytes) in &logs {
        let rest = &bytes[bytes.len() / 2..];
        rest.chunks(rest.len() / 7 + 1).for_each(|part| append(&sources.join(name), part));
        append(&sources.join(name), if bytes.ends_with(b"\n") { b"" } else { b"\n" });
    }
    for (name, _) in &logs {
        let path = sources.join(name);
        let written = fs::read(&path).expect("it is ours");
        let wanted = counted(&written);
        let question = format!("{{file=\"{}\"}}", path.display());
        let lines: usize = wanted.values().sum();
        let told = wait_for("all lines", || {
            let output = query(&data, &question, "cat");
            assert_code(&output, 0);
            (counted(&output.stdout).values().sum::<usize>() >= lines).then_some(output.stdout)
        });
        let told = counted(&told);
        let differing = wanted.iter().find(|(line, count)| told.get(**line) != Some(*count));
        let differing = differing.map(|(line, count)| (String::from_utf8_lossy(line).into_owned(), count));
        assert!(told == wanted, "{name}: {lines} lines; the first that differs: {differing:?}");
        println!("{name}: {lines} lines, each as it was written");
    }
    daemon.stop();
}
