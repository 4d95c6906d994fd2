//! A log that lost something, made whole from the other nodes before it takes part again.
//!
//! Three things may be lost, and each has its own answer:
//! - *A vote.* The node might vote twice in a term. So it asks **every** other node for the vote that it has stored: whoever was
//!   voted for has voted for itself first. The highest of them takes the place of what was lost. If that is the node's own, it
//!   led, or stood; it does not go on doing so.
//! - *Entries between others.* If another node has the entry behind them with the same id, all before it are the same on both
//!   (Raft's log matching): they are copied. If every other node was asked and none has it, it was never committed, and is cut off.
//! - *Entries at the end*, of which nothing tells. They may have been acknowledged. So the node neither votes nor stands for
//!   election until it has applied all that a leader, whom a majority confirmed after the node came back, knew to be committed.
//!
//! That this goes on is a durable mark in the log's user data: a node that dies on the way begins again.
//! After Alagappan et al., "Protocol-aware recovery for consensus-based storage" (FAST 2018).

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use duramen_raft::openraft_10::{LogIdOf, OpenRaft, VoteOf};
use duramen_raft::{Certainty, Error, Opened};
use openraft::Vote;
use openraft::storage::RaftLogStorage;
use openraft::vote::RaftLeaderId;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::types::{Kv, KvEntry, Store, Stored};

/// What a node is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Wanted {
    /// Entries of these indexes.
    pub indexes: Range<u64>,
}

/// What it has of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Had {
    /// All of them; `None`: it lacks one.
    pub entries: Option<Vec<KvEntry>>,
    /// It may have had them, and gave them up after a snapshot.
    pub purged: bool,
}

/// The mark of a log that is being made whole.
const CATCHING_UP: &[u8] = b"catching up";
/// Entries that are put back at once.
const PART: usize = 50;
const AGAIN: Duration = Duration::from_millis(50);

/// Whether a log is whole, as far as opening can tell.
pub fn is_whole(store: &Store, opened: &Opened<OpenRaft<Kv, Stored>>) -> bool {
    opened.losses.is_empty()
        && opened.votes_in_doubt.is_empty()
        && opened.uncovered.is_empty()
        && store.log().state().user_data.is_none_or(|mark| mark != CATCHING_UP)
}

/// Says durably whether the log is being made whole.
pub fn mark(store: &Store, catching_up: bool) -> anyhow::Result<()> {
    let mark = if catching_up { CATCHING_UP } else { b"" };
    Ok(store.log().writer().save_user_data(&Bytes::from_static(mark))?.wait_durable()?)
}

/// A node that led does not go on leading when it is started again: it has to be elected, and to commit an entry of its own. openraft
/// would let it go on, with the commit index that was noted last. That note may lag behind what clients were told, and a read
/// would be answered from there.
///
/// # Errors
/// The vote cannot be saved.
pub async fn lead_no_longer(mut store: Store, id: u64) -> anyhow::Result<()> {
    let own = store.log().state().vote.map(|vote| vote.0);
    if let Some(vote) = own.filter(|vote| vote.committed && *vote.leader_id.node_id() == id) {
        store.save_vote(&Vote::new(vote.leader_id.term() + 1, id)).await?;
    }
    Ok(())
}

