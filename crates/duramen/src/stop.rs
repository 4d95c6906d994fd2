//! Ctrl-C, SIGTERM and a hang-up as a value that commands ask and wait on. Owns the process's signal handlers: the
//! first signal asks for a clean stop, the second one ends the process at once. Knows no command.
//!
//! The handlers write into a pipe, so that one poll(2) waits for input and for a signal; no thread is involved.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The descriptor is ready.
    Ready,
    /// A signal asks for a stop.
    Stopped,
    /// The time is over.
    TimedOut,
}

/// The wish to stop.
#[derive(Debug)]
pub struct Stop {
    signal: Arc<AtomicUsize>,
    pipe: UnixStream,
    sender: UnixStream,
}

/// Asks for a stop from another thread, as a signal would.
#[derive(Debug)]
pub struct Raiser {
    signal: Arc<AtomicUsize>,
    sender: UnixStream,
}

/// Waits for a stop on another thread.
#[cfg(feature = "daemon")]
#[derive(Debug)]
pub struct Waiting {
    signal: Arc<AtomicUsize>,
    pipe: UnixStream,
}

#[cfg(feature = "daemon")]
impl Waiting {
    /// Returns when a stop is asked for.
    pub fn wait(&self) {
        while self.signal.load(Ordering::Acquire) == 0 {
            let _ = poll(&mut [PollFd::from_borrowed_fd(self.pipe.as_fd(), PollFlags::IN)], None);
        }
    }
}

impl Raiser {
    /// Asks for a stop as SIGTERM does.
    #[cfg(feature = "daemon")]
    pub fn stop(&mut self) {
        let _ = self.signal.compare_exchange(0, SIGTERM as usize, Ordering::AcqRel, Ordering::Acquire);
        let _ = self.sender.write(&[0]);
    }

    /// Asks for a stop because the reader of standard output went away; counts as SIGPIPE.
    pub fn broken_pipe(&mut self) {
        let _ = self.signal.compare_exchange(0, SIGPIPE as usize, Ordering::AcqRel, Ordering::Acquire);
        // A full pipe has woken the waiter already.
        let _ = self.sender.write(&[0]);
    }
}

impl Stop {
    /// Installs the handlers; once in a process.
    ///
    /// # Errors
    /// The kernel's refusal of a handler or a socket pair.
    pub fn install() -> io::Result<Stop> {
        let signal = Arc::new(AtomicUsize::new(0));
        let (pipe, sender) = UnixStream::pair()?;
        let asked = Arc::new(AtomicBool::new(false));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            // In this order, so that the first signal raises the flag and the second one finds it raised.
            signal_hook::flag::register_conditional_default(number, Arc::clone(&asked))?;
            signal_hook::flag::register(number, Arc::clone(&asked))?;
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number as usize)?;
            signal_hook::low_level::pipe::register(number, sender.try_clone()?)?;
        }
        Ok(Stop { signal, pipe, sender })
    }

    /// A wish that no signal expresses: for a command that handles them in its own way.
    ///
    /// # Errors
    /// The kernel's refusal of a socket pair.
    #[cfg(feature = "daemon")]
    pub fn without_signals() -> io::Result<Stop> {
        let (pipe, sender) = UnixStream::pair()?;
        Ok(Stop { signal: Arc::new(AtomicUsize::new(0)), pipe, sender })
    }

    /// A handle for another thread.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub fn raiser(&self) -> io::Result<Raiser> {
        Ok(Raiser { signal: Arc::clone(&self.signal), sender: self.sender.try_clone()? })
    }

    /// A way to wait on another thread.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    #[cfg(feature = "daemon")]
    pub fn waiting(&self) -> io::Result<Waiting> {
        Ok(Waiting { signal: Arc::clone(&self.signal), pipe: self.pipe.try_clone()? })
    }

    /// The number of the signal that asked for a stop.
    pub fn signal(&self) -> Option<u8> {
        match self.signal.load(Ordering::Acquire) {
            0 => None,
            number => u8::try_from(number).ok(),
        }
    }

    /// Waits until the descriptor can be read (or is at its end) or a signal came.
    pub fn wait_readable(&self, descriptor: BorrowedFd<'_>) -> io::Result<Woken> {
        self.wait(&[PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], None)
    }

    /// As [`Stop::wait_readable`], but not for longer than `time`.
    #[cfg(feature = "daemon")]
    pub fn wait_readable_for(&self, descriptor: BorrowedFd<'_>, time: Duration) -> io::Result<Woken> {
        self.wait(&[PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], Some(time))
    }

    /// Sleeps; ends early at a signal, and as `Ready` when the reader behind `output` went away.
    pub fn sleep(&self, time: Duration, output: BorrowedFd<'_>) -> io::Result<Woken> {
        // Without any event asked for, poll(2) still reports a pipe whose other end is closed.
        self.wait(&[PollFd::from_borrowed_fd(output, PollFlags::empty())], Some(time))
    }

    /// Sleeps; ends early at a signal.
    #[cfg(feature = "daemon")]
    pub fn pause(&self, time: Duration) -> io::Result<Woken> {
        self.wait(&[], Some(time))
    }

    /// Waits until one of several descriptors can be read, for this time at most.
    #[cfg(feature = "daemon")]
    pub fn wait_any(&self, descriptors: &[PollFd<'_>], time: Duration) -> io::Result<Woken> {
        self.wait(descriptors, Some(time))
    }

    fn wait(&self, waited: &[PollFd<'_>], timeout: Option<Duration>) -> io::Result<Woken> {
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        loop {
            if self.signal().is_some() {
                return Ok(Woken::Stopped);
            }
            let mut descriptors = vec![PollFd::from_borrowed_fd(self.pipe.as_fd(), PollFlags::IN)];
            descriptors.extend_from_slice(waited);
            match poll(&mut descriptors, timeout.as_ref()) {
                Ok(0) => return Ok(Woken::TimedOut),
                Ok(_) if descriptors[0].revents().is_empty() => return Ok(Woken::Ready),
                // The pipe spoke: the flag is raised by an earlier handler of the same signal, so it is seen above.
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
