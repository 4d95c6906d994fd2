//! What a store on the journal and an unusual file system ask of it: observers, and files that grow as they are written.

#![allow(clippy::disallowed_methods, reason = "a test with real files")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use duramen_journal::disk::{Access, Disk, DiskFile, Entry, FileSystem, Lock, World};
use duramen_journal::{End, Journal, Observer, ObserverFactory, Options, Reader, SyncPolicy, inspect};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("duramen-extras-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The real disk, which says that it copies on write.
#[derive(Debug)]
struct CopyOnWrite(Arc<dyn Disk>);

impl Disk for CopyOnWrite {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(path)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(path, access)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.0.lock(path)
    }
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.0.is_locked(path)
    }
    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        Ok(FileSystem { copy_on_write: true, ..self.0.file_system(path)? })
    }
}

#[test]
fn where_nothing_is_overwritten_in_place_files_grow_and_are_not_recycled() {
    let folder = Folder::new("growing");
    let real = World::real();
    let world = World { disk: Arc::new(CopyOnWrite(real.disk)), environment: real.environment };
    let options = Options { segment_bytes: 256 << 10, policy: SyncPolicy::Never, ..Options::default() };
    let (journal, _) = Journal::open_with(&folder.0, &options, world.clone()).expect("opens");
    for index in 0..5000u64 {
        drop(journal.append(1, 0, format!("record {index} {}", "y".repeat(90)).as_bytes()).expect("appends"));
    }
    journal.sync().expect("syncs");
    let lengths = || -> Vec<u64> {
        let entries = std::fs::read_dir(folder.0.join("journal")).expect("there").map(|entry| entry.expect("there"));
        entries
            .filter(|e| e.file_name().to_string_lossy().ends_with(".seg"))
            .map(|e| e.metadata().expect("there").len())
            .collect()
    };
    assert!(lengths().iter().any(|&bytes| bytes < 256 << 10), "the file in use is as long as what is in it");
    assert!(lengths().len() > 2);
    journal.release(3000).expect("releases");
    journal.close().expect("closes");
    drop(journal);
    let spares = std::fs::read_dir(folder.0.join("journal")).expect("there");
    let spares = spares.filter(|e| e.as_ref().expect("there").file_name().to_string_lossy().ends_with(".tmp"));
    assert_eq!(spares.count(), 0, "nothing is kept for recycling");
    let (journal, report) = Journal::open_with(&folder.0, &options, world.clone()).expect("opens again");
    assert_eq!((report.end, report.next), (End::Closed, 5001), "{report}");
    assert_eq!(journal.scan(3000..).filter(|record| record.is_ok()).count(), 2001);
    drop(journal);
    let verified = inspect::verify(&folder.0, world, &mut |_| ()).expect("verifies");
    assert!(verified.damage.is_empty(), "{verified}");
}

/// Counts bytes per segment and keeps the highest payload as a "state".
#[derive(Debug, Default)]
struct Watching {
    seen: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Watcher(Arc<Watching>);

impl ObserverFactory for Watcher {
    fn observer(&self) -> Box<dyn Observer> {
        Box::new(Eye { watching: self.0.clone(), count: 0, first: 0, state: 0 })
    }
}

struct Eye {
    watching: Arc<Watching>,
    count: u64,
    first: u64,
    state: u64,
}

impl Observer for Eye {
    fn begin(&mut self, first: u64) {
        (self.first, self.count) = (first, 0);
    }
    fn record(&mut self, _sequence: u64, _log: u32, _kind: u8, payload: &[u8]) {
        self.count += 1;
        self.state = self.state.max(payload.len() as u64);
    }
    fn checkpoint_found(&mut self, log: u32, kind: u8, payload: &[u8]) {
        let word: [u8; 8] = payload.try_into().expect("eight bytes, as written");
        self.state = u64::from_le_bytes(word);
        self.watching.seen.lock().expect("whole").push(format!("found {log} {kind} {}", self.state));
    }
    fn summary(&mut self) -> Vec<u8> {
        format!("{} from {}", self.count, self.first).into_bytes()
    }
    fn checkpoint(&mut self) -> Option<(u32, u8, Vec<u8>)> {
        Some((9, 3, self.state.to_le_bytes().to_vec()))
    }
}

#[test]
fn an_observer_leaves_a_summary_in_each_footer_and_a_checkpoint_at_each_head() {
    let folder = Folder::new("observer");
    let watching = Arc::new(Watching::default());
    let options = Options {
        segment_bytes: 64 << 10,
        observer: Some(Arc::new(Watcher(watching.clone()))),
        policy: SyncPolicy::Never,
        ..Options::default()
    };
    let (journal, _) = Journal::open_with(&folder.0, &options, World::real()).expect("opens");
    for index in 0..2000u64 {
        drop(journal.append(1 + (index % 2) as u32, 0, &vec![7; 10 + (index % 100) as usize]).expect("appends"));
    }
    journal.close().expect("closes");
    drop(journal);
    let reader = Reader::open(&folder.0).expect("opens to read");
    let sealed: Vec<_> = reader.segments().into_iter().filter(|segment| segment.sealed).collect();
    assert!(sealed.len() >= 2, "{sealed:?}");
    for segment in &sealed {
        let summary = segment.summary.clone().expect("the observer left one");
        let expected = format!("{} from {}", segment.next - segment.first, segment.first);
        assert_eq!(summary, expected.as_bytes());
        let counted: u64 = segment.logs.iter().map(|log| u64::from(log.count)).sum();
        assert_eq!(counted, segment.next - segment.first);
        assert_eq!(segment.logs.len(), 2);
    }
    drop(reader);
    assert!(watching.seen.lock().expect("whole").is_empty());
    let (journal, _) = Journal::open_with(&folder.0, &options, World::real()).expect("opens again");
    assert_eq!(*watching.seen.lock().expect("whole"), ["found 9 3 109"], "the state of all before is at the head");
    drop(journal);
}

/// Row 7, where nothing is left to tell: the segments of a folder that had some are gone, or the whole `journal` folder is.
#[test]
fn row_07_every_segment_is_missing() {
    let folder = Folder::new("emptied");
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let (journal, _) = Journal::open_with(&folder.0, &options, World::real()).expect("opens");
    journal.append(1, 0, b"acknowledged").expect("appends").wait().expect("durable");
    drop(journal);
    for entry in std::fs::read_dir(folder.0.join("journal")).expect("there") {
        std::fs::remove_file(entry.expect("there").path()).expect("removed");
    }
    for emptied in [true, false] {
        let refused = Journal::open_with(&folder.0, &options, World::real()).expect_err("records are missing");
        assert!(matches!(&refused, duramen_journal::Error::Damaged(report) if report.end == End::Damaged), "{refused}");
        let reader = Reader::open(&folder.0).expect("opens to read");
        assert_eq!((reader.report().end, reader.scan(..).count()), (End::Damaged, 0));
        if emptied {
            std::fs::remove_dir(folder.0.join("journal")).expect("removed");
        }
    }
}
