//! Rows that were read from a source that has them no more, and that the store did not take before the stop. Owns how they are told
//! of: each is counted, and at the input's end they are one gap in the store and one line on standard error.

use duramen_store::{Batch, Durability, Event, Level};

use crate::input::{Counters, Feed};

/// What an input has lost, and has not told of yet.
#[derive(Debug, Default)]
pub struct Lost {
    rows: u64,
    /// Why the store took nothing.
    cause: String,
}

impl Feed {
    /// As [`Feed::append`], for rows that cannot be read again: if a stop comes before the store takes them, they are lost, which
    /// [`Feed::tell_lost`] tells.
    ///
    /// # Errors
    /// What waiting does not mend.
    pub fn append_or_lose(&self, batch: &mut Batch, how: Durability) -> anyhow::Result<()> {
        if let Err(error) = self.attempt(batch, how)? {
            let rows = std::mem::take(batch).len() as u64;
            Counters::add(&self.counters.lost, rows);
            let mut lost = self.lost.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *lost = Lost { rows: lost.rows + rows, cause: error.to_string() };
        }
        Ok(())
    }

    /// Tells of the rows that were lost, if there are any, as an input ends.
    pub fn tell_lost(&self, source: &str) {
        let lost = std::mem::take(&mut *self.lost.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        if lost.rows == 0 {
            return;
        }
        let rows = lost.rows;
        let text = format!("{source}: {rows} rows that had been read are lost: the store took none before the stop");
        eprintln!("duramen: {text} ({})", lost.cause);
        let fields = vec![
            ("cause", "not taken before the stop".to_string()),
            ("source", source.to_string()),
            ("rows", rows.to_string()),
        ];
        // The store's own rows have a reserve; where that is used up too, the line above is all that there is.
        let _ = self.store.tell(&Event { kind: "gap", level: Level::Warning, at: None, text, fields }, None);
    }
}
