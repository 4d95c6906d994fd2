//! Samples through the daemon: InfluxDB's lines and Prometheus' remote_write with real clients, PromQL over HTTP and on the command
//! line, files, scraping; and what was acknowledged is there after any kill, once.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::collector::{Collector, installed, wait_for};
use crate::harness::{Folder, Random, command, run_command, setting};

pub const IDLE: [&str; 2] = ["--syslog-udp", "127.0.0.1:0"];

/// Sends a request as bytes; returns the status, and the body.
pub fn send(address: &str, method: &str, place: &str, headers: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let head = format!(
        "{method} {place} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let broken = || std::io::Error::other(format!("no answer: {answer}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    // Long answers come in pieces, each behind its length.
    let body =
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { joined(body) } else { body.into() };
    Ok((status, body))
}

fn joined(mut rest: &str) -> String {
    let mut all = String::new();
    while let Some((length, more)) = rest.split_once("\r\n") {
        let Ok(length) = usize::from_str_radix(length.trim(), 16) else { break };
        all.push_str(more.get(..length).unwrap_or(more));
        rest = more.get(length + 2..).unwrap_or("");
    }
    all
}

pub fn write(collector: &Collector, place: &str, body: &str) -> (u16, String) {
    send(&collector.address, "POST", place, "", body.as_bytes()).expect("an answer")
}

pub fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

pub fn ask(collector: &Collector, place: &str) -> Value {
    let (_, body) = send(&collector.address, "GET", place, "", b"").expect("an answer");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{place}: {error}: {body}"))
}

/// The value of each series, by its labels.
pub fn values(collector: &Collector, query: &str, time: f64) -> BTreeMap<String, String> {
    let answer = ask(collector, &format!("/api/v1/query?query={}&time={time}", encoded(query)));
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    let result = answer["data"]["result"].as_array().expect("a vector").clone();
    result.iter().map(|own| (own["metric"].to_string(), own["value"][1].as_str().unwrap_or("").to_string())).collect()
}

#[test]
fn lines_are_taken_good_ones_kept_and_bad_ones_named() {
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &IDLE);
    let (status, answer) =
        write(&collector, "/write?precision=s", "load,host=a value=1.5 1700000000\nload,host=b value=2 1700000000\n");
    assert_eq!((status, answer.as_str()), (204, ""));
    let (status, answer) =
        write(&collector, "/write?precision=s", "load,host=a value=3 1700000060\nload host=b value\nload value=x 5\n");
    assert!(
        status == 400 && answer.contains("partial write: line 2") && answer.contains("line 3"),
        "{status} {answer}"
    );
    let (status, answer) = write(&collector, "/api/v2/write?bucket=home&precision=fortnight", "a b=1 1\n");
    assert!(status == 400 && answer.contains("unknown precision") && answer.contains("fortnight"), "{answer}");
    let (status, answer) = write(&collector, "/write", "load value=1 99999999999999999999999\n");
    assert!(status == 400 && answer.contains("line 1"), "{answer}");
    let found = values(&collector, "load", 1_700_000_061.0);
    let name = |host: &str| format!("{{\"__name__\":\"load\",\"host\":\"{host}\"}}");
    assert_eq!(found, BTreeMap::from([(name("a"), "3".to_string()), (name("b"), "2".to_string())]));
    collector.stop();
}

