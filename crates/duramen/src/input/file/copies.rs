//! Copies of files that are followed: `cp a.log b.log`, and what copytruncate leaves. Owns the rule that keeps a line that stands in
//! both from being stored twice, and from not being stored at all:
//!
//! A new file that begins as a followed one does, is its copy. As long as the original holds the same bytes, they are stored from there,
//! and the copy's position only follows. As soon as the original is truncated, ends, or differs, the copy is read by itself from
//! there on. Both positions are stored, the copy's first, so that a kill between the two changes nothing.
//!
//! Fewer than 64 equal bytes say nothing, unless the copy is named after the original (`a.log.1`, `a.log-2026`).

use std::path::Path;

use duramen_store::{Batch, Durability};

use crate::input::Feed;
use crate::input::file::{Files, Identity, OpenFile, READ_BYTES, Seen, key};
use crate::input::mark::{Bytes as _, Judgement, MARK_BYTES, Position, begin_alike, last_line_end};

impl Files {
    /// Sees whether a new file is the copy of one that is known.
    pub(super) fn recognise(&mut self, identity: Identity, feed: &Feed) -> anyhow::Result<()> {
        let found = self.original(identity, None);
        self.take_position(identity, found, feed)
    }

    /// The best position that other files have for this one; with `only`, that of this file alone counts.
    fn original(&self, identity: Identity, only: Option<Identity>) -> Option<Position> {
        let known = self.known.get(&identity)?;
        let copy = OpenFile(known.file.as_ref()?);
        let bytes = copy.bytes();
        let head = copy.read(0, MARK_BYTES);
        let mut best: Option<Position> = None;
        for (&other, stored) in &self.positions {
            if other == identity || only.is_some_and(|only| only != other) {
                continue;
            }
            let live = self.known.get(&other).filter(|live| live.settled || live.position.offset > 0);
            let position = live.map_or(stored, |live| &live.position);
            let path = live.map_or(Path::new(&stored.path), |live| &live.path);
            let is_named_after = is_named_after(&known.path, path);
            if position.copy_of.is_some() || !(position.may_begin(&head) || position.offset == 0 && is_named_after) {
                continue;
            }
            let original = live.and_then(|live| live.file.as_ref()).map(OpenFile);
            let found = match original.filter(|file| position.judge(file, false) == Judgement::Same) {
                Some(original) => {
                    let common = bytes.min(original.bytes());
                    let enough = common >= MARK_BYTES as u64 || is_named_after;
                    if !enough || common == 0 || !begin_alike(&copy, &original, common) {
                        continue;
                    }
                    let offset = match position.offset <= common {
                        true => position.offset,
                        false => last_line_end(&copy, 0, common, self.line_bytes_max + 1),
                    };
                    Position { copy_of: Some(other), ..Position::at(&copy, offset) }
                }
                None if position.offset < MARK_BYTES as u64 && !is_named_after => continue,
                None if position.is_copied_in(&copy) => Position { copy_of: None, ..position.clone() },
                // It was copied, grew, was read, and is truncated now: the copy holds less than what was read.
                None if only.is_some() && is_named_after && bytes < position.offset && bytes >= MARK_BYTES as u64 => {
                    Position::at(&copy, last_line_end(&copy, 0, bytes, self.line_bytes_max + 1))
                }
                None => continue,
            };
            if best.as_ref().is_none_or(|best| best.offset < found.offset) {
                best = Some(found);
            }
        }
        best
    }

    /// Gives a file a position that is not its own rows' doing.
    fn take_position(&mut self, identity: Identity, found: Option<Position>, feed: &Feed) -> anyhow::Result<()> {
        let (Some(found), Some(known)) = (found, self.known.get_mut(&identity)) else { return Ok(()) };
        let position = Position { path: known.path.display().to_string(), ..found };
        let mut batch = Batch::new();
        batch.set_position(&key(identity), &serde_json::to_vec(&position)?);
        if feed.append(&mut batch, Durability::Policy)?.is_some() {
            known.position = position.clone();
            self.positions.insert(identity, position);
        }
        Ok(())
    }

