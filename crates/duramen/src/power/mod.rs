//! Where the daemon learns of the power: signals, a UPS monitor, the kernel, an operator's command. Owns the one watch that all of
//! them report to; what a state means is the store's [`Machine`].

pub mod signals;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use duramen_store::{Change, Machine, Power, Signal, Store};

/// How often the watch looks whether something has settled.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Takes what sources say, and tells the store.
pub struct Watch {
    store: Store,
    machine: Mutex<Machine>,
    environment: Arc<dyn duramen_journal::disk::Environment>,
}

impl Watch {
    /// A watch over a store; a better state counts when it has lasted so long.
    pub fn new(store: Store, settle: Duration) -> Watch {
        let environment = duramen_journal::disk::World::real().environment;
        Watch { store, machine: Mutex::new(Machine::new(settle)), environment }
    }

    /// The state, and the seconds until a better one that has been told counts.
    pub fn state(&self) -> (Power, Option<Duration>) {
        let machine = self.machine();
        let left = machine.due().map(|due| due.saturating_sub(self.environment.now()));
        (machine.power(), left)
    }

    fn machine(&self) -> std::sync::MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes a signal from a source. When it returns, everything taken so far is durable if the power got worse.
    ///
    /// # Errors
    /// The store's: the change is in force, but its record may not be durable.
    pub fn tell(&self, signal: Signal, source: &str) -> Result<Option<Change>, duramen_store::Error> {
        let change = self.machine().signal(signal, self.environment.now());
        self.apply(change, source)
    }

    fn tick(&self) -> Result<(), duramen_store::Error> {
        let change = self.machine().tick(self.environment.now());
        self.apply(change, "it has lasted").map(|_| ())
    }

    fn apply(&self, change: Option<Change>, source: &str) -> Result<Option<Change>, duramen_store::Error> {
        if let Some(Change { from, to }) = change {
            eprintln!("duramen: power: {from} to {to} ({source})");
            self.store.set_power(to, source)?;
        }
        Ok(change)
    }

    /// Looks whether something has settled, until the daemon stops.
    pub fn run(&self, stop: &crate::stop::Stop) {
        while stop.signal().is_none() {
            if let Err(error) = self.tick() {
                eprintln!("duramen: power: {error}");
            }
            let _ = stop.pause(LOOK_EVERY);
        }
    }
}
