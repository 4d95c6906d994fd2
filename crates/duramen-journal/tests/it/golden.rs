//! Journals of version 1 as this code wrote them when the format was frozen: they must be read as they were meant, and
//! the plain ones must be written again byte for byte. What a compressor makes of its input is its own affair, so those are
//! only read.
//!
//! `DURAMEN_REGENERATE=1` writes the files anew. That is right only before a version is released; afterwards a change of
//! the format gets a folder of its own, and these stay.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use duramen_journal::disk::sim::SimDisk;
use duramen_journal::disk::{Environment, Worker, World};
use duramen_journal::{
    Append, Batch, Codec, DamageKind, End, FreshPages, Journal, LogNumber, Observer, ObserverFactory, Options,
    ReadOptions, Reader, Sequence,
};

use crate::simulated::{FOLDER, segment, small};

const FOLDER_V1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1");

/// Entropy that counts, and a clock that stands: what is written depends on nothing else.
#[derive(Debug, Default)]
struct Counted {
    drawn: AtomicU64,
}

impl Environment for Counted {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn entropy(&self, out: &mut [u8]) -> io::Result<()> {
        for chunk in out.chunks_mut(8) {
            let drawn = (0x1000 + self.drawn.fetch_add(1, Ordering::Relaxed)).to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
        Ok(())
    }

    fn spawn(&self, _name: &str, _work: Box<dyn FnOnce() + Send>) -> io::Result<Option<Box<dyn Worker>>> {
        Ok(None)
    }

    fn wait(&self, _word: &AtomicU32, _expected: u32, _timeout: Option<Duration>) {}

    fn wake(&self, _word: &AtomicU32, _count: u32) {}
}

/// Counts records, for a summary and a checkpoint.
#[derive(Debug)]
struct Counting;

struct Count(u64);

impl ObserverFactory for Counting {
    fn observer(&self) -> Box<dyn Observer> {
        Box::new(Count(0))
    }
}

impl Observer for Count {
    fn begin(&mut self, _first: Sequence) {}

    fn record(&mut self, _sequence: Sequence, _log: LogNumber, _kind: u8, _payload: &[u8]) {
        self.0 += 1;
    }

    fn checkpoint_found(&mut self, _log: LogNumber, _kind: u8, payload: &[u8]) {
        let mut word = [0; 8];
        word.copy_from_slice(payload);
        self.0 = u64::from_le_bytes(word);
    }

    fn summary(&mut self) -> Vec<u8> {
        format!("{} records so far", self.0).into_bytes()
    }

