//! Files that grow: each complete line that was read is stored exactly once, over any kill and any power cut. Owns the watching of
//! names and the positions, which travel in the batch of their rows; who is who, when names and inodes are given anew, is
//! [`mark`](super::mark)'s judgement, and what copies are owed is told in `copies`.
//!
//! What rotation can cost: with rename nothing. With copytruncate the lines that were written between the copy and the truncation
//! are gone before anybody could read them, and lines that were not read before it are read from the copy only if the pattern
//! matches the copy's name too.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "inputs of the binary are ordinary files, outside any data folder"
)]

mod copies;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use duramen_store::{Batch, Durability, Stream};

use crate::input::lines::split;
use crate::input::mark::{Bytes, Judgement, Position};
use crate::input::streams::Streams;
use crate::input::{Counters, Feed, Input, LineReader, Now};

/// Bytes of one file that are read at once.
const READ_BYTES: usize = 256 << 10;
/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks at the known files between two looks for new ones.
const LOOKS_PER_SEARCH: u32 = 5;
/// Looks after which a file without its name, and without growth, is let go.
const LOOKS_WITHOUT_NAME: u32 = 50;
/// Files that stay open; others are opened anew when they have grown.
const OPEN_MAX: usize = 512;
/// Positions of files that are gone are kept up to this number.
const POSITIONS_MAX: usize = 10_000;
/// What positions' keys begin with.
const KEY: &str = "file/";

/// Device and inode.
type Identity = (u64, u64);

/// A file's length, and when it was changed: seconds and nanoseconds.
type Seen = (u64, i64, i64);

/// Files by patterns.
pub struct Files {
    groups: Vec<Group>,
    /// Of each group, where rows go for whose file, host or program there is no room.
    plain: Vec<Stream>,
    line_bytes_max: usize,
    known: BTreeMap<Identity, Known>,
    positions: BTreeMap<Identity, Position>,
    /// The reader has just been started: shorter files may have lost their ends to a power cut.
    resumed: bool,
}

/// Files that are treated alike. A file that several groups match belongs to the first of them.
pub struct Group {
    /// Names or patterns.
    pub patterns: Vec<String>,
    /// Labels of their rows, beside `file`.
    pub labels: Vec<(String, String)>,
    /// Leaves out what begins as compressed or binary files do.
    pub text_only: bool,
}

impl Group {
    /// The labels of rows for whose own stream there is no room.
    fn plain(&self) -> Vec<(String, String)> {
        let mut labels = self.labels.clone();
        if labels.iter().all(|(name, _)| name != "input") {
            labels.push(("input".to_string(), "file".to_string()));
        }
        labels
    }
}

/// A file that is being followed.
struct Known {
    path: PathBuf,
    file: Option<File>,
    position: Position,
    /// How it was when nothing more could be taken from it.
    seen: Option<Seen>,
    /// It is settled who it is: the file of its stored position, a copy, or a new one.
    settled: bool,
    named: bool,
    idle: u32,
    reader: LineReader,
}

struct OpenFile<'a>(&'a File);

impl Bytes for OpenFile<'_> {
    fn bytes(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read(&self, offset: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let mut done = 0;
        while let Ok(read @ 1..) = self.0.read_at(&mut bytes[done..], offset + done as u64) {
            done += read;
        }
        bytes.truncate(done);
        bytes
    }
}

fn key(identity: Identity) -> Vec<u8> {
    format!("{KEY}{:x}:{:x}", identity.0, identity.1).into_bytes()
}

fn identity_of(key: &[u8]) -> Option<Identity> {
    let (device, inode) = std::str::from_utf8(key).ok()?.strip_prefix(KEY)?.split_once(':')?;
    Some((u64::from_str_radix(device, 16).ok()?, u64::from_str_radix(inode, 16).ok()?))
}

