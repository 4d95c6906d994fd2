//! Files that are followed: rotated, truncated, copied, removed, of odd bytes; and the loop of kills, in which each complete line must be
//! stored exactly once.
//!
//! `DURAMEN_FILE_KILLS` sets the number of kills, `DURAMEN_SEED` replays a run.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::collector::{Collector, query, texts, wait_for};
use crate::harness::{Folder, Random, assert_code, is_root, setting};

const ALL: &str = "{file=~\".+\"}";

fn append(path: &Path, text: &[u8]) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("the log can be opened");
    file.write_all(text).expect("the log can be written");
}

fn pattern(folder: &Folder, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// The lines that are stored, each with how often.
fn stored(data: &Path) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for text in texts(data, ALL) {
        *counts.entry(text).or_default() += 1;
    }
    counts
}

/// Waits until so many rows are there, and a while longer for those that should not come.
#[track_caller]
fn settled(collector: &Collector, rows: usize) -> Vec<String> {
    collector.wait_rows(ALL, rows);
    std::thread::sleep(Duration::from_millis(1_500));
    let told = texts(&collector.data, ALL);
    assert_eq!(told.len(), rows, "{}", collector.said());
    told
}

/// Writes numbered lines into a log and rotates it.
struct Log {
    folder: PathBuf,
    file: File,
    next: u64,
    kept: usize,
}

impl Log {
    fn new(folder: &Path, kept: usize) -> Log {
        let file = Log::open(folder);
        Log { folder: folder.to_path_buf(), file, next: 0, kept }
    }

    fn open(folder: &Path) -> File {
        OpenOptions::new().append(true).create(true).open(folder.join("a.log")).expect("the log can be opened")
    }

    fn name(&self, number: usize) -> PathBuf {
        match number {
            0 => self.folder.join("a.log"),
            _ => self.folder.join(format!("a.log.{number}")),
        }
    }

    fn write(&mut self, lines: u64) {
        let mut text = Vec::new();
        for _ in 0..lines {
            let filler = "x".repeat((self.next * 7919 % 120) as usize);
            text.extend(format!("{} {filler}\n", self.next).into_bytes());
            self.next += 1;
        }
        // In two pieces, so that the end of the file is often within a line.
        let half = text.len() / 2;
        self.file.write_all(&text[..half]).expect("the log can be written");
        self.file.write_all(&text[half..]).expect("the log can be written");
    }

    /// Makes room for `a.log.1`; the oldest file goes.
    fn shift(&self) {
        let _ = fs::remove_file(self.name(self.kept));
        for number in (1..self.kept).rev() {
            let _ = fs::rename(self.name(number), self.name(number + 1));
        }
    }

    fn rename(&mut self) {
        self.shift();
        fs::rename(self.name(0), self.name(1)).expect("the log can be renamed");
        self.file = Log::open(&self.folder);
    }

    /// Copies in pieces, as a slow disk would, and truncates: without a word between them, as this program is the only writer.
    fn copytruncate(&mut self, pause: Duration) {
        self.shift();
        let mut source = File::open(self.name(0)).expect("the log can be read");
        let mut copy = File::create(self.name(1)).expect("the copy can be made");
        let mut piece = vec![0; 16 << 10];
        loop {
            let count = source.read(&mut piece).expect("the log can be read");
            if count == 0 {
                break;
            }
            copy.write_all(&piece[..count]).expect("the copy can be written");
            std::thread::sleep(pause);
        }
        self.file.set_len(0).expect("the log can be truncated");
    }

    /// The complete lines of the files that are still there.
    fn surviving(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for number in 0..=self.kept {
            let text = fs::read_to_string(self.name(number)).unwrap_or_default();
            let end = text.rfind('\n').map_or(0, |end| end + 1);
            lines.extend(text[..end].lines().map(str::to_string));
        }
        lines
    }

    /// Checks that each surviving line is stored once, and no line more often.
    #[track_caller]
    fn check(&self, data: &Path, what: &str) {
        let counts = stored(data);
        let surviving = self.surviving();
        let missing: Vec<&String> = surviving.iter().filter(|line| !counts.contains_key(*line)).take(3).collect();
        assert!(missing.is_empty(), "{what}: missing, of {} surviving lines: {missing:?}", surviving.len());
        let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).map(|(line, _)| line).collect();
        assert!(
            twice.is_empty(),
            "{what}: {} lines of {} are there twice: {:?}",
            twice.len(),
            counts.len(),
            &twice[..3.min(twice.len())]
        );
    }
}

