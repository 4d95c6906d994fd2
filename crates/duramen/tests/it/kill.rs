//! The kill loop: a writer that acknowledges on standard output is killed with -9 at random moments, very early ones
//! included; after each kill, everything that it had acknowledged is there, in order, and nothing else.
//!
//! `DURAMEN_KILLS` sets the number of kills, `DURAMEN_SEED` replays a run.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use duramen::journal::{Reader, Record};
use duramen::lines;

use crate::harness::{Folder, Random, Writer, acknowledged, assert_code, cat, setting};

/// Lines after which a fresh folder is begun, so that each check stays short.
const LINES_PER_FOLDER: u64 = 6_000;

/// The line with this number: its length varies, and some are longer than a record.
fn line(number: u64) -> Vec<u8> {
    let length = if number % 997 == 500 { 30_000 } else { number * 7919 % 300 };
    let mut bytes = format!("{number} ").into_bytes();
    bytes.extend((0..length).map(|place| b'a' + ((place + number) % 26) as u8));
    bytes.push(b'\n');
    bytes
}

/// Joins the stored records to lines and checks each against what was sent; returns how many there are.
fn check(path: &Path) -> u64 {
    let reader = match Reader::open(path) {
        Ok(reader) => reader,
        // Killed before there was a journal.
        Err(duramen::journal::Error::Missing { .. }) => return 0,
        Err(error) => panic!("the journal cannot be read after a kill: {error}"),
    };
    assert!(reader.report().damage.is_empty(), "a kill looks like damage: {}", reader.report());
    let (mut count, mut begun, mut next) = (0, Vec::new(), reader.first());
    for record in reader.scan(..) {
        let record: Record = record.expect("every record before the end can be read");
        assert_eq!(record.sequence, next, "sequences are dense");
        next += 1;
        match record.kind {
            lines::KIND_ABANDONED => begun.clear(),
            kind => {
                lines::restore(kind, &record.payload, &mut begun).expect("a vector takes all bytes");
                if kind == lines::KIND_LINE {
                    assert!(begun == line(count), "line {count} is not what was sent");
                    begun.clear();
                    count += 1;
                }
            }
        }
    }
    count
}

/// How long a writer lives: often no longer than its own start takes.
fn lifetime(random: &mut Random) -> Duration {
    let micros = match random.below(4) {
        0 => random.below(4_000),
        1 => 2_000 + random.below(8_000),
        _ => 4_000 + random.below(30_000),
    };
    Duration::from_micros(micros)
}

/// Starts a writer, feeds it from line `from` on, kills it; returns how many lines it acknowledged.
fn live_and_die(path: &Path, from: u64, random: &mut Random) -> u64 {
    let policy = ["always", "always", "interval:2ms", "batch:50,3ms"][random.below(4) as usize];
    let codec = ["none", "lz4", "zstd"][random.below(3) as usize];
    let life = lifetime(random);
    let piece = 1 + random.below(2_000) as usize;
    let mut writer = Writer::start(path, &["--segment-bytes", "64K", "--policy", policy, "--codec", codec]);
    let mut input = writer.input.take().expect("a pipe");
    let begin = Instant::now();
    let feeder = std::thread::spawn(move || {
        for number in from.. {
            // Ends with the writer's death, which closes the pipe.
            if line(number).chunks(piece).any(|part| input.write_all(part).is_err()) {
                return;
            }
        }
    });
    std::thread::sleep(life.saturating_sub(begin.elapsed()));
    writer.child.kill().expect("the writer lives");
    // What it had written into the pipe before it died counts as acknowledged.
    let (_, output, said) = writer.finish();
    feeder.join().expect("the feeder ends");
    assert!(!said.contains("panicked"), "{said}");
    acknowledged(&output)
}

#[test]
fn nothing_acknowledged_is_missing_after_any_kill() {
    let kills = setting("DURAMEN_KILLS", 25);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
    let seed = setting("DURAMEN_SEED", now);
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let begin = Instant::now();
    let (mut folder, mut present) = (Folder::fast(), 0);
    let (mut acknowledged_in_all, mut silent) = (0, 0);
    for kill in 1..=kills {
        let path = folder.join("journal");
        let acknowledged = live_and_die(&path, present, &mut random);
        let found = check(&path);
        assert!(
            found >= present + acknowledged,
            "kill {kill} of seed {seed}: {present} lines were there, {acknowledged} more acknowledged, {found} found"
        );
        acknowledged_in_all += acknowledged;
        silent += u64::from(acknowledged == 0);
        present = found;
        if present > LINES_PER_FOLDER || kill == kills {
            let mut expected = Vec::new();
            (0..present).for_each(|number| expected.extend(line(number)));
            crate::harness::append(&path, &["--segment-bytes", "64K"], b"");
            let output = cat(&path);
            assert_code(&output, 0);
            crate::harness::assert_same(&output.stdout, &expected);
            (folder, present) = (Folder::fast(), 0);
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "kills {kills}, acknowledged {acknowledged_in_all}, killed before the first acknowledgement {silent}, lost 0, \
         {:.0} kills/s",
        kills as f64 / seconds
    );
}
