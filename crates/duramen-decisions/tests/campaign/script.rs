//! Workloads as lists of actions, and the one interpreter that runs them and tells what the outside world was told. Owns the words
//! of which workloads are made; what must hold after a crash is the checker's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use duramen_decisions::{
    Batch, Completion, Error, PersistentLog as _, PersistentLogConfig, RawLayer, Retention, SeqNo, SyncPolicy,
};
use duramen_journal::disk::SyncMethod;
use duramen_journal::sync::AtomicU32;
use duramen_journal::{Options, World};

use crate::checker::{read, seen};
use crate::content::{Files, donated, print, state, value};
use crate::model::{Event, Model, Step, Value};

/// Where the log lies on the simulated disk.
pub const FOLDER: &str = "/d";

/// One action of a workload. Numbers count from the log's end.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// So many decisions of so many bytes, one by one.
    Decide(u64, usize),
    /// So many batches of decision, proof, message and safety record, each with a membership every third.
    Whole(u64, usize),
    /// A batch of so many decisions and nothing else.
    Many(u64, usize),
    /// A decision so far beyond the end.
    Ahead(u64),
    /// The first decision that is missing.
    Fill,
    /// The last decision again.
    Again,
    /// Another one under the last decision's number: it is refused.
    Other,
    /// A message of the next instance.
    Message(usize),
    /// A message of an instance far ahead.
    Early(usize),
    Safety,
    Member,
    Recovery(u64),
    /// A proof of the last decision.
    Proof,
    /// Takes back the decision so far before the last one.
    Invalidate(u64),
    /// Takes back the last so many.
    Truncate(u64),
    /// A checkpoint of the state of so many bytes, so many decisions before the last contiguous one.
    Checkpoint(u64, usize),
    /// The last checkpoint that was asked for, if it is not there.
    Retry,
    /// A checkpoint of a decision so far beyond the end: the state came from somewhere else.
    Jump(u64, usize),
    /// Compacts to so many decisions before the last checkpoint.
    Compact(u64),
    /// Installs another replica's checkpoint with so many of its chunks.
    Install(SeqNo, usize, Then),
    /// Goes on with the installation that is pending, and finishes it.
    GoOn,
    Sync,
    Pass(Duration),
    /// Closes, or just lets go, and opens again.
    Reopen {
        close: bool,
    },
    /// Limits the room on the disk to what is used now and so many bytes.
    Room(Option<u64>),
}

/// What becomes of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Finish,
    Leave,
    Abandon,
}

/// What is done after a recovery: first what may have been under way.
pub const GOING_ON: &[Action] = &[
    Action::Retry,
    Action::GoOn,
    Action::Whole(1, 60),
    Action::Again,
    Action::Fill,
    Action::Invalidate(0),
    Action::Many(2, 700),
    Action::Truncate(1),
    Action::Checkpoint(0, 9_000),
    Action::Compact(1),
    Action::Member,
];

/// A workload.
#[derive(Clone, Debug)]
pub struct Script {
    pub name: String,
    pub config: PersistentLogConfig,
    pub setup: Vec<Action>,
    pub actions: Vec<Action>,
    /// Completions are held until an action makes them durable.
    pub held: bool,
    /// The disk may be full at some time.
    pub full: bool,
    pub sweep: bool,
}

