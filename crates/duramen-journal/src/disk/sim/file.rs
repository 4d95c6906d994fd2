//! One simulated file: what the cache shows, what is durable, and the unsynced changes between. Owns the rules of
//! contents and size; knows nothing of names, faults or other files.
//!
//! Invariants of [`FileState`]:
//! 1. `durable_size <= size`; the interface never shrinks a file.
//! 2. Every sector in which `cached` and `durable` differ has a change in `changes`, unless `lost` is set: then a
//!    sector may look right in the cache although no sync will ever write it.
//! 3. `durable` holds zeros beyond the sector in which `durable_size` lies, `cached` beyond `size`.
//!
//! Everything is shared and copied on write, so that a snapshot costs a few reference counts.

use std::ops::Range;
use std::sync::Arc;

use super::fault::Survivors;
use super::hash::{Generator, ZERO_SECTOR, sector_hash};
use super::{PAGE_BYTES, SECTOR_BYTES};

pub(super) type Sector = [u8; SECTOR_BYTES];
type Page = [u8; PAGE_BYTES];

const SECTORS_PER_PAGE: u64 = (PAGE_BYTES / SECTOR_BYTES) as u64;
/// More sizes between two syncs than this are thinned out: the first and the last matter most.
const SIZES_KEPT_MAX: usize = 6;

/// The bytes of a file, sparse, with a hash that each replaced sector keeps up to date. A missing page is zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: Arc<Vec<Option<Arc<Page>>>>,
    hash: u64,
}

impl Content {
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn sector(&self, index: u64) -> &Sector {
        let page = usize::try_from(index / SECTORS_PER_PAGE).ok().and_then(|page| self.pages.get(page));
        let Some(Some(page)) = page else {
            return &ZERO_SECTOR;
        };
        let start = (index % SECTORS_PER_PAGE) as usize * SECTOR_BYTES;
        page[start..start + SECTOR_BYTES].try_into().expect("the range is one sector long")
    }

    pub(super) fn set_sector(&mut self, index: u64, bytes: &Sector) {
        let before = self.sector(index);
        if before == bytes {
            return;
        }
        let change = sector_hash(index, bytes).wrapping_sub(sector_hash(index, before));
        self.hash = self.hash.wrapping_add(change);
        let page = usize::try_from(index / SECTORS_PER_PAGE).expect("simulated files are far smaller than memory");
        let pages = Arc::make_mut(&mut self.pages);
        if pages.len() <= page {
            pages.resize(page + 1, None);
        }
        let page = pages[page].get_or_insert_with(|| Arc::new([0; PAGE_BYTES]));
        let start = (index % SECTORS_PER_PAGE) as usize * SECTOR_BYTES;
        Arc::make_mut(page)[start..start + SECTOR_BYTES].copy_from_slice(bytes);
    }

    /// Copies out; zeros where nothing was written.
    pub(super) fn read(&self, mut offset: u64, mut out: &mut [u8]) {
        while !out.is_empty() {
            let start = (offset % PAGE_BYTES as u64) as usize;
            let count = out.len().min(PAGE_BYTES - start);
            let page = usize::try_from(offset / PAGE_BYTES as u64).ok().and_then(|page| self.pages.get(page));
            let (now, later) = out.split_at_mut(count);
            match page {
                Some(Some(page)) => now.copy_from_slice(&page[start..start + count]),
                _ => now.fill(0),
            }
            out = later;
            offset += count as u64;
        }
    }

    /// Overlays bytes, sector by sector; `visit` sees a sector's number, old and new contents, and says whether to
    /// store.
    fn overlay(&mut self, bytes: &[u8], offset: u64, mut visit: impl FnMut(u64, &Sector, &Sector) -> bool) {
        let mut done = 0;
        while done < bytes.len() {
            let position = offset + done as u64;
            let index = position / SECTOR_BYTES as u64;
            let start = (position % SECTOR_BYTES as u64) as usize;
            let count = (bytes.len() - done).min(SECTOR_BYTES - start);
            let part = &bytes[done..done + count];
            let before = self.sector(index);
            let mut merged = *before;
            merged[start..start + count].copy_from_slice(part);
            if visit(index, before, &merged) {
                self.set_sector(index, &merged);
            }
            done += count;
        }
    }

