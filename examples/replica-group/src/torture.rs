//! A group that is killed again and again. Owns the processes it starts, and the verdict: every acknowledged put is in every
//! replica, and all states are the same, as the replicas say it and as their logs do.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use duramen_decisions::{Blake3, Digest as _, PersistentLog as _, SeqNo};

use crate::check;
use crate::replica::{Recovered, options};
use crate::types::{Hash, Log, REPLICAS};

/// How long the group may take to become equal when nothing is killed any more.
const PATIENCE: Duration = Duration::from_secs(40);

/// What is to be done to a group.
#[derive(Clone, Debug)]
pub struct Torture {
    /// For so long.
    pub seconds: u64,
    /// What decides who is killed when; the timing is the machine's.
    pub seed: u64,
    /// Clients.
    pub clients: u64,
    /// The replicas' mode, as their command line has it.
    pub mode: String,
    /// A checkpoint after so many decisions.
    pub checkpoint_every: u64,
    /// Where the folders are made.
    pub dir: Option<PathBuf>,
}

/// Numbers that a seed decides: SplitMix64 (Steele, Lea and Flood, 2014).
struct Chance(u64);

impl Chance {
    fn between(&mut self, first: u64, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        first + (mixed ^ (mixed >> 31)) % (end - first)
    }

    /// All replicas, in some order.
    fn order(&mut self) -> Vec<usize> {
        let mut rest: Vec<usize> = (0..REPLICAS).collect();
        (0..REPLICAS).map(|_| rest.swap_remove(self.between(0, rest.len() as u64) as usize)).collect()
    }
}

/// Addresses on which nothing listens: below the ports that the kernel gives to connections, one of which could take a dead
/// replica's.
fn free_addresses() -> Vec<String> {
    let first = std::process::id() % 10_000;
    let addresses = (0..10_000).map(|next| format!("127.0.0.1:{}", 20_000 + (first + next) % 10_000));
    addresses.filter(|address| TcpListener::bind(address).is_ok()).take(REPLICAS).collect()
}

/// The lines that a process printed.
type Lines = Arc<Mutex<Vec<String>>>;

fn collect(out: ChildStdout, lines: Lines) -> JoinHandle<()> {
    thread::spawn(move || {
        // The last line of a killed process may be cut; what follows it would be its own.
        let mut out = BufReader::new(out);
        let mut line = String::new();
        while out.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line.ends_with('\n') {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.trim_end().to_string());
            line.clear();
        }
    })
}

/// A process that does not outlive this value.
struct Process {
    child: Child,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    fn start(arguments: &[String], lines: &Lines) -> anyhow::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let reader = child.stdout.take().map(|out| collect(out, lines.clone()));
        Ok(Process { child, reader })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        _ = self.child.kill();
        _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            _ = reader.join();
        }
    }
}

struct Group<'a> {
    torture: &'a Torture,
    dir: PathBuf,
    peers: Vec<String>,
    running: Vec<Option<Process>>,
    lines: Lines,
    kills: u64,
}

impl Group<'_> {
    fn folder(&self, id: usize) -> PathBuf {
        self.dir.join(format!("replica-{id}"))
    }

    fn start(&mut self, id: usize, new_group: bool) -> anyhow::Result<()> {
        let folder = self.folder(id);
        let every = self.torture.checkpoint_every.to_string();
        let folder = folder.to_str().context("the folder's name is no text")?;
        let mut arguments: Vec<String> = ["replica", "--id", &id.to_string(), "--dir", folder].map(String::from).into();
        arguments.extend(["--peers".into(), self.peers.join(","), "--mode".into(), self.torture.mode.clone()]);
        arguments.extend(["--checkpoint-every".into(), every, "--with-parent".into()]);
        if new_group {
            arguments.push("--new-group".into());
        }
        self.running[id] = Some(Process::start(&arguments, &self.lines)?);
        Ok(())
    }

    fn kill(&mut self, id: usize) {
        self.kills += u64::from(self.running[id].take().is_some());
    }

    /// No replica may end by itself.
    fn check_running(&mut self) -> anyhow::Result<()> {
        for (id, process) in self.running.iter_mut().enumerate() {
            let ended = process.as_mut().and_then(|process| process.child.try_wait().ok().flatten());
            ensure!(ended.is_none(), "replica {id} ended by itself: {ended:?}");
        }
        Ok(())
    }

    /// Kills for as long as was asked: each replica once, then all at once, then each again in another order. Returns which replica
    /// lost its folder.
    fn torment(&mut self) -> anyhow::Result<Option<usize>> {
        let mut chance = Chance(self.torture.seed);
        let begun = Instant::now();
        let end = Duration::from_secs(self.torture.seconds);
        let mut deleted = None;
        while begun.elapsed() < end {
            let mut rounds: Vec<Vec<usize>> = chance.order().into_iter().map(|id| vec![id]).collect();
            if self.torture.mode != "none" {
                // A group that waits for no disk lives as long as enough of its processes.
                rounds.push((0..REPLICAS).collect());
            }
            for victims in rounds {
                thread::sleep(Duration::from_millis(chance.between(200, 800)));
                if begun.elapsed() >= end {
                    break;
                }
                self.check_running()?;
                victims.iter().for_each(|id| self.kill(*id));
                if deleted.is_none() && victims.len() == 1 && begun.elapsed() >= end / 2 {
                    std::fs::remove_dir_all(self.folder(victims[0]))?;
                    deleted = Some(victims[0]);
                }
                // Often longer than the others wait for a primary.
                thread::sleep(Duration::from_millis(chance.between(0, 1500)));
                victims.into_iter().try_for_each(|id| self.start(id, false))?;
            }
        }
        Ok(deleted)
    }

    fn said(&self, begins: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.starts_with(begins)).cloned().collect()
    }
}

