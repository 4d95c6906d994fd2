//! One node: its log, its state machine, its HTTP routes.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use duramen_raft::{Config, FlushPolicy, PurgeOnSnapshot, Strategy};
use openraft::alias::SnapshotOf;
use openraft::raft::linearizable_read::LinearizerOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{BasicNode, Raft, ReadPolicy, SnapshotPolicy};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::network::{Network, Sent};
use crate::types::{Answer, Command, Kv, Store};

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
}

impl Settings {
    /// The log's settings.
    pub fn log(&self) -> Config {
        let base = Config {
            // openraft says what is purged.
            purge_on_snapshot: PurgeOnSnapshot::Never,
            chunk_max_size: 1 << 20,
            ..Config::new(&self.dir)
        };
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

/// Runs a node until it is told to stop.
///
/// # Errors
/// The log cannot be opened, has lost something, or the address is taken.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let (store, opened) = Store::open(settings.log()).context("cannot open the log")?;
    anyhow::ensure!(
        opened.losses.is_empty() && opened.votes_in_doubt.is_empty() && opened.uncovered.is_empty(),
        "the log has lost something: {opened:?}"
    );
    let config = openraft::Config {
        heartbeat_interval: 50,
        election_timeout_min: 200,
        election_timeout_max: 400,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_every),
        max_in_snapshot_log_to_keep: 100,
        ..Default::default()
    };
    let config = Arc::new(config.validate().context("openraft's settings")?);
    let machine = Machine::load(store.clone()).context("cannot load a snapshot")?;
    let raft = Raft::new(settings.id, config, Network::default(), store, machine.clone()).await?;
    let routes = Router::new()
        .route("/raft/append", post(append))
        .route("/raft/vote", post(vote))
        .route("/raft/snapshot", post(snapshot))
        .route("/init", post(init))
        .route("/status", get(status))
        .route("/write", post(write))
        .route("/read", post(read))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(Node { id: settings.id, raft: raft.clone(), machine });
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
