//! The errno sweep on the real kernel: `strace` makes one system call of the real binary fail, or kills the binary at
//! it, and afterwards everything acknowledged must be there, without a panic and without a code that the help does not
//! name. What is tried is taken from a trace of an undisturbed run: each call that named the journal's folder.
//!
//! Ignored by default, because it needs `strace` and the right to trace; it says so where they are missing.
//! `DURAMEN_STRACE_RUNS` sets the number of runs, `DURAMEN_SEED` replays a choice. A seed does not replay a race between the
//! threads of one run: `DURAMEN_STRACE_ONLY` makes only the cases whose description contains its words, such as
//! `Recover, call: "pwrite64", fault: "error=ENOSPC:when="`, again and again.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::harness::{
    Folder, PATIENCE, Random, acknowledged, assert_code, binary, cat, code, command_of, run_command, setting, stderr,
};

/// Inputs of one run, and lines in each: together more than a segment, so that a run rotates.
const INPUTS: u64 = 12;
const LINES_PER_INPUT: u64 = 60;

/// What is done to one call. `+` means from this call on, as a disk that is dead or full for good; the others pass.
const APPEND_FAULTS: [&str; 10] = [
    "error=EIO:when=",
    "error=EIO:when=+",
    "error=ENOSPC:when=",
    "error=ENOSPC:when=+",
    "error=EDQUOT:when=",
    "error=EDQUOT:when=+",
    "error=EROFS:when=+",
    "error=EINTR:when=",
    "error=EAGAIN:when=",
    "signal=SIGKILL:when=",
];
const READ_FAULTS: [&str; 5] =
    ["error=EIO:when=", "error=EIO:when=+", "error=EINTR:when=", "error=EAGAIN:when=", "signal=SIGKILL:when="];

/// The exit codes that the help names for a run which no signal ended. What recovery cannot read counts as damaged.
/// A failed call is no damage: code 4 is in none of them.
const CREATE_CODES: &[i32] = &[0, 1, 5, 6];
const RECOVER_CODES: &[i32] = &[0, 1, 5, 6];
const CAT_CODES: [i32; 4] = [0, 1, 3, 6];

/// What the disturbed process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// Appends to a folder that does not exist yet.
    Create,
    /// Appends to a journal whose writer was killed, and so recovers it first.
    Recover,
    /// Reads that journal.
    Read,
}

/// One run to make.
#[derive(Clone, Debug)]
struct Case {
    scene: Scene,
    call: String,
    fault: &'static str,
    ordinal: u64,
}

impl Case {
    /// The expression for `strace -e inject=`.
    fn expression(&self) -> String {
        match self.fault.strip_suffix('+') {
            Some(fault) => format!("{}:{fault}{}+", self.call, self.ordinal),
            None => format!("{}:{}{}", self.call, self.fault, self.ordinal),
        }
    }
}

fn line(number: u64) -> String {
    format!("{number} {}\n", "a line that is long enough to fill segments ".repeat(1 + (number % 5) as usize))
}

/// What all runs share: the inputs, and a journal whose writer was killed in the middle of its work.
struct Stage {
    folder: Folder,
    inputs: Vec<PathBuf>,
    killed: PathBuf,
    killed_lines: Vec<u8>,
}

impl Stage {
    fn new() -> Stage {
        let folder = Folder::new();
        let inputs: Vec<PathBuf> = (0..INPUTS)
            .map(|input| {
                let path = folder.join(&format!("input-{input}"));
                let text: String = (0..LINES_PER_INPUT).map(|place| line(input * LINES_PER_INPUT + place)).collect();
                fs::write(&path, text).expect("the temporary folder can be written");
                path
            })
            .collect();
        let killed = folder.join("killed");
        let mut stage = Stage { folder, inputs, killed, killed_lines: Vec::new() };
        // How many syncs one thread makes depends on the method that the journal chose for this disk. What is stored
        // counts, not what was acknowledged: on a busy machine the thread that prints may be killed before its first word.
        // And one that was killed in the last of its syncs has written its closing mark, and leaves nothing to recover.
        let kill = |when: u64| {
            let _ = fs::remove_dir_all(&stage.killed);
            let inject = format!("fdatasync:signal=SIGKILL:when={when}");
            let output = stage.append(&stage.killed, Some(&inject), None);
            let found = cat(&stage.killed);
            let cut_off = code(output.status) == 137 && code(found.status) == 3 && !found.stdout.is_empty();
            cut_off.then_some(found)
        };
        let found = (1..=30).rev().find_map(kill).expect("a sync kills a writer that has stored something");
        assert_code(&found, 3);
        stage.killed_lines = found.stdout;
        stage
    }

