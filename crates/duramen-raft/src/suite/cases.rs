//! The cases of the suite. Owns the properties; knows a store by its traits alone.

use std::cell::Cell;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::trial::{Event, Trial, lock, wait_until};
use super::{Done, Failure, Item, Place, Store, Told, torn};
use crate::types::{TermIndex, TermVote};

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

/// What a case runs on: places, how far it goes, and how many reopenings it judged.
pub(super) struct Bench<'a, P> {
    new: &'a dyn Fn() -> P,
    states_max: u64,
    seed: u64,
    judged: Cell<u64>,
}

impl<'a, P: Place> Bench<'a, P> {
    pub fn new(new: &'a dyn Fn() -> P, states_max: u64, seed: u64) -> Bench<'a, P> {
        Bench { new, states_max, seed, judged: Cell::new(0) }
    }

    pub fn judged(&self) -> u64 {
        self.judged.get()
    }

    fn place(&self) -> P {
        (self.new)()
    }

    fn count(&self) {
        self.judged.set(self.judged.get() + 1);
    }

    fn cuts(&self, place: &P) -> Result<Vec<P>, Stop> {
        let left = place.cut_power(self.states_max).ok_or(Stop::Lacks("no power cut can be simulated"))?;
        if left.is_empty() {
            // Without this a place that tries nothing would pass.
            return failed("the place tried no power cut");
        }
        Ok(left)
    }
}

type Tried = Result<(), Stop>;

pub(super) struct Case<P> {
    pub name: &'static str,
    pub property: &'static str,
    pub run: fn(&Bench<'_, P>) -> Tried,
}

pub(super) fn all<P: Place>() -> Vec<Case<P>> {
    let case = |name, property, run| Case { name, property, run };
    vec![
        case("empty", "A new log has no vote and no entry.", empty),
        case("append_read", "What was appended is read, by range.", append_read),
        case("overwrite", "After a truncation other entries take the place.", overwrite),
        case("purge", "Purged entries are not served, the others are.", purge),
        case("read_absent", "Entries that are not there are not made up.", read_absent),
        case("refuses_gaps", "Entries that do not follow on the last are refused, and change nothing.", refuses_gaps),
        case("refuses_older_votes", "A vote of an earlier term is refused.", refuses_older_votes),
        case(
            "completion_once",
            "Each completion comes, once, also when the log is closed or dropped.",
            completion_once,
        ),
        case("one_opener", "A second opener is refused.", one_opener),
        case("reopen", "Closing and opening changes nothing.", reopen),
        case("killed", "What was called durable outlives the process, whenever it dies.", killed),
        case("acknowledged_survives", "What was called durable outlives a power cut.", acknowledged_survives),
        case("prefix_survives", "A power cut leaves a prefix of what was asked for.", prefix_survives),
        case("vote_before_append", "No entry outlives the vote before it.", vote_before_append),
        case("no_resurrection", "Truncated entries never come back.", no_resurrection),
        case("purge_survives", "Purging, over segments, takes nothing else away.", purge_survives),
        case("random_history", "Histories that chance makes outlive a power cut after each step.", random_history),
        case("torn_tail", "A write that was cut off leaves what was before it, and the log goes on.", torn_tail),
        case("disk_full", "A full disk is an error, takes nothing away, and passes.", disk_full),
        case("failed_write", "After failed writes nothing is called durable that is not.", failed_write),
        case("failed_sync", "After a failed sync nothing is called durable that is not.", failed_sync),
        case("failed_read", "What cannot be read is an error, not an absence.", failed_read),
        case("damage", "Damaged bytes are told, never served, and take nothing else away.", damage),
    ]
}

fn failed<V>(why: impl Into<String>) -> Result<V, Stop> {
    Err(Stop::Failed(why.into()))
}

fn items(term: u64, indexes: Range<u64>, bytes: usize) -> Vec<Item> {
    let item = |index| (TermIndex::new(term, index), vec![(term * 31 + index) as u8; bytes]);
    indexes.map(item).collect()
}

fn vote(term: u64) -> TermVote {
    TermVote { term, node: Some(1) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Tried {
    if found == wanted {
        return Ok(());
    }
    let short = |value: T| format!("{value:?}").chars().take(200).collect::<String>();
    failed(format!("{what}: found {}, not {}", short(found), short(wanted)))
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

fn ear() -> (Arc<Mutex<Heard>>, Done) {
    let heard = Arc::new(Mutex::new(Heard::Nothing));
    let ear = Ear(heard.clone());
    (heard, Box::new(move |outcome| *lock(&ear.0) = Heard::Called(outcome)))
}

/// Appends and waits until it is durable.
fn append(store: &mut impl Store, items: &[Item]) -> Result<(), String> {
    let (heard, done) = ear();
    store.append(items, done)?;
    wait_until(|| *lock(&heard) != Heard::Nothing)?;
    match lock(&heard).clone() {
        Heard::Called(outcome) => outcome,
        _ => Err("the completion was dropped".to_string()),
    }
}

fn empty<P: Place>(bench: &Bench<'_, P>) -> Tried {
    same("the state", bench.place().open()?.told(), Told::default())
}

fn append_read<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let mut store = bench.place().open()?;
    append(&mut store, &items(1, 1..9, 100))?;
    append(&mut store, &items(1, 9..10, 40_000))?;
    append(&mut store, &items(1, 10..11, 0))?;
    same("the middle", store.read(3, 6)?, items(1, 3..6, 100))?;
    same("the large one", store.read(9, 10)?, items(1, 9..10, 40_000))?;
    same("the empty one", store.read(10, 11)?, items(1, 10..11, 0))?;
    same("the last", store.told().last, Some(TermIndex::new(1, 10)))
}

fn overwrite<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let mut store = bench.place().open()?;
    append(&mut store, &items(1, 1..9, 10))?;
    store.truncate_after(TermIndex::new(1, 4))?;
    same("the last, truncated", store.told().last, Some(TermIndex::new(1, 4)))?;
    append(&mut store, &items(2, 5..7, 10))?;
    same("the last", store.told().last, Some(TermIndex::new(2, 6)))?;
    same("the entries", store.read(4, 7)?, [items(1, 4..5, 10), items(2, 5..7, 10)].concat())?;
    same("the truncated", store.read(7, 9).unwrap_or_default(), Vec::new())
}

fn purge<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let mut store = bench.place().open()?;
    append(&mut store, &items(1, 1..9, 10))?;
    store.commit(TermIndex::new(1, 6))?;
    store.purge(TermIndex::new(1, 4))?;
    same("purged", store.told().purged, Some(TermIndex::new(1, 4)))?;
    same("purged entries", store.read(2, 4).unwrap_or_default(), Vec::new())?;
    same("the others", store.read(5, 9)?, items(1, 5..9, 10))?;
    store.purge(TermIndex::new(1, 8))?;
    same("the last, all purged", store.told().last, Some(TermIndex::new(1, 8)))?;
    append(&mut store, &items(2, 9..10, 10))?;
    same("the next", store.read(9, 10)?, items(2, 9..10, 10))
}

fn read_absent<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let mut store = bench.place().open()?;
    append(&mut store, &items(1, 1..3, 10))?;
    same("future entries", store.read(100, 200).unwrap_or_default(), Vec::new())?;
    let over_the_end = store.read(2, 9).unwrap_or_default();
    same("over the end", over_the_end.is_empty() || over_the_end == items(1, 2..3, 10), true)
}

fn refuses_gaps<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let mut store = bench.place().open()?;
    append(&mut store, &items(3, 1..4, 10))?;
    let told = store.told();
    for (what, wrong) in [("a gap", items(3, 6..7, 10)), ("an earlier term", items(2, 4..5, 10))] {
        if append(&mut store, &wrong).is_ok() {
            return failed(format!("{what} was taken"));
        }
        same(what, store.told(), told.clone())?;
    }
    append(&mut store, &items(3, 4..5, 10))?;
    same("the entries", store.read(1, 5)?, items(3, 1..5, 10))
}

