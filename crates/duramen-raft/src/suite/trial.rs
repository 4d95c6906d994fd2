//! A history of steps, and what a crash anywhere in it may leave: for a search through crashes, and for the cases. Owns the
//! model, in which a step is an atom and a batch of entries so many; knows a store by its trait alone.
//!
//! The judge asks for one ordered stream: after a crash the log is as some prefix of the atoms made it, one that holds
//! everything that was told durable and nothing that was not asked for.

use std::sync::{Arc, Mutex};

use super::{Done, Item, Store, Told};
use crate::types::{TermIndex, TermVote};

/// Something that the outside world asked for, or was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The step with this number is about to be asked for.
    Asked(usize),
    /// This step is durable, and so are those before it.
    Durable(usize),
    /// What a recovery served: so many atoms, which from now on must all be there, and no others.
    Served(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Vote(TermVote),
    /// And whether it is waited for.
    Append(Vec<Item>, bool),
    Truncate(TermIndex),
    Purge(TermIndex),
    Commit(TermIndex),
    Reopen,
}

impl Step {
    fn atoms(&self) -> usize {
        match self {
            Step::Append(items, _) => items.len(),
            Step::Vote(_) | Step::Truncate(_) | Step::Purge(_) => 1,
            Step::Commit(_) | Step::Reopen => 0,
        }
    }
}

/// A log as it should be.
#[derive(Clone, Debug, Default)]
struct Log {
    vote: Option<TermVote>,
    purged: Option<TermIndex>,
    items: Vec<Item>,
}

impl Log {
    fn last(&self) -> Option<TermIndex> {
        self.items.last().map(|item| item.0).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(1, |id| id.index + 1)
    }

    fn term(&self) -> u64 {
        self.vote.map_or(1, |vote| vote.term)
    }

    /// The first atoms of a step.
    fn take(&mut self, step: &Step, atoms: usize) {
        match step {
            Step::Append(items, _) => self.items.extend_from_slice(&items[..atoms]),
            Step::Vote(vote) => self.vote = Some(*vote),
            Step::Truncate(kept) => self.items.retain(|item| item.0.index <= kept.index),
            Step::Purge(upto) => {
                self.items.retain(|item| item.0.index > upto.index);
                self.purged = Some(*upto);
            }
            Step::Commit(_) | Step::Reopen => {}
        }
    }

    /// How a store differs from it, in words.
    fn differs(&self, told: &Told, store: &impl Store) -> Option<String> {
        let wanted = Told { vote: self.vote, last: self.last(), purged: self.purged, committed: told.committed };
        if *told != wanted {
            return Some(format!("{told:?} is not {wanted:?}"));
        }
        let first = self.purged.map_or(1, |id| id.index + 1);
        if self.items.is_empty() {
            return None;
        }
        match store.read(first, self.next()) {
            Ok(found) if found == self.items => None,
            Ok(found) => {
                let ids: Vec<TermIndex> = found.iter().map(|item| item.0).collect();
                Some(format!("the entries {ids:?} are not those that were appended"))
            }
            Err(error) => Some(format!("the entries cannot be read: {error}")),
        }
    }
}

/// A workload, and what must hold after a crash anywhere in it.
#[derive(Clone, Debug)]
pub struct Trial {
    name: String,
    steps: Vec<Step>,
    /// What the steps so far make; for building.
    log: Log,
    committed: u64,
}

