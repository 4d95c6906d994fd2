//! Sealing: rows in memory become tables, the manifest lists them, the journal is released. Owns the order of these steps,
//! after each of which a power cut leaves every row once:
//!
//! 1. the journal is synced: what is sealed is durable there;
//! 2. the tables are written and named: each covers its partition's rows below a sequence, and replay leaves them out;
//! 3. queries see the tables instead of the memory;
//! 4. the manifest is replaced;
//! 5. definitions and positions that the journal's oldest segments alone hold are appended again;
//! 6. the journal is released.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use duramen_journal::{Append, Batch, Class, Sequence};

use crate::core::{Core, ManifestState, SAMPLES};
use crate::error::Error;
use crate::format::batch::{KIND_POSITION, KIND_STREAM, LOG, put_position, put_stream};
use crate::lock;
use crate::power::{Power, Seal};
use crate::row::Level;
use crate::seal::samples::seal_samples;
use crate::seal::{Sealing, ranks, seal};
use crate::session::Event;
use crate::table;
use crate::table::WriterOptions;
use crate::table::writer::Unfinished;
use crate::view::{Live, Sealed};

impl Core {
    /// Seals the oldest rows that wait for it. False: none did.
    pub fn seal_oldest(&self) -> Result<bool, Error> {
        let mut broken = lock(&self.sealing);
        if lock(&self.view).sealed.is_empty() {
            return Ok(false);
        }
        if let Some(cause) = &*broken {
            return Err(Error::Broken { cause: cause.clone() });
        }
        let synced = self.journal.sync();
        let sealed = {
            let mut write = lock(&self.write);
            self.settle(&mut write);
            let view = lock(&self.view);
            match view.sealed.front() {
                Some(sealed) => sealed.clone(),
                None => return Ok(false),
            }
        };
        // What was refused is taken back; the rest may be durable all the same.
        if self.journal.durable() + 1 < sealed.below {
            synced?;
        }
        let written = self.write_tables(&sealed);
        if let Err(Unfinished::Renamed(error)) = &written {
            *broken = Some(Arc::new(error.clone()));
        }
        written.map_err(Unfinished::into_error)?;
        self.publish(&sealed);
        self.sealed.fetch_add(1, Ordering::Release);
        self.world.environment.wake(&self.sealed, u32::MAX);
        drop(broken);
        self.settle_manifest()?;
        self.kick_compaction();
        Ok(true)
    }

    fn write_tables(&self, sealed: &Sealed) -> Result<(), Unfinished> {
        let kind = usize::from(sealed.rows.is_empty());
        let sealing = Sealing {
            catalog: &self.catalog,
            covers: if sealed.partial { lock(&self.manifest).sealed_below[kind] } else { sealed.below },
            stream_covers: if sealed.partial { sealed.below } else { 0 },
            options: WriterOptions { compression: self.options.compression },
            next_number: &|| self.next_table.fetch_add(1, Ordering::Relaxed),
        };
        if kind == SAMPLES {
            let chunks = sealed.samples.chunks();
            return seal_samples(&chunks, &self.streams, &sealing, &mut lock(&sealed.done));
        }
        let chunks = sealed.rows.chunks();
        let (labels, ranks) = ranks(&chunks, &lock(&self.streams));
        seal(&chunks, &labels, &ranks, &sealing, &mut lock(&sealed.done))
    }

    /// Shows the tables instead of the rows in memory, and notes them for the manifest.
    fn publish(&self, sealed: &Arc<Sealed>) {
        let mut state = lock(&self.manifest);
        let entries = lock(&sealed.done).clone();
        let mut view = lock(&self.view);
        view.sealed.retain(|other| !Arc::ptr_eq(other, sealed));
        view.tables.extend(entries.iter().map(|entry| Arc::new(Live::new(entry.clone()))));
        view.tables.sort_by_key(|live| live.entry.number);
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        self.compaction.sealed_bytes.fetch_add(bytes, Ordering::Relaxed);
        state.manifest.tables.extend(entries);
        state.manifest.tables.sort_by_key(|entry| entry.number);
        if !sealed.partial {
            let kind = usize::from(sealed.rows.is_empty());
            state.sealed_below[kind] = state.sealed_below[kind].max(sealed.below);
        }
        state.changed = true;
    }

