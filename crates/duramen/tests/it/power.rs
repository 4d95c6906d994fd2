//! Power, from every source to what it means: at low everything taken is durable and sealed, at going nothing more is taken, and
//! mains takes it again. Each change is a stored row.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use crate::collector::{Collector, wait_for};
use crate::harness::{Folder, assert_code, command, run_command, send, stderr};

/// SIGPWR, which `rustix` names on Linux only.
const POWER: Signal = Signal::POWER;

fn settled_fast(command: &mut Command) -> &mut Command {
    command.env("DURAMEN__POWER__SETTLE", "200ms")
}

fn start(data: &Path, words: &[&str], change: impl FnOnce(&mut Command)) -> Collector {
    let mut all = vec!["nothing.log"];
    all.extend_from_slice(words);
    let mut command = Collector::command(data, &all);
    settled_fast(&mut command).env("DURAMEN__POWER__KERNEL", "false");
    change(&mut command);
    Collector::of(data, &mut command)
}

fn power(data: &Path, words: &[&str]) -> Output {
    let mut command = command(&["power", "--data"]);
    command.arg(data).args(words);
    run_command(&mut command, b"")
}

fn status(data: &Path) -> serde_json::Value {
    let output = power(data, &["--json"]);
    assert_code(&output, 0);
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[track_caller]
fn wait_power(daemon: &Collector, wanted: &str) {
    wait_for(wanted, || (status(&daemon.data)["power"] == wanted).then_some(()));
}

fn ingest(daemon: &Collector, text: &str) -> u16 {
    let url = format!("http://{}/ingest?via=test", daemon.address);
    let mut stream = std::net::TcpStream::connect(&daemon.address).expect("it listens");
    let (host, length) = (&daemon.address, text.len());
    let path = url.split_once(host.as_str()).expect("the address is in it").1;
    write!(stream, "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}")
        .expect("it reads");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("it answers");
    line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

/// What low and going promise, once a source has said `low`; `going` and `mains` make the source say these.
#[track_caller]
fn low_then_going_then_mains(daemon: &Collector, going: impl FnOnce(), mains: impl FnOnce()) {
    wait_power(daemon, "low");
    assert_eq!(ingest(daemon, "taken at low\n"), 200);
    let told = status(&daemon.data);
    assert_eq!(told["durable"], told["appended"], "{told}");
    let sealed = || fs::read_dir(daemon.data.join("tables")).ok()?.flatten().next().map(|_| ());
    wait_for("a table of what was in memory", sealed);
    going();
    wait_power(daemon, "going");
    assert_eq!(ingest(daemon, "refused at going\n"), 503);
    mains();
    wait_power(daemon, "mains");
    assert_eq!(ingest(daemon, "taken again\n"), 200);
    let texts: Vec<String> = daemon
        .rows(r#"{via="test"}"#)
        .iter()
        .map(|row| row["line"].as_str().unwrap_or_default().to_string())
        .filter(|line| line != "before")
        .collect();
    assert_eq!(texts, ["taken at low", "taken again"]);
    let changes: Vec<String> = daemon
        .rows(r#"{duramen="events"} event=power"#)
        .iter()
        .map(|row| row["fields"]["to"].as_str().unwrap_or_default().to_string())
        .collect();
    assert!(changes.ends_with(&["low".into(), "going".into(), "mains".into()]), "{changes:?}");
}

#[test]
fn signals_say_how_it_is() {
    let folder = Folder::new();
    let daemon = start(&folder.join("data"), &[], |_| {});
    assert_eq!(ingest(&daemon, "before\n"), 200);
    send(&daemon.child, Signal::USR1);
    wait_power(&daemon, "battery");
    send(&daemon.child, Signal::USR1);
    low_then_going_then_mains(&daemon, || send(&daemon.child, POWER), || send(&daemon.child, Signal::USR2));
    daemon.stop();
}

#[test]
fn scripts_say_how_it_is() {
    let folder = Folder::new();
    let data = folder.join("data");
    let nobody = power(&data, &["low"]);
    assert_code(&nobody, 1);
    assert!(stderr(&nobody).contains("no daemon runs"), "{}", stderr(&nobody));
    let daemon = start(&data, &[], |_| {});
    assert_eq!(ingest(&daemon, "before\n"), 200);
    assert_code(&power(&data, &["battery"]), 0);
    wait_power(&daemon, "battery");
    assert_code(&power(&data, &["low"]), 0);
    low_then_going_then_mains(
        &daemon,
        || assert_code(&power(&data, &["going"]), 0),
        || assert_code(&power(&data, &["mains"]), 0),
    );
    // The worst source counts.
    assert_code(&power(&data, &["battery", "--source", "generator"]), 0);
    assert_code(&power(&data, &["mains"]), 0);
    wait_power(&daemon, "battery");
    assert_code(&power(&data, &["mains", "--source", "generator"]), 0);
    wait_power(&daemon, "mains");
    let rehearsed = power(&data, &["test"]);
    assert_code(&rehearsed, 0);
    let said = String::from_utf8_lossy(&rehearsed.stdout).into_owned();
    assert!(["battery", "low", "mains"].iter().all(|word| said.lines().any(|line| line.starts_with(word))), "{said}");
    daemon.stop();
}

#[test]
fn the_kernel_says_how_it_is() {
    let folder = Folder::new();
    let class = folder.join("class");
    let (line, battery) = (class.join("power_supply/AC"), class.join("power_supply/BAT0"));
    let put = |file: PathBuf, text: &str| fs::write(file, text).expect("written");
    for supply in [&line, &battery] {
        fs::create_dir_all(supply).expect("made");
    }
    put(line.join("type"), "Mains\n");
    put(battery.join("type"), "Battery\n");
    put(battery.join("status"), "Discharging\n");
    put(battery.join("capacity"), "15\n");
    put(line.join("online"), "0\n");
    let daemon = start(&folder.join("data"), &[], |command| {
        command.env("DURAMEN__POWER__KERNEL", "true").env("DURAMEN__POWER__KERNEL_CLASS", &class);
    });
    low_then_going_then_mains(&daemon, || put(battery.join("capacity"), "4\n"), || put(line.join("online"), "1\n"));
    daemon.stop();
}

#[test]
fn an_undervoltage_alarm_is_low_and_a_near_shutdown_is_going() {
    let folder = Folder::new();
    let (sensor, note) = (folder.join("class/hwmon/hwmon0"), folder.join("scheduled"));
    fs::create_dir_all(&sensor).expect("made");
    fs::write(sensor.join("name"), "rpi_volt\n").expect("written");
    fs::write(sensor.join("in0_lcrit_alarm"), "0\n").expect("written");
    let daemon = start(&folder.join("data"), &[], |command| {
        command
            .env("DURAMEN__POWER__KERNEL", "true")
            .env("DURAMEN__POWER__KERNEL_CLASS", folder.join("class"))
            .env("DURAMEN__POWER__SHUTDOWN_NOTE", &note);
    });
    assert_eq!(status(&daemon.data)["power"], "mains");
    fs::write(sensor.join("in0_lcrit_alarm"), "1\n").expect("written");
    wait_power(&daemon, "low");
    assert_eq!(ingest(&daemon, "taken at low\n"), 200);
    let told = status(&daemon.data);
    assert_eq!(told["durable"], told["appended"], "{told}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let far = now.as_micros() + 3_600_000_000;
    fs::write(&note, format!("USEC={far}\nMODE=poweroff\n")).expect("written");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(status(&daemon.data)["power"], "low", "an hour is far");
    fs::write(&note, format!("USEC={}\nMODE=poweroff\n", now.as_micros() + 2_000_000)).expect("written");
    wait_power(&daemon, "going");
    assert_eq!(ingest(&daemon, "refused at going\n"), 503);
    // Called off: what it said lasts for some seconds, then the alarm counts again.
    fs::remove_file(&note).expect("removed");
    wait_power(&daemon, "low");
    assert_eq!(ingest(&daemon, "taken again\n"), 200);
    daemon.stop();
}

/// A UPS daemon that says what it is told to, or nothing.
fn fake_upsd(status: Arc<Mutex<Option<String>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let status = status.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
                let (mut stream, mut line) = (stream, String::new());
                while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
                    let status = status.lock().expect("nobody panics with it").clone();
                    let answer = match (status, line.trim()) {
                        (Some(raw), _) if raw.starts_with("RAW") => format!("{}\n", &raw[3..]),
                        (Some(status), "GET VAR test ups.status") => format!("VAR test ups.status \"{status}\"\n"),
                        (Some(_), _) => "ERR VAR-NOT-SUPPORTED\n".to_string(),
                        (None, _) => return,
                    };
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                    line.clear();
                }
            });
        }
    });
    port
}

