//! Buffers of commits, used again. Owns the memory between two commits; knows nothing of what stands in it.

use super::*;

/// Buffers of commits, used again: a fresh megabyte costs more in page faults than filling it.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer: [`FRONT`] bytes and nothing behind them.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut buffer = lock(&self.free).pop().unwrap_or_default();
        buffer.resize(FRONT, 0);
        buffer
    }

    pub(super) fn give(&self, buffer: Vec<u8>) {
        let mut free = lock(&self.free);
        if free.len() < BUFFERS_MAX {
            free.push(buffer);
        }
    }
}

/// A body in use by readers; its buffer comes back when the last of them lets go.
pub(super) struct PooledBuffer {
    pub(super) buffer: Vec<u8>,
    pub(super) pool: Arc<Buffers>,
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[FRONT..]
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.buffer));
    }
}