    /// Writes the manifest if it has changed, and gives back what of the journal it makes needless.
    pub fn settle_manifest(&self) -> Result<(), Error> {
        let below = {
            let mut state = lock(&self.manifest);
            if state.changed {
                state.manifest.next_table = self.next_listed(&state.manifest.tables);
                self.catalog.write(&state.manifest)?;
                state.changed = false;
            }
            // While the journal is being read, later rows may still need what its first segments define.
            if self.replaying.load(Ordering::Acquire) {
                return Ok(());
            }
            let below = self.unsealed_from(&state);
            if below <= state.released_below {
                return Ok(());
            }
            below
        };
        let pins = lock(&self.pins);
        if *pins > 0 {
            return Ok(());
        }
        self.release(below)?;
        drop(pins);
        lock(&self.manifest).released_below = below;
        Ok(())
    }

    /// All rows and samples of records below this sequence are in tables, and records from there on can be read without them.
    fn unsealed_from(&self, state: &ManifestState) -> Sequence {
        let all = state.sealed_below.into_iter().max().unwrap_or(0);
        // Whatever is appended now comes later than what was sealed last.
        lock(&self.view).first_sequence().map_or(all, |first| first.min(all))
    }

    /// The manifest's `next_table`: tables from there on that it does not list count.
    fn next_listed(&self, tables: &[crate::format::manifest::TableEntry]) -> u64 {
        tables.last().map_or(1, |last| last.number + 1)
    }

    /// Releases whole segments below a sequence.
    fn release(&self, below: Sequence) -> Result<(), Error> {
        let below = {
            let mut write = lock(&self.write);
            self.settle(&mut write);
            match lock(&self.view).first_sample_sequence() {
                Some(first) => write.chain.kept_for(first).min(below),
                None => {
                    // What comes next must not build on what goes.
                    write.chain.cut();
                    below
                }
            }
        };
        let firsts = self.journal.segments().into_iter().map(|segment| segment.first);
        let Some(kept) = firsts.filter(|&first| first <= below).max().filter(|&first| first > self.journal.first())
        else {
            return Ok(());
        };
        self.carry_forward(kept)?;
        self.journal.release(kept)?;
        lock(&self.write).chain.released(kept);
        Ok(())
    }

    /// Appends again what only records below a sequence say, and is still needed.
    fn carry_forward(&self, kept: Sequence) -> Result<(), Error> {
        let mut write = lock(&self.write);
        self.settle(&mut write);
        let mut batch = Batch::new();
        // Also what tables have by now: replay must know its name to leave it out. The first batch of a segment does not define its
        // streams in it, as nobody knew then that it would be.
        let mut streams = lock(&self.streams);
        streams.forget(kept);
        let old = streams.iter().filter(|stream| stream.used() >= kept && stream.defined() < kept);
        let old: Vec<_> = old.cloned().collect();
        drop(streams);
        for stream in &old {
            batch.push_with(LOG, KIND_STREAM, |out| put_stream(out, stream.id(), stream.labels()));
        }
        let positions = write.positions.iter().filter(|(_, position)| position.at < kept);
        let positions: Vec<_> = positions.map(|(key, position)| (key.clone(), position.value.clone())).collect();
        for (key, value) in &positions {
            batch.push_with(LOG, KIND_POSITION, |out| put_position(out, key, value));
        }
        if batch.is_empty() {
            return Ok(());
        }
        let how = Append { class: Class::Now, reserved: true, epoch: Some(write.epoch), ..Append::default() };
        let ticket = self.journal.append_batch(&batch, how)?;
        let mut at = ticket.first();
        for stream in &old {
            stream.set_defined(at);
            at += 1;
        }
        for (key, value) in positions {
            write.set_position(key, value, at);
            at += 1;
        }
        drop(write);
        ticket.wait()?;
        Ok(())
    }

    /// Removes the files of retired tables that nobody reads any more.
    pub fn remove_retired(&self) -> Result<(), Error> {
        // A manifest on disk that still lists a table must find its file.
        let state = lock(&self.manifest);
        if state.changed {
            return Ok(());
        }
        let mut gone = Vec::new();
        lock(&self.view).retired.retain(|live| {
            let unused = Arc::strong_count(live) == 1;
            if unused {
                gone.push(table::name(live.entry.number));
            }
            !unused
        });
        drop(state);
        self.catalog.remove(gone)
    }

    /// Seals all rows and samples in memory.
    pub fn seal_all(&self) -> Result<(), Error> {
        while self.seal_oldest()? {}
        self.rotate_all();
        while self.seal_oldest()? {}
        self.settle_manifest()
    }

    /// Hands over to be sealed what is in memory, of each kind of which nothing waits for it.
    fn rotate_all(&self) {
        let mut write = lock(&self.write);
        self.settle(&mut write);
        let mut view = lock(&self.view);
        let below = self.journal.appended() + 1;
        if !view.active.is_empty() && !view.seals_rows() {
            self.rotate_rows(&mut view, below);
        }
        if !view.samples.is_empty() && !view.seals_samples() {
            self.rotate_samples(&mut view, below);
        }
    }