    fn checkpoint(&mut self) -> Option<(LogNumber, u8, Vec<u8>)> {
        Some((9, 3, self.0.to_le_bytes().to_vec()))
    }
}

/// One golden journal.
struct Golden {
    name: &'static str,
    text: &'static str,
    options: Options,
    /// Whether every byte of it is this crate's own.
    own_bytes: bool,
    run: fn(&Journal),
    /// What happens to the durable bytes afterwards.
    then: fn(&SimDisk),
    end: End,
}

fn goldens() -> Vec<Golden> {
    let plain = Options { segment_records_max: 6, spares_max: 0, ..small() };
    let golden = |name, text, options| Golden {
        name,
        text,
        options,
        own_bytes: true,
        run: |journal| {
            fill(journal, 20);
            journal.close().expect("closes");
        },
        then: |_| {},
        end: End::Closed,
    };
    vec![
        golden("closed", include_str!("../golden/v1/closed.txt"), plain.clone()),
        golden(
            "observed",
            include_str!("../golden/v1/observed.txt"),
            // A checkpoint may take a sixteenth of a segment, page included.
            Options { observer: Some(Arc::new(Counting)), segment_bytes: 128 << 10, ..plain.clone() },
        ),
        Golden {
            run: |journal| {
                fill(journal, 20);
                journal.release(14).expect("releases");
                fill(journal, 30);
                journal.close().expect("closes");
            },
            ..golden("recycled", include_str!("../golden/v1/recycled.txt"), Options { spares_max: 2, ..plain.clone() })
        },
        Golden {
            run: |journal| fill(journal, 4),
            // The last commit's first sector alone is missing.
            then: |disk| disk.write_durable(&segment(1), 4 * 4096, &[0; 512]).expect("overwrites"),
            end: End::Torn,
            ..golden(
                "torn",
                include_str!("../golden/v1/torn.txt"),
                Options { fresh_pages: FreshPages::Always, ..plain.clone() },
            )
        },
        Golden {
            run: |journal| fill(journal, 9),
            then: |disk| disk.flip_durable_bit(&segment(2), 8192 + 70, 3).expect("flips"),
            end: End::Damaged,
            ..golden("damaged", include_str!("../golden/v1/damaged.txt"), plain.clone())
        },
        Golden {
            own_bytes: false,
            ..golden("lz4", include_str!("../golden/v1/lz4.txt"), Options { codec: Codec::Lz4, ..plain.clone() })
        },
        Golden {
            own_bytes: false,
            ..golden("zstd", include_str!("../golden/v1/zstd.txt"), Options { codec: Codec::Zstd(3), ..plain })
        },
    ]
}

/// What record `sequence` holds: now and then nothing, now and then more than a page.
fn payload(sequence: Sequence) -> Vec<u8> {
    match sequence % 7 {
        0 => Vec::new(),
        5 => format!("record {sequence} of more than a page; ").into_bytes().repeat(150),
        _ => format!("record {sequence}").into_bytes(),
    }
}

/// Batches of one, two, three, one, … records up to this sequence, each durable before the next.
fn fill(journal: &Journal, last: Sequence) {
    while journal.appended() < last {
        let first = journal.appended() + 1;
        let mut batch = Batch::new();
        for sequence in first..=last.min(first + first % 3) {
            batch.push(1 + (sequence % 3) as u32, sequence as u8, &payload(sequence));
        }
        journal.append_batch(&batch, Append::default()).expect("appends").wait().expect("durable");
    }
}

/// Writes a journal anew: the disk after a power cut.
fn written(golden: &Golden) -> SimDisk {
    let disk = SimDisk::new(1);
    let world = World { environment: Arc::new(Counted::default()), ..disk.world() };
    let (journal, _) = Journal::open_with(FOLDER, &golden.options, world).expect("opens");
    (golden.run)(&journal);
    let disk = disk.reboot(duramen_journal::disk::sim::Crash::LoseAll);
    (golden.then)(&disk);
    disk
}

/// A journal as text: the report on it, then each file's length and its lines of 32 bytes that are not all zero. Files
/// that mean nothing are left out.
fn text(disk: &SimDisk) -> String {
    let mut out = format!("report {}\n", read(disk).report().to_json());
    for (path, bytes) in crate::simulated::contents(disk) {
        if path.ends_with(".tmp") || path.ends_with("LOCK") {
            continue;
        }
        let _ = writeln!(out, "file {path} {}", bytes.len());
        for (index, line) in bytes.chunks(32).enumerate() {
            if line.iter().any(|&byte| byte != 0) {
                let _ = write!(out, "{:x} ", index * 32);
                line.iter().for_each(|byte| {
                    let _ = write!(out, "{byte:02x}");
                });
                out.push('\n');
            }
        }
    }
    out
}

/// A disk with the files that a text describes, and the report that belongs to them.
fn restored(text: &str) -> (SimDisk, String) {
    let disk = SimDisk::new(1);
    let mut report = String::new();
    let mut file: Option<(String, Vec<u8>)> = None;
    let put = |file: Option<(String, Vec<u8>)>| {
        if let Some((path, bytes)) = file {
            disk.put_durable(&path, &bytes).expect("fits");
        }
    };
    for line in text.lines() {
        let (head, rest) = line.split_once(' ').expect("two words");
        match head {
            "report" => report = rest.to_string(),
            "file" => {
                let (path, length) = rest.split_once(' ').expect("a path and a length");
                put(file.replace((path.to_string(), vec![0; length.parse().expect("a length")])));
            }
            offset => {
                let offset = usize::from_str_radix(offset, 16).expect("an offset");
                let bytes = &mut file.as_mut().expect("a file before its bytes").1;
                for (index, place) in (0..rest.len()).step_by(2).enumerate() {
                    bytes[offset + index] = u8::from_str_radix(&rest[place..place + 2], 16).expect("two digits");
                }
            }
        }
    }
    put(file);
    (disk, report)
}

fn read(disk: &SimDisk) -> Reader {
    Reader::open_with(FOLDER, &ReadOptions::default(), disk.world()).expect("opens to read")
}

#[test]
fn version_1_is_read_as_it_was_meant() {
    for golden in goldens() {
        let name = golden.name;
        let (disk, report) = restored(golden.text);
        let reader = read(&disk);
        assert_eq!(reader.report().to_json(), report, "{name}");
        assert_eq!(reader.report().end, golden.end, "{name}");
        let mut next = reader.first();
        for record in reader.scan(..) {
            let Ok(record) = record else { break };
            assert_eq!((record.sequence, record.kind), (next, next as u8), "{name}");
            assert_eq!(record.log, 1 + (next % 3) as u32, "{name}");
            assert!(record.payload == payload(next), "{name}, record {next}");
            next += 1;
        }
        match golden.end {
            End::Damaged => assert_eq!(reader.report().damage[0].what, DamageKind::Commit, "{name}"),
            _ => assert_eq!(next, reader.report().next, "{name}: all of them"),
        }
    }
}

#[test]
fn version_1_can_be_written_on() {
    for golden in goldens().into_iter().filter(|golden| golden.end != End::Damaged) {
        let (disk, _) = restored(golden.text);
        let options = Options { torn_tail: duramen_journal::TornTail::Cut, ..golden.options };
        let (journal, report) = Journal::open_with(FOLDER, &options, disk.world()).expect("opens");
        let last = report.next + 20;
        fill(&journal, last);
        journal.close().expect("closes");
        assert_eq!(read(&disk).scan(..).filter(|record| record.is_ok()).count() as u64, last + 1 - report.first);
    }
}

#[test]
fn version_1_is_written_as_it_was() {
    for golden in goldens() {
        let now = text(&written(&golden));
        if std::env::var_os("DURAMEN_REGENERATE").is_some() {
            #[allow(clippy::disallowed_methods, reason = "whoever regenerates wants files in the repository")]
            std::fs::write(format!("{FOLDER_V1}/{}.txt", golden.name), now).expect("writes");
        } else if golden.own_bytes {
            let differs = golden.text.lines().zip(now.lines()).find(|(then, now)| then != now);
            assert!(golden.text == now, "{}: the format changed without a new version: {differs:?}", golden.name);
        }
    }
}
