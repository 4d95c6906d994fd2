//! A client: puts one key after the other, each when the one before it was acknowledged by f + 1 replicas. Owns what counts as
//! acknowledged.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use duramen_decisions::SeqNo;

use crate::frame::{framed, receive};
use crate::network::Link;
use crate::types::{Command, ReplicaId, WITNESSES, Who, Wire};

/// How long until a request is sent again.
const AGAIN: Duration = Duration::from_millis(300);

/// A client's connections.
#[derive(Debug)]
pub struct Client {
    id: u64,
    number: u64,
    links: Vec<Link>,
    answers: Receiver<(ReplicaId, u64, SeqNo)>,
}

impl Client {
    /// A client of its own number, which no other one ever had.
    pub fn new(id: u64, peers: &[String]) -> Client {
        let (sender, answers) = channel();
        let link = |(replica, address): (ReplicaId, &String)| {
            let sender: Sender<(ReplicaId, u64, SeqNo)> = sender.clone();
            Link::new(address.clone(), Who::Client(id), move |mut stream| {
                let sender = sender.clone();
                thread::spawn(move || {
                    while let Ok(Wire::Done(number, seq_no)) = receive(&mut stream) {
                        _ = sender.send((replica, number, seq_no));
                    }
                });
            })
        };
        Client { id, number: 0, links: (0..).zip(peers).map(link).collect(), answers }
    }

    /// Sets a key; returns the decision that did it, when f + 1 replicas say so. As long as that takes.
    pub fn put(&mut self, key: String, value: String) -> SeqNo {
        self.number += 1;
        let command = Command { client: self.id, number: self.number, key, value };
        let frame: Arc<[u8]> = framed(&Wire::Put(command)).into();
        let mut said: BTreeMap<ReplicaId, SeqNo> = BTreeMap::new();
        loop {
            self.links.iter().for_each(|link| link.send(&frame));
            let sent = Instant::now();
            loop {
                match self.answers.recv_timeout(AGAIN.saturating_sub(sent.elapsed())) {
                    Ok((replica, number, seq_no)) if number == self.number => {
                        said.insert(replica, seq_no);
                        if said.values().filter(|own| **own == seq_no).count() >= WITNESSES {
                            return seq_no;
                        }
                    }
                    Ok(_) => {}
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
        }
    }
}

/// What a client puts under its n-th key.
pub fn value_of(id: u64, n: u64) -> String {
    format!("{}-{n}-{}", id, "v".repeat(40 + (n as usize * 7 + id as usize) % 80))
}

/// The client's n-th key.
pub fn key_of(id: u64, n: u64) -> String {
    format!("client-{id}/{n:08}")
}

/// Puts, and prints a line for each acknowledged put: key, value, decision.
///
/// # Errors
/// Nobody reads what it prints.
pub fn run(id: u64, peers: &[String], puts: Option<u64>) -> anyhow::Result<()> {
    let mut client = Client::new(id, peers);
    for n in 1..=puts.unwrap_or(u64::MAX) {
        let (key, value) = (key_of(id, n), value_of(id, n));
        let seq_no = client.put(key.clone(), value.clone());
        writeln!(std::io::stdout(), "{key} {value} {seq_no}")?;
    }
    Ok(())
}