impl Script {
    pub fn new(name: impl Into<String>, config: PersistentLogConfig, actions: Vec<Action>) -> Script {
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

/// Small segments and chunks, nothing that depends on a measurement, nothing compacted by itself.
pub fn small() -> PersistentLogConfig {
    let journal = Options {
        sync_method: Some(SyncMethod::DataSync),
        spares_max: 0,
        tail_cache_bytes: 64 << 10,
        read_cache_bytes: 64 << 10,
        ..Options::default()
    };
    PersistentLogConfig {
        max_segment_size: 64 << 10,
        chunk_size: 4 << 10,
        cache_size: 1500,
        retention: Retention { compact: false, ..Retention::default() },
        journal,
        ..PersistentLogConfig::new(FOLDER)
    }
}

/// The same actions so many times.
pub fn times(count: usize, actions: &[Action]) -> Vec<Action> {
    actions.iter().copied().cycle().take(count * actions.len()).collect()
}

/// Opens a script's log in a world.
pub fn open(config: &PersistentLogConfig, world: &World) -> Result<Files, Error> {
    Files::new(PersistentLogConfig { world: world.clone(), ..config.clone() })
}

/// Errors that a fault of the disk may lead to.
pub fn accept(error: &Error) -> Result<(), Error> {
    use duramen_journal::Error as Journal;
    match error {
        Error::NoSpace | Error::Io { .. } | Error::Failed { .. } | Error::Closed => Ok(()),
        Error::Journal(Journal::Io { .. } | Journal::ReadOnly { .. } | Journal::Unreadable(_)) => Ok(()),
        other => Err(other.clone()),
    }
}

/// A running workload.
pub struct Session<'a> {
    script: &'a Script,
    world: World,
    room: &'a dyn Fn(Option<u64>),
    tell: &'a dyn Fn(Event),
    log: Option<Files>,
    held: Vec<(usize, Completion)>,
    model: Model,
    /// The log failed: nothing more is stored until it is opened again.
    broken: bool,
}

impl<'a> Session<'a> {
    pub fn new(
        script: &'a Script,
        world: World,
        room: &'a dyn Fn(Option<u64>),
        tell: &'a dyn Fn(Event),
    ) -> Session<'a> {
        Session { script, world, room, tell, log: None, held: Vec::new(), model: Model::default(), broken: false }
    }

