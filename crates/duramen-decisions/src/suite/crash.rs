//! The cases of kills, power cuts, torn writes and disks that fail. Knows a backend by its trait alone.

use std::sync::Mutex;

use bytes::Bytes;

use super::cases::{Bench, OUTLIVES, Stop, Tried, failed, put, same, write};
use super::torn::torn;
use super::trial::{Event, Trial, Work, lock, words};
use super::{Failure, Place};
use crate::backend::{Backend, Key, Op, Space};
use crate::error::Error;

/// What may be left of a place.
type LeftOf<'a, P> = dyn Fn(&P) -> Result<Vec<P>, Stop> + 'a;

/// Runs a trial, and judges what is left at each step.
fn tried<P: Place>(bench: &Bench<'_, P>, trial: &Trial, left_of: &LeftOf<'_, P>) -> Tried {
    let place = bench.place();
    let mut events: Vec<Event> = Vec::new();
    let told = Mutex::new(&mut events);
    let mut lacks = None;
    let mut between = |_| {
        let left = match left_of(&place) {
            Ok(left) => left,
            Err(Stop::Failed(why)) => return Err(why),
            Err(Stop::Lacks(what)) => {
                lacks = Some(what);
                return Err(what.to_string());
            }
        };
        for left in left {
            bench.count();
            let backend = left.open().map_err(|error| format!("{}: not opened: {error}", trial.name()))?;
            trial.judge(&backend, lock(&told).iter().copied())?;
        }
        Ok(())
    };
    let result = trial.run_from(0, &|| place.open().map_err(words), &mut |event| lock(&told).push(event), &mut between);
    match (result, lacks) {
        (_, Some(what)) => Err(Stop::Lacks(what)),
        (result, None) => result.map_err(Stop::Failed),
    }
}

fn cuts<P: Place>(bench: &Bench<'_, P>, place: &P) -> Result<Vec<P>, Stop> {
    let left = place.cut_power(bench.states_max).ok_or(Stop::Lacks("no power cut can be simulated"))?;
    // Without this a place that tries nothing would pass.
    if left.is_empty() { failed("the place tried no power cut") } else { Ok(left) }
}

fn powerless<P: Place>(bench: &Bench<'_, P>, trial: &Trial) -> Tried {
    tried(bench, trial, &|place| cuts(bench, place))
}

pub(super) fn killed<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let copy = |place: &P| Ok(vec![place.copy().ok_or(OUTLIVES)?]);
    Trial::all(bench.seed, 2).iter().try_for_each(|trial| tried(bench, trial, &copy))
}

pub(super) fn killed_process<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let mut place = bench.place();
    let mut work = Work { seed: bench.seed, from: 0 };
    let mut events = Vec::new();
    for round in 0..bench.states_max.clamp(4, 60) {
        events.extend(place.kill(&work, round).ok_or(Stop::Lacks("there is no process to kill"))??);
        let trial = work.trial();
        bench.count();
        let backend = place.open().map_err(|error| format!("not opened after kill {round}: {error}"))?;
        let batches = trial.judge(&backend, events.iter().copied())?;
        drop(backend);
        match trial.step_after(batches) {
            Some(next) => {
                work.from = next;
                events.push(Event::Served(batches));
            }
            // It is done: the next history, at a place of its own.
            None => {
                place = bench.place();
                work = Work { seed: work.seed.wrapping_add(1), from: 0 };
                events.clear();
            }
        }
    }
    Ok(())
}

pub(super) fn acknowledged_survives<P: Place>(bench: &Bench<'_, P>) -> Tried {
    powerless(bench, &Trial::acknowledged())
}

pub(super) fn prefix_survives<P: Place>(bench: &Bench<'_, P>) -> Tried {
    powerless(bench, &Trial::in_flight())
}

pub(super) fn atomic_survives<P: Place>(bench: &Bench<'_, P>) -> Tried {
    powerless(bench, &Trial::large_batches())
}

pub(super) fn chunks_survive<P: Place>(bench: &Bench<'_, P>) -> Tried {
    powerless(bench, &Trial::checkpoints())
}