impl Trial {
    fn new(name: impl Into<String>) -> Trial {
        Trial { name: name.into(), steps: Vec::new(), log: Log::default(), committed: 0 }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// One of each kind of history, then as many that chance makes.
    pub fn all(seed: u64, random: u64) -> Vec<Trial> {
        let mut all = vec![Trial::terms(), Trial::in_flight(), Trial::cut_and_written_anew(), Trial::purged()];
        all.extend((0..random).map(|number| Trial::random(seed.wrapping_add(number))));
        all
    }

    /// A vote, then entries of its term, again and again.
    pub(super) fn terms() -> Trial {
        let mut trial = Trial::new("terms");
        for _ in 0..5 {
            trial.vote();
            trial.append(2, 700, true);
        }
        trial
    }

    /// Appends that nobody waits for, with votes between.
    pub(super) fn in_flight() -> Trial {
        let mut trial = Trial::new("in flight");
        for _ in 0..4 {
            trial.append(1, 300, false);
            trial.append(3, 2_000, false);
            trial.vote();
        }
        trial.append(2, 10_000, true);
        trial
    }

    /// Entries that a new leader replaces.
    pub(super) fn cut_and_written_anew() -> Trial {
        let mut trial = Trial::new("cut and written anew");
        for _ in 0..4 {
            trial.append(5, 400, true);
            trial.truncate(3);
            trial.vote();
            trial.append(1, 400, false);
        }
        trial.reopen();
        trial.append(1, 400, true);
        trial
    }

    /// Entries that are committed and given up, over segments.
    pub(super) fn purged() -> Trial {
        let mut trial = Trial::new("purged");
        for _ in 0..4 {
            trial.append(3, 20_000, true);
            trial.commit(1);
            trial.purge(2);
        }
        trial.reopen();
        trial.append(1, 20_000, true);
        trial.purge(0);
        trial.append(1, 100, true);
        trial
    }

    /// A history that chance makes; the same one for the same seed.
    pub fn random(seed: u64) -> Trial {
        let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |end: u64| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            (chance >> 20) % end
        };
        let mut trial = Trial::new(format!("seed {seed}"));
        for _ in 0..24 {
            let held = trial.log.items.len() as u64;
            match below(9) {
                0 => trial.vote(),
                1 if held > 2 => {
                    trial.truncate(1 + below(2));
                    trial.vote();
                }
                2 if held > 3 => trial.purge(below(3)),
                3 if held > 0 => trial.commit(below(held)),
                4 => trial.reopen(),
                _ => {
                    let bytes = if below(8) == 0 { 30_000 } else { below(900) as usize };
                    trial.append(1 + below(4), bytes, below(2) == 0);
                }
            }
        }
        trial
    }

    fn push(&mut self, step: Step) {
        self.log.take(&step, step.atoms());
        self.steps.push(step);
    }

    fn vote(&mut self) {
        let term = self.log.term() + 1;
        self.push(Step::Vote(TermVote { term, node: Some(term % 3) }));
    }

    fn append(&mut self, count: u64, bytes: usize, waits: bool) {
        let (term, next) = (self.log.term(), self.log.next());
        let item = |index| (TermIndex::new(term, index), vec![(term * 31 + index) as u8; bytes]);
        self.push(Step::Append((next..next + count).map(item).collect(), waits));
    }

    /// All but the last so many, and at least one; never what is committed.
    fn truncate(&mut self, count: u64) {
        let held = self.log.items.len();
        let kept = held.saturating_sub(count as usize).max(1);
        if let Some(&(id, _)) = self.log.items.get(kept - 1)
            && id.index >= self.committed
            && kept < held
        {
            self.push(Step::Truncate(id));
        }
    }

    /// All but the last so many.
    fn purge(&mut self, left: u64) {
        let held = self.log.items.len();
        if let Some(&(id, _)) = held.checked_sub(left as usize + 1).and_then(|at| self.log.items.get(at)) {
            self.push(Step::Purge(id));
        }
    }

    fn commit(&mut self, but: u64) {
        let held = self.log.items.len();
        if let Some(&(id, _)) = held.checked_sub(but as usize + 1).and_then(|at| self.log.items.get(at))
            && id.index > self.committed
        {
            self.committed = id.index;
            self.push(Step::Commit(id));
        }
    }

    fn reopen(&mut self) {
        self.push(Step::Reopen);
    }

    /// Runs the steps on a store, and tells what the outside world asked for and was told. Stops at the first error, of which
    /// nobody knows what it leaves.
    ///
    /// # Errors
    /// The step that failed, and the store's words. On a disk that does not fail that is a defect; on one that does, what
    /// [`Trial::judge`] asks for holds all the same.
    pub fn run<S: Store>(
        &self,
        open: &dyn Fn() -> Result<S, String>,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), String> {
        self.run_between(open, tell, &mut || Ok(()))
    }

