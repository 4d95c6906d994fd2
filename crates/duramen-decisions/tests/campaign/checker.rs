//! What must hold after a crash, as a [`Scenario`] over a script. Owns the recovery and its checks; which states there may be is
//! the model's business.

use std::cell::RefCell;

use duramen_decisions::{Error, PersistentLog as _, RawLayer, Replica, SeqNo, What};
use duramen_journal::World;
use duramen_journal::disk::sim::{History, Scenario, SimDisk};

use crate::content::{Files, print};
use crate::model::{Event, Model, Print, State};
use crate::script::{Action, GOING_ON, Script, Session, accept, open};

/// What the setup left for the run of the same thread, which follows it.
struct Paused {
    log: Option<Files>,
    events: Vec<Event>,
    disk: SimDisk,
}

thread_local! {
    static PAUSED: RefCell<Option<Paused>> = const { RefCell::new(None) };
}

fn limit_room(disk: &SimDisk, room: Option<u64>) {
    disk.set_capacity(room.map(|room| disk.used() + room));
}

fn model_of(history: &History<Event>) -> Model {
    let mut model = Model::default();
    history.for_each(|event| model.apply(event));
    model
}

/// All that was told, in words.
fn told(history: &History<Event>) -> String {
    let mut told = Vec::new();
    let mut number = 0;
    history.for_each(|event| match event {
        Event::Issued(step) => {
            told.push(format!("{number}: {step:x?}"));
            number += 1;
        }
        other => told.push(format!("{other:?}")),
    });
    told.join(", ")
}

impl Scenario for Script {
    type Event = Event;

    fn prepare(&self, disk: &SimDisk) {
        let events = RefCell::new(Vec::new());
        let room = |room| limit_room(disk, room);
        let tell = |event| events.borrow_mut().push(event);
        let mut session = Session::new(self, disk.world(), &room, &tell);
        session.open();
        session.run(&self.setup);
        session.run(&[Action::Sync]);
        let log = session.leave();
        let paused = Paused { log, events: events.take(), disk: disk.clone() };
        PAUSED.with(|place| *place.borrow_mut() = Some(paused));
    }

    fn run(&self, world: &World, history: &History<Event>) {
        let paused = PAUSED.with(|place| place.borrow_mut().take()).expect("prepared before");
        paused.events.into_iter().for_each(|event| history.push(event));
        let room = |room| limit_room(&paused.disk, room);
        let tell = |event| history.push(event);
        let mut session = Session::new(self, world.clone(), &room, &tell).resume(paused.log, model_of(history));
        session.run(&self.actions);
        session.end();
        let refused = history.added().iter().any(|event| matches!(event, Event::Refused(_)));
        assert!(refused || !self.full, "the disk was to be full");
    }

    fn recover(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        self.check(world, history)
    }

    fn recover_refused(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        match open(&self.config, world) {
            Ok(log) => {
                let model = model_of(history);
                let found = read(&log, &model)?;
                model.find(model.floor(), true, &found).map(|_| ())
            }
            Err(error) => accept(&error).map_err(|error| format!("opening: {error}")),
        }
    }
}

impl Script {
    fn check(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        let refusing = self.full || self.sweep;
        let complain = |words: String| format!("{words}; what was told: {}", told(history));
        let model = model_of(history);
        let log = open(&self.config, world).map_err(|error| complain(format!("refused after a crash: {error}")))?;
        let found = read(&log, &model).map_err(complain)?;
        let kept = model.find(model.floor(), refusing, &found).map_err(complain)?;
        let chance = kept.len().wrapping_mul(0x9e37_79b9).wrapping_add(history.count());
        history.push(Event::Served(kept));
        if chance % 5 > 2 {
            return Ok(());
        }
        let room = |_| ();
        let tell = |event| history.push(event);
        let mut session = Session::new(self, world.clone(), &room, &tell).resume(Some(log), model_of(history));
        session.run(GOING_ON);
        let log = session.leave();
        let log = log.ok_or("it is closed")?;
        log.close().map_err(|error| complain(format!("closing after recovery: {error}")))?;
        drop(log);
        let model = model_of(history);
        let log = open(&self.config, world).map_err(|error| complain(format!("opening a second time: {error}")))?;
        let found = read(&log, &model).map_err(complain)?;
        model.find(model.steps.len(), refusing, &found).map_err(|words| complain(format!("after closing: {words}")))?;
        Ok(())
    }
}