/// Looks at all entries, and makes whole what is not. Returns whether the node has to catch up before it votes.
///
/// # Errors
/// The log lost what no other node can give back.
pub async fn repair(
    mut store: Store,
    opened: &Opened<OpenRaft<Kv, Stored>>,
    id: u64,
    others: &BTreeMap<u64, String>,
) -> anyhow::Result<bool> {
    let bad = unreadable(&store)?;
    if is_whole(&store, opened) && bad.is_empty() {
        return Ok(false);
    }
    ensure!(opened.uncovered.is_empty(), "a snapshot is lost, and there is no copying one yet");
    eprintln!("the log has lost something: entries {bad:?}; {:?}; votes {:?}", opened.losses, opened.votes_in_doubt);
    mark(&store, true)?;
    let client = Client::new(others.clone());
    let mut highest: Option<VoteOf<Kv>> = None;
    for &node in others.keys() {
        let stored: Option<VoteOf<Kv>> = ask(&client, node, "/raft/stored-vote", &()).await;
        if stored > highest {
            highest = stored;
        }
    }
    store.log().writer().accept_lost_vote();
    let own = store.log().state().vote.map(|vote| vote.0);
    let mut settled = if highest > own { highest } else { own };
    if let Some(vote) = settled.filter(|vote| *vote.leader_id.node_id() == id) {
        // It led, and openraft would let it go on: it might give an index a second time whose entry it has lost.
        settled = Some(Vote::new(vote.leader_id.term() + 1, id));
    }
    if let Some(vote) = settled.filter(|_| settled > own) {
        store.save_vote(&vote).await?;
    }
    // Others may have stood in the place of what is left: what is not known to be committed goes, and comes again.
    let doubtful = opened.losses.iter().filter(|loss| loss.certainty == Certainty::Possible && loss.last.is_some());
    if let Some(first) = doubtful.map(|loss| loss.first).min() {
        eprintln!("entries from {first} on are cut off: others may have stood there");
        cut_off(&store, first)?;
    }
    let state = store.log().state();
    let next = store.log().reader().next_index().unwrap_or(0);
    for range in bad.into_iter().filter(|range| range.start < next) {
        // A damaged entry's id may be known all the same; if not, the entry behind is there: the range would reach further else.
        let reader = store.log().reader();
        let (witness, indexes) = match reader.log_id(range.end - 1) {
            Ok(id) => (id, range.clone()),
            Err(_) => (reader.log_id(range.end)?, range.start..range.end + 1),
        };
        if !refill(&store, &client, others, indexes, witness).await? {
            eprintln!("entries from {} on are cut off: no other node has {witness}", range.start);
            cut_off(&store, range.start)?;
        }
    }
    // The end may be lost, and the note not that it was committed.
    if let Some(committed) = state.committed.filter(|id| id.index >= next) {
        let found = refill(&store, &client, others, next..committed.index + 1, committed).await?;
        ensure!(found, "entries up to {committed} were committed, and no other node has them");
    }
    Ok(true)
}

/// The entries that are lost, or cannot be read.
fn unreadable(store: &Store) -> anyhow::Result<Vec<Range<u64>>> {
    let reader = store.log().reader();
    let (first, next) = (reader.first_index().unwrap_or(0), reader.next_index().unwrap_or(0));
    let mut bad: Vec<Range<u64>> = Vec::new();
    for index in first..next {
        match reader.entry(index) {
            Ok(_) => {}
            Err(Error::Lost { .. } | Error::Wal(_)) => match bad.last_mut().filter(|range| range.end == index) {
                Some(range) => range.end += 1,
                None => bad.push(index..index + 1),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bad)
}

/// Asks until there is an answer.
async fn ask<Q: Serialize, A: serde::de::DeserializeOwned>(client: &Client, node: u64, path: &str, request: &Q) -> A {
    loop {
        match client.call(node, path, request).await {
            Ok(answer) => return answer,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Copies entries from a node whose last one of them is this one: then they are the same here. Returns whether there is one.
async fn refill(
    store: &Store,
    client: &Client,
    others: &BTreeMap<u64, String>,
    indexes: Range<u64>,
    witness: LogIdOf<Kv>,
) -> anyhow::Result<bool> {
    let mut purged = false;
    for &node in others.keys() {
        let had: Had = ask(client, node, "/raft/entries", &Wanted { indexes: indexes.clone() }).await;
        purged |= had.purged;
        if let Some(entries) = had.entries
            && entries.last().is_some_and(|entry| entry.log_id == witness)
        {
            eprintln!("entries {indexes:?} are copied from node {node}");
            // A batch takes half a segment at most.
            for part in entries.chunks(PART) {
                store.refill(part.iter().cloned())?;
            }
            return Ok(true);
        }
    }
    let committed = store.log().state().committed.map_or(0, |id| id.index);
    ensure!(!purged && committed < indexes.start, "entries {indexes:?} are lost, and no other node has them");
    Ok(false)
}

fn cut_off(store: &Store, first: u64) -> anyhow::Result<()> {
    let kept = first.checked_sub(1).map(|last| store.log().reader().log_id(last)).transpose()?;
    Ok(store.log().writer().truncate_after(kept.as_ref())?.wait_durable()?)
}
