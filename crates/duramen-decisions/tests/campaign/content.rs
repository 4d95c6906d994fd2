//! What is stored in the campaign: values and states whose bytes follow from numbers, and another replica's checkpoints. Owns the
//! bytes and their hashes.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::sync::OnceLock;

use bytes::Bytes;
use duramen_decisions::{Blake3, FileBasedLog, Manifest, PersistentLog as _, PersistentLogConfig, RawLayer, SeqNo};
use duramen_journal::disk::sim::{Generator, SimDisk};

use crate::model::Print;
use crate::script::{FOLDER, small};

/// The logs of the campaign.
pub type Files = FileBasedLog<Blake3, Vec<u8>, RawLayer>;

/// A hash of some bytes.
pub fn print(bytes: &[u8]) -> Print {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The bytes of a value: its kind, its number, and how many were made before it.
pub fn value(kind: &str, number: u64, made: u64, bytes: usize) -> Bytes {
    let mut own = format!("{kind} {number} {made} ").into_bytes();
    own.resize(own.len().max(bytes), b'a' + ((number * 7 + made) % 26) as u8);
    own.into()
}

/// The state after a decision: a part is always the same, a part is its own, and the last one follows every fourth.
pub fn state(seq_no: SeqNo, bytes: usize) -> Vec<u8> {
    let mut own = vec![0; bytes];
    let (same, rest) = own.split_at_mut(bytes / 2);
    let (mine, slow) = rest.split_at_mut(bytes / 5);
    Generator::new(1).fill(same);
    Generator::new(1000 + seq_no).fill(mine);
    Generator::new(5000 + seq_no / 4).fill(slow);
    own
}

/// A checkpoint that another replica has.
pub struct Donated {
    pub manifest: Manifest<Blake3>,
    pub chunks: Vec<(Blake3, Bytes)>,
    pub print: Print,
}

/// The decisions of which another replica has checkpoints.
pub const DONATED: [SeqNo; 3] = [9, 30, 60];
/// Bytes of their states.
pub const DONATED_BYTES: usize = 14_000;

/// Another replica's checkpoint of a decision.
pub fn donated(seq_no: SeqNo) -> &'static Donated {
    static DONOR: OnceLock<BTreeMap<SeqNo, Donated>> = OnceLock::new();
    &DONOR.get_or_init(|| DONATED.into_iter().map(|seq_no| (seq_no, donate(seq_no))).collect())[&seq_no]
}

fn donate(seq_no: SeqNo) -> Donated {
    let config = PersistentLogConfig { world: SimDisk::new(seq_no).world(), log_dir: FOLDER.into(), ..small() };
    let log = Files::new(config).expect("a donor opens");
    let state = state(seq_no, DONATED_BYTES);
    log.store_checkpoint(seq_no, &state).expect("a donor stores");
    let manifest = log.manifest(seq_no).expect("it is there");
    let mut chunks: Vec<(Blake3, Bytes)> = Vec::new();
    for (digest, _) in manifest.chunks() {
        chunks.push((digest, log.chunk(digest).expect("it is read").expect("it is there")));
    }
    Donated { manifest, chunks, print: print(&state) }
}
