//! A replica: the protocol between network and log. Owns the order of storing and saying: what binds a replica leaves it when it is
//! durable.
//!
//! Threads: this one runs the protocol; one executes; one accepts, and one reads each connection; one sends to each other replica;
//! one fetches a checkpoint when that is needed. The log's callbacks only send to channels.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use duramen_decisions::{
    Batch, Blake3, Completion, Digest as _, Error, Gate, PersistentLog as _, PersistentLogConfig, PersistentLogMode,
    RecoveryPolicy, Replica, SeqNo, SyncPolicy, What,
};

use crate::executor::{Executed, Service, Work};
use crate::frame::{receive, send};
use crate::network::{Event, Links};
use crate::protocol::{Core, Effect, Memory};
use crate::state::KeyValues;
use crate::transfer;
use crate::types::{
    Decision, Hash, Kept, Layer, Log, Membership, NewView, Proof, REPLICAS, ReplicaId, Safety, Status, View, Who, Wire,
    encoded,
};

/// The recovery information that holds what the view stands on.
const BASIS: u64 = 0;
/// How often the protocol looks at the time.
const TICK: Duration = Duration::from_millis(20);
/// How often a replica says how far it is.
const STATUS: Duration = Duration::from_millis(100);
/// Decisions that are sent to a peer at once.
const SENT_AT_ONCE: usize = 64;
/// Decisions that are applied at once in recovery.
const APPLIED_AT_ONCE: usize = 256;

/// How a replica is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which one it is.
    pub id: ReplicaId,
    /// Its folder.
    pub dir: PathBuf,
    /// The addresses of all, in the order of their ids.
    pub peers: Vec<String>,
    /// When decisions are executed. With `None`, votes do not wait for the disk either.
    pub mode: PersistentLogMode,
    /// A checkpoint after so many decisions.
    pub checkpoint_every: u64,
    /// The group begins: an empty folder means that nothing was ever voted on.
    pub new_group: bool,
}

/// The log's options.
pub fn options(dir: &std::path::Path) -> PersistentLogConfig {
    let mut config = PersistentLogConfig::new(dir);
    config.max_segment_size = 256 << 10;
    config.chunk_size = 16 << 10;
    config.cache_size = 1 << 20;
    // Damage is set aside and asked of the peers.
    config.recovery = RecoveryPolicy::SetAside;
    config.sync_policy = SyncPolicy::Always;
    config
}

/// What the log has of a replica.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The state.
    pub executed: Executed,
    safety: Option<Safety>,
    membership: Option<Membership>,
}

impl Replica<KeyValues, Layer> for Recovered {
    fn install(&mut self, seq_no: SeqNo, state: KeyValues) -> Result<(), String> {
        self.executed = Executed { seq_no, state };
        Ok(())
    }

    fn membership(&mut self, _: SeqNo, membership: Membership) -> Result<(), String> {
        self.membership = Some(membership);
        Ok(())
    }

    fn safety(&mut self, safety: Safety) -> Result<(), String> {
        self.safety = Some(safety);
        Ok(())
    }

    fn apply(&mut self, decisions: Vec<(SeqNo, Decision)>) -> Result<(), String> {
        for (seq_no, decision) in decisions {
            self.executed.state.apply(seq_no, &decision);
            self.executed.seq_no = seq_no;
        }
        Ok(())
    }
}

impl Recovered {
    /// Reads the log: its newest checkpoint, and the decisions behind that. Where one is damaged, what is before it.
    pub fn of(log: &Log) -> (Recovered, Result<(), Error>) {
        let mut recovered = Recovered::default();
        let result = log.recover(&What::Everything, APPLIED_AT_ONCE, &mut recovered).map(drop);
        (recovered, result)
    }
}

