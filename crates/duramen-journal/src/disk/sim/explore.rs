//! The crash enumerator: runs a workload once, and a recovery on everything that a crash at any of its moments could
//! leave, and again on everything that a crash within that recovery could leave. Owns the walk, the counting and the
//! replay; which images there are is the plan's and the image's business, and what is right the scenario's.
//!
//! Threads: the caller's waits while `Budget::threads` of its own walk. They share the set of images seen.

#![allow(clippy::disallowed_methods, reason = "the explorer is a test tool with threads of its own")]

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::device::{Moment, Settings, SimDisk};
use super::fault::Fault;
use super::hash::mix;
use super::history::History;
use super::image::{Choice, Pending, image_hash};
use super::plan::Plan;
use super::state::{Condition, State};
use crate::disk::World;

/// Choices of one moment that a thread takes at once. All moments get their first before any gets its second, so that a
/// budget that runs out cuts every moment short instead of leaving the last ones out.
const CHUNK: u64 = 64;
/// Choices planned for a moment within a recovery.
const NESTED_IMAGES_MAX: u64 = 256;
/// Of the crashes within a recovery within a recovery one in so many recoveries is looked into.
const DEEPER_EVERY: u64 = 8;

/// A workload, and what must hold after a crash anywhere in it. Both must be deterministic.
pub trait Scenario: Sync {
    /// Something that the outside world was told, or asked for.
    type Event: Clone + Hash + Send + Sync;

    /// Sets up the fresh disk: capacity, faults, files.
    fn prepare(&self, _disk: &SimDisk) {}

    /// The workload. Pushes events (issued, acknowledged, …) as they happen. A panic is a failure.
    fn run(&self, world: &World, history: &History<Self::Event>);

    /// Looks at what a crash left before anything recovers from it, and must not change it. `key` is a hash of the image
    /// and of the history, by which a scenario can pick a sample; a replay gives 0.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn inspect(&self, _world: &World, _history: &History<Self::Event>, _key: u64) -> Result<(), String> {
        Ok(())
    }

    /// Opens again after a crash and checks against the events so far; may push events of its own (served, …), which
    /// must hold after the next crash. Everything that it opens must be closed when it returns.
    ///
    /// # Errors
    /// What is wrong, in words: it ends the exploration.
    fn recover(&self, world: &World, history: &History<Self::Event>) -> Result<(), String>;

    /// As [`Self::recover`], after only the process died: what was written must be there too.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn recover_killed(&self, world: &World, history: &History<Self::Event>) -> Result<(), String> {
        self.recover(world, history)
    }

    /// As [`Self::recover`], on a disk that went on refusing writes or syncs while only the process died: opening may
    /// fail, but must not panic nor serve what was never acknowledged.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn recover_refused(&self, _world: &World, _history: &History<Self::Event>) -> Result<(), String> {
        Ok(())
    }
}

/// How much is tried.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Ends the exploration after this many states.
    pub states_max: u64,
    /// Crash images of one moment of the workload; duplicates count.
    pub images_per_moment_max: u64,
    /// Crash images within one recovery.
    pub nested_images_per_recovery_max: u64,
    /// Crashes within recoveries are added while their share of all states is below this. After a killed process they
    /// are always tried.
    pub nested_share_percent: u64,
    /// Crashes in a row: 1 tries none within recoveries, 2 those, 3 also some of those within the recoveries after
    /// them.
    pub depth: u32,
    /// Threads that walk.
    pub threads: usize,
    /// Decides all that is left to chance.
    pub seed: u64,
    /// Runs of the workload with one fault, in a sweep; more are thinned out evenly.
    pub faults_max: u64,
    /// Crash images after each of them.
    pub images_per_fault_max: u64,
    /// Calls to the disk in one run or recovery; more count as a hang.
    pub operations_max: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            states_max: 100_000,
            images_per_moment_max: 2_048,
            nested_images_per_recovery_max: 24,
            nested_share_percent: 40,
            depth: 2,
            threads: 2,
            seed: 1,
            faults_max: 20_000,
            images_per_fault_max: 12,
            operations_max: 1_000_000,
        }
    }
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Moments of the workload at which the power could fail.
    pub moments: u64,
    /// Recoveries on distinct pairs of an image and a history, nested ones included.
    pub states: u64,
    /// Those of them whose crash came within a recovery.
    pub nested: u64,
    /// Those of them where only the process died.
    pub kills: u64,
    /// Images that were skipped, because the same image with the same history had been tried.
    pub duplicates: u64,
    /// Runs of the workload with a fault.
    pub faults: u64,
}

