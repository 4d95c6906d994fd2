//! One node: its log, its state machine, its HTTP routes.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use duramen_journal::OnDamage;
use duramen_raft::openraft_10::VoteOf;
use duramen_raft::{Config, FlushPolicy, PurgeOnSnapshot, Strategy};
use openraft::RaftLogReader as _;
use openraft::alias::SnapshotOf;
use openraft::raft::linearizable_read::LinearizerOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{BasicNode, Raft, ReadPolicy, SnapshotPolicy};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::machine::Machine;
use crate::network::{Network, Sent};
use crate::repair::{Had, Wanted, is_whole, lead_no_longer, mark, repair};
use crate::types::{Answer, Command, Kv, Store};

const AGAIN: Duration = Duration::from_millis(50);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its number.
    pub id: u64,
    /// Its folder.
    pub dir: PathBuf,
    /// Where it listens: an address of this machine.
    pub listen: String,
    /// Whether entries live in memory, with `sync_on_commit`.
    pub mem_first: bool,
    /// A snapshot is taken after so many entries.
    pub snapshot_every: u64,
    /// Bytes of a segment of the log.
    pub segment_bytes: u32,
    /// All nodes: a log that lost something is made whole from the others. Empty: such a log is refused.
    pub repair_from: BTreeMap<u64, String>,
}

impl Settings {
    /// The log's settings.
    pub fn log(&self) -> Config {
        let mut base = Config {
            // openraft says what is purged.
            purge_on_snapshot: PurgeOnSnapshot::Never,
            chunk_max_size: self.segment_bytes,
            ..Config::new(&self.dir)
        };
        if !self.repair_from.is_empty() {
            base.journal.on_damage = OnDamage::SetAside;
        }
        if !self.mem_first {
            return base;
        }
        Config { strategy: Strategy::MemFirst, flush: FlushPolicy::Adaptive, sync_on_commit: true, ..base }
    }
}

/// What a client is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply<V> {
    /// It is done, and durable on a majority.
    Ok(V),
    /// It was not done, and will not be: ask this node.
    Elsewhere(Option<u64>),
    /// Nobody knows whether it was done, or will be.
    Unknown(String),
}

#[derive(Clone)]
struct Node {
    id: u64,
    raft: Raft<Kv, Machine>,
    machine: Machine,
    store: Store,
    /// It may have acknowledged what it does not have: it does not vote.
    catching_up: Arc<AtomicBool>,
}

type Failed = (StatusCode, String);

