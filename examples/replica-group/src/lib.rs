//! A key-value service of four replicas that agree in the manner of PBFT (Castro and Liskov, 1999): pre-prepare, prepare, commit,
//! and a change of view when the primary is silent. Their decisions, votes, checkpoints and membership lie in a
//! [`duramen_decisions`] log; keys and values in memory, brought back from the newest checkpoint and the decisions behind it.
//!
//! The path of a put: [`client`] -> every replica -> [`protocol`] (pure) -> [`replica`] stores each vote before it leaves, and
//! the decision with its proof and safety record in one batch -> the gate -> [`executor`] -> f + 1 equal answers.
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
