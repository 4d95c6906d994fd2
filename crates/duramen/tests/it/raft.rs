//! The commands on Raft logs: whole ones, damaged ones, one with a living writer beside it, and folders that are none.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use duramen::journal::Options;
use duramen::raft::{Config, Entry, Plain, RaftLog, RaftLogs, TermIndex, TermVote};

use crate::harness::{Folder, append, assert_code, command, command_of, journal, run_command, stderr};

fn raft(verb: &str, path: &Path, words: &[&str]) -> Output {
    let mut all = vec![OsStr::new("raft"), OsStr::new(verb), path.as_os_str()];
    all.extend(words.iter().map(OsStr::new));
    run_command(&mut command(&all), b"")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn open(path: &Path) -> RaftLogs<Plain> {
    let journal = Options { stock: false, spares_max: 0, ..Options::default() };
    let config = Config { chunk_max_size: 64 << 10, journal, ..Config::new(path) };
    RaftLogs::open(config).expect("opens").0
}

fn fill(log: &RaftLog<Plain>, term: u64, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        let text = format!("entry {term}-{index} {}", "x".repeat(900));
        let receipt = log.writer().append(vec![Entry::new(TermIndex::new(term, index), text.into())]);
        receipt.expect("appends").wait_durable().expect("durable");
    }
}

/// Two groups over several segments.
fn written(path: &Path) -> RaftLogs<Plain> {
    let logs = open(path);
    let log = logs.group(1).expect("a group");
    log.writer().save_vote(&TermVote { term: 3, node: Some(2) }).expect("votes");
    fill(&log, 3, 1..=200);
    log.writer().commit(&TermIndex::new(3, 150)).expect("commits").wait_durable().expect("durable");
    log.writer().purge(&TermIndex::new(3, 10)).expect("purges").wait_durable().expect("durable");
    fill(&logs.group(7).expect("a group"), 1, 40..=42);
    logs
}

fn whole(path: &Path) {
    written(path).close().expect("closes");
}

/// Flips a bit of this entry, wherever it lies.
fn damage(path: &Path, text: &str) {
    for file in fs::read_dir(path.join("journal")).expect("a journal").map(|file| file.expect("an entry").path()) {
        let bytes = fs::read(&file).expect("reads");
        let place = bytes.windows(text.len()).rposition(|window| window == text.as_bytes());
        if let Some(place) = place.filter(|_| file.extension().is_some_and(|ending| ending == "seg")) {
            let opened = OpenOptions::new().write(true).open(&file).expect("opens");
            return opened.write_all_at(&[bytes[place] ^ 0x40], place as u64).expect("writes");
        }
    }
    panic!("{text} is nowhere");
}

#[test]
fn state_tells_of_all_groups_or_of_one() {
    let folder = Folder::new();
    let path = folder.join("logs");
    whole(&path);
    let output = raft("state", &path, &[]);
    assert_code(&output, 0);
    let said = stdout(&output);
    let line = |start: &str| said.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_string();
    assert!(line("groups").ends_with('2'), "{said}");
    assert!(line("1 ").contains("term 3, for node 2") && line("1 ").contains("200 of term 3"), "{said}");
    assert!(line("7 ").contains("42 of term 1"), "{said}");

    let said = stdout(&raft("state", &path, &["--group", "1"]));
    for part in ["vote      term 3, for node 2", "entries   190, from 11 on", "committed 150 of term 3"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let json = stdout(&raft("state", &path, &["--group", "7", "--json"]));
    assert!(json.contains("\"group\":7,\"vote\":null,\"vote_in_doubt\":false"), "{json}");
    assert!(!json.contains("\"group\":1"), "{json}");

    let output = raft("state", &path, &["--group", "9"]);
    assert_code(&output, 1);
    assert!(stderr(&output).contains("it has 2 groups, from 1 to 7"), "{}", stderr(&output));
    assert_code(&raft("state", &path, &["--group", "0"]), 2);
}

#[test]
fn dump_shows_records_and_takes_ranges() {
    let folder = Folder::new();
    let path = folder.join("logs");
    whole(&path);
    let output = raft("dump", &path, &[]);
    assert_code(&output, 0);
    assert_eq!(stdout(&output).lines().count(), 206);
    let said = stdout(&raft("dump", &path, &["--group", "7"]));
    assert!(said.lines().count() == 3 && said.contains("40 of term 1"), "{said}");
    let said = stdout(&raft("dump", &path, &["--first-index", "150", "--last-index", "150", "--json"]));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "the entry and the commit: {said}");
    assert!(lines[0].contains("\"kind\":\"append\",\"index\":150,\"term\":3"), "{said}");
    assert!(lines.iter().all(|line| line.starts_with('{') && line.ends_with('}')), "{said}");
    assert_eq!(stdout(&raft("dump", &path, &["--from", "2", "--to", "4"])).lines().count(), 3);
    let output = raft("dump", &path, &["--from", "4", "--to", "2"]);
    assert_code(&output, 1);
    assert!(stderr(&output).contains("lies behind"), "{}", stderr(&output));
}

