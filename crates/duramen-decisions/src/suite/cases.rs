//! The list of cases, and those of a quiet machine. Knows a backend by its trait alone.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::trial::{chunk, lock, wait, wait_for, wait_until};
use super::{Failure, Place, crash, rot};
use crate::backend::{Backend, Key, Op, Space, Urgency};
use crate::completion::Completion;
use crate::error::Error;

/// Why a case ended early.
pub(super) enum Stop {
    Failed(String),
    Lacks(&'static str),
}

impl From<String> for Stop {
    fn from(why: String) -> Stop {
        Stop::Failed(why)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error.to_string())
    }
}

/// What a case runs on: places, how far it goes, and how many openings it judged.
pub(super) struct Bench<'a, P> {
    new: &'a dyn Fn() -> P,
    pub states_max: u64,
    pub seed: u64,
    judged: Cell<u64>,
}

impl<'a, P: Place> Bench<'a, P> {
    pub fn new(new: &'a dyn Fn() -> P, states_max: u64, seed: u64) -> Bench<'a, P> {
        Bench { new, states_max, seed, judged: Cell::new(0) }
    }

    pub fn judged(&self) -> u64 {
        self.judged.get()
    }

    pub fn place(&self) -> P {
        (self.new)()
    }

    pub fn count(&self) {
        self.judged.set(self.judged.get() + 1);
    }
}

/// What every case that looks from outside needs.
pub(super) const OUTLIVES: Stop = Stop::Lacks("the store does not outlive its process");

pub(super) type Tried = Result<(), Stop>;

pub(super) struct Case<P> {
    pub name: &'static str,
    pub property: &'static str,
    pub run: fn(&Bench<'_, P>) -> Tried,
}

pub(super) fn all<P: Place>() -> Vec<Case<P>> {
    let case = |name, property, run| Case { name, property, run };
    vec![
        case("empty", "A new store has nothing.", empty),
        case("visible_at_once", "What was written is read at once, before it is durable.", visible_at_once),
        case("ordering", "Keys come by space, number and part, in ranges and pages; the last one is found.", ordering),
        case("batch_order", "Changes of a batch are made in their order.", batch_order),
        case("values", "Values of any length come back, alone and together.", values),
        case("removal", "A removal takes its range, and nothing else.", removal),
        case("chunks", "Chunks come back by their names; those that are wanted stay.", chunks),
        case("reopen", "Closing and opening changes nothing.", reopen),
        case("one_opener", "A second opener is refused.", one_opener),
        case("closed", "After closing nothing is taken, and reading goes on.", closed),
        case(
            "completion_once",
            "Each completion comes, once, also when the store is closed or dropped.",
            completion_once,
        ),
        case("completion_of_failure", "Each completion comes, once, also when a sync fails.", completion_of_failure),
        case("killed", "What was called durable outlives the process, whenever it dies.", crash::killed),
        case(
            "killed_process",
            "A process that is killed again and again leaves a prefix each time.",
            crash::killed_process,
        ),
        case("acknowledged_survives", "What was called durable outlives a power cut.", crash::acknowledged_survives),
        case("prefix_survives", "A power cut leaves a prefix of what was asked for.", crash::prefix_survives),
        case("atomic_survives", "A power cut leaves a batch whole, or nothing of it.", crash::atomic_survives),
        case("chunks_survive", "Synced chunks outlive a power cut, forgetting others included.", crash::chunks_survive),
        case(
            "compaction_survives",
            "A power cut while old values are given up takes no others.",
            crash::compaction_survives,
        ),
        case(
            "random_history",
            "Histories that chance makes outlive a power cut after each step.",
            crash::random_history,
        ),
        case(
            "torn_tail",
            "A write that was cut off leaves what was before it, and the store goes on.",
            crash::torn_tail,
        ),
        case("disk_full", "A full disk is an error, takes nothing away, and passes.", crash::disk_full),
        case("failed_write", "After failed writes nothing is called durable that is not.", crash::failed_write),
        case("failed_sync", "After a failed sync nothing is called durable that is not.", crash::failed_sync),
        case("failed_read", "What cannot be read is an error, not an absence.", crash::failed_read),
        case(
            "rot",
            "A flipped bit is told, or harmless: no other bytes, and nothing missing without a word.",
            rot::closed,
        ),
        case("rot_after_kill", "The same of a store that was not closed.", rot::killed),
    ]
}

pub(super) fn failed<V>(why: impl Into<String>) -> Result<V, Stop> {
    Err(Stop::Failed(why.into()))
}

pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Tried {
    if found == wanted {
        return Ok(());
    }
    let short = |value: T| format!("{value:?}").chars().take(200).collect::<String>();
    failed(format!("{what}: found {}, not {}", short(found), short(wanted)))
}

pub(super) fn put(space: Space, number: u64, value: impl Into<Bytes>) -> Op {
    Op::Put(Key::new(space, number), value.into())
}

/// Writes, and waits until it is durable.
pub(super) fn write<B: Backend>(backend: &B, ops: &[Op]) -> Result<(), Error> {
    let completion = backend.write(ops, Urgency::Now)?;
    wait(backend, completion)
}

fn numbers(keys: &[Key]) -> Vec<(u64, u32)> {
    keys.iter().map(|key| (key.number, key.part)).collect()
}

fn empty<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    for space in Space::ALL {
        same("keys", backend.keys(space, 0..=u64::MAX, usize::MAX)?, Vec::new())?;
        same("the last", backend.last(space, u64::MAX)?, None)?;
        same("a value", backend.get(Key::new(space, 0))?, None)?;
        same("whether there is one", backend.contains(Key::new(space, 0))?, false)?;
    }
    same("a chunk", backend.chunk(&chunk(1).0)?, None)?;
    same("whether there is a chunk", backend.has_chunk(&chunk(1).0)?, false)
}

fn visible_at_once<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    let mut all = Vec::new();
    for number in 0..30u64 {
        let value = vec![number as u8; 100];
        drop(backend.write(&[put(Space::Decision, number, value.clone())], Urgency::Policy)?);
        same("what was just written", backend.get(Key::new(Space::Decision, number))?, Some(value.into()))?;
        same("whether it is there", backend.contains(Key::new(Space::Decision, number))?, true)?;
        same("the last", backend.last(Space::Decision, u64::MAX)?, Some(Key::new(Space::Decision, number)))?;
        all.push((number, 0));
        same("all", numbers(&backend.keys(Space::Decision, 0..=u64::MAX, usize::MAX)?), all.clone())?;
    }
    drop(backend.write(&[put(Space::Decision, 7, "another")], Urgency::Policy)?);
    same("the value in its place", backend.get(Key::new(Space::Decision, 7))?, Some("another".into()))?;
    drop(backend.write(&[Op::Remove(Space::Decision, 3..=29)], Urgency::Policy)?);
    same("what was just removed", backend.get(Key::new(Space::Decision, 7))?, None)?;
    same("the last that is left", backend.last(Space::Decision, u64::MAX)?, Some(Key::new(Space::Decision, 2)))
}

