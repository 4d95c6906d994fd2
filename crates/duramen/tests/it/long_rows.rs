//! Rows that are longer than a small `row_bytes_max`, by each input: they come in parts, and end nothing.

use std::fs;
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::process::Stdio;

use crate::collector::{Collector, texts};
use crate::harness::Folder;

/// The bound.
const MAX: usize = 1_000;
/// Bytes of a text.
const LONG: usize = 4_500;

fn long(letter: &str) -> String {
    letter.repeat(LONG)
}

#[track_caller]
fn check(daemon: &Collector, query: &str, letter: &str) {
    daemon.wait_rows(query, 5);
    let parts = texts(&daemon.data, query);
    assert!(parts.iter().all(|part| part.len() <= MAX), "{query}");
    assert_eq!((parts.len(), parts.concat().matches(letter).count()), (5, LONG), "{query}");
}

/// One datagram of 9,000 bytes ended a daemon whose rows were to have 4,096 at most.
#[test]
fn a_long_message_comes_in_parts() {
    let folder = Folder::fast();
    let file = folder.join("a.log");
    fs::write(&file, format!("{}\n", long("f"))).expect("a file");
    let words = ["--syslog-udp", "127.0.0.1:0", "--syslog-tcp", "127.0.0.1:0", file.to_str().expect("text")];
    let mut command = Collector::command(&folder.join("data"), &words);
    let daemon = Collector::of(&folder.join("data"), command.env("DURAMEN__STORE__ROW_BYTES_MAX", MAX.to_string()));
    check(&daemon, r#"{file=~".+"}"#, "f");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let to = format!("127.0.0.1:{}", daemon.port("udp"));
    udp.send_to(format!("<14>udp: {}", long("u")).as_bytes(), &to).expect("it is sent");
    check(&daemon, r#"{app="udp"}"#, "u");
    assert_eq!(daemon.figure("syslog udp", "odd"), 4);
    let mut tcp = TcpStream::connect(format!("127.0.0.1:{}", daemon.port("tcp"))).expect("it listens");
    writeln!(tcp, "<14>tcp: {}", long("t")).expect("it reads");
    check(&daemon, r#"{app="tcp"}"#, "t");
    // Data that is longer than a row's fields may be is cut, and the text is there.
    let data = long("d");
    udp.send_to(format!("<14>1 - h data - - [a@1 k=\"{data}\" z=\"1\"] text").as_bytes(), &to).expect("it is sent");
    let row = daemon.wait_rows(r#"{app="data"}"#, 1).remove(0);
    let kept = row["fields"]["a@1.k"].as_str().expect("a field").len();
    assert!(row["line"] == "text" && (MAX / 2..MAX).contains(&kept), "{row}");
    // By HTTP: an object is read whole though it is longer than a row.
    let (code, answer) = daemon.post("/ingest?via=json", &format!("{{\"message\":\"{}\",\"k\":\"v\"}}\n", long("j")));
    assert_eq!(code, 200, "{answer}");
    check(&daemon, r#"{via="json"}"#, "j");
    assert_eq!(daemon.rows(r#"{via="json"} k=v"#).len(), 1);
    assert_eq!(daemon.post("/ingest?via=plain", &long("p")).0, 200);
    check(&daemon, r#"{via="plain"}"#, "p");
    // What the store tells of itself is longer than that, and must go through.
    daemon.kill();
    let mut command = Collector::command(&folder.join("data"), &words);
    Collector::of(&folder.join("data"), command.env("DURAMEN__STORE__ROW_BYTES_MAX", "16")).stop();
}

#[test]
fn a_long_line_of_standard_input_comes_in_parts() {
    let folder = Folder::fast();
    let mut command = Collector::command(&folder.join("data"), &[] as &[&str]);
    command.env("DURAMEN__STORE__ROW_BYTES_MAX", MAX.to_string()).stdin(Stdio::piped());
    let mut daemon = Collector::of(&folder.join("data"), &mut command);
    writeln!(daemon.child.stdin.as_mut().expect("a pipe"), "{}", long("s")).expect("it reads");
    check(&daemon, r#"{input="stdin"}"#, "s");
    daemon.stop();
}