    /// Goes on with what another session left.
    pub fn resume(mut self, log: Option<Files>, model: Model) -> Session<'a> {
        (self.log, self.model) = (log, model);
        self
    }

    /// The log.
    pub fn leave(mut self) -> Option<Files> {
        self.observe();
        self.look();
        self.log.take()
    }

    /// What the running log shows is what it was told, less what was refused.
    fn look(&mut self) {
        let Some(log) = self.log.as_ref().filter(|_| !self.broken) else { return };
        match seen(log, &self.model) {
            Ok(found) => {
                // Looking may have made the disk refuse something.
                let floor = if self.may_fail() { self.model.floor() } else { self.model.steps.len() };
                let kept = self.model.find(floor, self.may_fail(), &found);
                assert!(kept.is_ok(), "the running log: {kept:?}");
            }
            Err(words) => assert!(self.may_fail(), "{words}"),
        }
    }

    fn tell(&mut self, event: Event) {
        self.model.apply(&event);
        (self.tell)(event);
    }

    /// Everything up to now is durable.
    fn all_durable(&mut self) {
        self.observe();
        if let Some(last) = self.model.issued.checked_sub(1) {
            self.tell(Event::Durable(last));
        }
    }

    pub fn open(&mut self) {
        match open(&self.script.config, &self.world) {
            Ok(log) => {
                let damage = &log.recovery_information().damage;
                assert!(damage.is_none(), "what the disk refused is no damage: {damage:?}");
                // What nobody knew is decided now. A disk that fails may refuse to tell.
                match read(&log, &self.model) {
                    Ok(found) => {
                        let kept = self.model.find(self.model.floor(), self.may_fail(), &found);
                        self.tell(Event::Served(kept.unwrap_or_else(|words| panic!("opened again: {words}"))));
                    }
                    Err(words) => assert!(self.script.sweep, "{words}"),
                }
                self.log = Some(log);
            }
            Err(error) => self.failed(&error),
        }
    }

    pub fn run(&mut self, actions: &[Action]) {
        for action in actions {
            let always = matches!(action, Action::Reopen { .. } | Action::Room(_));
            if (self.log.is_none() || self.broken) && !always {
                continue;
            }
            self.act(*action);
            self.observe();
        }
    }

    /// Everything is decided.
    pub fn end(&mut self) {
        if self.log.is_some() {
            self.look();
            self.reopen(true);
        }
        self.log = None;
    }

    fn log(&self) -> &Files {
        self.log.as_ref().expect("open")
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Sync => match self.log().sync() {
                Ok(()) => self.all_durable(),
                Err(error) => self.failed(&error),
            },
            Action::Pass(time) => {
                self.world.environment.wait(&AtomicU32::new(0), 0, Some(time));
                self.log().tick();
            }
            Action::Reopen { close } => self.reopen(close),
            Action::Room(room) => (self.room)(room),
            Action::Invalidate(_) | Action::Truncate(_) => self.take_back(action),
            Action::Checkpoint(back, bytes) => {
                let frontier = self.log().last_contiguous().unwrap_or(None);
                if let Some(seq_no) = frontier.and_then(|frontier| frontier.checked_sub(back)) {
                    self.checkpoint(seq_no, bytes);
                }
            }
            Action::Retry => {
                if let Some((seq_no, bytes)) = self.model.asked {
                    self.checkpoint(seq_no, bytes);
                }
            }
            Action::Jump(far, bytes) => {
                let seq_no = self.next() + far;
                self.checkpoint(seq_no, bytes);
            }
            Action::Compact(back) => self.compact(back),
            Action::Install(seq_no, count, then) => self.install(seq_no, count, then),
            Action::GoOn => {
                let pending = self.log().pending_install();
                match pending {
                    Ok(Some(manifest)) => self.install(manifest.seq_no(), usize::MAX, Then::Finish),
                    Ok(None) => {}
                    Err(error) => self.failed(&error),
                }
            }
            Action::Decide(count, bytes) => {
                (0..count).for_each(|_| self.decide(1, bytes));
            }
            Action::Many(count, bytes) => self.decide(count, bytes),
            Action::Whole(count, bytes) => (0..count).for_each(|_| self.whole(bytes)),
            other => self.single(other),
        }
    }

    fn reopen(&mut self, close: bool) {
        if close && let Some(log) = &self.log {
            match log.close() {
                Ok(()) => self.all_durable(),
                Err(error) => self.failed(&error),
            }
        }
        self.log = None;
        // The last handle closes the journal: what it held is decided.
        self.observe();
        assert!(self.held.is_empty() || self.broken, "closed, and {} steps are open", self.held.len());
        self.held.clear();
        self.broken = false;
        self.open();
    }

    /// The number of the next decision.
    fn next(&mut self) -> SeqNo {
        let last = self.log().last_decision().unwrap_or(None);
        last.max(self.log().base()).max(self.log().last_checkpoint()).map_or(1, |last| last + 1)
    }

    fn made(&self) -> u64 {
        self.model.issued as u64
    }

    fn decide(&mut self, count: u64, bytes: usize) {
        let (first, made) = (self.next(), self.made());
        let values = (first..first + count).map(|number| {
            let bytes = value("decision", number, made, bytes);
            (Value::Decision(number, print(&bytes)), bytes)
        });
        self.store(values.collect());
    }

    fn whole(&mut self, bytes: usize) {
        let (number, made) = (self.next(), self.made());
        let own = |kind, bytes| value(kind, number, made, bytes);
        let all = [
            own("decision", bytes),
            own("proof", 90),
            own("message", 20),
            own("message again", 30),
            own("safety", 25),
            own("members", 40),
            own("recovery", 10),
        ];
        let mut values = vec![
            Value::Decision(number, print(&all[0])),
            Value::Proof(number, print(&all[1])),
            Value::Message(number, print(&all[2])),
            Value::Message(number, print(&all[3])),
            Value::Safety(print(&all[4])),
        ];
        let mut bytes = all[..5].to_vec();
        if number % 3 == 0 && !self.has_member(number) {
            values.extend([Value::Membership(number, print(&all[5])), Value::Recovery(1, print(&all[6]))]);
            bytes.extend_from_slice(&all[5..]);
        }
        self.store(values.into_iter().zip(bytes).collect());
    }

    fn has_member(&self, number: SeqNo) -> bool {
        matches!(self.log().retrieve_configuration(number), Ok(Some((from, _))) if from == number)
    }

    /// Stores one value.
    fn single(&mut self, action: Action) {
        let (next, made) = (self.next(), self.made());
        let last = self.log().last_decision().unwrap_or(None);
        let of = |kind: &str, number, bytes| value(kind, number, made, bytes);
        let one = match action {
            Action::Ahead(far) => {
                let bytes = of("decision", next + far, 120);
                (Value::Decision(next + far, print(&bytes)), bytes)
            }
            Action::Fill => {
                let frontier = self.log().last_contiguous().unwrap_or(None);
                let Some(number) = frontier.map(|own| own + 1).filter(|own| Some(*own) < last) else { return };
                let bytes = of("decision", number, 130);
                (Value::Decision(number, print(&bytes)), bytes)
            }
            Action::Again | Action::Other => {
                let Some(number) = last else { return };
                if let Action::Other = action {
                    return self.conflict(number);
                }
                let Ok(Some(bytes)) = self.log().retrieve_decision(number) else { return };
                (Value::Decision(number, print(&bytes)), bytes)
            }
            Action::Proof => {
                let Some(number) = last else { return };
                let bytes = of("proof", number, 200);
                (Value::Proof(number, print(&bytes)), bytes)
            }
            Action::Message(bytes) => {
                let bytes = of("message", next, bytes);
                (Value::Message(next, print(&bytes)), bytes)
            }
            Action::Early(bytes) => {
                let bytes = of("message", next + 25, bytes);
                (Value::Message(next + 25, print(&bytes)), bytes)
            }
            Action::Safety => {
                let bytes = of("safety", 0, 30);
                (Value::Safety(print(&bytes)), bytes)
            }
            Action::Member if !self.has_member(next) => {
                let bytes = of("members", next, 50);
                (Value::Membership(next, print(&bytes)), bytes)
            }
            Action::Recovery(number) => {
                let bytes = of("recovery", number, 20);
                (Value::Recovery(number, print(&bytes)), bytes)
            }
            _ => return,
        };
        self.store(vec![one]);
    }

    fn conflict(&mut self, number: SeqNo) {
        let error = self.log().store_decision(number, &Bytes::from_static(b"another")).err();
        match error {
            Some(Error::Conflict { .. }) => {}
            // The disk failed while it looked.
            Some(error) if self.script.sweep => self.failed(&error),
            other => panic!("another decision under a number that is taken: {other:?}"),
        }
    }

    fn issue(&mut self, step: Step) -> usize {
        self.tell(Event::Issued(Arc::new(step)));
        self.model.issued - 1
    }

    fn store(&mut self, values: Vec<(Value, Bytes)>) {
        let mut batch = Batch::<RawLayer>::new();
        let mut urgent = false;
        for (value, bytes) in &values {
            match value {
                Value::Decision(number, _) => batch.decision(*number, bytes),
                Value::Proof(number, _) => batch.proof(*number, bytes),
                Value::Membership(number, _) => batch.membership(*number, bytes),
                Value::Message(number, _) => batch.message(*number, bytes),
                Value::Recovery(number, _) => batch.recovery(*number, bytes),
                Value::Safety(_) => {
                    urgent = true;
                    batch.safety(bytes)
                }
            };
        }
        let number = self.issue(Step::Store(values.iter().map(|own| own.0).collect()));
        let result = match &values[..] {
            [(Value::Decision(number, _), bytes)] => self.log().store_decision(*number, bytes),
            [(Value::Membership(number, _), bytes)] => self.log().store_configuration(*number, bytes),
            _ => self.log().store_batch(&batch),
        };
        self.stored(number, result, urgent);
    }

    /// Takes note of a write that was taken or refused.
    fn stored(&mut self, number: usize, result: Result<Completion, Error>, urgent: bool) {
        let lazy = self.script.config.sync_policy != SyncPolicy::Always;
        match result {
            Ok(completion) if self.script.held || (lazy && !urgent) => {
                if urgent {
                    self.log().tick();
                    let durable = matches!(completion.is_durable(), Ok(true));
                    assert!(durable || self.may_fail(), "a safety record does not wait");
                }
                self.held.push((number, completion));
            }
            Ok(completion) => {
                let result = completion.wait();
                self.observe();
                self.decided(number, result);
            }
            Err(error) => self.decided(number, Err(error)),
        }
    }

    fn may_fail(&self) -> bool {
        self.script.full || self.script.sweep
    }

    fn decided(&mut self, number: usize, result: Result<(), Error>) {
        match result {
            Ok(()) => self.tell(Event::Durable(number)),
            Err(error) => {
                self.failed(&error);
                if !self.broken {
                    self.tell(Event::Refused(number));
                }
            }
        }
    }

    fn take_back(&mut self, action: Action) {
        let Some(last) = self.log().last_decision().unwrap_or(None) else { return };
        let (Action::Invalidate(back) | Action::Truncate(back)) = action else { return };
        let Some(at) = last.checked_sub(back) else { return };
        let checkpoint = self.log().last_checkpoint();
        let one = matches!(action, Action::Invalidate(_));
        let lowest = if one { at } else { at + 1 };
        if checkpoint.is_some_and(|checkpoint| lowest <= checkpoint) {
            let error = if one { self.log().invalidate(at).err() } else { self.log().truncate_after(at).err() };
            assert!(matches!(error, Some(Error::BelowCheckpoint { .. })), "a checkpoint has it: {error:?}");
            return;
        }
        let number = self.issue(if one { Step::Invalidate(at) } else { Step::Truncate(at) });
        let result = if one { self.log().invalidate(at) } else { self.log().truncate_after(at) };
        self.stored(number, result, true);
    }

    /// The checkpoints that go when there is one more.
    fn too_many(&self, log: &Files, with: SeqNo) -> Vec<SeqNo> {
        let mut all: Vec<SeqNo> = log.checkpoints().iter().map(|own| own.seq_no).collect();
        all.push(with);
        let count = all.len().saturating_sub(self.script.config.retention.checkpoints);
        all.truncate(count);
        all
    }

    fn checkpoint(&mut self, seq_no: SeqNo, bytes: usize) {
        let frontier = self.log().last_contiguous().unwrap_or(None).max(Some(seq_no));
        let content = state(seq_no, bytes);
        match self.log().last_checkpoint() {
            Some(last) if last > seq_no => return,
            Some(last) if last == seq_no => {
                // The same again, or another one: nothing changes.
                match self.log().store_checkpoint(seq_no, &content) {
                    Ok(_) | Err(Error::Conflict { .. }) => {}
                    Err(error) => self.failed(&error),
                }
                return;
            }
            _ => {}
        }
        let old = self.too_many(self.log(), seq_no);
        let oldest = self.log().checkpoints().iter().map(|own| own.seq_no).find(|own| !old.contains(own));
        let publish = self.issue(Step::Publish(seq_no, print(&content), bytes));
        let forget = (!old.is_empty()).then(|| self.issue(Step::Forget(old.clone())));
        let upto = self.compacted_by_itself(oldest.unwrap_or(seq_no), frontier);
        let compact = upto.map(|upto| (upto, self.issue(Step::Compact(upto))));
        let result = self.log().store_checkpoint(seq_no, &content);
        self.observe();
        match result {
            Ok(info) => {
                assert_eq!((info.seq_no, info.bytes), (seq_no, content.len() as u64));
                self.tell(Event::Durable(publish));
                let log = self.log.take().expect("open");
                self.tidied(&log, forget.map(|forget| (old, forget)), compact);
                self.log = Some(log);
            }
            Err(error) => {
                self.failed(&error);
                forget.into_iter().chain(compact.map(|own| own.1)).for_each(|own| self.tell(Event::Refused(own)));
                if !self.broken {
                    self.tell(Event::Refused(publish));
                }
            }
        }
    }

    /// Up to where a checkpoint makes the log compact itself.
    fn compacted_by_itself(&self, oldest: SeqNo, frontier: Option<SeqNo>) -> Option<SeqNo> {
        let retention = self.script.config.retention;
        if !retention.compact {
            return None;
        }
        let bound = retention.decisions.map_or(Some(u64::MAX), |kept| frontier?.checked_sub(kept));
        Some(oldest.min(bound?)).filter(|upto| self.log().base().is_none_or(|base| base < *upto))
    }

    /// Takes note of what followed a checkpoint.
    fn tidied(&mut self, log: &Files, forget: Option<(Vec<SeqNo>, usize)>, compact: Option<(SeqNo, usize)>) {
        let trouble = log.housekeeping();
        if let Some(error) = &trouble {
            self.failed(error);
        }
        if let Some((old, number)) = forget {
            let gone = log.checkpoints().iter().all(|own| !old.contains(&own.seq_no));
            assert!(gone || trouble.is_some(), "old checkpoints stay, and nobody says why");
            if gone {
                self.tell(Event::Durable(number));
            } else if !self.broken {
                self.tell(Event::Refused(number));
            }
        }
        if let Some((upto, number)) = compact {
            let done = log.base() >= Some(upto);
            assert!(done || trouble.is_some(), "not compacted, and nobody says why");
            if !done && !self.broken {
                self.tell(Event::Refused(number));
            }
        }
    }

    fn compact(&mut self, back: u64) {
        let last = self.log().last_checkpoint();
        let error = self.log().compact_log_up_to(last.map_or(1, |last| last + 1)).err();
        assert!(matches!(error, Some(Error::BeyondCheckpoint { .. })), "no checkpoint has it: {error:?}");
        let Some(upto) = last.and_then(|last| last.checked_sub(back)) else { return };
        if self.log().base() >= Some(upto) {
            return;
        }
        let number = self.issue(Step::Compact(upto));
        let result = self.log().compact_log_up_to(upto);
        self.observe();
        if let Err(error) = result {
            self.failed(&error);
            if !self.broken && self.log().base() < Some(upto) {
                self.tell(Event::Refused(number));
            }
        }
    }

    fn install(&mut self, seq_no: SeqNo, count: usize, then: Then) {
        if self.log().last_checkpoint() >= Some(seq_no) {
            return;
        }
        let log = self.log.take().expect("open");
        self.install_into(&log, seq_no, count, then);
        self.log = Some(log);
    }

    fn install_into(&mut self, log: &Files, seq_no: SeqNo, count: usize, then: Then) {
        let own = donated(seq_no);
        let begin = self.issue(Step::Begin(seq_no));
        let begun = log.begin_install(own.manifest.clone());
        self.observe();
        let install = match begun {
            Ok(install) => install,
            Err(error) => return self.decided(begin, Err(error)),
        };
        self.tell(Event::Durable(begin));
        let put = own.chunks.iter().take(count).try_for_each(|(digest, bytes)| install.put(*digest, bytes));
        if let Err(error) = put {
            return self.failed(&error);
        }
        match then {
            Then::Leave => {}
            Then::Abandon => {
                let number = self.issue(Step::Abandon);
                let result = install.abandon();
                self.observe();
                self.decided(number, result);
            }
            Then::Finish => {
                let old = self.too_many(log, seq_no);
                let finish = self.issue(Step::Finish(seq_no, own.print));
                let forget = (!old.is_empty()).then(|| self.issue(Step::Forget(old.clone())));
                let result = install.finish().map(|_| ());
                self.observe();
                if result.is_ok() {
                    self.tell(Event::Durable(finish));
                    return self.tidied(log, forget.map(|forget| (old, forget)), None);
                }
                forget.into_iter().for_each(|own| self.tell(Event::Refused(own)));
                self.decided(finish, result);
            }
        }
    }

    /// Takes note of an error that the outside was told.
    fn failed(&mut self, error: &Error) {
        self.broken |= matches!(error, Error::Failed { .. });
        match accept(error) {
            Ok(()) if self.may_fail() => {}
            _ => panic!("an unexpected error: {error}"),
        }
    }

    /// Looks at everything that is held.
    fn observe(&mut self) {
        for (number, completion) in std::mem::take(&mut self.held) {
            match completion.is_durable() {
                Ok(true) => self.tell(Event::Durable(number)),
                Ok(false) => self.held.push((number, completion)),
                Err(error) => self.decided(number, Err(error)),
            }
        }
    }
}
