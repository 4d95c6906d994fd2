//! What must hold after a crash, as a [`Scenario`] over a script. Owns the recovery and its checks, and what the tools may
//! say of a sample of the images; the rules about records are the model's.

use std::cell::RefCell;
use std::path::Path;

use duramen_journal::disk::sim::{History, Scenario, SimDisk};
use duramen_journal::inspect::{Item, Verification, dump, verify};
use duramen_journal::{Append, Batch, DamageKind, End, Error, Journal, ReadOptions, Reader, Report, Sequence, World};

use crate::model::{Event, Issued, Model, payload};
use crate::script::{FOLDER, Paused, Script, Session, accept_refusal, one};

thread_local! {
    /// What the setup left for the run of the same thread, which follows it.
    static PAUSED: RefCell<Option<(Paused, SimDisk)>> = const { RefCell::new(None) };
    /// What the tools said of an image, for the recovery of the same thread, which follows it.
    static LOOKED: RefCell<Option<Result<Verification, Error>>> = const { RefCell::new(None) };
}

/// The tools look at one image in so many before it is recovered, and at one journal in so many after it was closed: they
/// read every byte, a recovery far less.
const LOOKED_AT_EVERY: u64 = 32;

fn limit_room(disk: &SimDisk, room: Option<u64>) {
    disk.set_capacity(room.map(|room| disk.used() + room));
}

impl Scenario for Script {
    type Event = Event;

    fn prepare(&self, disk: &SimDisk) {
        disk.set_capacity(self.capacity);
        disk.tear_pages(self.tear_pages);
        let events = RefCell::new(Vec::new());
        let room = |room| limit_room(disk, room);
        let mut session = Session::new(self, disk.world(), &room);
        session.run(&self.setup, &|event| events.borrow_mut().push(event));
        let paused = session.pause(events.into_inner());
        for fault in &self.faults {
            disk.fault(fault.clone());
        }
        PAUSED.with(|place| *place.borrow_mut() = Some((paused, disk.clone())));
    }

    fn run(&self, world: &World, history: &History<Event>) {
        let (mut paused, disk) = PAUSED.with(|place| place.borrow_mut().take()).expect("prepared before");
        std::mem::take(&mut paused.events).into_iter().for_each(|event| history.push(event));
        let room = |room| limit_room(&disk, room);
        let mut session = Session::new(self, world.clone(), &room).resume(paused);
        session.run(&self.steps, &|event| history.push(event));
        session.end();
    }

    fn inspect(&self, world: &World, _history: &History<Event>, key: u64) -> Result<(), String> {
        let looked = key.is_multiple_of(LOOKED_AT_EVERY).then(|| look(world));
        LOOKED.with(|place| *place.borrow_mut() = looked);
        Ok(())
    }

    fn recover(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        let model = Model::of(history);
        if model.written > model.durable {
            // A later recovery in which only the process dies must not expect what the power took.
            history.push(Event::PowerCut);
        }
        self.check(world, history, &model, model.durable)
    }

    fn recover_killed(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        let model = Model::of(history);
        if model.poisoned || self.sweep {
            // After a failed sync the cache shows what the device does not hold, and only opening to write distrusts it.
            LOOKED.with(|place| place.borrow_mut().take());
        }
        let floor = if model.poisoned { model.durable } else { model.written.max(model.durable) };
        self.check(world, history, &model, floor)
    }

    fn recover_refused(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        let model = Model::of(history);
        match Journal::open_with(Path::new(FOLDER), &self.options[0], world.clone()) {
            Ok((journal, report)) => check_served(&journal, &report, &model, model.durable),
            Err(error) => accept_refusal(&error),
        }
    }
}

