//! Membership changes of a reconfiguration protocol: each is bound to the decision from which on it holds, is stored with the
//! decision that made it or not at all, and goes with it. `cargo run -p duramen-decisions --example membership`
#![allow(clippy::disallowed_methods, reason = "an example makes and removes its own folder")]

use bytes::Bytes;
use duramen_decisions::{
    Batch, Blake3, Codec, ConsensusLayer, Error, FileBasedLog, PersistentLog as _, PersistentLogConfig, Replica, SeqNo,
    What,
};

/// The replicas of the group, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Members(Vec<u8>);

impl Members {
    /// How many have to vote: 2f + 1 of 3f + 1.
    fn quorum(&self) -> usize {
        self.0.len() - self.0.len().saturating_sub(1) / 3
    }
}

impl Codec for Members {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(bytes: &Bytes) -> Result<Members, String> {
        if bytes.is_empty() { Err("a group of nobody".into()) } else { Ok(Members(bytes.to_vec())) }
    }
}

struct Layer;

impl ConsensusLayer for Layer {
    type Decision = String;
    type Proof = String;
    type Message = String;
    type Safety = String;
    type Membership = Members;
}

type Log = FileBasedLog<Blake3, Vec<u8>, Layer>;

/// A replica that only wants to know whom to talk to.
#[derive(Default)]
struct Addresses(Option<(SeqNo, Members)>);

impl Replica<Vec<u8>, Layer> for Addresses {
    fn membership(&mut self, seq_no: SeqNo, members: Members) -> Result<(), String> {
        self.0 = Some((seq_no, members));
        Ok(())
    }
}

fn main() -> Result<(), Error> {
    let folder = std::env::temp_dir().join(format!("duramen-membership-{}", std::process::id()));
    let open = || Log::new(PersistentLogConfig::new(&folder));
    let (four, seven) = (Members(vec![0, 1, 2, 3]), Members(vec![0, 1, 2, 3, 4, 5, 6]));
    let log = open()?;
    log.store_configuration(1, &four)?.wait()?;
    for seq_no in 1..=9 {
        drop(log.store_decision(seq_no, &format!("put {seq_no}"))?);
    }
    // Decision 10 adds three replicas, from the next one on: a crash leaves both or neither.
    let mut batch = Batch::new();
    batch.decision(10, &"add 4, 5 and 6".into()).proof(10, &"votes of 0, 1 and 2".into()).membership(11, &seven);
    log.store_batch(&batch)?.wait()?;
    drop(log);

    let log = open()?;
    let of = |seq_no| log.retrieve_configuration(seq_no);
    assert_eq!((of(10)?, of(11)?), (Some((1, four.clone())), Some((11, seven.clone()))));
    assert_eq!((four.quorum(), seven.quorum()), (3, 5), "a proof of 10 is checked with the old quorum");
    let other = log.store_configuration(11, &four);
    assert!(matches!(other, Err(Error::Conflict { what: "membership", seq_no: 11 })), "not two for one decision");

    // The change is taken back with the decision that made it.
    log.truncate_after(9)?.wait()?;
    assert_eq!((log.retrieve_decision(10)?, of(11)?), (None, Some((1, four.clone()))));
    log.store_batch(&batch)?.wait()?;

    // Compaction keeps the membership that holds at the oldest checkpoint, and all behind it.
    log.store_checkpoint(10, &b"the state after 10".to_vec())?;
    log.compact_log_up_to(10)?;
    assert_eq!((of(10)?, of(99)?), (Some((1, four)), Some((11, seven.clone()))));
    let mut replica = Addresses::default();
    log.recover(&What::Membership, 1, &mut replica)?;
    assert_eq!(replica.0, Some((11, seven)));
    println!("from decision 11 on seven replicas decide");
    drop(log);
    _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
