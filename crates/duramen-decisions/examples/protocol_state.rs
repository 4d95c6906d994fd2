//! The state of a protocol's core: messages before a decision, votes that must not be forgotten, and a decision that is taken back
//! after a view change. `cargo run -p duramen-decisions --example protocol_state`
#![allow(clippy::disallowed_methods, reason = "an example makes and removes its own folder")]

use bytes::Bytes;
use duramen_decisions::{
    Batch, Blake3, Codec, ConsensusLayer, Error, FileBasedLog, PersistentLog as _, PersistentLogConfig,
};

/// What this replica must not forget: the last instance that it voted on, in which view, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Vote {
    view: u64,
    instance: u64,
    value: String,
}

impl Codec for Vote {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.view.to_le_bytes());
        out.extend_from_slice(&self.instance.to_le_bytes());
        out.extend_from_slice(self.value.as_bytes());
    }

    fn decode(bytes: &Bytes) -> Result<Vote, String> {
        let (view, rest) = bytes.split_first_chunk().ok_or("no view")?;
        let (instance, value) = rest.split_first_chunk().ok_or("no instance")?;
        let value = String::from_utf8(value.to_vec()).map_err(|error| error.to_string())?;
        Ok(Vote { view: u64::from_le_bytes(*view), instance: u64::from_le_bytes(*instance), value })
    }
}

struct Layer;

impl ConsensusLayer for Layer {
    type Decision = String;
    type Proof = String;
    type Message = String;
    type Safety = Vote;
    type Membership = String;
}

type Log = FileBasedLog<Blake3, Vec<u8>, Layer>;

/// Votes, if that contradicts no earlier vote: the vote may leave when this returns.
fn vote(log: &Log, wanted: &Vote) -> Result<bool, Error> {
    let contradicts = |known: &Vote| {
        (known.view, known.instance) > (wanted.view, wanted.instance)
            || ((known.view, known.instance) == (wanted.view, wanted.instance) && known.value != wanted.value)
    };
    if log.retrieve_safety()?.is_some_and(|known| contradicts(&known)) {
        return Ok(false);
    }
    let proposal = format!("proposal of view {}: {}", wanted.view, wanted.value);
    // The message and the vote are stored together, or neither is; with a safety record a batch does not wait for the policy.
    log.store_batch(Batch::new().message(wanted.instance, &proposal).safety(wanted))?.wait()?;
    Ok(true)
}

fn main() -> Result<(), Error> {
    let folder = std::env::temp_dir().join(format!("duramen-protocol-state-{}", std::process::id()));
    let open = || Log::new(PersistentLogConfig::new(&folder));
    let log = open()?;
    assert!(vote(&log, &Vote { view: 0, instance: 1, value: "a".into() })?);
    // Executed ahead, as a speculative protocol does: the decision is stored, and not final.
    log.store_batch(Batch::new().decision(1, &"a".into()).proof(1, &"votes of 0 and 1".into()))?.wait()?;
    drop(log);

    let log = open()?;
    assert!(!vote(&log, &Vote { view: 0, instance: 1, value: "b".into() })?, "it does not vote twice in a view");
    assert_eq!(log.retrieve_messages(1)?, ["proposal of view 0: a"]);

    // The next view decides otherwise. What is not in a checkpoint can be taken back, with its proof and its messages.
    assert!(matches!(log.store_decision(1, &"b".into()), Err(Error::Conflict { what: "decision", seq_no: 1 })));
    log.invalidate(1)?.wait()?;
    assert!(vote(&log, &Vote { view: 1, instance: 1, value: "b".into() })?);
    log.store_batch(Batch::new().decision(1, &"b".into()).proof(1, &"votes of 0, 2 and 3".into()))?.wait()?;
    drop(log);

    let log = open()?;
    assert_eq!(log.retrieve_decision(1)?, Some("b".into()));
    assert_eq!(log.retrieve_proof(1)?, Some("votes of 0, 2 and 3".into()));
    assert_eq!(log.retrieve_messages(1)?, ["proposal of view 1: b"]);
    assert_eq!(log.retrieve_safety()?, Some(Vote { view: 1, instance: 1, value: "b".into() }));
    println!("it voted once in each view, and has what the second one decided");
    drop(log);
    _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
