//! The cases of the suite. Owns the properties; knows a store by its traits alone.

use std::sync::mpsc;

use super::{Item, Place, Store, Told};
use crate::types::{TermIndex, TermVote};

/// Why a case ended early.
pub enum Stop {
    Failed(String),
    Lacks(&'static str),
}

impl From<String> for Stop {
    fn from(why: String) -> Stop {
        Stop::Failed(why)
    }
}

/// How far a case goes.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub states_max: u64,
    pub seed: u64,
}

type Tried = Result<(), Stop>;

pub struct Case<P> {
    pub name: &'static str,
    pub property: &'static str,
    pub run: fn(&P, Bounds) -> Tried,
}

pub fn all<P: Place>() -> Vec<Case<P>> {
    vec![
        Case { name: "empty", property: "A new log has no vote and no entry.", run: empty },
        Case { name: "append_read", property: "What was appended is read, by range.", run: append_read },
        Case { name: "overwrite", property: "After a truncation other entries take the place.", run: overwrite },
        Case { name: "purge", property: "Purged entries are not served, the others are.", run: purge },
        Case { name: "read_absent", property: "Entries that are not there are not made up.", run: read_absent },
        Case { name: "reopen", property: "Closing and opening changes nothing.", run: reopen },
        Case { name: "acknowledged_survives", property: "What is durable outlives a power cut.", run: survives },
        Case { name: "prefix_survives", property: "A power cut leaves a prefix of what was appended.", run: prefix },
        Case { name: "vote_before_append", property: "No entry outlives the vote before it.", run: vote_first },
        Case { name: "no_resurrection", property: "Truncated entries never come back.", run: no_resurrection },
        Case { name: "disk_full", property: "A full disk is an error and takes nothing away.", run: disk_full },
        Case {
            name: "failed_sync",
            property: "After a failed sync nothing is called durable that is not.",
            run: failed_sync,
        },
        Case { name: "one_opener", property: "A second opener is refused.", run: one_opener },
        Case { name: "damage", property: "Damaged bytes are reported, never served.", run: damage },
        Case {
            name: "random_history",
            property: "A generated history outlives a power cut after each step.",
            run: random_history,
        },
    ]
}

fn items(term: u64, indexes: std::ops::Range<u64>, bytes: usize) -> Vec<Item> {
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
    Err(Stop::Failed(format!("{what}: found {}, not {}", short(found), short(wanted))))
}

/// Appends and waits until it is durable.
fn append(store: &mut impl Store, items: &[Item]) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    store.append(items, Box::new(move |outcome| drop(sender.send(outcome))))?;
    receiver.recv().map_err(|_| "the completion was dropped".to_string())?
}

fn cuts<P: Place>(place: &P, bounds: Bounds) -> Result<Vec<P>, Stop> {
    let left = place.cut_power(bounds.states_max).ok_or(Stop::Lacks("no power cut can be simulated"))?;
    if left.is_empty() {
        // Without this a place that tries nothing would pass.
        return Err(Stop::Failed("the place tried no power cut".to_string()));
    }
    Ok(left)
}

fn empty<P: Place>(place: &P, _: Bounds) -> Tried {
    let store = place.open()?;
    same("the state", store.told(), Told::default())
}

fn append_read<P: Place>(place: &P, _: Bounds) -> Tried {
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..9, 100))?;
    append(&mut store, &items(1, 9..10, 40_000))?;
    same("the middle", store.read(3, 6)?, items(1, 3..6, 100))?;
    same("the large one", store.read(9, 10)?, items(1, 9..10, 40_000))
}

fn overwrite<P: Place>(place: &P, _: Bounds) -> Tried {
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..9, 10))?;
    store.truncate_after(TermIndex::new(1, 4))?;
    append(&mut store, &items(2, 5..7, 10))?;
    same("the last", store.told().last, Some(TermIndex::new(2, 6)))?;
    same("the entries", store.read(4, 7)?, [items(1, 4..5, 10), items(2, 5..7, 10)].concat())
}