    /// Whether what a copy holds beyond its position is, or will be, stored from its original: then there is nothing to read now.
    pub(super) fn is_covered(&mut self, identity: Identity, seen: Seen, feed: &Feed) -> anyhow::Result<bool> {
        let Some(known) = self.known.get(&identity) else { return Ok(false) };
        let (Some(other), Some(file)) = (known.position.copy_of, &known.file) else { return Ok(false) };
        let position = known.position.clone();
        let copy = OpenFile(file);
        let original = self.known.get(&other).and_then(|original| Some((OpenFile(original.file.as_ref()?), original)));
        let same = original.filter(|(file, original)| original.position.judge(file, false) == Judgement::Same);
        let Some((original, Some(stored))) = same.map(|(file, known)| (file, Some(known.position.offset))) else {
            self.take_position(identity, Some(Position { copy_of: None, ..position }), feed)?;
            return Ok(false);
        };
        let mine = copy.read(position.offset, READ_BYTES);
        let theirs = original.read(position.offset, mine.len());
        let common = mine.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
        let differs = common < mine.len();
        let end = position.offset + common as u64;
        let line_end = match common == READ_BYTES && !mine.contains(&b'\n') {
            true => end,
            false => last_line_end(&copy, position.offset, end, READ_BYTES),
        };
        if line_end > stored {
            // The original is read first; it may have been truncated since, which its own reading finds.
            return Ok(true);
        }
        if line_end > position.offset || differs {
            let copy_of = position.copy_of.filter(|_| !differs);
            let moved = Position { copy_of, ..Position::at(&copy, line_end) };
            self.take_position(identity, Some(moved), feed)?;
            return Ok(!differs);
        }
        // Nothing is left but the beginning of a line.
        if let Some(known) = self.known.get_mut(&identity) {
            known.seen = Some(seen);
        }
        Ok(true)
    }

    /// Lets copies of a file go on by themselves, from where the file was read to: its position is about to be given up.
    pub(super) fn release_copies(&mut self, original: Identity, feed: &Feed) -> anyhow::Result<()> {
        let Some(stored) = self.known.get(&original).map(|known| known.position.clone()) else { return Ok(()) };
        let others: Vec<Identity> = self.known.keys().copied().filter(|&other| other != original).collect();
        for identity in others {
            let Some(known) = self.known.get_mut(&identity) else { continue };
            known.seen = None;
            // A copy over an older one has its inode, and nothing of its position.
            if known.judge(false) == Judgement::Other {
                known.begin_anew();
            }
            let Some(file) = &known.file else { continue };
            let (copy, position) = (OpenFile(file), known.position.clone());
            if position.copy_of == Some(original) {
                let all = copy.bytes();
                let offset = match stored.offset <= all {
                    true if stored.is_copied_in(&copy) => stored.offset,
                    // It went another way before.
                    true => position.offset,
                    // It was made before the original was read to its end.
                    false => last_line_end(&copy, position.offset, all, self.line_bytes_max + 1),
                };
                let moved = Position::at(&copy, offset.max(position.offset));
                self.take_position(identity, Some(moved), feed)?;
            } else if !known.settled && position.offset == 0 && copy.bytes() > 0 {
                let found = self.original(identity, Some(original));
                let is_copy = found.is_some();
                self.take_position(identity, found, feed)?;
                if let Some(known) = self.known.get_mut(&identity) {
                    known.settled |= is_copy;
                }
            }
        }
        Ok(())
    }
}

/// Whether a name is another one with an ending behind it.
fn is_named_after(path: &Path, original: &Path) -> bool {
    let (path, original) = (path.as_os_str().as_encoded_bytes(), original.as_os_str().as_encoded_bytes());
    !original.is_empty()
        && path.strip_prefix(original).is_some_and(|ending| matches!(ending.first(), Some(b'.' | b'-')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rotated_files_are_known() {
        let named = |path: &str, original: &str| is_named_after(Path::new(path), Path::new(original));
        assert!(named("/l/a.log.1", "/l/a.log") && named("/l/a.log-20261126", "/l/a.log"));
        assert!(!named("/l/a.log", "/l/a.log") && !named("/l/a.logs", "/l/a.log") && !named("/l/b", ""));
    }
}
