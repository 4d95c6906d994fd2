//! fjall 3.1: durable means a batch committed with `PersistMode::SyncData`, an fdatasync of its journal.
//!
//! Keys are big-endian indices, so that a scan is in order. Compression is off: the records are random.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::engine::{Ability, Acknowledgement, Engine, Outcome, Role, Setup, System, unsupported};
use crate::pool::Pool;

pub struct FjallSystem;

impl System for FjallSystem {
    fn name(&self) -> &str {
        "fjall 3.1"
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn can(&self, ability: Ability) -> bool {
        match ability {
            Ability::Buffer | Ability::Read | Ability::ManyRecords => true,
            Ability::InFlight | Ability::Segments | Ability::Policies => false,
            Ability::Groups | Ability::Strategies => false,
        }
    }

    fn open(&self, folder: &Path, _setup: &Setup) -> Outcome<Box<dyn Engine>> {
        let database = Database::builder(folder.join("fjall")).journal_compression(CompressionType::None).open()?;
        let keyspace = database.keyspace("records", KeyspaceCreateOptions::default)?;
        let next = match keyspace.last_key_value() {
            None => 0,
            Some(last) => u64::from_be_bytes(last.key()?.as_ref().try_into()?) + 1,
        };
        Ok(Box::new(Fjall { database, keyspace, next: AtomicU64::new(next) }))
    }
}

struct Fjall {
    database: Database,
    keyspace: Keyspace,
    next: AtomicU64,
}

impl Engine for Fjall {
    fn append(&self, _lane: usize, records: &[&[u8]], acknowledgement: Acknowledgement) -> Outcome<()> {
        let first = self.next.fetch_add(records.len() as u64, Ordering::Relaxed);
        let durability = (acknowledgement == Acknowledgement::Durable).then_some(PersistMode::SyncData);
        let mut batch = self.database.batch().durability(durability);
        for (record, index) in records.iter().zip(first..) {
            batch.insert(&self.keyspace, index.to_be_bytes(), *record);
        }
        batch.commit()?;
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        self.database.persist(PersistMode::SyncData)?;
        Ok(())
    }

    fn append_in_flight(&self, _window: usize, _pool: &Pool, _stop_at: Instant) -> Outcome<u64> {
        unsupported("keep appends in flight")
    }

    fn read(&self, index: u64, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let value = self.keyspace.get(index.to_be_bytes())?.ok_or("there is no record at this index")?;
        visit(&value);
        Ok(())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        for item in self.keyspace.iter() {
            visit(&item.value()?);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.sync()
    }
}