/// A daemon that reads its journal answers from its tables, says that it is not done, and takes nothing.
#[test]
fn it_answers_while_its_journal_is_still_read() {
    let folder = Folder::fast();
    let (data, settings) = (folder.join("data"), folder.join("duramen.toml"));
    let text = "[store]\npreset = \"series\"\nbuffer_samples = 10000000\nbuffer = \"512M\"\nbuffer_age = \"1h\"\n";
    std::fs::write(&settings, text).expect("written");
    let words = ["--config".as_ref(), settings.as_os_str(), IDLE[0].as_ref(), IDLE[1].as_ref()];
    let mut running = Some(Collector::start(&data, &words));
    let collector = running.as_ref().expect("it runs");
    for body in 0..10u64 {
        let lines: String = (0..20_000)
            .map(|at| format!("load,host=h{} value={at} {}\n", at % 50, 1_700_000_000 + body * 400 + at / 50))
            .collect();
        assert_eq!(write(collector, "/write?precision=s", &lines).0, 204);
    }
    let (mut opening, mut refused) = (0, 0);
    for _ in 0..10 {
        let before = running.take().expect("it runs").address.clone();
        let asked = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let address = wait_for("another address", || {
                    let address = std::fs::read_to_string(data.join("ADDRESS")).ok()?;
                    (address != before).then_some(address)
                });
                let get = |place: &str| send(&address, "GET", place, "", b"").expect("an answer");
                let mut seen = (0, 0);
                loop {
                    // What is asked before the status is asked while it still opens, if the status says so.
                    // A refusal may close the connection before the body is read.
                    let written = send(&address, "POST", "/write?precision=s", "", b"late value=1 1\n");
                    let (health, report) = (get("/healthz"), get("/report"));
                    let status: Value = serde_json::from_str(&get("/status").1).expect("JSON");
                    if status["opening"] != true {
                        return seen;
                    }
                    assert!(health.0 == 503 && health.1.contains("being opened"), "{health:?}");
                    assert_eq!(report.0, 503);
                    assert!(get("/api/v1/query?query=load").0 == 200);
                    seen.0 += 1;
                    seen.1 += u32::from(written.map_or(true, |(status, _)| status == 503));
                }
            });
            running = Some(Collector::start(&data, &words));
            asking.join().expect("it ends")
        });
        opening += asked.0;
        refused += asked.1;
        if opening > 0 {
            break;
        }
    }
    assert!(opening > 0 && refused == opening, "{opening} answers while opening, {refused} refusals");
    let collector = running.expect("it runs");
    let found = values(&collector, "count(count_over_time(load[2h]))", 1_700_004_000.0);
    assert_eq!(found.into_values().collect::<Vec<_>>(), ["50"]);
    let found = values(&collector, "sum(count_over_time(load[2h]))", 1_700_004_000.0);
    assert_eq!(found.into_values().collect::<Vec<_>>(), ["200000"]);
    collector.stop();
}

#[test]
fn what_promql_cannot_answer_is_refused_with_its_place() {
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &IDLE);
    for (query, words) in [
        ("sum(load))", "1:10"),
        ("sum(", "1:"),
        ("limitk(2, load)", "limitk"),
        ("nonsense(load)", "nonsense"),
        ("load{host=~\"(\"}", "1:"),
    ] {
        let answer = ask(&collector, &format!("/api/v1/query?query={}", encoded(query)));
        let told = answer["error"].as_str().unwrap_or("");
        assert!(answer["errorType"] == "bad_data" && told.contains(words), "{query}: {answer}");
    }
    let range = ask(&collector, "/api/v1/query_range?query=up&start=0&end=1000000000&step=1");
    assert!(
        range["error"].as_str().is_some_and(|words| words.contains("11000") || words.contains("points")),
        "{range}"
    );
    for (place, words) in [
        ("query=1&timeout=abc", "timeout=abc is no duration"),
        ("query=1e400", "out of range"),
        ("query=topk(Inf,vector(1))", "overflows int64"),
    ] {
        let answer = ask(&collector, &format!("/api/v1/query?{place}"));
        assert!(answer["error"].as_str().is_some_and(|told| told.contains(words)), "{place}: {answer}");
    }
    // Grafana's first questions.
    assert_eq!(ask(&collector, "/api/v1/query?query=1%2B1&time=4")["data"]["result"][1], "2");
    assert_eq!(ask(&collector, "/api/v1/status/buildinfo")["status"], "success");
    for place in ["labels", "label/__name__/values", "metadata", "series?match[]=up"] {
        assert_eq!(ask(&collector, &format!("/api/v1/{place}"))["status"], "success", "{place}");
    }
    // The command points at the place.
    let output = run_command(&mut command(&["query", "--promql", "sum(load))"]), b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    assert!(matches!(lines[..], [_, "sum(load))", mark] if mark.trim_end() == "         ^"), "{said}");
    collector.stop();
}

