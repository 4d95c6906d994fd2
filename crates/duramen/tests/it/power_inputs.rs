//! Each input while the power goes: what it must not lose, and what it says of that which it cannot keep.

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::collector::{Collector, rows, texts, wait_for};
use crate::harness::{Folder, send};

fn start(data: &Path, words: &[&str], change: impl FnOnce(&mut Command)) -> Collector {
    let mut command = Collector::command(data, words);
    command.env("DURAMEN__POWER__SETTLE", "200ms").env("DURAMEN__POWER__KERNEL", "false");
    change(&mut command);
    Collector::of(data, &mut command)
}

/// Sends signals until the power is as wanted.
#[track_caller]
fn set_power(daemon: &Collector, signal: Signal, wanted: &str) {
    send(&daemon.child, signal);
    wait_for(wanted, || (daemon.status()["power"] == wanted).then_some(()));
}

/// Rows that gaps tell of, by the source that they name.
fn told_lost(data: &Path, source: &str) -> u64 {
    let gaps = rows(data, r#"{duramen="events"} event=gap"#);
    let own = gaps.iter().filter(|gap| gap["fields"]["source"].as_str().is_some_and(|name| name.starts_with(source)));
    own.filter_map(|gap| gap["fields"]["rows"].as_str()?.parse::<u64>().ok()).sum()
}

/// Messages that were read while nothing was taken, and whose senders have them no more, were dropped at the stop without a word: code 0,
/// nothing on standard error, `lost` 0, no gap.
#[test]
fn what_a_stop_at_going_loses_is_told() {
    let folder = Folder::fast();
    let (data, path) = (folder.join("data"), folder.join("log"));
    let unix = path.display().to_string();
    let words = ["--syslog-udp", "127.0.0.1:0", "--syslog-tcp", "127.0.0.1:0", "--syslog-unix", &unix];
    let daemon = start(&data, &words, |_| {});
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let to = format!("127.0.0.1:{}", daemon.port("udp"));
    udp.send_to(b"<14>a: before", &to).expect("it is sent");
    daemon.wait_rows(r#"{input="syslog"}"#, 1);
    set_power(&daemon, Signal::POWER, "going");
    for number in 0..3 {
        udp.send_to(format!("<14>a: udp {number}").as_bytes(), &to).expect("it is sent");
    }
    let mut tcp = TcpStream::connect(format!("127.0.0.1:{}", daemon.port("tcp"))).expect("it listens");
    tcp.write_all(b"<14>a: tcp 0\n<14>a: tcp 1\n<14>a: no end").expect("it is sent");
    let socket = UnixDatagram::unbound().expect("a socket");
    (0..5).for_each(|number| _ = socket.send_to(format!("<14>a: unix {number}").as_bytes(), &path).expect("it reads"));
    let inputs = [("udp", 3), ("tcp", 3), ("unix", 5)];
    for (kind, _) in inputs {
        wait_for("an input that waits", || (daemon.figure(&format!("syslog {kind}"), "waits") > 0).then_some(()));
    }
    let said = daemon.stop();
    assert_eq!(texts(&data, r#"{input="syslog"}"#), ["before"]);
    for (kind, lost) in inputs {
        assert_eq!(told_lost(&data, &format!("syslog {kind}")), lost, "{kind}: {said}");
        let line =
            said.lines().filter(|line| line.starts_with(&format!("duramen: syslog {kind}")) && line.contains("lost"));
        assert_eq!(line.filter(|line| line.contains(&format!(" {lost} rows"))).count(), 1, "{kind}: {said}");
    }
}

#[test]
fn what_a_stop_at_going_loses_of_standard_input_is_told() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let mut daemon = start(&data, &[], |command| _ = command.stdin(Stdio::piped()));
    let mut input = daemon.child.stdin.take().expect("a pipe");
    let mut write = |text: &str| input.write_all(text.as_bytes()).expect("it reads");
    write("before\n");
    daemon.wait_rows("before", 1);
    set_power(&daemon, Signal::POWER, "going");
    write("one\n");
    wait_for("an input that waits", || (daemon.figure("stdin", "waits") > 0).then_some(()));
    write("two\nthree\nno end");
    let said = daemon.stop();
    assert_eq!((texts(&data, r#"{input="stdin"}"#), told_lost(&data, "standard input")), (vec!["before".into()], 4));
    assert!(said.contains("duramen: standard input: 4 rows that had been read are lost"), "{said}");
    // Where the store takes it, a stop keeps what has no end yet.
    let mut daemon = start(&data, &[], |command| _ = command.stdin(Stdio::piped()));
    daemon.child.stdin.as_mut().expect("a pipe").write_all(b"whole\nhalf").expect("it reads");
    daemon.wait_rows("whole", 1);
    std::thread::sleep(Duration::from_millis(100));
    daemon.stop();
    assert_eq!(texts(&data, r#"{input="stdin"}"#), ["before", "whole", "half"]);
}

/// What the inputs of a daemon are given, number by number.
struct Sources {
    log: std::path::PathBuf,
    udp: UdpSocket,
    to: String,
    unix: std::path::PathBuf,
    tcp: TcpStream,
}

impl Sources {
    /// A row for each: `word` by each of them.
    fn send(&mut self, word: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.log).expect("a file");
        writeln!(file, "{word} of file").expect("written");
        self.udp.send_to(format!("<14>a: {word} of udp").as_bytes(), &self.to).expect("it is sent");
        let unix = UnixDatagram::unbound().expect("a socket");
        unix.send_to(format!("<14>a: {word} of unix").as_bytes(), &self.unix).expect("it reads");
        writeln!(self.tcp, "<14>a: {word} of tcp").expect("it is sent");
    }
}

const INPUTS: [&str; 4] = ["file", "syslog udp", "syslog unix", "syslog tcp"];

fn words(data: &Path, word: &str) -> Vec<String> {
    let mut found = texts(data, &format!("{word} of"));
    found.retain(|text| text.starts_with(word));
    found.sort();
    found
}

fn all(word: &str) -> Vec<String> {
    ["file", "tcp", "udp", "unix"].iter().map(|input| format!("{word} of {input}")).collect()
}

/// At low each row is synced by itself, and all are taken; at going none is taken, nothing is lost while the daemon runs, HTTP says so in
/// words, and with mains all that waited comes, once.
#[test]
fn each_input_at_low_and_at_going() {
    let folder = Folder::fast();
    let (data, log, unix) = (folder.join("data"), folder.join("a.log"), folder.join("log"));
    let path = unix.display().to_string();
    let log_name = log.display().to_string();
    let words_of = [&log_name, "--syslog-udp", "127.0.0.1:0", "--syslog-tcp", "127.0.0.1:0", "--syslog-unix", &path];
    // So far apart that what is durable is so for another reason.
    let daemon = start(&data, &words_of, |command| _ = command.env("DURAMEN__STORE__COMMIT", "1h"));
    let mut sources = Sources {
        log,
        udp: UdpSocket::bind("127.0.0.1:0").expect("a port"),
        to: format!("127.0.0.1:{}", daemon.port("udp")),
        unix,
        tcp: TcpStream::connect(format!("127.0.0.1:{}", daemon.port("tcp"))).expect("it listens"),
    };
    send(&daemon.child, Signal::USR1);
    wait_for("battery", || (daemon.status()["power"] == "battery").then_some(()));
    set_power(&daemon, Signal::USR1, "low");
    sources.send("low");
    wait_for("all rows", || (words(&data, "low") == all("low")).then_some(()));
    wait_for("all durable", || (daemon.status()["durable"] == daemon.status()["appended"]).then_some(()));
    assert_eq!(daemon.post("/ingest?via=http", "low of http\n").0, 200);
    assert_eq!(daemon.health().0, 200);
    set_power(&daemon, Signal::POWER, "going");
    sources.send("going");
    for input in INPUTS {
        wait_for("an input that waits", || (daemon.figure(input, "waits") > 0).then_some(()));
        assert_eq!(daemon.figure(input, "lost"), 0);
    }
    let (code, said) = daemon.post("/ingest?via=http", "going of http\n");
    assert!(code == 503 && said.contains("the power is going"), "{code} {said}");
    let (code, said) = daemon.health();
    assert!(code == 503 && said.contains("the power is going"), "{code} {said}");
    assert_eq!(words(&data, "going"), Vec::<String>::new());
    set_power(&daemon, Signal::USR2, "mains");
    assert_eq!(daemon.health().0, 200);
    wait_for("what waited", || (words(&data, "going") == all("going")).then_some(()));
    for input in INPUTS {
        assert_eq!((daemon.figure(input, "rows"), daemon.figure(input, "lost")), (2, 0), "{input}");
    }
    // A stop at going: the file's position is kept, and what it had is read when the power is back.
    set_power(&daemon, Signal::POWER, "going");
    let mut file = std::fs::OpenOptions::new().append(true).open(&sources.log).expect("a file");
    writeln!(file, "late of file").expect("written");
    std::thread::sleep(Duration::from_millis(700));
    daemon.stop();
    let daemon = start(&data, &words_of, |_| {});
    wait_for("what was not read", || (words(&data, "late") == ["late of file"]).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(daemon.rows("of").len(), 2 * INPUTS.len() + 1 + 1);
    daemon.stop();
}

#[test]
fn standard_input_at_low_and_at_going() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let mut daemon = start(&data, &[], |command| {
        command.env("DURAMEN__STORE__COMMIT", "1h").stdin(Stdio::piped());
    });
    let mut input = daemon.child.stdin.take().expect("a pipe");
    send(&daemon.child, Signal::USR1);
    wait_for("battery", || (daemon.status()["power"] == "battery").then_some(()));
    set_power(&daemon, Signal::USR1, "low");
    (0..50).for_each(|number| writeln!(input, "line {number}").expect("it reads"));
    daemon.wait_rows("line", 50);
    wait_for("all durable", || (daemon.status()["durable"] == daemon.status()["appended"]).then_some(()));
    set_power(&daemon, Signal::POWER, "going");
    (50..60).for_each(|number| writeln!(input, "line {number}").expect("it reads"));
    wait_for("an input that waits", || (daemon.figure("stdin", "waits") > 0).then_some(()));
    assert_eq!(daemon.rows("line").len(), 50);
    set_power(&daemon, Signal::USR2, "mains");
    daemon.wait_rows("line", 60);
    let expected: Vec<String> = (0..60).map(|number| format!("line {number}")).collect();
    assert_eq!(texts(&data, r#"{input="stdin"}"#), expected);
    daemon.stop();
}
