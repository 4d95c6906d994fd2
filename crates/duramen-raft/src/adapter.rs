//! What the adapters to other Raft libraries share: errors as `io::Error`, appends in pieces that the journal takes, and
//! the steps that a protocol repeats without harm. Owns no types of other libraries.

use std::io;
use std::ops::Bound;

use crate::config::{Config, MemoryFull};
use crate::error::Error;
use crate::format::Malformed;
use crate::log::RaftLog;
use crate::receipt::Receipt;
use crate::state::Refusal;
use crate::types::{Entry, Stored, Types};
use crate::wal::Wal;
use duramen_journal::Error as WalError;

/// Bytes of entries in one answer where the protocol lets the store choose.
pub(crate) const READ_BYTES_MAX: usize = 1 << 20;
/// An append is cut into pieces of so many parts of a segment, so that each fits into one batch.
const PIECE_PARTS: usize = 8;

/// The settings under which a protocol is never blocked by a bound of memory.
pub(crate) fn unblocked(config: Config) -> Config {
    Config { memory_full: MemoryFull::Spill, ..config }
}

pub(crate) fn io_error<T: Types>(error: Error<T>) -> io::Error {
    let kind = match &error {
        Error::Refused(_) | Error::InvalidRange { .. } | Error::Unstorable(_) => io::ErrorKind::InvalidInput,
        Error::Wal(WalError::NoSpace { .. }) => io::ErrorKind::StorageFull,
        Error::Wal(WalError::TooLarge { .. }) => io::ErrorKind::InvalidInput,
        Error::Wal(WalError::ReadOnly { .. }) => io::ErrorKind::ReadOnlyFilesystem,
        Error::Wal(WalError::DamagedRecord(_) | WalError::Damaged(_)) | Error::Foreign { .. } | Error::Lost { .. } => {
            io::ErrorKind::InvalidData
        }
        Error::Purged { .. } | Error::NotYet { .. } => io::ErrorKind::NotFound,
        Error::MemoryFull { .. } => io::ErrorKind::OutOfMemory,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

pub(crate) fn malformed(what: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The same error once more, in words.
pub(crate) fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// Appends entries in pieces. The receipt is the last piece's, which completes no earlier than the others.
///
/// Entries that are there already, or were purged, are passed over; where another is in an entry's place, it and all behind it go first. A
/// protocol that truncates before it appends never needs either, but openraft's suite for 0.9 does.
pub(crate) fn append<T: Types, W: Wal>(
    log: &RaftLog<T, W>,
    mut entries: Vec<Entry<T>>,
) -> Result<Receipt<T, W>, Error<T>> {
    let next = log.reader().next_index();
    let overlaps = |entry: &Entry<T>| next.is_some_and(|next| entry.index() < next);
    if entries.first().is_some_and(overlaps) {
        // A snapshot covers what was purged.
        let first = log.reader().first_index().unwrap_or(0);
        let is_there = |entry: &&Entry<T>| {
            entry.index() < first || log.reader().log_id(entry.index()).is_ok_and(|id| id == entry.id)
        };
        let there = entries.iter().take_while(is_there).count();
        entries.drain(..there);
        match entries.first() {
            // They may be on their way, and are to be durable when this completes.
            None => log.writer().sync()?,
            Some(other) if overlaps(other) => {
                let kept = before(log, other.index())?;
                drop(log.writer().truncate_after(kept.as_ref())?);
            }
            Some(_) => {}
        }
    }
    let bytes_max = log.group.core.config.chunk_max_size as usize / PIECE_PARTS;
    let writer = log.writer();
    let mut piece: Vec<Entry<T>> = Vec::new();
    let mut bytes = 0;
    let mut scratch = Vec::new();
    for entry in entries {
        scratch.clear();
        entry.payload.encode(&mut scratch);
        if bytes + scratch.len() > bytes_max && !piece.is_empty() {
            drop(writer.append(std::mem::take(&mut piece))?);
            bytes = 0;
        }
        // A record's head, and an id.
        bytes += scratch.len() + 64;
        piece.push(entry);
    }
    writer.append(piece)
}

/// Entries of a range, as far as they are there.
pub(crate) fn read<T: Types, W: Wal>(
    log: &RaftLog<T, W>,
    range: (Bound<u64>, Bound<u64>),
    bytes_max: usize,
) -> io::Result<Vec<Entry<T>>> {
    let reader = log.reader();
    let (Some(first), Some(next)) = (reader.first_index(), reader.next_index()) else { return Ok(Vec::new()) };
    let start = match range.0 {
        Bound::Included(start) => start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => first,
    };
    let end = match range.1 {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => end,
        Bound::Unbounded => next,
    };
    let (start, end) = (start.max(first), end.min(next));
    if start >= end { Ok(Vec::new()) } else { reader.range(start..end, bytes_max).map_err(io_error) }
}

/// Notes a commit, if it is news and within the log.
pub(crate) fn commit<T: Types, W: Wal>(log: &RaftLog<T, W>, id: Option<&T::LogId>) -> io::Result<()> {
    let Some(id) = id else { return Ok(()) };
    match log.writer().commit(id) {
        Ok(receipt) => {
            drop(receipt);
            Ok(())
        }
        Err(Error::Refused(refusal))
            if matches!(*refusal, Refusal::LogIdReversal { .. } | Refusal::CommitBeyondLast { .. }) =>
        {
            Ok(())
        }
        Err(error) => Err(io_error(error)),
    }
}

/// Truncates, if there is anything behind.
pub(crate) fn truncate_after<T: Types, W: Wal>(
    log: &RaftLog<T, W>,
    kept: Option<&T::LogId>,
) -> io::Result<Option<Receipt<T, W>>> {
    match log.writer().truncate_after(kept) {
        Ok(receipt) => Ok(Some(receipt)),
        Err(Error::Refused(refusal)) if matches!(*refusal, Refusal::TruncateBeyondLast { .. }) => Ok(None),
        Err(error) => Err(io_error(error)),
    }
}

/// The id of the entry before an index, or of the last purged one; `None`: the log begins at the index, or behind it.
pub(crate) fn before<T: Types, W: Wal>(log: &RaftLog<T, W>, index: u64) -> Result<Option<T::LogId>, Error<T>> {
    let reader = log.reader();
    let Some(last_kept) = index.checked_sub(1) else { return Ok(None) };
    match (reader.first_index(), reader.next_index()) {
        (Some(first), _) if last_kept + 1 < first => Ok(None),
        (Some(first), _) if last_kept + 1 == first => Ok(log.state().purged),
        // Nothing lies there or behind: all is kept.
        (_, Some(next)) if last_kept >= next => Ok(log.state().last),
        (None, _) => Ok(None),
        _ => reader.log_id(last_kept).map(Some),
    }
}

/// Purges, if that is news.
pub(crate) fn purge<T: Types, W: Wal>(log: &RaftLog<T, W>, upto: &T::LogId) -> io::Result<Option<Receipt<T, W>>> {
    match log.writer().purge(upto) {
        Ok(receipt) => Ok(Some(receipt)),
        Err(Error::Refused(refusal)) if matches!(*refusal, Refusal::LogIdReversal { .. }) => Ok(None),
        Err(error) => Err(io_error(error)),
    }
}

/// Gives segments back after a purge that was awaited.
pub(crate) fn collect<T: Types, W: Wal>(log: &RaftLog<T, W>) {
    if let Some(after) = log.logs.after_purge() {
        after();
    }
}
