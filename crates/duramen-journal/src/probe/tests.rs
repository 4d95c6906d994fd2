//! The probe on a disk in memory whose methods cost what a test says, and whose n-th call fails when a test says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::disk::{Entry, FileSystem, Lock, Worker};

/// What a write by each method costs, in microseconds; `None` does not work.
#[derive(Clone, Copy, Debug)]
struct Costs {
    data_sync: u64,
    write_sync: Option<u64>,
    direct: Option<u64>,
}

/// A disk, its files and its clock in one. Shared by the disk, its files and the environment.
#[derive(Debug)]
struct Bench {
    costs: Costs,
    files: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
    now_us: AtomicU64,
    calls: AtomicU64,
    /// The call that fails, counted from 1, and the kind of its error.
    failing: Option<(u64, io::ErrorKind)>,
    network: bool,
    /// Direct writes go somewhere that cached reads do not see.
    incoherent: bool,
}

impl Bench {
    fn new(costs: Costs) -> Self {
        Bench {
            costs,
            files: Mutex::default(),
            now_us: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            failing: None,
            network: false,
            incoherent: false,
        }
    }

    fn call(&self) -> io::Result<()> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        match self.failing {
            Some((failing, kind)) if failing == number => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn spend(&self, us: u64) {
        self.now_us.fetch_add(us, Ordering::Relaxed);
    }

    fn names(&self) -> Vec<PathBuf> {
        self.files.lock().unwrap().keys().cloned().collect()
    }
}

#[derive(Debug)]
struct Shared(Arc<Bench>);

#[derive(Debug)]
struct MemoryFile {
    bench: Arc<Bench>,
    path: PathBuf,
}

impl Disk for Shared {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        unreachable!("the probe creates no directory")
    }
    fn list(&self, _path: &Path) -> io::Result<Vec<Entry>> {
        unreachable!("the probe lists nothing")
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        assert_eq!(access, Access::Create);
        self.0.call()?;
        let mut files = self.0.files.lock().unwrap();
        if files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        files.insert(path.to_owned(), Vec::new());
        Ok(Box::new(MemoryFile { bench: Arc::clone(&self.0), path: path.to_owned() }))
    }
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        unreachable!("the probe renames nothing")
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.call()?;
        self.0.files.lock().unwrap().remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        unreachable!("the probe's name need not last")
    }
    fn is_locked(&self, _path: &Path) -> io::Result<bool> {
        unreachable!("the probe locks nothing")
    }
    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Lock>> {
        unreachable!("the probe locks nothing")
    }
    fn file_system(&self, _path: &Path) -> io::Result<FileSystem> {
        self.0.call()?;
        Ok(FileSystem {
            kind: "memory".to_owned(),
            copy_on_write: false,
            volatile: false,
            network: self.0.network,
            free_bytes: 0,
        })
    }
}