    /// As [`Trial::run`]; something is done after each step.
    pub(super) fn run_between<S: Store>(
        &self,
        open: &dyn Fn() -> Result<S, String>,
        tell: &mut dyn FnMut(Event),
        between: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        let mut store = open().map_err(|error| format!("cannot be opened: {error}"))?;
        let told = Arc::new(Mutex::new(Vec::new()));
        for (number, step) in self.steps.iter().enumerate() {
            tell(Event::Asked(number));
            let result = match step {
                Step::Vote(vote) => store.save_vote(*vote),
                Step::Append(items, waits) => {
                    let (call, told) = (told.clone(), &told);
                    let done: Done = Box::new(move |outcome| lock(&call).push((number, outcome)));
                    let appended = store.append(items, done);
                    let here = || lock(told).iter().any(|(at, _)| *at == number);
                    appended.and_then(|()| if *waits { wait_until(here) } else { Ok(()) })
                }
                Step::Truncate(kept) => store.truncate_after(*kept),
                Step::Purge(upto) => store.purge(*upto),
                Step::Commit(upto) => store.commit(*upto),
                Step::Reopen => {
                    store.close().map_err(|error| format!("step {number}, {step:?}: {error}"))?;
                    store = open().map_err(|error| format!("step {number}, {step:?}: {error}"))?;
                    Ok(())
                }
            };
            let mut failed = None;
            for (at, outcome) in lock(&told).drain(..) {
                match outcome {
                    Ok(()) => tell(Event::Durable(at)),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            let durable = matches!(step, Step::Vote(_) | Step::Truncate(_) | Step::Purge(_));
            match result {
                Ok(()) if durable => tell(Event::Durable(number)),
                Ok(()) => {}
                Err(error) => failed = Some(error),
            }
            if let Some(error) = failed {
                return Err(format!("step {number}: {error}"));
            }
            between()?;
        }
        Ok(())
    }

    /// Looks at what a crash left, and returns how many atoms it served: the next events should begin with that
    /// ([`Event::Served`]).
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge(&self, store: &impl Store, events: impl IntoIterator<Item = Event>) -> Result<usize, String> {
        let ends: Vec<usize> = self
            .steps
            .iter()
            .scan(0, |sum, step| {
                *sum += step.atoms();
                Some(*sum)
            })
            .collect();
        let (mut floor, mut ceiling, mut committed) = (0, 0, 0);
        let mut said = Vec::new();
        for event in events {
            match event {
                Event::Asked(number) => {
                    ceiling = ceiling.max(ends[number]);
                    if let Step::Commit(upto) = &self.steps[number] {
                        committed = committed.max(upto.index);
                    }
                }
                Event::Durable(number) => floor = floor.max(ends[number]),
                Event::Served(atoms) => (floor, ceiling) = (atoms, atoms),
            }
            said.push(event);
        }
        let told = store.told();
        let noted = told.committed.map_or(0, |id| id.index);
        let last = told.last.map_or(0, |id| id.index);
        if noted > committed || noted > last {
            return Err(format!("{}: committed is {noted}, {committed} was said, {last} is last", self.name));
        }
        let mut why = String::new();
        for atoms in (floor..=ceiling).rev() {
            match self.after(atoms).differs(&told, store) {
                None => return Ok(atoms),
                Some(words) => why = words,
            }
        }
        Err(format!("{}: no prefix of {floor} to {ceiling} steps explains it: {why}; {said:?}", self.name))
    }

    /// The log after so many atoms.
    fn after(&self, atoms: usize) -> Log {
        let (mut log, mut left) = (Log::default(), atoms);
        for step in &self.steps {
            let taken = step.atoms().min(left);
            if taken > 0 {
                log.take(step, taken);
            }
            left -= taken;
        }
        log
    }
}

pub(super) fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Looks again and again, for some seconds.
pub(super) fn wait_until(is_so: impl Fn() -> bool) -> Result<(), String> {
    let (_nobody, never) = std::sync::mpsc::channel::<()>();
    for round in 0..3_000 {
        if is_so() {
            return Ok(());
        }
        let pause = std::time::Duration::from_micros(if round < 1_000 { 100 } else { 5_000 });
        let _ = never.recv_timeout(pause);
    }
    Err("the completion did not come".to_string())
}
