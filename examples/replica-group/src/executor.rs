//! Execution: takes what passes the gate, applies it, answers clients, writes checkpoints. Owns the state and its thread.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use duramen_decisions::{Error, Gate, PersistentLog as _, SeqNo};

use crate::state::KeyValues;
use crate::types::{Decision, Log, Wire};

/// What the gate holds.
#[derive(Debug)]
pub enum Work {
    /// A decision.
    Apply(SeqNo, Decision),
    /// A state that came from other replicas, in place of what is here.
    Replace(SeqNo, KeyValues),
}

/// The state, and up to which decision it has all.
#[derive(Debug, Default)]
pub struct Executed {
    /// The last decision in it.
    pub seq_no: SeqNo,
    /// The keys and values.
    pub state: KeyValues,
}

/// What execution shares with the threads that answer.
#[derive(Debug, Default)]
pub struct Service {
    executed: Mutex<Executed>,
    /// Where each client's answers go.
    clients: Mutex<BTreeMap<u64, Sender<Wire>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// A service whose state was recovered.
    pub fn new(executed: Executed) -> Service {
        Service { executed: Mutex::new(executed), clients: Mutex::default() }
    }

    /// The state.
    pub fn executed(&self) -> MutexGuard<'_, Executed> {
        lock(&self.executed)
    }

    /// A client listens.
    pub fn add_client(&self, client: u64, answers: Sender<Wire>) {
        lock(&self.clients).insert(client, answers);
    }

    /// Tells a client of its request, if it still listens.
    pub fn answer(&self, client: u64, answer: crate::state::Answer) {
        let mut clients = lock(&self.clients);
        if let Some(answers) = clients.get(&client)
            && answers.send(Wire::Done(answer.number, answer.seq_no)).is_err()
        {
            clients.remove(&client);
        }
    }

    /// Executes what passes the gate, until it is closed; a checkpoint after each decision whose number is a multiple of
    /// `checkpoint_every`, the same at all replicas, so that f + 1 of them can vouch for its digest.
    ///
    /// # Errors
    /// The log's: nothing more is executed.
    pub fn execute(&self, log: &Arc<Log>, gate: &Gate<Work>, checkpoint_every: u64) -> Result<(), Error> {
        while let Some(work) = gate.next() {
            match work? {
                Work::Apply(seq_no, decision) => {
                    let mut executed = self.executed();
                    let answers = executed.state.apply(seq_no, &decision);
                    executed.seq_no = seq_no;
                    answers.into_iter().for_each(|(client, answer)| self.answer(client, answer));
                    if seq_no.is_multiple_of(checkpoint_every) {
                        checkpoint(log, seq_no, &executed.state)?;
                    }
                }
                Work::Replace(seq_no, state) => *self.executed() = Executed { seq_no, state },
            }
        }
        Ok(())
    }
}

fn checkpoint(log: &Log, seq_no: SeqNo, state: &KeyValues) -> Result<(), Error> {
    match log.store_checkpoint(seq_no, state) {
        // A newer one of other replicas was installed meanwhile.
        Err(Error::OldCheckpoint { .. }) => return Ok(()),
        written => _ = written?,
    }
    if let Some(error) = log.housekeeping() {
        eprintln!("what is old could not be given up: {error}");
    }
    Ok(())
}
