//! How a store on the journal follows what is written, so that it can leave a summary in each footer and a checkpoint
//! at each segment's head. Owns two traits; knows no store.

use std::fmt;

use crate::{LogNumber, Sequence};

/// Makes an [`Observer`] for one opened journal.
pub trait ObserverFactory: Send + Sync + fmt::Debug {
    /// A new observer, before anything of the segment in use has been seen.
    fn observer(&self) -> Box<dyn Observer>;
}

/// Sees each record of the segment in use, in order, after it was written and before it is acknowledged.
///
/// It is called by whichever thread flushes, with no lock of the journal held; it must not call the journal and should
/// return soon. At opening it sees the records of the unsealed segment again, after [`Observer::begin`].
pub trait Observer: Send {
    /// A segment begins with this sequence; `summary` is its predecessor's, if that was sealed and read.
    fn begin(&mut self, first: Sequence);
    /// A record was written.
    fn record(&mut self, sequence: Sequence, log: LogNumber, kind: u8, payload: &[u8]);
    /// A checkpoint was found at the head of the segment, at opening.
    fn checkpoint_found(&mut self, log: LogNumber, kind: u8, payload: &[u8]);
    /// The segment is complete: what its footer shall say, at most the option's bytes (more is dropped and marked so).
    fn summary(&mut self) -> Vec<u8>;
    /// A segment is about to begin: a state to put at its head, at most a sixteenth of it, or nothing.
    fn checkpoint(&mut self) -> Option<(LogNumber, u8, Vec<u8>)>;
}
