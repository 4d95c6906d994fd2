//! The servers: how each is started on an empty folder and a free port of loopback, and how it is asked. Stopped when dropped.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client;
use crate::corpus::{Corpus, Form};

/// Ours first.
pub const NAMES: [&str; 4] = ["duramen", "influxd", "victoria-metrics", "prometheus"];

/// A server that runs.
pub struct Server {
    name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    folder: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

/// Starts one on the disk of the working folder; `None`: it is not installed.
pub fn start(name: &'static str, duramen: &Path) -> Result<Option<Server>, String> {
    let failed = |error: std::io::Error| error.to_string();
    let folder = std::env::current_dir().map_err(failed)?.join(format!("bench-wire-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let address = free_port()?;
    let mut command = Command::new(if name == "duramen" { duramen.as_os_str() } else { name.as_ref() });
    match name {
        "duramen" => {
            std::fs::write(folder.join("c.toml"), "[store]\npreset = \"series\"\n").map_err(failed)?;
            command.args(["run", "--syslog-udp", "127.0.0.1:0", "--listen", &address.to_string()]);
            command.arg("--config").arg(folder.join("c.toml")).arg("--data").arg(folder.join("data"));
        }
        "influxd" => {
            let other = free_port()?;
            let (meta, data, wal) = (folder.join("meta"), folder.join("data"), folder.join("wal"));
            let text = format!(
                "bind-address = \"{other}\"\nreporting-disabled = true\n[meta]\ndir = {meta:?}\n[data]\ndir = {data:?}\nwal-dir = {wal:?}\n\
                 query-log-enabled = false\n[http]\nbind-address = \"{address}\"\nlog-enabled = false\nmax-body-size = 0\n[monitor]\n\
                 store-enabled = false\n"
            );
            std::fs::write(folder.join("c.conf"), text).map_err(failed)?;
            command.arg("-config").arg(folder.join("c.conf"));
        }
        "victoria-metrics" => {
            // Without it the newest half minute is not shown.
            command.arg("-search.latencyOffset=0s");
            command
                .arg(format!("-httpListenAddr={address}"))
                .arg(format!("-storageDataPath={}", folder.join("data").display()));
        }
        _ => {
            std::fs::write(folder.join("c.yml"), "global: {}\n").map_err(failed)?;
            command.arg(format!("--config.file={}", folder.join("c.yml").display()));
            command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
            command.arg(format!("--web.listen-address={address}")).arg("--web.enable-remote-write-receiver");
        }
    }
    let said = std::fs::File::create(folder.join("said")).map_err(failed)?;
    command.stdin(Stdio::null()).stdout(said.try_clone().map_err(failed)?).stderr(said);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && name != "duramen" => return Ok(None),
        Err(error) => return Err(format!("{name} does not start: {error}")),
    };
    let server = Server { name, address, child, folder };
    let place = match name {
        "duramen" => "/healthz",
        "influxd" => "/ping",
        "victoria-metrics" => "/health",
        _ => "/-/ready",
    };
    let begin = Instant::now();
    while !client::ask(address, "GET", place).is_ok_and(|(status, _)| (200..300).contains(&status)) {
        if begin.elapsed() > Duration::from_secs(30) {
            let said = std::fs::read_to_string(server.folder.join("said")).unwrap_or_default();
            return Err(format!("{name} does not answer; it said: {said}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if name == "influxd" {
        client::ask(address, "POST", "/query?q=CREATE%20DATABASE%20bench")?;
    }
    Ok(Some(server))
}

impl Server {
    /// Whether it takes bodies of a form.
    pub fn takes(&self, form: Form) -> bool {
        form == Form::Lines && self.name != "prometheus" || form == Form::Remote && self.name != "influxd"
    }

    /// Where bodies of a form are sent.
    pub fn path(&self, form: Form) -> &'static str {
        match (self.name, form) {
            ("influxd", _) => "/write?db=bench",
            (_, Form::Lines) => "/write",
            (_, Form::Remote) => "/api/v1/write",
        }
    }

    /// What it calls the metric: a field of the name `value` needs no name of its own for us.
    fn metric(&self, form: Form) -> &'static str {
        if self.name == "duramen" && form == Form::Lines { "walk" } else { "walk_value" }
    }

    /// How many series it has at the end.
    pub fn series_stored(&self, corpus: &Corpus) -> Result<usize, String> {
        if self.name == "influxd" {
            let (_, body) = client::ask(self.address, "GET", "/query?db=bench&q=SHOW%20SERIES%20CARDINALITY")?;
            return Ok(number_behind(&body, "\"values\":[["));
        }
        if self.name == "victoria-metrics" {
            client::ask(self.address, "GET", "/internal/force_flush")?;
        }
        let place = format!("/api/v1/query?query=count({})&time={}", self.metric(corpus.form), corpus.span.1);
        let (_, body) = client::ask(self.address, "GET", &place)?;
        let value = body.split_once("\"value\":[").and_then(|(_, rest)| rest.split_once(",\"")).map(|(_, rest)| rest);
        value.map(|rest| number_behind(rest, "")).ok_or(body.clone())
    }

    /// Asks for one series over the whole time; false: it speaks no PromQL.
    pub fn ask_one_series(&self, corpus: &Corpus) -> Result<bool, String> {
        if self.name == "influxd" {
            return Ok(false);
        }
        // The last hour, as a dashboard asks.
        let (first, last) = (corpus.span.0.max(corpus.span.1 - 3_600), corpus.span.1);
        let metric = self.metric(corpus.form);
        let step = ((last - first) / 500).max(1);
        let place =
            format!("/api/v1/query_range?query={metric}%7Bhost%3D%22h0%22%7D&start={first}&end={last}&step={step}");
        let (status, body) = client::ask(self.address, "GET", &place)?;
        if status == 200 && body.contains("h0") { Ok(true) } else { Err(format!("{status}: {body}")) }
    }
}

fn number_behind(text: &str, mark: &str) -> usize {
    let rest = text.split_once(mark).map_or("", |(_, rest)| rest);
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}