#[test]
fn rotation_loses_and_doubles_nothing_under_load() {
    for copytruncate in [false, true] {
        let folder = Folder::fast();
        let logs = folder.join("logs");
        fs::create_dir(&logs).expect("a folder");
        let mut log = Log::new(&logs, 100);
        let collector = Collector::start(&folder.join("data"), &[pattern(&folder, "logs/a.log*")]);
        for round in 0..60u64 {
            log.write(1 + round * 37 % 400);
            std::thread::sleep(Duration::from_millis(20));
            if round % 6 == 5 {
                if copytruncate { log.copytruncate(Duration::from_millis(round % 12)) } else { log.rename() }
            }
        }
        settled(&collector, log.next as usize);
        collector.stop();
        log.check(&folder.join("data"), if copytruncate { "copytruncate" } else { "rename" });
    }
}

/// Rotated files that no pattern matches any more are read to their ends.
#[test]
fn a_renamed_file_is_read_to_its_end() {
    let folder = Folder::fast();
    let path = folder.join("a.log");
    append(&path, b"one\n");
    let collector = Collector::start(&folder.join("data"), &[pattern(&folder, "a.log")]);
    collector.wait_rows(ALL, 1);
    let mut old = OpenOptions::new().append(true).open(&path).expect("it is ours");
    fs::rename(&path, folder.join("gone")).expect("it is ours");
    append(&path, b"three\n");
    old.write_all(b"two\n").expect("it is ours");
    let mut told = settled(&collector, 3);
    told.sort();
    assert_eq!(told, ["one", "three", "two"]);
    // And one that is removed, too.
    fs::remove_file(&path).expect("it is ours");
    old.write_all(b"four\n").expect("it is ours");
    collector.wait_rows(ALL, 4);
    collector.stop();
}

/// File systems give the inode of a removed file to the next one.
#[test]
fn a_reused_inode_is_another_file() {
    let folder = Folder::new();
    let logs = folder.join("logs");
    fs::create_dir(&logs).expect("a folder");
    let data = folder.join("data");
    let path = logs.join("a.log");
    let banner = "-- this program begins each of its logs with these same words, as many programs do --\n";
    append(&path, format!("{banner}old 1\nold 2\nold 3\n").as_bytes());
    let inode = fs::metadata(&path).expect("it is ours").ino();
    let collector = Collector::start(&data, &[pattern(&folder, "logs/*")]);
    collector.wait_rows(ALL, 4);
    collector.stop();
    fs::remove_file(&path).expect("it is ours");
    let mut reused = false;
    for number in 0..50 {
        let other = logs.join(format!("b{number}.log"));
        append(
            &other,
            format!(
                "new {number}, and longer than what stood here before, so that its end is no help at all\n{number}: 2\n"
            )
            .as_bytes(),
        );
        reused |= fs::metadata(&other).expect("it is ours").ino() == inode;
    }
    println!("the inode was given anew: {reused}");
    let collector = Collector::start(&data, &[pattern(&folder, "logs/*")]);
    let told = settled(&collector, 4 + 100);
    assert!((0..50).all(|number| told.contains(&format!("{number}: 2"))));
    // The same words as the old file had, and fewer lines: it did not lose its end, it is new.
    let other = logs.join("b0.log");
    let inode = fs::metadata(&other).expect("it is ours").ino();
    let text = fs::read(&other).expect("it is ours");
    fs::remove_file(&other).expect("it is ours");
    // After ten seconds without its name, it is let go.
    std::thread::sleep(Duration::from_secs(13));
    let path = logs.join("c.log");
    append(&path, &text[..text.len() - 5]);
    println!("the inode was given anew: {}", fs::metadata(&path).expect("it is ours").ino() == inode);
    settled(&collector, 4 + 100 + 1);
    collector.stop();
}

