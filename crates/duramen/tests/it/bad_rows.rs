//! What should not be sent to the daemon, sent to it: nothing is lost without a word, nothing panics, memory stays bounded.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use crate::collector::Collector;
use crate::harness::{Folder, PATIENCE, assert_code, command, peak_memory_bytes, run_command, stderr};

fn post(daemon: &Collector, path: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(&daemon.address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
    (code, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_string()))
}

#[test]
fn odd_lines_are_kept_and_named() {
    let folder = Folder::new();
    let daemon = Collector::start(&folder.join("data"), &["nothing.log"]);
    let body = b"{\"message\":\"fine\",\"level\":\"err\",\"user\":\"ana\"}\nno json\n{\"message\":\n[1]\n{\"message\":\"nul \\u0000 in it\"}\n\xff\xfe raw\n";
    let (code, answer) = post(&daemon, "/ingest?via=bad", body);
    assert_eq!(code, 200, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let odd: Vec<u64> =
        answer["odd"].as_array().expect("a list").iter().filter_map(|odd| odd["line"].as_u64()).collect();
    assert_eq!((answer["rows"].as_u64(), odd), (Some(6), vec![2, 3, 4, 6]));
    let rows = daemon.rows(r#"{via="bad"}"#);
    let texts: Vec<&str> = rows.iter().filter_map(|row| row["line"].as_str()).collect();
    assert!(texts.contains(&"nul \u{0} in it") && texts.contains(&"no json") && texts.contains(&"[1]"), "{texts:?}");
    assert!(rows.iter().any(|row| row["hex"] == "fffe20726177"), "bytes that are no UTF-8 come back as they were");
    daemon.stop();
}

#[test]
fn rows_of_any_time_are_kept_and_found() {
    let folder = Folder::new();
    let daemon = Collector::start(&folder.join("data"), &["nothing.log"]);
    let body = concat!(
        "{\"message\":\"first\",\"time\":\"1970-01-01T00:00:01Z\"}\n",
        "{\"message\":\"last\",\"time\":\"2100-01-01T00:00:00Z\"}\n",
        "{\"message\":\"nonsense\",\"time\":\"yesterday-ish\"}\n",
        "{\"message\":\"seconds\",\"time\":1700000000}\n",
    );
    assert_eq!(post(&daemon, "/ingest?via=times", body.as_bytes()).0, 200);
    let rows = daemon.rows(r#"{via="times"}"#);
    let times: Vec<(&str, &str)> =
        rows.iter().filter_map(|row| Some((row["line"].as_str()?, &row["time"].as_str()?[..4]))).collect();
    assert_eq!((times[0], times[1], times[3]), (("first", "1970"), ("seconds", "2023"), ("last", "2100")));
    daemon.stop();
}

/// A row of 2020 was answered with `{"rows":1}` and 200, and counted as taken, while a retention of 30 days had refused it.
#[test]
fn rows_that_are_too_old_are_not_said_to_be_stored() {
    let folder = Folder::new();
    let data = folder.join("data");
    let mut command = Collector::command(&data, &["nothing.log"]);
    let daemon = Collector::of(&data, command.env("DURAMEN__STORE__RETENTION_AGE", "30d"));
    let old = r#"{"message":"old","time":"2020-01-01T00:00:00Z"}"#;
    let (code, answer) = post(&daemon, "/ingest?via=old", old.as_bytes());
    assert_eq!((code, answer.trim()), (200, r#"{"rows":0,"too_old":1,"odd":[]}"#));
    let (_, answer) = post(&daemon, "/ingest?via=old", format!("{old}\n{{\"message\":\"new\"}}\n{old}\n").as_bytes());
    assert_eq!(answer.trim(), r#"{"rows":1,"too_old":2,"odd":[]}"#);
    assert_eq!(daemon.rows(r#"{via="old"}"#).len(), 1);
    assert_eq!((daemon.figure("http", "rows"), daemon.figure("http", "bytes")), (1, 3));
    // Samples too: in words that clients of InfluxDB take as a reason not to send them again.
    let (code, answer) = post(&daemon, "/write", b"m value=1 1577836800000000000\nm value=2\n");
    assert!(code == 400 && answer.contains("points beyond retention policy dropped=1 (1 values"), "{code} {answer}");
    assert_eq!(daemon.figure("influx", "rows"), 1);
    let output = run_command(&mut command_on(&["status"], &data), b"");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("too old     4 rows or samples"), "{said}");
    daemon.stop();
}

fn command_on(words: &[&str], data: &std::path::Path) -> std::process::Command {
    let mut command = command(words);
    command.arg("--data").arg(data);
    command
}

/// All rows were gathered to give the last of them: 248 MB for 700,000 rows, where giving all takes 84.
#[test]
fn the_last_rows_are_not_gathered_in_memory() {
    let folder = Folder::new();
    let daemon = Collector::start(&folder.join("data"), &["nothing.log"]);
    let line = |number| format!("row {number} of many\n");
    for part in 0..4 {
        let lines: String = (part * 50_000..(part + 1) * 50_000).map(line).collect();
        assert_eq!(post(&daemon, "/ingest?via=many", lines.as_bytes()).0, 200);
    }
    let ask = |lines: usize| {
        let mut stream = TcpStream::connect(&daemon.address).expect("it listens");
        let path = format!("/query?query=row&lines={lines}");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
        let rows = BufReader::new(stream).lines().map_while(Result::ok).filter(|line| line.starts_with("{\"time\""));
        rows.fold((0, None, String::new()), |(count, first, _), row| (count + 1, first.or(Some(row.clone())), row))
    };
    assert_eq!(ask(10).0, 10);
    let before = peak_memory_bytes(&daemon.child);
    let (count, first, last) = ask(150_000);
    assert!(count == 150_000 && first.is_some_and(|row| row.contains("row 50000 of")), "{count}");
    assert!(last.contains("row 199999 of"), "{last}");
    let grown = peak_memory_bytes(&daemon.child) - before;
    assert!(grown < 20 << 20, "{grown} bytes");
    daemon.stop();
}

#[test]
fn too_many_streams_are_refused_and_the_known_ones_go_on() {
    let folder = Folder::new();
    let daemon = Collector::start(&folder.join("data"), &["nothing.log"]);
    assert_eq!(post(&daemon, "/ingest?via=known", b"{\"message\":\"one\"}\n").0, 200);
    let lines: String = (0..60_000).map(|n| format!("{{\"message\":\"x\",\"labels\":{{\"id\":\"{n}\"}}}}\n")).collect();
    let (code, words) = post(&daemon, "/ingest?via=many", lines.as_bytes());
    assert!(code == 429 && words.contains("at most 50000"), "{code} {words}");
    assert!(daemon.rows(r#"{via="many"}"#).is_empty(), "a refused body leaves nothing");
    assert_eq!(post(&daemon, "/ingest?via=known", b"{\"message\":\"two\"}\n").0, 200);
    assert_eq!(daemon.rows(r#"{via="known"}"#).len(), 2);
    let peak = peak_memory_bytes(&daemon.child);
    assert!(peak < 200 << 20, "{peak} bytes");
    daemon.stop();
}

#[test]
fn a_second_daemon_a_taken_port_and_a_bad_query_are_errors_that_say_so() {
    let folder = Folder::new();
    let data = folder.join("data");
    let daemon = Collector::start(&data, &["nothing.log"]);
    let run = |words: &[&str], data: &std::path::Path| run_command(command(words).arg("--data").arg(data), b"");
    let second = run(&["run", "--listen", "127.0.0.1:0", "x.log"], &data);
    assert_code(&second, 1);
    assert!(stderr(&second).contains("lock") || stderr(&second).contains("use"), "{}", stderr(&second));
    let taken = run(&["run", "--listen", &daemon.address, "x.log"], &folder.join("other"));
    assert_code(&taken, 1);
    assert!(stderr(&taken).contains("cannot listen") && stderr(&taken).contains("--listen"), "{}", stderr(&taken));
    let query = run(&["query", r#"{app="x"} level>=loud"#], &data);
    assert_code(&query, 1);
    assert!(stderr(&query).contains('^'), "the place is pointed at: {}", stderr(&query));
    daemon.stop();
}
