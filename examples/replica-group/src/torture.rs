//! A group that is killed again and again. Owns the processes it starts, and the verdict: every acknowledged put is in every
//! replica, and all states are the same, as the replicas say it and as their logs do.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::ops::Range;
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

/// What of a segment is overwritten.
const ROT: Range<usize> = 20_000..22_000;

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

/// What was done beside killing.
#[derive(Clone, Copy, Debug, Default)]
struct Harm {
    /// The replica whose folder was deleted.
    deleted: Option<usize>,
    /// A part of what the same one had stored anew was overwritten.
    rotten: bool,
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

    /// Kills for as long as was asked: each replica once, then all at once, then each again in another order.
    fn torment(&mut self) -> anyhow::Result<Harm> {
        let mut chance = Chance(self.torture.seed);
        let begun = Instant::now();
        let end = Duration::from_secs(self.torture.seconds);
        let mut harm = Harm::default();
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
                // The same one as before: that more than f replicas lose their memory is not survived.
                let ill = harm.deleted.filter(|_| !harm.rotten && begun.elapsed() >= end * 3 / 4);
                let victims = ill.map_or(victims, |id| vec![id]);
                victims.iter().for_each(|id| self.kill(*id));
                if harm.deleted.is_none() && victims.len() == 1 && begun.elapsed() >= end / 2 {
                    std::fs::remove_dir_all(self.folder(victims[0]))?;
                    harm.deleted = Some(victims[0]);
                }
                if let Some(id) = ill {
                    harm.rotten = rot(&self.folder(id))?;
                }
                // Often longer than the others wait for a primary.
                thread::sleep(Duration::from_millis(chance.between(0, 1500)));
                victims.into_iter().try_for_each(|id| self.start(id, false))?;
            }
        }
        Ok(harm)
    }

    fn said(&self, begins: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.starts_with(begins)).cloned().collect()
    }
}

/// Zeroes a stretch of each of the two newest segments, of which one is sealed and is not looked at before it is read. `false`: there
/// are not so many.
fn rot(folder: &Path) -> anyhow::Result<bool> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder.join("journal"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            segments.push(path);
        }
    }
    segments.sort();
    let mut newest = Vec::new();
    for path in segments.into_iter().rev() {
        let bytes = std::fs::read(&path)?;
        // Those that are made ahead hold nothing yet.
        if bytes.iter().rposition(|byte| *byte != 0) > Some(ROT.end) {
            newest.push((path, bytes));
        }
    }
    newest.truncate(2);
    let enough = newest.len() == 2;
    for (path, mut bytes) in newest.into_iter().filter(|_| enough) {
        bytes[ROT].fill(0);
        std::fs::write(&path, bytes)?;
    }
    Ok(enough)
}

/// Opens a log again, and compares: its state with that of all, its decisions with those that the logs before it have. Of a `rotten`
/// one the newest checkpoint, and what is behind it, must be whole.
fn check_log(
    folder: &Path,
    all: (SeqNo, Hash),
    rotten: bool,
    decisions: &mut BTreeMap<SeqNo, Hash>,
) -> anyhow::Result<()> {
    let log = Log::new(options(folder))?;
    let (recovered, result) = Recovered::of(&log);
    result?;
    let executed = recovered.executed;
    let found = (executed.seq_no, executed.state.digest());
    ensure!(found == all, "the log has another state: {found:?}");
    for own in log.retrieve_decisions_after(log.base())? {
        let (seq_no, decision) = match own {
            // One that the newest checkpoint has need not be made whole.
            Err(error) if rotten && error.is_damage() => continue,
            own => own?,
        };
        let known = *decisions.entry(seq_no).or_insert_with(|| decision.digest());
        ensure!(known == decision.digest(), "another decision {seq_no}");
        let proof = match log.retrieve_proof(seq_no) {
            Err(error) if rotten && error.is_damage() => continue,
            proof => proof?.with_context(|| format!("decision {seq_no} has no proof"))?,
        };
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
    let harm = group.torment().with_context(|| format!("the folders are in {}", dir.display()))?;
    drop(clients);
    let line = verdict(&mut group, &acknowledged, harm);
    let line = line.with_context(|| format!("seed {}; the folders are in {}", torture.seed, dir.display()))?;
    std::fs::remove_dir_all(&dir)?;
    Ok(line)
}

fn verdict(group: &mut Group<'_>, acknowledged: &Lines, harm: Harm) -> anyhow::Result<String> {
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
        let rotten = harm.rotten && harm.deleted == Some(id);
        let checked = check_log(&group.folder(id), (seq_no, digest), rotten, &mut decisions);
        checked.with_context(|| format!("the log of replica {id}"))?;
    }
    let installed = group.said("installed").len();
    let views =
        group.said("enters").iter().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).max().unwrap_or(0u64);
    let damaged = group.said("damaged").len();
    ensure!(harm.deleted.is_none() || installed > 0, "a folder was deleted, and no checkpoint was fetched");
    ensure!(!harm.rotten || damaged > 0, "what was overwritten is not noticed");
    let harm = match harm {
        Harm { deleted: None, .. } => "no folder deleted".into(),
        Harm { deleted: Some(id), rotten } => {
            let rotten =
                if rotten { format!(" and overwritten in part (told {damaged} times)") } else { String::new() };
            format!("the folder of replica {id} deleted{rotten}")
        }
    };
    Ok(format!(
        "seed {}, {} s, {}: {} kills, {harm}, {installed} checkpoints fetched, {views} views; {} puts acknowledged, all in \
         4 replicas; {seq_no} decisions, 4 equal states: {}",
        group.torture.seed,
        group.torture.seconds,
        group.torture.mode,
        group.kills,
        puts.len(),
        Blake3::from_bytes(digest),
    ))
}
