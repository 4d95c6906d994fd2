//! The daemon's HTTP side as strangers meet it: pages of other origins, names that lead here by a trick, bodies without end, clients
//! that fall silent, addresses that other machines reach.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::collector::{Collector, installed, wait_for};
use crate::harness::{Folder, PATIENCE, assert_code, command, run_command, stderr};

const TOKEN: &str = "0123456789abcdef-open-sesame";

/// Sends bytes as they are, and reads until the daemon closes.
fn raw(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    // A connection that is closed in the middle of a request may be reset.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: &str, headers: &str) -> String {
    raw(address, &format!("GET /status HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"))
}

#[test]
fn pages_of_others_and_names_of_others_are_refused() {
    let folder = Folder::new();
    let daemon = Collector::start(&folder.join("data"), &["nothing.log"]);
    let address = &daemon.address;
    let status = |headers: &str| get(address, headers).split(' ').nth(1).map(str::to_string);
    assert_eq!(status("Host: localhost\r\n").as_deref(), Some("200"));
    assert_eq!(status(&format!("Host: {address}\r\nOrigin: http://{address}\r\n")).as_deref(), Some("200"));
    assert_eq!(status(&format!("Host: {address}\r\nOrigin: http://evil.example\r\n")).as_deref(), Some("403"));
    assert_eq!(status("Host: evil.example\r\n").as_deref(), Some("403"));
    let post =
        "POST /ingest HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\nOrigin: null\r\nContent-Length: 2\r\n\r\nx\n";
    assert!(raw(address, post).starts_with("HTTP/1.1 403"));
    assert!(daemon.rows(r#"{input="http"}"#).is_empty());
    daemon.stop();
}

#[test]
fn bodies_and_silence_have_bounds() {
    let folder = Folder::new();
    let data = folder.join("data");
    let mut command = Collector::command(&data, &["nothing.log"]);
    command.envs([
        ("DURAMEN__HTTP__PATIENCE", "300ms"),
        ("DURAMEN__HTTP__BODY_BYTES_MAX", "1K"),
        ("DURAMEN__HTTP__CONNECTIONS_MAX", "2"),
    ]);
    let daemon = Collector::of(&data, &mut command);
    let post = |rest: &str| {
        raw(&daemon.address, &format!("POST /ingest HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{rest}"))
    };
    let declared = post("Content-Length: 99999999\r\n\r\nx\n");
    assert!(declared.starts_with("HTTP/1.1 413") && declared.contains("body_bytes_max"), "{declared}");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let undeclared = post(&format!("Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(3)));
    assert!(undeclared.starts_with("HTTP/1.1 413"), "{undeclared}");
    let begun = Instant::now();
    let slow = post("Content-Length: 100\r\n\r\nonly a part");
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    // Two that say nothing take both places; whoever comes next waits until they are left.
    let idle: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(&daemon.address).expect("it listens")).collect();
    assert!(get(&daemon.address, "Host: localhost\r\n").starts_with("HTTP/1.1 200"));
    assert!(begun.elapsed() < Duration::from_secs(30));
    drop(idle);
    assert!(daemon.rows(r#"{input="http"}"#).is_empty(), "nothing of a refused body is stored");
    daemon.stop();
}

#[test]
fn other_machines_need_tls_and_a_token() {
    let folder = Folder::new();
    let run = |words: &[&str], pairs: &[(&str, &str)]| {
        let mut command = command(words);
        command.arg("--data").arg(folder.join("data")).envs(pairs.iter().copied());
        run_command(&mut command, b"")
    };
    let open = run(&["run", "--listen", "0.0.0.0:0"], &[]);
    assert_code(&open, 1);
    assert!(stderr(&open).contains("TLS and a token"), "{}", stderr(&open));
    let bare = run(&["run", "--listen", "127.0.0.1:0"], &[("DURAMEN__HTTP__TLS_LISTEN", "127.0.0.1:0")]);
    assert_code(&bare, 1);
    assert!(stderr(&bare).contains("tls_certificate, tls_key and token_file"), "{}", stderr(&bare));
    let (Some(openssl), Some(curl)) = (installed("openssl"), installed("curl")) else {
        println!("skipped: openssl or curl is not installed");
        return;
    };
    let (certificate, key) = certificate(&openssl, &folder);
    let token = folder.join("token");
    fs::write(&token, "short\n").expect("written");
    let mut command = Collector::command(&folder.join("data"), &["nothing.log"]);
    command.env("DURAMEN__HTTP__TLS_LISTEN", "127.0.0.1:0");
    for (name, file) in [("TLS_CERTIFICATE", &certificate), ("TLS_KEY", &key), ("TOKEN_FILE", &token)] {
        command.env(format!("DURAMEN__HTTP__{name}"), file);
    }
    let short = command.output().expect("the binary starts");
    assert_code(&short, 1);
    assert!(stderr(&short).contains("shorter than 16"), "{}", stderr(&short));
    fs::write(&token, format!("{TOKEN}\n")).expect("written");
    let daemon = Collector::of(&folder.join("data"), &mut command);
    let url = wait_for("the public address", || {
        daemon.said().lines().find_map(|line| line.strip_prefix("duramen: https://").map(str::to_string))
    });
    let port = url.split(' ').next().and_then(|address| address.rsplit(':').next()).expect("a port");
    let ask = |path: &str, words: &[&str]| {
        let resolve = format!("duramen.test:{port}:127.0.0.1");
        let mut command = Command::new(&curl);
        command
            .args(["-sS", "--max-time", "20", "-w", "%{http_code}", "--resolve", &resolve, "--cacert"])
            .arg(&certificate);
        command.args(words).arg(format!("https://duramen.test:{port}{path}"));
        command.output().expect("curl runs")
    };
    let code = |output: &Output| {
        String::from_utf8_lossy(&output.stdout)
            .chars()
            .rev()
            .take(3)
            .collect::<String>()
            .chars()
            .rev()
            .collect::<String>()
    };
    assert_eq!(code(&ask("/healthz", &[])), "200");
    assert_eq!(code(&ask("/status", &[])), "401");
    assert_eq!(code(&ask("/status", &["-H", "Authorization: Bearer wrong"])), "401");
    assert_eq!(code(&ask("/status", &["-H", &format!("Authorization: Bearer {TOKEN}")])), "200");
    assert_eq!(code(&ask("/status", &["-u", &format!("me:{TOKEN}")])), "200");
    let lines = ["-u", &format!("me:{TOKEN}"), "--data-binary", "over the wire\n", "-H", "Content-Type: text/plain"];
    assert_eq!(code(&ask("/ingest?via=tls", &lines)), "200");
    assert_eq!(daemon.rows(r#"{via="tls"}"#).len(), 1, "the commands on this machine need neither");
    assert!(!raw(&format!("127.0.0.1:{port}"), "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n").contains("200 OK"));
    daemon.stop();
}

/// A certificate of duramen.test, signed by itself.
fn certificate(openssl: &Path, folder: &Folder) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = Command::new(openssl)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", "/CN=duramen.test", "-addext", "subjectAltName=DNS:duramen.test", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}
