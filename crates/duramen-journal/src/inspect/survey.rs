//! A walk over a whole segment, damage notwithstanding. Owns the way across: where the good commits go on behind a bad
//! place, and when they must not be believed. Knows nothing of what is done with them.
//!
//! Behind an earlier cut there may stand *ghosts*: commits that verify and never counted. They lie behind the true end,
//! so the first commit found behind a bad place is a true one as long as the end lies behind it too. That is known in a
//! segment with a footer or a successor; in the last one only a witness tells, a commit that says that the bad place was
//! durable. A ghost can be such a witness as well, since what is durable is never cut.

use std::ops::Range;

use crate::Sequence;
use crate::disk::DiskFile;
use crate::format::{COMMIT_HEADER_BYTES, Footer, PAGE_BYTES, SegmentHeader};
use crate::gather::unreadable_parts;
use crate::report::{Damage, DamageKind};
use crate::scan::{ScanFacts, Start, Stop, Visitor, Window, look_on, start_at, walk};

/// One segment to be surveyed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub header: SegmentHeader,
    /// Where commits end at the latest.
    pub limit: u32,
    /// Where they end, if a footer says so.
    pub data_end: Option<u32>,
    /// The sequence and the digest at their end, if a footer or a successor says so.
    pub goal: Option<(Sequence, u64)>,
}

impl Course {
    /// The course of a segment with this footer, if it has one, and this successor, if it has one.
    pub fn of(header: &SegmentHeader, footer: Option<&Footer>, successor: Option<&SegmentHeader>) -> Course {
        let continues = |next: &SegmentHeader| if next.gap_first != 0 { next.gap_first } else { next.first_sequence };
        Course {
            header: *header,
            limit: footer.map_or(header.segment_bytes, |footer| footer.data_end),
            data_end: footer.map(|footer| footer.data_end),
            goal: match (footer, successor) {
                (Some(footer), _) => Some((footer.first_sequence + footer.count, footer.digest)),
                (None, Some(next)) => Some((continues(next), next.predecessor_digest)),
                (None, None) => None,
            },
        }
    }

    fn is_reached(&self, facts: &ScanFacts) -> bool {
        self.goal.is_some_and(|goal| goal == (facts.next, facts.digest))
            && self.data_end.is_none_or(|end| end == facts.end)
    }
}

/// A bad place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Break {
    /// Where the good commits end.
    pub offset: u32,
    /// Where they go on, or how far the damage can reach.
    pub until: u32,
    /// The sequence that should have come.
    pub first: Sequence,
    /// The sequence behind the last that is touched, if known; equal to `first` if no record is.
    pub end: Option<Sequence>,
    /// What is wrong.
    pub what: DamageKind,
}

impl Break {
    /// Whether a place that is told already is this one. What could not be read is told page by page, and met commit by
    /// commit.
    pub fn is_told_by(&self, segment: u64, told: &Damage) -> bool {
        let overlaps = told.offset < u64::from(self.until) && told.offset + told.bytes > u64::from(self.offset);
        let same = if self.what == DamageKind::Unreadable {
            told.what.is_unreadable() && overlaps
        } else {
            told.offset == u64::from(self.offset)
        };
        told.segment == segment && same
    }

    /// The place in the words of a report: where it could not be read, the pages that cannot be read.
    pub fn damages(&self, segment: u64, file_name: &str, file: &dyn DiskFile) -> Vec<Damage> {
        let whole = self.damage(segment, file_name);
        if self.what != DamageKind::Unreadable {
            return vec![whole];
        }
        let parts = unreadable_parts(file, self.offset.into(), self.until.into());
        if parts.is_empty() {
            return vec![whole];
        }
        let place = |part: Range<u64>| Damage { offset: part.start, bytes: part.end - part.start, ..whole.clone() };
        parts.into_iter().map(place).collect()
    }

