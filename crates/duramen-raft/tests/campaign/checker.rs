//! What must hold after a crash, as a [`Scenario`] over a script. Owns the recovery and its checks; which states there may
//! be is the model's business.

use std::cell::RefCell;

use duramen_journal::World;
use duramen_journal::disk::sim::{History, Scenario, SimDisk};
use duramen_raft::{Error, Opened, Plain, RaftLogs, TermIndex, TermVote};

use crate::model::{Event, Model, Step, entry};
use crate::script::{Script, Session, accept};

/// What the setup left for the run of the same thread, which follows it.
struct Paused {
    logs: Option<RaftLogs<Plain>>,
    issued: usize,
    data: u64,
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

impl Scenario for Script {
    type Event = Event;

    fn prepare(&self, disk: &SimDisk) {
        let events = RefCell::new(Vec::new());
        let room = |room| limit_room(disk, room);
        let mut session = Session::new(self, disk.world(), &room);
        session.open();
        let tell = |event| events.borrow_mut().push(event);
        session.run(&self.setup, &tell);
        session.run(&[crate::script::Action::WaitAll], &tell);
        let paused = Paused {
            logs: session.logs.take(),
            issued: session.issued,
            data: session.data(),
            events: events.take(),
            disk: disk.clone(),
        };
        PAUSED.with(|place| *place.borrow_mut() = Some(paused));
    }

    fn run(&self, world: &World, history: &History<Event>) {
        let paused = PAUSED.with(|place| place.borrow_mut().take()).expect("prepared before");
        paused.events.into_iter().for_each(|event| history.push(event));
        let room = |room| limit_room(&paused.disk, room);
        let session = Session::new(self, world.clone(), &room);
        let mut session = session.resume(paused.logs, paused.issued, paused.data);
        let tell = |event| history.push(event);
        session.run(&self.actions, &tell);
        session.end(&tell);
        let refused = history.added().iter().any(|event| matches!(event, Event::Refused(_)));
        assert!(refused || !self.full, "the disk was to be full");
    }

    fn recover(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        history.push(Event::WrittenVoid);
        self.check(world, history, false)
    }

    fn recover_killed(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        self.check(world, history, true)
    }

    fn recover_refused(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        match RaftLogs::open_with(self.config.clone(), world.clone()) {
            Ok((logs, opened)) => {
                let model = model_of(history);
                served(&logs, &opened, &model, model.floor(false), true).map(|_| ())
            }
            Err(Error::Wal(error)) => {
                accept(&error);
                Ok(())
            }
            Err(other) => Err(format!("opening: {other}")),
        }
    }
}

/// Which steps the logs hold.
fn served(
    logs: &RaftLogs<Plain>,
    opened: &Opened<Plain>,
    model: &Model,
    floor: usize,
    alone: bool,
) -> Result<Vec<usize>, String> {
    if !opened.losses.is_empty() || !opened.votes_in_doubt.is_empty() {
        return Err(format!("a crash is no damage: {opened:?}"));
    }
    model.find(floor, alone, &|number| logs.group(number).expect("a group"))
}

impl Script {
    fn check(&self, world: &World, history: &History<Event>, killed: bool) -> Result<(), String> {
        let model = model_of(history);
        let alone = self.full || self.sweep;
        let opened = RaftLogs::open_with(self.config.clone(), world.clone());
        let (logs, opened) = match opened {
            Ok(opened) => opened,
            Err(error) if error.is_no_space() && self.full && model.floor(killed) == 0 => return Ok(()),
            Err(error) => return Err(format!("refused after a crash: {error}")),
        };
        let kept = served(&logs, &opened, &model, model.floor(killed), alone).map_err(|words| {
            let mut told = Vec::new();
            history.for_each(|event| told.push(format!("{event:?}")));
            format!("{words}; what was told: {}", told.join(", "))
        })?;
        history.push(Event::Served(kept));
        let chance = opened.journal.next.wrapping_mul(0x9e37_79b9).wrapping_add(history.count() as u64);
        if !chance.is_multiple_of(3) {
            return Ok(());
        }
        self.go_on(&logs, history)?;
        logs.close().map_err(|error| format!("closing after recovery: {error}"))?;
        drop(logs);
        let model = model_of(history);
        let (logs, opened) = RaftLogs::open_with(self.config.clone(), world.clone())
            .map_err(|error| format!("opening a second time: {error}"))?;
        let kept = served(&logs, &opened, &model, model.steps.len(), false)?;
        if kept.len() != model.steps.len() {
            return Err(format!("{} of {} steps after closing", kept.len(), model.steps.len()));
        }
        Ok(())
    }

    /// Writes on: each log takes a vote, an entry, and gives entries up.
    fn go_on(&self, logs: &RaftLogs<Plain>, history: &History<Event>) -> Result<(), String> {
        let model = model_of(history);
        let mut number = model.issued;
        let mut groups: Vec<u32> = model.steps.iter().map(|step| step.1).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups.into_iter().take(2) {
            let log = logs.group(group).expect("a group");
            let state = log.state();
            let last = state.last.unwrap_or_default();
            let term = state.vote.map_or(last.term, |vote| vote.term.max(last.term)) + 1;
            let mut tell = |step: Step, result: Result<(), Error<Plain>>| {
                match result {
                    Ok(()) => history.push(Event::Durable(number)),
                    Err(error) if error.is_no_space() => history.push(Event::Refused(number)),
                    Err(error) => return Err(format!("{step:?} after recovery: {error}")),
                }
                number += 1;
                Ok(())
            };
            let vote = Step::Vote { term, node: 9 };
            history.push(Event::Issued(group, vote));
            tell(vote, log.writer().save_vote(&TermVote { term, node: Some(9) }))?;
            let first = last.index + 1;
            let append = Step::Append { term, first, count: 2, bytes: 700 };
            history.push(Event::Issued(group, append));
            let entries = vec![entry(term, first, 700), entry(term, first + 1, 700)];
            tell(append, log.writer().append(entries).and_then(|receipt| receipt.wait_durable()))?;
            if log.state().last == Some(TermIndex::new(term, first + 1)) {
                let purge = Step::Purge { id: (term, first) };
                history.push(Event::Issued(group, purge));
                let receipt = log.writer().purge(&TermIndex::new(term, first));
                tell(purge, receipt.and_then(|receipt| receipt.wait_durable()))?;
            }
        }
        Ok(())
    }
}