#[test]
fn nut_says_how_it_is() {
    let status = Arc::new(Mutex::new(Some("OB LB".to_string())));
    let port = fake_upsd(status.clone());
    let set = |text: Option<&str>| *status.lock().expect("nobody panics with it") = text.map(str::to_string);
    let folder = Folder::new();
    let ups = format!("test@127.0.0.1:{port}");
    let daemon = start(&folder.join("data"), &["--nut", &ups], |_| {});
    low_then_going_then_mains(&daemon, || set(Some("FSD OB LB")), || set(Some("OL")));
    // Nonsense, endless lines and silence are told, and change nothing on mains.
    let long = format!("RAW{}", "x".repeat(1 << 20));
    for nonsense in ["RAW\u{1}\u{2}", "RAWERR DATA-STALE", &long, "WAIT"] {
        set(Some(nonsense));
        wait_for("trouble", || daemon.said().contains("power: ups test").then_some(()));
    }
    set(None);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(self::status(&daemon.data)["power"], "mains");
    daemon.stop();
}

#[test]
fn silence_of_a_ups_on_battery_is_low() {
    let status = Arc::new(Mutex::new(Some("OB".to_string())));
    let port = fake_upsd(status.clone());
    let folder = Folder::new();
    let ups = format!("test@127.0.0.1:{port}");
    let daemon = start(&folder.join("data"), &["--nut", &ups], |_| {});
    wait_power(&daemon, "battery");
    *status.lock().expect("nobody panics with it") = None;
    wait_power(&daemon, "low");
    assert!(daemon.said().contains("ups test has said nothing"), "{}", daemon.said());
    daemon.stop();
}

