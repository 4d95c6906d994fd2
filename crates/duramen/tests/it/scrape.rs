//! Scraping programs that answer badly: what is no metrics, what was cut, what has labels that clash.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::collector::{Collector, wait_for};
use crate::harness::{Folder, assert_code, command, run_command, stderr};
use crate::series::{IDLE, values};

/// A program that answers each request with what it is given.
struct Program {
    address: String,
    answer: Arc<Mutex<(&'static str, &'static str)>>,
    asked: Arc<AtomicU64>,
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Program {
    fn start(kind: &'static str, body: &'static str) -> Program {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let answer = Arc::new(Mutex::new((kind, body)));
        let asked = Arc::new(AtomicU64::new(0));
        let (given, counted) = (answer.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let head = BufReader::new(&stream).lines().map_while(Result::ok);
                head.take_while(|line| !line.is_empty()).for_each(drop);
                let (kind, body) = *given.lock().expect("nobody panics with it");
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
                let _ = (&stream).write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Program { address, answer, asked }
    }

    /// From here on it answers so; waits until that was heard.
    fn answer(&self, kind: &'static str, body: &'static str) {
        *self.answer.lock().expect("nobody panics with it") = (kind, body);
        let before = self.asked.load(Ordering::SeqCst);
        wait_for("scrapes", || (self.asked.load(Ordering::SeqCst) > before + 2).then_some(()));
    }
}

/// A page of HTML was once `up` without a word, and series that were missing from half a body had ended.
#[test]
fn what_is_no_metrics_is_down_and_ends_nothing() {
    let folder = Folder::fast();
    let program = Program::start(OPEN_METRICS, "a 1\nb{job=\"own\"} 2\n# EOF\n");
    let settings = folder.join("duramen.toml");
    let text = format!(
        "[[scrapes]]\nurl = 'http://{}/metrics'\ninterval = '100ms'\nlabels = {{ job = 'web' }}\n",
        program.address
    );
    std::fs::write(&settings, text).expect("written");
    let words = [&["--config", settings.to_str().expect("a name")][..], &IDLE].concat();
    let collector = Collector::start(&folder.join("data"), &words);
    let value = |query: &str| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
        values(&collector, query, now).into_values().next()
    };
    wait_for("a scrape", || value("up{job='web'}").filter(|up| up == "1"));
    // Two programs may say of themselves what they are; who asks knows better.
    assert_eq!(value("b{job='web',exported_job='own'}").as_deref(), Some("2"));
    program.answer(OPEN_METRICS, "a 1\n");
    assert_eq!(value("up").as_deref(), Some("0"));
    assert_eq!(value("b").as_deref(), Some("2"), "of a part nobody knows");
    program.answer("text/html", "<html>\n<body>moved</body>\n</html>\n");
    assert_eq!((value("up").as_deref(), value("a").as_deref()), (Some("0"), Some("1")));
    program.answer(OPEN_METRICS, "a 3\nnonsense\n# EOF\n");
    assert_eq!((value("up").as_deref(), value("a").as_deref(), value("b")), (Some("1"), Some("3"), None));
    assert!(collector.figure("scrape", "odd") > 6);
    let said = collector.stop();
    let told = said.lines().filter(|line| line.contains("scrape of")).collect::<Vec<_>>();
    // What came after it within a minute is not said.
    assert!(matches!(told[..], [line] if line.contains("no # EOF")), "{said}");
}

#[test]
fn settings_that_cannot_work_are_refused_beforehand() {
    let folder = Folder::fast();
    let settings = folder.join("duramen.toml");
    let check = |text: &str| {
        std::fs::write(&settings, text).expect("written");
        run_command(&mut command(&["config", "check", settings.to_str().expect("a name")]), b"")
    };
    assert_code(&check("[[scrapes]]\nurl = 'http://127.0.0.1:9100/metrics'\n"), 0);
    let output = check("[[scrapes]]\nurl = 'https://127.0.0.1:9100/metrics'\n");
    assert_code(&output, 1);
    let said = stderr(&output);
    assert!(said.contains("scrape of https://127.0.0.1:9100/metrics: only http:// is asked"), "{said}");
}
