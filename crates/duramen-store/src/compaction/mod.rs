//! Compaction: small tables become larger ones, old ones go. Owns when, and the order of the steps; which tables is [`pick`]'s
//! business, the merging of rows [`merge`]'s.
//!
//! A merge never blocks writing: it has a thread of its own, and takes the view's lock only to show its result. It looks between
//! blocks whether it may go on; given up, it leaves nothing, and begins anew some time.

mod merge;
mod merge_samples;
pub(crate) mod pick;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::core::Core;
use crate::error::Error;
use crate::format::manifest::TableEntry;
use crate::lock;
use crate::row::Nanoseconds;
use crate::view::Live;
use pick::{Keep, Shape};

/// Whether compaction may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Compaction {
    /// It runs.
    #[default]
    Runs = 0,
    /// A merge under way finishes its block and waits; none is begun.
    Pauses = 1,
    /// A merge under way is given up; none is begun.
    Off = 2,
}

/// The state of compaction.
#[derive(Debug, Default)]
pub(crate) struct Control {
    state: AtomicU8,
    /// Bytes of tables written by merges.
    pub merged_bytes: AtomicU64,
    /// Bytes of tables written by sealing.
    pub sealed_bytes: AtomicU64,
    /// Merges that ended, and that were given up.
    pub merges: AtomicU64,
    pub given_up: AtomicU64,
    /// Bytes of rows and samples taken, which the others are compared with.
    pub taken_bytes: AtomicU64,
    /// Rows that were refused because they were older than the retention.
    pub too_old: AtomicU64,
}

impl Control {
    pub fn get(&self) -> Compaction {
        match self.state.load(Ordering::Acquire) {
            0 => Compaction::Runs,
            1 => Compaction::Pauses,
            _ => Compaction::Off,
        }
    }

    pub fn set(&self, state: Compaction) {
        self.state.store(state as u8, Ordering::Release);
    }
}

impl Core {
    /// The background thread of compaction.
    pub fn work_on_compaction(&self) {
        while !self.is_stopped() {
            let seen = self.merging.load(Ordering::Acquire);
            let done = self.downsample_due().and_then(|_| self.compact());
            if self.is_stopped() {
                break;
            }
            if !matches!(done, Ok(true)) {
                let timeout = std::time::Duration::from_secs(if done.is_ok() { 1 } else { 5 });
                self.world.environment.wait(&self.merging, seen, Some(timeout));
            }
        }
    }

    /// Does one merge, if one is due and allowed; true: it did.
    pub fn compact(&self) -> Result<bool, Error> {
        self.retain()?;
        self.remove_retired()?;
        // A merge needs room for its result before its inputs go.
        if self.compaction.get() != Compaction::Runs || self.space_short.load(Ordering::Acquire) {
            return Ok(false);
        }
        let _one = lock(&self.merge);
        let shape = Shape { fan_in: self.options.fan_in, table_bytes_max: self.options.table_bytes_max };
        let (job, inputs, ancestors) = {
            let view = lock(&self.view);
            let unmergeable = lock(&self.unmergeable);
            let may_merge = |entry: &TableEntry| !unmergeable.contains(&entry.number);
            let entries = view.tables.iter().map(|live| &live.entry);
            let Some(job) = pick::merge(entries, shape, may_merge) else { return Ok(false) };
            let chosen = view.tables.iter().filter(|live| job.inputs.contains(&live.entry.number));
            let inputs: Vec<Arc<Live>> = chosen.cloned().collect();
            // Files of tables that were replaced before, and wait for their readers: whoever finds them without a manifest must
            // know that this table replaces them too.
            let ancestors: Vec<u64> = view.retired.iter().map(|live| live.entry.number).collect();
            (job, inputs, ancestors)
        };
        let merged = self.merge_tables(&job, &inputs, &ancestors);
        match merged {
            Ok(Some(entry)) => {
                self.compaction.merges.fetch_add(1, Ordering::Relaxed);
                self.compaction.merged_bytes.fetch_add(entry.bytes, Ordering::Relaxed);
                self.replace(&inputs, Some(entry));
            }
            Ok(None) => {
                self.compaction.given_up.fetch_add(1, Ordering::Relaxed);
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        drop(inputs);
        self.settle_manifest()?;
        self.remove_retired()?;
        Ok(true)
    }

    /// Takes tables out of the view and the manifest, and puts one in.
    pub fn replace(&self, gone: &[Arc<Live>], new: Option<TableEntry>) {
        let mut state = lock(&self.manifest);
        let mut view = lock(&self.view);
        let is_gone = |number: u64| gone.iter().any(|live| live.entry.number == number);
        view.tables.retain(|live| !is_gone(live.entry.number));
        view.retired.extend(gone.iter().cloned());
        state.manifest.tables.retain(|entry| !is_gone(entry.number));
        if let Some(entry) = new {
            view.tables.push(Arc::new(Live::new(entry.clone())));
            view.tables.sort_by_key(|live| live.entry.number);
            state.manifest.tables.push(entry);
            state.manifest.tables.sort_by_key(|entry| entry.number);
        }
        state.changed = true;
    }

    /// The time before which rows are too old to be kept; `None`: none is, or nobody knows what time it is.
    pub fn horizon(&self) -> Option<Nanoseconds> {
        self.before(self.options.retention_age?)
    }

    fn before(&self, age: Duration) -> Option<Nanoseconds> {
        self.wall()?.checked_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Drops what is too old or too much. A table goes only when the journal has given up all rows that it covers: otherwise they
    /// would come back with the next opening.
    pub fn retain(&self) -> Result<(), Error> {
        let keep = Keep {
            since: self.horizon(),
            since_downsampled: self.options.downsampled_age.and_then(|age| self.before(age)),
            bytes_max: self.options.retention_bytes,
        };
        if keep.since.is_none() && keep.since_downsampled.is_none() && keep.bytes_max.is_none() {
            return Ok(());
        }
        let first = self.journal.first();
        let gone: Vec<Arc<Live>> = {
            let view = lock(&self.view);
            let entries = view.tables.iter().map(|live| &live.entry);
            let (by_age, by_size) = pick::drops(entries, keep, |entry| self.is_released(entry, first));
            let named = |live: &&Arc<Live>| by_age.contains(&live.entry.number) || by_size.contains(&live.entry.number);
            view.tables.iter().filter(named).cloned().collect()
        };
        if gone.is_empty() {
            return Ok(());
        }
        self.replace(&gone, None);
        self.settle_manifest()
    }

    /// Whether the journal has given up all rows that a table covers, so that dropping it drops them.
    pub fn is_released(&self, entry: &TableEntry, first: u64) -> bool {
        entry.covers_upto() <= first
    }
}
