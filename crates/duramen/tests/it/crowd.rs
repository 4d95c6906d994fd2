//! Many clients at once: what their bodies, questions and answers hold in memory together is bounded, and none of them keeps a write
//! waiting.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::scope;
use std::time::Duration;

use crate::collector::Collector;
use crate::harness::{Folder, peak_memory_bytes};
use crate::series::{IDLE, encoded, send, values, write};

const MIB: u64 = 1 << 20;

fn start(folder: &Folder, settings: &[(&str, &str)]) -> Collector {
    let data = folder.join("data");
    let mut command = Collector::command(&data, &IDLE);
    command.envs(settings.iter().copied());
    Collector::of(&data, &mut command)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

/// Bodies of which nobody counted what came out of them: sixteen of 5.9 MB once took 851 MB.
#[test]
fn gzip_bodies_at_once_do_not_add_up() {
    let folder = Folder::fast();
    let collector = start(&folder, &[("DURAMEN__HTTP__BODY_BYTES_MAX", "1M")]);
    // Each byte costs time, so that bodies would wait for one another, unpacked.
    let mut lines = "crowd value=1 1700000000\n".to_string();
    lines.push_str(&"#\n".repeat((4 << 20) / 2 - 20));
    let body = gzip(lines.as_bytes());
    let before = peak_memory_bytes(&collector.child);
    scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let headers = "Content-Encoding: gzip\r\n";
                let (status, words) = send(&collector.address, "POST", "/write", headers, &body).expect("an answer");
                assert_eq!(status, 204, "{words}");
            });
        }
    });
    let grown = peak_memory_bytes(&collector.child) - before;
    println!("{} MiB more", grown / MIB);
    assert!(grown < 32 * MIB, "{} MiB for bodies of which 8 MiB are held at once", grown / MIB);
    let too_large = gzip(&b"#\n".repeat(3 << 20));
    let (status, words) =
        send(&collector.address, "POST", "/write", "Content-Encoding: gzip\r\n", &too_large).expect("an answer");
    assert!(status == 413 && words.contains("4194304 bytes when unpacked"), "{status} {words}");
    collector.stop();
}

/// Sixteen threads were there for all: sixteen tails, and nothing was taken any more.
#[test]
fn tails_keep_no_write_waiting() {
    let folder = Folder::fast();
    let collector = start(&folder, &[]);
    let tail = || {
        let mut stream = TcpStream::connect(&collector.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time");
        write!(stream, "GET /tail HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("it answers");
        assert_eq!(&first, b"HTTP/1.1 200");
        stream
    };
    let tails: Vec<TcpStream> = (0..24).map(|_| tail()).collect();
    assert_eq!(write(&collector, "/write?precision=s", "crowd value=2 1700000000\n").0, 204);
    assert_eq!(values(&collector, "crowd", 1_700_000_000.0).into_values().collect::<Vec<_>>(), ["2"]);
    drop(tails);
    collector.stop();
}

/// Each query had a budget of its own: fourteen at once took 1.16 GB. One that needs more than its share gets it, alone.
#[test]
fn large_queries_at_once_do_not_add_up() {
    let folder = Folder::fast();
    let collector = start(&folder, &[]);
    let series = |number: usize| format!("label_replace(vector(1), \"s\", \"{number}\", \"\", \"\")");
    // 10,001 points of each of 60 series, where a share is 500,000 samples.
    let query = (0..60).map(series).collect::<Vec<_>>().join(" or ");
    let place = format!("/api/v1/query_range?query={}&start=0&end=10000&step=1", encoded(&query));
    let before = peak_memory_bytes(&collector.child);
    scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let (status, answer) = send(&collector.address, "GET", &place, "", b"").expect("an answer");
                assert_eq!((status, answer.matches("\"metric\"").count()), (200, 60), "{:.200}", answer);
            });
        }
    });
    let grown = peak_memory_bytes(&collector.child) - before;
    println!("{} MiB more", grown / MIB);
    assert!(grown < 90 * MIB, "{} MiB for queries of which one runs at a time", grown / MIB);
    let many = (0..90).map(series).collect::<Vec<_>>().join(" or ");
    let place = format!("/api/v1/query_range?query={}&start=0&end=10999&step=1&timeout=1ms", encoded(&many));
    let (status, answer) = send(&collector.address, "GET", &place, "", b"").expect("an answer");
    assert!(status == 503 && answer.contains("\"timeout\""), "{status} {answer:.200}");
    collector.stop();
}
