//! Everything that a simulated disk holds: files, directories, and the changes of names that no directory sync covered
//! yet. Owns the rules of names and of space; contents are [`super::file`]'s. Knows nothing of handles, locks or
//! faults.
//!
//! Invariants of [`State`]:
//! 1. Node 0 is the root directory.
//! 2. A directory's durable listing, with all pending changes applied in order, equals its cached listing.
//! 3. `used` is the sum of the sizes of the files that the cached listings reach.

use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::fault::{errno, error};
use super::file::FileState;
use super::hash::{mix, text_hash};

pub(super) const ROOT: u32 = 0;

/// A name in a directory.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) text: Arc<str>,
    hash: u64,
    pub(super) node: u32,
}

/// A directory's names, sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing(Vec<Name>);

impl Listing {
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.place(name).ok().map(|place| self.0[place].node)
    }

    pub(super) fn names(&self) -> &[Name] {
        &self.0
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|entry| (*entry.text).cmp(name))
    }

    fn set(&mut self, name: &Arc<str>, node: u32) {
        match self.place(name) {
            Ok(place) => self.0[place].node = node,
            Err(place) => self.0.insert(place, Name { text: name.clone(), hash: text_hash(name), node }),
        }
    }

    fn unset(&mut self, name: &str) {
        if let Ok(place) = self.place(name) {
            self.0.remove(place);
        }
    }
}

/// A directory: what calls see, and what a crash keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) cached: Arc<Listing>,
    pub(super) durable: Arc<Listing>,
}

/// A file, a directory, or room for one.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Free,
    File(Arc<FileState>),
    Directory(Arc<Directory>),
}

/// A change of names. It carries its node: applied to a directory in which the name means another file, it is void.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create { directory: u32, name: Arc<str>, node: u32 },
    Remove { directory: u32, name: Arc<str>, node: u32 },
    Rename { from: u32, from_name: Arc<str>, to: u32, to_name: Arc<str>, node: u32 },
}

impl NameChange {
    /// The directories that it touches, the same one twice for most.
    fn directories(&self) -> [u32; 2] {
        match *self {
            Self::Create { directory, .. } | Self::Remove { directory, .. } => [directory, directory],
            Self::Rename { from, to, .. } => [from, to],
        }
    }

    fn node(&self) -> u32 {
        match *self {
            Self::Create { node, .. } | Self::Remove { node, .. } | Self::Rename { node, .. } => node,
        }
    }
}

/// Which of a directory's two listings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Cached,
    Durable,
}

/// How the file system feels. Ends with a reboot, not with a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Healthy,
    ReadOnly,
    SyncsFail(i32),
}

