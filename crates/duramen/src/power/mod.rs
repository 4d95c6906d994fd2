//! Where the daemon learns of the power: signals, a UPS monitor, the kernel, a scheduled shutdown, an operator's command. Owns the one
//! watch that all of them report to; what their words come to is [`sources`]' judgement, what a state means is the store's.

pub mod nut;
pub mod shutdown;
pub mod signals;
pub mod sources;
pub mod supply;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use duramen_store::{Change, Power, Store};

use crate::stop::Stop;
use sources::{Said, Sources, Verdict, Word};

/// How often the watch looks whether something has settled.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often sources that have to be asked are asked.
pub const ASK_EVERY: Duration = Duration::from_secs(2);
/// A source that is asked and says nothing for so long is silent.
pub const SILENT_AFTER: Duration = Duration::from_secs(15);

/// Takes what sources say, and tells the store.
pub struct Watch {
    store: Store,
    sources: Mutex<Sources>,
    environment: Arc<dyn duramen_journal::disk::Environment>,
}

impl Watch {
    /// A watch over a store; a better state counts when it has lasted so long.
    pub fn new(store: Store, settle: Duration) -> Watch {
        let environment = duramen_journal::disk::World::real().environment;
        Watch { store, sources: Mutex::new(Sources::new(settle)), environment }
    }

    /// The state, and how long until a better one that has been told counts.
    pub fn state(&self) -> (Power, Option<Duration>) {
        let (power, better) = self.sources().state();
        (power, better.map(|(_, due)| due.saturating_sub(self.environment.now())))
    }

    /// What each source says.
    pub fn said(&self) -> Vec<Said> {
        self.sources().said(self.environment.now())
    }

    fn sources(&self) -> std::sync::MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes a source's word. When it returns, everything taken so far is durable if the power got worse.
    ///
    /// # Errors
    /// The store's: the change is in force, but its record may not be durable. Or there are too many sources.
    pub fn tell(&self, word: Word) -> anyhow::Result<Option<Change>> {
        let told = self.sources().tell(word, self.environment.now());
        let verdict =
            told.map_err(|_| anyhow::anyhow!("there are {} sources of power already", sources::SOURCES_MAX))?;
        self.apply(verdict)
    }

    /// Notes why a source cannot be asked, and says so once.
    pub fn trouble(&self, source: &str, words: &str) {
        if self.sources().trouble(source, words, self.environment.now()).unwrap_or(false) {
            eprintln!("duramen: power: {source}: {words}");
        }
    }

    fn tick(&self) -> anyhow::Result<()> {
        let (verdict, notes) = self.sources().tick(self.environment.now());
        notes.iter().for_each(|note| eprintln!("duramen: power: {note}"));
        self.apply(verdict).map(|_| ())
    }

    fn apply(&self, verdict: Option<Verdict>) -> anyhow::Result<Option<Change>> {
        let Some(Verdict { change, cause, fields }) = verdict else { return Ok(None) };
        eprintln!("duramen: power: {} to {} ({cause})", change.from, change.to);
        self.store.set_power_with(change.to, &cause, &fields)?;
        Ok(Some(change))
    }

    /// Looks whether something has settled, until the daemon stops.
    pub fn run(&self, stop: &Stop) {
        while stop.signal().is_none() {
            if let Err(error) = self.tick() {
                eprintln!("duramen: power: {error:#}");
            }
            let _ = stop.pause(LOOK_EVERY);
        }
    }

    /// As [`Watch::tell`]; an error is said, not returned, as a source has nobody to return it to.
    pub fn hear(&self, word: Word) {
        if let Err(error) = self.tell(word) {
            eprintln!("duramen: power: {error:#}");
        }
    }
}
