//! Crash images: what is undecided at a moment, one choice of how it comes out, and the disk that follows. Owns the
//! written form of a choice, which a replay reads. Which choices are tried is the plan's business. Pure.

use std::fmt;

use super::file::{Change, Content, FileState, Sector};
use super::hash::{Generator, mix};
use super::state::{Condition, Node, State};
use super::{PAGE_BYTES, SECTOR_BYTES};

/// More versions of one sector than this are thinned out, so that a choice is one digit: the oldest and newest stay.
const VERSIONS_MAX: usize = 35;

/// A dirty sector and its versions since the last sync, oldest first.
pub(super) struct PendingSector<'a> {
    pub(super) node: u32,
    sector: u64,
    pub(super) versions: Vec<&'a Change>,
}

/// A file whose size is undecided.
pub(super) struct PendingSize {
    node: u32,
    pub(super) durable: u64,
    pub(super) current: u64,
    /// The sizes between that it has had.
    pub(super) between: Vec<u64>,
}

/// Everything that a crash at this moment could decide either way.
pub(super) struct Pending<'a> {
    pub(super) state: &'a State,
    pub(super) sectors: Vec<PendingSector<'a>>,
    pub(super) sizes: Vec<PendingSize>,
    /// How many changes of names are pending, at most 128.
    pub(super) names: u32,
    /// The dirty pages: node and page number.
    pub(super) pages: Vec<(u32, u64)>,
}

impl<'a> Pending<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        let mut sectors: Vec<PendingSector<'a>> = Vec::new();
        let mut sizes = Vec::new();
        for (node, file) in state.nodes.iter().enumerate() {
            let Node::File(file) = file else { continue };
            if file.is_synced() {
                continue;
            }
            let node = node as u32;
            let mut changes: Vec<&Change> = file.changes().collect();
            changes.sort_by_key(|change| (change.sector, change.order));
            for group in changes.chunk_by(|left, right| left.sector == right.sector) {
                let mut versions = group.to_vec();
                while versions.len() > VERSIONS_MAX {
                    versions.remove(VERSIONS_MAX / 2);
                }
                sectors.push(PendingSector { node, sector: group[0].sector, versions });
            }
            if file.size > file.durable_size {
                let between = file.pending_sizes().iter().copied().filter(|&size| size < file.size).collect();
                sizes.push(PendingSize { node, durable: file.durable_size, current: file.size, between });
            }
        }
        let mut pages: Vec<(u32, u64)> =
            sectors.iter().map(|sector| (sector.node, sector.sector / SECTORS_PER_PAGE)).collect();
        pages.dedup();
        let names = state.pending.len().min(128) as u32;
        Self { state, sectors, sizes, names, pages }
    }

    /// Whether a crash could take anything away, or reveal it.
    pub(super) fn nothing(&self) -> bool {
        self.sectors.is_empty() && self.sizes.is_empty() && self.names == 0 && !self.hides_loss()
    }

    fn hides_loss(&self) -> bool {
        self.state.nodes.iter().any(|node| matches!(node, Node::File(file) if file.lost))
    }

    /// The choice in which the newest of everything survives.
    pub(super) fn newest(&self) -> Choice {
        Choice {
            kill: false,
            versions: self.sectors.iter().map(|sector| sector.versions.len() as u8).collect(),
            names: if self.names == 0 { 0 } else { u128::MAX >> (128 - self.names) },
            sizes: self.sizes.iter().map(|size| (size.current, false)).collect(),
            torn: Vec::new(),
        }
    }

    /// The choice in which only what is durable survives.
    pub(super) fn durable(&self) -> Choice {
        Choice {
            kill: false,
            versions: vec![0; self.sectors.len()],
            names: 0,
            sizes: self.sizes.iter().map(|size| (size.durable, false)).collect(),
            torn: Vec::new(),
        }
    }

    /// Whether a choice, read from text, belongs to this moment.
    pub(super) fn fits(&self, choice: &Choice) -> bool {
        choice.kill
            || choice.versions.len() == self.sectors.len()
                && choice.sizes.len() == self.sizes.len()
                && choice.torn.iter().all(|&page| usize::from(page) < self.pages.len())
                && self.sectors.iter().zip(&choice.versions).all(|(s, &v)| usize::from(v) <= s.versions.len())
    }

    /// The disk after this choice. A killed process leaves the cache as it is.
    pub(super) fn image(&self, choice: &Choice) -> State {
        let mut state = self.state.clone();
        if choice.kill {
            return state;
        }
        state.condition = Condition::Healthy;
        state.crash_names(choice.names);
        let mut first = 0;
        for node in 0..state.nodes.len() {
            let count = self.sectors[first..].iter().take_while(|sector| sector.node as usize == node).count();
            let range = first..first + count;
            first += count;
            let Node::File(file) = &state.nodes[node] else { continue };
            if !file.is_clean() {
                let size = self.sizes.iter().position(|size| size.node as usize == node);
                let size = size.map_or((file.durable_size, false), |place| choice.sizes[place]);
                let image = self.file_image(node as u32, file, range, choice, size);
                state.nodes[node] = Node::File(image.into());
            }
        }
        let mut used = 0;
        state.visit_files(|_, _, file| used += file.size);
        state.used = used;
        state
    }

    fn file_image(
        &self,
        node: u32,
        file: &FileState,
        range: std::ops::Range<usize>,
        choice: &Choice,
        (size, stale): (u64, bool),
    ) -> FileState {
        let sectors = &self.sectors[range.clone()];
        let versions = &choice.versions[range];
        let mut content = file.durable.clone();
        for (sector, &version) in sectors.iter().zip(versions) {
            // A sector that begins beyond the size does not exist after the crash.
            if version > 0 && sector.sector * (SECTOR_BYTES as u64) < size {
                content.set_sector(sector.sector, &sector.versions[usize::from(version) - 1].bytes);
            }
        }
        if stale && size > file.durable_size {
            let kept = |index| sectors.iter().zip(versions).any(|(s, &version)| s.sector == index && version > 0);
            self.fill_stale(&mut content, file.durable_size, size, kept);
        }
        for &torn in &choice.torn {
            let (torn_node, page) = self.pages[usize::from(torn)];
            if torn_node == node {
                for index in page * SECTORS_PER_PAGE..(page + 1) * SECTORS_PER_PAGE {
                    if index * (SECTOR_BYTES as u64) < size {
                        content.set_sector(index, &garbage(index ^ 0xdead));
                    }
                }
            }
        }
        content.zero_rest_of_sector(size);
        FileState::clean(content, size)
    }

    /// Fills what grew, and was not written, with bytes of the file removed last, or with garbage.
    fn fill_stale(&self, content: &mut Content, durable: u64, size: u64, kept: impl Fn(u64) -> bool) {
        let first = durable / SECTOR_BYTES as u64;
        let end = size.div_ceil(SECTOR_BYTES as u64);
        for index in first..end {
            if kept(index) {
                continue;
            }
            let mut sector = match &self.state.grave {
                Some(grave) => *grave.cached.sector(index),
                None => garbage(index),
            };
            if index == first {
                let start = (durable % SECTOR_BYTES as u64) as usize;
                sector[..start].copy_from_slice(&content.sector(index)[..start]);
            }
            content.set_sector(index, &sector);
        }
    }
}