impl Script {
    fn check(&self, world: &World, history: &History<Event>, model: &Model, floor: Sequence) -> Result<(), String> {
        let opened = Journal::open_with(Path::new(FOLDER), &self.options[0], world.clone());
        let (journal, report) = match opened {
            Ok(opened) => opened,
            // A new journal cannot be made on a full disk; one that exists must open.
            Err(error) if error.is_no_space() && self.capacity.is_some() && model.next() == 1 => return Ok(()),
            Err(error) => return Err(format!("refused after a crash: {error}")),
        };
        check_served(&journal, &report, model, floor)?;
        let mended = history.added().iter().any(|event| matches!(event, Event::Served { .. }));
        check_report(&journal, &report, model, mended)?;
        if let Some(looked) = LOOKED.with(|place| place.borrow_mut().take()) {
            check_looked(looked, &report)?;
        }
        history.push(Event::Served { first: report.first, next: report.next });
        let cut = report.cut.as_ref().map_or(0, |cut| cut.bytes + u64::from(cut.offset) / 8);
        let seen = [report.next, cut, report.bytes / 8, history.count() as u64];
        let chance = seen.into_iter().fold(0u64, |sum, part| (sum ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7);
        if !chance.is_multiple_of(self.goes_on_every) {
            return Ok(());
        }
        let appended = self.go_on(&journal, history, model, report.next)?;
        let next = appended.map_or(report.next, |issued| issued.next());
        if chance.is_multiple_of(2 * self.goes_on_every) {
            reopen(self, world, history, (journal, report.next), next)?;
            if chance.is_multiple_of(LOOKED_AT_EVERY) {
                return check_closed(world, next);
            }
        }
        Ok(())
    }

    /// Appends what the model says was cut here, byte for byte: a ghost behind the cut must not come back to life.
    fn go_on(
        &self,
        journal: &Journal,
        history: &History<Event>,
        model: &Model,
        next: Sequence,
    ) -> Result<Option<Issued>, String> {
        let default = Issued { first: next, content: 4_000, shape: one(40) };
        let issued = model.batch_at(next).unwrap_or(default);
        let mut batch = Batch::new();
        for index in 0..issued.shape.records {
            let payload = payload(issued.content, index, issued.shape.bytes);
            batch.push(issued.shape.log_of(index), issued.shape.kind, payload);
        }
        history.push(Event::Issued { first: next, content: issued.content, shape: issued.shape });
        let appended = journal.append_batch(&batch, Append::default()).and_then(|ticket| {
            assert_eq!(ticket.first(), next, "sequences go on where recovery ended");
            journal.sync()
        });
        match appended {
            Ok(last) => {
                history.push(Event::Durable(last));
                Ok(Some(issued))
            }
            Err(error) if error.is_no_space() => {
                history.push(Event::Withdrawn(next));
                Ok(None)
            }
            Err(error) => Err(format!("appending after recovery: {error}")),
        }
    }
}

/// What was served must be what was issued, whole, and nothing acknowledged may be missing.
fn check_served(journal: &Journal, report: &Report, model: &Model, floor: Sequence) -> Result<(), String> {
    let needed = model.release_asked.max(1);
    if report.first > needed {
        return Err(format!("released too much: {needed} is needed, and the first is {}", report.first));
    }
    model.check_next(report.next, floor)?;
    if journal.first() > needed || journal.written() + 1 != report.next || journal.durable() + 1 != report.next {
        return Err(format!("the journal and its report differ: {} {}", journal.first(), journal.written()));
    }
    // Opening may have let segments go that the report still counts: below the floor only.
    model.check_records(journal.scan(..), journal.first(), report.next)
}

/// Lets every tool look that only reads.
fn look(world: &World) -> Result<Verification, Error> {
    let verification = verify(FOLDER, world.clone(), &mut |_| ())?;
    let (mut records, mut damaged) = (0, 0);
    dump(FOLDER, world.clone(), &mut |item| {
        // It shows what was released and is still there, too.
        records += u64::from(matches!(item, Item::Record { sequence, .. } if *sequence >= verification.report.first));
        damaged += usize::from(matches!(item, Item::Damage(_)));
        true
    })?;
    assert_eq!(records, verification.records, "the tools count alike: {verification}");
    assert!(damaged <= verification.damage.len(), "the dump sees no damage that verifying does not: {verification}");
    Ok(verification)
}

/// What the tools said before the recovery must be what the recovery found: a crash is no damage to them either.
fn check_looked(looked: Result<Verification, Error>, report: &Report) -> Result<(), String> {
    let verification = match looked {
        Ok(verification) => verification,
        // The crash came before there was a journal.
        Err(Error::Missing { .. }) if report.next == 1 => return Ok(()),
        Err(error) => return Err(format!("cannot be verified before recovery: {error}")),
    };
    if let Some(damage) = verification.damage.iter().find(|damage| !report.damage.contains(damage)) {
        return Err(format!("a false alarm before recovery: {damage}; recovery said: {report}"));
    }
    let said = &verification.report;
    let end = if verification.damage.is_empty() { verification.end } else { report.end };
    let same = (end, &said.cut, said.first, said.next) == (report.end, &report.cut, report.first, report.next);
    if !same || verification.records != report.records {
        return Err(format!("before recovery the tools said: {verification}; recovery said: {report}"));
    }
    Ok(())
}

/// A journal that was recovered and closed is whole to the tools too.
fn check_closed(world: &World, next: Sequence) -> Result<(), String> {
    let verification = look(world).map_err(|error| format!("cannot be verified after closing: {error}"))?;
    let whole = verification.damage.is_empty() && verification.end == End::Closed && verification.report.next == next;
    if whole { Ok(()) } else { Err(format!("closed, and not whole: {verification}")) }
}

/// What the report says must be true.
fn check_report(journal: &Journal, report: &Report, model: &Model, mended: bool) -> Result<(), String> {
    for damage in &report.damage {
        // Both copies of a header are written at once: before the switch is durable, and while recovery mends one, a
        // crash may tear one of them.
        let segment = journal.segments().into_iter().find(|segment| segment.number == damage.segment);
        let in_switch = segment.is_some_and(|segment| segment.first > model.durable) || mended;
        if damage.what != DamageKind::HeaderCopy || !in_switch {
            return Err(format!("a crash is no damage: {damage}"));
        }
    }
    if !report.gaps.is_empty() || !report.notes.is_empty() || report.set_aside.is_some() {
        return Err(format!("gaps or notes after a crash: {report}"));
    }
    match (&report.cut, report.end) {
        (None, End::Torn) => return Err("a torn end, and no cut reported".to_owned()),
        (Some(cut), End::Torn) => {
            if cut.first != report.next || cut.last.is_some_and(|last| last < report.next || last >= model.next()) {
                return Err(format!("the cut is not where the records end: {report}"));
            }
        }
        (Some(cut), end) => return Err(format!("a cut ({cut}), and the end is {}", end.word())),
        (None, End::Damaged | End::Live) => return Err(format!("the end is {}", report.end.word())),
        (None, _) => {}
    }
    if model.closed && report.end != End::Closed {
        return Err(format!("closed, and the end is {}", report.end.word()));
    }
    if report.first + report.records != report.next {
        return Err(format!("the counts do not fit: {report}"));
    }
    Ok(())
}

/// Closes, and opens again: the same records, and a clean end.
fn reopen(
    script: &Script,
    world: &World,
    history: &History<Event>,
    (journal, _served): (Journal, Sequence),
    next: Sequence,
) -> Result<(), String> {
    journal.close().map_err(|error| format!("closing after recovery: {error}"))?;
    drop(journal);
    history.push(Event::Closed);
    let model = Model::of(history);
    let reader = Reader::open_with(Path::new(FOLDER), &read_options(), world.clone())
        .map_err(|error| format!("reading after recovery: {error}"))?;
    let report = reader.report();
    if report.end != End::Closed || report.next != next {
        return Err(format!("closed at {next}, and the reader sees: {report}"));
    }
    model.check_records(reader.scan(..), report.first, next)?;
    drop(reader);
    history.push(Event::Opened);
    let (journal, report) = Journal::open_with(Path::new(FOLDER), &script.options[0], world.clone())
        .map_err(|error| format!("opening a second time: {error}"))?;
    check_served(&journal, &report, &model, next - 1)?;
    check_report(&journal, &report, &model, true)
}

pub fn read_options() -> ReadOptions {
    ReadOptions { read_buffer_bytes: 64 << 10, read_cache_bytes: 64 << 10 }
}
