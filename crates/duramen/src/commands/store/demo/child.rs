//! The demo's daemon as a process: started, asked, killed, ended. Owns the child and its files; knows nothing of the comparison.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what the child says goes to an ordinary file beside its data"
)]

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::Daemon;
use crate::stop::{Stop, Woken};

/// A daemon that does not say that it is ready for so long has a fault.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Where everything of the daemon is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The data folder.
    pub data: PathBuf,
    /// The file that it follows.
    pub followed: PathBuf,
    /// What it says.
    pub log: PathBuf,
}

/// A running daemon. Dropping it kills it, unless it was left.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// The way to it.
    pub daemon: Daemon,
    left: bool,
}

impl Running {
    /// Starts this same executable as a daemon, and waits until it is ready. One that is to be `left` outlives this process.
    ///
    /// # Errors
    /// It cannot be started, ends at once, or a signal came.
    pub fn start(place: &Place, left: bool, stop: &Stop) -> anyhow::Result<Running> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let log =
            File::options().create(true).append(true).open(&place.log).context("cannot write the daemon's log")?;
        let mut command = Command::new(program);
        command.args(["run", "--ready", "--listen", "127.0.0.1:0", "--data"]).arg(&place.data);
        command.arg(glob::Pattern::escape(&place.followed.to_string_lossy()));
        command.env_remove("DURAMEN_CONFIG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        if left {
            // A Ctrl-C on the terminal is not meant for it.
            command.process_group(0);
        } else {
            command.arg("--with-parent");
        }
        let mut child = command.spawn().context("cannot start the daemon")?;
        let mut output = child.stdout.take().context("the daemon has no output")?;
        let mut running = Running { child, daemon: Daemon::at(""), left };
        let mut said = Vec::new();
        while !said.contains(&b'\n') {
            let mut buffer = [0; 256];
            if stop.wait_readable_for(output.as_fd(), START_PATIENCE)? != Woken::Ready {
                break;
            }
            match output.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => said.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot read what the daemon says"),
            }
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        let address = said.trim().strip_prefix("ready ");
        let address = address.with_context(|| format!("the daemon did not start: {}", last_words(&place.log)))?;
        running.daemon = Daemon::at(&format!("http://{address}"));
        Ok(running)
    }

    /// Its process.
    pub fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.process(), signal).context("the daemon is gone")
    }

    /// Kills it with -9, if nobody has yet, and waits for its death.
    ///
    /// # Errors
    /// It had ended by itself.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill the daemon")?;
        let status = self.child.wait().context("cannot wait for the daemon")?;
        anyhow::ensure!(status.code().is_none(), "the daemon ended by itself before it was killed ({status})");
        Ok(())
    }

    /// Asks it to end, and waits for it.
    ///
    /// # Errors
    /// It fails at its end.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.child.wait().context("cannot wait for the daemon")?;
        anyhow::ensure!(status.success(), "the daemon failed at its end ({status})");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.left {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The last lines that the daemon said.
pub fn last_words(log: &Path) -> String {
    let mut said = String::new();
    let _ = File::open(log).and_then(|mut file| file.read_to_string(&mut said));
    let lines: Vec<&str> = said.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}
