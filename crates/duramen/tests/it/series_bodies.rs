//! Bodies with samples that are compressed, broken, too large, or of more series than the store may know; and answers before the sync.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::collector::Collector;
use crate::harness::Folder;
use crate::series::{IDLE, ask, send, values, write};

/// A time that all samples here have, in seconds.
const TIME: u64 = 1_700_000_000;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("into memory");
    encoder.finish().expect("into memory")
}

/// Lines of as many hosts, from a first one on.
fn lines(name: &str, hosts: std::ops::Range<u32>) -> String {
    hosts.map(|host| format!("{name},host=h{host} value={host} {TIME}\n")).collect()
}

fn post(collector: &Collector, place: &str, headers: &str, body: &[u8]) -> (u16, String) {
    send(&collector.address, "POST", place, headers, body).expect("an answer")
}

fn count(collector: &Collector, query: &str) -> u64 {
    let found = values(collector, &format!("count({query})"), TIME as f64).into_values().next();
    found.map_or(0, |value| value.parse().expect("a number"))
}

/// A message of remote_write with a sample for each host, as a snappy block.
fn remote_write(name: &str, hosts: std::ops::Range<u32>) -> Vec<u8> {
    let part = |tag: u8, bytes: &[u8]| {
        // Everything here is shorter than two bytes of length can say.
        let length = [bytes.len() as u8 | 0x80, (bytes.len() >> 7) as u8];
        [&[tag][..], &length, bytes].concat()
    };
    let label =
        |name: &str, value: &str| part(0x0a, &[part(0x0a, name.as_bytes()), part(0x12, value.as_bytes())].concat());
    let mut message = Vec::new();
    for host in hosts {
        let mut milliseconds = TIME * 1_000;
        let mut sample = [&[0x09][..], &f64::from(host).to_le_bytes(), &[0x10]].concat();
        while milliseconds >= 0x80 {
            sample.push(milliseconds as u8 | 0x80);
            milliseconds >>= 7;
        }
        sample.push(milliseconds as u8);
        let series = [label("__name__", name), label("host", &format!("h{host}")), part(0x12, &sample)].concat();
        message.extend(part(0x0a, &series));
    }
    snap::raw::Encoder::new().compress_vec(&message).expect("into memory")
}

#[test]
fn compressed_lines_are_read_and_broken_ones_refused() {
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &IDLE);
    let gzipped = "Content-Encoding: gzip\r\n";
    let place = "/write?precision=s";
    assert_eq!(post(&collector, place, gzipped, &gzip(&lines("whole", 0..40))), (204, String::new()));
    assert_eq!(count(&collector, "whole"), 40);
    // Members behind each other, as senders make them that compress piece by piece.
    let pieces = [gzip(&lines("pieces", 0..5)), gzip(&lines("pieces", 5..9))].concat();
    assert_eq!(post(&collector, "/api/v2/write?precision=s&bucket=b", gzipped, &pieces).0, 204);
    assert_eq!(count(&collector, "pieces{db='b'}"), 9);
    let good = gzip(&lines("broken", 0..40));
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    for bad in [&good[..good.len() - 9], &good[..5], &flipped, lines("broken", 0..2).as_bytes()] {
        let (status, said) = post(&collector, place, gzipped, bad);
        let told: Value = serde_json::from_str(&said).expect("InfluxDB's form of an error");
        assert!(
            status == 400 && told["error"].as_str().is_some_and(|words| words.contains("no gzip")),
            "{status} {said}"
        );
        let (status, said) = post(&collector, "/api/v2/write?precision=s", gzipped, bad);
        let told: Value = serde_json::from_str(&said).expect("InfluxDB's form of an error");
        assert!(status == 400 && told["code"] == "invalid", "{status} {said}");
    }
    let (status, said) = post(&collector, place, "Content-Encoding: br\r\n", &good);
    assert!(status == 415 && said.contains("br") && said.contains("gzip"), "{status} {said}");
    assert_eq!(count(&collector, "broken"), 0, "nothing of what was refused is stored");
    collector.stop();
}

