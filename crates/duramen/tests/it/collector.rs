//! A daemon that collects, as the tests of its inputs meet it: started with any words, asked by the binary, stopped or killed. Asserts
//! only that the daemon itself does what it is told.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{self, PATIENCE, assert_code, command, run_command};

/// A running daemon; killed when dropped.
pub struct Collector {
    pub child: Child,
    pub data: PathBuf,
    pub address: String,
    said: Arc<Mutex<String>>,
}

impl Collector {
    /// `duramen run` on a data folder and a free port.
    pub fn start<S: AsRef<OsStr>>(data: &Path, words: &[S]) -> Collector {
        let mut command = Collector::command(data, words);
        Collector::of(data, &mut command)
    }

    /// What [`Collector::start`] runs, to be changed before it is.
    pub fn command<S: AsRef<OsStr>>(data: &Path, words: &[S]) -> Command {
        let mut all: Vec<&OsStr> =
            ["run", "--listen", "127.0.0.1:0", "--ready", "--data"].iter().map(OsStr::new).collect();
        all.push(data.as_os_str());
        all.extend(words.iter().map(AsRef::as_ref));
        let mut command = command(&all);
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Runs a command that was made so.
    #[track_caller]
    pub fn of(data: &Path, command: &mut Command) -> Collector {
        let mut child = command.spawn().expect("the binary starts");
        let said = Arc::new(Mutex::new(String::new()));
        let errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let heard = said.clone();
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let mut heard = heard.lock().expect("nobody panics with it");
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        let mut ready = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        output.read_line(&mut ready).expect("it says that it is ready");
        let address = ready.trim().strip_prefix("ready ").map(str::to_string);
        let address = address.unwrap_or_else(|| panic!("not ready: {}", said.lock().expect("nobody panics with it")));
        Collector { child, data: data.to_path_buf(), address, said }
    }

    /// What it has said on standard error.
    pub fn said(&self) -> String {
        self.said.lock().expect("nobody panics with it").clone()
    }

    /// The port that it chose for an input: `duramen: syslog udp on ADDRESS:PORT`.
    #[track_caller]
    pub fn port(&self, kind: &str) -> String {
        let begin = format!("duramen: syslog {kind} on 127.0.0.1:");
        wait_for("the address of the input", || {
            self.said().lines().find_map(|line| line.strip_prefix(&begin).map(str::to_string))
        })
    }

    /// The rows of a query, as JSON.
    #[track_caller]
    pub fn rows(&self, query: &str) -> Vec<serde_json::Value> {
        rows(&self.data, query)
    }

    /// The rows of a query, once there are so many.
    #[track_caller]
    pub fn wait_rows(&self, query: &str, count: usize) -> Vec<serde_json::Value> {
        let begin = Instant::now();
        loop {
            let rows = self.rows(query);
            if rows.len() >= count {
                return rows;
            }
            assert!(begin.elapsed() < PATIENCE, "{} rows of {count}; it said: {}", rows.len(), self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A figure of an input, as `/status` has it.
    pub fn figure(&self, input: &str, name: &str) -> u64 {
        let status = self.status();
        let inputs = status["inputs"].as_array().expect("it names inputs");
        inputs.iter().find(|one| one["name"] == input).and_then(|one| one[name].as_u64()).unwrap_or(0)
    }

    /// Sends a body, plain text unless it begins as an object; the answer's code and words.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n");
        self.exchange(&format!("{head}Content-Length: {length}\r\n\r\n"), body)
    }

    fn exchange(&self, head: &str, body: &str) -> (u16, String) {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.address).expect("it listens");
        stream.write_all(head.as_bytes()).expect("it reads");
        // Whoever refuses a body may stop reading it.
        let _ = stream.write_all(body.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
        (code, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_string()))
    }

    /// What `/healthz` answers.
    pub fn health(&self) -> (u16, String) {
        self.exchange("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "")
    }

    /// How it is.
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/status")).expect("the status is JSON")
    }

    fn get(&self, path: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.address).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let body = answer.split_once("\r\n\r\n").expect("a head and a body").1;
        let (begin, end) = (body.find('{').expect("JSON"), body.rfind('}').expect("JSON"));
        body[begin..=end].to_string()
    }

    /// Stops it, asserting that it ends well; everything is durable then.
    #[track_caller]
    pub fn stop(mut self) -> String {
        harness::send(&self.child, Signal::TERM);
        let status = harness::wait(&mut self.child);
        let said = self.said();
        assert_eq!(harness::code(status), 0, "{said}");
        assert!(!said.contains("panicked"), "{said}");
        said
    }

    /// Kills it with -9.
    pub fn kill(mut self) {
        self.child.kill().expect("it lives");
        let _ = self.child.wait();
        assert!(!self.said().contains("panicked"), "{}", self.said());
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `duramen query` on a data folder, whether a daemon runs on it or not.
pub fn query(data: &Path, query: &str, output: &str) -> Output {
    let words =
        [OsStr::new("query"), OsStr::new("--data"), data.as_os_str(), "-o".as_ref(), output.as_ref(), "--".as_ref()];
    let words: Vec<&OsStr> = words.into_iter().chain([OsStr::new(query)]).collect();
    run_command(&mut command(&words), b"")
}

/// The rows of a query, as JSON, without those that tell of gaps, which answer every query.
#[track_caller]
pub fn rows(data: &Path, text: &str) -> Vec<serde_json::Value> {
    let output = query(data, text, "json");
    assert_code(&output, 0);
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let rows = text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON"));
    rows.filter(|row: &serde_json::Value| row["gap"] != true).collect()
}

/// The texts of the rows of a query.
#[track_caller]
pub fn texts(data: &Path, text: &str) -> Vec<String> {
    rows(data, text).iter().map(|row| row["line"].as_str().expect("a line").to_string()).collect()
}

/// Waits until something is there.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A program of the system, if it is installed; says so if it is not.
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(program)).find(|place| place.is_file());
    if found.is_none() {
        println!("skipped: there is no {program} here");
    }
    found
}
