//! A Prometheus of this machine on a port of the loopback, with samples in its store before it starts.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A running server, stopped when dropped.
pub struct Server {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Server {
    /// Starts one over these samples; `None`, with a word, if it is not installed.
    pub fn start(open_metrics: &str) -> Option<Server> {
        if !(is_installed("prometheus") && is_installed("promtool")) {
            println!("skipped: prometheus and promtool are not installed");
            return None;
        }
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("duramen-promql-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        let (samples, configuration, store) =
            (folder.join("samples"), folder.join("configuration.yml"), folder.join("store"));
        std::fs::write(&samples, open_metrics).expect("the samples are written");
        std::fs::write(&configuration, "scrape_configs: []\n").expect("the configuration is written");
        let mut promtool = Command::new("promtool");
        promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).args([&samples, &store]);
        let filled = promtool.output().expect("promtool runs");
        assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let child = Command::new("prometheus")
            .arg(option("--config.file", &configuration))
            .arg(option("--storage.tsdb.path", &store))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        let server = Server { child, folder, port };
        server.wait();
        Some(server)
    }

    fn wait(&self) {
        for _ in 0..300 {
            if self.request("/-/ready").is_some_and(|answer| answer.starts_with("HTTP/1.0 200")) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("prometheus is not ready after 30 s");
    }

    /// Asks the API.
    pub fn get(&self, what: &str, parameters: &[(&str, &str)]) -> serde_json::Value {
        let parameters: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let answer = self.request(&format!("/api/v1/{what}?{}", parameters.join("&"))).expect("an answer");
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    fn request(&self, target: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        write!(stream, "GET {target} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

fn is_installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