#[test]
fn verify_checks_bytes_and_rules() {
    let folder = Folder::new();
    let path = folder.join("logs");
    whole(&path);
    let output = raft("verify", &path, &[]);
    assert_code(&output, 0);
    let said = stdout(&output);
    assert!(said.contains("206 records replayed") && said.contains("2 groups, 193 live entries"), "{said}");
    assert!(stdout(&raft("verify", &path, &["--json"])).contains("\"findings\":[]"));

    // What a program wrote into the folder that knows nothing of the rules.
    let options = Options { kind: *b"raft\0\0\0\0", stock: false, spares_max: 0, ..Options::default() };
    let (opened, _) =
        duramen::journal::Journal::open_with(&path, &options, duramen::journal::World::real()).expect("opens");
    let mut vote = 1u64.to_le_bytes().to_vec();
    vote.extend(9u64.to_le_bytes());
    opened.append(1, 1, &vote).expect("appends").wait().expect("durable");
    opened.close().expect("closes");
    drop(opened);
    let output = raft("verify", &path, &[]);
    assert_code(&output, 4);
    assert!(stderr(&output).contains("would take back term 3, for node 2"), "{}", stderr(&output));
    assert_code(&raft("verify", &path, &["--types", "opaque"]), 0);
}

#[test]
fn a_killed_writer_leaves_an_end_without_a_mark() {
    let folder = Folder::new();
    let path = folder.join("logs");
    let copy = folder.join("copy");
    let logs = written(&path);
    // Beside a living writer: what is witnessed is there, nothing is damaged.
    for verb in ["state", "dump", "verify"] {
        assert_code(&raft(verb, &path, &[]), 0);
    }
    // The files as a kill would leave them.
    let words = ["-r".as_ref(), path.as_os_str(), copy.as_os_str()];
    let copied = run_command(&mut command_of(Path::new("cp"), &words), b"");
    assert_code(&copied, 0);
    logs.close().expect("closes");
    let output = raft("verify", &copy, &[]);
    assert_code(&output, 3);
    assert!(stderr(&output).contains("without a mark"), "{}", stderr(&output));
    assert_code(&raft("state", &copy, &[]), 0);
    assert_eq!(stdout(&raft("dump", &copy, &[])).lines().count(), 206);
}

