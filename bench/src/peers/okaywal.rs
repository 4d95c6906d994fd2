//! okaywal 0.3.1: durable means that `commit()` returned, which is after the sync that the entry took part in.
//!
//! Its log is consumed by checkpoints. They discard everything here, which is the least work that the peer can have; so
//! nothing can be read back. An append of many records is one entry with many chunks.

use std::path::Path;
use std::time::Instant;

use okaywal::{Configuration, LogVoid, WriteAheadLog};

use crate::engine::{Ability, Acknowledgement, Engine, Outcome, Role, Setup, System, unsupported};
use crate::pool::Pool;

pub struct OkayWalSystem;

impl System for OkayWalSystem {
    fn name(&self) -> &str {
        "okaywal 0.3.1"
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn can(&self, ability: Ability) -> bool {
        ability == Ability::Segments
    }

    fn open(&self, folder: &Path, setup: &Setup) -> Outcome<Box<dyn Engine>> {
        let mut configuration = Configuration::default_for(folder.join("wal"));
        if let Some(bytes) = setup.segment_bytes {
            // The default's own proportion between a segment and the point where its checkpoint begins.
            configuration = configuration.preallocate_bytes(bytes).checkpoint_after_bytes(u64::from(bytes) / 4 * 3);
        }
        Ok(Box::new(OkayWal { inner: configuration.open(LogVoid)? }))
    }
}

struct OkayWal {
    inner: WriteAheadLog,
}

impl Engine for OkayWal {
    fn append(&self, _lane: usize, records: &[&[u8]], acknowledgement: Acknowledgement) -> Outcome<()> {
        if acknowledgement == Acknowledgement::Buffered {
            return unsupported("append without syncing");
        }
        let mut entry = self.inner.begin_entry()?;
        for record in records {
            entry.write_chunk(record)?;
        }
        entry.commit()?;
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        // Every append has been synced.
        Ok(())
    }

    fn append_in_flight(&self, _window: usize, _pool: &Pool, _stop_at: Instant) -> Outcome<u64> {
        unsupported("keep appends in flight")
    }

    fn read(&self, _index: u64, _visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        unsupported("find a record by its index")
    }

    fn scan(&self, _visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        unsupported("keep records beyond a checkpoint")
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.inner.shutdown()?;
        Ok(())
    }
}
