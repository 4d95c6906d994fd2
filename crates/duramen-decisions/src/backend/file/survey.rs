//! What is left in damaged files, read without a lock and without changing anything. Owns the facts; the verdict is above.

use std::collections::BTreeSet;

use bytes::Bytes;
use duramen_journal::{ReadOptions, Reader, Sequence};

use super::index::Index;
use super::record::{Change, HEAD_BYTES, read_summary};
use super::{changed, opened_of};
use crate::backend::packs::Packs;
use crate::backend::{Key, Space};
use crate::config::PersistentLogConfig;
use crate::digest::Digest;
use crate::error::Error;
use crate::log::HEAD;
use crate::recovery::{Facts, holes_between};
use crate::values::{Head, Published, RawManifest};

/// Looks at every record and every published checkpoint.
pub(crate) fn facts<D: Digest>(config: &PersistentLogConfig) -> Result<Facts, Error> {
    let reader = Reader::open_with(&config.log_dir, &ReadOptions::default(), config.world.clone())?;
    let mut opened = opened_of(reader.report());
    let mut index = Index::default();
    let mut lost = BTreeSet::new();
    for info in reader.segments() {
        let mut read: Vec<(Sequence, Option<Change>)> = Vec::new();
        for record in reader.scan(info.first..info.next).flatten() {
            read.push((record.sequence, changed(record.log, record.kind, &record.payload, record.sequence)?));
        }
        let mut changes = Vec::new();
        let told = info.summary.as_ref().and_then(|summary| {
            read_summary(summary, info.first, info.next, &mut |sequence, change| changes.push((sequence, change)))
        });
        if told.is_none() {
            // Nobody tells what the records were that cannot be read.
            opened.open_end |= (read.len() as u64) < info.next - info.first;
            changes = read.iter().filter_map(|(sequence, change)| Some((*sequence, change.clone()?))).collect();
        }
        let good: BTreeSet<Sequence> = read.into_iter().map(|(sequence, _)| sequence).collect();
        for (sequence, change) in changes {
            match change {
                Change::Put(key) if good.contains(&sequence) => {
                    lost.remove(&key);
                    index.put(key, sequence);
                }
                Change::Put(key) => _ = lost.insert(key),
                Change::Remove(space, numbers) => {
                    lost.retain(|key: &Key| key.space != space || !numbers.contains(&key.number));
                    index.remove(space, numbers);
                }
            }
        }
    }
    opened.lost = lost.into_iter().collect();
    let get = |key: Key| {
        let record = reader.read(index.get(key)?).ok()?;
        Some(record.payload.slice(HEAD_BYTES..))
    };
    let packs = Packs::open(config.world.disk.clone(), &config.log_dir, config.compression)?;
    let (mut checkpoint, mut broken) = (None, Vec::new());
    for key in index.keys(Space::Checkpoint, 0..=u64::MAX, usize::MAX) {
        let good = get(key).and_then(|value| is_whole::<D>(&packs, &value)) == Some(true);
        if good { checkpoint = Some(key.number) } else { broken.push(key.number) }
    }
    let base = get(HEAD).and_then(|value| Head::decode(&value)).and_then(|head| head.base);
    let page = |from: u64| Ok(index.keys(Space::Decision, from..=u64::MAX, 1024));
    let after = base.map_or(0, |base| base.saturating_add(1));
    let first = index.keys(Space::Decision, after..=u64::MAX, 1).first().map(|key| key.number);
    let last = index.last(Space::Decision, u64::MAX).map(|key| key.number).filter(|_| first.is_some());
    let before = base.or(first.and_then(|first| first.checked_sub(1)));
    let holes = holes_between(before, page)?;
    let frontier = holes.first().map_or(last, |hole| hole.start().checked_sub(1)).max(base);
    Ok(Facts { opened, base, first, frontier, last, holes, checkpoint, broken })
}

/// Whether all chunks of a published checkpoint can be read; `None`: not even its manifest.
fn is_whole<D: Digest>(packs: &Packs, value: &Bytes) -> Option<bool> {
    let published = Published::decode(value)?;
    let bytes = packs.get(&published.root).ok()??;
    let manifest = RawManifest::decode(&bytes).filter(|_| D::of(&[&bytes]).bytes() == published.root)?;
    Some(manifest.chunks.iter().all(|(digest, _)| packs.has(digest).unwrap_or(false)))
}
