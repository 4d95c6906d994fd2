//! The way to the other nodes: JSON over HTTP.

use std::future::Future;
use std::io::Cursor;
use std::time::Duration;

use openraft::alias::{SnapshotMetaOf, SnapshotOf, VoteOf};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::Kv;

/// A snapshot on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sent {
    /// The leader's vote.
    pub vote: VoteOf<Kv>,
    /// What it covers.
    pub meta: SnapshotMetaOf<Kv>,
    /// The state machine.
    pub data: Vec<u8>,
}

/// Makes connections.
#[derive(Clone, Default)]
pub struct Network {
    client: reqwest::Client,
}

/// One connection.
pub struct Connection {
    client: reqwest::Client,
    address: String,
}

impl RaftNetworkFactory<Kv> for Network {
    type Network = Connection;

    async fn new_client(&mut self, _target: u64, node: &BasicNode) -> Connection {
        Connection { client: self.client.clone(), address: node.addr.clone() }
    }
}

impl Connection {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        request: &Q,
        within: Duration,
    ) -> Result<A, RPCError<Kv>> {
        let url = format!("http://{}{path}", self.address);
        let sent = self.client.post(url).json(request).timeout(within).send().await;
        let answer = sent.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))?;
        let answer = answer.error_for_status().map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
        answer.json().await.map_err(|error| RPCError::Network(NetworkError::new(&error)))
    }
}

impl RaftNetworkV2<Kv> for Connection {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Kv>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Kv>, RPCError<Kv>> {
        self.call("/raft/append", &rpc, option.hard_ttl()).await
    }

    async fn vote(&mut self, rpc: VoteRequest<Kv>, option: RPCOption) -> Result<VoteResponse<Kv>, RPCError<Kv>> {
        self.call("/raft/vote", &rpc, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Kv>,
        snapshot: SnapshotOf<Kv, Cursor<Vec<u8>>>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Kv>, StreamingError<Kv>> {
        let sent = Sent { vote, meta: snapshot.meta, data: snapshot.snapshot.into_inner() };
        Ok(self.call("/raft/snapshot", &sent, option.hard_ttl()).await?)
    }
}