fn refuses_older_votes<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let mut store = bench.place().open()?;
    store.save_vote(vote(5))?;
    if store.save_vote(vote(4)).is_ok() {
        return failed("the vote of term 4 was taken after that of term 5");
    }
    same("the vote", store.told().vote, Some(vote(5)))
}

fn completion_once<P: Place>(bench: &Bench<'_, P>) -> Tried {
    for close in [true, false] {
        let mut store = bench.place().open()?;
        let mut ears = Vec::new();
        for index in 1..40 {
            let (heard, done) = ear();
            store.append(&items(1, index..index + 1, 3_000), done)?;
            ears.push(heard);
        }
        if close {
            store.close()?;
        } else {
            drop(store);
        }
        for (at, heard) in ears.iter().enumerate() {
            wait_until(|| *lock(heard) != Heard::Nothing)
                .map_err(|_| format!("the completion of append {} never came", at + 1))?;
            let heard = lock(heard).clone();
            if heard == Heard::Dropped || close && heard != Heard::Called(Ok(())) {
                return failed(format!("append {}, closed {close}: {heard:?}", at + 1));
            }
        }
    }
    Ok(())
}

fn one_opener<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let _store = place.open()?;
    place.copy().ok_or(Stop::Lacks("the log does not outlive its process"))?;
    same("the second opener is refused", place.open().is_err(), true)
}

