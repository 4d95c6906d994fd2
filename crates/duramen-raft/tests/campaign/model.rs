//! What a log must be after some of the steps that were asked for. Owns the steps as events, the entries' contents, and
//! the states that a recovery may find; knows the log only by its public face.

use std::collections::BTreeMap;

use duramen_raft::{Entry, Plain, RaftLog, TermIndex, TermVote};

/// What was asked for, in full: it can be done again without knowing what came before.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Step {
    Vote { term: u64, node: u64 },
    Append { term: u64, first: u64, count: u64, bytes: usize },
    Commit { id: (u64, u64) },
    Truncate { kept: Option<(u64, u64)> },
    Purge { id: (u64, u64) },
    Data(u64),
    Remove,
}

/// Something that the outside world was told, or asked for. Steps are numbered from 0, over all groups.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Event {
    /// A step is about to be asked for.
    Issued(u32, Step),
    /// The step with this number is not stored and never will be.
    Refused(usize),
    /// This step, and all before it that were not refused, are durable.
    Durable(usize),
    /// Likewise, safe from the death of the process.
    Written(usize),
    /// A recovery served so many of the steps that were not refused.
    Served(Vec<usize>),
    /// What was only written is void.
    WrittenVoid,
}

/// One group as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    vote: Option<(u64, u64)>,
    last: Option<(u64, u64)>,
    committed: Option<(u64, u64)>,
    purged: Option<(u64, u64)>,
    data: Option<u64>,
    /// By index: term, and the payload's length.
    entries: BTreeMap<u64, (u64, usize)>,
}

/// All groups as they should be.
pub type State = BTreeMap<u32, Group>;

/// An entry whose payload tells its term and index.
pub fn entry(term: u64, index: u64, bytes: usize) -> Entry<Plain> {
    let mut payload = format!("{term}-{index} ").into_bytes();
    payload.resize(payload.len().max(bytes), b'a' + ((term * 7 + index) % 26) as u8);
    Entry::new(TermIndex::new(term, index), payload.into())
}

impl Group {
    /// Does a step. `false`: the log's rules refuse it here.
    fn apply(&mut self, step: &Step) -> bool {
        match *step {
            Step::Vote { term, node } => {
                if self.vote.is_some_and(|vote| term < vote.0) {
                    return false;
                }
                self.vote = Some((term, node));
            }
            Step::Append { term, first, count, bytes } => {
                if self.last.is_some_and(|last| last.1 + 1 != first || term < last.0) {
                    return false;
                }
                self.entries.extend((first..first + count).map(|index| (index, (term, bytes))));
                self.last = Some((term, first + count - 1));
            }
            Step::Commit { id } => {
                if self.last.is_none_or(|last| last.1 < id.1) {
                    return false;
                }
                self.committed = Some(id);
            }
            Step::Truncate { kept } => {
                let from = kept.map_or(0, |id| id.1 + 1);
                let reaches = kept.is_none_or(|id| self.last.is_some_and(|last| last.1 >= id.1));
                if !reaches || self.committed.is_some_and(|committed| committed.1 >= from) {
                    return false;
                }
                self.entries.split_off(&from);
                self.last = kept.or(self.purged);
            }
            Step::Purge { id } => {
                self.entries = self.entries.split_off(&(id.1 + 1));
                self.purged = Some(id);
                self.last = self.last.filter(|last| last.1 > id.1).or(Some(id));
            }
            Step::Data(data) => self.data = Some(data),
            Step::Remove => *self = Group::default(),
        }
        true
    }

    /// What is different in a log.
    fn difference(&self, log: &RaftLog<Plain>) -> Option<String> {
        let state = log.state();
        let pair = |id: Option<TermIndex>| id.map(|id| (id.term, id.index));
        let vote = state.vote.map(|TermVote { term, node }| (term, node.unwrap_or(0)));
        let data = state.user_data.as_ref().map(|data| data.len() as u64);
        let found = (vote, pair(state.last), pair(state.committed), pair(state.purged), data);
        let wanted = (self.vote, self.last, self.committed, self.purged, self.data);
        if found != wanted {
            return Some(format!("{found:?} instead of {wanted:?}"));
        }
        let mut wanted = self.entries.iter();
        let stream = match log.reader().stream(..) {
            Ok(stream) => stream,
            Err(error) => return Some(format!("cannot be read: {error}")),
        };
        for found in stream {
            match (found, wanted.next()) {
                (Ok(found), Some((&index, &(term, bytes)))) if found == entry(term, index, bytes) => {}
                (Ok(found), other) => return Some(format!("{:?} instead of {other:?}", found.id)),
                (Err(error), other) => return Some(format!("{error} instead of {other:?}")),
            }
        }
        wanted.next().map(|missing| format!("{missing:?} is missing"))
    }
}

/// What the events so far demand.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Steps that may be stored, with their numbers.
    pub steps: Vec<(usize, u32, Step)>,
    pub issued: usize,
    durable: Option<usize>,
    written: Option<usize>,
}

impl Model {
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Issued(group, step) => {
                self.steps.push((self.issued, *group, *step));
                self.issued += 1;
            }
            Event::Refused(number) => self.steps.retain(|step| step.0 != *number),
            Event::Durable(number) => {
                self.durable = self.durable.max(Some(*number));
                self.written = self.written.max(Some(*number));
            }
            Event::Written(number) => self.written = self.written.max(Some(*number)),
            Event::Served(kept) => {
                self.steps.retain(|step| kept.contains(&step.0));
                self.durable = kept.last().copied();
                self.written = self.durable;
            }
            Event::WrittenVoid => self.written = self.durable,
        }
    }

    /// How many of the steps must be there.
    pub fn floor(&self, killed: bool) -> usize {
        let upto = if killed { self.written } else { self.durable };
        self.steps.iter().take_while(|step| Some(step.0) <= upto).count()
    }

    /// The state after these steps; `None`: one of them would be refused.
    fn after<'a>(&self, steps: impl Iterator<Item = &'a (usize, u32, Step)>) -> Option<State> {
        let mut state = State::new();
        for (_, group, step) in steps {
            if !state.entry(*group).or_default().apply(step) {
                return None;
            }
        }
        Some(state)
    }

    /// Which of the steps the logs hold: all up to one of them, at least `floor`. If `last_may_stand_alone`, the last one may
    /// be there without those right before it: they were refused while it was asked for.
    ///
    /// # Errors
    /// What is different from the nearest of the states that could be.
    pub fn find(
        &self,
        floor: usize,
        last_may_stand_alone: bool,
        logs: &dyn Fn(u32) -> RaftLog<Plain>,
    ) -> Result<Vec<usize>, String> {
        let mut complaint = String::new();
        let total = self.steps.len();
        for kept in (floor..=total).rev() {
            for alone in [false, true] {
                if alone && (!last_may_stand_alone || kept + 1 >= total) {
                    continue;
                }
                let last = if alone { self.steps.last() } else { None };
                let steps: Vec<&(usize, u32, Step)> = self.steps[..kept].iter().chain(last).collect();
                let Some(state) = self.after(steps.iter().copied()) else { continue };
                let groups: Vec<u32> = self.steps.iter().map(|step| step.1).collect();
                let difference = groups.iter().find_map(|&number| {
                    let wanted = state.get(&number).cloned().unwrap_or_default();
                    wanted.difference(&logs(number)).map(|words| format!("group {number} has {words}"))
                });
                match difference {
                    None => return Ok(steps.iter().map(|step| step.0).collect()),
                    Some(words) => complaint = format!("with {kept} of {total} steps (at least {floor}): {words}"),
                }
            }
        }
        Err(complaint)
    }
}
