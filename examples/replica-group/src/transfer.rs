//! A checkpoint from other replicas: its manifest from any of them, its chunks from all at once. Owns the threads that fetch.

use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, bail};
use duramen_decisions::{Blake3, Digest as _, Manifest, SeqNo};

use crate::frame::Visit;
use crate::types::{Hash, Log, Wire};

/// Fetches and installs the checkpoint of this digest, on which f + 1 replicas agreed: who sends what does not matter, as a
/// manifest is checked against the digest, and a chunk against the manifest. What was fetched before a crash is not fetched again.
pub fn install(log: &Log, peers: &[String], seq_no: SeqNo, root: Hash) -> anyhow::Result<SeqNo> {
    let root = Blake3::from_bytes(root);
    let manifest = peers.iter().find_map(|peer| ask_manifest(peer, seq_no, root).ok());
    let install = log.begin_install(manifest.context("no peer has the manifest")?)?;
    let missing = install.missing()?;
    println!("fetching {} chunks of the checkpoint of {seq_no}", missing.len());
    let wanted = Mutex::new(missing);
    let next = || wanted.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let fetch_from = |peer: &String| -> anyhow::Result<()> {
        let mut visit = Visit::new(peer)?;
        while let Some((digest, length)) = next() {
            let chunk = visit.ask_bytes(&Wire::AskChunk(digest.bytes())).ok().flatten();
            let taken = chunk.is_some_and(|chunk| install.put(digest, &chunk).is_ok());
            if !taken {
                wanted.lock().unwrap_or_else(PoisonError::into_inner).push((digest, length));
                bail!("{peer} does not give chunk {digest}");
            }
        }
        Ok(())
    };
    thread::scope(|scope| peers.iter().for_each(|peer| drop(scope.spawn(|| fetch_from(peer)))));
    // Refused if chunks are missing; then another checkpoint may be newer by now.
    Ok(install.finish()?.seq_no)
}

fn ask_manifest(peer: &str, seq_no: SeqNo, root: Blake3) -> anyhow::Result<Manifest<Blake3>> {
    let bytes = Visit::new(peer)?.ask_bytes(&Wire::AskManifest(seq_no))?.context("it has it no more")?;
    Ok(Manifest::decode(&bytes, root)?)
}
