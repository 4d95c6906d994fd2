//! What opening a store found, for people. Owns the words.

use std::fmt;

/// What opening found and did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The journal's part.
    pub journal: duramen_journal::Report,
    /// Live tables.
    pub tables: usize,
    /// Rows in them.
    pub table_rows: u64,
    /// Samples in them.
    pub table_samples: u64,
    /// Rows read from the journal, because no table holds them yet.
    pub replayed: u64,
    /// Rows of the journal that tables held already.
    pub skipped: u64,
    /// Samples read from the journal, because no table holds them yet.
    pub replayed_samples: u64,
    /// Samples of the journal that tables held already.
    pub skipped_samples: u64,
    /// Records of the journal that could not be read or made no sense, and why.
    pub unreadable: Vec<String>,
    /// Tables whose rows cannot be had, and why.
    pub lost_tables: Vec<String>,
    /// How the store ended before, if nobody had closed it.
    pub outage: Option<crate::session::Outage>,
    /// What else a reader should know.
    pub notes: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.journal.fmt(f)?;
        let samples = |count: u64| if count > 0 { format!(", {count} samples") } else { String::new() };
        writeln!(f, "tables    {} ({} rows{})", self.tables, self.table_rows, samples(self.table_samples))?;
        write!(f, "replayed  {} rows{}", self.replayed, samples(self.replayed_samples))?;
        writeln!(f, "; {} were in tables already", self.skipped + self.skipped_samples)?;
        if let Some(outage) = &self.outage {
            let cause = if outage.power { "the machine lost power or was reset" } else { "the process died" };
            let length = outage.length().map_or(String::new(), |length| format!(", for {:.1} s", length.as_secs_f64()));
            writeln!(f, "outage    {cause}{length}")?;
        }
        self.lost_tables.iter().try_for_each(|lost| writeln!(f, "lost      {lost}"))?;
        self.unreadable.iter().try_for_each(|place| writeln!(f, "lost      {place}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note      {note}"))
    }
}