impl Files {
    /// Follows the files that these patterns match, now or later.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn new(groups: Vec<Group>, line_bytes_max: usize) -> Result<Files, glob::PatternError> {
        for pattern in groups.iter().flat_map(|group| &group.patterns) {
            glob::Pattern::new(pattern)?;
        }
        let (known, positions) = (BTreeMap::new(), BTreeMap::new());
        Ok(Files { groups, plain: Vec::new(), line_bytes_max, known, positions, resumed: true })
    }

    /// Finds files by their names.
    fn search(&mut self, feed: &Feed) {
        for known in self.known.values_mut() {
            known.named = false;
        }
        let mut found: Vec<(PathBuf, usize)> = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            for path in group.patterns.iter().flat_map(|pattern| glob::glob(pattern).into_iter().flatten()) {
                match path {
                    Ok(path) => found.push((path, number)),
                    // A folder that may not be listed may be listed later.
                    Err(_) => Counters::add(&feed.counters.waits, 1),
                }
            }
        }
        // The names that rotation gives come behind the ones that it takes them from: an old file is known before its successor.
        found.sort();
        found.dedup_by(|later, first| later.0 == first.0);
        for (path, group) in found {
            self.meet(path, group, feed);
        }
    }

    fn meet(&mut self, path: PathBuf, group: usize, feed: &Feed) {
        let Ok(metadata) = std::fs::metadata(&path) else { return };
        if !metadata.is_file() {
            return;
        }
        let identity = (metadata.dev(), metadata.ino());
        if let Some(known) = self.known.get_mut(&identity) {
            known.named = true;
            known.path = path;
            return;
        }
        let (group, plain) = (&self.groups[group], self.plain[group].clone());
        if group.text_only && !looks_like_text(&path) {
            return;
        }
        let Ok(file) = File::open(&path) else {
            Counters::add(&feed.counters.waits, 1);
            return;
        };
        let position = self.positions.get(&identity).cloned().unwrap_or_default();
        let mut labels = group.labels.clone();
        labels.push(("file".to_string(), path.display().to_string()));
        let reader = LineReader::new(Streams::with_plain(labels, plain));
        let known =
            Known { path, file: Some(file), position, seen: None, settled: false, named: true, idle: 0, reader };
        self.known.insert(identity, known);
    }

    /// Reads on in a file; true: there may be more.
    fn read(&mut self, identity: Identity, feed: &Feed) -> anyhow::Result<bool> {
        let Some(known) = self.known.get_mut(&identity) else { return Ok(false) };
        let Some(seen) = known.changed(identity) else { return Ok(false) };
        self.settle(identity, seen.0, feed)?;
        if self.is_covered(identity, seen, feed)? {
            return Ok(false);
        }
        let Some(known) = self.known.get_mut(&identity) else { return Ok(false) };
        let from = known.position.offset;
        let mut bytes = known.bytes(from, seen.0, READ_BYTES);
        if bytes.len() == READ_BYTES && !bytes.contains(&b'\n') {
            bytes = known.bytes(from, seen.0, self.line_bytes_max + 1);
        }
        let found = split(&bytes, self.line_bytes_max);
        if found.taken == 0 {
            known.seen = Some(seen);
            return Ok(false);
        }
        // It may have been truncated and written anew while it was read.
        if known.judge(false) != Judgement::Same {
            return Ok(true);
        }
        let more = from + (found.taken as u64) < seen.0;
        let (now, mut batch) = (Now::of(&feed.store), Batch::new());
        for line in &found.lines {
            known.reader.push(&mut batch, line, now, feed)?;
        }
        Counters::add(&feed.counters.odd, found.parts as u64);
        let mut position = known.position.clone();
        position.path = known.path.display().to_string();
        position.advance(&bytes[..found.taken]);
        batch.set_position(&key(identity), &serde_json::to_vec(&position)?);
        if feed.append(&mut batch, Durability::Policy)?.is_some() {
            known.position = position;
            self.positions.insert(identity, known.position.clone());
        }
        Ok(more)
    }

    /// Sees whether a file's position is still one of this file, and if not, who it is.
    fn settle(&mut self, identity: Identity, bytes: u64, feed: &Feed) -> anyhow::Result<()> {
        let Some(known) = self.known.get_mut(&identity) else { return Ok(()) };
        // A file of another name that took over an inode did not lose its end.
        let resumed = self.resumed && !known.settled && Path::new(&known.position.path) == known.path;
        match known.judge(resumed) {
            Judgement::Same => {}
            Judgement::Shorter => {
                if let Some(file) = &known.file {
                    known.position = Position::at(&OpenFile(file), bytes);
                }
            }
            Judgement::Other => {
                // Whoever truncated it may have copied it before, and the copy is known by the position that ends here.
                self.search(feed);
                self.release_copies(identity, feed)?;
                if let Some(known) = self.known.get_mut(&identity) {
                    known.begin_anew();
                }
            }
        }
        let Some(known) = self.known.get(&identity) else { return Ok(()) };
        if !known.settled && bytes > 0 {
            if known.position.offset == 0 {
                self.recognise(identity, feed)?;
            }
            if let Some(known) = self.known.get_mut(&identity) {
                known.settled = true;
            }
        }
        Ok(())
    }

    /// Lets go of files that lost their names and do not grow, and of files that were only opened too often.
    fn let_go(&mut self) {
        self.known.retain(|_, known| known.named || known.idle < LOOKS_WITHOUT_NAME);
        let open = self.known.values().filter(|known| known.file.is_some()).count();
        let mut surplus = open.saturating_sub(OPEN_MAX);
        for known in self.known.values_mut().filter(|known| known.named && known.idle > 0) {
            if surplus == 0 {
                break;
            }
            if known.file.take().is_some() {
                surplus -= 1;
            }
        }
    }

    /// Forgets positions of files that are not followed any more, when there are too many.
    fn forget(&mut self, feed: &Feed) -> anyhow::Result<()> {
        let surplus = self.positions.len().saturating_sub(POSITIONS_MAX);
        let gone: Vec<Identity> = self
            .positions
            .keys()
            .filter(|identity| !self.known.contains_key(identity))
            .take(surplus)
            .copied()
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for identity in gone {
            self.positions.remove(&identity);
            batch.set_position(&key(identity), &[]);
        }
        feed.append(&mut batch, Durability::Policy)?;
        Ok(())
    }
}