/// A question once made the store that it did not find, of 17 MB.
#[test]
fn a_question_in_promql_makes_no_store() {
    let folder = Folder::fast();
    let data = folder.join("nothing");
    let ask = |words: &[&str]| {
        let output =
            run_command(&mut command(&[&["query", "-d", data.to_str().expect("a name")], words].concat()), b"");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = ask(&["--promql", "up"]);
    assert!(code != Some(0) && !data.exists(), "{code:?} {said}");
    assert_eq!((code, said), ask(&["up"]));
}

/// Without a daemon the place stood below the words; what a daemon said of it was one line.
#[test]
fn the_place_of_a_bad_part_is_shown_whoever_answers() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let collector = Collector::start(&data, &IDLE);
    // Read well, and refused when it is worked out.
    let expression = "1 + label_replace(vector(1), \"a\", \"b\", \"c\", \"(\")";
    let ask = || {
        let data = data.to_str().expect("a name");
        let output = run_command(&mut command(&["query", "-d", data, "--promql", expression]), b"");
        assert_ne!(output.status.code(), Some(0));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = ask();
    collector.stop();
    assert!(told.lines().count() == 3 && told.trim_end().ends_with('^'), "{told}");
    assert_eq!(told, ask());
}

#[test]
fn a_body_that_is_no_remote_write_is_refused_and_nothing_panics() {
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &IDLE);
    let mut random = Random::new(7);
    // A good one: load{job="x"} 2.5 at 1,700,000,000,000 ms, as a snappy block of one literal.
    let message = b"\x0a\x2b\x0a\x10\x0a\x08__name__\x12\x04load\x0a\x08\x0a\x03job\x12\x01x\x12\x10\x09\0\0\0\0\0\0\x04\x40\x10\x80\xd0\x95\xff\xbc\x31";
    let message: Vec<u8> = message[..2].iter().chain(&message[2..]).copied().collect();
    let block = [&[message.len() as u8, ((message.len() - 1) << 2) as u8][..], &message].concat();
    let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";
    let post = |body: &[u8]| send(&collector.address, "POST", "/api/v1/write", headers, body).expect("an answer");
    let (status, words) = post(&block);
    assert!(status == 204 || status == 400, "{status} {words}");
    let (status, words) = post(b"\x01\x00\x0b");
    assert!(status == 400 && words.matches("bad protobuf").count() == 1, "{status} {words}");
    // A varint of 65 MiB, and enough bytes that it could be true.
    let large = [&[0x80, 0x80, 0xc0, 0x20][..], &vec![0; 4 << 20]].concat();
    let (status, words) = post(&large);
    assert!(status == 413 && words.contains("67108864 bytes when unpacked"), "{status} {words}");
    for _ in 0..200 {
        let mut bad = block.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bad.len() as u64) as usize;
            bad[at] = random.below(256) as u8;
        }
        bad.truncate(1 + random.below(bad.len() as u64) as usize);
        let (status, words) = post(&bad);
        assert!(status == 204 || (status == 400 && !words.is_empty()), "{status} {words} for {bad:?}");
    }
    let said = collector.stop();
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn files_are_imported_and_drawn() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let table = "timestamp,room,temp\n2023-11-14 22:13:20,hall,20.5\n2023-11-14 22:14:20,hall,21\nnonsense,hall,3\n2023-11-14 22:15:20,attic,9\n";
    let import = |words: &[&str], input: &str| {
        let data = data.to_str().expect("a name");
        run_command(&mut command(&[&["import", "-d", data], words].concat()), input.as_bytes())
    };
    let output = import(&["--format", "csv", "--name", "house", "--labels-of", "room", "-"], table);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("row 4") && said.contains("3 samples"), "{said}");
    let output = import(
        &["--format", "json", "-"],
        "{\"name\":\"house_temp\",\"labels\":{\"room\":\"attic\"},\"time\":1700000180,\"value\":8.5}\n",
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let query = |words: &[&str]| {
        let data = data.to_str().expect("a name");
        let output = run_command(&mut command(&[&["query", "-d", data, "--promql"], words].concat()), b"");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, told) = query(&["house_temp", "-U", "2023-11-14 22:17:00"]);
    assert!(
        code == Some(0)
            && told.contains(" 21  house_temp{room=\"hall\"}")
            && told.contains("8.5  house_temp{room=\"attic\"}"),
        "{told}"
    );
    let (code, told) =
        query(&["sum(house_temp)", "-S", "2023-11-14 22:13:00", "-U", "2023-11-14 22:17:00", "--step", "10s"]);
    assert!(code == Some(0) && told.contains("each 10 s") && told.chars().any(|c| c as u32 > 0x2800), "{told}");
    let (code, told) = query(&["sum(house_temp"]);
    assert!(code != Some(0) && told.contains('^'), "{told}");
}

