//! A store, open for writing: the handle that users hold. Owns the life of the threads; the writing is [`crate::write`]'s, the
//! sealing [`crate::flush`]'s, opening [`crate::open`]'s, reading [`crate::query`]'s.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use duramen_journal::disk::{Worker, World};
use duramen_journal::{Level as Safety, Sequence, SyncPolicy, Ticket};

use crate::batch::{Batch, TooOld};
use crate::compaction::Compaction;
use crate::core::Core;
use crate::error::Error;
use crate::labels::Labels;
use crate::options::Options;
use crate::power::Power;
use crate::report::Report;
use crate::row::{Nanoseconds, RowId, TimeBase};
use crate::session::Event;
use crate::stats::Stats;
use crate::stream::Stream;

/// How soon one append is to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// At once: for whoever waits for the answer.
    #[default]
    Now,
    /// As the journal's policy says: for whoever cannot wait.
    Policy,
    /// Within this time.
    Within(std::time::Duration),
}

/// A store, open for writing. Clones share it; the last one that is dropped closes it.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

struct Handle {
    core: Arc<Core>,
    workers: std::sync::Mutex<Vec<Box<dyn Worker>>>,
}

impl Handle {
    fn end(&self) -> Result<(), Error> {
        self.core.stop();
        for worker in std::mem::take(&mut *crate::lock(&self.workers)) {
            worker.join();
        }
        self.core.close()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The receipt of one append. Awaiting it waits as [`Receipt::wait`] does.
#[must_use = "the rows are not durable yet: wait, await, or drop the receipt on purpose"]
#[derive(Debug)]
pub struct Receipt {
    ticket: Option<Ticket>,
    too_old: TooOld,
}

impl Receipt {
    /// How safe the rows are by now.
    ///
    /// # Errors
    /// The append failed: nothing of it is or will be stored, or the journal failed under it.
    pub fn level(&self) -> Result<Safety, Error> {
        match &self.ticket {
            Some(ticket) => Ok(ticket.level()?),
            None => Ok(Safety::Durable),
        }
    }

    /// What was left out, because the retention would drop it at once: it is not stored, and sending it again does not help.
    pub fn too_old(&self) -> TooOld {
        self.too_old
    }

    /// The last sequence that the append takes in the journal; 0 for an empty one.
    pub fn sequence(&self) -> Sequence {
        self.ticket.as_ref().map_or(0, Ticket::last)
    }

    /// Blocks until rows and positions survive a power cut.
    ///
    /// # Errors
    /// As [`Ticket::wait`].
    pub fn wait(self) -> Result<(), Error> {
        match self.ticket {
            Some(ticket) => Ok(ticket.wait().map(|_| ())?),
            None => Ok(()),
        }
    }

    /// Runs `call` when the rows are durable or have failed, as [`Ticket::on_durable`].
    pub fn on_durable(self, call: impl FnOnce(Result<(), Error>) + Send + 'static) {
        match self.ticket {
            Some(ticket) => ticket.on_durable(move |result| call(result.map(|_| ()).map_err(Error::from))),
            None => call(Ok(())),
        }
    }
}

impl Future for Receipt {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.ticket {
            Some(ticket) => Pin::new(ticket).poll(context).map(|result| Ok(result.map(|_| ())?)),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Store {
    /// Opens, or creates, the store in a folder of the real disk, with default options.
    ///
    /// # Errors
    /// The journal's; a table's or the manifest's that cannot be read or written.
    pub fn open(path: impl AsRef<Path>) -> Result<(Store, Report), Error> {
        Store::open_with(path, &Options::default(), World::real())
    }

    /// Opens with options, on any disk.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &Options, world: World) -> Result<(Store, Report), Error> {
        Store::open_serving(path, options, world, |_| ())
    }

    /// Opens as [`Store::open_with`], and hands the store out before the journal is read, which takes a while after a power cut: it
    /// answers queries at once, from its tables and from what of the journal it has read by then, and takes nothing
    /// ([`Error::Opening`]) until this returns.
    ///
    /// # Errors
    /// As [`Store::open`]; what was handed out early is of no use then.
    pub fn open_serving(
        path: impl AsRef<Path>,
        options: &Options,
        world: World,
        early: impl FnOnce(&Store),
    ) -> Result<(Store, Report), Error> {
        let opening = crate::open::open(path.as_ref(), options, world.clone())?;
        let core = opening.core.clone();
        let (sealing, merging) = (core.clone(), core.clone());
        let spawn = |name, work| {
            let spawned = world.environment.spawn(name, work);
            spawned.map_err(|error| Error::io("start a thread for", path.as_ref(), error))
        };
        let sealer = spawn("duramen-seal", Box::new(move || sealing.work()))?;
        core.set_inline(sealer.is_none());
        let workers = std::sync::Mutex::new(sealer.into_iter().collect());
        let store = Store { handle: Arc::new(Handle { core, workers }) };
        early(&store);
        let report = crate::open::replay_and_tell(opening)?;
        let merger = spawn("duramen-merge", Box::new(move || merging.work_on_compaction()))?;
        crate::lock(&store.handle.workers).extend(merger);
        Ok((store, report))
    }

    /// Whether the journal is still being read, so that answers lack what is not read yet; see [`Store::open_serving`].
    pub fn is_opening(&self) -> bool {
        self.core().replaying.load(std::sync::atomic::Ordering::Acquire)
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.core().catalog.folder
    }

    /// The stream of these labels, to append to.
    ///
    /// # Errors
    /// [`Error::TooManyStreams`].
    pub fn stream(&self, labels: &Labels) -> Result<Stream, Error> {
        self.core().stream(labels)
    }

    /// Appends a batch: after any crash all of it is there, or nothing. Its rows are visible to queries at once. Rows and samples that
    /// are older than the retention keeps are left out, and told by [`Receipt::too_old`].
    ///
    /// Waits while the memory for rows is full and a table is being written.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::TimeOutOfRange`], before anything is written; the journal's; a table's, if there is no more room in memory because
    /// none can be written.
    pub fn append(&self, mut batch: Batch, how: Durability) -> Result<Receipt, Error> {
        self.append_drain(&mut batch, how)
    }

    /// As [`Store::append`], and empties the batch; one that is refused stays, to be tried again.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn append_drain(&self, batch: &mut Batch, how: Durability) -> Result<Receipt, Error> {
        self.core().append_staged()?;
        let ticket = self.core().append(batch, how)?;
        // The batch is empty now, but for what was taken out of it.
        let too_old = std::mem::take(&mut batch.too_old);
        if self.core().is_inline() {
            // The batch is taken; what fails here is tried again, and tells of itself when memory is full.
            let _ = self.core().tend();
        }
        Ok(Receipt { ticket, too_old })
    }

    /// Writes one sample of a series: seen by queries at once, durable as soon as the journal's policy says. Samples that come one
    /// by one are appended together, which is what makes it cheap; [`Store::append`] waits for its own.
    ///
    /// Of several samples of a series at one time the last one counts.
    ///
    /// # Errors
    /// As [`Store::append`]. An error may be about samples before this one, which are kept and tried again; this one is not taken.
    pub fn write(&self, series: &Stream, time: Nanoseconds, value: f64) -> Result<(), Error> {
        self.core().stage(TimeBase::Wall, series, time, value)
    }

    /// Appends several batches in one call, each as soon as it asks for: an alarm is synced now, telemetry when its time has come.
    /// They are appended in their order, each one whole or not at all; those behind one that is refused are not taken.
    ///
    /// # Errors
    /// As [`Store::append`]; batches that were taken are empty.
    pub fn append_each(&self, batches: &mut [(Batch, Durability)]) -> Result<Vec<Receipt>, Error> {
        batches.iter_mut().map(|(batch, how)| self.append_drain(batch, *how)).collect()
    }

    /// The time that a row gets which says none of its own: wall time, or, as long as the machine's clock is not set, the time since
    /// its boot, which queries turn into wall time once the clock was set.
    pub fn now(&self) -> (TimeBase, Nanoseconds) {
        self.core().now()
    }

    /// Stores an event, durable on return. With a key it is stored once, however often it is told.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn tell(&self, event: &Event<'_>, once: Option<&str>) -> Result<(), Error> {
        self.core().tell(event, once)
    }

    /// Where a source stands, as the last batch that said so.
    pub fn position(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.core().position(key)
    }

    /// All sources' positions whose keys begin with these bytes.
    pub fn positions(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.core().positions(prefix)
    }

    /// The id that is higher than those of all rows so far; `None`: there are none.
    pub fn last_row(&self) -> Option<RowId> {
        let appended = self.core().journal.appended();
        (appended > 0).then(|| RowId::new(appended, crate::row::ROWS_PER_RECORD_MAX - 1))
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// The journal's.
    pub fn sync(&self) -> Result<(), Error> {
        self.core().sync()
    }

    /// Makes tables of all rows in memory, and gives the journal's space back.
    ///
    /// # Errors
    /// The journal's, a table's, the manifest's: the rows stay in memory and in the journal.
    pub fn flush(&self) -> Result<(), Error> {
        self.core().append_staged()?;
        self.core().seal_all()
    }

    /// Changes how the store behaves, as the power changed; see [`Power::behaviour`]. When this returns, everything that was
    /// appended is durable, and so is a row that tells of the change. Tables are made afterwards, in the background.
    ///
    /// # Errors
    /// The journal's.
    pub fn set_power(&self, power: Power, cause: &str) -> Result<(), Error> {
        self.core().set_power(power, cause, &[])
    }

    /// As [`Store::set_power`], with more fields for the row that tells of the change.
    ///
    /// # Errors
    /// The journal's.
    pub fn set_power_with(&self, power: Power, cause: &str, fields: &[(&str, String)]) -> Result<(), Error> {
        self.core().set_power(power, cause, fields)
    }

    /// The state of the power, as it was set last.
    pub fn power(&self) -> Power {
        Power::from_number(self.core().power.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Changes how long rows of sources that cannot wait stay unsynced.
    pub fn set_policy(&self, policy: SyncPolicy) {
        self.core().journal.set_policy(policy);
    }

    /// Lets compaction run, pause between two blocks, or gives it up.
    pub fn set_compaction(&self, state: Compaction) {
        self.core().set_compaction(state);
    }

    /// Merges all that is due now, and drops what the retention says.
    ///
    /// # Errors
    /// A table's, the manifest's: the tables stay as they are.
    pub fn compact(&self) -> Result<(), Error> {
        while self.core().compact()? {}
        Ok(())
    }

    /// All figures.
    pub fn stats(&self) -> Stats {
        self.core().stats()
    }

    /// Runs due work now. Needed only in an environment without threads.
    ///
    /// # Errors
    /// The work's.
    pub fn tick(&self) -> Result<(), Error> {
        self.core().journal.tick();
        self.core().tend()
    }

    /// Closes: everything appended becomes durable. Rows in memory stay in the journal, from which opening reads them.
    ///
    /// # Errors
    /// The journal's.
    pub fn close(&self) -> Result<(), Error> {
        self.handle.end()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("journal", &self.core().journal).finish_non_exhaustive()
    }
}