impl Known {
    /// Length and time of change, if there may be something new, and the file is open to be read.
    fn changed(&mut self, identity: Identity) -> Option<Seen> {
        let metadata = match &self.file {
            Some(file) => file.metadata().ok()?,
            None => std::fs::metadata(&self.path).ok().filter(|found| (found.dev(), found.ino()) == identity)?,
        };
        let seen = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if self.seen == Some(seen) {
            self.idle += 1;
            return None;
        }
        self.idle = 0;
        if self.file.is_none() {
            let file = File::open(&self.path).ok()?;
            let metadata = file.metadata().ok()?;
            self.file = ((metadata.dev(), metadata.ino()) == identity).then_some(file);
        }
        self.file.is_some().then_some(seen)
    }

    /// It is another file now, under the same inode: a copy that took the place of an older one, say.
    fn begin_anew(&mut self) {
        self.position = Position::default();
        self.settled = false;
    }

    fn judge(&self, resumed: bool) -> Judgement {
        self.file.as_ref().map_or(Judgement::Same, |file| self.position.judge(&OpenFile(file), resumed))
    }

    fn bytes(&self, from: u64, to: u64, max: usize) -> Vec<u8> {
        let count = to.saturating_sub(from).min(max as u64) as usize;
        self.file.as_ref().map_or_else(Vec::new, |file| OpenFile(file).read(from, count))
    }
}

/// Whether a file begins as text does, and does not have the name of a compressed one.
pub fn looks_like_text(path: &Path) -> bool {
    let compressed = path
        .extension()
        .is_some_and(|ending| ["gz", "xz", "zst", "bz2", "journal", "lz4"].iter().any(|known| ending == *known));
    let begin = File::open(path).map(|file| OpenFile(&file).read(0, 4096));
    !compressed && begin.is_ok_and(|begin| !begin.contains(&0))
}

impl Input for Files {
    fn name(&self) -> String {
        "file".to_string()
    }

    fn run(&mut self, feed: &Feed) -> anyhow::Result<()> {
        self.plain = self.groups.iter().map(|group| feed.plain(&group.plain())).collect::<Result<_, _>>()?;
        for (key, value) in feed.store.positions(KEY.as_bytes()) {
            if let (Some(identity), Ok(position)) = (identity_of(&key), serde_json::from_slice(&value)) {
                self.positions.insert(identity, position);
            }
        }
        let mut looks = 0;
        loop {
            if looks % LOOKS_PER_SEARCH == 0 {
                self.search(feed);
            }
            looks = looks.wrapping_add(1);
            loop {
                let mut more = false;
                let identities: Vec<Identity> = self.known.keys().copied().collect();
                for identity in identities {
                    if feed.stopped() {
                        return Ok(());
                    }
                    more |= self.read(identity, feed)?;
                }
                if !more {
                    break;
                }
            }
            self.resumed = false;
            self.let_go();
            self.forget(feed)?;
            if feed.pause(LOOK_EVERY) {
                return Ok(());
            }
        }
    }
}