/// Everything that a log shows that was just opened, by each way to look at it.
pub fn read(log: &Files, model: &Model) -> Result<State, String> {
    let state = seen(log, model)?;
    as_opened(log, &state)?;
    Ok(state)
}

/// Everything that a log shows, by each way to look at it but what opening told.
pub fn seen(log: &Files, model: &Model) -> Result<State, String> {
    let whole = model.whole();
    let known = |numbers: &std::collections::BTreeMap<SeqNo, Print>| numbers.keys().next_back().copied().unwrap_or(0);
    let issued = model.steps.iter().map(|(_, step)| step.highest()).max().unwrap_or(0);
    let upto = known(&whole.decisions).max(known(&whole.checkpoints)).max(issued) + 3;
    let mut state = State { base: log.base(), ..State::default() };
    let told = |error: Error| format!("reading: {error}");
    for number in 0..=upto {
        let decision = log.retrieve_decision(number).map_err(told)?;
        state.decisions.extend(decision.map(|own| (number, print(&own))));
        let proof = log.retrieve_proof(number).map_err(told)?;
        state.proofs.extend(proof.map(|own| (number, print(&own))));
        let messages = log.retrieve_messages(number).map_err(told)?;
        if !messages.is_empty() {
            state.messages.insert(number, messages.iter().map(|own| print(own)).collect());
        }
        let recovery = log.retrieve_recovery(number).map_err(told)?;
        state.recovery.extend(recovery.map(|own| (number, print(&own))));
    }
    state.safety = log.retrieve_safety().map_err(told)?.map(|own| print(&own));
    let mut before = Some(u64::MAX);
    while let Some(number) = before
        && let Some((from, own)) = log.retrieve_configuration(number).map_err(told)?
    {
        state.memberships.insert(from, print(&own));
        before = from.checked_sub(1);
    }
    for info in log.checkpoints() {
        let own =
            log.retrieve_checkpoint(info.seq_no).map_err(|error| format!("checkpoint {}: {error}", info.seq_no))?;
        let own = own.ok_or_else(|| format!("checkpoint {} is listed and not there", info.seq_no))?;
        if own.len() as u64 != info.bytes {
            return Err(format!("checkpoint {} has {} bytes, said {}", info.seq_no, own.len(), info.bytes));
        }
        state.checkpoints.insert(info.seq_no, print(&own));
    }
    state.pending = log.pending_install().map_err(told)?.map(|manifest| manifest.seq_no());
    agree(log, &state)?;
    Ok(state)
}

/// Whether what opening told is what is there.
fn as_opened(log: &Files, state: &State) -> Result<(), String> {
    let info = log.recovery_information();
    if let Some(damage) = &info.damage {
        return Err(format!("a crash is no damage: {damage}"));
    }
    let first = state.decisions.keys().next().copied();
    let last = state.decisions.keys().next_back().copied();
    let told = (info.base, info.first_decision, info.last_contiguous, info.last_decision, info.pending_install);
    let seen = (state.base, first, state.frontier(), last, state.pending);
    if told != seen {
        return Err(format!("base, first, contiguous, last, pending are told as {told:?} and are {seen:?}"));
    }
    let missing: Vec<SeqNo> = info.holes.iter().cloned().flatten().collect();
    if first.is_some() && missing != state.missing() {
        return Err(format!("missing are told as {missing:?} and are {:?}", state.missing()));
    }
    if (info.safety, info.membership) != (state.safety.is_some(), state.memberships.keys().next_back().copied()) {
        return Err(format!("safety and membership are told as {:?} {:?}", info.safety, info.membership));
    }
    let listed: Vec<SeqNo> = info.checkpoints.iter().map(|own| own.seq_no).collect();
    if listed != state.checkpoints.keys().copied().collect::<Vec<_>>() {
        return Err(format!("checkpoints are told as {listed:?} and are {:?}", state.checkpoints.keys()));
    }
    Ok(())
}