/// What a replica finds when it starts: its state, and what it knows of the protocol. A vote that may be lost is as bad as one that
/// is, so that a damaged log has no memory; the state it has is good, and the rest is asked of the peers.
fn remember(log: &Log, new_group: bool) -> Result<(Recovered, Memory), Error> {
    let (recovered, result) = Recovered::of(log);
    let decided = recovered.executed.seq_no;
    let memory = || {
        result?;
        if let Some(damage) = log.recovery_information().damage.as_ref().filter(|own| own.safety || own.messages) {
            return Err(Error::Damaged(damage.clone().into()));
        }
        let basis = log.retrieve_recovery(BASIS)?.map(|bytes| postcard::from_bytes(&bytes)).transpose();
        Ok(Memory {
            safety: recovered.safety.clone(),
            decided,
            last: log.decision_digest(decided)?.map(|digest| digest.bytes()),
            kept: log.retrieve_messages(decided + 1)?,
            basis: basis
                .map_err(|error| Error::Codec { what: "the view's basis".into(), reason: error.to_string() })?,
            new_group,
        })
    };
    let memory = match memory() {
        Err(error) if error.is_damage() => {
            println!("damaged: {error}");
            Memory { decided, ..Memory::default() }
        }
        memory => memory?,
    };
    Ok((recovered, memory))
}

struct Running {
    settings: Settings,
    log: Arc<Log>,
    core: Core,
    links: Arc<Links>,
    gate: Arc<Gate<Work>>,
    service: Arc<Service>,
    events: Sender<Event>,
    /// All is decided up to this one, durably.
    durable: Arc<AtomicU64>,
    fetching: bool,
    told: (View, bool),
}

/// Listens on an address, which one that was killed a moment ago may still have.
fn listen(address: &str) -> std::io::Result<TcpListener> {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && begun.elapsed() < Duration::from_secs(3) => {
                thread::sleep(Duration::from_millis(50));
            }
            bound => return bound,
        }
    }
}

/// Runs a replica, until its log fails.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    ensure!(settings.peers.len() == REPLICAS, "say the addresses of {REPLICAS} replicas");
    let address = settings.peers.get(usize::from(settings.id)).context("there is no such replica")?;
    let listener = listen(address).with_context(|| format!("{address} cannot be listened on"))?;
    let log = Arc::new(Log::new(options(&settings.dir))?);
    let (recovered, memory) = remember(&log, settings.new_group)?;
    let membership = Membership { replicas: settings.peers.clone() };
    match &recovered.membership {
        Some(known) => ensure!(*known == membership, "the group is {known:?}"),
        None => log.store_configuration(1, &membership)?.wait()?,
    }
    println!("starts behind decision {}", memory.decided);
    if recovered.membership.is_none() && !settings.new_group {
        println!(
            "its folder was empty: it asks the others what it may have voted on; a new group begins with --new-group"
        );
    }
    let (events, incoming) = channel();
    let mut running = Running {
        core: Core::new(settings.id, memory),
        links: Arc::new(Links::new(settings.id, &settings.peers, events.clone())),
        gate: Arc::new(Gate::new(settings.mode)),
        durable: Arc::new(AtomicU64::new(recovered.executed.seq_no)),
        service: Arc::new(Service::new(recovered.executed)),
        fetching: false,
        told: (0, true),
        settings,
        log,
        events,
    };
    running.start_threads(listener);
    running.serve(&incoming)
}