impl Counts {
    /// Adds another exploration's counts.
    pub fn add(&mut self, other: &Self) {
        self.moments += other.moments;
        self.states += other.states;
        self.nested += other.nested;
        self.kills += other.kills;
        self.duplicates += other.duplicates;
        self.faults += other.faults;
    }
}

/// A crash after which something was wrong, in a form that [`replay`] takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed of the budget.
    pub seed: u64,
    /// How it came about: a fault, if any, then per crash the moment and what survived. Empty: the workload itself
    /// failed.
    pub choice: String,
    /// What was wrong.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, crash `{}`: {}", self.seed, self.choice, self.message)
    }
}

impl std::error::Error for Failure {}

/// Runs the workload once and recovers from every crash within the budget. `setup` runs first in every thread.
///
/// # Errors
/// The first failure that a thread met. With several threads it may differ from run to run.
pub fn explore<S: Scenario>(scenario: &S, budget: &Budget, setup: &(dyn Fn() + Sync)) -> Result<Counts, Failure> {
    setup();
    let recording = Recording::make(scenario, budget, None)?;
    let walk = Walk::new(scenario, budget);
    let mut units: Vec<(u64, usize)> = Vec::new();
    for moment in 0..recording.moments.len() {
        let total = recording.plan(moment, budget.images_per_moment_max).total();
        units.extend((0..total.div_ceil(CHUNK)).map(|chunk| (chunk, moment)));
    }
    units.sort_unstable();
    let mut counts = walk.share(units.len(), setup, |unit, counts| {
        let (chunk, moment) = units[unit];
        walk.moment(&recording, moment, budget.images_per_moment_max, chunk * CHUNK..(chunk + 1) * CHUNK, counts)
    })?;
    counts.moments = recording.moments.len() as u64;
    Ok(counts)
}

/// Runs the workload once more, and the recoveries of one failure, as its `choice` describes them.
///
/// # Errors
/// The failure, reproduced; or a choice that does not belong to this scenario, in words.
pub fn replay<S: Scenario>(scenario: &S, budget: &Budget, choice: &str) -> Result<(), Failure> {
    let wrong = |message: String| Failure { seed: budget.seed, choice: choice.to_owned(), message };
    let mut parts = choice.split('/').filter(|part| !part.is_empty()).peekable();
    let fault = match parts.peek().and_then(|part| part.strip_prefix("fault=")) {
        Some(text) => {
            parts.next();
            Some(super::sweep::parse(text).map_err(wrong)?)
        }
        None => None,
    };
    let recording = Recording::make(scenario, budget, fault)?;
    let mut moments = recording.moments.clone();
    let mut history = None;
    for (depth, part) in parts.enumerate() {
        let (place, text) = part
            .strip_prefix("m=")
            .and_then(|part| part.split_once(';'))
            .ok_or_else(|| wrong(format!("`{part}` does not begin with a moment")))?;
        let moment = place.parse().ok().and_then(|place: usize| moments.get(place).cloned());
        let moment = moment.ok_or_else(|| wrong(format!("there is no moment {place}")))?;
        let crash = Choice::parse(text).map_err(wrong)?;
        let pending = Pending::of(&moment.state);
        if !pending.fits(&crash) {
            return Err(wrong(format!("`{text}` does not fit moment {place}")));
        }
        let before = match history {
            None => recording.history(&moment),
            Some(ref history) => History::cut(history, moment.events, moment.fingerprint),
        };
        let boot = depth as u64 + 1;
        let image = pending.image(&crash);
        let crashed = Crashed { image, kill: crash.kill, key: 0 };
        moments = recover(scenario, crashed, &recording.settings, boot, &before, true).map_err(wrong)?;
        history = Some(before);
    }
    Ok(())
}

/// A finished workload.
pub(super) struct Recording<E> {
    pub(super) moments: Vec<Moment>,
    base: Arc<Vec<E>>,
    settings: Arc<Settings>,
}

impl<E: Clone + Hash> Recording<E> {
    pub(super) fn make<S: Scenario<Event = E>>(
        scenario: &S,
        budget: &Budget,
        fault: Option<Fault>,
    ) -> Result<Self, Failure> {
        let disk = SimDisk::new(budget.seed);
        disk.set_operations_max(budget.operations_max);
        let failure = |message| Failure { seed: budget.seed, choice: String::new(), message };
        guard(|| {
            scenario.prepare(&disk);
            Ok(())
        })
        .map_err(failure)?;
        let settings = disk.shared.lock().settings.clone();
        if let Some(fault) = fault {
            disk.fault(fault);
        }
        let history = History::new();
        disk.record(history.mark());
        guard(|| {
            scenario.run(&disk.world(), &history);
            Ok(())
        })
        .map_err(failure)?;
        Ok(Self { moments: disk.recorded(), base: history.into_base(), settings })
    }