pub(super) fn compaction_survives<P: Place>(bench: &Bench<'_, P>) -> Tried {
    powerless(bench, &Trial::compacted())
}

pub(super) fn random_history<P: Place>(bench: &Bench<'_, P>) -> Tried {
    (0..4).try_for_each(|number| powerless(bench, &Trial::random(bench.seed.wrapping_add(number), 40)))
}

fn value(number: u64) -> Bytes {
    (0..900u64).map(|at| ((at * (number + 7)) >> 2) as u8).collect()
}

/// Decisions up to some number are there, at least and at most so many, and the store takes more.
fn goes_on<P: Place>(place: &P, least: u64, most: u64, of: &dyn Fn(u64) -> Bytes) -> Tried {
    let backend = place.open().map_err(|error| format!("not opened: {error}"))?;
    let keys = backend.keys(Space::Decision, 0..=u64::MAX, usize::MAX)?;
    let count = keys.len() as u64;
    if !(least..=most).contains(&count) || keys.last().is_some_and(|key| key.number + 1 != count) {
        return failed(format!("{count} are there, not {least} to {most}"));
    }
    let check = |backend: &P::Backend, end: u64| -> Tried {
        for number in 0..end {
            same("a value", backend.get(Key::new(Space::Decision, number))?, Some(of(number)))?;
        }
        Ok(())
    };
    check(&backend, count)?;
    write(&backend, &[put(Space::Decision, count, of(count))])?;
    backend.close()?;
    drop(backend);
    check(&place.open()?, count + 1)
}

pub(super) fn torn_tail<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    if !place.tears() {
        return Err(Stop::Lacks("its files are written in several steps, with syncs between"));
    }
    let backend = place.open()?;
    for number in 0..3 {
        write(&backend, &[put(Space::Decision, number, value(number))])?;
    }
    let before = place.files().ok_or(OUTLIVES)?;
    for number in 3..5 {
        drop(backend.write(&[put(Space::Decision, number, value(number))], Default::default())?);
    }
    backend.sync()?;
    let after = place.files().ok_or(OUTLIVES)?;
    drop(backend);
    // What is synced last says that what was before it is there: a store of several files is cut in the last one.
    let old = |name: &str| before.iter().find(|file| file.0 == name).map_or(&[][..], |file| &file.1);
    let changed: Vec<usize> = (0..after.len()).filter(|&at| old(&after[at].0) != after[at].1).collect();
    for at in changed {
        for bytes in torn(old(&after[at].0), &after[at].1) {
            let mut files = after.clone();
            files[at].1 = bytes;
            let left = place.with_files(&files).ok_or(Stop::Lacks("files cannot be changed"))?;
            bench.count();
            goes_on(&left, 3, 5, &value).map_err(|stop| in_file(&after[at].0, stop))?;
        }
    }
    Ok(())
}

fn in_file(name: &str, stop: Stop) -> Stop {
    match stop {
        Stop::Failed(why) => Stop::Failed(format!("{name}: {why}")),
        lacks => lacks,
    }
}

/// Writes until it is refused; the count of those that are durable, and the refusal.
fn write_until_refused<B: Backend>(
    backend: &B,
    from: u64,
    max: u64,
    of: &dyn Fn(u64) -> Bytes,
) -> Result<(u64, Error), Stop> {
    for number in from..from + max {
        match write(backend, &[put(Space::Decision, number, of(number))]) {
            Ok(()) => {}
            // Whoever waits for a completion that does not come waits for ever.
            Err(Error::Failed { reason }) if reason.contains("the completion") => return failed(reason),
            Err(error) => return Ok((number, error)),
        }
    }
    failed(format!("{max} writes were called durable"))
}

