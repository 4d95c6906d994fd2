//! The demo's writer: both sides of it. Owns the child process, from its start to its death, and what it acknowledged;
//! knows nothing of recovery.

#![allow(clippy::disallowed_types, reason = "the demo's input is an ordinary file beside the journal, not in it")]

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::cli;
use crate::exit::Exit;
use crate::stop::{Stop, Woken};
use crate::writer::{Acknowledge, LineWriter};

/// Bytes that the child reads and appends at once: one commit or a part of one.
const READ_BYTES: usize = 32 << 10;

/// The child's whole life.
///
/// # Errors
/// Those of the input and the journal.
pub fn writer(arguments: &cli::DemoWriter) -> anyhow::Result<Exit> {
    // Whoever kills the demo itself shall not leave a writer behind.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot follow the parent's death")?;
    let world = super::super::world();
    let options = super::options();
    let mut input = File::open(&arguments.input).context("cannot read the input")?;
    input.seek(SeekFrom::Start(arguments.offset)).context("cannot read the input")?;
    let (journal, _) = duramen_journal::Journal::open_with(&arguments.folder, &options, world.clone())?;
    let mut writer = LineWriter::new(&arguments.folder, journal, &options, &world, Acknowledge::Print(None))?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = input.read(&mut buffer).context("cannot read the input")?;
        if count == 0 {
            break;
        }
        writer.push(&buffer[..count])?;
    }
    writer.end_input()?;
    writer.settle().1?;
    Ok(Exit::Complete)
}

/// What a writer achieved.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Lines of its run that it acknowledged before it ended.
    pub acknowledged: u64,
}

/// The parent's side of a running child. Dropping it kills the child.
#[derive(Debug)]
pub struct Writer {
    child: Child,
    output: ChildStdout,
    /// Bytes of a line that has not ended yet.
    pending: Vec<u8>,
    acknowledged: u64,
}

impl Writer {
    /// Starts this same executable as a writer that begins at a byte of the input.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(journal: &Path, input: &Path, offset: u64) -> anyhow::Result<Writer> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(program)
            .arg("demo-writer")
            .arg(journal)
            .arg(input)
            .arg(offset.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the writer")?;
        let output = child.stdout.take().expect("standard output was just asked to be a pipe");
        Ok(Writer { child, output, pending: Vec::new(), acknowledged: 0 })
    }

    /// Reads acknowledgements until one of at least `goal` came, the child ended, or a signal came.
    ///
    /// # Errors
    /// The pipe cannot be read.
    pub fn wait_for(&mut self, goal: u64, stop: &Stop) -> io::Result<()> {
        while self.acknowledged < goal {
            if stop.wait_readable(self.output.as_fd())? == Woken::Stopped || self.read()? == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Lets it run on for a moment.
    ///
    /// # Errors
    /// The kernel cannot wait.
    pub fn linger(&self, time: Duration, stop: &Stop) -> io::Result<()> {
        stop.sleep(time, self.output.as_fd()).map(|_| ())
    }

    /// Kills it with -9, and counts what it had acknowledged up to its last breath.
    ///
    /// # Errors
    /// It cannot be killed, or it had failed before.
    pub fn kill(mut self) -> anyhow::Result<Life> {
        self.child.kill().context("cannot kill the writer")?;
        let status = self.wait_to_the_end()?;
        // It may have finished, or died of the Ctrl-C that the terminal sent to it as well; an error is an error.
        if status.code().is_some_and(|code| code != 0) {
            anyhow::bail!("the writer failed before it was killed ({status})");
        }
        Ok(Life { acknowledged: self.acknowledged })
    }

    /// Waits for it to finish.
    ///
    /// # Errors
    /// It failed; its own message is on standard error.
    pub fn join(mut self) -> anyhow::Result<Life> {
        let status = self.wait_to_the_end()?;
        if !status.success() {
            anyhow::bail!("the writer failed ({status})");
        }
        Ok(Life { acknowledged: self.acknowledged })
    }

    fn wait_to_the_end(&mut self) -> anyhow::Result<ExitStatus> {
        // What it wrote into the pipe before it died is an acknowledgement like any other.
        while self.read().context("cannot read the acknowledgements")? > 0 {}
        self.child.wait().context("cannot wait for the writer")
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let count = loop {
            match self.output.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.pending.extend_from_slice(&buffer[..count]);
        while let Some(end) = memchr::memchr(b'\n', &self.pending) {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let number = str::from_utf8(&line).ok().and_then(|line| line.trim_end().strip_prefix("durable "));
            let number = number.and_then(|number| number.parse().ok());
            self.acknowledged =
                number.ok_or_else(|| io::Error::other("the writer said something else than durable"))?;
        }
        Ok(count)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
