//! Backends on the simulated disk: the default one, and redb.

use std::path::Path;
use std::time::Duration;

use duramen_decisions::backend::Backend;
use duramen_decisions::backend::file::FileBackend;
#[cfg(feature = "redb")]
use duramen_decisions::backend::{kv::KvBackend, redb::RedbKv};
use duramen_decisions::suite::{Failure, File, Place};
use duramen_decisions::{Error, PersistentLogConfig, SyncPolicy};
use duramen_journal::disk::sim::{Effect, Fault, Operation, Personality, SimDisk, Survivors, errno};
use duramen_journal::disk::{Access, SyncMethod};
use duramen_journal::{Options, World};

/// Nothing is synced by itself.
pub const UNASKED: SyncPolicy = SyncPolicy::Batch { records: 1 << 40, interval: Duration::from_secs(3600) };

fn config(world: &World) -> PersistentLogConfig {
    let mut config = PersistentLogConfig::new("/log");
    config.world = world.clone();
    config.max_segment_size = 64 << 10;
    config.sync_policy = UNASKED;
    config.journal = Options {
        sync_method: Some(SyncMethod::DataSync),
        tail_cache_bytes: 0,
        read_cache_bytes: 0,
        spares_max: 1,
        idle_mark: Some(Duration::from_secs(10)),
        ..Options::default()
    };
    config
}

pub fn open(world: &World) -> Result<FileBackend, Error> {
    FileBackend::open(&config(world))
}

#[cfg(feature = "redb")]
pub fn open_redb(world: &World) -> Result<KvBackend<RedbKv>, Error> {
    KvBackend::redb(&config(world))
}

/// A simulated disk, and what opens a backend on it.
pub struct Simulated<B> {
    disk: SimDisk,
    open: fn(&World) -> Result<B, Error>,
    tears: bool,
}

impl<B> Simulated<B> {
    fn on(&self, disk: SimDisk) -> Simulated<B> {
        Simulated { disk, open: self.open, tears: self.tears }
    }
}

pub fn files() -> Simulated<FileBackend> {
    Simulated { disk: SimDisk::new(1), open, tears: true }
}

#[cfg(feature = "redb")]
pub fn redb() -> Simulated<KvBackend<RedbKv>> {
    Simulated { disk: SimDisk::new(1), open: open_redb, tears: false }
}

impl<B: Backend> Place for Simulated<B> {
    type Backend = B;

    fn open(&self) -> Result<B, Error> {
        (self.open)(&self.disk.world())
    }

    fn tears(&self) -> bool {
        self.tears
    }

    fn files(&self) -> Option<Vec<File>> {
        let disk = self.disk.kill();
        let world = disk.world();
        let read = |(name, size): (String, u64)| {
            let mut bytes = vec![0; size as usize];
            let file = world.disk.open(Path::new(&name), Access::Read).unwrap();
            assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
            (name, bytes)
        };
        Some(disk.list_files().into_iter().map(read).collect())
    }

    fn with_files(&self, files: &[File]) -> Option<Self> {
        let disk = self.disk.kill();
        for (name, bytes) in files {
            if bytes.is_empty() {
                continue;
            }
            disk.put_durable(name, bytes).unwrap();
        }
        Some(self.on(disk))
    }

    fn copy(&self) -> Option<Self> {
        Some(self.on(self.disk.kill()))
    }

    fn cut_power(&self, states_max: u64) -> Option<Vec<Self>> {
        Some(self.disk.crash_images(states_max).into_iter().map(|disk| self.on(disk)).collect())
    }

    fn fail(&self, what: Failure) -> bool {
        let forever = |operation| Fault::new(Effect::Error(errno::EIO)).on(operation).times(u64::MAX);
        match what {
            Failure::Reads => {
                self.disk.drop_caches();
                self.disk.fault(forever(Operation::Read));
            }
            Failure::Writes => {
                self.disk.fault(forever(Operation::Write));
                self.disk.fault(forever(Operation::WriteSync));
            }
            Failure::Sync => {
                let (personality, survivors) = (Personality::Once, Survivors::Nothing);
                self.disk.fault(Fault::new(Effect::FailedSync { code: errno::EIO, personality, survivors }));
            }
            Failure::Full => self.disk.set_capacity(Some(self.disk.used())),
        }
        true
    }

    fn heal(&self) {
        self.disk.clear_faults();
        self.disk.set_capacity(None);
    }
}