/// Opens a log again, and compares: its state with that of all, its decisions with those that the logs before it have.
fn check_log(folder: &Path, all: (SeqNo, Hash), decisions: &mut BTreeMap<SeqNo, Hash>) -> anyhow::Result<()> {
    let log = Log::new(options(folder))?;
    let executed = Recovered::of(&log)?.executed;
    let found = (executed.seq_no, executed.state.digest());
    ensure!(found == all, "the log has another state: {found:?}");
    for own in log.retrieve_decisions_after(log.base())? {
        let (seq_no, decision) = own?;
        let known = *decisions.entry(seq_no).or_insert_with(|| decision.digest());
        ensure!(known == decision.digest(), "another decision {seq_no}");
        let proof = log.retrieve_proof(seq_no)?.with_context(|| format!("decision {seq_no} has no proof"))?;
        ensure!(proof.shows(&decision), "the proof of decision {seq_no} shows nothing: {proof:?}");
    }
    ensure!(log.retrieve_configuration(all.0)?.is_some(), "the membership is missing");
    Ok(())
}

/// Does it; returns a line about it.
///
/// # Errors
/// Something is missing, or replicas differ. The folders stay.
pub fn torture(torture: &Torture) -> anyhow::Result<String> {
    let temporary = || std::env::temp_dir().join(format!("replica-group-{}", std::process::id()));
    let dir = torture.dir.clone().unwrap_or_else(temporary);
    std::fs::create_dir_all(&dir)?;
    let peers = free_addresses();
    ensure!(peers.len() == REPLICAS, "no free ports");
    let running = (0..REPLICAS).map(|_| None).collect();
    let mut group =
        Group { torture, dir: dir.clone(), peers: peers.clone(), running, lines: Lines::default(), kills: 0 };
    (0..REPLICAS).try_for_each(|id| group.start(id, true))?;
    let acknowledged = Lines::default();
    let client = |id| {
        let arguments = ["client", "--id", &u64::to_string(&id), "--peers", &peers.join(",")].map(String::from);
        Process::start(&arguments, &acknowledged)
    };
    let clients: Vec<Process> = (1..=torture.clients).map(client).collect::<anyhow::Result<_>>()?;
    let deleted = group.torment().with_context(|| format!("the folders are in {}", dir.display()))?;
    drop(clients);
    let line = verdict(&mut group, &acknowledged, deleted);
    let line = line.with_context(|| format!("seed {}; the folders are in {}", torture.seed, dir.display()))?;
    std::fs::remove_dir_all(&dir)?;
    Ok(line)
}

fn verdict(group: &mut Group<'_>, acknowledged: &Lines, deleted: Option<usize>) -> anyhow::Result<String> {
    let puts: Vec<(String, String)> = {
        let lines = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let put = |line: &String| {
            line.split_once(' ').map(|(key, rest)| (key.into(), rest.split(' ').next().unwrap_or("").into()))
        };
        lines.iter().filter_map(put).collect()
    };
    ensure!(!puts.is_empty(), "nothing was acknowledged");
    let (seq_no, digest) = check::wait_until_equal(&group.peers, PATIENCE)?;
    for (id, peer) in group.peers.iter().enumerate() {
        let missing = check::missing(peer, &puts)?;
        ensure!(missing.is_empty(), "replica {id} has not {} acknowledged puts: {missing:.3?}", missing.len());
    }
    group.check_running()?;
    (0..REPLICAS).for_each(|id| group.kill(id));
    let mut decisions = BTreeMap::new();
    for id in 0..REPLICAS {
        let checked = check_log(&group.folder(id), (seq_no, digest), &mut decisions);
        checked.with_context(|| format!("the log of replica {id}"))?;
    }
    let installed = group.said("installed").len();
    let views =
        group.said("enters").iter().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).max().unwrap_or(0u64);
    let lost = deleted.map_or("no folder".into(), |id| format!("the folder of replica {id}"));
    ensure!(deleted.is_none() || installed > 0, "{lost} was deleted, and no checkpoint was fetched");
    Ok(format!(
        "seed {}, {} s, {}: {} kills, {lost} deleted, {installed} checkpoints fetched, {views} views; {} puts acknowledged, all in \
         4 replicas; {seq_no} decisions, 4 equal states: {}",
        group.torture.seed,
        group.torture.seconds,
        group.torture.mode,
        group.kills,
        puts.len(),
        Blake3::from_bytes(digest),
    ))
}