    fn expected(&self, scene: Scene) -> Vec<u8> {
        let mut expected = if scene == Scene::Create { Vec::new() } else { self.killed_lines.clone() };
        if scene != Scene::Read {
            (0..INPUTS * LINES_PER_INPUT).for_each(|number| expected.extend(line(number).into_bytes()));
        }
        expected
    }

    /// The folder that a run works on, in the state in which its scene begins.
    fn prepare(&self, scene: Scene) -> PathBuf {
        let path = self.folder.join("journal");
        let _ = fs::remove_dir_all(&path);
        if scene != Scene::Create {
            copy(&self.killed, &path);
        }
        path
    }

    fn append(&self, path: &Path, inject: Option<&str>, trace: Option<&Path>) -> Output {
        let mut words: Vec<OsString> = ["journal", "append"].map(OsString::from).into();
        words.push(path.into());
        words.extend(["--ack", "--segment-bytes", "64K", "--codec", "none"].map(OsString::from));
        words.extend(self.inputs.iter().map(OsString::from));
        strace(inject, trace, &words)
    }

    fn run(&self, scene: Scene, path: &Path, inject: Option<&str>, trace: Option<&Path>) -> Output {
        match scene {
            Scene::Create | Scene::Recover => self.append(path, inject, trace),
            Scene::Read => strace(inject, trace, &["journal".into(), "cat".into(), path.into()]),
        }
    }

