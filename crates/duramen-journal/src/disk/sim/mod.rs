//! The simulated disk and the crash explorer: a deterministic pair of [`Disk`](super::Disk) and
//! [`Environment`](super::Environment) that forgets, tears, refuses and lies the way real devices do, and an enumerator
//! of everything that a power cut can leave behind. Feature `sim`; for tests only.
//!
//! Owns the model of DURABILITY.md, "How it is proven". Must not know journals: no format, no segment, no record.
//!
//! What a crash can leave, in this model:
//! 1. Contents: each 512 B sector shows, independently, any version since its last sync.
//! 2. Size: anything between the durable and the current one; grown parts are zeros or stale bytes.
//! 3. Names: any subset of the changes that no directory sync covered, applied in their order; a change that cannot be
//!    applied (its file never got the name) is skipped; a rename is one change.
//! 4. With [`SimDisk::tear_pages`] on: whole dirty 4 KiB pages may be ruined, durable sectors in them included.
//!
//! Threads and locks: one mutex per disk, held within a call only. The explorer starts threads of its own; each disk is
//! used by one of them. The standard library's primitives are used, not those of `crate::sync`: under `loom` a disk is
//! a part of the outside world, whose insides are not to be interleaved.
//!
//! ```
//! use duramen_journal::disk::sim::{Crash, SimDisk};
//! use duramen_journal::disk::Access;
//! use std::path::Path;
//!
//! let disk = SimDisk::new(1);
//! let world = disk.world();
//! let file = world.disk.open(Path::new("/log"), Access::Create)?;
//! file.write_at(b"hello", 0)?;
//! file.sync_data()?;
//! // Without a directory sync nothing keeps the name.
//! assert!(disk.reboot(Crash::LoseAll).list_files().is_empty());
//! world.disk.sync_dir(Path::new("/"))?;
//! assert_eq!(disk.reboot(Crash::LoseAll).read_durable("/log")?, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```

mod device;
mod environment;
mod explore;
mod fault;
mod file;
mod hash;
mod helpers;
mod history;
mod image;
mod plan;
mod state;
mod sweep;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;

pub use device::SimDisk;
pub use environment::SimEnvironment;
pub use explore::{Budget, Counts, Failure, Scenario, explore, replay};
pub use fault::{Effect, Fault, Operation, Personality, Survivors, errno};
pub use hash::Generator;
pub use helpers::Crash;
pub use history::History;
pub use sweep::sweep_faults;

/// A string that lies in every program which contains this module: a test looks for it in the released binary.
pub const MARKER: &str = "duramen-simulated-disk";

/// The unit that a device writes atomically.
pub const SECTOR_BYTES: usize = 512;
/// The unit of the page cache, and of a torn page.
pub const PAGE_BYTES: usize = 4096;
