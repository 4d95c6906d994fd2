//! `raft-kv`: one node of the service, and a client for the shell.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use raft_kv::client::Client;
use raft_kv::server::{Settings, serve};
use raft_kv::types::Command as Write;

#[derive(Parser)]
#[command(about = "Keys and values on three nodes, which may be killed at any time")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs a node.
    Serve {
        /// Its number.
        #[arg(long)]
        id: u64,
        /// Its folder.
        #[arg(long)]
        dir: PathBuf,
        /// An address of this machine.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: String,
        /// Entries live in memory; a commit is durable when it returns.
        #[arg(long)]
        mem_first: bool,
        /// Takes a snapshot after so many entries.
        #[arg(long, default_value_t = 1000)]
        snapshot_every: u64,
        /// Bytes of a segment of the log.
        #[arg(long, default_value_t = 1 << 20)]
        segment_bytes: u32,
        /// All nodes, as with --nodes: makes a log that lost something whole from the others.
        #[arg(long, value_delimiter = ',', value_parser = node)]
        repair_from: Vec<(u64, String)>,
    },
    /// Makes a cluster of nodes that run.
    Init(Nodes),
    /// Sets a key.
    Put {
        #[command(flatten)]
        nodes: Nodes,
        key: String,
        value: String,
    },
    /// Shows a key's value; of a key that was never set, an empty line.
    Get {
        #[command(flatten)]
        nodes: Nodes,
        key: String,
    },
}

#[derive(Args)]
struct Nodes {
    /// All nodes: `1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003`.
    #[arg(long, env = "RAFT_KV_NODES", value_delimiter = ',', required = true, value_parser = node)]
    nodes: Vec<(u64, String)>,
}

impl Nodes {
    fn client(self) -> Client {
        Client::new(self.nodes.into_iter().collect())
    }
}

fn node(word: &str) -> Result<(u64, String), String> {
    let pair = word.split_once('=').and_then(|(id, address)| Some((id.parse().ok()?, address.to_string())));
    pair.ok_or_else(|| "say NUMBER=ADDRESS".to_string())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().verb {
        Verb::Serve { id, dir, listen, mem_first, snapshot_every, segment_bytes, repair_from } => {
            let repair_from = repair_from.into_iter().collect();
            serve(Settings { id, dir, listen, mem_first, snapshot_every, segment_bytes, repair_from }).await
        }
        Verb::Init(nodes) => nodes.client().init().await,
        Verb::Put { nodes, key, value } => {
            nodes.client().write(&Write::Put { key, value }).await?;
            Ok(())
        }
        Verb::Get { nodes, key } => {
            println!("{}", nodes.client().read(&key).await?.unwrap_or_default());
            Ok(())
        }
    }
}