#[test]
fn a_copy_is_not_read_twice_and_its_own_lines_once() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let (a, b, c) = (folder.join("a.log"), folder.join("b.log"), folder.join("c.log"));
    let lines: Vec<u8> = (0..500).flat_map(|number| format!("line {number} of the original\n").into_bytes()).collect();
    append(&a, &lines);
    let collector = Collector::start(&data, &[pattern(&folder, "*.log")]);
    collector.wait_rows(ALL, 500);
    fs::copy(&a, &b).expect("it can be copied");
    settled(&collector, 500);
    // Both grow, and differ from here on.
    append(&a, b"only a\n");
    append(&b, b"only b\n");
    settled(&collector, 502);
    // A copy while nobody looks; and one of what has not been read yet.
    collector.stop();
    append(&a, b"unread\n");
    fs::copy(&a, &c).expect("it can be copied");
    let collector = Collector::start(&data, &[pattern(&folder, "*.log")]);
    settled(&collector, 503);
    append(&c, b"only c\n");
    let told = settled(&collector, 504);
    assert!(["only a", "only b", "unread", "only c"].iter().all(|line| told.iter().any(|told| told == line)));
    collector.stop();
    // Copies over a copy, which keep its inode: its second lines were stored from both files. Whichever inode is looked at first.
    for (name, copy) in [("d.log", "d.log.1"), ("f.log", "e.log")] {
        let folder = Folder::fast();
        let data = folder.join("data");
        let (log, copy) = (folder.join(name), folder.join(copy));
        if name == "f.log" {
            append(&copy, b"");
        }
        append(&log, b"");
        let collector = Collector::start(&data, &[pattern(&folder, "*.log*")]);
        for round in 1..=3 {
            let lines = (0..100).map(|number| format!("{round}: line {number} of the log\n"));
            append(&log, lines.collect::<String>().as_bytes());
            if round > 1 {
                collector.wait_rows(ALL, round * 100);
            }
            fs::copy(&log, &copy).expect("it can be copied");
            fs::write(&log, "").expect("it is ours");
            settled(&collector, round * 100);
        }
        collector.stop();
    }
}

/// What has little in common with another file is no copy of it: better twice than never.
#[test]
fn a_short_beginning_makes_no_copy() {
    let folder = Folder::fast();
    append(&folder.join("a.log"), b"start\n");
    let collector = Collector::start(&folder.join("data"), &[pattern(&folder, "*.log")]);
    collector.wait_rows(ALL, 1);
    append(&folder.join("b.log"), b"start\n");
    append(&folder.join("c.log"), b"start\nmore\n");
    assert_eq!(settled(&collector, 4).iter().filter(|line| *line == "start").count(), 3);
    collector.stop();
}

/// A power cut takes the end of a file that was read already: what is there is not read again, what comes is.
#[test]
fn a_source_that_lost_its_end_goes_on_there() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let path = folder.join("a.log");
    let lines: Vec<u8> = (0..100).flat_map(|number| format!("line {number} of the log\n").into_bytes()).collect();
    append(&path, &lines);
    let collector = Collector::start(&data, &[pattern(&folder, "a.log")]);
    collector.wait_rows(ALL, 100);
    // After a clean end all of them are durable, and so is the position.
    collector.stop();
    let file = OpenOptions::new().write(true).open(&path).expect("it is ours");
    file.set_len(lines.len() as u64 / 2).expect("it is ours");
    let collector = Collector::start(&data, &[pattern(&folder, "a.log")]);
    std::thread::sleep(Duration::from_millis(500));
    append(&path, b"\nafter the power cut\n");
    let told = settled(&collector, 102);
    assert_eq!(told.last().map(String::as_str), Some("after the power cut"));
    // While it runs, a file becomes shorter because it is written anew.
    fs::write(&path, b"line 0 of the log\nanew\n").expect("it is ours");
    let told = settled(&collector, 104);
    assert_eq!(told.last().map(String::as_str), Some("anew"));
    collector.stop();
}

