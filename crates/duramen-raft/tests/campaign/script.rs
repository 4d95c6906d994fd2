//! Workloads as lists of actions, and the one interpreter that runs them and tells what the outside world was told. Owns
//! the words of which workloads are made; what must hold after a crash is the checker's.

use std::time::Duration;

use duramen_journal::disk::SyncMethod;
use duramen_journal::sync::AtomicU32;
use duramen_journal::{Error as WalError, Level, Options, World};
use duramen_raft::{Config, Error, Plain, RaftLog, RaftLogs, Receipt, TermIndex, TermVote};

use crate::model::{Event, Step, entry};

/// Where the logs lie on the simulated disk.
pub const FOLDER: &str = "/r";

/// One action of a workload; groups are numbers, and indexes count from the log's end.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Vote(u32),
    /// So many entries of so many bytes.
    Append(u32, u64, usize),
    /// Commits all but the last so many entries.
    CommitBut(u32, u64),
    /// Truncates the last so many entries.
    Cut(u32, u64),
    /// Purges all but the last so many entries.
    PurgeBut(u32, u64),
    /// Purges so far beyond the end, in a new term.
    PurgeBeyond(u32, u64),
    Data(u32),
    Remove(u32),
    /// Waits for everything that is held.
    WaitAll,
    Sync,
    Collect,
    Relocate(u32),
    Pass(Duration),
    /// Closes, or just lets go, and opens again.
    Reopen {
        close: bool,
    },
    /// Limits the room on the disk to what is used now and so many bytes.
    Room(Option<u64>),
}

/// A workload.
#[derive(Clone, Debug)]
pub struct Script {
    pub name: String,
    pub config: Config,
    pub setup: Vec<Action>,
    pub actions: Vec<Action>,
    /// Receipts are held until an action waits for them.
    pub held: bool,
    /// The disk may be full at some time.
    pub full: bool,
    pub sweep: bool,
}

impl Script {
    pub fn new(name: impl Into<String>, config: Config, actions: Vec<Action>) -> Script {
        let (setup, held, full, sweep) = (Vec::new(), false, false, false);
        Script { name: name.into(), config, setup, actions, held, full, sweep }
    }

    pub fn after(mut self, setup: Vec<Action>) -> Script {
        self.setup = setup;
        self
    }

    pub fn holding(mut self) -> Script {
        self.held = true;
        self
    }
}

/// Small segments, nothing that depends on a measurement.
pub fn small() -> Config {
    let journal = Options {
        sync_method: Some(SyncMethod::DataSync),
        spares_max: 0,
        tail_cache_bytes: 64 << 10,
        read_cache_bytes: 64 << 10,
        ..Options::default()
    };
    Config { chunk_max_size: 64 << 10, read_buffer_size: 64 << 10, journal, ..Config::new(FOLDER) }
}

/// The same actions so many times.
pub fn times(count: usize, actions: &[Action]) -> Vec<Action> {
    actions.iter().copied().cycle().take(count * actions.len()).collect()
}

/// A running workload.
pub struct Session<'a> {
    script: &'a Script,
    world: World,
    room: &'a dyn Fn(Option<u64>),
    pub logs: Option<RaftLogs<Plain>>,
    held: Vec<(usize, Receipt<Plain>)>,
    written: Option<usize>,
    pub issued: usize,
    data: u64,
    broken: bool,
}