    /// Zeros everything from a byte on, in the sector where that byte lies.
    pub(super) fn zero_rest_of_sector(&mut self, from: u64) {
        let start = (from % SECTOR_BYTES as u64) as usize;
        if start > 0 {
            let index = from / SECTOR_BYTES as u64;
            let mut sector = *self.sector(index);
            sector[start..].fill(0);
            self.set_sector(index, &sector);
        }
    }
}

/// One unsynced version of one sector. A list from the newest to the oldest, shared between snapshots.
#[derive(Debug)]
pub(super) struct Change {
    previous: Option<Arc<Change>>,
    pub(super) sector: u64,
    /// The place among all changes of the disk.
    pub(super) order: u64,
    pub(super) bytes: Sector,
}

impl Drop for Change {
    fn drop(&mut self) {
        // A long list dropped by recursion would overflow the stack.
        let mut next = self.previous.take();
        while let Some(mut change) = next.and_then(Arc::into_inner) {
            next = change.previous.take();
        }
    }
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits in the cache for a sync.
    Cached,
    /// The cache shows it, but the device never gets it.
    Lost,
}

/// One file.
#[derive(Clone, Debug, Default)]
pub(super) struct FileState {
    pub(super) cached: Content,
    pub(super) durable: Content,
    pub(super) size: u64,
    pub(super) durable_size: u64,
    changes: Option<Arc<Change>>,
    /// Sizes that the file has had since the last sync, the current one last.
    sizes: Vec<u64>,
    /// Clean sectors of the cache may differ from the durable ones.
    pub(super) lost: bool,
}

impl FileState {
    /// A file of which everything is durable.
    pub(super) fn clean(content: Content, size: u64) -> Self {
        Self { cached: content.clone(), durable: content, size, durable_size: size, ..Self::default() }
    }

    /// Nothing that a crash could take away.
    pub(super) fn is_clean(&self) -> bool {
        self.changes.is_none() && self.size == self.durable_size && !self.lost
    }

    /// Nothing that a sync would have to write.
    pub(super) fn is_synced(&self) -> bool {
        self.changes.is_none() && self.size == self.durable_size
    }

