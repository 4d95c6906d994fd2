//! Which record of the journal has which value: the index of the file backend, and how to take changes back. Pure.
//!
//! Memory: eight bytes a decision and eight a proof, as their numbers are dense.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use duramen_journal::Sequence;

use crate::backend::{Key, Space};

/// Numbers on a page.
const PAGE: u64 = 128;

type Page = Box<[Sequence; PAGE as usize]>;

/// One space: pages of single values by their numbers, and values of several parts.
#[derive(Debug, Default)]
struct Values {
    pages: BTreeMap<u64, Page>,
    parts: BTreeMap<(u64, u32), Sequence>,
}

/// Where every value is.
#[derive(Debug, Default)]
pub(crate) struct Index {
    spaces: [Values; Space::ALL.len()],
}

/// What a change took away.
#[derive(Debug)]
pub(crate) enum Undo {
    /// Under this key lay that; 0: nothing.
    Put(Key, Sequence),
    /// These lay in the space.
    Removed(Space, Removed),
}

#[derive(Debug, Default)]
pub(crate) struct Removed {
    pages: Vec<(u64, Page)>,
    parts: Vec<((u64, u32), Sequence)>,
}

impl Index {
    fn of(&self, space: Space) -> &Values {
        &self.spaces[space as usize]
    }

    fn of_mut(&mut self, space: Space) -> &mut Values {
        &mut self.spaces[space as usize]
    }

    /// The record that has a value.
    pub fn get(&self, key: Key) -> Option<Sequence> {
        let values = self.of(key.space);
        if key.part > 0 {
            return values.parts.get(&(key.number, key.part)).copied();
        }
        let page = values.pages.get(&(key.number / PAGE))?;
        Some(page[(key.number % PAGE) as usize]).filter(|&sequence| sequence > 0)
    }

    /// Notes a value; tells how to take that back.
    pub fn put(&mut self, key: Key, sequence: Sequence) -> Undo {
        let values = self.of_mut(key.space);
        let before = if key.part > 0 {
            match sequence {
                0 => values.parts.remove(&(key.number, key.part)),
                _ => values.parts.insert((key.number, key.part), sequence),
            }
        } else {
            let page = values.pages.entry(key.number / PAGE).or_insert_with(|| Box::new([0; PAGE as usize]));
            Some(std::mem::replace(&mut page[(key.number % PAGE) as usize], sequence))
        };
        Undo::Put(key, before.unwrap_or(0))
    }

    /// Forgets the values of a range; tells how to take that back.
    pub fn remove(&mut self, space: Space, numbers: RangeInclusive<u64>) -> Undo {
        let mut removed = Removed::default();
        let (first, last) = (*numbers.start(), *numbers.end());
        if first > last {
            return Undo::Removed(space, removed);
        }
        let values = self.of_mut(space);
        let pages: Vec<u64> = values.pages.range(first / PAGE..=last / PAGE).map(|(number, _)| *number).collect();
        for number in pages {
            let (from, to) = (number * PAGE, number * PAGE + (PAGE - 1));
            if first <= from && to <= last {
                removed.pages.extend(values.pages.remove(&number).map(|page| (number, page)));
            } else if let Some(page) = values.pages.get_mut(&number) {
                let mut taken = Box::new([0; PAGE as usize]);
                for number in from.max(first)..=to.min(last) {
                    let at = (number % PAGE) as usize;
                    taken[at] = std::mem::take(&mut page[at]);
                }
                removed.pages.push((number, taken));
            }
        }
        let parts: Vec<_> = values.parts.range((first, 0)..=(last, u32::MAX)).map(|(key, at)| (*key, *at)).collect();
        parts.iter().for_each(|(key, _)| _ = values.parts.remove(key));
        removed.parts = parts;
        Undo::Removed(space, removed)
    }

