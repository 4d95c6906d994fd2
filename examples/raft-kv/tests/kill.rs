//! Three processes under load, killed with -9 again and again: each of them, the leader, all at once. Then nothing that a
//! client was told is missing, what clients saw is linearizable, and the logs agree.
//!
//! `RAFT_KV_ROUNDS` says how many kills (default 9), `RAFT_KV_SEED` which (a run prints its own). The schedule is replayed by
//! the seed, the timing is not. A kill leaves the kernel alive: that power cuts lose nothing either is shown on the simulated
//! disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use duramen_raft::RaftLog;
use duramen_raft::openraft_10::OpenRaft;
use raft_kv::client::{Client, NotDone};
use raft_kv::history::{Asked, Call, check};
use raft_kv::server::Settings;
use raft_kv::types::{Command, Kv, Stored};

const CLIENTS: u64 = 4;
const KEYS: u64 = 5;

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("raft-kv-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Three addresses on which nothing listens: below the ports that the kernel gives to connections, one of which could take a
/// dead node's.
fn free_addresses() -> Vec<String> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() % 10_000;
    let addresses = std::iter::repeat_with(|| {
        let next = u32::from(NEXT.fetch_add(1, Ordering::SeqCst));
        format!("127.0.0.1:{}", 20_000 + (first + next) % 10_000)
    });
    addresses.filter(|address| std::net::TcpListener::bind(address).is_ok()).take(3).collect()
}

/// The three processes.
struct Cluster {
    folder: Folder,
    mem_first: bool,
    /// Logs that lost something are made whole; their segments are small, and nothing is purged.
    repairs: bool,
    addresses: BTreeMap<u64, String>,
    running: BTreeMap<u64, Child>,
}

