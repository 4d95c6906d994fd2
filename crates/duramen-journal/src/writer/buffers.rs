//! Buffers of commits, used again. Owns the memory between two commits; knows nothing of what stands in it.

use super::*;

/// Buffers of commits, used again: a fresh megabyte costs more in page faults than filling it.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Mutex<Vec<BodyBuffer>>,
}

impl Buffers {
    /// An empty buffer, framed.
    pub(super) fn take(&self) -> BodyBuffer {
        let mut buffer = lock(&self.free).pop().unwrap_or_else(BodyBuffer::framed);
        buffer.clear();
        buffer
    }

    pub(super) fn give(&self, buffer: BodyBuffer) {
        let mut free = lock(&self.free);
        if free.len() < BUFFERS_MAX {
            free.push(buffer);
        }
    }
}

/// A body in use by readers; its buffer comes back when the last of them lets go.
pub(super) struct PooledBuffer {
    pub(super) buffer: BodyBuffer,
    pub(super) pool: Arc<Buffers>,
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        self.buffer.body()
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.buffer));
    }
}
