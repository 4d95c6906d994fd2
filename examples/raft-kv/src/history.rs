//! What clients did and saw, and whether one store that does everything at once could have answered so: linearizability.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memory of what was seen
//! before; keys are independent of each other, so each is judged by itself (Herlihy and Wing's locality). What nobody
//! knows the outcome of may take effect at any time after it was asked for, or never.

use std::collections::{BTreeMap, HashSet};

/// What was asked of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// And what was seen.
    Read(Option<String>),
    Put(String),
    /// And whether it was done; `None`: nobody knows.
    Cas {
        expected: Option<String>,
        value: String,
        done: Option<bool>,
    },
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    pub key: String,
    pub asked: Asked,
    /// When it was made.
    pub from: u64,
    /// When it was answered; `None`: nobody knows whether it was done, or will be.
    pub to: Option<u64>,
}

/// Whether all calls can be put into one order that explains every answer.
///
/// # Errors
/// The key for which they cannot, and how far an explanation comes.
pub fn check(calls: &[Call]) -> Result<(), String> {
    let mut keys: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        keys.entry(&call.key).or_default().push(call);
    }
    for (key, calls) in keys {
        check_key(&calls).map_err(|stuck| {
            format!("key {key}: at most {} of {} calls can be explained{}", stuck.0, calls.len(), stuck.1)
        })?;
    }
    Ok(())
}

/// The value that a call leaves; `Err`: it cannot have happened with this one.
fn step<'a>(call: &'a Call, value: Option<&'a str>) -> Result<Option<&'a str>, ()> {
    match &call.asked {
        Asked::Read(seen) => {
            if seen.as_deref() == value {
                Ok(value)
            } else {
                Err(())
            }
        }
        Asked::Put(put) => Ok(Some(put)),
        Asked::Cas { expected, value: new, done } => {
            let matches = expected.as_deref() == value;
            match done {
                Some(done) if *done != matches => Err(()),
                _ => Ok(if matches { Some(new) } else { value }),
            }
        }
    }
}

