//! The raw bound: framed, CRC32C-checked records in one preallocated, zero-filled file, and nothing else.
//!
//! It stands for what the disk and the processor allow, so it leaves out everything that a real log needs beside that:
//! segments, recovery verdicts, policies, back-pressure. It wraps around at the end of its file. [`single`] serves one
//! caller, [`group`] many callers or many appends in flight.

mod frame;
mod group;
mod pages;
pub mod probe;
mod single;

use std::fs::{File, OpenOptions};
use std::path::Path;

use crate::engine::{Ability, Engine, Outcome, Role, Setup, System, Traffic};
use probe::SyncMethod;

/// The file in the work's folder.
const FILE_NAME: &str = "raw.log";

/// A file never gets larger than this unless a work reads its records back: time-bound works wrap around instead.
const WRAP_BYTES: u64 = 256 << 20;

/// The raw bound with the sync method that the probe found.
pub struct RawSystem {
    method: SyncMethod,
    name: String,
}

impl RawSystem {
    /// The raw bound with this sync method.
    pub fn new(method: SyncMethod) -> RawSystem {
        RawSystem { method, name: "raw bound".to_owned() }
    }
}

impl System for RawSystem {
    fn name(&self) -> &str {
        &self.name
    }

    fn role(&self) -> Role {
        Role::Raw
    }

    fn can(&self, ability: Ability) -> bool {
        // The file wraps, so a segment switch costs nothing here and would be no bound for anybody.
        !matches!(ability, Ability::Segments | Ability::Policies | Ability::Groups | Ability::Strategies)
    }

    fn open(&self, folder: &Path, setup: &Setup) -> Outcome<Box<dyn Engine>> {
        let path = folder.join(FILE_NAME);
        if path.exists() {
            let target = Target::open(&path, self.method)?;
            if setup.after_crash {
                target.distrust_cache()?;
            }
            return Ok(Box::new(single::Single::recover(target)?));
        }
        let frame_bytes = frame::frame_bytes(setup.record_bytes) as u64;
        let records_expected = setup.payload_bytes_expected / setup.record_bytes as u64;
        let bytes_needed = records_expected * frame_bytes + (2 << 20);
        probe::preallocate(&path, bytes_needed.next_multiple_of(pages::PAGE_BYTES as u64))?;
        let target = Target::open(&path, self.method)?;
        match setup.traffic {
            Traffic::OneCaller => Ok(Box::new(single::Single::create(target))),
            Traffic::ManyCallers | Traffic::InFlight => Ok(Box::new(group::Group::create(target)?)),
        }
    }
}

/// How much payload a time-bound work should announce, so that no engine preallocates more than it can use.
pub fn payload_bytes_before_wrap() -> u64 {
    WRAP_BYTES
}

/// The file, once for durable writes by the probed method and once through the page cache.
struct Target {
    durable: File,
    cached: File,
    method: SyncMethod,
    bytes: u64,
}

impl Target {
    fn open(path: &Path, method: SyncMethod) -> Outcome<Target> {
        let cached = OpenOptions::new().read(true).write(true).open(path)?;
        let bytes = cached.metadata()?.len();
        Ok(Target { durable: method.open(path)?, cached, method, bytes })
    }

    /// After a failed sync the cache may show what the device never got: whoever opens after a crash has to make durable
    /// what is there and read it from the device (rows 12 and 22 of the journal's fault table).
    fn distrust_cache(&self) -> Outcome<()> {
        self.cached.sync_data()?;
        rustix::fs::fadvise(&self.cached, 0, None, rustix::fs::Advice::DontNeed)?;
        rustix::fs::fadvise(&self.cached, 0, None, rustix::fs::Advice::Sequential)?;
        Ok(())
    }

    fn write_durably(&self, pages: &[u8], offset: u64) -> Outcome<()> {
        self.method.write(&self.durable, pages, offset)
    }
}
