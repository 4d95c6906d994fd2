//! A step's receipt: when it is acknowledged, and when it is durable. Owns the difference between the two strategies as a
//! caller sees it; the storage's ticket does the work.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use duramen_journal::Level;

use crate::error::Error;
use crate::types::Types;
use crate::wal::{JournalWal, Wal, WalTicket};

/// What is done once a step is durable.
pub(crate) type After = Arc<dyn Fn() + Send + Sync>;

/// The receipt of one step. Completes once: with success, or with a typed error.
///
/// As a `Future` it is ready when the step is *durable*, whatever the strategy.
#[must_use = "the step is not durable yet: wait, await, or drop the receipt on purpose"]
pub struct Receipt<T: Types, W: Wal = JournalWal> {
    /// `None`: there was nothing to do.
    pub(crate) ticket: Option<W::Ticket>,
    /// It was acknowledged when it was in memory.
    pub(crate) buffered: bool,
    pub(crate) after: Option<After>,
    pub(crate) types: std::marker::PhantomData<fn() -> T>,
}

impl<T: Types, W: Wal> Receipt<T, W> {
    pub(crate) fn new(ticket: Option<W::Ticket>, buffered: bool) -> Receipt<T, W> {
        Receipt { ticket, buffered, after: None, types: std::marker::PhantomData }
    }

    /// Returns when the step is acknowledged: durable with DiskFirst; at once with MemFirst.
    ///
    /// # Errors
    /// [`Error::Wal`]: the step was refused, or nobody knows.
    pub fn wait(self) -> Result<(), Error<T>> {
        if self.buffered { Ok(()) } else { self.wait_durable() }
    }

    /// Blocks until the step is durable.
    ///
    /// # Errors
    /// [`Error::Wal`]: the step was refused, or nobody knows.
    pub fn wait_durable(self) -> Result<(), Error<T>> {
        let Receipt { ticket, after, .. } = self;
        if let Some(ticket) = ticket {
            ticket.wait()?;
        }
        after.iter().for_each(|after| after());
        Ok(())
    }

    /// Runs a callback when the step is durable or has failed: once, on the flushing thread, or here and now. It should be
    /// short and must not wait for the log.
    pub fn on_durable(self, call: impl FnOnce(Result<(), Error<T>>) + Send + 'static) {
        match self.ticket {
            Some(ticket) => {
                ticket.on_durable(Box::new(move |result| call(result.map(|_| ()).map_err(Error::Wal))));
            }
            None => call(Ok(())),
        }
    }

    /// How safe the step is by now.
    ///
    /// # Errors
    /// [`Error::Wal`]: the step was refused, or nobody knows.
    pub fn level(&self) -> Result<Level, Error<T>> {
        match &self.ticket {
            Some(ticket) => Ok(ticket.level()?),
            None => Ok(Level::Durable),
        }
    }
}

impl<T: Types, W: Wal> Future for Receipt<T, W> {
    type Output = Result<(), Error<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error<T>>> {
        match &mut self.ticket {
            Some(ticket) => Pin::new(ticket).poll(context).map(|result| result.map(|_| ()).map_err(Error::Wal)),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<T: Types, W: Wal> fmt::Debug for Receipt<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.ticket.as_ref().map(WalTicket::last);
        f.debug_struct("Receipt").field("last", &last).field("buffered", &self.buffered).finish_non_exhaustive()
    }
}
