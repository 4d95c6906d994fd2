//! Every structure of a journal in the order of its files. Owns the order; the words are [`Item`]'s.

use std::path::Path;

use bytes::Bytes;

use super::{Break, Course, Item, Surveyor, survey};
use crate::Sequence;
use crate::disk::{Access, DiskFile, World, read_full_at};
use crate::error::Error;
use crate::format::{
    CommitHeader, CommitKind, CommitTrailer, DATA_OFFSET, Footer, PAGE_BYTES, RecordHeader, SegmentHeader,
    decode_tables,
};
use crate::gather::{Gathered, unreadable_parts};
use crate::recovery::{Condition, SegmentFacts};
use crate::report::{Damage, DamageKind};
use crate::scan::{Visitor, Window};
use crate::view;

/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Shows every stored structure to `visit`, in the order of the files and of their bytes, until it answers `false`.
/// Damaged places are items among the others; behind them it goes on where it can. Memory: one buffer, and the largest
/// record.
///
/// # Errors
/// [`Error::Missing`], [`Error::NotAJournal`], [`Error::NewerFormat`], [`Error::Io`].
pub fn dump(path: impl AsRef<Path>, world: World, visit: &mut dyn FnMut(&Item) -> bool) -> Result<(), Error> {
    let path = path.as_ref();
    let looked = view::look(&world, path, BUFFER_BYTES)?;
    let report = crate::open::report_of(&looked.gathered);
    let in_place = |name: &str, header: &SegmentHeader| {
        !looked.live || view::is_header_in_place(&*world.disk, &looked.folder.join(name), header)
    };
    let mut show = Show {
        visit,
        going: true,
        segment: 0,
        file: String::new(),
        header: None,
        in_place: &in_place,
        left: false,
        found: Vec::new(),
        damage: &report.damage,
    };
    for damage in report.damage.iter().filter(|damage| damage.segment == 0) {
        show.item(Item::Damage(damage.clone()));
    }
    for (index, fact) in looked.gathered.facts.iter().enumerate() {
        if !show.going {
            break;
        }
        let name = looked.folder.join(&fact.file);
        let file = match world.disk.open(&name, Access::Read) {
            Ok(file) => file,
            // Released since it was listed.
            Err(error) if looked.live && error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("open", &name, error)),
        };
        segment(&mut show, &looked.gathered, index, fact, &*file);
    }
    let listed = |damage: &Damage| looked.gathered.facts.iter().any(|fact| fact.number == damage.segment);
    for damage in report.damage.iter().filter(|damage| damage.segment != 0 && !listed(damage)) {
        show.item(Item::Damage(damage.clone()));
    }
    Ok(())
}

/// What stands between the structures and the caller.
struct Show<'a> {
    visit: &'a mut dyn FnMut(&Item) -> bool,
    going: bool,
    segment: u64,
    file: String,
    header: Option<SegmentHeader>,
    /// Whether a file is still what it was: beside a living writer it may be used again meanwhile.
    in_place: &'a dyn Fn(&str, &SegmentHeader) -> bool,
    /// This file is not: there is no more to say of it.
    left: bool,
    /// Offsets of the bad places found by the walk.
    found: Vec<u64>,
    damage: &'a [Damage],
}

impl Show<'_> {
    fn item(&mut self, item: Item) {
        self.going = self.going && (self.visit)(&item);
    }
}

impl Visitor for Show<'_> {
    fn commit(&mut self, offset: u32, header: &CommitHeader, trailer: &CommitTrailer) {
        self.item(Item::Commit {
            segment: self.segment,
            offset,
            kind: header.kind,
            first: header.first_sequence,
            count: header.count,
            stored_bytes: header.stored_bytes,
            body_bytes: header.body_bytes,
            padding: header.padding,
            codec: header.codec,
            previous_digest: header.previous_digest,
            digest: trailer.digest,
            durable_upto: trailer.durable_upto,
            durable_end: trailer.durable_end,
        });
    }

    fn record(&mut self, sequence: Sequence, place: u32, header: &RecordHeader, payload: Option<&[u8]>) {
        if !self.going {
            return;
        }
        self.item(Item::Record {
            segment: self.segment,
            offset: place,
            sequence,
            log: header.log,
            kind: header.kind,
            more: header.more,
            payload: Bytes::copy_from_slice(payload.unwrap_or_default()),
        });
    }

    fn control(&mut self, kind: CommitKind, body: &[u8]) {
        self.item(Item::Control { segment: self.segment, kind, body: Bytes::copy_from_slice(body) });
    }

    fn wants_payloads(&self) -> bool {
        true
    }

    fn finished(&self) -> bool {
        !self.going || self.left
    }
}

impl Surveyor for Show<'_> {
    fn broken(&mut self, window: &mut Window<'_>, at: &Break) {
        self.left |= self.header.is_some_and(|header| !(self.in_place)(&self.file, &header));
        if self.left {
            return;
        }
        let known = self.damage.iter().filter(|known| at.is_told_by(self.segment, known)).cloned();
        let mut damage: Vec<Damage> = known.collect();
        if damage.is_empty() {
            damage = at.damages(self.segment, &self.file, window.file());
        }
        for damage in damage {
            self.found.push(damage.offset);
            self.item(Item::Damage(damage));
        }
    }
}

