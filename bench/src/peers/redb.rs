//! redb 4.4: durable means a transaction committed with `Durability::Immediate`, its default.
//!
//! A buffered append is a transaction with `Durability::None`; an empty immediate one makes the earlier ones durable.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::engine::{Ability, Acknowledgement, Engine, Outcome, Role, Setup, System, unsupported};
use crate::pool::Pool;

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

pub struct RedbSystem;

impl System for RedbSystem {
    fn name(&self) -> &str {
        "redb 4.4"
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
        let path = folder.join("records.redb");
        let is_new = !path.exists();
        let database = Database::create(path)?;
        if is_new {
            let transaction = database.begin_write()?;
            transaction.open_table(RECORDS)?;
            transaction.commit()?;
        }
        let next = match database.begin_read()?.open_table(RECORDS)?.last()? {
            None => 0,
            Some((index, _)) => index.value() + 1,
        };
        Ok(Box::new(Redb { database, next: AtomicU64::new(next) }))
    }
}

struct Redb {
    database: Database,
    next: AtomicU64,
}

impl Engine for Redb {
    fn append(&self, _lane: usize, records: &[&[u8]], acknowledgement: Acknowledgement) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        if acknowledgement == Acknowledgement::Buffered {
            transaction.set_durability(Durability::None)?;
        }
        // The writer's lock is held now, so the indices are in order.
        let first = self.next.fetch_add(records.len() as u64, Ordering::Relaxed);
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (record, index) in records.iter().zip(first..) {
                table.insert(index, *record)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        self.database.begin_write()?.commit()?;
        Ok(())
    }

    fn append_in_flight(&self, _window: usize, _pool: &Pool, _stop_at: Instant) -> Outcome<u64> {
        unsupported("keep appends in flight")
    }

    fn read(&self, index: u64, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        let value = table.get(index)?.ok_or("there is no record at this index")?;
        visit(value.value());
        Ok(())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        for item in table.iter()? {
            visit(item?.1.value());
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.sync()
    }
}
