//! Files looked at without a lock and without changing anything: damaged ones, and those that another process writes. Owns the
//! facts; the verdict is above.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use duramen_journal::disk::{Access, read_full_at};
use duramen_journal::format::{IDENTITY_BYTES, Identity};
use duramen_journal::{ReadOptions, Reader, Report, Sequence, World};

use super::index::Index;
use super::record::{Change, HEAD_BYTES, change_of, read_summary};
use super::{KIND, opened_of};
use crate::backend::packs::Packs;
use crate::backend::{Key, Opened, Space};
use crate::digest::digest_of;
use crate::error::Error;
use crate::log::HEAD;
use crate::recovery::{Facts, holes_between};
use crate::values::{Head, Published, RawManifest};

/// The identity's name in a data folder.
const IDENTITY: &str = "IDENTITY";

/// Refuses a folder that says it holds something else. One that says nothing is looked at: its identity may be damaged.
fn check_kind(folder: &Path, world: &World) -> Result<(), Error> {
    let mut bytes = [0u8; IDENTITY_BYTES];
    let file = world.disk.open(&folder.join(IDENTITY), Access::Read);
    let read = file.and_then(|file| read_full_at(&*file, &mut bytes, 0));
    let identity = read.ok().and_then(|read| Identity::decode(&bytes[..read]).ok());
    match identity.map(|identity| identity.kind) {
        Some(kind) if kind != KIND => {
            let word: String = kind.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte)).collect();
            let reason = format!("it holds a {}, no log of decisions", word.escape_default());
            Err(Error::Foreign { path: folder.to_path_buf(), reason })
        }
        _ => Ok(()),
    }
}

/// What lies in a folder.
#[derive(Debug)]
pub(crate) struct Survey {
    pub reader: Reader,
    pub index: Index,
    pub packs: Packs,
    pub opened: Opened,
    pub head: Option<Head>,
    /// Values that cannot be read.
    pub lost: BTreeSet<Key>,
    /// Records of no kind that a log of decisions has.
    pub foreign: Vec<Sequence>,
}

impl Survey {
    /// Looks at a folder: at every record, if asked; else at those that no summary tells of.
    pub fn of(folder: &Path, world: &World, thoroughly: bool) -> Result<Survey, Error> {
        check_kind(folder, world)?;
        let reader = Reader::open_with(folder, &ReadOptions::default(), world.clone())?;
        let packs = Packs::look(world.disk.clone(), folder)?;
        let opened = opened_of(reader.report());
        let (lost, foreign) = (BTreeSet::new(), Vec::new());
        let mut own = Survey { reader, index: Index::default(), packs, opened, head: None, lost, foreign };
        own.fill(thoroughly || !own.reader.report().damage.is_empty());
        own.opened.lost = own.lost.iter().copied().collect();
        own.head = own.get(HEAD).ok().flatten().and_then(|value| Head::decode(&value));
        Ok(own)
    }

    fn fill(&mut self, thoroughly: bool) {
        for info in self.reader.segments() {
            let last = self.reader.last() + 1;
            let range = info.first..info.next.min(last);
            let mut changes = Vec::new();
            let told = info.summary.as_ref().and_then(|summary| {
                read_summary(summary, info.first, info.next, &mut |sequence, change| changes.push((sequence, change)))
            });
            let mut good = BTreeSet::new();
            if told.is_none() || thoroughly {
                if told.is_none() {
                    changes.clear();
                }
                for record in self.reader.scan(range.clone()).flatten() {
                    good.insert(record.sequence);
                    match change_of(record.log, record.kind, &record.payload) {
                        Some(change) if told.is_none() => changes.push((record.sequence, change)),
                        None if record.log != 0 => self.foreign.push(record.sequence),
                        _ => {}
                    }
                }
                // Nobody tells what the records were that cannot be read.
                self.opened.open_end |= told.is_none() && (good.len() as u64) < range.end.saturating_sub(range.start);
            }
            for (sequence, change) in changes.into_iter().filter(|(sequence, _)| *sequence < last) {
                match change {
                    Change::Put(key) if thoroughly && !good.contains(&sequence) => _ = self.lost.insert(key),
                    Change::Put(key) => {
                        self.lost.remove(&key);
                        self.index.put(key, sequence);
                    }
                    Change::Remove(space, numbers) => {
                        self.lost.retain(|key| key.space != space || !numbers.contains(&key.number));
                        self.index.remove(space, numbers);
                    }
                }
            }
        }
    }