pub(super) fn disk_full<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let large = |number: u64| Bytes::from(vec![number as u8; 15_000]);
    let place = bench.place();
    let mut backend = place.open()?;
    for number in 0..3 {
        write(&backend, &[put(Space::Decision, number, large(number))])?;
    }
    if !place.fail(Failure::Full) {
        return Err(Stop::Lacks("the disk cannot be filled"));
    }
    let (end, refusal) = write_until_refused(&backend, 3, 20_000, &large)?;
    let _ = backend.epoch();
    for number in 0..end {
        same("what was there", backend.get(Key::new(Space::Decision, number))?, Some(large(number)))?;
    }
    let nothing_of_it = matches!(refusal, Error::NoSpace);
    if nothing_of_it {
        same("what was refused", backend.get(Key::new(Space::Decision, end))?, None)?;
    }
    place.heal();
    let again = [put(Space::Decision, end, large(end))];
    if nothing_of_it {
        write(&backend, &again).map_err(|error| format!("with room again: {error}"))?;
    } else if write(&backend, &again).is_err() {
        // It said that it failed, and has to be opened again.
        place.files().ok_or(OUTLIVES)?;
        drop(backend);
        backend = place.open()?;
        write(&backend, &again)?;
    }
    drop(backend);
    if place.files().is_some() {
        bench.count();
        goes_on(&place, end + 1, end + 1, &large)?;
    }
    Ok(())
}

/// What is left after a failure: power cuts where they can be tried, else a kill.
fn left_of<P: Place>(bench: &Bench<'_, P>, place: &P) -> Result<Vec<P>, Stop> {
    match place.cut_power(bench.states_max) {
        Some(left) if !left.is_empty() => Ok(left),
        _ => Ok(vec![place.copy().ok_or(OUTLIVES)?]),
    }
}

pub(super) fn failed_write<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    for number in 0..3 {
        write(&backend, &[put(Space::Decision, number, value(number))])?;
    }
    if !place.fail(Failure::Writes) {
        return Err(Stop::Lacks("no write can be made to fail"));
    }
    let (end, _) = write_until_refused(&backend, 3, 100, &value)?;
    place.heal();
    // What was refused may be there or not; it was not called durable.
    drop(backend);
    for left in left_of(bench, &place)? {
        bench.count();
        goes_on(&left, end, end + 1, &value)?;
    }
    Ok(())
}

pub(super) fn failed_sync<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    for number in 0..3 {
        write(&backend, &[put(Space::Decision, number, value(number))])?;
    }
    if !place.fail(Failure::Sync) {
        return Err(Stop::Lacks("no sync can be made to fail"));
    }
    // A store may mend the failure by writing elsewhere, but then all that it called durable is there.
    let mut durable = 3;
    for number in 3..9 {
        match write(&backend, &[put(Space::Decision, number, value(number))]) {
            Ok(()) => durable = number + 1,
            Err(Error::Failed { reason }) if reason.contains("the completion") => return failed(reason),
            Err(_) => break,
        }
    }
    for left in left_of(bench, &place)? {
        bench.count();
        goes_on(&left, durable, durable + 1, &value)?;
    }
    Ok(())
}

pub(super) fn failed_read<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    let large = |number: u64| Bytes::from(vec![number as u8; 3_000]);
    for number in 0..40 {
        let ops: [Op; 1] = [put(Space::Decision, number, large(number))];
        write(&backend, &ops)?;
    }
    backend.close()?;
    drop(backend);
    let backend = place.open()?;
    if !place.fail(Failure::Reads) {
        return Err(Stop::Lacks("no read can be made to fail"));
    }
    for number in 0..40 {
        let read = backend.get(Key::new(Space::Decision, number));
        if read.as_ref().is_ok_and(|read| *read != Some(large(number))) {
            return failed("a value that could not be read was left out, or made up");
        }
    }
    place.heal();
    let backend = match backend.get(Key::new(Space::Decision, 0)) {
        Ok(_) => backend,
        // It said that it failed, and has to be opened again.
        Err(_) => {
            place.files().ok_or(OUTLIVES)?;
            drop(backend);
            place.open()?
        }
    };
    for number in 0..40 {
        same("a value, when it reads again", backend.get(Key::new(Space::Decision, number))?, Some(large(number)))?;
    }
    Ok(())
}
