//! What a log must be after some of the steps that were asked for. Owns the steps as events, and the states that a recovery may
//! find; knows no log.

use std::collections::BTreeMap;
use std::sync::Arc;

use duramen_decisions::SeqNo;

/// A value's content, as a hash.
pub type Print = u64;

/// One value of a batch.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Value {
    Decision(SeqNo, Print),
    Proof(SeqNo, Print),
    Membership(SeqNo, Print),
    Message(SeqNo, Print),
    Safety(Print),
    Recovery(u64, Print),
}

/// What was asked for, in full: each is one atomic change.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Step {
    Store(Vec<Value>),
    Invalidate(SeqNo),
    Truncate(SeqNo),
    Compact(SeqNo),
    /// A checkpoint of a state of so many bytes.
    Publish(SeqNo, Print, usize),
    Forget(Vec<SeqNo>),
    /// An installation is begun.
    Begin(SeqNo),
    Abandon,
    /// An installation is finished.
    Finish(SeqNo, Print),
}

impl Step {
    /// The highest decision that it names.
    pub fn highest(&self) -> SeqNo {
        let of = |value: &Value| match value {
            Value::Decision(number, _) | Value::Proof(number, _) | Value::Membership(number, _) => *number,
            Value::Message(number, _) | Value::Recovery(number, _) => *number,
            Value::Safety(_) => 0,
        };
        match self {
            Step::Store(values) => values.iter().map(of).max().unwrap_or(0),
            Step::Invalidate(number) | Step::Truncate(number) | Step::Compact(number) | Step::Begin(number) => *number,
            Step::Publish(number, ..) | Step::Finish(number, _) => *number,
            Step::Forget(_) | Step::Abandon => 0,
        }
    }
}

/// Something that the outside world was told, or asked for. Steps are numbered from 0.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Event {
    /// A step is about to be asked for.
    Issued(Arc<Step>),
    /// The step with this number is not stored and never will be.
    Refused(usize),
    /// This step, and all before it that were not refused, are durable.
    Durable(usize),
    /// A recovery served these.
    Served(Vec<usize>),
}

/// A log as it is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub base: Option<SeqNo>,
    pub decisions: BTreeMap<SeqNo, Print>,
    pub proofs: BTreeMap<SeqNo, Print>,
    pub messages: BTreeMap<SeqNo, Vec<Print>>,
    pub safety: Option<Print>,
    pub memberships: BTreeMap<SeqNo, Print>,
    pub recovery: BTreeMap<u64, Print>,
    pub checkpoints: BTreeMap<SeqNo, Print>,
    pub pending: Option<SeqNo>,
}

impl State {
    /// Every decision is there up to this one, behind the base or the first one.
    pub fn frontier(&self) -> Option<SeqNo> {
        let first = match self.base {
            Some(base) => base + 1,
            None => *self.decisions.keys().next()?,
        };
        let count = self.decisions.range(first..).zip(first..).take_while(|((own, _), at)| **own == *at).count();
        if count > 0 { Some(first + count as u64 - 1) } else { self.base }
    }

    /// The numbers that are missing before the last decision.
    pub fn missing(&self) -> Vec<SeqNo> {
        let last = self.decisions.keys().next_back().copied().unwrap_or(0);
        let from = self.frontier().map_or(0, |frontier| frontier + 1);
        (from..last).filter(|number| !self.decisions.contains_key(number)).collect()
    }

    fn rebase(&mut self, upto: SeqNo) {
        self.base = Some(upto);
        self.decisions = self.decisions.split_off(&(upto + 1));
        self.proofs = self.proofs.split_off(&(upto + 1));
        self.messages = self.messages.split_off(&(upto + 1));
    }

    /// Leaves out the memberships that the oldest checkpoint makes needless.
    fn trim(&mut self) {
        let oldest = self.checkpoints.keys().next().copied();
        let kept = oldest.and_then(|oldest| self.memberships.range(..=oldest).next_back());
        if let Some((&kept, _)) = kept {
            self.memberships = self.memberships.split_off(&kept);
        }
    }

    /// Whether this is what was found. If the disk may refuse, a compaction may have been refused but for its removals, which say
    /// again up to where it went: then memberships that nobody needs are still there.
    fn is(&self, found: &State, refusing: bool) -> bool {
        if self == found || !refusing || self.base.is_none() || self.memberships == found.memberships {
            return self == found;
        }
        let (mut own, mut other) = (self.clone(), found.clone());
        own.trim();
        other.trim();
        own == other
    }

    fn put(&mut self, value: Value) {
        match value {
            Value::Decision(number, print) => _ = self.decisions.insert(number, print),
            Value::Proof(number, print) => _ = self.proofs.insert(number, print),
            Value::Membership(number, print) => _ = self.memberships.insert(number, print),
            Value::Message(number, print) => self.messages.entry(number).or_default().push(print),
            Value::Safety(print) => self.safety = Some(print),
            Value::Recovery(number, print) => _ = self.recovery.insert(number, print),
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Store(values) => values.iter().for_each(|value| self.put(*value)),
            Step::Invalidate(number) => {
                self.decisions.remove(number);
                self.proofs.remove(number);
                self.messages.remove(number);
            }
            Step::Truncate(kept) => {
                let first = kept + 1;
                self.decisions.split_off(&first);
                self.proofs.split_off(&first);
                self.messages.split_off(&first);
                self.memberships.split_off(&first);
            }
            Step::Compact(upto) => {
                if self.base.is_some_and(|base| base >= *upto) {
                    return;
                }
                self.rebase(*upto);
                self.trim();
            }
            Step::Publish(number, print, _) | Step::Finish(number, print) => {
                self.pending = self.pending.filter(|pending| pending > number);
                self.checkpoints.insert(*number, *print);
                let first = self.decisions.keys().next().copied();
                let begins = self.base.is_some() || first.is_some_and(|first| first <= number + 1);
                if !begins || self.frontier().is_none_or(|frontier| frontier < *number) {
                    self.rebase(*number);
                }
            }
            Step::Forget(numbers) => self.checkpoints.retain(|number, _| !numbers.contains(number)),
            Step::Begin(number) => self.pending = Some(*number),
            Step::Abandon => self.pending = None,
        }
    }

