//! The power cut on a real file system: ext4 or xfs in an image file, a real writer on it, and the shutdown ioctl that both
//! have, which drops everything that the file system has not made durable, its own journal's last transaction included.
//! After mounting again, everything acknowledged must be there.
//!
//! Acknowledged means: read from the writer before the ioctl began. Unlike a power cut, the ioctl takes milliseconds, and
//! the kernel lets the syncs that it overtakes return success although their data is gone (seen with strace on Linux
//! 6.18: `fdatasync` called before the ioctl, returned 0 after it, its pages missing after mounting). With the power truly
//! gone nobody would have heard of them; they are counted apart.
//!
//! Ignored by default, because it needs root, the `mkfs` tools and loop devices; it says so where they are missing.
//! `DURAMEN_POWER_CUTS` sets the number of cuts (xfs takes a quarter of them), `DURAMEN_SEED` replays the choices (not the timing).

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::{Random, Writer, acknowledged, assert_code, cat, code, setting, stderr, wait};
use crate::mounted::FileSystem;

/// Lines after which a fresh journal is begun, so that each check stays short.
const LINES_PER_JOURNAL: u64 = 20_000;

/// How the writers write, by turns.
const SETTINGS: [&[&str]; 5] = [
    &["--segment-bytes", "64K"],
    &["--segment-bytes", "64K", "--policy", "batch:50,3ms", "--codec", "lz4"],
    &["--segment-bytes", "256K", "--policy", "interval:2ms", "--codec", "zstd"],
    &["--edge"],
    &["--edge", "--policy", "always"],
];

fn line(number: u64) -> Vec<u8> {
    let length = number * 7919 % 300;
    let mut bytes = format!("{number} ").into_bytes();
    bytes.extend((0..length).map(|place| b'a' + ((place + number) % 26) as u8));
    bytes.push(b'\n');
    bytes
}

/// Lines that a writer acknowledged: until the cut began, and while it ran.
struct Acknowledged {
    before: u64,
    during: u64,
}

/// Starts a writer behind `present` lines, and cuts the power at some moment.
fn live_until_cut(system: &FileSystem, path: &Path, present: u64, random: &mut Random) -> Acknowledged {
    let settings = SETTINGS[random.below(SETTINGS.len() as u64) as usize];
    let wanted = [0, 1, 1 + random.below(1_000), 1 + random.below(4_000)][random.below(4) as usize];
    let piece = 1 + random.below(2_000) as usize;
    let mut writer = Writer::start(path, settings);
    let mut input = writer.input.take().expect("a pipe");
    let feeder = std::thread::spawn(move || {
        for number in present.. {
            // Ends with the writer's death, which closes the pipe.
            if line(number).chunks(piece).any(|part| input.write_all(part).is_err()) {
                return;
            }
        }
    });
    let seen = if wanted == 0 { 0 } else { writer.wait_durable(wanted) };
    // The cut falls anywhere between two acknowledgements, or into the writer's start.
    std::thread::sleep(Duration::from_micros(random.below(3_000)));
    system.release_canary();
    let before = seen.max(writer.durable_by_now());
    system.cut();
    if random.below(2) == 0 {
        writer.child.kill().expect("not waited for yet");
    } else {
        // Left to itself it meets errors everywhere, and must end without acknowledging anything more that is not there.
        wait(&mut writer.child);
    }
    let (status, output, said) = writer.finish();
    feeder.join().expect("the feeder ends");
    assert!(!said.contains("panicked"), "{said}");
    assert!([1, 5, 137].contains(&code(status)), "a writer on a dead disk ends with {}: {said}", code(status));
    Acknowledged { before, during: acknowledged(&output).saturating_sub(before) }
}

/// Looks at the journal after the cut; returns how many lines there are.
fn check(path: &Path, durable: u64, what: &str) -> u64 {
    let found = cat(path);
    let said = stderr(&found);
    assert!(!said.contains("panicked"), "{what}: {said}");
    let ended = code(found.status);
    // Cut before there was a journal: right only if nothing was promised.
    let nothing = ended == 1 && durable == 0;
    assert!(nothing || ended == 0 || ended == 3, "{what}: cat ends with {ended}: {said}");
    let mut count = 0;
    for stored in found.stdout.split_inclusive(|byte| *byte == b'\n') {
        assert!(stored == line(count), "{what}: line {count} is not what was sent");
        count += 1;
    }
    assert!(count >= durable, "{what}: {durable} lines were durable, {count} are there: {said}");
    count
}

#[test]
#[ignore = "needs root, mkfs.ext4 and loop devices; .ci/run runs it"]
fn power_cut_loses_nothing_acknowledged_on_ext4() {
    cut_again_and_again("ext4", setting("DURAMEN_POWER_CUTS", 10));
}

#[test]
#[ignore = "needs root, mkfs.xfs and loop devices; .ci/run runs it"]
fn power_cut_loses_nothing_acknowledged_on_xfs() {
    cut_again_and_again("xfs", setting("DURAMEN_POWER_CUTS", 10).div_ceil(4));
}

fn cut_again_and_again(kind: &str, cuts: u64) {
    let mut system = match FileSystem::new(kind) {
        Ok(system) => system,
        Err(why) => {
            println!("skipped: no {kind} in an image file here: {why}");
            return;
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
    let seed = setting("DURAMEN_SEED", now);
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let begin = Instant::now();
    let path = system.place.join("journal");
    let (mut present, mut lines, mut lines_during, mut canaries_lost) = (0, 0, 0, 0);
    for cut in 1..=cuts {
        let acknowledged = live_until_cut(&system, &path, present, &mut random);
        system.unmount().expect("nobody uses the file system any more");
        system.mount().expect("the file system recovers from the cut");
        canaries_lost += u64::from(!system.canary_lives());
        lines += acknowledged.before;
        lines_during += acknowledged.during;
        present = check(&path, present + acknowledged.before, &format!("cut {cut} of seed {seed}"));
        if present > LINES_PER_JOURNAL {
            crate::harness::append(&path, &["--segment-bytes", "64K"], b"");
            assert_code(&cat(&path), 0);
            fs::remove_dir_all(&path).expect("the journal can be removed");
            present = 0;
        }
    }
    println!("{kind}: {cuts} power cuts, {lines} lines acknowledged, 0 lost");
    println!(
        "of {cuts} unsynced files {canaries_lost} lost, {lines_during} lines acknowledged during a cut and not counted, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    assert!(canaries_lost > 0, "no unsynced file was lost: these were no power cuts, and they prove nothing");
}