impl Running {
    fn start_threads(&self, listener: TcpListener) {
        let (service, log, gate, links) =
            (self.service.clone(), self.log.clone(), self.gate.clone(), self.links.clone());
        let every = self.settings.checkpoint_every;
        thread::spawn(move || {
            if let Err(error) = service.execute(&log, &gate, every) {
                links.fail(error);
            }
        });
        let door = Door { log: self.log.clone(), service: self.service.clone(), events: self.events.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let door = door.clone();
                thread::spawn(move || drop(door.serve(stream)));
            }
        });
    }

    fn serve(&mut self, incoming: &Receiver<Event>) -> anyhow::Result<()> {
        let begun = Instant::now();
        let (mut ticked, mut said) = (Duration::ZERO, Duration::ZERO);
        loop {
            match incoming.recv_timeout(TICK) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("nobody is left to listen to"),
            }
            let now = begun.elapsed();
            if now - ticked >= TICK {
                self.core.tick(now);
                ticked = now;
            }
            for effect in self.core.effects() {
                self.run(effect)?;
            }
            if now - said >= STATUS {
                let status = self.status();
                self.links.say(None, &Wire::Status(status));
                said = now;
            }
        }
    }

    fn take(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Message(from, Wire::Fetch(after)) => self.send_decisions(from, after)?,
            Event::Message(from, message) => self.core.receive(from, message),
            Event::Request(command) => self.core.request(command),
            Event::Failed(error) => return Err(error).context("the log failed"),
            Event::Fetched(Err(error)) => {
                self.fetching = false;
                println!("no checkpoint yet: {error:#}");
            }
            Event::Fetched(Ok(seq_no)) => {
                self.fetching = false;
                println!("installed the checkpoint of {seq_no}");
                let state = self.log.retrieve_checkpoint(seq_no)?.context("it was installed")?;
                self.core.installed(seq_no, state.answers().iter().map(|(client, own)| (*client, own.number)));
                self.durable.fetch_max(seq_no, Ordering::SeqCst);
                self.gate.submit(Work::Replace(seq_no, state), Completion::done());
            }
        }
        Ok(())
    }

    fn status(&mut self) -> Status {
        let (view, active) = self.core.view();
        if self.told != (view, active) {
            self.told = (view, active);
            println!("{} view {view}", if active { "enters" } else { "asks for" });
        }
        let checkpoints = self.log.checkpoints().into_iter().map(|own| (own.seq_no, own.root.bytes())).collect();
        let decided = self.durable.load(Ordering::SeqCst);
        Status { view, active, decided, base: self.log.base().unwrap_or(0), checkpoints }
    }

    fn run(&mut self, effect: Effect) -> anyhow::Result<()> {
        match effect {
            Effect::Keep { kept, safety, basis, say } => self.keep(kept, &safety, basis.as_ref(), say)?,
            Effect::Say(to, message) => self.links.say(to, &message),
            Effect::Decide(seq_no, decision, proof, safety) => self.decide(seq_no, decision, &proof, &safety)?,
            Effect::Install(seq_no, root) => self.fetch_checkpoint(seq_no, root),
        }
        Ok(())
    }

    /// Stores what binds this replica, and says it when it is durable.
    fn keep(
        &self,
        kept: Option<(SeqNo, Kept)>,
        safety: &Safety,
        basis: Option<&NewView>,
        say: Option<Wire>,
    ) -> anyhow::Result<()> {
        let mut batch = Batch::new();
        batch.safety(safety);
        if let Some((seq_no, kept)) = &kept {
            batch.message(*seq_no, kept);
        }
        if let Some(basis) = basis {
            batch.recovery(BASIS, &encoded(basis));
        }
        let completion = self.log.store_batch(&batch)?;
        let links = self.links.clone();
        let told = move |result: Result<(), Error>| match (result, say) {
            (Ok(()), Some(say)) => links.say_to_all(say),
            (Ok(()), None) => {}
            (Err(error), _) => links.fail(error),
        };
        if self.gate.mode() == PersistentLogMode::None {
            told(Ok(()))
        } else {
            completion.on_durable(told)
        }
        Ok(())
    }

    /// Stores a decision with all that belongs to it, and hands it to the gate.
    fn decide(&self, seq_no: SeqNo, decision: Decision, proof: &Proof, safety: &Safety) -> anyhow::Result<()> {
        let mut batch = Batch::new();
        batch.decision(seq_no, &decision).proof(seq_no, proof).safety(safety);
        let stored = match self.log.store_batch(&batch) {
            // Compacted here before the checkpoint that had it was damaged.
            Err(Error::Compacted { .. }) => Completion::done(),
            // One that lies here is damaged: this is what it was.
            Err(error) if error.is_damage() => {
                drop(self.log.invalidate(seq_no)?);
                self.log.store_batch(&batch)?
            }
            stored => stored?,
        };
        // Two want to know: the gate, and whoever tells the others how far this replica is.
        let (completer, completion) = Completion::pair(&self.log.config().world.environment);
        let durable = self.durable.clone();
        let told = move |result: Result<(), Error>| {
            if result.is_ok() {
                durable.fetch_max(seq_no, Ordering::SeqCst);
            }
            completer.complete(result);
        };
        if self.gate.mode() == PersistentLogMode::None {
            told(Ok(()))
        } else {
            stored.on_durable(told)
        }
        self.gate.submit(Work::Apply(seq_no, decision), completion);
        Ok(())
    }

    /// Sends a peer decisions that it lacks, with their proofs. Of what was compacted it hears by the status; what is damaged here
    /// it has to get from others.
    fn send_decisions(&self, peer: ReplicaId, after: SeqNo) -> anyhow::Result<()> {
        match self.try_to_send(peer, after) {
            Err(error) if error.is_damage() || matches!(error, Error::Compacted { .. }) => Ok(()),
            sent => Ok(sent?),
        }
    }

    fn try_to_send(&self, peer: ReplicaId, after: SeqNo) -> Result<(), Error> {
        let durable = self.durable.load(Ordering::SeqCst);
        for own in self.log.retrieve_decisions_after(Some(after))?.take(SENT_AT_ONCE) {
            let (seq_no, decision) = own?;
            let Some(proof) = self.log.retrieve_proof(seq_no)?.filter(|_| seq_no <= durable) else { break };
            self.links.say(Some(peer), &Wire::Decided(seq_no, decision, proof));
        }
        Ok(())
    }

    fn fetch_checkpoint(&mut self, seq_no: SeqNo, root: Hash) {
        if self.fetching {
            return;
        }
        self.fetching = true;
        let others = (0..).zip(&self.settings.peers).filter(|(id, _)| *id != self.settings.id);
        let peers: Vec<String> = others.map(|(_, address)| address.clone()).collect();
        let (log, events) = (self.log.clone(), self.events.clone());
        thread::spawn(move || {
            let fetched = transfer::install(&log, &peers, seq_no, root);
            _ = events.send(Event::Fetched(fetched));
        });
    }
}

