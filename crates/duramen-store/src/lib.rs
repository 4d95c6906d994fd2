//! A store of rows on a crash-proof journal: streams of log lines that survive the power cut, and can be asked for.

pub use crate::backup::{Backup, Restored, partial_of, restore};
pub use crate::batch::{Batch, TooOld};
pub use crate::compaction::Compaction;
pub use crate::downsample::{Downsampling, Statistic};
pub use crate::error::Error;
pub use crate::format::table::{DOWNSAMPLE_LABEL, Partition};
pub use crate::labels::{LABEL_BYTES_MAX, LABELS_MAX, Labels, is_name};
pub use crate::options::{DiskFull, Options, SERIES_SAMPLES_MIN};
pub use crate::power::{Behaviour, Change, Machine, Power, Seal, Signal};
pub use crate::query::{
    By, Counts, Direction, Explained, FieldFilter, Filter, Matcher, Operator, ParseError, Query, Row, Rows, Selector,
    Series, SeriesIter, SeriesSamples, Summary,
};
pub use crate::report::Report;
pub use crate::row::{Arrival, Fields, Level, Nanoseconds, RowId, TimeBase};
pub use crate::sample::{STALE, Sample, is_stale};
pub use crate::session::{EVENTS, Event, Outage};
pub use crate::stats::Stats;
pub use crate::store::{Durability, Receipt, Store};
pub use crate::stream::Stream;

use std::sync::{Mutex, MutexGuard};

mod backup;
mod batch;
mod catalog;
mod chunk;
mod compaction;
mod copy;
mod core;
mod covers;
mod damage;
#[cfg(any(test, feature = "decoders"))]
#[doc(hidden)]
pub mod decoders;
mod downsample;
mod error;
mod flush;
mod format;
pub mod inspect;
mod labels;
mod memtable;
mod open;
mod options;
mod postings;
mod power;
#[cfg(feature = "promql")]
pub mod promql;
mod query;
mod replay;
mod report;
mod row;
mod sample;
mod seal;
mod session;
#[cfg(feature = "promql")]
mod source;
mod space;
mod stage;
mod stats;
mod store;
mod stream;
mod table;
mod view;
mod write;

/// Locks, whatever happened to the thread that held it before: every change under these locks is whole when it can panic.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