/// One file.
fn segment(show: &mut Show<'_>, gathered: &Gathered, index: usize, fact: &SegmentFacts, file: &dyn DiskFile) {
    let link = gathered.arrangement.begun.iter().position(|link| link.index == index);
    let header = fact.copies.iter().find_map(|copy| copy.ok());
    let state = match fact.condition(&gathered.journal_id).0 {
        Condition::Begun(_) => "begun",
        Condition::Prepared(_) => "prepared",
        Condition::Destroyed => "without a good header",
        Condition::Unreadable => "of an unreadable header",
        Condition::WrongLength(_) => "of the wrong length",
        Condition::Foreign => "of another journal or number",
        Condition::Newer(_) => "of a newer format",
    };
    show.segment = fact.number;
    show.file = fact.file.clone();
    let begun = link.map(|place| gathered.arrangement.begun[place].header);
    (show.header, show.left) = (begun, false);
    show.found.clear();
    let of = |value: fn(&SegmentHeader) -> u64| header.as_ref().map_or(0, value);
    show.item(Item::Segment {
        number: fact.number,
        file: fact.file.clone(),
        file_bytes: fact.file_bytes,
        state,
        first: of(|header| header.first_sequence),
        gap_first: of(|header| header.gap_first),
        released_below: of(|header| header.released_below),
        salt: of(|header| header.salt),
        predecessor_digest: of(|header| header.predecessor_digest),
        zeroed: header.is_some_and(|header| header.zeroed),
        growing: header.is_some_and(|header| header.growing),
    });
    let before: Vec<Damage> = show.damage.iter().filter(|damage| in_header(damage, fact.number)).cloned().collect();
    for damage in before {
        show.found.push(damage.offset);
        show.item(Item::Damage(damage));
    }
    let Some(place) = link else {
        let offset = u64::from(DATA_OFFSET);
        let bytes = fact.file_bytes.saturating_sub(offset);
        return show.item(Item::Free { segment: fact.number, offset, bytes, used: header.is_none_or(|h| !h.zeroed) });
    };
    let header = gathered.arrangement.begun[place].header;
    let successor = gathered.arrangement.begun.get(place + 1);
    let successor = successor.filter(|next| gathered.facts[next.index].number == fact.number + 1);
    let course = Course::of(&header, fact.footer.as_ref().ok(), successor.map(|next| &next.header));
    let mut window = Window::new(file, u64::from(header.segment_bytes), BUFFER_BYTES);
    let facts = survey(&mut window, &course, show);
    if show.finished() {
        return;
    }
    let left: Vec<Damage> = show
        .damage
        .iter()
        .filter(|damage| damage.segment == fact.number && !show.found.contains(&damage.offset))
        .cloned()
        .collect();
    left.into_iter().for_each(|damage| show.item(Item::Damage(damage)));
    let data_end = fact.footer.as_ref().map_or(facts.end, |footer| footer.data_end);
    let free_end =
        fact.footer.as_ref().map_or(u64::from(header.segment_bytes), |footer| u64::from(footer.index_offset));
    let used = fact.scan.as_ref().is_some_and(|scan| scan.nonzero_end > facts.end);
    if u64::from(data_end) < free_end {
        let offset = u64::from(data_end);
        show.item(Item::Free { segment: fact.number, offset, bytes: free_end - offset, used });
    }
    if let Ok(footer) = &fact.footer {
        show_footer(show, fact, file, &header, footer);
    }
}

/// The footer, and what cannot be read of it and of what it points to.
fn show_footer(show: &mut Show<'_>, fact: &SegmentFacts, file: &dyn DiskFile, header: &SegmentHeader, footer: &Footer) {
    for part in unreadable_parts(file, footer.index_offset.into(), header.segment_bytes.into()) {
        let (segment, file, offset) = (fact.number, fact.file.clone(), part.start);
        let (bytes, what) = (part.end - part.start, DamageKind::Unreadable);
        show.item(Item::Damage(Damage { segment, file, offset, bytes, first: None, last: None, what }));
    }
    show.item(footer_item(file, header, footer));
}

/// Damage told before the commits: of the header pages, or of the file as a whole.
fn in_header(damage: &Damage, number: u64) -> bool {
    damage.segment == number && damage.offset < u64::from(DATA_OFFSET)
}

fn footer_item(file: &dyn DiskFile, header: &SegmentHeader, footer: &Footer) -> Item {
    let length = header.segment_bytes.saturating_sub(footer.tables_offset + PAGE_BYTES as u32) as usize;
    let mut tables = vec![0u8; length];
    let read = read_full_at(file, &mut tables, u64::from(footer.tables_offset));
    let whole = read.is_ok_and(|read| read == length);
    let logs = whole.then(|| decode_tables(&tables, footer, &header.binding()).map(|(logs, _)| logs)).flatten();
    Item::Footer {
        segment: header.number,
        offset: u64::from(header.segment_bytes) - PAGE_BYTES as u64,
        count: footer.count,
        digest: footer.digest,
        data_end: footer.data_end,
        index_offset: footer.index_offset,
        tables_offset: footer.tables_offset,
        released_below: footer.released_below,
        summary_bytes: footer.summary_bytes,
        summary_dropped: footer.summary_dropped,
        logs: logs.unwrap_or_default(),
    }
}