/// The real `upsd` with its dummy driver, which reads a UPS's variables from a file.
#[test]
fn the_real_upsd_says_how_it_is() {
    // The one on the path is a script that asks the system's configuration first.
    let (driver, upsd) = (Path::new("/lib/nut/dummy-ups"), Path::new("/lib/nut/upsd"));
    if !driver.exists() || !upsd.exists() {
        println!("skipped: nut-server is not installed");
        return;
    }
    let folder = Folder::new();
    let etc = folder.join("etc");
    fs::create_dir_all(&etc).expect("made");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let put = |name: &str, text: String| fs::write(etc.join(name), text).expect("written");
    let variables = etc.join("test.dev");
    put(
        "ups.conf",
        format!(
            "[test]\n driver = dummy-ups\n port = {}\n mode = dummy-loop\n pollinterval = 1\n",
            variables.display()
        ),
    );
    put("upsd.conf", format!("LISTEN 127.0.0.1 {port}\n"));
    put("upsd.users", String::new());
    put("nut.conf", "MODE=standalone\n".into());
    put("test.dev", "ups.status: OB LB\nTIMER 1\n".into());
    let user = Command::new("id").arg("-un").output().expect("id runs").stdout;
    let user = String::from_utf8_lossy(&user).trim().to_string();
    let run = |program: &Path, words: &[&str]| {
        let mut command = Command::new(program);
        command.args(words).args(["-u", &user, "-F"]);
        for name in ["NUT_CONFPATH", "NUT_STATEPATH", "NUT_ALTPIDPATH", "NUT_PIDPATH"] {
            command.env(name, &etc);
        }
        Ended(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"))
    };
    let _driver = run(driver, &["-a", "test"]);
    wait_for("the driver's socket", || etc.join("dummy-ups-test").exists().then_some(()));
    let _upsd = run(upsd, &[]);
    let ups = format!("test@127.0.0.1:{port}");
    let daemon = start(&folder.join("data"), &["--nut", &ups], |_| {});
    low_then_going_then_mains(
        &daemon,
        || put("test.dev", "ups.status: FSD OB LB\nTIMER 1\n".into()),
        || put("test.dev", "ups.status: OL\nTIMER 1\n".into()),
    );
    daemon.stop();
}

/// A process that is ended with its value.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