/// What a connection's thread needs.
#[derive(Clone)]
struct Door {
    log: Arc<Log>,
    service: Arc<Service>,
    events: Sender<Event>,
}

impl Door {
    fn serve(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        match receive(&mut stream)? {
            Wire::Hello(Who::Replica(id)) if usize::from(id) < REPLICAS => loop {
                let message = receive(&mut stream)?;
                self.events.send(Event::Message(id, message))?;
            },
            Wire::Hello(Who::Client(client)) => self.serve_client(client, stream),
            Wire::Hello(Who::Visitor) => loop {
                let question = receive(&mut stream)?;
                send(&mut stream, &self.answer(question)?)?;
            },
            other => bail!("a connection that does not say whose it is: {other:?}"),
        }
    }

    fn serve_client(&self, client: u64, mut stream: TcpStream) -> anyhow::Result<()> {
        let (answers, waiting) = channel();
        let mut out = stream.try_clone()?;
        thread::spawn(move || waiting.iter().try_for_each(|answer| send(&mut out, &answer)));
        self.service.add_client(client, answers);
        loop {
            let Wire::Put(command) = receive(&mut stream)? else { bail!("a client may only put") };
            ensure!(command.client == client, "a client speaks for itself");
            let known = self.service.executed().state.answers().get(&client).copied();
            match known.filter(|known| known.number >= command.number) {
                Some(known) => self.service.answer(client, known),
                None => self.events.send(Event::Request(command))?,
            }
        }
    }

    fn answer(&self, question: Wire) -> anyhow::Result<Wire> {
        Ok(match question {
            Wire::AskManifest(seq_no) => Wire::Bytes(self.log.manifest(seq_no).ok().map(|own| own.encode())),
            Wire::AskChunk(digest) => {
                let chunk = self.log.chunk(Blake3::from_bytes(digest)).ok().flatten();
                Wire::Bytes(chunk.map(|chunk| chunk.to_vec()))
            }
            Wire::AskState => {
                let executed = self.service.executed();
                Wire::State(executed.seq_no, executed.state.digest())
            }
            Wire::AskValues(keys) => {
                let executed = self.service.executed();
                Wire::Values(keys.iter().map(|key| executed.state.get(key).cloned()).collect())
            }
            other => bail!("no question: {other:?}"),
        })
    }
}