    /// The unsynced changes, newest first.
    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        std::iter::successors(self.changes.as_deref(), |change| change.previous.as_deref())
    }

    /// Sizes between the durable and the current one that the file has had, the current one included when pending.
    pub(super) fn pending_sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// Writes into the cache. `order` counts all changes of the disk.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64, fate: Fate, order: &mut u64) {
        let changes = &mut self.changes;
        let durable = &self.durable;
        let lost = self.lost;
        self.cached.overlay(bytes, offset, |sector, old, new| {
            // Rewriting what the cache shows is no change, unless the cache shows more than the device will ever have:
            // then the write makes the sector dirty again.
            let unchanged = old == new && (!lost || durable.sector(sector) == new);
            if !unchanged && fate == Fate::Cached {
                *order += 1;
                *changes = Some(Arc::new(Change { previous: changes.take(), sector, order: *order, bytes: *new }));
            }
            !unchanged
        });
        self.lost |= fate == Fate::Lost;
        self.grow(offset + bytes.len() as u64);
    }

    /// Writes past the cache straight onto the device, at the wrong place: only where the file already is durable.
    pub(super) fn write_astray(&mut self, bytes: &[u8], offset: u64) {
        let end = self.durable_size.min(offset.saturating_add(bytes.len() as u64));
        let count = end.saturating_sub(offset) as usize;
        self.durable.overlay(&bytes[..count], offset, |_, _, _| true);
        self.lost = true;
    }

    /// Grows the file to a size; a smaller one changes nothing.
    pub(super) fn grow(&mut self, size: u64) {
        if size > self.size {
            self.size = size;
            if self.sizes.len() == SIZES_KEPT_MAX {
                self.sizes.remove(SIZES_KEPT_MAX / 2);
            }
            self.sizes.push(size);
        }
    }

    /// Makes contents and size durable.
    pub(super) fn sync(&mut self) {
        if self.lost {
            let first_to_last = self.newest_versions();
            for (sector, bytes) in first_to_last {
                self.durable.set_sector(sector, &bytes);
            }
        } else {
            self.durable = self.cached.clone();
        }
        self.changes = None;
        self.durable_size = self.size;
        self.sizes.clear();
    }

    /// Makes one range of bytes durable, and the size needed to read it. A sector is written whole.
    pub(super) fn sync_range(&mut self, range: Range<u64>) {
        let sectors = range.start / SECTOR_BYTES as u64..range.end.div_ceil(SECTOR_BYTES as u64);
        for sector in sectors.clone() {
            let bytes = *self.cached.sector(sector);
            self.durable.set_sector(sector, &bytes);
        }
        self.retain_changes(|change| !sectors.contains(&change.sector));
        self.durable_size = self.durable_size.max(range.end.min(self.size));
        let durable_size = self.durable_size;
        self.sizes.retain(|&size| size > durable_size);
    }

    /// A sync that failed and left the dirty pages marked clean: no later sync writes them. `range`: a failed write
    /// with sync covers its own sectors only.
    pub(super) fn fail_sync(&mut self, survivors: Survivors, range: Option<Range<u64>>, generator: &mut Generator) {
        if range.is_none() && survivors == Survivors::Everything {
            self.durable_size = self.size;
            self.sizes.clear();
        }
        let sectors = match range {
            Some(range) => range.start / SECTOR_BYTES as u64..range.end.div_ceil(SECTOR_BYTES as u64),
            None => 0..u64::MAX,
        };
        for (sector, bytes) in self.newest_versions() {
            let survives = match survivors {
                Survivors::Nothing => false,
                Survivors::Some => generator.below(2) == 0,
                Survivors::Everything => true,
            };
            // What lies beyond the durable size is not part of the file after a crash.
            if survives && sectors.contains(&sector) && sector * (SECTOR_BYTES as u64) < self.durable_size {
                self.durable.set_sector(sector, &bytes);
            }
        }
        self.retain_changes(|change| !sectors.contains(&change.sector));
        self.lost = true;
    }

    /// Evicts the clean sectors: the next read shows what the device has.
    pub(super) fn drop_cache(&mut self) {
        if self.lost {
            let newest = self.newest_versions();
            self.cached = self.durable.clone();
            for (sector, bytes) in newest {
                self.cached.set_sector(sector, &bytes);
            }
            self.lost = false;
        }
    }

    /// The newest version of each dirty sector.
    fn newest_versions(&self) -> Vec<(u64, Sector)> {
        let mut newest: Vec<(u64, Sector)> = Vec::new();
        let mut oldest_first: Vec<&Change> = self.changes().collect();
        oldest_first.reverse();
        for change in oldest_first {
            match newest.binary_search_by_key(&change.sector, |(sector, _)| *sector) {
                Ok(found) => newest[found].1 = change.bytes,
                Err(place) => newest.insert(place, (change.sector, change.bytes)),
            }
        }
        newest
    }

    fn retain_changes(&mut self, keep: impl Fn(&Change) -> bool) {
        let mut kept: Vec<(u64, u64, Sector)> = Vec::new();
        for change in self.changes().filter(|change| keep(change)) {
            kept.push((change.sector, change.order, change.bytes));
        }
        self.changes = None;
        for (sector, order, bytes) in kept.into_iter().rev() {
            self.changes = Some(Arc::new(Change { previous: self.changes.take(), sector, order, bytes }));
        }
    }
}