fn ordering<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    for number in [5, 1 << 40, 3, u64::MAX, 255, 256, 0, 65_536] {
        let parts = [2u32, 0, 300, 1].map(|part| {
            let key = Key { space: Space::Message, number, part };
            Op::Put(key, Bytes::from(format!("{number} {part}")))
        });
        write(&backend, &parts)?;
        write(&backend, &[put(Space::Recovery, number, "r")])?;
    }
    let sorted = [0, 3, 5, 255, 256, 65_536, 1 << 40, u64::MAX];
    let all: Vec<(u64, u32)> = sorted.iter().flat_map(|number| [0, 1, 2, 300].map(|part| (*number, part))).collect();
    let keys = |range, max| backend.keys(Space::Message, range, max).map(|keys| numbers(&keys));
    same("all", keys(0..=u64::MAX, usize::MAX)?, all.clone())?;
    same("the first six", keys(0..=u64::MAX, 6)?, all[..6].to_vec())?;
    same("a range", keys(4..=256, usize::MAX)?, all[8..20].to_vec())?;
    same("two of a range", keys(4..=256, 2)?, all[8..10].to_vec())?;
    same("none", keys(6..=254, 9)?, Vec::new())?;
    same("one number", keys(u64::MAX..=u64::MAX, 9)?, all[28..].to_vec())?;
    let last = |upto| backend.last(Space::Message, upto).map(|key| key.map(|key| (key.number, key.part)));
    for (upto, wanted) in [(u64::MAX, u64::MAX), (u64::MAX - 1, 1 << 40), (300, 256), (4, 3), (0, 0)] {
        same("the last", last(upto)?, Some((wanted, 300)))?;
    }
    let own = backend.keys(Space::Recovery, 0..=u64::MAX, usize::MAX)?;
    same("those of another space", numbers(&own), sorted.map(|number| (number, 0)).to_vec())?;
    same("those of a space between", backend.keys(Space::Proof, 0..=u64::MAX, 9)?, Vec::new())
}

