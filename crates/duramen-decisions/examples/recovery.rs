//! Recovery and checkpointing of a replica: its state comes back from the last checkpoint and the decisions behind it; one that has
//! nothing gets a checkpoint, chunk by chunk, and then the decisions, from another. `cargo run -p duramen-decisions --example recovery`
#![allow(clippy::disallowed_methods, reason = "an example makes and removes its own folders")]

use bytes::Bytes;
use duramen_decisions::{
    Batch, Blake3, CheckpointPolicy, Error, FileBasedLog, Manifest, PersistentLog as _, PersistentLogConfig, Progress,
    RawLayer, Replica, Retention, SeqNo, What,
};

type Log = FileBasedLog<Blake3, Vec<u8>, RawLayer>;

/// A replica whose state is all that was decided, one behind the other.
#[derive(Debug, Default, PartialEq)]
struct Text {
    state: Vec<u8>,
    applied: u64,
}

impl Replica<Vec<u8>, RawLayer> for Text {
    fn install(&mut self, _: SeqNo, state: Vec<u8>) -> Result<(), String> {
        self.state = state;
        Ok(())
    }

    fn apply(&mut self, decisions: Vec<(SeqNo, Bytes)>) -> Result<(), String> {
        decisions.iter().for_each(|(_, decision)| self.state.extend_from_slice(decision));
        Ok(())
    }

    fn progress(&mut self, progress: Progress) {
        self.applied = progress.done;
    }
}

fn open(folder: &std::path::Path) -> Result<Log, Error> {
    let mut config = PersistentLogConfig::new(folder);
    config.chunk_size = 4 << 10;
    config.checkpoint = CheckpointPolicy { decisions: Some(1000), ..CheckpointPolicy::default() };
    // The log is compacted behind each checkpoint, but for the last hundred decisions: a peer that lags a little needs no state.
    config.retention = Retention { checkpoints: 1, decisions: Some(100), ..Retention::default() };
    Log::new(config)
}

fn main() -> Result<(), Error> {
    let folder = std::env::temp_dir().join(format!("duramen-recovery-{}", std::process::id()));
    let log = open(&folder.join("a"))?;
    let mut text = Vec::new();
    for seq_no in 1..=2500 {
        let decision = format!("decision {seq_no}; ");
        drop(log.store_decision(seq_no, &decision.clone().into())?); // Waited for below, all at once.
        text.extend_from_slice(decision.as_bytes());
        if log.checkpoint_due()? == Some(seq_no) {
            log.store_checkpoint(seq_no, &text)?;
        }
    }
    log.sync()?;
    drop(log);

    let log = open(&folder.join("a"))?;
    let mut replica = Text::default();
    assert_eq!(log.recover(&What::Everything, 64, &mut replica)?, Some(2500));
    assert_eq!((&replica.state, replica.applied), (&text, 500), "the checkpoint of 2000, and what is behind it");
    assert_eq!((log.last_checkpoint(), log.base()), (Some(2000), Some(1900)));

    // A replica without anything. What other replicas have to agree on is the manifest's digest.
    let other = open(&folder.join("b"))?;
    let (manifest, root) = (log.manifest(2000)?.encode(), log.manifest(2000)?.root());
    let install = other.begin_install(Manifest::decode(&manifest, root)?)?;
    let missing = install.missing()?;
    for (digest, _) in &missing {
        let chunk = log.chunk(*digest)?.ok_or(Error::Incomplete { missing: 1 })?;
        assert!(install.put(*digest, b"made up").is_err(), "whoever sends it need not be trusted");
        install.put(*digest, &chunk)?;
    }
    assert_eq!(install.finish()?.seq_no, 2000);
    for own in log.retrieve_decisions_after(Some(2000))? {
        let (seq_no, decision) = own?;
        drop(other.store_batch(Batch::new().decision(seq_no, &decision).proof(seq_no, &"votes".into()))?);
    }
    other.sync()?;
    let mut copy = Text::default();
    assert_eq!(other.recover(&What::Everything, 64, &mut copy)?, Some(2500));
    assert_eq!(copy, replica);
    println!("{} bytes of state came back, and over in {} chunks and 500 decisions", text.len(), missing.len());
    drop((log, other));
    _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
