//! The tools over a store's data folder as their users meet them: verify, dump, salvage, backup beside a daemon, restore.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Output};

use rustix::process::Signal;

use crate::harness::{Folder, assert_code, code, command, run_command, send, stderr, wait};

/// A command on the store in a folder.
fn on(data: &Path, words: &[&OsStr]) -> Output {
    let mut all = words.to_vec();
    all.extend([OsStr::new("-d"), data.as_os_str()]);
    run_command(&mut command(&all), b"")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ingest(data: &Path, lines: &str) {
    let words = [OsStr::new("ingest"), "-".as_ref(), "-d".as_ref(), data.as_os_str(), "-q".as_ref()];
    assert_code(&run_command(&mut command(&words), lines.as_bytes()), 0);
}

/// The texts of all rows but the store's own, sorted.
fn rows(data: &Path) -> Vec<String> {
    let words = ["query", r#"{duramen=""}"#, "-o", "cat", "--no-pager"].map(OsStr::new);
    let output = on(data, &words);
    assert_code(&output, 0);
    let mut lines: Vec<String> = stdout(&output).lines().map(str::to_string).collect();
    lines.sort();
    lines
}

fn lines(range: std::ops::Range<usize>) -> Vec<String> {
    let mut lines: Vec<String> = range.map(|number| format!("line {number} of what is kept")).collect();
    lines.sort();
    lines
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the file can be opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("the file is longer");
    file.write_all_at(&[byte[0] ^ 0x40], offset).expect("the file can be written");
}

fn tables(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("tables")).expect("a folder of tables");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found
}

/// A daemon on a folder; killed when dropped.
struct Daemon {
    child: Child,
    address: String,
}

impl Daemon {
    fn start(data: &Path) -> Daemon {
        let words = ["run", "--ready", "--listen", "127.0.0.1:0", "-d"].map(OsStr::new);
        let mut all = words.to_vec();
        all.push(data.as_os_str());
        let mut child = command(&all).spawn().expect("the binary starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("it says that it runs");
        let address = line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("{line}")).to_string();
        Daemon { child, address }
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("the daemon listens");
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
        .expect("it takes the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    /// Stores lines; they are durable on return.
    fn store(&self, lines: &[String]) {
        let answer = self.post("/ingest?app=test", "Content-Type: text/plain\r\n", &text(lines));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn end(mut self) {
        send(&self.child, Signal::TERM);
        assert_eq!(code(wait(&mut self.child)), 0);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_store_is_verified_and_shown() {
    let folder = Folder::new();
    let data = folder.join("data");
    ingest(&data, &text(&lines(0..100)));
    let output = on(&data, &["verify".as_ref()]);
    assert_code(&output, 0);
    assert!(stdout(&output).contains("journal only"), "{}", stdout(&output));
    let output = on(&data, &["verify".as_ref(), "--json".as_ref()]);
    assert_code(&output, 0);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((told["end"].as_str(), told["journal_rows"].as_u64()), (Some("closed"), Some(100)));
    let output = on(&data, &["dump", "--rows", "--json"].map(OsStr::new));
    assert_code(&output, 0);
    let items: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let shown = items.iter().filter(|item| item["item"] == "row" && item["text"] == "line 7 of what is kept").count();
    assert_eq!(shown, 1);
    assert!(items.iter().any(|item| item["item"] == "position") && items.iter().any(|item| item["item"] == "stream"));
    assert!(stdout(&on(&data, &["dump".as_ref()])).contains("manifest: "));
    assert_code(&on(&data, &["dump", "--table", "77"].map(OsStr::new)), 1);
    // What is no store is told as such.
    for command in ["verify", "dump"] {
        assert_code(&on(&folder.join("nowhere"), &[command.as_ref()]), 1);
    }
}

#[test]
fn a_killed_daemon_leaves_a_store_without_a_mark() {
    let folder = Folder::new();
    let data = folder.join("data");
    let daemon = Daemon::start(&data);
    daemon.store(&lines(0..10));
    let output = on(&data, &["verify".as_ref()]);
    assert_code(&output, 0);
    drop(daemon);
    let output = on(&data, &["verify".as_ref()]);
    assert_code(&output, 3);
    assert!(stderr(&output).contains("without a mark"), "{}", stderr(&output));
}

#[test]
fn a_backup_is_made_by_the_living_daemon_and_put_back() {
    let folder = Folder::new();
    let (data, backup, restored) = (folder.join("data"), folder.join("backup"), folder.join("restored"));
    let daemon = Daemon::start(&data);
    daemon.store(&lines(0..200));
    let output = on(&data, &["backup".as_ref(), backup.as_os_str()]);
    assert_code(&output, 0);
    assert!(stdout(&output).contains("200") && stdout(&output).contains("verified"), "{}", stdout(&output));
    daemon.store(&lines(200..300));
    // Not over something, and not for whoever only reaches the address.
    let output = on(&data, &["backup".as_ref(), backup.as_os_str()]);
    assert_code(&output, 1);
    assert!(stderr(&output).contains("exists"), "{}", stderr(&output));
    let answer = daemon.post(&format!("/backup?to={}", folder.join("other").display()), "", "");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = daemon.post(&format!("/backup?to={}", folder.join("other").display()), "x-duramen-token: \r\n", "");
    assert!(answer.starts_with("HTTP/1.1 403") && !folder.join("other").exists(), "{answer}");
    daemon.end();
    assert_eq!(rows(&data).len(), 300);
    assert_code(&on(&backup, &["verify".as_ref()]), 0);
    let output = on(&restored, &["restore".as_ref(), backup.as_os_str()]);
    assert_code(&output, 0);
    assert!(stdout(&output).contains("restored"), "{}", stdout(&output));
    assert_code(&on(&restored, &["restore".as_ref(), backup.as_os_str()]), 1);
    assert_eq!(rows(&restored), lines(0..200));
    let words = ["query", r#"{duramen="events"}"#, "-o", "cat", "--no-pager"].map(OsStr::new);
    let events = stdout(&on(&restored, &words));
    assert!(events.contains("restored from") && !events.contains("without closing"), "{events}");
    // The daemon goes on in the restored folder.
    let daemon = Daemon::start(&restored);
    daemon.store(&lines(200..210));
    daemon.end();
    assert_eq!(rows(&restored), lines(0..210));
    assert_code(&on(&restored, &["verify".as_ref()]), 0);
}

#[test]
fn a_backup_without_a_daemon_and_its_leftovers() {
    let folder = Folder::new();
    let (data, backup) = (folder.join("data"), folder.join("backup"));
    assert_code(&on(&data, &["backup".as_ref(), backup.as_os_str()]), 1);
    assert!(!data.exists(), "nothing is made where there is no store");
    ingest(&data, &text(&lines(0..50)));
    // An interrupted one is cleared away, a stranger's folder is not.
    let partial = folder.join("backup.partial");
    fs::create_dir_all(partial.join("journal")).unwrap();
    fs::write(partial.join("mine"), "x").unwrap();
    assert_code(&on(&data, &["backup".as_ref(), backup.as_os_str()]), 1);
    assert!(partial.join("mine").exists());
    fs::remove_file(partial.join("mine")).unwrap();
    let output = on(&data, &["backup".as_ref(), backup.as_os_str(), "--json".as_ref()]);
    assert_code(&output, 0);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(told["table_rows"].as_u64().unwrap() + told["journal_rows"].as_u64().unwrap(), 50);
    assert!(!partial.exists());
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o700);
    // An empty folder may be filled.
    let empty = folder.join("empty");
    fs::create_dir(&empty).unwrap();
    assert_code(&on(&data, &["backup".as_ref(), empty.as_os_str()]), 0);
    assert_code(&on(&empty, &["verify".as_ref()]), 0);
    assert_eq!(rows(&empty), lines(0..50));
}

#[test]
fn damage_is_found_told_and_left_behind() {
    let folder = Folder::new();
    let (data, backup, new) = (folder.join("data"), folder.join("backup"), folder.join("new"));
    let daemon = Daemon::start(&data);
    daemon.store(&lines(0..300));
    // Power that is low makes tables of all rows; signals that come too fast are one.
    let began = std::time::Instant::now();
    while !tables(&data).iter().any(|path| path.extension().is_some_and(|ending| ending == "table")) {
        assert!(began.elapsed() < crate::harness::PATIENCE, "no table was made");
        send(&daemon.child, Signal::USR1);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    daemon.end();
    assert_code(&on(&data, &["backup".as_ref(), backup.as_os_str()]), 0);
    let table = tables(&data).remove(0);
    flip(&table, 70);
    let output = on(&data, &["verify".as_ref()]);
    assert_code(&output, 4);
    let said = stderr(&output);
    let name = table.file_name().unwrap().to_string_lossy().into_owned();
    assert!(said.contains(&name) && said.contains("checksum") && said.contains("lost: "), "{said}");
    let output = on(&data, &["salvage".as_ref(), new.as_os_str()]);
    assert_code(&output, 0);
    assert!(stdout(&output).contains("found"), "the journal still had the rows: {}", stdout(&output));
    assert_eq!(rows(&new), lines(0..300));
    assert_code(&on(&new, &["verify".as_ref()]), 0);
    assert_code(&on(&data, &["salvage".as_ref(), new.as_os_str()]), 1);
    // A damaged store is not backed up, a damaged backup not put back.
    let second = folder.join("second");
    assert_code(&on(&data, &["backup".as_ref(), second.as_os_str()]), 4);
    assert!(!second.exists() && !folder.join("second.partial").exists());
    flip(&tables(&backup)[0], 70);
    let restored = folder.join("restored");
    assert_code(&on(&restored, &["restore".as_ref(), backup.as_os_str()]), 4);
    assert!(!restored.exists());
    // A table that cannot even be opened is not passed over: the answer is marked, and what it lacks is known from then on.
    flip(&table, fs::metadata(&table).expect("a table").len() - 6);
    let output = on(&data, &["query", "-o", "cat", "--no-pager", "--explain"].map(OsStr::new));
    assert_code(&output, 4);
    let said = stderr(&output);
    assert!(said.contains("may be missing here") && said.contains("\ndamaged: "), "{said}");
    let output = on(&data, &["status".as_ref()]);
    assert_code(&output, 0);
    assert!(stdout(&output).contains("rows can be read"), "{}", stdout(&output));
}