#[test]
fn damage_is_named_by_index_and_term_and_salvaged() {
    let folder = Folder::new();
    let path = folder.join("logs");
    let new = folder.join("new");
    whole(&path);
    damage(&path, "entry 3-77 ");
    let output = raft("verify", &path, &[]);
    assert_code(&output, 4);
    assert!(stderr(&output).contains("lost: group 1: entry 77, of term 3"), "{}", stderr(&output));
    assert_code(&raft("dump", &path, &[]), 4);

    let salvage =
        || run_command(&mut command(&["raft".as_ref(), "salvage".as_ref(), path.as_os_str(), new.as_os_str()]), b"");
    let output = salvage();
    assert_code(&output, 0);
    let said = stdout(&output);
    for part in ["205 records of 2 groups", "group 1: entry 77, of term 3", "vote      group 1: in doubt"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let output = salvage();
    assert_code(&output, 1);
    assert!(stderr(&output).contains("name a new folder"), "{}", stderr(&output));

    let output = raft("state", &new, &["--group", "1"]);
    assert_code(&output, 4);
    assert!(
        stdout(&output).contains("in doubt") && stdout(&output).contains("lost      entry 77"),
        "{}",
        stdout(&output)
    );
    // It opens, refuses to vote, and serves what is there.
    let logs = open(&new);
    let log = logs.group(1).expect("a group");
    assert!(log.vote_in_doubt() && log.writer().save_vote(&TermVote { term: 9, node: None }).is_err());
    assert!(log.reader().entry(77).is_err() && log.reader().entry(78).is_ok());
    // The damaged folder was only read.
    assert_code(&raft("verify", &path, &[]), 4);
}

#[test]
fn what_holds_no_raft_logs_is_refused_and_left_alone() {
    let folder = Folder::new();
    let missing = folder.join("missing");
    let file = folder.join("file");
    let other = folder.join("journal");
    fs::write(&file, b"precious").expect("writes");
    append(&other, &[], b"line\n");
    let empty = folder.join("empty");
    fs::create_dir(&empty).expect("makes a folder");
    let cases: [(&PathBuf, &str); 4] = [
        (&missing, "no journal at"),
        (&file, "a journal is a folder"),
        (&other, "it holds a journal, not Raft logs"),
        (&empty, "no journal at"),
    ];
    for (path, reason) in cases {
        for verb in ["state", "dump", "verify"] {
            let output = raft(verb, path, &[]);
            assert_code(&output, 1);
            assert!(stderr(&output).contains(reason), "{verb}: {}", stderr(&output));
            assert_eq!(stderr(&output).trim_end().lines().count(), 1, "{}", stderr(&output));
        }
        let output = raft("salvage", path, &[folder.join("new").to_str().expect("a plain path")]);
        assert_code(&output, 1);
        assert!(!folder.join("new").exists() && !missing.exists(), "{}", stderr(&output));
    }
    assert_eq!(fs::read(&file).expect("reads"), b"precious");
    assert_code(&journal(&["cat".as_ref(), other.as_os_str()], b""), 0);
}

#[test]
fn a_log_without_entries_is_empty_and_whole() {
    let folder = Folder::new();
    let path = folder.join("logs");
    open(&path).close().expect("closes");
    let output = raft("state", &path, &[]);
    assert_code(&output, 0);
    assert!(stdout(&output).contains("groups    0"), "{}", stdout(&output));
    assert_code(&raft("verify", &path, &[]), 0);
    let output = raft("dump", &path, &[]);
    assert_code(&output, 0);
    assert!(output.stdout.is_empty());
    assert_code(&raft("salvage", &path, &[folder.join("new").to_str().expect("a plain path")]), 0);
}

#[test]
fn snapshots_are_shown_verified_and_salvaged() {
    let folder = Folder::new();
    let path = folder.join("logs");
    let logs = written(&path);
    let log = logs.group(1).expect("a group");
    for index in [100, 120] {
        let snapshots = log.snapshots().expect("has a folder");
        let mut writer = snapshots.begin(&TermIndex::new(3, index), b"members").expect("begins");
        writer.write(&vec![index as u8; 3 << 20]).expect("writes");
        writer.finish().expect("publishes");
    }
    logs.close().expect("closes");
    drop((log, logs));
    let said = stdout(&raft("state", &path, &["--group", "1"]));
    assert!(said.contains("snapshot  up to 120 of term 3, 3145728 bytes in 3 chunks"), "{said}");
    let said = stdout(&raft("state", &path, &[]));
    assert!(said.lines().any(|line| line.starts_with("1 ") && line.contains("120 of term 3")), "{said}");
    let output = raft("verify", &path, &[]);
    assert_code(&output, 0);
    assert!(stdout(&output).contains("snapshots 2, 6.0 MiB"), "{}", stdout(&output));

    let newest =
        fs::read_dir(path.join("snapshots/00000001")).expect("is there").map(|file| file.expect("reads").path());
    let newest = newest.max().expect("is there");
    let opened = OpenOptions::new().write(true).open(&newest).expect("opens");
    opened.write_all_at(&[1], 2 << 20).expect("writes");
    assert_code(&raft("state", &path, &[]), 0);
    let output = raft("verify", &path, &[]);
    assert_code(&output, 4);
    assert!(stderr(&output).contains("chunk 1 at"), "{}", stderr(&output));
    let new = folder.join("new");
    let output = raft("salvage", &path, &[new.to_str().expect("text")]);
    assert_code(&output, 0);
    let said = stdout(&output);
    assert!(said.contains("lost      snapshot of group 1: up to 120"), "{said}");
    assert!(said.contains("copied    snapshot of group 1: up to 100"), "{said}");
    let logs = open(&new);
    let log = logs.group(1).expect("a group");
    let snapshot = log.snapshots().expect("has a folder").load().expect("reads").expect("is there");
    assert_eq!((snapshot.meta().last.index, log.reader().first_index()), (100, Some(101)));
}

#[test]
fn tier_moves_segments_away_and_back() {
    let folder = Folder::new();
    let (path, cold) = (folder.join("logs"), folder.join("cold"));
    whole(&path);
    let before = stdout(&raft("dump", &path, &[]));
    let to = cold.to_str().expect("text").to_string();
    let output = raft("tier", &path, &["--to", &to]);
    assert_code(&output, 1);
    assert!(stderr(&output).contains("is no directory"), "{}", stderr(&output));
    fs::create_dir(&cold).expect("makes");
    let output = raft("tier", &path, &["--to", &to, "--keep", "0"]);
    assert_code(&output, 0);
    assert!(stdout(&output).starts_with("moved     "), "{}", stdout(&output));
    let stubs = fs::read_dir(path.join("journal"))
        .expect("a journal")
        .filter(|file| file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|ending| ending == "cold")));
    assert!(stubs.count() >= 2);
    // Everything reads through.
    assert_eq!(stdout(&raft("dump", &path, &[])), before);
    assert_code(&raft("verify", &path, &[]), 0);
    let logs = open(&path);
    assert_eq!(logs.group(1).expect("a group").reader().stream(11..201).expect("a range").count(), 190);
    assert_code(&raft("tier", &path, &["--back"]), 1);
    drop(logs);
    // The folder is lost: what was moved becomes a log again.
    let new = folder.join("new");
    let output = raft("salvage", &cold, &[new.to_str().expect("text")]);
    assert_code(&output, 0);
    assert!(stdout(&output).contains("nobody knows how many"), "{}", stdout(&output));
    assert!(stdout(&output).contains("in doubt"), "{}", stdout(&output));
    assert!(open(&new).group(1).expect("a group").reader().entry(11).is_ok());
    // The place is away.
    fs::rename(&cold, folder.join("elsewhere")).expect("renames");
    assert_code(&raft("state", &path, &[]), 0);
    let output = raft("dump", &path, &[]);
    assert_code(&output, 6);
    let said = stdout(&output);
    assert!(said.contains("UNREADABLE") && said.contains("cannot be read from") && !said.contains("LOST"), "{said}");
    fs::rename(folder.join("elsewhere"), &cold).expect("renames");
    let output = raft("tier", &path, &["--back", "--json"]);
    assert_code(&output, 0);
    assert!(stdout(&output).starts_with("{\"back\":"), "{}", stdout(&output));
    assert_eq!(stdout(&raft("dump", &path, &[])), before);
    assert_code(&raft("tier", &path, &["--back", "--to", &to]), 2);
    assert_code(&raft("tier", &path, &[]), 2);
}
