//! The simulated disk as its users see it: the [`Disk`] interface over a [`State`], with faults, handles, locks and the
//! recording of moments. Owns the order in which those act on a call; contents, names and crashes are its neighbours'.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::environment::SimEnvironment;
use super::fault::{Effect, Fault, Operation, Personality, Survivors, errno, error};
use super::file::{Fate, FileState};
use super::hash::{Generator, mix};
use super::history::Mark;
use super::state::{Condition, Directory, Node, State};
use super::{MARKER, PAGE_BYTES};
use crate::disk::{Access, Disk, DiskFile, Entry, FileSystem, Lock, SyncMethod, World};

/// A simulated disk. Clones share it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    core: Mutex<Core>,
    pub(super) environment: Arc<SimEnvironment>,
}

/// What stays the same over a reboot.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) capacity: Option<u64>,
    pub(super) tear_pages: bool,
    pub(super) file_system: FileSystem,
    pub(super) methods: Vec<SyncMethod>,
    pub(super) bad_ranges: Vec<(String, Range<u64>)>,
    pub(super) operations_max: u64,
}

/// A moment at which the power could fail.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) state: Arc<State>,
    pub(super) events: usize,
    pub(super) fingerprint: u64,
}

#[derive(Debug)]
struct Recorder {
    mark: Arc<Mark>,
    moments: Vec<Moment>,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) state: Arc<State>,
    pub(super) settings: Arc<Settings>,
    pub(super) faults: Vec<Fault>,
    pub(super) operations: u64,
    /// The kind of each call so far, when a sweep wants to know.
    pub(super) trace: Option<Vec<Operation>>,
    /// Starts of the machine so far.
    pub(super) boot: u64,
    generator: Generator,
    handles: Vec<u32>,
    locks: Vec<u32>,
    recorder: Option<Recorder>,
}

impl Core {
    fn record(&mut self) {
        let Some(recorder) = &mut self.recorder else { return };
        let (events, fingerprint) = recorder.mark.read();
        if let Some(last) = recorder.moments.last()
            && last.events == events
            && Arc::ptr_eq(&last.state, &self.state)
        {
            return;
        }
        recorder.moments.push(Moment { state: self.state.clone(), events, fingerprint });
    }

    pub(super) fn state_mut(&mut self) -> &mut State {
        Arc::make_mut(&mut self.state)
    }

    fn sync_condition(&self, dirty: bool) -> io::Result<()> {
        match self.state.condition {
            Condition::SyncsFail(code) => Err(error(code)),
            Condition::ReadOnly if dirty => Err(error(errno::EROFS)),
            _ => Ok(()),
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.state.condition == Condition::ReadOnly { Err(error(errno::EROFS)) } else { Ok(()) }
    }

    /// How far a file may grow from its size to `wanted`.
    fn room(&self, size: u64, wanted: u64) -> u64 {
        let free = self.settings.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.state.used));
        wanted.min(size.saturating_add(free)).max(size)
    }

    fn hold(&mut self, node: u32) {
        let place = node as usize;
        if self.handles.len() <= place {
            self.handles.resize(place + 1, 0);
        }
        self.handles[place] += 1;
    }
}

/// One call in progress: the disk is locked, and the moment after it is recorded when it ends, however it ends.
struct Call<'a> {
    core: MutexGuard<'a, Core>,
    effect: Option<Effect>,
    changes_disk: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.changes_disk {
            self.core.record();
        }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn begin(&self, operation: Operation, path: &Path) -> io::Result<Call<'_>> {
        let mut core = self.lock();
        core.operations += 1;
        let number = core.operations;
        assert!(number <= core.settings.operations_max, "hang: more calls to the disk than the budget allows");
        if let Some(trace) = &mut core.trace {
            trace.push(operation);
        }
        let changes_disk = operation.changes_disk();
        if changes_disk {
            core.record();
        }
        let effect = core.faults.iter_mut().find_map(|fault| fault.strikes(operation, path, number));
        match effect {
            Some(Effect::Error(code)) => return Err(error(code)),
            Some(Effect::ReadOnly) => core.state_mut().condition = Condition::ReadOnly,
            _ => {}
        }
        Ok(Call { core, effect, changes_disk })
    }
}