const SECTORS_PER_PAGE: u64 = (PAGE_BYTES / SECTOR_BYTES) as u64;

fn garbage(seed: u64) -> Sector {
    let mut sector = [0; SECTOR_BYTES];
    Generator::new(mix(seed, 0x6a7b)).fill(&mut sector);
    sector
}

/// The hash of what a boot would see: names, sizes, contents. After a kill also what the next crash could take away.
pub(super) fn image_hash(state: &State) -> u64 {
    let mut sum: u64 = 0;
    let mut hidden: u64 = 0;
    let shape = state.visit_files(|_, path_hash, file| {
        sum = sum.wrapping_add(mix(mix(path_hash, file.size), file.cached.hash()));
        if !file.is_clean() {
            let newest = file.changes().next().map_or(0, |change| change.order);
            let durable = mix(file.durable.hash(), file.durable_size);
            hidden = hidden.wrapping_add(mix(path_hash, mix(durable, newest)));
        }
    });
    if !state.pending.is_empty() || state.condition != Condition::Healthy {
        hidden = mix(hidden, state.pending.len() as u64 + 1);
    }
    mix(shape, sum).wrapping_add(hidden)
}

/// How one crash comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Only the process died: the cache stays, and nothing below matters.
    pub(super) kill: bool,
    /// Per dirty sector: 0 is the durable version, then the versions written since, oldest first.
    pub(super) versions: Vec<u8>,
    /// Per pending change of names, from the lowest bit: whether it survives.
    pub(super) names: u128,
    /// Per file of pending size: the size, and whether what grew shows stale bytes.
    pub(super) sizes: Vec<(u64, bool)>,
    /// Ruined pages, as indexes into [`Pending::pages`].
    pub(super) torn: Vec<u16>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kill {
            return f.write_str("kill");
        }
        f.write_str("s=")?;
        for &version in &self.versions {
            write!(f, "{}", char::from_digit(u32::from(version), 36).unwrap_or('?'))?;
        }
        write!(f, ";n={:x};z=", self.names)?;
        for (place, (size, stale)) in self.sizes.iter().enumerate() {
            let separator = if place == 0 { "" } else { "," };
            write!(f, "{separator}{size}{}", if *stale { "s" } else { "" })?;
        }
        for (place, page) in self.torn.iter().enumerate() {
            write!(f, "{}{page}", if place == 0 { ";t=" } else { "," })?;
        }
        Ok(())
    }
}

impl Choice {
    /// Reads what [`fmt::Display`] wrote.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut choice = Self { kill: false, versions: Vec::new(), names: 0, sizes: Vec::new(), torn: Vec::new() };
        if text == "kill" {
            choice.kill = true;
            return Ok(choice);
        }
        for part in text.split(';') {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("no `=` in `{part}`"))?;
            let wrong = || format!("`{value}` is not a value of `{key}`");
            let items = || value.split(',').filter(|item| !item.is_empty());
            match key {
                "s" => {
                    let digits = value.chars().map(|digit| digit.to_digit(36).map(|digit| digit as u8));
                    choice.versions = digits.collect::<Option<_>>().ok_or_else(wrong)?;
                }
                "n" => choice.names = u128::from_str_radix(value, 16).map_err(|_| wrong())?,
                "z" => {
                    let sizes = items().map(|item| {
                        let stale = item.ends_with('s');
                        item.trim_end_matches('s').parse().map(|size| (size, stale))
                    });
                    choice.sizes = sizes.collect::<Result<_, _>>().map_err(|_| wrong())?;
                }
                "t" => choice.torn = items().map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?,
                _ => return Err(format!("`{key}` is no part of a choice")),
            }
        }
        Ok(choice)
    }
}
