//! Where a state is cut into chunks as it is written. Owns the cuts: they follow the content, so that what did not change makes the
//! same chunks again though something was put in before it.
//!
//! FastCDC, Xia et al., 2016, from the crate of that name. Where the cuts fall is no part of the stored form: a manifest says it.

use std::io;

use crate::error::Error;

/// Takes one chunk.
type Take<'a> = dyn FnMut(&[u8]) -> Result<(), Error> + 'a;

/// Takes the bytes of a state. It keeps at most one chunk of the largest size in memory.
pub struct StateWriter<'a> {
    take: &'a mut Take<'a>,
    buffer: Vec<u8>,
    average: u32,
    bytes: u64,
    failed: Option<Error>,
}

impl<'a> StateWriter<'a> {
    pub(crate) fn new(average: u32, take: &'a mut Take<'a>) -> StateWriter<'a> {
        StateWriter { take, buffer: Vec::new(), average, bytes: 0, failed: None }
    }

    /// Ends a part: what comes next begins a chunk, whatever came before. For states of parts that change apart, as pages or
    /// shards: equal parts make equal chunks.
    ///
    /// # Errors
    /// The log's.
    pub fn end_part(&mut self) -> io::Result<()> {
        self.cut(true)
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn largest(&self) -> usize {
        self.average as usize * 4
    }

    /// Gives away whole chunks; the rest too, if asked.
    fn cut(&mut self, all: bool) -> io::Result<()> {
        let mut at = 0;
        while self.buffer.len() - at >= self.largest() || (all && at < self.buffer.len()) {
            let rest = &self.buffer[at..];
            let cdc =
                fastcdc::v2020::FastCDC::new(rest, self.average as usize / 4, self.average as usize, self.largest());
            let end = cdc.cut(0, rest.len()).1.clamp(1, rest.len());
            if let Err(error) = (self.take)(&rest[..end]) {
                self.failed = Some(error.clone());
                return Err(io::Error::other(error));
            }
            at += end;
        }
        self.buffer.drain(..at);
        Ok(())
    }

    /// Ends the state; returns its bytes.
    pub(crate) fn finish(mut self, written: io::Result<()>) -> Result<u64, Error> {
        let written = written.and_then(|()| self.cut(true));
        if let Some(error) = self.failed {
            return Err(error);
        }
        written.map_err(|source| Error::State { source: source.into() })?;
        Ok(self.bytes)
    }
}

impl io::Write for StateWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.largest());
        self.buffer.extend_from_slice(&bytes[..taken]);
        self.bytes += taken as u64;
        if self.buffer.len() >= 2 * self.largest() {
            self.cut(false)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for StateWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateWriter").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::io::Write as _;

    fn chunks(parts: &[&[u8]], piece: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut take = |chunk: &[u8]| {
            all.push(chunk.to_vec());
            Ok(())
        };
        let mut writer = StateWriter::new(4096, &mut take);
        let mut write = || {
            for part in parts {
                part.chunks(piece).try_for_each(|piece| writer.write_all(piece))?;
                writer.end_part()?;
            }
            Ok(())
        };
        let written = write();
        assert_eq!(writer.finish(written).unwrap(), parts.concat().len() as u64);
        all
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn chunks_make_the_state_whatever_the_pieces_it_is_written_in() {
        let state = noise(300_000);
        let all = chunks(&[&state], 1 << 20);
        assert_eq!(all.concat(), state);
        assert_eq!(chunks(&[&state], 777), all);
        assert!(all.iter().all(|chunk| chunk.len() <= 4 * 4096));
        assert!(all.len() > 30 && all.len() < 200, "{}", all.len());
    }

    #[test]
    fn what_did_not_change_makes_the_same_chunks() {
        let state = noise(400_000);
        let mut changed = state.clone();
        changed.splice(100_000..100_000, *b"inserted");
        let before: BTreeSet<_> = chunks(&[&state], 9999).into_iter().collect();
        let after = chunks(&[&changed], 9999);
        let new = after.iter().filter(|chunk| !before.contains(*chunk)).count();
        assert!(new <= 4, "{new} of {} are new", after.len());
        let parts = chunks(&[&state[..50_000], &noise(20)], 512);
        assert_eq!(parts.last().unwrap(), &noise(20), "a part begins a chunk");
    }

    #[test]
    fn an_error_of_the_log_comes_back_as_itself() {
        let mut take = |_: &[u8]| Err(Error::NoSpace);
        let mut writer = StateWriter::new(4096, &mut take);
        let written = writer.write_all(&noise(100_000));
        assert!(written.is_err());
        assert!(matches!(writer.finish(written), Err(Error::NoSpace)));
    }
}
