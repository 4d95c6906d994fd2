//! A folder of the real disk as the suite's place. Owns making, copying and removing it; nothing can be made to fail here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use duramen_raft::suite::{Failure, Place, Store};

pub struct Folder<S> {
    path: PathBuf,
    open: fn(&Path) -> Result<S, String>,
}

impl<S> Folder<S> {
    pub fn new(open: fn(&Path) -> Result<S, String>) -> Folder<S> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("raft-suite-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for temporary files");
        Folder { path, open }
    }
}

impl<S> Drop for Folder<S> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn walk(path: &Path, below: &str, visit: &mut dyn FnMut(String, &Path)) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{name}/"), visit);
        } else {
            visit(name, &entry.path());
        }
    }
}

impl<S: Store> Place for Folder<S> {
    type Store = S;

    fn open(&self) -> Result<S, String> {
        (self.open)(&self.path)
    }

    fn copy(&self) -> Option<Folder<S>> {
        let copy = Folder::new(self.open);
        walk(&self.path, "", &mut |name, from| {
            let to = copy.path.join(name);
            fs::create_dir_all(to.parent().expect("within the folder")).expect("makes");
            // It may have gone, or got another name, meanwhile.
            let _ = fs::copy(from, to);
        });
        Some(copy)
    }

    fn cut_power(&self, _states_max: u64) -> Option<Vec<Folder<S>>> {
        None
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        walk(&self.path, "", &mut |name, path| files.extend(fs::read(path).ok().map(|bytes| (name, bytes))));
        files.sort();
        files
    }

    fn put(&self, name: &str, bytes: &[u8]) -> bool {
        fs::write(self.path.join(name), bytes).is_ok()
    }

    fn fail(&self, _what: Failure) -> bool {
        false
    }

    fn heal(&self) {}
}
