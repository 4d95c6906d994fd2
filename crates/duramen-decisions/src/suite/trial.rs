//! Histories for a backend, and the judge of what a crash left of them. Owns the model: what is there after so many batches.
//!
//! A crash may leave any prefix of the batches that were asked for, if it has all that were called durable: no other state, no
//! other bytes. Chunks have no order: one that was synced and is still wanted is there, any other is there or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Place;
use crate::backend::{Backend, Key, Op, Space, Urgency};
use crate::completion::Completion;
use crate::error::Error;

/// What is stored, by key.
pub(super) type Content = BTreeMap<Key, Bytes>;

/// One thing that is asked of a backend.
#[derive(Clone, Debug)]
enum Step {
    /// A batch; whether its completion is waited for.
    Write(Vec<Op>, bool),
    Sync,
    PutChunks(std::ops::Range<u64>),
    SyncChunks,
    /// All chunks but these may go.
    Retain(Vec<u64>),
    Collect,
    Reopen,
}

/// What the outside world asked for, or was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// This step was begun.
    Asked(usize),
    /// This step was called durable.
    Durable(usize),
    /// After a crash so many batches were there: from here on the history goes on from them.
    Served(usize),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Asked(step) => write!(f, "asked {step}"),
            Event::Durable(step) => write!(f, "durable {step}"),
            Event::Served(batches) => write!(f, "served {batches}"),
        }
    }
}

impl FromStr for Event {
    type Err = ();

    fn from_str(text: &str) -> Result<Event, ()> {
        let (word, number) = text.split_once(' ').ok_or(())?;
        let number = number.parse().map_err(|_| ())?;
        match word {
            "asked" => Ok(Event::Asked(number)),
            "durable" => Ok(Event::Durable(number)),
            "served" => Ok(Event::Served(number)),
            _ => Err(()),
        }
    }
}

/// A history for a backend, the same one for the same name and seed.
#[derive(Clone, Debug)]
pub struct Trial {
    name: String,
    steps: Vec<Step>,
    chance: u64,
}

/// What another process does at a place: a trial, from a step on. Its text form fits into an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Of the history.
    pub seed: u64,
    /// The first step.
    pub from: usize,
}

impl Work {
    pub(super) fn trial(&self) -> Trial {
        Trial::random(self.seed, 300)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.seed, self.from)
    }
}

impl FromStr for Work {
    type Err = ();

    fn from_str(text: &str) -> Result<Work, ()> {
        let (seed, from) = text.split_once(' ').ok_or(())?;
        Ok(Work { seed: seed.parse().map_err(|_| ())?, from: from.parse().map_err(|_| ())? })
    }
}

/// Does the work of a process that is to be killed; each event must be out of the process before `tell` returns.
///
/// # Errors
/// The backend failed.
pub fn work<P: Place>(place: &P, work: &Work, tell: &mut dyn FnMut(Event)) -> Result<(), String> {
    work.trial().run_from(work.from, &|| place.open().map_err(words), tell, &mut |_| Ok(()))
}

pub(super) fn words(error: Error) -> String {
    error.to_string()
}