impl MemoryFile {
    /// Writes at most 3000 bytes: short writes are part of the contract.
    fn put(&self, bytes: &[u8], offset: u64) -> usize {
        let bytes = &bytes[..bytes.len().min(3000)];
        let offset = usize::try_from(offset).unwrap();
        let mut files = self.bench.files.lock().unwrap();
        let contents = files.get_mut(&self.path).unwrap();
        contents.resize(contents.len().max(offset + bytes.len()), 0);
        contents[offset..offset + bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.bench.call()?;
        let files = self.bench.files.lock().unwrap();
        let rest = &files[&self.path][usize::try_from(offset).unwrap()..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.bench.call()?;
        Ok(self.put(bytes, offset))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.bench.call()?;
        self.bench.spend(self.bench.costs.data_sync);
        Ok(())
    }
    fn write_sync(&self, bytes: &[u8], offset: u64, method: SyncMethod) -> io::Result<usize> {
        self.bench.call()?;
        let cost = match method {
            SyncMethod::DataSync => None,
            SyncMethod::WriteSync => self.bench.costs.write_sync,
            SyncMethod::Direct => self.bench.costs.direct,
        };
        // A page takes two calls here, since writes are short.
        self.bench.spend(cost.ok_or(io::ErrorKind::Unsupported)? / 2);
        if method == SyncMethod::Direct && self.bench.incoherent {
            return Ok(bytes.len());
        }
        Ok(self.put(bytes, offset))
    }
    fn bytes(&self) -> io::Result<u64> {
        unreachable!("the probe knows its file's length")
    }
    fn allocate(&self, _bytes: u64) -> io::Result<()> {
        unreachable!("the probe writes its zeros")
    }
    fn drop_cache(&self) -> io::Result<()> {
        unreachable!("the probe keeps its cache")
    }
}

impl Environment for Shared {
    fn now(&self) -> Duration {
        Duration::from_micros(self.0.now_us.load(Ordering::Relaxed))
    }
    fn entropy(&self, _out: &mut [u8]) -> io::Result<()> {
        unreachable!("the probe needs no entropy")
    }
    fn spawn(&self, _name: &str, _work: Box<dyn FnOnce() + Send>) -> io::Result<Option<Box<dyn Worker>>> {
        unreachable!("the probe starts no thread")
    }
    fn wait(&self, _word: &AtomicU32, _expected: u32, _timeout: Option<Duration>) {
        unreachable!("the probe waits for nobody")
    }
    fn wake(&self, _word: &AtomicU32, _count: u32) {
        unreachable!("the probe wakes nobody")
    }
}

fn run(bench: Bench) -> (io::Result<Probe>, Arc<Bench>) {
    let bench = Arc::new(bench);
    let result = probe(&Shared(Arc::clone(&bench)), &Shared(Arc::clone(&bench)), Path::new("folder"));
    (result, bench)
}

const EQUAL: Costs = Costs { data_sync: 100, write_sync: Some(100), direct: Some(100) };

fn choice(costs: Costs) -> SyncMethod {
    let (result, bench) = run(Bench::new(costs));
    let probe = result.unwrap();
    let expected = [Some(costs.data_sync), costs.write_sync, costs.direct];
    assert_eq!(probe.medians.map(|(_, median)| median), expected.map(|cost| cost.map(Duration::from_micros)));
    assert_eq!(probe.medians.map(|(method, _)| method), METHODS);
    assert!(bench.names().is_empty(), "the file is removed");
    probe.method
}

#[test]
fn equal_times_and_a_stopped_clock_choose_data_sync() {
    assert_eq!(choice(EQUAL), SyncMethod::DataSync);
    assert_eq!(choice(Costs { data_sync: 0, write_sync: Some(0), direct: Some(0) }), SyncMethod::DataSync);
}

#[test]
fn a_method_must_win_by_a_twentieth() {
    assert_eq!(choice(Costs { direct: Some(96), ..EQUAL }), SyncMethod::DataSync);
    assert_eq!(choice(Costs { data_sync: 200, write_sync: Some(190), direct: Some(192) }), SyncMethod::WriteSync);
    assert_eq!(choice(Costs { data_sync: 200, write_sync: Some(150), direct: Some(140) }), SyncMethod::Direct);
    assert_eq!(choice(Costs { data_sync: 200, write_sync: Some(140), direct: Some(140) }), SyncMethod::WriteSync);
    assert_eq!(choice(Costs { data_sync: 200, write_sync: Some(400), direct: Some(480) }), SyncMethod::DataSync);
}

#[test]
fn an_unsupported_method_is_never_chosen() {
    assert_eq!(choice(Costs { data_sync: 100, write_sync: None, direct: None }), SyncMethod::DataSync);
    assert_eq!(choice(Costs { data_sync: 100, write_sync: None, direct: Some(50) }), SyncMethod::Direct);
}

#[test]
fn a_method_whose_bytes_do_not_read_back_is_never_chosen() {
    let (result, _) = run(Bench { incoherent: true, ..Bench::new(Costs { direct: Some(2), ..EQUAL }) });
    let probe = result.unwrap();
    assert_eq!((probe.method, probe.medians[2].1), (SyncMethod::DataSync, None));
}

#[test]
fn nothing_is_timed_over_a_network() {
    let (result, bench) = run(Bench { network: true, ..Bench::new(EQUAL) });
    assert_eq!(result.unwrap(), Probe::untimed());
    assert_eq!(bench.calls.load(Ordering::Relaxed), 1, "asked what the file system is, and no more");
}

#[test]
fn a_file_left_by_a_crash_is_replaced() {
    let bench = Bench::new(EQUAL);
    bench.files.lock().unwrap().insert(Path::new("folder").join(FILE_NAME), vec![1; 5]);
    let (result, bench) = run(bench);
    assert_eq!(result.unwrap().method, SyncMethod::DataSync);
    assert!(bench.names().is_empty());
}

#[test]
fn the_file_is_removed_whichever_call_fails() {
    let (_, bench) = run(Bench::new(EQUAL));
    let call_count = bench.calls.load(Ordering::Relaxed);
    assert!(call_count > 3 * 16, "every write is a call: {call_count}");
    for failing in 1..=call_count {
        let (result, bench) = run(Bench { failing: Some((failing, io::ErrorKind::Other)), ..Bench::new(EQUAL) });
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Other, "call {failing}");
        // Where the removal itself is what fails, nobody can help.
        assert!(bench.names().is_empty() || failing == call_count, "call {failing} leaves {:?}", bench.names());
    }
}

#[test]
fn a_full_disk_is_an_answer_and_an_interruption_is_no_error() {
    let (_, bench) = run(Bench::new(EQUAL));
    let call_count = bench.calls.load(Ordering::Relaxed);
    // From the second call on: the first asks for the file system, which needs no space.
    for failing in 2..call_count {
        let (result, bench) = run(Bench { failing: Some((failing, io::ErrorKind::StorageFull)), ..Bench::new(EQUAL) });
        assert_eq!(result.unwrap(), Probe::untimed(), "call {failing}");
        assert!(bench.names().is_empty());
    }
    // The third call is the first write.
    let (result, _) = run(Bench { failing: Some((3, io::ErrorKind::Interrupted)), ..Bench::new(EQUAL) });
    assert!(result.unwrap().medians.iter().all(|(_, median)| median.is_some()));
}
