//! The peers: one module each, set up the way that serves them best as far as their own documentation tells.
//!
//! What "durable" means is fixed by the trait, so each adapter must wait for the peer's own sync; how it does that is
//! said at the top of its module. No peer is given a policy that acknowledges earlier.

mod fjall;
mod okaywal;
mod raft_engine;
mod raft_log;
mod redb;

use crate::engine::System;
use crate::pool::{POOL_RECORDS, Pool};

/// All peers, in the order of the tables.
pub fn all() -> Vec<Box<dyn System>> {
    vec![
        Box::new(raft_engine::RaftEngineSystem),
        Box::new(raft_log::RaftLogSystem),
        Box::new(okaywal::OkayWalSystem),
        Box::new(fjall::FjallSystem),
        Box::new(redb::RedbSystem),
    ]
}

/// Every record of a pool that an appender takes in turns.
fn turn(pool: &Pool, sent: u64) -> &[u8] {
    pool.record(sent % POOL_RECORDS as u64)
}