impl<'a> Session<'a> {
    pub fn new(script: &'a Script, world: World, room: &'a dyn Fn(Option<u64>)) -> Session<'a> {
        let (logs, held, written) = (None, Vec::new(), None);
        Session { script, world, room, logs, held, written, issued: 0, data: 0, broken: false }
    }

    /// Goes on with what another session left.
    pub fn resume(mut self, logs: Option<RaftLogs<Plain>>, issued: usize, data: u64) -> Session<'a> {
        (self.logs, self.issued, self.data) = (logs, issued, data);
        self
    }

    pub fn data(&self) -> u64 {
        self.data
    }

    pub fn open(&mut self) {
        match RaftLogs::open_with(self.script.config.clone(), self.world.clone()) {
            Ok((logs, opened)) => {
                assert!(opened.losses.is_empty() && opened.votes_in_doubt.is_empty(), "{opened:?}");
                self.logs = Some(logs);
            }
            Err(Error::Wal(error)) => accept(&error),
            Err(other) => panic!("opening: {other}"),
        }
    }

    pub fn run(&mut self, actions: &[Action], tell: &dyn Fn(Event)) {
        for action in actions {
            if self.logs.is_none() && !matches!(action, Action::Reopen { .. } | Action::Room(_)) {
                continue;
            }
            self.act(*action, tell);
            self.observe(tell);
        }
    }

    /// Everything that is held is decided.
    pub fn end(&mut self, tell: &dyn Fn(Event)) {
        self.wait_all(tell);
        self.observe(tell);
        self.logs = None;
    }

    fn log(&self, group: u32) -> RaftLog<Plain> {
        self.logs.as_ref().expect("open").group(group).expect("a group")
    }

    fn last(&self, group: u32, back: u64) -> Option<TermIndex> {
        let log = self.log(group);
        let next = log.reader().next_index()?;
        log.reader().log_id(next.checked_sub(back + 1)?).ok()
    }

    fn act(&mut self, action: Action, tell: &dyn Fn(Event)) {
        match action {
            Action::WaitAll => self.wait_all(tell),
            Action::Sync => {
                let issued = self.issued;
                match self.logs.as_ref().expect("open").sync() {
                    Ok(()) if issued > 0 => tell(Event::Durable(issued - 1)),
                    Ok(()) => {}
                    Err(error) => self.failed(&error),
                }
            }
            Action::Collect => {
                if let Err(error) = self.logs.as_ref().expect("open").collect() {
                    self.failed(&error);
                }
            }
            Action::Relocate(group) => {
                if let Err(error) = self.logs.as_ref().expect("open").relocate(group, 1) {
                    self.failed(&error);
                }
            }
            Action::Pass(time) => {
                self.world.environment.wait(&AtomicU32::new(0), 0, Some(time));
                self.logs.as_ref().expect("open").tick();
            }
            Action::Reopen { close } => self.reopen(close, tell),
            Action::Room(room) => (self.room)(room),
            step => {
                if let Some((group, step)) = self.step_of(step) {
                    self.step(group, step, tell);
                }
            }
        }
    }

    fn reopen(&mut self, close: bool, tell: &dyn Fn(Event)) {
        if close && let Some(logs) = &self.logs {
            match logs.close() {
                Ok(()) => self.observe(tell),
                Err(error) => self.failed(&error),
            }
        }
        let _ = close;
        self.logs = None;
        // The last handle closes the journal: what it held is decided.
        self.observe(tell);
        assert!(self.held.is_empty() || self.broken, "closed, and {} steps are open", self.held.len());
        self.held.clear();
        (self.broken, self.written) = (false, None);
        self.open();
    }

    /// The step that an action means for the log as it is; `None`: there is nothing to do it to.
    fn step_of(&mut self, action: Action) -> Option<(u32, Step)> {
        let term = |group: u32| self.log(group).state().vote.map_or(1, |vote| vote.term);
        let pair = |id: TermIndex| (id.term, id.index);
        Some(match action {
            Action::Vote(group) => (group, Step::Vote { term: term(group) + 1, node: 1 }),
            Action::Append(group, count, bytes) => {
                let first = self.log(group).reader().next_index().unwrap_or(1);
                let last = self.log(group).state().last.map_or(0, |id| id.term);
                (group, Step::Append { term: term(group).max(last), first, count, bytes })
            }
            Action::CommitBut(group, back) => {
                let id = self.last(group, back)?;
                let before = self.log(group).state().committed;
                if before.is_some_and(|before| before >= id) {
                    return None;
                }
                (group, Step::Commit { id: pair(id) })
            }
            Action::Cut(group, back) => {
                let id = self.last(group, back)?;
                let committed = self.log(group).state().committed;
                if committed.is_some_and(|committed| committed.index > id.index) || back == 0 {
                    return None;
                }
                (group, Step::Truncate { kept: Some(pair(id)) })
            }
            Action::PurgeBut(group, back) => {
                let id = self.last(group, back)?;
                if self.log(group).state().purged.is_some_and(|purged| purged.index >= id.index) {
                    return None;
                }
                (group, Step::Purge { id: pair(id) })
            }
            Action::PurgeBeyond(group, far) => {
                let last = self.log(group).state().last.unwrap_or_default();
                (group, Step::Purge { id: (last.term.max(term(group)), last.index + far) })
            }
            Action::Data(group) => {
                self.data += 1;
                (group, Step::Data(self.data))
            }
            Action::Remove(group) if self.log(group).state().last.is_some() => (group, Step::Remove),
            _ => return None,
        })
    }

    fn step(&mut self, group: u32, step: Step, tell: &dyn Fn(Event)) {
        let number = self.issued;
        self.issued += 1;
        tell(Event::Issued(group, step));
        let writer = self.log(group).writer();
        let id = |(term, index): (u64, u64)| TermIndex::new(term, index);
        let result = match step {
            Step::Vote { term, node } => match writer.save_vote(&TermVote { term, node: Some(node) }) {
                Ok(()) => {
                    tell(Event::Durable(number));
                    return;
                }
                Err(error) => Err(error),
            },
            Step::Append { term, first, count, bytes } => {
                writer.append((first..first + count).map(|index| entry(term, index, bytes)).collect())
            }
            Step::Commit { id: at } => writer.commit(&id(at)),
            Step::Truncate { kept } => writer.truncate_after(kept.map(id).as_ref()),
            Step::Purge { id: at } => writer.purge(&id(at)),
            Step::Data(data) => writer.save_user_data(&vec![b'd'; data as usize].into()),
            Step::Remove => writer.remove(),
        };
        match result {
            Ok(receipt) if self.script.held => self.held.push((number, receipt)),
            Ok(receipt) => self.waited(number, receipt.wait_durable(), tell),
            Err(error) => {
                let undecided = matches!(&error, Error::Wal(WalError::Unknown { .. }));
                self.failed(&error);
                if !undecided {
                    tell(Event::Refused(number));
                }
            }
        }
    }

    fn wait_all(&mut self, tell: &dyn Fn(Event)) {
        for (number, receipt) in std::mem::take(&mut self.held) {
            self.waited(number, receipt.wait_durable(), tell);
        }
    }

    fn waited(&mut self, number: usize, result: Result<(), Error<Plain>>, tell: &dyn Fn(Event)) {
        match result {
            Ok(()) => tell(Event::Durable(number)),
            Err(error) => {
                if error.is_no_space() && !self.broken {
                    tell(Event::Refused(number));
                }
                self.failed(&error);
            }
        }
    }

    /// Takes note of an error that the outside was told.
    fn failed(&mut self, error: &Error<Plain>) {
        match error {
            Error::Wal(error) => {
                accept(error);
                self.broken |= matches!(error, WalError::Unknown { .. } | WalError::Poisoned { .. });
            }
            // What it was to follow on was refused meanwhile.
            Error::Refused(_) if self.script.full || self.script.sweep => {}
            other => panic!("an unexpected error: {other}"),
        }
    }

    /// Looks at everything that is held.
    fn observe(&mut self, tell: &dyn Fn(Event)) {
        for (number, receipt) in std::mem::take(&mut self.held) {
            match receipt.level() {
                Ok(Level::Durable) => self.waited(number, Ok(()), tell),
                Ok(level) => {
                    if level == Level::Written && self.written < Some(number) {
                        self.written = Some(number);
                        tell(Event::Written(number));
                    }
                    self.held.push((number, receipt));
                }
                Err(error) => self.waited(number, Err(error), tell),
            }
        }
        if self.broken {
            // A failed sync may have lost what was written.
            tell(Event::WrittenVoid);
        }
    }
}

/// Errors that a fault of the disk may lead to.
pub fn accept(error: &WalError) {
    let known = matches!(
        error,
        WalError::Io { .. }
            | WalError::NoSpace { .. }
            | WalError::ReadOnly { .. }
            | WalError::Poisoned { .. }
            | WalError::Unknown { .. }
            | WalError::Closed
    );
    assert!(known, "an unexpected error: {error}");
}