fn reopen<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let mut store = place.open()?;
    place.copy().ok_or(Stop::Lacks("the log does not outlive its process"))?;
    store.save_vote(vote(3))?;
    append(&mut store, &items(3, 1..9, 10))?;
    store.commit(TermIndex::new(3, 4))?;
    store.truncate_after(TermIndex::new(3, 7))?;
    store.purge(TermIndex::new(3, 2))?;
    let told = store.told();
    store.close()?;
    let store = place.open()?;
    same("the state", store.told(), told)?;
    same("the entries", store.read(3, 8)?, items(3, 3..8, 10))
}

/// What may be left of a place.
type LeftOf<'a, P> = dyn Fn(&Bench<'_, P>, &P) -> Result<Vec<P>, Stop> + 'a;

/// Runs a trial, and judges what is left at each step.
fn tried<P: Place>(bench: &Bench<'_, P>, trial: &Trial, left_of: &LeftOf<'_, P>) -> Tried {
    let place = bench.place();
    let mut events: Vec<Event> = Vec::new();
    let told = Mutex::new(&mut events);
    let mut lacks = None;
    let mut between = || {
        let left = match left_of(bench, &place) {
            Ok(left) => left,
            Err(Stop::Failed(why)) => return Err(why),
            Err(Stop::Lacks(what)) => {
                lacks = Some(what);
                return Err(what.to_string());
            }
        };
        for left in left {
            bench.count();
            let store = left.open().map_err(|error| format!("{}: not opened: {error}", trial.name()))?;
            trial.judge(&store, lock(&told).iter().copied())?;
        }
        Ok(())
    };
    let result = trial.run_between(&|| place.open(), &mut |event| lock(&told).push(event), &mut between);
    match (result, lacks) {
        (_, Some(what)) => Err(Stop::Lacks(what)),
        (result, None) => result.map_err(Stop::Failed),
    }
}

fn killed<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let copy = |_: &Bench<'_, P>, place: &P| {
        let copy = place.copy().ok_or(Stop::Lacks("the log does not outlive its process"))?;
        Ok(vec![copy])
    };
    Trial::all(bench.seed, 4).iter().try_for_each(|trial| tried(bench, trial, &copy))
}

fn powerless<P: Place>(bench: &Bench<'_, P>, trial: &Trial) -> Tried {
    tried(bench, trial, &|bench, place| bench.cuts(place))
}

fn acknowledged_survives<P: Place>(bench: &Bench<'_, P>) -> Tried {
    powerless(bench, &Trial::terms())
}

fn prefix_survives<P: Place>(bench: &Bench<'_, P>) -> Tried {
    powerless(bench, &Trial::in_flight())
}

fn no_resurrection<P: Place>(bench: &Bench<'_, P>) -> Tried {
    powerless(bench, &Trial::cut_and_written_anew())
}