fn batch_order<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    write(&backend, &[put(Space::Decision, 1, "before"), put(Space::Decision, 2, "before")])?;
    let ops = [
        Op::Remove(Space::Decision, 0..=9),
        put(Space::Decision, 2, "a"),
        put(Space::Decision, 3, "a"),
        put(Space::Decision, 2, "b"),
        put(Space::Proof, 2, "a"),
        Op::Remove(Space::Decision, 3..=3),
    ];
    write(&backend, &ops)?;
    same("what is left", numbers(&backend.keys(Space::Decision, 0..=9, 9)?), vec![(2, 0)])?;
    same("the later value", backend.get(Key::new(Space::Decision, 2))?, Some("b".into()))?;
    same("the other space", backend.get(Key::new(Space::Proof, 2))?, Some("a".into()))
}

fn values<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    let value = |number: u64| -> Vec<u8> {
        let length = [0, 1, 100, 511, 4096, 15_000][number as usize % 6];
        (0..length as u64).map(|at| (at * at * (number + 1)) as u8).collect()
    };
    for (space, number) in Space::ALL.into_iter().flat_map(|space| (0..12).map(move |number| (space, number))) {
        write(&backend, &[put(space, number, value(number))])?;
    }
    let check = |backend: &P::Backend| -> Tried {
        for space in Space::ALL {
            let keys: Vec<Key> = [3, 0, 11, 99, 5, 5].map(|number| Key::new(space, number)).into();
            for (key, found) in keys.iter().zip(backend.get_many(&keys)) {
                let wanted = (key.number < 12).then(|| Bytes::from(value(key.number)));
                same(&key.to_string(), found?, wanted.clone())?;
                same(&key.to_string(), backend.get(*key)?, wanted)?;
            }
        }
        Ok(())
    };
    check(&backend)
}

fn removal<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    for number in 0..2_500 {
        drop(backend.write(&[put(Space::Decision, number, "d")], Urgency::Policy)?);
    }
    write(&backend, &[put(Space::Proof, 1_000, "p"), put(Space::Checkpoint, 1_000, "c")])?;
    write(&backend, &[Op::Remove(Space::Decision, 10..=2_489), Op::Remove(Space::Decision, 5_000..=6_000)])?;
    let left: Vec<(u64, u32)> = (0..10).chain(2_490..2_500).map(|number| (number, 0)).collect();
    same("what is left", numbers(&backend.keys(Space::Decision, 0..=u64::MAX, usize::MAX)?), left)?;
    same("its neighbour", backend.get(Key::new(Space::Proof, 1_000))?, Some("p".into()))?;
    same("its other neighbour", backend.get(Key::new(Space::Checkpoint, 1_000))?, Some("c".into()))?;
    write(&backend, &[Op::Remove(Space::Decision, 0..=u64::MAX)])?;
    same("the last", backend.last(Space::Decision, u64::MAX)?, None)
}

fn chunks<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    let large = ([7; 32], vec![9; 1 << 20]);
    let none = ([8; 32], Vec::new());
    let all: Vec<([u8; 32], Vec<u8>)> = (0..20).map(chunk).chain([large, none]).collect();
    for (digest, bytes) in &all {
        backend.put_chunk(digest, bytes)?;
        same("whether it is there", backend.has_chunk(digest)?, true)?;
        same("a chunk that is not synced", backend.chunk(digest)?, Some(bytes.clone().into()))?;
    }
    backend.put_chunk(&all[3].0, &all[3].1)?;
    backend.sync_chunks()?;
    let live: BTreeSet<[u8; 32]> = all.iter().step_by(2).map(|own| own.0).collect();
    backend.retain_chunks(&live)?;
    let check = |backend: &P::Backend| -> Tried {
        for (digest, bytes) in all.iter().filter(|own| live.contains(&own.0)) {
            same("whether it is whole", backend.is_chunk_whole(digest)?, true)?;
            same("a chunk that is wanted", backend.chunk(digest)?, Some(bytes.clone().into()))?;
        }
        same("a chunk that never was", backend.chunk(&chunk(30).0)?, None)
    };
    check(&backend)?;
    if place.files().is_some() {
        backend.close()?;
        drop(backend);
        bench.count();
        check(&place.open()?)?;
    }
    Ok(())
}