#[test]
fn its_own_metrics_are_scraped_and_an_end_is_told() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let other = Collector::start(&folder.join("other"), &IDLE);
    let config = format!(
        "[[scrapes]]\nurl = 'http://{}/metrics'\ninterval = '200ms'\nlabels = {{ job = 'other' }}\n",
        other.address
    );
    let file = folder.join("duramen.toml");
    std::fs::write(&file, config).expect("a file");
    let collector = Collector::start(&data, &[&["--config", file.to_str().expect("a name")][..], &IDLE].concat());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs_f64();
    let up = || values(&collector, "up{job='other'}", now()).into_values().next();
    wait_for("a scrape", || up().filter(|value| value == "1"));
    assert_eq!(values(&collector, "duramen_durable_sequence{job='other'}", now()).len(), 1);
    let about = ask(&collector, "/api/v1/metadata?metric=duramen_durable_sequence");
    assert_eq!(about["data"]["duramen_durable_sequence"][0]["type"], "gauge");
    other.stop();
    wait_for("that it is down", || up().filter(|value| value == "0"));
    // Long before a sample would be too old, its series has ended.
    assert!(values(&collector, "duramen_durable_sequence{job='other'}", now()).is_empty());
    collector.stop();
}

#[test]
fn samples_that_were_acknowledged_are_there_after_each_kill_once() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let seed = setting("DURAMEN_SEED", 11);
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let (mut acknowledged, mut sent) = (0_u64, 0_u64);
    let start = 1_700_000_000_u64;
    let kills = setting("DURAMEN_SERIES_KILLS", 4);
    for round in 0..=kills {
        let collector = Collector::start(&data, &IDLE);
        // Sample n has the time of second n, the value n, and is of one of three series.
        let count = |query: &str| -> u64 {
            let found = values(&collector, query, (start + sent + 1) as f64);
            found.into_values().next().map_or(0, |value| value.parse::<f64>().expect("a number") as u64)
        };
        let range = format!("n[{}s]", sent + 2);
        let there = count(&format!("sum(count_over_time({range}))"));
        assert!(
            there >= acknowledged && there <= sent,
            "round {round}: {acknowledged} acknowledged, {there} there, {sent} sent"
        );
        if there > 0 {
            // The first ones, each once: their sum tells.
            let sum = values(&collector, &format!("sum(sum_over_time({range}))"), (start + sent + 1) as f64);
            let sum = sum.into_values().next().expect("a sum").parse::<f64>().expect("a number");
            assert_eq!(sum as u64, there * (there + 1) / 2, "round {round}: they are not the first {there}");
        }
        if round == kills {
            collector.stop();
            break;
        }
        // What was sent and not acknowledged may be there or not; it is sent again, which changes nothing.
        let address = collector.address.clone();
        let bodies = 5 + random.below(30);
        let sender = std::thread::spawn(move || {
            let (mut done, mut tried) = (there, there);
            for _ in 0..bodies * 10 {
                let body: String =
                    (1..=100).map(|n| tried + n).map(|n| format!("n,s={} value={n} {}\n", n % 3, start + n)).collect();
                tried += 100;
                match send(&address, "POST", "/write?precision=s", "", body.as_bytes()) {
                    Ok((204, _)) => done = tried,
                    _ => break,
                }
            }
            (done, tried)
        });
        std::thread::sleep(Duration::from_millis(20 + random.below(200)));
        collector.kill();
        (acknowledged, sent) = sender.join().expect("the sender ends");
    }
    println!("{kills} kills, {acknowledged} samples acknowledged, 0 lost");
    assert!(acknowledged > 0);
}