/// All that a disk holds. Cloning it costs a reference count per node.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) nodes: Vec<Node>,
    pub(super) pending: Arc<Vec<NameChange>>,
    pub(super) used: u64,
    /// Counts the changes of contents.
    pub(super) order: u64,
    /// The file removed last: its bytes are what a grown file may show.
    pub(super) grave: Option<Arc<FileState>>,
    pub(super) condition: Condition,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node::Directory(Arc::default())],
            pending: Arc::default(),
            used: 0,
            order: 0,
            grave: None,
            condition: Condition::Healthy,
        }
    }

    pub(super) fn file(&self, node: u32) -> io::Result<&FileState> {
        match &self.nodes[node as usize] {
            Node::File(file) => Ok(file),
            Node::Directory(_) => Err(error(errno::EISDIR)),
            Node::Free => Err(error(errno::ENOENT)),
        }
    }

    pub(super) fn file_mut(&mut self, node: u32) -> io::Result<&mut FileState> {
        match &mut self.nodes[node as usize] {
            Node::File(file) => Ok(Arc::make_mut(file)),
            Node::Directory(_) => Err(error(errno::EISDIR)),
            Node::Free => Err(error(errno::ENOENT)),
        }
    }

    pub(super) fn directory(&self, node: u32) -> io::Result<&Directory> {
        match &self.nodes[node as usize] {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(error(errno::ENOTDIR)),
            Node::Free => Err(error(errno::ENOENT)),
        }
    }

    fn directory_mut(&mut self, node: u32) -> &mut Directory {
        match &mut self.nodes[node as usize] {
            Node::Directory(directory) => Arc::make_mut(directory),
            _ => unreachable!("a name change names the directories that it was made in"),
        }
    }

    /// The node that a path leads to.
    pub(super) fn resolve(&self, path: &Path) -> io::Result<u32> {
        let mut node = ROOT;
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    let name = name.to_str().ok_or_else(|| error(errno::EINVAL))?;
                    node = self.directory(node)?.cached.find(name).ok_or_else(|| error(errno::ENOENT))?;
                }
                Component::ParentDir | Component::Prefix(_) => return Err(error(errno::EINVAL)),
            }
        }
        Ok(node)
    }

    /// The directory in which a path's last name lies, and that name.
    pub(super) fn resolve_parent<'a>(&self, path: &'a Path) -> io::Result<(u32, &'a str)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| error(errno::EINVAL))?;
        let parent = self.resolve(path.parent().unwrap_or_else(|| Path::new("/")))?;
        self.directory(parent)?;
        Ok((parent, name))
    }

    /// Makes a new name with a new node behind it.
    pub(super) fn create(&mut self, directory: u32, name: &str, node: Node) -> io::Result<u32> {
        if self.directory(directory)?.cached.find(name).is_some() {
            return Err(error(errno::EEXIST));
        }
        let place = self.nodes.iter().position(|node| matches!(node, Node::Free)).unwrap_or(self.nodes.len());
        if place == self.nodes.len() {
            self.nodes.push(node);
        } else {
            self.nodes[place] = node;
        }
        let node = u32::try_from(place).expect("a simulation has few files");
        self.change_names(NameChange::Create { directory, name: name.into(), node });
        Ok(node)
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (directory, name) = self.resolve_parent(path)?;
        let node = self.directory(directory)?.cached.find(name).ok_or_else(|| error(errno::ENOENT))?;
        self.bury(node)?;
        self.change_names(NameChange::Remove { directory, name: name.into(), node });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, from_name) = self.resolve_parent(from)?;
        let (to, to_name) = self.resolve_parent(to)?;
        let node = self.directory(from)?.cached.find(from_name).ok_or_else(|| error(errno::ENOENT))?;
        let moves_directory = matches!(self.nodes[node as usize], Node::Directory(_));
        if moves_directory && self.reaches(node, to) {
            return Err(error(errno::EINVAL));
        }
        if let Some(replaced) = self.directory(to)?.cached.find(to_name) {
            if replaced == node {
                return Ok(());
            }
            match &self.nodes[replaced as usize] {
                Node::Directory(_) if !moves_directory => return Err(error(errno::EISDIR)),
                Node::Directory(directory) if !directory.cached.names().is_empty() => {
                    return Err(error(errno::ENOTEMPTY));
                }
                Node::File(_) if moves_directory => return Err(error(errno::ENOTDIR)),
                Node::File(_) => self.bury(replaced)?,
                _ => {}
            }
        }
        self.change_names(NameChange::Rename { from, from_name: from_name.into(), to, to_name: to_name.into(), node });
        Ok(())
    }

    /// Makes a directory's names durable, and with them the earlier changes of other directories on which they depend
    /// (a rename between two directories is one change).
    pub(super) fn sync_directory(&mut self, directory: u32, is_open: impl Fn(u32) -> bool) {
        let mut directories = vec![directory];
        let mut commits = vec![false; self.pending.len()];
        for (change, commit) in self.pending.iter().zip(&mut commits).rev() {
            *commit = change.directories().iter().any(|touched| directories.contains(touched));
            if *commit {
                directories.extend(change.directories());
            }
        }
        if !commits.contains(&true) {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let mut kept = Vec::new();
        for (change, commit) in pending.iter().zip(commits) {
            if commit {
                self.apply(change, Side::Durable);
            } else {
                kept.push(change.clone());
            }
        }
        self.pending = Arc::new(kept);
        self.free_unreachable(is_open);
    }

    /// What a crash keeps of the names: the durable ones and the chosen pending changes. Changes beyond the 128th
    /// always happen.
    pub(super) fn crash_names(&mut self, chosen: u128) {
        let pending = std::mem::take(&mut self.pending);
        for (place, change) in pending.iter().enumerate() {
            if place >= 128 || chosen >> place & 1 == 1 {
                self.apply(change, Side::Durable);
            }
        }
        for node in &mut self.nodes {
            if let Node::Directory(directory) = node
                && !Arc::ptr_eq(&directory.cached, &directory.durable)
            {
                let durable = directory.durable.clone();
                *directory = Arc::new(Directory { cached: durable.clone(), durable });
            }
        }
        self.free_unreachable(|_| false);
    }

    /// Calls for each file that calls can reach, with a hash of its path.
    pub(super) fn visit_files(&self, mut visit: impl FnMut(u32, u64, &FileState)) -> u64 {
        self.visit_directory(ROOT, 1, &mut visit)
    }

    /// Returns a hash of the directories, so that an empty one counts too.
    fn visit_directory(&self, directory: u32, path_hash: u64, visit: &mut impl FnMut(u32, u64, &FileState)) -> u64 {
        let mut shape = path_hash;
        let Ok(directory) = self.directory(directory) else {
            return shape;
        };
        for name in directory.cached.names() {
            let path_hash = mix(path_hash, name.hash);
            match &self.nodes[name.node as usize] {
                Node::File(file) => visit(name.node, path_hash, file),
                Node::Directory(_) => shape = mix(shape, self.visit_directory(name.node, path_hash, visit)),
                Node::Free => {}
            }
        }
        shape
    }

    /// Whether `target` is `node` or lies below it.
    fn reaches(&self, node: u32, target: u32) -> bool {
        node == target
            || self
                .directory(node)
                .is_ok_and(|directory| directory.cached.names().iter().any(|name| self.reaches(name.node, target)))
    }

    /// Takes a file out of the count of used bytes and keeps its bytes as what grown files may show.
    fn bury(&mut self, node: u32) -> io::Result<()> {
        match &self.nodes[node as usize] {
            Node::File(file) => {
                self.used = self.used.saturating_sub(file.size);
                self.grave = Some(file.clone());
                Ok(())
            }
            Node::Directory(_) => Err(error(errno::EISDIR)),
            Node::Free => Err(error(errno::ENOENT)),
        }
    }

    fn change_names(&mut self, change: NameChange) {
        self.apply(&change, Side::Cached);
        Arc::make_mut(&mut self.pending).push(change);
    }

    /// Applies a change to one side; void where its name is missing, taken or means another node.
    fn apply(&mut self, change: &NameChange, side: Side) {
        match change {
            NameChange::Create { directory, name, node } => {
                let listing = self.listing_mut(*directory, side);
                if listing.find(name).is_none() {
                    listing.set(name, *node);
                }
            }
            NameChange::Remove { directory, name, node } => {
                let listing = self.listing_mut(*directory, side);
                if listing.find(name) == Some(*node) {
                    listing.unset(name);
                }
            }
            NameChange::Rename { from, from_name, to, to_name, node } => {
                let listing = self.listing_mut(*from, side);
                if listing.find(from_name) == Some(*node) {
                    listing.unset(from_name);
                    self.listing_mut(*to, side).set(to_name, *node);
                }
            }
        }
    }

    fn listing_mut(&mut self, directory: u32, side: Side) -> &mut Listing {
        let directory = self.directory_mut(directory);
        Arc::make_mut(match side {
            Side::Cached => &mut directory.cached,
            Side::Durable => &mut directory.durable,
        })
    }

    /// Frees what neither a name, nor a pending change, nor an open file refers to.
    fn free_unreachable(&mut self, is_open: impl Fn(u32) -> bool) {
        let mut reached = vec![false; self.nodes.len()];
        reached[ROOT as usize] = true;
        for node in &self.nodes {
            if let Node::Directory(directory) = node {
                let names = directory.cached.names().iter().chain(directory.durable.names());
                names.for_each(|name| reached[name.node as usize] = true);
            }
        }
        for change in self.pending.iter() {
            reached[change.node() as usize] = true;
            change.directories().iter().for_each(|&directory| reached[directory as usize] = true);
        }
        for (place, reached) in reached.into_iter().enumerate() {
            if !reached && !is_open(place as u32) {
                self.nodes[place] = Node::Free;
            }
        }
    }
}
