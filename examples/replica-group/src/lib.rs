//! A key-value service of four replicas that agree in the manner of PBFT (Castro and Liskov, 1999): pre-prepare, prepare, commit,
//! and a change of view when the primary is silent. Their decisions, votes, checkpoints and membership lie in a
//! [`duramen_decisions`] log; keys and values in memory, brought back from the newest checkpoint and the decisions behind it.
//!
//! The path of a put: [`client`] -> every replica -> [`protocol`] (pure) -> [`replica`] stores each vote before it leaves, and
//! the decision with its proof and safety record in one batch -> the gate -> [`executor`] -> f + 1 equal answers.
//!
//! ```text
//! cargo run -- torture --seconds 20 --seed 1
//! cargo run -- replica --id 0 --dir /tmp/group/0 --peers 127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003 --new-group
//! cargo run -- client --id 1 --peers 127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003 --puts 100
//! cargo run -- check --peers 127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003
//! ```
//!
//! A replica that finds no safety record, or a damaged log in which one may be lost, does not vote until all is decided that it
//! may have voted on: it counts as the faulty one meanwhile. `--new-group` says that there is nothing to remember.
//!
//! What it leaves out, so that it stays an example: messages are not signed. A connection says which replica it is of, and is
//! believed; a proof says who voted, and is believed when f + 1 replicas bring the same decision. One instance is agreed on at a
//! time. The membership is stored and checked, and does not change.

pub mod check;
pub mod choice;
pub mod client;
pub mod executor;
pub mod frame;
pub mod instance;
pub mod network;
pub mod protocol;
pub mod replica;
pub mod state;
pub mod torture;
pub mod transfer;
pub mod types;
