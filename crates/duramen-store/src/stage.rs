//! Samples that come one by one: gathered, and appended to the journal together, so that each costs its own byte or two rather
//! than a record. Owns when that is.
//!
//! What is gathered here is not in the store's memory yet: whoever asks, syncs, flushes or appends anything has it appended
//! first, so that nobody ever sees the difference, but for a process that dies within the journal's interval.

use std::time::Duration;

use duramen_journal::{SyncPolicy, Ticket};

use crate::batch::Batch;
use crate::core::Core;
use crate::error::Error;
use crate::lock;
use crate::row::{Nanoseconds, TimeBase};
use crate::store::Durability;
use crate::stream::Stream;
use crate::write::check_time;

/// Samples that are appended together.
const STAGE_SAMPLES: usize = 1_000;

/// Samples that are not appended yet.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    batch: Batch,
    /// The interval that was in force when the first of them came.
    interval: Option<Duration>,
}

impl Core {
    /// Takes one sample for whoever does not wait: it is durable as soon as the policy says, and seen at once.
    pub fn stage(&self, base: TimeBase, series: &Stream, time: Nanoseconds, value: f64) -> Result<(), Error> {
        check_time(time)?;
        let mut stage = lock(&self.stage);
        if stage.batch.samples() >= STAGE_SAMPLES {
            self.append_stage(&mut stage, Durability::Policy)?;
        }
        if !self.takes_rows.load(std::sync::atomic::Ordering::Acquire) {
            return Err(self.refusal());
        }
        if stage.batch.samples() == 0 {
            stage.interval = self.stage_interval();
        }
        stage.batch.push_sample_at(base, series, time, value);
        match stage.interval {
            Some(_) => Ok(()),
            None => self.append_stage(&mut stage, Durability::Policy).map(|_| ()),
        }
    }

    /// Appends what was gathered; anything that looks at the store calls it first.
    pub fn append_staged(&self) -> Result<(), Error> {
        let mut stage = lock(&self.stage);
        if stage.batch.samples() == 0 {
            return Ok(());
        }
        // Half of the interval may be over already.
        let how = self.stage_interval().map_or(Durability::Policy, |interval| Durability::Within(interval / 2));
        self.append_stage(&mut stage, how).map(|_| ())
    }

    fn append_stage(&self, stage: &mut Stage, how: Durability) -> Result<Option<Ticket>, Error> {
        stage.interval = None;
        self.append(&mut stage.batch, how)
    }

    /// How long samples may be unsynced; `None`: they are appended one by one.
    fn stage_interval(&self) -> Option<Duration> {
        match self.journal.policy() {
            SyncPolicy::Always => None,
            SyncPolicy::Interval(interval) | SyncPolicy::Batch { interval, .. } => Some(interval),
            SyncPolicy::Never => Some(Duration::MAX),
        }
    }

    /// How long the background thread may rest, so that what was gathered is durable in time.
    pub fn rest(&self, most: Duration) -> Duration {
        self.stage_interval().map_or(most, |interval| most.min(interval / 2))
    }
}