/// Whether the other ways to look at a log show the same.
fn agree(log: &Files, state: &State) -> Result<(), String> {
    if state.base.is_some_and(|base| state.checkpoints.keys().next_back().is_none_or(|last| *last < base)) {
        return Err(format!("compacted up to {:?}, checkpoints {:?}", state.base, state.checkpoints.keys()));
    }
    let last = state.decisions.keys().next_back().copied();
    let now = (log.base(), log.last_contiguous(), log.last_decision());
    if !matches!(now, (base, Ok(frontier), Ok(end)) if (base, frontier, end) == (state.base, state.frontier(), last)) {
        return Err(format!("it says {now:?} of {:?} {:?} {last:?}", state.base, state.frontier()));
    }
    let instances = log.instances(0, usize::MAX).map_err(|error| format!("instances: {error}"))?;
    if instances != state.messages.keys().copied().collect::<Vec<_>>() {
        return Err(format!("instances are told as {instances:?} and are {:?}", state.messages.keys()));
    }
    let start = state.checkpoints.keys().next_back().copied();
    streamed(log, state, start.max(state.base))?;
    streamed(log, state, state.base)?;
    replica(log, state)
}

/// Decisions behind one, as a stream.
fn streamed(log: &Files, state: &State, after: Option<SeqNo>) -> Result<(), String> {
    let told = |error: Error| format!("the decisions after {after:?}: {error}");
    let found: Result<Vec<_>, _> = log.retrieve_decisions_after(after).map_err(told)?.collect();
    let found: Vec<(SeqNo, Print)> = found.map_err(told)?.iter().map(|(number, own)| (*number, print(own))).collect();
    let wanted = behind(state, after);
    if found == wanted {
        Ok(())
    } else {
        Err(format!("the decisions after {after:?}: {found:x?} instead of {wanted:x?}"))
    }
}

fn behind(state: &State, after: Option<SeqNo>) -> Vec<(SeqNo, Print)> {
    let first = after.map(|after| after + 1).or(state.decisions.keys().next().copied()).unwrap_or(0);
    let all = state.decisions.range(first..).map(|(number, own)| (*number, *own));
    all.zip(first..).take_while(|((number, _), expected)| number == expected).map(|(own, _)| own).collect()
}

/// What comes out of a recovery.
#[derive(Default)]
struct Recovered {
    state: Option<(SeqNo, Print)>,
    decisions: Vec<(SeqNo, Print)>,
    safety: Option<Print>,
}

impl Replica<Vec<u8>, RawLayer> for Recovered {
    fn install(&mut self, seq_no: SeqNo, state: Vec<u8>) -> Result<(), String> {
        self.state = Some((seq_no, print(&state)));
        Ok(())
    }

    fn safety(&mut self, safety: bytes::Bytes) -> Result<(), String> {
        self.safety = Some(print(&safety));
        Ok(())
    }

    fn apply(&mut self, decisions: Vec<(SeqNo, bytes::Bytes)>) -> Result<(), String> {
        self.decisions.extend(decisions.iter().map(|(number, own)| (*number, print(own))));
        Ok(())
    }
}

/// A replica that comes back has the last checkpoint and what follows it.
fn replica(log: &Files, state: &State) -> Result<(), String> {
    let mut own = Recovered::default();
    let last = log.recover(&What::Everything, 3, &mut own).map_err(|error| format!("recovering: {error}"))?;
    let checkpoint = state.checkpoints.iter().next_back().map(|(number, own)| (*number, *own));
    let decisions = behind(state, checkpoint.map(|own| own.0));
    let expected = decisions.last().or(checkpoint.as_ref()).map(|own| own.0);
    if (own.state, own.safety, last) != (checkpoint, state.safety, expected) || own.decisions != decisions {
        return Err(format!("recovered up to {last:?} instead of {expected:?}, from {:?}", own.state));
    }
    Ok(())
}