fn purge<P: Place>(place: &P, _: Bounds) -> Tried {
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..9, 10))?;
    store.purge(TermIndex::new(1, 4))?;
    same("purged", store.told().purged, Some(TermIndex::new(1, 4)))?;
    same("purged entries", store.read(2, 4).unwrap_or_default(), Vec::new())?;
    same("the others", store.read(5, 9)?, items(1, 5..9, 10))
}

fn read_absent<P: Place>(place: &P, _: Bounds) -> Tried {
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..3, 10))?;
    same("future entries", store.read(100, 200).unwrap_or_default(), Vec::new())
}

fn reopen<P: Place>(place: &P, _: Bounds) -> Tried {
    if !place.is_lasting() {
        return Err(Stop::Lacks("the store is in memory only"));
    }
    let mut store = place.open()?;
    store.save_vote(vote(3))?;
    append(&mut store, &items(3, 1..9, 10))?;
    store.truncate_after(TermIndex::new(3, 7))?;
    store.purge(TermIndex::new(3, 2))?;
    let told = store.told();
    store.close()?;
    let store = place.open()?;
    same("the state", store.told(), told)?;
    same("the entries", store.read(3, 8)?, items(3, 3..8, 10))
}

fn survives<P: Place>(place: &P, bounds: Bounds) -> Tried {
    let mut store = place.open()?;
    for round in 1..6 {
        store.save_vote(vote(round))?;
        append(&mut store, &items(round, round..round + 1, 700))?;
        for left in cuts(place, bounds)? {
            let left = left.open()?;
            same("the vote", left.told().vote, Some(vote(round)))?;
            same("the last", left.told().last, Some(TermIndex::new(round, round)))?;
            same("the entry", left.read(round, round + 1)?, items(round, round..round + 1, 700))?;
        }
    }
    Ok(())
}

fn prefix<P: Place>(place: &P, bounds: Bounds) -> Tried {
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..3, 700))?;
    for index in 3..9 {
        store.append(&items(1, index..index + 1, 700), Box::new(drop))?;
        for left in cuts(place, bounds)? {
            let left = left.open()?;
            let last = left.told().last.map_or(0, |id| id.index);
            if !(2..=index).contains(&last) {
                return Err(Stop::Failed(format!("the last is {last}: 2 was durable, {index} was appended")));
            }
            same("the entries", left.read(1, last + 1)?, items(1, 1..last + 1, 700))?;
        }
    }
    Ok(())
}

fn vote_first<P: Place>(place: &P, bounds: Bounds) -> Tried {
    let mut store = place.open()?;
    for term in 1..6 {
        store.save_vote(vote(term))?;
        store.append(&items(term, term..term + 1, 50), Box::new(drop))?;
        for left in cuts(place, bounds)? {
            let told = left.open()?.told();
            let voted = told.vote.map_or(0, |vote| vote.term);
            if told.last.is_some_and(|id| id.term > voted) || voted < term {
                return Err(Stop::Failed(format!("the vote of term {term} was saved, and then: {told:?}")));
            }
        }
    }
    Ok(())
}

fn no_resurrection<P: Place>(place: &P, bounds: Bounds) -> Tried {
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..9, 100))?;
    store.truncate_after(TermIndex::new(1, 4))?;
    append(&mut store, &items(2, 5..6, 100))?;
    for left in cuts(place, bounds)? {
        let left = left.open()?;
        same("the last", left.told().last, Some(TermIndex::new(2, 5)))?;
        same("truncated entries", left.read(6, 9).unwrap_or_default(), Vec::new())?;
    }
    Ok(())
}

fn disk_full<P: Place>(place: &P, _: Bounds) -> Tried {
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..3, 100))?;
    if !place.set_full(true) {
        return Err(Stop::Lacks("the disk cannot be filled"));
    }
    let mut end = 3;
    while append(&mut store, &items(1, end..end + 1, 20_000)).is_ok() {
        end += 1;
        if end > 1_000 {
            return Err(Stop::Failed("a full disk took 20 MB".to_string()));
        }
    }
    same("the last", store.told().last, Some(TermIndex::new(1, end - 1)))?;
    same("what was there", store.read(1, 3)?, items(1, 1..3, 100))?;
    place.set_full(false);
    append(&mut store, &items(1, end..end + 1, 100))?;
    same("the last, with space", store.told().last, Some(TermIndex::new(1, end)))
}