    /// The calls of an undisturbed run that concern the journal: for each, the ordinals among its thread's calls of
    /// that name, which is how `when=` counts.
    fn calls(&self, scene: Scene) -> BTreeMap<String, Vec<u64>> {
        let path = self.prepare(scene);
        let trace = self.folder.join("trace");
        let output = self.run(scene, &path, None, Some(&trace));
        assert!([0, 3].contains(&code(output.status)), "an undisturbed run: {}", stderr(&output));
        let text = fs::read(&trace).expect("strace has written its trace");
        let text = String::from_utf8_lossy(&text);
        let name = path.to_str().expect("the temporary folder has a plain name");
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        // For each call and ordinal, whether every thread's call of that ordinal concerns the journal: the fault hits them
        // all, and those of the program's loader are not ours.
        let mut ours: BTreeMap<(String, u64), bool> = BTreeMap::new();
        for entry in text.lines() {
            let Some((thread, rest)) = entry.split_once(' ') else { continue };
            let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
            if !call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                // The second half of a call that another thread interrupted, a signal, or an end.
                continue;
            }
            let count = counts.entry((thread, call)).or_default();
            *count += 1;
            let concerns = arguments.contains(name) && call != "execve";
            *ours.entry((call.to_owned(), *count)).or_insert(true) &= concerns;
        }
        let mut calls: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for ((call, ordinal), _) in ours.into_iter().filter(|(_, ours)| *ours) {
            calls.entry(call).or_default().push(ordinal);
        }
        calls
    }

    /// Every case there is, in an order that takes from each call and fault in turn, so that a small budget sees all.
    fn cases(&self, random: &mut Random) -> Vec<Case> {
        let mut groups: Vec<VecDeque<Case>> = Vec::new();
        for scene in [Scene::Create, Scene::Recover, Scene::Read] {
            let faults: &[&'static str] = if scene == Scene::Read { &READ_FAULTS } else { &APPEND_FAULTS };
            for (call, ordinals) in self.calls(scene) {
                for &fault in faults {
                    // An injected error leaves the file open, unlike the kernel's, and the standard library panics where a
                    // folder cannot be closed: that tells nothing about a journal.
                    // And EAGAIN is how `flock` says that a writer lives, beside which a reader shows what is durable.
                    let lies = call == "flock" && fault.contains("EAGAIN");
                    if lies || call == "close" && fault.starts_with("error") {
                        continue;
                    }
                    let of = |ordinal: &u64| Case { scene, call: call.clone(), fault, ordinal: *ordinal };
                    let mut group: Vec<Case> = ordinals.iter().map(of).collect();
                    shuffle(&mut group, random);
                    groups.push(group.into());
                }
            }
        }
        shuffle(&mut groups, random);
        let mut cases = Vec::new();
        while groups.iter().any(|group| !group.is_empty()) {
            cases.extend(groups.iter_mut().filter_map(VecDeque::pop_front));
        }
        cases
    }

    /// Makes one run and checks what it left; returns the lines that it had acknowledged.
    fn check(&self, case: &Case) -> u64 {
        let what = format!("{case:?}");
        let path = self.prepare(case.scene);
        let begin = Instant::now();
        let output = self.run(case.scene, &path, Some(&case.expression()), None);
        assert!(begin.elapsed() < PATIENCE, "{what}: hangs");
        let said = stderr(&output);
        assert!(!said.contains("panicked"), "{what}: a panic: {said}");
        let ended = code(output.status);
        let expected = self.expected(case.scene);
        let killed = case.fault.starts_with("signal") && ended == 137;
        if case.scene == Scene::Read {
            assert!(killed || CAT_CODES.contains(&ended), "{what}: code {ended}: {said}");
            // What cannot be read is left out, with a word and a code of its own; the rest is good and in order.
            let mut lines = expected.split_inclusive(|byte| *byte == b'\n');
            let mut printed = output.stdout.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
            assert!(printed.all(|line| lines.any(|other| other == line)), "{what}: cat printed what was never written");
            if ended == 0 || ended == 3 {
                assert!(output.stdout == expected, "{what}: cat ended with {ended} and left lines out: {said}");
            }
            return self.check_journal(case, &expected, expected.len());
        }
        let codes = if case.scene == Scene::Create { CREATE_CODES } else { RECOVER_CODES };
        assert!(killed || codes.contains(&ended), "{what}: code {ended}: {said}");
        assert!(ended == 0 || killed || said.contains("duramen"), "{what}: an error without a word");
        let lines = acknowledged(&output.stdout);
        if ended == 0 {
            assert_eq!(lines, INPUTS * LINES_PER_INPUT, "{what}: success, but not all was acknowledged");
        }
        let before = if case.scene == Scene::Create { 0 } else { self.killed_lines.len() };
        let durable: usize = (0..lines).map(|number| line(number).len()).sum();
        self.check_journal(case, &expected, before + durable);
        lines
    }

    /// After a run, undisturbed: everything acknowledged is there and nothing else, and a writer goes on behind it.
    fn check_journal(&self, case: &Case, expected: &[u8], durable: usize) -> u64 {
        let path = self.folder.join("journal");
        let found = cat(&path);
        let said = stderr(&found);
        assert!(!said.contains("panicked"), "{case:?}: a panic in cat: {said}");
        let ended = code(found.status);
        // Without a journal there is nothing to read, which is right only if nothing was promised.
        let nothing = ended == 1 && durable == 0;
        assert!(nothing || ended == 0 || ended == 3, "{case:?}: cat ends with {ended}: {said}");
        if let Some(why) = no_prefix(&found.stdout, expected) {
            panic!("{case:?}: what is there is no prefix of what was appended: {why}");
        }
        assert!(
            found.stdout.len() >= durable,
            "{case:?}: {durable} bytes of lines were acknowledged, {} are there: {said}",
            found.stdout.len()
        );
        crate::harness::append(&path, &["--segment-bytes", "64K"], b"one more\n");
        let after = cat(&path);
        assert_code(&after, 0);
        let mut whole = found.stdout;
        whole.extend(b"one more\n");
        assert!(after.stdout == whole, "{case:?}: going on changed what was there");
        0
    }
}

