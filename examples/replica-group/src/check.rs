//! Questions to all replicas: how far each is, and whether they have the same. Owns the comparison.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use duramen_decisions::{Blake3, Digest as _, SeqNo};

use crate::frame::Visit;
use crate::types::{Hash, Wire};

/// Keys of a question.
const KEYS: usize = 500;

/// A replica's last decision and its state's digest.
pub fn state_of(address: &str) -> anyhow::Result<(SeqNo, Hash)> {
    match Visit::new(address)?.ask(&Wire::AskState)? {
        Wire::State(seq_no, digest) => Ok((seq_no, digest)),
        other => bail!("an answer to another question: {other:?}"),
    }
}

/// Prints how far each replica is; fails if two that are equally far differ, or one does not answer.
pub fn run(peers: &[String]) -> anyhow::Result<()> {
    let states: Vec<_> = peers.iter().map(|peer| state_of(peer)).collect();
    for (id, state) in states.iter().enumerate() {
        match state {
            Ok((seq_no, digest)) => println!("replica {id}: decision {seq_no}, state {}", Blake3::from_bytes(*digest)),
            Err(error) => println!("replica {id}: {error:#}"),
        }
    }
    let states: Vec<_> = states.into_iter().collect::<Result<_, _>>()?;
    let differ = states.iter().any(|a| states.iter().any(|b| a.0 == b.0 && a.1 != b.1));
    ensure!(!differ, "states of the same decision differ");
    Ok(())
}

/// Waits until all replicas have the same last decision and digest, and nothing moves any more.
pub fn wait_until_equal(peers: &[String], patience: Duration) -> anyhow::Result<(SeqNo, Hash)> {
    let begun = Instant::now();
    let (mut before, mut same) = (None, 0);
    loop {
        let states: anyhow::Result<Vec<_>> = peers.iter().map(|peer| state_of(peer)).collect();
        let equal = states.as_ref().ok().filter(|own| own.iter().all(|state| *state == own[0])).map(|own| own[0]);
        same = if equal.is_some() && equal == before { same + 1 } else { 0 };
        before = equal;
        if let Some(equal) = equal.filter(|_| same >= 3) {
            return Ok(equal);
        }
        ensure!(begun.elapsed() < patience, "the replicas do not become equal: {states:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Which of these puts a replica does not have.
pub fn missing(address: &str, puts: &[(String, String)]) -> anyhow::Result<Vec<String>> {
    let mut visit = Visit::new(address)?;
    let mut missing = Vec::new();
    for puts in puts.chunks(KEYS) {
        let keys = puts.iter().map(|(key, _)| key.clone()).collect();
        let Wire::Values(values) = visit.ask(&Wire::AskValues(keys)).context("no values")? else {
            bail!("an answer to another question");
        };
        ensure!(values.len() == puts.len(), "{} values for {} keys", values.len(), puts.len());
        let wrong = puts.iter().zip(values).filter(|((_, value), found)| found.as_ref() != Some(value));
        missing.extend(wrong.map(|((key, _), _)| key.clone()));
    }
    Ok(missing)
}
