//! An append's receipt: wait on it, await it, or leave a callback. Owns nothing; it points at its commit's completion.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::Sequence;
use crate::completion::{BUFFERED, DURABLE, WRITTEN};
use crate::error::Error;
use crate::writer::{Commit, Kick};

/// How safe an append is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// In this process's memory.
    Buffered,
    /// Survives the death of the process.
    Written,
    /// Survives a power cut.
    Durable,
}

/// The receipt of one append. Completes exactly once, with success or with a typed error, also when the writer fails or
/// the journal is dropped.
///
/// Dropping it unasked changes nothing about the append: its commit goes on as the policy says.
#[must_use = "the records are not durable yet: wait, await, or drop the ticket on purpose"]
pub struct Ticket {
    pub(crate) commit: Arc<Commit>,
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    pub(crate) never: bool,
}

impl Ticket {
    /// The first record's sequence.
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// The last record's sequence.
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// How safe the append is by now. An error: the commit failed.
    pub fn level(&self) -> Result<Level, Error> {
        Ok(match self.commit.completion.level()? {
            BUFFERED => Level::Buffered,
            WRITTEN => Level::Written,
            _ => Level::Durable,
        })
    }

    /// Blocks until the append is durable; returns its last sequence. If nobody is flushing, this thread does.
    ///
    /// Under a policy with an interval this waits for it; [`crate::Journal::sync`] does not.
    ///
    /// # Errors
    /// [`Error::NeverDurable`] at once if the policy was `Never` and the append asked for nothing; [`Error::NoSpace`]: not
    /// stored; [`Error::Unknown`]: the journal failed under it.
    pub fn wait(self) -> Result<Sequence, Error> {
        self.check_never()?;
        self.commit.drive(DURABLE)?;
        Ok(self.last)
    }

    /// Blocks until the append is written, so that it survives the death of the process.
    pub fn wait_written(&self) -> Result<(), Error> {
        self.commit.drive(WRITTEN)
    }

    /// Runs `call` when the append is durable or has failed: on the flushing thread, or here and now if it already is. It
    /// should be short and must not wait for the journal.
    pub fn on_durable(self, call: impl FnOnce(Result<Sequence, Error>) + Send + 'static) {
        if let Err(error) = self.check_never() {
            call(Err(error));
            return;
        }
        let last = self.last;
        self.commit.completion.on_final(Box::new(move |result| call(result.map(|()| last))));
        self.commit.kick(Kick::Asked);
    }

    fn check_never(&self) -> Result<(), Error> {
        if self.never && !self.commit.completion.reached(DURABLE) { Err(Error::NeverDurable) } else { Ok(()) }
    }
}

impl Future for Ticket {
    type Output = Result<Sequence, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(error) = self.check_never() {
            return Poll::Ready(Err(error));
        }
        if self.commit.completion.register(context.waker()) {
            self.commit.kick(Kick::Asked);
            // Without threads the kick has done the work by now.
            if !self.commit.completion.reached(DURABLE) {
                return Poll::Pending;
            }
        }
        Poll::Ready(self.commit.completion.level().map(|_| self.last))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.commit.completion.reached(WRITTEN) {
            self.commit.kick(Kick::Dropped);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("first", &self.first).field("last", &self.last).finish_non_exhaustive()
    }
}
