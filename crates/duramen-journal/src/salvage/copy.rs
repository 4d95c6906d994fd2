//! All good records of a chain of segments, in order, into a builder. Owns the reading side of salvage: which commits are
//! believed is `survey`'s, what becomes of the records the builder's.

use std::path::Path;

use super::builder::Builder;
use super::rescue::rescue;
use crate::Sequence;
use crate::disk::{Access, Disk};
use crate::error::Error;
use crate::format::{CommitHeader, CommitKind, CommitTrailer, RecordHeader};
use crate::gather::Gathered;
use crate::inspect::{Break, Course, Progress, Surveyor, survey};
use crate::report::{Damage, DamageKind};
use crate::scan::{Visitor, Window};

/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes between two calls of the progress.
const STEP_BYTES: u64 = 4 << 20;

/// What a copy found.
pub(crate) struct Copied {
    /// The sequence behind the last that is known to have been given.
    pub next: Sequence,
    /// Bad places that opening had not looked at.
    pub damage: Vec<Damage>,
}

/// Copies. Errors are the builder's; what cannot be read is damage.
pub(crate) fn copy(
    disk: &dyn Disk,
    folder: &Path,
    gathered: &Gathered,
    builder: &mut Builder,
    progress: &mut dyn FnMut(Progress),
) -> Result<Copied, Error> {
    let chain = &gathered.verdict.chain;
    let bytes_total = chain.iter().map(|link| gathered.facts[link.index].file_bytes).sum();
    let mut copier = Copier {
        builder,
        progress,
        told: Progress { bytes: 0, bytes_total },
        bytes: 0,
        segment: 0,
        file: String::new(),
        course: None,
        known: &gathered.verdict.damage,
        next: gathered.verdict.first,
        damage: Vec::new(),
        staged: Staged::default(),
        error: None,
    };
    let mut before = 0;
    for (place, link) in chain.iter().enumerate() {
        let fact = &gathered.facts[link.index];
        let successor = chain.get(place + 1).filter(|next| gathered.facts[next.index].number == fact.number + 1);
        let course = Course::of(&link.header, fact.footer.as_ref().ok(), successor.map(|next| &next.header));
        copier.next = copier.next.max(link.header.first_sequence);
        (copier.segment, copier.file, copier.course) = (fact.number, fact.file.clone(), Some(course));
        match disk.open(&folder.join(&fact.file), Access::Read) {
            Ok(file) => {
                let mut window = Window::new(&*file, u64::from(link.header.segment_bytes), BUFFER_BYTES);
                let facts = survey(&mut window, &course, &mut copier);
                copier.settle(facts.end);
                copier.next = copier.next.max(facts.next);
            }
            Err(_) => copier.damage.push(Damage {
                segment: fact.number,
                file: fact.file.clone(),
                offset: 0,
                bytes: fact.file_bytes,
                first: Some(link.header.first_sequence),
                last: None,
                what: DamageKind::Unreadable,
            }),
        }
        if let Some(error) = copier.error.take() {
            return Err(error);
        }
        before += fact.file_bytes;
        copier.bytes = before;
        copier.tell();
    }
    let (next, damage) = (copier.next, copier.damage);
    Ok(Copied { next, damage })
}

/// One commit that the walk has not yet gone beyond.
#[derive(Default)]
struct Staged {
    offset: u32,
    records: Vec<(Sequence, RecordHeader, usize)>,
    bytes: Vec<u8>,
    checkpoint: Option<Vec<u8>>,
}

struct Copier<'a> {
    builder: &'a mut Builder,
    progress: &'a mut dyn FnMut(Progress),
    told: Progress,
    bytes: u64,
    segment: u64,
    file: String,
    course: Option<Course>,
    known: &'a [Damage],
    next: Sequence,
    damage: Vec<Damage>,
    staged: Staged,
    error: Option<Error>,
}

impl Copier<'_> {
    fn tell(&mut self) {
        if self.bytes >= self.told.bytes + STEP_BYTES || self.bytes == self.told.bytes_total {
            self.told.bytes = self.bytes.min(self.told.bytes_total);
            (self.progress)(self.told);
        }
    }

    /// Hands the staged commit on if the walk went beyond it. Until then it may turn out to be no good.
    fn settle(&mut self, end: u32) {
        let mut staged = std::mem::take(&mut self.staged);
        if staged.offset < end && self.error.is_none() {
            self.error = self.hand_on(&staged).err();
        }
        staged.records.clear();
        staged.bytes.clear();
        staged.checkpoint = None;
        staged.offset = u32::MAX;
        self.staged = staged;
    }

    fn hand_on(&mut self, staged: &Staged) -> Result<(), Error> {
        for (sequence, header, start) in &staged.records {
            let end = start + header.payload_bytes as usize;
            self.builder.record(*sequence, header, &staged.bytes[*start..end])?;
        }
        staged.checkpoint.as_ref().map_or(Ok(()), |body| self.builder.checkpoint(body))
    }
}

impl Visitor for Copier<'_> {
    fn commit(&mut self, offset: u32, header: &CommitHeader, trailer: &CommitTrailer) {
        self.settle(offset);
        self.staged.offset = offset;
        self.next = self.next.max(trailer.durable_upto + 1);
        self.bytes += header.total_bytes();
        self.tell();
    }

    fn record(&mut self, sequence: Sequence, _place: u32, header: &RecordHeader, payload: Option<&[u8]>) {
        let payload = payload.unwrap_or_default();
        self.staged.records.push((sequence, *header, self.staged.bytes.len()));
        self.staged.bytes.extend_from_slice(payload);
    }

    fn control(&mut self, kind: CommitKind, body: &[u8]) {
        if kind == CommitKind::Checkpoint {
            self.staged.checkpoint = Some(body.to_vec());
        }
    }

    fn wants_payloads(&self) -> bool {
        true
    }

    fn finished(&self) -> bool {
        self.error.is_some()
    }
}

impl Surveyor for Copier<'_> {
    fn broken(&mut self, window: &mut Window<'_>, at: &Break) {
        self.settle(at.offset);
        if !self.known.iter().any(|known| at.is_told_by(self.segment, known)) {
            self.damage.extend(at.damages(self.segment, &self.file, window.file()));
        }
        self.next = self.next.max(at.end.unwrap_or(0));
        let (Some(course), None) = (&self.course, &self.error) else { return };
        let header = course.header;
        let mut error = None;
        let builder = &mut *self.builder;
        rescue(window, &header, at, &mut |sequence, header, payload| {
            if error.is_none() {
                error = builder.record(sequence, header, payload).err();
            }
        });
        self.error = error;
    }
}