fn failed(error: impl std::fmt::Display) -> Failed {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

async fn append(
    State(node): State<Node>,
    Json(rpc): Json<AppendEntriesRequest<Kv>>,
) -> Result<Json<AppendEntriesResponse<Kv>>, Failed> {
    node.raft.append_entries(rpc).await.map(Json).map_err(failed)
}

async fn vote(State(node): State<Node>, Json(rpc): Json<VoteRequest<Kv>>) -> Result<Json<VoteResponse<Kv>>, Failed> {
    if node.catching_up.load(Ordering::SeqCst) {
        return Err(failed("this node is catching up"));
    }
    node.raft.vote(rpc).await.map(Json).map_err(failed)
}

async fn snapshot(State(node): State<Node>, Json(sent): Json<Sent>) -> Result<Json<SnapshotResponse<Kv>>, Failed> {
    let snapshot = SnapshotOf::<Kv, Cursor<Vec<u8>>> { meta: sent.meta, snapshot: Cursor::new(sent.data) };
    node.raft.install_full_snapshot(sent.vote, snapshot).await.map(Json).map_err(failed)
}

async fn init(State(node): State<Node>, Json(members): Json<BTreeMap<u64, String>>) -> Result<Json<()>, Failed> {
    let members: BTreeMap<u64, BasicNode> =
        members.into_iter().map(|(id, address)| (id, BasicNode::new(address))).collect();
    node.raft.initialize(members).await.map(Json).map_err(failed)
}

async fn status(State(node): State<Node>) -> Json<Option<u64>> {
    Json(node.raft.current_leader().await)
}

async fn stored_vote(State(node): State<Node>) -> Json<Option<VoteOf<Kv>>> {
    Json(node.store.log().state().vote.map(|vote| vote.0))
}

async fn entries(State(node): State<Node>, Json(wanted): Json<Wanted>) -> Json<Had> {
    let first = node.store.log().reader().first_index().unwrap_or(0);
    let entries = node.store.clone().try_get_log_entries(wanted.indexes.clone()).await.ok();
    let whole = entries.filter(|entries| entries.len() as u64 == wanted.indexes.end - wanted.indexes.start);
    Json(Had { entries: whole, purged: wanted.indexes.start < first })
}

/// What is committed, says a leader that a majority has just confirmed.
async fn committed(State(node): State<Node>) -> Result<Json<u64>, Failed> {
    let confirmed = node.raft.ensure_linearizable(LinearizerOption::from(ReadPolicy::ReadIndex)).await;
    confirmed.map_err(failed)?;
    let applied = node.machine.applied().ok_or_else(|| failed("nothing is committed yet"))?;
    Ok(Json(applied.index))
}

async fn is_catching_up(State(node): State<Node>) -> Json<bool> {
    Json(node.catching_up.load(Ordering::SeqCst))
}

async fn write(State(node): State<Node>, Json(command): Json<Command>) -> Json<Reply<Answer>> {
    let leader = node.raft.current_leader().await;
    if leader != Some(node.id) {
        return Json(Reply::Elsewhere(leader));
    }
    Json(match node.raft.client_write(command).await {
        Ok(written) => Reply::Ok(written.data),
        // A leader that steps down says the same, of entries that may yet be committed: so it is not sure.
        Err(error) => Reply::Unknown(error.to_string()),
    })
}

async fn read(State(node): State<Node>, Json(key): Json<String>) -> Json<Reply<Option<String>>> {
    match node.raft.ensure_linearizable(LinearizerOption::from(ReadPolicy::ReadIndex)).await {
        Ok(_) => Json(Reply::Ok(node.machine.get(&key))),
        Err(_) => Json(Reply::Elsewhere(node.raft.current_leader().await)),
    }
}

/// Waits until the node has all that was committed when it came back; then it is as good as the others.
async fn catch_up(node: Node, others: BTreeMap<u64, String>) -> anyhow::Result<()> {
    let client = Client::new(others.clone());
    let committed: u64 = 'known: loop {
        for &other in others.keys() {
            if let Ok(committed) = client.call(other, "/raft/committed", &()).await {
                break 'known committed;
            }
        }
        tokio::time::sleep(AGAIN).await;
    };
    while node.machine.applied().is_none_or(|applied| applied.index < committed) {
        tokio::time::sleep(AGAIN).await;
    }
    mark(&node.store, false)?;
    node.catching_up.store(false, Ordering::SeqCst);
    node.raft.runtime_config().elect(true);
    eprintln!("the log is whole: all that was committed, up to {committed}, is here");
    Ok(())
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// The log cannot be opened, has lost something, or the address is taken.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let (store, opened) = Store::open(settings.log()).context("cannot open the log")?;
    let others: BTreeMap<u64, String> =
        settings.repair_from.iter().filter(|(id, _)| **id != settings.id).map(|(&id, at)| (id, at.clone())).collect();
    let catching_up = match others.is_empty() {
        true => {
            anyhow::ensure!(is_whole(&store, &opened), "the log has lost something, see --repair-from: {opened:?}");
            false
        }
        false => repair(store.clone(), &opened, settings.id, &others).await?,
    };
    lead_no_longer(store.clone(), settings.id).await?;
    let config = openraft::Config {
        heartbeat_interval: 50,
        election_timeout_min: 200,
        election_timeout_max: 400,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_every),
        max_in_snapshot_log_to_keep: 100,
        enable_elect: !catching_up,
        // A follower may have lost its end, and says so.
        allow_log_reversion: Some(!others.is_empty()),
        ..Default::default()
    };
    let config = Arc::new(config.validate().context("openraft's settings")?);
    let machine = Machine::load(store.clone()).context("cannot load a snapshot")?;
    let raft = Raft::new(settings.id, config, Network::default(), store.clone(), machine.clone()).await?;
    let catching_up = Arc::new(AtomicBool::new(catching_up));
    let node = Node { id: settings.id, raft: raft.clone(), machine, store, catching_up };
    if node.catching_up.load(Ordering::SeqCst) {
        tokio::spawn(catch_up(node.clone(), others));
    }
    let routes = Router::new()
        .route("/raft/append", post(append))
        .route("/raft/vote", post(vote))
        .route("/raft/snapshot", post(snapshot))
        .route("/raft/stored-vote", post(stored_vote))
        .route("/raft/entries", post(entries))
        .route("/raft/committed", post(committed))
        .route("/catching-up", get(is_catching_up))
        .route("/init", post(init))
        .route("/status", get(status))
        .route("/write", post(write))
        .route("/read", post(read))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(node);
    let listener = tokio::net::TcpListener::bind(&settings.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", settings.listen))?;
    println!("node {} listens on {}", settings.id, settings.listen);
    axum::serve(listener, routes).with_graceful_shutdown(stopped()).await?;
    raft.shutdown().await?;
    Ok(())
}

async fn stopped() {
    // Without a handler the process just ends, which the log survives.
    let _ = tokio::signal::ctrl_c().await;
}
