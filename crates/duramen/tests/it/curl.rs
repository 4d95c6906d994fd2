//! HTTP ingest with the system's `curl`: lines and JSON, answers after the sync, a client that repeats itself, over a kill.

use std::process::{Command, Stdio};

use crate::collector::{Collector, installed, texts};
use crate::harness::Folder;

/// Posts a body; returns the status and the answer.
fn post(collector: &Collector, place: &str, kind: &str, body: &str) -> (u16, String) {
    let mut curl = Command::new("curl")
        .args(["-sS", "-w", "\n%{http_code}", "-H", &format!("Content-Type: {kind}"), "--data-binary", "@-"])
        .arg(format!("http://{}/ingest{place}", collector.address))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl starts");
    std::io::Write::write_all(&mut curl.stdin.take().expect("a pipe"), body.as_bytes()).expect("it reads");
    let output = curl.wait_with_output().expect("it ends");
    let told = String::from_utf8(output.stdout).expect("an answer is text");
    let (answer, status) = told.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), answer.to_string())
}

#[test]
fn what_curl_was_told_is_there_after_a_kill() {
    if installed("curl").is_none() {
        return;
    }
    let folder = Folder::fast();
    let data = folder.join("data");
    let collector = Collector::start(&data, &["--syslog-udp", "127.0.0.1:0"]);
    let all = "{app=\"c\"}";
    assert_eq!(post(&collector, "?app=c", "text/plain", "one\ntwo").0, 200);
    let json = "{\"line\": \"three\", \"level\": \"err\", \"user\": \"x\"}\nno JSON\n";
    let (status, answer) = post(&collector, "?app=c", "application/json", json);
    assert!(status == 200 && answer.contains("\"line\":2"), "{answer}");
    collector.kill();
    let collector = Collector::start(&data, &["--syslog-udp", "127.0.0.1:0"]);
    assert_eq!(texts(&data, all), ["one", "two", "three", "no JSON"], "all that was answered");
    // A client whose answer was lost sends again, also to the next daemon; once it said farewell, it is a new one.
    let of_client = "?app=c&client=k&sequence=1";
    let send = |collector: &Collector| post(collector, of_client, "text/plain", "four").1.contains("repeated");
    assert!(!send(&collector) && send(&collector));
    collector.kill();
    let collector = Collector::start(&data, &["--syslog-udp", "127.0.0.1:0"]);
    assert!(send(&collector));
    assert_eq!(post(&collector, "?client=k&sequence=2&forget=true", "text/plain", "").0, 200);
    assert!(!send(&collector));
    collector.stop();
    assert_eq!(texts(&data, all)[4..], ["four", "four"]);
}