fn purge_survives<P: Place>(bench: &Bench<'_, P>) -> Tried {
    powerless(bench, &Trial::purged())
}

fn random_history<P: Place>(bench: &Bench<'_, P>) -> Tried {
    (0..4).try_for_each(|number| powerless(bench, &Trial::random(bench.seed.wrapping_add(number))))
}

fn vote_before_append<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let mut store = place.open()?;
    for term in 1..6 {
        store.save_vote(vote(term))?;
        store.append(&items(term, term..term + 1, 50), Box::new(drop))?;
        for left in bench.cuts(&place)? {
            bench.count();
            let told = left.open()?.told();
            let voted = told.vote.map_or(0, |vote| vote.term);
            if told.last.is_some_and(|id| id.term > voted) || voted < term {
                return failed(format!("the vote of term {term} was saved, and then: {told:?}"));
            }
        }
    }
    Ok(())
}

/// Entries up to some index are there, at least so many, and the log takes another one.
fn goes_on<P: Place>(place: &P, at_least: u64, at_most: u64, bytes: usize) -> Tried {
    let mut store = place.open()?;
    let last = store.told().last.map_or(0, |id| id.index);
    if !(at_least..=at_most).contains(&last) {
        return failed(format!("the last is {last}, not {at_least} to {at_most}"));
    }
    same("the entries", store.read(1, last + 1)?, items(1, 1..last + 1, bytes))?;
    append(&mut store, &items(1, last + 1..last + 2, bytes))?;
    store.close()?;
    same("the entries and one more", place.open()?.read(1, last + 2)?, items(1, 1..last + 2, bytes))
}

fn torn_tail<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let mut store = place.open()?;
    let lacks = Stop::Lacks("the log does not outlive its process");
    append(&mut store, &items(1, 1..4, 700))?;
    let before = place.copy().ok_or(lacks)?.files();
    append(&mut store, &items(1, 4..6, 700))?;
    let after = place.copy().ok_or(Stop::Lacks("copied once, but not twice"))?;
    store.close()?;
    let old = |name: &str| before.iter().find(|file| file.0 == name).map_or(&[][..], |file| &file.1);
    let files = after.files();
    let changed: Vec<&(String, Vec<u8>)> = files.iter().filter(|file| old(&file.0) != file.1).collect();
    let &[(name, new)] = &changed[..] else {
        return failed(format!("an append changed {} files, not one", changed.len()));
    };
    for bytes in torn(old(name), new) {
        let torn = after.copy().ok_or(Stop::Lacks("copied once, but not twice"))?;
        if !torn.put(name, &bytes) {
            return Err(Stop::Lacks("stored bytes cannot be changed"));
        }
        bench.count();
        goes_on(&torn, 3, 5, 700)?;
    }
    Ok(())
}

/// Appends until it is refused; the index after the last one that was durable.
fn append_until_refused(store: &mut impl Store, from: u64, bytes: usize, max: u64) -> Result<u64, Stop> {
    for index in from..from + max {
        match append(store, &items(1, index..index + 1, bytes)) {
            Ok(()) => {}
            // Whoever waits for a completion that was dropped, or does not come, waits for ever.
            Err(error) if error.contains("the completion") => return failed(error),
            Err(_) => return Ok(index),
        }
    }
    failed(format!("{max} appends of {bytes} bytes were called durable"))
}

fn disk_full<P: Place>(bench: &Bench<'_, P>) -> Tried {
    const BYTES: usize = 20_000;
    let place = bench.place();
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..3, BYTES))?;
    if !place.fail(Failure::Full) {
        return Err(Stop::Lacks("the disk cannot be filled"));
    }
    let end = append_until_refused(&mut store, 3, BYTES, 10_000)?;
    same("the last", store.told().last.map(|id| id.index), Some(end - 1))?;
    same("what was there", store.read(1, end)?, items(1, 1..end, BYTES))?;
    place.heal();
    append(&mut store, &items(1, end..end + 1, BYTES))?;
    same("the last, with room", store.told().last.map(|id| id.index), Some(end))?;
    store.close()?;
    bench.count();
    same("opened again", place.open()?.read(1, end + 1)?, items(1, 1..end + 1, BYTES))
}

