//! What the command has printed and is not stored yet. Owns the bound: while it is full for a moment, the command waits as at any pipe;
//! if that lasts, lines are counted and left out, because the command's run matters more than its log.

#![allow(clippy::disallowed_methods, reason = "two threads of the binary wait for each other here")]

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::commands::store::exec::sink::Last;

/// Bytes that wait at most.
const BYTES_MAX: usize = 8 << 20;
/// How long the command may be kept waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// One of a command's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// The label's value.
    pub fn word(self) -> &'static str {
        match self {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        }
    }
}

/// Bytes in the order in which they were read.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<(Stream, Vec<u8>)>,
    bytes: usize,
    /// The command has been kept waiting in vain: until there is room again, it is not kept waiting.
    overfull: bool,
    lost_bytes: u64,
    last: Option<Last>,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { state: Mutex::default(), changed: Condvar::new() }
    }
}

/// What the queue gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Bytes of one stream, as many as there were of it at the front.
    Chunk(Stream, Vec<u8>),
    /// Nothing came within the time.
    Nothing,
    /// All was taken, and the command has ended.
    End,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Adds bytes; they are lost if there is no room for long.
    pub fn push(&self, stream: Stream, bytes: &[u8]) {
        let is_full = |state: &State| state.bytes + bytes.len() > BYTES_MAX;
        let mut state = self.state();
        if is_full(&state) && !state.overfull {
            let waited = self.changed.wait_timeout_while(state, PATIENCE, |state| is_full(state));
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        state.overfull = is_full(&state);
        if state.overfull {
            state.lost_bytes += bytes.len() as u64;
            return;
        }
        state.bytes += bytes.len();
        match state.chunks.back_mut() {
            Some((last, chunk)) if *last == stream && chunk.len() < 128 << 10 => chunk.extend_from_slice(bytes),
            _ => state.chunks.push_back((stream, bytes.to_vec())),
        }
        self.changed.notify_all();
    }

    /// Says how the command ended; nothing is pushed any more.
    pub fn end(&self, last: Last) {
        self.state().last = Some(last);
        self.changed.notify_all();
    }

    /// Takes what came first, waiting for it.
    pub fn take(&self, within: Duration) -> Taken {
        let waiting = |state: &mut State| state.chunks.is_empty() && state.last.is_none();
        let waited = self.changed.wait_timeout_while(self.state(), within, waiting);
        let mut state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        match state.chunks.pop_front() {
            Some((stream, bytes)) => {
                state.bytes -= bytes.len();
                self.changed.notify_all();
                Taken::Chunk(stream, bytes)
            }
            None if state.last.is_some() => Taken::End,
            None => Taken::Nothing,
        }
    }

    /// How the command ended, if it has.
    pub fn last(&self) -> Option<Last> {
        self.state().last.clone()
    }

    /// Bytes that were left out, and those that nobody took.
    pub fn lost_bytes(&self) -> u64 {
        let state = self.state();
        state.lost_bytes + state.bytes as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_in_order_and_the_end_behind_them() {
        let queue = Queue::default();
        queue.push(Stream::Out, b"a");
        queue.push(Stream::Out, b"b");
        queue.push(Stream::Err, b"c");
        queue.end(Last { code: 0, signal: None, text: String::new() });
        assert_eq!(queue.take(PATIENCE), Taken::Chunk(Stream::Out, b"ab".to_vec()));
        assert_eq!(queue.take(PATIENCE), Taken::Chunk(Stream::Err, b"c".to_vec()));
        assert_eq!((queue.take(PATIENCE), queue.lost_bytes()), (Taken::End, 0));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let queue = Queue::default();
        queue.push(Stream::Out, &vec![b'x'; BYTES_MAX]);
        queue.state().overfull = true;
        queue.push(Stream::Err, b"more");
        assert_eq!(queue.lost_bytes(), BYTES_MAX as u64 + 4);
        while let Taken::Chunk(..) = queue.take(Duration::ZERO) {}
        queue.push(Stream::Err, b"again");
        assert_eq!(queue.take(Duration::ZERO), Taken::Chunk(Stream::Err, b"again".to_vec()));
        assert_eq!((queue.take(Duration::ZERO), queue.lost_bytes()), (Taken::Nothing, 4));
    }
}