#[test]
fn odd_bytes_and_a_very_long_line_are_kept() {
    let folder = Folder::new();
    let path = folder.join("a.log");
    append(&path, b"\xff\xfe not UTF-8\n\0\0NUL\0\nend of line\r\n\n");
    let collector = Collector::start(&folder.join("data"), &[pattern(&folder, "a.log")]);
    collector.wait_rows(ALL, 4);
    let long = vec![b'z'; 10 << 20];
    for _ in 0..10 {
        append(&path, &long);
    }
    append(&path, b"\nafter\n");
    let output = wait_for("the line behind it", || {
        let output = query(&collector.data, "after", "cat");
        output.stdout.ends_with(b"after\n").then(|| query(&collector.data, ALL, "cat"))
    });
    assert_code(&output, 0);
    let begin = b"\xff\xfe not UTF-8\n\0\0NUL\0\nend of line\n\n";
    assert!(output.stdout.starts_with(begin), "bytes come as they were");
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'z').count(), 100 << 20);
    assert_eq!(collector.figure("file", "rows"), 4 + 100 + 1);
    assert_eq!(collector.figure("file", "odd"), 99);
    let peak = crate::harness::peak_memory_bytes(&collector.child);
    assert!(peak < 400 << 20, "{peak} bytes of memory");
    collector.stop();
}

#[test]
fn a_folder_without_permission_stops_nobody() {
    let folder = Folder::fast();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let (open, closed) = (folder.join("open"), folder.join("closed"));
    for path in [&open, &closed] {
        fs::create_dir(path).expect("a folder");
        append(&path.join("a.log"), format!("in {}\n", path.file_name().expect("a name").display()).as_bytes());
    }
    append(&open.join("secret.log"), b"secret\n");
    let hide = |mode| {
        fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).expect("it is ours");
        fs::set_permissions(open.join("secret.log"), fs::Permissions::from_mode(mode & 0o600)).expect("it is ours");
    };
    hide(0);
    let data = folder.join("data");
    let program = folder.join("duramen");
    let mut command = Collector::command(&data, &[pattern(&folder, "*/*.log")]);
    if is_root() {
        // Whom no permission stops becomes somebody else, who needs a program that he may run.
        fs::copy(crate::harness::binary(), &program).expect("the binary can be copied");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = crate::harness::command_of(&program, &words);
        command.uid(65_534).gid(65_534).stdin(std::process::Stdio::null());
    }
    let collector = Collector::of(&data, &mut command);
    collector.wait_rows("open", 1);
    wait_for("the count of what could not be opened", || (collector.figure("file", "waits") > 1).then_some(()));
    assert_eq!(texts(&data, ALL), ["in open"]);
    if !is_root() {
        hide(0o700);
        collector.wait_rows(ALL, 3);
    }
    collector.stop();
}

/// The loop of kills. A writer appends numbered lines and rotates in both ways, without a pause; the daemon is killed at random moments.
#[test]
fn each_surviving_line_is_stored_once_after_any_kill() {
    let kills = setting("DURAMEN_FILE_KILLS", 25);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
    let seed = setting("DURAMEN_SEED", now);
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut left = kills;
    while left > 0 {
        let round = left.min(15);
        left -= round;
        let folder = Folder::fast();
        let logs = folder.join("logs");
        fs::create_dir(&logs).expect("a folder");
        let data = folder.join("data");
        let stop = AtomicBool::new(false);
        let writer_seed = random.below(u64::MAX);
        let log = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut random = Random::new(writer_seed);
                let mut log = Log::new(&logs, 5);
                while !stop.load(Ordering::Acquire) {
                    log.write(1 + random.below(60));
                    std::thread::sleep(Duration::from_millis(1 + random.below(30)));
                    match random.below(40) {
                        0 => log.rename(),
                        1 => log.copytruncate(Duration::from_millis(random.below(40))),
                        _ => {}
                    }
                }
                log
            });
            for _ in 0..round {
                let collector = Collector::start(&data, &[pattern(&folder, "logs/a.log*")]);
                std::thread::sleep(Duration::from_millis(random.below(1_600)));
                collector.kill();
            }
            stop.store(true, Ordering::Release);
            writer.join().expect("the writer ends")
        });
        let collector = Collector::start(&data, &[pattern(&folder, "logs/a.log*")]);
        let surviving = log.surviving();
        let complete = wait_for_lines(&data, &surviving);
        std::thread::sleep(Duration::from_millis(1_500));
        collector.stop();
        log.check(&data, &format!("seed {seed}"));
        assert!(complete, "seed {seed}: lines are missing");
        println!("{round} kills, {} lines written, {} surviving", log.next, surviving.len());
    }
}

fn wait_for_lines(data: &Path, lines: &[String]) -> bool {
    for _ in 0..100 {
        let counts = stored(data);
        if lines.iter().all(|line| counts.contains_key(line)) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}
