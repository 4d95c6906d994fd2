//! What the tests on the simulated disk share: small segments, and entries that tell their index. Owns no test.

use std::time::Duration;

use duramen_journal::disk::SyncMethod;
use duramen_journal::disk::sim::SimDisk;
use duramen_journal::{Options, World};
use duramen_raft::{Config, Entry, Error, Opened, Plain, RaftLog, RaftLogs, TermIndex, TermVote};

/// Where the logs lie.
pub const FOLDER: &str = "/raft";

/// The smallest segments, no probe, no cache below the log's own.
pub fn small() -> Config {
    let journal = Options {
        sync_method: Some(SyncMethod::DataSync),
        tail_cache_bytes: 0,
        read_cache_bytes: 64 << 10,
        spares_max: 1,
        idle_mark: Some(Duration::from_secs(10)),
        ..Options::default()
    };
    Config { chunk_max_size: 64 << 10, read_buffer_size: 64 << 10, journal, ..Config::new(FOLDER) }
}

pub fn open(disk: &SimDisk, config: &Config) -> (RaftLogs<Plain>, Opened<Plain>) {
    try_open(disk.world(), config).expect("opens")
}

pub fn try_open(world: World, config: &Config) -> Result<(RaftLogs<Plain>, Opened<Plain>), Error<Plain>> {
    RaftLogs::open_with(config.clone(), world)
}

pub fn id(term: u64, index: u64) -> TermIndex {
    TermIndex::new(term, index)
}

pub fn vote(term: u64, node: u64) -> TermVote {
    TermVote { term, node: Some(node) }
}

/// An entry whose payload tells its term and index, of this length or a little more.
pub fn entry(term: u64, index: u64, bytes: usize) -> Entry<Plain> {
    let mut payload = format!("entry {term}-{index} ").into_bytes();
    payload.resize(payload.len().max(bytes), b'a' + (index % 26) as u8);
    Entry::new(id(term, index), payload.into())
}

/// Appends entries of one term, durable when this returns.
pub fn fill(log: &RaftLog<Plain>, term: u64, indexes: std::ops::Range<u64>, bytes: usize) {
    for index in indexes {
        let receipt = log.writer().append(vec![entry(term, index, bytes)]).expect("appends");
        receipt.wait_durable().expect("durable");
    }
}

/// The entries in the log are exactly these, by term, and those that [`entry`] makes.
pub fn check(log: &RaftLog<Plain>, expected: &[(u64, std::ops::Range<u64>)], bytes: usize) {
    let wanted: Vec<Entry<Plain>> = expected
        .iter()
        .flat_map(|(term, indexes)| indexes.clone().map(move |index| entry(*term, index, bytes)))
        .collect();
    let found: Vec<Entry<Plain>> = log.reader().stream(..).expect("a range").collect::<Result<_, _>>().expect("reads");
    assert_eq!(found.len(), wanted.len());
    assert_eq!(found, wanted);
    for entry in &wanted {
        assert_eq!(log.reader().log_id(entry.id.index).expect("is there"), entry.id);
    }
}