#[test]
fn bodies_over_the_bound_are_refused_whole_compressed_or_not() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let mut command = Collector::command(&data, &IDLE);
    command.env("DURAMEN__HTTP__BODY_BYTES_MAX", "1K");
    let collector = Collector::of(&data, &mut command);
    let long = lines("long", 0..100);
    for place in ["/write?precision=s", "/api/v2/write?precision=s"] {
        let (status, said) = post(&collector, place, "", long.as_bytes());
        assert!(status == 413 && said.contains("1024") && said.contains("body_bytes_max"), "{status} {said}");
    }
    // Short as it comes and long as it is.
    let many = lines("long", 0..1_000).replace(|c: char| c.is_ascii_digit(), "1");
    let packed = gzip(&many);
    assert!(packed.len() < 1_024 && many.len() > 4 * 1_024);
    let (status, said) = post(&collector, "/write?precision=s", "Content-Encoding: gzip\r\n", &packed);
    assert!(status == 413 && said.contains("send it in parts"), "{status} {said}");
    for (hosts, expected, words) in [(0..1_000, 413, "body_bytes_max"), (0..90, 413, "")] {
        let body = remote_write("long", hosts);
        let (status, said) = post(&collector, "/api/v1/write", "Content-Encoding: snappy\r\n", &body);
        assert!(status == expected && said.contains(words), "{} bytes: {status} {said}", body.len());
    }
    assert_eq!(count(&collector, "long"), 0);
    assert_eq!(write(&collector, "/write?precision=s", &lines("short", 0..5)).0, 204);
    assert_eq!(count(&collector, "short"), 5);
    collector.stop();
}

#[test]
fn a_series_too_many_is_refused_by_name_and_the_rest_kept() {
    const MAX: u64 = 30;
    let folder = Folder::fast();
    let data = folder.join("data");
    let mut command = Collector::command(&data, &IDLE);
    command.env("DURAMEN__STORE__STREAMS_MAX", MAX.to_string());
    let collector = Collector::of(&data, &mut command);
    let refused = |(status, said): (u16, String)| {
        let clear = said.contains("of at most 30") && said.contains("raise the bound");
        assert!(status == 400 && clear, "{status} {said}");
        said
    };
    // Remote_write begins, and has room.
    let (place, headers) = ("/api/v1/write", "Content-Encoding: snappy\r\n");
    assert_eq!(post(&collector, place, headers, &remote_write("rw", 0..10)).0, 204);
    let said = refused(write(&collector, "/write?precision=s", &lines("lp", 0..50)));
    assert!(said.contains("partial write"), "{said}");
    let kept = count(&collector, "lp");
    // The store's own events are streams too.
    assert!((1..=MAX - 10).contains(&kept), "{kept}");
    assert!(said.contains(&format!("{kept} values were written")), "{said}");
    assert!(said.contains(&format!("line {}", kept + 1)), "the first that is too many: {said}");
    let said = refused(post(&collector, place, headers, &remote_write("rw", 5..15)));
    assert!(said.contains("time series 6") && said.contains("5 samples were written"), "{said}");
    // What is known is taken as before, in a body with others too.
    assert_eq!(write(&collector, "/write?precision=s", &lines("lp", 0..kept as u32)).0, 204);
    let mixed = format!("lp,host=h0 value=77 {TIME}\nlp,host=new value=1 {TIME}\nlp,host=h1 value=78 {TIME}\n");
    refused(write(&collector, "/write?precision=s", &mixed));
    let found = values(&collector, "sum(lp{host=~'h0|h1|new'})", TIME as f64).into_values().next();
    assert_eq!(found.as_deref(), Some("155"));
    assert_eq!((count(&collector, "rw"), count(&collector, "lp")), (10, kept));
    collector.stop();
}

#[test]
fn who_does_not_wait_is_answered_before_the_sync() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let mut command = Collector::command(&data, &IDLE);
    // Nothing is synced by itself while the test runs.
    command.env("DURAMEN__STORE__COMMIT", "1h").env("DURAMEN__STORE__COMMIT_MAX", "2h");
    let collector = Collector::of(&data, &mut command);
    let unsynced = || {
        let status = ask(&collector, "/status");
        let figure = |name: &str| status[name].as_u64().expect("a figure");
        figure("appended") - figure("durable")
    };
    assert_eq!(write(&collector, "/write?precision=s", &lines("waits", 0..3)).0, 204);
    assert_eq!(unsynced(), 0, "an answer says that all of it is durable");
    for place in ["/write?precision=s&durable=false", "/api/v2/write?precision=s&durable=0"] {
        let before = unsynced();
        assert_eq!(write(&collector, place, &lines("hurries", 0..3)).0, 204);
        assert!(unsynced() > before, "{place} waited for a sync");
    }
    let before = unsynced();
    let body = remote_write("hurries", 3..5);
    assert_eq!(post(&collector, "/api/v1/write?durable=false", "Content-Encoding: snappy\r\n", &body).0, 204);
    assert!(unsynced() > before);
    assert_eq!(count(&collector, "hurries"), 5, "it is there to be asked for all the same");
    // Whoever waits takes along what came before.
    assert_eq!(write(&collector, "/write?precision=s", &lines("waits", 3..4)).0, 204);
    assert_eq!(unsynced(), 0);
    collector.stop();
}
