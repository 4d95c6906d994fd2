//! A suite for any backend of a log: what its author implements, and the report. Owns the trait and the table; the properties are
//! in `cases`, `crash` and `rot`, generated histories and what a crash may leave of them in `trial`, torn writes in `torn`.
//!
//! An author implements [`Place`], of which only [`Place::open`] is a must, calls [`run`], and looks at the [`Report`]. A place that
//! lacks an ability (to cut the power, to fill the disk) leaves it to the default, and the cases that need it are reported as not
//! applicable, never as passed. A backend on a simulated disk goes further with a [`Trial`]: its workload and its judge are made
//! for a crash at every operation of the disk. The example `own_backend` is a whole one.
//!
//! What the cases ask for is what [`Backend`] promises, no more; a log above it builds on all of that.

mod cases;
mod crash;
mod rot;
mod torn;
mod trial;

use std::fmt;

pub use trial::{Event, Trial, Work, work};

use crate::backend::Backend;
use crate::error::Error;

/// A file: its name and its bytes.
pub type File = (String, Vec<u8>);

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

/// Where one backend lies: a folder, a simulated disk. Each case gets a new, empty one.
pub trait Place: Sized {
    /// The backend.
    type Backend: Backend;
    /// Opens the store that lies here, or makes it. Nothing that the suite did not ask for should be synced: that hides what a
    /// crash can take.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open(&self) -> Result<Self::Backend, Error>;
    /// The files that are here, as another process sees them now. `None`: the store does not outlive its process.
    fn files(&self) -> Option<Vec<File>> {
        None
    }
    /// Another place that holds these files. `None`: none can be made.
    fn with_files(&self, _files: &[File]) -> Option<Self> {
        None
    }
    /// Whether a write that was cut off can be made of the files before and after it: so if a store appends, and syncs once. One that
    /// overwrites, with syncs between its steps, says false.
    fn tears(&self) -> bool {
        true
    }
    /// An independent copy of what is here: what is left when this process is killed.
    fn copy(&self) -> Option<Self> {
        self.with_files(&self.files()?)
    }
    /// What may be left here were the power cut now, at most `states_max` of them. `None`: that cannot be simulated.
    fn cut_power(&self, _states_max: u64) -> Option<Vec<Self>> {
        None
    }
    /// Lets another process do [`work`] here, kills it at a moment that depends on `round`, and returns what it had told by then.
    /// `None`: there is no other process.
    fn kill(&self, _work: &Work, _round: u64) -> Option<Result<Vec<Event>, String>> {
        None
    }
    /// Makes something fail. False where this cannot be simulated.
    fn fail(&self, _what: Failure) -> bool {
        false
    }
    /// Ends what [`Place::fail`] began.
    fn heal(&self) {}
}

/// What a case came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The property held.
    Passed,
    /// It did not: how.
    Failed(String),
    /// The place lacks what the case needs: what.
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
    /// Openings whose outcome was judged: after power cuts, kills, torn writes, flipped bits.
    pub judged: u64,
}

/// What a backend passes; its `Display` is a table for terminals.
#[derive(Clone, Debug)]
pub struct Report(pub Vec<Ran>);

impl Report {
    /// The names of the cases that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = self.0.iter().filter(|ran| matches!(ran.outcome, Outcome::Failed(_)));
        failed.map(|ran| ran.name).collect()
    }

    /// The names of the cases for which the place lacks something.
    pub fn not_applicable(&self) -> Vec<&'static str> {
        let lacking = self.0.iter().filter(|ran| matches!(ran.outcome, Outcome::NotApplicable(_)));
        lacking.map(|ran| ran.name).collect()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed => f.write_str("passed"),
            Outcome::Failed(why) => write!(f, "FAILED: {why}"),
            Outcome::NotApplicable(why) => write!(f, "not applicable: {why}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ran in &self.0 {
            write!(f, "{:24} {}", ran.name, ran.outcome)?;
            match (&ran.outcome, ran.judged) {
                (Outcome::Passed, 1..) => writeln!(f, ", {} times opened again", ran.judged)?,
                _ => writeln!(f)?,
            }
        }
        Ok(())
    }
}

/// Runs every case, each on places of its own from `new`. `states_max` bounds the power cuts tried at each moment, the kills and the
/// flipped bits; the same `seed` makes the same histories again.
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