    /// What is different, in words.
    fn difference(&self, found: &State) -> String {
        let mut words = Vec::new();
        let mut compare = |name: &str, wanted: String, found: String| {
            if wanted != found {
                words.push(format!("{name} {found} instead of {wanted}"));
            }
        };
        compare("base", format!("{:?}", self.base), format!("{:?}", found.base));
        compare("decisions", format!("{:x?}", self.decisions), format!("{:x?}", found.decisions));
        compare("proofs", format!("{:x?}", self.proofs), format!("{:x?}", found.proofs));
        compare("messages", format!("{:x?}", self.messages), format!("{:x?}", found.messages));
        compare("safety", format!("{:x?}", self.safety), format!("{:x?}", found.safety));
        compare("memberships", format!("{:x?}", self.memberships), format!("{:x?}", found.memberships));
        compare("recovery", format!("{:x?}", self.recovery), format!("{:x?}", found.recovery));
        compare("checkpoints", format!("{:x?}", self.checkpoints), format!("{:x?}", found.checkpoints));
        compare("pending", format!("{:?}", self.pending), format!("{:?}", found.pending));
        words.join(", ")
    }
}

/// What the events so far demand.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Steps that may be stored, with their numbers.
    pub steps: Vec<(usize, Arc<Step>)>,
    pub issued: usize,
    /// The last checkpoint that was asked for, and its bytes, whatever became of it.
    pub asked: Option<(SeqNo, usize)>,
    durable: Option<usize>,
}

/// Compactions that are tried with and without; more are taken as done.
const OPTIONAL_MAX: usize = 5;

impl Model {
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Issued(step) => {
                if let Step::Publish(number, _, bytes) = **step {
                    self.asked = Some((number, bytes));
                }
                self.steps.push((self.issued, step.clone()));
                self.issued += 1;
            }
            Event::Refused(number) => self.steps.retain(|step| step.0 != *number),
            Event::Durable(number) => self.durable = self.durable.max(Some(*number)),
            Event::Served(kept) => {
                self.steps.retain(|step| kept.contains(&step.0));
                self.durable = kept.last().copied();
            }
        }
    }

    /// How many of the steps must be there.
    pub fn floor(&self) -> usize {
        self.steps.iter().take_while(|step| Some(step.0) <= self.durable).count()
    }

    /// The state after all steps.
    pub fn whole(&self) -> State {
        let mut state = State::default();
        self.steps.iter().for_each(|(_, step)| state.apply(step));
        state
    }

    /// Which of the steps a log holds: all up to one of them, at least `floor`. If the disk may refuse (`refusing`), a compaction
    /// may be missing, as nobody is told of it, and so may steps right before the last ones: those were refused while these were
    /// asked for.
    ///
    /// # Errors
    /// What is different from the states that could be.
    pub fn find(&self, floor: usize, refusing: bool, found: &State) -> Result<Vec<usize>, String> {
        let optional = |own: &&(usize, Arc<Step>)| refusing && matches!(*own.1, Step::Compact(_));
        let optional: Vec<usize> = self.steps.iter().filter(optional).map(|own| own.0).take(OPTIONAL_MAX).collect();
        for left_out in 0..1usize << optional.len() {
            let absent = |number: usize| optional.iter().position(|own| *own == number);
            let absent = |number: usize| absent(number).is_some_and(|at| left_out & (1 << at) != 0);
            // What was left out up to the floor counts there all the same.
            let steps: Vec<_> = self.steps.iter().filter(|own| !absent(own.0)).collect();
            let floor = self.steps[..floor].iter().filter(|own| !absent(own.0)).count();
            if let Some(kept) = prefix(&steps, floor, refusing, found) {
                return Ok(kept);
            }
        }
        let least = {
            let mut state = State::default();
            self.steps[..floor].iter().for_each(|(_, step)| state.apply(step));
            state.difference(found)
        };
        let all = self.whole().difference(found);
        Err(format!("of {} steps, at least {floor}: {least}; with all: {all}", self.steps.len()))
    }
}

/// The steps up to one of them, or those with a hole before the last ones, after which the log is as it was found.
fn prefix(steps: &[&(usize, Arc<Step>)], floor: usize, holed: bool, found: &State) -> Option<Vec<usize>> {
    let mut state = State::default();
    let mut at_floor = None;
    let mut kept = None;
    for count in 0..=steps.len() {
        if count >= floor {
            at_floor.get_or_insert_with(|| state.clone());
            if state.is(found, holed) {
                // The most that it can be.
                kept = Some(count);
            }
        }
        if let Some(step) = steps.get(count) {
            state.apply(&step.1);
        }
    }
    if let Some(kept) = kept {
        return Some(steps[..kept].iter().map(|step| step.0).collect());
    }
    let mut before = at_floor.filter(|_| holed)?;
    for end in floor..steps.len() {
        for first in end + 1..steps.len() {
            let mut state = before.clone();
            for last in first..steps.len() {
                state.apply(&steps[last].1);
                if state.is(found, holed) {
                    let kept = steps[..end].iter().chain(&steps[first..=last]);
                    return Some(kept.map(|step| step.0).collect());
                }
            }
        }
        before.apply(&steps[end].1);
    }
    None
}
