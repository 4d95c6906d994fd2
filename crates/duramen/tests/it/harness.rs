//! What the tests share: a temporary folder, running the binary, and talking to a running one. Asserts nothing about
//! journals.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes, on the slowest machine: a test that waits so long hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A folder that is removed with its value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        Folder::within(&std::env::temp_dir())
    }

    /// In memory where the machine has such a place: for tests of many processes, not of the disk.
    pub fn fast() -> Folder {
        let memory = Path::new("/dev/shm");
        let probe = memory.join(format!("duramen-probe-{}", std::process::id()));
        let usable = fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).is_ok();
        if usable { Folder::within(memory) } else { Folder::new() }
    }

    fn within(parent: &Path) -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("duramen-it-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("the temporary folder can be made");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_duramen"))
}

/// The command with its words; standard streams are pipes.
pub fn command<S: AsRef<OsStr>>(words: &[S]) -> Command {
    command_of(binary(), words)
}

pub fn command_of<S: AsRef<OsStr>>(program: &Path, words: &[S]) -> Command {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end, with this standard input.
pub fn run_command(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that ends early does not read all; that is its right.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("the binary ends")
    })
}

/// `duramen journal WORDS` to its end.
pub fn journal<S: AsRef<OsStr>>(words: &[S], input: &[u8]) -> Output {
    let mut all = vec![OsStr::new("journal")];
    all.extend(words.iter().map(AsRef::as_ref));
    run_command(&mut command(&all), input)
}

/// The exit code as a shell would see it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts a code and shows what was said when it differs.
#[track_caller]
pub fn assert_code(output: &Output, expected: i32) {
    assert_eq!(code(output.status), expected, "standard error: {}", stderr(output));
    let said = stderr(output);
    assert!(!said.contains("panicked"), "a panic: {said}");
}

/// Adds small segments to the words of a writer that says nothing of them: preparing those of the default size is
/// most of the time that such a short test would take.
fn with_small_segments<'w>(words: &[&'w str]) -> impl Iterator<Item = &'w OsStr> {
    let said = words.iter().any(|word| ["--segment-bytes", "--edge"].contains(word));
    let small: &[&str] = if said { &[] } else { &["--segment-bytes", "256K"] };
    words.iter().chain(small).map(|word| OsStr::new(*word)).collect::<Vec<_>>().into_iter()
}

/// Appends, asserting success.
#[track_caller]
pub fn append(folder: &Path, words: &[&str], input: &[u8]) {
    let mut all = vec![OsStr::new("append"), folder.as_os_str()];
    all.extend(with_small_segments(words));
    assert_code(&journal(&all, input), 0);
}

/// `cat` of a folder.
pub fn cat(folder: &Path) -> Output {
    journal(&[OsStr::new("cat"), folder.as_os_str()], b"")
}

/// Whether two long byte strings are equal, without printing them when not.
#[track_caller]
pub fn assert_same(found: &[u8], expected: &[u8]) {
    if found == expected {
        return;
    }
    let place = found.iter().zip(expected).position(|(left, right)| left != right);
    let place = place.unwrap_or(found.len().min(expected.len()));
    panic!("{} bytes found, {} expected, the first difference is at {place}", found.len(), expected.len());
}

/// A writer that is at work: `append --ack` with its standard input held open. Killed when dropped.
pub struct Writer {
    pub child: Child,
    pub input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Writer {
    pub fn start(folder: &Path, words: &[&str]) -> Writer {
        let mut all = vec![OsStr::new("journal"), OsStr::new("append"), folder.as_os_str(), OsStr::new("--ack")];
        all.extend(with_small_segments(words));
        let mut child = command(&all).spawn().expect("the binary starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Writer { input: child.stdin.take(), child, output }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.input.as_mut().expect("still open").write_all(bytes).expect("the writer reads");
    }

    /// Waits until so many lines are acknowledged; returns how many are, which can be more.
    #[track_caller]
    pub fn wait_durable(&mut self, lines: u64) -> u64 {
        loop {
            let mut line = String::new();
            let count = self.output.read_line(&mut line).expect("acknowledgements are text");
            assert!(count > 0, "the writer ended before {lines} lines were durable");
            let found = acknowledged(line.as_bytes());
            if found >= lines {
                return found;
            }
        }
    }

    /// The count that the acknowledgements have reached by now, without waiting for more; 0 if there is none to read.
    pub fn durable_by_now(&mut self) -> u64 {
        let mut durable = 0;
        loop {
            if self.output.buffer().is_empty() {
                let mut waiting = [PollFd::new(self.output.get_ref(), PollFlags::IN)];
                let ready = poll(&mut waiting, Some(&Timespec::default())).expect("a pipe can be asked");
                if ready == 0 || !waiting[0].revents().contains(PollFlags::IN) {
                    return durable;
                }
            }
            durable = self.wait_durable(1);
        }
    }

    pub fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Waits for its end, with standard input still open; returns the rest of what it said.
    pub fn finish(mut self) -> (ExitStatus, Vec<u8>, String) {
        let mut out = Vec::new();
        self.output.read_to_end(&mut out).expect("standard output can be read");
        let mut said = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("standard error can be read");
        (wait(&mut self.child), out, said)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("the process is there");
}

/// Waits with an end, so that a hang fails rather than hangs.
pub fn wait(child: &mut Child) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the process can be waited for") {
            return status;
        }
        assert!(begin.elapsed() < PATIENCE, "the process does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The number of the last complete `durable N` line, 0 without one.
pub fn acknowledged(output: &[u8]) -> u64 {
    let complete = output.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let text = str::from_utf8(&output[..complete]).expect("acknowledgements are text");
    text.lines().last().map_or(0, |line| {
        line.strip_prefix("durable ").and_then(|number| number.parse().ok()).expect("a line `durable N`")
    })
}

/// The most memory that a running process has had in use, in bytes.
pub fn peak_memory_bytes(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}

/// A small deterministic generator, so that a failure can be replayed from its seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// Below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

/// A number from the environment, for budgets.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Whether the tests run as root, who is stopped by no permission.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