fn reopen<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    place.files().ok_or(OUTLIVES)?;
    let backend = place.open()?;
    for number in 0..50 {
        drop(backend.write(&[put(Space::Decision, number, vec![number as u8; 300])], Urgency::Policy)?);
    }
    drop(backend.write(&[Op::Remove(Space::Decision, 10..=20), put(Space::Safety, 0, "vote")], Urgency::Policy)?);
    let before = super::trial::content(&backend)?;
    backend.close()?;
    drop(backend);
    bench.count();
    let backend = place.open()?;
    let opened = backend.opened();
    same("what is lost", (opened.lost, opened.open_end, opened.places), Default::default())?;
    same("everything", super::trial::content(&backend)?, before)
}

fn one_opener<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let _backend = place.open()?;
    place.files().ok_or(OUTLIVES)?;
    same("the second opener is refused", place.open().is_err(), true)
}

fn closed<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    let completion = backend.write(&[put(Space::Decision, 1, "d")], Urgency::Policy)?;
    backend.close()?;
    same("what was written before", wait(&backend, completion).map_err(|error| error.to_string()), Ok(()))?;
    backend.close()?;
    let refused = match backend.write(&[put(Space::Decision, 2, "d")], Urgency::Now) {
        Ok(completion) => wait(&backend, completion).is_err(),
        Err(_) => true,
    };
    same("a write is refused", refused, true)?;
    same("a value", backend.get(Key::new(Space::Decision, 1))?, Some("d".into()))
}

/// What became of a completion.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Nothing,
    Called(Result<(), String>),
    Dropped,
}

/// Tells of a completion that is dropped, too.
struct Ear(Arc<Mutex<Heard>>);

impl Drop for Ear {
    fn drop(&mut self) {
        let mut heard = lock(&self.0);
        if *heard == Heard::Nothing {
            *heard = Heard::Dropped;
        }
    }
}

fn listen(completion: Completion) -> Arc<Mutex<Heard>> {
    let heard = Arc::new(Mutex::new(Heard::Nothing));
    let ear = Ear(heard.clone());
    completion.on_durable(move |outcome| *lock(&ear.0) = Heard::Called(outcome.map_err(|error| error.to_string())));
    heard
}

/// Writes that are not waited for, up to the first that is refused.
fn many_writes<B: Backend>(backend: &B, from: u64) -> Vec<Arc<Mutex<Heard>>> {
    let one = |number| backend.write(&[put(Space::Decision, number, vec![1; 3_000])], Urgency::Policy);
    (from..from + 40).map(one).map_while(Result::ok).map(listen).collect()
}

/// Each was called, and with success if so asked.
fn each_came(what: &str, ears: &[Arc<Mutex<Heard>>], tick: impl Fn(), well: bool) -> Tried {
    for (at, heard) in ears.iter().enumerate() {
        wait_for(&tick, || *lock(heard) != Heard::Nothing)
            .map_err(|_| format!("{what}: the completion of write {at} never came"))?;
        let heard = lock(heard).clone();
        if heard == Heard::Dropped || well && heard != Heard::Called(Ok(())) {
            return failed(format!("{what}: the completion of write {at}: {heard:?}"));
        }
    }
    Ok(())
}

fn completion_once<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    let ears = many_writes(&backend, 0);
    same("writes that were taken", ears.len(), 40)?;
    backend.sync()?;
    each_came("after a sync", &ears, || backend.tick(), true)?;
    let ears = many_writes(&backend, 40);
    backend.close()?;
    each_came("after closing", &ears, || backend.tick(), true)?;
    drop(backend);
    drop(place);
    let place = bench.place();
    let backend = place.open()?;
    let ears = many_writes(&backend, 0);
    drop(backend);
    each_came("after dropping", &ears, || (), false)
}

fn completion_of_failure<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let backend = place.open()?;
    write(&backend, &[put(Space::Decision, 99, "d")])?;
    if !place.fail(Failure::Sync) {
        return Err(Stop::Lacks("no sync can be made to fail"));
    }
    let ears = many_writes(&backend, 0);
    let synced = backend.sync().is_ok();
    each_came("after a failed sync", &ears, || backend.tick(), synced)?;
    place.heal();
    wait_until(&backend, || true)?;
    let after = match backend.write(&[put(Space::Decision, 100, "d")], Urgency::Now) {
        Ok(completion) => vec![listen(completion)],
        Err(_) => Vec::new(),
    };
    each_came("of a write after that", &after, || backend.tick(), false)?;
    drop(backend);
    let wrong = ears.iter().filter(|heard| !matches!(*lock(heard), Heard::Called(_))).count();
    same("completions that did not come, or came anew", wrong, 0)
}