fn failed_write<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..3, 700))?;
    if !place.fail(Failure::Writes) {
        return Err(Stop::Lacks("no write can be made to fail"));
    }
    let end = append_until_refused(&mut store, 3, 700, 100)?;
    place.heal();
    // What was refused may be there or not; it was not called durable.
    drop(store);
    for left in bench.cuts(&place)? {
        bench.count();
        goes_on(&left, end - 1, end, 700)?;
    }
    Ok(())
}

fn failed_sync<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..3, 700))?;
    if !place.fail(Failure::Sync) {
        return Err(Stop::Lacks("no sync can be made to fail"));
    }
    // A store may mend the failure by writing elsewhere, but then all that it called durable is there.
    let mut durable = 2;
    for index in 3..9 {
        match append(&mut store, &items(1, index..index + 1, 700)) {
            Ok(()) => durable = index,
            Err(error) if error.contains("the completion") => return failed(error),
            Err(_) => break,
        }
    }
    for left in bench.cuts(&place)? {
        bench.count();
        goes_on(&left, durable, durable + 1, 700)?;
    }
    Ok(())
}

fn failed_read<P: Place>(bench: &Bench<'_, P>) -> Tried {
    let place = bench.place();
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..40, 3_000))?;
    store.close()?;
    let store = place.open()?;
    if !place.fail(Failure::Reads) {
        return Err(Stop::Lacks("no read can be made to fail"));
    }
    let read = store.read(1, 40);
    if read.as_ref().is_ok_and(|read| *read != items(1, 1..40, 3_000)) {
        return failed("entries that could not be read were left out, or made up");
    }
    place.heal();
    same("the entries, when it reads again", store.read(1, 40)?, items(1, 1..40, 3_000))
}

fn damage<P: Place>(bench: &Bench<'_, P>) -> Tried {
    const TEXT: &[u8] = b"this text is to be damaged at rest";
    let place = bench.place();
    let mut store = place.open()?;
    let marked = [(TermIndex::new(1, 3), TEXT.to_vec())];
    append(&mut store, &items(1, 1..3, 700))?;
    append(&mut store, &marked)?;
    append(&mut store, &items(1, 4..6, 700))?;
    store.close()?;
    let files = place.files();
    let place_of = |file: &(String, Vec<u8>)| file.1.windows(TEXT.len()).position(|window| window == TEXT);
    let found = files.iter().find_map(|file| Some((file, place_of(file)?)));
    let Some(((name, bytes), at)) = found else {
        return Err(Stop::Lacks("the stored text cannot be found"));
    };
    // In the text, behind it, and in what stands before it: ids, lengths, checksums.
    for offset in (at.saturating_sub(24)..at + TEXT.len() + 4).step_by(3).filter(|&offset| offset < bytes.len()) {
        let damaged = place.copy().ok_or(Stop::Lacks("the log does not outlive its process"))?;
        let mut bytes = bytes.clone();
        bytes[offset] ^= 0x10;
        if !damaged.put(name, &bytes) {
            return Err(Stop::Lacks("stored bytes cannot be changed"));
        }
        bench.count();
        let Ok(store) = damaged.open() else {
            // Refused; then the repaired log is whole.
            damaged.put(name, &files.iter().find(|file| file.0 == *name).map_or_else(Vec::new, |file| file.1.clone()));
            same("repaired after it was refused", damaged.open()?.told().last, Some(TermIndex::new(1, 5)))?;
            continue;
        };
        // A store that cuts its log short there loses acknowledged entries without a word.
        let at = format!("byte {offset} of {name}: the last");
        same(&at, store.told().last, Some(TermIndex::new(1, 5)))?;
        same("the damaged entry", store.read(3, 4).is_ok_and(|read| read != marked), false)?;
        same("an entry before it", store.read(1, 2).is_ok_and(|read| read != items(1, 1..2, 700)), false)?;
        same("an entry after it", store.read(5, 6).is_ok_and(|read| read != items(1, 5..6, 700)), false)?;
    }
    Ok(())
}