/// The name of a chunk, and its bytes.
pub(super) fn chunk(number: u64) -> ([u8; 32], Vec<u8>) {
    let mut digest = [number as u8; 32];
    digest[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let length = 500 + (number * 977 % 6_000) as usize;
    (digest, (0..length as u64).map(|at| (at.wrapping_mul(number + 3) >> 3) as u8).collect())
}

impl Trial {
    fn new(name: impl Into<String>, seed: u64) -> Trial {
        Trial { name: name.into(), steps: Vec::new(), chance: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// For messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Those of the suite, and `random` ones that chance makes.
    pub fn all(seed: u64, random: u64) -> Vec<Trial> {
        let mut all = vec![
            Trial::acknowledged(),
            Trial::in_flight(),
            Trial::large_batches(),
            Trial::compacted(),
            Trial::checkpoints(),
        ];
        all.extend((0..random).map(|number| Trial::random(seed.wrapping_add(number), 40)));
        all
    }

    /// Each batch is waited for.
    pub(super) fn acknowledged() -> Trial {
        let mut trial = Trial::new("acknowledged", 1);
        for round in 0..6 {
            let ops = vec![trial.put(Space::Decision, round, 300)];
            trial.write(ops, true);
            let ops = vec![trial.put(Space::Safety, 0, 40)];
            trial.write(ops, true);
        }
        trial.write(vec![Op::Remove(Space::Decision, 2..=3)], true);
        trial
    }

    /// Nothing is waited for, but a sync in the middle.
    pub(super) fn in_flight() -> Trial {
        let mut trial = Trial::new("in flight", 2);
        for round in 0..12 {
            let ops = vec![trial.put(Space::Decision, round, 700)];
            trial.write(ops, false);
            if round == 6 {
                trial.steps.push(Step::Sync);
            }
        }
        trial
    }

    /// Batches over several pages, of everything.
    pub(super) fn large_batches() -> Trial {
        let mut trial = Trial::new("large batches", 3);
        for round in 0..5 {
            let mut ops = vec![trial.put(Space::Decision, round, 4_000), trial.put(Space::Proof, round, 3_000)];
            ops.extend((0..12).map(|part| {
                let key = Key { space: Space::Message, number: round, part };
                Op::Put(key, trial.bytes(150))
            }));
            ops.extend([trial.put(Space::Safety, 0, 60), trial.put(Space::Membership, round * 3, 500)]);
            if round > 0 {
                ops.push(Op::Remove(Space::Message, 0..=round - 1));
            }
            trial.write(ops, round % 2 == 1);
        }
        trial
    }

    /// A log that grows at one end and is given up at the other.
    pub(super) fn compacted() -> Trial {
        let mut trial = Trial::new("compacted", 4);
        let ops = vec![trial.put(Space::Safety, 0, 30), trial.put(Space::Membership, 1, 80)];
        trial.write(ops, true);
        for round in 0..4 {
            for number in round * 8..round * 8 + 8 {
                let ops = vec![trial.put(Space::Decision, number, 2_500)];
                trial.write(ops, number % 8 == 7);
            }
            let own = trial.put(Space::Own, 0, 15);
            trial.write(vec![own, Op::Remove(Space::Decision, 0..=round * 8 + 5)], false);
            trial.steps.push(Step::Collect);
        }
        trial.steps.push(Step::Reopen);
        let ops = vec![trial.put(Space::Decision, 99, 100)];
        trial.write(ops, true);
        trial
    }

    /// Chunks between batches: published, forgotten, given back.
    pub(super) fn checkpoints() -> Trial {
        let mut trial = Trial::new("checkpoints", 5);
        for round in 0..4 {
            trial.steps.push(Step::PutChunks(round * 3..round * 3 + 6));
            let ops = vec![trial.put(Space::Decision, round, 200)];
            trial.write(ops, false);
            trial.steps.push(Step::SyncChunks);
            let ops = vec![trial.put(Space::Checkpoint, round, 64)];
            trial.write(ops, true);
            if round > 0 {
                trial.write(vec![Op::Remove(Space::Checkpoint, 0..=round - 1)], true);
                trial.steps.push(Step::Retain((round * 3..round * 3 + 6).collect()));
            }
            if round == 2 {
                trial.steps.push(Step::Reopen);
            }
        }
        trial
    }

    /// A history that chance makes.
    pub fn random(seed: u64, steps: usize) -> Trial {
        let mut trial = Trial::new(format!("seed {seed}"), seed);
        while trial.steps.len() < steps {
            match trial.below(12) {
                0 => trial.steps.push(Step::Sync),
                1 => {
                    let first = trial.below(20);
                    trial.steps.push(Step::PutChunks(first..first + 3));
                }
                2 => trial.steps.push(Step::SyncChunks),
                3 if trial.below(3) == 0 => {
                    let first = trial.below(20);
                    trial.steps.push(Step::Retain((first..first + 8).collect()));
                }
                4 => trial.steps.push(Step::Collect),
                5 if trial.below(3) == 0 => trial.steps.push(Step::Reopen),
                _ => {
                    let count = 1 + if trial.below(3) == 0 { trial.below(12) } else { 0 };
                    let ops = (0..count).map(|_| trial.random_op()).collect();
                    let waits = trial.below(3) == 0;
                    trial.write(ops, waits);
                }
            }
        }
        trial
    }

    fn random_op(&mut self) -> Op {
        let space = Space::ALL[self.below(8) as usize];
        let number = match space {
            Space::Own | Space::Safety => 0,
            _ => self.below(40),
        };
        if self.below(6) == 0 {
            return Op::Remove(space, number..=number + self.below(10));
        }
        let part = if space == Space::Message { self.below(4) as u32 } else { 0 };
        let bytes = if self.below(5) == 0 { 1_000 } else { self.below(200) as usize };
        Op::Put(Key { space, number, part }, self.bytes(bytes))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 20) % end
    }

    fn bytes(&mut self, count: usize) -> Bytes {
        let start = self.below(1 << 30);
        (0..count as u64).map(|at| (start.wrapping_mul(at + 1) >> 5) as u8).collect()
    }

    fn put(&mut self, space: Space, number: u64, bytes: usize) -> Op {
        Op::Put(Key::new(space, number), self.bytes(bytes))
    }

    fn write(&mut self, ops: Vec<Op>, waits: bool) {
        self.steps.push(Step::Write(ops, waits));
    }

    /// Batches before each step's end.
    fn ends(&self) -> Vec<usize> {
        let count = |sum: &mut usize, step: &Step| {
            *sum += usize::from(matches!(step, Step::Write(..)));
            Some(*sum)
        };
        self.steps.iter().scan(0, count).collect()
    }

    /// The first step behind so many batches; `None`: that was the end.
    pub(super) fn step_after(&self, batches: usize) -> Option<usize> {
        if batches == 0 {
            return Some(0);
        }
        let last = self.ends().iter().position(|end| *end == batches)?;
        Some(last + 1).filter(|next| *next < self.steps.len())
    }

    /// Runs the steps on a backend, and tells what the outside world asked for and was told. Stops at the first error, of which
    /// nobody knows what it leaves.
    ///
    /// # Errors
    /// The step that failed, and the backend's words. On a disk that does not fail that is a defect; on one that does, what
    /// [`Trial::judge`] asks for holds all the same.
    pub fn run<B: Backend>(
        &self,
        open: &dyn Fn() -> Result<B, String>,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), String> {
        self.run_from(0, open, tell, &mut |_| Ok(()))
    }

    /// As [`Trial::run`], from a step on; something is done after each step.
    pub(super) fn run_from<B: Backend>(
        &self,
        from: usize,
        open: &dyn Fn() -> Result<B, String>,
        tell: &mut dyn FnMut(Event),
        between: &mut dyn FnMut(usize) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut backend = Some(open().map_err(|error| format!("cannot be opened: {error}"))?);
        let told = Arc::new(Mutex::new(Vec::new()));
        for (number, step) in self.steps.iter().enumerate().skip(from) {
            tell(Event::Asked(number));
            if let Step::Reopen = step {
                let closed = backend.take().map_or(Ok(()), |own| own.close()).map_err(words);
                backend = Some(closed.and_then(|()| open()).map_err(|error| format!("step {number}: {error}"))?);
            }
            let Some(own) = &backend else { return Err(format!("step {number}: it is not open")) };
            let mut failed = self.take(own, number, step, &told).err();
            for (at, outcome) in lock(&told).drain(..) {
                match outcome {
                    Ok(()) => tell(Event::Durable(at)),
                    Err(error) => failed = failed.or(Some(words(error))),
                }
            }
            if let Some(error) = failed {
                return Err(format!("step {number}: {error}"));
            }
            if matches!(step, Step::Sync | Step::SyncChunks) {
                tell(Event::Durable(number));
            }
            between(number)?;
        }
        Ok(())
    }

    fn take<B: Backend>(&self, own: &B, number: usize, step: &Step, told: &Told) -> Result<(), String> {
        match step {
            Step::Write(ops, waits) => {
                let urgency = if *waits { Urgency::Now } else { Urgency::Policy };
                let completion = own.write(ops, urgency).map_err(words)?;
                let call = told.clone();
                completion.on_durable(move |outcome| lock(&call).push((number, outcome)));
                let here = || lock(told).iter().any(|(at, _)| *at == number);
                if *waits { wait_until(own, here) } else { Ok(()) }
            }
            Step::Sync => own.sync().map_err(words),
            Step::PutChunks(numbers) => numbers.clone().try_for_each(|number| {
                let (digest, bytes) = chunk(number);
                own.put_chunk(&digest, &bytes).map_err(words)
            }),
            Step::SyncChunks => own.sync_chunks().map_err(words),
            Step::Retain(live) => {
                own.retain_chunks(&live.iter().map(|number| chunk(*number).0).collect()).map_err(words)
            }
            Step::Collect => own.collect().map_err(words),
            Step::Reopen => Ok(()),
        }
    }

    /// Looks at what a crash left, and returns how many batches it has: the next events should begin with that
    /// ([`Event::Served`]).
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge<B: Backend>(&self, backend: &B, events: impl IntoIterator<Item = Event>) -> Result<usize, String> {
        let ends = self.ends();
        let (mut floor, mut ceiling) = (0, 0);
        let mut chunks = Chunks::default();
        let mut said = Vec::new();
        for event in events {
            match event {
                Event::Asked(number) => ceiling = ceiling.max(ends[number]),
                // Chunks are synced apart.
                Event::Durable(number) if matches!(self.steps[number], Step::SyncChunks) => {}
                Event::Durable(number) => floor = floor.max(ends[number]),
                Event::Served(batches) => (floor, ceiling) = (batches, batches),
            }
            chunks.hear(&self.steps, event);
            said.push(event);
        }
        chunks.judge(backend).map_err(|why| format!("{}: {why}", self.name))?;
        let found = content(backend).map_err(|why| format!("{}: {why}", self.name))?;
        let states: Vec<usize> = self.states().filter(|(_, own)| *own == found).map(|(batches, _)| batches).collect();
        if let Some(batches) = states.iter().rev().find(|batches| (floor..=ceiling).contains(batches)) {
            return Ok(*batches);
        }
        let why = match states.last() {
            Some(batches) if *batches < floor => format!("{floor} batches were durable, and {batches} are there"),
            Some(batches) => format!("{batches} batches are there, and {ceiling} were asked for"),
            None => format!("it is what no prefix of the batches leaves: {}", self.differs(&found, floor)),
        };
        said.drain(..said.len().saturating_sub(12));
        Err(format!("{}: {why}; {said:?}", self.name))
    }

    /// What is there after each count of batches.
    fn states(&self) -> impl Iterator<Item = (usize, Content)> + '_ {
        let batches = self.steps.iter().filter_map(|step| match step {
            Step::Write(ops, _) => Some(ops),
            _ => None,
        });
        let after = batches.scan(Content::new(), |content, ops| {
            ops.iter().for_each(|op| apply(content, op));
            Some(content.clone())
        });
        std::iter::once(Content::new()).chain(after).enumerate()
    }

    /// What is there at the end.
    pub(super) fn content(&self) -> Content {
        self.states().last().map(|(_, content)| content).unwrap_or_default()
    }

    /// Everything that was ever stored under each key.
    pub(super) fn ever(&self) -> BTreeMap<Key, Vec<Bytes>> {
        let mut ever: BTreeMap<Key, Vec<Bytes>> = BTreeMap::new();
        let ops = self.steps.iter().flat_map(|step| if let Step::Write(ops, _) = step { &ops[..] } else { &[] });
        for op in ops {
            if let Op::Put(key, value) = op {
                ever.entry(*key).or_default().push(value.clone());
            }
        }
        ever
    }

    /// The chunks that are to be there at the end.
    pub(super) fn chunks(&self) -> Vec<u64> {
        let mut chunks = Chunks::default();
        for number in 0..self.steps.len() {
            chunks.hear(&self.steps, Event::Asked(number));
            chunks.hear(&self.steps, Event::Durable(number));
        }
        chunks.must.into_iter().collect()
    }

    fn differs(&self, found: &Content, batches: usize) -> String {
        let Some((_, wanted)) = self.states().nth(batches) else { return String::new() };
        let keys: BTreeSet<&Key> = found.keys().chain(wanted.keys()).collect();
        let differs = keys.into_iter().find(|key| found.get(key) != wanted.get(key));
        let length = |value: Option<&Bytes>| value.map_or("nothing".into(), |value| format!("{} bytes", value.len()));
        differs.map_or(String::new(), |key| {
            format!("after {batches}, {key} is {}, not {}", length(found.get(key)), length(wanted.get(key)))
        })
    }
}

type Told = Arc<Mutex<Vec<(usize, Result<(), Error>)>>>;

/// What is known of chunks.
#[derive(Default)]
struct Chunks {
    /// They are there.
    must: BTreeSet<u64>,
    /// They may be there.
    may: BTreeSet<u64>,
    /// Put since the last opening, and not synced.
    put: BTreeSet<u64>,
}

impl Chunks {
    fn hear(&mut self, steps: &[Step], event: Event) {
        match event {
            Event::Served(_) => self.put.clear(),
            Event::Asked(number) => match &steps[number] {
                Step::PutChunks(numbers) => {
                    self.may.extend(numbers.clone());
                    self.put.extend(numbers.clone());
                }
                Step::Retain(live) => {
                    self.must.retain(|number| live.contains(number));
                    self.put.retain(|number| live.contains(number));
                }
                // What was not synced may be gone.
                Step::Reopen => self.put.clear(),
                _ => {}
            },
            Event::Durable(number) => {
                if let Step::SyncChunks = steps[number] {
                    self.must.append(&mut self.put);
                }
            }
        }
    }

    fn judge<B: Backend>(&self, backend: &B) -> Result<(), String> {
        for number in 0..40 {
            let (digest, bytes) = chunk(number);
            let found = backend.chunk(&digest);
            let whole = backend.is_chunk_whole(&digest);
            let there = match &found {
                Ok(Some(found)) if *found != bytes => return Err(format!("chunk {number} has other bytes")),
                Ok(Some(_)) => true,
                Ok(None) | Err(_) => false,
            };
            let (must, may) = (self.must.contains(&number), self.may.contains(&number));
            if must && !(there && matches!(backend.has_chunk(&digest), Ok(true)) && matches!(whole, Ok(true))) {
                return Err(format!("chunk {number} was synced, and is {found:?}"));
            }
            if matches!(whole, Ok(true)) && !there || there && !may {
                return Err(format!("chunk {number} is made up"));
            }
        }
        Ok(())
    }
}

pub(super) fn apply(content: &mut Content, op: &Op) {
    match op {
        Op::Put(key, value) => _ = content.insert(*key, value.clone()),
        Op::PutParts(key, head, body) => _ = content.insert(*key, [&head[..], body].concat().into()),
        Op::Remove(space, numbers) => content.retain(|key, _| key.space != *space || !numbers.contains(&key.number)),
    }
}

/// Everything that a backend has.
pub(super) fn content<B: Backend>(backend: &B) -> Result<Content, String> {
    let mut content = Content::new();
    for space in Space::ALL {
        let keys = backend.keys(space, 0..=u64::MAX, usize::MAX).map_err(words)?;
        for (key, value) in keys.iter().zip(backend.get_many(&keys)) {
            let value = value.map_err(|error| format!("{key}: {error}"))?;
            content.insert(*key, value.ok_or_else(|| format!("{key} is listed, and not there"))?);
        }
    }
    Ok(content)
}

pub(super) fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks again and again, for some seconds, while the backend does what is due.
pub(super) fn wait_until<B: Backend>(backend: &B, is_so: impl Fn() -> bool) -> Result<(), String> {
    wait_for(|| backend.tick(), is_so)
}

/// Looks again and again, for some seconds.
pub(super) fn wait_for(tick: impl Fn(), is_so: impl Fn() -> bool) -> Result<(), String> {
    let (_nobody, never) = std::sync::mpsc::channel::<()>();
    for round in 0..2_000 {
        if is_so() {
            return Ok(());
        }
        tick();
        let pause = std::time::Duration::from_micros(if round < 1_000 { 50 } else { 5_000 });
        let _ = never.recv_timeout(pause);
    }
    Err("the completion did not come".to_string())
}

/// Waits for a completion, which may never come.
pub(super) fn wait<B: Backend>(backend: &B, completion: Completion) -> Result<(), Error> {
    let heard = Arc::new(Mutex::new(None));
    let call = heard.clone();
    completion.on_durable(move |outcome| *lock(&call) = Some(outcome));
    let came = wait_until(backend, || lock(&heard).is_some());
    let outcome = lock(&heard).take();
    outcome.unwrap_or_else(|| Err(Error::Failed { reason: came.err().unwrap_or_default() }))
}
