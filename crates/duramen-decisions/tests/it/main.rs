//! The log on its backends: what is stored comes back, in order, once; what may not be is refused and changes nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg_attr(
    any(feature = "redb", feature = "fjall"),
    allow(clippy::disallowed_methods, reason = "redb and fjall lie in folders of the real disk")
)]

mod beside;
mod checkpoints;
mod damage;
mod decisions;
#[cfg(any(feature = "redb", feature = "fjall"))]
mod foreign;
mod migration;
mod room;
mod tools;

use duramen_decisions::backend::kv::KvBackend;
use duramen_decisions::backend::memory::MemoryKv;
use duramen_decisions::{Blake3, FileBasedLog, Log, PersistentLogConfig, RawLayer, Retention};
use duramen_journal::disk::sim::SimDisk;

pub(crate) const FOLDER: &str = "/log";

pub(crate) type Files = FileBasedLog<Blake3, Vec<u8>, RawLayer>;
pub(crate) type Memory = Log<Blake3, Vec<u8>, RawLayer, KvBackend<MemoryKv>>;

/// Small segments and chunks, nothing compacted by itself.
pub(crate) fn config(disk: &SimDisk) -> PersistentLogConfig {
    let mut config = PersistentLogConfig::new(FOLDER);
    config.world = disk.world();
    config.max_segment_size = 64 << 10;
    config.chunk_size = 4 << 10;
    config.cache_size = 2000;
    config.retention = Retention { compact: false, ..Retention::default() };
    config
}

pub(crate) fn files(disk: &SimDisk) -> Files {
    Files::new(config(disk)).expect("it opens")
}

pub(crate) fn memory(kv: &MemoryKv) -> Memory {
    let config = config(&SimDisk::new(1));
    let backend = KvBackend::new(kv.clone(), &config).expect("it opens");
    Log::on(backend, config).expect("it opens")
}

/// A folder of the real disk, gone when this is dropped.
#[cfg(any(feature = "redb", feature = "fjall"))]
pub(crate) struct Folder(std::path::PathBuf);

#[cfg(any(feature = "redb", feature = "fjall"))]
impl Folder {
    pub fn new(name: &str) -> Folder {
        let folder =
            std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("it-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Folder(folder)
    }

    pub fn path(&self) -> &std::path::Path {
        &self.0
    }

    pub fn config(&self) -> PersistentLogConfig {
        let own = config(&SimDisk::new(1));
        PersistentLogConfig { log_dir: self.0.clone(), world: duramen_journal::World::real(), ..own }
    }
}

#[cfg(any(feature = "redb", feature = "fjall"))]
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a decision of a number says.
pub(crate) fn decision(seq_no: u64) -> bytes::Bytes {
    format!("decision {seq_no} {}", "x".repeat(seq_no as usize % 300)).into()
}

/// The same for a log in files, one in memory, and those of the features.
#[macro_export]
macro_rules! on_each_backend {
    ($name:ident, |$log:ident, $open:ident| $body:block) => {
        #[test]
        fn $name() {
            {
                let disk = duramen_journal::disk::sim::SimDisk::new(5);
                let $open = || $crate::files(&disk);
                let $log = $open();
                $body
            }
            {
                let kv = duramen_decisions::backend::memory::MemoryKv::default();
                let $open = || $crate::memory(&kv);
                let $log = $open();
                $body
            }
            #[cfg(feature = "redb")]
            {
                let folder = $crate::Folder::new(concat!("redb-", stringify!($name)));
                let $open = || {
                    duramen_decisions::RedbLog::<duramen_decisions::Blake3, Vec<u8>, duramen_decisions::RawLayer>::new(
                        folder.config(),
                    )
                    .unwrap()
                };
                let $log = $open();
                $body
            }
            #[cfg(feature = "fjall")]
            {
                let folder = $crate::Folder::new(concat!("fjall-", stringify!($name)));
                let $open = || {
                    duramen_decisions::FjallLog::<duramen_decisions::Blake3, Vec<u8>, duramen_decisions::RawLayer>::new(
                        folder.config(),
                    )
                    .unwrap()
                };
                let $log = $open();
                $body
            }
        }
    };
}
