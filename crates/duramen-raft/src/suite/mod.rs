//! A suite for any Raft log store: what an author implements, and the report. Owns no case (those are in `cases`) and knows
//! no store. It runs on the caller's thread.
//!
//! A store that lacks an ability (to cut the power, to fill the disk) says so, and the cases that need it are reported as
//! not applicable, never as passed.

mod cases;

use std::fmt;

use crate::types::{TermIndex, TermVote};

/// An entry: its id and its payload.
pub type Item = (TermIndex, Vec<u8>);

/// Called with the outcome when an append is durable. Its type lets it be called once; the suite sees when it is dropped.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

/// What a log says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// The vote.
    pub vote: Option<TermVote>,
    /// The last entry, or what was purged when there is none.
    pub last: Option<TermIndex>,
    /// The last purged entry.
    pub purged: Option<TermIndex>,
}

/// An open log. Every error is the store's own words; a panic is a failure of the case by the caller's test.
pub trait Store {
    /// Saves the vote, durable when this returns.
    fn save_vote(&mut self, vote: TermVote) -> Result<(), String>;
    /// Appends; `done` hears when it is durable, or that it never will be. An error here may drop `done`.
    fn append(&mut self, items: &[Item], done: Done) -> Result<(), String>;
    /// Leaves no entry after this one, durable when this returns.
    fn truncate_after(&mut self, kept: TermIndex) -> Result<(), String>;
    /// Gives up the entries up to this one, durable when this returns.
    fn purge(&mut self, upto: TermIndex) -> Result<(), String>;
    /// The entries from `start` up to before `end`; those that are not there are an error or are left out.
    fn read(&self, start: u64, end: u64) -> Result<Vec<Item>, String>;
    /// The state.
    fn told(&self) -> Told;
    /// Closes in order.
    fn close(self) -> Result<(), String>;
}

/// Where one log lies: a folder, a simulated disk. Each case gets a new, empty one.
pub trait Place: Sized {
    /// The store.
    type Store: Store;
    /// Opens the log that lies here, or makes it.
    fn open(&self) -> Result<Self::Store, String>;
    /// What may be left here were the power cut now, at most `states_max` of them; `None` where it cannot be simulated.
    fn cut_power(&self, states_max: u64) -> Option<Vec<Self>>;
    /// Leaves no space, or gives it back. False where this cannot be simulated.
    fn set_full(&self, full: bool) -> bool;
    /// Makes the next sync fail, once. False where this cannot be simulated.
    fn fail_sync(&self) -> bool;
    /// Flips bits in the stored bytes of what holds this text. False where this cannot be done.
    fn damage(&self, text: &[u8]) -> bool;
    /// Whether the store outlives its process at all.
    fn is_lasting(&self) -> bool;
}

/// What a case came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The property held.
    Passed,
    /// It did not: how.
    Failed(String),
    /// The store lacks what the case needs: what.
    NotApplicable(&'static str),
}

/// A case that ran.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The stable name.
    pub name: &'static str,
    /// The property, in a sentence.
    pub property: &'static str,
    /// What it came to.
    pub outcome: Outcome,
}

/// What a store passes; its `Display` is a table for terminals.
#[derive(Clone, Debug)]
pub struct Report(pub Vec<Ran>);

impl Report {
    /// The names of the cases that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = self.0.iter().filter(|ran| matches!(ran.outcome, Outcome::Failed(_)));
        failed.map(|ran| ran.name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ran in &self.0 {
            let outcome = match &ran.outcome {
                Outcome::Passed => "passed".to_string(),
                Outcome::Failed(why) => format!("FAILED: {why}"),
                Outcome::NotApplicable(why) => format!("not applicable: {why}"),
            };
            writeln!(f, "{:26} {outcome}", ran.name)?;
        }
        Ok(())
    }
}

/// Runs every case, each on a place of its own from `new`. `states_max` bounds the power cuts tried at each moment; the same
/// `seed` makes the same generated history again.
pub fn run<P: Place>(new: impl Fn() -> P, states_max: u64, seed: u64) -> Report {
    let ran = cases::all::<P>().into_iter().map(|case| {
        let outcome = match (case.run)(&new(), cases::Bounds { states_max, seed }) {
            Ok(()) => Outcome::Passed,
            Err(cases::Stop::Failed(why)) => Outcome::Failed(why),
            Err(cases::Stop::Lacks(what)) => Outcome::NotApplicable(what),
        };
        Ran { name: case.name, property: case.property, outcome }
    });
    Report(ran.collect())
}