/// An error says how many could be explained, and shows where that ended.
fn check_key(calls: &[&Call]) -> Result<(), (usize, String)> {
    let seen: HashSet<&str> = calls
        .iter()
        .filter_map(|call| match &call.asked {
            Asked::Read(seen) => seen.as_deref(),
            Asked::Cas { expected, .. } => expected.as_deref(),
            Asked::Put(_) => None,
        })
        .collect();
    let is_unseen = |call: &Call| {
        call.to.is_none()
            && match &call.asked {
                Asked::Read(_) => true,
                Asked::Put(value) | Asked::Cas { value, .. } => !seen.contains(value.as_str()),
            }
    };
    let mut calls: Vec<&Call> = calls.to_vec();
    calls.sort_by_key(|call| call.from);
    let unseen: Vec<bool> = calls.iter().map(|call| is_unseen(call)).collect();
    let required = calls.iter().filter(|call| call.to.is_some()).count();
    let mut known: HashSet<(Vec<u64>, Option<&str>)> = HashSet::new();
    let mut best = (0, Vec::new(), None);
    // Each step: which calls are in the order so far, how many of them had to be, the value.
    let mut stack = vec![(vec![0u64; calls.len().div_ceil(64)], 0usize, None)];
    while let Some((order, count, value)) = stack.pop() {
        if count == required {
            return Ok(());
        }
        if count >= best.0 {
            best = (count, order.clone(), value);
        }
        let is_in = |at: usize| order[at / 64] >> (at % 64) & 1 == 1;
        // Nothing that began after another had been answered comes before it.
        let left = calls.iter().enumerate().filter(|(at, _)| !is_in(*at));
        let soonest = left.clone().filter_map(|(_, call)| call.to).min().unwrap_or(u64::MAX);
        let may_come = left.take_while(|(_, call)| call.from <= soonest);
        // A write of unknown outcome whose value nobody saw explains one thing only: that a comparison, next, failed.
        let fails = may_come.clone().any(|(_, call)| match &call.asked {
            Asked::Cas { expected, done: Some(false), .. } => expected.as_deref() == value,
            _ => false,
        });
        let mut puts_unseen = 0;
        for (at, call) in may_come {
            if unseen[at] {
                // One of them is as good as another.
                puts_unseen += usize::from(matches!(call.asked, Asked::Put(_)));
                if !fails || puts_unseen > 1 && matches!(call.asked, Asked::Put(_)) {
                    continue;
                }
            }
            let Ok(next) = step(call, value) else { continue };
            let mut order = order.clone();
            order[at / 64] |= 1 << (at % 64);
            if known.insert((order.clone(), next)) {
                stack.push((order, count + usize::from(call.to.is_some()), next));
            }
        }
    }
    let (count, order, value) = best;
    let is_left = |at: &usize| order.get(at / 64).is_none_or(|word| word >> (at % 64) & 1 == 0);
    let left = (0..calls.len())
        .filter(is_left)
        .take(12)
        .map(|at| format!("\n  {:?} to {:?}: {:?}", calls[at].from, calls[at].to, calls[at].asked));
    Err((count, format!("; the value is {value:?}, and next are{}", left.collect::<String>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(asked: Asked, from: u64, to: impl Into<Option<u64>>) -> Call {
        Call { key: "k".into(), asked, from, to: to.into() }
    }

    fn read(seen: &str, from: u64, to: u64) -> Call {
        call(Asked::Read(Some(seen.to_string()).filter(|seen| !seen.is_empty())), from, to)
    }

    fn put(value: &str, from: u64, to: impl Into<Option<u64>>) -> Call {
        call(Asked::Put(value.into()), from, to)
    }

    fn cas(expected: &str, value: &str, done: impl Into<Option<bool>>, from: u64, to: impl Into<Option<u64>>) -> Call {
        call(Asked::Cas { expected: Some(expected.into()), value: value.into(), done: done.into() }, from, to)
    }

    #[test]
    fn what_one_store_could_answer_passes() {
        let good = [
            vec![],
            vec![read("", 0, 1), put("a", 2, 3), read("a", 4, 5)],
            // At the same time, either order.
            vec![put("a", 0, 10), put("b", 0, 10), read("a", 11, 12)],
            vec![put("a", 0, 10), put("b", 0, 10), read("b", 11, 12)],
            vec![put("a", 0, 1), put("b", 2, 10), read("b", 3, 4), read("b", 5, 6)],
            // Nobody knows: before, later, or never.
            vec![put("a", 0, 1), put("b", 2, None), read("a", 3, 4), read("b", 5, 6)],
            vec![put("a", 0, 1), put("b", 2, None), read("a", 3, 4), read("a", 50, 60)],
            vec![put("a", 0, 1), cas("a", "b", true, 2, 3), read("b", 4, 5), cas("a", "c", false, 6, 7)],
            vec![put("a", 0, 1), cas("a", "b", None, 2, None), read("b", 40, 50)],
            // It was overwritten before anybody saw it, but not before a comparison failed.
            vec![put("a", 0, 1), put("b", 2, None), cas("a", "c", false, 3, 4), put("d", 5, 6), read("d", 7, 8)],
            vec![put("a", 0, 1), cas("a", "b", None, 2, None), cas("a", "c", false, 3, 4), put("d", 5, 6)],
        ];
        for history in good {
            assert_eq!(check(&history), Ok(()), "{history:?}");
        }
    }

    #[test]
    fn what_no_store_could_answer_is_caught() {
        let bad = [
            // An acknowledged write is gone.
            vec![put("a", 0, 1), read("", 2, 3)],
            vec![put("a", 0, 1), put("b", 2, 3), read("a", 4, 5)],
            // It comes and goes.
            vec![put("a", 0, 1), put("b", 2, 10), read("b", 3, 4), read("a", 5, 6)],
            // From nowhere, or before it was asked for.
            vec![read("a", 0, 1)],
            vec![read("a", 0, 1), put("a", 2, 3)],
            vec![put("a", 0, 1), put("b", 2, None), read("b", 3, 4), read("a", 5, 6)],
            // Two cannot both have changed the same value.
            vec![put("a", 0, 1), cas("a", "b", true, 2, 9), cas("a", "c", true, 2, 9)],
            vec![put("a", 0, 1), cas("a", "b", false, 2, 3)],
            vec![put("a", 0, 1), put("b", 2, None), cas("a", "c", false, 3, 4), read("a", 5, 6)],
            vec![put("a", 0, 1), cas("a", "c", false, 3, 4), put("b", 5, None)],
        ];
        for history in bad {
            assert!(check(&history).is_err(), "{history:?}");
        }
    }

    #[test]
    fn keys_are_judged_apart() {
        let mut other = read("a", 0, 1);
        other.key = "other".into();
        let error = check(&[put("a", 0, 1), read("a", 2, 3), other]).expect_err("nobody wrote it");
        assert!(error.contains("key other"), "{error}");
    }
}