    /// Takes a change back. Changes are taken back in the reverse of their order.
    pub fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Put(key, before) => _ = self.put(key, before),
            Undo::Removed(space, removed) => {
                let values = self.of_mut(space);
                for (number, page) in removed.pages {
                    let own = values.pages.entry(number).or_insert_with(|| Box::new([0; PAGE as usize]));
                    own.iter_mut().zip(page.iter()).filter(|(_, was)| **was > 0).for_each(|(own, was)| *own = *was);
                }
                values.parts.extend(removed.parts);
            }
        }
    }

    /// The first keys of a space in a range of numbers, in order.
    pub fn keys(&self, space: Space, numbers: RangeInclusive<u64>, max: usize) -> Vec<Key> {
        let (first, last) = (*numbers.start(), *numbers.end());
        if first > last {
            return Vec::new();
        }
        let values = self.of(space);
        let pages = values.pages.range(first / PAGE..=last / PAGE);
        let single = pages.flat_map(|(page, own)| {
            let stored = own.iter().enumerate().filter(|(_, sequence)| **sequence > 0);
            stored.map(move |(at, _)| Key::new(space, page * PAGE + at as u64))
        });
        let single = single.filter(|key| numbers.contains(&key.number)).take(max);
        let parts = values.parts.range((first, 0)..=(last, u32::MAX)).take(max);
        let mut keys: Vec<Key> = single.chain(parts.map(|(&(number, part), _)| Key { space, number, part })).collect();
        if !values.parts.is_empty() {
            keys.sort_unstable();
            keys.truncate(max);
        }
        keys
    }

    /// The last key of a space up to a number.
    pub fn last(&self, space: Space, upto: u64) -> Option<Key> {
        let values = self.of(space);
        let single = values.pages.range(..=upto / PAGE).rev().find_map(|(page, own)| {
            let stored = own.iter().enumerate().rev().filter(|(_, sequence)| **sequence > 0);
            stored.map(move |(at, _)| Key::new(space, page * PAGE + at as u64)).find(|key| key.number <= upto)
        });
        let part = values.parts.range(..=(upto, u32::MAX)).next_back();
        single.max(part.map(|(&(number, part), _)| Key { space, number, part }))
    }

    /// The first record that has any value, and the values of small spaces in records before a sequence.
    pub fn oldest(&self, spaces: &[Space]) -> Option<Sequence> {
        let of = |space: &Space| {
            let values = self.of(*space);
            let single = values.pages.values().flat_map(|page| page.iter().copied()).filter(|&sequence| sequence > 0);
            single.chain(values.parts.values().copied()).min()
        };
        spaces.iter().filter_map(of).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_can_be_taken_back() {
        let mut index = Index::default();
        let mut model: BTreeMap<Key, Sequence> = BTreeMap::new();
        let mut history = Vec::new();
        let mut random = 1u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for step in 1..4000 {
            let space = Space::ALL[next(3) as usize + 4];
            let number = next(700);
            let before = model.clone();
            let undo = if next(20) == 0 {
                let last = number + next(300);
                model.retain(|key, _| key.space != space || !(number..=last).contains(&key.number));
                index.remove(space, number..=last)
            } else {
                let part = if space == Space::Message { next(3) as u32 } else { 0 };
                let key = Key { space, number, part };
                model.insert(key, step);
                index.put(key, step)
            };
            if next(10) == 0 {
                index.undo(undo);
                model = before;
            } else {
                history.push((undo, before));
            }
            if step % 100 == 0 {
                check(&index, &model);
            }
        }
        for (undo, before) in history.into_iter().rev().take(500) {
            index.undo(undo);
            model = before;
        }
        check(&index, &model);
    }

    fn check(index: &Index, model: &BTreeMap<Key, Sequence>) {
        for space in [Space::Decision, Space::Proof, Space::Message] {
            let own: Vec<Key> = model.keys().filter(|key| key.space == space).copied().collect();
            assert_eq!(index.keys(space, 0..=u64::MAX, usize::MAX), own);
            let part: Vec<Key> = own.iter().filter(|key| (100..=450).contains(&key.number)).copied().take(7).collect();
            assert_eq!(index.keys(space, 100..=450, 7), part);
            for upto in [0, 99, 128, 400, u64::MAX] {
                assert_eq!(index.last(space, upto), own.iter().rev().find(|key| key.number <= upto).copied());
            }
            own.iter().for_each(|key| assert_eq!(index.get(*key), Some(model[key])));
            assert_eq!(index.oldest(&[space]), own.iter().map(|key| model[key]).min());
        }
    }
}
