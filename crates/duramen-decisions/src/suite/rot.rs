//! The cases of damage at rest: one flipped bit, anywhere in the files. Owns what may be said of it.

use super::Place;
use super::cases::{Bench, OUTLIVES, Stop, Tried, failed};
use super::trial::{Content, Trial, chunk, words};
use crate::backend::{Backend, Key, Space};

/// Bits that are flipped, at most.
const FLIPS_MAX: u64 = 200;

/// What was there before the damage.
struct Known {
    content: Content,
    ever: std::collections::BTreeMap<Key, Vec<bytes::Bytes>>,
    chunks: Vec<u64>,
}

pub(super) fn closed<P: Place>(bench: &Bench<'_, P>) -> Tried {
    [Trial::large_batches(), Trial::checkpoints()].iter().try_for_each(|trial| rotten(bench, trial, true))
}

pub(super) fn killed<P: Place>(bench: &Bench<'_, P>) -> Tried {
    [Trial::acknowledged(), Trial::compacted()].iter().try_for_each(|trial| rotten(bench, trial, false))
}

fn rotten<P: Place>(bench: &Bench<'_, P>, trial: &Trial, close: bool) -> Tried {
    let place = bench.place();
    place.files().ok_or(OUTLIVES)?;
    trial.run(&|| place.open().map_err(words), &mut |_| ())?;
    let backend = place.open()?;
    backend.sync()?;
    let files = if close {
        backend.close()?;
        drop(backend);
        place.files()
    } else {
        let files = place.files();
        drop(backend);
        files
    };
    let files = files.ok_or(OUTLIVES)?;
    let known = Known { content: trial.content(), ever: trial.ever(), chunks: trial.chunks() };
    // The undamaged copy is whole.
    let whole = place.with_files(&files).ok_or(Stop::Lacks("files cannot be changed"))?;
    judge(&whole.open()?, &known, true).map_err(|why| format!("undamaged: {why}"))?;
    let mut chance = bench.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |end: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        (chance >> 16) % end.max(1)
    };
    let used: Vec<usize> = (0..files.len()).filter(|&at| !files[at].1.is_empty()).collect();
    for _ in 0..(bench.states_max * 4).clamp(8, FLIPS_MAX) {
        let at = used[below(used.len() as u64) as usize];
        let mut damaged = files.clone();
        let (name, bytes) = &mut damaged[at];
        let mut offset = below(bytes.len() as u64) as usize;
        if below(4) > 0 {
            // What is reserved and empty is of no interest.
            offset = (offset..bytes.len()).find(|&offset| bytes[offset] != 0).unwrap_or(offset);
        }
        let bit = below(8);
        bytes[offset] ^= 1 << bit;
        let name = format!("bit {bit} of byte {offset} of {name}");
        let left = place.with_files(&damaged).ok_or(Stop::Lacks("files cannot be changed"))?;
        bench.count();
        // Refusing to open is telling.
        let Ok(backend) = left.open() else { continue };
        judge(&backend, &known, false).map_err(|why| format!("{}, {name}: {why}", trial.name()))?;
    }
    if used.is_empty() { failed("there are no files") } else { Ok(()) }
}

fn judge<B: Backend>(backend: &B, known: &Known, undamaged: bool) -> Result<(), String> {
    let opened = backend.opened();
    let damage = !opened.lost.is_empty() || opened.open_end || !opened.places.is_empty();
    let told = damage || opened.cut.is_some();
    if undamaged && damage {
        return Err(format!("damage is told: {opened:?}"));
    }
    let told = told && !undamaged;
    for space in Space::ALL {
        let keys = match backend.keys(space, 0..=u64::MAX, usize::MAX) {
            Ok(keys) => keys,
            Err(error) if undamaged => return Err(words(error)),
            Err(_) => continue,
        };
        if let Some(missing) =
            known.content.keys().find(|key| key.space == space && !keys.contains(key)).filter(|_| !told)
        {
            return Err(format!("{missing} is not listed, and nothing is told"));
        }
        if let Some(more) = keys.iter().find(|key| !known.content.contains_key(key)).filter(|_| !told) {
            return Err(format!("{more} is listed, and was not there"));
        }
        let wanted = known.content.keys().filter(|key| key.space == space).chain(&keys);
        for key in wanted {
            judge_value(backend, key, known, told, undamaged)?;
        }
    }
    for number in &known.chunks {
        let (digest, bytes) = chunk(*number);
        match backend.chunk(&digest) {
            Ok(Some(found)) if found != bytes => return Err(format!("chunk {number} has other bytes")),
            Ok(Some(_)) => {}
            // A missing chunk is told by the checkpoint that needs it, if it is not said to be there.
            Ok(None) if !undamaged && !matches!(backend.is_chunk_whole(&digest), Ok(true)) => {}
            Err(_) if !undamaged => {}
            other => return Err(format!("chunk {number} is {other:?}")),
        }
    }
    Ok(())
}

fn judge_value<B: Backend>(backend: &B, key: &Key, known: &Known, told: bool, undamaged: bool) -> Result<(), String> {
    let now = known.content.get(key);
    match backend.get(*key) {
        Ok(Some(found)) if Some(&found) == now => Ok(()),
        // The value before the one that is lost.
        Ok(Some(found)) if told && known.ever.get(key).is_some_and(|ever| ever.contains(&found)) => Ok(()),
        Ok(Some(_)) => Err(format!("{key} has other bytes, or earlier ones, and nothing is told")),
        Ok(None) if told || now.is_none() => Ok(()),
        Ok(None) => Err(format!("{key} is missing, and nothing is told")),
        Err(error) if undamaged => Err(words(error)),
        Err(_) => Ok(()),
    }
}