    /// What opening would find.
    pub fn report(&self) -> &Report {
        self.reader.report()
    }

    /// A value.
    pub fn get(&self, key: Key) -> Result<Option<Bytes>, Error> {
        let Some(sequence) = self.index.get(key) else { return Ok(None) };
        let record = self.reader.read(sequence)?;
        if change_of(record.log, record.kind, &record.payload) != Some(Change::Put(key)) {
            return Err(Error::damaged(key, format!("record {sequence} holds something else")));
        }
        Ok(Some(record.payload.slice(HEAD_BYTES..)))
    }

    /// The digest's algorithm; 0: nobody knows.
    pub fn algorithm(&self) -> u32 {
        self.head.map_or(0, |head| head.algorithm)
    }

    /// A published checkpoint, and its manifest if that is whole.
    pub fn checkpoint(&self, seq_no: u64) -> (Option<Published>, Option<RawManifest>) {
        let value = self.get(Key::new(Space::Checkpoint, seq_no)).ok().flatten();
        let published = value.and_then(|value| Published::decode(&value));
        let manifest = published.and_then(|published| {
            let bytes = self.packs.get(&published.root).ok().flatten()?;
            let good = digest_of(self.algorithm(), &bytes).is_none_or(|digest| digest == published.root);
            RawManifest::decode(&bytes).filter(|manifest| good && manifest.seq_no == seq_no)
        });
        (published, manifest)
    }

    /// Whether a chunk is there, and is what its digest says, as far as that algorithm is known here.
    pub fn is_good(&self, digest: &[u8; 32], bytes: u32) -> bool {
        let chunk = self.packs.get(digest).ok().flatten();
        chunk.is_some_and(|chunk| {
            let same = digest_of(self.algorithm(), &chunk).is_none_or(|own| own == *digest);
            same && chunk.len() as u64 == u64::from(bytes)
        })
    }

    /// The facts from which damage is told. Every chunk of every checkpoint is read, if asked.
    pub fn facts(&self, thoroughly: bool) -> Result<Facts, Error> {
        let (mut checkpoint, mut broken) = (None, Vec::new());
        for key in self.index.keys(Space::Checkpoint, 0..=u64::MAX, usize::MAX) {
            let there = |digest: &[u8; 32], bytes: u32| {
                if thoroughly { self.is_good(digest, bytes) } else { self.packs.lists(digest) }
            };
            let manifest = self.checkpoint(key.number).1;
            let whole = manifest.is_some_and(|own| own.chunks.iter().all(|(digest, bytes)| there(digest, *bytes)));
            if whole { checkpoint = Some(key.number) } else { broken.push(key.number) }
        }
        let base = self.head.and_then(|head| head.base);
        let page = |from: u64| Ok(self.index.keys(Space::Decision, from..=u64::MAX, 1024));
        let after = base.map_or(0, |base| base.saturating_add(1));
        let first = self.index.keys(Space::Decision, after..=u64::MAX, 1).first().map(|key| key.number);
        let last = self.index.last(Space::Decision, u64::MAX).map(|key| key.number).filter(|_| first.is_some());
        let before = base.or(first.and_then(|first| first.checked_sub(1)));
        let holes = holes_between(before, page)?;
        let frontier = holes.first().map_or(last, |hole| hole.start().checked_sub(1)).max(base);
        Ok(Facts { opened: self.opened.clone(), base, first, frontier, last, holes, checkpoint, broken })
    }
}