#[test]
fn a_real_prometheus_writes_into_it() {
    let (Some(_), Some(_)) = (installed("prometheus"), installed("curl")) else { return };
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &IDLE);
    let listen =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let config = format!(
        "global: {{scrape_interval: 500ms}}\nremote_write: [{{url: 'http://{0}/api/v1/write', queue_config: {{batch_send_deadline: 200ms}}, \
         metadata_config: {{send_interval: 500ms}}}}]\nscrape_configs: [{{job_name: self, static_configs: [{{targets: ['{listen}']}}]}}]\n",
        collector.address
    );
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config).expect("a file");
    let mut prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .arg(format!("--web.listen-address={listen}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus starts");
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs_f64();
    let scraped = || values(&collector, "count_over_time(up{job='self'}[1m])", now()).into_values().next();
    wait_for("samples of a real Prometheus", || {
        scraped().filter(|count| count.parse::<u32>().is_ok_and(|count| count >= 4))
    });
    let series = values(&collector, "count({job='self'})", now()).into_values().next();
    assert!(series.is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count > 100)));
    wait_for("what it says of its metrics", || {
        let about = ask(&collector, "/api/v1/metadata?metric=prometheus_build_info");
        (about["data"]["prometheus_build_info"][0]["type"] == "gauge").then_some(())
    });
    // Both answer a question about the past in the same way.
    let time = now() - 1.0;
    let query = "sum(prometheus_build_info) + count(up{job='self'})";
    let place = format!("/api/v1/query?query={}&time={time}", encoded(query));
    let (_, theirs) = send(&listen.to_string(), "GET", &place, "", b"").expect("an answer");
    let theirs: Value = serde_json::from_str(&theirs).expect("JSON");
    assert_eq!(ask(&collector, &place)["data"]["result"][0]["value"][1], theirs["data"]["result"][0]["value"][1]);
    let _ = prometheus.kill();
    let _ = prometheus.wait();
    collector.stop();
}

/// What published clients do: InfluxDB's of either interface, and one of remote_write.
const CLIENTS: &str = r#"
import sys, time
from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb import InfluxDBClient as V1
from prometheus_remote_writer import RemoteWriter
host, port = sys.argv[1].split(":")
now = 1700000000
with InfluxDBClient(url="http://" + sys.argv[1], token="any", org="any", enable_gzip=True) as client:
    points = [Point("py2").tag("room", "a b").field("n", i).time(now - i, WritePrecision.S) for i in range(500)]
    client.write_api(write_options=SYNCHRONOUS).write(bucket="home", record=points, write_precision=WritePrecision.S)
fields = {"value": 3.25, "text": "no sample"}
point = {"measurement": "py1", "tags": {"x": "y"}, "fields": fields, "time": now * 10**9}
assert V1(host=host, port=int(port), database="old").write_points([point])
series = {"metric": {"__name__": "pyrw"}, "values": [1.0, 2.5], "timestamps": [now * 1000 - 1000, now * 1000]}
RemoteWriter(url="http://" + sys.argv[1] + "/api/v1/write").send([series])
"#;

#[test]
fn published_python_clients_write() {
    let python = std::env::var("DURAMEN_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let has = Command::new(&python)
        .args(["-c", "import influxdb_client, influxdb, prometheus_remote_writer"])
        .stderr(Stdio::null())
        .status();
    if !has.is_ok_and(|status| status.success()) {
        println!("skipped: no Python with influxdb-client, influxdb and prometheus-remote-writer (DURAMEN_PYTHON)");
        return;
    }
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &IDLE);
    let output = Command::new(&python).args(["-c", CLIENTS, &collector.address]).output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value = |query: &str| values(&collector, query, 1_700_000_000.0).into_values().next();
    assert_eq!(value("count_over_time(py2_n{db='home',room='a b'}[10m])").as_deref(), Some("500"));
    assert_eq!(value("py1{x='y',db='old'}").as_deref(), Some("3.25"));
    assert_eq!(value("pyrw").as_deref(), Some("2.5"));
    collector.stop();
}