    pub(super) fn plan(&self, moment: usize, images_max: u64) -> Plan<'_> {
        let pending = Pending::of(&self.moments[moment].state);
        Plan::new(pending, images_max, self.settings.tear_pages, mix(self.settings.seed, moment as u64))
    }

    fn history(&self, moment: &Moment) -> History<E> {
        History::resume(self.base.clone(), moment.events, Vec::new(), moment.fingerprint)
    }
}

/// One exploration in progress.
pub(super) struct Walk<'a, S> {
    scenario: &'a S,
    budget: &'a Budget,
    seen: Seen,
    states: AtomicU64,
    stop: AtomicBool,
}

/// Where the walk stands: a chain of crashes, the last one first.
struct Step<'a> {
    outer: Option<&'a Step<'a>>,
    moment: usize,
    choice: &'a Choice,
    depth: u32,
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outer) = self.outer {
            write!(f, "{outer}/")?;
        }
        write!(f, "m={};{}", self.moment, self.choice)
    }
}

impl<'a, S: Scenario> Walk<'a, S> {
    pub(super) fn new(scenario: &'a S, budget: &'a Budget) -> Self {
        let (states, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { scenario, budget, seen: Seen::default(), states, stop }
    }

    /// Shares numbered units of work between the threads of the budget.
    pub(super) fn share(
        &self,
        units: usize,
        setup: &(dyn Fn() + Sync),
        work: impl Fn(usize, &mut Counts) -> Result<(), Failure> + Sync,
    ) -> Result<Counts, Failure> {
        let next = AtomicU64::new(0);
        let result = Mutex::new(Ok(Counts::default()));
        let walk = || {
            setup();
            let mut counts = Counts::default();
            let mut failure = None;
            while failure.is_none() && !self.stop.load(Ordering::Relaxed) {
                let unit = next.fetch_add(1, Ordering::Relaxed) as usize;
                if unit >= units {
                    break;
                }
                failure = work(unit, &mut counts).err();
            }
            let mut result = result.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if let Some(failure) = failure {
                self.stop.store(true, Ordering::Relaxed);
                *result = Err(failure);
            } else if let Ok(sum) = &mut *result {
                sum.add(&counts);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.budget.threads.max(1) {
                scope.spawn(walk);
            }
        });
        result.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Tries a range of one moment's choices.
    pub(super) fn moment(
        &self,
        recording: &Recording<S::Event>,
        place: usize,
        images_max: u64,
        numbers: std::ops::Range<u64>,
        counts: &mut Counts,
    ) -> Result<(), Failure> {
        let plan = recording.plan(place, images_max);
        let moment = &recording.moments[place];
        for number in numbers.start..numbers.end.min(plan.total()) {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let choice = plan.choice(number);
            let step = Step { outer: None, moment: place, choice: &choice, depth: 1 };
            let limit = self.budget.nested_images_per_recovery_max;
            let history = || recording.history(moment);
            self.image(&step, &plan.pending, moment, &recording.settings, &history, limit, counts)?;
        }
        Ok(())
    }

    /// Recovers on one image, unless it was seen, and on crashes within that recovery. Whether it was new.
    #[allow(clippy::too_many_arguments, reason = "the walk's position; a struct would only rename them")]
    fn image(
        &self,
        step: &Step<'_>,
        pending: &Pending<'_>,
        moment: &Moment,
        settings: &Arc<Settings>,
        history: &dyn Fn() -> History<S::Event>,
        limit: u64,
        counts: &mut Counts,
    ) -> Result<bool, Failure> {
        let image = pending.image(step.choice);
        let key = mix(image_hash(&image), moment.fingerprint);
        let visit = self.seen.visit(key, step.depth as u8);
        if visit == Visit::Again {
            counts.duplicates += 1;
            return Ok(false);
        }
        if visit == Visit::First {
            counts.states += 1;
            counts.nested += u64::from(step.depth > 1);
            counts.kills += u64::from(step.choice.kill);
            if self.states.fetch_add(1, Ordering::Relaxed) + 1 >= self.budget.states_max {
                self.stop.store(true, Ordering::Relaxed);
            }
        } else {
            counts.duplicates += 1;
        }
        let expand = self.expands(step, key, counts);
        let history = history();
        let boot = u64::from(step.depth);
        let crashed = Crashed { image, kill: step.choice.kill, key };
        let moments = recover(self.scenario, crashed, settings, boot, &history, expand).map_err(|message| Failure {
            seed: self.budget.seed,
            choice: step.to_string(),
            message,
        })?;
        if expand {
            self.nested(step, &moments, settings, &history, limit, counts)?;
        }
        Ok(visit == Visit::First)
    }

    fn expands(&self, step: &Step<'_>, key: u64, counts: &Counts) -> bool {
        if step.depth >= self.budget.depth {
            return false;
        }
        if step.depth > 1 {
            return key.is_multiple_of(DEEPER_EVERY);
        }
        step.choice.kill || counts.nested * 100 <= counts.states * self.budget.nested_share_percent
    }

    /// Crashes within one recovery, spread over its moments.
    fn nested(
        &self,
        outer: &Step<'_>,
        moments: &[Moment],
        settings: &Arc<Settings>,
        history: &History<S::Event>,
        limit: u64,
        counts: &mut Counts,
    ) -> Result<(), Failure> {
        let every = moments.len().div_ceil(2 * limit.max(1) as usize).max(1);
        // The last moment always counts: there everything was served.
        let places = (0..moments.len()).filter(|place| place % every == 0 || place + 1 == moments.len());
        // Before the recovery's first change and first event a crash is the one that came before, not a nested one.
        let (state, events) = (&moments[0].state, history.resumed());
        let places =
            places.filter(|&place| !Arc::ptr_eq(&moments[place].state, state) || moments[place].events != events);
        let plans: Vec<(usize, Plan<'_>)> = places
            .map(|place| {
                let seed = mix(settings.seed, mix(outer.moment as u64, place as u64));
                let pending = Pending::of(&moments[place].state);
                (place, Plan::new(pending, NESTED_IMAGES_MAX, settings.tear_pages, seed))
            })
            .collect();
        let rounds = plans.iter().map(|(_, plan)| plan.total()).max().unwrap_or(0);
        let (mut fresh, mut tries) = (0, 0);
        for number in 0..rounds {
            for (place, plan) in &plans {
                if number >= plan.total() {
                    continue;
                }
                if fresh >= limit || tries >= 4 * limit || self.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let moment = &moments[*place];
                let choice = plan.choice(number);
                let step = Step { outer: Some(outer), moment: *place, choice: &choice, depth: outer.depth + 1 };
                let before = || history.cut(moment.events, moment.fingerprint);
                let new = self.image(&step, &plan.pending, moment, settings, &before, limit / 4, counts)?;
                fresh += u64::from(new);
                tries += 1;
            }
        }
        Ok(())
    }
}

/// What a crash left.
struct Crashed {
    image: State,
    /// Only the process died.
    kill: bool,
    key: u64,
}

/// Boots an image and lets the scenario recover; the moments of that recovery, when recorded.
fn recover<S: Scenario>(
    scenario: &S,
    crashed: Crashed,
    settings: &Arc<Settings>,
    boot: u64,
    history: &History<S::Event>,
    record: bool,
) -> Result<Vec<Moment>, String> {
    let Crashed { image, kill, key } = crashed;
    let refused = kill && image.condition != Condition::Healthy;
    let disk = SimDisk::boot(Arc::new(image), settings.clone(), boot);
    if record {
        disk.record(history.mark());
    }
    let world = disk.world();
    guard(|| {
        scenario.inspect(&world, history, key)?;
        match (refused, kill) {
            (true, _) => scenario.recover_refused(&world, history),
            (false, true) => scenario.recover_killed(&world, history),
            (false, false) => scenario.recover(&world, history),
        }
    })?;
    Ok(if record { disk.recorded() } else { Vec::new() })
}

/// Turns a panic into a message.
fn guard(work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(format!("panic: {}", text.unwrap_or_else(|| "of unknown kind".to_owned())))
    })
}

/// The images seen, by hash, with the least depth at which each was: one that was first met deep inside is looked into
/// again when it is met further out, where it may be expanded, but not counted again.
struct Seen {
    shards: Vec<Mutex<HashMap<u64, u8, BuildHasherDefault<KeyHasher>>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    First,
    FurtherOut,
    Again,
}

impl Default for Seen {
    fn default() -> Self {
        Self { shards: (0..64).map(|_| Mutex::default()).collect() }
    }
}

impl Seen {
    fn visit(&self, key: u64, depth: u8) -> Visit {
        let shard = &self.shards[(key >> 58) as usize];
        let mut shard = shard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match shard.get_mut(&key) {
            None => {
                shard.insert(key, depth);
                Visit::First
            }
            Some(before) if *before > depth => {
                *before = depth;
                Visit::FurtherOut
            }
            Some(_) => Visit::Again,
        }
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("the keys are u64");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
