//! `exec`: runs a command, passes its output through, and stores it. Owns the command's life: its pipes, its signals, its end. Whatever
//! happens to the store, the command does not notice; storing is [`sink`]'s, the lines wait for it in [`queue`].
//!
//! A program that writes into a pipe keeps more of its output back than one on a terminal; that is its own choice. Processes that it
//! leaves behind are not waited for: what they print later is lost, and they find the pipe closed.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it runs a process and has threads of its own")]

mod queue;
mod sink;

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use crate::cli::store::Exec;
use crate::commands::store::exec::queue::{Queue, Stream};
use crate::commands::store::exec::sink::{Last, Sink};
use crate::exit::Exit;

/// Bytes that are read of the command's output at once.
const READ_BYTES: usize = 64 << 10;
/// How long its pipes must be silent, once it has ended, to count as read: processes that it left behind may hold them open.
const SILENCE: Duration = Duration::from_millis(200);
/// Linux's number for a failing power, which `signal-hook` does not name.
const SIGPWR: i32 = 30;

/// Runs it. The command's end decides the exit code.
///
/// # Errors
/// Its pipes or threads cannot be had.
pub fn run(arguments: &Exec) -> anyhow::Result<Exit> {
    let (program, words) = arguments.command.split_first().context("there is no command")?;
    let app = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
    // Before the command runs, so that no signal finds us without a handler and it without a parent.
    let passed = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGPWR];
    let signals = SignalsInfo::<WithOrigin>::new(passed).context("cannot handle signals")?;
    let begin = Instant::now();
    let mut child = match Command::new(program).args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("duramen: cannot run {}: {error}", program.display());
            return Ok(Exit::Command(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }));
        }
    };
    let queue = Arc::new(Queue::default());
    let sink = Sink::start(arguments, &app, queue.clone())?;
    let running = Arc::new(Mutex::new(Some(Pid::from_child(&child))));
    let handle = signals.handle();
    let passing = pass_signals(signals, running.clone())?;
    let ended = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    let streams = [
        (Stream::Out, child.stdout.take().map(OwnedFd::from), io::stdout().as_fd().try_clone_to_owned()),
        (Stream::Err, child.stderr.take().map(OwnedFd::from), io::stderr().as_fd().try_clone_to_owned()),
    ];
    for (stream, pipe, own) in streams {
        let pipe = File::from(pipe.context("the command has no output")?);
        let own = if arguments.quiet { None } else { own.ok().map(File::from) };
        let mut reader = Reader { stream, pipe, own, queue: queue.clone(), ended: ended.clone() };
        readers.push(std::thread::Builder::new().name("duramen-output".into()).spawn(move || reader.run())?);
    }
    let status = wait(&mut child, &running)?;
    ended.store(true, Ordering::Release);
    let joined = readers.into_iter().chain([passing]);
    handle.close();
    for thread in joined {
        let _ = thread.join();
    }
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    queue.end(Last { code, signal: status.signal(), text: words_of(status, begin.elapsed()) });
    if let Some(failure) = sink.end() {
        eprintln!("duramen: {failure}; {app} itself {}", words_of(status, begin.elapsed()));
    }
    Ok(Exit::Command(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// How it ended, for people.
fn words_of(status: ExitStatus, after: Duration) -> String {
    let how = match status.signal() {
        Some(signal) => format!("was killed by signal {signal}"),
        None => format!("exited with {}", status.code().unwrap_or(0)),
    };
    format!("{how} after {:.1} s", after.as_secs_f64())
}

/// Waits for the command's end; afterwards its number, which another process may get, is sent no more signals.
fn wait(child: &mut Child, running: &Mutex<Option<Pid>>) -> io::Result<ExitStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(Pid::from_child(child)), options) {}
    *running.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    child.wait()
}

/// Passes on what other processes send. A terminal's signals go to the command by themselves.
fn pass_signals(mut signals: SignalsInfo<WithOrigin>, running: Arc<Mutex<Option<Pid>>>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("duramen-signals".into()).spawn(move || {
        for origin in &mut signals {
            if origin.cause == Cause::Kernel {
                continue;
            }
            let running = running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if let (Some(pid), Some(signal)) = (*running, Signal::from_named_raw(origin.signal)) {
                let _ = kill_process(pid, signal);
            }
        }
    })
}

/// Reads one of the command's two streams.
struct Reader {
    stream: Stream,
    pipe: File,
    /// Where it is passed through to.
    own: Option<File>,
    queue: Arc<Queue>,
    ended: Arc<AtomicBool>,
}

impl Reader {
    fn run(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        let look = Timespec::try_from(SILENCE).unwrap_or_default();
        loop {
            let over = self.ended.load(Ordering::Acquire);
            let mut waiting = [PollFd::new(&self.pipe, PollFlags::IN)];
            match poll(&mut waiting, Some(&look)) {
                Ok(0) if over => return,
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => return,
            }
            let bytes = match self.pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => &buffer[..count],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let passed = match &mut self.own {
                Some(own) => write(own, bytes),
                None => Ok(()),
            };
            self.queue.push(self.stream, bytes);
            // Whoever read our output went away; without us, the command would find its pipe closed, and so it does.
            if passed.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return;
            }
        }
    }
}

/// Writes all, also where our own output was opened not to block.
fn write(own: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match own.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(own, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
