//! Backends in folders of the real disk, and processes that are killed while they write there; and the one in memory.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use duramen_decisions::backend::Backend;
use duramen_decisions::backend::file::FileBackend;
use duramen_decisions::backend::kv::KvBackend;
use duramen_decisions::backend::memory::MemoryKv;
use duramen_decisions::suite::{Event, File, Place, Work, work};
use duramen_decisions::{Error, PersistentLogConfig};

use crate::files::UNASKED;
use crate::own_backend;

/// What the child is to do: name of the backend, folder, work.
const CHILD: &str = "DURAMEN_SUITE_CHILD";
/// Bytes of zeros that a file may end in before they are left out: fjall reserves 64 MiB at a time.
const BLOCK: usize = 1 << 20;

type Open<B> = fn(&PersistentLogConfig) -> Result<B, Error>;

pub struct Folder<B> {
    name: &'static str,
    path: PathBuf,
    open: Open<B>,
}

fn config(path: &Path) -> PersistentLogConfig {
    let mut config = PersistentLogConfig::new(path);
    config.sync_policy = UNASKED;
    config.max_segment_size = 64 << 10;
    config
}

impl<B> Folder<B> {
    fn new(name: &'static str, open: Open<B>) -> Folder<B> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let folder = format!("suite-{}-{name}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        let _ = std::fs::remove_dir_all(&path);
        Folder { name, path, open }
    }
}

pub fn files() -> Folder<FileBackend> {
    Folder::new("files", FileBackend::open)
}

#[cfg(feature = "redb")]
pub fn redb() -> Folder<KvBackend<duramen_decisions::backend::redb::RedbKv>> {
    Folder::new("redb", KvBackend::redb)
}

#[cfg(feature = "fjall")]
pub fn fjall() -> Folder<KvBackend<duramen_decisions::backend::fjall::FjallKv>> {
    Folder::new("fjall", KvBackend::fjall)
}

pub type Own = Folder<KvBackend<own_backend::LineLog>>;

impl Own {
    pub fn own() -> Own {
        Folder::new("own", own_backend::open)
    }
}

impl<B> Drop for Folder<B> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// The files, with length and time of the last change.
fn names(folder: &Path, within: &str, found: &mut Vec<(String, u64, std::time::SystemTime)>) -> io::Result<()> {
    let mut entries = std::fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let (name, about) = (format!("{within}{}", entry.file_name().to_string_lossy()), entry.metadata()?);
        match about.is_dir() {
            true => names(&entry.path(), &format!("{name}/"), found)?,
            false => found.push((name, about.len(), about.modified()?)),
        }
    }
    Ok(())
}

/// What is there at one moment, beside threads that prepare files.
fn snapshot(folder: &Path) -> io::Result<Vec<File>> {
    loop {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let files = names(folder, "", &mut before).and_then(|()| {
            let read = |(name, ..): &(String, u64, _)| Ok((name.clone(), read(&folder.join(name))?));
            let files: Vec<File> = before.iter().map(read).collect::<io::Result<_>>()?;
            names(folder, "", &mut after).map(|()| files)
        });
        match files {
            Ok(files) if before == after => return Ok(files),
            Err(_) if !folder.exists() => return Ok(Vec::new()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (mut bytes, mut zeros) = (Vec::new(), 0);
    let mut file = std::fs::File::open(path)?;
    let (mut block, none) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let count = file.read(&mut block)?;
        if count == 0 {
            bytes.resize(bytes.len() + if zeros < BLOCK { zeros } else { 0 }, 0);
            return Ok(bytes);
        }
        if block[..count] == none[..count] {
            zeros += count;
        } else {
            bytes.resize(bytes.len() + std::mem::take(&mut zeros), 0);
            bytes.extend_from_slice(&block[..count]);
        }
    }
}

impl<B: Backend> Place for Folder<B> {
    type Backend = B;

    fn open(&self) -> Result<B, Error> {
        (self.open)(&config(&self.path))
    }

    fn files(&self) -> Option<Vec<File>> {
        Some(snapshot(&self.path).unwrap())
    }

    fn with_files(&self, files: &[File]) -> Option<Self> {
        let other = Folder::new(self.name, self.open);
        for (name, bytes) in files {
            let path = other.path.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        Some(other)
    }

    fn tears(&self) -> bool {
        self.name != "redb"
    }

    fn kill(&self, work: &Work, round: u64) -> Option<Result<Vec<Event>, String>> {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        child.env(CHILD, format!("{}\n{}\n{work}", self.name, self.path.display()));
        let mut child = child.spawn().unwrap();
        let lines_max = ((round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 150;
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (mut events, mut line) = (Vec::new(), Vec::new());
        let mut failed = None;
        loop {
            line.clear();
            // What it had said when it was killed counts, but not half a line.
            if output.read_until(b'\n', &mut line).unwrap() == 0 || line.pop() != Some(b'\n') {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            if let Some(event) = text.strip_prefix('@') {
                events.push(event.parse().unwrap());
            }
            if let Some(why) = text.strip_prefix('!') {
                failed = Some(why.to_string());
            }
            if events.len() as u64 >= lines_max {
                let _ = child.kill();
            }
        }
        child.wait().unwrap();
        Some(failed.map_or(Ok(events), Err))
    }
}

/// Works until it is killed, if the environment says at what.
pub fn child() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let mut parts = told.split('\n');
    let (name, path) = (parts.next().unwrap(), PathBuf::from(parts.next().unwrap()));
    let own: Work = parts.next().unwrap().parse().unwrap();
    fn at<B: Backend>(mut place: Folder<B>, path: PathBuf, own: &Work) {
        place.path = path;
        let mut output = io::stdout();
        let ended = work(&place, own, &mut |event| {
            output.write_all(format!("\n@{event}\n").as_bytes()).unwrap();
            output.flush().unwrap();
        });
        if let Err(why) = ended {
            println!("\n!{}", why.replace('\n', " "));
        }
        // The folder is the other process's.
        std::mem::forget(place);
    }
    match name {
        "files" => at(files(), path, &own),
        #[cfg(feature = "redb")]
        "redb" => at(redb(), path, &own),
        #[cfg(feature = "fjall")]
        "fjall" => at(fjall(), path, &own),
        "own" => at(Own::own(), path, &own),
        other => panic!("{other}"),
    }
}

#[derive(Default)]
pub struct Memory(MemoryKv);

impl Place for Memory {
    type Backend = KvBackend<MemoryKv>;

    fn open(&self) -> Result<Self::Backend, Error> {
        KvBackend::new(self.0.clone(), &config(Path::new("unused")))
    }
}
