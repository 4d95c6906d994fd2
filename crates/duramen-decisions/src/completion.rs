//! A write's receipt: wait on it, await it, or leave a callback. Completes exactly once, with success or with a typed error.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use duramen_journal::Ticket;
use duramen_journal::disk::Environment;
use duramen_journal::sync::AtomicU32;

use crate::error::Error;
use crate::lock;

/// How long a wait lasts at most before the result is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

type Call = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The receipt of one write. Dropping it changes nothing about the write.
#[must_use = "the write is not durable yet: wait, await, or drop the completion on purpose"]
pub struct Completion {
    inner: Inner,
}

enum Inner {
    Done(Result<(), Error>),
    Ticket(Ticket),
    Shared(Arc<Shared>),
}

struct Shared {
    state: Mutex<Outcome>,
    /// 1 when there is a result.
    told: AtomicU32,
    environment: Arc<dyn Environment>,
}

#[derive(Default)]
struct Outcome {
    result: Option<Result<(), Error>>,
    call: Option<Call>,
    waker: Option<Waker>,
}

/// The other end of a [`Completion`]: whoever makes the write durable says so here. Dropped unsaid, it says that the log failed.
pub struct Completer {
    shared: Option<Arc<Shared>>,
}

impl Completion {
    /// Of a write that is durable already, or had nothing to do.
    pub fn done() -> Completion {
        Completion { inner: Inner::Done(Ok(())) }
    }

    /// A completion and its other end, for a backend of one's own. Who waits does so by the environment.
    pub fn pair(environment: &Arc<dyn Environment>) -> (Completer, Completion) {
        let (state, environment) = (Mutex::default(), environment.clone());
        let shared = Arc::new(Shared { state, told: AtomicU32::new(0), environment });
        (Completer { shared: Some(shared.clone()) }, Completion { inner: Inner::Shared(shared) })
    }

    pub(crate) fn of(ticket: Ticket) -> Completion {
        Completion { inner: Inner::Ticket(ticket) }
    }

    /// Blocks until the write is durable.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: nothing is stored; [`Error::Failed`]: nobody knows.
    pub fn wait(self) -> Result<(), Error> {
        match self.inner {
            Inner::Done(result) => result,
            Inner::Ticket(ticket) => Ok(ticket.wait().map(|_| ())?),
            Inner::Shared(shared) => loop {
                if let Some(result) = &lock(&shared.state).result {
                    return result.clone();
                }
                shared.environment.wait(&shared.told, 0, Some(LOOK_AGAIN));
            },
        }
    }

    /// Whether the write is durable by now.
    ///
    /// # Errors
    /// Why it never will be.
    pub fn is_durable(&self) -> Result<bool, Error> {
        match &self.inner {
            Inner::Done(result) => result.clone().map(|()| true),
            Inner::Ticket(ticket) => Ok(ticket.level()? == duramen_journal::Level::Durable),
            Inner::Shared(shared) => match &lock(&shared.state).result {
                None => Ok(false),
                Some(result) => result.clone().map(|()| true),
            },
        }
    }

    /// Runs a callback when the write is durable or has failed: once, on the thread that made it so, or here and now. It should
    /// be short and must not wait for the log.
    pub fn on_durable(self, call: impl FnOnce(Result<(), Error>) + Send + 'static) {
        match self.inner {
            Inner::Done(result) => call(result),
            Inner::Ticket(ticket) => ticket.on_durable(move |result| call(result.map(|_| ()).map_err(Error::from))),
            Inner::Shared(shared) => {
                let mut state = lock(&shared.state);
                match state.result.clone() {
                    None => state.call = Some(Box::new(call)),
                    Some(result) => {
                        drop(state);
                        call(result);
                    }
                }
            }
        }
    }
}

impl Completer {
    /// The write is durable, or never will be.
    pub fn complete(mut self, result: Result<(), Error>) {
        if let Some(shared) = self.shared.take() {
            shared.complete(result);
        }
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.complete(Err(Error::Failed { reason: "the store under the log went away".into() }));
        }
    }
}

impl Shared {
    fn complete(&self, result: Result<(), Error>) {
        let mut state = lock(&self.state);
        state.result = Some(result.clone());
        let (call, waker) = (state.call.take(), state.waker.take());
        drop(state);
        self.told.store(1, SeqCst);
        self.environment.wake(&self.told, u32::MAX);
        if let Some(call) = call {
            call(result);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Ready when the write is durable or has failed.
impl Future for Completion {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.inner {
            Inner::Done(result) => Poll::Ready(result.clone()),
            Inner::Ticket(ticket) => Pin::new(ticket).poll(context).map(|result| Ok(result.map(|_| ())?)),
            Inner::Shared(shared) => {
                let mut state = lock(&shared.state);
                match &state.result {
                    Some(result) => Poll::Ready(result.clone()),
                    None => {
                        state.waker = Some(context.waker().clone());
                        Poll::Pending
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("durable", &self.is_durable()).finish()
    }
}

impl fmt::Debug for Completer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completer").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test waits on a thread of its own")]
mod tests {
    use super::*;
    use duramen_journal::World;
    use std::sync::mpsc;

    #[test]
    fn a_completion_tells_once_whoever_comes_first() {
        let (completer, completion) = Completion::pair(&World::real().environment);
        assert!(!completion.is_durable().unwrap());
        completer.complete(Ok(()));
        assert!(completion.is_durable().unwrap());
        let (sender, receiver) = mpsc::channel();
        completion.on_durable(move |result| sender.send(result.is_ok()).unwrap());
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [true]);

        let (completer, completion) = Completion::pair(&World::real().environment);
        let (sender, receiver) = mpsc::channel();
        completion.on_durable(move |result| sender.send(result.is_ok()).unwrap());
        assert!(receiver.try_recv().is_err());
        drop(completer);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [false], "whoever goes away says that it failed");

        let (completer, completion) = Completion::pair(&World::real().environment);
        let waiting = std::thread::spawn(move || completion.wait());
        completer.complete(Err(Error::NoSpace));
        assert!(matches!(waiting.join().unwrap(), Err(Error::NoSpace)));
    }
}
