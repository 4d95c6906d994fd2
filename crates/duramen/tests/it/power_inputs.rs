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
