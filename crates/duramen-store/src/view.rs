//! What can be seen at one moment: rows in memory, rows being sealed, live tables. Owns the one lock under which they change
//! together, so that a query finds each row once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use duramen_journal::Sequence;

use crate::catalog::Catalog;
use crate::error::Error;
use crate::format::manifest::TableEntry;
use crate::lock;
use crate::memtable::Memtable;
use crate::table::Table;

/// Tables that are open at the same time.
const OPEN_TABLES_MAX: usize = 64;

/// Rows that are on their way into tables.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub rows: Memtable,
    /// All rows below this sequence are in these, in older ones, or in tables.
    pub below: Sequence,
    /// That holds for the streams that have rows here only: others have theirs in memory still.
    pub partial: bool,
    /// The tables that are written already.
    pub done: Mutex<Vec<TableEntry>>,
}

/// A live table, opened when it is first needed.
#[derive(Debug)]
pub(crate) struct Live {
    pub entry: TableEntry,
    open: Mutex<Option<Arc<Table>>>,
}

impl Live {
    pub fn new(entry: TableEntry) -> Live {
        Live { entry, open: Mutex::new(None) }
    }
}

/// The state that queries take a look at.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub active: Memtable,
    /// The oldest first.
    pub sealed: VecDeque<Arc<Sealed>>,
    /// Sorted by number.
    pub tables: Vec<Arc<Live>>,
    /// Tables that are live no more, whose files wait until nobody reads them.
    pub retired: Vec<Arc<Live>>,
}

impl View {
    /// Bytes of rows in memory.
    pub fn bytes(&self) -> usize {
        self.active.bytes() + self.sealed.iter().map(|sealed| sealed.rows.bytes()).sum::<usize>()
    }
}

/// Which tables are open: the latest few.
#[derive(Debug, Default)]
pub(crate) struct OpenTables {
    latest: Mutex<VecDeque<Weak<Live>>>,
}

impl OpenTables {
    /// The open table.
    pub fn get(&self, live: &Arc<Live>, catalog: &Catalog) -> Result<Arc<Table>, Error> {
        let mut place = lock(&live.open);
        if let Some(table) = &*place {
            return Ok(table.clone());
        }
        let table = Arc::new(catalog.open(live.entry.number)?);
        *place = Some(table.clone());
        drop(place);
        let mut latest = lock(&self.latest);
        latest.push_back(Arc::downgrade(live));
        while latest.len() > OPEN_TABLES_MAX {
            if let Some(old) = latest.pop_front().and_then(|old| old.upgrade()) {
                lock(&old.open).take();
            }
        }
        Ok(table)
    }
}