impl SimDisk {
    /// An empty disk. The same seed gives the same entropy, and the same outcome of everything that is left to chance.
    pub fn new(seed: u64) -> Self {
        let settings = Settings {
            seed,
            capacity: None,
            tear_pages: false,
            file_system: FileSystem {
                kind: MARKER.to_owned(),
                copy_on_write: false,
                volatile: false,
                network: false,
                free_bytes: 1 << 40,
            },
            methods: vec![SyncMethod::WriteSync, SyncMethod::Direct],
            bad_ranges: Vec::new(),
            operations_max: 10_000_000,
        };
        Self::boot(Arc::new(State::new()), Arc::new(settings), 0)
    }

    pub(super) fn boot(state: Arc<State>, settings: Arc<Settings>, boot: u64) -> Self {
        let environment = Arc::new(SimEnvironment::new(settings.seed, boot));
        let generator = Generator::new(mix(settings.seed ^ 0x5147, boot));
        let core = Core {
            state,
            settings,
            faults: Vec::new(),
            operations: 0,
            trace: None,
            boot,
            generator,
            handles: Vec::new(),
            locks: Vec::new(),
            recorder: None,
        };
        Self { shared: Arc::new(Shared { core: Mutex::new(core), environment }) }
    }

    /// The disk and its environment, as a journal takes them.
    pub fn world(&self) -> World {
        World { disk: Arc::new(self.clone()), environment: self.shared.environment.clone() }
    }

    /// Begins to record a moment before and after each call that can change the disk.
    pub(super) fn record(&self, mark: Arc<Mark>) {
        self.shared.lock().recorder = Some(Recorder { mark, moments: Vec::new() });
    }

    /// Ends the recording with the present as its last moment.
    pub(super) fn recorded(&self) -> Vec<Moment> {
        let mut core = self.shared.lock();
        core.record();
        core.recorder.take().map(|recorder| recorder.moments).unwrap_or_default()
    }

    fn open_file(&self, path: &Path, access: Access) -> io::Result<u32> {
        let operation = if access == Access::Create { Operation::Create } else { Operation::Open };
        let mut call = self.shared.begin(operation, path)?;
        if access != Access::Read {
            call.core.check_writable()?;
        }
        let node = if access == Access::Create {
            let (directory, name) = call.core.state.resolve_parent(path)?;
            create_in(&mut call.core, directory, name, Node::File(Arc::default()))?
        } else {
            let node = call.core.state.resolve(path)?;
            call.core.state.file(node)?;
            node
        };
        call.core.hold(node);
        Ok(node)
    }
}

