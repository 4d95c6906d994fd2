//! The inputs of `append` and `demo`: files, pipes and standard input, opened all at once before anything is written.
//! Owns the binary's reading of files that are no journal's; knows no journal.

#![allow(clippy::disallowed_types, reason = "inputs of the binary are ordinary files, outside any data folder")]

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
#[cfg(feature = "daemon")]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use crate::stop::{Stop, Woken};

/// One input.
#[derive(Debug)]
pub struct Source {
    /// What to call it.
    pub name: String,
    /// Its length, where it has one.
    pub bytes: Option<u64>,
    file: File,
}

/// What a read gave.
#[derive(Debug)]
pub enum Chunk {
    /// So many bytes.
    Bytes(usize),
    /// The input is at its end.
    End,
    /// A signal asks for a stop.
    Stopped,
}

impl Source {
    /// Opens every input, or none: a name that is wrong is found before the first line is stored.
    ///
    /// # Errors
    /// The first input that cannot be opened or is a folder.
    pub fn open_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
        if paths.is_empty() {
            return Ok(vec![Source::standard()?]);
        }
        paths.iter().map(|path| if path == Path::new("-") { Source::standard() } else { Source::open(path) }).collect()
    }

    /// Opens one file. It does not wait for the other end of a named pipe: reading does, where a signal is heard.
    pub fn open(path: &Path) -> anyhow::Result<Source> {
        let what = || format!("cannot read {}; nothing was appended", path.display());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from).with_context(what)?);
        let metadata = file.metadata().with_context(what)?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory)).with_context(what);
        }
        let bytes = metadata.is_file().then_some(metadata.len());
        Ok(Source { name: path.display().to_string(), bytes, file })
    }

    fn standard() -> anyhow::Result<Source> {
        let descriptor = io::stdin().as_fd().try_clone_to_owned().context("cannot read standard input")?;
        let file = File::from(descriptor);
        let metadata = file.metadata().context("cannot read standard input")?;
        if metadata.is_dir() {
            anyhow::bail!("standard input is a folder; nothing was appended");
        }
        Ok(Source { name: "standard input".to_string(), bytes: metadata.is_file().then_some(metadata.len()), file })
    }

    /// Whether a person types it.
    pub fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// Reads what is there without waiting, at most a buffer full; `None`: nothing is, now or ever.
    ///
    /// # Errors
    /// The kernel's answer to the read.
    #[cfg(feature = "daemon")]
    pub fn read_rest(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut there = [PollFd::new(&self.file, PollFlags::IN)];
        if poll(&mut there, Some(&Timespec::default()))? == 0 {
            return Ok(None);
        }
        match self.file.read(buffer) {
            Ok(count) => Ok((count > 0).then_some(count)),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for bytes or a signal, and reads what is there, at most a buffer full.
    ///
    /// # Errors
    /// The kernel's answer to the read.
    pub fn read(&mut self, buffer: &mut [u8], stop: &Stop) -> io::Result<Chunk> {
        loop {
            if stop.wait_readable(self.file.as_fd())? == Woken::Stopped {
                return Ok(Chunk::Stopped);
            }
            match self.file.read(buffer) {
                Ok(0) => return Ok(Chunk::End),
                Ok(count) => return Ok(Chunk::Bytes(count)),
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