    /// The place in the words of a report.
    pub fn damage(&self, segment: u64, file: &str) -> Damage {
        let none = self.end == Some(self.first);
        Damage {
            segment,
            file: file.to_string(),
            offset: u64::from(self.offset),
            bytes: u64::from(self.until - self.offset),
            first: (!none).then_some(self.first),
            last: self.end.filter(|_| !none).and_then(|end| end.checked_sub(1)),
            what: self.what,
        }
    }
}

/// Sees good commits, and bad places between them, in the order of the file.
pub(crate) trait Surveyor: Visitor {
    /// A bad place.
    fn broken(&mut self, window: &mut Window<'_>, at: &Break);
}

/// Walks a segment to its end. Returns the facts of the last stretch.
pub(crate) fn survey(window: &mut Window<'_>, course: &Course, surveyor: &mut dyn Surveyor) -> ScanFacts {
    let mut start = Start::of(&course.header);
    loop {
        let facts = walk(window, &course.header, start, course.limit, surveyor);
        if surveyor.finished() || course.is_reached(&facts) {
            return facts;
        }
        let Some((at, next)) = cross(window, course, &facts) else { return facts };
        surveyor.broken(window, &at);
        match next {
            Some(next) => start = next,
            None => return facts,
        }
    }
}

/// A page behind an end that may be the true one: nothing that stands there is known to have counted.
fn unseen(facts: &ScanFacts, offset: u32, course: &Course) -> Break {
    let page = PAGE_BYTES as u32;
    let until = (offset / page * page).saturating_add(page).min(course.limit).max(offset + 1);
    Break { offset, until, first: facts.next, end: Some(facts.next), what: DamageKind::Unreadable }
}

/// The bad place at the end of a walk, and where to go on. `None`: the end is no bad place, or cannot be told from a torn
/// one.
fn cross(window: &mut Window<'_>, course: &Course, facts: &ScanFacts) -> Option<(Break, Option<Start>)> {
    let what = match facts.stop {
        Stop::Unreadable => DamageKind::Unreadable,
        // No room for another commit, and yet not where the footer or the successor says.
        Stop::Chain | Stop::Full => DamageKind::Chain,
        _ => DamageKind::Commit,
    };
    let mut proven = true;
    let seen = match course.goal {
        Some(_) => look_on(window, &course.header, facts, course.limit, |facts| facts.resume.is_some()),
        None => {
            let enough = |facts: &ScanFacts| facts.resume.is_some() && facts.witness.is_some();
            let seen = look_on(window, &course.header, facts, course.limit, enough);
            if facts.stop == Stop::Full || (seen.witness.is_none() && seen.unreadable.is_none()) {
                return None;
            }
            proven = seen.witness.is_some();
            if let Some(offset) = seen.unreadable.filter(|_| !proven && facts.stop != Stop::Unreadable) {
                return Some((unseen(facts, offset, course), None));
            }
            seen
        }
    };
    // A commit that verifies and does not continue the chain may itself be where the good ones go on.
    let here = start_at(window, &course.header, facts.end)
        .filter(|here| facts.stop == Stop::Chain && here.sequence >= facts.next);
    let next = here.or_else(|| {
        let later = seen.resume?;
        start_at(window, &course.header, later.offset)
    });
    // Behind the goal only a wrong chain can lead.
    let next = next.filter(|_| proven).filter(|next| course.goal.is_none_or(|(end, _)| next.sequence <= end));
    let until = match next {
        Some(next) if next.offset > facts.end => next.offset,
        Some(_) => facts.end + COMMIT_HEADER_BYTES as u32,
        None => course.data_end.unwrap_or(seen.nonzero_end).max(facts.end + 1).min(course.header.segment_bytes),
    };
    let end =
        next.map(|next| next.sequence).or(course.goal.map(|(end, _)| end)).or(seen.last_seen.map(|last| last + 1));
    Some((Break { offset: facts.end, until, first: facts.next, end, what }, next))
}