impl Cluster {
    async fn start(name: &str, mem_first: bool, repairs: bool) -> Cluster {
        let folder = Folder::new(name);
        let addresses = (1..).zip(free_addresses()).collect();
        let mut cluster = Cluster { folder, mem_first, repairs, addresses, running: BTreeMap::new() };
        (1..=3).for_each(|id| cluster.run(id));
        let client = cluster.client();
        let begun = Instant::now();
        while let Err(error) = client.init().await {
            assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cluster.wait_for_leader().await;
        cluster
    }

    fn settings(&self, id: u64) -> Settings {
        let dir = self.folder.0.join(id.to_string());
        let (listen, mem_first) = (self.addresses[&id].clone(), self.mem_first);
        let settings = Settings {
            id,
            dir,
            listen,
            mem_first,
            snapshot_every: 300,
            segment_bytes: 1 << 20,
            repair_from: BTreeMap::new(),
        };
        if !self.repairs {
            return settings;
        }
        Settings { snapshot_every: 1_000_000, segment_bytes: 64 << 10, repair_from: self.addresses.clone(), ..settings }
    }

    fn run(&mut self, id: u64) {
        let settings = self.settings(id);
        let mut process = Process::new(env!("CARGO_BIN_EXE_raft-kv"));
        process.args(["serve", "--id", &id.to_string(), "--listen", &settings.listen]);
        process.arg("--dir").arg(&settings.dir).args(["--snapshot-every", &settings.snapshot_every.to_string()]);
        process.args(["--segment-bytes", &settings.segment_bytes.to_string()]);
        if self.mem_first {
            process.arg("--mem-first");
        }
        if self.repairs {
            let nodes: Vec<String> = self.addresses.iter().map(|(id, address)| format!("{id}={address}")).collect();
            process.args(["--repair-from", &nodes.join(",")]);
        }
        let child = process.stdout(Stdio::null()).spawn().expect("starts");
        self.running.insert(id, child);
    }

    fn kill(&mut self, id: u64) {
        if let Some(mut child) = self.running.remove(&id) {
            child.kill().expect("SIGKILL");
            child.wait().expect("ends");
        }
    }

    fn client(&self) -> Client {
        Client::new(self.addresses.clone())
    }

    async fn wait_for_leader(&mut self) {
        let client = self.client();
        let begun = Instant::now();
        while client.read("nothing").await.is_err() {
            for (id, child) in &mut self.running {
                let ended = child.try_wait().expect("can be asked");
                assert!(ended.is_none(), "node {id} ended by itself: {ended:?}");
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "no leader");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (1..=3).for_each(|id| self.kill(id));
    }
}

/// Numbers that a seed decides.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

/// What the clients did.
#[derive(Default)]
struct Record {
    calls: Vec<Call>,
    /// Keys that were written once, each with its value, and acknowledged.
    once: Vec<(String, String)>,
}

struct Load {
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

fn micros(begun: Instant) -> u64 {
    begun.elapsed().as_micros() as u64
}

/// One client: makes up calls, each value its own, and notes what it saw.
async fn one_client(
    number: u64,
    seed: u64,
    client: Client,
    begun: Instant,
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
) {
    let mut chance = Chance(seed * 1000 + number);
    let mut last: BTreeMap<String, Option<String>> = BTreeMap::new();
    for count in 0u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let (key, value) = (format!("key-{}", chance.below(KEYS)), format!("{number}-{count}"));
        let from = micros(begun);
        let note = |asked, to| {
            let call = Call { key: key.clone(), asked, from, to };
            record.lock().expect("no client panics").calls.push(call);
        };
        match chance.below(10) {
            0..4 => match client.read(&key).await {
                Ok(seen) => {
                    note(Asked::Read(seen.clone()), Some(micros(begun)));
                    last.insert(key.clone(), seen);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            4..7 => match client.write(&Command::Put { key: key.clone(), value: value.clone() }).await {
                Ok(_) => note(Asked::Put(value), Some(micros(begun))),
                Err(error) if error.is::<NotDone>() => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(_) => note(Asked::Put(value), None),
            },
            7..9 => {
                let expected = last.get(&key).cloned().flatten();
                let command = Command::Cas { key: key.clone(), expected: expected.clone(), value: value.clone() };
                let asked = |done| Asked::Cas { expected, value, done };
                match client.write(&command).await {
                    Ok(answer) => note(asked(Some(answer.done)), Some(micros(begun))),
                    Err(error) if error.is::<NotDone>() => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(_) => note(asked(None), None),
                }
            }
            _ => {
                let key = format!("once-{value}");
                if client.write(&Command::Put { key: key.clone(), value: value.clone() }).await.is_ok() {
                    record.lock().expect("no client panics").once.push((key, value));
                }
            }
        }
    }
}

impl Load {
    fn start(cluster: &Cluster, seed: u64) -> Load {
        let (record, stop, begun) = (Arc::<Mutex<Record>>::default(), Arc::<AtomicBool>::default(), Instant::now());
        let client =
            |number| tokio::spawn(one_client(number, seed, cluster.client(), begun, record.clone(), stop.clone()));
        let clients = (0..CLIENTS).map(client).collect();
        Load { record, stop, clients }
    }

    fn acknowledged(&self) -> usize {
        let record = self.record.lock().expect("no client panics");
        record.once.len() + record.calls.iter().filter(|call| call.to.is_some()).count()
    }

    async fn end(self) -> Record {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.expect("a client does not panic");
        }
        std::mem::take(&mut *self.record.lock().expect("no client panics"))
    }
}

/// Reads everything once more; what is wrong, in words.
async fn judge(cluster: &mut Cluster, mut record: Record) -> Result<String, String> {
    cluster.wait_for_leader().await;
    let client = cluster.client();
    let end = record.calls.iter().filter_map(|call| call.to.max(Some(call.from))).max().unwrap_or(0) + 1;
    for number in 0..KEYS {
        let key = format!("key-{number}");
        let seen = client.read(&key).await.map_err(|error| error.to_string())?;
        record.calls.push(Call { key, asked: Asked::Read(seen), from: end + number, to: Some(end + number) });
    }
    for (key, value) in &record.once {
        let seen = client.read(key).await.map_err(|error| error.to_string())?;
        if seen.as_ref() != Some(value) {
            return Err(format!("{key} was acknowledged, and is {seen:?}"));
        }
    }
    check(&record.calls)?;
    let unknown = record.calls.iter().filter(|call| call.to.is_none()).count();
    let known = record.calls.len() - unknown + record.once.len();
    Ok(format!("{known} calls answered, {unknown} of unknown outcome, nothing missing, linearizable"))
}

/// The ids and the bytes of a log's committed entries.
fn committed(settings: &Settings) -> BTreeMap<u64, String> {
    let config = settings.log();
    let (log, opened) = RaftLog::<OpenRaft<Kv, Stored>>::open(config).expect("opens");
    assert!(opened.losses.is_empty(), "{opened:?}");
    let Some(committed) = log.state().committed else { return BTreeMap::new() };
    let first = log.reader().first_index().unwrap_or(0);
    let entries = log.reader().range(first..committed.index + 1, usize::MAX).expect("reads");
    entries.iter().map(|entry| (entry.index(), format!("{:?}", entry))).collect()
}

/// All processes are gone: the logs that they left say the same of what both have.
fn logs_agree(cluster: &mut Cluster) -> usize {
    (1..=3).for_each(|id| cluster.kill(id));
    let logs: Vec<_> = (1..=3).map(|id| committed(&cluster.settings(id))).collect();
    let mut compared = 0;
    for (index, entry) in &logs[0] {
        for other in &logs[1..] {
            if let Some(same) = other.get(index) {
                assert_eq!(entry, same, "the logs differ at {index}");
                compared += 1;
            }
        }
    }
    compared
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn killed_again_and_again(name: &str, mem_first: bool) {
    let of_the_clock = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis() as u64 % 1_000_000;
    let seed = number("RAFT_KV_SEED", of_the_clock);
    println!("{name}: RAFT_KV_SEED={seed}");
    let mut chance = Chance(seed);
    let mut cluster = Cluster::start(name, mem_first, false).await;
    let load = Load::start(&cluster, seed);
    for round in 0..number("RAFT_KV_ROUNDS", 9) {
        let before = load.acknowledged();
        let begun = Instant::now();
        while load.acknowledged() < before + 30 {
            assert!(begun.elapsed() < Duration::from_secs(60), "round {round}: the cluster does not get on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(chance.below(200))).await;
        let victims: Vec<u64> = match round % 3 {
            0 => vec![1 + chance.below(3)],
            1 => cluster.client().leader().await.into_iter().collect(),
            _ => vec![1, 2, 3],
        };
        victims.iter().for_each(|&id| cluster.kill(id));
        tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
        victims.iter().for_each(|&id| cluster.run(id));
        cluster.wait_for_leader().await;
    }
    let record = load.end().await;
    let said = judge(&mut cluster, record).await.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    let compared = logs_agree(&mut cluster);
    assert!(compared > 0, "the logs have nothing in common");
    println!("{name}: {said}; {compared} committed entries compared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_first() {
    killed_again_and_again("disk-first", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mem_first() {
    killed_again_and_again("mem-first", true).await;
}

/// The files of a node's journal that hold entries, oldest first.
fn segments(settings: &Settings) -> Vec<PathBuf> {
    let files = std::fs::read_dir(settings.dir.join("journal")).expect("reads");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("reads").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "seg"));
    // A file may get another name, or go, while it is looked at.
    files.retain(|file| !recognized(&std::fs::read(file).unwrap_or_default()).is_empty());
    files.sort();
    files
}

/// Where entries stand in a file that can be recognized.
fn recognized(bytes: &[u8]) -> Vec<usize> {
    bytes.windows(5).enumerate().filter(|(_, window)| window == b"once-").map(|(at, _)| at).collect()
}

/// Flips a bit of an entry: in the middle of a file, or more and more to its beginning.
fn flip(file: &Path, attempt: usize) {
    let mut bytes = std::fs::read(file).expect("reads");
    let found = recognized(&bytes);
    bytes[found[(found.len() / 2).saturating_sub(attempt)]] ^= 4;
    std::fs::write(file, bytes).expect("writes");
}

/// Damages a log: a record in the middle, a whole segment, a record in the newest segment, the newest segment.
fn damage(settings: &Settings, kind: u64, attempt: usize) {
    let files = segments(settings);
    match kind {
        0 => flip(&files[files.len() / 2 - 1], attempt),
        1 => std::fs::remove_file(&files[files.len() / 2]).expect("removes"),
        2 => flip(&files[files.len() - 1], attempt),
        _ => std::fs::remove_file(&files[files.len() - 1]).expect("removes"),
    }
}

/// Whether a log is damaged, and so much that a node without `--repair-from` could not serve all of it.
fn is_damaged(settings: &Settings) -> bool {
    let Ok((log, _)) = RaftLog::<OpenRaft<Kv, Stored>>::open(settings.log()) else { return true };
    log.reader().stream(..).expect("a range").any(|entry| entry.is_err())
}

/// Each node in turn loses something while it is down: a record in the middle, a whole segment, a record in the newest segment,
/// all of the newest segment. It is made whole from the others, and nothing that a client was told is missing.
async fn damaged_again_and_again(name: &str, mem_first: bool) {
    let mut cluster = Cluster::start(name, mem_first, true).await;
    let load = Load::start(&cluster, 3);
    let client = cluster.client();
    for round in 0..number("RAFT_KV_ROUNDS", 12).min(12) {
        let victim = 1 + round % 3;
        let begun = Instant::now();
        // The newest one too must hold some: nothing tells a damaged last write from one that the power cut off.
        let has_enough = |files: &[PathBuf]| {
            let newest = files.last().and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
            files.len() >= 3 + round as usize / 3 && recognized(&newest).len() >= 10
        };
        while !has_enough(&segments(&cluster.settings(victim))) {
            assert!(begun.elapsed() < Duration::from_secs(60), "round {round}: the logs do not grow");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cluster.kill(victim);
        let settings = Settings { repair_from: BTreeMap::new(), ..cluster.settings(victim) };
        // Tried on a copy: opening may write, and old bytes may stand where nothing is stored any more.
        let copied = Settings { dir: cluster.folder.0.join("copied"), ..settings.clone() };
        let counts = |attempt: &usize| {
            copy(&settings.dir, &copied.dir);
            damage(&copied, round / 3, *attempt);
            is_damaged(&copied)
        };
        let attempt = (0..20).find(counts).expect("something can be lost");
        damage(&settings, round / 3, attempt);
        cluster.run(victim);
        while client.is_catching_up(victim).await != Some(false) {
            assert!(begun.elapsed() < Duration::from_secs(60), "round {round}: node {victim} does not catch up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Now the others need it.
        let other = 1 + (round + 1) % 3;
        cluster.kill(other);
        cluster.wait_for_leader().await;
        cluster.run(other);
    }
    let record = load.end().await;
    let said = judge(&mut cluster, record).await.unwrap_or_else(|wrong| panic!("{wrong}"));
    let compared = logs_agree(&mut cluster);
    println!("{name}: {said}; {compared} committed entries compared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_disk_first() {
    damaged_again_and_again("damaged-disk-first", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_mem_first() {
    damaged_again_and_again("damaged-mem-first", true).await;
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("reads").map(|entry| entry.expect("reads")) {
        let new = to.join(entry.file_name());
        if entry.file_type().expect("is known").is_dir() {
            copy(&entry.path(), &new);
        } else {
            std::fs::copy(entry.path(), new).expect("copies");
        }
    }
}

/// The judge is judged: disks that go back to an earlier state, which no log can help, are caught.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_forget_are_caught() {
    let mut cluster = Cluster::start("forgets", false, false).await;
    let load = Load::start(&cluster, 7);
    while load.acknowledged() < 30 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let folder = |cluster: &Cluster, id: u64| cluster.settings(id).dir;
    (1..=3).for_each(|id| cluster.kill(id));
    (1..=3).for_each(|id| copy(&folder(&cluster, id), &cluster.folder.0.join(format!("old-{id}"))));
    (1..=3).for_each(|id| cluster.run(id));
    cluster.wait_for_leader().await;
    let before = load.acknowledged();
    while load.acknowledged() < before + 100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let record = load.end().await;
    (1..=3).for_each(|id| cluster.kill(id));
    (1..=3).for_each(|id| copy(&cluster.folder.0.join(format!("old-{id}")), &folder(&cluster, id)));
    (1..=3).for_each(|id| cluster.run(id));
    let wrong = judge(&mut cluster, record).await.expect_err("a hundred acknowledged calls are gone");
    println!("caught: {wrong}");
}