/// Checks before it changes, so that a refused call leaves the state shared.
fn create_in(core: &mut Core, directory: u32, name: &str, node: Node) -> io::Result<u32> {
    if core.state.directory(directory)?.cached.find(name).is_some() {
        return Err(error(errno::EEXIST));
    }
    core.state_mut().create(directory, name, node)
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut call = self.shared.begin(Operation::CreateDirectory, path)?;
        call.core.check_writable()?;
        let (directory, name) = call.core.state.resolve_parent(path)?;
        create_in(&mut call.core, directory, name, Node::Directory(Arc::new(Directory::default())))?;
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let call = self.shared.begin(Operation::List, path)?;
        let state = &call.core.state;
        let listing = &state.directory(state.resolve(path)?)?.cached;
        let entry = |name: &super::state::Name| {
            let file = state.file(name.node).ok();
            let bytes = file.map_or(0, |file| file.size);
            Entry { name: name.text.to_string(), directory: file.is_none(), bytes }
        };
        Ok(listing.names().iter().map(entry).collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let node = self.open_file(path, access)?;
        Ok(Box::new(SimFile {
            shared: self.shared.clone(),
            node,
            path: path.to_owned(),
            writable: access != Access::Read,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut call = self.shared.begin(Operation::Rename, from)?;
        call.core.check_writable()?;
        call.core.state.resolve(from)?;
        call.core.state_mut().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut call = self.shared.begin(Operation::Remove, path)?;
        call.core.check_writable()?;
        let node = call.core.state.resolve(path)?;
        call.core.state.file(node)?;
        call.core.state_mut().remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut call = self.shared.begin(Operation::SyncDirectory, path)?;
        let directory = call.core.state.resolve(path)?;
        call.core.state.directory(directory)?;
        let dirty = !call.core.state.pending.is_empty();
        call.core.sync_condition(dirty)?;
        match call.effect {
            Some(Effect::LyingSync) => return Ok(()),
            // The changes of names stay pending: a journaling file system writes them with its next transaction, or
            // turns read-only.
            Some(Effect::FailedSync { code, personality, survivors }) => {
                if survivors == Survivors::Everything {
                    sync_directory(&mut call.core, directory);
                }
                return Err(fail_condition(&mut call.core, code, personality));
            }
            _ => {}
        }
        if dirty {
            sync_directory(&mut call.core, directory);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut call = self.shared.begin(Operation::Lock, path)?;
        call.core.check_writable()?;
        let (directory, name) = call.core.state.resolve_parent(path)?;
        let found = call.core.state.directory(directory)?.cached.find(name);
        let node = match found {
            Some(node) => node,
            None => create_in(&mut call.core, directory, name, Node::File(Arc::default()))?,
        };
        call.core.state.file(node)?;
        if call.core.locks.contains(&node) {
            return Err(error(errno::EAGAIN));
        }
        call.core.locks.push(node);
        call.core.hold(node);
        Ok(Box::new(SimLock { shared: self.shared.clone(), node }))
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let call = self.shared.begin(Operation::Open, path)?;
        let (directory, name) = call.core.state.resolve_parent(path)?;
        let found = call.core.state.directory(directory)?.cached.find(name);
        Ok(found.is_some_and(|node| call.core.locks.contains(&node)))
    }

    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        let core = self.shared.lock();
        core.state.resolve(path)?;
        let mut file_system = core.settings.file_system.clone();
        if let Some(capacity) = core.settings.capacity {
            file_system.free_bytes = capacity.saturating_sub(core.state.used);
        }
        Ok(file_system)
    }
}

fn sync_directory(core: &mut Core, directory: u32) {
    let handles = std::mem::take(&mut core.handles);
    let is_open = |node: u32| handles.get(node as usize).is_some_and(|&count| count > 0);
    core.state_mut().sync_directory(directory, is_open);
    core.handles = handles;
}

/// What a failed sync leaves the file system as, and the error that it returns.
fn fail_condition(core: &mut Core, code: i32, personality: Personality) -> io::Error {
    match personality {
        Personality::Once => {}
        Personality::ReadOnly => core.state_mut().condition = Condition::ReadOnly,
        Personality::Forever => core.state_mut().condition = Condition::SyncsFail(code),
    }
    error(code)
}

/// A held lock.
#[derive(Debug)]
struct SimLock {
    shared: Arc<Shared>,
    node: u32,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut core = self.shared.lock();
        core.locks.retain(|&node| node != self.node);
        core.handles[self.node as usize] -= 1;
    }
}

/// An open file. It keeps its node alive, also when the name is gone.
#[derive(Debug)]
struct SimFile {
    shared: Arc<Shared>,
    node: u32,
    path: PathBuf,
    writable: bool,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.shared.lock().handles[self.node as usize] -= 1;
    }
}

impl SimFile {
    fn begin(&self, operation: Operation) -> io::Result<Call<'_>> {
        let call = self.shared.begin(operation, &self.path)?;
        if operation.changes_disk() && operation != Operation::SyncData {
            if !self.writable {
                return Err(error(errno::EBADF));
            }
            call.core.check_writable()?;
        }
        Ok(call)
    }

    fn state<'a>(&self, call: &'a Call<'_>) -> io::Result<&'a FileState> {
        call.core.state.file(self.node)
    }

    /// Whether the file still has a name; one without is not counted as used space.
    fn counted(&self, state: &State) -> bool {
        let mut found = false;
        state.visit_files(|node, _, _| found |= node == self.node);
        found
    }

    /// Writes as much as fits into the cache; the count of bytes.
    fn write_cached(&self, call: &mut Call<'_>, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut bytes = bytes;
        match call.effect {
            Some(Effect::Zero) => return Ok(0),
            Some(Effect::Short(most)) => bytes = &bytes[..bytes.len().min(most)],
            _ => {}
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or_else(|| error(errno::EINVAL))?;
        let size = self.state(call)?.size;
        let room = call.core.room(size, end);
        if room < end {
            let fitting = room.saturating_sub(offset) as usize;
            if fitting == 0 && !bytes.is_empty() {
                return Err(error(errno::ENOSPC));
            }
            bytes = &bytes[..fitting];
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        let grown = (offset + bytes.len() as u64).saturating_sub(size);
        let counted = grown > 0 && self.counted(&call.core.state);
        let effect = call.effect;
        let state = call.core.state_mut();
        let mut order = state.order;
        let file = state.file_mut(self.node)?;
        let fate = match effect {
            Some(Effect::Lost) => Fate::Lost,
            Some(Effect::Misdirected(astray)) => {
                file.write_astray(bytes, astray);
                Fate::Lost
            }
            _ => Fate::Cached,
        };
        file.write(bytes, offset, fate, &mut order);
        state.order = order;
        if counted {
            state.used += grown;
        }
        Ok(bytes.len())
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let call = self.begin(Operation::Read)?;
        let file = self.state(&call)?;
        let mut count = file.size.saturating_sub(offset).min(buffer.len() as u64);
        if let Some(Effect::Short(most)) = call.effect {
            count = count.min(most as u64);
        }
        for (name, bad) in &call.core.settings.bad_ranges {
            let overlaps = bad.start < offset + count && offset < bad.end;
            if overlaps && self.path.to_string_lossy().contains(name) {
                // The kernel returns what it could read before the bad range, and the error at the next call.
                count = bad.start.saturating_sub(offset);
                if count == 0 {
                    return Err(error(errno::EIO));
                }
            }
        }
        let count = count as usize;
        file.cached.read(offset, &mut buffer[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut call = self.begin(Operation::Write)?;
        self.write_cached(&mut call, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut call = self.begin(Operation::SyncData)?;
        let dirty = !self.state(&call)?.is_synced();
        call.core.sync_condition(dirty)?;
        match call.effect {
            Some(Effect::LyingSync) => return Ok(()),
            Some(Effect::FailedSync { code, personality, survivors }) => {
                if personality == Personality::Once || survivors != Survivors::Nothing {
                    let mut generator = call.core.generator.clone();
                    let file = call.core.state_mut().file_mut(self.node)?;
                    file.fail_sync(survivors, None, &mut generator);
                    call.core.generator = generator;
                }
                return Err(fail_condition(&mut call.core, code, personality));
            }
            _ => {}
        }
        if dirty {
            call.core.state_mut().file_mut(self.node)?.sync();
        }
        Ok(())
    }

    fn write_sync(&self, bytes: &[u8], offset: u64, method: SyncMethod) -> io::Result<usize> {
        let mut call = self.begin(Operation::WriteSync)?;
        if !call.core.settings.methods.contains(&method) {
            return Err(error(errno::EOPNOTSUPP));
        }
        let page = PAGE_BYTES as u64;
        let aligned = offset.is_multiple_of(page) && (bytes.len() as u64).is_multiple_of(page);
        if method == SyncMethod::Direct && !aligned {
            return Err(error(errno::EINVAL));
        }
        call.core.sync_condition(true)?;
        let count = self.write_cached(&mut call, bytes, offset)?;
        // The power may fail between the write and its sync.
        call.core.record();
        let range = offset..offset + count as u64;
        match call.effect {
            Some(Effect::LyingSync) => return Ok(count),
            Some(Effect::FailedSync { code, personality, survivors }) => {
                let mut generator = call.core.generator.clone();
                let file = call.core.state_mut().file_mut(self.node)?;
                file.fail_sync(survivors, Some(range), &mut generator);
                call.core.generator = generator;
                return Err(fail_condition(&mut call.core, code, personality));
            }
            _ => {}
        }
        call.core.state_mut().file_mut(self.node)?.sync_range(range);
        Ok(count)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.shared.lock().state.file(self.node)?.size)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut call = self.begin(Operation::Allocate)?;
        let size = self.state(&call)?.size;
        if bytes <= size {
            return Ok(());
        }
        if call.core.room(size, bytes) < bytes {
            return Err(error(errno::ENOSPC));
        }
        let counted = self.counted(&call.core.state);
        let state = call.core.state_mut();
        state.file_mut(self.node)?.grow(bytes);
        if counted {
            state.used += bytes - size;
        }
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        let mut call = self.begin(Operation::DropCache)?;
        if self.state(&call)?.lost {
            call.core.state_mut().file_mut(self.node)?.drop_cache();
        }
        Ok(())
    }
}