fn failed_sync<P: Place>(place: &P, bounds: Bounds) -> Tried {
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..3, 700))?;
    if !place.fail_sync() {
        return Err(Stop::Lacks("no sync can be made to fail"));
    }
    let (mut durable, mut refused) = (2, false);
    for index in 3..9 {
        match append(&mut store, &items(1, index..index + 1, 700)) {
            Ok(()) => durable = index,
            // Dropped is not told: the caller would wait for ever.
            Err(error) if error.contains("dropped") => return Err(Stop::Failed(error)),
            Err(_) => {
                refused = true;
                break;
            }
        }
    }
    for left in cuts(place, bounds)? {
        let left = left.open()?;
        same("what was called durable", left.read(1, durable + 1)?, items(1, 1..durable + 1, 700))?;
    }
    // A store may repair the failure by writing elsewhere, but then all it called durable is there.
    same("told of, or all durable", refused || durable == 8, true)
}

fn one_opener<P: Place>(place: &P, _: Bounds) -> Tried {
    if !place.is_lasting() {
        return Err(Stop::Lacks("the store is in memory only"));
    }
    let _store = place.open()?;
    same("the second opener is refused", place.open().is_err(), true)
}

fn damage<P: Place>(place: &P, _: Bounds) -> Tried {
    let text = b"this text is to be damaged at rest";
    let mut store = place.open()?;
    append(&mut store, &items(1, 1..3, 700))?;
    append(&mut store, &[(TermIndex::new(1, 3), text.to_vec())])?;
    append(&mut store, &items(1, 4..6, 700))?;
    store.close()?;
    if !place.damage(text) {
        return Err(Stop::Lacks("stored bytes cannot be damaged"));
    }
    let Ok(store) = place.open() else { return Ok(()) };
    // A store that cuts its log short there would lose acknowledged entries without a word.
    same("the last", store.told().last, Some(TermIndex::new(1, 5)))?;
    same("the damaged entry is an error", store.read(3, 4).is_err(), true)
}

fn random_history<P: Place>(place: &P, bounds: Bounds) -> Tried {
    let mut chance = bounds.seed | 1;
    let mut below = |end: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % end
    };
    let mut store = place.open()?;
    let (mut term, mut purged, mut model) = (1, 0, Vec::<Item>::new());
    store.save_vote(vote(term))?;
    append(&mut store, &items(term, 1..2, 10))?;
    model.extend(items(term, 1..2, 10));
    for step in 0..24 {
        let end = model.len() as u64 + 1;
        match below(6) {
            0 => {
                term += 1;
                store.save_vote(vote(term))?;
            }
            1 if end > purged + 3 => {
                let kept = model[end as usize - 3].0;
                store.truncate_after(kept)?;
                model.truncate(kept.index as usize);
                term += 1;
                store.save_vote(vote(term))?;
            }
            2 if end > purged + 4 => {
                purged += 1;
                store.purge(model[purged as usize - 1].0)?;
            }
            _ => {
                let more = items(term, end..end + 1 + below(4), below(900) as usize);
                append(&mut store, &more)?;
                model.extend(more);
            }
        }
        for left in cuts(place, bounds)? {
            let left = left.open()?;
            let what = format!("seed {}, step {step}", bounds.seed);
            same(&what, left.told().vote, Some(vote(term)))?;
            same(&what, left.told().last, model.last().map(|item| item.0))?;
            same(&what, left.told().purged.map_or(0, |id| id.index), purged)?;
            same(&what, left.read(purged + 1, model.len() as u64 + 1)?, model[purged as usize..].to_vec())?;
        }
    }
    Ok(())
}
