//! What a test does to a simulated disk from outside: ordering faults, damaging what is durable, looking at it, and
//! pulling the plug. Owns nothing; the rules are the neighbours'.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::SECTOR_BYTES;
use super::device::{Settings, SimDisk};
use super::environment::SimEnvironment;
use super::fault::{Fault, Operation, errno, error};
use super::file::{Content, FileState, Sector};
use super::hash::mix;
use super::image::{Choice, Pending};
use super::plan::Plan;
use super::state::{Condition, Node, ROOT, State};
use crate::disk::{FileSystem, SyncMethod};

/// What survives when the power fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Only what is durable.
    LoseAll,
    /// Everything, as if the device had just managed to write its queue.
    KeepAll,
    /// Something between, by this seed.
    Random(u64),
}

impl SimDisk {
    /// The clock and the entropy that belong to this disk.
    pub fn environment(&self) -> Arc<SimEnvironment> {
        self.shared.environment.clone()
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.shared.environment.advance(by);
    }

    /// Orders a fault. Of several that fit a call, the one ordered first strikes.
    pub fn fault(&self, fault: Fault) {
        self.shared.lock().faults.push(fault);
    }

    /// Takes back all ordered faults; what they did stays done.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// Limits the sum of all file sizes, in bytes. Beyond it a write is short, then ENOSPC; removing frees.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.change_settings(|settings| settings.capacity = capacity);
    }

    /// The sum of the sizes of all files that have a name, in bytes.
    pub fn used(&self) -> u64 {
        self.shared.lock().state.used
    }

    /// Mounts the file system read-only (EROFS), or writable again; also heals a disk whose syncs fail for ever.
    pub fn set_read_only(&self, read_only: bool) {
        let condition = if read_only { Condition::ReadOnly } else { Condition::Healthy };
        self.shared.lock().state_mut().condition = condition;
    }

    /// Lets a crash ruin whole dirty pages of 4 KiB, with the durable sectors in them.
    pub fn tear_pages(&self, tear: bool) {
        self.change_settings(|settings| settings.tear_pages = tear);
    }

    /// Says what [`crate::disk::Disk::file_system`] answers; the free bytes follow the capacity, if one is set.
    pub fn set_file_system(&self, file_system: FileSystem) {
        self.change_settings(|settings| settings.file_system = file_system);
    }

    /// Says which methods `write_sync` supports; at first both.
    pub fn set_methods(&self, methods: &[SyncMethod]) {
        self.change_settings(|settings| settings.methods = methods.to_vec());
    }

    /// Makes a range of bytes of all files whose path contains `name` unreadable (EIO), for good.
    pub fn fail_reads(&self, name: &str, range: Range<u64>) {
        self.change_settings(|settings| settings.bad_ranges.push((name.to_owned(), range)));
    }

    /// Makes everything readable again.
    pub fn heal_reads(&self) {
        self.change_settings(|settings| settings.bad_ranges.clear());
    }

    /// Panics at the call after this many: a workload that never ends is a failure too.
    pub fn set_operations_max(&self, operations: u64) {
        self.change_settings(|settings| settings.operations_max = operations);
    }

    /// How many calls there were since this boot.
    pub fn operations(&self) -> u64 {
        self.shared.lock().operations
    }

    /// Notes the kind of each call from now on.
    pub fn start_trace(&self) {
        self.shared.lock().trace = Some(Vec::new());
    }

    /// The kinds of the calls since [`Self::start_trace`].
    pub fn trace(&self) -> Vec<Operation> {
        self.shared.lock().trace.clone().unwrap_or_default()
    }

    /// The paths and sizes of all files, sorted by path.
    pub fn list_files(&self) -> Vec<(String, u64)> {
        let core = self.shared.lock();
        let mut files = Vec::new();
        list_into(&core.state, ROOT, "", &mut files);
        files
    }

    /// The durable contents of a file, as long as its durable size.
    pub fn read_durable(&self, path: &str) -> io::Result<Vec<u8>> {
        let core = self.shared.lock();
        let file = core.state.file(core.state.resolve(Path::new(path))?)?;
        let mut bytes = vec![0; usize::try_from(file.durable_size).map_err(|_| error(errno::EINVAL))?];
        file.durable.read(0, &mut bytes);
        Ok(bytes)
    }

    /// Overwrites durable bytes within the file; clean cached sectors follow, as if the cache had been cold.
    pub fn write_durable(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut durable = self.read_durable(path)?;
        let start = usize::try_from(offset).map_err(|_| error(errno::EINVAL))?;
        let range = start..start.saturating_add(bytes.len());
        durable.get_mut(range).ok_or_else(|| error(errno::EINVAL))?.copy_from_slice(bytes);
        self.change_durable(path, &durable)
    }

    /// Flips one durable bit, 0 being the lowest of its byte.
    pub fn flip_durable_bit(&self, path: &str, offset: u64, bit: u8) -> io::Result<()> {
        let durable = self.read_durable(path)?;
        let byte = usize::try_from(offset).ok().and_then(|offset| durable.get(offset));
        let byte = *byte.ok_or_else(|| error(errno::EINVAL))?;
        self.write_durable(path, offset, &[byte ^ (1 << (bit % 8))])
    }

    /// Zeros one durable sector.
    pub fn zero_durable_sector(&self, path: &str, sector: u64) -> io::Result<()> {
        self.set_durable_sector(path, sector, &[0; SECTOR_BYTES])
    }

    /// Puts back one sector as another disk, an earlier snapshot say, holds it: a stale sector, or a lost write.
    pub fn stale_durable_sector(&self, path: &str, sector: u64, earlier: &SimDisk) -> io::Result<()> {
        let bytes = earlier.durable_sector(path, sector)?;
        self.set_durable_sector(path, sector, &bytes)
    }

    /// Exchanges two durable sectors, of one file or of two.
    pub fn swap_durable_sectors(&self, left: (&str, u64), right: (&str, u64)) -> io::Result<()> {
        let left_bytes = self.durable_sector(left.0, left.1)?;
        let right_bytes = self.durable_sector(right.0, right.1)?;
        self.set_durable_sector(left.0, left.1, &right_bytes)?;
        self.set_durable_sector(right.0, right.1, &left_bytes)
    }

    /// Puts a durable file in place, name included; its directories are made when missing.
    pub fn put_durable(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut content = Content::default();
        fill(&mut content, bytes);
        let file = Node::File(Arc::new(FileState::clean(content, bytes.len() as u64)));
        let mut core = self.shared.lock();
        let mut directory = ROOT;
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        let state = core.state_mut();
        while let Some(name) = names.next() {
            let found = state.directory(directory)?.cached.find(name);
            let before = directory;
            match (found, names.peek().is_some()) {
                (Some(node), true) => directory = node,
                (None, true) => directory = state.create(before, name, Node::Directory(Arc::default()))?,
                (Some(node), false) => {
                    state.used = state.used - state.file(node)?.size + bytes.len() as u64;
                    state.nodes[node as usize] = file.clone();
                }
                (None, false) => {
                    state.create(before, name, file.clone())?;
                    state.used += bytes.len() as u64;
                }
            }
            state.sync_directory(before, |_| true);
        }
        Ok(())
    }

    /// Removes a file, durably.
    pub fn remove_durable(&self, path: &str) -> io::Result<()> {
        let mut core = self.shared.lock();
        let state = core.state_mut();
        let (directory, _) = state.resolve_parent(Path::new(path))?;
        state.remove(Path::new(path))?;
        state.sync_directory(directory, |_| true);
        Ok(())
    }

    /// Drops the clean pages of all files from the cache.
    pub fn drop_caches(&self) {
        let mut core = self.shared.lock();
        for node in &mut core.state_mut().nodes {
            if let Node::File(file) = node
                && file.lost
            {
                Arc::make_mut(file).drop_cache();
            }
        }
    }

    /// An independent copy, cache included, without faults, locks or open files: what is there when only the process
    /// died. What it serves may still be lost. The machine's boot and its clocks go on.
    pub fn kill(&self) -> SimDisk {
        let core = self.shared.lock();
        let disk = SimDisk::boot(core.state.clone(), core.settings.clone(), core.boot + 1);
        disk.environment().continue_boot_of(&self.shared.environment);
        disk
    }

    /// The disk after a power cut: an independent one, without locks or open files, with entropy of its own. Ordered
    /// faults are gone, bad ranges stay.
    pub fn reboot(&self, crash: Crash) -> SimDisk {
        let core = self.shared.lock();
        let pending = Pending::of(&core.state);
        let choice = match crash {
            Crash::LoseAll => pending.durable(),
            Crash::KeepAll => pending.newest(),
            Crash::Random(seed) => {
                let plan = Plan::new(Pending::of(&core.state), 1 << 16, core.settings.tear_pages, seed);
                let crashes = plan.total() - plan.total().min(1);
                let number = plan.total() - 1 - mix(seed, core.operations) % crashes.max(1);
                plan.choice(number)
            }
        };
        let choice = if choice.kill { pending.newest() } else { choice };
        SimDisk::boot(Arc::new(pending.image(&choice)), core.settings.clone(), core.boot + 1)
    }

    /// What a power cut now could leave, as at most `images_max` disks that differ; some are chosen by the seed if
    /// there are more.
    pub fn crash_images(&self, images_max: u64) -> Vec<SimDisk> {
        let core = self.shared.lock();
        let plan = Plan::new(Pending::of(&core.state), images_max, core.settings.tear_pages, core.settings.seed);
        let mut seen = std::collections::BTreeSet::new();
        let mut disks = Vec::new();
        for number in 0..plan.total() {
            let choice: Choice = plan.choice(number);
            let image = plan.pending.image(&choice);
            if !choice.kill && seen.insert(super::image::image_hash(&image)) {
                disks.push(SimDisk::boot(Arc::new(image), core.settings.clone(), core.boot + 1));
            }
        }
        disks
    }

    fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(Arc::make_mut(&mut self.shared.lock().settings));
    }

    fn durable_sector(&self, path: &str, sector: u64) -> io::Result<Sector> {
        let core = self.shared.lock();
        let file = core.state.file(core.state.resolve(Path::new(path))?)?;
        Ok(*file.durable.sector(sector))
    }

    fn set_durable_sector(&self, path: &str, sector: u64, bytes: &Sector) -> io::Result<()> {
        let mut durable = self.read_durable(path)?;
        let start = usize::try_from(sector).map_err(|_| error(errno::EINVAL))? * SECTOR_BYTES;
        let end = durable.len().min(start + SECTOR_BYTES);
        let target = durable.get_mut(start..end).ok_or_else(|| error(errno::EINVAL))?;
        let count = target.len();
        target.copy_from_slice(&bytes[..count]);
        self.change_durable(path, &durable)
    }

    fn change_durable(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut core = self.shared.lock();
        let node = core.state.resolve(Path::new(path))?;
        let file = core.state_mut().file_mut(node)?;
        fill(&mut file.durable, bytes);
        file.lost = true;
        file.drop_cache();
        Ok(())
    }
}

fn fill(content: &mut Content, bytes: &[u8]) {
    for (index, chunk) in bytes.chunks(SECTOR_BYTES).enumerate() {
        let mut sector = [0; SECTOR_BYTES];
        sector[..chunk.len()].copy_from_slice(chunk);
        content.set_sector(index as u64, &sector);
    }
}

fn list_into(state: &State, directory: u32, prefix: &str, files: &mut Vec<(String, u64)>) {
    let Ok(directory) = state.directory(directory) else { return };
    for name in directory.cached.names() {
        let path = format!("{prefix}/{}", name.text);
        match state.file(name.node) {
            Ok(file) => files.push((path, file.size)),
            Err(_) => list_into(state, name.node, &path, files),
        }
    }
}
