//! The daemon: a store, its inputs, its HTTP side, from start to a clean end. Owns the threads and the order in which things start
//! and stop: inputs first, the store last.

#![allow(clippy::disallowed_methods, reason = "the daemon's inputs and its server have threads of their own")]

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use duramen_journal::SyncPolicy;
use duramen_journal::disk::{Access, World, write_all_at};
use duramen_store::{Batch, Durability, Report, Store};
use sd_notify::NotifyState;

use crate::client::ADDRESS;
use crate::config::Config;
use crate::input::{Counters, Feed, Input};
use crate::intake::{Intake, Names};
use crate::pace::{self, Pace, Promise};
use crate::power::Watch;
use crate::server::prometheus::Metadata;
use crate::server::room::Room;
use crate::stop::Stop;

/// How often the daemon sees whether it can go on.
const HEALTH_EVERY: Duration = Duration::from_secs(5);

/// What all parts of a running daemon may look at.
pub struct Shared {
    /// The rows.
    pub store: Store,
    /// What opening found; not there while the journal is still being read.
    pub report: OnceLock<Report>,
    /// Its settings.
    pub config: Config,
    /// How far apart syncs are.
    pub pace: Arc<Pace>,
    /// What is known of the power.
    pub watch: Arc<Watch>,
    /// When it was opened, in wall time.
    pub started: i64,
    /// The wish to stop.
    pub stop: Arc<Stop>,
    /// What each input has done, by its name.
    pub inputs: Mutex<Vec<(String, Arc<Counters>)>>,
    /// Series by the bytes that named them.
    pub names: Names,
    /// What senders said of metrics.
    pub metadata: Mutex<Metadata>,
    /// What clients may hold in memory.
    pub room: Room,
    /// Held while a client's position is looked at and changed.
    pub clients: Mutex<()>,
    /// The first thing that went wrong for good.
    failure: Mutex<Option<String>>,
}

/// The threads of a daemon.
pub struct Daemon {
    /// What its parts share.
    pub shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// A daemon without inputs, on a store that is open or is being opened: [`Daemon::opened`] tells.
    pub fn new(store: Store, config: Config, stop: Arc<Stop>) -> Daemon {
        let commit = match config.store.commit.0 {
            SyncPolicy::Interval(time) => time,
            _ => Duration::ZERO,
        };
        let commit_max = config.store.commit_max.0.max(commit);
        let budget = config.store.device_bytes_per_day.map(|size| size.0);
        let pace = Pace::new(Promise { commit, commit_max, budget });
        let shared = Shared {
            watch: Arc::new(Watch::new(store.clone(), config.power.settle.0)),
            room: Room::new(&config.http),
            config,
            pace: Arc::new(pace),
            store,
            report: OnceLock::new(),
            started: crate::stamp::wall_clock(),
            stop,
            inputs: Mutex::default(),
            names: Names::default(),
            metadata: Mutex::default(),
            clients: Mutex::default(),
            failure: Mutex::default(),
        };
        Daemon { shared: Arc::new(shared), threads: Vec::new() }
    }

    /// The store is open: it takes rows from here on.
    pub fn opened(&self, report: Report) {
        self.shared.pace.resume(&self.shared.store);
        let _ = self.shared.report.set(report);
    }

    /// Starts an input.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(&mut self, mut input: Box<dyn Input>) -> anyhow::Result<()> {
        let name = input.name();
        let counters = self.shared.counters(&name);
        let shared = self.shared.clone();
        let feed = Feed::new(shared.store.clone(), shared.stop.clone(), counters, shared.pace.clone());
        self.spawn(&name.clone(), move || {
            if let Err(error) = input.run(&feed) {
                shared.fail(&format!("input {name}: {error:#}"));
            }
        })
    }

    /// Starts any other part.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        let builder = std::thread::Builder::new().name(format!("duramen-{name}"));
        self.threads.push(builder.spawn(work).with_context(|| format!("cannot start a thread for {name}"))?);
        Ok(())
    }

    /// Waits for the wish to stop, then ends everything in order. Everything that was taken is durable when it returns.
    ///
    /// # Errors
    /// What made it stop, if it was not asked to; or what the store says at its end.
    pub fn end(self) -> anyhow::Result<()> {
        for thread in self.threads {
            let _ = thread.join();
        }
        self.shared.store.close()?;
        let failure = self.shared.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        failure.map_or(Ok(()), |failure| Err(anyhow::Error::msg(failure)))
    }
}

impl Shared {
    /// What takes the samples of one body; see [`Intake::new`].
    pub fn intake<'a>(&'a self, space: &str, more: &'a [(String, String)], how: Durability) -> Intake<'a> {
        let how = if how == Durability::Policy { self.pace.durability(self.store.power()) } else { how };
        Intake::new(&self.store, &self.names, space, more, how)
    }

    /// Sees that the daemon can go on, and tells systemd so, until it stops. A journal that a failed disk has poisoned takes nothing
    /// until it is opened again: the daemon ends then, so that whoever watches it starts it anew.
    pub fn watch_health(&self) {
        let told = sd_notify::watchdog_enabled();
        let every = told.map_or(HEALTH_EVERY, |time| (time / 3).clamp(Duration::from_millis(10), HEALTH_EVERY));
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        while self.stop.signal().is_none() {
            if self.store.stats().journal.poisoned {
                self.fail("the disk failed under the journal: nothing is taken until it is opened again");
                break;
            }
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            let _ = self.stop.pause(every);
        }
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
    }

    /// Looks at what the device is given, until the daemon stops; keeps the figure in the store.
    pub fn keep_pace(&self) {
        let mut kept = 0;
        while self.stop.signal().is_none() {
            let _ = self.stop.pause(pace::LOOK_EVERY);
            let stats = self.store.stats();
            let own = stats.journal.device_bytes + stats.sealed_bytes + stats.merged_bytes;
            self.pace.look(pace::written_bytes().unwrap_or(own), crate::stamp::wall_clock());
            // Once in a while, and only when there is something to sync anyway: keeping the figure must not cost much of it.
            let appended = stats.journal.appended;
            if appended > kept + 100 {
                kept = appended;
                let (key, value) = self.pace.position();
                let mut batch = Batch::new();
                batch.set_position(&key, &value);
                let _ = self.store.append(batch, Durability::Policy);
            }
        }
    }

    /// The counters of an input.
    pub fn counters(&self, name: &str) -> Arc<Counters> {
        let mut inputs = self.inputs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, counters)) = inputs.iter().find(|(known, _)| known == name) {
            return counters.clone();
        }
        let counters = Arc::new(Counters::default());
        inputs.push((name.to_string(), counters.clone()));
        counters
    }

    /// Notes what went wrong for good, and asks everything to stop: a daemon that does only a part of its work without a word is
    /// worse than one that is started again.
    pub fn fail(&self, words: &str) {
        eprintln!("duramen: {words}");
        let mut failure = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        failure.get_or_insert_with(|| words.to_string());
        if let Ok(mut raiser) = self.stop.raiser() {
            raiser.stop();
        }
    }
}

/// Leaves the daemon's address in its data folder, for the commands on this machine.
///
/// # Errors
/// The disk's.
pub fn leave_address(folder: &Path, address: &str) -> std::io::Result<()> {
    let World { disk, .. } = World::real();
    let (new, place) = (folder.join(format!("{ADDRESS}.tmp")), folder.join(ADDRESS));
    let _ = disk.remove(&new);
    let file = disk.open(&new, Access::Create)?;
    write_all_at(&*file, address.as_bytes(), 0)?;
    disk.rename(&new, &place)
}
