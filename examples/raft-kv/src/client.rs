//! A client that finds the leader by itself. It never asks twice for a write of which nobody knows whether it was done.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::server::Reply;
use crate::types::{Answer, Command};

const WITHIN: Duration = Duration::from_millis(1500);
const CONNECT_WITHIN: Duration = Duration::from_millis(200);

/// Knows the nodes.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    nodes: BTreeMap<u64, String>,
}

impl Client {
    /// A client of these nodes.
    pub fn new(nodes: BTreeMap<u64, String>) -> Client {
        let http = reqwest::Client::builder().connect_timeout(CONNECT_WITHIN).timeout(WITHIN).build();
        Client { http: http.expect("plain settings"), nodes }
    }

    pub(crate) async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        node: u64,
        path: &str,
        request: &Q,
    ) -> reqwest::Result<A> {
        let url = format!("http://{}{path}", self.nodes[&node]);
        self.http.post(url).json(request).send().await?.error_for_status()?.json().await
    }

    /// The node that most others take for the leader.
    pub async fn leader(&self) -> Option<u64> {
        let mut said: BTreeMap<u64, usize> = BTreeMap::new();
        for address in self.nodes.values() {
            let asked = self.http.get(format!("http://{address}/status")).timeout(CONNECT_WITHIN).send().await;
            if let Ok(answer) = asked
                && let Ok(Some(leader)) = answer.json::<Option<u64>>().await
            {
                *said.entry(leader).or_default() += 1;
            }
        }
        said.into_iter().max_by_key(|(_, count)| *count).map(|(leader, _)| leader)
    }

    /// Whether a node lost something and has not caught up yet; `None`: it does not answer.
    pub async fn is_catching_up(&self, node: u64) -> Option<bool> {
        let url = format!("http://{}/catching-up", self.nodes[&node]);
        self.http.get(url).timeout(CONNECT_WITHIN).send().await.ok()?.json().await.ok()
    }

    /// Makes a cluster of them.
    ///
    /// # Errors
    /// A node does not answer, or they are one already.
    pub async fn init(&self) -> anyhow::Result<()> {
        let first = self.nodes.keys().next().ok_or_else(|| anyhow::anyhow!("no nodes"))?;
        Ok(self.call(*first, "/init", &self.nodes).await?)
    }

    /// Asks for a write, once.
    ///
    /// # Errors
    /// Nobody knows whether it was done, or will be; [`NotDone`]: it was not, and will not be.
    pub async fn write(&self, command: &Command) -> anyhow::Result<Answer> {
        let Some(leader) = self.leader().await else { anyhow::bail!(NotDone) };
        match self.call(leader, "/write", command).await {
            Ok(Reply::Ok(answer)) => Ok(answer),
            Ok(Reply::Elsewhere(_)) => anyhow::bail!(NotDone),
            Ok(Reply::Unknown(why)) => anyhow::bail!(why),
            Err(error) if error.is_connect() => anyhow::bail!(NotDone),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a key: what was written before the call is seen.
    ///
    /// # Errors
    /// There is no leader now.
    pub async fn read(&self, key: &str) -> anyhow::Result<Option<String>> {
        let Some(leader) = self.leader().await else { anyhow::bail!(NotDone) };
        match self.call(leader, "/read", &key).await? {
            Reply::Ok(value) => Ok(value),
            Reply::Elsewhere(_) | Reply::Unknown(_) => anyhow::bail!(NotDone),
        }
    }
}

/// It was not done, and will not be.
#[derive(Debug)]
pub struct NotDone;

impl std::fmt::Display for NotDone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there is no leader now: ask again")
    }
}

impl std::error::Error for NotDone {}