    /// Whether the journal has as many segments as it may have, because of what no table has: the one that is being written counts, so
    /// that no more are ever begun than [`crate::Options::segments_max`] but for what a batch that is let through fills.
    pub fn journal_is_long(&self) -> bool {
        let segment = self.segment_first.load(Ordering::Acquire);
        if self.short_since.load(Ordering::Relaxed) == segment {
            return false;
        }
        let Some(first) = lock(&self.view).first_sequence() else { return false };
        let held = 1 + self.journal.segments().iter().filter(|segment| segment.first > first).count();
        if held < self.options.segments_max {
            self.short_since.store(segment, Ordering::Relaxed);
        }
        held >= self.options.segments_max
    }

    /// Hands over all that is in memory if the journal is too long.
    pub fn shorten_journal(&self) -> Result<(), Error> {
        if self.journal_is_long() {
            self.rotate_all();
        }
        Ok(())
    }

    /// Seals samples that are due: of series that have many, when there are many in all; all of them, when they are old.
    pub fn seal_due_samples(&self) -> Result<(), Error> {
        let now = self.world.environment.now();
        let (many, old) = {
            let view = lock(&self.view);
            let many = view.long > 0 && view.samples.len() >= self.options.buffer_samples;
            let old = view.samples_since.is_some_and(|since| now.saturating_sub(since) >= self.options.buffer_age);
            (many && !view.seals_samples(), old && !view.seals_samples())
        };
        if !many && !old {
            return Ok(());
        }
        {
            let mut write = lock(&self.write);
            self.settle(&mut write);
            let mut view = lock(&self.view);
            let below = self.journal.appended() + 1;
            if old {
                self.rotate_samples(&mut view, below);
            } else {
                let samples = view.take_long_series();
                if !samples.is_empty() {
                    let sealed = Sealed { samples, below, partial: true, ..Sealed::default() };
                    view.sealed.push_back(Arc::new(sealed));
                }
            }
        }
        while self.seal_oldest()? {}
        Ok(())
    }

    /// Seals the rows of streams that have many in memory.
    pub fn seal_large(&self, bytes_min: usize) -> Result<(), Error> {
        while self.seal_oldest()? {}
        {
            let mut write = lock(&self.write);
            self.settle(&mut write);
            let mut view = lock(&self.view);
            if view.seals_rows() {
                return Ok(());
            }
            let rows = view.active.take_large(bytes_min);
            if !rows.is_empty() {
                let below = self.journal.appended() + 1;
                view.sealed.push_back(Arc::new(Sealed { rows, below, partial: true, ..Sealed::default() }));
            }
        }
        while self.seal_oldest()? {}
        Ok(())
    }

    /// Changes how the store behaves, as the power changed. What counts comes first: when this returns, everything that was
    /// appended is durable, and so is the change's own record; tables are written afterwards, in the background.
    pub fn set_power(&self, power: Power, cause: &str, more: &[(&str, String)]) -> Result<(), Error> {
        if self.replaying.load(Ordering::Acquire) {
            return Err(Error::Opening);
        }
        let behaviour = power.behaviour();
        self.journal.set_policy(behaviour.policy.unwrap_or(self.options.journal.policy));
        let before = Power::from_number(self.power.swap(power as u8, Ordering::AcqRel));
        self.takes_rows.store(behaviour.takes_rows, Ordering::Release);
        self.set_compaction(behaviour.compaction);
        if power > Power::Mains {
            self.append_staged()?;
            self.journal.sync()?;
        }
        let level = if power > before { Level::Warning } else { Level::Notice };
        let mut fields = vec![("from", before.to_string()), ("to", power.to_string()), ("cause", cause.to_string())];
        fields.extend_from_slice(more);
        let text = format!("power: {before} to {power} ({cause})");
        self.tell(&Event { kind: "power", level, at: None, text, fields }, None)?;
        self.wanted_seal.store(behaviour.seal as u8, Ordering::Release);
        self.kick();
        Ok(())
    }

    /// Makes the tables that the power asks for.
    pub fn seal_wanted(&self) -> Result<(), Error> {
        match self.wanted_seal.swap(Seal::AtBound as u8, Ordering::AcqRel) {
            wanted if wanted == Seal::All as u8 => self.seal_all(),
            wanted if wanted == Seal::Large as u8 => self.seal_large(self.options.large_stream_bytes),
            _ => Ok(()),
        }
    }

    /// Why nothing can be sealed, if that is so.
    pub fn seal_failure(&self) -> Option<Error> {
        self.seal_oldest().err()
    }
}
