//! A crash-proof journal: an append-only log of records, segmented, checksummed, group-committed.
//!
//! ```no_run
//! # fn main() -> Result<(), duramen_journal::Error> {
//! let (journal, report) = duramen_journal::Journal::open("data")?;
//! print!("{report}");
//! let sequence = journal.append(1, 0, b"what cannot be written twice")?.wait()?;
//! for record in journal.scan(..) {
//!     println!("{}", record?.sequence);
//! }
//! journal.release(sequence)?;
//! journal.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! What was acknowledged is there: a [`Ticket`] that came back with success names a record that survives a power cut.
//! Opening tells torn ends (cut, reported) from damage to durable data (refused, located). The disk, the clock and
//! randomness come in through [`World`]; with the feature `sim` there is one that loses power on purpose.

pub use bytes::Bytes;

pub use crate::disk::World;
pub use crate::error::Error;
pub use crate::format::{Codec, LogCounts};
pub use crate::journal::{Follow, Journal, Scan, SegmentInfo};
pub use crate::observer::{Observer, ObserverFactory};
pub use crate::options::{Append, Class, FreshPages, OnDamage, Options, SyncPolicy, TornTail, WhenFull};
pub use crate::record::{Batch, Record, RecordRef};
pub use crate::report::{Cut, Damage, DamageKind, End, Gap, Report};
pub use crate::stats::{Histogram, Stats};
pub use crate::ticket::{Level, Ticket};
pub use crate::view::{ReadOptions, Reader};

/// The place of a record in its journal: dense, from 1, given at the append.
pub type Sequence = u64;
/// One of the logs that share a journal; 0 is the journal's own.
pub type LogNumber = u32;

mod body;
mod catalog;
mod completion;
mod compress;
pub mod disk;
mod error;
mod files;
pub mod format;
mod gather;
pub mod inspect;
mod journal;
mod log;
mod observer;
mod open;
mod options;
pub mod planted;
mod pool;
pub mod probe;
mod reader;
mod record;
pub mod recovery;
mod report;
mod salvage;
pub mod scan;
mod stats;
pub mod sync;
mod ticket;
mod view;
mod watermark;
mod writer;

/// What stands within is there where this crate has its feature `sim`, whoever asked for it: a test above the journal runs where
/// the whole workspace is tested, and its own package's features stay free of the simulated disk.
#[cfg(feature = "sim")]
#[doc(hidden)]
#[macro_export]
macro_rules! with_simulated_disk {
    ($($item:item)*) => { $($item)* };
}

/// Without the feature there is nothing within.
#[cfg(not(feature = "sim"))]
#[doc(hidden)]
#[macro_export]
macro_rules! with_simulated_disk {
    ($($item:item)*) => {};
}
