//! A suite for any Raft log store: what an author implements, and the report. Owns the traits and the table; the properties are
//! in `cases`, generated histories and what a crash may leave of them in `trial`, torn writes in `torn`.
//!
//! An author implements [`Store`] and [`Place`], calls [`run`], and looks at the [`Report`]. A store that lacks an ability (to
//! cut the power, to fill the disk) says so, and the cases that need it are reported as not applicable, never as passed. A store
//! on a simulated disk goes further with a [`Trial`]: its workload and its judge are made for a crash at every operation of the
//! disk. What the cases ask for is more than a Raft implementation needs of a quiet machine, and what it needs of one that loses
//! power: Ongaro's thesis (2014), 3.8 and 11.7, and the reports of stores that did not hold it.

mod cases;
mod torn;
mod trial;

use std::fmt;

pub use torn::torn;
pub use trial::{Event, Trial};

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
    /// What was noted as committed; a store that keeps no such note says `None`.
    pub committed: Option<TermIndex>,
}

/// An open log. Every error is the store's own words. A panic is the caller's to see.
pub trait Store {
    /// Saves the vote, durable when this returns.
    fn save_vote(&mut self, vote: TermVote) -> Result<(), String>;
    /// Appends; `done` hears when it is durable, or that it never will be. An error here may drop `done`.
    fn append(&mut self, items: &[Item], done: Done) -> Result<(), String>;
    /// Leaves no entry after this one, durable when this returns.
    fn truncate_after(&mut self, kept: TermIndex) -> Result<(), String>;
    /// Gives up the entries up to this one, durable when this returns.
    fn purge(&mut self, upto: TermIndex) -> Result<(), String>;
    /// Notes what is committed; a crash may take the note, not what it says.
    fn commit(&mut self, upto: TermIndex) -> Result<(), String>;
    /// The entries from `start` up to before `end`; those that are not there are an error or are left out.
    fn read(&self, start: u64, end: u64) -> Result<Vec<Item>, String>;
    /// The state.
    fn told(&self) -> Told;
    /// Closes in order.
    fn close(self) -> Result<(), String>;
}

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Each read, until [`Place::heal`].
    Reads,
    /// Each write, until [`Place::heal`].
    Writes,
    /// The next sync, once; what it was to make durable may be lost, and a later sync may say success.
    Sync,
    /// The disk has no room left, until [`Place::heal`].
    Full,
}

/// Where one log lies: a folder, a simulated disk. Each case gets a new, empty one.
pub trait Place: Sized {
    /// The store.
    type Store: Store;
    /// Opens the log that lies here, or makes it.
    fn open(&self) -> Result<Self::Store, String>;
    /// An independent copy of what is here, as another process would see it: what is left when this one is killed. `None`: the
    /// log does not outlive its process.
    fn copy(&self) -> Option<Self>;
    /// What may be left here were the power cut now, at most `states_max` of them; `None` where it cannot be simulated.
    fn cut_power(&self, states_max: u64) -> Option<Vec<Self>>;
    /// The files that are here, by name.
    fn files(&self) -> Vec<(String, Vec<u8>)>;
    /// Puts other bytes in the place of a file, on the disk itself. Nothing is open. False where this cannot be done.
    fn put(&self, name: &str, bytes: &[u8]) -> bool;
    /// Makes something fail. False where this cannot be simulated.
    fn fail(&self, what: Failure) -> bool;
    /// Ends what [`Place::fail`] began.
    fn heal(&self);
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
    /// Reopenings whose outcome was judged: power cuts, kills, torn writes.
    pub judged: u64,
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
                Outcome::Passed if ran.judged > 0 => format!("passed, {} times opened again", ran.judged),
                Outcome::Passed => "passed".to_string(),
                Outcome::Failed(why) => format!("FAILED: {why}"),
                Outcome::NotApplicable(why) => format!("not applicable: {why}"),
            };
            writeln!(f, "{:24} {outcome}", ran.name)?;
        }
        Ok(())
    }
}

/// Runs every case, each on places of its own from `new`. `states_max` bounds the power cuts tried at each moment; the same
/// `seed` makes the same generated histories again.
pub fn run<P: Place>(new: impl Fn() -> P, states_max: u64, seed: u64) -> Report {
    Report(cases::all::<P>().iter().map(|case| ran(case, &new, states_max, seed)).collect())
}

/// The cases: name and property.
pub fn cases<P: Place>() -> Vec<(&'static str, &'static str)> {
    cases::all::<P>().iter().map(|case| (case.name, case.property)).collect()
}

/// Runs the case of this name; `None`: there is none.
pub fn run_case<P: Place>(name: &str, new: impl Fn() -> P, states_max: u64, seed: u64) -> Option<Ran> {
    let all = cases::all::<P>();
    all.iter().find(|case| case.name == name).map(|case| ran(case, &new, states_max, seed))
}

fn ran<P: Place>(case: &cases::Case<P>, new: &dyn Fn() -> P, states_max: u64, seed: u64) -> Ran {
    let bench = cases::Bench::new(new, states_max, seed);
    let outcome = match (case.run)(&bench) {
        Ok(()) => Outcome::Passed,
        Err(cases::Stop::Failed(why)) => Outcome::Failed(why),
        Err(cases::Stop::Lacks(what)) => Outcome::NotApplicable(what),
    };
    Ran { name: case.name, property: case.property, outcome, judged: bench.judged() }
}