/// Runs the binary under `strace`, which does to it what `inject` says and tells all its calls to `trace`. A run that
/// hangs is killed together with its tracer, by `timeout`, which makes a group of the two.
fn strace(inject: Option<&str>, trace: Option<&Path>, words: &[OsString]) -> Output {
    let mut all: Vec<OsString> = vec!["-s".into(), "KILL".into(), PATIENCE.as_secs().to_string().into()];
    all.extend(["strace", "-f", "-qq", "-o"].map(OsString::from));
    all.push(trace.unwrap_or(Path::new("/dev/null")).into());
    if let Some(inject) = inject {
        // Only this call is stopped at, which is what makes a run cheap.
        let call = inject.split(':').next().expect("split gives at least one part");
        all.extend(["-e".into(), format!("trace={call}").into(), "-e".into(), format!("inject={inject}").into()]);
    } else {
        all.push("-y".into());
    }
    all.push(binary().into());
    all.extend(words.iter().cloned());
    run_command(&mut command_of(Path::new("timeout"), &all), b"")
}

/// Why what was found is no prefix of what was expected: which line stands where another should.
fn no_prefix(found: &[u8], expected: &[u8]) -> Option<String> {
    if expected.starts_with(found) {
        return None;
    }
    let lines = |bytes: &[u8]| -> Vec<String> {
        bytes.split_inclusive(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    };
    let (found, expected) = (lines(found), lines(expected));
    let place = found.iter().zip(&expected).position(|(left, right)| left != right);
    let place = place.unwrap_or(found.len().min(expected.len()));
    let begin = |lines: &[String]| lines.get(place).map_or("none".to_owned(), |line| format!("{line:.20?}"));
    Some(format!("line {place} of {} is {}, and should be {}", found.len(), begin(&found), begin(&expected)))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last as u64 + 1) as usize);
    }
}

/// Whether a process can be traced here; says so if not.
fn can_trace() -> bool {
    let tried = std::process::Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            println!("skipped: strace may not trace here: {}", stderr(&output).trim());
            false
        }
        Err(error) => {
            println!("skipped: strace cannot be run: {error}");
            false
        }
    }
}

#[test]
#[ignore = "needs strace and the right to trace; .ci/run runs it"]
fn strace_finds_no_system_call_whose_failure_loses_a_line() {
    if !can_trace() {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
    let seed = setting("DURAMEN_SEED", now);
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let begin = Instant::now();
    let stage = Stage::new();
    let mut cases = stage.cases(&mut random);
    let mut runs = setting("DURAMEN_STRACE_RUNS", 60).min(cases.len() as u64);
    if let Ok(only) = std::env::var("DURAMEN_STRACE_ONLY") {
        cases.retain(|case| format!("{case:?}").contains(&only));
        assert!(!cases.is_empty(), "no case is described by {only}");
        runs = setting("DURAMEN_STRACE_RUNS", 60);
    }
    let (mut lines, mut calls, mut failed) = (0, BTreeMap::<&str, u64>::new(), 0);
    for case in cases.iter().cycle().take(runs as usize) {
        *calls.entry(&case.call).or_default() += 1;
        // Every failure is shown, not only the first: they come in families, and a sweep is long.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.check(case))) {
            Ok(acknowledged) => lines += acknowledged,
            Err(_) => {
                println!("FAILED: {case:?}, strace -f -e inject={}", case.expression());
                failed += 1;
            }
        }
    }
    println!("calls disturbed: {calls:?}");
    println!(
        "{runs} of {} strace injections, {lines} lines acknowledged, {failed} runs failed, {:.1} s",
        cases.len(),
        begin.elapsed().as_secs_f64()
    );
    assert_eq!(failed, 0, "seed {seed}");
}
